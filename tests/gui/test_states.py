"""Every panel and view in every state: nothing, loading, one token, failed, not applicable, huge, two models.

A state is set up once; then every view, the log, the palette, the browser, the export field and the wide window with
the head's panel are drawn in it. Nothing may end the program, misuse ImGui or leave a picture blank."""

import pytest

from conftest import FULL
from window import THEMES, quoted

LONG = "It was a dark and stormy night; the rain fell in torrents. " * 34  # 2,006 bytes


def tour(prefix, settle="wait 3"):
    """Everything that can be drawn, with a picture of each."""
    lines = []
    for view in ("atlas", "map", "kv"):
        lines += [f"view {view}", settle, f"shot {prefix}-{view}.png"]
    lines += ["toggle_log", "wait 2", f"shot {prefix}-log.png", "toggle_log"]
    for keys, name in (("ctrl+k", "palette"), ("ctrl+o", "browser"), ("ctrl+e", "export")):
        lines += [f"key {keys}", "wait 2", f"shot {prefix}-{name}.png", "key escape", "wait 2"]
    for command in ("about", "toggle_device"):
        lines += [command, "wait 2", f"shot {prefix}-{command}.png", "key escape", "wait 2"]
    lines += ["view atlas", "resize 1600x1000", settle, f"shot {prefix}-wide.png"]
    lines += ["resize 1280x800", settle, 'expect imgui_misuse == ""']
    return "\n".join(lines)


SHOTS = ("atlas", "map", "kv", "log", "palette", "browser", "export", "about", "toggle_device", "wide")


def require_drawn(result, prefix, theme="dark"):
    for name in SHOTS:
        picture = result.picture(f"{prefix}-{name}.png")
        picture.require_something()
        assert picture.size == ((1600, 1000) if name == "wide" else (1280, 800)), name
    result.picture(f"{prefix}-wide.png").require_drawn(theme)
    # An open palette, browser or export field lies over what is below it.
    plain = result.picture(f"{prefix}-kv.png")
    for name in ("log", "palette", "browser", "export", "about", "toggle_device"):
        assert result.picture(f"{prefix}-{name}.png").changed(plain) > 0.05, f"{name} is not to be seen"


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_is_open(window, theme):
    result = window.play(f"""
        wait 3
        expect slots.A.status == empty
        expect slots.B.status == empty
        {tour("nothing")}
        """, "--theme", theme)
    require_drawn(result, "nothing", theme)
    # The one thing to do here is offered in the model's colour.
    assert result.picture("nothing-atlas.png").count(THEMES[theme]["A"]) > 2000


def test_what_cannot_be_done_is_said(window):
    """Without a model, commands become a plate with the reason; none ends the program."""
    lines = ["run", "next", "generate", "close", "cancel", "copy_command", "largest distance", "select layer=0 head=0",
             "switch_off", "furthest", "prompt_file x", "head_left", "view nothing", "no_such_command", "zoom 3",
             "font_scale 9", "theme blue", "slot C", "sampling top_p=2", "metric 7", "export x.gif"]
    steps = "\n".join(f"try {line}\nexpect slots.A.error != \"\"\ndismiss\nexpect slots.A.plates == 0" for line in lines)
    window.play(f"wait 3\n{steps}")


def test_loading(window, stories, slow_model):
    """While one model is read, what is there can be used; nothing else is lost when it has come.

    The pictures follow the opening at once, so that a fast machine has not read the model by then.
    """
    result = window.play(f"""
        wait idle
        view map
        wait idle
        open {quoted(slow_model)} B
        expect slots.B.model == ""
        shot loading-b.png
        until slots.B.model == slow
        expect active == B
        expect slots.B.status == open
        close B
        wait idle
        open {quoted(slow_model)} B
        slot A
        expect slots.B.model == ""
        shot loading-a.png
        expect slots.A.status == ready
        until slots.B.model == slow
        expect slots.A.status == ready
        """, stories)
    # Its name and progress are in the top bar, in B's colour.
    assert result.picture("loading-b.png").count(THEMES["dark"]["B"], height=44) > 200
    result.picture("loading-b.png").require_drawn()
    result.picture("loading-a.png").require_drawn()


@pytest.mark.parametrize("view", ["atlas", "map", "kv"])
def test_every_panel_while_loading(window, slow_model, view):
    """The picture follows the opening at once, so that a fast machine has not read the model by then."""
    result = window.play(f"""
        resize 1600x1000
        view {view}
        open {quoted(slow_model)}
        expect slots.A.model == ""
        shot loading.png
        """)
    result.picture("loading.png").require_drawn()


