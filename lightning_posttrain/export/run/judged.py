"""Which formats are kept, by what was compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, final

import torch

from lightning_posttrain.core.statistics.latency import latencies, rotating
from lightning_posttrain.export.formats import FORMATS, onnx_named
from lightning_posttrain.export.parity.apart import first_apart_in_onnx, first_apart_in_program
from lightning_posttrain.export.parity.batches import check_batches
from lightning_posttrain.export.parity.decide import Evidence, Gain, decide
from lightning_posttrain.export.parity.tolerance import Precision, Tolerance, eager_noise
from lightning_posttrain.export.program import Traced
from lightning_posttrain.export.result import FormatParity, Timed
from lightning_posttrain.export.run.making import PRECISIONS, Made, eager
from lightning_posttrain.export.run.reference_run import ReferenceRun
from lightning_posttrain.export.run.trial import EAGER, Trial
from lightning_posttrain.export.signature import Array

PREFIX = "network.root."
"""Of the names that the user's modules have in what is shipped."""
IN_FLOAT32 = ReferenceRun()
OF_ROWS: Mapping[Precision, float] = {"float32": 1e-4, "half": 1e-2, "int8": 0.1}
"""What batch sizes and orders may change a probability by."""


@final
class Judge:
    """Decides about formats, by what was compared in a stage.

    Args:
        trial: what was compared.
        stage: whose rows these were.
        reports: as ``Trial.reports`` gives them.
        reference: how the tested answers came about.
    """

    def __init__(
        self, trial: Trial, stage: str, reports: Mapping[str, Any], reference: ReferenceRun = IN_FLOAT32
    ) -> None:
        self._trial, self._stage, self._reports, self._reference = trial, stage, reports, reference

    def made_now(self, files: Made, rows: Mapping[str, Array]) -> tuple[FormatParity, ...]:
        """What each format amounts to that was made in this run.

        Args:
            files: of the formats.
            rows: some of those that were compared, by input: for batch sizes, latency and the first layer apart.
        """
        if files.traced is None:
            return tuple(not_run(files))
        tested = eager(files.traced.deployed)
        with _one_thread():
            noise, answers = eager_noise(tested, rows), tested(rows)
            times = latencies({EAGER: tested, **files.runners}, partial(_batches, rows), threads=1)
        found = []
        for name, runner in files.runners.items():
            tolerance = self._tolerance(name, noise)
            refusals = check_batches(runner, answers, rows, allowed=OF_ROWS[tolerance.precision])
            evidence = self._evidence(name, tolerance, refusals=refusals)
            evidence = replace(evidence, suspicions=files.suspicions, gain=_gain(name, files, times))
            if not decide(evidence).kept:
                evidence = replace(evidence, first_apart=_first_apart(name, files.traced, rows))
            timed = {size: Timed(times[EAGER][size], of_size) for size, of_size in times[name].items()}
            parts = FORMATS[name].files
            found.append(self._verdict(name, evidence, files=parts, bytes_=files.bytes_of(name), latency=timed))
        return (*found, *not_run(files))

    def made_before(self, before: Mapping[str, FormatParity]) -> tuple[FormatParity, ...]:
        """What formats of an earlier export amount to; what was timed, and what was not run, stays as it was."""
        return tuple(self._again(one) if name in self._trial.sums else one for name, one in before.items())

    def _again(self, known: FormatParity) -> FormatParity:
        tolerance = self._tolerance(known.name, 0.0 if math.isnan(known.noise) else known.noise)
        evidence = self._evidence(known.name, tolerance)
        return self._verdict(known.name, evidence, files=known.files, bytes_=known.bytes, latency=known.latency)

    def _tolerance(self, name: str, noise: float) -> Tolerance:
        return Tolerance.of(PRECISIONS.get(name, self._reference.precision), noise)

    def _evidence(self, name: str, tolerance: Tolerance, *, refusals: tuple[str, ...] = ()) -> Evidence:
        failed = (self._trial.failed[name],) if name in self._trial.failed else ()
        counts, metrics = self._trial.sums[name].counts, _paired(self._reports, name)
        return Evidence(counts, tolerance, refusals=(*refusals, *failed), metrics=metrics)

    def _verdict(
        self, name: str, evidence: Evidence, *, files: tuple[str, ...], bytes_: int, latency: Mapping[int, Timed]
    ) -> FormatParity:
        found = FormatParity.of(
            evidence, decide(evidence), name=name, files=files, stage=self._stage, bytes=bytes_, latency=latency,
            against=self._reference.words,
        )  # fmt: skip
        return replace(found, precision=PRECISIONS.get(name, "float32"))


def _paired(reports: Mapping[str, Any], name: str) -> dict[str, tuple[float, float]]:
    """Each figure of the tested model and of a format."""
    tested, own = (reports[one].overall if one in reports else {} for one in (EAGER, name))
    return {figure: (value, own[figure]) for figure, value in tested.items() if figure in own}


def not_run(made: Made) -> Iterator[FormatParity]:
    """The formats that there are no answers of: those that were refused, and weights alone."""
    for name, reason in made.refused.items():
        yield FormatParity(name, (), kept=False, reason=reason.rstrip("."))
    for name, kind in FORMATS.items():
        if name not in made.runners and name not in made.refused and made.bytes_of(name):
            reason = "weights alone, in the names of the module"
            yield FormatParity(name, kind.files, kept=True, reason=reason, bytes=made.bytes_of(name))


def _first_apart(name: str, traced: Traced, rows: Mapping[str, Array]) -> str | None:
    """The first layer that comes apart; None where that cannot be told."""
    few = {key: array[:8] for key, array in rows.items()}
    try:
        if name == "pt2":
            return first_apart_in_program(traced.deployed, traced.program, few, prefix=PREFIX)
        if name == "onnx":
            return first_apart_in_onnx(traced.deployed, onnx_named(traced), few, prefix=PREFIX)
    except Exception:  # a graph that is broken may run in no other way than the one that was found wanting
        return None
    return None


def _batches(rows: Mapping[str, Array], size: int) -> Iterator[dict[str, Array]]:
    number = len(next(iter(rows.values())))
    return ({name: array[index] for name, array in rows.items()} for index in rotating(number, size))


def _gain(name: str, made: Made, times: Mapping[str, Any]) -> Gain | None:
    """What a smaller precision takes of what ONNX in float32 takes."""
    if name != "int8" or "onnx" not in made.runners:
        return None
    size = min(times[name])
    return Gain(times[name][size].median / times["onnx"][size].median, made.bytes_of(name) / made.bytes_of("onnx"))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread, as the other runners."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
