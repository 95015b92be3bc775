r"""A VAE of images with several layers of latent variables, and a q(z|x) that shares the way down with p(z).

z is in layers, each of them maps of a quarter of the image's height and width. From the top, each is drawn given those
above it, of which a state keeps what matters. p(z) has the Gaussian that the state asks for; q(z|x) has the same one,
moved and scaled by what the encoder saw in the image:

.. math:: q(z_i|z_{<i}, x) = N(\mu_i + \sigma_i m_i, \, (\sigma_i s_i)^2), \quad p(z_i|z_{<i}) = N(\mu_i, \sigma_i^2)

So q starts as p, and what training finds for one of them serves both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.checks import whole_number
from course_lib.vae.distributions import DiagonalGaussian, standard_normal_log_prob
from course_lib.vae.image_vae import ImageModel
from course_lib.vae.models import Posterior, standard_normal
from course_lib.vae.networks import ResidualBlock, ResNet, Shape
from course_lib.vae.noise import NoiseSource, normal

__all__ = ["LadderVAE"]

# Scales lie between 1/1000 and 1000, as those of a flow do.
_LARGEST_LOG_SCALE = math.log(1_000)

# What a layer's z is, given the layer's number and its Gaussian.
Pick = Callable[[int, DiagonalGaussian], Tensor]
# What a layer's Gaussian becomes, given the layer's number and the state.
Change = Callable[[int, DiagonalGaussian, Tensor], DiagonalGaussian]


class _Layer(nn.Module):
    """One layer of p(z): what it makes of the state, the Gaussian that it reads off it, and how z enters it."""

    def __init__(self, width: int, latent_maps: int, first: bool) -> None:
        super().__init__()
        # The first state is free to be what a block would make of it.
        self.block = nn.Identity() if first else ResidualBlock(width)
        self.prior = nn.Sequential(nn.ELU(), _zero_conv(width, 2 * latent_maps, 1))
        self.enter = nn.Conv2d(latent_maps, width, 1)


class _TopDown(nn.Module):
    """All layers of z, from the top, and the state that they leave to the pixels."""

    def __init__(self, shape: Shape, layers: int, latent_maps: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(1, *shape))
        self.layers = nn.ModuleList(_Layer(shape[0], latent_maps, first=i == 0) for i in range(layers))
        self._latent_shape = latent_maps, *shape[1:]

    def forward(self, pick: Pick, change: Change | None = None) -> tuple[list[Tensor], Tensor, Tensor]:
        """The z of each layer ``[..., dim]``, their log-density ``[...]`` in nats, and the state, a map for each z."""
        state, picked, log_density = self.start, [], torch.zeros_like(self.start[0, 0, 0, 0])
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, _Layer)
            state = layer.block(state)
            gaussian = _gaussian(layer.prior(state), self.start.dtype)
            if change is not None:
                gaussian = change(i, gaussian, state)
            z = pick(i, gaussian)
            picked.append(z)
            log_density = log_density + gaussian.log_prob(z)
            entered = layer.enter(z.reshape(-1, *self._latent_shape))
            # In the precision of convolutions, which autocast lowers.
            state = state.to(entered.dtype) + entered
        return picked, log_density, state


class _Change(nn.Module):
    """How far a layer's Gaussian is moved and scaled for an image: not at all, at the start of training."""

    def __init__(self, width: int, latent_maps: int) -> None:
        super().__init__()
        self.state = nn.Sequential(nn.ELU(), nn.Conv2d(width, width, 1))
        self.change = nn.Sequential(nn.ELU(), _zero_conv(width, 2 * latent_maps, 3))

    def forward(self, prior: DiagonalGaussian, state: Tensor, features: Tensor) -> DiagonalGaussian:
        """q of the layer, ``[k, batch, dim]``, of the images' features, and of a state for each draw or one for all."""
        hidden, batch = self.state(state), len(features)
        # Each image's features are the same for all of its draws, and the first state is for all images.
        hidden = hidden.unflatten(0, (-1, min(len(hidden), batch))) + features
        change = _gaussian(self.change(hidden.flatten(0, 1)), prior.mean.dtype)
        mean, std = prior.mean + prior.std * change.mean, prior.std * change.std
        return DiagonalGaussian(mean.unflatten(0, (-1, batch)), std.unflatten(0, (-1, batch)))


