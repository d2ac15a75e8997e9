"""The hardest samples, histories of samples, and mining."""

import csv
from itertools import chain

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import HardExampleMining, HardExamples, HardExampleSampler, LabelErrors
from lightning_posttrain.samples.kinds import to_display
from tests import toys


class Watching(toys.Net):
    def __init__(self, net=None):
        super().__init__()
        self.model = self.model if net is None else net

    def step(self, batch, stage):
        self(batch[0])


def hard(net, data=None, size=8, **options):
    callback = HardExamples(on_error="raise", **options)
    toys.quiet(callback).validate(net, DataLoader(data or toys.images(), batch_size=size), verbose=False)
    return callback.results["val"]


def facts(net, data):
    x, y = data.tensors
    with torch.no_grad():
        logits = net.eval()(x)
    chance = logits.softmax(1)
    return F.cross_entropy(logits, y, reduction="none"), chance.amax(1), chance.argmax(1), y


@pytest.mark.parametrize("size", [1, 7, 40])
def test_each_rule_has_the_first_of_a_full_sort(size):
    torch.manual_seed(0)
    net, data = Watching(), toys.images(40)
    result = hard(net, data, size, k=6)
    loss, sure, predicted, actual = facts(net, data)
    wrong = predicted != actual
    values = {
        "highest_loss": loss,
        "confident_errors": torch.where(wrong, sure, -torch.inf),
        "unsure_hits": torch.where(wrong, -torch.inf, -sure),
    }
    for group in result.groups:
        value = values[group.name]
        order = value.argsort(descending=True, stable=True)[: min(6, int((value > -torch.inf).sum()))].tolist()
        assert [example.index for example in group.examples] == order
        for example in group.examples:
            i = example.index
            assert example.loss == pytest.approx(loss[i].item(), rel=1e-5)
            assert example.probability == pytest.approx(sure[i].item(), rel=1e-5)
            assert (example.actual, example.predicted) == (str(actual[i].item()), str(predicted[i].item()))
        shown = data.tensors[0][[example.index for example in group.examples]]
        torch.testing.assert_close(group.shown, to_display(shown, 1, together=True))


def test_the_worst_samples_stand_behind_the_most_confused_pairs():
    torch.manual_seed(0)
    net, data = Watching(), toys.images(60)
    result = hard(net, data, pairs=3, per_pair=2)
    loss, _, predicted, actual = facts(net, data)
    counts = torch.zeros(toys.CLASSES, toys.CLASSES, dtype=torch.int64)
    for a, p in zip(actual.tolist(), predicted.tolist(), strict=True):
        counts[a, p] += a != p
    assert len(result.cells) == min(3, int((counts > 0).sum()))
    largest = counts.flatten().sort(descending=True).values[: len(result.cells)].tolist()
    for group, count in zip(result.cells, largest, strict=True):
        a, p = int(group.examples[0].actual), int(group.examples[0].predicted)
        assert counts[a, p] == count
        rows = ((actual == a) & (predicted == p)).nonzero()[:, 0]
        order = rows[loss[rows].argsort(descending=True, stable=True)][:2].tolist()
        assert [example.index for example in group.examples] == order
        assert group.title == f"{a} taken for {p}, " + ("once" if count == 1 else f"{count} times")


def test_files_are_a_table_and_a_folder_of_pictures(tmp_path):
    callback = HardExamples(on_error="raise", k=4)
    trainer = toys.quiet(callback, default_root_dir=tmp_path)
    trainer.validate(Watching(), toys.loader(), verbose=False)
    folder = tmp_path / "posttrain/val"
    with (folder / "hard_examples.csv").open() as file:
        table = list(csv.DictReader(file))
    result = callback.results["val"]
    assert len(table) == len(list(result.every()))
    assert [int(row["index"]) for row in table[:4]] == [example.index for example in result.groups[0].examples]
    with Image.open(folder / "hard_examples/highest_loss/01.png") as picture:
        assert picture.size == (64, 64)
    assert (folder / "hard_examples/highest_loss.png").exists()


class Tokens(toys.Net):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.EmbeddingBag(9, 8), nn.Linear(8, toys.CLASSES))

    def step(self, batch, stage):
        self(batch[0])


