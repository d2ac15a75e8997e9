"""What lies between ``Surrogate`` and the functions: rows that can be used, and forwards within a bound."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_posttrain.attribution import Chunks, OutOfTimeError
from lightning_posttrain.core.callback.from_lightning import rank_zero_info
from lightning_posttrain.explanations.counted_forward import TIMED, CountedForward, rows_in_time
from lightning_posttrain.explanations.functional.permutation import permutation_importance
from lightning_posttrain.explanations.functional.pooled import Pooled, pooled_features
from lightning_posttrain.explanations.functional.surrogate import FEWEST, Scale, fit_surrogate
from lightning_posttrain.explanations.perturbation.row_sample import SampledRows
from lightning_posttrain.explanations.result.surrogate import SurrogateReport
from lightning_posttrain.samples.inputs import Inputs
from lightning_posttrain.samples.kinds import Kind, known_kind
from lightning_posttrain.samples.model_access import ModelAccess
from lightning_posttrain.samples.progress_bar import Progress, progress
from lightning_posttrain.samples.reservoir import Chosen
from lightning_posttrain.samples.sample_set import SampleSet

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

COMPARED, ROWS = 64, 4096
"""Rows whose scores are compared with the step's, and tabular rows of a forward."""
AT_ONCE, SCORES = 1 << 24, 1 << 27
"""Scores that are asked for at a time, where a batch of the loader has not more, and for one report, at most."""
CHUNKS = 20
"""Forwards that the permutation importance is divided into at least, so that it can be stopped in time."""
CURE = "Pass forward_fn=lambda module, inputs: ... that gives the scores, or importance=False."


