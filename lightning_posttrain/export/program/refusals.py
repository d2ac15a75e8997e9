"""Why a module cannot be exported, and what to change."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from lightning_posttrain.core.output.first_line import first_line

OURS = Path(__file__).parents[2].name
SEPARATE = "Take it out of the network's forward, or pass forward_fn=lambda module, inputs: ... that does without it."

LENGTH = "a length that differs between batches is used as a number"
ONE_LENGTH = (
    "Use x.shape in view and reshape, no `if` on a length, or pad all rows to one length where they are loaded."
)


class CannotExportError(ValueError):
    """A module cannot be exported.

    Args:
        reason: in the words of the user's code, without a full stop.
        cure: what to change, a sentence.
    """

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(f"{reason}. {cure}")
        self.reason = reason
        self.cure = cure

    def __reduce__(self) -> tuple[type[CannotExportError], tuple[str, str]]:
        """For pickling, as between processes."""
        return type(self), (self.reason, self.cure)


Known = tuple[Callable[[str, set[str]], bool], str, str]
_KNOWN: tuple[Known, ...] = (
    (
        lambda said, _: ".numpy() is not supported" in said,
        "the network turns a tensor into a NumPy array by .numpy()",
        "Use torch's own functions, which a graph can hold.",
    ),
    (
        lambda said, called: "pack_padded_sequence" in called or "zeros(): argument 'size' failed to unpack" in said,
        "the network calls pack_padded_sequence, whose lengths are numbers outside of the graph",
        "Run the recurrent layer over the padded sequence, and mask or pick the outputs by length.",
    ),
    (
        lambda said, _: "DataDependent" in said or "data-dependent" in said or "DynamicOutputShape" in said,
        "the network decides in Python on the values of a tensor",
        "Use torch.where or torch.cond in place of `if`, and a tensor in place of .item().",
    ),
    (
        lambda said, _: "Constraints violated (batch" in said or "(batch)" in said or "(batch," in said,
        "the batch size is used as a number",
        "Use x.shape[0] or -1 in view and reshape, and whole tensors in place of loops over rows and of `if` on sizes.",
    ),
    (
        lambda said, _: "specialized" in said or "generated guard" in said or "Constraints violated" in said,
        LENGTH,
        ONE_LENGTH,
    ),
    (
        lambda said, _: "not registered" in said and "pytree" in said,
        "the network takes or gives an object that is no dict, list or tuple of tensors",
        SEPARATE,
    ),
)


def refusal(error: BaseException, doing: str = "the network cannot be exported") -> CannotExportError:
    """What an error of an export means for the user.

    Args:
        error: as it was raised.
        doing: what is said of an error that nobody knows.
    """
    if isinstance(error, CannotExportError):
        return error
    said = f"{type(error).__name__}: {error}"
    called = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    place = _place(error)
    for is_it, reason, cure in _KNOWN:
        if is_it(said, called):
            return CannotExportError(f"{reason}{place}", cure)
    return CannotExportError(f"{doing}: {first_line(said, most=200)}{place}", SEPARATE)


def check_can_be_exported(module: nn.Module) -> None:
    """Whether all parts of a module are of a kind that exports.

    Raises:
        CannotExportError: one is not.
    """
    for name, part in module.named_modules():
        called = f"`{dotted(name) or type(part).__name__}`"
        home = type(part).__module__
        if isinstance(part, torch.jit.ScriptModule):
            raise CannotExportError(f"{called} is a TorchScript module", "Give the module that it was made of.")
        if home.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")):
            raise CannotExportError(
                f"{called} is quantised by torch.ao, whose packed weights no graph takes",
                "Give the module as it was trained, and ask for format 'int8'.",
            )
        if any(torch.nn.parameter.is_lazy(tensor) for tensor in (*part._parameters.values(), *part._buffers.values())):
            raise CannotExportError(
                f"{called} has parameters that are not initialised yet", "Run it on one batch before the export."
            )


def dotted(name: str) -> str:
    """The name that a part has in the user's module, of the one that it has in ``Deployed``."""
    return re.sub(r"^(network|root)(\.|$)", "", re.sub(r"^network(\.|$)", "", name))


def _place(error: BaseException) -> str:
    """The last line of the user's code that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not {"site-packages", OURS} & set(Path(frame.filename).parts)]
    own = [frame for frame in own if frame.filename[:1] != "<" and frame.name in _forwards(error) | {"forward"}]
    if not own:
        return ""
    last = own[-1]
    return f" ({Path(last.filename).name}, line {last.lineno}: `{first_line(last.line or '', 80)}`)"


def _forwards(error: BaseException) -> set[str]:
    """Names of the functions that a forward went through."""
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    return set(names[names.index("forward") :]) if "forward" in names else set()
