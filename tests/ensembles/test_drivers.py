"""Seeds, bagging and boosting: what each member is, what stands on disk, and what is as it was."""

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, IterableDataset, WeightedRandomSampler

from lightning_posttrain.ensembles import Bagging, Boosting, Seeds
from lightning_posttrain.ensembles.drivers.folder import MemberRecord
from lightning_posttrain.ensembles.drivers.resampling import bootstrap, out_of_bag, weighted
from tests.ensembles import digits
from tests.ensembles.digits import FAST, Net, state, states_equal

pytestmark = pytest.mark.slow

DRIVERS = (Seeds, Bagging, Boosting)
each = pytest.mark.parametrize("kind", DRIVERS)


def run(kind, folder, *, members=2, train=None, val=None, build=Net, trainer=FAST, **options):
    driver = kind(build=build, members=members, progress=False, **options)
    return driver.fit(digits.train() if train is None else train, digits.val() if val is None else val,
                      folder=folder, **trainer)  # fmt: skip


def same(one, other):
    """Whether two runs have the same members, records (but for the time that they took) and figures."""
    plain = [fits.to_dict() for fits in (one, other)]
    for found in plain:
        for record in found["records"]:
            record.pop("seconds")
    weights = all(states_equal(state(a), state(b)) for a, b in zip(one.members, other.members, strict=True))
    return plain[0] == plain[1] and weights


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


@each
def test_a_run_gives_as_many_different_members_as_were_asked_for_and_weights_that_sum_to_one(kind):
    fits = run(kind, "run", monitor="val/loss")
    assert fits.members == ["run/member_000/best.ckpt", "run/member_001/best.ckpt"]
    assert not states_equal(*map(state, fits.members))
    assert sum(fits.weights) == pytest.approx(1)
    assert len(fits.weights) == 2
    assert str(fits) == fits.words
    assert json.loads(Path("run/result.json").read_text()) == json.loads(json.dumps(fits.to_dict()))
    assert [record.epochs for record in fits.records] == [3, 3]


@each
def test_the_same_run_again_is_bitwise_the_same_and_fits_nothing(kind):
    once, other = run(kind, "once"), run(kind, "other")
    assert same(once, other)

    def never():
        raise AssertionError("a member that is finished was built again")

    assert same(once, run(kind, "once", build=never))


@each
def test_more_members_are_added_to_those_that_are_there(kind):
    few, many = run(kind, "run", members=1), run(kind, "run", members=2)
    assert same(many, run(kind, "other", members=2))
    assert states_equal(state(few.members[0]), state(many.members[0]))
    assert len(run(kind, "run", members=1).members) == 1


@each
def test_a_folder_can_be_moved_in_the_middle_of_a_run(kind):
    run(kind, "run", members=1, monitor="val/loss")
    shutil.move("run", "elsewhere")
    moved = run(kind, "elsewhere", monitor="val/loss")
    assert all(path.startswith("elsewhere/") and Path(path).exists() for path in moved.members)
    assert same(moved, run(kind, "other", monitor="val/loss"))


