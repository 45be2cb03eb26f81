"""What loading takes: memory while and after it, its progress bar, and how it is stopped."""

import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import random_checkpoint  # noqa: E402
import tiny_checkpoint  # noqa: E402
from loading import memory_after_loading  # noqa: E402

SHARE = 1.15  # of the weights
SIZES = {
    "gpt_neox": {**random_checkpoint.CONFIGS["pythia-410m"], "hidden_size": 768, "num_hidden_layers": 6,
                 "num_attention_heads": 12, "intermediate_size": 3072, "vocab_size": 10_000},
    "llama": {**random_checkpoint.CONFIGS["llama-3.2-1b"], "hidden_size": 768, "num_hidden_layers": 6,
              "num_attention_heads": 12, "num_key_value_heads": 4, "intermediate_size": 2048, "vocab_size": 40_000},
}


@pytest.mark.parametrize("kind", SIZES)
def test_memory_is_the_weights_and_little_more(headscope, tiny, tmp_path, kind):
    """Loading adds at most the weights and 15 % to what the program takes with a model of a few bytes (which is less
    than `info` takes: loading gives back what only the start needed)."""
    size = random_checkpoint.write(tmp_path / kind, SIZES[kind])
    assert 80_000_000 < size < 150_000_000
    without, _ = memory_after_loading(headscope.command("run", tiny), 0)
    for dtype, weights in (("bf16", size), ("f32", 2 * size)):
        resident, peak = memory_after_loading(headscope.command("run", tmp_path / kind, "--dtype", dtype), size)
        assert 0.9 * weights < resident - without < SHARE * weights, f"{dtype}: {(resident - without) / weights:.3f}"
        assert peak - without < SHARE * weights, f"{dtype}, at most: {(peak - without) / weights:.3f}"


@pytest.fixture(scope="module")
def large_tensor(tmp_path_factory):
    """A model of two tensors of 1.9 GB, all zero and absent from the disk."""
    return tiny_checkpoint.write_slow(tmp_path_factory.mktemp("large") / "large", width=32)


def bytes_read(process):
    """What the process has read from files; None when it has ended."""
    try:
        text = pathlib.Path(f"/proc/{process.pid}/io").read_text()
    except OSError:
        return None
    return int(re.search(r"rchar: (\d+)", text)[1])


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_loading_stops_inside_a_tensor(headscope, large_tensor, number, code):
    process = subprocess.Popen(headscope.command("run", large_tensor, "--ids", "1"), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    try:
        while (bytes_read(process) or 0) < 100_000_000 and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(number)
        last = 0
        while process.poll() is None:
            last = bytes_read(process) or last
            time.sleep(0.002)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code and output == b"" and b"stopped" in errors, errors
    assert last < 1_800_000_000, "it read the tensor to its end"


def test_a_bar_is_drawn_inside_a_tensor(headscope, large_tensor):
    """The first tensor is half of the file: every number below 49 % comes from inside it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(headscope.command("run", large_tensor, "--ids", "1"), stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while not re.search(rb"loading +\[#*\.+\] +([1-9]|[1-4][0-8]) %", seen):
            part = os.read(ours, 4096)  # fails when the program ends
            seen += part
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    finally:
        process.kill()
        os.close(ours)
