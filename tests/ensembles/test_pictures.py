"""Pictures of ensembles, by what stands in them."""

import math

import numpy as np
import pytest
import torch

from lightning_posttrain.ensembles import Diversity
from lightning_posttrain.ensembles.render import members as render_members
from lightning_posttrain.ensembles.render.members import UNDEFINED, members_image
from lightning_posttrain.ensembles.render.strategies import LEFT, ROOM, STEP, TOP, WORSE, strategies_image
from lightning_posttrain.ensembles.result import Difference, EnsembleReport, MemberReport, StrategyReport


def report(members=3, *, values=(0.0, -0.01, -0.02), names="epoch {}", undefined=()):
    strategies = [
        StrategyReport(
            f"s{i}", f"strategy {i}", "words", members, 10, 0.9, 0.4 + value, 0.1, 0.02,
            Difference(value, value - 0.005, value + 0.005) if i else Difference(0, 0, 0),
        )
        for i, value in enumerate(values)
    ]  # fmt: skip
    shared = torch.full((members, members), 0.5).fill_diagonal_(1.0)
    for place in undefined:
        shared[place], shared[:, place] = math.nan, math.nan
    apart = Diversity(0.8, 0.6, 0.2, torch.zeros(members, members), shared, 100)
    named = tuple(MemberReport(names.format(i), "raw", 0.9, 0.4, 0.02) for i in range(members))
    return EnsembleReport(tuple(strategies), named, "s1", True, "reason", 500, apart)


def test_a_spoilt_soup_leaves_the_scale_to_the_others():
    plain = np.asarray(strategies_image(report(), "test").pixels)
    spoilt = np.asarray(strategies_image(report(values=(0.0, -0.01, -0.02, 3.7)), "test").pixels)
    rows = slice(TOP, TOP + 3 * STEP)
    assert np.array_equal(plain[rows], spoilt[rows])
    row = spoilt[TOP + 3 * STEP : TOP + 4 * STEP, LEFT : LEFT + ROOM]
    assert (row == np.array(WORSE)).all(2).any()


@pytest.mark.parametrize("members", [1, 2, 12, 30])
@pytest.mark.parametrize("names", ["epoch {}", "version_1234/checkpoints/a very long name of a run, epoch {}, EMA"])
def test_any_number_of_members_is_drawn_in_the_width_of_a_page(members, names):
    found = report(members, names=names)
    for image in (members_image(found, "test"), strategies_image(found, "test")):
        pixels = np.asarray(image.pixels)
        assert pixels.shape[1] == 700
        assert (pixels[:, -4:] == 255).all()


def test_what_is_not_defined_is_grey_and_said():
    found = report(3, undefined=[1])
    pixels = np.asarray(members_image(found, "test").pixels)
    cell = 80
    middle = (render_members.TOP + 2 * cell - cell // 2 - 30, render_members.LEFT + cell // 2)
    assert tuple(pixels[middle]) == UNDEFINED
    assert any(note.startswith("grey:") for note in render_members._notes(found))
