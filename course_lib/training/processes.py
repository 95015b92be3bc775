"""Several processes that train or evaluate as one, started by torchrun.

Each takes a part of every batch. To agree with a single process, each draws the noise of the whole batch and keeps
its part, and gradients are averaged before each step.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["average_gradients", "count", "gathered", "group", "is_first", "mean", "my_part"]


@contextmanager
def group(device_type: str = "cpu") -> Iterator[None]:
    """Join the processes that torchrun started; nothing at all in a process that runs alone.

    Raises:
        ValueError: the processes cannot work together on such devices.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if device_type == "mps":
        raise ValueError("several processes work together on CPUs or on CUDA GPUs, not on mps: add --device cpu.")
    if device_type == "cuda":
        mine, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if mine >= there:
            raise ValueError(f"each process needs a GPU of its own, and this machine has {there}: start {there}.")
        torch.cuda.set_device(mine)
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def count() -> int:
    """How many processes work together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this process is the one that reports and saves."""
    return _rank() == 0


def my_part(n: int) -> slice:
    """Which of ``n`` things this process takes: neighbours, so that the parts in order are the whole."""
    return slice(n * _rank() // count(), n * (_rank() + 1) // count())


def mean(part: Tensor) -> Tensor:
    """The mean over all processes, in each of them."""
    if count() == 1:
        return part
    total = part.clone()
    dist.all_reduce(total)
    return total / count()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the mean of all gradients."""
    if count() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    averaged = mean(torch.cat([g.flatten() for g in gradients]))
    for gradient, average in zip(gradients, averaged.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(average.view_as(gradient))


def gathered(part: Any) -> list[Any]:
    """Every process's part, in order."""
    if count() == 1:
        return [part]
    parts: list[Any] = [None] * count()
    dist.all_gather_object(parts, part)
    return parts
