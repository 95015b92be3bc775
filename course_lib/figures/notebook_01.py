"""The figures of notebook 01: a plan, averages and their errors, the exact law of its completion time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray
from scipy import stats

from course_lib.figures.style import BLACK, BLUE, GREY, ORANGE, new_figure, set_title
from course_lib.projects.law import CompletionLaw
from course_lib.projects.plan import Project

Floats = NDArray[np.float64]


def draw_plan(plan: Project) -> Figure:
    """The plan as a graph: an arrow from each task to those that wait for it, the critical path emphasized."""
    depth: dict[str, int] = {}
    for j in plan.topological_order:
        task = plan.tasks[j]
        depth[task] = max((depth[before] + 1 for before in plan.predecessors[task]), default=0)
    place: dict[str, tuple[float, float]] = {}
    for level in range(max(depth.values()) + 1):
        row = [task for task in plan.tasks if depth[task] == level]
        place.update({task: (level, (len(row) - 1) / 2 - i) for i, task in enumerate(row)})
    critical = plan.critical_path()

    fig, ax = new_figure(8, 3.6)
    for before, after in plan.graph.edges:
        on_path = (before, after) in itertools.pairwise(critical)
        ax.annotate(
            "",
            place[after],
            place[before],
            arrowprops={
                "arrowstyle": "-|>",
                "color": ORANGE if on_path else GREY,
                "lw": 2.5 if on_path else 1.2,
                "shrinkA": 19,
                "shrinkB": 19,
            },
        )
    for task, (x, y) in place.items():
        colour = ORANGE if task in critical else BLUE
        ax.plot(
            x,
            y,
            "s" if task in critical else "o",
            ms=30,
            mfc="white",
            mec=colour,
            mew=2.5 if task in critical else 1.2,
        )
        mean = plan.means[plan.tasks.index(task)]
        ax.text(x, y, f"{task}\n{mean:g} d", ha="center", va="center", fontsize=9)
    set_title(ax, f"{len(plan.tasks)} tasks, {plan.makespan():g} days along the critical path {' → '.join(critical)}")
    ax.margins(0.12, 0.2)
    ax.axis("off")
    return fig


def running_mean(samples: Floats, exact: float, title: str) -> Figure:
    """The mean of the first n samples as n grows, in a band of two standard errors, with the exact mean."""
    n = np.arange(1, len(samples) + 1)
    mean = np.cumsum(samples) / n
    squares = np.cumsum(samples**2) / n
    error = np.sqrt(np.maximum(squares - mean**2, 0) / np.maximum(n - 1, 1))
    shown = np.unique(np.geomspace(10, len(samples), 400).astype(int)) - 1
    fig, ax = new_figure()
    ax.fill_between(
        n[shown],
        (mean - 2 * error)[shown],
        (mean + 2 * error)[shown],
        color=BLUE,
        alpha=0.2,
        lw=0,
        label="± 2 standard errors",
    )
    ax.plot(n[shown], mean[shown], color=BLUE, label="mean of the first n projects")
    ax.axhline(exact, color=BLACK, ls="--", lw=1, label=f"exact: {exact:.3f}")
    ax.set(xscale="log", xlabel="projects simulated, n", ylabel="days")
    set_title(ax, title)
    ax.legend()
    return fig


def sampling_distribution(means: Floats, n: int, exact: float, std: float, title: str) -> Figure:
    """Many independent means of n projects each, beside the normal curve of the central limit theorem."""
    error = std / math.sqrt(n)
    fig, ax = new_figure()
    ax.hist(means, bins=60, density=True, color=BLUE, alpha=0.35, label=f"{len(means):,} means of {n} projects")
    grid = np.linspace(exact - 4 * error, exact + 4 * error, 300)
    ax.plot(grid, stats.norm.pdf(grid, exact, error), color=BLACK, label="normal, sd = σ / √n")
    ax.axvspan(exact - error, exact + error, color=ORANGE, alpha=0.15, label="± 1 standard error")
    ax.set(xlabel="mean completion time (days)", yticks=[])
    set_title(ax, title)
    ax.legend()
    return fig


def error_against_n(sizes: Floats, errors: Floats, std: float, title: str) -> Figure:
    """Absolute errors of repeated means, ``[n_sizes, repetitions]``, against n on log axes, with sigma / sqrt(n)."""
    sizes = np.asarray(sizes, dtype=float)
    fig, ax = new_figure()
    for column in errors.T:
        ax.plot(sizes, column, ".", color=GREY, ms=4)
    ax.plot(sizes, np.sqrt((errors**2).mean(axis=1)), "o-", color=BLUE, label="root mean square error")
    ax.plot(sizes, std / np.sqrt(sizes), "--", color=BLACK, label="σ / √n")
    ax.set(xscale="log", yscale="log", xlabel="projects simulated, n", ylabel="|mean − exact| (days)")
    set_title(ax, title)
    ax.legend()
    return fig


def merging_paths(paths: Mapping[str, Floats], completion: Floats, title: str) -> Figure:
    """Mean length of each path through the plan beside the mean of their maximum; samples in days."""
    names = [*paths, "longest of them"]
    means = [float(np.mean(days)) for days in paths.values()] + [float(completion.mean())]
    fig, ax = new_figure(7.5, 2.8)
    bars = ax.barh(names, means, color=[BLUE] * len(paths) + [ORANGE])
    bars[-1].set_hatch("///")
    ax.bar_label(bars, fmt="%.1f", padding=3)
    ax.axvline(means[0], color=BLACK, ls="--", lw=1)
    ax.set_xlabel("mean length (days)")
    ax.invert_yaxis()
    set_title(ax, title)
    return fig


def chain(states: Sequence[frozenset[str]], probabilities: Floats, day: float) -> Figure:
    """The Markov chain: a dot for each set of finished tasks, sized by its probability on a given day."""
    columns: dict[int, list[int]] = {}
    for i, done in enumerate(states):
        columns.setdefault(len(done), []).append(i)
    place = {i: (size, (len(column) - 1) / 2 - row) for size, column in columns.items() for row, i in enumerate(column)}
    fig, ax = new_figure(9, 3.8)
    for i, done in enumerate(states):
        for then in columns.get(len(done) + 1, []):
            if done < states[then]:
                ax.plot(*zip(place[i], place[then], strict=True), color=GREY, lw=0.5, zorder=1)
    x, y = np.array([place[i] for i in range(len(states))]).T
    ax.scatter(x, y, s=15 + 1500 * np.asarray(probabilities), color=BLUE, alpha=0.85, zorder=2, edgecolor="white")
    for i in [0, len(states) - 1]:
        ax.annotate("start" if i == 0 else "done", place[i], xytext=(0, 16), textcoords="offset points", ha="center")
    ax.set(xlabel="number of finished tasks", xticks=range(len(columns)), yticks=[])
    ax.spines["left"].set_visible(False)
    set_title(ax, f"{len(states)} sets of finished tasks, sized by their probability on day {day:g}")
    return fig


def law_against_simulation(
    law: CompletionLaw, times: Floats, marks: Mapping[str, float], titles: tuple[str, str]
) -> Figure:
    """Histogram of simulated completion times under the exact density, and both tails on a log axis."""
    fig, (left, right) = new_figure(10, 3.6, 2)
    grid = np.linspace(0, 80, 400)
    left.hist(
        times,
        bins=np.arange(0, 81, 1.0),
        density=True,
        color=BLUE,
        alpha=0.35,
        label=f"{len(times):,} simulated",
    )
    left.plot(grid, law.pdf(grid), color=BLACK, label="exact density")
    for (name, day), style in zip(marks.items(), (":", "-."), strict=False):
        left.axvline(day, color=ORANGE, ls=style, label=name)
    left.set(xlabel="completion time (days)", ylabel="per day")
    set_title(left, titles[0])
    left.legend(loc="center right")
    ordered = np.sort(times)
    right.step(ordered, 1 - np.arange(len(ordered)) / len(ordered), where="pre", color=BLUE, label="simulated")
    grid = np.linspace(0, 100, 300)
    right.plot(grid, law.sf(grid), color=BLACK, ls="--", label="exact")
    right.axvline(70, color=ORANGE, ls=":")
    right.set(yscale="log", xlabel="deadline (days)", ylabel="P(D ≥ deadline)", ylim=(1e-8, 2))
    set_title(right, titles[1])
    right.legend()
    return fig


def relative_error_against_deadline(law: CompletionLaw, sizes: Iterable[int], title: str) -> Figure:
    """Relative standard error of plain Monte Carlo, sqrt((1 - p) / (n p)), as the deadline moves out."""
    days = np.linspace(15, 100, 200)
    p = law.sf(days)
    fig, ax = new_figure()
    for n, style in zip(sizes, ("-", "--", "-.", ":"), strict=False):
        ax.plot(days, np.sqrt((1 - p) / (n * p)), style, color=BLUE, label=f"n = {n:,}")
    ax.axhline(1, color=ORANGE, lw=1)
    ax.annotate("error as large as the answer", (16, 1.15), color=ORANGE, fontsize=9)
    ax.axvline(70, color=GREY, ls=":")
    ax.set(yscale="log", xlabel="deadline (days)", ylabel="relative standard error")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    set_title(ax, title)
    ax.legend()
    return fig
