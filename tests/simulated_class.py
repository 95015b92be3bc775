"""A class of 24 that never was: its answers are those of CASES in test_exercises.py, and some of its files are mad."""

import ast
import copy
import functools
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from course_lib.publishing import NOTEBOOKS
from course_lib.publishing.marking.exercises import Assignment, assignments
from course_lib.publishing.sources import read

ANSWERS = Path(__file__).with_name("test_exercises.py")
NAMES = (
    *("Ada", "Ben", "Chen", "Dee", "Eve", "Finn", "Gus", "Hana", "Ivo", "Jun", "Kim", "Lea"),
    *("Mia", "Noor", "Olu", "Pia", "Quin", "Rosa", "Sam", "Tom", "Uma", "Vik", "Wen", "Zoe"),
)
# What becomes of the notebooks of some: code in the cell of the exercise with this number, or what the file is.
HANGS = "while True:\n    pass"
HANGS_FOR_GOOD = "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass"
DIES = "import os\nos._exit(3)"
CRASHES = "import ctypes\nctypes.string_at(0)"
# Without flush the kernel itself collects what it is to send, in its own memory.
PRINTS = "for _ in range(1_000):\n    print('x' * 1_000_000, flush=True)"
PRINTS_ON = "while True:\n    print('x' * 1000)"
FORKS = """\
import subprocess, sys
child = "import os, time; open('marks-child', 'w').write(str(os.getpid())); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)"""
ASKS = "standard_error = input('What is it? ')"
HOGS = "import time\nhoard = []\nwhile True:\n    hoard.append(b'x' * 100_000_000)\n    time.sleep(0.1)"

# What the exercises of notebook 01 need of its other cells.
START = """\
import numpy as np
from course_lib.estimates import Estimate
from course_lib.exercises import notebook_01 as check
from course_lib.projects import Project
plan = Project.example()
rng = np.random.default_rng(0)
durations = rng.exponential(plan.means, size=(100_000, 10))
times = plan.completion_times(durations)"""


