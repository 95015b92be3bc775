"""Where the course's data are: the plan, the download registry, the trained checkpoints with their cards."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DATA"]

_PACKAGE = Path(__file__).resolve().parent

# A checkout has them beside the package; an installed wheel, which is the package alone, inside it.
DATA = _PACKAGE / "data" if (_PACKAGE / "data").is_dir() else _PACKAGE.parent / "data"
