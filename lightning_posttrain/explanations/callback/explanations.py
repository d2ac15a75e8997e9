"""LIME, SHAP, Banzhaf values, RISE and Anchors for a few samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, final

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.classification import SampleOptions, StreamCallback
from lightning_posttrain.core.callback.options import at_least, one_of, split
from lightning_posttrain.core.capture.loaders import Rows, of_other_stages
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.explanations.perturbation.arguments import positions
from lightning_posttrain.explanations.perturbation.row_sample import RowSample, SampledRows
from lightning_posttrain.explanations.perturbation.settings import TITLES, PerturbationSettings
from lightning_posttrain.explanations.result.explained import Explained
from lightning_posttrain.explanations.run import ExplanationRun
from lightning_posttrain.samples.batch import ScoredBatch
from lightning_posttrain.samples.callback import SampleCallback
from lightning_posttrain.samples.fit_limit import FitLimit
from lightning_posttrain.samples.inputs import InputOptions, Inputs
from lightning_posttrain.samples.kinds import known_kind
from lightning_posttrain.samples.model_access import ModelAccess, ModelOptions
from lightning_posttrain.samples.options import check_options
from lightning_posttrain.samples.sample_set import SampleSet
from lightning_posttrain.samples.selection import Selection
from lightning_posttrain.samples.targets import Explain, Output

Method = Literal["lime", "shap", "banzhaf", "rise", "anchors"]


@final
class Explanations(SampleCallback, StreamCallback):
    """Asks, of a few samples, which parts of the input made the model say this: LIME, SHAP, Anchors, Banzhaf, RISE.

    The model is a black box: parts of an input are hidden, rows of a table perturbed, and its outputs compared, at the
    end of fit, on ``trainer.validate`` and on ``trainer.test``. Images are taken apart into superpixels, spectrograms
    into bands and times, series into stretches of time, rows of a table into columns, texts into words. Rules of a
    table are confirmed by the predictions of the epoch's own rows. The module is left as it was. Samples and rows are
    those of the first rank.

    Logged, as means over the samples: ``lime/fit``, R² of the local models; ``lime/spread``, how far another seed's
    weights would lie apart, as a share of them; ``shap/gap``, the largest part of an output that the values leave out;
    ``anchors/valid``, the share of rules that reach the wanted precision.

    Args:
        methods: ``"shap"``, ``"lime"``, ``"anchors"``, ``"banzhaf"``, ``"rise"``; the first one's order is that of a
            table's columns.
        samples: how many; or positions in the dataset.
        choose: ``"fixed"``: of each class as many; ``"errors"``: the most confident errors; ``(actual, predicted)``: of
            one cell of the confusion matrix. Default: errors on test, fixed else.
        explain: ``"predicted"`` class, ``"true"`` class, ``"both"``, ``"contrast"``: the predicted against the true or
            second class; or a function from the module's output and its inputs to one number a row, for which no class
            is needed.
        output: ``"probability"`` or ``"logit"`` of a class; the first is what people read.
        parts: of images how many superpixels, ``"slic"``, ``"grid"``, or a function from inputs ``(K, ...)`` to the
            part of each place, whole numbers ``(K, *spatial)``; of series and spectrograms how many. Default: by size.
        hidden: what stands for a hidden part: a number, ``"blur"``, ``"mean"``, or a function of the inputs. Default:
            blurred images, the mean of series, rows of the epoch for tables, token 0.
        perturbations: perturbed copies of each sample, of which one set serves LIME, Anchors, Banzhaf and RISE; more
            give smaller errors.
        background: rows that stand for hidden values of a table, at most.
        important: rows of a table whose Shapley values give the importance of each column; 0 for none.
        threshold: precision that a rule of Anchors should have.
        exact: search rules with draws of their own (KL-LUCB, as the paper), not in one set; slower.
        categorical: columns of a table whose values are categories, by position or name.
        bins: of each other column, of as many rows; more make finer rules. Default: 4 for LIME, 8 for Anchors.
        every_n_epochs: also after the validations of every so many epochs of a fit. Default: at its end alone.
        max_seconds: how long an explanation may take; what is left out then is said. None for no limit. In a fit it is
            no longer than ``max_overhead`` of the time that training took until then, or than 10 seconds.
        **options: what every callback takes, see ``StreamCallback``; how inputs look, see ``InputOptions``: ``kind``,
            ``mean``, ``std``, ``bands``, ``names``, ``words``, ``display_fn``; how the model is asked, see
            ``ModelOptions``: ``forward_fn``, ``precision``, ``seed``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=Explanations(methods=["lime", "shap"], samples=2), logger=False)
    """

    tag = "explanations"

    def __init__(
        self,
        *,
        methods: Sequence[Method] = ("shap", "lime", "anchors"),
        samples: int | Sequence[int] = 4,
        choose: Literal["fixed", "errors"] | tuple[int | str, int | str] | None = None,
        explain: Explain | Output = "predicted",
        output: Literal["probability", "logit"] = "probability",
        parts: int | str | Callable[[Tensor], Tensor] | None = None,
        hidden: float | Literal["blur", "mean"] | Callable[[Tensor], Tensor] | None = None,
        perturbations: int = 2048,
        background: int = 64,
        important: int = 100,
        threshold: float = 0.95,
        exact: bool = False,
        categorical: Sequence[int | str] = (),
        bins: int | None = None,
        every_n_epochs: int | None = None,
        max_seconds: float | None = 120.0,
        **options: Unpack[SampleOptions],
    ) -> None:
        shown, asked, others = split(options, InputOptions, ModelOptions)
        super().__init__(**others)
        check_options(explain, shown.get("kind"), 0.0, choose or "fixed")
        one_of("output", output, ("probability", "logit"))
        at_least("every_n_epochs", 1 if every_n_epochs is None else every_n_epochs, 1)
        self.explain = explain
        self.every_n_epochs = every_n_epochs
        self._display = Inputs(**shown)
        kind = self._display.kind
        self._selection = Selection(samples, choose, kind, classes=False, tell=self._draws_nothing)
        self._access = ModelAccess(self, kind, limit=FitLimit(self.max_overhead), **asked)
        columns = positions(categorical, self._display.names)
        how = PerturbationSettings(
            _listed(methods), parts, hidden, perturbations, background, important, threshold, exact, columns, bins,
            self._display, self._access.seed,
        )  # fmt: skip
        self._run = ExplanationRun(how, explain, output, self._access, max_seconds)
        self._rows: dict[str, RowSample] = {}

    # reading

    def check(self, module: LightningModule, batch: ScoredBatch) -> None:
        """Raise where the arguments do not go with the inputs, before anything is trained."""
        super().check(module, batch)
        inputs = batch.inputs
        if self._selection.can(inputs, len(batch.target)) and len(inputs):
            self._run.how.check(inputs[:2])

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Keep no row of another epoch."""
        self._rows = of_other_stages(self._rows, trainer)

    def observe(self, key: str, batch: ScoredBatch) -> None:
        """Choose samples, and keep some rows of tables."""
        super().observe(key, batch)
        if known_kind(batch.inputs, self._display.kind) == "tabular" and len(batch.inputs) == len(batch.target):
            self._sample(key).offer(batch.inputs, batch.scores)

    def look(self, key: str, inputs: Tensor, loader: Any, prove: Callable[[Rows], Rows]) -> None:
        """Choose samples, and keep some rows of tables."""
        super().look(key, inputs, loader, prove)
        if known_kind(inputs, self._display.kind) == "tabular":
            self._sample(key).offer(inputs)

    def _sample(self, key: str) -> RowSample:
        return self._rows.setdefault(key, RowSample())

    # explaining

    def explained(self, sample_set: SampleSet | None, trainer: Trainer) -> Explained | None:
        """Explanations, on the first rank."""
        return self._run.explain(sample_set, trainer, self._sampled(sample_set))

    def _sampled(self, sample_set: SampleSet | None) -> SampledRows | None:
        kept = None if sample_set is None else self._rows.get(sample_set.evaluation.key)
        return None if kept is None else kept.rows()

    def _explained_anew(self, sample_set: SampleSet | None, trainer: Trainer) -> Explained | None:
        """Explanations by weights that are not those of the epoch."""
        rows = self._sampled(sample_set)
        return self._run.explain(sample_set, trainer, None if rows is None else replace(rows, scores=None))

    def show(self, result: Explained, title: str) -> Iterator[Tagged]:
        """Maps, rules, importance, and every number as a file."""
        from lightning_posttrain.explanations.render.explanations import explanations

        yield from explanations(result, tag=self.tag, title=title)

    def finish(self, trainer: Trainer, module: LightningModule) -> None:
        """Explain what the last epoch left out."""
        for sample_set, result, new in self.last(trainer, self._explained_anew):
            if new:
                self.write_last(trainer, sample_set.evaluation, result)


def _listed(methods: Sequence[str]) -> tuple[str, ...]:
    listed = (methods,) if isinstance(methods, str) else tuple(methods)
    for method in listed:
        one_of("methods", method, tuple(TITLES))
    if not listed:
        raise ValueError(f"`methods` is empty, wanted some of {', '.join(TITLES)}.")
    return tuple(dict.fromkeys(listed))
