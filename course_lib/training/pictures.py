"""Pictures of what a model makes, as PNG files: draws from its prior, and reconstructions of images.

What is shown of a z is the mean image E[x|z]: to draw x itself would only add the noise of single pixels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from course_lib.checks import whole_number
from course_lib.vae import LatentVariableModel
from course_lib.vae.models import check_model

__all__ = ["MOST", "grid", "picture_of_reconstructions", "picture_of_samples", "reconstructions", "samples"]

Bytes = NDArray[np.uint8]

#: Images in a picture, at most: more than anyone looks at.
MOST = 1_000
# Images are made in pieces of this size whatever memory there is, because draws depend on it; on a processor, means of
# many levels are faster in small pieces, too.
_AT_ONCE = 16
# Pixels between images, and between a row of pairs and the next, in a grey that is neither paper nor ink.
_LINE, _WIDE_LINE, _GREY = 1, 3, 128
# Small images are enlarged, by a whole number, to about so many pixels.
_HEIGHT = 64


def picture_of_samples(
    model: LatentVariableModel, n: int = 64, seed: int = 0, shape: Sequence[int] | None = None
) -> bytes:
    """`samples` in a `grid`, as a PNG file.

    Raises:
        ValueError: see `samples`.
    """
    return _png(samples(model, n, seed, shape))


def picture_of_reconstructions(model: LatentVariableModel, images: Tensor, seed: int = 0) -> bytes:
    """Rows of images, and below each a row of their `reconstructions`, as a PNG file.

    Args:
        model: on the device of ``images``.
        images: as the model takes them, ``[n, channels, height, width]``, at most 1,000.
        seed: of the draws of z.

    Raises:
        ValueError: see `reconstructions`.
    """
    made = reconstructions(model, images, seed)
    return _png(_as_bytes(images, images.shape[1:]), made)


@torch.no_grad()
def samples(model: LatentVariableModel, n: int, seed: int = 0, shape: Sequence[int] | None = None) -> Bytes:
    """Mean images of draws from p(z), a few at a time in memory.

    Args:
        model: draws on its own device, on which the draws depend.
        n: how many, at most 1,000.
        seed: of the draws.
        shape: of an image, ``(channels, height, width)``; the model's own unless given, or a grey square.

    Returns:
        Levels from 0 to 255, ``[n, channels, height, width]``; of images that are neither grey nor RGB, the mean over
        their channels.

    Raises:
        ValueError: no model, ``n`` or ``seed`` out of range, or the shape of an image is not known.
    """
    check_model(model)
    n, generator = whole_number("n", n, most=MOST), _generator(model, seed)
    shape = _shape_of(model) if shape is None else shape
    pieces = [min(_AT_ONCE, n - first) for first in range(0, n, _AT_ONCE)]
    return np.concatenate(
        [_as_bytes(model.mean_image(model.sample_prior(piece, generator)), shape) for piece in pieces]
    )


@torch.no_grad()
def reconstructions(model: LatentVariableModel, images: Tensor, seed: int = 0) -> Bytes:
    """What a model makes of images: E[x|z], with one z drawn from q(z|x), a few images at a time in memory.

    Args:
        model: on the device of ``images``, on which the draws depend.
        images: as the model takes them, ``[n, channels, height, width]``, at most 1,000.
        seed: of the draws of z.

    Returns:
        Levels as those of `samples`, of the shape of ``images``.

    Raises:
        ValueError: no model, too many images or none, images that are none of its own, or ``seed`` out of range.
    """
    check_model(model)
    if images.ndim != 4:
        raise ValueError(f"images must have shape [n, channels, height, width]; got {list(images.shape)}.")
    whole_number("the number of images", len(images), most=MOST)
    generator, made = _generator(model, seed), []
    for some in images.split(_AT_ONCE):
        (z,) = model.posterior(model.checked_images(some)).rsample(1, generator)
        made.append(_as_bytes(model.mean_image(z), images.shape[1:]))
    return np.concatenate(made)


def grid(*stacks: Bytes) -> Bytes:
    """Images in rows and columns with thin lines between them, about as many of the one as of the other.

    Args:
        stacks: images ``[n, channels, height, width]``, all of one shape. Of several stacks, a row of the first stands
            above the same row of the second, and so on, and a wider line below all of them.

    Returns:
        ``[rows * height + lines, columns * width + lines, channels]``. Where the last row is not full, it is grey.
    """
    n, channels, height, width = stacks[0].shape
    n_columns = min(n, math.ceil(math.sqrt(n * len(stacks))))
    across, down = width + _LINE, height + _LINE
    # Of all stacks' rows, and of the line below them.
    below = _LINE if len(stacks) == 1 else _WIDE_LINE
    together = len(stacks) * down - _LINE + below
    picture = np.full(
        (math.ceil(n / n_columns) * together - below, n_columns * across - _LINE, channels), _GREY, np.uint8
    )
    for number, stack in enumerate(stacks):
        for i, image in enumerate(stack):
            row, column = divmod(i, n_columns)
            top, left = row * together + number * down, column * across
            picture[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return picture


def _png(*stacks: Bytes) -> bytes:
    times = max(1, _HEIGHT // stacks[0].shape[2])
    pixels = grid(*(stack.repeat(times, axis=2).repeat(times, axis=3) for stack in stacks))
    content = io.BytesIO()
    # Pillow has grey pictures without an axis of channels.
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(content, "PNG", optimize=True)
    return content.getvalue()


def _generator(model: LatentVariableModel, seed: int) -> torch.Generator:
    seed = whole_number("seed", seed, least=0, most=2**63 - 1)
    return torch.Generator(next(model.parameters()).device).manual_seed(seed)


def _shape_of(model: LatentVariableModel) -> Sequence[int]:
    side = math.isqrt(model.data_dim)
    if not hasattr(model, "shape") and side**2 != model.data_dim:
        raise ValueError(f"an image of this model has {model.data_dim} numbers, which make no square: give its shape.")
    return getattr(model, "shape", (1, side, side))


def _as_bytes(images: Tensor, shape: Sequence[int]) -> Bytes:
    """Intensities in [0, 1] as levels, ``[n, channels, height, width]`` with one channel or three."""
    images = images.detach().reshape(-1, *shape)
    if images.shape[1] not in (1, 3):
        images = images.mean(1, keepdim=True)
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
