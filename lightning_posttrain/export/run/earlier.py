"""An earlier export of the same weights, which a test compares in place of making another one."""

from __future__ import annotations

from typing import Any

import numpy as np

from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.hashes import check_folder
from lightning_posttrain.export.manifest import MANIFEST, Manifest
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.weights import TENSORS, Weights

NATIVE = "aoti"


def earlier(run: Context, weights: Weights, decision: Decision) -> Manifest | None:
    """The manifest of an earlier export of the same weights that decides in the same way; None where there is none."""
    if not (run.folder / MANIFEST).exists():
        return None
    try:
        found = check_folder(run.folder)
    except ValueError:  # it is damaged, or another's: who writes there will say so
        return None
    same = found.weights.get(TENSORS) == weights.tensors_sha256
    takes = (bool(found.weights.get("uint8")), found.decision.mean, found.decision.std)
    takes_the_same = takes == (run.settings.uint8, decision.mean, decision.std)
    covers = set(run.settings.formats) <= found.parity.keys()
    native = NATIVE in found.parity and NATIVE not in run.settings.formats  # to open it runs what is in it
    may_be = same and takes_the_same and covers and not native
    return found if may_be and _decides_alike(found.decision, decision) else None


def _decides_alike(known: Decision, now: Decision) -> bool:
    """Whether what callbacks know now is what was shipped; in a run without them, what was shipped is."""
    if (known.task, known.class_names) != (now.task, now.class_names):
        return False
    if now.calibration is None and now.thresholds is None and now.confidence is None:
        return True
    same = (known.thresholds, known.confidence) == (now.thresholds, now.confidence)
    return same and _calibrated_alike(known, now)


def _calibrated_alike(known: Decision, now: Decision) -> bool:
    if known.calibration is None or now.calibration is None:
        return known.calibration is now.calibration
    shipped, fitted = known.calibration["parameters"], now.calibration["parameters"]
    same = (known.calibration["method"], shipped.keys()) == (now.calibration["method"], fitted.keys())
    return same and all(_is_near(shipped[name], fitted[name]) for name in shipped)


def _is_near(shipped: Any, fitted: Any) -> bool:
    one, other = np.asarray(shipped), np.asarray(fitted)
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-5))
