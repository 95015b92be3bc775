"""Files that are either whole or as they were."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbformat import NotebookNode

__all__ = ["write_notebook", "write_text"]


def write_notebook(path: Path, notebook: NotebookNode) -> None:
    """Write ``notebook`` as nbformat does, so that equal notebooks are equal files.

    Raises:
        OSError: the file cannot be written.
    """
    write_text(path, nbformat.writes(notebook) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` in one step: an interruption leaves the old file.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
