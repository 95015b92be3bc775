"""The two distributions that the models of notebooks 03 and 04 are made of: a Gaussian over z, bits over x.

torch.distributions has both. They are written out because every line of them is a line of the bounds that the
course derives, and because its Bernoulli would hold `[k, batch, pixels]` several times over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["DiagonalGaussian", "Generator", "bernoulli_log_prob", "standard_normal_log_prob"]

# Where noise comes from: one source for a batch, one for each of its images, or torch's global one.
Generator = torch.Generator | Sequence[torch.Generator] | None

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

    def rsample(self, k: int, generator: Generator = None) -> Tensor:
        """Draw ``[k, ..., latent_dim]`` as ``mean + std * noise``, through which gradients flow.

        Args:
            k: draws from each distribution.
            generator: source of the noise; or one for each image, where ``mean`` is ``[batch, latent_dim]`` or
                ``[k, batch, latent_dim]``, so that an image's draws are the same in whatever batch it comes.

        Raises:
            ValueError: there are not as many generators as images.

        Source: Kingma and Welling 2014, section 2.4.
        """
        shape = (k, *self.mean.shape)
        device, dtype = self.mean.device, self.mean.dtype
        if not isinstance(generator, Sequence):
            return self.mean + self.std * torch.randn(shape, generator=generator, device=device, dtype=dtype)
        if len(generator) != shape[-2]:
            raise ValueError(f"one generator for each of {shape[-2]} images is needed; got {len(generator)}.")
        of_one_image = (*shape[:-2], shape[-1])
        noise = [torch.randn(of_one_image, generator=one, device=device, dtype=dtype) for one in generator]
        return self.mean + self.std * torch.stack(noise, dim=-2)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density in nats at ``z`` ``[..., latent_dim]``, summed over the latent dimensions."""
        noise = (z - self.mean) / self.std
        return standard_normal_log_prob(noise) - self.std.log().sum(-1)

    def detached(self) -> DiagonalGaussian:
        """The same distribution, through whose parameters no gradient flows."""
        return DiagonalGaussian(self.mean.detach(), self.std.detach())

    def kl_from_standard_normal(self) -> Tensor:
        """KL(q || N(0, I)) in nats, in closed form. Source: Kingma and Welling 2014, appendix B."""
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
