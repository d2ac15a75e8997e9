"""Keys and attributes under which steps and modules give class scores."""

from __future__ import annotations

from functools import partial

from lightning_posttrain.classification.tasks import ScoreKind
from lightning_posttrain.core.capture import leaves as outputs

SAID_KEYS: dict[ScoreKind, tuple[str, ...]] = {"logits": ("logits",), "probabilities": ("probabilities", "probs")}
"""Keys that say what stands under them."""
HINT_KEYS = ("scores", "y_hat", "preds", "predictions", "pred", "prediction")
"""Keys under which scores stand as a rule, but also confidences, classes or losses."""

_USUAL = (*(key for keys in SAID_KEYS.values() for key in keys), *HINT_KEYS)
leaves = partial(outputs.leaves, attributes=_USUAL)
named_parts = partial(outputs.named_parts, attributes=_USUAL)
