"""The figures of notebooks 01 and 02.

Each function takes numbers that the notebook computed and returns a finished `matplotlib.figure.Figure`, closed in
pyplot so that a notebook shows it once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import ipywidgets
import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray
from scipy import stats

from course_lib.estimates import Estimate
from course_lib.figures.style import (
    BLACK,
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    HATCHES,
    MARKERS,
    ORANGE,
    PURPLE,
    new_figure,
    set_title,
)
from course_lib.projects.law import CompletionLaw
from course_lib.projects.plan import Project
from course_lib.projects.proposals import scaled

Floats = NDArray[np.float64]


# ---------------------------------------------------------------------------------------------------- the plan


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
    set_title(ax, f"Ten tasks, {plan.makespan():g} days along the critical path {' → '.join(critical)}")
    ax.margins(0.12, 0.2)
    ax.axis("off")
    return fig


def gantt(plan: Project, durations: Floats) -> Figure:
    """One chart per simulated project: when each task ran, the longest path emphasized. ``[n, n_tasks]`` days."""
    finish = np.zeros_like(durations)
    for j in plan.topological_order:
        before = plan.predecessor_indices[j]
        finish[:, j] = durations[:, j] + np.max(finish[:, before], axis=1, initial=0.0)
    critical = plan.critical_tasks(durations)
    fig, axes = new_figure(9, 3.4, len(durations), sharey=True, sharex=True)
    rows = np.arange(len(plan.tasks))
    for ax, days, end, on_path in zip(axes, durations, finish, critical, strict=True):
        ax.barh(rows, days, left=end - days, color=np.where(on_path, ORANGE, "#B9D3E6"), edgecolor=BLACK, lw=0.5)
        for row in rows[on_path]:
            ax.barh(row, days[row], left=(end - days)[row], fill=False, hatch="///", lw=0)
        path = " → ".join(plan.tasks[j] for j in plan.topological_order if on_path[j])
        set_title(ax, f"{end.max():.1f} days via\n{path}")
        ax.set_xlabel("days since the start")
    axes[0].set_yticks(rows, plan.tasks)
    axes[0].invert_yaxis()
    axes[0].set_ylabel("task")
    return fig


# --------------------------------------------------------------------------------------------- averages and errors


def running_mean(samples: Floats, exact: float) -> Figure:
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
    set_title(ax, "The mean settles down, and its error band tells how far")
    ax.legend()
    return fig


def sampling_distribution(means: Floats, n: int, exact: float, std: float) -> Figure:
    """Many independent means of n projects each, beside the normal curve of the central limit theorem."""
    error = std / math.sqrt(n)
    fig, ax = new_figure()
    ax.hist(means, bins=60, density=True, color=BLUE, alpha=0.35, label=f"{len(means):,} means of {n} projects")
    grid = np.linspace(exact - 4 * error, exact + 4 * error, 300)
    ax.plot(grid, stats.norm.pdf(grid, exact, error), color=BLACK, label="normal, sd = σ / √n")
    ax.axvspan(exact - error, exact + error, color=ORANGE, alpha=0.15, label="± 1 standard error")
    ax.set(xlabel="mean completion time (days)", yticks=[])
    set_title(ax, "Means of skewed completion times are nearly normal already")
    ax.legend()
    return fig


def error_against_n(sizes: Floats, errors: Floats, std: float) -> Figure:
    """Absolute errors of repeated means, ``[n_sizes, repetitions]``, against n on log axes, with sigma / sqrt(n)."""
    sizes = np.asarray(sizes, dtype=float)
    fig, ax = new_figure()
    for column in errors.T:
        ax.plot(sizes, column, ".", color=GREY, ms=4)
    ax.plot(sizes, np.sqrt((errors**2).mean(axis=1)), "o-", color=BLUE, label="root mean square error")
    ax.plot(sizes, std / np.sqrt(sizes), "--", color=BLACK, label="σ / √n")
    ax.set(xscale="log", yscale="log", xlabel="projects simulated, n", ylabel="|mean − exact| (days)")
    set_title(ax, "Ten times the accuracy costs a hundred times the work")
    ax.legend()
    return fig


def merging_paths(paths: Mapping[str, Floats], completion: Floats) -> Figure:
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
    set_title(ax, "The mean of the maximum exceeds every path's mean")
    return fig


# ----------------------------------------------------------------------------------------------------- the exact law


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


def law_against_simulation(law: CompletionLaw, times: Floats, marks: Mapping[str, float]) -> Figure:
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
    set_title(left, "The bulk: simulation and exact law agree")
    left.legend(loc="center right")
    ordered = np.sort(times)
    right.step(ordered, 1 - np.arange(len(ordered)) / len(ordered), where="pre", color=BLUE, label="simulated")
    grid = np.linspace(0, 100, 300)
    right.plot(grid, law.sf(grid), color=BLACK, ls="--", label="exact")
    right.axvline(70, color=ORANGE, ls=":")
    right.set(yscale="log", xlabel="deadline (days)", ylabel="P(D ≥ deadline)", ylim=(1e-8, 2))
    set_title(right, "The tail: the simulation runs out of late projects")
    right.legend()
    return fig


# ------------------------------------------------------------------------------------------------------ the deadline


def estimates_with_intervals(
    estimates: Mapping[str, Estimate], exact: float, xlabel: str, title: str, reference: str = "exact"
) -> Figure:
    """Estimates with 95 % intervals on a log axis beside a reference; an arrow where only a bound is known."""
    fig, ax = new_figure(8, 3.6)
    intervals = [estimate.interval() for estimate in estimates.values()]
    bottom = min([exact, *(low for low, _ in intervals if low > 0)]) / 2
    for x, (estimate, (low, high)) in enumerate(zip(estimates.values(), intervals, strict=True)):
        if estimate.n_hits == 0:
            arrow = {"arrowstyle": "->", "color": ORANGE, "lw": 1.5}
            ax.annotate("", (x, max(high / 20, bottom)), (x, high), arrowprops=arrow)
            ax.plot(x, high, "_", color=ORANGE, ms=16, mew=2)
        else:
            error = [[estimate.value - low], [high - estimate.value]]
            ax.errorbar(x, estimate.value, error, fmt="o", color=BLUE, capsize=4)
    ax.axhline(exact, color=BLACK, ls="--", lw=1, label=f"{reference}: {exact:.3g}")
    ax.legend()
    ax.set_ylim(bottom=bottom)
    ax.set_xticks(range(len(estimates)), list(estimates))
    ax.set(yscale="log", xlabel=xlabel, ylabel="P(D ≥ deadline)", xlim=(-0.5, len(estimates) - 0.3))
    set_title(ax, title)
    return fig


def relative_error_against_deadline(law: CompletionLaw, sizes: Iterable[int]) -> Figure:
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
    set_title(ax, "The rarer the event, the worse plain Monte Carlo does")
    ax.legend()
    return fig


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
    return fig


# ----------------------------------------------------------------------------------------------- importance sampling


def one_task(mean: float, factors: Sequence[float]) -> Figure:
    """Density p of one exponential task, a proposal q with a scaled mean, and p²/q, whose area is E[w²]."""
    fig, axes = new_figure(10, 3.2, len(factors), sharey=True)
    t = np.linspace(0, 8 * mean, 400)
    p = stats.expon.pdf(t, scale=mean)
    for ax, factor in zip(axes, factors, strict=True):
        q = stats.expon.pdf(t, scale=factor * mean)
        area = f"{factor**2 / (2 * factor - 1):.2f}" if factor > 0.5 else "infinite"
        ax.plot(t, p, color=BLACK, label="p")
        ax.plot(t, q, "--", color=BLUE, label="q")
        ax.plot(t, p**2 / q, ":", color=ORANGE, lw=2, label="p²/q")
        ax.set(xlabel="duration (days)", ylim=(0, 1.05 * max(factors) / mean))
        set_title(ax, f"mean × {factor:g}\narea of p²/q: {area}")
    axes[0].set_ylabel("per day")
    axes[0].legend()
    return fig


def factor_sweep(
    factors: Floats, exact: Mapping[str, Floats], nominal: float, points: Mapping[str, tuple[float, float]]
) -> Figure:
    """Exact relative variance against the scaling factor, one curve for each choice of tasks, with named points."""
    fig, ax = new_figure(8, 4)
    for (name, variances), style, colour in zip(exact.items(), ("--", "-", "-."), (GREEN, BLUE, PURPLE), strict=False):
        ax.plot(factors, variances, style, color=colour, label=name)
    ax.axhline(nominal, color=GREY, ls=":", label="plain Monte Carlo")
    for i, (name, (x, y)) in enumerate(points.items()):
        ax.plot(x, y, MARKERS[i], color=ORANGE, ms=8, label=name)
    ax.set(yscale="log", xlabel="factor", ylabel="relative variance per draw")
    set_title(ax, "Scale what matters, and not too far")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def _weight_histogram(ax: Axes, log_w: Floats, late: NDArray[np.bool_]) -> None:
    bins = np.linspace(min(float(log_w.min()), -1.0), max(float(log_w.max()), 1.0), 60).tolist()
    ax.hist(log_w, bins, color=GREY, alpha=0.5, label="all draws")
    ax.hist(log_w[late], bins, color=BLUE, label="late draws")
    ax.axvline(0, color=BLACK, lw=0.8)
    ax.set(yscale="log", xlabel="log-weight (nats)", ylim=(0.7, len(log_w)))


def weight_histograms(plan: Project, deadline: float, factors: Sequence[float], n: int, seed: int = 0) -> Figure:
    """Log-weights of n draws with every mean scaled, late ones marked, for several factors, on one scale."""
    fig, axes = new_figure(11, 3.2, len(factors), sharex=True, sharey=True)
    for ax, factor in zip(axes, factors, strict=True):
        log_w, late = _weigh(plan, deadline, factor, n, seed)
        _weight_histogram(ax, log_w, late)
        worth = Estimate.from_log_weights(np.where(late, log_w, -np.inf)).ess
        set_title(ax, f"× {factor:g}: {late.sum():,} late,\nworth {worth:,.0f}")
    axes[0].set_ylabel(f"draws out of {n:,}")
    axes[-1].legend()
    return fig


def explore_factor(plan: Project, deadline: float, n: int = 10_000, seed: int = 0) -> ipywidgets.Widget:
    """A slider for the factor that scales every mean, over the histogram of log-weights and the resulting estimate."""

    def show(factor: float) -> Figure:
        log_w, late = _weigh(plan, deadline, factor, n, seed)
        estimate = Estimate.from_log_weights(np.where(late, log_w, -np.inf))
        fig, ax = new_figure(8, 3.4)
        _weight_histogram(ax, log_w, late)
        set_title(ax, f"{late.sum():,} late draws worth {estimate.ess:,.0f}; estimate {estimate.rounded}")
        ax.legend()
        display(fig)
        return fig

    slider = ipywidgets.FloatSlider(value=2, min=1, max=10, step=0.25, description="factor", continuous_update=False)
    return ipywidgets.interactive(show, factor=slider)


def _weigh(plan: Project, deadline: float, factor: float, n: int, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    proposal = scaled(plan, factor)
    durations = proposal.draw(np.random.default_rng(seed), n)
    return proposal.log_weights(durations), plan.completion_times(durations) >= deadline


def running_estimates(runs: Mapping[str, Floats], exact: float, title: str) -> Figure:
    """Running means of weighted draws, one line for each run: ``name -> [n]`` contributions."""
    fig, ax = new_figure(8, 3.4)
    for (name, values), colour, style in zip(runs.items(), CYCLE, ("-", "--", "-.", ":") * 2, strict=False):
        n = np.arange(1, len(values) + 1)
        shown = np.unique(np.geomspace(10, len(values), 2000).astype(int)) - 1
        ax.plot(n[shown], (np.cumsum(values) / n)[shown], style, color=colour, label=name)
    ax.axhline(exact, color=BLACK, ls="--", lw=1)
    ax.set(xscale="log", xlabel="draws, n", ylabel="running estimate", ylim=(0, 2 * exact))
    set_title(ax, title)
    ax.legend()
    return fig


def error_bars_that_lie(estimates: Sequence[Estimate], exact_relative_variance: float) -> Figure:
    """Relative variances and k-hats that many runs report of themselves, beside the truth."""
    fig, (left, right) = new_figure(10, 3.4, 2)
    reported = [estimate.relative_variance for estimate in estimates]
    left.hist(
        reported,
        bins=np.geomspace(min(reported) * 0.9, 1.5 * max([*reported, exact_relative_variance]), 40),
        color=BLUE,
        alpha=0.6,
    )
    left.axvline(exact_relative_variance, color=ORANGE, lw=2)
    left.annotate(
        f"exact: {exact_relative_variance:.1f}",
        (exact_relative_variance, 0.95),
        xycoords=("data", "axes fraction"),
        ha="right",
        rotation=90,
        va="top",
        color=ORANGE,
    )
    left.set_xscale("log")
    left.set_xticks([20, 50, 100, 200, 500], ["20", "50", "100", "200", "500"])
    left.set_xticks([], minor=True)
    left.set(xlabel="relative variance a run reports", ylabel=f"runs out of {len(estimates)}")
    set_title(left, "Almost every run reports far too small a variance")
    right.hist([estimate.pareto_k for estimate in estimates], bins=30, color=BLUE, alpha=0.6)
    right.axvline(0.7, color=ORANGE, lw=2)
    right.annotate(
        "warns from here on",
        (0.7, 0.95),
        xycoords=("data", "axes fraction"),
        ha="right",
        va="top",
        rotation=90,
        color=ORANGE,
    )
    right.set(xlabel="k-hat of the same runs", ylabel=f"runs out of {len(estimates)}", xlim=(-0.3, 0.8))
    set_title(right, "and k-hat has no objection")
    return fig


def late_by_longest_path(plan: Project, durations: Floats, log_w: Floats, times: Floats) -> Figure:
    """Late projects coloured by their longest path: their weights, and each path's share of E[w] and of E[w²].

    Args:
        plan: the plan.
        durations: late projects drawn exactly, ``[n, n_tasks]`` days.
        log_w: their log-weights under a proposal, ``[n]``.
        times: their completion times, ``[n]`` days.
    """
    masks, which = np.unique(plan.critical_tasks(durations), axis=0, return_inverse=True)
    which = which.ravel()
    order = np.argsort(-np.bincount(which))
    names = ["-".join(plan.tasks[j] for j in plan.topological_order if mask[j]) for mask in masks]
    fig, (left, right) = new_figure(11, 4, 2)
    shown = slice(0, 4000)
    for i, k in enumerate(order):
        mine = which[shown] == k
        left.plot(
            times[shown][mine],
            log_w[shown][mine],
            MARKERS[i % 8],
            ms=3 if i == 0 else 5,
            alpha=0.3 if i == 0 else 0.9,
            color=CYCLE[i % 8],
            label=names[k],
        )
    left.set(xlabel="completion time (days)", ylabel="log-weight (nats)")
    set_title(left, "The heaviest weights are late by another path")
    left.legend(title="longest path", fontsize=8)
    # Under the plan's law given lateness, an average of 1 is a share of the probability, one of w of the second moment.
    w = np.exp(log_w)
    shares = {
        "of late projects": np.bincount(which) / len(which),
        "of the second moment": np.bincount(which, w) / w.sum(),
        "of the proposal's late draws": np.bincount(which, 1 / w) / (1 / w).sum(),
    }
    rows = np.arange(len(order))
    for i, (name, share) in enumerate(shares.items()):
        right.barh(
            rows + (i - 1) * 0.27,
            share[order],
            0.27,
            color=(BLACK, "#E69F00", GREY)[i],
            hatch=HATCHES[i],
            edgecolor="white",
            label=f"share {name}",
        )
    right.set_yticks(rows, [names[k] for k in order])
    right.invert_yaxis()
    right.xaxis.set_major_formatter(PercentFormatter(1))
    right.set_xlabel("share")
    right.legend(fontsize=8, loc="lower right")
    set_title(right, "Samples go where the second moment is not")
    return fig


def seconds_to_one_percent(seconds: Mapping[str, float]) -> Figure:
    """Time to a relative standard error of 1 %, on a log axis."""
    fig, ax = new_figure(8, 0.9 + 0.35 * len(seconds))
    bars = ax.barh(list(seconds), list(seconds.values()), color=BLUE)
    ax.bar_label(bars, [f"{value:.2g} s" for value in seconds.values()], padding=3)
    ax.set(xscale="log", xlabel="seconds to a relative standard error of 1 %, on this machine")
    ax.margins(x=0.15)
    ax.invert_yaxis()
    set_title(ax, "What a good proposal is worth")
    return fig
