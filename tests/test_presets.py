"""The statistics of each preset, against a plain reading of its paper."""

import numpy as np
import PIL.Image
import pytest
import scipy

from synthmed import NothingToSee, foreground, preset
from synthmed.cli import main
from synthmed.presets import PRESETS
from synthmed.testing import phantom

IMAGE = phantom("smooth", (112, 112), "float64")
DONORS = [phantom("smooth", (112, 112), "float64", seed=s) for s in (1, 2)]


def samples(name, n, **call):
    recipe, found = preset(name), []
    for seed in range(n):
        try:
            found.append(recipe(IMAGE, rng=seed, donors=DONORS, **call))
        except NothingToSee:
            continue
    assert len(found) > 0.9 * n
    return found


def uniform(values, low, high):
    return scipy.stats.kstest(values, scipy.stats.uniform(low, high - low).cdf).pvalue > 1e-3


def cover(name, n=150):
    return np.mean([s.mask.mean() for s in samples(name, n)])


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_anomalies_of_images_and_volumes(name):
    for image in (IMAGE, phantom("smooth", (16, 40, 44), "int16")):
        made = [preset(name)(image, rng=seed) for seed in range(6)]
        assert any(s.mask.any() for s in made)


def test_small_covers_less_than_half_of_what_paper_covers_and_diffuse_more_than_it():
    paper = cover("paper")
    assert cover("small") < paper / 2 and cover("diffuse") > paper


def test_diffuse_changes_little():
    def change(name):
        return np.median([np.abs(s.image - IMAGE)[s.mask].mean() for s in samples(name, 100)])

    assert change("diffuse") < change("paper")


def test_all_draws_every_anomaly():
    kinds = [s.record["anomalies"][0] for s in samples("all", 400)]
    names, counts = np.unique(kinds, return_counts=True)
    assert len(names) == 15 and counts[names != "Interpolation"].min() > 8


@pytest.mark.parametrize("name", ["fpi", "pii"])
def test_fpi_and_pii_mix_squares_by_a_uniform_factor(name):
    made = samples(name, 300, soft=True)
    boxes = [scipy.ndimage.find_objects((s.mask > 0).astype(np.uint8))[0] for s in made]
    sides = np.array([[b.stop - b.start for b in box] for box in boxes])
    assert (sides[:, 0] == sides[:, 1]).all() and uniform((sides[:, 0] + 0.5) / 112, 0.1, 0.4)
    assert all((s.mask[box] > 0).all() for s, box in zip(made, boxes, strict=True))
    assert uniform([s.mask.max() for s in made], 0.05, 0.95)


def test_nsa_pastes_one_to_three_patches_of_gamma_sides():
    drawn = [s.record["parameters"]["members"] for s in samples("nsa", 400)]
    counts = np.bincount([len(members) for members in drawn], minlength=4)[1:]
    assert scipy.stats.chisquare(counts, np.array([1, 2, 1]) / 4 * counts.sum()).pvalue > 1e-3
    patches = [p for members in drawn for p in members]
    sides = np.array([2 * np.diag(p["mask"]["shape"]["to_pixels"]) for p in patches]) / 112
    law = scipy.stats.gamma(2, loc=0.06, scale=0.1)
    assert sides.min() > 0.05 and sides.max() <= 0.8
    assert scipy.stats.kstest(sides.ravel(), law.cdf).pvalue > 1e-4
    assert all(p["rotation"] == [0.0] for p in patches)
    scales = np.array([p["scale"] for p in patches])
    ends = scipy.stats.norm(1, 0.25).cdf(0.7)
    assert scales.min() == 0.7 and abs((scales == 0.7).mean() - ends) < 0.04


def test_nsa_labels_by_a_logistic_function_of_the_change():
    recipe = preset("nsa").member
    for seed in range(8):
        soft = recipe(IMAGE, rng=seed, donors=DONORS, value_range=(0, 1), soft=True)
        hard = recipe(IMAGE, rng=seed, donors=DONORS, value_range=(0, 1)).mask
        change = 255 * np.abs(soft.image - IMAGE)
        seen = hard & (change >= 1)
        expected = 1 / (1 + np.exp(-(change - 24) / 12))
        np.testing.assert_allclose(soft.mask[seen], expected[seen], atol=1e-5)
        assert not soft.mask[~seen].any()
    with pytest.raises(ValueError, match="logistic must be a pair"):
        type(recipe)(logistic=(1.0,))


def test_nsa_overlaps_the_object_by_a_quarter():
    image = np.zeros((112, 112))
    image[30:80, 30:80] = phantom("smooth", (50, 50), "float64") / 2 + 0.5
    roi = foreground(image)
    shares = []
    for seed in range(60):
        mask = preset("nsa").member(image, rng=seed, roi=roi).mask
        shares.append((mask & roi).sum() / mask.sum())
    assert 0.25 <= min(shares) < 0.5


def test_draem_lays_textures_where_noise_exceeds_a_threshold():
    drawn = [s.record["parameters"] for s in samples("draem", 250)]
    assert uniform([d["opacity"] for d in drawn], 0.1, 1)
    octaves = np.bincount([d["mask"]["option"] for d in drawn], minlength=7)
    assert scipy.stats.chisquare(octaves).pvalue > 1e-3
    assert all(d["mask"]["parameters"]["shape"]["box"] == [112, 112] for d in drawn)


def test_mtml_blends_twice_as_often_as_it_deforms_or_shades():
    made = samples("mtml", 500)
    kinds = [s.record["anomalies"][0] for s in made]
    names, counts = np.unique(kinds, return_counts=True)
    assert names.tolist() == ["CutPaste", "Sink", "SmoothIntensityChange", "Source"]
    expected = np.array([2, 1, 1, 1]) / 5 * len(made)
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3


def test_the_gallery_shows_every_anomaly_on_every_modality(tmp_path, capsys):
    for modality in ("ct", "mr"):
        (tmp_path / modality).mkdir()
        for seed in range(3):
            pixels = phantom("smooth", (64, 64), seed=seed)
            PIL.Image.fromarray(pixels).save(tmp_path / modality / f"{seed}.png")
    folders = [str(tmp_path / m) for m in ("ct", "mr")]
    out = tmp_path / "gallery.png"
    command = ["gallery", str(out), "--source", *folders, "--size", "64", "--per-source", "1"]
    assert main(command) == 0
    with PIL.Image.open(out) as sheet:
        height, pixels = sheet.height, np.asarray(sheet)
    assert main([*command, "--roi", "none", "--seed", "1"]) == 0
    with PIL.Image.open(out) as sheet:
        assert sheet.height == height and (np.asarray(sheet) != pixels).any()
    kinds = len(preset("all").options) + 6
    assert height > kinds * 200  # a row each
    assert main(["gallery", str(tmp_path / "gallery.jpg")]) == 2
    assert main([*command, "--per-source", "0"]) == 2
    problems = capsys.readouterr().err
    assert "OUT must be a PNG file" in problems and "per-source must be at least 1" in problems
