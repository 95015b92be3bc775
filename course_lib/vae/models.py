"""Latent variable models: a prior p(z), a likelihood p(x|z), and an encoder's guess q(z|x) at the posterior.

`LatentVariableModel.log_weights` is the one door. It draws z from q(z|x) and returns log p(x, z) - log q(z|x): the
log-weights of importance sampling, with q as the proposal, as in the first half of the course. Bounds
(`course_lib.vae.bounds`) and the evidence (`course_lib.vae.evidence`) are reductions of that one tensor.

Parameters of the generative model p, usually called theta, are in `decoder`; those of q, called phi, in `encoder`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib.checks import positive_number, whole_number
from course_lib.vae.distributions import (
    BernoulliPixels,
    DiagonalGaussian,
    bernoulli_log_prob,
    standard_normal_log_prob,
)
from course_lib.vae.networks import mlp
from course_lib.vae.noise import NoiseSource

__all__ = ["VAE", "LatentVariableModel", "LinearGaussianVAE", "Posterior", "TwoLayerVAE"]

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


class LatentVariableModel(nn.Module, ABC):
    """A model of images with latent variables, and an encoder to go with it.

    Attributes:
        data_dim: numbers in an image.
        latent_dim: numbers in z.
        levels: values that an intensity can have; 2 for bits.
    """

    data_dim: int
    latent_dim: int
    levels: int = 2

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
        """Draw ``[n, latent_dim]`` from p(z)."""

    @abstractmethod
    def mean_image(self, z: Tensor) -> Tensor:
        """E[x|z] ``[..., data_dim]`` for ``z`` ``[..., latent_dim]``; for bits, the probability of a one."""

    @abstractmethod
    def sample_conditional(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x from p(x|z), ``[..., data_dim]``, for ``z`` ``[..., latent_dim]``."""

    @property
    def floats_per_draw(self) -> int:
        """About how many numbers are in use at once for each z while p(x|z) is computed, to plan memory by."""
        return 2 * self.data_dim

    def start_from(self, images: Tensor) -> None:
        """Before training, let p(x|z) start at what can be read off the training images ``[n, ...]``."""

    def compilable(self) -> list[tuple[nn.Module, str]]:
        """Methods that torch may compile, as modules and names: nothing is drawn in them."""
        parts: list[tuple[nn.Module, str]] = [(self, "log_conditional"), (self, "log_prior")]
        encoder = self.encoder
        return [*parts, (encoder, "forward")] if isinstance(encoder, nn.Sequential) else parts

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) in nats, ``[k, batch]``."""
        return self.log_conditional(x, z) + self.log_prior(z)

    def log_weights(self, x: Tensor, k: int, generator: NoiseSource = None) -> Tensor:
        """Draw ``k`` z from q(z|x) for each image and return log p(x, z) - log q(z|x).

        The encoder runs once for each image, whatever ``k``. A model with batch norm must be in eval mode, or the
        images of a batch would change each other's weights.

        Args:
            x: images with values in [0, 1], ``[batch, ...]``, of the parameters' dtype and on their device.
            k: samples for each image.
            generator: source of the draws, or one for each image; torch's global one unless given.

        Returns:
            Log-weights in nats, normalizing constants included, ``[k, batch]``.

        Raises:
            ValueError: ``k`` is below 1, or ``x`` is not a batch of such images.
        """
        x = self.checked_images(x)
        q = self.posterior(x)
        z, log_q = q.rsample_and_log_prob(checked_n_samples(k), generator)
        return self.log_joint(x, z) - log_q

    def checked_images(self, x: Tensor) -> Tensor:
        """``x`` as ``[batch, data_dim]``.

        Raises:
            ValueError: it is no batch of images of this model's size, dtype and device, or a value is outside [0, 1].
        """
        parameter = next(self.parameters())
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise ValueError(f"images must be a tensor of floating-point numbers; got {kind}.")
        if x.ndim < 2 or not x.shape[0] or x[0].numel() != self.data_dim:
            raise ValueError(
                f"images must have shape [batch, ...] with {self.data_dim} numbers an image; got {list(x.shape)}."
            )
        if x.dtype != parameter.dtype or x.device != parameter.device:
            raise ValueError(
                f"images are {x.dtype} on {x.device} and the model {parameter.dtype} on {parameter.device}: "
                "bring them together with x.to(...)."
            )
        x = x.flatten(1)
        self._check_values(x)
        return x

    def _check_values(self, x: Tensor) -> None:
        # nan fails both comparisons, so the question is whether all is well and not whether something is wrong
        if not bool(((x >= 0) & (x <= 1)).all()):
            image = int((~((x >= 0) & (x <= 1))).any(1).nonzero()[0])
            raise ValueError(
                f"pixels must lie between 0 and 1; image {image} has values from {x[image].min():g} "
                f"to {x[image].max():g}: divide grey levels by the largest level, and mend missing values."
            )


def checked_n_samples(k: Any) -> int:
    """``k`` if it is a number of samples.

    Raises:
        ValueError: it is not a whole number of at least 1.
    """
    return whole_number("the number of samples", k)


def _is_hidden(sizes: Any) -> bool:
    """Whether there is at least one layer; what their sizes may be is for `mlp` to say."""
    return isinstance(sizes, Sequence) and len(sizes) > 0


def encoded_gaussian(network_output: Tensor, dtype: torch.dtype) -> DiagonalGaussian:
    """Split ``[..., 2 * dim]`` into a mean, as it is, and a standard deviation, which a softplus makes positive."""
    mean, raw_std = network_output.to(dtype).chunk(2, dim=-1)
    return DiagonalGaussian(mean, functional.softplus(raw_std) + _SMALLEST_STD)


class VAE(LatentVariableModel):
    """One layer of latent variables: p(z) = N(0, I), p(x|z) Bernoulli, q(z|x) a diagonal Gaussian.

    Source: Kingma and Welling 2014, appendix C; with the sizes of Burda et al. 2016 by default.
    """

    def __init__(
        self,
        data_dim: int = 784,
        hidden: Sequence[int] = (200, 200),
        latent_dim: int = 50,
        activation: str = "tanh",
    ) -> None:
        """Make the two networks.

        Args:
            data_dim: pixels in an image.
            hidden: units of the encoder's hidden layers; the decoder has them in reverse.
            latent_dim: numbers in z.
            activation: see `mlp`.

        Raises:
            ValueError: no hidden layer, a size below 1, or an unknown activation.
        """
        super().__init__()
        if not _is_hidden(hidden):
            raise ValueError(f"hidden must give the sizes of at least one layer, such as (200, 200); got {hidden!r}.")
        self.data_dim, self.latent_dim = data_dim, latent_dim
        self.encoder = mlp([data_dim, *hidden, 2 * latent_dim], activation)
        self.decoder = mlp([latent_dim, *reversed(hidden), data_dim], activation)

    def posterior(self, x: Tensor) -> DiagonalGaussian:
        """The encoder's q(z|x) of images ``[batch, ...]``."""
        x = x.flatten(1)
        return encoded_gaussian(self.encoder(x), x.dtype)

    def log_prior(self, z: Tensor) -> Tensor:
        """log N(z; 0, I) in nats, ``[k, batch]``."""
        return standard_normal_log_prob(z)

    def log_conditional(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z) in nats, ``[k, batch]``: one Bernoulli for each pixel."""
        return _log_bits(x, z, self.decoder)

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``[n, latent_dim]`` from N(0, I)."""
        return standard_normal(self, n, self.latent_dim, generator)

    def sample_conditional(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw the bits of images ``[..., data_dim]``."""
        return BernoulliPixels(self.decoder(z)).sample(generator)

    def mean_image(self, z: Tensor) -> Tensor:
        """The probability of each pixel to be one, ``[..., data_dim]``."""
        return torch.sigmoid(self.decoder(z))

    def start_from(self, images: Tensor) -> None:
        """Let the biases of the output start at the logits of the mean image, as Burda et al. do."""
        _start_from_mean_image(self.decoder, images)


class _TwoLayerPosterior:
    """q(z1|x) q(z2|z1), with z1 and z2 side by side in one vector."""

    def __init__(self, z1: DiagonalGaussian, network: nn.Module, parameters: dict[str, Tensor]) -> None:
        self._z1, self._network, self._parameters = z1, network, parameters

    def _z2(self, z1: Tensor) -> DiagonalGaussian:
        return encoded_gaussian(torch.func.functional_call(self._network, self._parameters, (z1,)), z1.dtype)

    def rsample(self, k: int, generator: NoiseSource = None) -> Tensor:
        z1 = self._z1.rsample(k, generator)
        (z2,) = self._z2(z1).rsample(1, generator)
        return torch.cat([z1, z2], dim=-1)

    def rsample_and_log_prob(self, k: int, generator: NoiseSource = None) -> tuple[Tensor, Tensor]:
        z = self.rsample(k, generator)
        return z, self.log_prob(z)

    def log_prob(self, z: Tensor) -> Tensor:
        z1, z2 = z.split([self._z1.mean.shape[-1], z.shape[-1] - self._z1.mean.shape[-1]], dim=-1)
        return self._z1.log_prob(z1) + self._z2(z1).log_prob(z2)

    def detached(self) -> _TwoLayerPosterior:
        frozen = {name: parameter.detach() for name, parameter in self._parameters.items()}
        return _TwoLayerPosterior(self._z1.detached(), self._network, frozen)


class TwoLayerVAE(LatentVariableModel):
    """Two layers of latent variables: p(z2) p(z1|z2) p(x|z1), and the encoder q(z1|x) q(z2|z1).

    ``z`` holds z1 and z2 side by side, so that everything made for one layer works for two.

    Source: Burda et al. 2016, section 5 and appendix C.
    """

    def __init__(
        self,
        data_dim: int = 784,
        hidden: tuple[Sequence[int], Sequence[int]] = ((200, 200), (100, 100)),
        latent_dims: tuple[int, int] = (100, 50),
        activation: str = "tanh",
    ) -> None:
        """Make the four networks.

        Args:
            data_dim: pixels in an image.
            hidden: units of the hidden layers between x and z1, and between z1 and z2.
            latent_dims: numbers in z1 and in z2.
            activation: see `mlp`.

        Raises:
            ValueError: not two sets of hidden layers and two latent sizes, a size below 1, or an unknown activation.
        """
        super().__init__()
        if not (_is_hidden(hidden) and len(hidden) == 2 and all(map(_is_hidden, hidden))):
            raise ValueError(f"hidden must give two sets of layers, such as ((200, 200), (100, 100)); got {hidden!r}.")
        if not (isinstance(latent_dims, Sequence) and len(latent_dims) == 2):
            raise ValueError(
                f"latent_dims must be two numbers, of z1 and of z2, such as (100, 50); got {latent_dims!r}."
            )
        self.data_dim, self.latent_dims, self.latent_dim = data_dim, tuple(latent_dims), sum(latent_dims)
        dim1, dim2 = latent_dims
        self.encoder = nn.ModuleDict(
            {
                "z1": mlp([data_dim, *hidden[0], 2 * dim1], activation),
                "z2": mlp([dim1, *hidden[1], 2 * dim2], activation),
            }
        )
        self.decoder = nn.ModuleDict(
            {
                "z1": mlp([dim2, *reversed(hidden[1]), 2 * dim1], activation),
                "x": mlp([dim1, *reversed(hidden[0]), data_dim], activation),
            }
        )

    def posterior(self, x: Tensor) -> Posterior:
        """The encoder's q(z1, z2|x) of images ``[batch, ...]``."""
        x = x.flatten(1)
        second = self.encoder["z2"]
        return _TwoLayerPosterior(
            encoded_gaussian(self.encoder["z1"](x), x.dtype), second, dict(second.named_parameters())
        )

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z1|z2) + log p(z2) in nats, ``[k, batch]``."""
        z1, z2 = z.split(self.latent_dims, dim=-1)
        return encoded_gaussian(self.decoder["z1"](z2), z2.dtype).log_prob(z1) + standard_normal_log_prob(z2)

    def log_conditional(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z1) in nats, ``[k, batch]``."""
        return _log_bits(x, z[..., : self.latent_dims[0]], self.decoder["x"])

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw z2 from N(0, I), then z1 from p(z1|z2), and return both: ``[n, latent_dim]``."""
        z2 = standard_normal(self, n, self.latent_dims[1], generator)
        (z1,) = encoded_gaussian(self.decoder["z1"](z2), z2.dtype).rsample(1, generator)
        return torch.cat([z1, z2], dim=-1)

    def sample_conditional(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw the bits of images ``[..., data_dim]``."""
        return BernoulliPixels(self.decoder["x"](z[..., : self.latent_dims[0]])).sample(generator)

    def mean_image(self, z: Tensor) -> Tensor:
        """The probability of each pixel to be one, given z1, ``[..., data_dim]``."""
        return torch.sigmoid(self.decoder["x"](z[..., : self.latent_dims[0]]))

    def start_from(self, images: Tensor) -> None:
        """Let the biases of the output start at the logits of the mean image, as Burda et al. do."""
        _start_from_mean_image(self.decoder["x"], images)


