"""Changes of basis that a model's output must not notice (kv-variants.md 5.1, 7.9): rotations of each head's values together
with the output projection, and of queries and keys by what commutes with rope. Other changes must be noticed."""

import dataclasses

import pytest
import torch
from same_model import LOGITS, distance, outcome
from sharing_models import HEAD, HEADS, PAIRS, SPACED, Scheme, config_of, random_weights, save

SCHEMES = {"MHA": Scheme("", ""), "GQA-2": Scheme("", "", 2), "CLA-2": Scheme("", "", 3, PAIRS),
           "MLKV 2x1": Scheme("", "", 1, SPACED), "sliding MQA": Scheme("", "", 1, windows=(11,) * 4),
           "partial rope": Scheme("", "", 2, rope_dims=4), "learned": Scheme("", "", 2, positions="learned"),
           "SharedKV": Scheme("", "", 2, stored="values_only"), "SharedKV on CLA-2": Scheme("", "", 2, PAIRS, "values_only"),
           "K = V": Scheme("", "", 2, stored="values_only", positions="learned")}
NOTICED = 1e-2  # of the logits' range


def orthogonal(random, dims=HEAD):
    """Any rotation of a head."""
    return torch.linalg.qr(torch.randn(dims, dims, generator=random, dtype=torch.float64)).Q


def of_planes(random, dims=HEAD):
    """Turns each pair (j, j + d / 2) by an angle of its own, as rope does: commutes with it."""
    angle = 2 * torch.pi * torch.rand(dims // 2, generator=random, dtype=torch.float64)
    cosine, sine = torch.diag(angle.cos()), torch.diag(angle.sin())
    return torch.cat([torch.cat([cosine, -sine], 1), torch.cat([sine, cosine], 1)])


def of_planes_and_the_rest(random):
    """Where rope turns the first half of a head: planes of it, and anything in the other half."""
    half = HEAD // 2
    return torch.block_diag(of_planes(random, half), orthogonal(random, HEAD - half))


def each_head(turns, weight):
    """Applies turns [heads, d, d] to the rows of each head of weight [heads * d, in]."""
    return torch.einsum("hij,hjk->hik", turns, weight.view(len(turns), HEAD, -1)).flatten(0, 1)


def turned(scheme, weights, make, queries=(), outputs=()):
    """Copies of the weights: KV heads of each owner turned by random `make`s, in `queries` weights of that kind ("key",
    "value"), and with them their readers' queries; the output projection turns back what `outputs` turned."""
    random, out = torch.Generator().manual_seed(11), dict(weights)
    turns = {i: torch.stack([make(random) for _ in range(scheme.kv_heads)]) for i in sorted(set(scheme.owners))}
    for owner, turn in turns.items():
        for kind in {*queries, *outputs}:
            out[f"layers.{owner}.{kind}"] = each_head(turn, weights[f"layers.{owner}.{kind}"])
    for layer, owner in enumerate(scheme.owners):
        of_heads = turns[owner].repeat_interleave(HEADS // scheme.kv_heads, 0)
        if queries:
            out[f"layers.{layer}.query"] = each_head(of_heads, weights[f"layers.{layer}.query"])
        if outputs:
            out[f"layers.{layer}.attention_output"] = each_head(of_heads, weights[f"layers.{layer}.attention_output"].T).T
    return out


@pytest.fixture(scope="module")
def plain(headscope, tmp_path_factory):
    """plain(name) is (scheme, its weights, what they give)."""
    made = {}

    def of(name):
        if name not in made:
            scheme, folder = SCHEMES[name], tmp_path_factory.mktemp("plain") / "model"
            weights = {key: values.double() for key, values in random_weights(scheme, 2).items()}
            made[name] = scheme, weights, outcome(headscope, save(folder, config_of(scheme), weights))
        return made[name]

    return of


def noticed(headscope, plain, folder, name, make, **how):
    """How far logits move, as a share of their range."""
    scheme, weights, before = plain(name)
    changed = turned(scheme, weights, make, **how)
    assert max((changed[key] - weights[key]).abs().max() for key in weights) > 0.1
    return distance(outcome(headscope, save(folder / "turned", config_of(scheme), changed)), before)


@pytest.mark.parametrize("name", ["MHA", "GQA-2", "CLA-2", "MLKV 2x1", "sliding MQA", "learned"])
def test_values_may_be_turned(headscope, plain, tmp_path, name):
    logits, maps = noticed(headscope, plain, tmp_path, name, orthogonal, outputs=["value"])
    assert logits < LOGITS and maps < 2e-5


@pytest.mark.parametrize("name", ["MHA", "GQA-2", "CLA-2", "MLKV 2x1", "sliding MQA"])
def test_keys_may_be_turned_as_rope_turns(headscope, plain, tmp_path, name):
    logits, maps = noticed(headscope, plain, tmp_path / "planes", name, of_planes, queries=["key"])
    assert logits < LOGITS and maps < 2e-5
    logits, maps = noticed(headscope, plain, tmp_path / "any", name, orthogonal, queries=["key"])
    assert logits > NOTICED and maps > NOTICED  # a rotation that does not commute with rope


def test_keys_beyond_a_partial_rope_may_be_turned_by_anything(headscope, plain, tmp_path):
    how = {"queries": ["key"]}
    logits, maps = noticed(headscope, plain, tmp_path / "rest", "partial rope", of_planes_and_the_rest, **how)
    assert logits < LOGITS and maps < 2e-5
    logits, maps = noticed(headscope, plain, tmp_path / "planes", "partial rope", of_planes, **how)
    assert logits > NOTICED and maps > NOTICED  # planes of the whole head are not those that rope turns


def test_keys_without_rope_may_be_turned_by_anything(headscope, plain, tmp_path):
    logits, maps = noticed(headscope, plain, tmp_path, "learned", orthogonal, queries=["key"])
    assert logits < LOGITS and maps < 2e-5


@pytest.mark.parametrize("name", ["SharedKV", "SharedKV on CLA-2", "K = V"])
def test_values_that_are_keys(headscope, plain, tmp_path, name):
    """Both ends must turn; with rope, only what commutes with it is left."""
    make = orthogonal if name == "K = V" else of_planes
    logits, maps = noticed(headscope, plain, tmp_path / "both", name, make, queries=["value"], outputs=["value"])
    assert logits < LOGITS and maps < 2e-5
    assert noticed(headscope, plain, tmp_path / "one", name, make, outputs=["value"])[0] > NOTICED
    if name != "K = V":
        assert noticed(headscope, plain, tmp_path / "any", name, orthogonal, queries=["value"], outputs=["value"])[0] > NOTICED


def test_alibi_that_is_not_divided_is_noticed(headscope, tmp_path):
    """Falcon divides ALiBi by the root of a head's size, BLOOM does not; oracle.sharing compares both with the formula."""
    falcon = Scheme("", "", 2, positions="alibi", alibi_scale=HEAD ** -0.5)
    bloom = dataclasses.replace(falcon, alibi_scale=1)
    weights = random_weights(falcon, 2)
    divided, undivided = (outcome(headscope, save(tmp_path / name, config_of(scheme), weights))
                          for name, scheme in (("falcon", falcon), ("bloom", bloom)))
    logits, maps = distance(undivided, divided)
    assert logits > NOTICED and maps > NOTICED
