"""Rope from its formula, in float64, for oracles."""

import torch


def rotate(x, base, dims=None, interleaved=False, back=False):
    """x [n, heads, d]: the first `dims` dimensions (all of them) of token t turn by t base^(-2j / dims); pair j is dimensions
    j and j + dims / 2, or, `interleaved`, 2j and 2j + 1. `back`: the other way."""
    dims = dims or x.shape[-1]
    n, half = x.shape[0], dims // 2
    angle = torch.arange(n).double()[:, None] * base ** (-2 * torch.arange(half).double() / dims)
    cosine, sine = angle.cos()[:, None], (-angle if back else angle).sin()[:, None]
    first, second = (slice(0, dims, 2), slice(1, dims, 2)) if interleaved else (slice(half), slice(half, dims))
    a, b = x[..., first], x[..., second]
    turned = x.clone()
    turned[..., first], turned[..., second] = a * cosine - b * sine, b * cosine + a * sine
    return turned
