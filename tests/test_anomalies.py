"""What docs/method.md states of each task: the arithmetic, and the distributions over draws."""

import numpy as np
import pytest
import scipy

from synthmed import (
    CutPaste,
    EllipseMask,
    GaussianIntensityChange,
    PerlinMask,
    RectangleMask,
    Scene,
    Sink,
    SmoothIntensityChange,
    Source,
)
from synthmed.kernels import edge_ratio, exit_ratio, sign_noise
from synthmed.testing import phantom

IMAGE = phantom("smooth", (224, 224))
SMALL = phantom("smooth", (48, 40), "float64")


def _drawn(anomaly, n, image=SMALL, **call):
    return [anomaly(image, rng=seed, **call).record["parameters"] for seed in range(n)]


def _column(drawn, name):
    return np.array([d[name] for d in drawn])


def _uniform(values, low, high):
    return scipy.stats.kstest((values - low) / (high - low), "uniform").pvalue > 1e-3


# Source and Sink


def _warped(image, mask, drawn, sink, order):
    """The method's formula, with vectors and map_coordinates, in the whole image."""
    centre = np.array(drawn["centre"]).reshape(-1, 1, 1)
    offsets = np.indices(image.shape) - centre
    d = np.sqrt((offsets**2).sum(axis=0))
    ratio = exit_ratio(mask, drawn["centre"])
    edge = np.divide(d, ratio, out=np.zeros_like(d), where=(ratio > 0) & np.isfinite(ratio))
    unit = np.where(ratio < 1, ratio, 1)
    moved = edge * (1 - (1 - unit) ** drawn["alpha"] if sink else unit ** drawn["alpha"])
    ray = np.divide(offsets, d, out=np.zeros_like(offsets, float), where=d > 0)
    values = scipy.ndimage.map_coordinates(image, centre + ray * moved, order=order, mode="nearest")
    return np.where(mask & (ratio < 1), values, image)


@pytest.mark.parametrize(("anomaly", "sink"), [(Source, False), (Sink, True)])
@pytest.mark.parametrize("order", [1, 3])
def test_the_radial_map_on_any_mask(anomaly, sink, order):
    for seed in range(8):
        sample = anomaly(PerlinMask(), order=order)(SMALL, rng=seed)
        drawn = sample.record["parameters"]
        whole = PerlinMask().apply(drawn["mask"], Scene.of(SMALL))
        mask = np.zeros(SMALL.shape, bool)
        mask[whole.box] = whole.inside
        assert not (sample.mask & ~mask).any()
        expected = np.clip(_warped(SMALL, mask, drawn, sink, order), 0, 1)
        np.testing.assert_allclose(
            sample.image, expected, atol=1e-6
        )  # the spline of a part is that of all but for 1e-7


@pytest.mark.parametrize(("figure", "is_box"), [(EllipseMask, False), (RectangleMask, True)])
def test_the_radial_map_on_a_figure(figure, is_box):
    for seed in range(8):
        sample = Source(figure())(SMALL, rng=seed)
        drawn = sample.record["parameters"]
        region = figure().apply(drawn["mask"], Scene.of(SMALL))
        centre = np.array(drawn["centre"]) - region.corner
        ratio = edge_ratio(
            region.inside.shape, centre, np.linalg.inv(drawn["mask"]["shape"]["to_pixels"]), is_box
        )
        offsets = np.indices(ratio.shape) - centre.reshape(-1, 1, 1)
        read = np.array(drawn["centre"]).reshape(-1, 1, 1) + offsets * np.where(
            (ratio > 0) & (ratio < 1), np.maximum(ratio, 1e-12) ** (drawn["alpha"] - 1), 1
        )
        values = scipy.ndimage.map_coordinates(SMALL, read, order=1, mode="nearest")
        np.testing.assert_allclose(
            sample.image[region.box][region.inside], values[region.inside], atol=1e-9
        )


def test_alpha_and_the_centre():
    drawn = _drawn(Source(), 500)
    alpha = _column(drawn, "alpha")
    assert np.sqrt(2) <= alpha.min() and alpha.max() < 4
    assert _uniform(np.log2(alpha), 0.5, 2)
    for seed in range(40):
        sample = Source()(SMALL, rng=seed)
        assert sample.mask[tuple(sample.record["parameters"]["centre"])]


def test_source_draws_an_ellipse_or_a_rectangle_with_equal_probability():
    option = np.array([d["mask"]["option"] for d in _drawn(Source(), 500)])
    assert abs(option.mean() - 0.5) < 5 * np.sqrt(0.25 / 500)


# GaussianIntensityChange


def test_gamma_has_either_sign_and_its_bounds():
    drawn = _drawn(GaussianIntensityChange(), 500)
    gamma = _column(drawn, "gamma")
    assert _uniform(np.abs(gamma), 0.4, 0.6) and abs((gamma > 0).mean() - 0.5) < 0.12
    assert set(_column(drawn, "sigma")) == {4.0, 7.0}
    assert _uniform(_column(drawn, "softness"), 1, 4)


