"""What goes wrong in a run costs the run nothing, and is said with what to do."""

import errno
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_posttrain import Calibration, ModelExport
from lightning_posttrain.export.folder import places, running, writing
from lightning_posttrain.export.program.quiet import quiet
from tests import toys
from tests.export.test_model_export import fitted

ROOT = Path(__file__).parents[2]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def raising(error):
    def call(*_args, **_options):
        raise error

    return call


def pt2(tmp_path, **options):
    return ModelExport(formats=["pt2"], folder=str(tmp_path / "out"), **options)


@pytest.mark.filterwarnings("ignore:ModelExport could not write")  # what is written in the background meanwhile
@pytest.mark.parametrize(
    ("where", "name"), [(Path, "write_bytes"), (places, "_moved"), (writing, "take_place"), (Path, "mkdir")]
)
def test_a_full_disk_is_said_with_its_cure_and_nothing_is_left(tmp_path, monkeypatch, where, name):
    export = pt2(tmp_path)
    run = export._run.finish

    def finish(*args):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, raising(FULL))
            return run(*args)

    monkeypatch.setattr(export._run, "finish", finish)
    with pytest.warns(UserWarning, match=r"could not export the model: OSError.*Make room on the disk, or write to"):
        trainer, _ = fitted(tmp_path, export, epochs=1)
    assert trainer.state.finished
    assert export.results == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["version_0"]


def test_torch_itself_writes_no_program_to_a_disk(tmp_path, monkeypatch):
    """Where it does, and the disk is full, it ends the process."""
    seen, save = [], torch.export.save

    def looked_at(program, file, **options):
        seen.append(file)
        return save(program, file, **options)

    monkeypatch.setattr(torch.export, "save", looked_at)
    fitted(tmp_path, pt2(tmp_path, on_error="raise"), epochs=1)
    assert [hasattr(file, "getbuffer") for file in seen] == [True]


@pytest.mark.slow
def test_a_disk_that_fills_up_during_a_test_leaves_the_export_of_the_fit(tmp_path, monkeypatch):
    export = pt2(tmp_path)
    trainer, module = fitted(tmp_path, export, epochs=1)
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    monkeypatch.setattr(Path, "write_bytes", raising(FULL))
    with pytest.warns(UserWarning, match="Make room on the disk"):
        trainer.test(module, toys.loader(), verbose=False)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before


@pytest.mark.filterwarnings("ignore:.*is not kept")
@pytest.mark.parametrize(("where", "name"), [(torch.export, "save"), (running, "load_program")])
def test_a_format_that_fails_costs_itself_alone(tmp_path, monkeypatch, where, name):
    monkeypatch.setattr(where, name, raising(ValueError("'model.pt2' is refused: an operator.")))
    export = ModelExport(formats=["pt2", "safetensors"], folder=str(tmp_path / "out"), on_error="raise")
    fitted(tmp_path, export, epochs=1)
    assert export.results["val"]["pt2"].reason == (
        "it cannot be written and opened again: ValueError: 'model.pt2' is refused: an operator. Use another format"
    )
    assert export.results["val"]["safetensors"].kept
    assert (tmp_path / "out" / "weights.safetensors").is_file()


def test_an_interrupt_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.export, "save", raising(KeyboardInterrupt()))
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fitted(tmp_path, pt2(tmp_path), epochs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["version_0"]


@pytest.mark.parametrize("weights", ["best", "last"])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "there is no memory for a copy of the network"),
        (TypeError("cannot pickle a lock"), "cannot be copied: TypeError: cannot pickle a lock. Take what cannot"),
    ],
)
def test_a_module_that_cannot_be_copied_is_said(tmp_path, weights, error, said):
    class Whole(toys.Net):
        def __deepcopy__(self, memo):
            raise error

    with pytest.warns(UserWarning, match=said):
        fitted(tmp_path, pt2(tmp_path, weights=weights), module=Whole(), epochs=1)


