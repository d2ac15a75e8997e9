"""Figures under every way in which users write their step, beside scikit-learn on predictions collected by hand."""

import copy
from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix, SaliencyMaps
from lightning_posttrain.classification.tasks import to_logits
from tests import reference, toys


def evaluated(net, data, stage="validate", **trainer_options):
    """Both callbacks' results after one run over ``data``."""
    callbacks = [ClassificationMetrics(on_error="raise"), ConfusionMatrix(on_error="raise")]
    trainer = toys.quiet(callbacks, **trainer_options)
    if stage == "fit":
        trainer.fit(net, toys.loader(), toys.loader(data))
    else:
        getattr(trainer, stage)(net, toys.loader(data), verbose=False)
    return [callback.results["test" if stage == "test" else "val"] for callback in callbacks]


def assert_right(results, net, data):
    actual, predicted = toys.predictions(net, data)
    expected = reference.report(actual, predicted, toys.CLASSES)
    report, confusion = results
    reference.assert_equal(report, expected)
    assert confusion.counts.dtype == torch.int64
    assert confusion.counts.tolist() == expected["counts"].tolist()


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
@pytest.mark.parametrize("call", toys.CALLS)
@pytest.mark.parametrize("style", toys.STYLES)
def test_figures_equal_scikit_learns(style, call, stage):
    net, data = toys.make(style, call), toys.images()
    assert_right(evaluated(net, data, stage), net, data)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
@pytest.mark.parametrize("stage", ["fit", "test"])
def test_low_and_high_precision(precision, stage):
    net, data = toys.Net(), toys.images()
    report, _ = evaluated(net, data, stage, precision=precision)
    net.eval()
    x, y = data.tensors
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
        predicted = net(x.to(net.dtype)).argmax(1)
    reference.assert_equal(report, reference.report(y, predicted, toys.CLASSES))


@pytest.mark.parametrize(
    "stage", ["fit", *(pytest.param(other, marks=pytest.mark.slow) for other in ("validate", "test"))]
)
@pytest.mark.parametrize(
    "call",
    ["self(x)", *(pytest.param(other, marks=pytest.mark.slow) for other in ("self.model(x)", "self.forward(x)"))],
)
def test_a_compiled_module(call, stage):
    torch._dynamo.reset()
    net, data = toys.Net(call=call), toys.images()
    results = evaluated(torch.compile(net, backend="eager"), data, stage, max_epochs=2)
    assert_right(results, net, data)


def test_a_compiled_child():
    torch._dynamo.reset()
    net, data = toys.Net(), toys.images()
    net.model = torch.compile(net.model, backend="eager")
    assert_right(evaluated(net, data, "fit", max_epochs=2), net, data)


@pytest.mark.filterwarnings("ignore:lightning_posttrain saw no class scores")
def test_a_module_compiled_and_run_before_the_hooks_were_there():
    torch._dynamo.reset()
    net, data = toys.Net(), toys.images()
    compiled = torch.compile(net, backend="eager")
    toys.quiet().validate(compiled, toys.loader(data), verbose=False)
    assert_right(evaluated(compiled, data), net, data)


class Grandchildren(toys.Net):
    """Its step calls parts of a child, past the child itself."""

    def step(self, batch, stage):
        x = batch[0]
        for part in self.model:
            x = part(x)


def test_parts_of_a_child_are_heard():
    net, data = Grandchildren(), toys.images()
    assert_right(evaluated(net, data, "fit", max_epochs=2), net, data)


class NestedHead(toys.Net):
    """Its forward gives features; the head that takes them in is a part of a child."""

    def __init__(self):
        super().__init__()
        self.net = nn.ModuleDict({"body": self.model, "head": nn.Linear(32, toys.CLASSES)})
        self.net["body"][-1] = nn.Linear(6 * 64, 32)

    def logits(self, x):
        return self.net["head"](self(x))


def test_a_head_deep_inside_is_heard():
    net, data = NestedHead(), toys.images()
    matrix = ConfusionMatrix(on_error="raise")
    toys.quiet(matrix, max_epochs=2).fit(net, toys.loader(), toys.loader(data))
    net.eval()
    expected = reference.report(data.tensors[1], net.logits(data.tensors[0]).argmax(1), toys.CLASSES)
    assert matrix.results["val"].counts.tolist() == expected["counts"].tolist()


class Functions(toys.Net):
    """The last layer is a function, and the step goes past the forward."""

    def __init__(self, flatten, width=384):
        super().__init__()
        self.model, self.last = self.model[:-2], nn.Parameter(torch.randn(toys.CLASSES, width))
        self.flatten = flatten

    def forward(self, x):
        return F.linear(self.flatten(self.model(x)), self.last)

    def step(self, batch, stage):
        self.forward(batch[0])


