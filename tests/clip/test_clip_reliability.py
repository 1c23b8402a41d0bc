"""Damaged files, killed processes, failing writes, files of others; see docs/reliability.md."""

from __future__ import annotations

import json
import shutil

import pytest

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")
pytest.importorskip("matplotlib", reason="the detector needs the extra `clip`")
if not hasattr(__import__("os"), "fork"):
    pytest.skip("commands are run in forked processes", allow_module_level=True)

import reliability
from reliability import House, content_bytes, run

import synthmed


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    return House.build(tmp_path_factory.mktemp("house"))


def test_a_damaged_file_is_refused_and_nothing_is_written(house):
    counts = reliability.fuzz(house, 18)
    told = {kind for kind, how in counts if how == "refused"}
    assert told == set(reliability.KINDS)


def test_a_killed_command_goes_on_to_the_same_end(house):
    assert reliability.kill(house, 4, ["fit", "predict"]) == {"fit": 2, "predict": 2}


@pytest.mark.parametrize("command, failed", [("evaluate", 2), ("predict", 2)])
def test_a_write_that_fails_is_told_and_the_command_goes_on(command, failed, house):
    assert reliability.faults(house, command, most=2) == failed


def test_a_full_disk_is_told(house):
    limits = [reliability.limited(size) for size in (100, 4000)]
    assert reliability.faults(house, "fit", limits) == 2


FOREIGN = {
    "fit": ["m.safetensors", "m.csv", "m.png", "part"],
    "predict": ["scores.csv", "scores.json", "overlays/0.png.png", "heatmaps/0.png.png"],
    "evaluate": ["e.json", "e.html"],
    "protocol": ["protocol.json", "table.md", "summary.csv", "notes.txt"],
    "generate": ["manifest.jsonl", "notes.txt"],
}


@pytest.mark.parametrize(
    "command, name", [(command, name) for command, names in FOREIGN.items() for name in names]
)
def test_no_command_replaces_a_file_of_others(command, name, house, tmp_path):
    house.made(command)  # and what it needs
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"patient,age\n")
    ended = house.run(command, tmp_path / "out")
    assert ended.is_told and path.name in ended.said
    assert content_bytes(tmp_path) == {str(path): b"patient,age\n"}


@pytest.mark.parametrize("command", ["fit", "predict", "evaluate", "protocol", "generate"])
def test_every_command_replaces_its_own_files(command, house, tmp_path):
    """Whatever it writes, it knows again: the same command runs twice."""
    shutil.copytree(house.made(command), tmp_path / "out")
    assert house.run(command, tmp_path / "out").status == 0
    assert reliability.content(tmp_path / "out") == reliability.content(house.made(command))


@pytest.mark.parametrize("kind", ["preview", "gallery"])
def test_contact_sheets_replace_contact_sheets_alone(kind, house, tmp_path):
    source, out = house.root / "data" / "train", tmp_path / "sheet.png"
    words = {"preview": [source, out], "gallery": [out, "--source", source, "--per-source", 1]}
    command = [kind, *words[kind], "--size", 48]
    for _ in range(2):
        assert run("synthmed", *command).status == 0
    shutil.copy(source / "0.png", out)
    ended = run("synthmed", *command)
    assert ended.is_told and "sheet.png is there, and this command did not write it" in ended.said
    assert out.read_bytes() == (source / "0.png").read_bytes()
    assert run("synthmed", *command, "--force").status == 0
    inside = [source / "0.png" if word is out else word for word in command]
    ended = run("synthmed", *inside, "--force")
    assert ended.is_told and "is one of the inputs" in ended.said


def test_force_replaces_and_stale_maps_are_removed_knowingly(house, tmp_path):
    out = tmp_path / "out"
    words = house.words("predict", out)
    assert run("synthmed-clip", *words, "--maps", "heatmap", "overlay", "float").status == 0
    (out / "maps" / "own.tif").write_bytes(b"mine")
    ended = house.run("predict", out)
    assert ended.is_told and "holds 3 maps of another run, such as" in ended.said
    assert len(list(out.rglob("*.tif"))) == 4
    ended = house.run("predict", out, more=["--force"])
    assert ended.status == 0 and "3 maps of another run removed" in ended.said
    assert [path.name for path in out.rglob("*.tif")] == ["own.tif"]
    (out / "scores.csv").write_text("patient,age\n")
    assert house.run("predict", out).is_told
    assert house.run("predict", out, more=["--force"]).status == 0
    wanted, found = (reliability.content(folder) for folder in (house.made("predict"), out))
    assert found == wanted | {"maps/own.tif": b"mine"}


@pytest.mark.parametrize("program", ["synthmed", "synthmed-clip"])
def test_version(program):
    assert run(program, "--version") == reliability.Ended(0, f"{program} {synthmed.__version__}\n")


@pytest.mark.parametrize(
    "words, said",
    [
        ("predict {data}/normal {model} -o {out}", "normal is a folder; the detector, a file"),
        ("predict {model} /nothing -o {out}", "no folder at /nothing"),
        ("predict {model} {data}/normal -o {out} --device cdua", "not 'cdua'"),
        ("predict {model} {data}/normal -o {out} --device xpu", "not 'xpu'"),
        ("predict {model} {data}/normal -o {out} --device vulkan", "not 'vulkan'"),
        ("evaluate {data} {model}", "data is a folder; the detector, a file, is needed"),
        ("export {data} {out}", "data is a folder; the detector, a file"),
        ("protocol {model} -o {out}", "m.safetensors is a file; the data set, a folder"),
        ("prepare busi {model} -o {out}", "m.safetensors is a file; the download, a folder"),
        ("duplicates {model}", "m.safetensors is a file; the data set, a folder"),
    ],
)
def test_swapped_and_misspelt_arguments_are_one_line(words, said, house, tmp_path):
    names = {
        "data": house.root / "data",
        "model": house.made("fit") / "m.safetensors",
        "out": tmp_path / "out",
    }
    ended = run("synthmed-clip", *words.format(**names).split())
    assert ended.is_told and said in ended.said and len(ended.said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["predict", "evaluate", "calibrate", "export"])
def test_usage_names_the_arguments(command):
    said = run("synthmed-clip", command, "--help").said
    assert "DETECTOR" in said.splitlines()[0] and " PATH" not in said.splitlines()[0]


def test_a_manifest_with_a_line_of_another_run_is_refused(house, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(house.made("generate"), out)
    manifest = out / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for key, value in (("kind", "Nothing"), ("source", "8.png"), ("index", 99)):
        changed = [lines[0] | {key: value}, *lines[1:]]
        manifest.write_text("".join(json.dumps(line) + "\n" for line in changed))
        ended = house.run("generate", out)
        assert ended.is_told and "manifest.jsonl is damaged: sample" in ended.said
        ended = run("synthmed", "replay", manifest, "--all")
        assert ended.is_told and (repr(value) in ended.said or str(value) in ended.said)
