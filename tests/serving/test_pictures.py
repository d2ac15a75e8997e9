"""Pictures become rows as they are: never resized, never flattened in silence."""

import io

import numpy as np
import pytest
from PIL import Image

from lightning_posttrain.export import Decision, TensorSpec
from lightning_posttrain.serving.body import question
from lightning_posttrain.serving.image import Pictures, pictures
from lightning_posttrain.serving.refusal import RefusedError
from tests.serving.client import Client
from tests.serving.models import CLASSES, Digits, manifest_of

TWO = Decision("multiclass", ("a", "b"))


def manifest(shape, dtype="float32", **more):
    return manifest_of((TensorSpec("x", dtype, (None, *shape)),), TWO, **more)


def colours(height=5, width=6, channels=3, seed=0, top=256):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, top, shape).astype("uint8" if top == 256 else "uint16")


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def row_of(body, of):
    (row,) = question(body, of, most_rows=1).rows
    return row["x"]


def reason_for(body, of):
    with pytest.raises(RefusedError) as caught:
        row_of(body, of)
    assert caught.value.status in (413, 422)
    return caught.value.reason


def test_every_value_is_divided_as_torchvision_divides_it():
    values = np.arange(256, dtype="uint8").reshape(16, 16)
    np.testing.assert_array_equal(row_of(encoded(values), manifest((1, 16, 16)))[0], values.astype("float32") / 255)


def test_whole_numbers_are_taken_as_they_are():
    values = np.arange(256, dtype="uint8").reshape(16, 16)
    np.testing.assert_array_equal(row_of(encoded(values), manifest((1, 16, 16), "uint8"))[0], values)


@pytest.mark.parametrize("shape", [(3, 5, 6), (5, 6, 3), (3, None, None), (None, None, 3)])
def test_channels_stand_where_the_model_has_them(shape):
    image, first = colours(), shape[0] == 3
    row = row_of(encoded(image), manifest(shape, "uint8"))
    np.testing.assert_array_equal(np.moveaxis(row, 0, -1) if first else row, image)


def test_a_grey_picture_fits_a_model_without_a_dimension_of_channels():
    image = colours(channels=1)
    np.testing.assert_array_equal(row_of(encoded(image), manifest((5, 6), "uint8")), image)


def test_colour_becomes_grey_as_pillow_makes_it_and_grey_becomes_colour():
    image = colours()
    grey = np.asarray(Image.fromarray(image).convert("L"))
    np.testing.assert_array_equal(row_of(encoded(image), manifest((1, 5, 6), "uint8"))[0], grey)
    spread = row_of(encoded(grey), manifest((3, 5, 6), "uint8"))
    np.testing.assert_array_equal(spread, np.stack([grey] * 3))


def test_a_palette_is_looked_up():
    image = Image.fromarray(colours()).quantize(8)
    wanted = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(row_of(encoded(image), manifest((5, 6, 3), "uint8")), wanted)


def test_sixteen_bits_keep_their_steps():
    image = colours(channels=1, top=65536)
    row = row_of(encoded(image), manifest((1, 5, 6)))
    np.testing.assert_allclose(row[0], image / 65535, rtol=1e-6)
    assert np.abs(row_of(encoded(image), manifest((3, 5, 6), "uint8")) - image / 257.0).max() <= 0.5


def test_a_jpeg_is_decoded():
    image = np.full((8, 8, 3), 100, "uint8")
    assert np.abs(row_of(encoded(image, "JPEG"), manifest((3, 8, 8), "uint8")).astype(int) - 100).max() <= 2


def test_a_photograph_is_turned_upright():
    image = colours()
    for orientation, turned in ((6, np.rot90(image, -1)), (3, image[::-1, ::-1]), (8, np.rot90(image))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        row = row_of(encoded(image, exif=exif), manifest((*turned.shape[:2], 3), "uint8"))
        np.testing.assert_array_equal(row, turned)
    assert "5 × 6 pixels, wanted 6 × 5" in reason_for(encoded(image, exif=exif), manifest((5, 6, 3)))


def test_transparency_is_refused_and_an_opaque_alpha_is_dropped():
    image = colours(channels=4)
    assert "transparent pixels" in reason_for(encoded(image), manifest((3, 5, 6)))
    np.testing.assert_array_equal(row_of(encoded(image), manifest((5, 6, 4), "uint8")), image)
    image[..., 3] = 255
    np.testing.assert_array_equal(row_of(encoded(image), manifest((5, 6, 3), "uint8")), image[..., :3])


def frames(kind):
    images = [Image.fromarray(colours(seed=seed)) for seed in range(3)]
    return encoded(images[0], kind, save_all=True, append_images=images[1:])


@pytest.mark.parametrize(
    ("body", "of", "reason"),
    [
        (encoded(colours(7, 6)), manifest((3, 5, 6)), "6 × 7 pixels, wanted 6 × 5. Resize it"),
        (encoded(colours()), manifest((5,)), "float32 (N, 5), which is no picture"),
        (encoded(colours()), manifest((3, 5, 6), "int64"), "no picture"),
        (encoded(colours())[:60], manifest((3, 5, 6)), "cannot be decoded"),
        (encoded(colours(64, 64), "JPEG")[:700], manifest((3, 64, 64)), "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), manifest((3, 5, 6)), "cannot be decoded"),
        (frames("PNG"), manifest((3, 5, 6)), "animated"),
        (encoded(Image.fromarray(colours()).convert("CMYK"), "JPEG"), manifest((3, 5, 6)), "CMYK"),
    ],
)
def test_a_picture_that_does_not_fit_is_refused_with_its_reason(body, of, reason):
    assert reason in reason_for(body, of)


def test_a_huge_picture_is_refused_before_it_is_decoded(monkeypatch):
    body = encoded(Image.new("1", (5000, 5000)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert "wanted at most" in reason_for(body, manifest((3, None, None)))


def test_a_model_of_other_values_takes_no_pictures():
    statistics = {"x": {"low": [-2.1, -2.0, -1.8], "high": [2.2, 2.4, 2.6]}}
    assert "tested with values from -2.1 to 2.6" in reason_for(
        encoded(colours()), manifest((3, 5, 6), input_statistics=statistics)
    )
    inside = {"x": {"low": 0.0, "high": 1.0}}
    assert isinstance(pictures(manifest((3, 5, 6), input_statistics=inside)), Pictures)


def test_a_picture_is_answered_as_its_row_and_info_says_how_it_is_read():
    client, image = Client(Digits()), colours(8, 8, 1)
    by_row = client.ask({"row": (image.astype("float32") / 255)[None].tolist()})
    by_picture = client.ask(encoded(image))
    assert by_picture.status == 200
    assert by_picture.json == by_row.json
    assert by_picture.json["label"] in CLASSES
    assert client.get("/info").json["server"]["pictures"].startswith("PNG or JPEG of 8 × 8 pixels")
