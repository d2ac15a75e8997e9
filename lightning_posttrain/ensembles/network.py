"""The chosen ensemble as one module and one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from lightning_posttrain.classification import TASKS, ScoreKind, Task
from lightning_posttrain.core.output.whole import whole
from lightning_posttrain.ensembles.functional.combination import Combination, combine
from lightning_posttrain.ensembles.functional.rows import log_odds, log_softmax, of_log_odds
from lightning_posttrain.ensembles.member_copy import member_of


@final
class EnsembleNetwork(nn.Module):
    """Copies of one network with weights of their own, and a combination behind them.

    It takes what the network takes, and gives log-probabilities ``(N, C, ...)``, whose softmax gives the probabilities;
    of a multilabel task, and of a binary one whose network gives one score a row, log-odds in the shape of these. So
    whatever reads logits stands behind it: calibrators, thresholds, callbacks, an export. Members without a weight are
    not made. It is in evaluation mode, and on the device of ``network``, which stays as it was.

    Args:
        network: gives a tensor of scores; a LightningModule loses its trainer in the copies.
        states: parameters and buffers by name of each of the ``K`` members; names that the network lacks are skipped.
        combination: of these members.
        task: what scores mean.
        scores: whether the network gives ``"logits"`` or ``"probabilities"``.
        names: of the members, for ``describe``.

    Raises:
        ValueError: as many states as the combination has members are wanted, with the names and shapes of the network.

    Example:
        >>> network = nn.Linear(2, 3)
        >>> states = [network.state_dict(), {name: -value for name, value in network.state_dict().items()}]
        >>> both = EnsembleNetwork(network, states, Combination("logits", torch.tensor([0.5, 0.5])))
        >>> both(torch.ones(1, 2)).exp().detach()
        tensor([[0.3333, 0.3333, 0.3333]])
    """

    weights: Tensor
    temperature: Tensor
    coefficients: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        states: Sequence[Mapping[str, Tensor]],
        combination: Combination,
        *,
        task: Task = "multiclass",
        scores: ScoreKind = "logits",
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        _check(states, combination, task, names)
        self.task: Task = task
        self.scores: ScoreKind = scores
        self.combination = combination
        self.names = None if names is None else tuple(names)
        self.members = nn.ModuleList(member_of(network, states[number]) for number in combination.used)
        held = {
            "weights": combination.only_used().weights,
            "temperature": torch.tensor(combination.temperature),
            "coefficients": combination.coefficients,
            "bias": combination.bias,
        }
        device = next((tensor.device for tensor in self.members.parameters()), torch.device("cpu"))
        for name, value in held.items():
            self.register_buffer(name, None if value is None else value.to(device, torch.float32, copy=True))
        self.eval()

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        """Log-probabilities, or log-odds, of what the network takes; each member gets a copy of tensors."""
        outputs = [self._scores(member(*_copied(inputs), **_copied(options))) for member in self.members]
        shape = outputs[0].shape
        if self.task != "multiclass" and not _is_pair(outputs[0], self.task):
            rows = torch.stack([of_log_odds(output.reshape(-1)) for output in outputs], dim=1)
            return log_odds(self._combined(rows)).reshape(shape)
        spread = [log_softmax(output, 1).movedim(1, -1) for output in outputs]
        rows = torch.stack([each.reshape(-1, shape[1]) for each in spread], dim=1)
        return self._combined(rows).reshape(spread[0].shape).movedim(-1, 1)

    def describe(self) -> str:
        """What it combines, in a sentence without a full stop."""
        return self.combination.describe(self.names)

    def save(self, path: str | Path) -> None:
        """Write one file, whole or not at all, which ``load`` and ``torch.load(weights_only=True)`` take."""
        kept = {"combination": self.combination.to_state(), "task": self.task, "scores": self.scores}
        names = None if self.names is None else list(self.names)
        with whole(Path(path)) as beside:
            torch.save({**kept, "names": names, "state": self.state_dict()}, beside)

    @classmethod
    def load(cls, path: str | Path, network: nn.Module) -> EnsembleNetwork:
        """The ensemble that ``save`` has written.

        Args:
            path: the file.
            network: of the members' architecture and precision, with any weights; it stays as it was.

        Raises:
            ValueError: the file is of another kind, or its members are of another network.
        """
        saved = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(saved, dict) or not {"combination", "task", "scores", "names", "state"} <= saved.keys():
            raise ValueError(
                f"`path` is {str(path)!r}, which holds no ensemble. Give what `EnsembleNetwork.save` wrote."
            )
        combination = Combination.from_state(saved["combination"])
        states = _by_member(saved["state"], combination)
        return cls(network, states, combination, task=saved["task"], scores=saved["scores"], names=saved["names"])

    def _scores(self, output: Any) -> Tensor:
        """Logits of an output, in float32 at least."""
        if not isinstance(output, Tensor):
            raise TypeError(f"the network gives a {type(output).__name__}, wanted a tensor of scores. Wrap it so.")
        given: Tensor = output.to(torch.promote_types(output.dtype, torch.float32))
        if self.scores == "logits":
            return given
        return given.log() if _is_pair(given, self.task) else given.log() - torch.log1p(-given)

    def _combined(self, rows: Tensor) -> Tensor:
        kind = rows.device.type
        mixed = torch.is_autocast_enabled(kind)  # stacking would multiply in half precision
        with torch.autocast(kind, enabled=False) if mixed else nullcontext():
            return combine(
                rows,
                how=self.combination.how,
                weights=self.weights,
                temperature=self.temperature,
                coefficients=self.coefficients,
                bias=self.bias,
            )


@final
class Through(nn.Module):
    """A module whose output a function gives, as where its step does more than to call it.

    Args:
        module: given to the function.
        forward_fn: from the module and inputs to scores.
    """

    def __init__(self, module: nn.Module, forward_fn: Callable[[nn.Module, Any], Tensor]) -> None:
        super().__init__()
        self.module = module
        self.forward_fn = forward_fn

    def forward(self, inputs: Any) -> Tensor:
        """What the function gives."""
        return self.forward_fn(self.module, inputs)


def _is_pair(output: Tensor, task: Task) -> bool:
    """Whether scores have a column for each class."""
    return task == "multiclass" or (task == "binary" and output.ndim >= 2 and output.shape[1] == 2)


def _copied(value: Any) -> Any:
    """The same with tensors cloned, at any depth of dicts, lists and tuples: no member spoils another's inputs."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, Mapping) and type(value) is dict:
        return {key: _copied(part) for key, part in value.items()}
    return type(value)(map(_copied, value)) if type(value) in (list, tuple) else value


def _by_member(state: Mapping[str, Tensor], combination: Combination) -> list[Mapping[str, Tensor]]:
    """The state of each member, by its place among all; of those without a weight, nothing."""
    states: list[Mapping[str, Tensor]] = [{} for _ in combination.weights]
    for place, number in enumerate(combination.used):
        start = f"members.{place}."
        states[number] = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
    return states


def _check(
    states: Sequence[Mapping[str, Tensor]], combination: Combination, task: str, names: Sequence[str] | None
) -> None:
    if task not in TASKS:
        raise ValueError(f"`task` is {task!r}, wanted {' or '.join(map(repr, TASKS))}.")
    wanted = len(combination.weights)
    if len(states) != wanted or (names is not None and len(names) != wanted):
        given = f"`states` has {len(states)}" + ("" if names is None else f" and `names` {len(names)}")
        raise ValueError(f"{given}, wanted {wanted}, as many as `combination` has members. Give them in its order.")
