"""Plans as tables: a CSV file with a row for each task."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from course_lib.projects.durations import (
    Duration,
    Exponential,
    Fixed,
    Gamma,
    Hyperexponential,
    Lognormal,
    Pert,
    Triangular,
    Uniform,
    erlang,
    mean_days,
    symmetric,
)

__all__ = ["Row", "read_table"]

_COLUMNS = ("task", "predecessors", "mean_days")
_POINTS: dict[str, tuple[type[Uniform] | type[Triangular] | type[Pert], tuple[str, ...]]] = {
    "triangular": (Triangular, ("optimistic", "most_likely", "pessimistic")),
    "pert": (Pert, ("optimistic", "most_likely", "pessimistic")),
    "uniform": (Uniform, ("optimistic", "pessimistic")),
}
_BY_CV = {"gamma": Gamma, "lognormal": Lognormal, "hyperexponential": Hyperexponential.from_cv}
_NAMES = ("exponential", "gamma", "erlang", "hyperexponential", "lognormal", *_POINTS, "fixed")
_PLANNED = {"optimistic", "most_likely", "pessimistic"}
_NUMBERS = ("mean_days", "cv", "optimistic", "most_likely", "pessimistic")


class Row(NamedTuple):
    """A task: where it was read, for error messages; its name, its law, the names of those that it waits for."""

    where: str
    task: str
    duration: Duration
    predecessors: tuple[str, ...]


def read_table(path: Path) -> list[Row]:
    """Read a UTF-8 CSV file; see `Project.from_csv` for its columns and errors."""
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
    try:
        return list(_rows(path.name, text))
    except csv.Error as error:
        raise ValueError(f"{path.name} is no CSV table ({error}); export it again from your spreadsheet.") from None


def _rows(name: str, text: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""))
    filled = (cells for cells in reader if any(cell.strip() for cell in cells))
    header = [column.strip().lower().replace(" ", "_") for column in next(filled)]
    if len(header) == 1 and ";" in header[0]:
        raise ValueError(f"{name} separates its columns with ';'; separate them with commas.")
    # Three points, or two, make up for a mean.
    needed = [column for column in _COLUMNS if column != "mean_days" or not _PLANNED.intersection(header)]
    for column in dict.fromkeys([*needed, *(c for c in (*_NUMBERS, "distribution") if c in header)]):
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
        where = f"{where}, task {task!r}"
        if len(cells) != len(header):
            mend = "add commas for empty cells"
            if len(cells) > len(header):
                mend = "separate predecessors with ';' or put them in quotes, and write 4.5 for four and a half"
            raise ValueError(f"{where}: {len(cells)} cells where the header has {len(header)}; {mend}.")
        before = tuple(part.strip() for part in re.split("[;,]", values["predecessors"]) if part.strip())
        try:
            yield Row(where, task, _duration(values), before)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    if n_tasks == 0:
        raise ValueError(f"{name} names its columns but no tasks; add a row for each task.")


def _duration(cells: Mapping[str, str]) -> Duration:
    """The law that a row describes; cells that it has no use for must be empty, so that none is passed over."""
    law = cells.get("distribution", "").lower() or "exponential"
    given = {column: cells[column] for column in _NUMBERS if cells.get(column)}
    if law not in _NAMES:
        raise ValueError(f"there is no distribution {law!r}; write one of {', '.join(_NAMES)}, or nothing.")

    def only(*columns: str) -> list[float]:
        if set(given) != set(columns):
            missing = [column for column in columns if column not in given]
            what = f"it lacks {' and '.join(missing)}" if missing else "empty the others, or name another distribution"
            raise ValueError(f"{law} takes {', '.join(columns)}; {what}.")
        return [mean_days(given[c]) if c == "mean_days" else _number(c, given[c]) for c in columns]

    if law in ("exponential", "fixed"):
        if _PLANNED.intersection(given):
            raise ValueError(
                f"{law} takes mean_days alone; for optimistic and pessimistic days write pert, triangular or uniform "
                "in the column 'distribution'."
            )
        if set(given) - {"mean_days"}:
            only("mean_days")
        mean = mean_days(cells.get("mean_days", ""))
        return Exponential(mean) if law == "exponential" else Fixed(mean)
    if law in _POINTS:
        made_of, points = _POINTS[law]
        if "cv" in given:
            return symmetric(made_of, *only("mean_days", "cv"))
        said = given.pop("mean_days", None)
        found = made_of(*only(*points))
        # What a spreadsheet computed from the points, rounded to a digit or two, may stand beside them.
        if said and not math.isclose(mean_days(said), found.mean, rel_tol=0.05):
            raise ValueError(
                f"mean_days says {said}, and these points have mean {found.mean:.3g}; correct one of them."
            )
        return found
    mean, cv = only("mean_days", "cv")
    if law == "erlang":
        stages = round(cv**-2) if cv > 1e-9 else 0
        if stages < 1 or abs(stages * cv**2 - 1) > 0.02:
            raise ValueError(f"an Erlang has a cv of 1, 0.707, 0.577, 0.5 ... (1 over a root); got {cv:g}.")
        return erlang(mean, stages)
    return _BY_CV[law](mean, cv)


def _number(column: str, cell: str) -> float:
    try:
        return float(cell.replace("_", " "))
    except ValueError:
        raise ValueError(f"{column} {cell!r} is not a number; write one such as 4 or 0.5.") from None
