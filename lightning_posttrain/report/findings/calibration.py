"""Whether probabilities can be taken at their word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from lightning_posttrain.core.statistics.binomial import share_interval
from lightning_posttrain.report.findings.evidence import Evidence, Interval
from lightning_posttrain.report.findings.finding import ALPHA, Finding, Level
from lightning_posttrain.report.findings.wording import points, rows_of

DRAWS = 10_000
MATTERS, CLOSE = 0.01, 0.03
"""A distance of confidence and accuracy from which on it is warned of, and one that is good to stay below."""
FILES = ("calibration/reliability.png", "calibration.json")


class Binned(NamedTuple):
    """Rows by confidence in the answer, in bins that hold some.

    Args:
        rows, sure, right: how many, the sum of their confidence, and how many are right ``(B,)``.
    """

    rows: NDArray[np.int64]
    sure: NDArray[np.float64]
    right: NDArray[np.int64]


@final
class Trust:
    """How confidence and accuracy lie to each other, from binned rows.

    The test draws labels anew under the model's own probabilities: in each bin as many are right as a binomial
    distribution of its mean confidence has it, which spreads no less than the rows' own probabilities do.

    Args:
        binned: the rows.
    """

    def __init__(self, binned: Binned) -> None:
        self.rows, hits = int(binned.rows.sum()), int(binned.right.sum())
        self.sure, self.right = float(binned.sure.sum() / self.rows), hits / self.rows
        low, high = share_interval(hits, self.rows)
        self.ends: Interval = (self.sure - high, self.sure - low)
        self.apart = self.sure - self.right
        self.ece = float(np.abs(binned.right - binned.sure).sum() / self.rows)
        drawn = np.random.default_rng(0).binomial(
            binned.rows, np.clip(binned.sure / binned.rows, 0, 1), (DRAWS, len(binned.rows))
        )
        shifts = np.abs(drawn.sum(axis=1) - binned.sure.sum())
        self.p_shift = _share(shifts, abs(hits - binned.sure.sum()))
        self.p_ece = _share(np.abs(drawn - binned.sure).sum(axis=1), np.abs(binned.right - binned.sure).sum())

    @property
    def shifted(self) -> bool:
        """Whether it is too sure, or not sure enough, on the whole."""
        return self.p_shift <= ALPHA / 2 and self.ends[0] * self.ends[1] > 0

    @property
    def bent(self) -> bool:
        """Whether confidence and accuracy differ in places."""
        return self.p_ece <= ALPHA / 2

    @property
    def worst(self) -> float:
        """What the mean distance can be at most, at 95 %."""
        return max(map(abs, self.ends))


def _share(drawn: NDArray[Any], seen: float) -> float:
    return (1 + int((drawn >= seen - 1e-9).sum())) / (1 + DRAWS)


def binned(figures: Mapping[str, Any], *, of_one: bool) -> Binned:
    """The bins of a record; of a task between two classes they are of class 1, and are mirrored below 0.5."""
    kept = [k for k, rows in enumerate(figures["rows"]) if rows]
    rows = np.array([figures["rows"][k] for k in kept], np.int64)
    said, true = (np.array([figures[name][k] for k in kept], float) for name in ("confidence", "accuracy"))
    right = np.rint(true * rows).astype(np.int64)
    other = (said < 0.5) & of_one
    return Binned(rows, np.where(other, 1 - said, said) * rows, np.where(other, rows - right, right))


def _before_and_after(evidence: Evidence) -> tuple[Trust | None, Trust | None]:
    """Of the model's own probabilities and of the adjusted ones; None where rows are dependent, few or not there."""
    record = evidence.record("calibration")
    if not record or evidence.classes is None or not evidence.conclusive:
        return None, None
    parts = (record["before"], record.get("after"))
    before, after = (binned(part, of_one=_of_one(evidence)) if part else None for part in parts)
    return tuple(Trust(one) if one is not None and len(one.rows) else None for one in (before, after))  # type: ignore[return-value]