class _Inference(nn.Module):
    """What q(z|x) is computed with: the layers of p(z), which are the model's, and what changes their Gaussians."""

    def __init__(self, top_down: _TopDown, changes: nn.ModuleList) -> None:
        super().__init__()
        self.top_down, self.changes = top_down, changes

    def forward(self, pick: Pick, features: Sequence[Tensor]) -> tuple[list[Tensor], Tensor, Tensor]:
        def change(i: int, prior: DiagonalGaussian, state: Tensor) -> DiagonalGaussian:
            return self.changes[i](prior, state, features[i])

        return self.top_down(pick, change)


class _LadderPosterior:
    """q(z|x), with the z of all layers side by side in one vector."""

    def __init__(
        self, inference: _Inference, features: Sequence[Tensor], dim: int, parameters: dict[str, Tensor]
    ) -> None:
        self._inference, self._features, self._dim, self._parameters = inference, features, dim, parameters

    def rsample(self, k: int, generator: NoiseSource = None) -> Tensor:
        z, _ = self.rsample_and_log_prob(k, generator)
        return z

    def rsample_and_log_prob(self, k: int, generator: NoiseSource = None) -> tuple[Tensor, Tensor]:
        def draw(_: int, q: DiagonalGaussian) -> Tensor:
            noise = normal((k, len(self._features[0]), self._dim), generator, q.mean.device, q.mean.dtype)
            return q.mean + q.std * noise

        picked, log_density = self._walk(draw)
        return torch.cat(picked, dim=-1), log_density

    def log_prob(self, z: Tensor) -> Tensor:
        _, log_density = self._walk(_given(z, self._dim))
        return log_density

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        parts = noise.split(self._dim, dim=-1)
        picked, log_density = self._walk(lambda i, q: q.mean + q.std * parts[i])
        return torch.cat(picked, dim=-1), standard_normal_log_prob(noise) - log_density

    def to_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        parts, noises = z.split(self._dim, dim=-1), []

        def given(i: int, q: DiagonalGaussian) -> Tensor:
            noises.append((parts[i] - q.mean) / q.std)
            return parts[i]

        _, log_density = self._walk(given)
        noise = torch.cat(noises, dim=-1)
        return noise, standard_normal_log_prob(noise) - log_density

    def detached(self) -> _LadderPosterior:
        frozen = {name: parameter.detach() for name, parameter in self._parameters.items()}
        features = [each.detach() for each in self._features]
        return _LadderPosterior(self._inference, features, self._dim, frozen)

    def _walk(self, pick: Pick) -> tuple[list[Tensor], Tensor]:
        arguments = pick, self._features
        picked, log_density, _ = torch.func.functional_call(self._inference, self._parameters, arguments)
        return picked, log_density


