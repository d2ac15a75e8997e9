from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_iris

from lightning_posttrain.core.drawing.canvas import width_of
from lightning_posttrain.core.drawing.number_format import KEYWORD
from lightning_posttrain.explanations.functional.surrogate import fit_surrogate
from lightning_posttrain.explanations.render.surrogate import UNSURE, drops_table, headline, surrogate_image, tree_table
from lightning_posttrain.explanations.result.surrogate import Drop

DROPS = (
    Drop("petal width", 0.5, 0.4, 0.6, 0.1),
    Drop("petal length", 0.01, -0.1, 0.12, -0.02),
    Drop("broken", float("nan"), float("nan"), float("nan"), float("nan")),
)


def report(**more):
    loaded = load_iris()
    x, y = torch.from_numpy(loaded.data).float(), torch.from_numpy(loaded.target)
    options = {"names": list(map(str, loaded.feature_names)), "class_names": list(map(str, loaded.target_names))}
    return fit_surrogate(x, y, **{**options, **more})


def texts(written):
    return [text for text, _ in written]


def has(image, color):
    return bool((image.pixels == torch.tensor(color, dtype=torch.uint8)).all(dim=2).any())


def test_the_headline_gives_fidelity_interval_and_what_one_class_alone_would_get():
    result = replace(
        report(), fidelity=0.944, fidelity_low=0.91, fidelity_high=0.96, held_out_rows=1234, majority=0.63,
        majority_class="benign",
    )  # fmt: skip
    assert headline(result) == (
        f"A tree of {result.questions} questions agrees with the model on 94% of 1,234 held-out rows (91% to 96%); "
        'always saying "benign" would on 63%.'
    )


def test_the_tree_is_read_as_if_and_else_down_to_then(written):
    result = report()
    image = surrogate_image(result, title="test")
    said = texts(written)
    leaves = [branch for branch in result.branches if branch.leaf]
    assert said.count("IF") == said.count("ELSE") == result.questions
    assert said.count("THEN") == len(leaves)
    assert said[said.index("IF") + 1] == str(result.branches[1].condition)
    for leaf in leaves:
        assert any(text.endswith(f"% of {leaf.rows}") or leaf.rows == 0 for text in said)
    assert image.pixels.shape[1:] == (700, 3)


def test_deeper_branches_stand_further_right(monkeypatch):
    from lightning_posttrain.core.drawing.canvas import Canvas

    places = []
    write = Canvas.text

    def text(canvas, x, y, said, **options):
        places.append((said, x))
        write(canvas, x, y, said, **options)

    monkeypatch.setattr(Canvas, "text", text)
    result = report()
    surrogate_image(result)
    found = [x for said, x in places if said in ("IF", "ELSE")]
    depths = [branch.depth for branch in result.branches if branch.condition is not None]
    assert [found.index(x) for x in sorted(set(found))] == [depths.index(d) for d in sorted(set(depths))]


def test_drops_have_bars_intervals_and_numbers_and_those_that_may_be_nothing_are_grey(written):
    image = surrogate_image(replace(report(), drops=DROPS, drop_rows=500))
    said = texts(written)
    assert {"+0.5", "−10.0 pt", "+0.01", "+2.0 pt"} <= set(said)
    assert "broken" not in said
    assert has(image, UNSURE)
    assert has(image, KEYWORD)
    assert "from 500 rows" in " ".join(said)


def test_without_drops_there_is_no_section_for_them(written):
    surrogate_image(report())
    assert not any("log loss" in text for text in texts(written))
    assert drops_table(report()).rows == ()


def test_a_tree_that_says_nothing_is_drawn_with_a_warning(written):
    loaded = load_iris()
    x = torch.from_numpy(loaded.data).float()
    surrogate_image(fit_surrogate(x, torch.zeros(150).long(), class_names=["only", "never"]))
    said = " ".join(texts(written))
    assert "A tree without questions" in said
    assert 'no more of the model than "always only" does' in said


@pytest.mark.parametrize("depth", [1, 12])
def test_long_names_and_deep_trees_stay_on_the_sheet(depth):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3000, 5, generator=generator)
    y = torch.randint(10, (3000,), generator=generator)
    names = [f"the mean over all of the many measurements of the variable {i} by instrument seven" for i in range(5)]
    classes = [f"a class with an extremely long name that never ever ends {i}" for i in range(10)]
    deep = fit_surrogate(x, y, names=names, class_names=classes, depth=depth, min_rows=2)
    drops = tuple(Drop(name, 1e7, -1e7, 2e7, 1.0) for name in names)
    image = surrogate_image(replace(deep, drops=drops, drop_rows=10**9))
    assert image.pixels.shape[1] == 700
    assert image.pixels.shape[0] < 3600


def test_of_a_condition_that_is_too_long_the_name_is_cut_and_no_number(written):
    x = torch.arange(1000.0)[:, None] + 98000.25
    x[::7] = torch.nan
    y = (x[:, 0] > 98500).long()
    result = fit_surrogate(
        x, y, names=["the zip code of the customer's address " * 3], class_names=["no", "yes"], depth=1
    )
    surrogate_image(result)
    shown = [text for text in texts(written) if text.startswith("the zip code")]
    ends = [str(replace(branch.condition, name="")) for branch in result.branches[1:]]
    assert [text.endswith(end) for text, end in zip(shown, ends, strict=True)] == [True, True]
    assert all("…" in text and width_of(text) <= 700 for text in shown)


def test_the_tables_have_every_branch_and_every_drop():
    result = replace(report(), drops=DROPS, drop_rows=500)
    table = tree_table(result)
    assert [row[0].strip() for row in table.rows] == [
        "all rows" if b.condition is None else f"{'ELSE' if b.otherwise else 'IF'} {b.condition}"
        for b in result.branches
    ]
    assert [row[2:] for row in table.rows] == [(b.rows, b.agreement) for b in result.branches]
    assert [row[1] for row in table.rows if row[1]] == [b.predicted for b in result.branches if b.leaf]
    assert drops_table(result).rows[0] == ("petal width", 0.5, 0.4, 0.6, 0.1)
    assert len(drops_table(result).rows) == 3


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"fidelity": 0.37, "fidelity_low": 0.3, "majority": 0.2}, "only 37% of the rows"),
        ({"fidelity": 0.8, "fidelity_low": 0.7, "majority": 0.75}, "no more of the model than"),
    ],
)
def test_a_tree_that_should_not_be_read_is_left_out_and_that_is_said_above(figures, words, written):
    surrogate_image(replace(report(), drops=DROPS, **figures))
    said = texts(written)
    assert "IF" not in said
    verdict = next(place for place, text in enumerate(said) if "do not read it" in " ".join(said[place : place + 3]))
    assert words in " ".join(said[verdict : verdict + 3])
    assert verdict < next(place for place, text in enumerate(said) if text.startswith("A tree of"))
    assert "petal width" in said
