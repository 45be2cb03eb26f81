"""Statistics of attention maps in numpy float64, from their definitions: the oracle for what kernels report."""

import numpy as np

SINK_TOKENS, WINDOW_TOKENS = 1, 16


def row_statistics(maps):
    """{name: [heads, n]} of causal maps [heads, n, n], float64."""
    p = np.asarray(maps, np.float64)
    n = p.shape[-1]
    query, key = np.arange(n)[:, None], np.arange(n)[None, :]
    back = (query - key).astype(np.float64)
    log = np.log(np.where(p > 0, p, 1))
    distance = (p * back).sum(-1)
    return {
        "entropy": -(p * log).sum(-1),
        "max": p.max(-1),
        "argmax": p.argmax(-1).astype(np.float64),
        "distance": distance,
        "distance_variance": (p * (back - distance[..., None]) ** 2).sum(-1),
        "sink": p[..., :SINK_TOKENS].sum(-1),
        "window": (p * (back < WINDOW_TOKENS)).sum(-1),
    }


def normalised_entropy(maps, window=0):
    """Mean over heads and rows of entropy / ln(visible keys) of causal maps [heads, n, n], row 0 (one key) left out."""
    visible = np.arange(2, np.shape(maps)[-1] + 1)
    visible = np.minimum(visible, window) if window else visible
    return float((row_statistics(maps)["entropy"][:, 1:] / np.log(visible)).mean())


def scores(q, k, scale, window=0, soft_cap=0, bias=None):
    """Causal scores [q_heads, n, n] in float64; -inf where a key is not visible. q [q_heads, n, d], k [kv_heads, n, d];
    bias [q_heads, n] by key."""
    q, k = np.asarray(q, np.float64), np.asarray(k, np.float64)
    k = np.repeat(k, q.shape[0] // k.shape[0], axis=0)
    n = q.shape[1]
    back = np.arange(n)[:, None] - np.arange(n)[None, :]
    visible = (back >= 0) & ((back < window) | (window == 0))
    values = scale * q @ k.transpose(0, 2, 1)
    values = soft_cap * np.tanh(values / soft_cap) if soft_cap else values
    return np.where(visible, values if bias is None else values + bias[:, None, :], -np.inf)


def log_sum_exp(values):
    top = values.max(-1, keepdims=True)
    return (top + np.log(np.exp(values - top).sum(-1, keepdims=True)))[..., 0]


def worst_difference(found, expected):
    """Largest absolute difference; NaN or infinity anywhere counts as infinite."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"shape {found.shape}, expected {expected.shape}"
    if found.size == 0:
        return 0.0
    difference = np.abs(found - expected)
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")
