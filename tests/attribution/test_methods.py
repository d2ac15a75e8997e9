"""Every method beside a closed form, and beside captum where captum is right."""

import re

import captum.attr
import pytest
import torch
from captum.attr import LayerGradCam, LayerGradientXActivation
from captum.attr._utils.lrp_rules import GammaRule
from torch import nn
from torch.nn import functional as F

from lightning_posttrain.attribution.attribute import METHODS, as_method, as_methods, attribute, gap
from lightning_posttrain.attribution.captum_methods import Captum
from lightning_posttrain.attribution.chunks import Chunks, OutOfTimeError
from lightning_posttrain.attribution.occlusion import Occlusion
from lightning_posttrain.attribution.path_methods import GradientShap, IntegratedGradients, SmoothGrad
from lightning_posttrain.attribution.problem import Problem
from lightning_posttrain.attribution.rule_methods import LRP, DeepLift
from lightning_posttrain.attribution.session import gradient_session
from tests import nets
from tests.attribution.problems import maps_of, problem_of, values_of

TARGET = torch.tensor([0, 3, 1])


def linear():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 5, 4))
    x, baseline = torch.rand(3, 3, 6, 5) - 0.3, torch.rand(3, 3, 6, 5)
    return net, x, baseline, net[1].weight.detach()[TARGET].view_as(x)


CLOSED = {
    "saliency": (METHODS["saliency"](), lambda w, x, b: w.abs().amax(1)),
    "smoothgrad": (SmoothGrad(), lambda w, x, b: w.abs().amax(1)),
    "input_x_gradient": (METHODS["input_x_gradient"](), lambda w, x, b: (w * x).sum(1)),
    "lrp": (LRP(gamma=0), lambda w, x, b: (w * x).sum(1)),
    "integrated_gradients": (IntegratedGradients(), lambda w, x, b: (w * (x - b)).sum(1)),
    "deep_lift": (DeepLift(), lambda w, x, b: (w * (x - b)).sum(1)),
    "occlusion": (Occlusion(window=1), lambda w, x, b: (w * (x - b)).sum(1)),
}


@pytest.mark.parametrize("name", CLOSED)
def test_on_a_linear_model_each_method_is_its_closed_form(name):
    method, closed = CLOSED[name]
    net, x, baseline, weight = linear()
    maps = maps_of(method, problem_of(net, x, TARGET, baseline=baseline))
    torch.testing.assert_close(maps, closed(weight, x, baseline), rtol=1e-4, atol=1e-5)


def test_gradient_shap_of_a_linear_model_is_weight_times_distance_to_the_mean_background():
    net, x, baseline, weight = linear()
    one = problem_of(net, x, TARGET, background=baseline[:1])
    expected = (weight * (x - baseline[:1])).sum(1)
    torch.testing.assert_close(maps_of(GradientShap(draws=3), one), expected, rtol=1e-4, atol=1e-5)
    many = maps_of(GradientShap(draws=4000), problem_of(net, x, TARGET, background=baseline))
    expected = (weight * (x - baseline.mean(0))).sum(1)
    torch.testing.assert_close(many, expected, rtol=0, atol=0.02)


def of_rows(function, x, baseline=None):
    return Problem(lambda rows, which: function(rows), x, torch.zeros_like(x) if baseline is None else baseline)


def only(method, problem):
    return attribute([method], problem).maps[as_method(method).name]


def test_integrated_gradients_of_squares_are_differences_of_squares():
    x, b = torch.tensor([[1.0, -2.0, 3.0]]), torch.tensor([[0.5, 1.0, -1.0]])
    weight = torch.tensor([2.0, 1.0, -1.0])
    found = only("integrated_gradients", of_rows(lambda rows: (weight * rows**2).sum(1), x, b))
    torch.testing.assert_close(found, weight * (x**2 - b**2))


@pytest.mark.parametrize("method", ["integrated_gradients", "deep_lift"])
def test_a_product_gives_half_to_each_factor(method):
    found = only(method, of_rows(lambda rows: rows[:, 0] * rows[:, 1], torch.tensor([[3.0, 2.0]])))
    torch.testing.assert_close(found, torch.tensor([[3.0, 3.0]]))


def test_deep_lift_sees_through_a_saturated_rectifier():
    found = only("deep_lift", of_rows(lambda rows: F.relu(1 - rows[:, 0]), torch.tensor([[2.0]])))
    assert found.tolist() == [[-1.0]]


