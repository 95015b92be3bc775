"""The exercises of the course's notebooks, and which cells of a notebook belong to them."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

import course_lib.exercises
from course_lib.publishing import NOTEBOOKS, sources

__all__ = ["Assignment", "Exercise", "assignments", "bound_names", "called_check"]

_HEADING = re.compile(r"^#+ (Exercise (\d+)\b.*)$", re.MULTILINE)
_NUMBERED = re.compile(r"Exercise (\d+)\b")
_CHECK_FILE = re.compile(r"notebook_(\d\d)\.py$")


@dataclass(frozen=True)
class Exercise:
    """One check of a notebook and the cell that it judges.

    Attributes:
        name: notebook and check, such as ``01.standard_error``, as its verdicts say it.
        number: of the exercise in its notebook.
        title: its heading.
        check: the course's own text of the check's cell; empty where the course's notebooks are not there.
        check_id: of that cell.
        blank: the cell for the answer as it is handed out.
        answer_id: of that cell.
    """

    name: str
    number: int
    title: str
    check: str = ""
    check_id: str = ""
    blank: str = ""
    answer_id: str = ""

    @property
    def function(self) -> str:
        """The check's name alone."""
        return self.name.partition(".")[2]

    @functools.cached_property
    def answers(self) -> frozenset[str]:
        """The names that an answer gives a meaning to, as far as the check asks for them."""
        asked = {node.id for node in ast.walk(ast.parse(self.check)) if isinstance(node, ast.Name)}
        return frozenset(asked & bound_names(self.blank))


@dataclass(frozen=True)
class Assignment:
    """A notebook of the course.

    Attributes:
        name: such as ``01_monte_carlo``.
        exercises: in order.
        handed_out: the texts of its code cells as learners get them.
    """

    name: str
    exercises: tuple[Exercise, ...]
    handed_out: frozenset[str] = frozenset()

    @property
    def number(self) -> str:
        """Its two digits."""
        return self.name[:2]


@functools.cache
def assignments(folder: Path = NOTEBOOKS) -> tuple[Assignment, ...]:
    """The course's notebooks.

    Where neither their sources nor they themselves are there, as beside an installed wheel, the checks alone say which
    exercises there are.
    """
    paths = sorted((folder / "source").glob("[0-9][0-9]_*.py")) or sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    found = {path.stem[:2]: _of_notebook(path) for path in paths}
    for path in sorted(Path(course_lib.exercises.__path__[0]).glob("notebook_*.py")):
        number = _CHECK_FILE.search(path.name)
        if number and number[1] not in found:
            found[number[1]] = Assignment(number[1], _of_checks(path, number[1]))
    return tuple(found[number] for number in sorted(found))


def bound_names(code: str) -> set[str]:
    """What a cell's own lines give a meaning to: functions, classes, variables. Of what is no Python, nothing."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names = set()
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names |= {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    return names


def called_check(code: str) -> str:
    """The function of a cell whose last line calls one of ``check``, or an empty text."""
    lines = [line for line in code.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found = re.match(r"check\.(\w+)\(", lines[-1]) if lines else None
    if found:
        return found[1]
    # A call that is spread over lines.
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    function = getattr(getattr(body[-1], "value", None), "func", None) if body else None
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "check":
        return function.attr
    return ""


def _of_notebook(path: Path) -> Assignment:
    is_source = path.suffix == ".py"
    notebook = sources.read(path, solved=False) if is_source else nbformat.read(path, as_version=4)
    code = frozenset(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return Assignment(path.stem, _of_cells(notebook.cells, path.stem[:2]), code)


def _of_cells(cells: Sequence[NotebookNode], notebook: str) -> tuple[Exercise, ...]:
    found: list[Exercise] = []
    number, title, answer = 0, "", None
    for cell in cells:
        if cell.cell_type == "markdown":
            for heading in _HEADING.finditer(cell.source):
                number, title = int(heading[2]), heading[1]
        elif sources.has_tag(cell, "exercise"):
            answer = cell
        elif answer is not None and (function := called_check(cell.source)):
            name = f"{notebook}.{function}"
            found.append(Exercise(name, number, title, cell.source, cell.id, answer.source, answer.id))
    return tuple(found)


def _of_checks(path: Path, notebook: str) -> tuple[Exercise, ...]:
    """From the text of the checks, which need not be imported: some would bring torch along."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            numbered = _NUMBERED.match(ast.get_docstring(node) or "")
            if numbered:
                title = f"Exercise {numbered[1]}: {node.name.replace('_', ' ')}"
                found.append(Exercise(f"{notebook}.{node.name}", int(numbered[1]), title))
    return tuple(sorted(found, key=lambda exercise: exercise.number))
