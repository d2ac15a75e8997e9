import csv
import json
import math
import sys
from dataclasses import replace

import optuna
import pytest
import yaml
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI
from optuna.distributions import CategoricalDistribution, FloatDistribution

from lightning_posttrain.tuning import Study, Trial, write_outputs
from lightning_posttrain.tuning.outputs.best_yaml import best_yaml, nested
from lightning_posttrain.tuning.wording import on_test
from tests.tuning import searches
from tests.tuning.studies import SPACE, study

FILES = {"trials.csv", "study.json", "best.yaml", "history.png", "slices.png", "importance.png"}
FILES |= {"parallel_coordinates.png"}


def trials(*values, **options):
    return tuple(Trial(n, {"lr": 0.1}, "complete", value, **options) for n, value in enumerate(values))


def of(found, **options):
    return Study(**{**vars(study(0)), "trials": tuple(found), **options})


@pytest.mark.parametrize(("mode", "number"), [("min", 1), ("max", 2)])
def test_the_best_is_the_earliest_complete_trial_with_the_best_finite_value(mode, number):
    found = [*trials(0.5, 0.2, 0.9, 0.2, 0.9, math.nan, math.inf), Trial(7, {}, "pruned", 0.0), Trial(8, {}, "failed")]
    assert of(found, mode=mode).best.number == number


def test_without_a_complete_trial_none_is_the_best_and_the_error_says_how_they_ended():
    found = of([Trial(0, {}, "failed", reason="ValueError: no"), Trial(1, {}, "pruned")])
    with pytest.raises(ValueError, match="no trial is complete, so there is no best one"):
        _ = found.best
    assert found.notes[0] == "1 trial failed: ValueError: no"


def test_a_study_is_the_same_after_a_round_over_json():
    found = study(12, states=("complete", "pruned", "failed", "running", "waiting"))
    again = Study.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again == found
    assert again.space == SPACE
    odd = of([Trial(0, {}, "complete", 0.5, figures={"a": math.nan}, curve={3: math.nan})])
    back = Study.from_dict(json.loads(json.dumps(odd.to_dict(), allow_nan=False))).trials[0]
    assert math.isnan(back.figures["a"])
    assert math.isnan(back.curve[3])


def test_words_are_the_figures_of_the_study():
    found = list(trials(0.5, 0.6, 0.7))
    found[0] = replace(found[0], test={"test/log_loss": 0.582, "test/accuracy": 0.8})
    words = of([*found, Trial(3, {}, "pruned"), Trial(4, {}, "failed")]).words
    assert words == (
        "trial 0 is the best of 3 complete ones: val/log_loss 0.5 with lr 0.1. The second, trial 1, has 0.6, 0.1 "
        "behind. 5 trials: 3 complete, 1 pruned, 1 failed. On test it has test/log_loss 0.582: the best of 3 on "
        "validation is optimistic, here by 0.082."
    )


def test_a_winner_that_is_better_on_test_is_not_called_optimistic():
    found = replace(trials(0.8)[0], test={"test/accuracy": 0.85})
    words = of([found, *trials(0.1, 0.1)[1:]], mode="max", monitor="val/accuracy").words
    assert "On test it has test/accuracy 0.85, 0.05 better than on validation" in words
    assert "optimistic" not in words


def test_a_tie_is_said():
    assert "Trial 1 is as good." in of(trials(0.5, 0.5)).words


def test_without_a_test_the_optimism_of_the_best_is_a_note():
    assert any("the best of 3 on validation is optimistic" in note for note in of(trials(1, 2, 3)).notes)
    assert not any("optimistic" in note for note in of(trials(1)).notes)


@pytest.mark.parametrize(
    ("number", "sampler", "said"),
    [(8, "tpe", "all were drawn at random"), (12, "gp", "the first 10 were drawn at random"), (15, "tpe", None)],
)
def test_few_trials_of_a_model_are_said_to_be_random(number, sampler, said):
    notes = " ".join(study(number, sampler=sampler).notes)
    assert ("drawn at random" in notes) == (said is not None)
    assert said is None or said in notes
    assert "at random" not in " ".join(study(number, sampler="random").notes)


