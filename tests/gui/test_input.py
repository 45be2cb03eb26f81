"""Mouse, keys, dialogs and sizes of the window."""

import pytest
import numpy as np

from window import THEMES, quoted

PROMPT = "Once upon a time there was a girl named Lily. She saw a big dog and a red ball."


def map_script(steps):
    return f"""
        wait idle
        largest distance
        view map
        wait idle
        {steps}
        """


def test_wheel_drag_and_double_click_on_the_map(window, stories):
    result = window.play(map_script("""
        wheel map/cell/20/10 4
        wait 2
        state zoomed.json
        drag map/cell/20/10 100 60
        wait 2
        state panned.json
        wheel map/cell/20/10 -20
        wait 2
        state out.json
        wheel map/cell/20/10 100
        wait 2
        state deepest.json
        double_click map/cell/20/10
        wait 2
        state fitted.json
        """), stories, "--prompt", PROMPT)
    zoomed, panned, out, deepest, fitted = (result.state(f"{name}.json")["map"]
                                            for name in ("zoomed", "panned", "out", "deepest", "fitted"))
    tokens = result.state()["slots"]["A"]["tokens"]

    def spans(state):
        return [(state["row_begin"], state["row_end"]), (state["key_begin"], state["key_end"])]

    for (begin, end), token in zip(spans(zoomed), (20, 10)):
        assert begin <= token < end and end - begin < tokens
    for before, after in zip(spans(zoomed), spans(panned)):
        assert after[1] - after[0] == before[1] - before[0], "panning does not zoom"
        assert after[0] < before[0], "the map moves with the mouse"
    assert spans(out) == [(0, tokens)] * 2
    for begin, end in spans(deepest):
        assert end - begin == 4
    assert spans(fitted) in ([(0, 0)] * 2, [(0, tokens)] * 2)


def test_shift_drag_zooms_to_a_range(window, stories):
    result = window.play(map_script("shift_drag map/cell/12/3 120 90\nwait idle\nstate zoomed.json"), stories, "--prompt",
                         PROMPT)
    zoomed = result.state("zoomed.json")["map"]
    assert zoomed["row_begin"] == 12 and zoomed["key_begin"] == 3
    assert 2 <= zoomed["row_end"] - 12 < 30 and 2 <= zoomed["key_end"] - 3 < 30
    assert zoomed["key_end"] - 3 > zoomed["row_end"] - 12


def test_hover_says_what_is_there(window, stories):
    window.play(map_script("""
        hover map/cell/20/5
        wait 2
        expect under_cursor ~ query 20
        expect under_cursor ~ key 5
        view atlas
        wait 2
        hover atlas/3/2
        wait 2
        expect under_cursor ~ layer 3
        expect under_cursor ~ head 2
        hover tab/kv
        wait 2
        view kv
        wait 2
        expect view == kv
        """), stories, "--prompt", PROMPT)


def test_the_selected_head_is_outlined(window, stories):
    """The outline moves with the selection and has the style's colour, in both themes."""
    for theme in ("dark", "light"):
        result = window.play("""
            wait idle
            select layer=0 head=0
            wait 2
            shot first.png
            select layer=4 head=7
            wait 2
            shot last.png
            """, stories, "--theme", theme)
        colour = THEMES[theme]["selection"]
        first, last = result.picture("first.png").pixels, result.picture("last.png").pixels
        changed = (first != last).any(-1)
        ring = (last == np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)])).all(-1) & changed
        y, x = np.nonzero(ring[60:640, 300:1280])
        assert len(y) > 300 and y.min() > 300 and x.min() > 400, theme


def test_double_click_on_a_head_opens_its_map(window, stories):
    window.play("""
        wait idle
        double_click atlas/3/2
        wait 3
        expect view == map
        expect selection.A.layer == 3
        expect selection.A.head == 2
        """, stories)


def test_the_wheel_does_not_scroll_an_atlas_that_fits(window, stories):
    result = window.play("""
        wait idle
        shot before.png
        wheel atlas/2/2 -10
        hover run
        wait 3
        shot down.png
        wheel atlas/2/2 1
        hover run
        wait 3
        """, stories)
    assert (result.picture("before.png").pixels[:, 300:] == result.picture("down.png").pixels[:, 300:]).all()


