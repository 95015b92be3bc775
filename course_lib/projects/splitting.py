r"""P(D >= deadline) by multilevel splitting: raise the bar step by step.

A rare event is a chain of events none of which is rare: with levels :math:`L_1 < L_2 < \dots` up to the deadline,

.. math:: P(D \ge L_m) = P(D \ge L_1) \prod_i P(D \ge L_{i+1} \mid D \ge L_i) .

Each factor is a share of simulated projects. Those for the next are copies of the projects that passed the last
level, each moved by some steps that keep its law, given that it stays beyond the level. Nothing is weighted, and no
proposal has to be chosen, so that splitting shares no mistake with importance sampling.

A project is made from normal numbers (`Project.from_normals`), whatever the laws of its durations. A step takes
:math:`\sqrt{1 - b^2}\, z + b\, \xi` with fresh normal numbers :math:`\xi` in place of :math:`z`, and stays where it was
if that falls short of the level (preconditioned Crank-Nicolson; [Cotter2013]). It works as well for thousands of
tasks as for ten.

Levels and step sizes come from a pilot run and are fixed then. So the average over runs is unbiased [Moral2006],
and their spread is an honest error. In one run alone projects descend from each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from course_lib.checks import real_number, whole_number
from course_lib.estimates import Estimate
from course_lib.projects.law import SMALLEST_TAIL
from course_lib.projects.parallel import in_order, thread_count
from course_lib.projects.plan import Project

__all__ = ["splitting"]

Floats = NDArray[np.float64]

# The share of projects that pass from one level to the next, in the pilot run.
_SHARE = 0.2
# Steps of each copy at each level, and the share of them that the pilot run aims to have accepted.
_STEPS = 10
_ACCEPTED = 0.3
_MOST_LEVELS = 500
_PATIENCE_SECONDS = 2.0


def splitting(
    plan: Project,
    deadline: float,
    n: int = 20_000,
    seed: int = 0,
    runs: int = 32,
    levels: Sequence[float] | None = None,
    threads: int | None = None,
) -> Estimate:
    """P(D >= deadline) for durations of any law, correlated or not, and any number of tasks.

    Args:
        plan: the plan.
        deadline: days.
        n: projects at each level, all runs together.
        seed: names the draws; the same for any number of threads.
        runs: independent runs, whose spread is the error; an interval of fewer than ten is wide and rough.
        levels: days, rising, before the deadline; from a pilot run of a run's size unless given.
        threads: at most this many; as many as the process has processors unless given.

    Returns:
        The average over the runs. Its ``n`` counts every project that they simulated, steps included.

    Raises:
        ValueError: an argument out of range, fewer than 20 projects in a run, or a deadline that the pilot run does not
            reach.

    Source: [Au2001]; [Cerou2012].
    """
    deadline = real_number("the deadline", deadline, "days")
    if math.isinf(deadline):
        raise ValueError(f"the deadline must be finite; got {deadline}.")
    seed, runs = whole_number("the seed", seed, least=0), whole_number("runs", runs, least=2)
    n_in_run = whole_number("n", n) // runs
    if n_in_run < 20:
        raise ValueError(f"{n:,} projects in {runs} runs are {n_in_run} in each; a run needs 20, better 500.")
    threads = thread_count(threads)
    pilot = _Run(plan, n_in_run, seed, 0)
    sizes = pilot.find_levels(deadline, None if levels is None else _rising(levels, deadline))

    def one_run(number: int) -> tuple[float, int]:
        run = _Run(plan, n_in_run, seed, number)
        return run.through(sizes, deadline), run.n_simulated

    estimates, simulated = [], 0
    with tqdm(total=runs, unit=" runs", delay=_PATIENCE_SECONDS, leave=False) as progress:
        for estimate, count in in_order(one_run, range(1, runs + 1), threads):
            estimates.append(estimate)
            simulated += count
            progress.update()
    return Estimate.from_runs(estimates, simulated)


def _rising(levels: Sequence[float], deadline: float) -> list[float]:
    known = [real_number("a level", level, "days") for level in levels]
    if known != sorted(set(known)) or (known and not known[-1] < deadline):
        raise ValueError(f"levels must rise, and end before the deadline of {deadline:g} days; got {list(levels)}.")
    return known


class _Run:
    """Projects on their way up, all from one random stream."""

    def __init__(self, plan: Project, n: int, seed: int, number: int) -> None:
        self.plan = plan
        stream = np.random.SeedSequence(seed, spawn_key=(number,))
        self.rng = np.random.Generator(np.random.SFC64(stream))
        self.z = self.rng.standard_normal((plan.n_normals, n))
        self.n_simulated = 0
        self.times = self._times(self.z)

    def _times(self, z: Floats) -> Floats:
        self.n_simulated += z.shape[1]
        return self.plan.completion_times(self.plan.from_normals(z.T))

    def through(self, sizes: Sequence[tuple[float, float]], deadline: float) -> float:
        """The product of shares, level after level; 0 once none is left."""
        estimate = 1.0
        for level, size in sizes:
            share = self._copy_those_beyond(level)
            if not share:
                return 0.0
            estimate *= share
            for _ in range(_STEPS):
                self._step(level, size)
        return estimate * float(np.mean(self.times >= deadline))

    def find_levels(self, deadline: float, given: Sequence[float] | None = None) -> list[tuple[float, float]]:
        """Levels that a fifth of the projects pass, unless given, and the step size found at each."""
        found: list[tuple[float, float]] = []
        size, chance = 0.5, 1.0
        while True:
            if given is not None:
                level = given[len(found)] if len(found) < len(given) else deadline
            else:
                # Where many take equally long, that can be the last level once more: then the next time beyond it.
                beyond = self.times[self.times > found[-1][0]] if found else self.times
                level = max(float(np.quantile(self.times, 1 - _SHARE)), float(beyond.min(initial=math.inf)))
                if level == math.inf or (len(found) == _MOST_LEVELS and level < deadline):
                    raise ValueError(
                        f"the pilot run does not get beyond {found[-1][0]:.4g} of {deadline:g} days; raise n, or, if "
                        "no project can take so long, choose an earlier deadline."
                    )
            if level >= deadline:
                return found
            share = self._copy_those_beyond(level)
            chance *= share
            if given is None and chance < SMALLEST_TAIL:
                raise ValueError(
                    f"P(D >= {deadline:g} days) is below {SMALLEST_TAIL:g}, too small for a float; choose an earlier "
                    "deadline."
                )
            if not share:
                raise ValueError(
                    f"no project of the pilot run passed the level of {level:g} days; give levels closer by."
                )
            for _ in range(_STEPS):
                accepted = self._step(level, size)
                # Longer steps where more are accepted than aimed for, shorter ones where fewer are.
                size = min(1.0, size * math.exp(accepted - _ACCEPTED))
            found.append((level, size))

    def _copy_those_beyond(self, level: float) -> float:
        """Replace all by copies, drawn at random, of those beyond the level; the share that these were."""
        beyond = np.flatnonzero(self.times >= level)
        if beyond.size:
            chosen = self.rng.choice(beyond, self.times.size)
            self.z, self.times = self.z[:, chosen], self.times[chosen]
        return beyond.size / self.times.size

    def _step(self, level: float, size: float) -> float:
        """One step of each project; the share that was accepted."""
        proposed = self.rng.standard_normal(self.z.shape)
        proposed *= size
        proposed += math.sqrt(1 - size * size) * self.z
        times = self._times(proposed)
        accepted = times >= level
        np.copyto(self.z, proposed, where=accepted)
        np.copyto(self.times, times, where=accepted)
        return float(accepted.mean())