def test_features_before_a_functional_head_are_not_taken_for_scores():
    features = nn.Sequential(nn.Flatten(), nn.Linear(384, 32))
    with pytest.raises(ValueError, match=r"`flatten` \(10, 32\), `forward`, run once more, \(10, 4\)"):
        evaluated(Functions(features, 32), toys.images())


def test_where_no_hook_fires_the_module_runs_twice_with_one_warning():
    net, data = Functions(lambda x: x.flatten(1)), toys.images()
    with pytest.warns(UserWarning, match="runs the module a second time") as caught:
        results = evaluated(net, data)
    assert sum("second time" in str(w.message) for w in caught) == 1
    assert_right(results, net, data)


class Batches(toys.Net):
    """Takes batches in the form that ``part`` makes of ``(x, y)``."""

    def __init__(self, unpack, call="self(x)"):
        super().__init__(call=call)
        self.unpack = unpack

    def step(self, batch, stage):
        x, y = self.unpack(batch)
        self.log(f"{stage}/loss", F.cross_entropy(self.logits(x), y))


class Mapped(torch.utils.data.Dataset):
    def __init__(self, data, form):
        self.data, self.form = data, form

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        return self.form(*self.data[i])


FORMS = {
    "dict": (lambda x, y: {"image": x, "label": y}, lambda b: (b["image"], b["label"]), {}),
    "dict of Hugging Face": (
        lambda x, y: {"pixel_values": x, "labels": y},
        lambda b: (b["pixel_values"], b["labels"]),
        {},
    ),
    "triple": (lambda x, y: (x, y, 0.5), lambda b: (b[0], b[1]), {}),
    "triple with an index": (lambda x, y: (x, y, 0), lambda b: (b[0], b[1]), {"target_fn": lambda b: b[1]}),
    "own names": (
        lambda x, y: {"foto": x, "was": y},
        lambda b: (b["foto"], b["was"]),
        {"target_fn": lambda b: b["was"], "inputs_fn": lambda b: b["foto"]},
    ),
    "one-hot": (
        lambda x, y: (x, F.one_hot(y, toys.CLASSES)),
        lambda b: (b[0], b[1].argmax(1)),
        {"target_fn": lambda b: b[1].argmax(1)},
    ),
    "column of targets": (lambda x, y: (x, y[None]), lambda b: (b[0], b[1][:, 0]), {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_batches_in_every_form(form):
    make, unpack, options = FORMS[form]
    net, data = Batches(unpack), toys.images()
    matrix = ConfusionMatrix(on_error="raise", **options)
    toys.quiet(matrix).validate(net, toys.loader(Mapped(data, make)), verbose=False)
    actual, predicted = toys.predictions(net, data)
    expected = reference.report(actual, predicted, toys.CLASSES)
    assert matrix.results["val"].counts.tolist() == expected["counts"].tolist()


def test_scores_fn_comes_first():
    net, data = toys.Net("dict"), toys.images()
    matrix = ConfusionMatrix(scores_fn=lambda outputs, batch: -outputs["logits"])
    toys.quiet(matrix).test(net, toys.loader(data), verbose=False)
    net.eval()
    predicted = (-net(data.tensors[0])).argmax(1)
    expected = reference.report(data.tensors[1], predicted, toys.CLASSES)
    assert matrix.results["test"].counts.tolist() == expected["counts"].tolist()


class Features(toys.Net):
    """Its forward gives features, of a shape that scores could have; the head is called in the step."""

    def __init__(self):
        super().__init__()
        self.model[-1] = nn.Linear(6 * 64, 32)
        self.head = nn.Linear(32, toys.CLASSES)

    def logits(self, x):
        return self.head(self(x))


def test_features_that_a_head_takes_in_are_no_scores():
    net, data = Features(), toys.images()
    matrix = ConfusionMatrix()
    toys.quiet(matrix).validate(net, toys.loader(data), verbose=False)
    assert matrix.results["val"].counts.shape == (toys.CLASSES, toys.CLASSES)
    net.eval()
    expected = reference.report(data.tensors[1], net.logits(data.tensors[0]).argmax(1), toys.CLASSES)
    assert matrix.results["val"].counts.tolist() == expected["counts"].tolist()


class FocalLoss(nn.Module):
    def forward(self, logits, target):
        return ((1 - logits.softmax(1).gather(1, target[:, None])) ** 2).mean()


class WithLossModule(toys.Net):
    """The loss is a child that takes the scores in."""

    def __init__(self, call):
        super().__init__(call=call)
        self.criterion = FocalLoss()

    def step(self, batch, stage):
        self.log(f"{stage}/loss", self.criterion(self.logits(batch[0]), batch[1]))


@pytest.mark.parametrize("call", ["self(x)", "self.model(x)", "self.forward(x)"])
def test_a_loss_module_that_takes_the_scores_in_hides_them_not(call):
    net, data = WithLossModule(call), toys.images()
    assert_right(evaluated(net, data), net, data)


class Elementwise(nn.Module):
    """A loss for each row and class: of the shape of the scores."""

    def __init__(self, targets):
        super().__init__()
        self.targets = targets

    def forward(self, logits, target=None):
        return -logits.log_softmax(1)


class LossOfTheShapeOfScores(WithLossModule):
    def __init__(self, call, targets):
        super().__init__(call)
        self.criterion = Elementwise(targets)

    def step(self, batch, stage):
        logits = self.logits(batch[0])
        self.criterion(logits, batch[1]) if self.criterion.targets else self.criterion(logits)


@pytest.mark.parametrize("targets", [True, False])
@pytest.mark.parametrize("call", ["self(x)", "self.model(x)"])
def test_what_takes_the_scores_in_and_keeps_their_shape_is_no_head(call, targets):
    net, data = LossOfTheShapeOfScores(call, targets), toys.images()
    assert_right(evaluated(net, data), net, data)


class Margin(toys.Net):
    """A head that is told the true class and puts a margin on it, as in face recognition."""

    def __init__(self):
        super().__init__()
        self.model[-1] = nn.Linear(6 * 64, 32)
        self.head = nn.Linear(32, toys.CLASSES)
        self.margin = Told(self.head)

    def forward(self, x):
        return self.head(self.model(x))

    def step(self, batch, stage):
        self(batch[0])
        self.margin(self.model(batch[0]), batch[1])


class Told(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, features, target):
        return self.head(features) + 100 * nn.functional.one_hot(target, toys.CLASSES)


def test_a_head_that_is_told_the_targets_gives_no_scores():
    net, data = Margin(), toys.images()
    assert_right(evaluated(net, data), net, data)


class Popping(toys.Net):
    """Takes the targets out of the batch, as is the habit with Hugging Face's."""

    def step(self, batch, stage):
        y = batch.pop("labels")
        self.log(f"{stage}/loss", F.cross_entropy(self.logits(batch["pixel_values"]), y))


def test_a_step_may_take_the_targets_out_of_its_batch():
    net, data = Popping(), toys.images()
    matrix = ConfusionMatrix(on_error="raise")
    form = FORMS["dict of Hugging Face"][0]
    toys.quiet(matrix).validate(net, toys.loader(Mapped(data, form)), verbose=False)
    assert matrix.results["val"].counts.sum() == len(data)


class Output:
    def __init__(self, logits):
        self.logits, self.hidden = logits, torch.zeros(len(logits), 9)


Named = namedtuple("Named", ["hidden", "logits"])


@pytest.mark.parametrize("wrap", [Output, lambda z: Named(torch.zeros(len(z), 9), z)])
def test_an_object_with_logits_says_which_tensor_is_meant(wrap):
    class Wrapped(toys.Net):
        def forward(self, x):
            return wrap(self.model(x))

        def step(self, batch, stage):
            self(batch[0])

    net, data = Wrapped(), toys.images()
    matrix = ConfusionMatrix()
    toys.quiet(matrix).validate(net, toys.loader(data), verbose=False)
    net.eval()
    expected = reference.report(data.tensors[1], net(data.tensors[0]).logits.argmax(1), toys.CLASSES)
    assert matrix.results["val"].counts.tolist() == expected["counts"].tolist()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda x, y: (x, 3, y), "targets could be position 1 or position 2"),
        (lambda x, y: {"image": x, "label": y, "target": y + 0}, "targets could be 'target' or 'label'"),
    ],
)
def test_two_things_that_could_be_the_targets_raise(make, match):
    net = Batches(lambda batch: (batch["image"] if isinstance(batch, dict) else batch[0], None))
    net.step = lambda batch, stage: net(net.unpack(batch)[0])
    with pytest.raises(ValueError, match=match):
        toys.quiet(ConfusionMatrix()).validate(net, toys.loader(Mapped(toys.images(), make)), verbose=False)


