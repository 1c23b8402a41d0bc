"""Changes that are no disease: visible, unlabelled; and what they do to a detector."""

import numpy as np
import pytest
import scipy

import synthmed
from synthmed import (
    BurnedInText,
    Callipers,
    EllipseMask,
    GainChange,
    Lesion,
    NothingToSee,
    Repeat,
    Shift,
    SideMarker,
    Speckle,
)
from synthmed.testing import check_anomaly, check_detector, phantom

IMAGE = phantom("smooth", (80, 96), "float64") * 0.7
UNIT = {"value_range": (0, 1)}
OVERLAYS = [Callipers(), BurnedInText(), SideMarker()]
DISTRACTORS = [*OVERLAYS, GainChange(), Speckle(), Shift(), Shift(order=3)]


@pytest.mark.parametrize("distractor", DISTRACTORS, ids=repr)
def test_a_distractor_keeps_the_contract(distractor):
    report = check_anomaly(distractor, examples=20)
    assert report.rejected < 12 and "unchanged_outside_mask" in report.not_applied


@pytest.mark.parametrize("distractor", DISTRACTORS, ids=repr)
def test_it_can_be_seen_and_labels_nothing(distractor):
    for seed in range(5):
        for image in (IMAGE, phantom("smooth", (6, 40, 44), "int16")):
            sample = distractor(image, rng=seed)
            assert not sample.mask.any() and sample.record["anomalies"] == []
            change = np.abs(sample.image.astype(float) - image).max()
            assert change >= np.ptp(image.astype(float)) / 255 * (1 - 1e-9)
    with pytest.raises(NothingToSee, match="constant"):
        distractor(np.zeros((30, 30)))


@pytest.mark.parametrize("distractor", OVERLAYS, ids=repr)
def test_ink_has_one_level_and_the_rest_is_the_image(distractor):
    for seed in range(5):
        sample = distractor(IMAGE, rng=seed, **UNIT)
        inked = sample.image != IMAGE
        assert 0 < inked.mean() < 0.4
        np.testing.assert_allclose(sample.image[inked], sample.record["parameters"]["level"])


@pytest.mark.parametrize("seed", range(5))
def test_callipers_mark_the_ends_of_their_line(seed):
    sample = Callipers(count=2, gap=0.0)(IMAGE, rng=seed, **UNIT)
    inked = sample.image != IMAGE
    ends = [end for line in sample.record["parameters"]["lines"] for end in line]
    assert all(inked[tuple(np.round(end).astype(int))] for end in ends)
    assert scipy.ndimage.label(inked)[1] <= 4
    dotted = Callipers(count=1, gap=4.0, length=0.5)(IMAGE, rng=seed, **UNIT).image != IMAGE
    assert scipy.ndimage.label(dotted, np.ones((3, 3)))[1] > 4


def test_callipers_lie_on_one_slice_and_text_on_all():
    volume = phantom("smooth", (10, 60, 60), "float64") * 0.7
    on = [(d(volume, rng=2, **UNIT).image != volume).any(axis=(1, 2)).sum() for d in OVERLAYS]
    assert on == [1, 10, 10]


@pytest.mark.parametrize("seed", range(5))
def test_gain_and_speckle_are_their_formulas(seed):
    sample = GainChange()(IMAGE, rng=seed, **UNIT)
    d = sample.record["parameters"]
    expected = np.clip(d["gain"] * IMAGE ** d["gamma"] + d["offset"], 0, 1)
    np.testing.assert_allclose(sample.image, expected, atol=1e-9)
    sample = Speckle(strength=0.05)(IMAGE, rng=seed, **UNIT)
    noise = (sample.image / np.maximum(IMAGE, 1e-9) - 1)[IMAGE > 0.05]
    assert abs(noise.std() / 0.05 - 1) < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_moves_the_image_as_scipy_does(seed):
    sample = Shift()(IMAGE, rng=seed)
    drawn = sample.record["parameters"]
    angle = np.radians(drawn["rotation"][0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = (np.array(IMAGE.shape) - 1) / 2
    offset = middle - turn @ (middle + drawn["shift"])
    expected = scipy.ndimage.affine_transform(IMAGE, turn, offset, order=1, mode="nearest")
    np.testing.assert_allclose(sample.image, expected, atol=1e-9)


def test_an_anomaly_after_a_shift_lies_in_the_moved_region_of_interest():
    roi = np.zeros(IMAGE.shape, bool)
    roi[10:30, 20:50] = True
    recipe = Shift(shift=0.2, rotation=0.0) + Lesion(EllipseMask(box=(0.1, 0.15), roi_overlap=1.0))
    for seed in range(5):
        mask = recipe(IMAGE, rng=seed, roi=roi).mask
        assert mask.any() and mask[26:46, 39:69].sum() >= 0.9 * mask.sum()


@pytest.mark.parametrize("recipe", [Lesion() + Shift(), Lesion() + (Shift() + GainChange())])
def test_a_mask_is_not_left_behind(recipe):
    with pytest.raises(ValueError, match="moves the image came after an anomaly"):
        recipe(IMAGE, rng=1)


def test_an_anomaly_under_callipers_keeps_its_mask():
    recipe = Shift() + Lesion() + Repeat(Callipers(), times=(1, 2)) + GainChange()
    sample = recipe(IMAGE, rng=3)
    assert sample.record["anomalies"] == ["Lesion"] and sample.mask.any()
    again = synthmed.replay(sample.record, IMAGE)
    np.testing.assert_array_equal(again.image, sample.image)


# check_detector


class Brightness:
    """A detector that is fooled by brightness alone."""

    def predict(self, image):
        return type("Prediction", (), {"score": float(np.mean(image))})


def test_a_detector_is_told_what_moves_it():
    images = [IMAGE * share for share in (0.8, 0.9, 1.0)]
    found = check_detector(Brightness(), images, **UNIT)
    assert {s.name for s in found} == {
        *("callipers", "text", "side marker", "gain", "speckle", "shift")
    }
    assert found[0].name == "gain" and all(s.images == 3 for s in found)
    assert [s.largest for s in found] == sorted((s.largest for s in found), reverse=True)
    text = next(s for s in found if s.name == "text")
    assert text.mean > 0
    assert check_detector(Brightness(), images, **UNIT) == found
    assert check_detector(Brightness(), images, rng=1, **UNIT) != found


def test_a_shift_is_in_units_of_the_spread():
    images = [IMAGE * 0.5, IMAGE * 0.7]
    spread = np.std([np.mean(i) for i in images])
    offset = {"offset": GainChange(gain=1.0, offset=0.1, gamma=1.0)}
    (shift,) = check_detector(np.mean, images, distractors=offset, **UNIT)
    assert shift.mean == pytest.approx(0.1 / spread) == pytest.approx(shift.largest)


@pytest.mark.parametrize(
    ("detector", "images", "more", "error", "message"),
    [
        (np.mean, [IMAGE], {}, ValueError, "images must be two or more, got 1"),
        (lambda image: 1.0, [IMAGE, IMAGE / 2], {}, ValueError, "must differ in their scores"),
        (lambda image: np.nan, [IMAGE, IMAGE], {}, ValueError, "must give finite scores"),
        (
            np.mean,
            [IMAGE, IMAGE / 2],
            {"distractors": {"disease": Lesion()}},
            TypeError,
            r"distractors\['disease'\] must leave the mask empty",
        ),
    ],
)
def test_bad_input_is_named(detector, images, more, error, message):
    with pytest.raises(error, match=message):
        check_detector(detector, images, **more)
