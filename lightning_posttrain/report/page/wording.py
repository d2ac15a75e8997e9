"""Figures as the page writes them."""

from __future__ import annotations

from lightning_posttrain.core.output.quantities import duration, fixed
from lightning_posttrain.core.statistics.binomial import share_interval

DASH = "–"
NAMES = {
    "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "mcc": "Matthews correlation", "f1": "F1",
    "f1_macro": "macro F1", "f1_weighted": "weighted F1", "log_loss": "log loss", "ece": "calibration error",
    "auroc": "AUROC", "auroc_macro": "AUROC", "average_precision": "average precision",
    "average_precision_macro": "average precision", "top_5_accuracy": "top-5 accuracy",
    "exact_match": "all labels right", "hamming_accuracy": "labels right", "precision_macro": "macro precision",
    "recall_macro": "macro recall", "jaccard_macro": "mean IoU", "loss": "loss", "brier": "Brier score",
}  # fmt: skip


def percent(share: float | None, digits: int = 0) -> str:
    """A share in percent, which says 100 or 0 only of all and none.

    Example:
        >>> percent(0.634), percent(0.9996), percent(1.0), percent(None)
        ('63 %', '99.96 %', '100 %', '–')
    """
    if share is None:
        return DASH
    for more in range(digits, 4):
        said = fixed(100 * share, more)
        if share in (0.0, 1.0) or float(said) not in (0.0, 100.0):
            break
    return f"{said} %"


def between(low: float | None, high: float | None) -> str:
    """The ends of an interval of shares in percent.

    Example:
        >>> between(0.534, 0.601)
        '53 to 60 %'
    """
    if low is None or high is None:
        return ""
    first, last = percent(low), percent(high)
    return f"{first.removesuffix(' %')} to {last}"


def figure(value: float | None) -> str:
    """A figure with three decimals, a large one with fewer digits.

    Example:
        >>> figure(0.63056), figure(12.345), figure(1284.2), figure(None)
        ('0.631', '12.3', '1,284', '–')
    """
    if value is None:
        return DASH
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def took(seconds: float | None) -> str:
    """Seconds as people write them.

    Example:
        >>> took(0.0123), took(None)
        ('12.3 ms', '–')
    """
    return DASH if seconds is None else duration(seconds)


def plain(name: str) -> str:
    """A quantity's name in words.

    Example:
        >>> plain("f1_macro"), plain("calibration/brier")
        ('macro F1', 'calibration brier')
    """
    return NAMES.get(name, name.replace("_", " ").replace("/", " "))


def interval(hits: int, rows: int) -> tuple[float, float]:
    """The 95 % interval of a share (Clopper and Pearson)."""
    return share_interval(hits, rows) if rows else (0.0, 1.0)


def sentence(text: str) -> str:
    """Begins with a capital letter and ends with a full stop.

    Example:
        >>> sentence("none was found")
        'None was found.'
    """
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) or not text else ".")
