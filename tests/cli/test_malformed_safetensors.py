"""Broken safetensors files: `headscope info` must refuse each with one sentence that says what is wrong.

The ids are rows of the project's list of bad inputs: A1 is "shorter than 8 bytes" and so on."""

import struct

import numpy as np
import pytest
import tiny_checkpoint
from tiny_checkpoint import EMBEDDING, QUERY, safetensors_file

LIMIT = 20  # seconds; a refusal takes a fraction of one


def whole():
    return safetensors_file(*tiny_checkpoint.packed(tiny_checkpoint.tensors()))


def changed(**fields):
    """The sound file with fields of one tensor's header entry replaced; None removes one."""
    header, data = tiny_checkpoint.packed(tiny_checkpoint.tensors())
    header[QUERY] = {key: value for key, value in {**header[QUERY], **fields}.items() if value is not None}
    return safetensors_file(header, data)


def offsets(change):
    """The sound file with data_offsets of the query weight changed by a function (begin, end) -> list."""
    header, data = tiny_checkpoint.packed(tiny_checkpoint.tensors())
    header[QUERY]["data_offsets"] = change(*header[QUERY]["data_offsets"])
    return safetensors_file(header, data)


def one_tensor(entry, data=b"", name=QUERY):
    """A file of one tensor, its entry given as JSON text."""
    return safetensors_file('{"%s":%s}' % (name, entry), data)


