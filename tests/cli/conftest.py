"""What the command-line tests share. Run with: pytest tests/cli --headscope=PROGRAM

Tests of the trained model are marked real_data; ctest has them apart, so that it says "Skipped" where there is none."""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))
ALL_SKIPPED = 77  # ctest's SKIP_RETURN_CODE

from fixtures import *  # noqa: E402,F403


def pytest_addoption(parser):
    parser.addoption("--headscope", default=str(ROOT / "headscope"), help="the program to test")
    parser.addoption("--cuda-stand-in", help="the library of tests/unit/cuda_stand_in.cpp")
    parser.addoption("--cuda-library", help="libheadscope_cuda.so, where it is built")


def pytest_configure(config):
    config.addinivalue_line("markers", "real_data: needs the trained model")


def pytest_collection_modifyitems(items):
    for item in items:
        if "stories" in item.fixturenames and "stories_shape" not in item.fixturenames:
            item.add_marker("real_data")


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus == 0 and not reporter.stats.get("passed"):
        session.exitstatus = ALL_SKIPPED
