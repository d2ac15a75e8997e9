"""What TensorBoard's own plugin makes of the event files."""

from dataclasses import replace

import pytest
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import metadata
from tensorboard.util.tensor_util import make_ndarray

from lightning_posttrain.tuning import Trial, write_outputs
from tests.tuning.studies import study


def read(folder):
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    return multiplexer


def of_plugin(multiplexer, run, plugin):
    try:
        return set(multiplexer.PluginRunToTagToContent(plugin).get(run, {}))
    except KeyError:
        return set()


def contents(multiplexer):
    """By run: start, end and experiment, as the plugin parses them, and the last value of each scalar."""
    found = {}
    for run in multiplexer.Runs():
        tags = multiplexer.PluginRunToTagToContent(metadata.PLUGIN_NAME).get(run, {})
        scalars = {tag: multiplexer.Tensors(run, tag) for tag in of_plugin(multiplexer, run, "scalars")}
        assert all(len(points) == 1 for points in scalars.values())
        found[run] = {tag.split("/")[1]: content for tag, content in tags.items()}
        found[run]["figures"] = {tag: float(make_ndarray(points[0].tensor_proto)) for tag, points in scalars.items()}
    return found


def started(each):
    return metadata.parse_session_start_info_plugin_data(each["session_start_info"])


def status(each):
    return metadata.parse_session_end_info_plugin_data(each["session_end_info"]).status


def plain(value):
    return getattr(value, value.WhichOneof("kind"))


@pytest.fixture
def mixed():
    """One of each: complete, pruned, failed, running, waiting, one that lacks a parameter, and one tried again."""
    found = study(3, states=("complete", "pruned", "failed"))
    params = dict(found.trials[0].params)
    lacking = {name: value for name, value in params.items() if name != "model.width"}
    more = (
        Trial(3, params, "running"),
        Trial(4, lacking, "complete", 0.5),
        Trial(5, params, "failed", reason="killed"),
        Trial(6, params, "complete", 0.4, again=5),
        Trial(7, params, "waiting"),
        Trial(8, params, "complete", float("nan")),
    )
    return replace(found, trials=(*found.trials, *more))


def test_every_trial_that_began_is_a_session_and_one_tried_again_is_one(mixed, tmp_path):
    write_outputs(mixed, tmp_path)
    found = contents(read(tmp_path))
    names = {run: started(each).group_name for run, each in found.items() if "session_start_info" in each}
    assert names == {
        "hparams/0000": "digits 0", "hparams/0001": "digits 1 (pruned)", "hparams/0002": "digits 2",
        "hparams/0003.running": "digits 3", "hparams/0004": "digits 4", "hparams/0006": "digits 6",
        "hparams/0008": "digits 8",
    }  # fmt: skip
    assert all(name.isascii() for name in names.values())


def test_they_end_as_the_trials_did_and_have_no_figures_that_are_none(mixed, tmp_path):
    write_outputs(mixed, tmp_path)
    found = contents(read(tmp_path))
    assert {run: status(each) for run, each in found.items() if "session_end_info" in each} == {
        "hparams/0000": 1, "hparams/0001": 1, "hparams/0002": 2, "hparams/0004": 1, "hparams/0006": 1,
        "hparams/0008": 1,
    }  # fmt: skip
    assert "session_end_info" not in found["hparams/0003.running"]
    figures = {run: each["figures"] for run, each in found.items() if run.startswith("hparams")}
    tag = "study/val/log_loss"
    assert figures["hparams/0000"] == pytest.approx({tag: mixed.trials[0].value})
    assert figures["hparams/0001"] == pytest.approx({tag: mixed.trials[1].curve[100]})
    assert figures["hparams/0002"] == figures["hparams/0003.running"] == figures["hparams/0008"] == {}


