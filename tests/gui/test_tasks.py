"""Real tasks, done in the window with mouse and keys, and compared with what the command line finds."""

import csv
import pathlib
import re
import xml.etree.ElementTree as ElementTree

import h5py
import numpy as np
import pytest

import png
from window import quoted, shell_words

PROMPT = "Once upon a time there was a girl named Lily. She saw a big dog and a red ball."
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def saved(headscope, stories, tmp_path_factory):
    """What `headscope run --save` finds for the prompt: the maps, and means over the rows but the first, which can only
    see itself."""
    path = tmp_path_factory.mktemp("run") / "run.h5"
    run = headscope.json("run", stories, "--prompt", PROMPT, "--save", "attention,stats", "--out", path)
    with h5py.File(path) as file:
        maps = np.stack([file[f"attention/layer_{layer:03}"][()] for layer in range(5)])
        means = {name: file[f"stats/{name}"][()].astype(float)[..., 1:].mean(-1) for name in file["stats"]}
    return run, maps, means


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def require_same(found, expected):
    """Equal but for what rounding does to tokens that went through the model one after the other."""
    assert found[0] == expected[0] and len(found) == len(expected)
    for row, wanted in zip(found[1:], expected[1:]):
        for text, right in zip(row, wanted, strict=True):
            assert text == right or float(text) == pytest.approx(float(right), rel=1e-4, abs=1e-5)


def furthest(means):
    return head_of(means["distance"]) + (means["distance"].max(),)


def head_of(means):
    layer, head = np.unravel_index(means.argmax(), means.shape)
    return int(layer), int(head)


def test_find_the_head_that_looks_back_furthest(window, stories, saved):
    run, _, means = saved
    layer, head, mean = furthest(means)
    far = "0/0" if (layer, head) != (0, 0) else "1/1"
    result = window.play(f"""
        wait idle
        expect slots.A.tokens == {len(run["ids"])}
        expect slots.A.ids == {str(run["ids"]).replace(" ", "")}
        click atlas/{far}
        wait 2
        expect selection.A.layer == {far[0]}
        expect sentence ~ Layer {layer}, head {head} looks back furthest: {mean:.1f} tokens on average
        click atlas/{layer}/{head}
        wait 2
        expect selection.A.layer == {layer}
        expect selection.A.head == {head}
        click atlas/{far}
        wait 2
        largest distance
        expect selection.A.layer == {layer}
        expect selection.A.head == {head}
        """, stories, "--prompt", PROMPT)
    assert result.state()["selection"]["A"]["head"] == head


@pytest.mark.parametrize("metric", ["entropy", "distance", "sink", "max"])
def test_the_largest_head_of_every_metric(window, stories, saved, metric):
    _, _, means = saved
    layer, head = head_of(means[metric])
    window.play(f"""
        wait idle
        click metric/{metric}
        wait 2
        expect atlas.metric == {metric}
        largest {metric}
        expect selection.A.layer == {layer}
        expect selection.A.head == {head}
        """, stories, "--prompt", PROMPT)


def test_a_memory_budget_changes_nothing_that_is_seen(window, stories):
    """Of no budget, and of one that keeps no queries: maps and weights, while tokens are added and heads are off."""
    found = []
    for budget in ([], ["--memory-budget", "0"]):
        result = window.play("""
            wait idle
            select layer=1 head=2
            switch_off
            wait idle
            view map
            generate 5
            wait idle
            select layer=4 head=1 query=24 key=21
            wait idle
            export map.svg
            dismiss
            hover at/640/20
            """, stories, "--prompt", PROMPT, *budget)
        selection = result.state()["selection"]["A"]
        assert selection["weight"] is not None
        found.append((selection, (result.folder / "map.svg").read_bytes(), result.picture().pixels))
    assert found[0][:2] == found[1][:2]
    bar = 48  # has the process's memory, which differs from start to start
    # Glyphs lie in their texture by the frames that were drawn meanwhile, so edges of letters are rounded otherwise.
    assert np.abs(found[0][2][bar:] - found[1][2][bar:]).max() <= 64


