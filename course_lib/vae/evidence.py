r"""How probable is an image? log p(x) by importance sampling, with the encoder as the proposal unless told otherwise.

.. math:: \log p(x) \approx \log \frac{1}{K} \sum_k \frac{p(x, z_k)}{q(z_k | x)}, \quad z_k \sim q(z | x)

This is the IWAE bound with as many samples as it takes, streamed: memory does not grow with their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from course_lib.checks import one_of, whole_number
from course_lib.estimates import Estimate, pareto_k, pareto_k_limit, tail_length, value_with_error
from course_lib.vae.adapted import AdaptedGaussian, passes_and_failures
from course_lib.vae.blocks import SAMPLES_AT_ONCE, draws_per_block, images_per_block, to_float64
from course_lib.vae.models import LatentVariableModel, check_model, checked_n_samples, refuse_log_weights
from course_lib.vae.noise import Purpose, image_numbers, keyed
from course_lib.vae.proposals import Proposal, ProposalDistribution, drawn, encoder, fit_of, is_fitted, proposed

__all__ = ["Evidence", "Precision", "RunningEvidence", "log_likelihood"]

Precision = Literal["float32", "bfloat16"]

# Of one image, on one core, 784-200-200-50 takes a quarter of an hour for so many, and a small ResNet half a day.
_MOST_SAMPLES = 10**8
# A progress bar appears when a run takes longer than this.
_PATIENCE_SECONDS = 2.0
# Images whose fit failed are named up to so many.
_NAMED = 10
# Proposals that are fitted are fitted to so many images together, or more.
_FITTED_TOGETHER = 16
# The fields of `Evidence` whose last axis is the image.
_PER_IMAGE = (
    "per_image",
    "std_error",
    "elbo",
    "elbo_std_error",
    "ess",
    "largest_log_weights",
    "fit_passes",
    "fit_failed",
)


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
        fit_passes: passes through the decoder that fitting the proposal to each image took, ``[batch]``.
        fit_failed: 1 for images whose fit failed, so that they were left with the encoder's q(z|x), ``[batch]``.
        n_samples: draws of z for each image.
        data_dim: numbers in an image.

    Its tensors are to be read: what is written into them reaches only what has not been computed from them yet.
    """

    per_image: Tensor
    std_error: Tensor
    elbo: Tensor
    elbo_std_error: Tensor
    ess: Tensor
    largest_log_weights: Tensor
    fit_passes: Tensor
    fit_failed: Tensor
    n_samples: int
    data_dim: int

    @cached_property
    def pareto_k(self) -> Tensor:
        """Tail index of each image's weights, ``[batch]``: above `pareto_k_limit` its error is not to be trusted."""
        logs = self.largest_log_weights.T.numpy()
        return torch.tensor([pareto_k(log_w, self.n_samples) for log_w in logs], dtype=torch.float64)

    @property
    def pareto_k_limit(self) -> float:
        """The largest k-hat with which an image's error is to be trusted, for so many draws."""
        return pareto_k_limit(self.n_samples)

    @property
    def share_of_high_pareto_k(self) -> float:
        """Of the images whose k-hat is known, those with one above the limit; ``nan`` if there are none."""
        known_k = self.pareto_k[~self.pareto_k.isnan()]
        return float((known_k > self.pareto_k_limit).double().mean())

    @property
    def decoder_passes(self) -> float:
        """Passes through the decoder for each image, on average: those of the fit, and one for each draw."""
        return float(self.fit_passes.mean()) + self.n_samples

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
        n_bad = int((self.pareto_k > self.pareto_k_limit).sum())
        mean = value_with_error(self.mean.value, self.mean.std_error)
        text = (
            f"log p(x) = {mean} nats ({self.bits_per_dim:.3f} bits per dimension), mean of {len(self.per_image):,} "
            f"images with {self.n_samples:,} samples each; k-hat above {self.pareto_k_limit:.2f} for {n_bad:,} of them"
        )
        if bool(self.fit_passes.any()):
            text += f"; {self.decoder_passes:,.0f} passes through the decoder an image, fit included"
        failed = [f"{number:,}" for number in self.fit_failed.nonzero()[:, 0].tolist()]
        if failed:
            named = ", ".join(failed[:_NAMED]) + (", ..." if len(failed) > _NAMED else "")
            text += f"; the fit failed for {len(failed):,} of them, which were left with the encoder: {named}"
        return text

    __repr__ = __str__

    def tensors(self) -> dict[str, Tensor]:
        """What there is of each image; it is the last axis of every tensor."""
        return {name: getattr(self, name) for name in _PER_IMAGE}

    @staticmethod
    def from_log_weights(log_w: Tensor, data_dim: int) -> Evidence:
        """Reduce log-weights ``[n_samples, batch]`` in nats, at least two for each image.

        Where one of an image's is ``nan`` or ``inf``, or all are ``-inf``, its ``per_image`` is ``nan``.
        """
        n_samples, batch = log_w.shape
        weights = _RunningWeights(n_samples, batch, log_w.device)
        weights.add(log_w)
        return weights.evidence(data_dim, None)

    @staticmethod
    def joined(parts: Sequence[Evidence]) -> Evidence:
        """Several batches, at least one, as one."""
        joint = {name: torch.cat([getattr(part, name) for part in parts], dim=-1) for name in _PER_IMAGE}
        return Evidence(**joint, n_samples=parts[0].n_samples, data_dim=parts[0].data_dim)


