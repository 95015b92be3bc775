"""One text source, two notebooks: the learner's and the worked one.

A code cell tagged ``exercise`` holds its solution between ``### BEGIN SOLUTION`` and ``### END SOLUTION``
(nbgrader's convention). The worked notebook keeps what stands between the markers; the learner's has one line
to fill in instead.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode, ValidationError
from nbformat.v4 import new_notebook

__all__ = ["as_bytes", "find", "has_tag", "read"]

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"
BLANK = "# your code here"

# JupyterLab's word for a heading that hides what is below it.
FOLDED = "jp-MarkdownHeadingCollapsed"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def find(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """The sources in ``folder``, in the course's order: all, or those asked for.

    Args:
        folder: where the ``NN_name.py`` files are.
        names: numbers or names, such as ``01`` or ``01_monte_carlo``.

    Raises:
        ValueError: there is no source, or none with such a name.
    """
    sources = sorted(folder.glob("[0-9]*.py"))
    if not sources:
        raise ValueError(
            f"There are no notebook sources in {folder}: they come with the course's repository, not with its wheel."
        )
    for name in names:
        if not any(_is_called(source, name) for source in sources):
            known = ", ".join(source.stem for source in sources)
            raise ValueError(f"No notebook is called {name!r}: there are {known}.")
    return [source for source in sources if not names or any(_is_called(source, name) for name in names)]


def read(source: Path, *, solved: bool) -> NotebookNode:
    """The notebook that ``source`` describes, not yet executed.

    It depends on the text of the source alone: the same text gives the same cell ids and the same metadata.

    Args:
        source: a file in jupytext's percent format.
        solved: whether to keep the solutions (the worked notebook) or leave blanks (the learner's).

    Raises:
        ValueError: the text is no notebook, or a solution's markers are unbalanced, missing or in a cell that
            is no exercise.
    """
    try:
        text = source.read_text(encoding="utf-8")
        cells = [cell for cell in jupytext.reads(text, fmt="py:percent").cells if cell.source.strip()]
    except (ValidationError, UnicodeDecodeError) as error:
        raise ValueError(f"{source.name} is no notebook in the percent format: {error}".partition("\n")[0]) from None
    seen: Counter[str] = Counter()
    n_code_cells = 0
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[digest] += 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        tags = list(cell.metadata.get("tags", []))
        if "widget" in tags:
            tags.append("nbval-ignore-output")
        folded = {FOLDED: True} if cell.metadata.get(FOLDED) else {}
        cell.metadata = NotebookNode({"tags": tags, **folded} if tags else folded)
        if cell.cell_type == "code":
            n_code_cells += 1
            try:
                cell.source = _with_solution(cell.source, solved=solved, is_exercise="exercise" in tags)
            except ValueError as error:
                raise ValueError(f"{source.name}, code cell {n_code_cells}: {error}") from None
    return new_notebook(cells=cells, metadata=METADATA)


def as_bytes(notebook: NotebookNode) -> bytes:
    """The file of a notebook as nbformat writes it, so that equal notebooks are equal files."""
    return f"{nbformat.writes(notebook)}\n".encode()


def has_tag(cell: NotebookNode, tag: str) -> bool:
    """Whether a cell carries ``tag``."""
    return tag in cell.metadata.get("tags", [])


def _is_called(source: Path, name: str) -> bool:
    return name in (source.stem, source.stem.partition("_")[0])


def _with_solution(code: str, *, solved: bool, is_exercise: bool) -> str:
    """``code`` with its solutions kept, or each replaced by a blank at the same indentation."""
    kept: list[str] = []
    inside = False
    n_solutions = 0
    for line in code.split("\n"):
        marker = line.strip()
        if marker not in (BEGIN, END):
            if solved or not inside:
                kept.append(line)
            continue
        if not is_exercise:
            raise ValueError(f"'{marker}' stands in a cell without the tag 'exercise'.")
        if inside == (marker == BEGIN):
            other = END if inside else BEGIN
            raise ValueError(f"'{marker}' with no '{other}' before it.")
        inside = not inside
        if inside:
            n_solutions += 1
            if not solved:
                # An indented block needs a statement; at top level an ellipsis would be the cell's value.
                indent = line[: line.index(BEGIN)]
                kept.append(f"{indent}...  {BLANK}" if indent else BLANK)
    if inside:
        raise ValueError(f"'{BEGIN}' with no '{END}' after it.")
    if is_exercise and n_solutions == 0:
        raise ValueError(f"an exercise with no '{BEGIN}'.")
    return "\n".join(kept)
