"""The figures of notebook 04: bounds of k samples, and models trained with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from course_lib.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LINES,
    MARKERS,
    ORANGE,
    log_ticks,
    new_figure,
    set_title,
)
from course_lib.figures.tensors import numbers
from course_lib.vae.evidence import Evidence


def bounds_against_k(
    ks: Sequence[int], bounds: Sequence[tuple[float, float]], elbo: float, log_p: float, title: str
) -> Figure:
    """L_k with its standard error for each k, between the exact ELBO and the exact log p(x), all in nats."""
    means, errors = np.array(bounds).T
    fig, ax = new_figure()
    ax.axhline(log_p, color=BLACK, ls="--", lw=1, label="log p(x), exact")
    ax.errorbar(ks, means, 2 * errors, fmt="o-", color=BLUE, capsize=3, label="L_k, ± 2 standard errors")
    ax.axhline(elbo, color=ORANGE, ls=":", label="ELBO, exact")
    ax.set(xlabel="samples in the bound, k", ylabel="nats per image")
    log_ticks(ax, ks)
    ax.legend(loc="lower right")
    set_title(ax, title)
    return fig


def gap_against_k(
    ks: Sequence[int],
    gaps: Mapping[str, Sequence[tuple[float, float]]],
    relative_variances: Mapping[str, float],
    title: str,
) -> Figure:
    """The gap log p(x) - L_k against k on log axes, beside what the variance of the weights predicts.

    Args:
        ks: samples in the bound.
        gaps: gaps and their standard errors in nats, ``name -> [(gap, error), ...]``.
        relative_variances: ``Var(w) / p(x)**2`` for those names where it is finite.
        title: what the gaps show.
    """
    fig, ax = new_figure(7.5, 3.8)
    grid = np.array([min(ks), max(ks)], dtype=float)
    for (name, values), marker, colour in zip(gaps.items(), MARKERS, (BLUE, ORANGE), strict=False):
        gap, error = np.array(values).T
        ax.errorbar(ks, gap, 2 * error, fmt=marker, color=colour, capsize=3, label=f"{name} (± 2 standard errors)")
        if name in relative_variances:
            predicted = relative_variances[name] / 2 / grid
            ax.plot(grid, predicted, "--", color=colour, lw=1, label="Var(w) / (2 k p(x)²)")
    ax.set(yscale="log", xlabel="samples in the bound, k", ylabel="log p(x) − L_k (nats)")
    log_ticks(ax, ks)
    ax.legend(loc="lower left")
    set_title(ax, title)
    return fig


def signal_against_k(ks: Sequence[int], ratios: Mapping[str, Sequence[float]], runs: int, title: str) -> Figure:
    """Signal-to-noise ratios of gradients against k, with the powers of k that theory gives.

    Args:
        ks: samples in the bound.
        ratios: signal over noise for each k, by name; the first is the decoder's, the second the encoder's.
        runs: gradients that each ratio comes from; a ratio below ``1 / sqrt(runs)`` is no longer seen.
        title: what the ratios show.
    """
    fig, ax = new_figure(9, 3.8)
    grid = np.array([min(ks), max(ks)], dtype=float)
    middle = len(ks) // 2
    for (name, values), marker, style, colour in zip(
        ratios.items(), MARKERS, ("-", "-", "--"), (GREEN, ORANGE, BLUE), strict=False
    ):
        error = np.sqrt((1 + np.square(values) / 2) / runs)
        ax.errorbar(ks, values, 2 * error, fmt=marker + style, color=colour, capsize=3, label=name)
    for values, power, text in zip(ratios.values(), (0.5, -0.5), ("√k", "1/√k"), strict=False):
        line = values[middle] * (grid / ks[middle]) ** power
        ax.plot(grid, line, ":", color=GREY)
        ax.annotate(f"∝ {text}", (grid[1], line[1]), (4, 0), textcoords="offset points", color=GREY, va="center")
    ax.axhspan(0, 1 / math.sqrt(runs), color=GREY, alpha=0.15, lw=0, label="too small to be seen")
    ax.set(yscale="log", xlabel="samples in the bound, k", ylabel="signal-to-noise ratio, ± 2 standard errors")
    log_ticks(ax, ks)
    ax.legend(loc="upper left", bbox_to_anchor=(1.05, 1))
    set_title(ax, title)
    return fig


def evidence_by_k(evidence: Mapping[int, Evidence], title: str) -> Figure:
    """log p(x) and ELBO of the same images under models trained with different k, and the paired differences."""
    fig, (left, right) = new_figure(10, 3.6, 2)
    places = np.arange(len(evidence))
    names = [f"k = {k}" for k in evidence]
    for values, marker, colour, name in (
        ([found.per_image for found in evidence.values()], "o", BLUE, "log p(x)"),
        ([found.elbo for found in evidence.values()], "s", ORANGE, "ELBO"),
    ):
        nats = np.array([numbers(value) for value in values])
        error = nats.std(axis=1, ddof=1) / math.sqrt(nats.shape[1])
        left.errorbar(places, nats.mean(1), 2 * error, fmt=marker, color=colour, capsize=4, label=name)
    left.set_xticks(places, names)
    left.set(xlabel="trained with", ylabel="nats per test image, ± 2 standard errors", xlim=(-0.5, len(places) - 0.5))
    left.legend()
    set_title(left, title)
    first, *others = evidence
    differences = np.array([numbers(evidence[k].per_image - evidence[first].per_image) for k in others])
    error = differences.std(axis=1, ddof=1) / math.sqrt(differences.shape[1])
    right.errorbar(places[1:], differences.mean(1), 2 * error, fmt="o", color=BLUE, capsize=4)
    right.axhline(0, color=BLACK, lw=1)
    right.set_xticks(places[1:], names[1:])
    right.set(xlabel="trained with", ylabel=f"log p(x), less that of k = {first} (nats)", xlim=(0.3, len(places) - 0.3))
    set_title(right, "The same images, pair by pair")
    return fig


def draw_two_layers() -> Figure:
    """A model with two stochastic layers: the way down from z2 to x, and the encoder's way up."""
    fig, ax = new_figure(6.5, 2.8)
    for x, title, colour, ways in (
        (0.0, "model, θ", GREEN, (("z₂", "z₁", "p(z₁ | z₂)"), ("z₁", "x", "p(x | z₁)"))),
        (3.0, "encoder, φ", BLUE, (("x", "z₁", "q(z₁ | x)"), ("z₁", "z₂", "q(z₂ | z₁)"))),
    ):
        height = {"z₂": 2.0, "z₁": 1.0, "x": 0.0}
        for name, y in height.items():
            ax.add_patch(Circle((x, y), 0.27, fc="#DDDDDD" if name == "x" else "white", ec=colour, lw=1.5))
            ax.text(x, y, name, ha="center", va="center", fontsize=11)
        for start, end, text in ways:
            down = 0.27 if height[end] < height[start] else -0.27
            arrow = {"arrowstyle": "-|>", "color": colour}
            ax.annotate("", (x, height[end] + down), (x, height[start] - down), arrowprops=arrow)
            ax.text(x + 0.2, (height[start] + height[end]) / 2, text, va="center", fontsize=9)
        ax.text(x - 0.45, 2.0, title, ha="right", va="center", color=colour, fontsize=11)
    ax.text(0.42, 2.0, "~ N(0, I)", va="center", fontsize=9)
    ax.set(xlim=(-1.7, 4.6), ylim=(-0.4, 2.4), aspect="equal")
    ax.axis("off")
    set_title(ax, "Two stochastic layers: x is drawn from z₁, and z₁ from z₂")
    return fig


def activity(panels: Mapping[str, Mapping[str, Tensor]], threshold: float) -> Figure:
    """Variances over images of each latent number's posterior mean, sorted: ``panel -> model -> [latent_dim]``."""
    fig, axes = new_figure(10, 3.4, len(panels), sharey=True, squeeze=False)
    for ax, (title, models) in zip(axes[0], panels.items(), strict=True):
        for (name, variances), marker, style, colour in zip(
            models.items(), MARKERS, LINES, (ORANGE, GREEN, BLUE), strict=False
        ):
            values = np.sort(numbers(variances))[::-1]
            active = int((values > threshold).sum())
            label = f"{name}: {active} active"
            ax.plot(np.arange(1, len(values) + 1), values, marker + style, color=colour, ms=4, label=label)
        ax.axhline(threshold, color=BLACK, lw=1)
        ax.set(yscale="log", xlabel="latent dimension, sorted")
        ax.legend(loc="lower left", fontsize=9)
        set_title(ax, title)
    axes[0, 0].set_ylabel("variance of its posterior mean")
    return fig
