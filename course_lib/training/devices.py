"""Devices: which one trains, what a card calls it, and what makes it fast."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from course_lib.training import processes
from course_lib.training.preset import OPTIMIZERS, Preset
from course_lib.vae import LatentVariableModel

__all__ = ["choose_device", "compile_parts", "device_in_words", "make_optimizer", "tensor_float_32", "wait_for"]

# Of torch's optimizers, those that move all weights with one kernel.
_FUSED = ("adam",)


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; for ``"auto"`` the first there is of CUDA, MPS and the CPU.

    Args:
        name: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Raises:
        ValueError: it is unknown or not there, or names one GPU for several processes.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, is_there in there.items() if is_there)
    if not isinstance(name, str) or not re.fullmatch("cpu|mps|cuda(:[0-9]+)?", name):
        raise ValueError(f"there is no device {name!r}: choose auto, cpu, cuda, cuda:1 or mps.")
    kind, _, index = name.partition(":")
    if index and processes.count() > 1:
        raise ValueError(f"each process has a GPU of its own: choose cuda and not {name!r}.")
    if not there[kind] or int(index or 0) >= max(1, torch.cuda.device_count()):
        raise ValueError(f"torch finds no device {name!r} on this machine: choose auto or cpu.")
    return torch.device(name)


def device_in_words(device: torch.device) -> str:
    """A GPU's model; of any other device its kind, and the threads of the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def wait_for(device: torch.device) -> None:
    """Return when the device has done what it was told to, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def make_optimizer(preset: Preset, parameters: Iterable[nn.Parameter], device: torch.device) -> torch.optim.Optimizer:
    """The preset's optimizer; on a CUDA GPU with all its numbers there, so that its steps can be recorded."""
    kind: Callable[..., torch.optim.Optimizer] = OPTIMIZERS[preset.optimizer]
    if device.type != "cuda":
        return kind(parameters, lr=preset.learning_rate)
    fused = {"fused": True} if preset.optimizer in _FUSED else {}
    return kind(parameters, lr=torch.tensor(preset.learning_rate, device=device), capturable=True, **fused)


def compile_parts(model: LatentVariableModel, backend: str = "inductor") -> None:
    """Let torch fuse what stands between the matrix products of a model, on the model itself.

    Draws stay outside, because torch compiles no generators. Parameters keep their names. A copy of the model would
    compute with the weights of this one: build another, and load them.
    """
    for module, method in model.compilable():
        # For one size of batch: what serves any would be slower.
        setattr(module, method, torch.compile(getattr(module, method), backend=backend, dynamic=False))


@contextmanager
def tensor_float_32(device: torch.device) -> Iterator[None]:
    """Within it a CUDA GPU rounds the factors of single-precision products to 11 bits, and is several times faster."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
