"""The program as a whole: help, version, exit codes, streams."""

import os
import re
import subprocess

import pytest

COMMANDS = ("info", "run", "kv", "render", "pack", "unpack", "import", "verify")


def test_version(headscope):
    assert re.fullmatch(r"headscope \d+\.\d+\.\d+\n", headscope.text("--version"))


def test_help_names_every_command(headscope):
    text = headscope.text("--help")
    for command in COMMANDS:
        assert re.search(rf"^  {command}\b", text, re.MULTILINE), command
    for option in ("--device", "--dtype", "--threads", "--seed", "--json", "--quiet"):
        assert option in text, option


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(headscope, command):
    text = headscope.text(command, "--help")
    example = re.search(rf"^Example: headscope {command} \S+.*$", text, re.MULTILINE)
    assert example, text
    # Every option that the example uses exists.
    for option in re.findall(r"--[a-z-]+", example.group()):
        assert option in text.replace(example.group(), "") or option in headscope.text("--help"), option


@pytest.mark.parametrize("arguments", [
    [], ["frobnicate"], ["info", "--frobnicate"], ["run"], ["render", "x"], ["pack", "x"], ["run", "x", "--generate", "-1"],
    ["run", "x", "--ids"], ["info", "x", "y"], ["--threads", "x", "info", "x"], ["--threads", "1e9x", "info", "x"],
    ["--threads", "-1", "info", "x"], ["--device", "tpu", "info", "x"], ["--dtype", "f8", "info", "x"],
    ["--seed", "-1", "verify"], ["--seed", "18446744073709551616", "verify"], ["run", "x"] + ["y"] * 10_000,
])
def test_usage_errors(headscope, arguments):
    done = headscope.run(*arguments)
    assert done.returncode == 1 and done.stdout == b"" and 0 < len(done.stderr) < 200_000


def test_global_options_stand_anywhere(headscope, tiny):
    after = headscope.text("info", tiny, "--json")
    assert headscope.text("--json", "info", tiny) == headscope.text("info", "--json", tiny) == after


def test_output_nobody_reads(headscope, stories):
    """A closed pipe is an error, not a death by SIGPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(headscope.command("info", stories, "--json"), stdout=writer, stderr=subprocess.PIPE,
                              timeout=60, check=False)
    finally:
        os.close(writer)
    assert done.returncode == 2 and b"standard output" in done.stderr


def test_output_to_a_full_disk(headscope, stories):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(headscope.command("info", stories), stdout=full, stderr=subprocess.PIPE, timeout=60,
                              check=False)
    assert done.returncode == 2 and b"standard output" in done.stderr


def test_standard_input_is_not_needed(headscope, tiny):
    done = subprocess.run(["sh", "-c", '"$0" "$@" <&-', *headscope.command("run", tiny, "--ids", "1")],
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_closed_output_while_a_file_is_saved(headscope, stories, tmp_path):
    """The file is complete even if nobody reads the text."""
    done = subprocess.run(["sh", "-c", '"$0" "$@" >&-', *headscope.command(
        "run", stories, "--prompt", "Zoo", "--save", "stats", "--out", tmp_path / "f.h5")],
        capture_output=True, timeout=60, check=False)
    assert done.returncode == 2 and (tmp_path / "f.h5").exists()
    import h5py
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["stats/entropy"].shape == (5, 8, 4)
