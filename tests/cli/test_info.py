"""`headscope info` and `verify`: names, types and values of their JSON, and the same facts as text."""

import json
import pathlib
import subprocess
import sys

import pytest
import tiny_checkpoint

ROOT = pathlib.Path(__file__).resolve().parents[2]

INFO_TYPES = {
    "family": str, "variant": str, "layers": int, "d_model": int, "q_heads": list, "kv_heads": list, "kv_owner": list,
    "key_dim": int, "value_dim": int, "kv_store": str, "parameters": int, "vocab_size": int, "context": int,
    "position": str, "kv_bytes_per_token": dict,
}


def require_types(found, types):
    for name, kind in types.items():
        assert type(found[name]) is kind, f"{name} is {found[name]!r}"


def test_info_of_the_trained_model(headscope, stories):
    found = headscope.json("info", stories)
    require_types(found, INFO_TYPES)
    expected = {
        "model": "stories260K", "family": "llama", "variant": "GQA-4", "layers": 5, "d_model": 64, "q_heads": [8] * 5,
        "kv_heads": [4] * 5, "kv_owner": [0, 1, 2, 3, 4], "key_dim": 8, "value_dim": 8, "kv_store": "keys_and_values",
        "vocab_size": 512, "context": 512, "position": "rope", "kv_bytes_per_token": {"f32": 1280, "bf16": 640},
        "tied_embeddings": True,
    }
    assert {name: found[name] for name in expected} == expected
    # embedding + 5 x (q, k, v, o, gate, up, down, two norms) + final norm
    assert found["parameters"] == 512 * 64 + 5 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 172 * 64 + 2 * 64) + 64
    text = headscope.text("info", stories)
    for fact in ("llama", "GQA-4", "1,280 B", "260,032", "512 tokens"):
        assert fact in text, fact


@pytest.mark.parametrize("name, variant, kv_heads", [("llama-mha", "MHA", 6), ("llama-mqa-tied", "MQA", 1),
                                                     ("llama-biases", "GQA-3", 3), ("gpt2-odd-mlp", "MHA", 5)])
def test_info_of_random_models(headscope, random_models, name, variant, kv_heads):
    folder = random_models(name)
    found = headscope.json("info", folder)
    require_types(found, INFO_TYPES)
    config = json.loads((folder / "config.json").read_text())
    assert found["variant"] == variant and found["kv_heads"] == [kv_heads] * 3
    assert found["position"] == ("learned" if found["family"] == "gpt2" else "rope")
    assert found["vocab_size"] == config["vocab_size"] and found["family"] == config["model_type"]
    assert found["kv_bytes_per_token"]["f32"] == 2 * 3 * kv_heads * found["key_dim"] * 4
    assert found["kv_bytes_per_token"]["bf16"] * 2 == found["kv_bytes_per_token"]["f32"]


def test_info_counts_parameters_as_torch_does(headscope, random_models):
    import random_models as module

    for name in ("gpt2-gelu-untied-f16", "llama-mqa-tied"):
        expected = sum(weight.numel() for weight in module.load(random_models(name)).parameters())
        assert headscope.json("info", random_models(name))["parameters"] == expected


def test_info_says_how_a_folder_is_stored(headscope, random_models):
    found = headscope.json("info", random_models("llama-sharded-bf16"))
    assert found["stored_dtype"] == "BF16" and "shards" in found["format"]
    assert headscope.json("info", random_models("gpt2-gelu-untied-f16"))["stored_dtype"] == "F16"


def test_info_lists_tensors(headscope, tiny):
    listed = headscope.json("info", tiny, "--tensors")
    expected = tiny_checkpoint.shapes(tiny_checkpoint.CONFIG)
    assert {one["name"]: one["shape"] for one in listed} == expected
    assert all(one["dtype"] == "F32" for one in listed)
    text = headscope.text("info", tiny, "--tensors")
    assert all(name in text for name in expected)


def test_info_lists_families(headscope):
    assert {one["family"] for one in headscope.json("info", "--families")} >= {"gpt2", "llama"}
    assert "llama" in headscope.text("info", "--families")


def test_the_table_of_families_is_what_the_program_says(headscope):
    made = subprocess.run([sys.executable, "-B", ROOT / "scripts" / "families_table.py", headscope.path], check=True,
                          capture_output=True, text=True).stdout
    assert (ROOT / "docs" / "families.md").read_text() == made, "run scripts/families_table.py"


def test_info_needs_a_model(headscope):
    headscope.refusal("info", code=1, words=["MODEL"])


def test_verify(headscope, stories):
    found = headscope.json("verify", stories)
    names = [one["check"] for one in found]
    assert all(type(one["passed"]) is bool and one["passed"] and isinstance(one["detail"], str) for one in found), found
    for name in ("tokenizer", "cached = uncached", "attention rows sum to 1", "KV bytes = formula"):
        assert name in names
    assert any(name.startswith("kernel ") for name in names)
    assert "FAILED" not in headscope.text("verify")
