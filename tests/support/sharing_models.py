"""Schemes of sharing keys and values (kv-variants.md 2, 3.7, 3.8), as tiny random models in HeadScope's own format: heads and
layers that share, keys made from stored values with and without rope, values made from keys, latents that several layers read.
sharing_formulas.py has what each computes; tests/run/schemes.cpp has their kinds, each with every kind of windows, for tests of
the C++ interface.
"""

import dataclasses
import json

import torch
from safetensors.torch import save_file

WIDTH, HEADS, HEAD, VOCAB, INNER, CONTEXT = 48, 6, 8, 131, 80, 96
LATENT, ROPE_KEY, CONTENT, VALUE = 20, 6, 10, 7  # MLA
SCALE, BASE, EPSILON, SHARPNESS = 0.4, 10000.0, 1e-5, 1.7
SLOPES = (0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)  # ALiBi's


@dataclasses.dataclass(frozen=True)
class Scheme:
    name: str
    variant: str  # as `info` names it
    kv_heads: int = HEADS
    owners: tuple = (0, 1, 2, 3)  # of each layer's cache
    stored: str = "keys_and_values"
    positions: str = "rope"  # or learned, alibi, none
    windows: tuple = ()  # of each layer, 0: none
    soft_cap: float = 0
    alibi_scale: float = 1  # of the slopes
    rope_dims: int = HEAD  # of each head, the first ones
    rope_style: str = "rotate_half"  # or interleaved
    rotated: bool = True  # False: rope turns nothing
    readers_rotated: bool = True  # False: layers that read another's cache see its keys before rope, as MLKV's released ones

    @property
    def layers(self):
        return len(self.owners)

    @property
    def rope(self):
        return self.positions == "rope" and self.rotated

    @property
    def keys_rotated(self):
        """In the cache."""
        return self.rope and self.readers_rotated and self.stored not in ("values_only", "keys_only")

    def reads_rotated(self, layer):
        """Keys, as the layer's queries meet them."""
        return self.rope and (self.readers_rotated or self.owns(layer))

    def rotates_on_read(self, layer):
        return self.reads_rotated(layer) and not self.keys_rotated

    def window(self, layer):
        return self.windows[layer] if self.windows else 0

    def owns(self, layer):
        return self.owners[layer] == layer

    def store_window(self, layer):
        """The widest window of the readers of a layer's cache; 0 where one of them sees everything."""
        readers = [self.window(i) for i in range(self.layers) if self.owners[i] == layer]
        return 0 if 0 in readers else max(readers)

    def numbers_per_token(self):
        """What has to be stored, for each layer."""
        numbers = {"keys_and_values": 2 * self.kv_heads * HEAD, "values_only": self.kv_heads * HEAD,
                   "keys_only": self.kv_heads * HEAD, "latent": LATENT + ROPE_KEY}[self.stored]
        return [numbers * self.owns(layer) for layer in range(self.layers)]

    def used_bytes(self, tokens):
        """Of each layer's cache, f32."""
        def kept(layer):
            window = self.store_window(layer) if self.owns(layer) else 0
            return min(tokens, window) if window else tokens

        return [4 * numbers * kept(layer) for layer, numbers in enumerate(self.numbers_per_token())]


EACH, PAIRS, ONE, SPACED = (0, 1, 2, 3), (0, 0, 2, 2), (0, 0, 0, 0), (0, 0, 2, 2, 2)  # SPACED: MLKV's 2 owners of 5 layers
ANY = (0, 1, 0, 1, 4, 0)
SLIDING, ALTERNATING, UNEQUAL = (11, 11, 11, 11), (9, 0, 9, 0), (11, 7, 11, 7)

