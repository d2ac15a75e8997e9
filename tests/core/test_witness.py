"""A step is heard as it runs, and is afterwards as if nobody had listened."""

import gc
import weakref
from collections import Counter, UserDict, namedtuple
from contextlib import nullcontext
from dataclasses import dataclass
from inspect import signature

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix
from lightning_posttrain.core.capture.batch_parts import PartSource, locate, parts_of
from lightning_posttrain.core.capture.call_source import FORMS, CallSource, call_sources
from lightning_posttrain.core.capture.hearing_mode import LAST, LOSSES
from lightning_posttrain.core.capture.memory import Memory
from lightning_posttrain.core.capture.network_call import NetworkCall, joined
from lightning_posttrain.core.capture.tap import Tap
from lightning_posttrain.core.capture.witness import Witness
from lightning_posttrain.core.stream.stream import EvaluationStream
from tests import toys

ROWS, CLASSES = 6, toys.CLASSES


def heard(run, module=None, **parts):
    """Pairs of what a function does, with these parts of a batch."""
    witness = Witness()
    witness.begin(module or nn.Module(), {(name,): part for name, part in parts.items()})
    try:
        run()
    finally:
        pairs = witness.take()
    assert not _get_current_function_mode_stack()
    return pairs


def scores():
    return torch.randn(ROWS, CLASSES), torch.randint(CLASSES, (ROWS,))


# what is left behind


class Measured(toys.Net):
    """With metrics in every place, and a step that may fail."""

    def __init__(self, fails=None):
        super().__init__("dict")
        self.fails, self.accuracy = fails, MulticlassAccuracy(CLASSES)
        self.more = nn.ModuleDict({"f1": MulticlassF1Score(CLASSES)})
        self.several = MetricCollection({"a": MulticlassAccuracy(CLASSES), "f1": MulticlassF1Score(CLASSES)})
        self.plain = {"accuracy": MulticlassAccuracy(CLASSES)}

    def metrics(self):
        return [self.accuracy, *self.more.values(), *self.several.values(copy_state=False), *self.plain.values()]

    def validation_step(self, batch, batch_idx):
        logits = self(batch[0])
        for metric in self.metrics():
            metric(logits, batch[1])
        if self.fails == "val":
            raise KeyError("inside")
        return F.cross_entropy(logits, batch[1])

    def training_step(self, batch, batch_idx):
        if self.fails == "train":
            self(batch[0])
            raise KeyError("inside")
        return super().training_step(batch, batch_idx)


def assert_untouched(module, updates):
    assert not _get_current_function_mode_stack()
    assert torch._C._len_torch_function_stack() == 0
    assert F.cross_entropy is CROSS_ENTROPY
    assert [vars(metric)["update"] for metric in module.metrics()] == updates
    assert all(vars(m)["update"] is u for m, u in zip(module.metrics(), updates, strict=True))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert not any("forward" in vars(part) for part in module.modules())


CROSS_ENTROPY = F.cross_entropy


@pytest.mark.parametrize("fails", [None, "val", "train"])
@pytest.mark.parametrize("run", ["fit", "validate"])
def test_nothing_is_left_behind_by_a_step_or_an_exception_in_it(run, fails):
    module = Measured(fails)
    updates = [vars(metric)["update"] for metric in module.metrics()]
    trainer = toys.quiet([ConfusionMatrix(stages=["train", "val"])])
    failing = fails == "val" or (fails == "train" and run == "fit")
    with pytest.raises(KeyError) if failing else nullcontext():
        if run == "fit":
            trainer.fit(module, toys.loader(), toys.loader())
        else:
            trainer.validate(module, toys.loader(), verbose=False)
    assert_untouched(module, updates)


def test_nothing_is_left_behind_where_a_part_fails_that_is_not_listened_to():
    class Fails(nn.MultiheadAttention):
        def forward(self, *_):
            raise KeyError("inside")

    module = nn.Sequential(Fails(4, 2), nn.TransformerEncoderLayer(4, 2, 8))
    with pytest.raises(KeyError):
        heard(lambda: module(torch.zeros(2, 3, 4)), module)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    with pytest.raises((RuntimeError, AssertionError)):
        heard(lambda: module[1](torch.zeros(2, 3, 5)), module)
    assert "forward" not in vars(module[1])


