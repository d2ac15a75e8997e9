"""Our callbacks beside the user's own logs, callbacks, loaders and modules."""

from contextlib import nullcontext

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import CombinedLoader
from torch import nn
from torch.nn import functional as F

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix, posttrain_suite
from tests import reference, toys


@pytest.mark.parametrize("where", ["validation_step", "on_validation_epoch_end"])
@pytest.mark.parametrize("options", [{}, {"prog_bar": True}])
def test_what_the_module_logs_under_the_same_name_stays_its_own(where, options):
    class Own(toys.Net):
        def step(self, batch, stage):
            F.cross_entropy(self(batch[0]), batch[1])
            if where == "validation_step":
                self.log("val/accuracy", 0.125, **options)

        def on_validation_epoch_end(self):
            if where == "on_validation_epoch_end":
                self.log("val/accuracy", 0.125, **options)

    seen = []

    class Seeing(Callback):
        def on_validation_end(self, trainer, pl_module):
            seen.append(float(trainer.callback_metrics["val/accuracy"]))

    metrics = ClassificationMetrics(on_error="raise")
    trainer = toys.quiet([metrics, Seeing()], max_epochs=3)
    with pytest.warns(
        UserWarning, match=r"val/accuracy.*: logged by the module itself|the accuracy of the same rows is"
    ) as caught:
        trainer.fit(Own(), toys.loader(), toys.loader())
    contradicted = sum("the accuracy of the same rows is" in str(w.message) for w in caught)
    assert contradicted == (where == "validation_step")
    assert sum("by the module itself" in str(w.message) for w in caught) == 1
    assert seen == [0.125] * len(seen)
    assert "val/f1_macro" in trainer.callback_metrics
    assert metrics.results["val"]["accuracy"] != 0.125


def test_a_log_of_the_same_name_that_comes_after_ours_ends_no_run():
    class Late(toys.Net):
        def on_validation_epoch_end(self):
            self.log("val/accuracy", 0.125, prog_bar=True)

    trainer = toys.quiet(ClassificationMetrics(on_error="raise"))
    (logged,) = trainer.validate(Late(), toys.loader(), verbose=False)
    assert logged["val/accuracy"] == 0.125


class Heads(toys.Net):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(64, toys.CLASSES)

    def step(self, batch, stage):
        return {"a": self(batch[0]), "b": self.other(batch[0].flatten(1))}


def test_two_of_a_kind_go_by_their_names(tmp_path):
    a = ClassificationMetrics(name="a", scores_fn=lambda outputs, batch: outputs["a"])
    b = ClassificationMetrics(name="b", scores_fn=lambda outputs, batch: outputs["b"])
    trainer = toys.quiet([a, b])
    trainer.validate(Heads(), toys.loader(), verbose=False)
    for callback in (a, b):
        logged = trainer.callback_metrics[f"val/{callback.name}/accuracy"]
        assert logged == pytest.approx(callback.results["val"]["accuracy"])
        assert (tmp_path / "posttrain" / "val" / callback.name / "classification_report.csv").exists()


def test_two_of_a_kind_without_names_raise():
    with pytest.raises(ValueError, match="two ConfusionMatrix with `name` None would write over each other"):
        toys.quiet([ConfusionMatrix(), ConfusionMatrix()]).validate(toys.Net(), toys.loader(), verbose=False)


def test_one_object_twice_raises():
    matrix = ConfusionMatrix()
    with pytest.raises(ValueError, match="the same ConfusionMatrix stands twice"):
        toys.quiet([matrix, matrix]).validate(toys.Net(), toys.loader(), verbose=False)


def test_the_same_objects_work_in_one_trainer_after_another():
    suite = posttrain_suite(on_error="raise")
    for rows in (37, 15):
        toys.quiet(suite).validate(toys.Net(), toys.loader(toys.images(rows)), verbose=False)
        assert suite[1].results["val"].counts.sum() == rows


def test_a_trainer_works_again_after_an_exception():
    class Once(toys.Net):
        failed = False

        def step(self, batch, stage):
            if not self.failed:
                self.failed = True
                raise RuntimeError("once")
            return super().step(batch, stage)

    net, suite = Once(), posttrain_suite(on_error="raise")
    trainer = toys.quiet(suite)
    with pytest.raises(RuntimeError, match="once"):
        trainer.validate(net, toys.loader(), verbose=False)
    trainer.validate(net, toys.loader(), verbose=False)
    assert suite[1].results["val"].counts.sum() == 37


