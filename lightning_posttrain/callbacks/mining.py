"""Hard-example mining: the next epoch sees more of what was hard in this one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from typing_extensions import Unpack

from lightning_posttrain.artifacts import Tagged
from lightning_posttrain.batch import EvalBatch
from lightning_posttrain.callbacks.base import StreamCallback
from lightning_posttrain.callbacks.options import EvaluationOptions
from lightning_posttrain.evaluation import Evaluation
from lightning_posttrain.hardest import hardness
from lightning_posttrain.loaders import sampler_of
from lightning_posttrain.results import MetricValues
from lightning_posttrain.sampling import HardExampleSampler


@final
class HardExampleMining(StreamCallback):
    """Gives the losses of training to the loader's ``HardExampleSampler``, which draws hard examples more often.

    What is drawn more often is predicted more often: probabilities become biased, so look at them with ``Calibration``,
    and it balances no classes, for which there is torch's ``WeightedRandomSampler``. Logged is ``train/mining/spread``:
    how many samples it would take, drawn alike, for the same spread of draws (effective sample size), over all; 1 is
    plain shuffling.

    Losses are log losses of the scores, read as training goes, and of all ranks together; for several labels, and for
    positions of an image, their mean. What the sampler draws by is saved in the checkpoint, so that a run that is
    resumed draws what it would have drawn.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning_posttrain import HardExampleSampler
        >>> data = list(range(100))
        >>> loader = torch.utils.data.DataLoader(data, batch_size=10, sampler=HardExampleSampler(data, floor=0.3))
        >>> trainer = Trainer(callbacks=HardExampleMining(), logger=False)  # and then trainer.fit(model, loader)

    Args:
        **options: what every callback takes, see ``StreamCallback``; ``stages`` is always training.
    """

    tag = "mining"

    def __init__(self, **options: Unpack[EvaluationOptions]) -> None:
        if "stages" in options:
            raise ValueError("`stages` is not for HardExampleMining, which reads training.")
        options["stages"] = ("train",)
        super().__init__(**options)
        self._sampler: HardExampleSampler | None = None
        self._losses: Tensor | None = None
        self._loaded: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the sampler, and go on drawing as before where the run is resumed.

        Raises:
            ValueError: the training loader has none.
        """
        sampler = sampler_of(trainer.train_dataloader)
        if not isinstance(sampler, HardExampleSampler):
            raise ValueError(
                f"the training loader's sampler is a {type(sampler).__name__}, wanted a HardExampleSampler: "
                "DataLoader(dataset, batch_size=..., sampler=HardExampleSampler(dataset))."
            )
        self._sampler, self._losses = sampler, None
        if self._loaded is not None:
            sampler.load_state_dict(self._loaded)
            sampler.set_epoch(trainer.current_epoch)
            fetcher = getattr(trainer.fit_loop, "_data_fetcher", None)
            if sampler.positions and fetcher is not None:  # workers were sent to fetch before the losses were known
                iter(fetcher)
        self._loaded = None

    def observe(self, key: str, batch: EvalBatch) -> None:
        """Note the losses; a sample that comes twice has its last one."""
        if self._sampler is None or batch.index is None:
            return
        found, size = hardness(batch), len(self._sampler.losses)
        if self._losses is None:
            with torch.inference_mode(False):
                self._losses = torch.full((size + 1,), torch.nan, device=found.loss.device)
        # the last place takes what does not count
        self._losses[torch.where(found.counted, batch.index, size)] = found.loss.to(self._losses.dtype)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the sampler before a checkpoint is saved."""
        if not trainer.sanity_checking:
            self._tell(trainer)
        self._begin(trainer, pl_module)

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> MetricValues:
        """Tell the sampler, and how unevenly it draws."""
        self._tell(module.trainer)
        self._losses = None
        assert self._sampler is not None
        share = self._sampler.probabilities()
        return MetricValues({"spread": 1 / share.square().sum() / len(share)}, None, {})

    def scalars(self, result: MetricValues) -> dict[str, float]:
        """How unevenly is drawn."""
        return {f"{self.tag}/{name}": float(value) for name, value in result.values.items()}

    def _tell(self, trainer: Trainer) -> None:
        """Give the sampler the losses of all ranks, the same on each; all ranks together."""
        if self._sampler is None:
            return
        before = self._sampler.losses
        losses = torch.full((len(before),), torch.nan, device=trainer.strategy.root_device)
        losses = losses if self._losses is None else self._losses[:-1]
        if trainer.world_size > 1:
            pair = torch.stack([torch.where(losses.isnan(), 0.0, losses), (~losses.isnan()).to(losses.dtype)])
            total, number = trainer.strategy.reduce(pair, reduce_op="sum")
            losses = total / number
        losses = losses.cpu().to(before.dtype)
        self._sampler.update_losses(torch.where(losses.isnan(), before, losses))

    def show(self, result: Any, title: str) -> Iterable[Tagged]:
        """Nothing."""
        return ()

    # a run that is resumed goes on where it was

    def state_dict(self) -> dict[str, Any]:
        """What the sampler draws by."""
        return {} if self._sampler is None else self._sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what the sampler drew by, once it is there."""
        self._loaded = dict(state_dict) or None
