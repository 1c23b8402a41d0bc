"""The report's maps, viewer and address as a browser has them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from PIL import Image
from screens import Screen, errors, matrix_at
from skimage.measure import find_contours

from synthmed_clip.data.layouts import read_dataset
from synthmed_clip.evaluation.evaluate import evaluate_scores
from synthmed_clip.evaluation.map_scale import MapScale
from synthmed_clip.report.write import write_report

BOX = (
    "const [a, b] = ['%s', '%s'].map((q) => document.querySelector(q).getBoundingClientRect());"
    "return [(a.left - b.left) / b.width, (a.top - b.top) / b.height, a.width / b.width, "
    "a.height / b.height]"
)
LAYERS = BOX % ("#viewer .overlay .layers", "#viewer .overlay .picture")


def open_first(screen):
    """Open the first card; return which image it is."""
    screen.run("arguments[0].click()", screen("#cards button"))
    screen.until("document.querySelectorAll('#viewer .contour').length === 2")
    return screen.run("return images.indexOf(viewer.open)")


# ---- maps


def test_maps_are_those_of_the_detector(screen, parts):
    for index, found in enumerate(parts[3].maps.numpy()):  # 32 pixels a side, as on the page
        shown = screen.promised(f"valuesOf(images[{index}]).then((values) => [...values])")
        np.testing.assert_allclose(
            np.reshape(shown, (32, 32)), found, atol=0.501 * np.ptp(found) / 255
        )
        assert max(shown) == found.max() and min(shown) == found.min()


@pytest.mark.parametrize(
    "scale",
    [
        None,
        MapScale(scores=(0.2, 0.4, 0.3), peaks=(0.5, 0.9, 0.6)),
        MapScale(scores=(0.2, 0.2, 0.4, 0.4), peaks=(0.5, 0.7, 0.9, 0.95)),
        MapScale(scores=(0.2, 0.4), peaks=(0.2, 0.4)),
        MapScale(scores=(0.2,), peaks=(0.4,)),
        MapScale(),
    ],
)
def test_the_level_of_a_threshold(screen, parts, scale):
    scale = scale or parts[0].map_scale
    screen.run("maps.matching = arguments[0]", scale.matching())
    known = [*scale.scores, *parts[2].scores]
    thresholds = [*known, *np.linspace(min(known) - 1, max(known) + 1, 23).tolist()]
    expected = [scale.level_of(threshold) for threshold in thresholds]
    shown = screen.run("return arguments[0].map(levelOf)", thresholds)
    if scale.matching() is None:
        assert shown == expected == [None] * len(thresholds)
    else:
        assert shown == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("level", [0.2515, 0.5005, 0.9005])
def test_a_contour_is_that_of_skimage(screen, level):
    values = np.random.default_rng(0).random((32, 32)).round(3)
    side = screen.run("return report.side")
    path = screen.run("return contourPath(...arguments)", values.ravel().tolist(), level)
    ends = [tuple(map(float, at.split())) for at in path.replace("M", "L").split("L")[1:]]
    counts = {at: ends.count(at) for at in ends}
    assert set(counts.values()) <= {2, 4}  # every line goes on, along the border, too
    inside = np.array([at for at in counts if all(0.4 / 32 <= x / side <= 31.6 / 32 for x in at)])
    lines = np.concatenate(find_contours(values, level))[:, ::-1]
    expected = (lines + 0.5) / 32 * side
    for these, those in ((inside, expected), (expected, inside)):
        nearest = np.abs(these[:, None] - those).max(-1).min(1)
        assert nearest.max() < 0.01
    assert screen.run("return contourPath(...arguments)", values.ravel().tolist(), 1) == ""


def test_the_viewer_marks_contour_and_peak(screen, parts):
    detector, dataset = parts[:2]
    open_first(screen)
    for _ in dataset.test:
        index = screen.run("return images.indexOf(viewer.open)")
        found = detector.predict(dataset.test[index].image)
        x, y = found.peak
        assert f"at x {x}, y {y}; 60 \u00d7 50 pixels" in screen.texts("#viewer-facts")[0]
        left, top, width, height = screen.run(
            BOX % ("#viewer .overlay .peak", "#viewer .overlay .layers")
        )
        at = left + width / 2, top + height / 2
        assert at == pytest.approx(((x + 0.5) / 60, (y + 0.5) / 50), abs=0.005)
        screen.until("document.querySelectorAll('#viewer .contour').length === 2")
        drawn = screen("#viewer .contour path").get_attribute("d")
        highest = parts[3].maps[index].max().item()
        assert bool(drawn) == (highest > detector.map_scale.level_of(detector.threshold))
        screen.keys("\ue014")
    for name in ("contour", "peak"):
        screen.run("arguments[0].click()", screen(f"#viewer .{name}s"))
        assert not screen(f"#viewer .overlay .{name}").is_displayed()


def test_the_legend_shows_where_the_contour_lies(screen, parts):
    scale = parts[0].map_scale
    for threshold in np.quantile(parts[2].scores, (0.1, 0.5, 0.9)):
        screen.choose("#value", repr(float(threshold)))
        level = scale.shown(scale.level_of(screen.run("return state.threshold")))
        (words,) = screen.texts("#legend .contour-at")
        assert float(words.split()[2]) == pytest.approx(level, abs=0.005 + 1e-9)


# ---- viewer


def test_pictures_keep_the_aspect_of_their_image(screen):
    open_first(screen)
    for picture in ("#cards", "#viewer .image", "#viewer .map"):
        left, top, width, height = screen.run(BOX % (f"{picture} .layers", f"{picture} .picture"))
        assert (left, width) == pytest.approx((0, 1), abs=0.005)
        assert (top, height) == pytest.approx((1 / 12, 5 / 6), abs=0.005)  # 60 x 50


def test_a_tall_image_and_voxels_that_are_no_squares(browser, nearest_scans, tmp_path):
    parts = nearest_scans
    write_report(tmp_path / "page.html", *parts)
    screen = Screen(browser, tmp_path / "page.html")
    shown = dict(
        zip(
            screen.run("return images.map((image) => image.name.split('/').at(-1))"),
            screen.run("return images.map((image) => image.extent)"),
            strict=True,
        )
    )
    assert shown["tall.png"] == pytest.approx([0.25, 1])
    assert shown["flat.dcm"] == pytest.approx([1, 0.5])  # 40 x 40 pixels of 2 x 1 mm
    detector, dataset = parts[:2]
    index = open_first(screen)
    found = detector.predict(dataset.test[index].image)
    assert f"p = {found.p_value:.3f}, peak" in screen.texts("#viewer-facts")[0]
    assert errors(browser) == []


@pytest.fixture
def nearest_scans(normals, backbone, tmp_path):
    """A tall image, and one whose pixels are twice as wide as high."""
    pytest.importorskip("pydicom", reason="the reader of DICOM needs the extra `medical`")
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parent.parent))
    from dicom_by_hand import image as dicom

    from synthmed_clip import NearestPatch, fit

    for kind in ("normal", "abnormal"):
        (tmp_path / "set" / kind).mkdir(parents=True)
    Image.fromarray(normals[0]).resize((20, 80)).save(tmp_path / "set" / "normal" / "tall.png")
    file = dicom(np.ascontiguousarray(normals[1][:40, :40]), PixelSpacing=[1.0, 2.0])
    file.save_as(tmp_path / "set" / "abnormal" / "flat.dcm", enforce_file_format=True)
    dataset = read_dataset(tmp_path / "set")
    detector = fit(normals[2:], NearestPatch(), backbone=backbone)
    scores = detector.score([item.image for item in dataset.test])
    evaluation = evaluate_scores(scores, dataset.test, detector.threshold, resamples=20)
    return detector, dataset, evaluation, scores


def test_zoom(screen):
    open_first(screen)
    assert screen.run(LAYERS) == pytest.approx([0, 1 / 12, 1, 5 / 6], abs=0.005)
    screen("#zoom-in").click()
    left, _, width, height = screen.run(LAYERS)
    assert (left, width) == pytest.approx((-0.25, 1.5), abs=0.005) and height < width
    assert screen("#zoom").text == "150 %"
    wheel = (
        "const p = document.querySelector('#viewer .overlay .picture');"
        "const b = p.getBoundingClientRect();"
        "p.dispatchEvent(new WheelEvent('wheel', { deltaY: arguments[0], bubbles: true, "
        "cancelable: true, clientX: b.left + 0.2 * b.width, clientY: b.top + 0.6 * b.height }))"
    )
    before = screen.run(LAYERS)
    screen.run(wheel, -300)
    after = screen.run(LAYERS)
    for axis, place in enumerate((0.2, 0.6)):  # what is under the pointer stays there
        under = [(place - box[axis]) / box[axis + 2] for box in (before, after)]
        assert under[1] == pytest.approx(under[0], abs=0.005)
    assert after[2] == pytest.approx(1.5 * np.exp(0.6), rel=0.01)
    drag = (
        "const p = document.querySelector('#viewer .overlay .picture');"
        "const b = p.getBoundingClientRect();"
        "for (const [name, x] of [['pointerdown', 0.5], ['pointermove', 0.6], ['pointermove', 9]])"
        "  p.dispatchEvent(new PointerEvent(name, { pointerId: 1, bubbles: true, "
        "clientX: b.left + x * b.width, clientY: b.top + 0.5 * b.height }));"
    )
    screen.run("HTMLElement.prototype.setPointerCapture = () => {};" + drag)
    assert screen.run(LAYERS)[0] == pytest.approx(0, abs=0.005)  # no farther than the edge
    for selector in ("#viewer .image", "#viewer .map"):  # all panes alike
        box = screen.run(BOX % (f"{selector} .layers", f"{selector} .picture"))
        assert box == pytest.approx(screen.run(LAYERS), abs=0.005)
    screen.keys("0")
    assert screen("#zoom").text == "100 %" and not screen("#zoom-out").is_enabled()
    for _ in range(12):
        screen.keys("+")
    assert screen("#zoom").text == "1600 %" and not screen("#zoom-in").is_enabled()
    screen.keys("\ue014")  # the next image is seen whole
    assert screen("#zoom").text == "100 %"


def test_one_view_at_a_time(screen):
    open_first(screen)
    panes = [screen(f"#viewer .{name}") for name in ("image", "overlay", "map")]
    assert all(pane.is_displayed() for pane in panes)
    for kept, name in enumerate(("image", "overlay", "map")):
        screen.choose("#view", name)
        assert [pane.is_displayed() for pane in panes] == [at == kept for at in range(3)]
    alpha = (
        "const c = document.querySelector('#viewer .%s canvas');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "return [...d].filter((_, i) => i %% 4 === 3)"
    )
    assert set(screen.run(alpha % "map")) == {255}
    assert max(screen.run(alpha % "overlay")) <= 204  # as predict's overlays: 0.8 at most
    screen.keys("\ue014")
    assert not screen("#viewer .image").is_displayed()  # the next image is looked at likewise


# ---- address and figures


def test_the_threshold_is_in_the_address(screen, parts):
    page = screen.browser.current_url
    assert screen.run("return location.hash") == ""  # the detector's own
    chosen = float(np.nextafter(np.sort(parts[2].scores)[4], -np.inf))
    screen.choose("#value", repr(chosen))
    assert screen.run("return location.hash") == f"#threshold={chosen!r}"
    screen.run("arguments[0].click()", screen("nav a[href='#curves']"))
    screen.until("location.hash.startsWith('#curves&threshold=')")
    link = screen.browser.current_url
    screen.browser.get("about:blank")
    screen.browser.get(link)
    assert screen.run("return state.threshold") == chosen
    assert screen.matrix() == matrix_at(parts, chosen)
    assert screen.run("return Math.abs(byId('curves').getBoundingClientRect().top) < 200")
    screen.run("byId('calibrated').click()")
    assert screen.run("return location.hash") == "#curves"
    for odd in ("abc", "", "Infinity"):
        screen.browser.get("about:blank")
        screen.browser.get(f"{page}#threshold={odd}")
        assert screen.matrix() == matrix_at(parts, parts[0].threshold)
        assert "no number as threshold" in screen("#copied").text
        assert screen.run("return location.hash") == ""


@pytest.mark.parametrize("clipboard", [True, False])
def test_the_threshold_is_copied_with_all_its_digits(screen, parts, clipboard):
    chosen = float(np.sort(parts[2].scores)[4])
    screen.choose("#value", repr(chosen))
    assert float(screen("#exact").text) == chosen
    if not clipboard:  # as on a page without https
        screen.run("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    screen("#copy").click()
    screen.until("byId('copied').textContent === 'Copied'")
    screen("#search").send_keys("\ue009v")  # control and v
    assert float(screen("#search").get_attribute("value")) == chosen


def test_figures_tell_almost_all_from_all(screen):
    shares = [0, 1, 0.5, 0.9994, 0.9996, 0.99996, 0.99999, 4e-5, 0.0005]
    shown = screen.run("return arguments[0].map(shareText)", shares)
    expected = ["0.000", "1.000", "0.500", "0.999", "0.9996", "0.99996", "0.99999", "0.00004"]
    assert shown == [*expected, "0.001"]
    ticks = screen.run(
        "return [[0.5, 9.5], [9, 11], [13, 16]].map(([a, b]) => logOdds.ticks(a, b).map(String))"
    )
    for labels in ticks:
        values = list(map(float, labels))
        assert len(labels) == len(set(labels)) >= 2 and max(values) < 1


def test_what_knows_nothing_stands_beside_each_metric(screen):
    assert screen.texts("#metrics .baseline")[:3] == [
        "chance 0.500",
        "prevalence 0.500",
        "flagging all 0.667",
    ]
    assert len(screen.texts("#metrics .baseline")) == 6


@pytest.mark.parametrize("width", [320, 360, 1100])
def test_no_number_breaks_across_lines(screen, width):
    screen.width(width)
    open_first(screen)
    broken = (
        "[...document.querySelectorAll('.number')].filter((e) => e.getClientRects().length > 1)"
    )
    assert screen.run(f"return {broken}.map((e) => e.textContent)") == []
    assert len(screen.texts("#cards .score.number")) == 12
    assert screen.run("return byId('viewer').scrollWidth <= byId('viewer').clientWidth")