@pytest.mark.filterwarnings("ignore:.*sampler has shuffling enabled.*")
def test_one_bad_label_in_a_shuffled_loader_does_not_end_a_run_that_has_begun():
    x, y = toys.images(60).tensors
    y = torch.where(torch.arange(60) == 7, -1, y)

    class Watching(toys.Net):
        def step(self, batch, stage):
            self(batch[0])

    matrix = ConfusionMatrix()
    data = torch.utils.data.TensorDataset(x, y)
    loader = toys.loader(data, 6, shuffle=True, generator=torch.Generator().manual_seed(3))
    with pytest.warns(UserWarning, match="1 rows left out: their target is no class"):
        toys.quiet(matrix, max_epochs=30, num_sanity_val_steps=0).fit(Watching(), toys.loader(), loader)
    assert matrix.results["val"].counts.sum() == 59


def test_a_number_of_classes_that_changes_raises():
    class Changing(toys.Net):
        def forward(self, x):
            logits = super().forward(x)
            return logits if len(x) == 10 else F.pad(logits, (0, 1))

    with pytest.raises(ValueError, match="have 4 classes in one batch and 5 in another"):
        toys.quiet(ConfusionMatrix()).validate(Changing(), toys.loader(), verbose=False)


def test_batches_that_join_several_loaders_are_one_evaluation():
    class Joined(toys.Net):
        def step(self, batch, stage):
            self(batch["a"][0])

    loaders = CombinedLoader({"a": toys.loader(), "b": toys.loader(toys.images(60))}, "min_size")
    matrix = ConfusionMatrix(target_fn=lambda b: b["a"][1], inputs_fn=lambda b: b["a"][0], on_error="raise")
    toys.quiet(matrix).validate(Joined(), loaders, verbose=False)
    assert set(matrix.results) == {"val"}
    assert matrix.results["val"].counts.sum() == 37


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*is deprecated.*")
def test_a_script_among_the_parts_is_no_obstacle():
    class Scripted(toys.Net):
        def __init__(self):
            super().__init__()
            self.extra = torch.jit.script(nn.Linear(2, 2))

    net, data = Scripted(), toys.images()
    matrix = ConfusionMatrix(on_error="raise")
    toys.quiet(matrix).validate(net, toys.loader(data), verbose=False)
    expected = reference.report(*toys.predictions(net, data), toys.CLASSES)
    assert matrix.results["val"].counts.tolist() == expected["counts"].tolist()


def test_a_function_without_a_hash_is_refused():
    class Pick:
        __hash__ = None

        def __call__(self, outputs, batch):
            return outputs

    with pytest.raises(ValueError, match="`scores_fn` is a Pick without a hash"):
        ConfusionMatrix(scores_fn=Pick())


def test_names_that_cannot_be_encoded_are_written_in_another_way(tmp_path):
    names = ["a\udc80", "b", "c", "d"]
    suite = posttrain_suite(class_names=names, on_error="raise")
    toys.quiet(suite[:2]).validate(toys.Net(), toys.loader(), verbose=False)
    assert "a\\udc80" in (tmp_path / "posttrain" / "val" / "confusion_matrix.json").read_text()


def test_a_second_forward_leaves_the_random_numbers_and_uses_the_precision_of_the_run():
    seen = []

    class Drawing(toys.Net):
        def forward(self, x):
            seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
            return super().forward(x) + 0 * torch.rand(())

        def step(self, batch, stage):
            self.log(f"{stage}/drawn", torch.rand(()))

    drawn = []
    for callbacks in ([], [ConfusionMatrix()]):
        torch.manual_seed(3)
        trainer = toys.quiet(callbacks, precision="bf16-mixed")
        with pytest.warns(UserWarning, match="a second time") if callbacks else nullcontext():
            trainer.validate(Drawing(), toys.loader(), verbose=False)
        drawn.append(float(trainer.callback_metrics["val/drawn"]))
    assert drawn[0] == drawn[1]
    assert set(seen) == {torch.bfloat16}


def test_a_second_forward_leaves_the_buffers_alone():
    class Centring(toys.Net):
        def __init__(self):
            super().__init__(call="self.model(x)")
            self.register_buffer("center", torch.zeros(toys.CLASSES))

        def forward(self, x):
            logits = super().forward(x)
            self.center = 0.9 * self.center + logits.detach().mean(0)
            return logits

    net = Centring()
    toys.quiet(ConfusionMatrix(on_error="raise")).validate(net, toys.loader(), verbose=False)
    assert not net.center.any()