@each
def test_random_numbers_and_the_environment_are_as_before(kind, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    monkeypatch.delenv("PL_SEED_WORKERS", raising=False)
    random.seed(3), np.random.seed(4), torch.manual_seed(5)

    def drawn():
        return random.random(), np.random.rand(), float(torch.rand(1))

    expected = drawn()
    random.seed(3), np.random.seed(4), torch.manual_seed(5)
    run(kind, "run", members=1, trainer={**FAST, "deterministic": True})
    assert drawn() == expected
    assert os.environ["PL_GLOBAL_SEED"] == "7"
    assert "PL_SEED_WORKERS" not in os.environ
    assert not torch.are_deterministic_algorithms_enabled()


@each
def test_what_was_drawn_before_changes_no_member(kind):
    once = run(kind, "once")
    seed_everything(11, verbose=False)
    torch.rand(5)
    try:
        assert same(once, run(kind, "other"))
    finally:
        os.environ.pop("PL_GLOBAL_SEED"), os.environ.pop("PL_SEED_WORKERS")


@each
def test_modules_of_the_other_namespace_are_fitted_by_their_own_trainer(kind):
    fits = run(kind, "other", build=digits.OtherNet, monitor="val/loss")
    assert same(fits, run(kind, "run", monitor="val/loss"))


@pytest.mark.slow
@each
def test_compiled_modules_are_fitted_as_any_other(kind):
    fits = run(kind, "compiled", build=lambda: torch.compile(Net(), backend="eager"), monitor="val/loss")
    assert same(fits, run(kind, "run", monitor="val/loss"))


@each
def test_a_datamodule_gives_all_members_one_random_split(kind):
    splits = []

    class Net(digits.Net):
        def on_fit_start(self):
            splits.append(self.trainer.datamodule.parts[0].indices)

    driver, module = kind(build=Net, members=2, progress=False, monitor="val/loss"), digits.Digits()
    before = dict(vars(module))
    fits = driver.fit(module, folder="run", **FAST)
    assert splits[0] == splits[1]
    assert set(vars(module)) - set(before) <= {"parts", "_hparams"}
    again = kind(build=Net, members=2, progress=False, monitor="val/loss").fit(digits.Digits(), folder="b", **FAST)
    assert same(fits, again)


def test_bagging_trains_on_the_rows_of_its_resample_alone_with_the_settings_of_the_loader():
    seen = []

    class Watching(digits.Net):
        def training_step(self, batch, batch_idx):
            seen.append(batch[2])
            return super().training_step(batch, batch_idx)

    x, y = digits.train().tensors
    numbered = torch.utils.data.TensorDataset(x, y, torch.arange(len(x)))

    def collate(rows):
        return [torch.stack(column) for column in zip(*rows, strict=True)]

    loader = DataLoader(numbered, batch_size=25, shuffle=True, collate_fn=collate)
    run(Bagging, "run", members=1, build=Watching, train=loader, val=digits.val(), trainer={**FAST, "max_epochs": 1})
    assert {len(batch) for batch in seen} == {25}
    expected = bootstrap(300, seed=0, member=0)
    assert torch.equal(torch.cat(seen).sort().values, expected.sort().values)
    assert not torch.equal(torch.cat(seen), expected)


def test_resamples_follow_from_seed_and_member_alone_and_leave_out_as_many_rows_as_chance_says():
    shares = []
    for member in range(20):
        drawn = bootstrap(2000, seed=3, member=member)
        assert torch.equal(drawn, bootstrap(2000, seed=3, member=member))
        left = out_of_bag(drawn, 2000)
        assert not set(left.tolist()) & set(drawn.tolist())
        assert len(left) + len(drawn.unique()) == 2000
        shares.append(len(left) / 2000)
    assert np.mean(shares) == pytest.approx((1 - 1 / 2000) ** 2000, abs=0.005)
    assert not torch.equal(bootstrap(50, seed=0, member=1), bootstrap(50, seed=1, member=0))


def test_rows_are_drawn_in_proportion_to_their_weights_and_never_with_weight_zero():
    weights = torch.tensor([0.0, 1.0, 3.0, 0.0] * 5000, dtype=torch.float64)
    counts = torch.bincount(weighted(weights, seed=0, member=0), minlength=20_000).view(-1, 4).sum(0) / 20_000
    assert counts[0] == counts[3] == 0
    assert float(counts[2]) == pytest.approx(0.75, abs=0.01)


def test_callbacks_and_loggers_are_made_anew_for_each_member():
    made = []

    class Counting(Callback):
        def __init__(self, member):
            self.member, self.fits = member, 0
            made.append(self)

        def on_fit_start(self, trainer, pl_module):
            self.fits += 1

    def callbacks(member):
        return [Counting(member), EarlyStopping(monitor="val/loss", min_delta=10.0, patience=1)]

    fits = run(Seeds, "run", members=3, callbacks=callbacks, loggers=lambda member: [CSVLogger(f"logs/{member}")])
    assert [(one.member, one.fits) for one in made] == [(0, 1), (1, 1), (2, 1)]
    assert [record.epochs for record in fits.records] == [2, 2, 2]
    assert all(Path(f"logs/{member}/lightning_logs/version_0/metrics.csv").exists() for member in range(3))


def test_a_member_that_fails_is_recorded_and_tried_again_by_the_next_run():
    broken = {1}

    class Fragile(Callback):
        def __init__(self, member):
            self.member = member

        def on_train_epoch_end(self, trainer, pl_module):
            if self.member in broken and trainer.current_epoch == 1:
                raise RuntimeError("the disk is\nfull")

    options = {"members": 3, "callbacks": lambda member: [Fragile(member)]}
    with pytest.warns(UserWarning, match="member 1 failed and is left out. RuntimeError: the disk is full"):
        fits = run(Bagging, "run", **options)
    assert [record.status for record in fits.records] == ["complete", "failed", "complete"]
    assert fits.weights == (0.5, 0.5)
    assert fits.out_of_bag.members == 2
    assert "1 member failed (RuntimeError: the disk is full)" in fits.words
    broken.clear()
    assert same(run(Bagging, "run", **options), run(Bagging, "other", **options))


def test_members_that_all_fail_for_one_reason_end_the_run():
    tried = []

    class Broken(digits.Net):
        def training_step(self, batch, batch_idx):
            tried.append(1)
            raise ValueError("no such layer")

    with (
        pytest.warns(UserWarning, match="failed"),
        pytest.raises(RuntimeError, match=r"The first 3 members failed.*no such"),
    ):
        run(Seeds, "run", members=9, build=Broken)
    assert len(tried) == 3
    with (
        pytest.warns(UserWarning, match="failed"),
        pytest.raises(RuntimeError, match=r"The member failed.*no such layer"),
    ):
        run(Boosting, "boosting", members=9, build=Broken)


def test_a_long_member_goes_on_from_its_last_epoch_where_that_is_asked_for():
    epochs, stop = [], [True]

    class Interrupted(BaseException):
        pass

    class Stopping(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            epochs.append(trainer.current_epoch)
            if trainer.current_epoch == 2 and stop:
                raise Interrupted

    options = {"members": 1, "resume": "checkpoint", "monitor": "val/loss", "callbacks": lambda member: [Stopping()]}
    with pytest.raises(Interrupted):
        run(Seeds, "run", **options)
    stop.clear()
    fits = run(Seeds, "run", **options)
    assert epochs == [0, 1, 2, 2]
    assert names("run/member_000") == ["best.ckpt", "member.json"]
    assert fits.records[0].epochs == 3


def test_an_interrupted_member_begins_again_and_what_it_had_left_is_removed():
    stop = [True]

    class Interrupted(BaseException):
        pass

    class Stopping(Callback):
        def __init__(self, member):
            self.member = member

        def on_train_epoch_start(self, trainer, pl_module):
            if self.member == 1 and trainer.current_epoch == 2 and stop:
                Path("run/member_001/left.txt").touch()
                raise Interrupted

    options = {"members": 2, "monitor": "val/loss", "callbacks": lambda member: [Stopping(member)]}
    with pytest.raises(Interrupted):
        run(Bagging, "run", **options)
    assert names("run") == ["lock", "member_000", "member_001", "member_001.begun", "settings.json"]
    stop.clear()
    fits = run(Bagging, "run", **options)
    assert not Path("run/member_001/left.txt").exists()
    assert names("run") == ["lock", "member_000", "member_001", "result.json", "settings.json"]
    assert same(fits, run(Bagging, "other", **options))


def test_the_best_epoch_is_kept_where_something_is_monitored_and_else_the_last():
    best = run(Seeds, "best", members=1, monitor="val/loss", mode="max").records[0]
    assert best.score > best.figures["val/loss"]
    assert torch.load("best/member_000/best.ckpt", weights_only=True)["epoch"] == 0
    ended = []

    class Ending(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            ended.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    last = run(Seeds, "last", members=1, callbacks=lambda member: [Ending()])
    assert states_equal(state(last.members[0]), ended[2])
    assert not states_equal(ended[1], ended[2])


def test_a_stream_of_data_is_for_seeds_alone():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(digits.train(64))

    loader = DataLoader(Stream(), 16)
    assert len(run(Seeds, "run", train=loader).members) == 2
    with pytest.raises(ValueError, match="`train` has no length, and Bagging draws rows"):
        run(Bagging, "bagging", train=loader)


@each
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"members": 0}, "`members` is 0, wanted at least 1"),
        ({"seed": -1}, "`seed` is -1, wanted at least 0"),
        ({"mode": "best"}, "`mode` is 'best', wanted 'min' or 'max'"),
        ({"resume": "no"}, "`resume` is 'no', wanted 'begin' or 'checkpoint'"),
        ({"build": 3}, "`build` is a int, wanted a function"),
        ({"train": digits.part(0, 0)}, "`train` has no rows"),
        ({"trainer": {"callbacks": []}}, "`callbacks` was passed to fit, for all members. Pass callbacks=lambda"),
        ({"trainer": {"logger": True}}, "`logger` was passed to fit"),
        ({"trainer": {**FAST, "strategy": "ddp", "devices": 2}}, 'Pass strategy="ddp_fork"'),
        ({"train": DataLoader(digits.train()), "val": DataLoader(digits.val()), "trainer": {"batch_size": 3}},
         "`batch_size` is for datasets"),
        ({"train": digits.Digits()}, "`train` is a datamodule, which has its own `val`"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_said_in_a_sentence(kind, options, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        run(kind, "run", **options)


@each
def test_build_has_to_give_a_module(kind):
    with pytest.raises(TypeError, match="`build` gave a Linear, wanted a LightningModule"):
        run(kind, "run", build=lambda: torch.nn.Linear(1, 1))


@pytest.mark.parametrize("kind", [Bagging, Boosting])
def test_a_sampler_of_the_users_is_not_replaced_in_silence(kind):
    loader = DataLoader(digits.train(), sampler=WeightedRandomSampler([1.0] * 300, 300))
    with pytest.raises(
        ValueError, match=f"sampler of its own, a WeightedRandomSampler, which {kind.kind} would replace"
    ):
        run(kind, "run", train=loader)


def test_a_sampler_of_the_users_with_a_generator_gives_the_same_members_in_each_run():
    generator = torch.Generator().manual_seed(9)
    loader = DataLoader(digits.train(), 32, sampler=WeightedRandomSampler([1.0] * 300, 300, generator=generator))
    before = generator.get_state()
    once, other = run(Seeds, "once", train=loader), run(Seeds, "other", train=loader)
    assert same(once, other)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": 1}, "was begun with seed 0, and this run has 1"),
        ({"train": digits.train(200)}, "was begun with rows 300, and this run has 200"),
        ({"monitor": "val/loss"}, "was begun with monitor None, and this run has 'val/loss'"),
        ({"trainer": {**FAST, "max_epochs": 4}}, "was begun with max_epochs 3, and this run has 4"),
        ({"kind": Seeds}, "was begun with kind 'Bagging', and this run has 'Seeds'"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(options, words):
    run(Bagging, "run", members=1)
    with pytest.raises(ValueError, match=words):
        run(options.pop("kind", Bagging), "run", **options)


def test_settings_that_no_member_was_finished_with_can_be_set_right():
    with (
        pytest.warns(UserWarning, match="failed"),
        pytest.raises(RuntimeError, match="could not find the monitored key"),
    ):
        run(Bagging, "run", monitor="val/los")
    with pytest.raises(TypeError, match="max_epoch"):
        run(Bagging, "run", trainer={"max_epoch": 3, "accelerator": "cpu"})
    assert same(run(Bagging, "run", monitor="val/loss"), run(Bagging, "other", monitor="val/loss"))


def test_workers_of_a_loader_give_each_member_the_same_rows_in_each_run():
    def loader():
        return DataLoader(digits.train(), 50, shuffle=True, num_workers=1, persistent_workers=True, prefetch_factor=3)

    assert same(run(Bagging, "once", train=loader()), run(Bagging, "other", train=loader()))


def test_a_checkpoint_that_is_gone_is_missed():
    Path(run(Seeds, "run", members=1).members[0]).unlink()
    with pytest.raises(FileNotFoundError, match=r"its member_000/final.ckpt is gone. Bring it back, or remove"):
        run(Seeds, "run", members=1)


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = MemberRecord(3, "complete", 5, "member_003/best.ckpt", score=0.5, figures={"a": None}, notes={"alpha": 1})
    record.write(tmp_path / "member.json")
    assert MemberRecord.read(tmp_path / "member.json") == record


def test_two_runs_at_once_in_one_folder_are_refused():
    class Second(Callback):
        def on_fit_start(self, trainer, pl_module):
            with pytest.raises(RuntimeError, match=f"in use by process {os.getpid()} on .*or pass another folder"):
                Seeds(build=Net, members=1, progress=False).fit(digits.train(), folder="run", **FAST)
            seen.append(1)

    seen = []
    run(Seeds, "run", members=1, callbacks=lambda member: [Second()])
    assert seen == [1]