def test_the_test_figure_of_the_monitored_quantity_is_found():
    names = ["test/log_loss", "test_loss", "accuracy", "test/f1"]
    assert on_test("val/log_loss", names) == "test/log_loss"
    assert on_test("val/log_loss/dataloader_idx_0", names) == "test/log_loss"
    assert on_test("validation_loss", names) == "test_loss"
    assert on_test("valid/f1", names) == "test/f1"
    assert on_test("accuracy", names) == "accuracy"
    assert on_test("value", names) is None


def test_importance_is_that_of_optuna_and_adds_up_to_one():
    found = study(40, states=("complete", "complete", "failed"))
    other = optuna.create_study()
    domains = {"model.lr": FloatDistribution(1e-4, 1.0, log=True), "model.dropout": FloatDistribution(0.0, 0.5)}
    domains["model.depth"] = optuna.distributions.IntDistribution(1, 5)
    domains["model.width"] = CategoricalDistribution(["16", "32", "64"])
    domains["data.augment"] = CategoricalDistribution(["True", "False"])
    for trial in found.ranked:
        params = {n: str(v) if n in ("model.width", "data.augment") else v for n, v in trial.params.items()}
        other.add_trial(optuna.trial.create_trial(params=params, distributions=domains, value=trial.value))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=5 / len(found.ranked))
    expected = optuna.importance.get_param_importances(other, evaluator=evaluator)
    assert found.importance == pytest.approx(expected)
    assert sum(found.importance.values()) == pytest.approx(1.0)
    assert next(iter(found.importance)) == "model.lr"
    assert all(type(share) is float for share in found.importance.values())


def test_importance_of_a_figure_whose_more_is_better_is_that_of_its_negative():
    less = study(30)
    more = replace(less, mode="max", trials=tuple(replace(t, value=-t.value) for t in less.trials))
    assert more.importance == pytest.approx(less.importance)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (study(9), "importance wants 10 complete trials at least, there are 9"),
        (of(trials(*range(12))), "and none varies"),
        (study(12, value=lambda p: 0.5), "the values of all are the best"),
        (study(20, space={"model.lr": (1e-4, 1.0, "log")}, value=lambda p: p["model.lr"]), "'model.lr' alone varies"),
    ],
)
def test_where_there_is_no_importance_its_reason_is_a_note(found, said):
    assert found.importance is None
    assert any(said in note for note in found.notes)


def test_without_optuna_there_is_a_study_without_importance(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "lightning_posttrain.tuning.backend", raising=False)
    found = study(20)
    assert found.importance is None
    assert found.notes[-1] == "importance needs Optuna: pip install 'lightning-posttrain[tuning]'"


def test_the_table_has_every_trial_and_no_column_hides_another():
    found = of([Trial(0, {"step": 3, "lr": 0.1}, "complete", 0.5, step=70, test={"val/log_loss": 0.6})], space={})
    (row,) = found.table
    assert (row["step"], row["parameter step"], row["lr"]) == (70, 3, 0.1)
    assert (row["val/log_loss"], row["test val/log_loss"]) == (0.5, 0.6)


def test_printed_it_is_read_from_the_best_on():
    lines = str(study(30, states=("complete", "failed"))).splitlines()
    assert lines[0].startswith("Study digits: trial ")
    assert lines[2].split()[:3] == ["trial", "status", "val/log_loss"]
    assert int(lines[3].split()[0]) == study(30, states=("complete", "failed")).best.number
    assert "and 10 more" in lines


def test_everything_is_written_and_says_what_the_study_says(tmp_path):
    found = study(20, states=("complete", "complete", "pruned", "failed"))
    write_outputs(found, tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.is_file() and path.name[0] != "."} == FILES
    assert Study.from_dict(json.loads((tmp_path / "study.json").read_text())) == found
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [int(row["trial"]) for row in rows] == list(range(20))
    assert [float(row["model.lr"]) for row in rows] == [trial.params["model.lr"] for trial in found.trials]
    assert rows[3]["reason"] == "RuntimeError: out of memory"
    assert yaml.safe_load((tmp_path / "best.yaml").read_text()) == {
        "model": {name: found.best.params[f"model.{name}"] for name in ("lr", "width", "depth", "dropout")},
        "data": {"augment": found.best.params["data.augment"]},
    }


def test_a_search_writes_it_all_by_itself(tmp_path):
    found = searches.run(tmp_path / "s", trials=2)
    assert {path.name for path in (tmp_path / "s").iterdir()} >= FILES - {"importance.png"}
    assert Study.from_dict(json.loads((tmp_path / "s" / "study.json").read_text())) == found


