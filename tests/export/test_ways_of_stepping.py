"""However a step comes to its scores, what is exported gives these, or it is said why nothing is."""

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lightning_posttrain import DecisionThresholds, ModelExport
from lightning_posttrain.export import load
from tests import toys
from tests.export.test_model_export import best_of, fitted, manifest, place

AGAIN = pytest.mark.filterwarnings("ignore:ModelExport")
"""What was said of a batch is said again at the end."""
ROWS = toys.images(20, seed=3).tensors[0]


class Chances(toys.Net):
    """Gives probabilities, of which the step takes the logarithm."""

    def forward(self, x):
        return self.model(x).softmax(1)

    def step(self, batch, stage):
        loss = F.nll_loss(self(batch[0]).log(), batch[1])
        self.log(f"{stage}/loss", loss)
        return loss

    def training_step(self, batch, batch_idx):
        return F.nll_loss(self(batch[0]).log(), batch[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "forward_fn",
    [None, lambda module, x: module(x), lambda module, x: module(x).log()],
    ids=["call", "chances", "logs"],
)
def test_probabilities_whose_logarithm_is_in_the_step_are_probabilities(forward_fn, tmp_path):
    export = ModelExport(formats=["pt2"], forward_fn=forward_fn, on_error="raise")
    trainer, module = fitted(tmp_path, export, module=Chances())
    with torch.no_grad():
        wanted = best_of(trainer, module).eval()(ROWS)
    np.testing.assert_allclose(load(place(trainer), format="pt2")(ROWS.numpy()).probabilities, wanted, atol=1e-6)
    trainer.test(module, toys.loader(toys.images(50, seed=2)), ckpt_path="best", verbose=False)
    assert export.results["test"]["pt2"].largest < 1e-6


@AGAIN
def test_a_function_that_gives_other_scores_than_the_step_exports_nothing(tmp_path):
    export = ModelExport(formats=["pt2"], forward_fn=lambda module, x: 2 * module(x))
    said = r"could not ask for a batch again.*`forward_fn` gives other scores \(10, 4\) than the step"
    with pytest.warns(UserWarning, match=said):
        fitted(tmp_path, export)
    assert export.results == {}


class NoForward(LightningModule):
    """Calls a backbone and then a head, and has no forward."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU()), nn.Linear(8, toys.CLASSES)

    def validation_step(self, batch, batch_idx):
        loss = F.cross_entropy(self.head(self.backbone(batch[0])), batch[1])
        self.log("val/loss", loss)
        return loss

    training_step = test_step = validation_step
    configure_optimizers = toys.Net.configure_optimizers


@AGAIN
def test_parts_that_are_called_apart_need_a_function(tmp_path):
    with pytest.warns(UserWarning, match=r"which makes more of them\. Pass forward_fn="):
        trainer, module = fitted(tmp_path, ModelExport(formats=["pt2"]), module=NoForward(), epochs=1)
    export = ModelExport(
        formats=["pt2"], forward_fn=lambda module, x: module.head(module.backbone(x)), on_error="raise"
    )
    trainer, module = fitted(tmp_path, export, module=NoForward(), epochs=1)
    with torch.no_grad():
        wanted = module.head(module.backbone(ROWS)).softmax(1)
    np.testing.assert_allclose(load(place(trainer), format="pt2")(ROWS.numpy()).probabilities, wanted, atol=1e-6)


class Sequences(toys.Net):
    """A class for each of 5 places ``(N, 5, 3)``, flattened for the loss."""

    picks = False

    def __init__(self):
        super().__init__()
        self.model = nn.Linear(8, 3)

    def training_step(self, batch, batch_idx):
        x, y = batch
        scores = self(x)
        if self.picks:
            return F.cross_entropy(scores[y >= 0], y[y >= 0])
        return F.cross_entropy(scores.reshape(-1, 3), y.reshape(-1), ignore_index=-100)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.training_step(batch, batch_idx))

    test_step = validation_step


class Picking(Sequences):
    picks = True


def sequences():
    x = torch.randn(30, 5, 8, generator=torch.Generator().manual_seed(0))
    y = x[..., :3].argmax(-1)
    y[::3, 3:] = -100
    return TensorDataset(x, y)


@pytest.mark.parametrize("forward_fn", [None, lambda module, x: module(x), lambda module, x: module(x).mT])
def test_places_of_a_sequence_are_rows_of_the_loss_and_of_one_sample(forward_fn, tmp_path):
    data, export = sequences(), ModelExport(formats=["pt2"], forward_fn=forward_fn, on_error="raise")
    loaders = (toys.loader(data), toys.loader(data))
    trainer, module = fitted(tmp_path, export, module=Sequences(), data=loaders, epochs=1)
    answers = load(place(trainer), format="pt2")(data.tensors[0].numpy())
    with torch.no_grad():
        wanted = module(data.tensors[0]).softmax(2).mT
    np.testing.assert_allclose(answers.probabilities, wanted, atol=1e-6)
    trainer.test(module, toys.loader(data), verbose=False)
    found = export.results["test"]["pt2"]
    assert (found.flips, found.decisions, found.rows) == (0, 150, 30)
    assert found.flips_bound == pytest.approx(1 - 0.05 ** (1 / 30))  # places of one sequence are not independent


@AGAIN
def test_a_step_that_picks_places_is_told_to_leave_them_to_its_loss(tmp_path):
    data, export = sequences(), ModelExport(formats=["pt2"])
    loaders = (toys.loader(data), toys.loader(data))
    with pytest.warns(UserWarning, match=r"picks some rows or positions.*by its ignore_index"):
        fitted(tmp_path, export, module=Picking(), data=loaders, epochs=1)
    assert export.results == {}


class Bytes(toys.Net):
    """Takes pictures as bytes."""

    def forward(self, x):
        return self.model(x.float() / 255)


def pictures():
    return TensorDataset((toys.images(60).tensors[0] * 150).byte(), toys.images(60).tensors[1])


@AGAIN
def test_a_network_that_takes_bytes_itself_is_not_given_them_scaled(tmp_path):
    loaders = (toys.loader(pictures()), toys.loader(pictures()))
    with pytest.warns(UserWarning, match="the network takes bytes itself. Leave uint8 out"):
        fitted(tmp_path, ModelExport(formats=["pt2"], uint8=True), module=Bytes(), data=loaders, epochs=1)
    export = ModelExport(formats=["pt2"], on_error="raise")
    trainer, module = fitted(tmp_path, export, module=Bytes(), data=loaders, epochs=1)
    assert manifest(trainer)["signature"]["inputs"][0]["dtype"] == "uint8"
    rows = pictures().tensors[0]
    with torch.no_grad():
        wanted = module.eval()(rows).softmax(1)
    np.testing.assert_allclose(load(place(trainer), format="pt2")(rows.numpy()).probabilities, wanted, atol=1e-6)


def test_pictures_between_bytes_are_not_rounded_to_them(tmp_path):
    with pytest.warns(UserWarning, match="values between those of bytes. Leave uint8 out"):
        fitted(tmp_path, ModelExport(formats=["pt2"], uint8=True, mean=[0.0], std=[0.5]), epochs=1)


class Baked(toys.Net):
    """Uses the size of a batch as a number."""

    def forward(self, x):
        return self.model(x) + 0 * sum(x[row].mean() for row in range(int(x.shape[0])))


def test_what_cannot_be_traced_in_a_test_is_refused_with_its_reason(tmp_path):
    export = ModelExport(formats=["pt2"], folder=str(tmp_path / "out"))
    with pytest.warns(UserWarning, match="the batch size is used as a number"):
        toys.quiet(export).test(Baked(), toys.loader(), verbose=False)
    assert not export.results["test"]["pt2"].kept
    assert export.results["test"].remarks == ("no format is kept, so nothing was written to the folder",)


class Endless(torch.utils.data.IterableDataset):
    """Does not tell how many rows it has."""

    def __iter__(self):
        yield from toys.images(30)


def test_a_loader_without_a_length_is_compared_whole(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("lightning_posttrain.export.run.on_test.rank_zero_info", said.append)
    export = ModelExport(formats=["pt2"], folder=str(tmp_path / "out"), on_error="raise")
    toys.quiet(export).test(toys.Net(), toys.loader(Endless()), verbose=False)
    assert (export.results["test"]["pt2"].rows, said) == (30, [])


class Worse(toys.Net):
    """Gets worse by each epoch, so that the first is the best."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, maximize=True)


def test_thresholds_that_chose_nothing_are_nothing_that_was_left_out(tmp_path):
    export = ModelExport(formats=["pt2"], on_error="raise")
    trainer, _ = fitted(tmp_path, export, DecisionThresholds(), module=Worse(), epochs=2)
    assert manifest(trainer)["weights"]["epoch"] == 0
    assert export.results["val"].left_out == ()


def test_a_risk_that_every_row_meets_asks_for_no_confidence(tmp_path):
    export = ModelExport(formats=["pt2"], on_error="raise")
    trainer, _ = fitted(tmp_path, export, DecisionThresholds(max_risk=1.0))
    assert manifest(trainer)["decision"]["confidence"] is None
