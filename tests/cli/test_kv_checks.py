"""docs/kv-checks.md names tests that exist."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
NAME = r"`(test_\w+\.py::\w+|oracle\.\w+|[A-Z]\w+\.[A-Z]\w+)`"


def exists(name):
    if "::" in name:
        file, test = name.split("::")
        return f"def {test}(" in (TESTS / "cli" / file).read_text()
    if name.startswith("oracle."):
        return (TESTS / "oracle" / f"{name.removeprefix('oracle.')}_oracle.py").exists()
    suite, test = name.split(".")
    definition = re.compile(rf"TEST(_P|_F)?\({suite}, {test}\)")
    return any(definition.search(path.read_text()) for path in TESTS.rglob("*_test.cpp"))


def test_every_check_has_tests_that_exist():
    rows = [line.split(" | ") for line in (ROOT / "docs" / "kv-checks.md").read_text().splitlines() if line.startswith("| ")]
    numbers = [int(row[0].strip("| ")) for row in rows[2:] if row[0].strip("| ")]
    assert numbers == list(range(1, 13))
    for row in rows[2:]:
        names = re.findall(NAME, row[-1])
        assert names or row[-1].startswith("not yet: "), row
        assert [name for name in names if not exists(name)] == []
