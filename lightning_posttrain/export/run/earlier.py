"""An earlier export of the same weights, which a test compares in place of making another one."""

from __future__ import annotations

import numpy as np

from lightning_posttrain.core.callback.fitted_on_validation import same_marks
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.hashes import check_folder
from lightning_posttrain.export.manifest import MANIFEST, Manifest
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.fitted import Fitted
from lightning_posttrain.export.run.shipping import MARK

NATIVE = "aoti"


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
    native = NATIVE in found.parity and NATIVE not in settings.formats  # to open it runs what is in it
    may_be = same and asks and covers and not native
    return found if may_be and _decides_alike(found.decision, decision, fitted) else None


def _decides_alike(known: Decision, now: Decision, fitted: Fitted) -> bool:
    """Whether what callbacks know now is what was shipped; in a run without them, what was shipped is."""
    if (known.task, known.class_names) != (now.task, now.class_names):
        return False
    knows = fitted.calibrator is not None or now.thresholds is not None or now.confidence is not None
    if not knows:
        return True
    state = None if fitted.calibration is None else fitted.calibration["state"]
    shipped = None if known.calibration is None else known.calibration["parameters"]
    same_state = (state is None) == (shipped is None) and (
        state is None or shipped is None or all(np.allclose(shipped[key], state[key], rtol=1e-5) for key in shipped)
    )
    return same_state and (known.thresholds, known.confidence) == (now.thresholds, now.confidence)
