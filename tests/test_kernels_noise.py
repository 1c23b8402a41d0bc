"""The noises against perlin_numpy, and what their seeds promise."""

import numpy as np
import perlin_numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthmed.kernels import gradient_noise, rotation_matrix, sign_noise, unit_gradients


@given(
    st.tuples(*[st.integers(1, 4)] * 2), st.tuples(*[st.integers(1, 12)] * 2), st.integers(0, 99)
)
def test_the_plane_agrees_with_perlin_numpy(cells, pixels, seed):
    shape = tuple(c * p for c, p in zip(cells, pixels, strict=True))
    expected = perlin_numpy.generate_perlin_noise_2d(shape, cells, rng=np.random.default_rng(seed))
    angles = 2 * np.pi * np.random.default_rng(seed).uniform(size=[c + 1 for c in cells])
    ours = gradient_noise(shape, np.stack([np.cos(angles), np.sin(angles)], axis=-1))
    np.testing.assert_allclose(ours, expected, atol=1e-12)


@given(st.tuples(*[st.integers(1, 3)] * 3), st.tuples(*[st.integers(1, 5)] * 3), st.integers(0, 99))
def test_volumes_agree_with_perlin_numpy(cells, pixels, seed):
    shape = tuple(c * p for c, p in zip(cells, pixels, strict=True))
    expected = perlin_numpy.generate_perlin_noise_3d(shape, cells, rng=np.random.default_rng(seed))
    theta, phi = 2 * np.pi * np.random.default_rng(seed).uniform(size=(2, *[c + 1 for c in cells]))
    gradients = np.stack(
        [np.sin(phi) * np.cos(theta), np.sin(phi) * np.sin(theta), np.cos(phi)], axis=-1
    )
    # perlin_numpy does not scale its volumes; ours are scaled to [-1, 1].
    np.testing.assert_allclose(
        gradient_noise(shape, gradients), expected * 2 / np.sqrt(3), atol=1e-12
    )


@pytest.mark.parametrize("angle", [90, 180, -90])
def test_a_turn_by_right_angles_turns_the_noise(angle):
    gradients = unit_gradients((2, 2), 5)
    plain = gradient_noise((21, 21), gradients)
    turned = gradient_noise((21, 21), gradients, rotation_matrix([angle], (1, 1)))
    turns = [np.rot90(plain, k) for k in range(4)]
    matches = [
        k for k in range(4) if np.allclose(turned[1:-1, 1:-1], turns[k][1:-1, 1:-1], atol=1e-6)
    ]
    assert matches == [{90: 1, 180: 2, -90: 3}[angle]] or matches == [
        {90: 3, 180: 2, -90: 1}[angle]
    ]


def test_what_is_turned_in_from_outside_is_zero():
    noise = gradient_noise((40, 40), unit_gradients((1, 1), 3), rotation_matrix([45], (1, 1)))
    assert noise[0, 0] == noise[0, -1] == noise[-1, 0] == noise[-1, -1] == 0
    assert np.count_nonzero(noise) > 0.6 * noise.size


@pytest.mark.parametrize("n", [2, 3])
def test_gradients_are_unit_vectors_in_all_directions(n):
    vectors = unit_gradients((19,) * n, 1).reshape(-1, n)
    np.testing.assert_allclose((vectors**2).sum(axis=1), 1, atol=1e-12)
    assert np.abs(vectors.mean(axis=0)).max() < 5 / np.sqrt(n * len(vectors))
    np.testing.assert_allclose((vectors**2).mean(axis=0), 1 / n, atol=5 / np.sqrt(len(vectors)))


def test_bits_are_fair_and_independent():
    bits = sign_noise((300, 301), 4)
    assert set(np.unique(bits)) == {0, 1} and bits.dtype == np.float32
    error = 5 / np.sqrt(bits.size)
    assert abs(bits.mean() - 0.5) < error / 2
    for neighbours in (bits[1:] == bits[:-1], bits[:, 1:] == bits[:, :-1]):
        assert abs(neighbours.mean() - 0.5) < error


def test_seeds_are_kept_between_versions():
    assert sign_noise((4, 8), 1).astype(int).ravel().tolist() == [
        int(b) for word in [np.random.PCG64(1).random_raw()] for b in reversed(f"{word:064b}"[-32:])
    ]
    np.testing.assert_allclose(
        unit_gradients((1, 1), 1)[0, 0],
        [np.cos(a := 2 * np.pi * (np.random.PCG64(1).random_raw() >> 11) / 2**53), np.sin(a)],
        atol=1e-12,
    )


def test_bad_gradients_are_named():
    with pytest.raises(ValueError, match="gradients must have shape"):
        gradient_noise((8, 8), np.zeros((2, 2, 3)))
