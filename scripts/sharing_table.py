#!/usr/bin/env python3
"""Writes docs/sharing.md from what the program does with a tiny random model of each scheme of sharing.

    .deps/venv/bin/python scripts/sharing_table.py build/release/app/cli/headscope > docs/sharing.md
    .deps/venv/bin/python scripts/sharing_table.py build/release/app/cli/headscope --drawings docs/sharing > docs/sharing.md
"""

import argparse
import concurrent.futures
import pathlib
import re
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "support"))
import sharing_models  # noqa: E402
from attention_numbers import worst_difference  # noqa: E402
from program import Headscope  # noqa: E402
from saved_run import logits_and_maps  # noqa: E402
from sharing_formulas import forward  # noqa: E402

LOGITS, SAME_LOGITS, MAPS = 1e-4, 1e-5, 2e-5  # of the logits' range: from the formulas, from another run; of a weight
PROMPT, GENERATED = 8, 32
WIDTH, THEME = 480, "light"

# Schemes of tests/support/sharing_models.py that the page shows, and what each is.
SHOWN = {
    "MHA": "every query head has keys and values of its own",
    "GQA-2": "query heads in groups, each with one KV head",
    "MQA": "one KV head for all query heads of a layer",
    "CLA-2": "every second layer reads the cache of the one below it",
    "CLA-2 MQA": "the same with one KV head",
    "MLKV 2x2": "a few layers, evenly spaced, own the cache that all read",
    "one owner": "the first layer's cache serves all layers",
    "first layers kept": "the upper layers share one cache",
    "last layers kept": "the lower layers share one cache",
    "any owners": "each layer names the layer whose cache it reads",
    "SharedKV MHA": "only values are kept; keys are values turned by rope when they are read",
    "SharedKV GQA-2": "the same with grouped heads",
    "SharedKV MQA": "the same with one KV head for all",
    "SharedKV on CLA-2": "the same where pairs of layers share, too",
    "SharedKV on MLKV 2x1": "the same where a few layers serve all",
    "K = V": "values are the keys as they stand, without rope",
    "K = V GQA-2": "the same with grouped heads",
    "slim": "only keys are kept; values are made from them by W_K^-1 W_V",
    "MLA": "one latent row serves all heads, each of which expands it",
    "MLKV 2 on MLA": "a few layers own the latents that all read",
    "sliding GQA-2": "every layer sees its last 11 tokens",
    "alternating SharedKV GQA-2": "every second layer sees its last 9 tokens",
    "windows of shared SharedKV layers": "two layers share a cache and see different windows of it",
}

HEAD = """# Schemes of sharing

Made by `scripts/sharing_table.py`, which runs a tiny random model of each scheme ({heads} query heads of {head} dimensions) and
writes what it found. "yes" means:

- prefill: logits of {tokens} tokens in one pass are those of plain formulas in float64, within {logits:.0e} of their range;
- decode: {prompt} tokens and {generated} more one by one give the logits and maps of that pass, within {same:.0e} of the
  range and {maps:.0e} of a weight;
- map: every head's map is that of the formulas, within {maps:.0e}.

Bytes are those of one more token in f32, while no window is full; the run's storage held as many. The kernel is the one that
`run` names. Any scheme can be written in [HeadScope's own config](own-format.md).

| scheme | named | prefill | decode | map | bytes per token | kernel |
| --- | --- | --- | --- | --- | --- | --- |
"""


def slug(name):
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def answer(good):
    return "yes" if good else "no"


def far(found, expected):
    """Logits, as a share of the range of those expected."""
    return worst_difference(found, expected) / (expected.max() - expected.min())


def farthest(found, expected):
    return max(worst_difference(one, other) for one, other in zip(found, expected, strict=True))


