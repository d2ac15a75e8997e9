"""The methods of one explanation, of samples that are taken apart into the same parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.attribution import NotApplicableError, OutOfTimeError
from lightning_posttrain.explanations.anchors.row_rules import anchor_of_rows
from lightning_posttrain.explanations.anchors.segment_rules import anchor_of_parts
from lightning_posttrain.explanations.perturbation.bins import bins_of
from lightning_posttrain.explanations.perturbation.cooperative_game import Game, ask
from lightning_posttrain.explanations.perturbation.importance import importance_of
from lightning_posttrain.explanations.perturbation.lime import lime_of_pool, lime_of_rows, neighbourhood
from lightning_posttrain.explanations.perturbation.masking import hidden_of
from lightning_posttrain.explanations.perturbation.outcome import Found
from lightning_posttrain.explanations.perturbation.perturbation_pool import Pool, banzhaf, draw_pool, rise
from lightning_posttrain.explanations.perturbation.segments import Parts
from lightning_posttrain.explanations.perturbation.settings import TITLES, PerturbationSettings, Subject
from lightning_posttrain.explanations.perturbation.shapley import shapley_of_game, shapley_of_pool
from lightning_posttrain.explanations.result.rule import Rule

SHARED = 4
"""Times as many rows for LIME of a table, as all samples share them."""
MANY = 50
"""Rows below which it is said how few a sample is compared with."""
OVER = "the time was over"


class Run:
    """The methods of one explanation, and what they share.

    Args:
        subject: what is explained.
        how: how.
        parts: what the samples are taken apart into.
    """

    def __init__(self, subject: Subject, how: PerturbationSettings, parts: Parts) -> None:
        self.subject, self.how, self.parts = subject, how, parts
        self.tabular = subject.kind == "tabular"
        self.found = Found(subject, how, parts)
        self.skipped: dict[str, str] = {}

    def go(self, failed: Callable[[str, Exception], None] | None) -> None:
        """Work out all methods; told of an error is ``failed``, without which it is raised."""
        work = {"lime": self._lime, "shap": self._shap, "banzhaf": self._banzhaf, "rise": self._rise}
        # what asks for most rows of its own comes last, should the time be short
        for name in sorted(self.how.methods, key=lambda method: method == "shap"):
            try:
                work.get(name, self._anchors)()
            except NotApplicableError as reason:
                self.skipped[name] = str(reason)
            except OutOfTimeError:
                self.skipped[name] = OVER
            except Exception as error:
                if failed is None:
                    raise
                self.skipped[name] = f"{type(error).__name__}: {error}"
                failed(TITLES[name], error)
        values = self.found.values
        self.found.values = {name: values[name] for name in self.how.methods if name in values}

    @cached_property
    def rows(self) -> Tensor:
        """Rows of the table, where the model takes them."""
        if self.subject.rows is None:
            raise NotApplicableError("no other rows were seen to compare with")
        if len(self.subject.rows) < MANY:
            self.skipped["rows"] = f"only {len(self.subject.rows)} to compare with"
        return self.subject.rows.to(self.subject.inputs)

    def hidden(self, inputs: Tensor, background: int) -> Tensor:
        """What stands for the hidden parts of some inputs; of a table at most so many rows."""
        given = self.how.hidden
        if self.tabular and given is None:
            given = self.rows[:background]
        return hidden_of(inputs, self.subject.kind, self.parts, how=given)

    @cached_property
    def game(self) -> Game:
        """The parts, there or hidden."""
        subject, parts = self.subject, self.parts
        hidden = self.hidden(subject.inputs, self.how.background)
        return Game(subject.forward, subject.inputs, parts.index, parts.count, hidden, subject.chunks)

    @cached_property
    def pool(self) -> Pool:
        """Random masks and the outputs for them, for which half of the time is allowed."""
        with self.subject.chunks.within(0.5):
            pool = draw_pool(self.game, self.how.perturbations, self.how.seed)
        if len(pool) < min(self.how.perturbations, 2**self.parts.count):
            self.skipped["perturbed copies"] = f"{len(pool):,} instead of {self.how.perturbations:,}, as time was short"
        return pool

    def _lime(self) -> None:
        subject, how = self.subject, self.how
        if self.tabular:
            with subject.chunks.within(0.5):
                drawn = SHARED * how.perturbations
                near = neighbourhood(subject.forward, self.rows, drawn, how.seed, chunks=subject.chunks)
            output = ask(subject.forward, subject.inputs, subject.chunks)
            bins = bins_of(self.rows, how.bins or 4, how.categorical)
            found = lime_of_rows(near, bins, subject.inputs, output, subject.pick)
        else:
            found = lime_of_pool(self.pool, subject.pick)
        self.found.lime, self.found.values["lime"] = found, found.values

    def _shap(self) -> None:
        whole = not self.tabular and 2**self.parts.count <= self.how.perturbations and self.pool.complete
        if whole:
            found = shapley_of_pool(self.pool, self.subject.pick)
        else:
            found = shapley_of_game(self.game, self.subject.pick, samples=self._sets(), seed=self.how.seed)
        self.found.shap, self.found.values["shap"] = found, found.values
        if self.tabular and self.how.important:
            try:
                self.found.importance = importance_of(self.subject, self.how, self.parts, self.rows, self.hidden)
            except OutOfTimeError:
                self.skipped["importance of columns"] = OVER

    def _sets(self) -> int | None:
        """How many sets of parts Shapley values are worked out from: fewer than wanted where the time is short."""
        count, each = self.parts.count, len(self.game) * self.game.hidden.shape[1]
        wanted, least = max(self.how.perturbations, 2 * count + 2), 2 * count + 2
        if not self.tabular and "pool" in vars(self):
            afforded = self.subject.chunks.affords(0.9) / each
            if afforded < min(wanted, 2**count):
                if afforded < least:
                    raise OutOfTimeError
                self.skipped["sets of parts for SHAP"] = f"{int(afforded):,} instead of {wanted:,}, as time was short"
                return int(afforded)
        return None if count <= 12 else wanted

    def _banzhaf(self) -> None:
        self.found.values["banzhaf"] = self._picked(banzhaf(self.pool.present, self.pool.outputs))

    def _rise(self) -> None:
        found = self._picked(rise(self.pool.present, self.pool.outputs)).nan_to_num(0.0)
        self.found.values["rise"] = found - found.amin(1, keepdim=True)

    def _picked(self, values: Tensor) -> Tensor:
        """Of values of all outputs ``(K, C, M)`` those of what is explained ``(K, M)``."""
        return (values * self.subject.pick.cpu().double()[..., None]).sum(1)

    def _anchors(self) -> None:
        if not self.subject.class_names:
            raise NotApplicableError("a rule says which class is given, and there are no classes")
        labels = self.subject.labels
        with self.subject.chunks.within(0.6):
            if labels is None:
                self.found.rules = self._rules(range(len(self.subject.inputs)), None)
            else:
                self.found.rules = tuple(self._rules([k], label)[0] for k, label in enumerate(labels))

    def _rules(self, which: Sequence[int], label: int | None) -> tuple[Rule, ...]:
        """Rules of some samples: for their class, or for whether a label is there."""
        subject, how = self.subject, self.how
        options: Any = {"threshold": how.threshold, "exact": how.exact, "seed": how.seed}
        inputs = subject.inputs[list(which)]

        def forward(rows: Tensor) -> Tensor:
            return self._of_label(subject.forward(rows), label)

        if self.tabular:
            known = ask(subject.forward, self.rows, subject.chunks) if subject.outputs is None else subject.outputs
            found = anchor_of_rows(
                forward, inputs, self.rows, predicted=self._of_label(known, label).argmax(1), bins=how.bins,
                names=self.parts.names[0], scale=how.display.scale(inputs.shape[1]), categorical=how.categorical,
                samples=how.perturbations // 2, chunk=subject.chunks, **options,
            )  # fmt: skip
        else:
            index, hidden = (one[list(which)] if len(one) > 1 else one for one in (self.parts.index, self.game.hidden))
            game = Game(forward, inputs, index, self.parts.count, hidden, subject.chunks)
            pool = Pool(self.pool.present, self._of_label(self.pool.outputs[list(which)], label))
            found = anchor_of_parts(game, pool, names=[self.parts.names_of(k) for k in which], **options)
        found = tuple(replace(rule, wanted=how.threshold) for rule in found)
        if label is None:
            return found
        count = len(subject.class_names)
        return tuple(replace(rule, predicted=label if rule.predicted else count + label) for rule in found)

    def _of_label(self, outputs: Tensor, label: int | None) -> Tensor:
        """Outputs ``(..., L)`` of one label as of two classes: that it is not there, and that it is."""
        if label is None:
            return outputs
        there = outputs[..., label]
        return torch.stack([-there if self.subject.unit == "logit" else 1 - there, there], -1)
