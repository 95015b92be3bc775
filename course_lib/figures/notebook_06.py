"""The figures of notebook 06: posteriors that lean, what a flow does to draws, and what flows are worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from PIL import Image
from torch import Tensor

from course_lib.estimates import Estimate
from course_lib.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LINES,
    MARKERS,
    ORANGE,
    Figure,
    legend_below,
    listed,
    new_figure,
    set_title,
    two_digits,
)
from course_lib.figures.tensors import numbers

LogDensity = Callable[[Tensor], Tensor]

_REACH = 3.0


def _plane(ax: Axes, log_density: LogDensity) -> None:
    """A density of two numbers in shades of grey, its highest point black."""
    line = torch.linspace(-_REACH, _REACH, 241)
    log_p = numbers(log_density(torch.cartesian_prod(line, line))).reshape(241, 241).T
    levels = np.linspace(0, 1, 11).tolist()
    ax.contourf(numbers(line), numbers(line), np.exp(log_p - log_p.max()), levels=levels, cmap="Greys")
    ax.set(aspect="equal", xlabel="z₁", xlim=(-_REACH, _REACH), ylim=(-_REACH, _REACH))


def leaning_posteriors(
    posteriors: Mapping[str, LogDensity], gaussians: Mapping[str, tuple[Tensor, Tensor]], titles: Sequence[str]
) -> Figure:
    """Posteriors of two numbers, and the best Gaussian without correlations for each.

    Args:
        posteriors: log p(x, z) up to a constant, ``name -> (z [n, 2] -> [n])``.
        gaussians: mean and standard deviation of each Gaussian, ``name -> ([2], [2])``.
        titles: of the panels, and what they claim.
    """
    fig, axes = new_figure(4.2 * len(posteriors), 4.4, len(posteriors), sharey=True)
    angle = np.linspace(0, 2 * np.pi, 200)
    for ax, title, (name, log_joint) in zip(axes, titles, posteriors.items(), strict=True):
        _plane(ax, log_joint)
        mean, std = map(numbers, gaussians[name])
        ax.plot(
            mean[0] + 2 * std[0] * np.cos(angle), mean[1] + 2 * std[1] * np.sin(angle), color=BLUE, lw=2,
            label="the best Gaussian without correlations, two standard deviations",
        )  # fmt: skip
        set_title(ax, title)
    axes[0].set_ylabel("z₂")
    legend_below(fig, axes[-1], 1)
    sizes = listed(
        f"{name}: {two_digits(2 * float(std[0]))} by {two_digits(2 * float(std[1]))}"
        for name, (_, std) in gaussians.items()
    )
    return fig.describe(
        f"{len(posteriors)} maps of the plane of z₁ and z₂, with a posterior in shades of grey and an upright ellipse "
        f"of two standard deviations of a Gaussian over it. It covers only a part of the posterior. Half axes of the "
        f"ellipses, {sizes}."
    )


def one_step(before: Tensor, after: Tensor, title: str) -> Figure:
    """Draws of two numbers before and after a step, ``[n, 2]`` each; markers tell on which side each began."""
    fig, axes = new_figure(7.0, 4.4, 2, sharex=True, sharey=True)
    left = numbers(before)[:, 0] < 0
    for ax, name, draws in zip(axes, ("Before the step", title), (before, after), strict=True):
        for those, marker, colour, where in ((left, "o", BLUE, "below"), (~left, "^", ORANGE, "above")):
            points = numbers(draws)[those]
            label = f"first number {where} 0"
            ax.plot(points[:, 0], points[:, 1], marker, ms=3, alpha=0.5, color=colour, label=label)
        ax.set(aspect="equal", xlabel="first number")
        set_title(ax, name)
    axes[0].set_ylabel("second number")
    legend_below(fig, axes[0], 2)
    spread = [numbers(after)[those, 1].std() for those in (left, ~left)]
    return fig.describe(
        "Two scatter plots of the same draws of two numbers, before and after a step. Before, they fill a disc. After, "
        "the first number is what it was, and the second is moved and scaled by an amount that depends on the first: "
        f"its standard deviation is {two_digits(spread[0])} for draws with a first number below 0, and "
        f"{two_digits(spread[1])} for the others."
    )


def dependencies(jacobians: Mapping[str, Tensor], title: str) -> Figure:
    """Which outputs of a flow depend on which inputs: derivatives ``[outputs, inputs]``, a panel for each."""
    fig, axes = new_figure(3.1 * len(jacobians), 3.4, len(jacobians), sharey=True)
    counts = []
    for ax, (name, tensor) in zip(np.atleast_1d(axes), jacobians.items(), strict=True):
        matrix = numbers(tensor)
        depends = np.abs(matrix) > 1e-7
        size = len(matrix)
        ax.imshow(depends, cmap="Greys", vmin=0, vmax=1.6)
        for i, j in zip(*np.nonzero(depends), strict=True):
            ax.text(j, i, "●", ha="center", va="center", color="white", fontsize=9)
        ax.set_xticks(range(size), [str(i + 1) for i in range(size)])
        ax.set_yticks(range(size), [str(i + 1) for i in range(size)])
        ax.set(xlabel="input")
        set_title(ax, name)
        counts.append(f"{name}: {int(depends.sum())} of {size * size}")
    np.atleast_1d(axes)[0].set_ylabel("output")
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    return fig.describe(
        f"{title}. {len(jacobians)} square tables, a row for each output and a column for each input, with a dot where "
        "the output depends on the input. In one step the dots fill a triangle with its diagonal; the order of the "
        f"numbers turns it round. Dots: {'; '.join(counts)}."
    )


def flows_over_posterior(log_joint: LogDensity, draws: Mapping[str, Tensor], title: str) -> Figure:
    """A posterior of two numbers, and draws of several q, ``name -> [n, 2]``, a panel for each."""
    fig, axes = new_figure(3.0 * len(draws), 4.4, len(draws), sharey=True)
    for ax, (name, points) in zip(np.atleast_1d(axes), draws.items(), strict=True):
        _plane(ax, log_joint)
        xy = numbers(points)
        ax.plot(xy[:, 0], xy[:, 1], ".", color=BLUE, ms=3, alpha=0.6)
        set_title(ax, name)
    np.atleast_1d(axes)[0].set_ylabel("z₂")
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    lower = listed(
        f"{name.splitlines()[0]} {two_digits(100 * float((points[:, 0] > points[:, 1]).float().mean()))} %"
        for name, points in draws.items()
    )
    return fig.describe(
        f"{title}. The same posterior in shades of grey, two arms that meet in a corner at the upper right, and over "
        f"it draws of each q as dots. Share of the draws in the lower arm, where half of the posterior is: {lower}."
    )


def flows_compared(rows: Sequence[Mapping[str, Any]], values: Mapping[str, Tensor], title: str) -> Figure:
    """What steps in q and in the prior add to log p(x) of test images.

    Args:
        rows: what the file ``data/ablations/flows.json`` has for each training.
        values: log p(x) of the same images by the trainings of seed 0, ``name -> [images]``.
        title: what it shows.
    """
    base = numbers(values["q0-p0"])
    means = {(row["posterior"], row["prior"], row["seed"]): row["test"] for row in _plain(rows)}
    steps = sorted({posterior for posterior, _, _ in means})
    others = sorted({seed for *_, seed in means} - {0})
    fig, ax = new_figure(7.5, 4.0)
    in_words = []
    for prior, colour, style, marker in ((0, BLUE, LINES[0], MARKERS[0]), (2, ORANGE, LINES[1], MARKERS[1])):
        found = [Estimate.from_values(numbers(values[f"q{n}-p{prior}"]) - base) for n in steps]
        name = f"{prior} steps in the prior" if prior else "the prior is N(0, I)"
        gains = [one.value for one in found]
        errors = [1.96 * one.std_error if one.std_error else 0.0 for one in found]
        x = np.arange(len(steps)) + (0.06 if prior else -0.06)
        ax.errorbar(x, gains, yerr=errors, ls=style, marker=marker, color=colour, capsize=4, label=name)
        in_words.append(f"{name} {listed(map(two_digits, gains))}")
        for seed in others:
            again = [means.get((n, prior, seed), math.nan) - means.get((0, 0, seed), math.nan) for n in steps]
            label = "the same, trained from other seeds" if (prior, seed) == (0, others[0]) else None
            ax.plot(x, again, "x", color=colour if label is None else BLUE, ms=6, label=label)
    ax.axhline(0, color=BLACK, lw=0.8, ls=":")
    ax.set_xticks(range(len(steps)), [str(n) for n in steps])
    ax.set(xlabel="steps in q(z|x)", ylabel="gain in log p(x) (nats an image)")
    legend_below(fig, ax, 3)
    set_title(ax, title)
    return fig.describe(
        f"Line chart of the gain in log p(x) of test images over the model without flows, in nats an image with 95 % "
        f"intervals from image to image, against the number of steps in q, {listed(map(str, steps))}. "
        f"Gains: {'; '.join(in_words)}."
    )


def training_log(records: Sequence[Mapping[str, float]], title: str) -> Figure:
    """The lines of a training's log: the bound on training images, and log p(x) of validation images."""
    fig, ax = new_figure(7.5, 3.4)
    epochs = [record["epoch"] for record in records]
    best = max(records, key=lambda record: record["validation"])
    for key, colour, style, name in (
        ("bound", BLUE, LINES[1] + MARKERS[1], "bound, training images"),
        ("validation", ORANGE, LINES[0] + MARKERS[0], "log p(x), validation images"),
    ):
        ax.plot(epochs, [record[key] for record in records], style, color=colour, ms=4, label=name)
    ax.axvline(best["epoch"], color=GREEN, ls=":", lw=1.5, label=f"kept: epoch {best['epoch']:.0f}")
    ax.set(xlabel="epoch", ylabel="nats an image")
    legend_below(fig, ax, 3)
    set_title(ax, title)
    first, last = records[0], records[-1]
    return fig.describe(
        f"Line chart of a training of {last['epoch']:.0f} epochs, in nats an image. The bound on training images goes "
        f"from {two_digits(first['bound'])} to {two_digits(last['bound'])}, and log p(x) of validation images from "
        f"{two_digits(first['validation'])} to {two_digits(last['validation'])}. A dotted line marks its highest, "
        f"after epoch {best['epoch']:.0f}: those weights are kept."
    )


