"""Schemes of sharing that compute the same: two checkpoints, one model. Logits and maps agree, bytes are each scheme's own."""

import dataclasses
import json

import h5py
import mlkv_models
import plain_rope
import pytest
import torch
from safetensors.torch import load_file
from same_model import IDS, TOKENS, outcome, require_same
from sharing_models import BASE, HEAD, HEADS, PAIRS, SCHEMES, SPACED, WIDTH, Scheme, config_of, random_weights, save

MHA = Scheme("MHA", "MHA")


def named(name):
    return next(scheme for scheme in SCHEMES if scheme.name == name)


def weights_of(scheme, seed=3):
    return {name: values.double() for name, values in random_weights(scheme, seed).items()}


def run_of(headscope, folder, scheme, weights, **changes):
    return outcome(headscope, save(folder, {**config_of(scheme), **changes}, weights))


def heads_first(weight):
    return weight.view(-1, HEAD, *weight.shape[1:])


def of_keys_and_values(weights):
    return [name for name in weights if name.endswith((".key", ".value", ".key_bias", ".value_bias"))]


def with_biases(config, weights):
    """Queries, keys and values with biases, in every layer."""
    random = torch.Generator().manual_seed(8)
    for name in [name for name in weights if name.endswith((".query", ".key", ".value"))]:
        weights[name + "_bias"] = 0.3 * torch.randn(len(weights[name]), generator=random).double()
    for layer in config["layers"]:
        layer["qkv_bias"] = True


@pytest.mark.parametrize("kv_heads, variant", [(1, "MQA"), (2, "GQA-2"), (3, "GQA-3")])
def test_shared_heads_are_repeated_heads(headscope, tmp_path, kv_heads, variant):
    """MQA and GQA against MHA whose heads repeat theirs; and back: pooling heads that are alike loses nothing."""
    scheme, group = Scheme("", "", kv_heads), HEADS // kv_heads
    weights, config = weights_of(scheme), config_of(scheme)
    with_biases(config, weights)
    shared = outcome(headscope, save(tmp_path / "shared", config, weights))
    repeated = {**weights, **{name: heads_first(weights[name]).repeat_interleave(group, 0).flatten(0, 1)
                              for name in of_keys_and_values(weights)}}
    whole = run_of(headscope, tmp_path / "repeated", MHA, repeated, layers=config["layers"])
    assert (shared.variant, whole.variant) == (variant, "MHA")
    require_same(shared, whole)
    assert whole.used == [group * used for used in shared.used]
    pooled = {**repeated, **{name: heads_first(repeated[name]).unflatten(0, (kv_heads, group)).mean(1).flatten(0, 1)
                             for name in of_keys_and_values(weights)}}
    again = outcome(headscope, save(tmp_path / "pooled", config, pooled))
    require_same(again, whole)
    assert again.used == shared.used


def pythia_of(folder, weights, config):
    """A checkpoint of Pythia, whose family fuses queries, keys and values head by head and has no number of KV heads, with the
    weights of MLKV's."""
    fused = {name: values for name, values in weights.items() if ".query." not in name and ".key." not in name
             and ".value." not in name}
    for i in range(mlkv_models.LAYERS):
        base = f"gpt_neox.layers.{i}.attention."
        for kind in ("weight", "bias"):
            parts = [weights[f"{base}{part}.{kind}"].unflatten(0, (mlkv_models.HEADS, -1))
                     for part in ("query", "key", "value")]
            fused[f"{base}query_key_value.{kind}"] = torch.stack(parts, 1).flatten(0, 2)
    plain = {key: value for key, value in config.items()
             if key not in ("num_key_value_layers", "num_key_value_heads", "consumer_keys")}
    return save(folder, plain, fused)


def test_mlkv_of_all_layers_and_heads_is_mha(headscope, tmp_path):
    folder = tmp_path / "mlkv"
    weights = mlkv_models.make(folder, mlkv_models.LAYERS, mlkv_models.HEADS, "rotated", 4)
    plain = outcome(headscope, pythia_of(tmp_path / "neox", weights, json.loads((folder / "config.json").read_text())))
    shared = outcome(headscope, folder)
    require_same(shared, plain)
    assert shared.used == plain.used and shared.variant == plain.variant == "MHA"


NEOX_NAMES = {"attention.query": "query", "attention.key": "key", "attention.value": "value",
              "attention.dense": "attention_output", "mlp.dense_h_to_4h": "mlp_up", "mlp.dense_4h_to_h": "mlp_down",
              "input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm"}


def own_name(name):
    """Of a tensor of MLKV's family in HeadScope's own format."""
    outside = {"gpt_neox.embed_in.weight": "token_embedding", "embed_out.weight": "lm_head",
               "gpt_neox.final_layer_norm.weight": "final_norm", "gpt_neox.final_layer_norm.bias": "final_norm_bias"}
    if name in outside:
        return outside[name]
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"layers.{layer}.{NEOX_NAMES[part]}{'_bias' if kind == 'bias' else ''}"


