"""The states of a running project and the jumps between them, whatever its durations.

A state is a set of finished tasks that contains, with each task, its predecessors. `course_lib.projects.law` lets
the tasks of a state finish at their rates and so makes a Markov chain of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from course_lib.projects.plan import Project

__all__ = ["MAX_STATES", "Chain", "build_chain"]

Ints = NDArray[np.integer]

#: Largest chain that is built: a second or two and some hundred megabytes.
MAX_STATES = 50_000


@dataclass(frozen=True)
class Chain:
    """States and jumps of a plan; every jump goes to a state of a higher number.

    Attributes:
        n_states: states, numbered from 0, where nothing is finished, to the last, where everything is.
        source: the state that each jump leaves, ``[n_jumps]``.
        target: the state that it leads to, ``[n_jumps]``.
        task: the position of the task that it finishes, ``[n_jumps]``.
    """

    n_states: int
    source: Ints
    target: Ints
    task: Ints


def build_chain(plan: Project) -> Chain:
    """Every set of finished tasks that a run of the plan can pass through, and the ways from one to the next.

    Raises:
        ValueError: there are more than `MAX_STATES`.
    """
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
            raise ValueError(
                f"the chain of this plan has more than {MAX_STATES:,} states{_reason(plan)}; use monte_carlo or "
                "importance_sampling, whose work does not grow with the number of states."
            )
    return Chain(len(states), *(np.array(column, dtype=np.int32) for column in (source, target, task)))


def _reason(plan: Project) -> str:
    """Tasks that can run at once are finished in all combinations; said only where these alone are too many."""
    width = _width(plan)
    if 2**width <= MAX_STATES:
        return ""
    size = f" = {2**width:.2g}" if width < 1000 else ""
    return f" (up to {width} tasks can run at once, so at least 2**{width}{size})"


def _width(plan: Project) -> int:
    """The most tasks that can run at the same time (Dilworth: tasks less a largest matching of the order)."""
    order = nx.transitive_closure_dag(plan.graph)
    pairs = nx.Graph()
    pairs.add_nodes_from((0, task) for task in plan.tasks)
    pairs.add_edges_from(((0, a), (1, b)) for a, b in order.edges)
    matching = nx.bipartite.hopcroft_karp_matching(pairs, top_nodes=[(0, task) for task in plan.tasks])
    return len(plan.tasks) - len(matching) // 2
