"""Results to draw."""

import torch

from lightning_posttrain.saliency.result import Saliency
from lightning_posttrain.samples.result import Sample

TITLES = {
    "saliency": "Saliency",
    "input_x_gradient": "Input × gradient",
    "integrated_gradients": "Integrated gradients",
    "hirescam": "HiResCAM",
    "occlusion": "Occlusion",
    "smoothgrad": "SmoothGrad",
    "anchors": "Anchors",
}
UNSIGNED = {"saliency", "hirescam", "anchors"}
FOUR = tuple(TITLES)[:4]


def samples(count):
    known = [
        Sample(4, "cat", 3.2, actual="cat", predicted="cat", probability=0.99999),
        Sample(None, "cat rather than dog", 0.5, actual="dog", predicted="cat", probability=0.5),
        Sample(7, "cat", 9.0, actual="cat", predicted="cat", probability=1.0),
    ]
    return tuple(known[i % 3] for i in range(count))


def explained(kind, shown, map_shape, methods=FOUR, **more):
    """A result of ``kind`` with maps of ``map_shape`` that are drawn from a seed."""
    generator = torch.Generator().manual_seed(0)
    maps = {name: torch.randn(map_shape, generator=generator) for name in methods}
    maps.update({name: maps[name].abs() for name in UNSIGNED & set(maps)})
    layer = "body.3" if "hirescam" in methods else None
    more = {"samples": samples(len(shown)), "layer": layer, **more}
    return Saliency(kind, shown, maps, TITLES, frozenset(set(methods) - UNSIGNED), **more)


def images(height=8, width=8, count=3, methods=FOUR, **more):
    shown = torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(1))
    return explained("image", shown, (count, height, width), methods, **more)


def series(length=50, channels=1, count=2, methods=("saliency", "integrated_gradients"), **more):
    shown = torch.randn(count, channels, length, generator=torch.Generator().manual_seed(1))
    return explained("series", shown, (count, length), methods, **more)


def rows(features=12, count=2, methods=("saliency", "integrated_gradients"), **more):
    shown = torch.randn(count, features, generator=torch.Generator().manual_seed(1))
    return explained("tabular", shown, (count, features), methods, **more)


def texts(words, methods=("saliency", "integrated_gradients"), **more):
    shown = torch.arange(len(words) * len(words[0])).view(len(words), -1)
    return explained("tokens", shown, tuple(shown.shape), methods, words=words, **more)