def test_features_under_a_vague_key_of_the_outputs_are_no_scores():
    class Vague(toys.Net):
        def step(self, batch, stage):
            self(batch[0])
            return {"output": torch.zeros(len(batch[0]), 50)}

    net, data = Vague(), toys.images()
    assert_right(evaluated(net, data), net, data)


def test_a_scores_fn_that_stumbles_says_what_it_was_given():
    with pytest.raises(ValueError, match=r"`scores_fn` raised TypeError.*what the step returned, here None"):
        toys.quiet(ConfusionMatrix(scores_fn=lambda outputs, batch: outputs["a"])).validate(
            toys.Net("none"), toys.loader(), verbose=False
        )


def test_rows_of_ignore_index_enter_no_figure():
    x, y = toys.images().tensors
    y = torch.where(torch.arange(len(y)) % 3 == 0, -100, y)

    class Ignoring(toys.Net):
        def step(self, batch, stage):
            self(batch[0])

    net, data = Ignoring(), torch.utils.data.TensorDataset(x, y)
    matrix = ConfusionMatrix(ignore_index=-100)
    toys.quiet(matrix).validate(net, toys.loader(data), verbose=False)
    actual, predicted = toys.predictions(net, data)
    expected = reference.report(actual[actual >= 0], predicted[actual >= 0], toys.CLASSES)
    assert matrix.results["val"].counts.tolist() == expected["counts"].tolist()


