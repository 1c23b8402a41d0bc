"""`poisson_blend` against a direct sparse solve of the same equation, assembled in another way."""

from itertools import product

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from synthmed.kernels import poisson_blend
from synthmed.testing import phantom, phantom_mask, strategies


def direct(target, source, mask, mixed):
    """Assemble the equation pair of neighbours by pair of neighbours, and factorise."""
    t, s = (a.astype(float).reshape(*mask.shape, -1) for a in (target, source))
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(np.count_nonzero(mask))
    n = np.count_nonzero(mask)
    matrix, right = scipy.sparse.lil_array((n, n)), np.zeros((n, t.shape[-1]))
    for p in np.argwhere(mask):
        i = number[tuple(p)]
        for axis, step in product(range(mask.ndim), (-1, 1)):
            q = p.copy()
            q[axis] += step
            if not 0 <= q[axis] < mask.shape[axis]:
                continue
            p_, q_ = tuple(p), tuple(q)
            ours, theirs = t[p_] - t[q_], s[p_] - s[q_]
            right[i] += np.where(mixed & (np.abs(ours) > np.abs(theirs)), ours, theirs)
            matrix[i, i] += 1
            if mask[q_]:
                matrix[i, number[q_]] -= 1
            else:
                right[i] += t[q_]
    result = t.copy()
    result[mask] = scipy.sparse.linalg.spsolve(matrix.tocsc(), right).reshape(n, -1)
    return result.reshape(target.shape)


def agree(target, source, mask, mixed=False):
    ours = poisson_blend(target, source, mask, mixed)
    assert ours.dtype == np.float64 and ours.shape == target.shape
    np.testing.assert_array_equal(ours[~mask], target.astype(float)[~mask])
    extent = max(np.ptp(target), np.ptp(source)) or 1
    return np.abs(ours - direct(target, source, mask, mixed)).max() / extent


@given(
    strategies.masks(strategies.shapes((1, 24), (2, 3))),
    st.booleans(),
    st.sampled_from(["smooth", "noise", "checkerboard"]),
    st.integers(0, 99),
)
def test_any_mask(mask, mixed, content, seed):
    if mask.all():
        with pytest.raises(ValueError, match="covers the whole image"):
            poisson_blend(np.zeros(mask.shape), np.zeros(mask.shape), mask)
        return
    target = phantom("smooth", mask.shape, "float64", seed=seed)
    source = phantom(content, mask.shape, "float64", seed=seed + 1)
    assert agree(target, source, mask, mixed) < 1e-3


CASES = {
    "disc": phantom_mask("disc", (60, 80), seed=1),
    "on the border": np.indices((50, 40)).sum(axis=0) < 60,
    "all but one pixel": phantom_mask("everywhere", (40, 30))
    & ~(np.arange(1200).reshape(40, 30) == 0),
    "all but one pixel amid": phantom_mask("everywhere", (40, 30))
    & ~(np.arange(1200).reshape(40, 30) == 615),
    "a hole of a pixel": phantom_mask("disc", (40, 40), seed=2)
    & ~(np.arange(1600).reshape(40, 40) == 820),
    "a line": phantom_mask("line", (30, 30), seed=3),
    "a comb": (np.indices((40, 40))[1] % 2 == 0) | (np.indices((40, 40))[0] == 20),
    "scattered": phantom_mask("scattered", (40, 50), seed=4),
    "a spiral": (
        np.hypot(*(np.indices((64, 64)) - 32)) / 3
        - np.arctan2(*(np.indices((64, 64)) - 32)) / 2 / np.pi
    )
    % 1
    < 0.4,
    "a volume": phantom_mask("disc", (14, 20, 18), seed=5),
    "a volume but for a corner": phantom_mask("everywhere", (9, 10, 11))
    & ~(np.arange(990).reshape(9, 10, 11) == 0),
    "a ragged volume": phantom_mask("ragged", (12, 16, 10), seed=6),
}


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("mask", CASES.values(), ids=CASES.keys())
def test_the_masks_that_are_hard(mask, mixed):
    shape = (*mask.shape, 2)
    target = phantom("smooth", shape, "int16", channel_axis=-1)
    source = phantom("noise", shape, "int16", channel_axis=-1, seed=7)
    assert agree(target, source, mask, mixed) < 2e-4  # promised is 1e-3


def test_a_shifted_source_gives_the_same():
    """Only its gradients matter."""
    target, source = phantom("smooth", (30, 40), "float64"), phantom("noise", (30, 40), "float64")
    mask = phantom_mask("disc", (30, 40))
    np.testing.assert_allclose(
        poisson_blend(target, source, mask), poisson_blend(target, source + 5, mask), atol=2e-4
    )


def test_a_source_that_is_the_target_changes_nothing():
    image = phantom("smooth", (30, 40))
    np.testing.assert_allclose(
        poisson_blend(image, image, phantom_mask("disc", (30, 40))), image, atol=0.05
    )


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_any_magnitude(scale):
    target, source = phantom("smooth", (20, 20), "float64"), phantom("noise", (20, 20), "float64")
    mask = phantom_mask("disc", (20, 20))
    expected = poisson_blend(target, source, mask)
    np.testing.assert_allclose(
        poisson_blend(target * scale, source * scale, mask) / scale, expected, atol=2e-4
    )


def test_nothing_is_written_and_an_empty_mask_does_nothing():
    image, source = (
        phantom("smooth", (9, 9), layout="read-only"),
        phantom("noise", (9, 9), layout="read-only"),
    )
    mask = phantom_mask("disc", (9, 9))
    mask.setflags(write=False)
    poisson_blend(image, source, mask)
    np.testing.assert_array_equal(poisson_blend(image, source, np.zeros((9, 9), bool)), image)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (np.zeros((4, 4)), np.zeros((4, 4)), np.ones((4, 4))),
            TypeError,
            "mask must be a bool array, got dtype float64",
        ),
        (
            (np.zeros((4, 4)), np.zeros((4, 5)), np.ones((4, 4), bool)),
            ValueError,
            "target and source must have one shape",
        ),
        (
            (np.zeros((4, 5)), np.zeros((4, 5)), np.ones((4, 4), bool)),
            ValueError,
            "target must have the mask's shape",
        ),
        (
            (np.full((4, 4), np.nan), np.zeros((4, 4)), phantom_mask("box", (4, 4))),
            ValueError,
            "must be finite",
        ),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        poisson_blend(*arguments)


@pytest.mark.parametrize(("target", "source"), [(0.2, 0.9), (0.5, 0.5), (0.0, 1e-9), (-1e6, 1e6)])
def test_a_flat_patch_on_a_flat_target_takes_its_level(target, source):
    """They have no gradients by which to judge the residual: the solver did not end."""
    mask = phantom_mask("disc", (12, 14))
    blended = poisson_blend(np.full((12, 14), target), np.full((12, 14), source), mask)
    np.testing.assert_allclose(blended, target, rtol=0, atol=1e-3 * abs(target - source))
