"""What a test compares: the files of an earlier export of the same weights, or files that are made now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from torch import Tensor

from lightning_posttrain.classification import EvalBatch
from lightning_posttrain.core.capture.batch_parts import Path
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.folder.places import beside, tidy
from lightning_posttrain.export.formats import FORMATS
from lightning_posttrain.export.manifest import Manifest
from lightning_posttrain.export.outputs import Runner
from lightning_posttrain.export.program.deployed import Deployed
from lightning_posttrain.export.result import FormatParity
from lightning_posttrain.export.run.asked_call import AskedCall
from lightning_posttrain.export.run.context import Context
from lightning_posttrain.export.run.earlier import earlier
from lightning_posttrain.export.run.fitted import fitted_for
from lightning_posttrain.export.run.making import Made, made
from lightning_posttrain.export.run.prepared import Prepared, entry_for, head_of, prepared
from lightning_posttrain.export.run.raw_inputs import raw_inputs
from lightning_posttrain.export.run.row_form import Inputs
from lightning_posttrain.export.run.shipping import about_files, manifest_of, weights_facts
from lightning_posttrain.export.run.tested import Tested, answered, answered_by_step, uncalibrated
from lightning_posttrain.export.run.weights import AS_TESTED, Weights, weights_of

Answering = Callable[[Inputs, EvalBatch], Tested]
"""From inputs, and the same rows as the step predicted them, to what the module answers."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What a test compares.

    Args:
        files: of the formats, and what runs them.
        slots: by input, where it stands in what the step gave to its network.
        decision: how the module decides.
        weights: which they are, in words.
        answers: of the module.
        manifest: what the folder says, or will say; None where nothing could be traced.
        before: what is known of the files of an earlier export, by format; None where they are made now.
    """

    files: Made
    slots: Mapping[str, Path]
    decision: Decision
    weights: str
    answers: Answering
    manifest: Manifest | None
    before: Mapping[str, FormatParity] | None = None


def subject_of(run: Context, asked: AskedCall, parts: Mapping[Path, Tensor], held: ExitStack) -> Subject:
    """What a test compares, from its first batch on.

    Args:
        run: of the test.
        asked: how the step asks its network.
        parts: of the first batch, what the step gave to it.
        held: what lets go of files that are made.
    """
    tidy(run.folder)
    if run.settings.weights == "ensemble":
        return _of_ensemble(run, asked, parts, held)
    tested = Weights(run.module, "")
    fitted = fitted_for(run, tested)
    known = earlier(run, tested, fitted.decision)
    if known is not None:
        slots = entry_for(tested, asked).slots
        return _of_earlier(run, known, slots, answers=_by_the_step(head_of(known.decision)))
    weights = weights_of(run.trainer, run.module, said=AS_TESTED)
    shipped = prepared(weights, asked.kept(), fitted, uint8=run.settings.uint8)
    return _made_now(run, shipped, parts, held, answers=_by_the_step(head_of(shipped.decision)))


def _of_ensemble(run: Context, asked: AskedCall, parts: Mapping[Path, Tensor], held: ExitStack) -> Subject:
    """What is shipped is not what the step asks, and is asked beside it."""
    weights = weights_of(run.trainer, run.module, said="ensemble")
    fitted = fitted_for(run, weights)
    shipped = prepared(weights, asked.kept(), fitted, uint8=run.settings.uint8)
    answers = _beside_the_step(shipped)
    known = earlier(run, weights, fitted.decision)
    if known is not None:
        return _of_earlier(run, known, shipped.slots, answers=answers)
    return _made_now(run, shipped, parts, held, answers=answers)


def _by_the_step(head: Deployed) -> Answering:
    return lambda _, batch: answered_by_step(head, batch)


def _beside_the_step(shipped: Prepared) -> Answering:
    tested, own = shipped.deployed, uncalibrated(shipped.deployed)
    return lambda inputs, _: answered(tested, own, shipped.decision, inputs)


def _made_now(
    run: Context, shipped: Prepared, parts: Mapping[Path, Tensor], held: ExitStack, *, answers: Answering
) -> Subject:
    run.make_ready()
    work = held.enter_context(beside(run.folder))
    examples = [raw_inputs(parts, shipped.slots, run.settings)]
    files = made(
        shipped, examples, run.settings.formats, work, about=lambda trace: about_files(run, shipped, trace),
        calibration=None,
    )  # fmt: skip
    signed, facts = files.signature, weights_facts(run, shipped)
    manifest = None if signed is None else manifest_of(run.model_name, signed, shipped.decision, facts)
    return Subject(files, shipped.slots, shipped.decision, shipped.weights.words, answers, manifest)


def _of_earlier(run: Context, known: Manifest, slots: Mapping[str, Path], *, answers: Answering) -> Subject:
    before = {name: FormatParity.from_dict(state) for name, state in known.parity.items()}
    runners: dict[str, Runner] = {}
    for name in (name for name, one in before.items() if one.kept):
        runner = FORMATS[name].opened(run.folder, known.signature, threads=1)
        if runner is not None:
            runners[name] = runner
    files, words = Made(run.folder, known.signature, runners), str(known.weights.get("words", ""))
    return Subject(files, slots, known.decision, words, answers, known, before)
