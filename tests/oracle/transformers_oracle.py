"""Compares HeadScope with transformers (eager attention, f32) on tiny random models of every family.

For each model of tests/support/random_models.py: logits, attention maps, row statistics, log-sum-exp, values, KV bytes,
greedy generation, zeroed heads and small chunks, for a prompt, for one token and for two. A float64 transformers run tells how far
f32 rounding alone goes. Prints the worst figure of every check beside what is allowed; exit code 1 if one is exceeded.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import time

import h5py
import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import random_models  # noqa: E402
from family_layouts import (from_latents_of, heads_of, outputs_of, position_bias_of, scales_of, widths_of,  # noqa: E402
                            windows_of)
from attention_numbers import log_sum_exp, row_statistics, scores, worst_difference  # noqa: E402
from program import Headscope  # noqa: E402
from saved_run import logits_and_maps  # noqa: E402

EVERYTHING = "logits,attention,stats,q,k,v,lse,kv"
GENERATED = 12
CHUNKS = (5, 7)  # tokens; no window is one of them

# Largest allowed figure of each check. Logits are relative to their range (maximum minus minimum) and maps absolute,
# both against transformers in f32; the others are against float64, where f32 itself is off by a tenth or less of this.
ALLOWED = {
    "logits": 1e-4,
    "maps": 2e-5,
    "row sums": 3e-6,
    "entropy": 7e-5,
    "max": 2e-5,
    "argmax": 4e-5,  # what the map loses at the key that was named
    "distance": 1e-3,
    "distance_variance": 2.5e-2,
    "sink": 2e-5,
    "window": 2e-5,
    "lse": 5e-6,  # relative to the larger of 1 and the value
    "maps from q, k, lse": 2e-5,
    "head outputs": 2.5e-5,  # relative to the largest
    "top probabilities": 1e-5,
    "zeroed logits": 1e-4,
    "zeroed maps": 2e-5,
    "logits in chunks": 1e-4,
    "maps in chunks": 2e-5,
    "maps of exact ALiBi": 2e-5,
}


class Reference:
    """transformers' view of one saved model."""

    def __init__(self, folder, dtype):
        self.model = random_models.load(folder, dtype)
        self.config = self.model.config
        self.projections = outputs_of(self.model)
        self.layers = len(self.projections)
        self.scales = scales_of(self.model)
        self.q_heads, self.kv_heads, _ = heads_of(self.config)
        self.widths, self.from_latents = widths_of(self.config), from_latents_of(self.model)
        self.windows = windows_of(self.config)
        self.soft_cap = getattr(self.config, "attn_logit_softcapping", None) or 0
        rope = getattr(self.config, "rope_parameters", None) or {}
        self.dynamic = rope.get("rope_type") == "dynamic"

    def start_anew(self):
        """Dynamic rope remembers its longest pass until one is shorter than the model's own context."""
        if self.dynamic:
            self.model(torch.tensor([[0]]), use_cache=False)

    def forward(self, ids, zeroed=(), first=None):
        """logits [n, vocab], maps [heads, n, n] and head outputs [n, heads * dim] of each layer, as numpy. With `first`,
        the tokens behind so many come one by one and find the earlier ones in a cache."""
        outputs = [[] for _ in range(self.layers)]
        maps, logits, cache = [[] for _ in range(self.layers)], [], None
        ends = [len(ids)] if first is None else range(first, len(ids) + 1)

        def hook(layer):
            def look(_, arguments):
                values = arguments[0].clone()
                outputs[layer].append(values[0].numpy())
                for at, head in zeroed:
                    if at == layer:
                        values[..., head * self.widths.output:(head + 1) * self.widths.output] = 0
                return (values, *arguments[1:])
            return look

        with torch.inference_mode():
            self.start_anew()
        handles = [part.register_forward_pre_hook(hook(layer)) for layer, part in enumerate(self.projections)]
        try:
            for begin, end in zip([0, *ends], ends):
                with torch.inference_mode():
                    out = self.model(torch.tensor([ids[begin:end]]), output_attentions=True, past_key_values=cache,
                                     use_cache=first is not None)
                cache = out.past_key_values
                logits.append(out.logits[0].numpy())
                for layer, rows in enumerate(out.attentions):
                    maps[layer].append(np.pad(rows[0].numpy(), ((0, 0), (0, 0), (0, len(ids) - end))))
        finally:
            for handle in handles:
                handle.remove()
        return (np.concatenate(logits), [np.concatenate(rows, 1) for rows in maps],
                [np.concatenate(rows) for rows in outputs])

    def generate(self, ids, count, **more):
        prompt = torch.tensor([ids])
        with torch.inference_mode():
            self.start_anew()
            made = self.model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count,
                                       do_sample=False, pad_token_id=0, **more)
        return made[0].tolist()