def test_columns_that_no_target_names_are_doubted():
    class Features64(toys.Net):
        """Scores by a function of features that are all that can be heard."""

        def __init__(self):
            super().__init__(classes=64)

        def step(self, batch, stage):
            F.linear(self(batch[0]), torch.ones(toys.CLASSES, 64))

    with pytest.warns(
        UserWarning, match="no row has a target from 32 to 63: if what was taken for scores are features"
    ):
        toys.quiet(ConfusionMatrix()).validate(Features64(), toys.loader(), verbose=False)


class Heads(toys.Net):
    """Two heads; what the step returns is up to ``answer``."""

    def __init__(self, sizes, answer=lambda a, b: None):
        super().__init__()
        self.model[-1] = nn.Linear(6 * 64, 32)
        self.heads = nn.ModuleDict({"species": nn.Linear(32, sizes[0]), "colour": nn.Linear(32, sizes[1])})
        self.answer = answer

    def forward(self, x):
        h = self.model(x)
        return {name: head(h) for name, head in self.heads.items()}

    def step(self, batch, stage):
        both = self(batch[0])
        return self.answer(both["species"], both["colour"])


@pytest.mark.parametrize("sizes", [(4, 6), (4, 4)])
def test_several_heads_raise_with_the_cure_before_training_begins(sizes):
    trainer = toys.quiet(ConfusionMatrix())
    with pytest.raises(ValueError, match=r"cannot tell which output.*species.*\(10, 4\).*colour.*scores_fn="):
        trainer.fit(Heads(sizes), toys.loader(), toys.loader())
    assert trainer.global_step == 0


@pytest.mark.parametrize(
    ("sizes", "answer", "options"),
    [
        ((4, 6), lambda a, b: None, {"num_classes": 4}),
        ((4, 4), lambda a, b: {"logits": a, "aux": b}, {}),
        ((4, 4), lambda a, b: {"a": a, "b": b}, {"scores_fn": lambda outputs, batch: outputs["a"]}),
    ],
)
def test_each_cure_for_several_heads_works(sizes, answer, options):
    net, data = Heads(sizes, answer), toys.images()
    matrix = ConfusionMatrix(**options)
    toys.quiet(matrix).validate(net, toys.loader(data), verbose=False)
    net.eval()
    predicted = net(data.tensors[0])["species"].argmax(1)
    expected = reference.report(data.tensors[1], predicted, toys.CLASSES)
    assert matrix.results["val"].counts.tolist() == expected["counts"].tolist()


class TwoForwards(toys.Net):
    """Looks at each batch twice, as it is and turned."""

    def step(self, batch, stage):
        self(batch[0])
        self(batch[0].flip(-1))


def test_two_different_forwards_raise():
    with pytest.raises(ValueError, match=r"`forward` \(10, 4\), `forward` \(call 2\) \(10, 4\)"):
        toys.quiet(ConfusionMatrix()).validate(TwoForwards(), toys.loader(), verbose=False)


class SameForwardTwice(toys.Net):
    def step(self, batch, stage):
        self(batch[0])
        return super().step(batch, stage)


def test_the_same_forward_twice_is_no_ambiguity():
    net, data = SameForwardTwice(), toys.images()
    assert_right(evaluated(net, data), net, data)


class NoScores(toys.Net):
    def forward(self, x):
        return x.mean()

    def step(self, batch, stage):
        self(batch[0])


def test_no_scores_at_all_raise_with_what_was_seen():
    with pytest.raises(ValueError, match=r"no class scores found, wanted .*\(10, C\).*the module gave a tensor \(\)"):
        toys.quiet(ConfusionMatrix()).validate(NoScores(), toys.loader(), verbose=False)


