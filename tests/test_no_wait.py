"""No batch hook of any callback waits for the device after the first batch of a loader."""

from collections import defaultdict
from contextlib import contextmanager

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import (
    CheckpointEnsemble,
    Explanations,
    FeatureMaps,
    GeneralizationGap,
    HardExampleMining,
    HardExamples,
    HardExampleSampler,
    LabelErrors,
    ModelExport,
    ModelProfile,
    SaliencyMaps,
    Surrogate,
    posttrain_suite,
)
from lightning_posttrain.classification.accumulator import Accumulator
from lightning_posttrain.classification.batch import EvalBatch
from lightning_posttrain.classification.kept_predictions import KeptPredictions
from lightning_posttrain.classification.loader_part import ClassPart
from lightning_posttrain.classification.metric.confusion import ConfusionCounts
from lightning_posttrain.classification.metric.exact import ExactScores
from lightning_posttrain.classification.metric.histograms import ScoreHistograms
from lightning_posttrain.classification.metric.probabilities import LossSums, RankCounts, ReliabilityBins
from lightning_posttrain.classification.metric.sample import ScoreSample
from lightning_posttrain.core.stream import stage_sizes
from lightning_posttrain.core.stream.stage_sizes import accelerator_sizes
from lightning_posttrain.ensembles.kept_scores import RowScores
from lightning_posttrain.ensembles.metric import Judged, PairSums
from lightning_posttrain.hard_examples.keeping import OF_MEMBERS, RULES, Keeping
from lightning_posttrain.label_errors.functional.history import HistoryTable
from lightning_posttrain.samples.inputs import Inputs
from lightning_posttrain.samples.reservoir import RankedSamples
from lightning_posttrain.samples.slots import Positions
from tests import toys
from tests.waits import watched

CALLBACKS = {
    "suite": posttrain_suite,
    "suite with labels": lambda: posttrain_suite(task="multilabel"),
    "HardExamples of training": lambda: HardExamples(stages=["train", "val"]),
    "LabelErrors": lambda: LabelErrors(stages=["train", "val", "test"]),
    "GeneralizationGap": GeneralizationGap,
    "HardExampleMining": HardExampleMining,
    "SaliencyMaps of errors": lambda: SaliencyMaps(choose="errors"),
    "SaliencyMaps of a cell": lambda: SaliencyMaps(choose=(0, 1)),
    "SaliencyMaps of positions": lambda: SaliencyMaps(samples=[3, 58]),
    "SaliencyMaps of an output": lambda: SaliencyMaps(samples=30, explain=lambda output, inputs: output[:, 0]),
    "Explanations": lambda: Explanations(samples=2, perturbations=16),
    "Surrogate": lambda: Surrogate(repeats=1),
    "FeatureMaps": FeatureMaps,
    "ModelProfile": lambda: ModelProfile(batch_sizes=[2], seconds=0.01),
    "CheckpointEnsemble": lambda: [CheckpointEnsemble(soups=True), ModelCheckpoint(save_top_k=-1)],
    "ModelExport": lambda: ModelExport(formats=["pt2"]),
}
HOOKS = [f"on_{stage}_batch_{end}" for stage in ("train", "validation", "test") for end in ("start", "end")]
HOOKS += ["on_before_backward", "on_after_backward", "on_before_zero_grad", "on_before_optimizer_step"]


def watch(monkeypatch, callbacks, watching):
    """Watch the hooks of callbacks, but for the first batch of each stage and run; how often each was watched."""
    calls, seen = defaultdict(int), defaultdict(int)
    kinds = {kind for one in callbacks for kind in type(one).__mro__}
    for kind in (kind for kind in kinds if kind.__module__.startswith("lightning_posttrain")):
        for hook in HOOKS:
            if hook in vars(kind):
                monkeypatch.setattr(kind, hook, _watched(vars(kind)[hook], hook, calls, seen, watching))
    return seen


def _watched(run, hook, calls, seen, watching):
    def call(callback, trainer, *rest):
        place = id(callback), hook, trainer.state.stage
        calls[place] += 1
        # once an epoch, what a sampler draws goes to the device, and weights get a mark by which they are known
        of_epoch = isinstance(callback, (HardExampleMining, CheckpointEnsemble)) and rest[-1:] == (0,)
        if calls[place] == 1 or of_epoch or trainer.sanity_checking:
            return run(callback, trainer, *rest)
        seen[hook] += 1
        with watching():
            return run(callback, trainer, *rest)

    return call


def loaders(name):
    """Training and evaluation; classes come one after the other, so that the first batch has not all of them."""
    pictures, target = toys.images(60, toys.CLASSES).tensors
    order = target.argsort(stable=True)
    if "labels" in name:
        target = torch.nn.functional.one_hot(target, toys.CLASSES)
    data = TensorDataset(pictures[order], target[order])
    sampler = HardExampleSampler(data) if name == "HardExampleMining" else None
    return DataLoader(data, batch_size=6, sampler=sampler), DataLoader(data, batch_size=6)


def run_watched(name, monkeypatch, watching, **options):
    """A fit of two epochs and a test."""
    made = CALLBACKS[name]()
    callbacks = made if isinstance(made, list) else [made]
    seen = watch(monkeypatch, callbacks, watching)
    keeps = any(isinstance(one, ModelCheckpoint) for one in callbacks)
    trainer = toys.quiet(callbacks, max_epochs=2, enable_checkpointing=keeps, **options)
    train, evaluated = loaders(name)
    module = Labels() if "labels" in name else toys.Net()
    trainer.fit(module, train, evaluated)
    trainer.test(module, evaluated, verbose=False)
    assert seen["on_validation_batch_end"] >= 18


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if "suite" in name else pytest.mark.slow) for name in CALLBACKS]
)
def test_no_batch_hook_waits_after_the_first_batch(name, monkeypatch):
    found = []
    run_watched(name, monkeypatch, lambda: watched(found))
    assert sorted(set(found)) == []