@pytest.mark.parametrize("budget", [[], ["--memory-budget", "0"]])
def test_zoom_to_one_cell_and_read_its_weight(window, stories, saved, budget):
    _, maps, means = saved
    layer, head, _ = furthest(means)
    cells = [(7, 2), (20, 20), (20, 0), (len(maps[0, 0]) - 1, 11)]
    reads = "".join(f"""
        click map/cell/{query}/{key}
        wait 2
        expect selection.A.query == {query}
        expect selection.A.key == {key}
        expect selection.A.weight > {maps[layer, head, query, key] - 1e-5}
        expect selection.A.weight < {maps[layer, head, query, key] + 1e-5}
        """ for query, key in cells[:-1])
    query, key = cells[-1]
    result = window.play(f"""
        wait idle
        largest distance
        key ctrl+2
        wait idle
        expect view == map
        {reads}
        zoom {query - 3}:{query + 1} {key - 1}:{key + 3}
        wait idle
        click map/cell/{query}/{key}
        wait 2
        hover map/cell/{query}/{key}
        wait 2
        expect under_cursor ~ query {query}
        state cell.json
        """, stories, "--prompt", PROMPT, *budget)
    cell = result.state("cell.json")
    assert cell["selection"]["A"]["weight"] == pytest.approx(maps[layer, head, query, key], abs=1e-5)
    shown = float(re.search(r"weight ([0-9.e-]+)", cell["under_cursor"])[1])
    assert shown == pytest.approx(maps[layer, head, query, key], rel=0.01, abs=1e-5)
    # No cell above the diagonal has a weight.
    window.play("""
        wait idle
        view map
        wait idle
        hover map/cell/3/9
        wait 2
        expect under_cursor ~ cannot look ahead
        """, stories, "--prompt", PROMPT, name="above.txt")


def test_generate_and_read_kv_bytes(window, headscope, stories, saved):
    before = saved[0]
    run = headscope.json("run", stories, "--prompt", PROMPT, "--generate", 20)
    bytes_per_token = sum(before["kv_bytes_used"]) // len(before["ids"])
    result = window.play(f"""
        wait idle
        expect slots.A.kv.used_bytes == {sum(before["kv_bytes_used"])}
        key n
        wait idle
        expect slots.A.tokens == {len(before["ids"]) + 1}
        expect slots.A.kv.used_bytes == {sum(before["kv_bytes_used"]) + bytes_per_token}
        generate 19
        wait idle
        expect slots.A.kv.used_bytes == {sum(run["kv_bytes_used"])}
        expect slots.A.prompt_tokens == {len(before["ids"])}
        click tab/kv
        wait idle
        expect view == kv
        """, stories, "--prompt", PROMPT)
    assert result.state()["slots"]["A"]["ids"] == run["ids"]
    assert f'{sum(run["kv_bytes_used"]) / 1024:.1f} KiB used' in result.state()["sentence"]


def test_kv_bytes_are_allocated_as_the_command_line_says(window, headscope, stories):
    run = headscope.json("run", stories, "--prompt", PROMPT, "--generate", 3)
    state = window.play("wait idle\ngenerate 3", stories, "--prompt", PROMPT).state()["slots"]["A"]
    assert state["kv"]["used_bytes"] == sum(run["kv_bytes_used"])
    assert state["kv"]["allocated_bytes"] >= state["kv"]["used_bytes"]


@pytest.fixture(scope="module")
def paired_layers(tmp_path_factory):
    """A random CLA-2 model for texts of bytes: layers 0 and 2 own caches of 2 KV heads of 8, layers 1 and 3 read them."""
    import byte_tokenizer
    import sharing_models
    import torch

    scheme = next(one for one in sharing_models.SCHEMES if one.name == "CLA-2")
    weights = sharing_models.random_weights(scheme, 3)
    for name in ("token_embedding", "lm_head"):
        weights[name] = torch.randn(256, sharing_models.WIDTH, generator=torch.Generator().manual_seed(1))
    config = sharing_models.config_of(scheme) | {"vocab_size": 256, "context": 65_536}
    return byte_tokenizer.write(sharing_models.save(tmp_path_factory.mktemp("paired") / "cla-2", config, weights))


