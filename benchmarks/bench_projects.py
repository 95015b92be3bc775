"""Speed and memory of `course_lib.projects` against what a reader would write instead; see README.md."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from measuring import PROCESSORS, Show, fastest, fresh_process
from plans import layered
from scipy import stats
from straightforward import late_share

from course_lib.estimates import Estimate
from course_lib.projects import (
    Mixture,
    Project,
    Proposal,
    completion_law,
    conditional_monte_carlo,
    cross_entropy,
    importance_sampling,
    late_projects,
    minimum_variance,
    mixture,
    monte_carlo,
    scaled,
    splitting,
)
from course_lib.projects.durations import Gamma, Hyperexponential, Lognormal, Pert, Triangular, Uniform

Floats = np.ndarray[Any, np.dtype[np.float64]]

PLAN = Project.example()
DEADLINE = 70
LAW = completion_law(PLAN)
# Prepended to what runs in a process of its own.
PRELUDE = f"""
import sys, time
from course_lib.projects import Project, importance_sampling, monte_carlo, scaled
plan = Project.example()

def seconds(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start

def library(n):
    return seconds(lambda: monte_carlo(plan, {DEADLINE}, n))

def weighted(n):
    proposal = scaled(plan, 4, plan.critical_path())
    return seconds(lambda: importance_sampling(plan, {DEADLINE}, proposal, n))
"""


def test_monte_carlo_is_many_times_as_fast_as_the_straightforward_version(show: Show) -> None:
    n = 1_000_000
    best = fastest(
        {
            "straightforward": lambda: late_share(PLAN, DEADLINE, n),
            "monte_carlo, 1 thread": lambda: monte_carlo(PLAN, DEADLINE, n, threads=1),
            f"monte_carlo, {PROCESSORS} threads": lambda: monte_carlo(PLAN, DEADLINE, n),
        },
        rounds=10,
    )
    slow, *_, fast = best.values()
    show(
        f"monte_carlo against the straightforward version, {n:,} projects",
        ["", "speed", "times as fast"],
        [[name, f"{n / seconds / 1e6:.1f} M/s", f"{slow / seconds:.1f}"] for name, seconds in best.items()],
    )
    assert slow / fast >= 4


def test_one_thread_is_nearly_as_fast_as_drawing_and_two_are_faster(show: Show) -> None:
    n = 1_000_000
    rng = np.random.Generator(np.random.SFC64(0))
    buffer = np.empty(50_000)  # stays in the cache

    def draw_only() -> None:
        for _ in range(n * len(PLAN.tasks) // buffer.size):
            rng.standard_exponential(out=buffer)

    best = fastest(
        {
            "drawing alone": draw_only,
            "monte_carlo, 1 thread": lambda: monte_carlo(PLAN, DEADLINE, n, threads=1),
            "monte_carlo, 2 threads": lambda: monte_carlo(PLAN, DEADLINE, n, threads=2),
        },
        rounds=40,  # short and many: two processors are seldom both idle for long
    )
    drawing, one, two = best.values()
    show(
        f"monte_carlo against drawing its exponentials, {n:,} projects",
        ["", "speed", "time, drawing alone = 1"],
        [[name, f"{n / s / 1e6:.1f} M/s", f"{s / drawing:.2f}"] for name, s in best.items()],
    )
    assert one / drawing <= 1.6
    if PROCESSORS >= 2:
        assert one / two >= 1.3


# Each law of mean m days, and how NumPy alone draws it (into the buffer, where it can).
LAWS: dict[str, tuple[Callable[[float], Any], Callable[[np.random.Generator, Floats], Any]]] = {
    "exponential": (lambda m: m, lambda rng, out: rng.standard_exponential(out=out)),
    "Erlang of 4 stages, a gamma with cv 0.5": (
        lambda m: Gamma(m, 0.5),
        lambda rng, out: rng.standard_gamma(4.0, out=out),
    ),
    "gamma, cv 1.5": (lambda m: Gamma(m, 1.5), lambda rng, out: rng.standard_gamma(1 / 1.5**2, out=out)),
    "hyperexponential, cv 1.5": (
        lambda m: Hyperexponential.from_cv(m, 1.5),
        # Which of two exponentials, and how long.
        lambda rng, out: np.where(rng.random(out.size) < 0.2, 3.0, 0.5) * rng.standard_exponential(out.size),
    ),
    "lognormal, cv 1": (lambda m: Lognormal(m, 1.0), lambda rng, out: rng.lognormal(0.0, 0.83, out.size)),
    "triangular": (
        lambda m: Triangular(0.5 * m, 0.8 * m, 1.7 * m),
        lambda rng, out: rng.triangular(0.5, 0.8, 1.7, out.size),
    ),
    "PERT": (
        lambda m: Pert(0.5 * m, 0.8 * m, 2.3 * m),
        lambda rng, out: 0.5 + 1.8 * rng.beta(5 / 3, 13 / 3, out.size),
    ),
    "uniform": (lambda m: Uniform(0.5 * m, 1.5 * m), lambda rng, out: rng.uniform(0.5, 1.5, out.size)),
    "Weibull of scipy.stats": (
        lambda m: stats.weibull_min(2, scale=m / np.sqrt(np.pi / 4)),
        lambda rng, out: rng.weibull(2.0, out.size),
    ),
}


def with_law(of_mean: Callable[[float], Any]) -> Project:
    return Project(
        {task: of_mean(mean) for task, mean in zip(PLAN.tasks, PLAN.means.tolist(), strict=True)}, PLAN.predecessors
    )


def test_each_law_is_simulated_nearly_as_fast_as_numpy_draws_it(show: Show) -> None:
    n, n_tasks = 200_000, len(PLAN.tasks)
    rng = np.random.Generator(np.random.SFC64(0))
    durations = np.empty((n_tasks, 10_000))

    def draw_only(draw: Callable[[np.random.Generator, Floats], Any]) -> None:
        for _ in range(n * n_tasks // durations.shape[1]):
            draw(rng, durations[0])  # stays in the cache

    def draw_and_complete(draw: Callable[[np.random.Generator, Floats], Any]) -> None:
        for _ in range(n // durations.shape[1]):
            for row in durations:
                drawn = draw(rng, row)
                if drawn is not row:
                    row[:] = drawn
            PLAN.completion_times(durations.T)

    plans = {name: (with_law(law), draw) for name, (law, draw) in LAWS.items()}
    exponential, draw = plans["exponential"]
    plans["exponential, common factor"] = (exponential.correlated(common_factor=0.2), draw)
    rows, slow = [], []
    for name, (plan, draw) in plans.items():
        best = fastest(
            {
                "draws": partial(draw_only, draw),
                "draws and completion times": partial(draw_and_complete, draw),
                "monte_carlo": partial(monte_carlo, plan, DEADLINE, n, threads=1),
            },
            rounds=10,
        )
        drawing, floor, ours = best.values()
        # A common factor is one more lognormal and a multiplication, of which the draws alone know nothing: shown only.
        if ours / drawing > 1.6 and "factor" not in name:
            slow.append(name)
        rows.append(
            [
                name,
                f"{n / ours / 1e6:.1f} M/s",
                f"{1e9 * drawing / n / n_tasks:.1f}",
                f"{ours / drawing:.2f}",
                f"{ours / floor:.2f}",
            ]
        )
    show(
        f"monte_carlo of each law, 1 thread, {n:,} projects of {n_tasks} tasks",
        ["", "projects", "NumPy's draw, ns", "time, draws alone = 1", "draws and completion times = 1"],
        rows,
    )
    assert not slow


def test_cost_of_a_project_grows_in_proportion_to_its_tasks(show: Show) -> None:
    sizes = (10, 50, 200, 1_000, 5_000)
    simulating: dict[str, Callable[[], object]] = {}
    climbing: dict[str, Callable[[], object]] = {}
    projects: dict[str, int] = {}
    for n_tasks in sizes:
        plan = layered(n_tasks)
        times = plan.completion_times(plan.draw(np.random.default_rng(1), 2_000))
        # Missed by one project in a hundred; two levels, so that every plan has as many steps.
        first, second, deadline = np.quantile(times, [0.8, 0.96, 0.99])
        n = max(10_000, 2_000_000 // n_tasks)
        splits = partial(splitting, plan, deadline, n=640, runs=2, levels=[first, second], threads=1)
        simulating[f"monte_carlo {n_tasks}"] = partial(monte_carlo, plan, deadline, n, threads=1)
        climbing[f"splitting {n_tasks}"] = splits
        # `n` leaves out the pilot run, as large as each of the two.
        projects[f"monte_carlo {n_tasks}"], projects[f"splitting {n_tasks}"] = n, splits().n * 3 // 2
    best = fastest(simulating, rounds=5) | fastest(climbing, rounds=2)
    seconds = {name: best[name] / projects[name] for name in projects}
    methods = ("monte_carlo", "splitting")
    exponents = {
        method: np.polyfit(np.log(sizes), np.log([seconds[f"{method} {n_tasks}"] for n_tasks in sizes]), 1)[0]
        for method in methods
    }
    show(
        "Cost per simulated project and task, 1 thread, ns",
        ["tasks", *methods],
        [
            *(
                [f"{n_tasks:,}", *(f"{1e9 * seconds[f'{method} {n_tasks}'] / n_tasks:.1f}" for method in methods)]
                for n_tasks in sizes
            ),
            ["exponent of the cost per project", *(f"{exponents[method]:.2f}" for method in methods)],
        ],
    )
    assert max(exponents.values()) <= 1.1


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_memory_does_not_grow_with_n(show: Show) -> None:
    peaks = {
        name: [fresh_process(f"[{call}({n}), peak_megabytes()]", PRELUDE)[1] for n in (100_000, 100_000_000)]
        for name, call in (("monte_carlo", "library"), ("importance_sampling, critical path x 4", "weighted"))
    }
    show(
        "Peak memory of the whole process",
        ["", "n = 1e5", "n = 1e8", "more"],
        [
            [name, f"{small:.0f} MB", f"{large:.0f} MB", f"{large - small:+.0f} MB"]
            for name, (small, large) in peaks.items()
        ],
    )
    assert all(large - small <= 100 for small, large in peaks.values())


# Tasks that every path contains, which conditional_monte_carlo integrates out, and the others.
ALWAYS = PLAN.task_indices(["1", "10"])
OTHERS = [j for j in range(len(PLAN.tasks)) if j not in ALWAYS]


@cache
def late_others(n: int, seed: int) -> tuple[Floats, Floats]:
    """Late projects drawn exactly, less tasks 1 and 10; and P(D >= deadline | all but these)."""
    durations = late_projects(PLAN, DEADLINE, n, seed)
    durations[:, ALWAYS] = 0.0
    first, last = PLAN.means[ALWAYS]
    in_series = completion_law(Project({"1": first, "10": last}, {"10": ["1"]}))
    return durations, in_series.sf(DEADLINE - PLAN.completion_times(durations))


def conditional_relative_variance(proposal: Proposal, n: int = 1_000_000) -> Estimate:
    """Relative variance of one draw of `conditional_monte_carlo`, from late projects drawn exactly.

    With g = P(D >= deadline | all but tasks 1 and 10) the second moment is E_q[(w g)^2] = P(D >= deadline)
    E_p[w g | D >= deadline]; a sample from the proposal would hide the regions that it hardly visits.
    """
    durations, chance = late_others(n, seed=0)
    contributions = np.exp(proposal.log_weights(durations)) * chance
    return Estimate.from_values(contributions / float(LAW.sf(DEADLINE)) - 1)


def with_means(days: dict[str, float]) -> Proposal:
    return Proposal(PLAN, [days.get(task, mean) for task, mean in zip(PLAN.tasks, PLAN.means, strict=True)])


def others_of(proposal: Proposal) -> Proposal:
    """The proposal with the plan's own means for the tasks that are integrated out, which have no weight."""
    return with_means({PLAN.tasks[j]: float(proposal.means[j]) for j in OTHERS})


def test_seconds_to_ten_and_to_one_percent(show: Show) -> None:
    critical = PLAN.critical_path()
    direct: dict[str, Callable[[], Proposal | Mixture]] = {
        "plain Monte Carlo": lambda: scaled(PLAN, 1),
        "every task x 2": lambda: scaled(PLAN, 2),
        "every task x 4": lambda: scaled(PLAN, 4),
        "critical path x 2.5": lambda: scaled(PLAN, 2.5, critical),
        "critical path x 4": lambda: scaled(PLAN, 4, critical),
        "cross-entropy optimum, exact": lambda: Proposal(PLAN, completion_law(PLAN).late_means(DEADLINE)),
        "cross-entropy, from samples": lambda: cross_entropy(PLAN, DEADLINE),
        "minimum variance": lambda: minimum_variance(PLAN, DEADLINE),
        "defensive mixture": lambda: mixture(
            [minimum_variance(PLAN, DEADLINE), scaled(PLAN, 3, critical), scaled(PLAN, 1)], [0.5, 0.3, 0.2]
        ),
    }
    conditional: dict[str, Callable[[], Proposal]] = {
        "tasks 1 and 10 integrated out": lambda: scaled(PLAN, 1),
        "the same, with 2 and 4 lengthened": lambda: with_means({"2": 8.77, "4": 16.26}),
        "the same, the others as in minimum variance": lambda: others_of(minimum_variance(PLAN, DEADLINE)),
    }
    n = 500_000
    variance: dict[str, float | Estimate] = {}
    simulation: dict[str, Callable[[], object]] = {}
    for name, choose in direct.items():
        proposal = choose()
        variance[name] = proposal.relative_variance(DEADLINE)
        simulation[name] = partial(importance_sampling, PLAN, DEADLINE, proposal, n)
    for name, choose_others in conditional.items():
        others = choose_others()
        variance[name] = conditional_relative_variance(others)
        simulation[name] = partial(conditional_monte_carlo, PLAN, DEADLINE, n, proposal=others)
    # In splitting projects descend from each other; what counts is the variance of a run, times the projects in it.
    split = splitting(PLAN, DEADLINE, n=100_000, runs=160)
    work = split.n * (split.std_error / float(LAW.sf(DEADLINE))) ** 2
    variance["splitting"] = replace(split, value=work, std_error=work * np.sqrt(2 / (split.runs - 1)))
    simulation["splitting"] = partial(splitting, PLAN, DEADLINE)
    simulated = dict.fromkeys(simulation, n) | {"splitting": splitting(PLAN, DEADLINE).n}
    choosing = fastest({**direct, **conditional}, rounds=3)
    simulating = fastest(simulation, rounds=7)
    (exact_law,) = fastest({"exact": lambda: completion_law(PLAN).sf(DEADLINE)}, rounds=7).values()

    rows = []
    for name, known in variance.items():
        value, shown = (known.value, known.rounded) if isinstance(known, Estimate) else (known, f"{known:,.1f}")
        speed = simulated[name] / simulating[name]
        rows.append(
            [
                name,
                f"{speed / 1e6:.1f} M/s",
                shown,
                f"{1e4 * value:.2g}",
                milliseconds(choosing[name]) if name in choosing else "",
                milliseconds(1e2 * value / speed),
                milliseconds(1e4 * value / speed),
            ]
        )
    rows.append(["the exact law", "", "0", "", "", milliseconds(exact_law), milliseconds(exact_law)])
    show(
        f"To a relative standard error of 10 % and of 1 % of P(D >= {DEADLINE}), {PROCESSORS} threads",
        ["estimator", "speed", "rel. variance", "projects to 1 %", "to choose, ms", "to 10 %, ms", "to 1 %, ms"],
        rows,
    )
    assert all(np.isfinite(seconds) for seconds in simulating.values())


def test_seconds_with_openturns(show: Show) -> None:
    pytest.importorskip("openturns", reason="a second library, which this course does not install")
    import peers

    exact = float(LAW.sf(DEADLINE))
    here = Counted()

    def weighted(plan: Project, seed: int) -> Estimate:
        proposal = cross_entropy(plan, DEADLINE, n=10_000, seed=seed)
        return importance_sampling(plan, DEADLINE, proposal, 10_000, seed, threads=1)

    library: dict[str, Callable[[int], peers.Outcome]] = {
        "course_lib: splitting": partial(here.run, lambda plan, seed: splitting(plan, DEADLINE, seed=seed, threads=1)),
        "course_lib: cross_entropy, 10,000 a level, and 10,000 draws": partial(here.run, weighted),
    }
    of_one_draw = peers.relative_variances(PLAN, DEADLINE, exact)
    fits = (cross_entropy(PLAN, DEADLINE, n=10_000, seed=seed) for seed in peers.SEEDS)
    of_one_draw[list(library)[-1]] = float(np.mean([fit.relative_variance(DEADLINE) for fit in fits]))
    rows = []
    for name, run in {**peers.methods(PLAN, DEADLINE), **library}.items():
        outcomes = [timed(run, seed) for seed in range(20)]
        values = np.array([outcome.value for outcome, _ in outcomes]) / exact
        claimed = np.mean([outcome.relative_error for outcome, _ in outcomes])
        evaluations = np.mean([outcome.evaluations for outcome, _ in outcomes])
        # Runs differ in how many steps they take, so the fastest pace, not the fastest run.
        seconds = evaluations * min(spent / outcome.evaluations for outcome, spent in outcomes)
        seen = np.sqrt(np.mean((values - 1) ** 2))
        # Of weighted draws twenty runs can all miss what matters; see `peers.relative_variances`.
        true = np.sqrt(of_one_draw[name] / 10_000) if name in of_one_draw else np.nan
        error = true if name in of_one_draw else seen
        # An approximation does not improve with more evaluations.
        to = [f"{seconds * (error / share) ** 2:,.2g}" if np.isfinite(claimed) else "" for share in (0.1, 0.01)]
        rows.append([name, f"{values.mean():.2f}", *map(percent, (claimed, seen, true)), f"{evaluations:,.0f}"])
        rows[-1] += [milliseconds(seconds), *to]
    header = ["", "mean, exact = 1", "error claimed", "seen, 20 seeds", "true", "evaluations", "ms"]
    header += ["to 10 %, s", "to 1 %, s"]
    show(f"Other ways to P(D >= {DEADLINE}), 1 thread", header, rows)


def percent(share: float) -> str:
    return f"{100 * share:,.2g} %" if np.isfinite(share) else ""


class Counted:
    """Runs of this library, told as `peers.methods` tells those of OpenTURNS."""

    def __init__(self) -> None:
        self.plan, self.evaluations = Project.example(), 0
        completion_times = self.plan.completion_times

        def counting(durations: Any) -> Floats:
            self.evaluations += len(durations)
            return completion_times(durations)

        self.plan.completion_times = counting  # type: ignore[method-assign]

    def run(self, estimate: Callable[[Project, int], Estimate], seed: int) -> Any:
        from peers import Outcome

        self.evaluations = 0
        found = estimate(self.plan, seed)
        return Outcome(found.value, found.std_error / found.value, self.evaluations)


def timed(run: Callable[[int], Any], seed: int) -> tuple[Any, float]:
    start = time.perf_counter()
    outcome = run(seed)
    return outcome, time.perf_counter() - start


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.2g}"


def test_import_takes_less_than_a_second_and_no_torch(show: Show) -> None:
    own, ground, numpy = "course_lib.projects", "numpy, scipy.stats, networkx", "numpy"
    best = dict.fromkeys((own, ground, numpy), np.inf)
    for _ in range(7):
        for imported in best:
            prelude = f"import sys, time; start = time.perf_counter()\nimport {imported}"
            seconds, torch_loaded = fresh_process("[time.perf_counter() - start, 'torch' in sys.modules]", prelude)
            best[imported] = min(best[imported], seconds)
            assert not torch_loaded
    show(
        "Importing, in a new process",
        ["", "seconds", "time, what it stands on = 1"],
        [[imported, f"{s:.2f}", f"{s / best[ground]:.2f}"] for imported, s in best.items()],
    )
    assert best[own] < 1
