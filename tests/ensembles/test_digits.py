"""What is said of ensembles and soups, on real digits."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from lightning_posttrain.ensembles import (
    STRATEGIES,
    EnsembleNetwork,
    average,
    cross_fit,
    diversity,
    fit_strategies,
    greedy_soup,
    log_probabilities,
    own_log_probability,
    soup_alarm,
)


def make():
    return nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))


def noisy_digits():
    generator = torch.Generator().manual_seed(0)
    digits = load_digits()
    inputs = torch.tensor(digits.data, dtype=torch.float32) / 16
    inputs = inputs + 0.35 * torch.randn(inputs.shape, generator=generator)
    order = torch.randperm(len(inputs), generator=generator)
    return [(inputs[rows], torch.tensor(digits.target)[rows]) for rows in order.split([400, 600, 797])]


def trained(seed, inputs, target):
    torch.manual_seed(seed)
    network = make()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    for _ in range(25):
        for rows in torch.randperm(400).split(40):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs[rows]), target[rows]).backward()
            optimizer.step()
    return network.state_dict()


def scores_of(state, inputs):
    network = make().eval()
    network.load_state_dict(state)
    with torch.no_grad():
        return network(inputs)


@pytest.fixture(scope="module")
def seeds():
    train, validation, test = noisy_digits()
    states = [trained(seed, *train) for seed in range(6)]
    rows = [
        log_probabilities(torch.stack([scores_of(state, inputs) for state in states], 1), target, "multiclass")
        for inputs, target in (validation, test)
    ]
    return states, rows, validation, test


def test_networks_of_six_seeds_are_worth_their_mean_and_more_with_a_temperature(seeds):
    _, (validation, test), _, _ = seeds
    found = cross_fit(list(STRATEGIES), *validation)
    assert found.kept
    assert len(found.combinations[found.chosen].used) > 1
    loss = {name: -float(own_log_probability(fit(test[0]), test[1]).mean()) for name, fit in found.combinations.items()}
    assert loss["mean"] < loss["best"] - 0.09
    assert loss["mean_temperature"] < loss["mean"] - 0.03
    assert loss[found.chosen] < min(loss.values()) + 0.02
    assert max(abs(found.log_loss[name] - loss[name]) for name in loss) < 0.1
    assert 0.4 < diversity(*test).mean_error_correlation < 0.8


def test_weights_of_six_seeds_have_no_average_and_a_soup_keeps_one(seeds):
    states, _, (inputs, target), test = seeds

    def judge(state):
        logp, _ = log_probabilities(scores_of(state, inputs)[:, None], target, "multiclass")
        tempered = fit_strategies(["best_temperature"], logp, target)["best_temperature"]
        return -float(own_log_probability(tempered(logp), target).mean())

    losses = [judge(state) for state in states]
    soup = average(states)
    assert float((scores_of(soup, test[0]).argmax(1) == test[1]).float().mean()) < 0.65
    assert soup_alarm(judge(soup), losses).startswith("no soup")
    found = greedy_soup([states[k] for k in sorted(range(6), key=losses.__getitem__)], judge)
    assert len(found.kept) == 1
    assert found.loss == min(losses)


def test_the_network_of_the_chosen_strategy_gives_its_figures(seeds, tmp_path):
    states, (validation, test), _, (inputs, target) = seeds
    found = cross_fit(list(STRATEGIES), *validation)
    chosen = found.combinations[found.chosen]
    EnsembleNetwork(make(), states, chosen).save(tmp_path / "ensemble.pt")
    output = EnsembleNetwork.load(tmp_path / "ensemble.pt", make())(inputs)
    expected = -own_log_probability(chosen(test[0]), test[1]).mean()
    assert float(F.cross_entropy(output.detach(), target)) == pytest.approx(float(expected), abs=1e-5)
