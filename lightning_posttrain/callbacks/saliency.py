"""Saliency maps of a few samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, final

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.artifacts import Tagged
from lightning_posttrain.attribution.attribute import as_methods
from lightning_posttrain.attribution.baselines import Baseline
from lightning_posttrain.attribution.explainer import Display, Explainer
from lightning_posttrain.attribution.methods import Method
from lightning_posttrain.attribution.problem import Problem
from lightning_posttrain.attribution.targets import Explain, Output
from lightning_posttrain.attribution.trail import Where
from lightning_posttrain.callbacks.asking import Asking
from lightning_posttrain.callbacks.case import Case
from lightning_posttrain.callbacks.choosing import Choosing
from lightning_posttrain.callbacks.explaining import Explaining, check_options
from lightning_posttrain.callbacks.of_samples import OfSamples
from lightning_posttrain.callbacks.options import EvaluationOptions
from lightning_posttrain.results import Kind, Saliency


@final
class SaliencyMaps(OfSamples):
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
        self._display = Display(kind, mean, std, bands, names, words, display_fn, shared_scale)
        self._asking = Asking(
            "SaliencyMaps", forward_fn=forward_fn, precision=precision, kind=kind, seed=seed, reading=self.reading,
            guarded=self.guarded,
        )  # fmt: skip
        self._explaining = Explaining(
            explainer=Explainer(
                methods=None if methods is None else as_methods(methods), layer=layer, baseline=baseline,
                display=self._display, seed=seed,
            ),
            what=explain, asking=self._asking, max_seconds=max_seconds, suspect_fn=suspect_fn, object_fn=object_fn,
        )  # fmt: skip

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Join the stream; samples are chosen anew in each run."""
        super().setup(trainer, pl_module, stage)
        self._explaining.forget()

    def due(self, epoch: int) -> bool:
        """Every so many epochs."""
        return epoch % self.every_n_epochs == 0

    def explained(self, case: Case | None, trainer: Trainer) -> Saliency | None:
        """Maps, on the first rank."""
        in_fit, epoch = trainer.state.fn == "fit", trainer.current_epoch + 1
        often = not isinstance(self.faithfulness, bool) and epoch % self.faithfulness == 0
        measured = bool(self.faithfulness) and (often or not in_fit)
        return self._explaining.explain(case, trainer, measured=measured, classes=not in_fit)

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
        explain = partial(self._explaining.explain, measured=False, classes=False)
        for case, found, new in self.last(trainer, explain):
            key = case.evaluation.key
            result = replace(self._measured(case, found), classes=self._explaining.class_means(case))
            shown = self._at_the_end(result, key, self._explaining.film(key, result), again=new)
            self.write_last(trainer, case.evaluation, result, shown)

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
