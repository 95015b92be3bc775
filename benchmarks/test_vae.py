"""Speed and memory of half two against what a reader would write instead; see README.md."""

import math
import sys
from collections.abc import Callable

import pytest
import torch
from measuring import PROCESSORS, Show, fastest, fresh_process
from torch import Tensor, nn
from torch.nn import functional

from course_lib.training import build_model
from course_lib.training.presets import PRESETS
from course_lib.vae import VAE, log_likelihood
from course_lib.vae.bounds import iwae_autograd

N_SAMPLES, N_IMAGES = 5_000, 100
torch.set_num_threads(PROCESSORS)


def images(n: int) -> Tensor:
    return (torch.rand(n, 784, generator=torch.Generator().manual_seed(0)) < 0.13).float()


def matrix_products(model: VAE, batch_size: int, k: int) -> Callable[[], None]:
    """The linear layers of one step, forward and backward, and nothing else."""
    layers = [
        (layer, torch.randn(rows, layer.in_features), torch.randn(rows, layer.out_features))
        for network, rows in ((model.encoder, batch_size), (model.decoder, k * batch_size))
        for layer in network
        if isinstance(layer, nn.Linear)
    ]

    def multiply() -> None:
        with torch.no_grad():
            for layer, inputs, gradients in layers:
                functional.linear(inputs, layer.weight, layer.bias)
                gradients @ layer.weight
                gradients.T @ inputs

    return multiply


def test_a_training_step_is_mostly_its_matrix_products(show: Show) -> None:
    preset = PRESETS["mnist-iwae-k50"]
    model = build_model(preset)
    optimizer = torch.optim.Adam(model.parameters())
    x = images(preset.batch_size)

    def step() -> None:
        optimizer.zero_grad()
        (-iwae_autograd(model, x, preset.k).mean()).backward()
        optimizer.step()

    products = matrix_products(model, preset.batch_size, preset.k)
    best = fastest({"matrix products": products, "training step": step}, rounds=60)
    floor, whole = best.values()
    show(
        f"A training step in float32, k = {preset.k}, batch {preset.batch_size}",
        ["", "time", "matrix products = 1"],
        [[name, f"{1e3 * seconds:.1f} ms", f"{seconds / floor:.2f}"] for name, seconds in best.items()],
    )
    assert whole / floor <= 1.5


def plain(model: VAE, x: Tensor, n_samples: int, *, chunk: int = 50) -> Tensor:
    """log p(x) with one encoder pass, binary cross-entropy, and everything left to torch.distributions."""
    with torch.inference_mode():
        mean, raw = model.encoder(x).chunk(2, -1)
        q = torch.distributions.Normal(mean, functional.softplus(raw) + 1e-6)
        prior = torch.distributions.Normal(0.0, 1.0)
        log_w = []
        for _ in range(n_samples // chunk):
            z = q.sample((chunk,))
            logits = model.decoder(z)
            log_p = -functional.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
            log_w.append(log_p + prior.log_prob(z).sum(-1) - q.log_prob(z).sum(-1))
        return torch.logsumexp(torch.cat(log_w), 0) - torch.tensor(float(n_samples)).log()


def image_by_image(model: VAE, x: Tensor, n_samples: int, *, chunk: int = 50) -> Tensor:
    """The same for one image after the other, tiled and encoded anew for every chunk."""
    found = []
    with torch.inference_mode():
        for image in x:
            tiled = image.expand(chunk, -1).contiguous()
            found.append(torch.cat([plain(model, tiled, 1, chunk=1) for _ in range(n_samples // chunk)]))
    log_w = torch.stack(found)
    return torch.logsumexp(log_w, 1) - torch.tensor(float(n_samples)).log()


def test_log_likelihood_is_faster_than_what_one_would_write_first(show: Show) -> None:
    model = build_model("mnist-iwae-k50").eval()
    assert isinstance(model, VAE)
    few = images(10)  # as many as keep a round short
    tame = build_model("mnist-iwae-k50").eval()
    assert isinstance(tame, VAE)
    with torch.no_grad():
        # q is the prior and the decoder hardly looks at z: weights so even that few samples tell log p(x).
        tame.encoder[-1].weight.zero_()
        tame.encoder[-1].bias.copy_(torch.tensor([0.0, math.log(math.e - 1)]).repeat_interleave(tame.latent_dim))
        for parameter in tame.decoder.parameters():
            parameter *= 0.3
    reference = log_likelihood(tame, few, N_SAMPLES)
    for other in (plain, image_by_image):
        distance = (other(tame, few, N_SAMPLES) - reference.per_image).abs()
        assert (distance < 8 * reference.std_error + 1e-3).all()  # they compute the same

    x = images(N_IMAGES)
    best = fastest(
        {
            "image by image, encoding every chunk": lambda: image_by_image(model, x, N_SAMPLES),
            "encoding once, binary cross-entropy": lambda: plain(model, x, N_SAMPLES),
            "log_likelihood": lambda: log_likelihood(model, x, N_SAMPLES),
        },
        rounds=4,
    )
    anew, once, ours = best.values()
    show(
        f"log p(x) of {N_IMAGES} images with {N_SAMPLES:,} samples each, 784-200-200-50",
        ["", "time", "log_likelihood = 1"],
        [[name, f"{seconds:.2f} s", f"{seconds / ours:.2f}"] for name, seconds in best.items()],
    )
    assert anew / ours >= 2
    assert once / ours >= 1


PRELUDE = """
import torch
from course_lib.training import build_model
from course_lib.vae import log_likelihood
model = build_model("mnist-iwae-k50").eval()
x = (torch.rand(200, 784) < 0.13).float()
log_likelihood(model, x[:20], 1_000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_memory_grows_neither_with_samples_nor_with_images(show: Show) -> None:
    more = {}
    for n_images, n_samples in ((20, 1_000), (20, 50_000), (200, 5_000)):
        call = f"log_likelihood(model, x[:{n_images}], {n_samples})"
        before, after = fresh_process(f"[peak_megabytes(), ({call}, peak_megabytes())[1]]", PRELUDE)
        more[f"{n_images:,} images, {n_samples:,} samples"] = after - before
    show(
        "Peak memory of log_likelihood above that of 20 images with 1,000 samples",
        ["", "more"],
        [[name, f"{megabytes:+.0f} MB"] for name, megabytes in more.items()],
    )
    assert max(more.values()) < 100
