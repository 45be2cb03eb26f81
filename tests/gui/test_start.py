"""Starting the window: options, mistakes in them and in scripts, the workspace between two starts."""

import json
import os
import signal
import subprocess

import pytest

import png
from window import FAILURE, THEMES, USAGE, quoted


@pytest.mark.parametrize("arguments, words", [
    (["--no-such-option"], ["--no-such-option"]),
    (["a", "b", "c"], ["c"]),
    (["--theme", "blue"], ["blue"]),
    (["--scale", "9"], ["9"]),
    (["--cut", "0"], ["cut"]),
    (["--prompt", "x", "--prompt-file", "script.txt"], ["prompt"]),
    (["--prompt-file", "/no/such/file"], ["/no/such/file"]),
    (["--threads", "-1"], ["-1"]),
    (["--memory-budget", "much"], ["--memory-budget", "2GiB"]),
])
def test_usage_errors(window, arguments, words):
    window.refusal("wait 1", *arguments, code=USAGE, words=words)


@pytest.mark.parametrize("size", ["0x0", "1280", "axb", "1280x800x3", "99999x99999", "300x200"])
def test_sizes_that_are_none(window, size):
    window.refusal("wait 1", size=size, code=USAGE, words=[size])


def test_version_and_help(window):
    for option, words in (("--version", "headscope-gui "), ("--help", "--script")):
        done = subprocess.run([window.program, option], capture_output=True, text=True, timeout=20, check=True)
        assert words in done.stdout and done.stderr == ""


def test_a_script_that_is_not_there(window):
    done = subprocess.run([window.program, "--headless", "--script", "/no/such/script"], capture_output=True, text=True,
                          timeout=20, check=False)
    assert done.returncode == USAGE and "/no/such/script" in done.stderr


@pytest.mark.parametrize("line, reason", [
    ("expect view == map", 'it is "atlas"'),
    ("expect no.such.key == 1", "no key"),
    ("expect view", "KEY OP VALUE"),
    ("expect view < 3", "cannot compare"),
    ("click nothing/here", "nothing/here"),
    ("click", "needs"),
    ("no_such_command", "no_such_command"),
    ("run", "No model is open"),
    ("wait soon", "number"),
    ("resize big", "1280x800"),
    ("key ctrl+nothing", "nothing"),
    ("theme blue", "blue"),
    ('prompt_file "unclosed', "double quote"),
    ("select layer=x", "layer=x"),
    ("pixel search 0 0 #123456", "pixel is #"),
])
def test_a_line_that_fails_names_itself(window, line, reason):
    words = window.refusal(f"# first\nwait 2\n\n{line}", code=FAILURE, words=["script.txt:4", reason])
    assert line.split()[0] in words and words.startswith("headscope-gui: ") and words.count("\n") == 1


def test_a_shot_without_a_script_is_the_first_screen(window, stories):
    out = window.folder / "first.png"
    subprocess.run([window.program, stories, "--headless", "--shot", out, "--size", "1000x700", "--theme", "light"],
                   timeout=60, check=True, cwd=window.folder)
    pixels = png.read(out)
    assert pixels.shape == (700, 1000, 3) and tuple(pixels[-2, 2]) == (0xF3, 0xF4, 0xF7)


def test_a_missing_model_still_opens_the_window(window):
    result = window.play("wait idle\nexpect slots.A.status == failed\nexpect slots.B.status == failed", "/no/a", "/no/b")
    assert result.picture().count(THEMES["dark"]["error"]) > 100


def test_prompt_from_the_command_line(window, headscope, stories):
    text = 'Zoo "x" \U0001f600 \\n'
    (window.folder / "p.txt").write_text(text, encoding="utf-8")
    ids = headscope.json("run", stories, "--prompt", text)["ids"]
    for arguments in (["--prompt", text], ["--prompt-file", "p.txt"]):
        assert window.play("wait idle", stories, *arguments).state()["slots"]["A"]["ids"] == ids


def test_text_that_is_not_utf8_is_refused(window, stories):
    (window.folder / "bad.txt").write_bytes(b"Zoo \xff\xfe")
    window.refusal("wait idle", stories, "--prompt-file", "bad.txt", words=["UTF-8"])
    window.play('wait idle\ntry prompt_file bad.txt\nexpect slots.A.error ~ UTF-8', stories, name="later.txt")


def test_names_with_odd_characters(window, tiny):
    odd = window.folder / "odd \U0001f600 \"name\" \\ %s 漢"
    odd.symlink_to(tiny)
    raw = os.fsencode(window.folder) + b"/bytes\xff\xfe"
    os.symlink(os.fsencode(tiny), raw)
    for i, path in enumerate((str(odd), raw)):
        (window.folder / f"{i}.txt").write_text('wait idle\ntoggle_log\nwait 3\nexpect slots.A.status == open\nview kv\n'
                                                'wait 3\nexpect imgui_misuse == ""\n')
        done = subprocess.run([window.program, path, "--headless", "--script", f"{i}.txt", "--workspace", f"{i}.json"],
                              capture_output=True, timeout=60, cwd=window.folder, check=False)
        assert done.returncode == 0, done.stderr
        json.loads((window.folder / f"{i}.json").read_text(encoding="utf-8"))


