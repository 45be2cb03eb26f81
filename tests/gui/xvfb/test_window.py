"""The window itself, on a virtual X server: what hands do arrives, and what ends it loses nothing."""

import json
import subprocess
import time

import pytest

import virtual_screen

PROMPT = "Once upon a time there was a girl named Lily. She saw a big dog and a red ball."
HARD_PROMPT = "Lily saw 🦊🐉 and 日本語の本, naïve café."
# What the first screen needs before hands move: a script plays it, writes a file, and the window stays.
EDITING = ["until editing == true", "wait 4", "state editing.json"]
READY = ["until slots.A.tokens > 0", "wait idle", "wait 3"]


@pytest.fixture(scope="module")
def screen():
    if lacking := virtual_screen.missing_programs():
        pytest.skip(f"not installed: {', '.join(lacking)}")
    with virtual_screen.Screen() as one:
        yield one


class Hands:
    """A running window with the model in slot A."""

    def __init__(self, screen, program, folder, model, script, *arguments, workspace=None):
        self.screen, self.folder = screen, folder
        self.workspace, self.times = folder / "workspace.json", folder / "times.json"
        if workspace:
            self.workspace.write_text(json.dumps(workspace))
        (folder / "script").write_text("\n".join([*READY, "state ready.json", *script]) + "\n")
        self.process = subprocess.Popen(
            [program, model, "--script", "script", "--workspace", self.workspace, "--frame-times", self.times,
             *map(str, arguments)], env={**screen.environment, "OMP_WAIT_POLICY": "passive"}, cwd=folder,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        try:
            self.first_state = self.state("ready.json")
            self.id = screen.wait_for_window("HeadScope")
        except BaseException:
            self.end_by_force()
            raise
        time.sleep(0.3)

    def state(self, name, limit=60):
        """The state that the script writes once its lines above hold."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if (self.folder / name).exists():
                return json.loads((self.folder / name).read_text(encoding="utf-8"))
            assert self.process.poll() is None, f"ended: {self.process.stderr.read().decode()}"
            time.sleep(0.02)
        raise TimeoutError(f"{name} was not written within {limit} s")

    def keys(self, *chords):
        for chord in chords:
            self.screen.xdotool("key", chord)
            time.sleep(0.12)

    def type(self, text):
        self.screen.xdotool("type", "--delay", 15, text)
        time.sleep(0.3)

    def paste(self, text):
        self.screen.set_clipboard(text)
        self.keys("ctrl+v")
        time.sleep(0.3)

    def edit_prompt(self):
        """Ctrl+P, and the editor has the keyboard (the script has the lines EDITING)."""
        self.keys("ctrl+p")
        self.state("editing.json")

    def move(self, x, y):
        self.screen.xdotool("mousemove", "--window", self.id, x, y)
        time.sleep(0.1)

    def click(self, x, y):
        self.move(x, y)
        self.screen.xdotool("click", 1)
        time.sleep(0.2)

    def wheel(self, x, y, notches):
        self.move(x, y)
        for _ in range(abs(notches)):
            self.screen.xdotool("click", 4 if notches > 0 else 5)
            time.sleep(0.1)

    def drag(self, x, y, dx, dy):
        self.move(x, y)
        self.screen.xdotool("mousedown", 1)
        for step in range(1, 9):
            time.sleep(0.12)
            self.screen.xdotool("mousemove", "--window", self.id, x + dx * step // 8, y + dy * step // 8)
        time.sleep(0.12)
        self.screen.xdotool("mouseup", 1)
        time.sleep(0.2)

    def quit(self):
        """Ctrl+Q. What was saved."""
        self.keys("ctrl+q")
        assert self.process.wait(20) == 0, self.process.stderr.read().decode()
        return self.saved()

    def saved(self):
        return json.loads(self.workspace.read_text(encoding="utf-8"))

    def end_by_force(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()


@pytest.fixture
def hands(request, screen, tmp_path):
    begun = []

    def begin(model, script=(), *arguments, **more):
        folder = tmp_path / f"window-{len(begun)}"
        folder.mkdir()
        begun.append(Hands(screen, request.config.getoption("--headscope-gui"), folder, model, script, *arguments,
                           **more))
        return begun[-1]

    yield begin
    for one in begun:
        one.end_by_force()


def selected(saved):
    selection = saved["slots"]["A"]["selection"]
    return selection["layer"], selection["head"]


@pytest.mark.parametrize("way", ["typed", "pasted"])
def test_a_prompt_is_run_as_the_command_line_runs_it(way, hands, headscope, stories):
    text = PROMPT if way == "typed" else HARD_PROMPT
    ids = headscope.json("run", stories, "--prompt", text)["ids"]
    window = hands(stories, [*EDITING, f"until slots.A.tokens == {len(ids)}", "wait idle", "state run.json"])
    assert len(window.first_state["slots"]["A"]["ids"]) != len(ids)
    window.edit_prompt()
    window.keys("ctrl+a")
    (window.type if way == "typed" else window.paste)(text)
    window.keys("ctrl+Return")
    state = window.state("run.json")
    assert state["slots"]["A"]["prompt"] == text
    assert state["slots"]["A"]["ids"] == ids
    assert window.quit()["slots"]["A"]["prompt"] == text


def test_every_tap_counts(hands, stories):
    text = "A dog." + "a" * 15
    window = hands(stories, ["select layer=0 head=0", *EDITING, f"until slots.A.prompt == {text}", "state typed.json",
                             "until editing == false", "wait idle", "state ran.json"], "--prompt", "A dog.")
    window.edit_prompt()
    window.screen.xdotool("key", *["a"] * 20)
    window.screen.xdotool("key", *["BackSpace"] * 5)
    window.state("typed.json")
    window.keys("ctrl+Return")
    window.state("ran.json")
    window.screen.xdotool("key", *["Right"] * 5, *["Down"] * 3)
    window.screen.xdotool("key", *["ctrl+t"] * 5)
    saved = window.quit()
    assert saved["slots"]["A"]["prompt"] == text
    assert selected(saved) == (3, 5)
    assert saved["theme"] == "light"


def test_shortcuts(hands, stories):
    window = hands(stories, [
        "until view == map", "state map.json", "until view == kv", "state kv.json", "until view == atlas",
        "state atlas.json", "until palette == true", "state palette.json", "until theme == light", "state light.json"])
    window.keys("ctrl+2")
    window.state("map.json")
    window.keys("ctrl+3")
    window.state("kv.json")
    window.keys("ctrl+1")
    window.state("atlas.json")
    window.keys("ctrl+k")
    window.state("palette.json")
    window.type("light")
    window.keys("Return")
    assert window.state("light.json")["palette"] is False
    window.keys("ctrl+equal")
    saved = window.quit()
    assert saved["view"] == "atlas"
    assert saved["theme"] == "light"
    assert saved["font_scale"] == pytest.approx(1.1)


def test_the_mouse_does_what_a_script_does(hands, window, stories):
    """The same places in a window of the same size, off-screen, are the reference."""
    expected = window.play("""
        until slots.A.tokens > 0
        wait idle
        click at/760/300
        wait 3
        state clicked.json
        view map
        wait idle
        wheel at/600/400 1
        wheel at/600/400 1
        wheel at/600/400 1
        wheel at/600/400 1
        drag at/600/400 80 -40
        wait 3
        state moved.json
        """, stories, "--prompt", PROMPT)
    hand = hands(stories, [], "--prompt", PROMPT)
    first = selected({"slots": {"A": {"selection": hand.first_state["selection"]["A"]}}})
    hand.click(760, 300)
    hand.keys("ctrl+2")
    hand.wheel(600, 400, 4)
    hand.drag(600, 400, 80, -40)
    saved = hand.quit()
    clicked, moved = expected.state("clicked.json")["selection"]["A"], expected.state("moved.json")["map"]
    assert selected(saved) == (clicked["layer"], clicked["head"]) != first
    assert moved["row_end"] != 0
    assert saved["views"]["map"] == moved


def panel_width(saved, name):
    lines = saved["docking"].split(f"[Window][{name}]")[1].splitlines()
    return int(next(line for line in lines if line.startswith("Size=")).removeprefix("Size=").split(",")[0])


def test_a_splitter_is_dragged_and_remembered(hands, stories):
    window = hands(stories)
    window.drag(301, 600, 90, 0)
    saved = window.quit()
    assert panel_width(saved, "Model") == pytest.approx(288 + 90, abs=6)
    assert panel_width(hands(stories, workspace=saved).quit(), "Model") == panel_width(saved, "Model")


def test_resizing(hands, stories):
    window = hands(stories, ["until size.width == 900", "wait 5", "state small.json", "until size.width == 1380",
                             "wait 5", "state large.json"])
    assert window.first_state["size"] == {"width": 1280, "height": 800}
    window.screen.xdotool("windowsize", window.id, 900, 600)
    assert window.state("small.json")["size"] == {"width": 900, "height": 600}
    window.screen.xdotool("windowsize", window.id, 1380, 880)
    assert window.state("large.json")["size"] == {"width": 1380, "height": 880}
    window.quit()


def close_by_key(window):
    window.screen.xdotool("key", "ctrl+q")


def close_by_cross(window):
    virtual_screen.ask_to_close(window.screen, window.id)


@pytest.mark.parametrize("close", [close_by_key, close_by_cross])
def test_closing_while_it_computes(close, hands, shapes):
    """Ends within a second with everything saved. A busy machine gets three tries."""
    taken = []
    for _ in range(3):
        window = hands(shapes("gpt2-small"), ["generate 1500", "until slots.A.tokens > 40", "state busy.json"],
                       "--prompt", "The cat sat on the mat.")
        state = window.state("busy.json")
        assert state["slots"]["A"]["status"] == "generating"
        begin = time.monotonic()
        close(window)
        assert window.process.wait(20) == 0
        taken.append(time.monotonic() - begin)
        assert window.saved()["slots"]["A"]["prompt"] == "The cat sat on the mat."
        if taken[-1] <= 1:
            break
    assert min(taken) <= 1, taken


def test_sigterm_saves(hands, stories):
    window = hands(stories, [*EDITING, "until slots.A.prompt == A dog ran.", "state typed.json"])
    window.edit_prompt()
    window.keys("ctrl+a")
    window.type("A dog ran.")
    window.state("typed.json")
    assert virtual_screen.stop(window.process) == 143
    assert window.saved()["slots"]["A"]["prompt"] == "A dog ran."


def test_an_idle_window_draws_nothing(hands, stories):
    window = hands(stories, ["view map", "wait idle", "measure idle"])
    time.sleep(3)
    before = virtual_screen.cpu_seconds(window.process.pid)
    time.sleep(10)
    used = virtual_screen.cpu_seconds(window.process.pid) - before
    assert virtual_screen.stop(window.process) == 143
    idle = json.loads(window.times.read_text())["sections"]["idle"]
    assert idle["longest_pause_s"] > 10
    assert idle["frames"] < 20
    assert used < 0.2
