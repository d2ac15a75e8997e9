from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from lightning_posttrain.core.drawing.attribution_colors import AGAINST, FOR
from lightning_posttrain.core.drawing.beeswarm import LANES, SPAN, UNKNOWN, Swarm, colors_of, lanes
from lightning_posttrain.core.drawing.plot import COLORS, class_colors
from lightning_posttrain.explanations.functional.surrogate import fit_surrogate
from lightning_posttrain.explanations.render.importance import importance_image, importance_table
from lightning_posttrain.explanations.render.surrogate import surrogate_image
from lightning_posttrain.explanations.result.interpretation import Importance


def made(classes, rows, features, names=None):
    generator = torch.Generator().manual_seed(0)
    shown = torch.randn(rows, features, generator=generator)
    values = torch.randn(classes, rows, features, generator=generator) * 0.1 / torch.arange(1, features + 1)
    names = names or tuple(f"feature {i}" for i in range(features))
    return Importance(names, tuple(f"class {k}" for k in range(classes)), values, shown, "exact", 50)


def texts(written):
    return [text for text, _ in written]


def pixels_of(image, color):
    return int((image.pixels == torch.tensor(color, dtype=torch.uint8)).all(dim=2).sum())


@pytest.mark.parametrize(
    ("classes", "rows", "features"),
    [(1, 1, 1), (1, 30, 4), (2, 500, 30), (3, 20, 4), (40, 50, 64), (2, 0, 3), (2, 5, 0)],
)
def test_any_number_of_classes_rows_and_features_fits_the_sheet(classes, rows, features):
    image = importance_image(made(classes, rows, features), title="val")
    assert image.pixels.shape[1:] == (700, 3)
    assert image.pixels.shape[0] < 3500


def test_nothing_explained_is_said(written):
    importance_image(made(2, 0, 3))
    assert "no row was explained" in texts(written)
    assert importance_table(made(2, 0, 3)).rows == ()


def mirrored(rows, features, noise=0.0):
    result = made(2, rows, features)
    result.values[0] = -result.values[1] + noise * torch.randn(
        rows, features, generator=torch.Generator().manual_seed(1)
    )
    return result


@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_of_two_classes_of_which_one_is_the_mirror_the_second_alone_is_drawn(written, noise):
    importance_image(mirrored(10, 3, noise))
    assert "class 1" in texts(written)
    assert "what speaks for class 1" in texts(written)
    assert not any("class 0" in text for text in texts(written))
    assert importance_table(mirrored(10, 3, noise)).columns == ("feature", "class 1")


def test_of_two_outputs_that_are_no_mirror_both_are_drawn(written):
    result = replace(mirrored(10, 3, 0.02), unit="logit")
    importance_image(result)
    assert {"what speaks for class 0", "what speaks for class 1"} <= set(texts(written))
    assert importance_table(result).columns == ("feature", "class 0", "class 1")


@pytest.mark.parametrize(
    ("unit", "said", "other"),
    [
        ("logit", "mean size, in logits", "percentage"),
        ("output", "mean size, in units of the output", "class"),
        ("probability", "mean size, in percentage points of probability", "logit"),
    ],
)
def test_what_values_are_in_is_said_in_picture_and_table(written, unit, said, other):
    result = replace(made(1, 30, 4), unit=unit, class_names=("output",))
    importance_image(result)
    all_of_it = " ".join([*texts(written), importance_table(result).note])
    assert said in texts(written)
    assert other not in all_of_it
    assert importance_table(result).note.count(said[len("mean size, ") :]) == 1


def test_values_that_are_no_probabilities_are_drawn_as_they_are(written):
    values = torch.tensor([[[0.10, 0.0, -0.02], [-0.30, 0.0, 0.02]]])
    result = Importance(("a", "b", "c"), ("up",), values, torch.zeros(2, 3), "exact", 10, unit="logit")
    importance_image(result)
    assert {"0.2", "0.02", "0", "+0.1", "−0.3"} <= set(texts(written))
    assert [row[1] for row in importance_table(result).rows] == pytest.approx([0.2, 0.02, 0.0])


def test_of_many_classes_the_largest_have_a_color_and_the_three_largest_a_panel(written):
    result = made(40, 20, 5)
    importance_image(result)
    sizes = result.values.abs().mean(1).sum(1)
    panels = [text for text in texts(written) if text.startswith("what speaks for")]
    assert panels == [f"what speaks for class {k}" for k in sizes.argsort(descending=True)[:3].tolist()]
    assert "32 other classes" in texts(written)


def test_pictures_of_several_classes_are_not_too_high():
    assert importance_image(made(3, 300, 30)).pixels.shape[0] <= 1850
    assert importance_image(made(40, 300, 30)).pixels.shape[0] <= 1950


def test_fewer_lanes_are_kept_to_by_swarms_of_several_classes():
    crowd = lanes(np.zeros(50), 5)
    assert set(crowd.tolist()) == {-2, -1, 0, 1, 2}
    heights = [Swarm(np.zeros((1, 50)), np.zeros((1, 50, 3), np.uint8), 400, most).draw()[1][0] for most in (5, LANES)]
    assert heights[0] < heights[1]


