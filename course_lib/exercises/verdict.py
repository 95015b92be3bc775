"""What a check says: not attempted, right, or wrong and why."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import numpy as np

__all__ = ["Verdict", "check", "matches", "right", "wrong"]

_SIGNS = {"right": "✓", "wrong": "✗", "not attempted": "…"}
_COLOURS = {"right": "#00734d", "wrong": "#b34700", "not attempted": "#666666"}


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check: ``status`` and a sentence for the learner."""

    status: Literal["right", "wrong", "not attempted"]
    message: str

    def __str__(self) -> str:
        return f"{_SIGNS[self.status]} {self.status}: {self.message}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        style = f"border-left:4px solid {_COLOURS[self.status]};padding:0.3em 0.8em"
        head = f"<b style='color:{_COLOURS[self.status]}'>{_SIGNS[self.status]} {self.status}</b>"
        return {
            "text/plain": str(self),
            "text/html": f"<div style='{style}'>{head} &mdash; {html.escape(self.message)}</div>",
        }


class _NotAttempted(Exception):
    """The stub is as it was."""


class _Wrong(Exception):
    """Carries the hint."""


def wrong(hint: str) -> NoReturn:
    """End the check: the answer is wrong, and this is the likely mistake."""
    raise _Wrong(hint)


def right(message: str) -> Verdict:
    """The answer is right, and what to take from it."""
    return Verdict("right", message)


def check(function: Callable[..., Verdict]) -> Callable[..., Verdict]:
    """Turn a function that calls `wrong` or returns `right` into a check that never raises.

    An answer of ``None`` or ``...``, or a function that returns one, is an untouched stub. An error inside the
    learner's own function is reported with its name.
    """

    @functools.wraps(function)
    def run(*answers: Any) -> Verdict:
        guarded = [_guard(answer) for answer in answers]
        try:
            if any(answer is None or answer is ... for answer in answers):
                raise _NotAttempted
            return function(*guarded)
        except _NotAttempted:
            return Verdict("not attempted", "fill in the cell above, run it, then run this one again.")
        except _Wrong as hint:
            return Verdict("wrong", str(hint))
        except Exception as error:
            return Verdict("wrong", f"your answer stopped with {type(error).__name__}: {error}")

    return run


def _guard(answer: Any) -> Any:
    """A learner's function that returns nothing has not been written yet."""
    if not callable(answer):
        return answer

    def call(*args: Any, **kwargs: Any) -> Any:
        result = answer(*args, **kwargs)
        if result is None or result is ...:
            raise _NotAttempted
        return result

    return call


def matches(answer: Any, expected: Any, tolerance: float = 1e-6) -> bool:
    """Whether two numbers or arrays agree in shape and within a relative ``tolerance``."""
    got, want = np.asarray(answer, dtype=float), np.asarray(expected, dtype=float)
    return got.shape == want.shape and bool(np.allclose(got, want, rtol=tolerance, atol=0.0, equal_nan=True))
