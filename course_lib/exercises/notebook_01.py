"""Checks for notebook 01, Monte Carlo on the project."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from course_lib.exercises.verdict import Verdict, check, matches, right, wrong
from course_lib.projects import Project, completion_law

__all__ = ["criticality", "estimates", "mean_of_max", "projects_needed", "standard_error", "upper_bound"]


@check
def standard_error(answer: Callable[[np.ndarray], float]) -> Verdict:
    """Exercise 1: sigma / sqrt(n)."""
    samples = np.random.default_rng(0).exponential(4.0, size=2_000)
    n, std = len(samples), samples.std(ddof=1)
    got = answer(samples)
    if matches(got, std):
        wrong("that is the spread of single projects. The mean of n of them spreads less: divide by the root of n.")
    if matches(got, std**2 / n, 1e-3):
        wrong("that is the variance of the mean. The standard error is its square root, in days.")
    if matches(got, std / n, 1e-3):
        wrong(
            "the standard deviation is divided by n; it is the variance that shrinks like 1/n, so divide by its root."
        )
    # With or without Bessel's correction: they differ by one part in 2 n.
    if not matches(got, std / math.sqrt(n), 1 / n):
        expected = std / math.sqrt(n)
        wrong(f"for 2,000 samples with standard deviation {std:.3f} the answer is {expected:.4f}; yours is {got}.")
    return right("the error of a mean shrinks with the root of the number of draws.")


@check
def estimates(answer: Callable[[Sequence[int]], Sequence[float]]) -> Verdict:
    """Exercise 2: the loop over n must use n."""
    sizes = [7, 11, 101, 20_000]
    shares = np.asarray(answer(sizes), dtype=float)
    if shares.shape != (len(sizes),):
        wrong(f"for {len(sizes)} sizes I expected {len(sizes)} shares; your answer has shape {shares.shape}.")
    if not ((shares >= 0) & (shares <= 1)).all():
        wrong("a share lies between 0 and 1: count the projects with times >= 30 and divide by n.")
    late = shares * sizes
    if not np.allclose(late, np.round(late), rtol=0, atol=1e-6):
        if np.allclose(shares * 100_000, np.round(shares * 100_000), rtol=0, atol=1e-6):
            wrong(
                "the shares for n = 7 and 11 are those of a larger number of projects: it still does not depend on n."
            )
        wrong("some share is not a whole number of projects divided by n; is each one (late projects) / n?")
    probability = float(completion_law(Project.example()).sf(30))
    error = math.sqrt(probability * (1 - probability) / sizes[-1])
    if abs(shares[-1] - (1 - probability)) < 4 * error:
        wrong("that is the share of projects that take less than 30 days; count those with times >= 30.")
    if abs(shares[-1] - probability) > 4 * error:
        wrong(
            f"with n = {sizes[-1]:,} the share should be within four standard errors of the exact {probability:.4f}; "
            f"yours is {shares[-1]:.4f}. Do the durations have the plan's means, and is the deadline 30 days?"
        )
    return right("each entry comes from n projects, so the errors now shrink along the axis.")


@check
def mean_of_max(answer: Callable[[float, float], float]) -> Verdict:
    """Exercise 3: a + b - 1 / (1/a + 1/b)."""
    a, b = 5.0, 3.0
    got = answer(a, b)
    if matches(got, max(a, b)):
        wrong(
            "that is the larger mean. The other task is sometimes the slower one, and then it takes longer than that."
        )
    if matches(got, a + b):
        wrong("that is the time one after the other. The time until the first is done is counted twice; subtract it.")
    if matches(got, 1 / (1 / a + 1 / b)):
        wrong("that is the mean of the minimum, when the first is done; use max = A + B - min.")
    if matches(got, a + b - (1 / a + 1 / b)):
        wrong("1/a + 1/b is the rate of the minimum. Its mean is one over its rate.")
    if matches(got, a + b - 1 / (a + b)) or matches(got, a + b - (a + b) / 2):
        wrong("rates add, not means: the minimum has rate 1/a + 1/b, so its mean is 1 / (1/a + 1/b).")
    if not matches(got, a + b - 1 / (1 / a + 1 / b)):
        wrong(f"for means 5 and 3 the answer is {a + b - 1 / (1 / a + 1 / b):.4f} days; yours is {got}.")
    if not matches(answer(2.0, 2.0), 3.0):
        wrong(f"it is right for means 5 and 3, but for 2 and 2 the answer is 3 days; yours is {answer(2.0, 2.0)}.")
    return right(
        "two tasks of 2 days side by side take 3 days on average: waiting for the slower costs half as much again."
    )


@check
def upper_bound(answer: Callable[[int], float]) -> Verdict:
    """Exercise 4: 1 - 0.05**(1/n)."""
    n = 20
    exact = 1 - 0.05 ** (1 / n)
    got = answer(n)
    if matches(got, 0.0):
        wrong("no late project among n does not mean that the probability is zero, only that it is small.")
    if matches(got, 3 / n):
        wrong("the rule of three is the approximation. Solve (1 - p)**n = 0.05 for p exactly.")
    if matches(got, 1 - 0.95 ** (1 / n)):
        wrong("that p makes no hit 95 % probable. Rule out the p for which no hit has a probability below 5 %.")
    if matches(got, 0.05 ** (1 / n)):
        wrong("that is 1 - p, the largest chance of a project in time; the bound on p is one minus it.")
    if not matches(got, exact):
        wrong(f"for n = {n} the answer is {exact:.4f}; yours is {got}.")
    return right(f"for n = 1,000 the bound is {1 - 0.05 ** (1 / 1000):.6f}, and the rule of three says 0.003.")


@check
def projects_needed(answer: Callable[[float, float], float]) -> Verdict:
    """Exercise 5: (1 - p) / (p * r**2)."""
    p, r = 0.01, 0.1
    exact = (1 - p) / (p * r**2)
    got = answer(p, r)
    if matches(got, (1 - p) / (p * r), 0.02):
        wrong("the error falls like the root of n, so its square belongs in the formula: relative_error**2.")
    if matches(got, p * (1 - p) / r**2, 0.02):
        wrong("that n gives an absolute error of relative_error; the error should be relative_error times p.")
    if matches(got, 1.96**2 * exact, 0.02):
        wrong("that makes the half-width of the 95 % interval that small; here the standard error itself should be.")
    # 1 / (p r^2), without the factor 1 - p, is the usual shortcut for small p.
    if not matches(got, exact, 1.5 * p):
        wrong(f"for p = 0.01 and a relative error of 10 % the answer is {exact:,.0f}; yours is {got}.")
    tail = float(completion_law(Project.example()).sf(70))
    return right(f"for day 70 and 1 % it says {answer(tail, 0.01):.2g} projects.")


@check
def criticality(answer: Callable[[str, int], tuple[float, float]]) -> Verdict:
    """Exercise 6: a share of True, with the standard error of a share."""
    plan = Project.example()
    n = 20_000
    got = answer("9", n)
    if np.shape(got) != (2,):
        wrong("return two numbers, the probability and its standard error: `return share, error`.")
    share, error = got
    reference = plan.critical_tasks(np.random.default_rng(99).exponential(plan.means, size=(200_000, 10)))
    truth = float(reference[:, plan.tasks.index("9")].mean())
    spread = math.sqrt(truth * (1 - truth) * (1 / n + 1 / len(reference)))
    if abs(share - float(reference.mean())) < 4 * spread:
        wrong("that is the average over all ten tasks; take the column of the task asked for.")
    if abs(share - truth) > 4 * spread:
        neighbour = float(reference[:, int("9") % 10].mean())
        if abs(share - neighbour) < 4 * spread:
            wrong("that is task 10, the column with index 9; task 9 is at plan.tasks.index('9').")
        wrong(f"the probability for task 9 is {truth:.3f}, within {4 * spread:.3f}; yours is {share:.3f}.")
    if np.shape(few := answer("9", 1_000)) == (2,) and few[0] == share:
        wrong("the share is the same from 1,000 projects as from 20,000: simulate n fresh ones each time.")
    right_error = math.sqrt(share * (1 - share) / n)
    if matches(error, math.sqrt(share * (1 - share)), 1e-3):
        wrong("the probability is right, but its error is that of a single project; divide by the root of n.")
    if not matches(error, right_error, 1e-3):
        wrong(
            f"the probability is right; its standard error is sqrt(p (1 - p) / n) = {right_error:.4f}, not {error:.4g}."
        )
    return right(
        f"task 9 is on the longest path in {share:.0%} of all projects, though not on the plan's critical path."
    )
