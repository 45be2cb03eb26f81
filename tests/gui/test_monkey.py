"""Random input: no crash, no misuse of ImGui, no memory that only grows. HEADSCOPE_FULL=1 plays two minutes."""

import os

import pytest

import monkey

FULL = os.environ.get("HEADSCOPE_FULL", "") not in ("", "0")
SECONDS = 120 if FULL else 15
# Freed memory comes back to the system late and in pieces. Two minutes grew by 2 MiB, 15 seconds by 20; a copy of every
# run, or of one picture a frame, would be gigabytes.
LARGEST_GROWTH = 96 << 20


@pytest.mark.parametrize("seed", [1])
def test_random_input(seed, request, stories, random_models, tmp_path):
    program = os.path.abspath(request.config.getoption("--headscope-gui"))
    models = [stories, random_models("llama-gqa")]  # the second one has no tokenizer
    code, said, memory = monkey.play(program, tmp_path, seed, SECONDS, models, limit=10 * SECONDS + 60)
    assert code == 0, f"exit code {code} after {memory[-1][0]:.0f} s: {said[-2000:]}"
    assert said == ""
    assert memory[-1][0] > 0.9 * SECONDS, "the script ended early: it needs more lines"
    third = max(size for second, size in memory if second <= memory[-1][0] / 3)
    last = max(size for second, size in memory if second >= memory[-1][0] * 2 / 3)
    print(f"resident: {third >> 20} MiB in the first third, {last >> 20} MiB in the last")
    assert last - third <= LARGEST_GROWTH
    assert (tmp_path / "workspace.json").exists() and (tmp_path / "end.png").exists()
