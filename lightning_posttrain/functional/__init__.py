"""Tensors in, tensors or results out: no state, no files, no Lightning."""

from lightning_posttrain.functional.classification import classification_report
from lightning_posttrain.functional.confusion import add_confusion, most_confused
from lightning_posttrain.functional.images import channel_dim, is_image, to_display

__all__ = [
    "add_confusion",
    "channel_dim",
    "classification_report",
    "is_image",
    "most_confused",
    "to_display",
]
