"""The figures of notebook 03: the ELBO, its gradients, and what a small VAE learns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from torch import Tensor, nn

from course_lib.figures.images import show_rows, show_tiles
from course_lib.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    HATCHES,
    LINES,
    MARKERS,
    ORANGE,
    PURPLE,
    new_figure,
    set_title,
)
from course_lib.figures.tensors import numbers
from course_lib.vae import VAE


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
    left.set_ylabel("estimate − exact log p(x) (nats)")
    left.legend(loc="lower left", fontsize=9)
    set_title(left, titles[0])
    right.set(yscale="log", ylabel=f"effective draws out of {n_draws:,}", ylim=(0.7, 1.6 * n_draws))
    set_title(right, titles[1])
    return fig


def jensen(weights: tuple[float, float]) -> Figure:
    """Two weights, their mean, and the logarithm before and after averaging."""
    low, high = sorted(weights)
    mean = (low + high) / 2
    fig, ax = new_figure(6.5, 3.6)
    grid = np.linspace(low / 2, high * 1.2, 300)
    ax.plot(grid, np.log(grid), color=BLUE, label="log w")
    ax.plot([low, high], np.log([low, high]), "o--", color=GREY)
    ax.plot(mean, math.log(mean), "s", color=BLACK, ms=8)
    ax.plot(mean, (math.log(low) + math.log(high)) / 2, "D", color=ORANGE, ms=8)
    ax.annotate(
        "", (mean, math.log(mean)), (mean, (math.log(low) + math.log(high)) / 2), arrowprops={"arrowstyle": "<->"}
    )
    ax.annotate("log of the mean: log p(x)", (mean, math.log(mean)), (0, 10), textcoords="offset points", ha="right")
    below = (mean, (math.log(low) + math.log(high)) / 2)
    ax.annotate("mean of the logs: the ELBO", below, (8, -12), textcoords="offset points", color=ORANGE)
    ax.set(xlabel="weight w", ylabel="nats")
    set_title(ax, "The logarithm bends down: chords lie below it")
    return fig


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
    return fig


def draw_networks(model: VAE, batch_size: int) -> Figure:
    """Encoder and decoder as boxes, with the shape of what leaves each for a batch."""

    def layers(network: nn.Module) -> list[tuple[str, int]]:
        modules = list(network.children())
        linear = [i for i, module in enumerate(modules) if isinstance(module, nn.Linear)]
        names = [
            f"linear,\n{type(modules[i + 1]).__name__.lower()}" if i + 1 < len(modules) else "linear" for i in linear
        ]
        return [(name, modules[i].out_features) for name, i in zip(names, linear, strict=True)]  # type: ignore[misc]

    side = math.isqrt(model.data_dim)
    rows = {
        "encoder, φ": [
            ("image x", f"[{batch_size}, 1, {side}, {side}]"),
            ("flatten", f"[{batch_size}, {model.data_dim}]"),
            *((name, f"[{batch_size}, {n}]") for name, n in layers(model.encoder)),
            ("μ, σ =\nsoftplus(r)", f"[{batch_size}, {model.latent_dim}]"),
        ],
        "decoder, θ": [
            ("code z", f"[{batch_size}, {model.latent_dim}]"),
            *((name, f"[{batch_size}, {n}]") for name, n in layers(model.decoder)),
        ],
    }
    rows["decoder, θ"][-1] = ("linear:\nlogits", rows["decoder, θ"][-1][1])
    fig, ax = new_figure(10.5, 3.2)
    for y, colour, (name, stages) in zip((1.5, 0.0), (BLUE, GREEN), rows.items(), strict=True):
        ax.text(-0.6, y, name, ha="right", va="center", color=colour, fontsize=11)
        for x, (what, shape) in enumerate(stages):
            at_code = what.startswith(("μ", "code"))
            ax.add_patch(
                Rectangle(
                    (x - 0.42, y - 0.36), 0.84, 0.72, fc="white", lw=1.5,
                    ec=ORANGE if at_code else colour, ls="--" if at_code else "-",
                )
            )  # fmt: skip
            ax.text(x, y + 0.1, what, ha="center", va="center", fontsize=9)
            ax.text(x, y - 0.24, shape, ha="center", va="center", fontsize=7.5, family="monospace")
            if x:
                ax.annotate("", (x - 0.42, y), (x - 0.58, y), arrowprops={"arrowstyle": "-|>", "color": GREY})
    last = len(rows["encoder, φ"]) - 1
    ax.annotate("", (0, 0.36), (last, 1.14), arrowprops={"arrowstyle": "-|>", "color": ORANGE, "ls": "--"})
    ax.text(last / 2, 0.75, "z = μ + σ ε", ha="center", va="center", color=ORANGE, backgroundcolor="white")
    ax.set(xlim=(-1.5, last + 0.5), ylim=(-0.45, 1.95))
    ax.axis("off")
    set_title(ax, f"From images to logits: the shape of a batch of {batch_size} after each step")
    return fig


def ways_to_be_positive(floor: float) -> Figure:
    """Softplus, exp and the absolute value of a network's raw output, and their slopes."""
    raw = torch.linspace(-6, 6, 601, requires_grad=True)
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "softplus": torch.nn.functional.softplus, "exp": torch.exp, "absolute value": torch.abs,
    }  # fmt: skip
    fig, (left, right) = new_figure(10, 3.2, 2)
    for (name, function), style, colour in zip(functions.items(), LINES, (BLUE, ORANGE, GREY), strict=False):
        value = function(raw) + floor
        (slope,) = torch.autograd.grad(value.sum(), raw)
        left.plot(numbers(raw), numbers(value), style, color=colour, label=name)
        right.plot(numbers(raw), numbers(slope), style, color=colour, label=name)
    left.set(xlabel="raw output of the network", ylabel="standard deviation", ylim=(-0.2, 7))
    set_title(left, "All are positive; exp soon leaves the picture")
    left.legend()
    right.set(xlabel="raw output of the network", ylabel="slope", ylim=(-1.3, 7))
    set_title(right, "Only the slope of softplus stays between 0 and 1")
    return fig


