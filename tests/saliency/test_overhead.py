"""What a fit spends on explanations, in rows through the network and not by a clock, and what it then has to show."""

import logging
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lightning_posttrain import SaliencyMaps, posttrain_suite
from lightning_posttrain.samples import fit_limit
from lightning_posttrain.samples.fit_limit import FitLimit
from tests import toys

pytestmark = pytest.mark.slow

ONE_PASS = {"saliency", "input_x_gradient", "hirescam"}
WHOLE = {*ONE_PASS, "integrated_gradients"}


ROWS: Counter[str] = Counter()
"""Not an attribute of the module, which is as it was after an explanation."""


class Counting(nn.Sequential):
    """Counts the rows that go through it, forward and backward, and those that it is trained on."""

    def forward(self, x):
        logits = super().forward(x)
        ROWS["forward"] += len(x)
        ROWS["trained"] += len(x) if self.training else 0
        if logits.requires_grad:
            logits.register_hook(lambda gradient: ROWS.update(backward=len(gradient)))
        return logits


class Counted(toys.Net):
    def __init__(self):
        super().__init__()
        self.model = Counting(*self.model)


def fitted(callbacks, rows):
    ROWS.clear()
    trainer = toys.quiet(callbacks, max_epochs=3)
    trainer.fit(Counted(), toys.loader(toys.images(rows)), toys.loader(toys.images(60, seed=1)))
    return ROWS.copy()


def spent(rows, **options):
    """Passes that ``SaliencyMaps`` or the suite takes in a fit beside the trainer's own."""
    bare, explained = fitted([], rows), fitted(**options, rows=rows)
    assert bare["trained"] == explained["trained"] == 3 * rows
    more = explained - bare
    assert more["backward"] <= 3 * rows
    return (2 * more["backward"] + more["forward"]) / 3


def seen_after_each_validation(saliency, rows=400, epochs=3, **options):
    """The result of each epoch, and names of what is logged in it."""
    found = []

    class Watching(Counted):
        def on_validation_end(self):
            if not self.trainer.sanity_checking:
                found.append((saliency.results.get("val"), set(self.trainer.callback_metrics)))

    trainer = toys.quiet(saliency, max_epochs=epochs, **options)
    trainer.fit(Watching(), toys.loader(toys.images(rows)), toys.loader(toys.images(60, seed=1)))
    return found, trainer


@pytest.mark.parametrize(
    ("callbacks", "rows"), [(SaliencyMaps, 10), (SaliencyMaps, 100), (SaliencyMaps, 400), (posttrain_suite, 60)]
)
def test_explanations_take_no_more_rows_through_the_network_than_training(callbacks, rows):
    assert 0 < spent(rows, callbacks=callbacks(on_error="raise")) <= 3 * rows


def test_a_limit_of_a_tenth_of_the_rows_leaves_a_tenth_of_them(monkeypatch):
    monkeypatch.setattr(fit_limit, "ROWS", 0.1)
    assert 0 < spent(400, callbacks=SaliencyMaps(on_error="raise")) <= 120


def test_an_epoch_has_the_maps_of_one_pass_and_the_end_of_fit_all_of_them(tmp_path):
    saliency = SaliencyMaps(on_error="raise")
    epochs, _ = seen_after_each_validation(saliency, default_root_dir=tmp_path)
    assert [set(result.maps) for result, _ in epochs] == [ONE_PASS] * 3
    assert all(result.faithfulness is None for result, _ in epochs)
    logged = {f"val/{method}/{figure}" for method in ONE_PASS for figure in ("entropy", "border", "corners")}
    assert all(logged <= names for _, names in epochs)
    assert {f"val/{method}/drift" for method in ONE_PASS} <= epochs[-1][1]
    last, end = epochs[-1][0], saliency.results["val"]
    assert set(end.maps) == WHOLE
    assert all(torch.equal(end.maps[name], last.maps[name]) for name in ONE_PASS)
    assert last.figures.items() <= end.figures.items()
    assert "integrated_gradients/entropy" in end.figures
    assert "max_sensitivity" in end.faithfulness.rows["integrated_gradients"]
    assert end.classes is not None
    assert end.skipped == {}
    folder = tmp_path / "posttrain" / "val"
    names = ("saliency", "saliency_of_classes", "saliency_over_epochs")
    assert all((folder / f"{name}.png").exists() for name in names)
    assert '"methods": ["saliency", "input_x_gradient", "integrated_gradients", "hirescam"]' in (
        folder / "saliency.json"
    ).read_text(encoding="utf-8")


