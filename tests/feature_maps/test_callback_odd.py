from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lightning_posttrain import FeatureMaps
from tests import toys
from tests.feature_maps import networks
from tests.feature_maps.test_callback import STAGES, Module, names, pictures, seen


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": []}, r"`layers` is \[\], wanted a list of names"),
        ({"layers": "model.layer1"}, r"`layers` is 'model.layer1', wanted a list of names"),
        ({"drawn": 0}, r"`drawn` is 0, wanted at least 1"),
        ({"samples": 0}, r"`samples` is 0, wanted at least 1"),
        ({"every_n_epochs": 0}, r"`every_n_epochs` is 0, wanted at least 1"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options, words):
    with pytest.raises(ValueError, match=words):
        FeatureMaps(**options)


@pytest.mark.parametrize("on_error", ["warn", "raise"])
def test_a_layer_that_is_not_there_ends_the_sanity_check_with_the_nearest(on_error):
    callback, loader = FeatureMaps(layers=["model.layer4"], on_error=on_error), toys.loader(pictures())
    with pytest.raises(ValueError, match=r"`layers` has 'model\.layer4', wanted .*'model\.layer1'"):
        toys.quiet(callback).fit(Module(networks.ResNet()), loader, loader)


def test_named_layers_are_shown_in_their_order_and_twice_named_once():
    layers = ["model.layer3", "model.layer1.0", "model.layer3"]
    assert names(seen(Module(networks.ResNet()), layers=layers)) == ["model.layer3", "model.layer1.0"]


class Spare(networks.ResNet):
    """With a part that is not called."""

    def __init__(self):
        super().__init__()
        self.spare = nn.Conv2d(1, 1, 1)


def test_a_layer_that_is_not_called_or_has_no_maps_is_said_and_others_are_drawn():
    with pytest.warns(UserWarning, match="no feature maps of") as caught:
        result = seen(Module(Spare()), layers=["model.spare", "model.fc", "model.layer2"], on_error="warn")
    said = " ".join(str(one.message) for one in caught)
    assert "no feature maps of `model.spare`: the forward does not call it" in said
    assert "no feature maps of `model.fc`: what it gives has no row for each sample, or does not lie" in said
    assert names(result) == ["model.layer2"]


def test_where_no_named_layer_has_maps_there_is_no_picture(tmp_path):
    with pytest.warns(UserWarning, match="no feature maps of `model.fc`"):
        result = seen(Module(networks.ResNet()), layers=["model.fc"], on_error="warn")
    assert result.stages == ()
    assert not list(tmp_path.rglob("*.png"))


def test_a_network_of_one_layer_is_that_layer():
    class One(Module):
        def validation_step(self, batch, batch_idx):
            self(batch[0])

    assert names(seen(One(nn.Conv2d(1, 5, 3)))) == ["model"]


def test_a_network_without_maps_is_said():
    with pytest.warns(UserWarning, match=r"sides \(32, 32\) no part of the module gives maps"):
        assert seen(Module(nn.Sequential(nn.Flatten(), nn.Linear(1024, 4))), on_error="warn") is None


def test_rows_of_a_table_are_said_to_have_no_maps():
    data = TensorDataset(torch.rand(20, 6), torch.arange(20) % 4)
    with pytest.warns(UserWarning, match="FeatureMaps draws nothing: rows of a table have no positions"):
        assert seen(Module(nn.Linear(6, 4)), data) is None


def test_inputs_of_no_known_kind_are_said():
    data = TensorDataset(torch.rand(20, 2, 3, 4, 5), torch.arange(20) % 4)
    with pytest.warns(UserWarning, match="FeatureMaps draws nothing: it wants a tensor: images, series"):
        assert seen(Module(nn.Sequential(nn.Flatten(), nn.Linear(120, 4))), data) is None


def test_positions_that_do_not_come_by_are_said():
    with pytest.warns(UserWarning, match=r"draws nothing: at positions \[99\]"):
        assert seen(Module(networks.ResNet()), samples=[99]) is None


def test_one_sample_is_enough():
    result = seen(Module(networks.ResNet()), samples=1)
    assert names(result) == STAGES
    assert len(result.shown) == 1


