"""log p(x): exact where the proposal is the posterior, honest about its error elsewhere, and the same every time."""

import io
import math
import os
import subprocess
import sys

import pytest
import torch
from scipy import stats
from small_models import (
    all_images,
    moved_linear,
    quadrature,
    rows_seen,
    small_two_layer,
    small_vae,
    tiny_deep,
    tiny_images,
)

from course_lib.estimates import Estimate, effective_sample_size, log_mean_exp, pareto_k, tail_length
from course_lib.vae import VAE, Evidence, LinearGaussianVAE, blocks, evidence, log_likelihood
from course_lib.vae.blocks import images_per_block
from course_lib.vae.evidence import RunningEvidence
from course_lib.vae.noise import Purpose, keyed
from course_lib.vae.proposals import defensive_mixture, encoder, prior, student_t, widened

PROPOSALS = {
    "encoder": encoder,
    "prior": prior,
    "widened": widened(1.3),
    "student t": student_t(4),
    "defensive mixture": defensive_mixture(0.1),
}
FIELDS = ("per_image", "std_error", "elbo", "elbo_std_error", "ess", "largest_log_weights")


def slightly_moved(data_dim=5, latent_dim=2):
    model = LinearGaussianVAE.random(data_dim, latent_dim, seed=3)
    with torch.no_grad():
        model.encoder.bias.add_(0.05)
        model.log_std.add_(0.15)
    return model


def drawn_again(model, x, n_samples, seed=0, first_image=0):
    """All log-weights ``[n_samples, batch]`` that an estimate used, kept at once."""
    generators = [keyed(x.device, Purpose.EVIDENCE, seed, first_image + image) for image in range(len(x))]
    pieces = [min(1_000, n_samples - start) for start in range(0, n_samples, 1_000)]
    with torch.no_grad():
        return torch.cat([model.log_weights(x, piece, generators) for piece in pieces]).numpy()


def assert_same(one, other, images=slice(None)):
    for name in FIELDS:
        found, exact = getattr(one, name), getattr(other, name)[..., images]
        if name == "largest_log_weights":
            found, exact = found.sort(0).values, exact.sort(0).values
        torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-10)


def assert_standard_normal(z):
    """Hold the sum of squares against chi-square, and the mean: one false alarm in 50,000 of each."""
    assert stats.chi2.ppf(1e-5, len(z)) < float((z**2).sum()) < stats.chi2.ppf(1 - 1e-5, len(z))
    assert abs(z.mean()) < 4.4 / math.sqrt(len(z))


# Right


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_samples", [2, 30, 2_500])
def test_posterior_as_proposal_gives_the_exact_answer_without_error(n_samples):
    model = LinearGaussianVAE.random(5, 2, seed=0)
    x = model.simulate(4, seed=0)
    exact = model.exact_log_likelihood(x).detach()
    found = log_likelihood(model, x, n_samples)
    torch.testing.assert_close(found.per_image, exact, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.elbo, exact, rtol=1e-12, atol=1e-12)
    # An error is the root of a variance, which has lost the last digits.
    assert max(found.std_error.max(), found.elbo_std_error.max()) < 1e-7
    assert (found.ess / n_samples).tolist() == pytest.approx([1] * 4, rel=1e-12)
    assert found.pareto_k.isnan().all()
    assert math.isnan(found.mean.pareto_k)
    assert found.mean.value == pytest.approx(float(exact.mean()), rel=1e-12)
    assert found.mean.max_weight_share == pytest.approx(1 / n_samples, rel=1e-9)
    assert found.mean.against(float(exact.mean())).agrees
    for image in range(4):
        # Where not even the last digits vary there is no interval, but rounding.
        assert log_likelihood(model, x[[image]], n_samples).mean.against(float(exact[image])).agrees
    assert f"k-hat above {found.pareto_k_limit:.2f} for 0 of them" in str(found)
    assert "k-hat not applicable" in str(found.mean)


def test_errors_are_calibrated_on_a_linear_model():
    """Over 400 images the distance from log p(x), and of the ELBO from its exact value, in standard errors."""
    model = slightly_moved()
    x = model.simulate(400, seed=0)
    found = log_likelihood(model, x, 1_500, seed=1)
    with torch.no_grad():
        # The estimate's expectation is below log p(x) by half of the squared error.
        assert_standard_normal(
            (found.per_image + found.std_error**2 / 2 - model.exact_log_likelihood(x)) / found.std_error
        )
        assert_standard_normal((found.elbo - model.exact_elbo(x)) / found.elbo_std_error)
        assert found.mean.against(float(model.exact_log_likelihood(x).mean())).agrees
        value, error = found.mean_elbo
        assert abs(value - float(model.exact_elbo(x).mean())) < 5 * error
        assert found.per_image.mean() - found.elbo.mean() > 5 * error


