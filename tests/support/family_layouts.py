"""Where transformers' models of each family keep what tests look at and change."""

import dataclasses
import operator
from typing import Callable

import numpy as np


def _below(begin, heads, head_dim):
    """The rows of heads that lie below each other."""
    return begin + np.arange(heads * head_dim).reshape(heads, head_dim)


def _separate(config):
    heads, kv_heads, head_dim = heads_of(config)
    return {"query": ("q_proj", _below(0, heads, head_dim)), "key": ("k_proj", _below(0, kv_heads, head_dim)),
            "value": ("v_proj", _below(0, kv_heads, head_dim))}


def _stacked(name):
    """All queries, then all keys, then all values."""
    def rows(config):
        heads, kv_heads, head_dim = heads_of(config)
        return {"query": (name, _below(0, heads, head_dim)),
                "key": (name, _below(heads * head_dim, kv_heads, head_dim)),
                "value": (name, _below((heads + kv_heads) * head_dim, kv_heads, head_dim))}
    return rows


def _grouped(name):
    """Blocks of one KV head: its query heads, the key, the value."""
    def rows(config):
        heads, kv_heads, head_dim = heads_of(config)
        group = heads // kv_heads
        blocks = np.arange(kv_heads * (group + 2) * head_dim).reshape(kv_heads, group + 2, head_dim)
        return {"query": (name, blocks[:, :group].reshape(heads, head_dim)), "key": (name, blocks[:, group]),
                "value": (name, blocks[:, group + 1])}
    return rows


def _by_rows(projection):
    """Weight and bias as what changes them in place, one row for each output. GPT-2's Conv1D is stored [in, out]."""
    weight = projection.weight.data
    weight = weight.T if type(projection).__name__ == "Conv1D" else weight
    return [weight] if getattr(projection, "bias", None) is None else [weight, projection.bias.data]


@dataclasses.dataclass(frozen=True)
class Layout:
    layers: str  # path of the list of layers in the model
    attention: str  # name of a layer's attention
    output: str  # name of the attention's output projection
    rows: Callable  # (config): {"query", "key", "value": (name of the projection, its rows [heads, numbers in a head])}
    normed: bool = False  # norms behind the projections undo what these are scaled by


def _latent(config):
    """MLA: keys and values come from one latent for all heads; queries alone can be scaled."""
    heads = config.num_attention_heads
    name = "q_proj" if config.q_lora_rank is None else "q_b_proj"
    return {"query": (name, _below(0, heads, config.qk_nope_head_dim + config.qk_rope_head_dim))}


_LLAMA = Layout("model.layers", "self_attn", "o_proj", _separate)
_NORMED = dataclasses.replace(_LLAMA, normed=True)
LAYOUTS = {
    "gpt2": Layout("transformer.h", "attn", "c_proj", _stacked("c_attn")),
    "gpt_bigcode": Layout("transformer.h", "attn", "c_proj", _grouped("c_attn")),
    "falcon": Layout("transformer.h", "self_attention", "dense", _grouped("query_key_value")),
    "gpt_neox": Layout("gpt_neox.layers", "attention", "dense", _grouped("query_key_value")),
    "opt": Layout("model.decoder.layers", "self_attn", "out_proj", _separate),
    "deepseek_v2": dataclasses.replace(_LLAMA, rows=_latent),
    "deepseek_v3": dataclasses.replace(_LLAMA, rows=_latent),
    "phi3": dataclasses.replace(_LLAMA, rows=_stacked("qkv_proj")),
    "gemma3_text": _NORMED,
    "qwen3": _NORMED,
    "olmo2": _NORMED,
}


def layout_of(model):
    return LAYOUTS.get(model.config.model_type, _LLAMA)


def attentions_of(model):
    """The attention module of every layer, in order."""
    layout = layout_of(model)
    return [getattr(layer, layout.attention) for layer in operator.attrgetter(layout.layers)(model)]


def outputs_of(model):
    """The output projection of every layer; its input is the heads' outputs side by side."""
    return [getattr(attention, layout_of(model).output) for attention in attentions_of(model)]


