"""What lies between ``Surrogate`` and the functions: rows that can be used, and forwards within a bound."""

from __future__ import annotations

from dataclasses import replace

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lightning_posttrain.attribution.perturbation.row_sample import SampledRows
from lightning_posttrain.attribution.samples import Chosen
from lightning_posttrain.callbacks.asking import Asking
from lightning_posttrain.callbacks.case import Case, progress
from lightning_posttrain.functional.images import known_kind
from lightning_posttrain.functional.permutation import permutation_importance
from lightning_posttrain.functional.pooled import Pooled, pooled_features
from lightning_posttrain.functional.surrogate import FEWEST, Scale, fit_surrogate
from lightning_posttrain.results import Drop, Kind, SurrogateReport

COMPARED, ROWS = 64, 4096
"""Rows whose scores are compared with the step's, and tabular rows of a forward."""
CURE = "Pass forward_fn=lambda module, inputs: ... that gives the scores, or importance=False."


class Imitating:
    """Makes the report of rows.

    Args:
        asking: how the module is asked.
        depth: of the tree.
        repeats: rows that lend to each.
        forwards: rows that the module is asked for, at most.
        kind: of the inputs, or None.
        names: of the columns of tabular rows, or None.
        scale: of these columns, or None.
        seed: of random numbers.
    """

    def __init__(
        self,
        asking: Asking,
        *,
        depth: int,
        repeats: int,
        forwards: int,
        kind: Kind | None,
        names: tuple[str, ...] | None,
        scale: Scale | None,
        seed: int,
    ) -> None:
        self.asking = asking
        self.depth = depth
        self.repeats = repeats
        self.forwards = forwards
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

    def report(self, case: Case, rows: SampledRows, trainer: Trainer, *, importance: bool) -> SurrogateReport | None:
        """The tree, and the permutation importance where it is wanted and can be had; None without enough rows."""
        kind = known_kind(rows.inputs, self.kind)
        scores, target, counted = _usable(rows)
        if kind is None or int(counted.sum()) < FEWEST:
            count = int(counted.sum())
            rank_zero_info(f"Surrogate says nothing of {case.evaluation.key}: {count} rows, wanted {FEWEST} at least.")
            return None
        inputs, target = rows.inputs[counted], target[counted]
        found: list[SurrogateReport] = []
        with self.asking.guarded(trainer, "fit a tree", "Pass kind=..., or leave Surrogate out."):
            pooled = self._pooled(inputs, kind)
            found.append(self._tree(case, pooled, scores[counted].argmax(1), kind))
        if found and importance and self.asking.can(case):
            with self.asking.guarded(trainer, "work out the permutation importance", CURE):
                drops, used = self._drops(case, inputs, target, pooled, kind, trainer)
                found = [replace(found[0], drops=drops, drop_rows=used)]
        if found and rows.seen > len(rows.inputs):
            said = f"made from {len(rows.inputs):,} of {rows.seen:,} rows, drawn at random"
            found = [replace(found[0], remarks=(*found[0].remarks, said))]
        return found[0] if found else None

    def _pooled(self, inputs: Tensor, kind: Kind) -> Pooled:
        pooled = pooled_features(inputs, kind)
        return pooled if self.names is None or kind != "tabular" else pooled._replace(names=self.names)

    def _tree(self, case: Case, pooled: Pooled, predicted: Tensor, kind: Kind) -> SurrogateReport:
        finite = pooled.features.isfinite().all(1)
        report = fit_surrogate(
            pooled.features[finite], predicted[finite], names=pooled.names, class_names=case.names, depth=self.depth,
            seed=self.seed, scale=self.scale if kind == "tabular" else None,
        )  # fmt: skip
        left_out = len(finite) - int(finite.sum())
        return replace(
            report, remarks=(f"{left_out} rows with values that are not finite are left out",) if left_out else ()
        )

    def _drops(
        self, case: Case, inputs: Tensor, target: Tensor, pooled: Pooled, kind: Kind, trainer: Trainer
    ) -> tuple[tuple[Drop, ...], int]:
        """The drops, and from how many rows; with fewer repeats, and then rows, where forwards would be too many."""
        each = len(pooled.names)
        repeats = max(1, min(self.repeats, self.forwards // (each * len(inputs))))
        rows = min(len(inputs), max(FEWEST, self.forwards // (each * repeats)))
        few = replace(case, chosen=Chosen(inputs[:rows], (None,) * rows))
        scorer = self.asking.scorer(few)
        with self.asking.session(case.module), torch.no_grad(), progress(trainer, self.asking.owner) as advance:

            def forward(x: Tensor) -> Tensor:
                found = scorer(x)
                advance(len(x))
                return found

            drops = permutation_importance(
                forward, few.inputs(kind), target[:rows], names=pooled.names, parts=pooled.parts, repeats=repeats,
                seed=self.seed, chunk=ROWS if kind == "tabular" else case.rows,
            )  # fmt: skip
        return drops, rows


def _usable(rows: SampledRows) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, targets, and which rows count."""
    assert rows.scores is not None
    assert rows.target is not None
    return rows.scores, rows.target, rows.target >= 0
