"""Reads the PNG files that HeadScope writes, by the format's definition. Needs numpy only."""

import pathlib
import struct
import zlib

import numpy as np

CHANNELS = {2: 3, 6: 4}  # by colour type


def lines_of(path):
    """(filters [height], residuals [height, width, 3 or 4]) of an 8-bit PNG without interlacing, as they are stored;
    every checksum is verified. The residuals of a blank picture are 0 but for its first pixel or row."""
    content = pathlib.Path(path).read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n", f"{path} is no PNG"
    data, at, header, kind = b"", 8, None, b""
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at:at + 8])
        body = content[at + 8:at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", content[at + 8 + length:at + 12 + length])[0]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            data += body
        at += 12 + length
    assert kind == b"IEND" and header[2] == 8 and header[3] in CHANNELS and header[6] == 0
    width, height, step = header[0], header[1], CHANNELS[header[3]]
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + step * width)
    return lines[:, 0], lines[:, 1:].reshape(height, width, step)


def read(path):
    """[height, width, 3 or 4] uint8."""
    filters, residuals = lines_of(path)
    return _unfiltered(filters, residuals)


def _unfiltered(filters, residuals):
    """A pixel is its residual plus what its filter makes of the pixels left, above and above left. Pixels of one
    diagonal depend on earlier diagonals only, so that a diagonal is done at once: d = x + y, indexed by y."""
    height, width, step = residuals.shape
    skewed = np.zeros((height + width - 1, height, step), np.uint8)
    y, x = np.arange(height)[:, None], np.arange(width)[None, :]
    skewed[x + y, y] = residuals
    # Row 0 and the two diagonals before the first are zeros.
    out = np.zeros((height + width + 1, height + 1, step), np.int16)
    kinds = filters.astype(np.int16)[:, None]
    for d in range(height + width - 1):
        first, last = max(0, d - width + 1), min(height, d + 1)
        left, up, corner = out[d + 1, first + 1:last + 1], out[d + 1, first:last], out[d, first:last]
        kind = kinds[first:last]
        estimate = left + up - corner
        a, b, c = abs(estimate - left), abs(estimate - up), abs(estimate - corner)
        paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
        guess = np.choose(kind, [np.zeros_like(left), left, up, (left + up) >> 1, paeth])
        out[d + 2, first + 1:last + 1] = (skewed[d, first:last] + guess) & 255
    return out[x + y + 2, y + 1].astype(np.uint8)
