"""A project plan: tasks with uncertain durations, and which must be finished before which may begin.

:class:`Project` reads and checks a plan and answers what needs no probability: its graph, its critical path,
and how long it takes once every task's duration is known.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from course_lib.checks import real_number
from course_lib.projects.durations import Duration, Exponential, Lognormal, as_duration, mean_days
from course_lib.projects.table import Row, read_table
from course_lib.resources import DATA

__all__ = ["Project"]

Floats = NDArray[np.float64]


class Project:
    """Tasks with random durations and a precedence order; durations are independent unless made `correlated`.

    Attributes:
        tasks: task names, in the order given, ``n_tasks`` of them; a task's place there is its position.
        durations: the law of each task's duration, ``n_tasks`` of them.
        means: mean durations in days, ``[n_tasks]``, read-only.
        common_factor: standard deviation of the factor that multiplies all durations of a project; 0 for none.
        factor_law: the law of that factor, `Lognormal`; None for none.
        copula: correlations of the normal numbers that the durations are made from, ``[n_tasks, n_tasks]``; None where
            they are independent.
        predecessors: for each task's name, those of the tasks that must be finished before it may begin.
        topological_order: the positions of all tasks, each after those of its predecessors, ``[n_tasks]``.
        predecessor_indices: for each position, the positions of that task's predecessors, ``n_tasks`` lists.
        graph: the plan as a `networkx.DiGraph` of task names, an edge from each predecessor; nodes carry ``mean_days``.

    Example:
        >>> plan = Project({"dig": 2, "pour": 1, "build": 5}, {"pour": ["dig"], "build": ["pour"]})
        >>> plan.makespan()
        8.0
    """

    def __init__(self, durations: Mapping[str, Any], predecessors: Mapping[str, Iterable[str]] | None = None) -> None:
        """Build a plan from Python.

        Args:
            durations: for each task a law of `course_lib.projects.durations`, a frozen continuous distribution of
                `scipy.stats`, or a number: the mean in days of an exponential.
            predecessors: for each task that has any, the tasks it waits for.

        Raises:
            ValueError: no tasks, a mean that is not a positive finite number, an unknown or repeated
                predecessor, or tasks that wait for each other in a circle.
        """
        waits = {
            str(task): (before,) if isinstance(before, str) else tuple(map(str, before or ()))
            for task, before in (predecessors or {}).items()
        }
        known = set(map(str, durations))
        for task in waits:
            if task not in known:
                raise ValueError(f"task {task!r} has predecessors but no duration; give it one.")
        rows = []
        for task, given in durations.items():
            where = f"task {str(task)!r}"
            try:
                rows.append(Row(where, str(task), as_duration(given), waits.get(str(task), ())))
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
        self._build(rows)

    @classmethod
    def from_csv(cls, path: str | Path) -> Project:
        """Read a plan from a UTF-8 CSV file.

        Columns ``task``, ``predecessors`` (names separated by ``;`` or ``,``, empty for none) and ``mean_days``.
        Durations are exponential unless a column ``distribution`` says otherwise. ``gamma``, ``erlang``,
        ``hyperexponential`` and ``lognormal`` take ``mean_days`` and ``cv`` (standard deviation over mean).
        ``triangular`` and ``pert`` take ``optimistic``, ``most_likely`` and ``pessimistic`` days, ``uniform`` the
        first and the last; or ``mean_days`` and ``cv``. ``fixed`` takes ``mean_days``. Other columns are ignored.

        Raises:
            FileNotFoundError, IsADirectoryError: there is no such file, or it is a folder.
            ValueError: the file is empty, is not UTF-8, lacks a column, or holds no valid plan; the message
                names row and task. Rows are counted as a spreadsheet does, the header being row 1.
        """
        plan = cls.__new__(cls)
        plan._build(read_table(Path(path)))
        return plan

    @classmethod
    def example(cls) -> Project:
        """The course's ten tasks, from ``data/project_tasks.csv`` in the repository, wherever you run."""
        return cls.from_csv(DATA / "project_tasks.csv")

    def with_means(self, means: ArrayLike) -> Project:
        """The same tasks in the same order, their durations multiplied so that they have other means.

        Args:
            means: days, ``[n_tasks]``.

        Raises:
            ValueError: there is not one mean for each task, or one is not a positive finite number.
        """
        means = np.asarray(means, dtype=float)
        if means.shape != self.means.shape:
            raise ValueError(f"this plan has {len(self.tasks)} tasks; got means of shape {means.shape}.")
        laws: dict[str, Duration] = {}
        for task, law, mean in zip(self.tasks, self.durations, means.tolist(), strict=True):
            try:
                laws[task] = law.with_mean(mean_days(mean))
            except ValueError as error:
                raise ValueError(f"task {task!r}: {error}") from None
        plan = Project(laws, self.predecessors)
        plan._correlate(self.common_factor, self.copula)
        return plan

    def correlated(self, common_factor: float = 0.0, copula: ArrayLike | None = None) -> Project:
        """The same plan with durations that depend on each other.

        Args:
            common_factor: all durations of a project are multiplied by one random factor, lognormal with mean 1 and
                this standard deviation: the weather, or how good the plan's author is at guessing.
            copula: each task keeps its law, but the normal numbers behind the durations are correlated (a Gaussian
                copula): a number for every pair of tasks alike, or a matrix ``[n_tasks, n_tasks]``.

        Raises:
            ValueError: a standard deviation that is negative or infinite, or no positive definite correlations.
        """
        common_factor = real_number("the common factor's standard deviation", common_factor)
        if not 0 <= common_factor < math.inf:
            raise ValueError(
                f"the common factor's standard deviation must be 0 or more, and finite; got {common_factor}."
            )
        matrix = None
        if copula is not None:
            n = len(self.tasks)
            matrix = np.array(copula, dtype=float)
            matrix = np.where(np.eye(n, dtype=bool), 1.0, matrix) if matrix.ndim == 0 else matrix
            if matrix.shape != (n, n):
                raise ValueError(f"the copula needs one number, or a matrix of shape {(n, n)}; got {matrix.shape}.")
            if not (np.array_equal(matrix, matrix.T) and (np.diag(matrix) == 1).all()):
                raise ValueError("the copula's matrix must be symmetric, with 1 on its diagonal.")
            if not np.linalg.eigvalsh(matrix)[0] > 1e-9:
                raise ValueError(
                    "the copula's correlations contradict each other: the matrix is not positive definite."
                )
        plan = self.with_means(self.means)
        plan._correlate(common_factor, matrix)
        return plan

    def _correlate(self, common_factor: float, copula: Floats | None) -> None:
        self.common_factor, self.copula = common_factor, copula
        self.factor_law = Lognormal(1.0, common_factor) if common_factor else None
        self._root = None if copula is None else np.linalg.cholesky(copula)

    @property
    def n_normals(self) -> int:
        """How many independent normal numbers a project's durations are made from."""
        return len(self.tasks) + (self.factor_law is not None)

    def draw(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw durations.

        Args:
            rng: advanced by the draws.
            n: projects to draw.

        Returns:
            Days, ``[n, n_tasks]``, stored task by task (what `completion_times` likes best).
        """
        durations = np.empty((len(self.tasks), n))
        if self._root is None:
            for law, row in zip(self.durations, durations, strict=True):
                law.draw(rng, row)
        else:
            rng.standard_normal(out=durations)
            for law, row, z in zip(self.durations, durations, self._root @ durations, strict=True):
                row[:] = law.from_normal(z)
        if self.factor_law:
            factor = np.empty(n)
            self.factor_law.draw(rng, factor)
            durations *= factor
        return durations.T

    def from_normals(self, z: ArrayLike) -> Floats:
        """Durations from independent standard normal numbers, each longer where its number is larger.

        Args:
            z: ``[..., n_normals]``, one for each task and, last, one for the common factor if there is one.

        Returns:
            Days, ``[..., n_tasks]``.

        Raises:
            ValueError: the last axis is not ``n_normals`` long.
        """
        z = np.asarray(z, dtype=float)
        if z.ndim == 0 or z.shape[-1] != self.n_normals:
            raise ValueError(f"z needs a last axis of {self.n_normals} numbers; got shape {z.shape}.")
        own = z[..., : len(self.tasks)]
        if self._root is not None:
            own = own @ self._root.T
        durations = np.empty((len(self.tasks), *z.shape[:-1]))
        for j, law in enumerate(self.durations):
            durations[j] = law.from_normal(own[..., j])
        if self.factor_law:
            durations *= self.factor_law.from_normal(z[..., -1])
        return np.moveaxis(durations, 0, -1)

    def _build(self, rows: list[Row]) -> None:
        if not rows:
            raise ValueError("the plan has no tasks; it needs at least one.")
        known = {row.task for row in rows}
        laws: dict[str, Duration] = {}
        predecessors: dict[str, tuple[str, ...]] = {}
        for row in rows:
            if row.task in laws:
                raise ValueError(f"{row.where}: there is another task of that name before it; give each its own name.")
            for before in row.predecessors:
                if before not in known:
                    raise ValueError(
                        f"{row.where}: predecessor {before!r} is not a task of this plan; add it or correct its name."
                    )
                if row.predecessors.count(before) > 1:
                    raise ValueError(f"{row.where}: predecessor {before!r} is named twice; name it once.")
            laws[row.task] = row.duration
            predecessors[row.task] = row.predecessors

        self._correlate(0.0, None)
        self.tasks, self.durations = tuple(laws), tuple(laws.values())
        self.means: Floats = np.array([law.mean for law in self.durations])
        self.means.flags.writeable = False
        self.predecessors = predecessors
        self.graph = nx.DiGraph()
        self.graph.add_nodes_from((task, {"mean_days": law.mean}) for task, law in laws.items())
        self.graph.add_edges_from((before, task) for task in self.tasks for before in predecessors[task])
        if not nx.is_directed_acyclic_graph(self.graph):
            circle = [edge[0] for edge in nx.find_cycle(self.graph)]
            where = next(row.where for row in rows if row.task == circle[0])
            raise ValueError(
                f"{where}: tasks wait for each other in a circle, {' -> '.join([*circle, circle[0]])}; "
                "remove one of these predecessors."
            )
        index = {task: j for j, task in enumerate(self.tasks)}
        self.topological_order = [
            index[task] for task in nx.lexicographical_topological_sort(self.graph, key=index.__getitem__)
        ]
        self.predecessor_indices = [[index[before] for before in predecessors[task]] for task in self.tasks]
        self._last = [index[task] for task in self.tasks if self.graph.out_degree(task) == 0]

    def task_indices(self, tasks: Iterable[str]) -> list[int]:
        """Positions along the axis ``n_tasks`` of every array.

        Args:
            tasks: names, or a single one.

        Returns:
            One position for each name, in the order of ``tasks``.

        Raises:
            ValueError: a name is not a task of this plan.
        """
        tasks = [tasks] if isinstance(tasks, str) else list(tasks)
        for task in tasks:
            if task not in self.predecessors:
                raise ValueError(f"{task!r} is not a task of this plan; its tasks are {', '.join(self.tasks)}.")
        return [self.tasks.index(task) for task in tasks]

    def critical_path(self) -> tuple[str, ...]:
        """The longest chain of tasks, first to last, when every duration equals its mean; see `critical_tasks`."""
        critical = self.critical_tasks(self.means)
        return tuple(self.tasks[j] for j in self.topological_order if critical[j])

    def makespan(self) -> float:
        """Days the project takes when every duration equals its mean."""
        return float(self.completion_times(self.means))

    def completion_times(self, durations: ArrayLike) -> Floats:
        """When the last task is finished, in days.

        Args:
            durations: days, ``[..., n_tasks]``.

        Returns:
            Days, ``[...]``.

        Raises:
            ValueError: the last axis is not ``n_tasks`` long, or a duration is negative or ``nan``.
        """
        durations = self._check_durations(durations)
        finish = self._finish_times(durations)
        return np.asarray(_latest([finish[j] for j in self._last]))

    def critical_tasks(self, durations: ArrayLike) -> NDArray[np.bool_]:
        """Which tasks lie on the longest path of each draw: the ones to blame for its completion time.

        Args:
            durations: days, ``[..., n_tasks]``.

        Returns:
            ``[..., n_tasks]``. Of paths equally long only one is marked: from the end of the project backwards, it
            takes the first task listed, and from there on the predecessor named first.

        Raises:
            ValueError: as for `completion_times`.
        """
        durations = self._check_durations(durations)
        finish = self._finish_times(durations)
        critical = np.zeros(durations.shape, dtype=bool)

        def mark(candidates: list[int], where: NDArray[np.bool_]) -> None:
            latest = np.argmax(np.stack([finish[j] for j in candidates]), axis=0)
            for i, j in enumerate(candidates):
                critical[..., j] |= where & (latest == i)

        mark(self._last, np.ones(durations.shape[:-1], dtype=bool))
        for j in reversed(self.topological_order):
            if self.predecessor_indices[j]:
                mark(self.predecessor_indices[j], critical[..., j])
        return critical

    def _check_durations(self, durations: ArrayLike) -> Floats:
        durations = np.asarray(durations, dtype=float)
        if durations.ndim == 0 or durations.shape[-1] != len(self.tasks):
            raise ValueError(f"durations need a last axis of {len(self.tasks)} tasks; got shape {durations.shape}.")
        # One reduction finds both: the minimum of an array with a nan in it is nan.
        if durations.size and not durations.min() >= 0:
            at = np.unravel_index(int(np.argmin(durations >= 0)), durations.shape)
            raise ValueError(
                f"a duration of task {self.tasks[at[-1]]!r} is {durations[at]} days; "
                "durations must not be negative or nan."
            )
        return durations

    def _finish_times(self, durations: Floats) -> list[Floats]:
        finish: list[Floats] = [durations[..., j] for j in range(len(self.tasks))]
        for j in self.topological_order:
            if self.predecessor_indices[j]:
                finish[j] = _latest([finish[i] for i in self.predecessor_indices[j]]) + durations[..., j]
        return finish

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Project):
            return NotImplemented
        mine, theirs = (
            (
                p.tasks,
                p.durations,
                p.common_factor,
                None if p.copula is None else p.copula.tobytes(),
                {task: set(before) for task, before in p.predecessors.items()},
            )
            for p in (self, other)
        )
        return mine == theirs

    def __hash__(self) -> int:
        return hash((self.tasks, self.durations))

    def __repr__(self) -> str:
        path = self.critical_path()
        shown = path if len(path) <= 12 else (*path[:3], "...", *path[-3:])
        return f"Project of {len(self.tasks)} tasks, {self.makespan():g} days along {' -> '.join(shown)}"

    def _repr_html_(self) -> str:
        named = not all(isinstance(law, Exponential) for law in self.durations)
        rows = [
            f"<tr><td>{task}</td><td>{', '.join(self.predecessors[task])}</td><td>{law.mean:g}</td>"
            + (f"<td>{html.escape(str(law))}</td>" if named else "")
            + "</tr>"
            for task, law in zip(self.tasks, self.durations, strict=True)
        ]
        if len(rows) > 20:
            rows = [*rows[:5], f"<tr><td colspan={3 + named}>... {len(rows) - 10} more ...</td></tr>", *rows[-5:]]
        heading = "<th>law</th>" if named else ""
        return f"<table><tr><th>task</th><th>predecessors</th><th>mean (days)</th>{heading}</tr>{''.join(rows)}</table>"


def _latest(times: list[Floats]) -> Floats:
    latest = times[0]
    for other in times[1:]:
        latest = np.maximum(latest, other)
    return latest
