"""Reads the PNG files that HeadScope writes, by the format's definition. Needs numpy only."""

import pathlib
import struct
import zlib

import numpy as np

CHANNELS = {2: 3, 6: 4}  # by colour type


def read(path):
    """[height, width, 3 or 4] uint8 of an 8-bit PNG without interlacing; every checksum is verified."""
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
    return _unfiltered(lines[:, 0], lines[:, 1:].reshape(height, width, step))


def _unfiltered(filters, lines):
    out = np.zeros(lines.shape, np.uint8)
    above = np.zeros(lines.shape[1:], np.uint8)
    for y, (kind, line) in enumerate(zip(filters, lines)):
        if kind == 0:
            out[y] = line
        elif kind == 1:
            out[y] = np.cumsum(line, axis=0, dtype=np.uint8)
        elif kind == 2:
            out[y] = line + above
        else:
            out[y] = _slow(kind, line.astype(int), above.astype(int))
        above = out[y]
    return out


def _slow(kind, line, above):
    """A line filtered by average (3) or Paeth (4): each pixel needs the one before."""
    zero = [0] * line.shape[1]
    found, before, corner = [], zero, zero
    for values, up in zip(line.tolist(), above.tolist()):
        now = [(v + (_average(a, b) if kind == 3 else _paeth(a, b, c))) & 255
               for v, a, b, c in zip(values, before, up, corner)]
        found.append(now)
        before, corner = now, up
    return np.array(found, np.uint8)


def _average(left, up):
    return (left + up) // 2


def _paeth(left, up, corner):
    p = left + up - corner
    a, b, c = abs(p - left), abs(p - up), abs(p - corner)
    return left if a <= b and a <= c else up if b <= c else corner
