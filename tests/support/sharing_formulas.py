"""What the models of sharing_models.py compute, written from the formulas (kv-variants.md 2, 3.7, 3.8): one uncached pass in
float64 in which every query head has keys and values of its own."""

import plain_rope
import torch
from sharing_models import BASE, CONTENT, EPSILON, HEAD, HEADS, LATENT, ROPE_KEY, SCALE, SLOPES, VALUE


def _rotate(x, scheme):
    return plain_rope.rotate(x, BASE, scheme.rope_dims, scheme.rope_style == "interleaved")


def _norm(x, weight):
    return x / (x.pow(2).mean(-1, keepdim=True) + EPSILON).sqrt() * weight


def _heads_of(scheme, w, layer, x, owned):
    """Queries, keys and values of every query head, [n, HEADS, d] each; `owned` is what the owner made of its own x."""
    n = len(x)
    query = (x @ w[f"layers.{layer}.query"].T).view(n, HEADS, -1)
    if scheme.stored == "latent":  # naive: keys and values of each head are expanded
        latent, rope_key = owned
        content = (latent @ w[f"layers.{layer}.latent_key"].T).view(n, HEADS, CONTENT)
        value = (latent @ w[f"layers.{layer}.latent_value"].T).view(n, HEADS, VALUE)
        key = torch.cat([content, rope_key[:, None].expand(n, HEADS, ROPE_KEY)], -1)
        return torch.cat([query[..., :CONTENT], plain_rope.rotate(query[..., CONTENT:], BASE)], -1), key, value
    group = HEADS // scheme.kv_heads
    key, value = (part.repeat_interleave(group, 1) for part in owned)
    return (_rotate(query, scheme) if scheme.rope else query,
            _rotate(key, scheme) if scheme.reads_rotated(layer) else key, value)


def _owned_by(scheme, w, layer, x):
    """What a layer makes for itself and its readers: keys before rope and values, or latent and rope key, turned."""
    n, name = len(x), f"layers.{layer}."
    if scheme.stored == "latent":
        made = x @ w[name + "latent"].T
        return _norm(made[:, :LATENT], w[name + "latent_norm"]), plain_rope.rotate(made[:, None, LATENT:], BASE)[:, 0]
    to_value = w[name + "value"]
    if scheme.stored == "keys_only":  # the same as values of one matrix, V = x (W_KV W_K)^T
        to_value = to_value @ w[name + "key"]
    value = (x @ to_value.T).view(n, scheme.kv_heads, HEAD)
    plain = value if scheme.stored == "values_only" else (x @ w[name + "key"].T).view(n, scheme.kv_heads, HEAD)
    return plain, value


def _weights_of(scheme, layer, query, key):
    """The map [HEADS, n, n] of a layer."""
    position = torch.arange(len(query))
    back = position[:, None] - position[None, :]
    scores = SCALE * torch.einsum("qhd,khd->hqk", query, key)
    if scheme.soft_cap:
        scores = scheme.soft_cap * torch.tanh(scores / scheme.soft_cap)
    if scheme.positions == "alibi":
        scores = scores + scheme.alibi_scale * torch.tensor(SLOPES, dtype=torch.float64)[:, None, None] * position
    window = scheme.window(layer)
    visible = (back >= 0) & ((back < window) | (window == 0))
    return torch.softmax(scores.masked_fill(~visible, float("-inf")), -1)


def forward(scheme, w, ids):
    """Logits [n, VOCAB] and maps [HEADS, n, n] of each layer."""
    n = len(ids)
    x = w["token_embedding"][torch.tensor(ids)]
    if scheme.positions == "learned":
        x = x + w["position_embedding"][:n]
    maps, owned = [], {}
    for i in range(scheme.layers):
        normed = _norm(x, w[f"layers.{i}.attention_norm"])
        if scheme.owns(i):
            owned[i] = _owned_by(scheme, w, i, normed)
        query, key, value = _heads_of(scheme, w, i, normed, owned[scheme.owners[i]])
        maps.append(_weights_of(scheme, i, query, key))
        mixed = torch.einsum("hqk,khd->qhd", maps[-1], value).reshape(n, -1)
        x = x + mixed @ w[f"layers.{i}.attention_output"].T
        inner = torch.nn.functional.gelu(_norm(x, w[f"layers.{i}.mlp_norm"]) @ w[f"layers.{i}.mlp_up"].T)
        x = x + inner @ w[f"layers.{i}.mlp_down"].T
    return _norm(x, w["final_norm"]) @ w["lm_head"].T, maps
