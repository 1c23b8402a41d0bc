"""The report: its data and its page as text, then the page as a browser has it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip")

from PIL import Image

import synthmed_clip
from synthmed_clip.curves import curves
from synthmed_clip.datasets import Item, read_dataset
from synthmed_clip.evaluation import evaluate_maps
from synthmed_clip.metrics import image_metrics
from synthmed_clip.report import write_report
from synthmed_clip.report_data import _kinds, _outline

NASTY = "script><img src=x onerror='document.title=1'><!--data-->&amp;\u2028\"é.png"  # after the folder `<`: </script>


@pytest.fixture(scope="module")
def data(folder, normals, tmp_path_factory) -> Path:
    """A data set in MVTec's layout with two classes, one of which wants to be markup."""
    root = tmp_path_factory.mktemp("data") / "scans"
    for name in ("train/good", "test/<", "ground_truth/<"):
        (root / name).mkdir(parents=True)
    for i, image in enumerate(normals[:3]):
        Image.fromarray(image[::-1]).save(root / "train" / "good" / f"t{i}.png")
    shutil.copytree(folder / "normal", root / "test" / "good")
    shutil.copytree(folder / "abnormal", root / "test" / "spot")
    shutil.copytree(folder / "masks", root / "ground_truth" / "spot")
    (root / "test" / "spot" / "a0.png").rename(root / "test" / "<" / NASTY)
    return root


@pytest.fixture(scope="module")
def parts(data, backbone):
    """Detector, data set, evaluation and maps; the threshold is in the midst of the scores."""
    dataset = read_dataset(data)
    fitted = synthmed_clip.fit(list(dataset.train), backbone=backbone, layers=(2, 4), epochs=2, rng=0, progress=False)
    maps = fitted.maps([item.image for item in dataset.test])
    scores = maps.max((1, 2))
    detector = replace(fitted, threshold=float(np.median(scores)))
    return detector, dataset, evaluate_maps(maps, scores, dataset.test, detector.threshold), maps


