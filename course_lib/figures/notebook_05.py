"""The figures of notebook 05: grey pixels, log-weights, proposals and bounds from both sides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, PercentFormatter
from torch import Tensor

from course_lib.estimates import Estimate, log_mean_exp, value_with_error
from course_lib.figures.style import (
    BLACK,
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    HATCHES,
    LINES,
    MARKERS,
    ORANGE,
    Figure,
    legend_below,
    listed,
    log_ticks,
    new_figure,
    set_title,
    two_digits,
)
from course_lib.figures.tensors import numbers
from course_lib.vae.evidence import Evidence


def _names(ax: Axes, names: Sequence[str]) -> None:
    """Names down the y-axis, the first on top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)


def mass_functions(probabilities: Mapping[str, Tensor], observed: int | None = None) -> Figure:
    """Distributions of one pixel's level, side by side on one scale.

    Args:
        probabilities: of each level, ``name -> [levels]``.
        observed: the level that the pixel has, to be marked.
    """
    fig, axes = new_figure(10, 3.2, len(probabilities), sharex=True, sharey=True, squeeze=False)
    in_words = []
    for ax, (name, tensor) in zip(axes[0], probabilities.items(), strict=True):
        mass = numbers(tensor)
        levels = np.arange(len(mass))
        # A frame keeps a few bars apart and would cover many, at whose ends a bar as thin as the others is hard to see.
        few = len(mass) < 60
        style = {"edgecolor": "white", "lw": 0.6 if few else 0.0, "align": "edge"}
        inside = {**style, "color": BLUE, "label": "the bin around a level"}
        outside = {**style, "color": ORANGE, "hatch": HATCHES[1] if few else ""}
        width = max(1.0, 0.02 * len(mass))
        ax.bar(levels[1:-1] - 0.5, mass[1:-1], 1.0, **inside)
        ax.bar(levels[0] + 0.5, mass[0], -width, **outside)
        ax.bar(levels[-1] - 0.5, mass[-1], width, label="first and last bin, with all that lies outside", **outside)
        title = name
        in_words.append(f"{name}: the likeliest level is {mass.argmax()} ({two_digits(mass.max())})")
        if observed is not None:
            in_words[-1] += f", and that of the pixel, {observed}, dotted, has {two_digits(mass[observed])}"
            ax.axvline(observed, color=BLACK, ls=":", lw=1.5, label=f"the level it has: {observed}")
            title += f"\nthis level has probability {mass[observed]:.2g}"
        ax.set_xlabel("level")
        set_title(ax, title)
    axes[0, 0].set_ylabel("probability")
    legend_below(fig, axes[0, 0], 3)
    return fig.describe(
        f"Bars of the probability of each of {len(mass)} levels of a pixel, a panel for each distribution. The first "
        f"and the last bar, hatched, hold all that lies outside. {'; '.join(in_words)}."
    )


def paired_differences(values: Mapping[str, Tensor], reference: str) -> Figure:
    """Mean differences between models and one of them, image by image.

    Args:
        values: log p(x) of the same images in nats, ``model -> [images]``.
        reference: the model to compare with.
    """
    base = numbers(values[reference])
    differences = {
        name: Estimate.from_values(numbers(mine) - base) for name, mine in values.items() if name != reference
    }
    fig, ax = new_figure(7.5, 1.3 + 0.45 * len(differences))
    for y, found in enumerate(differences.values()):
        low, high = found.interval()
        ax.plot([low, high], [y, y], "|-", color=BLUE, ms=10)
        ax.plot(found.value, y, "o", color=BLUE)
        ax.annotate(found.rounded, (found.value, y), (0, 8), textcoords="offset points", ha="center", fontsize=9)
    ax.axvline(0, color=BLACK, ls="--", lw=1)
    ax.text(0, 0.02, f"{reference} ", transform=ax.get_xaxis_transform(), ha="right", va="bottom", fontsize=9)
    _names(ax, list(differences))
    ax.margins(x=0.15)
    ax.set_xlabel(f"log p(x), less that of {reference} (nats per image), with a 95 % interval")
    set_title(ax, f"Models on the same {len(base):,} images, image by image")
    gains = listed(f"{name} {two_digits(found.value)}" for name, found in differences.items())
    return fig.describe(
        f"Dots with 95 % intervals: log p(x) of each model less that of {reference}, in nats per image, on the mean "
        f"over the same {len(base):,} images, beside a dashed line at zero. The differences: {gains}."
    )


