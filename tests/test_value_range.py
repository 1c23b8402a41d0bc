"""The value range decides what an anomaly is: padding, hot pixels, the command line's option."""

import json

import numpy as np
import pytest
import scipy

from synthmed import CutPaste, EllipseMask, NothingToSee, Source, preset
from synthmed.cli import main
from synthmed.generate import Settings, generate, make_plan, verify
from synthmed.io import Image, dwarfed_by_extremes, encode

SMOOTH = scipy.ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(96, 96)), 4)
TISSUE = 500 + 3000 * (SMOOTH - SMOOTH.min()) / np.ptp(SMOOTH)


def padded_ct():
    """Soft tissue in a circle, padding outside the scanner's field."""
    ct = np.full((96, 96), -3024, np.int16)
    y, x = np.mgrid[:96, :96]
    body = (y - 48) ** 2 + (x - 48) ** 2 < 25**2
    ct[body] = 40 + 20 * np.random.default_rng(0).normal(size=body.sum())
    return ct


@pytest.mark.parametrize(
    "generator",
    [Source(EllipseMask()), CutPaste(), CutPaste(label="changed"), preset("release")],
    ids=["Source", "CutPaste", "changed", "release"],
)
def test_clipped_padding_is_no_anomaly(generator):
    ct = padded_ct()
    seen = np.clip(ct, -1000, 400).astype(int)
    made = 0
    for seed in range(60):
        try:
            sample = generator(ct, rng=seed, value_range=(-1000, 400))
        except NothingToSee:
            continue
        if not sample.mask.any():  # Identity
            continue
        made += 1
        assert np.abs(sample.image - seen)[sample.mask].max() >= 1400 / 255
    assert made > 30


def test_what_lies_outside_the_range_is_seen_clipped_to_it():
    """The same generator on the image and on the image clipped gives the same changes."""
    ct = padded_ct()
    for seed in range(10):
        sample = preset("paper")(ct, rng=seed, value_range=(-1000, 400))
        clipped = preset("paper")(np.clip(ct, -1000, 400), rng=seed, value_range=(-1000, 400))
        assert np.array_equal(sample.mask, clipped.mask)
        assert np.array_equal(sample.image[sample.mask], clipped.image[clipped.mask])


def test_an_image_wholly_outside_the_range_is_constant():
    with pytest.raises(NothingToSee, match="constant"):
        Source()(TISSUE, rng=0, value_range=(-10, 10))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_rounding_to_the_dtype_does_not_leave_the_range(dtype):
    """0.1 and 0.7 are no values of these types: the nearest of half precision lie outside."""
    image = ((TISSUE - 500) / 3000).astype(dtype)
    recipe = preset("paper")
    for seed in range(10):
        after = recipe(image, rng=seed, value_range=(0.1, 0.7)).image
        changed = after[after != image].astype(np.float64)
        assert changed.size and changed.min() >= 0.1 and changed.max() <= 0.7


@pytest.mark.parametrize(
    ("value_range", "said"),
    [((1.0001, 1.0002), "at least two values"), ((0, 1e6), "does not fit the image's dtype")],
)
def test_ranges_that_half_precision_does_not_hold(value_range, said):
    with pytest.raises(ValueError, match=said):
        Source()(TISSUE.astype(np.float16), rng=0, value_range=value_range)


def with_hot_pixel():
    image = TISSUE.astype(np.uint16)
    image[3, 3] = 65535
    return image


def without_data():
    image = TISSUE.astype(np.float32)
    image[:20] = -3.4028235e38
    return image


@pytest.mark.parametrize(
    ("image", "is_told"),
    [
        (TISSUE.astype(np.uint16), False),
        (with_hot_pixel(), True),
        (without_data(), True),
        (padded_ct(), True),  # soft tissue alone: 100 of 3200 values
        ((TISSUE > 2000).astype(np.uint8), False),  # two values
        (np.uint8(TISSUE / 200), False),  # of low contrast, but evenly so
    ],
    ids=["plain", "hot pixel", "no data", "padding", "mask", "low contrast"],
)
def test_extremes_that_dwarf_the_tissue_are_told(image, is_told):
    said = dwarfed_by_extremes(Image(image), (float(image.min()), float(image.max())))
    assert (said is not None) == is_told
    if said:
        assert "--value-range" in said


@pytest.fixture
def hot(tmp_path):
    folder = tmp_path / "hot"
    folder.mkdir()
    (folder / "a.png").write_bytes(encode(Image(with_hot_pixel()), ".png"))
    return folder


def test_a_run_tells_of_a_hot_pixel_and_the_option_mends_it(hot, tmp_path, capsys):
    command = ["generate", str(hot), "OUT", "--size", "native", "--per-image", "4"]

    def run(out, *more):
        words = [str(tmp_path / out) if w == "OUT" else w for w in command]
        status = main([*words, "--workers", "1", *more])
        return status, capsys.readouterr().err

    status, said = run("own")
    assert status == 0 and "note on a.png: 99 % of the values" in said
    for words, expected in (
        (("500", "3500"), (500, 3500)),
        (("percentile", "0.5", "99.5"), tuple(np.percentile(with_hot_pixel(), (0.5, 99.5)))),
    ):
        out = tmp_path / words[0]
        assert run(words[0], "--value-range", *words) == (0, "")
        lines = [json.loads(text) for text in (out / "manifest.jsonl").read_text().splitlines()]
        assert all(line["record"]["value_range"] == list(expected) for line in lines)
        assert all(not found.problems for found in verify(out / "manifest.jsonl"))
    status, said = run("500", "--value-range", "500", "3600")
    assert status == 2 and "value_range was [500.0, 3500.0], is [500.0, 3600.0]" in said
    assert run("dtype", "--value-range", "dtype")[0] == 0


def test_a_range_below_zero_on_the_command_line(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tif").write_bytes(encode(Image(padded_ct()), ".tif"))
    out = tmp_path / "out"
    command = ["generate", str(tmp_path / "in"), str(out), "--size", "native", "--workers", "1"]
    assert main([*command, "--per-image", "2", "--value-range", "-1000", "400"]) == 0
    record = json.loads((out / "manifest.jsonl").read_text().splitlines()[0])["record"]
    assert record["value_range"] == [-1000, 400]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("window", "without a window"),
        ((-5, 10), "does not fit the image's dtype uint16"),
        ((4000, 4100), "lie on one side"),
        (("percentile", 0, 0.001), "gives"),
    ],
)
def test_a_rule_that_gives_no_range_refuses_the_image_by_name(hot, rule, said):
    image = TISSUE.astype(np.uint16)
    image[:4] = image.min()
    (hot / "a.png").write_bytes(encode(Image(image), ".png"))
    with pytest.raises(ValueError, match=said):
        make_plan([str(hot)], Settings(size="native", value_range=rule))


def test_settings_check_the_rule():
    with pytest.raises(TypeError, match="value_range must be"):
        Settings(value_range="full")
    assert Settings(value_range=[0, np.float32(2)]).value_range == (0, 2)


def test_the_region_of_an_unclear_ground_is_told(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(encode(Image(np.uint8(TISSUE / 14)), ".png"))
    settings = Settings(size="native", per_image=1, roi="auto")
    summary = generate(tmp_path / "in", tmp_path / "out", settings)
    assert "neither evenly dark nor evenly white" in " ".join(summary.notes["a.png"])
