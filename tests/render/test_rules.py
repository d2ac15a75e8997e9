from dataclasses import replace

import pytest
import torch

from lightning_posttrain.render.attribution import RIGHT, STRENGTH
from lightning_posttrain.render.rules import ALSO, READ, rules_image, rules_table
from lightning_posttrain.results import Condition, Rule, Sample

NAMES = ("malignant", "benign")
SAMPLE = Sample(12, "malignant", 3.1, "malignant", "malignant", 0.998)
RULE = Rule(
    (Condition(0, "worst radius", low=16.8), Condition(1, "worst texture", high=23.4)), 0, 0.984, 0.9291, 143,
    coverage=0.24, base=0.37, valid=True, observed=True, intervened=0.9, intervened_rows=1000,
)  # fmt: skip


def texts(written):
    return [text for text, _ in written]


def has(image, color):
    return bool((image.pixels == torch.tensor(color, dtype=torch.uint8)).all(dim=2).any())


def test_a_rule_is_read_from_if_to_then_with_its_figures(written):
    image = rules_image([(SAMPLE, RULE)], NAMES, title="test")
    said = texts(written)
    start = said.index("IF")
    assert said[start : start + 6] == ["IF", "worst radius > 16.8", "AND", "worst texture ≤ 23.4", "THEN", "malignant"]
    assert "98% (at least 92%) of 143 rows" in said
    assert "24% of all rows" in said
    assert "90% with other features redrawn" in said
    assert READ in said
    assert ALSO not in said
    assert image.pixels.shape[1:] == (700, 3)
    assert has(image, RIGHT)


def test_a_lower_bound_is_never_rounded_up(written):
    rules_image([(SAMPLE, replace(RULE, lower=0.949999))], NAMES)
    assert "98% (at least 94%) of 143 rows" in texts(written)


def test_a_rule_that_misses_the_bar_says_so_and_is_not_green(written):
    wrong = replace(SAMPLE, actual="benign")
    image = rules_image([(wrong, replace(RULE, valid=False, lower=0.84))], NAMES)
    assert "Not certain: only 84% is sure. The best rule found." in texts(written)
    assert has(image, STRENGTH)
    assert not has(image, RIGHT)


@pytest.mark.parametrize(("intervened", "said"), [(0.78, True), (0.79, False), (None, False)])
def test_a_large_gap_to_redrawn_rows_is_said_in_a_sentence(written, intervened, said):
    rules_image([(SAMPLE, replace(RULE, intervened=intervened))], NAMES)
    assert (ALSO in texts(written)) == said


def test_a_rule_without_conditions_holds_for_anything(written):
    rules_image([(SAMPLE, replace(RULE, conditions=()))], NAMES)
    assert "anything at all" in texts(written)


def test_what_was_not_asked_is_not_drawn_and_variants_are_not_called_rows(written):
    rules_image([(SAMPLE, replace(RULE, intervened=0.9, observed=False))], NAMES)
    said = " ".join(texts(written))
    assert "redrawn" not in said.lower()
    assert "of 143 variants" in said
    assert "Variants: rows whose other values" in said


def test_rules_of_parts_say_nothing_of_rows(written):
    rules_image([(SAMPLE, replace(RULE, intervened=None, observed=False, of_parts=True))], NAMES)
    said = " ".join(texts(written))
    assert "variants of the sample" in said
    assert "rows" not in said
    assert "covers" not in said


def test_long_conditions_and_names_stay_on_the_sheet_and_keep_their_bound(written):
    long = Condition(
        0, "the mean over all of the many measurements of what was recorded by instrument seven" * 3, low=1e9
    )
    image = rules_image([(SAMPLE, replace(RULE, conditions=(long,)))], ["a name that goes on and on " * 9, "b"])
    assert image.pixels.shape[1] == 700
    assert any(text.endswith("> 1e+09") or text.endswith("> 1000000000") for text in texts(written))


def test_no_rules_and_very_many_make_a_picture(written):
    assert rules_image([], NAMES).pixels.shape[1] == 700
    assert "no rule was worked out" in texts(written)
    rules_image([(SAMPLE, RULE)] * 20, NAMES)
    assert "8 more rules are in the table." in " ".join(texts(written))
    assert texts(written).count("THEN") == 12


def test_the_table_has_every_rule_in_words_with_its_figures():
    table = rules_table([(SAMPLE, RULE), (SAMPLE, replace(RULE, valid=False))], NAMES)
    assert table.rows[0] == (
        12, "malignant", "malignant", "IF worst radius > 16.8 AND worst texture ≤ 23.4 THEN malignant", "yes", 0.984,
        0.9291, 143, 0.24, 0.37, 0.9,
    )  # fmt: skip
    assert table.rows[1][4] == "no"
    assert len(table.columns) == len(table.rows[0])
    assert rules_table([], NAMES).rows == ()
