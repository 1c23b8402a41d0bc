"""The report's page as a browser has it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from screens import Screen, errors, matrix_at, truth

from synthmed_clip.data.layouts import read_dataset
from synthmed_clip.evaluation.evaluate import evaluate_scores
from synthmed_clip.report.write import write_report


def test_browser_shows_everything_as_text(screen, parts, nasty):
    assert screen.browser.title == "scans: detector report"
    names = screen.texts("#cards .name")
    assert len(names) == 12 and nasty in names
    assert (
        len(screen.texts(".tile")) == 6
        and screen.texts(".tile b")[0] == f"{parts[2].image['AUROC'].value:.3f}"
    )
    screen.until("[...document.images].every((image) => image.complete && image.naturalWidth)")
    for name in ("histogram", "roc", "pr", "loss"):
        assert screen(f"#{name} svg").size["width"] > 300
    map_of = (
        "[...document.querySelector('#cards canvas').getContext('2d').getImageData(0, 0, "
        "32, 32).data]"
    )
    screen.until(f"{map_of}.some((value) => value > 0)")


def test_browser_slider_moves_the_threshold(screen, parts):
    scores = truth(parts)[1]
    assert screen.matrix() == matrix_at(parts, parts[0].threshold)
    levels = np.unique(scores)
    for place in (0, 3, len(levels) - 2, len(levels)):
        threshold = levels[place - 1] if place else -np.inf
        screen.choose("#slider", place)
        tp, fn, fp, tn = matrix_at(parts, threshold)
        assert screen.matrix() == (tp, fn, fp, tn)
        assert screen("#sensitivity b").text == f"{tp / (tp + fn):.3f}"
        assert screen("#specificity b").text == f"{tn / (tn + fp):.3f}"
        assert screen("#ppv").text == (f"{tp / (tp + fp):.3f}" if tp + fp else "none flagged")
        assert screen("#npv").text == (f"{tn / (tn + fn):.3f}" if tn + fn else "none cleared")
        assert screen.texts("#cards .badge").count("missed") == fn
    screen("#calibrated").click()
    assert (
        screen.matrix() == matrix_at(parts, parts[0].threshold)
        and not screen("#calibrated").is_enabled()
    )
    screen.run("arguments[0].focus()", screen("#slider"))
    screen.keys("\ue014")  # arrow right: the next score
    above = levels[levels > parts[0].threshold][0]
    assert screen.matrix() == matrix_at(parts, above)
    just_below = float(np.nextafter(above, -np.inf))  # no float32: scores must not be rounded
    for threshold in (0.25, just_below, -3.0, 1e6):
        screen.choose("#value", repr(threshold))
        assert screen.matrix() == matrix_at(parts, threshold)
    assert screen.run("return state.threshold") == 1e6


def test_browser_scale_and_legend_are_those_of_the_scores(screen, parts):
    bounded, scores = parts[0].method.name == "mediclip", truth(parts)[1]
    assert screen.texts("#scale") == ["log-odds" if bounded else "linear"]
    shown = [float(tick) for tick in screen.texts("#legend .tick")]
    assert (shown[0], shown[-1]) == (0, 1 if bounded else 8)
    unit = "probability" if bounded else "standard deviations of normal"
    assert screen.texts("#legend .axis") == [unit] == [parts[0].map_scale.unit]
    ticks = [float(tick) for tick in screen.texts("#histogram .tick")]
    assert len(ticks) >= 3 and ticks == sorted(ticks)
    margin = 0.1 * np.ptp(scores)
    assert scores.min() - margin <= ticks[0] and ticks[-1] <= scores.max() + margin
    shown = screen.texts("#cards .score")
    assert sorted(map(float, shown)) == pytest.approx(sorted(scores), rel=0.01)
    assert len(set(shown)) == len(set(scores))


def test_browser_linear_ticks_are_round(screen):
    found = screen.run(
        "return [[0, 1, 5], [-3.2, 7.9, 10], [1e-5, 4.2e-5, 6], [-0.3, 0.3, 4], [995, 1007, 6]]"
        ".map(([low, high, most]) => roundTicks(low, high, most))"
    )
    assert found == [
        [0, 0.2, 0.4, 0.6, 0.8, 1],
        [-2, 0, 2, 4, 6],
        [1e-5, 2e-5, 3e-5, 4e-5],
        [-0.2, 0, 0.2],
        [996, 998, 1000, 1002, 1004, 1006],
    ]


def test_browser_a_method_without_maps_or_log(browser, brightness, scans, tmp_path):
    dataset = read_dataset(scans)
    scores = brightness.score([item.image for item in dataset.test])
    evaluation = evaluate_scores(scores, dataset.test, brightness.threshold, resamples=20)
    write_report(tmp_path / "page.html", brightness, dataset, evaluation, scores)
    screen = Screen(browser, tmp_path / "page.html")
    screen.until("[...document.images].every((image) => image.complete && image.naturalWidth)")
    assert len(screen.texts("#cards img")) == 12 and not screen.texts("#cards canvas")
    for hidden in (".legend", ".opacity", "#losses", "#robustness", "nav a[href='#robustness']"):
        assert not screen(hidden).is_displayed()
    assert screen("#gallery .outlines").is_displayed() and screen.texts("#recipes details") == []
    assert "gives no maps" in screen("#pixel-note").text
    assert (
        f"{sum(item.mask is not None for item in dataset.test)} of 6" in screen("#data-facts").text
    )
    assert screen.matrix() == matrix_at((brightness, dataset, evaluation), brightness.threshold)
    assert brightness.threshold < 0  # a scale that begins at 0 would not show it
    screen.choose("#slider", 0)
    assert screen.matrix() == (6, 0, 6, 0)
    outlined = screen("#cards .outline").find_element("xpath", "./ancestor::button")
    outlined.click()
    assert len(screen.texts("#viewer .picture")) == 2
    assert errors(browser) == []


def test_browser_shows_robustness_where_it_was_measured(browser, parts, tmp_path):
    from synthmed.testing import ScoreShift

    shifts = [ScoreShift("text", 4, -0.5, 1.25), ScoreShift("<speckle>", 0, 0.0, 0.0)]
    write_report(tmp_path / "page.html", *parts, shifts)
    screen = Screen(browser, tmp_path / "page.html")
    assert screen.texts("#robustness-rows tr > *") == [
        *("text", "4", "\u22120.50", "1.25"),
        *("<speckle>", "0", "\u2013", "\u2013"),
    ]
    assert screen("nav a[href='#robustness']").is_displayed() and errors(browser) == []


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
    flagged = scores > parts[0].threshold

    def shown():
        return [names.tolist().index(name) for name in screen.texts("#cards .name")]

    found = shown()
    missed = np.flatnonzero(abnormal & ~flagged)
    assert len(missed) and found[: len(missed)] == sorted(missed, key=lambda i: scores[i])
    screen.choose("#order", "down")
    assert (np.diff(scores[shown()]) <= 0).all()
    screen.choose("#order", "up")
    assert (np.diff(scores[shown()]) >= 0).all()
    for outcome, chosen in (
        ("fn", abnormal & ~flagged),
        ("fp", ~abnormal & flagged),
        ("tp", abnormal & flagged),
    ):
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
        return float(
            screen.run("return getComputedStyle(document.querySelector('#cards canvas')).opacity")
        )

    assert opacity() == 1 and screen("#cards .outline").is_displayed()
    screen.choose("#gallery .opacity", 20)
    assert (
        opacity() == pytest.approx(0.2)
        and screen.run("return byId('viewer').querySelector('.opacity').value") == "20"
    )
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
    assert (
        screen.run("return document.activeElement.querySelector('.name').textContent") == names[-2]
    )


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
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    screen.browser.refresh()
    assert colours() != before and screen("#theme").text == "Light theme"
    screen.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    screen("#theme").send_keys("\ue004")  # tab
    focused = (
        "const f = getComputedStyle(document.activeElement); return [f.outlineStyle, "
        "f.outlineWidth]"
    )
    assert screen.run(focused) == ["solid", "3px"]


@pytest.mark.parametrize("opened", [False, True])
def test_browser_nothing_sideways_on_a_phone(screen, opened):
    screen.width(360)
    if opened:
        screen.run("arguments[0].click()", screen("#cards button"))
    assert screen.run("return innerWidth") == 360
    for place in ("document.documentElement", "byId('viewer')"):
        assert screen.run(f"return {place}.scrollWidth <= {place}.clientWidth"), place
