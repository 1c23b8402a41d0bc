"""The checks and the invariants as their users call them."""

import random
import subprocess
import sys

import numpy as np
import pytest
from mutants import functions

import synthmed
from synthmed.testing import (
    DoesNotApply,
    Fault,
    Trial,
    check_anomaly,
    check_augmentation,
    invariants,
    phantom,
    strategies,
)
from synthmed.testing.invariants import EVERY_CALL, MANY_SEEDS, OPTIONAL


def test_invariants_need_no_hypothesis_to_be_called():
    before = phantom("smooth", (8, 8), "float32")
    after, mask = before.copy(), np.zeros((8, 8), bool)
    after[2:4, 2:4] = 1 - after[2:4, 2:4]
    mask[2:4, 2:4] = True
    trial = Trial(lambda image, rng: (after, mask), before)
    for invariant in (
        invariants.shape_and_dtype_kept,
        invariants.unchanged_outside_mask,
        invariants.visible_inside_mask,
        invariants.mask_is_bool_of_spatial_shape,
        invariants.finite_and_within_value_range,
    ):
        assert invariant(trial) is None
    with pytest.raises(DoesNotApply, match="no record"):
        invariants.record_is_json_and_replays(trial)


def test_every_invariant_has_a_docstring_and_a_name_of_its_own():
    names = [i.__name__ for i in EVERY_CALL + MANY_SEEDS]
    assert len(set(names)) == len(names) and all(i.__doc__ for i in EVERY_CALL + MANY_SEEDS)
    assert set(names) <= set(invariants.__all__) and all(
        callable(getattr(invariants, n)) for n in names
    )


def test_invariants_are_chosen_by_name_or_function():
    report = check_augmentation(
        functions.wraps_around, invariants=["shape_and_dtype_kept", invariants.input_not_written]
    )
    assert report.applied == {"shape_and_dtype_kept": 100, "input_not_written": 100}
    report = check_augmentation(functions.wraps_around, without=["no_wrap_around"], examples=20)
    assert (
        "no_wrap_around" not in report.applied
        and "same_rng_same_result" in report.applied
        and report.calls == 20
    )
    with pytest.raises(
        ValueError, match="unknown invariant 'no_wrap'; known: shape_and_dtype_kept"
    ):
        check_augmentation(functions.brighten, invariants=["no_wrap"])
    with pytest.raises(
        ValueError, match="unchanged_outside_mask was asked for, but no mask is returned"
    ):
        check_augmentation(functions.brighten, invariants=["unchanged_outside_mask"])


def test_an_invariant_of_ones_own():
    def keeps_its_corner(trial):
        if trial.result.image[0, 0] != trial.image[0, 0]:
            raise Fault("keeps_its_corner", trial, "the corner changed")

    with pytest.raises(Fault, match="the corner changed"):
        check_augmentation(functions.brighten, invariants=[keeps_its_corner])


def test_an_augmentation_is_given_plain_images_unless_told_otherwise():
    seen = []

    def look(image, rng):
        seen.append(image)
        return rng.permuted(image)

    check_augmentation(look)
    assert {image.ndim for image in seen} == {2} and min(min(i.shape) for i in seen) >= 8
    assert {i.dtype.newbyteorder("=").name for i in seen} >= {
        "uint8",
        "int16",
        "uint16",
        "float32",
        "float64",
    }
    seen.clear()
    check_augmentation(
        look, dtype="uint8", side=(5, 5), channel_axis=-1, without=["no_wrap_around"]
    )
    assert {i.dtype.name for i in seen} == {"uint8"} and {i.shape[:2] for i in seen} == {(5, 5)}
    seen.clear()
    check_augmentation(
        look, images=strategies.images("float64", side=(6, 6), dimensions=3), examples=10
    )
    assert {i.shape for i in seen} == {(6, 6, 6)}