@pytest.mark.parametrize("columns", [0, 1, 2])
@pytest.mark.parametrize("scores", ["logits", "probabilities"])
def test_a_binary_task_with_one_score_or_two(columns, scores):
    class Binary(toys.Net):
        def __init__(self):
            super().__init__(classes=max(columns, 1))

        def forward(self, x):
            z = super().forward(x) * 3
            z = z if columns else z[:, 0]
            if scores == "logits":
                return z
            return z.softmax(1) if columns == 2 else z.sigmoid()

        def step(self, batch, stage):
            self(batch[0])

    net, data = Binary(), toys.images(classes=2)
    matrix = ConfusionMatrix(task="binary", scores=scores)
    toys.quiet(matrix).validate(net, toys.loader(data), verbose=False)
    with torch.no_grad():
        z = net.eval()(data.tensors[0])
    threshold = 0 if scores == "logits" else 0.5
    predicted = z.argmax(1) if columns == 2 else (z.reshape(-1) > threshold).long()
    expected = reference.report(data.tensors[1], predicted, 2)
    assert matrix.results["val"].counts.tolist() == expected["counts"].tolist()


def test_limit_val_batches_and_several_validations_in_an_epoch():
    net, data = toys.Net(), toys.images()
    _, confusion = evaluated(net, data, "fit", limit_val_batches=2, val_check_interval=0.5)
    assert confusion.counts.sum() == 20


def test_several_dataloaders_each_have_a_result_and_a_tag():
    net, first, second = toys.Net(), toys.images(), toys.images(23, seed=5)
    metrics = ClassificationMetrics(on_error="raise")
    trainer = toys.quiet(metrics)
    trainer.validate(net, [toys.loader(first), toys.loader(second)], verbose=False)
    for key, data in (("val", first), ("val/dataloader_1", second)):
        actual, predicted = toys.predictions(net, data)
        reference.assert_equal(metrics.results[key], reference.report(actual, predicted, toys.CLASSES))
    logged = trainer.callback_metrics
    assert logged["val/accuracy"] == pytest.approx(metrics.results["val"]["accuracy"])
    assert logged["val/accuracy/dataloader_1"] == pytest.approx(metrics.results["val/dataloader_1"]["accuracy"])


def test_dataloaders_in_a_dict_go_by_their_names():
    matrix = ConfusionMatrix(on_error="raise")
    loaders = {"clean": toys.loader(), "shifted": toys.loader(toys.images(23, seed=5))}
    toys.quiet(matrix).validate(toys.Net(), loaders, verbose=False)
    assert set(matrix.results) == {"val", "val/shifted"}


def test_one_trainer_for_fit_then_validate_then_test():
    net, data = toys.Net(), toys.images()
    matrix = ConfusionMatrix(on_error="raise")
    trainer = toys.quiet(matrix)
    trainer.fit(net, toys.loader(), toys.loader(data))
    trainer.validate(net, toys.loader(data), verbose=False)
    trainer.test(net, toys.loader(toys.images(15)), verbose=False)
    assert matrix.results["val"].counts.sum() == 37
    assert matrix.results["test"].counts.sum() == 15


class Teaching(toys.Net):
    """A teacher that starts as a copy of the student."""

    def __init__(self, call):
        super().__init__(call=call)
        self.teacher = copy.deepcopy(self.model)
        for parameter in self.teacher.parameters():
            parameter.requires_grad_(False)

    def step(self, batch, stage):
        self.logits(batch[0])
        self.teacher(batch[0])


@pytest.mark.parametrize("call", ["self(x)", "self.model(x)"])
def test_a_teacher_that_starts_as_a_copy_is_not_taken_for_the_student(call):
    net, data = Teaching(call), toys.images()
    assert_right(evaluated(net, data, "fit", max_epochs=3), net, data)


class Adjusting(toys.Net):
    """Its forward moves what the last layer gives."""

    def __init__(self, answer):
        super().__init__()
        self.prior, self.answer = torch.tensor([0.0, 3.0, 0.0, -3.0]), answer
        nn.init.constant_(self.model[-1].bias, 0.0)
        self.model[-1].bias.data[1] = 2.0  # without the prior it is always the second class

    def forward(self, x):
        return self.model(x) - self.prior

    def step(self, batch, stage):
        return self.answer(self, batch[0])


@pytest.mark.parametrize(
    "answer",
    [
        lambda net, x: net(x),
        lambda net, x: {"preds": net(x)},
        lambda net, x: (net(x), None),
        lambda net, x: {"logits": net.forward(x)},
    ],
)
def test_what_the_step_returns_of_its_forward_is_taken_and_not_a_part_of_it(answer):
    net, data = Adjusting(answer), toys.images()
    assert_right(evaluated(net, data), net, data)


@pytest.mark.parametrize(
    "answer",
    [
        lambda net, x: net.forward(x).sum(),  # nothing but a part of it is heard
        lambda net, x: {"preds": net(x) + 100 * F.one_hot(torch.arange(len(x)) % 4, 4)},
        lambda net, x: net(x) + 100 * F.one_hot(torch.arange(len(x)) % 4, 4),
    ],
)
def test_what_contradicts_the_modules_is_not_taken(answer):
    with pytest.raises(ValueError, match="cannot tell which output holds the class scores"):
        evaluated(Adjusting(answer), toys.images())


