import pytest
import torch

from lightning_posttrain.attribution import baselines
from lightning_posttrain.explanations.functional.superpixels import grid_patches, slic
from lightning_posttrain.explanations.perturbation.cooperative_game import Game
from lightning_posttrain.explanations.perturbation.masking import hidden_of
from lightning_posttrain.explanations.perturbation.segments import Parts, parts_of

KINDS = {
    "image": [(2, 1, 8, 8), (2, 3, 40, 48), (2, 48, 40, 3), (2, 9, 31), (1, 13, 64, 64)],
    "spectrogram": [(2, 1, 64, 90), (2, 5, 200)],
    "series": [(2, 7), (2, 500), (2, 3, 100), (2, 100, 3)],
    "tabular": [(3, 1), (3, 30)],
    "tokens": [(2, 1), (2, 12)],
}
CASES = [(kind, shape) for kind, shapes in KINDS.items() for shape in shapes]


def inputs_of(kind, shape):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randint(1, 99, shape, generator=generator) if kind == "tokens" else torch.rand(shape, generator=generator)
    )


def rows_of(x, parts, behind, present):
    """The rows that a model is asked for, sample by sample."""
    seen = []

    def forward(rows):
        seen.append(rows)
        return rows.flatten(1).sum(1).float()

    Game(forward, x, parts.index, parts.count, behind).outputs(present)
    return seen


def hidden(x, kind, parts, how=None):
    return hidden_of(x, kind, parts, how=torch.zeros_like(x[:1]) if kind == "tabular" else how)


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_every_kind_and_layout_is_taken_apart_as_the_game_wants_it(kind, shape):
    x = inputs_of(kind, shape)
    parts = parts_of(x, kind)
    assert parts.index.dtype == torch.int64
    assert torch.broadcast_shapes(parts.index.shape, x.shape) == x.shape
    assert parts.index.unique().tolist() == list(range(parts.count))
    assert all(len(parts.names_of(k)) == parts.count == len(set(parts.names_of(k))) for k in range(len(x)))
    seen = []
    game = Game(
        lambda rows: seen.append(rows) or rows.flatten(1).sum(1), x, parts.index, parts.count, hidden(x, kind, parts)
    )
    game.outputs(torch.stack([torch.ones(parts.count), torch.zeros(parts.count)]).bool())
    for sample, rows in zip(x, seen, strict=True):
        assert torch.equal(rows[0], sample)
        assert not torch.equal(rows[1], sample)


@pytest.mark.parametrize(
    ("shape", "count"), [((1, 8, 8), 16), ((1, 28, 28), 36), ((3, 16, 16), 36), ((8, 31), 36), ((3, 31, 31), 36)]
)
def test_small_images_have_patches_of_about_the_same_size(shape, count):
    parts = parts_of(torch.rand(1, *shape), "image")
    sizes = parts.index.flatten().bincount()
    assert parts.count == count
    assert sizes.min() >= 4
    assert parts.names_of(0)[0] == "row 1, column 1"


def test_digits_of_eight_pixels_have_patches_of_two():
    assert torch.equal(parts_of(torch.rand(5, 1, 8, 8), "image").index, grid_patches(8, 8, 4, 4)[None, None])


def test_images_have_about_forty_superpixels_each_its_own():
    x = inputs_of("image", (3, 3, 64, 64))
    parts = parts_of(x, "image")
    assert torch.equal(parts.index[:, 0], slic(x, 40))
    assert 27 <= parts.count <= 60
    assert parts.names_of(2)[:2] == ("part 1", "part 2")


def test_a_number_and_a_name_say_how_images_are_taken_apart():
    x = inputs_of("image", (2, 3, 64, 64))
    assert torch.equal(parts_of(x, "image", how=12).index[:, 0], slic(x, 12))
    assert parts_of(x, "image", how="grid").count == 36
    assert parts_of(x[..., :16, :16], "image", how=4).names_of(0)[-1] == "row 2, column 2"
    assert parts_of(x[..., :16, :16], "image", how="slic").names_of(0)[0] == "part 1"


