"""Shows that the comparison with transformers notices a wrong reading of any field of a config.

For each model of tests/support/random_models.py: transformers runs it as it is, HeadScope with one thing changed: a
field of config.json, or the weights where the config has no field for it (the scale of scores, the order of KV heads).
Each change must exceed what transformers_oracle.py allows for logits or maps by a clear margin, and the model left as
it is must not. Prints the weakest change of each model; exit code 1 if one goes unnoticed.

A run takes a third of a second, most of it for LibTorch to start: each change is only run in a few families, drawn by
--seed. HEADSCOPE_FULL=1 runs all changes on all models.
"""

import argparse
import copy
import dataclasses
import json
import math
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time
from typing import Callable

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import random_models  # noqa: E402
from attention_numbers import worst_difference  # noqa: E402
from family_layouts import heads_of, roll_kv_heads, scale_query_and_key  # noqa: E402
from program import Headscope  # noqa: E402
from saved_run import logits_and_maps  # noqa: E402
from transformers_oracle import ALLOWED, Reference, relative_to_range  # noqa: E402

FULL = os.environ.get("HEADSCOPE_FULL", "") not in ("", "0")
MARGIN = 3  # a change must move logits or maps by so many times what is allowed
FAMILIES = 3  # each change is drawn in so many of them
TOKENS = 80  # more than any window, and than the contexts that yarn and llama3 stretch


def times(factor):
    return lambda value, config: value * factor


def one_more(value, config):
    return value + 1


def one_less(value, config):
    return value - 1


def flipped(value, config):
    return not value


def off(value, config):
    """The value without the thing; None where it is off already."""
    return False if value else None


def on(value, config):
    return None if value else True


def halved(value, config):
    return value // 2 if value > 1 else None


def greedy(value, config):
    return "greedy" if value != "greedy" else None


def plain_rope(value, config):
    return "default" if value not in ("default", "dynamic") else None  # whose context would be too short


def longer_context(value, config):
    return value + 4


def other_activation(value, config):
    return {"silu": "gelu", "relu": "gelu"}.get(value, "relu")


def other_gelu(value, config):
    """The form with tanh for the one with erf and back. Gemma 1 means tanh by either name, and without a second layer,
    whose sharp heads enlarge it, the difference stays below what is allowed."""
    if "gelu" not in value or config["model_type"] == "gemma" or config.get("num_hidden_layers") == 1:
        return None
    return "gelu_new" if value == "gelu" else "gelu"


def other_share(value, config):
    """One pair of dimensions more is rotated, or one less where all are."""
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    dims = int(value * head_dim)
    return (dims + (2 if dims < head_dim else -2) + 0.1) / head_dim


def swapped_layers(value, config):
    other = {"full_attention": "sliding_attention", "sliding_attention": "full_attention"}
    return [other[one] for one in value]


ACTIVATION, EPSILON = [other_activation, other_gelu], [times(30)]

# What is done to a field, wherever in config.json it is. Yarn rounds the dimensions that its betas and its context
# point at, so that these change by more.
CHANGES = {
    "attn_logit_softcapping": [times(1.1)],
    "final_logit_softcapping": [times(1.1)],
    "sliding_window": [one_more, one_less],
    "use_sliding_window": [off],
    "layer_types": [swapped_layers],
    "query_pre_attn_scalar": [times(1.1)],
    "scale_attn_weights": [flipped],
    "scale_attn_by_inverse_layer_idx": [flipped],
    "rms_norm_eps": EPSILON,
    "layer_norm_eps": EPSILON,
    "layer_norm_epsilon": EPSILON,
    "activation": ACTIVATION,
    "activation_function": ACTIVATION,
    "hidden_act": ACTIVATION,
    "hidden_activation": ACTIVATION,
    "use_parallel_residual": [flipped],
    "parallel_attn": [on],  # the other way, the file lacks the second norm
    "attention_bias": [off],
    "mlp_bias": [off],
    "enable_bias": [off],
    "bias": [off],
    "alibi": [off],
    "rope_theta": [times(1.1)],
    "partial_rotary_factor": [other_share],
    "rope_type": [plain_rope],
    "factor": [times(1.1)],
    "beta_fast": [times(0.5)],
    "beta_slow": [times(0.5)],
    "attention_factor": [times(1.1)],
    "low_freq_factor": [times(1.1)],
    "high_freq_factor": [times(1.1)],
    "original_max_position_embeddings": [times(2)],
    "mscale": [times(1.1)],
    "mscale_all_dim": [times(1.1)],
    "rope_interleave": [flipped],
    "num_experts_per_tok": [one_more, one_less],
    "n_group": [halved],
    "topk_group": [one_more, one_less],
    "topk_method": [greedy],
    "norm_topk_prob": [flipped],
    "routed_scaling_factor": [times(1.1)],
    "max_position_embeddings": [longer_context],
}


