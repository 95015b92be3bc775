"""A Hamiltonian move leaves its density alone, is as likely there as back, and follows the right gradients."""

import math

import pytest
import torch
from scipy import stats
from small_models import all_images, moved_linear, small_two_layer, small_vae

from course_lib.vae.hamiltonian import Kernel, Path, State, leapfrog, noise_of_moves
from course_lib.vae.noise import Purpose, keyed

STARTS = ["prior", "encoder"]


def gaussian_path(start="prior", n_images=3, k=4_000, beta=0.7, seed=0):
    """A path between Gaussians, and exact draws ``[k, n_images, 2]`` from its density at beta, with their momenta."""
    model = moved_linear()
    x = model.simulate(n_images, seed)
    weight = model.decoder.weight.detach()
    with torch.no_grad():
        path = Path(model, x, start)
        if start == "prior":
            start_precision, start_mean = torch.eye(2, dtype=x.dtype), torch.zeros(n_images, 2, dtype=x.dtype)
        else:
            start_precision, start_mean = torch.diag((-2 * model.log_std).exp()), model.posterior(x).mean
        end_precision = torch.eye(2, dtype=x.dtype) + weight.T @ weight / model.noise_std**2
        end_mean = model.exact_posterior(x).mean
        precision = (1 - beta) * start_precision + beta * end_precision
        pull = (1 - beta) * start_mean @ start_precision + beta * end_mean @ end_precision
        density = torch.distributions.MultivariateNormal(
            torch.linalg.solve(precision, pull.T).T, precision_matrix=precision
        )
        torch.manual_seed(seed)
        return path, density, density.sample((k,)), torch.randn(k, n_images, 2, dtype=x.dtype)


def moved(path, z, momentum, beta, step, n_moves, refreshment, seed=1):
    """Where so many moves lead, their momenta, and the mean probability of acceptance."""
    generators = [keyed(z.device, Purpose.EVIDENCE, seed, image) for image in range(z.shape[1])]
    kernel, state, rates = Kernel(path, 3, refreshment), State(path.at(z), momentum), []
    for noise in noise_of_moves(generators, n_moves, z):
        state, rate = kernel.step(state, beta, torch.full((z.shape[1],), step, dtype=z.dtype), noise)
        rates.append(rate.mean())
    return state.point.z, state.momentum, float(torch.stack(rates).mean())


def whitened(density, z):
    """Standard normal if z is from the density."""
    return torch.linalg.solve_triangular(density.scale_tril, (z - density.mean).unsqueeze(-1), upper=False).squeeze(-1)


def assert_standard_normal(z):
    """Kolmogorov-Smirnov on each of the last axes: one false alarm in 100,000 for the whole call."""
    columns = z.flatten(1).T.numpy()
    for column in columns:
        assert stats.kstest(column, "norm").pvalue > 1e-5 / len(columns)


@pytest.mark.parametrize("refreshment", [1.0, 0.2], ids=["all", "partial"])
@pytest.mark.parametrize("start", STARTS)
def test_moves_leave_their_density_as_it_is(start, refreshment):
    path, density, z, momentum = gaussian_path(start)
    z, momentum, rate = moved(path, z, momentum, 0.7, step=0.55, n_moves=7, refreshment=refreshment)
    assert 0.3 < rate < 0.9  # so that both outcomes of a move are tried
    white = whitened(density, z)
    assert_standard_normal(white)
    assert_standard_normal(momentum)
    # Neither do z and momentum become related, which a kept sign after a rejection would bring about.
    both = torch.cat([white, momentum], dim=-1).flatten(1)
    correlations = torch.corrcoef(both.T) - torch.eye(both.shape[1], dtype=z.dtype)
    assert correlations.abs().max() < 5 / math.sqrt(len(z))


def test_moves_are_as_likely_there_as_back():
    """Detailed balance: exchanging where chains were and where they are changes no statistic of the pair."""
    path, density, z, momentum = gaussian_path(k=20_000)
    after, _, rate = moved(path, z, momentum, 0.7, step=0.55, n_moves=1, refreshment=1.0)
    assert 0.3 < rate < 0.9
    a, b = whitened(density, z), whitened(density, after)
    for f in (lambda a, b: a**3 * b, lambda a, b: a**2 * b, lambda a, b: (a > 0.5) * (b < -0.5).to(b)):
        asymmetry = (f(a, b) - f(b, a)).flatten(1)
        error = asymmetry.std(0) / math.sqrt(len(z))
        assert (error > 0).all()
        assert (asymmetry.mean(0).abs() < 4.5 * error).all()


def test_leapfrog_returns_to_where_it_came_from():
    model = small_vae()
    path = Path(model, all_images()[:5], "prior")
    torch.manual_seed(0)
    z, momentum = torch.randn(2, 7, 5, 2, dtype=torch.float64)
    step = torch.linspace(0.1, 0.4, 5, dtype=torch.float64)
    there = leapfrog(path, State(path.at(z), momentum), 0.6, step, 12)
    assert (there.point.z - z).abs().amax((0, 2)).min() > 0.1
    back = leapfrog(path, State(there.point, -there.momentum), 0.6, step, 12)
    torch.testing.assert_close(back.point.z, z, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(-back.momentum, momentum, rtol=1e-10, atol=1e-10)


def test_leapfrog_keeps_volumes():
    path = Path(small_vae(), all_images()[5:6], "prior")
    step = torch.tensor([0.3], dtype=torch.float64)

    def flow(state):
        start = State(path.at(state[None, None, :2]), state[None, None, 2:])
        end = leapfrog(path, start, 0.6, step, 5)
        return torch.cat([end.point.z, end.momentum], dim=-1).flatten()

    at, h = torch.tensor([0.3, -0.5, 1.0, 0.4], dtype=torch.float64), 1e-5
    jacobian = torch.stack([(flow(at + h * one) - flow(at - h * one)) / (2 * h) for one in torch.eye(4).double()])
    assert (jacobian - torch.eye(4)).abs().max() > 0.1
    # Central differences are wrong by the order of h squared.
    assert float(torch.linalg.det(jacobian)) == pytest.approx(1, abs=1e-7)


def test_energy_error_is_of_second_order():
    path, _, z, momentum = gaussian_path(k=200)
    energy = []
    for n_leapfrog in (10, 20):
        step = torch.full((3,), 1.0 / n_leapfrog, dtype=torch.float64)
        end = leapfrog(path, State(path.at(z), momentum), 0.7, step, n_leapfrog)
        error = end.point.log_density(0.7) - path.at(z).log_density(0.7)
        error += 0.5 * (momentum**2 - end.momentum**2).sum(-1)
        energy.append(float(error.abs().mean()))
    assert 3.3 < energy[0] / energy[1] < 5


def test_gradients_are_those_of_the_density():
    for model in (small_vae(), small_two_layer()):
        x = all_images()[[3, 40]]
        for start in STARTS:
            path = Path(model, x, start)
            z = torch.randn(3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
            point = path.at(z)
            z.requires_grad_()
            log_start = model.log_prior(z) if start == "prior" else model.posterior(x).log_prob(z)
            wanted = 0.7 * log_start + 0.3 * model.log_joint(x, z)
            torch.testing.assert_close(point.log_density(0.3), wanted.detach(), rtol=1e-12, atol=1e-12)
            (gradient,) = torch.autograd.grad(wanted.sum(), z)
            torch.testing.assert_close(point.gradient(0.3), gradient, rtol=1e-10, atol=1e-10)
