r"""The exact law of the completion time.

Exponential stages of durations have no memory, so the stage that each task is in, unbegun and finished among them, is
all there is to know about a running project: a continuous-time Markov chain (`course_lib.projects.chain`). If every
duration is exponential, a single stage, its states are the sets of finished tasks that contain, with each task, its
predecessors [Kulkarni1986]. Completion is its absorption, and the completion time is phase-type.

All probabilities come from uniformization: let events arrive at the constant rate :math:`\Lambda`, the largest
at which the chain leaves any state, and let each event either finish a stage or change nothing. With
:math:`h_n = P(\text{not finished after } n \text{ events})`,

.. math:: P(D \ge t) = \sum_n e^{-\Lambda t} \frac{(\Lambda t)^n}{n!} h_n .

No term is negative, so nothing cancels and the far tail keeps its digits. The same construction, walked forward,
draws projects *given* that they are late (`late_projects`). The price is the number of events, about
:math:`\Lambda t`: one stage a million times shorter than the others makes it so large that the query is refused. The
moments solve triangular equations instead, and do not mind.
"""

from __future__ import annotations

import itertools
import math
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special
from scipy.sparse.linalg import spsolve_triangular

from course_lib.checks import real_number, whole_number
from course_lib.projects.chain import Ints, build_chain
from course_lib.projects.plan import Project

__all__ = ["SMALLEST_TAIL", "CompletionLaw", "completion_law", "late_projects", "law_in_series"]

Floats = NDArray[np.float64]

#: Tail probabilities below this have too few digits left in a float to be divided by or to take the logarithm of.
SMALLEST_TAIL = 1e-290
# Most numbers that a query may touch on its walk through the chain, some ten seconds (where they are too small for
# full precision, far out in the tail of a large chain, a minute); and most that it may hold, 2 GB.
_MOST_TOUCHED = 1e10
_MOST_HELD = 2.5e8
# An event of the smallest chain takes as long as one of a chain with so many jumps.
_NUMBERS_PER_EVENT = 20_000


def completion_law(plan: Project) -> CompletionLaw:
    """The exact law of the plan's completion time.

    Args:
        plan: independent durations made of exponential stages: exponential, Erlang, hyperexponential.

    Raises:
        ValueError: other durations, or the chain has more than 50,000 states.
    """
    return CompletionLaw(plan)


def law_in_series(plan: Project, positions: list[int]) -> CompletionLaw:
    """The exact law of the sum of some tasks' durations; raises as `completion_law`."""
    durations = {plan.tasks[j]: plan.durations[j] for j in positions}
    return CompletionLaw(Project(durations, {after: before for before, after in itertools.pairwise(durations)}))


def late_projects(plan: Project, deadline: float, n: int, seed: int = 0) -> Floats:
    """Durations drawn exactly from the plan's law given that it misses the deadline, ``[n, n_tasks]`` days.

    This is the proposal of zero variance: each draw's weight is the same, P(D >= deadline).

    Args:
        plan: the plan.
        deadline: days.
        n: projects to draw.
        seed: names the draws.

    Raises:
        ValueError: as for `completion_law` or `CompletionLaw.sample_late`.
    """
    return completion_law(plan).sample_late(deadline, n, seed)