@dataclass
class Participant:
    """What somebody hands in, and what has to be found in it: exercise -> (status, words of the hint)."""

    name: str
    notebook: NotebookNode
    expected: dict[str, tuple[str, str]] = field(default_factory=dict)
    contents: bytes | None = None

    def hand_in(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(nbformat.writes(self.notebook).encode() if self.contents is None else self.contents)


@functools.cache
def assignment(number: str = "01") -> Assignment:
    return next(a for a in assignments() if a.number == number)


def blank(number: str = "01") -> NotebookNode:
    """A notebook as it is handed out, not yet run."""
    return copy.deepcopy(_blank(number))


@functools.cache
def _blank(number: str) -> NotebookNode:
    return read(next((NOTEBOOKS / "source").glob(f"{number}_*.py")), solved=False)


def cut_down() -> NotebookNode:
    """Notebook 01 with the cells that its exercises need, and no others."""
    notebook = blank()
    ids = {i for exercise in assignment().exercises for i in (exercise.answer_id, exercise.check_id)}
    notebook.cells = [new_code_cell(START)] + [cell for cell in notebook.cells if cell.id in ids]
    return notebook


def fill_in(notebook: NotebookNode, exercise: str, code: str) -> None:
    """Put an answer into the cell of an exercise."""
    answer_id = next(e.answer_id for e in assignment(exercise[:2]).exercises if e.name == exercise)
    next(cell for cell in notebook.cells if cell.id == answer_id).source = code


def answer(exercise: str, *, right: bool, which: int) -> tuple[str, str]:
    """An answer as a cell's text and, of a wrong one, words of the hint."""
    rights, wrongs = (listed.elts for listed in _answers()[exercise])
    chosen = rights[which % len(rights)] if right else wrongs[which % len(wrongs)]
    expression, words = (chosen, "") if right else (chosen.elts[0], ast.literal_eval(chosen.elts[1]))
    name = exercise.partition(".")[2]
    return f"{_what_it_needs(expression)}\n{name} = {ast.unparse(expression)}", words


def filled_in(name: str, notebook: NotebookNode, answers: dict[str, tuple[bool, int]]) -> Participant:
    """A participant with these answers, exercise -> (right, which), and the rest as it was."""
    participant = Participant(name, copy.deepcopy(notebook))
    for exercise in assignment("01").exercises:
        if exercise.name in answers:
            right, which = answers[exercise.name]
            code, words = answer(exercise.name, right=right, which=which)
            fill_in(participant.notebook, exercise.name, code)
            participant.expected[exercise.name] = ("right" if right else "wrong", words)
        else:
            participant.expected[exercise.name] = ("not attempted", "")
    return participant


def a_class(notebook: NotebookNode, *, seed: int = 1) -> list[Participant]:
    """Twenty-four: the later an exercise the fewer have it right or at all, and at the sixth most are stuck."""
    draws = random.Random(seed)
    found = []
    for name in NAMES:
        answers = {}
        reach = draws.choice([4, 5, 6, 6, 7, 7, 7])
        for place, exercise in enumerate(assignment().exercises[:reach], start=1):
            right = draws.random() < (0.25 if place == 6 else 0.85 - 0.03 * place)
            # Of the known mistakes the first ones are the commonest.
            answers[exercise.name] = (right, min(int(draws.expovariate(0.7)), 6))
        found.append(filled_in(name, notebook, answers))
    by_name = {participant.name: participant for participant in found}
    for name, code in (("Ben", HANGS), ("Kim", HANGS_FOR_GOOD), ("Gus", DIES), ("Vik", CRASHES), ("Sam", PRINTS_ON)):
        spoil(by_name[name], 4, code, ends=name in ("Kim", "Gus", "Vik"))
    spoil(by_name["Olu"], 5, PRINTS, ends=False)
    spoil(by_name["Tom"], 3, HOGS, ends=True)
    fork = by_name["Finn"].notebook
    fork.cells.insert(1, new_code_cell(FORKS))
    fill_in(by_name["Uma"].notebook, "01.standard_error", ASKS)
    by_name["Uma"].expected["01.standard_error"] = ("wrong", "input()")
    _without_checks(by_name["Pia"])
    by_name["Ivo"].notebook.cells.insert(0, new_code_cell("this is no Python"))
    by_name["Wen"].notebook, by_name["Wen"].expected = copy.deepcopy(notebook), _untouched()
    for name, contents in (("Zoe", b""), ("Rosa", json.dumps({"cells": 3}).encode()), ("Quin", b"Dear all, ...")):
        by_name[name].contents, by_name[name].expected = contents, {"": ("unreadable", "")}
    return found


def spoil(participant: Participant, number: int, code: str, *, ends: bool) -> None:
    """Put code that does not behave into the cell of an exercise, and expect what comes of it."""
    exercises = assignment().exercises
    name = exercises[number - 1].name
    fill_in(participant.notebook, name, f"{code}\n{name.partition('.')[2]} = None")
    participant.expected[name] = ("stopped", "")
    for later in exercises[number:] if ends else ():
        del participant.expected[later.name]


def _without_checks(participant: Participant) -> None:
    checks = {exercise.check_id for exercise in assignment().exercises}
    participant.notebook.cells = [cell for cell in participant.notebook.cells if cell.id not in checks]


def _untouched() -> dict[str, tuple[str, str]]:
    return {exercise.name: ("not attempted", "") for exercise in assignment().exercises}


@functools.cache
def _module() -> ast.Module:
    return ast.parse(ANSWERS.read_text(encoding="utf-8"))


@functools.cache
def _answers() -> dict[str, Any]:
    """The table CASES as written: exercise -> lists of right answers, and of wrong ones with words."""
    for statement in _module().body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "CASES":
            table: Any = statement.value
            return {
                f"{key.value.id[-2:]}.{key.attr}": value.elts
                for key, value in zip(table.keys, table.values, strict=True)
            }
    raise AssertionError("test_exercises.py has no table CASES.")


@functools.cache
def _definitions() -> dict[str, ast.stmt]:
    """What test_exercises.py defines or imports, by name."""
    found: dict[str, ast.stmt] = {}
    for statement in _module().body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                single = copy.copy(statement)
                single.names = [alias]
                found[alias.asname or alias.name] = single
        elif isinstance(statement, ast.FunctionDef):
            found[statement.name] = statement
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            found[statement.targets[0].id] = statement
    return found


def _what_it_needs(expression: ast.expr) -> str:
    """The imports and definitions that an answer's text refers to, in their order."""
    needed: set[str] = set()
    waiting: list[ast.AST] = [expression]
    while waiting:
        used = {node.id for node in ast.walk(waiting.pop()) if isinstance(node, ast.Name)}
        for name in used & _definitions().keys() - needed:
            needed.add(name)
            waiting.append(_definitions()[name])
    return "\n".join(ast.unparse(definition) for name, definition in _definitions().items() if name in needed)
