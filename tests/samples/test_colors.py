"""Normalisations found in a dataset's transforms, told by values, and said below pictures."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from lightning_posttrain import HardExamples, SaliencyMaps
from lightning_posttrain.samples.colors import (
    BRIGHTENED,
    GUESSED,
    HALVED,
    IMAGENET,
    STRETCHED,
    UNDONE,
    colors_of,
)
from lightning_posttrain.samples.inputs import Inputs
from lightning_posttrain.samples.normalization import normalization_of
from tests import toys

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


class Normalize:
    """As torchvision's of the first API."""

    def __init__(self, mean=MEAN, std=STD):
        self.mean, self.std = mean, std

    def __call__(self, image):
        return (image - torch.tensor(self.mean).view(-1, 1, 1)) / torch.tensor(self.std).view(-1, 1, 1)


class ModuleNormalize(nn.Module):
    """As torchvision's of the second API, and kornia's function as a module."""

    def __init__(self):
        super().__init__()
        self.mean, self.std = torch.tensor(MEAN), list(STD)


class FlaggedNormalize(nn.Module):
    """As kornia's augmentation."""

    def __init__(self):
        super().__init__()
        self.flags = {"mean": torch.tensor([MEAN]), "std": torch.tensor([STD])}


class PixelNormalize:
    """As albumentations'."""

    def __init__(self, max_pixel_value=255.0, normalization="standard"):
        self.mean, self.std = MEAN, STD
        self.max_pixel_value, self.normalization = max_pixel_value, normalization

    def __call__(self, **parts):
        return parts


class GaussianNoise(Normalize):
    pass


class Compose:
    def __init__(self, *transforms):
        self.transforms = list(transforms)

    def __call__(self, image):
        for transform in self.transforms:
            image = transform(image)
        return image


class Processor:
    """As Hugging Face's."""

    image_mean, image_std = list(MEAN), list(STD)

    def __call__(self, images): ...


class Photos(Dataset):
    def __init__(self, transform=None, count=12, low=0.0):
        self.images = low + (1 - low) * torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        self.images[:, :, 0, 0], self.images[:, :, 0, 1] = low, 1.0
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i] if self.transform is None else self.transform(self.images[i]), i % 4


a_normalize = Normalize()


def of_closure():
    inner = Compose(Normalize())
    return lambda image: inner(image) + 0


@pytest.mark.parametrize(
    "transform",
    [
        Normalize(),
        Compose(str, Compose(Normalize())),
        nn.Sequential(nn.Identity(), ModuleNormalize()),
        nn.Sequential(FlaggedNormalize()),
        PixelNormalize(),
        Compose(PixelNormalize(max_pixel_value=1.0)),
        partial(print, Compose(Normalize())),
        of_closure(),
        lambda image: a_normalize(image) + 0,
        Compose(Normalize()).__call__,
        Normalize(np.float32(255) * np.array(MEAN), 255 * np.array(STD)),
    ],
)
def test_a_normalisation_is_found_by_what_it_has(transform):
    found = normalization_of(Photos(transform))
    assert found is not None
    assert found.mean == pytest.approx(MEAN)
    assert found.std == pytest.approx(STD)


def test_an_image_processor_is_read():
    dataset = Photos()
    dataset.processor = Processor()
    assert normalization_of(dataset) == (MEAN, STD)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda data: Subset(data, [0, 1]),
        lambda data: Subset(Subset(data, [0, 1]), [0]),
        lambda data: ConcatDataset([data, Photos(Normalize())]),
        lambda data: DataLoader(Subset(data, [0, 1])),
        lambda data: SimpleNamespace(dataset=data),
    ],
)
def test_wrappers_of_datasets_are_looked_through(wrap):
    assert normalization_of(wrap(Photos(Compose(Normalize())))) == (MEAN, STD)


@pytest.mark.parametrize(
    "transform",
    [
        None,
        GaussianNoise(),
        PixelNormalize(normalization="image"),
        Normalize(std=(0.0, 0.1, 0.1)),
        Normalize(mean="rgb"),
        Compose(Normalize(), Normalize(mean=(0.1, 0.1, 0.1))),
        SimpleNamespace(mean=MEAN, std=STD),
    ],
)
def test_what_normalises_nothing_or_in_two_ways_is_not_taken(transform):
    assert normalization_of(Photos(transform)) is None


def test_a_dataset_that_raises_or_holds_itself_costs_nothing():
    class Odd(Photos):
        @property
        def datasets(self):
            raise RuntimeError("no")

    odd = Odd(Compose(Normalize()))
    odd.transform.transforms.append(odd.transform)
    odd.dataset = odd
    with pytest.warns(UserWarning, match="datasets"):
        assert normalization_of(odd) == (MEAN, STD)


def batch_of(dataset):
    return torch.stack([dataset[i][0] for i in range(len(dataset))])


def test_the_datasets_normalisation_comes_before_what_values_say():
    dataset = Photos(Normalize())
    assert colors_of(batch_of(dataset), 1, [dataset]) == (MEAN, STD, UNDONE)


