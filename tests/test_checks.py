"""What counts as a number, a whole number, a fraction or a choice, and what an argument that does not is told."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from course_lib.checks import brief, fraction, one_of, positive_number, real_number, whole_number

# What no check takes for a number. Arrays and tensors of one element are not numbers either.
NO_NUMBERS: list[Any] = [
    "3", "", None, True, False, np.bool_(True), 2j, [3], np.array(3), np.array([3]), torch.tensor(3), {},
]  # fmt: skip


@pytest.mark.parametrize("value", [1e6, 10**6, np.int64(10**6), np.float64(1e6), np.float32(1e6), Fraction(10**6)])
def test_a_whole_number_comes_back_as_an_int_whatever_its_type(value):
    number = whole_number("n", value)
    assert (number, type(number)) == (10**6, int)


def test_whole_numbers_have_no_upper_end():
    assert whole_number("n", 10**400) == 10**400


@pytest.mark.parametrize(
    "value",
    [*NO_NUMBERS, 2.5, Fraction(5, 2), math.nan, math.inf, -math.inf, np.float64("nan"), np.float32("inf"), 0, -1],
)
def test_what_is_no_whole_number_from_the_least_on_is_refused(value):
    with pytest.raises(ValueError, match=r"^n must be a whole number of at least 1; got .*\.$"):
        whole_number("n", value)


def test_the_least_whole_number_is_named_and_allowed():
    assert whole_number("the seed", 0, least=0) == 0
    with pytest.raises(ValueError, match=r"^n must be a whole number of at least 100; got 99\.$"):
        whole_number("n", 99, least=100)


def test_the_largest_whole_number_is_named_and_allowed():
    assert whole_number("n_chains", 1e5, most=10**5) == 10**5
    with pytest.raises(ValueError, match=r"^n_chains must be at most 100,000; got 1,000,000\.$"):
        whole_number("n_chains", 1e6, most=10**5)


@pytest.mark.parametrize("value", [-5, 0, 2.5, math.inf, -math.inf, np.int64(3), np.float32(0.5), Fraction(1, 3)])
def test_a_number_comes_back_as_a_float_and_may_be_infinite(value):
    number = real_number("the deadline", value, "days")
    assert (number, type(number)) == (float(value), float)


@pytest.mark.parametrize("value", [*NO_NUMBERS, math.nan, np.float64("nan"), 10**400, -(10**400)])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^the deadline must be a number of days; got .*\.$"):
        real_number("the deadline", value, "days")
    with pytest.raises(ValueError, match=r"^x must be a number; got .*\.$"):
        real_number("x", value)


@pytest.mark.parametrize("value", [1, 5e-324, 1e308, np.float32(0.5), np.int64(3)])
def test_a_positive_number_comes_back_as_a_float(value):
    number = positive_number("the factor", value)
    assert (number, type(number)) == (float(value), float)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -0.0, -1, math.nan, math.inf, -math.inf, 10**400])
def test_what_is_not_positive_and_finite_is_refused(value):
    with pytest.raises(ValueError, match=r"^the factor must be a positive, finite number; got .*\.$"):
        positive_number("the factor", value)


@pytest.mark.parametrize("value", [0.5, 5e-324, 1 - 2**-53, np.float32(0.25), Fraction(1, 3)])
def test_a_fraction_comes_back_as_a_float(value):
    number = fraction("elite", value)
    assert (number, type(number)) == (float(value), float)


@pytest.mark.parametrize(
    "value", [*NO_NUMBERS, 0, 1, 95, -0.1, math.nan, math.inf, 10**400, Fraction(10**30 - 1, 10**30)]
)
def test_what_does_not_lie_between_0_and_1_is_refused(value):
    """The last of them does, but the float nearest to it is 1."""
    with pytest.raises(ValueError, match=r"^elite must lie between 0 and 1; got .*\.$"):
        fraction("elite", value)


def test_a_choice_comes_back_and_anything_else_is_told_the_choices():
    names = {"tanh": 1, "relu": 2}
    assert one_of("activation", "relu", names) == "relu"
    assert one_of("activation", "relu", iter(names)) == "relu"
    for other in ("Relu", "", None, 2, ["relu"], {}, np.array(["tanh", "relu"]), torch.ones(2)):
        with pytest.raises(ValueError, match=r"(?s)^activation must be one of tanh, relu; got .*\.$"):
            one_of("activation", other, names)


def test_true_is_not_the_choice_1():
    assert one_of("k", None, (1, None)) is None
    assert one_of("k", 1, (1, 50)) == 1
    with pytest.raises(ValueError, match="k must be one of 1, 50; got tensor"):
        one_of("k", torch.ones(2), (1, 50))


def test_an_error_in_brief_is_one_line_of_few_words():
    assert brief(ValueError("no\n  good   at all")) == "no good at all"
    assert brief(AssertionError()) == "AssertionError"
    assert len(brief(ValueError(1_000 * "x"))) == 300