MIXTURE = ("num_experts_per_tok", "n_group", "topk_group", "topk_method", "norm_topk_prob", "routed_scaling_factor")


def scale_scores(model):
    for layer in range(model.config.num_hidden_layers):
        scale_query_and_key(model, layer, math.sqrt(1.1))


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """One change of a model: to its config, or to its weights."""

    field: str  # what is changed, as the same in all models of a family
    text: str
    config: dict
    edit: Callable | None = None  # of the model's weights


def fields(values, path=()):
    """(path, value) of everything in a config."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from fields(value, (*path, key))
        else:
            yield (*path, key), value


def is_read(config, path):
    """Whether the model has the thing that a field tells about."""
    if config.get("alibi") and path[0] == "rope_parameters":
        return False
    if path[-1] in MIXTURE and config["first_k_dense_replace"] == config["num_hidden_layers"]:
        return False
    if path[-1] in ("n_group", "topk_group"):
        return (config["n_group"] or 1) > 1
    if path[-1] == "norm_topk_prob":
        return config["model_type"] == "deepseek_v3"
    if path[-1] in ("layer_types", "sliding_window"):
        return bool(config.get("sliding_window")) and config.get("use_sliding_window", True)
    if path[-1] == "max_position_embeddings":
        return (config.get("rope_parameters") or {}).get("rope_type") == "dynamic"
    return path != ("original_max_position_embeddings",)  # Phi-3's, for longrope


def shown(value):
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def with_field(config, path, value):
    out = copy.deepcopy(config)
    place = out
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return out


def spelled_out(config):
    """With the fields of yarn that the config leaves to their defaults, to change them, too."""
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type") != "yarn":
        return config
    defaults = {"beta_slow": 1.0}
    if "mscale" not in rope:
        defaults["attention_factor"] = 0.1 * math.log(rope["factor"]) + 1
    return {**config, "rope_parameters": {**defaults, **rope}}


def changed_fields(config):
    for path, value in fields(config):
        if value is None or not is_read(config, path):
            continue
        for change in CHANGES.get(path[-1], []):
            other = change(value, config)
            if other is not None:
                name = ".".join(path)
                yield Perturbation(f"{name} {change.__name__}", f"{name} {shown(value)} -> {shown(other)}",
                                   with_field(config, path, other))


def changed_weights(model_config, config):
    if "query_pre_attn_scalar" not in config:
        yield Perturbation("scale", "scores x 1.1", config, scale_scores)
    if heads_of(model_config)[1] > 1:
        yield Perturbation("group order", "every query head reads the next KV head", config, roll_kv_heads)


class Case:
    """One recipe: the saved model and everything that is changed in it."""

    def __init__(self, one, folder):
        self.recipe, self.name, self.family, self.dtype = one, one.name, one.family, one.dtype
        self.folder = random_models.make(one, folder)
        self.config = spelled_out(json.loads((self.folder / "config.json").read_text()))
        model_config = random_models.load(self.folder).config
        self.perturbations = [*changed_fields(self.config), *changed_weights(model_config, self.config)]

    def expect(self):
        """What transformers makes of the model as it is."""
        reference = Reference(self.folder, torch.float32)
        self.ids = np.random.default_rng(1).integers(reference.config.vocab_size, size=TOKENS).tolist()
        self.logits, self.maps, _ = reference.forward(self.ids)

    def write(self, perturbation, folder):
        """The model with a change, beside the weights of the one it is made from."""
        folder.mkdir()
        if perturbation.edit:
            model = random_models.load(self.folder, self.dtype)
            perturbation.edit(model)
            random_models.save(self.recipe, model, folder)
        else:
            for part in self.folder.iterdir():
                (folder / part.name).symlink_to(part)
        (folder / "config.json").unlink()
        (folder / "config.json").write_text(json.dumps(perturbation.config, indent=2))
        return folder

    def differences(self, headscope, perturbation, work):
        """How far HeadScope's logits and maps of the changed model are off, in units of what is allowed."""
        folder = self.write(perturbation, work / "changed")
        try:
            _, logits, maps = logits_and_maps(headscope, folder, self.ids, work / "run.h5")
        finally:
            shutil.rmtree(folder)
        return {"logits": relative_to_range(logits, self.logits) / ALLOWED["logits"],
                "maps": max(map(worst_difference, maps, self.maps)) / ALLOWED["maps"]}


