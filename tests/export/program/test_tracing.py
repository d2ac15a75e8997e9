"""A trace leaves the module as it was, holds nothing of the data, and says why where there is none."""

import copy
import pickle
import warnings

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch._subclasses import FakeTensor
from torch.nn import functional as F

from lightning_posttrain.core.capture.tap import Tap
from lightning_posttrain.export.decision import Decision
from lightning_posttrain.export.program import CannotExportError, Deployed, suspicions, traced
from lightning_posttrain.export.signature import TensorSpec
from tests.export.networks import Cnn, Lstm, Vit, settled

THREE = Decision("multiclass", ("a", "b", "c"))


def trace(network, *rows, decision=THREE):
    return traced(Deployed(network, decision), [{"x": one} for one in rows])


class Asks(nn.Module):
    """A linear layer and something that a test is about."""

    def __init__(self, then):
        super().__init__()
        self.layer, self.then = nn.Linear(4, 3), then

    def forward(self, x):
        return self.then(self.layer(x))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.full((len(x),), 3), batch_first=True)
        return self.head(self.layer(packed)[1][0][-1])


def branches(y):
    if y.mean() > 0:
        return y
    return -y


ROWS = torch.randn(6, 4)
BATCH = r"the batch size is used as a number\. Use x\.shape\[0\] or -1 in view"
BRANCH = (
    r"decides in Python on .* \(test_tracing\.py, line \d+: `if y\.mean\(\) > 0:`\)\. Use torch\.where or torch\.cond"
)
REFUSED = [
    (Asks(branches), ROWS, BRANCH),
    (Asks(lambda y: torch.stack(list(y))), ROWS, BATCH),
    (Asks(lambda y: y.view(6 if len(y) == 6 else 2, -1)), ROWS, BATCH),
    (Asks(lambda y: y if len(y) > 4 else -y), ROWS, BATCH),
    (Asks(lambda y: torch.from_numpy(y.numpy())), ROWS, r"a NumPy array by \.numpy\(\) .*Use torch's own functions"),
    (Recurrent(), torch.randn(6, 3, 4), r"calls pack_padded_sequence.*Run the recurrent layer over the padded"),
    (Asks(lambda y: {"logits": y}), ROWS, r"gives a dict, wanted a tensor\. Pass forward_fn="),
    (Asks(lambda y: y.mean(0, keepdim=True)), ROWS, r"the network gives 1 rows for 6"),
    (nn.LazyLinear(3), ROWS, r"`LazyLinear` has parameters that are not initialised yet\. Run it on one batch"),
    (nn.Sequential(nn.LazyLinear(3)), ROWS, r"`0` has parameters that are not initialised yet"),
    (nn.Linear(5, 3), ROWS, r"does not run on a CPU in float32: RuntimeError: mat1 and mat2 shapes cannot be"),
]


@pytest.mark.parametrize(("network", "rows", "said"), REFUSED)
def test_what_cannot_be_exported_is_refused_with_its_cure(network, rows, said, capfd):
    with pytest.raises(CannotExportError, match=f"(?s){said}") as caught:
        trace(network, rows)
    assert len(str(caught.value)) < 500
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_quantised_and_scripted_modules_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch lets both go
        quantised = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 3)))
        scripted = torch.jit.script(nn.Linear(4, 3))
    with pytest.raises(CannotExportError, match=r"`0` is quantised by torch.ao.*ask for format 'int8'"):
        trace(quantised, ROWS)
    with pytest.raises(CannotExportError, match=r"is a TorchScript module\. Give the module that it was made of"):
        trace(scripted, ROWS)


def test_the_advice_about_branches_works():
    found = trace(Asks(lambda y: torch.where(y.mean(1, keepdim=True) > 0, y, -y)), ROWS)
    assert found.program.module()(ROWS)[0].shape == (6, 3)


class Drops(nn.Module):
    def __init__(self, then):
        super().__init__()
        self.inner = Asks(then)

    def forward(self, x):
        return self.inner(x)


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x + self.calls


def attention_with_dropout(y):
    return F.scaled_dot_product_attention(y[:, None], y[:, None], y[:, None], dropout_p=0.5)[:, 0]


SUSPECT = [
    (Drops(F.dropout), ["dropout is on in `inner`. Call eval() on it before the export"]),
    (Drops(attention_with_dropout), ["dropout is on in `inner`"]),
    (Drops(lambda y: y + torch.randn_like(y)), ["random numbers are drawn by randn_like in `inner`. Draw them"]),
    (Drops(lambda y: y * y.sum().item()), ["a number is taken out of a tensor by .item() in `inner`. Keep it"]),
    (Drops(lambda y: F.batch_norm(y, None, None, training=True)), ["batch normalisation is in training mode in"]),
    (nn.Sequential(nn.Linear(4, 3), Counts()), ["buffer `1.calls` changes at each call. Change it in training"]),
    (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(), nn.RReLU()), []),
]


@pytest.mark.parametrize(("network", "said"), SUSPECT)
def test_what_does_not_belong_in_a_served_graph_is_found(network, said):
    found = suspicions(trace(network.train(), ROWS).program)
    assert len(found) == len(said)
    assert all(one.startswith(start) for one, start in zip(found, said, strict=True))


@pytest.mark.parametrize(
    "network", [pytest.param(Vit(), marks=pytest.mark.slow), nn.Sequential(nn.Flatten(), nn.Linear(256, 3))]
)
def test_a_good_network_is_not_suspected(network):
    assert suspicions(trace(network, torch.randn(4, 1, 16, 16)).program) == []


