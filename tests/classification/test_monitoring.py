import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import random_split

from lightning_posttrain import ClassificationMetrics
from tests import toys


class Seen(EarlyStopping):
    """Keeps the values that early stopping looked at."""

    def __init__(self, monitor):
        super().__init__(monitor, mode="max", patience=100)
        self.seen = []

    def _evaluate_stopping_criteria(self, current):
        self.seen.append(float(current))
        return super()._evaluate_stopping_criteria(current)


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("interval", [1.0, 0.5])
@pytest.mark.parametrize("monitor", ["val/f1_macro", "val/auroc_macro", "val/per_class/recall/2"])
def test_early_stopping_and_checkpoints_see_each_validations_own_value(ours_first, interval, monitor, tmp_path):
    kept = []
    metrics = ClassificationMetrics(log=["f1_macro", "auroc_*", "per_class/recall/*"])
    log = metrics.summarize
    metrics.summarize = lambda *args: kept.append(log(*args)) or kept[-1]
    stop = Seen(monitor)
    checkpoint = ModelCheckpoint(tmp_path, monitor=monitor, mode="max", save_top_k=-1)
    others = [stop, checkpoint]
    callbacks = [metrics, *others] if ours_first else [*others, metrics]
    trainer = toys.quiet(callbacks, max_epochs=3, val_check_interval=interval, enable_checkpointing=True)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    _, name = monitor.split("/", 1)
    expected = [report.scalars()[name] for report in kept]
    assert len(expected) == (3 if interval == 1.0 else 6)
    assert stop.seen == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert float(checkpoint.best_model_score) == pytest.approx(max(expected), abs=1e-6)


def test_scalars_are_logged_under_their_names_and_returned_by_test():
    metrics = ClassificationMetrics(class_names=["a", "b", "c", "d"])
    (logged,) = toys.quiet(metrics).test(toys.Net(), toys.loader(), verbose=False)
    result = metrics.results["test"]
    assert set(logged) == {
        "test/loss",
        *(f"test/{name}" for name in ("accuracy", "balanced_accuracy", "f1_macro", "auroc_macro", "log_loss", "ece")),
    }
    assert logged["test/f1_macro"] == pytest.approx(result["f1_macro"])
    assert logged["test/log_loss"] == pytest.approx(logged["test/loss"])


def test_what_is_logged_can_be_chosen():
    metrics = ClassificationMetrics(log=["top_2_accuracy", "per_class/precision/*"], top_k=[2], class_names=[*"abcd"])
    (logged,) = toys.quiet(metrics).test(toys.Net(), toys.loader(), verbose=False)
    assert set(logged) == {"test/loss", "test/top_2_accuracy", *(f"test/per_class/precision/{k}" for k in "abcd")}
    assert logged["test/per_class/precision/b"] == pytest.approx(
        float(metrics.results["test"].per_class["precision"][1])
    )


def test_a_name_that_no_figure_has_raises_with_the_nearest():
    metrics = ClassificationMetrics(log=["f1_marco"])
    with pytest.raises(ValueError, match=r"`log` has 'f1_marco', .* Did you mean 'f1_macro'\? There are accuracy"):
        toys.quiet(metrics).validate(toys.Net(), toys.loader(), verbose=False)


def test_names_come_from_the_dataset_where_it_has_them():
    data = toys.images()
    data.classes = ["cat", "dog", "owl", "fox"]
    data.classes, metrics = ["cat", "dog"], ClassificationMetrics()
    with pytest.warns(UserWarning, match=r"has 2 names, and there are 4 classes. Classes are shown by their number"):
        toys.quiet(metrics).validate(toys.Net(), toys.loader(data), verbose=False)
    assert metrics.results["val"].class_names == ("0", "1", "2", "3")
    data.classes, metrics = ["cat", "cat", "owl", "fox"], ClassificationMetrics()
    toys.quiet(metrics).validate(toys.Net(), toys.loader(data), verbose=False)
    assert metrics.results["val"].class_names == ("cat (0)", "cat (1)", "owl", "fox")
    data.classes = ["cat", "dog", "owl", "fox"]
    part = random_split(data, [20, 17])[0]
    metrics = ClassificationMetrics()
    for dataset in (data, part):
        toys.quiet(metrics).validate(toys.Net(), toys.loader(dataset), verbose=False)
        assert metrics.results["val"].class_names == ("cat", "dog", "owl", "fox")


def test_resuming_from_a_checkpoint_works_with_and_without_us(tmp_path):
    first = toys.quiet([ClassificationMetrics()])
    first.fit(toys.Net(), toys.loader(), toys.loader())
    path = tmp_path / "last.ckpt"
    first.save_checkpoint(path)
    for callbacks in ([ClassificationMetrics()], []):
        trainer = toys.quiet(callbacks, max_epochs=2)
        trainer.fit(toys.Net(), toys.loader(), toys.loader(), ckpt_path=path)
        assert trainer.current_epoch == 2
    metrics = ClassificationMetrics()
    toys.quiet(metrics).test(toys.Net(), toys.loader(), ckpt_path=path, verbose=False)
    assert metrics.results["test"].support.sum() == 37
    assert not any("metric" in key for key in torch.load(path, weights_only=True)["state_dict"])


def test_a_checkpoint_that_it_chose_is_validated_and_tested(tmp_path):
    metrics = ClassificationMetrics(on_error="raise")
    best = ModelCheckpoint(tmp_path, monitor="val/auroc_macro", mode="max")
    trainer = toys.quiet([metrics, best], max_epochs=4, enable_checkpointing=True)
    module = toys.Net()
    trainer.fit(module, toys.loader(), toys.loader())
    for run, key in ((trainer.validate, "val"), (trainer.test, "test")):
        (logged,) = run(module, toys.loader(), ckpt_path="best", verbose=False)
        assert logged[f"{key}/auroc_macro"] == pytest.approx(float(best.best_model_score), abs=1e-6)