class SurrogateFit:
    """Makes the report of rows.

    Args:
        access: how the module is asked.
        inputs: their kind, and the names and scale of columns.
        depth: of the tree.
        repeats: rows that lend to each.
        forwards: rows that the module is asked for, at most.
        max_seconds: how long the module may be asked, or None.
    """

    def __init__(
        self,
        access: ModelAccess,
        inputs: Inputs,
        *,
        depth: int,
        repeats: int,
        forwards: int,
        max_seconds: float | None,
    ) -> None:
        self.access = access
        self.inputs = inputs
        self.depth = depth
        self.repeats = repeats
        self.forwards = forwards
        self.max_seconds = max_seconds

    def compare(self, sample_set: SampleSet, rows: SampledRows) -> None:
        """See that some rows have the scores that the step gave; else the module is not asked."""
        assert rows.scores is not None
        assert rows.target is not None
        few = ((rows.target >= 0) & ~rows.scores.isnan().any(1)).nonzero()[:, 0]
        if len(few):
            chosen = Chosen(rows.inputs[few], (None,) * len(few), rows.scores[few])
            self.access.check(replace(sample_set, chosen=chosen), sample_set.module.trainer)

    def report(
        self,
        sample_set: SampleSet,
        rows: SampledRows,
        trainer: Trainer,
        *,
        importance: bool,
        anew: bool = False,
        stale: str = "",
    ) -> SurrogateReport | None:
        """The tree, and the permutation importance where it is wanted and can be had; None without enough rows.

        Args:
            sample_set: the epoch, and the model.
            rows: of the epoch.
            trainer: the trainer.
            importance: whether that is wanted.
            anew: ask the model for the scores of the rows, as it may be another than in the epoch.
            stale: what is said where it cannot be asked, and the scores are those of the epoch.
        """
        with progress(trainer, self.access.owner) as bar:
            size = ROWS if known_kind(rows.inputs, self.inputs.kind) == "tabular" else sample_set.rows
            size = min(size, max(sample_set.rows, AT_ONCE // len(sample_set.names)))
            chunks = Chunks(size, seconds=self.max_seconds, advance=bar)
            if anew and not importance:
                bar.expect(min(len(rows.inputs), self.forwards))
            asked = self._asked(sample_set, rows, trainer, chunks) if anew else None
            said = [stale] if anew and asked is None and stale else []
            return self._report(sample_set, asked or rows, trainer, said, (chunks, bar) if importance else None)

    def _asked(self, sample_set: SampleSet, rows: SampledRows, trainer: Trainer, chunks: Chunks) -> SampledRows | None:
        """The rows with the scores that the model gives now, as many as there is time for; None where it cannot."""
        if not self.access.can(sample_set):
            return None
        inputs = rows.inputs[: self._forwards(sample_set)]
        few = replace(sample_set, chosen=Chosen(inputs, (None,) * len(inputs)))
        found: list[Tensor] = []
        failed = True
        with self.access.guarded(trainer, "ask for the scores at the end of fit", CURE):
            forward, x = self.access.scorer(few), few.inputs(self.inputs.kind)

            def work(numbers: Tensor) -> None:
                found.append(_predicted(forward(x[numbers.to(x.device)]).detach()).cpu())

            with self.access.session(sample_set.module), torch.no_grad(), contextlib.suppress(OutOfTimeError):
                chunks.run(len(x), work)
            failed = False
        count = sum(map(len, found))
        if failed or rows.target is None or int((rows.target[:count] >= 0).sum()) < FEWEST:
            return None
        return SampledRows(rows.inputs[:count], torch.cat(found), rows.target[:count], rows.seen)

    def _report(
        self,
        sample_set: SampleSet,
        rows: SampledRows,
        trainer: Trainer,
        said: list[str],
        asking: tuple[Chunks, Progress] | None,
    ) -> SurrogateReport | None:
        """The report of rows with scores; the model is asked for the importance in chunks, if these are there."""
        kind = known_kind(rows.inputs, self.inputs.kind)
        predicted, target, counted = _usable(rows)
        count, broken = int(counted.sum()), int(((target >= 0) & ~counted).sum())
        if kind is None or count < FEWEST:
            label = sample_set.evaluation.label
            rank_zero_info(f"Surrogate says nothing of {label}: {count} rows, wanted {FEWEST} at least.")
            return None
        said += [f"{broken:,} rows for which the model gives NaN are left out"] if broken else []
        if rows.seen > len(rows.inputs):
            said.append(f"made from {len(rows.inputs):,} of {rows.seen:,} rows, drawn at random")
        inputs, found = rows.inputs[counted], list[SurrogateReport]()
        with self.access.guarded(trainer, "fit a tree", "Pass kind=..., or leave Surrogate out."):
            pooled = self._pooled(inputs, kind)
            tree = self._tree(sample_set, pooled, predicted[counted], kind)
            found.append(replace(tree, remarks=tuple(said)))
        if found and asking is not None and self.access.can(sample_set):
            few = replace(sample_set, chosen=Chosen(inputs, (None,) * len(inputs)))
            with self.access.guarded(trainer, "work out the permutation importance", CURE):
                found = [self._with_drops(found[0], few, target[counted], pooled, *asking)]
        return found[0] if found else None

    def _pooled(self, inputs: Tensor, kind: Kind) -> Pooled:
        named = kind in ("tabular", "series")
        return pooled_features(inputs, kind, self.inputs.names or () if named else ())

    def _scale(self) -> Scale | None:
        mean, std = self.inputs.mean, self.inputs.std
        return None if mean is None or std is None else (torch.as_tensor(mean), torch.as_tensor(std))

    def _tree(self, sample_set: SampleSet, pooled: Pooled, predicted: Tensor, kind: Kind) -> SurrogateReport:
        return fit_surrogate(
            pooled.features, predicted, names=pooled.names, class_names=sample_set.names, depth=self.depth,
            seed=self.access.seed, scale=self._scale() if kind == "tabular" else None,
        )  # fmt: skip

    def _with_drops(
        self,
        report: SurrogateReport,
        sample_set: SampleSet,
        target: Tensor,
        pooled: Pooled,
        chunks: Chunks,
        bar: Progress,
    ) -> SurrogateReport:
        """A report with the drops of the chosen rows, as far as forwards and time reach."""
        x, features = sample_set.inputs(self.inputs.kind), len(pooled.names)
        forward = CountedForward(self.access.scorer(sample_set), bar)
        with self.access.session(sample_set.module), torch.no_grad():
            forwards = self._forwards(sample_set)
            wanted = self._planned(forwards, features, len(x))
            most = rows_in_time(forward, x, chunks)
            repeats, rows = planned = self._planned(min(forwards, most), features, len(x))
            each, forward.rows = rows * features, 0
            whole = rows + each * min(repeats, rows - 1)
            bar.expect(whole)
            drops = permutation_importance(
                forward, x[:rows], target[:rows], names=pooled.names, parts=pooled.parts, repeats=repeats,
                seed=self.access.seed, chunk=int(max(1, min(chunks.size, most / CHUNKS))), over=lambda: chunks.over,
            )  # fmt: skip
        said = list(report.remarks)
        asked = f"{rows:,} of {len(x):,} rows, {(forward.rows - rows) // each} of {self.repeats} repeats"
        if len(drops) < features:
            said.append(f"importance of {len(drops)} of {features} features; the time was over")
        elif planned != wanted or forward.rows < whole:
            said.append(f"the time was short for the importance: {asked}")
        elif forwards < self.forwards:
            said.append(f"of so many classes the importance is from {asked}")
        return replace(report, drops=drops, drop_rows=rows if drops else 0, remarks=tuple(said))

    def _forwards(self, sample_set: SampleSet) -> int:
        """How many rows the model may be asked for: of very many classes fewer, as each has as many scores."""
        return min(self.forwards, max(TIMED, SCORES // len(sample_set.names)))

    def _planned(self, forwards: float, features: int, rows: int) -> tuple[int, int]:
        """Repeats and rows: fewer repeats, and then rows, where forwards would be too many."""
        repeats = max(1, min(self.repeats, int(forwards / rows - 1) // features))
        return repeats, min(rows, max(FEWEST, int(forwards) // (features * repeats + 1)))


def _predicted(scores: Tensor) -> Tensor:
    """The class with the largest score ``(n,)``; -1 where one is NaN."""
    top, predicted = scores.max(1)
    return predicted.masked_fill(top.isnan(), -1)


def _usable(rows: SampledRows) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted classes, targets, and which rows count."""
    assert rows.scores is not None
    assert rows.target is not None
    return rows.scores, rows.target, (rows.target >= 0) & (rows.scores >= 0)
