"""Bits from intensities: drawn anew for training, and once for all for evaluation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from course_lib.checks import whole_number

__all__ = ["BINARIZATION_SEED", "binarization_entropy", "binarize", "fixed_binarization"]

BINARIZATION_SEED = 0


def binarize(intensities: Tensor, generator: torch.Generator | None = None, *, check: bool = True) -> Tensor:
    """Draw black-and-white images: a pixel is 1 with a probability equal to its intensity.

    Every call draws anew. Training on fresh draws keeps a model from learning one binarization by heart.

    Args:
        intensities: in [0, 1], any shape, floating.
        generator: on the device of ``intensities``; torch's global one unless given.
        check: look at the intensities. A step of training does not, because a look makes a GPU wait for the CPU.

    Returns:
        Zeros and ones, the shape of ``intensities``, float32.

    Raises:
        ValueError: ``intensities`` is no tensor of floating type; with ``check``, an intensity is ``nan`` or outside
            [0, 1]; or ``generator`` is no torch.Generator, or on another device.

    Source: [Salakhutdinov2008].
    """
    _check_intensities(intensities, values=check)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(f"generator must be torch.Generator().manual_seed(0) or the like; got {generator!r}.")
    if generator is not None and generator.device.type != intensities.device.type:
        raise ValueError(
            f"the generator is on {generator.device} and the intensities are on {intensities.device}; "
            "make it there: torch.Generator(device)."
        )
    # Several times faster than torch.bernoulli on a CPU, and exact to the 2^-24 of a float32.
    uniform = torch.rand(intensities.shape, generator=generator, device=intensities.device)
    return (uniform < intensities.to(torch.float32)).to(torch.float32)


def fixed_binarization(intensities: Tensor, seed: int = BINARIZATION_SEED) -> Tensor:
    """The one binarization that models are evaluated on: the same pixels on every machine.

    The first n images come out alike whether or not others follow them.

    Args:
        intensities: in [0, 1], any shape, floating, on any device.
        seed: at least 0; another seed is another binarization.

    Returns:
        Zeros and ones, shape and device of ``intensities``, float32.

    Raises:
        ValueError: ``intensities`` is no tensor of floating type, an intensity is ``nan`` or outside [0, 1], or
            ``seed`` is no whole number of at least 0.
    """
    _check_intensities(intensities)
    seed = whole_number("seed", seed, least=0)
    # NumPy's draws do not depend on device or number of threads, as torch's may.
    uniform = np.random.default_rng(seed).random(tuple(intensities.shape), dtype=np.float32)
    return (torch.from_numpy(uniform).to(intensities.device) < intensities.to(torch.float32)).to(torch.float32)


def binarization_entropy(intensities: Tensor) -> Tensor:
    r"""Randomness of `binarize`, in nats per image; no model's average log p(x) can exceed minus the average of it.

    .. math:: \sum_d -p_d \log p_d - (1 - p_d) \log (1 - p_d)

    Args:
        intensities: in [0, 1], ``[N, ...]``, floating.

    Returns:
        Nats, ``[N]``, float64.

    Raises:
        ValueError: ``intensities`` is no tensor of floating type, has no axis of images, or an intensity is ``nan`` or
            outside [0, 1].
    """
    _check_intensities(intensities)
    if intensities.ndim < 2:
        raise ValueError(f"intensities must have shape [N, ...], image by image; got {list(intensities.shape)}.")
    p = intensities.to(torch.float64)
    return (torch.special.entr(p) + torch.special.entr(1 - p)).flatten(1).sum(1)


def _check_intensities(intensities: Tensor, values: bool = True) -> None:
    if not isinstance(intensities, Tensor) or not intensities.is_floating_point():
        kind = intensities.dtype if isinstance(intensities, Tensor) else f"a {type(intensities).__name__}"
        raise ValueError(f"intensities must be a tensor of floating type, such as float32; got {kind}.")
    if intensities.numel() == 0 or not values:
        return
    low, high = (bound.item() for bound in intensities.detach().aminmax())
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"intensities must lie in [0, 1], without nan; these go from {low:g} to {high:g}. "
            "Divide levels by their largest."
        )
