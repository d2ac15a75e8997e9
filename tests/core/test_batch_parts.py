"""A batch with other tensors is otherwise itself, whatever its class does when it is made."""

from dataclasses import InitVar, dataclass, field

import torch
from torch import Tensor

from lightning_posttrain.core.capture.batch_parts import cloned


@dataclass
class Graphs:
    """Made of what it does not keep, as chemprop's batches are."""

    rows: InitVar[list]
    edges: Tensor = field(init=False)

    def __post_init__(self, rows):
        self.edges = torch.tensor(rows)


@dataclass(frozen=True, slots=True)
class Scaled:
    """Changes what it is given."""

    x: Tensor

    def __post_init__(self):
        object.__setattr__(self, "x", self.x * 2)


def test_a_dataclass_is_copied_without_its_constructor():
    given = {"graphs": Graphs([1, 2]), "scaled": Scaled(torch.ones(2))}
    found = cloned(given)
    assert isinstance(found["graphs"], Graphs)
    assert found["graphs"].edges.tolist() == [1, 2]
    assert found["scaled"].x.tolist() == [2.0, 2.0]
    assert found["graphs"].edges.data_ptr() != given["graphs"].edges.data_ptr()
    assert found["scaled"].x.data_ptr() != given["scaled"].x.data_ptr()
