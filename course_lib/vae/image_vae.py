"""Models of images, and a VAE that is put together from parts: networks, likelihood, posterior and prior.

`course_lib.vae.dense` has the plain VAE of two small networks. This one takes any pair of `course_lib.vae.networks`,
any of `course_lib.vae.likelihoods`, of grey or colour levels as well as bits, and flows where a Gaussian is too stiff.
All of it goes through the same `log_weights`, so that bounds, proposals and diagnostics take it as it is; but for
`elbo_closed_form`, which wants a model whose q and prior can be nothing but Gaussian.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.checks import one_of, whole_number
from course_lib.vae.distributions import checked_levels, standard_normal_log_prob
from course_lib.vae.flows import FlowPrior, InverseAutoregressiveFlow
from course_lib.vae.likelihoods import PixelDistribution, likelihood_named
from course_lib.vae.models import LatentVariableModel, Posterior, encoded_gaussian, standard_normal
from course_lib.vae.networks import PAIRS, checked_shape, checked_sizes

__all__ = ["ImageModel", "ImageVAE"]


class ImageModel(LatentVariableModel):
    """What models of images ``[channels, height, width]`` share: p(x|z) of the maps that a decoder makes of z.

    Each parameter of each intensity's distribution has a bias of its own beside them, at which p(x|z) starts
    (`start_from`).
    """

    def __init__(self, shape: Sequence[int], likelihood: str, levels: int, components: int) -> None:
        """Choose p(x|z): see `ImageVAE`.

        Raises:
            ValueError: an unknown name, a size below 1, or levels that do not fit the likelihood.
        """
        super().__init__()
        self.shape = channels, height, width = checked_shape(shape)
        self.likelihood = likelihood_named(likelihood, levels, components)
        self.data_dim, self.levels = math.prod(self.shape), self.likelihood.levels
        self.bias = nn.Parameter(torch.zeros(channels, self.likelihood.n_parameters, height, width))

    @abstractmethod
    def _maps(self, z: Tensor) -> Tensor:
        """What the decoder makes of ``z`` ``[n, latent_dim]``: ``[n, channels * n_parameters, height, width]``."""

    def log_conditional(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z) in nats, ``[k, batch]``."""
        return self._log_prob(x, self.conditional(z))

    def conditional(self, z: Tensor) -> PixelDistribution:
        """p(x|z) of each intensity, ``[..., channels, height, width]``, for ``z`` ``[..., latent_dim]``."""
        return self._distribution(self._maps(z.reshape(-1, self.latent_dim)), z)

    def _distribution(self, maps: Tensor, z: Tensor) -> PixelDistribution:
        """p(x|z), of the maps that the decoder made of ``z``, and in its precision."""
        parameters = (maps.unflatten(1, self.bias.shape[:2]).to(z.dtype) + self.bias).movedim(2, -1)
        return self.likelihood.distribution(parameters.view(*z.shape[:-1], *parameters.shape[1:]))

    def _log_prob(self, x: Tensor, pixels: PixelDistribution) -> Tensor:
        return pixels.log_prob(x.reshape(-1, *self.shape)).sum((-3, -2, -1))

    def sample_conditional(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw x from p(x|z), ``[..., data_dim]``."""
        return self.conditional(self.checked_latents(z)).sample(generator).flatten(-3)

    def mean_image(self, z: Tensor) -> Tensor:
        """E[x|z] ``[..., data_dim]``, of intensities in [0, 1]."""
        return self.conditional(self.checked_latents(z)).mean.flatten(-3)

    def start_from(self, images: Tensor) -> None:
        """Let p(x|z) start near how often each intensity has each level in these images; a mixture, near its mean."""
        with torch.no_grad():
            self.bias.copy_(self.likelihood.start(self._flat(images).unflatten(1, self.shape)).movedim(-1, 1))

    def checked_images(self, x: Tensor) -> Tensor:
        """``x`` as ``[batch, data_dim]``.

        Raises:
            ValueError: it is no batch of images of this model's shape, dtype and device, a value is outside [0, 1], or
                it is none of the model's levels.
        """
        if isinstance(x, Tensor) and x.ndim == 4 and tuple(x.shape[1:]) != self.shape:
            shape = ", ".join(map(str, self.shape))
            raise ValueError(f"images must have shape [batch, {shape}], channels first; got {list(x.shape)}.")
        return super().checked_images(x)

    def _check_values(self, x: Tensor) -> None:
        super()._check_values(x)
        if self.likelihood.levels > 2:
            checked_levels(x, self.likelihood.levels)


class ImageVAE(ImageModel):
    """A VAE of images ``[channels, height, width]``: the networks, p(x|z), q(z|x) and p(z) are chosen by name.

    Source: [Kingma2016] (flow posterior); [Chen2017], section 3.2 (flow prior); [Salimans2017] (discretized logistic
        mixture).
    """

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        network: str = "resnet",
        network_arguments: Mapping[str, Any] = MappingProxyType({}),
        latent_dim: int = 32,
        likelihood: str = "bernoulli",
        levels: int = 2,
        components: int = 5,
        posterior_flows: int = 0,
        prior_flows: int = 0,
        flow_width: int = 320,
    ) -> None:
        """Make the networks.

        Args:
            shape: channels, height and width of an image.
            network: one of `course_lib.vae.networks.PAIRS`: ``"dense"``, ``"gated-conv"`` or ``"resnet"``.
            network_arguments: sizes, as that pair takes them.
            latent_dim: numbers in z.
            likelihood: ``"bernoulli"``, ``"logistic-mixture"`` or ``"categorical"``.
            levels: values that an intensity can have: 2 for bits, 256 for 8-bit images.
            components: of the logistic mixture.
            posterior_flows: inverse autoregressive steps that q(z|x) takes from a diagonal Gaussian.
            prior_flows: autoregressive steps between p(z) and N(0, I).
            flow_width: units in the hidden layers of those steps.

        Raises:
            ValueError: an unknown name, a size below 1, levels that do not fit the likelihood, or an image that
                convolutions cannot halve twice.
        """
        super().__init__(shape, likelihood, levels, components)
        self.latent_dim = whole_number("latent_dim", latent_dim)
        posterior_flows = whole_number("posterior_flows", posterior_flows, least=0)
        prior_flows = whole_number("prior_flows", prior_flows, least=0)
        flow_width = whole_number("flow_width", flow_width)
        make = PAIRS[one_of("network", network, PAIRS)]
        n_out = self.shape[0] * self.likelihood.n_parameters
        pair = make(self.shape, self.latent_dim, n_out, **checked_sizes(network, network_arguments))
        self._widest = pair.widest
        self.decoder = pair.decoder
        n_context = flow_width if posterior_flows else 0
        self.encoder = nn.Sequential(*pair.encoder, nn.Linear(pair.n_features, 2 * self.latent_dim + n_context))
        self.posterior_flow = (
            InverseAutoregressiveFlow(self.latent_dim, n_context, posterior_flows, flow_width)
            if posterior_flows
            else None
        )
        self.prior_flow = FlowPrior(self.latent_dim, prior_flows, flow_width) if prior_flows else None
        # Convolutions are several times faster with an image's channels side by side in memory.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def floats_per_draw(self) -> int:
        """About how many numbers are in use at once for each z while p(x|z) is computed, to plan memory by."""
        return 3 * self._widest

    def compilable(self) -> list[tuple[nn.Module, str]]:
        """Those of every model, and the steps of the flow that draws are sent through: see `LatentVariableModel`."""
        methods = super().compilable()
        if self.posterior_flow is not None:
            methods.append((self.posterior_flow.steps, "forward"))
        return methods

    def posterior(self, x: Tensor) -> Posterior:
        """The encoder's q(z|x) of images ``[batch, ...]``."""
        features = self.encoder(x.reshape(-1, *self.shape))
        base = encoded_gaussian(features[:, : 2 * self.latent_dim], x.dtype)
        return base if self.posterior_flow is None else self.posterior_flow(base, features[:, 2 * self.latent_dim :])

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z) in nats, ``[k, batch]``."""
        return standard_normal_log_prob(z) if self.prior_flow is None else self.prior_flow.log_prob(z)

    def _maps(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``[n, latent_dim]`` from p(z)."""
        if self.prior_flow is not None:
            return self.prior_flow.sample(n, generator)
        return standard_normal(self, n, self.latent_dim, generator)
