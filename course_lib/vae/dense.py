"""VAEs of bits whose networks are fully connected: with one layer of latent variables, and with two.

These are the models of notebooks 03 and 04, small enough to train in a lesson.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.checks import whole_number
from course_lib.vae.distributions import (
    BernoulliPixels,
    DiagonalGaussian,
    bernoulli_log_prob,
    standard_normal_log_prob,
)
from course_lib.vae.likelihoods import Bernoulli
from course_lib.vae.models import LatentVariableModel, Posterior, encoded_gaussian, standard_normal
from course_lib.vae.networks import mlp
from course_lib.vae.noise import NoiseSource

__all__ = ["VAE", "TwoLayerVAE"]


class VAE(LatentVariableModel):
    """One layer of latent variables: p(z) = N(0, I), p(x|z) Bernoulli, q(z|x) a diagonal Gaussian.

    >>> vae = VAE(data_dim=64, hidden=(32,), latent_dim=2)
    >>> z = vae.sample_prior(5)
    >>> vae.mean_image(z).shape
    torch.Size([5, 64])

    Source: [Kingma2014], appendix C; with the sizes of [Burda2016] by default.
    """

    levels = 2

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
        self.data_dim, self.latent_dim = whole_number("data_dim", data_dim), whole_number("latent_dim", latent_dim)
        self.encoder = mlp([self.data_dim, *hidden, 2 * self.latent_dim], activation)
        self.decoder = mlp([self.latent_dim, *reversed(hidden), self.data_dim], activation)

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
        return BernoulliPixels(self.decoder(self.checked_latents(z))).sample(generator)

    def mean_image(self, z: Tensor) -> Tensor:
        """The probability of each pixel to be one, ``[..., data_dim]``."""
        return torch.sigmoid(self.decoder(self.checked_latents(z)))

    def start_from(self, images: Tensor) -> None:
        """Let the biases of the output start at the logits of the mean image, as in [Burda2016]."""
        _start_from_mean_image(self.decoder, self._flat(images))


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
        z1, z2 = self._split(z)
        return self._z1.log_prob(z1) + self._z2(z1).log_prob(z2)

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        noise1, noise2 = self._split(noise)
        z1, log_determinant1 = self._z1.from_noise(noise1)
        z2, log_determinant2 = self._z2(z1).from_noise(noise2)
        return torch.cat([z1, z2], dim=-1), log_determinant1 + log_determinant2

    def to_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        z1, z2 = self._split(z)
        noise1, log_determinant1 = self._z1.to_noise(z1)
        noise2, log_determinant2 = self._z2(z1).to_noise(z2)
        return torch.cat([noise1, noise2], dim=-1), log_determinant1 + log_determinant2

    def _split(self, both: Tensor) -> tuple[Tensor, Tensor]:
        """What belongs to z1 and what to z2, of ``[..., latent_dim]``."""
        dim1 = self._z1.mean.shape[-1]
        return both[..., :dim1], both[..., dim1:]

    def detached(self) -> _TwoLayerPosterior:
        frozen = {name: parameter.detach() for name, parameter in self._parameters.items()}
        return _TwoLayerPosterior(self._z1.detached(), self._network, frozen)


class TwoLayerVAE(LatentVariableModel):
    """Two layers of latent variables: p(z2) p(z1|z2) p(x|z1), and the encoder q(z1|x) q(z2|z1).

    ``z`` holds z1 and z2 side by side, so that everything made for one layer works for two.

    Source: [Burda2016], section 5 and appendix C.
    """

    levels = 2

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
        self.data_dim = whole_number("data_dim", data_dim)
        dim1, dim2 = self.latent_dims = tuple(whole_number("each of latent_dims", dim) for dim in latent_dims)
        self.latent_dim = dim1 + dim2
        self.encoder = nn.ModuleDict(
            {
                "z1": mlp([self.data_dim, *hidden[0], 2 * dim1], activation),
                "z2": mlp([dim1, *hidden[1], 2 * dim2], activation),
            }
        )
        self.decoder = nn.ModuleDict(
            {
                "z1": mlp([dim2, *reversed(hidden[1]), 2 * dim1], activation),
                "x": mlp([dim1, *reversed(hidden[0]), self.data_dim], activation),
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
        return BernoulliPixels(self._logits(z)).sample(generator)

    def mean_image(self, z: Tensor) -> Tensor:
        """The probability of each pixel to be one, given z1, ``[..., data_dim]``."""
        return torch.sigmoid(self._logits(z))

    def _logits(self, z: Tensor) -> Tensor:
        return self.decoder["x"](self.checked_latents(z)[..., : self.latent_dims[0]])

    def start_from(self, images: Tensor) -> None:
        """Let the biases of the output start at the logits of the mean image, as in [Burda2016]."""
        _start_from_mean_image(self.decoder["x"], self._flat(images))


def _is_hidden(sizes: Any) -> bool:
    """Whether there is at least one layer; what their sizes may be is for `mlp` to say."""
    return isinstance(sizes, Sequence) and len(sizes) > 0


def _log_bits(x: Tensor, z: Tensor, decoder: nn.Module) -> Tensor:
    """log p(x|z) of bits, for a decoder whose last layer is linear."""
    assert isinstance(decoder, nn.Sequential) and isinstance(decoder[-1], nn.Linear)
    return bernoulli_log_prob(x.flatten(1), decoder[:-1](z), decoder[-1])


def _start_from_mean_image(decoder: Any, images: Tensor) -> None:
    with torch.no_grad():
        decoder[-1].bias.copy_(Bernoulli().start(images).squeeze(-1))
