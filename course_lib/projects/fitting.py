"""Proposals fitted to the late projects of a plan: by samples, or by exact variance."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from course_lib.checks import fraction, real_number, whole_number
from course_lib.projects.durations import Gamma
from course_lib.projects.law import completion_law
from course_lib.projects.plan import Project
from course_lib.projects.proposals import Proposal

__all__ = ["cross_entropy", "minimum_variance"]

Floats = NDArray[np.float64]


def cross_entropy(
    plan: Project, deadline: float, n: int = 20_000, seed: int = 0, elite: float = 0.1, max_rounds: int = 50
) -> Proposal:
    """Laws chosen from samples: in each round, the members of their families that fit the latest projects so far.

    The level rises to the deadline by quantiles, because at first no draw comes near it. For exponentials what is
    fitted are means, with the limit ``completion_law(plan).late_means(deadline)`` of many draws; for other laws see
    `course_lib.projects.durations`. It minimizes a Kullback-Leibler divergence, not the variance.

    One law for each task cannot make one of many paths late at a time. Where many are about equally long the level can
    stall; then take a `mixture` with a component for each, ``mixture([scaled(plan, f, path) for path in paths])``, and
    f near the deadline over the mean length of a path, or `splitting`, which needs no paths.

    Args:
        plan: the plan.
        deadline: days.
        n: draws in each round.
        seed: of the draws.
        elite: the share of draws that set the next level.
        max_rounds: rounds before giving up.

    Raises:
        ValueError: an argument out of range, or the level does not reach the deadline.

    Source: [Rubinstein1997]; [Boer2005].
    """
    n, deadline = whole_number("n", n, least=100), real_number("the deadline", deadline, "days")
    if math.isinf(deadline):
        raise ValueError(f"the deadline must be finite; got {deadline}.")
    longest = float(plan.completion_times([law.support[1] for law in plan.durations]))
    if deadline > longest:
        raise ValueError(f"no project of this plan takes more than {longest:g} days; choose an earlier deadline.")
    elite, max_rounds = fraction("elite", elite), whole_number("max_rounds", max_rounds)
    rng = np.random.default_rng(whole_number("the seed", seed, least=0))
    proposal = Proposal(plan, plan.durations)
    level = -math.inf
    for _ in range(max_rounds):
        durations = proposal.draw(rng, n)
        times = plan.completion_times(durations)
        reached, level = level >= deadline, min(deadline, float(np.quantile(times, 1 - elite)))
        late = durations[times >= level]
        log_w = proposal.log_weights(late)
        statistics = np.stack([law.statistic(late[:, j]) for j, law in enumerate(plan.durations)], axis=1)
        averages = np.average(statistics, axis=0, weights=np.exp(log_w - log_w.max())).tolist()
        proposal = Proposal(plan, [law.member(average) for law, average in zip(plan.durations, averages, strict=True)])
        if reached and level >= deadline:
            return proposal
    raise ValueError(
        f"cross_entropy reached {level:.4g} of {deadline:g} days in {max_rounds} rounds; "
        "raise n or choose an earlier deadline, or, if several paths may be the longest, use splitting, or "
        "mixture([scaled(plan, f, path) for path in paths]) with f near the deadline over the mean length of a path."
    )


def minimum_variance(plan: Project, deadline: float) -> Proposal:
    """The product of exponentials with the smallest exact variance, found by descent on its logarithm.

    Args:
        plan: the plan, with exponential or Erlang durations; of the latter it is the product with the same shapes.
        deadline: days.

    Raises:
        ValueError: other durations, or as for `Proposal.relative_variance`; `cross_entropy` needs no chain.
        RuntimeError: the search did not converge.
    """
    late_means = completion_law(plan).late_means(deadline)
    shapes = np.array([law.shape if isinstance(law, Gamma) else math.nan for law in plan.durations])
    if np.isnan(shapes).any():
        task = plan.tasks[int(np.argmax(np.isnan(shapes)))]
        raise ValueError(f"task {task!r}: minimum_variance needs exponential or Erlang durations; use cross_entropy.")

    def objective(log_ratio: Floats) -> tuple[float, Floats]:
        own = plan.means * np.exp(log_ratio)
        second_moment = Proposal(plan, own).log_second_moment(deadline)
        assert second_moment is not None  # by the bounds
        value, law = second_moment
        # For a shape k, d/d log own of log c_j = k - k / (own r_j); of log P_r = -elasticity / (own r_j), where
        # r_j = 2/m_j - 1/own_j, all of one stage.
        own_times_rate = 2 * own / plan.means - 1
        return value, shapes - (shapes + law.elasticities(deadline)) / own_times_rate

    # The variance is finite above half the nominal mean; the bound keeps clear of it.
    bounds = [(math.log(0.55), None)] * len(plan.tasks)
    found = optimize.minimize(objective, np.log(late_means / plan.means), jac=True, method="L-BFGS-B", bounds=bounds)
    if not found.success:
        raise RuntimeError(f"the search for the smallest variance stopped early: {found.message}")
    return Proposal(plan, plan.means * np.exp(found.x))
