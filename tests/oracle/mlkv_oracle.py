"""Compares HeadScope with a plain implementation of MLKV, which transformers does not have, written from its formulas.

Pythia whose layers 0 and floor(i L / m) own keys and values for g heads, and whose other layers read those of the nearest
owner below: as released (readers see keys before rope) and with rotated keys. Prompt and generated tokens are compared, so a
cache that differs from the uncached forward shows. Prints the worst figures; exit code 1 when one is exceeded.
"""

import argparse
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

LOGITS, MAPS = 1e-4, 2e-5  # of the logits' range; of a weight
WIDTH, HEADS, LAYERS, VOCAB, INNER = 48, 4, 6, 131, 90
HEAD = WIDTH // HEADS
ROTATED, BASE, EPSILON = 6, 10000.0, 1e-5


def owners(count):
    return [0] + [int((i + 1) * LAYERS / count) for i in range(count - 1)]


def make(folder, layers, heads, keys, seed):
    """Random weights, sharp enough that heads differ; returns them in float64."""
    random = torch.Generator().manual_seed(seed)
    weights = {"gpt_neox.embed_in.weight": torch.randn(VOCAB, WIDTH, generator=random),
               "embed_out.weight": torch.randn(VOCAB, WIDTH, generator=random) / WIDTH ** 0.5}

    def linear(name, out, size, scale=1.0):
        weights[f"{name}.weight"] = scale * torch.randn(out, size, generator=random) / size ** 0.5
        weights[f"{name}.bias"] = 0.2 * torch.randn(out, generator=random)

    def norm(name):
        weights[f"{name}.weight"] = 1 + 0.2 * torch.randn(WIDTH, generator=random)
        weights[f"{name}.bias"] = 0.2 * torch.randn(WIDTH, generator=random)

    for i in range(LAYERS):
        layer = f"gpt_neox.layers.{i}"
        norm(f"{layer}.input_layernorm")
        norm(f"{layer}.post_attention_layernorm")
        linear(f"{layer}.attention.query", WIDTH, WIDTH, 2.0)
        if i in owners(layers):
            linear(f"{layer}.attention.key", heads * HEAD, WIDTH, 2.0)
            linear(f"{layer}.attention.value", heads * HEAD, WIDTH)
        linear(f"{layer}.attention.dense", WIDTH, WIDTH)
        linear(f"{layer}.mlp.dense_h_to_4h", INNER, WIDTH)
        linear(f"{layer}.mlp.dense_4h_to_h", WIDTH, INNER)
    norm("gpt_neox.final_layer_norm")
    folder.mkdir()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "model.safetensors")
    config = {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "hidden_size": WIDTH,
              "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "vocab_size": VOCAB,
              "max_position_embeddings": 128, "rotary_pct": ROTATED / HEAD, "rotary_emb_base": BASE,
              "layer_norm_eps": EPSILON, "hidden_act": "gelu", "use_parallel_residual": True,
              "tie_word_embeddings": False, "num_key_value_layers": layers, "num_key_value_heads": heads}
    if keys:
        config["consumer_keys"] = keys
    (folder / "config.json").write_text(json.dumps(config))
    return {name: value.double() for name, value in weights.items()}


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
