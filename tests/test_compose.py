"""Compositions: their shares, their order, their operators."""

from dataclasses import dataclass

import numpy as np
import pytest
import scipy

import synthmed
from synthmed import (
    Anomaly,
    CutPaste,
    EllipseMask,
    Identity,
    Mask,
    NothingToSee,
    OneOf,
    PerlinMask,
    RectangleMask,
    Repeat,
    Sequence,
    Shape,
    Sink,
    SmoothIntensityChange,
    Source,
)
from synthmed.testing import Trial, invariants, phantom, phantom_mask

IMAGE = phantom("smooth", (40, 48))


def _anomalies(recipe, n):
    return [tuple(recipe(IMAGE, rng=seed).record["anomalies"]) for seed in range(n)]


def test_the_paper_draws_its_three_tasks_alike():
    drawn = _anomalies(synthmed.preset("paper"), 600)
    counts = [drawn.count((name,)) for name in ("CutPaste", "GaussianIntensityChange", "Source")]
    assert sum(counts) == 600
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_the_release_draws_four_tasks_alike_and_a_second_half_of_the_time():
    records = [
        synthmed.preset("release")(IMAGE, rng=seed).record["parameters"]["members"]
        for seed in range(600)
    ]
    twice = np.mean([len(members) == 2 for members in records])
    assert abs(twice - 0.5) < 5 * np.sqrt(0.25 / 600)
    options = [m["option"] for members in records for m in members]
    assert scipy.stats.chisquare(np.bincount(options, minlength=4)).pvalue > 1e-3
    empty = np.mean([not a for a in _anomalies(synthmed.preset("release"), 300)])
    assert abs(empty - (0.5 * 0.25 + 0.5 * 0.25**2)) < 5 * np.sqrt(0.15 * 0.85 / 300)


def test_weights():
    drawn = _anomalies(OneOf(Source(), Sink(), SmoothIntensityChange(), weights=(3, 1, 0)), 400)
    assert (("SmoothIntensityChange",) not in drawn) and abs(
        drawn.count(("Source",)) / 400 - 0.75
    ) < 0.11
    times = [
        len(a)
        for a in _anomalies(Repeat(Source(), times=synthmed.Choice((0, 3), weights=(1, 3))), 200)
    ]
    assert set(times) == {0, 3} and abs(np.mean(times) / 3 - 0.75) < 0.16


def test_each_is_drawn_on_the_result_of_the_one_before():
    both = SmoothIntensityChange() + Source()
    for seed in range(10):
        sample = both(IMAGE, rng=seed)
        rng = np.random.default_rng(seed)
        first = SmoothIntensityChange()(IMAGE, rng=rng)
        second = Source()(first.image, rng=rng)
        np.testing.assert_array_equal(sample.image, second.image)
        np.testing.assert_array_equal(sample.mask, first.mask | second.mask)
        assert sample.record["anomalies"] == ["SmoothIntensityChange", "Source"]


def test_operators():
    a, b, c = Source(), Sink(), Identity()
    assert a | b | c == OneOf(a, b, c) == (a | b) | c and a + b + c == Sequence(a, b, c)
    assert PerlinMask() | EllipseMask() | RectangleMask() == OneOf(
        PerlinMask(), EllipseMask(), RectangleMask()
    )
    assert OneOf(a, b, weights=(1, 2)) | c == OneOf(OneOf(a, b, weights=(1, 2)), c)
    assert (PerlinMask() | EllipseMask()).is_mask and not (a | b).is_mask
    with pytest.raises(TypeError):
        a + EllipseMask()


def test_a_second_anomaly_does_not_undo_the_first():
    """Found by check_anomaly: what both left was below 1/255 of the value range, under a mask of
    six pixels.
    """
    trial = Trial(
        Source() + CutPaste(),
        phantom("gradient", (18, 5), "int16"),
        seed=479001600,
        roi=phantom_mask("ragged", (18, 5), seed=18),
    )
    invariants.visible_inside_mask(trial)


def test_what_always_undoes_itself_is_rejected():
    with pytest.raises(NothingToSee, match="undid its own changes"):
        (Inverted() + Inverted())(IMAGE, rng=0)


@dataclass(frozen=True, repr=False)
class AllButOne(Mask):
    """The whole image but its first pixel."""

    def draw(self, rng, scene):
        return {}

    def render(self, parameters, scene):
        inside = np.ones(scene.shape, bool)
        inside.flat[0] = False
        return Shape(inside)


@dataclass(frozen=True, repr=False)
class Inverted(Anomaly):
    """All but one pixel inverted: done twice, nothing."""

    mask: Mask = AllButOne()

    def draw(self, rng, scene, region):
        return {}

    def change(self, parameters, scene, region):
        return 1 - scene.patch(region.box), region.inside
