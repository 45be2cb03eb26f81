"""--dtype: bf16 and f32 against transformers in f32 on the same weights, and what the outputs say was computed in."""

import dataclasses
import math
import pathlib

import h5py
import numpy as np
import pytest

MODELS = ("llama-sharded-bf16", "gpt2-one-head-bf16", "neox-parallel-bf16", "deepseek2-dense-bf16")
# What f32 in another order comes to, relative to the logits' range.
F32 = 1e-4


@pytest.fixture(scope="session")
def bf16_models(random_models, tmp_path_factory):
    """Tiny random models that are stored in bf16: bf16_models(name) is (folder, transformers' model in f32)."""
    import random_models as module
    import torch

    made = {}

    def model(name):
        if name not in made:
            if name in (one.name for one in module.RECIPES):
                folder = random_models(name)
            else:  # a recipe of another type
                recipe = dataclasses.replace(module.recipe(name.removesuffix("-bf16")), name=name, dtype=torch.bfloat16)
                folder = module.make(recipe, tmp_path_factory.mktemp("bf16") / name)
            made[name] = folder, module.load(folder)
        return made[name]

    return model


def logits_of(headscope, folder, ids, out, dtype, *options):
    """(ids, logits [n, vocab], what the run says it computed in)"""
    run = headscope.json("run", folder, "--ids", ",".join(map(str, ids)), "--save", "logits", "--out", out, "--threads", 1,
                         "--dtype", dtype, *options)
    with h5py.File(out) as file:
        assert run["dtype"] == file.attrs["dtype"] or run["dtype"] == file.attrs["dtype"].decode()
        return run["ids"], file["logits"][()], run["dtype"]


def expected_logits(model, ids):
    import torch

    with torch.inference_mode():
        return model(torch.tensor([ids]), use_cache=False).logits[0].numpy()


def relative(found, expected):
    return float(np.abs(found - expected).max() / (expected.max() - expected.min()))


def prompt_of(model, count=60):
    return np.random.default_rng(count).integers(model.config.vocab_size, size=count).tolist()


@pytest.mark.parametrize("name", [*MODELS, "deepseek3-bf16"])  # whose routers may choose others when rounded
def test_f32_of_a_bf16_file_is_transformers_in_f32(headscope, bf16_models, tmp_path, name):
    folder, model = bf16_models(name)
    ids = prompt_of(model)
    _, logits, dtype = logits_of(headscope, folder, ids, tmp_path / "out.h5", "f32")
    assert dtype == "f32" and relative(logits, expected_logits(model, ids)) < F32