def test_a_parameter_that_a_trial_lacks_is_a_dash_and_its_axis_one_of_text(mixed, tmp_path):
    write_outputs(mixed, tmp_path)
    found = contents(read(tmp_path))
    width = {run: plain(started(each).hparams["model.width"]) for run, each in found.items() if run != "overview"}
    assert width["hparams/0004"] == "-"
    assert width["hparams/0000"] == str(mixed.trials[0].params["model.width"])
    (experiment,) = [each for each in found.values() if "experiment" in each]
    infos = {i.name: i for i in metadata.parse_experiment_plugin_data(experiment["experiment"]).hparam_infos}
    assert {name: info.type for name, info in infos.items()} == {
        "model.lr": 3, "model.width": 1, "model.depth": 3, "model.dropout": 3, "data.augment": 2,
    }  # fmt: skip
    assert [plain(value) for value in infos["model.width"].domain_discrete.values] == ["16", "32", "64"]
    assert infos["model.lr"].domain_interval.min_value == 1e-4


def test_values_keep_their_types(tmp_path):
    found = study(4)
    write_outputs(found, tmp_path)
    read_ = started(contents(read(tmp_path))["hparams/0002"]).hparams
    assert {name: plain(value) for name, value in read_.items()} == pytest.approx(found.trials[2].params)
    assert read_["data.augment"].WhichOneof("kind") == "bool_value"
    assert read_["model.width"].WhichOneof("kind") == "number_value"


def test_there_is_one_experiment_with_the_metrics_that_all_have(tmp_path):
    found = study(3)
    trials = tuple(replace(t, test={"test/log_loss": 0.7, "test/x": 1.0}) for t in found.trials)
    write_outputs(replace(found, trials=trials), tmp_path)
    every = contents(read(tmp_path))
    (experiment,) = [each for each in every.values() if "experiment" in each]
    infos = metadata.parse_experiment_plugin_data(experiment["experiment"]).metric_infos
    assert [info.name.tag for info in infos] == ["study/val/log_loss", "study/test/log_loss"]
    assert set(every["hparams/0000"]["figures"]) == {"study/val/log_loss", "study/test/log_loss"}
    # a figure that the winner alone has would take all others out of the parallel coordinates
    write_outputs(replace(found, trials=(trials[0], *found.trials[1:])), tmp_path)
    every = contents(read(tmp_path))
    assert set(every["hparams/0000"]["figures"]) == {"study/val/log_loss"}


def test_a_trial_that_ends_takes_the_place_of_itself_in_an_open_tensorboard(tmp_path):
    found = study(3, states=("running",))
    write_outputs(found, tmp_path)
    open_ = read(tmp_path)
    assert set(open_.Runs()) == {f"hparams/{n:04d}.running" for n in range(3)} | {"overview"}
    ended = replace(found.trials[0], status="pruned", curve={1: 0.5})
    write_outputs(replace(found, trials=(ended, *found.trials[1:])), tmp_path, changed=ended)
    open_.AddRunsFromDirectory(str(tmp_path))
    open_.Reload()
    after = contents(open_)
    assert set(after) == {"hparams/0000", "hparams/0001.running", "hparams/0002.running", "overview"}
    assert started(after["hparams/0000"]).group_name == "digits 0 (pruned)"


def test_curves_of_the_trial_itself_are_not_touched(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "trials" / "0000")) as writer:
        for step in range(5):
            writer.add_scalar("val/log_loss", 1 - step / 10, step)
    for _ in range(2):
        write_outputs(study(2), tmp_path)
    assert len(read(tmp_path).Tensors("trials/0000", "val/log_loss")) == 5


def test_somebody_elses_event_files_keep_their_place(tmp_path):
    found = study(1, states=("running",))
    write_outputs(found, tmp_path)
    mine = tmp_path / "hparams" / "0000.running" / "events.out.tfevents.mine"
    mine.write_bytes(b"")
    write_outputs(study(1), tmp_path)
    assert mine.exists()
    assert list(mine.parent.iterdir()) == [mine]


def test_pictures_and_the_table_are_in_tensorboard(tmp_path):
    write_outputs(study(20), tmp_path)
    found = read(tmp_path)
    pictures = {"study/history", "study/slices", "study/importance", "study/parallel_coordinates"}
    assert of_plugin(found, "overview", "images") == pictures
    assert of_plugin(found, "overview", "text") == {"study/trials"}
