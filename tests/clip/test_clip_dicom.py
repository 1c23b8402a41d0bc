"""DICOM through the detector: radiographs with their window, series as volumes, masks of both."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")
pydicom = pytest.importorskip("pydicom", reason="DICOM needs the extra `medical`")
nibabel = pytest.importorskip("nibabel", reason="NIfTI needs the extra `medical`")

from dicom_by_hand import image, save, series  # noqa: E402
from PIL import Image  # noqa: E402

from synthmed import io  # noqa: E402
from synthmed_clip import Detector, NearestPatch, fit  # noqa: E402
from synthmed_clip.cli.main import main  # noqa: E402
from synthmed_clip.data import read_dataset  # noqa: E402
from synthmed_clip.evaluation import evaluate  # noqa: E402

WINDOW = {"WindowCenter": 40.5, "WindowWidth": 401}  # -160 to 240
HU = {"RescaleSlope": 1, "RescaleIntercept": -1000, "stored": 12} | WINDOW


def texture(seed, shape):
    made = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    return (made / made.std() * 80 + 1040).clip(0, 4095).astype(np.uint16)


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory):
    """In the plain layout; files without suffix, one of them white at the bottom."""
    root = tmp_path_factory.mktemp("radiographs")
    for name in ("normal", "abnormal", "masks"):
        (root / name).mkdir()
    for number in range(4):
        stored = texture(number, (40, 48))
        image(stored, **HU).save_as(root / "normal" / f"IM.{number}", enforce_file_format=True)
        inside = np.zeros(stored.shape, bool)
        inside[10:20, 8 + 4 * number : 24] = True
        stored[inside] = 2080 - stored[inside]
        path = root / "abnormal" / f"IM.{number}"
        image(stored, **HU).save_as(path, enforce_file_format=True)
        Image.fromarray(inside).save(root / "masks" / f"IM.{number}.png")
    return root


@pytest.fixture(scope="module")
def chest(radiographs, backbone):
    return fit(radiographs / "normal", NearestPatch(), backbone=backbone)


@pytest.fixture
def saved(chest, tmp_path, monkeypatch):
    """The detector's file, and a way to load it without its weights."""
    load = Detector.load
    monkeypatch.setattr(Detector, "load", lambda path, **_: load(path, backbone=chest.backbone))
    return lambda detector: detector.save(tmp_path / "d.safetensors") or tmp_path / "d.safetensors"


def test_a_radiograph_is_seen_through_its_window(chest, radiographs):
    assert str(chest.values) == "-160 to 240 (measured)"
    path = radiographs / "abnormal" / "IM.1"
    hounsfield = pydicom.dcmread(path).pixel_array.astype(float) - 1000
    seen = np.rint((hounsfield + 160) * (255 / 400)).clip(0, 255).astype(np.uint8)
    expected = chest.predict(io.Image(seen), value_range=(0, 255))
    found = chest.predict(path)
    assert found.score == expected.score
    assert np.array_equal(found.anomaly_map, expected.anomaly_map)


def test_radiographs_white_at_the_bottom_are_turned(chest, tmp_path):
    stored = texture(7, (40, 48))
    turned = (2 * 1040 - stored.astype(int)).clip(0, 4095).astype(np.uint16)  # about the window
    for name, array, kind in (("a", stored, "MONOCHROME2"), ("b", turned, "MONOCHROME1")):
        file = image(array, PhotometricInterpretation=kind, **HU)
        file.save_as(tmp_path / name, enforce_file_format=True)
    found = [chest.predict(tmp_path / name).score for name in "ab"]
    assert found[0] == found[1]


