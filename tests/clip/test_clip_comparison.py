"""DeLong's test against its definition, its own claims on simulated scores, and the bootstrap
beside it.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from synthmed_clip.evaluation.comparison import delong, paired_bootstrap
from synthmed_clip.evaluation.metrics import image_metrics
from synthmed_clip.evaluation.pixels import pixel_metrics


def pairs(scores, abnormal):
    """How each abnormal image (rows) fares against each normal one (columns): 1, 1/2 or 0."""
    positive, negative = scores[abnormal][:, None], scores[~abnormal][None]
    return (positive > negative) + (positive == negative) / 2


def delong_by_pairs(a, b, abnormal):
    """Difference and variance, from covariance matrices of the definition."""
    won = np.stack([pairs(a, abnormal), pairs(b, abnormal)])
    m, n = won.shape[1:]
    covariance = np.cov(won.mean(2)) / m + np.cov(won.mean(1)) / n
    areas = won.mean((1, 2))
    return areas, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]


def simulated(rng, normal=40, abnormal=60, gain=(1.0, 1.0), digits=None):
    """Scores of two methods that share half of their noise."""
    kind = rng.permutation(np.arange(normal + abnormal) < abnormal)
    shared = rng.normal(size=kind.size)
    both = [g * kind + (shared + rng.normal(size=kind.size)) / np.sqrt(2) for g in gain]
    return (*(both if digits is None else [np.round(s, digits) for s in both]), kind)


@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize("seed", range(5))
def test_delong_is_its_definition(digits, seed):
    a, b, abnormal = simulated(np.random.default_rng(seed), gain=(1.0, 0.6), digits=digits)
    areas, variance = delong_by_pairs(a, b, abnormal)
    found = delong(a, b, abnormal)
    assert (found.a, found.b) == pytest.approx(areas, abs=1e-12)
    assert found.a == pytest.approx(image_metrics(a, abnormal, 0)["AUROC"].value, abs=1e-12)
    assert found.difference == pytest.approx(areas[0] - areas[1], abs=1e-12)
    assert found.standard_error == pytest.approx(np.sqrt(variance), rel=1e-9)
    assert found.z == pytest.approx(found.difference / found.standard_error)
    assert found.high - found.difference == pytest.approx(1.959964 * found.standard_error, rel=1e-6)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_closed_forms():
    """Turned around, a method's AUROC is one less its own: the difference has twice its standard
    error.
    """
    a, _, abnormal = simulated(np.random.default_rng(0))
    turned, constant = delong(a, -a, abnormal), delong(a, np.zeros(100), abnormal)
    assert turned.b == pytest.approx(1 - turned.a) and constant.b == 0.5
    assert turned.standard_error == pytest.approx(2 * constant.standard_error)
    assert turned.z == pytest.approx(constant.z)
    # Two of each kind, by hand: a wins all but one pair, b all; the abnormal images of a win (1, 1)
    # and (0, 1).
    found = delong(
        np.array([4, 2, 3, 1]), np.array([4, 3, 2, 1]), np.array([True, True, False, False])
    )
    assert (found.a, found.b) == (0.75, 1) and found.standard_error == pytest.approx(
        np.sqrt(0.125 / 2 + 0.125 / 2)
    )


def test_what_does_not_matter():
    rng = np.random.default_rng(1)
    a, b, abnormal = simulated(rng, gain=(1.2, 0.9))
    found, order = delong(a, b, abnormal), rng.permutation(100)
    for other in (
        delong(a[order], b[order], abnormal[order]),
        delong(np.exp(a), 3 * b - 2, abnormal),
    ):
        assert (other.p, other.standard_error) == pytest.approx(
            (found.p, found.standard_error), rel=1e-9
        )
    swapped = delong(b, a, abnormal)
    assert (swapped.difference, swapped.low, swapped.p) == pytest.approx(
        (-found.difference, -found.high, found.p)
    )


def test_no_difference_and_no_variance():
    a, _, abnormal = simulated(np.random.default_rng(2))
    for other in (a, 5 * a + 1):
        found = delong(a, other, abnormal)
        assert (found.difference, found.standard_error, found.z, found.p) == (0, 0, 0, 1)
    for found in paired_bootstrap(a, a, abnormal, resamples=50).values():
        assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)
    perfect = np.where(abnormal, 1.0, 0.0)
    assert delong(perfect, perfect + a / 100, abnormal).p == 1
    found = delong(perfect, np.zeros(100), abnormal)
    assert (found.difference, found.z, found.p) == (0.5, np.inf, 0)


def test_five_per_cent_of_equal_methods_differ():
    rng = np.random.default_rng(3)
    found = [delong(*simulated(rng)) for _ in range(2000)]
    p, z = np.array([f.p for f in found]), np.array([f.z for f in found])
    assert (
        0.038 < (p < 0.05).mean() < 0.065
    )  # 2.5 standard deviations of the share, and the small samples' excess
    assert 0.4 < (p < 0.5).mean() < 0.6 and abs(z.mean()) < 0.08 and 0.93 < z.std() < 1.1


def test_a_better_method_is_found():
    a, b, abnormal = simulated(np.random.default_rng(4), 200, 200, gain=(1.5, 0.7))
    for found in (delong(a, b, abnormal), *paired_bootstrap(a, b, abnormal).values()):
        assert found.p < 0.01 and found.low > 0 and found.z > 2
        assert f"{found.difference:+.4f} [" in str(found) and "p = " in str(found)


def test_bootstrap_agrees_with_delong():
    a, b, abnormal = simulated(np.random.default_rng(5), 150, 150, gain=(1.2, 1.0))
    exact, found = delong(a, b, abnormal), paired_bootstrap(a, b, abnormal, resamples=4000)
    assert found["AUROC"].difference == pytest.approx(exact.difference, abs=1e-12)
    assert found["AUROC"].standard_error == pytest.approx(exact.standard_error, rel=0.05)
    assert (found["AUROC"].low, found["AUROC"].high) == pytest.approx(
        (exact.low, exact.high), abs=0.004
    )
    assert found["AUROC"].p == pytest.approx(exact.p, abs=0.03)
    assert {name: f.a for name, f in found.items()} == {
        name: i.value for name, i in image_metrics(a, abnormal, 0).items()
    }


def test_maps():
    rng = np.random.default_rng(6)
    masks = np.zeros((40, 16, 16), bool)
    masks[15:, 4:9, 5:12] = True
    abnormal = masks.any((1, 2))
    noise = (rng.normal(size=(40, 16, 16)) + rng.normal(size=(40, 1, 1))).astype(np.float32)
    better, worse = (noise + gain * masks for gain in (2.0, 1.0))
    found = paired_bootstrap(
        better.astype(np.float32), worse.astype(np.float32), abnormal, masks, 200
    )
    assert set(found) == {"AUROC", "AP", "AUPRO"}
    separate = pixel_metrics(better.astype(np.float32), masks, abnormal, 200)
    for name, comparison in found.items():
        assert (
            comparison.a == separate[name].value
            and comparison.low > 0
            and comparison.p == pytest.approx(2 / 201)
        )
        # What the pairing is for: both methods share the images' noise.
        assert comparison.high - comparison.low < separate[name].high - separate[name].low
    same = paired_bootstrap(better, better, abnormal, masks, 20)
    assert all(comparison.p == 1 and comparison.standard_error == 0 for comparison in same.values())


def test_what_is_refused():
    a, b, abnormal = simulated(np.random.default_rng(7))
    for test in (delong, paired_bootstrap):
        with pytest.raises(ValueError, match="shapes"):
            test(a, b[1:], abnormal)
        with pytest.raises(ValueError, match="shapes"):
            test(a, b, abnormal[1:])
        with pytest.raises(ValueError, match="NaN"):
            test(a, np.append(b[1:], np.nan), abnormal)
    with pytest.raises(ValueError, match="1 abnormal and 99 normal"):
        delong(a, b, np.arange(100) == 3)
    with pytest.raises(ValueError, match="one kind"):
        paired_bootstrap(a, b, np.ones(100, bool))
    with pytest.raises(ValueError, match="needs resamples"):
        paired_bootstrap(a, b, abnormal, resamples=0)
    with pytest.raises(ValueError, match="masks of shape"):
        paired_bootstrap(
            np.zeros((100, 2, 2)), np.zeros((100, 2, 2)), abnormal, np.zeros((100, 3, 3), bool)
        )
