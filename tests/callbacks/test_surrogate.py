import json
import sys

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain.callbacks.surrogate import Surrogate
from lightning_posttrain.functional.binomial import share_interval
from tests import toys

NAMES = ["age", "income", "height"]


def table(rows=200, seed=0):
    """Rows of which the class follows from the second of three columns."""
    x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x[:, 1] > 0.3).long())


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
        self.asked = 0

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self(batch[0])

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.05)


def loader(data=None, shuffle=False):
    return DataLoader(table() if data is None else data, batch_size=32, shuffle=shuffle)


def fit(callback, epochs=4, net=None, data=None):
    net = Net() if net is None else net
    trainer = toys.quiet(callback, max_epochs=epochs)
    trainer.fit(net, loader(shuffle=True), loader(data))
    return trainer, net


def test_at_the_end_of_fit_it_reports_once_with_a_tree_and_the_importance(tmp_path):
    callback = Surrogate(names=NAMES, class_names=["no", "yes"], on_error="raise")
    fit(callback)
    report = callback.results["val"]
    assert report.branches[1].condition.name == "income"
    assert report.fidelity > 0.9
    assert (report.fitted_rows, report.held_out_rows) == (140, 60)
    hits = round(report.fidelity * 60)
    assert (report.fidelity_low, report.fidelity_high) == pytest.approx(share_interval(hits, 60))
    assert report.drops[0].name == "income"
    assert report.drops[0].low > 0
    assert report.drop_rows == 200
    folder = tmp_path / "posttrain" / "val"
    names = {"surrogate.json", "surrogate.png", "surrogate_tree.csv", "surrogate_importance.csv"}
    assert {path.name for path in folder.iterdir()} == names
    record = json.loads((folder / "surrogate.json").read_text())
    assert record["epoch"] == 3
    assert record["drops"][0]["name"] == "income"


def test_every_branch_counts_the_rows_for_which_the_model_gives_its_class():
    callback = Surrogate(depth=2, importance=False, on_error="raise")
    trainer, net = fit(callback)
    trainer.test(net, loader(), verbose=False)
    report = callback.results["test"]
    leaves = [branch for branch in report.branches if branch.leaf]
    assert sum(branch.rows for branch in leaves) == report.held_out_rows
    right = sum(branch.rows * branch.agreement for branch in leaves if branch.rows)
    assert right / report.held_out_rows == pytest.approx(report.fidelity)
    assert float(trainer.callback_metrics["test/surrogate/fidelity"]) == pytest.approx(report.fidelity)


def test_in_fit_it_reports_as_often_as_it_is_asked_to_and_can_be_monitored():
    seen = []

    class Watching(Net):
        def on_train_epoch_end(self):
            seen.append("val/surrogate/fidelity" in self.trainer.callback_metrics)

    callback = Surrogate(every_n_epochs=2, on_error="raise")
    fit(callback, epochs=3, net=Watching())
    assert seen == [False, True, True]
    assert callback.results["val"].fidelity > 0


def test_with_and_without_it_training_comes_out_the_same():
    torch.manual_seed(3)
    _, without = fit(None)
    torch.manual_seed(3)
    _, beside = fit(Surrogate(every_n_epochs=1, on_error="raise"))
    for name, value in without.state_dict().items():
        assert torch.equal(value, beside.state_dict()[name]), name


def test_the_module_is_asked_in_eval_mode_and_left_as_it_was():
    modes = []

    class Watching(Net):
        def forward(self, x):
            modes.append((self.training, self.net[2].training))
            return super().forward(x)

    callback = Surrogate(on_error="raise")
    _, net = fit(callback, epochs=1, net=Watching())
    assert modes[-1] == (False, False)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_images_are_asked_about_by_their_cells():
    callback = Surrogate(on_error="raise")
    toys.quiet(callback, max_epochs=2).fit(toys.Net(), toys.loader(), toys.loader())
    report = callback.results["val"]
    assert len(report.drops) == 16
    assert {drop.name for drop in report.drops} >= {"row 1, column 1", "row 4, column 4"}