def test_escape_undoes_one_thing_at_a_time(window, stories):
    window.play(map_script("""
        click map/cell/9/3
        wait 2
        key ctrl+k
        wait 2
        expect palette == true
        key escape
        wait 2
        expect palette == false
        expect selection.A.query == 9
        key ctrl+o
        wait 2
        expect browser == true
        key escape
        wait 2
        expect browser == false
        expect selection.A.query == 9
        key ctrl+p
        wait 3
        expect editing == true
        key escape
        wait 3
        expect editing == false
        expect selection.A.query == 9
        key escape
        wait 2
        expect selection.A.query == null
        expect selection.A.layer != null
        """), stories, "--prompt", PROMPT)


def test_a_note_goes_without_anything_else(window, stories):
    """Escape and Dismiss are about the messages that are there, also when a note stands beside an error."""
    window.play(map_script("""
        click map/cell/9/3
        copy_command
        wait 2
        expect slots.A.plates == 1
        key escape
        wait 2
        expect slots.A.plates == 0
        expect selection.A.query == 9
        try view nothing
        copy_command
        expect slots.A.plates == 2
        expect slots.A.error != ""
        dismiss 1
        expect slots.A.plates == 1
        expect slots.A.error != ""
        dismiss 0
        expect slots.A.plates == 0
        """), stories, "--prompt", PROMPT)


def test_the_editor_closes_with_its_model(window, stories, tiny):
    window.play(f"""
        wait idle
        key ctrl+p
        wait 3
        type "x"
        wait 3
        expect editing == true
        close
        wait idle
        open {quoted(stories)}
        wait idle
        expect editing == false
        open {quoted(tiny)}
        wait idle
        expect slots.A.prompt == ""
        open {quoted(stories)}
        wait idle
        expect slots.A.prompt != ""
        expect slots.A.error == ""
        """, stories)


def test_only_tabs_are_views(window, stories):
    window.play("""
        wait idle
        try view head
        expect slots.A.error ~ There is no view
        expect view == atlas
        """, stories)


def test_what_was_typed_survives_escape(window, stories):
    window.play("""
        wait idle
        key ctrl+p
        wait 3
        type " More words."
        wait 3
        key escape
        wait 3
        expect editing == false
        expect slots.A.prompt == "Zoo More words."
        key ctrl+enter
        wait idle
        expect slots.A.tokens > 4
        """, stories, "--prompt", "Zoo")


def test_a_prompt_can_be_emptied(window, stories):
    window.play("""
        wait idle
        key ctrl+p
        wait 3
        key ctrl+a
        key delete
        wait 3
        expect slots.A.prompt == ""
        """, stories, "--prompt", "Zoo")


def test_keys_move_through_the_heads(window, stories):
    window.play("""
        wait idle
        select layer=0 head=0
        key right
        key right
        key down
        wait 2
        expect selection.A.layer == 1
        expect selection.A.head == 2
        key left
        key up
        key up
        wait 2
        expect selection.A.layer == 0
        expect selection.A.head == 1
        key ctrl+3
        wait 2
        expect view == kv
        key ctrl+1
        wait 2
        expect view == atlas
        key ctrl+p
        wait 3
        key right
        key n
        wait 3
        expect selection.A.head == 1
        expect slots.A.prompt ~ n
        """, stories)


def test_drop_one_and_two(window, stories, small_model, tiny):
    other = small_model
    window.play(f"""
        wait 2
        drop {quoted(stories)}
        wait idle
        expect slots.A.model == stories260K
        drop {quoted(other)}
        wait idle
        expect slots.B.model == llama-4x4
        expect slots.A.model == stories260K
        drop {quoted(other)} {quoted(stories)}
        wait idle
        expect slots.A.model == llama-4x4
        expect slots.B.model == stories260K
        drop {quoted(stories)} {quoted(other)} /third
        wait idle
        expect slots.A.model == stories260K
        expect slots.B.model == llama-4x4
        expect slots.B.plates == 1
        slot A
        drop /no/such/file
        wait idle
        expect slots.A.model == stories260K
        expect slots.B.model == llama-4x4
        """)


def test_drop_while_the_first_is_read(window, stories, slow_model):
    window.play(f"""
        wait 2
        drop {quoted(slow_model)}
        drop {quoted(stories)}
        wait idle
        expect slots.A.model == slow
        expect slots.B.model == stories260K
        """)