def test_a_normalisation_that_does_not_bring_values_back_is_not_believed():
    images = 5 * batch_of(Photos(Normalize()))
    assert colors_of(images, 1, [Photos(Normalize())]).said == STRETCHED


def test_values_tell_imagenets_constants():
    images = batch_of(Photos(Normalize(*IMAGENET)))
    assert colors_of(images, 1) == (*IMAGENET, GUESSED)
    assert colors_of(images.movedim(1, 3), 3) == (*IMAGENET, GUESSED)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.rand(4, 3, 8, 8), ""),
        (torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8), ""),
        (2 * torch.rand(4, 3, 8, 8) - 1, HALVED),
        (torch.randn(4, 3, 8, 8) * 5, STRETCHED),
        (torch.randn(4, 1, 8, 8), BRIGHTENED),
        (torch.full((4, 3, 8, 8), torch.nan), ""),
        (torch.zeros(0, 3, 8, 8), ""),
    ],
)
def test_other_values_are_told_by_their_range(images, said):
    assert colors_of(images, 1).said == said


def test_a_grey_wall_stays_grey():
    wall = torch.full((1, 3, 8, 8), 0.6) + 0.01 * torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    wall[0, :, 0, 0] = 0.0
    display = Inputs()
    given = Normalize(*IMAGENET)(wall)
    display.learn(given)
    torch.testing.assert_close(display.shown(given, "image"), wall.movedim(1, 3), atol=1e-5, rtol=0)
    assert display.colors == GUESSED


def test_one_scale_keeps_a_flat_image_flat():
    images = torch.cat([torch.full((1, 3, 8, 8), 3.0) + 0.01 * torch.rand(1, 3, 8, 8), 10 * torch.rand(1, 3, 8, 8)])
    display = Inputs()
    display.learn(images)
    shown = display.shown(images, "image")
    assert shown[0].max() - shown[0].min() < 0.01
    assert shown[1].max() == 1


def test_what_the_user_says_wins():
    dataset = Photos(Normalize())
    display = Inputs(mean=(0.0,), std=(0.5,))
    display.learn(batch_of(dataset), (), [dataset])
    assert (display.colors, display.mean, display.std) == ("", (0.0,), (0.5,))


class Sees(toys.Net):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 4))


def run_of(*callbacks, dataset):
    toys.quiet(list(callbacks)).validate(Sees(), DataLoader(dataset, batch_size=5), verbose=False)
    return [callback.results["val"] for callback in callbacks]


def test_every_picture_of_a_run_has_the_colours_of_the_dataset():
    dataset = Photos(Compose(Normalize()))
    hard, maps = run_of(
        HardExamples(k=3), SaliencyMaps(samples=2, methods=["saliency"]), dataset=Subset(dataset, range(12))
    )
    assert hard.colors == maps.colors == UNDONE
    (group, *_) = hard.groups
    for shown, example in zip(group.shown, group.examples, strict=True):
        torch.testing.assert_close(shown, dataset.images[example.index].movedim(0, 2), atol=1e-5, rtol=0)
    for shown, sample in zip(maps.shown, maps.samples, strict=True):
        torch.testing.assert_close(shown, dataset.images[sample.index].movedim(0, 2), atol=1e-5, rtol=0)


def test_how_colours_came_about_is_said_below_pictures(written):
    from lightning_posttrain.hard_examples.render.galleries import group_image
    from lightning_posttrain.samples.render.overview import maps_image

    hard, maps = run_of(
        HardExamples(k=3), SaliencyMaps(samples=2, methods=["saliency"]), dataset=Photos(Normalize(*IMAGENET))
    )
    for draw in (lambda: group_image(hard, hard.groups[0]), lambda: maps_image(maps)):
        written.clear()
        draw()
        assert UNDONE in " ".join(text for text, _ in written)


def test_what_is_said_to_one_callback_holds_for_all():
    dataset = Photos(Normalize())
    hard, maps = run_of(
        HardExamples(k=3, mean=MEAN, std=STD), SaliencyMaps(samples=2, methods=["saliency"]), dataset=dataset
    )
    assert hard.colors == maps.colors == ""
    for shown, sample in zip(maps.shown, maps.samples, strict=True):
        torch.testing.assert_close(shown, dataset.images[sample.index].movedim(0, 2), atol=1e-5, rtol=0)


def test_names_and_words_are_taken_over_where_they_fit():
    told = Inputs(names=["a", "b"], words=["", "one", "two"], mean=[1.0, 2.0])
    rows, tokens, own = Inputs(), Inputs(), Inputs(names=["x", "y"])
    rows.learn(torch.rand(4, 2), [told])
    tokens.learn(torch.tensor([[0, 1, 2]]), [told])
    own.learn(torch.rand(4, 2), [told])
    assert (rows.names, rows.words, rows.mean) == (("a", "b"), None, [1.0, 2.0])
    assert tokens.words_of(torch.tensor([[1, 2]])) == (("one", "two"),)
    assert tokens.names is None
    assert own.names == ("x", "y")
    for inputs in (torch.rand(4, 3), torch.tensor([[0, 5]])):
        rows.learn(inputs, [told])
        assert (rows.names, rows.words, rows.mean) == (None, None, None)