def scale_query_and_key(model, layer, factor):
    """Multiplies queries and keys of a layer, and so its scores by factor^2."""
    layout, attention = layout_of(model), attentions_of(model)[layer]
    if layout.normed:
        one = 1 if model.config.model_type.startswith("gemma") else 0  # which stores the weight minus 1
        for norm in (attention.q_norm, attention.k_norm):
            norm.weight.data.copy_((norm.weight.data + one) * factor - one)
        return
    rows = layout.rows(model.config)
    scaled = [rows[part] for part in ("query", "key") if part in rows]
    for name, heads in scaled:
        for values in _by_rows(getattr(attention, name)):
            values[heads.ravel()] *= factor ** (2 / len(scaled))


def roll_kv_heads(model):
    """Every KV head takes the place of the next: query heads read another one."""
    for attention in attentions_of(model):
        rows = layout_of(model).rows(model.config)
        for name, heads in (rows["key"], rows["value"]):
            for values in _by_rows(getattr(attention, name)):
                values[heads.ravel()] = values[np.roll(heads, 1, axis=0).ravel()]
        if model.config.model_type == "olmo2":  # its norm has a weight for every number of every head
            _, kv_heads, _ = heads_of(model.config)
            weight = attention.k_norm.weight.data
            weight.copy_(weight.reshape(kv_heads, -1).roll(1, 0).ravel())


def heads_of(config):
    """(query heads, KV heads, numbers in a head)."""
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    if is_latent(config):
        kv_heads = 1
    if config.model_type == "gpt_bigcode":
        kv_heads = 1 if config.multi_query else heads
    if config.model_type == "falcon":
        kv_heads = config.num_kv_heads if config.new_decoder_architecture else 1 if config.multi_query else heads
    return heads, kv_heads, getattr(config, "head_dim", None) or config.hidden_size // heads


@dataclasses.dataclass(frozen=True)
class Widths:
    """Numbers in a head: of its key as scored, of its value as mixed, of its output; and in the cache, for one token."""

    key: int
    value: int
    output: int
    cached: int


def widths_of(config):
    if is_latent(config):
        key = config.kv_lora_rank + config.qk_rope_head_dim
        return Widths(key, config.kv_lora_rank, config.v_head_dim, key)
    _, kv_heads, head_dim = heads_of(config)
    return Widths(head_dim, head_dim, head_dim, 2 * kv_heads * head_dim)


def is_latent(config):
    return config.model_type.startswith("deepseek")


def from_latents_of(model):
    """What every head's mixed latents [latent] become its output by, [heads, output, latent] for each layer; None elsewhere."""
    config = model.config
    if not is_latent(config):
        return [None] * config.num_hidden_layers
    heads, content = config.num_attention_heads, config.qk_nope_head_dim
    return [attention.kv_b_proj.weight.data.view(heads, -1, config.kv_lora_rank)[:, content:].double().numpy()
            for attention in attentions_of(model)]


def scales_of(model):
    """What every layer multiplies q.k by."""
    if model.config.model_type == "falcon":
        return [attention.inv_norm_factor for attention in attentions_of(model)]
    return [attention.scaling for attention in attentions_of(model)]


def position_bias_of(config, tokens):
    """What is added to scores, [heads, tokens] by key, or None: ALiBi as Falcon has it, rounded like there."""
    if not getattr(config, "alibi", False):
        return None
    import torch
    from transformers.models.falcon.modeling_falcon import build_alibi_tensor

    heads = config.num_attention_heads
    bias = build_alibi_tensor(torch.ones(1, tokens, dtype=torch.long), heads, torch.float64)
    return (bias.reshape(heads, tokens) / (config.hidden_size // heads) ** 0.5).numpy()


def apply_alibi_once(model):
    """Eager Falcon of transformers 5 adds ALiBi to the mask and to the scores; its other attentions, and the model as it was
    trained, have it in the mask alone."""
    def without(_, arguments, named):
        return arguments, {**named, "alibi": named["alibi"] * 0}

    if getattr(model.config, "alibi", False) and model.config._attn_implementation == "eager":
        for attention in attentions_of(model):
            attention.register_forward_pre_hook(without, with_kwargs=True)
    return model


def windows_of(config):
    """The window of every layer, 0 where it sees all earlier tokens."""
    window = getattr(config, "sliding_window", None) or 0
    types = getattr(config, "layer_types", None)
    return [window if types is None or types[layer] == "sliding_attention" else 0
            for layer in range(config.num_hidden_layers)]
