"""What learners hand in, as numbers: every form that says the same, and a sentence for what does not."""

import numpy as np
import pytest
import torch

from course_lib.estimates import Estimate
from course_lib.exercises.answers import array, explain, matches, number, pair
from course_lib.exercises.verdict import check, right

ESTIMATE = Estimate.from_values([1.0, 2.0, 3.0, 4.0])


def hint(read, *args) -> str:
    """What a check says that reads an answer so; empty if it can."""

    @check
    def reading(answer):
        read(answer, *args[1:])
        return right("")

    return reading(args[0]).message


@pytest.mark.parametrize(
    "answer",
    [
        2.5,
        np.float32(2.5),
        np.array(2.5),
        np.array([[2.5]]),
        [2.5],
        (np.float64(2.5),),
        [torch.tensor([2.5])],
        torch.tensor(2.5, requires_grad=True),
        torch.tensor([2.5], dtype=torch.bfloat16),
        "2.5",
        ESTIMATE,
        [ESTIMATE],
    ],
    ids=repr,
)
def test_one_number_in_any_form(answer):
    assert number(answer) == 2.5
    assert isinstance(number(answer), float)


@pytest.mark.parametrize(
    "answer",
    [
        [1, 2.5],
        (np.float64(1), torch.tensor(2.5)),
        [np.array([1.0]), torch.tensor(2.5, requires_grad=True)],
        np.array([1, 2.5]),
        np.array([[1.0], [2.5]]),
        torch.tensor([1, 2.5], dtype=torch.float16, requires_grad=True),
        [Estimate.from_values([0.0, 2.0]), 2.5],
    ],
    ids=repr,
)
def test_two_numbers_in_any_form(answer):
    assert pair(answer, "a and b") == (1.0, 2.5)


def test_an_estimate_is_its_value_and_its_error():
    assert pair(ESTIMATE, "the mean and its error") == (ESTIMATE.value, ESTIMATE.std_error)


@pytest.mark.parametrize(
    "answer",
    [
        [[1, 2], [3, 4]],
        ((1.0, np.int64(2)), [torch.tensor(3), 4]),
        [torch.tensor([1.0, 2.0], requires_grad=True), np.array([3, 4])],
        np.array([[1, 2], [3, 4]], dtype=np.float32),
        torch.tensor([[1, 2], [3, 4]]),
    ],
    ids=repr,
)
def test_an_array_in_any_form(answer):
    assert array(answer).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert array(answer).dtype == np.float64


def test_true_and_false_count_as_one_and_zero():
    assert array([True, False]).tolist() == array(torch.tensor([True, False])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("six", "yours is 'six'"),
        (1j, "yours is 1j"),
        ({"a": 1.0}, "yours is {'a': 1.0}"),
        ({f"task {j}": 1.0 for j in range(9)}, "yours is a dict of 9"),
        ([1.0, None], "yours is [1.0, None]"),
        ([[1.0, 2.0], [3.0]], "yours is [[1.0, 2.0], [3.0]]"),
        ((x for x in (1, 2)), "yours is a generator"),
        ([1.0, lambda: 2.0], "yours is a list of 2"),
    ],
)
def test_what_holds_no_numbers_is_asked_for_in_a_sentence(answer, words):
    for read in (array, number):
        assert hint(read, answer) == f"give numbers, please; {words}."


def test_too_many_or_too_few_numbers_are_asked_for_in_a_sentence():
    assert hint(number, (1.0, 2.0)) == "give one number, please; yours is (1.0, 2.0)."
    assert hint(number, np.ones((6, 3))) == "give one number, please; yours is of shape [6, 3]."
    assert hint(number, []) == "give one number, please; yours is []."
    assert hint(pair, np.float64(0.5), "a and b") == "return two numbers, a and b; yours is 0.5."
    assert hint(pair, (1, 2, 3), "a and b") == "return two numbers, a and b; yours is (1, 2, 3)."
    assert hint(pair, torch.ones(3), "a and b") == "return two numbers, a and b; yours is of shape [3]."
    assert hint(pair, (1, [2, 3]), "a and b") == "give one number, please; yours is [2, 3]."


def test_numbers_match_in_shape_and_within_a_relative_tolerance():
    assert matches([1.0, 2.0], torch.tensor([1.0, 2.0]))
    assert matches(1e-30, 1e-30 * (1 + 1e-7))
    assert not matches(1e-30, 2e-30)
    assert not matches(1e-30, 0.0)
    assert matches(100, 101, 0.02)
    assert not matches([1.0], 1.0)
    assert matches([np.nan, np.inf], [np.nan, np.inf])


def test_a_mistake_is_blamed_only_if_it_explains_every_answer():
    inputs = [(2.0,), (3.0,)]
    mistakes = [(lambda x: 2 * x, "that is twice x."), (lambda x: x**3, "that is the cube.")]
    assert hint(explain, [4.0, 6.0], inputs, mistakes) == "that is twice x."
    assert hint(explain, [8.0, 27.0], inputs, mistakes) == "that is the cube."
    assert hint(explain, [4.0, 9.0], inputs, mistakes) == ""
