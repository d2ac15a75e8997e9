"""What is said of how far explanations can be trusted."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from lightning_posttrain.explanations.perturbation.explain import explain_samples
from lightning_posttrain.explanations.perturbation.outcome import Found, marks_of
from lightning_posttrain.explanations.perturbation.reliability import of_lime, of_rule, of_shap
from lightning_posttrain.explanations.perturbation.segments import parts_of
from lightning_posttrain.explanations.perturbation.settings import PerturbationSettings, Subject
from lightning_posttrain.explanations.result.interpretation import LimeWeights, ShapleyValues
from lightning_posttrain.explanations.result.rule import Condition, Rule
from lightning_posttrain.samples.result import Sample

ONE = torch.ones(1)


def lime(fit, spread):
    return LimeWeights(torch.ones(1, 2), torch.ones(1, 2), ONE, ONE, ONE, fit * ONE, spread * ONE, 10)


def shap(values, errors):
    of = torch.tensor([values]), torch.tensor([errors])
    return ShapleyValues(*of, ONE, ONE, ONE, "kernel", 10)


@pytest.mark.parametrize(
    ("fit", "spread", "remark", "doubt"),
    [
        (0.75, 0.0701, "LIME R² 0.75, another seed within 8%", ""),
        (0.2, 0.0, "LIME R² 0.20, the same with any seed", ""),
        (0.1999, 0.1, "", "LIME R² 0.19: the linear model does not fit, do not read it"),
        (-3.0, 0.1, "", "LIME R² -3.00: the linear model does not fit, do not read it"),
        (0.75, float("nan"), "LIME R² 0.75", ""),
        (float("nan"), 0.1, "", ""),
    ],
)
def test_a_linear_model_is_judged_by_its_fit_and_another_seed(fit, spread, remark, doubt):
    assert of_lime(lime(fit, spread), 0) == (remark, doubt)


@pytest.mark.parametrize(
    ("values", "errors", "said"),
    [
        ([0.5, -1.0], [0.19, 0.0], ""),
        ([0.5, -1.0], [0.25, 0.0], "SHAP: an error of 25% of the largest value: raise `perturbations`"),
        ([0.0, 0.0], [0.0, 0.0], ""),
        ([0.0, 0.0], [0.1, 0.0], "SHAP: errors above its values: raise `perturbations`"),
        ([0.5, 1.0], [float("nan")] * 2, "SHAP: too few perturbed copies to tell how exact it is"),
    ],
)
def test_shapley_values_are_doubted_where_an_error_is_above_a_fifth_of_the_largest(values, errors, said):
    assert of_shap(shap(values, errors), 0) == said


RULE = Rule((), 0, 0.8, 0.7, rows=99, coverage=1.0, base=0.5, valid=False, observed=False, of_parts=True)


def test_a_rule_that_is_drawn_and_not_sure_is_doubted_and_others_are_not():
    assert of_rule(RULE) == "Anchors: not sure enough, 80% of copies keep the class"
    assert of_rule(replace(RULE, valid=True)) == ""
    assert of_rule(replace(RULE, precision=0.3)) == ""


@pytest.mark.parametrize(
    ("rule", "refused", "doubts"),
    [
        (replace(RULE, valid=True), {}, 0),
        (RULE, {}, 1),
        (replace(RULE, precision=0.1, lower=0.05), {"anchors": {0: "no rule found"}}, 0),
    ],
)
def test_a_map_of_a_rule_that_says_nothing_is_refused(rule, refused, doubts):
    x = torch.rand(1, 1, 8, 8)
    sample = Sample(None, explained="a", value=0.5, predicted="a")
    subject = Subject(lambda rows: rows.flatten(1)[:, :2], x, torch.eye(2)[:1], (sample,), x, "image")
    found = Found(subject, PerturbationSettings(("anchors",)), parts_of(x, "image"), rules=(rule,))
    saliency = found.result({}).saliency
    assert saliency.refused == refused
    assert len(saliency.samples[0].doubts) == doubts


def explained(unit="probability", **options):
    torch.manual_seed(0)
    rows = torch.randn(200, 3)
    model = nn.Sequential(nn.Linear(3, 2), nn.Softmax(1))
    sample = Sample(None, explained="a", value=model(rows[:1])[0, 0].item(), predicted="a", probability=0.5)
    subject = Subject(
        model, rows[:1], torch.eye(2)[:1], (sample,), rows[:1], "tabular", class_names=("a", "b"), rows=rows, unit=unit
    )
    return explain_samples(subject, PerturbationSettings(("lime", "shap"), important=10, **options))


def test_samples_carry_their_unit_and_how_far_to_trust_them():
    found = explained()
    (sample,) = found.saliency.samples
    fit, spread = float(found.lime.fit), float(found.lime.spread)
    assert sample.unit == "probability"
    assert (sample.remarks, sample.doubts) == (((of_lime(found.lime, 0)[0]),), ())
    assert f"{fit:.2f}" in sample.remarks[0]
    assert spread < 0.5
    assert found.saliency.least_scale == 0.01
    assert explained("logit").saliency.least_scale == 0.0
    assert found.importance.classes == (0, 1)


def test_numbers_of_parts_are_those_of_their_names():
    rule = Rule((), 0, 1.0, 0.9, rows=9, coverage=1.0, base=0.5, valid=True, observed=False, of_parts=True)
    names = ["part 41", "row 2, column 13", "band 3 of 8, time 5 of 8", "the sky", "part"]
    named = replace(rule, conditions=tuple(Condition(k, name) for k, name in enumerate(names)))
    assert marks_of(named) == {0: "41", 1: "2,13", 2: "3,5"}
    assert marks_of(rule) == {}
