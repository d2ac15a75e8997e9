"""What lies between saliency maps as a callback and the methods: the ranks, the time, the epochs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_posttrain.attribution import FORWARD, Attributed, Chunks, OutOfTimeError, attribute
from lightning_posttrain.core.callback.from_lightning import rank_zero_info
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.saliency.evolution import Evolution, Key, Where, class_means, masks, regions_of
from lightning_posttrain.saliency.explainer import Explainer, explain
from lightning_posttrain.saliency.faithfulness import faithfulness_of, least_rows
from lightning_posttrain.saliency.result import ClassMeans, Saliency, only_figures
from lightning_posttrain.samples.model_access import CURE, ModelAccess
from lightning_posttrain.samples.sample_set import SampleSet
from lightning_posttrain.samples.targets import Explain, Output, Targets, of_classes, of_output

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

MEASURED = 4
"""Samples that methods are measured on."""
ROWS, BATCHES, VALUES = 64, 4, 1 << 20
"""Rows at a time, at first: no more than so many, so many batches of the user's, or so many values of inputs."""


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
        self._fits = 0
        self.access.forget()
        self.explainer.forget()

    @property
    def asked(self) -> bool:
        """Whether the user has named the methods, which are then worked out whenever maps are due."""
        return self.explainer.methods is not None

    def explain(
        self, sample_set: SampleSet | None, trainer: Trainer, *, quick: bool, measured: bool, classes: bool
    ) -> Saliency | None:
        """The result of chosen samples; on other ranks its figures alone. All ranks together.

        Args:
            sample_set: the samples, or None.
            trainer: the trainer.
            quick: only the methods that one pass gives, where the user has named none.
            measured: measure the methods as well.
            classes: work out the mean maps of classes as well.
        """

        def explained(chosen: SampleSet) -> Saliency:
            with self.access.session(chosen.module):
                result = self._explained(chosen, trainer, quick=quick and not self.asked)
            result = self.measured(chosen, result, limited=False) if measured else result
            return self.with_classes(chosen, result) if classes else result

        return self.access.explained(sample_set, trainer, explained, only_figures)

    def completed(self, sample_set: SampleSet, known: Saliency) -> Saliency:
        """A result with the maps that it lacks, of the same weights; on the first rank."""
        trainer, found = sample_set.module.trainer, [known]
        with self.access.guarded(trainer, "explain the samples", CURE), self.access.session(sample_set.module):
            found.append(self._explained(sample_set, trainer, known=known))
        return found[-1]

    def _explained(
        self, sample_set: SampleSet, trainer: Trainer, *, quick: bool = False, known: Saliency | None = None
    ) -> Saliency:
        key = sample_set.evaluation.key
        with self._chunks(sample_set, limited=not self.asked) as chunks:
            inputs, targets = self._targets(sample_set, chunks)
            result, problem, methods = explain(
                self.explainer, sample_set, targets=targets, inputs=inputs, chunks=chunks,
                failed=self._failed(trainer), quick=quick, known=known,
            )  # fmt: skip
            if result.layer and self.explainer.layer is None and key not in self._evolutions:
                label = sample_set.evaluation.label
                rank_zero_info(f"SaliencyMaps: class activation maps of {label} are taken from layer {result.layer}")
            evolution = self._evolutions.setdefault(key, Evolution(sample_set.fixed))
            suspect = masks(self.suspect_fn, inputs, sample_set.chosen.index, problem.spatial)
            suspect = suspect if suspect is None or suspect.ndim == len(problem.spatial) else suspect[targets.rows]
            regions = regions_of(result.kind, problem.spatial, suspect)
            self._last[key] = keys = self._keys(targets)
            before = Attributed() if known is None else known
            added = {name: maps for name, maps in result.maps.items() if name not in before.maps}
            figures = evolution.figures(replace(result, maps=added), keys, regions)
            # the maps of one pass are too rough to warn by
            at_once = trainer.state.fn != "fit" or not self.asked
            alarms = () if quick else evolution.alarms(result, problem, methods, regions, at_once=at_once)
        if known is not None:
            return replace(result, figures={**known.figures, **figures}, alarms=alarms, faithfulness=known.faithfulness)
        evolution.follow(result, keys, trainer.current_epoch)
        return replace(result, figures=figures, alarms=alarms)

    def _failed(self, trainer: Trainer) -> Callable[[str, Exception], None]:
        def failed(name: str, error: Exception) -> None:
            with self.access.guarded(trainer, f"work out {name}", CURE):
                raise error

        return failed

    def _keys(self, targets: Targets) -> list[Key]:
        """What maps are followed by: the sample, whatever it is predicted as, or each of its two classes."""
        pairs = zip(targets.rows.tolist(), targets.samples, strict=True)
        return [(row, sample.explained if self.what == "both" else "") for row, sample in pairs]

    def measured(self, sample_set: SampleSet, result: Saliency, *, limited: bool = True) -> Saliency:
        """A result with how much each of its maps says of the model, on the first of the chosen samples."""
        found, key = [result], sample_set.evaluation.key
        with self._asking(sample_set, "measure the methods", limited=limited) as chunks:
            try:
                chunks.check(least_rows(min(MEASURED, len(result.samples)), len(result.maps)), FORWARD)
            except OutOfTimeError as reason:
                return replace(result, skipped={**result.skipped, "faithfulness": str(reason)})
            inputs, targets = self._targets(sample_set, chunks)
            few = Targets(targets.score, targets.rows[:MEASURED], targets.samples[:MEASURED])
            problem, kind = self.explainer.problem(sample_set.module, few, inputs, chunks)
            problem, methods = self.explainer.choose(key, problem, kind)
            objects = masks(self.object_fn, inputs, sample_set.chosen.index, problem.spatial)
            objects = objects if objects is None or objects.ndim == len(problem.spatial) else objects[few.rows]
            shown = self.explainer.display.shown(sample_set.chosen.inputs[few.rows], kind)
            known = Attributed(
                {name: maps[:MEASURED] for name, maps in result.maps.items()},
                {name: gaps[:MEASURED] for name, gaps in result.gaps.items()},
            )
            methods = tuple(method for method in methods if method.name in known.maps)
            faithfulness = faithfulness_of(problem, methods, kind=kind, shown=shown, objects=objects, known=known)
            found.append(replace(result, faithfulness=faithfulness))
        return found[-1]

    def with_classes(self, sample_set: SampleSet, result: Saliency) -> Saliency:
        """A result with the mean map of each class, of the method that the filmstrip is of; for pictures only."""
        found, key = [result], sample_set.evaluation.key
        chosen, evolution = sample_set.of_classes, self._evolutions.get(key)
        if chosen is None or evolution is None or not evolution.film:
            return result
        with self._asking(sample_set, "explain the classes") as chunks:
            inputs = replace(sample_set, chosen=chosen).inputs(self.explainer.display.kind)
            chunks.spend(len(inputs), FORWARD)
            targets = of_classes(self.access.scorer(sample_set), chosen, inputs, "true", sample_set.names)
            problem, kind = self.explainer.problem(sample_set.module, targets, inputs, chunks)
            problem, methods = self.explainer.choose(key, problem, kind)
            method = next(method for method in methods if method.name == evolution.film)
            explained = attribute([method], problem)
            if method.name in explained.maps and chosen.target is not None:
                shown = self.explainer.display.shown(chosen.inputs, kind)
                means = class_means(shown, explained.maps[method.name], chosen.target, sample_set.names)
                classes = ClassMeans(sample_set.names, *means, title=method.title, signed=method.signed)
                found.append(replace(result, classes=classes))
            else:
                missing = {f"mean maps of classes ({name})": why for name, why in explained.skipped.items()}
                found.append(replace(result, skipped={**result.skipped, **missing}))
        return found[-1]

    @contextlib.contextmanager
    def _asking(self, sample_set: SampleSet, what: str, *, limited: bool = True) -> Iterator[Chunks]:
        """A session; an error in it is said, and costs no run."""
        guarded = self.access.guarded(sample_set.module.trainer, what, CURE)
        with guarded, self.access.session(sample_set.module), self._chunks(sample_set, limited=limited) as chunks:
            yield chunks

    @contextlib.contextmanager
    def _chunks(self, sample_set: SampleSet, *, limited: bool) -> Iterator[Chunks]:
        """As many rows at a time as were found to fit, or half a batch; more where rows are small and batches too."""
        rows, values = sample_set.rows, sample_set.chosen.inputs[0].numel()
        few = min(ROWS, BATCHES * rows, VALUES // max(1, values))
        size = self._fits or max(min(8, rows), rows // 2, few)
        asked = self.access.chunks(size, sample_set.module.trainer, seconds=self.max_seconds, limited=limited)
        with asked as chunks:
            try:
                yield chunks
            finally:
                self._fits = chunks.size

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

    def _targets(self, sample_set: SampleSet, chunks: Chunks) -> tuple[Tensor, Targets]:
        """The inputs of the samples, and what of them is explained."""
        inputs, chosen = sample_set.inputs(self.explainer.display.kind), sample_set.chosen
        chunks.spend(len(inputs), FORWARD)
        if callable(self.what):
            return inputs, of_output(self.access.model(sample_set.module), chosen, inputs, self.what)
        return inputs, of_classes(self.access.scorer(sample_set), chosen, inputs, self.what, sample_set.names)
