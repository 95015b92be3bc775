"""Marks as one web page: where the class is stuck, seen from the back of a room."""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Sequence
from html import escape

from course_lib.publishing.marking.exercises import Assignment, Exercise
from course_lib.publishing.marking.judging import STATUSES, Mark
from course_lib.publishing.marking.table import matrix, unfinished

__all__ = ["page"]

SYMBOLS = {"right": "✓", "wrong": "✗", "not attempted": "…", "stopped": "■"}
HINTS = 4  # of each exercise
# The picture, in its own units.
WIDTH, LABELS, BAR, GAP = 760, 220, 26, 12

STYLE = """\
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #555; --paper: #fff; --line: #ccc;
  --right: #b8e4d3; --right-ink: #003d29; --wrong: #ffc79f; --wrong-ink: #571d00;
  --not-attempted: #e6e6e6; --not-attempted-ink: #3a3a3a; --stopped: #d8c6f0; --stopped-ink: #35115c; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --soft: #b5b5b5; --paper: #16181b; --line: #4a4d52;
  --right: #0c5a43; --right-ink: #e6fff6; --wrong: #933a10; --wrong-ink: #fff3ea;
  --not-attempted: #363a40; --not-attempted-ink: #dddddd; --stopped: #553088; --stopped-ink: #f4eaff; } }
body { font: 1.05rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 0 auto; padding: 1rem; overflow-wrap: break-word; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; } h3 { margin: 1.6rem 0 0.3rem; }
.lead { font-size: 1.2rem; } .soft { color: var(--soft); }
.wide { overflow-x: auto; } svg { display: block; width: 100%; min-width: 38rem; height: auto; }
svg text { font: 15px system-ui, sans-serif; fill: var(--ink); } svg .stuck { font-weight: 700; }
.right { background: var(--right); color: var(--right-ink); fill: var(--right); }
.wrong { background: var(--wrong); color: var(--wrong-ink); fill: var(--wrong); }
.not-attempted { background: var(--not-attempted); color: var(--not-attempted-ink); fill: var(--not-attempted); }
.stopped { background: var(--stopped); color: var(--stopped-ink); fill: var(--stopped); }
svg text.right { fill: var(--right-ink); } svg text.wrong { fill: var(--wrong-ink); }
svg text.not-attempted { fill: var(--not-attempted-ink); } svg text.stopped { fill: var(--stopped-ink); }
.key { display: inline-block; padding: 0 0.6em; margin: 0 0.4em 0.4em 0; border-radius: 4px; }
table { border-collapse: separate; border-spacing: 2px; } th { text-align: left; font-weight: 400; padding: 0 0.6em; }
thead th { text-align: center; vertical-align: top; padding: 0 0.2em; min-width: 5.2rem; line-height: 1.2; }
td { text-align: center; } tfoot th, tfoot td { border-top: 2px solid var(--line); font-weight: 700; }
tbody th { white-space: nowrap; max-width: 18rem; overflow: hidden; text-overflow: ellipsis; }
td b { font-size: 1.1em; }
ul { padding-left: 1.3rem; } .hints li { margin: 0.3rem 0; } .hints b { display: inline-block; min-width: 2.2em; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.number { display: none; } body:has(#hide:checked) .name { display: none; }
body:has(#hide:checked) .number { display: inline; }
input { width: 1.2em; height: 1.2em; vertical-align: -0.2em; }
"""


