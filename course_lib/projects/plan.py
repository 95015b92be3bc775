"""A project plan: tasks with uncertain durations, and which must be finished before which may begin.

:class:`Project` reads and checks a plan and answers what needs no probability: its graph, its critical path,
and how long it takes once every task's duration is known.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from course_lib.resources import DATA

__all__ = ["Project"]

Floats = NDArray[np.float64]

_COLUMNS = ("task", "predecessors", "mean_days")


class _Row(NamedTuple):
    where: str
    task: str
    mean: float | str
    predecessors: tuple[str, ...]


class Project:
    """Tasks with mean durations in days and a precedence order; durations are independent exponentials.

    Attributes:
        tasks: task names, in the order given, ``n_tasks`` of them; a task's place there is its position.
        means: mean durations in days, ``[n_tasks]``, read-only.
        predecessors: for each task's name, those of the tasks that must be finished before it may begin.
        topological_order: the positions of all tasks, each after those of its predecessors, ``[n_tasks]``.
        predecessor_indices: for each position, the positions of that task's predecessors, ``n_tasks`` lists.
        graph: the plan as a `networkx.DiGraph` of task names, an edge from each predecessor; nodes carry ``mean_days``.

    Example:
        >>> plan = Project({"dig": 2, "pour": 1, "build": 5}, {"pour": ["dig"], "build": ["pour"]})
        >>> plan.makespan()
        8.0
    """

    def __init__(self, mean_days: Mapping[str, float], predecessors: Mapping[str, Iterable[str]] | None = None) -> None:
        """Build a plan from Python.

        Args:
            mean_days: each task's mean duration in days.
            predecessors: for each task that has any, the tasks it waits for.

        Raises:
            ValueError: no tasks, a mean that is not a positive finite number, an unknown or repeated
                predecessor, or tasks that wait for each other in a circle.
        """
        means = {str(task): mean for task, mean in mean_days.items()}
        waits = {
            str(task): (before,) if isinstance(before, str) else tuple(map(str, before or ()))
            for task, before in (predecessors or {}).items()
        }
        for task in waits:
            if task not in means:
                raise ValueError(f"task {task!r} has predecessors but no mean duration; add it to mean_days.")
        self._build(_Row(f"task {task!r}", task, mean, waits.get(task, ())) for task, mean in means.items())

    @classmethod
    def from_csv(cls, path: str | Path) -> Project:
        """Read a plan from a UTF-8 CSV file.

        Columns ``task``, ``predecessors`` (names separated by ``;`` or ``,``, empty for none) and ``mean_days``;
        others are ignored.

        Raises:
            FileNotFoundError, IsADirectoryError: there is no such file, or it is a folder.
            ValueError: the file is empty, is not UTF-8, lacks a column, or holds no valid plan; the message
                names row and task. Rows are counted as a spreadsheet does, the header being row 1.
        """
        path = Path(path)
        if path.is_dir():
            raise IsADirectoryError(f"{str(path)!r} is a folder; name the CSV file in it.")
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path.name} is not UTF-8 text (byte {error.start} is {error.object[error.start]:#04x}); "
                "save it again as 'CSV UTF-8'."
            ) from None
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no plan file {str(path)!r}; check the path.") from None
        if not text.strip():
            raise ValueError(f"{path.name} is empty; it needs a header {','.join(_COLUMNS)} and a row for each task.")
        plan = cls.__new__(cls)
        try:
            plan._build(_read_rows(path.name, text))
        except csv.Error as error:
            raise ValueError(f"{path.name} is no CSV table ({error}); export it again from your spreadsheet.") from None
        return plan

    @classmethod
    def example(cls) -> Project:
        """The course's ten tasks, from ``data/project_tasks.csv`` in the repository, wherever you run."""
        return cls.from_csv(DATA / "project_tasks.csv")

    def with_means(self, means: ArrayLike) -> Project:
        """The same tasks in the same order, with other mean durations.

        Args:
            means: days, ``[n_tasks]``.

        Raises:
            ValueError: there is not one mean for each task, or one is not a positive finite number.
        """
        means = np.asarray(means, dtype=float)
        if means.shape != self.means.shape:
            raise ValueError(f"this plan has {len(self.tasks)} tasks; got means of shape {means.shape}.")
        return Project(dict(zip(self.tasks, means.tolist(), strict=True)), self.predecessors)

    def _build(self, rows: Iterable[_Row]) -> None:
        rows = list(rows)
        if not rows:
            raise ValueError("the plan has no tasks; it needs at least one.")
        known = {row.task for row in rows}
        mean_days: dict[str, float] = {}
        predecessors: dict[str, tuple[str, ...]] = {}
        for row in rows:
            if row.task in mean_days:
                raise ValueError(f"{row.where}: there is another task of that name before it; give each its own name.")
            for before in row.predecessors:
                if before not in known:
                    raise ValueError(
                        f"{row.where}: predecessor {before!r} is not a task of this plan; add it or correct its name."
                    )
                if row.predecessors.count(before) > 1:
                    raise ValueError(f"{row.where}: predecessor {before!r} is named twice; name it once.")
            mean_days[row.task] = _positive(row)
            predecessors[row.task] = row.predecessors

        self.tasks = tuple(mean_days)
        self.means: Floats = np.array(list(mean_days.values()))
        self.means.flags.writeable = False
        self.predecessors = predecessors
        self.graph = nx.DiGraph()
        self.graph.add_nodes_from((task, {"mean_days": mean}) for task, mean in mean_days.items())
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
            (p.tasks, tuple(p.means), {task: set(before) for task, before in p.predecessors.items()})
            for p in (self, other)
        )
        return mine == theirs

    def __hash__(self) -> int:
        return hash((self.tasks, tuple(self.means)))

    def __repr__(self) -> str:
        path = self.critical_path()
        shown = path if len(path) <= 12 else (*path[:3], "...", *path[-3:])
        return f"Project of {len(self.tasks)} tasks, {self.makespan():g} days along {' -> '.join(shown)}"

    def _repr_html_(self) -> str:
        rows = [
            f"<tr><td>{task}</td><td>{', '.join(self.predecessors[task])}</td><td>{mean:g}</td></tr>"
            for task, mean in zip(self.tasks, self.means, strict=True)
        ]
        if len(rows) > 20:
            rows = [*rows[:5], f"<tr><td colspan=3>... {len(rows) - 10} more ...</td></tr>", *rows[-5:]]
        return f"<table><tr><th>task</th><th>predecessors</th><th>mean (days)</th></tr>{''.join(rows)}</table>"