class Figures:
    """The worst figure of each check."""

    def __init__(self):
        self.worst = {}

    def add(self, name, value):
        value = float(value)
        if not value <= self.worst.get(name, -1.0):  # NaN stays
            self.worst[name] = value

    def failures(self):
        return [f"{name}: {value:.2e}, allowed {ALLOWED[name]:.1e}" for name, value in self.worst.items()
                if not value <= ALLOWED[name]]

    def text(self):
        return "  ".join(f"{name} {value:.1e}" for name, value in self.worst.items())


def relative_to_range(found, expected):
    """Worst difference of logits, relative to their range."""
    return worst_difference(found, expected) / float(expected.max() - expected.min())


def require_distinct_heads(layers):
    """Maps of two heads that looked alike could be swapped without being noticed."""
    for layer, maps in enumerate(layers):
        for a in range(len(maps)):
            for b in range(a):
                assert np.abs(maps[a] - maps[b]).max() > 0.01, f"layer {layer}: heads {b} and {a} look alike"


def check_statistics(stats, maps, layer, figures):
    for name, expected in row_statistics(maps).items():
        found = stats[name][layer].astype(np.float64)
        if name != "argmax":
            # Distances grow with the prompt, and so does what f32 rounds away of them.
            longer = max(1, maps.shape[-1] / 100)
            scale = {"distance": longer, "distance_variance": longer ** 2}.get(name, 1)
            figures.add(name, worst_difference(found, expected) / scale)
            continue
        assert (found == np.floor(found)).all() and (found >= 0).all() and (found <= np.arange(found.shape[1])).all()
        named = np.take_along_axis(maps, found.astype(np.int64)[..., None], -1)[..., 0]
        figures.add("argmax", (maps.max(-1) - named).max())


