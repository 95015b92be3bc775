"""Models so small that their every quantity can be had some other way, for the tests of half two."""

import itertools
import math

import torch
from torch import nn
from torch.distributions import Normal
from torch.nn import functional

from course_lib.vae import VAE, ImageVAE, LadderVAE, LinearGaussianVAE, TwoLayerVAE

EPSILON = torch.finfo(torch.float64).eps


def all_images(data_dim=6):
    """Every image of so many bits, ``[2**data_dim, data_dim]``."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=data_dim)), dtype=torch.float64)


def moved_linear(data_dim=4, latent_dim=2, seed=0):
    """A linear-Gaussian model, and a q that is wrong in its means and its standard deviations, widened all in all."""
    model = LinearGaussianVAE.random(data_dim, latent_dim, seed)
    with torch.no_grad():
        model.encoder.weight.mul_(0.9)
        model.encoder.bias.add_(0.2)
        model.log_std.add_(torch.linspace(0.1, 0.4, latent_dim))
    return model


def small_vae(seed=0):
    """Six bits, two latent dimensions, a decoder far from linear, and a q wide enough to bound the weights."""
    torch.manual_seed(seed)
    model = VAE(6, hidden=(5,), latent_dim=2).double()
    _shake(model)
    _widen(model.encoder, 1.2)
    return model


def small_two_layer(seed=0):
    """Six bits, two stochastic layers of one dimension each."""
    torch.manual_seed(seed)
    model = TwoLayerVAE(6, hidden=((5,), (4,)), latent_dims=(1, 1)).double()
    _shake(model)
    _widen(model.decoder["z1"], 0.5)
    _widen(model.encoder["z1"], 2.0)
    _widen(model.encoder["z2"], 1.2)
    return model


def small_ladder(likelihood="bernoulli", *, shape=(1, 4, 4), layers=2, latent_maps=1, seed=0):
    """Layers of one number each for every 16 pixels: two in all, unless told otherwise; and a wide q."""
    torch.manual_seed(seed)
    model = LadderVAE(shape, layers, latent_maps, (2, 3, 4), (1, 0, 1), likelihood, LEVELS[likelihood], 2).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for layer, change in zip(model.decoder["z"].layers, model.encoder["changes"], strict=True):
            layer.prior[1].weight.mul_(0.5)
            layer.prior[1].bias.mul_(0.3)
            change.change[1].weight.mul_(0.3)
            change.change[1].bias[latent_maps:] = 0.4
        if likelihood == "logistic-mixture":
            model.bias[:, 2:4] = torch.tensor([0.2, 0.7])[:, None, None]
            model.bias[:, 4:] = -1.5
    return model


def ladder_gaussians(model, z, x=None):
    """Each layer's Gaussian given the ``z`` ``[n, latent_dim]`` above it: of p, or of q with an image for each z."""

    def gaussian_of(maps):
        mean, raw = maps.flatten(1).chunk(2, dim=1)
        return mean, torch.exp(raw / (1 + raw.abs() / math.log(1_000)))

    top_down, gaussians = model.decoder["z"], []
    n_layers = len(top_down.layers)
    features = None if x is None else model.encoder["features"](x.view(-1, *model.shape)).chunk(n_layers, dim=1)
    state = top_down.start.expand(len(z), -1, -1, -1)
    for i, (layer, z_i) in enumerate(zip(top_down.layers, z.chunk(n_layers, dim=1), strict=True)):
        if i:
            state = state + layer.block.second(functional.elu(layer.block.first(functional.elu(state))))
        mean, std = gaussian_of(layer.prior(state))
        if features is not None:
            change = model.encoder["changes"][i]
            move, scale = gaussian_of(change.change(change.state(state) + features[i]))
            mean, std = mean + std * move, std * scale
        gaussians.append(Normal(mean, std))
        state = state + layer.enter(z_i.unflatten(1, (-1, *state.shape[2:])))
    return gaussians


LEVELS = {"bernoulli": 2, "logistic-mixture": 3, "categorical": 3}


def tiny_deep(likelihood="bernoulli", *, shape=(1, 2, 2), network="dense", seed=0, **arguments):
    """A deep VAE of four pixels and two latent dimensions, no part of which is at its start, with a wide q."""
    sizes = {"dense": {"width": 6, "n_layers": 2}, "gated-conv": {"widths": (2, 3, 4)}, "resnet": {"widths": (2, 3, 4)}}
    torch.manual_seed(seed)
    model = ImageVAE(
        shape,
        network,
        sizes[network],
        latent_dim=2,
        likelihood=likelihood,
        levels=LEVELS[likelihood],
        components=2,
        flow_width=8,
        **arguments,
    ).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Of flows, so that they bend and do not tear; of the rest, so that an image depends on z.
            parameter.add_((0.1 if "flow" in name else 0.3) * torch.randn_like(parameter))
        model.encoder[-1].weight.mul_(0.3)
        model.encoder[-1].bias[2:4] = 1.2
        if likelihood == "logistic-mixture":
            model.bias[:, 2:4] = torch.tensor([0.2, 0.7])[:, None, None]
            model.bias[:, 4:] = -1.5
    return model