def test_resize_theme_and_font_scale(window, stories):
    sizes = ["640x400", "1920x1080", "1000x700", "320x240", "2560x1440", "1280x800"]
    steps = "\n".join(f"resize {size}\nwait 3\nshot {size}.png" for size in sizes)
    result = window.play(f"""
        wait idle
        {steps}
        font_scale 1.6
        wait 3
        shot large.png
        font_scale 0.8
        wait 3
        shot small.png
        key ctrl+0
        key ctrl+=
        wait 3
        expect font_scale == 1.1
        key ctrl+-
        wait 3
        expect font_scale == 1
        key ctrl+t
        wait 3
        expect theme == light
        """, stories)
    for size in sizes:
        picture = result.picture(f"{size}.png")
        assert "%dx%d" % picture.size == size
        if size != "320x240":
            picture.require_drawn()
    result.picture("large.png").require_drawn()
    result.picture("small.png").require_drawn()


def test_splitters_can_be_dragged(window, stories):
    """Left, bottom and, in a wide window, right."""
    result = window.play("""
        wait idle
        shot before.png
        drag at/302/400 80 0
        wait 3
        shot left.png
        drag at/700/644 0 -80
        wait 3
        shot bottom.png
        reset_layout
        hover at/640/20
        wait 5
        shot reset.png
        """, stories)
    panel = THEMES["dark"]["panel"]
    before, left, bottom, reset = (result.picture(f"{name}.png") for name in ("before", "left", "bottom", "reset"))
    assert before.at(302, 700) != panel and left.at(302, 700) == panel and left.at(382, 700) != panel
    assert left.at(800, 644) != panel and bottom.at(800, 640) == panel and bottom.at(800, 564) != panel
    assert (reset.pixels[60:] == before.pixels[60:]).mean() > 0.999


def test_log_panel_and_copy(window, stories):
    result = window.play("""
        wait idle
        open /no/such/folder
        wait idle
        key ctrl+l
        wait 3
        expect log_open == true
        click log/copy
        prompt ""
        key ctrl+p
        wait 3
        key ctrl+v
        wait 3
        key ctrl+l
        wait 3
        expect log_open == false
        """, stories)
    copied = result.state()["slots"]["A"]["prompt"]
    for words in ("HeadScope", "OpenGL", "kernel", "opened", "/no/such/folder"):
        assert words in copied


def test_copy_what_is_under_the_cursor(window, stories):
    result = window.play(map_script("""
        hover map/cell/20/5
        wait 2
        key ctrl+c
        prompt ""
        prompt
        wait 3
        key ctrl+v
        wait 3
        """), stories, "--prompt", PROMPT)
    assert "query 20" in result.state()["slots"]["A"]["prompt"]


def test_chips_select_tokens(window, stories):
    window.play("""
        wait idle
        click tokens/3
        wait 2
        expect selection.A.query == 3
        click tokens/1
        wait 2
        expect selection.A.query == 1
        """, stories)


def test_heads_are_chosen_in_the_sharing_picture(window, stories):
    window.play("""
        wait idle
        select layer=0 head=0
        wait 2
        click sharing/0/5
        wait 2
        expect selection.A.head == 5
        """, stories)


def test_switching_a_head_off_and_on(window, headscope, stories):
    off = headscope.json("run", stories, "--prompt", PROMPT, "--zero", "1:2", "--generate", 5)["ids"]
    on = headscope.json("run", stories, "--prompt", PROMPT, "--generate", 5)["ids"]
    result = window.play("""
        wait idle
        state plain.json
        select layer=1 head=2
        key x
        wait idle
        state zeroed.json
        generate 5
        wait idle
        state off.json
        key x
        wait idle
        generate 5
        wait idle
        state on.json
        """, stories, "--prompt", PROMPT)
    assert result.state("off.json")["slots"]["A"]["ids"] == off
    first, now = (result.state(name)["slots"]["A"] for name in ("plain.json", "zeroed.json"))
    top = headscope.json("run", stories, "--prompt", PROMPT, "--zero", "1:2")["top"][0]
    assert now["next_probability"] == pytest.approx(top["probability"], rel=1e-5)
    before = {one["id"]: one["probability"] for one in headscope.json("run", stories, "--prompt", PROMPT)["top"]}
    assert first["next_before"] is None and now["next_before"] == pytest.approx(before[top["id"]], rel=1e-5)
    assert result.state("on.json")["slots"]["A"]["ids"] == on
