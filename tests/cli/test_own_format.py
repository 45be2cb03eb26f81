"""HeadScope's own config says the same as those of the families, bit for bit, and is read strictly."""

import json
import pathlib

import h5py
import numpy as np
import pytest
import torch
from own_format import rewrite, rewrite_deepseek
from safetensors.torch import save_file

IDS = ",".join(str(i * 7 % 90) for i in range(40))


def logits(headscope, folder, out):
    headscope.json("run", folder, "--ids", IDS, "--save", "logits", "--out", out, "--threads", 1)
    with h5py.File(out) as file:
        return file["logits"][()]


@pytest.mark.parametrize("name, layer, outside, plus_one", [
    ("llama-gqa", {}, {}, False),
    ("qwen3", {"qk_norm": "per_head"}, {}, False),
    ("gemma", {"mlp": {"width": 88, "gated": True, "activation": "gelu_pytorch_tanh"}}, {"embedding_scale": 48 ** 0.5}, True),
])
def test_the_same_model_in_our_own_words(headscope, random_models, tmp_path, name, layer, outside, plus_one):
    folder = random_models(name)
    own = rewrite(folder, tmp_path / "own", layer, outside, plus_one)
    require_same(headscope, folder, own, tmp_path)


@pytest.mark.parametrize("name, router", [
    ("deepseek2-groups", {}),
    ("deepseek3-plain", {"score": "sigmoid", "choice_bias": True, "group_best": 2, "normalised": True}),
])
def test_latents_and_experts_in_our_own_words(headscope, random_models, tmp_path, name, router):
    folder = random_models(name)
    require_same(headscope, folder, rewrite_deepseek(folder, tmp_path / "own", router), tmp_path)


def require_same(headscope, folder, own, tmp_path):
    assert np.array_equal(logits(headscope, folder, tmp_path / "a.h5"), logits(headscope, own, tmp_path / "b.h5"))
    theirs, ours = (headscope.json("info", one) for one in (folder, own))
    same = ("variant", "parameters", "q_heads", "kv_heads", "kv_owner", "kv_bytes_per_token")
    assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}


def test_layers_that_share_a_cache(headscope, random_models, tmp_path):
    """Layer 2 reads what layer 1 wrote: no keys and values of its own, and two caches instead of three."""
    own = rewrite(random_models("llama-gqa"), tmp_path / "own")
    path = own / "config.json"
    config = json.loads(path.read_text())
    config["layers"][2]["kv_owner"] = 1
    del config["kv_stores"][2]
    path.write_text(json.dumps(config))
    found = headscope.json("info", own)
    assert found["kv_owner"] == [0, 1, 1] and found["variant"] == "MLKV 2x2"
    run = headscope.json("run", own, "--ids", IDS, "--threads", 1)
    assert run["kv_bytes_used"] == [2 * 2 * 8 * 4 * 40] * 2 + [0]  # K and V of 2 heads, 40 tokens


@pytest.mark.parametrize("change, words", [
    (lambda c: c.update(windows=3), ["\"windows\" is not known", "kv_stores"]),
    (lambda c: c["layers"][1].update(kv_heads=2), ["\"layers[1].kv_heads\" is not known"]),
    (lambda c: c["layers"][1].update(kv_owner=2), ["layers[1].kv_owner"]),
    (lambda c: c["layers"][0].pop("scale"), ["layers[0].scale"]),
    (lambda c: c.update(kv_stores=[]), ["kv_stores", "a list of 1 to"]),
    (lambda c: c["position"].update(scheme="spiral"), ["position.scheme", "spiral"]),
    (lambda c: c["kv_stores"][0].update(stored="keys_alone"), ["kv_stores[0].stored", "keys_alone"]),
    (lambda c: c["kv_stores"][0].update(stored="latent"), ["kv_stores[0].kv_heads must be 1 for a latent"]),
    (lambda c: c["layers"][0].update(mla={"content_dim": 8}), ["layers[0].mla.value_dim"]),
    (lambda c: c["layers"][0]["mlp"].update(experts=4, router={"grups": 2}), ["layers[0].mlp.router.grups"]),
])
def test_mistakes_are_named(headscope, random_models, tmp_path, change, words):
    own = rewrite(random_models("llama-gqa"), tmp_path / "own")
    config = json.loads((own / "config.json").read_text())
    change(config)
    (own / "config.json").write_text(json.dumps(config))
    result = headscope.run("info", own)
    assert result.returncode == 2
    for word in words:
        assert word in result.stderr.decode(), result.stderr.decode()


def documented():
    """The examples of docs/own-format.md."""
    page = (pathlib.Path(__file__).resolve().parents[2] / "docs" / "own-format.md").read_text()
    return [json.loads(block.split("```")[0]) for block in page.split("```json\n")[1:]]


@pytest.mark.parametrize("which, variant, used", [(0, "SharedKV CLA-2 GQA-2", [16 * 4 * 40, 0]),
                                                  (1, "GQA-2, window 16 in 1 of 2 layers", [32 * 4 * 16, 32 * 4 * 40])])
def test_the_documented_examples_run(headscope, tmp_path, which, variant, used):
    config = documented()[which]
    gated, owners = config["layers"][0]["mlp"].get("gated", False), [store["layer"] for store in config["kv_stores"]]
    weights = {"token_embedding": torch.randn(96, 32), "final_norm": torch.ones(32), "lm_head": torch.randn(96, 32)}
    for i in range(2):
        shapes = {"query": (32, 32), "attention_output": (32, 32), "mlp_up": (64, 32), "mlp_down": (32, 64)}
        shapes |= {"mlp_gate": (64, 32)} if gated else {}
        shapes |= {"value": (16, 32)} if i in owners else {}
        shapes |= {"key": (16, 32)} if which == 1 else {}
        weights |= {f"layers.{i}.{name}": torch.randn(*shape) / 6 for name, shape in shapes.items()}
        weights |= {f"layers.{i}.{name}": torch.ones(32) for name in ("attention_norm", "mlp_norm")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(weights, tmp_path / "model.safetensors")
    assert headscope.json("info", tmp_path)["variant"] == variant
    assert headscope.json("run", tmp_path, "--ids", IDS)["kv_bytes_used"] == used
    headscope.text("verify", tmp_path)
    # Without a tokenizer the new ids are all there is to read.
    words = ("run", tmp_path, "--ids", "1,2", "--generate", 3, "--ignore-eos")
    assert "generated " + ",".join(map(str, headscope.json(*words)["ids"][2:])) in headscope.text(*words)
