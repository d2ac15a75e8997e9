"""No batch hook of any callback waits for the device after the first batch of a loader."""

from collections import defaultdict

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


def watch(monkeypatch, callbacks, found):
    """Watch the hooks of callbacks, but for the first batch of each stage and run; how often each was watched."""
    calls, seen = defaultdict(int), defaultdict(int)
    kinds = {kind for one in callbacks for kind in type(one).__mro__}
    for kind in (kind for kind in kinds if kind.__module__.startswith("lightning_posttrain")):
        for hook in HOOKS:
            if hook in vars(kind):
                monkeypatch.setattr(kind, hook, _watching(vars(kind)[hook], hook, calls, seen, found))
    return seen


def _watching(run, hook, calls, seen, found):
    def watching(callback, trainer, *rest):
        place = id(callback), hook, trainer.state.stage
        calls[place] += 1
        # what a sampler draws in an epoch goes to the device once an epoch
        of_epoch = isinstance(callback, HardExampleMining) and rest[-1:] == (0,)
        if calls[place] == 1 or of_epoch or trainer.sanity_checking:
            return run(callback, trainer, *rest)
        seen[hook] += 1
        with watched(found):
            return run(callback, trainer, *rest)

    return watching


def loaders(name):
    """Training and evaluation; classes come one after the other, so that the first batch has not all of them."""
    pictures, target = toys.images(60, toys.CLASSES).tensors
    order = target.argsort(stable=True)
    if "labels" in name:
        target = torch.nn.functional.one_hot(target, toys.CLASSES)
    data = TensorDataset(pictures[order], target[order])
    sampler = HardExampleSampler(data) if name == "HardExampleMining" else None
    return DataLoader(data, batch_size=6, sampler=sampler), DataLoader(data, batch_size=6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLBACKS)
def test_no_batch_hook_waits_after_the_first_batch(name, monkeypatch):
    made = CALLBACKS[name]()
    callbacks = made if isinstance(made, list) else [made]
    found = []
    seen = watch(monkeypatch, callbacks, found)
    keeps = any(isinstance(one, ModelCheckpoint) for one in callbacks)
    trainer = toys.quiet(callbacks, max_epochs=2, enable_checkpointing=keeps)
    train, evaluated = loaders(name)
    module = Labels() if "labels" in name else toys.Net()
    trainer.fit(module, train, evaluated)
    trainer.test(module, evaluated, verbose=False)
    assert seen["on_validation_batch_end"] >= 18
    assert sorted(set(found)) == []


class Labels(toys.Net):
    """Has several labels a row."""

    def step(self, batch, stage):
        return torch.nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1].float())

    def training_step(self, batch, batch_idx):
        return self.step(batch, "train")
