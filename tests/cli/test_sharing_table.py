"""docs/sharing.md is what the program does."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_page_of_sharing_is_what_the_program_does(headscope, tmp_path):
    made = subprocess.run([sys.executable, "-B", ROOT / "scripts" / "sharing_table.py", headscope.path, "--drawings", tmp_path],
                          check=True, capture_output=True, text=True).stdout
    rows = [line.split(" | ") for line in made.splitlines() if line.startswith("| [")]
    assert len(rows) >= 23
    for row in rows:  # whatever the page says
        assert row[2:5] == ["yes"] * 3 and row[5] != "no", row
    assert (ROOT / "docs" / "sharing.md").read_text() == made, "run scripts/sharing_table.py"


    named = re.findall(r"\(sharing/(\S+\.svg)\)", made)
    shown = ROOT / "docs" / "sharing"
    assert sorted(named) == sorted(path.name for path in shown.iterdir()) == sorted(path.name for path in tmp_path.iterdir())
    for name in named:
        assert (shown / name).read_bytes() == (tmp_path / name).read_bytes(), f"{name} is stale: run scripts/sharing_table.py"


def texts_of(name):
    return re.findall(r">([^<>]+)</text>", (ROOT / "docs" / "sharing" / name).read_text())


def test_drawings_tell_schemes_apart():
    """What is stored and what is made, latents, windows; no two drawings show the same."""
    told = {path.name: tuple(texts_of(path.name)) for path in (ROOT / "docs" / "sharing").iterdir()}
    for name, words in {"mha.svg": "KV head it reads", "sharedkv-mha.svg": "= RoPE(V), when read", "k-v.svg": "K=V",
                        "slim.svg": "made from K when read", "mla.svg": "rope key", "sliding-gqa-2.svg": "last 11",
                        "alternating-sharedkv-gqa-2.svg": "all"}.items():
        assert words in told[name], name
    alike = [name for name in told if list(told.values()).count(told[name]) > 1]
    # These have the same words and other lines between their layers.
    assert set(alike) <= {"first-layers-kept.svg", "last-layers-kept.svg", "any-owners.svg"}, alike
