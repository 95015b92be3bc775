r"""How probable is an image? log p(x) by importance sampling, with the encoder as the proposal unless told otherwise.

.. math:: \log p(x) \approx \log \frac{1}{K} \sum_k \frac{p(x, z_k)}{q(z_k | x)}, \quad z_k \sim q(z | x)

This is the IWAE bound with as many samples as it takes, streamed: memory does not grow with their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor
from tqdm.auto import tqdm

from course_lib.checks import one_of, whole_number
from course_lib.estimates import PARETO_K_LIMIT, Estimate, pareto_k, tail_length, value_with_error
from course_lib.vae.models import LatentVariableModel, checked_n_samples
from course_lib.vae.noise import Purpose, keyed
from course_lib.vae.proposals import Proposal, encoder

__all__ = ["Evidence", "Precision", "log_likelihood"]

Precision = Literal["float32", "bfloat16"]

# The draws of an image must not depend on memory or device, so they come in pieces of this size everywhere.
_SAMPLES_AT_ONCE = 1_000
# Numbers that a decoder has in use at once: what stays near a processor's cache, and what most GPUs have room for.
_NUMBERS_ON_CPU, _NUMBERS_ELSEWHERE = 3_200_000, 200_000_000
# The fields of `Evidence` whose last axis is the image.
_PER_IMAGE = ("per_image", "std_error", "elbo", "elbo_std_error", "ess", "largest_log_weights")


@dataclass(frozen=True)
class Evidence:
    """log p(x) of a batch of images in nats, with its errors.

    Attributes:
        per_image: estimates of log p(x), ``[batch]``, float64. Their expectation is below log p(x), by about half of
            the squared standard error.
        std_error: their standard errors from the sampling of z, ``[batch]``, by the delta method.
        elbo: the ELBO from the same draws, the mean log-weight, ``[batch]``: that of the encoder only if z was drawn
            from it, otherwise that of the proposal.
        elbo_std_error: its standard errors, ``[batch]``.
        ess: effective sample sizes, ``[batch]``.
        largest_log_weights: what k-hat looks at, ``[m, batch]``.
        n_samples: draws of z for each image.
        data_dim: numbers in an image.
    """

    per_image: Tensor
    std_error: Tensor
    elbo: Tensor
    elbo_std_error: Tensor
    ess: Tensor
    largest_log_weights: Tensor
    n_samples: int
    data_dim: int

    @cached_property
    def pareto_k(self) -> Tensor:
        """Tail index of each image's weights, ``[batch]``: above 0.7 its error is not to be trusted."""
        logs = self.largest_log_weights.T.numpy()
        return torch.tensor([pareto_k(log_w, self.n_samples) for log_w in logs], dtype=torch.float64)

    @cached_property
    def mean(self) -> Estimate:
        """The mean of log p(x) over these images, with the error that the sampling of z leaves.

        ESS is summed over images, k-hat their median, and the largest share that of the worst image. How much the
        mean would differ for other images is another question: see `std_error_over_images`.
        """
        known_k = self.pareto_k[~self.pareto_k.isnan()]
        top = self.largest_log_weights.amax(0) - self.per_image - math.log(self.n_samples)
        n = self.n_samples * len(self.per_image)
        return Estimate(
            value=float(self.per_image.mean()),
            std_error=_error_of_mean(self.std_error),
            n=n,
            n_hits=n,
            ess=float(self.ess.sum()),
            max_weight_share=float(top.max().exp()),
            pareto_k=float(known_k.median()) if len(known_k) else math.nan,
        )

    @property
    def mean_elbo(self) -> tuple[float, float]:
        """The mean ELBO over these images and its standard error, in nats."""
        return float(self.elbo.mean()), _error_of_mean(self.elbo_std_error)

    @property
    def std_error_over_images(self) -> float:
        """Standard error of the mean as an estimate for images like these, in nats; ``nan`` for a single one."""
        n = len(self.per_image)
        return float(self.per_image.std() / math.sqrt(n)) if n > 1 else math.nan

    @property
    def bits_per_dim(self) -> float:
        """-log2 p(x) for each number in an image. The only figure here that is not in nats."""
        return -float(self.per_image.mean()) / (self.data_dim * math.log(2))

    def __str__(self) -> str:
        n_bad = int((self.pareto_k > PARETO_K_LIMIT).sum())
        mean = value_with_error(self.mean.value, self.mean.std_error)
        return (
            f"log p(x) = {mean} nats ({self.bits_per_dim:.3f} bits per dimension), mean of {len(self.per_image):,} "
            f"images with {self.n_samples:,} samples each; k-hat above {PARETO_K_LIMIT} for {n_bad:,} of them"
        )

    __repr__ = __str__

    @staticmethod
    def empty(n_images: int, n_kept: int, n_samples: int, data_dim: int) -> Evidence:
        """Room for the results of ``n_images``, and for ``n_kept`` log-weights of each."""
        room = {name: torch.empty(n_images, dtype=torch.float64) for name in _PER_IMAGE}
        room["largest_log_weights"] = torch.empty(n_kept, n_images, dtype=torch.float64)
        return Evidence(**room, n_samples=n_samples, data_dim=data_dim)

    def fill(self, start: int, part: Evidence) -> None:
        """Put the results of some images in their place, the first of them at ``start``."""
        for name, tensor in self.tensors().items():
            tensor[..., start : start + len(part.per_image)] = getattr(part, name)

    def tensors(self) -> dict[str, Tensor]:
        """What there is of each image; it is the last axis of every tensor."""
        return {name: getattr(self, name) for name in _PER_IMAGE}

    @staticmethod
    def joined(parts: list[Evidence]) -> Evidence:
        """Several batches as one."""
        joint = {name: torch.cat([getattr(part, name) for part in parts], dim=-1) for name in _PER_IMAGE}
        return Evidence(**joint, n_samples=parts[0].n_samples, data_dim=parts[0].data_dim)


