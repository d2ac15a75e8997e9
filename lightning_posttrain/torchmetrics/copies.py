"""Metrics that nobody here wrote: a set of them is copied, updated, summed over ranks and read.

What they hold is kept off the user's module, so that no checkpoint changes; each metric is updated by itself, as
torchmetrics would else decide by the first batch which of them share a state.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities.data import dim_zero_cat

from lightning_posttrain.core.callback.from_lightning import isolate_rng

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

State = dict[str, Any]


def unpacked(metric: Metric | MetricCollection | Mapping[str, Metric]) -> dict[str, Metric]:
    """The metrics by name: those of a collection under its own names, one alone under that of its class."""
    if isinstance(metric, MetricCollection):
        return dict(metric.items(keep_base=False, copy_state=False))
    return dict(metric) if isinstance(metric, Mapping) else {type(metric).__name__: metric}


class MetricCopies:
    """Copies of metrics that accumulate the epochs of one loader, with random numbers of their own.

    Args:
        metrics: by name; they are copied, and stay as they are.
        device: where they shall live.
    """

    def __init__(self, metrics: Mapping[str, Metric], device: torch.device) -> None:
        with torch.inference_mode(False):  # a state made in inference mode could not be changed outside it
            self._metrics = {name: copy.deepcopy(metric).to(device) for name, metric in metrics.items()}
        self._random = torch.Generator().manual_seed(0).get_state()
        self.reset()

    def reset(self) -> None:
        """Forget an epoch."""
        self.updates = 0
        with torch.inference_mode(False):
            for metric in self._metrics.values():
                metric.reset()

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Give a batch to each, with those of the keyword arguments that it takes."""
        self.updates += 1
        with self._own_random():
            for metric in self._metrics.values():
                metric.update(*args, **metric._filter_kwargs(**kwargs))

    def sync(self, trainer: Trainer) -> bool:
        """Join what all ranks hold, in one exchange, and tell whether any holds something.

        Ranks without a batch have nothing to add, and need not know the shapes of what others hold.
        """
        if trainer.world_size == 1 or not dist.is_initialized():
            return self.updates > 0
        parts = [_state(part) for part in self._parts()] if self.updates else None
        everywhere: list[list[State] | None] = [None] * trainer.world_size
        dist.all_gather_object(everywhere, parts)
        held = [states for states in everywhere if states is not None]
        for number, part in enumerate(self._parts()):
            _join(part, [states[number] for states in held])
        return bool(held)

    def compute(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Values by name, and the reasons of those that gave none."""
        given: dict[str, dict[str, Tensor]] = {}
        failed: dict[str, str] = {}
        for name, metric in self._metrics.items():
            try:
                with self._own_random():
                    given[name] = flattened(name, _alone(metric))
            except Exception as error:  # whatever a guest raises must not cost the others' values
                failed[name] = f"{type(error).__name__}: {error}"
        times = Counter(key for values in given.values() for key in values)
        return {
            (key if times[key] == 1 else f"{name}/{key}"): value
            for name, values in given.items()
            for key, value in values.items()
        }, failed

    @contextmanager
    def _own_random(self) -> Iterator[None]:
        """Random numbers of a metric, as of a bootstrap, are not those of the training."""
        with isolate_rng(include_cuda=False):
            torch.set_rng_state(self._random)
            yield
            self._random = torch.get_rng_state()

    def _parts(self) -> Iterator[Metric]:
        """Every metric, also those inside of wrappers."""
        for metric in self._metrics.values():
            yield from (part for part in metric.modules() if isinstance(part, Metric))


def _alone(metric: Metric) -> Any:
    """The value of what the metric holds, without torchmetrics' own exchange between ranks."""
    for part in metric.modules():
        if isinstance(part, Metric):
            part._to_sync = False
            part.sync_on_compute = False
            part._computed = None
            part._update_count = max(part._update_count, 1)
    return metric.compute()


def flattened(name: str, value: Any) -> dict[str, Tensor]:
    """A value as copies on the CPU, by name and, in a dict or tuple, key; what is no number is left out.

    Copies, as a value may be the state itself, which a metric may set to zero in place while the value is drawn.
    """
    parts: dict[str, Any] = {}
    if isinstance(value, Mapping):
        parts = {str(key): item for key, item in value.items()}
    elif isinstance(value, (tuple, list)):
        parts = {f"{name}_{i}": item for i, item in enumerate(value)}
    if parts:
        return {key: tensor for part, item in parts.items() for key, tensor in flattened(part, item).items()}
    if isinstance(value, (int, float)):
        return {name: torch.tensor(float(value))}
    return {name: value.detach().to("cpu", copy=True)} if isinstance(value, Tensor) else {}


def _state(metric: Metric) -> State:
    return {name: _to_cpu(getattr(metric, name)) for name in metric._defaults}


def _to_cpu(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach().cpu()
    return [_to_cpu(part) for part in state] if isinstance(state, list) else state


def _join(metric: Metric, states: list[State]) -> None:
    reductions: Mapping[str, Any] = metric._reductions
    for name, reduce in reductions.items():
        parts = [state[name] for state in states]
        if parts:
            setattr(metric, name, _moved(_reduced(parts, reduce), metric.device))


def _reduced(parts: list[Any], reduce: Callable[[Any], Any] | None) -> Any:
    if isinstance(parts[0], list):
        return [item for part in parts for item in part]
    if reduce is dim_zero_cat:
        return torch.cat(parts)
    stacked = torch.stack(parts)
    return stacked if reduce is None else reduce(stacked)


def _moved(state: Any, device: torch.device) -> Any:
    return [_moved(part, device) for part in state] if isinstance(state, list) else state.to(device)
