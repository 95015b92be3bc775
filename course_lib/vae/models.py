"""What every latent variable model offers: a prior p(z), a likelihood p(x|z), and a guess q(z|x) at the posterior.

`LatentVariableModel.log_weights` is the one door. It draws z from q(z|x) and returns log p(x, z) - log q(z|x): the
log-weights of importance sampling, with q as the proposal, as in the first half of the course. The ELBO is their mean,
the IWAE bound their log-mean-exp (`course_lib.vae.bounds`). log p(x) is the same with many more draws than memory
holds: `course_lib.vae.evidence` draws from the same q, unless given another, and sums as it goes. Ways to train differ
only in how they differentiate a log-weight.

Models are in `course_lib.vae.dense`, `course_lib.vae.linear_gaussian`, `course_lib.vae.image_vae` and
`course_lib.vae.ladder`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NoReturn, Protocol, runtime_checkable

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib.checks import whole_number
from course_lib.vae.distributions import DiagonalGaussian, checked_floating
from course_lib.vae.noise import NoiseSource, normal

__all__ = [
    "LatentVariableModel",
    "NoiseMap",
    "Posterior",
    "check_model",
    "check_weights",
    "checked_n_samples",
    "encoded_gaussian",
    "refuse_log_weights",
    "standard_normal",
]

# A standard deviation of exactly zero has a density of infinity.
_SMALLEST_STD = 1e-6


class Posterior(Protocol):
    """What an encoder returns: q(z|x) for a batch of images."""

    def rsample(self, k: int, generator: NoiseSource = None) -> Tensor:
        """Draw ``[k, batch, latent_dim]``, through which gradients flow."""

    def rsample_and_log_prob(self, k: int, generator: NoiseSource = None) -> tuple[Tensor, Tensor]:
        """Draw, with the log-density in nats, ``[k, batch]``, at the draws: cheaper than `log_prob` for a flow."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats, ``[k, batch]``."""

    def detached(self) -> Posterior:
        """The same distribution, through whose parameters no gradient flows."""


