import pytest
import torch

from lightning_posttrain.explanations.functional.superpixels import grid_patches, segments, sides_of, slic


def regions(height=60, width=80, seed=0):
    """Labels of a picture of five regions with straight, slanted and round borders."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    labels = (x + y // 2 > 50).long() + 2 * (y > 30).long()
    labels[(y - 20) ** 2 + (x - 22) ** 2 < 150] = 4
    return labels


def picture(labels, noise=0.02, seed=0):
    """A picture ``(1, 3, H, W)`` with a colour for each region."""
    generator = torch.Generator().manual_seed(seed)
    colors = torch.tensor([[0.1, 0.2, 0.3], [0.8, 0.2, 0.1], [0.2, 0.7, 0.3], [0.9, 0.8, 0.2], [0.5, 0.5, 0.9]])
    drawn = colors[labels].movedim(-1, 0)[None]
    return drawn + noise * torch.randn(drawn.shape, generator=generator)


def pieces(labels):
    """How many connected pieces each label of ``(H, W)`` has, found one pixel after the other."""
    height, width = labels.shape
    left, count = {(y, x) for y in range(height) for x in range(width)}, {}
    values = labels.tolist()
    while left:
        y, x = stack = left.pop()
        stack, value = [(y, x)], values[y][x]
        count[value] = count.get(value, 0) + 1
        while stack:
            y, x = stack.pop()
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if near in left and values[near[0]][near[1]] == value:
                    left.remove(near)
                    stack.append(near)
    return count


def leak(labels, truth):
    """Share of the pixels that are not of the region that most pixels of their superpixel are of."""
    table = torch.zeros(int(labels.max()) + 1, int(truth.max()) + 1)
    table.index_put_((labels.flatten(), truth.flatten()), torch.ones(truth.numel()), accumulate=True)
    return 1 - float(table.amax(1).sum()) / truth.numel()


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("length", "count"), [(1, 1), (5, 2), (7, 7), (100, 32), (31, 4)])
def test_segments_are_in_order_none_is_empty_and_their_sizes_differ_by_one_at_most(length, count):
    found = segments(length, count)
    sizes = found.bincount()
    assert found.dtype == torch.int64
    assert len(sizes) == count
    assert (found.diff() >= 0).all()
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(("shape", "grid"), [((8, 8), (4, 4)), ((7, 10), (3, 4)), ((1, 5), (1, 5))])
def test_patches_are_counted_in_reading_order(shape, grid):
    found = grid_patches(*shape, *grid)
    expected = [[y * grid[0] // shape[0] * grid[1] + x * grid[1] // shape[1] for x in range(shape[1])]
                for y in range(shape[0])]  # fmt: skip
    assert found.tolist() == expected
    assert found.unique().tolist() == list(range(grid[0] * grid[1]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: segments(3, 4), "`count` is 4, wanted 1 to 3"),
        (lambda: segments(3, 0), "`count` is 0"),
        (lambda: grid_patches(3, 9, 4, 2), "`rows` is 4"),
        (lambda: grid_patches(3, 9, 2, 10), "`columns` is 10"),
        (lambda: slic(torch.rand(1, 1, 4, 4), 17), "`count` is 17, wanted 1 to 16"),
        (lambda: slic(torch.rand(1, 4, 4), 3), r"`images` is torch.float32 \(1, 4, 4\), wanted floats \(N, C, H, W\)"),
        (lambda: slic(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), 3), "`images` is torch.uint8"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_argument_and_its_range(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(("shape", "count"), [((8, 8), 16), ((28, 28), 36), ((8, 31), 36), ((3, 200), 36), ((2, 2), 9)])
def test_patches_are_about_as_many_as_wanted_and_fit_the_picture(shape, count):
    rows, columns = sides_of(*shape, count)
    assert 1 <= rows <= shape[0]
    assert 1 <= columns <= shape[1]
    assert min(count, shape[0] * shape[1]) / 1.5 <= rows * columns <= count * 1.5


def test_regions_of_one_colour_are_found_with_their_borders():
    truth = regions()
    assert leak(slic(picture(truth), 40)[0], truth) < 0.005
    assert leak(grid_patches(60, 80, *sides_of(60, 80, 40)), truth) > 0.05


@pytest.mark.parametrize("images", [noise(3, 3, 40, 56), picture(regions()), torch.zeros(2, 1, 40, 40)])
def test_superpixels_are_connected_and_numbered_from_zero_without_holes(images):
    for labels in slic(images, 20):
        assert labels.dtype == torch.int64
        found = pieces(labels)
        assert sorted(found) == list(range(int(labels.max()) + 1))
        assert set(found.values()) == {1}


@pytest.mark.parametrize("count", [1, 4, 20, 40, 100])
@pytest.mark.parametrize("images", [noise(1, 3, 64, 64), picture(regions()), torch.zeros(1, 1, 33, 90)])
def test_there_are_about_as_many_superpixels_as_wanted(images, count):
    assert count / 1.5 <= int(slic(images, count).max()) + 1 <= count * 1.5


def test_a_flat_picture_falls_into_the_patches_of_a_grid():
    assert torch.equal(slic(torch.full((1, 3, 32, 48), 7.0), 24)[0], grid_patches(32, 48, 4, 6))


def test_superpixels_of_a_picture_do_not_depend_on_the_others():
    images = torch.cat([picture(regions(64, 64), seed=1), noise(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)])
    together = slic(images, 30)
    assert torch.equal(together, torch.cat([slic(image[None], 30) for image in images]))
    assert torch.equal(together.flip(0), slic(images.flip(0), 30))


def test_many_large_pictures_are_worked_on_in_turn_with_the_same_result(monkeypatch):
    images = noise(3, 1, 48, 48)
    together = slic(images, 16)
    monkeypatch.setattr("lightning_posttrain.explanations.functional.superpixels.AT_ONCE", 48 * 48)
    assert torch.equal(slic(images, 16), together)


@pytest.mark.parametrize(("scale", "offset"), [(4.0, 0.0), (255.0, 0.0), (0.5, -0.25), (3.7, -2.1), (1e-3, 5e-3)])
def test_a_normalisation_of_the_values_changes_next_to_nothing(scale, offset):
    image = picture(regions())
    same = slic(image * scale + offset, 40) == slic(image, 40)
    assert same.double().mean() > 0.999


def test_one_extreme_pixel_hides_no_borders():
    truth = regions()
    image = picture(truth)
    image[0, :, 5, 70] = 1e6
    assert leak(slic(image, 40)[0], truth) < 0.01


def test_a_small_thing_on_a_plain_ground_is_told_from_it():
    image = torch.zeros(1, 1, 100, 100)
    image[..., 43:52, 46:55] = 1.0
    assert (
        leak(slic(image, 100)[0], image[0, 0].long()) < 0.001 < leak(grid_patches(100, 100, 10, 10), image[0, 0].long())
    )


def test_values_that_are_not_finite_do_no_harm():
    image = picture(regions())
    image[0, 0, :3, :3] = torch.nan
    image[0, 1, 8, 8] = torch.inf
    assert leak(slic(image, 40)[0], regions()) < 0.01


def test_the_more_compact_the_more_like_a_grid():
    image = noise(1, 1, 60, 60)
    patches = grid_patches(60, 60, 6, 6)
    loose, tight = (leak(slic(image, 36, compactness=weight)[0], patches) for weight in (1.0, 1000.0))
    assert tight < 0.1 < loose


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 1, 50), (1, 13, 9, 9), (0, 3, 32, 32)])
def test_small_odd_and_no_pictures_have_labels_of_their_shape(shape):
    assert slic(noise(*shape), 1).shape == (shape[0], *shape[2:])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_any_precision_is_taken(kind):
    assert leak(slic(picture(regions()).to(kind), 40)[0], regions()) < 0.01


def test_a_coarse_default_precision_as_of_bf16_training_changes_nothing():
    image = picture(regions())
    before = slic(image, 40)
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert torch.equal(slic(image, 40), before)
    finally:
        torch.set_default_dtype(torch.float32)