def log_weights(log_w: Tensor) -> Figure:
    """The log-weights of one image in nats, ``[K]``, with what the bounds make of them."""
    logs = numbers(log_w)
    top = float(logs.max())
    w = np.sort(np.exp(logs - top))[::-1]
    n_half = int(np.searchsorted(np.cumsum(w), w.sum() / 2)) + 1
    fig, ax = new_figure(8, 3.8)
    ax.hist(logs, bins=60, color=BLUE, alpha=0.6)
    ax.axvspan(top + math.log(w[n_half - 1]), top, color=GREY, alpha=0.25, lw=0, label="these carry half of the sum")
    for value, style, colour, name in (
        (float(logs.mean()), "--", ORANGE, "mean: the ELBO"),
        (float(log_mean_exp(logs)), "-", BLACK, "log of the mean: estimates log p(x)"),
        (top, ":", GREEN, "the largest"),
    ):
        ax.axvline(value, color=colour, ls=style, lw=1.8, label=f"{name}, {value:.2f}")
    ax.set(xlabel="log-weight (nats)", ylabel=f"draws out of {len(logs):,}")
    legend_below(fig, ax, 2)
    set_title(ax, f"Half of the sum of weights comes from {n_half:,} of {len(logs):,} draws ({n_half / len(logs):.1%})")
    return fig.describe(
        f"Histogram of {len(logs):,} log-weights in nats. From left to right, vertical lines mark their mean, which is "
        f"the ELBO, {two_digits(logs.mean())}, the log of the mean weight, {two_digits(float(log_mean_exp(logs)))}, "
        f"and the largest, {two_digits(top)}. A shaded band of {n_half:,} draws at the far right carries half of the "
        "sum."
    )


def evidence_against_n(ns: Sequence[int], evidence: Sequence[Evidence]) -> Figure:
    """Estimates of log p(x) for each of a few images against the number of draws n, less the last of them."""
    fig, ax = new_figure(9, 3.6)
    estimates = np.stack([numbers(found.per_image) for found in evidence], axis=1)
    errors = np.stack([numbers(found.std_error) for found in evidence], axis=1)
    ax.axhline(0, color=BLACK, lw=0.8)
    for i, (values, error) in enumerate(zip(estimates - estimates[:, -1:], errors, strict=True)):
        colour, style = CYCLE[i % len(CYCLE)], MARKERS[i % len(MARKERS)] + LINES[i % len(LINES)]
        ax.fill_between(ns, values - 2 * error, values + 2 * error, color=colour, alpha=0.15, lw=0)
        ax.plot(ns, values, style, color=colour, ms=4, label=f"image {i + 1}: {estimates[i, -1]:.2f} at n = {ns[-1]:,}")
    log_ticks(ax, ns)
    ax.set(xlabel="draws for each image, n", ylabel=f"estimate, less that of n = {ns[-1]:,} (nats)")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
    set_title(ax, "log p(x) in a band of two standard errors, as each estimate reports its own")
    off = np.abs(estimates[:, 0] - estimates[:, -1])
    return fig.describe(
        f"Line chart of estimates of log p(x) for {len(estimates)} images against the number of draws, logarithmic "
        f"axis, each less its value at n = {ns[-1]:,}, in nats, in a band of two standard errors. With {ns[0]} draws "
        f"they are off by {two_digits(off.min())} to {two_digits(off.max())} nats; then they settle down at zero."
    )