def in_own_words(folder, heads, weights):
    """MLKV's weights of all layers as a checkpoint of our own format with so many KV heads, where nothing is said of owners."""
    m = mlkv_models
    layer = {"q_heads": m.HEADS, "scale": m.HEAD ** -0.5, "rotate_query": True, "qkv_bias": True, "output_bias": True,
             "residual": "parallel", "mlp": {"width": m.INNER, "bias": True, "activation": "gelu"}}
    config = {"model_type": "headscope", "vocab_size": m.VOCAB, "d_model": m.WIDTH, "context": 128, "norm": "layer_norm",
              "norm_epsilon": m.EPSILON, "position": {"scheme": "rope", "rope": {"dims": m.ROTATED, "base": m.BASE}},
              "layers": [layer] * m.LAYERS,
              "kv_stores": [{"layer": i, "kv_heads": heads, "key_dim": m.HEAD, "value_dim": m.HEAD, "keys_rotated": True}
                            for i in range(m.LAYERS)]}
    return save(folder, config, {own_name(name): values for name, values in weights.items()})


def test_gqa_of_as_many_kv_heads_as_heads_is_mha(headscope, tmp_path):
    """Groups of one head against a family that knows no groups."""
    folder = tmp_path / "mlkv"
    weights = mlkv_models.make(folder, mlkv_models.LAYERS, mlkv_models.HEADS, "rotated", 4)
    plain = outcome(headscope, pythia_of(tmp_path / "neox", weights, json.loads((folder / "config.json").read_text())))
    grouped = outcome(headscope, in_own_words(tmp_path / "own", mlkv_models.HEADS, weights))
    require_same(grouped, plain)
    assert grouped.used == plain.used and grouped.variant == plain.variant == "MHA"


@pytest.mark.parametrize("heads, variant", [(2, "GQA-2"), (1, "MQA")])
def test_mlkv_of_all_layers_is_gqa(headscope, tmp_path, heads, variant):
    """MLKV's family against GQA in our own words."""
    weights = mlkv_models.make(tmp_path / "mlkv", mlkv_models.LAYERS, heads, None, 4)
    plain = outcome(headscope, in_own_words(tmp_path / "own", heads, weights))
    shared = outcome(headscope, tmp_path / "mlkv")
    require_same(shared, plain)
    assert shared.used == plain.used and shared.variant == plain.variant == variant


@pytest.mark.parametrize("factor, variant", [(1, "GQA-2"), (2, "CLA-2 GQA-2"), (3, "MLKV 2x2")])  # the same owners
def test_cla_is_no_sharing_where_readers_see_what_their_owner_saw(headscope, tmp_path, factor, variant):
    """Owners at i - i % f, against layers that say nothing of owners. Layers before a reader add nothing, so readers of f > 1
    would make the same keys and values by their owner's weights; f = 1 has no readers."""
    scheme = Scheme("", "", 2, owners=tuple(i - i % factor for i in range(6)))
    every = dataclasses.replace(scheme, owners=tuple(range(6)))
    weights, config = weights_of(every), config_of(every)
    for layer, owner in enumerate(scheme.owners):
        for part in ("attention_norm", "key", "value"):
            weights[f"layers.{layer}.{part}"] = weights[f"layers.{owner}.{part}"]
        if layer + 1 < scheme.layers and not scheme.owns(layer + 1):
            weights[f"layers.{layer}.attention_output"] *= 0
            weights[f"layers.{layer}.mlp_down"] *= 0
    for layer in config["layers"]:
        assert layer.pop("kv_owner") is not None
    own = {name: values for name, values in weights.items()
           if not name.endswith((".key", ".value")) or scheme.owns(int(name.split(".")[1]))}
    shared = run_of(headscope, tmp_path / "cla", scheme, own)
    plain = outcome(headscope, save(tmp_path / "plain", config, weights))
    require_same(shared, plain)
    assert plain.total == factor * shared.total and (shared.variant, plain.variant) == (variant, "GQA-2")


@pytest.mark.parametrize("name", ["GQA-2", "CLA-2", "SharedKV GQA-2", "slim", "MLKV 2 on MLA"])
def test_a_window_of_the_whole_length_is_none(headscope, tmp_path, name):
    scheme = named(name)
    weights = weights_of(scheme)

    def windowed(size):
        return run_of(headscope, tmp_path / str(size), dataclasses.replace(scheme, windows=(size,) * scheme.layers), weights)

    plain = run_of(headscope, tmp_path / "plain", scheme, weights)
    for size in (TOKENS, TOKENS + 5):
        same = windowed(size)
        require_same(same, plain, 0, 0)
        assert same.used == plain.used and same.variant == f"{plain.variant}, window {size}"
    cut = windowed(TOKENS - 1)
    for one, whole in zip(cut.maps, plain.maps, strict=True):
        assert (whole[:, -1, 0] > 0).all() and (one[:, -1, 0] == 0).all()


