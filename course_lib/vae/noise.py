"""Where the draws of half two come from: generators that follow from a key, and how a batch shares them.

Whatever is drawn for an image, or in a step of training, comes from a generator of its own, which `keyed` makes of the
seed, the number of the image or step, and what the draws are for. So an image has the same draws in whatever batch,
block or process it comes, and a training that goes on has those that it would have had.

A model takes such a `NoiseSource` for a batch: one generator, one for each image, or a process's `Part` of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_lib.checks import whole_number

__all__ = [
    "FromCPU",
    "NoiseSource",
    "Part",
    "Purpose",
    "checked_generator",
    "for_each_image",
    "image_numbers",
    "key",
    "keyed",
    "normal",
    "uniform",
]


class Purpose(IntEnum):
    """What draws are for. Each purpose has draws of its own, so a number is never given to another one.

    Those of log p(x) belong to an image, those of training to an epoch or a step.
    """

    EVIDENCE = 0
    ANNEALING = 1
    TUNING = 2
    ANNEALING_BACK = 3
    SIMULATION = 4
    ORDER_OF_IMAGES = 5
    TRAINING_STEP = 6
    FIT = 7


@dataclass(frozen=True)
class Part:
    """One process's part of the noise of a batch that several processes share.

    Attributes:
        generator: the same in all of them: each draws for the whole batch, and keeps its part.
        batch_size: images in the whole batch.
        images: which of them are this process's.
    """

    generator: torch.Generator
    batch_size: int
    images: slice


@dataclass(frozen=True)
class FromCPU:
    """Noise for another device, drawn on the CPU and moved there, so that the two can be compared.

    Attributes:
        generator: on the CPU.
    """

    generator: torch.Generator


# One source for a batch, one for each of its images, a part of one, one on the CPU, or torch's global one.
NoiseSource = torch.Generator | Sequence[torch.Generator | None] | Part | FromCPU | None


def keyed(device: torch.device, purpose: Purpose, seed: int, number: int) -> torch.Generator:
    """A generator whose draws follow from its key, and are unrelated to those of any other.

    Args:
        device: where it draws.
        purpose: see `key`, also for the next two.
        seed: the user's.
        number: of the image, epoch or step.

    Raises:
        ValueError: see `key`.
    """
    return torch.Generator(device).manual_seed(key(purpose, seed, number))


def key(purpose: Purpose, seed: int, number: int) -> int:
    """What to seed a generator of torch's with, so that its draws follow from these three and from nothing else.

    Args:
        purpose: what the draws are for.
        seed: the user's, at least 0.
        number: of the image, epoch or step, from 0 to 2**32 - 1.

    Raises:
        ValueError: ``seed`` or ``number`` is no whole number in its range.
    """
    seed, number = whole_number("seed", seed, least=0), whole_number("the number of a draw", number, least=0)
    if number >= 2**32:  # it would take a second word, which could be taken for a purpose
        raise ValueError(f"images, epochs and steps are numbered from 0 to 2**32 - 1; got {number}.")
    # A key is its words of 32 bits, and zeros at its end do not count. Only a larger seed makes a fourth word, which
    # stands apart, or it could be taken for a number.
    high, low = divmod(seed, 2**32)
    sequence = np.random.SeedSequence((low, number, purpose), spawn_key=(high,) if high else ())
    (state,) = sequence.generate_state(1, np.uint64)
    return int(state) >> 1


def image_numbers(first_image: int, n_images: int) -> range:
    """The numbers of images, from which their draws follow.

    Raises:
        ValueError: one of them is no whole number from 0 to 2**32 - 1.
    """
    first = whole_number("first_image", first_image, least=0)
    if first + n_images > 2**32:
        raise ValueError(f"images have numbers from 0 to 2**32 - 1; got first_image = {first} and {n_images:,} images.")
    return range(first, first + n_images)


def normal(shape: Sequence[int], source: NoiseSource, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Standard normal noise ``[..., batch, dim]``.

    Raises:
        ValueError: there are not as many generators as images, or one is no torch.Generator, or on another device.
    """
    if isinstance(source, Part):
        whole = (*shape[:-2], source.batch_size, shape[-1])
        generator = checked_generator(source.generator, device)
        return torch.randn(whole, generator=generator, device=device, dtype=dtype)[..., source.images, :]
    if isinstance(source, FromCPU):
        return torch.randn(tuple(shape), generator=source.generator, dtype=dtype).to(device)
    if not isinstance(source, Sequence):
        return torch.randn(tuple(shape), generator=checked_generator(source, device), device=device, dtype=dtype)
    each, of_one = for_each_image(source, shape[-2]), (*shape[:-2], shape[-1])
    generators = [checked_generator(one, device) for one in each]
    return torch.stack([torch.randn(of_one, generator=one, device=device, dtype=dtype) for one in generators], dim=-2)


def uniform(shape: Sequence[int], source: NoiseSource, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Noise between 0 and 1, ``[..., batch]``, drawn image by image.

    Raises:
        ValueError: there are not as many generators as images, the source is a part of a batch's, or one is no
            torch.Generator, or on another device.
    """
    each, of_one = for_each_image(source, shape[-1]), tuple(shape[:-1])
    generators = [checked_generator(one, device) for one in each]
    return torch.stack([torch.rand(of_one, generator=one, device=device, dtype=dtype) for one in generators], dim=-1)


def checked_generator(generator: Any, device: torch.device) -> torch.Generator | None:
    """``generator``.

    Raises:
        ValueError: it is neither a generator of torch's nor None, or it is on another device.
    """
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(
            f"a source of draws must be a generator, such as torch.Generator().manual_seed(0); got {generator!r}."
        )
    if generator is not None and generator.device.type != device.type:
        raise ValueError(
            f"the generator is on {generator.device} and draws are made on {device}; make it there: "
            "torch.Generator(device)."
        )
    return generator


def for_each_image(source: NoiseSource, batch: int) -> Sequence[torch.Generator | None]:
    """The source of noise of each image, which may be the same for all.

    Raises:
        ValueError: there are not as many generators as images, or the source is a part of a batch's.
    """
    if isinstance(source, Part | FromCPU):
        raise ValueError("these draws are made image by image: give a generator for each, not one for a batch.")
    if not isinstance(source, Sequence):
        return [source] * batch
    if len(source) != batch:
        raise ValueError(f"one generator for each of {batch} images is needed; got {len(source)}.")
    return source
