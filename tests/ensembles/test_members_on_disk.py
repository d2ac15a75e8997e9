"""Which checkpoints a run has left, what weights are in them, and what is said of those that are none."""

import copy
import shutil

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, StochasticWeightAveraging
from torch import nn

from lightning_posttrain.ensembles.members.files import checkpoints_at, checkpoints_of, distinct
from lightning_posttrain.ensembles.members.state import MemberState, module_member, read_members
from lightning_posttrain.ensembles.members.weights import fitted, live_tensors, mark
from tests import toys
from tests.ensembles.judged import Run

try:
    from lightning.pytorch.callbacks import EMAWeightAveraging
except ImportError:  # before Lightning 2.6
    EMAWeightAveraging = None

pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory:UserWarning")
needs_averaging = pytest.mark.skipif(EMAWeightAveraging is None, reason="Lightning has no EMAWeightAveraging")


def run_of(tmp_path, *callbacks, module=None, epochs=3, **checkpoint):
    run = Run(module or toys.Net(), toys.loader(), tmp_path)
    run.fit(*callbacks, epochs=epochs, **checkpoint)
    return run


def names(paths):
    return [path.name for path in paths]


def states_of(run):
    return [state for path in run.paths for state in read_members(path, run.module)]


# which files


def test_without_a_monitor_all_files_are_found_although_the_callback_names_the_newest_alone(tmp_path):
    run = run_of(tmp_path)
    assert names(run.paths) == [f"epoch={i}-step={4 * i + 4}.ckpt" for i in range(3)]


def test_the_best_and_the_last_are_found_and_of_one_value_counted_once(tmp_path):
    run = run_of(tmp_path, monitor="val/loss", save_top_k=2, save_last=True)
    assert len(run.paths) == 3
    assert names(run.paths)[-1] == "last.ckpt"
    members = distinct(states_of(run))
    assert len(members) == len({state.mark for state in states_of(run)}) <= 3
    assert all(member.source.endswith(".ckpt") for member in members)


def test_a_link_is_the_file_that_it_leads_to(tmp_path):
    run = run_of(tmp_path, monitor="val/loss", save_top_k=-1, save_last="link")
    assert (tmp_path / "last.ckpt").is_symlink()
    assert len(run.paths) == 3


def test_the_tenth_epoch_comes_after_the_ninth(tmp_path):
    run = run_of(tmp_path, epochs=11)
    assert names(run.paths)[-2:] == ["epoch=9-step=40.ckpt", "epoch=10-step=44.ckpt"]


def test_what_is_named_and_gone_is_left_out(tmp_path):
    keeps = ModelCheckpoint(dirpath=tmp_path, save_top_k=-1, monitor="val/loss")
    trainer = toys.quiet([keeps], enable_checkpointing=True, default_root_dir=tmp_path, max_epochs=2)
    trainer.fit(toys.Net(), toys.loader(), toys.loader())
    next(tmp_path.glob("epoch=0*")).unlink()
    assert len(keeps.best_k_models) == 2
    assert len(checkpoints_of(trainer)) == 1


def test_the_files_outlive_a_test_that_rolls_the_list_of_the_callback_back(tmp_path):
    keeps = ModelCheckpoint(dirpath=tmp_path, save_top_k=-1, monitor="val/loss", mode="max")
    trainer = toys.quiet([keeps], enable_checkpointing=True, default_root_dir=tmp_path, max_epochs=3)
    module = toys.Net()
    trainer.fit(module, toys.loader(), toys.loader())
    before = checkpoints_of(trainer)
    trainer.test(module, toys.loader(), ckpt_path=str(before[0]), verbose=False)
    assert checkpoints_of(trainer) == before


def test_a_callback_of_the_other_namespace_counts(tmp_path):
    class Keeps:
        best_k_models, best_model_path, last_model_path = {}, "", ""
        dirpath = str(tmp_path)

    class Trainer:
        callbacks = (Callback(), Keeps())

    run_of(tmp_path)
    assert len(checkpoints_of(Trainer())) == 3