def text_of(differences):
    return ", ".join(f"{name} {value:.3g} times what is allowed" for name, value in differences.items())


def check_unchanged(headscope, case, work):
    """The same way through files as a changed model, with nothing changed: otherwise red would tell nothing."""
    found = case.differences(headscope, Perturbation("", "", case.config, lambda model: None), work)
    assert max(found.values()) <= 1, f"unchanged: {text_of(found)}"


def check_case(headscope, case, perturbations, work):
    """The largest factor of each change, by its text, and what went unnoticed."""
    case.expect()
    check_unchanged(headscope, case, work)
    factors, failed = {}, []
    for one in perturbations:
        found = case.differences(headscope, one, work)
        factors[one.text] = max(found.values())
        if not MARGIN <= factors[one.text] < math.inf:
            failed.append(f"{case.name}: {one.text} goes unnoticed: {text_of(found)}, wanted {MARGIN}")
    return factors, failed


def drawn(cases, seed):
    """{case: changes}: every change in a few families, and every family with some."""
    families, out = {}, {}
    for case in random.Random(seed).sample(cases, len(cases)):
        for one in case.perturbations:
            of_change = families.setdefault(one.field, set())
            new_family = all(case.family not in other for other in families.values())
            if new_family or (len(of_change) < FAMILIES and case.family not in of_change):
                of_change.add(case.family)
                out.setdefault(case, []).append(one)
    return out


def require_every_change(cases):
    """A field that transformers renames would drop out without a word."""
    met = {one.field.split()[0].split(".")[-1] for case in cases for one in case.perturbations}
    missing = set(CHANGES) - met
    assert not missing, f"no model has {', '.join(sorted(missing))}"


def print_case(case, factors, every):
    weakest = min(factors, key=factors.get)
    print(f"{case.name:25} {len(factors):3} changes, the least {factors[weakest]:9.1f} times what is allowed: "
          f"{weakest}", flush=True)
    for text, factor in factors.items() if every else ():
        print(f"    {factor:12.1f}  {text}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headscope", required=True, help="the program to test")
    parser.add_argument("--only", help="name of one model: all changes of it")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--list", action="store_true", help="print the factor of every change")
    options = parser.parse_args()
    headscope = Headscope(options.headscope)
    torch.set_num_threads(1)  # these models are too small for more
    failed, begin, done = [], time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        cases = [Case(one, work / one.name) for one in random_models.RECIPES if options.only in (None, one.name)]
        if not options.only:
            require_every_change(cases)
        everything = FULL or options.only
        wanted = {case: case.perturbations for case in cases} if everything else drawn(cases, options.seed)
        for case, perturbations in wanted.items():
            try:
                factors, unnoticed = check_case(headscope, case, perturbations, work)
            except AssertionError as error:
                failed.append(f"{case.name}: {error}")
                continue
            print_case(case, factors, options.list)
            failed += unnoticed
            done += len(factors)
    print(f"{done} changes of {len(wanted)} models, {'all' if everything else f'drawn with seed {options.seed}'}  "
          f"({time.monotonic() - begin:.0f} s)")
    for text in failed:
        print(f"FAILED {text}")
    return 1 if failed or not done else 0


if __name__ == "__main__":
    sys.exit(main())
