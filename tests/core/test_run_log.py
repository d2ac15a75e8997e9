"""A run as a whole: run.json, and a line of history.jsonl for each epoch and stage."""

import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix
from lightning_posttrain.core.output import run_log
from lightning_posttrain.core.output.run_folder import RunFolder
from lightning_posttrain.core.output.run_log import Moment, RunLog, thinned
from lightning_posttrain.core.stream.run_facts import commit_of
from tests import toys


class Logs(toys.Net):
    """Logs in steps, and at the end of its epochs."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss

    def on_train_epoch_end(self):
        self.log("train_epochs", float(self.current_epoch))

    def on_validation_epoch_end(self):
        self.log("val_at_end", 2.0 + self.current_epoch)


def fit(epochs=2, callbacks=(), **options):
    known = options.pop("ckpt_path", None)
    trainer = toys.quiet([ClassificationMetrics(on_error="raise"), *callbacks], max_epochs=epochs, **options)
    module = Logs("dict")
    trainer.fit(module, toys.loader(toys.images(40)), toys.loader(toys.images(20, seed=1)), ckpt_path=known)
    return trainer, module


def places(stages=("train", "val")):
    return [(line["stage"], line["epoch"]) for line in RunFolder(".").history() if line["stage"] in stages]


class Heard(Callback):
    """What is known when an epoch has ended."""

    def __init__(self):
        self.known = []

    def on_train_epoch_start(self, trainer, pl_module):
        self.known.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def test_each_epoch_and_stage_has_a_line_with_what_was_logged():
    heard = Heard()
    trainer, module = fit(epochs=3, callbacks=[heard])
    trainer.test(module, toys.loader(toys.images(30, seed=2)), verbose=False)
    lines = RunFolder(".").history()
    assert places(("train", "val", "test")) == [
        *((stage, n) for n in range(3) for stage in ("val", "train")),
        ("test", 2),
    ]
    for epoch, known in enumerate(heard.known[1:]):
        on_val, on_train = lines[2 * epoch : 2 * epoch + 2]
        assert on_val["metrics"]["accuracy"] == known["val/accuracy"]
        assert on_val["metrics"]["at_end"] == known["val_at_end"] == 2 + epoch
        assert on_train["metrics"]["epochs"] == epoch
        assert on_train["metrics"]["loss_epoch"] == known["train/loss_epoch"]
        assert not any("val" in name or "accuracy" in name for name in on_train["metrics"])
        record = RunFolder(".").record("val", "classification_report")
    assert lines[4]["metrics"]["accuracy"] == record["accuracy"]
    assert (record["epoch"], record["step"]) == (lines[4]["epoch"], lines[4]["step"])
    assert [line["seconds"] for line in lines[:6]] == sorted(line["seconds"] for line in lines[:6])
    assert lines[6]["metrics"]["loss"] == pytest.approx(float(trainer.callback_metrics["test/loss"]))


def test_the_run_says_with_what_it_was_made():
    seed_everything(7)
    trainer, module = fit(epochs=1)
    (callback,) = (one for one in trainer.callbacks if isinstance(one, ClassificationMetrics))
    trainer.test(module, toys.loader(toys.images(30, seed=2)), verbose=False)
    run = RunFolder(".").run
    assert (run["kind"], run["schema"], run["seed"]) == ("run", 1, 7)
    assert run["versions"]["torch"] == torch.__version__
    assert run["module"] == "tests.core.test_run_log.Logs"
    assert run["class_names"] == ["0", "1", "2", "3"]
    (ours,) = (one["arguments"] for one in run["callbacks"] if one["name"] == "ClassificationMetrics")
    assert (ours["beta"], ours["top_k"], ours["resamples"]) == (callback.beta, [5], 1000)
    assert {stage: facts["rows"] for stage, facts in run["stages"].items()} == {"val": 20, "fit": 40, "test": 30}
    assert run["stages"]["test"] == {
        "epoch": 0, "step": 4, "rows": 30, "checkpoint": None, "weights": "as they were at the end of the fit",
    }  # fmt: skip
    assert run["created"] <= run["updated"]


class Sends(Callback):
    def __init__(self, token):
        self.token = token


def test_arguments_of_somebody_elses_callback_are_not_written():
    fit(epochs=1, callbacks=[Sends("s3cret")])
    assert {"name": "Sends", "arguments": {}} in RunFolder(".").run["callbacks"]
    assert "s3cret" not in Path("posttrain/run.json").read_text()


def test_a_test_of_a_checkpoint_says_which_and_of_which_epoch(tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", filename="of{epoch}", save_top_k=-1)
    fit(epochs=3, callbacks=[keep], enable_checkpointing=True)
    trainer = toys.quiet([ClassificationMetrics(on_error="raise"), keep], enable_checkpointing=True)
    trainer.test(
        Logs("dict"), toys.loader(toys.images(30)), ckpt_path=tmp_path / "kept" / "ofepoch=1.ckpt", verbose=False
    )
    stage = RunFolder(".").run["stages"]["test"]
    assert (stage["epoch"], stage["checkpoint"]) == (1, "ofepoch=1.ckpt")
    assert stage["weights"] == "of the checkpoint ofepoch=1.ckpt"
    assert RunFolder(".").record("test", "classification_report")["epoch"] == 1
    assert len(places()) == 6


def test_a_resumed_run_goes_on_with_its_lines_and_leaves_out_what_it_does_again(tmp_path):
    keep = ModelCheckpoint(tmp_path / "kept", filename="of{epoch}", save_top_k=-1)
    fit(epochs=3, callbacks=[keep], enable_checkpointing=True)
    before = RunFolder(".").history()
    created = RunFolder(".").run["created"]
    fit(epochs=4, callbacks=[keep], enable_checkpointing=True, ckpt_path=tmp_path / "kept" / "ofepoch=0.ckpt")
    assert sorted(places()) == sorted((stage, n) for n in range(4) for stage in ("val", "train"))
    after = RunFolder(".").history()
    assert after[0] == before[0]
    assert after[2]["seconds"] > before[0]["seconds"]
    assert RunFolder(".").run["created"] == created


def test_a_run_anew_in_the_same_folder_begins_anew():
    fit(epochs=3)
    fit(epochs=1)
    assert places() == [("val", 0), ("train", 0)]


def test_a_validation_by_itself_adds_no_line():
    trainer, module = fit(epochs=1)
    before = RunFolder(".").history()
    trainer.validate(module, toys.loader(toys.images(30)), verbose=False)
    assert RunFolder(".").history() == before
    assert RunFolder(".").run["stages"]["val"]["rows"] == 30


class Breaks(Callback):
    def on_train_batch_end(self, trainer, *args):
        if trainer.current_epoch == 2:
            raise RuntimeError("a cable")


def test_a_crash_in_the_middle_leaves_the_lines_before():
    with pytest.raises(RuntimeError, match="a cable"):
        fit(epochs=4, callbacks=[Breaks()])
    assert places() == [("val", 0), ("train", 0), ("val", 1), ("train", 1)]


@pytest.mark.filterwarnings("ignore:.*held files and no record")
def test_a_file_that_is_not_ours_stays(tmp_path):
    (tmp_path / "posttrain").mkdir()
    (tmp_path / "posttrain" / "run.json").write_text("mine")
    fit(epochs=1)
    assert Path("posttrain/run.json").read_text() == "mine"
    assert places() == [("val", 0), ("train", 0)]


def test_what_was_said_is_among_the_remarks():
    data = toys.images(30)
    data.tensors[0][3] = torch.nan
    trainer = toys.quiet(ConfusionMatrix())
    with pytest.warns(UserWarning, match="1 rows left out"):
        trainer.test(toys.Net("dict"), toys.loader(data), verbose=False)
    remarks = RunFolder(".").run["remarks"]
    assert [one["stage"] for one in remarks if "1 rows left out" in one["text"]] == ["test"]


def test_a_long_history_is_thinned_and_that_is_said(monkeypatch):
    monkeypatch.setattr(run_log, "MOST", 20)
    log = RunLog(since=0)
    for epoch in range(40):
        for stage in ("val", "train"):
            moment = Moment(stage, epoch, 10 * epoch, {"loss": 1 / (1 + epoch)}, float(epoch))
            tagged = {one.tag: one.artifact for one in log.written("", {}, {}, moment)}
    lines = [json.loads(line) for line in tagged["history"].content.decode().splitlines()]
    assert len(lines) <= 20
    for stage in ("val", "train"):
        epochs = [line["epoch"] for line in lines if line["stage"] == stage]
        assert (epochs[0], epochs[-1]) == (0, 39)
        assert epochs == sorted(epochs)
    said = [one["text"] for one in json.loads(tagged["run"].content)["remarks"]]
    assert said == ["history.jsonl keeps 20 lines; every other of the older ones is left out"]


def test_every_other_line_of_each_stage_stays():
    lines = [{"stage": stage, "epoch": n} for n in range(6) for stage in ("val", "train")]
    assert [line["epoch"] for line in thinned(lines)] == [0, 0, 2, 2, 4, 4, 5, 5]


def test_the_commit_is_read_from_the_files_of_git(tmp_path):
    assert commit_of(tmp_path) is None
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit_of(tmp_path) is None
    (git / "packed-refs").write_text("# pack-refs\nabc123 refs/heads/main\n")
    assert commit_of(tmp_path / "posttrain") == "abc123"
    (git / "refs" / "heads" / "main").write_text("def456\n")
    assert commit_of(tmp_path) == "def456"
    (git / "HEAD").write_text("fed987\n")
    assert commit_of(tmp_path) == "fed987"