def test_a_glob_a_folder_a_path_and_lists_of_several_runs_find_the_same(tmp_path):
    first, second = (run_of(tmp_path / name, epochs=2) for name in "ab")
    wanted = sorted([*first.paths, *second.paths])
    assert checkpoints_at(f"{tmp_path}/*/*.ckpt") == wanted
    assert checkpoints_at(tmp_path) == wanted
    assert checkpoints_at([str(path) for path in (*wanted, *wanted)]) == wanted
    assert checkpoints_at([tmp_path / "a", f"{tmp_path}/b/*.ckpt"]) == wanted


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("nowhere/*.ckpt", r"`members`: there is no checkpoint at nowhere/\*.ckpt. Pass the path"),
        ([3], "`members` has a int"),
    ],
)
def test_a_place_without_checkpoints_is_said(said, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        checkpoints_at(said)


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(ValueError, match="there is no checkpoint at"):
        checkpoints_at(tmp_path)


# which weights


def test_the_weights_are_those_of_the_file(tmp_path):
    run = run_of(tmp_path)
    for path, state in zip(run.paths, states_of(run), strict=True):
        saved = torch.load(path, weights_only=True)["state_dict"]
        assert state.kind == "raw"
        assert state.source == str(path)
        assert set(state.tensors) == set(saved)
        assert all(torch.equal(state.tensors[name], tensor) for name, tensor in saved.items())
    assert [state.name for state in states_of(run)] == ["epoch 0", "epoch 1", "epoch 2"]


def test_several_files_of_an_epoch_are_told_apart_by_their_steps(tmp_path):
    run = run_of(tmp_path, epochs=1, every_n_train_steps=2)
    assert [state.name for state in distinct(states_of(run))] == ["epoch 0 step 2", "epoch 0 step 4"]


def test_names_differ_over_several_runs(tmp_path):
    states = [state for name in "ab" for state in states_of(run_of(tmp_path / name, epochs=1))]
    states[1] = MemberState(**{**vars(states[1]), "mark": (1.0, 2.0)})
    assert [state.name for state in distinct(states)] == ["a, epoch 0", "b, epoch 0"]


@needs_averaging
@pytest.mark.parametrize("first", [True, False])
def test_the_average_and_the_raw_weights_of_a_file_are_two_members(first, tmp_path):
    class Seen(Callback):
        def __init__(self):
            self.raw = {}

        def on_train_epoch_end(self, trainer, pl_module):
            self.raw[trainer.current_epoch] = {n: t.clone() for n, t in live_tensors(pl_module).items()}

    seen, averaging = Seen(), EMAWeightAveraging(decay=0.7)
    run = run_of(tmp_path, *([averaging, seen] if first else [seen, averaging]))
    states = states_of(run)
    assert [(state.kind, state.name) for state in states[:2]] == [("ema", "epoch 0, EMA"), ("raw", "epoch 0")]
    for epoch in range(3):
        ema, raw = states[2 * epoch : 2 * epoch + 2]
        saved = torch.load(run.paths[epoch], weights_only=True)
        assert all(torch.equal(ema.tensors[name], tensor) for name, tensor in saved["state_dict"].items())
        assert all(torch.equal(raw.tensors[name], tensor) for name, tensor in seen.raw[epoch].items())
        assert ema.mark != raw.mark


@needs_averaging
def test_a_file_of_weights_alone_has_the_raw_ones(tmp_path):
    run = run_of(tmp_path, EMAWeightAveraging(decay=0.7), save_weights_only=True)
    assert [state.kind for state in states_of(run)] == ["raw"] * 3


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_stochastic_average_is_a_member_beside_the_raw_weights(tmp_path):
    swa = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2)
    run = run_of(tmp_path, swa, epochs=5)
    found = {state.name: state for state in states_of(run)}
    averaged = [name for name, state in found.items() if state.kind == "swa"]
    assert averaged
    assert set(averaged) <= {f"epoch {i}, SWA" for i in range(6)}  # one more for BatchNorm
    for name in averaged:
        saved = torch.load(found[name].source, weights_only=True)
        key = next(key for key in saved["callbacks"] if "StochasticWeightAveraging" in key)
        average = saved["callbacks"][key]["average_model_state"]
        assert all(torch.equal(found[name].tensors[n], t) for n, t in average.items())
        assert found[name].mark != found[name.removesuffix(", SWA")].mark


