"""docs/sharing.md and its drawings are what the program does."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
AGAIN = "run scripts/sharing_table.py with --drawings docs/sharing"


@pytest.fixture(scope="module")
def made(headscope, tmp_path_factory):
    """(the page, the folder of its drawings), made anew."""
    drawings = tmp_path_factory.mktemp("sharing")
    page = subprocess.run([sys.executable, "-B", ROOT / "scripts" / "sharing_table.py", headscope.path, "--drawings", drawings],
                          check=True, capture_output=True, text=True).stdout
    return page, drawings


def test_the_page_of_sharing_is_what_the_program_does(made):
    page, _ = made
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| [")]
    assert len(rows) >= 15
    for row in rows:  # whatever the page says
        assert row[2:5] == ["yes"] * 3 and row[5] != "no", row
    assert (ROOT / "docs" / "sharing.md").read_text() == page, AGAIN


def test_the_drawings_are_what_the_program_draws(made):
    page, drawings = made
    named = sorted(re.findall(r"\(sharing/(\S+\.svg)\)", page))
    kept = ROOT / "docs" / "sharing"
    assert named == sorted(path.name for path in kept.iterdir()) == sorted(path.name for path in drawings.iterdir())
    stale = [name for name in named if (kept / name).read_bytes() != (drawings / name).read_bytes()]
    assert not stale, f"{', '.join(stale)}: {AGAIN}"
