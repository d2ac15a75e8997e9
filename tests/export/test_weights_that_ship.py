"""Which weights are exported, where a Trainer averages them or a network is not stored as it is run."""

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from torch.nn.utils import parametrizations, prune

from lightning_posttrain import ModelExport
from lightning_posttrain.export import load
from tests import toys
from tests.export.test_model_export import fitted, manifest, place

pytestmark = pytest.mark.slow

ROWS = toys.images(20, seed=3).tensors[0]


def probabilities(trainer):
    return load(place(trainer), format="pt2")(ROWS.numpy()).probabilities


def assert_answers_as(module, trainer):
    with torch.no_grad():
        wanted = module.eval()(ROWS).softmax(1)
    np.testing.assert_allclose(probabilities(trainer), wanted, atol=1e-6)


def swa():
    return StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=2)


@pytest.mark.parametrize("weights", ["average", "last"])
def test_what_stochastic_weight_averaging_ends_with_is_the_average(weights, tmp_path):
    export = ModelExport(formats=["pt2"], weights=weights, on_error="raise")
    trainer, module = fitted(tmp_path, export, swa(), epochs=4)
    assert_answers_as(module, trainer)
    assert manifest(trainer)["weights"]["source"] == weights


@pytest.mark.parametrize("weights", ["average", "best"])
def test_what_an_exponential_average_was_validated_with_is_the_average(weights, tmp_path):
    export = ModelExport(formats=["pt2"], weights=weights, on_error="raise")
    trainer, _ = fitted(tmp_path, export, EMAWeightAveraging(decay=0.9), epochs=2)
    state = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
    best = toys.Net()
    best.load_state_dict(state["state_dict"])
    assert any(not torch.equal(state["state_dict"][k], v) for k, v in state["current_model_state"].items())
    assert_answers_as(best, trainer)
    assert "EMA" in manifest(trainer)["weights"]["words"]


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.warns(UserWarning, match=r"`weights` is 'gone/last\.ckpt', which is not there"):
        fitted(tmp_path, ModelExport(formats=["pt2"], weights="gone/last.ckpt"), epochs=1)


class Spectral(toys.Net):
    def __init__(self):
        super().__init__()
        parametrizations.spectral_norm(self.model[0])
        parametrizations.weight_norm(self.model[5])


class Pruned(toys.Net):
    def __init__(self):
        super().__init__()
        prune.l1_unstructured(self.model[5], "weight", 0.3)
        prune.random_structured(self.model[0], "weight", 0.3, dim=0)


class Compiled(toys.Net):
    def __init__(self):
        super().__init__()
        self.model = torch.compile(self.model, backend="eager")


@pytest.mark.parametrize("kind", [Spectral, Pruned, Compiled])
def test_weights_that_are_made_of_others_are_exported_as_they_are_run(kind, tmp_path):
    export = ModelExport(formats=["pt2"], weights="last", on_error="raise")
    trainer, module = fitted(tmp_path, export, module=kind(), epochs=1)
    assert_answers_as(module, trainer)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
@pytest.mark.filterwarnings("ignore:.*autocast")
def test_what_ran_in_another_precision_is_compared_with_its_tolerance(precision, tmp_path):
    export = ModelExport(formats=["pt2"], on_error="raise")
    trainer, module = fitted(tmp_path, export, precision=precision, epochs=1)
    trainer.test(module, toys.loader(toys.images(50, seed=2)), verbose=False)
    found = export.results["test"]["pt2"]
    assert found.kept
    assert found.precision == "float32"
    assert found.against == ("" if precision == "64-true" else f"the step, in {precision} on cpu")
    assert found.tolerance == (1e-4 if precision == "64-true" else 1e-2)
    assert_answers_as(module.float(), trainer)
