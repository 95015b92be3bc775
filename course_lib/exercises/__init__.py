"""Checks for the notebooks' exercises: one file per notebook.

Each check takes the learner's answer and returns a `Verdict`, which a notebook shows as one line: not attempted,
right, or wrong with the likely mistake named. An answer is compared with what is known exactly; where it comes
from a simulation, within four of its standard errors.
"""

from course_lib.exercises.verdict import Verdict

__all__ = ["Verdict"]
