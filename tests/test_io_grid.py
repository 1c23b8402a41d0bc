"""What TIFF means: compression x photometric x dtype x orientation x layout.

References are computed from the declared meaning on arrays that are written by hand, by Pillow
(libtiff) or by OpenCV, never by the library that reads them.
"""

import itertools

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from image_kinds import (
    BLACK,
    KINDS,
    RGB,
    WHITE,
    noise,
    put,
    same,
    upright,
)
from tiff_by_hand import COMPRESSIONS, Page, write

from synthmed.io import Image, encode, read_image, read_mask


@pytest.mark.parametrize("name", KINDS)
def test_tiff_grid(tmp_path, name):
    page, expected = KINDS[name]
    orientations = itertools.cycle(range(1, 9))
    layouts = ("strip", "tile", "planar") if page.samples.shape[-1] > 1 else ("strip", "tile")
    for page.compression, page.layout, order in itertools.product(COMPRESSIONS, layouts, "<>"):
        page.orientation = next(orientations)
        image = read_image(put(tmp_path / "a.tif", write([page], order)))
        same(image, upright(expected, page.orientation))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "I;16", "I", "F"])
def test_what_libtiff_writes(tmp_path, mode, compression):
    colour = noise(8, 1, 3)
    picture = PIL.Image.fromarray(colour)
    if mode == "I;16":
        expected = noise(16)[..., 0]
        picture = PIL.Image.fromarray(expected)
    elif mode == "P":
        picture = picture.quantize(7)
        expected = np.array(picture.convert("RGB"))
    elif mode == "CMYK":
        inks = noise(8, 1, 4)
        picture = PIL.Image.fromarray(inks, "CMYK")
        expected = np.array(picture.convert("RGB"))
    else:
        picture = picture.convert(mode) if mode in ("1", "RGB") else picture.convert("L")
        picture = picture.convert(mode)
        expected = np.array(picture)
        expected = expected.astype(np.uint8) * 255 if mode == "1" else expected
    picture.save(tmp_path / "a.tif", compression=compression)
    same(read_image(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("compression", [1, 5])
@pytest.mark.parametrize("dtype", ["uint16", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("count", [1, 3])
def test_what_opencv_writes(tmp_path, dtype, count, compression):
    bits, form = np.dtype(dtype).itemsize * 8, {"u": 1, "i": 2, "f": 3}[np.dtype(dtype).kind]
    array = noise(bits, form, count)
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), array[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    same(read_image(path), array if count == 3 else array[..., 0])


def test_fax_compressions_and_both_bit_orders(tmp_path):
    bits = noise(1, shape=(20, 40))[..., 0] > 0
    for compression, white in itertools.product(("group3", "group4"), (0, 1)):
        picture = PIL.Image.fromarray(bits)
        picture.save(tmp_path / "a.tif", compression=compression, tiffinfo={262: 1 - white})
        same(read_image(tmp_path / "a.tif"), bits.astype(np.uint8) * np.uint8(255))
    page = Page(bits[..., None].astype(np.uint8), BLACK, 1, tags={266: (3, (2,))})
    data = bytearray(write([page]))
    flipped = [int(f"{byte:08b}"[::-1], 2) for byte in range(256)]
    offset = data.index(np.packbits(bits, axis=1)[:7].tobytes())
    for i in range(offset, offset + 102):  # two strips of 35 bytes and a pad byte, one of 30
        data[i] = flipped[data[i]]
    same(read_image(put(tmp_path / "b.tif", data)), bits.astype(np.uint8) * np.uint8(255))


def test_jpeg_in_tiff_is_brought_to_rgb(tmp_path):
    picture = np.full((32, 48, 3), (200, 60, 120), np.uint8)
    for compression in ("jpeg", None):
        PIL.Image.fromarray(picture).convert("YCbCr").save(
            tmp_path / "a.tif", compression=compression
        )
        image = read_image(tmp_path / "a.tif")
        assert np.abs(image.array.astype(int) - picture).max() <= 2 and image.channel_axis == -1


def test_masks_of_one_bit_are_the_same_in_every_compression(tmp_path):
    mask = noise(1)[..., 0] > 0
    for compression, photometric in itertools.product(COMPRESSIONS, (WHITE, BLACK)):
        stored = mask if photometric == BLACK else ~mask
        page = Page(stored[..., None].astype(np.uint8), photometric, 1, compression=compression)
        np.testing.assert_array_equal(read_mask(put(tmp_path / "a.tif", write([page]))), mask)


real = st.sampled_from(["u1", "u2", "u4", "i1", "i2", "i4", "i8", "f4", "f8"]).map(np.dtype)
sides = hnp.array_shapes(min_dims=2, max_dims=3, max_side=6)


@given(hnp.arrays(real, sides), st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_encoded_is_read_back(tmp_path_factory, array, colour):
    array = np.stack([array] * 3, -1) if colour else array
    image = Image(array, channel_axis=-1 if colour else None)
    path = tmp_path_factory.getbasetemp() / "round.tif"
    back = read_image(put(path, encode(image, ".tif")))
    single = image.spatial_shape[0] == 1 and len(image.spatial_shape) == 3
    assert back.channel_axis == image.channel_axis and back.array.dtype == array.dtype
    np.testing.assert_array_equal(back.array, array[0] if single else array)


@given(
    st.sampled_from(["u1", "u2", "i2", "f4"])
    .map(np.dtype)
    .flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=3, max_dims=3, max_side=20))
    ),
    st.sampled_from(list(COMPRESSIONS)),
    st.sampled_from(["strip", "tile", "planar"]),
    st.sampled_from("<>"),
    st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_by_hand_is_read(
    tmp_path_factory, array, compression, layout, order, orientation
):
    array = np.stack([array[..., 0]] * 3, -1)
    form = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    page = Page(array, RGB, 8 * array.itemsize, form, compression, layout, orientation)
    path = tmp_path_factory.getbasetemp() / "hand.tif"
    same(read_image(put(path, write([page], order))), upright(array, orientation))
