"""A learner's notebook becomes marks: one for each exercise, and one that says why there are no more."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import matplotlib.font_manager  # which makes the list of fonts where there is none

from course_lib.publishing.marking.exercises import Assignment, Exercise
from course_lib.publishing.marking.kernel import Kernel, KernelEnded, Limits, Said
from course_lib.publishing.marking.steps import Step
from course_lib.publishing.marking.submissions import plain

__all__ = ["STATUSES", "Mark", "judge"]

STATUSES = ("right", "wrong", "not attempted", "stopped", "unreadable")
HINT = 600  # characters
NO_INPUT = "StdinNotImplementedError"


@dataclass(frozen=True)
class Mark:
    """One row of the table.

    Attributes:
        participant: whose notebook it is.
        notebook: its name, such as ``01_monte_carlo``; empty where nothing says so.
        exercise: as verdicts call it, such as ``01.standard_error``; empty where the row is about the whole notebook.
        status: one of `STATUSES`.
        hint: what the check said, or why there is no more to say.
    """

    participant: str
    notebook: str
    exercise: str
    status: str
    hint: str

    @property
    def told(self) -> str:
        """Status, exercise and hint as a line of text."""
        return f"{self.status}{f' at {self.exercise}' if self.exercise else ''}: {self.hint}"


def judge(
    steps: Sequence[Step],
    assignment: Assignment,
    *,
    participant: str,
    files: Path,
    limits: Limits,
    cancelled: threading.Event,
) -> list[Mark]:
    """Run the steps in a kernel of their own and collect what the checks say.

    Args:
        steps: of one notebook.
        assignment: which notebook of the course it is.
        participant: whose it is.
        files: a temporary folder with what lay beside it.
        limits: of time and memory.
        cancelled: ends the kernel when set.
    """
    heard: dict[int, Said] = {}
    ended, last = "", None
    with tempfile.TemporaryDirectory(prefix="marks-", ignore_cleanup_errors=True) as home:
        _furnish(Path(home))
        try:
            with Kernel(files, Path(home), limits, cancelled) as kernel:
                for place, step in enumerate(steps):
                    last = step
                    # The course's own cells take what they take: a busy machine is not the learner's fault.
                    seconds = limits.seconds if step.is_handed_out else limits.cell_seconds
                    heard[place] = kernel.run(step.code, seconds) if step.code.strip() else Said()
        except KernelEnded as end:
            ended = str(end)
    by_exercise: dict[str, list[tuple[Step, Said | None]]] = {e.name: [] for e in assignment.exercises}
    for place, step in enumerate(steps):
        if step.exercise:
            by_exercise[step.exercise.name].append((step, heard.get(place)))
    marks = []
    for exercise in assignment.exercises:
        found = _mark(exercise, by_exercise[exercise.name], is_cut_short=bool(ended))
        if found:
            marks.append(Mark(participant, assignment.name, exercise.name, *found))
    if ended:
        marks.append(_end(ended, last, assignment, participant, {mark.exercise for mark in marks}))
    else:
        stopped = {mark.exercise for mark in marks if mark.status == "stopped"}
        cut = [
            f"code cell {step.cell}: {said.stopped} The notebook went on."
            for step, said in zip(steps, heard.values(), strict=True)
            if said.stopped and not (step.exercise and step.exercise.name in stopped)
        ]
        marks += [Mark(participant, assignment.name, "", "stopped", reason) for reason in cut[:1]]
    return marks


def _end(reason: str, last: Step | None, assignment: Assignment, participant: str, marked: set[str]) -> Mark:
    """The row of a notebook whose kernel ended: about the exercise where it did or, elsewhere, about the whole."""
    name = last.exercise.name if last and last.exercise and last.exercise.name not in marked else ""
    where = f"code cell {last.cell}: " if last else ""
    rest = [e.function for e in assignment.exercises if e.name not in marked and e.name != name]
    not_reached = f" Not reached: {', '.join(rest)}." if rest else ""
    return Mark(participant, assignment.name, name, "stopped", f"{where}{plain(reason)}{not_reached}")


def _furnish(home: Path) -> None:
    """The folders that a kernel expects, and matplotlib's list of fonts, which takes seconds to make."""
    for name in ("tmp", "ipython", "matplotlib"):
        (home / name).mkdir()
    for path in Path(matplotlib.get_cachedir()).glob("fontlist*.json"):
        shutil.copy(path, home / "matplotlib")


def _mark(
    exercise: Exercise, outcomes: Sequence[tuple[Step, Said | None]], *, is_cut_short: bool
) -> tuple[str, str] | None:
    """Status and hint of one exercise; none if the kernel ended before its check."""
    if not outcomes:
        return None if is_cut_short else ("not attempted", "its cells are not in the notebook.")
    answers = [(step, said) for step, said in outcomes if not step.is_check]
    checks = [said for step, said in outcomes if step.is_check]
    reached = [said for said in checks if said]
    if not reached and (is_cut_short or not checks):
        return None if is_cut_short else ("not attempted", "its check is not in the notebook.")
    is_attempt = any(step.is_attempt for step, _ in answers)
    stopped = next((said.stopped for _, said in answers if said and said.stopped), "")
    error = next((said.error for _, said in reversed(answers) if said and said.error), "")
    verdict = _verdict(exercise, reached)
    if verdict and (verdict[0] != "not attempted" or not is_attempt or not (stopped or error)):
        return verdict
    if stopped:
        return "stopped", f"the answer's cell: {stopped}"
    if error and is_attempt:
        return "wrong", f"its cell stops with {_short(error)}"
    last = reached[-1]
    if last.stopped:
        return "stopped", f"the check: {last.stopped}"
    if is_attempt:
        return "wrong", f"the check stops with {_short(last.error)}" if last.error else "the check said nothing."
    return "not attempted", f"its check stops with {_short(last.error)}" if last.error else ""


def _verdict(exercise: Exercise, checks: Sequence[Said]) -> tuple[str, str] | None:
    """What the exercise's check said last."""
    for said in reversed(checks):
        for verdict in reversed(said.verdicts):
            if verdict.get("exercise") == exercise.name and verdict.get("status") in STATUSES[:3]:
                return str(verdict["status"]), plain(str(verdict.get("message", "")))[:HINT]
    return None


def _short(error: str) -> str:
    if error.startswith(NO_INPUT):
        return "input(), which nobody is there to answer."
    # IPython names the cell by a number that nobody knows.
    return re.sub(r"\(\d+\.py, line", "(line", plain(error))[:HINT]
