"""Masks wherever data sets have them; what is left out is told; images of one kind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthmed_clip.data import read_dataset, read_datasets
from synthmed_clip.evaluation.metrics import image_metrics


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 255).save(path)


def masks(root: Path) -> dict[str, str | None]:
    """The masks of abnormal images, by the paths of both."""
    return {
        item.image.relative_to(root).as_posix(): (
            None if item.mask is None else item.mask.relative_to(root).as_posix()
        )
        for item in read_dataset(root).test
        if item.abnormal
    }


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("abnormal/a.png", "masks/a.png"),
        ("abnormal/a.jpg", "masks/a.PNG"),
        ("abnormal/a.png", "Masks/a_mask.png"),
        ("abnormal/a.png", "masks/a_seg.tif"),
        ("abnormal/a.png", "masks/a-segmentation.PNG"),
        ("abnormal/a.png", "masks/A_Mask.png"),
        ("abnormal/a.png", "ground_truth/a.png"),
        ("abnormal/a.png", "ground_truth/a_mask.png"),
        ("abnormal/a.png", "ground_truth/abnormal/a_mask.png"),
        ("abnormal/a.png", "mask/abnormal/a.png"),
        ("abnormal/a.png", "abnormal/a_mask.png"),
        ("abnormal/a (1).png", "abnormal/a (1)_mask.png"),
        ("abnormal/a.png", "abnormal/masks/a.png"),
        ("abnormal/images/a.png", "abnormal/masks/a.png"),
        ("abnormal/tumour/a.png", "masks/tumour/a.png"),
        ("abnormal/tumour/a.png", "masks/abnormal/tumour/a.png"),
        ("abnormal/tumour/a.png", "abnormal/tumour/a_seg.png"),
        ("abnormal/tumour/images/a.png", "abnormal/tumour/masks/a.png"),
        ("abnormal/a_b.1.png", "masks/a_b.1.png"),
        ("test/crack/a.png", "ground_truth/crack/a_mask.png"),
        ("test/crack/a.png", "ground_truth/crack/a_seg.PNG"),
        ("test/crack/a.png", "ground_truth/crack/a.png"),
    ],
)
def test_a_mask_is_found_wherever_data_sets_have_it(image, mask, tmp_path):
    write(tmp_path / image, tmp_path / mask)
    normal = "test/good/n.png" if image.startswith("test") else "normal/n.png"
    write(tmp_path / normal, tmp_path / (Path(image).parent / "other.png"))
    if "_mask" in mask or "-seg" in mask:
        write(tmp_path / "abnormal/.ipynb_checkpoints/a-checkpoint.png")
    found = masks(tmp_path)
    assert found == {image: mask, (Path(image).parent / "other.png").as_posix(): None}
    kinds = {i.kind for i in read_dataset(tmp_path).test if i.abnormal}
    assert kinds == {next((kind for kind in ("tumour", "crack") if kind in image), "abnormal")}


def test_what_is_left_out_is_told_and_counted(tmp_path):
    write(*(tmp_path / "normal" / name for name in ("n.png", "n_mask.png")))
    write(tmp_path / "abnormal/a.png", tmp_path / "abnormal/.cache/b.png")
    write(tmp_path / "masks/a.png", tmp_path / "masks/z.png", tmp_path / "train/t.png")
    write(tmp_path / "train/abnormal/a.png")
    (tmp_path / "abnormal/notes.txt").touch()
    found = read_dataset(tmp_path)
    assert [path.name for path in found.train] == ["t.png"] and len(found.test) == 2
    assert found.left_out == (
        "1 images in folders of train/",
        "the masks of 1 normal images",
        "1 masks of no image in abnormal/, such as z.png",
        "2 files in abnormal/ that are no images or hidden (.txt 1, hidden 1)",
    )


def test_hidden_folders_are_no_kinds_and_no_data_sets(tmp_path):
    write(tmp_path / "a/test/good/0.png", tmp_path / "a/test/crack/0.png")
    write(tmp_path / "a/test/.ipynb_checkpoints/0.png", tmp_path / ".b/normal/0.png")
    (only,) = read_datasets(tmp_path)
    assert {item.kind for item in only.test} == {"good", "crack"}


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["abnormal/a.png", "masks/a.png", "masks/a_mask.png"], "a.png has 2 masks"),
        (["abnormal/a.png", "masks/a.png", "ground_truth/a.png"], "a.png has 2 masks"),
        (["abnormal/a.png", "abnormal/a_mask.png", "abnormal/a_mask_1.png"], "has 2 masks"),
        (["abnormal/a.png", "abnormal/a.jpg", "masks/a.png"], "could be the mask of"),
        (["abnormal/masks/a.png"], "no image in"),
    ],
)
def test_a_mask_that_is_not_clear_is_refused(paths, message, tmp_path):
    write(*(tmp_path / path for path in paths))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_dataset(tmp_path)


def test_metrics_of_images_of_one_kind_are_refused():
    for kind in (True, False):
        with pytest.raises(ValueError, match="compare normal with abnormal images; all 3 are of"):
            image_metrics(np.arange(3.0), np.full(3, kind))


def test_one_kind_has_the_metrics_that_there_can_be(backbone, normals, folder, tmp_path, capsys):
    from synthmed_clip import NearestPatch, fit
    from synthmed_clip.cli.main import main
    from synthmed_clip.evaluation import evaluate

    detector = fit(normals, NearestPatch(), backbone=backbone)
    both = read_dataset(folder).test
    abnormal = [item for item in both if item.abnormal]
    whole, found = (evaluate(detector, items, resamples=20) for items in (both, abnormal))
    assert not found.image and found.sensitivity == whole.sensitivity
    assert list(found.pixel) == ["AUROC", "AP", "AUPRO"] and 0 < found.pixel["AP"].value < 1
    assert found.to_dict()["specificity"] is None and json.dumps(found.to_dict(), allow_nan=False)
    assert "specificity" not in str(found)
    assert "no image metrics: all 6 test images are abnormal" in str(found)
    with pytest.raises(ValueError, match="no image metrics: all 6 test images are normal"):
        evaluate(detector, [item for item in both if not item.abnormal])
    data, page = tmp_path / "data", tmp_path / "page.html"
    for name in ("abnormal", "masks"):
        (data / name).mkdir(parents=True)
        for path in (folder / name).iterdir():
            (data / name / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "d.safetensors"
    detector.save(path)
    assert main(["evaluate", str(path), str(data), "--precision", "float32"]) == 0
    assert "no image metrics" in capsys.readouterr().out
    assert main(["evaluate", str(path), str(data), "--report", str(page)]) == 1
    assert "all 6 are of one kind" in capsys.readouterr().err and not page.exists()
