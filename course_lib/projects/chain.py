"""The states of a running project and the jumps between them: what its exact law computes with.

Durations are made of exponential stages (`course_lib.projects.durations.Duration.stages`): a task passes through them
in order, and after each is finished or goes on to the next. An exponential is a single stage. A state says of each task
how many stages it has left behind, its progress; a finished task has all of them behind it. Exponentials have no
memory, so a state is all there is to know, and `course_lib.projects.law` makes a Markov chain of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from course_lib.projects.plan import Project

__all__ = ["MAX_STATES", "Chain", "build_chain"]

Floats = NDArray[np.float64]
Ints = NDArray[np.integer]
# The rate of each stage, one a day, and the probability that another follows.
Stages = tuple[tuple[float, float], ...]

#: Largest chain that is built: a second or two and some hundred megabytes.
MAX_STATES = 50_000


@dataclass(frozen=True)
class Chain:
    """States and jumps of a plan; every jump goes to a state of a higher number.

    Attributes:
        stages: for each task, the rate of each stage and the probability that another follows.
        n_states: states, numbered from 0, where nothing is finished, to the last, where everything is.
        source: the state that each jump leaves, ``[n_jumps]``.
        target: the state that it leads to, ``[n_jumps]``.
        task: the position of the task that it takes further, ``[n_jumps]``.
        before: the progress of that task before the jump, ``[n_jumps]``.
        after: and after it, ``[n_jumps]``; as many as it has stages if it is finished.
        rate: jumps a day, ``[n_jumps]``.
    """

    stages: tuple[Stages, ...]
    n_states: int
    source: Ints
    target: Ints
    task: Ints
    before: Ints
    after: Ints
    rate: Floats

    @property
    def n_stages(self) -> Ints:
        """Stages of each task, the progress at which it is finished, ``[n_tasks]``."""
        return np.array([len(stages) for stages in self.stages])

    @property
    def first_rates(self) -> Floats:
        """The rate of each task's first stage, ``[n_tasks]``."""
        return np.array([stages[0][0] for stages in self.stages])

    def leaving(self) -> Floats:
        """The rate at which the plan leaves each state but the last, ``[n_states - 1]``."""
        return np.bincount(self.source, self.rate, minlength=self.n_states)[:-1].astype(np.float64)

    def tables(self, event_rate: float) -> tuple[Ints, Ints, Ints, Floats]:
        """What an event does in each state, if events come at a constant rate and some of them change nothing.

        Args:
            event_rate: events a day, at least as many as any state has jumps.

        Returns:
            Targets, tasks (-1: nothing happens), their progress after it, and its odds, all ``[n_states, widest + 1]``.
        """
        order = np.argsort(self.source, kind="stable")
        source = self.source[order]
        column = np.arange(source.size) - np.searchsorted(source, source) + 1
        shape = (self.n_states, int(column.max()) + 1)
        targets = np.repeat(np.arange(self.n_states)[:, None], shape[1], axis=1)
        tasks = np.full(shape, -1)
        after = np.zeros(shape, dtype=np.int64)
        odds = np.zeros(shape)
        odds[:-1, 0] = 1 - self.leaving() / event_rate
        targets[source, column] = self.target[order]
        tasks[source, column] = self.task[order]
        after[source, column] = self.after[order]
        odds[source, column] = self.rate[order] / event_rate
        return targets, tasks, after, odds

    def shares_of_mean(self) -> Floats:
        """What each jump takes off the days that its task is expected to need yet, as a share of its mean.

        Negative for a jump to a stage from which more is to be expected, as in a hyperexponential.

        Returns:
            ``[n_jumps]``.
        """
        shares = np.empty(self.rate.size)
        for j, stages in enumerate(self.stages):
            rest = [0.0]
            for rate, go_on in reversed(stages):
                rest.append(1 / rate + go_on * rest[-1])
            days = np.array(rest[::-1])
            mine = self.task == j
            shares[mine] = (days[self.before[mine]] - days[self.after[mine]]) / days[0]
        return shares

    def draw_rest(self, task: int, progress: Ints, rng: np.random.Generator) -> Floats:
        """Draw how long a task takes from its stage on.

        Args:
            task: its position.
            progress: of each draw, ``[n]``.
            rng: advanced by the draws.

        Returns:
            Days, ``[n]``; 0 where it is finished.
        """
        stages = self.stages[task]
        progress, days = progress.copy(), np.zeros(len(progress))
        for i, (rate, go_on) in enumerate(stages):
            here = np.flatnonzero(progress == i)
            days[here] += rng.exponential(1 / rate, size=here.size)
            progress[here] = np.where(rng.random(here.size) < go_on, i + 1, len(stages))
        return days