def test_inputs_that_are_no_images_are_listed():
    y = torch.arange(20) % toys.CLASSES
    tabular = hard(Watching(nn.Linear(5, toys.CLASSES)), TensorDataset(torch.rand(20, 5), y), names=list("abcde"))
    assert tabular.kind == "tabular"
    assert tabular.names == tuple("abcde")
    words = ["", *["the", "movie", "was", "bad", "and", "so", "on", "x"]]
    tokens = torch.randint(1, 9, (20, 6))
    tokens[:, 4:] = 0
    text = hard(Tokens(), TensorDataset(tokens, y), words=words)
    example = text.groups[0].examples[0]
    assert example.text == " ".join(words[token] for token in tokens[example.index, :4].tolist())
    series = hard(Watching(nn.Sequential(nn.Flatten(), nn.Linear(90, 4))), TensorDataset(torch.rand(20, 3, 30), y))
    assert series.groups[0].shown.shape[1:] == (3, 30)


def test_labels_and_masks_have_their_words():
    x = toys.images().tensors[0]
    labels = (torch.rand(len(x), 3) < 0.5).long()
    result = hard(
        Watching(toys.Net(classes=3).model), TensorDataset(x, labels), task="multilabel", class_names=list("abc")
    )
    example = result.groups[0].examples[0]
    wanted = ", ".join(name for name, on in zip("abc", labels[example.index].tolist(), strict=True) if on)
    assert example.actual == (wanted or "no label")
    net, mask = Watching(nn.Conv2d(1, 3, 3, padding=1)), torch.randint(3, (len(x), 8, 8))
    result = hard(net, TensorDataset(x, mask))
    with torch.no_grad():
        loss = F.cross_entropy(net.eval()(x), mask, reduction="none").mean((1, 2))
    found = [example.loss for example in result.groups[0].examples]
    assert found == pytest.approx(loss.sort(descending=True).values[: len(found)].tolist(), rel=1e-4)
    assert result.groups[0].examples[0].predicted.endswith("of positions wrong")
    assert result.cells == ()


def test_inputs_that_cannot_be_shown_are_said_and_samples_listed():
    class Dictionary(toys.Net):
        def step(self, batch, stage):
            self(batch["x"]["image"])

    x, y = toys.images().tensors
    data = [{"x": {"image": image}, "y": label} for image, label in zip(x, y, strict=True)]
    callback = HardExamples(on_error="raise", target_fn=lambda batch: batch["y"], inputs_fn=lambda batch: batch["x"])
    toys.quiet(callback).validate(Dictionary(), DataLoader(data, batch_size=8), verbose=False)
    result = callback.results["val"]
    assert "inputs are not shown" in result.notes[0]
    assert len(result.groups[0].examples) == 15
    assert result.groups[0].shown is None


def flipped(share=0.05):
    generator = torch.Generator().manual_seed(0)
    x, y = toys.images(200).tensors
    wrong = torch.rand(200, generator=generator) < share
    return TensorDataset(x, torch.where(wrong, (y + 1) % toys.CLASSES, y)), wrong


class Knows(toys.Net):
    """Gives the class that the picture shows, and in epoch 1 another one for the first sample."""

    def __init__(self, truth):
        super().__init__()
        self.truth, self.images = truth.tensors[1], truth.tensors[0]

    def step(self, batch, stage):
        rows = [int((self.images == image).flatten(1).all(1).nonzero()[0]) for image in batch[0]]
        logits = 3 * F.one_hot(self.truth[rows], toys.CLASSES).float()
        if self.current_epoch == 1:
            logits = torch.where(torch.tensor(rows)[:, None] == 0, -logits, logits)
        return {"logits": logits}


