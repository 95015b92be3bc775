"""What notebooks 01 and 02 both draw: a plan's tasks in time, numbers task by task, and how likely lateness is."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from course_lib.estimates import Estimate
from course_lib.figures.style import (
    BLACK,
    BLUE,
    CYCLE,
    HATCHES,
    ORANGE,
    Figure,
    listed,
    mark_bars_to_zero,
    new_figure,
    set_title,
    two_digits,
)
from course_lib.projects.plan import Project

Floats = NDArray[np.float64]


def gantt(plan: Project, durations: Floats) -> Figure:
    """One chart per simulated project: when each task ran, the longest path emphasized. ``[n, n_tasks]`` days."""
    finish = np.zeros_like(durations)
    for j in plan.topological_order:
        before = plan.predecessor_indices[j]
        finish[:, j] = durations[:, j] + np.max(finish[:, before], axis=1, initial=0.0)
    critical = plan.critical_tasks(durations)
    fig, axes = new_figure(9, 3.4, len(durations), sharey=True, sharex=True)
    rows = np.arange(len(plan.tasks))
    ways = []
    for ax, days, end, on_path in zip(axes, durations, finish, critical, strict=True):
        ax.barh(rows, days, left=end - days, color=np.where(on_path, ORANGE, "#B9D3E6"), edgecolor=BLACK, lw=0.5)
        for row in rows[on_path]:
            ax.barh(row, days[row], left=(end - days)[row], fill=False, hatch="///", lw=0)
        path = " → ".join(plan.tasks[j] for j in plan.topological_order if on_path[j])
        ways.append(f"{end.max():.1f} days via {path}")
        set_title(ax, ways[-1].replace("via ", "via\n"))
        ax.set_xlabel("days since the start")
    axes[0].set_yticks(rows, plan.tasks)
    axes[0].invert_yaxis()
    axes[0].set_ylabel("task")
    return fig.describe(
        f"{len(durations)} simulated projects, each as a Gantt chart: a bar for each of {len(plan.tasks)} tasks from "
        "its start to its end, in days since the start, those of the longest path hatched and without a pause between "
        f"them. The projects take {listed(ways)}."
    )


def bars_by_task(plan: Project, groups: Mapping[str, Floats], ylabel: str, title: str) -> Figure:
    """Grouped bars, one group for each task."""
    fig, ax = new_figure(8.5, 3.4)
    width = 0.8 / len(groups)
    rows = np.arange(len(plan.tasks))
    for i, (name, heights) in enumerate(groups.items()):
        ax.bar(
            rows + (i - (len(groups) - 1) / 2) * width,
            heights,
            width,
            color=CYCLE[i],
            hatch=HATCHES[i],
            edgecolor="white",
            label=name,
        )
    ax.set_xticks(rows, plan.tasks)
    ax.set(xlabel="task", ylabel=ylabel)
    set_title(ax, title)
    if len(groups) > 1:
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    names = [f"task {task}" for task in plan.tasks]
    values = [np.asarray(heights) for heights in groups.values()]
    highest = [
        f"{name} has the highest at "
        + listed(f"{names[j]} ({two_digits(heights[j])})" for j in np.argsort(-heights)[:3])
        for name, heights in zip(groups, values, strict=True)
    ]
    if len(groups) > 1:
        furthest = names[np.abs(values[-1] - values[0]).argmax()]
        highest.append(f"the first and the last group are furthest apart at {furthest}")
    return fig.describe(f"Bars for each of {len(rows)} tasks, {ylabel}: {'; '.join(highest)}.")


def estimates_with_intervals(
    estimates: Mapping[str, Estimate], exact: float, xlabel: str, title: str, reference: str = "exact"
) -> Figure:
    """Estimates with 95 % intervals on a log axis beside a reference; an arrow where only a bound is known."""
    fig, ax = new_figure(8, 3.6)
    intervals = [estimate.interval() for estimate in estimates.values()]
    bottom = min([exact, *(low for low, _ in intervals if low > 0)]) / 2
    bound, interval = "none seen: 95 % bound, and all below", "estimate, 95 % interval"
    for x, (estimate, (low, high)) in enumerate(zip(estimates.values(), intervals, strict=True)):
        if estimate.n_hits == 0:
            # The gap that an arrow keeps by default would leave its bound in the air.
            arrow = {"arrowstyle": "->", "color": ORANGE, "lw": 1.5, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", (x, bottom), (x, high), arrowprops=arrow)
            ax.plot(x, high, "_", color=ORANGE, ms=16, mew=2, label=bound)
            bound = ""
        else:
            error = [[estimate.value - low], [high - estimate.value]]
            ax.errorbar(x, estimate.value, error, fmt="o", color=BLUE, capsize=4, label=interval)
            interval = ""
    seen = [x for x, estimate in enumerate(estimates.values()) if estimate.n_hits]
    mark_bars_to_zero(ax, seen, [intervals[x][0] for x in seen], BLUE)
    ax.axhline(exact, color=BLACK, ls="--", lw=1, label=f"{reference}: {exact:.3g}")
    ax.legend()
    ax.set_ylim(bottom, 2 * max(exact, *(high for _, high in intervals if math.isfinite(high))))
    ax.set_xticks(range(len(estimates)), list(estimates))
    ax.set(yscale="log", xlabel=xlabel, ylabel="P(D ≥ deadline)", xlim=(-0.5, len(estimates) - 0.3))
    set_title(ax, title)
    bounded = [name for name, estimate in estimates.items() if estimate.n_hits == 0]
    values = [f"{two_digits(estimate.value)} for {name}" for name, estimate in estimates.items() if estimate.n_hits]
    return fig.describe(
        f"Estimates of P(D ≥ deadline), logarithmic axis, by {xlabel}, with 95 % intervals, beside a dashed line at "
        f"{two_digits(exact)}, {reference}. "
        + (f"An upper bound alone for {listed(bounded)}, without a late project. " if bounded else "")
        + (f"Estimates: {', '.join(values)}." if values else "")
    )
