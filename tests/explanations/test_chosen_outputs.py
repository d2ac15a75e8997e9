"""Of very many classes some outputs are kept, which tell what all would."""

import pytest
import torch

from lightning_posttrain.explanations.chosen_outputs import ANOTHER, ChosenOutputs
from lightning_posttrain.samples.result import Sample
from lightning_posttrain.samples.targets import Question


def asked(*pairs):
    return [Question(row, mine, rival, Sample(row, "", 0.0)) for row, (mine, rival) in enumerate(pairs)]


def test_few_classes_are_all_kept():
    assert ChosenOutputs.of(asked((1, None)), torch.zeros(1, 1000), None).classes is None


def test_what_is_asked_about_and_what_is_predicted_is_kept():
    logits = torch.zeros(2, 2000)
    logits[0, 7], logits[1, 1999] = 5.0, 5.0
    others = torch.zeros(30, 2000)
    others[:, 400] = 1.0
    kept = ChosenOutputs.of(asked((7, 3), (11, None)), logits, others)
    assert {3, 7, 11, 400, 1999} <= set(kept.numbers)
    assert len(kept.numbers) < 20
    names = kept.names(tuple(map(str, range(2000))))
    assert names[-1] == ANOTHER
    pick = kept.pick(asked((7, 3), (11, None)), 2000)
    assert pick[0, names.index("7")] == 1
    assert pick[0, names.index("3")] == -1
    assert pick[1].nonzero()[:, 0].tolist() == [names.index("11")]


@pytest.mark.parametrize("probability", [False, True])
def test_outputs_are_those_of_all_classes_and_the_largest_is_where_it_was(probability):
    logits = torch.randn(300, 1500, generator=torch.Generator().manual_seed(0)) * 4
    kept = ChosenOutputs(torch.arange(0, 1500, 3))
    wanted = logits.softmax(1) if probability else logits
    found = kept.read(logits.clone(), probability=probability)
    torch.testing.assert_close(found[:, :-1], wanted[:, ::3])
    largest = logits.argmax(1)
    inside = largest % 3 == 0
    assert 50 < int(inside.sum()) < 150
    assert torch.equal(found.argmax(1), torch.where(inside, largest // 3, 500))
    torch.testing.assert_close(found[~inside, -1], wanted.amax(1)[~inside])