class GivesLoss(toys.Net):
    """Its forward takes the targets in, too, and gives the loss."""

    def forward(self, x, y=None):
        return F.cross_entropy(self.model(x), y)

    def step(self, batch, stage):
        self.log(f"{stage}/loss", self(*batch))


def test_a_forward_that_gives_a_loss():
    net, data = GivesLoss(), toys.images()
    matrix = ConfusionMatrix()
    toys.quiet(matrix).validate(net, toys.loader(data), verbose=False)
    net.eval()
    expected = reference.report(data.tensors[1], net.model(data.tensors[0]).argmax(1), toys.CLASSES)
    assert matrix.results["val"].counts.tolist() == expected["counts"].tolist()


def test_binary_losses_and_sigmoids_are_not_taken_for_logits():
    class Losses(toys.Net):
        def __init__(self):
            super().__init__(classes=1)

        def step(self, batch, stage):
            return F.binary_cross_entropy_with_logits(self(batch[0])[:, 0], batch[1].float(), reduction="none")

    class Sigmoid(toys.Net):
        def __init__(self):
            super().__init__(classes=1)

        def forward(self, x):
            return super().forward(x).sigmoid()

        def step(self, batch, stage):
            self(batch[0])

    data = toys.loader(toys.images(classes=2))
    matrix, net = ConfusionMatrix(task="binary"), Losses()
    toys.quiet(matrix).validate(net, data, verbose=False)
    x, y = toys.images(classes=2).tensors
    assert matrix.results["val"].counts.trace() == int(((net.eval()(x)[:, 0] > 0) == y).sum())
    with pytest.warns(UserWarning, match="all lie in 0 to 1"):
        toys.quiet(ConfusionMatrix(task="binary")).validate(Sigmoid(), data, verbose=False)


def test_a_last_batch_of_one_row_whose_score_is_squeezed():
    class Squeezed(toys.Net):
        def __init__(self):
            super().__init__(classes=1)

        def forward(self, x):
            return super().forward(x).squeeze()

        def step(self, batch, stage):
            self(batch[0])

    matrix = ConfusionMatrix(task="binary")
    toys.quiet(matrix).validate(Squeezed(), toys.loader(toys.images(21, classes=2)), verbose=False)
    assert matrix.results["val"].counts.sum() == 21


def test_probabilities_keep_their_order():
    torch.manual_seed(0)
    p = torch.full((20_000, 100), 0.01) + 1e-9 * torch.randn(20_000, 100)
    assert torch.equal(to_logits(p, "multiclass", "probabilities").argmax(1), p.argmax(1))
    torch.testing.assert_close(to_logits(p, "multiclass", "probabilities").softmax(1).float(), p / p.sum(1, True))


def test_probabilities_are_the_softmax_of_their_logits():
    p = torch.rand(20, 5).softmax(1)
    torch.testing.assert_close(to_logits(p, "multiclass", "probabilities").softmax(1).float(), p)


def test_torchs_own_losses_are_never_scores():
    class Losses(toys.Net):
        """Its loss for each row takes in a part of the scores and other targets than the batch's."""

        def __init__(self):
            super().__init__(classes=1)
            self.criterion = nn.BCEWithLogitsLoss(reduction="none")

        def step(self, batch, stage):
            self.criterion(self(batch[0])[:, 0], batch[1].float())

    net, data = Losses(), toys.images(classes=2)
    matrix = ConfusionMatrix(task="binary")
    toys.quiet(matrix).validate(net, toys.loader(data), verbose=False)
    net.eval()
    expected = reference.report(data.tensors[1], (net(data.tensors[0])[:, 0] > 0).long(), 2)
    assert matrix.results["val"].counts.tolist() == expected["counts"].tolist()


class Wired(toys.Net):
    """Its step is ``wiring(module, x, y)``, which gives the scores, and what the step returns."""

    def __init__(self, wiring, forward=None, **parts):
        super().__init__()
        self.wiring, self.own = wiring, forward
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, toys.CLASSES)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x, *others):
        if self.own is None:
            raise NotImplementedError
        return self.own(self, x, *others)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self.wiring(self, *batch)[0], batch[1])

    def step(self, batch, stage):
        return self.wiring(self, *batch)[1]


def full(net, x, *others):
    return net.head(net.body(x))


def features(net, x, *others):
    return net.body(x)