def test_a_class_has_the_colour_of_its_number_in_importance_and_in_the_tree():
    loaded = load_iris()
    tree = surrogate_image(fit_surrogate(torch.from_numpy(loaded.data).float(), torch.from_numpy(loaded.target)))
    result = replace(made(3, 30, 4), classes=(0, 1, 2))
    for order in ([0, 1, 2], [2, 0, 1]):
        shuffled = replace(result, values=result.values * (1 + torch.tensor(order)).view(3, 1, 1))
        assert all(pixels_of(importance_image(shuffled), COLORS[k]) > 1000 for k in range(3))
    assert all(pixels_of(tree, COLORS[k]) > 100 for k in range(3))


def test_the_second_class_of_a_mirrored_pair_and_a_class_that_is_known_by_number_keep_their_colour():
    second = importance_image(replace(mirrored(10, 3), classes=(0, 1)))
    assert pixels_of(second, COLORS[1]) > 1000
    assert not pixels_of(second, COLORS[0])
    assert pixels_of(importance_image(replace(made(1, 10, 3), classes=(4,))), COLORS[4]) > 1000


@pytest.mark.parametrize("classes", [range(10), (3, 13, 23), range(5, 15), [7, 7]])
def test_no_two_classes_share_a_colour_while_one_is_free(classes):
    colors = class_colors(classes)
    assert len(set(colors)) == len(colors)
    assert colors[0] == COLORS[classes[0] % len(COLORS)]


def test_more_classes_than_colours_have_one_each():
    assert len(class_colors(range(40))) == 40


def test_bars_are_mean_sizes_in_percentage_points(written):
    values = torch.tensor([[[0.10, 0.0, -0.02], [-0.30, 0.0, 0.02]]])
    result = Importance(("a", "b", "c"), ("up",), values, torch.zeros(2, 3), "exact", 10)
    image = importance_image(result)
    said = texts(written)
    assert {"20", "2.0", "0"} <= set(said)
    assert said.index("a") < said.index("c") < said.index("b")
    blue = (image.pixels == torch.tensor(COLORS[0], dtype=torch.uint8)).all(dim=2).sum(1)
    long = int(blue.max())
    assert int(blue[blue > 0].unique()[1]) == pytest.approx(long / 10, abs=2)


def test_the_table_has_the_mean_size_of_every_feature_and_class():
    result = made(3, 20, 15)
    table = importance_table(result)
    assert table.columns == ("feature", "class 0", "class 1", "class 2")
    wanted = 100 * result.values.double().abs().mean(1)
    order = wanted.sum(0).argsort(descending=True).tolist()
    assert [row[0] for row in table.rows] == [f"feature {j}" for j in order]
    for row, j in zip(table.rows, order, strict=True):
        assert row[1:] == pytest.approx(wanted[:, j].tolist())


def test_dots_of_one_lane_do_not_overlap_while_there_is_room():
    places = np.random.default_rng(0).uniform(0, 400, 120)
    found = lanes(places)
    for lane in set(found.tolist()):
        apart = np.diff(np.sort(places[found == lane]))
        assert (apart >= SPAN).all()
    assert np.abs(found).max() <= LANES // 2
    crowd = lanes(np.zeros(100))
    assert set(crowd.tolist()) == set(range(-(LANES // 2), LANES // 2 + 1))


def test_dots_lie_where_their_values_are():
    swarm = Swarm(np.array([[-2.0, 0.0, 6.0]]), np.zeros((1, 3, 3), np.uint8), 400)
    pixels, heights = swarm.draw()
    assert pixels.shape == (sum(heights), 400, 3)
    dark = (pixels.max(2) < 60).any(0).nonzero()[0]
    middles = [chunk.mean() for chunk in np.split(dark, (np.diff(dark) > 1).nonzero()[0] + 1)]
    assert middles == pytest.approx([8, 8 + 384 / 4, 8 + 384], abs=1.5)


def test_low_values_are_blue_high_ones_red_and_missing_ones_grey():
    found = colors_of(np.array([1.0, 1000.0, np.nan, 2.0, 2.0]))
    assert found[0].tolist() == list(AGAINST)
    assert found[1].tolist() == list(FOR)
    assert found[2].tolist() == list(UNKNOWN)
    assert found[3].tolist() == found[4].tolist()
    constant = colors_of(np.full(3, 7.0))
    assert (constant == constant[0]).all()


def test_many_rows_are_drawn_in_part_and_that_is_said(written):
    importance_image(made(1, 2000, 2))
    said = " ".join(texts(written))
    assert "2,000 rows (300 of them drawn), exact." in said
    assert "50 other rows" in said


def test_values_that_are_not_finite_are_drawn_as_zero_and_said(written):
    result = made(1, 5, 2)
    result.values[0, 0, 0] = torch.nan
    result.values[0, 1, 1] = torch.inf
    importance_image(replace(result, shown=torch.full((5, 2), torch.nan)))
    assert "Values that are not finite are drawn as 0." in " ".join(texts(written))
