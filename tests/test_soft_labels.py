"""``soft=True``: labels that say how much changed."""

import json

import numpy as np
import pytest

from synthmed import (
    CutPaste,
    EllipseMask,
    Identity,
    Interpolation,
    Lesion,
    OneOf,
    Repeat,
    SmoothIntensityChange,
)
from synthmed.generate import Settings, generate, verify
from synthmed.io import read_image
from synthmed.testing import phantom

IMAGE = phantom("smooth", (48, 40))
DONORS = [phantom("noise", (48, 40), seed=1)]


@pytest.mark.parametrize("blend", ["linear", "poisson"])
def test_the_label_of_an_interpolation_is_its_factor(blend):
    sample = Interpolation(blend=blend)(IMAGE, rng=3, donors=DONORS, soft=True)
    assert set(np.unique(sample.mask)) == {0, np.float32(sample.record["parameters"]["factor"])}


@pytest.mark.parametrize("anomaly", [Lesion(), CutPaste(), SmoothIntensityChange()], ids=repr)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_the_label_is_the_visible_change(anomaly, dtype):
    image = phantom("smooth", (48, 40, 3), dtype, channel_axis=2)
    low, high = (0, 255) if dtype == "uint8" else (float(image.min()), float(image.max()))
    for seed in range(4):
        soft = anomaly(image, rng=seed, soft=True, channel_axis=2)
        plain = anomaly(image, rng=seed, channel_axis=2)
        change = np.abs(soft.image.astype(float) - image).max(axis=2) / (high - low)
        np.testing.assert_allclose(soft.mask, change, atol=1e-6)
        assert not soft.mask[~plain.mask].any() and soft.mask.max() >= 1 / 255 - 1e-6


def test_of_several_the_label_is_the_largest():
    both = (Interpolation(factor=0.25) + Interpolation(factor=0.75))(
        IMAGE, rng=3, donors=DONORS, soft=True
    )
    assert set(np.unique(both.mask)) <= {0, np.float32(0.25), np.float32(0.75)}
    first = Repeat(Interpolation(factor=0.5), times=3)(IMAGE, rng=3, donors=DONORS, soft=True)
    assert set(np.unique(first.mask)) == {0, 0.5}
    assert not Identity()(IMAGE, rng=3, soft=True).mask.any()
    assert EllipseMask()(IMAGE, rng=3, soft=True).mask.dtype == np.float32


def test_the_record_says_so_and_only_where_it_is_so():
    plain, soft = (Lesion()(IMAGE, rng=3, soft=is_soft).record for is_soft in (False, True))
    assert soft.pop("soft") is True and plain == soft
    with pytest.raises(TypeError, match="soft must be True or False, got 'yes'"):
        Lesion()(IMAGE, rng=3, soft="yes")


@pytest.mark.parametrize("layout", ["pairs", "mvtec"])
def test_a_data_set_of_soft_labels(tmp_path, layout):
    recipe = OneOf(Interpolation(), Lesion())
    settings = Settings(recipe, per_image=2, size=64, soft=True, layout=layout)
    generate("sample:retina", tmp_path / "out", settings, workers=1)
    manifest = tmp_path / "out" / "manifest.jsonl"
    lines = [json.loads(t) for t in manifest.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if "record" in line]
    for line in lines:
        label = read_image(tmp_path / "out" / line["files"]["mask"]).array
        assert label.dtype == np.float32 and 0 < label.max() <= 1
        if line["kind"] == "Interpolation":
            assert label.max() == np.float32(line["record"]["parameters"]["parameters"]["factor"])
    assert len(lines) and not any(d.problems for d in verify(manifest))
