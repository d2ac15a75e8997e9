import io

import numpy as np
import pytest
import torch

from lightning_posttrain.ensembles import Combination
from tests.ensembles import drawn as slow
from tests.ensembles.drawn import drawn

WEIGHTS = torch.tensor([0.5, 0.0, 0.3, 0.2], dtype=torch.float64)


def stacked(members=4, classes=3):
    generator = torch.Generator().manual_seed(0)
    coefficients = torch.randn(members * classes, classes, generator=generator, dtype=torch.float64) / 10
    weights = torch.full((members,), 1 / members, dtype=torch.float64)
    return Combination("stacked", weights, 1.3, coefficients, torch.tensor([0.1, 0.0, -0.1], dtype=torch.float64))


EVERY = [Combination("probabilities", WEIGHTS, 0.7), Combination("logits", WEIGHTS, 2.0), stacked()]
every = pytest.mark.parametrize("combination", EVERY, ids=lambda one: one.how)


def formula(combination, logp):
    logp = np.asarray(logp, dtype=np.float64)
    if combination.how == "probabilities":
        joint = slow.mixture(logp, combination.weights)
    elif combination.how == "logits":
        joint = slow.product(logp, combination.weights)
    else:
        read = np.clip(logp, -30, None).reshape(len(logp), -1)
        joint = logp.mean(1) + read @ combination.coefficients.numpy() + combination.bias.numpy()
    return slow.log_softmax(joint / combination.temperature, axis=1)


@every
def test_a_combination_is_its_formula(combination):
    logp, _ = drawn(50)
    assert np.allclose(combination(logp), formula(combination, logp))
    assert combination(logp.float()).dtype == torch.float32
    assert np.allclose(combination(logp.float()), formula(combination, logp), atol=1e-4)


@every
def test_a_combination_comes_back_from_its_state_bit_for_bit(combination):
    file = io.BytesIO()
    torch.save(combination.to_state(), file)
    file.seek(0)
    back = Combination.from_state(torch.load(file, weights_only=True))
    logp, _ = drawn(50)
    assert torch.equal(back(logp), combination(logp))
    assert back.describe() == combination.describe()


@every
def test_members_without_a_weight_have_no_say(combination):
    logp, _ = drawn(50)
    spoilt = logp.clone()
    spoilt[:, [k for k in range(4) if k not in combination.used]] = torch.nan
    assert torch.equal(combination(spoilt), combination(logp))
    assert combination.only_used().used == tuple(range(len(combination.used)))
    assert torch.equal(combination.only_used()(logp[:, list(combination.used)]), combination(logp))


def test_columns_are_those_that_have_numbers_of_their_own():
    assert [one.columns for one in EVERY] == [None, None, 3]


@pytest.mark.parametrize(
    ("combination", "words"),
    [
        (Combination("probabilities", torch.tensor([0.0, 1.0])), "epoch 7 alone"),
        (Combination("probabilities", torch.tensor([0.0, 1.0]), 1.5), "epoch 7 alone, temperature 1.50"),
        (Combination("probabilities", torch.tensor([0.5, 0.5])), "mean of probabilities of 2 members"),
        (Combination("logits", torch.tensor([0.5, 0.5])), "product of probabilities of 2 members"),
        (
            Combination("probabilities", torch.tensor([0.25, 0.75])),
            "mean of probabilities of 2 members (0.250 epoch 3, 0.750 epoch 7)",
        ),
        (
            Combination("logits", torch.tensor([0.0, 1.75])),
            "product of probabilities of 1 of 2 members (1.750 epoch 7)",
        ),
    ],
)
def test_a_combination_says_what_it_does(combination, words):
    assert combination.describe(["epoch 3", "epoch 7"]) == words


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("votes", torch.ones(2)), "`how` is 'votes', wanted 'probabilities', 'logits', 'stacked'"),
        (("logits", torch.tensor([-1.0, 2.0])), "`weights` is .*wanted .K,. of 0 or more"),
        (("logits", torch.zeros(2)), "one above 0 at least"),
        (("logits", torch.tensor([torch.nan])), "`weights` is"),
        (("logits", torch.ones(2), 0.0), "`temperature` is 0.0, wanted above 0"),
        (("logits", torch.ones(2), 1.0, torch.ones(4, 2)), "belong to how='stacked', not 'logits'"),
        (("stacked", torch.ones(2), 1.0, torch.ones(3, 2), torch.ones(2)), r"`coefficients` has shape \(3, 2\)"),
        (("stacked", torch.ones(2)), "`coefficients` has shape None and `bias` None"),
    ],
)
def test_a_combination_that_cannot_be_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        Combination(*arguments)


@pytest.mark.parametrize("shape", [(5, 3, 3), (5, 4), (5, 4, 2)])
def test_rows_of_other_members_or_classes_are_refused(shape):
    with pytest.raises(ValueError, match=r"`logp` has shape .* wanted \(R, 4, 3\)\. Give all members"):
        stacked()(torch.zeros(shape))


def test_a_state_that_nothing_has_written_is_refused():
    with pytest.raises(ValueError, match="`state` lacks 'weights', 'temperature'"):
        Combination.from_state({"how": "logits"})
