"""The radial map: distances to the edge against roots and marches along the ray, reading against
SciPy.
"""

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from synthmed.kernels import edge_ratio, exit_ratio, interpolate, radial_coordinates
from synthmed.testing import phantom, phantom_mask, strategies


def _is_inside(offset, to_unit, is_box):
    unit = to_unit @ offset
    return np.abs(unit).max() - 1 if is_box else unit @ unit - 1


@pytest.mark.parametrize("is_box", [False, True])
@pytest.mark.parametrize("shape", [(21, 31), (9, 13, 11)])
@given(st.integers(0, 999))
def test_the_closed_form_is_the_root_along_the_ray(shape, is_box, seed):
    rng = np.random.default_rng(seed)
    n = len(shape)
    to_pixels = (np.eye(n) + rng.normal(0, 0.2, (n, n))) @ np.diag(rng.uniform(0.2, 0.5, n) * shape)
    to_unit = np.linalg.inv(to_pixels)
    middle = (np.array(shape) - 1) / 2
    unit = rng.uniform(-0.55, 0.55, n)
    centre = middle + to_pixels @ unit
    ratio = edge_ratio(shape, centre, to_unit, is_box)
    for pixel in rng.integers(shape, size=(12, n)):
        d = np.linalg.norm(pixel - centre)
        ray = (pixel - centre) / d
        edge = scipy.optimize.brentq(
            lambda t, ray=ray: _is_inside(centre + t * ray - middle, to_unit, is_box),
            0,
            10 * max(shape),
            xtol=1e-12,
        )
        assert ratio[tuple(pixel)] == pytest.approx(d / edge, rel=1e-7)


@given(strategies.masks(strategies.shapes((1, 12), (2, 3))), st.integers(0, 99))
def test_the_first_exit_is_where_a_march_along_the_ray_leaves(mask, seed):
    rng = np.random.default_rng(seed)
    pixels = np.argwhere(mask)
    centre = pixels[rng.integers(len(pixels))]
    ratio = exit_ratio(mask, centre)
    assert np.isinf(ratio[~mask]).all() and ratio[tuple(centre)] == 0
    padded = np.pad(mask, 1)
    for pixel in pixels[rng.permutation(len(pixels))[:10]]:
        d = np.linalg.norm(pixel - centre)
        if d == 0:
            continue
        ray = (pixel - centre) / d
        t = np.arange(0.005, sum(mask.shape) + 2, 0.01)
        cells = np.rint(centre + t[:, None] * ray).astype(int) + 1
        cells = np.clip(cells, 0, np.array(padded.shape) - 1)
        outside = ~padded[tuple(cells.T)]
        first = t[np.argmax(outside)] if outside.any() else np.inf
        # A ray through a corner, where four pixels meet, may go either way.
        between = np.abs(np.abs(centre + (d / ratio[tuple(pixel)]) * ray) % 1 - 0.5) < 1e-6
        if between.sum() < 2:
            assert d / ratio[tuple(pixel)] == pytest.approx(first, abs=0.02)


def _formula(ratio, alpha, sink):
    return 1 - (1 - ratio) ** alpha if sink else ratio**alpha


@pytest.mark.parametrize("sink", [False, True])
@pytest.mark.parametrize("shape", [(23, 31), (9, 12, 10)])
@pytest.mark.parametrize("alpha", [np.sqrt(2), 2.0, 3.9, 1.0])
def test_values_are_read_as_the_method_says(shape, alpha, sink):
    """At D (d/D)^alpha, or D (1 - (1 - d/D)^alpha), on the ray: with vectors, and read by
    map_coordinates.
    """
    image = phantom("smooth", shape, "float64")
    centre = np.array(shape) // 2 - 1
    to_unit = np.diag(2.2 / np.array(shape))
    ratio = edge_ratio(shape, centre, to_unit)
    offsets = np.indices(shape) - centre.reshape(-1, *(1,) * len(shape))
    d = np.sqrt((offsets**2).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        edge = d / ratio
        moved = np.where(ratio < 1, edge * _formula(ratio, alpha, sink), d)
        expected = np.where(
            d > 0,
            centre.reshape(offsets.shape[0], *(1,) * len(shape)) + offsets / d * moved,
            centre.reshape(-1, *(1,) * len(shape)),
        )
    coordinates = radial_coordinates(ratio, centre, alpha, sink)
    np.testing.assert_allclose(coordinates, expected, atol=1e-9)
    values = interpolate(image[..., None], coordinates)[..., 0]
    np.testing.assert_allclose(
        values, scipy.ndimage.map_coordinates(image, expected, order=1, mode="nearest"), atol=1e-9
    )
    # Source reads nearer to the centre: what is there seems pushed outwards. Sink reads further
    # out.
    inside = (ratio > 0.05) & (ratio < 0.95)
    away = np.sqrt(((coordinates - centre.reshape(-1, *(1,) * len(shape))) ** 2).sum(axis=0))
    if alpha > 1:
        assert ((away > d) if sink else (away < d))[inside].all()


def test_the_edge_and_the_outside_stay():
    ratio = edge_ratio((21, 21), (8, 12), np.eye(2) / 9)
    coordinates = radial_coordinates(ratio, (8, 12), 3.0)
    outside = ratio >= 1
    np.testing.assert_array_equal(coordinates[:, outside], np.indices((21, 21))[:, outside])


def test_what_the_centre_does_not_see_lies_behind_the_edge():
    mask = np.ones((9, 9), bool)
    mask[4, 3:6] = False
    ratio = exit_ratio(mask, (1, 4))
    assert ratio[7, 4] > 1 and ratio[2, 4] < 1
    assert (exit_ratio(phantom_mask("everywhere", (9, 9)), (1, 4)) < 1).all()
