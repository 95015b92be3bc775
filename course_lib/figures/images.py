"""Small grey images side by side (notebooks 03 to 05)."""

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
    """Rows of images in [0, 1] with their names: ``name -> [n, pixels]`` or ``[n, 1, side, side]``."""
    n_columns = max(len(images) for images in rows.values())
    fig, ax = new_figure(1.6 + 0.62 * n_columns, 0.5 + 0.62 * len(rows))
    show_rows(ax, rows)
    set_title(ax, title)
    return fig.describe(f"{title}. Images beside each other, white on black. {_described(rows)}")


def _described(rows: Mapping[str, Tensor]) -> str:
    """What a text can say of rows of images: how many, how large, bits or grey, and which are the same."""
    parts = []
    known: dict[str, Tensor] = {}
    for name, images in rows.items():
        bits = bool(((images == 0) | (images == 1)).all())
        twin = next((other for other, theirs in known.items() if torch.equal(images, theirs)), None)
        what = (
            f"the same as “{twin}”" if twin else f"{len(images)} in {'black and white' if bits else 'shades of grey'}"
        )
        parts.append(f"“{name}”: {what}" if name.strip() else what)
        known[name] = images
    side = _side(next(iter(rows.values())))
    return f"Rows from the top, of {side} × {side} pixels each: {'; '.join(parts)}."


def show_rows(ax: Axes, rows: Mapping[str, Tensor]) -> None:
    """The same rows on given axes."""
    show_tiles(ax, list(rows.values()))
    height = _side(next(iter(rows.values()))) + 1
    for row, name in enumerate(rows):
        ax.text(-1.5, row * height + height / 2, name, ha="right", va="center", fontsize=9)


def show_tiles(ax: Axes, rows: Sequence[Tensor]) -> None:
    """Images side by side in one picture, with a thin frame between them and no names."""
    side = _side(rows[0])
    n_columns = max(len(images) for images in rows)
    canvas = np.full((len(rows) * (side + 1) + 1, n_columns * (side + 1) + 1), 0.72)
    for i, images in enumerate(rows):
        for j, image in enumerate(numbers(images).reshape(len(images), side, side)):
            top, left = i * (side + 1) + 1, j * (side + 1) + 1
            canvas[top : top + side, left : left + side] = image
    ax.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.axis("off")


def _side(images: Tensor) -> int:
    return math.isqrt(images[0].numel())