class LinearGaussianVAE(LatentVariableModel):
    r"""A VAE whose every quantity is known exactly: p(z) = N(0, I) and p(x|z) = N(W z + b, s^2 I).

    Then p(x) = N(b, W W' + s^2 I), and so is the posterior a Gaussian. The encoder is linear and its standard
    deviation the same for all x. `random` makes W with orthogonal columns, where the exact posterior is diagonal and
    the encoder starts as exactly it; move ``encoder.bias`` or ``log_std`` for a q that is wrong by a known amount.

    Source: probabilistic principal component analysis, Tipping and Bishop 1999.
    """

    def __init__(self, weight: Tensor, bias: Tensor, noise_std: float) -> None:
        """Make the model, and an encoder with the exact posterior's means and marginal precisions.

        Args:
            weight: W, ``[data_dim, latent_dim]``.
            bias: b, ``[data_dim]``.
            noise_std: s, above zero.

        Raises:
            ValueError: ``noise_std`` is not above zero, or shapes disagree.
        """
        super().__init__()
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise ValueError(f"weight must be [data_dim, latent_dim] and bias [data_dim]; got {list(weight.shape)} "
                             f"and {list(bias.shape)}.")  # fmt: skip
        self.data_dim, self.latent_dim = weight.shape
        self.noise_std = positive_number("noise_std", noise_std)
        self.decoder = nn.Linear(self.latent_dim, self.data_dim, dtype=weight.dtype)
        self.encoder = nn.Linear(self.data_dim, self.latent_dim, dtype=weight.dtype)
        precision = torch.eye(self.latent_dim, dtype=weight.dtype) + weight.T @ weight / noise_std**2
        gain = torch.linalg.solve(precision, weight.T) / noise_std**2
        with torch.no_grad():
            self.decoder.weight.copy_(weight)
            self.decoder.bias.copy_(bias)
            self.encoder.weight.copy_(gain)
            self.encoder.bias.copy_(-gain @ bias)
        self.log_std = nn.Parameter(-0.5 * precision.diagonal().log())

    @classmethod
    def random(cls, data_dim: int, latent_dim: int, seed: int) -> LinearGaussianVAE:
        """A model in double precision, with columns of W that are orthogonal and of lengths between 1 and 2.

        Raises:
            ValueError: more latent dimensions than data dimensions, or fewer than one.
        """
        if not 1 <= latent_dim <= data_dim:
            raise ValueError(f"latent_dim must be between 1 and data_dim = {data_dim}; got {latent_dim}.")
        generator = torch.Generator().manual_seed(seed)
        directions, _ = torch.linalg.qr(torch.randn(data_dim, latent_dim, generator=generator, dtype=torch.float64))
        lengths = 1 + torch.rand(latent_dim, generator=generator, dtype=torch.float64)
        bias = torch.randn(data_dim, generator=generator, dtype=torch.float64)
        return cls(directions * lengths, bias, noise_std=0.5)

    def posterior(self, x: Tensor) -> DiagonalGaussian:
        """The encoder's q(z|x) of ``x`` ``[batch, ...]``."""
        mean = self.encoder(x.flatten(1))
        return DiagonalGaussian(mean, self.log_std.exp().expand_as(mean))

    def log_prior(self, z: Tensor) -> Tensor:
        """log N(z; 0, I) in nats, ``[k, batch]``."""
        return standard_normal_log_prob(z)

    def log_conditional(self, x: Tensor, z: Tensor) -> Tensor:
        """log N(x; W z + b, s^2 I) in nats, ``[k, batch]``."""
        residual = (x.flatten(1) - self.decoder(z)) / self.noise_std
        return standard_normal_log_prob(residual) - self.data_dim * math.log(self.noise_std)

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``[n, latent_dim]`` from N(0, I)."""
        return standard_normal(self, n, self.latent_dim, generator)

    def sample_conditional(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x from N(W z + b, s^2 I), ``[..., data_dim]``."""
        mean = self.mean_image(z)
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + self.noise_std * noise

    def mean_image(self, z: Tensor) -> Tensor:
        """W z + b."""
        return self.decoder(z)

    def simulate(self, n: int, seed: int) -> Tensor:
        """Draw ``n`` x from the model, ``[n, data_dim]``."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            return self.sample_conditional(self.sample_prior(n, generator), generator)

    def exact_log_likelihood(self, x: Tensor) -> Tensor:
        """log p(x) in nats, ``[batch]``, with no sampling."""
        weight = self.decoder.weight
        noise = self.noise_std**2 * torch.eye(self.data_dim, dtype=weight.dtype, device=weight.device)
        return torch.distributions.MultivariateNormal(self.decoder.bias, weight @ weight.T + noise).log_prob(
            x.flatten(1)
        )

    def exact_posterior(self, x: Tensor) -> torch.distributions.MultivariateNormal:
        """p(z|x), which the encoder should match."""
        weight = self.decoder.weight
        identity = torch.eye(self.latent_dim, dtype=weight.dtype, device=weight.device)
        precision = identity + weight.T @ weight / self.noise_std**2
        mean = torch.linalg.solve(precision, weight.T @ (x.flatten(1) - self.decoder.bias).T).T / self.noise_std**2
        return torch.distributions.MultivariateNormal(mean, precision_matrix=precision)

    def exact_elbo(self, x: Tensor) -> Tensor:
        """The ELBO in nats, ``[batch]``, with no sampling: log p(x) less the divergence of q from the posterior."""
        q = self.posterior(x)
        gaussian = torch.distributions.MultivariateNormal(q.mean, torch.diag_embed(q.std**2))
        return self.exact_log_likelihood(x) - torch.distributions.kl_divergence(gaussian, self.exact_posterior(x))

    def _check_values(self, x: Tensor) -> None:
        if not bool(x.isfinite().all()):
            raise ValueError("x has values that are not finite: mend missing values before they reach the model.")


def _log_bits(x: Tensor, z: Tensor, decoder: nn.Module) -> Tensor:
    """log p(x|z) of bits, for a decoder whose last layer is linear."""
    assert isinstance(decoder, nn.Sequential) and isinstance(decoder[-1], nn.Linear)
    return bernoulli_log_prob(x.flatten(1), decoder[:-1](z), decoder[-1])


def logits_of_mean(images: Tensor) -> Tensor:
    """What a Bernoulli's logits are if each pixel of ``images`` ``[n, ...]`` is a one as often as on average."""
    return images.mean(0).clamp(1e-3, 1 - 1e-3).logit()


def _start_from_mean_image(decoder: Any, images: Tensor) -> None:
    with torch.no_grad():
        decoder[-1].bias.copy_(logits_of_mean(images).flatten())


def standard_normal(module: nn.Module, n: int, dim: int, generator: torch.Generator | None) -> Tensor:
    """Draw ``[n, dim]`` where the parameters of ``module`` are, and in their precision."""
    parameter = next(module.parameters())
    return torch.randn((checked_n_samples(n), dim), generator=generator, device=parameter.device, dtype=parameter.dtype)
