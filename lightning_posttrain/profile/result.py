"""What a model and its run cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, final

from lightning_posttrain.core.output.columns import in_columns
from lightning_posttrain.core.output.quantities import duration
from lightning_posttrain.core.output.result import listed, undefined_to_none
from lightning_posttrain.core.statistics.latency import Latency
from lightning_posttrain.profile.clock.spent import NO_PART, Spent, seconds_of
from lightning_posttrain.profile.counting import ActivationMemory, Architecture, ParameterCount
from lightning_posttrain.profile.energy import Energy
from lightning_posttrain.profile.figures import figures_of
from lightning_posttrain.profile.peak_memory import PeakMemory
from lightning_posttrain.profile.run_time import RunTime

CONVENTION = "FLOPs are two for each multiplication and addition of products and convolutions"


class Costs(Protocol):
    """What a model costs."""

    @property
    def count(self) -> ParameterCount:
        """Parameters and buffers."""

    @property
    def architecture(self) -> Architecture | None:
        """Modules and FLOPs."""

    @property
    def latency(self) -> Mapping[int, Latency]:
        """By batch size."""


@final
@dataclass(frozen=True, eq=False)
class ProfileReport:
    """What a model costs, and where the seconds of its run went.

    Args:
        count: parameters and buffers.
        architecture: modules, shapes, FLOPs; None where no forward could be made.
        memory: of the activations of the batch that was counted; None likewise.
        latency: of one forward, by batch size.
        time: of the fit; None where there was none.
        spent: where the seconds of the present run went, most first.
        peak: the most memory of the process.
        energy: that the present run took.
        conditions: in which latency was measured: device, threads, precision.
        reasons: why something is missing, by what it is.
    """

    kind: ClassVar[str] = "profile"
    count: ParameterCount
    architecture: Architecture | None = None
    memory: ActivationMemory | None = None
    latency: Mapping[int, Latency] = field(default_factory=dict)
    time: RunTime | None = None
    spent: tuple[Spent, ...] = ()
    peak: PeakMemory | None = None
    energy: Energy | None = None
    conditions: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Numbers in all parameters, each once."""
        return self.count.total

    @property
    def flops(self) -> float:
        """FLOPs of one row; NaN where they could not be counted."""
        return math.nan if self.architecture is None else self.architecture.flops

    @property
    def layers(self) -> int | None:
        """Modules that were called and called no other; None where no forward could be made."""
        return None if self.architecture is None else self.architecture.layers

    @property
    def shares(self) -> dict[str, float]:
        """Share of the run's seconds by callback, and by what Lightning did."""
        return {row.name: row.share for row in self.spent}

    @property
    def seconds_to(self) -> dict[str, float]:
        """Seconds of the fit until each target was met; NaN where it was not."""
        reached = {} if self.time is None else self.time.reached
        return {name: math.nan if one.seconds is None else one.seconds for name, one in reached.items()}

    @property
    def wall(self) -> float:
        """Seconds of the present run until the report, without what was measured for it."""
        return seconds_of(self.spent)

    @property
    def training_seconds(self) -> float:
        """Seconds of the fit, validations included; NaN where there was none."""
        return math.nan if self.time is None else self.time.total

    @property
    def alerts(self) -> tuple[str, ...]:
        """Parameters that nothing uses, and targets that were not logged."""
        never = [] if self.time is None else [one.reason for one in self.time.reached.values()]
        return (*filter(None, [self._unused()]), *(reason for reason in never if "was not logged" in reason))

    def _unused(self) -> str:
        names = self.count.unused or ()
        if not names:
            return ""
        return (
            f"{self.count.unused_total:,} parameters are used by nothing: {listed(names, 4)}. No call of a step reads "
            "them, and they get no gradient, on which DDP fails. Take them out of the module, or use them"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Conditions, and what is missing and why."""
        return (*self.alerts, *filter(None, [*self._said(), *self.count.notes]), *self._missing())

    def _said(self) -> Iterator[str]:
        if self.architecture is not None:
            yield CONVENTION
            if self.architecture.uncounted:
                yield f"not in FLOPs, having no formula: {listed(list(self.architecture.uncounted), 6)}"
        if self.latency:
            yield f"latency is of the forward alone: {self.conditions}"
        for one in () if self.time is None else self.time.reached.values():
            if one.reason and one.reason not in self.alerts:
                yield one.reason

    def _missing(self) -> Iterator[str]:
        yield from (f"{what}: not measured, as {why}" for what, why in self.reasons.items())
        if self.energy is not None and self.energy.joules is None:
            yield f"energy: {self.energy.words}"

    def __str__(self) -> str:
        """The figures for people, and where the seconds went."""
        rows = [list(pair) for pair in figures_of(self)]
        head = ["", "took", "share"]
        shown = [
            [row.name, duration(row.seconds), "" if row.kind in NO_PART else f"{row.share:.1%}"]
            for row in self.spent
            if row.share >= 0.005
        ]
        notes = [f"{note[0].upper()}{note[1:]}." for note in self.notes]
        return "\n".join([*in_columns(rows), "", *in_columns([head, *shown], right={1, 2}), "", *notes])

    def scalars(self) -> dict[str, float]:
        """What stands beside the metrics of a test: parameters, FLOPs, and the latency of one row in milliseconds."""
        return scalars_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values that JSON takes."""
        return {
            "kind": self.kind, "parameters": self.parameters, "layers": self.layers,
            "flops": None if math.isnan(self.flops) else self.flops,
            "training_seconds": None if math.isnan(self.training_seconds) else self.training_seconds,
            "count": self.count.to_dict(), "architecture": _or_none(self.architecture),
            "memory": _or_none(self.memory), "latency": {str(n): one.to_dict() for n, one in self.latency.items()},
            "time": _or_none(self.time), "spent": [vars(row) for row in self.spent],
            "wall": self.wall,
            "peak": None if self.peak is None else undefined_to_none(vars(self.peak)),
            "energy": None if self.energy is None else undefined_to_none(vars(self.energy)),
            "conditions": self.conditions,
            "reasons": dict(self.reasons), "notes": list(self.notes),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> ProfileReport:
        """What ``to_dict`` gave."""
        peak, energy = saved["peak"], saved["energy"]
        return cls(
            ParameterCount.from_dict(saved["count"]),
            saved["architecture"] and Architecture.from_dict(saved["architecture"]),
            saved["memory"] and ActivationMemory.from_dict(saved["memory"]),
            {int(size): Latency.from_dict(one) for size, one in saved["latency"].items()},
            saved["time"] and RunTime.from_dict(saved["time"]), tuple(Spent(**row) for row in saved["spent"]),
            peak and PeakMemory(**{**peak, "words": tuple(peak["words"])}),
            energy and Energy(**{**energy, "missing": tuple(energy["missing"])}), saved["conditions"], saved["reasons"],
        )  # fmt: skip


def scalars_of(found: Costs) -> dict[str, float]:
    """The figures worth a line beside the metrics of a test."""
    first, architecture = found.latency.get(1), found.architecture
    figures = {
        "parameters": float(found.count.total),
        "flops": math.nan if architecture is None else float(architecture.flops),
        "latency_ms": math.nan if first is None else 1e3 * first.median,
    }
    return {f"profile/{name}": value for name, value in figures.items() if math.isfinite(value)}


def _or_none(part: Any) -> Any:
    return None if part is None else part.to_dict()
