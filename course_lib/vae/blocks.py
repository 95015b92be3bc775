"""How much of a computation is in memory at once, and in which precision it is summed up."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.vae.models import LatentVariableModel, checked_n_samples

__all__ = ["PASSES_WITH_GRADIENT", "SAMPLES_AT_ONCE", "draws_per_block", "images_per_block", "to_float64"]

#: What a draw counts with its gradient in z, as passes through the decoder: forwards, and back at most twice that.
PASSES_WITH_GRADIENT = 3
#: The draws of an image must not depend on memory or device, so they come in pieces of this size everywhere.
SAMPLES_AT_ONCE = 1_000
# Numbers that a decoder has in use at once: what stays near a processor's cache, and what most GPUs have room for.
_NUMBERS_ON_CPU, _NUMBERS_ELSEWHERE = 3_200_000, 200_000_000
# For a gradient every layer keeps its values: up to eight times as many, counted for the course's checkpoints.
_KEPT_FOR_A_GRADIENT = 8


def images_per_block(model: LatentVariableModel, n_samples: int) -> int:
    """How many images `log_likelihood` takes at once, for the sake of memory."""
    return max(1, draws_per_block(model) // min(checked_n_samples(n_samples), SAMPLES_AT_ONCE))


def draws_per_block(model: LatentVariableModel, *, with_gradient: bool = False) -> int:
    """How many z go through the decoder at once: on a CPU what is fast, gradient or not, and elsewhere what fits."""
    device = next(model.parameters()).device
    if device.type == "cpu":
        return max(1, _NUMBERS_ON_CPU // model.floats_per_draw)
    numbers = _NUMBERS_ELSEWHERE
    if device.type == "cuda":
        # Of what is free, or held by torch and free, a quarter, in numbers of four bytes.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        numbers = (torch.cuda.mem_get_info(device)[0] + held) // 16
        # Some of CUDA's libraries count with 32 bits.
        numbers = min(numbers, 2**31 - 1)
    return max(1, numbers // (model.floats_per_draw * (_KEPT_FOR_A_GRADIENT if with_gradient else 1)))


def to_float64(value: Tensor) -> Tensor:
    """In double precision, in which sums are kept, and on the CPU where the device has none: Apple's GPUs."""
    return value.cpu().double() if value.device.type == "mps" else value.double()
