"""Cached equals uncached: tokens that come one by one give the logits and maps of one pass over all of them.

For each model of tests/support/random_models.py: HeadScope generates behind one token, and where the model has windows
behind prompts that end at their edge, and then runs all those tokens as a prompt; transformers runs them without a
cache. Tokens are sampled: greedy ones of a random model soon repeat. `headscope verify` adds prompts in small chunks
and single tokens. Prints the worst figures; exit code 1 if one is exceeded.

HEADSCOPE_FULL=1 takes all models, otherwise one of each family, with windows where the family has them.
"""

import argparse
import json
import os
import pathlib
import random
import sys
import tempfile
import time

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import random_models  # noqa: E402
from attention_numbers import worst_difference  # noqa: E402
from program import OK, Headscope  # noqa: E402
from saved_run import logits_and_maps  # noqa: E402
from transformers_oracle import ALLOWED, Reference, relative_to_range  # noqa: E402

FULL = os.environ.get("HEADSCOPE_FULL", "") not in ("", "0")
TOKENS = 64  # several times any window
# Against itself, HeadScope only adds up in another order.
ALLOWED_ITSELF = {"logits": 1e-5, "maps": 1e-5}


def compare(found, expected, allowed, what):
    """The two figures; both must be within what is allowed."""
    figures = {"logits": relative_to_range(found[0], expected[0]),
               "maps": max(map(worst_difference, found[1], expected[1]))}
    for name, value in figures.items():
        assert value <= allowed[name], f"{what}: {name} differ by {value:.2e}, allowed {allowed[name]:.1e}"
    return figures


def most_tokens(reference):
    """Dynamic rope is made so that beyond the model's own context cached and uncached differ."""
    return min(TOKENS, reference.config.max_position_embeddings) if reference.dynamic else TOKENS


def check_decoding(headscope, folder, reference, prompt, out):
    """Tokens one by one behind a prompt, against one pass over all and against transformers."""
    tokens = most_tokens(reference)
    count = tokens - len(prompt)
    ids, *decoded = logits_and_maps(headscope, folder, prompt, out / "decoded.h5", "--generate", count,
                                    "--temperature", 10, "--seed", len(prompt))
    assert len(ids) == tokens and len(set(ids)) > tokens // 4, f"{len(set(ids))} different ones of {len(ids)} tokens"
    _, *whole = logits_and_maps(headscope, folder, ids, out / "whole.h5")
    what = f"{count} tokens behind {len(prompt)}"
    compare(decoded, reference.forward(ids), ALLOWED, f"{what}, against transformers")
    return compare(decoded, whole, ALLOWED_ITSELF, f"{what}, against one pass")


def check_model(headscope, folder):
    """The worst figures of a model against itself, and the prompts' lengths."""
    reference = Reference(folder, torch.float32)
    window = max(reference.windows)
    ids = np.random.default_rng(2).integers(reference.config.vocab_size, size=TOKENS).tolist()
    lengths = [1] + ([window - 1, window, window + 1] if window else [])
    found = [check_decoding(headscope, folder, reference, ids[:length], folder) for length in lengths]
    return {name: max(one[name] for one in found) for name in ALLOWED_ITSELF}, lengths


def check_verify(headscope, folder):
    """48 tokens in chunks of 7, the last ones alone, give the logits of one pass; and what else verify looks at."""
    done = headscope.run("verify", folder, "--json")
    said = [line for line in done.stderr.decode().splitlines() if line.startswith("headscope: ")]
    assert done.returncode == OK, f"headscope verify: {' '.join(said)}"
    assert [one["passed"] for one in json.loads(done.stdout) if one["check"] == "cached = uncached"] == [True]


def has_windows(one):
    return bool(one.config.get("sliding_window"))


def drawn(recipes, seed):
    """One recipe of each family, with windows where there are any."""
    families = {}
    for one in random.Random(seed).sample(recipes, len(recipes)):
        if one.family not in families or (has_windows(one) and not has_windows(families[one.family])):
            families[one.family] = one
    return [one for one in recipes if one in families.values()]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headscope", required=True, help="the program to test")
    parser.add_argument("--only", help="name of one model")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    options = parser.parse_args()
    headscope = Headscope(options.headscope)
    torch.set_num_threads(1)  # these models are too small for more
    recipes = random_models.RECIPES
    wanted = [one for one in recipes if one.name == options.only] if options.only else \
        recipes if FULL else drawn(recipes, options.seed)
    failed, begin = [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for one in wanted:
            made = random_models.make(one, pathlib.Path(folder) / one.name)
            try:
                figures, lengths = check_model(headscope, made)
                text = "  ".join(f"{name} {value:.1e}" for name, value in figures.items())
                print(f"{one.name}: {text}  (prompts of {', '.join(map(str, lengths))})", flush=True)
                check_verify(headscope, made)
            except AssertionError as error:
                failed.append(f"{one.name}: {error}")
    print(f"{len(wanted)} models  ({time.monotonic() - begin:.0f} s)")
    for text in failed:
        print(f"FAILED {text}")
    return 1 if failed or not wanted else 0


if __name__ == "__main__":
    sys.exit(main())