class Scheme:
    """One row of the table and one section of the page."""

    def __init__(self, program, folder, name):
        self.name, self.program = name, program
        self.scheme = next(one for one in sharing_models.SCHEMES if one.name == name)
        self.folder = folder / slug(name)
        self.weights = sharing_models.make(self.scheme, self.folder, list(SHOWN).index(name))

    def measure(self):
        prompt = [i * 37 % sharing_models.VOCAB for i in range(PROMPT)]
        decoded, logits, maps = logits_and_maps(self.program, self.folder, prompt, self.folder / "decoded.h5", "--generate",
                                                GENERATED, "--temperature", 3, "--seed", 1, whole=True)
        ids = decoded["ids"]
        whole, whole_logits, whole_maps = logits_and_maps(self.program, self.folder, ids, self.folder / "whole.h5",
                                                          whole=True)
        exact, exact_maps = forward(self.scheme, self.weights, ids)
        exact_maps = [one.numpy() for one in exact_maps]
        self.prefill = far(whole_logits, exact.numpy()) <= LOGITS
        self.decode = far(logits, whole_logits) <= SAME_LOGITS and farthest(maps, whole_maps) <= MAPS
        self.map = farthest(maps, exact_maps) <= MAPS and farthest(whole_maps, exact_maps) <= MAPS
        self.stored = decoded["kv_bytes_used"] == whole["kv_bytes_used"] == self.scheme.used_bytes(len(ids))
        # Which instruction set it is depends on the machine.
        self.kernels = sorted({one.strip().split("/")[0].split("-")[0] for one in whole["kernel"].split(",")})
        self.describe()
        return self

    def describe(self):
        facts = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in self.program.text("info", self.folder).splitlines()
                     if re.search(r"\S\s{2,}\S", line))
        self.variant, self.equation = facts["variant"], facts["KV cache, f32"]
        self.bytes = self.equation.split(" B per token")[0]
        self.remark = "" if "cond(W_K)" not in facts else f" The condition number of W_K is {facts['cond(W_K)']}."

    def draw(self, drawings):
        size = f"{WIDTH}x{200 + 32 * self.scheme.layers}"
        self.program.text("render", self.folder, "--ids", "1,2,3", "--view", "sharing", "--size", size, "--theme", THEME, "--out",
                          drawings / f"{slug(self.name)}.svg")

    def row(self):
        cells = [f"[{self.name}](#{anchor(self.name)})", self.variant, answer(self.prefill), answer(self.decode),
                 answer(self.map), self.bytes if self.stored else "no", ", ".join(self.kernels)]
        return "| " + " | ".join(cells) + " |\n"

    def section(self):
        what = SHOWN[self.name]
        return (f"\n## {self.name}\n\n{what[:1].upper()}{what[1:]}. {self.equation}.{self.remark}\n\n"
                f"![{self.name}: query heads and what they read](sharing/{slug(self.name)}.svg)\n")


def anchor(name):
    """Of a heading, as Markdown pages make them."""
    return re.sub(r"[^a-z0-9 -]", "", name.lower()).replace(" ", "-")


def page(program, drawings):
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as two:
        found = list(two.map(Scheme.measure, [Scheme(program, pathlib.Path(folder), name) for name in SHOWN]))
        if drawings:
            drawings.mkdir(parents=True, exist_ok=True)
            list(two.map(lambda one: one.draw(drawings), found))
    head = HEAD.format(heads=sharing_models.HEADS, head=sharing_models.HEAD, tokens=PROMPT + GENERATED, prompt=PROMPT,
                       generated=GENERATED, logits=LOGITS, same=SAME_LOGITS, maps=MAPS)
    return head + "".join(one.row() for one in found) + "".join(one.section() for one in found)


def main():
    parser = argparse.ArgumentParser(description="Prints docs/sharing.md.")
    parser.add_argument("headscope", help="the program")
    parser.add_argument("--drawings", type=pathlib.Path, help="folder for the drawings, which are left as they are without it")
    options = parser.parse_args()
    sys.stdout.write(page(Headscope(options.headscope), options.drawings))


if __name__ == "__main__":
    main()
