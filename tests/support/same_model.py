"""Runs of two checkpoints that should be one model in other words."""

import dataclasses

import h5py
import numpy as np
from attention_numbers import worst_difference
from rebuilt_maps import text
from saved_run import logits_and_maps
from sharing_models import VOCAB

LOGITS, MAPS = 1e-5, 2e-5  # of the logits' range; of a weight: sums in another order
TOKENS = 40
IDS = np.random.default_rng(5).integers(VOCAB, size=TOKENS).tolist()


@dataclasses.dataclass
class Outcome:
    logits: np.ndarray
    maps: list
    used: list  # bytes of each layer's cache
    variant: str

    @property
    def total(self):
        return sum(self.used)


def outcome(headscope, folder):
    """In chunks, so that most keys and values come from the cache."""
    out = folder.parent / f"{folder.name}.h5"
    run, logits, maps = logits_and_maps(headscope, folder, IDS, out, "--chunk", 11, whole=True)
    with h5py.File(out) as file:
        return Outcome(logits, maps, run["kv_bytes_used"], text(file.attrs["variant"]))


def distance(a, b):
    """(logits as a share of their range, maps) of two outcomes."""
    span = b.logits.max() - b.logits.min()
    return (worst_difference(a.logits, b.logits) / span,
            max(worst_difference(one, other) for one, other in zip(a.maps, b.maps, strict=True)))


def require_same(a, b, logits=LOGITS, maps=MAPS):
    found = distance(a, b)
    assert found[0] <= logits and found[1] <= maps, f"logits differ by {found[0]:.1e} of their range, maps by {found[1]:.1e}"
