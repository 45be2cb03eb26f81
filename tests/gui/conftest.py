"""What the window's tests share. Run with: pytest tests/gui --headscope=PROGRAM --headscope-gui=PROGRAM

HEADSCOPE_FULL=1 adds what takes long: models of real shapes, more sizes of the window."""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from fixtures import *  # noqa: E402,F403
from window import HeadscopeWindow  # noqa: E402

FULL = os.environ.get("HEADSCOPE_FULL", "") not in ("", "0")


def pytest_addoption(parser):
    parser.addoption("--headscope", default=str(ROOT / "headscope"), help="the command line")
    parser.addoption("--headscope-gui", default=str(ROOT / "build/release/app/gui/headscope-gui"),
                     help="the window's program")
    parser.addoption("--cuda-stand-in", help="the library of tests/unit/cuda_stand_in.cpp")


@pytest.fixture
def window(request, tmp_path):
    return HeadscopeWindow(request.config.getoption("--headscope-gui"), tmp_path)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """Random models of a shape with a tokenizer of bytes: shapes("llama-32x32") is its folder."""
    import random_models as module  # imports transformers, which takes seconds
    import torch

    import byte_tokenizer

    torch.set_num_threads(1)
    made = {}

    def folder(kind):
        if kind not in made:
            out = tmp_path_factory.mktemp("shapes") / kind
            one = module.shape(kind, positions=2048)
            if kind == "gpt2-small" and not FULL:  # the same heads, with fewer numbers between them
                small = dict(vocab_size=300, n_positions=2048, n_embd=96, n_layer=12, n_head=12)
                one = module.gpt2(kind, small)
            module.make(one, out)
            byte_tokenizer.write(out)
            made[kind] = out
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """A random llama of 4 layers x 4 heads, made without transformers, which take seconds to import."""
    import numpy as np

    import byte_tokenizer
    import tiny_checkpoint

    config = {**tiny_checkpoint.CONFIG, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
              "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 512,
              "bos_token_id": None, "eos_token_id": None}
    random = np.random.default_rng(3)
    arrays = {}
    for layer in range(config["num_hidden_layers"]):
        for name, shape in tiny_checkpoint.shapes(config).items():
            values = random.standard_normal(shape) / np.sqrt(shape[-1]) if len(shape) > 1 else np.ones(shape)
            arrays[name.replace("layers.0.", f"layers.{layer}.")] = values.astype(np.float32)
    folder = tiny_checkpoint.write(tmp_path_factory.mktemp("small") / "llama-4x4", config, arrays)
    return byte_tokenizer.write(folder)


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory):
    """A llama whose weights, all zero, take so long to read that loading can be watched and cancelled."""
    import tiny_checkpoint

    return tiny_checkpoint.write_slow(tmp_path_factory.mktemp("slow") / "slow")