@pytest.mark.parametrize("kv_heads, owners, positions", [(6, (0, 1, 2, 3), "rope"), (2, (0, 1, 2, 3), "rope"),
                                                         (1, PAIRS, "rope"), (2, SPACED, "rope"),
                                                         (6, (0, 1, 2, 3), "learned"), (3, PAIRS, "learned")])
def test_stored_values_are_stored_keys(headscope, tmp_path, kv_heads, owners, positions):
    """SharedKV and K = V against a model of the same groups with W_K = W_V, whose keys are rotated when they are stored."""
    half = Scheme("", "", kv_heads, owners, "values_only", positions)
    both = dataclasses.replace(half, stored="keys_and_values")
    weights = weights_of(half)
    keys = {name.replace(".value", ".key"): values for name, values in weights.items() if name.endswith(".value")}
    shared = run_of(headscope, tmp_path / "half", half, weights)
    whole = run_of(headscope, tmp_path / "both", both, {**weights, **keys})
    require_same(shared, whole)
    assert whole.used == [2 * used for used in shared.used] and shared.total > 0
    assert shared.variant == ("SharedKV " if half.rope else "K=V ") + whole.variant


@pytest.mark.parametrize("kv_heads, owners", [(6, (0, 1, 2, 3)), (1, PAIRS)])
def test_stored_values_are_stored_keys_turned_back(headscope, tmp_path, kv_heads, owners):
    """Keeping V and keeping K are the same: K of the cache, turned back by its positions, is V of the other cache."""
    half = Scheme("", "", kv_heads, owners, "values_only")
    both = dataclasses.replace(half, stored="keys_and_values")
    weights = weights_of(half)
    keys = {name.replace(".value", ".key"): values for name, values in weights.items() if name.endswith(".value")}
    stored = {}
    for part, scheme, all_weights in (("v", half, weights), ("k", both, {**weights, **keys})):
        out = tmp_path / f"{part}.h5"
        headscope.json("run", save(tmp_path / part, config_of(scheme), all_weights), "--ids", ",".join(map(str, IDS)),
                       "--chunk", 11, "--save", part, "--out", out, "--threads", 1)
        with h5py.File(out) as file:
            stored[part] = {name: torch.from_numpy(rows[()]).double().transpose(0, 1) for name, rows in file[part].items()}
    assert stored["v"].keys() == stored["k"].keys() and len(stored["v"]) == len(set(owners))
    for name, values in stored["v"].items():
        assert (plain_rope.rotate(stored["k"][name], BASE, back=True) - values).abs().max() < 3e-6
        assert (stored["k"][name] - values).abs().max() > 0.1  # they are turned


def well_conditioned(key, condition):
    """The same directions with singular values from 2 down to 2 / condition."""
    u, _, v = torch.linalg.svd(key)
    return u @ torch.diag(torch.logspace(0, -1, len(key), base=condition, dtype=torch.float64) * 2) @ v


@pytest.mark.parametrize("positions", ["rope", "learned"])
@pytest.mark.parametrize("owners", [(0, 1, 2, 3), PAIRS])
def test_slim_is_mha(headscope, tmp_path, positions, owners):
    """W_KV = W_K^-1 W_V, by an inverse in float64. Biases: V = (K - b_K) W_KV + b_V. Keys are f32, whose rounding grows by
    cond(W_K); here it is 10."""
    whole = Scheme("", "", HEADS, owners, positions=positions)
    slim = dataclasses.replace(whole, stored="keys_only")
    weights, config = weights_of(whole), config_of(whole)
    with_biases(config, weights)
    converted, slim_config = dict(weights), config_of(slim)
    for layer in sorted(set(owners)):
        name = f"layers.{layer}."
        key = weights[name + "key"] = converted[name + "key"] = well_conditioned(weights[name + "key"], 10)
        assert key.shape == (WIDTH, WIDTH) and torch.linalg.cond(key) < 10.01
        converted[name + "value"] = weights[name + "value"] @ torch.linalg.inv(key)
        converted[name + "value_bias"] = weights[name + "value_bias"] - converted[name + "value"] @ weights[name + "key_bias"]
    for layer in slim_config["layers"]:
        layer["qkv_bias"] = True
    a = outcome(headscope, save(tmp_path / "slim", slim_config, converted))
    b = outcome(headscope, save(tmp_path / "whole", config, weights))
    require_same(a, b)
    assert b.used == [2 * used for used in a.used] and a.variant == "Slim " + b.variant


def test_the_tensors_are_read_back_as_they_were(tmp_path):
    """What the other tests stand on: float64 weights go through float32 once."""
    weights = weights_of(MHA)
    save(tmp_path / "model", config_of(MHA), weights)
    for name, values in load_file(tmp_path / "model" / "model.safetensors").items():
        assert torch.equal(values, weights[name].float())
