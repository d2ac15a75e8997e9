"""The architecture of a network as a tree in plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lightning_posttrain.core.output.result import listed
from lightning_posttrain.profile.counting.architecture import Architecture
from lightning_posttrain.profile.counting.tree import Node, tree_of

NARROWEST = 80


class _Line(NamedTuple):
    name: str
    kind: str
    output: str
    parameters: str
    flops: str
    share: str


HEAD = _Line("module", "kind", "output", "parameters", "FLOPs", "share")


def architecture_text(architecture: Architecture, *, width: int = 120, depth: int | None = None) -> str:
    """Draw the architecture as a tree: each module with its class, output shape, parameters and FLOPs of a sample.

    A module's figures are those of all below it. N is the batch. Equal neighbours are one line with their number, and
    figures of one. What a module of parts does itself has a line where it has parameters or FLOPs.

    Args:
        architecture: what ``architecture_of`` found.
        width: characters in a line, 80 at least.
        depth: levels below the network that are shown, all by default.

    Raises:
        ValueError: for a smaller width, or a depth below 0.

    Example:
        >>> import torch
        >>> from lightning_posttrain.profile.counting.walk import architecture_of
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU())
        >>> with torch.inference_mode():
        ...     print(architecture_text(architecture_of(net, lambda: net(torch.zeros(3, 8)), rows=3), width=80))
        module       kind     output   parameters   FLOPs   share
        ─────────────────────────────────────────────────────────
        Sequential            N × 4            36      64    100%
        ├─ 0         Linear   N × 4            36      64    100%
        └─ 1         ReLU     N × 4             –       –       –
        <BLANKLINE>
        36 parameters, 2 layers (1 with weights), 64 FLOPs a sample
        N is the batch, 3 here
        FLOPs: two for each multiply and add of products and convolutions, nothing for all else
    """
    if width < NARROWEST:
        raise ValueError(f"`width` is {width}, wanted {NARROWEST} characters at least.")
    if depth is not None and depth < 0:
        raise ValueError(f"`depth` is {depth}, wanted the levels that are shown, from 0, or None for all.")
    shown = list(_walked(tree_of(architecture), depth=depth))
    lines = [_line(node, lead, architecture) for lead, node in shown]
    folded = any(node.times > 1 for _, node in shown)
    return "\n".join([*_table(lines, width), "", *_notes(architecture, folded=folded)])


def _walked(node: Node, lead: str = "", below: str = "", *, depth: int | None) -> Iterator[tuple[str, Node]]:
    """Each node with the branches that lead to it."""
    yield lead, node
    if depth == 0:
        return
    for each in node.below:
        last = each is node.below[-1]
        yield from _walked(
            each,
            below + ("└─ " if last else "├─ "),
            below + ("   " if last else "│  "),
            depth=None if depth is None else depth - 1,
        )


def _line(node: Node, lead: str, architecture: Architecture) -> _Line:
    times = f"{node.times} × " if node.times > 1 else ""
    calls = f" · {node.calls} calls" if node.calls > 1 else ""
    total = architecture.total_flops
    return _Line(
        name=lead + (node.label or node.kind),
        kind=times + (node.kind if node.label else "") + calls,
        output=_shape(node, architecture.batch),
        parameters=f"{node.parameters:,}" if node.parameters else "–",
        flops=short(node.flops / architecture.batch) if node.flops else "–",
        share=_share(node.flops / total) if node.flops else "–",
    )


def _share(part: float) -> str:
    return f"{part:.1%}" if part < 0.1 else f"{part:.0%}"


def _shape(node: Node, batch: int) -> str:
    if not node.outputs:
        return ""
    first, *others = node.outputs
    return " × ".join(_sizes(first, batch)) + (" …" if others else "")


def _sizes(shape: tuple[int, ...], batch: int) -> Iterator[str]:
    for at, size in enumerate(shape):
        yield "N" if at == 0 and size == batch else str(size) if size >= 0 else "?"


def short(value: float) -> str:
    """A count in three digits.

    Example:
        >>> short(80), short(1_828_608), short(5_500)
        ('80', '1.83 M', '5.50 k')
    """
    for power, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * power:
            scaled = value / power
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {unit}"
    return f"{value:.4g}"


def _table(lines: Sequence[_Line], width: int) -> Iterator[str]:
    rows = [HEAD, *lines]
    sizes = [max(len(row[at]) for row in rows) for at in range(len(HEAD))]
    # the widest of the columns of words gives way first
    while sum(sizes) + 3 * (len(sizes) - 1) > width:
        sizes[max(range(3), key=lambda at: sizes[at])] -= 1
    texts = ["   ".join(_cell(row[at], sizes[at], right=at > 2) for at in range(len(HEAD))).rstrip() for row in rows]
    yield from [texts[0], "─" * max(map(len, texts)), *texts[1:]]


def _cell(text: str, size: int, *, right: bool) -> str:
    text = text if len(text) <= size else text[: size - 1] + "…"
    return text.rjust(size) if right else text.ljust(size)


def _notes(architecture: Architecture, *, folded: bool) -> Iterator[str]:
    parameters = architecture.parameters
    layers = f"{architecture.layers} layers ({architecture.weight_layers} with weights)"
    yield f"{parameters.total:,} parameters, {layers}, {architecture.flops:,} FLOPs a sample"
    yield f"N is the batch, {architecture.batch} here"
    yield "FLOPs: two for each multiply and add of products and convolutions, nothing for all else"
    if folded:
        yield "n × a class: n equal neighbours, with the figures of one"
    if architecture.uncounted:
        names = [f"{name} ({calls} call{'s' if calls > 1 else ''})" for name, calls in architecture.uncounted.items()]
        yield f"not counted, so FLOPs are more than that: {listed(names)}"
    if parameters.unused:
        yield f"not used: {parameters.unused_total:,} parameters, {listed(parameters.unused, limit=4)}"
    if parameters.tied:
        yield f"shared, counted once: {listed([' = '.join(names) for names in parameters.tied], limit=4)}"
    yield from parameters.notes
