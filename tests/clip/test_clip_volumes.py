"""Volumes slice by slice: which way up, left out whole, mapped in their own geometry."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from synthmed import io  # noqa: E402
from synthmed_clip import Detector, MediCLIP, NearestPatch, ZeroShot, fit  # noqa: E402
from synthmed_clip.cli.main import main  # noqa: E402
from synthmed_clip.data import read_dataset  # noqa: E402
from synthmed_clip.data.slices import Slices, read_volume, require_axis  # noqa: E402
from synthmed_clip.evaluation import evaluate  # noqa: E402
from synthmed_clip.evaluation.evaluate import maps_of  # noqa: E402

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # indices to left, posterior, superior


@pytest.fixture(scope="module")
def volumes():
    """Five head-like volumes `(x, y, z)` in Hounsfield-like units, affine LPS."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(5):
        texture = gaussian_filter(rng.standard_normal((24, 22, 12)), 2) * 400
        made.append(io.Image(texture.astype(np.int16), affine=LPS, value_range=(-100, 100)))
    return made


def turned(volume, order, flips):
    """The same volume stored along other axes, its affine with it."""
    steps = tuple(slice(None, None, -1 if f else 1) for f in flips)
    array = volume.array.transpose(order)[steps]
    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        to_old[old, new] = -1 if flip else 1
        to_old[old, 3] = array.shape[new] - 1 if flip else 0
    return io.Image(array, affine=volume.affine @ to_old, value_range=volume.value_range)


ORIENTATIONS = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3))
)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_plane_looks_alike_however_the_file_lies(plane, volumes):
    reference = Slices.along(volumes[0], plane)
    expected = np.stack([reference[n].array for n in range(len(reference))])
    for order, flips in ORIENTATIONS:
        other = Slices.along(turned(volumes[0], order, flips), plane)
        found = np.stack([other[n].array for n in range(len(other))])
        assert np.array_equal(found, expected) or np.array_equal(found[::-1], expected)


def test_planes_are_shown_as_radiology_shows_them():
    volume = io.Image(np.arange(24).reshape(2, 3, 4), affine=LPS)
    axial, coronal, sagittal = (
        Slices.along(volume, plane)[0].array for plane in ("axial", "coronal", "sagittal")
    )
    assert np.array_equal(axial, volume.array[:, :, 0].T)  # rows to posterior, columns to left
    assert np.array_equal(coronal, volume.array[:, 0, ::-1].T)  # rows to inferior
    assert np.array_equal(sagittal, volume.array[0, :, ::-1].T)  # columns to posterior


@given(st.sampled_from(ORIENTATIONS), st.sampled_from(["axial", "coronal", "sagittal", 0, 1, 2]))
def test_a_slice_knows_where_it_lies(orientation, axis):
    rng = np.random.default_rng(0)
    oblique = LPS.copy()
    oblique[:3, :3] += rng.uniform(-0.2, 0.2, (3, 3))
    oblique[:3, 3] = 5, -7, 9
    base = io.Image(np.arange(60).reshape(3, 4, 5), affine=oblique)
    slices = Slices.along(turned(base, *orientation), axis)
    number = len(slices) - 1
    own = slices[number]
    for row, column in np.ndindex(own.array.shape):
        old = np.unravel_index(own.array[row, column], (3, 4, 5))
        assert np.allclose(own.affine @ [row, column, 0, 1], oblique @ [*old, 1])
    back = np.zeros(slices.volume.array.shape)
    for n in range(len(slices)):
        slices.view(back)[n] = slices[n].array
    assert np.array_equal(back, slices.volume.array)


@pytest.fixture(scope="module")
def detector(backbone, volumes):
    return fit(volumes, NearestPatch(), backbone=backbone, axis="axial", slices=4)


def test_a_whole_volume_is_left_out(detector, backbone, volumes):
    assert len(detector.provenance.support) == 20 and len(detector.normal_scores) == 5
    for number, score in enumerate(detector.normal_scores):
        others = [volume for n, volume in enumerate(volumes) if n != number]
        judge = fit(
            others,
            NearestPatch(),
            backbone=backbone,
            axis="axial",
            slices=4,
            value_range=(-100, 100),
        )
        assert judge.predict(volumes[number]).score == pytest.approx(score, rel=1e-5)
    assert detector.threshold == max(detector.normal_scores)
    alone = fit(volumes[:1], NearestPatch(), backbone=backbone, axis=2)
    assert alone.normal_scores == () and alone.predict(volumes[1]).p_value is None
    learnt = MediCLIP(layers=(2, 4), epochs=1)
    one = fit(volumes[:2], learnt, backbone=backbone, axis=2, slices=2, progress=False)
    assert one.normal_scores == () and one.axis == 2