@pytest.fixture(scope="module")
def page(parts, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "new" / "page.html"
    write_report(path, *parts)
    return path


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
    assert {found for found in re.findall(r"https?://[^\"' ]*", text)} <= {"http://www.w3.org/2000/svg"}  # a name only
    assert "@import" not in text and "url(" not in markup.contents["style"][0]
    assert "default-src 'none'" in text  # and the browser is told so
    assert not re.search(r"<!--(style|script|summary)-->", text)


def test_names_cannot_break_the_page(page, parts):
    markup = Markup(page.read_text(encoding="utf-8"))
    assert [tag for tag, _ in markup.elements].count("script") == 2 and len(markup.contents["script"]) == 2
    assert "img" not in {tag for tag, _ in markup.elements}
    names = [row["name"] for row in embedded(page)["images"]]
    assert f"test/</{NASTY}" in names and len(names) == len(parts[1].test)
    assert {group["kind"] for group in embedded(page)["classes"]} == {"good", "spot", "<"}


def test_a_name_that_is_not_unicode(parts, data, tmp_path):
    detector, dataset, evaluation, maps = parts
    odd = data.parent / "\udcff.png"  # the byte 0xFF
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
    assert spot["count"] == 5 and spot["masked"] == 5 and spot["auroc"]["low"] <= spot["auroc"]["value"]
    facts = dict(row for rows in shown["facts"].values() for row in rows)
    assert facts["SHA-256 of weights"] == detector.backbone.digest
    assert facts["Seed (entropy)"] == ", ".join(map(str, detector.settings.entropy))
    assert len(shown["log"]) == 2 and shown["counts"]["train"] == 3
    outlined = [bool(row["outline"]) for row in shown["images"]]
    assert outlined == [item.mask is not None for item in dataset.test]


def test_support_images_are_found_by_digest(page, parts, tmp_path):
    detector, dataset, evaluation, maps = parts
    assert [image["name"] for image in embedded(page)["support"]["images"]] == ["t0.png", "t1.png", "t2.png"]
    assert not embedded(page)["warnings"]

    def written(settings, **changes):
        write_report(
            tmp_path / "page.html", replace(detector, settings=settings), replace(dataset, **changes), evaluation, maps
        )
        return embedded(tmp_path / "page.html")

    shown = written(detector.settings, train=dataset.train[:1])["support"]
    assert len(shown["images"]) == 1 and "fitted on 3; 2 of them are not among" in shown["note"]
    assert "does not say" in written(replace(detector.settings, support=()))["support"]["note"]


def test_support_among_the_test_images_is_a_grave_warning(parts, tmp_path):
    detector, dataset, evaluation, maps = parts
    test = tuple(replace(item, image=dataset.train[0]) if i < 2 else item for i, item in enumerate(dataset.test))
    write_report(tmp_path / "page.html", detector, replace(dataset, test=test), evaluation, maps)
    leak, twins = embedded(tmp_path / "page.html")["warnings"]
    assert leak["grave"] and "not kept apart" in leak["title"] and leak["names"] == ["train/good/t0.png"] * 2
    assert not twins["grave"] and twins["names"] == ["train/good/t0.png = train/good/t0.png"]


def test_near_copies_of_training_images_are_told(parts, tmp_path):
    detector, dataset, evaluation, maps = parts
    with Image.open(dataset.train[0]) as image:
        image.point(lambda level: level * 0.8).save(tmp_path / "darker.png")
    test = (replace(dataset.test[0], image=tmp_path / "darker.png"), *dataset.test[1:])
    write_report(tmp_path / "page.html", detector, replace(dataset, test=test), evaluation, maps)
    (near,) = embedded(tmp_path / "page.html")["warnings"]
    assert "nearly repeat" in near["title"] and "darker.png is nearly train/good/t0.png (1.000)" in near["names"][0]


def test_nothing_half_written(parts, tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("as it was")

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:1000])
        raise OSError("no space left on device")

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
    assert area == pytest.approx(metrics["AUROC"].value) and steps == pytest.approx(metrics["AP"].value)
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    for curve in (roc, pr):
        assert (curve.low <= curve.high).all() and curve.low.min() >= 0 and curve.high.max() <= 1
    inside = np.interp(roc.grid, roc.x, roc.y)
    assert ((roc.low <= inside) & (inside <= roc.high)).mean() > 0.95
    assert roc.low.mean() < metrics["AUROC"].low < metrics["AUROC"].high < roc.high.mean()


def test_an_outline_goes_around_the_mask():
    mask = np.zeros((20, 20), bool)
    mask[4:9, 3:13] = True
    assert sorted(re.findall(r"[\d.]+ [\d.]+", _outline(mask))) == ["12.5 4.5", "12.5 8.5", "3.5 4.5", "3.5 8.5"]
    mask[6, 7] = False
    assert _outline(mask).count("Z") == 2  # the hole, too
    assert _outline(np.zeros((5, 5), bool)) == ""


def test_classes_that_share_a_name_are_told_apart():
    items = (Item(Path("a"), False, None, "brain"), Item(Path("b"), True, None, "brain"), Item(Path("c"), True))
    assert _kinds(items) == ["brain, normal", "brain, abnormal", "abnormal"]


