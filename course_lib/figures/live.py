"""A figure that grows while a training runs (notebooks 03 and 04)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType

import numpy as np
from IPython.display import DisplayHandle, display

from course_lib.figures.style import (
    CYCLE,
    LINES,
    MARKERS,
    Figure,
    listed,
    mark_what_leaves,
    new_figure,
    set_title,
    two_digits,
)


class LiveCurve:
    """A figure that grows while a training runs, and is left as it was at the end.

    Use it as a context, and `add` a point to each of its lines as it comes::

        with LiveCurve("epoch", "ELBO (nats per image)", "The bound rises") as curve:
            curve.add(0, {"training": -40.2, "test": -41.5})

    Attributes:
        points: the values so far, ``name -> [(x, value), ...]``.
    """

    # Drawing takes about as long as an epoch on digits: often enough to watch, seldom enough not to wait for.
    SECONDS_BETWEEN_DRAWINGS = 0.7

    def __init__(self, xlabel: str, ylabel: str, title: str) -> None:
        """Name the axes and say what the figure shows."""
        self.xlabel, self.ylabel, self.title = xlabel, ylabel, title
        self.points: dict[str, list[tuple[float, float]]] = {}
        self._handle: DisplayHandle | None = None
        self._drawn_at = -math.inf

    def __enter__(self) -> LiveCurve:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.points:
            self._show()

    def add(self, x: float, values: Mapping[str, float]) -> None:
        """Add a point to each line named; what is not a number leaves a gap."""
        for name, value in values.items():
            self.points.setdefault(name, []).append((x, float(value)))
        if time.monotonic() - self._drawn_at > self.SECONDS_BETWEEN_DRAWINGS:
            self._show()

    def figure(self) -> Figure:
        """The curve as it stands."""
        fig, ax = new_figure(7.5, 3.2)
        for (name, points), style, marker, colour in zip(self.points.items(), LINES * 2, MARKERS, CYCLE, strict=False):
            x, y = zip(*points, strict=True)
            ax.plot(x, y, style, color=colour, marker=marker, ms=3, label=name)
        ax.set(xlabel=self.xlabel, ylabel=self.ylabel)
        # The first few points of a training are far below the rest and would flatten it.
        last = [points[-1][1] for points in self.points.values() if math.isfinite(points[-1][1])]
        values = [y for points in self.points.values() for _, y in points if math.isfinite(y)]
        if len(values) > 20 and last:
            low, high = min(last), max(values)
            ax.set_ylim(max(min(values), low - 2.5 * (high - np.median(values)) - 4), None)
            mark_what_leaves(ax)
        ax.legend(loc="lower right")
        set_title(ax, self.title)
        return fig.describe(
            f"Line chart of the {self.ylabel} against {self.xlabel} during a training. {self._from_where_to_where()}"
        )

    def _from_where_to_where(self) -> str:
        ways, ends = [], {}
        for name, points in self.points.items():
            known = [(x, y) for x, y in points if math.isfinite(y)]
            if known:
                (_, start), (x, end) = known[0], known[-1]
                ways.append(f"“{name}” goes from {two_digits(start)} to {two_digits(end)} at {x:g}")
                ends[name] = end
        if not ways:
            return "There are no values yet."
        ranked = sorted(ends, key=lambda name: -ends[name])
        order = f" At the end, from the highest: {', '.join(ranked)}." if len(ranked) > 1 else ""
        return f"{listed(ways)}.{order}"

    def _show(self) -> None:
        if self._handle is None:
            self._handle = display(self.figure(), display_id=True)
        else:
            self._handle.update(self.figure())
        self._drawn_at = time.monotonic()