class Odd(toys.Net):
    """Tied weights, a buffer that is not saved, half precision in a part, and a metric's state that is saved."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("own", torch.ones(3), persistent=False)
        self.half = nn.Linear(2, 2).half()


def test_buffers_that_are_not_saved_are_the_modules_ties_hold_and_types_are_its_own(tmp_path):
    run = run_of(tmp_path, module=Odd(), epochs=1)
    other = Odd()
    other.own.fill_(7)
    (state,) = read_members(run.paths[0], other)
    assert state.tensors["own"].tolist() == [7, 7, 7]
    assert state.tensors["own"].data_ptr() != other.own.data_ptr()
    assert state.tensors["first.weight"] is state.tensors["second.weight"]
    assert state.tensors["half.weight"].dtype == torch.float16
    other.double()
    assert read_members(run.paths[0], other)[0].tensors["first.weight"].dtype == torch.float64


def test_compiled_parts_have_the_same_weights_whichever_side_was_compiled(tmp_path):
    class Compiled(toys.Net):
        def __init__(self):
            super().__init__()
            self.model = torch.compile(self.model, backend="eager")

    plain, compiled = toys.Net(), Compiled()
    for source, goal in ((plain, compiled), (compiled, plain)):
        found = fitted(source.state_dict(), goal, "file")
        assert set(found) == set(live_tensors(goal))
        assert mark(found) == mark(source)


def test_what_the_module_has_not_is_left_out(tmp_path):
    run = run_of(tmp_path, epochs=1)
    saved = torch.load(run.paths[0], weights_only=True)
    saved["state_dict"]["loss.weight"] = torch.ones(4)
    torch.save(saved, tmp_path / "more.ckpt")
    (state,) = read_members(tmp_path / "more.ckpt", run.module)
    assert "loss.weight" not in state.tensors


def test_a_module_that_does_not_ask_for_all_has_the_rest_itself(tmp_path):
    run = run_of(tmp_path, epochs=1)
    saved = torch.load(run.paths[0], weights_only=True)
    bias = saved["state_dict"].pop("model.5.bias")
    torch.save(saved, tmp_path / "less.ckpt")
    with pytest.raises(ValueError, match=r"less.ckpt has no `model.5.bias`, which the module has"):
        read_members(tmp_path / "less.ckpt", run.module)
    run.module.strict_loading = False
    assert torch.equal(read_members(tmp_path / "less.ckpt", run.module)[0].tensors["model.5.bias"], bias)


def test_a_member_is_in_memory_of_its_own_when_its_file_goes(tmp_path):
    run = run_of(tmp_path, epochs=1)
    (state,) = read_members(run.paths[0], run.module)
    run.paths[0].write_bytes(b"")
    assert mark(state.tensors) == state.mark == mark(run.module)


# marks


def test_a_mark_knows_the_last_bit_the_order_and_the_name():
    weights = {"a": torch.randn(1000), "b": torch.randn(1000)}
    own = mark(weights)
    for change in (
        lambda w: w["a"][3].copy_(torch.nextafter(w["a"][3], torch.tensor(9.0))),
        lambda w: w["a"].copy_(w["a"].flip(0)),
        lambda w: w["a"].neg_(),
        lambda w: w.update(a=w["b"], b=w["a"]),
    ):
        other = copy.deepcopy(weights)
        change(other)
        assert mark(other) != own
    assert mark(dict(reversed(weights.items()))) == own
    assert mark({**weights, "steps": torch.tensor(3)}) == own
    assert all(value == int(value) for value in own)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_mark_is_of_every_type_and_shape(dtype):
    weights = {"a": torch.randn(3, 4, dtype=torch.float64).to(dtype).T, "b": torch.ones((), dtype=dtype)}
    assert mark(weights) == mark({name: tensor.contiguous() for name, tensor in weights.items()})
    assert mark({}) == (0.0, 0.0)


# bad input


class Wide(toys.Net):
    def __init__(self):
        super().__init__()
        self.model[0] = nn.Conv2d(1, 7, 3, padding=1)


class Other(toys.Net):
    def __init__(self):
        super().__init__()
        self.model, self.net = None, nn.Linear(64, toys.CLASSES)


def test_members_of_other_shapes_are_said_with_both_and_the_cure(tmp_path):
    run = run_of(tmp_path, epochs=1)
    message = r"`model.0.weight` has shape \(6, 1, 3, 3\) in .*ckpt and \(7, 1, 3, 3\) in the module.*members=\[module"
    with pytest.raises(ValueError, match=message):
        read_members(run.paths[0], Wide())


def test_a_checkpoint_of_another_model_is_said(tmp_path):
    run = run_of(tmp_path, epochs=1)
    message = r"is a checkpoint of another model: it has `model.0.bias`.* and the module `net.bias`, `net.weight`"
    with pytest.raises(ValueError, match=message):
        read_members(run.paths[0], Other())


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"gone.ckpt is not there. Pass paths"):
        read_members(tmp_path / "gone.ckpt", toys.Net())


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 broken", b"\x80\x02}q\x00."])
def test_a_file_that_is_no_checkpoint_is_said(content, tmp_path):
    (tmp_path / "odd.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"`members`: .*odd.ckpt (cannot be read as a checkpoint|is no checkpoint)"):
        read_members(tmp_path / "odd.ckpt", toys.Net())


@pytest.mark.parametrize("content", [{"model": {}}, [1, 2], torch.ones(3), {"state_dict": 3}])
def test_a_file_without_weights_is_said(content, tmp_path):
    torch.save(content, tmp_path / "odd.ckpt")
    with pytest.raises(ValueError, match=r"is no checkpoint of Lightning: it holds"):
        read_members(tmp_path / "odd.ckpt", toys.Net())


class Object:
    """Of a user's module."""


