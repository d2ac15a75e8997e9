"""What lies between saliency maps as a callback and the methods: the ranks, the time, the epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_posttrain.attribution import Chunks
from lightning_posttrain.attribution.attribute import attribute
from lightning_posttrain.attribution.explainer import Explainer, explain
from lightning_posttrain.attribution.judge import judge
from lightning_posttrain.attribution.targets import EXPLAINED, Explain, Output, Targets, of_classes, of_output
from lightning_posttrain.attribution.trail import Key, Trail, Where, class_means, masks, regions_of
from lightning_posttrain.callbacks.asking import CURE, Asking, of_first_rank
from lightning_posttrain.callbacks.case import Case, progress
from lightning_posttrain.callbacks.options import one_of
from lightning_posttrain.results import ClassMeans, Faithfulness, Kind, Saliency

MEASURED = 4
"""Samples that methods are measured on."""


class Explaining:
    """Explains cases, on the first rank, and follows their maps over the epochs.

    Args:
        explainer: the methods and what they share.
        what: of the output is explained.
        asking: how the module is asked.
        max_seconds: for one explanation.
        suspect_fn: a region that should not matter.
        object_fn: a region that should.
    """

    def __init__(
        self,
        *,
        explainer: Explainer,
        what: Explain | Output,
        asking: Asking,
        max_seconds: float | None,
        suspect_fn: Where | None,
        object_fn: Where | None,
    ) -> None:
        self.explainer = explainer
        self.what = what
        self.max_seconds = max_seconds
        self.suspect_fn = suspect_fn
        self.object_fn = object_fn
        self.asking = asking
        self.forget()

    def forget(self) -> None:
        """A run begins."""
        self._trails: dict[str, Trail] = {}
        self._last: dict[str, list[Key]] = {}
        self.asking.forget()
        self.explainer.forget()

    def explain(self, case: Case | None, trainer: Trainer, *, measured: bool, classes: bool) -> Saliency | None:
        """The result of a case; on other ranks its figures alone. All ranks together."""
        results: list[Saliency] = []
        if case is not None and trainer.is_global_zero and self.asking.can(case):
            with self.asking.guarded(trainer, "explain the samples", CURE), self.asking.session(case.module):
                results.append(self._explained(case, trainer))
            if measured and results:
                results = [replace(results[0], faithfulness=self.measure(case))]
            if classes and results:
                results = [replace(results[0], classes=self.class_means(case))]
        figures = of_first_rank(trainer, dict(results[0].figures) if results else None)
        if results or figures is None:
            return results[0] if results else None
        nothing = torch.zeros(0)
        return Saliency("tabular", nothing, {}, {}, frozenset(), (), figures=figures)

    def _explained(self, case: Case, trainer: Trainer) -> Saliency:
        key = case.evaluation.key
        inputs = case.inputs(self.explainer.display.kind)
        targets = self._targets(case, inputs)
        with progress(trainer, self.asking.owner) as advance:
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
            with self.asking.guarded(trainer, f"work out {name}", CURE):
                raise error

        return failed

    def _keys(self, targets: Targets) -> list[Key]:
        """What maps are followed by: the sample, whatever it is predicted as, or each of its two classes."""
        pairs = zip(targets.rows.tolist(), targets.samples, strict=True)
        return [(row, sample.explained if self.what == "both" else "") for row, sample in pairs]

    def measure(self, case: Case) -> Faithfulness | None:
        """How much each method's maps say of the model, on the first samples of a case."""
        trainer, found = case.module.trainer, []
        with (
            self.asking.guarded(trainer, "measure the methods", CURE),
            self.asking.session(case.module),
            progress(trainer, self.asking.owner) as advance,
        ):
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
        guarded = self.asking.guarded(trainer, "explain the classes", CURE)
        with guarded, self.asking.session(case.module), progress(trainer, self.asking.owner) as advance:
            inputs = replace(case, chosen=chosen).inputs(self.explainer.display.kind)
            targets = of_classes(self.asking.scorer(case), chosen, inputs, "true", case.names)
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

    def _targets(self, case: Case, inputs: Tensor) -> Targets:
        if callable(self.what):
            return of_output(self.asking.model(case.module), case.chosen, inputs, self.what)
        return of_classes(self.asking.scorer(case), case.chosen, inputs, self.what, case.names)


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
