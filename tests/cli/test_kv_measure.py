"""`headscope kv --measure`: caches that are allocated and decoded from; bytes are those of the storage and the process."""

import csv
import json
import os
import subprocess

import png
import pytest


@pytest.fixture(scope="module")
def stories(stories_shape):
    """Its shape is enough here, so that nothing is left out where the trained model is absent."""
    return stories_shape


def measured(headscope, *arguments):
    return headscope.json("kv", *arguments, "--measure", "--repeats", 1)


def test_measures_every_row(headscope, stories):
    found = measured(headscope, stories, "--batch", "1,3", "--context", "64,512", "--what-if", "mqa,cla-2,sharedkv,slim-mha")
    assert len(found) == 5 * 4
    for row in found:
        one = row["measured"]
        assert one["formula_bytes"] == one["used_bytes"] == one["allocated_bytes"] == row["bytes"]
        assert one["peak_bytes"] >= one["allocated_bytes"]
        assert one["too_short"] == (row["context"] < 256) and one["cache_dtype"] == "f32" and one["device"] == "cpu"
        assert one["weights"] == ("random" if row["counterfactual"] else "checkpoint")
        assert one["prefill_tokens_per_second"] > 0 and one["kernel"].startswith("cpu/")
        assert one["decode_tokens_per_second"] == pytest.approx(row["batch"] / one["step_ms"] * 1e3)
        # Layers of CLA read what another one holds: 5 layers read, 3 own.
        readers = 5 / 3 if row["what_if"] == "CLA-2" else 1
        assert one["read_bytes_per_step"] == pytest.approx(row["bytes"] * readers)


def test_medians_lie_between_their_repeats(headscope, stories):
    """test_run's KvMeasurement looks at medians, the warm-up and the order of models."""
    def rows(repeats):
        words = ["--what-if", "mqa", "--context", 64, "--measure", "--repeats", repeats]
        return [row["measured"] for row in headscope.json("kv", stories, *words)]

    for one in rows(3):
        slowest, fastest = one["decode_range"]
        assert slowest < fastest and slowest <= one["decode_tokens_per_second"] <= fastest
    for one in rows(1):
        assert one["decode_range"] == [one["decode_tokens_per_second"]] * 2


def test_text_explains_itself(headscope, stories):
    text = headscope.text("kv", stories, "--measure", "--repeats", 1, "--context", "64,512")
    for words in ("measured", "process +", "read a step", "too short to show a KV effect", "medians of 1", "room for"):
        assert words in text, words
    assert "too short" not in headscope.text("kv", stories, "--measure", "--repeats", 1, "--context", "512")


def test_the_process_grows_by_the_cache(headscope):
    """Caches of 96 MiB and more: what the process grew by is what was allocated, and a little for the step;
    less by some pages that an earlier measurement left."""
    for row in measured(headscope, "pythia-14m", "--what-if", "mqa", "--batch", "8,16", "--context", "2k"):
        one = row["measured"]
        assert one["used_bytes"] == row["bytes"]
        assert row["bytes"] - (1 << 20) <= one["process_growth_bytes"] <= row["bytes"] * 1.1 + (24 << 20), row["model"]


def test_windows_hold_the_window(headscope, tmp_path):
    """Gemma 3's pattern, small: five layers with a window of 16, then one without, twice."""
    config = {"model_type": "gemma3_text", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32,
              "num_hidden_layers": 12, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
              "max_position_embeddings": 2048, "sliding_window": 16, "sliding_window_pattern": 6,
              "query_pre_attn_scalar": 8, "rope_theta": 1e4, "rms_norm_eps": 1e-6}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    one = measured(headscope, path, "--batch", 2, "--context", 1024)[0]["measured"]
    row = 2 * 2 * 8 * 4
    assert one["used_bytes"] == one["formula_bytes"] == 2 * row * (10 * 16 + 2 * 1024)
    # A window's cache has room for the window and what is written at once, 256 tokens here.
    assert one["allocated_bytes"] == 2 * row * (10 * (16 + 256) + 2 * 1024)
    assert one["read_bytes_per_step"] == one["used_bytes"]


