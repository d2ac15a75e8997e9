"""Figures of a classification report by name or pattern: which are logged for curves and monitors."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from lightning_posttrain.classification.result.report import ClassificationReport
from lightning_posttrain.classification.tasks import Task

LOGGED: dict[Task, tuple[str, ...]] = {
    "multiclass": ("accuracy", "balanced_accuracy", "f*_macro", "f*_weighted", "mcc", "auroc_macro", "log_loss", "ece"),
    "binary": (
        "accuracy", "balanced_accuracy", "precision", "recall", "f?", "f?.?", "mcc", "auroc", "average_precision",
        "log_loss", "ece",
    ),
    "multilabel": (
        "accuracy", "hamming_loss", "f*_macro", "f*_micro", "auroc_macro", "average_precision_macro", "log_loss",
    ),
}  # fmt: skip


def patterns_of(log: Sequence[str] | str | None, task: Task) -> tuple[str, ...]:
    """Names with ``*`` for any letters, as they were chosen, else a short set for the task."""
    if log is None:
        return LOGGED[task]
    return (log,) if isinstance(log, str) else tuple(log)


def matching(patterns: Sequence[str], report: ClassificationReport) -> dict[str, float]:
    """Those figures of a report that a pattern fits.

    Example:
        >>> import torch
        >>> report = ClassificationReport(("cat",), torch.tensor([4]), {"accuracy": 0.5, "f1_macro": 0.4}, {})
        >>> matching(["f*_macro"], report)
        {'f1_macro': 0.4}
    """
    figures = report.scalars()
    return {name: value for name, value in figures.items() if any(fnmatchcase(name, one) for one in patterns)}


def check_patterns(patterns: Sequence[str], report: ClassificationReport) -> None:
    """Raise ``ValueError`` for a pattern that fits no figure of a report; the error says which is close.

    Names of classes may come from the dataset, and are known at the end: figures of classes are not checked.
    """
    known = list(report.scalars())
    of_all = [name for name in patterns if not name.startswith("per_class/")]
    unknown = [name for name in of_all if not any(fnmatchcase(one, name) for one in known)]
    if unknown:
        hint = _hint(unknown[0], known)
        whole = ", ".join(name for name in known if not name.startswith("per_class/"))
        raise ValueError(f"`log` has {unknown[0]!r}, which no figure is called.{hint} There are {whole}.")


def _hint(unknown: str, known: Sequence[str]) -> str:
    begin = [name for name in known if name.startswith(unknown)]
    close = begin or get_close_matches(unknown, known, 1)
    return f" Did you mean {close[0]!r}?" if close else ""