@pytest.mark.parametrize("make", [small_vae, small_two_layer], ids=["VAE", "TwoLayerVAE"])
def test_neural_networks_agree_with_quadrature_on_every_image(make):
    model = make()
    exact = quadrature(model, step=0.1)
    found = log_likelihood(model, all_images(), 5_000)
    z = (found.per_image - exact) / found.std_error
    # 64 images, at 5 standard errors each.
    assert z.abs().max() < 5
    assert found.mean.against(float(exact.mean())).agrees
    in_single_precision = log_likelihood(model.float(), all_images().float(), 5_000)
    assert in_single_precision.per_image.dtype == torch.float64
    z = (in_single_precision.per_image - exact) / in_single_precision.std_error
    assert z.abs().max() < 5


# A stream


@pytest.mark.parametrize("n_samples", [2, 999, 1_000, 1_001, 2_500])
def test_streaming_gives_what_all_weights_at_once_would(n_samples):
    model = moved_linear()
    x = model.simulate(3, seed=1)
    found, log_w = log_likelihood(model, x, n_samples, seed=4), drawn_again(model, x, n_samples, seed=4)
    each = [Estimate.from_log_weights(column) for column in log_w.T]
    assert found.per_image.tolist() == pytest.approx(log_mean_exp(log_w), rel=1e-12)
    assert found.std_error.tolist() == pytest.approx([one.std_error / one.value for one in each], rel=1e-9)
    assert found.elbo.tolist() == pytest.approx(log_w.mean(0), rel=1e-12)
    assert found.elbo_std_error.tolist() == pytest.approx(log_w.std(0, ddof=1) / math.sqrt(n_samples), rel=1e-9)
    assert found.ess.tolist() == pytest.approx(effective_sample_size(log_w), rel=1e-10)
    assert found.pareto_k.tolist() == pytest.approx([pareto_k(column) for column in log_w.T], rel=1e-6, nan_ok=True)
    mean = found.mean
    assert mean.n == mean.n_hits == 3 * n_samples
    assert mean.value == pytest.approx(log_mean_exp(log_w).mean(), rel=1e-12)
    assert mean.std_error == pytest.approx(math.sqrt(sum((one.std_error / one.value) ** 2 for one in each)) / 3)
    assert mean.ess == pytest.approx(sum(one.ess for one in each))
    assert mean.max_weight_share == pytest.approx(max(one.max_weight_share for one in each))
    if n_samples >= 999:
        assert mean.pareto_k == pytest.approx(sorted(one.pareto_k for one in each)[1], rel=1e-6)


def test_weights_of_any_magnitude_can_be_streamed():
    """Of two thousand pixels: their weights are zero as floats, in double precision too."""
    model = VAE(2_000, hidden=(2,), latent_dim=1).double()
    x = (torch.rand(1, 2_000, generator=torch.Generator().manual_seed(0)) > 0.5).double()
    found, log_w = log_likelihood(model, x, 1_100), drawn_again(model, x, 1_100)
    assert log_w.max() < -1_000
    assert float(found.per_image[0]) == pytest.approx(float(log_mean_exp(log_w)[0]), rel=1e-12)


_PEAK = """
import resource, sys, torch
from course_lib.vae import VAE, log_likelihood
torch.manual_seed(0)
model, x = VAE(784, hidden=(20,), latent_dim=50), (torch.rand(2, 784) > 0.5).float()
def peak(n_samples):
    log_likelihood(model, x, n_samples)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
few = peak(3_000)
print(peak(30_000) - few)
"""


def test_no_more_weights_are_kept_than_k_hat_looks_at():
    kept = [len(log_likelihood(small_vae(), all_images()[:1], n).largest_log_weights) for n in (20, 2_000, 8_000)]
    assert kept == [20, tail_length(2_000), tail_length(8_000)]


def test_memory_does_not_grow_with_the_number_of_samples():
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True)
    # The logits of 27,000 more samples of two images would take 170 MB; the 2,000 rows taken at once are 6 MB.
    assert int(done.stdout) < 60e6


# A value