class CompletionLaw:
    """Distribution of the completion time D of a plan, in days.

    `sf`, `cdf` and `pdf` are called like those of a `scipy.stats` distribution; `mean` and `std` are attributes.

    Attributes:
        plan: the plan.
        n_states: states of its Markov chain, the one where nothing is finished and the one where all is included.
    """

    def __init__(self, plan: Project) -> None:
        """Build the chain.

        Raises:
            ValueError: as for `completion_law`.
        """
        self.plan = plan
        self._chain = chain = build_chain(plan)
        self.n_states = chain.n_states
        self._leaving = leaving = chain.leaving()
        self._event_rate = float(leaving.max())
        jumps = sparse.csr_array((chain.rate, (chain.source, chain.target)), shape=(self.n_states,) * 2)
        self._jumps = jumps[:-1, :-1]
        self._finishing = jumps[:-1, [self.n_states - 1]].toarray().ravel() / self._event_rate
        # Later than this with probability below 1e-300: in every state some stage is finished at least at the slowest
        # rate, so D is at most a sum of as many exponentials of that rate as there are stages.
        self._surely_over = float(special.gammainccinv(chain.n_stages.sum(), 1e-300) / leaving.min())
        self._walked: tuple[int, Floats, Floats] = (0, np.array([]), np.array([]))
        # One event of the uniformized chain, among the unfinished states.
        staying = sparse.diags_array(1 - leaving / self._event_rate)
        self._step = sparse.csr_array(self._jumps / self._event_rate + staying)

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
        """P(D >= t), to some 11 digits down to 1e-280.

        Args:
            t: days, any shape.

        Returns:
            The shape of ``t``.

        Raises:
            ValueError: a time is not a number, or so late, beside the shortest stage, that it takes too many events.
        """
        times = _checked_times(t)
        survival, _ = self._absorption(times)
        return np.where(times <= 0, 1.0, self._event_average(survival, times))

    def cdf(self, t: ArrayLike) -> Floats:
        """P(D <= t), to some 11 digits however small.

        Args:
            t: days, any shape.

        Returns:
            The shape of ``t``.

        Raises:
            ValueError: as for `sf`.
        """
        times = _checked_times(t)
        survival, finishing = self._absorption(times)
        late = self._event_average(survival, times)
        # Once nothing is left unfinished, further events find the project finished.
        finished = np.cumsum(np.pad(finishing, (0, math.ceil(_enough_events(len(survival))))))
        early = self._event_average(finished, times)
        # Each side is summed directly where it is the smaller one, and so keeps its digits there.
        return np.where(times <= 0, 0.0, np.where(late < 0.5, 1 - late, early))

    def pdf(self, t: ArrayLike) -> Floats:
        """Density of D, per day.

        Args:
            t: days, any shape.

        Returns:
            The shape of ``t``; 0 before the start.

        Raises:
            ValueError: as for `sf`.
        """
        times = _checked_times(t)
        _, finishing = self._absorption(times)
        return np.where(times < 0, 0.0, self._event_rate * self._event_average(finishing[1:], times))

    def late_means(self, deadline: float) -> Floats:
        """E[duration of each task | D >= deadline].

        They are also the means of the product of tilted laws (for exponentials, of exponentials) closest to the late
        projects in Kullback-Leibler divergence, the optimum that `cross_entropy` seeks from samples.

        Args:
            deadline: days.

        Returns:
            Days, ``[n_tasks]``.

        Raises:
            ValueError: as for `elasticities`.
        """
        # The slope of log P as one task is tilted: its jumps' rates grow by what they add to the days it needs yet.
        return self.plan.means * (1 + self._slopes(deadline, self._chain.shares_of_mean()))

    def elasticities(self, deadline: float) -> Floats:
        """d log P(D >= deadline) / d log mean, for each task: the percentage by which 1 % more work raises the risk.

        Args:
            deadline: days.

        Returns:
            ``[n_tasks]``, none negative.

        Raises:
            ValueError: the deadline is not a number, P(D >= deadline) is below `SMALLEST_TAIL`, or the deadline is so
                late, beside the shortest stage, that it takes too many events.
        """
        return self._slopes(deadline, np.ones(self._chain.rate.size))

    def _slopes(self, deadline: float, slower: Floats) -> Floats:
        """d log P(D >= deadline) for each task, as its jumps' rates fall by these shares of themselves."""
        weights = self._event_weights(deadline)
        after = self._walk(len(weights) - 1)
        # Reverse mode through the sum over n of weights[n] * start @ step^n @ 1, whose transitions are linear in
        # the rates.
        chain, first = self._chain, self._chain.first_rates
        slopes = np.zeros(chain.task.size)
        value_later = np.zeros(self.n_states)
        for i in range(len(weights) - 2, -1, -1):
            value_later[:-1] = self._step @ value_later[:-1] + weights[i + 1]
            slopes += after[i][chain.source] * (value_later[chain.source] - value_later[chain.target])
        slopes *= slower * (chain.rate / first[chain.task])
        per_task = np.bincount(chain.task, slopes, minlength=first.size) * first / self._event_rate
        return per_task / float(weights @ after.sum(axis=1))

    def sample_late(self, deadline: float, n: int, seed: int = 0) -> Floats:
        """Durations drawn exactly from the plan's law given D >= deadline.

        Args:
            deadline: days.
            n: projects to draw.
            seed: names the draws.

        Returns:
            Days, ``[n, n_tasks]``.

        Raises:
            ValueError: ``n`` or ``seed`` out of range, or as for `elasticities`.
        """
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

        targets, tasks, after, odds = self._chain.tables(self._event_rate)
        state = np.zeros(n, dtype=np.int64)
        clock = np.zeros(n)
        progress = np.zeros((n, len(self.plan.tasks)), dtype=np.int64)
        latest_jump = np.zeros(progress.shape)
        for r in range(int(n_events[0]), 0, -1):
            live = int(np.searchsorted(-n_events, -r, side="right"))
            here = state[:live]
            # The r events left before the deadline are uniform there; the next one is the first of them.
            clock[:live] += (max(deadline, 0.0) - clock[:live]) * -np.expm1(np.log(rng.random(live)) / r)
            reach = np.cumsum(odds[here] * unfinished[r - 1][targets[here]], axis=1)
            jump = (rng.random((live, 1)) * reach[:, -1:] >= reach).sum(axis=1)
            further = tasks[here, jump]
            moved = np.flatnonzero(further >= 0)
            latest_jump[moved, further[moved]] = clock[moved]
            progress[moved, further[moved]] = after[here, jump][moved]
            state[:live] = targets[here, jump]
        finish = np.where(progress == self._chain.n_stages, latest_jump, np.inf)
        return rng.permutation(self._durations_after(finish, progress, max(deadline, 0.0), rng))

    def _durations_after(self, finish: Floats, progress: Ints, deadline: float, rng: np.random.Generator) -> Floats:
        """Durations from the finish times before the deadline (``inf`` if later): from its stages on, as planned."""
        durations = np.empty_like(finish)
        for j in self.plan.topological_order:
            start = np.max(finish[:, self.plan.predecessor_indices[j]], axis=1, initial=0.0)
            if len(self._chain.stages[j]) == 1:
                fresh = rng.exponential(self.plan.means[j], size=len(finish))
            else:
                fresh = self._chain.draw_rest(j, progress[:, j], rng)
            running = np.where(np.isfinite(start), deadline - start, 0.0) + fresh
            durations[:, j] = np.where(
                np.isfinite(finish[:, j]), finish[:, j] - np.where(np.isfinite(start), start, 0.0), running
            )
        return durations

    def _absorption(self, times: Floats) -> tuple[Floats, Floats]:
        """P(unfinished after n events) and P(the n-th event finishes the project), for n = 0, 1, ...

        As many n as ``times`` need, or until nothing is left that a float can hold.
        """
        latest = float(times.max(initial=0.0))
        self._refuse_too_many_events(latest, times.size)
        n = math.ceil(_enough_events(self._event_rate * min(latest, self._surely_over)))
        # Asked again and again, as by conditional_monte_carlo, a walk is remembered. It is replaced and never changed,
        # because several threads may ask.
        walked, survival, finishing = self._walked
        if n > walked:
            survival, finishing = self._walk_to_absorption(n)
            self._walked = n, survival, finishing
        return survival[:n], finishing[: n + 1]

    def _walk_to_absorption(self, n: int) -> tuple[Floats, Floats]:
        survival: list[float] = []
        finishing = [0.0]
        here = np.zeros(self.n_states - 1)
        here[0] = 1.0
        backwards = sparse.csr_array(self._step.T)
        while len(survival) < n and here.sum() > 1e-300:
            survival.append(float(here.sum()))
            finishing.append(float(here @ self._finishing))
            here = backwards @ here
        return np.array(survival), np.array(finishing)

    def _event_average(self, values: Floats, times: Floats) -> Floats:
        """Average of ``values[n]`` over the Poisson number n of events before each time."""
        with np.errstate(over="ignore"):
            y = self._event_rate * times
        # Far beyond the last value the average is zero, and stays so without y**n overflowing.
        return _poisson_average(values, np.clip(y, 0.0, 3.0 * len(values) + 1000))

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
        deadline = real_number("the deadline", deadline, "days")
        self._refuse_too_many_events(deadline, held=True)
        if float(self.sf(deadline)) < SMALLEST_TAIL:
            raise ValueError(
                f"P(D >= {deadline:g}) is below {SMALLEST_TAIL:g}, too small to condition on; "
                "choose an earlier deadline."
            )
        y = self._event_rate * max(deadline, 0.0)
        n = np.arange(math.ceil(_enough_events(y)))
        log_weights = np.concatenate([[0.0], np.cumsum(np.log(max(y, 1e-300)) - np.log(n[1:]))])
        return np.exp(log_weights - log_weights.max())

    def _refuse_too_many_events(self, latest: float, n_times: int = 1, held: bool = False) -> None:
        """Raise ValueError before a walk that would take, or a table of all its steps that would hold, too much."""
        events = _enough_events(self._event_rate * min(max(latest, 0.0), self._surely_over))
        touched = events * (_NUMBERS_PER_EVENT + self._step.nnz + n_times)
        if not touched <= _MOST_TOUCHED or (held and events * self.n_states > _MOST_HELD):
            j = int(self._chain.task[np.argmax(self._chain.rate)])
            short = "as short as" if len(self._chain.stages[j]) == 1 else "with stages as short as those of"
            raise ValueError(
                f"{latest:g} days are some {events:.1g} events in this plan's chain of {self.n_states:,} states, too "
                f"many to compute with; use monte_carlo or importance_sampling, or leave out tasks {short} "
                f"{self.plan.tasks[j]!r}."
            )