def test_images_of_bytes_have_the_superpixels_of_their_floats():
    x = torch.randint(0, 256, (1, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(parts_of(x, "image").index, parts_of(x.float(), "image").index)


def test_spectrograms_have_bands_and_segments_of_time():
    parts = parts_of(torch.rand(2, 1, 64, 90), "spectrogram")
    assert parts.count == 64
    assert parts.names_of(1)[9] == "band 2 of 8, time 2 of 8"
    assert parts.index[0, 0, 8, 12] == 9
    assert parts_of(torch.rand(2, 5, 90), "spectrogram").names_of(0)[-1] == "band 5 of 5, time 13 of 13"


def test_series_have_segments_called_after_their_values():
    assert parts_of(torch.rand(1, 1024), "series").names_of(0)[1] == "values 32 to 63"
    assert parts_of(torch.rand(1, 2, 7), "series").names_of(0) == (
        "values 0 to 1", "values 2 to 3", "values 4 to 5", "values 6 to 6",
    )  # fmt: skip


def test_columns_have_the_given_names_or_their_number():
    x = torch.rand(4, 2)
    assert parts_of(x, "tabular", names=["age", "dose"]).names == (("age", "dose"),)
    assert parts_of(x, "tabular").names == (("feature 0", "feature 1"),)


WORDS = (("not", "good", "not", ""), ("", "a", "b", "c"))


def test_tokens_are_called_after_their_words_and_padding_belongs_to_no_part():
    parts = parts_of(torch.ones(2, 4).long(), "tokens", words=WORDS)
    assert parts.index.tolist() == [[0, 1, 2, 4], [4, 1, 2, 3]]
    assert parts.count == 4
    assert parts.names == (("not (at 1)", "good", "not (at 3)", ""), ("", "a", "b", "c"))
    assert parts_of(torch.ones(2, 2).long(), "tokens").names == (("position 1", "position 2"),)


def test_padding_is_always_there():
    x = torch.tensor([[5, 6, 7, 9]])
    parts = parts_of(x, "tokens", words=WORDS[:1])
    seen = []
    game = Game(
        lambda rows: seen.append(rows) or rows.sum(1).float(),
        x,
        parts.index,
        parts.count,
        hidden_of(x, "tokens", parts),
    )
    game.outputs(torch.zeros(1, 4, dtype=torch.bool))
    game.outputs(torch.tensor([[True, False, False, False]]))
    assert [rows.tolist() for rows in seen] == [[[0, 0, 0, 9]], [[5, 0, 0, 9]]]


def test_words_of_several_tokens_are_one_part_with_all_of_them_in_its_name():
    labels = torch.tensor([[0, 0, 1, 2]])
    parts = parts_of(torch.ones(1, 4).long(), "tokens", how=lambda x: labels, words=[["play", "##ing", "on", ""]])
    assert parts.names == (("play ##ing", "on", ""),)
    assert parts.index.tolist() == [[0, 0, 1, 3]]


@pytest.mark.parametrize("labels", [torch.tensor([[7, 7], [2, 9]]), torch.tensor([[7, 7], [2, 9]]).int().numpy()])
def test_labels_of_a_function_are_taken_without_holes_and_name_the_parts(labels):
    parts = parts_of(torch.rand(3, 1, 2, 2), "image", how=lambda x: labels)
    assert parts.index.tolist() == [[[[1, 1], [0, 2]]]]
    assert parts.names == (("part 2", "part 7", "part 9"),)


def test_a_function_may_give_labels_for_each_sample():
    labels = torch.stack([torch.zeros(6).long(), torch.arange(6)])
    assert parts_of(torch.rand(2, 3, 6), "series", how=lambda x: labels).index.shape == (2, 1, 6)


@pytest.mark.parametrize(
    ("kind", "shape", "options", "words"),
    [
        ("image", (2, 5), {}, r"`inputs` is \(2, 5\), wanted a batch of image"),
        (
            "image",
            (2, 8, 8),
            {"how": "watershed"},
            "`how` is 'watershed' for image, wanted 'slic', 'grid', ",
        ),
        ("image", (2, 8, 8), {"how": 65}, "`how` is 65, wanted 1 to 64"),
        ("series", (2, 8), {"how": 0}, "`how` is 0, wanted 1 to 8"),
        ("series", (2, 8), {"how": "slic"}, "`how` is 'slic' for series, wanted a number or a function"),
        ("tabular", (2, 8), {"how": 3}, "`how` is 3 for tabular, wanted None"),
        ("tabular", (2, 8), {"names": ["a"]}, "`names` has 1 names, wanted 8"),
        ("tokens", (2, 3), {"words": [["a", "b"]] * 2}, r"`words` is \(2, 2\), wanted a word for each of 3 tokens"),
        ("series", (2, 8), {"how": lambda x: torch.zeros(7).long()}, r"`how` gives labels \(7,\)"),
        ("series", (2, 8), {"how": lambda x: torch.zeros(8)}, "`how` gives labels .* torch.float32"),
        (
            "series",
            (2, 8),
            {"how": lambda x: torch.arange(8) - 1},
            "`how` gives labels .* from -1; wanted",
        ),
    ],
)
def test_what_does_not_suit_the_inputs_is_refused(kind, shape, options, words):
    with pytest.raises(ValueError, match=words):
        parts_of(torch.ones(shape, dtype=torch.long if kind == "tokens" else None), kind, **options)


def test_without_scikit_image_its_names_say_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage.segmentation", None)
    with pytest.raises(ImportError, match="pip install scikit-image"):
        parts_of(torch.rand(1, 3, 8, 8), "image", how="quickshift")


HOWS = [None, 0.0, 7, "blur", "mean", "part mean", torch.zeros_like]
REFUSED = {("tabular", None), *((kind, how) for kind in ("tabular", "tokens") for how in HOWS if isinstance(how, str))}


@pytest.mark.parametrize(
    ("kind", "shape", "how"), [(*case, how) for case in CASES for how in HOWS if (case[0], how) not in REFUSED]
)
def test_what_stands_for_hidden_parts_is_laid_out_as_the_samples_are(kind, shape, how):
    x = inputs_of(kind, shape)
    found = hidden_of(x, kind, parts_of(x, kind), how=how)
    assert found.shape == (len(x), 1, *shape[1:])
    assert found.dtype == x.dtype


def test_background_rows_stand_for_hidden_columns_one_after_the_other():
    rows = torch.rand(5, 3)
    x = torch.rand(2, 3)
    assert torch.equal(hidden_of(x, "tabular", parts_of(x, "tabular"), how=rows.double()), rows[None])


def test_the_mean_of_a_series_is_that_of_each_channel_over_time():
    x = torch.rand(2, 3, 50)
    parts = parts_of(x, "series")
    torch.testing.assert_close(hidden_of(x, "series", parts)[:, 0], x.mean(2, keepdim=True).expand_as(x))
    channels_last, plain = x.transpose(1, 2), x[:, 0]
    torch.testing.assert_close(
        hidden_of(channels_last, "series", parts_of(channels_last, "series"))[:, 0],
        x.mean(2, keepdim=True).expand_as(x).transpose(1, 2),
    )
    torch.testing.assert_close(
        hidden_of(plain, "series", parts_of(plain, "series"))[:, 0], plain.mean(1, keepdim=True).expand_as(plain)
    )


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 8, 8, 3), (2, 8, 8)])
def test_the_mean_of_a_part_is_that_of_its_values_in_each_channel(shape):
    x = inputs_of("image", shape)
    labels = torch.randint(0, 4, (2, 8, 8), generator=torch.Generator().manual_seed(1))
    parts = parts_of(x, "image", how=lambda x: labels)
    found = hidden_of(x, "image", parts, how="part mean")[:, 0]
    maps, means = (each.movedim(1, 3) if shape[1] == 3 else each for each in (x, found))
    for k in range(2):
        for part in range(4):
            here = labels[k] == part
            torch.testing.assert_close(means[k][here], maps[k][here].mean(0).expand_as(means[k][here]))


