"""DICOM series and what their elements mean, on files that the tests make."""

import contextlib
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from dicom_by_hand import AXIAL, PATIENT, header, image, save, series
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import ImplicitVRLittleEndian, RLELossless
from scipy.spatial.transform import Rotation

from synthmed.io import (
    ImageWarning,
    Unreadable,
    find_inputs,
    find_series,
    read_image,
    read_mask,
)

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def noise(shape=(6, 5, 4), kind="int16", bits=12, seed=0):
    rng = np.random.default_rng(seed)
    low = -(2 ** (bits - 1)) if np.dtype(kind).kind == "i" else 0
    return rng.integers(low, low + 2**bits, shape).astype(kind)


def by_simpleitk(folder):
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    found = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(found.GetDirection(), (3, 3)) * found.GetSpacing()
    affine[:3, 3] = found.GetOrigin()
    return SimpleITK.GetArrayFromImage(found), FLIP @ affine[:, [2, 1, 0, 3]]


def oblique():
    turn = Rotation.from_euler("xyz", [0.3, 1.0, 2.0]).as_matrix()
    return (*turn[:, 0], *turn[:, 1]), turn[:, 2]


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize("kind", ["axial", "oblique"])
def test_a_series_is_sorted_by_position(tmp_path, kind, upwards):
    volume = noise()
    cosines, normal = (AXIAL, np.array([0, 0, 1.0])) if kind == "axial" else oblique()
    files = series(volume, step=(2.5 if upwards else -2.5) * normal, cosines=cosines)
    save(files, tmp_path / "s")
    found = read_image(tmp_path / "s")
    ascending = volume if upwards else volume[::-1]
    np.testing.assert_array_equal(found.array, ascending)
    np.testing.assert_allclose(found.spacing, (2.5, 0.75, 0.5))
    array, affine = by_simpleitk(tmp_path / "s")
    np.testing.assert_array_equal(found.array, array)
    np.testing.assert_allclose(found.affine, affine, atol=1e-4)
    for i in (0, 5):  # each slice lies where its file says
        file = files[i if upwards else 5 - i]
        x, y, z = file.ImagePositionPatient
        np.testing.assert_allclose(found.affine @ [i, 0, 0, 1], [-x, -y, z, 1], atol=1e-5)


def broken(files, kind):
    if kind == "missing":
        return files[:2] + files[3:]
    if kind == "doubled":
        files[3].ImagePositionPatient = files[2].ImagePositionPatient
    if kind == "uneven":
        files[3].ImagePositionPatient[2] += 0.6
    if kind == "tilt":
        for i, file in enumerate(files):
            file.ImagePositionPatient[1] += 0.4 * i
    if kind == "orientation":
        files[2].ImageOrientationPatient = [1, 0, 0, 0, 0, 1]
    if kind == "skewed":
        files[2].ImageOrientationPatient = [1, 0, 0, 1, 1, 0]
    if kind == "shape":
        files[1] = series(noise((6, 5, 5)))[1]
    if kind == "spacing":
        files[4].PixelSpacing = [0.8, 0.5]
    if kind == "no spacing":
        del files[4].PixelSpacing
    if kind == "no position":
        del files[1].ImagePositionPatient
    if kind == "colour":
        files[1] = series(noise((6, 5, 4, 3), "uint8", 8))[1]
    return files


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "missing slices: about 1 between IM0000. and IM0000., 5 mm apart where 2.5 mm"),
        ("doubled", "doubled slices: IM0000. and IM0000. lie at the same place"),
        ("uneven", "uneven slices: 1.9 to 3.1 mm apart"),
        ("tilt", "gantry tilt: .* by 2 mm, 9.09 degrees from their normal"),
        ("orientation", "mixed orientations: IM0000. and IM0000. are not parallel"),
        ("skewed", "holds a damaged DICOM file, IM0000."),
        ("shape", "mixed shapes"),
        ("spacing", "mixed pixel spacings: IM0000. has 0.* x 0.5 mm, IM0000. 0.* x 0.5 mm"),
        ("no spacing", "IM0000. has no pixel spacing"),
        ("no position", "1 of 6 slices do not say where they lie, such as IM0000."),
        ("colour", "mixed shapes or photometric"),
    ],
)
def test_what_is_no_volume_is_refused_by_name(tmp_path, kind, reason):
    save(broken(series(noise()), kind), tmp_path / "s")
    with pytest.raises(Unreadable, match=reason):
        read_image(tmp_path / "s")


