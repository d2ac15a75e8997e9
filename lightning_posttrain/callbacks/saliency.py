"""Saliency maps of a few samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, final

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.artifacts import Tagged
from lightning_posttrain.attribution.attribute import as_methods
from lightning_posttrain.attribution.explainer import Baseline, Display, Explainer
from lightning_posttrain.attribution.methods import Method
from lightning_posttrain.attribution.problem import Problem
from lightning_posttrain.attribution.targets import Explain, Output
from lightning_posttrain.attribution.trail import Where
from lightning_posttrain.batch import EvalBatch
from lightning_posttrain.callbacks.asking import Asking
from lightning_posttrain.callbacks.base import StreamCallback
from lightning_posttrain.callbacks.case import Case, check_layer
from lightning_posttrain.callbacks.choosing import Choosing
from lightning_posttrain.callbacks.explaining import Explaining, check_options
from lightning_posttrain.callbacks.options import EvaluationOptions
from lightning_posttrain.evaluation import Evaluation
from lightning_posttrain.fields import find_only_inputs
from lightning_posttrain.loaders import dataset_classes, named_loaders, stage_of
from lightning_posttrain.results import Kind, Saliency


@final
class SaliencyMaps(StreamCallback):
    """Draws, after every validation and test, why the model gives what it gives, for a few samples.

    A row of the picture is a sample: its input, one map for each method, and one map laid over the input. Images,
    spectrograms, series, tabular rows and tokens are told by their shape, or named with ``kind``. The module is left as
    it was: weights, gradients, flags, buffers and random numbers. Samples and maps are those of the first rank.

    Logged of each method, as means over the samples: ``drift``, 1 minus the rank correlation with the maps of the last
    epoch; ``entropy`` of where the magnitudes lie, 1 if everywhere alike; ``border``, ``corners`` and ``suspect``, the
    region's share of the magnitudes over its share of the area, 1 if it is like any other.

    Args:
        methods: names, of ``lightning_posttrain.attribution.METHODS``, ``Method`` objects with arguments of their own,
            or functions from a ``Problem`` to maps. Default: what is cheap and suits the input and the model.
        samples: how many; or positions in the dataset.
        choose: ``"fixed"``: the same in every epoch, of each class as many; ``"errors"``: the most confident errors of
            each epoch; ``(actual, predicted)``: of one cell of the confusion matrix, by class index or name.
        explain: ``"predicted"`` class, ``"true"`` class, ``"both"``, ``"contrast"``: the predicted against the true or
            second class; or a function from the module's output and its inputs to one number a row, as
            ``lambda output, inputs: ((output - inputs) ** 2).flatten(1).mean(1)``, for which no class is needed.
        layer: dotted name of the layer for class activation maps. Default: found by a forward, once a run.
        baseline: what stands for "nothing there": a number, ``"mean"``, ``"blur"``, or a function of the inputs.
        forward_fn: from the module and inputs to scores, where the step does more than ``module(inputs)``.
        every_n_epochs: how often; the last epoch and tests are always explained.
        max_seconds: how long an explanation may take; what is left out then is said.
        precision: ``"full"``: without autocast; ``"trainer"``: as the trainer's.
        kind: ``"image"``, ``"spectrogram"``, ``"series"``, ``"tabular"`` or ``"tokens"``.
        mean: of each channel, to undo a normalisation for the eye.
        std: of each channel, likewise.
        bands: three channels to show as red, green and blue.
        names: of features or channels.
        words: of tokens: a list, or a function from a token to its name; one named ``""`` is left out, as padding.
        display_fn: from inputs to images ``(K, H, W, 3)`` in 0 to 1, where none of these is enough.
        shared_scale: draw all maps of a method on one scale, not each on its own.
        suspect_fn: from inputs and dataset positions to a bool mask of a region that should not matter.
        object_fn: likewise, of what should matter, for the pointing game.
        faithfulness: measure each method at the end of fit and on tests; a number: also every so many epochs.
        seed: of the random numbers inside the explanation, the same every epoch.
        **options: what every callback takes, see ``StreamCallback``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> maps = SaliencyMaps(methods=["saliency", "hirescam"], samples=4, mean=[0.5], std=[0.25])
        >>> trainer = Trainer(callbacks=maps, logger=False)
    """

    tag = "saliency"

    def __init__(
        self,
        *,
        methods: Sequence[str | Method | Callable[[Problem], Tensor]] | None = None,
        samples: int | Sequence[int] = 8,
        choose: Literal["fixed", "errors"] | tuple[int | str, int | str] = "fixed",
        explain: Explain | Output = "predicted",
        layer: str | None = None,
        baseline: float | Baseline | Callable[[Tensor], Tensor] = 0.0,
        forward_fn: Callable[[Any, Any], Any] | None = None,
        every_n_epochs: int = 1,
        max_seconds: float | None = None,
        precision: Literal["full", "trainer"] = "full",
        kind: Kind | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        bands: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        words: Sequence[str] | Callable[[int], str] | None = None,
        display_fn: Callable[[Tensor], Tensor] | None = None,
        shared_scale: bool = False,
        suspect_fn: Where | None = None,
        object_fn: Where | None = None,
        faithfulness: bool | int = True,
        seed: int = 0,
        **options: Unpack[EvaluationOptions],
    ) -> None:
        super().__init__(**options)
        if every_n_epochs < 1:
            raise ValueError(f"`every_n_epochs` is {every_n_epochs}, wanted at least 1.")
        check_options(explain, precision, kind, baseline, choose)
        self.explain = explain
        self.layer = layer
        self.every_n_epochs = every_n_epochs
        self.faithfulness = faithfulness
        classes = choose == "fixed" and not callable(explain)
        self._choosing = Choosing(samples, choose, kind, classes=classes, tell=self._draws_nothing)
        display = Display(kind, mean, std, bands, names, words, display_fn, shared_scale)
        self._asking = Asking(
            "SaliencyMaps", forward_fn=forward_fn, precision=precision, kind=kind, seed=seed, reading=self.reading,
            guarded=self.guarded,
        )  # fmt: skip
        self._explaining = Explaining(
            explainer=Explainer(
                methods=None if methods is None else as_methods(methods), layer=layer, baseline=baseline,
                display=display, seed=seed,
            ),
            what=explain, asking=self._asking, max_seconds=max_seconds, suspect_fn=suspect_fn, object_fn=object_fn,
        )  # fmt: skip
        self._names: tuple[str, ...] = ()
        self._pending: dict[str, tuple[Case | None, int]] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Join the stream; samples are chosen anew in each run."""
        super().setup(trainer, pl_module, stage)
        self._explaining.forget()
        self._choosing.forget()
        self._pending = {}

    def takes(self, trainer: Trainer) -> bool:
        """A function of the output needs no class scores."""
        return not callable(self.explain) and super().takes(trainer)

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """Raise for a layer that is not there; say once that the inputs cannot be drawn."""
        super().check(module, batch)
        check_layer(module, self.layer)
        given = (dataset_classes(loader, batch.num_classes) for _, loader, _ in named_loaders(module.trainer))
        self._names = self.class_names or next(filter(None, given), tuple(map(str, range(batch.num_classes))))
        if self._choosing.can(batch.inputs, len(batch.target)):
            self._explaining.explainer.display.check(batch.inputs)

    def _draws_nothing(self, reason: str) -> None:
        warnings.warn(f"SaliencyMaps draws nothing: {reason}", stacklevel=2)

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Choose samples."""
        self._choosing.offer(key, batch, self._names)

    def see(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, loader: int) -> None:
        """Choose samples where a function of the output is explained."""
        if not callable(self.explain) or stage_of(trainer) not in self.stages:
            return
        inputs = find_only_inputs(batch, self.reading.inputs_fn)
        if self._choosing.can(inputs) and not trainer.sanity_checking:
            suffix, source, _ = named_loaders(trainer)[loader]
            self._choosing.take(stage_of(trainer) + suffix, inputs, source)

    def evaluations(self, trainer: Trainer, module: LightningModule) -> list[Evaluation]:
        """What the stream has read; for a function of the output, the loaders."""
        if not callable(self.explain):
            return super().evaluations(trainer, module)
        stage = stage_of(trainer)
        if stage not in self.stages:
            return []
        check_layer(module, self.layer)
        found = [(suffix, dataset_classes(loader)) for suffix, loader, _ in named_loaders(trainer)]
        return [Evaluation(stage, suffix, 0, names, {}, True, module) for suffix, names in found]

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> Saliency | None:
        """Explain the samples, on the first rank."""
        trainer, key, epoch = module.trainer, evaluation.key, module.trainer.current_epoch + 1
        case = self._case(module, evaluation, names)
        if case is not None and not callable(self.explain):
            self._asking.check(case, trainer)
        in_fit = trainer.state.fn == "fit"
        often = not isinstance(self.faithfulness, bool) and epoch % self.faithfulness == 0
        due = not in_fit or epoch % self.every_n_epochs == 0
        if in_fit:
            # the step that it was explained at; none if not
            self._pending[key] = (case, trainer.global_step if due else -1)
        if not due:
            return None
        measured = bool(self.faithfulness) and (often or not in_fit)
        return self._explaining.explain(case, trainer, measured=measured, classes=not in_fit)

    def _case(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> Case | None:
        choosing, key = self._choosing, evaluation.key
        chosen = choosing.chosen(key)
        kept = (choosing.fixed(key), choosing.of_classes(key), choosing.rows)
        return None if chosen is None else Case(module, evaluation, names, chosen, *kept)

    def show(self, result: Saliency, title: str) -> Iterator[Tagged]:
        """The maps, who is in them, and how far they can be trusted."""
        from lightning_posttrain.render.faithfulness import faithfulness_table
        from lightning_posttrain.render.filmstrip import class_means_image
        from lightning_posttrain.render.saliency import saliency_image, saliency_table

        if result.samples:
            yield Tagged(self.tag, saliency_image(result, title=title))
            yield Tagged(f"{self.tag}_samples", saliency_table(result))
        if result.classes is not None:
            yield Tagged(f"{self.tag}_of_classes", class_means_image(result.classes, title=title))
        if result.faithfulness is not None:
            yield Tagged("faithfulness", faithfulness_table(result.faithfulness))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain what the last epoch left out, measure the methods, and draw the maps over the epochs."""
        for key, (case, step) in self._pending.items():
            done = step == trainer.global_step
            explain = partial(self._explaining.explain, case, trainer, measured=False, classes=False)
            result = self.results.get(key) if done else explain()
            if result is None or case is None or not trainer.is_global_zero:
                continue
            result = replace(self._measured(case, result), classes=self._explaining.class_means(case))
            self.results[key] = result
            place, suffix = self.place(case.evaluation), case.evaluation.suffix
            shown = self._at_the_end(result, key, self._explaining.film(key, result), again=not done)
            epoch = max(trainer.current_epoch - 1, 0)
            self._reporter.write(trainer, place, suffix, tag=self.tag, result=result, shown=shown, epoch=epoch)
        self._pending = {}

    def _measured(self, case: Case, result: Saliency) -> Saliency:
        if not self.faithfulness or result.faithfulness is not None:
            return result
        return replace(result, faithfulness=self._explaining.measure(case))

    def _at_the_end(
        self, result: Saliency, title: str, film: dict[str, Any] | None, *, again: bool
    ) -> Iterator[Tagged]:
        from lightning_posttrain.render.filmstrip import filmstrip_image

        for tagged in self.show(result, title):
            if again or tagged.tag in ("faithfulness", f"{self.tag}_of_classes"):
                yield tagged
        if film is not None:
            yield Tagged(f"{self.tag}_over_epochs", filmstrip_image(**film))