def pareto_k_by_image(evidence: Evidence) -> Figure:
    """The k-hat of each image's weights against the standard error that they report."""
    k, error = numbers(evidence.pareto_k), numbers(evidence.std_error)
    known = ~np.isnan(k)
    limit = evidence.pareto_k_limit
    bad = k > limit
    finite = k[np.isfinite(k)].tolist()
    high = max([1.0, *finite]) + 0.1
    fig, ax = new_figure(7.5, 3.6)
    ax.axhspan(limit, high, color=GREY, alpha=0.15, lw=0)
    ax.axhline(limit, color=BLACK, ls="--", lw=1)
    ax.annotate(
        "error not to be trusted", (0.99, limit), (0, 4), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", fontsize=9,
    )  # fmt: skip
    for those, marker, colour in ((known & ~bad, "o", BLUE), (bad & np.isfinite(k), "^", ORANGE)):
        ax.plot(error[those], k[those], marker, color=colour, ms=5, alpha=0.8)
    if (endless := np.isposinf(k)).any():
        ax.plot(error[endless], np.full(endless.sum(), high), "^", color=BLACK, ms=7, clip_on=False, label="infinite")
        ax.legend(loc="upper left")
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    ax.minorticks_off()
    ax.set(xlabel="standard error of log p(x) (nats)", ylabel="k-hat", ylim=(min([0.4, *finite]) - 0.1, high))
    n_bad, n_known = int(bad.sum()), int(known.sum())
    set_title(ax, f"k-hat is above {limit:.2f} for {n_bad} of {n_known} images ({n_bad / max(n_known, 1):.0%})")
    return fig.describe(
        "A marker for each image: k-hat of its weights against the standard error of log p(x) in nats, logarithmic "
        f"axis. {n_bad} of {n_known} are triangles in the grey area above a dashed line at {limit:.2f}, where the "
        "error is not to be trusted, at small standard errors as well as at large ones."
    )


def fits_of_posterior(
    log_joint: Callable[[Tensor], Tensor], fits: Sequence[tuple[Tensor, Tensor]], reach: float = 1.8
) -> Figure:
    """A posterior of two dimensions, and the Gaussians of a fit: ellipses of two standard deviations.

    Args:
        log_joint: log p(x, z) up to a constant, ``[n]``, of ``z`` ``[n, 2]``.
        fits: mean ``[2]`` and covariance ``[2, 2]`` of each round, where it started first.
        reach: the plane goes from -reach to reach.
    """
    line = torch.linspace(-reach, reach, 201)
    log_p = numbers(log_joint(torch.cartesian_prod(line, line))).reshape(201, 201).T
    density = np.exp(log_p - log_p.max())
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = 2 * np.stack([np.cos(angle), np.sin(angle)])
    fig, axes = new_figure(2.3 * len(fits), 2.9, len(fits), sharey=True)
    for number, (ax, (mean, covariance)) in enumerate(zip(np.atleast_1d(axes), fits, strict=True)):
        ax.contourf(numbers(line), numbers(line), density, levels=np.linspace(0, 1, 11).tolist(), cmap="Greys")
        ellipse = numbers(mean)[:, None] + np.linalg.cholesky(numbers(covariance)) @ circle
        ax.plot(*ellipse, color=BLUE if number else ORANGE, lw=1.8, label="Gaussian, two standard deviations")
        ax.set(aspect="equal", xlabel="z₁", xlim=(-reach, reach), ylim=(-reach, reach))
        set_title(ax, f"After {number} round{'s' * (number != 1)}" if number else "Where it starts")
    np.atleast_1d(axes)[0].set_ylabel("z₂")
    legend_below(fig, np.atleast_1d(axes)[-1], 1)
    return fig.describe(
        f"{len(fits)} maps of the same plane, z₁ and z₂: a posterior in shades of grey, and over it the ellipse of two "
        "standard deviations of a Gaussian, where it starts and after each round of the fit. The first is off the "
        "posterior; from the first round on it lies over it, and leans as it does."
    )


