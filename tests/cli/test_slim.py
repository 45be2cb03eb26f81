"""`headscope verify` and `info` of slim attention: how well W_K can be inverted, beside NumPy's condition number."""

import json
import re

import numpy as np
import pytest
import torch
from sharing_models import HEAD, HEADS, PAIRS, Scheme, config_of, random_weights, save

SLIM = Scheme("slim", "Slim MHA", stored="keys_only")


def condition(headscope, folder, code=0):
    """(passed, detail) of the check."""
    done = headscope.run("verify", folder, "--json", "--quiet")
    assert done.returncode == code, done.stderr.decode()
    table = done.stdout if code == 0 else done.stderr.partition(b"\n")[2]
    return next((one["passed"], one["detail"]) for one in json.loads(table) if one["check"] == "condition of W_K")


@pytest.mark.parametrize("owners", [(0, 1, 2, 3), PAIRS])
def test_the_worst_layer_is_told(headscope, tmp_path, owners):
    scheme = Scheme("", "", HEADS, owners, "keys_only")
    weights = random_weights(scheme, 6)
    worst = sorted(set(owners))[-1]
    u, sizes, v = np.linalg.svd(weights[f"layers.{worst}.key"].numpy())
    sizes[-1] /= 50  # harder to invert than the others
    weights[f"layers.{worst}.key"] = weights[f"layers.{worst}.key"].new_tensor((u * sizes) @ v)
    expected = {layer: np.linalg.cond(weights[f"layers.{layer}.key"].numpy().astype(np.float64)) for layer in set(owners)}
    assert max(expected, key=expected.get) == worst and expected[worst] > 3 * sorted(expected.values())[-2]
    passed, detail = condition(headscope, save(tmp_path / "model", config_of(scheme), weights))
    found, layer = re.search(r"cond\(W_K\) = (\S+), in layer (\d+)", detail).groups()
    assert passed and int(layer) == worst
    assert float(found) == pytest.approx(expected[worst], rel=1e-3)  # four digits are printed


def test_info_tells_every_layer(headscope, tmp_path):
    weights = random_weights(SLIM, 6)
    folder = save(tmp_path / "model", config_of(SLIM), weights)
    expected = [np.linalg.cond(weights[f"layers.{layer}.key"].numpy().astype(np.float64)) for layer in range(4)]
    found = headscope.json("info", folder)["key_condition"]
    assert [one["layer"] for one in found] == [0, 1, 2, 3]
    assert [one["condition"] for one in found] == pytest.approx(expected, rel=1e-9)
    worst = int(np.argmax(expected))
    text = headscope.text("info", folder)
    told, layer = re.search(r"cond\(W_K\) +at most (\S+), in layer (\d+)", text).groups()
    assert float(told) == pytest.approx(expected[worst], rel=1e-3) and int(layer) == worst


def test_info_leaves_large_ones_to_verify(headscope, tmp_path):
    """Two layers of 1,024 x 1,024: more than a moment."""
    scheme = Scheme("", "", HEADS, (0, 1), "keys_only")
    config = config_of(scheme)
    config["d_model"] = 1024
    for layer, store in zip(config["layers"], config["kv_stores"]):
        layer["q_heads"] = store["kv_heads"] = 8
        store["key_dim"] = store["value_dim"] = 128
    weights = {"token_embedding": (131, 1024), "final_norm": (1024,), "lm_head": (131, 1024)}
    for i in range(2):
        weights |= {f"layers.{i}.{name}": (1024, 1024) for name in ("query", "key", "value", "attention_output")}
        weights |= {f"layers.{i}.{name}": (1024,) for name in ("attention_norm", "mlp_norm")}
        weights |= {f"layers.{i}.mlp_up": (80, 1024), f"layers.{i}.mlp_down": (1024, 80)}
    folder = save(tmp_path / "model", config, {name: torch.ones(shape) for name, shape in weights.items()})
    assert headscope.json("info", folder)["key_condition"] is None
    assert "headscope verify tells it" in headscope.text("info", folder)


def test_a_singular_matrix_fails(headscope, tmp_path):
    weights = random_weights(SLIM, 6)
    key = weights["layers.2.key"]
    key[7] = key[HEAD + 1]  # two alike rows: what they tell apart cannot be made from keys
    passed, detail = condition(headscope, save(tmp_path / "model", config_of(SLIM), weights), code=2)
    assert not passed and "in layer 2" in detail


def test_others_have_no_such_check(headscope, tmp_path):
    for scheme in (Scheme("MHA", "MHA"), Scheme("SharedKV", "", stored="values_only")):
        folder = save(tmp_path / scheme.name, config_of(scheme), random_weights(scheme, 6))
        checks = headscope.json("verify", folder, "--quiet")
        assert "condition of W_K" not in [one["check"] for one in checks]
        assert headscope.json("info", folder)["key_condition"] is None and "cond(W_K)" not in headscope.text("info", folder)
