"""The protocol on small random towers: support sets, results, resuming, baselines, tables."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

import torch
from PIL import Image

import synthmed
from synthmed_clip import Detector, Joined, MediCLIP, NearestPatch, fit, load_backbone
from synthmed_clip.backbone.cache import with_cache
from synthmed_clip.backbone.pixels import to_pixels
from synthmed_clip.cli.main import main
from synthmed_clip.data.images import collect, squares_of
from synthmed_clip.data.layouts import Item, read_dataset
from synthmed_clip.data.values import Values
from synthmed_clip.evaluation.comparison import delong
from synthmed_clip.protocol.engine import Engine
from synthmed_clip.protocol.pairs import pair_table, pairs_of
from synthmed_clip.protocol.plan import Protocol
from synthmed_clip.protocol.results import Result, Run, summarise
from synthmed_clip.protocol.tables import table, verdicts, write_tables
from synthmed_clip.protocol.variants import Entry, ablations, entries

BASE = MediCLIP(epochs=2, batch_size=2)
ALL = ("paper", "zero-shot", "nearest-patch", "superadd")


@pytest.fixture(scope="module")
def data(folder, normals, tmp_path_factory) -> Path:
    """The plain data set with training images; the first of them is a test image, too."""
    root = tmp_path_factory.mktemp("protocol") / "lungs"
    shutil.copytree(folder, root)
    (root / "train").mkdir()
    for i, image in enumerate(normals):
        image = (
            image
            if i == 0
            else np.rot90(image, i).copy()
            if i % 2 == 0
            else image[::-1, :: 1 if i < 3 else -1].copy()
        )
        Image.fromarray(image).save(root / "train" / f"t{i}.png")
    return root


@pytest.fixture(scope="module")
def protocol(data) -> Protocol:
    return Protocol(
        [read_dataset(data)],
        [*entries(ALL, BASE), *ablations(BASE)[:3]],
        shots=(1, 2),
        repeats=2,
        ablation_shots=2,
    )


@pytest.fixture(scope="module")
def finished(protocol, backbone, tmp_path_factory) -> tuple[Path, list[Result]]:
    output = tmp_path_factory.mktemp("out")
    return output, Engine(protocol, backbone, output, workers=0).run()


def test_support_sets_are_nested_and_differ_between_repeats(protocol):
    data = protocol.datasets[0]
    sets = [[protocol.support(data, repeat, shots) for shots in (1, 2, 4)] for repeat in range(3)]
    for one, two, four in sets:
        assert four[:2] == two and two[:1] == one and len(set(four)) == 4
    assert len({tuple(four) for _, _, four in sets}) == 3


def test_every_run_is_there_and_keeps_its_detector(finished, backbone):
    output, results = finished
    found = {(r.run.method, r.run.shots, r.run.repeat) for r in results}
    expected = {("zero-shot", 0, 0)}
    for repeat in range(2):
        expected |= {(name, k, repeat) for name in ("paper", "superadd") for k in (1, 2)}
        expected |= {("nearest-patch", 1, repeat)}
        others = (
            "nearest-patch",
            "hard prompts",
            "no adapters",
            "no temperature",
        )
        expected |= {(name, 2, repeat) for name in others}
    assert found == expected
    detector = Detector.load(
        output / Run("lungs", "no adapters", 2, 1).folder / "detector.safetensors",
        backbone=backbone,
    )
    assert not detector.method.adapters and len(detector.provenance.support) == 2
    assert len(detector.fitted.history.log) == 2
    assert len(list(output.rglob("detector.safetensors"))) == len(found)
    assert not list(output.rglob("checkpoint*")) and not list((output / "features").glob("tmp*"))


def test_a_run_is_what_fit_and_evaluate_give(finished, protocol, backbone):
    """Shared synthetic features and remembered test features change nothing."""
    _, results = finished
    data = protocol.datasets[0]
    result = next(r for r in results if r.run == Run("lungs", "no temperature", 2, 1))
    detector = fit(
        protocol.support(data, 1, 2),
        replace(BASE, temperature=1.0),
        backbone=backbone,
        rng=np.random.SeedSequence(0, spawn_key=(1, 2)),
        workers=0,
        progress=False,
    )
    assert result.scores == tuple(
        p.score for p in detector.predict([item.image for item in data.test])
    )
    assert result.threshold == detector.threshold


def test_near_duplicates_are_told_and_left_out(finished, protocol, backbone):
    output, results = finished
    engine = Engine(protocol, backbone, output, workers=0)
    assert engine.results() == []  # not before it is known whose output it is
    assert engine.run() == engine.results() == results
    assert any("normal/n0.png (train/t0.png, 1.000)" in note for note in engine.notes())
    assert any(r.figures["Image-AUROC"] != r.unseen["Image-AUROC"] for r in results)


def test_goes_on_where_it_stopped(finished, protocol, backbone, tmp_path):
    output, results = finished
    again: list[Result] = []
    copy = tmp_path / "copy"
    shutil.copytree(output, copy)
    assert (
        Engine(protocol, backbone, copy, workers=0, report=again.append).run() == results
        and not again
    )
    lost = Run("lungs", "paper", 2, 0).folder
    (copy / lost / "on-lungs.json").unlink()
    redone = Engine(protocol, backbone, copy, workers=0, report=again.append).run()
    assert [r.run.folder for r in again] == [lost]
    assert [(r.run, r.scores, r.figures) for r in redone] == [
        (r.run, r.scores, r.figures) for r in results
    ]
    (copy / lost / "on-lungs.json").unlink()
    (copy / lost / "detector.safetensors").unlink()
    again.clear()
    Engine(protocol, backbone, copy, workers=0, report=again.append).run()
    assert again[0].scores == next(r.scores for r in results if r.run == again[0].run)


def test_a_folder_of_another_protocol_is_refused(
    finished, protocol, backbone, data, tmp_path, configs
):
    output, _ = finished
    with pytest.raises(ValueError, match="another protocol: seed was 0, now 1"):
        Engine(replace(protocol, seed=1), backbone, output).run()
    other = json.loads(configs["vit"].read_text()) | {
        "quick_gelu": False
    }  # the same weights, another activation
    with pytest.raises(ValueError, match="another protocol: backbone was"):
        Engine(
            protocol, load_backbone(other, None, device="cpu", precision="float32"), output
        ).run()
    changed = tmp_path / "lungs"
    shutil.copytree(data, changed)
    shutil.copy(changed / "train" / "t5.png", changed / "train" / "t4.png")
    with pytest.raises(ValueError, match="another protocol: other images in lungs"):
        Engine(replace(protocol, datasets=[read_dataset(changed)]), backbone, output).run()


def test_a_protocol_that_cannot_run_says_so_before_it_writes(
    protocol, backbone, tmp_path, monkeypatch
):
    with pytest.raises(ValueError, match="lungs has 6 normal training images; 7 shots asked for"):
        replace(protocol, shots=(7,))
    with pytest.raises(ValueError, match="lungs has 6 normal training images; 9 shots asked for"):
        replace(protocol, ablation_shots=9)
    with pytest.raises(ValueError, match="data sets need different names"):
        replace(protocol, datasets=[*protocol.datasets] * 2)
    with pytest.raises(ValueError, match="transfer needs another data set beside lungs"):
        replace(protocol, transfer=True)
    with pytest.raises(ValueError, match="methods need different names"):
        replace(protocol, entries=ablations()[:1] * 2)
    far = Entry("far", MediCLIP(layers=(9,)))
    for chosen, message in (
        ([far], "layers must be among 1 to 4 of vit"),
        ([Entry("far", NearestPatch(layers=(9,)))], "layers must be among 1 to 4 of vit"),
        (entries(["paper"], auxiliary=True), "none of the 0 auxiliary images"),
    ):
        with pytest.raises(ValueError, match=message):
            Engine(replace(protocol, entries=chosen), backbone, tmp_path).run()
    with pytest.raises(ValueError, match="no method 'nearest', did you mean 'nearest-patch'"):
        entries(["paper", "nearest"])
    join = Joined((BASE, NearestPatch()))
    monkeypatch.setattr(Joined, "least_support", 2)
    for chosen, message in (
        ([Entry("join", join)], "the methods need at least 2 shots, not 1"),
        ([Entry("near", NearestPatch(), auxiliary=True)], "near cannot begin with auxiliary"),
    ):
        shots = (1,) if "shots" in message else (2,)
        with pytest.raises(ValueError, match=message):
            replace(protocol, entries=chosen, shots=shots)
    assert not list(tmp_path.iterdir())


def test_validation_images_must_not_be_test_images(protocol, backbone, tmp_path):
    dataset = replace(protocol.datasets[0], validation=protocol.datasets[0].test[:1])
    with pytest.raises(ValueError, match=r"validation image .*n0.png is a test image"):
        Engine(replace(protocol, datasets=[dataset]), backbone, tmp_path).run()


def test_other_auxiliary_images_are_not_taken_for_the_first(
    protocol, backbone, validation, tmp_path
):
    small = replace(
        protocol,
        entries=entries(["release"], BASE, auxiliary=True),
        shots=(2,),
        repeats=1,
    )
    results = Engine(replace(small, auxiliary=validation), backbone, tmp_path, workers=0).run()
    assert [r.run.method for r in results] == ["release", "release + auxiliary"]
    assert results[1].unseen == {}  # every test image was an auxiliary one
    with pytest.raises(ValueError, match="other auxiliary images"):
        Engine(replace(small, auxiliary=validation[1:]), backbone, tmp_path, workers=0).run()


def test_faults_in_the_data_are_told_before_any_fit(protocol, backbone, data, tmp_path):
    def refused(message, validation=(), error=ValueError, **changes):
        root = tmp_path / "lungs"
        shutil.copytree(data, root)
        for name, content in changes.items():
            (root / name.replace("__", "/")).with_suffix(".png").write_bytes(content)
        changed = replace(read_dataset(root), validation=validation)
        with pytest.raises(error, match=message):
            Engine(
                replace(protocol, datasets=[changed]),
                backbone,
                tmp_path / "out",
                workers=0,
            ).run()
        assert not (tmp_path / "out").exists()
        shutil.rmtree(root)

    other = Item(data / "train" / "t3.png", False)
    refused(
        "lungs: validation needs normal and abnormal images; all 1 are of one kind",
        validation=(other,),
    )
    refused(r"a2\.png", masks__a2=b"no image")
    refused(r"n1\.png", normal__n1=b"no image")
    flat = tmp_path / "flat.png"
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(flat)
    everywhere = {f"train__t{i}": flat.read_bytes() for i in range(6)}
    refused(r"t\d\.png: ", error=synthmed.NothingToSee, **everywhere)


def test_a_data_set_may_change_until_it_has_a_run(protocol, backbone, data, tmp_path):
    small = replace(protocol, entries=entries(["paper"], BASE), shots=(1,), repeats=1)
    lungs, brains = tmp_path / "lungs", tmp_path / "brains"
    for root in (lungs, brains):
        shutil.copytree(data, root)
    both = replace(small, datasets=[read_dataset(lungs), read_dataset(brains)])

    def only_lungs(support, method, **options):
        if brains in support[0].parents:
            raise KeyboardInterrupt
        return fit(support, method, **options)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("synthmed_clip.protocol.engine.fit", only_lungs)
        Engine(both, backbone, tmp_path / "out", workers=0).run()
    (brains / "normal" / "n5.png").unlink()
    changed = replace(small, datasets=[read_dataset(lungs), read_dataset(brains)])
    assert len(Engine(changed, backbone, tmp_path / "out", workers=0).run()) == 2
    (brains / "normal" / "n4.png").unlink()
    with pytest.raises(ValueError, match="other images in brains"):
        Engine(
            replace(small, datasets=[read_dataset(brains)]), backbone, tmp_path / "out", workers=0
        ).run()


def test_an_interrupted_call_keeps_the_tables_of_all_that_is_done(
    finished, protocol, backbone, tmp_path
):
    output, results = finished
    copy = tmp_path / "copy"
    shutil.copytree(output, copy)
    engine = Engine(replace(protocol, shots=(1, 2, 3)), backbone, copy, workers=0)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("synthmed_clip.protocol.engine.fit", interrupted)
        engine.run()
    assert engine.results() == results


def test_near_duplicates_of_other_data_sets_are_told_too(
    protocol, backbone, data, folder, tmp_path
):
    """In transfer, and of auxiliary images, in a data set that is called so, too."""
    other = tmp_path / "auxiliary"
    shutil.copytree(data, other)
    for kind in ("normal", "abnormal", "masks"):
        for path in (other / kind).iterdir():
            Image.fromarray(np.rot90(np.asarray(Image.open(path)))).save(path)
    small = replace(
        protocol,
        datasets=[*protocol.datasets, read_dataset(other)],
        entries=entries(ALL, BASE, auxiliary=True),
        shots=(1,),
        ablation_shots=1,
        repeats=1,
        transfer=True,
        auxiliary=read_dataset(folder).test,
    )
    engine = Engine(small, backbone, tmp_path / "out", workers=0)
    engine.run()
    told = [note.split(" (correlation")[0] for note in engine.notes() if "nearly repeat" in note]
    assert "lungs: 12 of 12 test images nearly repeat an auxiliary image" in told and len(
        set(told)
    ) == len(told)
    for source in ("", " of auxiliary"):
        assert any(
            note.startswith("lungs: ") and note.endswith(f"repeat a training image{source}")
            for note in told
        )
    assert len(Engine(small, backbone, tmp_path / "out", workers=0).run()) == len(engine.results())


def test_damaged_files(finished, protocol, backbone, tmp_path):
    output, results = finished
    copy = tmp_path / "copy"
    shutil.copytree(output, copy)
    path = copy / Run("lungs", "paper", 1, 0).folder / "on-lungs.json"
    for text in ("", "{}", path.read_text().replace('"specificity": ', '"specificity": 1')):
        path.write_text(text)
        with pytest.warns(UserWarning, match=r"on-lungs.json is damaged.*it is not used"):
            found = Engine(protocol, backbone, copy, workers=0).run()
        assert [r.scores for r in found] == [r.scores for r in results]
    text = (copy / "protocol.json").read_text()
    for damaged in ("", text.replace('"seed": 0', '"seed": 8'), text[:-2] + " }\n"):
        (copy / "protocol.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"protocol.json is damaged"):
            Engine(protocol, backbone, copy).run()
    (copy / "protocol.json").unlink()
    with pytest.raises(ValueError, match="is not empty and holds no protocol, but "):
        Engine(protocol, backbone, copy).run()


def test_baselines_stand_beside_every_variant_and_transfer_adds_its_shots(
    protocol, backbone, data, tmp_path
):
    other = tmp_path / "brains"
    shutil.copytree(data, other)
    shutil.rmtree(other / "train")
    names = ("release", "release", "zero-shot", "nearest-patch")
    small = replace(protocol, entries=entries(names, BASE), shots=(1,), repeats=1)
    wide = replace(small, datasets=[*protocol.datasets, read_dataset(other)], transfer=True)
    found = [
        (r.run.method, r.run.shots, r.test)
        for r in Engine(wide, backbone, tmp_path / "out", workers=0).run()
    ]
    assert found[2:] == [
        ("release", 1, "lungs"),
        ("nearest-patch", 1, "lungs"),
        *(
            (method, 2, test)
            for method in ("release", "nearest-patch")
            for test in ("lungs", "brains")
        ),
    ]


def test_remembered_features_are_the_same_bits(backbone, normals, tmp_path):
    reader = with_cache(backbone, tmp_path)
    pixels = to_pixels(squares_of(collect(normals)[0], 32, Values()))
    for _ in range(2):
        for a, b in zip(
            reader.features(pixels, (1, 4)), backbone.features(pixels, (1, 4)), strict=True
        ):
            assert torch.equal(a, b)
    assert len(list(tmp_path.iterdir())) == 2  # a file a layer
    reader.features(pixels, (4,))
    reader.features(pixels[:3], (4, 3))
    assert len(list(tmp_path.iterdir())) == 4


@pytest.fixture(scope="module")
def validation(folder) -> tuple[Item, ...]:
    return read_dataset(folder).test


def test_tables_say_what_was_found():
    def result(method, repeat, value, scores):
        run = Run("busi", method, 16, repeat)
        return Result(
            run, "busi", {"Image-AUROC": value}, {"Image-AUROC": value}, 0.5, 1.0, 1.0, 1.0, scores
        )

    good, bad = (0.1, 0.2, 0.8, 0.9), (0.2, 0.9, 0.1, 0.3)
    results = [
        result("paper", 0, 0.25, bad),
        result("paper", 1, 0.75, bad),
        result("nearest-patch", 0, 1.0, good),
    ]
    results += [result("nearest-patch", 1, 1.0, good), result("release", 0, 1.0, good)]
    results.append(result("paper + nearest-patch", 0, 0.1, bad))
    rows = summarise(results)
    assert [(r.method, r.repeats) for r in rows] == [
        ("paper", 2),
        ("nearest-patch", 2),
        ("release", 1),
        ("paper + nearest-patch", 1),
    ]
    assert rows[0].figures["Image-AUROC"] == (0.5, pytest.approx(0.35355339)) and rows[
        0
    ].published == (0.908, 0.004)
    lines = table(rows).splitlines()
    assert "| busi | paper | 16 | 50.0 ± 35.4 |" in lines[2] and lines[2].endswith("| 90.8 ± 0.4 |")
    compared = [
        Entry("paper", MediCLIP(), baselines=("nearest-patch", "paper + nearest-patch")),
        Entry("release", MediCLIP(), baselines=("nearest-patch", "release + nearest-patch")),
    ]
    said = verdicts(results, {"busi": np.array([False, False, True, True])}, compared)
    assert [s.split(":")[1].strip() for s in said] == [
        "paper does not beat nearest-patch",
        "release does not beat nearest-patch",
    ]
    assert "50.0 against 100.0" in said[0]


def test_pairs_are_compared_by_delong():
    """Against scikit-learn's AUROC, and the test itself as `evaluate` gives it."""
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    abnormal = np.arange(60) % 3 == 0
    names = ("good", "fair", "none")
    scores = [rng.normal(size=60) + shift * abnormal for shift in (4, 2, 0)]
    results = [
        Result(Run("busi", name, 16, repeat), "busi", {}, {}, 0.5, 1, 1, 1, tuple(values))
        for repeat in range(2)
        for name, values in zip(names, scores, strict=True)
    ]
    found = pairs_of(results, {"busi": abnormal})
    assert len(found) == 6 and {pair.repeat for pair in found} == {0, 1}
    for pair in found:
        a, b = (scores[names.index(name)] for name in (pair.first, pair.second))
        expected = roc_auc_score(abnormal, a) - roc_auc_score(abnormal, b)
        assert pair.difference == pytest.approx(expected)
        assert pair.p == delong(a, b, abnormal).p
    lines = pair_table(found).splitlines()
    assert lines[0] == "| row less column | good | fair | none |"
    first = next(pair for pair in found if pair.second == "none" and pair.first == "good")
    assert f"{100 * first.difference:+.1f} (2/2) |" in lines[2]
    assert f"{-100 * first.difference:+.1f} (2/2) |" in lines[4]
    alone = [replace(results[0], scores=(0.1,))]
    assert pairs_of(alone, {"busi": np.array([True])}) == []


