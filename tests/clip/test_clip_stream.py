"""Predictions of any number of images, one after the other."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from synthmed_clip import Failure, NearestPatch, fit  # noqa: E402


@pytest.fixture(scope="module")
def detector(backbone, normals):
    return fit(normals, NearestPatch(), backbone=backbone)


@pytest.mark.parametrize("batch_size", [1, 4, 16])
@pytest.mark.parametrize("form", ["list", "generator", "paths", "folder", "one"])
def test_a_stream_says_what_predict_says(form, batch_size, detector, folder, normals):
    images = {
        "list": normals,
        "generator": normals,
        "paths": sorted((folder / "abnormal").iterdir()),
        "folder": folder / "abnormal",
        "one": normals[0],
    }[form]
    expected = detector.predict(images, batch_size=batch_size)
    expected = expected if isinstance(expected, list) else [expected]
    given = (image for image in images) if form == "generator" else images
    found = list(detector.predict_stream(given, batch_size=batch_size, maps=True))
    assert [(f.score, f.is_anomalous, f.p_value) for f in found] == [
        (e.score, e.is_anomalous, e.p_value) for e in expected
    ]
    for ours, theirs in zip(found, expected, strict=True):
        assert np.array_equal(ours.anomaly_map, theirs.anomaly_map)
    assert all(p.anomaly_map is None for p in detector.predict_stream(images))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_failures_stand_in_their_images_places(batch_size, detector, normals, folder, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    images = [
        normals[0],
        broken,
        np.full((8, 8), np.nan),
        normals[1],
        "nowhere.png",
        3,
        folder,
        normals[2].tolist(),
        normals[3],
    ]
    found = list(
        detector.predict_stream(iter(images), batch_size=batch_size, on_error="yield", alpha=0.5)
    )
    good = {0: 0, 3: 1, 8: 3}
    for index, prediction in enumerate(found):
        if index in good:
            expected = detector.predict(normals[good[index]], alpha=0.5)
            assert prediction.score == pytest.approx(expected.score, abs=1e-6)
            assert prediction.is_anomalous == expected.is_anomalous
        else:
            assert isinstance(prediction, Failure) and prediction.index == index
    said = [f"{f.image}: {f.reason}" for f in found if isinstance(f, Failure)]
    assert str(broken) in said[0] and said[1].startswith("an image of shape (8, 8): ")
    assert "no image or folder at nowhere.png" in said[2] and said[3].startswith("a int: an image")
    assert "is a folder" in said[4] and said[5].startswith("a list: an image must be")
    assert next(detector.predict_stream([broken], on_error="yield")).image == str(broken)
    with pytest.raises(ValueError, match=r"broken\.png"):
        list(detector.predict_stream(iter(images)))


def test_what_the_iterator_raises_ends_the_stream(detector, normals):
    def images():
        yield from normals[:3]
        raise OSError("the disk is gone")

    stream = detector.predict_stream(images(), batch_size=2, on_error="yield")
    assert len([next(stream), next(stream)]) == 2
    with pytest.raises(OSError, match="the disk is gone"):
        list(stream)


def test_arguments_are_refused_before_the_first_image(detector):
    for options, message in (
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"on_error": "skip"}, "on_error must be 'raise' or 'yield', not 'skip'"),
        ({"alpha": 0.001}, "alpha"),
    ):
        with pytest.raises(ValueError, match=message):
            detector.predict_stream(iter(()), **options)
    with pytest.raises(TypeError, match="images must be paths, arrays, or an iterable of them"):
        detector.predict_stream(3)
    assert list(detector.predict_stream(iter(()))) == []


class Scans:
    """As a map-style data set of torch's: items by number, and a length."""

    def __init__(self, items):
        self.items = items

    def __getitem__(self, index):
        return self.items[index]

    def __len__(self):
        return len(self.items)


def test_data_sets_and_generators_are_taken_and_sets_and_pairs_refused(detector, normals):
    tensors = [torch.from_numpy(image) for image in normals]
    expected = [found.score for found in detector.predict(normals)]
    for several in (Scans(tensors), (t for t in tensors), map(Image.fromarray, normals)):
        assert [found.score for found in detector.predict(several)] == expected
    streamed = detector.predict_stream(Scans(tensors))
    assert [found.score for found in streamed] == expected
    for predict in (detector.predict, lambda images: list(detector.predict_stream(images))):
        with pytest.raises(TypeError, match=r"must not be a set, .* pass sorted\(images\)"):
            predict({"a.png", "b.png"})
        with pytest.raises(TypeError, match="must be a list, not a dict: pass its values"):
            predict({"a": normals[0]})
        with pytest.raises(TypeError, match=r"not tuple; of \(image, label\) pass the images"):
            predict(Scans([(image, 0) for image in normals]))


class Counted(np.ndarray):
    """An array that can be referred to weakly."""


def test_few_images_are_alive_at_a_time_and_few_are_read_ahead(detector):
    """However long the stream: at most the one that is being read, and two batches are drawn
    ahead.
    """
    alive: list[weakref.ref] = []
    most = drawn = taken = 0

    def images():
        nonlocal drawn, most
        for number in range(40):
            image = np.full((64, 64), number, np.uint8).view(Counted)
            alive.append(weakref.ref(image))
            drawn += 1
            yield image
            del image
            most = max(most, sum(ref() is not None for ref in alive))

    for _ in detector.predict_stream(images(), batch_size=4):
        taken += 1
        assert drawn - taken < 3 * 4
    assert taken == 40 and most <= 2


def test_a_stream_that_is_left_stops_drawing(detector, normals):
    drawn = []

    def images():
        for number in range(1000):
            drawn.append(number)
            yield normals[0]

    stream = detector.predict_stream(images(), batch_size=2)
    next(stream)
    stream.close()
    assert len(drawn) <= 6


def test_regions_are_drawn_along_with_their_images(detector, normals):
    regions = [np.zeros(image.shape, bool) for image in normals]
    for number, region in enumerate(regions):
        region[5:30, 5 : 20 + number] = True
    expected = detector.predict(normals, roi=regions)
    found = list(detector.predict_stream(iter(normals), roi=iter(regions), batch_size=3, maps=True))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.score == pytest.approx(theirs.score, abs=1e-6)
        np.testing.assert_allclose(ours.anomaly_map, theirs.anomaly_map, atol=1e-5)
    scores = [p.score for p in detector.predict_stream(iter(normals), roi="auto")]
    assert scores == [p.score for p in detector.predict(normals, roi="auto")]
    regions[1] = regions[1][:-1]
    found = list(detector.predict_stream(normals, roi=regions, on_error="yield"))
    assert isinstance(found[1], Failure) and "region of interest has shape" in found[1].reason
    with pytest.raises(ValueError, match="roi must be one region an image; it has only 5"):
        list(detector.predict_stream(normals, roi=iter(regions[:5]), on_error="yield"))
    with pytest.raises(ValueError, match="roi must be one region an image; it has more"):
        list(detector.predict_stream(normals[:5], roi=iter(regions), on_error="yield"))
    with pytest.raises(ValueError, match="roi must be 'auto', or an iterable of one region"):
        detector.predict_stream(normals, roi="folder")
