"""Explanations of a black box: LIME, SHAP, Banzhaf values, RISE, Anchors, and a tree that imitates the model.

``perturbation`` has the methods that hide parts of an input, ``anchors`` the search for rules, ``functional`` their
mathematics; ``run`` and ``surrogate_fit`` ask the model for the callbacks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily
from lightning_posttrain.explanations.anchors.anchor import anchor
from lightning_posttrain.explanations.perturbation.cooperative_game import Game
from lightning_posttrain.explanations.perturbation.lime import lime
from lightning_posttrain.explanations.perturbation.masking import hidden_of
from lightning_posttrain.explanations.perturbation.segments import parts_of
from lightning_posttrain.explanations.perturbation.shapley import shapley

if TYPE_CHECKING:
    from lightning_posttrain.explanations.callback.explanations import Explanations
    from lightning_posttrain.explanations.callback.surrogate import Surrogate

__all__ = [
    "Explanations",
    "Game",
    "Surrogate",
    "anchor",
    "hidden_of",
    "lime",
    "parts_of",
    "shapley",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.explanations.callback.explanations": [
            "Explanations",
        ],
        "lightning_posttrain.explanations.callback.surrogate": [
            "Surrogate",
        ],
    },
)
