import math
from dataclasses import replace

import pytest
import torch

from lightning_posttrain.core.drawing.attribution_colors import STRENGTH
from lightning_posttrain.core.drawing.canvas import INK, PALE
from lightning_posttrain.explanations.render import rules
from lightning_posttrain.explanations.render.rules import ALSO, NOT_SURE, NOTHING, OUTLINES, rules_image
from lightning_posttrain.explanations.render.rules_tables import rules_table, rules_values
from lightning_posttrain.explanations.result.rule import Condition, Rule
from lightning_posttrain.samples.render.sheet import RIGHT
from lightning_posttrain.samples.result import Sample

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
    assert "Green: where all IF lines hold, the model almost always says THEN." in " ".join(said)
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


def test_the_line_above_speaks_of_those_colours_that_there_are(written):
    failing, vain = replace(RULE, valid=False, lower=0.84), replace(RULE, valid=False, precision=0.41, lower=0.38)
    heads = []
    for drawn in ([RULE], [failing], [RULE, failing], [vain], [RULE, vain]):
        rules_image([(SAMPLE, rule) for rule in drawn], NAMES)
        said = " ".join(texts(written))
        heads.append(tuple(word in said for word in ("Green:", NOT_SURE, "Orange: where", "Grey:")))
        written.clear()
    assert heads == [
        (True, False, False, False), (False, False, True, False), (True, True, False, False),
        (False, False, False, True), (True, False, False, True),
    ]  # fmt: skip


def test_the_line_above_is_wrapped_and_never_elided(written):
    failing = replace(RULE, valid=False, lower=0.84, of_parts=True)
    rules_image([(SAMPLE, replace(RULE, of_parts=True)), (SAMPLE, failing)], NAMES)
    said = " ".join(texts(written))
    assert "the model almost always says THEN, whatever else is hidden. Orange: not sure enough." in said
    assert "…" not in said


@pytest.mark.parametrize(
    ("precision", "lower", "base"),
    [(0.04, 0.01, 0.002), (0.41, 0.38, 0.2), (0.59, 0.55, 0.1), (0.9, 0.85, 0.86), (0.7, 0.6, 0.6)],
)
def test_a_failing_rule_that_is_rare_or_no_better_than_none_reads_as_no_rule(written, precision, lower, base):
    rule = replace(RULE, valid=False, precision=precision, lower=lower, base=base, coverage=0.04, intervened=None)
    image = rules_image([(SAMPLE, rule)], NAMES)
    assert NOTHING in texts(written)
    said = " ".join(texts(written))
    assert "The best try: IF worst radius > 16.8 AND worst texture ≤ 23.4 THEN malignant" in said
    assert "IF" not in texts(written)
    assert "Not certain" not in said
    assert not has(image, STRENGTH)
    assert {options.get("color") for text, options in written if text == NOTHING} == {PALE}


@pytest.mark.parametrize(("precision", "lower", "base"), [(0.6, 0.5, 0.49), (0.93, 0.9, 0.89)])
def test_a_failing_rule_that_is_clearly_better_than_none_is_drawn(written, precision, lower, base):
    rules_image([(SAMPLE, replace(RULE, valid=False, precision=precision, lower=lower, base=base))], NAMES)
    assert NOTHING not in texts(written)
    assert "IF" in texts(written)


def test_the_wanted_precision_is_said_once_and_marked_on_the_bar(written):
    without = rules_image([(SAMPLE, RULE)], NAMES)
    assert "triangle" not in " ".join(texts(written))
    written.clear()
    image = rules_image([(SAMPLE, replace(RULE, wanted=0.95))] * 2, NAMES)
    assert " ".join(texts(written)).count("The triangle: the wanted precision, 95%.") == 1
    dark = (image.pixels == torch.tensor(INK, dtype=torch.uint8)).all(dim=2)
    column = rules.NAMES + round(0.95 * (rules.BAR - 1))
    assert dark[:, column - 7 : column + 8].all(dim=1).sum() == 2
    assert not dark[:, column - 8 : column + 9].all(dim=1).any()
    dark = (without.pixels == torch.tensor(INK, dtype=torch.uint8)).all(dim=2)
    assert not dark[:, column - 7 : column + 8].all(dim=1).any()


def test_rules_of_several_wanted_precisions_say_each(written):
    rules_image([(SAMPLE, replace(RULE, wanted=0.95)), (SAMPLE, replace(RULE, wanted=0.999))], NAMES)
    assert "precision, 95% or 99.9%." in " ".join(texts(written))


def test_numbered_parts_are_said_to_be_in_the_picture_and_others_are_not(written):
    part = Condition(40, "part 41")
    rules_image([(SAMPLE, replace(RULE, conditions=(part,), observed=False, of_parts=True))], NAMES)
    assert OUTLINES.split()[-1] in " ".join(texts(written))
    assert "and their numbers" in " ".join(texts(written))
    written.clear()
    vain = replace(RULE, conditions=(part,), observed=False, of_parts=True, valid=False, precision=0.1)
    rules_image([(SAMPLE, vain)], NAMES)
    rules_image([(SAMPLE, replace(RULE, conditions=(Condition(0, "row count", low=3.0),)))], NAMES)
    rules_image([(SAMPLE, replace(RULE, conditions=(Condition(0, "the"),), observed=False, of_parts=True))], NAMES)
    assert "and their numbers" not in " ".join(texts(written))


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
    assert "copies of the sample" in said
    assert "of 143 copies" in said
    assert "rows" not in said
    assert "covers" not in said


