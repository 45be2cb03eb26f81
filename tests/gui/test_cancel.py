"""Stopping, closing and failing in the middle of work: what was there before stays, and state and data agree."""

import pytest

from window import quoted

LONG = "It was a dark and stormy night; the rain fell in torrents. " * 34


def test_cancel_of_generation_keeps_what_was_made(window, shapes):
    result = window.play("""
        wait idle
        state before.json
        generate 1500
        until slots.A.tokens > 60
        expect slots.A.status == generating
        key ctrl+.
        wait idle
        state stopped.json
        expect slots.A.status == ready
        expect slots.A.plates == 0
        next
        wait idle
        """, shapes("gpt2-small"), "--prompt", "before")
    before, stopped, after = (result.state(name)["slots"]["A"] for name in ("before.json", "stopped.json", "end.json"))
    made = stopped["tokens"]
    assert 60 < made < before["tokens"] + 1500
    assert stopped["prompt_tokens"] == before["tokens"] == after["prompt_tokens"]
    assert len(stopped["ids"]) == made and stopped["ids"][:before["tokens"]] == before["ids"]
    assert after["tokens"] == made + 1 and after["ids"][:made] == stopped["ids"]
    assert after["kv"]["used_bytes"] == after["tokens"] * before["kv"]["used_bytes"] // before["tokens"]


def test_escape_cancels_when_nothing_else_is_left(window, shapes):
    result = window.play("""
        wait idle
        generate 1500
        until slots.A.tokens > 50
        key escape
        wait idle
        """, shapes("gpt2-small"), "--prompt", "before")
    assert result.state()["slots"]["A"]["tokens"] < 1500


def test_a_selected_token_that_a_stopped_run_lacks_is_forgotten(window, shapes):
    """Until then, heads can be chosen and the state be asked for, although the token is still to come."""
    (window.folder / "long.txt").write_text(LONG[:2000])
    result = window.play("""
        wait idle
        prompt_file long.txt
        run
        wait idle
        select layer=1 head=2 query=1900 key=3
        run
        wait 4
        select layer=2 head=5
        expect selection.A.head == 5
        key ctrl+.
        wait idle
        state stopped.json
        select layer=3 head=4
        key left
        wait 2
        expect selection.A.head == 3
        expect slots.A.plates == 0
        """, shapes("gpt2-small"), "--prompt", "before")
    stopped = result.state("stopped.json")  # a fast machine may be done by then, and a slow one not have begun
    assert (stopped["selection"]["A"]["query"] is None) == (stopped["slots"]["A"]["tokens"] < 1900)


def test_switched_off_heads_are_those_of_the_newest_run(window, shapes):
    """Two heads in a hurry, then a run that is stopped: the state says what the run was made with."""
    (window.folder / "long.txt").write_text(LONG[:2000])
    window.play("""
        wait idle
        prompt_file long.txt
        run
        wait idle
        select layer=2 head=5
        key x
        key right
        key x
        wait idle
        expect slots.A.switched_off == ["2:5","2:6"]
        key x
        wait idle
        expect slots.A.switched_off == ["2:5"]
        generate 5
        wait idle
        key x
        key ctrl+.
        wait idle
        state stopped.json
        key left
        key x
        wait idle
        """, shapes("gpt2-small"), "--prompt", "before")


def test_tokens_asked_for_in_vain_are_not_made_later(window, stories, shapes):
    """A generation that waits behind the other slot's run goes when another model is to be opened."""
    (window.folder / "long.txt").write_text(LONG[:2000])
    result = window.play(f"""
        wait idle
        state before.json
        open {quoted(shapes("gpt2-small"))} B
        wait idle
        prompt_file long.txt
        run
        slot A
        generate 20
        open /no/such/model A
        wait idle
        dismiss
        next
        wait idle
        """, stories)
    before, after = (result.state(name)["slots"]["A"] for name in ("before.json", "end.json"))
    assert after["tokens"] == before["tokens"] + 1