def stored_as(dtype, element_bits):
    """The sound file with the query weight in another type of the format."""
    arrays = tiny_checkpoint.tensors()
    arrays[QUERY] = arrays[QUERY].reshape(-1)[: arrays[QUERY].size * element_bits // 32] if element_bits <= 32 else \
        np.concatenate([arrays[QUERY].reshape(-1)] * (element_bits // 32))
    header, data = tiny_checkpoint.packed(arrays)
    header[QUERY].update(dtype=dtype, shape=[8, 8])
    return safetensors_file(header, data)


def with_shape(shape):
    arrays = tiny_checkpoint.tensors()
    arrays[QUERY] = np.zeros(shape, np.float32)
    return safetensors_file(*tiny_checkpoint.packed(arrays))


ZIP = b"PK\x03\x04" + b"\0" * 26
ENTRY = '{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'

CASES = {
    "A1-empty": (lambda: b"", ["shorter than 8 bytes"]),
    "A1-seven-bytes": (lambda: b"\1" * 7, ["shorter than 8 bytes"]),
    "A2-header-longer-than-file": (lambda: struct.pack("<Q", 1000) + b"{" * 92, ["longer than the file"]),
    "A3-length-2^64-1": (lambda: struct.pack("<Q", 2**64 - 1) + b"{}", ["too large"]),
    "A3-length-2^63": (lambda: struct.pack("<Q", 2**63) + b"{}", ["too large"]),
    "A3-length-100000001": (lambda: struct.pack("<Q", 100_000_001) + b"{}", ["too large", "100,000,000"]),
    "A4-length-0": (lambda: struct.pack("<Q", 0), ["must be an object"]),
    "A4-list": (lambda: safetensors_file("[]"), ["must be an object"]),
    "A4-null": (lambda: safetensors_file("null"), ["must be an object"]),
    "A4-string": (lambda: safetensors_file('"x"'), ["must be an object"]),
    "A4-leading-space": (lambda: safetensors_file(" {}"), ["must be an object"]),
    "A4-byte-order-mark": (lambda: safetensors_file(b"\xef\xbb\xbf{}"), ["must be an object"]),
    "A5-not-utf-8": (lambda: safetensors_file(b'{"\xff":' + ENTRY.encode() + b"}", b"\0" * 16), ["byte 2", "UTF-8"]),
    "A5-nul": (lambda: safetensors_file(b'{"a":' + ENTRY.encode() + b"}\0\0", b"\0" * 16), ["JSON", "byte"]),
    "A5-cut-json": (lambda: safetensors_file("{"), ["JSON", "byte"]),
    "A6-100000-levels": (lambda: safetensors_file('{"a":' + "[" * 100_000), ["must be an object {"]),
    "A6-100000-levels-of-objects": (lambda: safetensors_file('{"a":' * 100_000), ["header"]),
    "A6-64-MB-of-levels": (lambda: safetensors_file(b'{"a":{"shape":' + b"[" * (64 << 20)), ["deep"]),
    "A7-tensor-twice": (lambda: safetensors_file('{"a":%s,"a":%s}' % (ENTRY, ENTRY), b"\0" * 16), ["duplicate key", '"a"']),
    "A7-shape-twice": (lambda: one_tensor('{"dtype":"F32","shape":[4],"shape":[4],"data_offsets":[0,16]}', b"\0" * 16),
                       ["duplicate key", "shape"]),
    "A8-overlap": (lambda: offsets(lambda begin, end: [begin - 16, end - 16]), ["overlap", QUERY]),
    "A8-hole": (lambda: offsets(lambda begin, end: [begin + 16, end + 16]), ["hole", QUERY]),
    "A8-not-from-0": (lambda: one_tensor('{"dtype":"F32","shape":[4],"data_offsets":[8,24]}', b"\0" * 24), ["hole", QUERY]),
    "A8-end-before-begin": (lambda: offsets(lambda begin, end: [end, begin]), ["end is before the begin", QUERY]),
    **{f"A9-{name}": (lambda value=value: one_tensor('{"dtype":"F32","shape":[4],"data_offsets":%s}' % value, b"\0" * 16),
                      ["two unsigned integers", QUERY])
       for name, value in {"one": "[0]", "three": "[0,16,32]", "strings": '["0","16"]', "negative": "[-1,15]",
                           "fraction": "[0,16.5]", "exponent": "[0,1.6e1]", "2^64": "[0,18446744073709551616]",
                           "number": "16", "null": "null"}.items()},
    "A10-cut-by-1": (lambda: whole()[:-1], ["truncated", f"{len(whole()):,}", f"{len(whole()) - 1:,}"]),
    "A10-cut-by-half": (lambda: whole()[: len(whole()) - 2000], ["truncated"]),
    "A11-trailing-byte": (lambda: whole() + b"\0", ["not fully covered", "1 trailing"]),
    "A11-zip-appended": (lambda: whole() + ZIP, ["not fully covered"]),
    "A12-2^63": (lambda: changed(shape=[2, 2**63]), ["shape", QUERY]),
    "A12-2^32-squared": (lambda: changed(shape=[2**32, 2**32]), ["overflow", QUERY]),
    "A12-negative": (lambda: changed(shape=[-1, 4]), ["bad shape", QUERY]),
    "A12-string": (lambda: changed(shape=["4"]), ["bad shape", QUERY]),
    "A12-not-a-list": (lambda: changed(shape=4), ["bad shape", QUERY]),
    "A12-5000-dimensions": (lambda: changed(shape=[1] * 5000), ["rank > 8", QUERY]),
    "A13-mismatch": (lambda: changed(shape=[8, 9]), ["mismatch", QUERY]),
    "A13-F33": (lambda: changed(dtype="F33"), ["unknown dtype", "F33", "BF16", QUERY]),
    "A13-lower-case": (lambda: changed(dtype="f32"), ["unknown dtype", '"f32"', "BF16", QUERY]),
    "A13-no-dtype": (lambda: changed(dtype=None), ["no dtype", QUERY]),
    "A13-no-shape": (lambda: changed(shape=None), ["no shape", QUERY]),
    "A13-no-offsets": (lambda: changed(data_offsets=None), ["no data_offsets", QUERY]),
    **{f"A14-{dtype}": (lambda dtype=dtype, bits=bits: stored_as(dtype, bits), ["dtype", "not supported", dtype, QUERY])
       for dtype, bits in {"I64": 64, "BOOL": 8, "F8_E4M3": 8, "F4": 4, "C64": 64, "F64": 64, "I16": 16}.items()},
    "A15-scalar-weight": (lambda: with_shape([]), [QUERY, "[8, 8]", "[]"]),
    "A15-empty-weight": (lambda: with_shape([0, 8]), [QUERY, "[8, 8]", "[0, 8]"]),
    "A17-control-characters": (lambda: one_tensor('{"dtype":"F33","shape":[4],"data_offsets":[0,16]}', b"\0" * 16,
                                                  r"../../%s%n\u001b[31m\u202e"), ["../../%s%n\\x1b[31m\\u{202e}"]),
    "A18-metadata-number": (lambda: safetensors_file({"__metadata__": {"a": 1}}), ["__metadata__", "strings"]),
    "A18-metadata-object": (lambda: safetensors_file({"__metadata__": {"a": {}}}), ["__metadata__", "strings"]),
    "A21-zip": (lambda: ZIP + b"\0" * 100, ["zip", "headscope import DIR OUT"]),
    "A21-pickle": (lambda: b"\x80\x02}q\0." + b"\0" * 100, ["pickle", "headscope import DIR OUT"]),
    "A21-gguf": (lambda: b"GGUF\3\0\0\0" + b"\0" * 100, ["GGUF"]),
    "A21-html": (lambda: b"<!DOCTYPE html><html><head></head></html>", ["web page"]),
    "A21-git-lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", ["git lfs pull"]),
    "A21-hdf5": (lambda: b"\x89HDF\r\n\x1a\n" + b"\0" * 100, ["HDF5"]),
    "A22-big-endian": (lambda: struct.pack(">Q", 2) + b"{}", ["byte order"]),
}


@pytest.mark.parametrize("case", CASES)
def test_info_refuses(headscope, tmp_path, case):
    content, words = CASES[case]
    folder = tiny_checkpoint.write(tmp_path / "model", weights=content())
    sentence = headscope.refusal("info", folder, limit=LIMIT, words=words)
    assert "model" in sentence
    (folder / "model.safetensors").unlink()  # some are large


@pytest.mark.parametrize("case", ["A10-cut-by-half", "A13-mismatch", "A14-I64", "A15-empty-weight"])
def test_run_and_pack_refuse_too(headscope, tmp_path, case):
    content, words = CASES[case]
    folder = tiny_checkpoint.write(tmp_path / "model", weights=content())
    headscope.refusal("run", folder, "--ids", "1", limit=LIMIT, words=words)
    if case.startswith(("A10", "A13")):  # tensors of any type and shape can be packed
        headscope.refusal("pack", folder, tmp_path / "out.h5", limit=LIMIT, words=words)
        assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_tensors_of_other_types_can_be_listed_and_packed(headscope, tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "model", weights=stored_as("I64", 64))
    listed = {one["name"]: one for one in headscope.json("info", folder, "--tensors")}
    assert listed[QUERY] == {"name": QUERY, "dtype": "I64", "shape": [8, 8], "bytes": 512}
    headscope.text("pack", folder, tmp_path / "out.h5")
    assert {one["name"]: one for one in headscope.json("info", tmp_path / "out.h5", "--tensors")} == listed


def test_the_sound_file_loads(headscope, tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "model")
    assert headscope.json("info", folder)["parameters"] == sum(a.size for a in tiny_checkpoint.tensors().values())
    assert headscope.json("run", folder, "--ids", "1")["ids"] == [1]


def test_A19_numbers_that_are_not_finite_are_said(headscope, tmp_path):
    arrays = tiny_checkpoint.tensors()
    arrays[EMBEDDING][3] = np.nan
    folder = tiny_checkpoint.write(tmp_path / "model", arrays=arrays)
    assert headscope.json("run", folder, "--ids", "1")["ids"] == [1]  # the row is not used
    headscope.refusal("run", folder, "--ids", "3", "--generate", "1", limit=LIMIT, words=["not finite"])
