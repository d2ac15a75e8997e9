"""Which callbacks look at single batches, beside what metrics count of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

    from lightning_posttrain.core.stream.replay import Replay


class Looks:
    """For a callback of the stream; those that look at batches say how."""

    def observe(self, key: str, batch: Any) -> None:
        """See a batch; for what is no metric."""

    def replay(self, key: str, batch: Any, again: Replay) -> None:
        """See what the module makes of a batch with other weights; for what ``asks_again``."""

    def see(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, loader: int) -> None:
        """See what a step gave; for what reads no scores."""

    @property
    def looks(self) -> bool:
        """Whether it sees each batch by itself."""
        return self.does("observe")

    def counts_open_epoch(self) -> bool:
        """Where it looks at no single batch."""
        return not any(map(self.does, ("observe", "see", "replay")))

    def does(self, look: str) -> bool:
        """Whether one of these does anything."""
        return getattr(type(self), look) is not getattr(Looks, look)
