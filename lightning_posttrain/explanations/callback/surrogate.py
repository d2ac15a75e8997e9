"""A shallow tree that imitates the model, and how much the model relies on each feature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final, get_args

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from typing_extensions import Unpack

from lightning_posttrain.classification import EvalBatch, SampleOptions, StreamCallback
from lightning_posttrain.core.callback.options import at_least, one_of, split
from lightning_posttrain.core.capture.loaders import of_other_stages
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.ranks import of_first_rank
from lightning_posttrain.explanations.perturbation.row_sample import RowSample
from lightning_posttrain.explanations.result.surrogate import SurrogateReport
from lightning_posttrain.explanations.surrogate_fit import COMPARED, SurrogateFit
from lightning_posttrain.samples.inputs import InputOptions, Inputs
from lightning_posttrain.samples.kinds import Kind, known_kind
from lightning_posttrain.samples.learning import learn_inputs
from lightning_posttrain.samples.model_access import ModelAccess, ModelOptions
from lightning_posttrain.samples.reservoir import Chosen
from lightning_posttrain.samples.sample_set import SampleSet


@final
class Surrogate(StreamCallback):
    """Imitates the model by a small decision tree that one can read, and says how far that can be believed.

    The tree (scikit-learn's) is fitted to what the model predicts for a random part of the rows, and judged on the
    others: its fidelity is the share of these for which it gives the model's class, with its interval, beside the share
    that the most frequent class alone would give. It asks about the columns of tabular rows, the mean brightness of
    the cells of a 4 × 4 grid of images, bands of spectrograms, segments of series; tokens have no such features.

    Beside it stands the permutation importance: how much worse the model itself does where one feature's values are
    those of other rows, with 95 % intervals. Both are of a random sample of the epoch's rows, on the first rank.

    Logged: ``surrogate/fidelity``.

    Args:
        depth: questions of the tree at most, on the way to an answer.
        importance: ask the model again for the permutation importance.
        repeats: other rows whose values each row is given.
        forwards: rows that the model is asked for at most, about; then there are fewer repeats, and fewer rows.
        max_seconds: how long the model may be asked for one report; then there are fewer repeats, rows and features,
            and the report says so. The tree comes in any case. None for no limit.
        every_n_epochs: report in a fit also after each epoch, counted from 1, whose number this divides and that ends
            with a validation. Default: at its end alone. ``validate`` and ``test`` always report.
        **options: what every callback takes, see ``StreamCallback``; how inputs look, see ``InputOptions``: ``kind``,
            ``mean``, ``std``, ``bands``, ``names``, ``words``, ``display_fn``; how the model is asked, see
            ``ModelOptions``: ``forward_fn``, ``precision``, ``seed``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=Surrogate(depth=3, names=["age", "income"]), logger=False)
    """

    tag = "surrogate"

    def __init__(
        self,
        *,
        depth: int = 3,
        importance: bool = True,
        repeats: int = 10,
        forwards: int = 100_000,
        max_seconds: float | None = 120.0,
        every_n_epochs: int | None = None,
        **options: Unpack[SampleOptions],
    ) -> None:
        shown, asked, others = split(options, InputOptions, ModelOptions)
        super().__init__(**others)
        if self.reading.task == "multilabel":
            raise ValueError("`task` is 'multilabel', and Surrogate is for one class a row. Leave it out.")
        least = {"depth": depth, "repeats": repeats, "forwards": forwards, "every_n_epochs": every_n_epochs}
        for argument, value in least.items():
            at_least(argument, 1 if value is None else value, 1)
        if max_seconds is not None and not max_seconds > 0:
            raise ValueError(f"`max_seconds` is {max_seconds}, wanted above 0, or None for no limit.")
        self._display = Inputs(**shown)
        one_of("kind", self._display.kind or "tabular", tuple(each for each in get_args(Kind) if each != "tokens"))
        if (self._display.mean is None) != (self._display.std is None):
            raise ValueError("`mean` and `std` go together, and one of them is missing. Pass both or neither.")
        self.importance = importance
        self.every_n_epochs = every_n_epochs
        self._fit = SurrogateFit(
            ModelAccess(self, self._display.kind, **asked), self._display, depth=depth, repeats=repeats,
            forwards=forwards, max_seconds=max_seconds,
        )  # fmt: skip
        self._forget()

    def _forget(self) -> None:
        self._fit.access.forget()
        self._rows: dict[str, RowSample] = {}
        self._compared: dict[str, RowSample] = {}
        self._batch: dict[str, int] = {}
        self._checked: set[str] = set()
        self._pending: dict[str, tuple[Evaluation, tuple[str, ...], int, bool]] = {}

    def start(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Begin a run; nothing is left of another."""
        self._forget()

    # reading

    def open(self, trainer: Trainer, module: LightningModule) -> None:
        """Keep no row of another epoch."""
        self._rows = of_other_stages(self._rows, trainer)
        self._compared = of_other_stages(self._compared, trainer)

    def check(self, module: LightningModule, batch: EvalBatch) -> None:
        """Raise where names or scales do not fit; say once that the inputs have no features to ask about."""
        super().check(module, batch)
        learn_inputs(self, module.trainer, batch.inputs)
        kind = self._kind(batch)
        if kind is None:
            rank_zero_info("Surrogate says nothing: it is for images, spectrograms, series or rows of one class each.")
        elif kind == "tabular":
            for argument in ("names", "mean", "std"):
                given = getattr(self._display, argument)
                if given is not None and len(given) != batch.inputs.shape[1]:
                    raise ValueError(
                        f"`{argument}` has {len(given)} entries for {batch.inputs.shape[1]} columns. Pass one for each."
                    )

    def _kind(self, batch: EvalBatch) -> Kind | None:
        """What the inputs are, or None where a tree cannot ask about them."""
        kind = known_kind(batch.inputs, self._display.kind)
        return None if kind == "tokens" or kind is None or len(batch.inputs) != len(batch.target) else kind

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Keep some rows."""
        if self._kind(batch) is None:
            return
        self._batch[key] = max(self._batch.get(key, 1), len(batch.inputs))
        # rows that do not count are marked, not taken out: that would wait for the device
        target = batch.target.masked_fill(~batch.counted, -1)
        seed = self._fit.access.seed
        self._rows.setdefault(key, RowSample(seed=seed)).offer(batch.inputs, batch.predicted, target)
        self._compared.setdefault(key, RowSample(COMPARED, seed=seed)).offer(batch.inputs, batch.scores, target)

    # reporting

    def summarize(
        self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]
    ) -> SurrogateReport | None:
        """The tree, where it is due."""
        trainer, key = module.trainer, evaluation.key
        in_fit, often = trainer.state.fn == "fit", self.every_n_epochs
        due = not in_fit or (often is not None and (trainer.current_epoch + 1) % often == 0)
        # at the end of a fit the model is asked for the scores anew
        if (self.importance or in_fit) and key not in self._checked and key in self._rows:
            self._checked.add(key)
            rows = self._compared[key].rows()
            if rows is not None and trainer.is_global_zero:
                self._fit.compare(self._case(module, evaluation, names), rows)
        if in_fit:
            self._pending[key] = (evaluation, names, trainer.global_step, due)
        return self._report_of(module, evaluation, names) if due else None

    def _case(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> SampleSet:
        nothing = Chosen(torch.zeros(0), ())
        return SampleSet(module, evaluation, names, nothing, fixed=False, rows=self._batch.get(evaluation.key, 1))

    def _report_of(
        self,
        module: LightningModule,
        evaluation: Evaluation,
        names: tuple[str, ...],
        *,
        anew: bool = False,
        stale: str = "",
    ) -> SurrogateReport | None:
        """The report of the first rank; all ranks together."""
        trainer, sample = module.trainer, self._rows.get(evaluation.key)
        rows = sample.rows() if sample is not None and trainer.is_global_zero else None
        report: SurrogateReport | None = None
        if rows is not None:
            sample_set = self._case(module, evaluation, names)
            report = self._fit.report(sample_set, rows, trainer, importance=self.importance, anew=anew, stale=stale)
        return of_first_rank(trainer, report)

    def _last(self, module: LightningModule) -> Iterator[tuple[Evaluation, SurrogateReport | None]]:
        """Reports of the model as it is at the end of a fit, where there is none yet; all ranks together."""
        now = module.trainer.global_step
        for evaluation, names, step, done in self._pending.values():
            if step != now or not done:
                old = f"the scores are those of step {step:,}, and the model was trained up to step {now:,}"
                stale = "" if step == now else old
                yield evaluation, self._report_of(module, evaluation, names, anew=True, stale=stale)
        self._pending = {}

    def scalars(self, result: SurrogateReport) -> dict[str, float]:
        """The fidelity."""
        return {f"{self.tag}/{name}": value for name, value in result.scalars().items()}

    def show(self, result: SurrogateReport, title: str) -> Iterator[Tagged]:
        """The tree and the importance, as a picture and as tables."""
        from lightning_posttrain.explanations.render.surrogate import drops_table, surrogate_image, tree_table

        yield Tagged(self.tag, surrogate_image(result, title=title))
        yield Tagged(f"{self.tag}_tree", tree_table(result))
        if result.drops:
            yield Tagged(f"{self.tag}_importance", drops_table(result))

    def finish(self, trainer: Trainer, module: LightningModule) -> None:
        """Report what the last epoch left out."""
        for evaluation, report in self._last(module):
            if report is not None:
                self.write_last(trainer, evaluation, report)
