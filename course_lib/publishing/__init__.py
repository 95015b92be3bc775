"""How the course's notebooks come to be, and how they run.

Maintainers edit one text file per notebook, ``notebooks/source/NN_name.py`` (jupytext's percent format).
:mod:`.sources` reads it as the learner's notebook, exercises open, or as the worked one; :mod:`.build`
executes both and stores them with their outputs, figures in few colours (:mod:`.palette`); :mod:`.run` executes
what learners have on disk and says how each notebook's headline estimate compares with the exact answer.
"""

from course_lib.resources import DATA

__all__ = ["BUILD", "NOTEBOOKS"]

# Of the repository. An installed wheel has neither.
NOTEBOOKS = DATA.parent / "notebooks"
BUILD = DATA.parent / "build"
