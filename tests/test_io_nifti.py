"""NIfTI: values, axes, affines as nibabel and SimpleITK read them; what is damaged is refused."""

import gzip
import struct
import sys
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from synthmed.io import (
    Image,
    ImageWarning,
    Unreadable,
    encode,
    find_images,
    read_image,
    read_mask,
)

DATA = Path(nibabel.__file__).parent / "tests" / "data"
VOLUMES = ["anatomical.nii", "reoriented_anat_moved.nii", "resampled_anat_moved.nii"]
VOLUMES += ["standard.nii.gz"]
SERIES = {"example4d.nii.gz": 2, "example_nifti2.nii.gz": 2, "functional.nii": 20}
REFUSED = {
    "nifti1.hdr": "one of a pair",
    "nifti2.hdr": "one of a pair",
    "analyze.hdr": "one of a pair",
    "row_major.dconn.nii": "has 6 axes",
}
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def oblique(flip=1):
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", [0.3, 1.0, 2.0]).as_matrix()
    affine[:3, :3] = turn @ np.diag([0.5, -2.0 * flip, 1.5])
    affine[:3, 3] = 10, 3, -50
    return affine


def save(path, array, affine=None, version=nibabel.Nifti1Image, **fields):
    image = version(array, oblique() if affine is None else affine, dtype=array.dtype)
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def same_as_nibabel(path, frame=None):
    image, reference = read_image(path, frame=frame), nibabel.load(path)
    array = np.asanyarray(reference.dataobj)
    np.testing.assert_array_equal(image.array, array if frame is None else array[..., frame])
    assert image.array.dtype.isnative
    np.testing.assert_allclose(image.affine, reference.affine, rtol=1e-12)
    sizes = nibabel.affines.voxel_sizes(reference.affine)
    np.testing.assert_allclose(image.spacing, sizes, rtol=1e-5)
    return image


