from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_posttrain.render import saliency as drawing
from lightning_posttrain.render import saliency_image, saliency_table
from lightning_posttrain.results import Saliency

TITLES = {
    "saliency": "Saliency",
    "input_x_gradient": "Input × gradient",
    "integrated_gradients": "Integrated gradients",
    "grad_cam": "Grad-CAM",
}


def explained(height=8, width=8, samples=3, methods=tuple(TITLES)):
    generator = torch.Generator().manual_seed(0)
    maps = {name: torch.randn(samples, height, width, generator=generator) for name in methods}
    return Saliency(
        images=torch.rand(samples, height, width, 3, generator=generator),
        maps=maps,
        titles=TITLES,
        signed=frozenset({"input_x_gradient", "integrated_gradients"} & set(methods)),
        target=torch.arange(samples) % 2,
        predicted=torch.zeros(samples, dtype=torch.long),
        probability=torch.tensor([0.99999, 0.5, 1.0] * samples)[:samples],
        index=(4, None, 7, *range(samples))[:samples],
        class_names=("cat", "dog"),
        layer="body.3" if "grad_cam" in methods else None,
    )


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (224, 224), (40, 160), (160, 40)])
def test_every_size_of_image_gives_a_grid_of_the_same_width(height, width):
    pixels = saliency_image(explained(height, width)).pixels
    assert pixels.shape[1:] == (700, 3)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_methods_fills_the_width(count):
    pixels = saliency_image(explained(methods=tuple(TITLES)[:count])).pixels
    assert pixels.shape[1] == 700


def test_captions_give_position_prediction_probability_and_actual_class(monkeypatch):
    texts = []
    write = drawing.Canvas.text
    monkeypatch.setattr(drawing.Canvas, "text", lambda s, x, y, t, **o: texts.append((t, o)) or write(s, x, y, t, **o))
    saliency_image(explained(), title="val")
    captions = {text: options["color"] for text, options in texts if "actual" in text}
    assert captions == {
        "#4  predicted cat (>99.9%), actual cat": drawing.RIGHT,
        "predicted cat (50.0%), actual dog": drawing.WRONG,
        "#7  predicted cat (100.0%), actual cat": drawing.RIGHT,
    }


def test_signed_maps_are_white_at_zero_red_above_and_blue_below():
    cell = drawing._drawn(np.array([[0.0, 2.0], [-2.0, 0.0]], dtype=np.float32), True, 2, 2).astype(int)
    assert cell[0, 0].min() > 240
    assert cell[0, 1][0] > cell[0, 1][2] + 50
    assert cell[1, 0][2] > cell[1, 0][0] + 50


def test_one_hot_pixel_hides_no_others():
    values = np.full((20, 20), 0.5, dtype=np.float32)
    values[0, 0] = 1000
    assert drawing._scaled(values)[1, 1] == 1.0


def test_a_map_that_is_zero_everywhere_says_so(monkeypatch):
    texts = []
    monkeypatch.setattr(drawing.Canvas, "text", lambda s, x, y, t, **o: texts.append(t))
    result = explained(samples=1)
    saliency_image(replace(result, maps={**result.maps, "grad_cam": torch.zeros(1, 8, 8)}))
    assert "all zero" in texts


def test_nan_in_a_map_is_drawn_as_nothing():
    assert np.isfinite(drawing._scaled(np.array([[np.nan, 1.0]], dtype=np.float32))).all()


def test_the_overlay_is_of_the_class_activation_map_where_there_is_one():
    assert drawing.overlaid(explained()) == "grad_cam"
    assert drawing.overlaid(explained(methods=("saliency", "input_x_gradient"))) == "input_x_gradient"


def test_without_any_map_the_inputs_alone_are_drawn():
    assert saliency_image(explained(methods=())).pixels.shape[1] == 700


def test_the_table_names_the_samples():
    assert saliency_table(explained()).rows[1] == (None, "dog", "cat", 0.5)