def test_the_strip_grows_with_every_owning_layer(window, paired_layers):
    """Bars are looked at while tokens are generated: bytes are those of the tokens that are there."""
    row = 2 * 2 * 8 * 4  # bytes of a token in each owning layer
    result = window.play("""
        wait idle
        generate 60000
        until slots.A.tokens > 60
        hover kv/bar/0
        wait 2
        expect slots.A.status == generating
        state early.json
        hover kv/bar/2
        wait 2
        state other.json
        until slots.A.tokens > 400
        wait 2
        expect slots.A.status == generating
        state late.json
        pixel kv/bar/0 0 30 #4FC1B0
        pixel kv/bar/2 0 30 #4FC1B0
        key ctrl+.
        wait idle
        """, paired_layers, "--prompt", "before")
    seen = []
    for name, layer in (("early.json", 0), ("other.json", 2), ("late.json", 2)):
        words = result.state(name)["under_cursor"]
        tokens, used, allocated = (int(number.replace(",", "")) for number in re.match(
            rf"cache of layer {layer} after ([\d,]+) tokens\n([\d,]+) B used of ([\d,]+) B allocated\n128 B a token", words).groups())
        assert used == tokens * row <= allocated and allocated % row == 0
        seen.append((tokens, allocated))
    (early, room), (other, _), (late, more_room) = seen
    assert 60 < early <= other <= late and late > 400 and more_room > room
    # Both owners have a bar, used of allocated; readers have none.
    window.refusal("wait idle\nhover kv/bar/1", paired_layers, "--prompt", "before", words=["kv/bar/1"])


@pytest.mark.parametrize("view", ["atlas", "map", "kv"])
def test_export(window, headscope, stories, view, saved):
    layer, head, _ = furthest(saved[2])
    result = window.play(f"""
        wait idle
        largest distance
        view {view}
        wait idle
        export out.svg
        dismiss
        wait idle
        export out.png
        dismiss
        wait idle
        export out.csv
        """, stories, "--prompt", PROMPT)
    headscope.text("render", stories, "--view", view, "--prompt", PROMPT, "--layer", layer, "--head", head, "--out",
                   result.folder / "cli.csv")
    assert table(result.folder / "out.csv") == table(result.folder / "cli.csv")
    root = ElementTree.parse(result.folder / "out.svg").getroot()
    assert root.tag == SVG + "svg"
    words = " ".join("".join(text.itertext()) for text in root.iter(SVG + "text"))
    assert "stories260K" in words and "GQA-4" in words
    pixels = png.read(result.folder / "out.png")
    assert pixels.shape[:2] == (int(float(root.get("height"))), int(float(root.get("width"))))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 40


def test_the_picture_is_what_was_on_the_screen(window, stories):
    """The exported PNG has the pixels of the panel that it was made from, but for the edges of text."""
    result = window.play("wait idle\nhover at/640/20\nwait idle\nexport out.png\ndismiss", stories)
    exported = png.read(result.folder / "out.png").astype(int)
    height, width, _ = exported.shape
    left, bottom = 309, 638  # of the panel in the middle
    shown = result.picture().pixels[bottom - height:bottom, left:left + width]
    assert (np.abs(shown - exported).max(-1) > 40).mean() < 0.02


@pytest.mark.parametrize("prepare", ["", "switch_off layer=1 head=2\nwait idle", "generate 5\nwait idle",
                                     "theme light", "run cut=9\nwait idle", "metric sink",
                                     "view map\nzoom 4:20 0:16\nlog_colour\nwait idle"])
def test_copy_as_command_makes_the_view_again(window, headscope, stories, prepare):
    """The copied line is pasted into the prompt, read back from the state and run by a shell's rules."""
    prompt = 'It\'s "late", said $HOME the \\dog'
    result = window.play(f"""
        wait idle
        largest distance
        {prepare}
        wait idle
        export out.csv
        dismiss
        key ctrl+shift+c
        prompt ""
        prompt
        wait 3
        key ctrl+v
        wait 3
        """, stories, "--prompt", prompt)
    words = shell_words(result.state()["slots"]["A"]["prompt"])
    assert words[0] == "headscope" and words[-2] == "--out"
    headscope.text(*words[1:-1], result.folder / "again.csv")
    require_same(table(result.folder / "again.csv"), table(result.folder / "out.csv"))
    headscope.text(*words[1:-1], result.folder / "again.svg")
    words_shown = pathlib.Path(result.folder / "again.svg").read_text(encoding="utf-8")
    assert ("#F3F4F7" in words_shown or "#FFFFFF" in words_shown) if "light" in prepare else "#1B1E24" in words_shown


