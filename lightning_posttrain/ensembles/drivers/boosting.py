"""Boosting (SAMME): members that are trained on what those before them have wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.core.callback.options import one_of
from lightning_posttrain.core.runs.failures import free_memory, reason_of
from lightning_posttrain.core.runs.isolation import seed_of
from lightning_posttrain.ensembles.drivers.data import Data, Remake, resampled, weighted_anew
from lightning_posttrain.ensembles.drivers.driver import Driver, Run
from lightning_posttrain.ensembles.drivers.figures import Comparison, compared
from lightning_posttrain.ensembles.drivers.folder import MemberRecord
from lightning_posttrain.ensembles.drivers.member import Member
from lightning_posttrain.ensembles.drivers.options import DriverOptions
from lightning_posttrain.ensembles.drivers.resampling import WEIGHTED, judged, weighted
from lightning_posttrain.ensembles.drivers.result import Fits, used
from lightning_posttrain.ensembles.drivers.row_scores import ScoredRows
from lightning_posttrain.ensembles.drivers.samme import effective_share, samme_round

WEIGHTS = "weights.pt"
SCORES = "validation.pt"


@final
class Boosting(Driver):
    """Fits members one after the other, each on rows drawn by how often those before it had them wrong: SAMME.

    Zhu, Zou, Rosset and Hastie, 2009, doi:10.4310/SII.2009.v2.n3.a8: multiclass AdaBoost. It is for weak members.
    Networks that fit their training rows are better served by ``Seeds`` or ``Bagging``; the result compares all with
    the first member on the validation rows, and says so where it does not pay. Weights act by sampling, so that nothing
    is asked of the training step. Arguments are those of ``Driver``, and:

    Args:
        build: gives a new LightningModule.
        draw: ``"once"``: a member is trained on one resample by weights, and its error is that of the rows outside it,
            which it really predicts, so that boosting goes on with networks that fit their rows. ``"each epoch"``: rows
            are drawn anew in each, and the error is that of all training rows, as in the paper; a network that fits
            them all ends it in round one.
        **options: those of ``Driver``.
    """

    kind: ClassVar[str] = "Boosting"
    chained: ClassVar[bool] = True

    def __init__(
        self, build: Any, *, draw: Literal["once", "each epoch"] = "once", **options: Unpack[DriverOptions]
    ) -> None:
        super().__init__(build, **options)
        one_of("draw", draw, ("once", "each epoch"))
        self.draw = draw

    def check_rows(self, data: Data) -> int:
        """How many rows there are to draw from."""
        return data.check_rows(self.kind)

    def settings(self, run: Run) -> dict[str, Any]:
        """How rows are drawn as well."""
        return {**super().settings(run), "draw": self.draw}

    def remake(self, run: Run, member: int) -> Remake:
        """A loader of rows by weights."""
        weights = self._weights(run, member)
        if self.draw == "once":
            return partial(resampled, rows=weighted(weights, seed=self.seed, member=member))
        return partial(weighted_anew, weights=weights, seed=seed_of(self.seed, member, WEIGHTED))

    def judge(self, run: Run, member: Member) -> dict[str, Any]:
        """One round of SAMME.

        Raises:
            ValueError: the rows are of one class, or have labels.
        """
        weights = self._weights(run, member.number)
        scores = member.scores("train", None)
        check_classes(scores)
        counted = scores.target >= 0
        wrong = counted & (scores.logp.argmax(1) != scores.target)
        seen = torch.zeros(run.rows, dtype=torch.bool)
        if self.draw == "once":
            seen[weighted(weights, seed=self.seed, member=member.number)] = True
        done = samme_round(weights, wrong, counted & ~seen, scores.logp.shape[1])
        torch.save({"weights": done.weights, "wrong": wrong}, member.home / WEIGHTS)
        alpha = done.alpha or float(member.number == 0)  # the first stands for itself where it is no good
        noted = {"error": done.error, "alpha": alpha, "stop": done.stop}
        return {**noted, "effective_share": effective_share(weights), "validation": self._validated(run, member)}

    def stopped(self, records: Sequence[MemberRecord]) -> str:
        """What SAMME says, or that a member failed."""
        last = records[-1]
        why = last.reason if last.status == "failed" else (last.notes or {}).get("stop")
        return f"after member {last.member}, {why}" if why else ""

    def result(self, run: Run, records: Sequence[MemberRecord]) -> Fits:
        """The members with their weights, compared with the first alone."""
        members = used(records)
        alphas = [(record.notes or {})["alpha"] for record in members]
        weights = tuple(alpha / sum(alphas) for alpha in alphas)
        comparison, remarks = _comparison(run, members, weights)
        share = (members[-1].notes or {})["effective_share"]
        remarks = (*remarks, f"Weights of rows were worth {share:.0%} of them in the last round.")
        stopped = self.stopped(records)
        common = (self.kind, str(run.folder), run.recipe.monitor, tuple(records), weights)
        return Fits(*common, comparison=comparison, stopped=stopped, remarks=remarks)

    def _weights(self, run: Run, member: int) -> Tensor:
        """Of the rows, for a member: equal for the first, else what the one before has left."""
        if not member:
            return torch.full((run.rows,), 1 / run.rows, dtype=torch.float64)
        held: Tensor = torch.load(run.home(member - 1) / WEIGHTS, weights_only=True)["weights"]
        return held

    def _validated(self, run: Run, member: Member) -> str:
        """Keep its scores of validation rows; why not, where that fails."""
        if not run.data.validates_in_order:
            return "validation is not one loader of rows in order."
        try:
            rows = judged(len(run.data.val.dataset), self.judged_rows, seed=self.seed)
            torch.save(vars(member.scores("val", rows)), member.home / SCORES)
            return ""
        except Exception as error:
            reason = reason_of(error)
        free_memory()
        return reason


def _comparison(
    run: Run, members: Sequence[MemberRecord], weights: Sequence[float]
) -> tuple[Comparison | None, tuple[str, ...]]:
    """All against the first, or why not."""
    reasons = {str((record.notes or {}).get("validation")) for record in members} - {""}
    if reasons:
        missing = f"Not compared with the first member: {' | '.join(sorted(reasons)).rstrip('.')}."
        return None, (f"{missing} Pass `val`, a dataset or a DataLoader of one, to hear whether boosting pays.",)
    if len(members) == 1:
        return None, ("It is its first member alone; Seeds or Bagging give several.",)
    paths = [run.home(record.member) / SCORES for record in members]
    return compared([ScoredRows(**torch.load(path, weights_only=True)) for path in paths], weights), ()


def check_classes(scores: ScoredRows) -> None:
    """Raise where SAMME is not defined.

    Raises:
        ValueError: with the reason.
    """
    if scores.multilabel:
        raise ValueError("SAMME is for rows of one class each, and these have labels. Use Seeds or Bagging.")
    classes = torch.unique(scores.target[scores.target >= 0])
    if len(classes) < 2:
        raise ValueError(
            f"all training rows are of class {classes.tolist()}, and SAMME needs two classes at least. Check the "
            "targets of `train`."
        )