def test_positions_that_are_rounded_are_no_fault(tmp_path):
    files = series(noise(), step=(0, 0, 0.625))
    for file in files:
        file.ImagePositionPatient[2] = round(float(file.ImagePositionPatient[2]), 2)
    save(files, tmp_path / "s")
    np.testing.assert_allclose(read_image(tmp_path / "s").spacing[0], 0.625, atol=0.004)


def test_one_of_several_series_is_chosen(tmp_path):
    first, second = noise(seed=1), noise(seed=2)
    files = series(first, series="1.2.3.101", SeriesNumber=4)
    files += series(second, series="1.2.3.102", SeriesNumber=7)
    save(files, tmp_path / "s")
    a, b = find_series(tmp_path / "s")
    assert (a.number, a.modality, len(a.files), a.shape, a.kind) == (4, "CT", 6, (5, 4), "volume")
    with pytest.raises(Unreadable) as refused:
        read_image(tmp_path / "s")
    assert f"holds 2 series: {a}, {b}; choose one" in str(refused.value)
    for chosen, volume in [(4, first), ("4", first), (a.key, first), (7, second), (b.key, second)]:
        np.testing.assert_array_equal(read_image(tmp_path / "s", series=chosen).array, volume)
    with pytest.raises(Unreadable, match="holds no series 5; there are 4 "):
        read_image(tmp_path / "s", series=5)
    with pytest.raises(Unreadable, match="is a file; a series is chosen from a folder"):
        read_image(a.files[0], series=4)
    with pytest.raises(Unreadable, match="is a folder, of which no frame"):
        read_image(tmp_path / "s", frame=4)


def test_what_else_lies_in_the_folder_is_told(tmp_path):
    folder = tmp_path / "s"
    save(series(noise()), folder)
    (folder / "notes.txt").write_text("hello")
    (folder / ".hidden").write_text("hello")
    header(series="9.9", Modality="SR").save_as(folder / "report", enforce_file_format=True)
    with pytest.warns(ImageWarning, match=r"1 DICOM without an image \(SR\), 1 not DICOM"):
        read_image(folder)
    kinds = {found.kind: len(found.files) for found in find_series(folder)}
    assert kinds == {"volume": 6, "no image": 1}
    with pytest.raises(Unreadable, match=r"report: holds no image \(DICOM, SR\)"):
        read_image(folder / "report")
    whole = (folder / "IM00000").read_bytes()
    (folder / "IM00000").write_bytes(whole[:200])
    assert [s.kind for s in find_series(folder)].count("damaged") == 1
    with pytest.raises(Unreadable, match="holds a damaged DICOM file, IM00000"):
        read_image(folder)


def test_radiographs_of_one_series_are_images(tmp_path):
    files = [image(noise((5, 4), seed=i), Modality="DX", SeriesNumber=1) for i in range(3)]
    paths = save(files, tmp_path / "s")
    (found,) = find_series(tmp_path / "s")
    assert (found.kind, len(found.files)) == ("images", 3)
    with pytest.raises(Unreadable, match="3 images that are no slices of a volume"):
        read_image(tmp_path / "s")
    for path in paths[1:]:
        path.unlink()
    one = read_image(tmp_path / "s")
    np.testing.assert_array_equal(one.array, noise((5, 4), seed=0))
    assert (one.spacing, one.affine) == (None, None)
    with pytest.raises(FileNotFoundError, match="no folder at"):
        find_series(tmp_path / "none")