def _of_one(evidence: Evidence) -> bool:
    return evidence.classes is not None and len(evidence.classes.names) == 2


def _said(evidence: Evidence, trust: Trust) -> str:
    """What was said and what came true; of two classes the answer is the one that a bin as a whole leans to."""
    came = "that comes true" if _of_one(evidence) else "is right"
    return f"says {100 * trust.sure:.1f} % on average and {came} in {100 * trust.right:.1f} % of {rows_of(trust.rows)}"


def calibration(evidence: Evidence) -> Finding | None:
    """Whether it is too sure or not sure enough: a test with labels drawn under its own probabilities, then the size.

    Each of two tests, of the mean distance and of the calibration error, is at 0.5 %.
    """
    trust, _ = _before_and_after(evidence)
    if trust is None:
        return None
    said = f"it {_said(evidence, trust)}"
    numbers = {"confidence": trust.sure, "accuracy": trust.right, "ece": trust.ece, "rows": trust.rows}
    numbers.update(p_shift=trust.p_shift, p_ece=trust.p_ece, low=trust.ends[0], high=trust.ends[1])
    text, level = _verdict(trust, said)
    return Finding(text, "calibration", level, "believed", evidence.file(*FILES), numbers)


def _verdict(trust: Trust, said: str) -> tuple[str, Level]:
    if trust.shifted:
        way = "Too sure of itself (overconfident)" if trust.apart > 0 else "Not sure enough (underconfident)"
        low, high = sorted(100 * abs(end) for end in trust.ends)
        matters = abs(trust.apart) >= MATTERS
        text = f"{way}: {said} ({points(abs(trust.apart))}, 95 % interval {low:.1f} to {high:.1f})."
    elif trust.bent:
        matters = trust.ece >= MATTERS
        text = (
            f"Probabilities are off in places, too high in some and too low in others: on {rows_of(trust.rows)} they "
            f"lie {points(trust.ece)} from how often they come true (ECE), more than chance has it (test at 0.5 %)."
        )
    else:
        most = f"at most {points(trust.worst)} off on average (95 %)"
        text = f"Its probabilities are not shown to be off: {said}, {most}."
        return text, "good" if trust.worst <= CLOSE else "info"
    return text, "warn" if matters else "info"


def adjustment(evidence: Evidence) -> Finding | None:
    """What an adjustment, as a temperature, did about probabilities that are off."""
    before, after = _before_and_after(evidence)
    if before is None or after is None or not (before.shifted or before.bent):
        return None
    record = evidence.record("calibration")
    method = _method(record)
    if not record.get("kept"):
        reason = f": {record['reason']}" if record.get("reason") else ""
        text = f"{method} does not mend that and is not kept{reason}."
        return Finding(text, "adjustment", "info", "believed", evidence.file(*FILES))
    still = after.shifted or after.bent
    where = "on validation, judged on other rows" if record.get("held_out") else "on validation"
    verdict = "that is still off" if still else f"no distance is shown any more, at most {points(after.worst)} (95 %)"
    text = (
        f"{method}, fitted {where}, {'does not mend all of that' if still else 'mends that'}: with it the model "
        f"{_said(evidence, after)}; {verdict}. Calibration error (ECE) {points(before.ece)} before, "
        f"{points(after.ece)} after."
    )
    level: Level = "info" if still else "good"
    numbers = {"ece_before": before.ece, "ece_after": after.ece, "rows": after.rows}
    return Finding(text, "adjustment", level, "believed", evidence.file(*FILES), numbers)


def _method(record: Mapping[str, Any]) -> str:
    """An adjustment and its number, as ``"Temperature 1.83"``."""
    name = str(record.get("method") or "The adjustment").replace("_", " ")
    value = (record.get("parameters") or {}).get(record.get("method") or "")
    return f"{name[0].upper()}{name[1:]}" + ("" if value is None else f" {value:.2f}")
