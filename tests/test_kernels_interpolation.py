"""Reading between pixels, and the Gaussian filter, against SciPy."""

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from synthmed.kernels import affine_coordinates, gaussian_blur, interpolate, rotation_matrix
from synthmed.testing import phantom, strategies


@given(
    strategies.shapes((1, 12), (2, 3)),
    st.sampled_from([0, 1, 2, 3, 5]),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_any_order_reads_as_map_coordinates(shape, order, channels, seed):
    rng = np.random.default_rng(seed)
    image = rng.random((*shape, channels))
    points = rng.uniform(-2, np.array(shape) + 1, (40, len(shape))).T  # some beyond the border
    points[:, :5] = np.rint(points[:, :5])
    expected = np.stack(
        [
            scipy.ndimage.map_coordinates(image[..., c], points, order=order, mode="nearest")
            for c in range(channels)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(interpolate(image, points, order), expected, atol=1e-9)


def test_whole_coordinates_read_the_pixels_themselves():
    image = phantom("noise", (7, 9), "float64")[..., None]
    np.testing.assert_array_equal(interpolate(image, np.indices((7, 9)).astype(float)), image)


@given(strategies.shapes((1, 9), (2, 3)), st.integers(0, 99))
def test_affine_coordinates(shape, seed):
    rng = np.random.default_rng(seed)
    n = len(shape)
    matrix, origin = rng.normal(size=(n, n)), rng.normal(size=n)
    expected = np.tensordot(matrix, np.indices(shape), 1) + origin.reshape(-1, *(1,) * n)
    np.testing.assert_allclose(affine_coordinates(shape, matrix, origin), expected, atol=1e-12)


@given(
    strategies.shapes((1, 30), (2, 3)),
    st.lists(st.sampled_from([0, 0.1, 0.5, 1.3, 4.0, 7.0]), min_size=3, max_size=3),
    st.integers(0, 99),
)
def test_the_gaussian_filter_is_that_of_scipy(shape, sigmas, seed):
    image = np.random.default_rng(seed).random(shape).astype(np.float32)
    sigma = sigmas[: len(shape)]
    # OpenCV reflects once only: no further than the image is long.
    if any(int(4 * s + 0.5) >= n for s, n in zip(sigma, shape, strict=True)):
        ours = gaussian_blur(image, sigma)
        assert (
            ours.shape == shape
            and image.min() - 1e-5 <= ours.min()
            and ours.max() <= image.max() + 1e-5
        )
        return
    expected = scipy.ndimage.gaussian_filter(image.astype(float), sigma, mode="reflect")
    np.testing.assert_allclose(gaussian_blur(image, sigma), expected, atol=1e-5)


@pytest.mark.parametrize("spacing", [(1, 1), (2, 0.5), (1, 1, 1), (3, 1, 0.7)])
def test_rotations_keep_lengths_in_physical_space(spacing):
    n = len(spacing)
    matrix = rotation_matrix([33, -20, 71][: n * (n - 1) // 2], spacing)
    offsets = np.random.default_rng(0).normal(size=(n, 50))
    before, after = (
        np.sqrt(((o * np.array(spacing)[:, None]) ** 2).sum(axis=0))
        for o in (offsets, matrix @ offsets)
    )
    np.testing.assert_allclose(before, after)
    assert np.linalg.det(matrix) == pytest.approx(1)
