"""The architecture of a network as a table whose rows add up: modules, shapes, parameters, FLOPs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lightning_posttrain.core.output.result import undefined_to_none
from lightning_posttrain.profile.counting.parameters import ParameterCount
from lightning_posttrain.profile.counting.parts import Shapes

Role = Literal["layer", "itself", "part", "unused"]


@dataclass(frozen=True)
class ModuleRow:
    """One row of the table: a module without parts that were called, or what a module does besides calling its parts.

    Args:
        name: dotted, as in ``module.get_submodule(name)``; "" for the network itself.
        kind: the class of the module.
        role: "layer" for a module that was called and called no other; "itself" for what a module of parts does
            and holds itself; "part" for one that was not called, and whose parameters were read by another, as
            ``out_proj`` of ``nn.MultiheadAttention``; "unused" for one whose parameters nobody read.
        calls: how often the module was called.
        inputs: shapes of the tensors of its first call, at any depth.
        outputs: shapes of what that returned.
        parameters: numbers in its own parameters; those that several modules share stand where they are first met.
        flops: of all its calls and the whole batch.
        operations: three of its operations at most: those that took most FLOPs, then the commonest.
        weighted: it is a layer that takes products with a matrix or a kernel of its own.
    """

    name: str
    kind: str
    role: Role
    calls: int = 0
    inputs: Shapes = ()
    outputs: Shapes = ()
    parameters: int = 0
    flops: int = 0
    operations: tuple[str, ...] = ()
    weighted: bool = False

    @property
    def operation(self) -> str:
        """What is done, in words.

        Example:
            >>> ModuleRow("block", "Block", "itself", operations=("bmm", "add")).operation
            '(itself) bmm, add'
        """
        if self.role == "itself":
            return f"(itself) {', '.join(self.operations)}".strip()
        said = {"layer": "", "part": ": read by what it is part of", "unused": ": not used"}
        return self.kind + said[self.role]


@dataclass(frozen=True)
class Block:
    """A module of parts, which stands above rows: its class, calls, and shapes as of a row."""

    name: str
    kind: str
    calls: int = 0
    inputs: Shapes = ()
    outputs: Shapes = ()


@dataclass(frozen=True)
class Architecture:
    """What one forward of a network is made of.

    The rows add up: their parameters to ``parameters.total``, their FLOPs to those of the batch. FLOPs are two for each
    multiply and add of a product or a convolution, what is masked or padded included; all else is nothing by
    convention. What does work and has no formula is in ``uncounted``, so that FLOPs are at least those given.

    Args:
        rows: in the order of first calls; what a module does itself stands after its parts.
        blocks: the modules above the rows.
        batch: samples in the forward.
        uncounted: operations that were not counted, with the number of their calls.
        parameters: of the network, each once.
    """

    rows: tuple[ModuleRow, ...]
    blocks: tuple[Block, ...]
    batch: int
    uncounted: Mapping[str, int]
    parameters: ParameterCount

    @property
    def total_flops(self) -> int:
        """FLOPs of the whole batch."""
        return sum(row.flops for row in self.rows)

    @property
    def flops(self) -> int | float:
        """FLOPs of one sample: those of the batch by its samples, whole where they divide."""
        whole, rest = divmod(self.total_flops, self.batch)
        return self.total_flops / self.batch if rest else whole

    @property
    def layers(self) -> int:
        """Modules that were called and called no other, those without parameters included; each once."""
        return sum(row.role == "layer" for row in self.rows)

    @property
    def weight_layers(self) -> int:
        """Layers that take products with a matrix or a kernel of their own, as papers count the depth of a network.

        Papers leave projections of shortcuts out: ResNet-18 has 21 here, with its three. Embeddings and
        normalisation take no products.
        """
        return sum(row.weighted for row in self.rows)

    @property
    def kinds(self) -> dict[str, int]:
        """Layers by class, the commonest first."""
        return dict(Counter(row.kind for row in self.rows if row.role == "layer").most_common())

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON takes them; the inverse of ``from_dict``."""
        plain: dict[str, Any] = undefined_to_none(asdict(self))
        return plain

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Architecture:
        """What ``to_dict`` gave."""
        return cls(
            rows=tuple(ModuleRow(**_with_tuples(row)) for row in saved["rows"]),
            blocks=tuple(Block(**_with_tuples(block)) for block in saved["blocks"]),
            batch=saved["batch"],
            uncounted=dict(saved["uncounted"]),
            parameters=ParameterCount.from_dict(saved["parameters"]),
        )


def _with_tuples(saved: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(saved)
    for name in ("inputs", "outputs"):
        found[name] = tuple(tuple(shape) for shape in saved[name])
    if "operations" in saved:
        found["operations"] = tuple(saved["operations"])
    return found
