"""Answers as tensors, for the checks of notebooks 03 to 06."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.answers import array

__all__ = ["tensor"]


def tensor(answer: Any) -> Tensor:
    """An answer in any form that `array` takes, as numbers in double precision."""
    return torch.as_tensor(array(answer))
