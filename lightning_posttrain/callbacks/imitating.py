"""What lies between ``Surrogate`` and the functions: rows that can be used, and forwards within a bound."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_posttrain.attribution import Chunks
from lightning_posttrain.attribution.chunks import OutOfTimeError
from lightning_posttrain.attribution.perturbation.row_sample import SampledRows
from lightning_posttrain.attribution.samples import Chosen
from lightning_posttrain.callbacks.asking import Asking
from lightning_posttrain.callbacks.case import Case, progress
from lightning_posttrain.functional.images import known_kind
from lightning_posttrain.functional.permutation import permutation_importance
from lightning_posttrain.functional.pooled import Pooled, pooled_features
from lightning_posttrain.functional.surrogate import FEWEST, Scale, fit_surrogate
from lightning_posttrain.results import Kind, SurrogateReport

COMPARED, TIMED, ROWS = 64, 64, 4096
"""Rows whose scores are compared with the step's, rows for which a forward is timed, and tabular rows of a forward."""
CHUNKS = 20
"""Forwards that the permutation importance is divided into at least, so that it can be stopped in time."""
SHARE = 0.9
"""Of the time that is left, planned for: the speed of one forward is not that of all."""
CURE = "Pass forward_fn=lambda module, inputs: ... that gives the scores, or importance=False."


