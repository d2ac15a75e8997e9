"""The figures of a profile as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lightning_posttrain.core.output.quantities import duration, scaled, size_words
from lightning_posttrain.core.output.result import listed
from lightning_posttrain.core.statistics.latency import Latency
from lightning_posttrain.profile.counting import ActivationMemory
from lightning_posttrain.profile.run_time import RunTime

if TYPE_CHECKING:
    from lightning_posttrain.profile.result import ProfileReport


def figures_of(report: ProfileReport) -> Iterator[tuple[str, str]]:
    """What is to be known first, as a name and a value with its unit."""
    yield from _model(report)
    if report.time is not None:
        yield from _time(report.time)
    if report.peak is not None and report.peak.resident is not None:
        device = report.peak.allocated
        more = f", {size_words(device)} of tensors on the device" if device is not None else ""
        yield "peak memory", f"{size_words(report.peak.resident)} of the process{more}"
    if report.energy is not None and report.energy.joules is not None:
        yield "energy", f"{report.energy.joules:,.0f} J ({report.energy.words})"


def _model(report: ProfileReport) -> Iterator[tuple[str, str]]:
    count, architecture = report.count, report.architecture
    frozen = f", {scaled(count.frozen)} of them frozen" if count.frozen else ""
    yield "parameters", f"{count.total:,}{frozen} ({size_words(count.parameter_bytes)})"
    if architecture is not None:
        kinds = listed([f"{number} {kind}" for kind, number in architecture.kinds.items()], 5)
        yield "layers", f"{architecture.layers}, {architecture.weight_layers} of them with weights: {kinds}"
        yield "FLOPs a row", scaled(architecture.flops)
    for size, one in report.latency.items():
        yield f"latency, batch {size}", _latency(size, one)
    if report.memory is not None and architecture is not None:
        yield from _memory(report.memory, architecture.batch)


def _latency(size: int, one: Latency) -> str:
    percentiles = {"p95": one.p95, "p99": one.p99}
    known = [f"{name} {duration(value)}" for name, value in percentiles.items() if math.isfinite(value)]
    words = ", ".join([duration(one.median), *known])
    return f"{words} ({one.calls:,} calls; {scaled(size / one.median)} rows a second)"


def _memory(memory: ActivationMemory, rows: int) -> Iterator[tuple[str, str]]:
    senses = {
        "kept for backward": memory.kept_for_backward, "alive at once": memory.alive_at_once,
        "made in all": memory.made_in_all,
    }  # fmt: skip
    known = [f"{size_words(size)} {name}" for name, size in senses.items() if size is not None]
    if known:
        yield f"activations, batch {rows}", ", ".join(known)


def _time(time: RunTime) -> Iterator[tuple[str, str]]:
    if time.total:
        yield "training", f"{duration(time.total)}, of which {duration(time.validation)} validation"
    if time.epochs:
        mean = sum(one.training + one.validation for one in time.epochs) / len(time.epochs)
        yield "an epoch", f"{duration(mean)}, the mean of {len(time.epochs)}"
    yield from ((f"rows a second, {phase}", f"{rate:,.0f}") for phase, rate in time.rows_a_second.items() if rate > 0)
    yield from _reached(time)


def _reached(time: RunTime) -> Iterator[tuple[str, str]]:
    for name, one in time.reached.items():
        if one.seconds is not None:
            yield f"to {name} {time.targets[name]:g}", f"{duration(one.seconds)}, in epoch {one.epoch}"
    for name, each in time.shares.items():
        known = [f"{percent} % {duration(one.seconds)}" for percent, one in each.items() if one.seconds is not None]
        if known:
            yield f"to a share of the best {name}", ", ".join(known)
