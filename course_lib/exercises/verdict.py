"""What a check says: not attempted, right, or wrong and why."""

from __future__ import annotations

import contextlib
import functools
import html
import inspect
import io
import linecache
import math
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn

import numpy as np

from course_lib.checks import brief

__all__ = ["VERDICT_MIME", "Verdict", "check", "last_said", "right", "stops", "wrong"]

# Beside the text that a learner reads: what counts right answers in a notebook reads this.
VERDICT_MIME = "application/vnd.course-lib.verdict+json"
_SIGNS = {"right": "✓", "wrong": "✗", "not attempted": "…"}
# Of a bar, seen on white and on black. The words are in the page's own colour, readable in every theme.
_COLOURS = {"right": "#00916a", "wrong": "#d9480f", "not attempted": "#808080"}
# What an exercise has in the place of the answer, alone on its line or behind the colon of the def.
_DOTS = re.compile(r"(^|:)\s*\.\.\.\s*(#.*)?$", re.MULTILINE)
# PyTorch on a function of tensors that was given a number.
_NO_TENSOR = re.compile(r"(\w+)\(\): argument .* must be Tensor, not (int|float|numpy\.float64)$")
# Python on a method of tensors that was looked for in a number.
_NO_METHOD = re.compile(r"'(?:int|float|numpy\.float64)' object has no attribute '(\w+)'$")
# PyTorch on what NumPy's functions hand on to the methods of a tensor: np.mean, np.std, np.max.
_FOR_NUMPY = re.compile(
    r"unexpected keyword argument '(axis|out|ddof|keepdims)'|\b(axis|ddof)=|argument 'dim' must be int, not NoneType"
)
# What mixing NumPy and tensors with gradients ends in.
_NUMPY_AND_GRADIENTS = re.compile(
    r"Can't call numpy\(\)|'numpy\.ndarray' and 'Tensor'|must be Tensor, not numpy\.ndarray$"
)


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check.

    Attributes:
        status: right, wrong or not attempted.
        message: a sentence for the learner.
        exercise: notebook and check, such as ``01.standard_error``.
        number: of the exercise in its notebook; some have two checks.
    """

    status: Literal["right", "wrong", "not attempted"]
    message: str
    exercise: str = ""
    number: int = 0

    def assert_right(self) -> None:
        """Raise unless the answer is right: how a check becomes points where errors count, as in nbgrader.

        Raises:
            AssertionError: with what a learner would have read.
        """
        if self.status != "right":
            raise AssertionError(str(self))

    def __str__(self) -> str:
        return f"{_SIGNS[self.status]} {self.status}: {self.message}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        style = f"border-left:4px solid {_COLOURS[self.status]};padding:0.3em 0.8em"
        head = f"<b>{_SIGNS[self.status]} {self.status}</b>"
        return {
            "text/plain": str(self),
            "text/html": f"<div style='{style}'>{head} &mdash; {html.escape(self.message)}</div>",
            VERDICT_MIME: {
                "exercise": self.exercise,
                "number": self.number,
                "status": self.status,
                "message": self.message,
            },
        }


# What each check said last in this kernel.
_SAID: dict[str, Verdict] = {}


def last_said(exercise: str) -> Verdict | None:
    """The last verdict of a check in this kernel, by its name such as ``01.standard_error``; none if it did not run."""
    return _SAID.get(exercise)


class _NotAttempted(Exception):
    """The stub is as it was; carries what is missing, where it is only a part."""


class _Wrong(Exception):
    """Carries the hint."""


def wrong(hint: str) -> NoReturn:
    """End the check: the answer is wrong, and this is the likely mistake."""
    raise _Wrong(hint)


def right(message: str) -> Verdict:
    """The answer is right, and what to take from it."""
    return Verdict("right", message)


def stops(answer: Callable[..., Any], *args: Any) -> bool:
    """Whether a learner's function stops with an error when it is called so."""
    try:
        answer(*args)
    except _Wrong:
        return True
    return False


def check(function: Callable[..., Verdict]) -> Callable[..., Verdict]:
    """Turn a function that calls `wrong` or returns `right` into a check that never raises.

    An answer of ``None`` or ``...`` is an untouched stub, and so is a function that returns one, unless it printed
    something, returned an answer before, or its dots are gone. Of several answers those that are missing are named
    by the check's parameters, which therefore have the names that the notebook gives them. An error inside the
    learner's own function is reported with its line and with what the function was called with.

    The check has ``exercise``, its notebook and name, and ``number``, which its docstring begins with; so do its
    verdicts.
    """
    exercise = f"{function.__module__.rpartition('_')[2]}.{function.__name__}"
    numbered = re.match(r"Exercise (\d+):", function.__doc__ or "")
    number = int(numbered[1]) if numbered else 0
    # The annotation says which of the check's arguments is the learner's function.
    parameters = inspect.signature(function).parameters
    asks_for_function = [str(parameter.annotation).startswith("Callable") for parameter in parameters.values()]

    def outcome(*answers: Any) -> Verdict:
        try:
            empty = [
                f"{name} is still {'None' if answer is None else '...'}"
                for name, answer in zip(parameters, answers, strict=False)
                if answer is None or answer is ...
            ]
            if empty:
                raise _NotAttempted(", ".join(empty) if len(empty) < len(answers) else "")
            if any(asked and not callable(answer) for asked, answer in zip(asks_for_function, answers, strict=False)):
                wrong("give the check your function itself, by its name and without calling it.")
            return function(*map(_guard, answers))
        except _NotAttempted as missing:
            start = f"{missing}: fill in the rest of" if str(missing) else "fill in"
            return Verdict("not attempted", f"{start} the cell above, run it, then run this one again.")
        except _Wrong as hint:
            return Verdict("wrong", str(hint))
        except Exception as error:
            return Verdict(
                "wrong",
                "the check cannot read your answer. Is it of the kind that the cell above asks for? "
                f"(It stopped with {type(error).__name__}: {brief(error)})",
            )

    @functools.wraps(function)
    def run(*answers: Any) -> Verdict:
        verdict = _SAID[exercise] = replace(outcome(*answers), exercise=exercise, number=number)
        return verdict

    run.exercise, run.number = exercise, number  # type: ignore[attr-defined]
    return run


