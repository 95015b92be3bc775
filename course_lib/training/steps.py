"""One step of training. It has no state, no files and no clock.

Every draw of a step, which images and which noise, follows from the preset's seed and the number of the step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from course_lib import datasets
from course_lib.training import processes
from course_lib.training.devices import tensor_float_32
from course_lib.training.preset import Preset
from course_lib.vae import LatentVariableModel
from course_lib.vae.bounds import GRADIENTS
from course_lib.vae.noise import NoiseSource, Part, Purpose, keyed
from course_lib.vae.warm_up import warmed_up

__all__ = [
    "descend",
    "learning_rate",
    "order_of_images",
    "set_learning_rate",
    "take_step",
    "update_average",
    "warmth_of",
]


def take_step(
    model: LatentVariableModel,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    preset: Preset,
    step: int,
    steps_per_epoch: int,
) -> Tensor:
    """Take one step of the optimizer: `descend`, with all that follows from the step's number.

    Args:
        model: what learns.
        optimizer: of the model's parameters.
        images: intensities of the whole batch, ``[batch, ...]``, on the model's device.
        preset: how to train.
        step: the number of this step, from 0.
        steps_per_epoch: what of it makes an epoch.

    Returns:
        The mean bound of the batch before the step, in nats; a scalar on the device.
    """
    set_learning_rate(optimizer, learning_rate(preset, step, preset.epochs * steps_per_epoch))
    generator = keyed(images.device, Purpose.TRAINING_STEP, preset.seed, step)
    return descend(model, optimizer, images, preset, warmth_of(preset, step, steps_per_epoch), generator)


def descend(
    model: LatentVariableModel,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    preset: Preset,
    warmth: float,
    generator: torch.Generator,
    noise: NoiseSource = None,
) -> Tensor:
    """Binarize a batch anew if the model is of bits, and take one step of the optimizer.

    Nothing in it waits for a GPU, so that the steps to come are ready when the GPU is; and nothing of it but its
    arguments differs from step to step, so that it can be recorded (`course_lib.training.stepper`). Several processes
    are given the same batch; each takes its part, and all take the same step.

    Args:
        model: what learns.
        optimizer: of the model's parameters; it knows the learning rate.
        images: intensities of the whole batch, ``[batch, ...]``, on the model's device.
        preset: how to train.
        warmth: of the KL divergence, see `course_lib.vae.warm_up`.
        generator: of the draws of the step.
        noise: of the draws of z, where they are not to come from the generator.

    Returns:
        The mean bound of the batch before the step, in nats; a scalar on the device.
    """
    bound = warmed_up(GRADIENTS[preset.gradient], warmth)
    if model.levels == 2:
        images = datasets.binarize(images, generator, check=False)
    mine = processes.my_part(len(images))
    x, noise = images[mine], noise or Part(generator, len(images), mine)

    optimizer.zero_grad(set_to_none=True)
    with tensor_float_32(images.device):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=preset.precision == "bfloat16"):
            value = bound(model, x, preset.k, noise).mean()
        (-value).backward()
    processes.average_gradients(model.parameters())
    if preset.largest_gradient:
        nn.utils.clip_grad_norm_(model.parameters(), preset.largest_gradient)
    optimizer.step()
    return processes.mean(value.detach())


def warmth_of(preset: Preset, step: int, steps_per_epoch: int) -> float:
    """Of the KL divergence in a step, see `course_lib.vae.warm_up`: the same for all steps of an epoch."""
    return min(1.0, (step // steps_per_epoch + 1) / (preset.kl_warm_up + 1))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set it for all parameters; in place, where a GPU keeps it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def learning_rate(preset: Preset, step: int, n_steps: int) -> float:
    """That of a step, from 0 to ``n_steps`` - 1."""
    if preset.schedule == "constant":
        return preset.learning_rate
    return preset.learning_rate * 0.5 * (1 + math.cos(math.pi * step / n_steps))


def order_of_images(n_images: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    """In which order an epoch takes the training images, ``[n_images]``, drawn on the device that trains."""
    generator = keyed(device, Purpose.ORDER_OF_IMAGES, seed, epoch)
    return torch.randperm(n_images, generator=generator, device=device)


def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the model's: ``decay`` is the part that stays."""
    # As torch.optim.swa_utils.AveragedModel does, which makes a GPU wait for its count of the steps.
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
