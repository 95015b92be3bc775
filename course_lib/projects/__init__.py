"""Half one: a plan of uncertain tasks, and the chance that it is late.

A :class:`Project` is read from a table. `completion_law` gives the exact law of its completion time where the
plan is small enough; `monte_carlo`, `importance_sampling` and `conditional_monte_carlo` estimate the chance of
missing a deadline for a plan of any size; `scaled`, `cross_entropy`, `minimum_variance` and `mixture` choose where
to sample, and `late_projects` shows what a late project looks like.
"""

from course_lib.projects.law import CompletionLaw, completion_law, late_projects
from course_lib.projects.plan import Project
from course_lib.projects.proposals import Mixture, Proposal, cross_entropy, minimum_variance, mixture, scaled
from course_lib.projects.simulation import conditional_monte_carlo, importance_sampling, monte_carlo

__all__ = [
    "CompletionLaw",
    "Mixture",
    "Project",
    "Proposal",
    "completion_law",
    "conditional_monte_carlo",
    "cross_entropy",
    "importance_sampling",
    "late_projects",
    "minimum_variance",
    "mixture",
    "monte_carlo",
    "scaled",
]
