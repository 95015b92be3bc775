"""Diagrams of notebooks 03 and 04, which need no numbers from them: networks, shapes, and functions worth a look."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from matplotlib.patches import Circle, Rectangle
from torch import Tensor, nn

from course_lib.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    LINES,
    ORANGE,
    Figure,
    legend_below,
    mark_what_leaves,
    new_figure,
    set_title,
    two_digits,
)
from course_lib.figures.tensors import numbers
from course_lib.vae import VAE


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
    return fig.describe(
        f"The curve log w in nats against the weight w, and a dashed chord between the weights {two_digits(low)} and "
        f"{two_digits(high)}. Above their mean, {two_digits(mean)}, a square on the curve marks the log of the mean, "
        f"{two_digits(math.log(mean))}, and a diamond on the chord the mean of the logs, "
        f"{two_digits((math.log(low) + math.log(high)) / 2)}, with an arrow for the gap between them."
    )


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
            ax.text(x, y - 0.24, shape, ha="center", va="center", fontsize=8.5, family="monospace")
            if x:
                ax.annotate("", (x - 0.42, y), (x - 0.58, y), arrowprops={"arrowstyle": "-|>", "color": GREY})
    last = len(rows["encoder, φ"]) - 1
    ax.annotate("", (0, 0.36), (last, 1.14), arrowprops={"arrowstyle": "-|>", "color": ORANGE, "ls": "--"})
    ax.text(last / 2, 0.75, "z = μ + σ ε", ha="center", va="center", color=ORANGE, backgroundcolor="white")
    ax.set(xlim=(-1.5, last + 0.5), ylim=(-0.45, 1.95))
    ax.axis("off")
    set_title(ax, f"From images to logits: the shape of a batch of {batch_size} after each step")
    shapes = [
        f"{name.partition(',')[0]}: " + ", ".join(f"{what.replace(chr(10), ' ')} {shape}" for what, shape in stages)
        for name, stages in rows.items()
    ]
    return fig.describe(
        "Diagram of two rows of boxes with arrows from left to right, and the shape of what leaves each. "
        f"{'. '.join(shapes)}. A dashed arrow, z = μ + σ ε, leads from the end of the encoder to the code z."
    )


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
    mark_what_leaves(left)
    set_title(left, "The absolute value touches zero; exp grows fastest")
    legend_below(fig, left, 4)
    right.set(xlabel="raw output of the network", ylabel="slope", ylim=(-1.3, 7))
    mark_what_leaves(right)
    set_title(right, "Only the slope of softplus stays between 0 and 1")
    return fig.describe(
        "Line charts over the raw output of a network from −6 to 6, for softplus, exp and the absolute value. Left, "
        "the standard deviation that each makes of it: softplus joins exp far on the left and the absolute value on "
        "the right, while exp leaves the chart near 2. Right, their slopes: that of softplus goes smoothly from 0 to "
        "1, that of exp grows like exp, and that of the absolute value jumps from −1 to 1."
    )


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
    return fig.describe(
        f"Diagram of the sum z = μ + σ × ε in sheets of paper: μ and σ are one sheet each, of shape [{batch}, {dim}]; "
        f"the noise ε is a stack of {n_samples} sheets, [{n_samples}, {batch}, {dim}], and so is z."
    )


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
    return fig.describe(
        "Two chains of circles. The model goes down, from z₂, which is N(0, I), by p(z₁ | z₂) to z₁ and by p(x | z₁) "
        "to x. The encoder goes up, from x by q(z₁ | x) to z₁ and by q(z₂ | z₁) to z₂. x is shaded, because it is "
        "observed."
    )
