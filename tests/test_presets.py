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
    """Half the side is drawn from 0.05 to 0.2 of the image's, the factor from 0.05 to 0.95."""
    made = samples(name, 300, soft=True)
    boxes = [scipy.ndimage.find_objects((s.mask > 0).astype(np.uint8))[0] for s in made]
    sides = np.array([[b.stop - b.start for b in box] for box in boxes])
    assert (sides[:, 0] == sides[:, 1]).all() and uniform((sides[:, 0] + 0.5) / 112, 0.1, 0.4)
    assert all((s.mask[box] > 0).all() for s, box in zip(made, boxes, strict=True))
    factors = np.array([s.mask.max() for s in made])
    assert uniform(factors, 0.05, 0.95)
    if name == "fpi":  # what is labelled by the factor is that share of the donor
        for sample, factor in zip(made, factors, strict=True):
            donor = DONORS[sample.record["parameters"]["donor"]["index"]]
            mixed = (1 - factor) * IMAGE + factor * donor
            np.testing.assert_allclose(sample.image, np.where(sample.mask > 0, mixed, IMAGE), 1e-5)


def members_of(sample):
    """What each repetition drew."""
    return sample.record["parameters"]["members"]


def sides_of(shape):
    """The sides of a figure's shape, in pixels; shear and rotation leave the area."""
    return 2 * np.linalg.norm(np.array(shape["to_pixels"]), axis=0)


def same_law(found, expected):
    return scipy.stats.ks_2samp(found, expected).pvalue > 1e-3


def test_nsa_pastes_one_to_three_patches_of_gamma_sides():
    """train_chest_xray.py and patch_ex: half of each side is 0.05 + Gamma(2, 0.03) of the image's;
    the patch is then resized by a clipped normal number, at most to 0.4 of the image; after the
    first, a coin decides on each further one.
    """
    made = [members_of(s) for s in samples("nsa", 400)]
    coins = 1 + np.random.default_rng(0).integers(2, size=(4000, 2)).sum(axis=1)
    expected = np.bincount(coins, minlength=4)[1:] / len(coins)
    counts = np.bincount([len(members) for members in made], minlength=4)[1:]
    assert scipy.stats.chisquare(counts, expected * counts.sum()).pvalue > 1e-3

    rng, n = np.random.default_rng(1), 4000
    halves = 0.05 + rng.gamma(2, 0.03, size=(n, 2))
    resized = np.clip(rng.normal(1, 0.5, size=n), 0.7, 1.3)
    plain = np.minimum(2 * halves * resized[:, None], 0.4)
    patches = [p for members in made for p in members]
    sides = np.array([sides_of(p["mask"]["shape"]) for p in patches]) / 112
    assert same_law(sides[:, 0], plain[:, 0]) and same_law(sides[:, 1], plain[:, 1])
    assert same_law(sides.prod(axis=1), plain.prod(axis=1))
    assert same_law([p["scale"] for p in patches], resized)
    assert all(p["rotation"] == [0.0] for p in patches)
    assert preset("nsa").member.blend == "mixed"  # of chest X-rays, says the authors' readme


def test_nsa_labels_by_a_logistic_function_of_the_change():
    recipe = preset("nsa").member
    for seed in range(8):
        soft = recipe(IMAGE, rng=seed, donors=DONORS, value_range=(0, 1), soft=True)
        hard = recipe(IMAGE, rng=seed, donors=DONORS, value_range=(0, 1)).mask
        change = 255 * np.abs(soft.image - IMAGE)
        seen = hard & (change >= 1)
        expected = 1 / (1 + np.exp(-(change - 4) / 2))
        np.testing.assert_allclose(soft.mask[seen], expected[seen], atol=1e-5)
        assert not soft.mask[~seen].any()
    with pytest.raises(ValueError, match="logistic must be a pair"):
        type(recipe)(logistic=(1.0,))


def test_nsa_overlaps_the_object_by_half():
    """0.7 of the patch's object, which is 0.7 of the patch."""
    image = np.zeros((112, 112))
    image[30:80, 30:80] = phantom("smooth", (50, 50), "float64") / 2 + 0.5
    roi = foreground(image)
    shares = []
    for seed in range(60):
        mask = preset("nsa").member(image, rng=seed, roi=roi).mask
        shares.append((mask & roi).sum() / mask.sum())
    assert 0.49 <= min(shares) < 0.7


