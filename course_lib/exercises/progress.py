"""How far a learner is: which exercises of a notebook are right."""

from __future__ import annotations

import html
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from course_lib.exercises.verdict import last_said

__all__ = ["Progress", "progress"]


@dataclass(frozen=True)
class Progress:
    """The numbers of a notebook's exercises, by what their checks said last; one that has two needs both right."""

    right: tuple[int, ...]
    wrong: tuple[int, ...]
    not_attempted: tuple[int, ...]

    def __str__(self) -> str:
        n = len(self.right) + len(self.wrong) + len(self.not_attempted)
        parts = [f"{len(self.right)} of {n} exercises right"]
        parts += [
            f"{what}: {', '.join(map(str, numbers))}"
            for what, numbers in (("wrong", self.wrong), ("not attempted", self.not_attempted))
            if numbers
        ]
        return "; ".join(parts)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        n = len(self.right) + len(self.wrong) + len(self.not_attempted)
        # The bar repeats the words, so a screen reader may pass it over.
        bar = f"<progress aria-hidden='true' max='{n}' value='{len(self.right)}'></progress>"
        return {"text/plain": str(self), "text/html": f"<div>{bar} {html.escape(str(self))}</div>"}


def progress(check: ModuleType) -> Progress:
    """What the checks of a notebook said last, in this kernel.

    Args:
        check: the notebook's checks, such as ``course_lib.exercises.notebook_01``.
    """
    said: dict[int, list[str]] = {}
    for name in check.__all__:
        function = getattr(check, name)
        verdict = last_said(function.exercise)
        said.setdefault(function.number, []).append(verdict.status if verdict else "not attempted")
    right = {number for number, statuses in said.items() if set(statuses) == {"right"}}
    wrong = {number for number, statuses in said.items() if "wrong" in statuses}
    left = said.keys() - right - wrong
    return Progress(*(tuple(sorted(numbers)) for numbers in (right, wrong, left)))