def test_a_best_checkpoint_that_is_gone_gives_way_to_the_last_weights_and_that_is_said(tmp_path):
    class Removes(Callback):
        def on_train_end(self, trainer, pl_module):
            Path(trainer.checkpoint_callback.best_model_path).unlink()

    export = pt2(tmp_path, on_error="raise")
    fitted(tmp_path, export, Removes(), epochs=1)
    assert export.results["val"].weights == "the weights at the end of the fit, epoch 0; the best checkpoint is gone"


def test_a_best_checkpoint_that_is_broken_is_said_with_what_to_do(tmp_path):
    class Breaks(Callback):
        def on_train_end(self, trainer, pl_module):
            Path(trainer.checkpoint_callback.best_model_path).write_bytes(b"broken")

    with pytest.warns(UserWarning, match=r"cannot be read as a checkpoint .* Pass weights='last', or the path") as said:
        fitted(tmp_path, pt2(tmp_path), Breaks(), epochs=1)
    assert not any("`members`" in str(one.message) for one in said)


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_the_temperature_is_that_of_the_exported_weights_wherever_the_callback_stands(tmp_path, first):
    callbacks = [pt2(tmp_path, on_error="raise"), Calibration(), ModelCheckpoint(monitor="val/loss")]
    trainer = toys.quiet(
        callbacks if first else callbacks[::-1], max_epochs=3, enable_checkpointing=True, default_root_dir=tmp_path
    )
    trainer.fit(toys.Net(), toys.loader(toys.images(64)), toys.loader(toys.images(60, seed=1)))
    saved = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)["callbacks"]
    wanted = next(state for key, state in saved.items() if "Calibration" in key)["fitted"]
    with (tmp_path / "out" / "manifest.json").open() as file:
        found = json.load(file)["decision"]["calibration"]
    assert (found or {"parameters": {}})["parameters"].get("temperature") == wanted.get("temperature")


def test_a_folder_on_another_machine_is_refused_before_anything_is_trained():
    with pytest.raises(ValueError, match=r"`folder` is 's3://bucket/run', wanted a local path"):
        ModelExport(folder="s3://bucket/run")


def test_what_was_said_once_is_not_said_again_in_other_words(tmp_path):
    class Rowless(toys.Net):
        def validation_step(self, batch, batch_idx):
            return torch.nn.functional.cross_entropy(self(batch[0].reshape(1, -1)), batch[1])

        def forward(self, x):
            return self.model(x.reshape(-1, 1, 8, 8))

    export = ModelExport(formats=["pt2"])
    trainer = toys.quiet([export], logger=CSVLogger(tmp_path, name=""))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer.fit(Rowless(), toys.loader(), toys.loader())
    ours = [str(one.message) for one in said if "ModelExport" in str(one.message)]
    assert len(ours) == 1
    assert "A network of tensors is exported" in ours[0]


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime", "safetensors", "all"])
def test_missing_packages_are_named_with_what_installs_them_and_a_program_is_written(missing, tmp_path):
    blocked = ["onnx", "onnxscript", "onnxruntime", "safetensors"] if missing == "all" else [missing]
    found = subprocess.run(
        [sys.executable, "-m", "tests.export.without_packages", str(tmp_path), *blocked],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    reasons = json.loads(found.stdout.splitlines()[-1])
    assert reasons.pop("pt2") == "it gives the answers that were tested"
    refused = [reason for reason in reasons.values() if "pip install 'lightning-posttrain[export]'" in reason]
    assert len(refused) == {"safetensors": 1, "all": 2}.get(missing, 1)


def test_onnxruntime_tells_nobody_of_the_model(tmp_path):
    code = (
        "import os, lightning_posttrain.export.folder.runtime as runtime\n"
        "runtime.onnxruntime()\n"
        "print(os.environ.get('ORT_DISABLE_TELEMETRY'))"
    )
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = {**kept, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "None"
    assert list(tmp_path.iterdir()) == []


def test_loggers_are_as_they_were_after_what_logs_to_the_root():
    before = list(logging.root.handlers)
    logging.root.handlers.clear()
    try:
        with quiet():
            logging.warning("a library's way")
        assert logging.root.handlers == []
    finally:
        logging.root.handlers[:] = before