def check_layer(file, reference, exact, layer, figures):
    """One layer of the run file against float64 maps and head outputs."""
    _, exact_maps, exact_outputs = exact
    key = f"layer_{layer:03}"
    maps = file["attention"][key][()]
    figures.add("row sums", np.abs(maps.astype(np.float64).sum(-1) - 1).max())
    assert (np.triu(maps, 1) == 0).all(), f"layer {layer}: weight on a later token"
    check_statistics(file["stats"], exact_maps[layer], layer, figures)

    q, k, v = (file[part][key][()] for part in "qkv")
    n, heads = maps.shape[1], maps.shape[0]
    assert q.shape == (heads, n, reference.widths.key), q.shape
    assert k.shape == (reference.kv_heads, n, reference.widths.key), k.shape
    assert v.shape == (reference.kv_heads, n, reference.widths.value), v.shape
    values = scores(q, k, reference.scales[layer], reference.windows[layer], reference.soft_cap,
                    position_bias_of(reference.config, n))
    lse = file["lse"][key][()].astype(np.float64)
    expected = log_sum_exp(values)
    figures.add("lse", worst_difference(lse / np.maximum(1, np.abs(expected)), expected / np.maximum(1, np.abs(expected))))
    largest = np.abs(values[np.isfinite(values)]).max()  # what f32 rounds away of a score grows with it
    figures.add("maps from q, k, lse",
                worst_difference(np.exp(values - lse[..., None]), exact_maps[layer]) / max(1, largest / 100))
    outputs = np.einsum("hij,hjd->ihd", maps.astype(np.float64), np.repeat(v, heads // reference.kv_heads, axis=0))
    if reference.from_latents[layer] is not None:
        outputs = np.einsum("ihl,hdl->ihd", outputs, reference.from_latents[layer])
    expected = exact_outputs[layer]
    figures.add("head outputs", worst_difference(outputs.reshape(n, -1), expected) / np.abs(expected).max())


def check_json(run, file, reference, exact_logits, figures):
    n = len(run["ids"])
    row = reference.widths.cached * 4  # f32
    used = [row * min(n, window or n) for window in reference.windows]
    assert run["kv_bytes_used"] == used, f"{run['kv_bytes_used']}, expected {used}"
    assert all(a >= b and a % row == 0 for a, b in zip(run["kv_bytes_allocated"], used)), run["kv_bytes_allocated"]
    assert file["kv/bytes_used"][()].tolist() == run["kv_bytes_used"]
    assert file["kv/bytes_allocated"][()].tolist() == run["kv_bytes_allocated"]
    assert file["tokens/ids"][()].tolist() == run["ids"]
    last = exact_logits[-1] - exact_logits[-1].max()
    probabilities = np.exp(last) / np.exp(last).sum()
    assert len(run["top"]) == min(5, probabilities.size)
    found = [one["probability"] for one in run["top"]]
    assert found == sorted(found, reverse=True)
    figures.add("top probabilities", worst_difference(found, np.sort(probabilities)[::-1][:len(found)]))
    figures.add("top probabilities", worst_difference(found, probabilities[[one["id"] for one in run["top"]]]))


def require_same_tokens(found, expected, reference, prompt):
    """Greedy tokens are equal; where two logits tie within rounding, both choices are right and the rest is not looked at."""
    assert len(found) == len(expected), f"{len(found)} tokens, expected {len(expected)}"
    for i in range(prompt, len(expected)):
        if found[i] != expected[i]:
            logits = reference.forward(expected[:i])[0][-1]
            gap = logits[expected[i]] - logits[found[i]]
            assert gap <= 1e-6 * (logits.max() - logits.min()), f"token {i}: {found[i]}, expected {expected[i]} ({gap=})"
            return
    assert found == expected


def check_run(headscope, folder, references, ids, count, out, figures, threads):
    reference, _ = references
    run = headscope.json("run", folder, "--ids", ",".join(map(str, ids)), "--generate", count, "--save", EVERYTHING,
                         "--out", out, "--threads", threads, "--dtype", "f32")
    assert run["prompt_tokens"] == len(ids) and run["ids"][:len(ids)] == ids
    if count:
        require_same_tokens(run["ids"], reference.generate(ids, count), reference, len(ids))
    first = len(ids) if reference.dynamic else None  # where one pass is not the same
    plain, exact = (one.forward(run["ids"], first=first) for one in references)
    if len(ids) > 2:
        require_distinct_heads(plain[1])
    with h5py.File(out) as file:
        assert len(file["attention"]) == reference.layers
        figures.add("logits", relative_to_range(file["logits"][()], plain[0]))
        for layer in range(reference.layers):
            figures.add("maps", worst_difference(file[f"attention/layer_{layer:03}"][()], plain[1][layer]))
            check_layer(file, reference, exact, layer, figures)
        check_json(run, file, reference, exact[0], figures)
    return relative_to_range(plain[0], exact[0]), max(map(worst_difference, plain[1], exact[1]))


def check_zeroed(headscope, folder, reference, ids, out, figures):
    zeroed = [(0, reference.q_heads // 2), (reference.layers - 1, reference.q_heads - 1)]
    options = [word for layer, head in zeroed for word in ("--zero", f"{layer}:{head}")]
    run = headscope.json("run", folder, "--ids", ",".join(map(str, ids)), "--save", "logits,attention", "--out", out,
                         "--threads", 1, "--dtype", "f32", *options)
    assert run["interventions"] == [f"zero {layer}:{head}" for layer, head in zeroed]
    untouched, (logits, maps, _) = reference.forward(ids)[0], reference.forward(ids, zeroed)
    assert relative_to_range(untouched, logits) > 0.01, "zeroing the heads changes nothing: choose others"
    with h5py.File(out) as file:
        figures.add("zeroed logits", relative_to_range(file["logits"][()], logits))
        for layer in range(reference.layers):
            figures.add("zeroed maps", worst_difference(file[f"attention/layer_{layer:03}"][()], maps[layer]))


def check_exact_alibi(headscope, folder, ids, out, figures):
    """Without the rounding: slope times position as they are, in float64."""
    from transformers.models.falcon import modeling_falcon

    def plain(mask, heads, dtype):
        slopes = 2.0 ** (-8 * (torch.arange(heads, dtype=torch.float64) + 1) / heads)  # heads are a power of two
        return (slopes[:, None, None] * torch.arange(mask.shape[1])).to(dtype)

    rounded, modeling_falcon.build_alibi_tensor = modeling_falcon.build_alibi_tensor, plain
    try:
        logits, maps, _ = Reference(folder, torch.float64).forward(ids)
    finally:
        modeling_falcon.build_alibi_tensor = rounded
    _, *found = logits_and_maps(headscope, folder, ids, out, "--exact-alibi")
    figures.add("logits", relative_to_range(found[0], logits))
    figures.add("maps of exact ALiBi", max(map(worst_difference, found[1], maps)))
    with h5py.File(out) as file:
        assert file.attrs["alibi"] == "exact"


def check_chunks(headscope, folder, reference, ids, out, figures):
    """A prompt in chunks: later ones find the keys of earlier ones in the cache."""
    logits, maps, _ = reference.forward(ids)
    for chunk in CHUNKS:
        _, *found = logits_and_maps(headscope, folder, ids, out, "--chunk", chunk)
        figures.add("logits in chunks", relative_to_range(found[0], logits))
        figures.add("maps in chunks", max(map(worst_difference, found[1], maps)))


def check_end_of_text(headscope, folder, reference, ids):
    """Generation stops behind the config's end-of-text token, as transformers' does, unless told not to."""
    free = reference.generate(ids, GENERATED)
    made = free[len(ids):]
    stop = next(i for i in range(3, len(made)) if made[i] not in made[:i])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "eos_token_id": [made[stop]]}))
    arguments = ["run", folder, "--ids", ",".join(map(str, ids)), "--generate", GENERATED, "--threads", 1,
                 "--dtype", "f32"]
    stopped = headscope.json(*arguments)["ids"]
    assert stopped == reference.generate(ids, GENERATED, eos_token_id=made[stop]) == free[:len(ids) + stop + 1], stopped
    assert headscope.json(*arguments, "--ignore-eos")["ids"] == free


def check_eager(folder, reference, ids, figures):
    """The attention that is compared with gives what transformers' usual one does."""
    with torch.inference_mode():
        usual = random_models.load(folder, implementation="sdpa")(torch.tensor([ids])).logits[0].numpy()
    figures.add("logits", relative_to_range(reference.forward(ids)[0], usual))


def check_model(headscope, one, work):
    """All checks of one recipe. Returns its figures and a line about f32 itself."""
    folder = random_models.make(one, work / one.name)
    references = [Reference(folder, dtype) for dtype in (torch.float32, torch.float64)]
    reference = references[0]
    random = np.random.default_rng(len(one.name))
    ids = random.integers(reference.config.vocab_size, size=one.tokens or int(random.integers(50, 91))).tolist()
    figures, out = Figures(), work / "run.h5"
    rounding = check_run(headscope, folder, references, ids, GENERATED, out, figures, threads=2)
    check_run(headscope, folder, references, ids[:1], 0, out, figures, threads=1)
    check_run(headscope, folder, references, ids[:2], 0, out, figures, threads=1)
    check_zeroed(headscope, folder, reference, ids, out, figures)
    check_chunks(headscope, folder, reference, ids, out, figures)
    if reference.dynamic:  # a run that grows past the model's own context
        check_run(headscope, folder, references, ids[:reference.config.max_position_embeddings - 5], GENERATED, out,
                  figures, threads=1)
    if one.family == "falcon":
        check_eager(folder, reference, ids, figures)
    if one.name == "falcon-alibi-long":
        check_exact_alibi(headscope, folder, ids, out, figures)
    if one.name in ("gpt2-odd-mlp", "llama-gqa"):
        check_end_of_text(headscope, folder, reference, ids)
    return figures, rounding


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headscope", required=True, help="the program to test")
    parser.add_argument("--only", help="name of one model")
    options = parser.parse_args()
    headscope = Headscope(options.headscope)
    torch.set_num_threads(1)  # these models are too small for more
    worst, failed, begin = Figures(), [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for one in random_models.RECIPES:
            if options.only not in (None, one.name):
                continue
            try:
                figures, rounding = check_model(headscope, one, pathlib.Path(folder))
            except AssertionError as error:
                failed.append(f"{one.name}: {error}")
                continue
            failed += [f"{one.name}: {text}" for text in figures.failures()]
            for name, value in figures.worst.items():
                worst.add(name, value)
            print(f"{one.name}: {figures.text()}  (transformers f32 against float64: logits {rounding[0]:.1e}, "
                  f"maps {rounding[1]:.1e})", flush=True)
            shutil.rmtree(pathlib.Path(folder) / one.name)
    print(f"worst of all: {worst.text()}  ({time.monotonic() - begin:.0f} s)")
    for text in failed:
        print(f"FAILED {text}")
    return 1 if failed or not worst.worst else 0


if __name__ == "__main__":
    sys.exit(main())
