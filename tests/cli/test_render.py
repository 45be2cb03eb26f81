"""`headscope render`: PNG, SVG and CSV of every view, and their numbers."""

import csv
import struct
import xml.etree.ElementTree as ElementTree
import zlib

import h5py
import numpy as np
import pytest

PROMPT = "Zoo was a little girl"
SVG = "{http://www.w3.org/2000/svg}"


def png_pixels(path):
    """[height, width, 3] of an 8-bit RGB PNG, decoded by its definition."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    data, at, header = b"", 8, None
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at:at + 8])
        body = content[at + 8:at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", content[at + 8 + length:at + 12 + length])[0]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            data += body
        at += 12 + length
    assert kind == b"IEND" and header[2:4] == (8, 2)
    width, height = header[:2]
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + 3 * width)
    return lines.shape[0], lines.shape[1] // 3


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    return rows[0], rows[1:]


@pytest.mark.parametrize("view", ["atlas", "map", "kv", "head", "sharing", "tokens"])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_view_as_png_and_svg(headscope, stories, tmp_path, view, theme):
    for ending in ("png", "svg"):
        out = tmp_path / f"{view}.{ending}"
        text = headscope.text("render", stories, "--view", view, "--prompt", PROMPT, "--generate", 4, "--layer", 2, "--head",
                              5, "--theme", theme, "--out", out)
        assert str(out) in text
    assert png_pixels(tmp_path / f"{view}.png") == (800, 1280)
    root = ElementTree.parse(tmp_path / f"{view}.svg").getroot()
    assert root.tag == SVG + "svg" and root.get("width") == "1280" and root.get("height") == "800"
    words = " ".join("".join(text.itertext()) for text in root.iter(SVG + "text"))
    assert "stories260K" in words and "GQA-4" in words
    ids = [group.get("data-id") for group in root.iter(SVG + "g") if group.get("data-id")]
    expected = {"atlas": "atlas/2/5", "map": "map/cell", "kv": "kv/layer/2", "head": "head/map",
                "sharing": "sharing/2/5", "tokens": "tokens/3"}[view]
    assert expected in ids


@pytest.mark.parametrize("size, scale, pixels", [("640x400", 1, (400, 640)), ("640x400", 2, (800, 1280)),
                                                 ("801x603", 1.5, (904, 1202)), ("300x200", 1, (200, 300))])
def test_sizes_and_scales(headscope, stories, tmp_path, size, scale, pixels):
    out = tmp_path / "a.png"
    headscope.text("render", stories, "--prompt", PROMPT, "--size", size, "--scale", scale, "--out", out)
    height, width = png_pixels(out)
    assert abs(height - pixels[0]) <= 1 and abs(width - pixels[1]) <= 1


def test_map_as_csv_has_the_attention_of_run(headscope, stories, tmp_path):
    headscope.text("render", stories, "--view", "map", "--prompt", PROMPT, "--layer", 3, "--head", 6, "--out", tmp_path / "m.csv")
    headscope.text("run", stories, "--prompt", PROMPT, "--save", "attention", "--out", tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5") as file:
        expected = file["attention/layer_003"][6]
    header, rows = table(tmp_path / "m.csv")
    columns = {name.split(" ")[0]: i for i, name in enumerate(header)}
    found = np.full(expected.shape, np.nan)
    for row in rows:
        found[int(row[columns["query"]]), int(row[columns["key"]])] = float(row[columns["weight"]])
    visible = np.tril(np.ones(expected.shape, bool))
    assert np.isfinite(found[visible]).all()
    np.testing.assert_allclose(found[visible], expected[visible], rtol=1e-6, atol=1e-9)
    assert not (np.nan_to_num(found)[~visible] != 0).any()


def test_atlas_as_csv_has_the_means_of_run(headscope, stories, tmp_path):
    headscope.text("render", stories, "--prompt", PROMPT, "--out", tmp_path / "a.csv")
    headscope.text("run", stories, "--prompt", PROMPT, "--save", "stats", "--out", tmp_path / "f.h5")
    header, rows = table(tmp_path / "a.csv")
    columns = {name.split(" ")[0]: i for i, name in enumerate(header)}
    assert len(rows) == 40 and "entropy (nats)" in header and "distance (tokens)" in header
    with h5py.File(tmp_path / "f.h5") as file:
        for row in rows:
            layer, head = (int(row[columns[name]]) for name in ("layer", "head"))
            for name in ("entropy", "distance", "sink", "max"):
                expected = file[f"stats/{name}"][layer, head, 1:].astype(np.float64).mean()
                assert abs(float(row[columns[name]]) - expected) <= 1e-6 * max(1, abs(expected)), (layer, head, name)


def test_kv_as_csv_has_the_bytes_of_run(headscope, stories, tmp_path):
    arguments = ["--prompt", PROMPT, "--generate", 5]
    headscope.text("render", stories, "--view", "kv", *arguments, "--out", tmp_path / "k.csv")
    run = headscope.json("run", stories, *arguments)
    header, rows = table(tmp_path / "k.csv")
    assert header == ["layer", "used (bytes)", "allocated (bytes)", "per_token (bytes)"]
    assert [[int(cell) for cell in row] for row in rows] == [
        [layer, run["kv_bytes_used"][layer], run["kv_bytes_allocated"][layer], 256] for layer in range(5)]


def test_head_as_csv_has_the_means_of_run_and_of_even_attention(headscope, stories, tmp_path):
    headscope.text("render", stories, "--view", "head", "--prompt", PROMPT, "--layer", 2, "--head", 5, "--out",
                   tmp_path / "h.csv")
    headscope.text("run", stories, "--prompt", PROMPT, "--save", "stats", "--out", tmp_path / "f.h5")
    header, rows = table(tmp_path / "h.csv")
    assert header == ["metric", "value", "unit", "even_attention"]
    with h5py.File(tmp_path / "f.h5") as file:
        keys = np.arange(2, file["stats/entropy"].shape[2] + 1)  # of each row but the first
        even = {"entropy": np.log(keys), "distance": (keys - 1) / 2, "max": 1 / keys, "sink": 1 / keys,
                "window": np.minimum(16, keys) / keys}
        for name, value, _, expected in rows:
            stored = file[f"stats/{name}"][2, 5, 1:].astype(np.float64).mean()
            assert abs(float(value) - stored) <= 1e-6 * max(1, abs(stored)), name
            assert abs(float(expected) - even[name].mean()) <= 1e-12, name
    assert {row[0] for row in rows} >= {"entropy", "distance", "max", "sink"}


def test_tokens_as_csv_are_those_of_run(headscope, stories, tmp_path):
    headscope.text("render", stories, "--view", "tokens", "--prompt", PROMPT, "--generate", 3, "--out", tmp_path / "t.csv")
    run = headscope.json("run", stories, "--prompt", PROMPT, "--generate", 3)
    header, rows = table(tmp_path / "t.csv")
    assert header == ["token", "id", "text", "special", "generated"]
    assert [int(row[1]) for row in rows] == run["ids"]
    assert [row[4] for row in rows[-4:]] == ["0", "1", "1", "1"] and rows[0][2:4] == ["<s>", "1"]


def test_without_a_prompt_a_named_one_is_used(headscope, stories, tmp_path):
    text = headscope.text("render", stories, "--summary", "--out", tmp_path / "a.svg")
    assert "built-in prompt" in text
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert "built-in prompt" in " ".join("".join(t.itertext()) for t in root.iter(SVG + "text"))


def test_zeroed_heads_are_badged(headscope, stories, tmp_path):
    headscope.text("render", stories, "--prompt", PROMPT, "--zero", "2:5", "--out", tmp_path / "a.svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert "layer 2, head 5 off" in " ".join("".join(t.itertext()) for t in root.iter(SVG + "text"))


def test_state_files(headscope, stories, tmp_path):
    state = tmp_path / "state.json"
    state.write_text('{"row_begin": 2, "row_end": 6, "key_begin": 1, "key_end": 5}')
    arguments = ["render", stories, "--view", "map", "--prompt", PROMPT, "--state", state, "--out", tmp_path / "m.csv"]
    headscope.text(*arguments)
    header, rows = table(tmp_path / "m.csv")
    columns = {name.split(" ")[0]: i for i, name in enumerate(header)}
    assert {int(row[columns["query"]]) for row in rows} == set(range(2, 6))
    assert {int(row[columns["key"]]) for row in rows} <= set(range(1, 5))
    state.write_text('{"colour": 1}')
    headscope.refusal(*arguments, words=["colour"])
    state.write_text("{")
    headscope.refusal(*arguments, words=["state.json", "JSON"])
    state.write_text('{"row_begin": 5, "row_end": 600}')
    headscope.refusal(*arguments, words=["600"])


def test_many_heads_without_a_tokenizer(headscope, tmp_path, random_models):
    for name in ("gpt2-odd-mlp", "llama-gqa"):
        headscope.text("render", random_models(name), "--ids", ",".join(map(str, range(60))), "--out", tmp_path / "a.svg")
        ElementTree.parse(tmp_path / "a.svg")
    headscope.refusal("render", random_models("llama-gqa"), "--out", tmp_path / "b.svg", words=["tokenizer", "--ids"])


@pytest.mark.parametrize("options, code, words", [
    (["--view", "pie"], 1, ["pie", "atlas"]), (["--size", "10"], 1, ["--size"]), (["--size", "0x0"], 2, ["0 x 0"]),
    (["--size", "100000x100000"], 2, ["100000"]), (["--size", "99999999999999999999x10"], 1, ["--size"]),
    (["--scale", "0"], 2, ["scale"]), (["--scale", "nan"], 2, ["scale"]), (["--scale", "9"], 2, ["scale"]),
    (["--view", "map", "--layer", "5"], 2, ["layer 5", "0 to 4"]), (["--view", "map", "--head", "8"], 2, ["head 8", "0 to 7"]),
    (["--layer", "5"], 2, ["layer 5"]), (["--head", "8"], 2, ["head 8"]),
    (["--view", "map", "--query", "99"], 2, ["token 99"]), (["--view", "map", "--key", "99"], 2, ["token 99"]),
])
def test_what_cannot_be_drawn(headscope, stories, tmp_path, options, code, words):
    headscope.refusal("render", stories, "--prompt", "Zoo", "--out", tmp_path / "a.png", *options, code=code, words=words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name, words", [("a.pdf", [".svg"]), ("a", [".svg"]), ("gone/a.png", ["gone"])])
def test_where_it_cannot_be_written(headscope, stories, tmp_path, name, words):
    headscope.refusal("render", stories, "--prompt", "Zoo", "--out", tmp_path / name, words=words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("view", ["map", "head", "atlas"])
def test_a_memory_budget_changes_no_picture(headscope, random_models, tmp_path, view):
    words = ["render", random_models("llama-gqa"), "--view", view, "--ids", ",".join(str(i) for i in range(1, 40)),
             "--layer", 1, "--head", 2, "--out"]
    headscope.text(*words, tmp_path / "all.csv")
    headscope.text(*words, tmp_path / "limited.csv", "--memory-budget", "0")
    assert (tmp_path / "all.csv").read_bytes() == (tmp_path / "limited.csv").read_bytes()
