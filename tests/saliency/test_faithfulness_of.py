"""Measures of methods: what they must be on models of which all is known."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from lightning_posttrain.attribution.attribute import as_method, attribute
from lightning_posttrain.attribution.chunks import Chunks
from lightning_posttrain.attribution.problem import Problem
from lightning_posttrain.attribution.session import gradient_session
from lightning_posttrain.saliency.faithfulness import faithfulness_of
from lightning_posttrain.saliency.functional.faithfulness import infidelity_of_hiding, max_sensitivity
from lightning_posttrain.saliency.functional.maps import rank_correlation
from lightning_posttrain.saliency.method_measures import shuffled_weights
from tests.attribution.problems import problem_of


class Corner(nn.Module):
    """Two classes, told by the upper left quarter alone."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 8, 8))
        with torch.no_grad():
            self.weight[1, :4, :4] = torch.rand(4, 4) + 0.5

    def forward(self, x):
        return (x[:, 0, None] * self.weight).flatten(2).sum(2)


def judged(objects=None, seconds=None):
    torch.manual_seed(0)
    net, x = Corner(), torch.rand(4, 1, 8, 8) + 0.1
    problem = problem_of(net, x, torch.ones(4, dtype=torch.int64))
    problem.chunks._until = None if seconds is None else -1.0
    methods = [as_method("input_x_gradient"), as_method("saliency")]
    shown = x.movedim(1, -1).expand(-1, -1, -1, 3)
    with gradient_session(net):
        return faithfulness_of(problem, methods, kind="image", shown=shown, objects=objects)


def test_a_map_that_is_the_truth_beats_random_and_edges_in_every_measure():
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[:4, :4] = True
    rows = judged(inside).rows
    true, others = rows["input_x_gradient"], (rows["random"], rows["edge"])
    assert true["infidelity"] == pytest.approx(0, abs=1e-6)
    assert true["pointing_game"] == true["energy"] == 1.0
    for other in others:
        assert true["insertion"] > other["insertion"] + 0.2
        assert true["deletion"] < other["deletion"] - 0.2
        assert other["infidelity"] > 0.1
    assert rows["random"]["energy"] == pytest.approx(0.25, abs=0.08)


def test_shuffled_weights_give_another_map_and_leave_the_module_as_it_was():
    rows = judged().rows
    assert rows["saliency"]["randomised_weights"] < 0.5
    assert "randomised_weights" not in rows["random"]
    net = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
    net[0].weight.grad = torch.ones(8, 8)
    kept = {name: (value, value.clone(), value.grad) for name, value in net.named_parameters()}
    with shuffled_weights(net, 0):
        assert torch.equal(net[0].weight.flatten().sort().values, kept["0.weight"][1].flatten().sort().values)
        assert not torch.equal(net[0].weight, kept["0.weight"][1])
    for name, value in net.named_parameters():
        same, before, grad = kept[name]
        assert value is same
        assert torch.equal(value, before)
        assert value.grad is grad


def test_what_the_time_does_not_allow_is_said():
    found = judged(seconds=0)
    assert found.skipped["input_x_gradient"] == "the time was over"
    assert found.skipped["random, insertion"] == "the time was over"


def slow_hiding(score, x, importance, baseline, draws, seed):
    """The definition, a draw and a sample at a time."""
    found = []
    for k in range(len(x)):
        told, seen = [], []
        for draw in range(draws):
            blocks = torch.rand(4, 4, generator=torch.Generator().manual_seed(seed * 65536 + draw)) < 0.5
            changed = x[k].clone()
            total = 0.0
            for i in range(8):
                for j in range(8):
                    if blocks[i // 2, j // 2]:
                        changed[:, i, j] = baseline
                        total += float(importance[k, i, j])
            told.append(total)
            seen.append(float(score(x[k : k + 1], None) - score(changed[None], None)))
        told, seen = (torch.tensor(values, dtype=torch.float64) for values in (told, seen))
        factor = (told * seen).sum() / (told * told).sum()
        found.append(float(((factor * told - seen) ** 2).sum() / (seen**2).sum()))
    return found


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_infidelity_of_hiding_is_its_definition(chunk):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    x, importance = torch.rand(3, 2, 8, 8).double(), torch.randn(3, 8, 8).double()

    def score(rows, which):
        return net(rows)[:, 0].detach()

    found = infidelity_of_hiding(
        score,
        x,
        importance,
        baseline=torch.full((1,), 0.3, dtype=torch.float64),
        channel_dim=1,
        draws=6,
        chunk=chunk,
        seed=3,
    )
    assert found.tolist() == pytest.approx(slow_hiding(score, x, importance, 0.3, 6, 3), rel=1e-9)


def test_more_points_are_taken_where_few_leave_out_too_much():
    x = torch.tensor([[0.5], [1.0]])
    steep = torch.tensor([1.0, 200.0])

    def score(rows, which):
        return torch.sigmoid(steep[which] * (rows[:, 0] - 0.37))

    problem = Problem(score, x, torch.zeros_like(x), chunks=Chunks(8))
    few = type(as_method("integrated_gradients"))(most=0).attribute(problem)
    more = as_method("integrated_gradients").attribute(problem)
    assert torch.equal(few[0], more[0])
    missing = (problem.change - few[:, 0]).abs() / problem.change
    assert missing[1] > 0.05
    assert (problem.change - more[:, 0]).abs().max() < 0.01


def test_measures_that_share_what_the_model_is_asked_are_those_of_each_map_alone():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 64, 2))
    problem = problem_of(net, torch.rand(4, 1, 8, 8), torch.ones(4, dtype=torch.int64))
    methods = [as_method("input_x_gradient"), as_method("saliency")]
    with gradient_session(net):
        rows = faithfulness_of(problem, methods, kind="series", shown=problem.inputs).rows
        for method in methods:
            map_ = attribute([method], problem).maps[method.name]
            alone = infidelity_of_hiding(problem.score, problem.inputs, map_, baseline=problem.baseline, channel_dim=1)
            assert rows[method.name]["infidelity"] == pytest.approx(float(alone.nanmean()))
            steady = max_sensitivity(
                lambda x, method=method: attribute([method], replace(problem, inputs=x)).maps[method.name],
                problem.inputs,
            )
            assert rows[method.name]["max_sensitivity"] == pytest.approx(float(steady.nanmean()))
            with shuffled_weights(net, problem.seed):
                other = attribute([method], problem).maps[method.name]
            correlation = rank_correlation(map_.abs(), other.abs()).nanmean()
            assert rows[method.name]["randomised_weights"] == pytest.approx(float(correlation))
