"""Bagging: members that are trained on bootstrap resamples, judged on the rows out of bag."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from lightning_posttrain.core.runs.failures import free_memory, reason_of
from lightning_posttrain.ensembles.drivers.data import Data, Remake, resampled
from lightning_posttrain.ensembles.drivers.driver import Driver, Run
from lightning_posttrain.ensembles.drivers.figures import OutOfBag, out_of_bag_figures
from lightning_posttrain.ensembles.drivers.folder import MemberRecord
from lightning_posttrain.ensembles.drivers.member import Member
from lightning_posttrain.ensembles.drivers.resampling import bootstrap, judged, out_of_bag
from lightning_posttrain.ensembles.drivers.result import Fits, used
from lightning_posttrain.ensembles.drivers.row_scores import ScoredRows

SCORES = "out_of_bag.pt"


@final
class Bagging(Driver):
    """Fits members on bootstrap resamples of the training rows, and judges them on the rows that each has not seen.

    Breiman, 1996, doi:10.1007/BF00058655. A resample leaves out about 36.8 % of the rows, so that each row has the
    votes of a third of the members, and the estimate needs no data of its own. Networks gain from bagging about what
    they gain from ``Seeds``, which trains each on all rows; take it for weak or unstable members, or for the estimate.
    Arguments are those of ``Driver``. Rows out of bag go through the module's validation step as training data comes:
    augmented, where the training dataset augments.

    Example:
        >>> import tempfile, torch
        >>> from torch import nn
        >>> from torch.utils.data import TensorDataset
        >>> from lightning.pytorch import LightningModule
        >>> class Net(LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.net = nn.Linear(2, 2)
        ...     def validation_step(self, batch, batch_idx):
        ...         return nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        ...     training_step = validation_step
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), 0.1)
        >>> x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        >>> data, options = TensorDataset(x, (x[:, 0] > 0).long()), {"max_epochs": 1, "accelerator": "cpu"}
        >>> fits = Bagging(build=Net, members=4, progress=False).fit(data, data, folder=tempfile.mkdtemp(), **options)
        >>> len(fits.members), fits.out_of_bag.rows
        (4, 51)
    """

    kind: ClassVar[str] = "Bagging"

    def check_rows(self, data: Data) -> int:
        """How many rows there are to draw from."""
        return data.check_rows(self.kind)

    def drawn(self, run: Run, member: int) -> Tensor:
        """Positions of a member's training rows."""
        return bootstrap(run.rows, seed=self.seed, member=member)

    def remake(self, run: Run, member: int) -> Remake:
        """A loader of its resample."""
        return partial(resampled, rows=self.drawn(run, member))

    def judge(self, run: Run, member: Member) -> dict[str, Any]:
        """Keep its scores of rows that it has not seen; where there are none, note why."""
        rows = self._left_out(run, member.number)
        if not len(rows):
            return {"out_of_bag": "no row was left out"}
        try:
            scores = member.scores("train", rows)
            torch.save({"rows": rows, **vars(scores)}, member.home / SCORES)
            return {"out_of_bag": ""}
        except Exception as error:
            reason = reason_of(error)
        free_memory()
        return {"out_of_bag": reason}

    def result(self, run: Run, records: Sequence[MemberRecord]) -> Fits:
        """The members, with equal weights, and out-of-bag figures."""
        members = used(records)
        weights = (1 / len(members),) * len(members)
        found, remarks = self._judged(run, members)
        return Fits(self.kind, str(run.folder), run.recipe.monitor, tuple(records), weights, found, remarks=remarks)

    def _left_out(self, run: Run, member: int) -> Tensor:
        """The rows out of bag among those that figures are of."""
        chosen = judged(run.rows, self.judged_rows, seed=self.seed)
        missing = out_of_bag(self.drawn(run, member), run.rows)
        return chosen[torch.isin(chosen, missing)]

    def _judged(self, run: Run, members: Sequence[MemberRecord]) -> tuple[OutOfBag | None, tuple[str, ...]]:
        reasons = {str((record.notes or {}).get("out_of_bag")) for record in members} - {""}
        if reasons:
            cure = "`reading` of the driver takes what StreamCallback does, as scores_fn and task, where that helps."
            return None, (f"No out-of-bag figures: {' | '.join(sorted(reasons)).rstrip('.')}. {cure}",)
        voted = [read_votes(run.home(record.member) / SCORES) for record in members]
        found = out_of_bag_figures(voted, min(run.rows, self.judged_rows), run.rows)
        targets = torch.unique(torch.cat([scores.target[scores.target >= 0] for _, scores in voted]))
        one = () if len(targets) > 1 else ("All rows that were judged are of one class: the figures say nothing.",)
        return found, one


def read_votes(path: Any) -> tuple[Tensor, ScoredRows]:
    """Positions of the rows that a member has not seen, and its scores of them."""
    held = torch.load(path, weights_only=True)
    return held["rows"], ScoredRows(held["logp"], held["target"])
