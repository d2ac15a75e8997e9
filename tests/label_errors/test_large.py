"""Large tables: rounded, with bounds that are said, small in a checkpoint, and of a subset where there is no room."""

import csv

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_posttrain import LabelErrors
from lightning_posttrain.label_errors.functional import columns, confident_learning, histories, history
from lightning_posttrain.label_errors.functional.columns import HIGHEST_LOSS, ROUNDING, ColumnForm, packed, unpacked
from lightning_posttrain.label_errors.functional.confident_learning import label_errors
from lightning_posttrain.label_errors.functional.history import HistoryTable
from tests import toys

SIZE, CLASSES = 3000, 7
NAMES = tuple(map(str, range(CLASSES)))
COUNTS = ("label", "predicted", "learned", "forgotten", "wrong", "seen")


@pytest.fixture
def _small_limit(monkeypatch):
    monkeypatch.setattr(columns, "EXACT", 1000)
    monkeypatch.setattr(history, "AT_ONCE", 1 << 10)


def epochs(table, count, first=0, size=SIZE):
    """The same samples, whose logits grow, with noise."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(table.num_classes, (size,), generator=generator)
    base = torch.randn(size, table.num_classes, generator=generator)
    base[torch.arange(size), label] += 4 * torch.rand(size, generator=generator)
    for epoch in range(first, first + count):
        noise = torch.randn(base.shape, generator=torch.Generator().manual_seed(epoch))
        logits = (1 + 0.2 * min(epoch, 20)) * base + noise
        loss = F.cross_entropy(logits, label, reduction="none")
        seen = torch.rand(size, generator=torch.Generator().manual_seed(epoch)) < 0.9
        table.add(torch.arange(size), label, logits.argmax(1), loss, logits.softmax(1), seen)
        table.end_epoch()
    return table


@pytest.fixture(scope="module")
def both():
    """A table that is exact, and one that rounds, after as many epochs as one byte does not count."""
    exact = epochs(HistoryTable(SIZE, CLASSES, keep_probabilities=True), 300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "EXACT", 1000)
        patch.setattr(history, "AT_ONCE", 1 << 10)
        return exact, epochs(HistoryTable(SIZE, CLASSES, keep_probabilities=True), 300)


def test_counts_are_exact_and_the_rest_is_within_the_bounds_that_are_said(both):
    exact, rounded = (table.result(NAMES) for table in both)
    assert not both[0].form.rounds
    assert both[1].form.rounds
    assert int(exact.seen.max()) > 255
    for name in ("index", *COUNTS):
        assert torch.equal(getattr(exact, name), getattr(rounded, name)), name
    assert exact.events == rounded.events
    assert exact.loss.tolist() == pytest.approx(rounded.loss.tolist(), rel=2**-11, abs=6e-8)
    apart = (both[0].probabilities() - both[1].probabilities()).abs()
    assert 0.001 < float(apart.max()) <= ROUNDING + 2e-4
    assert float((exact.errors.score - rounded.errors.score).abs().max()) <= ROUNDING + 2e-4
    # a flag differs only where a margin is near 0, or a probability near its threshold
    p, label = both[0].probabilities()[exact.index], exact.label
    thresholds = torch.stack([p[label == k, k].mean() for k in range(CLASSES)])
    near = ((exact.errors.score - 0.5).abs() < ROUNDING) | ((p - thresholds).abs().amin(1) < 2 * ROUNDING)
    assert torch.equal(exact.errors.flagged[~near], rounded.errors.flagged[~near])
    assert int(exact.errors.flagged[~near].sum()) > 100


def test_a_state_takes_some_ten_bytes_a_sample_and_nothing_is_lost_in_it(both, tmp_path):
    _, rounded = both
    torch.save(rounded.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert sum(column.numel() for column in state.values()) / SIZE < 12
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "EXACT", 1000)
        again = HistoryTable(SIZE, CLASSES, keep_probabilities=True)
    again.load_state_dict(state)
    for name, column in rounded._states().items():
        assert torch.equal(column, again._states()[name]), name
        assert column.dtype == again._states()[name].dtype
    for table in (rounded, again):
        epochs(table, 1, first=300)
    assert torch.equal(rounded.probabilities(), again.probabilities())


def test_the_state_of_a_table_of_the_other_kind_is_gone_on_with(both):
    exact, rounded = both
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "EXACT", 1000)
        small = HistoryTable(SIZE, CLASSES, keep_probabilities=True)
    large = HistoryTable(SIZE, CLASSES, keep_probabilities=True)
    for table, other in ((small, exact), (large, rounded)):
        table.load_state_dict(other.state_dict())
        for name in COUNTS:
            assert torch.equal(getattr(table.result(NAMES), name), getattr(other.result(NAMES), name))
        assert float((table.probabilities() - other.probabilities()).abs().max()) <= 0.5 / 255 + 1e-6


@pytest.mark.usefixtures("_small_limit")
def test_large_and_infinite_losses_have_a_place():
    table = HistoryTable(1000, 2, keep_probabilities=False)
    index, zero = torch.arange(3), torch.zeros(3, dtype=torch.int64)
    table.add(index, zero, zero, torch.tensor([1e6, torch.inf, 1.0]), None, torch.ones(3, dtype=torch.bool))
    table.end_epoch()
    assert table.result(("a", "b")).loss.tolist() == [HIGHEST_LOSS, torch.inf, 1.0]


@pytest.mark.usefixtures("_small_limit")
@pytest.mark.parametrize("classes", [2, 300, 40_000])
def test_classes_are_kept_in_as_few_bytes_as_they_take(classes):
    table = HistoryTable(1000, classes, keep_probabilities=False)
    assert table._kept["label"].element_size() == {2: 1, 300: 2, 40_000: 4}[classes]
    label, counted = torch.tensor([classes - 1]), torch.ones(1, dtype=torch.bool)
    table.add(torch.tensor([5]), label, label, torch.zeros(1), None, counted)
    table.end_epoch()
    result = table.result(tuple(map(str, range(classes))))
    assert (result.label.tolist(), result.wrong.tolist()) == ([classes - 1], [0])
    assert table.form.kept_bytes(classes, probabilities=False) <= 14


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int64, torch.float16])
def test_what_is_packed_comes_out_again_and_what_is_broken_is_said(kind):
    column = torch.randint(0, 100, (50, 3)).to(kind)
    content = packed(column)
    assert torch.equal(unpacked(content, kind, 50, 3), column)
    assert unpacked(packed(column[:0]), kind, 0, 3).shape == (0, 3)
    for broken, shape in ((content[:-3], (50, 3)), (content, (50, 2)), (content, (50, 4)), (content + 1, (50, 3))):
        with pytest.raises(ValueError, match="`state` has a column"):
            unpacked(broken, kind, *shape)


def test_label_errors_are_the_same_however_many_rows_are_looked_at_at_once(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    p, label = torch.rand(500, 5, generator=generator).softmax(1), torch.randint(-1, 5, (500,), generator=generator)
    whole = label_errors(p, label)
    monkeypatch.setattr(confident_learning, "AT_ONCE", 70)
    parts = label_errors(p, label)
    for name in ("score", "flagged", "suggested", "order", "joint"):
        torch.testing.assert_close(getattr(whole, name), getattr(parts, name), rtol=0, atol=0, equal_nan=True)


class Plain(toys.Net):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, toys.CLASSES))


def said_in(caplog, words):
    return [text for text in caplog.messages if words in text]


def test_of_more_samples_than_there_is_room_for_each_second_is_followed(monkeypatch, caplog):
    net, data = Plain(), toys.images(101)
    whole, some = LabelErrors(on_error="raise"), LabelErrors(on_error="raise")
    toys.quiet(whole).validate(net, DataLoader(data, batch_size=8), verbose=False)
    monkeypatch.setattr(histories, "ROWS", 60)
    with caplog.at_level("INFO"):
        toys.quiet(some, max_epochs=2).fit(net, toys.loader(), DataLoader(data, batch_size=8))
        toys.quiet(some).validate(net, DataLoader(data, batch_size=8), verbose=False)
    assert len(said_in(caplog, "LabelErrors follows 1 of 2 samples, as there is room for 60, in val")) == 2
    result = some.results["val"]
    assert result.index.tolist() == list(range(0, 101, 2))
    assert torch.equal(result.label, data.tensors[1][::2])
    assert "follows 1 of 2 samples, as there is room for 60" in result.notes


def test_probabilities_that_take_too_much_room_are_left_out_and_it_is_said(monkeypatch, caplog):
    monkeypatch.setattr(histories, "MEMORY", 37 * 50)
    callback = LabelErrors(on_error="raise")
    with caplog.at_level("INFO"):
        toys.quiet(callback, max_epochs=2).fit(Plain(), toys.loader(), toys.loader())
    assert len(said_in(caplog, "LabelErrors suspects no labels, as probabilities of 4 classes take more than")) == 1
    assert callback.results["val"].errors is None
    assert set(callback.results["val"].scalars()) == {"learned_events", "forgotten_events", "always_wrong"}
    assert "suspects no labels" in callback.results["val"].to_dict()["notes"][0]


@pytest.mark.usefixtures("_small_limit")
def test_a_bound_stands_beside_rounded_figures():
    callback = LabelErrors(on_error="raise")
    toys.quiet(callback).validate(Plain(), toys.loader(toys.images(100)), verbose=False)
    assert (
        "rounds probabilities of 100 samples, so that a score is known to within 0.01" in callback.results["val"].notes
    )
    assert ColumnForm.of(100, toys.CLASSES, probabilities=True).rounds


class Watches(Callback):
    """Whether the file of all samples was there at the end of each epoch."""

    def __init__(self, path, fails=None):
        self.path, self.fails, self.there = path, fails, []

    def on_train_epoch_end(self, trainer, pl_module):
        self.there.append(self.path.exists())
        if trainer.current_epoch == self.fails:
            raise RuntimeError("no more")


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("fails", [None, 1])
def test_all_samples_are_written_when_a_fit_ends_however_it_ends(tmp_path, fails):
    path = tmp_path / "posttrain/val/label_errors/samples.csv"
    callback, watches = LabelErrors(on_error="raise"), Watches(path, fails)
    trainer = toys.quiet([callback, watches], max_epochs=3, default_root_dir=tmp_path)
    if fails is None:
        trainer.fit(Plain(), toys.loader(), toys.loader())
    else:
        with pytest.raises(RuntimeError, match="no more"):
            trainer.fit(Plain(), toys.loader(), toys.loader())
    assert not any(watches.there)
    assert path.with_name("suspects.csv").exists()
    found, result = rows(path), callback.results["val"]
    assert len(found) == len(result.index) == 37
    assert {int(row["seen"]) for row in found} == {3 if fails is None else 2}
    assert sum(int(row["learned"]) for row in found) == int(result.learned.sum())


def test_after_one_pass_nothing_is_logged_or_written_of_what_was_learned(tmp_path):
    callback = LabelErrors(on_error="raise")
    trainer = toys.quiet(callback, default_root_dir=tmp_path)
    trainer.test(Plain(), toys.loader(), verbose=False)
    assert {name for name in trainer.callback_metrics if "label_errors" in name} == {"test/label_errors/suspects"}
    (first, *_) = rows(tmp_path / "posttrain/test/label_errors/samples.csv")
    assert not {"learned", "forgotten"} & set(first)
    assert callback.results["test"].epochs == 1


class Masks(toys.Net):
    def __init__(self):
        super().__init__()
        self.model = nn.Conv2d(1, 3, 3, padding=1)


class Labels(toys.Net):
    def step(self, batch, stage):
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float())


@pytest.mark.parametrize(
    ("net", "target", "reason"),
    [
        (Masks, (20, 8, 8), "each has a class at many positions, as a mask has, and this is for one class a sample"),
        (Labels, (20, 4), "each has several labels, and this is for one class a sample"),
    ],
)
def test_why_samples_are_not_followed_is_the_true_reason(net, target, reason, caplog):
    data = torch.utils.data.TensorDataset(torch.rand(20, 1, 8, 8), torch.randint(2, target))
    callback = LabelErrors(on_error="raise")
    with caplog.at_level("INFO"):
        toys.quiet(callback).test(net(), DataLoader(data, batch_size=5), verbose=False)
    assert said_in(caplog, "LabelErrors follows no samples") == [f"LabelErrors follows no samples of test: {reason}."]
    assert callback.results == {}
