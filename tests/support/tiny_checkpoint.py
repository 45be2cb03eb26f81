"""A tiny llama folder written byte by byte, so that tests can make every kind of broken one. Needs numpy only."""

import json
import math
import os
import pathlib
import struct

import numpy as np

CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 12,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 11,
    "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
}
# Of a trained model among the real data.
STORIES = {
    **CONFIG, "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 5, "num_attention_heads": 8,
    "num_key_value_heads": 4, "vocab_size": 512, "max_position_embeddings": 512, "tie_word_embeddings": True,
}
LAYER = "model.layers.0."
QUERY = LAYER + "self_attn.q_proj.weight"
EMBEDDING = "model.embed_tokens.weight"


def shapes(config):
    """{tensor name: shape} of a llama of this config."""
    hidden, width = config["hidden_size"], config["intermediate_size"]
    heads, vocab = config["num_attention_heads"], config["vocab_size"]
    dim = config.get("head_dim", hidden // heads)
    kv_heads = config.get("num_key_value_heads", heads)
    layer = {
        "input_layernorm": [hidden],
        "self_attn.q_proj": [heads * dim, hidden],
        "self_attn.k_proj": [kv_heads * dim, hidden],
        "self_attn.v_proj": [kv_heads * dim, hidden],
        "self_attn.o_proj": [hidden, heads * dim],
        "post_attention_layernorm": [hidden],
        "mlp.gate_proj": [width, hidden],
        "mlp.up_proj": [width, hidden],
        "mlp.down_proj": [hidden, width],
    }
    head = {} if config["tie_word_embeddings"] else {"lm_head.weight": [vocab, hidden]}
    return {EMBEDDING: [vocab, hidden],
            **{f"model.layers.{i}.{name}.weight": shape for i in range(config["num_hidden_layers"])
               for name, shape in layer.items()},
            "model.norm.weight": [hidden], **head}


def tensors(config=None):
    """{tensor name: f32 array}, always the same numbers."""
    random = np.random.default_rng(7)
    return {name: random.standard_normal(shape).astype(np.float32)
            for name, shape in shapes(config or CONFIG).items()}


def safetensors_file(header, data=b""):
    """The bytes of a file: `header` as text, bytes or an object to be written as JSON."""
    if not isinstance(header, (str, bytes)):
        header = json.dumps(header)
    if isinstance(header, str):
        header = header.encode()
    return struct.pack("<Q", len(header)) + header + data


def packed(arrays):
    """(header object, data) of f32 arrays, laid out in order."""
    header, data = {}, b""
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    return header, data


def write(folder, config=None, arrays=None, weights=None):
    """Writes a model folder; `weights` replaces the bytes of model.safetensors. Returns the folder."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = CONFIG if config is None else config
    (folder / "config.json").write_text(json.dumps(config))
    if weights is None:
        weights = safetensors_file(*packed(tensors(config) if arrays is None else arrays))
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def write_slow(folder, width=8):
    """A model whose weights, all zero and absent from the disk, take so long to read that loading can be stopped."""
    config = {**CONFIG, "vocab_size": 14 << 20, "hidden_size": width}
    header, end = {}, 0
    for name, shape in shapes(config).items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    write(folder, config, weights=safetensors_file(header))
    path = pathlib.Path(folder) / "model.safetensors"
    os.truncate(path, path.stat().st_size + end)
    return pathlib.Path(folder)


def write_sharded(folder, index=None, shards=None):
    """Writes a folder of two shards; `index` and `shards` ({file name: arrays}) replace what would be right."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    right, right_index = split()
    for name, arrays in (right if shards is None else shards).items():
        (folder / name).write_bytes(safetensors_file(*packed(arrays)))
    (folder / "model.safetensors.index.json").write_text(json.dumps(right_index if index is None else index))
    return folder


def split():
    """({shard name: arrays}, index) of the tiny model in two shards."""
    all_tensors = tensors()
    names = list(all_tensors)
    parts = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    index = {"metadata": {"total_size": sum(array.nbytes for array in all_tensors.values())},
             "weight_map": {name: shard for shard, own in parts.items() for name in own}}
    return {shard: {name: all_tensors[name] for name in own} for shard, own in parts.items()}, index
