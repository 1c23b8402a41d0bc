"""What focal lesions, foreign patches and textures are, by plain arithmetic of another kind."""

import numpy as np
import pytest
import scipy

from synthmed import (
    Calcifications,
    Cavity,
    Cutout,
    EllipseMask,
    Interpolation,
    Lesion,
    LesionMask,
    PerlinMask,
    ScatterMask,
    TextureBlend,
)
from synthmed.kernels import poisson_blend
from synthmed.testing import phantom

IMAGE = phantom("smooth", (56, 48), "float64")
DONOR = phantom("noise", (56, 48), "float64", seed=1)
SEEDS = range(6)
UNIT = {"value_range": (0, 1)}


# Interpolation


@pytest.mark.parametrize("seed", SEEDS)
def test_a_linear_mix_with_the_same_place_of_a_donor(seed):
    sample = Interpolation()(IMAGE, rng=seed, donors=[DONOR], **UNIT)
    factor = sample.record["parameters"]["factor"]
    expected = np.where(sample.mask, (1 - factor) * IMAGE + factor * DONOR, IMAGE)
    np.testing.assert_allclose(sample.image, expected, atol=1e-12)


def test_the_factor_is_drawn_uniformly():
    factors = [
        Interpolation()(IMAGE, rng=s, donors=[DONOR]).record["parameters"]["factor"]
        for s in range(400)
    ]
    assert scipy.stats.kstest(factors, scipy.stats.uniform(0.05, 0.9).cdf).pvalue > 1e-3


def mixed_poisson(image, donor, mask, factor):
    """PII's equation, assembled pair by pair and solved densely."""
    inside = np.argwhere(mask)
    number = {tuple(p): i for i, p in enumerate(inside)}
    matrix, right = np.zeros((len(inside),) * 2), np.zeros(len(inside))
    for i, p in enumerate(inside):
        for step in np.vstack([np.eye(mask.ndim, dtype=int), -np.eye(mask.ndim, dtype=int)]):
            q = tuple(p + step)
            if min(q) < 0 or any(a >= n for a, n in zip(q, mask.shape, strict=True)):
                continue
            ours = (1 - factor) * (image[tuple(p)] - image[q])
            theirs = factor * (donor[tuple(p)] - donor[q])
            right[i] += ours if abs(ours) > abs(theirs) else theirs
            matrix[i, i] += 1
            if q in number:
                matrix[i, number[q]] -= 1
            else:
                right[i] += image[q]
    result = image.copy()
    result[mask] = np.linalg.solve(matrix, right)
    return result