def _enough_events(y: float) -> float:
    """So many terms of a Poisson average of mean ``y`` that the rest is below rounding."""
    return y + 12 * math.sqrt(y) + 50


def _poisson_average(values: Floats, y: Floats) -> Floats:
    r"""The sum over n of :math:`e^{-y} y^n / n!` times ``values[n]``, for every y at once.

    Nested multiplication from the last term down; a running total that grows large is scaled back, and the
    scale is put right in the exponent at the end. All terms are positive, so nothing cancels.
    """
    total, times_scaled = np.zeros_like(y), np.zeros_like(y)
    scale: Floats | float = 1.0
    for n in range(len(values) - 1, -1, -1):
        total *= y
        total *= 1 / (n + 1)
        total += scale * values[n]
        if n % 16 == 0 and total.max(initial=0.0) > 1e150:
            large = total > 1e150
            shrink = np.where(large, 1e-150, 1.0)
            total *= shrink
            scale, times_scaled = scale * shrink, times_scaled + large
    # In two steps, because the first factor alone may be below the smallest float.
    half = np.exp((150 * math.log(10) * times_scaled - y) / 2)
    return total * half * half


def _checked_times(t: ArrayLike) -> Floats:
    times = np.asarray(t)
    if times.dtype.kind not in "iuf":
        raise ValueError(f"times must be numbers of days; got {t!r}.")
    if np.isnan(times).any():
        raise ValueError("a time is nan; times must be numbers of days.")
    return times.astype(float)
