"""The contract of a generator (docs/contract.md, points 1 to 10), as properties of every generator.

Most of it is what `synthmed.testing` checks for anyone: this file gives it our generators, and adds
what concerns the library as a whole.
"""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import synthmed
from synthmed import (
    Atrophy,
    BlobMask,
    Calcifications,
    Cavity,
    Cutout,
    CutPaste,
    EllipseMask,
    GaussianIntensityChange,
    Haemorrhage,
    Identity,
    Interpolation,
    IntersectionMask,
    Lesion,
    LesionMask,
    NothingToSee,
    OneOf,
    PerlinMask,
    RectangleMask,
    Repeat,
    ScatterMask,
    Sequence,
    Sink,
    SmoothIntensityChange,
    Source,
    StrokeMask,
    Swelling,
    TextureBlend,
    ThinStructure,
    UnionMask,
)
from synthmed.testing import (
    DoesNotApply,
    Trial,
    check_anomaly,
    invariants,
    phantom,
    phantom_mask,
    strategies,
)

GENERATORS = [
    PerlinMask(),
    PerlinMask(cells=3, threshold=0.1),
    EllipseMask(),
    RectangleMask(),
    UnionMask(EllipseMask(), PerlinMask()),
    IntersectionMask(RectangleMask(), PerlinMask()),
    PerlinMask() | EllipseMask(),
    CutPaste(),
    CutPaste(blend="mixed"),
    CutPaste(blend="direct", order=3, label="changed"),
    GaussianIntensityChange(),
    GaussianIntensityChange(texture="image"),
    SmoothIntensityChange(),
    Source(),
    Source(PerlinMask(), order=3),
    Sink(),
    Identity(),
    Source() + CutPaste(),
    Repeat(Sink() | Identity(), times=(0, 2)),
    synthmed.preset("paper"),
    synthmed.preset("release"),
]
# Drawn upon less often: what they share with the others is checked there.
MORE_GENERATORS = [
    LesionMask(),
    LesionMask(size=synthmed.Gamma(2, 3, bounds=(1, 12)), unit="length"),
    Interpolation(),
    Interpolation(blend="poisson", place="anywhere"),
    TextureBlend(),
    TextureBlend(texture="donors"),
    Lesion(contrast=synthmed.Normal(0.2, 0.1, (0.1, 0.4))),
    Cavity(),
    Cutout(),
    Cutout(level="mean"),
    Calcifications(radius=synthmed.Choice((0.5, 2.0))),
    Calcifications(label="cluster"),
    BlobMask(),
    StrokeMask(),
    ScatterMask(LesionMask(size=(0.05, 0.2), roi_overlap=0.9), count=(1, 3)),
    Lesion(ScatterMask(EllipseMask(), count=2, gap=0.0)),
    Haemorrhage(),
    ThinStructure(),
    Atrophy(),
    Swelling(),
]
WIDE_DTYPES = ["int8", "int64", "uint64", "int32", "uint32", "float16"]


@pytest.mark.parametrize("generator", GENERATORS, ids=repr)
def test_every_generator_keeps_the_contract(generator):
    report = check_anomaly(generator)
    assert report.rejected < 60


@pytest.mark.parametrize("generator", MORE_GENERATORS, ids=repr)
def test_more_generators_keep_the_contract(generator):
    report = check_anomaly(generator, examples=20)
    assert report.rejected < 15


@pytest.mark.parametrize(
    "generator", [synthmed.preset("paper"), synthmed.preset("release")], ids=["paper", "release"]
)
def test_every_other_dtype(generator):
    check_anomaly(generator, dtype=WIDE_DTYPES, examples=60)


@pytest.mark.parametrize(
    "generator", [PerlinMask(), SmoothIntensityChange(), CutPaste(), Source()], ids=repr
)
def test_tiny_images(generator):
    try:
        check_anomaly(generator, side=(1, 6), examples=60)
    except AssertionError as none_large_enough:
        assert "nothing was checked" in str(none_large_enough)


@settings(max_examples=150)
@given(strategies.trials(strategies.recipes()))
def test_recipes_of_all_kinds(trial):
    try:
        _ = trial.result
    except NothingToSee:
        return
    for invariant in invariants.EVERY_CALL:
        with contextlib.suppress(DoesNotApply):
            invariant(trial)


@given(strategies.recipes(), strategies.mask_generators())
def test_configuration_is_told_apart(recipe, mask):
    assert recipe != mask
    assert recipe == synthmed.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert len({recipe, mask, synthmed.from_dict(recipe.to_dict())}) == 2
    assert mask == synthmed.Generator.from_dict(mask.to_dict())
    with pytest.raises(ValueError, match="expected a Anomaly"):
        synthmed.Anomaly.from_dict(mask.to_dict())


