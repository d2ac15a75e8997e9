"""Answers of two models that differ by a little."""

import numpy as np

from lightning_posttrain.export.outputs import Outputs
from tests.export.folders import softmax


def answers(rows=40, classes=3, *, noise=0.01, seed=0, positions=(), task="multiclass"):
    """Of a tested model and of one that differs by noise, with targets."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, classes, *positions))
    pair = [logits, logits + noise * generator.normal(size=logits.shape)]
    if task == "multilabel":
        chances = [1 / (1 + np.exp(-one)) for one in pair]
        found = [Outputs(one.astype(np.float32), (one >= 0.5).astype(np.int64)) for one in chances]
        target = generator.integers(0, 2, size=logits.shape)
    else:
        chances = [softmax(one) for one in pair]
        found = [Outputs(one.astype(np.float32), one.argmax(1)) for one in chances]
        target = generator.integers(0, classes, size=(rows, *positions))
    return found[0], found[1], target


def part(outputs, rows):
    """Some rows of answers."""
    return Outputs(outputs.probabilities[rows], outputs.decision[rows])