class Imitating:
    """Makes the report of rows.

    Args:
        asking: how the module is asked.
        depth: of the tree.
        repeats: rows that lend to each.
        forwards: rows that the module is asked for, at most.
        max_seconds: how long the module may be asked, or None.
        kind: of the inputs, or None.
        names: of the columns of tabular rows, or None.
        scale: of these columns, or None.
        seed: of random numbers.
    """

    def __init__(  # noqa: PLR0913 - all by keyword
        self,
        asking: Asking,
        *,
        depth: int,
        repeats: int,
        forwards: int,
        max_seconds: float | None,
        kind: Kind | None,
        names: tuple[str, ...] | None,
        scale: Scale | None,
        seed: int,
    ) -> None:
        self.asking = asking
        self.depth = depth
        self.repeats = repeats
        self.forwards = forwards
        self.max_seconds = max_seconds
        self.kind = kind
        self.names = names
        self.scale = scale
        self.seed = seed

    def compare(self, case: Case, rows: SampledRows) -> None:
        """See that some rows have the scores that the step gave; else the module is not asked."""
        _, _, counted = _usable(rows)
        few = counted.nonzero()[:COMPARED, 0]
        if len(few) and rows.scores is not None:
            chosen = Chosen(rows.inputs[few], (None,) * len(few), rows.scores[few])
            self.asking.check(replace(case, chosen=chosen), case.module.trainer)

    def report(
        self,
        case: Case,
        rows: SampledRows,
        trainer: Trainer,
        *,
        importance: bool,
        anew: bool = False,
        stale: str = "",
    ) -> SurrogateReport | None:
        """The tree, and the permutation importance where it is wanted and can be had; None without enough rows.

        Args:
            case: the epoch, and the model.
            rows: of the epoch.
            trainer: the trainer.
            importance: whether that is wanted.
            anew: ask the model for the scores of the rows, as it may be another than in the epoch.
            stale: what is said where it cannot be asked, and the scores are those of the epoch.
        """
        with progress(trainer, self.asking.owner) as advance:
            size = ROWS if known_kind(rows.inputs, self.kind) == "tabular" else case.rows
            chunks = Chunks(size, seconds=self.max_seconds, advance=advance)
            asked = self._asked(case, rows, trainer, chunks) if anew else None
            said = [stale] if anew and asked is None and stale else []
            return self._report(case, asked or rows, trainer, said, chunks if importance else None)

    def _asked(self, case: Case, rows: SampledRows, trainer: Trainer, chunks: Chunks) -> SampledRows | None:
        """The rows with the scores that the model gives now, as many as there is time for; None where it cannot."""
        if not self.asking.can(case):
            return None
        inputs = rows.inputs[: self.forwards]
        few = replace(case, chosen=Chosen(inputs, (None,) * len(inputs)))
        found: list[Tensor] = []
        failed = True
        with self.asking.guarded(trainer, "ask for the scores at the end of fit", CURE):
            forward, x = self.asking.scorer(few), few.inputs(self.kind)

            def work(numbers: Tensor) -> None:
                found.append(forward(x[numbers.to(x.device)]).detach().float().cpu())

            with self.asking.session(case.module), torch.no_grad(), contextlib.suppress(OutOfTimeError):
                chunks.run(len(x), work)
            failed = False
        count = sum(map(len, found))
        if failed or rows.target is None or int((rows.target[:count] >= 0).sum()) < FEWEST:
            return None
        return SampledRows(rows.inputs[:count], torch.cat(found), rows.target[:count], rows.seen)

    def _report(
        self, case: Case, rows: SampledRows, trainer: Trainer, said: list[str], chunks: Chunks | None
    ) -> SurrogateReport | None:
        """The report of rows with scores; the model is asked for the importance in ``chunks``, if these are there."""
        kind = known_kind(rows.inputs, self.kind)
        scores, target, counted = _usable(rows)
        count, broken = int(counted.sum()), int(((target >= 0) & ~counted).sum())
        if kind is None or count < FEWEST:
            rank_zero_info(f"Surrogate says nothing of {case.evaluation.key}: {count} rows, wanted {FEWEST} at least.")
            return None
        said += [f"{broken:,} rows for which the model gives NaN are left out"] if broken else []
        if rows.seen > len(rows.inputs):
            said.append(f"made from {len(rows.inputs):,} of {rows.seen:,} rows, drawn at random")
        inputs, found = rows.inputs[counted], list[SurrogateReport]()
        with self.asking.guarded(trainer, "fit a tree", "Pass kind=..., or leave Surrogate out."):
            pooled = self._pooled(inputs, kind)
            tree = self._tree(case, pooled, scores[counted].argmax(1), kind)
            found.append(replace(tree, remarks=tuple(said)))
        if found and chunks is not None and self.asking.can(case):
            few = replace(case, chosen=Chosen(inputs, (None,) * len(inputs)))
            with self.asking.guarded(trainer, "work out the permutation importance", CURE):
                found = [self._with_drops(found[0], few, target[counted], pooled, chunks)]
        return found[0] if found else None

    def _pooled(self, inputs: Tensor, kind: Kind) -> Pooled:
        pooled = pooled_features(inputs, kind)
        return pooled if self.names is None or kind != "tabular" else pooled._replace(names=self.names)

    def _tree(self, case: Case, pooled: Pooled, predicted: Tensor, kind: Kind) -> SurrogateReport:
        return fit_surrogate(
            pooled.features, predicted, names=pooled.names, class_names=case.names, depth=self.depth, seed=self.seed,
            scale=self.scale if kind == "tabular" else None,
        )  # fmt: skip

    def _with_drops(
        self, report: SurrogateReport, case: Case, target: Tensor, pooled: Pooled, chunks: Chunks
    ) -> SurrogateReport:
        """A report with the drops of the case's rows, as far as forwards and time reach."""
        scorer, x, features = self.asking.scorer(case), case.inputs(self.kind), len(pooled.names)

        def forward(rows: Tensor) -> Tensor:
            found = scorer(rows).cpu()
            chunks.advance(len(rows))
            return found

        with self.asking.session(case.module), torch.no_grad():
            wanted = self._planned(self.forwards, features, len(x))
            most = _in_time(forward, x, chunks)
            repeats, rows = planned = self._planned(min(self.forwards, most), features, len(x))
            drops = permutation_importance(
                forward, x[:rows], target[:rows], names=pooled.names, parts=pooled.parts, repeats=repeats,
                seed=self.seed, chunk=int(max(1, min(chunks.size, most / CHUNKS))), over=lambda: chunks.over,
            )  # fmt: skip
        said = list(report.remarks)
        if len(drops) < features:
            said.append(f"importance of {len(drops)} of {features} features; the time was over")
        elif planned != wanted or chunks.over:
            asked = f"{rows:,} of {len(x):,} rows, at most {repeats} of {self.repeats} repeats"
            said.append(f"the time was short for the importance: {asked}")
        return replace(report, drops=drops, drop_rows=rows if drops else 0, remarks=tuple(said))

    def _planned(self, forwards: float, features: int, rows: int) -> tuple[int, int]:
        """Repeats and rows: fewer repeats, and then rows, where forwards would be too many."""
        repeats = max(1, min(self.repeats, int(forwards / rows - 1) // features))
        return repeats, min(rows, max(FEWEST, int(forwards) // (features * repeats + 1)))


def _in_time(forward: Callable[[Tensor], Tensor], x: Tensor, chunks: Chunks) -> float:
    """How many rows the model can be asked for in the time that is left; it is asked for some once or twice."""
    if chunks.left <= 0 or math.isinf(chunks.left):
        return max(0.0, chunks.left)
    spent, few = math.inf, x[: min(TIMED, chunks.size)]
    for _ in range(2):  # the first forward may be slower
        start = time.monotonic()
        forward(few.clone())
        spent = min(spent, max(time.monotonic() - start, 1e-9))
        if spent > SHARE / 10 * chunks.left:
            break
    return SHARE * max(0.0, chunks.left) * len(few) / spent


def _usable(rows: SampledRows) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, targets, and which rows count."""
    assert rows.scores is not None
    assert rows.target is not None
    return rows.scores, rows.target, (rows.target >= 0) & ~rows.scores.isnan().any(1)
