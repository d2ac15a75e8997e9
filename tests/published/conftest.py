"""torchvision as the registry has it: beside a torch without CUDA, its compiled part cannot be loaded."""

import os
from importlib.util import find_spec
from pathlib import Path

import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a network that would load weights fails, and does not wait


def _loads(folder):
    try:
        for library in folder.glob("_C*.so"):
            torch.ops.load_library(library)
    except OSError:
        return False
    return True


def _nms(boxes, scores, iou_threshold):
    """Boxes that no better one overlaps by more than ``iou_threshold``, best first."""
    kept, left = [], scores.argsort(descending=True)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        low, high = boxes[left, :2].maximum(boxes[best, :2]), boxes[left, 2:].minimum(boxes[best, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        left = left[shared <= iou_threshold * (areas[left] + areas[best] - shared)]
    return torch.stack(kept) if kept else left


def _stand_in():
    """The two operators whose absence fails the import, for as long as the library lives."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _nms, "CPU")
    import torchvision

    torchvision.ops.boxes._assert_has_ops = lambda: None
    return library


SPEC = find_spec("torchvision")
STAND_IN = None if SPEC is None or _loads(Path(SPEC.origin).parent) else _stand_in()
