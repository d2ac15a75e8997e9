"""A small model with the face of ``export.load``'s, of NumPy alone."""

from types import SimpleNamespace

import numpy as np

from lightning_posttrain import export
from lightning_posttrain.export import Signature, TensorSpec
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.manifest import Manifest

NAMES = ("cat", "dog", "hen")
SIGNATURE = Signature(
    (TensorSpec("x", "float32", (None, 4)),),
    (TensorSpec("probabilities", "float32", (None, 3)), TensorSpec("decision", "int64", (None,))),
)
WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


class Predictor:
    signature = SIGNATURE
    decision = Decision("multiclass", NAMES, confidence=0.5)
    manifest = Manifest("Net", "2026-01-01T00:00:00Z", {}, SIGNATURE, decision)

    def __init__(self):
        self.batches = []

    def __call__(self, rows):
        x = self.signature.of(rows)["x"]
        self.batches.append(len(x))
        scores = np.exp(x @ WEIGHTS)
        said = scores / scores.sum(axis=1, keepdims=True)
        decision = np.where(said.max(axis=1) > 0.5, said.argmax(axis=1), -1)
        labels = [None if place < 0 else NAMES[place] for place in decision]
        return SimpleNamespace(labels=labels, probabilities=said, decision=decision)


def load(folder):
    return Predictor()


def install():
    """For a process that serves, and the workers that it starts."""
    export.load = load
