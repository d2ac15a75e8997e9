"""Hear what a step gives to its losses and metrics: its predictions, its targets, and what these mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.modules.loss import _Loss
from torchmetrics import Metric

from lightning_posttrain.core.capture.around import Around
from lightning_posttrain.core.capture.batch_parts import Path
from lightning_posttrain.core.capture.hearing_mode import HearingMode, Made, Noted, in_order, origins

FAST_PATHS = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)
"""Modules of torch's that take another way where they are listened to."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A prediction and a target that reached a loss or a metric together.

    Args:
        by: name of the function, or of the metric's class.
        kind: which of the two.
        prediction: as it was given.
        target: likewise.
        options: the other arguments by name.
        number: how many pairs that function, or that metric, had before in the step.
        owner: of a metric, itself.
        made_of: what the prediction was made of by a softmax, a sigmoid, a cast, ``"above 0.5"`` or an argmax, the last
            first.
        told: paths of the class targets in the batch that went into the prediction.
        module: whether a loss of somebody's own, a module, took them.
    """

    by: str
    kind: Literal["loss", "metric", "comparison"]
    prediction: Any
    target: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    owner: Metric | None = None
    made_of: tuple[tuple[str, Tensor], ...] = ()
    told: frozenset[Path] = frozenset()
    module: bool = False


class Witness:
    """Listens to one step at a time.

    A function mode hears functions of torch, whoever calls them and under whatever name; it costs some microseconds a
    call, so it is there only while something is to be learned. It is away while a module runs that would take another
    way with it there, as a compiled one.
    """

    def __init__(self) -> None:
        self._mode: HearingMode | None = None
        self._paused = 0
        self._wrapped: list[tuple[Metric, Any]] = []
        self._handles: list[Any] = []
        self._pairs: list[Noted] = []

    def begin(self, module: nn.Module, parts: Mapping[Path, Tensor]) -> None:
        """Listen to a step of a module, with these parts of a batch, until ``take``."""
        self.take()
        self._mode = HearingMode(self._pairs, parts)
        for metric in metrics_of(module):
            self._wrap(metric)
        for part in module.modules():
            if isinstance(part, _Loss) and not type(part).__module__.startswith("torch.nn."):
                self._handles.append(part.register_forward_pre_hook(self._hear_loss, with_kwargs=True))
        for part in _on_other_ways(module):
            if isinstance(part, nn.TransformerEncoderLayer):
                self._handles.append(Around(part, lambda *_: self._leave(), lambda *_: self._enter(), always=True))
                continue
            self._handles.append(part.register_forward_pre_hook(lambda *_: self._leave()))
            self._handles.append(part.register_forward_hook(lambda *_: self._enter(), always_call=True))
        self._mode.enter()

    @property
    def listening(self) -> bool:
        """Whether a step is listened to."""
        return self._mode is not None

    def pause(self, *, paused: bool) -> None:
        """Hear nothing for a while, in the middle of a step."""
        if self._mode is not None and bool(self._paused) != paused:
            self._leave() if paused else self._enter()

    def _leave(self) -> None:
        if self._mode is not None and not self._paused:
            self._mode.leave()
        self._paused += 1

    def _enter(self) -> None:
        self._paused = max(self._paused - 1, 0)
        if self._mode is not None and not self._paused:
            self._mode.enter()

    def take(self) -> list[Pair]:
        """Stop listening; what was heard, in order. Everything is as it was before, after an exception too."""
        mode, self._mode = self._mode, None
        if mode is not None and not self._paused:
            mode.leave()
        self._paused = 0
        for handle in self._handles:
            handle.remove()
        for metric, update in self._wrapped:
            vars(metric)["update"] = update
        self._handles, self._wrapped = [], []
        heard, self._pairs = self._pairs, []
        return list(_numbered(heard, mode.made if mode else {}))

    def _wrap(self, metric: Metric) -> None:
        update = vars(metric).get("update")
        if update is None or not hasattr(update, "__wrapped__"):  # not as torchmetrics puts it there
            return

        def heard(*args: Any, **options: Any) -> Any:
            if self._mode is not None and not self._paused:
                self._note(metric, update, args, options)
            return update(*args, **options)

        self._wrapped.append((metric, update))
        vars(metric)["update"] = heard

    def _hear_loss(self, loss: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Note what a loss of somebody's own is given."""
        given = (*args, *kwargs.values())
        if self._mode is not None and not self._paused and len(given) >= 2:
            told = self._mode.told_of(given[0])
            self._pairs.append(Noted(type(loss).__name__, "loss", given[0], given[1], {}, None, told, module=True))

    def _note(self, metric: Metric, update: Callable[..., Any], args: Any, options: Mapping[str, Any]) -> None:
        given = in_order(signature(update).parameters, args, options)
        if len(given) >= 2:
            prediction, target, *_ = given.values()
            rest = dict(list(given.items())[2:])
            told = self._mode.told_of(prediction) if self._mode is not None else frozenset()
            self._pairs.append(Noted(type(metric).__name__, "metric", prediction, target, rest, metric, told))


def _on_other_ways(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost parts that would take another way if they were listened to."""
    if isinstance(module, FAST_PATHS) or hasattr(module, "_orig_mod"):
        yield module
    elif getattr(module, "_compiled_call_impl", None) is None:
        for part in module.children():
            yield from _on_other_ways(part)


def metrics_of(module: nn.Module) -> Iterator[Metric]:
    """The torchmetrics metrics of a module, also those that it keeps in a plain list or dict."""
    plain = [kept for kept in vars(module).values() if isinstance(kept, (list, tuple, dict))]
    listed = [one for kept in plain for one in (kept.values() if isinstance(kept, dict) else kept)]
    for root in (module, *(one for one in listed if isinstance(one, nn.Module))):
        yield from (part for part in root.modules() if isinstance(part, Metric))


def _numbered(heard: list[Noted], made: Mapping[int, Made]) -> Iterator[Pair]:
    """Pairs, each once: a metric's forward may update twice with the same."""
    counts: dict[Any, int] = {}
    before: Any = None
    for by, kind, prediction, target, rest, owner, told, module in heard:
        if kind == "metric" and before == (id(owner), id(prediction), id(target)):
            continue
        before = (id(owner), id(prediction), id(target))
        key = owner or by
        yield Pair(
            by, kind, prediction, target, rest, number=counts.get(key, 0), owner=owner,
            made_of=tuple(origins(prediction, made)), told=told, module=module,
        )  # fmt: skip
        counts[key] = counts.get(key, 0) + 1