def test_radiographs_on_the_command_line(chest, radiographs, saved, tmp_path, capsys):
    """Nothing that names the patient is in any output."""
    model, out = saved(chest), tmp_path / "out"
    assert main(f"predict {model} {radiographs / 'abnormal'} -o {out}".split()) == 0
    assert (out / "scores.csv").read_text().count("\n") == 5
    figures = tmp_path / "figures.json"
    page = tmp_path / "page.html"
    assert main(f"evaluate {model} {radiographs} -o {figures} --report {page}".split()) == 0
    assert "4 with masks" in capsys.readouterr().out
    expected = evaluate(chest, read_dataset(radiographs).test)
    assert f'"value": {expected.pixel["AUROC"].value}' in figures.read_text()
    for path in (model, figures, page, *(p for p in out.rglob("*") if p.is_file())):
        content = path.read_bytes()
        for secret in (b"Zweistein", b"ID-4711", b"20240131", b"19330401", b"1.2.3.4"):
            assert secret not in content, path


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Series of CT in the plain layout, each a folder named by numbers; masks as NIfTI, of the axes
    x, y and z.
    """
    root = tmp_path_factory.mktemp("computed")
    for name in ("normal", "abnormal", "masks"):
        (root / name).mkdir()
    for number in range(3):
        stored = texture(number, (9, 40, 40))
        save(series(stored, **HU), root / "normal" / f"1.2.{number}")
        inside = np.zeros(stored.shape, np.uint8)
        inside[2:5, 8:20, 5:30] = 1
        marked = np.where(inside > 0, 2080 - stored, stored).astype(np.uint16)
        save(series(marked, **HU), root / "abnormal" / f"1.3.{number}")
        affine = io.read_image(root / "abnormal" / f"1.3.{number}").affine[:, [2, 1, 0, 3]]
        mask = io.Image(inside.transpose(2, 1, 0), affine=affine)
        (root / "masks" / f"1.3.{number}.nii.gz").write_bytes(io.encode(mask, ".nii.gz"))
    return root


@pytest.fixture(scope="module")
def body(computed, backbone):
    return fit(computed / "normal", NearestPatch(), backbone=backbone, axis="axial", slices=5)


def test_series_on_the_command_line(body, computed, saved, tmp_path, capsys):
    assert len(body.provenance.support) == 15 and len(body.normal_scores) == 3
    model, out = saved(body), tmp_path / "out"
    patients = tmp_path / "patients"  # at any depth, beside a NIfTI volume
    for number in range(2):
        target = patients / f"p{number}" / "study"
        target.mkdir(parents=True)
        (target / "s").symlink_to(computed / "abnormal" / f"1.3.{number}")
    volume = io.read_image(computed / "abnormal" / "1.3.2")
    (patients / "p2.nii.gz").write_bytes(io.encode(volume, ".nii.gz"))
    assert main(f"predict {model} {patients} -o {out} --roi auto".split()) == 0
    assert "3 volumes" in capsys.readouterr().out
    assert main(f"predict {model} {patients} -o {out}".split()) == 0
    written = nibabel.load(out / "maps" / "p0" / "study" / "s.nii.gz")
    one = io.read_image(computed / "abnormal" / "1.3.0")
    assert np.allclose(written.affine, one.affine, atol=1e-5)
    assert np.allclose(written.get_fdata(), body.predict(one).anomaly_map, atol=1e-6)
    figures = tmp_path / "figures.json"
    assert main(f"evaluate {model} {computed} -o {figures}".split()) == 0
    assert "3 normal, 3 abnormal images, 3 with masks" in capsys.readouterr().out
    for path in (model, figures, *(p for p in out.rglob("*") if p.is_file())):
        content = path.read_bytes()
        for secret in (b"Zweistein", b"ID-4711", b"20240131", b"19330401", b"1.2.3.4"):
            assert secret not in content, path


def test_masks_of_series_are_brought_to_their_axes(body, computed):
    items = read_dataset(computed, volumes=True).test
    found = evaluate(body, items)
    maps = [body.score(item.image).maps.numpy() for item in items]
    inside = np.zeros((9, 40, 40), bool)
    inside[2:5, 8:20, 5:30] = True
    places = ((np.arange(32) + 0.5) * 40 / 32).astype(int)
    # The sagittal or coronal order of the slices is free, the axial one ascends as the series does.
    mask = inside[:, places][:, :, places]
    masks = [mask if item.abnormal else np.zeros_like(mask) for item in items]
    metrics = pytest.importorskip("sklearn.metrics")
    truth, values = (np.concatenate([part.ravel() for part in parts]) for parts in (masks, maps))
    assert found.pixel["AUROC"].value == pytest.approx(metrics.roc_auc_score(truth, values))


def test_a_plain_install_names_the_extra(computed, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    command = f"fit {computed / 'normal'} -o {tmp_path / 'm'} --axis axial nearest-patch"
    assert main(command.split()) == 1
    told = capsys.readouterr().err
    assert 'needs pydicom: pip install "synthmed[medical]"' in told and told.count("\n") == 1
