"""A call that a step made becomes a module of named tensors that gives the same for any rows."""

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional as F

from lightning_posttrain.core.capture.call_again import CallAgain
from lightning_posttrain.core.capture.call_source import CallSource
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.program import CannotExportError, Deployed, entry_by, entry_of, suspicions, traced
from lightning_posttrain.export.program.input_names import call_names, input_names
from tests.export.networks import Cnn, Text, settled


def call(*args, module="", source="", path="", form="as it is", **kwargs):
    return CallAgain(module, CallSource(source, 0, 1, path, form), (args, kwargs))


IDS, MASK, LABELS = torch.randint(0, 40, (6, 7)), torch.ones(6, 7, dtype=torch.int64), torch.tensor([0, 1, 2, 0, 1, 2])


def test_tensors_with_rows_are_inputs_named_by_the_forward():
    network = Text()
    entry = entry_of(network, call(IDS, mask=MASK, path="[0]"))
    assert entry.slots == {"ids": (0, 0), "mask": (1, "mask")}
    assert torch.equal(entry(IDS[:3], MASK[:3]), network(IDS[:3], MASK[:3])[0])


def test_a_target_among_the_arguments_is_left_out_and_its_loss_with_it():
    network = Text()
    entry = entry_of(network, call(IDS, mask=MASK, labels=LABELS, path="[1]"), [LABELS])
    assert list(entry.slots) == ["ids", "mask"]
    assert torch.equal(entry(IDS, MASK), network(IDS, MASK)[0])


def test_a_target_that_the_prediction_is_made_of_stays_an_input():
    class Given(nn.Module):
        def forward(self, x, y):
            return x + F.one_hot(y, 3)

    entry = entry_of(Given(), call(torch.randn(6, 3), LABELS), [LABELS])
    assert list(entry.slots) == ["x", "y"]


class Scaled(nn.Module):
    def forward(self, x, *, table, sizes=(1,)):
        return x @ table * sizes[0]


def test_what_has_no_rows_is_a_constant_with_memory_of_its_own():
    table, rows = torch.randn(4, 3), torch.randn(6, 4)
    entry = entry_of(Scaled(), call(rows, table=table, sizes=(2,)))
    wanted = rows @ table * 2
    table.zero_()
    assert list(entry.slots) == ["x"]
    torch.testing.assert_close(entry(rows), wanted)
    assert not any(isinstance(value, torch.Tensor) for value in (*entry.arguments[0], *entry.arguments[1].values()))


def test_a_table_with_as_many_rows_as_the_batch_is_a_constant():
    table, rows = torch.randn(4, 3), torch.randn(4, 4)
    entry = entry_of(Scaled(), call(rows, table=table))
    assert list(entry.slots) == ["x"]
    torch.testing.assert_close(entry(rows[:3]), rows[:3] @ table)


def test_a_prediction_from_inside_of_a_call_is_exported():
    class Logs(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Cnn()

        def forward(self, x):
            return self.net(x).log_softmax(1)

    rows = torch.randn(8, 1, 8, 8)
    module = settled(Logs(), rows)
    entry = entry_of(module, call(rows, source="net.head"))
    found = traced(Deployed(entry, Decision("multiclass", ("a", "b", "c"))), [{"x": rows}])
    torch.testing.assert_close(found.program.module()(rows)[0], module.eval().net(rows).softmax(1))
    assert not module.net.head._forward_hooks


def test_a_module_is_in_the_mode_and_state_that_it_was_in():
    network = settled(Cnn(), torch.randn(8, 1, 8, 8))
    network.layers[3].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [part.training for part in network.modules()]
    entry_of(network, call(torch.randn(8, 1, 8, 8)))
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("form", "shape"), [("rows of the last dimension", (6, 3, 5)), ("last dimension second", (6, 3, 5))]
)
def test_rows_that_a_step_flattens_for_its_loss_stay_rows(form, shape):
    class Tokens(nn.Module):
        def forward(self, x):
            return x[..., None] * torch.ones(3)

    entry = entry_of(Tokens(), call(torch.randn(6, 5), form=form))
    assert entry(torch.randn(6, 5)).shape == shape


def test_one_score_a_row_that_a_step_squeezes_stays_a_row_in_a_batch_of_one():
    for form in ("a row", "without dimensions of one"):
        entry = entry_of(nn.Linear(4, 1), call(torch.randn(6, 4), form=form))
        found = traced(Deployed(entry, Decision("binary", ("no", "yes"))), [{"input": torch.randn(6, 4)}])
        assert [part.shape for part in found.program.module()(torch.randn(1, 4))] == [(1, 2), (1,)]


def test_rows_that_depend_on_each_other_are_refused():
    class Centred(nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    with pytest.raises(CannotExportError, match="depends on the other rows of its batch"):
        entry_of(Centred(), call(torch.randn(6, 4)))


def test_a_network_that_draws_random_numbers_is_left_to_its_trace():
    class Drops(nn.Module):
        def forward(self, x):
            return F.dropout(x)

    entry = entry_of(Drops(), call(torch.randn(6, 4)))
    found = suspicions(
        traced(Deployed(entry, Decision("multiclass", ("a", "b", "c"))), [{"x": torch.randn(6, 4)}]).program
    )
    assert found[0].startswith("dropout is on")


def test_rows_in_the_second_dimension_are_refused():
    with pytest.raises(CannotExportError, match="no argument of the network has its rows in the first dimension"):
        entry_of(nn.Sequential(nn.Flatten(0, 1)), call(torch.randn(5, 6, 4)))


@pytest.mark.parametrize(
    ("inputs", "names", "forward_fn"),
    [
        (torch.randn(6, 4), ["x"], lambda module, x: module(x)),
        ((torch.randn(6, 4), torch.randn(6, 4)), ["x", "x1"], lambda module, x: module(x[0] + x[1])),
        ({"pixel values": torch.randn(6, 4), "b": 2}, ["pixel_values"], lambda module, x: module(x["pixel values"])),
    ],
)
def test_a_function_of_the_user_is_an_entry_too(inputs, names, forward_fn):
    module = nn.Linear(4, 3)
    entry = entry_by(module, forward_fn, inputs)
    assert list(entry.slots) == names
    assert entry(*(torch.randn(2, 4) for _ in names)).shape == (2, 3)


def test_names_are_identifiers_and_differ():
    paths = [(0, 0), (0, 1), (0, 2), (1, "a b"), (1, "a_b"), (1, "class"), (1, "é"), (1, "d", "x")]

    class Many(nn.Module):
        def forward(self, first, *rest, **more):
            return first

    names = list(call_names(Many(), paths).values())
    assert names == ["first", "rest_0", "rest_1", "a_b", "a_b_1", "class_", "_", "d_x"]
    assert all(name.isidentifier() for name in names)
    assert list(input_names({(): (), (0,): (0,)}).values()) == ["x", "x_1"]
