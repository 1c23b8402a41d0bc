"""Rules for value ranges: what each gives, and what is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from synthmed.io import Image, require_value_range, value_range_of

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_percentiles_are_of_all_images_together(dtype):
    images = [Image((RNG.random((9, 11 + n)) * 200).astype(dtype)) for n in range(3)]
    values = np.sort(np.concatenate([image.array.ravel() for image in images]).astype(float))
    place = 0.02 * (len(values) - 1)
    below = int(place)
    expected = values[below] + (place - below) * (values[below + 1] - values[below])
    low, high = value_range_of(images, ("percentile", 2, 100))
    assert low == pytest.approx(expected) and high == values[-1]


def test_a_hot_pixel_moves_no_percentile_far():
    scan = RNG.integers(100, 4000, (256, 256)).astype(np.uint16)
    before = value_range_of([Image(scan)], ("percentile", 0.5, 99.5))
    scan[3, 4] = 65535
    after = value_range_of([Image(scan)], ("percentile", 0.5, 99.5))
    assert after == pytest.approx(before, rel=1e-3)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int64"])
def test_dtype_is_all_that_it_holds(dtype):
    info = np.iinfo(dtype)
    found = value_range_of([Image(np.zeros((2, 2), dtype))], "dtype")
    assert found == (float(info.min), float(info.max))


def test_window_is_what_the_image_declares():
    image = Image(np.zeros((2, 2), np.int16), value_range=(-160, 240))
    assert value_range_of([image, image], "window") == (-160.0, 240.0)
    other = Image(np.zeros((2, 2), np.int16), value_range=(0, 80))
    with pytest.raises(ValueError, match="differs between the images: -160 to 240, 0 to 80"):
        value_range_of([image, other], "window")


@pytest.mark.parametrize(
    "rule",
    ["full", 3, (1, 2, 3), ("percentile", 1), (True, False), None, ("percentile", "a", 2), "12"],
)
def test_what_is_no_rule_is_a_type_error(rule):
    with pytest.raises(TypeError, match="value_range must be"):
        require_value_range(rule)


@pytest.mark.parametrize(
    "rule",
    [(1, 1), (2, 1), (0, np.inf), (np.nan, 1), ("percentile", -1, 50), ("percentile", 5, 101)],
)
def test_numbers_out_of_bounds_are_named(rule):
    with pytest.raises(ValueError, match="value_range"):
        require_value_range(rule)


@pytest.mark.parametrize(
    ("array", "rule", "message"),
    [
        (np.zeros((4, 4), np.float32), "dtype", "is of integers, and an image is float32"),
        (np.zeros((4, 4), bool), "dtype", "is of integers, and an image is bool"),
        (np.zeros((4, 4)), ("percentile", 1, 99), "gives 0 and 0"),
        (np.full((4, 4), np.nan), ("percentile", 1, 99), "gives nan and nan"),
    ],
)
def test_a_rule_that_gives_no_range_says_why(array, rule, message):
    with pytest.raises(ValueError, match=message):
        value_range_of([Image(array)], rule)
    with pytest.raises(ValueError, match="needs at least one image"):
        value_range_of([], rule)