def test_what_is_added_later_changes_no_evidence_taken_before():
    model = moved_linear()
    x = model.simulate(5, seed=2)
    whole = log_likelihood(model, x, 300)
    running = RunningEvidence(5, 300, 4)
    running.add(log_likelihood(model, x[:2], 300))
    first = running.evidence()
    before = {name: tensor.clone() for name, tensor in first.tensors().items()}
    running.add(log_likelihood(model, x[2:], 300, first_image=2))
    assert (len(first.per_image), running.n_done) == (2, 5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in first.tensors().items())
    assert first.mean.value == pytest.approx(float(whole.per_image[:2].mean()), rel=1e-12)
    assert_same(running.evidence(), whole)


@pytest.mark.parametrize(("n_images", "n_samples"), [(3, 10), (2, 11)])
def test_more_images_than_there_is_room_for_are_refused_and_other_samples(n_images, n_samples):
    running = RunningEvidence(2, 10, 6)
    with pytest.raises(
        ValueError, match=rf"for 2 images of 10 samples; got image number {n_images} with {n_samples} s"
    ):
        running.add(log_likelihood(small_vae(), all_images()[:n_images], n_samples))
    assert running.n_done == 0


@pytest.mark.filterwarnings("error")
def test_weights_of_zero_count_and_leave_no_lower_bound():
    log_w = torch.tensor([[-math.inf, -1.0], [-2.0, -3.0], [-1.0, -2.0]], dtype=torch.float64)
    found = Evidence.from_log_weights(log_w, 4)
    assert found.per_image.tolist() == pytest.approx(log_mean_exp(log_w.numpy()), rel=1e-14)
    assert found.ess.tolist() == pytest.approx(effective_sample_size(log_w.numpy()), rel=1e-14)
    assert found.elbo.tolist() == [-math.inf, pytest.approx(-2.0)]
    assert (found.n_samples, found.data_dim) == (3, 4)


# The same every time


def test_an_image_has_the_same_draws_in_any_batch():
    model = moved_linear()
    x = model.simulate(7, seed=2)
    whole = log_likelihood(model, x, 1_200, seed=5)
    assert_same(log_likelihood(model, x[3:6], 1_200, seed=5, first_image=3), whole, slice(3, 6))
    assert_same(log_likelihood(model, x[6:], 1_200, seed=5, first_image=6), whole, slice(6, 7))
    parts = [log_likelihood(model, x[a:b], 1_200, 5, first_image=a) for a, b in ((0, 2), (2, 3), (3, 7))]
    assert_same(Evidence.joined(parts), whole)
    assert not torch.equal(log_likelihood(model, x[3:6], 1_200, seed=5).per_image, whole.per_image[3:6])


