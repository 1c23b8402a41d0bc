"""What docs/method.md states of the shapes, over many draws."""

import os

import numpy as np
import PIL.Image
import pytest
import scipy

import synthmed
from synthmed import (
    CutPaste,
    EllipseMask,
    GaussianIntensityChange,
    IntersectionMask,
    NothingToSee,
    PerlinMask,
    RectangleMask,
    Scene,
    Sink,
    Source,
    UnionMask,
)
from synthmed.io import read_mask
from synthmed.kernels import edge_ratio
from synthmed.testing import check_anomaly, phantom

IMAGE = phantom("smooth", (224, 224))


def _records(mask, n, image=IMAGE, **call):
    return [mask(image, rng=seed, **call) for seed in range(n)]


def _extents(mask):
    return [np.ptp(np.flatnonzero(mask.any(axis=1 - axis))) + 1 for axis in range(2)]


def test_perlin_boxes_are_uniform_between_their_bounds():
    # No least cover: else draws are chosen among, and the sizes with them.
    samples = _records(PerlinMask(least_cover=0.0), 600)
    sides = np.array([s.record["parameters"]["shape"]["box"] for s in samples])
    assert sides.min() >= 0.1 * 224 and sides.max() <= 0.6 * 224
    assert scipy.stats.kstest((sides.ravel() - 22.5) / 112, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(sides.T)[0, 1]) < 0.2  # each side on its own


def test_perlin_covers_enough_and_turns_uniformly():
    samples = _records(PerlinMask(), 300)
    for s in samples:
        box = s.record["parameters"]["shape"]["box"]
        assert np.count_nonzero(s.mask) >= 0.2 * np.prod(box)
    turns = np.array([s.record["parameters"]["shape"]["rotation"][0] for s in samples])
    assert np.abs(turns).max() <= 90
    assert scipy.stats.kstest(turns / 180 + 0.5, "uniform").pvalue > 1e-3


def test_places_are_uniform():
    samples = _records(PerlinMask(least_cover=0.0), 400)
    drawn = [s.record["parameters"] for s in samples]
    share = np.array([np.array(d["corner"]) / (224 - np.array(d["shape"]["box"])) for d in drawn])
    assert scipy.stats.kstest(share.ravel(), "uniform").pvalue > 1e-3


def test_more_cells_give_more_ragged_shapes():
    def raggedness(cells):
        masks = [s.mask for s in _records(PerlinMask(cells=cells, least_cover=0.05), 60)]
        return np.mean(
            [
                np.count_nonzero(m ^ scipy.ndimage.binary_erosion(m)) / np.sqrt(m.sum())
                for m in masks
            ]
        )

    assert raggedness(1) < raggedness(3) < raggedness(6)


@pytest.mark.parametrize("figure", [EllipseMask, RectangleMask])
def test_figures_stay_within_their_bounds(figure):
    for s in _records(figure(), 200):
        assert max(_extents(s.mask)) <= 0.6 * 224


def test_sides_are_gamma_distributed_and_clipped():
    """Unsheared, unturned and unclipped, the sides are 0.03 + Gamma(2, 0.1) of the image's."""
    free = EllipseMask(box=(0.0, 1.0), shear=0.0, rotation=(0.0, 0.0))
    sides = np.array(
        [
            np.diag(s.record["parameters"]["shape"]["to_pixels"]) * 2 / 224
            for s in _records(free, 400)
        ]
    ).ravel()
    inner = sides[sides < 0.999]
    expected = scipy.stats.gamma(2, loc=0.03, scale=0.1)
    assert scipy.stats.kstest(inner, expected.cdf).pvalue > 1e-3
    sides = np.array(
        [
            np.diag(s.record["parameters"]["shape"]["to_pixels"]) * 2 / 224
            for s in _records(EllipseMask(shear=0.0, rotation=(0.0, 0.0)), 400)
        ]
    ).ravel()
    clipped = np.mean(sides < 0.2 + 2e-3)
    assert abs(clipped - expected.cdf(0.2)) < 5 * np.sqrt(0.25 / 800)