def test_a_rejection_is_no_fault_but_nothing_else_is_forgiven():
    def choosy(image, rng):
        if image.min() == image.max():
            raise synthmed.NothingToSee("constant")
        return functions.brighten(image, rng)

    report = check_augmentation(choosy)
    assert 0 < report.rejected < 50

    def never(image, rng):
        raise synthmed.NothingToSee("not today")

    with pytest.raises(
        AssertionError, match=r"nothing was checked: all 100 images were rejected \(not today\)"
    ):
        check_augmentation(never)

    def fails(image, rng):
        if image.shape[0] > 20:
            raise KeyError("depth")
        return functions.brighten(image, rng)

    with pytest.raises(Fault, match="it raised KeyError: 'depth'") as caught:
        check_augmentation(fails)
    assert caught.value.invariant == "runs" and caught.value.trial.image.shape == (21, 8)
    assert isinstance(caught.value.__cause__, KeyError)


def test_results_of_other_forms():
    check_augmentation(lambda image, rng: {"image": rng.permuted(image)}, examples=20)
    with pytest.raises(Fault, match="came out is a list, not a NumPy array"):
        check_augmentation(lambda image, rng: rng.permuted(image).tolist())
    with pytest.raises(Fault, match="came out is a NoneType"):
        check_augmentation(lambda image, rng: None)


def test_the_value_range_of_an_augmentation_is_judged_where_it_is_given():
    def louder(image, rng):
        return (image * rng.uniform(1, 1.5)).astype(image.dtype)

    check_augmentation(louder, dtype="float32")
    with pytest.raises(Fault, match=r"values leave the value range \(0, 1\)") as caught:
        check_augmentation(louder, dtype="float32", value_range=(0, 1))
    assert "value_range=(0, 1)" in str(caught.value)


def test_what_a_module_offers_is_checked_in_another_process_where_asked_for():
    names = [i.__name__ for i in OPTIONAL[:2]]
    report = check_augmentation(functions.add_disc, invariants=names, examples=10)
    assert set(report.applied) == set(names)
    with pytest.raises(ValueError, match="cannot be imported elsewhere"):
        check_augmentation(lambda image, rng: image, invariants=names, examples=10)


def test_wrong_arguments_are_named():
    with pytest.raises(
        TypeError,
        match=r"generator must be a synthmed Generator, got .*; for a function use check_augm",
    ):
        check_anomaly(functions.brighten)
    with pytest.raises(TypeError, match="function must be callable"):
        check_augmentation(3)


def test_a_generator_is_an_augmentation_too():
    report = check_augmentation(lambda image, rng: tuple(synthmed.Source()(image, rng=rng)))
    assert report.applied["unchanged_outside_mask"] > 50
    check_augmentation(synthmed.Source())


def test_global_random_states_are_left_as_they_were():
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    with pytest.raises(Fault):
        check_augmentation(functions.draws_from_global_state)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_what_differs_from_run_to_run_is_told_as_such():
    calls = iter(range(10**6))

    def moody(image, rng):
        return image[:-1] if next(calls) == 90 else rng.permuted(image)

    with pytest.raises(Fault) as caught:
        check_augmentation(moody)
    assert "hangs on more than image and rng" in str(caught.value)


def test_a_script_that_checks_at_its_top_level_runs_once(tmp_path):
    """No process may run the caller's script again."""
    script = tmp_path / "mine.py"
    script.write_text("""
import synthmed
from synthmed.testing import check_anomaly
print("once")
report = check_anomaly(synthmed.EllipseMask(), examples=10)
print(report.applied["same_result_in_another_process"] > 0)
""")
    result = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=True
    )
    assert result.stdout == "once\nTrue\n" and not result.stderr


def test_the_global_state_of_torch_is_kept_too():
    torch = pytest.importorskip("torch")
    check_augmentation(functions.brighten, examples=20)

    def with_torch(image, rng):
        torch.rand(1)
        return functions.brighten(image, rng)

    with pytest.raises(Fault, match="it moved the global random state of torch"):
        check_augmentation(with_torch, examples=20)


@pytest.mark.parametrize("name", ["NumPy", "Python"])
def test_a_global_state_that_moves_is_named(name):
    move = {"NumPy": np.random.random, "Python": random.random}[name]

    def moves(image, rng):
        move()
        return functions.brighten(image, rng)

    with pytest.raises(Fault, match=f"it moved the global random state of {name}$|of {name}\n"):
        check_augmentation(moves, examples=20)