SCHEMES = [
    Scheme("MHA", "MHA"), Scheme("GQA-2", "GQA-2", 2), Scheme("GQA-3", "GQA-3", 3), Scheme("MQA", "MQA", 1),
    Scheme("soft-capped GQA-2", "GQA-2", 2, soft_cap=9.0), Scheme("MQA with ALiBi", "MQA", 1, positions="alibi"),
    Scheme("CLA-2", "CLA-2 GQA-2", 2, PAIRS), Scheme("CLA-2 MQA", "CLA-2 MQA", 1, PAIRS),
    Scheme("CLA-3", "CLA-3 GQA-3", 3, (0, 0, 0, 3)), Scheme("MLKV 2x2", "MLKV 2x2", 2, SPACED),
    Scheme("MLKV 3x1", "MLKV 3x1", 1, (0, 0, 2, 2, 4, 4, 4)), Scheme("one owner", "MLKV 1x1", 1, ONE),
    Scheme("first layers kept", "GQA-2, 3 of 6 layers own KV", 2, (0, 1, 2, 2, 2, 2)),
    Scheme("last layers kept", "GQA-2, 3 of 6 layers own KV", 2, (0, 0, 0, 0, 4, 5)),
    Scheme("any owners", "GQA-3, 3 of 6 layers own KV", 3, ANY),
    Scheme("SharedKV MHA", "SharedKV MHA", stored="values_only"),
    Scheme("SharedKV GQA-2", "SharedKV GQA-2", 2, stored="values_only"),
    Scheme("SharedKV MQA", "SharedKV MQA", 1, stored="values_only"),
    Scheme("SharedKV on CLA-2", "SharedKV CLA-2 GQA-2", 2, PAIRS, "values_only"),
    Scheme("SharedKV on MLKV 2x1", "SharedKV MLKV 2x1", 1, SPACED, "values_only"),
    Scheme("SharedKV, any owners", "SharedKV GQA-3, 3 of 6 layers own KV", 3, ANY, "values_only"),
    Scheme("K = V", "K=V MHA", stored="values_only", positions="learned"),
    Scheme("K = V GQA-2", "K=V GQA-2", 2, stored="values_only", positions="learned"),
    Scheme("K = V on CLA-2", "K=V CLA-2 GQA-3", 3, PAIRS, "values_only", "learned"),
    Scheme("slim", "Slim MHA", stored="keys_only"),
    Scheme("slim without rope", "Slim MHA", stored="keys_only", positions="learned"),
    Scheme("slim, one owner", "Slim MLKV 1x6", HEADS, ONE, "keys_only"),
    Scheme("MLA", "MLA", 1, stored="latent"), Scheme("MLKV 2 on MLA", "MLKV 2 on MLA", 1, SPACED, "latent"),
    Scheme("one latent", "MLKV 1 on MLA", 1, ONE, "latent"),
    Scheme("sliding GQA-2", "GQA-2, window 11", 2, windows=SLIDING),
    Scheme("alternating MHA", "MHA, window 9 in 2 of 4 layers", windows=ALTERNATING),
    Scheme("windows of some layers on CLA-2", "CLA-2 GQA-2, window 11 in 2 of 4 layers", 2, PAIRS, windows=(11, 11, 0, 0)),
    Scheme("unequal windows on CLA-2", "CLA-2 MQA, windows 7 to 11", 1, PAIRS, windows=UNEQUAL),
    Scheme("alternating MLKV 2x2", "MLKV 2x2, window 9 in 3 of 5 layers", 2, SPACED, windows=(9, 0, 9, 0, 9)),
    Scheme("sliding SharedKV GQA-2", "SharedKV GQA-2, window 11", 2, stored="values_only", windows=SLIDING),
    Scheme("alternating SharedKV GQA-2", "SharedKV GQA-2, window 9 in 2 of 4 layers", 2, stored="values_only",
           windows=ALTERNATING),
    Scheme("windows of shared SharedKV layers", "SharedKV CLA-2 MQA, windows 7 to 11 in 2 of 4 layers", 1, PAIRS,
           "values_only", windows=(11, 7, 0, 0)),
    Scheme("SharedKV with partial rope", "SharedKV GQA-2", 2, stored="values_only", rope_dims=4),
    Scheme("alternating K = V", "K=V GQA-2, window 9 in 2 of 4 layers", 2, stored="values_only", positions="learned",
           windows=ALTERNATING),
    Scheme("sliding slim", "Slim MHA, window 11", stored="keys_only", windows=SLIDING),
    Scheme("alternating slim", "Slim MHA, window 9 in 2 of 4 layers", stored="keys_only", windows=ALTERNATING),
    Scheme("sliding MLA", "MLA, window 11", 1, stored="latent", windows=SLIDING),
    Scheme("alternating MLKV 2 on MLA", "MLKV 2 on MLA, windows 7 to 12 in 3 of 5 layers", 1, SPACED, "latent",
           windows=(12, 7, 0, 9, 0)),
    Scheme("MQA with ALiBi, divided as Falcon's", "MQA", 1, positions="alibi", alibi_scale=HEAD ** -0.5),
    Scheme("MLKV 4x3", "MLKV 4x3", 3, (0, 1, 1, 3, 3, 5, 5)),
    Scheme("MLKV as released", "MLKV 2x2", 2, SPACED, readers_rotated=False),
    Scheme("windows of MLKV as released", "MLKV 2x1, window 9 in 3 of 5 layers", 1, SPACED, windows=(9, 0, 9, 0, 9),
           readers_rotated=False),
    Scheme("SharedKV with interleaved rope", "SharedKV GQA-2", 2, stored="values_only", rope_style="interleaved"),
    Scheme("K = V under a rope that turns nothing", "K=V GQA-2", 2, stored="values_only", rotated=False),
    Scheme("K = V without positions", "K=V GQA-2", 2, stored="values_only", positions="none"),
]


