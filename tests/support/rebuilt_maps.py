"""Attention maps from a run file alone, by what docs/formats.md says of q, k, v and their attributes."""

import numpy as np


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def scores(file, layer):
    """Scores [q_heads, n, n] of a layer in float64; -inf where a key is not visible."""
    how = {name: values[()] for name, values in file["k"].attrs.items()}
    part = "v" if text(how["stored"][layer]) == "values_only" else "k"  # keys are the values
    q = file[f"q/layer_{layer:03}"][()].astype(np.float64)
    k = file[f"{part}/layer_{how['kv_owner'][layer]:03}"][()].astype(np.float64)
    if how["rotate_on_read"][layer]:
        k = _rotated(k, file["rope"], layer)
    heads, n, _ = q.shape
    found = how["scale"][layer] * np.einsum("hid,hjd->hij", q, np.repeat(k, heads // k.shape[0], axis=0))
    if how["soft_cap"][layer]:
        found = how["soft_cap"][layer] * np.tanh(found / how["soft_cap"][layer])
    if "alibi_slopes" in how:
        found = found + how["alibi_slopes"][:, None, None] * np.arange(n)
    back = np.arange(n)[:, None] - np.arange(n)[None, :]
    visible = (back >= 0) & ((back < how["window"][layer]) | (how["window"][layer] == 0))
    return np.where(visible, found, -np.inf)


def _rotated(k, rope, layer):
    """Keys [heads, n, d] turned by their positions."""
    assert rope.attrs["factor"][layer] == 1
    frequencies = rope["inverse_frequencies"][layer]
    frequencies = frequencies[~np.isnan(frequencies)].astype(np.float64)
    angle, half = np.arange(k.shape[1])[:, None] * frequencies, len(frequencies)
    first, second = {"rotate_half": (slice(half), slice(half, 2 * half)),
                     "interleaved": (slice(0, 2 * half, 2), slice(1, 2 * half, 2))}[text(rope.attrs["style"][layer])]
    a, b, turned = k[..., first], k[..., second], k.copy()
    turned[..., first], turned[..., second] = a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)
    return turned
