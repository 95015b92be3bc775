"""Speed and memory of half two against what a reader would write instead; see README.md."""

import math
import sys
from collections.abc import Callable

import pytest
import torch
from measuring import PROCESSORS, Show, fastest, fresh_process
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from course_lib.training import build_model
from course_lib.training.presets import PRESETS
from course_lib.vae import VAE, log_likelihood
from course_lib.vae.bounds import iwae_autograd
from course_lib.vae.evidence import Precision

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
        last = tame.encoder[-1]
        assert isinstance(last, nn.Linear)
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, math.log(math.e - 1)]).repeat_interleave(tame.latent_dim))
        for parameter in tame.decoder.parameters():
            parameter.mul_(0.3)
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


def test_log_likelihood_of_a_residual_network_encodes_once(show: Show) -> None:
    n_images, n_samples, chunk = 2, 1_000, 50
    model = build_model("mnist-small-resnet").eval()
    x = images(n_images)

    def anew() -> Tensor:
        with torch.inference_mode():
            tiled = x.repeat_interleave(chunk, dim=0)
            log_w = [model.log_weights(tiled, 1).view(n_images, chunk) for _ in range(n_samples // chunk)]
            return torch.logsumexp(torch.cat(log_w, dim=1), 1) - math.log(n_samples)

    ours = log_likelihood(model, x, n_samples)
    assert ((anew() - ours.per_image).abs() < 8 * ours.std_error + 1e-3).all()  # they compute the same
    best = fastest(
        {
            "encoding every sample anew": anew,
            "log_likelihood": lambda: log_likelihood(model, x, n_samples),
            # Not checked: a processor without such products is slower with them.
            "log_likelihood in bfloat16": lambda: log_likelihood(model, x, n_samples, precision="bfloat16"),
        },
        rounds=4,
    )
    slow, fast, _ = best.values()
    show(
        f"log p(x) of {n_images} images with {n_samples:,} samples each, a residual network with flows",
        ["", "time", "log_likelihood = 1"],
        [[name, f"{seconds:.2f} s", f"{seconds / fast:.2f}"] for name, seconds in best.items()],
    )
    assert slow / fast >= 1.2


def operations_of_a_sample(name: str) -> float:
    """Of the matrix products and convolutions of log p(x, z), for each z."""
    model = build_model(name).to("meta")
    n_samples = 1_000
    x, z = torch.empty(1, model.data_dim, device="meta"), torch.empty(n_samples, 1, model.latent_dim, device="meta")
    with FlopCounterMode(display=False) as counter:
        model.log_joint(x, z)
    return counter.get_total_flops() / n_samples


def operations_per_second(precision: Precision) -> float:
    """Of a large product of matrices on the GPU."""
    a = torch.randn(8192, 8192, device="cuda", dtype=getattr(torch, precision))

    def product() -> None:
        a @ a
        torch.cuda.synchronize()

    seconds = fastest({"product": product}, rounds=10)["product"]
    return 2 * 8192**3 / seconds


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "name, n_samples, precision, at_most",
    [("mnist-iwae-k50", 5_000, "float32", 5), ("mnist-resnet", 1_000, "bfloat16", 60)],
)
def test_a_gpu_knows_log_p_of_10_000_images_soon(
    name: str, n_samples: int, precision: Precision, at_most: float, show: Show
) -> None:
    model, x = build_model(name).to("cuda").eval(), images(10_000).to("cuda")

    def estimate(x: Tensor) -> None:
        log_likelihood(model, x, n_samples, precision=precision)

    estimate(x[:1_000])
    seconds = fastest({name: lambda: estimate(x)}, rounds=2)[name]
    speed, ceiling = len(x) * n_samples * operations_of_a_sample(name) / seconds, operations_per_second(precision)
    show(
        f"log p(x) of 10,000 images with {n_samples:,} samples each, {name}, {precision}, "
        f"{torch.cuda.get_device_name()}",
        ["", "time", "TFLOP/s", "matrix product = 1"],
        [["log_likelihood", f"{seconds:.1f} s", f"{speed / 1e12:.1f}", f"{speed / ceiling:.2f}"]],
    )
    assert seconds <= at_most


PRELUDE = """
import torch
from course_lib.training import build_model
from course_lib.vae import log_likelihood
model = build_model("{name}").eval()
x = (torch.rand(200, 784) < 0.13).float()
log_likelihood(model, x[:{n_images}], {n_samples})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(
    "name, few, many",
    [
        ("mnist-iwae-k50", (20, 1_000), [(20, 1_000), (20, 50_000), (200, 5_000)]),
        ("mnist-small-resnet", (2, 1_000), [(2, 1_000), (2, 5_000), (10, 1_000)]),
    ],
)
def test_memory_grows_neither_with_samples_nor_with_images(
    name: str, few: tuple[int, int], many: list[tuple[int, int]], show: Show
) -> None:
    more = {}
    prelude = PRELUDE.format(name=name, n_images=few[0], n_samples=few[1])
    for n_images, n_samples in many:
        call = f"log_likelihood(model, x[:{n_images}], {n_samples})"
        before, after = fresh_process(f"[peak_megabytes(), ({call}, peak_megabytes())[1]]", prelude)
        more[f"{n_images:,} images, {n_samples:,} samples"] = after - before
    show(
        f"{name}: peak memory of log_likelihood above that of {few[0]} images with {few[1]:,} samples",
        ["", "more"],
        [[name, f"{megabytes:+.0f} MB"] for name, megabytes in more.items()],
    )
    assert max(more.values()) < 100