class LadderVAE(ImageModel):
    """A VAE of images ``[channels, height, width]`` with several layers of latent variables.

    ``z`` holds the layers side by side, the top one first, so that everything made for one layer works for several.
    q(z|x) needs parameters of p(z), which are in `decoder`.

    Source: [Sonderby2016], section 2.2 (inference from the top down); [Vahdat2020], section 3.2 (a posterior relative
        to the prior); [Child2021] (a state through residual blocks, from a learned constant).
    """

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        layers: int = 3,
        latent_maps: int = 2,
        widths: Sequence[int] = (64, 64, 64),
        blocks: Sequence[int] = (1, 1, 2),
        likelihood: str = "bernoulli",
        levels: int = 2,
        components: int = 5,
    ) -> None:
        """Make the networks.

        Args:
            shape: channels, height and width of an image.
            layers: of latent variables.
            latent_maps: in each layer, a quarter of the image's height and width.
            widths: maps of the networks at full, half and quarter resolution.
            blocks: residual blocks of the encoder at each. The decoder has as many at full and half resolution, and at
                a quarter one after each layer.
            likelihood: ``"bernoulli"``, ``"logistic-mixture"`` or ``"categorical"``.
            levels: values that an intensity can have: 2 for bits, 256 for 8-bit images.
            components: of the logistic mixture.

        Raises:
            ValueError: an unknown likelihood, a size below 1 (of blocks, 0), levels that do not fit the likelihood,
                ``widths`` or ``blocks`` that are not three numbers, or an image that cannot be halved twice.
        """
        super().__init__(shape, likelihood, levels, components)
        layers, latent_maps = whole_number("layers", layers), whole_number("latent_maps", latent_maps)
        n_out = self.shape[0] * self.likelihood.n_parameters
        encoder = ResNet(self.shape, n_out, widths, blocks)
        decoder = ResNet(self.shape, n_out, widths, (*blocks[:2], 1))
        width, height, breadth = encoder.coarse
        self._layer_dim, self._widest = latent_maps * height * breadth, decoder.widest
        self.latent_dim = layers * self._layer_dim
        self.encoder = nn.ModuleDict(
            {
                # What each layer is told of an image, side by side.
                "features": nn.Sequential(*encoder.down(), nn.Conv2d(width, layers * width, 1)),
                "changes": nn.ModuleList(_Change(width, latent_maps) for _ in range(layers)),
            }
        )
        self.decoder = nn.ModuleDict(
            {"z": _TopDown(encoder.coarse, layers, latent_maps), "x": nn.Sequential(*decoder.up())}
        )
        # Convolutions are several times faster with an image's channels side by side in memory.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def floats_per_draw(self) -> int:
        """About how many numbers are in use at once for each z while p(x|z) is computed, to plan memory by."""
        return 3 * self._widest

    def compilable(self) -> list[tuple[nn.Module, str]]:
        """Those of every model, log p(x, z), which is computed at once, and the encoder: see `LatentVariableModel`."""
        return [*super().compilable(), (self, "log_joint"), (self.encoder["features"], "forward")]

    def posterior(self, x: Tensor) -> Posterior:
        """The q(z|x) of images ``[batch, ...]``."""
        top_down, changes = self.decoder["z"], self.encoder["changes"]
        assert isinstance(top_down, _TopDown) and isinstance(changes, nn.ModuleList)
        inference = _Inference(top_down, changes)
        features = self.encoder["features"](x.reshape(-1, *self.shape)).chunk(len(changes), dim=1)
        return _LadderPosterior(inference, features, self._layer_dim, dict(inference.named_parameters()))

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z) in nats, ``[k, batch]``."""
        log_prior, _ = self._top_down(z)
        return log_prior

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) in nats, ``[k, batch]``, from one pass through the layers."""
        log_prior, state = self._top_down(z)
        return self._log_prob(x, self._distribution(self.decoder["x"](state), z)) + log_prior

    def sample_prior(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``[n, latent_dim]`` from p(z), layer by layer."""

        def draw(_: int, prior: DiagonalGaussian) -> Tensor:
            return prior.mean + prior.std * standard_normal(self, n, self._layer_dim, generator)

        picked, _, _ = self.decoder["z"](draw)
        return torch.cat(picked, dim=-1)

    def _maps(self, z: Tensor) -> Tensor:
        _, state = self._top_down(z)
        return self.decoder["x"](state)

    def _top_down(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log p(z) ``[...]`` of ``z`` ``[..., latent_dim]``, and the state of each z in one row after another."""
        _, log_prior, state = self.decoder["z"](_given(z.reshape(-1, self.latent_dim), self._layer_dim))
        return log_prior.view(z.shape[:-1]), state


def _given(z: Tensor, dim: int) -> Pick:
    parts = z.split(dim, dim=-1)
    return lambda i, _: parts[i]


def _gaussian(maps: Tensor, dtype: torch.dtype) -> DiagonalGaussian:
    """Maps ``[n, 2 * maps, height, width]`` as means, as they are, and standard deviations within bounds."""
    # Under autocast networks have 8 bits, but Gaussians keep theirs.
    mean, raw = maps.to(dtype).flatten(1).chunk(2, dim=1)
    return DiagonalGaussian(mean, torch.exp(raw / (1 + raw.abs() / _LARGEST_LOG_SCALE)))


def _zero_conv(n_in: int, n_out: int, size: int) -> nn.Conv2d:
    convolution = nn.Conv2d(n_in, n_out, size, padding="same")
    for parameter in convolution.parameters():
        nn.init.zeros_(parameter)
    return convolution
