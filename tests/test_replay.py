"""Records: what they hold, what replaying refuses, and results that must not change."""

import hashlib

import numpy as np
import pytest

import synthmed
from synthmed import CutPaste, NothingToSee, SmoothIntensityChange, Source
from synthmed.testing import phantom

IMAGE = phantom("smooth", (40, 48))


def test_what_a_record_says():
    record = CutPaste()(
        phantom("smooth", (3, 40, 48), channel_axis=0), rng=1, channel_axis=0, spacing=(1, 2)
    ).record
    assert set(record) == {
        "synthmed",
        "generator",
        "parameters",
        "anomalies",
        "shape",
        "dtype",
        "value_range",
        "channel_axis",
        "spacing",
    }
    assert (
        record["synthmed"] == synthmed.__version__
        and record["shape"] == [3, 40, 48]
        and record["dtype"] == "|u1"
    )
    assert (
        record["value_range"] == [0, 255]
        and record["channel_axis"] == 0
        and record["spacing"] == [1, 2]
    )
    assert synthmed.from_dict(record["generator"]) == CutPaste()


@pytest.mark.parametrize(
    ("change", "image", "message"),
    [
        ({}, IMAGE[1:], r"of shape \(40, 48\) and dtype uint8, got \(39, 48\)"),
        ({}, IMAGE.astype(float), "got .* and float64"),
        ({"parameters": None}, IMAGE, "record has no 'parameters'"),
        ({"spacing": None, "dtype": None}, IMAGE, "record has no 'dtype', 'spacing'"),
    ],
)
def test_what_replaying_refuses(change, image, message):
    record = SmoothIntensityChange()(IMAGE, rng=1).record
    with pytest.raises(ValueError, match=message):
        synthmed.replay({k: v for k, v in record.items() if k not in change}, image)


def test_donors_are_those_that_were_used():
    donors = [phantom("noise", (40, 48), seed=s) for s in range(2)]
    sample = CutPaste()(IMAGE, rng=1, donors=donors)
    index = sample.record["parameters"]["donor"]["index"]
    np.testing.assert_array_equal(
        synthmed.replay(sample.record, IMAGE, donors=donors).image, sample.image
    )
    for other, message in (
        (None, "no donors were given"),
        (donors[:0] or donors[::-1], "its digest differs"),
    ):
        with pytest.raises(ValueError, match=message):
            synthmed.replay(sample.record, IMAGE, donors=other)
    if index == 1:
        with pytest.raises(ValueError, match="only 1 were given"):
            synthmed.replay(sample.record, IMAGE, donors=donors[:1])


def test_a_record_of_another_version_warns():
    record = Source()(IMAGE, rng=1).record | {"synthmed": "0.0.1"}
    with pytest.warns(UserWarning, match=r"of synthmed 0\.0\.1, this is"):
        synthmed.replay(record, IMAGE)


def test_a_record_on_an_image_that_shows_nothing():
    record = Source()(IMAGE, rng=1).record
    with pytest.raises(NothingToSee):
        synthmed.replay(record, np.full_like(IMAGE, 7))


# Masks and 8-bit images for fixed seeds: where one changes, so does every data set made before, and
# the version must too. `python tests/test_replay.py` prints them anew.
GOLDEN = {
    "paper 2": [
        "d4f6feff 337fac77",
        "3ebdbe7a 565627ab",
        "deaea6b1 53f1b0c4",
        "f67a8345 8d8cfdac",
        "a09e4aaa 21d5f365",
        "76a62aeb 7484baa9",
    ],
    "paper 3": [
        "fc56d46e 5bab9e8f",
        "62014322 c513519b",
        "fb74807b e58e6149",
        "107a4f16 6d427e16",
        "b2353938 b3f1d117",
        "07c704fb e6cdfb0f",
    ],
    "release 2": [
        "a8dc6693 52d80630",
        "86f6ee35 4b1d7851",
        "1c2e0764 7d9a4383",
        "0070dbed 5f8dfb29",
        "6a8a5c3f e84842c3",
        "d7adfc72 509bf34b",
    ],
    "release 3": [
        "8ad09de3 0a4d5fbd",
        "203c4893 d44446c1",
        "4d7c4b66 f039b84d",
        "b7109a59 53fe70c8",
        "9c5864d3 4d093170",
        "74cd2b5d f9b5b7bb",
    ],
}


def _digests(name, dimensions):
    """Of the mask and of the image, for six seeds."""
    grid = np.indices((56, 64) if dimensions == 2 else (16, 20, 24))
    image = np.rint(127 + 100 * np.sin(grid.sum(axis=0) / 5) * np.cos(grid[0] / 3)).astype(np.uint8)
    found = []
    for seed in range(6):
        sample = synthmed.preset(name)(image, rng=seed)
        found.append(
            " ".join(
                hashlib.blake2b(a.tobytes(), digest_size=4).hexdigest()
                for a in (sample.mask, sample.image)
            )
        )
    return found


@pytest.mark.parametrize("name", ["paper", "release"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_results_for_fixed_seeds_do_not_change(name, dimensions):
    assert _digests(name, dimensions) == GOLDEN[f"{name} {dimensions}"]


if __name__ == "__main__":
    for golden in GOLDEN:
        print(f'    "{golden}": {_digests(golden[:-2], int(golden[-1]))},'.replace("'", '"'))
