import copy

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain.ensembles import (
    STRATEGIES,
    Combination,
    EnsembleNetwork,
    log_probabilities,
    member_rows,
    scores_of,
)


class InPlace(nn.Module):
    """A convolutional network whose first layer changes its inputs."""

    def __init__(self, classes=3):
        super().__init__()
        self.first = nn.ReLU(inplace=True)
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, classes)
        self.register_buffer("fixed", torch.ones(1), persistent=False)

    def forward(self, inputs):
        return self.head(self.body(self.first(inputs)).mean((2, 3))) * self.fixed


def members_of(make, number=3):
    made = []
    for seed in range(number):
        torch.manual_seed(seed)
        made.append(make().eval())
    return made


INPUTS = torch.randn(6, 1, 5, 5, generator=torch.Generator().manual_seed(0))
SOME = Combination("probabilities", torch.tensor([0.7, 0.0, 0.3]), 0.8)


def ensemble_of(members, combination=SOME, **options):
    return EnsembleNetwork(members[0], [member.state_dict() for member in members], combination, **options)


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_it_gives_what_the_combination_gives_of_its_members_scores(name):
    members = members_of(InPlace)
    many = torch.randn(1100, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = torch.stack([member(many.clone()) * 3 for member in members], 1)
    target = torch.multinomial(scores.mean(1).softmax(1), 1, generator=torch.Generator().manual_seed(2))[:, 0]
    logp, target = log_probabilities(scores / 3, target, "multiclass")
    combination = STRATEGIES[name](logp, target)
    found = ensemble_of(members, combination)
    before = many.clone()
    assert torch.allclose(found(many).double(), combination(logp), atol=1e-5)
    assert torch.equal(many, before)
    assert len(found.members) == len(combination.used)


def test_the_network_stays_as_it_was_and_members_are_their_own():
    members = members_of(InPlace)
    before = copy.deepcopy(members[0].state_dict())
    found = ensemble_of(members)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], value) for name, value in members[0].state_dict().items())
    assert not found.training
    assert found.members[0].fixed.item() == 1


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 2)])
@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_a_binary_network_keeps_its_form(shape, kind):
    class Binary(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, shape[1] if len(shape) == 2 else 1)

        def forward(self, inputs):
            scores = self.head(inputs).reshape(shape)
            single = shape[1:] != (2,)
            return scores if kind == "logits" else scores.sigmoid() if single else scores.softmax(1)

    members, inputs = members_of(Binary), torch.randn(6, 4)
    found = ensemble_of(members, task="binary", scores=kind)(inputs)
    assert found.shape == shape
    chance = [m(inputs).detach() for m in members]
    if kind == "logits":
        chance = [c.softmax(1) if shape[1:] == (2,) else c.sigmoid() for c in chance]
    mixed = 0.7 * chance[0] + 0.3 * chance[2]
    if shape[1:] == (2,):
        assert torch.allclose(found, (mixed.log() / 0.8).log_softmax(1), atol=1e-5)
    else:
        assert torch.allclose(found, mixed.logit() / 0.8, atol=1e-5)


@pytest.mark.parametrize("extra", [(), (5, 4)])
def test_labels_are_combined_one_by_one(extra):
    layer = (lambda: nn.Linear(4, 3)) if not extra else (lambda: nn.Conv2d(2, 3, 1))
    members = members_of(layer)
    inputs = torch.randn(6, *((2, *extra) if extra else (4,)))
    found = ensemble_of(members, task="multilabel")(inputs)
    odds = torch.stack([member(inputs) for member in members], 1).detach()
    assert found.shape == (6, 3, *extra)
    mixed = (0.7 * odds[:, 0].sigmoid() + 0.3 * odds[:, 2].sigmoid()).logit() / 0.8
    assert torch.allclose(found, mixed, atol=1e-4)
    if not extra:
        rows = scores_of(SOME(member_rows(odds, "multilabel")), "multilabel", 3)
        assert torch.allclose(found.double(), rows, atol=1e-5)


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_each_position_of_a_segmentation_is_a_row(kind):
    def make():
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *([nn.Softmax(1)] if kind == "probabilities" else []))

    members = members_of(make)
    found = ensemble_of(members, Combination("logits", torch.tensor([0.5, 0.2, 0.6])), scores=kind)(INPUTS)
    outputs = [member(INPUTS).detach() for member in members]
    logp = [(output.log() if kind == "probabilities" else output).log_softmax(1) for output in outputs]
    assert found.shape == (6, 4, 5, 5)
    assert torch.allclose(found, (0.5 * logp[0] + 0.2 * logp[1] + 0.6 * logp[2]).log_softmax(1), atol=1e-5)


def stacked(members=3, classes=3):
    coefficients = torch.randn(members * classes, classes, generator=torch.Generator().manual_seed(0)).double() / 7
    return Combination(
        "stacked", torch.full((members,), 1 / members).double(), 1.0, coefficients, torch.linspace(0, 1, classes)
    )


