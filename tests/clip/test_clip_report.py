"""The report: its data, and its page as text."""

from __future__ import annotations

import errno
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from PIL import Image

from synthmed_clip.data.layouts import Item
from synthmed_clip.evaluation.curves import curves
from synthmed_clip.evaluation.metrics import image_metrics
from synthmed_clip.report.data import _kinds, _outline
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
    detector, dataset, evaluation, maps = parts
    odd = scans.parent / "\udcff.png"  # the byte 0xFF
    try:
        shutil.copy(dataset.test[0].image, odd)
    except OSError:
        pytest.skip("this file system wants names to be Unicode")
    test = (replace(dataset.test[0], image=odd), *dataset.test[1:])
    write_report(tmp_path / "page.html", detector, replace(dataset, test=test), evaluation, maps)
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
    assert facts["Seed (entropy)"] == ", ".join(map(str, detector.settings.entropy))
    assert len(shown["log"]) == 2 and shown["counts"]["train"] == 3
    outlined = [bool(row["outline"]) for row in shown["images"]]
    assert outlined == [item.mask is not None for item in dataset.test]


def test_support_images_are_found_by_digest(page, parts, tmp_path):
    detector, dataset, evaluation, maps = parts
    assert [image["name"] for image in embedded(page)["support"]["images"]] == [
        "t0.png",
        "t1.png",
        "t2.png",
    ]
    assert not embedded(page)["warnings"]

    def written(settings, **changes):
        write_report(
            tmp_path / "page.html",
            replace(detector, settings=settings),
            replace(dataset, **changes),
            evaluation,
            maps,
        )
        return embedded(tmp_path / "page.html")

    shown = written(detector.settings, train=dataset.train[:1])["support"]
    assert len(shown["images"]) == 1 and "fitted on 3; 2 of them are not among" in shown["note"]
    assert "does not say" in written(replace(detector.settings, support=()))["support"]["note"]


def test_support_among_the_test_images_is_a_grave_warning(parts, tmp_path):
    detector, dataset, evaluation, maps = parts
    test = tuple(
        replace(item, image=dataset.train[0]) if i < 2 else item
        for i, item in enumerate(dataset.test)
    )
    write_report(tmp_path / "page.html", detector, replace(dataset, test=test), evaluation, maps)
    leak, twins = embedded(tmp_path / "page.html")["warnings"]
    assert (
        leak["grave"]
        and "not kept apart" in leak["title"]
        and leak["names"] == ["train/good/t0.png"] * 2
    )
    assert not twins["grave"] and twins["names"] == ["train/good/t0.png = train/good/t0.png"]


def test_near_copies_of_training_images_are_told(parts, tmp_path):
    detector, dataset, evaluation, maps = parts
    with Image.open(dataset.train[0]) as image:
        image.point(lambda level: level * 0.8).save(tmp_path / "darker.png")
    test = (replace(dataset.test[0], image=tmp_path / "darker.png"), *dataset.test[1:])
    write_report(tmp_path / "page.html", detector, replace(dataset, test=test), evaluation, maps)
    (near,) = embedded(tmp_path / "page.html")["warnings"]
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
    detector, dataset, evaluation, maps = parts
    with pytest.raises(ValueError, match="12 test images, but 12 scores and 11 maps"):
        write_report(tmp_path / "page.html", detector, dataset, evaluation, maps[1:])


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
    assert sorted(re.findall(r"[\d.]+ [\d.]+", _outline(mask))) == [
        "12.5 4.5",
        "12.5 8.5",
        "3.5 4.5",
        "3.5 8.5",
    ]
    mask[6, 7] = False
    assert _outline(mask).count("Z") == 2  # the hole, too
    assert _outline(np.zeros((5, 5), bool)) == ""


def test_classes_that_share_a_name_are_told_apart():
    items = (
        Item(Path("a"), False, None, "brain"),
        Item(Path("b"), True, None, "brain"),
        Item(Path("c"), True),
    )
    assert _kinds(items) == ["brain, normal", "brain, abnormal", "abnormal"]


# ---- in a browser
