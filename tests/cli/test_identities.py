"""Schemes of sharing that compute the same: two checkpoints, one model. Logits and maps agree, bytes are each scheme's own."""

import dataclasses
import json

import mlkv_models
import pytest
import torch
from safetensors.torch import load_file
from same_model import TOKENS, outcome, require_same
from sharing_models import HEAD, HEADS, PAIRS, SCHEMES, SPACED, WIDTH, Scheme, config_of, random_weights, save

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


def test_as_many_kv_heads_as_heads_is_mha(headscope, random_models, tmp_path):
    """A Llama whose config says that it has a KV head for each head, and one whose config says nothing."""
    said, unsaid = random_models("llama-mha"), tmp_path / "unsaid"
    config = json.loads((said / "config.json").read_text())
    assert config.pop("num_key_value_heads") == config["num_attention_heads"]
    unsaid.mkdir()
    (unsaid / "model.safetensors").symlink_to(said / "model.safetensors")
    (unsaid / "config.json").write_text(json.dumps(config))
    a, b = outcome(headscope, said), outcome(headscope, unsaid)
    require_same(a, b, 0, 0)
    assert a.used == b.used and a.variant == b.variant == "MHA"


def test_mlkv_of_all_layers_and_heads_is_mha(headscope, tmp_path):
    """MLKV's own tensors against Pythia's, where queries, keys and values are fused head by head."""
    folder = tmp_path / "mlkv"
    weights = mlkv_models.make(folder, mlkv_models.LAYERS, mlkv_models.HEADS, "rotated", 4)
    config = json.loads((folder / "config.json").read_text())
    fused = {name: values for name, values in weights.items() if ".query." not in name and ".key." not in name
             and ".value." not in name}
    for i in range(mlkv_models.LAYERS):
        base = f"gpt_neox.layers.{i}.attention."
        for kind in ("weight", "bias"):
            parts = [weights[f"{base}{part}.{kind}"].unflatten(0, (mlkv_models.HEADS, -1))
                     for part in ("query", "key", "value")]
            fused[f"{base}query_key_value.{kind}"] = torch.stack(parts, 1).flatten(0, 2)
    for key in ("num_key_value_layers", "num_key_value_heads", "consumer_keys"):
        config.pop(key)
    plain = outcome(headscope, save(tmp_path / "neox", config, fused))
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


@pytest.mark.parametrize("heads, variant", [(2, "GQA-2"), (1, "MQA")])
def test_mlkv_of_all_layers_is_gqa(headscope, tmp_path, heads, variant):
    """MLKV's family against GQA in our own words, where nothing is said of owners."""
    folder, m = tmp_path / "mlkv", mlkv_models
    weights = m.make(folder, m.LAYERS, heads, None, 4)
    layer = {"q_heads": m.HEADS, "scale": m.HEAD ** -0.5, "rotate_query": True, "qkv_bias": True, "output_bias": True,
             "residual": "parallel", "mlp": {"width": m.INNER, "bias": True, "activation": "gelu"}}
    config = {"model_type": "headscope", "vocab_size": m.VOCAB, "d_model": m.WIDTH, "context": 128, "norm": "layer_norm",
              "norm_epsilon": m.EPSILON, "position": {"scheme": "rope", "rope": {"dims": m.ROTATED, "base": m.BASE}},
              "layers": [layer] * m.LAYERS,
              "kv_stores": [{"layer": i, "kv_heads": heads, "key_dim": m.HEAD, "value_dim": m.HEAD, "keys_rotated": True}
                            for i in range(m.LAYERS)]}
    plain = outcome(headscope, save(tmp_path / "own", config, {own_name(name): values for name, values in weights.items()}))
    shared = outcome(headscope, folder)
    require_same(shared, plain)
    assert shared.used == plain.used and shared.variant == plain.variant == variant


def test_cla_of_one_layer_is_no_sharing(headscope, tmp_path):
    """Owners at i - i % f, with f = 1, against layers that say nothing of owners."""
    scheme = Scheme("", "", 2, owners=tuple(i - i % 1 for i in range(4)))
    weights, config = weights_of(scheme), config_of(scheme)
    shared = outcome(headscope, save(tmp_path / "cla", config, weights))
    for layer in config["layers"]:
        assert "kv_owner" in layer and layer.pop("kv_owner") is not None
    plain = outcome(headscope, save(tmp_path / "plain", config, weights))
    require_same(shared, plain, 0, 0)
    assert shared.used == plain.used and shared.variant == plain.variant == "GQA-2"


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


@pytest.mark.parametrize("positions", ["rope", "learned"])
@pytest.mark.parametrize("owners", [(0, 1, 2, 3), PAIRS])
def test_slim_is_mha(headscope, tmp_path, positions, owners):
    """W_KV = W_K^-1 W_V, by an inverse in float64. Biases: V = (K - b_K) W_KV + b_V."""
    whole = Scheme("", "", HEADS, owners, positions=positions)
    slim = dataclasses.replace(whole, stored="keys_only")
    weights, config = weights_of(whole), config_of(whole)
    with_biases(config, weights)
    for layer in config_of(slim)["layers"]:
        assert layer["q_heads"] * HEAD == WIDTH  # W_K is square
    converted, slim_config = dict(weights), config_of(slim)
    worst = 0
    for layer in sorted(set(owners)):
        name = f"layers.{layer}."
        key, value = weights[name + "key"], weights[name + "value"]
        worst = max(worst, torch.linalg.cond(key).item())
        converted[name + "value"] = value @ torch.linalg.inv(key)
        converted[name + "value_bias"] = weights[name + "value_bias"] - converted[name + "value"] @ weights[name + "key_bias"]
    for layer in slim_config["layers"]:
        layer["qkv_bias"] = True
    a = outcome(headscope, save(tmp_path / "slim", slim_config, converted))
    b = outcome(headscope, save(tmp_path / "whole", config, weights))
    require_same(a, b, logits=2e-7 * worst, maps=2e-6 * worst)  # f32 keys are rounded, and that grows by cond(W_K)
    assert worst < 3000 and b.used == [2 * used for used in a.used]
    assert a.variant == "Slim " + b.variant


def test_the_tensors_are_read_back_as_they_were(tmp_path):
    """What the other tests stand on: float64 weights go through float32 once."""
    weights = weights_of(MHA)
    save(tmp_path / "model", config_of(MHA), weights)
    for name, values in load_file(tmp_path / "model" / "model.safetensors").items():
        assert torch.equal(values, weights[name].float())
