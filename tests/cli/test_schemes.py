"""Every scheme of sharing as `run --save` writes it: the cache holds what the scheme keeps and no more, attributes tell the
scheme, and maps follow from the file alone."""

import h5py
import numpy as np
import pytest
from attention_numbers import log_sum_exp
from rebuilt_maps import scores, text
from sharing_models import HEAD, HEADS, LATENT, ROPE_KEY, SCALE, SCHEMES, SLOPES, VOCAB, make

PROMPT, TOKENS, CHUNK = 34, 40, 15  # more than three times any window; the rest is generated


@pytest.fixture(scope="module", params=SCHEMES, ids=lambda scheme: scheme.name)
def saved(request, headscope, tmp_path_factory):
    """(scheme, its model's folder, what the run printed, the open run file)"""
    scheme, work = request.param, tmp_path_factory.mktemp("scheme")
    make(scheme, work / "model", SCHEMES.index(scheme))
    run = headscope.json("run", work / "model", "--ids", ",".join(str(i * 37 % VOCAB) for i in range(PROMPT)), "--generate",
                         TOKENS - PROMPT, "--chunk", CHUNK, "--save", "attention,q,k,v,lse,kv", "--out", work / "run.h5",
                         "--threads", 1)
    with h5py.File(work / "run.h5") as file:
        yield scheme, work / "model", run, file


def shape_of(file, part, layer):
    name = f"{part}/layer_{layer:03}"
    return file[name].shape if name in file else None


def allocated_bytes(scheme):
    """The length is told, so nothing is allocated beyond it: storage, too, is what the scheme keeps. The cache of a window
    has room for the window and for what is written at once, or for another window where that is less."""
    def rows(layer):
        window = scheme.store_window(layer) if scheme.owns(layer) else 0
        return min(TOKENS, window + max(window, CHUNK)) if window else TOKENS

    return [4 * numbers * rows(layer) for layer, numbers in enumerate(scheme.numbers_per_token())]


def test_the_cache_holds_what_the_scheme_keeps(saved):
    """Heads that are shared once, not once for each query head; one of K and V where the other follows from it."""
    scheme, _, run, file = saved
    used = scheme.used_bytes(TOKENS)
    assert run["kv_bytes_used"] == used and file["kv/bytes_used"][()].tolist() == used
    assert run["kv_bytes_allocated"] == file["kv/bytes_allocated"][()].tolist() == allocated_bytes(scheme)
    latent = scheme.stored == "latent"
    keys = (1, TOKENS, LATENT + ROPE_KEY) if latent else (scheme.kv_heads, TOKENS, HEAD)
    values = (1, TOKENS, LATENT) if latent else keys
    for layer in range(scheme.layers):
        owns = scheme.owns(layer)
        assert shape_of(file, "k", layer) == (keys if owns and scheme.stored != "values_only" else None)
        assert shape_of(file, "v", layer) == (values if owns and scheme.stored != "keys_only" else None)


def test_attributes_tell_the_scheme(saved):
    scheme, folder, _, file = saved
    on_read = [int(scheme.rotates_on_read(layer)) for layer in range(scheme.layers)]
    expected = {"kv_owner": list(scheme.owners), "stored": [scheme.stored] * scheme.layers,
                "keys_rotated": [int(scheme.keys_rotated)] * scheme.layers, "rotate_on_read": on_read}
    if scheme.stored == "latent":
        expected["form"] = ["absorbed"] * scheme.layers
    how = {"scale": [SCALE] * scheme.layers, "soft_cap": [scheme.soft_cap] * scheme.layers,
           "window": [scheme.window(layer) for layer in range(scheme.layers)]}
    if scheme.positions == "alibi":
        how["alibi_slopes"] = [slope * scheme.alibi_scale for slope in SLOPES]
    for group, wanted in (("k", {**expected, **how}), ("v", expected)):
        found = {name: [text(one) for one in values] for name, values in file[group].attrs.items()}
        assert found == wanted
    assert ("rope" in file) == any(on_read)


def test_maps_follow_from_the_file(saved):
    scheme, _, _, file = saved
    for layer in range(scheme.layers):
        found = scores(file, layer)
        lse = log_sum_exp(found)
        assert np.abs(lse - file[f"lse/layer_{layer:03}"][()]).max() < 1e-4, layer
        attention = file[f"attention/layer_{layer:03}"][()]
        assert attention.shape == (HEADS, TOKENS, TOKENS)
        assert np.abs(np.exp(found - lse[..., None]) - attention).max() < 1e-5, layer
        assert np.abs(attention.sum(-1, dtype=np.float64) - 1).max() < 1e-5, layer


def test_the_scheme_has_its_name(headscope, saved):
    scheme, folder, _, file = saved
    assert text(file.attrs["variant"]) == scheme.variant
    assert headscope.json("info", folder)["variant"] == scheme.variant


def test_a_short_prompt_makes_no_room_for_a_long_one(headscope, tmp_path):
    """Of 90 tokens that are told, 85 come one by one: two windows are room enough."""
    scheme = next(one for one in SCHEMES if one.name == "sliding GQA-2")
    make(scheme, tmp_path / "model", 1)
    run = headscope.json("run", tmp_path / "model", "--ids", "1,2,3,4,5", "--generate", 85, "--threads", 1)
    of_rows = [4 * numbers for numbers in scheme.numbers_per_token()]
    assert run["kv_bytes_used"] == [11 * row for row in of_rows]
    assert run["kv_bytes_allocated"] == [2 * 11 * row for row in of_rows]
