"""Saliency maps of a few samples, over the epochs, and how faithful each method is.

``run`` goes from chosen samples to maps, ``evolution`` follows maps over the epochs, ``faithfulness`` judges methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily
from lightning_posttrain.saliency.functional.faithfulness import infidelity, infidelity_of_hiding, max_sensitivity
from lightning_posttrain.saliency.functional.insertion import insertion_deletion
from lightning_posttrain.saliency.functional.maps import energy_share, pointing_game

if TYPE_CHECKING:
    from lightning_posttrain.saliency.callback import SaliencyMaps

__all__ = [
    "SaliencyMaps",
    "energy_share",
    "infidelity",
    "infidelity_of_hiding",
    "insertion_deletion",
    "max_sensitivity",
    "pointing_game",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.saliency.callback": [
            "SaliencyMaps",
        ],
    },
)
