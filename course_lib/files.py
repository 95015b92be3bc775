"""Files that are either whole or as they were."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(contents: Mapping[Path, bytes]) -> None:
    """Replace files, so that each of them holds either its old or its new contents, whole, whatever happens.

    All of them are written out before the first is put in its place, so without space none changes. Only a process
    killed between two of the renamings at the end leaves some files new and some old.

    Args:
        contents: what each file shall hold; folders on the way are made.

    Raises:
        OSError: a file cannot be written, for want of space for example; the message names it.
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
