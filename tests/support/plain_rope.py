"""Rope from its formula, in float64, for oracles."""

import torch


def rotate(x, base, dims=None):
    """x [n, heads, d]: the first `dims` dimensions (all of them) of token t turn by t base^(-2j / dims), halves paired."""
    dims = dims or x.shape[-1]
    n, half = x.shape[0], dims // 2
    angle = torch.arange(n).double()[:, None] * base ** (-2 * torch.arange(half).double() / dims)
    cosine, sine = angle.cos()[:, None], angle.sin()[:, None]
    a, b, rest = x[..., :half], x[..., half:dims], x[..., dims:]
    return torch.cat([a * cosine - b * sine, b * cosine + a * sine, rest], -1)
