"""Dataset generation: the same bytes whatever happens, every fault named, nothing lost."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

import synthmed
from synthmed import Anomaly
from synthmed.cli import main
from synthmed.generate import Producer, Refused, Settings, generate, make_plan, verify
from synthmed.io import Image, Reader, add_reader, encode, read_image, read_mask
from synthmed.io.readers import READERS


def tree(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def scan(seed: int, size: int = 64, dtype: str = "uint8") -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = np.kron(rng.random((8, 8)), np.ones((size // 8, size // 8))) + 0.1 * rng.random(
        (size, size)
    )
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else 1
    return (smooth / smooth.max() * top).astype(dtype)


def png(array: np.ndarray) -> bytes:
    return encode(Image(array), ".png")


@pytest.fixture
def normals(tmp_path):
    folder = tmp_path / "normals"
    (folder / "more").mkdir(parents=True)
    for k in range(5):
        (folder / ("more" if k % 2 else ".") / f"{k}.png").write_bytes(png(scan(k)))
    return folder


SMALL = {"size": 64, "per_image": 6}


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "synthmed", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


@pytest.mark.parametrize("layout", ["pairs", "mvtec"])
@pytest.mark.parametrize("recipe", ["paper", "release"])
def test_files_agree_with_manifest_and_replay(normals, tmp_path, layout, recipe):
    settings = Settings(synthmed.preset(recipe), layout=layout, **SMALL)
    summary = generate(normals, tmp_path / "out", settings)
    assert not list(tmp_path.rglob(".*"))
    lines = [json.loads(t) for t in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == sorted(line["index"] for line in lines)
    named = {f for line in lines for f in line["files"].values()}
    others = {"manifest.jsonl", "recipe.json", "preview.png"}
    assert named | others == set(tree(tmp_path / "out"))
    assert summary.samples == len(lines) == (30 if layout == "pairs" else 5 + 3 * 6)
    for line in lines:
        if "mask" in line["files"]:
            mask = read_image(tmp_path / "out" / line["files"]["mask"]).array
            assert mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255}
            assert mask.any() == (line["kind"] != "good")
    assert all(not d.problems for d in verify(tmp_path / "out" / "manifest.jsonl"))
    with PIL.Image.open(tmp_path / "out" / "preview.png") as sheet:
        assert sheet.width > 500


def test_bytes_do_not_depend_on_workers_nor_on_where_things_lie(normals, tmp_path):
    settings = Settings(**SMALL)
    generate(normals, tmp_path / "one", settings)
    expected = tree(tmp_path / "one")
    for workers in (2, 4):
        generate(normals, tmp_path / f"out{workers}", settings, workers=workers)
        assert tree(tmp_path / f"out{workers}") == expected
    moved = tmp_path / "elsewhere"
    normals.rename(moved)
    generate(moved, tmp_path / "moved", settings)
    differing = {k for k, v in tree(tmp_path / "moved").items() if expected[k] != v}
    assert differing <= {"recipe.json"}  # which tells the source as it was typed


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_killed_and_started_again(normals, tmp_path, workers):
    arguments = ["generate", normals, "OUT", "--size", 64, "--per-image", 150, "--workers", workers]
    whole = [tmp_path / "whole" if a == "OUT" else a for a in arguments]
    assert run(*whole).returncode == 0
    out = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "synthmed",
        *map(str, [out if a == "OUT" else a for a in arguments]),
    ]
    for wanted in (0, 40, 250, 500):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list((out / "images").glob("0*.png"))) < wanted:
            time.sleep(0.01)
        process.kill()
        process.wait()
    finished = run(*command[3:])
    assert finished.returncode == 0, finished.stderr
    assert tree(out) == tree(tmp_path / "whole")
    if workers > 1:
        deadline = time.monotonic() + 10
        while (left := _workers_left(str(out))) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left  # no worker outlives a killed parent


def _workers_left(word: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_text()
        except OSError:
            continue
        if word in line and int(process.name) != os.getpid():
            found.append(line)
    return found


def test_a_torn_journal_is_taken_as_far_as_it_is_whole(normals, tmp_path):
    settings = Settings(**SMALL)
    generate(normals, tmp_path / "whole", settings)
    out = tmp_path / "torn"
    generate(normals, out, settings)
    lines = (out / "manifest.jsonl").read_text().splitlines(keepends=True)
    (out / "manifest.jsonl").unlink()
    (out / ".journal.jsonl").write_text("".join(lines[:12]) + lines[12][:40])
    (out / "images" / "000007.png").unlink()  # named by the journal, but gone
    (out / "images" / ".tmp-1-000020.png").write_bytes(b"half")
    generate(normals, out, settings)
    assert tree(out) == tree(tmp_path / "whole")


def test_finished_run_is_left_alone_and_lost_files_come_back(normals, tmp_path):
    settings = Settings(**SMALL)
    generate(normals, tmp_path / "out", settings)
    before = tree(tmp_path / "out")
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")}
    again = generate(normals, tmp_path / "out", settings)
    assert again.resumed == again.samples == 30
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")}
    (tmp_path / "out" / "masks" / "000003.png").unlink()
    generate(normals, tmp_path / "out", settings)
    assert tree(tmp_path / "out") == before


def command(source, out):
    return ["generate", str(source), str(out), "--size", "64", "--workers", "1", "--per-image"]


def test_other_arguments_are_refused(normals, tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        main(
            [
                "generate",
                str(normals),
                str(out),
                "--size",
                "64",
                "--per-image",
                "2",
                "--workers",
                "1",
            ]
        )
        == 0
    )
    before = tree(out)
    assert (
        main(
            [
                "generate",
                str(normals),
                str(out),
                "--size",
                "64",
                "--per-image",
                "3",
                "--workers",
                "1",
            ]
        )
        == 2
    )
    assert "per_image was 2, is 3" in capsys.readouterr().err
    (normals / "0.png").write_bytes(png(scan(99)))
    assert (
        main(
            [
                "generate",
                str(normals),
                str(out),
                "--size",
                "64",
                "--per-image",
                "2",
                "--workers",
                "1",
            ]
        )
        == 2
    )
    assert "inputs changed: 0.png)" in capsys.readouterr().err
    (normals / "0.png").rename(normals / "new.png")
    assert main([*command(normals, out), "2"]) == 2
    assert "inputs added: new.png; inputs removed: 0.png)" in capsys.readouterr().err
    assert tree(out) == before


def test_foreign_folders_are_refused(normals, tmp_path):
    settings = Settings(**SMALL)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for out, said in (
        (tmp_path / "full", "not empty"),
        (normals / "out", "lies in the source"),
        (tmp_path, "lies in the output"),
        (normals / "0.png", "is a file"),
    ):
        with pytest.raises(Refused, match=said):
            generate(normals if out != normals / "0.png" else "sample:retina", out, settings)
    assert tree(tmp_path / "full") == {"thesis.txt": hashlib.sha256(b"mine").hexdigest()}


def test_one_bad_file_does_not_end_a_run(normals, tmp_path, capsys):
    inputs = tree(normals)
    (normals / "text.png").write_text("no image")
    (normals / "dir.png").mkdir()
    (normals / "constant.png").write_bytes(png(np.full((64, 64), 7, np.uint8)))
    (normals / "nan.tif").write_bytes(encode(Image(np.full((64, 64), np.nan, np.float32)), ".tif"))
    (normals / "volume.tif").write_bytes(encode(Image(np.stack([scan(1), scan(2)])), ".tif"))
    (normals / "truncated.png").write_bytes(png(scan(3))[:300])
    arguments = [
        "generate",
        str(normals),
        str(tmp_path / "out"),
        "--size",
        "64",
        "--per-image",
        "2",
        "--workers",
        "2",
    ]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert "10 samples" in printed.out
    for name, reason in (
        ("text.png", "not an image"),
        ("dir.png", "Is a directory"),
        ("constant.png", "constant"),
        ("nan.tif", "NaN"),
        ("volume.tif", "volume"),
        ("truncated.png", "truncated"),
    ):
        assert any(
            f"skipped {name}" in line and reason in line for line in printed.err.splitlines()
        ), (name, printed.err)
    skipped = json.loads((tmp_path / "out" / "skipped.json").read_text())
    assert len(skipped["inputs"]) == 6
    assert main(arguments) == 1  # and says so again
    assert "skipped nan.tif" in capsys.readouterr().err
    arguments[2] = str(tmp_path / "strict")
    assert main([*arguments, "--strict"]) == 2
    assert "constant.png" in capsys.readouterr().err
    assert not (tmp_path / "strict").exists()
    assert inputs.items() <= tree(normals).items()


def test_only_bad_files(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    assert main(["generate", str(tmp_path / "in"), str(tmp_path / "out")]) == 2
    assert "no image" in capsys.readouterr().err
    (tmp_path / "in" / "a.png").write_bytes(b"x")
    assert main(["generate", str(tmp_path / "in"), str(tmp_path / "out")]) == 2
    assert "none of the 1 inputs" in capsys.readouterr().err
    assert main(["generate", str(tmp_path / "in")]) == 2
    assert "SOURCE and OUT" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_images_too_small_are_rejected_and_told(normals, tmp_path, capsys):
    (normals / "tiny.png").write_bytes(png(scan(0)[:2, :2]))
    arguments = [
        "generate",
        str(normals),
        str(tmp_path / "out"),
        "--size",
        "native",
        "--per-image",
        "2",
        "--workers",
        "1",
    ]
    assert main(arguments) == 1
    assert (
        "rejected 2 samples of tiny.png: an image of shape (2, 2) is too small"
        in capsys.readouterr().err
    )
    assert "tiny" not in (tmp_path / "out" / "manifest.jsonl").read_text()
    assert main([*arguments[:2], str(tmp_path / "strict"), *arguments[3:], "--strict"]) == 2
    assert "tiny.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, suffix, said",
    [
        ('{"type": "CutPast"}', ".json", "did you mean 'CutPaste'"),
        ('{"type": "CutPaste", "blendd": "mixed"}', ".json", "did you mean 'blend'"),
        ('type = "CutPaste"\nblend = "glue"', ".toml", "blend must be one of"),
        ('{"type": "PerlinMask"}', ".json", "got the mask"),
        ("[1, 2]", ".json", "a table"),
        ("{", ".json", "recipe.json"),
        ('{"type": "Source", "mask": {"type": "CutPaste"}}', ".json", "mask must be a mask"),
    ],
)
def test_bad_recipes(normals, tmp_path, capsys, text, suffix, said):
    path = tmp_path / f"recipe{suffix}"
    path.write_text(text)
    assert main(["generate", str(normals), str(tmp_path / "out"), "--recipe", str(path)]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_recipe_files(normals, tmp_path):
    toml = tmp_path / "r.toml"
    toml.write_text('type = "CutPaste"\nblend = "mixed"\n[mask]\ntype = "PerlinMask"\ncells = 3\n')
    arguments = [
        "generate",
        str(normals),
        "OUT",
        "--size",
        "64",
        "--per-image",
        "2",
        "--workers",
        "1",
        "--recipe",
    ]
    assert main([*(str(tmp_path / "a") if a == "OUT" else a for a in arguments), str(toml)]) == 0
    # A run's own recipe.json is a recipe.
    again = str(tmp_path / "a" / "recipe.json")
    assert main([*(str(tmp_path / "b") if a == "OUT" else a for a in arguments), again]) == 0
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert main(["generate", str(normals), str(tmp_path / "c"), "--recipe", "papper"]) == 2


def test_full_disk(normals, tmp_path):
    """A limit on the size of files stands for the full disk: writing fails in the middle
    of a file.
    """
    resource = pytest.importorskip("resource", reason="this system limits no file's size")
    out = tmp_path / "out"
    command = ["generate", normals, out, "--size", 256, "--per-image", 3, "--workers", 1]
    failed = run(
        *command,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)),
        # A measurement of coverage would write its file under the same limit.
        env={k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")},
    )
    assert failed.returncode == 2
    assert (
        "File too large" in failed.stderr
        and str(out) in failed.stderr
        and "goes on from here" in failed.stderr
    )
    assert "Traceback" not in failed.stderr
    assert not list(out.rglob(".tmp-*"))
    for path in out.rglob("*.png"):
        read_image(path)
    assert run(*command).returncode == 0
    generate(normals, tmp_path / "whole", Settings(size=256, per_image=3))
    assert tree(out) == tree(tmp_path / "whole")


@pytest.mark.parametrize(
    "dtype, suffix", [("uint16", ".png"), ("float32", ".tif"), ("int16", ".tif")]
)
def test_depth_is_kept(tmp_path, dtype, suffix):
    (tmp_path / "in").mkdir()
    for k in range(2):
        (tmp_path / "in" / f"{k}{suffix}").write_bytes(encode(Image(scan(k, dtype=dtype)), suffix))
    generate(tmp_path / "in", tmp_path / "out", Settings(**SMALL))
    images = list((tmp_path / "out" / "images").iterdir())
    assert len(images) == 12
    assert all(p.suffix == suffix and read_image(p).array.dtype == dtype for p in images)
    assert all(not d.problems for d in verify(tmp_path / "out" / "manifest.jsonl"))


def test_volumes_and_colour(tmp_path):
    (tmp_path / "in").mkdir()
    volume = np.stack([scan(k, 32) for k in range(12)])
    (tmp_path / "in" / "v.tif").write_bytes(encode(Image(volume), ".tif"))
    (tmp_path / "in" / "c.png").write_bytes(
        encode(Image(np.stack([scan(k) for k in range(3)], axis=-1), channel_axis=-1), ".png")
    )
    generate(
        tmp_path / "in", tmp_path / "out", Settings(size="native", channels="keep", per_image=3)
    )
    lines = [json.loads(t) for t in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    shapes = {
        line["source"]: read_image(tmp_path / "out" / line["files"]["image"]).array.shape
        for line in lines
    }
    assert shapes == {"v.tif": (12, 32, 32), "c.png": (64, 64, 3)}
    assert all(not d.problems for d in verify(tmp_path / "out" / "manifest.jsonl"))


def test_region_of_interest_from_a_folder(normals, tmp_path, capsys):
    roi = tmp_path / "roi"
    (roi / "more").mkdir(parents=True)
    left = np.zeros((64, 64), np.uint8)
    left[:, :32] = 255
    for name in ("0.png", "2.png", "4.png", "more/1.png"):
        (roi / name).write_bytes(png(left))
    arguments = [
        "generate",
        str(normals),
        str(tmp_path / "out"),
        "--size",
        "64",
        "--roi",
        str(roi),
        "--workers",
        "1",
    ]
    assert main(arguments) == 1  # more/3 has no region
    assert "no region of interest" in capsys.readouterr().err
    for path in (tmp_path / "out" / "masks").iterdir():
        mask = read_mask(path)
        assert mask[:, :32].sum() >= 0.5 * mask.sum()
    left[:, :40] = 255
    (roi / "0.png").write_bytes(png(left))
    assert main(arguments) == 2  # the regions are part of what a run is


def test_regions_of_interest_with_class_numbers_need_a_mask_level(normals, tmp_path, capsys):
    roi = tmp_path / "roi"
    (roi / "more").mkdir(parents=True)
    classes = np.zeros((64, 64), np.uint8)
    classes[:, :20], classes[:, 44:] = 1, 2
    for name in ("0.png", "2.png", "4.png", "more/1.png", "more/3.png"):
        (roi / name).write_bytes(png(classes))
    arguments = ["--size", "64", "--per-image", "4", "--roi", str(roi), "--workers", "1"]
    generated = [*arguments, "--recipe", "release"]
    assert main(["generate", str(normals), str(tmp_path / "none"), *generated]) == 2
    assert "0.png: a mask with the levels 0, 1, 2" in capsys.readouterr().err
    for level, inside in ((["1"], classes == 1), (["1", "2"], classes > 0), (["any"], classes > 0)):
        out = tmp_path / "".join(level)
        command = ["generate", str(normals), str(out), *generated, "--mask-level", *level]
        assert main(command) == 0, capsys.readouterr().err
        recorded = json.loads((out / "recipe.json").read_text())["mask_level"]
        assert recorded == ("any" if level == ["any"] else [int(v) for v in level])
        masks = [read_mask(path) for path in (out / "masks").iterdir()]
        assert len(masks) == 20
        assert all(2 * np.count_nonzero(m & inside) >= np.count_nonzero(m) for m in masks)
        assert all(not d.problems for d in verify(out / "manifest.jsonl"))
    assert main([*command[:-1], "1"]) == 2
    assert "mask_level was" in capsys.readouterr().err
    assert main(["generate", str(normals), str(tmp_path / "x"), "--mask-level", "1"]) == 2
    assert "mask_level is for a folder of masks" in capsys.readouterr().err


def test_mvtec_split_keeps_sources_apart(normals, tmp_path):
    out = tmp_path / "out"
    generate(
        normals, out, Settings(synthmed.preset("release"), layout="mvtec", train_share=0.4, **SMALL)
    )
    lines = [json.loads(t) for t in (out / "manifest.jsonl").read_text().splitlines()]
    train = {line["source"] for line in lines if line["files"]["image"].startswith("train/")}
    test = {line["source"] for line in lines if line["files"]["image"].startswith("test/")}
    assert len(train) == 2 and len(test) == 3 and not train & test
    for line in lines:
        assert ("mask" in line["files"]) == (line["kind"] != "good")
    producer = Producer(
        make_plan([str(normals)], Settings(layout="mvtec", train_share=0.4, **SMALL))
    )
    donors = producer.donors(len(producer) - 1)
    names = {
        producer.plan.inputs[k].name
        for k in range(5)
        if any(np.array_equal(d, producer.cache[k].image.array) for d in donors)
    }
    assert names < test and len(donors) == 2


def test_replay_command(normals, tmp_path, capsys):
    out = tmp_path / "out"
    generate(normals, out, Settings(**SMALL))
    manifest = str(out / "manifest.jsonl")
    assert main(["replay", manifest, "--all"]) == 0
    assert "30 of 30" in capsys.readouterr().out
    image = read_image(out / "images" / "000004.png").array.copy()
    image[0, 0] ^= 1
    (out / "images" / "000004.png").write_bytes(png(image))
    (out / "masks" / "000004.png").unlink()
    assert main(["replay", manifest, "--index", "4"]) == 1
    printed = capsys.readouterr().out
    assert "1 values differ" in printed and "No such file" in printed
    assert main(["replay", manifest, "--index", "5"]) == 0
    assert main(["replay", manifest, "--index", "99"]) == 2
    assert main(["replay", manifest]) == 2
    moved = normals.rename(tmp_path / "moved")
    assert main(["replay", manifest, "--index", "5"]) == 2
    assert main(["replay", manifest, "--index", "5", "--source", str(moved)]) == 0
    (moved / "0.png").write_bytes(png(scan(50)))
    assert main(["replay", manifest, "--index", "5", "--source", str(moved)]) == 2
    assert "is not the file" in capsys.readouterr().err


def test_preview_command(normals, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert main(["preview", str(normals), str(sheet), "--recipe", "release", "--size", "64"]) == 0
    assert read_image(sheet).channel_axis == -1
    before = tree(normals)
    assert main(["preview", str(normals), str(normals / "0.png")]) == 2
    assert "one of the inputs" in capsys.readouterr().err
    assert tree(normals) == before


def test_custom_order_of_execution_gives_the_same_items(normals):
    """A cluster may run a plan in any order: an item depends on its index alone."""
    plan = make_plan([str(normals)], Settings(synthmed.preset("release"), **SMALL))
    forward, backward = Producer(plan), Producer(plan)
    items = [forward.item(i) for i in range(len(forward))]
    assert items == [backward.item(i) for i in reversed(range(len(backward)))][::-1]


def test_main_job_on_the_sample(tmp_path):
    finished = run("generate", "sample:retina", "out", "--per-image", 2, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""  # silent where there is no terminal
    assert "28 samples in out" in finished.stdout


def test_importing_needs_neither_torch_nor_the_compiler():
    code = (
        "import sys, synthmed; print([m for m in ('torch', 'hypothesis', 'numba', 'cv2') "
        "if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
        == "[]"
    )


def is_npy(head, name):
    return head.startswith(b"\x93NUMPY")


def read_npy(path):
    return Image(np.load(path), spacing=(3.0, 1.0, 1.0), value_range=(-1.0, 2.0))


def test_a_readers_geometry_reaches_the_records_in_every_worker(tmp_path):
    reader = Reader("NumPy", (".npy",), is_npy, read_npy)
    add_reader(reader)
    try:
        (tmp_path / "in").mkdir()
        for k in range(2):
            volume = np.stack([scan(k + j, 32, "float32") for j in range(12)])
            np.save(tmp_path / "in" / f"{k}.npy", volume)
        settings = Settings(size="native", per_image=2)
        for workers in (1, 2):
            generate(tmp_path / "in", tmp_path / str(workers), settings, workers=workers)
        assert tree(tmp_path / "1") == tree(tmp_path / "2")
        manifest = tmp_path / "1" / "manifest.jsonl"
        records = [json.loads(text)["record"] for text in manifest.read_text().splitlines()]
        assert len(records) == 4
        assert all(r["spacing"] == [3.0, 1.0, 1.0] for r in records)
        assert all(r["value_range"] == [-1.0, 2.0] for r in records)
        assert all(not d.problems for d in verify(manifest))
    finally:
        READERS.remove(reader)


@dataclass(frozen=True, repr=False)
class Faulty(Anomaly):
    """Fails on one image in five, or draws what is not JSON."""

    mask: synthmed.Generator = synthmed.EllipseMask()
    draws_json: bool = True

    def draw(self, rng, scene, region):
        if scene.image[0, 0, 0] == 77:
            raise ZeroDivisionError("the gland has no size")
        return {} if self.draws_json else {"odd": {1j}}

    def change(self, parameters, scene, region):
        return 1 - scene.patch(region.box), region.inside


def test_no_single_sample_ends_a_run(normals, tmp_path):
    array = scan(9)
    array[0, 0] = 77
    (normals / "7.png").write_bytes(png(array))
    settings = Settings(Faulty(), size="native", per_image=2)
    for workers in (1, 2):
        out = tmp_path / str(workers)
        summary = generate(normals, out, settings, workers=workers)
        assert summary.samples == 10 and summary.rejected == {"7.png": 2}
        assert "ZeroDivisionError: the gland has no size" in summary.reasons["7.png"]
        skipped = json.loads((out / "skipped.json").read_text())["samples"]
        assert [s["index"] for s in skipped] == [6, 7]
        assert "sample 6: ZeroDivisionError" in skipped[0]["reason"]
    assert tree(tmp_path / "1") == tree(tmp_path / "2")
    with pytest.raises(ValueError, match=r"7\.png, sample 6: .*the gland has no size"):
        generate(normals, tmp_path / "strict", settings, strict=True)
    never = generate(normals, tmp_path / "odd", Settings(Faulty(draws_json=False), per_image=1))
    assert never.samples == 0 and "not JSON serializable" in never.reasons["0.png"]


def test_a_class_that_workers_cannot_find_is_refused_before_anything_is_written(normals, tmp_path):
    @dataclass(frozen=True, repr=False)
    class Local(Faulty):
        pass

    recipe = synthmed.OneOf(synthmed.CutPaste(), synthmed.Repeat(Local()))
    with pytest.raises(ValueError, match=r"Local is defined in a function.*workers=1"):
        generate(normals, tmp_path / "out", Settings(recipe), workers=2)
    assert not (tmp_path / "out").exists()


def test_without_opencv_nothing_is_written(normals, tmp_path):
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open')")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    failed = run("generate", normals, tmp_path / "out", env=env)
    assert failed.returncode == 2 and "opencv-python-headless" in failed.stderr
    assert not (tmp_path / "out").exists()


def test_resumed_and_replayed_from_any_directory(normals, tmp_path, monkeypatch, capsys):
    (normals / "empty.png").touch()
    roi = tmp_path / "roi"
    (roi / "more").mkdir(parents=True)
    for name in ("0", "2", "4", "more/1", "more/3"):
        (roi / f"{name}.png").write_bytes(png(np.full((64, 64), 255, np.uint8)))
    monkeypatch.chdir(tmp_path)
    assert main([*command("normals", "out"), "1", "--roi", "roi"]) == 1
    before = tree(tmp_path / "out")
    elsewhere = tmp_path / "a" / "b"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert main([*command("../../normals", "../../out"), "1", "--roi", str(roi)]) == 1
    assert main([*command(normals, tmp_path / "out"), "1", "--roi", "../../roi"]) == 1
    assert tree(tmp_path / "out") == before
    shutil.rmtree(roi)
    assert main(["replay", "../../out/manifest.jsonl", "--all"]) == 0
    assert "5 of 5" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["64", "native"])
def test_a_region_has_the_stored_frame_of_its_image(tmp_path, size):
    for folder in ("in", "roi", "tagged"):
        (tmp_path / folder).mkdir()
    stored = scan(0)[:40]  # 40 x 64
    region = np.zeros((40, 64), np.uint8)
    region[:20, 5:] = 255
    for k in range(1, 9):
        exif = PIL.Image.Exif()
        exif[0x112] = k
        PIL.Image.fromarray(stored).save(tmp_path / "in" / f"IM{k}.JPG", "JPEG", exif=exif)
        picture = PIL.Image.fromarray(region)
        picture.save(tmp_path / "roi" / f"im{k}.Png")
        picture.save(tmp_path / "tagged" / f"im{k}.Png", exif=exif)
    regions = {}
    for folder in ("roi", "tagged"):
        settings = Settings(
            size=int(size) if size != "native" else size, roi=f"{tmp_path}/{folder}"
        )
        producer = Producer(make_plan([str(tmp_path / "in")], settings))
        assert len(producer.plan.inputs) == 8
        regions[folder] = [producer.cache[k].roi for k in range(8)]
    for k, (plain, tagged) in enumerate(zip(*regions.values(), strict=True), start=1):
        exif = PIL.Image.Exif()
        exif[0x112] = k
        upright = PIL.Image.fromarray(region)
        upright.getexif()[0x112] = k
        expected = np.array(PIL.ImageOps.exif_transpose(upright)) > 0
        if size == "native":
            np.testing.assert_array_equal(plain, expected)
        np.testing.assert_array_equal(plain, tagged)


@pytest.mark.parametrize("size", [64, "native"])
@pytest.mark.parametrize("shape", [(32, 64), (128, 128), (64, 32)])
def test_a_region_of_another_shape_is_refused(normals, tmp_path, size, shape):
    (tmp_path / "roi").mkdir()
    (tmp_path / "roi" / "0.png").write_bytes(png(np.full(shape, 255, np.uint8)))
    settings = Settings(size=size, roi=str(tmp_path / "roi"))
    with pytest.raises(ValueError, match=r"the mask has shape .*its image \(64, 64\)"):
        make_plan([str(normals / "0.png")], settings)


def test_every_folder_is_used_or_named(normals, tmp_path, capsys):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "9.png").write_bytes(png(scan(9)))
    try:
        (normals / "linked").symlink_to(tmp_path / "store", target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    (normals / "more" / "round").symlink_to(normals, target_is_directory=True)
    (normals / "gone").symlink_to(tmp_path / "nowhere")
    for name in ("notes.txt", "b.TXT", "README", ".hidden.png"):
        (normals / name).touch()
    assert main([*command(normals, tmp_path / "out"), "1"]) == 1
    printed = capsys.readouterr()
    assert (
        "6 samples" in printed.out
        and "linked/9.png" in (tmp_path / "out" / "manifest.jsonl").read_text()
    )
    assert "not taken for images: 2 .txt, 1" in printed.out and "1 hidden" in printed.out
    assert "skipped gone: gone: No such file" in printed.err
    (normals / "back").symlink_to(tmp_path / "out2", target_is_directory=True)
    (tmp_path / "out2").mkdir()
    (tmp_path / "out2" / "z.png").write_bytes(png(scan(3)))
    with pytest.raises(Refused, match="lies in the output folder"):
        generate(normals, tmp_path / "out2", Settings(**SMALL))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_may_not_be_listed_is_named(normals, tmp_path):
    (normals / "more").chmod(0)
    try:
        summary = generate(normals, tmp_path / "out", Settings(**SMALL))
    finally:
        (normals / "more").chmod(0o755)
    assert "Permission denied" in summary.skipped["more"]


def sides(out):
    found = {"train": set(), "test": set()}
    for text in (out / "manifest.jsonl").read_text().splitlines():
        line = json.loads(text)
        found[line["files"]["image"].split("/")[0]].add(line["source"])
    assert not found["train"] & found["test"]
    return found["train"], found["test"]


def test_no_patient_on_both_sides(tmp_path, capsys):
    source = tmp_path / "in"
    for p in range(5):
        (source / f"p{p}").mkdir(parents=True)
        for k in range(3):
            (source / f"p{p}" / f"{p}{k}_scan.png").write_bytes(png(scan(3 * p + k)))
    names = [f"p{p}/{p}{k}_scan.png" for p in range(5) for k in range(3)]
    table = tmp_path / "patients.csv"
    table.write_text("file,patient\n" + "".join(f"{n[3:]},{n[1]}\n" for n in names))
    manifests = []
    for by in ("folder", f"{table}:patient", r"/(\d)\d_"):
        out = tmp_path / f"out{len(manifests)}"
        arguments = [*command(source, out), "1", "--layout", "mvtec", "--group-by", by]
        assert main(arguments) == 0, capsys.readouterr().err
        train, test = sides(out)
        assert train and test and not {n[1] for n in train} & {n[1] for n in test}
        manifests.append((out / "manifest.jsonl").read_bytes())
        assert main(arguments) == 0
    assert len(set(manifests)) == 1
    assert main([*arguments[:-1], "folder"]) == 2
    assert "group_by was" in capsys.readouterr().err
    table.unlink()
    assert main(["replay", str(tmp_path / "out1" / "manifest.jsonl"), "--all"]) == 0
    for by, said in (
        (r"/([1-4])\d_", "does not match the input 'p0/00_scan.png'"),
        ("scan", "a group in brackets"),
        ("(", "no regular expression"),
        ("(scan)", "belong together"),
        (f"{table}:patient", "No such file"),
    ):
        capsys.readouterr()
        assert (
            main([*command(source, tmp_path / "x"), "1", "--layout", "mvtec", "--group-by", by])
            == 2
        )
        assert said in capsys.readouterr().err
    for text, said in (
        ("file,patient\na.png,1\n", "does not hold the input"),
        ("file,person\n", "no column 'patient'"),
        ("file,patient\na,1\na,2\n", "two values"),
        ("file,patient\na,\n", "no value"),
    ):
        table.write_text(text)
        with pytest.raises(ValueError, match=said):
            make_plan([str(source)], Settings(layout="mvtec", group_by=f"{table}:patient"))
    with pytest.raises(ValueError, match="group_by is for the split"):
        Settings(group_by="folder")


def test_identical_files_stay_on_one_side(tmp_path):
    (tmp_path / "in").mkdir()
    for p in range(4):
        for k in range(3):
            (tmp_path / "in" / f"{k}-{p}.png").write_bytes(png(scan(p)))
    for seed in range(4):
        out = tmp_path / str(seed)
        generate(tmp_path / "in", out, Settings(layout="mvtec", size=64, per_image=1, seed=seed))
        train, test = sides(out)
        assert len(train) == len(test) == 6
        assert not {n[2] for n in train} & {n[2] for n in test}
