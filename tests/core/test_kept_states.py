"""A state in a checkpoint may be of another version, or broken: said once, and the callback begins anew."""

import copy
import warnings

import pytest
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import nn
from torch.utils.data import DataLoader

from lightning_posttrain import (
    Calibration,
    DecisionThresholds,
    GeneralizationGap,
    HardExampleMining,
    HardExampleSampler,
    LabelErrors,
)
from lightning_posttrain.label_errors.functional.history import HistoryTable
from tests import toys

pytestmark = pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
DATA, VAL = toys.images(24), toys.images(40, seed=1)
KINDS = {
    "Calibration": lambda **o: Calibration(method="vector", **o),
    "DecisionThresholds": lambda **o: DecisionThresholds(one_vs_rest=True, max_risk=0.3, **o),
    "LabelErrors": lambda **o: LabelErrors(stages=["train", "val"], **o),
    "GeneralizationGap": GeneralizationGap,
    "HardExampleMining": HardExampleMining,
}
FITTED = ("Calibration", "DecisionThresholds")


class Plain(toys.Net):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, toys.CLASSES))


def loader():
    return DataLoader(DATA, batch_size=8, sampler=HardExampleSampler(DATA))


class Saves(Checkpoint):
    """After each validation, before training's epoch ends."""

    def __init__(self, path):
        self.path = path

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    torch.manual_seed(0)
    listed = [make(on_error="raise") for make in KINDS.values()]
    trainer = toys.quiet([*listed, Saves(path)], max_epochs=2, enable_checkpointing=True, default_root_dir=path.parent)
    trainer.fit(Plain(), loader(), toys.loader(VAL))
    return torch.load(path, weights_only=True)


def leaves(state, path=()):
    """Paths of all that a state holds."""
    for name, value in (
        state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    ):
        yield (*path, name)
        yield from leaves(value, (*path, name))


def changed(state, path, change):
    """A state with another thing at a path; one that ``change`` gives None for is gone."""
    state = copy.deepcopy(state)
    inner = state
    for name in path[:-1]:
        inner = inner[name]
    value = change(inner[path[-1]])
    if value is None and isinstance(inner, dict):
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return state


def longer(value):
    """Of another length; a number in a list."""
    if isinstance(value, torch.Tensor) and value.ndim:
        return torch.cat([value, value[:3]])
    return [*value, *value] if isinstance(value, list) else [value]


FORMS = {
    "missing": lambda value: None,
    "a text": lambda value: "a",
    "a list of texts": lambda value: ["a"],
    "another length": longer,
    "on a device without values": lambda value: value.to("meta") if isinstance(value, torch.Tensor) else [None],
}
WHOLE = {"a list": [1, 2], "a text": "a", "other names": {"version": 9, "data": {}}, "targets": {"targets": 3}}


