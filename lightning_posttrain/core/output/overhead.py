"""What the callbacks of a run took of it, as a result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from lightning_posttrain.core.output.artifacts import Table, Tagged
from lightning_posttrain.core.output.result import Counted

TAG = "overhead"


class Spending(NamedTuple):
    """Of one callback.

    Args:
        name: its class, and its own name where it has one.
        main: seconds of the main thread, in which the run waits for it.
        share: of the run's seconds that these are.
        beside: seconds of a CPU in the background, in which it draws and writes.
        device: seconds of the device, by its events; None where it has none. The run waits for them where it waits for
            the device.
    """

    name: str
    main: float
    share: float
    beside: float
    device: float | None


@dataclass(frozen=True, eq=False)
class Overhead(Counted):
    """What the callbacks of a run took of it.

    Args:
        seconds: of the run, until this was written.
        rows: one for each callback, the most first, and one for what is done for all of them.
        optional: seconds that pictures, tables, intervals and explanations took, main thread and background together.
        limits: shares of a fit that optional work keeps to, as ``max_overhead`` has them.
        evaluations: of a fit, in which it could have been done.
        left_out: in which it was not.
    """

    recorded_as: ClassVar[str] = TAG

    seconds: float
    rows: tuple[Spending, ...]
    optional: float = 0.0
    limits: tuple[float, ...] = ()
    evaluations: int = 0
    left_out: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, and the cure."""
        if not self.left_out:
            return ()
        limits = " and ".join(f"{limit:g}" for limit in self.limits)
        return (
            f"pictures, tables, intervals and explanations were left out in {self.left_out} of {self.evaluations} "
            f"evaluations of the fit, to keep to max_overhead={limits} of its seconds; the first and the last have "
            f"them, and max_overhead=None leaves nothing out; they took {self.optional:.1f} s",
        )

    def table(self) -> Table:
        """A row for each callback, in seconds."""
        on_device = any(row.device is not None for row in self.rows)
        columns = ("callback", "main thread, s", "share of the run", "background, CPU s", *["device, s"] * on_device)
        rows = [(*map(_rounded, row[: 5 if on_device else 4]),) for row in self.rows]
        return Table(columns, tuple(rows), note="; ".join([f"the run took {self.seconds:.1f} s", *self.notes]))

    def shown(self) -> Iterator[Tagged]:
        """The table."""
        yield Tagged(TAG, self.table())


def _rounded(value: str | float | None) -> str | float | None:
    return float(f"{value:.3g}") if isinstance(value, float) else value
