"""Blobs and strokes as shapes; atrophy and swelling as maps that fold nowhere."""

import numpy as np
import pytest
import scipy

from synthmed import Atrophy, BlobMask, Scene, StrokeMask, Swelling
from synthmed.anomalies.flow import flow_coordinates
from synthmed.testing import phantom, phantom_mask

IMAGE = phantom("smooth", (96, 80), "float64")
SEEDS = range(6)


@pytest.mark.parametrize("shape", [(96, 80), (16, 40, 44)])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_blob_mask_has_its_components_and_cover(shape, seed):
    image = phantom("smooth", shape)
    sample = BlobMask(components=(1, 3))(image, rng=seed)
    drawn = sample.record["parameters"]["shape"]
    size = round(drawn["cover"] * np.prod(drawn["box"]))
    every = BlobMask(components=99).render(drawn | {"components": 99}, Scene.of(image)).inside
    labels, found = scipy.ndimage.label(every)
    assert size <= np.count_nonzero(every) <= size * 1.02 + 1
    kept = np.sort(np.bincount(labels.ravel())[1:])[-drawn["components"] :]
    assert scipy.ndimage.label(sample.mask)[1] == min(found, drawn["components"])
    assert np.count_nonzero(sample.mask) == kept.sum()


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.5)])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_straight_stroke_has_its_length_and_width(spacing, seed):
    image = phantom("smooth", (300, 1200) if spacing[0] > 1 else (600, 600))
    sample = StrokeMask(length=0.4, width=8.0, waviness=0.0)(image, rng=seed, spacing=spacing)
    points = np.argwhere(sample.mask) * spacing
    axis = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2]
    along, across = np.ptp((points - points.mean(axis=0)) @ axis.T, axis=0)
    width = 8 * 600 / 224
    assert abs(along - 240 - width) < 4 * max(spacing)
    assert abs(across - width) < 3 * max(spacing)


def test_a_thin_stroke_is_one_piece():
    for seed in range(40):
        for image, square in ((IMAGE, (3, 3)), (phantom("smooth", (20, 40, 44)), (3, 3, 3))):
            mask = StrokeMask(width=0.1, waviness=0.8)(image, rng=seed).mask
            assert scipy.ndimage.label(mask, np.ones(square))[1] == 1


def jacobian(coordinates, spacing):
    """Determinants by central differences, in physical space (it is the same in pixels)."""
    n = len(coordinates)
    rows = [[np.gradient(coordinates[i], axis=j) for j in range(n)] for i in range(n)]
    return np.linalg.det(np.moveaxis(np.array(rows), (0, 1), (-2, -1)))


@pytest.mark.parametrize(
    ("shape", "spacing"), [((90, 110), (1, 1)), ((60, 90), (2, 1)), ((24, 40, 44), (2, 1, 1))]
)
@pytest.mark.parametrize("kind", ["disc", "ragged"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("ratio", [1.5, 3.0])
def test_the_flow_folds_nowhere_and_its_volumes_are_bounded(shape, spacing, kind, sign, ratio):
    inside = phantom_mask(kind, shape, seed=3)
    determinants = jacobian(flow_coordinates(inside, spacing, ratio, sign), spacing)
    assert determinants.min() > 1 / ratio * 0.9 and determinants.max() < ratio * 1.1
    assert max(determinants.max(), 1 / determinants.min()) > 1.15
    middle = np.argmax(scipy.ndimage.distance_transform_edt(np.pad(inside, 1), sampling=spacing))
    centre = np.array(np.unravel_index(middle, [n + 2 for n in shape])) - 1
    assert (determinants[tuple(centre)] < 1) == (sign > 0)  # content grows where less is read


@pytest.mark.parametrize("shape", [(90, 110), (20, 40, 44)])
def test_the_two_flows_undo_each_other(shape):
    inside, spacing = phantom_mask("disc", shape, seed=3), (1.0,) * len(shape)
    there, back = (flow_coordinates(inside, spacing, 2.0, sign) for sign in (1, -1))
    both = np.array(
        [scipy.ndimage.map_coordinates(c, back, order=3, mode="nearest") for c in there]
    )
    far = np.abs(both - np.indices(shape))[:, inside].max()
    # What is left is of the grid: at twice the resolution it is half as much.
    assert far < 0.2 and np.abs(there - np.indices(shape)).max() > 1


def test_nothing_moves_at_the_edge_or_beyond():
    inside = phantom_mask("disc", (90, 110), seed=3)
    coordinates = flow_coordinates(inside, (1, 1), 3.0, 1)
    np.testing.assert_array_equal(coordinates[:, ~inside], np.indices(inside.shape)[:, ~inside])
    edge = inside & ~scipy.ndimage.binary_erosion(inside)
    assert np.abs(coordinates - np.indices(inside.shape))[:, edge].max() < 0.5


@pytest.mark.parametrize(("anomaly", "sign"), [(Swelling, 1), (Atrophy, -1)])
@pytest.mark.parametrize("order", [1, 3])
def test_the_image_is_read_where_the_flow_says(anomaly, sign, order):
    for seed in range(3):
        sample = anomaly(order=order)(IMAGE, rng=seed)
        drawn = sample.record["parameters"]
        region = anomaly().mask.apply(drawn["mask"], Scene.of(IMAGE))
        read = flow_coordinates(region.inside, (1, 1), drawn["volume_ratio"], sign)
        read += np.reshape(region.corner, (2, 1, 1))
        values = scipy.ndimage.map_coordinates(IMAGE, read, order=order, mode="nearest")
        expected = np.clip(values[region.inside], IMAGE.min(), IMAGE.max())
        np.testing.assert_allclose(sample.image[region.box][region.inside], expected, atol=1e-6)