def pictures_beside_each_other(pictures: Mapping[str, Path], what: str, title: str) -> Figure:
    """Picture files as they are, ``name -> file``, and what is on each, in words."""
    fig, axes = new_figure(4.2 * len(pictures), 4.6, len(pictures))
    for ax, (name, file) in zip(np.atleast_1d(axes), pictures.items(), strict=True):
        ax.imshow(Image.open(file).convert("RGB"), interpolation="nearest")
        ax.axis("off")
        set_title(ax, name)
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    return fig.describe(
        f"{title}. {len(pictures)} pictures beside each other, “{'” and “'.join(pictures)}”. On each of them: {what}."
    )


def shortfalls(differences: Mapping[str, Estimate], reference: str, title: str) -> Figure:
    """How far estimates of log p(x) are from another, on the mean over images, with 95 % intervals."""
    fig, ax = new_figure(7.5, 1.3 + 0.42 * len(differences))
    for y, found in enumerate(differences.values()):
        low, high = found.interval()
        ax.plot([low, high], [y, y], "|-", color=BLUE, ms=10)
        ax.plot(found.value, y, "o", color=BLUE)
    ax.axvline(0, color=BLACK, ls="--", lw=1)
    ax.set_yticks(range(len(differences)), list(differences))
    ax.set_ylim(len(differences) - 0.5, -0.5)
    ax.set_xlabel(f"estimate of log p(x), less that of {reference} (nats)")
    set_title(ax, title)
    values = "; ".join(f"{name}, {two_digits(found.value)}" for name, found in differences.items())
    return fig.describe(
        "Dots with 95 % intervals, a row for each way: the mean estimate of log p(x) less that of "
        f"{reference}, in nats, beside a dashed line at zero. {values}."
    )


