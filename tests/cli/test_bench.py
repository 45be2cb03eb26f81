"""`headscope bench`: what it compares, what it reports, what it refuses. Times are never judged."""

import json
import math
import os
import re
import signal
import stat
import subprocess
import sys
import time

import pytest

LIMIT = 300  # seconds; a busy machine makes LibTorch's threads wait for each other
FAMILIES = ["attention", "decode", "tile", "statistics", "divergence", "linear", "model"]


def bench(headscope, *arguments, **more):
    env = {"HEADSCOPE_PYTHON": sys.executable, **more.pop("env", {})}
    return headscope.json("bench", "--tiny", "--repeats", 2, *arguments, limit=LIMIT, env=env, **more)


@pytest.fixture(scope="module")
def found(headscope, tmp_path_factory):
    """Everything once; --out must hold what --json prints."""
    file = tmp_path_factory.mktemp("bench") / "bench.json"
    report = bench(headscope, "--out", file)
    assert json.loads(file.read_text()) == report
    return report


def test_says_what_it_measured_on(found):
    machine = found["machine"]
    assert set(machine) == {"cpu", "cores", "l3_bytes", "memory_bytes", "vector_targets", "load_at_start"}
    assert machine["cores"] >= 1 and machine["l3_bytes"] > 1 << 18 and machine["vector_targets"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["date"])
    assert found["commit"] and found["version"] and found["libtorch"].startswith("2.") and found["threads"] >= 1
    assert found["device"] == {"kind": "cpu"}
    assert found["settings"]["tiny"] and found["settings"]["repeats"] == 2 and len(found["settings"]["kernels"]) == 1


def test_measures_the_limits(found):
    assert [limit["name"] for limit in found["limits"]] == ["fma", "exp", "log", "read"]
    for limit in found["limits"]:
        assert limit["one_thread"] > 0 and limit["all_threads"] > 0 and limit["unit"].endswith("/s"), limit


def require_times(times, rounds=2):
    assert len(times["all"]) == rounds and times["min"] == min(times["all"]) > 0
    assert times["median"] == pytest.approx(sum(times["all"]) / rounds)


def test_every_row_was_compared_and_timed(found):
    rows = found["rows"]
    assert list(dict.fromkeys(row["family"] for row in rows)) == FAMILIES
    for row in rows:
        assert "skipped" not in row, row
        assert row["operation"] and row["shape"] and row["ours"], row
        long_pass = row["family"] == "model" and "192 tokens" in row["shape"]
        require_times(row["ours_ms"], 1 if long_pass else 2)
        if "library" not in row:
            assert long_pass or row["operation"] == "exact Jensen-Shannon", row
            assert row["floor"]["share"] > 0
            continue
        require_times(row["library_ms"])
        assert row["ratio_of_minimums"] == pytest.approx(row["ours_ms"]["min"] / row["library_ms"]["min"])
        assert math.isfinite(row["ratio_of_medians"]) and row["ratio_of_medians"] > 0
        assert row["compared"] and row["library_operations"], row
        for one in row["compared"]:
            assert 0 <= one["largest_difference"] <= one["tolerance"] * max(one["largest_value"], 1e-30), one
        if "floor" in row:
            assert row["floor"]["ms"] > 0 and row["floor"]["limits"] in ("fma", "read", "fma + exp", "fma + exp + log")


def rows_of(report, family, operation):
    return [row for row in report["rows"] if row["family"] == family and row["operation"] == operation]