class Keeps(LightningModule):
    """A module that keeps what it saw, as people do."""

    def __init__(self):
        super().__init__()
        self.net, self.seen, self.last = Cnn(), [], None

    def forward(self, x):
        self.last = self.net(x)
        self.seen.append(self.last)
        self.log("mean", self.last.mean())
        return self.last


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_the_users_module_is_as_it_was():
    rows = torch.randn(6, 1, 8, 8)
    module = settled(Keeps(), rows)
    tap = Tap()
    tap.attach(module)
    state = copy.deepcopy(module.state_dict())
    kept, last, modes = list(module.seen), module.last, [part.training for part in module.modules()]
    found = trace(module, rows)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert [part.training for part in module.modules()] == modes
    assert module.last is last
    assert all(a is b for a, b in zip(module.seen, kept, strict=True))
    shipped = found.deployed.network
    assert not any(isinstance(one, FakeTensor) for one in (shipped.last, *shipped.seen))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in shipped.modules())
    assert any(part._forward_hooks for part in module.modules())
    tap.detach()
    torch.testing.assert_close(found.program.module()(rows)[0], module.eval()(rows).softmax(1))


def test_hooks_that_change_the_answer_stay_and_others_go():
    network, heard = nn.Sequential(nn.Linear(4, 3), nn.ReLU()), []
    network[0].register_forward_hook(lambda module, args, output: heard.append(output))
    assert not any(part._forward_hooks for part in trace(network, ROWS).deployed.modules())
    network[0].register_forward_hook(lambda module, args, output: output * 2)
    found = trace(network, ROWS)
    twice = 2 * F.linear(ROWS, network[0].weight, network[0].bias)
    torch.testing.assert_close(found.program.module()(ROWS)[0], twice.relu().softmax(1))


def test_weights_that_hooks_make_are_exported():
    network = torch.nn.utils.spectral_norm(nn.Linear(4, 3))
    network(ROWS).sum().backward()  # its weight is one that autograd made
    found = trace(network, ROWS)
    torch.testing.assert_close(found.program.module()(ROWS)[0], network.eval()(ROWS).softmax(1))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions_are_exported_in_float32(dtype):
    network = nn.Linear(4, 3).to(dtype)
    found = trace(network, ROWS.to(dtype))
    assert found.signature.inputs == (TensorSpec("x", "float32", (None, 4)),)
    wanted = F.linear(ROWS, network.weight.float(), network.bias.float()).softmax(1)
    near = 1e-6 if dtype == torch.float64 else 1e-2
    torch.testing.assert_close(found.program.module()(ROWS)[0], wanted, atol=near, rtol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*")
def test_a_compiled_module_is_exported_as_it_was_written():
    network = nn.Sequential(nn.Linear(4, 8), torch.compile(nn.Linear(8, 3)))
    found = trace(torch.compile(network), ROWS)
    plain = nn.Sequential(network[0], network[1]._orig_mod)
    torch.testing.assert_close(found.program.module()(ROWS)[0], plain(ROWS).softmax(1))


def test_autocast_around_an_export_does_not_go_into_it():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = trace(nn.Linear(4, 3), ROWS)
    assert "bfloat16" not in str(found.program)


def test_inside_of_inference_mode_it_is_the_same():
    with torch.inference_mode():
        found = trace(nn.Linear(4, 3), torch.randn(6, 4))
    assert found.program.module()(ROWS)[0].shape == (6, 3)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_examples_of_any_size_give_a_free_batch(rows):
    found = trace(nn.Linear(4, 3), torch.randn(rows, 4))
    assert [len(found.program.module()(torch.randn(n, 4))[0]) for n in (1, 2, 3, 500)] == [1, 2, 3, 500]


def test_lengths_that_differ_are_free_and_others_are_not():
    network = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 3))
    found = trace(network, torch.randn(3, 4, 9), torch.randn(5, 4, 12))
    assert found.signature.inputs[0].words == "float32 (N, 4, ?)"
    assert found.program.module()(torch.randn(2, 4, 30))[0].shape == (2, 3)
    assert trace(network, torch.randn(3, 4, 9)).signature.inputs[0].words == "float32 (N, 4, 9)"


@pytest.mark.slow
def test_a_length_that_is_a_number_in_the_network_is_refused():
    short, long = torch.randn(6, 5, 4), torch.randn(6, 7, 4)
    with pytest.raises(
        CannotExportError, match=r"a length that differs between batches is used as a number\. Use x\.shape in"
    ):
        trace(Asks(lambda y: (y if y.shape[1] < 6 else -y).mean(1)), short, long)
    with pytest.raises(CannotExportError, match=r"recurrent layers for one length of sequence.*Pad all rows to one"):
        trace(Lstm(), torch.randn(6, 5, 6), torch.randn(6, 7, 6))
    assert trace(Lstm(), torch.randn(6, 5, 6)).signature.inputs[0].words == "float32 (N, 5, 6)"


def test_a_program_keeps_neither_examples_nor_lines_of_source():
    found = trace(Cnn(), torch.randn(6, 1, 8, 8))
    assert found.program.example_inputs is None
    assert not any("stack_trace" in node.meta for node in found.program.graph.nodes)


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ([], "`examples` has no rows"),
        ([{"x": torch.zeros(0, 4)}], "wanted as many rows each"),
        ([{"x": ROWS}, {"y": ROWS}], "`examples` has a batch without 'x'"),
        ([{"x": ROWS}, {"x": ROWS[None]}], "`examples` has 'x' with different numbers of dimensions"),
        ([{"x": ROWS, "y": ROWS[:2]}], "wanted as many rows each"),
    ],
)
def test_examples_that_are_none_are_refused(examples, said):
    with pytest.raises(ValueError, match=said):
        traced(Deployed(nn.Linear(4, 3), THREE), examples)
