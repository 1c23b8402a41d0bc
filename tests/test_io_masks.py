"""Masks and regions in the frame of their image: by both affines, by orientation tags, by name."""

import itertools

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageOps

from synthmed.io import (
    Image,
    Unreadable,
    encode,
    find_region,
    read_image,
    read_mask_of,
    read_region,
    stem_of,
)

pytest.importorskip("nibabel", reason="NIfTI needs the extra `medical`")

ORDERS = list(itertools.permutations(range(3)))


def along_other_axes(image, order, flips):
    """The same voxels at the same places, stored otherwise."""
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    array = image.array.transpose(order)[steps]
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        to_old[old, new] = -1 if flip else 1
        to_old[old, 3] = array.shape[new] - 1 if flip else 0
    return Image(array, affine=image.affine @ to_old)


@given(
    st.sampled_from(ORDERS),
    st.tuples(*[st.booleans()] * 3),
    st.integers(0, 2**32 - 1),
    st.sampled_from([(3, 4, 5), (4, 4, 4)]),
)
@settings(max_examples=40, deadline=None)
def test_a_mask_lies_where_its_affine_says(tmp_path_factory, order, flips, seed, shape):
    """On cubes too, whose shape does not tell the axes apart."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4)) * [1, 1, 1, 100]
    inside = rng.random(shape) < 0.5
    inside[0, 0, 0] = True
    scan = Image(rng.random(shape), affine=affine)
    path = tmp_path_factory.mktemp("mask") / "mask.nii.gz"
    stored = along_other_axes(Image(inside, affine=affine), order, flips)
    path.write_bytes(encode(stored, ".nii.gz"))
    np.testing.assert_array_equal(read_mask_of(path, scan, "scan.nii.gz"), inside)


def test_a_mask_drawn_on_a_series_by_simpleitk(tmp_path):
    """Written as NIfTI, whose axes are x, y and z, on a series, whose axes are z, y and x."""
    from dicom_by_hand import save, series

    save(series(np.arange(4 * 5 * 5, dtype=np.int16).reshape(4, 5, 5)), tmp_path / "s")
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    scan = reader.Execute()
    drawn = scan > 41
    SimpleITK.WriteImage(drawn, str(tmp_path / "s.nii.gz"))
    image = read_image(tmp_path / "s")
    found = read_region(find_region(tmp_path, "s"), image, tmp_path / "s")
    np.testing.assert_array_equal(found, image.array > 41)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda a: a @ np.diag([1, 1, 2, 1]), id="another step"),
        pytest.param(lambda a: a + np.outer([0, 1, 0, 0], [0, 0, 0, 0.5]), id="half a voxel"),
        pytest.param(lambda a: np.diag([1, 1, 1.04, 1]) @ a, id="drifts away"),
        pytest.param(lambda a: np.array([[1, 0.2, 0, 0], *np.eye(4)[1:]]) @ a, id="sheared"),
    ],
)
def test_another_grid_is_refused(tmp_path, change):
    scan = Image(np.zeros((4, 5, 6)), affine=np.eye(4))
    path = tmp_path / "mask.nii.gz"
    mask = Image(np.ones((4, 5, 6), np.uint8), affine=change(np.eye(4)))
    path.write_bytes(encode(mask, ".nii.gz"))
    with pytest.raises(Unreadable, match="lies on another grid than its image"):
        read_mask_of(path, scan, "scan.nii.gz")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_with_its_image(tmp_path, orientation):
    """By Pillow's own turn; a square, whose shape does not tell."""
    rng = np.random.default_rng(0)
    picture, inside = Pillow.fromarray(np.zeros((6, 6), np.uint8)), rng.random((6, 6)) < 0.5
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    Pillow.fromarray(inside).save(tmp_path / "m.png")
    tagged = Pillow.fromarray(inside.astype(np.uint8) * 255)
    tagged.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(tagged)) > 0
    found = read_mask_of(tmp_path / "m.png", read_image(tmp_path / "a.png"), tmp_path / "a.png")
    np.testing.assert_array_equal(found, expected)


def test_no_name_is_cut_at_a_dot_that_begins_no_suffix(tmp_path):
    """IM.0001 and IM.0002, or two series of one study, had one region."""
    for name in ("IM.0001", "1.2.840.7"):
        assert stem_of(name) == name and find_region(tmp_path, name) is None
    (tmp_path / "IM.png").touch()
    (tmp_path / "1.2.840.png").touch()
    assert find_region(tmp_path, "IM.0001") is None
    assert find_region(tmp_path, "1.2.840.7") is None
    (tmp_path / "IM.0001.png").touch()
    assert find_region(tmp_path, "IM.0001").name == "IM.0001.png"
