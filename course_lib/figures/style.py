"""How the course's figures look, in both halves.

Colours come from the Okabe-Ito palette, and markers, hatching or line styles repeat what colour says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = [
    "BLACK", "BLUE", "CYCLE", "GREEN", "GREY", "HATCHES", "LINES", "MARKERS", "ORANGE", "PURPLE",
    "log_ticks", "new_figure", "set_title",
]  # fmt: skip

BLUE, ORANGE, GREEN, PURPLE, GREY, BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8C8C8C", "#222222"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9", BLACK, GREY)
MARKERS = "osD^vPX*"
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "++", "oo", "**")


def new_figure(width: float = 7.5, height: float = 3.6, columns: int = 1, **kwargs: Any) -> tuple[Figure, Any]:
    """A figure, already closed in pyplot so that a notebook shows it once, and its axes (an array if several)."""
    with plt.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        fig, axes = plt.subplots(
            kwargs.pop("rows", 1), columns, figsize=(width, height), layout="constrained", **kwargs
        )
    plt.close(fig)
    return fig, axes


def set_title(ax: Axes, text: str) -> None:
    """A title that states what the figure shows."""
    ax.set_title(text, loc="left", fontsize=11)


def log_ticks(ax: Axes, values: Sequence[int]) -> None:
    """A logarithmic x-axis with ticks at these values only."""
    ax.set_xscale("log")
    ax.set_xticks(values, [f"{value:,}" for value in values])
    ax.set_xticks([], minor=True)
