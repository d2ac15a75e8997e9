"""Galleries of segmentations: input, truth, prediction, and where it is wrong."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_posttrain import HardExamples
from lightning_posttrain.core.drawing.canvas import Canvas
from lightning_posttrain.core.drawing.plot import COLORS
from lightning_posttrain.hard_examples.render.galleries import group_image, pictures
from lightning_posttrain.hard_examples.render.masks import TITLES, Masked
from lightning_posttrain.samples.render.sheet import WRONG
from tests import toys

NAMES = ["road", "sky", "tree"]


class Segments(toys.Net):
    """Says of each position the class that its one channel holds, but takes trees for road in the left half."""

    def step(self, batch, stage):
        x, y = batch
        said = x[:, 0].round().long()
        said[:, :, : said.shape[2] // 2][said[:, :, : said.shape[2] // 2] == 2] = 0
        logits = 4.0 * F.one_hot(said, 3).movedim(3, 1)
        loss = F.cross_entropy(logits, y, ignore_index=-100)
        self.log(f"{stage}/loss", loss)
        return {"loss": loss, "logits": logits}


def report_of(count=6, side=(12, 16), ignored=False, batch=4):
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(3, (count, *side), generator=generator)
    inputs = target[:, None].float()
    if ignored:
        target[:, 0] = -100
    callback = HardExamples(on_error="raise", class_names=NAMES, k=4, num_classes=3, kind="image")
    loader = DataLoader(TensorDataset(inputs, target), batch_size=batch)
    toys.quiet(callback).validate(Segments(), loader, verbose=False)
    return callback.results["val"], target


@pytest.mark.parametrize("batch", [1, 4, 6])
def test_truth_prediction_and_place_of_each_sample_are_kept(batch):
    report, target = report_of(batch=batch)
    (group, *_) = report.groups
    assert report.classes == tuple(NAMES)
    for example, truth, said in zip(group.examples, group.truth, group.said, strict=True):
        expected = target[example.index].clone()
        assert torch.equal(truth.long(), expected)
        left = expected[:, :8]
        left[left == 2] = 0
        assert torch.equal(said.long(), expected)
        assert example.predicted == f"{(truth != said).float().mean():.1%} of positions wrong"


def test_positions_that_do_not_count_are_marked():
    group = report_of(ignored=True)[0].groups[0]
    assert (group.truth[:, 0] == -1).all()
    assert (group.truth[:, 1:] >= 0).all()


@pytest.mark.parametrize("side", [(300, 200), (256, 256), (129, 500)])
def test_masks_of_large_images_are_as_small_as_their_thumbnails(side):
    group = report_of(count=2, side=side)[0].groups[0]
    assert group.truth.shape[1:] == group.shown.shape[1:3]
    assert max(group.truth.shape[1:]) <= 128


def test_a_line_has_four_pictures_and_its_words(written, monkeypatch):
    report, _ = report_of()
    pasted = []
    paste = Canvas.paste
    monkeypatch.setattr(Canvas, "paste", lambda self, x, y, pixels: pasted.append(pixels) or paste(self, x, y, pixels))
    group_image(report, report.groups[0], "val")
    texts = [text for text, _ in written if text]
    assert texts[:4] == ["val · highest loss", *NAMES]
    first = report.groups[0].examples[0]
    assert texts[4].startswith(f"#{first.index} · {first.predicted} · loss ")
    assert texts[5] == "100% of these: tree taken for road"
    assert texts[6:10] == list(TITLES)
    assert len(pasted) == 4 * len(report.groups[0].examples)


def test_where_it_is_wrong_is_red_and_nothing_else():
    truth, said = np.array([[0, 1], [-1, 2]]), np.array([[0, 2], [1, 2]])
    sample = Masked(np.full((2, 2, 3), 100, np.uint8), truth, said)
    *_, wrong = sample.cells(dict(enumerate(COLORS)))
    red = (wrong == np.array(WRONG, np.uint8)).all(2)
    assert red.tolist() == [[False, True], [False, False]]
    assert sample.confused() == (1, 2, 1.0)


def test_a_group_without_samples_draws_nothing():
    report, _ = report_of()
    (hits,) = (group for group in report.groups if group.name == "unsure_hits")
    assert hits.examples == ()
    assert group_image(report, hits) is None


def test_parts_of_each_sample_are_files_of_their_own():
    report, _ = report_of()
    names = {name for name, _ in pictures(report)}
    assert {"highest_loss/01", "highest_loss/01_truth", "highest_loss/01_prediction", "highest_loss/01_wrong"} <= names


def test_batches_of_several_sizes_keep_no_masks():
    sizes = [(8, 8), (8, 12)]
    batches = [(torch.zeros(2, 1, *size), torch.zeros(2, *size, dtype=torch.int64)) for size in sizes]
    callback = HardExamples(on_error="raise", class_names=NAMES, num_classes=3, kind="image")
    toys.quiet(callback).validate(Segments(), DataLoader(batches, batch_size=None), verbose=False)
    (group, *_) = callback.results["val"].groups
    assert group.truth is None