def test_draem_lays_textures_where_noise_exceeds_a_threshold():
    """data_loader.py: 2**k cells along each axis, k from 0 to 5; the noise, turned by up to 90
    degrees, above 0.5; where that is nowhere, the image is a normal one. The code interpolates the
    turned noise between pixels, here between halves of them.
    """
    perlin = pytest.importorskip("perlin_numpy")
    image = phantom("smooth", (128, 128), "float64")
    drawn, covers = [], []
    for seed in range(250):
        sample = preset("draem")(image, rng=seed, donors=[1 - image])
        drawn.append(sample.record["parameters"])
        covers.append(sample.mask.mean())
    shapes = [d["mask"]["shape"] for d in drawn]
    assert uniform([d["opacity"] for d in drawn], 0.1, 1)
    assert all(s["box"] == [128, 128] for s in shapes)
    assert {c for s in shapes for c in s["cells"]} == {1, 2, 4, 8, 16, 32}
    assert sum(s["cells"][0] != s["cells"][1] for s in shapes) > 150

    plain, rng = [], np.random.default_rng(0)
    np.random.seed(0)  # noqa: NPY002 - the reference draws from there
    while len(plain) < 250:
        cells = tuple(2 ** rng.integers(0, 6, size=2))
        noise = perlin.generate_perlin_noise_2d((256, 256), cells)
        turned = scipy.ndimage.rotate(noise, rng.uniform(-90, 90), reshape=False, order=1)[::2, ::2]
        if (turned > 0.5).any():
            plain.append((turned > 0.5).mean())
    assert same_law(covers, plain)


def test_mtml_repeats_one_task_and_blends_twice_as_often():
    """base_task.py: one task an image, again with probability one half each time, at most four."""
    made = samples("mtml", 500)
    assert all(len(set(s.record["anomalies"])) == 1 for s in made)
    kinds = [s.record["anomalies"][0] for s in made]
    names, counts = np.unique(kinds, return_counts=True)
    assert names.tolist() == ["CutPaste", "Sink", "SmoothIntensityChange", "Source"]
    expected = np.array([2, 1, 1, 1]) / 5 * len(made)
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3
    times = np.bincount([len(s.record["anomalies"]) for s in made], minlength=5)[1:]
    assert scipy.stats.chisquare(times, np.array([4, 2, 1, 1]) / 8 * len(made)).pvalue > 1e-3


def test_mtml_figures_cover_what_a_plain_reading_covers():
    """nsa_sample_dimension and task_shape.py: sides of 0.03 + Gamma(2, 0.1), clipped to 0.06 to
    0.8; a shear of deviation 0.2, a turn of up to 90 degrees; shrunk where the box then exceeds
    0.8 of the image.
    """
    recipe, rng, n = preset("mtml"), np.random.default_rng(0), 224
    image = phantom("smooth", (n, n), "float64")
    mask = recipe.options[0].member.mask
    for kind, member in zip(("ellipse", "rectangle"), mask.options, strict=True):
        found = [member(image, rng=seed).mask.mean() for seed in range(300)]
        plain = []
        for _ in range(1000):
            sides = np.clip(0.03 + rng.gamma(2, 0.1, size=2), 0.06, 0.8)
            shear = np.array([[1, rng.normal(0, 0.2)], [rng.normal(0, 0.2), 1]])
            angle = rng.uniform(-np.pi / 2, np.pi / 2)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            t = np.linspace(0, 2 * np.pi, 400)
            outline = {
                "ellipse": np.stack([np.cos(t), np.sin(t)]),
                "rectangle": np.array([[1, 1, -1, -1], [1, -1, 1, -1]]),
            }[kind]
            to_image = turn @ shear @ np.diag(sides / 2)
            extent = np.ptp(to_image @ outline, axis=1).max()
            area = {"ellipse": np.pi, "rectangle": 4.0}[kind] * abs(np.linalg.det(to_image))
            plain.append(area * min(1, 0.8 / extent) ** 2)
        assert same_law(found, plain)


def test_mtml_shades_by_gamma_steps():
    """exp_VINDR: a scale of 0.2 on images from -1 to 1, half of it plus Gamma(3, 0.2)."""
    member = preset("mtml").options[1].member
    image = np.full((64, 64), 0.5)
    image[0] = np.linspace(0, 1, 64)
    steps = [member(image, rng=s).record["parameters"]["step"] for s in range(300)]
    plain = (0.1 + np.random.default_rng(0).gamma(3, 0.2, size=3000)) / 2
    assert same_law(np.abs(steps) / 255, plain)
    assert abs(np.mean(np.sign(steps))) < 0.25


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
