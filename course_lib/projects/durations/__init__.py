r"""What is known of one task's duration: its probability law.

A plan takes a law for each task (`course_lib.projects.Project`). A number of days stands for an exponential with that
mean; people who plan have three points (`Pert`, `Triangular`), a mean and a spread (`Lognormal`, `Gamma`), or a
distribution of `scipy.stats`.

Each law draws as fast as NumPy does, and turns a standard normal number into a duration, which is what splitting and
Sobol points need. Some are made of exponential stages: plans of these have an exact law of the completion time.

Each law has a family of one parameter to sample from in its place. `cross_entropy` fits it by matching an average.
For exponentials, gammas and hyperexponentials it is the mean, and the members are tilted: their density is the
law's times :math:`e^{\theta t}`. For any other law it is the mean of the *cumulative hazard*
:math:`H(t) = -\log P(T > t)`, exponential with mean 1 whatever the law, and the member with mean c has
:math:`P(T > t)^{1/c}` in place of :math:`P(T > t)`. It covers the same durations, and makes a heavy tail heavier, where
to multiply the durations would leave its shape as it is: hazard-rate twisting [Juneja2002]. For an exponential,
tilting, twisting and multiplying are the same.
"""

from __future__ import annotations

from typing import Any

from course_lib.projects.durations.base import Duration, Twisted, mean_days
from course_lib.projects.durations.points import Fixed, Pert, Triangular, Uniform, symmetric
from course_lib.projects.durations.staged import Exponential, Gamma, Hyperexponential, erlang
from course_lib.projects.durations.tails import Continuous, Lognormal

__all__ = [
    "Continuous",
    "Duration",
    "Exponential",
    "Fixed",
    "Gamma",
    "Hyperexponential",
    "Lognormal",
    "Pert",
    "Triangular",
    "Twisted",
    "Uniform",
    "as_duration",
    "erlang",
    "symmetric",
]


def as_duration(value: Any) -> Duration:
    """A law as it is, a distribution of `scipy.stats` as one, and a number of days as an exponential of that mean.

    Raises:
        ValueError: it is none of these, or no positive, finite number.
    """
    if isinstance(value, Duration):
        return value
    return Continuous(value) if hasattr(value, "dist") else Exponential(mean_days(value))