def test_a_map_has_the_volumes_own_geometry(detector, volumes):
    strange = volumes[0].array.copy()
    strange[8:16, 6:14, 7] = 100 - strange[8:16, 6:14, 7]
    volume = io.Image(strange, affine=LPS, value_range=(-100, 100))
    expected = detector.predict(volume, alpha=0.2)
    assert expected.anomaly_map.shape == strange.shape
    assert expected.p_value in {n / 6 for n in range(1, 7)}
    slices = Slices.along(volume, "axial")
    of_images = replace(detector, axis=None)
    for number in (0, 7, 11):
        plane = of_images.predict(slices[number]).anomaly_map
        assert np.allclose(expected.anomaly_map[:, :, number], plane.T, atol=1e-6)
    for order, flips in ORIENTATIONS[::5]:
        other = detector.predict(turned(volume, order, flips))
        assert other.score == pytest.approx(expected.score, abs=1e-6)
        steps = tuple(slice(None, None, -1 if f else 1) for f in flips)
        same = expected.anomaly_map.transpose(order)[steps]
        assert np.allclose(other.anomaly_map, same, atol=1e-6)


def test_files_and_saved_detectors(detector, volumes, tmp_path):
    pytest.importorskip("nibabel", reason="NIfTI needs the extra `medical`")
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, volume in enumerate(volumes):
        (folder / f"{number}.nii.gz").write_bytes(io.encode(volume, ".nii.gz"))
    again = fit(folder, NearestPatch(), backbone=detector.backbone, axis="axial", slices=4)
    assert again.normal_scores == pytest.approx(detector.normal_scores, rel=1e-5)
    again.save(tmp_path / "d")
    loaded = Detector.load(tmp_path / "d", backbone=detector.backbone)
    assert loaded.axis == "axial"
    found = loaded.predict(folder / "2.nii.gz")
    assert found.score == pytest.approx(again.predict(volumes[2]).score, rel=1e-5)
    scores = loaded.score(folder)
    assert scores.scores.shape == (5,) and scores.maps.shape == (60, 32, 32)
    assert scores.depths == (12,) * 5
    assert scores.scores[2].item() == pytest.approx(found.score)


