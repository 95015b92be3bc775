"""Half one: a plan of uncertain tasks, and the chance that it is late.

A :class:`Project` is read from a table; `durations` has the laws that its tasks may follow. `completion_law` gives the
exact law of its completion time where the plan is small enough and made of exponential stages. `monte_carlo`,
`importance_sampling`, `conditional_monte_carlo` and `splitting` estimate the chance of missing a deadline for a plan of
any size; `control_variates`, `antithetic`, `stratified` and `sobol` estimate it, or the mean, from draws that depend on
each other. `scaled`, `twisted`, `tilted`, `cross_entropy`, `minimum_variance` and `mixture` choose where to sample, and
`late_projects` shows what a late project looks like.
"""

from course_lib.projects import durations
from course_lib.projects.fitting import cross_entropy, minimum_variance
from course_lib.projects.law import CompletionLaw, completion_law, late_projects
from course_lib.projects.plan import Project
from course_lib.projects.proposals import (
    Mixture,
    Proposal,
    mixture,
    scaled,
    tilted,
    twisted,
)
from course_lib.projects.simulation import conditional_monte_carlo, importance_sampling, monte_carlo
from course_lib.projects.splitting import splitting
from course_lib.projects.variance_reduction import antithetic, control_variates, sobol, stratified

__all__ = [
    "CompletionLaw",
    "Mixture",
    "Project",
    "Proposal",
    "antithetic",
    "completion_law",
    "conditional_monte_carlo",
    "control_variates",
    "cross_entropy",
    "durations",
    "importance_sampling",
    "late_projects",
    "minimum_variance",
    "mixture",
    "monte_carlo",
    "scaled",
    "sobol",
    "splitting",
    "stratified",
    "tilted",
    "twisted",
]
