"""Answers of made-up models, which drift as told."""

import numpy as np


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def classes(rng, rows, *, number=10, scale=2.0, shares=None):
    """As a classifier of single rows gives."""
    lean = np.log(np.ones(number) if shares is None else np.asarray(shares))
    said = softmax(scale * (rng.normal(size=(rows, number)) + lean))
    return said, said.argmax(axis=1)


def sure(rng, rows):
    """Half of the rows are tied at the highest confidence."""
    return classes(rng, rows, scale=60.0)


def hundred(rng, rows):
    """Some classes are a hundred times as frequent as others."""
    return classes(rng, rows, number=100, scale=1.5, shares=1 / np.arange(1, 101))


def withheld(rng, rows):
    """No answer where the model is unsure."""
    said, decision = classes(rng, rows)
    return said, np.where(said.max(axis=1) < 0.7, -1, decision)


def labels(rng, rows, *, level=-1.0):
    """Six labels that come together."""
    logits = level + 2 * rng.normal(size=(rows, 1)) + rng.normal(size=(rows, 6))
    said = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return said, (said >= 0.5).astype(np.int64)


def pictures(rng, rows, *, lean=0.0):
    """Three classes on 3 x 3 pixels, alike in one picture."""
    own = rng.normal(size=(rows, 3, 1, 1)) + np.array([lean, 0, 0])[:, None, None]
    said = softmax(3 * own + rng.normal(size=(rows, 3, 3, 3)))
    return said, said.argmax(axis=1)


MODELS = {
    "classes": (classes, "multiclass"),
    "sure": (sure, "multiclass"),
    "hundred": (hundred, "multiclass"),
    "withheld": (withheld, "multiclass"),
    "labels": (labels, "multilabel"),
    "pictures": (pictures, "multiclass"),
}