@pytest.mark.parametrize("proposal", [*PROPOSALS, "flow"])
def test_how_much_fits_into_memory_changes_nothing(monkeypatch, proposal):
    model, n = moved_linear(), 1_200
    x, how = model.simulate(7, seed=2), PROPOSALS.get(proposal, encoder)
    if proposal == "flow":
        model, x = tiny_deep(posterior_flows=2, prior_flows=1), tiny_images("bernoulli")[:7]
    seen = rows_seen(model.decoder)
    whole = log_likelihood(model, x, n, proposal=how)
    assert (sum(seen), max(seen)) == (7 * n, 7_000)
    for rows in (1, 999, 2_500):
        monkeypatch.setattr(blocks, "_NUMBERS_ON_CPU", rows * model.floats_per_draw)
        seen.clear()
        assert_same(log_likelihood(model, x, n, proposal=how), whole)
        # Of every sample once, and never more than there is room for.
        assert (sum(seen), max(seen)) == (7 * n, min(rows, 2_000))
        assert images_per_block(model, n) == max(1, rows // 1_000)


@pytest.mark.parametrize("proposal", PROPOSALS)
def test_every_proposal_gives_the_exact_answer_within_its_error(proposal):
    model = slightly_moved()
    x = model.simulate(100, seed=0)
    found = log_likelihood(model, x, 4_000, seed=1, proposal=PROPOSALS[proposal])
    exact = model.exact_log_likelihood(x).detach()
    # 100 images, at 5 standard errors each, and their mean. From the prior, weights are too uneven for so few samples.
    is_good = found.ess > 200
    assert is_good.double().mean() > (0.3 if proposal == "prior" else 0.99)
    z = ((found.per_image - exact + found.std_error**2 / 2) / found.std_error)[is_good]
    assert z.abs().max() < 5 and abs(z.mean()) < 5 / math.sqrt(len(z))
    # The mean log-weight is the ELBO of what z was drawn from: below that of the encoder only if that is near.
    assert (found.elbo <= exact + 5 * found.elbo_std_error).all()
    if proposal == "encoder":
        assert found.per_image.equal(log_likelihood(model, x, 4_000, seed=1).per_image)
    else:
        assert not torch.allclose(found.elbo, model.exact_elbo(x).detach(), atol=0.01)


def test_the_elbo_of_a_proposal_is_the_mean_log_weight_of_its_own_draws():
    """Exactly, for the prior: E[log p(x|z)] of a linear-Gaussian model is that of a quadratic form."""
    model = slightly_moved()
    x = model.simulate(20, seed=0)
    found = log_likelihood(model, x, 4_000, seed=1, proposal=prior)
    with torch.no_grad():
        squares = ((x - model.decoder.bias) ** 2).sum(-1) + (model.decoder.weight**2).sum()
        constant = -5 * (0.5 * math.log(2 * math.pi) + math.log(model.noise_std))
        exact = constant - 0.5 * squares / model.noise_std**2
    assert ((found.elbo - exact) / found.elbo_std_error).abs().max() < 5


@pytest.mark.parametrize("proposal", PROPOSALS)
def test_an_image_has_the_same_draws_of_any_proposal_in_any_batch(proposal):
    model = moved_linear()
    x = model.simulate(5, seed=2)
    how = {"n_samples": 1_100, "seed": 5, "proposal": PROPOSALS[proposal]}
    whole = log_likelihood(model, x, **how)
    parts = [log_likelihood(model, x[a:b], **how, first_image=a) for a, b in ((0, 1), (1, 3), (3, 5))]
    assert_same(Evidence.joined(parts), whole)


def test_number_of_threads_changes_nothing():
    model, threads = small_vae(), torch.get_num_threads()
    found = []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            found.append(log_likelihood(model, all_images()[:10], 1_500))
    finally:
        torch.set_num_threads(threads)
    assert_same(found[1], found[0])
    assert_same(found[2], found[0])


def test_images_and_seeds_have_draws_of_their_own():
    model = moved_linear()
    x = model.simulate(1, seed=0).repeat(20, 1)
    values = torch.cat([log_likelihood(model, x, 50, seed).per_image for seed in (0, 1, 2**40)])
    assert len(values.unique()) == 60


def test_torch_s_own_generator_is_left_alone():
    model = small_vae()
    before = torch.get_rng_state()
    log_likelihood(model, all_images()[:2], 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_result_can_take_part_in_further_computation():
    found = log_likelihood(small_vae(), all_images()[:3], 10)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    (scale * found.per_image).sum().backward()
    assert float(scale.grad) == pytest.approx(float(found.per_image.sum()))
    assert not found.per_image.requires_grad


# In words


def test_bits_per_dimension_are_nats_over_log_2_and_dimensions():
    model = VAE(6, hidden=(3,), latent_dim=2).double()
    with torch.no_grad():
        for parameter in model.decoder[-1].parameters():
            parameter.zero_()
    found = log_likelihood(model, all_images()[:5], 4_000)
    # Every pixel is a fair coin: one bit each, within the error that q leaves.
    error = float(found.mean.std_error) / (6 * math.log(2))
    assert abs(found.bits_per_dim - 1) < 5 * error
    assert found.bits_per_dim == pytest.approx(-found.mean.value / math.log(2) / 6, rel=1e-14)
    assert f"{found.bits_per_dim:.3f} bits per dimension" in str(found)
    assert "mean of 5 images with 4,000 samples each" in repr(found)


@pytest.mark.filterwarnings("error")
def test_spread_over_images_is_another_error_and_needs_two_of_them():
    model = moved_linear()
    found = log_likelihood(model, model.simulate(30, seed=0), 100)
    assert found.std_error_over_images == pytest.approx(float(found.per_image.std()) / math.sqrt(30))
    alone = log_likelihood(model, model.simulate(1, seed=0), 100)
    assert math.isnan(alone.std_error_over_images)
    assert alone.mean.std_error == pytest.approx(float(alone.std_error[0]))


def test_a_proposal_too_narrow_is_told_by_k_hat():
    model = LinearGaussianVAE.random(5, 2, seed=0)
    with torch.no_grad():
        model.log_std.sub_(1.5)
    found = log_likelihood(model, model.simulate(10, seed=0), 4_000)
    # Weights of a Gaussian seen through one narrower by e^-1.5 have the tail index 1 - e^-3 = 0.95.
    assert (found.pareto_k > 0.7).double().mean() > 0.5
    assert f"for {int((found.pareto_k > 0.7).sum())} of them" in str(found)
    assert any("k-hat" in caveat for caveat in found.mean.caveats)


@pytest.mark.parametrize(("patience", "progress", "shown"), [(0, True, True), (0, False, False), (3600, True, False)])
def test_progress_shows_where_it_takes_long_unless_silenced(monkeypatch, patience, progress, shown):
    monkeypatch.setattr(evidence, "_PATIENCE_SECONDS", patience)
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    log_likelihood(small_vae(), all_images()[:3], 1_000, progress=progress)
    assert ("/3.00k" in screen.getvalue()) == ("draws" in screen.getvalue()) == shown


_SILENCED = """
import torch
from course_lib.vae import VAE, evidence, log_likelihood
evidence._PATIENCE_SECONDS = 0
log_likelihood(VAE(6, hidden=(3,), latent_dim=2), torch.zeros(1, 6), 10)
"""


@pytest.mark.parametrize("silenced", [True, False])
def test_stored_notebooks_are_executed_without_a_bar(silenced):
    environment = os.environ | ({"TQDM_DISABLE": "1"} if silenced else {})
    command = [sys.executable, "-c", _SILENCED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert ("draws" in done.stderr) == (not silenced)


# Bad input


class OneImage:
    """A proposal for another batch than it was asked for."""

    def rsample_and_log_prob(self, k, generator=None):
        return torch.zeros(k, 1, 2, dtype=torch.float64), torch.zeros(k, 1, dtype=torch.float64)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"n_samples": 1}, "an error needs at least 2 samples; got n_samples = 1"),
        ({"n_samples": 0}, "a whole number of at least 1; got 0"),
        ({"n_samples": -5}, "a whole number of at least 1; got -5"),
        ({"n_samples": 10**12}, r"n_samples must be at most 100,000,000, .*got 1,000,000,000,000\. A better proposal"),
        ({"n_samples": 2.5}, "a whole number of at least 1; got 2.5"),
        ({"n_samples": True}, "a whole number of at least 1; got True"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
        ({"seed": 0.5}, "seed must be a whole number of at least 0; got 0.5"),
        ({"seed": None}, "seed must be a whole number of at least 0; got None"),
        ({"first_image": -1}, "first_image must be a whole number of at least 0; got -1"),
        ({"first_image": 2**32 - 1}, r"images have numbers from 0 to 2\*\*32 - 1; got first_image = 4294967295 and 64"),
        ({"proposal": "encoder"}, r"a proposal takes a model and images.*; 'encoder' does not take them"),
        ({"proposal": widened}, r"as encoder and widened\(1\.2\) do; widened does not take them"),
        ({"proposal": lambda model, x: None}, r"returns a distribution of z.*; this one returned a NoneType"),
        ({"proposal": lambda model, x: OneImage()}, r"got \[10, 1, 2\] in torch.float64, and \[10, 1\]"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16; got 'float16'"),
    ],
)
def test_arguments_out_of_range_are_refused(how, told):
    with pytest.raises(ValueError, match=told):
        log_likelihood(small_vae(), all_images(), **{"n_samples": 10, **how})


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_damaged_model_is_refused(part, value):
    model = small_vae()
    with torch.no_grad():
        getattr(model, part)[-1].weight[0, 0] = value
    told = rf"log-weights are not finite: the model's weights are damaged.*look at {part}\.2\.weight"
    with pytest.raises(ValueError, match=told):
        log_likelihood(model, all_images(), 10)


def test_log_weights_that_overflow_in_a_sound_model_are_refused():
    with pytest.raises(
        ValueError, match="log-weights are not finite, though the model's weights are: numbers overflow"
    ):
        log_likelihood(small_vae(), all_images(), 10, proposal=widened(1e300))


def test_a_checkpoint_with_its_card_is_no_model():
    with pytest.raises(ValueError, match=r"model must be a LatentVariableModel; got a tuple.*model, card = load_check"):
        log_likelihood((small_vae(), {}), all_images())


@pytest.mark.parametrize("seed", [2**40, 2**70, 1e6])
def test_any_seed_can_be_had(seed):
    assert log_likelihood(small_vae(), all_images()[:1], 10, seed=seed).per_image.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_model_in_double_precision_is_never_rounded(dtype):
    """And one in single precision is: the other half of what ``precision`` says."""
    model, x = small_vae().to(dtype), all_images()[:8].to(dtype)
    exact, rounded = (log_likelihood(model, x, 200, precision=p).per_image for p in ("float32", "bfloat16"))
    assert exact.equal(rounded) == (dtype == torch.float64)