class RunningEvidence:
    """The `Evidence` of image after image, with room for all of them from the start.

    Pieces of it, kept between the much larger arrays of the computation, would leave holes in memory that those no
    longer fit into.
    """

    def __init__(self, n_images: int, n_samples: int, data_dim: int) -> None:
        """Make room for ``n_images``, each with ``n_samples`` draws of z and ``data_dim`` numbers."""
        self.n_done, self._n_samples, self._data_dim = 0, checked_n_samples(n_samples), data_dim
        self._room = {name: torch.empty(n_images, dtype=torch.float64) for name in _PER_IMAGE}
        self._room["largest_log_weights"] = torch.empty(_n_kept(self._n_samples), n_images, dtype=torch.float64)

    def add(self, part: Evidence) -> None:
        """Put the results of the next images in their place.

        Raises:
            ValueError: they are more than there is room for, or of another number of draws.
        """
        end, n_images = self.n_done + len(part.per_image), len(self._room["per_image"])
        if end > n_images or part.n_samples != self._n_samples:
            raise ValueError(
                f"there is room for {n_images:,} images of {self._n_samples:,} samples; got image number {end:,} "
                f"with {part.n_samples:,} samples."
            )
        for name, tensor in part.tensors().items():
            self._room[name][..., self.n_done : end] = tensor
        self.n_done = end

    def evidence(self) -> Evidence:
        """Of the images added so far. What is added later does not change it: it stands beside it in memory."""
        done = {name: tensor[..., : self.n_done] for name, tensor in self._room.items()}
        return Evidence(**done, n_samples=self._n_samples, data_dim=self._data_dim)


class _RunningWeights:
    """What there is to keep of log-weights ``[k, batch]``, piece after piece: sums, and the largest of each image."""

    def __init__(self, n_samples: int, batch: int, device: torch.device) -> None:
        self._n, self._n_kept = n_samples, _n_kept(n_samples)
        # Sums of weights relative to the largest so far, for each image.
        self._shift = to_float64(torch.full((batch,), -math.inf, device=device))
        self._total, self._squares, self._log_total, self._log_squares = self._shift.new_zeros((4, batch))
        # What logarithms are taken relative to, so that their variance keeps its digits.
        self._middle = self._shift.new_zeros(batch)
        self._largest = self._shift.new_empty((0, batch))

    def add(self, log_w: Tensor) -> None:
        log_w = to_float64(log_w)
        if not len(self._largest):
            # A weight of zero has the logarithm -inf, relative to which nothing can be taken.
            mean = log_w.mean(0)
            self._middle = torch.where(mean.isfinite(), mean, 0.0)
        shift = torch.maximum(self._shift, log_w.amax(0))
        w = (log_w - shift).exp()
        shrink = (self._shift - shift).exp()
        self._total = self._total * shrink + w.sum(0)
        self._squares = self._squares * shrink**2 + (w * w).sum(0)
        self._log_total = self._log_total + (log_w - self._middle).sum(0)
        self._log_squares = self._log_squares + ((log_w - self._middle) ** 2).sum(0)
        self._shift = shift
        both = torch.cat([self._largest, log_w])
        self._largest = both.topk(self._n_kept, dim=0, sorted=False).values if len(both) > self._n_kept else both

    def evidence(self, data_dim: int, fit: AdaptedGaussian | None) -> Evidence:
        """What they say of log p(x), drawn from a distribution that was fitted, or from one that was not.

        Source: [Owen2013], section 2.7, for the error of a logarithm.
        """
        n, log_mean = self._n, self._log_total / self._n
        passes, failed = passes_and_failures(fit, len(self._total))
        relative_variance = (self._squares / self._total**2 - 1 / n).clamp(min=0) * n / (n - 1)
        return Evidence(
            per_image=(self._shift + self._total.log() - math.log(n)).cpu(),
            std_error=relative_variance.sqrt().cpu(),
            elbo=(self._middle + log_mean).cpu(),
            elbo_std_error=((self._log_squares / n - log_mean**2).clamp(min=0) / (n - 1)).sqrt().cpu(),
            ess=(self._total**2 / self._squares).cpu(),
            largest_log_weights=self._largest.cpu(),
            fit_passes=passes,
            fit_failed=failed,
            n_samples=n,
            data_dim=data_dim,
        )


