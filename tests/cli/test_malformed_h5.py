"""Broken HDF5 checkpoints: one sentence each, nothing outside the file is read, never a crash.

The ids are rows of the project's list of bad inputs: D1 is "not HDF5" and so on."""

import json
import shutil

import h5py
import numpy as np
import pytest
import tiny_checkpoint

LIMIT = 20  # seconds; a refusal takes a fraction of one
SECRET = b"from another file"


def copy(packed, path):
    shutil.copy(packed, path)
    return h5py.File(path, "r+")


def first_tensor(file):
    return sorted(file["tensors"])[0]


def replace_tensor(file, make):
    """Puts what `make(parent, name, old)` creates in place of the first tensor, with its attributes."""
    name = first_tensor(file)
    old, attributes = file["tensors"][name][()], dict(file["tensors"][name].attrs)
    del file["tensors"][name]
    made = make(file["tensors"], name, old)
    if made is not None:
        made.attrs.update(attributes)


def set_root(name, value):
    def change(file):
        file.attrs[name] = value
    return change


def remove_root(name):
    def change(file):
        del file.attrs[name]
    return change


def stored(**options):
    """The tensor stored another way."""
    return lambda file: replace_tensor(file, lambda parent, name, old: parent.create_dataset(
        name, **{"data": old, **options}))


def external_storage(parent, name, old):
    path = parent.file.filename + ".raw"
    with open(path, "wb") as raw:
        raw.write(SECRET * 100)
    return parent.create_dataset(name, shape=old.shape, dtype=old.dtype, external=[(path, 0, h5py.h5f.UNLIMITED)])


def external_link(parent, name, old):
    with h5py.File(parent.file.filename + ".other", "w") as other:
        other["data"] = old
    parent[name] = h5py.ExternalLink(parent.file.filename + ".other", "/data")


def virtual(parent, name, old):
    with h5py.File(parent.file.filename + ".other", "w") as other:
        other["data"] = old
    layout = h5py.VirtualLayout(shape=old.shape, dtype=old.dtype)
    layout[...] = h5py.VirtualSource(parent.file.filename + ".other", "data", shape=old.shape)
    return parent.create_virtual_dataset(name, layout)


def unknown_filter(parent, name, old):
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk(old.shape)
    plan.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    space = h5py.h5s.create_simple(old.shape)
    h5py.h5d.create(parent.id, name.encode(), h5py.h5t.IEEE_F32LE, space, plan)
    return parent[name]


def group_cycle(parent, name, old):
    parent[name] = parent


def soft_link_to_itself(parent, name, old):
    parent[name] = h5py.SoftLink(f"/tensors/{name}")


def soft_link_inside(parent, name, old):
    parent["zzz"] = old
    parent[name] = h5py.SoftLink("/tensors/zzz")


def many_groups(parent, name, old):
    for i in range(20_000):
        parent.create_group(f"g{i}")


def deep_groups(parent, name, old):
    group = parent.create_group(name)
    for _ in range(2_000):
        group = group.create_group("g")


def sparse(shape):
    return lambda parent, name, old: parent.create_dataset(name, shape=shape, dtype="<f4")


def chunked_sparse(parent, name, old):
    return parent.create_dataset(name, shape=(2**40,), dtype="<f4", chunks=(2**20,))


def huge_chunk(parent, name, old):
    return parent.create_dataset(name, shape=(2**29,), dtype="<f4", chunks=(2**29,), compression="gzip")


def deflate_bomb(parent, name, old):
    return parent.create_dataset(name, data=np.zeros(1 << 26, np.float32), chunks=(1 << 26,), compression="gzip")


def no_attribute(name):
    def change(file):
        del file["tensors"][first_tensor(file)].attrs[name]
    return change


def set_attribute(name, value):
    def change(file):
        file["tensors"][first_tensor(file)].attrs[name] = value
    return change


def replace_config(value):
    def change(file):
        del file["config"]
        file["config"] = np.frombuffer(value, np.uint8)
    return change


def swap(make):
    return lambda file: replace_tensor(file, make)