@pytest.mark.parametrize("frames", [1, 3, 12])
def test_cancel_of_a_run_leaves_one_that_goes_on(window, shapes, frames):
    """Stopped early, the run from before is still there; later, the part that is done is. Both can be gone on with. By the
    key, because a fast machine may be done by then, and the command says so."""
    (window.folder / "long.txt").write_text(LONG[:2000])
    result = window.play(f"""
        wait idle
        state before.json
        prompt_file long.txt
        run
        wait {frames}
        key Ctrl+.
        wait idle
        state stopped.json
        expect slots.A.plates == 0
        next
        wait idle
        expect slots.A.status == ready
        expect slots.A.error == ""
        view map
        wait idle
        view kv
        wait idle
        """, shapes("gpt2-small"), "--prompt", "before")
    before, stopped, after = (result.state(name)["slots"]["A"] for name in ("before.json", "stopped.json", "end.json"))
    assert after["tokens"] == stopped["tokens"] + 1
    assert after["ids"][:stopped["tokens"]] == stopped["ids"]
    if stopped["tokens"] == before["tokens"]:
        assert stopped["ids"] == before["ids"]
    else:
        assert stopped["prompt_tokens"] == stopped["tokens"] and stopped["tokens"] % 512 in (0, 2000 % 512)
    assert after["kv"]["used_bytes"] * before["tokens"] == before["kv"]["used_bytes"] * after["tokens"]


def test_cancel_of_opening_keeps_the_model(window, stories, slow_model):
    result = window.play(f"""
        wait idle
        state before.json
        open {quoted(slow_model)}
        expect slots.A.status != ready
        cancel
        wait idle
        expect slots.A.model == stories260K
        expect slots.A.status == ready
        expect slots.A.plates == 0
        state after.json
        next
        wait idle
        """, stories)
    before, after = result.state("before.json"), result.state("after.json")
    assert before["slots"]["A"] == after["slots"]["A"] and before["recent"] == after["recent"]


def test_cancel_of_the_first_opening_leaves_an_empty_slot(window, slow_model):
    window.play("""
        wait 1
        cancel
        wait idle
        expect slots.A.status == empty
        expect slots.A.plates == 0
        """, slow_model)


def test_opening_another_model_while_one_is_opened(window, stories, slow_model):
    window.play(f"""
        open {quoted(slow_model)}
        wait 1
        open {quoted(stories)}
        wait 1
        expect slots.A.status != empty
        wait idle
        expect slots.A.model == stories260K
        expect slots.A.status == ready
        expect slots.A.plates == 0
        """)


@pytest.mark.parametrize("view", ["atlas", "map", "kv"])
def test_closing_while_it_generates(window, stories, view):
    """What the lane still reports must not bring the model back."""
    window.play(f"""
        wait idle
        view {view}
        resize 1500x900
        generate 400
        until slots.A.tokens > 50
        close
        wait 1
        expect slots.A.model == ""
        wait idle
        wait 5
        expect slots.A.model == ""
        expect slots.A.tokens == 0
        expect slots.A.status == empty
        open {quoted(stories)}
        wait idle
        expect slots.A.tokens > 10
        """, stories)


def test_closing_while_it_opens(window, stories, slow_model):
    window.play(f"""
        open {quoted(slow_model)}
        wait 1
        close
        wait idle
        wait 3
        expect slots.A.status == empty
        expect slots.A.model == ""
        open {quoted(stories)}
        wait 1
        close
        wait idle
        wait 3
        expect slots.A.status == empty
        """)


def test_running_again_while_it_runs(window, shapes):
    """The last prompt wins."""
    (window.folder / "long.txt").write_text(LONG[:2000])
    result = window.play("""
        wait idle
        prompt_file long.txt
        run
        wait 2
        prompt first
        run
        prompt second
        run
        wait idle
        expect slots.A.tokens == 6
        expect slots.A.plates == 0
        generate 300
        wait 3
        prompt third
        run
        wait idle
        """, shapes("gpt2-small"), "--prompt", "before")
    assert result.state()["slots"]["A"]["tokens"] == 5


def test_ending_in_the_middle_of_work(window, shapes, slow_model):
    """The program ends at once, with its workspace saved."""
    for i, work in enumerate((f"open {quoted(slow_model)}", "generate 1000", "prompt_file long.txt\nrun")):
        (window.folder / "long.txt").write_text(LONG[:2000])
        done = window.run(f"wait idle\n{work}\nwait 1\nquit", shapes("gpt2-small"), "--prompt", "x", "--workspace",
                          f"{i}.json", name=f"{i}.txt")
        assert done.code == 0 and done.errors == ""
        assert '"headscope-workspace"' in (window.folder / f"{i}.json").read_text()
