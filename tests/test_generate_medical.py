"""Data sets of DICOM and NIfTI: every volume keeps its place, and no output names a patient."""

import json
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import pydicom.data
import pytest

from synthmed import preset
from synthmed.cli import main
from synthmed.generate import Settings, generate, verify
from synthmed.generate.preview import cut_plane
from synthmed.io import Image, find_inputs, read_image
from synthmed.testing import phantom

SERIES = Path(pydicom.data.get_testdata_file("dicomdirtests/98892001/CT5N/2062")).parent
RADIOGRAPH = Path(pydicom.data.get_testdata_file("dicomdirtests/77654033/CR1/6154"))
AFFINE = np.array([[0, 0, -1.5, 60], [0.4, -2.0, 0, 10], [2.0, 0.4, 0, -70], [0, 0, 0, 1.0]])
NATIVE = {"size": "native", "per_image": 2}


def lines_of(out):
    return [json.loads(text) for text in (out / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture
def series(tmp_path):
    """A folder with a series under names that tell nothing, and other files beside it."""
    folder = tmp_path / "study" / "p1"
    folder.mkdir(parents=True)
    for k, file in enumerate(sorted(SERIES.iterdir(), reverse=True)):
        (folder / f"IM{k}").write_bytes(file.read_bytes())
    (folder.parent / "report.txt").touch()
    return tmp_path / "study"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_dicom_series_becomes_nifti_in_its_place(series, tmp_path, workers):
    out = tmp_path / "out"
    summary = generate(series, out, Settings(**NATIVE), workers=workers)
    assert summary.samples == 2 and not summary.skipped and summary.others == {".txt": 1}
    original = read_image(series / "p1")
    for line in lines_of(out):
        assert line["source"] == "p1"
        assert tuple(line["record"]["spacing"]) == original.spacing
        files = {role: nibabel.load(out / name) for role, name in line["files"].items()}
        for file in files.values():
            assert np.allclose(file.affine, original.affine, atol=1e-4)
        image, mask = (np.asarray(files[role].dataobj) for role in ("image", "mask"))
        assert set(np.unique(mask)) == {0, 1}
        assert np.array_equal(image[mask == 0], original.array[mask == 0])
        assert (image != original.array).any()
    assert all(not found.problems for found in verify(out / "manifest.jsonl"))


def test_no_output_names_a_patient(series, tmp_path, capsys):
    """Every element of the header that is text of some length, looked for in every output."""
    (series / "p2").mkdir()
    (series / "p2" / "bad").write_bytes(next(SERIES.iterdir()).read_bytes()[:900])
    (series / "x.dcm").write_bytes(RADIOGRAPH.read_bytes())
    out = tmp_path / "out"
    status = main(["generate", str(series), str(out), "--size", "native", "--workers", "1"])
    said = capsys.readouterr()
    assert status == 1 and "skipped p2/bad" in said.err
    private = set()
    for file in (next(SERIES.iterdir()), RADIOGRAPH):
        for element in pydicom.dcmread(file).iterall():
            if element.VR in ("PN", "LO", "SH", "UI", "DA", "TM", "DT", "ST", "LT"):
                values = element.value if isinstance(element.value, list) else [element.value]
                private |= {str(v) for v in values if len(str(v).strip("0.")) > 5}
    assert len(private) > 20
    outputs = [said.out.encode(), said.err.encode()]
    for path in out.rglob("*"):
        outputs.append(path.name.encode())
        if path.suffix == ".gz":
            outputs.append(nibabel.load(path).to_bytes())
        elif path.is_file():
            outputs.append(path.read_bytes())
    for word in private:
        assert not any(word.encode() in output for output in outputs), word


def test_several_series_of_a_folder_are_several_inputs(series):
    other = SERIES.parent / "CT2N"
    for file in other.iterdir():
        (series / "p1" / f"b{file.name}").write_bytes(file.read_bytes())
    names = [found.name for found in find_inputs([str(series)])]
    assert len(names) == 2 and all(n.startswith("p1/") and len(n) == 3 + 12 for n in names)


def test_the_same_series_under_other_names_is_the_same_input(series):
    (before,) = find_inputs([str(series)])
    first = before.digest()
    for k, file in enumerate(sorted((series / "p1").glob("IM*"))):
        file.rename(file.with_name(f"{9 - k}.dcm"))
    (after,) = find_inputs([str(series)])
    assert after.digest() == first


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">i2", "float32"])
def test_nifti_keeps_affine_and_dtype(tmp_path, dtype):
    (tmp_path / "in").mkdir()
    volume = phantom("smooth", (16, 20, 12), "float64")
    array = np.round(volume * 200).astype(dtype)
    header = nibabel.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(np.dtype(dtype).newbyteorder("="))
    nibabel.save(nibabel.Nifti1Image(array, AFFINE, header), tmp_path / "in" / "a.nii.gz")
    generate(tmp_path / "in", tmp_path / "out", Settings(**NATIVE))
    for line in lines_of(tmp_path / "out"):
        made = nibabel.load(tmp_path / "out" / line["files"]["image"])
        assert np.array_equal(np.float32(made.affine), np.float32(AFFINE))
        assert made.get_data_dtype() == np.dtype(dtype).newbyteorder("=")
        mask = np.asarray(nibabel.load(tmp_path / "out" / line["files"]["mask"]).dataobj) > 0
        assert np.array_equal(np.asarray(made.dataobj)[~mask], array[~mask])
    assert all(not found.problems for found in verify(tmp_path / "out" / "manifest.jsonl"))


