"""Watches a `headscope run` that loads a model, through /proc. Linux only."""

import pathlib
import re
import subprocess
import time

READY, STILL = 120, 0.3  # seconds


def numbers(process, file, *names):
    text = pathlib.Path(f"/proc/{process.pid}/{file}").read_text()
    return [int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1]) for name in names]


def memory(process):
    """(resident bytes, their peak so far)"""
    resident, peak = numbers(process, "status", "VmRSS", "VmHWM")
    return 1024 * resident, 1024 * peak


def waits(process):
    """Whether it sleeps now, for its prompt."""
    return pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "S"


def wait_until_read(process, size):
    """Until the process has read so many bytes of files, which is when the last tensor is in."""
    deadline = time.monotonic() + READY
    while numbers(process, "io", "rchar")[0] < size:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"it did not load: exit code {process.returncode}")
        time.sleep(0.005)


def memory_after_loading(command, size):
    """(resident, peak) bytes of a `headscope run MODEL` that has loaded its weights, `size` bytes of file, and waits for
    its prompt on standard input."""
    process = subprocess.Popen([*command, "--prompt-file", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        wait_until_read(process, size)
        found = None
        while True:  # the last tensor may still be sorted into weights
            before, found = found, (waits(process), *memory(process))
            if before == found and found[0]:
                return found[1:]
            time.sleep(STILL)
    finally:
        process.kill()
        process.wait()