def proposals_compared(evidence: Mapping[str, Evidence]) -> Figure:
    """What different proposals make of the same images, with as many draws each; the first is the one to compare with.

    Left, the difference in mean log p(x), with its error from the spread over images; middle, the effective sample size
    of each image; right, for how many images k-hat warns.
    """
    fig, (left, middle, right) = new_figure(11, 1.5 + 0.42 * len(evidence), 3, sharey=True)
    reference, base = next(iter(evidence.items()))
    for y, found in enumerate(evidence.values()):
        gain = Estimate.from_values(numbers(found.per_image - base.per_image))
        left.errorbar(gain.value, y, xerr=2 * gain.std_error, fmt="o", color=BLUE, capsize=4)
        share = numbers(found.ess) / found.n_samples
        middle.plot(share, np.full(len(share), y), "|", color=GREY, alpha=0.6, ms=9)
        middle.plot(np.median(share), y, "D", color=BLUE, ms=6)
        k = numbers(found.pareto_k)
        n_bad, n_known = int((k > found.pareto_k_limit).sum()), int((~np.isnan(k)).sum())
        right.barh(y, n_bad / max(n_known, 1), 0.6, color=ORANGE, hatch=HATCHES[1], edgecolor="white")
        right.annotate(
            f"{n_bad} of {n_known}", (n_bad / max(n_known, 1), y), (4, 0), textcoords="offset points", va="center",
            fontsize=9,
        )  # fmt: skip
    left.axvline(0, color=BLACK, ls="--", lw=1)
    _names(left, list(evidence))
    left.set_xlabel(f"less that of {reference} (nats), ± 2 std. errors")
    set_title(left, "Mean log p(x)")
    middle.set(xscale="log", xlabel="ESS / n of each image (◆ their median)")
    middle.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    set_title(middle, "Effective share of the draws")
    right.set(xlim=(0, 1.25), xticks=[0, 0.5, 1], xlabel="share of images")
    right.xaxis.set_major_formatter(PercentFormatter(1))
    set_title(right, f"k-hat above {base.pareto_k_limit:.2f}")
    in_words = "; ".join(
        f"{name} {two_digits(float((found.per_image - base.per_image).mean()))} nats and "
        f"{two_digits(100 * float(found.ess.median()) / found.n_samples)} %"
        for name, found in evidence.items()
    )
    return fig.describe(
        f"Three panels with a row for each proposal. Left, the gain in mean log p(x) over {reference} in nats, with "
        "bars of two standard errors; middle, the effective share of the draws for each image, logarithmic axis, with "
        f"the median; right, the share of images with too high a k-hat. Gain and median share: {in_words}."
    )


