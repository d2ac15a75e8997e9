"""What every callback keeps: a new one is covered by a line in ``CALLBACKS``."""

import json
import pickle
from pathlib import Path

import lightning.pytorch as lightning
import numpy as np
import pytest
import pytorch_lightning
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import lightning_posttrain
from lightning_posttrain import (
    Calibration,
    CheckpointEnsemble,
    ClassificationMetrics,
    ConfusionMatrix,
    DecisionThresholds,
    Explanations,
    FeatureMaps,
    GeneralizationGap,
    HardExampleMining,
    HardExamples,
    LabelErrors,
    ModelExport,
    ModelProfile,
    SaliencyMaps,
    ScoreCurves,
    StreamCallback,
    Surrogate,
    TorchMetrics,
    posttrain_suite,
)
from lightning_posttrain.core.output.artifacts import Cleared
from lightning_posttrain.core.output.sinks.folder import FolderSink
from tests import toys

SUITE = [
    ClassificationMetrics,
    ConfusionMatrix,
    ScoreCurves,
    Calibration,
    DecisionThresholds,
    HardExamples,
    SaliencyMaps,
]
CALLBACKS = [*SUITE, Explanations, Surrogate, FeatureMaps]
QUICK = {Explanations: {"samples": 2, "perturbations": 32}, Surrogate: {"repeats": 1}}
OTHERS = [
    CheckpointEnsemble,
    GeneralizationGap,
    HardExampleMining,
    LabelErrors,
    ModelExport,
    ModelProfile,
    TorchMetrics,
]  # report something else than an evaluation, in tests of their own
each = pytest.mark.parametrize("kind", CALLBACKS)


def made(kind, **options):
    """One with defaults, but for what takes long."""
    return kind(**QUICK.get(kind, {}), **options)


def test_every_public_callback_is_in_the_list():
    public = [getattr(lightning_posttrain, name) for name in lightning_posttrain.__all__]
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, lightning.Callback)}
    assert kinds == {StreamCallback, *CALLBACKS, *OTHERS}


@each
def test_it_is_a_callback_of_both_namespaces(kind):
    assert issubclass(kind, lightning.Callback)
    assert issubclass(kind, pytorch_lightning.Callback)


def test_the_suite_has_those_that_cost_next_to_nothing():
    assert [type(callback) for callback in posttrain_suite()] == SUITE


@each
@pytest.mark.parametrize("namespace", [lightning, pytorch_lightning])
@pytest.mark.parametrize("alone", [True, False])
def test_it_runs_in_a_trainer_of_either_namespace_alone_or_in_a_list(kind, namespace, alone):
    class Module(namespace.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = toys.Net()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            self(batch[0])

        test_step = validation_step

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    callback = made(kind, on_error="raise")
    trainer = namespace.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=callback if alone else [callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = Module()
    trainer.fit(module, toys.loader(), toys.loader())
    trainer.test(module, toys.loader(), verbose=False)
    assert set(callback.results) == {"val", "test"}


@each
def test_it_leaves_the_latest_result_as_files_that_parse(kind, tmp_path):
    callback = made(kind, on_error="raise", class_names=["kö", "a/b", "..", "<c>"])
    trainer = toys.quiet(callback, max_epochs=2)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    folder = tmp_path / "posttrain" / "val"
    record = json.loads((folder / f"{kind.tag}.json").read_text())
    assert record["epoch"] == 1
    assert record["step"] == 7  # the step of Lightning's own scalars: four batches an epoch, from 0
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file() and path.stem != "report"}
    assert suffixes <= {".json", ".csv", ".png"}
    assert not list(folder.rglob(".*"))


@each
def test_what_a_logger_shows_has_a_tag_of_its_own(kind):
    callback = made(kind)
    toys.quiet(callback).validate(toys.Net(), toys.loader(), verbose=False)
    shown = list(callback.show(callback.results["val"], "val"))
    drawn = [t for t in shown if not isinstance(t.artifact, Cleared)]
    visible = [t.tag for t in drawn if not getattr(t.artifact, "files_only", False)]
    assert visible
    assert len(visible) == len(set(visible))  # TensorBoard knows a tag as one kind of data


@each
def test_its_results_are_plain_data(kind):
    callback = made(kind)
    toys.quiet(callback).validate(toys.Net(), toys.loader(), verbose=False)
    result = callback.results["val"]
    json.dumps(result.to_dict(), allow_nan=False)
    assert all(isinstance(value, float) for value in result.scalars().values())
    assert isinstance(result.notes, tuple)
    with pytest.raises(AttributeError):
        result.anything = 1


@each
def test_it_can_be_pickled_before_and_after_a_run(kind):
    callback = made(kind)
    pickle.loads(pickle.dumps(callback))
    toys.quiet(callback).validate(toys.Net(), toys.loader(), verbose=False)
    assert set(pickle.loads(pickle.dumps(callback)).results) == {"val"}


@each
def test_stages_limit_it(kind):
    callback = made(kind, stages=["test"])
    trainer = toys.quiet(callback)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    assert callback.results == {}
    trainer.test(toys.Net(), toys.loader(), verbose=False)
    assert set(callback.results) == {"test"}


@each
def test_the_sanity_check_leaves_nothing(kind, tmp_path):
    callback = made(kind, on_error="raise")

    class Stop(lightning.Callback):
        def on_train_start(self, trainer, pl_module):
            assert callback.results == {}
            assert not (tmp_path / "posttrain").exists()
            trainer.should_stop = True

    toys.quiet([callback, Stop()]).fit(toys.Net(), toys.loader(), toys.loader())


@each
@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"barebones": True}])
def test_fast_dev_run_and_barebones_compute_and_log_no_surprise(kind, options, tmp_path):
    callback = made(kind, on_error="raise")
    lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=callback,
        **options,
        **({} if "barebones" in options else {"enable_progress_bar": False}),
    ).fit(toys.Net() if "fast_dev_run" in options else Silent(), toys.loader(), toys.loader())
    # one batch has too few rows for a tree
    assert set(callback.results) == (set() if kind is Surrogate and "fast_dev_run" in options else {"val"})
    if "fast_dev_run" in options:
        assert not (tmp_path / "posttrain").exists()