CASES = {
    "D1-another-program": (remove_root("format"), ["not a HeadScope checkpoint"]),
    "D1-another-format": (set_root("format", "keras"), ["keras", "headscope"]),
    "D1-format-is-a-number": (set_root("format", 7), ["format"]),
    "D1-newer": (set_root("format_version", 2), ["version 2", "supports version 1", "newer"]),
    "D1-no-version": (remove_root("format_version"), ["format_version"]),
    "D1-version-is-a-list": (set_root("format_version", [1, 1]), ["format_version"]),
    "D3-external-storage": (swap(external_storage), ["refers to another file"]),
    "D3-external-link": (swap(external_link), ["refers to another file"]),
    "D3-virtual": (swap(virtual), ["refers to another file"]),
    "D4-cycle": (swap(group_cycle), ["not a dataset"]),
    "D4-soft-link-to-itself": (swap(soft_link_to_itself), ["soft link"]),
    "D4-soft-link-inside": (swap(soft_link_inside), ["soft link"]),
    "D4-20000-groups": (swap(many_groups), ["tensors"]),
    "D4-depth-2000": (swap(deep_groups), ["not a dataset"]),
    "D5-4-TiB-sparse": (swap(sparse((2**40,))), ["stored"]),
    "D5-4-TiB-sparse-chunks": (swap(chunked_sparse), ["stored"]),
    "D5-chunk-of-2-GiB": (swap(huge_chunk), ["chunks of more than"]),
    "D5-deflate-bomb": (swap(deflate_bomb), ["chunks of more than"]),
    "D5-rank-32": (swap(sparse((1,) * 32)), ["32 dimensions"]),
    "D6-filter-32001": (swap(unknown_filter), ["filter 32001", "not allowed"]),
    "D7-text": (stored(data="hello"), ["text"]),
    "D7-compound": (stored(data=np.zeros((8, 8), [("a", "<f4"), ("b", "<i4")])), ["compound"]),
    "D7-variable-length": (swap(lambda parent, name, old: parent.create_dataset(
        name, shape=(3,), dtype=h5py.vlen_dtype(np.float32))), ["variable"]),
    "D7-int-for-float": (stored(dtype="<i4"), ["F32", "I32"]),
    "D8-shape-and-config": (stored(data=np.zeros((3, 3), np.float32)), ["[3, 3]", "[11, 8]"]),
    "D8-no-name": (no_attribute("name"), ["name"]),
    "D8-no-dtype": (no_attribute("dtype"), ["dtype"]),
    "D8-name-is-a-list": (set_attribute("name", ["a", "b"]), ["name"]),
    "D8-name-is-a-number": (set_attribute("name", 5), ["name"]),
    "D8-wrong-name": (set_attribute("name", "model.other.weight"), ["tensors", "damaged"]),
    "D8-unknown-dtype": (set_attribute("dtype", "F33"), ["F33"]),
    "D8-no-config": (lambda file: file.__delitem__("config"), ["config"]),
    "D8-config-is-not-json": (replace_config(b"{"), ["config", "JSON"]),
    "D8-config-disagrees": (replace_config(json.dumps({**tiny_checkpoint.CONFIG, "vocab_size": 12}).encode()),
                            ["[12, 8]", "[11, 8]"]),
    "D8-no-tensors": (lambda file: file.__delitem__("tensors"), ["tensors"]),
}


@pytest.mark.parametrize("case", CASES)
def test_info_refuses(headscope, packed, tmp_path, case):
    change, words = CASES[case]
    path = tmp_path / "bad.h5"
    with copy(packed, path) as file:
        change(file)
    sentence = headscope.refusal("info", path, limit=LIMIT, words=words)
    assert SECRET.decode() not in sentence


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + b"\0" * 5000],
                         ids=["empty", "text", "signature", "zeros"])
def test_D1_not_hdf5(headscope, tmp_path, content):
    (tmp_path / "bad.h5").write_bytes(content)
    headscope.refusal("info", tmp_path / "bad.h5", limit=LIMIT, words=["bad.h5"])


def test_D1_the_output_of_run_is_no_checkpoint(headscope, tiny, tmp_path):
    headscope.text("run", tiny, "--ids", "1,2", "--save", "stats", "--out", tmp_path / "run.h5")
    headscope.refusal("info", tmp_path / "run.h5", words=["headscope run"])


@pytest.mark.parametrize("part", range(16))
def test_D2_cut_at_a_sixteenth(headscope, packed, tmp_path, part):
    content = packed.read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) * part // 16])
    headscope.refusal("run", tmp_path / "cut.h5", "--ids", "1", limit=LIMIT, words=["cut.h5"])


def test_D2_flipped_bytes_are_errors_or_harmless(headscope, packed, tmp_path):
    """Never a crash, and never other numbers: tensors carry checksums."""
    content = packed.read_bytes()
    right = headscope.json("run", packed, "--ids", "1,2,3")["top"]
    random = np.random.default_rng(3)
    for position in random.integers(len(content), size=16):
        changed = bytearray(content)
        changed[position] ^= 1 << int(random.integers(8))
        (tmp_path / "flipped.h5").write_bytes(changed)
        done = headscope.run("run", tmp_path / "flipped.h5", "--ids", "1,2,3", "--json", limit=LIMIT)
        assert done.returncode in (0, 2), f"byte {position}: exit code {done.returncode}: {done.stderr}"
        if done.returncode == 0:
            assert json.loads(done.stdout)["top"] == right, f"byte {position}"
        else:
            assert done.stdout == b"" and done.stderr.startswith(b"headscope: ")


@pytest.mark.parametrize("options", [dict(dtype=">f4"), dict(chunks=(2, 8)), dict(compression="gzip", shuffle=True),
                                     dict(fletcher32=True)], ids=["big-endian", "chunked", "deflated", "checksummed"])
def test_other_layouts_are_read(headscope, packed, tmp_path, options):
    with copy(packed, tmp_path / "other.h5") as file:
        stored(**options)(file)
    arguments = ["--ids", "1,2,3"]
    assert headscope.json("run", tmp_path / "other.h5", *arguments)["top"] == headscope.json("run", packed, *arguments)["top"]


def test_D6_plugins_are_not_loaded(headscope, packed, tmp_path):
    """The library would look for filters in the folder that the environment names."""
    done = headscope.run("info", packed, env={"HDF5_PLUGIN_PATH": str(tmp_path)}, limit=LIMIT)
    assert done.returncode == 0


def test_damaged_numbers_are_found(headscope, packed, tmp_path):
    with copy(packed, tmp_path / "damaged.h5") as file:
        file["tensors"][first_tensor(file)][0, 0] += 1
    headscope.refusal("run", tmp_path / "damaged.h5", "--ids", "1", limit=LIMIT, words=["damaged", "CRC"])


def test_D9_a_file_that_is_being_written(headscope, packed, tmp_path):
    path = tmp_path / "busy.h5"
    with copy(packed, path):
        headscope.refusal("info", path, limit=LIMIT, words=["busy.h5"])
