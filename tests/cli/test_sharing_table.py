"""docs/sharing.md is what the program does."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_page_of_sharing_is_what_the_program_does(headscope):
    made = subprocess.run([sys.executable, "-B", ROOT / "scripts" / "sharing_table.py", headscope.path], check=True,
                          capture_output=True, text=True).stdout
    rows = [line.split(" | ") for line in made.splitlines() if line.startswith("| [")]
    assert len(rows) >= 15
    for row in rows:  # whatever the page says
        assert row[2:5] == ["yes"] * 3 and row[5] != "no", row
    assert (ROOT / "docs" / "sharing.md").read_text() == made, "run scripts/sharing_table.py"


def test_the_page_has_its_drawings():
    named = re.findall(r"\(sharing/(\S+\.svg)\)", (ROOT / "docs" / "sharing.md").read_text())
    assert sorted(named) == sorted(path.name for path in (ROOT / "docs" / "sharing").iterdir())
    for name in named:
        drawing = (ROOT / "docs" / "sharing" / name).read_text()
        assert drawing.startswith("<svg") or "<svg" in drawing[:200]