def one(tmp_path, dataset):
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    return read_image(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("kind", "bits", "slope", "intercept", "dtype"),
    [
        ("uint16", 12, 1, -1024, "int16"),
        ("uint16", 16, 1, -1024, "int32"),
        ("int16", 16, 1, 0, "int16"),
        ("int16", 12, 2, 0, "int16"),
        ("uint16", 8, 1, 0, "uint8"),
        ("uint8", 8, 1, 0, "uint8"),
        ("uint16", 12, -1, 4095, "uint16"),
        ("uint16", 12, 0.5, 0, "float32"),
        ("uint16", 12, 0.1, -3.3, "float64"),
        ("uint32", 32, 1, 0, "uint32"),
        ("uint32", 32, 0.5, 0, "float64"),
    ],
)
def test_values_in_the_smallest_dtype_that_is_exact(tmp_path, kind, bits, slope, intercept, dtype):
    array = noise((5, 4), kind, bits)
    array[0, :2] = -(2 ** (bits - 1)) if kind[0] == "i" else 2**bits - 1
    file = image(array, stored=bits, RescaleSlope=slope, RescaleIntercept=intercept)
    found = one(tmp_path, file).array
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array * np.float64(slope) + intercept)
    reference = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.dcm")))
    np.testing.assert_array_equal(found, reference[0])


def test_each_slice_has_its_own_scale_and_window(tmp_path):
    volume = noise(kind="uint16")
    files = series(volume, stored=12)
    for i, file in enumerate(files):
        file.RescaleSlope, file.RescaleIntercept = i + 1, -i
        file.WindowCenter, file.WindowWidth = 100 + i, 50
    save(files, tmp_path / "s")
    found = read_image(tmp_path / "s")
    assert found.array.dtype == np.int16
    scale = np.arange(6)[:, None, None]
    np.testing.assert_array_equal(found.array, volume.astype(int) * (scale + 1) - scale)
    assert found.value_range == (75, 129)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"WindowCenter": 40, "WindowWidth": 400}, (-160, 239)),
        ({"WindowCenter": [40, 300], "WindowWidth": [400, 1500]}, (-160, 239)),
        ({"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"}, (-160, 240)),
        ({"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"}, None),
        ({"WindowCenter": 40, "WindowWidth": 1}, None),
        ({"WindowCenter": 40}, None),
        ({}, None),
    ],
)
def test_the_window_is_the_value_range(tmp_path, elements, expected):
    array = noise((5, 4))
    found = one(tmp_path, image(array, PixelPaddingValue=-2000, **elements))
    assert found.value_range == expected
    np.testing.assert_array_equal(found.array, array)


def test_white_at_the_bottom_is_turned(tmp_path):
    array = noise((5, 4), "uint16")
    elements = {"stored": 12, "PhotometricInterpretation": "MONOCHROME1"}
    found = one(tmp_path, image(array, **elements))
    np.testing.assert_array_equal(found.array, 4095 - array)
    assert found.array.dtype == np.uint16
    found = one(tmp_path, image(array, WindowCenter=2000, WindowWidth=1000, **elements))
    assert found.value_range == (1500, 2499)
    np.testing.assert_array_equal(found.array, 3999 - array.astype(int))
    assert found.array.dtype == np.int16
    found = one(tmp_path, image(array, RescaleSlope=2, RescaleIntercept=-5, **elements))
    np.testing.assert_array_equal(found.array, 8190 - 5 - 5 - (2 * array.astype(int) - 5))


@pytest.mark.parametrize("syntax", ["native", "implicit", "rle"])
@pytest.mark.parametrize("kind", ["uint16", "int16"])
@pytest.mark.parametrize("high", [11, 13, 15])
def test_bits_out_of_use_are_masked_away(tmp_path, syntax, kind, high):
    array = noise((5, 4), kind)
    shift = high - 11
    rest = noise((5, 4), "uint16", 16, seed=1) & ~np.uint16(0xFFF << shift)
    packed = ((array.astype(np.int64) & 0xFFF) << shift).astype(np.uint16) | rest
    file = image(packed.view(kind))
    if syntax == "rle":
        file.compress(RLELossless, generate_instance_uid=False)
    file.BitsStored, file.HighBit = 12, high
    if syntax == "implicit":
        file.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    np.testing.assert_array_equal(one(tmp_path, file).array, array)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_floating_point(tmp_path, kind):
    array = np.random.default_rng(0).normal(size=(5, 4)).astype(kind)
    found = one(tmp_path, image(array))
    np.testing.assert_array_equal(found.array, array)
    assert found.array.dtype == kind
    found = one(tmp_path, image(array, RescaleSlope=2, RescaleIntercept=1))
    np.testing.assert_array_equal(found.array, array.astype(float) * 2 + 1)
    with pytest.raises(Unreadable, match="MONOCHROME1 in floating point, and has no window"):
        one(tmp_path, image(array, PhotometricInterpretation="MONOCHROME1"))


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_colour_in_planes_or_by_pixel(tmp_path, planar, kind):
    array = noise((5, 4, 3), kind, 8 * np.dtype(kind).itemsize)
    file = image(array, PlanarConfiguration=planar, WindowCenter=40, WindowWidth=400)
    if planar:
        data = np.moveaxis(array, -1, 0).tobytes()
        file.PixelData = data + bytes(len(data) % 2)
    found = one(tmp_path, file)
    np.testing.assert_array_equal(found.array, array)
    assert (found.channel_axis, found.value_range) == (-1, None)


