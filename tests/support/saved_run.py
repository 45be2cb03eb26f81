"""Runs token ids and reads back what was saved."""

import h5py


def logits_and_maps(headscope, folder, ids, out, *options, dtype="f32", whole=False):
    """(all ids, logits [n, vocab], [maps [heads, n, n] of each layer]) of a run on one thread; `whole`: what the run printed
    instead of the ids alone."""
    run = headscope.json("run", folder, "--ids", ",".join(map(str, ids)), "--save", "logits,attention", "--out", out,
                         "--threads", 1, "--dtype", dtype, *options)
    with h5py.File(out) as file:
        maps = [file[f"attention/layer_{layer:03}"][()] for layer in range(len(file["attention"]))]
        return run if whole else run["ids"], file["logits"][()], maps