def sandwich(xlabel: str, bounds: Mapping[int, tuple[Tensor, Tensor]], reference: Estimate | None = None) -> Figure:
    """Lower and upper bounds on log p(x) of the same images.

    Left and middle, their means, less the middle of the last pair, image by image; right, the last gap of each image.

    Args:
        xlabel: what the bounds depend on.
        bounds: lower and upper bounds of each image in nats, ``value -> ([images], [images])``, from loose to tight.
        reference: the mean of log p(x) over these images, estimated in another way.
    """
    pairs = np.array([[numbers(lower), numbers(upper)] for lower, upper in bounds.values()])
    # Images differ by many nats, which would hide what the bounds are about: how far apart they are.
    middle = pairs[-1].mean(0)
    around = pairs - middle
    means = around.mean(-1)
    errors = around.std(-1, ddof=1) / math.sqrt(pairs.shape[-1])
    xs = list(bounds)
    gaps = [Estimate.from_values(upper - lower) for lower, upper in pairs]
    fig, axes = new_figure(11, 3.7, 3)
    for ax, start, gap, when in (
        (axes[0], 0, gaps[0], "Mean gap at first"),
        (axes[1], len(xs) // 2, gaps[-1], "and at the end"),
    ):
        shown = slice(start, None)
        ax.fill_between(xs[shown], *means[shown].T, color=GREY, alpha=0.2, lw=0)
        for side, name, colour, marker in ((1, "upper bound", ORANGE, "v--"), (0, "lower bound", BLUE, "^-")):
            ax.errorbar(
                xs[shown], means[shown, side], 2 * errors[shown, side], fmt=marker, color=colour, capsize=3,
                label=f"{name}, ± 2 standard errors",
            )  # fmt: skip
        if reference is not None:
            centre, band = reference.value - middle.mean(), 2 * reference.std_error
            ax.axhspan(centre - band, centre + band, color=GREEN, alpha=0.3, lw=0)
            ax.axhline(centre, color=GREEN, ls=":", label="importance sampling, ± 2 standard errors")
        log_ticks(ax, xs[shown])
        ax.set_xlabel(xlabel)
        set_title(ax, f"{when}: {value_with_error(gap.value, gap.std_error)} nats")
    axes[0].set_ylabel("bound on log p(x), less the middle\nof the last two (nats per image)")
    last = np.sort(pairs[-1, 1] - pairs[-1, 0])[::-1]
    axes[2].bar(range(1, len(last) + 1), last, color=BLUE)
    axes[2].axhline(0, color=BLACK, lw=0.8)
    axes[2].set(xlabel="images, the widest gap first", ylabel="gap at the end (nats)")
    set_title(axes[2], f"Gap of each image, half below {np.median(last):.2g}")
    legend_below(fig, axes[0], 3)
    beside = "" if reference is None else " A band marks importance sampling."
    return fig.describe(
        f"Upper and lower bounds on mean log p(x) in nats against {xlabel}, logarithmic axis, less their middle at the "
        f"end, with bars of two standard errors; the second panel enlarges the last of them.{beside} The gap goes from "
        f"{two_digits(gaps[0].value)} at {xs[0]:,} to {two_digits(gaps[-1].value)} at {xs[-1]:,}. Right, bars of the "
        f"gap of each image at the end: the widest is {two_digits(last[0])} nats, the median "
        f"{two_digits(np.median(last))}."
    )


def annealing(
    walks: Mapping[int, tuple[Tensor, Sequence[float]]],
    log_likelihood: Callable[[Tensor], Tensor],
    exact: float,
    title: str,
) -> Figure:
    """Annealing from N(0, 1) in one dimension: the densities on the way with a chain among them, and the log-weights.

    Args:
        walks: number of steps -> the chains' log-weights in nats, and where the first chain was after each step.
        log_likelihood: log p(x|z) in nats of z ``[n]``, ``[n]``.
        exact: log p(x) in nats.
        title: what the log-weights show.
    """
    fig, (left, right) = new_figure(10, 4.2, columns=2)
    n_steps = max(walks)
    z = torch.linspace(-3, 3.5, 400)
    beta = torch.arange(n_steps + 1)[:, None] / n_steps
    log_f = beta * log_likelihood(z) - z**2 / 2
    height = (log_f - log_f.amax(1, keepdim=True)).exp()
    left.imshow(
        numbers(height.T), extent=(-0.5, n_steps + 0.5, -3, 3.5), origin="lower", aspect="auto", cmap="Greys", vmax=1.6
    )
    left.plot(range(1, n_steps + 1), walks[n_steps][1], color=ORANGE, lw=1.5)
    left.set(xlabel="step", ylabel="z")
    set_title(left, f"One chain of {n_steps} steps, on the densities it passes")
    low, high = exact - 15, exact + 7
    spreads = []
    for (n, (log_w, _)), style, colour in zip(walks.items(), LINES, CYCLE, strict=False):
        logs = numbers(log_w)
        estimate = float(log_mean_exp(logs))
        outside = np.mean(logs < low)
        name = f"{n} step{'s' if n > 1 else ''}: log of the mean {estimate:.2f}"
        name += f" ({outside:.0%} below {low:.0f})" if outside >= 0.005 else ""
        spreads.append(f"{two_digits(logs.std())} nats with {n} step{'s' if n > 1 else ''}")
        right.hist(logs, bins=60, range=(low, high), histtype="step", lw=1.8, ls=style, color=colour, label=name)
    right.axvline(exact, color=BLACK, lw=1.2, label=f"log p(x), exact: {exact:.2f}")
    right.set(xlabel="log-weight (nats)", ylabel="chains")
    legend_below(fig, right, 2)
    set_title(right, title)
    return fig.describe(
        f"Left, a chain as a line, z against {n_steps} steps, over shades of grey for the densities it passes, from "
        "N(0, 1) to the posterior, which it follows. Right, histograms of log-weights in nats as outlines, one for "
        f"each number of steps, beside a line at the exact log p(x), {two_digits(exact)}. Their standard deviation is "
        f"{listed(spreads)}."
    )