def test_a_moved_data_set_is_the_same_one(finished, protocol, backbone, data, tmp_path):
    output, results = finished
    shutil.copytree(data, tmp_path / "lungs")
    moved = Engine(
        replace(protocol, datasets=[read_dataset(tmp_path / "lungs")]), backbone, output, workers=0
    )
    assert moved.run() == results


def test_plots_where_a_method_has_no_maps(tmp_path):
    figures = {"Image-AUROC": 0.5}
    results = [
        Result(
            Run("lungs", method, shots, 0), "lungs", found, found, 0.5, 1.0, 1.0, 1.0, (0.1, 0.9)
        )
        for method, shots, found in (
            ("zero-shot", 0, figures),
            ("paper", 4, figures | {"Pixel-AUROC": 0.7}),
            ("paper", 8, figures | {"Pixel-AUROC": 0.8}),
        )
    ]
    write_tables(tmp_path, results, {"lungs": np.array([False, True])}, [], [])
    with Image.open(tmp_path / "auroc-lungs.png") as picture:
        assert picture.width > 2 * picture.height  # two plots side by side


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_command_line(data, folder, configs, tmp_path, capsys):
    from safetensors.torch import save_file

    from synthmed_clip.backbone.open_clip_internals.towers import build

    torch.manual_seed(0)
    config = json.loads(configs["vit"].read_text())
    save_file(build(config, None).state_dict(), tmp_path / "w.safetensors")
    other = tmp_path / "brains"
    shutil.copytree(data, other)
    for path in (other / "train").iterdir():  # other data: turned by a quarter
        Image.fromarray(np.rot90(np.asarray(Image.open(path)))).save(path)
    out = tmp_path / "out"
    arguments = (
        f"protocol {data} {other} -o {out} --shots 1 2 --ablation-shots 2 --repeats 1 "
        f"--epochs 1 --workers 0 --transfer --methods paper zero-shot nearest-patch"
    )
    arguments += (
        f" --backbone {configs['vit']} --weights {tmp_path / 'w.safetensors'} --auxiliary "
        f"{folder} --auxiliary-epochs 1"
    )
    assert main(arguments.split()) == 0
    printed = capsys.readouterr().out
    assert (
        "lungs -> brains" in printed
        and "paper + auxiliary" in printed
        and "nearly repeat" in printed
    )
    assert (out / "table.md").read_text() in printed
    with (out / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(
        {tuple(r[k] for k in ("dataset", "method", "shots", "repeat", "test")) for r in rows}
    )
    assert json.loads((out / "summary.json").read_text())[0]["method"] == "zero-shot"
    with Image.open(out / "auroc-lungs.png") as picture:
        assert picture.width > 700
    (out / "table.md").unlink()
    shutil.rmtree(out / "runs" / "brains" / "paper-auxiliary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synthmed_clip.protocol.engine.fit", interrupted)
        assert main(arguments.split()) == 130
    found = capsys.readouterr()
    assert "goes on where it stopped" in found.err and (out / "table.md").read_text() in found.out
    assert (
        "| lungs | paper + auxiliary | 1 |" in found.out
        and "| brains | paper + auxiliary |" not in found.out
    )
    assert main(arguments.replace("--repeats 1", "--repeats 0").split()) == 1
    assert "repeats and shots must be at least 1" in capsys.readouterr().err