def _n_kept(n_samples: int) -> int:
    """How many log-weights of an image are kept: as many as k-hat looks at."""
    return min(tail_length(n_samples), n_samples)


def log_likelihood(
    model: LatentVariableModel,
    x: Tensor,
    n_samples: int = 5_000,
    seed: int = 0,
    *,
    proposal: Proposal = encoder,
    precision: Precision = "float32",
    first_image: int = 0,
    progress: bool = True,
) -> Evidence:
    """Estimate log p(x) of each image by importance sampling, from the encoder's q(z|x) unless told otherwise.

    The same seed gives an image the same draws in whatever batch it comes, on any number of threads or processes.

    Args:
        model: in eval mode if it has batch norm.
        x: images, ``[batch, ...]``.
        n_samples: draws of z for each image, from 2, without which there is no error, to 100 million.
        seed: of the draws, at least 0.
        proposal: where z is drawn; see `course_lib.vae.proposals`. `adapted` is fitted with draws of its own, in the
            precision of the model.
        precision: of the matrix products in p(x, z). ``"float32"`` leaves them in the precision of the model's
            parameters, which is double if the model is. ``"bfloat16"`` rounds those of a model in single precision,
            and is faster on processors that are made for it; z, q(z|x) and all sums keep their precision. Its
            rounding acts as noise in log p(x, z). A model in double precision it leaves alone.
        first_image: the number that ``x[0]`` has among all images, for a part of a data set.
        progress: show a bar where it takes more than a few seconds.

    Raises:
        ValueError: an argument out of range, ``x`` no batch of images for this model, a proposal that does not give
            draws of its z, or log-weights that are not finite.

    Source: [Burda2016], section 5; [Owen2013], section 9.2, for the error.
    """
    check_model(model)
    n_samples, seed = checked_n_samples(n_samples), whole_number("seed", seed, least=0)
    if n_samples < 2:
        raise ValueError("an error needs at least 2 samples; got n_samples = 1.")
    if n_samples > _MOST_SAMPLES:
        raise ValueError(
            f"n_samples must be at most {_MOST_SAMPLES:,}, which can take hours for one image; got {n_samples:,}. A "
            "better proposal (course_lib.vae.proposals) or annealed_importance_sampling gets further than more draws."
        )
    one_of("precision", precision, get_args(Precision))
    x = model.checked_images(x)
    numbers = image_numbers(first_image, len(x))
    block = images_at_once(model, n_samples, proposal)
    found = RunningEvidence(len(x), n_samples, x.shape[1])
    with torch.inference_mode(), patient_bar(len(x) * n_samples, " draws", progress) as bar:
        for start in range(0, len(x), block):
            images = x[start : start + block]
            fitting, generators = (
                [keyed(x.device, purpose, seed, n) for n in numbers[start : start + block]]
                for purpose in (Purpose.FIT, Purpose.EVIDENCE)
            )
            q = proposed(proposal, model, images, fitting)
            found.add(_evidence(model, images, q, precision, n_samples, generators, bar.update))
    return found.evidence()


def _evidence(
    model: LatentVariableModel,
    x: Tensor,
    q: ProposalDistribution,
    precision: Precision,
    n_samples: int,
    generators: list[torch.Generator],
    advance: Callable[[int], object],
) -> Evidence:
    rows, weights = draws_per_block(model), _RunningWeights(n_samples, len(x), x.device)
    for start in range(0, n_samples, SAMPLES_AT_ONCE):
        k = min(SAMPLES_AT_ONCE, n_samples - start)
        z, log_q = drawn(q, model, x, k, generators)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            log_p = torch.cat([model.log_joint(x, some) for some in z.split(max(1, rows // len(x)))])
        weights.add(log_p - log_q)
        advance(k * len(x))
    found = weights.evidence(x.shape[1], fit_of(q))
    if not bool(found.per_image.isfinite().all()):
        refuse_log_weights(model)
    return found


def images_at_once(model: LatentVariableModel, n_samples: int, proposal: Proposal) -> int:
    """How many images `log_likelihood` takes at once, for the sake of memory and of speed."""
    block = images_per_block(model, n_samples)
    return max(block, _FITTED_TOGETHER) if is_fitted(proposal) else block


def patient_bar(total: int, unit: str, progress: bool) -> tqdm:
    """A progress bar for what may take longer than one waits without a word."""
    # Not ``disable=not progress``: False would overrule TQDM_DISABLE.
    silent = {} if progress else {"disable": True}
    return tqdm(total=total, unit=unit, unit_scale=True, delay=_PATIENCE_SECONDS, leave=False, **silent)


def _error_of_mean(std_error: Tensor) -> float:
    return float((std_error**2).sum().sqrt() / len(std_error))
