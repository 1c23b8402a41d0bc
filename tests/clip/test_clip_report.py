"""The report: its data, and its page as text."""

from __future__ import annotations

import errno
import json
import re
import shutil
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

import torch
from PIL import Image

import synthmed
import synthmed_clip
from synthmed_clip import MediCLIP, NearestPatch, Scores, ZeroShot
from synthmed_clip.data.layouts import Item, read_dataset
from synthmed_clip.evaluation.curves import curves
from synthmed_clip.evaluation.evaluate import evaluate_scores
from synthmed_clip.evaluation.metrics import image_metrics
from synthmed_clip.report.data import kinds_of
from synthmed_clip.report.images import outline
from synthmed_clip.report.write import write_report


class Markup(HTMLParser):
    """Elements with their attributes, and what stands in scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.contents = [], {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        tag = self.elements[-1][0] if self.elements else ""
        if tag in ("script", "style") and data.strip():
            self.contents.setdefault(tag, []).append(data)


def embedded(path):
    return json.loads(Markup(path.read_text(encoding="utf-8")).contents["script"][0])


# ---- as text


def test_the_page_needs_nothing_but_itself(page):
    text = page.read_text(encoding="utf-8")
    markup = Markup(text)
    for tag, attributes in markup.elements:
        assert not {"src", "srcset", "action", "ping"} & set(attributes), (tag, attributes)
        assert attributes.get("href", "#").startswith(("#", "data:,")), (tag, attributes)
    assert {found for found in re.findall(r"https?://[^\"' ]*", text)} <= {
        "http://www.w3.org/2000/svg"
    }  # a name only
    assert "@import" not in text and "url(" not in markup.contents["style"][0]
    assert "default-src 'none'" in text  # and the browser is told so
    assert not re.search(r"<!--(style|script|summary)-->", text)


def test_names_cannot_break_the_page(page, parts, nasty):
    markup = Markup(page.read_text(encoding="utf-8"))
    assert [tag for tag, _ in markup.elements].count("script") == 2 and len(
        markup.contents["script"]
    ) == 2
    assert "img" not in {tag for tag, _ in markup.elements}
    names = [row["name"] for row in embedded(page)["images"]]
    assert f"test/</{nasty}" in names and len(names) == len(parts[1].test)
    assert {group["kind"] for group in embedded(page)["classes"]} == {"good", "spot", "<"}


def test_a_name_that_is_not_unicode(parts, scans, tmp_path):
    detector, dataset, evaluation, scores = parts
    odd = scans.parent / "\udcff.png"  # the byte 0xFF
    try:
        shutil.copy(dataset.test[0].image, odd)
    except OSError:
        pytest.skip("this file system wants names to be Unicode")
    test = (replace(dataset.test[0], image=odd), *dataset.test[1:])
    write_report(tmp_path / "page.html", detector, replace(dataset, test=test), evaluation, scores)
    assert embedded(tmp_path / "page.html")["images"][0]["name"].endswith("\udcff.png")


def test_the_data_is_that_of_the_evaluation(page, parts):
    detector, dataset, evaluation, _ = parts
    shown = embedded(page)
    assert [row["score"] for row in shown["images"]] == list(evaluation.scores)
    assert shown["metrics"]["Image"]["AUROC"]["value"] == evaluation.image["AUROC"].value
    assert shown["metrics"]["Pixel"]["AUPRO"]["low"] == evaluation.pixel["AUPRO"].low
    assert shown["threshold"] == detector.threshold
    spot = next(group for group in shown["classes"] if group["kind"] == "spot")
    assert (
        spot["count"] == 5
        and spot["masked"] == 5
        and spot["auroc"]["low"] <= spot["auroc"]["value"]
    )
    facts = dict(row for rows in shown["facts"].values() for row in rows)
    assert facts["SHA-256 of weights"] == detector.backbone.digest
    assert facts["Seed (entropy)"] == ", ".join(map(str, detector.fitted.history.entropy))
    assert facts["Epochs"] == "2" and facts["Precision"] == (
        "fitted in float32, evaluated in float32"
    )
    assert shown["scale"] == {"mediclip": "log-odds", "joined": "linear"}[detector.method.name]
    assert shown["maps"]["range"] == list(detector.map_scale.span)
    assert len(shown["log"]) == 2 and shown["counts"]["train"] == 3
    outlined = [bool(row["outline"]) for row in shown["images"]]
    assert outlined == [item.mask is not None for item in dataset.test]


def warnings_on(page):
    """But for the one that is true of every method that reads texts by the small random tower."""
    return [w for w in embedded(page)["warnings"] if w["title"] != "The text tower is random"]


def test_support_images_are_found_by_digest(page, parts, tmp_path):
    detector, dataset, evaluation, scores = parts
    assert [image["name"] for image in embedded(page)["support"]["images"]] == [
        "t0.png",
        "t1.png",
        "t2.png",
    ]
    assert not warnings_on(page)

    def written(support, **changes):
        origin = replace(detector.provenance, support=support)
        changed = replace(detector, provenance=origin)
        write_report(
            tmp_path / "page.html", changed, replace(dataset, **changes), evaluation, scores
        )
        return embedded(tmp_path / "page.html")

    support = detector.provenance.support
    shown = written(support, train=dataset.train[:1])["support"]
    assert len(shown["images"]) == 1 and "fitted on 3; 2 of them are not among" in shown["note"]
    assert "does not say" in written(())["support"]["note"]


def test_support_among_the_test_images_is_a_grave_warning(parts, tmp_path):
    detector, dataset, evaluation, scores = parts
    test = tuple(
        replace(item, image=dataset.train[0]) if i < 2 else item
        for i, item in enumerate(dataset.test)
    )
    write_report(tmp_path / "page.html", detector, replace(dataset, test=test), evaluation, scores)
    leak, twins = warnings_on(tmp_path / "page.html")
    assert (
        leak["grave"]
        and "not kept apart" in leak["title"]
        and leak["names"] == ["train/good/t0.png"] * 2
    )
    assert not twins["grave"] and twins["names"] == ["train/good/t0.png = train/good/t0.png"]


def test_near_copies_of_training_images_are_named(parts, tmp_path):
    detector, dataset, evaluation, scores = parts
    with Image.open(dataset.train[0]) as image:
        image.point(lambda level: level * 0.8).save(tmp_path / "darker.png")
    test = (replace(dataset.test[0], image=tmp_path / "darker.png"), *dataset.test[1:])
    write_report(tmp_path / "page.html", detector, replace(dataset, test=test), evaluation, scores)
    (near,) = warnings_on(tmp_path / "page.html")
    assert (
        "nearly repeat" in near["title"]
        and "darker.png is nearly train/good/t0.png (1.000)" in near["names"][0]
    )


def test_nothing_half_written(parts, tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("as it was")

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:1000])
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="no space"):
            write_report(path, *parts)
    assert path.read_text() == "as it was" and list(tmp_path.iterdir()) == [path]


def test_what_does_not_belong_together_is_refused(parts, tmp_path):
    detector, dataset, evaluation, scores = parts
    fewer = Scores(scores.scores[1:], scores.maps[1:])
    with pytest.raises(ValueError, match="12 test images, but 12 scores and 11 maps"):
        write_report(tmp_path / "page.html", detector, dataset, evaluation, fewer)


def test_what_cannot_be_drawn_is_refused(parts, tmp_path):
    detector, dataset, evaluation, scores = parts
    maps = scores.maps.clone()
    maps[3, 2, 1] = torch.nan
    with pytest.raises(ValueError, match=dataset.test[3].image.name):
        write_report(
            tmp_path / "page.html", detector, dataset, evaluation, Scores(scores.scores, maps)
        )
    endless = replace(evaluation, scores=(*evaluation.scores[:-1], np.inf))
    with pytest.raises(ValueError, match=r"scores must be finite.*score inf"):
        write_report(tmp_path / "page.html", detector, dataset, endless, scores)
    assert not (tmp_path / "page.html").exists()


# ---- any method


def test_facts_are_the_fields_of_the_method(page, parts):
    detector, shown = parts[0], embedded(page)
    assert detector.method.name in shown["detector"]
    assert dict(shown["facts"]["Method"])["Name"] == detector.method.name
    parts_of = getattr(detector.method, "parts", (detector.method,))
    for index, part in enumerate(parts_of, 1):
        title = "Method" if len(parts_of) == 1 else f"parts {index}: {part.name}"
        rows = dict(shown["facts"][title])
        assert set(rows) - {"Name"} == {field.name for field in fields(part)}
    taught = dict(shown["facts"]["Method" if len(parts_of) == 1 else "parts 1: mediclip"])
    assert taught["layers"] == "2, 4" and taught["lr"] == "0.001" and taught["adapters"] == "yes"
    assert taught["normal_words"] == "normal, healthy"
    assert taught["recipe"] == "OneOf, in full below"
    (recipe,) = shown["recipes"]
    assert synthmed.from_dict(json.loads(recipe)) == synthmed.preset("paper")


def test_the_epoch_that_was_kept_is_named(parts, tmp_path):
    detector, dataset, evaluation, scores = parts
    taught = getattr(detector.fitted, "members", (detector.fitted,))
    log = tuple(
        replace(e, validation=v) for e, v in zip(taught[0].history.log, (0.75, 0.5), strict=True)
    )
    history = replace(taught[0].history, log=log, validation="digest", start="another's")
    fitted = replace(taught[0], history=history)
    if len(taught) > 1:
        fitted = replace(detector.fitted, members=(fitted, *taught[1:]))
    changed = replace(detector, fitted=fitted)
    write_report(tmp_path / "page.html", changed, dataset, evaluation, scores)
    rows = dict(embedded(tmp_path / "page.html")["facts"]["Fit and evaluation"])
    assert rows["Epochs"] == "2; epoch 1 was kept, Image-AUROC 0.7500 on the validation set"
    assert rows["Began with (SHA-256)"] == "another's"


def shown_of(detector, dataset, path):
    scores = detector.score([item.image for item in dataset.test])
    evaluation = evaluate_scores(scores, dataset.test, detector.threshold, resamples=20)
    write_report(path, detector, dataset, evaluation, scores)
    return embedded(path)


def test_an_imported_detector_says_so(scans, backbone, tmp_path):
    dataset = read_dataset(scans)
    taught = synthmed_clip.fit(
        dataset.train, MediCLIP(epochs=1), backbone=backbone, rng=0, progress=False
    )
    nowhere = replace(taught.provenance, support=())
    imported = replace(
        taught, fitted=replace(taught.fitted, history=None), provenance=nowhere, threshold=0.5
    )
    shown = shown_of(imported, dataset, tmp_path / "page.html")
    rows = dict(shown["facts"]["Fit and evaluation"])
    assert rows["Fit"] == "imported from a checkpoint" and not {"Epochs", "Seed (entropy)"} & set(
        rows
    )
    assert rows["Precision"] == "evaluated in float32" and shown["log"] == []
    assert "was imported from a checkpoint" in shown["decision"][0]


def test_methods_that_learn_nothing(scans, backbone, tmp_path):
    dataset = read_dataset(scans)
    nearest = synthmed_clip.fit(dataset.train, NearestPatch(pool=0.1), backbone=backbone)
    shown = shown_of(nearest, dataset, tmp_path / "nearest.html")
    facts = dict(shown["facts"]["Method"])
    assert list(facts) == ["Name", *(field.name for field in fields(NearestPatch))]
    assert (facts["Name"], facts["layers"], facts["pool"]) == ("nearest-patch", "3", "0.1")
    rows = dict(shown["facts"]["Fit and evaluation"])
    assert not {"Fit", "Epochs", "Seed (entropy)"} & set(rows)
    assert not shown["recipes"] and not shown["log"] and len(shown["support"]["images"]) == 3
    assert "largest score of its 3 support images" in shown["decision"][0]

    blind = synthmed_clip.fit([], ZeroShot(), backbone=backbone)
    shown = shown_of(blind, dataset, tmp_path / "blind.html")
    assert "fitted on no images" in shown["support"]["note"]
    assert "threshold is not calibrated" in shown["decision"][0]
    assert "Fit" not in dict(shown["facts"]["Fit and evaluation"])


def test_a_method_of_ones_own_without_maps(brightness, scans, tmp_path):
    dataset = read_dataset(scans)
    shown = shown_of(brightness, dataset, tmp_path / "page.html")
    assert shown["maps"] is None and {row["map"] for row in shown["images"]} == {None}
    assert shown["scale"] == "linear" and not shown["metrics"]["Pixel"]
    outlined = [bool(row["outline"]) for row in shown["images"]]
    assert outlined == [item.mask is not None for item in dataset.test] and any(outlined)
    assert dict(shown["facts"]["Method"])["gain"] == "-2.0"


def test_areas_of_the_curves_are_the_metrics():
    rng = np.random.default_rng(0)
    abnormal = rng.random(80) < 0.6
    scores = np.round(rng.normal(abnormal, 1), 1)  # with ties
    metrics = image_metrics(scores, abnormal, 200)
    roc, pr = curves(scores, abnormal, 200)
    area = (np.diff(roc.x) * (roc.y[1:] + roc.y[:-1]) / 2).sum()
    steps = (np.diff(np.concatenate([[0], pr.x])) * pr.y).sum()
    assert area == pytest.approx(metrics["AUROC"].value) and steps == pytest.approx(
        metrics["AP"].value
    )
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    for curve in (roc, pr):
        assert (curve.low <= curve.high).all() and curve.low.min() >= 0 and curve.high.max() <= 1
    inside = np.interp(roc.grid, roc.x, roc.y)
    assert ((roc.low <= inside) & (inside <= roc.high)).mean() > 0.95
    assert roc.low.mean() < metrics["AUROC"].low < metrics["AUROC"].high < roc.high.mean()


def test_an_outline_goes_around_the_mask():
    mask = np.zeros((20, 20), bool)
    mask[4:9, 3:13] = True
    assert sorted(re.findall(r"[\d.]+ [\d.]+", outline(mask))) == [
        "12.5 4.5",
        "12.5 8.5",
        "3.5 4.5",
        "3.5 8.5",
    ]
    mask[6, 7] = False
    assert outline(mask).count("Z") == 2  # the hole, too
    assert outline(np.zeros((5, 5), bool)) == ""


def test_classes_that_share_a_name_stay_two():
    items = (
        Item(Path("a"), False, None, "brain"),
        Item(Path("b"), True, None, "brain"),
        Item(Path("c"), True),
    )
    assert kinds_of(items) == ["brain, normal", "brain, abnormal", "abnormal"]
