"""What the models of half two are made of: a Gaussian over z, and three ways to give an image a probability.

- Bits, `bernoulli_log_prob`: the binarized images of notebooks 03 and 04.
- Levels, for the grey and colour images of notebook 05: `DiscretizedLogisticMixture`, a few logistic densities cut into
  one bin for each level, and `CategoricalLevels`, a free probability for each. Both are probabilities of whole numbers,
  so that their log is at most zero and can be compared between models. A density of intensities cannot: it changes with
  their unit ([Theis2016], section 3.1). `checked_levels` says whether images are levels at all.

torch.distributions has the first two. They are written out because every line of them is a line of the bounds that the
course derives, and because its Bernoulli would hold `[k, batch, pixels]` several times over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib.checks import whole_number
from course_lib.vae.noise import NoiseSource, checked_generator, normal

__all__ = [
    "BernoulliPixels",
    "CategoricalLevels",
    "DiagonalGaussian",
    "DiscretizedLogisticMixture",
    "bernoulli_log_prob",
    "checked_floating",
    "checked_levels",
    "standard_normal_log_prob",
]

_LOG_2_PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class DiagonalGaussian:
    """Independent Gaussians, as an encoder gives them: one for each image and latent dimension.

    Attributes:
        mean: ``[..., latent_dim]``.
        std: standard deviations, above zero, the same shape.
    """

    mean: Tensor
    std: Tensor

    def rsample(self, k: int, generator: NoiseSource = None) -> Tensor:
        """Draw ``[k, ..., latent_dim]`` as ``mean + std * noise``, through which gradients flow.

        Args:
            k: draws from each distribution.
            generator: source of the noise; or one for each image, where ``mean`` is ``[batch, latent_dim]`` or
                ``[k, batch, latent_dim]``, so that an image's draws are the same in whatever batch it comes.

        Raises:
            ValueError: there are not as many generators as images.

        Source: [Kingma2014], section 2.4.
        """
        return self.mean + self.std * normal((k, *self.mean.shape), generator, self.mean.device, self.mean.dtype)

    def rsample_and_log_prob(self, k: int, generator: NoiseSource = None) -> tuple[Tensor, Tensor]:
        """Draw as `rsample` does, with the log-density at the draws: ``[k, ..., latent_dim]`` and ``[k, ...]``."""
        z = self.rsample(k, generator)
        return z, self.log_prob(z)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats at ``z`` ``[..., latent_dim]``, summed over the latent dimensions."""
        return standard_normal_log_prob((z - self.mean) / self.std) - self.std.log().sum(-1)

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """See `course_lib.vae.models.NoiseMap`."""
        return self.mean + self.std * noise, self.std.log().sum(-1).expand(noise.shape[:-1])

    def to_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See `course_lib.vae.models.NoiseMap`."""
        return (z - self.mean) / self.std, self.std.log().sum(-1).expand(z.shape[:-1])

    def detached(self) -> DiagonalGaussian:
        """The same distribution, through whose parameters no gradient flows."""
        return DiagonalGaussian(self.mean.detach(), self.std.detach())

    def kl_from_standard_normal(self) -> Tensor:
        """KL(q || N(0, I)) in nats, in closed form. Source: [Kingma2014], appendix B."""
        return 0.5 * (self.mean**2 + self.std**2 - 1 - 2 * self.std.log()).sum(-1)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """Log-density in nats of N(0, I) at ``z`` ``[..., dim]``, summed over the last axis."""
    return -0.5 * (z**2).sum(-1) - 0.5 * z.shape[-1] * _LOG_2_PI


def bernoulli_log_prob(x: Tensor, hidden: Tensor, output: nn.Linear) -> Tensor:
    r"""Log-probability of pixels whose logits are ``output(hidden)``.

    .. math:: \sum_d x_d \ell_d - \log(1 + e^{\ell_d}), \quad \ell = W h + b

    The first sum is :math:`h \cdot W^T x + b \cdot x`, where :math:`W^T x` is the same for every sample of z. So only
    the second has to touch each pixel of each sample.

    Args:
        x: pixels in [0, 1], ``[batch, n_pixels]``.
        hidden: last hidden layer of the decoder, ``[k, batch, n_hidden]``.
        output: the layer that makes logits of it.

    Returns:
        ``[k, batch]``, nats.
    """
    logits = output(hidden)
    if logits.dtype != x.dtype:
        # Under autocast logits have 8 bits. The two terms of a confident pixel cancel only if both see the same ones.
        logits = logits.to(x.dtype)
        return (x * logits - functional.softplus(logits)).sum(-1)
    x_dot_logits = (hidden * (x @ output.weight)).sum(-1) + x @ output.bias
    return x_dot_logits - functional.softplus(logits).sum(-1)


@dataclass(frozen=True)
class BernoulliPixels:
    """Black or white, independently for each pixel.

    Attributes:
        logits: of white, any shape.
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """The probability of white, the shape of the logits."""
        return torch.sigmoid(self.logits)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability in nats of each pixel of ``x``, whose shape broadcasts with the logits'."""
        return x * self.logits - functional.softplus(self.logits)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw zeros and ones, the shape of the logits.

        Raises:
            ValueError: ``generator`` is no torch.Generator, or on another device.
        """
        shape, device, dtype = self.logits.shape, self.logits.device, self.logits.dtype
        generator = checked_generator(generator, device)
        return (torch.rand(shape, generator=generator, device=device, dtype=dtype) < self.mean).to(dtype)


@dataclass(frozen=True)
class DiscretizedLogisticMixture:
    r"""Intensities with known levels: a mixture of logistic densities, cut into one bin for each level.

    With means, scales and edges in units of a level, component j gives level i the probability

    .. math:: \sigma(b) - \sigma(a), \quad a = (i - 1/2 - \mu_j) / s_j, \quad b = (i + 1/2 - \mu_j) / s_j

    where the first bin is open below and the last above, so that the probabilities of all levels sum to one. It knows
    that 127 is near 128, and says so in three numbers for each component.

    All intensities, means and scales are on the scale of the images, where x = level / (levels - 1) lies in [0, 1].
    Each number of an image has its own mixture. So the three channels of a colour are independent given z, where
    PixelCNN++ predicts green from red, and blue from both.

    Values and gradients are finite wherever the mean is and however narrow or wide the component, in single precision
    from a log-scale of -80 to one of 80: there is nothing to clamp. A value is that of means rounded once more, but for
    its own last digits. Parameters in half precision, as autocast gives them, are taken to single precision first.

    Attributes:
        logits: unnormalized log-probabilities of the components, ``[..., components]``.
        means: the same shape.
        log_scales: natural logarithm of the scales, the same shape.
        levels: how many values an intensity can have.

    Raises:
        ValueError: a parameter is no tensor of floating-point numbers, the shapes differ, there is no component, or
            ``levels`` is not a whole number of at least 2.

    Source: [Salimans2017] (PixelCNN++), section 2.1.
    """

    logits: Tensor
    means: Tensor
    log_scales: Tensor
    levels: int = 256

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", whole_number("levels", self.levels, least=2))
        for name in ("logits", "means", "log_scales"):
            checked_floating(name, getattr(self, name))
        shapes = [list(each.shape) for each in (self.logits, self.means, self.log_scales)]
        if not shapes[0] == shapes[1] == shapes[2] or not shapes[0] or not shapes[0][-1]:
            raise ValueError(
                "logits, means and log_scales must have one shape, with the components on the last axis; "
                f"got {shapes[0]}, {shapes[1]} and {shapes[2]}."
            )

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability in nats of each intensity.

        It is not asked whether ``x`` are levels, which would keep a GPU waiting at each step: see `checked_levels`.

        Args:
            x: level / (levels - 1), of the parameters' shape without components, or one that broadcasts with it.

        Raises:
            ValueError: ``x`` is no tensor of floating-point numbers, or the shapes disagree.
        """
        _checked_broadcast(x, self.logits)
        logits, centres, width = self._in_levels()
        level = _level(x, self.levels).to(centres.dtype).unsqueeze(-1)
        log_up_to = functional.logsigmoid((level + 0.5 - centres) * width)
        log_beyond = functional.logsigmoid((centres - (level - 0.5)) * width)
        # sigma(b) - sigma(a) = sigma(b) sigma(-a) (1 - e^(a - b)): three factors and no difference, so that nothing
        # cancels in either tail, and each has a finite gradient where it is not wanted too.
        log_between = torch.log(-torch.expm1(-width))
        first, last = level <= 0, level >= self.levels - 1
        log_component = (
            log_up_to.masked_fill(last, 0) + log_beyond.masked_fill(first, 0) + log_between.where(~(first | last), 0)
        )
        return torch.logsumexp(logits.log_softmax(-1) + log_component, dim=-1)

    def log_probs(self) -> Tensor:
        """Log-probabilities in nats of all levels, ``[..., levels]``."""
        return self.log_prob(_all_levels(self.levels, self.logits)).movedim(0, -1)

    @torch.no_grad()
    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw an intensity from each mixture, ``[...]``: a component, a point of it, and the level whose bin it is in.

        No gradient flows through draws.

        Raises:
            ValueError: ``generator`` is no torch.Generator, or on another device.
        """
        logits, centres, width = self._in_levels()
        component = _drawn_category(logits, generator).unsqueeze(-1)
        centre, width = (each.gather(-1, component).squeeze(-1) for each in (centres, width))
        uniform = torch.rand(centre.shape, generator=generator, device=centre.device, dtype=centre.dtype)
        # A uniform of exactly 0, one of 17 million, would be a black pixel in the whitest of images.
        noise = torch.logit(uniform, eps=torch.finfo(uniform.dtype).eps / 2)
        last = self.levels - 1
        return (centre + noise / width).round().clamp(0, last) / last

    @property
    def mean(self) -> Tensor:
        """Expected intensity, ``[...]``: the share of the edges between levels that a draw lies above, on average."""
        logits, centres, width = self._in_levels()
        last = self.levels - 1
        # One edge after the other: all at once they would take `levels` times the memory.
        n_below = torch.zeros_like(centres)
        for level in range(last):
            n_below = n_below + torch.sigmoid((centres - (level + 0.5)) * width)
        return (logits.softmax(-1) * n_below).sum(-1) / last

    def _in_levels(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, means in units of a level, and the width of a level in units of the scale."""
        last = self.levels - 1
        logits, means, log_scales = (_at_least_single(each) for each in (self.logits, self.means, self.log_scales))
        return logits, means * last, torch.exp(-log_scales) / last


