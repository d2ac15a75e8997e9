"""Training losses by position in the dataset, joined over ranks, for a sampler that draws by them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_posttrain.core.capture.loaders import sampler_of
from lightning_posttrain.core.stream.reading import Batch
from lightning_posttrain.hard_examples.result import MiningSpread
from lightning_posttrain.hard_examples.sampler import HardExampleSampler

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


class MiningLosses:
    """The last loss of each position in a training epoch, and the sampler that is told them.

    Args:
        sampler: what draws by the losses.
    """

    def __init__(self, sampler: HardExampleSampler) -> None:
        self.sampler = sampler
        self._losses: Tensor | None = None

    @classmethod
    def for_loader(cls, loader: Any) -> MiningLosses:
        """Those for a training loader's sampler.

        Raises:
            ValueError: it is no ``HardExampleSampler``.
        """
        sampler = sampler_of(loader)
        if not isinstance(sampler, HardExampleSampler):
            raise ValueError(
                f"the training loader's sampler is a {type(sampler).__name__}, wanted a HardExampleSampler: "
                "DataLoader(dataset, batch_size=..., sampler=HardExampleSampler(dataset))."
            )
        return cls(sampler)

    def resume(self, state: dict[str, Any], trainer: Trainer) -> None:
        """Go on drawing as the sampler did whose state it is."""
        self.sampler.load_state_dict(state)
        self.sampler.set_epoch(trainer.current_epoch)
        fetcher = getattr(trainer.fit_loop, "_data_fetcher", None)
        if self.sampler.positions and fetcher is not None:  # workers were sent to fetch before the losses were known
            iter(fetcher)

    def add(self, batch: Batch) -> None:
        """Note the losses of a batch; a sample that comes twice has its last one."""
        if batch.index is None:
            return
        losses, size = batch.losses(), len(self.sampler.losses)
        if self._losses is None:
            with torch.inference_mode(False):
                self._losses = torch.full((size + 1,), torch.nan, device=losses.device)
        # the last place takes what does not count
        self._losses[torch.where(losses.isnan(), size, batch.index)] = losses.to(self._losses.dtype)

    def tell(self, trainer: Trainer) -> None:
        """Give the sampler the losses of all ranks, the same on each; all ranks together."""
        before = self.sampler.losses
        losses = self._joined(trainer).cpu().to(before.dtype)
        self.sampler.update_losses(torch.where(losses.isnan(), before, losses))

    def forget(self) -> None:
        """Begin another epoch."""
        self._losses = None

    def spread(self) -> MiningSpread:
        """Effective sample size of the sampler's next draws, as a share of the dataset."""
        share = self.sampler.probabilities()
        return MiningSpread(float(1 / share.square().sum() / len(share)))

    def _joined(self, trainer: Trainer) -> Tensor:
        """The mean loss over the ranks that saw a position ``(N,)``; NaN where none did."""
        unknown = torch.full((len(self.sampler.losses),), torch.nan, device=trainer.strategy.root_device)
        losses = unknown if self._losses is None else self._losses[:-1]
        if trainer.world_size == 1:
            return losses
        pair = torch.stack([torch.where(losses.isnan(), 0.0, losses), (~losses.isnan()).to(losses.dtype)])
        total, number = trainer.strategy.reduce(pair, reduce_op="sum")
        mean: Tensor = total / number
        return mean
