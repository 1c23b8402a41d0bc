"""Metrics against scikit-learn and a plain AUPRO; data set layouts; evaluate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from fits import fit_mediclip
from PIL import Image
from scipy.ndimage import label

from synthmed_clip.data.layouts import Item, read_dataset, read_datasets
from synthmed_clip.data.masks import read_mask
from synthmed_clip.evaluation.evaluate import evaluate
from synthmed_clip.evaluation.metrics import bootstrap_counts, image_metrics, image_resamples
from synthmed_clip.evaluation.pixels import pixel_metrics, pixel_resamples


def plain_aupro(maps, masks, limit=0.3):
    """One threshold at a time."""
    curve = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        flagged = maps >= threshold
        overlaps = []
        for found, mask in zip(flagged, masks, strict=True):
            regions, count = label(mask, np.ones((3, 3)))
            overlaps += [found[regions == i].mean() for i in range(1, count + 1)]
        curve.append((flagged[~masks].mean(), np.mean(overlaps)))
    x, y = np.array(curve).T
    cut = np.interp(limit, x, y)
    keep = x <= limit
    return np.trapezoid(np.append(y[keep], cut), np.append(x[keep], limit)) / limit


def example(ties):
    rng = np.random.default_rng(0)
    masks = np.zeros((6, 12, 12), bool)
    masks[1, 2:5, 3:9] = masks[2, 7:, 7:] = masks[2, 0:2, 0:2] = masks[5, 4:6, 4:6] = True
    maps = (rng.random(masks.shape) + 0.6 * masks - 0.3).astype(np.float32)
    return (np.round(maps, 1) if ties else maps), masks


@pytest.mark.parametrize("ties", [True, False])
def test_pixel_metrics_agree_with_the_plain_ones(ties):
    sklearn = pytest.importorskip("sklearn.metrics")
    maps, masks = example(ties)
    found = pixel_metrics(maps, masks, masks.any((1, 2)))
    assert found["AUROC"].value == pytest.approx(
        sklearn.roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-12
    )
    assert found["AP"].value == pytest.approx(
        sklearn.average_precision_score(masks.ravel(), maps.ravel()), abs=1e-12
    )
    assert found["AUPRO"].value == pytest.approx(plain_aupro(maps, masks), abs=1e-9)
    assert all(i.low <= i.value <= i.high for i in found.values())


def test_image_metrics_agree_with_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    abnormal = rng.random(200) < 0.6
    scores = np.round(rng.normal(abnormal, 1), 1).astype(np.float32)
    found = image_metrics(scores, abnormal)
    precision, recall, _ = sklearn.precision_recall_curve(abnormal, scores)
    assert found["AUROC"].value == pytest.approx(sklearn.roc_auc_score(abnormal, scores), abs=1e-12)
    assert found["AP"].value == pytest.approx(
        sklearn.average_precision_score(abnormal, scores), abs=1e-12
    )
    f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
    assert found["F1-max"].value == pytest.approx(f1.max(), abs=1e-12)


def test_intervals_cover_what_they_should():
    """The AUROC of two unit normals one apart is 0.7602; 95 % intervals should hold it most of the
    time.
    """
    rng = np.random.default_rng(2)
    abnormal = np.arange(120) < 60
    hits = 0
    for _ in range(60):
        interval = image_metrics(rng.normal(abnormal, 1), abnormal, resamples=300)["AUROC"]
        hits += interval.low <= 0.7602 <= interval.high
    assert hits >= 52


@pytest.mark.parametrize("ties", [True, False])
def test_resampled_metrics_are_those_of_the_images_drawn(ties):
    """So few pixels have a bin each: the histograms are exact, too."""
    maps, masks = example(ties)
    abnormal = masks.any((1, 2))
    found = pixel_resamples(maps, masks, abnormal, 20) | {
        f"image {name}": image
        for name, image in image_resamples(maps.max((1, 2)), abnormal, 20).items()
    }
    for turn, counts in enumerate(bootstrap_counts(abnormal, 20).astype(int)):
        again = np.repeat(np.arange(6), counts)
        values = pixel_resamples(maps[again], masks[again], abnormal[again], 0) | {
            f"image {name}": image
            for name, image in image_resamples(maps[again].max((1, 2)), abnormal[again], 0).items()
        }
        for name, resampled in found.items():
            assert resampled.drawn[turn] == pytest.approx(values[name].value, abs=1e-9), name


def test_intervals_can_be_left_out():
    maps, masks = example(True)
    abnormal = masks.any((1, 2))
    for with_, without in (
        (pixel_metrics(maps, masks, abnormal), pixel_metrics(maps, masks, abnormal, 0)),
        (image_metrics(maps.max((1, 2)), abnormal), image_metrics(maps.max((1, 2)), abnormal, 0)),
    ):
        for name, interval in without.items():
            assert (
                interval.value == with_[name].value
                and np.isnan([interval.low, interval.high]).all()
            )
            assert str(interval) == f"{interval.value:.4f}"


@pytest.mark.parametrize("inside", [True, False])
def test_nan_is_refused(inside):
    maps, masks = example(False)
    maps[1, 2, 3 if inside else 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        pixel_metrics(maps, masks, masks.any((1, 2)))
    with pytest.raises(ValueError, match="NaN"):
        image_metrics(maps.max((1, 2)), masks.any((1, 2)))


def test_coarse_bins_are_close(monkeypatch):
    """With 24 bins for 20 000 distinct values, intervals are near the fine ones: what bins change
    is taken off.
    """
    rng = np.random.default_rng(3)
    masks = np.zeros((20, 32, 32), bool)
    masks[10:, 8:20, 8:20] = True
    maps = (rng.random(masks.shape) + rng.random((20, 1, 1)) + 0.5 * masks).astype(np.float32)
    fine = pixel_metrics(maps, masks, masks.any((1, 2)))
    monkeypatch.setattr("synthmed_clip.evaluation.pixels._BINS", 24)
    for name, interval in pixel_metrics(maps, masks, masks.any((1, 2))).items():
        assert interval.value == fine[name].value
        assert interval.low == pytest.approx(fine[name].low, abs=0.02)
        assert interval.high == pytest.approx(fine[name].high, abs=0.02)


def write(path: Path, size=(20, 24), value=0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, np.uint8)).save(path)


def test_mvtec_layout(tmp_path):
    write(tmp_path / "test/good/000.png")
    write(tmp_path / "test/crack/000.png")
    write(tmp_path / "test/crack/001.png")
    write(tmp_path / "ground_truth/crack/000_mask.png", value=255)
    write(tmp_path / "train/good/000.png")
    found = read_dataset(tmp_path)
    assert found.test == (
        Item(
            tmp_path / "test/crack/000.png",
            True,
            tmp_path / "ground_truth/crack/000_mask.png",
            "crack",
        ),
        Item(tmp_path / "test/crack/001.png", True, None, "crack"),
        Item(tmp_path / "test/good/000.png", False, None, "good"),
    )
    assert found.train == (tmp_path / "train/good/000.png",)


def test_mediclip_layout(tmp_path):
    write(tmp_path / "images/test/a.png")
    write(tmp_path / "images/test/b.png")
    rows = [
        {"filename": "test/a.png", "label": 0},
        {"filename": "test/b.png", "label": 1, "mask": "m/b.png"},
    ]
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples/test.json").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(FileNotFoundError, match=r"m/b.png, which is not there"):
        read_dataset(tmp_path)
    write(tmp_path / "images/m/b.png")
    items = read_dataset(tmp_path).test
    assert [i.abnormal for i in items] == [False, True] and items[
        1
    ].mask == tmp_path / "images/m/b.png"


@pytest.mark.parametrize("line", ['{"filename": "a.png"}', "[1]", "{"])
def test_a_bad_line_is_named(tmp_path, line):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples/test.json").write_text(f"\n{line}\n")
    with pytest.raises(ValueError, match=r"test\.json, line 2"):
        read_dataset(tmp_path)


VISA = """object,split,label,image,mask
candle,train,normal,candle/Data/Images/Normal/0.JPG,
candle,test,normal,candle/Data/Images/Normal/1.JPG,
candle,test,anomaly,candle/Data/Images/Anomaly/0.JPG,candle/Data/Masks/Anomaly/0.png
pcb1,test,anomaly,pcb1/Data/Images/Anomaly/0.JPG,
"""


def visa(root: Path, table: str = VISA) -> Path:
    for row in VISA.splitlines()[1:]:
        write(root / row.split(",")[3])
    write(root / "candle/Data/Masks/Anomaly/0.png", value=3)
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text(table)
    return root


def test_visa_layout(tmp_path):
    found = read_dataset(visa(tmp_path))
    assert found.train == (tmp_path / "candle/Data/Images/Normal/0.JPG",)
    assert found.test == (
        Item(tmp_path / "candle/Data/Images/Normal/1.JPG", False, None, "candle", "any"),
        Item(
            tmp_path / "candle/Data/Images/Anomaly/0.JPG",
            True,
            tmp_path / "candle/Data/Masks/Anomaly/0.png",
            "candle",
            "any",
        ),
        Item(tmp_path / "pcb1/Data/Images/Anomaly/0.JPG", True, None, "pcb1", "any"),
    )
    assert read_mask(found.test[1].mask, 8, found.test[1].mask_level).all()


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("label,image", "kind,image", "lacks the column 'label'"),
        ("test,normal", "valid,normal", "row 2: split is 'valid'"),
        ("test,normal", "test,good", "row 2: label is 'good'"),
        ("pcb1,test,anomaly,", "pcb1,", "row 4: too few fields"),
        ("/1.JPG", "/7.JPG", "which is not there"),
    ],
)
def test_faults_of_a_table_are_named(tmp_path, old, new, error):
    with pytest.raises((ValueError, FileNotFoundError), match=error):
        read_dataset(visa(tmp_path, VISA.replace(old, new)))


def test_folders_of_datasets(tmp_path):
    for name in ("screw", "bottle"):
        write(tmp_path / name / "test/good/0.png")
        write(tmp_path / name / "test/crack/0.png")
    visa(tmp_path / "visa")
    (tmp_path / "figures").mkdir()
    (tmp_path / "license.txt").write_text("")
    assert [found.name for found in read_datasets(tmp_path)] == ["bottle", "screw", "visa"]
    assert [found.name for found in read_datasets(tmp_path / "screw")] == ["screw"]
    with pytest.raises(ValueError, match=f"neither {tmp_path}/figures nor a folder"):
        read_datasets(tmp_path / "figures")
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_datasets(tmp_path / "x")


def test_other_layouts_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_dataset(tmp_path / "x")
    with pytest.raises(ValueError, match="none of the known layouts"):
        read_dataset(tmp_path)
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples/test.json").write_text("")
    with pytest.raises(ValueError, match="no test image is listed"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("name", "outside", "inside", "level"),
    [
        ("0/1.png", 0, 1, None),
        ("VisA.png", 0, 5, "any"),
        ("grey.png", 20, 220, 220),
        ("full.png", 0, 255, None),
        ("lossy.jpg", 60, 200, None),
    ],
)
def test_levels_of_masks(tmp_path, name, outside, inside, level):
    square = np.kron(np.eye(2, dtype=bool), np.ones((16, 16), bool))
    path = tmp_path / name.replace("/", "")
    Image.fromarray(np.where(square, inside, outside).astype(np.uint8)).save(path)
    assert np.array_equal(read_mask(path, 32, level), square)
    assert not read_mask(None, 8).any()


def test_masks_of_other_levels_are_refused_by_name_unless_a_level_chooses(tmp_path):
    write(tmp_path / "normal/0.png")
    write(tmp_path / "abnormal/0.png")
    (tmp_path / "masks").mkdir()
    classes = np.kron(np.array([[0, 1], [2, 3]], np.uint8), np.ones((4, 4), np.uint8))
    Image.fromarray(classes).save(tmp_path / "masks/0.png")

    def inside(mask_level):
        item = read_dataset(tmp_path, mask_level=mask_level).test[1]
        return read_mask(item.mask, 8, item.mask_level)

    with pytest.raises(ValueError, match=r"masks/0\.png: a mask with the levels 0, 1, 2, 3"):
        inside(None)
    assert np.array_equal(inside("any"), classes > 0)
    assert np.array_equal(inside((1, 3)), classes % 2 == 1)
    assert np.array_equal(inside(2), classes == 2)
    (found,) = read_datasets(tmp_path, mask_level=2)
    assert [item.mask_level for item in found.test] == [(2,), (2,)]
    with pytest.raises(TypeError, match="mask level must be one or more ints, or 'any', got 'all'"):
        read_dataset(tmp_path, mask_level="all")


def test_masks_without_anything_inside(tmp_path):
    Image.fromarray(np.full((8, 8), 3, np.uint8)).save(tmp_path / "traces.jpg")
    write(tmp_path / "empty.png")
    assert (
        not read_mask(tmp_path / "traces.jpg", 8).any()
        and not read_mask(tmp_path / "empty.png", 8).any()
    )
    (tmp_path / "no.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"no\.png: not an image"):
        read_mask(tmp_path / "no.png", 8)


@pytest.fixture(scope="module")
def detector(backbone, normals):
    return fit_mediclip(normals, backbone, epochs=2, rng=7)


def test_evaluate(detector, folder):
    found = evaluate(detector, read_dataset(folder).test, resamples=50)
    assert (found.normal, found.abnormal, found.masked) == (6, 6, 6) and set(found.pixel) == {
        "AUROC",
        "AP",
        "AUPRO",
    }
    assert "Image-AUROC" in str(found) and json.loads(json.dumps(found.to_dict()))
    unmasked = [Item(i.image, i.abnormal) for i in read_dataset(folder).test]
    assert evaluate(detector, unmasked, resamples=50).pixel == {}


def test_an_empty_mask_is_no_mask(detector, folder, tmp_path):
    Image.fromarray(np.zeros((50, 60), np.uint8)).save(tmp_path / "empty.png")
    items = list(read_dataset(folder).test)
    changed = [
        replace(item, mask=tmp_path / "empty.png") if item.abnormal else item for item in items
    ]
    assert evaluate(detector, changed, resamples=50).pixel == {}
    one = [*changed[:-1], items[-1]]
    assert evaluate(detector, one, resamples=50).masked == 1


@pytest.mark.parametrize(
    ("name", "counts"), [("busi", (101, 647, 647)), ("chestxray", (234, 234, 0))]
)
def test_layout_of_the_real_data(real_data, name, counts):
    dataset = read_dataset(real_data / name)
    items = dataset.test
    assert len(dataset.train) == 32
    found = (
        sum(not i.abnormal for i in items),
        sum(i.abnormal for i in items),
        sum(i.mask is not None for i in items),
    )
    assert found == counts
