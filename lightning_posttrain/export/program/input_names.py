"""Names of a network's inputs, from the arguments of its forward."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Iterable, Mapping

from torch import nn

from lightning_posttrain.core.capture.batch_parts import Path

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def call_names(module: nn.Module, paths: Iterable[Path]) -> dict[Path, str]:
    """A name for each tensor among the arguments of a call.

    Args:
        module: that is called.
        paths: into ``(args, kwargs)``.

    Example:
        >>> call_names(nn.Linear(2, 1), [(0, 0), (1, "mask")])
        {(0, 0): 'input', (1, 'mask'): 'mask'}
    """
    parameters = inspect.signature(module.forward).parameters.values()
    known = [one.name for one in parameters if one.kind in POSITIONAL]
    rest = next((one.name for one in parameters if one.kind is inspect.Parameter.VAR_POSITIONAL), "x")
    words: dict[Path, Path] = {}
    for path in paths:
        kind, first, *inner = path
        if kind == 1:
            words[path] = (first, *inner)
        elif first < len(known):
            words[path] = (known[first], *inner)
        else:
            words[path] = (rest, first - len(known), *inner)
    return input_names(words)


def input_names(words: Mapping[Path, Path]) -> dict[Path, str]:
    """Words as distinct Python names; a number alone is counted after ``x``.

    Example:
        >>> input_names({(): (), (1,): (1,), ("a",): ("pixel values", 0), ("b",): ("pixel_values_0",)})
        {(): 'x', (1,): 'x1', ('a',): 'pixel_values_0', ('b',): 'pixel_values_0_1'}
    """
    names: dict[Path, str] = {}
    for path, said in words.items():
        name = re.sub(r"\W", "_", "_".join(map(str, said)), flags=re.ASCII)
        name = f"x{'' if name in ('', '0') else name}" if not name or name[0].isdigit() else name
        name = f"{name}_" if keyword.iskeyword(name) else name
        taken = set(names.values())
        number = next(i for i in range(len(taken) + 1) if (f"{name}_{i}" if i else name) not in taken)
        names[path] = f"{name}_{number}" if number else name
    return names
