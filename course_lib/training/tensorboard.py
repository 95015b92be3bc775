"""A training's log and pictures for TensorBoard, for those who have it installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from course_lib.training.checkpoints import CheckpointFiles

__all__ = ["tensorboard"]


def tensorboard(files: CheckpointFiles) -> Callable[[Mapping[str, Any]], None]:
    """What writes the bound, the validation and the pictures of each line of a training's log.

    Args:
        files: of the training, which has drawn the pictures by then; also where to write.

    Raises:
        ImportError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError("TensorBoard is not installed: `python -m pip install tensorboard`.") from None
    writers: list[Any] = []

    def write(record: Mapping[str, Any]) -> None:
        # Not before there is something to write: a training that cannot start leaves no empty log.
        if not writers:
            writers.append(SummaryWriter(files.tensorboard))
        for name in ("bound", "validation"):
            writers[0].add_scalar(name, record[name], record["step"])
        for name in ("samples", "reconstructions"):
            pixels = np.asarray(Image.open(files.picture(name, record["epoch"])).convert("RGB"))
            writers[0].add_image(name, pixels, record["step"], dataformats="HWC")
        writers[0].flush()

    return write
