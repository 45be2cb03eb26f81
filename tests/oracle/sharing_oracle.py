"""Compares schemes of sharing keys and values with a plain implementation, written from their formulas (kv-variants.md 2, 3.7,
3.8): heads and layers that share, keys made from stored values with and without rope, latents that several layers read.

Tiny random models in HeadScope's own format. Prompt and generated tokens are compared with one uncached float64 pass, so a
cache that differs shows; bytes are those of what a scheme has to store. Prints the worst figures; exit code 1 when one is
exceeded.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile

import h5py
import numpy as np
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import plain_rope  # noqa: E402
from attention_numbers import worst_difference  # noqa: E402
from program import Headscope  # noqa: E402
from random_models import normalised_entropy  # noqa: E402

LOGITS, MAPS, EVENEST = 1e-4, 2e-5, 0.6  # of the logits' range; of a weight; mean normalised entropy of a layer
WIDTH, HEADS, HEAD, LAYERS, VOCAB, INNER, CONTEXT = 48, 6, 8, 4, 131, 80, 96
LATENT, ROPE_KEY, CONTENT, VALUE = 20, 6, 10, 7  # MLA
BASE, EPSILON, SHARPNESS = 10000.0, 1e-5, 2.2


@dataclasses.dataclass(frozen=True)
class Scheme:
    name: str
    kv_heads: int = HEADS
    owners: tuple = tuple(range(LAYERS))  # of each layer's cache
    stored: str = "keys_and_values"
    rope: bool = True  # or learned positions
    windows: tuple = (0,) * LAYERS

    def owns(self, layer):
        return self.owners[layer] == layer

    def bytes_per_token(self):
        heads = {"keys_and_values": 2 * self.kv_heads * HEAD, "values_only": self.kv_heads * HEAD,
                 "keys_only": self.kv_heads * HEAD, "latent": LATENT + ROPE_KEY}[self.stored]
        return [4 * heads * self.owns(layer) for layer in range(LAYERS)]


PAIRS, HALVES, FIRST = (0, 0, 2, 2), (0, 0, 0, 3), (0, 0, 0, 0)
SCHEMES = [
    Scheme("MHA"), Scheme("GQA-2", 2), Scheme("MQA", 1),
    Scheme("CLA-2", 2, PAIRS), Scheme("MLKV 2x1", 1, PAIRS), Scheme("any owners", 3, HALVES), Scheme("one owner", 1, FIRST),
    Scheme("SharedKV MHA", stored="values_only"), Scheme("SharedKV GQA-2", 2, stored="values_only"),
    Scheme("SharedKV MQA", 1, stored="values_only"), Scheme("SharedKV on CLA-2", 2, PAIRS, "values_only"),
    Scheme("SharedKV, one owner", 1, FIRST, "values_only"),
    Scheme("K = V without rope", 2, stored="values_only", rope=False),
    Scheme("K = V without rope on CLA-2", 3, PAIRS, "values_only", False),
    Scheme("slim MHA", stored="keys_only"), Scheme("slim MHA without rope", stored="keys_only", rope=False),
    Scheme("slim, one owner", HEADS, FIRST, "keys_only"),
    Scheme("windows on CLA-2", 2, PAIRS, windows=(11, 11, 0, 0)), Scheme("SharedKV with windows", 2, stored="values_only",
                                                                         windows=(9, 0, 9, 0)),
    Scheme("MLA", 1, stored="latent"), Scheme("MLA on CLA-2", 1, PAIRS, "latent"),
    Scheme("MLA, one owner", 1, FIRST, "latent"),
]


def make(scheme, folder, seed):
    """Random weights under the names of HeadScope's own format, in float64."""
    random = torch.Generator().manual_seed(seed)
    weights = {}

    def normal(name, *shape, scale=1.0, mean=0.0):
        weights[name] = mean + scale * torch.randn(*shape, generator=random)

    def matrix(name, out, size, scale=1.0):
        normal(name, out, size, scale=scale / size ** 0.5)

    normal("token_embedding", VOCAB, WIDTH)
    if not scheme.rope:
        normal("position_embedding", CONTEXT, WIDTH, scale=0.5)
    for i in range(LAYERS):
        layer = f"layers.{i}."
        normal(layer + "attention_norm", WIDTH, scale=0.2, mean=1)
        normal(layer + "mlp_norm", WIDTH, scale=0.2, mean=1)
        if scheme.stored == "latent":
            matrix(layer + "query", HEADS * (CONTENT + ROPE_KEY), WIDTH, SHARPNESS ** 2)
            if scheme.owns(i):
                matrix(layer + "latent", LATENT + ROPE_KEY, WIDTH)
                normal(layer + "latent_norm", LATENT, scale=0.2, mean=1)
            matrix(layer + "latent_key", HEADS * CONTENT, LATENT)
            matrix(layer + "latent_value", HEADS * VALUE, LATENT)
            matrix(layer + "attention_output", WIDTH, HEADS * VALUE)
        else:
            matrix(layer + "query", HEADS * HEAD, WIDTH, SHARPNESS ** 2)
            keys = scheme.kv_heads * HEAD
            if scheme.owns(i) and scheme.stored != "values_only":
                matrix(layer + "key", keys, WIDTH)
            if scheme.owns(i):
                matrix(layer + "value", keys, keys if scheme.stored == "keys_only" else WIDTH)
            matrix(layer + "attention_output", WIDTH, HEADS * HEAD)
        matrix(layer + "mlp_up", INNER, WIDTH)
        matrix(layer + "mlp_down", WIDTH, INNER)
    normal("final_norm", WIDTH, scale=0.2, mean=1)
    matrix("lm_head", VOCAB, WIDTH)
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config_of(scheme)))
    return {name: values.double() for name, values in weights.items()}