def test_a_layer_that_is_called_several_times_shows_its_last_call_and_says_so():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = networks.block(1, 1), nn.Linear(1, 4)

        def forward(self, x):
            return self.head(self.body(self.body(x)).mean((2, 3)))

    module, data = Module(Twice()), pictures()
    result = seen(module, data, layers=["model.body"])
    assert result.notes == ("model.body is called 2 times, and its last call is shown",)
    body, x = module.model.body.eval(), data.tensors[0][:3]
    torch.testing.assert_close(result.stages[0].maps, body(body(x)).detach())


def test_branches_at_several_resolutions_are_said():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.split = networks.block(1, 4), networks.Split()
            self.branches, self.head = networks.Branches(), nn.Linear(8, 4)

        def forward(self, x):
            return self.head(torch.cat([part.mean((2, 3)) for part in self.branches(self.split(self.stem(x)))], 1))

    result = seen(Module(Net()))
    assert result.notes[0].startswith(
        "model.branches: maps of several resolutions at a time. Those to draw can be named"
    )


def test_a_compiled_network_is_seen_as_it_is_and_named_plainly():
    module = Module(networks.ResNet())
    module.model = torch.compile(module.model, backend="eager")
    assert names(seen(module)) == STAGES
    assert names(seen(module, layers=["model.layer1"])) == ["model.layer1"]


@pytest.mark.filterwarnings("ignore:`torch.jit.trace.*` is deprecated:DeprecationWarning")
def test_a_scripted_network_is_said_to_take_no_hooks():
    scripted = torch.jit.trace(networks.ResNet().eval(), torch.rand(2, 1, 32, 32), check_trace=False)
    with pytest.warns(UserWarning, match="a script, which takes no hooks"):
        assert seen(Module(scripted), on_error="warn") is None


def test_a_sharded_module_is_said_to_be_on_no_single_rank():
    module = Module(networks.ResNet())
    next(module.parameters()).ds_id = 0
    with pytest.warns(UserWarning, match="FeatureMaps explains on the first rank, which does not hold the sharded"):
        assert seen(module) is None


@pytest.mark.parametrize("wrap", [lambda m: (m, None), lambda m: {"maps": m, "loss": None}])
def test_layers_that_give_collections_are_seen(wrap):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = networks.block(1, 4, 2)

        def forward(self, x):
            return wrap(self.inner(x))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = Wrapped(), nn.Linear(4, 4)

        def forward(self, x):
            given = self.body(x)
            return self.head((given["maps"] if isinstance(given, dict) else given[0]).mean((2, 3)))

    assert seen(Module(Net()), layers=["model.body"])["model.body"].shape == (4, 16, 16)


def test_values_that_are_not_finite_are_said_and_cost_nothing():
    module = Module(networks.ResNet())
    module.model.layer2[1].short.bias.data[3] = float("inf")
    with pytest.warns(UserWarning, match=r"`model\.layer2` gives values that are not finite, drawn as 0"):
        result = seen(module, on_error="warn")
    assert names(result) == STAGES
    assert "feature_maps/2_model.layer2/effective_rank" not in result.scalars()


def test_hooks_and_modes_are_as_they_were():
    module = Module(networks.ResNet())
    module.model.bn1.eval()
    module.model.conv1.weight.requires_grad_(False)
    before = [(part.training, len(part._forward_hooks), sorted(vars(part))) for part in module.model.modules()]
    seen(module, how="test")
    assert before == [(part.training, len(part._forward_hooks), sorted(vars(part))) for part in module.model.modules()]
    assert [p.requires_grad for p in module.parameters()][:2] == [False, True]


def test_a_rank_without_samples_does_at_the_end_of_a_fit_what_the_others_do():
    callback, asked = FeatureMaps(), []
    trainer = SimpleNamespace(global_step=5, is_global_zero=False)
    for step in (5, 4):  # explained at the last step, which the first rank does not do again, and before it
        callback._pending = {"val": (None, step)}
        assert list(callback.last(trainer, lambda *given: asked.append(given))) == []
    assert asked == [(None, trainer)]