@pytest.mark.parametrize("prompt, tokens", [("", 1), ("Zoo", 4)])
def test_one_token_and_a_few(window, stories, prompt, tokens):
    """The tokenizer of stories260K puts a token of its own before every text, so that an empty one is one token."""
    result = window.play(f"""
        wait idle
        expect slots.A.tokens == {tokens}
        {tour("few", "wait idle")}
        view map
        wait idle
        click map/cell/0/0
        wait 2
        expect selection.A.weight > 0.99999
        expect selection.A.weight < 1.00001
        wheel map/cell/0/0 3
        drag map/cell/0/0 200 200
        double_click map/cell/0/0
        wait idle
        next
        wait idle
        expect slots.A.tokens == {tokens + 1}
        """, stories, "--prompt", prompt)
    require_drawn(result, "few")


def test_missing_folder(window, tmp_path):
    result = window.play(f"""
        wait idle
        expect slots.A.status == failed
        expect slots.A.error ~ {tmp_path}/absent
        expect slots.A.plates == 1
        expect slots.A.model == ""
        {tour("missing")}
        click plate/copy
        click plate/dismiss
        wait 2
        expect slots.A.plates == 0
        expect slots.A.status == empty
        """, tmp_path / "absent")
    require_drawn(result, "missing")
    assert result.picture("missing-atlas.png").count(THEMES["dark"]["error"]) > 100


def test_broken_files_keep_the_model_that_was_open(window, stories, tiny, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "model.safetensors"):
        content = (tiny / name).read_bytes()
        (broken / name).write_bytes(content[:-100] if name.endswith("safetensors") else content)
    (tmp_path / "text.h5").write_text("this is not HDF5")
    result = window.play(f"""
        wait idle
        largest distance
        state before.json
        open {quoted(broken)}
        wait idle
        expect slots.A.status == failed
        expect slots.A.error ~ model.safetensors
        expect slots.A.model == stories260K
        expect slots.A.tokens > 1
        open {quoted(tmp_path / "text.h5")}
        wait idle
        expect slots.A.error ~ text.h5
        expect slots.A.plates == 1
        next
        wait idle
        expect slots.A.tokens > 5
        {tour("broken", "wait idle")}
        """, stories)
    require_drawn(result, "broken")
    before, after = result.state("before.json"), result.state()
    assert after["selection"]["A"]["head"] == before["selection"]["A"]["head"]
    assert after["slots"]["A"]["tokens"] == before["slots"]["A"]["tokens"] + 1


@pytest.mark.parametrize("attempt", range(3))
def test_a_prompt_longer_than_the_context(window, stories, attempt):
    """Both numbers are said, and the plate's button runs what fits."""
    text = "Lily saw a big dog. " * 130
    (window.folder / "long.txt").write_text(text)
    result = window.play(f"""
        wait idle
        state before.json
        prompt_file long.txt
        run
        wait idle
        expect slots.A.status == failed
        expect slots.A.error ~ 512
        state failed.json
        shot failed.png
        view map
        wait 2
        view atlas
        wait 2
        click plate/action
        wait idle
        expect slots.A.plates == 0
        expect slots.A.tokens == 512
        expect slots.A.status == ready
        next
        wait idle
        expect slots.A.plates == 1
        expect slots.A.error == ""
        expect slots.A.tokens == 512
        """, stories)
    before, failed = result.state("before.json")["slots"]["A"], result.state("failed.json")["slots"]["A"]
    assert failed["ids"] == before["ids"], "what was run before stays"
    tokens = len(failed["preview_ids"])
    assert tokens > 512
    plain = failed["error"].replace(",", "").replace("\u202f", "").replace("\u00a0", "")
    assert str(tokens) in plain, failed["error"]
    assert result.state()["slots"]["A"]["ids"] == failed["preview_ids"][:512]
    result.picture("failed.png").require_drawn()


def test_cut_from_the_command_line(window, stories):
    window.play("""
        wait idle
        expect slots.A.tokens == 512
        expect slots.A.plates == 0
        """, stories, "--prompt", "Lily saw a big dog. " * 130, "--cut", 512)


def test_an_empty_prompt_is_refused_where_it_has_no_token(window, small_model):
    window.play("""
        wait idle
        expect slots.A.tokens > 10
        prompt ""
        run
        wait idle
        expect slots.A.status == failed
        expect slots.A.error ~ empty
        expect slots.A.tokens > 10
        prompt a
        run
        wait idle
        expect slots.A.tokens == 1
        expect slots.A.status == ready
        """, small_model)