def config_of(scheme):
    latent, shared = scheme.stored == "latent", scheme.stored in ("values_only", "keys_only")
    dims = ROPE_KEY if latent else HEAD
    layers, stores = [], []
    for i in range(LAYERS):
        layer = {"q_heads": HEADS, "kv_owner": scheme.owners[i], "scale": 0.4, "window": scheme.windows[i],
                 "rotate_query": scheme.rope, "rotate_on_read": scheme.rope and shared,
                 "mlp": {"width": INNER, "activation": "gelu"}}
        if latent:
            layer["mla"] = {"content_dim": CONTENT, "value_dim": VALUE, "norm_epsilon": EPSILON}
        layers.append(layer)
        if scheme.owns(i):
            stores.append({"layer": i, "kv_heads": scheme.kv_heads, "key_dim": LATENT + ROPE_KEY if latent else HEAD,
                           "value_dim": LATENT if latent else HEAD, "stored": scheme.stored,
                           "keys_rotated": scheme.rope and not shared})
    position = {"scheme": "rope", "rope": {"dims": dims, "base": BASE}} if scheme.rope else {"scheme": "learned"}
    return {"model_type": "headscope", "vocab_size": VOCAB, "d_model": WIDTH, "context": CONTEXT, "norm": "rms_norm",
            "norm_epsilon": EPSILON, "position": position, "layers": layers, "kv_stores": stores}


def rotate(x):
    return plain_rope.rotate(x, BASE)


def norm(x, weight):
    return x / (x.pow(2).mean(-1, keepdim=True) + EPSILON).sqrt() * weight


def heads_of(scheme, w, layer, x, owned):
    """Queries, keys and values of every query head, [n, HEADS, d] each; `owned` is what the owner made of its own x."""
    n = len(x)
    query = (x @ w[f"layers.{layer}.query"].T).view(n, HEADS, -1)
    if scheme.stored == "latent":  # naive: keys and values of each head are expanded
        latent, rope_key = owned
        content = (latent @ w[f"layers.{layer}.latent_key"].T).view(n, HEADS, CONTENT)
        value = (latent @ w[f"layers.{layer}.latent_value"].T).view(n, HEADS, VALUE)
        key = torch.cat([content, rope_key[:, None].expand(n, HEADS, ROPE_KEY)], -1)
        return torch.cat([query[..., :CONTENT], rotate(query[..., CONTENT:])], -1), key, value
    group = HEADS // scheme.kv_heads
    key, value = (part.repeat_interleave(group, 1) for part in owned)
    return (rotate(query) if scheme.rope else query), key, value


