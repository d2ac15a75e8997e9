"""Label errors: what each sample does over the epochs, and whose label is probably wrong (confident learning)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily
from lightning_posttrain.label_errors.functional.confident_learning import label_errors

if TYPE_CHECKING:
    from lightning_posttrain.label_errors.callback import LabelErrors

__all__ = [
    "LabelErrors",
    "label_errors",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.label_errors.callback": [
            "LabelErrors",
        ],
    },
)
