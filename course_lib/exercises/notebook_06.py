"""Checks for notebook 06, flows and images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from course_lib.datasets import Dataset
from course_lib.exercises.answers import explain, matches, number
from course_lib.exercises.tensors import tensor
from course_lib.exercises.verdict import Verdict, check, right, wrong
from course_lib.vae.distributions import standard_normal_log_prob

__all__ = ["fewest_bits", "log_density", "own_images", "passes", "step"]

Conditioner = Callable[[Tensor], tuple[Tensor, Tensor]]

# Fewer teach a network nothing but themselves.
_FEW = 40


def _conditioner(first: Tensor) -> tuple[Tensor, Tensor]:
    return 0.5 * torch.tanh(first), 0.8 * first - 0.3


def _points() -> Tensor:
    return torch.tensor([[0.4, 1.1], [-0.9, 0.6], [1.7, -0.5], [0.2, -1.3]])


@check
def step(answer: Callable[[Tensor, Conditioner], tuple[Tensor, Tensor]]) -> Verdict:
    """Exercise 1: the first number stays, the second is scaled and moved."""
    noise = _points()
    first, second = noise.unbind(-1)
    log_scale, shift = _conditioner(first)
    scale = log_scale.exp()
    expected = scale * second + shift
    result = answer(noise, _conditioner)
    if not isinstance(result, tuple | list) or len(result) != 2:
        wrong("return two things: z [n, 2] and the log-determinants [n].")
    z, log_determinant = map(tensor, result)
    if z.shape == (2, len(noise)):
        wrong("your z have shape [2, n]: put the columns together with dim=-1.")
    if z.shape == (len(noise),):
        wrong("you return the second number alone; the first belongs to z, too.")
    if z.shape != noise.shape:
        wrong(f"z should have shape {list(noise.shape)}; yours has {list(z.shape)}.")
    if not matches(z[:, 0], first, 1e-5):
        if matches(z[:, 1], first, 1e-5) and matches(z[:, 0], expected, 1e-5):
            wrong("the two columns are swapped: the first number comes first.")
        wrong("the first number stays what it was, or nothing would be left to undo the step with.")
    got = z[:, 1]
    for mistake, hint in (
        (second * log_scale + shift, "the conditioner gives the logarithm of the scale: take its exp."),
        (scale * (second + shift), "scale first, then move: your shift is scaled as well."),
        (scale * second, "the second number is scaled, but not moved: add the shift."),
        (second + shift, "the second number is moved, but not scaled: multiply it by exp of the log-scale."),
        ((second - shift) / scale, "that is the way back, from z to the noise. A step multiplies and then adds."),
        (scale * first + shift, "you scale and move the first number; take the second."),
        (scale * second - shift, "the shift is added, not subtracted."),
        (second / scale + shift, "that divides by the scale: multiply by exp of the log-scale."),
    ):
        if matches(got, mistake, 1e-5):
            wrong(hint)
    if not matches(got, expected, 1e-5):
        wrong(
            f"for noise (0.4, 1.1), a = {float(log_scale[0]):.3f} and b = {float(shift[0]):.3f} the second becomes "
            f"{float(expected[0]):.3f}; yours is {float(got[0]):.3f}."
        )
    for mistake, hint in (
        (scale, "that is the determinant; return its logarithm."),
        (-log_scale, "the sign: where a step stretches, its determinant is above one."),
        (log_scale + shift, "a shift changes no volume: leave it out of the log-determinant."),
        (2 * log_scale, "only one of the two numbers is scaled."),
    ):
        if matches(log_determinant, mistake, 1e-5):
            wrong(hint)
    if log_determinant.shape != (len(noise),):
        wrong(f"each draw has a log-determinant of its own, shape [{len(noise)}]; got {list(log_determinant.shape)}.")
    if not matches(log_determinant, log_scale, 1e-5):
        wrong("z is right. The log-determinant is the logarithm of the diagonal's product, 1 times e^a.")
    return right("invertible whatever the conditioner is, and its volume change is known without any work.")


@check
def log_density(answer: Callable[[Tensor, Conditioner], Tensor]) -> Verdict:
    """Exercise 2: undo the step, then take the volume change off."""
    z = _points()
    first, second = z.unbind(-1)
    log_scale, shift = _conditioner(first)

    def base(second: Tensor) -> Tensor:
        return standard_normal_log_prob(torch.stack([first, second], dim=-1))

    undone = (second - shift) * torch.exp(-log_scale)
    expected = base(undone) - log_scale
    got = tensor(answer(z, _conditioner))
    if got.shape != (len(z),):
        wrong(f"there is one log-density a point, shape [{len(z)}]; got {list(got.shape)}.")
    redone = second * log_scale.exp() + shift
    for mistake, hint in (
        (base(undone) + log_scale, "the sign of the volume change: where the step stretches, draws lie thinner."),
        (base(undone), "the volume change is missing: subtract the log-determinant."),
        (base(second) - log_scale, "the point is z, and the Gaussian is of the noise: undo the step first."),
        (base(second), "that is the density before the step. Undo the step, and subtract its log-determinant."),
        (base(redone) - log_scale, "you took the step once more. Undo it: subtract the shift, then divide."),
        (base(redone) + log_scale, "you took the step once more. Undo it: subtract the shift, then divide."),
        (
            base(second * torch.exp(-log_scale) - shift) - log_scale,
            "the wrong order: the step scaled and then moved, so take the shift off first.",
        ),
        (base((second - shift) / log_scale) - log_scale, "divide by the scale, which is exp of the log-scale."),
        (base(undone) - log_scale.exp(), "the log-determinant is the log-scale itself, without exp."),
        (expected.exp(), "that is the density; return its logarithm."),
    ):
        if matches(got, mistake, 1e-5):
            wrong(hint)
    if not matches(got, expected, 1e-5):
        wrong(
            f"at z = (0.4, 1.1), with a = {float(log_scale[0]):.3f} and b = {float(shift[0]):.3f}, log q is "
            f"{float(expected[0]):.4f}; yours is {float(got[0]):.4f}."
        )
    return right("with two numbers one undoing is enough; with D it takes D, one number after the other.")


@check
def passes(counted: Mapping[str, Any]) -> Verdict:
    """Exercise 3: one pass a step in the fast direction, one for each number in the other."""
    dim, posterior, prior = 50, 8, 4
    expected = {
        "draw from q": posterior,
        "density of q": posterior * dim,
        "density of prior": prior,
        "draw from prior": prior * dim,
    }
    if not isinstance(counted, Mapping):
        wrong(f"give a dictionary with the keys {', '.join(map(repr, expected))}.")
    if missing := [key for key in expected if key not in counted]:
        wrong(f"an answer is missing: {', '.join(map(repr, missing))}.")
    got = {key: number(counted[key]) for key in expected}
    if all(got[key] == value for key, value in expected.items()):
        return right("drawing from q and evaluating the prior, which training does, are fast; drawing images is slow.")
    if got == {
        "draw from q": posterior * dim, "density of q": posterior,
        "density of prior": prior * dim, "draw from prior": prior,
    }:  # fmt: skip
        wrong("all four are the wrong way round: q goes from noise to z in one pass a step.")
    if got["draw from prior"] == prior and got["density of prior"] == prior * dim:
        wrong("the prior has the steps the other way round: from z to noise is its fast direction.")
    if got["draw from q"] == posterior * dim and got["density of q"] == posterior:
        wrong("q has the fast direction from noise to z: to draw is cheap, and to find the noise of a given z is not.")
    if got["density of q"] in (dim, 1.0) or got["draw from prior"] in (dim, 1.0):
        wrong("each step has a network of its own: multiply by the number of steps.")
    if (got["density of q"], got["draw from prior"]) == (posterior * (dim - 1), prior * (dim - 1)):
        wrong("count a pass for the first number as well: its scale and shift come out of the network, too.")
    if got["draw from q"] == 1 or got["density of prior"] == 1:
        wrong("one pass is for one step; there are several, each with a network of its own.")
    if got["density of q"] in (posterior + dim, posterior**2) or got["draw from prior"] in (prior + dim, prior**2):
        wrong("on the slow way each step takes a pass for each of the 50 numbers: multiply.")
    key = next(key for key, value in expected.items() if got[key] != value)
    wrong(f"{key!r} is not {got[key]:g}. How many steps are there, and does each see all its inputs at once?")


@check
def fewest_bits(answer: Callable[[float], Any]) -> Verdict:
    """Exercise 4: the area of a logistic over the bin at its mean, in bits."""
    inputs = [(1.5,), (20.0,)]
    got = [number(answer(*args)) for args in inputs]

    def area(scale: float) -> float:
        return math.tanh(0.25 / scale)

    explain(
        got,
        inputs,
        [
            (lambda s: area(s), "that is the probability of the level. Its cost is minus the base-2 logarithm."),
            (lambda s: -math.log(area(s)), "those are nats: use math.log2."),
            (lambda s: math.log2(area(s)), "the sign: a probability below one costs bits."),
            (
                lambda s: -math.log2(math.tanh(0.5 / s)),
                "your bin is two levels wide. Its edges are half a level from the mean on either side.",
            ),
            (
                lambda s: -math.log2(math.tanh(0.25 * s)),
                "that multiplies by the scale. A wider logistic gives each level less: divide by it.",
            ),
            (
                lambda s: -math.log2(1 / (1 + math.exp(-0.5 / s))),
                "that is the area up to the right edge. Take off the area up to the left one.",
            ),
            (
                lambda s: -math.log2(1 / (4 * s)),
                "that is the height of the density at its mean. A level has the area over its bin.",
            ),
            (
                lambda s: -math.log2(1 / (1 + math.exp(-1 / s)) - 0.5),
                "your bin begins at the mean. The mean is the middle of the bin: from -1/2 to +1/2.",
            ),
        ],
        tolerance=1e-5,
    )
    for (scale,), found in zip(inputs, got, strict=True):
        exact = -math.log2(area(scale))
        if not matches(found, exact, 1e-5):
            wrong(f"with a scale of {scale:g} levels it is {exact:.4f} bits; yours is {found:.4f}.")
    return right("a floor under what any model with such a scale can reach, whatever its networks are.")


@check
def own_images(mine: Dataset) -> Verdict:
    """Exercise 5: a data set that can be trained on."""
    if not isinstance(mine, Dataset):
        wrong('give the data set itself: mine = datasets.from_folder("my_pictures").')
    channels, height, width = mine.shape
    if len(mine.train) < _FEW:
        wrong(
            f"{len(mine.train)} training images are very few: a network learns them by heart. Take {_FEW} or more; "
            "small shifts of each picture make more of them."
        )
    if max(height, width) > 128:
        wrong(f"{height} x {width} pixels take long on a processor: scale them down, to 32 or 64 a side.")
    if bool((mine.train == mine.train[:1]).all()):
        wrong("all the images are the same: was one file copied under many names?")
    shape = f"{height} x {width}, {'colour' if channels == 3 else 'grey' if mine.levels > 2 else 'black and white'}"
    halves = "images-resnet" if height % 4 == 0 and width % 4 == 0 else "images-dense"
    return right(f"{len(mine.train)} training images of {shape}. Train {halves} with for_data(PRESETS[...], mine).")
