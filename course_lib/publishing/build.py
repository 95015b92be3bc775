"""Rebuild the stored notebooks from their sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from course_lib.files import write_atomically
from course_lib.publishing import NOTEBOOKS, sources
from course_lib.publishing.execution import NotebookFailed, execute

__all__ = ["build"]


def build(names: Sequence[str] = (), *, folder: Path = NOTEBOOKS) -> None:
    """Execute and store the learner's and the worked notebook of each source.

    Args:
        names: numbers or names of notebooks; none means all.
        folder: holds ``source/``; receives the learner's notebooks, and ``solutions/`` the worked ones.

    Raises:
        ValueError: no source has such a name, or a source's exercises are badly marked.
        NotebookFailed: a notebook does not run to its end; the stored one stays as it was.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: with a message that says what is rebuilt.
    """
    targets = [
        (source, solved, folder / subfolder / f"{source.stem}.ipynb")
        for source in sources.find(folder / "source", names)
        for solved, subfolder in ((False, ""), (True, "solutions"))
    ]
    for n_built, (source, solved, target) in enumerate(targets):
        notebook = sources.read(source, solved=solved)
        target.parent.mkdir(exist_ok=True)
        title = target.relative_to(folder).with_suffix("").as_posix()
        try:
            execute(notebook, folder=target.parent, title=title)
        except NotebookFailed as error:
            raise NotebookFailed(f"{title} {error}. The stored notebook is as it was.") from None
        except KeyboardInterrupt:
            message = f"{n_built} of {len(targets)} notebooks are rebuilt, the others are as they were."
            raise KeyboardInterrupt(message) from None
        write_atomically({target: sources.as_bytes(notebook)})
