"""How the course's notebooks come to be, and how they run.

Maintainers edit one text file per notebook, ``notebooks/source/NN_name.py`` (jupytext's percent format).
:mod:`.sources` reads it as the learner's notebook, exercises open, or as the worked one; :mod:`.build`
executes both and stores them with their outputs; :mod:`.run` executes what learners have on disk and says how
each notebook's headline estimate compares with the exact answer.
"""

from pathlib import Path

__all__ = ["BUILD", "NOTEBOOKS"]

_ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = _ROOT / "notebooks"
BUILD = _ROOT / "build"