@given(strategies.rngs())
def test_a_generator_goes_on_where_a_seed_starts_anew(rng):
    image = phantom("smooth", (24, 30))
    first = PerlinMask()(image, rng=rng).mask
    others = [PerlinMask()(image, rng=rng).mask for _ in range(4)]
    goes_on = isinstance(rng, np.random.Generator | np.random.BitGenerator)
    assert goes_on != all(np.array_equal(first, other) for other in others)


def test_a_call_without_a_seed_is_random():
    image = phantom("smooth", (24, 30))
    assert len({PerlinMask()(image).mask.tobytes() for _ in range(5)}) > 1


def test_volumes_are_not_done_slice_by_slice():
    volume = phantom("smooth", (12, 14, 16), "float32")
    sample = EllipseMask(box=(0.6, 0.6), rotation=(0.0, 0.0), shear=0.0, side=0.6)(volume, rng=1)
    areas = sample.mask.sum(axis=(1, 2))
    assert len(set(areas[areas > 0].tolist())) > 2


@pytest.mark.parametrize("seed", range(5))
def test_shapes_are_taken_in_physical_space(seed):
    """A sphere, in voxels three times as deep as wide, reaches over a third as many of them."""
    volume = phantom("smooth", (40, 120, 120))
    mask = EllipseMask(box=(0.3, 0.3), side=0.3)(volume, rng=seed, spacing=(3, 1, 1)).mask
    sides = [
        np.ptp(np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))) + 1
        for axis in range(3)
    ]
    # Sheared and turned in millimetres, it still fits the bounds in voxels.
    assert sides[0] <= 12 and max(sides[1:]) <= 36


def test_a_turn_by_a_right_angle_is_one_in_physical_space():
    volume = phantom("smooth", (24, 72))
    flat = EllipseMask(box=(0.2, 0.6), side=0.2, shear=0.0, rotation=(90.0, 90.0))
    sides = [
        [
            np.ptp(np.flatnonzero(flat(volume, rng=1, spacing=s).mask.any(axis=1 - axis))) + 1
            for axis in range(2)
        ]
        for s in ((3, 1), (1, 1))
    ]
    assert (
        abs(sides[0][0] - 4) <= 1 and abs(sides[0][1] - 14) <= 1
    )  # equal in millimetres: turning it changes nothing
    assert sides[1][0] > sides[0][0]


@given(strategies.rois((30, 40)), st.integers(0, 999))
def test_the_region_of_interest(roi, seed):
    try:
        mask = PerlinMask(roi_overlap=0.9)(phantom("smooth", (30, 40)), roi=roi, rng=seed).mask
    except NothingToSee as error:
        assert "region of interest" in str(error)
        return
    assert np.count_nonzero(mask & roi) >= 0.9 * np.count_nonzero(mask)