def same_as_simpleitk(image, path, frame=None):
    """SimpleITK has the axes in reverse, and left-posterior-superior millimetres."""
    reference = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(reference)
    array = (array if frame is None else array[frame]).T
    own = np.nan_to_num(image.array) if image.array.dtype.kind == "f" else image.array
    np.testing.assert_array_equal(own, array)  # SimpleITK reads NaN as 0
    dimensions = reference.GetDimension()
    turn = np.reshape(reference.GetDirection(), (dimensions, dimensions))[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(reference.GetSpacing()[:3])
    affine[:3, 3] = reference.GetOrigin()[:3]
    np.testing.assert_allclose(image.affine, LPS @ affine, atol=1e-4)


def test_nibabels_own_files():
    for name in VOLUMES:
        image = same_as_nibabel(DATA / name)
        same_as_simpleitk(image, DATA / name)
    for name, count in SERIES.items():
        for frame in {0, count - 1}:
            image = same_as_nibabel(DATA / name, frame)
            if name == "example4d.nii.gz":  # NIfTI 2, and double precision, SimpleITK has not
                same_as_simpleitk(image, DATA / name, frame)
        with pytest.raises(Unreadable, match=f"holds {count} volumes; choose one by its frame"):
            read_image(DATA / name)
        with pytest.raises(Unreadable, match=f"there is no frame {count}"):
            read_image(DATA / name, frame=count)
    for name, reason in REFUSED.items():
        with pytest.raises(Unreadable, match=reason):
            read_image(DATA / name)
    files = {path.name for path in DATA.iterdir() if path.name.endswith((".nii", ".gz", ".hdr"))}
    assert files - {"example4d+orig.BRIK.gz"} == {*VOLUMES, *SERIES, *REFUSED}


@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_every_dtype_of_either_version_and_byte_order(tmp_path, version, suffix, order, kind):
    rng = np.random.default_rng(1)
    array = rng.integers(-100, 100, (4, 5, 6)).astype(kind)
    image = version(array, oblique(), dtype=array.dtype).as_reoriented([[0, 1], [1, 1], [2, 1]])
    header = image.header.as_byteswapped(order)
    image = version(array, oblique(), header)
    nibabel.save(image, tmp_path / f"a{suffix}")
    read = same_as_nibabel(tmp_path / f"a{suffix}")
    assert read.array.dtype == np.dtype(kind)
    assert read.array.flags.c_contiguous


@pytest.mark.parametrize(
    ("kind", "slope", "intercept", "expected"),
    [
        ("u1", 2, -100, "int16"),
        ("i2", 1, -1024, "int32"),
        ("u1", -1, 255, "uint8"),
        ("u2", 1, -32768, "int16"),
        ("u1", 0.5, 0.25, "float32"),
        ("i2", 0.1, 0, "float64"),
        ("i4", 0.5, 0, "float64"),
        ("f4", 2, 0, "float64"),
        ("i2", 0, 7, "int16"),  # a slope of 0: no scale, and no intercept
        ("i2", np.nan, np.nan, "int16"),
    ],
)
def test_slope_and_intercept_in_the_smallest_dtype_that_is_exact(
    tmp_path, kind, slope, intercept, expected
):
    array = np.arange(120).reshape(4, 5, 6).astype(kind)
    path = save(tmp_path / "a.nii", array)
    data = bytearray(path.read_bytes())  # nibabel does not write a slope that it has not chosen
    data[112:120] = struct.pack("<2f", slope, intercept)
    path.write_bytes(data)
    image = read_image(path)
    assert image.array.dtype == expected
    if slope == 0 or np.isnan(slope):
        np.testing.assert_array_equal(image.array, array)
        return
    exact = array.astype(np.float64) * np.float64(np.float32(slope)) + intercept
    np.testing.assert_array_equal(image.array, exact)
    same_as_simpleitk(image, path) if expected != "float64" else None


@pytest.mark.parametrize("flip", [1, -1])
def test_affines(tmp_path, flip):
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    affine = oblique(flip)
    same_as_simpleitk(read_image(save(tmp_path / "a.nii", array, affine)), tmp_path / "a.nii")
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(None, code=0)
    image.set_qform(affine, code=1)
    nibabel.save(image, tmp_path / "q.nii")
    q = same_as_nibabel(tmp_path / "q.nii")
    np.testing.assert_allclose(q.affine, affine, atol=1e-5)
    image.set_sform(np.diag([3.0, 4.0, 5.0, 1.0]), code=2)  # goes before the qform
    nibabel.save(image, tmp_path / "s.nii")
    s = read_image(tmp_path / "s.nii")
    np.testing.assert_array_equal(s.affine, np.diag([3.0, 4.0, 5.0, 1.0]))
    assert s.spacing == (3.0, 4.0, 5.0)
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "n.nii")
    none = read_image(tmp_path / "n.nii")
    assert none.affine is None
    assert none.spacing == (0.5, 2.0, 1.5)


@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001)])
def test_lengths_are_brought_to_millimetres(tmp_path, unit, factor):
    array = np.zeros((4, 5, 6), np.uint8)
    image = read_image(save(tmp_path / "a.nii", array, xyzt_units=unit | 8))
    scale = np.diag([factor, factor, factor, 1])
    np.testing.assert_allclose(image.affine, scale @ oblique(), rtol=1e-6)
    np.testing.assert_allclose(image.spacing, np.array([0.5, 2, 1.5]) * factor)


def test_axes_and_ranges(tmp_path):
    flat = np.arange(20, dtype=np.uint8).reshape(4, 5)
    image = read_image(save(tmp_path / "a.nii", flat, cal_min=3, cal_max=17))
    np.testing.assert_array_equal(image.array, flat)
    assert (len(image.spacing), image.affine.shape) == (2, (4, 4))
    assert image.value_range == (3, 17)
    slab = read_image(save(tmp_path / "a.nii", flat[..., None], cal_min=17, cal_max=3))
    assert (slab.array.shape, slab.value_range) == ((4, 5, 1), None)
    assert read_image(save(tmp_path / "a.nii", flat[..., None, None])).array.shape == (4, 5, 1)
    frames = np.stack([flat] * 3 + [flat + 1], -1)[:, :, None]
    save(tmp_path / "a.nii.gz", frames)
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.nii.gz", frame=3).array[..., 0], flat + 1
    )
    save(tmp_path / "a.nii", np.zeros((4, 5, 1, 1, 3), np.float32))
    with pytest.raises(Unreadable, match="has 5 axes"):
        read_image(tmp_path / "a.nii")
    (tmp_path / "a.png").write_bytes(encode(Image(flat), ".png"))
    with pytest.raises(Unreadable, match="is PNG, of which no frame can be chosen"):
        read_image(tmp_path / "a.png", frame=0)