def test_a_blur_keeps_the_brightness_and_loses_detail():
    x = inputs_of("image", (1, 3, 64, 64))
    found = hidden_of(x, "image", parts_of(x, "image"))[:, 0]
    torch.testing.assert_close(found, baselines.blurry(x, 1, 0.5))
    assert found.std() < 0.2 * x.std()


def test_a_picture_of_bytes_is_blurred_to_bytes():
    x = torch.full((1, 3, 8, 8), 200, dtype=torch.uint8)
    assert torch.equal(hidden_of(x, "image", parts_of(x, "image"))[0], x)


def test_a_single_line_of_pixels_can_be_blurred():
    assert baselines.blurry(torch.rand(1, 1, 1, 30), 1).isfinite().all()


NO_PARTS = Parts(torch.zeros(1, 4).long(), 1, (("all",),))


@pytest.mark.parametrize(
    ("kind", "how", "words"),
    [
        ("tabular", None, "`how` is None for tabular, wanted rows of background"),
        ("tabular", "mean", "`how` is 'mean' for tabular"),
        ("series", "median", "`how` is 'median', wanted 'blur', 'mean', 'part mean', a number"),
        ("tokens", "blur", "`how` is 'blur' for tokens, wanted the number of a token"),
        ("tokens", 1.5, "`how` is 1.5 for tokens"),
        ("tabular", torch.zeros(3, 5), r"`how` is a background \(3, 5\), wanted \(B, 4\)"),
        ("tabular", torch.zeros(0, 4), r"`how` is a background \(0, 4\)"),
        ("series", lambda x: x[:, :3], r"`how` gives \(2, 3\), wanted a tensor \(2, 4\)"),
        ("series", lambda x: None, r"`how` gives NoneType, wanted a tensor"),
    ],
)
def test_what_cannot_stand_for_hidden_parts_is_refused(kind, how, words):
    with pytest.raises(ValueError, match=words):
        hidden_of(torch.ones(2, 4), kind, NO_PARTS, how=how)
