"""Bytes of activations of one forward, in the three senses that the word has."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, UntypedStorage, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.profile.counting.counter import run_eagerly
from lightning_posttrain.profile.counting.operations import is_composite
from lightning_posttrain.profile.counting.parameters import is_lazy
from lightning_posttrain.profile.counting.storages import storages_of


@dataclass(frozen=True)
class ActivationMemory:
    """Bytes of the activations of a whole batch; what a fused kernel takes inside is not seen.

    Args:
        kept_for_backward: what a forward in training keeps until the backward, each storage once, without parameters
            and buffers: what more memory is needed for where the batch grows.
        alive_at_once: the most that tensors of one forward in inference take at a time, its output included.
        made_in_all: what they take together, as if none were freed; the "forward pass size" of summaries.
        reasons: why a figure is None, by its name.
    """

    kept_for_backward: int | None
    alive_at_once: int | None
    made_in_all: int | None
    reasons: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON takes them; the inverse of ``from_dict``."""
        return {part.name: undefined_to_none(getattr(self, part.name)) for part in fields(self)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> ActivationMemory:
        """What ``to_dict`` gave."""
        return cls(**saved)


def activation_memory(
    module: nn.Module, run: Callable[[], Any], *, train_run: Callable[[], Any] | None = None
) -> ActivationMemory:
    """Measure the activations of a network: two forwards, with the kernels that it uses.

    Whoever calls has set the mode and the gradients, and keeps what a forward changes. What raises is a figure of None
    with its reason. Compiled parts run eagerly.

    Args:
        module: the network, whose own parameters and buffers are no activations.
        run: makes a forward in inference.
        train_run: makes a forward in training, with gradients, and returns what it computes; None leaves out
            ``kept_for_backward``.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(8, 4), nn.Sigmoid(), nn.Linear(4, 2))
        >>> batch = torch.zeros(3, 8)
        >>> with torch.inference_mode():
        ...     activation_memory(net, lambda: net(batch)).made_in_all  # 4 bytes for 3 × (4 + 4 + 2)
        120
    """
    reasons: dict[str, str] = {}
    alive = AliveBytes()
    with _told(reasons, "alive_at_once", "made_in_all"), run_eagerly(), alive.counted():
        run()
    kept = None
    if train_run is None:
        reasons["kept_for_backward"] = "no forward in training was asked for"
    else:
        with _told(reasons, "kept_for_backward"):
            kept = _kept_for_backward(module, train_run)
    seen = "made_in_all" not in reasons
    return ActivationMemory(kept, alive.peak if seen else None, alive.made if seen else None, reasons)


@contextmanager
def _told(reasons: dict[str, str], *names: str) -> Iterator[None]:
    """What a forward raises, as the reason why there is no figure."""
    try:
        yield
    except Exception as error:  # of the user's module: a figure less is no end of a run
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        reasons.update(dict.fromkeys(names, said))


def _kept_for_backward(module: nn.Module, train_run: Callable[[], Any]) -> int:
    held = [tensor for tensor in (*module.parameters(), *module.buffers()) if not is_lazy(tensor)]
    own = {storage._cdata for storage in storages_of(held)}
    kept: dict[int, UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        # storages stay alive until they are counted, so that none takes the place of another
        kept.update((storage._cdata, storage) for storage in storages_of(tensor))
        return tensor.detach()  # a tensor in its own graph would never be freed

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        result = train_run()
    if not kept:
        raise ValueError("nothing was kept: `train_run` ran without gradients, or nothing in it is trainable")
    del result
    return sum(storage.nbytes() for key, storage in kept.items() if key not in own)


class AliveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the storages that operations make, while they are alive and in all.

    An output whose storage is among the arguments is a view, or written in place, and nothing that was made.

    Attributes:
        peak: the most that was alive at once.
        made: of all.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive = self.peak = self.made = 0
        self._endings: dict[int, Any] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as in `OperationCounter`

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what is made inside; what outlives it is left alone."""
        try:
            with self:
                yield
        finally:
            for ending in self._endings.values():
                ending.detach()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not types and is_composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        out = func(*args, **kwargs)
        given = {storage._cdata for storage in storages_of((args, kwargs))}
        for storage in storages_of(out):
            if storage._cdata not in given and storage._cdata not in self._endings:
                self._made(storage)
        return out

    def _made(self, storage: UntypedStorage) -> None:
        size = storage.nbytes()
        self.made, self.alive = self.made + size, self.alive + size
        self.peak = max(self.peak, self.alive)
        ending = weakref.finalize(storage, self._freed, storage._cdata, size)
        ending.atexit = False
        self._endings[storage._cdata] = ending

    def _freed(self, key: int, size: int) -> None:
        del self._endings[key]
        self.alive -= size