@contextmanager
def waits_are_errors():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="wants a CUDA device")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(set(CALLBACKS) - {"CheckpointEnsemble", "ModelExport"}))  # these ask again
def test_on_cuda_no_batch_hook_waits_after_the_first_batch(name, monkeypatch):
    run_watched(name, monkeypatch, waits_are_errors, accelerator="gpu", devices=1)


class Labels(toys.Net):
    """Has several labels a row."""

    def step(self, batch, stage):
        return torch.nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float())

    def training_step(self, batch, batch_idx):
        return self.step(batch, "train")


# where values lie out of reach: on the meta device whoever reads one gets an error, and what is copied is seen

NOWHERE = torch.device("meta")
KINDS = (ConfusionCounts, LossSums, RankCounts, ReliabilityBins, ScoreHistograms, ExactScores, ScoreSample)
ROWS, COLUMNS, MANY = 40, 6, 60


def out_of_reach(number, labels=False):
    """A batch of an epoch."""
    target = torch.zeros((ROWS, COLUMNS) if labels else ROWS, dtype=torch.int64, device=NOWHERE)
    index = torch.arange(number * ROWS, (number + 1) * ROWS, device=NOWHERE)
    scores, inputs = torch.zeros(ROWS, COLUMNS, device=NOWHERE), torch.zeros(ROWS, 1, 8, 8, device=NOWHERE)
    valid = torch.ones_like(target, dtype=torch.bool)
    return EvalBatch(scores, target, valid, index, inputs, disagreement=torch.zeros(ROWS, device=NOWHERE))


def counting(labels):
    metrics = [kind(COLUMNS, multilabel=labels).to(NOWHERE) for kind in KINDS]
    accumulator = Accumulator(metrics, COLUMNS, multilabel=labels)
    yield from (accumulator.add(out_of_reach(number, labels)) for number in range(MANY))
    yield accumulator.flush()


def hard_examples(labels):
    keeping = Keeping(4, 3, 2, Inputs(), list, rules=(*RULES, *OF_MEMBERS))
    yield from (keeping.offer(out_of_reach(number, labels)) for number in range(MANY))


def predictions(labels):
    kept = KeptPredictions(MANY * ROWS)
    yield from (kept.offer(out_of_reach(number, labels)) for number in range(MANY))


def samples(labels):
    chosen = Positions([3, 70]) if labels else RankedSamples(4)
    for number in range(MANY):
        batch = out_of_reach(number)
        yield chosen.take([batch.inputs], batch.index, batch.counted) if labels else chosen.offer(batch)


def rows_of_ensembles(labels):
    rows = RowScores(2, COLUMNS, labels=labels).to(NOWHERE)
    rows.capacity = 100
    pairs = PairSums(2, 2).to(NOWHERE)
    for number in range(MANY):
        batches = [out_of_reach(number, labels) for _ in range(2)]
        yield rows.update(batches)
        entropy = torch.zeros(2, ROWS * (COLUMNS if labels else 1), device=NOWHERE)
        yield pairs.update(Judged(batches, batches, entropy))


def histories(labels):
    table = HistoryTable(MANY * ROWS, COLUMNS, keep_probabilities=labels, device=NOWHERE)
    for number in range(MANY):
        batch = out_of_reach(number)
        rows = batch.rows(("own", "others", "others_norm"))
        chances = batch.scores.softmax(1) if labels else None
        yield table.add(batch.index, rows["target"], rows["predicted"], rows.log_loss, chances, rows.counted)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("run", [counting, hard_examples, predictions, samples, rows_of_ensembles, histories])
def test_what_looks_at_batches_needs_no_value_and_copies_none(run, labels, monkeypatch):
    small = accelerator_sizes(1 << 20)._replace(scores=2048, rows=600, at_once=2048, chunk=2048, inputs=1 << 17)
    monkeypatch.setattr(stage_sizes, "accelerator_sizes", lambda memory, labels=False: small)
    found, steps = [], run(labels)
    next(steps)
    with watched(found):
        assert len(list(steps)) >= MANY - 1
    assert sorted(set(found)) == []


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(), lambda x: bool((x > 0).any()), lambda x: x[x > 0], lambda x: x.nonzero(),
        lambda x: x.unique(), lambda x: torch.bincount(x.long()), lambda x: x.cpu(), lambda x: x.to("cpu"),
        lambda x: x.tolist(), lambda x: torch.tensor([1.0, 2.0]) + x, lambda x: x.masked_select(x > 0),
        lambda x: torch.equal(x, x), lambda x: x.repeat_interleave(x.long()), lambda x: float(x[0]),
        lambda x: x.clone().__setitem__(torch.tensor([0]).new_zeros(1), True),
    ],
)  # fmt: skip
def test_the_watch_knows_what_waits(wait):
    found = []
    with watched(found):
        wait(torch.ones(2))
    assert found


def test_states_are_made_where_they_are_and_not_copied_there():
    found = []
    with watched(found):
        part = ClassPart((COLUMNS, 0), KINDS, NOWHERE, labels=False)
        part.add(out_of_reach(0))
    assert found == []
    assert {state.device for metric in part.metrics.values() for state in metric.states().values()} == {NOWHERE}
