"""What a learner hands in, as numbers: any kind that says the same is taken, and others are asked for in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course_lib.estimates import Estimate
from course_lib.exercises.verdict import wrong

__all__ = ["array", "explain", "matches", "number", "pair"]

Floats = NDArray[np.float64]


def array(answer: Any) -> Floats:
    """Numbers in any form, as float64.

    Args:
        answer: an array, a tensor (whatever it carries for gradients), a number, an `Estimate`, of which it is the
            value, or a list of these.
    """
    try:
        return _as_floats(answer)
    except (TypeError, ValueError):
        wrong(f"give numbers, please; yours is {_in_words(answer)}.")


def number(answer: Any) -> float:
    """One number in any form that `array` takes, an array of one among them."""
    found = array(answer)
    if found.size != 1:
        wrong(f"give one number, please; yours is {_in_words(answer)}.")
    return float(found.reshape(()))


def pair(answer: Any, what: str) -> tuple[float, float]:
    """Two numbers: a tuple, a list, an array, a tensor of two, or an `Estimate` with its error.

    Args:
        answer: what the learner returned.
        what: the two, for the sentence that asks for them.
    """
    if isinstance(answer, Estimate):
        return answer.value, answer.std_error
    parts = answer if isinstance(answer, list | tuple) else array(answer).ravel()
    if len(parts) != 2:
        wrong(f"return two numbers, {what}; yours is {_in_words(answer)}.")
    return number(parts[0]), number(parts[1])


def matches(answer: Any, expected: ArrayLike, tolerance: float = 1e-6) -> bool:
    """Whether two numbers or arrays agree in shape and within a relative ``tolerance``."""
    got, want = array(answer), array(expected)
    return got.shape == want.shape and bool(np.allclose(got, want, rtol=tolerance, atol=0.0, equal_nan=True))


def explain(
    got: Sequence[ArrayLike],
    inputs: Sequence[tuple[Any, ...]],
    mistakes: Sequence[tuple[Callable[..., ArrayLike], str]],
    tolerance: float = 1e-6,
) -> None:
    """End the check with the hint of the mistake that the answers come from, if it is one of these.

    At one input two formulas can give the same number; so a mistake is blamed only if it gives every answer.

    Args:
        got: the learner's answers, one for each of ``inputs``.
        inputs: the arguments of each call, at least two calls.
        mistakes: the wrong formula, of the same arguments, and its hint.
        tolerance: relative, for `matches`.
    """
    for mistake, hint in mistakes:
        if all(matches(answer, mistake(*args), tolerance) for answer, args in zip(got, inputs, strict=True)):
            wrong(hint)


def _as_floats(answer: Any) -> Floats:
    if answer is None:
        raise TypeError("NumPy takes None for nan")
    if isinstance(answer, Estimate):
        return np.array(answer.value)
    if isinstance(answer, list | tuple):
        return np.array([_as_floats(one) for one in answer], dtype=np.float64)
    return np.asarray(answer.detach().cpu().double() if hasattr(answer, "detach") else answer, dtype=np.float64)


def _in_words(answer: Any) -> str:
    if getattr(answer, "shape", ()):
        return f"of shape {list(answer.shape)}"
    text = repr(answer.item() if isinstance(answer, np.generic) else answer)
    # "<function f at 0x7f...>" and its like say less than the kind.
    if len(text) <= 40 and not text.startswith("<"):
        return text
    length = f" of {len(answer)}" if hasattr(answer, "__len__") else ""
    return f"a {type(answer).__name__}{length}"