def build_chain(plan: Project) -> Chain:
    """Every state that a run of the plan can pass through, and the ways from one to the next.

    Raises:
        ValueError: there are more than `MAX_STATES`, a duration is not made of exponential stages, or durations depend
            on each other.
    """
    stages = _stages(plan)
    chain = _explore(plan, stages)
    if chain is None:
        raise ValueError(
            f"the chain of this plan has more than {MAX_STATES:,} states{_reason(plan, stages)}; use monte_carlo or "
            "importance_sampling, whose work does not grow with the number of states."
        )
    return chain


def _stages(plan: Project) -> tuple[Stages, ...]:
    """The stages of each task's duration.

    Raises:
        ValueError: a task has none, or durations depend on each other.
    """
    unrelated = plan.copula is None or np.array_equal(plan.copula, np.eye(len(plan.tasks)))
    if plan.common_factor or not unrelated:
        raise ValueError(
            "the durations of this plan depend on each other, so their exact law is not known here; use monte_carlo or "
            "splitting."
        )
    stages = tuple(law.stages for law in plan.durations)
    for task, law, found in zip(plan.tasks, plan.durations, stages, strict=True):
        if not found:
            raise ValueError(
                f"task {task!r} is {law}: the exact law needs durations made of exponential stages (exponential, "
                "Erlang, hyperexponential); use monte_carlo or splitting."
            )
    return stages


class _Field(NamedTuple):
    """A task's bits in the integer that stands for a state, and what of the other bits lets the task run."""

    shift: int
    mask: int
    before: int
    all_finished: int
    # For each progress, the jumps from there: the progress after the jump, and its rate.
    jumps: tuple[tuple[tuple[int, float], ...], ...]


def _fields(plan: Project, stages: tuple[Stages, ...]) -> list[_Field]:
    widths = [len(own).bit_length() for own in stages]
    shifts = [sum(widths[:j]) for j in range(len(widths))]
    masks = [(1 << width) - 1 for width in widths]
    fields = []
    for j, own in enumerate(stages):
        needs, last = plan.predecessor_indices[j], len(own)
        jumps = []
        for s, (rate, go_on) in enumerate(own):
            ways = [(s + 1, rate * go_on)] if s + 1 < last else []
            jumps.append(tuple(way for way in [*ways, (last, rate * (1 - go_on))] if way[1] > 0))
        before, done = sum(masks[i] << shifts[i] for i in needs), sum(len(stages[i]) << shifts[i] for i in needs)
        fields.append(_Field(shifts[j], masks[j], before, done, (*jumps, ())))
    return fields


def _explore(plan: Project, stages: tuple[Stages, ...]) -> Chain | None:
    """The chain, or None if it has more than `MAX_STATES`."""
    fields = list(enumerate(_fields(plan, stages)))
    number = {0: 0}
    states = [0]
    # Stages that all tasks together have behind them, in each state.
    totals = [0]
    jumps: list[tuple[int, int, int, int, int]] = []
    rates: list[float] = []
    for here, state in enumerate(states):
        for j, field in fields:
            if state & field.before == field.all_finished:
                progress = state >> field.shift & field.mask
                for after, rate in field.jumps[progress]:
                    then = state + (after - progress << field.shift)
                    if then not in number:
                        number[then] = len(states)
                        states.append(then)
                        totals.append(totals[here] + after - progress)
                    jumps.append((here, number[then], j, progress, after))
                    rates.append(rate)
        if len(states) > MAX_STATES:
            return None
    # A task that skips stages brings states up early; sorted by total, every jump leads upwards, and to the full
    # state last.
    rank = np.empty(len(states), dtype=np.int32)
    rank[np.argsort(totals, kind="stable")] = np.arange(len(states))
    source, target, task, before, progress_after = np.array(jumps, dtype=np.int32).T
    return Chain(stages, len(states), rank[source], rank[target], task, before, progress_after, np.array(rates))


def _reason(plan: Project, stages: tuple[Stages, ...]) -> str:
    """Tasks that run at once are finished in all combinations, which stages multiply; said only where it decides."""
    width = _width(plan)
    if 2**width > MAX_STATES:
        size = f" = {2**width:.2g}" if width < 1000 else ""
        return f" (up to {width} tasks can run at once, so at least 2**{width}{size})"
    most = max(len(own) for own in stages)
    single = _explore(plan, tuple(((1.0, 0.0),) for _ in stages)) if most > 1 else None
    if single is None:
        return ""
    return f" (because of durations of up to {most:,} stages; were all exponential, it would have {single.n_states:,})"


def _width(plan: Project) -> int:
    """The most tasks that can run at the same time (Dilworth: tasks less a largest matching of the order)."""
    order = nx.transitive_closure_dag(plan.graph)
    pairs = nx.Graph()
    pairs.add_nodes_from((0, task) for task in plan.tasks)
    pairs.add_edges_from(((0, a), (1, b)) for a, b in order.edges)
    matching = nx.bipartite.hopcroft_karp_matching(pairs, top_nodes=[(0, task) for task in plan.tasks])
    return len(plan.tasks) - len(matching) // 2
