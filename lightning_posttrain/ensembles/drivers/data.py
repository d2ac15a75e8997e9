"""Training and validation data of members, whatever form the user gave them in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    WeightedRandomSampler,
)

from lightning_posttrain.core.capture.foreign import attribute, length
from lightning_posttrain.core.runs.isolation import isolated, seed_of

KEPT = (
    "batch_size", "num_workers", "collate_fn", "pin_memory", "drop_last", "timeout", "worker_init_fn",
    "multiprocessing_context", "persistent_workers", "prefetch_factor", "in_order",
)  # fmt: skip
"""Settings of a loader that hold for other rows as well."""
SETUP = 4
"""Purpose of the seed that a datamodule's ``setup`` draws with."""
Remake = Callable[[Any], Any]
"""From the training loader that the user gave to that of one member."""


def remade(loader: Any, dataset: Any, **changes: Any) -> DataLoader[Any]:
    """A loader with the settings of another."""
    options = {name: getattr(loader, name) for name in KEPT if hasattr(loader, name)}
    return DataLoader(dataset, **{**options, **changes})


def anew(loader: Any) -> Any:
    """The same loader, which shares no generator with others; one with a sampler of its own as it is."""
    if not _is_plain(loader) or isinstance(loader.dataset, IterableDataset):
        return loader
    return remade(loader, loader.dataset, shuffle=_shuffles(loader))


def resampled(loader: Any, rows: Tensor) -> DataLoader[Any]:
    """A loader of some rows, in the order, shuffled or not, that the first has."""
    return remade(loader, Subset(loader.dataset, rows.tolist()), shuffle=_shuffles(loader))


def weighted_anew(loader: Any, weights: Tensor, seed: int) -> DataLoader[Any]:
    """A loader that draws rows by weights in each epoch; with one seed on all ranks, which share one draw out."""
    generator = torch.Generator().manual_seed(seed)
    sampler = WeightedRandomSampler(weights.tolist(), len(weights), generator=generator)
    return remade(loader, loader.dataset, sampler=sampler)


def in_order(loader: Any, rows: Tensor | None) -> DataLoader[Any]:
    """A loader of some rows, or of all, in their order, each once."""
    dataset = loader.dataset if rows is None else Subset(loader.dataset, rows.tolist())
    return remade(loader, dataset, shuffle=False, drop_last=False)


def _shuffles(loader: Any) -> bool:
    return isinstance(loader.sampler, RandomSampler)


def _is_plain(loader: Any) -> bool:
    """Whether a loader draws each row once, in batches of one size."""
    if not isinstance(loader, DataLoader) or type(loader.batch_sampler) is not BatchSampler:
        return False
    sampler = loader.sampler
    whole = type(sampler) is RandomSampler and not sampler.replacement and sampler._num_samples is None
    return type(sampler) is SequentialSampler or whole