def test_maps_that_are_completed_at_the_end_are_those_of_a_validation_of_the_same_weights():
    saliency = SaliencyMaps(on_error="raise")
    _, trainer = seen_after_each_validation(saliency)
    end = saliency.results["val"]
    trainer.validate(trainer.lightning_module, toys.loader(toys.images(60, seed=1)), verbose=False)
    anew = saliency.results["val"]
    assert [sample.index for sample in anew.samples] == [sample.index for sample in end.samples]
    for name in WHOLE:
        torch.testing.assert_close(anew.maps[name], end.maps[name])
    assert anew.faithfulness.rows["saliency"] == pytest.approx(end.faithfulness.rows["saliency"], rel=1e-4, nan_ok=True)


def test_methods_that_are_named_are_worked_out_in_each_epoch_however_few_rows_are_trained_on():
    saliency = SaliencyMaps(on_error="raise", methods=["integrated_gradients", "saliency"], samples=4)
    epochs, _ = seen_after_each_validation(saliency, rows=10)
    assert [set(result.maps) for result, _ in epochs] == [{"integrated_gradients", "saliency"}] * 3
    assert saliency.results["val"].maps.keys() == {"integrated_gradients", "saliency"}
    assert "the fit leaves" in saliency.results["val"].skipped["faithfulness"]


def test_what_is_left_out_is_said_with_the_cure_and_a_validation_has_all(caplog):
    saliency = SaliencyMaps(on_error="raise")
    with caplog.at_level(logging.INFO):
        _, trainer = seen_after_each_validation(saliency, rows=50)
    end = saliency.results["val"]
    assert set(end.maps) >= ONE_PASS
    assert end.faithfulness is None
    assert "it takes 640 rows through the model, and the fit leaves" in end.skipped["faithfulness"]
    assert any("faithfulness: it takes" in note for note in end.notes)
    (said,) = [r.getMessage() for r in caplog.records if "is without" in r.getMessage()]
    assert "val at the end of fit is without Integrated gradients, faithfulness: they would take more rows" in said
    trainer.validate(trainer.lightning_module, toys.loader(toys.images(60, seed=1)), verbose=False)
    assert set(saliency.results["val"].maps) == WHOLE
    assert saliency.results["val"].faithfulness is not None


def test_without_a_limit_nothing_is_left_out():
    saliency = SaliencyMaps(on_error="raise", max_overhead=None)
    seen_after_each_validation(saliency, rows=10, epochs=1)
    end = saliency.results["val"]
    assert set(end.maps) == WHOLE
    assert end.skipped == {}
    assert end.faithfulness.skipped == {}
    assert end.classes is not None


@pytest.mark.parametrize("most", [0, 0.1, 0.3, 0.5, *(1.5 + 0.05 * step for step in range(12)), 3])
def test_wherever_the_limit_falls_what_is_left_is_whole_and_the_rest_has_a_reason(most, monkeypatch):
    monkeypatch.setattr(fit_limit, "ROWS", most)
    saliency = SaliencyMaps(on_error="raise")
    toys.quiet(saliency).fit(Counted(), toys.loader(toys.images(100)), toys.loader())
    end = saliency.results["val"]
    assert {*end.maps, *end.skipped} >= WHOLE
    assert all("the fit leaves" in reason for reason in end.skipped.values())
    assert all(sample.baseline is not None for sample in end.samples) == ("integrated_gradients" in end.maps)


class Words(toys.Net):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(20, 8))
        self.model = nn.Linear(8, toys.CLASSES)

    def forward(self, ids):
        return self.model(F.embedding(ids, self.table).mean(1))


def test_where_no_method_of_one_pass_suits_the_input_the_costly_ones_are_for_each_epoch_within_the_same_limit():
    saliency = SaliencyMaps(on_error="raise", samples=2, faithfulness=False)
    data, drawn = TensorDataset(torch.randint(20, (200, 7)), torch.arange(200) % 4), []

    class Watching(Words):
        def on_validation_end(self):
            drawn.append(set(saliency.results["val"].maps) if not self.trainer.sanity_checking else None)

    toys.quiet(saliency, max_epochs=2).fit(Watching(), toys.loader(data), toys.loader(data))
    assert drawn[-2:] == [{"integrated_gradients", "occlusion"}] * 2


def test_a_batch_counts_its_rows_and_one_that_does_not_tell_them_as_many_as_validation_has():
    limit = FitLimit(0.1)
    limit.see({"weight": torch.ones(()), "x": torch.ones(5, 2), "y": torch.ones(5)}, 3)
    limit.see(object(), 3)
    assert limit.left == 8
    limit.spent += 100
    assert limit.left == 0
    limit.begin()
    assert limit.trained == limit.spent == 0
