import math

import pytest
import torch
from torch import nn

from lightning_posttrain.ensembles import average, greedy_soup, soup_alarm


def network(seed):
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4 * 4, 3))
    made(torch.randn(16 + seed, 1, 6, 6))  # statistics of its own
    return made


def test_a_soup_is_the_weights_averaged_by_hand():
    states = [network(seed).state_dict() for seed in range(3)]
    states[1]["1.num_batches_tracked"] += 5
    found = average(states)
    for name, value in found.items():
        if name == "1.num_batches_tracked":
            assert int(value) == 1
        else:
            by_hand = sum(state[name].double() for state in states) / 3
            assert torch.equal(value, by_hand.float())
        assert value.data_ptr() != states[0][name].data_ptr()
    network(0).load_state_dict(found)


def test_a_linear_network_of_the_average_is_the_mean_of_the_networks():
    layers = [nn.Linear(5, 3) for _ in range(4)]
    inputs = torch.randn(7, 5)
    soup = nn.Linear(5, 3)
    soup.load_state_dict(average([layer.state_dict() for layer in layers]))
    assert torch.allclose(soup(inputs), torch.stack([layer(inputs) for layer in layers]).mean(0), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_an_average_is_worked_out_wide_and_keeps_its_type(dtype):
    values = [torch.tensor([30000.0, 1.0]).to(dtype)] * 7
    found = average([{"weight": value} for value in values])["weight"]
    assert found.dtype == dtype
    assert torch.equal(found, values[0])  # a sum in half precision would be infinite


def test_vectors_of_a_spectral_norm_and_positions_are_of_the_first_member():
    torch.manual_seed(0)
    old = [nn.utils.spectral_norm(nn.Linear(4, 3)) for _ in range(2)]
    new = [nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)) for _ in range(2)]
    first, second = average([m.state_dict() for m in old]), average([m.state_dict() for m in new])
    for name in ("weight_u", "weight_v"):
        assert torch.equal(first[name], old[0].state_dict()[name])
        new_name = f"parametrizations.weight.0.{name[-2:]}"
        assert torch.equal(second[new_name], new[0].state_dict()[new_name])
    assert not torch.equal(first["weight_orig"], old[0].state_dict()["weight_orig"])
    assert average([{"position_ids": torch.arange(3)}, {"position_ids": torch.arange(3) + 1}])["position_ids"][0] == 0


def test_parameters_that_are_merely_named_u_and_v_are_averaged():
    states = [{"bias_u": torch.tensor([1.0]), "v": torch.tensor([1.0])}, {"bias_u": torch.tensor([3.0]), "v": torch.tensor([5.0])}]  # fmt: skip  # noqa: E501
    assert average(states) == {"bias_u": torch.tensor([2.0]), "v": torch.tensor([3.0])}


def test_members_of_other_shapes_or_names_are_refused():
    with pytest.raises(
        ValueError, match=r"`states` has 'weight' of shape \(3, 4\) in member 1 and \(3, 5\) in member 2"
    ):
        average([nn.Linear(4, 3).state_dict(), nn.Linear(5, 3).state_dict()])
    with pytest.raises(ValueError, match="'bias' in one of members 1 and 2 alone"):
        average([nn.Linear(4, 3).state_dict(), nn.Linear(4, 3, bias=False).state_dict()])
    with pytest.raises(ValueError, match="`states` is empty"):
        average([])


def greedily(values, judge):
    """Wortsman et al., 2022, recipe 1."""
    kept = [0]
    for number in range(1, len(values)):
        before = judge(sum(values[k] for k in kept) / len(kept))
        if judge(sum(values[k] for k in [*kept, number]) / (len(kept) + 1)) < before:
            kept.append(number)
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_a_greedy_soup_is_that_of_the_recipe_and_never_worse_than_its_first_member(seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(8, 6, generator=generator, dtype=torch.float64).unbind()

    def judge(value):
        return float(value.square().sum())

    values = sorted(values, key=judge)
    soup = greedy_soup([{"weight": value} for value in values], lambda state: judge(state["weight"]))
    kept = greedily(values, judge)
    assert list(soup.kept) == kept
    assert torch.allclose(soup.state["weight"], sum(values[k] for k in kept) / len(kept))
    assert soup.loss == judge(soup.state["weight"])
    assert soup.loss <= judge(values[0])
    assert len(soup.tried) == 8


def test_a_candidate_without_a_loss_is_not_kept():
    states = [{"weight": torch.tensor(value)} for value in (1.0, math.nan, 0.0)]
    soup = greedy_soup(states, lambda state: float(state["weight"]))
    assert soup.kept == (0, 2)


def test_the_alarm_rings_where_the_average_is_worse_than_members_are_on_average():
    assert soup_alarm(1.999, [0.661, 0.70, 0.72]).startswith("no soup: the average of all weights has log loss 1.999")
    assert soup_alarm(1.775, [0.9] * 6 + [2.2] * 3) != ""
    assert soup_alarm(0.787, [0.744, 0.9]) == ""
    assert soup_alarm(math.nan, [0.7]) != ""
