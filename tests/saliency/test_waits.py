"""How often an explanation stops an accelerator's queue, and how many operations it adds, told on a CPU."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_posttrain import SaliencyMaps
from lightning_posttrain.attribution import gradient_session
from lightning_posttrain.samples.model_access import ModelAccess
from tests import toys

WAIT = {"_local_scalar_dense", "equal", "nonzero", "_unique2", "masked_select"}
VIEWS = {"detach", "view", "alias", "_unsafe_view", "split_with_sizes"}
READ = {"cpu", "tolist", "numpy"}
"""Functions of which nothing is dispatched where a tensor is on the CPU already."""


class Operations(TorchDispatchMode):
    """Counts operations, and among them those whose result an accelerator would have to be waited for."""

    def __init__(self):
        super().__init__()
        self.done = Counter()

    @classmethod
    def _should_skip_dynamo(cls):
        return False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        self.done.update(
            operations=int(name not in VIEWS), waits=int(name in WAIT or by_mask), forwards=int(name == "addmm")
        )
        return func(*args, **(kwargs or {}))


class Reads(TorchFunctionMode):
    """Counts what is read on the host."""

    def __init__(self, done):
        super().__init__()
        self.done = done

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.done["waits"] += getattr(func, "__name__", "") in READ
        return func(*args, **(kwargs or {}))


class Deep(toys.Net):
    """With some batch normalisations, which keep three buffers each."""

    def __init__(self, norms):
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), *(nn.BatchNorm2d(6) for _ in range(norms)), nn.ReLU(), nn.Flatten(),
            nn.Linear(6 * 64, toys.CLASSES),
        )  # fmt: skip


@pytest.fixture
def counted(monkeypatch):
    """What explanations do beside the steps."""
    operations, explained = Operations(), ModelAccess.explained

    def counting(*args, **options):
        with Reads(operations.done), operations:
            return explained(*args, **options)

    monkeypatch.setattr(ModelAccess, "explained", counting)

    def done(norms, batch_size=16, **options):
        torch.manual_seed(0)
        operations.done.clear()
        trainer = toys.quiet(SaliencyMaps(layer="model.0", on_error="raise", **options))
        trainer.validate(Deep(norms), toys.loader(toys.images(60), batch_size=batch_size), verbose=False)
        return operations.done.copy()

    return done


def test_a_validation_waits_a_few_dozen_times_however_deep_the_network_is(counted):
    shallow, deep = counted(1), counted(12)
    assert shallow["waits"] == deep["waits"] <= 100


def test_a_validation_waits_no_more_often_for_rows_in_many_chunks(counted):
    methods = ["saliency", "smoothgrad"]
    many, few = counted(1, batch_size=1, methods=methods), counted(1, batch_size=16, methods=methods)
    assert many["forwards"] > 3 * few["forwards"] > 0
    assert many["waits"] == few["waits"]


def test_a_session_compares_what_a_module_keeps_in_few_operations_however_much_it_is():
    found = []
    for norms in (2, 40):
        module, operations = Deep(norms), Operations()
        with operations, gradient_session(module):
            pass
        found.append({**operations.done})
    assert found[0] == found[1]
    assert found[0]["operations"] < 20
