"""The checks find seeded faults with the default number of examples, and none in what is right."""

import pytest
from mutants import functions, generators

from synthmed.testing import Fault, check_anomaly, check_augmentation
from synthmed.testing.invariants import EVERY_CALL, MANY_SEEDS


@pytest.mark.parametrize("mutant", generators.CAUGHT_BY, ids=lambda m: m.__name__)
def test_a_faulty_generator_is_caught(mutant):
    generator = mutant(order=3) if mutant is generators.ForgetsItsConfiguration else mutant()
    with pytest.raises(Fault) as caught:
        check_anomaly(generator)
    assert caught.value.invariant in generators.CAUGHT_BY[mutant].split("|"), str(caught.value)
    assert repr(generator) in str(caught.value)


@pytest.mark.parametrize("mutant", functions.CAUGHT_BY, ids=lambda m: m.__name__)
def test_a_faulty_augmentation_is_caught(mutant):
    with pytest.raises(Fault) as caught:
        check_augmentation(mutant)
    assert caught.value.invariant in functions.CAUGHT_BY[mutant].split("|"), str(caught.value)


@pytest.mark.parametrize("function", functions.RIGHT, ids=lambda f: f.__name__)
def test_a_right_augmentation_passes(function):
    report = check_augmentation(function)
    assert report.calls == 100
    assert report.rejected < 50


def test_every_invariant_is_what_catches_some_mutant():
    names = "|".join([*generators.CAUGHT_BY.values(), *functions.CAUGHT_BY.values()]).split("|")
    assert {i.__name__ for i in EVERY_CALL + MANY_SEEDS} <= set(names) | {"same_rng_same_result"}
