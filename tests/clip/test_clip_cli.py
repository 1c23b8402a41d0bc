"""The command line from a folder of normal images to figures, on small random towers."""

from __future__ import annotations

import csv
import io
import json
import shutil
import warnings
from dataclasses import asdict

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
open_clip = pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")
pytest.importorskip("matplotlib", reason="the detector needs the extra `clip`")

import timm  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from synthmed.io import read_image  # noqa: E402
from synthmed_clip import Detector  # noqa: E402
from synthmed_clip.cli.main import main  # noqa: E402


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def picture(path):
    with Image.open(path) as opened:
        return np.asarray(opened)


@pytest.fixture(scope="module")
def weights(configs, tmp_path_factory):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = open_clip.CLIP(**json.loads(configs["vit"].read_text()))
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def model(folder, configs, weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    arguments = (
        f"fit {folder / 'normal'} -o {path} --backbone {configs['vit']} --weights {weights} "
        f"--seed 1 --no-progress --device cpu mediclip --epochs 3 --batch-size 4 --layers 2 4 "
        f"--abnormal-words lesion --normal-words normal"
    )
    assert main([*arguments.split(), "in good health"]) == 0
    return path


def test_fit_leaves_a_log_and_a_curve(model):
    rows = rows_of(model.with_suffix(".csv"))
    assert [row["number"] for row in rows] == ["1", "2", "3"] and float(rows[0]["loss"]) > 0
    assert picture(model.with_suffix(".png")).shape[:2] == (480, 720)


def test_predict_writes_scores_heat_maps_and_overlays(model, folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["predict", str(model), str(folder), "-o", str(out), "--no-progress"]) == 0
    assert "18 images" in capsys.readouterr().out
    rows = rows_of(out / "scores.csv")
    report = json.loads((out / "scores.json").read_text())
    assert [r["image"] for r in rows] == [r["image"] for r in report["images"]]
    assert rows[0]["image"] == "abnormal/a0.png"
    assert float(rows[0]["score"]) == report["images"][0]["score"]
    heat = picture(out / "heatmaps/abnormal/a0.png.png")
    assert heat.shape == (50, 60, 3) and np.ptp(heat) > 0
    over = picture(out / "overlays/normal/n5.png.png")
    assert over.shape == (50 + 46, 240, 3) and over[50:].max() == 255  # a legend below
    x, y = int(rows[0]["peak_x"]), int(rows[0]["peak_y"])
    assert (heat[y, x].astype(int) @ (1, 1, 1)) == heat.astype(int).sum(-1).max()  # the yellowest
    assert report["maps"]["unit"] == "probability"
    assert report["maps"]["contour"] == report["threshold"]
    assert report["p_values"] == {"against": 0, "source": None, "heuristic": False}
    one = tmp_path / "one"
    assert (
        main(
            ["predict", str(model), str(folder / "normal/n0.png"), "-o", str(one), "--no-progress"]
        )
        == 0
    )
    assert len(rows_of(one / "scores.csv")) == 1


def test_predict_writes_the_maps_that_are_asked_for(model, folder, tmp_path):
    image, out = folder / "abnormal" / "a0.png", tmp_path / "out"
    command = ["predict", str(model), str(image), "-o", str(out), "--no-progress", "--maps"]
    assert main([*command, "float", "png16"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["maps", "scores.csv", "scores.json"]
    exact = read_image(out / "maps" / "a0.png.tif").array
    expected = Detector.load(model, precision="float32").predict(image).anomaly_map
    assert exact.dtype == np.float32 and exact == pytest.approx(expected, abs=0.01)  # bfloat16
    coding = json.loads((out / "scores.json").read_text())["maps"]["png16"]
    levels = read_image(out / "maps" / "a0.png.png").array
    assert levels.dtype == np.uint16
    assert coding["zero"] + coding["step"] * levels == pytest.approx(exact, abs=coding["step"])
    nothing = tmp_path / "nothing"
    assert main([*command[:3], "-o", str(nothing), "--no-progress", "--maps"]) == 0
    assert sorted(path.name for path in nothing.iterdir()) == ["scores.csv", "scores.json"]


def test_evaluate_prints_and_writes_figures(model, folder, tmp_path, capsys):
    out, page = tmp_path / "figures.json", tmp_path / "page.html"
    assert main(["evaluate", str(model), str(folder), "-o", str(out), "--report", str(page)]) == 0
    printed = capsys.readouterr().out
    for name in ("Image-AUROC", "Image-F1-max", "Pixel-AUPRO", "sensitivity"):
        assert name in printed
    found = json.loads(out.read_text())
    assert len(found["scores"]) == 12 and 0 <= found["image"]["AUROC"]["value"] <= 1
    assert page.read_text(encoding="utf-8").endswith(
        "</html>\n"
    ) and "abnormal/a0.png" in page.read_text(encoding="utf-8")
    assert main(["evaluate", str(model), str(folder), "--report", str(tmp_path)]) == 1
    assert "is a folder" in capsys.readouterr().err


def test_evaluate_measures_robustness(model, folder, tmp_path, capsys):
    pytest.importorskip("hypothesis", reason="robustness needs the extra `testing`")
    from synthmed.testing import check_detector

    out, page = tmp_path / "figures.json", tmp_path / "page.html"
    command = ["evaluate", str(model), str(folder), "--robustness", "-o", str(out)]
    assert main([*command, "--report", str(page)]) == 0
    printed, found = capsys.readouterr().out, json.loads(out.read_text())
    shifts = found["robustness"]
    names = {"callipers", "text", "side marker", "gain", "speckle", "shift"}
    assert {shift["name"] for shift in shifts} == names
    assert all(f"{shift['name']:<14} mean {shift['mean']:+.2f}" in printed for shift in shifts)
    assert json.dumps(shifts, separators=(",", ":")) in page.read_text(encoding="utf-8")
    # The same by arrays as a user has them: the images are 8-bit grey files.
    detector = Detector.load(model)
    scans = [np.array(Image.open(folder / "normal" / f"n{i}.png")) for i in range(6)]
    plain = check_detector(detector, scans, value_range=(0, 255))
    assert [asdict(shift) for shift in plain] == shifts
    for name in ("normal", "abnormal"):
        (tmp_path / "few" / name).mkdir(parents=True)
        source = folder / name / f"{name[0]}0.png"
        (tmp_path / "few" / name / "0.png").write_bytes(source.read_bytes())
    assert main(["evaluate", str(model), str(tmp_path / "few"), "--robustness"]) == 1
    assert "images must be two or more, got 1" in capsys.readouterr().err
    assert main([*command, "--roi", "auto"]) == 1
    assert "leave --roi out" in capsys.readouterr().err


def test_evaluate_compares_two_detectors(model, folder, weights, configs, tmp_path, capsys):
    other = tmp_path / "other.safetensors"
    arguments = (
        f"fit {folder / 'normal'} -o {other} --backbone {configs['vit']} --weights "
        f"{weights} --seed 2 --device cpu mediclip --epochs 1"
    )
    assert main(arguments.split()) == 0
    assert main(["evaluate", str(model), str(folder), "--against", str(other)]) == 0
    lines = capsys.readouterr().out.split("against", 1)[1].splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        *("Image-AUROC", "Image-AP", "Image-F1-max", "Pixel-AUROC", "Pixel-AP", "Pixel-AUPRO")
    ]
    assert all(" against " in line and "p = " in line for line in lines[1:])
    assert main(["evaluate", str(model), str(folder), "--against", str(model)]) == 0
    assert "+0.0000 [+0.0000, +0.0000], p = 1" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["mvtec", "mediclip"])
def test_evaluate_reads_other_layouts_alike(layout, model, folder, tmp_path, capsys):
    root = tmp_path / "data"
    if layout == "mvtec":
        shutil.copytree(folder / "normal", root / "test" / "good")
        shutil.copytree(folder / "abnormal", root / "test" / "spot")
        shutil.copytree(folder / "masks", root / "ground_truth" / "spot")
    else:
        shutil.copytree(folder, root / "images")
        rows = [{"filename": f"normal/n{i}.png", "label": 0} for i in range(6)]
        rows += [
            {"filename": f"abnormal/a{i}.png", "label": 1, "mask": f"masks/a{i}.png"}
            for i in range(6)
        ]
        (root / "samples").mkdir()
        (root / "samples" / "test.json").write_text("\n".join(map(json.dumps, rows)))
    printed = []
    for data in (folder, root):
        assert main(["evaluate", str(model), str(data)]) == 0
        printed.append([line.split("[")[0] for line in capsys.readouterr().out.splitlines()])
    assert printed[0] == printed[1]


def test_weights_may_have_moved(model, weights, folder, tmp_path, capsys):
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    assert main(["evaluate", str(model), str(folder), "--weights", str(moved)]) == 0
    assert main(["evaluate", str(model), str(folder), "--weights", str(tmp_path / "none")]) == 1
    assert "neither a file nor a tag" in capsys.readouterr().err


def test_errors_are_one_line(tmp_path, capsys, model):
    assert main(["evaluate", str(model), str(tmp_path)]) == 1
    assert "none of the known layouts" in capsys.readouterr().err
    assert main(["fit", str(tmp_path / "none"), "-o", str(tmp_path / "m")]) == 1
    assert capsys.readouterr().err.startswith("synthmed-clip: no ")
    assert main(["predict", str(tmp_path / "none"), str(tmp_path), "-o", str(tmp_path)]) == 1


def test_warnings_are_one_line(configs, folder, tmp_path, capsys):
    weights = tmp_path / "trunk.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), weights)
    arguments = (
        f"fit {folder / 'normal'} -o {tmp_path / 'm'} --backbone {configs['timm-vit']} "
        f"--weights {weights}"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        assert (
            main(
                [
                    *arguments.split(),
                    "--random-text",
                    "--no-progress",
                    "--device",
                    "cpu",
                    "mediclip",
                    "--epochs",
                    "1",
                ]
            )
            == 0
        )
    lines = [line for line in capsys.readouterr().err.splitlines() if "random" in line]
    assert lines == [
        f"synthmed-clip: timm-vit: {weights} gives the visual tower alone; the text tower is random"
    ]


def test_fit_with_auxiliary_and_validation_images(configs, weights, folder, tmp_path):
    out = tmp_path / "m.safetensors"
    arguments = (
        f"fit {folder / 'normal'} -o {out} --backbone {configs['vit']} --weights {weights} --seed 1"
    )
    arguments += (
        f" --auxiliary {folder} --auxiliary-epochs 1 --validation {folder} --device cpu "
        f"mediclip --epochs 3 --no-adapters"
    )
    assert main(arguments.split()) == 0
    rows = rows_of(out.with_suffix(".csv"))
    assert len(rows) == 3 and all(0 <= float(row["validation"]) <= 1 for row in rows)


def test_outputs_harm_nothing_that_is_read(model, folder, weights, configs, tmp_path, capsys):
    """Said before the training, and nothing is written."""
    normals = tmp_path / "normals"
    shutil.copytree(folder / "normal", normals)
    detector = tmp_path / "model.safetensors"
    shutil.copy(model, detector)
    (tmp_path / "file").write_text("kept")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    fitted = f"fit {normals} --backbone {configs['vit']} --weights {weights} --device cpu"
    for arguments, message in (
        (f"{fitted} -o {tmp_path / 'm.png'}", "m.png is the detector's name"),
        (f"{fitted} -o {normals / 'n0.safetensors'}", "lies among the normal images"),
        (f"{fitted} -o {normals}", "is a folder; a file's name is needed"),
        (f"{fitted} -o {tmp_path / 'file' / 'm'}", "cannot be written"),
        (f"{fitted} -o {weights}", "is read here, too"),
        (f"{fitted} -o {tmp_path / 'm'} --checkpoint {tmp_path / 'm'}", "is named for two outputs"),
        (f"evaluate {detector} {folder} -o {detector}", "is read here, too"),
        (f"evaluate {detector} {folder} --report {detector}", "is read here, too"),
        (
            f"evaluate {detector} {folder} -o {tmp_path / 'e'} --against {tmp_path / 'none'}",
            "no file at",
        ),
        (f"predict {detector} {normals} -o {normals}", "would be scored the next time"),
        (f"predict {detector} {normals} -o {normals / 'out'}", "would be scored the next time"),
        (f"predict {detector} {normals} -o {tmp_path / 'file'}", "cannot be written"),
    ):
        assert main(arguments.split()) == 1, arguments
        assert message in capsys.readouterr().err, arguments
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_versions_beside_each_other_keep_their_own_logs(folder, weights, configs, tmp_path):
    for version in ("1", "2"):
        arguments = f"fit {folder / 'normal'} -o {tmp_path / 'm.v'}{version} --device cpu"
        arguments += f" --backbone {configs['vit']} --weights {weights} --no-progress"
        assert main(f"{arguments} mediclip --epochs {version}".split()) == 0
    assert len(rows_of(tmp_path / "m.v1.csv")) == 1 and len(rows_of(tmp_path / "m.v2.csv")) == 2


def test_predict_tells_of_a_bad_file_and_scores_the_others(model, folder, tmp_path, capsys):
    images = tmp_path / "images"
    shutil.copytree(folder / "normal", images)
    (images / ".cache").mkdir()
    shutil.copy(images / "n1.png", images / ".cache" / "n1.png")
    whole = (images / "n0.png").read_bytes()
    (images / "n0.png").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    assert main(["predict", str(model), str(images), "-o", str(out), "--no-progress"]) == 1
    told = capsys.readouterr()
    assert (
        "left out: " in told.err
        and "n0.png" in told.err
        and "5 images" in told.out
        and "1 left out" in told.out
    )
    assert [row["image"] for row in rows_of(out / "scores.csv")] == [
        f"n{i}.png" for i in range(1, 6)
    ]
    assert json.loads((out / "scores.json").read_text())["left_out"][0]["image"] == "n0.png"
    assert sorted(path.name for path in (out / "heatmaps").iterdir()) == [
        f"n{i}.png.png" for i in range(1, 6)
    ]
    for path in images.glob("n*.png"):
        path.write_bytes(b"")
    assert (
        main(["predict", str(model), str(images), "-o", str(tmp_path / "none"), "--no-progress"])
        == 1
    )
    assert "none of the 6 images" in capsys.readouterr().err and not (tmp_path / "none").exists()
