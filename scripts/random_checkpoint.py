#!/usr/bin/env python3
"""Writes a checkpoint of random bf16 weights in the shape of a known model: for measurements, without a download.

    python scripts/random_checkpoint.py pythia-410m FOLDER
    python scripts/random_checkpoint.py llama-3.2-1b FOLDER

Matrices are normal with the deviation 0.02 that such models start from, the layers' outputs smaller by the root of
their number; norms lie around 1. There is no tokenizer: prompts are token ids. Needs numpy only; holds one tensor in
memory at a time.
"""

import argparse
import json
import math
import pathlib
import struct

import numpy as np

CONFIGS = {
    "pythia-410m": {
        "model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "hidden_size": 1024, "num_hidden_layers": 24,
        "num_attention_heads": 16, "intermediate_size": 4096, "vocab_size": 50304, "max_position_embeddings": 2048,
        "rotary_pct": 0.25, "rotary_emb_base": 10000, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
        "use_parallel_residual": True, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 0,
        "torch_dtype": "bfloat16",
    },
    "llama-3.2-1b": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 8192,
        "vocab_size": 128256, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 8192},
        "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
        "bos_token_id": 128000, "eos_token_id": 128001, "torch_dtype": "bfloat16",
    },
}


def neox_shapes(config):
    """{tensor name: shape}"""
    width, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    linear = {"attention.query_key_value": (3 * width, width), "attention.dense": (width, width),
              "mlp.dense_h_to_4h": (inner, width), "mlp.dense_4h_to_h": (width, inner)}
    shapes = {"gpt_neox.embed_in.weight": (vocab, width)}
    for layer in range(config["num_hidden_layers"]):
        at = f"gpt_neox.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes |= {f"{at}{norm}.weight": (width,), f"{at}{norm}.bias": (width,)}
        for name, shape in linear.items():
            shapes |= {f"{at}{name}.weight": shape, f"{at}{name}.bias": shape[:1]}
    shapes |= {"gpt_neox.final_layer_norm.weight": (width,), "gpt_neox.final_layer_norm.bias": (width,)}
    return shapes | {"embed_out.weight": (vocab, width)}


def llama_shapes(config):
    """{tensor name: shape}"""
    width, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    queries, keys = (config[name] * config["head_dim"] for name in ("num_attention_heads", "num_key_value_heads"))
    layer_shapes = {
        "input_layernorm": (width,), "self_attn.q_proj": (queries, width), "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width), "self_attn.o_proj": (width, queries), "post_attention_layernorm": (width,),
        "mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width), "mlp.down_proj": (width, inner)}
    shapes = {"model.embed_tokens.weight": (vocab, width)}
    for layer in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in layer_shapes.items()}
    shapes["model.norm.weight"] = (width,)
    return shapes if config["tie_word_embeddings"] else {**shapes, "lm_head.weight": (vocab, width)}


def shapes_of(config):
    return neox_shapes(config) if config["model_type"] == "gpt_neox" else llama_shapes(config)


def random_values(name, shape, layers, random):
    values = random.standard_normal(shape, dtype=np.float32)
    if len(shape) == 1:
        values *= 0.1 if "norm" in name else 0.02
        return values + 1 if "norm" in name and name.endswith("weight") else values
    values *= 0.02
    if any(part in name for part in ("o_proj", "down_proj", "attention.dense", "dense_4h_to_h")):
        values /= math.sqrt(2 * layers)
    return values


def as_bf16(values):
    """The upper halves of f32 values, rounded to nearest even."""
    bits = values.view(np.uint32)
    bits += 0x7FFF + ((bits >> 16) & 1)
    return (bits >> 16).astype("<u2")


def write(folder, config, seed=0):
    """Writes config.json and model.safetensors. Returns the bytes of the weights."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    shapes, header, end = shapes_of(config), {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(seed)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            file.write(as_bf16(random_values(name, shape, config["num_hidden_layers"], random)).tobytes())
    return end


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=CONFIGS)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    size = write(options.folder, CONFIGS[options.model], options.seed)
    print(f"wrote {options.folder}: {size:,} bytes of weights")


if __name__ == "__main__":
    main()
