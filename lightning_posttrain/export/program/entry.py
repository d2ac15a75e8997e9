"""The call of a step's network, as a module of named tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from lightning_posttrain.core.capture.batch_parts import Path, cloned, parts_of, replaced
from lightning_posttrain.core.capture.call_again import CallAgain
from lightning_posttrain.core.capture.call_source import FORMS, CallSource
from lightning_posttrain.core.capture.module_state import kept_state
from lightning_posttrain.core.capture.network_call import called
from lightning_posttrain.export.program.input_names import call_names, input_names
from lightning_posttrain.export.program.quiet import quiet
from lightning_posttrain.export.program.refusals import SEPARATE, CannotExportError

Ask = Callable[[nn.Module, Any], Tensor]
"""From a module and arguments to scores."""


@final
class Entry(nn.Module):
    """The call of a network with some of its arguments free, and the others as they were recorded.

    Args:
        root: the module that is asked.
        ask: from it and the arguments to scores; it may change the arguments.
        arguments: of one call.
        slots: by input, where its tensor stands among the arguments; other tensors there are constants.

    Example:
        >>> entry = Entry(nn.Linear(2, 1), lambda root, given: root(given["x"]) * given["scale"],
        ...               {"x": torch.ones(3, 2), "scale": torch.tensor(2.0)}, {"x": ("x",)})
        >>> entry(torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """

    def __init__(self, root: nn.Module, ask: Ask, arguments: Any, slots: Mapping[str, Path]) -> None:
        super().__init__()
        self.root = root
        self.ask = ask
        self.slots = dict(slots)
        fixed = {path: tensor for path, tensor in parts_of(arguments).items() if path not in slots.values()}
        self.arguments = replaced(arguments, dict.fromkeys([*slots.values(), *fixed]))
        self.places = tuple(fixed)
        for number, tensor in enumerate(fixed.values()):
            self.register_buffer(f"constant_{number}", tensor.detach().clone(), persistent=False)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The scores, of one tensor for each slot."""
        free = dict(zip(self.slots.values(), inputs, strict=True))
        fixed = {path: self.get_buffer(f"constant_{i}") for i, path in enumerate(self.places)}
        given = {path: tensor.clone() for path, tensor in {**free, **fixed}.items()}
        return self.ask(self.root, replaced(self.arguments, given))


@dataclass(frozen=True)
class NetworkAsk:
    """Calls a part of a module, and takes the scores from where they were found, row by row.

    Args:
        module: dotted name of the part that is called, "" for the whole.
        source: what of the call is the prediction.
        flat: whether what is not the dimension of rows is one dimension.
    """

    module: str
    source: CallSource
    flat: bool

    @classmethod
    def of(cls, call: CallAgain) -> NetworkAsk:
        """Of a call that was heard; where its rows were flattened for a loss, they stay."""
        form, flat = _by_row(call.source.form)
        return cls(_plain(call.module), replace(call.source, module=_plain(call.source.module), form=form), flat)

    def __call__(self, root: nn.Module, arguments: Any) -> Tensor:
        """The scores."""
        return _flat(called(root, self.module, self.source, arguments), self.flat)


@dataclass(frozen=True)
class FunctionAsk:
    """What a user's function gives, row by row, in the form of the scores of a step.

    Args:
        function: from a module and inputs to scores.
        form: in which these are the scores of the step, a key of ``FORMS``.
    """

    function: Callable[[Any, Any], Any]
    form: str = "as it is"

    def __call__(self, root: nn.Module, inputs: Any) -> Tensor:
        """The scores."""
        form, flat = _by_row(self.form)
        found: Any = self.function(root, inputs)
        return _flat(FORMS[form](found), flat) if isinstance(found, Tensor) else found


def _by_row(form: str) -> tuple[str, bool]:
    """A form that keeps the dimension of rows where one was flattened for a loss; and whether the others are one."""
    if form in ("a row", "without dimensions of one"):
        return "as it is", True
    return ("last dimension second" if form == "rows of the last dimension" else form), False


def _flat(scores: Tensor, flat: bool) -> Tensor:
    return scores.flatten(1) if flat and scores.ndim > 1 else scores


def _plain(name: str) -> str:
    """A dotted name without the marks of compiled modules."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def entry_of(root: nn.Module, call: CallAgain, target: Sequence[Tensor] = ()) -> Entry:
    """The call of a step that gave its prediction, as a module.

    Tensors with a row for each row of the prediction are the inputs, named by the arguments of the forward that is
    called; others are constants. What equals a target, as ``labels`` of a Hugging Face model, is left out where the
    prediction stays the same without it.

    Args:
        root: the module, or a copy; it stays as it was.
        call: of the step.
        target: tensors that are no inputs.

    Raises:
        CannotExportError: no argument has rows, or rows of a batch depend on each other.
    """
    with _evaluated(root):
        ask, arguments = _without(root, NetworkAsk.of(call), call.inputs, target)
        names = call_names(root.get_submodule(ask.module), parts_of(arguments))
        return Entry(root, ask, arguments, _slots(root, ask, arguments, names))


def entry_by(root: nn.Module, forward_fn: Ask, inputs: Any) -> Entry:
    """What a user's function gives of a module, as a module.

    Args:
        root: the module, or a copy; it stays as it was.
        forward_fn: from it and the inputs of a batch to scores.
        inputs: of one batch: a tensor, which is named ``x``, a sequence, or a dict, whose keys are the names.

    Raises:
        CannotExportError: no tensor has rows, or rows of a batch depend on each other.
    """
    with _evaluated(root):
        names = input_names({path: path for path in parts_of(inputs)})
        return Entry(root, forward_fn, inputs, _slots(root, forward_fn, inputs, names))


@contextmanager
def _evaluated(root: nn.Module) -> Iterator[None]:
    """Run a module in evaluation mode, without gradients, and put back all that this changes."""
    modes = {part: part.training for part in root.modules()}
    with quiet(), torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False), kept_state(root):
        root.eval()
        try:
            yield
        finally:
            for part, mode in modes.items():
                part.training = mode


def _without(root: nn.Module, ask: NetworkAsk, inputs: Any, target: Sequence[Tensor]) -> tuple[NetworkAsk, Any]:
    """The arguments without targets that the prediction does not need."""
    wanted = ask(root, cloned(inputs))
    for path, part in parts_of(inputs).items():
        if any(part.shape == one.shape and torch.equal(part, one.to(part)) for one in target):
            fewer = _dropped(inputs, path)
            for other in _sources(ask):
                if _is_same(root, other, fewer, wanted):
                    ask, inputs = other, fewer
                    break
    return ask, inputs


def _dropped(inputs: Any, path: Path) -> Any:
    args, kwargs = inputs
    if len(path) == 2 and path[0] == 1:
        return args, {name: value for name, value in kwargs.items() if name != path[1]}
    return replaced(inputs, {path: None})


def _sources(ask: NetworkAsk) -> list[NetworkAsk]:
    """Where a prediction may stand when a loss is not before it."""
    place = ask.source.path[1:-1]
    nearer = [replace(ask.source, path=f"[{int(place) - 1}]")] if place.isdigit() and place != "0" else []
    return [replace(ask, source=source) for source in (ask.source, *nearer)]


def _is_same(root: nn.Module, ask: Ask, inputs: Any, wanted: Tensor) -> bool:
    try:
        found = ask(root, cloned(inputs))
    except Exception:  # whatever a network does without an argument that it wants
        return False
    return found.shape == wanted.shape and torch.equal(found, wanted)


def _slots(root: nn.Module, ask: Ask, arguments: Any, names: Mapping[Path, str]) -> dict[str, Path]:
    """The arguments that have a row for each row of the scores, by name."""
    scores, parts = ask(root, cloned(arguments)), parts_of(arguments)
    if not isinstance(scores, Tensor) or scores.ndim == 0:
        raise CannotExportError(f"the network gives a {type(scores).__name__} and no scores by row", SEPARATE)
    rows = [path for path, part in parts.items() if part.ndim and len(part) == len(scores)]
    if not rows:
        raise CannotExportError("no argument of the network has its rows in the first dimension", SEPARATE)
    fewer = [[path for path in rows if path != left] for left in rows]
    # what draws random numbers tells nothing of its rows; its trace says that it does
    blind = len(scores) < 2 or not _is_same(root, ask, arguments, scores)
    for chosen in (rows, *filter(None, fewer)):
        if blind or _goes_by_row(root, ask, arguments, {path: parts[path] for path in chosen}, scores):
            return {names[path]: path for path in chosen}
    raise CannotExportError("what the network gives for a row depends on the other rows of its batch", SEPARATE)


def _goes_by_row(root: nn.Module, ask: Ask, arguments: Any, slots: Mapping[Path, Tensor], scores: Tensor) -> bool:
    """Whether half of the rows give half of the scores."""
    half = len(scores) // 2
    try:
        found = ask(root, replaced(cloned(arguments), {path: part[:half].clone() for path, part in slots.items()}))
    except Exception:  # shapes that do not go together, in whatever words
        return False
    wanted = scores[:half]
    return found.shape == wanted.shape and torch.allclose(found.float(), wanted.float(), rtol=1e-2, atol=1e-3)
