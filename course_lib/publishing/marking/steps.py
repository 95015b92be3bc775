"""Which cells of a learner's notebook to run, with the course's own checks in their places."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nbformat import NotebookNode

from course_lib.publishing.marking.exercises import Assignment, Exercise, bound_names, called_check
from course_lib.publishing.sources import BLANK

__all__ = ["Step", "steps"]


@dataclass(frozen=True)
class Step:
    """A piece of code to run.

    Attributes:
        code: its text.
        cell: which of the notebook's code cells it is, from 1.
        exercise: to which exercise it belongs, if to any.
        is_check: whether it is the check.
        is_attempt: whether it is an answer that differs from the blank.
        is_handed_out: whether it is a cell of the course as it was.
    """

    code: str
    cell: int
    exercise: Exercise | None = None
    is_check: bool = False
    is_attempt: bool = False
    is_handed_out: bool = False


def steps(cells: Sequence[NotebookNode], assignment: Assignment) -> list[Step]:
    """The code cells up to the last check.

    A check's cell gets the course's own text again, whatever has become of it; what it defines is run before. A check
    that is missing comes back behind the answer's cell. An exercise of which neither is there gets no step.
    """
    by_check_id = {exercise.check_id: exercise for exercise in assignment.exercises if exercise.check_id}
    by_answer_id = {exercise.answer_id: exercise for exercise in assignment.exercises if exercise.answer_id}
    by_function = {exercise.function: exercise for exercise in assignment.exercises}
    found: list[Step] = []
    for number, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), start=1):
        code, names = cell.source, bound_names(cell.source)
        checked = by_function.get(called_check(code)) or by_check_id.get(cell.get("id", ""))
        answered = [exercise for exercise in assignment.exercises if names & exercise.answers]
        if by_answer_id.get(cell.get("id", "")) and not answered:
            answered = [exercise for exercise in assignment.exercises if exercise.answer_id == cell.id]
        if checked and not checked.check:
            _claim(found, checked, code)
        if checked and not names:
            found.append(_check(checked, code, number, assignment))
            continue
        exercise = answered[0] if answered else None
        is_attempt = exercise is not None and _differs(code, exercise)
        is_handed_out = code in assignment.handed_out
        found.append(Step(code, number, exercise, is_attempt=is_attempt, is_handed_out=is_handed_out))
        # Two checks may judge one cell.
        found += [Step("", number, other, is_attempt=is_attempt) for other in answered[1:]]
        if checked:
            found.append(_check(checked, "" if checked.check else code, number, assignment))
    return _up_to_last_check(_with_missing_checks(found, assignment))


def _check(exercise: Exercise, code: str, number: int, assignment: Assignment) -> Step:
    # Whatever the learner's cells have made of the name `check`.
    module = f"from course_lib.exercises import notebook_{assignment.number} as check"
    return Step(f"{module}\n{exercise.check or code}", number, exercise, is_check=True)


def _claim(found: list[Step], exercise: Exercise, check: str) -> None:
    """Where only the learner's check says what it checks: the last cell that defines it is the answer's."""
    asked = set(re.findall(r"[^\W\d]\w*", check.partition("(")[2]))
    for place in reversed(range(len(found))):
        step = found[place]
        if not step.is_check and asked & bound_names(step.code):
            found[place] = replace(step, exercise=step.exercise or exercise, is_attempt=_differs(step.code, exercise))
            return


def _differs(code: str, exercise: Exercise) -> bool:
    if exercise.blank:
        return code.split() != exercise.blank.split()
    return BLANK not in code


def _with_missing_checks(found: list[Step], assignment: Assignment) -> list[Step]:
    checked = {step.exercise for step in found if step.is_check}
    for exercise in assignment.exercises:
        places = [place for place, step in enumerate(found) if step.exercise is exercise]
        if exercise not in checked and exercise.check and places:
            found.insert(places[-1] + 1, _check(exercise, "", found[places[-1]].cell, assignment))
    return found


def _up_to_last_check(found: list[Step]) -> list[Step]:
    n_steps = max((place for place, step in enumerate(found, start=1) if step.is_check), default=0)
    return [step for step in found[:n_steps] if step.code.strip() or step.exercise]
