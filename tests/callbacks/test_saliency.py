import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from lightning_posttrain import ClassificationMetrics, SaliencyMaps
from lightning_posttrain.attribution import METHODS
from tests import toys


class Watching(toys.Net):
    def step(self, batch, stage):
        self(batch[0])


def explained(net, data=None, **options):
    saliency = SaliencyMaps(on_error="raise", **options)
    toys.quiet(saliency).validate(net, toys.loader(data), verbose=False)
    return saliency.results["val"]


def test_what_is_said_of_a_sample_is_what_the_model_says_of_that_row_of_the_dataset():
    net, data = toys.Net(), toys.images()
    result = explained(net, data, samples=6)
    x, y = data.tensors
    index = torch.tensor(result.index)
    with torch.no_grad():
        probability, predicted = net.eval()(x[index]).softmax(1).max(1)
    assert torch.equal(result.target, y[index])
    assert torch.equal(result.predicted, predicted)
    torch.testing.assert_close(result.probability, probability)
    torch.testing.assert_close(result.maps["input_x_gradient"], _input_x_gradient(net, x[index], predicted))


def _input_x_gradient(net, x, target):
    x = x.clone().requires_grad_()
    net(x).gather(1, target[:, None]).sum().backward()
    return (x * x.grad).detach().sum(1)


@pytest.mark.filterwarnings("ignore:.*sampler has shuffling enabled.*")
def test_samples_stay_the_same_over_epochs_with_a_shuffled_loader_and_are_chosen_anew_in_the_next_run():
    seen = []

    class Keeping(toys.Net):
        def on_validation_end(self):
            if not self.trainer.sanity_checking:
                seen.append(saliency.results["val"].images)

    saliency = SaliencyMaps(on_error="raise")
    trainer = toys.quiet(saliency, max_epochs=3)
    trainer.fit(Keeping(), toys.loader(), toys.loader(shuffle=True))
    assert len(seen) == 3
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])
    trainer.validate(Keeping(), toys.loader(toys.images(seed=9)), verbose=False)
    assert not torch.equal(seen[0], seen[3])


def test_the_seed_is_that_of_the_numbers_drawn_inside():
    drawn = []

    class Drawing(toys.Net):
        def forward(self, x):
            if torch.is_grad_enabled():
                drawn.append(float(torch.rand(())))
            return super().forward(x)

    for seed in (1, 1, 2):
        explained(Drawing(), methods=["saliency"], seed=seed)
    first, again, other = drawn
    assert first == again != other


class Normalising(Watching):
    def step(self, batch, stage):
        self(1 - 5 * batch[0])


def test_nothing_is_drawn_where_the_step_does_more_than_the_module_and_forward_fn_says_what():
    suite = [ClassificationMetrics(), SaliencyMaps()]
    with pytest.warns(UserWarning, match="gives other scores than the step did.*forward_fn") as caught:
        toys.quiet(suite, max_epochs=2).fit(Normalising(), toys.loader(), toys.loader())
    assert sum("other scores" in str(w.message) for w in caught) == 1
    assert suite[1].results == {}
    assert explained(Normalising(), forward_fn=lambda module, x: module(1 - 5 * x)).maps


def test_images_of_whole_numbers():
    class Scaling(Watching):
        def forward(self, x):
            return super().forward(x.float() / 255)

    x, y = toys.images().tensors
    result = explained(Scaling(), TensorDataset((x * 100).to(torch.uint8), y))
    assert result.images.max() <= 1
    assert all(values.any() for values in result.maps.values())


def test_a_forward_that_wants_whole_numbers_is_not_explained_with_others():
    class Strict(Watching):
        def forward(self, x):
            return super().forward(x / 255 if x.dtype == torch.uint8 else x)

    x, y = toys.images().tensors
    data = TensorDataset((x * 150).to(torch.uint8), y)
    with pytest.warns(UserWarning, match="gives other scores than the step did"):
        toys.quiet(SaliencyMaps()).validate(Strict(), toys.loader(data), verbose=False)


def test_images_with_the_channels_last():
    class Last(Watching):
        def forward(self, x):
            return super().forward(x.permute(0, 3, 1, 2))

    x, y = toys.images().tensors
    result = explained(Last(), TensorDataset(x.permute(0, 2, 3, 1), y), layer="model.2")
    plain = explained(Watching(), TensorDataset(x, y), layer="model.2")
    assert {values.shape for values in result.maps.values()} == {(8, 8, 8)}
    assert plain.maps["grad_cam"].shape == (8, 8, 8)


def test_a_single_binary_score_speaks_for_either_class():
    class Binary(Watching):
        def __init__(self):
            super().__init__(classes=1)
            nn.init.constant_(self.model[-1].bias, -5.0)  # all rows are class 0

    result = explained(Binary(), toys.images(classes=2), task="binary")
    assert result.predicted.tolist() == [0] * 8
    assert all(result.maps[name].flatten(1).any(1).all() for name in METHODS if name != "grad_cam")


def test_a_module_without_a_forward_is_explained_through_the_part_that_takes_the_images():
    class Plain(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = toys.Net().model

        def validation_step(self, batch, batch_idx):
            self.log("val/loss", F.cross_entropy(self.net(batch[0]), batch[1]))

    assert set(explained(Plain()).maps) == set(METHODS)


def test_a_forward_that_logs_keeps_its_own_value():
    class Logging(toys.Net):
        def forward(self, x):
            if self._trainer is not None and self.trainer.validating:
                self.log("brightness", x.mean())
            return super().forward(x)

    values = []
    for callbacks in ([], [SaliencyMaps(on_error="raise")]):
        trainer = toys.quiet(callbacks)
        trainer.validate(Logging(), toys.loader(), verbose=False)
        values.append(trainer.callback_metrics["brightness"])
    assert torch.equal(*values)


def test_a_sharded_module_is_left_alone():
    class Sharded(toys.Net):
        def __init__(self):
            super().__init__()
            self.model[-1].bias.full_tensor = None

    saliency = SaliencyMaps(on_error="raise")
    with pytest.warns(UserWarning, match="does not hold the sharded module"):
        toys.quiet(saliency).validate(Sharded(), toys.loader(), verbose=False)
    assert saliency.results == {}


def test_a_named_layer_is_taken():
    assert explained(toys.Net(), layer="model.0").layer == "model.0"
    assert explained(toys.Net()).layer == "model.3"


def test_without_maps_grad_cam_is_missing_with_the_reason_and_the_rest_is_there():
    result = explained(toys.Inline())
    assert set(result.maps) == set(METHODS) - {"grad_cam"}
    assert "name one with layer=" in result.notes[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_images_of_another_precision_than_the_module(dtype):
    class Casting(Watching):
        def step(self, batch, stage):
            self(batch[0].float())

    x, y = toys.images().tensors
    assert set(explained(Casting(), TensorDataset(x.to(dtype), y)).maps) == set(METHODS)