class _Weights(dict):
    """Random tensors under the names of HeadScope's own format, float32."""

    def __init__(self, seed):
        super().__init__()
        self.random = torch.Generator().manual_seed(seed)

    def normal(self, name, *shape, scale=1.0, mean=0.0):
        self[name] = mean + scale * torch.randn(*shape, generator=self.random)

    def matrix(self, name, out, size, scale=1.0):
        self.normal(name, out, size, scale=scale / size ** 0.5)

    def norm(self, name, size=WIDTH):
        self.normal(name, size, scale=0.2, mean=1)


def random_weights(scheme, seed):
    weights = _Weights(seed)
    weights.normal("token_embedding", VOCAB, WIDTH)
    if scheme.positions == "learned":
        weights.normal("position_embedding", CONTEXT, WIDTH, scale=0.5)
    for i in range(scheme.layers):
        layer = f"layers.{i}."
        weights.norm(layer + "attention_norm")
        weights.norm(layer + "mlp_norm")
        (_add_latent if scheme.stored == "latent" else _add_heads)(weights, scheme, i, layer)
        weights.matrix(layer + "mlp_up", INNER, WIDTH)
        weights.matrix(layer + "mlp_down", WIDTH, INNER)
    weights.norm("final_norm")
    weights.matrix("lm_head", VOCAB, WIDTH)
    return dict(weights)


def _add_heads(weights, scheme, i, layer):
    weights.matrix(layer + "query", HEADS * HEAD, WIDTH, SHARPNESS ** 2)
    keys = scheme.kv_heads * HEAD
    if scheme.owns(i) and scheme.stored != "values_only":
        weights.matrix(layer + "key", keys, WIDTH)
    if scheme.owns(i):
        weights.matrix(layer + "value", keys, keys if scheme.stored == "keys_only" else WIDTH)
    weights.matrix(layer + "attention_output", WIDTH, HEADS * HEAD)


def _add_latent(weights, scheme, i, layer):
    weights.matrix(layer + "query", HEADS * (CONTENT + ROPE_KEY), WIDTH, SHARPNESS ** 2)
    if scheme.owns(i):
        weights.matrix(layer + "latent", LATENT + ROPE_KEY, WIDTH)
        weights.norm(layer + "latent_norm", LATENT)
    weights.matrix(layer + "latent_key", HEADS * CONTENT, LATENT)
    weights.matrix(layer + "latent_value", HEADS * VALUE, LATENT)
    weights.matrix(layer + "attention_output", WIDTH, HEADS * VALUE)


def _layer_config(scheme, i):
    layer = {"q_heads": HEADS, "kv_owner": scheme.owners[i], "scale": SCALE, "window": scheme.window(i),
             "soft_cap": scheme.soft_cap, "rotate_query": scheme.rope, "rotate_on_read": scheme.rotates_on_read(i),
             "mlp": {"width": INNER, "activation": "gelu"}}
    if scheme.stored == "latent":
        layer["mla"] = {"content_dim": CONTENT, "value_dim": VALUE, "norm_epsilon": EPSILON}
    return layer


def _store_config(scheme, i):
    latent = scheme.stored == "latent"
    return {"layer": i, "kv_heads": scheme.kv_heads, "key_dim": LATENT + ROPE_KEY if latent else HEAD,
            "value_dim": LATENT if latent else HEAD, "stored": scheme.stored, "window": scheme.store_window(i),
            "keys_rotated": scheme.keys_rotated}


def config_of(scheme):
    position = {"scheme": scheme.positions}
    if scheme.positions == "rope":
        position["rope"] = {"dims": ROPE_KEY if scheme.stored == "latent" else scheme.rope_dims, "base": BASE,
                            "style": scheme.rope_style}
    if scheme.positions == "alibi":
        position |= {"alibi_slopes": SLOPES, "alibi_scale": scheme.alibi_scale}
    return {"model_type": "headscope", "vocab_size": VOCAB, "d_model": WIDTH, "context": CONTEXT, "norm": "rms_norm",
            "norm_epsilon": EPSILON, "position": position,
            "layers": [_layer_config(scheme, i) for i in range(scheme.layers)],
            "kv_stores": [_store_config(scheme, i) for i in range(scheme.layers) if scheme.owns(i)]}


def save(folder, config, weights):
    """Writes a checkpoint; float32, whatever the weights are computed in. Returns the folder."""
    folder.mkdir(parents=True)
    save_file({name: values.float().contiguous() for name, values in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def make(scheme, folder, seed):
    """Saves a random model; returns its weights in float64."""
    weights = random_weights(scheme, seed)
    save(folder, config_of(scheme), weights)
    return {name: values.double() for name, values in weights.items()}
