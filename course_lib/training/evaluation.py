"""What a checkpoint is worth: ELBO and log p(x) on the images it has not seen."""

from __future__ import annotations

from typing import Any

import torch

from course_lib import datasets
from course_lib.training import processes
from course_lib.vae import Evidence, LatentVariableModel, log_likelihood

__all__ = ["evaluate", "metrics"]


def evaluate(
    model: LatentVariableModel,
    data: str,
    *,
    split: str = "test",
    n_samples: int = 5_000,
    n_images: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Evidence:
    """Estimate log p(x) of a split's images, in their fixed binarization.

    Several processes started by torchrun share the images; all of them return the whole result.

    Args:
        model: on the device that is to do the work.
        data: the data set's name.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        n_samples: draws of z for each image.
        n_images: only the first so many images.
        seed: of the draws of z.
        progress: show a progress bar.

    Raises:
        ValueError: an unknown data set or split, fewer images than processes, fewer than 2 samples, or images of
            another size than the model's.
        OSError: the data cannot be had.
    """
    if split not in ("train", "validation", "test"):
        raise ValueError(f"there is no split {split!r}: choose train, validation or test.")
    images = getattr(datasets.load(data), split)
    n_images = len(images) if n_images is None else n_images
    least = processes.count()
    if not least <= n_images <= len(images):
        raise ValueError(f"n_images must be between {least:,} and {len(images):,}; got {n_images:,}.")
    x = datasets.fixed_binarization(images[:n_images])
    mine = processes.my_part(n_images)
    device = next(model.parameters()).device
    part = log_likelihood(
        model,
        x[mine].to(device),
        n_samples,
        seed,
        first_image=mine.start,
        progress=progress and processes.is_first(),
    )
    return Evidence.joined(processes.gathered(part))


def metrics(evidence: Evidence) -> dict[str, Any]:
    """The numbers for a card: nats per image, each with the standard error that the sampling of z leaves."""
    elbo, elbo_error = evidence.mean_elbo
    mean = evidence.mean
    shared = {"n_samples": evidence.n_samples, "n_images": len(evidence.per_image)}
    known_k = evidence.pareto_k[~torch.isnan(evidence.pareto_k)]
    return {
        "elbo": {"value": elbo, "std_error": elbo_error, **shared},
        "log_likelihood": {
            "value": mean.value,
            "std_error": mean.std_error,
            "std_error_over_images": evidence.std_error_over_images,
            **shared,
            "bits_per_dim": evidence.bits_per_dim,
            "share_of_images_with_pareto_k_above_0.7": float((known_k > 0.7).double().mean()),
        },
        "binarization_seed": datasets.BINARIZATION_SEED,
    }
