"""Plays with the window at random, seeded: a script of commands, clicks, drags, wheels, keys, typed and pasted text,
resizes, dropped files and cancels. What a user's hand may do must never end the program, misuse ImGui or let memory
grow. As a program it prints the script of a seed:
    python tests/gui/monkey.py SEED SECONDS MODEL [MODEL...]
"""

import os
import random
import subprocess
import sys
import time

VIEWS = ["atlas", "map", "kv"]
METRICS = ["entropy", "distance", "sink", "max"]
KEYS = ["f", "l", "n", "x", "left", "right", "up", "down", "escape", "enter", "tab", "home", "end", "pageup", "pagedown",
        "backspace", "delete", "space", "ctrl+1", "ctrl+2", "ctrl+3", "ctrl+t", "ctrl+=", "ctrl+-", "ctrl+0", "ctrl+h",
        "ctrl+l", "ctrl+k", "ctrl+p", "ctrl+c", "ctrl+shift+c", "ctrl+enter", "ctrl+g", "ctrl+.", "ctrl+o",
        "ctrl+tab", "ctrl+a", "ctrl+z", "ctrl+x", "shift+left", "ctrl+w", "ctrl+e"]
TEXTS = ["Lily", "a dog ran", "日本語", "🦊🐉👩‍👩‍👧", "é̂", "   ", "(\"quoted\" \\ back)", "{}[]<>&", "0:40", "x" * 300]
SIZES = ["1280x800", "1600x1000", "1920x1080", "900x600", "640x480", "400x300", "321x241"]


class Monkey:
    def __init__(self, seed, models, bad_files):
        self.chance, self.models, self.bad_files = random.Random(seed), models, bad_files
        self.width, self.height = 1280, 800

    def token(self):
        return self.chance.choice([0, 1, 2, 5, 17, 40, 63, 200, 5000])

    def place(self):
        chance = self.chance
        regions = [
            f"at/{chance.randint(0, self.width)}/{chance.randint(0, self.height)}",
            f"atlas/{chance.randrange(6)}/{chance.randrange(9)}",
            f"map/cell/{chance.randrange(60)}/{chance.randrange(60)}",
            f"tokens/{chance.randrange(60)}",
            chance.choice(["run", "next", "generate", "cancel", "sampling", "prompt/editor", "prompt/edit", "head/close"]),
            f"tab/{chance.choice(VIEWS)}",
            f"metric/{chance.choice(METRICS)}",
        ]
        return chance.choices(regions, [6, 3, 3, 2, 2, 1, 1])[0]

    def command(self):
        chance = self.chance
        begin = self.token()
        return chance.choice([
            f"select layer={chance.randrange(7)} head={chance.randrange(10)}",
            f"select query={self.token()} key={self.token()}",
            "unlock", "fit", "log_colour", "furthest", f"largest {chance.choice(METRICS)}",
            f"view {chance.choice(VIEWS)}", f"metric {chance.choice(METRICS)}", f"theme {chance.choice(['dark', 'light'])}",
            f"font_scale {chance.choice([0.8, 1, 1.3, 1.6, 9])}", f"slot {chance.choice('AB')}", "switch_off",
            f"zoom {begin}:{begin + self.token()} 0:{self.token()}",
            "run", f"run cut={chance.choice([1, 2, 17, 100])}", "next", f"generate {chance.choice([1, 3, 20, 400])}",
            f"sampling temperature={chance.choice([0, 0.7, 3])} top_k={chance.choice([0, 5])} seed={begin}",
            "cancel", "copy", "copy_command", "toggle_head", "toggle_log", "reset_layout", "dismiss", "escape", "palette",
            "about", "no_such_command", "export monkey.png", "export monkey.svg", "export monkey.csv",
            "export /no/such/folder/x.png", "close slot=B", f'prompt "{chance.choice(["A dog.", "Lily " * 30, " "])}"',
            f'open "{chance.choice(self.models)}" slot={chance.choice("AB")}',
            f'open "{chance.choice(self.bad_files)}"',
        ])

    def text(self):
        return self.chance.choice(TEXTS)

    def line(self):
        chance = self.chance
        kind = chance.choices(
            ["command", "click", "double", "drag", "shift", "wheel", "hover", "key", "type", "paste", "resize", "drop",
             "wait"], [20, 16, 3, 8, 3, 9, 10, 14, 4, 2, 1, 2, 8])[0]
        if kind == "command":
            return f"try {self.command()}"
        if kind == "click":
            return f"try click {self.place()}"
        if kind == "double":
            return f"try double_click {self.place()}"
        if kind in ("drag", "shift"):
            name = "drag" if kind == "drag" else "shift_drag"
            return f"try {name} {self.place()} {chance.randint(-300, 300)} {chance.randint(-200, 200)}"
        if kind == "wheel":
            return f"try wheel {self.place()} {chance.choice([-30, -3, -1, -0.3, 0.3, 1, 3, 30])}"
        if kind == "hover":
            return f"try hover {self.place()}"
        if kind == "key":
            return f"try key {chance.choice(KEYS)}"
        if kind in ("type", "paste"):
            return f"{kind} {self.text()}"
        if kind == "resize":
            size = chance.choice(SIZES)
            self.width, self.height = (int(part) for part in size.split("x"))
            return f"resize {size}"
        if kind == "drop":
            files = chance.sample([*self.models, *self.bad_files], chance.choice([1, 1, 2]))
            return "drop " + " ".join(f'"{file}"' for file in files)
        return f"wait {chance.choice([1, 2, 5, 30])}"

    def script(self, seconds, lines):
        yield "wait idle"
        yield f"budget {seconds}"
        for _ in range(lines):
            yield self.line()
        yield "finally"
        yield from ("try cancel", "wait idle", "try escape", "try escape", 'expect imgui_misuse == ""',
                    # the tiles' budget, and what a 4K screen of pictures may need
                    f"expect tile_bytes <= {256 << 20}", f"expect texture_bytes <= {256 << 20}", "state end.json")


def bad_files(folder):
    """Files that no model is in."""
    (folder / "empty").mkdir()
    (folder / "noise.h5").write_bytes(random.Random(1).randbytes(5000))
    (folder / "text.txt").write_text("no model\n")
    broken = folder / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "llama"')
    return [folder / "empty", folder / "noise.h5", folder / "text.txt", broken, folder / "absent"]


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def play(program, folder, seed, seconds, models, limit):
    """(exit code, what it said, [(second, resident bytes)])."""
    monkey = Monkey(seed, [str(one) for one in models], [str(one) for one in bad_files(folder)])
    (folder / "monkey.script").write_text("\n".join(monkey.script(seconds, 200 * seconds)) + "\n", encoding="utf-8")
    command = [program, str(models[0]), "--headless", "--size", "1280x800", "--script", "monkey.script",
               "--workspace", "workspace.json", "--shot", "end.png"]
    begin, memory = time.monotonic(), []
    with open(folder / "said.txt", "wb") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, stdin=subprocess.DEVNULL,
                                   env={**os.environ, "OMP_WAIT_POLICY": "passive"})
    while process.poll() is None:
        try:
            memory.append((time.monotonic() - begin, resident_bytes(process.pid)))
        except (FileNotFoundError, ProcessLookupError, IndexError):
            break
        if time.monotonic() - begin > limit:
            process.kill()
            break
        time.sleep(0.1)
    return process.wait(), (folder / "said.txt").read_text(errors="replace"), memory


if __name__ == "__main__":
    print("\n".join(Monkey(int(sys.argv[1]), sys.argv[3:], ["/no/such/file"]).script(
        int(sys.argv[2]), 200 * int(sys.argv[2]))))
