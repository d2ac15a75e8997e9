"""An earlier export of the same weights, which a test compares in place of making another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lightning_posttrain.core.callback.fitted_on_validation import same_marks
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.hashes import check_folder
from lightning_posttrain.export.manifest import MANIFEST, Manifest
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.fitted import Fitted
from lightning_posttrain.export.run.shipping import MARK


def earlier(run: Context, mark: list[float], decision: Decision, fitted: Fitted) -> Manifest | None:
    """The manifest of an earlier export of the same weights that decides in the same way; None where there is none."""
    if not (run.folder / MANIFEST).exists():
        return None
    found, settings = check_folder(run.folder), run.settings
    same = same_marks(found.weights.get(MARK, ()), mark) and bool(found.weights.get(MARK) or not mark)
    asks = bool(found.weights.get("uint8")) == settings.uint8 and (found.decision.mean, found.decision.std) == (
        decision.mean, decision.std,
    )  # fmt: skip
    covers = set(settings.formats) <= found.parity.keys()
    return found if same and asks and covers and _decides_alike(found.decision, decision, fitted) else None


def _decides_alike(known: Decision, now: Decision, fitted: Fitted) -> bool:
    """Whether what callbacks know now is what was shipped; in a run without them, what was shipped is."""
    if (known.task, known.class_names) != (now.task, now.class_names):
        return False
    knows = fitted.calibrator is not None or now.thresholds is not None or now.confidence is not None
    if not knows:
        return True
    same = (known.thresholds, known.confidence) == (now.thresholds, now.confidence)
    return same and _is_same_calibration(known.calibration, fitted.calibration)


def _is_same_calibration(shipped: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> bool:
    if shipped is None or now is None:
        return shipped is now
    pairs = [(np.asarray(value), np.asarray(now["state"].get(name))) for name, value in shipped["parameters"].items()]
    alike = (one.shape == other.shape and np.allclose(one, other, rtol=1e-5) for one, other in pairs)
    return shipped["method"] == now["method"] and all(alike)
