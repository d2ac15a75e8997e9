"""Which formats are kept, by what was compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from lightning_posttrain.export.formats import FORMATS, onnx_named
from lightning_posttrain.export.outputs import Outputs
from lightning_posttrain.export.parity.apart import first_apart_in_onnx, first_apart_in_program
from lightning_posttrain.export.parity.batches import check_batches
from lightning_posttrain.export.parity.decide import Evidence, Gain, decide
from lightning_posttrain.export.parity.latency import latencies
from lightning_posttrain.export.parity.sums import ParitySums
from lightning_posttrain.export.parity.tolerance import Precision, Tolerance, eager_noise
from lightning_posttrain.export.result import FormatParity, Timed
from lightning_posttrain.export.run.making import PRECISIONS, Made, eager
from lightning_posttrain.export.run.trial import EAGER, Trial
from lightning_posttrain.export.signature import Array

PREFIX = "network.root."
"""Of the names that the user's modules have in what is shipped."""
OF_ROWS: Mapping[Precision, float] = {"float32": 1e-4, "half": 1e-2, "int8": 0.1}
"""What batch sizes and orders may change a probability by."""


def judged(
    made: Made,
    trial: Trial,
    *,
    stage: str,
    rows: Mapping[str, Array],
    metrics: Mapping[str, Mapping[str, float]],
    precision: Precision = "float32",
    against: str = "",
) -> tuple[FormatParity, ...]:
    """What each format amounts to, those that were made now.

    Args:
        made: the files.
        trial: what was compared.
        stage: whose rows these were.
        rows: some of them, by input.
        metrics: by ``"eager"`` and format, the figures of a report.
        precision: that the tested answers were computed in.
        against: says so, where they are not those of the module in float32.
    """
    assert made.traced is not None
    tested = eager(made.traced.deployed)
    with _one_thread():
        noise = eager_noise(tested, rows)
        answers = tested(rows)
        times = latencies({EAGER: tested, **made.runners}, rows, threads=1)
    found = []
    for name in made.runners:
        timed = {size: Timed(times[EAGER][size], of_size) for size, of_size in times[name].items()}
        kind = PRECISIONS.get(name, precision)
        evidence = Evidence(
            trial.sums[name].counts,
            Tolerance.of(kind, noise),
            made.suspicions,
            _refusals(name, made, trial, answers, rows, OF_ROWS[kind]),
            paired(metrics, name),
            gain=_gain(name, made, times),
        )
        found.append(_of_format(name, made, evidence, rows, stage=stage, timed=timed, against=against))
    return (*found, *not_run(made))


def paired(metrics: Mapping[str, Mapping[str, float]], name: str) -> dict[str, tuple[float, float]]:
    """Each figure of the tested model and of a format."""
    tested, own = metrics.get(EAGER, {}), metrics.get(name, {})
    return {figure: (value, own[figure]) for figure, value in tested.items() if figure in own}


def judged_again(
    before: FormatParity, sums: ParitySums, *, failed: str, stage: str, metrics: Mapping[str, tuple[float, float]],
    precision: Precision, against: str,
) -> FormatParity:  # fmt: skip
    """What a format that was made before amounts to on other rows; what was timed stays as it was."""
    kind: Precision = before.precision if before.precision == "int8" else precision
    tolerance = Tolerance.of(kind, 0.0 if math.isnan(before.noise) else before.noise)
    evidence = Evidence(sums.counts, tolerance, refusals=(failed,) if failed else (), metrics=metrics)
    verdict = decide(evidence)
    found = FormatParity.of(
        evidence, verdict, name=before.name, files=before.files, stage=stage, bytes=before.bytes,
        latency=before.latency, against=against,
    )  # fmt: skip
    return replace(found, precision=before.precision)


def not_run(made: Made) -> Iterator[FormatParity]:
    """The formats that there are no answers of: those that were refused, and weights alone."""
    for name, reason in made.refused.items():
        yield FormatParity(name, (), kept=False, reason=reason.rstrip("."))
    for name, kind in FORMATS.items():
        if name not in made.runners and name not in made.refused and made.bytes_of(name):
            reason = "weights alone, in the names of the module"
            yield FormatParity(name, kind.files, kept=True, reason=reason, bytes=made.bytes_of(name))


def _of_format(
    name: str, made: Made, evidence: Evidence, rows: Mapping[str, Array], *, stage: str, timed: dict[int, Timed],
    against: str,
) -> FormatParity:  # fmt: skip
    verdict = decide(evidence)
    if not verdict.kept:
        evidence = replace(evidence, first_apart=_first_apart(name, made, rows))
        verdict = decide(evidence)
    found = FormatParity.of(
        evidence, verdict, name=name, files=FORMATS[name].files, stage=stage, bytes=made.bytes_of(name),
        latency=timed, against=against,
    )  # fmt: skip
    return replace(found, precision=PRECISIONS.get(name, "float32"))


def _refusals(
    name: str, made: Made, trial: Trial, answers: Outputs, rows: Mapping[str, Array], allowed: float
) -> tuple[str, ...]:
    of_sizes = check_batches(made.runners[name], answers, rows, allowed=allowed)
    return (*of_sizes, *([trial.failed[name]] if name in trial.failed else []))


def _first_apart(name: str, made: Made, rows: Mapping[str, Array]) -> str | None:
    """The first layer that comes apart; None where that cannot be told."""
    assert made.traced is not None
    few = {key: array[:8] for key, array in rows.items()}
    try:
        if name == "pt2":
            return first_apart_in_program(made.traced.deployed, made.traced.program, few, prefix=PREFIX)
        if name == "onnx":
            return first_apart_in_onnx(made.traced.deployed, onnx_named(made.traced), few, prefix=PREFIX)
    except Exception:  # a graph that is broken may run in no other way than the one that was found wanting
        return None
    return None


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
