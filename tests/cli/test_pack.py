"""`headscope pack` and `unpack`: folder to .h5 and back, bit for bit."""

import json
import os

import h5py
import numpy as np
import pytest
import tiny_checkpoint

MODELS = ("gpt2-odd-mlp", "gpt2-gelu-untied-f16", "llama-sharded-bf16", "llama-mqa-tied")


def stored_tensors(folder):
    """{name: (dtype, shape, bytes)} of all safetensors files of a folder, read by their definition."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        content = file.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header, data = json.loads(content[8:8 + length]), content[8 + length:]
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                found[name] = entry["dtype"], entry["shape"], data[begin:end]
    return found


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(headscope, random_models, tmp_path, name):
    folder, file, again = random_models(name), tmp_path / "m.h5", tmp_path / "again"
    assert "m.h5" in headscope.text("pack", folder, file)
    headscope.text("unpack", file, again)
    assert stored_tensors(again) == stored_tensors(folder)
    assert (again / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["again", "m.h5"]
    runs = [headscope.json("run", model, "--ids", "1,2,3,4,5", "--generate", 4) for model in (folder, file, again)]
    for run in runs:
        del run["model"]
        run.pop("seconds", None)
    assert runs[0] == runs[1] == runs[2]
    infos = [headscope.json("info", model) for model in (folder, file)]
    assert infos[1]["format"] == "h5"
    for info in infos:
        for key in ("model", "format", "notes"):
            del info[key]
    assert infos[0] == infos[1]


def test_the_tokenizer_goes_along(headscope, stories, tmp_path):
    file = tmp_path / "stories.h5"
    headscope.text("pack", stories, file)
    found = headscope.json("run", file, "--prompt", "Zoo", "--generate", 8)
    expected = headscope.json("run", stories, "--prompt", "Zoo", "--generate", 8)
    assert found["ids"] == expected["ids"] and found["text"] == expected["text"]
    headscope.text("unpack", file, tmp_path / "again")
    assert (tmp_path / "again" / "tokenizer.json").read_bytes() == (stories / "tokenizer.json").read_bytes()


def test_a_packed_file_has_the_stated_names(headscope, random_models, tmp_path):
    folder, path = random_models("llama-sharded-bf16"), tmp_path / "m.h5"
    headscope.text("pack", folder, path)
    expected = stored_tensors(folder)
    with h5py.File(path) as file:
        assert file.attrs["format"] == "headscope" and file.attrs["format_version"] == 1
        assert file["config"].dtype == np.uint8
        assert file["config"][()].tobytes() == (folder / "config.json").read_bytes()
        assert len(file["tensors"]) == len(expected)
        for dataset in file["tensors"].values():
            dtype, shape, content = expected[dataset.attrs["name"]]
            assert dataset.attrs["dtype"] == dtype == "BF16" and dataset.dtype == np.uint16
            assert list(dataset.shape) == shape and dataset[()].tobytes() == content


def test_transformers_opens_an_unpacked_folder(headscope, random_models, tmp_path):
    import random_models as module
    import torch

    folder = random_models("llama-mqa-tied")
    headscope.text("pack", folder, tmp_path / "m.h5")
    headscope.text("unpack", tmp_path / "m.h5", tmp_path / "again")
    before, after = module.load(folder).state_dict(), module.load(tmp_path / "again").state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_pack_replaces_a_file_and_keeps_it_on_failure(headscope, tiny, tmp_path):
    file = tmp_path / "m.h5"
    file.write_text("old")
    broken = tiny_checkpoint.write(tmp_path / "broken", weights=b"")
    headscope.refusal("pack", broken, file)
    assert file.read_text() == "old"
    headscope.text("pack", tiny, file)
    assert headscope.json("info", file)["family"] == "llama"
    headscope.text("pack", file, file)  # over the file that is open as the model
    assert headscope.json("info", file)["family"] == "llama"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["broken", "m.h5"]


def test_unpack_writes_into_nothing_or_an_empty_folder(headscope, packed, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("old")
    headscope.refusal("unpack", packed, tmp_path / "full", words=["full", "empty folder"])
    assert os.listdir(tmp_path / "full") == ["x"]
    (tmp_path / "file").write_text("old")
    headscope.refusal("unpack", packed, tmp_path / "file", words=["file"])
    (tmp_path / "empty").mkdir()
    headscope.text("unpack", packed, tmp_path / "empty")
    assert sorted(os.listdir(tmp_path / "empty")) == ["config.json", "model.safetensors"]
    headscope.text("unpack", packed, f"{tmp_path}/slash/")
    assert (tmp_path / "slash" / "config.json").exists()
    headscope.refusal("unpack", packed, tmp_path / "gone" / "x", words=["gone"])


def test_targets_that_cannot_be_written(headscope, tiny, tmp_path):
    headscope.refusal("pack", tiny, tmp_path / "gone" / "m.h5", words=["gone"])
    headscope.refusal("pack", tiny, tmp_path, words=["folder"])
    headscope.refusal("pack", tiny, "/dev/full", words=["/dev/full"])
    assert not list(tmp_path.iterdir())
