"""Where transformers' models of each family keep what tests look at and change."""

import dataclasses
import operator
from typing import Callable


def _scale_rows(linear, rows, factor):
    linear.weight[rows] *= factor
    if linear.bias is not None:
        linear.bias[rows] *= factor


def _separate(config, attention, factor):
    for linear in (attention.q_proj, attention.k_proj):
        _scale_rows(linear, slice(None), factor)


def _normed(config, attention, factor):
    """Norms behind the projections undo what these are scaled by."""
    one = 1 if config.model_type.startswith("gemma") else 0  # which stores the weight minus 1
    for norm in (attention.q_norm, attention.k_norm):
        norm.weight.copy_((norm.weight + one) * factor - one)


def _gpt2(config, attention, factor):
    width = 2 * config.n_embd  # queries and keys are the first columns
    attention.c_attn.weight[:, :width] *= factor
    attention.c_attn.bias[:width] *= factor


def _head_by_head(linear, head_dim, factor):
    """Rows are query, key, value of one head, then of the next."""
    for begin in range(0, linear.weight.shape[0], 3 * head_dim):
        _scale_rows(linear, slice(begin, begin + 2 * head_dim), factor)


def _gpt_neox(config, attention, factor):
    _head_by_head(attention.query_key_value, config.hidden_size // config.num_attention_heads, factor)


def _gpt_bigcode(config, attention, factor):
    head_dim = config.n_embd // config.n_head
    if config.multi_query:
        _scale_rows(attention.c_attn, slice(0, config.n_embd + head_dim), factor)
    else:
        _head_by_head(attention.c_attn, head_dim, factor)


def _phi3(config, attention, factor):
    head_dim = config.hidden_size // config.num_attention_heads
    _scale_rows(attention.qkv_proj, slice(0, (config.num_attention_heads + config.num_key_value_heads) * head_dim), factor)


def _falcon(config, attention, factor):
    """Blocks of one KV head: its query heads, the key, the value."""
    heads, kv_heads, head_dim = heads_of(config)
    block = (heads // kv_heads + 2) * head_dim
    for begin in range(0, kv_heads * block, block):
        _scale_rows(attention.query_key_value, slice(begin, begin + block - head_dim), factor)


@dataclasses.dataclass(frozen=True)
class Layout:
    layers: str  # path of the list of layers in the model
    attention: str  # name of a layer's attention
    output: str  # name of the attention's output projection
    scale_query_and_key: Callable  # (config, attention, factor): multiplies queries and keys, and so scores by factor^2


_LLAMA = Layout("model.layers", "self_attn", "o_proj", _separate)
_NORMED = dataclasses.replace(_LLAMA, scale_query_and_key=_normed)
LAYOUTS = {
    "gpt2": Layout("transformer.h", "attn", "c_proj", _gpt2),
    "gpt_bigcode": Layout("transformer.h", "attn", "c_proj", _gpt_bigcode),
    "falcon": Layout("transformer.h", "self_attention", "dense", _falcon),
    "gpt_neox": Layout("gpt_neox.layers", "attention", "dense", _gpt_neox),
    "opt": Layout("model.decoder.layers", "self_attn", "out_proj", _separate),
    "phi3": dataclasses.replace(_LLAMA, scale_query_and_key=_phi3),
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


def heads_of(config):
    """(query heads, KV heads, numbers in a head)."""
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    if config.model_type == "gpt_bigcode":
        kv_heads = 1 if config.multi_query else heads
    if config.model_type == "falcon":
        kv_heads = config.num_kv_heads if config.new_decoder_architecture else 1 if config.multi_query else heads
    return heads, kv_heads, getattr(config, "head_dim", None) or config.hidden_size // heads


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
