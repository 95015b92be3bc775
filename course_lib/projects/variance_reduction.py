r"""The same averages from fewer projects: control variates, antithetic and stratified draws, Sobol points.

Each estimates the expected completion time, or P(D >= deadline), from several independent runs, whose spread is the
error: within a run the draws depend on each other.

- **Control variates** use what is known exactly, such as the mean of each duration. A run whose durations came out long
  was late for that reason, and regression takes it out.
- **Antithetic** projects come in pairs, one with long durations where the other has short ones.
- **Stratified** draws of each duration fall one into each of as many equally likely intervals as there are projects
  (Latin hypercube): no duration is long too often. What remains is how durations work together.
- **Sobol points** fill the space evenly in many directions at once, and a random scrambling makes each by itself a fair
  draw. Their error can fall nearly like 1/n in place of 1/sqrt(n), if the function is smooth and depends on few
  durations at a time.

A jump, such as from in time to late, spoils much of the last three. None of them makes rare events less rare: see
`importance_sampling` and `splitting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.stats import qmc
from tqdm import tqdm

from course_lib.checks import real_number, whole_number
from course_lib.estimates import Estimate
from course_lib.projects.law import law_in_series
from course_lib.projects.parallel import chunk_size, in_order, thread_count
from course_lib.projects.plan import Project

__all__ = ["antithetic", "control_variates", "sobol", "stratified"]

Floats = NDArray[np.float64]

# Paths whose delays serve as controls, the longest on average; and late projects that a run needs for each of them.
_MOST_PATHS = 10
_LATE_PER_CONTROL = 10
_PATIENCE_SECONDS = 2.0


def control_variates(
    plan: Project,
    n: int,
    deadline: float | None = None,
    seed: int = 0,
    runs: int = 32,
    threads: int | None = None,
) -> Estimate:
    """E[D], or P(D >= deadline), less what a regression on known quantities explains of its error.

    For E[D] these are the durations, whose means are known. For P(D >= deadline) they are whether each of the ten
    longest paths by itself takes so long, if the durations have exponential stages and are independent, so that
    `completion_law` knows how likely that is; otherwise the durations. The coefficients are fitted in each run, with
    a bias that falls like one over the projects in a run.

    Args:
        plan: the plan.
        n: projects to simulate; what is left over when they are shared out among the runs is not.
        deadline: days; the mean is estimated unless given.
        seed: names the draws; the same for any number of threads.
        runs: independent runs, whose spread is the error.
        threads: at most this many; as many as the process has processors unless given.

    Raises:
        ValueError: an argument out of range, or too few projects in a run, or too few late ones, for a regression.

    Source: [Owen2013], section 8.9.
    """
    target = _Target(plan, deadline)
    controls, known = target.controls()
    n_in_run = _share(n, runs, least=10 * (known.size + 1))
    chunk = chunk_size(plan.n_normals)

    def one_run(rng: np.random.Generator) -> float:
        moments = np.zeros((known.size + 2, known.size + 2))
        for size in _chunks(n_in_run, chunk):
            durations = plan.draw(rng, size)
            # One, the controls less their means, and what is to be averaged: all sums of squares and products.
            columns = np.vstack([np.ones(size), controls(durations) - known[:, None], target.values(durations)])
            moments += columns @ columns.T
        late = moments[-1, 0]
        if target.deadline is not None and min(late, n_in_run - late) < _LATE_PER_CONTROL * known.size:
            raise ValueError(
                f"in a run of {n_in_run:,} projects {late:.0f} are late, too few, or too many, to fit {known.size} "
                "controls; raise n, or, for a rare event, use importance_sampling or splitting."
            )
        return float(np.linalg.lstsq(moments[:-1, :-1], moments[:-1, -1])[0][0])

    return _from_runs(one_run, n_in_run, seed, runs, threads)


def antithetic(
    plan: Project,
    n: int,
    deadline: float | None = None,
    seed: int = 0,
    runs: int = 32,
    threads: int | None = None,
) -> Estimate:
    """E[D], or P(D >= deadline), from pairs of projects, each as far above the middle as the other is below.

    Args:
        plan: the plan.
        n: projects to simulate; a run takes an even number of them, and what is left over is not simulated.
        deadline: days; the mean is estimated unless given.
        seed: names the draws; the same for any number of threads.
        runs: independent runs, whose spread is the error.
        threads: at most this many; as many as the process has processors unless given.

    Raises:
        ValueError: an argument out of range, or fewer than two projects in a run.

    Source: [Owen2013], section 8.2.
    """

    def points(rng: np.random.Generator, n_in_run: int, chunk: int) -> Iterator[Floats]:
        for pairs in _chunks(n_in_run // 2, chunk // 2):
            z = rng.standard_normal((pairs, plan.n_normals))
            yield np.concatenate([z, -z])

    return _from_points(plan, points, 2 * (_share(n, runs, least=2) // 2), deadline, seed, runs, threads)


def stratified(
    plan: Project,
    n: int,
    deadline: float | None = None,
    seed: int = 0,
    runs: int = 32,
    threads: int | None = None,
) -> Estimate:
    """E[D], or P(D >= deadline), with every duration spread evenly over its law: Latin hypercube sampling.

    Args:
        plan: the plan.
        n: projects to simulate; what is left over when they are shared out among the runs is not.
        deadline: days; the mean is estimated unless given.
        seed: names the draws; the same for any number of threads.
        runs: independent runs, whose spread is the error.
        threads: at most this many; as many as the process has processors unless given.

    Returns:
        The average over the runs. A large run is made of several hypercubes, each of thousands of projects: more
        intervals would remove nothing that these leave.

    Raises:
        ValueError: an argument out of range.

    Source: [McKay1979].
    """

    def points(rng: np.random.Generator, n_in_run: int, chunk: int) -> Iterator[Floats]:
        for size in _chunks(n_in_run, chunk):
            yield special.ndtri(qmc.LatinHypercube(plan.n_normals, rng=rng).random(size))

    return _from_points(plan, points, _share(n, runs), deadline, seed, runs, threads)


def sobol(
    plan: Project,
    n: int,
    deadline: float | None = None,
    seed: int = 0,
    runs: int = 32,
    threads: int | None = None,
) -> Estimate:
    """E[D], or P(D >= deadline), from Sobol points, scrambled anew for each run.

    Args:
        plan: the plan, of at most 21,201 tasks.
        n: projects to simulate; a run takes the largest power of two of them that its share allows, because any other
            number is no even cover.
        deadline: days; the mean is estimated unless given.
        seed: names the scrambling; the same for any number of threads.
        runs: independent runs, whose spread is the error.
        threads: at most this many; as many as the process has processors unless given.

    Raises:
        ValueError: an argument out of range, or too many tasks.

    Source: [Owen1997]; scrambling and points are those of `scipy.stats.qmc.Sobol`.
    """
    if plan.n_normals > qmc.Sobol.MAXDIM:
        raise ValueError(
            f"Sobol points have at most {qmc.Sobol.MAXDIM:,} coordinates, and this plan needs {plan.n_normals:,}; use "
            "stratified."
        )

    def points(rng: np.random.Generator, n_in_run: int, chunk: int) -> Iterator[Floats]:
        engine = qmc.Sobol(plan.n_normals, rng=rng)
        # A coordinate is a multiple of 2**-bits, zero included; the middle of its interval is a finite normal number.
        middle = 0.5 ** (engine.bits + 1)
        for size in _chunks(n_in_run, 2 ** int(math.log2(chunk))):
            yield special.ndtri(engine.random(size) + middle)

    return _from_points(plan, points, 2 ** int(math.log2(_share(n, runs))), deadline, seed, runs, threads)


class _Target:
    """What is averaged: the completion time, or whether it reaches the deadline."""

    def __init__(self, plan: Project, deadline: float | None) -> None:
        self.plan = plan
        self.deadline = None if deadline is None else real_number("the deadline", deadline, "days")

    def values(self, durations: Floats) -> Floats:
        times = self.plan.completion_times(durations)
        return times if self.deadline is None else (times >= self.deadline).astype(float)

    def controls(self) -> tuple[Callable[[Floats], Floats], Floats]:
        """A function from durations, ``[n, n_tasks]``, to controls, ``[controls, n]``; and their means."""
        if self.deadline is not None and self.plan.common_factor == 0 and self.plan.copula is None:
            paths = _longest_paths(self.plan)
            try:
                known = [float(law_in_series(self.plan, path).sf(self.deadline)) for path in paths]
            except ValueError:  # durations without stages, or too many
                pass
            else:
                on_path = np.zeros((len(paths), len(self.plan.tasks)))
                for row, path in zip(on_path, paths, strict=True):
                    row[path] = 1.0
                return lambda durations: (on_path @ durations.T >= self.deadline).astype(float), np.array(known)
        random = [j for j, law in enumerate(self.plan.durations) if law.std > 0]
        return lambda durations: durations.T[random], self.plan.means[random]


def _longest_paths(plan: Project) -> list[list[int]]:
    """The longest on average of all paths from first to last tasks, as positions."""
    # To each task, the longest paths: their days, and the task with the path before it, which many share.
    best: dict[int, list[tuple[float, Any]]] = {}
    last = set(range(len(plan.tasks)))

    def longest(paths: Iterable[tuple[float, Any]]) -> list[tuple[float, Any]]:
        return sorted(paths, key=lambda path: path[0], reverse=True)[:_MOST_PATHS]

    for j in plan.topological_order:
        before = plan.predecessor_indices[j]
        last.difference_update(before)
        so_far = [path for i in before for path in best[i]] or [(0.0, None)]
        best[j] = longest((days + float(plan.means[j]), (j, path)) for days, path in so_far)
    found = []
    for _, path in longest(path for j in sorted(last) for path in best[j]):
        positions = []
        while path:
            j, path = path
            positions.append(j)
        found.append(positions[::-1])
    return found


def _share(n: int, runs: int, least: int = 1) -> int:
    n, runs = whole_number("n", n), whole_number("runs", runs, least=2)
    if n // runs < least:
        raise ValueError(f"{n:,} projects in {runs} runs are {n // runs:,} in each; a run needs {least:,} at least.")
    return n // runs


def _chunks(n: int, largest: int) -> Iterator[int]:
    for start in range(0, n, largest):
        yield min(largest, n - start)


def _from_points(
    plan: Project,
    points: Callable[[np.random.Generator, int, int], Iterator[Floats]],
    n_in_run: int,
    deadline: float | None,
    seed: int,
    runs: int,
    threads: int | None,
) -> Estimate:
    """Averages over independent normal numbers, ``[n, n_normals]``, that come in chunks of about the given size."""
    target = _Target(plan, deadline)
    chunk = chunk_size(plan.n_normals)

    def one_run(rng: np.random.Generator) -> float:
        sums = (target.values(plan.from_normals(z)).sum() for z in points(rng, n_in_run, chunk))
        return float(sum(sums)) / n_in_run

    return _from_runs(one_run, n_in_run, seed, runs, threads)


def _from_runs(
    one_run: Callable[[np.random.Generator], float], n_in_run: int, seed: int, runs: int, threads: int | None
) -> Estimate:
    seed = whole_number("the seed", seed, least=0)

    def with_stream(number: int) -> float:
        stream = np.random.SeedSequence(seed, spawn_key=(number,))
        return one_run(np.random.Generator(np.random.SFC64(stream)))

    averages = []
    with tqdm(total=runs, unit=" runs", delay=_PATIENCE_SECONDS, leave=False) as progress:
        for average in in_order(with_stream, range(runs), thread_count(threads)):
            averages.append(average)
            progress.update()
    return Estimate.from_runs(averages, n_in_run * runs)