def _guard(answer: Any) -> Any:
    """A learner's function, whose errors, missing returns and warnings are dealt with here."""
    if not callable(answer) or isinstance(answer, type):
        return answer

    has_answered = False

    def call(*args: Any) -> Any:
        nonlocal has_answered
        _check_parameters(answer, args)
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed), np.errstate(all="ignore"):
                result = answer(*args)
        except _Wrong:  # from what the check handed over
            raise
        except Exception as error:
            raise _Wrong(_where(answer, error, args)) from None
        finally:
            print(printed.getvalue(), end="")
        if result is None and has_answered:
            wrong(
                f"your function, called with {_listed(args)}, returns nothing, though before it did. End every way "
                "through it with `return` and the answer."
            )
        if result is None and printed.getvalue().strip():
            wrong("your function prints something and returns nothing. End it with `return` and the answer.")
        if result is None and not _has_dots(answer):
            wrong(f"your function, called with {_listed(args)}, returns nothing. End it with `return` and the answer.")
        if result is None or result is ...:
            raise _NotAttempted
        has_answered = True
        return result

    return call


def _check_parameters(answer: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """End the check if the function cannot take ``args``."""
    try:
        signature = inspect.signature(answer)
    except ValueError:  # some built-in functions have none
        return
    try:
        signature.bind(*args)
    except TypeError:
        count = "one argument" if len(args) == 1 else f"{len(args)} arguments"
        wrong(
            f"the check calls your function with {count} ({_listed(args)}), but its parameters are {signature}. "
            "Give it those that the exercise had."
        )


def _has_dots(answer: Callable[..., Any]) -> bool:
    """Whether the dots of the exercise still stand in the function; also where its text is not to be had."""
    try:
        return _DOTS.search(inspect.getsource(answer)) is not None
    except (OSError, TypeError):
        return True


def _where(answer: Callable[..., Any], error: Exception, args: tuple[Any, ...]) -> str:
    """Where a learner's function stopped, why, and what it had been called with."""
    file = getattr(getattr(answer, "__code__", None), "co_filename", None)
    # The last line of the learner's own: the library's lines below it would say nothing to them.
    lines = [
        linecache.getline(frame.f_code.co_filename, line).strip()
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == file
    ]
    place = f" at `{lines[-1]}`" if lines and lines[-1] else ""
    return f"your function, called with {_listed(args)}, stopped{place}: {_reason(error, args)}"


def _reason(error: Exception, args: tuple[Any, ...]) -> str:
    """Why, in words where the error's own are for programmers."""
    if type(error) is NameError:  # not UnboundLocalError, which is one
        return f"{brief(error)}. Is it misspelt, or was the cell that makes it not run?"
    # PyTorch's list of all that it would have taken is long.
    said, kind = brief(error).partition(", but expected one of")[0].rstrip("."), type(error).__name__
    needs_gradient = any(getattr(value, "requires_grad", False) for value in args)
    if needs_gradient and (_NUMPY_AND_GRADIENTS.search(said) or _FOR_NUMPY.search(said)):
        # PyTorch's own advice, to detach, would leave nothing to differentiate.
        said = said.removesuffix(". Use tensor.detach().numpy() instead")
        return (
            f"{said} ({kind}). NumPy stops the gradient: use torch's functions (torch.exp, torch.softmax, torch.rand)."
        )
    return f"{kind}." if said == kind else f"{said} ({kind}).{_remedy(said, args)}"


def _remedy(said: str, args: tuple[Any, ...]) -> str:
    """A sentence for errors that name no way out."""
    no_tensor = _NO_TENSOR.match(said)
    if no_tensor and hasattr(math, no_tensor[1]):
        return f" For a plain number use `math.{no_tensor[1]}`."
    no_method = _NO_METHOD.search(said)
    if no_method and hasattr(math, no_method[1]):
        return f" For a plain number use `math.{no_method[1]}`."
    if no_method and no_method[1] in ("numpy", "detach", "item"):
        return f" It is a plain number already: leave out `.{no_method[1]}()`."
    if _FOR_NUMPY.search(said) and any(_is_tensor(value) for value in args):
        return " Your inputs are torch tensors: use `t.mean()` and `t.std()`, or `np.asarray(t)` first."
    if "torch.return_types.m" in said:
        return " In torch `t.max(0)` returns values and places: use `t.amax(0)`, and `t.amin(0)` for the smallest."
    if said == "math domain error":
        return " A negative number has no logarithm and no root, and 0 no logarithm."
    if "must have same number of dimensions" in said or said.startswith("zero-dimensional tensor"):
        return " `t[None]` adds an axis in front of a tensor `t`."
    return ""


def _listed(args: tuple[Any, ...]) -> str:
    words = [_described(value) for value in args]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _described(value: Any) -> str:
    """An argument in a word: the shape of an array, the value of a number, or the kind of anything else."""
    if getattr(value, "shape", ()):
        kind = "a tensor" if _is_tensor(value) else "an array"
        return f"{kind} of shape {list(value.shape)}"
    if isinstance(value, str | list | tuple | int):
        return repr(value)
    return f"{float(value):g}" if hasattr(value, "__float__") else f"a {type(value).__name__}"


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.startswith("torch") and hasattr(value, "shape")
