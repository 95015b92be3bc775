"""How the course's notebooks come to be, how they run, and what else is made of them.

Maintainers edit one text file per notebook, ``notebooks/source/NN_name.py`` (jupytext's percent format).
:mod:`.sources` reads it as the learner's notebook, exercises open, or as the worked one; :mod:`.build`
executes both and stores them with their outputs, figures in few colours (:mod:`.palette`); :mod:`.run` executes
what learners have on disk and says how each notebook's headline estimate compares with the exact answer.

:mod:`.pages` makes a web page of a notebook and :mod:`.slides` a deck of slides, with formulas as MathML
(:mod:`.formulas`). :mod:`.release` writes what participants get and :mod:`.nbgrader_course` a course for nbgrader;
:mod:`.marks` runs what comes back. :mod:`.lab` opens JupyterLab.
"""

from course_lib.resources import DATA

__all__ = ["BUILD", "NOTEBOOKS"]

# Of the repository. An installed wheel has neither.
NOTEBOOKS = DATA.parent / "notebooks"
BUILD = DATA.parent / "build"
