import io
import json
import sys

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import TQDMProgressBar
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm.auto import tqdm

from lightning_posttrain.core.statistics.binomial import share_interval
from lightning_posttrain.explanations.callback.surrogate import Surrogate
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
    assert {path.name for path in folder.iterdir()} == {*names, "report.html", "report.md"}
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
    assert sum(asked) <= forwards + 200 + 3 * 64  # rows as they are, those compared, and those timed twice
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


class Clean(Net):
    def forward(self, x):
        return super().forward(x.nan_to_num(posinf=0.0, neginf=0.0))


@pytest.mark.parametrize(("value", "rows"), [(torch.nan, 70), (torch.nan, 200), (torch.inf, 5), (-torch.inf, 70)])
def test_values_that_are_not_finite_cost_no_row_of_the_tree(value, rows):
    x, y = table().tensors
    x = x.clone()
    x[:rows, 0] = value
    callback = Surrogate(on_error="raise")
    fit(callback, net=Clean(), data=TensorDataset(x, y))
    report = callback.results["val"]
    assert report.fitted_rows + report.held_out_rows == report.drop_rows == 200
    assert report.fidelity > 0.9
    assert report.branches[1].condition.name == "feature 1"


def test_rows_for_which_the_model_gives_nan_at_the_end_of_fit_are_left_out_and_that_is_said():
    class Breaking(Net):
        def on_train_end(self):
            self.broken = True

        def forward(self, x):
            found = super().forward(x)
            return found.masked_fill(x[:, :1] > 1, torch.nan) if hasattr(self, "broken") else found

    x, y = table().tensors
    callback = Surrogate(on_error="raise")
    # hooks of the module come after those of callbacks
    net = Breaking()
    callback.on_train_end = lambda trainer, module: (net.on_train_end(), Surrogate.on_train_end(callback, trainer, net))
    fit(callback, net=net, data=TensorDataset(x, y))
    report = callback.results["val"]
    broken = int((x[:, 0] > 1).sum())
    assert report.fitted_rows + report.held_out_rows == report.drop_rows == 200 - broken
    assert f"{broken} rows for which the model gives NaN are left out" in report.notes


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
        ({"max_seconds": 0}, "`max_seconds` is 0"),
        ({"max_seconds": -1.0}, "`max_seconds` is -1.0"),
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


class Turning(Net):
    """A net that is another at the end of each epoch, after it was validated."""

    def on_train_epoch_end(self):
        with torch.no_grad():
            self.net[-1].weight.neg_()
            self.net[-1].bias.neg_()


def agreement(report, net, x):
    """The share of rows for which the tree, read from top to bottom, gives what the model gives now."""
    names, answer, path = list(report.class_names), [None] * len(x), []
    for branch in report.branches:
        here = torch.ones(len(x), dtype=torch.bool) if not branch.depth else path[branch.depth - 1]
        if branch.condition is not None:
            column = x[:, branch.condition.part].double()
            low, high = branch.condition.low, branch.condition.high
            here = here & (column > low if high is None else column <= high)
        path[branch.depth :] = [here]
        for row in here.nonzero()[:, 0].tolist():
            answer[row] = names.index(branch.predicted) if branch.leaf else answer[row]
    return float((net.eval()(x).argmax(1) == torch.tensor(answer)).float().mean())


@pytest.mark.parametrize("importance", [True, False])
def test_at_the_end_of_fit_the_tree_is_of_the_model_as_it_is_then(importance):
    callback = Surrogate(importance=importance, on_error="raise")
    net = Turning()
    trainer = toys.quiet(callback, max_epochs=3, check_val_every_n_epoch=2)
    trainer.fit(net, loader(shuffle=True), loader())
    report, x = callback.results["val"], table().tensors[0]
    assert agreement(report, net, x) == pytest.approx(report.fidelity, abs=0.08)
    assert agreement(report, net, x) > 0.9
    assert report.notes == ()


def test_where_the_model_cannot_be_asked_anew_the_tree_says_of_which_step_it_is():
    callback = Surrogate(forward_fn=lambda module, x: -module.net(x) + 7)
    trainer = toys.quiet(callback, max_epochs=3, check_val_every_n_epoch=2)
    with pytest.warns(UserWarning, match="gives other scores than the step did"):
        trainer.fit(Net(), loader(shuffle=True), loader())
    said = "the scores are those of step 14, and the model was trained up to step 21"
    assert said in callback.results["val"].notes


class Clock:
    """A time that goes by with the rows that a net is asked for alone."""

    def __init__(self, monkeypatch, seconds):
        self.now, self.each = 0.0, seconds
        monkeypatch.setattr("lightning_posttrain.attribution.chunks.time.monotonic", lambda: self.now)

    def __call__(self, module, x):
        self.now += self.each * len(x)
        return module.net(x)