class Other(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_a_mode_that_was_entered_meanwhile_stays():
    witness, other = Witness(), Other()
    witness.begin(nn.Module(), {})
    with other:
        witness.take()
        assert _get_current_function_mode_stack() == [other]
    with torch.device("cpu"):
        witness.begin(nn.Module(), {})
        witness.take()
        assert len(_get_current_function_mode_stack()) == 1
    assert not _get_current_function_mode_stack()


# pairs


def arguments(loss):
    """Tensors that a loss takes, and its further arguments."""
    x, y = torch.rand(3, 4).clamp(0.1, 0.9), torch.rand(3, 4).round()
    of = {
        "cross_entropy": (x, torch.tensor([0, 1, 2])),
        "nll_loss": (x, torch.tensor([0, 1, 2])),
        "multi_margin_loss": (x, torch.tensor([0, 1, 2])),
        "multilabel_margin_loss": (x, torch.tensor([[0, 1, -1, -1]] * 3)),
        "soft_margin_loss": (x, 2 * y - 1),
        "gaussian_nll_loss": (x, y, x),
        "ctc_loss": (
            torch.randn(5, 2, 4).log_softmax(2), torch.tensor([[1, 2], [2, 3]]), torch.tensor([5, 5]),
            torch.tensor([2, 2]),
        ),
        "triplet_margin_loss": (x, y, 1 - y),
        "triplet_margin_with_distance_loss": (x, y, 1 - y),
        "cosine_embedding_loss": (x, y, torch.tensor([1, -1, 1])),
        "margin_ranking_loss": (x, y, torch.ones(3, 4)),
        "hinge_embedding_loss": (x, 2 * y - 1),
    }  # fmt: skip
    return of.get(loss.__name__, (x, y))


@pytest.mark.filterwarnings("ignore:.*'mean' divides")
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("named", [False, True], ids=["positions", "keywords"])
def test_each_loss_is_heard_by_position_and_by_keyword(loss, named):
    given = arguments(loss)
    options = dict(zip(signature(loss).parameters, given, strict=False)) if named else {}
    pair, = heard(lambda: loss(*(() if named else given), **options))  # fmt: skip
    assert (pair.by, pair.kind, pair.number) == (loss.__name__, "loss", 0)
    assert pair.prediction is given[0]
    assert pair.target is given[1]


MODULES = {
    nn.CrossEntropyLoss: F.cross_entropy, nn.NLLLoss: F.nll_loss, nn.MultiMarginLoss: F.multi_margin_loss,
    nn.BCELoss: F.binary_cross_entropy, nn.BCEWithLogitsLoss: F.binary_cross_entropy_with_logits,
    nn.MultiLabelSoftMarginLoss: F.multilabel_soft_margin_loss, nn.SoftMarginLoss: F.soft_margin_loss,
    nn.MultiLabelMarginLoss: F.multilabel_margin_loss, nn.MSELoss: F.mse_loss, nn.L1Loss: F.l1_loss,
    nn.SmoothL1Loss: F.smooth_l1_loss, nn.HuberLoss: F.huber_loss, nn.GaussianNLLLoss: F.gaussian_nll_loss,
    nn.PoissonNLLLoss: F.poisson_nll_loss, nn.KLDivLoss: F.kl_div, nn.CTCLoss: F.ctc_loss,
    nn.TripletMarginLoss: F.triplet_margin_loss,
    nn.TripletMarginWithDistanceLoss: F.triplet_margin_with_distance_loss,
    nn.CosineEmbeddingLoss: F.cosine_embedding_loss, nn.MarginRankingLoss: F.margin_ranking_loss,
    nn.HingeEmbeddingLoss: F.hinge_embedding_loss,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*'mean' divides")
@pytest.mark.parametrize("kind", MODULES, ids=lambda kind: kind.__name__)
def test_each_loss_is_heard_as_a_module(kind):
    given = arguments(MODULES[kind])
    pair, = heard(lambda: kind()(*given))  # fmt: skip
    assert pair.by == MODULES[kind].__name__
    assert pair.prediction is given[0]
    assert pair.target is given[1]
    assert set(MODULES.values()) == set(LOSSES)


def test_metrics_are_heard_wherever_the_module_keeps_them_and_a_forward_once():
    module, (x, y) = Measured(), scores()
    pairs = heard(lambda: [metric(x, y) for metric in module.metrics()], module)
    assert [pair.owner for pair in pairs if pair.kind == "metric"] == module.metrics()
    assert all(pair.prediction is x and pair.target is y for pair in pairs if pair.kind == "metric")


@pytest.mark.parametrize("full", [False, True])
def test_a_forward_that_updates_twice_is_one_pair(full):
    class Counted(MulticlassAccuracy):
        full_state_update = full

    module, (x, y) = nn.Module(), scores()
    module.metric = Counted(CLASSES)
    pairs = heard(lambda: module.metric(x, y), module)
    assert [(pair.by, pair.number) for pair in pairs if pair.kind == "metric"] == [("Counted", 0)]


def test_arguments_by_name_are_heard_in_any_order():
    module, (x, y) = nn.Module(), scores()
    module.metric = MulticlassAccuracy(CLASSES)
    pairs = heard(lambda: (module.metric.update(target=y, preds=x), F.cross_entropy(target=y, input=x)), module)
    pairs = [pair for pair in pairs if pair.kind != "comparison"]
    assert [(pair.prediction is x, pair.target is y) for pair in pairs] == [(True, True)] * 2


def test_calls_of_one_loss_are_numbered():
    x, y = scores()
    pairs = heard(lambda: (F.cross_entropy(x, y), F.mse_loss(x, x), F.cross_entropy(x + 1, y)))
    assert [(pair.by, pair.number) for pair in pairs] == [("cross_entropy", 0), ("mse_loss", 0), ("cross_entropy", 1)]


# what predictions are made of

MADE = {
    "softmax": (lambda t: t.softmax(1), ["softmax"]),
    "log softmax": (lambda t: F.log_softmax(t, 1), ["log_softmax"]),
    "sigmoid": (torch.sigmoid, ["sigmoid"]),
    "argmax": (lambda t: t.argmax(1), ["argmax"]),
    "max": (lambda t: t.max(1)[1], ["argmax"]),
    "cast": (lambda t: t.double(), ["cast"]),
    "cut": (lambda t: t > 0.5, ["above 0.5"]),
    "cut at zero": (lambda t: t >= 0, ["above 0.0"]),
    "sigmoid, cut, cast": (lambda t: (t.sigmoid() > 0.5).long(), ["cast", "above 0.5", "sigmoid"]),
    "softmax, view, argmax": (lambda t: t.softmax(1).view(ROWS, CLASSES, 1).argmax(1), ["argmax", "softmax"]),
    "softmax, then a row": (lambda t: t.softmax(1).reshape(-1), ["softmax"]),
}


class Takes(Metric):
    """Takes whatever it is given."""

    def update(self, preds, target):
        pass

    def compute(self):
        return 0


@pytest.mark.parametrize("make", MADE)
def test_what_a_prediction_is_made_of_is_told_the_last_first(make):
    (of, how), (x, y), module = MADE[make], scores(), nn.Module()
    module.metric = Takes()
    pair = heard(lambda: module.metric.update(of(x), y), module)[0]
    assert [step for step, _ in pair.made_of] == how
    assert pair.made_of[-1][1] is x


def test_attention_does_not_fill_the_memory():
    kept = []

    def run():
        with torch.no_grad():
            for _ in range(5 * LAST):
                weights = torch.randn(4, 4).softmax(1)
                kept.append(weakref.ref(weights))
        del weights
        gc.collect()
        assert sum(one() is not None for one in kept) == LAST

    heard(run)
    gc.collect()
    assert not any(one() for one in kept)


def test_what_whole_numbers_of_the_batch_go_into_is_not_kept():
    lengths, x, kept = torch.tensor([3, 4]), torch.randn(2, 5, 8), []

    def run():
        h = x * (torch.arange(5)[None] < lengths[:, None])[..., None]
        for _ in range(20):
            h = h * 2
            kept.append(weakref.ref(h))
        assert sum(one() is not None for one in kept) == 1

    heard(run, lengths=lengths)


# targets in scores


def in_place(x, y):
    x = x * 1
    x[torch.arange(ROWS), y] -= 0.5
    return x


TOLD = {
    "a margin": lambda x, y: x - 0.5 * F.one_hot(y, CLASSES).float(),
    "in place": in_place,
    "scattered": lambda x, y: x.scatter(1, y[:, None], 1.0),
    "where": lambda x, y: torch.where(F.one_hot(y, CLASSES).bool(), x - 1, x),
    "joined": lambda x, y: torch.cat([x, y[:, None]], 1),
}


@pytest.mark.parametrize("how", TOLD)
def test_targets_that_went_into_the_scores_are_seen(how):
    x, y = scores()
    pair, = heard(lambda: F.cross_entropy(TOLD[how](x, y), y), y=y)  # fmt: skip
    assert pair.told == {("y",)}


def test_plain_losses_have_no_targets_in_their_scores():
    x, y = scores()
    pairs = heard(lambda: (F.cross_entropy(x, y), F.mse_loss(x, F.one_hot(y, CLASSES).float())), y=y)
    assert [pair.told for pair in pairs] == [frozenset()] * 2


# where in the batch a target is

Y = torch.tensor([1, 3, 2, 2, 0, 1, 3, 0])
TABLE = torch.stack([Y.float() * 0.3 + 0.1, Y.float() ** 2, torch.tensor([0.0, 1, 1, 0, 1, 1, 0, 0])], 1)
MASK = torch.tensor([True, False, True, True, False, True, False, True])
GAPS = torch.tensor([1.0, float("nan"), 2.0, 0.0])
LOCATED = {
    "itself": (Y, {"y": Y}, PartSource(("y",), "same")),
    "a view": (Y[:, None], {"y": Y}, PartSource(("y",), "same")),
    "a cast": (Y.float(), {"y": Y}, PartSource(("y",), "same")),
    "squeezed": (Y.clone(), {"y": Y[:, None]}, PartSource(("y",), "same")),
    "flattened": (Y.clone(), {"y": Y.reshape(2, 4)}, PartSource(("y",), "same")),
    "one-hot of it": (F.one_hot(Y, 4).float(), {"y": Y}, PartSource(("y",), "one-hot")),
    "of one-hot": (Y.clone(), {"y": F.one_hot(Y, 4)}, PartSource(("y",), "one-hot")),
    "gaps filled": (GAPS.nan_to_num(9), {"y": GAPS}, PartSource(("y",), "same")),
    "a mask": (Y[MASK], {"y": Y, "m": MASK}, PartSource(("y",), "rows", ("m",))),
    "positions": (Y[[4, 1, 2]], {"y": Y, "i": torch.tensor([4, 1, 2])}, PartSource(("y",), "rows", ("i",))),
    "a slice": (Y[2:5], {"y": Y}, PartSource(("y",), "rows", at=2)),
    "a column": (TABLE[:, 2].clone(), {"t": TABLE}, PartSource(("t",), "column", at=2)),
    "moved": (Y - 1, {"y": Y}, PartSource(("y",), "derived")),
    "cut": (Y > 1, {"y": Y}, PartSource(("y",), "derived")),
    "the first of two": (Y.clone(), {"x": TABLE, "y": Y, "z": Y}, PartSource(("y",), "same")),
    "none": (torch.tensor([3, 1, 1, 0, 2, 2, 0, 3]), {"y": Y}, None),
    "another length": (torch.tensor([9, 8, 7]), {"y": Y, "t": TABLE}, None),
    "constant": (torch.zeros(8), {"y": Y}, None),
    "empty": (torch.zeros(0), {"y": Y}, None),
    "all missing": (torch.arange(3.0), {"y": torch.full((3,), float("nan"))}, None),
}


@pytest.mark.parametrize("case", LOCATED)
def test_a_target_is_located_in_the_batch(case):
    tensor, parts, wanted = LOCATED[case]
    assert locate(tensor, {(name,): part for name, part in parts.items()}) == wanted


# memory


class Gives(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output, self.weight = output, nn.Parameter(torch.zeros(2, 2))

    def forward(self):
        return self.output()


def calls(module, run, *shapes):
    tap = Tap()
    tap.attach(module)
    try:
        tap.listen(*shapes, noting=True)
        return run(), tap
    finally:
        taken = tap.take()
        tap.detach()
        tap.take = lambda: taken


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("inference", [False, True])
def test_a_prediction_is_known_again_in_each_form(form, inference):
    shape = (ROWS, 1, CLASSES) if "second dimension" in form and "last" not in form else (ROWS, 3, CLASSES)
    shape = (ROWS, CLASSES, 1) if form == "without a last dimension" else shape
    shape = (ROWS, 1, CLASSES) if form == "without dimensions of one" else shape
    module = Gives(lambda: torch.randn(shape))
    with torch.inference_mode(inference):
        prediction, tap = calls(module, lambda: FORMS[form](module()))
        (source, _), = call_sources(prediction, tap.take())  # fmt: skip
        whole = torch.randn(shape)
        assert torch.equal(FORMS[source.form](whole), FORMS[form](whole))


def test_another_tensor_in_memory_that_was_freed_is_not_taken_for_it():
    def run():
        module()
        gc.collect()
        return [torch.randn(ROWS, 5, CLASSES) for _ in range(20)]  # as many as the allocator may give the same place

    module = Gives(lambda: torch.randn(ROWS, 5, CLASSES))
    others, tap = calls(module, run, torch.Size([ROWS]))
    assert isinstance(tap.take()[0].output, Memory)
    assert not any(list(call_sources(other, tap.take())) for other in others)


def test_what_has_no_storage_has_no_memory():
    assert Memory.of(torch.eye(3).to_sparse()) is None
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged)
    assert Memory.of(nested) is None


# asking a network again

Point = namedtuple("Point", "x n")


@dataclass
class Row:
    x: torch.Tensor
    n: int = 2


X = torch.randn(ROWS, 3)
GIVEN = {
    "a tensor": (((X,), {}), (0, 0), lambda a: a),
    "a keyword": (((), {"x": X}), (1, "x"), lambda x: x),
    "a dict": ((({"x": X, "n": 2},), {}), (0, 0, "x"), lambda d: d["x"] * (d["n"] / 2)),
    "a UserDict": (((UserDict(x=X, n=2),), {}), (0, 0, "x"), lambda d: d["x"] * (d["n"] / 2)),
    "a NamedTuple": (((Point(X, 2),), {}), (0, 0, "x"), lambda p: p.x * (p.n / 2)),
    "a dataclass": (((Row(X),), {}), (0, 0, "x"), lambda r: r.x * (r.n / 2)),
    "a list": ((([X, 2],), {}), (0, 0, 0), lambda p: p[0] * (p[1] / 2)),
}


class Asks(nn.Module):
    """A network that is given its inputs in some form."""

    def __init__(self, of):
        super().__init__()
        self.of, self.layer = of, nn.Linear(3, CLASSES)

    def forward(self, *args, **kwargs):
        return self.layer(self.of(*args, **kwargs))


def call_of(inputs, signal, context=(), like=((torch.float32, 3),), source="net"):
    at = CallSource(source, 0, 1, "", "as it is")
    return NetworkCall("net", 0, 1, at, signal, context, inputs, like)


@pytest.mark.parametrize("source", ["net", "net.layer"])
@pytest.mark.parametrize("case", GIVEN)
def test_a_network_is_asked_again_in_the_form_it_was_asked(case, source):
    inputs, path, of = GIVEN[case]
    root, new = nn.ModuleDict({"net": Asks(of)}), torch.randn(2, 3)
    assert path in parts_of(inputs)
    found = call_of(inputs, (path,), source=source).again(root, new, ())
    torch.testing.assert_close(found, root["net"].layer(new), rtol=0, atol=0)
    assert inputs[0] == () or parts_of(inputs)[path] is X
    assert not root["net"].layer._forward_hooks


def test_a_mask_goes_along_row_by_row():
    mask = torch.rand(ROWS, 3) > 0.5
    root = nn.ModuleDict({"net": Asks(lambda x, mask: x * mask)})
    call = call_of(((X,), {"mask": mask}), ((0, 0),), ((1, "mask"),))
    found = call.again(root, X[:2] + 1, (mask[3:5],))
    torch.testing.assert_close(found, root["net"].layer((X[:2] + 1) * mask[3:5]), rtol=0, atol=0)


def test_several_inputs_are_columns_of_one_table_and_whole_numbers_stay_whole():
    numbers, kinds = torch.randn(ROWS, 2), torch.randint(5, (ROWS, 1))

    def of(numbers, kinds):
        assert kinds.dtype == torch.int64
        return torch.cat([numbers, kinds.float()], 1)

    root = nn.ModuleDict({"net": Asks(of)})
    call = call_of(
        ((numbers, kinds), {}), ((0, 0), (0, 1)), like=((torch.float32, 2), (torch.int64, 1))
    )  # fmt: skip
    table = joined([numbers, kinds])
    assert table.shape == (ROWS, 3)
    torch.testing.assert_close(call.again(root, table, ()), root["net"](numbers, kinds), rtol=0, atol=0)
    torch.testing.assert_close(call.again(root, table + 0.2, ())[:, 0].isnan(), torch.zeros(ROWS, dtype=torch.bool))


# beside other machinery


class Losses(toys.Net):
    """Keeps the losses of its validation."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def validation_step(self, batch, batch_idx):
        loss = F.cross_entropy(self.logits(batch[0]), batch[1])
        self.seen.append(loss.detach().clone())
        return loss


class CompiledChild(Losses):
    def __init__(self):
        super().__init__()
        self.model = torch.compile(self.model, backend="eager")


def compiled_run(kind, callbacks):
    """Graphs that were compiled in a run, and the module."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(1)
    module = CompiledChild() if kind == "child" else toys.Net()
    trainer = toys.quiet(callbacks, max_epochs=2, num_sanity_val_steps=0)
    data = toys.loader(toys.images(40))
    trainer.fit(torch.compile(module, backend="eager") if kind == "step" else module, data, data)
    return torch._dynamo.utils.counters["stats"]["unique_graphs"], module


@pytest.mark.parametrize("kind", ["child", "step"])
def test_a_compiled_step_or_part_is_heard_and_compiled_at_most_once_more(kind):
    metrics = ClassificationMetrics(curves=False, resamples=0)
    without, _ = compiled_run(kind, [])
    graphs, module = compiled_run(kind, [metrics])
    assert without > 0
    assert graphs <= without + 1
    y, predicted = toys.predictions(module, toys.images(40))
    assert metrics.results["val"]["accuracy"] == pytest.approx((y == predicted).mean())


class Padded(Losses):
    """Attention that takes the padding along."""

    def __init__(self, form):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.model = nn.TransformerEncoder(layer, 2) if form == "encoder" else layer
        self.head = nn.Linear(8, CLASSES)

    def logits(self, x):
        x = x[:, 0]
        pad = torch.zeros(x.shape[:2], dtype=torch.bool)
        pad[::2, 5:] = True
        return self.head(self.model(x, src_key_padding_mask=pad)[:, :5].mean(1))


@pytest.mark.parametrize("form", ["encoder", "layer"])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_the_fast_path_of_attention_is_taken_as_without(form):
    seen = []
    for callbacks in ([], [ConfusionMatrix()]):
        torch.manual_seed(2)
        module = Padded(form)
        toys.quiet(callbacks, max_epochs=2).fit(module, toys.loader(), toys.loader())
        seen.append(torch.stack(module.seen))
    assert torch.equal(*seen)


class Checkpointed(toys.Net):
    def logits(self, x):
        return checkpoint(self.model, x, use_reentrant=False) if torch.is_grad_enabled() else self.model(x)


class Manual(toys.Net):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        for part in zip(*(tensor.chunk(2) for tensor in batch), strict=True):
            loss = F.cross_entropy(self(part[0]), part[1])
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()


@pytest.mark.parametrize(
    ("make", "options"),
    [(Checkpointed, {}), (Manual, {"stages": ["val"]}), (toys.Net, {}), (Checkpointed, {"precision": "bf16-mixed"})],
    ids=["checkpointing", "manual", "plain", "autocast"],
)
def test_figures_of_other_ways_to_train_are_right_and_weights_are_as_without(make, options):
    stages, trainer_options = (
        options.get("stages", ["train", "val"]),
        {k: v for k, v in options.items() if k != "stages"},
    )
    weights = []
    for with_us in (False, True):
        torch.manual_seed(4)
        counts = ConfusionMatrix(stages=stages)
        module = make()
        toys.quiet([counts] if with_us else [], **trainer_options).fit(module, toys.loader(), toys.loader())
        weights.append([value.clone() for value in module.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert counts.results["val"].counts.sum() == 37
    if "precision" not in options:
        y, predicted = toys.predictions(module, toys.images())
        assert counts.results["val"].counts.diagonal().sum() == (y == predicted).sum()


# no wait for the device


class Waits(TorchDispatchMode):
    """Notes operations whose result the host waits for."""

    KINDS = ("_local_scalar_dense", "equal.default", "nonzero", "unique", "masked_select", "is_nonzero")

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.extend(str(func) for kind in self.KINDS if kind in str(func))
        return func(*args, **(kwargs or {}))


class Functional(toys.Net):
    """Its head is no module, so that it is listened to in each step."""

    def logits(self, x):
        return F.linear(self.model[:-1](x), self.model[-1].weight, self.model[-1].bias)


@pytest.mark.parametrize("make", [toys.Net, Functional], ids=["source known", "listened to"])
@pytest.mark.parametrize("style", ["loss", "dict"])
def test_after_two_batches_of_a_stage_nothing_waits_for_the_device(make, style, monkeypatch):
    seen, calls, counts = [], Counter(), ClassificationMetrics(stages=["train", "val", "test"], resamples=0)
    listening = Counter()
    inside = []

    def watched(name):
        run = getattr(EvaluationStream, name)

        def watch(stream, trainer, *rest):
            stage = f"{trainer.state.stage} {name}"
            calls[stage] += 1
            listening[stage] += bool(_get_current_function_mode_stack())
            if calls[stage] <= 2:
                return run(stream, trainer, *rest)
            inside.append(name)
            try:
                with Waits(seen):
                    return run(stream, trainer, *rest)
            finally:
                inside.pop()

        return watch

    for name in ("listen", "add"):
        monkeypatch.setattr(EvaluationStream, name, watched(name))
    for name in ("tolist", "cpu", "numpy", "__bool__"):
        own = getattr(torch.Tensor, name)

        def noted(tensor, *args, own=own, name=name, **kwargs):
            seen.extend([name] if inside else [])
            return own(tensor, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, noted)
    data = toys.loader(toys.images(60))
    trainer = toys.quiet([counts], num_sanity_val_steps=0)
    module = make(style)
    trainer.fit(module, data, data)
    trainer.test(module, data, verbose=False)
    assert seen == []
    assert counts.results["val"]["accuracy"] >= 0
    on = {stage: number for stage, number in listening.items() if stage.endswith("add")}
    assert all((number > 2) == (make is Functional) for number in on.values()), on


def test_a_metric_with_an_arrangement_of_its_own_is_passed_over():
    class Own(Metric):
        def __init__(self):
            super().__init__()
            self.add_state("seen", torch.zeros(()), dist_reduce_fx="sum")

        def update(self, scores, pairs):
            self.seen += len(scores)

        def compute(self):
            return self.seen

    class Net(toys.Net):
        def __init__(self):
            super().__init__()
            self.own = Own()

        def step(self, batch, stage):
            self.own.update(self(batch[0]), torch.zeros(7, 2, dtype=torch.int64))

    net, matrix = Net(), ConfusionMatrix(on_error="raise")
    toys.quiet(matrix).validate(net, toys.loader(), verbose=False)
    x, y = toys.images().tensors
    assert matrix.results["val"].counts.trace() == int((net.eval()(x).argmax(1) == y).sum())
