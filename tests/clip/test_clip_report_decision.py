"""What the report says of a detector's decision, and of what knows nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the detector needs the extra `clip`")
pytest.importorskip("open_clip", reason="the detector needs the extra `clip`")

from sklearn.metrics import average_precision_score, f1_score

from synthmed_clip import MediCLIP, NearestPatch, Subspace, calibrate, fit
from synthmed_clip.data.layouts import read_dataset
from synthmed_clip.evaluation.evaluate import evaluate_scores
from synthmed_clip.report.data import report_data
from synthmed_clip.report.decision import decision_of


def words(detector):
    return " ".join(decision_of(detector)).replace("\u00a0", " ")


@pytest.fixture(scope="module")
def nearest(normals, backbone):
    return fit(normals[:3], NearestPatch(), backbone=backbone)


def test_left_out_scores_and_their_p_values(nearest, normals, backbone):
    said = words(nearest)
    assert "largest score of its 3 support images, each left out" in said
    assert "against 3 support images" in said and "at least 1/4 = 0.25" in said
    assert "They keep their level" in said and "heuristic" not in said
    subspace = fit(normals[:3], Subspace(), backbone=backbone)
    assert "They are heuristic" in words(subspace)


def test_folds_are_named(normals, backbone):
    method = MediCLIP(layers=(2, 4), epochs=1)
    options = {"backbone": backbone, "rng": 0, "progress": False}
    said = words(fit(normals[:4], method, folds=2, **options))
    assert "judged by one of 2 refits" in said and "fewer images than the detector" in said
    assert "each out of its fold" in said and "They are heuristic" in said
    said = words(fit(normals[:2], method, **options))
    assert "best separates (balanced accuracy)" in said and "no p-values" in said


def test_a_calibration_is_told_with_its_figures(nearest, normals):
    further, ill = normals[3:], [255 - image for image in normals[:4]]
    made = calibrate(nearest, further, ill, rule="sensitivity", target=0.5)
    said, figures = words(made), made.provenance.calibration.figures
    assert "set by calibrate: sensitivity 0.5, from 3 normal, 4 abnormal images" in said
    found = figures["specificity"]
    assert f"specificity {found.value:.4g} ({found.low:.4g} to {found.high:.4g})" in said
    assert "against 3 normal images of the calibration" in said and "They keep their level" in said
    assert "support images" not in said and "flatter" not in said
    assert "these figures flatter" in words(calibrate(nearest, further, ill, rule="youden"))


def test_a_threshold_set_by_hand_is_not_called_the_largest_score(nearest):
    said = words(replace(nearest, threshold=nearest.threshold + 1))
    assert "set by hand" in said and "is the largest" not in said


def test_baselines_are_those_of_scores_that_know_nothing(nearest, scans):
    dataset = read_dataset(scans)
    scores = nearest.score([item.image for item in dataset.test])
    evaluation = evaluate_scores(scores, dataset.test, nearest.threshold, resamples=20)
    shown = report_data(nearest, dataset, evaluation, scores.maps.numpy())["baselines"]
    kinds = np.array([item.abnormal for item in dataset.test])
    assert shown["Image"]["AP"][0] == pytest.approx(average_precision_score(kinds, kinds * 0.0))
    assert shown["Image"]["F1-max"][0] == pytest.approx(f1_score(kinds, kinds | True))
    rng = np.random.default_rng(0)
    blind = replace(scores, maps=scores.maps.new_tensor(rng.random(scores.maps.shape)))
    for name, found in evaluate_scores(blind, dataset.test, 0, resamples=20).pixel.items():
        assert found.value == pytest.approx(shown["Pixel"][name][0], abs=0.03), name
