"""How the course's figures look, in both halves, and how they say in words what they show.

Colours come from the Okabe-Ito palette, and markers, hatching or line styles repeat what colour says. Every figure
ends with `Figure.describe`, the alternative text for those who cannot see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import matplotlib.figure
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

__all__ = [
    "BLACK", "BLUE", "CYCLE", "GREEN", "GREY", "HATCHES", "LINES", "MARKERS", "ORANGE", "PURPLE",
    "Figure", "legend_below", "listed", "log_ticks", "mark_bars_to_zero", "mark_what_leaves", "new_figure", "set_title",
    "two_digits",
]  # fmt: skip

BLUE, ORANGE, GREEN, PURPLE, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C8C8C", "#222222"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9", BLACK, GREY)
MARKERS = "osD^vPX*"
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++", "oo", "**")


class Figure(matplotlib.figure.Figure):
    """A figure with an alternative text, which notebooks store with its picture.

    Attributes:
        alt: what the figure shows, in words.
    """

    alt = ""

    def describe(self, text: str) -> Figure:
        """Say what the figure shows: the kind of chart, its axes and lines, and what there is to be seen."""
        self.alt = text
        return self

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Only the metadata; the picture comes from the notebook's own backend."""
        if not self.alt:
            raise ValueError("This figure has no alternative text: end it with `fig.describe(...)`.")
        return {}, {"image/png": {"alt": self.alt}}


def new_figure(width: float = 7.5, height: float = 3.6, columns: int = 1, **kwargs: Any) -> tuple[Figure, Any]:
    """A figure, already closed in pyplot so that a notebook shows it once, and its axes (an array if several)."""
    with plt.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        fig, axes = plt.subplots(
            kwargs.pop("rows", 1), columns, figsize=(width, height), layout="constrained", FigureClass=Figure, **kwargs
        )
    plt.close(fig)
    return cast(Figure, fig), axes


def set_title(ax: Axes, text: str) -> None:
    """A title that states what the figure shows."""
    ax.set_title(text, loc="left", fontsize=11)


def log_ticks(ax: Axes, values: Sequence[int]) -> None:
    """A logarithmic x-axis with ticks at these values only."""
    ax.set_xscale("log")
    ax.set_xticks(values, [f"{value:,}" for value in values])
    ax.set_xticks([], minor=True)


def legend_below(fig: Figure, ax: Axes, columns: int) -> None:
    """One legend for all panels, out of their way."""
    handles, names = ax.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)


def mark_what_leaves(ax: Axes) -> None:
    """A triangle at the edge for each stretch of a line beyond the limits, which have to be set before."""
    low, high = ax.get_ylim()
    leaving = ""
    for line in list(ax.lines):
        x, y = (np.asarray(values, dtype=float) for values in line.get_data())
        for outside, edge, marker in ((y > high, 1, "^"), (y < low, 0, "v")):
            ends = np.flatnonzero(np.diff(outside.astype(int), prepend=0, append=0)).reshape(-1, 2)
            for first, end in ends:
                middle = x[(first + end - 1) // 2]
                _edge_marker(ax, [middle], edge, marker, str(line.get_color()))
                leaving = marker
    if leaving:
        ax.plot([], [], leaving, color=GREY, label="beyond the axis")


def mark_bars_to_zero(ax: Axes, x: ArrayLike, low: ArrayLike, colour: str) -> None:
    """A triangle at the lower edge for each error bar whose end no logarithmic axis can show."""
    below = np.asarray(low) <= 0
    if below.any():
        _edge_marker(ax, np.asarray(x)[below], 0, "v", colour, label="bar down to 0")


def _edge_marker(ax: Axes, x: ArrayLike, edge: float, marker: str, colour: str, **kwargs: Any) -> None:
    y = np.full(np.shape(x), edge)
    ax.plot(x, y, marker, color=colour, ms=7, transform=ax.get_xaxis_transform(), clip_on=False, zorder=3, **kwargs)


def two_digits(value: float) -> str:
    """A number for a sentence, in two digits, so that it reads the same on another machine."""
    number = abs(float(f"{value:.2g}"))
    text = f"{number:,.0f}" if 10 <= number < 1e9 else f"{number:g}"
    return f"−{text}" if value < 0 and number else text


def listed(parts: Iterable[str]) -> str:
    """``a, b and c``."""
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last
