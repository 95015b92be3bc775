"""Small images side by side, grey or in colour (notebooks 03 to 06)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from course_lib.figures.style import Figure, new_figure, set_title
from course_lib.figures.tensors import numbers


def image_rows(rows: Mapping[str, Tensor], title: str) -> Figure:
    """Rows of images in [0, 1] with their names.

    Args:
        rows: ``name -> [n, channels, height, width]``, or ``[n, pixels]`` of grey squares.
        title: what they show.
    """
    n_columns = max(len(images) for images in rows.values())
    fig, ax = new_figure(1.6 + 0.62 * n_columns, 0.5 + 0.62 * len(rows))
    show_rows(ax, rows)
    set_title(ax, title)
    polarity = "" if any(_shaped(images).shape[1] > 1 for images in rows.values()) else ", white on black"
    return fig.describe(f"{title}. Images beside each other{polarity}. {_described(rows)}")


def _described(rows: Mapping[str, Tensor]) -> str:
    """What a text can say of rows of images: how many, how large, bits or grey, and which are the same."""
    parts = []
    known: dict[str, Tensor] = {}
    for name, images in rows.items():
        bits = bool(((images == 0) | (images == 1)).all())
        twin = next((other for other, theirs in known.items() if torch.equal(images, theirs)), None)
        colours = "colour" if _shaped(images).shape[1] > 1 else "black and white" if bits else "shades of grey"
        what = f"the same as “{twin}”" if twin else f"{len(images)} in {colours}"
        parts.append(f"“{name}”: {what}" if name.strip() else what)
        known[name] = images
    *_, height, width = _shaped(next(iter(rows.values()))).shape
    return f"Rows from the top, of {height} × {width} pixels each: {'; '.join(parts)}."


def show_rows(ax: Axes, rows: Mapping[str, Tensor]) -> None:
    """The same rows on given axes."""
    show_tiles(ax, list(rows.values()))
    height = _shaped(next(iter(rows.values()))).shape[-2] + 1
    for row, name in enumerate(rows):
        ax.text(-1.5, row * height + height / 2, name, ha="right", va="center", fontsize=9)


def show_tiles(ax: Axes, rows: Sequence[Tensor]) -> None:
    """Images side by side in one picture, with a thin frame between them and no names."""
    shaped = [_shaped(images) for images in rows]
    *_, height, width = shaped[0].shape
    n_columns = max(len(images) for images in rows)
    canvas = np.full((len(rows) * (height + 1) + 1, n_columns * (width + 1) + 1, 3), 0.72)
    for i, images in enumerate(shaped):
        for j, image in enumerate(numbers(images)):
            top, left = i * (height + 1) + 1, j * (width + 1) + 1
            canvas[top : top + height, left : left + width] = np.moveaxis(image, 0, -1)
    ax.imshow(canvas.clip(0, 1), interpolation="nearest")
    ax.axis("off")


def _shaped(images: Tensor) -> Tensor:
    """Images as ``[n, channels, height, width]``; those that come as rows of numbers are grey squares."""
    side = math.isqrt(images[0].numel())
    return images.reshape(-1, 1, side, side) if images.ndim == 2 else images
