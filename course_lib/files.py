"""Files that are either whole or as they were."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(contents: Mapping[Path, bytes]) -> None:
    """Replace files, so that whatever happens either the old or the new contents are there, whole.

    All of them are written out before the first is put in its place: without space, or when killed, none changes.

    Raises:
        OSError: they cannot be written, for want of space for example.
    """
    # Names that the next try writes over: a process that is killed here leaves nothing behind for good.
    drafts = {path: path.with_name(f".{path.name}.new") for path in contents}
    try:
        for path, draft in drafts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(draft, "wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for path, draft in drafts.items():
            os.replace(draft, path)
    except OSError as error:
        raise OSError(f"cannot write {path} ({error.strerror or error}); what was there before is unharmed.") from None
    finally:
        for draft in drafts.values():
            with suppress(OSError):
                draft.unlink()