def test_what_cannot_be_is_named(detector, backbone, volumes, normals):
    images = fit(normals, NearestPatch(), backbone=backbone)
    for call, message in (
        (lambda: images.predict(volumes[0]), "slices of volumes need axis="),
        (lambda: images.predict(volumes[0], axis=0, alpha=0.5), "needs p-values of volumes"),
        (lambda: detector.predict(normals[0]), "expected a volume, not an image of shape"),
        (lambda: detector.predict(volumes[0], roi=np.ones((24, 22), bool)), "has shape .24, 22."),
        (lambda: detector.predict(volumes[0], roi=np.zeros((24, 22, 12), bool)), "is empty"),
        (lambda: fit(volumes, ZeroShot(), backbone=backbone, axis=3), "axis must be 0, 1, 2"),
        (lambda: fit(volumes, ZeroShot(), backbone=backbone, axis=0, slices=0), "at least 1"),
        (lambda: read_volume(io.Image(np.zeros((4, 5, 6))), "axial"), "needs an affine"),
        (lambda: require_axis("oblique"), "axis must be"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_the_command_line_fits_and_maps_volumes(volumes, configs, tmp_path, capsys):
    nibabel = pytest.importorskip("nibabel", reason="NIfTI needs the extra `medical`")
    import open_clip
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        net = open_clip.CLIP(**json.loads(configs["vit"].read_text()))
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    scans, model, out = tmp_path / "scans", tmp_path / "m.safetensors", tmp_path / "out"
    scans.mkdir()
    for number, volume in enumerate(volumes):
        (scans / f"{number}.nii.gz").write_bytes(io.encode(volume, ".nii.gz"))
    tower = f"--backbone {configs['vit']} --weights {tmp_path / 'w.safetensors'} --device cpu"
    fitted = f"fit {scans} -o {model} {tower} --axis axial --slices 3 nearest-patch"
    assert main(fitted.split()) == 0
    told = capsys.readouterr().out
    assert "5 taken" in told and "5 volumes, values -100 to 100 (measured)" in told
    (scans / "bad.nii.gz").write_bytes(b"no volume")
    assert main(f"predict {model} {scans} -o {out}".split()) == 1
    told = capsys.readouterr()
    detector = Detector.load(model, device="cpu")
    rule = f"above the threshold {detector.threshold:.4f}"
    assert "bad.nii.gz" in told.err and f"5 volumes, 0 {rule}, 1 left out" in told.out
    expected = detector.predict(scans / "3.nii.gz")
    written = nibabel.load(out / "maps" / "3.nii.gz.nii.gz")
    assert np.array_equal(written.affine, LPS)
    assert np.allclose(written.get_fdata(), expected.anomaly_map, atol=1e-6)
    rows = json.loads((out / "scores.json").read_text())["images"]
    assert rows[3]["image"] == "3.nii.gz" and rows[3]["score"] == pytest.approx(expected.score)


def marked(volume, at):
    """A volume with a patch of inverted values, and the patch as a mask."""
    inside = np.zeros(volume.array.shape, bool)
    inside[at] = True
    array = np.where(inside, 120 - volume.array, volume.array)
    return replace(volume, array=array.astype(np.int16)), inside


def test_regions_of_volumes_count_alone(backbone, volumes):
    """In every orientation of the files, for fit and predict."""
    left = np.zeros((24, 22, 12), bool)
    left[:12, :, 2:9] = True
    own = fit(
        volumes,
        NearestPatch(),
        backbone=backbone,
        axis="axial",
        slices=4,
        roi=[left] * len(volumes),
    )
    assert len(own.provenance.support) == 20 and len(own.normal_scores) == 5
    assert own.threshold == max(own.normal_scores)
    plain, _ = marked(volumes[0], np.s_[2:8, 6:14, 4])
    other = plain.array.copy()
    other[14:, ::2, 10] = 900  # outside
    other = replace(plain, array=other)
    expected, found = (own.predict(v, roi=left) for v in (plain, other))
    assert own.predict(other).score != found.score == expected.score
    assert np.all(expected.anomaly_map[~left] == expected.anomaly_map.min())
    whole = own.predict(plain)
    assert np.array_equal(expected.anomaly_map[left], whole.anomaly_map[left])
    assert left[expected.peak]
    for order, flips in ORIENTATIONS[::7]:
        steps = tuple(slice(None, None, -1 if f else 1) for f in flips)
        turn = own.predict(turned(plain, order, flips), roi=left.transpose(order)[steps])
        assert turn.score == pytest.approx(expected.score, abs=1e-6)
    in_one = own.score(plain, roi=left)
    assert in_one.scores[0].item() == pytest.approx(expected.score)
    (maps,) = maps_of(in_one)
    assert maps.shape == (12, 32, 32) and np.all(maps[[0, 1, 9, 10, 11]] == maps.min())


def test_support_slices_are_of_the_region(backbone, volumes):
    """Those that it reaches; a method that draws anomalies draws them in it."""
    low = np.zeros((24, 22, 12), bool)
    low[:, :, 3:5] = True
    method = MediCLIP(layers=(2, 4), epochs=1)
    two = fit(
        volumes[:2],
        method,
        backbone=backbone,
        axis="axial",
        slices=9,
        roi=[low, low],
        rng=0,
        progress=False,
    )
    assert len(two.provenance.support) == 4


@pytest.fixture(scope="module")
def labelled(volumes, tmp_path_factory):
    """Volumes as NIfTI in the plain layout; the masks lie along other axes than their volumes."""
    pytest.importorskip("nibabel", reason="NIfTI needs the extra `medical`")
    root = tmp_path_factory.mktemp("labelled")
    for name in ("normal", "abnormal", "masks"):
        (root / name).mkdir()
    for number, volume in enumerate(volumes[:3]):
        (root / "normal" / f"{number}.nii.gz").write_bytes(io.encode(volume, ".nii.gz"))
        image, inside = marked(volume, np.s_[4:12, 4 + number : 14, 5:8])
        (root / "abnormal" / f"{number}.nii.gz").write_bytes(io.encode(image, ".nii.gz"))
        mask = turned(replace(volume, array=inside), *ORIENTATIONS[11 + 9 * number])
        mask = replace(mask, value_range=None)
        (root / "masks" / f"{number}.nii.gz").write_bytes(io.encode(mask, ".nii.gz"))
    return root


def test_voxels_are_compared_with_masks(detector, labelled):
    """By scikit-learn, on maps and masks that are brought to one size by other means."""
    metrics = pytest.importorskip("sklearn.metrics")
    items = read_dataset(labelled, volumes=True).test
    assert [item.mask is not None for item in items] == [False] * 3 + [True] * 3
    found = evaluate(detector, items)
    assert (found.normal, found.abnormal, found.masked) == (3, 3, 3)
    maps, masks = [], []
    for item in items:
        maps.append(maps_of(detector.score(item.image))[0].ravel())
        mask = np.zeros((12, 32, 32), bool)
        if item.abnormal:
            number = int(item.image.name[0])
            rows, columns = (((np.arange(32) + 0.5) * n / 32).astype(int) for n in (22, 24))
            inside = np.zeros((24, 22, 12), bool)
            inside[4:12, 4 + number : 14, 5:8] = True
            mask = inside.transpose(2, 1, 0)[:, rows][:, :, columns]
        masks.append(mask.ravel())
    truth, values = np.concatenate(masks), np.concatenate(maps)
    assert found.pixel["AUROC"].value == pytest.approx(metrics.roc_auc_score(truth, values))
    expected = metrics.average_precision_score(truth, values)
    assert found.pixel["AP"].value == pytest.approx(expected)
    assert found.pixel["AUROC"].low <= found.pixel["AUROC"].value <= found.pixel["AUROC"].high


def test_a_mask_on_another_grid_is_refused(detector, labelled, volumes, tmp_path):
    items = read_dataset(labelled, volumes=True).test
    moved = LPS.copy()
    moved[0, 3] = 1
    for array, affine in (
        (np.ones((24, 22, 12), np.uint8), moved),
        (np.ones((12, 11, 6), np.uint8), LPS @ np.diag([2, 2, 2, 1])),
        (np.ones((24, 22, 11), np.uint8), LPS),
    ):
        path = tmp_path / "mask.nii.gz"
        path.write_bytes(io.encode(io.Image(array, affine=affine), ".nii.gz"))
        with pytest.raises(ValueError, match="lies on another grid than its image"):
            evaluate(detector, [items[0], replace(items[3], mask=path)])


def test_the_command_line_evaluates_volumes(detector, labelled, tmp_path, capsys, monkeypatch):
    model, out = tmp_path / "m.safetensors", tmp_path / "found.json"
    detector.save(model)
    load = Detector.load
    monkeypatch.setattr(Detector, "load", lambda path, **_: load(path, backbone=detector.backbone))
    again = f"evaluate {model} {labelled} -o {out} --against {model}"
    assert main(again.split()) == 0
    told = capsys.readouterr().out
    first, _, second = told.partition("against")
    assert "Pixel-AUROC" in first and "Pixel-AUPRO" in second
    expected = evaluate(detector, read_dataset(labelled, volumes=True).test)
    assert json.loads(out.read_text())["pixel"]["AUROC"]["value"] == expected.pixel["AUROC"].value
    assert main(f"evaluate {model} {labelled} --report {tmp_path / 'r.html'}".split()) == 1
    assert "--report is of images" in capsys.readouterr().err
    regions = tmp_path / "regions"
    regions.mkdir()
    region = np.zeros((24, 22, 12), np.uint8)
    region[:12, :, 3:9] = 1
    for name in ("0", "1", "2"):
        image = io.Image(region, affine=LPS)
        (regions / f"{name}.nii.gz").write_bytes(io.encode(image, ".nii.gz"))
    scored = f"predict {model} {labelled / 'abnormal'} -o {tmp_path / 'p'} --roi {regions}"
    assert main(scored.split()) == 0
    rows = json.loads((tmp_path / "p" / "scores.json").read_text())["images"]
    one = detector.predict(labelled / "abnormal" / "1.nii.gz", roi=regions / "1.nii.gz")
    assert rows[1]["score"] == pytest.approx(one.score)