def gradient_histograms(gradients: Mapping[str, Tensor], exact: float) -> Figure:
    """Many estimates of one gradient, for each estimator, around the exact value: ``name -> [n]``."""
    fig, axes = new_figure(10, 2.8, len(gradients), sharex=True)
    everything = np.concatenate([numbers(values) for values in gradients.values()])
    bins = np.linspace(np.quantile(everything, 0.003), np.quantile(everything, 0.997), 60).tolist()
    for ax, (name, values), colour in zip(axes, gradients.items(), (ORANGE, PURPLE, BLUE), strict=False):
        estimates = numbers(values)
        ax.hist(estimates, bins, color=colour, alpha=0.6)
        ax.axvline(exact, color=BLACK, ls="--", lw=1, label=f"exact: {exact:.2f}")
        ax.set(xlabel="gradient (nats per unit)", yticks=[])
        set_title(ax, f"{name}:\nstandard deviation {estimates.std(ddof=1):.2g}")
    axes[-1].legend(fontsize=9)
    return fig


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
    return fig


def draw_broadcasting(n_samples: int, batch: int, dim: int) -> Figure:
    """Means ``[batch, dim]`` and noise ``[n_samples, batch, dim]`` as sheets that broadcast to samples of z."""
    fig, ax = new_figure(10, 3.0)
    sheets = 4

    def stack(x: float, n: int, colour: str, name: str, shape: str) -> None:
        for sheet in reversed(range(n)):
            offset = 0.13 * sheet
            ax.add_patch(Rectangle((x + offset, offset), 0.9, 1.2, fc="white", ec=colour, lw=1.5))
        ax.text(x + 0.45, 0.6, name, ha="center", va="center", fontsize=13, color=colour)
        ax.text(x + 0.45, -0.2, shape, ha="center", va="center", fontsize=9, family="monospace")

    stack(0.0, 1, BLUE, "μ", f"[{batch}, {dim}]")
    ax.text(1.2, 0.6, "+", fontsize=16, ha="center", va="center")
    stack(1.5, 1, BLUE, "σ", f"[{batch}, {dim}]")
    ax.text(2.7, 0.6, "×", fontsize=16, ha="center", va="center")
    stack(3.0, sheets, ORANGE, "ε", f"[{n_samples}, {batch}, {dim}]")
    ax.text(4.65, 0.6, "=", fontsize=16, ha="center", va="center")
    stack(5.0, sheets, BLACK, "z", f"[{n_samples}, {batch}, {dim}]")
    ax.text(3.75, 1.8, f"{n_samples} sheets", fontsize=9, ha="center", color=ORANGE)
    ax.text(5.75, 1.8, f"{n_samples} sheets", fontsize=9, ha="center")
    ax.set(xlim=(-0.2, 6.6), ylim=(-0.45, 2.0), aspect="equal")
    ax.axis("off")
    set_title(ax, "The mean and the scale are used again for every sheet of noise, without being copied")
    return fig


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
    right.plot(grid, v_images / grid, ":", color=BLACK, label="L without end")
    right.set(xscale="log", yscale="log", xlabel="images in a batch, M", ylabel="variance of the gradient")
    right.legend(fontsize=9)
    set_title(right, titles[1])
    return fig


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
    ax.legend()
    set_title(ax, title)
    return fig


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
        left.scatter(*mine.T, s=28, marker=f"${digit}$", color=f"C{digit}", lw=0.3)
    for n_std in (1, 2):
        left.add_patch(Circle((0, 0), n_std, fill=False, color=BLACK, ls="--", lw=1))
        left.text(0, n_std, f"{n_std} sd of p(z)", ha="center", va="center", fontsize=8, backgroundcolor="white")
    left.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="z₁", ylabel="z₂")
    set_title(left, title)
    show_tiles(right, list(tiles))
    set_title(right, "The decoder's image at each place")
    return fig


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
    bar.ax.set_yticklabels(["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    bar.ax.set_title(" ", loc="left")
    bar.ax.set_xlabel(" ")
    for ax in axes:
        ax.set(xlabel="z₁", aspect="equal")
    axes[0].set_ylabel("z₂")
    return fig


def kl_by_dimension(kl: Tensor, title: str) -> Figure:
    """How much each latent number says about an image on average, sorted: ``[latent_dim]`` nats."""
    fig, ax = new_figure(6.5, 2.8)
    values = np.sort(numbers(kl))[::-1]
    ax.bar(range(1, len(values) + 1), values, color=BLUE)
    ax.set(xlabel="latent dimension, sorted", ylabel="KL(q ‖ prior) (nats)", xticks=range(1, len(values) + 1))
    set_title(ax, title)
    return fig


def gap_by_image(log_p: Tensor, bound: Tensor, hardest: Tensor, easiest: Tensor, title: str) -> Figure:
    """log p(x) minus ELBO for each image, against log p(x), and the images of the largest and smallest gap."""
    fig, (left, right) = new_figure(10, 3.2, 2, width_ratios=(3, 2))
    gap = numbers(log_p) - numbers(bound)
    left.plot(numbers(log_p), gap, "o", color=BLUE, ms=4, alpha=0.6)
    left.axhline(gap.mean(), color=BLACK, ls="--", lw=1, label="mean")
    left.set(xlabel="log p(x) (nats)", ylabel="log p(x) − ELBO (nats)", ylim=(0, None))
    left.legend()
    set_title(left, title)
    show_rows(right, {"smallest gap": easiest, "largest gap": hardest})
    set_title(right, "The images at both ends")
    return fig
