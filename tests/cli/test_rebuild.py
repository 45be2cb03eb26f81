"""Every attention map can be rebuilt from a run file alone, by what docs/formats.md says of q, k, lse and their attributes."""

import json

import h5py
import numpy as np
import pytest
from own_format import rewrite
from safetensors.torch import load_file, save_file

# Caps, windows, ALiBi, yarn's factor in the scale, latents, readers of another layer's cache.
MODELS = ("llama-gqa", "gpt2-inverse-layer", "gemma2", "qwen3-windows", "falcon-alibi", "deepseek3", "deepseek2-groups")


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def rebuilt(file, layer):
    """The map [q_heads, n, n] of a layer."""
    how = {name: values[()] for name, values in file["k"].attrs.items()}
    part = "v" if text(how["stored"][layer]) == "values_only" else "k"  # keys are the values
    q = file[f"q/layer_{layer:03}"][()].astype(np.float64)
    k = file[f"{part}/layer_{how['kv_owner'][layer]:03}"][()].astype(np.float64)
    lse = file[f"lse/layer_{layer:03}"][()].astype(np.float64)
    if how["rotate_on_read"][layer]:
        k = rotated(k, file["rope"], layer)
    heads, n, _ = q.shape
    scores = how["scale"][layer] * np.einsum("hid,hjd->hij", q, np.repeat(k, heads // k.shape[0], axis=0))
    if how["soft_cap"][layer]:
        scores = how["soft_cap"][layer] * np.tanh(scores / how["soft_cap"][layer])
    if "alibi_slopes" in how:
        scores = scores + how["alibi_slopes"][:, None, None] * np.arange(n)
    back = np.arange(n)[:, None] - np.arange(n)[None, :]
    visible = (back >= 0) & ((back < how["window"][layer]) | (how["window"][layer] == 0))
    return np.where(visible, np.exp(scores - lse[..., None]), 0)


def rotated(k, rope, layer):
    """Keys [heads, n, d] turned by their positions."""
    assert text(rope.attrs["style"][layer]) == "rotate_half" and rope.attrs["factor"][layer] == 1
    frequencies = rope["inverse_frequencies"][layer]
    frequencies = frequencies[~np.isnan(frequencies)].astype(np.float64)
    angle, half = np.arange(k.shape[1])[:, None] * frequencies, len(frequencies)
    a, b, rest = k[..., :half], k[..., half:2 * half], k[..., 2 * half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle), rest], -1)


def own_model(random_models, folder, stored):
    """The llama recipe as our own, with caches that hold values or keys alone."""
    own = rewrite(random_models("llama-mha"), folder)
    config = json.loads((own / "config.json").read_text())
    for layer, store in zip(config["layers"], config["kv_stores"]):
        layer["rotate_on_read"], store["keys_rotated"], store["stored"] = True, False, stored
    (own / "config.json").write_text(json.dumps(config))
    tensors = load_file(own / "model.safetensors")
    if stored == "values_only":
        tensors = {name: values for name, values in tensors.items() if not name.endswith(".key")}
    save_file(tensors, own / "model.safetensors")
    return own


@pytest.mark.parametrize("stored, missing", [("values_only", "k"), ("keys_only", "v")])
def test_maps_follow_from_half_a_cache(headscope, random_models, tmp_path, stored, missing):
    out = tmp_path / "run.h5"
    own = own_model(random_models, tmp_path / "own", stored)
    run = headscope.json("run", own, "--ids", ",".join(str(i * 13 % 140 + 2) for i in range(37)), "--save",
                         "attention,q,k,v,lse", "--out", out)
    assert run["kv_bytes_used"] == [48 * 4 * 37] * 3
    with h5py.File(out) as file:
        assert "layer_000" not in file[missing] and [text(one) for one in file[missing].attrs["stored"]] == [stored] * 3
        for layer in range(3):
            assert np.abs(rebuilt(file, layer) - file[f"attention/layer_{layer:03}"][()]).max() < 1e-5, layer


@pytest.mark.parametrize("name", MODELS)
def test_maps_follow_from_the_file(headscope, random_models, tmp_path, name):
    out = tmp_path / "run.h5"
    exact = ["--exact-alibi"] if "alibi" in name else []
    headscope.json("run", random_models(name), "--ids", ",".join(str(i * 13 % 140 + 2) for i in range(37)), "--save",
                   "attention,q,k,lse", "--out", out, *exact)
    with h5py.File(out) as file:
        for layer in range(len(file["attention"])):
            saved = file[f"attention/layer_{layer:03}"][()]
            assert np.abs(rebuilt(file, layer) - saved).max() < 1e-5, layer


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
