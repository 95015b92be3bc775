"""What p(x|z) of an image's intensities can be: one Bernoulli for each, or a distribution over their levels.

A likelihood says how many numbers a decoder has to put out for each intensity, which distribution they are the
parameters of, and where they start before training. `LIKELIHOODS` are the names that presets and cards know them by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from course_lib.checks import one_of, whole_number
from course_lib.vae.distributions import BernoulliPixels, CategoricalLevels, DiscretizedLogisticMixture

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Categorical",
    "Likelihood",
    "LogisticMixture",
    "PixelDistribution",
    "likelihood_named",
]

LIKELIHOODS = ("bernoulli", "logistic-mixture", "categorical")


class PixelDistribution(Protocol):
    """The distribution of every intensity of some images, independent of one another."""

    @property
    def mean(self) -> Tensor:
        """Expected intensities, ``[..., channels, height, width]``."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probabilities in nats of intensities ``[..., channels, height, width]``, one for each."""

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw intensities, ``[..., channels, height, width]``."""


class Likelihood(Protocol):
    """A kind of distribution for the intensities of an image."""

    @property
    def levels(self) -> int:
        """Values that an intensity can have."""

    @property
    def n_parameters(self) -> int:
        """Numbers that its distribution takes."""

    def distribution(self, parameters: Tensor) -> PixelDistribution:
        """Of ``parameters`` ``[..., channels, height, width, n_parameters]``."""

    def start(self, images: Tensor) -> Tensor:
        """Parameters ``[..., n_parameters]`` that fit images ``[n, ...]``, each intensity by itself."""


@dataclass(frozen=True)
class Bernoulli:
    """Black or white."""

    @property
    def levels(self) -> int:
        """Two."""
        return 2

    @property
    def n_parameters(self) -> int:
        """One: the logit of white."""
        return 1

    def distribution(self, parameters: Tensor) -> BernoulliPixels:
        """Of logits ``[..., 1]``."""
        return BernoulliPixels(parameters.squeeze(-1))

    def start(self, images: Tensor) -> Tensor:
        """Logits at which a pixel is white as often as it is in the images, though neither always nor never."""
        return images.mean(0).clamp(1e-3, 1 - 1e-3).logit().unsqueeze(-1)


@dataclass(frozen=True)
class LogisticMixture:
    """Levels, a few of which near each other are likely together.

    Attributes:
        levels: values that an intensity can have, at least 2.
        components: of the mixture.

    Raises:
        ValueError: ``levels`` is no whole number of at least 2, or ``components`` none of at least 1.
    """

    levels: int
    components: int

    def __post_init__(self) -> None:
        whole_number("levels", self.levels, least=2)
        whole_number("components", self.components)

    @property
    def n_parameters(self) -> int:
        """A logit, a mean and a log-scale for each component."""
        return 3 * self.components

    def distribution(self, parameters: Tensor) -> DiscretizedLogisticMixture:
        """Of all logits, then all means, then all log-scales, ``[..., 3 * components]``."""
        logits, means, log_scales = parameters.chunk(3, dim=-1)
        return DiscretizedLogisticMixture(logits, means, log_scales, levels=self.levels)

    def start(self, images: Tensor) -> Tensor:
        """Components of equal weight around the mean intensity, a tenth of the way from black to white wide."""
        mean = images.mean(0).unsqueeze(-1)
        # Some components are lighter and some darker than the mean, or they would all learn the same.
        offsets = torch.linspace(-0.5, 0.5, self.components + 2, device=mean.device, dtype=mean.dtype)[1:-1]
        means = mean + offsets
        return torch.cat([torch.zeros_like(means), means, torch.full_like(means, math.log(0.1))], dim=-1)


@dataclass(frozen=True)
class Categorical:
    """Levels, each with a probability of its own.

    Attributes:
        levels: values that an intensity can have, at least 2.

    Raises:
        ValueError: ``levels`` is no whole number of at least 2.
    """

    levels: int

    def __post_init__(self) -> None:
        whole_number("levels", self.levels, least=2)

    @property
    def n_parameters(self) -> int:
        """A logit for each level."""
        return self.levels

    def distribution(self, parameters: Tensor) -> CategoricalLevels:
        """Of the levels' logits, ``[..., levels]``."""
        return CategoricalLevels(parameters)

    def start(self, images: Tensor) -> Tensor:
        """Logarithms of how often each level is in the images, where each is counted once more than it is there."""
        level = (images * (self.levels - 1)).round().long()
        counts = torch.zeros(self.levels, *images.shape[1:], device=images.device, dtype=images.dtype)
        counts.scatter_add_(0, level, torch.ones_like(images))
        return ((counts + 1) / (len(images) + self.levels)).log().movedim(0, -1)


def likelihood_named(name: str, levels: int, components: int) -> Likelihood:
    """The likelihood of that name.

    Args:
        name: one of `LIKELIHOODS`.
        levels: values that an intensity can have: 2 for a Bernoulli, and more for the others.
        components: of the mixture; no other likelihood has any.

    Raises:
        ValueError: an unknown name, a number that is no whole one of at least 1, or levels that do not fit the name.
    """
    one_of("likelihood", name, LIKELIHOODS)
    levels, components = whole_number("levels", levels), whole_number("components", components)
    if (name == "bernoulli") != (levels == 2):
        raise ValueError(f"bits have 2 levels and a Bernoulli likelihood; got levels {levels} and {name}.")
    if name == "bernoulli":
        return Bernoulli()
    return LogisticMixture(levels, components) if name == "logistic-mixture" else Categorical(levels)
