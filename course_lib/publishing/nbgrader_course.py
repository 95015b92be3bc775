"""The course for nbgrader: one assignment a notebook, one point a check."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import jupytext
from nbformat import NotebookNode

from course_lib.publishing import NOTEBOOKS, sources
from course_lib.publishing.folders import new_folder
from course_lib.publishing.handed_out import without_worked_versions

__all__ = ["graded", "nbgrader_course"]

# nbgrader's own format of what it knows of a cell.
SCHEMA = 3
CHECK = re.compile(r"check\.(\w+)\(.*\)", re.DOTALL)
POINTS = (
    "Each check counts one point. Until your answer is right, a check ends with an error that says what is missing; "
    "the notebook runs on."
)
CONFIG = '''\
"""How nbgrader makes and grades this course's assignments. Run it in this folder."""

c = get_config()  # noqa: F821 (nbgrader defines it)

c.CourseDirectory.course_id = "monte-carlo-to-vaes"

# What learners find in the place of a solution. The notebook runs on past it.
c.ClearSolutions.code_stub = {"python": "...  # your code here"}

# Some cells train a network.
c.Execute.timeout = 600  # seconds

# To nbgrader any text on stderr is a failure, and a warning would cost a right answer its point.
c.IgnorePattern.enabled = True
c.IgnorePattern.pattern = r"[\\s\\S]"
'''


def nbgrader_course(out: Path, *, folder: Path = NOTEBOOKS, say: Callable[[str], object] = print) -> Path:
    """Write a course folder for nbgrader: the sources of its assignments, with solutions, and its configuration.

    It is the instructor's: ``nbgrader generate_assignment`` makes from it what learners get.

    Args:
        out: a folder that is not there yet, or is empty.
        folder: holds ``source/``.
        say: receives a line for each assignment.

    Returns:
        the folder, as an absolute path.

    Raises:
        ValueError: there are no sources, one is badly marked, or ``out`` is not empty.
        OSError: a file cannot be read or written.
    """
    paths = sources.find(folder / "source")
    with new_folder(out) as draft:
        for path in paths:
            notebook = graded(path)
            target = draft / "source" / path.stem / f"{path.stem}.ipynb"
            target.parent.mkdir(parents=True)
            target.write_bytes(sources.as_bytes(notebook))
            n_points = sum(cell.metadata.get("nbgrader", {}).get("points", 0) for cell in notebook.cells)
            say(f"{path.stem}: {n_points} points")
        (draft / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    return out.resolve()


def graded(source: Path) -> NotebookNode:
    """The notebook that ``source`` describes, solutions marked, as nbgrader wants an instructor's.

    An exercise is a cell that nbgrader empties of its solution. A check is a locked cell with one point; it shows its
    verdict as ever and then raises unless that is "right", because errors are what nbgrader counts. Its tag lets
    JupyterLab run on past the error.

    Raises:
        ValueError: the text is no notebook or a solution is badly marked.
    """
    notebook = sources.read(source, solved=True)  # complains of what is badly marked
    text = source.read_text(encoding="utf-8")
    marked = [cell for cell in jupytext.reads(text, fmt="py:percent").cells if cell.source.strip()]
    answer: NotebookNode | None = None
    for cell, original in zip(notebook.cells, marked, strict=True):
        called = CHECK.fullmatch(cell.source) if cell.cell_type == "code" else None
        if cell.cell_type == "markdown":
            cell.source = without_worked_versions(cell.source, instead=POINTS)
        elif sources.has_tag(cell, "exercise"):
            cell.source = original.source
            answer = cell
        elif called:
            if answer:
                _describe(answer, f"{called[1]}_answer", solution=True)
                answer = None
            _describe(cell, called[1], grade=True, locked=True, points=1)
            cell.source = f"verdict = {cell.source}\ndisplay(verdict)\nverdict.assert_right()  # the point"
            _tag(cell, "raises-exception")
        elif sources.has_tag(cell, "widget"):
            # Learners can use the slider. A grader that runs all cells may wait for it for ever (nbclient issue 312).
            _tag(cell, "skip-execution")
    if answer:
        raise ValueError(f"{source.name}: the last exercise has no check below it.")
    return notebook


def _describe(
    cell: NotebookNode,
    name: str,
    *,
    grade: bool = False,
    solution: bool = False,
    locked: bool = False,
    points: int | None = None,
) -> None:
    """Write what nbgrader has to know of ``cell`` into its metadata."""
    known = {"grade": grade, "grade_id": name, "locked": locked, "schema_version": SCHEMA, "solution": solution}
    worth = {} if points is None else {"points": points}
    cell.metadata.nbgrader = NotebookNode(known | worth | {"task": False})


def _tag(cell: NotebookNode, tag: str) -> None:
    cell.metadata.tags = [*cell.metadata.get("tags", []), tag]