@pytest.mark.parametrize("name", MODELS)
def test_bf16_is_off_by_its_rounding(headscope, bf16_models, tmp_path, name):
    """The error adds up like a random walk over the 4 roundings of each layer (what enters two matrices in a row, in
    attention and MLP), each of some 2^-9; twice that for what a softmax makes larger. Typical errors are
    compared, because the largest of thousands says little; transformers with everything in bf16 must do no better."""
    import random_models as module
    import torch

    folder, model = bf16_models(name)
    ids = prompt_of(model)
    expected = expected_logits(model, ids)
    _, logits, dtype = logits_of(headscope, folder, ids, tmp_path / "out.h5", "auto")
    assert dtype == "bf16"

    def error(found):
        return float(np.sqrt(np.mean((found - expected) ** 2)) / expected.std())

    allowed = 2 * math.sqrt(4 * model.config.num_hidden_layers) / 2 ** 9
    assert error(logits) < allowed
    with torch.inference_mode():
        rounded = module.load(folder, torch.bfloat16)(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()
    assert error(logits) <= 1.2 * error(rounded)
    if "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text():  # else no way is faster than f32
        assert error(logits) > 1e-5, "nothing was rounded"


@pytest.fixture
def rounded_attention():
    """transformers' eager attention on queries, keys and values that are rounded to bf16; on processors with AVX512_BF16
    the weights, relative to a row's largest, are rounded too, but not their sum."""
    import torch
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

    pairs = "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text()

    def attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **_):
        query, key, value = (rows.bfloat16().float() for rows in (query, key, value))
        group = query.shape[1] // key.shape[1]
        key, value = (rows.repeat_interleave(group, 1) for rows in (key, value))
        scores = query @ key.transpose(2, 3) * scaling
        scores = scores + torch.full(scores.shape[2:], float("-inf")).triu(1)
        weights = (scores - scores.amax(-1, keepdim=True)).exp()
        total = weights.sum(-1, keepdim=True)
        if pairs:
            weights = weights.bfloat16().float()
        return (weights @ value / total).transpose(1, 2).contiguous(), None

    AttentionInterface.register("headscope_bf16", attention)
    AttentionMaskInterface.register("headscope_bf16", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    return "headscope_bf16"


@pytest.mark.parametrize("name", ["llama-sharded-bf16", "neox-parallel-bf16"])
def test_of_single_tokens_only_attention_is_rounded(headscope, bf16_models, rounded_attention, tmp_path, name):
    folder, model = bf16_models(name)
    ids, logits, dtype = logits_of(headscope, folder, [7], tmp_path / "out.h5", "bf16", "--generate", 40, "--temperature", 5,
                                   "--ignore-eos")
    assert dtype == "bf16" and len(ids) == 41
    plain = relative(logits, expected_logits(model, ids))
    model.config._attn_implementation = rounded_attention
    try:
        # A number between two of bf16 may go to the other one.
        assert relative(logits, expected_logits(model, ids)) < 10 * F32 < plain
    finally:
        model.config._attn_implementation = "eager"


def test_a_cache_in_bf16_takes_half_the_bytes(headscope, bf16_models, tmp_path):
    folder, _ = bf16_models("llama-sharded-bf16")
    half, whole = (headscope.json("run", folder, "--ids", "1,2,3,4,5", "--dtype", dtype, "--save", "q,k,v", "--out",
                                  tmp_path / f"{dtype}.h5") for dtype in ("bf16", "f32"))
    for bytes_ in ("kv_bytes_used", "kv_bytes_allocated"):
        assert [2 * one for one in half[bytes_]] == whole[bytes_]
    info = headscope.json("info", folder)
    assert sum(half["kv_bytes_used"]) == 5 * info["kv_bytes_per_token"]["bf16"]
    with h5py.File(tmp_path / "bf16.h5") as file:
        for values in (file["k/layer_000"][()], file["v/layer_000"][()], file["q/layer_000"][()]):
            assert values.dtype == np.float32 and not np.any(values.view(np.uint32) & 0xFFFF), "not all are bf16"


def test_another_type_than_the_file_has(headscope, stories, random_models, tmp_path):
    for model in (stories, random_models("gpt2-gelu-untied-f16")):
        ids = list(range(3, 50))
        _, auto, said = logits_of(headscope, model, ids, tmp_path / "auto.h5", "auto")
        assert said == "f32"
        _, logits, said = logits_of(headscope, model, ids, tmp_path / "bf16.h5", "bf16")
        assert said == "bf16" and 1e-5 < relative(logits, auto) < 0.05


def test_every_output_says_what_was_computed_in(headscope, bf16_models, tmp_path):
    folder, _ = bf16_models("llama-sharded-bf16")
    for options, said in (([], "bf16"), (["--dtype", "f32"], "f32")):
        assert f"cpu, {said}, kernel" in headscope.text("run", folder, "--ids", "1,2,3", *options)
        figure = headscope.text("render", folder, "--ids", "1,2,3,4,5", "--summary", "--out", tmp_path / "a.csv", *options)
        assert f"cpu, {said}, kernel" in figure


def test_a_packed_file_is_bf16_too(headscope, bf16_models, tmp_path):
    folder, _ = bf16_models("neox-parallel-bf16")
    headscope.text("pack", folder, tmp_path / "m.h5")
    found = [logits_of(headscope, model, [1, 2, 3, 4], tmp_path / "out.h5", "auto") for model in (folder, tmp_path / "m.h5")]
    assert found[0][2] == found[1][2] == "bf16" and np.array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype, allowed", [("bf16", "layers) 2^-9"), ("auto", "allowed 1.0e-04")])
def test_verify_allows_what_the_type_explains(headscope, bf16_models, name, dtype, allowed):
    checks = headscope.json("verify", bf16_models(name)[0], "--dtype", dtype)
    detail = next(one["detail"] for one in checks if one["check"] == "cached = uncached")
    assert allowed in detail and all(one["passed"] for one in checks)


def test_verify_does_not_compare_experts_that_rounding_may_change(headscope, bf16_models):
    folder, _ = bf16_models("deepseek3-bf16")
    checked = [one["check"] for one in headscope.json("verify", folder)]
    assert "cached = uncached" in checked
    assert "cached = uncached" not in [one["check"] for one in headscope.json("verify", folder, "--dtype", "bf16")]
    assert "rounding may send a token to other experts" in headscope.text("verify", folder, "--dtype", "bf16")