def timed(monkeypatch, seconds, **options):
    """A report where each row takes so many seconds, and the seconds that it took; 200 rows of 3 features."""
    clock = Clock(monkeypatch, seconds)
    callback = Surrogate(forward_fn=clock, on_error="raise", **options)
    toys.quiet(callback).validate(Net(), loader(), verbose=False)
    # 64 rows are compared, and 8 of them once more
    return callback.results["val"], clock.now - (64 + 8) * seconds


def test_with_time_enough_nothing_is_said_of_it(monkeypatch):
    report, _ = timed(monkeypatch, 0.001)
    assert (len(report.drops), report.drop_rows) == (3, 200)
    assert not any("time" in note for note in report.notes)


def test_a_time_that_is_over_when_all_is_done_was_not_short(monkeypatch):
    clock, asked = Clock(monkeypatch, 0.0), []

    def forward(module, x):
        asked.append(len(x))
        # 64 rows are compared, 8 of them twice, and 64 are timed twice; the last of the others takes all of the time
        clock.now += 1e6 if sum(asked) == 72 + 128 + 200 + 3 * 10 * 200 else 0
        return clock(module, x)

    callback = Surrogate(forward_fn=forward, on_error="raise")
    toys.quiet(callback).validate(Net(), loader(), verbose=False)
    assert clock.now == 1e6
    assert not any("time" in note for note in callback.results["val"].notes)


def test_the_bar_knows_how_many_forwards_are_to_come(monkeypatch):
    bars = []

    class Bar(tqdm):
        def __init__(self, **options):
            super().__init__(**options, file=io.StringIO())
            bars.append(self)

        def close(self):
            self.done = self.n, self.total
            super().close()

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    trainer = toys.quiet([Surrogate(on_error="raise"), TQDMProgressBar()], enable_progress_bar=True)
    trainer.validate(Net(), loader(), verbose=False)
    (done,) = [bar.done for bar in bars if bar.desc and bar.desc.startswith("Surrogate")]
    assert done[0] == done[1] == 2 * 64 + 200 + 3 * 10 * 200


def test_without_a_limit_all_is_worked_out(monkeypatch):
    report, spent = timed(monkeypatch, 10.0, max_seconds=None)
    assert (len(report.drops), report.drop_rows) == (3, 200)
    assert spent == 10 * (200 + 3 * 10 * 200)


@pytest.mark.parametrize(
    ("seconds", "rows", "said"),
    [
        (0.03, 200, "the time was short for the importance: 200 of 200 rows, 5 of 10 repeats"),
        (0.3, 75, "the time was short for the importance: 75 of 200 rows, 1 of 10 repeats"),
        (1.0, 20, "importance of 1 of 3 features; the time was over"),
        (1.5, 0, "importance of 0 of 3 features; the time was over"),
    ],
)
def test_where_time_is_short_there_are_fewer_repeats_then_rows_then_features(monkeypatch, seconds, rows, said):
    report, spent = timed(monkeypatch, seconds)
    assert report.fidelity > 0
    assert report.drop_rows == rows
    assert said in report.notes
    assert spent <= 130


def test_the_tree_comes_even_where_there_is_no_time_to_ask_anew(monkeypatch):
    clock = Clock(monkeypatch, 1e6)
    callback = Surrogate(forward_fn=clock, on_error="raise")
    trainer = toys.quiet(callback, max_epochs=3, check_val_every_n_epoch=2)
    trainer.fit(Net(), loader(shuffle=True), loader())
    report = callback.results["val"]
    assert report.fidelity > 0
    assert report.drops == ()
    assert "importance of 0 of 3 features; the time was over" in report.notes


def test_of_very_many_classes_fewer_rows_are_asked_for_and_it_is_said(monkeypatch):
    monkeypatch.setattr("lightning_posttrain.explanations.surrogate_fit.SCORES", 2 * 500)
    callback = Surrogate(on_error="raise")
    toys.quiet(callback).validate(Net(), loader(), verbose=False)
    report = callback.results["val"]
    assert (len(report.drops), report.drop_rows) == (3, 125)
    assert "of so many classes the importance is from 125 of 200 rows, 1 of 10 repeats" in report.notes


def test_no_scores_of_rows_are_kept_but_of_those_that_are_compared():
    callback = Surrogate(importance=False, on_error="raise")
    toys.quiet(callback).validate(Net(), loader(), verbose=False)
    kept, compared = (rows["val"].rows() for rows in (callback._rows, callback._compared))
    assert (kept.scores.shape, len(kept.inputs)) == ((200,), 200)
    assert compared.scores.shape == (64, 2)