@pytest.mark.parametrize(
    "generator",
    [
        Source(PerlinMask(cells=2) | PerlinMask(cells=4)),
        CutPaste(PerlinMask(cells=3) | EllipseMask(), blend="direct", label="changed"),
        CutPaste((PerlinMask(roi_overlap=0.9) | EllipseMask(roi_overlap=0.9)) | RectangleMask()),
        Repeat(Sink(), times=(2, 3)),
        GaussianIntensityChange() + CutPaste(),
        synthmed.preset("paper"),
        synthmed.preset("release"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", ["scattered", "line", "disc"])
def test_choices_and_unions_lie_in_the_region_of_interest(generator, kind):
    """Labels of a choice of masks, and unions of several anomalies, used to lie mostly outside."""
    image, roi = phantom("noise", (40, 50)), phantom_mask(kind, (40, 50), seed=1)
    kept = 0
    for seed in range(40):
        try:
            invariants.mostly_in_roi(Trial(generator, image, seed=seed, roi=roi))
            kept += 1
        except (NothingToSee, DoesNotApply):
            continue
    assert kept or kind == "line"  # on which a shape rarely has its half


def test_a_label_within_its_mask_lies_in_the_region_of_interest():
    """Found by check_anomaly: the changed pixels of a mask half in the region may all lie
    outside.
    """
    trial = Trial(
        CutPaste(blend="direct", order=3, label="changed"),
        phantom("hot pixel", (4, 6), "uint8"),
        roi=phantom_mask("disc", (4, 6)),
    )
    with contextlib.suppress(NothingToSee):
        invariants.mostly_in_roi(trial)


def test_a_value_range_between_whole_numbers():
    """Found by check_anomaly: a bound of 254.75 was cast to 254, one of 0.25 to 0."""
    image = phantom("checkerboard", (8, 8))
    for seed in range(20):
        sample = SmoothIntensityChange(step=synthmed.Gamma(3, 30, offset=255))(
            image, rng=seed, value_range=(0.25, 254.75)
        )
        changed = sample.image[sample.image != image]
        assert changed.min() >= 1 and changed.max() <= 254
    with pytest.raises(ValueError, match="two whole numbers"):
        SmoothIntensityChange()(image, value_range=(3.2, 4.7))


def test_donors_of_another_byte_order():
    """Found by check_anomaly: they were refused."""
    image, donor = (
        phantom("smooth", (16, 16), "int16", layout="big-endian"),
        phantom("noise", (20, 16), "int16"),
    )
    sample = CutPaste()(image, donors=[donor], rng=3)
    native = CutPaste()(image.astype("int16"), donors=[donor], rng=3)
    np.testing.assert_array_equal(sample.image, native.image)
    again = synthmed.replay(sample.record, image, donors=[donor])
    np.testing.assert_array_equal(sample.image, again.image)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (
            {"image": np.array([[1.0, np.nan], [2, 3]])},
            ValueError,
            "image must be finite, but 1 of its values",
        ),
        ({"image": np.array([[1.0, np.inf], [2, 3]])}, ValueError, "image must be finite"),
        (
            {"image": np.zeros((4, 4), complex)},
            TypeError,
            "image must have a real numeric dtype, got complex128",
        ),
        ({"image": np.zeros((4, 4), bool)}, TypeError, "real numeric dtype, got bool"),
        ({"image": np.zeros(4)}, ValueError, "2 or 3 spatial axes, got shape"),
        ({"image": np.zeros((2, 2, 2, 2))}, ValueError, "2 or 3 spatial axes"),
        ({"image": np.zeros((0, 4))}, ValueError, "image is empty"),
        ({"channel_axis": 5}, ValueError, "channel_axis 5 is out of range"),
        ({"rng": -1}, ValueError, "rng must be None, a non-negative int"),
        ({"rng": "seed"}, TypeError, "rng must be None"),
        ({"roi": np.ones((8, 8))}, TypeError, "roi must be a bool array, got dtype float64"),
        (
            {"roi": np.ones((4, 8), bool)},
            ValueError,
            r"roi must have the image's spatial shape \(8, 8\), got \(4, 8\)",
        ),
        ({"roi": np.zeros((8, 8), bool)}, NothingToSee, "roi is empty"),
        ({"donors": []}, ValueError, "donors is empty"),
        (
            {"donors": [np.zeros((8, 8))]},
            ValueError,
            r"donors\[0\] must have the image's axes, channels and dtype",
        ),
        ({"donors": [np.zeros((8, 8, 3), np.uint8)]}, ValueError, r"donors\[0\] must have"),
        ({"value_range": (5, 5)}, ValueError, "value_range must be a pair"),
        ({"value_range": (0, 300)}, ValueError, "does not fit the image's dtype uint8"),
        ({"value_range": (0, np.nan)}, ValueError, "value_range must be a pair"),
        ({"value_range": 7}, ValueError, "value_range must be a pair"),
        ({"spacing": (1,)}, ValueError, "spacing must hold 2 positive numbers"),
        ({"spacing": (1, 0)}, ValueError, "spacing must hold 2 positive numbers"),
    ],
)
def test_bad_input_is_named(bad, error, message):
    image = bad.pop("image", phantom("smooth", (8, 8)))
    with pytest.raises(error, match=message):
        CutPaste()(image, **{"rng": 0} | bad)


@pytest.mark.parametrize(
    ("numpy", "python"),
    [
        (lambda: PerlinMask(cells=np.int64(2)), lambda: PerlinMask(cells=2)),
        (lambda: PerlinMask(threshold=np.float64(0.3)), lambda: PerlinMask(threshold=0.3)),
        (lambda: PerlinMask(box=[0.1, np.float64(0.5)]), lambda: PerlinMask(box=(0.1, 0.5))),
        (lambda: EllipseMask(rotation=np.array([-9, 9])), lambda: EllipseMask(rotation=(-9, 9))),
        (lambda: EllipseMask(roi_overlap=np.array(1)), lambda: EllipseMask(roi_overlap=1)),
        (
            lambda: GaussianIntensityChange(sigma=[np.float32(4), 7]),
            lambda: GaussianIntensityChange(sigma=(4.0, 7)),
        ),
        (lambda: CutPaste(order=np.uint8(3)), lambda: CutPaste(order=3)),
        (lambda: CutPaste(blend=np.str_("mixed")), lambda: CutPaste(blend="mixed")),
        (
            lambda: synthmed.Repeat(CutPaste(), times=np.arange(1, 3)),
            lambda: synthmed.Repeat(CutPaste(), times=(1, 2)),
        ),
        (
            lambda: synthmed.Repeat(CutPaste(), times=np.int8(2)),
            lambda: synthmed.Repeat(CutPaste(), times=2),
        ),
    ],
)
def test_values_of_numpy_and_lists_become_pythons_own(numpy, python):
    made, expected = numpy(), python()
    assert made == expected and repr(made) == repr(expected) and hash(made) == hash(expected)
    assert synthmed.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_a_call_takes_values_of_numpy():
    image = phantom("smooth", (24, 24), "float32")[..., None]
    plain = CutPaste()(image, rng=3, channel_axis=-1, spacing=(2, 1), value_range=(-1, 2))
    other = CutPaste()(
        image,
        rng=np.int64(3),
        channel_axis=np.int32(-1),
        spacing=np.array([2, 1]),
        value_range=np.array([-1, 2]),
    )
    assert json.dumps(other.record) == json.dumps(plain.record)
    np.testing.assert_array_equal(other.image, plain.image)


@pytest.mark.parametrize("value", [np.bool_(True), np.float64(2.0), np.array([2, 3]), "2", [2]])
def test_what_is_no_whole_number_is_refused_whatever_it_came_in(value):
    with pytest.raises(ValueError, match="cells must be a whole number"):
        LesionMask(cells=value)


@pytest.mark.parametrize(
    "value", [np.bool_(True), 2.5, (2, 2.5), "2", [2], synthmed.Choice((1.5,))]
)
def test_a_number_of_which_no_whole_numbers_are_drawn_is_refused(value):
    with pytest.raises(ValueError, match="PerlinMask: cells must be"):
        PerlinMask(cells=value)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: PerlinMask(box=(0.6, 0.1)),
            ValueError,
            "PerlinMask: box must be a pair of ordered numbers",
        ),
        (
            lambda: PerlinMask(cells=0),
            ValueError,
            "PerlinMask: cells must be a number at least 1, got 0",
        ),
        (
            lambda: EllipseMask(shear=-1),
            ValueError,
            "EllipseMask: shear must be a number at least 0",
        ),
        (lambda: EllipseMask(roi_overlap=float("nan")), ValueError, "roi_overlap must be a number"),
        (
            lambda: CutPaste(blend="seamless"),
            ValueError,
            "blend must be one of 'poisson', 'mixed', 'direct', got 'seamless'",
        ),
        (lambda: Source(CutPaste()), TypeError, "Source: mask must be a mask"),
        (lambda: Source(mask=None), TypeError, "Source: mask must be a mask"),
        (lambda: UnionMask(EllipseMask()), TypeError, "UnionMask takes two or more masks"),
        (lambda: OneOf(), TypeError, "OneOf takes one or more generators"),
        (lambda: OneOf(Source(), EllipseMask()), TypeError, "masks alone or anomalies alone"),
        (lambda: OneOf(Source(), Sink(), weights=(1,)), ValueError, "weights must be 2 numbers"),
        (lambda: Sequence(EllipseMask()), TypeError, "Sequence takes anomalies, not masks"),
        (lambda: Repeat(Source(), times=-1), ValueError, "times must be a number at least 0"),
        (lambda: Repeat(Source(), times=1.5), ValueError, "times must be whole numbers"),
        (lambda: Repeat(Source(), times=(1, 2, 3)), ValueError, "times must be a pair"),
        (
            lambda: Repeat(Source(), times=synthmed.Normal(2, 1)),
            ValueError,
            "times must be drawn at least",
        ),
        (
            lambda: GaussianIntensityChange(sigma=()),
            ValueError,
            "sigma must be a pair of ordered numbers",
        ),
        (
            lambda: synthmed.preset("papers"),
            ValueError,
            "unknown preset 'papers'; known: paper, release",
        ),
        (
            lambda: synthmed.from_dict({"type": "Sorce"}),
            ValueError,
            "unknown generator type 'Sorce', did you mean 'Source'",
        ),
        (
            lambda: synthmed.from_dict({"type": "Source", "exponents": 1}),
            ValueError,
            "no parameter 'exponents', did you mean",
        ),
        (lambda: synthmed.from_dict({}), ValueError, "unknown generator type None"),
        (lambda: Source() | 3, TypeError, "unsupported operand"),
    ],
)
def test_bad_configuration_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_is_rejected(value):
    with pytest.raises(NothingToSee, match="constant"):
        synthmed.preset("paper")(np.full((30, 30), value, np.uint8), rng=0)


def test_equal_bounds_of_a_box():
    """There need be no whole number between them: 0.5 of 7 pixels is 3."""
    assert PerlinMask(box=(0.5, 0.5))(phantom("smooth", (7, 9)), rng=0).record["parameters"][
        "shape"
    ]["box"] == [3, 4]
    with pytest.raises(NothingToSee, match="too small"):
        PerlinMask(box=(0.5, 0.5))(phantom("smooth", (3, 9)), rng=0)