def test_the_workspace_comes_back(window, stories, small_model):
    """Model, prompt, selection, zoom, theme, panel sizes: as they were left."""
    first = window.play(f"""
        wait idle
        prompt Lily saw a "big" dog
        run
        wait idle
        select layer=3 head=1 query=5 key=2
        view map
        zoom 2:9 1:8
        theme light
        font_scale 1.1
        sampling temperature=0.5 count=7
        metric sink
        switch_off layer=0 head=0
        wait idle
        slot B
        select layer=2 head=2
        slot A
        """, stories, small_model, "--workspace", "w.json")
    saved = json.loads((window.folder / "w.json").read_text(encoding="utf-8"))
    assert saved["slots"]["A"]["path"] == str(stories) and saved["slots"]["B"]["path"] == str(small_model)
    again = window.play("wait idle", "--workspace", "w.json", name="again.txt")
    one, two = first.state(), again.state()  # of the same file name: the second has replaced the first
    for key in ("slots", "selection", "active", "view", "theme", "font_scale", "map", "atlas", "recent"):
        assert two[key] == one[key]
    assert two["active"] == "A" and two["theme"] == "light" and two["selection"]["A"]["key"] == 2
    assert two["selection"]["B"] == {**two["selection"]["B"], "layer": 2, "head": 2}
    kept = json.loads((window.folder / "w.json").read_text(encoding="utf-8"))
    del kept["docking"], saved["docking"]  # sizes that ImGui has rounded; the next test looks at them
    assert kept == saved


def test_the_picture_comes_back(window, stories):
    first = window.play("wait idle\nview map\nzoom 2:9 1:8\ndrag at/302/400 60 0\nhover at/640/20\nwait 5\nshot 1.png", stories,
                        "--workspace", "w.json").picture("1.png")
    again = window.play("wait idle\nhover at/640/20\nwait 5\nshot 2.png", "--workspace", "w.json").picture("2.png")
    # An edge may be rounded to the next pixel.
    assert (again.pixels != first.pixels).any(-1).mean() < 1e-3
    moved = window.play("wait idle\nhover at/640/20\nwait 5\nshot 3.png", stories, name="fresh.txt").picture("3.png")
    assert (again.pixels != moved.pixels).any(-1).mean() > 0.1, "a window without it looks different"


def test_the_command_line_lies_over_the_workspace(window, stories, small_model):
    window.play("wait idle\nprompt Zoo\nselect layer=4 head=4", stories, "--workspace", "w.json")
    state = window.play("wait idle", stories, "--prompt", "other", "--theme", "light", "--workspace", "w.json").state()
    assert state["slots"]["A"]["prompt"] == "other" and state["selection"]["A"]["layer"] == 4
    relative = os.path.relpath(stories, window.folder)
    state = window.play("wait idle", relative, "--workspace", "w.json").state()
    assert state["slots"]["A"]["prompt"] == "other", "the same model by another spelling of its path"
    state = window.play("wait idle", f"{stories}/", "--workspace", "w.json").state()
    assert state["slots"]["A"]["prompt"] == "other" and state["recent"] == [str(stories)]
    assert state["slots"]["A"]["model"] == "stories260K"
    state = window.play("wait idle", small_model, "--workspace", "w.json").state()
    assert state["slots"]["A"]["model"] == "llama-4x4" and state["slots"]["A"]["prompt"] != "other"


@pytest.mark.parametrize("content", ["", "{", '{"theme": "blue"}', '{"version": 9}', "\x00\x01"])
def test_a_damaged_workspace_is_set_aside(window, stories, content):
    (window.folder / "w.json").write_text(content)
    result = window.play("""
        wait idle
        expect slots.A.model == stories260K
        state first.json
        """, stories, "--workspace", "w.json")
    assert (window.folder / "w.json.damaged").read_text() == content
    json.loads((window.folder / "w.json").read_text(encoding="utf-8"))
    assert "workspace" in result.state("first.json")["slots"]["A"]["error"]


def test_a_model_that_has_gone_is_kept_in_the_workspace(window, stories):
    """It may be on a disk that is away for now."""
    there = window.folder / "model"
    there.symlink_to(stories)
    window.play("wait idle\nprompt Zoo\nrun\nwait idle", there, "--workspace", "w.json")
    there.unlink()
    window.play("wait idle\nexpect slots.A.status == failed", "--workspace", "w.json")
    there.symlink_to(stories)
    state = window.play("wait idle", "--workspace", "w.json").state()
    assert state["slots"]["A"]["prompt"] == "Zoo" and state["slots"]["A"]["tokens"] == 4


def test_a_workspace_that_cannot_be_written(window, stories):
    (window.folder / "file").write_text("")
    done = window.run("wait idle", "--workspace", "file/w.json")
    assert done.code == FAILURE and "w.json" in done.errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_the_workspace(window, stories, number):
    (window.folder / "script.txt").write_text("wait idle\ntheme light\nshot ready.png\nwait 1000000\n")
    child = subprocess.Popen([window.program, stories, "--headless", "--script", "script.txt", "--workspace", "w.json"],
                             cwd=window.folder, stderr=subprocess.PIPE)
    try:
        for _ in range(600):
            if (window.folder / "ready.png").exists():
                break
            try:
                child.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        child.send_signal(number)
        assert child.wait(20) == 128 + number
    finally:
        child.kill()
        child.communicate()
    assert json.loads((window.folder / "w.json").read_text(encoding="utf-8"))["theme"] == "light"


def test_frame_times_are_written(window, stories):
    window.play("wait idle\nmeasure atlas\nwait 20\nmeasure map\nview map\nwait 5", stories, "--frame-times", "t.json")
    times = json.loads((window.folder / "t.json").read_text(encoding="utf-8"))
    assert times["sections"]["atlas"]["frames"] >= 20 and times["sections"]["map"]["frame_ms_p99"] > 0
