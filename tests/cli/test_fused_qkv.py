"""Fused query, key and value tensors: every head has a number of its own, and each must arrive where the family puts it.

The first layer's input is made 1 everywhere and its rows divide their number by the width, so that every element of a head
is that number at position 0, where rope turns nothing. The order of rows is written out here for each family."""

import json

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

QUERY, KEY, VALUE = "q", "k", "v"


def in_thirds(heads, kv_heads):
    """All queries, then all keys, then all values."""
    return [(QUERY, h) for h in range(heads)] + [(KEY, h) for h in range(kv_heads)] + [(VALUE, h) for h in range(kv_heads)]


def by_group(heads, kv_heads):
    """The query heads of a KV head, its key, its value; then those of the next."""
    group = heads // kv_heads
    return [part for g in range(kv_heads)
            for part in [*((QUERY, g * group + i) for i in range(group)), (KEY, g), (VALUE, g)]]


def by_kind_in_heads(heads, kv_heads):
    """Value, key and query of each KV head: nobody's order."""
    return [(kind, part[1]) for part in by_group(heads, kv_heads)
            for kind in [{QUERY: VALUE, KEY: KEY, VALUE: QUERY}[part[0]]]]


def queries_last(heads, kv_heads):
    """All keys and all values before the queries: nobody's order."""
    return sorted(in_thirds(heads, kv_heads), key=lambda part: part[0] == QUERY)


# model, fused tensor, norm before it, query heads, KV heads, its order, the orders that a reader may take it for
FAMILIES = {
    "gpt2-odd-mlp": ("transformer.h.0.attn.c_attn", "transformer.h.0.ln_1", 5, 5, in_thirds, [by_group]),
    "neox-parallel": ("gpt_neox.layers.0.attention.query_key_value", "gpt_neox.layers.0.input_layernorm", None, None, by_group,
                      [in_thirds, by_kind_in_heads]),
    "bigcode-mha": ("transformer.h.0.attn.c_attn", "transformer.h.0.ln_1", None, None, by_group, [in_thirds, by_kind_in_heads]),
    "bigcode-mqa": ("transformer.h.0.attn.c_attn", "transformer.h.0.ln_1", None, 1, in_thirds, [queries_last]),
    "falcon-alibi": ("transformer.h.0.self_attention.query_key_value", "transformer.h.0.input_layernorm", 6, 6, by_group,
                     [in_thirds, by_kind_in_heads]),
    "falcon-mqa": ("transformer.h.0.self_attention.query_key_value", "transformer.h.0.input_layernorm", 6, 1, in_thirds,
                   [queries_last]),
    "falcon-grouped": ("transformer.h.0.self_attention.query_key_value", "transformer.h.0.ln_attn", 6, 2, by_group,
                       [in_thirds, by_kind_in_heads]),
    "phi3": ("model.layers.0.self_attn.qkv_proj", "model.layers.0.input_layernorm", None, None, in_thirds, [by_group]),
}


def number(kind, head):
    return {QUERY: 1, KEY: 2, VALUE: 3}[kind] + head / 16


def constants(folder, out, case, order):
    """The model with its first layer's fused tensor in this order. Returns (query heads, KV heads)."""
    fused, norm, _, _, _, _ = FAMILIES[case]
    tensors, heads, kv_heads = dict(load_file(folder / "model.safetensors")), *heads_of(folder, case)
    weight = tensors[fused + ".weight"]
    transposed = case.startswith("gpt2")
    rows, width = weight.T.shape if transposed else weight.shape
    dim = rows // (heads + 2 * kv_heads)
    values = np.repeat([number(*part) for part in order(heads, kv_heads)], dim)
    full = np.repeat(values[:, None] / width, width, axis=1).astype(np.float32)
    tensors[fused + ".weight"] = np.ascontiguousarray(full.T if transposed else full)
    if fused + ".bias" in tensors:
        tensors[fused + ".bias"] = np.zeros(rows, np.float32)
    if norm + ".bias" in tensors:  # a LayerNorm that says 1 whatever comes
        tensors[norm + ".weight"] = np.zeros(width, np.float32)
        tensors[norm + ".bias"] = np.ones(width, np.float32)
    else:  # an RMSNorm of ones
        tensors[norm + ".weight"] = np.ones(width, np.float32)
        name = "model.embed_tokens.weight"
        tensors[name] = np.ones_like(tensors[name])
    out.mkdir()
    (out / "config.json").write_bytes((folder / "config.json").read_bytes())
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    return heads, kv_heads


def heads_of(folder, case):
    _, _, heads, kv_heads, _, _ = FAMILIES[case]
    config = json.loads((folder / "config.json").read_text())
    heads = heads or config.get("num_attention_heads") or config["n_head"]
    return heads, kv_heads or config.get("num_key_value_heads") or heads


def first_row(headscope, model, file):
    """{kind: [heads, numbers]} of the first layer at position 0."""
    headscope.text("run", model, "--ids", "3", "--save", "q,k,v", "--out", file, "--quiet")
    with h5py.File(file) as saved:
        return {kind: saved[f"{kind}/layer_000"][:, 0].astype(np.float64) for kind in (QUERY, KEY, VALUE)}


def is_split_rightly(found, heads, kv_heads):
    return all(found[kind].shape[0] == count and np.allclose(found[kind], [[number(kind, h)] for h in range(count)], atol=1e-4)
               for kind, count in ((QUERY, heads), (KEY, kv_heads), (VALUE, kv_heads)))


@pytest.mark.parametrize("case", FAMILIES)
def test_every_head_gets_its_rows(headscope, random_models, tmp_path, case):
    *_, order, wrong = FAMILIES[case]
    counts = constants(random_models(case), tmp_path / "right", case, order)
    assert is_split_rightly(first_row(headscope, tmp_path / "right", tmp_path / "right.h5"), *counts)
    for other in wrong:
        folder = tmp_path / other.__name__
        constants(random_models(case), folder, case, other)
        assert not is_split_rightly(first_row(headscope, folder, tmp_path / "wrong.h5"), *counts), other.__name__