def run(kind, checkpoint, state, path):
    """Test, or fit on, with a state; what was said of it, and the callback."""
    held = copy.deepcopy(checkpoint)
    callback = KINDS[kind]()
    held["callbacks"] = {callback.state_key: state}
    torch.save(held, path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer = toys.quiet(callback, max_epochs=3)
        if kind in FITTED:
            trainer.test(Plain(), toys.loader(VAL), ckpt_path=path, verbose=False)
        else:
            trainer.fit(Plain(), loader(), toys.loader(VAL), ckpt_path=path)
    return [str(one.message) for one in said if "cannot go on with" in str(one.message)], callback


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_that_is_none_costs_no_run_and_is_said_once(tmp_path, checkpoint, kind, form):
    said, callback = run(kind, checkpoint, WHOLE[form], tmp_path / "broken.ckpt")
    (text,) = said
    assert text.startswith(f"{kind} cannot go on with what the checkpoint holds of it and has lost {callback.keeps}")
    assert "The run goes on." in text
    assert callback.results


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_state_is_taken_up_without_a_word(tmp_path, checkpoint, kind):
    state = checkpoint["callbacks"][KINDS[kind]().state_key]
    for given in (
        state,
        {**state, "more": {"table": {}, "events": []}} if kind == "LabelErrors" else {**state, "more": 1},
    ):
        said, callback = run(kind, checkpoint, given, tmp_path / "whole.ckpt")
        assert said == []
    if kind in FITTED:
        assert callback.fitted is not None
        assert callback.for_these(callback_module(checkpoint)) is not None
        frozen = callback.results["test"]
        assert frozen.reason == "" or "kept" in frozen.reason


def callback_module(checkpoint):
    module = Plain()
    module.load_state_dict(checkpoint["state_dict"])
    return module


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_part_of_a_state_that_is_broken_is_noticed_and_nothing_is_changed(checkpoint, kind, form):
    state = checkpoint["callbacks"][KINDS[kind]().state_key]
    quiet = []
    for path in leaves(state):
        callback = KINDS[kind](on_error="raise")
        callback._fits = True  # of LabelErrors, as in a fit
        callback.load_state_dict(state)
        before = callback.kept()
        broken = changed(state, path, FORMS[form])
        try:
            callback.load_state_dict(broken)
            quiet.append(path)
        except ValueError:
            assert same(callback.kept(), before), path
    missing = [path for path in quiet if form == "missing" and path[-1] in MAY_BE_MISSING]
    assert [path for path in quiet if path not in missing and not late(kind, path)] == []


MAY_BE_MISSING = ("confidence", "thresholds", "val", "train", "ended", "accuracy", "log_loss")


def late(kind, path):
    """What only the dataset, or the number of classes, tells: it is looked at when these are known."""
    of_table = kind == "LabelErrors" and ("table" in path[:-1] or path[-1] == "events")
    return of_table or path[-1] in ("thresholds", "losses")


@pytest.mark.parametrize("form", FORMS)
def test_each_part_of_a_table_that_is_broken_is_noticed_at_the_first_batch(tmp_path, checkpoint, form, caplog):
    state = checkpoint["callbacks"][LabelErrors().state_key]
    for name in (*state["val"]["table"], "events"):
        path = ("val", "events") if name == "events" else ("val", "table", name)
        if name == "events" and form != "another length":
            continue
        caplog.clear()
        with caplog.at_level("INFO"):
            said, callback = run("LabelErrors", checkpoint, changed(state, path, FORMS[form]), tmp_path / "broken.ckpt")
        assert said == []
        assert sum("LabelErrors begins anew for val" in text for text in caplog.messages) == 1
        assert callback.results["val"].past[0].epoch == 2
        assert callback.results["train"].epochs == 3


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("label", lambda column: column + 4),
        ("predicted", lambda column: column - 4),
        ("seen", lambda column: -column),
        ("probabilities", lambda column: column + 2),
        ("probabilities", lambda column: column * torch.nan),
        ("loss", lambda column: column.long()),
    ],
)
def test_a_table_whose_values_cannot_be_is_noticed(checkpoint, name, change):
    kept = checkpoint["callbacks"][LabelErrors().state_key]["val"]["table"]
    table = HistoryTable(len(VAL), toys.CLASSES, keep_probabilities=True)
    with pytest.raises(ValueError, match="`state` has"):
        table.load_state_dict({**kept, name: change(kept[name])})
    assert len(table.result(tuple("abcd")).index) == 0
    table.load_state_dict(kept)


@pytest.mark.parametrize("kind", FITTED)
def test_what_is_for_another_number_of_classes_is_not_applied(tmp_path, checkpoint, kind):
    state = checkpoint["callbacks"][KINDS[kind]().state_key]
    names = {"Calibration": ("scale", "bias"), "DecisionThresholds": ("thresholds",)}[kind]
    more = {"Calibration": torch.ones(7), "DecisionThresholds": torch.full((7,), 0.5, dtype=torch.float64)}[kind]
    fitted = {"method": "vector", "task": "multiclass"} if kind == "Calibration" else {}
    fitted |= dict.fromkeys(names, more)
    said, callback = run(kind, checkpoint, {**state, "fitted": fitted}, tmp_path / "seven.ckpt")
    assert said == []
    assert callback.results["test"].reason == "what was fitted is for 7 classes and there are 4"


def test_losses_of_another_dataset_are_not_drawn_by(tmp_path, checkpoint):
    state = checkpoint["callbacks"][HardExampleMining().state_key]
    for losses in (torch.ones(7), -torch.ones(len(DATA))):
        (text,), _ = run("HardExampleMining", checkpoint, {**state, "losses": losses}, tmp_path / "other.ckpt")
        assert "has lost the losses that its sampler draws by" in text


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
