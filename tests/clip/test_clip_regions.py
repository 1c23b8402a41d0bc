"""Regions of interest: scores and maps are of what lies inside, alike for all methods."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from io import StringIO

import numpy as np
import PIL.Image
import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

import synthmed  # noqa: E402
from synthmed import io  # noqa: E402
from synthmed_clip import Joined, MediCLIP, NearestPatch, Subspace, ZeroShot, fit  # noqa: E402
from synthmed_clip.backbone.pixels import to_pixels  # noqa: E402
from synthmed_clip.cli.main import main  # noqa: E402
from synthmed_clip.data.images import collect, squares_of  # noqa: E402
from synthmed_clip.data.regions import read_inside, square_inside  # noqa: E402
from synthmed_clip.data.values import Values  # noqa: E402
from synthmed_clip.evaluation import evaluate  # noqa: E402
from synthmed_clip.methods.maps import pool_inside  # noqa: E402
from synthmed_clip.training.steps import SyntheticSteps  # noqa: E402

SHORT = MediCLIP(layers=(2, 4), epochs=2)
POOLED = [
    SHORT,
    replace(SHORT, score="evidence"),
    NearestPatch(),
    NearestPatch(pool=0.1),
    Subspace(),
    Joined((SHORT, NearestPatch()), pool=(0.02, 0.5)),
]
WHOLE = np.ones((50, 60), bool)
HALF = WHOLE.copy()
HALF[:, 30:] = False


@pytest.fixture(scope="module", params=POOLED, ids=repr)
def detector(request, backbone, normals):
    return fit(normals, request.param, backbone=backbone, rng=0, progress=False)


def test_the_whole_image_as_a_region_changes_nothing(detector, normals):
    plain = detector.predict(normals)
    for bare, region in zip(plain, detector.predict(normals, roi=[WHOLE] * 6), strict=True):
        assert bare.score == region.score and bare.p_value == region.p_value
        assert np.array_equal(bare.anomaly_map, region.anomaly_map)


def test_a_score_is_the_pool_of_what_lies_inside(detector, normals):
    strange = [255 - normals[0], normals[1][::-1]]
    size = detector.backbone.image_size
    whole = detector.fitted.score(to_pixels(squares_of(collect(strange)[0], size, Values())))
    inside = torch.from_numpy(np.stack([square_inside(HALF, size)] * 2))
    assert inside[:, :, :16].all() and not inside[:, :, 16:].any()
    found = detector.score(strange, roi=[HALF, HALF])
    for n in range(2):
        grid = (whole.maps if whole.pooled is None else whole.pooled)[n]
        values = grid[:, : grid.shape[1] // 2].flatten()
        expected = detector.fitted.pool(values[None])[0].item()
        assert found.scores[n].item() == pytest.approx(expected, rel=1e-6)
        assert torch.equal(found.maps[n, :, :16], whole.maps[n, :, :16])
        assert (found.maps[n, :, 16:] == whole.maps[n].min()).all()
    bare, within = detector.predict(strange[0]), detector.predict(strange[0], roi=HALF)
    assert np.array_equal(within.anomaly_map[HALF], bare.anomaly_map[HALF])
    assert (within.anomaly_map[~HALF] == bare.anomaly_map.min()).all()


def test_what_lies_outside_is_ignored(backbone, normals):
    detector = fit(normals, NearestPatch(layers=(1,)), backbone=backbone)
    strange = normals[0].copy()
    strange[10:30, 40:55] = 255 - strange[10:30, 40:55]
    bare, within = detector.predict(strange), detector.predict(strange, roi=HALF)
    assert within.score < bare.score
    assert np.unravel_index(bare.anomaly_map.argmax(), (50, 60))[1] >= 30
    assert np.unravel_index(within.anomaly_map.argmax(), (50, 60))[1] < 30


def test_patches_count_by_half_and_a_tiny_region_by_its_patch():
    pooled = torch.arange(16.0).reshape(1, 4, 4)
    inside = torch.zeros(1, 8, 8, dtype=bool)
    inside[0, 0, 0] = True
    assert pool_inside(pooled, inside, lambda v: v.amax(1)).tolist() == [0.0]
    inside[0, 2:4, 2:3] = True  # half of patch 5, all of none
    assert pool_inside(pooled, inside, lambda v: v.amax(1)).tolist() == [5.0]
    rng = np.random.default_rng(0)
    for _ in range(20):
        region = np.zeros((90, 70), bool)
        y, x = rng.integers(0, 70, 2)
        region[y : y + rng.integers(1, 20), x : x + rng.integers(1, 20)] = True
        assert square_inside(region, 32).any()


def test_methods_of_whole_images_refuse(backbone, normals):
    detector = fit(normals, ZeroShot(), backbone=backbone)
    with pytest.raises(ValueError, match="scores of FittedZeroShot are of whole images"):
        detector.predict(normals[0], roi=WHOLE)
    with pytest.raises(ValueError, match="scores of FittedZeroShot are of whole images"):
        fit(normals, ZeroShot(), backbone=backbone, roi=[WHOLE] * 6)


def test_fit_draws_inside_and_judges_inside(backbone, normals):
    inside = np.zeros((6, 32, 32), bool)
    inside[:, :20, :20] = True
    images = np.stack([np.asarray(PIL.Image.fromarray(n).resize((32, 32))) for n in normals])
    steps = SyntheticSteps(synthmed.preset("paper"), images, 6, (7,), inside)
    for epoch in range(4):
        for index in range(6):
            mask = steps.pair(epoch, index)[1]
            assert 2 * (mask & inside[index]).sum() >= mask.sum() > 0
    with pytest.raises(ValueError, match=r"inside must have shape \(6, 32, 32\)"):
        SyntheticSteps(synthmed.preset("paper"), images, 6, (7,), inside[:3])
    corner = np.zeros((50, 60), bool)
    corner[:25, :30] = True
    bare, within = (
        fit(normals, NearestPatch(), backbone=backbone, roi=roi) for roi in (None, [corner] * 6)
    )
    assert within.fitted.digest() == bare.fitted.digest()  # the outside stays known as normal
    assert all(a <= b for a, b in zip(within.normal_scores, bare.normal_scores, strict=True))
    assert within.threshold == max(within.normal_scores) < bare.threshold
    left = bare.fitted.score_left_out(torch.zeros(6, 1, 32, 32))
    chosen = torch.from_numpy(np.stack([square_inside(corner, 32)] * 6))
    expected = bare.fitted.within(left, chosen).scores.tolist()
    assert list(within.normal_scores) == expected


def test_a_learnt_method_is_another_with_regions(backbone, normals, tmp_path):
    options = {"backbone": backbone, "rng": 0, "progress": False}
    path = tmp_path / "c.safetensors"
    whole, bare, half = (
        fit(normals, SHORT, roi=roi, checkpoint=file, **options)
        for roi, file in (([WHOLE] * 6, None), (None, path), ([HALF] * 6, None))
    )
    assert whole.threshold == bare.threshold and half.fitted.digest() != bare.fitted.digest()
    with pytest.raises(ValueError, match="belongs to another fit: inside was None"):
        fit(normals, SHORT, roi=[HALF] * 6, checkpoint=path, **options)
    joined = fit(normals, Joined((SHORT, NearestPatch())), roi=[HALF] * 6, **options)
    assert joined.fitted.members[0].digest() == half.fitted.digest()


def test_bad_regions_are_named(backbone, normals, tmp_path):
    detector = fit(normals, NearestPatch(), backbone=backbone)
    scan = tmp_path / "scan.png"
    PIL.Image.fromarray(normals[0]).save(scan)
    (tmp_path / "regions").mkdir()
    for roi, error, message in (
        (WHOLE[:, 1:], ValueError, r"region of interest has shape \(50, 59\); expected \(50, 60\)"),
        (WHOLE.T, ValueError, "region of interest has shape"),
        (np.zeros((50, 60), bool), ValueError, "region of interest is empty"),
        (WHOLE.astype(np.uint8), TypeError, "must be arrays of bool, not uint8"),
        (7, TypeError, "must be arrays, paths or 'auto', not int"),
        (tmp_path / "none.png", FileNotFoundError, "no region of interest at"),
        (tmp_path / "regions", ValueError, "the images are no files"),
    ):
        with pytest.raises(error, match=message):
            detector.predict(normals[0], roi=roi)
    with pytest.raises(FileNotFoundError, match="no region of interest of its name in"):
        detector.predict(scan, roi=tmp_path / "regions")
    with pytest.raises(ValueError, match="one region an image: 6 images, got 5"):
        detector.predict(normals, roi=[WHOLE] * 5)
    with pytest.raises(ValueError, match="one region an image: 6 images, got 1"):
        detector.predict(normals, roi=WHOLE)


def test_files_folders_levels_orientation_and_auto(backbone, normals, tmp_path):
    detector = fit(normals, NearestPatch(), backbone=backbone)
    scans, regions = tmp_path / "scans", tmp_path / "regions"
    scans.mkdir()
    regions.mkdir()
    turned = PIL.Image.Exif()
    turned[0x0112] = 6
    PIL.Image.fromarray(np.rot90(normals[0])).save(scans / "scan.tif", exif=turned)
    assert np.array_equal(io.read_image(scans / "scan.tif").array, normals[0])
    labels = np.rot90(HALF.astype(np.uint8) * 2 + 1)  # the frame as it is stored
    PIL.Image.fromarray(labels).save(regions / "Scan.PNG")
    expected = detector.predict(normals[0], roi=HALF)
    for roi in (regions, regions / "Scan.PNG"):
        found = detector.predict(scans / "scan.tif", roi=roi, mask_level=3)
        assert found.score == expected.score
        assert np.array_equal(found.anomaly_map, expected.anomaly_map)
        with pytest.raises(ValueError, match="a mask with the levels 1, 3"):
            detector.predict(scans / "scan.tif", roi=roi)
    body = np.zeros((80, 80), np.uint8)
    body[20:60, 25:55] = 120 + normals[0][:40, :30] // 4
    auto = detector.predict(body, roi="auto")
    assert auto.score == detector.predict(body, roi=synthmed.foreground(body)).score
    assert (auto.anomaly_map[:10] == auto.anomaly_map.min()).all()


def test_evaluate_ignores_what_lies_outside(backbone, folder):
    from synthmed_clip.data.layouts import read_dataset

    items = read_dataset(folder).test
    turned = [io.read_image(item.image).array[::-1] for item in items if not item.abnormal]
    detector = fit(turned, NearestPatch(), backbone=backbone)
    whole = evaluate(detector, items, roi=[WHOLE] * len(items), resamples=0)
    assert whole == evaluate(detector, items, resamples=0)
    away = np.zeros((50, 60), bool)
    away[:, 45:] = True  # no lesion lies there
    found = evaluate(detector, items, roi=[away] * len(items), resamples=0)
    scores = detector.score([item.image for item in items], roi=[away] * len(items)).scores
    assert found.scores == tuple(scores.tolist()) != whole.scores
    assert found.pixel["AUROC"].value < 0.5  # what is abnormal outside is missed


def test_the_command_line_takes_regions(backbone, folder, tmp_path, capsys, configs):
    import open_clip
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        net = open_clip.CLIP(**json.loads(configs["vit"].read_text()))
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    regions = tmp_path / "regions"
    for kind in ("normal", "abnormal"):
        (regions / kind).mkdir(parents=True)
        for path in sorted((folder / kind).iterdir()):
            io_path = regions / kind / f"{path.stem}.png"
            PIL.Image.fromarray(HALF).save(io_path)
    model, out = tmp_path / "m.safetensors", tmp_path / "out"
    tower = f"--backbone {configs['vit']} --weights {tmp_path / 'w.safetensors'} --device cpu"
    fitted = f"fit {folder / 'normal'} -o {model} {tower} --roi {regions / 'normal'} nearest-patch"
    assert main(fitted.split()) == 0
    scans = tmp_path / "scans"
    for kind in ("normal", "abnormal"):
        shutil.copytree(folder / kind, scans / kind)
    predicted = f"predict {model} {scans} -o {out} --roi {regions} --no-progress"
    assert main(predicted.split()) == 0
    from synthmed_clip import Detector

    detector = Detector.load(model, device="cpu")
    rows = list(csv.DictReader(StringIO((out / "scores.csv").read_text())))
    expected = detector.predict(scans / rows[0]["image"], roi=HALF).score
    assert len(rows) == 12 and float(rows[0]["score"]) == pytest.approx(expected, abs=1e-6)
    assert main(f"evaluate {model} {folder} --roi {regions}".split()) == 0
    assert main(f"evaluate {model} {folder} --roi auto".split()) == 0
    (regions / "normal" / "n0.png").unlink()
    shutil.rmtree(out)
    assert main(predicted.split()) == 1
    told = capsys.readouterr()
    assert "n0.png: no region of interest" in told.err and "1 left out" in told.out


def test_auto_looks_through_the_window():
    """Padding far below the tissue made everything foreground."""
    body = np.zeros((64, 64), bool)
    body[16:48, 12:52] = True
    scan = np.where(body, 40, -1000).astype(np.int16)
    scan[16:48:2, 12:52:2] = 90
    scan[:, :6] = -3024
    windowed = io.Image(scan, value_range=(-160, 240))
    found = read_inside("auto", windowed, windowed)
    assert (found & body).sum() > 0.95 * body.sum() and (found & ~body).sum() < 0.05 * body.sum()
