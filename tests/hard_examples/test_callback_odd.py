"""Loaders, inputs, stages and checkpoints that are not as usual, for what is fitted and for hard examples."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from lightning_posttrain import Calibration, DecisionThresholds, HardExampleMining, HardExamples, LabelErrors
from lightning_posttrain.hard_examples.sampler import HardExampleSampler
from tests import toys
from tests.core.test_fitted import VAL, Sure, loader, rows
from tests.hard_examples.test_callback import Knows, Mined, Watching, facts, flipped, numbered, second


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:.*`weights_only`.*")
def test_what_was_fitted_for_other_weights_is_not_applied(tmp_path, caplog):
    kinds = [Calibration(on_error="raise"), DecisionThresholds(on_error="raise", one_vs_rest=True)]
    best = ModelCheckpoint(tmp_path, monitor="val/calibration/log_loss", mode="max", save_weights_only=True)
    trainer = toys.quiet([*kinds, best], max_epochs=3, enable_checkpointing=True)
    trainer.fit(Sure(), loader(rows(400, 3)), loader(VAL))
    with caplog.at_level("INFO"):
        trainer.test(ckpt_path=best.best_model_path, dataloaders=loader(rows(300, 4)), verbose=False)
    for kind in kinds:
        assert kind.results["test"].reason == "what was fitted is for other weights"
        assert any(type(kind).__name__ in text and "other weights" in text for text in caplog.messages)
    assert kinds[0].results["test"].after is None


class Backwards(BatchSampler):
    def __iter__(self):
        return iter(list(super().__iter__())[::-1])


def dropped(batch):
    x, y = torch.utils.data.default_collate(batch)
    return x[1:], y[1:]


@pytest.mark.parametrize("kind", ["batch sampler", "rows dropped", "no batches"])
def test_positions_that_are_not_sure_are_not_said(kind):
    data = toys.images(24)
    loaders = {
        "batch sampler": lambda: DataLoader(data, batch_sampler=Backwards(SequentialSampler(data), 6, False)),
        "rows dropped": lambda: DataLoader(data, batch_size=6, collate_fn=dropped),
        "no batches": lambda: DataLoader([(data.tensors[0][:12], data.tensors[1][:12])] * 2, batch_size=None),
    }
    hard, errors = HardExamples(on_error="raise"), LabelErrors(on_error="raise")
    toys.quiet([hard, errors]).validate(Watching(), loaders[kind](), verbose=False)
    assert {example.index for *_, example in hard.results["val"].every()} == {None}
    assert errors.results == {}


def test_losses_stay_those_of_their_samples_whoever_else_reads_the_loader():
    class Peeks(Mined):
        def on_validation_start(self):
            if not self.trainer.sanity_checking:
                next(iter(self.trainer.train_dataloader))

    torch.manual_seed(0)
    data = numbered()
    sampler, losses = HardExampleSampler(data, floor=0.2), {}
    net = Peeks()
    step = net.training_step

    def noted(batch, batch_idx):
        out = step(batch, batch_idx)
        each = nn.functional.cross_entropy(out["logits"], batch[1], reduction="none")
        losses.update(zip(batch[2].tolist(), each.tolist(), strict=True))
        return out

    net.training_step = noted
    trainer = toys.quiet(HardExampleMining(on_error="raise", target_fn=second), max_epochs=3, val_check_interval=0.5)
    trainer.fit(net, DataLoader(data, batch_size=4, sampler=sampler), DataLoader(data, batch_size=8))
    found = sampler.losses.tolist()
    assert [found[i] for i in losses] == pytest.approx(list(losses.values()), rel=1e-4)


def test_a_sampler_within_a_batch_sampler_is_found():
    data = numbered()
    sampler = HardExampleSampler(data)
    batches = BatchSampler(sampler, 8, False)
    trainer = toys.quiet(HardExampleMining(on_error="raise", target_fn=second))
    trainer.fit(Mined(), DataLoader(data, batch_sampler=batches), DataLoader(data, batch_size=8))
    assert not sampler.losses.isnan().any()


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_validation_after_fit_has_a_history_of_its_own_and_nothing_is_lost_between_two_resumptions(tmp_path):
    data = flipped()[0]

    def run(epochs, path=None, first=False, size=200):
        errors = LabelErrors(on_error="raise")
        save = ModelCheckpoint(tmp_path, filename="{epoch}", every_n_train_steps=1 if first else None, save_top_k=-1)
        trainer = toys.quiet([errors, save], max_epochs=epochs, enable_checkpointing=True)
        net, val = Knows(toys.images(200)), TensorDataset(*(part[:size] for part in data.tensors))
        trainer.fit(net, toys.loader(), DataLoader(val, batch_size=16), ckpt_path=path)
        return errors, save.best_model_path, trainer, net

    errors, path, trainer, net = run(2)
    trainer.validate(net, DataLoader(data, batch_size=16), ckpt_path=path, verbose=False)
    assert errors.results["val"].epochs == 1
    unread = LabelErrors()
    unread._fits = True
    unread.load_state_dict(torch.load(path, weights_only=True)["callbacks"][errors.state_key])
    assert unread.state_dict()["val"]["events"]  # saved again before the first validation
    other, *_ = run(3, path, size=150)
    assert other.results["val"].epochs == 1


class SequenceFirst(Watching):
    def __init__(self):
        super().__init__(nn.Linear(3, toys.CLASSES))

    def forward(self, x):
        return self.model(x.mean(0))


def sequence_first(batch):
    x, y = torch.utils.data.default_collate(batch)
    return x.transpose(0, 1), y


class Masks(toys.Net):
    def __init__(self, classes=3):
        super().__init__()
        self.model = nn.Conv2d(1, classes, 3, padding=1)

    def step(self, batch, stage):
        self(batch[0] if isinstance(batch, list) else batch["image"])


def test_samples_are_those_of_the_targets_however_inputs_lie():
    data = TensorDataset(torch.rand(27, 5, 3), torch.arange(27) % toys.CLASSES)
    hard = HardExamples(on_error="raise", k=30)
    toys.quiet(hard).validate(SequenceFirst(), DataLoader(data, 20, collate_fn=sequence_first), verbose=False)
    result = hard.results["val"]
    assert result.rows == len(result.groups[0].examples) == 27
    assert "inputs are not shown: there are 5 for 20 targets" in result.notes[0]
    masks = [{"image": x, "mask": torch.randint(3, (8, 8))} for x in toys.images(6).tensors[0]]
    hard = HardExamples(on_error="raise", target_fn=lambda b: b["mask"], inputs_fn=lambda b: b)
    toys.quiet(hard).validate(Masks(), DataLoader(masks, batch_size=3), verbose=False)
    assert hard.results["val"].rows == 6


def test_labels_that_are_ignored_one_alone_and_those_of_positions():
    x = toys.images(12).tensors[0]
    labels = torch.ones(12, 2, dtype=torch.int64)
    labels[:, 1] = -1
    net = Watching(toys.Net(classes=2).model)
    nn.init.constant_(net.model[-1].bias, 20.0)
    hard = HardExamples(on_error="raise", task="multilabel", ignore_index=-1, class_names=["a", "b"])
    toys.quiet(hard).validate(net, toys.loader(TensorDataset(x, labels)), verbose=False)
    assert all((one.actual, one.predicted) == ("a", "a") for *_, one in hard.results["val"].every())
    one = HardExamples(on_error="raise", task="multilabel")
    single = TensorDataset(x, (torch.arange(12) % 2)[:, None])
    toys.quiet(one).validate(Watching(toys.Net(classes=1).model), toys.loader(single), verbose=False)
    assert len(one.results["val"].groups[0].examples) == 12
    dense = HardExamples(on_error="raise", task="multilabel")
    maps = TensorDataset(x, (torch.rand(12, 3, 8, 8) < 0.5).long())
    toys.quiet(dense).validate(Masks(), toys.loader(maps), verbose=False)
    assert dense.results["val"].rows == 12
    assert all(group.truth is None for group in dense.results["val"].groups)  # a position has no one class


def test_training_is_kept_while_a_validation_runs_in_between():
    hard = HardExamples(on_error="raise", stages=["train", "val"])
    toys.quiet(hard, val_check_interval=0.5).fit(toys.Net(), toys.loader(), toys.loader())
    assert hard.results["train"].rows == len(toys.images())


def test_pictures_of_the_last_report_go_where_there_are_fewer(tmp_path):
    class Learns(toys.Net):
        """Wrong in the first epoch, right in the second."""

        def step(self, batch, stage):
            logits = 9 * nn.functional.one_hot(batch[1], toys.CLASSES).float()
            return {"logits": logits if self.current_epoch else -logits}

    hard = HardExamples(on_error="raise")
    folder = tmp_path / "posttrain/val/hard_examples"
    toys.quiet(hard, max_epochs=1, default_root_dir=tmp_path).fit(Learns(), toys.loader(), toys.loader())
    assert len(list(folder.glob("confident_errors/*.png"))) == 15
    assert (folder / "confused_pairs.png").exists()
    toys.quiet(hard, max_epochs=2, default_root_dir=tmp_path).fit(Learns(), toys.loader(), toys.loader())
    assert not list(folder.glob("confident_errors/*.png"))
    assert not (folder / "confused_pairs.png").exists()
    assert len(list(folder.glob("unsure_hits/*.png"))) == 15


def test_with_positions_of_a_custom_dataset_the_first_of_equal_losses_comes_first():
    data = toys.images(24)
    same = TensorDataset(data.tensors[0][:1].expand(24, -1, -1, -1), data.tensors[1][:1].expand(24))
    hard = HardExamples(on_error="raise", k=5)
    toys.quiet(hard).validate(Watching(), DataLoader(same, batch_size=7), verbose=False)
    assert [example.index for example in hard.results["val"].groups[0].examples] == [0, 1, 2, 3, 4]
    loss, *_ = facts(Watching(), same)
    assert loss.unique().numel() <= 3
