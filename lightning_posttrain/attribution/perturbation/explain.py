"""From a model and a few samples to their explanations, as a result; forwards serve as many methods as they can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lightning_posttrain.attribution.chunks import OutOfTimeError
from lightning_posttrain.attribution.perturbation.anchors.parts import anchor_of_parts
from lightning_posttrain.attribution.perturbation.anchors.rows import anchor_of_rows
from lightning_posttrain.attribution.perturbation.bins import bins_of
from lightning_posttrain.attribution.perturbation.found import Found
from lightning_posttrain.attribution.perturbation.game import Game, ask
from lightning_posttrain.attribution.perturbation.hidden import hidden_of
from lightning_posttrain.attribution.perturbation.lime import lime_of_pool, lime_of_rows, neighbourhood
from lightning_posttrain.attribution.perturbation.parts import parts_of
from lightning_posttrain.attribution.perturbation.plans import Method
from lightning_posttrain.attribution.perturbation.pool import Pool, banzhaf, draw_pool, rise
from lightning_posttrain.attribution.perturbation.shapley import all_outputs, shapley_of_game
from lightning_posttrain.attribution.perturbation.subject import TITLES, Perturbing, Subject
from lightning_posttrain.attribution.problem import NotApplicableError
from lightning_posttrain.results import Explained, Importance, Rule

MOST_CLASSES = 10
"""Classes whose Shapley values are worked out for many rows: those that are predicted most."""
SHARED = 4
"""Times as many rows for LIME of a table, as all samples share them."""
FEW = 16
"""Background rows for many rows."""


def explain_samples(
    subject: Subject, how: Perturbing, failed: Callable[[str, Exception], None] | None = None
) -> Explained:
    """Explanations of samples by several methods; a method that has no meaning here, or no time, is left out and said.

    Args:
        subject: what is explained.
        how: how.
        failed: told of an error in a method, which is then left out; default: the error is raised.
    """
    run = _Run(subject, how)
    skipped: dict[str, str] = {}
    for name in how.methods:
        try:
            subject.chunks.check()
            run.do(name)
        except NotApplicableError as reason:
            skipped[name] = str(reason)
        except OutOfTimeError:
            skipped[name] = "the time was over"
        except Exception as error:
            if failed is None:
                raise
            skipped[name] = f"{type(error).__name__}: {error}"
            failed(TITLES[name], error)
    return run.found.result(skipped)


class _Run:
    """The methods of one explanation, and what they share."""

    def __init__(self, subject: Subject, how: Perturbing) -> None:
        self.subject, self.how = subject, how
        self.tabular = subject.kind == "tabular"
        words = how.display.words_of(subject.shown) if subject.kind == "tokens" else ()
        names = how.display.names or ()
        self.parts = parts_of(subject.inputs, subject.kind, how=how.parts, names=names, words=words)
        self.found = Found(subject, how, self.parts)

    def do(self, name: str) -> None:
        """Work out a method."""
        work = {"lime": self._lime, "shap": self._shap, "banzhaf": self._banzhaf, "rise": self._rise}
        work.get(name, self._anchors)()

    @cached_property
    def rows(self) -> Tensor:
        """Rows of the table, where the model takes them."""
        if self.subject.rows is None:
            raise NotApplicableError("no other rows were seen to compare with")
        return self.subject.rows.to(self.subject.inputs)

    @cached_property
    def game(self) -> Game:
        """The parts, there or hidden."""
        subject = self.subject
        given = self.how.hidden if not self.tabular or self.how.hidden is not None else self.rows[: self.how.background]
        hidden = hidden_of(subject.inputs, subject.kind, self.parts, how=given)
        return Game(subject.forward, subject.inputs, self.parts.index, self.parts.count, hidden, subject.chunks)

    @cached_property
    def pool(self) -> Pool:
        """Random masks and the outputs for them."""
        return draw_pool(self.game, self.how.perturbations, self.how.seed)

    def _lime(self) -> None:
        subject, how = self.subject, self.how
        if self.tabular:
            drawn = SHARED * how.perturbations
            near = neighbourhood(subject.forward, self.rows, drawn, how.seed, chunks=subject.chunks)
            output = ask(subject.forward, subject.inputs, subject.chunks)
            bins = bins_of(self.rows, categorical=how.categorical)
            found = lime_of_rows(near, bins, subject.inputs, output, subject.pick)
        else:
            found = lime_of_pool(self.pool, subject.pick)
        self.found.lime, self.found.values["lime"] = found, found.values

    def _shap(self) -> None:
        count = self.parts.count
        samples = None if count <= 12 else max(self.how.perturbations, 2 * count + 2)
        found = shapley_of_game(self.game, self.subject.pick, samples=samples, seed=self.how.seed)
        self.found.shap, self.found.values["shap"] = found, found.values
        if self.tabular and self.how.important:
            self.found.importance = self._important()

    def _important(self) -> Importance:
        """Shapley values of many rows, of the classes that are predicted most."""
        subject, rows = self.subject, self.rows[: self.how.important]
        hidden = self.rows[:FEW][None]
        game = Game(subject.forward, rows, self.parts.index[:1], self.parts.count, hidden, subject.chunks)
        count = self.parts.count
        samples = None if count <= 8 else 2 * count + 256  # for 9 and more, all are too many for many rows
        method: Method = "auto" if count <= 8 else "kernel"
        found = all_outputs(game, method=method, samples=samples, seed=self.how.seed)
        most = (
            found.output.argmax(1).bincount(minlength=found.output.shape[1]).sort(descending=True, stable=True).indices
        )
        chosen = most[:MOST_CLASSES].sort().values
        names = subject.class_names or (subject.unit,)
        return Importance(
            names=self.parts.names[0], class_names=tuple(names[i] for i in chosen.tolist()),
            values=found.values[:, chosen].movedim(1, 0).float(), shown=self.how.display.shown(rows.cpu(), "tabular"),
            method=found.method, background=hidden.shape[1],
        )  # fmt: skip

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
            return _of_label(subject.forward(rows), label)

        if self.tabular:
            known = ask(subject.forward, self.rows, subject.chunks) if subject.outputs is None else subject.outputs
            found = anchor_of_rows(
                forward, inputs, self.rows, predicted=_of_label(known, label).argmax(1), names=self.parts.names[0],
                scale=how.display.scale(inputs.shape[1]), categorical=how.categorical, chunk=subject.chunks, **options,
            )  # fmt: skip
        else:
            index, hidden = (one[list(which)] if len(one) > 1 else one for one in (self.parts.index, self.game.hidden))
            game = Game(forward, inputs, index, self.parts.count, hidden, subject.chunks)
            pool = Pool(self.pool.present, _of_label(self.pool.outputs[list(which)], label))
            names = [self.parts.names_of(k) for k in which]
            found = anchor_of_parts(game, pool, names=names, **options)
        if label is None:
            return found
        count = len(subject.class_names)
        return tuple(replace(rule, predicted=label if rule.predicted else count + label) for rule in found)


def _of_label(outputs: Tensor, label: int | None) -> Tensor:
    """Outputs ``(..., L)`` of one label as of two classes: that it is not there, and that it is."""
    if label is None:
        return outputs
    there = outputs[..., label]
    return torch.stack([1 - there, there], -1)