@pytest.mark.parametrize("factor", [1, 257, 256])
def test_a_palette(tmp_path, factor):
    colours = noise((3, 64), "uint16", 8 if factor > 1 else 16) * np.uint16(factor)
    array = noise((5, 4), "uint8", 6)
    file = image(array, PhotometricInterpretation="PALETTE COLOR")
    for name, values in zip(("Red", "Green", "Blue"), colours, strict=True):
        setattr(file, f"{name}PaletteColorLookupTableDescriptor", [64, 0, 16])
        setattr(file, f"{name}PaletteColorLookupTableData", values.tobytes())
    found = one(tmp_path, file).array
    assert found.dtype == (np.uint16 if factor == 1 else np.uint8)
    np.testing.assert_array_equal(found, colours.T[array] // factor)


def test_a_modality_table(tmp_path):
    array = noise((5, 4), "uint8", 8)
    table = Dataset()
    values = noise((200,), "uint16", 16)
    table.LUTDescriptor, table.LUTData = [200, 10, 16], values.tobytes()
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
    file = image(array, ModalityLUTSequence=Sequence([table]))
    found = one(tmp_path, file).array
    np.testing.assert_array_equal(found, values[np.clip(array.astype(int) - 10, 0, 199)])


def enhanced(volume, **elements):
    """One file whose functional groups say where each frame lies."""
    file = image(volume, stored=12, **elements)
    shared, frames = Dataset(), []
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.75, 0.5], 3
    orientation.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    file.SharedFunctionalGroupsSequence = Sequence([shared])
    for i in range(len(volume)):
        frame, position, values, window = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [-10, 20, 30 - 2.5 * i]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = i + 1, -1024, "HU"
        window.WindowCenter, window.WindowWidth = 40, 400
        frame.PlanePositionSequence = Sequence([position])
        frame.PixelValueTransformationSequence = Sequence([values])
        frame.FrameVOILUTSequence = Sequence([window])
        frames.append(frame)
    file.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return file


def test_frames_that_say_where_they_lie_are_a_volume(tmp_path):
    volume = noise(kind="uint16")
    found = one(tmp_path, enhanced(volume))
    values = volume.astype(int) * np.arange(1, 7)[:, None, None] - 1024
    np.testing.assert_array_equal(found.array, values[::-1])  # they are stored from the top down
    assert (found.spacing, found.value_range) == ((2.5, 0.75, 0.5), (-160, 239))
    np.testing.assert_allclose(found.affine @ [0, 0, 0, 1], [10, -20, 17.5, 1])
    np.testing.assert_allclose(found.affine @ [5, 1, 2, 1], [9, -20.75, 30, 1])
    frame = read_image(tmp_path / "a.dcm", frame=1)
    np.testing.assert_array_equal(frame.array, values[1])
    np.testing.assert_allclose(frame.affine @ [0, 0, 0, 1], [10, -20, 27.5, 1])
    steps = [[0, -0.75, 0], [-0.5, 0, 0], [0, 0, 3]]  # row, column, and how thick the slice is
    np.testing.assert_allclose(frame.affine[:3, :3].T, steps)
    file = enhanced(volume)
    del file.PerFrameFunctionalGroupsSequence[-1]
    with pytest.raises(Unreadable, match="describes 5 frames and declares more"):
        one(tmp_path, file)
    with pytest.raises(Unreadable, match="holds 6 frames that do not say where they lie"):
        one(tmp_path, image(volume, ImagePositionPatient=[0, 0, 0]))
    with pytest.raises(Unreadable, match="there is no frame 6"):
        read_image(tmp_path / "a.dcm", frame=6)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PhotometricInterpretation": "YBR_PARTIAL_420"}, "interpretation YBR_PARTIAL_420; read"),
        ({"SamplesPerPixel": 2}, "has 2 samples a pixel, MONOCHROME2 has 1"),
        ({"BitsStored": 17}, "declares 17 bits up to the bit 15 of 16"),
        ({"HighBit": 16}, "declares 16 bits up to the bit 16 of 16"),
        ({"RescaleSlope": 0}, "its rescale slope is 0"),
        ({"PixelSpacing": [0, 1]}, "its PixelSpacing is not positive"),
        ({"Rows": 0}, "has no pixels"),
        ({"Rows": 6}, "less than expected"),
        ({"NumberOfFrames": 2}, "holds 2 frames that do not say"),
        ({"Rows": 2}, "declares 1 frames, and holds pixels of 2"),
        ({"Rows": 60000, "Columns": 60000}, "made to exhaust memory"),
        (
            {"TransferSyntax": "1.2.840.10008.1.2.4.100"},
            "a transfer syntax that is not read: MPEG2",
        ),
    ],
)
def test_what_is_undefined_is_refused(tmp_path, elements, reason):
    file = image(noise((5, 4)))
    for name, value in elements.items():
        if name == "TransferSyntax":
            file.file_meta.TransferSyntaxUID = value
            file.PixelData = encapsulate([bytes(40)])
            file["PixelData"].is_undefined_length = True
        else:
            setattr(file, name, value)
    file.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(Unreadable, match=reason):
        read_image(tmp_path / "a.dcm")