@pytest.mark.parametrize("texture", ["box", "image"])
def test_the_texture_is_added_as_the_method_says(texture):
    for seed in range(5):
        sample = GaussianIntensityChange(texture=texture)(IMAGE, rng=seed)
        drawn = sample.record["parameters"]
        box = tuple(
            slice(c, c + n)
            for c, n in zip(drawn["mask"]["corner"], drawn["mask"]["shape"]["box"], strict=True)
        )
        shape = drawn["mask"]["shape"]["box"] if texture == "box" else IMAGE.shape
        noise = scipy.ndimage.gaussian_filter(
            sign_noise(shape, drawn["seed"]).astype(float), drawn["sigma"]
        )
        noise = (noise - noise.min()) / np.ptp(noise)
        soft = scipy.ndimage.gaussian_filter(sample.mask.astype(float), drawn["softness"])
        field = np.zeros(IMAGE.shape)
        field[box] = noise if texture == "box" else noise[box]
        expected = np.clip(IMAGE / 255 + drawn["gamma"] * field * soft, 0, 1) * 255
        np.testing.assert_allclose(sample.image[sample.mask], expected[sample.mask], atol=0.51)


# SmoothIntensityChange


def test_the_step_and_the_width():
    drawn = _drawn(SmoothIntensityChange(), 500)
    step, width = _column(drawn, "step"), _column(drawn, "width")
    assert np.abs(step).min() >= 15 and width.min() >= 0.02
    assert scipy.stats.kstest(np.abs(step) - 15, scipy.stats.gamma(3, scale=30).cdf).pvalue > 1e-3
    assert scipy.stats.kstest(width - 0.02, scipy.stats.gamma(3, scale=0.01).cdf).pvalue > 1e-3
    assert abs((step > 0).mean() - 0.5) < 0.12


def test_the_ramp_is_added_as_the_method_says():
    for seed in range(8):
        sample = SmoothIntensityChange(EllipseMask())(IMAGE, rng=seed)
        drawn = sample.record["parameters"]
        distance = scipy.ndimage.distance_transform_edt(np.pad(sample.mask, 1, mode="edge"))[
            1:-1, 1:-1
        ]
        ramp = np.minimum(distance / min(drawn["width"] * 224, distance.max()), 1)
        expected = np.clip(IMAGE + drawn["step"] * ramp, IMAGE.min(), IMAGE.max())
        np.testing.assert_allclose(sample.image[sample.mask], expected[sample.mask], atol=0.51)


# CutPaste


def test_the_patch_is_turned_and_scaled_as_the_method_says():
    donor = phantom("smooth", (480, 480), "float64", seed=1)
    drawn = _drawn(CutPaste(PerlinMask(box=(0.1, 0.2))), 500, donors=[donor])
    turn, scale = np.array([d["rotation"][0] for d in drawn]), _column(drawn, "scale")
    assert _uniform(turn, -45, 45)
    larger = scale > 1
    assert abs(larger.mean() - 0.5) < 0.12
    assert (
        scipy.stats.kstest(
            np.where(larger, scale, 1 / scale) - 1, scipy.stats.expon(scale=0.1).cdf
        ).pvalue
        > 1e-3
    )


def test_a_direct_paste_shows_the_donor():
    donor = phantom("smooth", (60, 70), "float64", seed=1)
    for seed in range(5):
        sample = CutPaste(blend="direct", rotation=0.0, scale=1.0)(SMALL, rng=seed, donors=[donor])
        drawn = sample.record["parameters"]
        shape = drawn["mask"]["shape"]["box"]
        read = np.indices(shape) + (np.array(drawn["middle"]) - (np.array(shape) - 1) / 2).reshape(
            -1, 1, 1
        )
        patch = scipy.ndimage.map_coordinates(donor, read, order=1)
        box = tuple(slice(c, c + n) for c, n in zip(drawn["mask"]["corner"], shape, strict=True))
        inside = sample.mask[box]
        np.testing.assert_allclose(sample.image[box][inside], patch[inside], atol=1e-9)


def test_the_source_region_stays_within_its_share_of_the_donor():
    for d in _drawn(CutPaste(PerlinMask(box=(0.5, 0.9)), source_share=0.4), 100):
        angle, scale = np.radians(d["rotation"][0]), d["scale"]
        half = (np.array(d["mask"]["shape"]["box"]) - 1) / 2 / scale
        reach = np.abs([[np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ half
        assert (2 * reach <= 0.4 * np.array(SMALL.shape)).all()


def test_the_label_of_what_changed():
    for seed in range(20):
        sample = CutPaste(blend="direct", label="changed")(IMAGE, rng=seed)
        changed = np.abs(sample.image.astype(int) - IMAGE) >= 1
        assert not (changed & ~sample.mask).any()
        closed = scipy.ndimage.binary_fill_holes(sample.mask)
        labels, count = scipy.ndimage.label(sample.mask, np.ones((3, 3)))
        if count == 1:
            np.testing.assert_array_equal(closed, sample.mask)
        assert labels.max() == count


def test_donors_are_drawn_alike_and_told_by_their_digest():
    donors = [phantom("noise", (48, 40), "float64", seed=s) for s in range(4)]
    index = np.array([d["donor"]["index"] for d in _drawn(CutPaste(), 300, donors=donors)])
    assert scipy.stats.chisquare(np.bincount(index, minlength=4)).pvalue > 1e-3
