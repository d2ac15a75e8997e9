"""Run members on a batch that the module was evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lightning_posttrain.classification import EvalBatch
from lightning_posttrain.ensembles.members.state import MemberState
from lightning_posttrain.ensembles.members.weights import live_tensors, mark
from lightning_posttrain.samples.sample_set import is_sharded

NEAR = 0.01
"""Of the spread of scores, by which those of a second run may differ."""
SHARE = 4
"""Members lie on the device where they take at most this part of what is free."""
CURE = "Pass forward_fn=lambda module, inputs: ... that gives the scores of the step."
Again = Callable[..., Any]


class Members:
    """Runs members in turn on the batches of one evaluation, as each would be evaluated alone.

    The module is not touched: a member's tensors stand in for its own while it is called. What a forward writes into
    buffers goes into copies, one set for each member, and is there in its next batch, as in an evaluation of its own.

    Args:
        states: the members.
        on: where they lie, ``"device"``: on the module's, or ``"cpu"``: copied there in turn. ``"auto"``: on the device
            where they take at most a fourth of its free memory.
    """

    def __init__(self, states: Sequence[MemberState], *, on: Literal["auto", "device", "cpu"] = "auto") -> None:
        self.states = tuple(states)
        self.on = on
        self._placed: list[_Placed] = []
        self._live: int | None = None

    def scores(
        self, trainer: Any, module: nn.Module, again: Again, batch: EvalBatch, *, forward_fn: Any = None
    ) -> list[EvalBatch]:
        """The batch as each member predicts it.

        Of the member whose weights the module has, that is the step's own. At the first batch it is seen that the
        module, asked again, gives the scores of the step.

        Args:
            trainer: of the run; members run under its precision, which is entered by who gives ``again``.
            module: that was evaluated.
            again: gives the batch as the module predicts it at the call, see ``core.stream.replay``.
            batch: as the step predicted it.
            forward_fn: from the module and inputs to scores, or None.

        Raises:
            ValueError: the module cannot be asked so, or gives other scores than the step.
        """
        ask = Standin(module, partial(again, forward_fn))
        if not self._placed:
            _whole(module)
            _compare(ask, batch)
            self._place(module, trainer.strategy.root_device)
        found = []
        for place, member in enumerate(self._placed):
            found.append(batch if place == self._live else member.run(ask))
            torch.clear_autocast_cache()  # of weights that are not asked again before the next batch
        return found

    def _place(self, module: nn.Module, device: torch.device) -> None:
        """Put the members where they are run from, and note which one is the module as it is."""
        near = self.on == "device" or (self.on == "auto" and self._fit(device))
        self._placed = [_Placed(state, module, device if near else torch.device("cpu")) for state in self.states]
        live = mark(module)
        self._live = next((i for i, state in enumerate(self.states) if state.mark == live), None)

    def _fit(self, device: torch.device) -> bool:
        if device.type != "cuda":
            return True
        size = sum(tensor.nbytes for state in self.states for tensor in state.tensors.values())
        return size * SHARE <= torch.cuda.mem_get_info(device)[0]


def placed(state: MemberState, module: nn.Module, device: torch.device | None = None) -> dict[str, Tensor]:
    """A member's tensors as a module has its own; those that a forward may write into are copies.

    Args:
        state: the member.
        module: of the architecture.
        device: where parameters lie that a forward only reads. Default: where the module's own are.
    """
    own, changed = live_tensors(module), _written(module)
    made: dict[int, Tensor] = {}
    with torch.inference_mode(False), torch.no_grad():
        for name, live in own.items():
            if id(live) not in made:
                copies = name in changed or not isinstance(live, nn.Parameter)
                where = live.device if copies or device is None else device
                made[id(live)] = _as(live, state.tensors[name].to(where, copy=copies))
    return {name: made[id(live)] for name, live in own.items()}


class _Placed:
    """One member's tensors where they are run from."""

    def __init__(self, state: MemberState, module: nn.Module, device: torch.device) -> None:
        self._own = live_tensors(module)
        self._tensors = placed(state, module, device)

    def run(self, ask: Standin) -> EvalBatch:
        """The batch as it predicts it."""
        with torch.inference_mode(False), torch.no_grad():
            moved = {id(tensor): tensor for tensor in self._tensors.values()}
            for name, tensor in self._tensors.items():
                if tensor.device != self._own[name].device and moved[id(tensor)] is tensor:
                    moved[id(tensor)] = _as(self._own[name], tensor.to(self._own[name].device))
        given = {f"module.{name}": moved[id(tensor)] for name, tensor in self._tensors.items()}
        found: EvalBatch = functional_call(ask, given, (), tie_weights=False)
        for name, tensor in self._tensors.items():  # a forward may have put other buffers in place
            if not isinstance(tensor, nn.Parameter):
                self._tensors[name] = given[f"module.{name}"]
        return found


def _as(live: Tensor, tensor: Tensor) -> Tensor:
    """A tensor as the module has it: some kernels go another way for parameters that take gradients."""
    if not isinstance(live, nn.Parameter):
        return tensor
    return nn.Parameter(tensor.detach(), requires_grad=live.requires_grad)


def _written(module: nn.Module) -> set[str]:
    """Names of parameters that a forward writes into: those of embeddings with a largest norm."""
    named = module.named_modules(remove_duplicate=False)
    return {f"{name}.weight".lstrip(".") for name, part in named if getattr(part, "max_norm", None) is not None}


class Standin(nn.Module):
    """Runs a call that asks a module, in a form in which other tensors can stand in for the module's.

    Args:
        module: whose tensors have ``"module."`` before their names here.
        call: asks it.
    """

    def __init__(self, module: nn.Module, call: Callable[[], Any]) -> None:
        super().__init__()
        self.module = module
        self.call = call

    def forward(self) -> Any:
        """What the call gives."""
        return self.call()


def _whole(module: nn.Module) -> None:
    """Raise where a device has a part of the module alone."""
    if is_sharded(module):
        raise ValueError(
            "members cannot be run on a module that is sharded over devices, as under FSDP, DeepSpeed or tensor "
            'parallel. Test them with strategy="ddp", or on one device.'
        )


def _compare(ask: Standin, batch: EvalBatch) -> None:
    """Raise where the module, asked again with its own weights and copies of its buffers, has other scores."""
    own = {f"module.{name}": tensor for name, tensor in live_tensors(ask.module).items()}
    given = {name: tensor if isinstance(tensor, nn.Parameter) else tensor.clone() for name, tensor in own.items()}
    try:
        found: EvalBatch = functional_call(ask, given, (), tie_weights=False)
    except Exception as error:  # whatever the user's forward raises
        cure = "" if "forward_fn" in str(error) else f" {CURE}"
        raise ValueError(
            f"the module cannot be asked for the scores of a batch again: {type(error).__name__}: {error}{cure}"
        ) from error
    apart, spread = _apart(found.scores, batch.scores)
    if apart > NEAR * spread + 1e-3:
        raise ValueError(
            f"the module, asked for the scores of the first batch again, gives others than the step: by {apart:.3g}, "
            f"where they spread over {spread:.3g}. The step does more than to call a network, or the forward is "
            f"random, so members cannot be run on the batch. {CURE}"
        )


def _apart(found: Tensor, wanted: Tensor) -> tuple[float, float]:
    """By how much scores differ, and what they spread over."""
    if found.shape != wanted.shape:
        return float("inf"), 0.0
    real = wanted[wanted.isfinite()]
    far = (found - wanted).abs()[wanted.isfinite()]
    if not len(real):
        return 0.0, 0.0
    return float(far.nan_to_num(float("inf")).max()), float(real.max() - real.min())
