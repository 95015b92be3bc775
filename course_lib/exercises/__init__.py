"""Checks for the notebooks' exercises: one file per notebook.

Each check takes the learner's answer and returns a `Verdict`, which a notebook shows as one line: not attempted,
right, or wrong with the likely mistake named. An answer is compared with what is known exactly. Where it comes from a
simulation, a right one is refused at most once in 10,000 times.
"""

from course_lib.exercises.progress import Progress, progress
from course_lib.exercises.verdict import Verdict

__all__ = ["Progress", "Verdict", "progress"]