class Silent(toys.Net):
    """Logs nothing, as ``barebones`` wants."""

    def step(self, batch, stage):
        self(batch[0])


class Everywhere(toys.Net):
    """Draws random numbers in training, has dropout and batch normalisation, and raises where it is told to."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.fail_at = fail_at

    def training_step(self, batch, batch_idx):
        x = batch[0] + 0.1 * torch.randn_like(batch[0]) + 0.01 * float(np.random.rand())
        return nn.functional.cross_entropy(self(x), batch[1])

    def step(self, batch, stage):
        if self.fail_at == stage and not self.trainer.sanity_checking:
            raise RuntimeError("the user's own")
        return super().step(batch, stage)


def hooks(module):
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


def state(module):
    return {
        "hooks": hooks(module),
        "attributes": {name: sorted(vars(part)) for name, part in module.named_modules()},
        "requires_grad": [p.requires_grad for p in module.parameters()],
    }


@each
def test_no_hook_is_left_after_fit_and_test(kind):
    module = Everywhere()
    before = state(module)
    trainer = toys.quiet(made(kind, on_error="raise"))
    trainer.fit(module, toys.loader(), toys.loader())
    trainer.test(module, toys.loader(), verbose=False)
    after = state(module)
    assert after["hooks"] == before["hooks"] == 0
    assert after["requires_grad"] == before["requires_grad"]
    assert after["attributes"]["model"] == before["attributes"]["model"]


@each
@pytest.mark.parametrize("stage", ["val", "test"])
def test_no_hook_is_left_after_an_exception_in_the_middle_of_an_epoch(kind, stage):
    module = Everywhere(fail_at=stage)
    trainer = toys.quiet(made(kind))
    run = trainer.fit if stage == "val" else trainer.test
    loaders = (toys.loader(), toys.loader()) if stage == "val" else (toys.loader(),)
    with pytest.raises(RuntimeError, match="the user's own"):
        run(module, *loaders)
    assert hooks(module) == 0


def trained(callbacks, **options):
    """Weights, buffers and the random state after a run in which everything could be disturbed."""
    lightning.seed_everything(7, verbose=False)
    module = Everywhere()
    data = toys.images(48)
    trainer = toys.quiet(
        callbacks,
        max_epochs=3,
        accumulate_grad_batches=2,
        val_check_interval=1,
        check_val_every_n_epoch=None,
        **options,
    )
    trainer.fit(module, toys.loader(data, 8, shuffle=True), toys.loader())
    drawn = torch.rand(3), torch.tensor(np.random.rand(3))
    return [*module.state_dict().values(), *drawn]


@pytest.mark.parametrize("options", [{}, pytest.param({"precision": "bf16-mixed"}, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "kinds",
    [*[pytest.param([kind], marks=pytest.mark.slow) for kind in CALLBACKS], [*CALLBACKS, GeneralizationGap]],
    ids=lambda kinds: str(len(kinds)),
)
def test_training_comes_out_bit_for_bit_as_without(kinds, options):
    plain = trained([], **options)
    watched = trained([made(kind, on_error="raise") for kind in kinds], **options)
    assert len(plain) == len(watched)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


def test_a_folder_that_cannot_be_written_costs_a_warning_not_the_run(tmp_path, monkeypatch):
    def refuse(self, tag, artifact, step):
        raise PermissionError(13, "Permission denied", str(self.folder))

    monkeypatch.setattr(FolderSink, "write", refuse)
    suite = posttrain_suite()
    with pytest.warns(UserWarning, match=r"could not write to .*posttrain: PermissionError.*The run goes on") as caught:
        toys.quiet(suite, max_epochs=3).fit(toys.Net(), toys.loader(), toys.loader())
    said = [str(w.message) for w in caught if "could not" in str(w.message)]
    assert sorted(text.split()[0] for text in said) == sorted(kind.__name__ for kind in SUITE)
    assert all(set(callback.results) == {"val"} for callback in suite)


def test_a_folder_that_cannot_be_written_keeps_nothing_from_tensorboard(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    Path(logger.log_dir).mkdir(parents=True)
    (Path(logger.log_dir) / "posttrain").write_text("in the way")
    with pytest.warns(UserWarning, match="ConfusionMatrix could not write to"):
        toys.quiet(ConfusionMatrix(), logger=logger).validate(toys.Net(), toys.loader(), verbose=False)
    logger.save()
    assert "val/confusion_matrix" in EventAccumulator(logger.log_dir).Reload().Tags()["images"]


def test_what_cannot_be_drawn_is_said_and_the_figures_are_written_all_the_same(tmp_path, monkeypatch):
    def stumble(*args, **options):
        raise MemoryError("no room")

    monkeypatch.setattr("lightning_posttrain.classification.render.confusion.confusion_image", stumble)
    with pytest.warns(UserWarning, match="ConfusionMatrix could not draw: MemoryError: no room"):
        toys.quiet(ConfusionMatrix()).validate(toys.Net(), toys.loader(), verbose=False)
    assert (tmp_path / "posttrain" / "val" / "confusion_matrix.json").exists()


def test_a_file_in_the_place_of_the_folder_is_such_a_case(tmp_path):
    (tmp_path / "posttrain").write_text("in the way")
    with pytest.warns(UserWarning, match="ConfusionMatrix could not"):
        toys.quiet(ConfusionMatrix()).validate(toys.Net(), toys.loader(), verbose=False)
    with pytest.raises(OSError, match="posttrain"):
        toys.quiet(ConfusionMatrix(on_error="raise")).validate(toys.Net(), toys.loader(), verbose=False)


def test_files_go_beside_the_loggers_own(tmp_path):
    logger = CSVLogger(tmp_path, name="mine")
    trainer = toys.quiet(ConfusionMatrix(on_error="raise"), logger=logger)
    trainer.validate(toys.Net(), toys.loader(), verbose=False)
    assert (Path(logger.log_dir) / "posttrain" / "val" / "confusion_matrix.png").exists()


def test_two_callbacks_share_one_capture_and_one_metric(monkeypatch):
    from lightning_posttrain.classification.metric.confusion import ConfusionCounts

    counted = []
    add = ConfusionCounts.add_rows
    monkeypatch.setattr(ConfusionCounts, "add_rows", lambda self, rows: counted.append(len(rows)) or add(self, rows))
    names = ["a", "b", "c", "d"]
    callbacks = [ClassificationMetrics(), ConfusionMatrix(class_names=names), ConfusionMatrix(name="other")]
    toys.quiet(callbacks).validate(toys.Net(), toys.loader(), verbose=False)
    assert counted == [37]
    assert callbacks[1].results["val"].class_names == tuple(names)
    assert callbacks[2].results["val"].class_names == ("0", "1", "2", "3")
