"""Any torchmetrics metric as a callback: copied, updated, summed over ranks, shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_posttrain.core.lazy import lazily

if TYPE_CHECKING:
    from lightning_posttrain.torchmetrics.callback import TorchMetrics

__all__ = [
    "TorchMetrics",
]

__getattr__ = lazily(
    __name__,
    {
        "lightning_posttrain.torchmetrics.callback": [
            "TorchMetrics",
        ],
    },
)