# ---- in a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: the page was not tried in a browser")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium or no chromedriver: the page was not tried in a browser")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"):
        options.add_argument(f"--{flag}")
    for flag in ("background-networking", "component-update", "sync", "dev-shm-usage"):
        options.add_argument(f"--disable-{flag}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield started
    started.quit()


class Screen:
    """What the tests do with the page."""

    def __init__(self, browser, page):
        self.browser = browser
        self.width(1100)
        browser.get(page.as_uri())

    def width(self, width):
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)

    def __call__(self, selector):
        return self.browser.find_element("css selector", selector)

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def texts(self, selector):
        """Return what stands in the elements, as it is in the page: `.text` would tidy white space."""
        return self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)

    def until(self, condition):
        """Wait for what the browser decodes in its own time."""
        end = monotonic() + 10
        while not self.run(f"return {condition}"):
            assert monotonic() < end, condition
            sleep(0.02)

    def choose(self, selector, value):
        self.run("arguments[0].value = arguments[1]", self(selector), value)
        for event in ("input", "change"):
            self.run("arguments[0].dispatchEvent(new Event(arguments[1], { bubbles: true }))", self(selector), event)

    def keys(self, *keys):
        self.browser.switch_to.active_element.send_keys(*keys)

    def matrix(self):
        return tuple(int(self(f"#{name}").text) for name in ("tp", "fn", "fp", "tn"))


@pytest.fixture
def screen(browser, page):
    yield Screen(browser, page)
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def truth(parts):
    dataset, evaluation = parts[1:3]
    return np.array([item.abnormal for item in dataset.test]), np.array(evaluation.scores, np.float32)


def matrix_at(parts, threshold):
    abnormal, scores = truth(parts)
    flagged = scores > np.float32(threshold)
    return tuple(int((chosen & kind).sum()) for kind in (abnormal, ~abnormal) for chosen in (flagged, ~flagged))


def test_browser_shows_everything_as_text(screen, parts):
    assert screen.browser.title == "scans: detector report"
    names = screen.texts("#cards .name")
    assert len(names) == 12 and NASTY in names
    assert len(screen.texts(".tile")) == 6 and screen.texts(".tile b")[0] == f"{parts[2].image['AUROC'].value:.3f}"
    screen.until("[...document.images].every((image) => image.complete && image.naturalWidth)")
    for name in ("histogram", "roc", "pr", "loss"):
        assert screen(f"#{name} svg").size["width"] > 300
    map_of = "[...document.querySelector('#cards canvas').getContext('2d').getImageData(0, 0, 32, 32).data]"
    screen.until(f"{map_of}.some((value) => value > 0)")


def test_browser_slider_moves_the_threshold(screen, parts):
    scores = truth(parts)[1]
    assert screen.matrix() == matrix_at(parts, parts[0].threshold)
    levels = np.unique(scores)
    for place in (0, 3, len(levels) - 2, len(levels)):
        threshold = levels[place - 1] if place else 0
        screen.choose("#slider", place)
        tp, fn, fp, tn = matrix_at(parts, threshold)
        assert screen.matrix() == (tp, fn, fp, tn)
        assert screen("#sensitivity b").text == f"{tp / (tp + fn):.3f}"
        assert screen("#specificity b").text == f"{tn / (tn + fp):.3f}"
        assert screen("#ppv").text == (f"{tp / (tp + fp):.3f}" if tp + fp else "none flagged")
        assert screen("#npv").text == (f"{tn / (tn + fn):.3f}" if tn + fn else "none cleared")
        assert screen.texts("#cards .badge").count("missed") == fn
    screen("#calibrated").click()
    assert screen.matrix() == matrix_at(parts, parts[0].threshold) and not screen("#calibrated").is_enabled()
    screen.run("arguments[0].focus()", screen("#slider"))
    screen.keys("\ue014")  # arrow right: the next score
    above = levels[levels > np.float32(parts[0].threshold)][0]
    assert screen.matrix() == matrix_at(parts, above)
    screen.choose("#value", "0.25")
    assert screen.matrix() == matrix_at(parts, 0.25)


def test_browser_prevalence_changes_predictive_values(screen, parts):
    tp, fn, fp, tn = matrix_at(parts, parts[0].threshold)
    sensitivity, specificity, ill = tp / (tp + fn), tn / (tn + fp), 0.05
    screen.choose("#prevalence", "5")
    right, wrong = sensitivity * ill, (1 - specificity) * (1 - ill)
    assert screen("#ppv").text == f"{right / (right + wrong):.3f}"
    screen.choose("#prevalence", "")
    assert screen("#ppv").text == f"{tp / (tp + fp):.3f}"


