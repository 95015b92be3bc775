"""Checks for notebook 02, importance sampling for the 70-day deadline."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from course_lib.checks import real_number
from course_lib.estimates import Estimate
from course_lib.exercises.answers import array, explain, matches, number
from course_lib.exercises.verdict import Verdict, check, right, stops, wrong
from course_lib.projects import Project, Proposal, completion_law, late_projects, minimum_variance, scaled, splitting

__all__ = ["log_weights", "mended", "mixture_log_weights", "move", "own_plan", "relative_variance", "second_moment"]


@check
def log_weights(answer: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Verdict:
    """Exercise 1: log p - log q, summed over tasks."""
    p_means, q_means = np.array([4.0, 2.0, 5.0]), np.array([8.0, 3.0, 15.0])
    durations = np.random.default_rng(0).exponential(q_means, size=(6, 3))
    factors, exponents = np.log(q_means / p_means), durations / q_means - durations / p_means
    expected = (factors + exponents).sum(axis=1)
    got = array(answer(durations.copy(), p_means.copy(), q_means.copy()))
    for mistake, hint in (
        (
            factors + exponents,
            "those are the terms of each task; the density of all tasks is their product, so sum over axis 1.",
        ),
        (
            (factors + exponents).mean(axis=1),
            "those are averages over tasks; the density of all tasks is their product, so sum the logarithms.",
        ),
        (
            (factors + exponents).sum(axis=0),
            "those are sums over the draws; sum over the tasks, axis 1, for one log-weight for each draw.",
        ),
        (-expected, "that is log q - log p. A draw from q counts p/q times, so the log-weight is log p - log q."),
        (
            (exponents - factors).sum(axis=1),
            "the factors 1/mean have the wrong sign: log(1/p_mean) - log(1/q_mean) is log(q_mean / p_mean).",
        ),
        (np.exp(expected), "those are the weights themselves; return their logarithms."),
        (
            exponents.sum(axis=1),
            "the exponents are right, but each density also has the factor 1/mean in front: add log(q_mean / p_mean).",
        ),
        (
            (durations * (q_means - p_means) - factors).sum(axis=1),
            "a mean m is not a rate: the density is (1/m) e^(-t/m), not m e^(-m t).",
        ),
        ((-np.log(p_means) - durations / p_means).sum(axis=1), "that is log p alone; subtract log q."),
        ((-np.log(q_means) - durations / q_means).sum(axis=1), "that is log q alone; the log-weight is log p - log q."),
    ):
        if matches(got, mistake):
            wrong(hint)
    _check_shape(got, expected)
    if not matches(got, expected):
        wrong(f"the first log-weight of my test should be {expected[0]:.4f}; yours is {got[0]:.4f}.")
    return right("draws that q makes too often get negative log-weights, and those it makes too rarely positive ones.")


@check
def second_moment(answer: Callable[[float], float]) -> Verdict:
    """Exercise 2: c^2 / (2 c - 1), infinite for c <= 1/2."""
    # NumPy's floats divide by zero without an error, as `np.where` has to do to offer both of its values.
    inputs = [(np.float64(0.8),), (np.float64(1.7),)]
    got = [number(answer(*c)) for c in inputs]
    explain(
        got,
        inputs,
        [
            (lambda c: 1.0, "1 is the mean of w. E[w^2] is the integral of p(t)^2 / q(t), which is larger."),
            (
                lambda c: (c - 1) ** 2 / (2 * c - 1),
                "that is the variance of w, E[w^2] - 1; the exercise asks for E[w^2].",
            ),
            (
                lambda c: c / (2 * c - 1),
                "one factor c is missing: 1/q(t) is c e^(t/c), and the integral of e^(-t (2 - 1/c)) is c / (2 c - 1).",
            ),
            (
                lambda c: 1 / (2 * c - 1),
                "a factor c^2 is missing: one c is in 1/q(t) = c e^(t/c), the other in the integral of "
                "e^(-t (2 - 1/c)), which is 1 / (2 - 1/c) = c / (2 c - 1).",
            ),
            (
                lambda c: 1 / (c * (2 - c)),
                "that is for a q of rate c; its mean is c, so its density is (1/c) e^(-t/c).",
            ),
            (
                lambda c: c**2 / (2 * c + 1),
                "the sign: dividing by q subtracts its exponent, so the rate of p(t)^2 / q(t) is 2 - 1/c.",
            ),
            (lambda c: c, "c e^(-t (2 - 1/c)) has the integral c / (2 - 1/c), not c."),
        ],
    )
    for c, found in [*zip((0.8, 1.7), got, strict=True), (3.0, number(answer(np.float64(3.0))))]:
        exact = c**2 / (2 * c - 1)
        if not matches(found, exact):
            wrong(
                f"for c = {c} the integral is {exact:.4f}; yours is {found:.6g}. "
                "Write p(t)^2 / q(t) as a constant times e^(-rate t)."
            )
    for c in (0.3, 0.45, 0.5):
        if (found := number(answer(np.float64(c)))) != math.inf:
            wrong(
                f"for c = {c} the exponent 2 - 1/c is not positive and the integral diverges: return np.inf. "
                f"Yours is {found:.4g}."
            )
    if number(answer(np.float64(0.51))) == math.inf:
        wrong("for c = 0.51 the integral is 13.005, large but finite. It diverges only where 2 - 1/c is not positive.")
    # Where both cases are computed for whole arrays, as by `np.where`, only NumPy's division by zero will do.
    if stops(answer, 0.5) and stops(answer, np.array([0.4, 0.5])):
        wrong(
            "for c = 0.5, as a float of Python's, your function divides by zero. The integral is infinite at 1/2 too: "
            "return np.inf for c <= 0.5."
        )
    return right("twice the mean costs a third more; half the mean costs everything.")


@check
def mended(answer: Proposal) -> Verdict:
    """Exercise 3: tasks 1, 2, 4 and 10 times 3."""
    if not isinstance(answer, Proposal):
        wrong("make a proposal, with scaled(plan, factor, tasks) or Proposal(plan, means).")
    plan = Project.example()
    if answer.plan != plan:
        wrong("that proposal is for another plan; make it from the `plan` of this notebook.")
    wanted = scaled(plan, 3, plan.critical_path()).means
    for means, hint in (
        (plan.means, "that is the plan itself; scale its critical path by 3."),
        (
            _with(plan, {"1": 12, "2": 12, "4": 15, "10": 12}),
            "that is the post's proposal. Divide its means by the plan's: one task on the path is scaled by 6.",
        ),
        (
            _with(plan, {"1": 16, "2": 16, "4": 20, "10": 16}),
            "that is the post's other proposal; here the promised factor is 3, for every task on the path.",
        ),
        (3 * plan.means, "every task is scaled; only those on the critical path should be."),
        (
            scaled(plan, 3, ["1", "2", "4"]).means,
            "task 10 is on the critical path too; scale it by 3 like the others instead of leaving it out.",
        ),
        (scaled(plan, 4, plan.critical_path()).means, "that mends the other one, x 4; here the factor should be 3."),
        (
            _with(plan, dict.fromkeys(plan.critical_path(), 3)),
            "3 is the factor, not the mean: multiply the plan's means by it, as scaled(plan, factor, tasks) does.",
        ),
    ):
        if matches(answer.means, means):
            wrong(hint)
    for task, mean, best in zip(plan.tasks, answer.means, wanted, strict=True):
        if not matches(mean, best):
            wrong(f"the mean of task {task} should be {best:g} days, not {mean:g}.")
    return right(
        f"task 10 was scaled by 6; with 3 the relative variance is {answer.relative_variance(70):.0f}, not 183."
    )


@check
def relative_variance(answer: Callable[[Proposal, np.ndarray, float], float]) -> Verdict:
    """Exercise 4: E[w | late] / P - 1."""
    inputs = _late_at_70_and_50_days()
    # Averages of the same late projects: chance plays no part.
    got = [number(answer(proposal, late.copy(), p)) for proposal, late, p in inputs]

    def of_weights(formula: Callable[[np.ndarray, float], float]) -> Callable[..., float]:
        return lambda proposal, late, p: formula(np.exp(proposal.log_weights(late)), p)

    expected = of_weights(lambda w, p: w.mean() / p - 1)
    no_variance = "average w itself; no variance is taken. The second moment is P times that average."
    squared = "under the law of late projects one factor w is already in the draws: average w, not its square."
    explain(
        got,
        inputs,
        [
            (
                lambda proposal, late, p: proposal.relative_variance(70),
                "that is the library's exact value; average over the late projects, which works for every proposal.",
            ),
            (
                of_weights(lambda w, p: w.mean() / p),
                "that is the relative second moment; the variance is the second moment less the squared mean: "
                "subtract 1.",
            ),
            (of_weights(lambda w, p: (w**2).mean() / p - 1), squared),
            (of_weights(lambda w, p: (w**2).mean() / p**2 - 1), squared),
            (
                of_weights(lambda w, p: w.mean() - 1),
                "P is missing: the second moment is P times the average of w, and it is divided by P squared.",
            ),
            (
                of_weights(lambda w, p: w.mean()),
                "that is the average of w. The second moment is P times it; divide that by P squared and subtract 1.",
            ),
            (
                of_weights(lambda w, p: p * w.mean()),
                "that is the second moment; divide it by P squared and subtract 1.",
            ),
            (
                of_weights(lambda w, p: p * w.mean() - p**2),
                "that is the variance itself; for the relative one, divide it by P squared.",
            ),
            (
                of_weights(lambda w, p: w.mean() / p**2 - 1),
                "one P too many: the second moment is P times the average of w, so one P of the two below is left.",
            ),
            (
                of_weights(lambda w, p: (1 / w).mean() / p - 1),
                "that averages q/p; the weight is p/q, np.exp(proposal.log_weights(late_draws)).",
            ),
            (
                of_weights(lambda w, p: np.log(w).mean() / p - 1),
                "that averages the log-weights; take np.exp of them first.",
            ),
            (
                of_weights(lambda w, p: p * w.mean() - 1),
                "divide by P, do not multiply: the second moment is P times the average of w, and it is divided by P "
                "squared.",
            ),
            (of_weights(lambda w, p: w.var() / p**2), no_variance),
            (of_weights(lambda w, p: w.var() / p**2 - 1), no_variance),
            (of_weights(lambda w, p: w.var() / p), no_variance),
            (of_weights(lambda w, p: w.var()), no_variance),
            (
                of_weights(lambda w, p: np.var(w) / np.mean(w) ** 2),
                "that is the variance of w among late projects; the one asked for is that of f w under the proposal.",
            ),
        ],
        1e-4,
    )
    for found, args, days in zip(got, inputs, (70, 50), strict=True):
        if not matches(found, expected(*args)):
            # The first of the two was right.
            constant = " Does the function use all its arguments?" if days == 50 else ""
            wrong(
                f"for late projects of {days} days or more and P = {args[2]:.3g} it is {expected(*args):.4g}; "
                f"yours is {found:.4g}.{constant}"
            )
    exact = inputs[0][0].relative_variance(70)
    return right(f"you found {got[0]:.1f} from late projects, and the exact value is {exact:.1f}.")


@check
def mixture_log_weights(answer: Callable[[np.ndarray, np.ndarray, float], np.ndarray]) -> Verdict:
    """Exercise 5: the balance heuristic in log space."""
    a, b, share = np.array([-3.0, 0.5, 2.0, -1.2]), np.array([1.0, -0.5, 0.3, 2.4]), 0.3
    expected = _mixed(a, b, share)
    got = array(answer(a.copy(), b.copy(), share))
    _check_shape(got, expected)
    one_alone = (
        "that is the weight of one component alone; a draw could have come from either, so divide by the mixture."
    )
    one_with_share = (
        "that is one component with its share, and the other is missing: the mixture density is the sum of both, in "
        "log space np.logaddexp."
    )
    for mistake, hint in (
        (
            np.log(share * np.exp(a) + (1 - share) * np.exp(b)),
            "that averages the weights p/q_k. Average the densities q_k, below the fraction line: 1 / sum(share / w).",
        ),
        (share * a + (1 - share) * b, "that averages the logarithms; a mixture averages the densities q_k."),
        (-np.logaddexp(-a, -b), "the shares are missing: the mixture density is share * q_1 + (1 - share) * q_2."),
        (
            -np.logaddexp(-a, np.log(1 - share) - b),
            "the share of the first component is missing: np.log(share) is added to its log-density, -log_w1.",
        ),
        (
            -np.logaddexp(np.log(share) - a, -b),
            "the share of the second component is missing: np.log(1 - share) is added to its log-density, -log_w2.",
        ),
        (_mixed(a, b, 0.5), "that is for two equal shares; the first component has `share`."),
        (_mixed(a, b, 1 - share), "the shares are swapped: `share` belongs to the first component."),
        (
            -np.logaddexp(-share * a, -(1 - share) * b),
            "a share multiplies a density, so its logarithm is added to the log-density: np.log(share) - log_w1.",
        ),
        (
            -np.logaddexp(np.log(share) + a, np.log(1 - share) + b),
            "the signs inside: in units of p each density q_k is 1/w_k, and its logarithm is -log w_k.",
        ),
        (-expected, "that is the log-density ratio q/p of the mixture; the weight is p/q, so change the sign."),
        (np.exp(expected), "that is the weight itself; return its logarithm."),
        (a, one_alone),
        (b, one_alone),
        *(
            (sign * (np.log(part) + other * log_w), one_with_share)
            for part, log_w in ((share, a), (1 - share, b))
            for sign in (1, -1)
            for other in (1, -1)
        ),
    ):
        if matches(got, mistake):
            wrong(hint)
    if not matches(got, expected):
        wrong(f"for log-weights -3 and 1 and share 0.3 the answer is {expected[0]:.4f}; yours is {got[0]:.4f}.")
    a, b = np.array([2.0, -900.0, -1000.0]), np.array([-900.0, 3.0, -998.0])
    far, found = _mixed(a, b, share), array(answer(a.copy(), b.copy(), share))
    _check_shape(found, far)
    if not matches(found, far):
        j = int(np.argmin(np.isclose(found, far)))
        wrong(
            f"right for small numbers, but for log-weights {a[j]:g} and {b[j]:g} it should be {far[j]:.2f} and is "
            f"{found[j]:.2f}. There exp overflows or vanishes: stay in log space with np.logaddexp."
        )
    return right("a draw is light as soon as one component would often have made it.")


@check
def move(answer: Callable[[np.ndarray, float, float, np.random.Generator], np.ndarray]) -> Verdict:
    """Exercise 6: sqrt(1 - size**2) z + size xi, unless that falls below the level."""
    plan, size, step, level = Project.example(), 0.8, 0.6, 30.0
    # Far above any level that matters: all moves are made, and each number shows what it is made of.
    start = np.full((2_000, 10), 4.0)
    free = array(answer(start.copy(), 0.0, size, np.random.default_rng(0)))
    _check_moved(free, start)
    # 20,000 numbers: their mean has an error below 0.01, and so has their standard deviation.
    mean, std, kept = float(free.mean()), float(free.std()), math.sqrt(1 - size**2)
    for factor, spread, hint in (
        (1.0, 0.0, "no project moved, though all would have stayed above the level."),
        (1.0, size, "z itself is not made smaller, so the variance grows above 1: multiply z by sqrt(1 - size**2)."),
        (1 - size, size, "z is multiplied by 1 - size; the variances have to sum to 1, so it is sqrt(1 - size**2)."),
        (1 - size**2, size, "z is multiplied by 1 - size**2; the root is missing."),
        (math.sqrt(1 - size), size, "z is multiplied by sqrt(1 - size); the size has to be squared under the root."),
        (size, kept, "the factors are interchanged: sqrt(1 - size**2) belongs to z, size to xi."),
        (0.0, 1.0, "those are fresh normal numbers, with nothing left of z."),
        (kept, 1.0, "xi is not multiplied by size."),
        (kept, 0.0, "z is made smaller, but nothing new is added: size * rng.standard_normal(z.shape)."),
        (kept, size**2, "xi is multiplied by size squared."),
    ):
        if abs(mean - 4 * factor) < 0.04 and abs(std - spread) < 0.03:
            wrong(hint)
    if std < 1e-6 or (std > 0.1 and min(free.std(axis=0).mean(), free.std(axis=1).mean()) < std / 2):
        wrong("each task of each project needs a fresh normal number of its own: rng.standard_normal(z.shape).")
    if free.mean(axis=0).std() > 0.5:
        wrong("tasks differ, as durations do; return the moved normal numbers.")
    if not (abs(mean - 4 * kept) < 0.04 and abs(std - size) < 0.03):
        wrong(
            f"from z = 4 with size {size} the moved numbers should have mean {4 * kept:.2f} and standard deviation "
            f"{size}; yours have {mean:.2f} and {std:.2f}."
        )
    z = np.random.default_rng(1).standard_normal((30_000, 10))
    late = z[plan.completion_times(plan.from_normals(z)) >= level]
    moved = array(answer(late.copy(), level, step, np.random.default_rng(2)))
    _check_moved(moved, late)
    # Those that stay may come back rounded to float32, and those at the level below it.
    below = plan.completion_times(plan.from_normals(moved)) < level * (1 - 1e-5)
    if below.any():
        wrong(
            f"after a move {below.mean():.0%} of the projects take less than the level of {level:g} days; a project "
            "whose move would do that stays where it was."
        )
    accepted = float(1 - np.isclose(moved, late, rtol=1e-5, atol=1e-6).all(axis=1).mean())
    if not accepted:
        wrong("no project moved, though many moves would have stayed above the level: each decides for itself.")
    fresh = np.random.default_rng(3).standard_normal((20, *late.shape))
    share = float(
        (plan.completion_times(plan.from_normals(math.sqrt(1 - step**2) * late + step * fresh)) >= level).mean()
    )
    if abs(accepted - share) > 5 * math.sqrt(share * (1 - share) / len(late)):
        wrong(
            f"{accepted:.0%} of the projects moved, where {share:.0%} should: all whose completion time would be "
            "`level` or more."
        )
    return right(
        f"from level {level:g}, {accepted:.0%} of these moves are made, and the law given D >= {level:g} stays."
    )


def _second_opinion(plan: Project, deadline: float, estimate: Estimate) -> Verdict:
    """For plans whose exact law is not known: splitting, with few projects."""
    try:
        other = splitting(plan, deadline, n=6_400)
    except ValueError as reason:
        wrong(str(reason))
    if abs(estimate.value - other.value) > 5 * math.hypot(estimate.std_error, other.std_error):
        wrong(
            f"the diagnostics are content, but a short run of splitting says {other.rounded} and yours is "
            f"{estimate.rounded}: is my_estimate for this plan and this deadline?"
        )
    return right(f"{estimate.rounded}. There is no exact answer here; a short run of splitting says {other.rounded}.")


def _check_moved(moved: np.ndarray, before: np.ndarray) -> None:
    if moved.shape != before.shape:
        wrong(
            f"z has shape {before.shape}, and what you return {moved.shape}; no project is dropped: one whose move is "
            "not made stays as it was."
        )


@check
def own_plan(my_plan: Project, my_deadline: float, my_estimate: Estimate) -> Verdict:
    """Exercise 7: a rare event in the learner's plan, to 5 %, by a proposal or splitting and without a caution."""
    plan, deadline, estimate = my_plan, my_deadline, my_estimate
    if not isinstance(plan, Project):
        wrong("my_plan should be a Project, from Project.from_csv(path) or Project(means, predecessors).")
    if plan == Project.example():
        wrong("that is the course's own plan; bring one of yours, it may be small.")
    if len(plan.tasks) < 3:
        count = "one task" if len(plan.tasks) == 1 else "two tasks"
        wrong(f"your plan has {count}; bring one of at least three tasks, some of which wait for others.")
    if not any(plan.predecessors.values()):
        wrong("in your plan no task waits for another; give some of them predecessors.")
    try:
        deadline = real_number("my_deadline", deadline, "days")
    except ValueError as reason:
        wrong(str(reason))
    if not isinstance(estimate, Estimate):
        wrong("my_estimate should be all that importance_sampling or splitting returns, an Estimate.")
    if estimate.n_hits == 0:
        wrong("no draw missed the deadline; choose a proposal that is late more often, or an earlier deadline.")
    if estimate.value > 0.01:
        wrong(f"your estimate, {estimate.value:.2g}, is not below 1 %; choose a later deadline.")
    if _counts_hits(estimate):
        wrong(
            "that is plain Monte Carlo, which counts late projects. Draw from a proposal: "
            "importance_sampling(my_plan, my_deadline, cross_entropy(my_plan, my_deadline), n)."
        )
    if estimate.caveats:
        wrong(
            f"the diagnostics raise a caution ({estimate.caveats[0]}); try cross_entropy with more draws, or splitting."
        )
    if not estimate.std_error <= 0.05 * estimate.value:
        wrong(
            f"the standard error is {estimate.std_error / estimate.value:.0%} of the estimate; "
            "draw more, or from a better proposal, until it is below 5 %."
        )
    try:
        exact = float(completion_law(plan).sf(deadline))
    except ValueError:
        return _second_opinion(plan, deadline, estimate)
    # A right estimate is further off once in 16,000 times. Where all tasks are integrated out there is only rounding.
    low, high = estimate.interval(1 - 1 / 16_000)
    if not low - 1e-9 * exact <= exact <= high + 1e-9 * exact:
        wrong(
            f"the diagnostics are content, but the exact probability is {exact:.4g} and yours is {estimate.rounded}: "
            "is my_estimate for this plan and this deadline? If so, your proposal misses a way of being late."
        )
    return right(f"{estimate.rounded}, and the exact probability is {exact:.4g}.")