@pytest.mark.parametrize("relu", [F.relu, torch.relu, nn.ReLU(), lambda x: x.clone().relu_(), nets.OfOwn()])
def test_guided_backprop_passes_positive_gradients_through_open_rectifiers(relu):
    torch.manual_seed(2)
    u, v, x = torch.randn(7, 4), torch.randn(7), torch.randn(5, 4)
    found = METHODS["guided_backprop"]().attribute(of_rows(lambda rows: relu(rows @ u.T) @ v, x))
    expected = ((x @ u.T > 0) * v.clamp(min=0)) @ u
    torch.testing.assert_close(found, expected)


class Smooth(nn.Module):
    """What captum's hooks are right for: a rectifier of its own in each place, pooling by means."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(5, 8, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 16, 4))

    def forward(self, x):
        return self.head(self.body(x))


BY_CAPTUM = {
    "saliency": lambda net, x, t, b: captum.attr.Saliency(net).attribute(x, t, abs=False),
    "input_x_gradient": lambda net, x, t, b: captum.attr.InputXGradient(net).attribute(x, t),
    "integrated_gradients": lambda net, x, t, b: captum.attr.IntegratedGradients(net).attribute(
        x, b, t, n_steps=16, method="gausslegendre"
    ),
    "guided_backprop": lambda net, x, t, b: captum.attr.GuidedBackprop(net).attribute(x, t),
    "deep_lift": lambda net, x, t, b: captum.attr.DeepLift(net).attribute(x, b, t),
    "gradcam": lambda net, x, t, b: LayerGradCam(net, net.body).attribute(x, t, relu_attributions=True)[:, 0],
    "hirescam": lambda net, x, t, b: LayerGradientXActivation(net, net.body).attribute(x, t).sum(1),
}


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
@pytest.mark.filterwarnings("ignore:Setting .* hooks:UserWarning")
@pytest.mark.parametrize("name", BY_CAPTUM)
def test_where_captum_is_right_a_method_equals_it(name):
    torch.manual_seed(1)
    net, x, baseline, target = Smooth().eval(), torch.rand(9, 3, 8, 8), torch.rand(9, 3, 8, 8), torch.arange(9) % 4
    method = IntegratedGradients(most=0) if name == "integrated_gradients" else METHODS[name]()
    found = values_of(method, problem_of(net, x, target, baseline=baseline, layer="body"))
    expected = BY_CAPTUM[name](net, x, target, baseline).detach().float()  # before 0.8 some are float64
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_occlusion_equals_captums_for_windows_that_do_not_overlap():
    torch.manual_seed(1)
    net, x, target = Smooth().eval(), torch.rand(3, 3, 8, 8), torch.tensor([0, 1, 2])
    expected = captum.attr.Occlusion(net).attribute(x, (3, 2, 2), strides=(3, 2, 2), target=target, baselines=0.2)
    found = maps_of(Occlusion(window=2, stride=2), problem_of(net, x, target, baseline=torch.full_like(x, 0.2)))
    torch.testing.assert_close(found, expected[:, 0] / 4, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
def test_lrp_gamma_equals_captums_rule_for_positive_inputs_and_outputs():
    torch.manual_seed(3)
    layers = [nn.Linear(a, b, bias=False) for a, b in ((6, 8), (8, 8), (8, 3))]  # captum leaves biases as they are
    net = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    nn.init.uniform_(layers[2].weight)  # scores are positive
    x, target = torch.rand(5, 6), torch.tensor([0, 1, 2, 0, 1])
    found = values_of(LRP(gamma=0.25), problem_of(net, x, target))
    for layer in (net[0], net[2], net[4]):
        layer.rule = GammaRule(gamma=0.25)
    expected = captum.attr.LRP(net).attribute(x, target).detach()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("baseline", ["zero", "random"])
@pytest.mark.parametrize("name", nets.NETS)
def test_deep_lift_is_complete_whatever_the_code_is_made_of(name, baseline):
    net = nets.made(name)
    x = torch.randn(8, 3, 16, 16)
    nothing = torch.zeros_like(x) if baseline == "zero" else torch.randn_like(x)
    problem = problem_of(net, x, baseline=nothing)
    with gradient_session(net):
        gaps = (DeepLift().attribute(problem).flatten(1).double().sum(1) - problem.change.double()).abs()
    assert gaps.max() < 1e-5 * problem.change.abs().mean()


def test_deep_lift_of_a_sample_does_not_depend_on_the_others_in_its_batch():
    net, x = nets.made("residual, used twice"), torch.randn(4, 3, 16, 16)
    together = values_of(DeepLift(), problem_of(net, x))
    apart = values_of(DeepLift(), problem_of(net, x, chunk=1))
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.SiLU()], ids=str)
@pytest.mark.parametrize("gamma", [0.0, 0.25])
def test_lrp_conserves_the_score_of_a_net_without_biases(activation, gamma):
    net = nets.made(lambda: nets.Residual(activation, bias=False))
    x = torch.randn(6, 3, 16, 16)
    problem = problem_of(net, x)
    relevance = values_of(LRP(gamma), problem)
    score = problem.score(x, torch.arange(6)).detach()
    torch.testing.assert_close(relevance.flatten(1).sum(1), score, rtol=1e-4, atol=1e-5)


def test_lrp_folds_batch_normalisation_into_the_layer_before():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
    net = nn.Sequential(conv, norm, nn.ReLU(), nn.Flatten(), nn.Linear(6 * 64, 4))
    nn.init.uniform_(norm.running_var, 0.5, 1.5)
    nn.init.uniform_(norm.running_mean, -1, 1)
    nn.init.uniform_(norm.weight, -1, 1)
    x = torch.randn(3, 3, 8, 8)
    folded = nn.utils.fuse_conv_bn_eval(conv.eval(), norm.eval())
    plain = nn.Sequential(folded, *net[2:])
    found, expected = (values_of(LRP(), problem_of(model.eval(), x)) for model in (net, plain))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_methods_that_share_a_pass_give_what_they_give_alone_and_the_net_runs_once():
    net, x = nets.made("functional"), torch.randn(5, 3, 16, 16)
    names = ("saliency", "input_x_gradient", "hirescam", "gradcam", "gradcam_plus_plus", "layercam")
    calls = []
    with gradient_session(net):
        problem = problem_of(net, x, layer="conv2")
        handle = net.register_forward_hook(lambda *_: calls.append(1))
        together = attribute(names, problem).maps
        handle.remove()
        apart = {name: attribute([name], problem).maps[name] for name in names}
    assert len(calls) == 1
    for name in names:
        assert torch.equal(together[name], apart[name]), name


@pytest.mark.parametrize("name", [name for name in METHODS if "rollout" not in name])
def test_chunks_of_any_size_give_the_same_maps(name):
    net, x = nets.made("functional"), torch.randn(5, 3, 16, 16)
    few, many = (values_of(METHODS[name](), problem_of(net, x, layer="conv2", chunk=chunk)) for chunk in (2, 200))
    torch.testing.assert_close(few, many, rtol=1e-4, atol=1e-6)


def test_a_map_that_leaves_out_too_much_is_replaced_by_the_reason():
    net, x = nets.made(nets.Recurrent), torch.randn(4, 3, 16, 16)
    with gradient_session(net):
        found = attribute(["deep_lift", "integrated_gradients"], problem_of(net, x))
    assert "deep_lift" not in found.maps or found.refused["deep_lift"]
    said = [*found.skipped.values(), *found.refused.get("deep_lift", {}).values()]
    assert any("integrated gradients" in text for text in said)
    assert max(found.gaps["integrated_gradients"]) < 1e-4
    assert min(found.gaps["deep_lift"]) > 0.05


def test_the_gap_is_the_share_of_the_change_that_is_missing():
    assert gap(torch.tensor([[1.0, 2.0], [1.0, 0.0]]), torch.tensor([3.0, 2.0])).tolist() == [0.0, 0.5]


REASONS = {
    "guided_backprop": ("GELU", "no ReLU, but gelu.*take smoothgrad"),
    "hirescam": ("GELU", "layer="),
    "attention_rollout": ("GELU", "no attention"),
}


@pytest.mark.parametrize("name", REASONS)
def test_a_method_without_meaning_for_a_model_says_why_and_what_to_take(name):
    made, words = REASONS[name]
    with gradient_session(net := nets.made(made)):
        found = attribute([name], problem_of(net, torch.randn(2, 3, 16, 16)))
    assert not found.maps
    assert re.search(words, found.skipped[name])


def test_an_error_in_a_method_leaves_the_others_and_is_told():
    net, x, told = nets.made("functional"), torch.randn(2, 3, 16, 16), []

    def broken(problem):
        raise KeyError("inside")

    with gradient_session(net):
        found = attribute(["saliency", broken], problem_of(net, x), failed=lambda *what: told.append(what))
        with pytest.raises(KeyError, match="inside"):
            attribute([broken], problem_of(net, x))
    assert list(found.maps) == ["saliency"]
    assert found.skipped["broken"] == "KeyError: 'inside'"
    assert told[0][0] == "broken"


def test_values_that_are_not_finite_are_not_drawn():
    with gradient_session(net := nets.made("functional")):
        found = attribute([lambda problem: problem.inputs / 0], problem_of(net, torch.ones(2, 3, 16, 16)))
    assert "not finite" in found.skipped["lambda"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["saliancy"], "'saliancy', wanted some of saliency"),
        ([], "none"),
        (["lrp", LRP(0)], "'lrp' twice"),
        ([3], "has 3"),
    ],
)
def test_methods_that_are_none_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        as_methods(given)


def test_any_attribution_of_captum_is_taken_with_its_arguments():
    net, x, baseline, weight = linear()
    problem = problem_of(net, x, TARGET, baseline=baseline)
    sampled = Captum("ShapleyValueSampling", {"n_samples": 2})
    torch.testing.assert_close(maps_of(sampled, problem), (weight * (x - baseline)).sum(1), rtol=1e-3, atol=1e-4)
    layered = problem_of(net := nets.made("functional"), torch.randn(2, 3, 16, 16), layer="conv2")
    torch.testing.assert_close(
        maps_of(Captum("LayerGradCam", {"relu_attributions": True}), layered), maps_of("gradcam", layered)
    )
    with pytest.raises(ValueError, match="wanted the name of a class"):
        Captum("Saliancy")


def test_noise_is_the_same_whatever_the_state_of_the_generators():
    net, x = nets.made("functional"), torch.randn(2, 3, 16, 16)
    first = values_of(SmoothGrad(), problem_of(net, x))
    torch.manual_seed(77)
    state = torch.get_rng_state()
    assert torch.equal(values_of(SmoothGrad(), problem_of(net, x)), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(values_of(SmoothGrad(), problem_of(net, x, seed=1)), first)


def test_short_memory_halves_the_chunk_and_says_so():
    x, sizes = torch.randn(8, 2), []

    def score(rows, which):
        sizes.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rows.sum(1)

    chunks = Chunks(8)
    found = attribute(["saliency"], Problem(score, x, torch.zeros_like(x), chunks=chunks))
    assert torch.equal(found.maps["saliency"], torch.ones(8, 2))
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert "2 rows at a time" in chunks.note


def test_when_the_time_is_over_the_rest_is_left_out_and_said():
    x = torch.randn(2, 2)
    chunks = Chunks(8, seconds=-1.0)
    found = attribute(["saliency"], Problem(lambda rows, which: rows.sum(1), x, torch.zeros_like(x), chunks=chunks))
    assert found.skipped == {"saliency": "the time was over"}


def test_a_forward_that_changes_its_input_in_place_is_explained_all_the_same():
    net, x, baseline, _ = linear()

    def centred(images):
        return net(images.sub_(0.5))

    centred.modules = net.modules
    names = ["saliency", "integrated_gradients", "deep_lift", "occlusion"]
    with gradient_session(net):
        changed = attribute(names, problem_of(centred, x, TARGET, baseline=baseline)).maps
        plain = attribute(names, problem_of(lambda r: net(r - 0.5), x, TARGET, baseline=baseline)).maps
    for name in names:
        torch.testing.assert_close(changed[name], plain[name])


def test_samples_of_which_few_points_leave_out_too_much_get_twice_as_many_and_twice_again():
    asked = []
    steep = torch.tensor([1.0, 60.0, 120.0])

    def score(rows, which):
        asked.extend(which.tolist() if rows.requires_grad else [])
        return torch.sigmoid(steep[which] * (rows[:, 0] - 0.37))

    x = torch.ones(3, 1)
    problem = Problem(score, x, torch.zeros_like(x), chunks=Chunks(8))
    values = IntegratedGradients().attribute(problem)
    assert [asked.count(sample) for sample in range(3)] == [16, 16 + 32, 16 + 32 + 64]
    assert gap(values, problem.change).max() <= 0.05
    asked.clear()
    IntegratedGradients().coarse().attribute(problem)
    assert len(asked) == 3 * 16


def test_more_points_are_taken_only_where_there_are_passes_for_them():
    def score(rows, which):
        return torch.sigmoid(200 * (rows[:, 0] - 0.37))

    x = torch.ones(1, 1)
    coarse = IntegratedGradients(most=16).attribute(Problem(score, x, torch.zeros_like(x), chunks=Chunks(8)))
    few = Problem(score, x, torch.zeros_like(x), chunks=Chunks(8, passes=40))
    assert torch.equal(IntegratedGradients().attribute(few), coarse)
    assert few.chunks.spent <= 40


def test_work_for_which_there_are_too_few_passes_is_not_begun():
    seen = []
    chunks = Chunks(8, passes=30)
    chunks.run(24, seen.append)
    with pytest.raises(OutOfTimeError, match="it takes 10 rows through the model, and the fit leaves 6"):
        chunks.run(10, seen.append)
    chunks.run(18, seen.append, cost=1 / 3)
    assert sum(map(len, seen)) == 42
    assert Chunks(8).allows() == float("inf")


def test_a_pass_of_few_rows_counts_as_one_of_eight():
    chunks = Chunks(8, passes=20)
    chunks.run(1, lambda rows: None)
    assert chunks.spent == 8