@dataclass(frozen=True)
class CategoricalLevels:
    """Intensities with known levels: a probability for each level, free of those of its neighbours.

    It can take any shape, at the price of a number for each level, and has to learn from data that 127 is near 128.
    Each number of an image has its own probabilities: channels are independent given z.

    Attributes:
        logits: unnormalized log-probabilities of the levels, darkest first, ``[..., levels]``.

    Raises:
        ValueError: the logits are no tensor of floating-point numbers, or there are fewer than two levels.

    Source: [Oord2016] (PixelRNN), section "Pixels as discrete variables".
    """

    logits: Tensor

    def __post_init__(self) -> None:
        checked_floating("logits", self.logits)
        if not self.logits.ndim or self.levels < 2:
            raise ValueError(
                f"logits must have at least two levels on their last axis; got shape {list(self.logits.shape)}."
            )

    @property
    def levels(self) -> int:
        """How many values an intensity can have."""
        return self.logits.shape[-1]

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability in nats of each intensity.

        Args:
            x: level / (levels - 1), of the shape of the logits without levels, or one that broadcasts with it.

        Raises:
            ValueError: ``x`` is no tensor of floating-point numbers, or the shapes disagree.
        """
        shape = _checked_broadcast(x, self.logits)
        level = _level(x, self.levels).long().expand(shape).unsqueeze(-1)
        return self.log_probs().expand(*shape, -1).gather(-1, level).squeeze(-1)

    def log_probs(self) -> Tensor:
        """Log-probabilities in nats of all levels, ``[..., levels]``."""
        return _at_least_single(self.logits).log_softmax(-1)

    @torch.no_grad()
    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw an intensity from each distribution, ``[...]``. No gradient flows through draws.

        Raises:
            ValueError: ``generator`` is no torch.Generator, or on another device.
        """
        logits = _at_least_single(self.logits)
        return _drawn_category(logits, generator).to(logits.dtype) / (self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """Expected intensity, ``[...]``."""
        logits = _at_least_single(self.logits)
        return logits.softmax(-1) @ torch.linspace(0, 1, self.levels, device=logits.device, dtype=logits.dtype)


def checked_floating(name: str, value: Any) -> Tensor:
    """``value``.

    Raises:
        ValueError: it is no tensor of floating-point numbers.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        kind = f"a tensor of {value.dtype}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise ValueError(f"{name} must be a tensor of floating-point numbers; got {kind}.")
    return value


def checked_levels(x: Tensor, levels: int) -> Tensor:
    """``x`` if each of its intensities is one of the ``levels``: level / (levels - 1), up to rounding.

    Args:
        x: images ``[batch, ...]``.
        levels: how many values an intensity can have.

    Raises:
        ValueError: ``x`` is no tensor of floating-point numbers, some intensity is none of the levels, or ``levels`` is
            not a whole number of at least 2.
    """
    last = whole_number("levels", levels, least=2) - 1
    checked_floating("intensities", x)
    found = _at_least_single(x) * last
    # Eight roundings of single precision. nan fails every comparison, so the question is whether all is well.
    is_level = ((found - found.round()).abs() <= levels * 2.0**-20) & (found.round() >= 0) & (found.round() <= last)
    if not bool(is_level.all()):
        where = tuple((~is_level).nonzero()[0].tolist())
        image = f"image {where[0]}" if where else "an image"
        raise ValueError(
            f"with {levels} levels, intensities must be whole numbers from 0 to {last}, divided by {last}; {image} has "
            f"{float(x[where]):g}, which is {float(found[where]):g} / {last}: give the model the levels of the data, "
            "and images as datasets.load(...) has them."
        )
    return x


def _checked_broadcast(x: Tensor, parameters: Tensor) -> torch.Size:
    """The shape that intensities and ``parameters``, but for their last axis, have together."""
    checked_floating("x", x)
    try:
        return torch.broadcast_shapes(x.shape, parameters.shape[:-1])
    except RuntimeError as error:
        raise ValueError(
            f"x must have shape {list(parameters.shape[:-1])}, that of the parameters without their last axis, "
            f"or one that broadcasts with it; got {list(x.shape)}."
        ) from error


def _level(x: Tensor, levels: int) -> Tensor:
    """The level of each intensity, which has only been rounded since it was divided by ``levels - 1``."""
    return (_at_least_single(x) * (levels - 1)).round()


def _all_levels(levels: int, parameters: Tensor) -> Tensor:
    """The intensities of all levels, on a new first axis that broadcasts with ``parameters`` but for their last."""
    level = torch.arange(levels, device=parameters.device, dtype=_at_least_single(parameters).dtype)
    return level.reshape(-1, *[1] * (parameters.ndim - 1)) / (levels - 1)


def _drawn_category(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw an index of the last axis for each row of ``logits``."""
    rows = logits.softmax(-1).reshape(-1, logits.shape[-1])
    return torch.multinomial(rows, 1, generator=checked_generator(generator, logits.device)).reshape(logits.shape[:-1])


def _at_least_single(x: Tensor) -> Tensor:
    # Half precision has some three digits: too few to tell 254 levels from 255.
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
