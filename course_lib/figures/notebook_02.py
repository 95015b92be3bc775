"""The figures of notebook 02: proposals, the weights they give, and what each costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import ipywidgets
import numpy as np
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from scipy import stats

from course_lib.estimates import Estimate, pareto_k_limit
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
    Figure,
    legend_below,
    listed,
    log_ticks,
    mark_what_leaves,
    new_figure,
    set_title,
    two_digits,
)
from course_lib.projects.plan import Project

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def one_task(mean: float, factors: Sequence[float]) -> Figure:
    """Density p of one exponential task, a proposal q with a scaled mean, and p²/q, whose area is E[w²]."""
    fig, axes = new_figure(10, 3.2, len(factors), sharey=True)
    areas = []
    t = np.linspace(0, 8 * mean, 400)
    p = stats.expon.pdf(t, scale=mean)
    for ax, factor in zip(axes, factors, strict=True):
        q = stats.expon.pdf(t, scale=factor * mean)
        area = f"{factor**2 / (2 * factor - 1):.2f}" if factor > 0.5 else "infinite"
        areas.append(f"{area} for × {factor:g}")
        ax.plot(t, p, color=BLACK, label="p")
        ax.plot(t, q, "--", color=BLUE, label="q")
        ax.plot(t, p**2 / q, ":", color=ORANGE, lw=2, label="p²/q")
        ax.set(xlabel="duration (days)", ylim=(0, 1.05 * max(factors) / mean))
        set_title(ax, f"mean × {factor:g}\narea of p²/q: {area}")
    axes[0].set_ylabel("density (per day)")
    axes[0].legend()
    return fig.describe(
        "Densities of one duration in days, a panel for each factor of the proposal's mean: p, the same everywhere, q "
        f"dashed, and p²/q dotted. The area under p²/q is {listed(areas)}: where q is too narrow, p²/q rises with the "
        "duration, and where q is wide it falls, from a start that grows with the factor."
    )


def factor_sweep(
    factors: Floats,
    exact: Mapping[str, Floats],
    nominal: float,
    points: Mapping[str, tuple[float, float]],
    title: str,
) -> Figure:
    """Exact relative variance against the scaling factor, one curve for each choice of tasks, with named points."""
    fig, ax = new_figure(8, 4)
    for (name, variances), style, colour in zip(exact.items(), ("--", "-", "-."), (GREEN, BLUE, PURPLE), strict=False):
        ax.plot(factors, variances, style, color=colour, label=name)
    ax.axhline(nominal, color=GREY, ls=":", label="plain Monte Carlo")
    for i, (name, (x, y)) in enumerate(points.items()):
        ax.plot(x, y, MARKERS[i], color=ORANGE, ms=8, label=name)
    ax.set(yscale="log", xlabel="factor on the mean durations", ylabel="relative variance per draw")
    set_title(ax, title)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    lowest = listed(
        f"{two_digits(values.min())} for {name}, at factor {two_digits(factors[values.argmin()])}"
        for name, values in exact.items()
    )
    marked = listed(f"{name} at {two_digits(y)}" for name, (_, y) in points.items())
    return fig.describe(
        "Line chart of the exact relative variance of one draw, logarithmic axis, against the factor. Each curve "
        f"falls steeply and rises again; its lowest point is {lowest}. A dotted line marks plain Monte Carlo, "
        f"{two_digits(nominal)}. Markers: {marked}."
    )


def _weight_histogram(ax: Axes, log_w: Floats, late: Bools) -> None:
    bins = np.linspace(min(float(log_w.min()), -1.0), max(float(log_w.max()), 1.0), 60).tolist()
    ax.hist(log_w, bins, color=GREY, alpha=0.5, label="all draws")
    ax.hist(log_w[late], bins, color=BLUE, label="late draws")
    ax.axvline(float(log_w.mean()), color=ORANGE, ls="--", lw=1.5, label="mean log-weight of all draws")
    ax.axvline(0, color=BLACK, lw=1, label="log of the mean weight, exact: 0")
    ax.set(yscale="log", xlabel="log-weight (nats)", ylim=(0.7, len(log_w)))


def weight_histograms(weighed: Mapping[float, tuple[Floats, Bools]], exact_worth: Mapping[float, float]) -> Figure:
    """Log-weights of draws with every mean scaled, late ones marked, side by side, each over its own range.

    Args:
        weighed: factor -> log-weights of the draws in nats, and which of them are late, both ``[n]``.
        exact_worth: factor -> what these late draws are worth by the exact variance, ``n / (1 + relative variance)``.
    """
    fig, axes = new_figure(11, 3.8, len(weighed), sharey=True)
    worths = []
    for ax, (factor, (log_w, late)) in zip(axes, weighed.items(), strict=True):
        _weight_histogram(ax, log_w, late)
        worth = two_digits(Estimate.from_log_weights(np.where(late, log_w, -np.inf)).ess)
        exact = two_digits(exact_worth[factor])
        set_title(ax, f"means × {factor:g}: {late.sum():,} late\nworth {worth}, exact {exact}")
        worths.append(f"× {factor:g}, {late.sum():,} late draws worth {worth} (exact {exact})")
    axes[0].set_ylabel(f"draws out of {len(log_w):,}")
    legend_below(fig, axes[0], 4)
    return fig.describe(
        "Histograms of log-weights in nats, counts on a logarithmic axis, all draws in grey and late ones in blue; a "
        "dashed line at the mean log-weight, which moves further below zero as the factor on the means grows. "
        f"{'; '.join(worths)}."
    )


def explore_factor(
    weigh: Callable[[float], tuple[Floats, Bools]], exact_worth: Callable[[float], float]
) -> ipywidgets.Widget:
    """A slider for the factor that scales every mean, over the histogram of log-weights and the resulting estimate.

    Args:
        weigh: from a factor to the log-weights of draws in nats, and which of them are late, both ``[n]``.
        exact_worth: from a factor to what late draws are worth by the exact variance, as for `weight_histograms`.
    """

    def show(factor: float) -> Figure:
        log_w, late = weigh(factor)
        estimate = Estimate.from_log_weights(np.where(late, log_w, -np.inf))
        worth = f"{late.sum():,} late draws, worth {two_digits(estimate.ess)}, exact {two_digits(exact_worth(factor))}"
        fig, ax = new_figure(8, 3.6)
        _weight_histogram(ax, log_w, late)
        ax.set_ylabel(f"draws out of {len(log_w):,}")
        set_title(ax, f"{worth}; estimate {estimate.rounded}")
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
        fig.describe(
            f"Histogram of log-weights in nats, counts on a logarithmic axis, with every mean × {factor:g}: all draws "
            f"in grey, late ones in blue, a dashed line at the mean log-weight. {worth}."
        )
        display(fig)
        return fig

    slider = ipywidgets.FloatSlider(value=2, min=1, max=10, step=0.25, description="factor", continuous_update=False)
    return ipywidgets.interactive(show, factor=slider)


def running_estimates(runs: Mapping[str, Floats], exact: float, title: str) -> Figure:
    """Running means of weighted draws, one line for each run: ``name -> [n]`` contributions."""
    fig, ax = new_figure(8, 3.4)
    ends, jumps = [], []
    for (name, values), colour, style in zip(runs.items(), CYCLE, ("-", "--", "-.", ":") * 2, strict=False):
        n = np.arange(1, len(values) + 1)
        mean = np.cumsum(values) / n
        shown = np.unique(np.geomspace(10, len(values), 2000).astype(int)) - 1
        ax.plot(n[shown], mean[shown], style, color=colour, label=name)
        ends.append(f"{name} {two_digits(mean[-1])}")
        jumps.append(np.diff(mean)[len(values) // 10 :].max())
    ax.axhline(exact, color=BLACK, ls="--", lw=1)
    ax.set(xscale="log", xlabel="draws, n", ylabel="running estimate", ylim=(0, 2 * exact))
    mark_what_leaves(ax)
    set_title(ax, title)
    ax.legend(loc="lower right")
    return fig.describe(
        f"Line chart of the running estimates of {len(runs)} runs against the number of draws, logarithmic axis, with "
        f"a dashed line at the exact value {two_digits(exact)}; triangles mark where a line leaves the chart. Long "
        "slow slopes down are broken by sudden jumps up, in the last nine tenths of the draws still by up to "
        f"{two_digits(max(jumps))}. The last values: {listed(ends)}."
    )


def variances_and_k_hats(
    estimates: Sequence[Estimate], exact_relative_variance: float, titles: tuple[str, str]
) -> Figure:
    """Relative variances and k-hats that many runs report of themselves, beside the truth."""
    fig, (left, right) = new_figure(10, 3.4, 2)
    k_hats = [estimate.pareto_k for estimate in estimates]
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
    log_ticks(left, [20, 50, 100, 200, 500])
    left.set(xlabel="relative variance a run reports", ylabel=f"runs out of {len(estimates)}")
    set_title(left, titles[0])
    right.hist(k_hats, bins=30, color=BLUE, alpha=0.6)
    limit = pareto_k_limit(estimates[0].n)
    right.axvline(limit, color=ORANGE, lw=2)
    right.annotate(
        "warns from here on",
        (limit, 0.95),
        xycoords=("data", "axes fraction"),
        ha="right",
        va="top",
        rotation=90,
        color=ORANGE,
    )
    right.set(
        xlabel="k-hat of the same runs",
        ylabel=f"runs out of {len(estimates)}",
        xlim=(min(-0.3, *k_hats), max(0.8, *k_hats)),
    )
    set_title(right, titles[1])
    return fig.describe(
        f"Two histograms over {len(estimates)} runs. Left, the relative variance that a run reports, logarithmic axis: "
        f"the median is {two_digits(float(np.median(reported)))}, far left of the line at the exact one, "
        f"{two_digits(exact_relative_variance)}. Right, k-hat of the same runs: the median is "
        f"{two_digits(float(np.median(k_hats)))}, and a line at {two_digits(limit)} shows where it would warn."
    )


def late_by_longest_path(
    plan: Project, durations: Floats, log_w: Floats, times: Floats, titles: tuple[str, str]
) -> Figure:
    """Late projects coloured by their longest path: their weights, and each path's share of E[w] and of E[w²].

    Args:
        plan: the plan.
        durations: late projects drawn exactly, ``[n, n_tasks]`` days.
        log_w: their log-weights under a proposal, ``[n]``.
        times: their completion times, ``[n]`` days.
        titles: what the weights show, and what the shares show.
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
    set_title(left, titles[0])
    left.legend(title="longest path", fontsize=9)
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
    right.legend(fontsize=9, loc="lower right")
    set_title(right, titles[1])
    in_words = [
        f"{names[k]} has "
        + listed(
            f"{share[k]:.0%} {name}" if share[k] >= 0.01 else f"almost none {name}" for name, share in shares.items()
        )
        for k in (order[0], shares["of the second moment"].argmax())
    ]
    return fig.describe(
        "Left, log-weights in nats of late projects against their completion time in days, a marker for each longest "
        "path: most lie in one cloud, and above it are a few of other paths. Right, bars of each path's share. "
        f"{'; '.join(dict.fromkeys(in_words))}."
    )


def seconds_to_one_percent(seconds: Mapping[str, float], title: str) -> Figure:
    """Time to a relative standard error of 1 %, on a log axis."""
    fig, ax = new_figure(8, 0.9 + 0.35 * len(seconds))
    # Dots, because a bar on a logarithmic axis starts anywhere.
    ax.plot(list(seconds.values()), list(seconds), "o", color=BLUE, ms=8)
    for name, value in seconds.items():
        ax.annotate(f"{value:.2g} s", (value, name), (9, 0), textcoords="offset points", va="center")
    ax.set(xscale="log", xlabel="seconds to a relative standard error of 1 %, on this machine")
    ax.grid(axis="y", color=GREY, alpha=0.3)
    ax.margins(x=0.15, y=0.1)
    ax.invert_yaxis()
    set_title(ax, title)
    ranked = sorted(seconds, key=lambda name: seconds[name])
    return fig.describe(
        f"Dots on a logarithmic axis: seconds that each of {len(seconds)} ways takes to a relative standard error of 1 "
        f"%, as measured on one machine. The fastest is {ranked[0]}, the slowest {ranked[-1]}."
    )
