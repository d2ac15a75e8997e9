"""Importance of the columns of a table, over many rows."""

import pytest
import torch

from lightning_posttrain.explanations.perturbation import importance as important
from lightning_posttrain.explanations.perturbation.explain import explain_samples
from lightning_posttrain.explanations.perturbation.settings import PerturbationSettings, Subject
from lightning_posttrain.explanations.perturbation.shapley import shapley
from lightning_posttrain.samples.result import Sample

CLASSES = 40


def problem(unit="probability", known=True):
    """A linear model of four columns and many classes, of which some are hardly ever given."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, CLASSES, generator=generator) * torch.linspace(0.1, 3, CLASSES)
    rows = torch.randn(60, 4, generator=generator)

    def forward(x):
        return x @ weight if unit == "logit" else (x @ weight).softmax(1)

    sample = Sample(None, explained="0", value=0.0)
    subject = Subject(
        forward, rows[:1], torch.eye(CLASSES)[:1], (sample,), rows[:1], "tabular",
        class_names=tuple(f"class {k}" for k in range(CLASSES)), rows=rows, outputs=forward(rows) if known else None,
        unit=unit,
    )  # fmt: skip
    return subject, forward, rows


def importance(subject, **options):
    how = PerturbationSettings(("shap",), important=30, **options)
    return explain_samples(subject, how).importance


@pytest.mark.parametrize("known", [True, False])
def test_the_ten_classes_that_are_predicted_most_are_worked_out(known):
    subject, forward, rows = problem(known=known)
    found = importance(subject)
    given = forward(rows[:30]).argmax(1).tolist()
    named = [int(name.split()[1]) for name in found.class_names]
    least = min(given.count(k) for k in named)
    assert len(named) == 10
    assert named == sorted(named)
    assert all(given.count(k) <= least for k in set(range(CLASSES)) - set(named))


def test_its_values_are_the_shapley_values_of_each_of_these_classes():
    subject, forward, rows = problem()
    found = importance(subject)
    for place, name in enumerate(found.class_names):
        one = shapley(forward, rows[:30], rows[:16], target=int(name.split()[1]))
        assert torch.allclose(found.values[place].double(), one.values, atol=1e-6)


def test_outputs_of_other_classes_are_not_kept(monkeypatch):
    widths = []
    work = important.all_outputs

    def watched(game, **options):
        widths.append(game.forward(game.inputs).shape[1])
        return work(game, **options)

    monkeypatch.setattr(important, "all_outputs", watched)
    subject, _, _ = problem()
    importance(subject)
    assert widths == [10]


@pytest.mark.parametrize("unit", ["probability", "logit"])
def test_it_says_what_its_values_are_in(unit):
    subject, _, _ = problem(unit)
    assert importance(subject).unit == unit


def test_one_output_without_classes_is_its_own():
    subject, _, rows = problem()
    subject.forward, subject.outputs = (lambda x: x[:, 0] * 3 - x[:, 1]), None
    subject.class_names, subject.unit, subject.pick = (), "output", torch.ones(1, 1)
    found = importance(subject)
    assert (found.class_names, found.unit) == (("output",), "output")
    weights = torch.tensor([3.0, -1.0, 0.0, 0.0])
    assert torch.allclose(found.values[0], (rows[:30] - rows[:16].mean(0)) * weights, atol=1e-5)
