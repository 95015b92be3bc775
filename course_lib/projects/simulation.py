"""Estimates of P(D >= deadline) by simulation: plain, weighted, and with some tasks integrated out.

All three are one loop. Draws come in chunks small enough for the processor's cache; each chunk has a random
stream of its own, named by the seed and the chunk's number, so the same seed gives the same draws on any number
of threads. A chunk is reduced to its log-weights at once, so memory does not grow with n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from course_lib.checks import real_number, whole_number
from course_lib.estimates import Estimate, RunningEstimate
from course_lib.projects.law import law_in_series
from course_lib.projects.parallel import chunk_size, in_order, thread_count
from course_lib.projects.plan import Project
from course_lib.projects.proposals import Mixture, Proposal

__all__ = ["conditional_monte_carlo", "importance_sampling", "monte_carlo"]

Floats = NDArray[np.float64]

# Projects drawn at a time where their durations are not kept.
_CHUNK = 10_000
# Chunks that a thread takes at a time.
_BLOCK = 16
# A progress bar appears when a run takes longer than this.
_PATIENCE_SECONDS = 2.0


def monte_carlo(plan: Project, deadline: float, n: int, seed: int = 0, threads: int | None = None) -> Estimate:
    """P(D >= deadline) as the share of simulated projects that are late.

    Args:
        plan: the plan.
        deadline: days.
        n: projects to simulate.
        seed: names the draws; the same for any number of threads.
        threads: at most this many; as many as the process has processors unless given.

    Raises:
        ValueError: ``n``, ``seed`` or ``threads`` out of range, or the deadline is not a number.
    """
    deadline = real_number("the deadline", deadline, "days")
    drawn_times = _completion_times_of(plan)

    def hits(rng: np.random.Generator, n_draws: int) -> Floats:
        return np.zeros(np.count_nonzero(drawn_times(rng, n_draws) >= deadline))

    return _run(hits, "hits", n, seed, threads)


def importance_sampling(
    plan: Project,
    deadline: float,
    proposal: Proposal | Mixture,
    n: int,
    seed: int = 0,
    threads: int | None = None,
) -> Estimate:
    """P(D >= deadline) from projects drawn from a proposal, each late one counted with its weight p/q.

    Args:
        plan: the plan.
        deadline: days.
        proposal: where to draw from, made for this plan.
        n: projects to simulate.
        seed: names the draws; the same for any number of threads.
        threads: at most this many; as many as the process has processors unless given.

    Raises:
        ValueError: as for `monte_carlo`, or the proposal belongs to another plan.

    Source: [Owen2013], section 9.1.
    """
    _check_same_plan(plan, proposal)
    deadline = real_number("the deadline", deadline, "days")

    def late_log_weights(rng: np.random.Generator, n_draws: int) -> Floats:
        durations = proposal.draw(rng, n_draws)
        late = plan.completion_times(durations) >= deadline
        return proposal.log_weights(durations.T.compress(late, axis=1).T)

    kind: Literal["hits", "weights"] = "hits" if proposal.is_nominal else "weights"
    return _run(late_log_weights, kind, n, seed, threads, chunk_size(len(plan.tasks)))


def conditional_monte_carlo(
    plan: Project,
    deadline: float,
    n: int,
    seed: int = 0,
    proposal: Proposal | None = None,
    threads: int | None = None,
) -> Estimate:
    """P(D >= deadline) with the tasks on every path integrated out, so that only the others are drawn.

    A task that comes before or after every other one adds its duration to the completion time whatever happens. Given
    the time R that the others take, P(D >= deadline | R) = P(sum of those tasks >= deadline - R) is known
    exactly, and replacing a hit or a miss by it can only lower the variance (Rao-Blackwell).

    Args:
        plan: the plan.
        deadline: days.
        n: projects to simulate.
        seed: names the draws; the same for any number of threads.
        proposal: where to draw the other tasks from; their own law unless given. Its means for the integrated
            tasks play no part.
        threads: at most this many; as many as the process has processors unless given.

    Raises:
        ValueError: as for `importance_sampling`, the proposal is a mixture, no task lies on every path, or the chance
            of those that do is not known exactly or takes too many events (see `completion_law`, `CompletionLaw.sf`).

    Source: [Asmussen2007], section V.4.
    """
    deadline = real_number("the deadline", deadline, "days")
    always = [j for j, task in enumerate(plan.tasks) if _on_every_path(plan, task)]
    if not always:
        raise ValueError(
            "no task lies on every path of this plan, so there is none to integrate out; use importance_sampling."
        )
    laws = list(plan.durations)
    if proposal is not None:
        _check_same_plan(plan, proposal)
        if not isinstance(proposal, Proposal):
            raise ValueError("conditional_monte_carlo takes a Proposal, one law for each task, not a mixture.")
        laws = [
            own if j not in always else law for j, (own, law) in enumerate(zip(proposal.durations, laws, strict=True))
        ]
    others = Proposal(plan, laws)
    always_law = law_in_series(plan, always)

    def log_contributions(rng: np.random.Generator, n_draws: int) -> Floats:
        durations = others.draw(rng, n_draws)
        durations[:, always] = 0.0
        with np.errstate(divide="ignore"):
            log_conditional = np.log(always_law.sf(deadline - plan.completion_times(durations)))
        return others.log_weights(durations) + log_conditional

    return _run(log_contributions, "weights", n, seed, threads, chunk_size(len(plan.tasks)))


def _check_same_plan(plan: Project, proposal: Proposal | Mixture) -> None:
    if proposal.plan != plan:
        raise ValueError("the proposal was made for another plan; make it from the plan you simulate.")


def _on_every_path(plan: Project, task: str) -> bool:
    return len(nx.ancestors(plan.graph, task)) + len(nx.descendants(plan.graph, task)) == len(plan.tasks) - 1


def _completion_times_of(plan: Project) -> Callable[[np.random.Generator, int], Floats]:
    """Draws so many projects, and returns when each is finished.

    `Project.draw` and `Project.completion_times` in one: a duration is drawn when its task begins and forgotten when it
    ends, so that what is kept stays in the processor's cache for plans of thousands of tasks.
    """
    if plan.copula is not None:  # all durations at once
        return lambda rng, n: plan.completion_times(plan.draw(rng, n))
    after: list[list[int]] = [[] for _ in plan.tasks]
    for j, predecessors in enumerate(plan.predecessor_indices):
        for before in predecessors:
            after[before].append(j)

    def drawn(rng: np.random.Generator, n: int) -> Floats:
        begins: dict[int, Floats] = {}
        latest = np.zeros(n)
        for j in plan.topological_order:
            finish = np.empty(n)
            plan.durations[j].draw(rng, finish)
            if j in begins:
                finish += begins.pop(j)
            for k in after[j]:
                begins[k] = np.maximum(begins[k], finish) if k in begins else finish
            if not after[j]:
                np.maximum(latest, finish, out=latest)
        if plan.factor_law:
            plan.factor_law.draw(rng, finish)
            latest *= finish
        return latest

    return drawn


def _run(
    log_contributions: Callable[[np.random.Generator, int], Floats],
    kind: Literal["hits", "weights"],
    n: int,
    seed: int,
    threads: int | None,
    chunk: int = _CHUNK,
) -> Estimate:
    n, seed = whole_number("n", n), whole_number("the seed", seed, least=0)
    threads = thread_count(threads)

    def run_block(first: int) -> RunningEstimate:
        block = RunningEstimate(n, kind)
        for number in range(first, min(first + _BLOCK, math.ceil(n / chunk))):
            n_draws = min(chunk, n - number * chunk)
            stream = np.random.SeedSequence(seed, spawn_key=(number,))
            block.add(log_contributions(np.random.Generator(np.random.SFC64(stream)), n_draws), n_draws)
        return block

    total = RunningEstimate(n, kind)
    blocks = range(0, math.ceil(n / chunk), _BLOCK)
    with tqdm(total=n, unit=" projects", unit_scale=True, delay=_PATIENCE_SECONDS, leave=False) as progress:
        # Merged in order of the blocks: the same sums, digit for digit, whichever thread finished first.
        for block in in_order(run_block, blocks, threads):
            total.merge(block)
            progress.update(min(_BLOCK * chunk, n - progress.n))
    return total.estimate()
