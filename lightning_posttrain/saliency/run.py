"""What lies between saliency maps as a callback and the methods: the ranks, the time, the epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_posttrain.attribution import Chunks, attribute
from lightning_posttrain.core.callback.from_lightning import rank_zero_info
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.saliency.evolution import Evolution, Key, Where, class_means, masks, regions_of
from lightning_posttrain.saliency.explainer import Explainer, explain
from lightning_posttrain.saliency.faithfulness import faithfulness_of
from lightning_posttrain.saliency.result import ClassMeans, Faithfulness, Saliency, only_figures
from lightning_posttrain.samples.model_access import CURE, ModelAccess
from lightning_posttrain.samples.sample_set import SampleSet, progress
from lightning_posttrain.samples.targets import Explain, Output, Targets, of_classes, of_output

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

MEASURED = 4
"""Samples that methods are measured on."""


class SaliencyRun:
    """Explains chosen samples, on the first rank, and follows their maps over the epochs.

    Args:
        explainer: the methods and what they share.
        what: of the output is explained.
        access: how the module is asked.
        max_seconds: for one explanation.
        suspect_fn: a region that should not matter.
        object_fn: a region that should.
    """

    def __init__(
        self,
        *,
        explainer: Explainer,
        what: Explain | Output,
        access: ModelAccess,
        max_seconds: float | None,
        suspect_fn: Where | None,
        object_fn: Where | None,
    ) -> None:
        self.explainer = explainer
        self.what = what
        self.max_seconds = max_seconds
        self.suspect_fn = suspect_fn
        self.object_fn = object_fn
        self.access = access
        self.forget()

    def forget(self) -> None:
        """A run begins."""
        self._evolutions: dict[str, Evolution] = {}
        self._last: dict[str, list[Key]] = {}
        self.access.forget()
        self.explainer.forget()

    def explain(
        self, sample_set: SampleSet | None, trainer: Trainer, *, measured: bool, classes: bool
    ) -> Saliency | None:
        """The result of chosen samples; on other ranks its figures alone. All ranks together."""

        def explained(chosen: SampleSet) -> Saliency:
            with self.access.session(chosen.module):
                result = self._explained(chosen, trainer)
            result = replace(result, faithfulness=self.measure(chosen)) if measured else result
            return replace(result, classes=self.class_means(chosen)) if classes else result

        return self.access.explained(sample_set, trainer, explained, only_figures)

    def _explained(self, sample_set: SampleSet, trainer: Trainer) -> Saliency:
        key = sample_set.evaluation.key
        inputs = sample_set.inputs(self.explainer.display.kind)
        targets = self._targets(sample_set, inputs)
        with progress(trainer, self.access.owner) as advance:
            chunks = self._chunks(sample_set, advance)
            result, problem, methods = explain(
                self.explainer, sample_set.module, sample_set.chosen, targets=targets, inputs=inputs, chunks=chunks,
                key=key, failed=self._failed(trainer),
            )  # fmt: skip
            if result.layer and self.explainer.layer is None and key not in self._evolutions:
                label = sample_set.evaluation.label
                rank_zero_info(f"SaliencyMaps: class activation maps of {label} are taken from layer {result.layer}")
            evolution = self._evolutions.setdefault(key, Evolution(sample_set.fixed))
            suspect = masks(self.suspect_fn, inputs, sample_set.chosen.index, problem.spatial)
            suspect = suspect if suspect is None or suspect.ndim == len(problem.spatial) else suspect[targets.rows]
            regions = regions_of(result.kind, problem.spatial, suspect)
            self._last[key] = keys = self._keys(targets)
            figures = evolution.figures(result, keys, regions)
            at_once = trainer.state.fn != "fit"
            alarms = evolution.alarms(result, problem, methods, regions, at_once=at_once)
        result = replace(result, figures=figures, alarms=alarms)
        evolution.follow(result, keys, trainer.current_epoch)
        return result

    def _failed(self, trainer: Trainer) -> Callable[[str, Exception], None]:
        def failed(name: str, error: Exception) -> None:
            with self.access.guarded(trainer, f"work out {name}", CURE):
                raise error

        return failed

    def _keys(self, targets: Targets) -> list[Key]:
        """What maps are followed by: the sample, whatever it is predicted as, or each of its two classes."""
        pairs = zip(targets.rows.tolist(), targets.samples, strict=True)
        return [(row, sample.explained if self.what == "both" else "") for row, sample in pairs]

    def measure(self, sample_set: SampleSet) -> Faithfulness | None:
        """How much each method's maps say of the model, on the first of the chosen samples."""
        trainer, found = sample_set.module.trainer, []
        with (
            self.access.guarded(trainer, "measure the methods", CURE),
            self.access.session(sample_set.module),
            progress(trainer, self.access.owner) as advance,
        ):
            inputs = sample_set.inputs(self.explainer.display.kind)
            targets = self._targets(sample_set, inputs)
            few = Targets(targets.score, targets.rows[:MEASURED], targets.samples[:MEASURED])
            chunks = self._chunks(sample_set, advance)
            problem, kind = self.explainer.problem(sample_set.module, few, inputs, chunks)
            problem, methods = self.explainer.choose(sample_set.evaluation.key, problem, kind)
            objects = masks(self.object_fn, inputs, sample_set.chosen.index, problem.spatial)
            objects = objects if objects is None or objects.ndim == len(problem.spatial) else objects[few.rows]
            shown = self.explainer.display.shown(sample_set.chosen.inputs[few.rows], kind)
            found.append(faithfulness_of(problem, methods, kind=kind, shown=shown, objects=objects))
        return found[0] if found else None

    def class_means(self, sample_set: SampleSet) -> ClassMeans | None:
        """The mean map of each class, of the method that the filmstrip is of; for pictures only."""
        trainer, found, key = sample_set.module.trainer, [], sample_set.evaluation.key
        chosen, evolution = sample_set.of_classes, self._evolutions.get(key)
        if chosen is None or evolution is None or not evolution.film:
            return None
        guarded = self.access.guarded(trainer, "explain the classes", CURE)
        with guarded, self.access.session(sample_set.module), progress(trainer, self.access.owner) as advance:
            inputs = replace(sample_set, chosen=chosen).inputs(self.explainer.display.kind)
            targets = of_classes(self.access.scorer(sample_set), chosen, inputs, "true", sample_set.names)
            problem, kind = self.explainer.problem(
                sample_set.module, targets, inputs, self._chunks(sample_set, advance)
            )
            problem, methods = self.explainer.choose(key, problem, kind)
            method = next(method for method in methods if method.name == evolution.film)
            maps = attribute([method], problem).maps.get(method.name)
            if maps is not None and chosen.target is not None:
                shown = self.explainer.display.shown(chosen.inputs, kind)
                means = class_means(shown, maps, chosen.target, sample_set.names)
                found.append(ClassMeans(sample_set.names, *means, title=method.title, signed=method.signed))
        return found[0] if found else None

    def _chunks(self, sample_set: SampleSet, advance: Callable[[int], object]) -> Chunks:
        return Chunks(max(min(8, sample_set.rows), sample_set.rows // 2), seconds=self.max_seconds, advance=advance)

    def film(self, evaluation: Evaluation, result: Saliency) -> dict[str, Any] | None:
        """What a filmstrip is drawn from; None where there are not two epochs."""
        evolution = self._evolutions.get(evaluation.key)
        frames = None if evolution is None else evolution.film_of(self._last[evaluation.key])
        if evolution is None or frames is None:
            return None
        said = [sample.actual or sample.explained for sample in result.samples]
        return {
            "images": result.shown, "frames": frames, "epochs": [frame.epoch for frame in evolution.frames],
            "captions": said, "signed": evolution.film in result.signed,
            "title": f"{evaluation.label} · {result.titles[evolution.film]}",
        }  # fmt: skip

    def _targets(self, sample_set: SampleSet, inputs: Tensor) -> Targets:
        if callable(self.what):
            return of_output(self.access.model(sample_set.module), sample_set.chosen, inputs, self.what)
        return of_classes(self.access.scorer(sample_set), sample_set.chosen, inputs, self.what, sample_set.names)