def test_names_what_ran(found):
    flash = "aten::_scaled_dot_product_flash_attention_for_cpu"
    for row in found["rows"]:
        if row.get("library", "").split(", ")[-1] in ("flash SDPA", "SDPA composition", "sdpa"):
            assert flash in row["library_operations"]
        if row["family"] in ("attention", "decode") and row["operation"].endswith("bf16"):
            assert re.fullmatch(r"cpu/\w+", row["ours"]) and row["library"] == "flash SDPA of bf16"
            assert flash in row["library_operations"]
        elif row["family"] in ("attention", "decode", "tile", "statistics", "divergence"):
            assert row["ours"] == found["settings"]["kernels"][0]
        if row["family"] == "model":
            assert re.fullmatch(r"cpu/\w+, (f32|bf16)", row["ours"])
            assert re.fullmatch(r"transformers [\d.]+, (eager|sdpa|sdpa in bf16)", row.get("library", "transformers 5, sdpa"))
        if row["family"] == "linear":
            assert re.fullmatch(r"cpu/\w+", row["ours"])
    assert "aten::softmax" in rows_of(found, "model", "all statistics")[0]["library_operations"]
    assert {row["library"] for row in found["rows"] if row["family"] == "linear"} == {
        "at::linear", "oneDNN, prepacked", "at::linear in bf16"}


def test_compares_all_statistics(found):
    composed = [row for row in found["rows"] if row.get("library") == "SDPA composition"]
    everything = {
        "output", "log-sum-exp", "entropy", "distance", "variance of distance", "sink mass", "window mass",
        "means of cells", "maxima of cells", "largest weight", "weight of the likeliest key"}
    assert set(results_of(composed[0])) == everything
    assert all(set(results_of(row)) == everything for row in rows_of(found, "attention", "with statistics, bf16"))
    eager, sdpa, alone = rows_of(found, "model", "all statistics")
    assert "library" not in alone and "192 tokens" in alone["shape"]
    assert {one["result"] for one in eager["compared"]} == {
        "logits", "entropy", "max", "distance", "distance_variance", "sink", "window", "thumbnails"}
    assert results_of(sdpa) == ["logits"]
    for row in rows_of(found, "model", "one token") + rows_of(found, "model", "one token, bf16"):
        assert results_of(row) == ["logits"] and 0 < row["compared"][0]["largest_difference"]
    for row in (eager, sdpa):
        assert row["ours_peak_bytes"] >= 0 and row["library_peak_bytes"] >= 0


def test_tells_memory_beside_its_formula(found):
    """Of a model with 2 layers, width 64, 4 heads, 256 words; 96 tokens, then 192."""
    rows = [row for row in found["rows"] if "memory" in row]
    assert [row["operation"] for row in rows] == [
        "all statistics", "all statistics, bf16", "all statistics", "all statistics, bf16", "all statistics"]
    for row, tokens in zip(rows, [96, 96, 96, 96, 192]):
        positions = 192 if tokens == 192 else 96 + 128
        matrices = 2 * 12 * 64 * 64 + (256 + positions) * 64
        number = 2 if "bf16" in row["operation"] else 4
        loaded = matrices * number + (2 * 13 + 2) * 64 * 4
        needed = tokens * (2 * (3 * 64 * number + 2 * 4 * 4) + 7 * 64 * 4)
        memory = row["memory"]
        assert (memory["loaded_bytes"], memory["formula_bytes"]) == (loaded, needed)
        assert memory["by_formula"] == pytest.approx((loaded + row["ours_peak_bytes"]) / (loaded + needed))


def results_of(row):
    return [one["result"] for one in row["compared"]]


def test_compares_statistics_of_maps(found):
    rows = [row for row in found["rows"] if row["family"] == "statistics"]
    assert [row["operation"] for row in rows] == [
        "column mass, 128 x 128 cells", "column mass, distances, 32 x 32 cells"]
    assert results_of(rows[0]) == ["column mass", "means of cells"]
    assert results_of(rows[1]) == ["column mass", "means of cells", "maxima of cells", "distances"]
    assert all("aten::baddbmm" in row["library_operations"] for row in rows)


