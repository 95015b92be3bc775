"""Folders that are either whole or not there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["new_folder"]


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a draft beside ``out`` that becomes ``out`` when all went well, and vanishes otherwise.

    Raises:
        ValueError: ``out`` is a file, or a folder with something in it.
        OSError: the draft cannot be made or put in its place.
    """
    out = out.resolve()
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ValueError(f"{out} is there already: remove it, or choose another folder.")
    # A name that the next try clears: a process that is killed here leaves nothing behind for good.
    draft = out.with_name(f".{out.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        if out.is_dir():
            out.rmdir()  # Windows renames nothing onto a folder, not even onto an empty one
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