def test_browser_sorts_and_filters(screen, parts):
    abnormal, scores = truth(parts)
    names = np.array([item.image.name for item in parts[1].test])
    flagged = scores > np.float32(parts[0].threshold)

    def shown():
        return [names.tolist().index(name) for name in screen.texts("#cards .name")]

    found = shown()
    missed = np.flatnonzero(abnormal & ~flagged)
    assert len(missed) and found[: len(missed)] == sorted(missed, key=lambda i: scores[i])
    screen.choose("#order", "down")
    assert (np.diff(scores[shown()]) <= 0).all()
    screen.choose("#order", "up")
    assert (np.diff(scores[shown()]) >= 0).all()
    for outcome, chosen in (("fn", abnormal & ~flagged), ("fp", ~abnormal & flagged), ("tp", abnormal & flagged)):
        screen.choose("#outcome", outcome)
        assert set(shown()) == set(np.flatnonzero(chosen))
    screen.choose("#outcome", "")
    screen.choose("#kind", "<")
    assert screen.texts("#cards .class") == ["<"] and screen("#shown").text == "1 image"
    screen.choose("#kind", "")
    screen("#search").send_keys("SPOT/A3")
    assert screen.texts("#cards .name") == ["a3.png"]
    screen("#search").send_keys("zzz")
    assert screen("#shown").text == "No image is like that."


def test_browser_overlay_fades_and_outlines_hide(screen):
    def opacity():
        return float(screen.run("return getComputedStyle(document.querySelector('#cards canvas')).opacity"))

    assert opacity() == pytest.approx(0.7) and screen("#cards .outline").is_displayed()
    screen.choose("#gallery .opacity", 20)
    assert opacity() == pytest.approx(0.2) and screen.run("return byId('viewer').querySelector('.opacity').value") == "20"
    screen("#gallery .outlines").click()
    assert not screen("#cards .outline").is_displayed()


def test_browser_dialog_by_keyboard(screen):
    names = screen.texts("#cards .name")
    screen.run("arguments[0].focus()", screen("#cards button"))
    screen.keys("\ue007")  # enter

    def title():
        return screen.texts("#viewer-title")[0]

    assert screen("#viewer").is_displayed() and title().endswith(names[0])
    screen.keys("\ue014")
    assert title().endswith(names[1])
    for _ in names:
        screen.keys("\ue014")
    assert title().endswith(names[-1]) and not screen("#next").is_enabled()
    screen.keys("\ue012")  # arrow left
    assert title().endswith(names[-2])
    screen.keys("\ue00c")  # escape
    assert not screen("#viewer").is_displayed()
    assert screen.run("return document.activeElement.querySelector('.name').textContent") == names[-2]


def test_browser_themes_and_focus(screen):
    def colours():
        return screen.run(
            "const s = (q, p) => getComputedStyle(document.querySelector(q))[p];"
            "return [s('body', 'backgroundColor'), s('body', 'color'), s('#roc .tick', 'fill')]"
        )

    before = colours()
    screen("#theme").click()
    assert all(a != b for a, b in zip(before, colours(), strict=True))
    screen("#theme").click()
    assert colours() == before
    screen.browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    screen.browser.refresh()
    assert colours() != before and screen("#theme").text == "Light theme"
    screen.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    screen("#theme").send_keys("\ue004")  # tab
    focused = "const f = getComputedStyle(document.activeElement); return [f.outlineStyle, f.outlineWidth]"
    assert screen.run(focused) == ["solid", "3px"]


@pytest.mark.parametrize("opened", [False, True])
def test_browser_nothing_sideways_on_a_phone(screen, opened):
    screen.width(360)
    if opened:
        screen.run("arguments[0].click()", screen("#cards button"))
    assert screen.run("return innerWidth") == 360
    for place in ("document.documentElement", "byId('viewer')"):
        assert screen.run(f"return {place}.scrollWidth <= {place}.clientWidth"), place
