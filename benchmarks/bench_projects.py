"""Speed and memory of `course_lib.projects` against what a reader would write instead; see README.md."""

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from measuring import PROCESSORS, Show, fastest, fresh_process
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
)

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


def conditional_relative_variance(proposal: Proposal, n: int = 1_000_000) -> Estimate:
    """Relative variance of one draw of `conditional_monte_carlo`, from late projects drawn exactly.

    With g = P(D >= deadline | all but tasks 1 and 10) the second moment is E_q[(w g)^2] = P(D >= deadline)
    E_p[w g | D >= deadline]; a sample from the proposal would hide the regions that it hardly visits.
    """
    durations = late_projects(PLAN, DEADLINE, n)
    durations[:, PLAN.task_indices(["1", "10"])] = 0.0
    rest = DEADLINE - PLAN.completion_times(durations)
    means = PLAN.means[PLAN.task_indices(["1", "10"])]
    in_series = completion_law(Project({"1": means[0], "10": means[1]}, {"10": ["1"]}))
    contributions = np.exp(proposal.log_weights(durations)) * in_series.sf(rest)
    return Estimate.from_values(contributions / float(LAW.sf(DEADLINE)) - 1)


def with_means(days: dict[str, float]) -> Proposal:
    return Proposal(PLAN, [days.get(task, mean) for task, mean in zip(PLAN.tasks, PLAN.means, strict=True)])


def test_seconds_to_one_percent(show: Show) -> None:
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
    choosing = fastest({**direct, **conditional}, rounds=3)
    simulating = fastest(simulation, rounds=7)
    (exact_law,) = fastest({"exact": lambda: completion_law(PLAN).sf(DEADLINE)}, rounds=7).values()

    rows = []
    for name, known in variance.items():
        value, shown = (known.value, known.rounded) if isinstance(known, Estimate) else (known, f"{known:,.1f}")
        speed, draws = n / simulating[name], value * 1e4
        rows.append(
            [
                name,
                f"{speed / 1e6:.1f} M/s",
                shown,
                f"{draws:.2g}",
                milliseconds(choosing[name]),
                milliseconds(draws / speed),
            ]
        )
    rows.append(["the exact law", "", "0", "", "", milliseconds(exact_law)])
    show(
        f"To a relative standard error of 1 % of P(D >= {DEADLINE}), {PROCESSORS} threads",
        ["estimator", "speed", "rel. variance", "projects", "to choose, ms", "to 1 %, ms"],
        rows,
    )
    assert all(np.isfinite(seconds) for seconds in simulating.values())


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