def test_a_moved_affine_is_told_by_replay(tmp_path):
    (tmp_path / "in").mkdir()
    array = phantom("smooth", (16, 20, 12), "float32")
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), tmp_path / "in" / "a.nii")
    generate(tmp_path / "in", tmp_path / "out", Settings(**NATIVE))
    path = tmp_path / "out" / lines_of(tmp_path / "out")[0]["files"]["mask"]
    mask = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(mask.dataobj), 2 * AFFINE), path)
    found = list(verify(tmp_path / "out" / "manifest.jsonl"))
    assert [len(f.problems) for f in found] == [1, 0] and "affine" in found[0].problems[0]


def test_a_radiograph_keeps_its_values(tmp_path):
    """2-D DICOM becomes a file of the values themselves; outside the mask they are the input's."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(RADIOGRAPH.read_bytes())
    generate(tmp_path / "in", tmp_path / "out", Settings(**NATIVE))
    original = read_image(RADIOGRAPH).array
    for line in lines_of(tmp_path / "out"):
        made = read_image(tmp_path / "out" / line["files"]["image"]).array
        mask = read_image(tmp_path / "out" / line["files"]["mask"]).array > 0
        assert made.dtype == original.dtype and np.array_equal(made[~mask], original[~mask])
    assert all(not found.problems for found in verify(tmp_path / "out" / "manifest.jsonl"))


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_planes_are_shown_as_radiologists_look_at_them(order, flips):
    """However a volume is stored: the patient's right on the left, superior or anterior on top."""
    world = np.zeros((4, 5, 6))  # right, anterior, superior
    world[3, :, :] += 1  # the patient's right
    world[:, 4, :] += 10  # anterior
    world[:, :, 5] += 100  # superior
    stored, affine = world, np.eye(4)
    for axis, sign in enumerate(flips):
        if sign < 0:
            stored = np.flip(stored, axis)
            affine[axis, axis] = -1
    stored = stored.transpose(order)
    affine[:3, :3] = affine[:3, :3][:, order] * np.array([1.0, 2.0, 3.0])[list(order)]
    spacing = tuple(np.array([1.0, 2.0, 3.0])[list(order)])
    mask = np.zeros(stored.shape, bool)
    image = Image(stored, spacing=spacing, affine=affine)
    transverse, coronal, sagittal = (order.index(k) for k in (2, 1, 0))
    plane, size = cut_plane(image, transverse, mask)
    assert plane.shape == (5, 4) and size == (2.0, 1.0)
    assert (plane[:, 0] % 10 == 1).all() and (plane[0] // 10 % 10 == 1).all()
    plane, size = cut_plane(image, coronal, mask)
    assert plane.shape == (6, 4) and size == (3.0, 1.0)
    assert (plane[:, 0] % 10 == 1).all() and (plane[0] >= 100).all()
    plane, size = cut_plane(image, sagittal, mask)
    assert plane.shape == (6, 5) and size == (3.0, 2.0)
    assert (plane[:, 0] // 10 % 10 == 1).all() and (plane[0] >= 100).all()


def test_preview_of_volumes_and_into_a_folder(series, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert main(["preview", str(series), str(sheet), "--size", "native"]) == 0
    with PIL.Image.open(sheet) as picture:
        assert picture.width > 3 * 3 * 192  # three planes a row
    assert main(["preview", str(series), str(tmp_path), "--size", "native"]) == 2
    assert "which is a folder" in capsys.readouterr().err
    assert main(["preview", str(series), str(tmp_path / "no" / "a.png"), "--size", "native"]) == 2
    assert "no folder" in capsys.readouterr().err


def test_a_region_of_interest_in_nifti(tmp_path):
    for name in ("in", "roi"):
        (tmp_path / name).mkdir()
    array = phantom("smooth", (16, 20, 24), "float32")
    labels = np.zeros(array.shape, np.uint8)
    labels[2:14, 2:18, 2:11], labels[2:14, 2:18, 13:22] = 1, 2
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), tmp_path / "in" / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "roi" / "A.nii")
    settings = Settings(preset("paper"), roi=str(tmp_path / "roi"), mask_level=2, **NATIVE)
    generate(tmp_path / "in", tmp_path / "out", settings)
    for line in lines_of(tmp_path / "out"):
        mask = read_image(tmp_path / "out" / line["files"]["mask"]).array > 0
        assert mask[labels == 2].sum() >= mask.sum() / 2
