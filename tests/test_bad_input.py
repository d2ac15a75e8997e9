"""Wrong configuration raises before training; odd data is said once and loses nothing."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix, SaliencyMaps, posttrain_suite
from tests import toys


def changed(target=None, pictures=None):
    x, y = toys.images().tensors
    return toys.loader(TensorDataset(x if pictures is None else pictures(x), y if target is None else target(y)))


class Watching(toys.Net):
    """Its validation has no loss that would stumble over the targets first."""

    def step(self, batch, stage):
        self(batch[0])


@pytest.mark.parametrize(
    ("target", "match"),
    [
        (lambda y: y + 1, r"`target` holds 4, wanted 0 to 3 .*target_fn="),
        (lambda y: y - 5, r"`target` holds -\d, wanted 0 to 3"),
        (lambda y: y.float(), r"`target` is torch.float32, wanted integer class indices.*target_fn="),
        (lambda y: torch.nn.functional.one_hot(y, 4), r"`target` has shape \(10, 4\), .*argmax\(1\)"),
    ],
)
def test_targets_that_are_no_classes_raise_before_training(target, match):
    trainer = toys.quiet(posttrain_suite())
    with pytest.raises(ValueError, match=match):
        trainer.fit(Watching(), toys.loader(), changed(target))
    assert trainer.global_step == 0


def test_soft_targets_raise():
    class Single(Watching):
        def __init__(self):
            super().__init__(classes=1)

    with pytest.raises(ValueError, match="`target` holds fractions, wanted 0 or 1"):
        toys.quiet(ConfusionMatrix(task="binary")).validate(Single(), changed(lambda y: y / 4), verbose=False)


def test_a_target_out_of_range_in_a_later_batch_is_left_out_and_said_once():
    def late(y):
        return torch.cat([y[:20], torch.tensor([9]), y[21:]])

    suite = posttrain_suite()
    with pytest.warns(UserWarning, match="1 rows left out: their target is no class") as caught:
        toys.quiet(suite, max_epochs=2).fit(Watching(), toys.loader(), changed(late))
    assert sum("left out" in str(w.message) for w in caught) == 1
    assert suite[1].results["val"].counts.sum() == 36
    assert suite[1].results["val"].out_of_range == 1


@pytest.mark.parametrize("kind", [ClassificationMetrics, ConfusionMatrix, SaliencyMaps])
def test_class_names_of_the_wrong_length_raise_before_training(kind):
    trainer = toys.quiet(kind(class_names=["a", "b", "c"]))
    with pytest.raises(ValueError, match="`class_names` has 3 names, but the scores have 4 classes"):
        trainer.fit(toys.Net(), toys.loader(), toys.loader())
    assert trainer.global_step == 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"class_names": ["a", "a"]}, "`class_names` has 'a' twice"),
        ({"class_names": []}, "`class_names` has an empty name or none"),
        ({"class_names": ["a", ""]}, "`class_names` has an empty name or none"),
        ({"class_names": "ab"}, "`class_names` is a str, wanted a list"),
        ({"class_names": {0: "a", 1: "b"}}, "`class_names` is a dict, wanted a list"),
        ({"class_names": ["a", "b"], "num_classes": 3}, "`class_names` has 2 names, but `num_classes` is 3"),
        ({"task": "regression"}, "`task` is 'regression', wanted 'multiclass' or 'binary' or 'multilabel'"),
        ({"scores": "softmax"}, "`scores` is 'softmax', wanted 'logits' or 'probabilities'"),
        ({"stages": ["fit"]}, "`stages` is 'fit', wanted 'train' or 'val' or 'test'"),
        ({"on_error": "ignore"}, "`on_error` is 'ignore', wanted 'warn' or 'raise'"),
    ],
)
def test_options_are_checked_where_they_are_given(options, match):
    with pytest.raises(ValueError, match=match):
        posttrain_suite(**options)


def test_methods_samples_and_pairs_are_checked_where_they_are_given():
    with pytest.raises(ValueError, match=r"`methods` has 'grad_cam', wanted some of saliency, .*gradcam"):
        SaliencyMaps(methods=["grad_cam"])
    with pytest.raises(ValueError, match="`methods` has none"):
        SaliencyMaps(methods=[])
    with pytest.raises(ValueError, match="`samples` is 0"):
        SaliencyMaps(samples=0)
    with pytest.raises(ValueError, match="`max_pairs` is 0"):
        ConfusionMatrix(max_pairs=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rows_without_finite_scores_are_counted_and_reported_not_guessed(bad):
    def spoil(x):
        x = x.clone()
        x[5] = bad
        return x

    suite = posttrain_suite()
    with pytest.warns(UserWarning, match="1 rows left out: their scores are NaN or infinite"):
        toys.quiet(suite).validate(Watching(), changed(pictures=spoil), verbose=False)
    metrics, matrix, *_ = suite
    assert matrix.results["val"].counts.sum() == 36
    assert matrix.results["val"].nonfinite == 1
    assert "NaN" in " ".join(metrics.results["val"].notes)


def test_a_diverged_model_has_figures_that_are_nan_and_the_run_goes_on():
    net = Watching()
    torch.nn.init.constant_(net.model[-1].weight, float("nan"))
    suite = posttrain_suite(on_error="raise")
    trainer = toys.quiet(suite)
    with pytest.warns(UserWarning, match="37 rows left out"):
        trainer.validate(net, toys.loader(), verbose=False)
    assert trainer.callback_metrics["val/accuracy"].isnan()


def test_scores_of_a_shape_that_fits_no_task_raise():
    with pytest.raises(ValueError, match=r"`scores_fn` returned a tensor \(10, 1, 8, 8\), wanted .*\(10, C\)"):
        toys.quiet(ConfusionMatrix(scores_fn=lambda outputs, batch: batch[0])).validate(
            toys.Net(), toys.loader(), verbose=False
        )


def test_one_score_a_row_shows_the_way_to_the_binary_task():
    class Single(toys.Net):
        def __init__(self):
            super().__init__(classes=1)

        def step(self, batch, stage):
            self(batch[0])

    with pytest.raises(ValueError, match=r"the module gave a tensor \(10, 1\).*task='binary'"):
        toys.quiet(ConfusionMatrix()).validate(Single(), toys.loader(), verbose=False)


def test_a_batch_without_targets_raises():
    inputs = DataLoader(torch.rand(10, 1, 8, 8), batch_size=5)

    class Only(toys.Net):
        def step(self, batch, stage):
            self(batch)

    with pytest.raises(ValueError, match=r"no targets found in a batch that is a tensor .*target_fn="):
        toys.quiet(ConfusionMatrix()).validate(Only(), inputs, verbose=False)


def test_logits_said_to_be_probabilities_raise():
    with pytest.raises(ValueError, match=r"scores='probabilities', but the scores hold .*scores='logits'"):
        toys.quiet(ConfusionMatrix(scores="probabilities")).validate(toys.Net(), toys.loader(), verbose=False)


def test_probabilities_taken_for_logits_raise():
    class Softmax(Watching):
        def forward(self, x):
            return super().forward(x).softmax(1)

    with pytest.raises(ValueError, match=r"each row sums to one\. Pass scores='probabilities'"):
        toys.quiet(ConfusionMatrix()).validate(Softmax(), toys.loader(), verbose=False)


def test_a_task_that_the_step_contradicts_raises_and_names_both():
    class Labels(Watching):
        def __init__(self):
            super().__init__()
            self.model = torch.nn.Linear(3, 4)

        def step(self, batch, stage):
            F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    data = TensorDataset(torch.randn(12, 3), (torch.rand(12, 4) > 0.5).float())
    said = r"`task` is 'multiclass', but in the step `binary_cross_entropy_with_logits` took a tensor \(10, 4\)"
    with pytest.raises(ValueError, match=f"{said}.*is task='multilabel'. Leave `task` out"):
        toys.quiet(ConfusionMatrix(task="multiclass")).validate(Labels(), toys.loader(data), verbose=False)
    callback = ConfusionMatrix(on_error="raise")
    toys.quiet(callback).validate(Labels(), toys.loader(data), verbose=False)  # the advice, followed
    assert callback.results["val"].counts.shape == (4, 2, 2)


def test_one_label_a_row_of_a_multilabel_task_is_doubted():
    class Linear(Watching):
        def __init__(self):
            super().__init__()
            self.model = torch.nn.Linear(3, 4)

    data = TensorDataset(torch.randn(12, 3), torch.eye(4).repeat(3, 1))
    with pytest.warns(UserWarning, match="has just one label"):
        toys.quiet(ConfusionMatrix(task="multilabel")).validate(Linear(), toys.loader(data), verbose=False)


class Nothing(IterableDataset):
    def __iter__(self):
        return iter(())


def test_an_empty_dataloader_is_said_and_ends_nothing():
    suite = posttrain_suite(on_error="raise")
    with pytest.warns(UserWarning, match=r"val/dataloader_1 had no batch and has no report"):
        toys.quiet(suite).validate(toys.Net(), [toys.loader(), DataLoader(Nothing())], verbose=False)
    assert set(suite[0].results) == {"val"}


def test_a_dataloader_of_length_zero_is_left_to_lightnings_own_warning():
    empty = toys.loader(TensorDataset(torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.long)))
    suite = posttrain_suite(on_error="raise")
    with pytest.warns(UserWarning, match="zero length|is zero"):
        toys.quiet(suite).validate(toys.Net(), empty, verbose=False)
    assert suite[0].results == {}


def test_inputs_of_no_known_kind_turn_the_saliency_maps_off_with_one_warning():
    class Volumes(toys.Net):
        def __init__(self):
            super().__init__()
            self.model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(30, 4))

    rows = toys.loader(TensorDataset(torch.rand(20, 1, 2, 3, 5), torch.arange(20) % 4))
    suite = posttrain_suite(on_error="raise")
    with pytest.warns(UserWarning, match=r"SaliencyMaps draws nothing.*are a tensor \(10, 1, 2, 3, 5\)") as caught:
        toys.quiet(suite, max_epochs=2).fit(Volumes(), rows, rows)
    assert sum("SaliencyMaps" in str(w.message) for w in caught) == 1
    assert suite[0].results["val"].support.sum() == 20
    assert suite[-1].results == {}


def test_a_layer_that_is_not_there_raises_before_training():
    trainer = toys.quiet(SaliencyMaps(layer="model.conv"))
    with pytest.raises(ValueError, match=r"`layer` is 'model.conv', wanted one of model, model.0"):
        trainer.fit(toys.Net(), toys.loader(), toys.loader())
    assert trainer.global_step == 0


def test_an_explanation_that_fails_costs_a_warning_and_nothing_else():
    def stumble(module, inputs):
        raise RuntimeError("no way through")

    suite = [ClassificationMetrics(), SaliencyMaps(forward_fn=stumble)]
    with pytest.warns(UserWarning, match="SaliencyMaps could not explain the samples: RuntimeError: no way") as caught:
        toys.quiet(suite, max_epochs=2).fit(toys.Net(), toys.loader(), toys.loader())
    assert sum("could not" in str(w.message) for w in caught) == 1
    assert set(suite[0].results) == {"val"}
