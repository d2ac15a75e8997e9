"""The functions of torch that a step calls, as far as they say what a prediction is, and for what target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import signature
from typing import Any, Literal, NamedTuple
from weakref import ref

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode
from torchmetrics import Metric

from lightning_posttrain.core.capture.batch_parts import Path
from lightning_posttrain.core.capture.memory import is_of

LOSSES: dict[Any, Mapping[str, Any]] = {
    loss: signature(loss).parameters
    for loss in (
        F.cross_entropy, F.nll_loss, F.multi_margin_loss, F.binary_cross_entropy, F.binary_cross_entropy_with_logits,
        F.multilabel_soft_margin_loss, F.soft_margin_loss, F.multilabel_margin_loss, F.mse_loss, F.l1_loss,
        F.smooth_l1_loss, F.huber_loss, F.gaussian_nll_loss, F.poisson_nll_loss, F.kl_div, F.ctc_loss,
        F.triplet_margin_loss, F.triplet_margin_with_distance_loss, F.cosine_embedding_loss, F.margin_ranking_loss,
        F.hinge_embedding_loss,
    )
}  # fmt: skip
"""What takes a prediction and a target as its first two arguments, with the names of all."""
OF_VALUES = frozenset({"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "gaussian_nll_loss", "poisson_nll_loss"})
"""Names of those whose prediction is a value."""
SQUASHING = {
    torch.sigmoid, torch.softmax, torch.log_softmax, torch.special.expit, F.sigmoid, F.softmax, F.log_softmax,
    F.logsigmoid, Tensor.sigmoid, Tensor.softmax, Tensor.log_softmax,
}  # fmt: skip
DECIDING = {torch.argmax, torch.max, torch.topk, Tensor.argmax, Tensor.max, Tensor.topk}
COMPARING = {torch.eq, Tensor.eq, Tensor.__eq__}
CUTTING = {torch.gt, torch.ge, Tensor.gt, Tensor.ge, Tensor.__gt__, Tensor.__ge__}
CASTING = {Tensor.float, Tensor.double, Tensor.to, Tensor.detach, Tensor.cpu, Tensor.int, Tensor.long, Tensor.squeeze}
LAST = 16
"""What predictions are made of is noted so far back; attention squashes too, and must not fill the memory."""
Made = tuple[Tensor, str, Tensor]


class Noted(NamedTuple):
    """A pair as it is heard."""

    by: str
    kind: Literal["loss", "metric", "comparison"]
    prediction: Any
    target: Any
    rest: Mapping[str, Any]
    owner: Metric | None
    told: frozenset[Path]
    module: bool = False


class HearingMode(TorchFunctionMode):
    """Notes what reaches losses, and what predictions are made of."""

    def __init__(self, pairs: list[Noted], parts: Mapping[Path, Tensor]) -> None:
        super().__init__()
        self.pairs = pairs
        self.made: dict[int, Made] = {}
        classes = ((path, part) for path, part in parts.items() if part.ndim == 1 and not part.is_floating_point())
        # not held, so that a step takes no more memory than without
        self.told: dict[int, tuple[ref[Tensor], frozenset[Path]]] = {}
        for path, part in classes:
            self.told[id(part)] = (ref(part), frozenset({path}))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        value = func(*args, **kwargs)
        if self.told:
            self._tell(func, args, value)
        note = NOTED.get(func)
        if note is not None:
            note(self, func, args, kwargs, value)
        return value

    def loss(self, func: Any, args: Any, kwargs: Any, _value: Any) -> None:
        """Note a pair."""
        given = in_order(LOSSES[func], args, kwargs)
        (prediction, target), rest = list(given.values())[:2], dict(list(given.items())[2:])
        self.pairs.append(Noted(func.__name__, "loss", prediction, target, rest, None, self.told_of(prediction)))

    def comparison(self, _func: Any, args: Any, _kwargs: Any, _value: Any) -> None:
        """Note predicted classes that are compared with others, as for an accuracy by hand."""
        a, b = (*args, None)[:2]
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and a.ndim:
            first, second = (a, b) if _entry(a, self.made) else (b, a)
            if _entry(first, self.made):
                self.pairs.append(Noted("==", "comparison", first, second, {}, None, self.told_of(first)))

    def squashed(self, func: Any, args: Any, kwargs: Any, value: Any) -> None:
        """Note what a softmax or sigmoid was taken of."""
        self._made(value, func.__name__, args, kwargs)

    def decided(self, _func: Any, args: Any, kwargs: Any, value: Any) -> None:
        """Note what classes were decided by."""
        self._made(value, "argmax", args, kwargs)

    def cast(self, _func: Any, args: Any, kwargs: Any, value: Any) -> None:
        """Note what has the same values in another form."""
        self._made(value, "cast", args, kwargs)

    def cut(self, _func: Any, args: Any, kwargs: Any, value: Any) -> None:
        """Note what was compared with a threshold."""
        if len(args) == 2 and isinstance(args[1], (int, float)) and args[1] in (0, 0.5):
            self._made(value, f"above {float(args[1])}", args, kwargs)

    def told_of(self, value: Any) -> frozenset[Path]:
        """Which class targets went into a tensor."""
        entry = self.told.get(id(value))
        return entry[1] if entry is not None and entry[0]() is value else frozenset()

    def _tell(self, func: Any, args: Any, value: Any) -> None:
        """Note that class targets went into what a function gave."""
        flat = [one for arg in args for one in (arg if isinstance(arg, (tuple, list)) else (arg,))]
        paths = frozenset[Path]().union(*(self.told_of(one) for one in flat if id(one) in self.told))
        if paths:
            changed = args[0] if func is Tensor.__setitem__ else value
            if isinstance(changed, Tensor):
                self.told[id(changed)] = (ref(changed), paths | self.told_of(changed))

    def enter(self) -> None:
        """Hear."""
        self.__enter__()  # type: ignore[no-untyped-call]

    def leave(self) -> None:
        """Hear no more, whatever modes have been entered since."""
        above = []
        while (mode := _pop_mode()) is not self:  # type: ignore[no-untyped-call]
            above.append(mode)
        for mode in reversed(above):
            _push_mode(mode)  # type: ignore[no-untyped-call]

    def _made(self, value: Any, how: str, args: Any, kwargs: Any) -> None:
        of = args[0] if args else kwargs.get("input")
        made = value[-1] if isinstance(value, tuple) else value
        if isinstance(made, Tensor) and isinstance(of, Tensor) and made is not of:
            # the tensors are held, so that no other can have the same number
            self.made[id(made)] = (made, how, of)
            if len(self.made) > LAST:
                del self.made[next(iter(self.made))]


NOTED: dict[Any, Callable[..., None]] = {
    **dict.fromkeys(LOSSES, HearingMode.loss),
    **dict.fromkeys(SQUASHING, HearingMode.squashed),
    **dict.fromkeys(DECIDING, HearingMode.decided),
    **dict.fromkeys(CASTING, HearingMode.cast),
    **dict.fromkeys(COMPARING, HearingMode.comparison),
    **dict.fromkeys(CUTTING, HearingMode.cut),
}


def in_order(parameters: Iterable[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name in the order of the parameters, however they were given."""
    given = {**dict(zip(parameters, args, strict=False)), **kwargs}
    return {name: given[name] for name in (*parameters, *given) if name in given}


def origins(tensor: Any, made: Mapping[int, Made]) -> Iterator[tuple[str, Tensor]]:
    """What a tensor was made of, the last first."""
    seen: set[int] = set()
    while (entry := _entry(tensor, made)) is not None and id(entry[2]) not in seen:
        _, how, tensor = entry
        seen.add(id(tensor))
        yield how, tensor


def _entry(tensor: Any, made: Mapping[int, Made]) -> Made | None:
    """How a tensor, or one that it is a view of, was made."""
    if not isinstance(tensor, Tensor):
        return None
    if id(tensor) in made:
        return made[id(tensor)]
    return next((entry for entry in made.values() if is_of(entry[0], tensor)), None)
