"""A training's log for TensorBoard, for those who have it installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["tensorboard"]


def tensorboard(folder: Path) -> Callable[[Mapping[str, Any]], None]:
    """What writes the bound and the validation of each line of a training's log into ``folder``.

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
            writers.append(SummaryWriter(folder))
        for name in ("bound", "validation"):
            writers[0].add_scalar(name, record[name], record["step"])
        writers[0].flush()

    return write