def log_likelihood(
    model: LatentVariableModel,
    x: Tensor,
    n_samples: int = 5_000,
    seed: int = 0,
    *,
    proposal: Proposal = encoder,
    precision: Precision = "float32",
    first_image: int = 0,
    progress: bool = False,
) -> Evidence:
    """Estimate log p(x) of each image by importance sampling, from the encoder's q(z|x) unless told otherwise.

    The same seed gives an image the same draws in whatever batch it comes, on any number of threads or processes.

    Args:
        model: in eval mode if it has batch norm.
        x: images, ``[batch, ...]``.
        n_samples: draws of z for each image; 2 at least, for an error.
        seed: of the draws, at least 0.
        proposal: where z is drawn; see `course_lib.vae.proposals`.
        precision: of the matrix products in p(x, z). ``"bfloat16"`` is faster on processors that are made for it; z,
            q(z|x) and all sums keep their precision. Its rounding acts as noise in log p(x, z).
        first_image: the number that ``x[0]`` has among all images, for a part of a data set.
        progress: show a progress bar.

    Raises:
        ValueError: ``n_samples`` below 2, a negative seed, an unknown precision, ``x`` no batch of images for this
            model, or the model's weights are not finite.

    Source: Burda et al. 2016, section 5; Owen, section 9.2, for the error.
    """
    if checked_n_samples(n_samples) < 2:
        raise ValueError("an error needs at least 2 samples; got n_samples = 1.")
    for name, number in {"seed": seed, "first_image": first_image}.items():
        whole_number(name, number, least=0)
    one_of("precision", precision, get_args(Precision))
    x = model.checked_images(x)
    block = images_per_block(model, n_samples)
    # All of the result at once: pieces of it, kept between the blocks' much larger arrays, would leave holes in memory
    # that those no longer fit into.
    whole = Evidence.empty(len(x), min(tail_length(n_samples), n_samples), n_samples, x.shape[1])
    with torch.inference_mode(), tqdm(total=len(x), unit=" images", disable=None if progress else True) as bar:
        for start in range(0, len(x), block):
            images = x[start : start + block]
            whole.fill(start, _evidence(model, images, proposal, precision, n_samples, seed, first_image + start))
            bar.update(len(images))
    return whole


