"""Ctrl-C and SIGTERM: exit codes 130 and 143, no partial file, the old file as it was."""

import signal
import subprocess
import time

import pytest

OLD = b"the old content"


@pytest.fixture(scope="module")
def long_model(tmp_path_factory):
    """A llama folder that takes long to run and whose maps take long to save."""
    import tiny_checkpoint

    config = {**tiny_checkpoint.CONFIG, "hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 4,
              "intermediate_size": 128, "vocab_size": 4000, "max_position_embeddings": 100_000}
    return tiny_checkpoint.write(tmp_path_factory.mktemp("long") / "long", config)


def interrupt(headscope, number, arguments, seconds, ready=None):
    """Sends the signal after `seconds`, or as soon as `ready()`. Returns (exit code, output, errors, reaction time)."""
    process = subprocess.Popen(headscope.command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + (seconds if ready is None else 30)
        while time.monotonic() < deadline and process.poll() is None and not (ready and ready()):
            time.sleep(0.01)
        assert process.poll() is None, f"it ended before it was stopped: {process.communicate()}"
        sent = time.monotonic()
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
        return process.returncode, output, errors, time.monotonic() - sent
    finally:
        process.kill()


def require_stopped(result, code):
    returncode, output, errors, reaction = result
    assert returncode == code, (returncode, errors)
    assert output == b"" and len(errors.splitlines()) <= 2 and b"stopped" in errors, errors
    assert reaction < 15  # half a second on a quiet machine


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_while_generating(headscope, long_model, tmp_path, number, code):
    (tmp_path / "out.h5").write_bytes(OLD)
    result = interrupt(headscope, number, ["run", long_model, "--ids", "1,2,3", "--generate", 99_000, "--ignore-eos", "--save",
                                           "stats", "--out", tmp_path / "out.h5"], 1.5)
    require_stopped(result, code)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.h5"] and (tmp_path / "out.h5").read_bytes() == OLD


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_while_saving(headscope, long_model, tmp_path, number, code):
    """8 maps of 6,000 x 6,000 tokens are 1.1 GB: the signal comes when a part of them is on the disk."""
    target = tmp_path / "out.h5"
    target.write_bytes(OLD)

    def has_begun():
        return any(entry.stat().st_size > 1_000_000 for entry in tmp_path.iterdir() if entry != target)

    ids = ",".join(str(i % 4000) for i in range(6000))
    result = interrupt(headscope, number, ["run", long_model, "--ids", ids, "--save", "attention", "--out", target], 0, has_begun)
    require_stopped(result, code)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.h5"] and target.read_bytes() == OLD


def test_while_packing(headscope, tmp_path):
    import numpy as np
    import tiny_checkpoint

    arrays = tiny_checkpoint.tensors()
    for i in range(40):
        arrays[f"extra.{i}"] = np.zeros((2_500_000,), np.float32)  # 400 MB in all
    folder = tiny_checkpoint.write(tmp_path / "large", arrays=arrays)
    out = tmp_path / "out"
    out.mkdir()

    def has_begun():
        return any(entry.stat().st_size > 1_000_000 for entry in out.iterdir())

    require_stopped(interrupt(headscope, signal.SIGINT, ["pack", folder, out / "m.h5"], 0, has_begun), 130)
    assert not list(out.iterdir())


def test_a_second_signal_ends_at_once(headscope, long_model):
    process = subprocess.Popen(headscope.command("run", long_model, "--ids", "1", "--generate", 99_000, "--ignore-eos"),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) in (130, -signal.SIGINT)
    finally:
        process.kill()
