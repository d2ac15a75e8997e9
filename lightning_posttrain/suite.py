"""The suite: one line for a Trainer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypedDict

from typing_extensions import Unpack

from lightning_posttrain.calibration import Calibration
from lightning_posttrain.classification import ClassificationMetrics, ConfusionMatrix, ScoreCurves, ShownOptions
from lightning_posttrain.core.callback.charts import patterns
from lightning_posttrain.core.callback.options import split
from lightning_posttrain.hard_examples import HardExamples
from lightning_posttrain.saliency import SaliencyMaps
from lightning_posttrain.samples.inputs import InputOptions
from lightning_posttrain.thresholds import DecisionThresholds

MEMBERS = (
    ClassificationMetrics,
    ConfusionMatrix,
    ScoreCurves,
    Calibration,
    DecisionThresholds,
    HardExamples,
    SaliencyMaps,
)


class BetaOptions(TypedDict, total=False):
    """What callbacks with an F-beta take: ``beta``, the weight of recall in it."""

    beta: float


class SuiteOptions(ShownOptions, BetaOptions, total=False):
    """Every option that more than one member of the suite takes."""


def posttrain_suite(**options: Unpack[SuiteOptions]) -> list[Any]:
    """The callbacks that a classifier wants, with working defaults.

    Nothing needs to be said: the number of classes, their names (from the dataset's ``classes``) and the image
    layout are told from the first batch, before training where Lightning's sanity check runs.

    Args:
        **options: ``class_names``, ``num_classes``, ``task`` (``"multiclass"``, ``"binary"`` or ``"multilabel"``),
            ``scores`` (``"logits"`` or ``"probabilities"``), ``scores_fn(outputs, batch)``, ``target_fn(batch)``,
            ``inputs_fn(batch)``, ``ignore_index``, ``stages`` (of ``"train"``, ``"val"`` and ``"test"``), ``on_error``
            (``"warn"`` or ``"raise"``), ``pictures_every`` (how often loggers get pictures), ``log`` (which scalars
            loggers get, as ``["per_class/recall/*", "hirescam/drift"]``; a callback that it does not name logs its
            usual ones), which all take, see ``StreamCallback``; ``kind``, ``mean``, ``std``, ``bands``, ``names``,
            ``words``, ``display_fn``, how inputs look, for those that show samples, see ``InputOptions``; ``beta``,
            the weight of recall in F-beta; ``max_overhead``, the share of a fit's seconds that pictures, tables,
            intervals and explanations of all of them take together, 0.1 where nothing is said.

    Returns:
        ``ClassificationMetrics``, ``ConfusionMatrix``, ``ScoreCurves``, ``Calibration``, ``DecisionThresholds``,
        ``HardExamples`` and ``SaliencyMaps``; take the list apart to set their own arguments.

    Raises:
        TypeError: an option is of one member alone, or of none.

    Example:
        >>> [type(callback).__name__ for callback in posttrain_suite(mean=[0.5], std=[0.25])[3:]]
        ['Calibration', 'DecisionThresholds', 'HardExamples', 'SaliencyMaps']
    """
    for option in options:
        if option not in SuiteOptions.__annotations__:
            raise TypeError(f"posttrain_suite takes no `{option}`; {_who_takes(option, options)}")
    log = patterns(options.pop("log", None))
    shown, beta, common = split(options, InputOptions, BetaOptions)
    return [
        ClassificationMetrics(**beta, **common, log=_of(ClassificationMetrics, log)),
        ConfusionMatrix(**common),
        ScoreCurves(**common),
        Calibration(**common, log=_of(Calibration, log)),
        DecisionThresholds(**beta, **common, log=_of(DecisionThresholds, log)),
        HardExamples(**shown, **common),
        SaliencyMaps(**shown, **common, log=_of(SaliencyMaps, log)),
    ]


def _of(kind: type, log: tuple[str, ...] | None) -> list[str] | None:
    """Those of the patterns that mean scalars of a callback; None where none does, and it logs its usual ones."""
    own = [one for one in log or () if one == "*" or _owner(one) is kind]
    return own if own or log == () else None


def _owner(pattern: str) -> type:
    """Whose scalars have such names: figures, of classes too; those behind a tag; or those of a method of saliency."""
    first, slash, _ = pattern.partition("/")
    tagged: dict[str, type] = {one.tag: one for one in (Calibration, DecisionThresholds)}
    return tagged.get(first, SaliencyMaps) if slash and first != "per_class" else ClassificationMetrics


def _who_takes(option: str, options: Mapping[str, object]) -> str:
    """Where an option belongs, in the words of an error."""
    owners = [kind.__name__ for kind in MEMBERS if option in inspect.signature(kind).parameters]
    if owners:
        own = f"{owners[0]}({option}={options[option]!r})"
        return f"it is {owners[0]}'s own. Pass it there: {own} in place of the suite's."
    near = get_close_matches(option, SuiteOptions.__annotations__, 1)
    return (
        f"did you mean `{near[0]}`?" if near else f"wanted some of {', '.join(sorted(SuiteOptions.__annotations__))}."
    )