def test_compares_divergences(found):
    exact, hellinger, sampled, alone = [row for row in found["rows"] if row["family"] == "divergence"]
    assert [row["operation"] for row in (exact, hellinger, sampled, alone)] == [
        "exact Jensen-Shannon", "Hellinger's bracket", "sampled, 4,096 draws a head", "exact Jensen-Shannon"]
    assert results_of(exact) == results_of(hellinger) == ["divergences"]
    assert results_of(sampled) == ["divergences", "sampled beside exact"]
    assert "library" in exact and "library" not in alone
    for row in (exact, hellinger, sampled):
        assert 0.1 < row["compared"][0]["largest_value"] < math.log(2), "heads that are far apart, but not disjoint"


def test_times_the_kernels_that_are_named(headscope):
    report = bench(headscope, "--only", "attention,decode,tile,statistics,divergence", "--kernel", "reference,cpu/SSE4")
    assert {row["ours"] for row in report["rows"]} == {"reference", "cpu/SSE4"}
    assert {row["family"] for row in report["rows"]} == {"attention", "decode", "tile", "statistics", "divergence"}


def test_prints_a_table(headscope):
    text = headscope.text("bench", "--tiny", "--repeats", 1, "--only", "attention,linear", limit=LIMIT)
    for words in ("machine", "GFLOP/s", "values/s", "ratio", "% of fma", "flash SDPA ran aten::", "no statistics", "ours"):
        assert words in text, words
    only_limits = headscope.text("bench", "--tiny", "--only", "limits", limit=LIMIT)
    assert "GFLOP/s" in only_limits and "ratio:" not in only_limits


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize("python, reason", [
    (lambda folder: script(folder / "bare", f'exec {sys.executable} -S "$@"'), "has no torch"),
    (lambda folder: script(folder / "gone", "echo sorry >&2; exit 3"), "sorry"),
    (lambda folder: str(folder / "absent"), "cannot be run")])
def test_without_transformers_its_rows_are_skipped(headscope, tmp_path, python, reason):
    report = bench(headscope, "--only", "model", env={"HEADSCOPE_PYTHON": python(tmp_path)})
    skipped = [row for row in report["rows"] if "skipped" in row]
    assert len(skipped) == 6 and all(reason in row["skipped"] and row["library"] for row in skipped)
    # Our own decoding stands beside its floor all the same.
    assert [row["operation"] for row in report["rows"] if "floor" in row] == [
        "all statistics", "one token", "one token, bf16"]


@pytest.mark.parametrize("arguments, words", [
    (["--only", "flash"], ["flash", "attention, decode, tile, statistics, divergence"]),
    (["--only", "tile,,linear"], ["--only"]),
    (["--kernel", "cpu/MMX"], ["cpu/MMX", "reference"]),
    (["--kernel", "cpu/AVX512_BF16"], ["cpu/AVX512_BF16", "f32"]),
    (["--repeats", "-1"], ["--repeats"]),
    (["--repeats", "101"], ["--repeats", "100"]),
    (["--dtype", "bf16"], ["--dtype"])])
def test_refuses_what_makes_no_sense(headscope, arguments, words):
    headscope.refusal("bench", "--tiny", *arguments, code=1, words=words)


def test_refuses_a_file_that_cannot_be_written(headscope, tmp_path):
    headscope.refusal("bench", "--tiny", "--only", "limits", "--out", tmp_path / "absent" / "bench.json", words=["absent"])


def children_of(process):
    with open(f"/proc/{process}/task/{process}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def test_ctrl_c_ends_its_processes(headscope, tmp_path):
    """Nothing stays behind: neither the checkpoint nor the processes that run it."""
    env = {**os.environ, "HEADSCOPE_PYTHON": sys.executable, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(headscope.command("bench", "--tiny", "--only", "model", "--repeats", 100),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    try:
        deadline = time.monotonic() + 60
        while len(children := children_of(process.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(children) >= 3 and list(tmp_path.iterdir())
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130 and output == b"" and b"stopped" in errors
    assert list(tmp_path.iterdir()) == []
    assert not any(os.path.exists(f"/proc/{child}") for child in children)
