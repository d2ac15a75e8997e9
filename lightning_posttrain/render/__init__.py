"""From results to artifacts. Nothing here shows, saves or logs."""

from lightning_posttrain.render.classification import class_table, overall_table
from lightning_posttrain.render.confusion import confusion_image
from lightning_posttrain.render.confusion_tables import confusion_table, labels_table, pairs_table
from lightning_posttrain.render.faithfulness import faithfulness_table
from lightning_posttrain.render.filmstrip import class_means_image, filmstrip_image
from lightning_posttrain.render.labels import labels_image
from lightning_posttrain.render.saliency import saliency_image, saliency_table

__all__ = [
    "class_means_image",
    "class_table",
    "confusion_image",
    "confusion_table",
    "faithfulness_table",
    "filmstrip_image",
    "labels_image",
    "labels_table",
    "overall_table",
    "pairs_table",
    "saliency_image",
    "saliency_table",
]
