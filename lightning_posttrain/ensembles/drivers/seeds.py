"""Deep ensembles: members that differ in their seeds alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

from lightning_posttrain.ensembles.drivers.data import Remake, anew
from lightning_posttrain.ensembles.drivers.driver import Driver, Run
from lightning_posttrain.ensembles.drivers.folder import MemberRecord
from lightning_posttrain.ensembles.drivers.member import Member
from lightning_posttrain.ensembles.drivers.result import Fits, used


@final
class Seeds(Driver):
    """Fits the same network from several seeds: a deep ensemble.

    Lakshminarayanan, Pritzel and Blundell, 2017, arXiv:1612.01474: other initial weights and another order of rows make
    members different enough, and each is trained on all rows. Five seeds give most of the gain. Arguments are those of
    ``Driver``; streams of data without length are taken as well.

    Example:
        >>> import tempfile, torch
        >>> from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
        >>> seeds = Seeds(build=BoringModel, members=2, progress=False)
        >>> fits = seeds.fit(RandomDataset(32, 64), folder=tempfile.mkdtemp(), max_epochs=1, accelerator="cpu")
        >>> fits.words, len(fits.members)
        ('Seeds: 2 members.', 2)
    """

    kind: ClassVar[str] = "Seeds"

    def remake(self, run: Run, member: int) -> Remake:
        """The user's loader."""
        return anew

    def judge(self, run: Run, member: Member) -> dict[str, Any]:
        """Nothing: all rows were seen in training."""
        return {}

    def result(self, run: Run, records: Sequence[MemberRecord]) -> Fits:
        """The members, with equal weights."""
        number = len(used(records))
        weights = (1 / number,) * number
        return Fits(self.kind, str(run.folder), run.recipe.monitor, tuple(records), weights)
