"""Runs HeadScope's window off-screen with a script, as a user's hands would, and reads what it shows."""

import dataclasses
import functools
import json
import os
import pathlib
import shlex
import subprocess

import numpy as np

import png

OK, USAGE, FAILURE = 0, 1, 2
TIME_LIMIT = 100
THEMES = {  # colours of the style: window, panel, text, accents of the slots, selection
    "dark": dict(window="#14161A", panel="#1B1E24", raised="#252A32", text="#E7EAF0", A="#4FC1B0", B="#F2A65A",
                 selection="#FFFFFF", error="#F07A82"),
    "light": dict(window="#F3F4F7", panel="#FFFFFF", raised="#ECEFF4", text="#1B1F27", A="#07756A", B="#9C4F05",
                  selection="#1B1F27", error="#B3261E"),
}


def rgb(text):
    return tuple(int(text[i:i + 2], 16) for i in (1, 3, 5))


def quoted(text):
    """A word as command lines read it."""
    escaped = str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


@dataclasses.dataclass
class Result:
    code: int
    errors: str
    folder: pathlib.Path

    def picture(self, name="end.png"):
        return Picture(self.folder / name)

    def state(self, name="end.json"):
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


class Picture:
    """A screenshot. Its pixels are decoded when they are asked for."""

    def __init__(self, path):
        self.path = path
        self.filters, self.residuals = png.lines_of(path)

    @functools.cached_property
    def pixels(self):
        return png.read(self.path)[..., :3].astype(int)

    @property
    def size(self):
        return self.residuals.shape[1], self.residuals.shape[0]

    def count(self, colour, x=0, y=0, width=None, height=None, tolerance=0):
        """Pixels of a colour within a box."""
        part = self.pixels[y:None if height is None else y + height, x:None if width is None else x + width]
        return int((np.abs(part - np.array(rgb(colour))).max(-1) <= tolerance).sum())

    def at(self, x, y):
        return "#%02X%02X%02X" % tuple(self.pixels[y, x])

    def share(self, colour):
        return self.count(colour) / self.pixels[..., 0].size

    def require_something(self):
        """Not blank: pixels differ from their neighbours in many places of most rows."""
        changes = (self.residuals != 0).any(-1)
        assert changes.mean() > 0.003 and changes.any(1).mean() > 0.2, f"{self.path} is blank"

    def changed(self, other):
        """The share of rows that are not as in another picture of this size."""
        differ = (self.residuals != other.residuals).any((1, 2)) | (self.filters != other.filters)
        return differ.mean()

    def require_drawn(self, theme="dark"):
        """The theme's ground and panels, and something on them."""
        colours = THEMES[theme]
        self.require_something()
        assert self.at(2, self.size[1] - 2) == colours["window"]
        assert 0.2 < self.share(colours["panel"]) < 0.985, "no panels, or nothing on them"
        assert self.count(colours["text"], tolerance=24) > 200, "no text"


class HeadscopeWindow:
    """headscope-gui in a folder of its own."""

    def __init__(self, program, folder):
        self.program, self.folder = os.path.abspath(program), pathlib.Path(folder)

    def run(self, script, *arguments, size="1280x800", env=None, name="script.txt"):
        """The finished process; `script` is lines of text. The end's picture and state are kept."""
        lines = [line.strip() for line in script.strip().splitlines()]
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [self.program, *map(str, arguments), "--headless", "--size", size, "--script", name, "--shot", "end.png"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, timeout=TIME_LIMIT, check=False,
                              stdin=subprocess.DEVNULL, env={**os.environ, "OMP_WAIT_POLICY": "passive", **(env or {})})
        return Result(done.returncode, done.stderr.decode(), self.folder)

    def play(self, script, *arguments, **more):
        """A script that must come to its end, without misuse of ImGui; the picture must show something."""
        result = self.run(script + '\nwait idle\nwait 2\nexpect imgui_misuse == ""\nstate end.json', *arguments, **more)
        assert result.code == OK, f"exit code {result.code}: {result.errors}"
        assert result.errors == ""
        result.picture().require_something()
        return result

    def refusal(self, script, *arguments, code=FAILURE, words=(), **more):
        """The one sentence on standard error of a start that must fail."""
        result = self.run(script, *arguments, **more)
        assert result.code == code, f"exit code {result.code}, expected {code}: {result.errors}"
        for word in words:
            assert word.lower() in result.errors.lower(), f"{word!r} is not said in: {result.errors}"
        return result.errors


def shell_words(line):
    return shlex.split(line)