@pytest.mark.parametrize("shape", [(18, 15), (7, 9, 8)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("seed", range(3))
def test_poisson_interpolation_solves_its_equation(shape, seed):
    image, donor = phantom("smooth", shape, "float64"), phantom("noise", shape, "float64", seed=2)
    sample = Interpolation(EllipseMask(), blend="poisson")(
        image, rng=seed, donors=[donor], value_range=(-2, 3)
    )
    factor = sample.record["parameters"]["factor"]
    expected = mixed_poisson(image, donor, sample.mask, factor)
    np.testing.assert_allclose(sample.image, np.clip(expected, -2, 3), atol=1e-3)


def test_a_target_weight_of_one_is_mixed_editing():
    mask = np.zeros(IMAGE.shape, bool)
    mask[9:40, 11:30] = True
    plain = poisson_blend(IMAGE, DONOR, mask, mixed=True)
    np.testing.assert_array_equal(plain, poisson_blend(IMAGE, DONOR, mask, True, target_weight=1))
    weighed = poisson_blend(IMAGE, DONOR, mask, mixed=True, target_weight=0.0)
    np.testing.assert_allclose(weighed, poisson_blend(IMAGE, DONOR, mask), atol=1e-3)


def test_a_donor_of_another_size_is_read_at_the_same_relative_place():
    ramp = np.add.outer(np.arange(110.0), np.zeros(90)) / 109
    sample = Interpolation(factor=1.0)(IMAGE, rng=3, donors=[ramp], **UNIT)
    corner = sample.record["parameters"]["mask"]["corner"][0]
    rows = np.flatnonzero(sample.mask.any(axis=1))
    start = corner * (110 - len(rows)) / (56 - len(rows))
    shown = sample.image[rows[0]][sample.mask[rows[0]]]
    assert np.ptp(shown) < 1e-12 and abs(shown[0] * 109 - start) <= 1


def test_a_donor_smaller_than_the_mask_is_scaled_to_it():
    tiny = np.array([[0.0, 1.0]]).repeat(2, axis=0)
    box = EllipseMask(box=(0.4, 0.6))
    sample = Interpolation(box, factor=1.0)(IMAGE, rng=3, donors=[tiny], **UNIT)
    inside = np.where(sample.mask, sample.image, np.nan)
    columns = np.flatnonzero(sample.mask.any(axis=0))
    means = np.nanmean(inside[:, columns[0] : columns[-1] + 1], axis=0)
    np.testing.assert_allclose(means, np.linspace(0, 1, len(means)), atol=0.03)


# TextureBlend


@pytest.mark.parametrize("seed", SEEDS)
def test_a_texture_of_donors_is_theirs(seed):
    donor = np.full((30, 30), 0.25)
    sample = TextureBlend(texture="donors")(IMAGE, rng=seed, donors=[donor], **UNIT)
    opacity = sample.record["parameters"]["opacity"]
    expected = np.where(sample.mask, (1 - opacity) * IMAGE + opacity * 0.25, IMAGE)
    np.testing.assert_allclose(sample.image, expected, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_has_its_level_and_contrast(seed):
    sample = TextureBlend(opacity=1.0)(IMAGE, rng=seed, **UNIT)
    drawn = sample.record["parameters"]
    values = sample.image[sample.mask]
    low, high = drawn["level"] - drawn["contrast"], drawn["level"] + drawn["contrast"]
    assert max(low, 0) - 1e-9 <= values.min() and values.max() <= min(high, 1) + 1e-9
    assert np.ptp(values) > 0.2 * drawn["contrast"]


# LesionMask


@pytest.mark.parametrize(
    ("shape", "spacing"), [((90, 80), (1, 1)), ((60, 90), (0.5, 0.25)), ((20, 48, 52), (3, 1, 0.8))]
)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_lesion_has_the_volume_asked_for(shape, spacing, seed):
    voxel = np.prod(spacing)
    for volume in (voxel * 3, voxel * 200, voxel * 601.4):
        mask = LesionMask(size=float(volume), unit="volume")(
            phantom("smooth", shape), rng=seed, spacing=spacing
        ).mask
        assert abs(np.count_nonzero(mask) - volume / voxel) <= 0.5 + 1e-9


@pytest.mark.parametrize("seed", SEEDS)
def test_without_deformation_it_is_an_ellipsoid_of_physical_space(seed):
    image = phantom("smooth", (24, 60, 72), "float32")
    spacing = np.array([3, 1, 1])
    mask = LesionMask(size=22.0, unit="length", elongation=1.0, deformation=0.0)(
        image, rng=seed, spacing=spacing
    ).mask
    points = np.argwhere(mask) * spacing
    radius = np.linalg.norm(points - (points.min(axis=0) + points.max(axis=0)) / 2, axis=1)
    assert abs(radius.max() - 11) < 1.5


def test_a_lesion_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="no place in an image of shape"):
        LesionMask(size=80.0, unit="length")(IMAGE, rng=0)


# Lesion, Cavity


def expected_weight(mask, drawn, spacing=1.0):
    distance = scipy.ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1]
    sigma = drawn["edge"] * np.median(mask.shape) / 224
    return 2 * scipy.stats.norm.cdf(distance / sigma) - 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lesion_is_its_formula(seed):
    sample = Lesion(texture=0.0)(IMAGE, rng=seed, value_range=(-2, 3))
    drawn, mask = sample.record["parameters"], sample.mask
    mean = IMAGE[mask].mean()
    step = drawn["opacity"] * (mean - IMAGE) + 5 * drawn["contrast"]
    expected = IMAGE + expected_weight(mask, drawn) * step
    np.testing.assert_allclose(sample.image[mask], expected[mask], atol=1e-9)


def test_polarity_and_contrast():
    drawn = [Lesion()(IMAGE, rng=s).record["parameters"]["contrast"] for s in range(300)]
    assert abs(np.mean(np.array(drawn) > 0) - 0.5) < 0.15
    assert scipy.stats.kstest(np.abs(drawn), scipy.stats.uniform(0.08, 0.22).cdf).pvalue > 1e-3
    for polarity, sign in (("brighter", 1), ("darker", -1)):
        anomaly = Lesion(polarity=polarity)
        assert all(anomaly(IMAGE, rng=s).record["parameters"]["contrast"] * sign > 0 for s in SEEDS)


def test_sequences_share_the_lesion_with_a_contrast_each():
    pair = np.stack([np.full((48, 48), 0.5), np.full((48, 48), 0.4)])
    pair[:, 0, 0] = 0, 1
    lesion = Lesion(contrast=0.2, polarity="brighter", texture=0.0, channel_factors=(1.0, -0.5))
    sample = lesion(pair, rng=1, channel_axis=0, **UNIT)
    change = (sample.image - pair)[:, sample.mask]
    np.testing.assert_allclose(change[1], -change[0] / 2, atol=1e-12)
    assert abs(change[0].max() - 0.2) < 1e-3
    with pytest.raises(ValueError, match="channel_factors must hold one number for each of the"):
        lesion(IMAGE, rng=1)


def test_the_texture_has_its_strength():
    flat = np.full((224, 224), 0.5)
    flat[0, 0] = 1
    mask = EllipseMask(box=(0.5, 0.6), side=0.5)
    deviations = [
        Lesion(mask, contrast=0.0, texture=0.05, edge=0.0, opacity=1.0)(flat, rng=s, **UNIT)
        for s in SEEDS
    ]
    for sample in deviations:
        assert abs(sample.image[sample.mask].std() / 0.05 - 1) < 0.15


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cavity_is_its_formula(seed):
    sample = Cavity(texture=0.0)(IMAGE, rng=seed, **UNIT)
    drawn, mask = sample.record["parameters"], sample.mask
    weight = expected_weight(mask, drawn)
    expected = (1 - weight) * IMAGE + weight * drawn["level"]
    np.testing.assert_allclose(sample.image[mask], expected[mask], atol=1e-9)


# Cutout, Calcifications


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cutout_has_one_level(seed):
    sample = Cutout(PerlinMask())(IMAGE, rng=seed, **UNIT)
    assert (sample.image[sample.mask] == sample.record["parameters"]["level"]).all()
    sample = Cutout(PerlinMask(), level="mean")(IMAGE, rng=seed, **UNIT)
    np.testing.assert_allclose(sample.image[sample.mask], IMAGE[sample.mask].mean(), atol=1e-12)
    with pytest.raises(ValueError, match="Cutout: level must be 'mean' or a number, got 'median'"):
        Cutout(level="median")


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 1.0)])
@pytest.mark.parametrize("seed", SEEDS)
def test_specks_are_gaussians_of_physical_space(seed, spacing):
    image = phantom("smooth", (96, 96), "float64") / 2
    sample = Calcifications(radius=(1.0, 4.0))(image, rng=seed, spacing=spacing, **UNIT)
    drawn = sample.record["parameters"]
    side = np.median(np.multiply(image.shape, spacing))
    heights = np.zeros(image.shape)
    for place, radius, brightness in zip(
        drawn["places"], drawn["radii"], drawn["brightness"], strict=True
    ):
        offsets = np.indices(image.shape) - np.add(place, drawn["mask"]["corner"])[:, None, None]
        squares = (offsets * np.reshape(spacing, (2, 1, 1))) ** 2
        gaussian = np.exp(-0.5 * squares.sum(axis=0) / (radius * side / 224) ** 2)
        heights = np.maximum(heights, brightness * gaussian)
    assert 5 <= len(drawn["places"]) <= 25
    expected = image + heights * (1 - image)
    np.testing.assert_allclose(sample.image[sample.mask], expected[sample.mask], atol=1e-3)
    assert (heights[sample.mask] >= 1 / 255 - 1e-3).all()


def test_equal_channels_are_changed_alike_to_the_bit():
    """A mean over one channel and over three was summed in another order."""
    image = phantom("gradient", (10, 10), "float64")
    lesion = Lesion(ScatterMask(EllipseMask(), count=2, gap=0.0))
    grey = lesion(image, rng=0).image
    colour = lesion(np.stack([image] * 3, axis=-1), rng=0, channel_axis=-1).image
    for channel in range(3):
        np.testing.assert_array_equal(colour[..., channel], grey)
