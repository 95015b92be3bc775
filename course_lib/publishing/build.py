"""Rebuild the stored notebooks from their sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.reader import NotJSONError

from course_lib.files import write_atomically
from course_lib.publishing import NOTEBOOKS, sources
from course_lib.publishing.execution import NotebookFailed, execute
from course_lib.publishing.palette import with_palettes

__all__ = ["build"]


def build(names: Sequence[str] = (), *, everything: bool = False, folder: Path = NOTEBOOKS) -> None:
    """Execute and store the learner's and the worked notebook of each source.

    A stored notebook that has the cells of its source, each of them executed, is left as it is, and the log says
    so. That says nothing of the library: where a change of it moves an output, ask for the notebook by its name.

    Args:
        names: numbers or names of notebooks, rebuilt in any case; none means all that are out of date.
        everything: whether to rebuild those that are up to date, too.
        folder: holds ``source/``; receives the learner's notebooks, and ``solutions/`` the worked ones.

    Raises:
        ValueError: no source has such a name, or a source's exercises are badly marked.
        NotebookFailed: a notebook does not run to its end; the stored one stays as it was.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: with a message that says what is rebuilt.
    """
    targets: list[tuple[str, Path, NotebookNode]] = []
    for source in sources.find(folder / "source", names):
        for solved, subfolder in ((False, ""), (True, "solutions")):
            target = folder / subfolder / f"{source.stem}.ipynb"
            title = target.relative_to(folder).with_suffix("").as_posix()
            notebook = sources.read(source, solved=solved)
            if not names and not everything and _is_up_to_date(target, notebook):
                print(f"{title}: up to date")
            else:
                targets.append((title, target, notebook))
    for n_built, (title, target, notebook) in enumerate(targets):
        target.parent.mkdir(exist_ok=True)
        try:
            execute(notebook, folder=target.parent, title=title)
        except NotebookFailed as error:
            raise NotebookFailed(f"{title} {error}. The stored notebook is as it was.") from None
        except KeyboardInterrupt:
            message = f"{n_built} of {len(targets)} notebooks are rebuilt, the others are as they were."
            raise KeyboardInterrupt(message) from None
        with_palettes(notebook)
        write_atomically({target: sources.as_bytes(notebook)})


def _is_up_to_date(path: Path, notebook: NotebookNode) -> bool:
    """Whether ``notebook`` is stored at ``path``, run from top to bottom."""
    try:
        stored = nbformat.read(path, as_version=4)
    except (OSError, NotJSONError, nbformat.ValidationError):
        return False
    counts = [cell.execution_count for cell in stored.cells if cell.cell_type == "code"]
    return counts == list(range(1, len(counts) + 1)) and _described(stored) == _described(notebook)


def _described(notebook: NotebookNode) -> list[tuple[Any, ...]]:
    return [(cell.cell_type, cell.get("id"), cell.source, cell.metadata) for cell in notebook.cells]
