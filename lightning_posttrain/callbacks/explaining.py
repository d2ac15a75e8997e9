"""What lies between a callback that explains and the methods: the session, the samples' scores, the ranks, the time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_posttrain.attribution import Chunks, gradient_session
from lightning_posttrain.attribution.attribute import attribute
from lightning_posttrain.attribution.explainer import Explainer, explain
from lightning_posttrain.attribution.judge import judge
from lightning_posttrain.attribution.targets import EXPLAINED, Explain, Output, Targets, of_classes, of_output
from lightning_posttrain.attribution.trail import Key, Trail, Where, class_means, masks, regions_of
from lightning_posttrain.callbacks.case import Case, compare, dtype_of, progress, sharded
from lightning_posttrain.callbacks.options import one_of
from lightning_posttrain.forward import muted
from lightning_posttrain.reading import Reading
from lightning_posttrain.results import ClassMeans, Faithfulness, Kind, Saliency
from lightning_posttrain.tasks import to_logits

MEASURED = 4
"""Samples that methods are measured on."""


class Explaining:
    """Explains cases, on the first rank, and follows their maps over the epochs.

    Args:
        explainer: the methods and what they share.
        what: of the output is explained.
        forward_fn: from the module and inputs to scores, or None.
        max_seconds: for one explanation.
        precision: ``"full"`` or ``"trainer"``.
        suspect_fn: a region that should not matter.
        object_fn: a region that should.
        reading: how scores are read.
        guarded: a context in which an error is said, and costs no run.
    """

    def __init__(  # noqa: PLR0913 - all by keyword
        self,
        *,
        explainer: Explainer,
        what: Explain | Output,
        forward_fn: Callable[[Any, Any], Any] | None,
        max_seconds: float | None,
        precision: Literal["full", "trainer"],
        suspect_fn: Where | None,
        object_fn: Where | None,
        reading: Reading,
        guarded: Callable[[Trainer, str, str], AbstractContextManager[None]],
    ) -> None:
        self.explainer = explainer
        self.what = what
        self.forward_fn = forward_fn
        self.max_seconds = max_seconds
        self.precision = precision
        self.suspect_fn = suspect_fn
        self.object_fn = object_fn
        self.reading = reading
        self.guarded = guarded
        self.forget()

    def forget(self) -> None:
        """A run begins."""
        self._trails: dict[str, Trail] = {}
        self._last: dict[str, list[Key]] = {}
        self._same: set[str] = set()
        self._refused: set[str] = set()
        self.explainer.forget()

    def explain(self, case: Case | None, trainer: Trainer, *, measured: bool, classes: bool) -> Saliency | None:
        """The result of a case; on other ranks its figures alone. All ranks together."""
        results: list[Saliency] = []
        if case is not None and trainer.is_global_zero and self._can(case):
            with self.guarded(trainer, "explain the samples", CURE), self._session(case):
                results.append(self._explained(case, trainer))
            if measured and results:
                results = [replace(results[0], faithfulness=self.measure(case))]
            if classes and results:
                results = [replace(results[0], classes=self.class_means(case))]
        figures = dict(results[0].figures) if results else None
        if trainer.world_size > 1:
            figures = trainer.strategy.broadcast(figures, 0)
        if results or figures is None:
            return results[0] if results else None
        nothing = torch.zeros(0)
        return Saliency("tabular", nothing, {}, {}, frozenset(), (), figures=figures)

    def _can(self, case: Case) -> bool:
        return case.evaluation.key not in self._refused and not sharded(case.module)

    def _explained(self, case: Case, trainer: Trainer) -> Saliency:
        key = case.evaluation.key
        inputs = case.inputs(self.explainer.display.kind)
        targets = self._targets(case, inputs)
        with progress(trainer) as advance:
            chunks = self._chunks(case, advance)
            result, problem, methods = explain(
                self.explainer, case.module, case.chosen, targets=targets, inputs=inputs, chunks=chunks, key=key,
                failed=self._failed(trainer),
            )  # fmt: skip
            if result.layer and self.explainer.layer is None and key not in self._trails:
                rank_zero_info(f"SaliencyMaps: class activation maps of {key} are taken from layer {result.layer}")
            trail = self._trails.setdefault(key, Trail(case.fixed))
            suspect = masks(self.suspect_fn, inputs, case.chosen.index, problem.spatial)
            suspect = suspect if suspect is None or suspect.ndim == len(problem.spatial) else suspect[targets.rows]
            regions = regions_of(result.kind, problem.spatial, suspect)
            self._last[key] = keys = self._keys(targets)
            figures = trail.figures(result, keys, regions)
            at_once = trainer.state.fn != "fit"
            alarms = trail.alarms(result, problem, methods, regions, at_once=at_once)
        result = replace(result, figures=figures, alarms=alarms)
        trail.follow(result, keys, trainer.current_epoch)
        return result

    def _failed(self, trainer: Trainer) -> Callable[[str, Exception], None]:
        def failed(name: str, error: Exception) -> None:
            with self.guarded(trainer, f"work out {name}", CURE):
                raise error

        return failed

    def _keys(self, targets: Targets) -> list[Key]:
        """What maps are followed by: the sample, whatever it is predicted as, or each of its two classes."""
        pairs = zip(targets.rows.tolist(), targets.samples, strict=True)
        return [(row, sample.explained if self.what == "both" else "") for row, sample in pairs]

    def measure(self, case: Case) -> Faithfulness | None:
        """How much each method's maps say of the model, on the first samples of a case."""
        trainer, found = case.module.trainer, []
        with self.guarded(trainer, "measure the methods", CURE), self._session(case), progress(trainer) as advance:
            inputs = case.inputs(self.explainer.display.kind)
            targets = self._targets(case, inputs)
            few = Targets(targets.score, targets.rows[:MEASURED], targets.samples[:MEASURED])
            chunks = self._chunks(case, advance)
            problem, kind = self.explainer.problem(case.module, few, inputs, chunks)
            problem, methods = self.explainer.choose(case.evaluation.key, problem, kind)
            objects = masks(self.object_fn, inputs, case.chosen.index, problem.spatial)
            objects = objects if objects is None or objects.ndim == len(problem.spatial) else objects[few.rows]
            shown = self.explainer.display.shown(case.chosen.inputs[few.rows], kind)
            found.append(judge(problem, methods, kind=kind, shown=shown, objects=objects))
        return found[0] if found else None

    def class_means(self, case: Case) -> ClassMeans | None:
        """The mean map of each class, of the method that the filmstrip is of; for pictures only."""
        trainer, found, key = case.module.trainer, [], case.evaluation.key
        chosen, trail = case.of_classes, self._trails.get(key)
        if chosen is None or trail is None or not trail.film:
            return None
        guarded = self.guarded(trainer, "explain the classes", CURE)
        with guarded, self._session(case), progress(trainer) as advance:
            inputs = replace(case, chosen=chosen).inputs(self.explainer.display.kind)
            targets = of_classes(self._scorer(case), chosen, inputs, "true", case.names)
            problem, kind = self.explainer.problem(case.module, targets, inputs, self._chunks(case, advance))
            problem, methods = self.explainer.choose(key, problem, kind)
            method = next(method for method in methods if method.name == trail.film)
            maps = attribute([method], problem).maps.get(method.name)
            if maps is not None and chosen.target is not None:
                shown = self.explainer.display.shown(chosen.inputs, kind)
                means = class_means(shown, maps, chosen.target, case.names)
                found.append(ClassMeans(case.names, *means, title=method.title, signed=method.signed))
        return found[0] if found else None

    def _chunks(self, case: Case, advance: Callable[[int], object]) -> Chunks:
        return Chunks(max(min(8, case.rows), case.rows // 2), seconds=self.max_seconds, advance=advance)

    def film(self, key: str, result: Saliency) -> dict[str, Any] | None:
        """What a filmstrip is drawn from; None where there are not two epochs."""
        trail = self._trails.get(key)
        frames = None if trail is None else trail.film_of(self._last[key])
        if trail is None or frames is None:
            return None
        said = [sample.actual or sample.explained for sample in result.samples]
        return {
            "images": result.shown, "frames": frames, "epochs": [frame.epoch for frame in trail.frames],
            "captions": said, "signed": trail.film in result.signed, "title": f"{key} · {result.titles[trail.film]}",
        }  # fmt: skip

    @contextlib.contextmanager
    def _session(self, case: Case) -> Iterator[None]:
        module = case.module
        plain = self.precision == "full" and dtype_of(module) == torch.float32
        context = None if plain else module.trainer.precision_plugin.forward_context()
        with gradient_session(module, self.explainer.seed, precision=context), muted(module):
            yield

    def _targets(self, case: Case, inputs: Tensor) -> Targets:
        forward_fn, module = self.forward_fn, case.module
        if callable(self.what):
            model = module if forward_fn is None else lambda x: forward_fn(module, x)
            return of_output(model, case.chosen, inputs, self.what)
        return of_classes(self._scorer(case), case.chosen, inputs, self.what, case.names)

    def _scorer(self, case: Case) -> Callable[[Tensor], Tensor]:
        forward_fn, module, reading = self.forward_fn, case.module, self.reading
        if forward_fn is None:
            return case.evaluation.scorer
        return lambda inputs: to_logits(forward_fn(module, inputs), reading.task, reading.scores)

    def check(self, case: Case, trainer: Trainer) -> None:
        """See once, in the epoch in which samples were chosen, that their scores are those that the step gave."""
        key = case.evaluation.key
        if key in self._same or not trainer.is_global_zero or callable(self.what) or not self._can(case):
            return
        self._refused.add(key)
        with self.guarded(trainer, "explain the samples", CURE), self._session(case), torch.no_grad():
            compare(case, self._scorer(case)(case.inputs(self.explainer.display.kind).clone()).detach().cpu())
            self._refused.remove(key)
            self._same.add(key)


def check_options(explain: Any, precision: str, kind: str | None, baseline: Any, choose: Any) -> None:
    """Raise for an option that is none.

    Raises:
        ValueError: so it is.
    """
    if not callable(explain):
        one_of("explain", explain, EXPLAINED)
    elif choose != "fixed":
        raise ValueError(f"`choose` is {choose!r}, which needs classes; a function in `explain` has none.")
    one_of("precision", precision, ("full", "trainer"))
    if kind is not None:
        one_of("kind", kind, get_args(Kind))
    if baseline not in ("mean", "blur") and not isinstance(baseline, (int, float)) and not callable(baseline):
        raise ValueError(f"`baseline` is {baseline!r}, wanted a number, 'mean', 'blur' or a function.")


CURE = "Pass forward_fn=lambda module, inputs: ... that gives the scores, other methods, or layer=..."
