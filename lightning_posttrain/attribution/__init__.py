"""Attribution methods, explanations of a black box, and the session that leaves the model as it was.

Gradient methods live here; ``lime``, ``shapley``, ``anchor`` and what they need live in ``explanations``, and have a
public name here too. A new method is a class with ``attribute`` in one of the files ``*_methods``, and a name in
``attribute.METHODS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.attribution.attribute import (
    METHODS,
    Attributed,
    as_method,
    as_methods,
    attribute,
    map_of,
    to_map,
    wanted,
)
from lightning_posttrain.attribution.baselines import Baseline, nothing_of
from lightning_posttrain.attribution.captum_methods import Captum
from lightning_posttrain.attribution.chunks import FORWARD, Chunks, OutOfTimeError
from lightning_posttrain.attribution.layers import Layout, find_cam_layer, layout, spread, to_maps
from lightning_posttrain.attribution.methods import Method
from lightning_posttrain.attribution.occlusion import Occlusion
from lightning_posttrain.attribution.path_methods import GradientShap, IntegratedGradients, SmoothGrad
from lightning_posttrain.attribution.problem import NotApplicableError, Problem, Score
from lightning_posttrain.attribution.rule_methods import LRP, DeepLift
from lightning_posttrain.attribution.rules.attention import AttentionRules
from lightning_posttrain.attribution.session import gradient_session
from lightning_posttrain.attribution.token_embeddings import embedded, score_of_embeddings
from lightning_posttrain.core.lazy import lazily

if TYPE_CHECKING:
    from lightning_posttrain.explanations import Game, anchor, hidden_of, lime, parts_of, shapley

__all__ = [
    "FORWARD",
    "LRP",
    "METHODS",
    "AttentionRules",
    "Attributed",
    "Baseline",
    "Captum",
    "Chunks",
    "DeepLift",
    "Game",
    "GradientShap",
    "IntegratedGradients",
    "Layout",
    "Method",
    "NotApplicableError",
    "Occlusion",
    "OutOfTimeError",
    "Problem",
    "Score",
    "SmoothGrad",
    "anchor",
    "as_method",
    "as_methods",
    "attribute",
    "embedded",
    "find_cam_layer",
    "gradient_session",
    "hidden_of",
    "layout",
    "lime",
    "map_of",
    "nothing_of",
    "parts_of",
    "score_of_embeddings",
    "shapley",
    "spread",
    "to_map",
    "to_maps",
    "wanted",
]

__getattr__ = lazily(
    __name__, {"lightning_posttrain.explanations": ["Game", "anchor", "hidden_of", "lime", "parts_of", "shapley"]}
)