@functools.cache
def _late_at_70_and_50_days() -> list[tuple[Proposal, np.ndarray, float]]:
    """Two proposals, each with late projects and their probability."""
    plan = Project.example()
    law = completion_law(plan)
    return [
        (proposal, late_projects(plan, deadline, 20_000, seed=8), float(law.sf(deadline)))
        for proposal, deadline in ((minimum_variance(plan, 70), 70), (scaled(plan, 2, plan.critical_path()), 50))
    ]


def _check_shape(got: np.ndarray, expected: np.ndarray) -> None:
    if got.shape != expected.shape:
        wrong(
            f"one log-weight for each draw, please: for {len(expected)} draws I expected shape {list(expected.shape)}, "
            f"not {list(got.shape)}."
        )


def _with(plan: Project, days: dict[str, float]) -> np.ndarray:
    """The plan's means, but for some tasks."""
    return np.array([days.get(task, mean) for task, mean in zip(plan.tasks, plan.means, strict=True)])


def _mixed(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    return -np.logaddexp(np.log(share) - a, np.log(1 - share) - b)


def _counts_hits(estimate: Estimate) -> bool:
    """Whether every draw counted 0 or 1, however the estimate was made: its error is then that of a share."""
    error = math.sqrt(estimate.value * (1 - estimate.value) / estimate.n)
    # With or without Bessel's correction.
    return estimate.kind == "hits" or abs(estimate.std_error - error) < error / estimate.n