def owned_by(scheme, w, layer, x):
    """What a layer makes for itself and its readers: keys after rope and values, or latent and rope key."""
    n, name = len(x), f"layers.{layer}."
    if scheme.stored == "latent":
        made = x @ w[name + "latent"].T
        return norm(made[:, :LATENT], w[name + "latent_norm"]), rotate(made[:, None, LATENT:])[:, 0]
    to_value = w[name + "value"]
    if scheme.stored == "keys_only":  # the same as values of one matrix, V = x (W_KV W_K)^T
        to_value = to_value @ w[name + "key"]
    value = (x @ to_value.T).view(n, scheme.kv_heads, HEAD)
    plain = value if scheme.stored == "values_only" else (x @ w[name + "key"].T).view(n, scheme.kv_heads, HEAD)
    return (rotate(plain) if scheme.rope else plain), value


def forward(scheme, w, ids):
    """Logits [n, VOCAB] and maps [HEADS, n, n] of each layer, uncached."""
    n = len(ids)
    x = w["token_embedding"][torch.tensor(ids)]
    if not scheme.rope:
        x = x + w["position_embedding"][:n]
    back = torch.arange(n)[:, None] - torch.arange(n)[None, :]
    maps, owned = [], {}
    for i in range(LAYERS):
        normed = norm(x, w[f"layers.{i}.attention_norm"])
        if scheme.owns(i):
            owned[i] = owned_by(scheme, w, i, normed)
        query, key, value = heads_of(scheme, w, i, normed, owned[scheme.owners[i]])
        visible = (back >= 0) & ((back < scheme.windows[i]) | (scheme.windows[i] == 0))
        scores = 0.4 * torch.einsum("qhd,khd->hqk", query, key)
        weights = torch.softmax(scores.masked_fill(~visible, float("-inf")), -1)
        maps.append(weights)
        mixed = torch.einsum("hqk,khd->qhd", weights, value).reshape(n, -1)
        x = x + mixed @ w[f"layers.{i}.attention_output"].T
        inner = torch.nn.functional.gelu(norm(x, w[f"layers.{i}.mlp_norm"]) @ w[f"layers.{i}.mlp_up"].T)
        x = x + inner @ w[f"layers.{i}.mlp_down"].T
    return norm(x, w["final_norm"]) @ w["lm_head"].T, maps


def compare(headscope, scheme, work, seed):
    """The worst logits and maps, prefill at once and in chunks, decoding token by token behind both."""
    folder = work / f"model-{seed}"
    w = make(scheme, folder, seed)
    ids = np.random.default_rng(seed).integers(VOCAB, size=48).tolist()
    worst_logits = worst_map = 0
    for chunk in (4096, 7):
        run = headscope.json("run", folder, "--ids", ",".join(map(str, ids)), "--generate", 8, "--chunk", chunk, "--save",
                             "logits,attention", "--out", work / "run.h5", "--threads", 1)
        logits, maps = forward(scheme, w, run["ids"])
        for layer, one in enumerate(maps):
            evenness = normalised_entropy(one) if scheme.windows[layer] == 0 else 0
            assert evenness <= EVENEST, f"layer {layer} attends too evenly: {evenness:.2f}"
        used = [size * len(run["ids"]) for size in scheme.bytes_per_token()]
        assert run["kv_bytes_used"] == used, f"{run['kv_bytes_used']} bytes, expected {used}"
        logits = logits.numpy()
        with h5py.File(work / "run.h5") as file:
            worst_logits = max(worst_logits, worst_difference(file["logits"][()], logits) / (logits.max() - logits.min()))
            worst_map = max(worst_map, *(worst_difference(file[f"attention/layer_{i:03}"][()], maps[i].numpy())
                                         for i in range(LAYERS)))
    return worst_logits, worst_map


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headscope", required=True, help="the program to test")
    headscope = Headscope(parser.parse_args().headscope)
    torch.set_num_threads(1)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for seed, scheme in enumerate(SCHEMES):
            logits, maps = compare(headscope, scheme, pathlib.Path(folder), seed)
            good = logits <= LOGITS and maps <= MAPS
            failed |= not good
            print(f"{scheme.name:28} logits {logits:.1e}  maps {maps:.1e}{'' if good else '  FAILED'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
