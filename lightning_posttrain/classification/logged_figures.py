"""Figures of a classification report by name or pattern: which are logged for curves and monitors."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches

from lightning_posttrain.classification.result.report import OF_A_CLASS, ClassificationReport
from lightning_posttrain.classification.tasks import Task
from lightning_posttrain.core.callback.charts import means

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

CHARTED: dict[Task, tuple[str, ...]] = {
    "multiclass": ("accuracy", "balanced_accuracy", "f*_macro", "auroc_macro", "log_loss", "ece"),
    "binary": ("accuracy", "precision", "recall", "f?", "f?.?", "auroc", "log_loss", "ece"),
    "multilabel": ("accuracy", "hamming_loss", "f*_macro", "auroc_macro", "log_loss"),
}
"""Those of them that are for charts."""
LARGEST_DOUBT = 1e-3
"""By how much a logged figure may be off without a warning."""


def usual(task: Task, report: ClassificationReport) -> tuple[str, ...]:
    """Those for charts, of a segmentation also the mean intersection over union, which it is known by."""
    return (*CHARTED[task], *(("jaccard_macro",) if report.positions else ()))


def matching(patterns: Sequence[str], report: ClassificationReport) -> dict[str, float]:
    """Those figures of a report that a pattern fits.

    Example:
        >>> import torch
        >>> report = ClassificationReport(("cat",), torch.tensor([4]), {"accuracy": 0.5, "f1_macro": 0.4}, {})
        >>> matching(["f*_macro"], report)
        {'f1_macro': 0.4}
    """
    figures = report.figures() if any(map(_may_be_of_a_class, patterns)) else report.overall
    return {name: figures[name] for name in figures if any(means(one, name, figures) for one in patterns)}


def _may_be_of_a_class(pattern: str) -> bool:
    """Whether it can fit figures of classes, which are very many where classes are."""
    begin = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    return begin.startswith(OF_A_CLASS) or OF_A_CLASS.startswith(begin)


def doubtful(report: ClassificationReport, logged: Collection[str]) -> tuple[str, ...]:
    """A sentence on the logged figure that is known least, where it may be off by more than ``LARGEST_DOUBT``."""
    doubts = report.doubts(logged)
    off, name = max(((doubts.get(name, 0.0), name) for name in logged), default=(0.0, ""))
    if off <= LARGEST_DOUBT:
        return ()
    return (
        f"{name} is logged and known to within {off:.2g} only, as there were more scores than are kept; "
        "ClassificationMetrics(exact=True) keeps all",
    )


def check_patterns(
    patterns: Sequence[str], report: ClassificationReport, namings: Iterable[tuple[str, ...]] = ()
) -> None:
    """Raise ``ValueError`` for a pattern that fits no figure of a report; the error says which is close.

    Args:
        patterns: names, with ``*`` for any letters.
        report: one with all figures.
        namings: of its classes, as loaders have them.
    """
    known = list(report.overall)
    for names in dict.fromkeys(namings) if any(map(_may_be_of_a_class, patterns)) else ():
        known += list(replace(report, class_names=names).scalars())[len(report.overall) :]
    unknown = [pattern for pattern in patterns if not any(means(pattern, name, known) for name in known)]
    if unknown:
        each = [f"per_class/{name}/<class>" for name in report.per_class]
        whole = ", ".join([*report.overall, *each])
        raise ValueError(
            f"`log` has {unknown[0]!r}, which no figure is called.{_hint(unknown[0], known)} There are {whole}."
        )


def _hint(unknown: str, known: Sequence[str]) -> str:
    begin = [name for name in known if name.startswith(unknown)]
    close = begin[:1] or get_close_matches(unknown, known, 3)
    return f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
