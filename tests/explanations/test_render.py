from dataclasses import replace

import torch

from lightning_posttrain.core.output.artifacts import Table
from lightning_posttrain.explanations.render.explanations import explanations, samples_table, samples_values
from lightning_posttrain.explanations.result.explained import Explained
from lightning_posttrain.explanations.result.interpretation import LimeWeights, ShapleyValues
from lightning_posttrain.explanations.result.rule import Condition, Rule
from tests.samples.explained import rows

ONE = torch.ones(3)
LIME = LimeWeights(torch.ones(3, 2), torch.ones(3, 2), ONE, ONE, ONE, 0.74949 * ONE, 0.081234 * ONE, 10)
SHAP = ShapleyValues(torch.ones(3, 2), torch.ones(3, 2), 0.49612 * ONE, ONE, 1.234567e-9 * ONE, "exact", 10)
RULE = Rule((Condition(0, "a", low=1.0),), 0, 0.98, 0.93, rows=143, coverage=0.2, base=0.3, valid=True, observed=True)


def found(unit="probability", **more):
    saliency = rows(2, count=3, methods=("saliency",))
    samples = tuple(replace(sample, value=0.83412345) for sample in saliency.samples)
    more = {"lime": LIME, "shap": SHAP, **more}
    return Explained(replace(saliency, samples=samples), (("a", "b"),) * 3, unit=unit, **more)


def column(table, name):
    return [row[table.columns.index(name)] for row in table.rows]


def test_samples_are_in_percent_where_they_are_probabilities_and_in_three_digits():
    table = samples_table(found())
    assert column(table, "value") == ["83.4%"] * 3
    assert column(table, "probability") == [">99.9%", "50.0%", "100.0%"]
    assert column(table, "SHAP base") == ["49.6%"] * 3
    assert column(table, "LIME fit") == ["0.749"] * 3
    assert column(table, "LIME spread") == ["8%"] * 3
    assert column(table, "SHAP gap") == ["<1e-6"] * 3


def test_logits_are_numbers_and_what_is_not_defined_stays_so():
    table = samples_table(found("logit"))
    assert column(table, "value") == ["0.834"] * 3
    without = found("output")
    samples = tuple(replace(sample, probability=None, index=None) for sample in without.saliency.samples)
    table = samples_table(replace(without, saliency=replace(without.saliency, samples=samples)))
    assert column(table, "probability") == [None] * 3


def test_a_fit_that_is_not_defined_is_no_text():
    (value, *_) = column(samples_table(found(lime=replace(LIME, fit=float("nan") * ONE))), "LIME fit")
    assert value != value  # noqa: PLR0124 - NaN


def test_every_number_is_kept_in_files():
    table = samples_values(found())
    assert table.files_only
    assert column(table, "value") == [0.83412345] * 3
    assert abs(column(table, "SHAP gap")[0] - 1.234567e-9) < 1e-15


def test_loggers_get_a_table_to_look_at_and_files_all_the_numbers():
    drawn = explanations(found(rules=(RULE,) * 3, class_names=("x",)), tag="e", title="val")
    tables = [(one.tag, one.artifact) for one in drawn if isinstance(one.artifact, Table)]
    for name in ("e/samples", "e/rules_table"):
        shown, kept = (table for tag, table in tables if tag == name)
        assert shown.loggers_only
        assert kept.files_only


def test_no_samples_give_tables_without_rows():
    none = Explained(replace(rows(2, count=1), samples=(), maps={}), unit="probability")
    assert samples_table(none).rows == ()
    assert samples_values(none).rows == ()
