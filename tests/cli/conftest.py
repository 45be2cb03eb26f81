"""What the command-line tests share. Run with: pytest tests/cli --headscope=PROGRAM"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from fixtures import *  # noqa: E402,F403


def pytest_addoption(parser):
    parser.addoption("--headscope", default=str(ROOT / "headscope"), help="the program to test")
