"""Downloads in small: what `prepare` makes of them, the same every time, and what it refuses."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from PIL import Image

from synthmed.io import read_mask
from synthmed_clip.cli.main import main
from synthmed_clip.data.downloads import PATHOLOGIES, Entry, read_brainmri, read_busi, read_chexpert
from synthmed_clip.data.layouts import read_dataset
from synthmed_clip.data.prepare import PROTOCOLS, draw, prepare

SMALL = {"train": 2, "normal": 3, "abnormal": 4}


def picture(path: Path, value=0, shape=(6, 8), mode="L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = value if isinstance(value, np.ndarray) else np.full(shape, value, np.uint8)
    Image.fromarray(array).convert(mode).save(path)
    return path


def contents(root: Path) -> dict[str, str]:
    files = (p for p in root.rglob("*") if p.is_file())
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


@pytest.fixture
def busi(tmp_path) -> Path:
    """Seven normal images, four benign, two malignant; `benign (2)` with three masks."""
    root = tmp_path / "archive" / "Dataset_BUSI_with_GT"
    for kind, count in (("normal", 7), ("benign", 4), ("malignant", 2)):
        for i in range(1, count + 1):
            picture(root / kind / f"{kind} ({i}).png", 10 * i + len(kind), mode="RGB")
            mask = np.zeros((6, 8), np.uint8)
            mask[i % 6, :2] = 0 if kind == "normal" else 255
            picture(
                root / kind / f"{kind} ({i})_mask.png",
                mask,
                mode="1" if kind == "malignant" else "L",
            )
    for i in (1, 2):
        mask = np.zeros((6, 8), np.uint8)
        mask[4:, i * 2] = 255
        picture(root / "benign" / f"benign (2)_mask_{i}.png", mask, mode="RGB")
    return tmp_path / "archive"


def test_busi(busi, tmp_path, capsys):
    out = tmp_path / "deep" / "busi"
    assert main(["prepare", "busi", str(busi), "-o", str(out), "--train", "2"]) == 0
    assert (
        "train 2 normal; test 5 normal, 6 abnormal (4 benign, 2 malignant); 6 masks"
        in capsys.readouterr().out
    )
    assert json.loads((out / "samples/counts.json").read_text()) == {
        "dataset": "busi", "seed": 0, "train": 2, "normal": 5, "abnormal": 6, "masks": 6,
        "kinds": {"benign": 4, "malignant": 2},
    }  # fmt: skip
    found = read_dataset(out)
    assert len(found.train) == 2 and len(found.test) == 11
    names = [path.name for path in found.train] + [
        item.image.name for item in found.test if not item.abnormal
    ]
    assert sorted(names) == [f"normal ({i}).png" for i in range(1, 8)]
    assert all(item.mask is None for item in found.test if not item.abnormal)
    item = next(item for item in found.test if item.image.name == "benign (2).png")
    expected = np.zeros((6, 8), bool)
    expected[2, :2] = expected[4:, [2, 4]] = True
    assert item.kind == "benign" and np.array_equal(read_mask(item.mask), expected)
    with Image.open(item.mask) as mask:
        assert mask.mode == "L" and set(np.unique(np.asarray(mask))) == {0, 255}
    original = busi / "Dataset_BUSI_with_GT/benign/benign (2).png"
    assert item.image.read_bytes() == original.read_bytes()
    row = json.loads((out / "samples/test.json").read_text().splitlines()[-1])
    assert row == {
        "filename": "test/abnormal/malignant (2).png", "label": 1, "label_name": "abnormal",
        "clsname": "malignant", "mask": "test/masks/malignant (2).png",
    }  # fmt: skip


def test_images_of_one_name_are_not_lost(busi, tmp_path):
    root = busi / "Dataset_BUSI_with_GT"
    for ending in ("", "_mask"):
        (root / "malignant" / f"malignant (1){ending}.png").rename(
            root / "malignant" / f"benign (1){ending}.png"
        )
    with pytest.raises(
        ValueError, match=r"would have one copy, benign \(1\)\.png; rename one of them"
    ):
        prepare("busi", busi, tmp_path / "out", train=2)
    assert not (tmp_path / "out").exists()


def test_the_same_source_and_seed_give_the_same_bytes(busi, tmp_path):
    found = []
    for i, (source, seed) in enumerate(
        [(busi, 0), (busi / "Dataset_BUSI_with_GT", 0), (busi, 1), (busi, 2)]
    ):
        prepare("busi", source, tmp_path / str(i), train=3, seed=seed)
        found.append(contents(tmp_path / str(i)))
    assert found[0] == found[1]
    trains = {
        tuple(sorted(name for name in part if name.startswith("images/train")))
        for part in found[1:]
    }
    assert len(trains) > 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (
            lambda root: (root / "benign/benign (3)_mask.png").unlink(),
            r"benign \(3\)\.png is abnormal and has no mask",
        ),
        (
            lambda root: (root / "benign/benign (3).png").unlink(),
            r"benign \(3\)_mask\.png is the mask of no image",
        ),
        (
            lambda root: picture(root / "benign/benign (3)_mask_1.png", 255, (5, 8)),
            r"benign \(3\)_mask_1\.png is 8 x 5, its image benign \(3\)\.png 8 x 6",
        ),
        (
            lambda root: picture(root / "benign/benign (3)_mask.png", 0),
            r"benign \(3\)\.png .* nothing is inside",
        ),
        (
            lambda root: (root / "benign/benign (3).png").write_bytes(b"x"),
            r"benign \(3\)\.png: not an image",
        ),
        (
            lambda root: (root / "benign/benign (3)_mask.png").write_bytes(b"x"),
            r"benign \(3\)_mask\.png: not an image",
        ),
        (
            lambda root: (root / "malignant").rename(root / "other"),
            "no folder with normal, benign, malignant",
        ),
        (lambda root: [p.unlink() for p in root.glob("normal/*[3-7]*")], "0 normal test images"),
        (
            lambda root: [p.unlink() for p in root.glob("normal/*[2-7]*")],
            "1 normal training images .* are left, of 2",
        ),
    ],
)
def test_faults_are_named_and_nothing_is_left(busi, tmp_path, capsys, fault, error):
    fault(busi / "Dataset_BUSI_with_GT")
    before = sorted(tmp_path.iterdir())
    with pytest.raises((FileNotFoundError, ValueError), match=error):
        prepare("busi", busi, tmp_path / "out", train=2)
    assert sorted(tmp_path.iterdir()) == before
    assert main(["prepare", "busi", str(busi), "-o", str(tmp_path / "out"), "--train", "2"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_is_there_is_kept(busi, tmp_path):
    (tmp_path / "empty").mkdir()
    prepare("busi", busi, tmp_path / "empty", train=2)
    before = contents(tmp_path / "empty")
    with pytest.raises(FileExistsError, match="empty is there and not empty"):
        prepare("busi", busi, tmp_path / "empty", train=3)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError):
        prepare("busi", busi, tmp_path / "file", train=3)
    assert contents(tmp_path / "empty") == before and (tmp_path / "file").read_text() == "x"
    with pytest.raises(FileNotFoundError, match="no folder"):
        prepare("busi", tmp_path / "none", tmp_path / "out")
    with pytest.raises(ValueError, match="at least one"):
        prepare("busi", busi, tmp_path / "out", train=0)
    with pytest.raises(ValueError, match="known: busi, brainmri, chexpert"):
        prepare("bus", busi, tmp_path / "out")


def test_real_busi(real_data, tmp_path):
    """The release's images, put back under the names of the download, give the protocol's
    counts.
    """
    released = read_dataset(real_data / "busi")
    root = tmp_path / "Dataset_BUSI_with_GT"
    for image, kind, mask in (
        *((path, "normal", None) for path in released.train),
        *((item.image, item.kind, item.mask) for item in released.test),
    ):
        stem = "{} ({})".format(*image.stem.split("_"))
        (root / kind).mkdir(parents=True, exist_ok=True)
        (root / kind / f"{stem}.jpg").symlink_to(image)
        if mask is not None:
            (root / kind / f"{stem}_mask.jpg").symlink_to(mask)
    found = prepare("busi", tmp_path, tmp_path / "out")
    assert (found.train, found.normal, found.kinds) == (32, 101, {"benign": 437, "malignant": 210})
    again = read_dataset(tmp_path / "out")
    before = {item.image.stem: item for item in released.test}
    for item in again.test[::40]:
        same = before.get(item.image.stem.replace(" (", "_").strip(")"))
        if same is not None and item.abnormal:
            assert np.array_equal(read_mask(item.mask), read_mask(same.mask))
            assert item.image.read_bytes() == same.image.read_bytes()


def test_brainmri(tmp_path):
    root = tmp_path / "archive"
    for base in (root, root / "brain_tumor_dataset"):
        for i in range(98):
            picture(base / "no" / (f"{i} no.jpg", f"no {i}.jpeg", f"No{i}.JPG")[i % 3], i)
        for i in range(155):
            picture(base / "yes" / (f"Y{i}.jpg", f"Y{i}.JPG", f"Y{i}.png")[i % 3], i)
    (root / ".DS_Store").write_bytes(b"")
    found = prepare("brainmri", root, tmp_path / "out")
    assert (found.train, found.normal, found.abnormal, found.masks) == (33, 65, 155, 0)
    again = prepare("brainmri", root / "brain_tumor_dataset", tmp_path / "again")
    assert again == found and contents(tmp_path / "again") == contents(tmp_path / "out")
    assert len(read_dataset(tmp_path / "out").test) == 220


COLUMNS = [
    "Path",
    "Sex",
    "Age",
    "Frontal/Lateral",
    "AP/PA",
    "No Finding",
    *PATHOLOGIES,
    "Support Devices",
]


def film(
    patient: int, study: int = 1, view: str = "view1_frontal", part: str = "train", **labels: str
) -> dict:
    row = dict.fromkeys(COLUMNS, "") | {
        name.replace("_", " "): value for name, value in labels.items()
    }
    row["Path"] = f"CheXpert-v1.0-small/{part}/patient{patient:05}/study{study}/{view}.jpg"
    return row | {
        "Sex": "Female",
        "Age": "60",
        "Frontal/Lateral": view.split("_")[1].capitalize(),
        "AP/PA": "AP",
    }


def chexpert(root: Path, rows: list[dict], folder: str = "CheXpert-v1.0-small") -> Path:
    """Write tables and films; `folder` is the name of the data set's folder on this disk."""
    for part in ("train", "valid"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        with (root / folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(row for row in rows if f"/{part}/" in row["Path"])
    for i, row in enumerate(rows):
        picture(root / folder / Path(*row["Path"].split("/")[1:]), i)
    return root


ROWS = [
    *(film(i, No_Finding="1.0") for i in range(8)),
    *(film(i, 2, No_Finding="1.0") for i in range(3)),
    *(
        film(i, 3, Edema="1.0", Pneumonia="-1.0") for i in range(5)
    ),  # of patients who were healthy before
    *(film(i, Cardiomegaly="1.0", Support_Devices="1.0") for i in range(20, 26)),
    *(film(i, 2, Pleural_Effusion="1.0") for i in range(20, 26)),
    film(30, No_Finding="1.0", Support_Devices="1.0", part="valid"),
    film(40, view="view2_lateral", No_Finding="1.0"),
    film(41, Edema="-1.0"),
    film(42, Edema="0.0"),
    film(43, Support_Devices="1.0"),
    film(44, No_Finding="1.0", Fracture="1.0"),
    film(45, No_Finding="1.0", Fracture="-1.0"),
]


def test_labels_of_chexpert(tmp_path):
    entries = read_chexpert(chexpert(tmp_path, ROWS))
    assert {entry.patient for entry in entries if not entry.abnormal} == {
        f"patient{i:05}" for i in (*range(8), 30)
    }
    assert {entry.patient for entry in entries if entry.abnormal} == {
        f"patient{i:05}" for i in (*range(5), *range(20, 26))
    }
    assert len(entries) == 8 + 3 + 5 + 6 + 6 + 1


@pytest.mark.parametrize("seed", range(8))
def test_no_patient_of_chexpert_is_drawn_twice(tmp_path, seed):
    found = prepare("chexpert", chexpert(tmp_path, ROWS), tmp_path / "out", **SMALL, seed=seed)
    assert (found.train, found.normal, found.abnormal) == (2, 3, 4)
    dataset = read_dataset(tmp_path / "out")
    names = [path.name for path in (*dataset.train, *(item.image for item in dataset.test))]
    assert len({name.split("_")[0] for name in names}) == 9


def test_a_patient_of_many_images_is_as_likely_as_one_of_few():
    rows = [Entry(f"a{i}", Path, False, "", "a") for i in range(50)] + [
        Entry(c, Path, False, "", c) for c in "bcde"
    ]
    rows.append(Entry("sick", Path, True, "", "sick"))
    firsts = [draw(rows, 1, 1, 1, seed)[0][0] for seed in range(300)]
    assert 35 < sum(entry.patient == "a" for entry in firsts) < 85  # 60 +- 7
    assert len({entry.name for entry in firsts}) > 30


def test_chexpert_does_not_depend_on_order_or_place(tmp_path):
    prepare("chexpert", chexpert(tmp_path / "a", ROWS), tmp_path / "out", **SMALL)
    expected = contents(tmp_path / "out")
    # Elsewhere, in a folder of another name, and the source is that folder.
    other = chexpert(tmp_path / "b", ROWS, "chexpert small") / "chexpert small"
    rows = ROWS.copy()
    random.Random(0).shuffle(rows)
    for part in ("train", "valid"):
        with (other / f"{part}.csv").open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, COLUMNS[::-1])
            writer.writeheader()
            writer.writerows(row for row in rows if f"/{part}/" in row["Path"])
    prepare("chexpert", other, tmp_path / "again", **SMALL)
    assert contents(tmp_path / "again") == expected
    # In batches, as the full-size download comes.
    batches = chexpert(tmp_path / "c", ROWS)
    (batches / "CheXpert-v1.0-small/train").rename(batches / "CheXpert-v1.0 batch 2 (train 1)")
    (batches / "CheXpert-v1.0-small").rename(batches / "CheXpert-v1.0 batch 1 (validate & csv)")
    prepare("chexpert", batches, tmp_path / "batches", **SMALL)
    assert contents(tmp_path / "batches") == expected


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("No Finding", "Finding", "lacks the column 'No Finding'"),
        ("Edema", "Oedema", "lacks the column 'Edema'"),
        (",1.0,", ",yes,", r"train\.csv, row 1: No Finding is 'yes'"),
        (
            "patient00000",
            "person0",
            r"row 1: no patient in the Path 'CheXpert-v1\.0-small/train/person0",
        ),
        ("view1_frontal.jpg", "view9.jpg", "view9.jpg, which is not in"),
    ],
)
def test_faults_of_chexpert_are_named(tmp_path, old, new, error):
    table = chexpert(tmp_path, ROWS) / "CheXpert-v1.0-small/train.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises((FileNotFoundError, ValueError), match=error):
        prepare("chexpert", tmp_path, tmp_path / "out", **SMALL)
    assert not (tmp_path / "out").exists()


def test_too_few_patients_of_chexpert(tmp_path):
    chexpert(tmp_path, ROWS)
    with pytest.raises(
        ValueError, match="7 normal test images of different patients are left, of 8"
    ):
        prepare("chexpert", tmp_path, tmp_path / "out", train=2, normal=8, abnormal=1)
    with pytest.raises(FileNotFoundError, match=r"no train\.csv"):
        prepare("chexpert", tmp_path / "CheXpert-v1.0-small/train", tmp_path / "out")
    chexpert(tmp_path, ROWS, "CheXpert-v1.0")
    with pytest.raises(ValueError, match="which one"):
        prepare("chexpert", tmp_path, tmp_path / "out")


def test_protocols():
    """The counts of the method's protocol."""
    found = {name: (p.read, p.train, p.normal, p.abnormal) for name, p in PROTOCOLS.items()}
    assert found == {
        "busi": (read_busi, 32, None, None),
        "brainmri": (read_brainmri, 33, None, None),
        "chexpert": (read_chexpert, 32, 250, 250),
    }
