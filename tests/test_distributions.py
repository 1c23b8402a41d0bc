"""A number in a recipe: a constant, a range, or a distribution, in one way everywhere."""

import json

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

import synthmed
from synthmed import Calcifications, Choice, Gamma, Lesion, Normal
from synthmed.distributions import draw_number, draw_whole


def drawn(number, n=2000, draw=draw_number):
    rng = np.random.default_rng(7)
    return np.array([draw(rng, number) for _ in range(n)])


@pytest.mark.parametrize(
    ("number", "cdf"),
    [
        ((2, 5), scipy.stats.uniform(2, 3).cdf),
        (Normal(2, 0.5), scipy.stats.norm(2, 0.5).cdf),
        (Gamma(2, 0.1, offset=0.03), scipy.stats.gamma(2, loc=0.03, scale=0.1).cdf),
    ],
    ids=["uniform", "normal", "gamma"],
)
def test_a_number_is_drawn_from_its_distribution(number, cdf):
    assert scipy.stats.kstest(drawn(number), cdf).pvalue > 1e-3


def test_a_constant_needs_no_randomness():
    rng = np.random.default_rng(7)
    assert draw_number(rng, 3) == 3 and rng.random() == np.random.default_rng(7).random()


def test_what_is_beyond_the_bounds_becomes_the_nearer():
    values = drawn(Normal(0, 1, bounds=(-1, 2)))
    assert values.min() == -1 and values.max() == 2
    expected = scipy.stats.norm.cdf(-1)
    assert abs((values == -1).mean() - expected) < 5 * np.sqrt(expected / len(values))


def test_a_choice_has_its_weights():
    values = drawn(Choice((1, 2, 5), weights=(1, 0, 3)))
    assert set(values) == {1, 5} and abs((values == 5).mean() - 0.75) < 0.05


def test_a_range_of_whole_numbers_holds_both_ends():
    values = drawn((1, 4), draw=draw_whole)
    assert scipy.stats.chisquare(np.bincount(values)[1:]).pvalue > 1e-3
    assert set(drawn(Normal(3, 0.2), draw=draw_whole)) <= {2, 3, 4}


finite = st.floats(0, 100).map(lambda v: round(v, 3))
pairs = st.tuples(finite, finite).map(lambda p: tuple(sorted(p)))
numbers = st.one_of(
    finite,
    pairs,
    st.builds(Choice, st.lists(finite, min_size=1).map(tuple)),
    st.builds(Gamma, finite, finite, finite, st.none() | pairs),
    st.builds(Normal, finite, finite, pairs),
)


@given(numbers)
def test_a_number_is_json_hashable_and_within_its_support(number):
    lesion = Lesion(contrast=number)
    again = synthmed.from_dict(json.loads(json.dumps(lesion.to_dict())))
    assert again == lesion and hash(again) == hash(lesion)
    assert eval(repr(lesion), vars(synthmed)) == lesion
    if isinstance(number, Choice | Gamma | Normal):
        low, high = number.support
        assert all(low <= v <= high for v in drawn(number, 20))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Lesion(opacity=(0.5, 1.5)), "Lesion: opacity must be a pair of ordered numbers"),
        (lambda: Lesion(opacity=Normal(0.5, 0.1)), r"opacity must be drawn within \[0, 1\], give"),
        (lambda: Lesion(edge=Normal(1, 1)), "edge must be drawn at least 0, give bounds"),
        (lambda: Lesion(edge="soft"), "Lesion: edge must be a number at least 0, got 'soft'"),
        (lambda: Calcifications(count=Choice((1.5,))), "count must be whole numbers at least 1"),
        (lambda: Gamma(-1, 1), "Gamma: shape must be a number at least 0, got -1"),
        (lambda: Normal(0, 1, bounds=(2, 1)), "Normal: bounds must be a pair of ordered numbers"),
        (lambda: Choice(()), "Choice: values must be a tuple of numbers"),
        (lambda: Choice((1, 2), weights=(0, 0)), "Choice: weights must be 2 numbers, not all 0"),
        (lambda: Choice((1, 2), weights=(1,)), "Choice: weights must be 2 numbers"),
        (
            lambda: synthmed.from_dict(
                {"type": "Lesion", "contrast": {"type": "Gamma", "shape": 1, "sacle": 2}}
            ),
            "Gamma has the parameters shape, scale, offset, bounds .*got 'shape', 'sacle'",
        ),
        (lambda: synthmed.from_dict({"type": "Normal", "mean": 0, "deviation": 1}), "Generator"),
    ],
)
def test_a_bad_number_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
