"""How the log-probabilities of members become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final, get_args

import torch
from torch import Tensor

How = Literal["probabilities", "logits", "stacked"]
LEAST_FEATURE = -30.0
"""The least log-probability that stacking reads, so that a member that is very wrong on one row moves no other."""


@final
@dataclass(frozen=True, eq=False)
class Combination:
    r"""How ``K`` members' log-probabilities become one; called on ``(R, K, C)`` it gives ``(R, C)``.

    With weights :math:`w_k` and temperature :math:`T`, up to normalisation,

    - ``"probabilities"``: a mixture, :math:`\log p = (\log \sum_k w_k p_k) / T`, weights that sum to 1;
    - ``"logits"``: a product, :math:`\log p = (\sum_k w_k \log p_k) / T`, weights of any sum;
    - ``"stacked"``: a product of equal weights, to which a linear map of all members' log-probabilities is added.

    Args:
        how: one of these.
        weights: ``(K,)``, 0 or more, of which one at least is above 0.
        temperature: what the logarithms are divided by, above 0.
        coefficients: of stacking ``(K * C, C)``, member by member.
        bias: of stacking ``(C,)``.

    Raises:
        ValueError: anything else.

    Example:
        >>> logp = torch.tensor([[[0.9, 0.1], [0.5, 0.5]]]).log()  # one row of two members
        >>> Combination("probabilities", torch.tensor([0.5, 0.5]))(logp).exp()
        tensor([[0.7000, 0.3000]])
        >>> Combination("logits", torch.tensor([0.5, 0.5]))(logp).exp()
        tensor([[0.7500, 0.2500]])
        >>> Combination("probabilities", torch.tensor([0.0, 1.0])).describe()
        'member 2 alone'
    """

    how: How
    weights: Tensor
    temperature: float = 1.0
    coefficients: Tensor | None = None
    bias: Tensor | None = None

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise ValueError(f"`how` is {self.how!r}, wanted {', '.join(map(repr, get_args(How)))}.")
        weights = self.weights
        if weights.ndim != 1 or not bool((weights >= 0).all() & weights.isfinite().all() & (weights > 0).any()):
            raise ValueError(f"`weights` is {weights.tolist()}, wanted (K,) of 0 or more, one above 0 at least.")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"`temperature` is {self.temperature}, wanted above 0. 1 changes nothing.")
        _check_stacking(self)

    def __call__(self, logp: Tensor) -> Tensor:
        """Log-probabilities ``(R, C)`` of those of all ``K`` members ``(R, K, C)``, in their type."""
        if logp.ndim != 3 or logp.shape[1] != len(self.weights) or self.columns not in (None, logp.shape[2]):
            columns = "C" if self.columns is None else self.columns
            raise ValueError(
                f"`logp` has shape {tuple(logp.shape)}, wanted (R, {len(self.weights)}, {columns}). Give all members "
                "that this was fitted to, in their order."
            )
        used = self.only_used()
        chosen = logp if len(used.weights) == len(self.weights) else logp[:, list(self.used)]
        return combine(
            chosen,
            how=self.how,
            weights=used.weights,
            temperature=self.temperature,
            coefficients=self.coefficients,
            bias=self.bias,
        )

    @property
    def used(self) -> tuple[int, ...]:
        """Indices of the members that have a weight; the others need not be run."""
        return tuple(self.weights.nonzero()[:, 0].tolist())

    @property
    def columns(self) -> int | None:
        """How many classes it has numbers of their own for; None where it takes any number."""
        return None if self.bias is None else len(self.bias)

    def only_used(self) -> Combination:
        """The same for the used members alone."""
        return self if bool((self.weights > 0).all()) else replace(self, weights=self.weights[self.weights > 0])

    def tempered(self, temperature: float) -> Combination:
        """The same with another temperature."""
        return replace(self, temperature=temperature)

    def describe(self, names: Sequence[str] | None = None) -> str:
        """What it does, in a sentence without a full stop.

        Args:
            names: of the ``K`` members; ``"member 1"`` and so on where they are left out.
        """
        names = names or [f"member {number + 1}" for number in range(len(self.weights))]
        said = _single(self, names) or f"{_KINDS[self.how]} of {_those(self, names)}"
        return said if self.temperature == 1 else f"{said}, temperature {self.temperature:.2f}"

    def to_state(self) -> dict[str, Any]:
        """Plain values and tensors on the CPU, which ``torch.load(weights_only=True)`` takes; for ``from_state``."""
        tensors = {name: getattr(self, name) for name in ("weights", "coefficients", "bias")}
        kept = {name: value.detach().cpu().clone() for name, value in tensors.items() if value is not None}
        return {"how": self.how, "temperature": float(self.temperature), **kept}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Combination:
        """The combination whose ``to_state`` this is.

        Raises:
            ValueError: none has written it.

        Example:
            >>> Combination.from_state({"how": "logits", "temperature": 1.5, "weights": torch.ones(2)}).describe()
            'product of probabilities of 2 members (weights 1.000, 1.000), temperature 1.50'
        """
        missing = [name for name in ("how", "weights", "temperature") if name not in state]
        if missing:
            raise ValueError(f"`state` lacks {', '.join(map(repr, missing))}. Give what `to_state` returned.")
        taken = {name: state[name] for name in ("coefficients", "bias") if name in state}
        return cls(state["how"], state["weights"], float(state["temperature"]), **taken)


def combine(
    logp: Tensor,
    *,
    how: How,
    weights: Tensor,
    temperature: Tensor | float,
    coefficients: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """What ``Combination`` computes, of members that all have a weight, without a look at any value: for export.

    Args:
        logp: ``(R, K, C)``.
        how: as ``Combination`` takes it, as are the others.
        weights: ``(K,)``, above 0.
        temperature: above 0.
        coefficients: ``(K * C, C)``.
        bias: ``(C,)``.
    """
    weights = weights.to(logp)
    if how == "probabilities":
        joint = torch.logsumexp(logp + weights.log()[:, None], dim=1)
    else:
        joint = (logp * weights[:, None]).sum(dim=1)
    if coefficients is not None and bias is not None:
        joint = joint + logp.clamp(min=LEAST_FEATURE).flatten(1) @ coefficients.to(logp) + bias.to(logp)
    return (joint / temperature).log_softmax(dim=1)


_KINDS = {
    "probabilities": "mean of probabilities",
    "logits": "product of probabilities",
    "stacked": "stacked regression on log-probabilities",
}


def _check_stacking(of: Combination) -> None:
    coefficients, bias = of.coefficients, of.bias
    if of.how != "stacked":
        if coefficients is not None or bias is not None:
            raise ValueError(f"`coefficients` and `bias` belong to how='stacked', not {of.how!r}. Leave them out.")
        return
    shapes = [None if given is None else tuple(given.shape) for given in (coefficients, bias)]
    classes = 0 if bias is None or bias.ndim != 1 else len(bias)
    if not classes or shapes[0] != (len(of.weights) * classes, classes) or len(of.used) != len(of.weights):
        raise ValueError(
            f"`coefficients` has shape {shapes[0]} and `bias` {shapes[1]}, wanted (K * C, C) and (C,) of "
            f"{len(of.weights)} members, each with a weight."
        )


def _single(of: Combination, names: Sequence[str]) -> str:
    whole = of.how == "probabilities" or (of.how == "logits" and float(of.weights.sum()) == 1)
    return f"{names[of.used[0]]} alone" if len(of.used) == 1 and whole else ""


def _those(of: Combination, names: Sequence[str]) -> str:
    used, weights = of.used, of.weights.tolist()
    number = f"{len(used)} members" if len(used) == len(weights) else f"{len(used)} of {len(weights)} members"
    if of.how == "stacked" or (len(used) > 1 and len({weights[k] for k in used}) == 1 and sum(weights) < 1.001):
        return number
    if len(used) == len(weights) and names[0] == "member 1":
        return f"{number} (weights {', '.join(f'{weight:.3f}' for weight in weights)})"
    return f"{number} ({', '.join(f'{weights[k]:.3f} {names[k]}' for k in used)})"
