"""Whether an exported model is kept, and if not, why and what to change."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, final

from lightning_posttrain.core.statistics.binomial import upper_bound
from lightning_posttrain.export.parity.counts import MOST_MARGINS, ParityCounts
from lightning_posttrain.export.parity.tolerance import Tolerance

GAIN = 0.95
"""Time or size, as a share of the other's, above which nothing is gained."""
_EVAL = "Call `eval()` on the module, see that nothing in `forward` is random, and export the weights that were tested"


class Verdict(NamedTuple):
    """Whether a format is kept, and why: a sentence without a full stop at its end."""

    kept: bool
    reason: str


class Gain(NamedTuple):
    """What a smaller precision takes, in time and bytes, as a share of what the format in float32 takes."""

    latency: float
    size: float


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of an exported model.

    Args:
        counts: its answers, compared with those of the tested model.
        tolerance: what is allowed.
        suspicions: what in its graph does not belong there, each with what to change.
        refusals: of ``check_batches``.
        metrics: by figure, of the tested model and of the exported one.
        first_apart: the first layer that gives something else, with by how much, or None.
        gain: where a smaller precision is to be worth it.
    """

    counts: ParityCounts
    tolerance: Tolerance
    suspicions: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    first_apart: str | None = None
    gain: Gain | None = None


def decide(evidence: Evidence) -> Verdict:
    """Keep an exported model only if it gives the answers that were tested.

    It is refused, and the first reason is said, where

    1. its graph has what does not belong into one that is served, as a dropout in training mode;
    2. a batch size fails, or rows influence each other;
    3. no row was compared, or answers are not finite;
    4. a decision flips that is no tie;
    5. a probability differs by more than its precision and the noise of batch sizes allow;
    6. a figure of the report changes by more than is allowed: of int8 the share of right decisions, whose 95 % interval
       must lie above that; without targets, the share of flipped rows, whose bound must lie below it;
    7. int8 is neither faster nor smaller.

    Args:
        evidence: what is known of it.

    Example:
        >>> decide(Evidence(ParityCounts(), Tolerance.of("float32"), suspicions=("dropout in training mode",))).kept
        False
    """
    for check in CHECKS:
        reason = check(evidence)
        if reason:
            return Verdict(False, reason)
    return Verdict(True, "it gives the answers that were tested")


def _suspicious(evidence: Evidence) -> str:
    return _first_and_number(evidence.suspicions)


def _first_and_number(said: tuple[str, ...]) -> str:
    if not said:
        return ""
    return said[0].rstrip(".") + (f" (and {len(said) - 1} more)" if len(said) > 1 else "")


def _batches(evidence: Evidence) -> str:
    return _first_and_number(evidence.refusals)


def _noisy(evidence: Evidence) -> str:
    found = evidence.tolerance
    if not found.noisy:
        return ""
    by = f"by {found.noise:.2g}" if math.isfinite(found.noise) else "and is not finite"
    return (
        f"the tested model itself answers a row otherwise when it is alone, {by}: rows influence each other, or it "
        f"draws random numbers. {_EVAL}"
    )


def _nothing(evidence: Evidence) -> str:
    return "" if evidence.counts.rows else "no row was compared. Keep rows of validation, or run `trainer.test`"


def _not_finite(evidence: Evidence) -> str:
    counts = evidence.counts
    if not counts.non_finite and not counts.tested_non_finite:
        return ""
    if counts.tested_non_finite:
        return (
            f"{_number(counts.tested_non_finite, 'probability', 'probabilities')} of the tested model "
            f"{_are(counts.tested_non_finite)} not finite. Find the rows, and what divides by 0 or takes a log of it"
        )
    narrow = "Export in float32" if evidence.tolerance.precision != "float32" else "Bound what divides or takes a log"
    number = f"{_number(counts.non_finite, 'probability', 'probabilities')} {_are(counts.non_finite)}"
    return f"{number} not finite, where those of the tested model are. {_place(evidence)}{narrow}"


def _flips(evidence: Evidence) -> str:
    counts, found = evidence.counts, evidence.counts.no_ties
    if not found:
        return ""
    least = "at least " if found == MOST_MARGINS else ""
    number = f"{found:,} of {_number(counts.decisions, 'decision', 'decisions')}"
    return (
        f"{least}{number} {'flips' if found == 1 else 'flip'} without being {'a tie' if found == 1 else 'ties'}: "
        f"the largest difference of a probability is {counts.largest:.2g}. {_place(evidence)}{_EVAL}"
    )


def _differences(evidence: Evidence) -> str:
    counts, allowed = evidence.counts, evidence.tolerance.largest
    if counts.largest <= allowed:
        return ""
    return f"a probability differs by {counts.largest:.2g}, above {allowed:.2g}. {_place(evidence)}{_EVAL}"


def _place(evidence: Evidence) -> str:
    return f"The first layer apart is {evidence.first_apart}. " if evidence.first_apart else ""


def _figures(evidence: Evidence) -> str:
    if evidence.tolerance.precision == "int8":
        return _right_decisions(evidence)
    ties = evidence.counts.flipped_rows / evidence.counts.rows
    for name, (tested, exported) in evidence.metrics.items():
        allowed = evidence.tolerance.change * max(1.0, abs(tested)) + ties
        if math.isnan(tested) and math.isnan(exported):
            continue
        if tested != exported and not abs(exported - tested) <= allowed:
            return (
                f"{name} is {_figure(exported)}, {_figure(tested)} of the tested model, so more than {allowed:.2g} "
                "apart. Compare the probabilities of rows whose figures differ"
            )
    return ""


def _right_decisions(evidence: Evidence) -> str:
    counts, allowed = evidence.counts, evidence.tolerance.change
    change, points = counts.change, f"{100 * allowed:.3g} percentage point{'s' if allowed != 0.01 else ''}"
    more = "Compare more rows, calibrate it with more, or export in float32"
    if change is not None and not change.low >= -allowed:
        return (
            f"the share of right decisions changes by {100 * change.value:+.2g} points "
            f"({100 * change.low:+.2g} to {100 * change.high:+.2g}): a loss of {points} is not excluded. {more}"
        )
    bound = upper_bound(counts.flipped_rows, counts.rows)
    if change is None and not bound <= allowed:
        number = _number(counts.rows, "row", "rows")
        return (
            f"decisions flip in {counts.flipped_rows:,} of {number}, so in up to {100 * bound:.2g} %: a loss of "
            f"{points} is not excluded. {more}"
        )
    return ""


def _no_gain(evidence: Evidence) -> str:
    gain = evidence.gain
    if gain is None or gain.latency <= GAIN or gain.size <= GAIN:
        return ""
    return (
        f"no gain: {gain.latency:.2g} times the latency and {gain.size:.2g} times the bytes of float32. Ship the "
        "format in float32"
    )


def _number(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _figure(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "not defined"


CHECKS: tuple[Callable[[Evidence], str], ...] = (
    _suspicious, _batches, _nothing, _not_finite, _noisy, _flips, _differences, _figures, _no_gain,
)  # fmt: skip
"""In their order; each gives a reason, or nothing."""
