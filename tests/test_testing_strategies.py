"""The strategies: what they draw, that they shrink to something readable, and that default settings
suit them.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

import synthmed
from synthmed.testing import phantom, phantom_mask, strategies
from synthmed.testing.phantoms import CONTENTS, LAYOUTS, MASK_KINDS, origin
from synthmed.testing.trial import copy_as_it_lies

DEFAULT = settings(
    max_examples=100, deadline=200, suppress_health_check=(), derandomize=True, database=None
)


@pytest.mark.parametrize(
    "name", ["images", "masks", "rois", "mask_generators", "anomalies", "recipes", "rngs", "shapes"]
)
def test_default_settings_raise_no_health_check(name):
    drawn = []

    @DEFAULT
    @given(getattr(strategies, name)())
    def draw(value):
        drawn.append(value)

    draw()
    assert len(drawn) >= 100 or name == "rngs"


@DEFAULT
@given(strategies.trials(strategies.recipes()))
def test_trials_raise_no_health_check(trial):
    plane = trial.image if trial.channel_axis is None else trial.image.take(0, trial.channel_axis)
    assert trial.spatial_shape == plane.shape


@given(
    strategies.images(
        ["uint8", "float32"], side=(3, 17), dimensions=(2, 3), channel_axis=-1, channels=(2, 3)
    )
)
def test_images_are_as_asked(image):
    assert image.dtype.newbyteorder("=") in (np.uint8, np.float32) and image.ndim in (3, 4)
    assert image.shape[-1] in (2, 3) and min(image.shape[:-1]) >= 3 and max(image.shape[:-1]) <= 17
    assert np.isfinite(image).all()


@given(strategies.images(value_range=(10, 20)))
def test_values_are_as_asked(image):
    assert image.min() >= 10 and image.max() <= 20


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "uint16", "int64", "uint64", "float16", "float32", "float64"]
)
def test_extremes_are_reached(dtype):
    limits = np.finfo(dtype) if dtype.startswith("f") else np.iinfo(dtype)
    image = phantom("extreme", (20, 20), dtype)
    assert image.min() == limits.min and image.max() == limits.max and np.isfinite(image).all()


def test_everything_is_drawn():
    """Each content, layout, dtype and kind of region comes up within the default number of
    examples.
    """
    said = []

    @settings(DEFAULT, max_examples=200)
    @given(strategies.images(), strategies.rois((9, 9)))
    def draw(image, roi):
        said.append(origin(image) + origin(roi))

    draw()
    for word in [*CONTENTS, *(k for k in LAYOUTS if k != "plain"), *strategies.DTYPES, *MASK_KINDS]:
        assert any(repr(word) in s for s in said), word


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_phantom_is_its_call(content, layout):
    image = phantom(content, (5, 4, 6), "int16", channel_axis=1, layout=layout, seed=3)
    again = eval(origin(image), {"phantom": phantom})
    np.testing.assert_array_equal(image, again)
    assert (
        image.strides == again.strides
        and image.dtype == again.dtype
        and image.flags.writeable == again.flags.writeable
    )
    assert origin(image.copy()) is None
    copy = copy_as_it_lies(image)
    np.testing.assert_array_equal(copy, image)
    assert (
        copy.strides == image.strides
        and copy.dtype == image.dtype
        and not np.shares_memory(copy, image)
    )


@pytest.mark.parametrize("kind", MASK_KINDS)
@given(strategies.shapes((1, 9), (2, 3)), st.integers(0, 99))
def test_regions_are_neither_empty_nor_everything(kind, shape, seed):
    inside = phantom_mask(kind, shape, seed=seed)
    assert inside.dtype == bool and inside.shape == shape and inside.any()
    assert inside.all() == (kind == "everywhere" or inside.size == 1)


@pytest.mark.parametrize(
    ("strategy", "condition", "expected"),
    [
        (strategies.images(), lambda image: image.size > 5, "phantom('gradient', (1, 6), 'uint8')"),
        (
            strategies.images(),
            lambda image: image.dtype.kind == "f",
            "phantom('gradient', (1, 1), 'float32')",
        ),
        (
            strategies.images(),
            lambda i: not i.flags.writeable,
            "phantom('gradient', (1, 1), 'uint8', layout='read-only')",
        ),
        (strategies.masks((4, 4)), lambda mask: mask.sum() > 3, None),
    ],
)
def test_images_shrink_to_a_readable_call(strategy, condition, expected):
    smallest = find(strategy, condition, settings=settings(DEFAULT, max_examples=300))
    assert origin(smallest) == expected or (expected is None and len(origin(smallest)) < 40)


def test_generators_shrink_to_their_defaults():
    smallest = find(
        strategies.recipes(),
        lambda g: "Source" in repr(g),
        settings=settings(DEFAULT, max_examples=300),
    )
    assert len(repr(smallest)) < 60
    assert repr(find(strategies.anomalies(), lambda g: True)) == "SmoothIntensityChange()"
    assert repr(find(strategies.mask_generators(), lambda g: g.is_mask)) == "PerlinMask()"
    assert find(strategies.rngs(), lambda rng: True) == 0


def test_trials_shrink_to_little():
    trial = find(
        strategies.trials(synthmed.PerlinMask()),
        lambda t: t.image.ndim == 3 and t.channel_axis is None,
        settings=settings(DEFAULT, max_examples=50),
    )
    assert trial.image.shape == (5, 5, 5) and trial.seed == 0
    arguments = dict(trial.arguments)
    assert arguments.pop("soft") is False and set(arguments.values()) == {None}


@given(strategies.mask_generators(), st.integers(0, 9))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_mask_generators_give_masks(mask, seed):
    try:
        sample = mask(phantom("smooth", (40, 50)), rng=seed)
    except synthmed.NothingToSee:
        return
    assert sample.mask.any() and sample.image.shape == (40, 50)
