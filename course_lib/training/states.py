"""States: what an interrupted training or evaluation has come to, in one file to go on from.

A state is not needed after that, and not read by another version of the course, whose draws may be others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from course_lib.files import write_atomically

__all__ = ["load_state", "restore", "save_state", "tensors_of"]

# Another number whenever what follows from a seed changes, or what a state holds.
_VERSION = "2"


def save_state(path: Path, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
    """Write a state, all or nothing.

    Args:
        path: the file.
        tensors: any shapes, on any device.
        progress: what else there is to know, as JSON has it.

    Raises:
        OSError: it cannot be written; the state that was there before is unharmed.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"version": _VERSION, "progress": json.dumps(progress)}
    write_atomically({path: save(contiguous, metadata=metadata)})


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the progress that `save_state` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or of another version of the course.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path} to go on from.")
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata()
            progress = json.loads(metadata["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (safetensors.SafetensorError, TypeError, KeyError, ValueError):
        raise ValueError(f"{path} is damaged, or no state of a training: remove it and start anew.") from None
    if metadata.get("version") != _VERSION:
        raise of_another_version(path)
    return tensors, progress


def of_another_version(path: Path) -> ValueError:
    """The complaint about a state whose contents are not what this version of the course writes."""
    return ValueError(f"{path} is of another version of the course: remove it and start anew.")


def tensors_of(model: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All the numbers of a model, of its averaged weights and of its optimizer, by name."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
    return tensors


def restore(
    tensors: Mapping[str, Tensor], model: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer
) -> None:
    """Put back what `tensors_of` had taken.

    Raises:
        KeyError: there are tensors of something else.
        RuntimeError: they are of another model.
    """
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    model.load_state_dict(parts["model"])
    if average is not None:
        average.load_state_dict(parts["average"])
    # As the optimizer would have made them: with the strides of their parameters.
    like = dict(enumerate(model.parameters()))
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        number, _, rest = name.partition(".")
        is_shaped = tensor.shape == like[int(number)].shape
        state.setdefault(int(number), {})[rest] = (
            torch.empty_like(like[int(number)]).copy_(tensor) if is_shaped else tensor
        )
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
