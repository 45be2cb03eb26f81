"""Compares HeadScope with a plain implementation of MLKV, which transformers does not have, written from its formulas.

Pythia whose layers 0 and floor(i L / m) own keys and values for g heads, and whose other layers read those of the nearest
owner below: as released (readers see keys before rope) and with rotated keys. Prompt and generated tokens are compared, so a
cache that differs from the uncached forward shows. Prints the worst figures; exit code 1 when one is exceeded.
"""

import argparse
import pathlib
import sys
import tempfile

import h5py
import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import plain_rope  # noqa: E402
from attention_numbers import normalised_entropy, worst_difference  # noqa: E402
from mlkv_models import BASE, EPSILON, HEAD, HEADS, LAYERS, ROTATED, VOCAB, WIDTH, make, owners  # noqa: E402
from program import Headscope  # noqa: E402

LOGITS, MAPS, EVENEST = 1e-4, 2e-5, 0.6  # of the logits' range; of a weight; mean normalised entropy of a layer


def rotate(x):
    return plain_rope.rotate(x, BASE, ROTATED)


def forward(w, ids, layers, heads, rotated):
    """Logits [n, vocab] and maps [HEADS, n, n] of each layer, uncached."""
    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name, x):
        return torch.nn.functional.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], EPSILON)

    x, maps, owned = w["gpt_neox.embed_in.weight"][torch.tensor(ids)], [], owners(layers)
    n = len(ids)
    masked = torch.full((n, n), float("-inf"), dtype=torch.float64).triu(1)
    for i in range(LAYERS):
        layer = f"gpt_neox.layers.{i}"
        normed = norm(f"{layer}.input_layernorm", x)
        query = rotate(linear(f"{layer}.attention.query", normed).view(n, HEADS, HEAD))
        if i in owned:
            plain = linear(f"{layer}.attention.key", normed).view(n, heads, HEAD)
            value = linear(f"{layer}.attention.value", normed).view(n, heads, HEAD)
        key = rotate(plain) if i in owned or rotated else plain
        k, v = (t.repeat_interleave(HEADS // heads, 1) for t in (key, value))
        weights = torch.softmax(torch.einsum("qhd,khd->hqk", query, k) / HEAD ** 0.5 + masked, -1)
        maps.append(weights.numpy())
        attended = linear(f"{layer}.attention.dense", torch.einsum("hqk,khd->qhd", weights, v).reshape(n, WIDTH))
        inner = torch.nn.functional.gelu(linear(f"{layer}.mlp.dense_h_to_4h", norm(f"{layer}.post_attention_layernorm", x)))
        x = x + attended + linear(f"{layer}.mlp.dense_4h_to_h", inner)
    return (norm("gpt_neox.final_layer_norm", x) @ w["embed_out.weight"].T).numpy(), maps


def compare(headscope, work, layers, heads, keys):
    """(worst logits, worst map) against the formulas, and how far the other convention would be."""
    folder = work / f"mlkv-{layers}x{heads}-{keys}"
    w = make(folder, layers, heads, keys, layers * 10 + heads)
    ids = np.random.default_rng(layers + heads).integers(VOCAB, size=60).tolist()
    run = headscope.json("run", folder, "--ids", ",".join(map(str, ids)), "--generate", 8, "--save", "logits,attention",
                         "--out", work / "run.h5", "--threads", 1)
    assert run["kv_bytes_used"] == [2 * heads * HEAD * 4 * len(run["ids"]) * (i in owners(layers)) for i in range(LAYERS)]
    logits, maps = forward(w, run["ids"], layers, heads, keys == "rotated")
    for layer, one in enumerate(maps):
        assert normalised_entropy(one) <= EVENEST, f"layer {layer} attends too evenly: {normalised_entropy(one):.2f}"
    other, _ = forward(w, run["ids"], layers, heads, keys != "rotated")
    span = logits.max() - logits.min()
    with h5py.File(work / "run.h5") as file:
        found = worst_difference(file["logits"][()], logits) / span
        worst = max(worst_difference(file[f"attention/layer_{i:03}"][()], maps[i]) for i in range(LAYERS))
    return found, worst, worst_difference(other, logits) / span


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headscope", required=True, help="the program to test")
    headscope = Headscope(parser.parse_args().headscope)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for layers, heads in ((6, 2), (6, 1), (3, 4), (3, 2), (4, 1), (2, 1), (1, 1)):
            for keys in (None, "rotated"):
                logits, maps, other = compare(headscope, pathlib.Path(folder), layers, heads, keys)
                shared = layers < LAYERS
                good = logits <= LOGITS and maps <= MAPS and (not shared or other > 100 * LOGITS)
                failed |= not good
                print(f"MLKV {layers}x{heads} {keys or 'as released'}: logits {logits:.1e}  maps {maps:.1e}  "
                      f"(the other convention: {other:.1e}){'' if good else '  FAILED'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
