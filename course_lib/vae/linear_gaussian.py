"""A VAE whose log p(x), posterior and ELBO are known exactly: what every estimate of half two is held against."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from course_lib.checks import positive_number, whole_number
from course_lib.vae.distributions import DiagonalGaussian, checked_floating, standard_normal_log_prob
from course_lib.vae.models import LatentVariableModel, standard_normal
from course_lib.vae.noise import normal

__all__ = ["LinearGaussianVAE"]


class LinearGaussianVAE(LatentVariableModel):
    r"""A VAE whose every quantity is known exactly: p(z) = N(0, I) and p(x|z) = N(W z + b, s^2 I).

    Then p(x) = N(b, W W' + s^2 I), and so is the posterior a Gaussian. The encoder is linear and its standard
    deviation the same for all x. `random` makes W with orthogonal columns, where the exact posterior is diagonal and
    the encoder starts as exactly it; move ``encoder.bias`` or ``log_std`` for a q that is wrong by a known amount.

    Source: [Tipping1999], probabilistic principal component analysis.
    """

    levels = None

    def __init__(self, weight: Tensor, bias: Tensor, noise_std: float) -> None:
        """Make the model, and an encoder with the exact posterior's means and marginal precisions.

        Args:
            weight: W, ``[data_dim, latent_dim]``, single or double precision.
            bias: b, ``[data_dim]``, of the same precision.
            noise_std: s, above zero.

        Raises:
            ValueError: ``noise_std`` is not above zero, shapes or types disagree, or a number is not finite.
        """
        super().__init__()
        weight, bias = checked_floating("weight", weight), checked_floating("bias", bias)
        if weight.ndim != 2 or not weight.numel() or bias.shape != weight.shape[:1]:
            raise ValueError(f"weight must be [data_dim, latent_dim] and bias [data_dim]; got {list(weight.shape)} "
                             f"and {list(bias.shape)}.")  # fmt: skip
        if bias.dtype != weight.dtype or weight.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"weight and bias must both be of float32, or of float64; got {weight.dtype} and {bias.dtype}."
            )
        if not bool(weight.isfinite().all() and bias.isfinite().all()):
            raise ValueError("weight and bias must be finite: mend nan and inf before they reach the model.")
        self.data_dim, self.latent_dim = weight.shape
        self.noise_std = noise_std = positive_number("noise_std", noise_std)
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
            ValueError: a size is no whole number of at least 1, more latent dimensions than data dimensions, or a seed
                that is no whole number of at least 0.
        """
        data_dim, latent_dim = whole_number("data_dim", data_dim), whole_number("latent_dim", latent_dim)
        if latent_dim > data_dim:
            raise ValueError(f"latent_dim must be between 1 and data_dim = {data_dim}; got {latent_dim}.")
        generator = torch.Generator().manual_seed(whole_number("seed", seed, least=0))
        directions, _ = torch.linalg.qr(torch.randn(data_dim, latent_dim, generator=generator, dtype=torch.float64))
        lengths = 1 + torch.rand(latent_dim, generator=generator, dtype=torch.float64)
        bias = torch.randn(data_dim, generator=generator, dtype=torch.float64)
        return cls(directions * lengths, bias, noise_std=0.5)

    def posterior(self, x: Tensor) -> DiagonalGaussian:
        """The encoder's q(z|x) of ``x`` ``[batch, ...]``."""
        # Under autocast the encoder has 8 bits, but draws keep theirs.
        mean = self.encoder(x.flatten(1)).to(x.dtype)
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
        return mean + self.noise_std * normal(mean.shape, generator, mean.device, mean.dtype)

    def mean_image(self, z: Tensor) -> Tensor:
        """W z + b, ``[..., data_dim]``."""
        return self.decoder(self.checked_latents(z))

    def simulate(self, n: int, seed: int) -> Tensor:
        """Draw ``n`` x from the model, ``[n, data_dim]``.

        Raises:
            ValueError: ``n`` is no whole number of at least 1, or ``seed`` none of at least 0.
        """
        generator = torch.Generator(self.decoder.weight.device).manual_seed(whole_number("seed", seed, least=0))
        with torch.no_grad():
            return self.sample_conditional(self.sample_prior(n, generator), generator)

    def exact_log_likelihood(self, x: Tensor) -> Tensor:
        """log p(x) in nats, ``[batch]``, with no sampling, of ``x`` ``[batch, ...]``.

        Raises:
            ValueError: ``x`` is none for this model; see `checked_images`.
        """
        x, weight = self.checked_images(x), self.decoder.weight
        noise = self.noise_std**2 * torch.eye(self.data_dim, dtype=weight.dtype, device=weight.device)
        return torch.distributions.MultivariateNormal(self.decoder.bias, weight @ weight.T + noise).log_prob(x)

    def exact_posterior(self, x: Tensor) -> torch.distributions.MultivariateNormal:
        """p(z|x), which the encoder should match, of each of ``x`` ``[batch, ...]``.

        Raises:
            ValueError: ``x`` is none for this model; see `checked_images`.
        """
        x, weight = self.checked_images(x), self.decoder.weight
        identity = torch.eye(self.latent_dim, dtype=weight.dtype, device=weight.device)
        precision = identity + weight.T @ weight / self.noise_std**2
        mean = torch.linalg.solve(precision, weight.T @ (x - self.decoder.bias).T).T / self.noise_std**2
        return torch.distributions.MultivariateNormal(mean, precision_matrix=precision)

    def exact_elbo(self, x: Tensor) -> Tensor:
        """The ELBO in nats, ``[batch]``, with no sampling: log p(x) less the divergence of q from the posterior.

        Raises:
            ValueError: ``x`` is none for this model; see `checked_images`.
        """
        q = self.posterior(self.checked_images(x))
        gaussian = torch.distributions.MultivariateNormal(q.mean, torch.diag_embed(q.std**2))
        return self.exact_log_likelihood(x) - torch.distributions.kl_divergence(gaussian, self.exact_posterior(x))

    def _check_values(self, x: Tensor) -> None:
        if not bool(x.isfinite().all()):
            raise ValueError("x has values that are not finite: mend missing values before they reach the model.")