def _latest(times: list[Floats]) -> Floats:
    latest = times[0]
    for other in times[1:]:
        latest = np.maximum(latest, other)
    return latest


def _positive(row: _Row) -> float:
    try:
        mean = float(row.mean.replace("_", " ") if isinstance(row.mean, str) else row.mean)
    except OverflowError:
        mean = math.inf
    except (TypeError, ValueError):
        raise ValueError(
            f"{row.where}: the mean duration {row.mean!r} is not a number; write days such as 4 or 2.5."
        ) from None
    if not (mean > 0 and math.isfinite(mean)):
        raise ValueError(f"{row.where}: the mean duration is {mean:g}; it must be a positive, finite number of days.")
    return mean


def _read_rows(name: str, text: str) -> Iterable[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""))
    filled = (cells for cells in reader if any(cell.strip() for cell in cells))
    header = [column.strip().lower() for column in next(filled)]
    for column in _COLUMNS:
        if header.count(column) != 1:
            count = "no column" if column not in header else "more than one column"
            raise ValueError(
                f"{name} has {count} {column!r}; its first row must name {','.join(_COLUMNS)}, "
                f"and reads {','.join(header)!r}."
            )
    n_tasks = 0
    for cells in filled:
        n_tasks += 1
        where = f"{name}, row {reader.line_num}"
        values = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        task = values.get("task", "")
        if not task:
            raise ValueError(f"{where}: the task has no name; fill in the column 'task'.")
        if len(cells) != len(header):
            raise ValueError(
                f"{where}, task {task!r}: {len(cells)} cells where the header has {len(header)}; "
                "separate predecessors with ';' or put them in quotes."
            )
        before = tuple(part.strip() for part in re.split("[;,]", values["predecessors"]) if part.strip())
        yield _Row(f"{where}, task {task!r}", task, values["mean_days"], before)
    if n_tasks == 0:
        raise ValueError(f"{name} names its columns but no tasks; add a row for each task.")
