"""The decision: out-of-fold scores, p-values, operating points, calibration, the maps' scale."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from PIL import Image  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402
from scipy.stats import beta, binom  # noqa: E402

from synthmed.io import read_image  # noqa: E402
from synthmed_clip import (  # noqa: E402
    Detector,
    MediCLIP,
    NearestPatch,
    Scores,
    Subspace,
    ZeroShot,
    calibrate,
    fit,
)
from synthmed_clip.backbone.pixels import to_pixels  # noqa: E402
from synthmed_clip.cli.main import main  # noqa: E402
from synthmed_clip.data.images import collect, squares_of  # noqa: E402
from synthmed_clip.data.values import Values  # noqa: E402
from synthmed_clip.evaluation import operating_point, p_value  # noqa: E402
from synthmed_clip.evaluation.calibration import threshold_of  # noqa: E402
from synthmed_clip.evaluation.map_scale import HIGHEST, MapScale  # noqa: E402
from synthmed_clip.evaluation.operating_point import Calibration  # noqa: E402
from synthmed_clip.report.heatmaps import overlay  # noqa: E402
from synthmed_clip.report.raw_maps import png16_coding, save_png16  # noqa: E402

SHORT = MediCLIP(epochs=1, tokens=2)
levels = st.lists(st.integers(0, 12).map(float), min_size=1, max_size=30).map(np.array)


def smooth(rng, count, side=32):
    """Normal images that are exchangeable: smooth noise, each on its own."""
    noise = gaussian_filter(rng.random((count, side, side)), (0, 3, 3))
    low, high = noise.min((1, 2), keepdims=True), noise.max((1, 2), keepdims=True)
    return np.rint((noise - low) / (high - low) * 255).astype(np.uint8)


@pytest.fixture
def further(normals):
    """Six normal images that no fit here has seen."""
    return [image[::-1] for image in normals]


@given(normal=levels, alpha=st.floats(0.01, 0.99), score=st.integers(0, 12).map(float))
def test_a_false_alarm_rate_is_a_level_of_p_values(normal, alpha, score):
    none = np.empty(0)
    if alpha * (len(normal) + 1) < 1 - 1e-9:
        with pytest.raises(ValueError, match=f"normal images: against {len(normal)}, a p-value"):
            operating_point(normal, none, "false-alarm-rate", alpha)
        return
    threshold, figures = operating_point(normal, none, "false-alarm-rate", alpha)
    assert (score > threshold) == (p_value(score, normal) <= alpha + 1e-9)
    assert figures["false alarm rate"].value <= alpha + 1e-9


@given(normal=levels, abnormal=levels, target=st.floats(0.01, 0.99))
def test_rules_against_a_search_of_all_thresholds(normal, abnormal, target):
    every = np.unique(np.concatenate([normal, abnormal]))
    tries = np.concatenate([[every[0] - 1], every, (every[1:] + every[:-1]) / 2])
    sensitivity = np.array([(abnormal > t).mean() for t in tries])
    specificity = np.array([(normal <= t).mean() for t in tries])

    threshold, figures = operating_point(normal, abnormal, "sensitivity", target)
    reached = sensitivity >= target - 1e-9
    assert (abnormal > threshold).mean() == sensitivity[reached].min()
    assert (normal <= threshold).mean() == specificity[reached].max()
    assert figures["sensitivity"].value == (abnormal > threshold).mean()

    threshold, _ = operating_point(normal, abnormal, "specificity", target)
    assert threshold == tries[specificity >= target - 1e-9].min()
    assert threshold == operating_point(normal, abnormal, "percentile", 100 * target)[0]


@settings(max_examples=15)
@given(normal=levels, abnormal=levels)
def test_the_largest_youden_index_and_f1(normal, abnormal):
    every = np.unique(np.concatenate([normal, abnormal]))
    tries = (every[1:] + every[:-1]) / 2
    if not len(tries):
        return
    hits = np.array([(abnormal > t).sum() for t in tries])
    alarms = np.array([(normal > t).sum() for t in tries])
    youden = hits / len(abnormal) - alarms / len(normal)
    f1 = 2 * hits / (hits + alarms + len(abnormal))
    for rule, name, expected in (("youden", "Youden index", youden), ("f1", "F1", f1)):
        threshold, figures = operating_point(normal, abnormal, rule)
        assert figures[name].value == pytest.approx(expected.max())
        assert threshold in tries and figures["threshold"].value == threshold
        assert all(found.low <= found.high for found in figures.values())


def test_intervals_are_clopper_pearsons_and_vovks():
    rng = np.random.default_rng(0)
    normal, abnormal = rng.normal(size=60), rng.normal(1, size=40)
    _, figures = operating_point(normal, abnormal, "false-alarm-rate", 0.1)
    found = figures["sensitivity"]
    hits = round(found.value * 40)
    assert binom.sf(hits - 1, 40, found.low) == pytest.approx(0.025)
    assert binom.cdf(hits, 40, found.high) == pytest.approx(0.025)
    rate = figures["false alarm rate"]  # the sixth largest of 60
    assert rate.value == 6 / 61
    assert beta.cdf([rate.low, rate.high], 6, 55) == pytest.approx([0.025, 0.975])


@pytest.mark.parametrize(("count", "alpha"), [(19, 0.05), (32, 0.1), (101, 0.05)])
def test_calibrated_false_alarms_of_exchangeable_normals(count, alpha):
    """10,000 calibration sets: the mean rate is at most alpha, and the interval covers the rate of
    95 % of them, within four standard errors.
    """
    rng = np.random.default_rng(0)
    sets = rng.random((10_000, count)).tolist()
    rates = 1 - np.array([threshold_of(alpha, scores) for scores in sets])  # of uniform scores
    expected = np.floor(alpha * (count + 1)) / (count + 1)
    assert rates.mean() <= alpha + 4 * rates.std() / 100
    assert rates.mean() == pytest.approx(expected, abs=4 * rates.std() / 100)
    found, figures = operating_point(np.array(sets[0]), np.empty(0), "false-alarm-rate", alpha)
    assert found == pytest.approx(1 - rates[0])
    interval = figures["false alarm rate"]
    covered = np.mean((rates >= interval.low) & (rates <= interval.high))
    assert covered == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 10_000))


def test_left_out_p_values_of_a_real_detector_keep_their_level(backbone):
    """NearestPatch on 9 of exchangeable images, one new image each, 300 times: p at most alpha with
    a probability of at most alpha, within the binomial interval; and not idle, either.
    """
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(300):
        pixels = to_pixels(smooth(rng, 10))
        fitted = NearestPatch().fit(pixels[:9], backbone, None)
        left_out = fitted.score_left_out(pixels[:9]).scores.tolist()
        p_values.append(p_value(float(fitted.score(pixels[9:]).scores), left_out))
    for alpha in (0.1, 0.2, 0.5):
        alarms = sum(p <= alpha + 1e-9 for p in p_values)
        assert alarms <= binom.ppf(0.999, 300, alpha)
        assert alarms >= binom.ppf(0.001, 300, alpha) / 2  # leaving out costs little


@pytest.mark.parametrize("method", [SHORT, NearestPatch()], ids=lambda method: method.name)
def test_out_of_fold_scores_are_those_of_fits_without_the_image(
    method, backbone, normals, tmp_path
):
    options = {"backbone": backbone, "rng": 3, "progress": False, "workers": 0}
    detector = fit(normals, method, folds=3, **options)
    assert detector.normal_source == "out-of-fold" and detector.provenance.folds == 3
    assert len(detector.normal_scores) == 6
    assert detector.threshold == max(detector.normal_scores)
    prediction = detector.predict(255 - normals[0])
    assert prediction.p_value is not None and prediction.p_value_is_heuristic
    assert detector.predict(normals[0], alpha=0.5).p_value >= 1 / 7
    assert fit(normals, method, folds=3, **options).normal_scores == detector.normal_scores
    if method == NearestPatch():  # no randomness: every score is that of some third left out
        pixels = to_pixels(squares_of(collect(normals)[0], 32, Values()))
        for index, score in enumerate(detector.normal_scores):
            candidates = [
                method.fit(
                    pixels[[i for i in range(6) if i not in (index, other)]], backbone, None
                ).score(pixels[index : index + 1])
                for other in range(6)
                if other != index
            ]
            assert any(
                float(found.scores) == pytest.approx(score, abs=1e-6) for found in candidates
            )
    else:
        without = fit(normals, method, **options)
        assert without.fitted.digest() == detector.fitted.digest()  # folds change no detector
        assert without.normal_source is None and without.predict(normals[0]).p_value is None
    detector.save(tmp_path / "d")
    loaded = Detector.load(tmp_path / "d", backbone=backbone)
    for name in ("normal_scores", "normal_source", "map_scale", "provenance"):
        assert getattr(loaded, name) == getattr(detector, name)


def test_folds_go_on_from_their_checkpoints(backbone, normals, tmp_path):
    options = {"backbone": backbone, "rng": 3, "progress": False, "workers": 0, "folds": 2}
    checkpoint = tmp_path / "part"
    first = fit(normals, SHORT, checkpoint=checkpoint, **options)
    names = ["part", "part.fold-1", "part.fold-2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    before = [path.stat().st_mtime_ns for path in tmp_path.iterdir()]
    again = fit(normals, SHORT, checkpoint=checkpoint, **options)
    assert again.normal_scores == first.normal_scores
    assert [path.stat().st_mtime_ns for path in tmp_path.iterdir()] == before  # no epoch anew


def test_folds_that_cannot_be(backbone, normals):
    for folds in (0, 1, 7):
        with pytest.raises(ValueError, match=rf"folds must be from 2 to .* 6, not {folds}"):
            fit(normals, NearestPatch(), backbone=backbone, folds=folds)


def test_which_p_values_are_heuristic(backbone, normals, further):
    def of(method, **options):
        return fit(normals, method, backbone=backbone, rng=0, progress=False, **options)

    assert not of(NearestPatch()).p_values_are_heuristic
    assert not of(ZeroShot()).p_values_are_heuristic
    assert of(NearestPatch(), folds=2).p_values_are_heuristic
    subspace = of(Subspace())
    assert subspace.p_values_are_heuristic
    calibrated = calibrate(subspace, further, target=0.2)
    assert not calibrated.predict(normals[0]).p_value_is_heuristic


def test_calibrate_a_detector(backbone, normals, further, tmp_path):
    detector = fit(normals, NearestPatch(), backbone=backbone)
    abnormal = [255 - image for image in further]
    made = calibrate(detector, further, abnormal, rule="sensitivity", target=0.8)
    scores = detector.score(further).scores.tolist()
    against = detector.score(abnormal).scores.tolist()
    expected, figures = operating_point(
        np.array(scores), np.array(against), "sensitivity", target=0.8
    )
    assert made.threshold == expected and made.provenance.calibration.figures == figures
    assert made.normal_scores == tuple(scores) and made.normal_source == "calibration"
    assert made.predict(further[0]).p_value == p_value(scores[0], scores)
    assert made.map_scale.span == detector.map_scale.span  # maps look as before
    assert made.map_scale.scores == tuple(scores)
    assert len(made.provenance.calibration.normal) == len(made.provenance.calibration.abnormal) == 6
    made.save(tmp_path / "d")
    loaded = Detector.load(tmp_path / "d", backbone=backbone)
    assert loaded.provenance == made.provenance and loaded.threshold == made.threshold


def test_images_that_do_not_calibrate(backbone, normals, further):
    detector = fit(normals[:3], NearestPatch(), backbone=backbone)
    with pytest.raises(ValueError, match="image 2 of 2 is the same picture as a support image"):
        calibrate(detector, [further[0], normals[1]], target=0.5)
    with pytest.raises(ValueError, match="image 3 of 3 is the same picture as image 1 of 3"):
        calibrate(detector, further[:2], further[:1], target=0.5)
    with pytest.raises(ValueError, match=r"alpha=0\.05 needs 19 normal images: against 6"):
        calibrate(detector, further, target=0.05)
    for options, message in (
        ({}, "'false-alarm-rate' needs a target above 0 and below 1, not None"),
        ({"rule": "percentile", "target": 100}, "target above 0 and below 100, not 100"),
        ({"rule": "youden"}, "'youden' needs abnormal images"),
        ({"rule": "sensitivity", "target": 0.9}, "'sensitivity' needs abnormal images"),
        ({"rule": "recall", "target": 0.9}, "rule must be one of false-alarm-rate, .*'recall'"),
    ):
        with pytest.raises(ValueError, match=message):
            calibrate(detector, further, **options)
    with pytest.raises(ValueError, match=r"takes no target, not 0\.5"):
        calibrate(detector, further, normals[4:], rule="f1", target=0.5)
    with pytest.raises(ValueError, match="normal images are needed, not 0"):
        calibrate(detector, [], normals[4:], rule="f1")


@pytest.mark.parametrize(
    "changes", [{"rule": "best"}, {"target": None}, {"target": 2}, {"figures": {"F1": {"v": 1}}}]
)
def test_a_damaged_calibration_is_refused(changes, backbone, normals, further, tmp_path):
    made = calibrate(fit(normals, NearestPatch(), backbone=backbone), further, target=0.2)
    data = asdict(made.provenance.calibration)
    assert Calibration.from_dict(json.loads(json.dumps(data))) == made.provenance.calibration
    with pytest.raises((ValueError, TypeError)):
        Calibration.from_dict(data | changes)


def test_calibrate_on_the_command_line(backbone, configs, normals, tmp_path, capsys):
    from synthmed_clip import load_backbone

    loaded = load_backbone(configs["vit"], None, device="cpu", precision="float32")
    source, out = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    fit(normals[:4], NearestPatch(), backbone=loaded).save(source)
    for name in ("normal", "abnormal", "support"):
        (tmp_path / name).mkdir()
    for i, image in enumerate(normals):
        Image.fromarray(image[::-1]).save(tmp_path / "normal" / f"{i}.png")
        Image.fromarray(255 - image[::-1]).save(tmp_path / "abnormal" / f"{i}.png")
    Image.fromarray(normals[0]).save(tmp_path / "support" / "0.png")
    base = f"calibrate {source} {tmp_path / 'normal'}"
    assert main(f"{base} -o {out} --target 0.2".split()) == 0
    printed = capsys.readouterr().out
    assert "false-alarm-rate 0.2, from 6 normal images" in printed
    assert "false alarm rate 0.1429 [" in printed
    made = Detector.load(out, backbone=backbone)
    assert made.normal_source == "calibration" and len(made.normal_scores) == 6
    before = out.read_bytes()
    assert main(f"{base} -o {out} --rule percentile --target 50".split()) == 1
    assert "is there; name another output, or give --force" in capsys.readouterr().err
    assert out.read_bytes() == before
    both = f"{base} {tmp_path / 'abnormal'} -o {out} --rule youden --force"
    assert main(both.split()) == 0 and "Youden index" in capsys.readouterr().out
    assert main(f"{base} -o {source} --target 0.2 --force".split()) == 1  # what is read stays
    assert (
        main(f"calibrate {source} {tmp_path / 'support'} -o {tmp_path}/x --target .5".split()) == 1
    )
    assert "0.png is the same picture as a support image" in capsys.readouterr().err


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=20),
    st.floats(-9, 9),
    st.floats(0, 9),
)
def test_a_level_rises_with_its_threshold_and_matches_ranks(pairs, threshold, step):
    scores, peaks = map(tuple, zip(*pairs, strict=True))
    scale = MapScale(scores=scores, peaks=peaks)
    level = scale.level_of(threshold)
    if level is None:
        assert np.std(scores) == 0
        return
    assert scale.level_of(threshold + step) >= level - 1e-9
    same = MapScale(scores=scores, peaks=scores)
    assert same.level_of(threshold) == threshold  # a score that is its map's peak
    if len(set(scores)) == len(scores):
        for score, peak in zip(sorted(scores), sorted(peaks), strict=True):
            assert scale.level_of(score) == pytest.approx(peak, abs=1e-9)


def test_the_scale_is_of_images_that_were_left_out(backbone, normals):
    detector = fit(normals, NearestPatch(), backbone=backbone)
    pixels = to_pixels(squares_of(collect(normals)[0], 32, Values()))
    maps = detector.fitted.score_left_out(pixels).maps.double()
    low, high = detector.map_scale.span
    assert low == pytest.approx(float(maps.mean()))
    assert (high - low) / HIGHEST == pytest.approx(float(maps.std(correction=0)))
    assert detector.map_scale.peaks == tuple(maps.amax((1, 2)).tolist())
    one = fit(normals[:1], NearestPatch(), backbone=backbone, rng=0)  # judged by itself it is 0
    mirrored = one.fitted.score(pixels[:1].flip(-1)).maps.double()
    assert one.map_scale.low == pytest.approx(float(mirrored.mean())) and one.map_scale.low > 0
    learnt = fit(normals, SHORT, backbone=backbone, progress=False)
    assert learnt.map_scale.span == (0, 1) and learnt.map_scale.unit == "probability"
    assert learnt.map_scale.level_of(0.7) == 0.7
    assert MapScale.of(Scores(torch.ones(2), torch.empty(2, 0, 0)), False).level_of(1) is None


def test_png16_clips_nothing(tmp_path):
    scale = MapScale(0.1, 0.1 + 8 * 0.02, "standard deviations of normal")
    inside = np.array([[0.1 - 15 * 0.02, 0.1], [0.5, 0.1 + 47 * 0.02]])
    save_png16(inside, scale, tmp_path / "map.png")
    zero, step = png16_coding(scale)
    levels = read_image(tmp_path / "map.png").array
    assert zero + step * levels == pytest.approx(inside, abs=step / 2 * 1.001)
    for value in (0.1 - 17 * 0.02, 0.1 + 49 * 0.02):
        with pytest.raises(ValueError, match=r"go beyond what 16 bits hold.* write it as float"):
            save_png16(np.array([[0.1, value]]), scale, tmp_path / "bad.png")
    assert not (tmp_path / "bad.png").exists()


def test_an_overlay_hides_nothing_of_normal_and_marks_the_decision():
    image = np.full((300, 400), 80, np.uint8)
    values = np.zeros((300, 400))
    values[100:150, 200:260] = 6.0
    scale = MapScale(0.0, 8.0, "standard deviations of normal")
    picture = overlay(image, values, scale, level=3.0, peak=(230, 125))
    assert picture.shape[1] == 400 and picture.shape[0] > 300
    far = np.ones((300, 400), bool)
    far[90:160, 190:270] = False
    assert (picture[:300][far] == 80).all()  # below two deviations the image is as it was
    assert min(picture[100, 230]) > 190 and min(picture[125, 200]) > 190  # the contour
    assert np.ptp(picture[110, 215].astype(int)) > 60  # inside there is colour
    assert tuple(picture[125, 230]) == tuple(picture[110, 215])  # the peak's own pixel is seen
    assert min(picture[125, 238]) > 190  # beside it is the cross
    plain = overlay(image, values, scale)
    assert (plain[:300].min(-1) > 190).sum() == 0


@pytest.mark.parametrize(
    "options", [{"low": 1.0}, {"high": float("nan")}, {"scores": (1.0,)}, {"peaks": (np.inf,)}]
)
def test_a_scale_that_spans_nothing(options):
    with pytest.raises(ValueError, match=r"a map scale must|scores, but"):
        MapScale(**options)


def test_a_peak_is_where_the_map_is_largest(backbone, normals):
    prediction = fit(normals, NearestPatch(), backbone=backbone).predict(255 - normals[0])
    x, y = prediction.peak
    assert prediction.anomaly_map[y, x] == prediction.anomaly_map.max()
    marked = replace(prediction, anomaly_map=np.eye(3, 5, 2, dtype=np.float32) * [[1], [5], [2]])
    assert marked.peak == (3, 1) and replace(prediction, anomaly_map=None).peak is None
