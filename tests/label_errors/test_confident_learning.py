import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict

from lightning_posttrain.label_errors.functional.confident_learning import label_errors


def by_the_paper(probabilities, labels):
    """Confident learning row by row: the confident class of each row, and the calibrated joint."""
    classes = len(probabilities[0])
    thresholds = {}
    for j in range(classes):
        own = [p[j] for p, y in zip(probabilities, labels, strict=True) if y == j]
        if own:
            thresholds[j] = math.fsum(own) / len(own)
    joint = [[0.0] * classes for _ in range(classes)]
    confident = []
    for p, y in zip(probabilities, labels, strict=True):
        above = [j for j, t in thresholds.items() if p[j] >= t - 1e-9]
        best = max(above, key=lambda j: (p[j], -j)) if above and y >= 0 else None
        confident.append(best)
        if best is not None:
            joint[y][best] += 1
    counted = sum(y >= 0 for y in labels)
    for i, row in enumerate(joint):
        if not sum(row):
            row[i] = 1.0
        scale = labels.count(i) / sum(row) / counted
        joint[i] = [cell * scale for cell in row]
    return confident, joint


def drawn(seed, rows=200, classes=4, wrong=0.1):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(classes, (rows,), generator=generator)
    logits = torch.randn(rows, classes, generator=generator)
    true = torch.where(
        torch.rand(rows, generator=generator) < wrong, torch.randint(classes, (rows,), generator=generator), label
    )
    logits[torch.arange(rows), true] += 2
    return logits.double().softmax(1), label


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(2, 6))
def test_it_is_the_paper_row_by_row(seed, rows, classes):
    probabilities, label = drawn(seed, rows, classes)
    label[::7] = -1
    if not bool((label >= 0).any()):
        return
    p, y = probabilities.tolist(), label.tolist()
    confident, joint = by_the_paper(p, y)
    found = label_errors(probabilities, label)
    flagged = [
        own >= 0 and likely not in (None, own) and max(row) > row[own]
        for own, likely, row in zip(y, confident, p, strict=True)
    ]
    assert found.flagged.tolist() == flagged
    assert torch.allclose(found.joint, torch.tensor(joint, dtype=torch.float64))
    scores = [
        (1 + row[own] - max(v for j, v in enumerate(row) if j != own)) / 2 if own >= 0 else None
        for row, own in zip(p, y, strict=True)
    ]
    counted = [i for i, score in enumerate(scores) if score is not None]
    assert found.score[counted].tolist() == pytest.approx([scores[i] for i in counted], abs=1e-12)
    assert found.order.tolist() == sorted(counted, key=lambda i: (float(found.score[i]), i))


def test_the_joint_sums_to_one_and_its_rows_to_the_shares_of_labels():
    probabilities, label = drawn(0)
    joint = label_errors(probabilities, label).joint
    assert float(joint.sum()) == pytest.approx(1)
    assert joint.sum(dim=1).tolist() == pytest.approx((torch.bincount(label) / len(label)).tolist())


def test_a_collision_goes_to_the_most_probable_class_of_those_above_their_threshold():
    # thresholds 0.25, 0.3 and 0.9: the last row is above the first two, and class 2 is its most probable
    p = torch.tensor([[0.2, 0.4, 0.4], [0.4, 0.3, 0.3], [0.05, 0.05, 0.9], [0.15, 0.35, 0.5]])
    found = label_errors(p, torch.tensor([0, 1, 2, 0]))
    assert found.joint[0].tolist() == pytest.approx([0, 0.5, 0])


def test_rows_without_a_label_count_nothing_and_have_no_score():
    probabilities, label = drawn(1)
    left = torch.cat([label, torch.full((5,), -1)])
    more = torch.cat([probabilities, torch.full((5, 4), 0.25)])
    without, found = label_errors(probabilities, label), label_errors(more, left)
    assert torch.equal(found.joint, without.joint)
    assert torch.equal(found.order, without.order)
    assert torch.equal(found.flagged[:-5], without.flagged)
    assert not bool(found.flagged[-5:].any())
    assert bool(found.score[-5:].isnan().all())
    assert found.suggested[-5:].tolist() == [-1] * 5


def test_equal_scores_are_ranked_by_position():
    found = label_errors(torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.5, 0.5]]), torch.tensor([0, 0, 1]))
    assert found.order.tolist() == [1, 0, 2]


def test_a_network_that_knows_no_class_flags_none():
    found = label_errors(torch.full((30, 10), 0.1), torch.arange(30) % 3)
    assert not bool(found.flagged.any())
    assert float(found.joint.sum()) == pytest.approx(1)


def test_the_order_of_classes_and_of_rows_does_not_matter():
    probabilities, label = drawn(2)
    found = label_errors(probabilities, label)
    classes, rows = torch.randperm(4), torch.randperm(200)
    renamed = label_errors(probabilities[:, classes], classes.argsort()[label])
    shuffled = label_errors(probabilities[rows], label[rows])
    assert torch.equal(renamed.flagged, found.flagged)
    assert torch.allclose(renamed.joint, found.joint[classes][:, classes])
    assert torch.equal(classes[renamed.suggested], found.suggested)
    assert torch.equal(shuffled.flagged, found.flagged[rows])


def test_no_rows_and_one_class_are_no_trouble():
    empty = label_errors(torch.empty(0, 3), torch.empty(0, dtype=torch.int64))
    assert empty.order.tolist() == []
    assert float(empty.joint.sum()) == 0
    alone = label_errors(torch.ones(4, 1), torch.zeros(4, dtype=torch.int64))
    assert alone.score.tolist() == [1.0] * 4
    assert not bool(alone.flagged.any())


def test_labels_that_were_made_wrong_come_first():
    x, y = load_digits(return_X_y=True)
    generator = np.random.default_rng(0)
    flipped = np.zeros(len(y), dtype=bool)
    flipped[generator.permutation(len(y))[: len(y) // 20]] = True
    noisy = np.where(flipped, (y + generator.integers(1, 10, len(y))) % 10, y)
    model = LogisticRegression(max_iter=200)
    probabilities = cross_val_predict(model, x / 16, noisy, cv=3, method="predict_proba")
    found = label_errors(torch.from_numpy(probabilities), torch.from_numpy(noisy))
    flagged = found.flagged.numpy()
    assert average_precision_score(flipped, -found.score.numpy()) > 0.85
    assert flipped[flagged].mean() > 0.8
    assert (found.suggested.numpy() == y)[flipped & flagged].mean() > 0.9


@pytest.mark.parametrize(
    ("probabilities", "label", "words"),
    [
        (
            torch.ones(3, 2),
            torch.zeros(2, dtype=torch.int64),
            r"shapes \(3, 2\) and \(2,\), wanted \(N, C\) and \(N,\)",
        ),
        (torch.ones(3), torch.zeros(3, dtype=torch.int64), r"shapes \(3,\) and \(3,\)"),
        (torch.ones(2, 2), torch.tensor([0, 2]), "`label` holds 2, wanted 0 to 1"),
        (torch.ones(2, 2), torch.tensor([0, -2]), "`label` holds -2"),
    ],
)
def test_what_does_not_fit_is_said(probabilities, label, words):
    with pytest.raises(ValueError, match=words):
        label_errors(probabilities, label)
