"""Find class scores and targets, step after step: as they were heard, else by shape."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lightning_posttrain.classification.heard.arranged import arranged
from lightning_posttrain.classification.heard.choice import as_said, chosen_head, hearing_of, returned
from lightning_posttrain.classification.heard.scores import HeardScores, at_depth
from lightning_posttrain.classification.heard.step_again import Arrange, StepAgain, arranger, as_it_is
from lightning_posttrain.classification.score_finder import ScoreFinder
from lightning_posttrain.classification.tasks import ScoreKind, Task, to_logits
from lightning_posttrain.core.callback.from_lightning import rank_zero_info
from lightning_posttrain.core.capture.batch_parts import PartSource
from lightning_posttrain.core.capture.call_again import call_again
from lightning_posttrain.core.capture.call_source import CallSource, call_sources
from lightning_posttrain.core.capture.network_call import NetworkCall, network_call
from lightning_posttrain.core.capture.step import Step
from lightning_posttrain.core.stream.reading import Found, Given, NotCounted

if TYPE_CHECKING:
    from lightning_posttrain.classification.reading import ClassReading


@dataclass(frozen=True)
class Learned:
    """Where the scores and the targets of steps are found without listening to losses.

    Args:
        call: what gives the scores.
        source: the part of the batch that the targets are; None where the user's function gives them.
        task: what they mean.
        scores: likewise.
        ignore_index: target that is left out, or None.
    """

    call: CallSource
    source: PartSource | None
    task: Task
    scores: ScoreKind
    ignore_index: int | None


class PairFinder:
    """Finds the scores and targets of one reading in the steps of one stage.

    Args:
        reading: what was said, and what was heard before.
        taught: of another stage of the same module, where its steps said more.
    """

    def __init__(self, reading: ClassReading, taught: Iterable[PairFinder] = ()) -> None:
        self.reading = reading
        self.by_shape = ScoreFinder(reading)
        self.learned: Learned | None = None
        self.listens = reading.scores_fn is None
        self.call: NetworkCall | None = None
        self._outer: str | None = None
        self._rule: HeardScores | None = None
        self._seen: CallSource | None = None
        self._taught = tuple(taught)

    @property
    def modules(self) -> frozenset[str] | None:
        """Names of the modules that are to be heard; None for all."""
        if self.learned is None or self.listens:
            return None
        callers = (self._outer, None if self.call is None else self.call.module)
        return frozenset({self.learned.call.module, *(name for name in callers if name is not None)})

    def find(self, step: Step, given: Given) -> Found:
        """The scores and targets of a step.

        Raises:
            ValueError: none, or more than one, can be meant.
        """
        if self.listens and step.pairs is not None:
            heard = self._heard(step, given)
            if heard is not None:
                return self._arranged(step, given, heard)
            self._refuse(step, given)
            self.listens = False  # it says nothing; what it calls is what there is to go by
            self._take_over(step, given)
        if self.learned is not None:
            return self._as_learned(step, given, self.learned)
        if given.problem is not None:
            raise ValueError(no_classes(step, self.reading) or str(given.problem)) from given.problem
        scores = self._by_shape(step)
        return Found(scores, given, self._again(step, given, scores, scores))

    def _refuse(self, step: Step, given: Given) -> None:
        """Raise where a step says for certain that it is something else, and the user said nothing."""
        hearing = hearing_of(step)
        if self.reading.target_fn is not None or returned(step, self.reading) is not None:
            return
        if hearing.shares:
            raise NotCounted(f"{hearing.shares}. Pass target_fn=lambda batch: ... that returns class indices")
        if hearing.margin:
            cure = 'Return {"logits": logits} without it from the step, or pass scores_fn=lambda outputs, batch: ... .'
            raise ValueError(f"these are no predictions: {hearing.margin}. {cure}")
        if hearing.refused:
            raise ValueError(no_classes(step, self.reading)) from given.problem

    def _by_shape(self, step: Step) -> Tensor:
        try:
            return self.by_shape.find(step)
        except ValueError as error:
            reason = no_classes(step, self.reading)
            if reason:
                raise ValueError(reason) from error
            raise

    def _heard(self, step: Step, given: Given) -> HeardScores | None:
        """The scores that the step gave to a loss or a metric: to the same one as before, once that is known."""
        if self._rule is None:
            heard = chosen_head(step, given, self.reading)
            self._rule = None if heard is None else as_said(self.reading, heard)
            return self._rule
        rule = self._rule
        for pair in step.pairs or ():
            prediction = at_depth(pair, rule.depth)
            if (pair.by, pair.number, pair.owner) == (rule.pair.by, rule.pair.number, rule.pair.owner) and (
                prediction is not None
            ):
                target = given.indices if rule.given else pair.target
                return replace(rule, pair=pair, prediction=prediction, target=target)
        raise ValueError(
            f"in this step no {rule.pair.by} is given scores and targets, as in the first batch. Return "
            '{"logits": logits} from the step, or pass scores_fn=lambda outputs, batch: ... .'
        )

    def _arranged(self, step: Step, given: Given, heard: HeardScores) -> Found:
        part = None if heard.source is None else heard.source.of(step.parts)
        target = heard.target if part is None else part
        scores, indices = arranged(heard.prediction.detach(), target, heard.task, heard.source)
        if self.learned is None:
            self._learn(step, heard, scores)
        found = self._with_inputs(step, _given(given, target, indices, heard))
        return Found(scores, found, self._again(step, given, heard.prediction, scores, arranger(heard, target)))

    def _learn(self, step: Step, heard: HeardScores, scores: Tensor) -> None:
        """Note the call that gave the scores; where it gives the very same, it is all one needs."""
        for source, giver in reversed(list(call_sources(heard.prediction.detach(), step.inside))):
            if heard.given or (heard.source is not None and heard.source.of(step.parts) is not None):
                found = Learned(source, heard.source, heard.task, heard.scores, heard.ignore_index)
                taken = self._take(found, step, heard.target)
                if taken is not None and taken[0].shape == scores.shape and torch.equal(taken[0], scores):
                    again = source.calls == 1 or self._seen == source
                    self._seen = source
                    if not again:  # which of several calls it is, a second step confirms
                        return
                    self.learned, self.listens, self._rule = found, False, None
                    targets = [part for part in (heard.target, taken[2]) if isinstance(part, Tensor)]
                    self.call = network_call(source, giver, step, targets)
                    outer = call_again(heard.prediction, step)
                    self._outer = None if outer is None else outer.module
                    return

    @staticmethod
    def _take(learned: Learned, step: Step, given: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
        target = given if learned.source is None else learned.source.of(step.parts)
        if target is None:
            return None
        found = []
        for prediction in learned.call.take(step.inside):
            with contextlib.suppress(RuntimeError, IndexError):  # of other rows
                scores, indices = arranged(prediction.detach(), target, learned.task, learned.source)
                found.append((scores, indices, target, prediction))
        return found[0] if len(found) == 1 else None

    def _as_learned(self, step: Step, given: Given, learned: Learned) -> Found:
        taken = self._take(learned, step, given.indices)
        if taken is None and not step.firings and given.problem is None:  # it ran before there were hooks
            scores = self._by_shape(step)
            again = self._again(step, given, scores, scores)
            return Found(scores, replace(given, ignored=learned.ignore_index), again)
        if taken is None:
            raise ValueError(
                f"this step does not call `{learned.call.module or 'forward'}` as the first one did, whose loss or "
                'metric took the scores from there. Return {"logits": logits} from the step, or pass '
                "scores_fn=lambda outputs, batch: ... ."
            )
        scores, indices, target, prediction = taken
        found = self._with_inputs(step, _given(given, target, indices, learned))
        return Found(scores, found, self._again(step, given, prediction, scores, arranger(learned, target)))

    def _again(
        self, step: Step, given: Given, prediction: Tensor, scores: Tensor, arrange: Arrange = as_it_is
    ) -> StepAgain | None:
        """How a step's scores are asked for again; None where a function of the user's makes them of its outputs."""
        if self.reading.scores_fn is not None or (given.inputs is None and not step.inside):
            return None
        alone = self.learned is None or self.listens or self._outer is not None
        pick = partial(self.by_shape.pick, shape=step.shape)
        return StepAgain(step, given.inputs, prediction, scores, arrange, pick, alone)

    def _with_inputs(self, step: Step, given: Given) -> Given:
        """With what the network was called with, where that is known."""
        taken = None if self.call is None or given.selected else self.call.taken(step.inside)
        if taken is None or self.reading.inputs_fn is not None:
            return given
        return replace(given, inputs=taken[0], context=taken[1])

    def again(self, module: nn.Module, call: NetworkCall, inputs: Tensor, context: Sequence[Tensor] = ()) -> Tensor:
        """Logits for other inputs, from the module as it is."""
        found = call.again(module, inputs, context).reshape(len(inputs), -1)
        single = self.reading.task == "binary" and found.shape[1] == 1
        kind = self.reading.scores if self.learned is None else self.learned.scores
        shape = torch.Size([len(inputs)])
        return to_logits(found[:, 0] if single else found, self.reading.task, kind, shape)

    def _take_over(self, step: Step, given: Given) -> None:
        """Go by what the steps of another stage taught, where it can be found in this one."""
        for finder in self._taught:
            if finder.learned is not None and self._take(finder.learned, step, given.indices) is not None:
                self.learned, self.call, self._outer = finder.learned, finder.call, finder._outer
                rank_zero_info(
                    "lightning_posttrain: this step has no loss and no metric; its scores are those of "
                    f"`{self.learned.call.module or 'forward'}`, as a loss of another stage told."
                )
                return


def no_classes(step: Step, reading: ClassReading) -> str:
    """That what was heard is no classification, and what to do; nothing where nothing was heard."""
    if step.pairs is None or reading.scores_fn is not None or reading.target_fn is not None:
        return ""
    reason = hearing_of(step).reason
    return f"this is no classification: {reason}. {NOT_CLASSES}" if reason else ""


NOT_CLASSES = (
    "Take TorchMetrics(...) with metrics for it, and SaliencyMaps(explain=lambda output, inputs: output.flatten()) to "
    "explain it; if there are classes, pass scores_fn=lambda outputs, batch: ... and target_fn=lambda batch: ... ."
)


def _given(given: Given, target: Tensor, indices: Tensor, of: HeardScores | Learned) -> Given:
    selected = of.source is not None and of.source.form == "rows"
    return replace(
        given, target=target, indices=indices, inputs=None if selected else given.inputs, selected=selected,
        gaps=target.is_floating_point(), ignored=of.ignore_index, form=of.scores, problem=None,
    )  # fmt: skip
