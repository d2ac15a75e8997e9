"""Hard-example mining: the next epoch sees more of what was hard in this one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

from lightning.pytorch import LightningModule, Trainer
from typing_extensions import Unpack

from lightning_posttrain.classification import EvaluationOptions, StreamCallback
from lightning_posttrain.core.callback.kept_form import on_cpu
from lightning_posttrain.core.callback.target_copies import KeptState
from lightning_posttrain.core.output.artifacts import Tagged
from lightning_posttrain.core.stream.evaluation import Evaluation
from lightning_posttrain.core.stream.reading import Batch
from lightning_posttrain.hard_examples.mining_losses import MiningLosses
from lightning_posttrain.hard_examples.result import MiningSpread
from lightning_posttrain.hard_examples.sampler import checked_state


@final
class HardExampleMining(KeptState, StreamCallback):
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
        >>> from torch.utils.data import DataLoader
        >>> from lightning_posttrain import HardExampleSampler
        >>> data = list(range(100))
        >>> loader = DataLoader(data, batch_size=10, sampler=HardExampleSampler(data, floor=0.3))
        >>> trainer = Trainer(callbacks=HardExampleMining(), logger=False)  # and then trainer.fit(model, loader)

    Args:
        **options: what every callback takes, see ``StreamCallback``; ``stages`` is always training.
    """

    tag = "mining"
    keeps = "the losses that its sampler draws by"
    regained = "They are learned anew in the next epoch, which is drawn as the first."
    several_targets = False
    names_samples = True

    def __init__(self, **options: Unpack[EvaluationOptions]) -> None:
        if "stages" in options:
            raise ValueError("`stages` is not for HardExampleMining, which reads training.")
        options["stages"] = ("train",)
        super().__init__(**options)
        self._losses: MiningLosses | None = None
        self._loaded: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the sampler, and go on drawing as before where the run is resumed.

        Raises:
            ValueError: the training loader has none.
        """
        self.attempt(trainer, "find the sampler", self._find, trainer, configures=True)
        super().on_train_start(trainer, pl_module)

    def _find(self, trainer: Trainer) -> None:
        loaded, self._loaded = self._loaded, None
        self._losses = MiningLosses.for_loader(trainer.train_dataloader)
        if loaded is not None:
            with self.or_begin_anew():
                self._losses.resume(loaded, trainer)

    def observe(self, key: str, batch: Batch) -> None:
        """Note the losses."""
        if self._losses is not None:
            self._losses.add(batch)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the sampler before a checkpoint is saved."""
        if self._losses is not None and not trainer.sanity_checking:
            self.attempt(trainer, "tell the sampler", self._losses.tell, trainer)
        self._begin(trainer, pl_module)

    def summarize(self, module: LightningModule, evaluation: Evaluation, names: tuple[str, ...]) -> MiningSpread:
        """Tell the sampler, and how unevenly it draws."""
        assert self._losses is not None
        self._losses.tell(module.trainer)
        self._losses.forget()
        return self._losses.spread()

    def scalars(self, result: MiningSpread) -> dict[str, float]:
        """How unevenly is drawn."""
        return {f"{self.tag}/{name}": value for name, value in result.scalars().items()}

    def show(self, result: Any, title: str) -> Iterable[Tagged]:
        """Nothing."""
        return ()

    # a run that is resumed goes on where it was

    def kept(self) -> dict[str, Any]:
        """What the sampler draws by."""
        return {} if self._losses is None else self._losses.sampler.state_dict()

    def take_up(self, state: dict[str, Any]) -> None:
        """Take up what the sampler drew by, once it is there."""
        self._loaded = checked_state(on_cpu(state)) if state else None

    def counts_open_epoch(self) -> bool:
        """The sampler was told the losses before the checkpoint was written."""
        return True
