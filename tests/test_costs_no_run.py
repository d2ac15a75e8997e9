"""Whatever goes wrong in a callback, the user's run goes on as without it."""

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy

import lightning_posttrain
from lightning_posttrain import ConfusionMatrix, GeneralizationGap, TorchMetrics
from lightning_posttrain.core.callback.callback import EvaluationCallback
from tests import toys
from tests.test_contract import CALLBACKS, OTHERS, made

ASKED = (
    "metrics", "check", "observe", "summarize", "scalars", "show", "takes", "start", "finish", "hears", "hears_calls",
    "open", "see", "evaluations", "names", "place", "kept", "take_up", "shown_by_others", "charts", "counts_open_epoch",
    "columns", "replay", "release",
)  # fmt: skip
"""What the base asks of a final callback."""
SAYS_WHAT_IS_WRONG = {"check", "names", "start", "open", "see", "evaluations"}
"""Where a ``ValueError`` is of a configuration that would give wrong figures, and is raised before training."""
NOT_ASKED = {
    "guarded",
    "write_last",
    "attempt",
    "attempt_each",
    "go_home",
    "tell",
    "parts",
    "state_dict",
    "load_state_dict",
    "rename",
    "report_one",
}
"""Public methods that are the base's own."""


def of_kind(kind):
    options = {"stages": ["train", "val", "test"]} if kind not in {lightning_posttrain.HardExampleMining} else {}
    if kind is TorchMetrics:
        return TorchMetrics(MulticlassAccuracy(num_classes=toys.CLASSES), **options)
    if kind in {GeneralizationGap}:
        return kind()
    return made(kind, **options)


def weights(callbacks, tmp_path):
    torch.manual_seed(3)
    module = toys.Net()
    data = toys.images(30)
    sampler = lightning_posttrain.HardExampleSampler(data, seed=1)
    trainer = toys.quiet(callbacks, enable_checkpointing=False)
    trainer.fit(module, toys.loader(data, sampler=sampler), toys.loader())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    trainer.test(module, toys.loader(), verbose=False)
    return trainer, module.state_dict()


def test_all_that_the_base_asks_of_a_callback_is_in_the_table():
    hooks = {name for name in dir(EvaluationCallback) if name.startswith("on_")}
    public = {
        name for kind in (EvaluationCallback, *CALLBACKS, *OTHERS) for name in vars(kind)
        if not name.startswith("_") and callable(getattr(kind, name))
    }  # fmt: skip
    of_lightning = {"setup", "teardown", "reading"}
    own = {
        "calibrated",
        "look",
        "due",
        "explained",
        "last",
        "namings",
        "or_begin_anew",
        "for_these",
        "fits",
        "say_not_fitted",
        "keep",
        "network",
    }
    assert public - hooks - of_lightning - own - NOT_ASKED - set(ASKED) == set()


ALWAYS = {"ClassificationMetrics"}
"""One of each base and shape, which are looked at in every run of the tests; the others in the slow ones."""


def kinds():
    for kind in (*CALLBACKS, *OTHERS):
        for error in (MemoryError("no room"), ValueError("odd")):
            quick = isinstance(error, MemoryError) and kind.__name__ in ALWAYS
            marks = [] if quick else [pytest.mark.slow]
            yield pytest.param(kind, error, id=f"{type(error).__name__}-{kind.__name__}", marks=marks)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "error"), [*kinds()])
def test_an_error_in_any_method_of_any_callback_ends_no_run(kind, error, tmp_path, monkeypatch):
    without = weights([], tmp_path)[1]
    for method in ASKED:
        if not hasattr(kind, method):
            continue
        callback, healthy = of_kind(kind), ConfusionMatrix(name="healthy")

        def fail(*args, **options):
            raise type(error)(*error.args)

        if isinstance(error, ValueError) and method in SAYS_WHAT_IS_WRONG:
            continue
        monkeypatch.setattr(callback, method, fail)
        trainer, found = weights([callback, healthy], tmp_path)
        assert trainer.state.finished, method
        # in training the sampler draws other rows where mining does not tell it
        if kind is not lightning_posttrain.HardExampleMining:
            assert all(torch.equal(without[name], value) for name, value in found.items()), method
        assert healthy.results["val"].counts.sum() == healthy.results["test"].counts.sum() == 37, method