@pytest.mark.parametrize(("figure", "is_box"), [(EllipseMask, False), (RectangleMask, True)])
@pytest.mark.parametrize("shape", [(80, 120), (20, 30, 26)])
def test_a_figure_is_the_pixels_whose_centres_lie_inside(figure, is_box, shape):
    for seed in range(10):
        sample = figure()(phantom("smooth", shape), rng=seed)
        drawn = sample.record["parameters"]
        to_unit = np.linalg.inv(drawn["shape"]["to_pixels"])
        inside = np.argwhere(sample.mask)
        ends = inside.min(axis=0), inside.max(axis=0)
        # The middle is that of the box, of which the mask's own bounding box may be a little less.
        middle = np.mean(ends, axis=0)
        unit = (inside - middle) @ to_unit.T
        size = np.abs(unit).max(axis=1) if is_box else np.sqrt((unit**2).sum(axis=1))
        assert size.max() < 1.35
        volume = np.prod(np.linalg.svd(np.array(drawn["shape"]["to_pixels"]))[1])
        volume *= 2 ** len(shape) if is_box else {2: np.pi, 3: 4 / 3 * np.pi}[len(shape)]
        assert np.count_nonzero(sample.mask) == pytest.approx(volume, rel=0.25)


def test_edge_ratio_tells_the_inside_of_a_figure():
    ratio = edge_ratio((41, 41), (20, 20), np.eye(2) / 15)
    np.testing.assert_allclose(ratio, np.hypot(*(np.indices((41, 41)) - 20)) / 15, atol=1e-12)


def test_a_rectangle_has_corners_and_an_ellipse_has_none():
    def fill(figure):
        plain = figure(shear=0.0, rotation=(0.0, 0.0))
        return np.mean([s.mask.sum() / np.prod(_extents(s.mask)) for s in _records(plain, 30)])

    assert fill(RectangleMask) == 1
    assert fill(EllipseMask) == pytest.approx(np.pi / 4, abs=0.02)


def test_overlays_share_their_middle():
    box, disc = (
        RectangleMask(shear=0.0, rotation=(0.0, 0.0)),
        EllipseMask(shear=0.0, rotation=(0.0, 0.0)),
    )
    for s in _records(UnionMask(box, disc), 30):
        layers = s.record["parameters"]["shape"]["masks"]
        drawn = [
            kind.apply(p, Scene.of(IMAGE)).inside
            for kind, p in zip((box, disc), layers, strict=True)
        ]
        sides = np.max([d.shape for d in drawn], axis=0)
        expected = np.zeros(sides, bool)
        for d in drawn:
            first = (sides - d.shape) // 2
            expected[tuple(slice(a, a + n) for a, n in zip(first, d.shape, strict=True))] |= d
        np.testing.assert_array_equal(_cut(s.mask), _cut(expected))
    union, both = (
        np.mean([s.mask.sum() for s in _records(k(box, disc), 60)])
        for k in (UnionMask, IntersectionMask)
    )
    assert both < union


def _cut(mask):
    inside = np.argwhere(mask)
    (a, b), (c, d) = inside.min(axis=0), inside.max(axis=0) + 1
    return mask[a:c, b:d]


def test_why_there_is_no_mask_is_told():
    image = np.zeros((40, 40))
    with pytest.raises(NothingToSee, match="accepted none"):
        PerlinMask(least_cover=1.0)(image, rng=0)
    roi = np.zeros((40, 40), bool)
    roi[3, 5] = True
    with pytest.raises(NothingToSee, match="no place in the region of interest"):
        PerlinMask(roi_overlap=1.0)(image, rng=0, roi=roi)


THIN = [(1, 64, 64), (2, 64, 64), (3, 64, 48), (4, 64, 64), (7, 64, 64), (64, 3, 64), (64, 64, 1)]