def test_a_file_with_objects_is_read_as_lightning_does_and_said(tmp_path):
    run = run_of(tmp_path, epochs=1)
    saved = torch.load(run.paths[0], weights_only=True)
    torch.save({**saved, "hyper_parameters": {"of": Object(), "lr": np.float64(0.1)}}, tmp_path / "objects.ckpt")
    with pytest.warns(UserWarning, match=r"reads .*objects.ckpt with pickle, as Lightning does, because it holds"):
        (state,) = read_members(tmp_path / "objects.ckpt", run.module)
    assert state.mark == mark(run.module)


def test_an_old_form_of_file_is_read(tmp_path):
    run = run_of(tmp_path, epochs=1)
    saved = torch.load(run.paths[0], weights_only=True)
    torch.save(saved, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert read_members(tmp_path / "old.ckpt", run.module)[0].mark == mark(run.module)


def test_a_folder_that_was_moved_is_found_where_it_is(tmp_path):
    run = run_of(tmp_path / "a", epochs=2)
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert names(checkpoints_at(tmp_path / "b")) == names(run.paths)


def test_a_module_of_another_architecture_is_refused():
    with pytest.raises(ValueError, match=r"`members`: module 2 is a Wide of another architecture than the Net"):
        module_member(Wide(), "module 2", base=toys.Net())


def test_a_module_is_a_member_as_it_was(tmp_path):
    module = toys.Net()
    state = module_member(module, "module 1")
    with torch.no_grad():
        module.model[0].weight.zero_()
    assert state.mark == mark(state.tensors) != mark(module)
