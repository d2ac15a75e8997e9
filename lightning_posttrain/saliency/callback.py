"""Saliency maps of a few samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, final

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.attribution import Baseline, Method, Problem, as_methods
from lightning_posttrain.classification import SampleOptions, StreamCallback
from lightning_posttrain.core.callback.from_lightning import rank_zero_info
from lightning_posttrain.core.callback.options import at_least, split
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.saliency.evolution import Where
from lightning_posttrain.saliency.explainer import Explainer
from lightning_posttrain.saliency.result import Saliency
from lightning_posttrain.saliency.run import SaliencyRun
from lightning_posttrain.samples.callback import SampleCallback
from lightning_posttrain.samples.fit_limit import FitLimit
from lightning_posttrain.samples.inputs import InputOptions, Inputs
from lightning_posttrain.samples.model_access import ModelAccess, ModelOptions
from lightning_posttrain.samples.options import check_options
from lightning_posttrain.samples.sample_set import SampleSet
from lightning_posttrain.samples.selection import Selection
from lightning_posttrain.samples.targets import Explain, Output


@final
class SaliencyMaps(SampleCallback, StreamCallback):
    """Draws, after every validation and test, why the model gives what it gives, for a few samples.

    In the epochs of a fit these are the maps that one forward and backward give; at its end, and on ``validate`` and
    ``test``, also the costly ones, as integrated gradients, and how faithful each method is. What ``methods`` names is
    worked out each time. ``max_overhead`` says how much of a fit's seconds all this may take. At the end of a fit what
    would take more rows through the model than were trained on is left out, and said: faithfulness first, mean maps of
    classes, integrated gradients; never what ``methods`` names. A forward without a backward is a third of a row there,
    and fewer than 8 rows at a time count as 8.

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
        every_n_epochs: how often; the last epoch and tests are always explained.
        max_seconds: how long an explanation may take; what is left out then is said. None for no limit.
        shared_scale: draw all maps of a method on one scale, not each on its own.
        suspect_fn: from inputs and dataset positions to a bool mask of a region that should not matter.
        object_fn: likewise, of what should matter, for the pointing game.
        faithfulness: measure each method at the end of fit and on tests; a number: also every so many epochs.
        **options: what every callback takes, see ``StreamCallback``; how inputs look, see ``InputOptions``: ``kind``,
            ``mean``, ``std``, ``bands``, ``names``, ``words``, ``display_fn``; how the model is asked, see
            ``ModelOptions``: ``forward_fn``, ``precision``, ``seed``.

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
        every_n_epochs: int = 1,
        max_seconds: float | None = 120.0,
        shared_scale: bool = False,
        suspect_fn: Where | None = None,
        object_fn: Where | None = None,
        faithfulness: bool | int = True,
        **options: Unpack[SampleOptions],
    ) -> None:
        shown, asked, others = split(options, InputOptions, ModelOptions)
        super().__init__(**others)
        at_least("every_n_epochs", every_n_epochs, 1)
        check_options(explain, shown.get("kind"), baseline, choose)
        self.explain = explain
        self.layer = layer
        self.every_n_epochs = every_n_epochs
        self.faithfulness = faithfulness
        self._display = Inputs(**shown)
        kind = self._display.kind
        classes = choose == "fixed" and not callable(explain)
        self._selection = Selection(samples, choose, kind, classes=classes, tell=self._draws_nothing)
        self._access = ModelAccess(self, kind, limit=FitLimit(self.max_overhead), **asked)
        self._run = SaliencyRun(
            explainer=Explainer(
                methods=None if methods is None else as_methods(methods), layer=layer, baseline=baseline,
                display=self._display, shared_scale=shared_scale, seed=self._access.seed,
            ),
            what=explain, access=self._access, max_seconds=max_seconds, suspect_fn=suspect_fn, object_fn=object_fn,
        )  # fmt: skip

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run; samples are chosen anew in each."""
        super().start(trainer, module, stage)
        self._run.forget()

    def explained(self, sample_set: SampleSet | None, trainer: Trainer) -> Saliency | None:
        """Maps, on the first rank."""
        in_fit, epoch = trainer.state.fn == "fit", trainer.current_epoch + 1
        often = not isinstance(self.faithfulness, bool) and epoch % self.faithfulness == 0
        measured = bool(self.faithfulness) and (often or not in_fit)
        return self._run.explain(sample_set, trainer, quick=in_fit, measured=measured, classes=not in_fit)

    def show(self, result: Saliency, title: str) -> Iterator[Tagged]:
        """The maps, who is in them, and how far they can be trusted."""
        from lightning_posttrain.saliency.render.faithfulness import faithfulness_table
        from lightning_posttrain.saliency.render.filmstrip import class_means_image
        from lightning_posttrain.saliency.render.samples_table import saliency_table
        from lightning_posttrain.samples.render.overview import maps_image

        if result.samples:
            yield Tagged(self.tag, maps_image(result, title=title))
            yield Tagged(f"{self.tag}_samples", saliency_table(result))
        if result.classes is not None:
            yield Tagged(f"{self.tag}_of_classes", class_means_image(result.classes, title=title))
        if result.faithfulness is not None:
            yield Tagged("faithfulness", faithfulness_table(result.faithfulness))

    def finish(self, trainer: Trainer, module: LightningModule) -> None:
        """Explain what the epochs left out, measure the methods, and draw the maps over the epochs."""
        explain = partial(self._run.explain, quick=False, measured=False, classes=False)
        for sample_set, found, new in self.last(trainer, explain):
            result = found if new or self._run.asked else self._run.completed(sample_set, found)
            redrawn = new or result is not found
            result = self._run.with_classes(sample_set, result)
            if self.faithfulness and result.faithfulness is None:
                result = self._run.measured(sample_set, result)
            label = sample_set.evaluation.label
            self._say_left_out(label, result)
            film = self._run.film(sample_set.evaluation, result)
            self.write_last(
                trainer, sample_set.evaluation, result, self._at_the_end(result, label, film, again=redrawn)
            )

    def _say_left_out(self, label: str, result: Saliency) -> None:
        """Say what the end of a fit leaves out."""
        measures = {} if result.faithfulness is None else result.faithfulness.skipped
        left = [result.titles.get(name, name) for name, reason in result.skipped.items() if "the fit leaves" in reason]
        left += dict.fromkeys(key.split(", ")[-1] for key, reason in measures.items() if "the fit leaves" in reason)
        if left:
            rank_zero_info(
                f"SaliencyMaps: {label} at the end of fit is without {', '.join(left)}: they would take more rows "
                "through the model than were trained on. trainer.validate works them out, and so does "
                "SaliencyMaps(max_overhead=None)."
            )

    def _at_the_end(
        self, result: Saliency, title: str, film: dict[str, Any] | None, *, again: bool
    ) -> Iterator[Tagged]:
        from lightning_posttrain.saliency.render.filmstrip import filmstrip_image

        for tagged in self.show(result, title):
            if again or tagged.tag in ("faithfulness", f"{self.tag}_of_classes"):
                yield tagged
        if film is not None:
            yield Tagged(f"{self.tag}_over_epochs", filmstrip_image(**film))
