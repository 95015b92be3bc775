"""Checks for notebook 01, Monte Carlo on the project."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from course_lib.exercises.answers import array, explain, matches, number, pair
from course_lib.exercises.verdict import Verdict, check, right, wrong
from course_lib.projects import Project, completion_law

__all__ = [
    "criticality",
    "estimates",
    "mean_of_max",
    "projects_needed",
    "standard_error",
    "upper_bound",
    "with_control",
]

# The notebook's own `durations` and `times`.
_STORED = 100_000
# How often a right answer from random draws may fail a check; each of its tests gets its part.
_CHANCE = 1e-4


@check
def standard_error(answer: Callable[[np.ndarray], float]) -> Verdict:
    """Exercise 1: sigma / sqrt(n)."""
    plan = Project.example()
    rng = np.random.default_rng(0)
    inputs = [(plan.completion_times(rng.exponential(plan.means, size=(n, 10))),) for n in (2_000, 500)]
    got = [number(answer(samples.copy())) for (samples,) in inputs]
    if got[0] == got[1]:
        wrong(
            f"it is {got[0]:.4g} for two different sets of samples: use the argument `samples`, not the notebook's "
            "`times`."
        )
    # With or without Bessel's correction, which is 1/n of a variance.
    tolerance = 1.5 / 500
    explain(
        got,
        inputs,
        [
            (
                np.std,
                "that is the spread of single projects. The mean of n of them spreads less: divide by the root of n.",
            ),
            (np.mean, "that is the mean itself, the estimate. Its standard error is sigma / sqrt(n)."),
            (np.var, "that is the variance of single projects. The standard error is sqrt(samples.var() / n)."),
            (lambda x: x.var() / len(x), "that is the variance of the mean. The standard error is its root, in days."),
            (
                lambda x: x.std() / len(x),
                "the standard deviation is divided by n. It is the variance that shrinks like 1/n: divide by its root.",
            ),
            (
                lambda x: x.var() / math.sqrt(len(x)),
                "that is the variance over the root of n; sigma is the standard deviation, `samples.std()`.",
            ),
            (
                lambda x: math.sqrt(x.std() / len(x)),
                "under a common root stands the variance, not the standard deviation: sqrt(samples.var() / n).",
            ),
            (lambda x: 1.96 * x.std() / math.sqrt(len(x)), "that is half a 95 % interval, 1.96 standard errors."),
            (
                lambda x: x.std() / math.sqrt(_STORED),
                "that divides by the root of 100,000; n is the number of samples given, `len(samples)`.",
            ),
        ],
        tolerance,
    )
    for (samples,), found in zip(inputs, got, strict=True):
        n, std = len(samples), samples.std(ddof=1)
        if not matches(found, std / math.sqrt(n), tolerance):
            wrong(
                f"for {n:,} samples with standard deviation {std:.3f} it is {std / math.sqrt(n):.4f}; "
                f"yours is {found:.4g}."
            )
    return right("the error of a mean shrinks with the root of the number of draws.")


@check
def estimates(answer: Callable[[Sequence[int]], Sequence[float]]) -> Verdict:
    """Exercise 2: each entry is the share among n projects."""
    # Primes: a share of another number of projects is, but for 0 and 1, no share of these.
    sizes = [11, 101, 1_009, 20_011]
    shares = array(answer(list(sizes)))
    if shares.shape != (len(sizes),):
        wrong(f"for {len(sizes)} sizes I expected {len(sizes)} shares, a list; your answer has shape {shares.shape}.")
    if not ((shares >= 0) & (shares <= 1)).all():
        worst = float(shares[np.argmin((shares >= 0) & (shares <= 1))])
        wrong(
            f"a share lies between 0 and 1; one of yours is {worst:.4g}. For each n, count the late ones of n "
            "projects and divide by n, or take the mean of times >= 30."
        )
    if not _whole(shares * sizes):
        if _whole(shares * _STORED):
            wrong(
                "your shares are whole numbers of 100,000 projects, not of n: the number of projects simulated "
                "still does not depend on n."
            )
        wrong("some share is not a whole number of projects divided by n; is each one (late projects) / n?")
    probability = float(completion_law(Project.example()).sf(30))
    n, share = sizes[-1], float(shares[-1])
    if _may_be(share, n, 1 - probability, _CHANCE):
        wrong("your shares are those of projects that take less than 30 days; count those with times >= 30.")
    if not _may_be(share, n, probability, _CHANCE):
        distance = (share - probability) / math.sqrt(probability * (1 - probability) / n)
        wrong(
            f"with n = {n:,} your share is {share:.4f}, {abs(distance):.1f} standard errors "
            f"{'above' if distance > 0 else 'below'} the exact {probability:.4f}. Do the durations have the plan's "
            "means, and is the deadline 30 days?"
        )
    return right("each entry comes from n projects, so the errors now shrink along the axis.")


@check
def mean_of_max(answer: Callable[[float, float], float]) -> Verdict:
    """Exercise 3: a + b - 1 / (1/a + 1/b)."""
    inputs = [(5.0, 3.0), (2.0, 7.0)]
    got = [number(answer(*means)) for means in inputs]
    explain(
        got,
        inputs,
        [
            (
                max,
                "that is the larger mean. The other task is sometimes the slower one, and then it takes longer than "
                "that.",
            ),
            (min, "that is the smaller mean; until both are done takes longer, on average, than the larger one."),
            (
                lambda a, b: a + b,
                "that is the time one after the other. The time until the first is done is counted twice; subtract it.",
            ),
            (
                lambda a, b: 1 / (1 / a + 1 / b),
                "that is the mean of the minimum, when the first is done; use max = A + B - min.",
            ),
            (
                lambda a, b: a + b - (1 / a + 1 / b),
                "1/a + 1/b is the rate of the minimum. Its mean is one over its rate.",
            ),
            (
                lambda a, b: 1 / a + 1 / b,
                "that is the rate of the minimum. Its mean is one over that; then use max = A + B - min.",
            ),
            (
                lambda a, b: a + b - 1 / (a + b),
                "rates add, not means: the minimum has rate 1/a + 1/b, so its mean is 1 / (1/a + 1/b).",
            ),
            (
                lambda a, b: (a + b) / 2,
                "that is the mean of the two means; it is a + b - E[min(A, B)], where the minimum has rate 1/a + 1/b.",
            ),
            (
                lambda a, b: a + b + 1 / (1 / a + 1 / b),
                "the sign: max = A + B - min, so the mean of the minimum is subtracted.",
            ),
        ],
    )
    for (a, b), found in zip(inputs, got, strict=True):
        exact = a + b - 1 / (1 / a + 1 / b)
        if not matches(found, exact):
            near = " Work it out exactly, without simulated projects." if matches(found, exact, 0.02) else ""
            wrong(f"for means {a:g} and {b:g} the answer is {exact:.4f} days; yours is {found:.6g}.{near}")
    return right(
        "two tasks of 2 days side by side take 3 days on average: waiting for the slower costs half as much again."
    )


@check
def upper_bound(answer: Callable[[int], float]) -> Verdict:
    """Exercise 4: 1 - 0.05**(1/n)."""
    inputs = [(20,), (50,)]
    got = [number(answer(*n)) for n in inputs]
    # Room for those who look for p on a fine grid; the rule of three is 3 % off even for n = 50.
    tolerance = 1e-3
    explain(
        got,
        inputs,
        [
            (
                lambda n: 0.0,
                "no late project among n does not mean that the probability is zero, only that it is small.",
            ),
            (lambda n: 3 / n, "the rule of three is the approximation. Solve (1 - p)**n = 0.05 for p exactly."),
            (
                lambda n: -math.log(0.05) / n,
                "that takes log(1 - p) for -p, which is nearly so. Solve (1 - p)**n = 0.05 for p exactly.",
            ),
            (
                lambda n: 1 - 0.95 ** (1 / n),
                "that p makes no hit 95 % probable. Rule out the p for which no hit has a probability below 5 %.",
            ),
            (
                lambda n: 1 - 0.025 ** (1 / n),
                "that has 0.025 for 0.05: it is the end of a two-sided interval, such as scipy's binomtest gives. Here "
                "all 5 % are on one side.",
            ),
            (
                lambda n: 0.05 ** (1 / n),
                "that is 1 - p, the chance of one project in time; the bound on p is one minus it.",
            ),
            (
                lambda n: 1 - 0.05**n,
                "that is the n-th power of 0.05. From (1 - p)**n = 0.05 follows 1 - p by the n-th root, 0.05**(1/n).",
            ),
            (lambda n: 1 - 0.05 / n, "** binds tighter than /, so 0.05**1/n is 0.05 / n: write 0.05**(1/n)."),
            (
                lambda n: 0.05 / n,
                "that solves n p = 0.05; solve (1 - p)**n = 0.05. Or did you write 0.05**1/n? ** binds tighter than /: "
                "the root is 0.05**(1/n), and p is one minus it.",
            ),
        ],
        tolerance,
    )
    for (n,), found in zip(inputs, got, strict=True):
        if not matches(found, 1 - 0.05 ** (1 / n), tolerance):
            wrong(f"for n = {n} the answer is {1 - 0.05 ** (1 / n):.4f}; yours is {found:.4g}.")
    return right(f"for n = 1,000 the bound is {1 - 0.05 ** (1 / 1000):.6f}, and the rule of three says 0.003.")


@check
def projects_needed(answer: Callable[[float, float], float]) -> Verdict:
    """Exercise 5: (1 - p) / (p * r**2)."""
    inputs = [(0.01, 0.1), (0.002, 0.05)]
    got = [number(answer(*args)) for args in inputs]
    explain(
        got,
        inputs,
        [
            (
                lambda p, r: (1 - p) / (p * r),
                "the error falls like the root of n, so its square belongs in the formula: relative_error**2.",
            ),
            (
                lambda p, r: p * (1 - p) / r**2,
                "that n gives an absolute error of relative_error; the error should be relative_error times p.",
            ),
            (
                lambda p, r: 1.96**2 * (1 - p) / (p * r**2),
                "that makes half the 95 % interval that small; here the standard error itself should be.",
            ),
            (
                lambda p, r: math.sqrt((1 - p) / p) / r,
                "that is the root of n: square it, since the error falls like the root of n.",
            ),
            (lambda p, r: 1 / r**2, "that many late projects are needed; one in 1/p is late, so divide by p."),
            (
                lambda p, r: (1 - p) / (p * r) ** 2,
                "one p too many: the variance is p (1 - p), and its p cancels one of those in (relative_error * p)**2.",
            ),
            (lambda p, r: (1 - p) / p, "relative_error is missing: that n gives a relative error of 100 %."),
            (lambda p, r: p * r**2 / (1 - p), "that is one over n: turn the fraction around."),
        ],
        # With or without the factor 1 - p.
        0.02,
    )
    for (p, r), found in zip(inputs, got, strict=True):
        exact = (1 - p) / (p * r**2)
        # 1 / (p r^2), without the factor 1 - p, is the usual shortcut for small p.
        if not matches(found, exact, 1.5 * p):
            wrong(f"for p = {p:g} and a relative error of {r:.0%} the answer is {exact:,.0f}; yours is {found:,.6g}.")
    tail = float(completion_law(Project.example()).sf(70))
    return right(f"for day 70 and 1 % it says {(1 - tail) / (tail * 0.01**2):.2g} projects.")


@check
def criticality(answer: Callable[[str, int], tuple[float, float]]) -> Verdict:
    """Exercise 6: a share of True, with the standard error of a share."""
    plan = Project.example()
    # Primes, the first above the 100,000 stored projects: a share of those is no share of n.
    n, few = 100_003, 2_003
    share, error = pair(answer("9", n), "the probability and its standard error: `return share, error`")
    other, other_error = pair(answer("4", few), "the probability and its standard error: `return share, error`")
    exact = {task: _criticality(task) for task in plan.tasks}
    # Six standard errors of the draws, and more.
    if not abs(share - exact["9"]) < 0.01:
        average = float(np.mean(list(exact.values())))
        if abs(share - average) < 0.01 and abs(other - average) < 0.05:
            wrong("that is about the average over all ten tasks; take the column of the task asked for.")
        if abs(share - (1 - exact["9"])) < 0.01 and abs(other - (1 - exact["4"])) < 0.05:
            wrong("that is about the share of projects in which the task is not on the longest path.")
        if share == 1 and abs(other - exact["5"]) < 0.05:
            wrong("that is task 10, the column with index 9; task 9 is at plan.tasks.index('9').")
        for task, probability in exact.items():
            if abs(share - probability) < 0.01:
                wrong(f"for task 9 your probability is {share:.3f}, about that of task {task}.")
        wrong(f"the probability for task 9 is {exact['9']:.3f}; yours is {share:.3f}.")
    if not _may_be(other, few, exact["4"], _CHANCE / 2):
        if abs(other - exact["9"]) < 0.05:
            wrong(f"task 4 gets {other:.3f}, about the probability of task 9: use the argument `task`.")
        wrong(f"it is right for task 9, but for task 4 the probability is {exact['4']:.3f}; yours is {other:.3f}.")
    if not _whole(np.array([share * n, other * few])):
        if _whole(np.array([share * _STORED])):
            wrong(
                f"for n = {n:,} your share is a whole number of 100,000 projects, not of n. Simulate n fresh ones in "
                "the function, without the notebook's `durations`."
            )
        wrong("your share is not a whole number of projects divided by n: simulate n fresh ones.")
    if not _may_be(share, n, exact["9"], _CHANCE / 2):
        wrong(f"the probability for task 9 is {exact['9']:.4f}, and {n:,} projects come nearer than {share:.4f}.")
    spread = math.sqrt(share * (1 - share))
    for mistake, hint in (
        (spread, "its error is that of a single project; divide by the root of n."),
        (spread / n, "its error is divided by n; divide by the root of n."),
        (spread**2 / n, "its error is the variance; the standard error is its root."),
        (1.96 * spread / math.sqrt(n), "its error is half a 95 % interval; leave out the factor 1.96."),
    ):
        if matches(error, mistake, 1e-3):
            wrong(f"the probability is right, but {hint}")
    for found, p, size in ((error, share, n), (other_error, other, few)):
        expected = math.sqrt(p * (1 - p) / size)
        if not matches(found, expected, 1e-3):
            wrong(
                f"the probability is right; its standard error from n = {size:,} projects is "
                f"sqrt(p (1 - p) / n) = {expected:.4g}, not {found:.4g}."
            )
    return right(
        f"task 9 is on the longest path in {share:.0%} of all projects, though not on the plan's critical path."
    )


@check
def with_control(answer: Callable[[np.ndarray, np.ndarray, float], float]) -> Verdict:
    """Exercise 7: mean(values) - b * (mean(control) - known_mean), b = cov / var(control)."""
    plan = Project.example()
    inputs = []
    for seed, path in ((0, "1 2 4 10"), (4, "1 3 8 10")):
        drawn = np.random.default_rng(seed).exponential(plan.means, size=(40, 10))
        along = plan.task_indices(path.split())
        inputs.append((plan.completion_times(drawn), drawn[:, along].sum(axis=1), float(plan.means[along].sum())))
    got = [number(answer(values.copy(), control.copy(), known)) for values, control, known in inputs]

    def corrected(values: np.ndarray, control: np.ndarray, known: float, slope: float) -> float:
        return float(values.mean() - slope * (control.mean() - known))

    def slope(values: np.ndarray, control: np.ndarray) -> float:
        return float(np.cov(values, control)[0, 1] / control.var(ddof=1))

    # A covariance with ddof 1 over a variance with ddof 0, a mixture that NumPy's defaults invite, is 1/n off.
    mixed = 40 / 39
    explain(
        got,
        inputs,
        [
            (lambda v, c, m: v.mean(), "that is the plain mean; subtract slope * (control.mean() - known_mean)."),
            (lambda v, c, m: slope(v, c), "that is the slope; use it to correct the mean of `values`."),
            *(
                (
                    lambda v, c, m, factor=factor: corrected(v, c, m, -factor * slope(v, c)),
                    "the sign: if the control came out too long, so did the values, and the correction is subtracted.",
                )
                for factor in (1, mixed)
            ),
            (
                lambda v, c, m: corrected(v, c, m, 1.0),
                "that has slope 1. It is allowed, but the best is cov(values, control) / var(control).",
            ),
            *(
                (
                    lambda v, c, m, factor=factor: corrected(v, c, m, factor * slope(c, v)),
                    "the slope divides by the variance of the values; divide by that of the control.",
                )
                for factor in (1, mixed)
            ),
            (
                lambda v, c, m: corrected(v, c, m, float(np.corrcoef(v, c)[0, 1])),
                "that has the correlation for a slope; it is cov(values, control) / var(control).",
            ),
            (
                lambda v, c, m: corrected(v, c, m, float(np.cov(v, c)[0, 1])),
                "that has the covariance for a slope; divide it by the variance of the control.",
            ),
            (
                lambda v, c, m: corrected(v, c, m, float(np.cov(v, c)[0, 1] / c.std(ddof=1))),
                "the slope divides by the standard deviation of the control; divide by its variance.",
            ),
            (
                lambda v, c, m: v.mean() - slope(v, c) * c.mean(),
                "the known mean is missing: what is corrected is the control's error, control.mean() - known_mean.",
            ),
            (
                lambda v, c, m: corrected(v, c, 15.0, slope(v, c)),
                "that has 15 days for the known mean; use the argument `known_mean`.",
            ),
        ],
    )
    for (values, control, known), found in zip(inputs, got, strict=True):
        best = slope(values, control)
        if not any(matches(found, corrected(values, control, known, best * factor)) for factor in (1, mixed)):
            wrong(
                f"for 40 projects with mean {values.mean():.3f} and a control of mean {control.mean():.3f} in place of "
                f"{known:g}, with slope {best:.3f}, it is {corrected(values, control, known, best):.3f}; yours is "
                f"{found:.4g}."
            )
    return right("what is known of one mean has corrected another.")


def _whole(numbers: np.ndarray) -> bool:
    """Whether all are whole numbers, to the accuracy of a float32 share of 100,000."""
    return bool(np.allclose(numbers, np.round(numbers), rtol=0, atol=0.005))


def _may_be(share: float, n: int, probability: float, chance: float) -> bool:
    """Whether a share of n draws is that of an event with this ``probability``; says no to ``chance`` of those."""
    if not 0 <= share <= 1:
        return False
    return bool(stats.binomtest(round(share * n), n, probability).pvalue > chance)


@functools.cache
def _criticality(task: str) -> float:
    """The exact probability that a task of the course's plan is on the longest path.

    The chain of section 1.5, which now remembers of each running task whether the path that it waited for contains
    ``task``. The next task to finish is each of the running ones with a probability in proportion to its rate.
    """
    plan = Project.example()
    rates, before = 1 / plan.means, [frozenset(tasks) for tasks in plan.predecessor_indices]
    wanted = plan.tasks.index(task)

    @functools.cache
    def probability(finished: frozenset[int], running: frozenset[tuple[int, bool]]) -> float:
        total = sum(rates[j] for j, _ in running)
        found = 0.0
        for j, on_path in running:
            now = finished | {j}
            starting = {(k, on_path or k == wanted) for k, waits in enumerate(before) if j in waits and waits <= now}
            left = (running - {(j, on_path)}) | starting
            found += rates[j] / total * (probability(now, left) if left else on_path)
        return float(found)

    found = probability(frozenset(), frozenset((j, j == wanted) for j, waits in enumerate(before) if not waits))
    return min(found, 1.0)  # rounding