def tiny_images(likelihood="bernoulli"):
    """Every image of four pixels: 16 of bits, 81 of three levels, ``[n, 1, 2, 2]``."""
    values = torch.linspace(0, 1, LEVELS[likelihood], dtype=torch.float64).tolist()
    return torch.tensor(list(itertools.product(values, repeat=4)), dtype=torch.float64).view(-1, 1, 2, 2)


def on_grid(step, furthest):
    """Points of a square ``[n, 2]`` around zero, so many apart."""
    half = round(furthest / step)
    axis = step * torch.arange(-half, half + 1, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis)


def quadrature_of(model, x, step=0.2, furthest=9.0):
    """log p(x), ``[batch]``, of any model of two latent dimensions, by the trapezoid rule over its joint density."""
    z = on_grid(step, furthest)
    with torch.no_grad():
        log_joint = model.log_joint(x, z.unsqueeze(1))
    return torch.logsumexp(log_joint, 0) + 2 * math.log(step)


def _shake(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("decoder"):
                parameter.mul_(3) if parameter.ndim == 2 else parameter.normal_(std=0.3)


def _widen(network, raw_std):
    with torch.no_grad():
        last = network[-1]
        latent_dim = len(last.bias) // 2
        last.weight.mul_(0.4)
        last.bias[latent_dim:] = raw_std


def gaussian(output):
    """The Gaussian whose mean and raw standard deviation a network puts out."""
    mean, raw_std = output.chunk(2, dim=-1)
    return Normal(mean, functional.softplus(raw_std) + 1e-6)


def quadrature(model, step, furthest=14.0):
    """log p(x) of `all_images`, by the trapezoid rule in two latent dimensions.

    For an analytic integrand that has vanished at the ends its error falls exponentially in ``1 / step``.
    """
    z = on_grid(step, furthest)
    standard = Normal(torch.zeros((), dtype=torch.float64), 1.0)
    with torch.no_grad():
        if isinstance(model, TwoLayerVAE):
            z1, z2 = z[:, :1], z[:, 1:]
            log_prior = (standard.log_prob(z2) + gaussian(model.decoder["z1"](z2)).log_prob(z1)).sum(-1)
            logits = model.decoder["x"](z1)
        else:
            log_prior, logits = standard.log_prob(z).sum(-1), model.decoder(z)
        log_joint = logits @ all_images().T - functional.softplus(logits).sum(-1, keepdim=True) + log_prior[:, None]
        return torch.logsumexp(log_joint, 0) + 2 * math.log(step)


def gradients(model, value):
    """Partial derivatives of ``value``: those of q in one vector, and those of the decoder in another."""
    model.zero_grad()
    value.backward(retain_graph=True)
    named = {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    decoder = torch.cat([grad.flatten() for name, grad in named.items() if name.startswith("decoder")])
    encoder = torch.cat([grad.flatten() for name, grad in named.items() if not name.startswith("decoder")])
    return encoder, decoder


def replicated_gradients(model, surrogate, x, runs, seed=0):
    """`gradients` of the mean of ``surrogate(model, x, generator)`` over ``x``, each ``[runs, ...]``, of new noise."""
    generator = torch.Generator().manual_seed(seed)
    pairs = [gradients(model, surrogate(model, x, generator).mean()) for _ in range(runs)]
    return tuple(torch.stack(part) for part in zip(*pairs, strict=True))


def rows_seen(network, axes=1):
    """A list that grows by a number of rows, of so many axes each, each time ``network`` is evaluated."""
    rows: list[int] = []

    def count(_: nn.Module, arguments: tuple[torch.Tensor, ...], __: torch.Tensor) -> None:
        rows.append(arguments[0].shape[:-axes].numel())

    network.register_forward_hook(count)
    return rows


def check_draws_have_their_density(draws, log_density, z, step):
    """Draws ``[n, batch, 2]`` of distributions whose density is known on a grid ``z`` ``[points, batch, 2]``."""
    density = log_density.exp() * step**2
    torch.testing.assert_close(density.sum(0), torch.ones(2).double(), rtol=0, atol=1e-6)
    for moment in (lambda z: z, lambda z: z**2, lambda z: z.prod(-1, keepdim=True)):
        drawn, mean = moment(draws), (density.unsqueeze(-1) * moment(z)).sum(0)
        assert ((drawn.mean(0) - mean) / (drawn.std(0) / math.sqrt(len(draws)))).abs().max() < 5
