"""What each level of a network sees: channels of one layer for each resolution, over the epochs.

``trace`` notes the calls of a forward, ``stages`` chooses among them, ``functional`` has the figures, ``run`` goes from
chosen samples to maps, and ``followed`` keeps channels and colours in their places from epoch to epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily
from lightning_posttrain.feature_maps.functional import effective_rank
from lightning_posttrain.feature_maps.result import FeatureMapsResult

if TYPE_CHECKING:
    from lightning_posttrain.feature_maps.callback import FeatureMaps

__all__ = [
    "FeatureMaps",
    "FeatureMapsResult",
    "effective_rank",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.feature_maps.callback": [
            "FeatureMaps",
        ],
    },
)