@pytest.mark.parametrize("shape", THIN)
@pytest.mark.parametrize(
    "mask",
    [
        PerlinMask(),
        PerlinMask(box=(0.3, 0.8)),
        EllipseMask(),
        RectangleMask(),
        UnionMask(EllipseMask(), PerlinMask()),
        IntersectionMask(EllipseMask(), PerlinMask()),
    ],
)
@pytest.mark.parametrize("anomaly", [CutPaste, GaussianIntensityChange, Source, Sink])
def test_every_generator_works_on_thin_volumes(shape, mask, anomaly):
    volume = phantom("smooth", shape, "float32")
    for seed, spacing in ((0, None), (1, (1.0, 1.0, 1.0)), (2, (5.0, 1.0, 1.0))):
        sample = anomaly(mask)(volume, rng=seed, spacing=spacing)
        assert sample.mask.any() and not sample.mask.all()
        np.testing.assert_array_equal(sample.image[~sample.mask], volume[~sample.mask])
        again = synthmed.replay(sample.record, volume)
        np.testing.assert_array_equal(again.image, sample.image)


@pytest.mark.parametrize("mask", [PerlinMask(), EllipseMask(), RectangleMask()])
def test_on_one_slice_shapes_are_as_large_as_on_the_image(mask):
    """Turned out of the slice they would be a few pixels."""
    slices = [_records(mask, 60, phantom("smooth", s)) for s in ((1, 64, 64), (64, 64))]
    volume, image = (np.mean([np.count_nonzero(s.mask) for s in found]) for found in slices)
    assert 0.6 < volume / image < 1.7


def test_a_volume_that_is_small_all_round_is_too_small():
    for shape in ((3, 3, 64), (2, 2, 2), (1, 64)):
        with pytest.raises(NothingToSee, match="too small"):
            EllipseMask()(phantom("smooth", shape), rng=0)


def test_a_mask_over_the_whole_image_is_drawn_again():
    image = phantom("smooth", (64, 64))
    wide = RectangleMask(
        box=(0.5, 1.0), side=synthmed.Gamma(2.0, 0.3, offset=0.03), shear=0.0, rotation=(0, 0)
    )
    for seed in range(150):  # one in thirty was such
        assert not wide(image, rng=seed).mask.all()
        assert not CutPaste(wide)(image, rng=seed).mask.all()
    whole = RectangleMask(box=(1.0, 1.0), shear=0.0, rotation=(0, 0))
    for generator in (whole, CutPaste(whole), UnionMask(whole, EllipseMask())):
        with pytest.raises(NothingToSee, match="accepted none"):
            generator(image, rng=0)


