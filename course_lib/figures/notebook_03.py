"""The figures of notebook 03: the ELBO, its gradients, and what a small VAE learns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.patches import Circle
from torch import Tensor

from course_lib.figures.diagrams import draw_broadcasting as draw_broadcasting
from course_lib.figures.diagrams import draw_networks as draw_networks
from course_lib.figures.diagrams import jensen as jensen
from course_lib.figures.diagrams import ways_to_be_positive as ways_to_be_positive
from course_lib.figures.images import show_rows, show_tiles
from course_lib.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    HATCHES,
    LINES,
    MARKERS,
    ORANGE,
    PURPLE,
    Figure,
    legend_below,
    listed,
    mark_what_leaves,
    new_figure,
    set_title,
    two_digits,
)
from course_lib.figures.tensors import numbers


def against_dimension(
    dims: Sequence[int],
    errors: Mapping[str, Tensor],
    ess: Mapping[str, Tensor],
    n_draws: int,
    titles: tuple[str, str],
) -> Figure:
    """How proposals fare as the latent dimension grows.

    Args:
        dims: latent dimensions.
        errors: estimated minus exact log p(x) in nats, ``proposal -> [n_dims, images]``.
        ess: effective sample sizes, the same shape.
        n_draws: draws for each image.
        titles: what the errors show, and what the sample sizes show.
    """
    fig, (left, right) = new_figure(10, 3.4, 2)
    for ax, groups in ((left, errors), (right, ess)):
        for (name, values), marker, style, colour in zip(groups.items(), MARKERS, LINES, (ORANGE, BLUE), strict=False):
            each = numbers(values)
            ax.plot(dims, each, marker, color=colour, ms=3, alpha=0.35)
            ax.plot(dims, np.median(each, axis=1), marker + style, color=colour, label=f"{name} (line: median)")
        ax.set_xscale("log", base=2)
        ax.set_xticks(dims, [str(dim) for dim in dims])
        ax.set_xlabel("numbers in z")
    left.axhline(0, color=BLACK, ls=":", lw=1)
    left.set_yscale("symlog", linthresh=0.1)
    left.set_ylabel("estimate − exact log p(x) (nats)\nlinear within ±0.1, logarithmic beyond")
    left.legend(loc="lower left", fontsize=9)
    set_title(left, titles[0])
    right.set(yscale="log", ylabel=f"effective draws out of {n_draws:,}", ylim=(0.7, 1.6 * n_draws))
    set_title(right, titles[1])
    ends = [
        f"with {name} the median error is {two_digits(float(errors[name][-1].median()))} nats and the median of the "
        f"effective draws {two_digits(float(ess[name][-1].median()))}"
        for name in errors
    ]
    return fig.describe(
        f"Two charts against the latent dimension, {dims[0]} to {dims[-1]}, logarithmic, a dot for each image and a "
        "line for their median. Left, errors of log p(x) in nats, linear within ±0.1 and logarithmic beyond. Right, "
        f"effective draws out of {n_draws:,}, logarithmic. At dimension {dims[-1]}, {listed(ends)}."
    )


def bound_as_q_moves(
    panels: Mapping[str, tuple[Tensor, Tensor, Tensor]], evidence: float, titles: tuple[str, str]
) -> Figure:
    """The ELBO, exact and sampled, as q is moved away from the posterior, and log p(x), which does not move.

    Args:
        panels: one for each of two ways of moving q, by the name of its axis: how far it was moved ``[n]``, the exact
            ELBO there ``[n]``, and log-weights ``[k, n]``, in nats.
        evidence: log p(x), exact, in nats.
        titles: what each panel shows.
    """
    fig, axes = new_figure(10, 3.6, len(panels), sharey=True)
    for ax, (name, (moves, exact, log_w)), title in zip(axes, panels.items(), titles, strict=True):
        logs, x = numbers(log_w), numbers(moves)
        k = len(logs)
        top = logs.max(0)
        w = np.exp(logs - top)
        ax.axhline(evidence, color=BLACK, ls="--", lw=1, label="log p(x), exact")
        ax.plot(x, numbers(exact), color=BLUE, label="ELBO, exact")
        ax.fill_between(
            x, numbers(exact), evidence, color=ORANGE, alpha=0.15, lw=0, label="gap: KL(q ‖ posterior)"
        )  # fmt: skip
        mean_of_logs, error = logs.mean(0), logs.std(0, ddof=1) / math.sqrt(k)
        ax.errorbar(x, mean_of_logs, 2 * error, fmt="o", color=BLUE, ms=4, capsize=2, label="mean log-weight")
        log_of_mean, error = top + np.log(w.mean(0)), w.std(0, ddof=1) / w.mean(0) / math.sqrt(k)
        ax.errorbar(
            x, log_of_mean, 2 * error, fmt="s", color=BLACK, ms=4, mfc="white", capsize=2,
            label="log of the mean weight",
        )  # fmt: skip
        ax.set_xlabel(name)
        set_title(ax, title)
    axes[0].set_ylabel("nats")
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
    widest = listed(
        f"{two_digits(evidence - numbers(exact).min())} nats over {name}" for name, (_, exact, _) in panels.items()
    )
    return fig.describe(
        "Line charts in nats. A dashed line at log p(x) stays where it is; the exact ELBO lies below it, touches it "
        f"where q is the posterior, and falls away to both sides; the gap, shaded, reaches {widest}. Markers with bars "
        "of two standard errors: mean log-weights lie on the ELBO, logs of the mean weight near the dashed line."
    )


def gradient_histograms(gradients: Mapping[str, Tensor], exact: float) -> Figure:
    """Many estimates of one gradient, for each estimator, around the exact value: ``name -> [n]``."""
    fig, axes = new_figure(10, 2.8, len(gradients), sharex=True)
    everything = np.concatenate([numbers(values) for values in gradients.values()])
    bins = np.linspace(np.quantile(everything, 0.003), np.quantile(everything, 0.997), 60).tolist()
    n_outside, in_words = 0, []
    for ax, (name, values), colour in zip(axes, gradients.items(), (ORANGE, PURPLE, BLUE), strict=False):
        estimates = numbers(values)
        ax.hist(estimates, bins, color=colour, alpha=0.6)
        ax.axvline(exact, color=BLACK, ls="--", lw=1, label=f"exact: {exact:.2f}")
        ax.axvline(estimates.mean(), color=BLACK, ls=":", lw=2, label="mean of the estimates")
        for outside, edge, marker in ((estimates < bins[0], 0.015, "<"), (estimates > bins[-1], 0.985, ">")):
            if outside.any():
                ax.plot(edge, 0.03, marker, color=BLACK, ms=7, transform=ax.transAxes, clip_on=False)
                n_outside += int(outside.sum())
        ax.set(xlabel="gradient (nats per unit)", yticks=[], xlim=(bins[0], bins[-1]))
        set_title(ax, f"{name}:\nmean {estimates.mean():.2f}, standard deviation {estimates.std(ddof=1):.2g}")
        in_words.append(f"{two_digits(estimates.std(ddof=1))} for {name}")
    axes[0].set_ylabel("estimates")
    if n_outside:
        axes[0].plot([], [], "<", color=BLACK, label=f"beyond the axis ({n_outside} estimates in all)")
    legend_below(fig, axes[0], 3)
    return fig.describe(
        f"Histograms of {len(everything) // len(gradients):,} estimates of one gradient, a panel for each estimator, "
        f"on one axis. All of them have their mean near the dashed line at the exact value {two_digits(exact)}, and "
        f"differ in their spread: the standard deviation is {listed(in_words)}."
    )


def snapshots(
    prior: Mapping[str, Tensor], posterior: Mapping[str, Tensor], originals: Tensor, titles: tuple[str, str]
) -> Figure:
    """Samples while a model learns, a row for each moment: images from the prior, and reconstructions of originals.

    Args:
        prior: ``moment -> [n, pixels]``.
        posterior: ``moment -> [n, pixels]``.
        originals: what is reconstructed, ``[n, pixels]``.
        titles: what the images from the prior show, and what the reconstructions show.
    """
    fig, axes = new_figure(10, 0.6 + 0.62 * (len(prior) + 1), 2)
    for ax, rows, title in zip(axes, (prior, {**posterior, "the image": originals}), titles, strict=True):
        show_rows(ax, rows)
        ax.set_anchor("N")
        set_title(ax, title)
    return fig.describe(
        f"Small grey images, a row for each moment of a training: {listed(prior)}. Left, drawn from the prior: "
        f"{titles[0]}. Right, reconstructions, above the images themselves in the last row: {titles[1]}."
    )


def gradient_variance(
    parts: Mapping[str, tuple[float, float]],
    batch_sizes: Sequence[int],
    measured: Mapping[int, Sequence[float]],
    titles: tuple[str, str],
) -> Figure:
    """Where the variance of a gradient comes from, and what batch size and number of samples do to it.

    Args:
        parts: variance of one image's gradient from the choice of image and from the noise, by moment of training;
            the last is what the right panel predicts with.
        batch_sizes: images in a batch.
        measured: variance of the batch gradient, a value for each batch size, by number of samples.
        titles: what the parts show, and what the batches show.
    """
    fig, (left, right) = new_figure(10, 3.4, 2, width_ratios=(2, 3))
    images, noise = np.array(list(parts.values())).T
    share = images / (images + noise)
    left.bar(list(parts), share, 0.5, color=BLUE, hatch=HATCHES[1], edgecolor="white", label="choice of images")
    left.bar(list(parts), 1 - share, 0.5, bottom=share, color=ORANGE, label="noise ε")
    left.set(xlabel="moment of training", ylabel="share of the variance", ylim=(0, 1.45), yticks=[0, 0.5, 1])
    left.legend(loc="upper center", fontsize=9)
    set_title(left, titles[0])
    grid = np.geomspace(min(batch_sizes), max(batch_sizes), 50)
    v_images, v_noise = images[-1], noise[-1]
    for (n_samples, values), style, marker, colour in zip(
        measured.items(), LINES, MARKERS, (ORANGE, GREEN, BLUE), strict=False
    ):
        right.plot(
            grid, (v_images + v_noise / n_samples) / grid, style, color=colour, label=f"L = {n_samples}, predicted"
        )
        right.plot(batch_sizes, values, marker, color=colour, label="measured")
    right.plot(grid, v_images / grid, ":", color=BLACK, label="predicted for L → ∞")
    right.set(xscale="log", yscale="log", xlabel="images in a batch, M", ylabel="variance of the gradient")
    right.legend(fontsize=9)
    set_title(right, titles[1])
    noisy = listed(f"{1 - part:.1f} {moment}" for moment, part in zip(parts, share, strict=True))
    return fig.describe(
        "Left, stacked bars of two shares of a gradient's variance, from the choice of images and from the noise; the "
        f"noise has a share of {noisy}. Right, the variance against the images in a batch, both axes logarithmic: "
        f"parallel falling lines, predicted for {listed(f'L = {n}' for n in measured)} samples and dotted for L → ∞, "
        "and measured values as markers close to them. More samples lower a line as far as the dotted one."
    )


def learning_curves(steps: Sequence[int], curves: Mapping[tuple[int, int], Sequence[float]], title: str) -> Figure:
    """Test bounds while training, for several batch sizes M and numbers of samples L: ``(M, L) -> [n_steps]``."""
    fig, ax = new_figure(7.5, 3.6)
    batches = sorted({batch for batch, _ in curves})
    samples = sorted({n for _, n in curves})
    for (batch, n_samples), values in curves.items():
        i, j = batches.index(batch), samples.index(n_samples)
        ax.plot(
            steps, values, LINES[1 - j], color=(ORANGE, BLUE)[i % 2], marker=MARKERS[i], ms=4,
            label=f"batch of {batch}, L = {n_samples}",
        )  # fmt: skip
    finals = [values[-1] for values in curves.values()]
    ax.set(xlabel="steps", ylabel="ELBO of test images (nats)", ylim=(min(finals) - 4, max(finals) + 0.5))
    mark_what_leaves(ax)
    ax.legend(loc="lower right", fontsize=9)
    set_title(ax, title)
    ranked = sorted(curves, key=lambda each: -curves[each][-1])
    return fig.describe(
        f"Line chart of the ELBO of test images in nats against training steps, {steps[0]} to {steps[-1]}, for batches "
        f"of {listed(map(str, batches))} images and L = {listed(map(str, samples))} samples. All rise steeply and then "
        "level off. At the end, from the highest: "
        f"{', '.join(f'batch {m}, L = {n} ({two_digits(curves[m, n][-1])})' for m, n in ranked)}."
    )


def latent_plane(z: Tensor, labels: Tensor, tiles: Tensor, reach: float, title: str) -> Figure:
    """Where images lie in a plane of two latent numbers, over the prior, and what the decoder makes of that plane.

    Args:
        z: one draw from q(z|x) for each image, ``[n, 2]``.
        labels: their classes, ``[n]``.
        tiles: decoded images on a grid over the plane, ``[rows, columns, pixels]``, from the top left.
        reach: the plane goes from -reach to reach.
        title: what the places of the images show.
    """
    fig, (left, right) = new_figure(10.5, 4.8, 2)
    where, classes = numbers(z), numbers(labels)
    for digit in range(int(classes.max()) + 1):
        mine = where[classes == digit]
        left.scatter(*mine.T, s=40, marker=f"${digit}$", color=f"C{digit}", lw=0.3)
    box = {"boxstyle": "square,pad=0.1", "fc": "white", "lw": 0}
    for n_std in (1, 2):
        left.add_patch(Circle((0, 0), n_std, fill=False, color=BLACK, ls="--", lw=1))
        left.text(0, n_std, f"{n_std} sd of p(z)", ha="center", va="center", fontsize=9, bbox=box)
    left.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="z₁", ylabel="z₂")
    if (far := where[(np.abs(where) > reach).any(axis=1)]).size:
        left.plot(*np.clip(far, -reach, reach).T, "^", color=BLACK, clip_on=False, label="beyond the edge")
        left.legend(loc="lower right", fontsize=9)
    set_title(left, title)
    show_tiles(right, list(tiles))
    set_title(right, "The decoder's image at each place")
    inside = float(np.mean((where**2).sum(1) < 4))
    return fig.describe(
        f"Left, the plane of two latent numbers: {len(where)} images as the digit that they show, most of them in "
        "groups that touch and mix in the middle, with circles of one and two standard deviations of the prior; "
        f"{two_digits(100 * inside)} % lie within the second. Right, {len(tiles)} rows of {tiles.shape[1]} decoded "
        "images, one for each place of the plane, whose strokes change gradually from one to the next."
    )


def covering(line: Tensor, log_prior: Tensor, log_aggregate: Tensor, title: str) -> Figure:
    """The prior, the aggregate posterior and their ratio over a plane of two latent numbers.

    Args:
        line: the values of either latent number, ``[n]``.
        log_prior: log-density of the prior, ``[n, n]``, rows for the second number.
        log_aggregate: log-density of the codes of all images, the same shape.
        title: what their ratio shows, where black lines stand for half as many images as the prior expects.
    """
    fig, axes = new_figure(11, 3.6, 3, sharey=True)
    x = numbers(line)
    prior, aggregate = np.exp(numbers(log_prior)), np.exp(numbers(log_aggregate))
    top = max(prior.max(), aggregate.max())
    for ax, density, whose in (
        (axes[0], prior, "Where the prior draws"),
        (axes[1], aggregate, "Where the images are"),
    ):
        ax.contourf(x, x, density, levels=np.linspace(0, top, 11).tolist(), cmap="Greys")
        set_title(ax, whose)
    doublings = np.clip((numbers(log_aggregate) - numbers(log_prior)) / math.log(2), -3, 3)
    shown = np.where(x[:, None] ** 2 + x[None] ** 2 <= 9, doublings, np.nan)
    picture = axes[2].contourf(x, x, shown, levels=np.linspace(-3, 3, 13).tolist(), cmap="RdBu")
    axes[2].contour(x, x, shown, levels=[-1.0], colors=BLACK, linewidths=1)
    set_title(axes[2], title)
    bar = fig.colorbar(picture, ax=axes[2], ticks=[-3, -2, -1, 0, 1, 2, 3], label="images per draw of the prior")
    bar.ax.set_yticklabels(["1/8 or less", "1/4", "1/2", "1", "2", "4", "8 or more"])
    bar.ax.set_title(" ", loc="left")
    bar.ax.set_xlabel(" ")
    for ax in axes:
        ax.set(xlabel="z₁", aspect="equal")
    axes[0].set_ylabel("z₂")
    within = np.mean(np.abs(doublings[~np.isnan(shown)]) <= 1)
    return fig.describe(
        "Three maps of the plane of two latent numbers. Left, the round prior; middle, the aggregate posterior, less "
        "even and not quite round; right, their ratio on a scale of doublings, from 1/8 or less in red to 8 or more "
        f"in blue, within three standard deviations. It lies between one half and two on {within:.0%} of that disc; "
        "black lines go round places where it is below one half."
    )


def kl_by_dimension(kl: Tensor, title: str) -> Figure:
    """How much each latent number says about an image on average, sorted: ``[latent_dim]`` nats."""
    fig, ax = new_figure(6.5, 2.8)
    values = np.sort(numbers(kl))[::-1]
    ax.bar(range(1, len(values) + 1), values, color=BLUE)
    ax.set(xlabel="latent dimension, sorted", ylabel="KL(q ‖ prior) (nats)", xticks=range(1, len(values) + 1))
    set_title(ax, title)
    return fig.describe(
        f"Bars of the mean KL divergence from the prior in nats, for each of {len(values)} latent dimensions, the "
        f"largest first. They fall from {two_digits(values[0])} to {two_digits(values[-1])}; "
        f"{int((values < 0.05).sum())} of them are below 0.05."
    )


def gap_by_image(log_p: Tensor, bound: Tensor, hardest: Tensor, easiest: Tensor, title: str) -> Figure:
    """log p(x) minus ELBO for each image, against log p(x), and the images of the largest and smallest gap."""
    fig, (left, right) = new_figure(10, 3.2, 2, width_ratios=(3, 2))
    gap = numbers(log_p) - numbers(bound)
    left.plot(numbers(log_p), gap, "o", color=BLUE, ms=4, alpha=0.6)
    left.axhline(gap.mean(), color=BLACK, ls="--", lw=1, label=f"mean: {gap.mean():.2f}")
    left.set(xlabel="log p(x) (nats)", ylabel="log p(x) − ELBO (nats)", ylim=(0, None))
    left.legend()
    set_title(left, title)
    show_rows(right, {"smallest gap": easiest, "largest gap": hardest})
    set_title(right, "The images at both ends")
    return fig.describe(
        f"Left, a dot for each of {len(gap)} images: log p(x) − ELBO against log p(x), both in nats. The gaps go from "
        f"{two_digits(gap.min())} to {two_digits(gap.max())} around a dashed line at their mean, "
        f"{two_digits(gap.mean())}. Right, a row of images with the smallest gap and one with the largest."
    )