@dataclass(frozen=True)
class Data:
    """Training and validation data, as loaders or as a datamodule.

    Args:
        train: a loader, whatever else a Trainer takes, or None beside a datamodule.
        val: likewise.
        module: a datamodule, or None.
        seed: that its ``setup`` draws with, so that a random split is the same for all members.
    """

    train: Any
    val: Any
    module: Any
    seed: int

    @classmethod
    def of(cls, train: Any, val: Any, *, batch_size: int | None, seed: int) -> Data:
        """From what the user gave.

        Raises:
            ValueError: it does not go together.
        """
        if _is_datamodule(train):
            if val is not None or batch_size is not None:
                raise ValueError("`train` is a datamodule, which has its own `val` and `batch_size`; leave both out.")
            drawing = seed_of(seed, 0, SETUP)
            with isolated(drawing):
                train.prepare_data()
                train.setup("fit")
                return cls(train.train_dataloader(), _validation_of(train), train, drawing)
        if batch_size is not None and not _is_dataset(train) and not _is_dataset(val):
            raise ValueError("`batch_size` is for datasets, and a loader has its own; leave it out, or pass datasets.")
        size = 32 if batch_size is None else batch_size
        loader = DataLoader(train, size, shuffle=length(train) != 0) if _is_dataset(train) else train
        return cls(loader, DataLoader(val, size) if _is_dataset(val) else val, None, seed)

    @property
    def rows(self) -> int | None:
        """Of the training dataset; None where they are not known."""
        dataset = getattr(self.train, "dataset", None)
        return None if dataset is None or isinstance(dataset, IterableDataset) else length(dataset)

    def check_rows(self, kind: str) -> int:
        """How many rows there are to draw from.

        Raises:
            ValueError: none, or they cannot be drawn.
        """
        rows = self.rows
        if rows is None:
            raise ValueError(
                f"`train` has no length, and {kind} draws rows by their number. Pass a dataset with __len__ and "
                "__getitem__, or a DataLoader of one; Seeds takes a stream as well."
            )
        if not _is_plain(self.train) and rows:
            raise ValueError(
                f"`train` has a sampler of its own, a {type(self.train.sampler).__name__}, which {kind} would replace. "
                "Pass the dataset, or a DataLoader with shuffle=True."
            )
        return rows

    @property
    def validates_in_order(self) -> bool:
        """Whether validation is one loader whose rows can be read in order."""
        return isinstance(self.val, DataLoader) and _is_plain(self.val) and bool(length(self.val.dataset))

    @contextmanager
    def for_fit(self, remake: Remake, seed: int) -> Iterator[dict[str, Any]]:
        """The arguments of ``Trainer.fit``."""
        if self.module is not None:
            with self._patched(train_dataloader=partial(_remade, self.module, remake)):
                yield {"datamodule": self.module}
        else:
            with reseeded([self.train, self.val], seed):
                yield {"train_dataloaders": remake(self.train), "val_dataloaders": self.val}

    @contextmanager
    def for_scores(
        self, part: Literal["train", "val"], rows: Tensor | None, hook: Literal["val", "test"]
    ) -> Iterator[dict[str, Any]]:
        """The arguments of ``Trainer.validate`` or ``Trainer.test`` over given rows in order."""
        loader = in_order(self.train if part == "train" else self.val, rows)
        if self.module is not None:
            with self._patched(**{f"{hook}_dataloader": partial(_given, loader)}):
                yield {"datamodule": self.module}
        else:
            yield {"dataloaders": loader}

    @contextmanager
    def _patched(self, **methods: Any) -> Iterator[None]:
        """The datamodule with other methods; they are functions of modules, so that it can be pickled."""
        methods["setup"] = partial(_set_up, self.module, self.seed)
        own = vars(self.module)
        before: Mapping[str, Any] = {name: own[name] for name in methods if name in own}
        own.update(methods)
        try:
            yield
        finally:
            for name in methods:
                own.pop(name, None)
            own.update(before)


@contextmanager
def reseeded(loaders: Sequence[Any], seed: int) -> Iterator[None]:
    """Seed the generators that loaders and their samplers have of their own, and put them back."""
    owners = [owner for one in loaders if isinstance(one, DataLoader) for owner in (one, one.sampler)]
    found = [generator for owner in owners if (generator := attribute(owner, "generator")) is not None]
    with ExitStack() as after:
        for generator in found:
            after.callback(generator.set_state, generator.get_state())
            generator.manual_seed(seed)
        yield


def _remade(module: Any, remake: Remake) -> Any:
    return remake(type(module).train_dataloader(module))


def _given(loader: Any) -> Any:
    return loader


def _set_up(module: Any, seed: int, stage: str) -> None:
    with isolated(seed):
        type(module).setup(module, stage)


def _is_datamodule(given: Any) -> bool:
    return all(hasattr(given, name) for name in ("train_dataloader", "val_dataloader", "setup", "prepare_data"))


def _is_dataset(given: Any) -> bool:
    return hasattr(given, "__getitem__") and not isinstance(given, (DataLoader, list, tuple, dict, str))


def _validation_of(module: Any) -> Any:
    """What a datamodule validates on; None where it has only what Lightning gave it, which raises."""
    home = type(module).val_dataloader.__module__.split(".")[0]
    return None if home in ("lightning", "pytorch_lightning") else module.val_dataloader()
