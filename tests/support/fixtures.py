"""Fixtures that the tests of the command line and of the window share; each conftest.py imports them."""

import pathlib

import pytest

from program import Headscope

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
REAL_DATA = ROOT.parent / "shared" / "real-data"


@pytest.fixture(scope="session")
def headscope(request):
    return Headscope(request.config.getoption("--headscope"))


@pytest.fixture(scope="session")
def stories():
    """The trained model among the real data."""
    folder = REAL_DATA / "stories260K"
    if not (folder / "model.safetensors").exists():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture(scope="session")
def stories_shape(tmp_path_factory):
    """A model of its shape and name with random weights and no tokenizer, which is always there."""
    import tiny_checkpoint

    return tiny_checkpoint.write(tmp_path_factory.mktemp("shape") / "stories260K", tiny_checkpoint.STORIES)


@pytest.fixture(scope="session")
def random_models(tmp_path_factory):
    """Makes a model of tests/support/random_models.py once: random_models("llama-gqa") is its folder."""
    import random_models as module  # imports transformers, which takes seconds
    import torch

    torch.set_num_threads(1)
    made = {}

    def folder(name):
        if name not in made:
            made[name] = module.make(module.recipe(name), tmp_path_factory.mktemp("models") / name)
        return made[name]

    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A sound llama folder of one layer, without a tokenizer."""
    import tiny_checkpoint

    return tiny_checkpoint.write(tmp_path_factory.mktemp("tiny") / "tiny")


@pytest.fixture(scope="session")
def packed(headscope, tiny, tmp_path_factory):
    """The same as a .h5 checkpoint."""
    file = tmp_path_factory.mktemp("packed") / "tiny.h5"
    headscope.text("pack", tiny, file)
    return file
