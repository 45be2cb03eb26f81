"""Runs the `headscope` command in a child process, as a user would."""

import json
import os
import re
import subprocess

# A sentence that names a problem never needs longer than this, even on a busy machine.
TIME_LIMIT = 60
OK, USAGE, FAILURE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class Headscope:
    def __init__(self, path):
        self.path = os.path.abspath(path)

    def command(self, *arguments):
        return [self.path, *(a if isinstance(a, bytes) else str(a) for a in arguments)]

    def run(self, *arguments, limit=TIME_LIMIT, env=None, **more):
        """The finished process; output as bytes."""
        # Waiting threads sleep instead of spinning: tests run side by side.
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive", **(env or {})}
        more.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(self.command(*arguments), capture_output=True, timeout=limit,
                              env={k: v for k, v in environment.items() if v is not None}, check=False, **more)

    def text(self, *arguments, **more):
        """Standard output of a command that must succeed."""
        done = self.run(*arguments, **more)
        assert done.returncode == OK, f"exit code {done.returncode}: {done.stderr.decode(errors='replace')}"
        return done.stdout.decode()

    def json(self, *arguments, **more):
        """What `--json` prints, as strict JSON: NaN and Infinity are not numbers there."""
        return json.loads(self.text(*arguments, "--json", **more), parse_constant=_refuse_constant)

    def refusal(self, *arguments, code=FAILURE, words=(), **more):
        """The one sentence on standard error of a command that must fail with `code`, nothing on standard output."""
        done = self.run(*arguments, **more)
        sentence = done.stderr.decode()  # must be UTF-8
        assert done.returncode == code, f"exit code {done.returncode}, expected {code}: {sentence[:2000]}"
        assert done.stdout == b"", f"standard output is not empty: {done.stdout[:200]}"
        require_one_sentence(sentence)
        for word in words:
            assert word.lower() in sentence.lower(), f"{word!r} is not said in: {sentence}"
        return sentence


def require_one_sentence(text):
    lines = text.splitlines()
    notes = [line for line in lines if line.startswith("note: ")]
    sentences = [line for line in lines if not line.startswith("note: ")]
    assert len(sentences) == 1, f"expected one sentence, found {len(sentences)} lines beside {len(notes)} notes: {text}"
    assert sentences[0].startswith("headscope: ") and len(sentences[0]) > 20, text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text), f"control characters: {text!r}"


def _refuse_constant(name):
    raise ValueError(f"{name} is not JSON")