@pytest.mark.parametrize("how", ["type", "paste"])
def test_text_is_tokenized_as_by_the_command_line(window, headscope, stories, how):
    texts = ["Zoo \U0001f600\U0001f1e9\U0001f1ea 漢字かな, naïve Ω≈ç√ 한국어"]
    if how == "paste":  # these have keys of their own
        texts.append('tabs\tand "quotes" \\ and\nlines')
    steps = "".join(f"""
        prompt ""
        key ctrl+p
        wait 3
        expect editing == true
        {how} {quoted(text)}
        wait 4
        key ctrl+enter
        wait idle
        state {i}.json
        """ for i, text in enumerate(texts))
    result = window.play("wait idle\n" + steps, stories, "--prompt", "Zoo")
    for i, text in enumerate(texts):
        state = result.state(f"{i}.json")["slots"]["A"]
        assert state["prompt"] == text
        assert state["ids"] == headscope.json("run", stories, "--prompt", text)["ids"]


def test_see_where_the_model_runs_and_what_memory_is_for(window, headscope, stories):
    """Weights are the numbers of the file's tensors, in f32; the cache is what the run says it allocated."""
    run = headscope.json("run", stories, "--prompt", PROMPT, "--device", "cpu")
    tensors = headscope.json("info", stories)["parameters"]
    lines = """
        wait idle
        expect device.name == cpu
        expect device.open == false
        view map
        wait idle
        wait 2
        click device
        wait 2
        state open.json
        shot device.png
        hover device/close
        wait 40
        click device/close
        wait 2
        expect device.open == false
        key ctrl+m
        wait 2
        expect device.open == true
        key escape
        wait 2
        expect device.open == false
        close
        wait idle
        """
    result = window.play(lines, stories, "--prompt", PROMPT, "--device", "cpu")
    state = result.state("open.json")
    memory, slot = state["memory"], state["slots"]["A"]
    assert state["device"]["open"] and state["device"]["reason"] == "", "the CPU was asked for"
    assert slot["kernel"] == run["kernel"] and state["map_cells"]["kernel"] in run["kernel"]
    assert memory["weights"] == 4 * tensors
    assert memory["cache"] == slot["kv"]["allocated_bytes"] == memory["peak"]["cache"]
    assert memory["run"] > 0 and memory["scratch"] == 0 < memory["peak"]["scratch"]
    assert sum(memory[name] for name in ("weights", "cache", "run")) < memory["process"] < 1 << 32
    assert memory["device_used"] is memory["device_total"] is memory["kept"] is memory["untagged"] is None
    result.picture("device.png").require_drawn()
    closed = result.state()["memory"]
    assert all(closed[name] == 0 for name in ("weights", "cache", "run", "scratch"))
    assert closed["peak"]["weights"] == memory["weights"]


def test_why_there_is_no_gpu_is_said(window, stories):
    """Nobody asked for the CPU; on a machine without an NVIDIA driver that is no message, but it can be seen."""
    state = window.play("wait idle", stories).state()
    if state["device"]["name"] != "cpu":
        pytest.skip("there is a GPU")
    assert state["device"]["reason"]
    if "no NVIDIA driver" in state["device"]["reason"]:
        assert state["slots"]["A"]["plates"] == 0


def test_a_gpu_that_cannot_be_used_is_a_message(window, stories, request):
    """The library's stand-in finds a GPU that is too old."""
    stand_in = request.config.getoption("--cuda-stand-in")
    if stand_in is None:
        pytest.skip("--cuda-stand-in is not given")
    result = window.play("""
        wait idle
        state start.json
        shot start.png
        dismiss
        expect slots.A.plates == 0
        """, stories, env={"HEADSCOPE_CUDA_LIBRARY": stand_in, "HEADSCOPE_STAND_IN": "device_too_old"})
    start = result.state("start.json")
    assert start["slots"]["A"]["plates"] == 1 and start["slots"]["A"]["error"] == ""
    assert start["device"]["name"] == "cpu"
    assert start["device"]["reason"] == '"Tesla T4" is too old: it has compute capability 7.5, and 8.0 is needed'
    assert result.picture("start.png").changed(result.picture()) > 0.05
