r"""The exact law of the completion time.

Exponential durations have no memory, so the set of finished tasks is all there is to know about a running
project: a continuous-time Markov chain on the sets that contain, with each task, its predecessors. Completion
is its absorption, and the completion time is phase-type (Kulkarni and Adlakha 1986, Markov and Markov-regenerative
PERT networks, Operations Research 34).

All probabilities come from uniformization: let events arrive at the constant rate :math:`\Lambda`, the largest
at which the chain leaves any state, and let each event either finish a task or change nothing. With
:math:`h_n = P(\text{not finished after } n \text{ events})`,

.. math:: P(D \ge t) = \sum_n e^{-\Lambda t} \frac{(\Lambda t)^n}{n!} h_n .

Every term is positive, so nothing cancels and the far tail keeps its digits. The same construction, walked
forward, draws projects *given* that they are late (`late_projects`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve_triangular

from course_lib.checks import whole_number
from course_lib.projects.plan import Project

__all__ = ["MAX_STATES", "CompletionLaw", "completion_law", "late_projects"]

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]

#: Largest chain that is built: a second or two and some hundred megabytes.
MAX_STATES = 50_000


def completion_law(plan: Project) -> CompletionLaw:
    """The exact law of the plan's completion time.

    Raises:
        ValueError: the chain has more than `MAX_STATES` states.
    """
    return CompletionLaw(plan)


def late_projects(plan: Project, deadline: float, n: int, seed: int = 0) -> Floats:
    """Durations drawn exactly from the plan's law given that it misses the deadline, ``[n, n_tasks]`` days.

    This is the proposal of zero variance: each draw's weight is the same, P(D >= deadline).

    Raises:
        ValueError: the chain is too large, ``n`` or ``seed`` out of range, or the deadline so far out that its
            probability underflows.
    """
    return completion_law(plan).sample_late(deadline, n, seed)


@dataclass(frozen=True)
class _Chain:
    """States are predecessor-closed sets of finished tasks, numbered so that every jump goes up; the last is done."""

    n_states: int
    source: Ints
    target: Ints
    task: Ints


class CompletionLaw:
    """Distribution of the completion time of a plan, in days; the methods are named as in `scipy.stats`.

    Attributes:
        plan: the plan.
        n_states: states of its Markov chain, the empty set and the full one included.
    """

    def __init__(self, plan: Project) -> None:
        """Build the chain; see `completion_law`."""
        self.plan = plan
        self._chain = _build_chain(plan)
        self.n_states = self._chain.n_states
        chain, rates = self._chain, 1.0 / plan.means
        leaving = np.bincount(chain.source, rates[chain.task], minlength=self.n_states)[:-1]
        self._event_rate = float(leaving.max())
        jumps = sparse.csr_array((rates[chain.task], (chain.source, chain.target)), shape=(self.n_states,) * 2)
        self._leaving = leaving
        self._jumps = jumps[:-1, :-1]
        self._finishing = jumps[:-1, [self.n_states - 1]].toarray().ravel() / self._event_rate
        # One event of the uniformized chain, among the unfinished states.
        self._step = sparse.csr_array(
            self._jumps / self._event_rate + sparse.diags_array(1 - leaving / self._event_rate)
        )

    @property
    def mean(self) -> float:
        """Expected completion time in days."""
        return self._moments[0]

    @property
    def std(self) -> float:
        """Standard deviation in days."""
        return math.sqrt(self._moments[1] - self._moments[0] ** 2)

    @cached_property
    def _moments(self) -> tuple[float, float]:
        generator = sparse.csr_array(sparse.diags_array(self._leaving) - self._jumps)
        first = spsolve_triangular(generator, np.ones(self.n_states - 1), lower=False)
        second = spsolve_triangular(generator, 2 * first, lower=False)
        return float(first[0]), float(second[0])

    def sf(self, t: ArrayLike) -> Floats:
        """P(D >= t), t in days, any shape; accurate to many digits however small."""
        times = _checked_times(t)
        survival, _ = self._absorption(times)
        return np.where(times <= 0, 1.0, self._event_average(survival, times))

    def cdf(self, t: ArrayLike) -> Floats:
        """P(D <= t), t in days, any shape; accurate to many digits however small."""
        times = _checked_times(t)
        survival, finishing = self._absorption(times)
        late = self._event_average(survival, times)
        # Once nothing is left unfinished, further events find the project finished.
        finished = np.cumsum(np.pad(finishing, (0, math.ceil(_enough_events(len(survival))))))
        early = self._event_average(finished, times)
        # Each side is summed directly where it is the smaller one, and so keeps its digits there.
        return np.where(times <= 0, 0.0, np.where(late < 0.5, 1 - late, early))

    def pdf(self, t: ArrayLike) -> Floats:
        """Density at t days, per day, any shape."""
        times = _checked_times(t)
        _, finishing = self._absorption(times)
        return np.where(times < 0, 0.0, self._event_rate * self._event_average(finishing[1:], times))

    def late_means(self, deadline: float) -> Floats:
        """E[duration of each task | D >= deadline], ``[n_tasks]`` days.

        They are also the means of the product of exponentials closest to the late projects in Kullback-Leibler
        divergence, the optimum that `cross_entropy` seeks from samples.
        """
        return self.plan.means * (1 + self.elasticities(deadline))

    def elasticities(self, deadline: float) -> Floats:
        """d log P(D >= deadline) / d log mean, for each task: the percentage by which 1 % more work raises the risk.

        Returns:
            ``[n_tasks]``, all positive.

        Raises:
            ValueError: P(D >= deadline) underflows.
        """
        weights = self._event_weights(deadline)
        after = self._walk(len(weights) - 1)
        # Reverse mode through the sum over n of weights[n] * start @ step^n @ 1, whose transitions are linear in
        # the rates. Every term has the same sign: finishing a task can only help.
        chain, rates = self._chain, 1.0 / self.plan.means
        slopes = np.zeros(chain.task.size)
        value_later = np.zeros(self.n_states)
        for i in range(len(weights) - 2, -1, -1):
            value_later[:-1] = self._step @ value_later[:-1] + weights[i + 1]
            slopes += after[i][chain.source] * (value_later[chain.source] - value_later[chain.target])
        per_task = np.bincount(chain.task, slopes, minlength=rates.size) * rates / self._event_rate
        return per_task / float(weights @ after.sum(axis=1))

    def sample_late(self, deadline: float, n: int, seed: int = 0) -> Floats:
        """Draws given D >= deadline; see `late_projects`."""
        n, seed = whole_number("n", n), whole_number("the seed", seed, least=0)
        weights = self._event_weights(deadline)
        # unfinished[r, s]: probability that r more events from state s leave the project unfinished.
        unfinished = np.ones((len(weights), self.n_states))
        unfinished[:, -1] = 0.0
        for r in range(1, len(weights)):
            unfinished[r, :-1] = self._step @ unfinished[r - 1, :-1]
        rng = np.random.default_rng(seed)
        posterior = weights * unfinished[:, 0]
        n_events = np.sort(rng.choice(len(weights), size=n, p=posterior / posterior.sum()))[::-1]

        targets, tasks, odds = self._jump_tables()
        state = np.zeros(n, dtype=np.int64)
        clock = np.zeros(n)
        finish = np.full((n, len(self.plan.tasks)), np.inf)
        for r in range(int(n_events[0]), 0, -1):
            live = int(np.searchsorted(-n_events, -r, side="right"))
            here = state[:live]
            # The r events left before the deadline are uniform there; the next one is the first of them.
            clock[:live] += (max(deadline, 0.0) - clock[:live]) * -np.expm1(np.log(rng.random(live)) / r)
            reach = np.cumsum(odds[here] * unfinished[r - 1][targets[here]], axis=1)
            jump = (rng.random((live, 1)) * reach[:, -1:] >= reach).sum(axis=1)
            done = tasks[here, jump]
            moved = np.flatnonzero(done >= 0)
            finish[moved, done[moved]] = clock[moved]
            state[:live] = targets[here, jump]
        return rng.permutation(self._durations_after(finish, max(deadline, 0.0), rng))

    def _durations_after(self, finish: Floats, deadline: float, rng: np.random.Generator) -> Floats:
        """Durations from the finish times before the deadline (``inf`` if later): from there on, as planned."""
        durations = np.empty_like(finish)
        for j in self.plan.topological_order:
            start = np.max(finish[:, self.plan.predecessor_indices[j]], axis=1, initial=0.0)
            fresh = rng.exponential(self.plan.means[j], size=len(finish))
            running = np.where(np.isfinite(start), deadline - start, 0.0) + fresh
            durations[:, j] = np.where(
                np.isfinite(finish[:, j]), finish[:, j] - np.where(np.isfinite(start), start, 0.0), running
            )
        return durations

    def _jump_tables(self) -> tuple[Ints, Ints, Floats]:
        """Targets, tasks (-1: nothing finishes) and odds of one event from each state, ``[n_states, widest + 1]``."""
        chain = self._chain
        order = np.argsort(chain.source, kind="stable")
        source = chain.source[order]
        column = np.arange(source.size) - np.searchsorted(source, source) + 1
        shape = (self.n_states, int(column.max()) + 1)
        targets = np.repeat(np.arange(self.n_states)[:, None], shape[1], axis=1)
        tasks = np.full(shape, -1)
        odds = np.zeros(shape)
        odds[:-1, 0] = 1 - self._leaving / self._event_rate
        targets[source, column] = chain.target[order]
        tasks[source, column] = chain.task[order]
        odds[source, column] = 1.0 / self.plan.means[chain.task[order]] / self._event_rate
        return targets, tasks, odds

    def _absorption(self, times: Floats) -> tuple[Floats, Floats]:
        """P(unfinished after n events) and P(the n-th event finishes the project), for n = 0, 1, ...

        As many n as ``times`` need, or until nothing is left that a float can hold.
        """
        latest = self._event_rate * float(times.max(initial=0.0))
        survival: list[float] = []
        finishing = [0.0]
        here = np.zeros(self.n_states - 1)
        here[0] = 1.0
        backwards = sparse.csr_array(self._step.T)
        while len(survival) < _enough_events(latest) and here.sum() > 1e-300:
            survival.append(float(here.sum()))
            finishing.append(float(here @ self._finishing))
            here = backwards @ here
        return np.array(survival), np.array(finishing)

    def _event_average(self, values: Floats, times: Floats) -> Floats:
        """Average of ``values[n]`` over the Poisson number n of events before each time."""
        # Far beyond the last value the average is zero, and stays so without y**n overflowing.
        y = np.clip(self._event_rate * times, 0.0, 3.0 * len(values) + 1000)
        return _poisson_average(values, y)

    def _walk(self, n_events: int) -> Floats:
        """Distribution over the unfinished states and the finished one (kept 0) after 0 ... n_events events."""
        after = np.zeros((n_events + 1, self.n_states))
        after[0, 0] = 1.0
        backwards = sparse.csr_array(self._step.T)
        for n in range(n_events):
            after[n + 1, :-1] = backwards @ after[n, :-1]
        return after

    def _event_weights(self, deadline: float) -> Floats:
        """Poisson probabilities of the number of events before the deadline, up to a common factor."""
        if float(self.sf(deadline)) < 1e-290:
            raise ValueError(
                f"P(D >= {deadline:g}) is below 1e-290, too small to condition on; choose an earlier deadline."
            )
        y = self._event_rate * max(float(deadline), 0.0)
        n = np.arange(math.ceil(_enough_events(y)))
        log_weights = np.concatenate([[0.0], np.cumsum(np.log(max(y, 1e-300)) - np.log(n[1:]))])
        return np.exp(log_weights - log_weights.max())


def _build_chain(plan: Project) -> _Chain:
    needs = [sum(1 << i for i in before) for before in plan.predecessor_indices]
    number = {0: 0}
    states = [0]
    source: list[int] = []
    target: list[int] = []
    task: list[int] = []
    # Breadth first, so that states come in order of how many tasks are finished and the full set is last.
    for here, finished in enumerate(states):
        for j, need in enumerate(needs):
            if not finished >> j & 1 and finished & need == need:
                then = finished | 1 << j
                if then not in number:
                    number[then] = len(states)
                    states.append(then)
                source.append(here)
                target.append(number[then])
                task.append(j)
        if len(states) > MAX_STATES:
            width = _width(plan)
            raise ValueError(
                f"the chain of this plan has more than {MAX_STATES:,} states (up to {width} tasks can run at once, "
                f"so at least 2**{width} = {2**width:.2g}); use monte_carlo or importance_sampling, "
                "whose work does not grow with the number of states."
            )
    return _Chain(len(states), *(np.array(column, dtype=np.int32) for column in (source, target, task)))


def _width(plan: Project) -> int:
    """The most tasks that can run at the same time (Dilworth: tasks less a largest matching of the order)."""
    order = nx.transitive_closure_dag(plan.graph)
    pairs = nx.Graph()
    pairs.add_nodes_from((0, task) for task in plan.tasks)
    pairs.add_edges_from(((0, a), (1, b)) for a, b in order.edges)
    matching = nx.bipartite.hopcroft_karp_matching(pairs, top_nodes=[(0, task) for task in plan.tasks])
    return len(plan.tasks) - len(matching) // 2


def _enough_events(y: float) -> float:
    """So many terms of a Poisson average of mean ``y`` that the rest is below rounding."""
    return y + 12 * math.sqrt(y) + 50


def _poisson_average(values: Floats, y: Floats) -> Floats:
    r"""The sum over n of :math:`e^{-y} y^n / n!` times ``values[n]``, for every y at once.

    Nested multiplication from the last term down; a running total that grows large is scaled back, and the
    scale is put right in the exponent at the end. All terms are positive, so nothing cancels.
    """
    total, scale, times_scaled = np.zeros_like(y), np.ones_like(y), np.zeros_like(y)
    for n in range(len(values) - 1, -1, -1):
        total = total * (y / (n + 1)) + scale * values[n]
        if n % 16 == 0:
            large = total > 1e150
            shrink = np.where(large, 1e-150, 1.0)
            total, scale, times_scaled = total * shrink, scale * shrink, times_scaled + large
    # In two steps, because the first factor alone may be below the smallest float.
    half = np.exp((150 * math.log(10) * times_scaled - y) / 2)
    return total * half * half


def _checked_times(t: ArrayLike) -> Floats:
    times = np.asarray(t, dtype=float)
    if np.isnan(times).any():
        raise ValueError("a time is nan; times must be numbers of days.")
    return times