def test_a_model_without_a_tokenizer(window, tiny):
    """It can be looked at but not run; every place says why."""
    result = window.play(f"""
        wait idle
        expect slots.A.model == tiny
        expect slots.A.status == open
        expect slots.A.tokens == 0
        {tour("dumb")}
        prompt some text
        run
        wait idle
        expect slots.A.status == failed
        expect slots.A.error ~ tokenizer
        """, tiny)
    require_drawn(result, "dumb")


def test_a_model_that_has_not_run_anything(window, stories):
    result = window.play(f"""
        wait idle
        expect slots.A.status == open
        expect slots.A.tokens == 0
        {tour("unrun")}
        expect slots.A.preview_ids != []
        run
        wait idle
        expect slots.A.status == ready
        expect slots.A.preview_ids == []
        """, stories, "--no-run")
    require_drawn(result, "unrun")


def test_32_x_32_heads(window, shapes):
    """More heads than a screen has room for: the atlas scrolls, every head can be reached."""
    result = window.play(f"""
        wait idle
        expect slots.A.tokens == 180
        {tour("huge", "wait idle")}
        select layer=31 head=31
        view atlas
        wait idle
        view map
        wait idle
        click map/cell/100/50
        wait 2
        expect selection.A.query == 100
        generate 3
        wait idle
        expect slots.A.tokens == 183
        """, shapes("llama-32x32"), "--prompt", LONG[:180])
    require_drawn(result, "huge")


def test_the_wheel_scrolls_an_atlas_of_32_layers(window, shapes):
    scrolled = window.play("""
        wait idle
        wheel at/700/300 -500
        wait 3
        click atlas/31/0
        wait 2
        expect selection.A.layer == 31
        wheel at/700/300 2
        wait 3
        state up.json
        wheel at/700/300 500
        wait 3
        click atlas/0/0
        wait 2
        expect selection.A.layer == 0
        """, shapes("llama-32x32"), "--prompt", "Zoo")
    assert scrolled.state()["atlas"]["first_layer"] == 0
    assert 0 < scrolled.state("up.json")["atlas"]["first_layer"] < 30


def test_2000_tokens(window, shapes):
    """Cells of the map then stand for several tokens; zoomed in, for one."""
    result = window.play(f"""
        wait idle
        expect slots.A.tokens == 2000
        {tour("long", "wait idle")}
        view map
        wait idle
        zoom 1990:2000 1980:1990
        wait idle
        click map/cell/1995/1985
        wait 2
        expect selection.A.query == 1995
        expect selection.A.key == 1985
        hover map/cell/1995/1985
        wait 2
        expect under_cursor ~ query 1995, key 1985
        """, shapes("gpt2-small"), "--prompt", LONG[:2000])
    require_drawn(result, "long")
    # One cell is 1/10 of the map: about 50 px of one colour around it.
    assert result.state()["selection"]["A"]["weight"] is not None


def test_two_models(window, stories, small_model):
    """Each slot keeps its run and selection; its colour is on what belongs to it; closing one leaves the other."""
    a, b = THEMES["dark"]["A"], THEMES["dark"]["B"]
    result = window.play(f"""
        wait idle
        expect slots.A.model == stories260K
        expect slots.B.model == llama-4x4
        expect active == A
        select layer=1 head=7
        shot a.png
        slot B
        wait idle
        select layer=3 head=3
        prompt two models
        run
        wait idle
        expect slots.B.tokens == 10
        shot b.png
        {tour("two", "wait idle")}
        key ctrl+tab
        wait 3
        expect active == A
        expect selection.A.layer == 1
        expect selection.A.head == 7
        click slot/B
        wait 3
        expect active == B
        expect selection.B.layer == 3
        expect selection.B.head == 3
        close
        wait idle
        expect slots.B.model == ""
        expect slots.B.tokens == 0
        expect active == A
        expect slots.A.tokens > 10
        next
        wait idle
        close
        wait idle
        expect slots.A.status == empty
        """, stories, small_model)
    require_drawn(result, "two")
    for name, own, other in (("a.png", a, b), ("b.png", b, a)):
        picture = result.picture(name)
        body = dict(y=60, height=700)
        assert picture.count(own, **body) > 1500, name
        assert picture.count(other, **body) == 0, name


@pytest.mark.skipif(not FULL, reason="HEADSCOPE_FULL=1 runs it")
@pytest.mark.parametrize("kind", ["gpt2-small", "llama-32x32"])
def test_2000_tokens_of_real_shapes(window, shapes, kind):
    result = window.play(f"""
        wait idle
        expect slots.A.tokens == 2000
        {tour("long", "wait idle")}
        """, shapes(kind), "--prompt", LONG[:2000])
    require_drawn(result, "long")