def test_label_errors_and_what_was_learned_and_forgotten(tmp_path):
    data, wrong = flipped()
    callback = LabelErrors(on_error="raise")
    trainer = toys.quiet(callback, max_epochs=3, default_root_dir=tmp_path, num_sanity_val_steps=2)
    trainer.fit(Knows(toys.images(200)), toys.loader(), DataLoader(data, batch_size=16))
    result = callback.results["val"]
    assert set(result.index[result.suspects].tolist()) == set(wrong.nonzero()[:, 0].tolist())
    assert result.epochs == 3
    assert (result.forgotten[0], result.learned[0]) == ((1, 1) if not wrong[0] else (0, 0))
    assert torch.equal(result.always_wrong[1:], wrong[1:])
    assert [event.epoch for event in result.past] == [0, 1, 2]
    assert trainer.callback_metrics["val/label_errors/suspects"] == len(result.suspects)
    assert (tmp_path / "posttrain/val/label_errors/suspects.csv").exists()
    (gallery,) = result.gallery.groups
    assert [one.index for one in gallery.examples] == result.index[result.suspects].tolist()[:20]
    for one in gallery.examples:
        at = result.index.tolist().index(one.index)
        assert (one.actual, one.predicted) == (str(int(result.label[at])), str(int(result.predicted[at])))
    assert (tmp_path / "posttrain/val/label_errors/gallery.png").exists()
    assert (tmp_path / "posttrain/val/label_errors/events.png").exists()
    with (tmp_path / "posttrain/val/label_errors/samples.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 200


def test_histories_go_on_where_a_checkpoint_was_taken(tmp_path):
    def run(epochs, **options):
        callback = LabelErrors(on_error="raise")
        save = ModelCheckpoint(tmp_path, filename="last", save_top_k=1)
        trainer = toys.quiet([callback, save], max_epochs=epochs, enable_checkpointing=True)
        trainer.fit(Knows(toys.images(200)), toys.loader(), DataLoader(flipped()[0], batch_size=16), **options)
        return callback.results["val"], save.best_model_path

    whole, _ = run(3)
    _, path = run(2)
    resumed, _ = run(3, ckpt_path=path)
    assert resumed.to_dict() == whole.to_dict()
    assert torch.equal(resumed.seen, whole.seen)
    assert resumed.past == whole.past


@pytest.mark.filterwarnings("ignore:Your `val_dataloader`'s sampler has shuffling enabled")
def test_samples_whose_positions_are_not_known_are_not_followed(caplog):
    callback = LabelErrors(on_error="raise")
    with caplog.at_level("INFO"):
        toys.quiet(callback).validate(Watching(), toys.loader(shuffle=True), verbose=False)
    assert callback.results == {}
    assert any("positions of its samples in the dataset are not known" in text for text in caplog.messages)
    with pytest.raises(ValueError, match="one class a row"):
        LabelErrors(task="multilabel")


class Mined(toys.Net):
    """Keeps which samples came."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, toys.CLASSES))
        self.came = []

    def training_step(self, batch, batch_idx):
        self.came.append(batch[2].tolist())
        logits = self.model(batch[0])
        return {"loss": F.cross_entropy(logits, batch[1]), "logits": logits}

    def step(self, batch, stage):
        self(batch[0])


def numbered(rows=40):
    x, y = toys.images(rows).tensors
    return TensorDataset(x, y, torch.arange(rows))


def mining():
    return HardExampleMining(on_error="raise", target_fn=second)


def second(batch):
    return batch[1]


def mine(epochs, workers=0, path=None, callbacks=()):
    torch.manual_seed(0)
    data = numbered()
    sampler, net = HardExampleSampler(data, floor=0.2, seed=3), Mined()
    trainer = toys.quiet([mining(), *callbacks], max_epochs=epochs, enable_checkpointing=bool(callbacks))
    loader = DataLoader(data, batch_size=8, sampler=sampler, num_workers=workers)
    trainer.fit(net, loader, DataLoader(data, batch_size=8), ckpt_path=path)
    return net, sampler


def test_the_next_epoch_draws_by_the_losses_that_training_had():
    class Spy(Callback):
        def __init__(self):
            self.losses = []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.losses.append((batch[2].tolist(), float(outputs["loss"])))

    torch.manual_seed(0)
    data = numbered()
    sampler, net, spy = HardExampleSampler(data, floor=0.2, seed=3), Mined(), Spy()
    trainer = toys.quiet([mining(), spy], max_epochs=1)
    trainer.fit(net, DataLoader(data, batch_size=1, sampler=sampler), DataLoader(data, batch_size=8))
    expected = torch.full((40,), torch.nan)
    for (row,), loss in spy.losses:
        expected[row] = loss
    torch.testing.assert_close(sampler.losses.float(), expected, rtol=1e-4, atol=1e-5)
    share = 0.2 / 40 + 0.8 * expected / expected.sum()
    torch.testing.assert_close(sampler.probabilities().float(), share, rtol=1e-3, atol=1e-6)


def test_hard_samples_come_more_often():
    net, sampler = mine(8)
    came = torch.bincount(torch.tensor(list(chain(*net.came))), minlength=40)
    hardest = sampler.losses.argsort(descending=True)
    assert came[hardest[:10]].sum() > 1.3 * came[hardest[-10:]].sum()
    assert came.min() > 0


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_draws_what_it_would_have_drawn(tmp_path, workers):
    whole, _ = mine(4, workers)
    save = ModelCheckpoint(tmp_path, filename="two")
    mine(2, workers, callbacks=[save])
    resumed, _ = mine(4, workers, path=save.best_model_path)
    assert resumed.came == whole.came[len(whole.came) // 2 :]


def test_mining_wants_its_sampler():
    with pytest.raises(ValueError, match="wanted a HardExampleSampler"):
        toys.quiet(HardExampleMining()).fit(toys.Net(), toys.loader(), toys.loader())
    with pytest.raises(ValueError, match="`stages` is not for HardExampleMining"):
        HardExampleMining(stages=["val"])


@pytest.mark.parametrize(("options", "words"), [({"k": 0}, "`k` is 0"), ({"pairs": -1}, "`pairs` is -1")])
def test_arguments_are_checked_where_they_are_given(options, words):
    with pytest.raises(ValueError, match=words):
        HardExamples(**options)


class Systematic(toys.Net):
    """Takes each of the first six classes for the next, with a low loss, and others for any, with a high one."""

    def step(self, batch, stage):
        x, y = batch
        logits = x.flatten(1)[:, :40] * 0
        said = torch.where(y < 6, y + 1, (y * 7 + torch.arange(len(y)) * 11) % 40)
        logits[torch.arange(len(y)), said] = torch.where(y < 6, 1.0, 9.0)
        loss = F.cross_entropy(logits, y)
        self.log(f"{stage}/loss", loss)
        return {"loss": loss, "logits": logits}


def test_the_most_confused_pairs_have_samples_whatever_the_losses_of_others():
    target = torch.cat([torch.arange(6).repeat_interleave(20), torch.arange(6, 40).repeat(12)])
    target = target[torch.randperm(len(target), generator=torch.Generator().manual_seed(0))]
    callback = HardExamples(on_error="raise", pairs=6, per_pair=3, num_classes=40)
    data = TensorDataset(torch.rand(len(target), 1, 8, 8), target)
    toys.quiet(callback).validate(Systematic(), DataLoader(data, batch_size=16), verbose=False)
    cells = callback.results["val"].cells
    assert [cell.title.split(", ")[1] for cell in cells] == ["20 times"] * 6
    assert [len(cell.examples) for cell in cells] == [3] * 6


def test_a_pair_of_which_no_sample_was_kept_says_so():
    from lightning_posttrain.classification import ConfusedPair
    from lightning_posttrain.hard_examples.keeping import Keeping
    from lightning_posttrain.samples.inputs import Inputs

    keeping = Keeping(3, 2, 2, Inputs(), lambda columns, names: [])
    report = keeping.report(("cat", "dog"), toys.quiet(), [ConfusedPair("cat", "dog", 7, 0.5)])
    assert [(cell.title, cell.examples) for cell in report.cells] == [
        ("cat taken for dog, 7 times; no sample was kept", ())
    ]


def test_batches_that_wait_are_as_they_came_when_their_buffer_is_used_again():
    from lightning_posttrain.classification import ClassReading, EvalBatch
    from lightning_posttrain.hard_examples.keeping import Keeping
    from lightning_posttrain.samples.inputs import Inputs

    keeping = Keeping(9, 0, 1, Inputs(kind="tabular"), ClassReading().captions)
    scores, inputs, target = torch.zeros(2, 3), torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64)
    for number in range(3):
        scores[:, 1] = float(number)
        inputs.fill_(number)
        target.fill_(number)
        keeping.offer(EvalBatch(scores, target, index=torch.arange(2) + 2 * number, inputs=inputs))
    group = keeping.report(tuple("abc"), toys.quiet(), []).groups[0]
    assert len(group.examples) == 6
    for example, shown in zip(group.examples, group.shown, strict=True):
        number = example.index // 2
        assert example.actual == "abc"[number]
        assert shown.tolist() == [number] * 5
        wanted = F.cross_entropy(torch.tensor([[0.0, number, 0.0]]), torch.tensor([number]))
        assert example.loss == pytest.approx(float(wanted), rel=1e-6)
