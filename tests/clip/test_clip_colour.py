"""Grey or colour: what a method sees of its support images and of those that it scores."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

import synthmed  # noqa: E402
from synthmed_clip import Joined, MediCLIP, Method, NearestPatch, Subspace, ZeroShot, fit  # noqa: E402
from synthmed_clip.backbone.pixels import as_channels, to_pixels  # noqa: E402
from synthmed_clip.training import SyntheticSteps  # noqa: E402
from synthmed_clip.training.steps import as_bytes  # noqa: E402

SHORT = MediCLIP(epochs=1, tokens=2)
SKIN, GREEN = np.array([200, 150, 130]), np.array([120, 190, 134])  # of one luma, 163


@pytest.fixture(scope="module")
def skin(normals):
    """Smooth images of one hue, uint8, (50, 60, 3)."""
    return [(SKIN + (image[..., None] // 8).astype(int) - 16).astype(np.uint8) for image in normals]


@pytest.fixture(scope="module")
def lesion(skin):
    """The first of them, with a disc of another hue and of the same luma."""
    rows, columns = np.mgrid[:50, :60]
    disc = (rows - 25) ** 2 + (columns - 30) ** 2 < 100
    return np.where(disc[..., None], skin[0].astype(int) + GREEN - SKIN, skin[0]).astype(np.uint8)


@pytest.mark.parametrize(
    "method",
    [SHORT, NearestPatch(), Subspace(), ZeroShot(), replace(SHORT, score="evidence")],
    ids=lambda method: f"{method.name}",
)
def test_a_lesion_of_equal_luma_is_seen_in_colour_alone(method, backbone, skin, lesion):
    options = {"backbone": backbone, "rng": 0, "progress": False, "workers": 0, "channel_axis": -1}
    grey = fit(skin, method, **options)
    before, after = grey.predict([skin[0], lesion], channel_axis=-1)
    assert after.score == before.score
    assert np.array_equal(after.anomaly_map, before.anomaly_map)
    colour = fit(skin, replace(method, channels="colour"), **options)
    before, after = colour.predict([skin[0], lesion], channel_axis=-1)
    difference = np.abs(after.anomaly_map - before.anomaly_map)
    assert difference[15:35, 20:40].max() > 0.001
    assert colour.provenance.support != grey.provenance.support


def test_in_colour_grey_images_are_what_they_were(backbone, normals):
    """Three equal channels are grey to the tower, whichever way they are said."""
    grey = fit(normals, NearestPatch(), backbone=backbone)
    colour = fit(normals, NearestPatch(channels="colour"), backbone=backbone)
    assert torch.allclose(grey.score(normals).maps, colour.score(normals).maps, atol=1e-6)


def test_each_part_of_a_join_sees_its_own(backbone, skin, lesion):
    options = {"backbone": backbone, "rng": 0, "progress": False, "workers": 0}
    parts = (NearestPatch(channels="colour"), SHORT)
    joined = fit(skin, Joined(parts), channel_axis=-1, **options)
    assert joined.method.support_channels == joined.method.scored_channels == "colour"
    alone = fit([as_luma(image) for image in skin], SHORT, **options)
    learnt = joined.fitted.members[1].state()
    size = backbone.image_size  # resized in colour or in grey: within a level, so the fit is near
    assert all(torch.isfinite(v).all() for v in learnt.values() if isinstance(v, torch.Tensor))
    pixels = to_pixels(np.stack([resized(lesion, size)]))
    found = joined.fitted.members[1].score(as_channels(pixels, "grey")).maps
    assert torch.allclose(found, alone.fitted.score(as_channels(pixels, "grey")).maps, atol=0.05)
    before, after = joined.predict([skin[0], lesion], channel_axis=-1)
    difference = after.anomaly_map - before.anomaly_map
    assert np.abs(difference[15:35, 20:40]).max() > 0.001


def test_synthetic_anomalies_are_drawn_in_colour(skin):
    images = np.stack(skin)
    for recipe in (synthmed.preset("paper"), synthmed.preset("release")):
        steps = SyntheticSteps(recipe, images, 3, (7,))
        for index in range(steps.count):
            image, mask = steps.pair(0, index)
            assert image.shape == (50, 60, 3) and mask.shape == (50, 60)
            assert np.array_equal(image[~mask], images[index][~mask])
        pixels, masks = steps[0]
        assert pixels.shape == (3, 3, 50, 60) and masks.shape == (3, 50, 60)
    assert np.array_equal(as_bytes(to_pixels(images)), images)


def test_luma_is_of_whole_levels():
    pixels = torch.tensor([10.0, 100.0, 201.0]).reshape(1, 3, 1, 1)
    assert as_channels(pixels, "grey").item() == round(0.299 * 10 + 0.587 * 100 + 0.114 * 201)
    assert as_channels(pixels, "colour") is pixels


def test_a_method_of_ones_own_says_by_a_field_how_it_sees(monkeypatch):
    monkeypatch.setattr(Method, "known", dict(Method.known))

    @dataclass(frozen=True)
    class Own(Method):
        channels: str = "colour"

        def fit(self, support, backbone, rng=None):
            raise NotImplementedError

        @classmethod
        def restore(cls, state, backbone):
            raise NotImplementedError

    assert Own().support_channels == Own().scored_channels == "colour"
    with pytest.raises(ValueError, match="channels must be one of 'grey', 'colour', not 'hsv'"):
        _ = Own("hsv").scored_channels


def as_luma(image):
    return synthmed.io.grey(synthmed.io.Image(image, channel_axis=-1)).array


def resized(image, size):
    return synthmed.io.resize(synthmed.io.Image(image, channel_axis=-1), size).array