def test_tiny_sequences_do_not_run_away(headscope, tiny):
    """A sequence of 4 tokens takes some bytes; what a process needs beside its cache bounds the search."""
    program, limit = [headscope.path, "kv", tiny, "--measure", "--repeats", 1, "--context", 4, "--json"], 250 << 20
    process = subprocess.Popen([str(word) for word in [*program, "--memory-limit", "250MiB"]], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0 and usage.ru_maxrss * 1024 < 1.5 * limit


def test_largest_batch(headscope, stories):
    """Each sequence of 512 tokens holds 640 KiB."""
    def alone(*words):
        process = subprocess.Popen([str(word) for word in [headscope.path, *words]], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss * 1024

    limits = {}
    for limit in ("300MiB", "360MiB"):
        row = measured(headscope, stories, "--context", 512, "--memory-limit", limit)[0]["measured"]
        found = limits[limit] = row["largest_batch"]
        assert found["memory_limit_bytes"] == {"300MiB": 300 << 20, "360MiB": 360 << 20}[limit]
        assert 0 < found["process_bytes"] <= found["memory_limit_bytes"]
        # One more would not have fitted, but for what the system rounds.
        assert found["process_bytes"] + (16 << 20) > found["memory_limit_bytes"]
        # A process that does nothing else stays below the limit, give or take what varies.
        peak = alone("kv", stories, "--measure", "--repeats", 1, "--context", 512, "--batch", found["batch"])
        assert 0.8 * found["memory_limit_bytes"] < peak < found["memory_limit_bytes"] + (32 << 20), peak
    more = limits["360MiB"]["batch"] - limits["300MiB"]["batch"]
    assert abs(more - 60 * 1024 / 640) < 40
    none = measured(headscope, stories, "--context", 512, "--memory-limit", "1MiB")[0]["measured"]["largest_batch"]
    assert none["batch"] == 0
    assert "does not fit" in headscope.text("kv", stories, "--measure", "--repeats", 1, "--context", 512, "--memory-limit",
                                            "1MiB")


def test_speed_is_drawn_and_written(headscope, stories, tmp_path):
    for name in ("speed.png", "speed.svg", "speed.csv"):
        headscope.text("kv", stories, "--measure", "--repeats", 1, "--batch", "1,2", "--context", 300, "--what-if", "mqa",
                       "--out", tmp_path / name)
    assert png.read(tmp_path / "speed.png").shape[:2] == (800, 1280)
    assert "Decode speed against batch" in (tmp_path / "speed.svg").read_text()
    rows = list(csv.DictReader((tmp_path / "speed.csv").read_text().splitlines()))
    assert len(rows) == 4 and {"decode (tokens/s)", "kv_allocated (bytes)"} <= set(rows[0])
    assert [row["kv_used (bytes)"] for row in rows] == ["384000", "768000", "96000", "192000"]
    assert [row["weights"] for row in rows] == ["checkpoint", "checkpoint", "random", "random"]
    assert {(row["repeats"], row["largest_batch"]) for row in rows} == {("1", "")}
    assert all(row["kernel"].startswith("cpu/") and int(row["threads"]) > 0 for row in rows)


@pytest.mark.parametrize("plot", ["batch", "token"])
def test_measurements_are_written_whatever_is_plotted(headscope, stories, tmp_path, plot):
    headscope.text("kv", stories, "--measure", "--repeats", 1, "--batch", "1,2", "--context", 64, "--plot", plot,
                   "--memory-limit", "1MiB", "--out", tmp_path / "kv.csv")
    rows = list(csv.DictReader((tmp_path / "kv.csv").read_text().splitlines()))
    assert [row["kv_used (bytes)"] for row in rows] == ["81920", "163840"]
    assert [row["largest_batch"] for row in rows] == ["0", "0"] and float(rows[0]["decode (tokens/s)"]) > 0


@pytest.mark.parametrize("arguments, code, words", [
    (("--memory-limit", "2GiB"), 1, ["--memory-limit", "--measure"]),
    (("--measure", "--memory-limit", "2"), 1, ["--memory-limit", "2GiB"]),
    (("--measure", "--context", "500", "--memory-limit", "900000TB"), 2, ["--memory-limit", "free"]),
    (("--measure", "--context", "513"), 2, ["512", "513", "--context"]),
    (("--measure", "--context", "3"), 1, ["4 tokens"]),
    (("--measure", "--context", "512", "--batch", "1000000"), 2, ["KV cache", "--batch"]),
    (("--repeats", "4"), 1, ["--repeats", "--measure"]),
    (("--plot", "speed", "--out", "x.svg", "--context", "1,2"), 1, ["--measure"]),
    (("--measure", "--plot", "speed", "--out", "x.svg", "--context", "500"), 1, ["several"]),
    (("--measure", "--repeats", "0", "--context", "500"), 1, ["--repeats"])])
def test_refusals(headscope, stories, tmp_path, arguments, code, words):
    arguments = [tmp_path / "x.svg" if one == "x.svg" else one for one in arguments]
    headscope.refusal("kv", stories, *arguments, code=code, words=words)
    assert not (tmp_path / "x.svg").exists()


def test_models_larger_than_the_machine_are_refused(headscope):
    headscope.refusal("kv", "GPT-3", "--measure", "--dtype", "bf16", words=["GPT-3", "with its weights", "free"])
