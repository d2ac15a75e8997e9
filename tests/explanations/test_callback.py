"""Explanations in a trainer: of models whose reasons are known, for each kind of input, in each stage."""

import json
import time

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import Explanations
from lightning_posttrain.samples.fit_limit import FitLimit
from tests import toys


class Fixed(LightningModule):
    """A function of the inputs that learns nothing; in the steps only the scores are worked out."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.function(x) * self.scale

    def training_step(self, batch, batch_idx):
        return self(batch[0]).sum() * 0

    def validation_step(self, batch, batch_idx):
        self(batch[0])

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


def of_patch(x):
    """Two logits that only the upper left quarter of an image decides."""
    bright = x[:, :, :4, :4].mean((1, 2, 3)) * 20 - 10
    return torch.stack([-bright, bright], 1)


def of_columns(x):
    """Both of the first two columns must be large."""
    both = torch.minimum(x[:, 0], x[:, 1]) * 10
    return torch.stack([-both, both], 1)


def of_word(x):
    there = (x == 5).any(1).float() * 8 - 4
    return torch.stack([-there, there], 1)


def of_middle(x):
    peak = x[:, 0, 40:50].amax(1) * 8 - 4
    return torch.stack([-peak, peak], 1)


def of_band(x):
    loud = x[:, 0, 10:15, :].mean((1, 2)) * 8 - 4
    return torch.stack([-loud, loud], 1)


def random(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def made(kind):
    if kind == "image":
        x = 0.2 * random((40, 3, 16, 16))
        x[::2, :, :4, :4] += 0.8
        return of_patch, x
    if kind == "tabular":
        return of_columns, random((400, 6)) * 2 - 1
    if kind == "tokens":
        x = torch.randint(6, 12, (40, 7), generator=torch.Generator().manual_seed(0))
        x[::2, 3] = 5
        x[:, 6] = 0
        return of_word, x
    if kind == "series":
        x = 0.2 * random((40, 1, 100))
        x[::2, 0, 45] = 1.0
        return of_middle, x
    x = 0.2 * random((40, 1, 40, 80))
    x[::2, :, 10:15] += 0.8
    return of_band, x


def run(kind, *, wrong=0, fit=False, **options):
    """The callback after a test, or a fit, of a model that is right but for the first rows."""
    function, x = made(kind)
    y = function(x).argmax(1)
    y[:wrong] = 1 - y[:wrong]
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    if kind == "tokens":
        options = {"words": ["", *"abcdefghijk"], **options}
    if kind == "image":
        options = {"parts": 16, **options}  # patches of 4 × 4 pixels
    callback = Explanations(on_error="raise", kind=kind, **{"perturbations": 256, "samples": 2, **options})
    trainer = toys.quiet(callback)
    if fit:
        trainer.fit(Fixed(function), loader, loader)
    else:
        trainer.test(Fixed(function), loader, verbose=False)
    return callback


def of_class(found, number=1):
    return next(k for k, sample in enumerate(found.saliency.samples) if sample.predicted == str(number))


PLACES = {
    "image": {"row 1, column 1"},
    "tabular": {"feature 0", "feature 1"},
    "tokens": {"e"},
    "series": {f"values {first} to {last}" for first in range(38, 51) for last in range(first, first + 4)},
    "spectrogram": {f"band 3 of 8, time {t} of 8" for t in range(1, 9)},
}


@pytest.mark.parametrize("kind", PLACES)
def test_every_method_finds_the_reason(kind):
    found = run(kind, methods=["lime", "shap", "banzhaf", "rise", "anchors"], choose="fixed").results["test"]
    assert not found.saliency.skipped
    k = of_class(found)
    for method, values in found.values.items():
        best = found.parts[k][int(values[k].argmax())]
        assert best in PLACES[kind], (method, best)
    assert {condition.name for condition in found.rules[k].conditions} <= PLACES[kind]
    assert found.rules[k].conditions
    assert found.rules[k].valid
    assert found.class_names[found.rules[k].predicted] == "1"


def test_values_are_probabilities_that_add_up():
    found = run("tabular", choose="fixed").results["test"]
    for k, sample in enumerate(found.saliency.samples):
        assert sample.value == pytest.approx(sample.probability, abs=1e-6)
        assert float(found.shap.base[k] + found.shap.values[k].sum()) == pytest.approx(sample.value, abs=1e-5)
        assert sample.baseline == pytest.approx(float(found.shap.base[k]))
    assert found.figures["shap/gap"] < 1e-6
    assert 0 <= found.figures["lime/fit"] <= 1


@pytest.mark.parametrize("output", ["probability", "logit"])
def test_of_what_the_explanation_is(output):
    contrast = run("tabular", explain="contrast", output=output, choose="fixed").results["test"]
    sample = contrast.saliency.samples[0]
    assert " rather than " in sample.explained
    spread = 2 * sample.probability - 1
    logit = torch.logit(torch.tensor(sample.probability)).item()
    assert sample.value == pytest.approx(spread if output == "probability" else logit, abs=1e-4)
    assert float(contrast.shap.output[0]) == pytest.approx(sample.value, abs=1e-4)


def test_a_function_of_the_output_has_no_rules_and_the_reason_is_said():
    found = run("tabular", explain=lambda output, inputs: output[:, 1]).results["test"]
    assert set(found.values) == {"lime", "shap"}
    assert "there are no classes" in found.saliency.skipped["anchors"]
    assert found.unit == "output"
    assert found.importance.class_names == ("output",)


def test_on_test_errors_come_first_and_others_fill_the_room():
    found = run("tabular", wrong=1, samples=3).results["test"]
    samples = found.saliency.samples
    assert (samples[0].index, samples[0].actual == samples[0].predicted) == (0, False)
    assert len(samples) == 3
    assert all(sample.actual == sample.predicted for sample in samples[1:])
    assert len({sample.index for sample in samples}) == 3


def test_a_fit_is_explained_at_its_end_and_not_in_between(tmp_path):
    callback = run("tabular", fit=True)
    assert set(callback.results) == {"val"}
    assert (tmp_path / "posttrain" / "val" / "explanations" / "rules.png").exists()
    record = json.loads((tmp_path / "posttrain" / "val" / "explanations.json").read_text())
    assert record["samples"][0]["rule"]["valid"] in (True, False)
    assert set(record["samples"][0]["shap"]) == {f"feature {i}" for i in range(6)}


def test_a_fit_may_be_explained_every_so_many_epochs():
    logged = []

    class Watch(toys.Net):
        def on_validation_epoch_end(self):
            logged.append("val/lime/fit" in self.trainer.callback_metrics)

    callback = Explanations(every_n_epochs=2, perturbations=64, samples=1, methods=["lime"], on_error="raise")
    toys.quiet(callback, max_epochs=4).fit(Watch(), toys.loader(), toys.loader())
    assert logged.count(True) >= 1
    assert not logged[1]


def test_the_rules_of_an_epoch_ask_the_model_for_no_row_of_it_again():
    asked = run("tabular", methods=["anchors"], choose="fixed").results["test"]
    observed = run("tabular", methods=["anchors"], fit=True).results["val"]
    # the sample itself, rows drawn for the search, and those for the second precision
    assert asked.rules[0].forwards == 1 + 128 + 1000
    assert observed.rules[0].precision == asked.rules[0].precision


def test_normalised_columns_are_told_in_their_own_units():
    scale = {"mean": [10.0] * 6, "std": [2.0] * 6, "names": list("abcdef")}
    plain = run("tabular", methods=["anchors"], choose="fixed").results["test"]
    scaled = run("tabular", methods=["anchors"], choose="fixed", **scale).results["test"]
    first, other = (found.rules[0].conditions[0] for found in (plain, scaled))
    ends = [(first.low, other.low), (first.high, other.high)]
    assert all(
        there is None if here is None else there == pytest.approx(here * 2 + 10, abs=0.05) for here, there in ends
    )
    assert torch.allclose(scaled.saliency.shown, plain.saliency.shown * 2 + 10)


def test_multilabel_rules_are_about_one_label():
    # the median of each column is 0, which is where the model says yes
    x = torch.stack([torch.linspace(-1, 1, 300)[random(300, seed).argsort()] for seed in range(4)], 1)
    module = Fixed(lambda rows: rows[:, :3] * 20)
    loader = DataLoader(TensorDataset(x, (x[:, :3] > 0).long()), batch_size=50)
    callback = Explanations(task="multilabel", class_names=["a", "b", "c"], perturbations=64, on_error="raise")
    toys.quiet(callback).test(module, loader, verbose=False)
    found = callback.results["test"]
    for sample, rule in zip(found.saliency.samples, found.rules, strict=True):
        told = found.class_names[rule.predicted]
        assert told.removeprefix("no ") == sample.explained
        assert [condition.part for condition in rule.conditions] == ["abc".index(sample.explained)]


def test_time_that_is_over_leaves_out_the_rest_and_says_so():
    found = run("image", max_seconds=0.0).results["test"]
    assert set(found.saliency.skipped.values()) == {"the time was over"}
    assert found.values == {}
    assert "LIME, Anchors, SHAP: the time was over" in found.notes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"methods": ["lime", "shapley"]}, "`methods` is 'shapley', wanted 'lime' or 'shap'"),
        ({"methods": []}, "`methods` is empty"),
        ({"perturbations": 3}, "`perturbations` is 3, wanted at least 16"),
        ({"threshold": 0.4}, "`threshold` is 0.4"),
        ({"every_n_epochs": 0}, "`every_n_epochs` is 0"),
        ({"categorical": ["size"]}, "`categorical` has 'size'"),
        ({"output": "odds"}, "`output` is 'odds'"),
        ({"explain": "wrong"}, "`explain` is 'wrong'"),
        ({"kind": "text"}, "`kind` is 'text'"),
        ({"samples": 0}, "`samples` is 0"),
    ],
)
def test_arguments_that_are_none_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        Explanations(**options)


def test_inputs_that_cannot_be_taken_apart_are_said_once():
    x = torch.rand(20, 2, 3, 4, 5)
    module = Fixed(lambda rows: rows.flatten(1)[:, :2])
    loader = DataLoader(TensorDataset(x, torch.zeros(20, dtype=torch.long)), batch_size=5)
    callback = Explanations()
    with pytest.warns(UserWarning, match="Explanations draws nothing: it wants a tensor: images, series") as said:
        toys.quiet(callback).test(module, loader, verbose=False)
    assert len([w for w in said if "draws nothing" in str(w.message)]) == 1
    assert callback.results == {}


def test_multilabel_rules_of_logits_are_about_their_sign():
    x = torch.stack([torch.linspace(-1, 1, 400)[random(400, seed).argsort()] for seed in range(3)], 1)
    module = Fixed(lambda rows: rows[:, :2] * 0.4)  # no logit is above a half
    loader = DataLoader(TensorDataset(x, (x[:, :2] > 0).long()), batch_size=50)
    callback = Explanations(task="multilabel", methods=["anchors"], output="logit", on_error="raise")
    toys.quiet(callback).test(module, loader, verbose=False)
    found = callback.results["test"]
    positive = [k for k, sample in enumerate(found.saliency.samples) if sample.value > 0.1]
    for k in positive:
        assert found.class_names[found.rules[k].predicted] == found.saliency.samples[k].explained
        assert len(found.rules[k].conditions) == 1


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("tabular", {"hidden": "blur"}, "`hidden` is 'blur' for tabular, wanted rows of background"),
        ("tabular", {"parts": "slic"}, "`parts` is given for rows of a table"),
        ("tabular", {"parts": lambda x: torch.zeros(6).long()}, "`parts` is given for rows of a table"),
        ("tabular", {"categorical": [9]}, "`categorical` has 9, wanted columns from 0 to 5"),
        ("tabular", {"mean": [0.0, 1.0]}, "`mean` has 2 values, and inputs have 6 columns"),
        ("tabular", {"names": ["a"]}, "`names` has 1 names"),
        ("image", {"parts": "voronoi"}, "`parts` is 'voronoi' for image, wanted 'slic', 'grid'"),
        ("image", {"parts": lambda x: torch.zeros(3, 3).long()}, r"`parts` gives labels \(3, 3\)"),
        ("tokens", {"hidden": 0.5}, "`hidden` is 0.5 for tokens, wanted the number of a token"),
    ],
)
def test_what_does_not_suit_the_inputs_is_said_before_training(kind, options, words):
    with pytest.raises(ValueError, match=words):
        run(kind, fit=True, **options)


@pytest.mark.parametrize("padding", [0, 20])
def test_padding_changes_no_explanation(padding):
    def of_words(x):
        there = (x == 5).any(1).float() * 3 - 1 + (x == 7).any(1).float()
        return torch.stack([-there, there], 1)

    x = torch.tensor([[5, 6, 7, 8], [9, 5, 10, 0], [8, 11, 9, 6]])
    x = torch.cat([x, torch.zeros(3, padding, dtype=torch.long)], 1)
    loader = DataLoader(TensorDataset(x, of_words(x).argmax(1)), batch_size=3)
    callback = Explanations(
        methods=["lime", "shap", "banzhaf", "rise", "anchors"], samples=[0, 1], words=["", *"abcdefghijk"],
        on_error="raise",
    )  # fmt: skip
    toys.quiet(callback).test(Fixed(of_words), loader, verbose=False)
    found = callback.results["test"]
    # the probability is 0.119 without either word, 0.982 with the first, 0.5 with the second, 0.998 with both
    assert found.shap.method == "exact"
    assert found.shap.errors.abs().max() == 0
    assert found.lime.spread.max() == 0
    assert found.shap.values[0, :4].tolist() == pytest.approx([0.6802, 0.0, 0.1982, 0.0], abs=1e-4)
    assert not found.shap.values[:, 4:].any()
    assert not found.shap.values[1, 3]
    assert found.parts[1][:4] == ("i", "e", "j", "")
    assert [str(rule) for rule in found.rules] == ["e", "e"]
    assert found.saliency.maps["anchors"][1].tolist() == [0.0, 1.0, 0.0, 0.0] + [0.0] * padding
    assert all(torch.isfinite(values).all() for values in found.values.values())


def test_short_time_is_shared_by_the_methods_and_what_is_less_is_said():
    class Slow(Fixed):
        def forward(self, x):
            time.sleep(0.002 * len(x))
            return super().forward(x)

    function, x = made("image")
    loader = DataLoader(TensorDataset(x, function(x).argmax(1)), batch_size=16)
    callback = Explanations(
        methods=["lime", "shap", "banzhaf", "rise", "anchors"], samples=1, parts=36, max_seconds=1.5, on_error="raise"
    )
    toys.quiet(callback).test(Slow(function), loader, verbose=False)
    found = callback.results["test"]
    assert {"lime", "banzhaf", "rise"} <= set(found.values)
    assert {"shap", "anchors"} <= set(found.values) | set(found.saliency.maps) | set(found.saliency.skipped)
    said = " ".join(found.notes)
    assert "perturbed copies: " in said
    assert "instead of 2,048, as time was short" in said


def test_one_set_of_forwards_serves_every_method_where_all_masks_are_asked_for():
    asked = []

    class Counting(Fixed):
        def forward(self, x):
            asked.append(len(x))
            return super().forward(x)

    function, x = made("image")
    loader = DataLoader(TensorDataset(x, function(x).argmax(1)), batch_size=16)
    callback = Explanations(
        methods=["shap", "lime", "banzhaf", "rise", "anchors"], samples=1, parts=9, on_error="raise"
    )
    toys.quiet(callback).test(Counting(function), loader, verbose=False)
    assert callback.results["test"].shap.method == "exact"
    # the loader's rows, the sample as it is three times (compared, explained, its class), and the 512 masks
    assert sum(asked) == 40 + 3 + 512


def test_few_rows_to_compare_with_are_said():
    x = random((9, 3))
    loader = DataLoader(TensorDataset(x, torch.zeros(9, dtype=torch.long)), batch_size=4)
    callback = Explanations(perturbations=64, on_error="raise")
    toys.quiet(callback).test(Fixed(lambda rows: rows[:, :2]), loader, verbose=False)
    assert "rows: only 9 to compare with" in callback.results["test"].notes


def test_what_stands_for_hidden_values_is_the_same_for_samples_and_importance():
    found = run("tabular", methods=["shap"], hidden=0.0).results["test"]
    assert found.importance.background == 1
    callback = run("tabular", methods=["shap"])
    assert callback.results["test"].importance.background == 16


def test_a_short_fit_is_explained_no_longer_than_is_allowed_and_the_limit_is_said(monkeypatch):
    monkeypatch.setattr("lightning_posttrain.samples.fit_limit.LEAST", 0.0)
    found = run("image", fit=True, max_overhead=0.0).results["val"]
    assert "LIME, Anchors, SHAP: the time was over" in found.notes
    assert "time: 0 s are allowed in a fit; max_overhead=None and trainer.validate allow more" in found.notes
    assert run("image", fit=True, max_overhead=None).results["val"].saliency.skipped == {}
    assert run("image", max_overhead=0.0).results["test"].saliency.skipped == {}


def test_what_is_allowed_after_a_fit_grows_with_it_from_ten_seconds():
    limit = FitLimit(2.0)
    limit.see(torch.zeros(4), 1)
    assert limit.seconds == 10.0
    limit._began -= 30
    assert limit.seconds == pytest.approx(60, abs=1)
    assert FitLimit(None).seconds == float("inf")
