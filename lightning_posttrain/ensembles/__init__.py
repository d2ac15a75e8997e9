"""Ensembles: several networks that answer as one, and drivers that train them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily

if TYPE_CHECKING:
    from lightning_posttrain.ensembles.drivers.bagging import Bagging
    from lightning_posttrain.ensembles.drivers.boosting import Boosting
    from lightning_posttrain.ensembles.drivers.seeds import Seeds

__all__ = [
    "Bagging",
    "Boosting",
    "Seeds",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.ensembles.drivers.bagging": [
            "Bagging",
        ],
        "lightning_posttrain.ensembles.drivers.boosting": [
            "Boosting",
        ],
        "lightning_posttrain.ensembles.drivers.seeds": [
            "Seeds",
        ],
    },
)