def test_written_again_it_changes_nothing_and_after_a_trial_what_changed(tmp_path):
    found = study(12)
    write_outputs(found, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("events*")}
    write_outputs(found, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("events*")} == before
    more = replace(found, trials=(*found.trials, Trial(12, found.trials[0].params, "complete", 0.1)))
    write_outputs(more, tmp_path, changed=more.trials[12])
    after = {path for path in tmp_path.rglob("events*") if path.parent.name != "overview"}
    assert {path.parent.name for path in after - set(before)} == {"0012"}
    assert len(list((tmp_path / "overview").iterdir())) == 1
    assert "trial 12" in (tmp_path / "best.yaml").read_text()


def test_what_is_not_ours_stays_and_the_rest_is_written(tmp_path):
    (tmp_path / "best.yaml").write_text("mine: true\n")
    with pytest.warns(UserWarning, match=r"best\.yaml is not lightning_posttrain's and stays as it is. Move it away"):
        write_outputs(study(12), tmp_path)
    assert (tmp_path / "best.yaml").read_text() == "mine: true\n"
    assert {path.name for path in tmp_path.iterdir()} >= FILES
    (tmp_path / "best.yaml").unlink()
    write_outputs(study(12), tmp_path)
    assert "lr" in (tmp_path / "best.yaml").read_text()


def test_a_part_that_fails_costs_neither_the_study_nor_the_others(tmp_path):
    found = of([Trial(0, {"a": 1, "a.b": 2}, "complete", 0.5)], space={"a": [1], "a.b": [2]})
    with pytest.warns(UserWarning, match="'a.b' lies in 'a', which is a parameter itself. Rename one of them"):
        write_outputs(found, tmp_path, prefix="")
    assert (tmp_path / "trials.csv").exists()
    assert (tmp_path / "slices.png").exists()


def test_of_no_trials_and_of_failed_ones_there_are_files_too(tmp_path):
    for found in (study(0), study(3, states=("failed",)), study(2, states=("waiting", "running"))):
        write_outputs(found, tmp_path)
    assert not (tmp_path / "best.yaml").exists()
    assert (tmp_path / "history.png").exists()


def test_names_are_nested_by_their_dots_and_those_without_go_below_a_prefix():
    params = {"lr": 0.1, "data.batch_size": 32, "model.optimizer.name": "adam"}
    assert nested(params, "model") == {"model": {"lr": 0.1, "optimizer": {"name": "adam"}}, "data": {"batch_size": 32}}
    assert nested({"lr": 0.1}, "model.init_args") == {"model": {"init_args": {"lr": 0.1}}}
    assert nested({"lr": 0.1}) == {"lr": 0.1}
    for clash in ({"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}):
        with pytest.raises(ValueError, match="Rename one of them"):
            nested(clash)


class Net(LightningModule):
    def __init__(self, lr: float = 0.5, width: int = 1, activation: str = "relu", bias: bool = True):
        super().__init__()
        self.save_hyperparameters()


class Data(LightningDataModule):
    def __init__(self, batch_size: int = 1):
        super().__init__()
        self.batch_size = batch_size


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of jsonargparse, whose functions LightningCLI calls
@pytest.mark.parametrize("model", ["model.", ""])
def test_lightning_cli_reads_the_best_settings(tmp_path, monkeypatch, model):
    params = {f"{model}lr": 1e-05, f"{model}width": 64, f"{model}activation": "no", f"{model}bias": False}
    found = of([Trial(0, {**params, "data.batch_size": 16}, "complete", 0.5)], space={})
    (tmp_path / "best.yaml").write_bytes(best_yaml(found))
    (tmp_path / "main.yaml").write_text("model: {lr: 0.1, width: 8}\ntrainer: {max_epochs: 3, logger: false}\n")
    arguments = ["--config", str(tmp_path / "main.yaml"), "--config", str(tmp_path / "best.yaml")]
    monkeypatch.setattr(sys, "argv", ["main.py", *arguments])
    cli = LightningCLI(Net, Data, run=False, save_config_callback=None, seed_everything_default=False)
    taken = {name: cli.model.hparams[name] for name in ("lr", "width", "activation", "bias")}
    assert taken == {"lr": 1e-05, "width": 64, "activation": "no", "bias": False}
    assert cli.datamodule.batch_size == 16
