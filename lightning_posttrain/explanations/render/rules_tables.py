"""Rules as tables: in words, and as numbers."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_posttrain.core.drawing.number_format import share
from lightning_posttrain.core.output.artifacts import Table
from lightning_posttrain.explanations.render.rules import NOTHING, Pairs, precision, reason
from lightning_posttrain.explanations.result.rule import Rule
from lightning_posttrain.samples.result import Sample

READ = "Precision: of the rows where all of IF holds, the share for which the model says THEN."
READ_OF_PARTS = (
    "Precision: of copies of the sample in which the IF parts are there and others are hidden at random, the share "
    "for which the model says THEN."
)
READ_SURE = "In brackets, what is sure. Sure: whether that is as much as was wanted."


def rules_table(rules: Pairs, class_names: Sequence[str]) -> Table:
    """Each rule in words, with what one needs to judge it, for loggers.

    Example:
        >>> rule = Rule((), 1, 0.98, 0.929, rows=143, coverage=1.0, base=0.98, valid=True, observed=True)
        >>> rules_table([(Sample(3, "dog", 2.0, "cat", "dog"), rule)], ["cat", "dog"]).rows
        ((3, 'dog (actual cat)', 'IF anything THEN dog', '98% (≥ 92%) of 143 rows', '100%', 'yes'),)
    """
    cells = tuple(
        (
            sample.index, _predicted(sample), _in_words(rule, class_names),
            None if rule.unseen else precision(rule, "≥"), None if rule.of_parts else share(rule.coverage),
            "yes" if rule.valid else "no",
        )
        for sample, rule in rules
    )  # fmt: skip
    of_parts = bool(rules) and all(rule.of_parts for _, rule in rules)
    said = [READ_OF_PARTS if of_parts else READ, READ_SURE, "" if of_parts else "Covers: share of all rows."]
    note = " ".join(filter(None, said)) if rules else "No rule."
    return Table(("index", "predicted", "rule", "precision", "covers", "sure"), cells, note=note, loggers_only=True)


def _predicted(sample: Sample) -> str | None:
    wrong = sample.actual is not None and sample.actual != sample.predicted
    return f"{sample.predicted} (actual {sample.actual})" if wrong else sample.predicted


def _in_words(rule: Rule, class_names: Sequence[str]) -> str:
    name = class_names[rule.predicted]
    if rule.found:
        return f"IF {rule} THEN {name}"
    why = reason(rule, name)
    return f"{NOTHING}: {why.rstrip('.')}" if why else f"{NOTHING}; the best try: IF {rule} THEN {name}"


def rules_values(rules: Pairs, class_names: Sequence[str]) -> Table:
    """Every number of each rule, for files."""
    columns = ("index", "actual", "predicted", "rule", "certain", "precision", "at least", "rows", "covers", "base")
    cells = tuple(
        (
            sample.index, sample.actual, sample.predicted, f"IF {rule} THEN {class_names[rule.predicted]}",
            "yes" if rule.valid else "no", None if rule.unseen else rule.precision, rule.lower, rule.rows,
            rule.coverage, rule.base, rule.wanted, rule.intervened, rule.intervened_rows, rule.draws, rule.different,
        )
        for sample, rule in rules
    )  # fmt: skip
    return Table((*columns, "wanted", "redrawn", "redrawn rows", "draws", "different rows"), cells, files_only=True)
