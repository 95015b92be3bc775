"""Autoregressive flows: densities that integrate to one, an inverse that is one, and a Gaussian to start from."""

import math

import pytest
import torch
from safetensors.torch import load, save
from scipy import stats
from torch.autograd.functional import jacobian

from course_lib.vae.distributions import DiagonalGaussian, standard_normal_log_prob
from course_lib.vae.flows import FlowPrior, InverseAutoregressiveFlow


def shaken(flow, strength=0.4, seed=0):
    """The flow, far from where it starts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(strength * torch.randn(parameter.shape, generator=generator).to(parameter.dtype))
    return flow


def some_prior(latent_dim=2, n_layers=3, width=8, dtype=torch.float64, strength=0.4):
    torch.manual_seed(0)
    return shaken(FlowPrior(latent_dim, n_layers, width).to(dtype), strength)


def some_flow(latent_dim=4, n_layers=3, width=8, dtype=torch.float64, strength=0.4):
    torch.manual_seed(0)
    return shaken(InverseAutoregressiveFlow(latent_dim, 3, n_layers, width).to(dtype), strength)


def some_inputs(batch=5, latent_dim=4, dtype=torch.float64):
    """What an encoder would give: a Gaussian, and three more numbers for each image."""
    generator = torch.Generator().manual_seed(1)
    mean, raw_std, context = (torch.randn(batch, n, generator=generator, dtype=dtype) for n in (latent_dim,) * 2 + (3,))
    return DiagonalGaussian(mean, 0.3 + raw_std.exp()), context


def some_posterior(**sizes):
    flow = some_flow(**sizes)
    inputs = {name: size for name, size in sizes.items() if name in ("latent_dim", "dtype")}
    return flow(*some_inputs(**inputs))


def noise(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def plane(step, furthest=15.0):
    """A grid in two dimensions, ``[n, 2]``; its cells have the area ``step**2``."""
    axis = torch.arange(-furthest, furthest + step, step, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis)


# Densities


@torch.no_grad()
@pytest.mark.parametrize(("step", "error"), [(0.2, 1e-5), (0.1, 1e-6)])
def test_prior_density_integrates_to_one(step, error):
    prior = some_prior()
    assert float(prior.log_prob(plane(step)).exp().sum()) * step**2 == pytest.approx(1, abs=error)


@torch.no_grad()
def test_posterior_density_integrates_to_one_for_each_image():
    q, step = some_posterior(latent_dim=2, strength=0.25), 0.2
    z = plane(step)[:, None].expand(-1, 5, -1)
    assert (q.log_prob(z).exp().sum(0) * step**2).tolist() == pytest.approx([1] * 5, abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["prior", "posterior"])
def test_draws_fall_where_the_density_says(kind):
    """In cells of the plane, with chi-square: one false alarm in 100,000."""
    n, grid, step = 50_000, plane(0.1), 0.1
    if kind == "prior":
        flow = some_prior()
        draws, log_density = flow.sample(n, torch.Generator().manual_seed(0)), flow.log_prob(grid)
    else:
        q = some_flow(latent_dim=2, strength=0.25)(*some_inputs(batch=1, latent_dim=2))
        draws, log_density = q.rsample(n, torch.Generator().manual_seed(0))[:, 0], q.log_prob(grid[:, None])[:, 0]
    mass = log_density.exp() * step**2
    # Cells of 0.5 by 0.5, each of 5 by 5 points of the grid; all with less than 20 draws expected count as one.
    cells, cell_of_draw = (((points + step / 2) / 0.5).floor().long() + 100 for points in (grid, draws))
    assert cell_of_draw.min() >= 0 and cell_of_draw.max() <= 200
    expected = torch.zeros(201, 201, dtype=mass.dtype).index_put((cells[:, 0], cells[:, 1]), mass, accumulate=True)
    found = torch.zeros_like(expected).index_put(
        (cell_of_draw[:, 0], cell_of_draw[:, 1]), torch.ones(n, dtype=mass.dtype), accumulate=True
    )
    many = n * expected > 20
    expected = torch.cat([n * expected[many], n * expected[~many].sum()[None]])
    found = torch.cat([found[many], found[~many].sum()[None]])
    assert len(found) > 50
    assert float(((found - expected) ** 2 / expected).sum()) < stats.chi2.ppf(1 - 1e-5, len(found) - 1)


def test_density_of_draws_is_that_of_any_points():
    q = some_posterior()
    z, log_q = q.rsample_and_log_prob(6, noise(*range(5)))
    assert z.shape == (6, 5, 4) and log_q.shape == (6, 5)
    torch.testing.assert_close(q.log_prob(z), log_q, rtol=1e-10, atol=1e-10)
    assert torch.equal(q.rsample(6, noise(*range(5))), z)


def test_single_precision_is_enough_for_many_dimensions():
    flow, (base, context) = (
        some_flow(latent_dim=32, n_layers=8, width=64, dtype=torch.float32, strength=0.05),
        some_inputs(latent_dim=32, dtype=torch.float32),
    )
    z, log_q = flow(base, context).rsample_and_log_prob(50, noise(*range(5)))
    torch.testing.assert_close(flow(base, context).log_prob(z), log_q, rtol=0, atol=1e-3)
    flow, base = flow.double(), DiagonalGaussian(base.mean.double(), base.std.double())
    torch.testing.assert_close(flow(base, context.double()).log_prob(z.double()), log_q.double(), rtol=0, atol=1e-3)


# Transformations


@pytest.mark.parametrize("n_layers", [1, 2, 5])
def test_inverse_is_the_inverse(n_layers):
    steps = some_flow(n_layers=n_layers).steps
    x, context = torch.randn(7, 5, 4, dtype=torch.float64), some_inputs()[1]
    y, log_determinant = steps(x, context)
    back, the_same = steps(y, context, inverse=True)
    assert (y - x).abs().max() > 0.5
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(the_same, log_determinant, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_layers", [1, 2, 5])
def test_log_determinant_is_that_of_the_jacobian(n_layers):
    steps, context = some_flow(n_layers=n_layers).steps, some_inputs(batch=1)[1][0]
    x = torch.randn(4, dtype=torch.float64)
    _, log_determinant = steps(x, context)
    sign, exact = torch.linalg.slogdet(jacobian(lambda x: steps(x, context)[0], x))
    assert sign > 0 and abs(exact) > 0.01
    torch.testing.assert_close(log_determinant, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("number", "side"), [(0, "lower"), (1, "upper"), (2, "lower")])
def test_each_number_depends_on_all_before_it_and_none_after_it(number, side):
    """Forwards in the first step, backwards in the second."""
    step, context = some_flow().steps[number], some_inputs(batch=1)[1][0]
    matrix = jacobian(lambda x: step(x, context)[0], torch.randn(4, dtype=torch.float64))
    matrix = matrix if side == "lower" else matrix.T
    assert not matrix.triu(1).any()
    assert (matrix.tril() != 0).sum() == 10


def test_every_number_depends_on_every_number_of_the_context():
    flow, (base, context) = some_flow(n_layers=1), some_inputs(batch=1)
    derivatives = jacobian(lambda context: flow(base, context).rsample(1, noise(0)), context)
    assert derivatives.squeeze().shape == (4, 3)
    assert derivatives.all()


def test_images_do_not_touch_each_other():
    flow, (base, context) = some_flow(), some_inputs()
    whole = flow(base, context).rsample_and_log_prob(6, noise(*range(5)))
    some = [4, 1]
    part = flow(DiagonalGaussian(base.mean[some], base.std[some]), context[some]).rsample_and_log_prob(6, noise(*some))
    for found, exact in zip(part, whole, strict=True):
        torch.testing.assert_close(found, exact[:, some], rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_scales_stay_within_bounds_whatever_the_weights():
    flow = some_flow(n_layers=1, strength=100.0)
    x, (_, context) = torch.randn(50, 5, 4, dtype=torch.float64), some_inputs()
    _, log_determinant = flow.steps(x, context)
    assert log_determinant.abs().max() > 10
    assert log_determinant.abs().max() <= 4 * math.log(1_000)


# Where it starts


def test_posterior_starts_as_the_gaussian_it_is_given():
    torch.manual_seed(0)
    flow, (base, context) = InverseAutoregressiveFlow(4, 3, 5, 8).double(), some_inputs()
    z, log_q = flow(base, context).rsample_and_log_prob(6, noise(*range(5)))
    exact, log_exact = base.rsample_and_log_prob(6, noise(*range(5)))
    assert torch.equal(z, exact) and torch.equal(log_q, log_exact)


def test_prior_starts_as_the_standard_normal():
    prior = FlowPrior(4, 5, 8)
    z = torch.randn(3, 2, 4)
    assert torch.equal(prior.log_prob(z), standard_normal_log_prob(z))
    assert torch.equal(prior.sample(6, torch.Generator().manual_seed(0)), torch.randn(6, 4, generator=noise(0)[0]))


def test_training_takes_it_away_from_there():
    """A prior learns a ring, which no Gaussian is: its entropy bounds the mean log-density that any prior can have."""
    torch.manual_seed(0)
    prior = FlowPrior(2, 4, 32)
    optimizer = torch.optim.Adam(prior.parameters(), lr=5e-3)

    def ring(n):
        angle, radius = 2 * math.pi * torch.rand(n), 2 + 0.2 * torch.randn(n)
        return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)

    for _ in range(300):
        optimizer.zero_grad()
        (-prior.log_prob(ring(256)).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        data = ring(20_000)
        radius = data.norm(dim=-1)
        exact = -0.5 * ((radius - 2) / 0.2) ** 2 - math.log(0.2 * math.sqrt(2 * math.pi)) - (2 * math.pi * radius).log()
        # The best Gaussian has deviation 2 / sqrt(2) in each direction.
        gaussian = DiagonalGaussian(torch.zeros(2), torch.full((2,), math.sqrt(2.02))).log_prob(data)
        gap = (exact - prior.log_prob(data)).mean()
        assert 0 < gap < 0.5 * (exact - gaussian).mean()


# Gradients


def test_gradients_reach_the_weights_the_base_and_the_context_by_both_ways():
    for way in ("draws", "points"):
        flow, (base, context) = some_flow(), some_inputs()
        sources = [base.mean.requires_grad_(), base.std.requires_grad_(), context.requires_grad_(), *flow.parameters()]
        q = flow(base, context)
        z, log_q = q.rsample_and_log_prob(6, noise(*range(5)))
        value = log_q.sum() if way == "draws" else q.log_prob(z.detach()).sum()
        for gradient in torch.autograd.grad(value, sources):
            assert gradient.any()


def test_gradient_of_the_density_at_a_point_is_exact():
    flow, (base, context) = some_flow(n_layers=2), some_inputs(batch=2)
    z = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    context.requires_grad_()
    assert torch.autograd.gradcheck(lambda z, context: flow(base, context).log_prob(z), (z, context))


def test_a_detached_posterior_is_the_same_without_gradients_except_to_z():
    flow, (base, context) = some_flow(), some_inputs()
    mean, context = base.mean.requires_grad_(), context.requires_grad_()
    q = flow(base, context)
    z, log_q = q.rsample_and_log_prob(3, noise(*range(5)))
    frozen = q.detached()
    for again in (frozen, frozen.detached()):
        found, log_found = again.rsample_and_log_prob(3, noise(*range(5)))
        assert torch.equal(found, z) and torch.equal(log_found, log_q)
        assert not found.requires_grad and not log_found.requires_grad
    point = z.detach().requires_grad_()
    (through_frozen,) = torch.autograd.grad(frozen.log_prob(point).sum(), point)
    (through_q,) = torch.autograd.grad(q.log_prob(point).sum(), point)
    torch.testing.assert_close(through_frozen, through_q, rtol=1e-12, atol=1e-12)
    assert through_frozen.any()
    frozen.log_prob(point).sum().backward()
    assert all(source.grad is None for source in (mean, context, *flow.parameters()))
    # The original is as it was.
    assert q.log_prob(point).requires_grad


def test_prior_density_passes_gradients_to_weights_and_points():
    prior, z = some_prior(), torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    for gradient in torch.autograd.grad(prior.log_prob(z).sum(), [z, *prior.parameters()]):
        assert gradient.any()


# In use


def test_a_flow_of_other_draws():
    flow, (base, context) = some_flow(), some_inputs()
    wider = DiagonalGaussian(base.mean, 2 * base.std)
    z, log_q = flow(base, context).with_base(wider).rsample_and_log_prob(6, noise(*range(5)))
    exact, log_exact = flow(wider, context).rsample_and_log_prob(6, noise(*range(5)))
    assert torch.equal(z, exact) and torch.equal(log_q, log_exact)


def test_draws_of_a_prior_belong_to_their_generator():
    prior = some_prior(4)
    assert torch.equal(prior.sample(3, *noise(5)), prior.sample(3, *noise(5)))
    assert not torch.equal(prior.sample(3, *noise(5)), prior.sample(3, *noise(6)))


def test_prior_density_takes_any_shape():
    prior, z = some_prior(4), torch.randn(3, 2, 5, 4, dtype=torch.float64)
    assert prior.log_prob(z).shape == (3, 2, 5)
    torch.testing.assert_close(prior.log_prob(z)[1, 1, 1], prior.log_prob(z[1, 1, 1]))


@pytest.mark.parametrize("make", [some_flow, some_prior])
def test_weights_survive_a_file(make):
    flow, other = make(), make(strength=0.0)
    file = save(flow.state_dict())
    other.load_state_dict(load(file))
    assert flow.state_dict().keys() == dict(flow.named_parameters()).keys()
    z = torch.randn(5, 4 if make is some_flow else 2, dtype=torch.float64)
    context = some_inputs()[1] if make is some_flow else None
    for found, exact in zip(other.steps(z, context), flow.steps(z, context), strict=True):
        assert torch.equal(found, exact)


def test_autocast_keeps_draws_and_densities_in_single_precision():
    flow = some_flow(latent_dim=16, width=64, dtype=torch.float32, strength=0.05)
    base, context = some_inputs(latent_dim=16, dtype=torch.float32)
    exact, log_exact = flow(base, context).rsample_and_log_prob(200, noise(*range(5)))
    with torch.autocast("cpu", torch.bfloat16):
        z, log_q = flow(base, context).rsample_and_log_prob(200, noise(*range(5)))
        log_prior = some_prior(dtype=torch.float32).log_prob(torch.zeros(3, 2))
    assert z.dtype == log_q.dtype == log_prior.dtype == torch.float32
    assert not torch.equal(z, exact)
    # Shifts and log-scales of order one, rounded to 8 bits.
    assert (z - exact).abs().max() < 0.1
    assert (log_q - log_exact).abs().max() < 0.1
    (-log_q.mean()).backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in flow.parameters())


def test_autocast_rounds_the_network_but_not_the_density_of_the_draws():
    """What is rounded is still a flow, with the determinant that is reported."""
    steps, context = some_flow(dtype=torch.float32, strength=0.2).steps, some_inputs(dtype=torch.float32)[1]
    x = torch.randn(200, 5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        y, log_determinant = steps(x, context)
        back, the_same = steps(y, context, inverse=True)
    torch.testing.assert_close(back, x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(the_same, log_determinant, rtol=1e-5, atol=1e-4)


def test_compiled_steps_do_the_same():
    plain, compiled = some_flow(), some_flow()
    compiled.steps.compile(backend="eager", fullgraph=True)
    base, context = some_inputs()
    for found, exact in zip(
        compiled(base, context).rsample_and_log_prob(3, noise(*range(5))),
        plain(base, context).rsample_and_log_prob(3, noise(*range(5))),
        strict=True,
    ):
        torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)
    assert compiled.state_dict().keys() == plain.state_dict().keys()


# Bad input


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ((1, 2, 8), "a flow needs at least 2 latent dimensions"),
        ((0, 2, 8), "latent_dim must be a whole number of at least 1; got 0"),
        ((4, 0, 8), "n_layers must be a whole number of at least 1; got 0"),
        ((4, 2, 2.5), "width must be a whole number of at least 1; got 2.5"),
        ((4, 2, 3), "4 latent dimensions needs a width of at least 4, .*; got 3"),
    ],
)
def test_sizes_out_of_range_are_refused(sizes, told):
    latent_dim, n_layers, width = sizes
    with pytest.raises(ValueError, match=told):
        FlowPrior(*sizes)
    with pytest.raises(ValueError, match=told):
        InverseAutoregressiveFlow(latent_dim, 3, n_layers, width)


def test_a_posterior_without_context_is_refused():
    with pytest.raises(ValueError, match="context_dim must be a whole number of at least 1; got 0"):
        InverseAutoregressiveFlow(4, 0, 2, 8)


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_no_draws_are_refused(n):
    with pytest.raises(ValueError, match="the number of samples must be a whole number of at least 1"):
        some_prior().sample(n)