@pytest.mark.parametrize("shape", [(96, 80), (20, 48, 44)])
@pytest.mark.parametrize("spacing", [1.0, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_scattered_shapes_keep_their_gap(shape, spacing, seed):
    scattered = synthmed.ScatterMask(synthmed.EllipseMask(box=(0.1, 0.2)), count=3, gap=0.08)
    steps = (spacing,) + (1.0,) * (len(shape) - 1)
    mask = scattered(phantom("smooth", shape), rng=seed, spacing=steps).mask
    labels, found = scipy.ndimage.label(mask)
    gap = 0.08 * np.median(np.multiply(shape, steps))
    assert found == 3
    for one in range(1, 4):
        distance = scipy.ndimage.distance_transform_edt(labels != one, sampling=steps)
        assert distance[mask & (labels != one)].min() > gap


def test_too_many_shapes_are_refused():
    crowded = synthmed.ScatterMask(synthmed.EllipseMask(box=(0.4, 0.5)), count=9)
    with pytest.raises(synthmed.NothingToSee, match=r"found room for \d of 9 shapes"):
        crowded(phantom("smooth", (40, 40)), rng=0)


@pytest.fixture
def lesions(tmp_path):
    """Two masks of files: an L of 3 : 1 pixels, and a disc."""
    corner = np.zeros((60, 60), np.uint8)
    corner[10:30, 20:24] = corner[26:30, 20:40] = 255
    disc = np.uint8(np.hypot(*np.mgrid[-30:30, -30:30]) < 9) * 255
    for name, mask in (("corner", corner), ("disc", disc)):
        PIL.Image.fromarray(mask).save(tmp_path / f"{name}.png")
    return tmp_path


def test_a_mask_of_a_file_is_its_shape(lesions):
    exact = synthmed.FileMask(str(lesions), scale=1.0, rotation=0.0, mirror=False)
    twice = synthmed.FileMask(str(lesions), scale=1.0, rotation=(-180, 180))
    names = set()
    for seed in range(12):
        sample = exact(phantom("smooth", (60, 60)), rng=seed)
        name = sample.record["parameters"]["shape"]["file"]
        names.add(name)
        expected = np.asarray(PIL.Image.open(lesions / name)) > 0
        cut = [m[scipy.ndimage.find_objects(m)[0]] for m in (sample.mask * 1, expected * 1)]
        np.testing.assert_array_equal(*cut)
        sample = twice(phantom("smooth", (120, 120)), rng=seed)
        area = 4 * np.count_nonzero(
            np.asarray(PIL.Image.open(lesions / sample.record["parameters"]["shape"]["file"]))
        )
        assert abs(np.count_nonzero(sample.mask) / area - 1) < 0.05
    assert names == {"corner.png", "disc.png"}


def test_a_mask_of_a_file_keeps_the_contract(lesions):
    check_anomaly(synthmed.FileMask(str(lesions)), examples=30, dimensions=2)


def test_a_changed_or_missing_file_is_named(lesions, tmp_path_factory):
    image = phantom("smooth", (60, 60))
    generator = synthmed.FileMask(str(lesions))
    record = generator(image, rng=1).record
    np.testing.assert_array_equal(synthmed.replay(record, image).mask, generator(image, rng=1).mask)
    path = lesions / record["parameters"]["shape"]["file"]
    other = np.uint8(np.eye(60) * 255)
    PIL.Image.fromarray(other).save(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ValueError, match="is not the mask that was drawn: its digest differs"):
        synthmed.replay(record, image)
    with pytest.raises(ValueError, match="must have the image's 3 spatial axes, got 2"):
        generator(phantom("smooth", (20, 60, 60)), rng=1)
    with pytest.raises(ValueError, match="holds no image"):
        synthmed.FileMask(str(tmp_path_factory.mktemp("empty")))(image, rng=1)


def test_a_mask_of_a_volume_file_is_its_shape(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="needs the extra `medical`")
    lesion = np.zeros((20, 30, 40), np.uint8)
    lesion[4:10, 12:20, 5:21] = 1
    lesion[4:6, 12:14, 5:9] = 0
    nibabel.save(nibabel.Nifti1Image(lesion, np.eye(4)), tmp_path / "lesion.nii.gz")
    exact = synthmed.FileMask(str(tmp_path), scale=1.0, rotation=0.0, mirror=False)
    image = phantom("smooth", (20, 30, 40))
    for seed in range(3):
        sample = exact(image, rng=seed)
        stored = read_mask(tmp_path / "lesion.nii.gz")
        cut = [m[scipy.ndimage.find_objects(m * 1)[0]] for m in (sample.mask, stored)]
        np.testing.assert_array_equal(*cut)
        assert sample.mask.sum() == lesion.sum()
        # Slices twice as thick: half as many of them; the median side is 40 in place of 30.
        thick = exact(image, rng=seed, spacing=(2, 1, 1)).mask
        assert abs(thick.sum() / (lesion.sum() * (40 / 30) ** 3 / 2) - 1) < 0.05
        sample = synthmed.FileMask(str(tmp_path))(image, rng=seed)
        np.testing.assert_array_equal(synthmed.replay(sample.record, image).mask, sample.mask)