def page(marks: Sequence[Mark], assignments: Sequence[Assignment], *, n_missing: int = 0) -> str:
    """A page that needs nothing but itself.

    Args:
        marks: the rows of the table.
        assignments: the course's notebooks.
        n_missing: how many notebooks are still to run.
    """
    # By a hash, so that who comes first in the alphabet is not participant 1.
    people = sorted({mark.participant for mark in marks}, key=lambda name: hashlib.sha256(name.encode()).digest())
    numbers = {participant: number for number, participant in enumerate(people, start=1)}
    sections = [_section(a, matrix(marks, a), numbers) for a in assignments if matrix(marks, a)]
    waiting = f" <strong>{n_missing} more are still to run</strong>: load the page again later." if n_missing else ""
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Where the class is stuck</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>",
            "<h1>Where the class is stuck</h1>",
            f'<p class="soft">{_count(len(people), "participant")}, {time.strftime("%d %B %Y, %H:%M")}.{waiting} '
            "The notebooks themselves report these marks: they show where help is needed, and are no grades.</p>",
            '<p><label><input type="checkbox" id="hide"> Hide names, to show this page to the class</label></p>',
            *sections,
            _troubles(unfinished(marks), numbers),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _section(assignment: Assignment, rows: dict[str, list[Mark]], numbers: dict[str, int]) -> str:
    columns = list(zip(*rows.values(), strict=True))
    counts = [Counter(mark.status for mark in column) for column in columns]
    # Where few are right and many tried.
    fewest = min(range(len(counts)), key=lambda place: (counts[place]["right"], -counts[place]["wrong"]))
    return "\n".join(
        [
            f'<section>\n<h2 id="n{escape(assignment.number)}">{escape(assignment.name)}</h2>',
            _lead(assignment.exercises[fewest], columns[fewest]),
            _picture(assignment, counts, fewest),
            f"<h3>Who has what</h3>\n{_heat_map(assignment, rows, counts, numbers)}",
            f"<h3>What the hints say</h3>\n{_hints(assignment.exercises, columns)}\n</section>",
        ]
    )


def _lead(exercise: Exercise, column: Sequence[Mark]) -> str:
    n_right = sum(mark.status == "right" for mark in column)
    if n_right == len(column):
        return '<p class="lead">Everybody has everything right.</p>'
    said = _commonest(column)
    hint = f" The commonest hint ({said[0][1]}): {_marked_up(said[0][0])}" if said and said[0][1] > 1 else ""
    return (
        f'<p class="lead">Fewest are right at <strong>{escape(exercise.title)}</strong>: {n_right} of {len(column)}.'
        f"{hint}</p>"
    )


def _picture(assignment: Assignment, counts: Sequence[Counter[str]], stuck: int) -> str:
    """A bar for each exercise, divided as the class is."""
    total = sum(counts[0].values())
    height = len(counts) * (BAR + GAP)
    shapes = []
    for place, (exercise, count) in enumerate(zip(assignment.exercises, counts, strict=True)):
        y, x = place * (BAR + GAP), float(LABELS)
        middle = y + BAR * 0.7
        name = f"{exercise.number}  {exercise.function.replace('_', ' ')}"
        emphasis = ' class="stuck"' if place == stuck and count["right"] < total else ""
        shapes.append(f'<text x="{LABELS - 10}" y="{middle:.0f}" text-anchor="end"{emphasis}>{escape(name)}</text>')
        for status in STATUSES[:4]:
            width = (WIDTH - LABELS) * count[status] / total
            if width:
                look = status.replace(" ", "-")
                shapes.append(f'<rect class="{look}" x="{x:.1f}" y="{y}" width="{width - 1.5:.1f}" height="{BAR}"/>')
                words = f"{SYMBOLS[status]} {count[status]}" if width > 44 else f"{count[status]}"
                if width > 18:
                    at = f'x="{x + width / 2:.1f}" y="{middle:.0f}"'
                    shapes.append(f'<text class="{look}" {at} text-anchor="middle">{words}</text>')
            x += width
    in_words = "; ".join(
        f"exercise {exercise.number}, {exercise.function.replace('_', ' ')}: "
        + ", ".join(f"{count[status]} {status}" for status in STATUSES[:4] if count[status])
        for exercise, count in zip(assignment.exercises, counts, strict=True)
    )
    alternative = f"A bar for each exercise, divided as the {_count(total, 'participant')} are. {in_words}."
    keys = " ".join(
        f'<span class="key {status.replace(" ", "-")}">{SYMBOLS[status]} {status}</span>' for status in STATUSES[:4]
    )
    return (
        f'<p>{keys}</p>\n<div class="wide" tabindex="0" role="group" aria-label="Bars of {escape(assignment.name)}">'
        f'<svg role="img" viewBox="0 0 {WIDTH} {height}" aria-label="{escape(alternative)}">\n'
        + "\n".join(shapes)
        + "\n</svg></div>"
    )