def images_per_block(model: LatentVariableModel, n_samples: int) -> int:
    """How many images `log_likelihood` takes at once, for the sake of memory."""
    return max(1, _rows_at_once(model) // min(checked_n_samples(n_samples), _SAMPLES_AT_ONCE))


def _rows_at_once(model: LatentVariableModel) -> int:
    """How many z are decoded at once."""
    device = next(model.parameters()).device
    numbers = _NUMBERS_ON_CPU if device.type == "cpu" else _NUMBERS_ELSEWHERE
    if device.type == "cuda":
        # Of what is free, or held by torch and free, a quarter, in numbers of four bytes.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        numbers = (torch.cuda.mem_get_info(device)[0] + held) // 16
    return max(1, numbers // model.floats_per_draw)


def _evidence(
    model: LatentVariableModel,
    x: Tensor,
    proposal: Proposal,
    precision: Precision,
    n_samples: int,
    seed: int,
    first_image: int,
) -> Evidence:
    q, rows = proposal(model, x), _rows_at_once(model)
    generators = [keyed(x.device, Purpose.EVIDENCE, seed, first_image + image) for image in range(len(x))]
    n_kept = min(tail_length(n_samples), n_samples)
    # Sums of weights relative to the largest so far, for each image.
    shift = to_float64(torch.full_like(x[:, 0], -math.inf))
    total, squares, log_total, log_squares = torch.zeros((4, len(x)), dtype=torch.float64, device=shift.device)
    largest = torch.empty((0, len(x)), dtype=torch.float64, device=shift.device)
    for start in range(0, n_samples, _SAMPLES_AT_ONCE):
        z, log_q = q.rsample_and_log_prob(min(_SAMPLES_AT_ONCE, n_samples - start), generators)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            log_p = torch.cat([model.log_joint(x, some) for some in z.split(max(1, rows // len(x)))])
        log_w = to_float64(log_p - log_q)
        if not start:
            first = log_w.mean(0)
        new_shift = torch.maximum(shift, log_w.amax(0))
        w = (log_w - new_shift).exp()
        shrink = (shift - new_shift).exp()
        total = total * shrink + w.sum(0)
        squares = squares * shrink**2 + (w * w).sum(0)
        log_total += (log_w - first).sum(0)
        log_squares += ((log_w - first) ** 2).sum(0)
        shift = new_shift
        both = torch.cat([largest, log_w])
        largest = both.topk(n_kept, dim=0, sorted=False).values if len(both) > n_kept else both
    if not bool(total.isfinite().all()):
        raise ValueError("log-weights are not finite: the model's weights are damaged, or its training diverged.")
    n = n_samples
    log_mean = log_total / n
    return Evidence(
        per_image=(shift + total.log() - math.log(n)).cpu(),
        std_error=((squares / total**2 - 1 / n).clamp(min=0) * n / (n - 1)).sqrt().cpu(),
        elbo=(first + log_mean).cpu(),
        elbo_std_error=((log_squares / n - log_mean**2).clamp(min=0) / (n - 1)).sqrt().cpu(),
        ess=(total**2 / squares).cpu(),
        largest_log_weights=largest.cpu(),
        n_samples=n,
        data_dim=x.shape[1],
    )


def to_float64(value: Tensor) -> Tensor:
    """In double precision, in which sums are kept, and on the CPU where the device has none: Apple's GPUs."""
    return value.cpu().double() if value.device.type == "mps" else value.double()


def _error_of_mean(std_error: Tensor) -> float:
    return float((std_error**2).sum().sqrt() / len(std_error))


class RunningEvidence:
    """The evidence of images that are evaluated a few at a time."""

    def __init__(self, n_images: int, n_samples: int, data_dim: int) -> None:
        self._whole = Evidence.empty(n_images, min(tail_length(n_samples), n_samples), n_samples, data_dim)
        self.n_done = 0

    def add(self, part: Evidence) -> None:
        """Add the next images."""
        self._whole.fill(self.n_done, part)
        self.n_done += len(part.per_image)

    def evidence(self) -> Evidence:
        """That of the images added so far."""
        done = {name: tensor[..., : self.n_done].clone() for name, tensor in self._whole.tensors().items()}
        return Evidence(**done, n_samples=self._whole.n_samples, data_dim=self._whole.data_dim)
