"""Every attention map can be rebuilt from a run file alone, by what docs/formats.md says of q, k, lse and their attributes.
test_schemes.py does the same for every scheme of sharing."""

import h5py
import mlkv_models
import numpy as np
import pytest
from rebuilt_maps import scores

# Caps, windows, ALiBi, yarn's factor in the scale, latents.
MODELS = ("llama-gqa", "gpt2-inverse-layer", "gemma2", "qwen3-windows", "falcon-alibi", "deepseek3", "deepseek2-groups")


def require_maps(file):
    """Those of every layer follow from the rest of the file."""
    for layer in range(len(file["attention"])):
        rebuilt = np.exp(scores(file, layer) - file[f"lse/layer_{layer:03}"][()][..., None])
        assert np.abs(rebuilt - file[f"attention/layer_{layer:03}"][()]).max() < 1e-5, layer


@pytest.mark.parametrize("name", MODELS)
def test_maps_follow_from_the_file(headscope, random_models, tmp_path, name):
    out = tmp_path / "run.h5"
    exact = ["--exact-alibi"] if "alibi" in name else []
    headscope.json("run", random_models(name), "--ids", ",".join(str(i * 13 % 140 + 2) for i in range(37)), "--save",
                   "attention,q,k,lse", "--out", out, *exact)
    with h5py.File(out) as file:
        require_maps(file)


@pytest.mark.parametrize("keys", [None, "rotated"])
def test_maps_of_readers_of_another_layers_cache(headscope, tmp_path, keys):
    """MLKV as released, where owners rotate what they read and other readers do not, and with rotated keys."""
    mlkv_models.make(tmp_path / "mlkv", 3, 2, keys, 5)
    out = tmp_path / "run.h5"
    headscope.json("run", tmp_path / "mlkv", "--ids", ",".join(str(i * 13 % 131) for i in range(37)), "--chunk", 10, "--save",
                   "attention,q,k,v,lse", "--out", out)
    owners = mlkv_models.owners(3)
    with h5py.File(out) as file:
        how = {name: values[()].tolist() for name, values in file["k"].attrs.items()}
        assert how["kv_owner"] == [0, 0, 2, 2, 4, 4] and owners == [0, 2, 4]
        assert how["keys_rotated"] == [int(keys == "rotated")] * 6
        assert how["rotate_on_read"] == [int(keys is None and layer in owners) for layer in range(6)]
        assert list(file["k"]) == [f"layer_{owner:03}" for owner in owners]
        require_maps(file)


def test_latents_say_their_form(headscope, random_models, tmp_path):
    out = tmp_path / "run.h5"
    headscope.json("run", random_models("deepseek3"), "--ids", "1,2,3,4", "--save", "q,k,v", "--out", out)
    with h5py.File(out) as file:
        for group in "kv":
            assert [one for one in file[group].attrs["form"]] == ["absorbed"] * 3
            assert [one for one in file[group].attrs["stored"]] == ["latent"] * 3
        k, v = file["k/layer_001"][()], file["v/layer_001"][()]
        assert file["q/layer_001"].shape == (4, 4, 28) and k.shape == (1, 4, 28)
        assert np.array_equal(k[..., :20], v)
