"""How far the explanations of a sample can be trusted, in words."""

from __future__ import annotations

import math

from lightning_posttrain.explanations.result.interpretation import LimeWeights, ShapleyValues
from lightning_posttrain.explanations.result.rule import Rule

FITS = 0.2
"""R² below which a linear model says nothing of the output."""
NOISY = 0.2
"""Share of the largest Shapley value from which on a standard error is too large."""


def of_lime(lime: LimeWeights, k: int) -> tuple[str, str]:
    """A remark on the linear model of sample ``k``, and a reason not to read it; one of the two is "".

    Nothing is said where the output does not vary, so that there is nothing to fit.
    """
    fit, spread = float(lime.fit[k]), float(lime.spread[k])
    if math.isnan(fit):
        return "", ""
    if fit < FITS:
        return "", f"LIME R² {math.floor(100 * fit) / 100:.2f}: the linear model does not fit, do not read it"
    if math.isnan(spread):
        return f"LIME R² {fit:.2f}", ""
    other = f"another seed within {math.ceil(100 * spread - 1e-6)}%" if spread else "the same with any seed"
    return f"LIME R² {fit:.2f}, {other}", ""


def of_shap(shap: ShapleyValues, k: int) -> str:
    """A reason not to trust the Shapley values of sample ``k``: their largest standard error; or ""."""
    largest, error = float(shap.values[k].abs().max()), float(shap.errors[k].max())
    if math.isnan(error):
        return "SHAP: too few perturbed copies to tell how exact it is"
    if error <= NOISY * largest:
        return ""
    large = f"an error of {error / largest:.0%} of the largest value" if error < largest else "errors above its values"
    return f"SHAP: {large}: raise `perturbations`"


def of_rule(rule: Rule) -> str:
    """A reason not to rely on a rule of parts whose map is drawn; or ""."""
    if rule.valid or not rule.found:
        return ""
    return f"Anchors: not sure enough, {rule.precision:.0%} of copies keep the class"