def test_colour(tmp_path):
    rng = np.random.default_rng(2)
    rgba = rng.integers(0, 256, (4, 5, 6, 4), np.uint8)
    rgb = np.ascontiguousarray(rgba[..., :3])
    three = rgb.view([(c, "u1") for c in "RGB"])[..., 0]
    image = read_image(save(tmp_path / "a.nii", three))
    np.testing.assert_array_equal(image.array, rgb)
    assert image.channel_axis == -1
    save(tmp_path / "a.nii", rgba.view([(c, "u1") for c in "RGBA"])[..., 0])
    with pytest.warns(ImageWarning, match="alpha channel"):
        image = read_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(image.array, rgb)


@pytest.mark.parametrize(
    "kind", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
)
@pytest.mark.parametrize("shape", [(5, 6), (1, 5, 6), (4, 5, 6), (4, 5, 1)])
@pytest.mark.parametrize("placed", [True, False])
def test_what_is_written_is_read_back_by_us_and_others(tmp_path, kind, shape, placed):
    rng = np.random.default_rng(3)
    array = rng.integers(0, 2, shape).astype(kind)
    if placed:
        image = Image(array, affine=oblique(), value_range=(-0.5, 2))
    else:
        image = Image(array, spacing=(0.75, 0.5, 2.0)[: len(shape)])
    path = tmp_path / "a.nii.gz"
    path.write_bytes(encode(image, ".nii.gz"))
    back = read_image(path)
    np.testing.assert_array_equal(back.array, array)
    assert back.array.dtype == {"?": np.uint8, "f2": np.float32}.get(kind, np.dtype(kind))
    assert back.value_range == image.value_range
    reference = nibabel.load(path)
    np.testing.assert_array_equal(np.asanyarray(reference.dataobj), array)
    assert reference.header.get_xyzt_units()[0] == "mm"
    if placed:
        np.testing.assert_allclose(back.affine, image.affine, rtol=1e-6)
        np.testing.assert_allclose(back.spacing, (0.5, 2.0, 1.5)[: len(shape)], rtol=1e-6)
        if len(shape) == 3:
            same_as_simpleitk(back, path)
    else:
        assert (back.affine, back.spacing) == (None, image.spacing)


def test_written_bytes_and_masks(tmp_path):
    mask = np.zeros((4, 5, 6), bool)
    mask[1:3, 2, 3:] = True
    data = encode(Image(mask, affine=oblique()), ".nii.gz")
    assert data == encode(Image(mask.copy(order="F"), affine=oblique()), ".nii.gz")
    assert data[3:8] == bytes(5)  # no flags, so no name; no time
    path = tmp_path / "MASK.NII.GZ"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_mask(path), mask)
    assert find_images(tmp_path) == [path]
    labels = np.arange(120, dtype=np.int16).reshape(4, 5, 6) % 4
    save(tmp_path / "labels.nii", labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "labels.nii", level=[1, 3]), labels % 2 == 1)
    with pytest.raises(Unreadable, match="levels 0, 1, 2, 3: which are inside"):
        read_mask(tmp_path / "labels.nii")
    rgb = np.zeros((4, 5, 3), np.uint16)
    with pytest.raises(ValueError, match="NIfTI holds colour of uint8, got uint16"):
        encode(Image(rgb, channel_axis=-1), ".nii.gz")
    colour = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    path.write_bytes(encode(Image(colour, channel_axis=0), ".nii.gz"))
    np.testing.assert_array_equal(read_image(path).array, np.moveaxis(colour, 0, -1))
    long = np.arange(40000, dtype=np.uint16)[None]
    path.write_bytes(encode(Image(long), ".nii.gz"))  # NIfTI 2: an axis is too long for NIfTI 1
    np.testing.assert_array_equal(read_image(path).array, long)


