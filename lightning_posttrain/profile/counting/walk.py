"""From one forward to the table of the architecture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any

from torch import nn

from lightning_posttrain.profile.counting.architecture import Architecture, Block, ModuleRow, Role
from lightning_posttrain.profile.counting.counter import OperationCounter, compiler_is_loaded, taken_apart
from lightning_posttrain.profile.counting.parameters import numbers_in, parameter_count, was_read
from lightning_posttrain.profile.counting.parts import Calls, Part, kind_of, own_parameters


def architecture_of(
    module: nn.Module, run: Callable[[], Any], *, rows: int, trained: Collection[str] = ()
) -> Architecture:
    """Find what one forward of a network is made of: modules, shapes, parameters, FLOPs.

    ``run`` is called once, and once more where it fails because it loads the compiler on its way. Whoever calls has set
    the mode, has turned gradients off, and keeps what a forward changes; hooks and flags are put back here, after an
    exception too. FLOPs are two for each multiply and add of a product or a convolution; ``operation_of`` has the rule
    for all else.

    Args:
        module: the network, or what holds all that ``run`` calls.
        run: makes the forward, in one call of ``module`` or in several of its parts.
        rows: samples in that forward.
        trained: names of parameters that got a gradient, which were used, whatever ``run`` reads.

    Returns:
        Rows that add up to the parameters of ``module`` and to the FLOPs of the forward.

    Raises:
        ValueError: for ``rows`` below one, a ``run`` that does nothing, or a module on the meta device that does not
            run.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> with torch.inference_mode():
        ...     found = architecture_of(net, lambda: net(torch.zeros(3, 8)), rows=3)
        >>> found.flops, found.parameters.total, found.layers  # 2 (8 × 4 + 4 × 2)
        (80, 46, 3)
    """
    if rows < 1:
        raise ValueError(f"`rows` is {rows}, wanted the number of samples in the forward, one at least.")
    calls, counter = _counted(module, run)
    parts = [part for part, _ in calls.order]
    if not any(part.calls or part.works for part in parts):
        raise ValueError("`run` did nothing, wanted a forward of `module`: pass `lambda: module(batch)`.")
    table, blocks = _table(calls, counter.read, trained)
    return Architecture(
        rows=tuple(table),
        blocks=tuple(blocks),
        batch=rows,
        uncounted=dict(sum((part.uncounted for part in dict.fromkeys(parts)), Counter[str]())),
        parameters=parameter_count(module, read=counter.read, trained=trained),
    )


def _counted(module: nn.Module, run: Callable[[], Any]) -> tuple[Calls, OperationCounter]:
    loaded = compiler_is_loaded()
    try:
        return _ran(module, run)
    except Exception:
        if loaded or not compiler_is_loaded():
            raise
    # the forward loaded the compiler, as `torch.cond` does, which can be told to stand back from here on
    return _ran(module, run)


def _ran(module: nn.Module, run: Callable[[], Any]) -> tuple[Calls, OperationCounter]:
    calls = Calls(module)
    counter = OperationCounter(calls)
    try:
        with calls.heard(), taken_apart(), counter:
            run()
    except RuntimeError as error:
        meta = next((name for name, parameter in module.named_parameters() if parameter.is_meta), None)
        if meta is None:
            raise
        raise ValueError(
            f"`module` is on the meta device ('{meta}'), where it has no numbers and its forward fails: {error}\n"
            "Wanted a module that runs: move it with `module.to_empty(device=...)` and load its weights. "
            "`parameter_count(module)` needs no forward."
        ) from error
    return calls, counter


def _table(calls: Calls, read: Collection[int], trained: Collection[str]) -> tuple[list[ModuleRow], list[Block]]:
    counted: set[nn.Parameter] = set()
    table = [_row(part, counted) for part, ended in calls.order if _has_row(part, ended, counted)]
    table = _joined(table, _left(calls.root.module, counted, read, trained))
    parts = {part.name: part for part, _ in calls.order}
    above = dict.fromkeys(name for row in table for name in _above(row))
    modules = dict(calls.root.module.named_modules())
    blocks = [_block(name, parts.get(name), modules) for name in above]
    return table, blocks


def _has_row(part: Part, ended: bool, counted: Collection[nn.Parameter]) -> bool:
    """A layer stands where it is called first; what a module of parts does itself, where that call ends."""
    if _is_layer(part):
        return not ended
    owns = any(parameter not in counted for parameter in own_parameters(part.module))
    return ended and (owns or part.works)


def _is_layer(part: Part) -> bool:
    return part.calls > 0 and not part.calls_others


def _row(part: Part, counted: set[nn.Parameter]) -> ModuleRow:
    layer = _is_layer(part)
    works = part.flops > 0 or bool(part.uncounted)
    return ModuleRow(
        name=part.name,
        kind=kind_of(part.module),
        role="layer" if layer else "itself",
        calls=part.calls,
        inputs=part.inputs,
        outputs=part.outputs,
        parameters=_claimed(part.module, counted),
        flops=part.flops,
        operations=part.commonest(),
        weighted=layer and works and any(parameter.ndim > 1 for parameter in own_parameters(part.module)),
    )


def _claimed(module: nn.Module, counted: set[nn.Parameter]) -> int:
    """Numbers in a module's own parameters that stand in no row before."""
    own = dict.fromkeys(parameter for parameter in own_parameters(module) if parameter not in counted)
    counted.update(own)
    return sum(map(numbers_in, own))


def _left(
    module: nn.Module, counted: set[nn.Parameter], read: Collection[int], trained: Collection[str]
) -> Iterator[ModuleRow]:
    """Rows for the parameters of modules that were not called."""
    for name, part in module.named_modules():
        own = {key: parameter for key, parameter in part.named_parameters(recurse=False) if parameter not in counted}
        if own:
            prefix = f"{name}." if name else ""
            used = any(was_read(parameter, read) or prefix + key in trained for key, parameter in own.items())
            role: Role = "part" if used else "unused"
            yield ModuleRow(name, kind_of(part), role, parameters=_claimed(part, counted))


def _joined(table: list[ModuleRow], left: Iterator[ModuleRow]) -> list[ModuleRow]:
    """Rows of modules that were not called behind the layer that they are part of, else at the end."""
    layers = {row.name for row in table if row.role == "layer"}
    behind: dict[str | None, list[ModuleRow]] = {}
    for row in left:
        whole = next((name for name in reversed(list(_above(row))) if name in layers), None)
        behind.setdefault(whole, []).append(row)
    joined = [each for row in table for each in (row, *behind.get(row.name if row.role == "layer" else "…", ()))]
    return [*joined, *behind.get(None, ())]


def _above(row: ModuleRow) -> Iterator[str]:
    """Names of the modules above a row, and that whose own work it is."""
    parts = row.name.split(".") if row.name else []
    yield from (".".join(parts[:depth]) for depth in range(len(parts)))
    if row.role == "itself":
        yield row.name


def _block(name: str, part: Part | None, modules: dict[str, nn.Module]) -> Block:
    kind = kind_of(modules[name])
    return Block(name, kind) if part is None else Block(name, kind, part.calls, part.inputs, part.outputs)
