"""Marks as CSV and as a table for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from course_lib.publishing.marking.exercises import Assignment
from course_lib.publishing.marking.judging import STATUSES, Mark

__all__ = ["as_csv", "as_text", "matrix", "unfinished"]

COLUMNS = ("participant", "notebook", "exercise", "status", "hint")
# Letters that every terminal has.
LETTERS = {"right": "+", "wrong": "x", "not attempted": ".", "stopped": "!"}


def as_csv(marks: Sequence[Mark]) -> bytes:
    """The table as a file. What a spreadsheet would take for a formula gets an apostrophe in front."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for mark in marks:
        values = [getattr(mark, column) for column in COLUMNS]
        writer.writerow([f"'{value}" if value.startswith(("=", "+", "-", "@")) else value for value in values])
    return text.getvalue().encode()


def matrix(marks: Sequence[Mark], assignment: Assignment) -> dict[str, list[Mark]]:
    """Of each participant of a notebook one mark for each exercise, in order.

    An exercise that a notebook did not get to is stopped, with the reason. One that comes from two files has the
    first one's mark. Participants are in the order of how much they have right, and of their names.
    """
    rows: dict[str, dict[str, Mark]] = {}
    reasons: dict[str, Mark] = {}
    for mark in marks:
        if mark.notebook == assignment.name and mark.status != "unreadable":
            rows.setdefault(mark.participant, {}).setdefault(mark.exercise, mark)
            if mark.status == "stopped":
                reasons[mark.participant] = mark
    found = {}
    for participant, row in rows.items():
        missing = reasons.get(participant) or Mark(participant, assignment.name, "", "not attempted", "")
        found[participant] = [row.get(exercise.name, missing) for exercise in assignment.exercises]
    return dict(sorted(found.items(), key=lambda item: (-_n_right(item[1]), item[0].casefold())))


def unfinished(marks: Sequence[Mark]) -> list[Mark]:
    """What could not be run, or not to its end."""
    return [mark for mark in marks if mark.status in ("stopped", "unreadable")]


def as_text(marks: Sequence[Mark], assignments: Sequence[Assignment]) -> str:
    """A table for each notebook, and below it how many have each exercise right."""
    parts = []
    for assignment in assignments:
        rows = matrix(marks, assignment)
        if not rows:
            continue
        width = max(map(len, (assignment.name, *rows, *(f". {status}" for status in STATUSES))))
        numbers = [f"{exercise.number:>4}" for exercise in assignment.exercises]
        lines = [f"{assignment.name:{width}}{''.join(numbers)}"]
        lines += [f"{name:{width}}{''.join(f'{LETTERS[m.status]:>4}' for m in row)}" for name, row in rows.items()]
        lines.append("-" * len(lines[0]))
        for status in STATUSES[:4]:
            counts = [sum(row[place].status == status for row in rows.values()) for place in range(len(numbers))]
            if any(counts):
                lines.append(f"{LETTERS[status] + ' ' + status:{width}}{''.join(f'{count:>4}' for count in counts)}")
        parts.append("\n".join(lines))
    troubles = unfinished(marks)
    if troubles:
        parts.append("\n".join(f"{mark.participant}: {mark.told}" for mark in troubles))
    return "\n\n".join(parts)


def _n_right(row: Sequence[Mark]) -> int:
    return sum(mark.status == "right" for mark in row)