REFUSALS = {
    "complex": ({"datatype": 32, "bitpix": 64}, "values of the kind complex64"),
    "long": ({"datatype": 1536, "bitpix": 128}, "values of the kind float128"),
    "unknown": ({"datatype": 77}, "values of the kind unknown, 77"),
    "bits": ({"bitpix": 8}, "declares int16 values of 8 bits"),
    "offset": ({"vox_offset": 100}, "begin at byte 100, inside its header"),
    "half": ({"vox_offset": 352.5}, "begin at byte 352.5"),
    "slope": ({"scl_slope": np.inf, "scl_inter": 0}, "its slope is inf"),
    "axes": ({"dim": [9, 4, 5, 6, 1, 1, 1, 1]}, "declares 9 axes"),
    "none": ({"dim": [3, 4, 0, 6, 1, 1, 1, 1]}, r"its shape is \(4, 0, 6\)"),
    "negative": ({"dim": [3, 4, -5, 6, 1, 1, 1, 1]}, r"its shape is \(4, -5, 6\)"),
    "line": ({"dim": [1, 4, 1, 1, 1, 1, 1, 1]}, r"has the shape \(4,\)"),
    "short": ({"dim": [3, 4, 5, 7, 1, 1, 1, 1]}, "truncated to 592 bytes of 632"),
    "large": ({"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]}, "truncated to 592 bytes"),
    "unit": ({"xyzt_units": 5}, "unknown unit 5"),
    "flat": ({"srow_x": [0, 0, 0, 0]}, "its affine maps no volume"),
    "lost": ({"srow_x": [np.nan, 0, 0, 0]}, "its affine maps no volume"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_damaged_or_undefined_is_refused(tmp_path, name):
    fields, reason = REFUSALS[name]
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    data = bytearray(save(tmp_path / "a.nii", array).read_bytes())
    header = nibabel.Nifti1Header(bytes(data[:348]), check=False)
    for field, value in fields.items():
        header[field] = value
    data[:348] = header.binaryblock
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(Unreadable, match=reason):
        read_image(tmp_path / "a.nii")


def test_a_hostile_header_asks_for_no_memory(tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float64)
    header["dim"] = [3, 30000, 30000, 30000, 1, 1, 1, 1]
    header["magic"], header["vox_offset"] = b"n+1", 352
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4)))
    with pytest.raises(Unreadable, match="made to exhaust memory"):
        read_image(path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("version", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_as_nibabel_does(tmp_path_factory, packed, version, data):
    folder = tmp_path_factory.mktemp("damaged")
    name = "a.nii.gz" if packed else "a.nii"
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    whole = save(folder / name, array, version=version).read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    (folder / name).write_bytes(whole[:cut])
    with pytest.raises(Unreadable):
        read_image(folder / name)
    changed = bytearray(whole)
    where = data.draw(st.integers(0, len(whole) - 1))
    changed[where] ^= 1 << data.draw(st.integers(0, 7))
    (folder / name).write_bytes(changed)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        try:
            image = read_image(folder / name, frame=0)
        except Unreadable:
            return
    if packed and where >= 10:  # the checksum covers all but the header of gzip
        np.testing.assert_array_equal(image.array, array)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_plain_install_names_the_extra(tmp_path, monkeypatch, name):
    save(tmp_path / name, np.zeros((4, 5, 6), np.uint8))
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(Unreadable, match=r'needs nibabel: pip install "synthmed\[medical\]"'):
        read_image(tmp_path / name)
    with pytest.raises(ImportError, match=r'pip install "synthmed\[medical\]"'):
        encode(Image(np.zeros((4, 5), np.uint8)), ".nii.gz")
