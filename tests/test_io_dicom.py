"""DICOM: pixels and places as SimpleITK and pydicom have them; what is no image is refused."""

import logging
import re
import warnings
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
import SimpleITK

from synthmed.io import Unreadable, read_image

DATA = Path(pydicom.data.__file__).parent / "test_files"
DOCS = Path(__file__).parent.parent / "docs" / "files.md"
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)

# What SimpleITK (GDCM) reads otherwise, and why: checked against something else below.
OTHERWISE = {
    "6154": "MONOCHROME1",
    "6247": "MONOCHROME1",
    "6278": "MONOCHROME1",
    "SC_rgb_rle_16bit.dcm": "GDCM swaps bytes",
    "SC_rgb_rle_16bit_2frame.dcm": "GDCM swaps bytes",
    "SC_rgb_rle_32bit.dcm": "GDCM swaps bytes",
    "SC_rgb_rle_32bit_2frame.dcm": "GDCM swaps bytes",
    "liver_1frame.dcm": "GDCM reads 1 bit as 255",
    "liver_expb_1frame.dcm": "GDCM reads 1 bit as 255",
}


def by_pydicom(path):
    """What pydicom decodes with whatever decoder it finds; None where it does not."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            return dataset, dataset.pixel_array
    except Exception:
        return None
    finally:
        logging.disable(logging.NOTSET)


# pydicom decodes these with further packages alone, the first with none.
BY_OTHER_DECODERS = {
    "JPEG-lossy.dcm",
    "GDCMJ2K_TextGBR.dcm",
    "JPEGLSNearLossless_08.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
}
FILES = sorted(
    path for path in DATA.rglob("*") if path.is_file() and "TINY_ALPHA" not in path.parts
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_that_pydicom_decodes_is_read(path):
    decoded = by_pydicom(path)
    if decoded is None and path.name not in BY_OTHER_DECODERS:
        with pytest.raises(Unreadable):
            read_image(path)
        return
    frame = None
    listed = set(re.findall(r"`(\S+\.dcm)`", DOCS.read_text(encoding="utf-8")))
    if path.name in listed:
        with pytest.raises(Unreadable, match="frames that do not say where they lie"):
            read_image(path)
        frame = 0
    image = read_image(path, frame=frame)
    if decoded is not None and image.channel_axis is not None and "palette" not in path.name:
        np.testing.assert_array_equal(image.array, decoded[1] if frame is None else decoded[1][0])
    if path.name in OTHERWISE or decoded is None or "rtdose" in path.name:
        return
    reference = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(reference)
    np.testing.assert_array_equal(image.array, array[0])
    if image.affine is not None:
        turn = np.reshape(reference.GetDirection(), (3, 3)) * reference.GetSpacing()
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = turn, reference.GetOrigin()
        expected = FLIP @ affine[:, [1, 0, 2, 3]]  # SimpleITK counts columns first
        np.testing.assert_allclose(image.affine[:, [0, 1, 3]], expected[:, [0, 1, 3]], atol=1e-5)


def test_what_simpleitk_reads_otherwise():
    for name in ("6154", "6247", "6278"):
        path = DATA / "dicomdirtests" / "77654033" / f"CR{int(name) % 3 + 1}"
        path = next(DATA.rglob(name))
        image, stored = read_image(path), pydicom.dcmread(path).pixel_array
        low, high = image.value_range
        assert (low, high) == (1600 - 1400, 1600 + 1400 - 1)
        np.testing.assert_allclose(image.array, low + high - (stored * 0.684 + 200), rtol=1e-15)
    for bits in (16, 32):
        image = read_image(DATA / f"SC_rgb_rle_{bits}bit.dcm").array
        assert image[5, 50].tolist() == [2**bits - 1, 0, 0]  # the bars begin with red
    for name in ("liver_1frame.dcm", "liver_expb_1frame.dcm"):
        image = read_image(DATA / name).array
        np.testing.assert_array_equal(np.unique(image), [0, 1])
        np.testing.assert_array_equal(image, pydicom.dcmread(DATA / name).pixel_array)


@pytest.mark.parametrize("name", ["rtdose", "rtdose_expb", "rtdose_rle"])
def test_a_dose_is_a_volume_in_its_units(name):
    dataset = pydicom.dcmread(DATA / f"{name}.dcm")
    image = read_image(DATA / f"{name}.dcm")
    np.testing.assert_array_equal(image.array, dataset.pixel_array * float(dataset.DoseGridScaling))
    offsets = np.array(dataset.GridFrameOffsetVector, float)
    x, y, z = map(float, dataset.ImagePositionPatient)
    for i, offset in enumerate(offsets):
        np.testing.assert_allclose(image.affine @ [i, 0, 0, 1], [-x, -y, z + offset, 1])
    assert image.spacing == (offsets[1], *map(float, dataset.PixelSpacing))
    one = read_image(DATA / f"{name}.dcm", frame=2)
    np.testing.assert_array_equal(one.array, image.array[2])
    np.testing.assert_allclose(one.affine[:, 3], image.affine @ [2, 0, 0, 1])