def test_nothing_that_names_a_patient_is_said(tmp_path):
    said = []
    kinds = ["missing", "doubled", "tilt", "orientation", "shape", "no position", "colour"]
    for kind in kinds:
        save(broken(series(noise()), kind), tmp_path / kind)
    save(series(noise(), series="1.2.77") + series(noise(), series="1.2.78"), tmp_path / "two")
    (tmp_path / "two" / "notes").write_text("x")
    whole = (tmp_path / "two" / "IM00003").read_bytes()
    where = whole.index(b"1.2.77") if b"1.2.77" in whole else whole.index(b"1.2.78")
    for i in range(0, len(whole), 7):
        (tmp_path / f"{i}.dcm").write_bytes(whole[:i])
        changed = bytearray(whole)
        changed[i] ^= 0x55
        (tmp_path / f"{i}-changed.dcm").write_bytes(changed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for path in sorted(tmp_path.iterdir()):
            try:
                read_image(path)
            except ValueError as error:
                said.append(str(error))
        said += [str(series) for series in find_series(tmp_path / "two")]
    said += [str(warning.message) for warning in caught]
    text = "\n".join(said)
    assert where and len(said) > len(kinds) + 2
    for secret in (*PATIENT.split("^"), "4711", "20240131", "1933", "1.2.77", "1.2.78"):
        assert secret not in text


def test_a_plain_install_names_the_extra(tmp_path, monkeypatch):
    save(series(noise()), tmp_path / "s")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    for path in (tmp_path / "s", tmp_path / "s" / "IM00000"):
        with pytest.raises(Unreadable, match=r'needs pydicom: pip install "synthmed\[medical\]"'):
            read_image(path)
    with pytest.raises(ImportError, match=r'pip install "synthmed\[medical\]"'):
        find_series(tmp_path / "s")
    inputs = find_inputs([str(tmp_path)])  # a search goes on: each file says what it needs
    assert [item.name for item in inputs] == [f"s/IM{number:05d}" for number in range(6)]


def test_a_mask_of_slices(tmp_path):
    labels = noise(kind="uint8", bits=2)
    save(series(labels), tmp_path / "s")
    np.testing.assert_array_equal(read_mask(tmp_path / "s", level=[1, 3]), np.isin(labels, [1, 3]))
    with pytest.raises(Unreadable, match="levels 0, 1, 2, 3"):
        read_mask(tmp_path / "s")


@pytest.mark.parametrize("syntax", ["native", "rle", "jpeg", "jpeg2000"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_and_a_truncated_one_never_read(tmp_path_factory, syntax, data):
    folder = tmp_path_factory.mktemp("damaged")
    if syntax in ("native", "rle"):
        array = noise((9, 8), "uint16")
        file = image(array, stored=12, RescaleSlope=1, RescaleIntercept=-1024)
        if syntax == "rle":
            file.compress(RLELossless, generate_instance_uid=False)
        file.save_as(folder / "a.dcm", enforce_file_format=True)
        whole = (folder / "a.dcm").read_bytes()
    else:
        name = {"jpeg": "SC_rgb_small_odd_jpeg", "jpeg2000": "JPEG2000"}[syntax]
        whole = Path(get_testdata_file(f"{name}.dcm")).read_bytes()
        (folder / "a.dcm").write_bytes(whole)
    expected = read_image(folder / "a.dcm").array
    end = whole.index(b"\xe0\x7f\x10\x00")  # pixels begin behind this tag
    cut = data.draw(st.integers(0, len(whole) - 20) | st.integers(max(0, end - 40), end + 20))
    (folder / "a.dcm").write_bytes(whole[: min(cut, len(whole) - 20)])
    try:
        image_of_it = read_image(folder / "a.dcm")
    except Unreadable:
        pass
    else:  # no more than the end of the list of fragments is gone
        np.testing.assert_array_equal(image_of_it.array, expected)
    changed = bytearray(whole)
    changed[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / "a.dcm").write_bytes(changed)
    with contextlib.suppress(Unreadable):  # whatever it is, it is nothing else that is raised
        read_image(folder / "a.dcm")


@pytest.mark.parametrize(
    "name", ["MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "JPGExtended"]
)
def test_compressed_data_of_another_size_are_refused(tmp_path, name):
    file = dcmread(get_testdata_file(f"{name}.dcm"))
    rows = file.Rows
    file.Rows = 32
    with pytest.raises(Unreadable, match=f"declares 32 x {file.Columns} x 1 samples, .* {rows} x"):
        one(tmp_path, file)
    file.PixelData = encapsulate([bytes(100)])
    with pytest.raises(Unreadable, match="do not say what size they have"):
        one(tmp_path, file)


def test_values_that_differ_within_a_series_are_refused(tmp_path):
    colour = series(noise((3, 5, 4, 3), "uint8", 8))
    colour[1] = series(noise((3, 5, 4, 3), "uint16", 8))[1]
    save(colour, tmp_path / "colour")
    with pytest.raises(Unreadable, match=r"mixed values: IM0000. has uint8, IM0000. uint16"):
        read_image(tmp_path / "colour")
    scaled = series(np.ones((3, 5, 4), np.float32))
    scaled[1].RescaleSlope = 2
    save(scaled, tmp_path / "scaled")
    with pytest.raises(Unreadable, match="of some slices the scale is declared"):
        read_image(tmp_path / "scaled")
    save(series(noise((3, 5, 4, 3), "uint8", 8)), tmp_path / "same")
    found = read_image(tmp_path / "same")
    np.testing.assert_array_equal(found.array, noise((3, 5, 4, 3), "uint8", 8))
    assert (found.channel_axis, found.spacing) == (-1, (2.5, 0.75, 0.5))


def test_a_palette_that_is_not_defined_is_refused_and_alpha_dropped(tmp_path):
    array = noise((5, 4), "uint8", 6)
    file = image(array, PhotometricInterpretation="PALETTE COLOR")
    colours = noise((4, 64), "uint8", 8)
    for name, values in zip(("Red", "Green", "Blue", "Alpha"), colours, strict=True):
        setattr(file, f"{name}PaletteColorLookupTableDescriptor", [64, 0, 8])
        setattr(file, f"{name}PaletteColorLookupTableData", values.tobytes())
    with pytest.warns(ImageWarning, match="alpha"):
        found = one(tmp_path, file).array
    np.testing.assert_array_equal(found, colours.T[array][..., :3])
    file.PixelRepresentation = 1
    with pytest.raises(Unreadable, match="palette for signed values"):
        one(tmp_path, file)


def test_a_folder_of_reports(tmp_path):
    header(Modality="SR").save_as(tmp_path / "report", enforce_file_format=True)
    with pytest.raises(Unreadable, match=r"holds no DICOM images; without a number \(SR, 1 file"):
        read_image(tmp_path)
    file = image(noise((5, 4)))
    del file.PixelData
    with pytest.raises(Unreadable, match="is truncated, or holds no pixels"):
        one(tmp_path, file)
