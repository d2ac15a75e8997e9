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
@pytest.mark.parametrize("monitor", ["val/f1_macro", "val/per_class/recall/2"])
def test_early_stopping_and_checkpoints_see_each_validations_own_value(ours_first, interval, monitor, tmp_path):
    kept = []
    metrics = ClassificationMetrics()
    log = metrics.summarize
    metrics.summarize = lambda *args: kept.append(log(*args)) or kept[-1]
    stop = Seen(monitor)
    checkpoint = ModelCheckpoint(tmp_path, monitor=monitor, mode="max", save_top_k=-1)
    others = [stop, checkpoint]
    callbacks = [metrics, *others] if ours_first else [*others, metrics]
    trainer = toys.quiet(callbacks, max_epochs=3, val_check_interval=interval, enable_checkpointing=True)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    _, name = monitor.split("/", 1)
    expected = [{**report.scalars(), **report.per_class_scalars()}[name] for report in kept]
    assert len(expected) == (3 if interval == 1.0 else 6)
    assert stop.seen == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert float(checkpoint.best_model_score) == pytest.approx(max(expected), abs=1e-6)


def test_scalars_are_logged_under_their_names_and_returned_by_test():
    metrics = ClassificationMetrics(class_names=["a", "b", "c", "d"])
    (logged,) = toys.quiet(metrics).test(toys.Net(), toys.loader(), verbose=False)
    result = metrics.results["test"]
    assert logged["test/accuracy"] == pytest.approx(result.accuracy)
    assert logged["test/f1_weighted"] == pytest.approx(result.weighted.f1)
    assert logged["test/per_class/precision/b"] == pytest.approx(float(result.per_class.precision[1]))
    assert len(logged) == 1 + 8 + 3 * 4


def test_with_many_classes_only_the_headline_is_logged():
    metrics = ClassificationMetrics(max_logged_classes=3)
    (logged,) = toys.quiet(metrics).test(toys.Net(), toys.loader(), verbose=False)
    assert not [name for name in logged if "per_class" in name]


def test_names_come_from_the_dataset_where_it_has_them():
    data = toys.images()
    data.classes = ["cat", "dog", "owl", "fox"]
    for others in (["cat", "dog"], ["cat", "cat", "owl", "fox"]):
        data.classes = others
        metrics = ClassificationMetrics()
        toys.quiet(metrics).validate(toys.Net(), toys.loader(data), verbose=False)
        assert metrics.results["val"].class_names == ("0", "1", "2", "3")
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
