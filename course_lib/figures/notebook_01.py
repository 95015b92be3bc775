"""The figures of notebook 01: a plan, averages and their errors, the exact law of its completion time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray
from scipy import stats

from course_lib.figures.style import (
    BLACK,
    BLUE,
    CYCLE,
    GREY,
    ORANGE,
    Figure,
    listed,
    new_figure,
    set_title,
    two_digits,
)
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
    days = " + ".join(f"{plan.means[plan.tasks.index(task)]:g}" for task in critical)
    return fig.describe(
        "Graph of the plan from left to right: a circle for each task with its mean duration in days, and an arrow "
        "from each task to those that wait for it. Squares and thick arrows mark the critical path, tasks "
        f"{listed(critical)}: {days} days."
    )


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
    ax.set(xscale="log", xlabel="projects simulated, n", ylabel="mean completion time (days)")
    set_title(ax, title)
    ax.legend()
    first = shown[0]
    return fig.describe(
        "Line chart of the mean completion time of the first n projects, in days, against n on a logarithmic axis, in "
        "a band of two standard errors, with a dashed line at the exact mean. The band reaches "
        f"{two_digits(2 * error[first])} days to either side at n = {n[first]}, and {two_digits(2 * error[-1])} at n = "
        f"{len(samples):,}, where the mean is {two_digits(mean[-1])} days and the exact one {two_digits(exact)}."
    )


def sampling_distribution(means: Floats, n: int, exact: float, std: float, title: str) -> Figure:
    """Many independent means of n projects each, beside the normal curve of the central limit theorem."""
    error = std / math.sqrt(n)
    fig, ax = new_figure()
    ax.axvspan(exact - error, exact + error, color=GREY, alpha=0.2, lw=0, label="exact mean ± 1 standard error")
    ax.hist(means, bins=60, density=True, color=BLUE, alpha=0.5, label=f"{len(means):,} means of {n} projects")
    ax.axvline(exact, color=BLACK, ls=":", lw=1)
    ax.axvline(float(np.mean(means)), color=ORANGE, ls="--", lw=1.5, label="mean of these means")
    grid = np.linspace(exact - 4 * error, exact + 4 * error, 300)
    ax.plot(grid, stats.norm.pdf(grid, exact, error), color=BLACK, label="normal, sd = σ / √n")
    ax.set(xlabel="mean completion time (days)", ylabel="density", yticks=[])
    set_title(ax, title)
    ax.legend(fontsize=9)
    share = np.mean(np.abs(means - exact) < error)
    return fig.describe(
        f"Histogram of {len(means):,} means of {n} projects each, in days, under the normal density around the exact "
        f"mean, {two_digits(exact)}, whose standard deviation is {two_digits(error)}. The bell covers the bars. "
        f"{share:.0%} of the means lie within the shaded standard error to either side; of a normal law it is 68%."
    )


def error_against_n(sizes: Floats, errors: Floats, std: float, title: str) -> Figure:
    """Absolute errors of repeated means, ``[n_sizes, repetitions]``, against n on log axes, with sigma / sqrt(n)."""
    sizes = np.asarray(sizes, dtype=float)
    fig, ax = new_figure()
    for i, column in enumerate(errors.T):
        ax.plot(sizes, column, ".", color=GREY, ms=4, label="" if i else "error of one mean")
    ax.plot(sizes, np.sqrt((errors**2).mean(axis=1)), "o-", color=BLUE, label="root mean square error")
    ax.plot(sizes, std / np.sqrt(sizes), "--", color=BLACK, label="σ / √n")
    ax.set(xscale="log", yscale="log", xlabel="projects simulated, n", ylabel="|mean − exact| (days)")
    set_title(ax, title)
    ax.legend()
    first, *_, last = np.sqrt((errors**2).mean(axis=1))
    return fig.describe(
        f"Absolute errors of {errors.shape[1]} means in days against the number of simulated projects n, both axes "
        "logarithmic: dots for single means, a line for their root mean square, and dashed the line σ/√n, with slope "
        f"minus one half, which it follows. It falls from {two_digits(first)} at n = {sizes[0]:,.0f} to "
        f"{two_digits(last)} at n = {sizes[-1]:,.0f}."
    )


def merging_paths(paths: Mapping[str, Floats], completion: Floats, title: str) -> Figure:
    """Mean length of each path through the plan beside the mean of their maximum; samples in days."""
    names = [*paths, "longest of them"]
    means = [float(np.mean(days)) for days in paths.values()] + [float(completion.mean())]
    fig, ax = new_figure(7.5, 3.0)
    bars = ax.barh(names, means, color=[BLUE] * len(paths) + [ORANGE])
    bars[-1].set_hatch("///")
    ax.axvline(max(means[:-1]), color=BLACK, ls="--", lw=1)
    box = {"boxstyle": "square,pad=0.1", "fc": "white", "lw": 0}
    ax.bar_label(bars, fmt="%.1f", padding=4, bbox=box)
    ax.set_xlabel("mean length (days); dashed: the longest mean of a single path")
    ax.margins(x=0.08)
    ax.invert_yaxis()
    set_title(ax, title)
    paths_in_words = listed(f"{two_digits(mean)} for {name}" for name, mean in zip(names[:-1], means, strict=False))
    return fig.describe(
        f"Bars of mean lengths in days, by path through the plan: {paths_in_words}. The last bar, hatched, is the mean "
        f"of the longest path of each project, {two_digits(means[-1])} days, and reaches beyond all the others."
    )


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
    set_title(ax, f"{len(states)} sets of finished tasks; a dot's area grows with its probability on day {day:g}")
    by_size = [float(sum(probabilities[i] for i in column)) for column in columns.values()]
    return fig.describe(
        f"Graph of the Markov chain: {len(states)} dots for the sets of tasks that can be finished together, from none "
        f"on the left to all {max(columns)} on the right, with lines between sets that differ by one task. On day "
        f"{day:g} the probability is spread over many of them; the likeliest number of finished tasks is "
        f"{list(columns)[int(np.argmax(by_size))]}, with probability {two_digits(max(by_size))}."
    )


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
    left.set(xlabel="completion time (days)", ylabel="density (per day)")
    set_title(left, titles[0])
    left.legend(loc="center right")
    ordered = np.sort(times)
    right.step(ordered, 1 - np.arange(len(ordered)) / len(ordered), where="pre", color=BLUE, label="simulated")
    grid = np.linspace(0, 100, 300)
    right.plot(grid, law.sf(grid), color=BLACK, ls="--", label="exact")
    right.axvline(70, color=GREY, ls="--", lw=1, label="day 70")
    right.set(yscale="log", xlabel="deadline (days)", ylabel="P(D ≥ deadline)", ylim=(1e-8, 2))
    set_title(right, titles[1])
    right.legend()
    return fig.describe(
        f"Left, a histogram of {len(times):,} simulated completion times in days under the exact density, skewed to "
        f"the right; vertical lines mark {'; '.join(marks)}. Right, P(D ≥ deadline) against the deadline on a "
        "logarithmic axis, simulated and exact. They agree in the bulk; the simulated line ends at its longest "
        f"project, {two_digits(float(ordered[-1]))} days, and the exact one goes on to 100 days."
    )


def tails(samples: Mapping[str, Floats], deadline: float, title: str) -> Figure:
    """P(D ≥ days) of several plans on a log axis, from simulated completion times in days."""
    fig, ax = new_figure(8, 3.8)
    ends = []
    for (name, times), style, color in zip(samples.items(), ("-", "--", "-.", ":"), CYCLE, strict=False):
        ordered = np.sort(times)
        ax.step(ordered, 1 - np.arange(len(ordered)) / len(ordered), style, color=color, where="pre", label=name)
        ends.append(f"{two_digits(float(ordered[-1]))} days for {name}")
    ax.axvline(deadline, color=GREY, lw=1, ls="--")
    ax.annotate(f"day {deadline:g}", (deadline, 1), xytext=(4, -4), textcoords="offset points", va="top")
    ax.set(yscale="log", xlabel="deadline (days)", ylabel="P(D ≥ deadline)", xlim=(0, 1.5 * deadline))
    set_title(ax, title)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig.describe(
        f"P(D ≥ deadline) against the deadline on a logarithmic axis, a line for each law of the durations: "
        f"{listed(samples)}. They begin close together and part further and further. Their longest simulated "
        f"projects take {listed(ends)}."
    )


def control_variate(control: Floats, values: Floats, known: float, exact: float, title: str) -> Figure:
    """Values against a control in days, their regression line, and how it leads from one mean to the other."""
    fig, ax = new_figure()
    slope, _ = np.polyfit(control, values, 1)
    drawn, mean = float(control.mean()), float(values.mean())
    corrected = mean + slope * (known - drawn)
    ends = np.array([control.min(), control.max()])
    ax.plot(control, values, ".", color=GREY, label="one project")
    ax.plot(ends, mean + slope * (ends - drawn), color=BLUE, label="regression line")
    ax.plot(drawn, mean, "s", color=ORANGE, ms=8, label=f"means of the draws: {drawn:.1f} and {mean:.1f}")
    ax.plot(known, corrected, "D", color=BLUE, ms=8, label=f"at the known mean, {known:g}: {corrected:.1f}")
    ax.axhline(exact, color=BLACK, lw=1, ls="--", label=f"exact: {exact:.1f}")
    ax.set(xlabel="length of the critical path (days)", ylabel="completion time (days)")
    set_title(ax, title)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig.describe(
        f"Completion times of {len(values)} projects against the lengths of their critical paths in days, with the "
        f"regression line. The mean of the draws, {two_digits(mean)} days at a length of {two_digits(drawn)}, is moved "
        f"along the line to the known mean length of {known:g} days, and becomes {two_digits(corrected)}; exact is "
        f"{two_digits(exact)}, a dashed line."
    )


def errors_of_methods(sizes: Floats, errors: Mapping[str, Sequence[float]], std: float, title: str) -> Figure:
    """Standard error of one average of n projects, by each method, on log axes under the line sigma / sqrt(n)."""
    sizes = np.asarray(sizes, dtype=float)
    fig, ax = new_figure(8, 3.8)
    ax.plot(sizes, std / np.sqrt(sizes), "--", color=BLACK, label="independent, σ / √n")
    slopes = []
    for (name, found), marker, color in zip(errors.items(), "osD^", CYCLE, strict=False):
        slope = float(np.polyfit(np.log(sizes), np.log(found), 1)[0])
        slopes.append(f"{name} {two_digits(slope)}")
        ax.plot(sizes, found, marker + "-", color=color, ms=4, label=f"{name}, slope {slope:.1f}".replace("-", "−"))
    ax.set(xscale="log", yscale="log", xlabel="projects in a run, n", ylabel="standard error of E[D] (days)")
    set_title(ax, title)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig.describe(
        f"Standard error of the mean completion time in days, against the number of projects in a run from "
        f"{sizes[0]:,.0f} to {sizes[-1]:,.0f}, both axes logarithmic. Dashed, the line of independent projects with "
        f"slope minus one half. Slopes of the methods: {listed(slopes)}."
    )


def relative_error_against_deadline(law: CompletionLaw, sizes: Iterable[int], title: str) -> Figure:
    """Relative standard error of plain Monte Carlo, sqrt((1 - p) / (n p)), as the deadline moves out."""
    days = np.linspace(15, 100, 200)
    p = law.sf(days)
    fig, ax = new_figure()
    at_deadline = []
    odds = float((1 - law.sf(70)) / law.sf(70))
    for n, style in zip(sizes, ("-", "--", "-.", ":"), strict=False):
        at_deadline.append(f"{two_digits(100 * math.sqrt(odds / n))} % with {n:,} projects")
        ax.plot(days, np.sqrt((1 - p) / (n * p)), style, color=BLUE, label=f"n = {n:,}")
    ax.axhline(1, color=ORANGE, lw=1)
    ax.annotate("error as large as the answer", (16, 1.15), color=ORANGE, fontsize=9)
    ax.axvline(70, color=GREY, ls=":", label="day 70")
    ax.set(yscale="log", xlabel="deadline (days)", ylabel="relative standard error")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    set_title(ax, title)
    ax.legend(loc="lower right")
    return fig.describe(
        "Relative standard error of plain Monte Carlo on a logarithmic axis, against deadlines from 15 to 100 days, a "
        "line for each number of projects. All rise steadily and in parallel, and a line at 100 % shows where the "
        f"error is as large as the answer. For 70 days the error is {listed(at_deadline)}."
    )