RIGHT = {
    "features viewed, no forward": (lambda m, x, y: (m.head(m.body(x).view(len(x), -1)), None), None),
    "features detached, no forward": (lambda m, x, y: (m.head(m.body(x).detach()), None), None),
    "features normalised by a module": (lambda m, x, y: (m.head(m.norm(m.body(x))), None), None),
    "head called by keyword": (lambda m, x, y: (m.head(input=m.body(x)), None), None),
    "two sets of features in one head": (lambda m, x, y: (m.both(m.body(x), m.second(x)), None), None),
    "forward gives the class": (
        lambda m, x, y: (m.model(x), (m(x), None)[1]),
        lambda m, x: m.model(x).argmax(1),
    ),
    "softmax returned as preds": (lambda m, x, y: ((z := m(x)), {"preds": z.softmax(1)}), full),
    "a gate inside maps": (lambda m, x, y: ((z := m.gated(x).mean((2, 3))), {"logits": z}), None),
    "a head as wide as the classes beside a full forward": (
        lambda m, x, y: (m.square(m.narrow(x)), None),
        lambda m, x: m.square(m.narrow(x)),
    ),
    "forward told the targets gives loss and scores": (
        lambda m, x, y: (m(x, y)[1], None),
        lambda m, x, y: (F.cross_entropy(z := full(m, x), y), z),
    ),
}


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, toys.CLASSES)

    def forward(self, a, b):
        return self.layer(torch.cat([a, b], 1))


class Gate(nn.Module):
    """Squeeze and excite: two-dimensional outputs inside of maps."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 8, 3), nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8))
        self.out = nn.Conv2d(8, toys.CLASSES, 1)

    def forward(self, x):
        x = self.conv(x)
        return self.out(x * self.fc(x.mean((2, 3)))[..., None, None].sigmoid())


def wired(case):
    torch.manual_seed(0)
    return Wired(
        *case,
        norm=nn.BatchNorm1d(8),
        second=nn.Sequential(nn.Flatten(), nn.Linear(64, 8)),
        both=Both(),
        gated=Gate(),
        narrow=nn.Sequential(nn.Flatten(), nn.Linear(64, toys.CLASSES)),
        square=nn.Linear(toys.CLASSES, toys.CLASSES),
    )


@torch.no_grad()
def wanted_of(net, data):
    x, y = data.tensors
    return reference.report(y, net.eval().wiring(net, x, y)[0].argmax(1), toys.CLASSES)


@pytest.mark.parametrize("stage", ["validate", "fit"])
@pytest.mark.parametrize("name", RIGHT)
def test_ways_to_wire_a_step(name, stage):
    net, data = wired(RIGHT[name]), toys.images()
    matrix = ConfusionMatrix(on_error="raise")
    trainer = toys.quiet(matrix, max_epochs=2)
    if stage == "fit":
        trainer.fit(net, toys.loader(), toys.loader(data))
    else:
        trainer.validate(net, toys.loader(data), verbose=False)
    assert matrix.results["val"].counts.tolist() == wanted_of(net, data)["counts"].tolist()


UNCLEAR = {
    "margin head behind an embedding": (lambda m, x, y: (m.margin(m(x), y), None), features),
    "a part of the forward called before it": (
        lambda m, x, y: (m.model(x), (m(x.flip(-1)), None)[1]),
        lambda m, x: m.model(x),
    ),
    "embedding asked for after the scores": (lambda m, x, y: (m.head(m.body(x)), (m(x), None)[1]), features),
    "a head as wide as the classes": (lambda m, x, y: (m.square(m.narrow(x)), None), None),
    "a head as wide as the classes behind forward": (
        lambda m, x, y: (m.square(m(x)), None),
        lambda m, x: m.narrow(x),
    ),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_could_be_read_in_two_ways_raises(name):
    net = wired(UNCLEAR[name])
    net.margin = Told(nn.Linear(8, toys.CLASSES))
    with pytest.raises(ValueError, match="cannot tell which output holds the class scores"):
        toys.quiet(ConfusionMatrix()).validate(net, toys.loader(), verbose=False)


def test_views_that_are_equal_before_training_are_told_apart_as_soon_as_they_differ():
    def averaged(m, x, y):
        return (m(x) + m(x.flip(-2))) / 2, None

    net = wired((averaged, lambda m, x: m.model(x)))
    nn.init.zeros_(net.model[-1].weight)
    nn.init.zeros_(net.model[-1].bias)
    matrix = ConfusionMatrix()
    with pytest.warns(UserWarning, match=r"could not read a batch of val: .*`forward` \(call 2\).* The run goes on"):
        toys.quiet(matrix).fit(net, toys.loader(), toys.loader())
    assert matrix.results == {}
    with pytest.raises(ValueError, match=r"`forward` \(call 2\)"):
        toys.quiet(ConfusionMatrix()).validate(net, toys.loader(), verbose=False)


def test_a_step_that_calls_another_head_later_is_followed():
    net = wired((lambda m, x, y: ((m.head if m.current_epoch < 1 else m.other)(m.body(x)), None), None))
    net.other, data = nn.Linear(8, toys.CLASSES), toys.images()
    matrix = ConfusionMatrix(on_error="raise")
    toys.quiet(matrix, max_epochs=3).fit(net, toys.loader(), toys.loader(data))
    assert matrix.results["val"].counts.tolist() == wanted_of(net, data)["counts"].tolist()


def test_sigmoids_returned_as_preds_are_read_by_the_logits_that_they_are_of():
    class Binary(toys.Net):
        def __init__(self):
            super().__init__(classes=1)

        def step(self, batch, stage):
            return {"preds": self(batch[0])[:, 0].sigmoid()}

    net, data = Binary(), toys.images(classes=2)
    for scores in ("logits", "probabilities"):
        matrix = ConfusionMatrix(task="binary", scores=scores)
        toys.quiet(matrix).validate(net, toys.loader(data), verbose=False)
        net.eval()
        expected = reference.report(data.tensors[1], (net(data.tensors[0])[:, 0] > 0).long(), 2)
        assert matrix.results["val"].counts.tolist() == expected["counts"].tolist()


class Padded(toys.Net):
    """A transformer that takes torch's fast path in evaluation, in which padding makes nested tensors."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.model = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, toys.CLASSES)

    def forward(self, tokens):
        there = (tokens != 0)[..., None]
        encoded = self.model(self.embedding(tokens), src_key_padding_mask=tokens == 0)
        return self.head((encoded * there).sum(1) / there.sum(1))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_a_transformer_with_padding_is_read_and_explained():
    torch.manual_seed(0)
    tokens, target = torch.randint(1, 20, (32, 9)), torch.arange(32) % toys.CLASSES
    tokens[:, 6:] = 0
    matrix, saliency = ConfusionMatrix(on_error="raise"), SaliencyMaps(on_error="raise", faithfulness=False)
    net = Padded()
    toys.quiet([matrix, saliency]).validate(net, toys.loader(TensorDataset(tokens, target)), verbose=False)
    with torch.no_grad():
        predicted = net.eval()(tokens).argmax(1)
    assert matrix.results["val"].counts.trace() == int((predicted == target).sum())
    assert {"integrated_gradients", "occlusion"} <= set(saliency.results["val"].maps)