@pytest.mark.parametrize("combination", [SOME, stacked()], ids=["weights", "stacked"])
def test_a_file_gives_the_same_bit_for_bit(tmp_path, combination):
    members = members_of(InPlace)
    found = ensemble_of(members, combination, names=["epoch 1", "epoch 2", "epoch 3"])
    found.save(tmp_path / "ensemble.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["ensemble.pt"]
    back = EnsembleNetwork.load(tmp_path / "ensemble.pt", InPlace())
    assert torch.equal(back(INPUTS), found(INPUTS))
    assert back.describe() == found.describe()
    assert len(back.members) == len(combination.used)
    back.save(tmp_path / "again.pt")
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    first = torch.load(tmp_path / "ensemble.pt", weights_only=True)
    assert all(torch.equal(again["state"][name], value) for name, value in first["state"].items())


@pytest.mark.parametrize("combination", [SOME, stacked()], ids=["weights", "stacked"])
def test_it_exports_with_any_number_of_rows(combination):
    found = ensemble_of(members_of(InPlace), combination)
    program = torch.export.export(found, (INPUTS,), dynamic_shapes={"inputs": ({0: torch.export.Dim.DYNAMIC},)})
    for rows in (1, 4, 6):
        assert torch.allclose(program.module()(INPUTS[:rows].clone()), found(INPUTS[:rows]), atol=1e-6)


def test_under_autocast_members_run_in_half_precision_and_the_combination_does_not():
    found = ensemble_of(members_of(lambda: nn.Linear(4, 3)), stacked())
    inputs = torch.randn(6, 4)
    with torch.autocast("cpu", torch.bfloat16):
        output = found(inputs)
        scores = torch.stack([member(inputs) for member in found.members], 1)
    assert scores.dtype == torch.bfloat16
    assert output.dtype == torch.float32
    assert torch.allclose(output.double(), stacked()(member_rows(scores, "multiclass")), atol=1e-5)


def test_gradients_reach_the_inputs():
    inputs = INPUTS.clone().requires_grad_()
    ensemble_of(members_of(InPlace))(inputs).exp()[:, 0].sum().backward()
    assert float(inputs.grad.abs().sum()) > 0


class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.net(inputs)

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_fitted_lightning_module_is_copied_without_its_trainer(tmp_path):
    module = Module()
    data = DataLoader(TensorDataset(torch.randn(8, 4), torch.zeros(8, dtype=torch.long)), 4)
    trainer = Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(module, data)
    found = EnsembleNetwork(module, [module.state_dict()] * 2, Combination("logits", torch.ones(2) / 2))
    assert module.trainer is trainer
    assert all(member._trainer is None for member in found.members)
    inputs = torch.randn(3, 4)
    assert torch.allclose(found(inputs).exp(), module(inputs).softmax(1), atol=1e-6)


def test_names_of_a_compiled_module_are_read():
    layers = members_of(lambda: nn.Linear(4, 3))
    marked = [{f"_orig_mod.{name}": value for name, value in layer.state_dict().items()} for layer in layers]
    plain = ensemble_of(layers)
    inputs = torch.randn(3, 4)
    assert torch.equal(EnsembleNetwork(layers[1], marked, SOME)(inputs), plain(inputs))
    compiled = torch.compile(layers[1], backend="eager")
    assert torch.equal(EnsembleNetwork(compiled, marked, SOME)(inputs), plain(inputs))


def test_what_is_in_a_members_state_beside_the_network_is_skipped():
    layers = members_of(lambda: nn.Linear(4, 3))
    states = [{**layer.state_dict(), "loss.weight": torch.ones(3)} for layer in layers]
    inputs = torch.randn(3, 4)
    assert torch.equal(EnsembleNetwork(layers[0], states, SOME)(inputs), ensemble_of(layers)(inputs))


def test_members_that_do_not_fit_the_network_are_refused(tmp_path):
    layers = members_of(lambda: nn.Linear(4, 3))
    states = [layer.state_dict() for layer in layers]
    with pytest.raises(ValueError, match="`states` has 2, wanted 3, as many as `combination` has members"):
        EnsembleNetwork(layers[0], states[:2], SOME)
    with pytest.raises(ValueError, match=r"'weight' of shape \(3, 4\), the network \(3, 5\)"):
        EnsembleNetwork(nn.Linear(5, 3), states, SOME)
    with pytest.raises(
        ValueError, match=r"a member lacks '0.bias', which the network has \(2 of 2 names are missing\)"
    ):
        EnsembleNetwork(nn.Sequential(nn.Linear(4, 3)), states, SOME)
    with pytest.raises(ValueError, match="`task` is 'regression'"):
        ensemble_of(layers, task="regression")
    torch.save({"state_dict": states[0]}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="which holds no ensemble"):
        EnsembleNetwork.load(tmp_path / "other.ckpt", layers[0])


def test_a_network_that_gives_no_tensor_is_refused():
    class Pair(nn.Module):
        def forward(self, inputs):
            return inputs, inputs

    found = EnsembleNetwork(Pair(), [{}], Combination("logits", torch.ones(1)))
    with pytest.raises(TypeError, match=r"the network gives a tuple, wanted a tensor of scores\. Wrap it so"):
        found(torch.ones(2, 3))
