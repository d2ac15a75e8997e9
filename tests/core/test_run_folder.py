"""Each run has a folder of its own, under any logger; what a logger cannot hold is made safe for it alone."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from lightning_posttrain import ClassificationMetrics, ConfusionMatrix
from lightning_posttrain.core.callback.logger_names import plain_name
from tests import toys


class Tracker(Logger):
    """Keeps all runs below one folder, as those for W&B, MLflow and Comet do."""

    def __init__(self, version, name="project", save_dir=None, experiment=None):
        super().__init__()
        self._said = {"version": version, "name": name, "save_dir": save_dir}
        self.experiment = experiment or SimpleNamespace()
        self.logged = {}

    name = property(lambda self: self._said["name"])
    version = property(lambda self: self._said["version"])
    save_dir = property(lambda self: self._said["save_dir"])

    def log_metrics(self, metrics, step=None):
        self.logged.update({key: (value, step) for key, value in metrics.items()})

    def log_hyperparams(self, *args, **options):
        pass


def validated(loggers, callbacks=None, **options):
    trainer = toys.quiet(callbacks or ConfusionMatrix(on_error="raise"), logger=loggers, **options)
    trainer.validate(toys.Net(), toys.loader(), verbose=False)
    return trainer


def folders(root):
    return sorted(str(path.relative_to(root).parents[2]) for path in Path(root).rglob("val/confusion_matrix.json"))


def test_two_runs_under_one_tracker_do_not_overwrite_each_other(tmp_path):
    for version in ("a1b2", "c3d4"):
        validated(Tracker(version, save_dir=tmp_path / "all"))
    assert folders(tmp_path) == ["all/project/a1b2", "all/project/c3d4"]


@pytest.mark.parametrize(
    ("tracker", "folder"),
    [
        (Tracker("id"), "project/id"),
        (Tracker(3), "project/version_3"),
        (Tracker("id", name=None), "id"),
        (Tracker("id", name="team/it"), "team/it/id"),
        (Tracker("../..", name="."), "-2616da6a/-9608161c/-9608161c"),
        (Tracker(None), "."),
        (Tracker(""), "."),
    ],
)
def test_the_folder_is_named_by_name_and_id(tracker, folder, tmp_path):
    trainer = validated(tracker, default_root_dir=tmp_path / "root")
    if folder.startswith("-"):
        assert len(folders(tmp_path)) == 1
        assert not folders(tmp_path)[0].startswith("..")
    else:
        assert folders(trainer.default_root_dir) == [folder]


def test_a_logger_with_a_folder_of_its_own_comes_first(tmp_path):
    board = TensorBoardLogger(tmp_path, name="board")
    validated([Tracker("id"), board])
    assert folders(tmp_path) == ["board/version_0"]
    validated([Tracker("id"), CSVLogger(tmp_path, name="csv"), board])
    assert folders(tmp_path) == ["board/version_0", "csv/version_0"]


def test_without_a_logger_it_is_the_trainers_root(tmp_path):
    validated(False, default_root_dir=tmp_path / "root")
    assert folders(tmp_path) == ["root"]


def test_a_logger_that_cannot_say_where_costs_no_run(tmp_path):
    class Broken(Tracker):
        @property
        def version(self):
            raise RuntimeError("not logged in")

    validated(Broken("id"))
    assert folders(tmp_path) == ["."]


# loggers that end the process


class Leaving(Tracker):
    """Its client cannot log in, and ends the process, once the run has begun."""

    def __init__(self, error):
        super().__init__("id")
        self.error, self.begun = error, False

    @property
    def experiment(self):
        if self.begun:
            raise self.error

    @experiment.setter
    def experiment(self, value):
        pass


class Begins(Callback):
    def on_validation_start(self, trainer, pl_module):
        for logger in trainer.loggers:
            logger.begun = True


def test_a_logger_that_would_end_the_process_costs_a_warning_and_no_file(tmp_path):
    with pytest.warns(UserWarning, match="could not reach a logger: RuntimeError: .*experiment raised SystemExit: 0"):
        validated(Leaving(SystemExit(0)), [Begins(), ConfusionMatrix()])
    assert folders(tmp_path) == ["project/id"]


def test_a_logger_that_leaves_while_a_picture_is_written_costs_a_warning(tmp_path):
    class Board:
        def add_image(self, *args, **options):
            raise SystemExit(1)

        def add_text(self, *args): ...

    with pytest.warns(UserWarning, match="could not write to TensorBoard: RuntimeError: SystemExit: 1"):
        validated(Tracker("id", experiment=Board()), ConfusionMatrix())
    assert folders(tmp_path) == ["project/id"]


# names of scalars


class Client:
    """What tells MLflow's client from others."""

    def log_batch(self): ...
    def log_artifact(self): ...


class Mlflow(Tracker):
    """Takes out of names what Lightning's logger takes out, and refuses what MLflow refuses."""

    def __init__(self):
        super().__init__("id", experiment=Client())

    def log_metrics(self, metrics, step=None):
        for name in metrics:
            assert re.fullmatch(r"[a-zA-Z0-9_/. -]+", name), name
            assert not name.endswith("/")
        super().log_metrics(metrics, step)


NAMES = ["猫", "e%", "e", "a/b"]


@pytest.mark.parametrize("beside", [True, False])
def test_class_names_of_any_letters_end_no_run_under_mlflow(beside, tmp_path):
    mlflow, other = Mlflow(), Tracker("other")
    recalls = ClassificationMetrics(log=["accuracy", "per_class/recall/*"], class_names=NAMES, on_error="raise")
    trainer = toys.quiet(recalls, logger=[mlflow, other] if beside else mlflow, max_epochs=2)
    seed_everything(0, verbose=False)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    monitored = {name: float(trainer.callback_metrics[f"val/per_class/recall/{name}"]) for name in NAMES}
    there = {key: value for key, value in mlflow.logged.items() if "recall" in key}
    assert len(there) == 4  # also those that differ in what is taken out alone
    for name in NAMES:
        assert there[plain_name(f"val/per_class/recall/{name}")] == (pytest.approx(monitored[name]), 7)
        if beside:
            assert other.logged[f"val/per_class/recall/{name}"] == (pytest.approx(monitored[name]), 7)
    assert {"val/per_class/recall/e", "val/per_class/recall/a/b", "val/accuracy"} <= mlflow.logged.keys()
    assert json.loads((tmp_path / "project" / "id" / "posttrain" / "val" / "classification_report.json").read_text())


def test_without_such_a_logger_no_name_changes():
    other = Tracker("other")
    recalls = ClassificationMetrics(log=["per_class/recall/*"], class_names=NAMES, on_error="raise")
    validated(other, recalls)
    assert {f"val/per_class/recall/{name}" for name in NAMES} <= other.logged.keys()


@pytest.mark.parametrize("name", ["猫", "", ".", "..", "a.", "e%", "ü" * 300, " ", "a\nb", "-", "\ud800"])
def test_a_plain_name_is_one_that_mlflow_takes(name):
    plain = plain_name(f"val/{name}")
    assert re.fullmatch(r"[a-zA-Z0-9_/. -]+", plain)
    assert str(Path(plain)) == plain
    assert not plain.endswith((".", " ", "/"))
    assert len(plain) < 120


def test_plain_names_stay_apart():
    names = ["e", "e%", "e$", "e_", "é", "猫", "犬"]
    assert len({plain_name(name) for name in names}) == len(names)