def test_questions_are_in_the_units_from_before_the_normalization():
    plain, scaled = (
        Surrogate(depth=1, importance=False, on_error="raise", **options)
        for options in ({}, {"name": "scaled", "mean": [0, 100, 0], "std": [1, 10, 1]})
    )
    fit([plain, scaled])
    cut, other = (callback.results["val"].branches[1].condition for callback in (plain, scaled))
    mean, std = ([0, 100, 0][cut.part], [1, 10, 1][cut.part])
    assert other.high == pytest.approx(cut.high * std + mean, rel=1e-5)


@pytest.mark.parametrize("forwards", [600, 2000])
def test_forwards_are_bounded(forwards):
    asked = []

    def forward(module, x):
        asked.append(len(x))
        return module.net(x)

    callback = Surrogate(forwards=forwards, forward_fn=forward, on_error="raise")
    toys.quiet(callback).validate(Net(), loader(), verbose=False)
    assert sum(asked) <= forwards + 200 + 64
    assert len(callback.results["val"].drops) == 3


def test_a_forward_that_fails_costs_the_importance_alone():
    def forward(module, x):
        raise KeyError("no")

    callback = Surrogate(forward_fn=forward)
    with pytest.warns(UserWarning, match="Surrogate could not"):
        toys.quiet(callback).validate(Net(), loader(), verbose=False)
    assert callback.results["val"].drops == ()
    assert callback.results["val"].fidelity > 0


def test_scores_that_are_not_those_of_the_step_are_not_believed():
    callback = Surrogate(forward_fn=lambda module, x: -module.net(x) + 7)
    with pytest.warns(UserWarning, match="gives other scores than the step did"):
        toys.quiet(callback).validate(Net(), loader(), verbose=False)
    assert callback.results["val"].drops == ()


def test_without_scikit_learn_the_run_goes_on_and_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    callback = Surrogate()
    with pytest.warns(UserWarning, match=r"pip install 'lightning-posttrain\[sklearn\]'"):
        toys.quiet(callback).validate(Net(), loader(), verbose=False)
    assert callback.results == {}


def test_rows_that_are_not_finite_are_left_out_of_the_tree():
    x, y = table().tensors
    x = x.clone()
    x[:5, 0] = torch.inf
    callback = Surrogate(importance=False, on_error="raise")

    class Clean(Net):
        def forward(self, x):
            return self.net(x.nan_to_num(posinf=0.0))

    toys.quiet(callback).validate(Clean(), loader(TensorDataset(x, y)), verbose=False)
    report = callback.results["val"]
    assert report.fitted_rows + report.held_out_rows == 195
    assert "5 rows with values that are not finite are left out" in report.notes


def test_rows_that_do_not_count_are_left_out():
    x, y = table().tensors
    y = y.clone()
    y[:50] = -100
    callback = Surrogate(ignore_index=-100, on_error="raise")
    toys.quiet(callback).validate(Net(), loader(TensorDataset(x, y)), verbose=False)
    report = callback.results["val"]
    assert report.fitted_rows + report.held_out_rows == report.drop_rows == 150


def test_too_few_rows_and_inputs_without_features_give_nothing():
    few = Surrogate(on_error="raise")
    toys.quiet(few).validate(Net(), loader(table(10)), verbose=False)
    assert few.results == {}

    class Words(Net):
        def forward(self, x):
            return self.net(x.float())

    tokens = Surrogate(on_error="raise")
    data = TensorDataset(torch.randint(9, (40, 3)), torch.arange(40) % 2)
    toys.quiet(tokens).validate(Words(), loader(data), verbose=False)
    assert tokens.results == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": "multilabel"}, "`task` is 'multilabel'"),
        ({"depth": 0}, "`depth` is 0"),
        ({"repeats": 0}, "`repeats` is 0"),
        ({"forwards": 0}, "`forwards` is 0"),
        ({"every_n_epochs": 0}, "`every_n_epochs` is 0"),
        ({"kind": "tokens"}, "`kind` is 'tokens'"),
        ({"precision": "half"}, "`precision` is 'half'"),
        ({"mean": [0.0]}, "`mean` and `std` go together"),
    ],
)
def test_arguments_are_checked(options, words):
    with pytest.raises(ValueError, match=words):
        Surrogate(**options)


def test_names_for_other_columns_raise_at_the_first_batch():
    with pytest.raises(ValueError, match="`names` has 2 entries for 3 columns"):
        toys.quiet(Surrogate(names=["a", "b"])).validate(Net(), loader(), verbose=False)
