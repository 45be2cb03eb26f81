"""Tiny random models of MLKV's family: Pythia whose layers 0 and floor(i L / m) own keys and values for g heads, and whose
other layers read those of the nearest owner below."""

import json

import torch
from safetensors.torch import save_file

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
