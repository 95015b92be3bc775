"""Checks for notebook 02, importance sampling for the 70-day deadline."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from course_lib.checks import real_number
from course_lib.estimates import Estimate
from course_lib.exercises.verdict import Verdict, check, matches, right, wrong
from course_lib.projects import Project, Proposal, completion_law, late_projects, minimum_variance

__all__ = ["log_weights", "mended", "mixture_log_weights", "own_plan", "relative_variance", "second_moment"]


@check
def log_weights(answer: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Verdict:
    """Exercise 1: log p - log q, summed over tasks."""
    p_means, q_means = np.array([4.0, 2.0, 5.0]), np.array([8.0, 2.0, 15.0])
    durations = np.random.default_rng(0).exponential(q_means, size=(6, 3))
    ratios = np.log(q_means / p_means) + durations * (1 / q_means - 1 / p_means)
    expected = ratios.sum(axis=1)
    got = np.asarray(answer(durations, p_means, q_means), dtype=float)
    if got.shape == durations.shape and np.allclose(got, ratios):
        wrong("those are the terms of each task; the density of all tasks is their product, so sum over axis 1.")
    if got.shape != expected.shape:
        wrong(f"one log-weight for each draw, please: for durations of shape (6, 3) I expected (6,), not {got.shape}.")
    if np.allclose(got, -expected):
        wrong("that is log q - log p. A draw from q counts p/q times, so the log-weight is log p - log q.")
    if np.allclose(got, (durations * (1 / q_means - 1 / p_means) - np.log(q_means / p_means)).sum(axis=1)):
        wrong("the factors 1/mean have the wrong sign: log(1/p_mean) - log(1/q_mean) is log(q_mean / p_mean).")
    if np.allclose(got, np.exp(expected)):
        wrong("those are the weights themselves; return their logarithms.")
    if np.allclose(got, (durations * (1 / q_means - 1 / p_means)).sum(axis=1)):
        wrong(
            "the exponents are right, but each density also has the factor 1/mean in front: add log(q_means / p_means)."
        )
    if not np.allclose(got, expected):
        wrong(f"the first log-weight of my test should be {expected[0]:.4f}; yours is {got[0]:.4f}.")
    return right("draws that q makes too often get negative log-weights, and those it makes too rarely positive ones.")


@check
def second_moment(answer: Callable[[float], float]) -> Verdict:
    """Exercise 2: c^2 / (2 c - 1), infinite for c <= 1/2."""
    got = float(answer(2.0))
    if matches(got, 1.0):
        wrong("1 is the mean of w. Its square has mean integral of p(t)^2 / q(t), which for c = 2 is 4/3.")
    if matches(got, 1 / 3):
        wrong("that is the variance of w, E[w^2] - 1; the exercise asks for E[w^2].")
    if matches(got, 2 / 3):
        wrong("one factor c is missing: 1/q(t) is c e^(t/c), and the integral of e^(-t (2 - 1/c)) is c / (2 c - 1).")
    if not matches(got, 4 / 3):
        wrong(f"for c = 2 the integral is 4/3; yours is {got}. Write p(t)^2 / q(t) as a constant times e^(-rate t).")
    for c in (0.3, 0.5):
        try:
            diverges = float(answer(c)) == math.inf
        except ZeroDivisionError:
            diverges = False
        if not diverges:
            wrong(f"for c = {c} the exponent 2 - 1/c is not positive and the integral diverges: return np.inf.")
    if not matches(float(answer(0.75)), 1.125):
        wrong(f"it is right for c = 2, but for c = 0.75 the integral is 9/8; yours is {float(answer(0.75))}.")
    return right("twice the mean costs a third more; half the mean costs everything.")


@check
def mended(answer: Proposal) -> Verdict:
    """Exercise 3: tasks 1, 2, 4 and 10 times 3."""
    if not isinstance(answer, Proposal):
        wrong("make a proposal, with scaled(plan, factor, tasks) or Proposal(plan, means).")
    plan = Project.example()
    if answer.plan != plan:
        wrong("that proposal is for another plan; make it from the `plan` of this notebook.")
    factors = dict(zip(plan.tasks, answer.means / plan.means, strict=True))
    scaled_tasks = {task for task, factor in factors.items() if factor != 1}
    if factors["10"] == 6:
        wrong("that is the post's proposal. Divide its means by the plan's: one task on the path is scaled by 6.")
    if scaled_tasks == set(plan.tasks):
        wrong("every task is scaled; only those on the critical path should be.")
    if "10" not in scaled_tasks and {"1", "2", "4"} <= scaled_tasks:
        wrong("task 10 is on the critical path too; scale it by 3 like the others instead of leaving it out.")
    if matches(answer.means, np.where(np.isin(plan.tasks, plan.critical_path()), 4.0, 1.0) * plan.means):
        wrong("that mends the other one, x 4; here the factor should be 3.")
    wanted = np.where(np.isin(plan.tasks, plan.critical_path()), 3.0, 1.0) * plan.means
    if not matches(answer.means, wanted):
        j = next(j for j in range(len(wanted)) if answer.means[j] != wanted[j])
        wrong(f"the mean of task {plan.tasks[j]} should be {wanted[j]:g} days, not {answer.means[j]:g}.")
    return right(
        f"task 10 was scaled by 6; with 3 the relative variance is {answer.relative_variance(70):.0f}, not 183."
    )


@check
def relative_variance(answer: Callable[[Proposal, np.ndarray, float], float]) -> Verdict:
    """Exercise 4: E[w | late] / P - 1."""
    plan = Project.example()
    probability = float(completion_law(plan).sf(70))
    proposal = minimum_variance(plan, 70)
    late = late_projects(plan, 70, 20_000, seed=8)
    w = np.exp(proposal.log_weights(late))
    exact = proposal.relative_variance(70)
    # The learner sees the same late projects, so only the exact value carries their sampling error.
    error = float(w.std() / math.sqrt(len(w)) / probability)
    got = float(answer(proposal, late, probability))
    if matches(got, exact, 1e-9):
        wrong("that is the library's exact value; average over the late projects, which also works where it does not.")
    if matches(got, w.mean() / probability):
        wrong(
            "that is the relative second moment; the variance is the second moment less the squared mean: subtract 1."
        )
    if matches(got, (w**2).mean() / probability - 1) or matches(got, (w**2).mean() / probability**2 - 1):
        wrong("under the law of late projects one factor w is already in the draws: average w, not its square.")
    if matches(got, w.mean() - 1) or matches(got, w.mean()):
        wrong("that is not yet relative: the second moment is P times the average of w, and is divided by P squared.")
    if matches(got, np.var(w) / np.mean(w) ** 2, 1e-3):
        wrong("that is the variance of w among late projects; the one asked for is that of f w under the proposal.")
    if abs(got - exact) > 4 * error:
        wrong(f"for the minimum-variance proposal the exact value is {exact:.1f}; yours is {got:.3g}.")
    return right(f"you found {got:.1f} from late projects, and the exact value is {exact:.1f}.")


@check
def mixture_log_weights(answer: Callable[[np.ndarray, np.ndarray, float], np.ndarray]) -> Verdict:
    """Exercise 5: the balance heuristic in log space."""
    a, b, share = np.array([-3.0, 0.5, 2.0]), np.array([1.0, -0.5, -900.0]), 0.3
    expected = -np.logaddexp(np.log(share) - a, np.log(1 - share) - b)
    got = np.asarray(answer(a, b, share), dtype=float)
    if got.shape != a.shape:
        wrong(f"one log-weight for each draw, please: shape {a.shape}, not {got.shape}.")
    first = slice(0, 2)
    if np.allclose(got[first], np.log(share * np.exp(a[first]) + (1 - share) * np.exp(b[first]))):
        wrong(
            "that averages the weights p/q_k. Average the densities q_k, below the fraction line: 1 / sum(share / w)."
        )
    if np.allclose(got[first], -np.logaddexp(-a, -b)[first]):
        wrong("the shares are missing: the mixture density is share * q_1 + (1 - share) * q_2.")
    if np.allclose(got[first], -np.logaddexp(np.log(1 - share) - a, np.log(share) - b)[first]):
        wrong("the shares are swapped: `share` belongs to the first component.")
    if np.allclose(got[first], -expected[first]):
        wrong("that is the log-density ratio q/p of the mixture; the weight is p/q, so change the sign.")
    if np.allclose(got, a) or np.allclose(got, b):
        wrong(
            "that is the weight of one component alone; a draw could have come from either, so divide by the mixture."
        )
    if not np.isfinite(got).all():
        wrong("a log-weight of -900 makes exp overflow or vanish; stay in log space with np.logaddexp.")
    if not np.allclose(got, expected):
        wrong(f"for log-weights -3 and 1 and share 0.3 the answer is {expected[0]:.4f}; yours is {got[0]:.4f}.")
    return right("a draw is light as soon as one component would often have made it.")


@check
def own_plan(plan: Project, deadline: float, estimate: Estimate) -> Verdict:
    """Exercise 6: a rare event in the learner's plan, to 5 %, without a caution."""
    if not isinstance(plan, Project):
        wrong("my_plan should be a Project, from Project.from_csv(path) or Project(means, predecessors).")
    if plan == Project.example():
        wrong("that is the course's own plan; bring one of yours, it may be small.")
    if not isinstance(estimate, Estimate):
        wrong("my_estimate should be what importance_sampling or conditional_monte_carlo returns.")
    if estimate.n_hits == 0:
        wrong("no draw missed the deadline; choose a proposal that is late more often, or an earlier deadline.")
    if estimate.caveats:
        wrong(
            f"the diagnostics raise a caution ({estimate.caveats[0]}); try cross_entropy with more draws, or a mixture."
        )
    if estimate.std_error > 0.05 * estimate.value:
        wrong(
            f"the standard error is {estimate.std_error / estimate.value:.0%} of the estimate; "
            "draw more, or from a better proposal, until it is below 5 %."
        )
    if estimate.value > 0.01:
        wrong(f"a probability of {estimate.value:.2g} is not rare yet; choose a later deadline, for less than 1 %.")
    try:
        deadline = real_number("my_deadline", deadline, "days")
    except ValueError as reason:
        wrong(str(reason))
    try:
        exact = float(completion_law(plan).sf(deadline))
    except ValueError as reason:
        return right(f"{estimate.rounded}. There is no exact answer to compare with: {reason}")
    comparison = estimate.against(exact)
    if not comparison.agrees:
        wrong(
            f"the diagnostics are content, but the exact probability is {exact:.4g} and yours is {estimate.rounded}: "
            "is my_estimate for this plan and this deadline? If so, your proposal misses a way of being late."
        )
    return right(f"{comparison}.")
