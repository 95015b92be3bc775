"""The figures of notebook 04: bounds of k samples, and models trained with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from course_lib.estimates import Estimate
from course_lib.figures.diagrams import draw_two_layers as draw_two_layers
from course_lib.figures.style import (
    BLACK,
    CYCLE,
    GREY,
    LINES,
    MARKERS,
    PURPLE,
    Figure,
    listed,
    log_ticks,
    mark_bars_to_zero,
    new_figure,
    set_title,
    two_digits,
)
from course_lib.figures.tensors import numbers
from course_lib.vae.evidence import Evidence

# As `LiveCurve` colours lines of k = 1, 5 and 50 in this order.
COLOURS_OF_K = dict(zip((1, 5, 50), CYCLE, strict=False))


def bounds_against_k(
    ks: Sequence[int], bounds: Sequence[tuple[float, float]], elbo: float, log_p: float, title: str
) -> Figure:
    """L_k with its standard error for each k, between the exact ELBO and the exact log p(x), all in nats."""
    means, errors = np.array(bounds).T
    fig, ax = new_figure()
    ax.axhline(log_p, color=BLACK, ls="--", lw=1, label="log p(x), exact")
    ax.errorbar(ks, means, 2 * errors, fmt="o-", color=GREY, capsize=3, label="L_k, ± 2 standard errors")
    for k, mean in zip(ks, means, strict=True):
        if k in COLOURS_OF_K:
            ax.plot(k, mean, "o", color=COLOURS_OF_K[k], ms=8, zorder=3)
    ax.axhline(elbo, color=COLOURS_OF_K[1], ls=":", label="ELBO, exact")
    ax.set(xlabel="samples in the bound, k", ylabel="nats per image")
    log_ticks(ax, ks)
    ax.legend(loc="center right")
    set_title(ax, title)
    return fig.describe(
        "The bound L_k in nats per image against k, logarithmic axis, with bars of two standard errors. It rises from "
        f"{two_digits(means[0])} at k = {ks[0]}, where a dotted line marks the exact ELBO ({two_digits(elbo)}), ever "
        f"more slowly to {two_digits(means[-1])} at k = {ks[-1]}, just under a dashed line at log p(x), "
        f"{two_digits(log_p)}."
    )


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
    for (name, values), marker, colour in zip(gaps.items(), MARKERS, (BLACK, PURPLE), strict=False):
        gap, error = np.array(values).T
        ax.errorbar(ks, gap, 2 * error, fmt=marker, color=colour, capsize=3, label=f"{name} (± 2 standard errors)")
        mark_bars_to_zero(ax, ks, gap - 2 * error, colour)
        if name in relative_variances:
            predicted = relative_variances[name] / 2 / grid
            ax.plot(grid, predicted, "--", color=colour, lw=1, label=f"{name}, predicted: Var(w) / (2 k p(x)²)")
    ax.set(yscale="log", xlabel="samples in the bound, k", ylabel="log p(x) − L_k (nats)")
    log_ticks(ax, ks)
    ax.legend(loc="lower left")
    set_title(ax, title)
    ends = listed(
        f"{name} from {two_digits(values[0][0])} to {two_digits(values[-1][0])}" for name, values in gaps.items()
    )
    straight = listed(relative_variances)
    return fig.describe(
        f"The gap log p(x) − L_k in nats against k from {ks[0]} to {ks[-1]}, both axes logarithmic, with bars of two "
        f"standard errors. It falls for {ends}. A dashed line of slope −1 is what the variance of the weights predicts "
        f"for {straight}, and its gaps come to lie on it."
    )


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
        ratios.items(), MARKERS, ("-", "-", "--"), (BLACK, PURPLE, PURPLE), strict=False
    ):
        error = np.sqrt((1 + np.square(values) / 2) / runs)
        ax.errorbar(ks, values, 2 * error, fmt=marker + style, color=colour, capsize=3, label=name)
        mark_bars_to_zero(ax, ks, np.asarray(values) - 2 * error, colour)
    for values, power, text in zip(ratios.values(), (0.5, -0.5), ("√k", "1/√k"), strict=False):
        line = values[middle] * (grid / ks[middle]) ** power
        ax.plot(grid, line, ":", color=GREY)
        ax.annotate(f"∝ {text}", (grid[1], line[1]), (9, 0), textcoords="offset points", color=GREY, va="center")
    ax.axhspan(0, 1 / math.sqrt(runs), color=GREY, alpha=0.15, lw=0, label="lost in the noise of the runs")
    ax.set(yscale="log", xlabel="samples in the bound, k", ylabel="signal-to-noise ratio, ± 2 standard errors")
    log_ticks(ax, ks)
    ax.legend(loc="upper left", bbox_to_anchor=(1.1, 1))
    set_title(ax, title)
    ends = listed(f"{name} from {two_digits(values[0])} to {two_digits(values[-1])}" for name, values in ratios.items())
    return fig.describe(
        f"Signal-to-noise ratios of gradients against k from {ks[0]} to {ks[-1]}, both axes logarithmic, with bars of "
        f"two standard errors. From first to last, {ends}. Dotted lines go like √k and 1/√k; a grey band at the bottom "
        f"is what {runs:,} runs cannot tell from zero."
    )


def evidence_by_k(evidence: Mapping[int, Evidence], title: str) -> Figure:
    """log p(x) and ELBO of the same images under models trained with different k, and the paired differences."""
    fig, (left, right) = new_figure(10, 3.6, 2)
    places = np.arange(len(evidence))
    names = [f"k = {k}" for k in evidence]
    first, *others = evidence
    for x, (k, found) in zip(places, evidence.items(), strict=True):
        colour = COLOURS_OF_K.get(k, GREY)
        for values, marker, inside in ((found.per_image, "o", colour), (found.elbo, "s", "white")):
            nats = Estimate.from_values(numbers(values))
            left.errorbar(x, nats.value, 2 * nats.std_error, fmt=marker, color=colour, mfc=inside, capsize=4)
        if k != first:
            gain = Estimate.from_values(numbers(found.per_image - evidence[first].per_image))
            right.errorbar(x, gain.value, 2 * gain.std_error, fmt="o", color=colour, capsize=4)
    left.plot([], [], "o", color=BLACK, label="log p(x)")
    left.plot([], [], "s", color=BLACK, mfc="white", label="ELBO")
    left.set_xticks(places, names)
    left.set(xlabel="trained with", ylabel="nats per test image, ± 2 standard errors", xlim=(-0.5, len(places) - 0.5))
    left.legend(loc="lower left")
    set_title(left, title)
    right.axhline(0, color=BLACK, lw=1)
    right.set_xticks(places[1:], names[1:])
    right.set(xlabel="trained with", xlim=(0.3, len(places) - 0.3))
    right.set_ylabel(f"log p(x), less that of k = {first} (nats)\n± 2 standard errors")
    set_title(right, "The same images, pair by pair")
    means = [
        f"k = {k}: log p(x) {two_digits(float(found.per_image.mean()))}, ELBO {two_digits(float(found.elbo.mean()))}"
        for k, found in evidence.items()
    ]
    gains = [float((evidence[k].per_image - evidence[first].per_image).mean()) for k in others]
    better = listed(f"{gain:.1f} for k = {k}" for k, gain in zip(others, gains, strict=True))
    return fig.describe(
        "Left, mean log p(x) (circles) and ELBO (squares) of test images in nats with bars of two standard errors, "
        f"for models trained with different k. {'; '.join(means)}. Right, the paired gain in log p(x) over k = "
        f"{first}, with much shorter bars: {better} nats."
    )


def activity(panels: Mapping[str, Mapping[str, Tensor]], threshold: float) -> Figure:
    """Variances over images of each latent number's posterior mean, sorted: ``panel -> model -> [latent_dim]``."""
    fig, axes = new_figure(10, 3.4, len(panels), sharey=True, squeeze=False)
    in_words = []
    for ax, (title, models) in zip(axes[0], panels.items(), strict=True):
        counts = []
        for (name, variances), marker, style, colour in zip(models.items(), MARKERS, LINES, CYCLE, strict=False):
            values = np.sort(numbers(variances))[::-1]
            active = int((values > threshold).sum())
            label = f"{name}: {active} active"
            ax.plot(np.arange(1, len(values) + 1), values, marker + style, color=colour, ms=4, label=label)
            counts.append(f"{active} of {len(values)} with {name}")
        in_words.append(f"{title.partition(':')[0]}: {listed(counts)} are above it")
        ax.axhline(threshold, color=BLACK, lw=1)
        ax.set(yscale="log", xlabel="latent dimension, sorted")
        ax.legend(loc="lower left", fontsize=9)
        set_title(ax, title)
    axes[0, 0].set_ylabel("variance of its posterior mean")
    return fig.describe(
        "Variance of each latent dimension's posterior mean over images, logarithmic axis, the largest first, a line "
        f"for each model, and a horizontal line at the threshold {threshold:g}. {'. '.join(in_words)}."
    )
