"""Compares schemes of sharing keys and values with a plain implementation, written from their formulas.

Tiny random models in HeadScope's own format (tests/support/sharing_models.py). Prompt and generated tokens are compared with
one uncached float64 pass, so a cache that differs shows; bytes are those of what a scheme has to store. Texts are at least
three times as long as any window. Prints the worst figures; exit code 1 when one is exceeded.

HEADSCOPE_FULL=1 feeds every prompt at once and in chunks of 7; otherwise the models take turns.
"""

import argparse
import os
import pathlib
import sys
import tempfile

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from attention_numbers import normalised_entropy, worst_difference  # noqa: E402
from program import Headscope  # noqa: E402
from saved_run import logits_and_maps  # noqa: E402
from sharing_formulas import forward  # noqa: E402
from sharing_models import SCHEMES, VOCAB, make  # noqa: E402

FULL = os.environ.get("HEADSCOPE_FULL", "") not in ("", "0")
LOGITS, MAPS, EVENEST = 1e-4, 2e-5, 0.6  # of the logits' range; of a weight; mean normalised entropy of a layer
PROMPT, GENERATED, CHUNKS = 48, 8, (4096, 7)


def compare(headscope, scheme, work, seed, chunk):
    """The worst logits and maps, prefill at once or in chunks, decoding token by token behind it."""
    w = make(scheme, work / f"model-{seed}-{chunk}", seed)
    assert max(scheme.windows, default=0) * 3 <= PROMPT
    ids = np.random.default_rng(seed).integers(VOCAB, size=PROMPT).tolist()
    run, found, found_maps = logits_and_maps(headscope, work / f"model-{seed}-{chunk}", ids, work / "run.h5", "--generate",
                                             GENERATED, "--chunk", chunk, whole=True)
    logits, maps = forward(scheme, w, run["ids"])
    for layer, one in enumerate(maps):
        evenness = normalised_entropy(one, scheme.window(layer))
        assert evenness <= EVENEST, f"{scheme.name}: layer {layer} attends too evenly: {evenness:.2f}"
    used = scheme.used_bytes(PROMPT + GENERATED)
    assert run["kv_bytes_used"] == used, f"{scheme.name}: {run['kv_bytes_used']} bytes, expected {used}"
    logits = logits.numpy()
    return (worst_difference(found, logits) / (logits.max() - logits.min()),
            max(worst_difference(one, expected.numpy()) for one, expected in zip(found_maps, maps, strict=True)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headscope", required=True, help="the program to test")
    parser.add_argument("--only", help="name of one scheme")
    options = parser.parse_args()
    headscope = Headscope(options.headscope)
    torch.set_num_threads(1)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for seed, scheme in enumerate(SCHEMES):
            if options.only not in (None, scheme.name):
                continue
            for chunk in CHUNKS if FULL else CHUNKS[seed % 2:][:1]:
                logits, maps = compare(headscope, scheme, pathlib.Path(folder), seed, chunk)
                good = logits <= LOGITS and maps <= MAPS
                failed |= not good
                print(f"{scheme.name:37} chunks of {chunk:4}  logits {logits:.1e}  maps {maps:.1e}{'' if good else '  FAILED'}",
                      flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
