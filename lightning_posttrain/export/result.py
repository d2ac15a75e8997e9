"""What the parity of exported models amounts to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, final

from lightning_posttrain.core.output.columns import in_columns
from lightning_posttrain.core.output.quantities import size_words
from lightning_posttrain.core.output.result import Counted, undefined_to_none
from lightning_posttrain.core.statistics.binomial import upper_bound
from lightning_posttrain.core.statistics.latency import Latency
from lightning_posttrain.export.parity.change import Change
from lightning_posttrain.export.parity.decide import Evidence, Verdict
from lightning_posttrain.export.parity.tolerance import Precision
from lightning_posttrain.export.words import alert_of, figure, milliseconds, words_of


class Timed(NamedTuple):
    """Latencies of the tested model and of the exported one, for one batch size."""

    eager: Latency
    exported: Latency


@final
@dataclass(frozen=True, eq=False)
class FormatParity:
    """One format beside the model that was tested.

    Args:
        name: of the format, as ``"onnx"``.
        files: their names.
        kept: whether it gives the answers that were tested.
        reason: why, without a full stop.
        precision: that it computes in.
        stage: whose rows were compared, as ``"test"``.
        rows: how many.
        decisions: of these, one a row, or one for each label or position.
        flips: decisions that are others.
        flipped_rows: rows with a flip.
        largest: absolute difference of a probability; NaN where none was compared.
        mean: of all.
        tolerance: that ``largest`` was allowed; infinite where it does not decide.
        noise: what the tested model differs from itself by at other batch sizes.
        change: of the share of right decisions, with a 95 % interval, or None.
        spread: rows by their largest difference, as ``ParityCounts.spread``.
        first_apart: the first layer that gives something else, or None.
        metrics: by figure, of the tested model and of the exported one.
        latency: by batch size.
        bytes: of all its files.
        against: what it was compared with, where it is not the model in float32.
    """

    name: str
    files: tuple[str, ...]
    kept: bool
    reason: str
    precision: Precision = "float32"
    stage: str = ""
    rows: int = 0
    decisions: int = 0
    flips: int = 0
    flipped_rows: int = 0
    largest: float = math.nan
    mean: float = math.nan
    tolerance: float = math.nan
    noise: float = math.nan
    change: Change | None = None
    spread: tuple[int, ...] = ()
    first_apart: str | None = None
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    latency: Mapping[int, Timed] = field(default_factory=dict)
    bytes: int = 0
    against: str = ""

    @classmethod
    def of(
        cls, evidence: Evidence, verdict: Verdict, *, name: str, files: tuple[str, ...], stage: str, bytes: int,  # noqa: A002
        latency: Mapping[int, Timed] | None = None, against: str = "",
    ) -> FormatParity:  # fmt: skip
        """From what is known of it and what was decided."""
        counts, allowed = evidence.counts, evidence.tolerance
        return cls(
            name, files, verdict.kept, verdict.reason, allowed.precision, stage, counts.rows, counts.decisions,
            counts.flips, counts.flipped_rows, counts.largest if counts.values else math.nan, counts.mean,
            allowed.largest, allowed.noise, counts.change, tuple(counts.spread.tolist()), evidence.first_apart,
            dict(evidence.metrics), dict(latency or {}), bytes, against,
        )  # fmt: skip

    @property
    def flips_bound(self) -> float:
        """The share of rows with a flip that is exceeded with 5 % at most; about 3 / rows where there is none.

        By Clopper and Pearson, 1934, doi:10.1093/biomet/26.4.404; NaN without rows. It is of rows, as the positions of
        one are not independent.
        """
        return upper_bound(self.flipped_rows, self.rows)

    @property
    def latency_ratio(self) -> float:
        """Median latency at the smallest batch size, as a share of the tested model's; NaN where it was not timed."""
        if not self.latency:
            return math.nan
        timed = self.latency[min(self.latency)]
        return timed.exported.median / timed.eager.median if timed.eager.median else math.nan

    @property
    def words(self) -> str:
        """What it amounts to, in a sentence without a full stop."""
        return words_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON takes; NaN and infinities are None."""
        plain: dict[str, Any] = undefined_to_none({part.name: getattr(self, part.name) for part in fields(self)})
        timed = {
            str(size): {"eager": one.eager.to_dict(), "exported": one.exported.to_dict()}
            for size, one in self.latency.items()
        }
        change = None if self.change is None else self.change._asdict()
        bound = undefined_to_none(self.flips_bound)
        return {**plain, "latency": timed, "change": change, "flips_bound": bound, "words": self.words}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> FormatParity:
        """What ``to_dict`` gave; figures that were None are NaN, a tolerance that was none is infinite."""
        kept = {part.name: state[part.name] for part in fields(cls)}
        for name in ("largest", "mean", "noise"):
            kept[name] = _number(kept[name])
        kept["tolerance"] = math.inf if kept["tolerance"] is None and kept["rows"] else _number(kept["tolerance"])
        kept["metrics"] = {name: (_number(one), _number(other)) for name, (one, other) in kept["metrics"].items()}
        kept["latency"] = {
            int(size): Timed(Latency.from_dict(one["eager"]), Latency.from_dict(one["exported"]))
            for size, one in kept["latency"].items()
        }
        kept["change"] = None if kept["change"] is None else Change(**kept["change"])
        return cls(**{**kept, "files": tuple(kept["files"]), "spread": tuple(kept["spread"])})


def _number(value: float | None) -> float:
    return math.nan if value is None else value


@final
@dataclass(frozen=True, eq=False)
class ExportReport(Counted):
    """What was exported, and how each format stands beside the model that was tested.

    Args:
        folder: its name, below that of the run.
        weights: which they are, as ``"best, epoch 7"``.
        formats: in the order in which they were written.
        decision: how probabilities become answers, in words.
        inputs: by input, statistics of the rows that were compared, as ``{"low", "high", "mean", "std"}``.
        left_out: what was fitted and is not inside, and why.
        remarks: further sentences, without a full stop.
    """

    kind: ClassVar[str] = "export"

    folder: str
    weights: str = ""
    formats: tuple[FormatParity, ...] = ()
    decision: str = ""
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> FormatParity:
        """A format by its name."""
        for one in self.formats:
            if one.name == name:
                return one
        raise KeyError(f"{name!r}, wanted one of {', '.join(each.name for each in self.formats) or 'none'}")

    @property
    def words(self) -> str:
        """The first format that is kept in a sentence, and how many are refused."""
        kept = [one for one in self.formats if one.kept]
        refused = len(self.formats) - len(kept)
        said = (next((one for one in kept if one.rows), None) or kept[0]).words if kept else "nothing was exported"
        return f"{said}; {refused} format{' is' if refused == 1 else 's are'} refused" if refused else said

    @property
    def alerts(self) -> tuple[str, ...]:
        """Formats that were refused, and why."""
        return tuple(alert_of(one) for one in self.formats if not one.kept)

    @property
    def notes(self) -> tuple[str, ...]:
        """Each format in a sentence, the weights, how it decides, and what is not inside."""
        said = (*(one.words for one in self.formats if one.kept), *self.alerts)
        weights = f"weights: {self.weights}" if self.weights else ""
        return tuple(note for note in (*said, weights, self.decision, *self.left_out, *self.remarks) if note)

    def __str__(self) -> str:
        """A table for people."""
        head = ("", "kept", "flips", "largest difference", "ms a row", "eager", "size")
        notes = (f"{note}." if "." in note.split()[0] else f"{note[0].upper()}{note[1:]}." for note in self.notes)
        return "\n".join([*in_columns([head, *map(_printed, self.formats)], right=range(2, 7)), "", *notes])

    def scalars(self) -> dict[str, float]:
        """Of each format: whether it is kept, flips, largest difference, latency as a share of eager's, and bytes."""
        found: dict[str, float] = {}
        for one in self.formats:
            figures = {
                "kept": float(one.kept), "flips": float(one.flips) if one.rows else math.nan,
                "max_difference": one.largest, "latency_ratio": one.latency_ratio, "bytes": float(one.bytes),
            }  # fmt: skip
            found.update({f"{self.kind}/{one.name}/{name}": value for name, value in figures.items()})
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values that JSON takes."""
        plain = {part.name: undefined_to_none(getattr(self, part.name)) for part in fields(self)}
        formats = [one.to_dict() for one in self.formats]
        return {**plain, "kind": self.kind, "formats": formats, "words": self.words, "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> ExportReport:
        """What ``to_dict`` gave."""
        kept = {part.name: state[part.name] for part in fields(cls)}
        formats = tuple(FormatParity.from_dict(one) for one in state["formats"])
        more = {name: tuple(kept[name]) for name in ("left_out", "remarks")}
        return cls(**{**kept, **more, "formats": formats})


def _printed(one: FormatParity) -> tuple[str, ...]:
    """A format as a line of a table."""
    flips = f"{one.flips:,} of {one.decisions:,}" if one.rows else ""
    largest = figure(one.largest) if math.isfinite(one.largest) else ""
    timed = one.latency[min(one.latency)] if one.latency else None
    times = ("", "") if timed is None else (milliseconds(each.median) for each in (timed.exported, timed.eager))
    name = ", ".join(one.files) or one.name
    return name, "yes" if one.kept else "no", flips, largest, *times, size_words(one.bytes) if one.bytes else ""