class Tasks(toys.Net):
    """Scores with an axis for tasks, of a head that is a module or a function, behind an encoder of a given width."""

    def __init__(self, width=32, *, functional=False):
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.BatchNorm1d(width))
        self.head, self.functional = nn.Linear(width, toys.CLASSES), functional

    def forward(self, x):
        features = self.model(x)
        scores = F.linear(features, self.head.weight, self.head.bias) if self.functional else self.head(features)
        return scores[:, None]

    def step(self, batch, stage):
        scores = self(batch[0])[:, 0]
        self.log(f"{stage}/loss", F.cross_entropy(scores, batch[1]))
        return {"logits": scores} if self.style == "dict" else None


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("width", [32, 5])
@pytest.mark.parametrize("run", ["validate", "test"])
def test_scores_with_an_axis_for_tasks_are_heard(run, width, functional):
    matrix, net, (x, y) = ConfusionMatrix(on_error="raise"), Tasks(width, functional=functional), toys.images().tensors
    getattr(toys.quiet(matrix), run)(net, toys.loader(), verbose=False)
    found = matrix.results["val" if run == "validate" else "test"].counts
    assert found.trace() == int((net.eval()(x)[:, 0].argmax(1) == y).sum())
    assert found.shape == (toys.CLASSES, toys.CLASSES)


class SilentTasks(Tasks):
    """Its loss is nobody's."""

    def step(self, batch, stage):
        scores = self(batch[0])[:, 0]
        self.log(f"{stage}/loss", (scores.logsumexp(1) - scores.gather(1, batch[1][:, None])[:, 0]).mean())
        return {"logits": scores} if self.style == "dict" else None


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("width", [32, 5])
@pytest.mark.parametrize("run", ["validate", "test"])
def test_features_inside_a_forward_that_gave_another_tensor_are_no_scores(run, width, functional):
    net = SilentTasks(width, functional=functional)
    with pytest.raises(ValueError, match=r"no class scores found.*the module gave a tensor \(10, 1, 4\)\. Return"):
        getattr(toys.quiet(ConfusionMatrix()), run)(net, toys.loader(), verbose=False)


def test_its_advice_works():
    callback, net, data = ConfusionMatrix(on_error="raise"), SilentTasks(), toys.images()
    net.style = "dict"
    toys.quiet(callback).test(net, toys.loader(data), verbose=False)
    with torch.no_grad():
        predicted = net.eval()(data.tensors[0])[:, 0].argmax(1)
    assert callback.results["test"].counts.trace() == int((predicted == data.tensors[1]).sum())