def _heat_map(
    assignment: Assignment, rows: dict[str, list[Mark]], counts: Sequence[Counter[str]], numbers: dict[str, int]
) -> str:
    heads = "".join(
        f'<th scope="col" title="{escape(exercise.title)}"><b>{_numeral(exercise, assignment)}</b><br>'
        f"<small>{escape(exercise.function.replace('_', ' '))}</small></th>"
        for exercise in assignment.exercises
    )
    lines = []
    for participant, row in rows.items():
        cells = "".join(
            f'<td class="{mark.status.replace(" ", "-")}" title="{escape(mark.hint)}">'
            f'<b aria-hidden="true">{SYMBOLS[mark.status]}</b><span class="unseen">{mark.status}</span></td>'
            for mark in row
        )
        lines.append(f'<tr><th scope="row">{_person(participant, numbers)}</th>{cells}</tr>')
    totals = "".join(f"<td>{count['right']}</td>" for count in counts)
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="Table of {escape(assignment.name)}"><table>\n'
        f'<caption class="unseen">Each participant\'s answers, most right ones first</caption>\n'
        f'<thead><tr><th scope="col"><span class="unseen">participant</span></th>{heads}</tr></thead>\n<tbody>\n'
        + "\n".join(lines)
        + f'\n</tbody>\n<tfoot><tr><th scope="row">right</th>{totals}</tr></tfoot>\n</table></div>\n'
        '<p class="soft">A mark\'s hint appears when the pointer rests on it; all are in marks.csv.</p>'
    )


def _numeral(exercise: Exercise, assignment: Assignment) -> str:
    """The exercise's number, with a letter where it has several checks."""
    same = [other for other in assignment.exercises if other.number == exercise.number]
    return f"{exercise.number}{'abcdef'[same.index(exercise)] if len(same) > 1 else ''}"


def _hints(exercises: Sequence[Exercise], columns: Sequence[Sequence[Mark]]) -> str:
    parts = []
    for exercise, column in zip(exercises, columns, strict=True):
        said = _commonest(column)
        if said:
            items = "".join(f"<li><b>{n} ×</b> {_marked_up(hint)}</li>" for hint, n in said[:HINTS])
            n_rest = sum(n for _, n in said[HINTS:])
            rest = f'<p class="soft">and {n_rest} more.</p>' if n_rest else ""
            parts.append(f'<h4>{escape(exercise.title)}</h4>\n<ul class="hints">{items}</ul>{rest}')
    return "\n".join(parts) or "<p>None was given.</p>"


def _commonest(column: Sequence[Mark]) -> list[tuple[str, int]]:
    """The hints of wrong answers with how many got them; those that differ in numbers alone are one."""
    groups: dict[str, list[str]] = {}
    for mark in column:
        if mark.status == "wrong":
            groups.setdefault(re.sub(r"-?\d[\d,.]*(e[+-]?\d+)?", "#", mark.hint), []).append(mark.hint)
    return sorted(((hints[0], len(hints)) for hints in groups.values()), key=lambda pair: -pair[1])


def _troubles(marks: Sequence[Mark], numbers: dict[str, int]) -> str:
    if not marks:
        return ""
    items = "".join(
        f"<li><strong>{_person(mark.participant, numbers)}</strong> {escape(mark.notebook)}: {escape(mark.told)}</li>"
        for mark in marks
    )
    return f"<section>\n<h2>Not run, or stopped</h2>\n<ul>{items}</ul>\n</section>"


def _person(participant: str, numbers: dict[str, int]) -> str:
    number = f"participant {numbers[participant]}"
    return f'<span class="name">{escape(participant)}</span><span class="number">{number}</span>'


def _marked_up(hint: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(hint))


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