@runtime_checkable
class NoiseMap(Protocol):
    """A distribution as a map of standard normal noise to z: what `course_lib.vae.adapted` asks of a q(z|x).

    The map is invertible. Its log-determinant is that of the way from noise to z, in nats.
    """

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """z of noise, both ``[k, batch, latent_dim]``, and the log-determinant there, ``[k, batch]``."""

    def to_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The noise that z comes from, and the log-determinant there."""


class LatentVariableModel(nn.Module, ABC):
    """A model of images with latent variables, and an encoder to go with it.

    Parameters of q, usually called phi, are in `encoder`, and those of p, called theta, in `decoder`. Some models have
    a few more beside these networks.

    What a log-weight is made of, `posterior`, `log_prior`, `log_conditional` and `log_joint`, takes tensors as they
    are. See `checked_images` and `checked_latents` for those of unknown origin.

    Attributes:
        data_dim: numbers in an image.
        latent_dim: numbers in z.
        levels: values that an intensity can have, 2 for bits; None where it can be any number.
    """

    data_dim: int
    latent_dim: int
    levels: int | None

    @abstractmethod
    def posterior(self, x: Tensor) -> Posterior:
        """The encoder's q(z|x) of images ``[batch, ...]``."""

    @abstractmethod
    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z) in nats, ``[k, batch]``, of ``z`` ``[k, batch, latent_dim]``."""

    @abstractmethod
    def log_conditional(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z) in nats, ``[k, batch]``, of images ``[batch, ...]`` and ``z`` ``[k, batch, latent_dim]``."""

    @abstractmethod
    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``[n, latent_dim]`` from p(z).

        Raises:
            ValueError: ``n`` is no whole number of at least 1 or takes more memory than there is, or ``generator`` is
                no torch.Generator, or on another device.
        """

    @abstractmethod
    def mean_image(self, z: Tensor) -> Tensor:
        """E[x|z] ``[..., data_dim]`` for ``z`` ``[..., latent_dim]``; for bits, the probability of a one.

        Raises:
            ValueError: ``z`` is none for this model; see `checked_latents`.
        """

    @abstractmethod
    def sample_conditional(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x from p(x|z), ``[..., data_dim]``, for ``z`` ``[..., latent_dim]``.

        Raises:
            ValueError: ``z`` is none for this model, or ``generator`` is no torch.Generator, or on another device.
        """

    @property
    def floats_per_draw(self) -> int:
        """About how many numbers are in use at once for each z while p(x|z) is computed, to plan memory by."""
        return 2 * self.data_dim

    def start_from(self, images: Tensor) -> None:
        """Before training, let p(x|z) start at what can be read off the training images ``[n, ...]``.

        Raises:
            ValueError: they are no batch of images of this model's size.
        """
        self._flat(images)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) in nats, ``[k, batch]``."""
        return self.log_conditional(x, z) + self.log_prior(z)

    def compilable(self) -> list[tuple[nn.Module, str]]:
        """The methods that `torch.compile` can make faster: what stands between the draws and their log-weights.

        Draws stay outside, because torch compiles no generators.
        """
        methods: list[tuple[nn.Module, str]] = [(self, "log_conditional"), (self, "log_prior")]
        encoder = getattr(self, "encoder", None)
        if isinstance(encoder, nn.Sequential):
            methods.append((encoder, "forward"))
        return methods

    def log_weights(self, x: Tensor, k: int, generator: NoiseSource = None, *, check: bool = True) -> Tensor:
        """Draw ``k`` z from q(z|x) for each image and return log p(x, z) - log q(z|x).

        The encoder runs once for each image, whatever ``k``. A model with batch norm must be in eval mode, or the
        images of a batch would change each other's weights.

        >>> from course_lib.vae import LinearGaussianVAE, elbo, iwae_bound
        >>> model = LinearGaussianVAE.random(data_dim=5, latent_dim=2, seed=0)
        >>> log_w = model.log_weights(model.simulate(3, seed=0), k=1_000)
        >>> log_w.shape, elbo(log_w).shape, iwae_bound(log_w).shape
        (torch.Size([1000, 3]), torch.Size([3]), torch.Size([3]))

        Args:
            x: images with values in [0, 1], ``[batch, ...]``, of the parameters' dtype and on their device.
            k: samples for each image.
            generator: source of the draws, or one for each image; torch's global one unless given.
            check: look at the values of ``x`` and of the log-weights. A step of training does not, because a look
                makes a GPU wait for the CPU.

        Returns:
            Log-weights in nats, normalizing constants included, ``[k, batch]``; ``-inf`` where p(x|z) is zero.

        Raises:
            ValueError: ``k`` is no whole number of at least 1 or takes more memory than there is, or ``generator`` is
                no source for this batch; with ``check``, ``x`` is not a batch of such images, or a log-weight is
                ``nan`` or ``inf``.
        """
        if check:
            x = self.checked_images(x)
        k = checked_n_samples(k)
        what = f"z of {k:,} samples for each of {len(x):,} images"
        _check_room(self, len(x) * k * self.latent_dim, what, "use log_likelihood, which takes them a few at a time")
        q = self.posterior(x)
        z, log_q = q.rsample_and_log_prob(k, generator)
        log_w = self.log_joint(x, z) - log_q
        # nan fails every comparison, so the question is whether all is well.
        if check and not bool((log_w < torch.inf).all()):
            refuse_log_weights(self)
        return log_w

    def checked_images(self, x: Tensor) -> Tensor:
        """``x`` as ``[batch, data_dim]``.

        Raises:
            ValueError: it is no batch of images of this model's size, dtype and device, or a value is outside [0, 1].
        """
        parameter = next(self.parameters())
        x = self._flat(x)
        if x.dtype != parameter.dtype or x.device != parameter.device:
            raise ValueError(
                f"images are {x.dtype} on {x.device} and the model {parameter.dtype} on {parameter.device}: "
                "bring them together with x.to(...)."
            )
        self._check_values(x)
        return x

    def checked_latents(self, z: Tensor) -> Tensor:
        """``z``.

        Raises:
            ValueError: it is no tensor of latent variables ``[..., latent_dim]`` of this model's dtype and device.
        """
        parameter = next(self.parameters())
        z = checked_floating("z", z)
        if not z.ndim or z.shape[-1] != self.latent_dim:
            raise ValueError(f"z must have shape [..., {self.latent_dim}], latent variables last; got {list(z.shape)}.")
        if z.dtype != parameter.dtype or z.device != parameter.device:
            raise ValueError(
                f"z are {z.dtype} on {z.device} and the model {parameter.dtype} on {parameter.device}: "
                "bring them together with z.to(...)."
            )
        return z

    def _flat(self, images: Tensor) -> Tensor:
        """``images`` as ``[batch, data_dim]``, whatever their values."""
        images = checked_floating("images", images)
        if images.ndim < 2 or not images.shape[0] or images[0].numel() != self.data_dim:
            raise ValueError(
                f"images must have shape [batch, ...] with {self.data_dim} numbers an image; got {list(images.shape)}."
            )
        return images.flatten(1)

    def _check_values(self, x: Tensor) -> None:
        # nan fails both comparisons, so the question is whether all is well and not whether something is wrong
        if not bool(((x >= 0) & (x <= 1)).all()):
            image = int((~((x >= 0) & (x <= 1))).any(1).nonzero()[0])
            raise ValueError(
                f"pixels must lie between 0 and 1; image {image} has values from {x[image].min():g} "
                f"to {x[image].max():g}: divide grey levels by the largest level, and mend missing values."
            )


def check_model(model: LatentVariableModel) -> None:
    """Raise ValueError for what is no model, such as the pair that `load_checkpoint` returns."""
    if not isinstance(model, LatentVariableModel):
        raise ValueError(
            f"model must be a LatentVariableModel; got a {type(model).__name__}. "
            "A checkpoint is loaded with model, card = load_checkpoint(name)."
        )


def check_weights(model: LatentVariableModel) -> None:
    """Raise ValueError if a weight of the model is not finite, and name it."""
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ValueError(
                "log-weights are not finite: the model's weights are damaged, or its training diverged; look at "
                f"{name}."
            )


def refuse_log_weights(model: LatentVariableModel) -> NoReturn:
    """Raise the ValueError of log-weights that are not finite, which says why as far as that is known."""
    check_weights(model)
    raise ValueError(
        "log-weights are not finite, though the model's weights are: numbers overflow in p(x, z), or where z is drawn."
    )


def checked_n_samples(k: Any) -> int:
    """``k`` as an int.

    Raises:
        ValueError: it is not a whole number of at least 1.
    """
    return whole_number("the number of samples", k)


def encoded_gaussian(network_output: Tensor, dtype: torch.dtype) -> DiagonalGaussian:
    """Split ``[..., 2 * dim]`` into a mean, as it is, and a standard deviation, which a softplus makes positive."""
    mean, raw_std = network_output.to(dtype).chunk(2, dim=-1)
    return DiagonalGaussian(mean, functional.softplus(raw_std) + _SMALLEST_STD)


def standard_normal(module: nn.Module, n: int, dim: int, generator: torch.Generator | None) -> Tensor:
    """Draw ``[n, dim]`` where the parameters of ``module`` are, and in their precision.

    Raises:
        ValueError: ``n`` is no whole number of at least 1 or takes more memory than there is, or ``generator`` is on
            another device.
    """
    n, parameter = checked_n_samples(n), next(module.parameters())
    _check_room(module, n * dim, f"{n:,} draws of z", "draw fewer at a time")
    return normal((n, dim), generator, parameter.device, parameter.dtype)


def _check_room(module: nn.Module, n_numbers: int, what: str, advice: str) -> None:
    """Say it in words where a tensor of so many numbers could never fit beside the parameters of ``module``."""
    parameter = next(module.parameters())
    needed = n_numbers * parameter.element_size()
    if needed < 2**30:  # not worth a question to the machine at each step
        return
    on_gpu = parameter.device.type == "cuda"
    memory = torch.cuda.mem_get_info(parameter.device)[1] if on_gpu else psutil.virtual_memory().total
    if needed > memory:
        raise ValueError(
            f"{what} alone take {needed / 1e9:,.0f} GB, and {'the GPU' if on_gpu else 'this machine'} has "
            f"{memory / 1e9:,.0f} GB: {advice}."
        )