def test_long_conditions_and_names_stay_on_the_sheet_and_keep_their_bound(written):
    long = Condition(
        0, "the mean over all of the many measurements of what was recorded by instrument seven" * 3, low=1e9
    )
    image = rules_image([(SAMPLE, replace(RULE, conditions=(long,)))], ["a name that goes on and on " * 9, "b"])
    assert image.pixels.shape[1] == 700
    assert any(text.endswith("> 1000000000") for text in texts(written))


def test_no_rules_and_very_many_make_a_picture(written):
    assert rules_image([], NAMES).pixels.shape[1] == 700
    assert "no rule was worked out" in texts(written)
    rules_image([(SAMPLE, RULE)] * 20, NAMES)
    assert "8 more rules are in the table." in " ".join(texts(written))
    assert texts(written).count("THEN") == 12


def test_the_table_has_every_rule_in_words_in_six_columns():
    wrong = replace(SAMPLE, actual="benign")
    failing = replace(RULE, valid=False, precision=0.3)
    table = rules_table([(SAMPLE, RULE), (wrong, failing)], NAMES)
    rule = "IF worst radius > 16.8 AND worst texture ≤ 23.4 THEN malignant"
    assert table.columns == ("index", "predicted", "rule", "precision", "covers", "sure")
    assert table.rows[0] == (12, "malignant", rule, "98% (≥ 92%) of 143 rows", "24%", "yes")
    assert table.rows[1][1] == "malignant (actual benign)"
    assert table.rows[1][2] == f"no rule found; the best try: {rule}"
    assert table.rows[1][5] == "no"
    assert rules_table([], NAMES).rows == ()


def test_the_note_of_the_table_speaks_of_the_table_and_of_copies_where_rules_are_of_parts():
    plain = rules_table([(SAMPLE, RULE)], NAMES)
    of_parts = rules_table([(SAMPLE, replace(RULE, of_parts=True, observed=False))], NAMES)
    assert "copies" in of_parts.note
    assert "rows" not in of_parts.note + str(of_parts.rows)
    assert of_parts.rows[0][4] is None
    for note in (plain.note, of_parts.note):
        assert not any(word in note for word in ("dark", "mark", "bar", "Green"))


def test_every_number_of_a_rule_is_in_the_table_for_files():
    table = rules_values([(SAMPLE, replace(RULE, wanted=0.95))], NAMES)
    assert table.files_only
    assert dict(zip(table.columns, table.rows[0], strict=True)) == {
        "index": 12, "actual": "malignant", "predicted": "malignant",
        "rule": "IF worst radius > 16.8 AND worst texture ≤ 23.4 THEN malignant", "certain": "yes", "precision": 0.984,
        "at least": 0.9291, "rows": 143, "covers": 0.24, "base": 0.37, "wanted": 0.95, "redrawn": 0.9,
        "redrawn rows": 1000, "draws": None, "different rows": None,
    }  # fmt: skip


UNSEEN = Rule(
    (Condition(0, "kind", equal=7.0), Condition(1, "size", low=3.5)), 0, math.nan, 0.0, 0,
    coverage=0.0, base=0.2, valid=False, observed=True, draws=0.0, different=0,
)  # fmt: skip
SAME = replace(UNSEEN, conditions=(), precision=1.0, rows=1200, coverage=1.0, base=1.0, different=1)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (UNSEEN, "no row has kind = 7 or size > 3.5, so nothing can be said of it"),
        (SAME, "all 1,200 rows are equal, so no rule tells one from another; 100% of them get malignant"),
        (replace(SAME, different=600, precision=0.0, base=0.0), "no row gets malignant"),
    ],
)
def test_why_there_can_be_no_rule_is_said_in_the_picture_and_the_table(written, rule, words):
    rules_image([(SAMPLE, rule)], NAMES)
    said = " ".join(texts(written))
    assert f"{words[0].upper()}{words[1:]}." in said
    table = rules_table([(SAMPLE, rule)], NAMES)
    assert table.rows[0][2] == f"no rule found: {words}"
    assert table.rows[0][5] == "no"
    for text in (said, str(table.rows)):
        assert "nan" not in text.replace("malignant", "")
        assert "The best try" not in text
        assert " 0 rows" not in text
    assert rules_values([(SAMPLE, rule)], NAMES).rows[0][5] == (None if rule.unseen else rule.precision)


@pytest.mark.parametrize(
    ("draws", "different", "said"), [(60.2, 90, True), (60.2, 143, False), (80.0, 90, False), (None, None, False)]
)
def test_a_bound_that_rests_on_far_fewer_rows_than_there_are_says_so(written, draws, different, said):
    rules_image([(SAMPLE, replace(RULE, draws=draws, different=different))], NAMES)
    assert ("Many of these rows are equal: what is sure rests on about 60." in texts(written)) == said


def test_figures_that_cannot_be_of_the_same_rows_are_refused():
    with pytest.raises(ValueError, match=r"`precision` is 0.984 and `coverage` 0.5.*0.492 .* `base`, 0.37. Count all"):
        replace(RULE, coverage=0.5)
    assert replace(RULE, coverage=0.5, observed=False).coverage == 0.5
    assert replace(RULE, coverage=0.5, base=0.492).found