def log_scales(scales: Mapping[str, Tensor], limits: tuple[float, float], title: str) -> Figure:
    """How wide models make their logistics: natural logarithms of scales, ``name -> [n]``, beside a range."""
    fig, ax = new_figure(7.5, 3.4)
    outside = []
    low = min(float(values.min()) for values in scales.values())
    high = max(float(values.max()) for values in scales.values())
    bins = np.linspace(math.floor(min(low, limits[0])), math.ceil(max(high, limits[1])), 80).tolist()
    for (name, values), colour, style in zip(scales.items(), (BLUE, ORANGE), LINES, strict=False):
        found = numbers(values).ravel()
        weights = np.full(found.shape, 1 / found.size)
        ax.hist(found, bins=bins, weights=weights, histtype="step", color=colour, ls=style, lw=1.8, label=name)
        share = ((found < limits[0]) | (found > limits[1])).mean()
        outside.append(f"{name} {two_digits(100 * float(share))} %")
    ax.axvspan(*limits, color=GREY, alpha=0.15, lw=0, label="what the limits would allow")
    ax.set(xlabel="logarithm of a logistic's scale (intensities from 0 to 1)", ylabel="share of the logistics")
    legend_below(fig, ax, 3)
    set_title(ax, title)
    return fig.describe(
        f"Histograms of the logarithm of the scale that models give their logistics, and a grey band from "
        f"{two_digits(limits[0])} to {two_digits(limits[1])}, the range that limits would allow. Outside it lie: "
        f"{listed(outside)}."
    )


def _plain(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of the trainings without normalization that came to an end."""
    return [row for row in rows if row["normalization"] == "none" and "test" in row]
