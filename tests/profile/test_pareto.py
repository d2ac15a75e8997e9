"""Runs beside each other, from their folders."""

import json
import math

import pytest

from lightning_posttrain.profile import pareto
from lightning_posttrain.profile.compared.front import on_front
from lightning_posttrain.profile.render.pareto import pareto_image

COSTS = {
    "mlp": (0.944, (0.92, 0.958), 52_650, 104_000, 3.1e-5, 3.2, 5),
    "cnn": (0.978, (0.964, 0.99), 46_000, 2_900_000, 9.1e-5, 6.4, 9),
    "vit": (0.962, (0.94, 0.98), 102_000, 3_700_000, 6.3e-4, 21.5, 34),
}


def written(root, name, *, stage="test"):
    value, interval, parameters, flops, latency, seconds, layers = COSTS[name]
    folder = root / name / "version_0"
    place = folder / "posttrain" / stage
    place.mkdir(parents=True)
    report = {"accuracy": value, "intervals": {"accuracy": interval}, "per_class": [{"support": 300}, {"support": 197}]}
    (place / "classification_report.json").write_text(json.dumps(report))
    costs = {"parameters": parameters, "flops": flops, "layers": layers, "training_seconds": seconds}
    (place / "profile.json").write_text(json.dumps({**costs, "latency": {"1": {"median": latency}}}))
    return folder


@pytest.fixture
def folders(tmp_path):
    return [written(tmp_path, name) for name in COSTS]


def test_the_front_is_what_no_other_beats():
    def slow(values, costs):
        return [
            not any(v >= value and c <= cost and (v, c) != (value, cost) for v, c in zip(values, costs, strict=True))
            for value, cost in zip(values, costs, strict=True)
        ]

    values, costs = [0.9, 0.95, 0.94, 0.95, 0.7], [10, 20, 30, 25, 5]
    assert on_front(values, costs) == slow(values, costs) == [True, True, False, False, True]
    assert on_front([-v for v in values], costs, falling=True) == slow(values, costs)
    assert on_front([0.9, math.nan, 0.8], [math.nan, 1, 2]) == [False, False, True]


def test_runs_stand_beside_each_other_with_what_their_folders_say(folders):
    found = pareto(folders)
    assert [run.name for run in found.runs] == ["mlp", "cnn", "vit"]
    assert [run.rows for run in found.runs] == [497, 497, 497]
    assert found.front("parameters") == ("cnn",)
    assert found.front("flops") == found.front("latency") == found.front("training_seconds") == ("mlp", "cnn")
    text = str(found)
    assert "cnn  0.9780    0.9640 to 0.9900  46 k *" in text
    assert "intervals of cnn and vit overlap" in text, "that of the MLP lies below"
    assert "these 497 rows alone do not tell which is better" in text


def test_what_is_saved_can_be_read(folders, tmp_path):
    found = pareto(folders)
    folder = found.save(tmp_path / "compared")
    record = json.loads((folder / "pareto.json").read_text())
    assert record["fronts"]["flops"] == ["mlp", "cnn"]
    lines = (folder / "pareto.csv").read_text().splitlines()
    assert lines[0] == "run,accuracy,95 % interval,parameters,layers,FLOPs,latency,training"
    assert len(lines) == 4
    assert (folder / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_has_room_for_what_was_measured_alone(folders):
    whole = pareto_image(pareto(folders)).pixels
    for folder in folders:
        place = folder / "posttrain" / "test" / "profile.json"
        costs = json.loads(place.read_text())
        place.write_text(json.dumps({"parameters": costs["parameters"], "flops": costs["flops"]}))
    found = pareto(folders)
    assert found.costs == ("parameters", "flops")
    assert pareto_image(found).pixels.shape[0] < whole.shape[0]


def test_training_time_is_taken_from_the_fit_where_a_test_has_none(folders):
    home = folders[0] / "posttrain"
    place = home / "test" / "profile.json"
    costs = json.loads(place.read_text())
    (home / "fit").mkdir()
    (home / "fit" / "profile.json").write_text(json.dumps({"training_seconds": 5.5}))
    place.write_text(json.dumps({**costs, "training_seconds": None}))
    assert pareto(folders).runs[0].costs["training_seconds"] == 5.5


def test_folders_of_no_run_are_named_with_what_is_near(folders, tmp_path):
    with pytest.raises(ValueError, match="wanted the folders of two runs or more"):
        pareto(folders[:1])
    with pytest.raises(ValueError, match=r"is no folder; wanted that of a run, as trainer\.log_dir"):
        pareto([*folders, tmp_path / "nothing"])
    with pytest.raises(ValueError, match=r"There is .*cnn/version_0: pass the folder of one run"):
        pareto([tmp_path / "cnn", folders[0]])
    with pytest.raises(ValueError, match="`metric` is 'acuracy', wanted one of accuracy"):
        pareto(folders, metric="acuracy")
    with pytest.raises(ValueError, match=r"has no figures\. Run trainer\.validate with ClassificationMetrics"):
        pareto(folders, stage="val")
    (folders[1] / "posttrain" / "test" / "profile.json").unlink()
    with pytest.raises(ValueError, match=r"has no profile\.json\. Run it with ModelProfile\(\) among the callbacks"):
        pareto(folders)
