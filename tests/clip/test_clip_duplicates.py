"""Copies are found whatever their file, contrast or size; the known ones of BUSI are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from PIL import Image

from synthmed_clip.cli.main import main
from synthmed_clip.data import duplicates
from synthmed_clip.data.duplicates import duplicates_between, duplicates_within
from synthmed_clip.data.layouts import read_dataset


def save(path: Path, image: np.ndarray) -> Path:
    Image.fromarray(image.astype(np.uint8)).save(path)
    return path


@pytest.fixture
def others(normals, tmp_path) -> list[Path]:
    """The six normal images, which are unlike each other."""
    return [save(tmp_path / f"{i}.png", image) for i, image in enumerate(normals)]


def test_copies_are_found(normals, others, tmp_path):
    a, b, c = normals[:3]
    other = [
        save(tmp_path / "copy.bmp", np.repeat(a[..., None], 3, 2)),
        save(tmp_path / "contrast.png", b // 2 + 60),
        save(tmp_path / "large.png", np.kron(c, np.ones((2, 2)))),
        save(tmp_path / "mirrored.png", a[:, ::-1]),
        save(tmp_path / "negative.png", 255 - a),
    ]
    found = duplicates_between(others, [*other, save(tmp_path / "again.tif", a)])
    assert [(pair.first.name, pair.second.name) for pair in found[:2]] == [
        ("0.png", "again.tif"),
        ("0.png", "copy.bmp"),
    ]
    assert {(pair.first.name, pair.second.name) for pair in found[2:]} == {
        ("1.png", "contrast.png"),
        ("2.png", "large.png"),
    }
    assert [pair.exact for pair in found] == [True, False, False, False]
    correlations = [pair.correlation for pair in found]
    assert correlations[0] == 1 and correlations == sorted(correlations, reverse=True)
    assert duplicates_between(others, other[3:]) == []


def test_the_threshold_is_the_correlation(normals, tmp_path):
    """At 48 x 48 the images are taken as they are, so that NumPy's correlation is the reference."""
    small = [image[:48, :48] for image in normals]
    mixed = (small[0] * 0.9 + small[1] * 0.1).astype(np.uint8)
    first, second = save(tmp_path / "a.png", small[0]), save(tmp_path / "b.png", mixed)
    expected = np.corrcoef(small[0].ravel(), mixed.ravel())[0, 1]
    (pair,) = duplicates_between([first], [second], expected - 1e-6)
    assert pair.correlation == pytest.approx(expected, abs=1e-6)
    assert duplicates_between([first], [second], expected + 1e-6) == []


def test_within_gives_every_pair_once(normals, others, tmp_path, monkeypatch):
    copies = [save(tmp_path / f"copy{i}.png", normals[i]) for i in (0, 1)]
    paths = [*others, *copies, copies[1]]
    expected = {
        ("0.png", "copy0.png"),
        ("1.png", "copy1.png"),
        ("1.png", "copy1.png"),
        ("copy1.png", "copy1.png"),
    }
    for rows in (1024, 1, 3):
        monkeypatch.setattr(duplicates, "_ROWS", rows)
        found = duplicates_within(paths)
        assert {(pair.first.name, pair.second.name) for pair in found} == expected and len(
            found
        ) == 4
        between = duplicates_between(others, copies)
        assert [pair.exact for pair in between] == [True, True]


def test_constant_images(tmp_path, others):
    black, also, grey = (
        save(tmp_path / f"{name}.png", np.full((9, 9), value))
        for name, value in (("a", 0), ("b", 0), ("c", 90))
    )
    (pair,) = duplicates_within([black, also, grey, *others])
    assert (pair.first, pair.second, pair.correlation, pair.exact) == (black, also, 1, True)
    assert duplicates_between([grey], [black, also]) == []
    # The same bytes in another shape are another image.
    assert duplicates_between([black], [save(tmp_path / "d.png", np.zeros((3, 27)))]) == []


def test_nothing_and_faults(others, tmp_path):
    assert (
        duplicates_between([], others)
        == duplicates_between(others, [])
        == duplicates_within([])
        == []
    )
    for threshold in (0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="threshold"):
            duplicates_within(others, threshold)
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"bad\.png"):
        duplicates_within([tmp_path / "bad.png"])


def test_command(folder, capsys):
    assert main(["duplicates", str(folder), "--threshold", "0.999"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "pairs between training and test images: 0"
    assert main(["duplicates", str(folder), "--threshold", "0.4"]) == 0
    printed = capsys.readouterr().out
    assert "normal/n0.png (normal)" in printed and "abnormal/a0.png (abnormal: abnormal)" in printed
    assert main(["duplicates", str(folder), "--threshold", "2"]) == 1


def test_known_duplicates_of_busi(real_data, capsys):
    dataset = read_dataset(real_data / "busi")
    found = duplicates_between(dataset.train, [item.image for item in dataset.test])
    pairs = {(pair.first.stem, pair.second.stem) for pair in found}
    assert ("normal_0", "benign_268") in pairs
    assert len({test for _, test in pairs if test.startswith("normal")}) == 6 and len(pairs) == 7
    assert main(["duplicates", str(real_data / "busi")]) == 0
    printed = capsys.readouterr().out
    assert "pairs between training and test images: 7" in printed
    (line,) = (line for line in printed.splitlines() if line.startswith("  the same"))
    assert line.split()[2::3] == [
        "images/test/abnormal/benign_432.jpg",
        "images/test/abnormal/malignant_144.jpg",
    ]
