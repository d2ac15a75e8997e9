"""What lies between explanations as a callback and the methods: the subject, the session, the ranks, the time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lightning_posttrain.attribution import Chunks
from lightning_posttrain.explanations.chosen_outputs import ChosenOutputs
from lightning_posttrain.explanations.perturbation.explain import explain_samples
from lightning_posttrain.explanations.perturbation.row_sample import SampledRows
from lightning_posttrain.explanations.perturbation.settings import PerturbationSettings, Subject
from lightning_posttrain.explanations.result.explained import Explained, only_figures
from lightning_posttrain.samples.kinds import Kind, kind_of
from lightning_posttrain.samples.model_access import CURE, ModelAccess
from lightning_posttrain.samples.sample_set import SampleSet
from lightning_posttrain.samples.targets import Explain, Output, of_output, questions

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

VALUES = 1 << 20
"""Values of inputs that are given to the model at a time, or as many as in a batch of the loader if these are more."""
ROWS, SCORES = 4096, 1 << 24
"""Rows of a table, and scores, that are asked for at a time likewise."""


class ExplanationRun:
    """Explains chosen samples, on the first rank.

    Args:
        how: the methods, and how inputs are perturbed.
        what: of the output is explained.
        output: ``"probability"`` or ``"logit"``.
        access: how the module is asked.
        max_seconds: for one explanation, or None.
    """

    def __init__(
        self,
        how: PerturbationSettings,
        what: Explain | Output,
        output: Literal["probability", "logit"],
        access: ModelAccess,
        max_seconds: float | None,
    ) -> None:
        self.how = how
        self.what = what
        self.output = output
        self.access = access
        self.max_seconds = max_seconds

    def explain(self, sample_set: SampleSet | None, trainer: Trainer, rows: SampledRows | None) -> Explained | None:
        """The result of chosen samples; on other ranks its figures alone. All ranks together.

        Args:
            sample_set: the samples, or None.
            trainer: the trainer.
            rows: some rows of the epoch, for tables; their scores are the model's as it is now.
        """

        def explained(chosen: SampleSet) -> Explained:
            with self.access.session(chosen.module):
                return self._explained(chosen, trainer, rows)

        return self.access.explained(sample_set, trainer, explained, only_figures)

    def _explained(self, sample_set: SampleSet, trainer: Trainer, rows: SampledRows | None) -> Explained:
        def failed(name: str, error: Exception) -> None:
            with self.access.guarded(trainer, f"work out {name}", CURE):
                raise error

        kind = self.how.display.kind or kind_of(sample_set.chosen.inputs) or "tabular"
        room = min(VALUES // max(1, sample_set.chosen.inputs[0].numel()), SCORES // max(1, len(sample_set.names)))
        size, seconds = max(sample_set.rows, min(ROWS, room)), self._seconds(trainer)
        with self.access.chunks(size, trainer, seconds=seconds, limited=False) as chunks:
            subject = (
                self._of_output(sample_set, kind, chunks)
                if callable(self.what)
                else self._of_classes(sample_set, kind, chunks, None if rows is None else rows.scores)
            )
            if rows is not None and kind == "tabular":
                subject.rows = rows.inputs
            found = explain_samples(subject, self.how, failed)
        return found if seconds == self.max_seconds else _said(found, seconds)

    def _seconds(self, trainer: Trainer) -> float | None:
        """How long an explanation may take: in a fit no longer than it allows."""
        allowed = self.access.limit.seconds if trainer.state.fn == "fit" else math.inf
        least = min(allowed, math.inf if self.max_seconds is None else self.max_seconds)
        return None if least == math.inf else least

    def _of_output(self, sample_set: SampleSet, kind: Kind, chunks: Chunks) -> Subject:
        assert callable(self.what)
        inputs = sample_set.inputs(kind)
        targets = of_output(self.access.model(sample_set.module), sample_set.chosen, inputs, self.what)

        def forward(rows: Tensor) -> Tensor:
            return targets.score(rows, torch.zeros(len(rows), dtype=torch.int64, device=rows.device))

        pick, shown = torch.ones(len(inputs), 1), sample_set.chosen.inputs
        return Subject(forward, inputs, pick, targets.samples, shown, kind, unit="output", chunks=chunks)

    def _of_classes(self, sample_set: SampleSet, kind: Kind, chunks: Chunks, others: Tensor | None) -> Subject:
        """What is explained of classes; ``others`` are the scores of other rows, or None."""
        assert not callable(self.what)
        scorer, inputs, names = self.access.scorer(sample_set), sample_set.inputs(kind), sample_set.names
        with torch.no_grad():
            logits = scorer(inputs.clone()).detach().float().cpu()
        asked = questions(logits, sample_set.chosen, self.what, names)
        rows = torch.tensor([question.row for question in asked])
        labels = tuple(question.explained for question in asked) if self._labels(sample_set) else None
        kept = ChosenOutputs() if labels else ChosenOutputs.of(asked, logits, others)

        def read(scores: Tensor) -> Tensor:
            if kept.classes is None:
                return self._read(scores, sample_set)
            return kept.read(scores.float(), probability=self.output == "probability")

        pick = kept.pick(asked, logits.shape[1], alone=sample_set.chosen.single and self.output == "logit")
        values = (read(logits[rows]) * pick).sum(1).tolist()
        samples = tuple(replace(one.sample, value=value) for one, value in zip(asked, values, strict=True))

        def forward(x: Tensor, sample: int | None = None) -> Tensor:
            which = None if sample is None else rows[sample].to(x.device).expand(len(x))
            return read(scorer(x, which))

        return Subject(
            forward, inputs[rows.to(inputs.device)], pick, samples, sample_set.chosen.inputs[rows], kind,
            class_names=kept.names(names), numbers=kept.numbers, labels=labels, unit=self.output, chunks=chunks,
            outputs=None if others is None or kind != "tabular" else read(others),
            alone=bool(sample_set.chosen.context),
        )  # fmt: skip

    def _labels(self, sample_set: SampleSet) -> bool:
        """Whether a row has several labels."""
        return sample_set.chosen.target is not None and sample_set.chosen.target.ndim == 2

    def _read(self, logits: Tensor, sample_set: SampleSet) -> Tensor:
        """Logits as what is explained."""
        if self.output == "logit":
            # of a network with one logit the two are halves of it
            return logits.float() * (2 if sample_set.chosen.single else 1)
        return logits.float().sigmoid() if self._labels(sample_set) else logits.float().softmax(1)


def _said(found: Explained, seconds: float | None) -> Explained:
    """What was found, with the limit of a fit where something was left out by it."""
    skipped = found.saliency.skipped
    if seconds is None or not any("time was" in reason for reason in skipped.values()):
        return found
    limit = {"time": f"{seconds:.0f} s are allowed in a fit; max_overhead=None and trainer.validate allow more"}
    return replace(found, saliency=replace(found.saliency, skipped={**skipped, **limit}))
