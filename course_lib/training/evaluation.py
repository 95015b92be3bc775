"""What a checkpoint is worth: ELBO and log p(x) on the images it has not seen."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from course_lib import datasets
from course_lib.estimates import PARETO_K_LIMIT
from course_lib.training import processes
from course_lib.training.checkpoints import load_state, save_state
from course_lib.vae import Evidence, LatentVariableModel, log_likelihood
from course_lib.vae.evidence import Precision, RunningEvidence, images_per_block

__all__ = ["Kept", "evaluate", "images_for", "metrics", "with_new"]

# A killed evaluation loses at most this many seconds of work.
_SAVE_EVERY = 60.0


@dataclass
class Kept:
    """Where the finished part of an evaluation is kept, so that after an interruption the same one goes on from there.

    Attributes:
        path: the file's name, to which each process adds the number of its first image.
        seconds: how long this process has computed, before an interruption too.
    """

    path: Path
    seconds: float = 0.0

    def remove(self) -> None:
        """Remove the files of all processes."""
        for part in self.path.parent.glob(f"{self.path.name}-*"):
            part.unlink(missing_ok=True)


def evaluate(
    model: LatentVariableModel,
    data: str,
    *,
    split: str = "test",
    n_samples: int = 5_000,
    n_images: int | None = None,
    seed: int = 0,
    precision: Precision = "float32",
    progress: bool = False,
    keep: Kept | None = None,
) -> Evidence:
    """Estimate log p(x) of a split's images.

    Several processes started by torchrun share the images; all of them return the whole result.

    Args:
        model: on the device that is to do the work.
        data: the data set's name.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        n_samples: draws of z for each image.
        n_images: only the first so many images.
        seed: of the draws of z.
        precision: see `log_likelihood`.
        progress: show a progress bar.
        keep: where what is finished is kept once a minute, and gone on from. It is yours to remove.

    Raises:
        ValueError: an unknown data set or split, fewer images than processes, fewer than 2 samples, or images of
            another size than the model's.
        OSError: the data cannot be had.
        KeyboardInterrupt: Ctrl-C, once what is finished is kept; it says how to go on.
    """
    images = images_for(model, datasets.load(data), split)
    n_images = len(images) if n_images is None else n_images
    least = processes.count()
    if not least <= n_images <= len(images):
        raise ValueError(f"n_images must be between {least:,} and {len(images):,}; got {n_images:,}.")
    mine = processes.my_part(n_images)
    run = _Evaluation(model, images[mine], mine.start, n_samples, seed, precision, keep)
    silent = None if progress and processes.is_first() else True
    try:
        with tqdm(total=len(run.images), initial=run.found.n_done, unit=" images", disable=silent) as bar:
            while run.found.n_done < len(run.images):
                bar.update(run.take_some())
        return Evidence.joined(processes.gathered(run.found.evidence()))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(run.interrupted()) from None


class _Evaluation:
    """One process's part of an evaluation under way: its images, and what has been found of the first of them."""

    def __init__(
        self,
        model: LatentVariableModel,
        images: Tensor,
        first: int,
        n_samples: int,
        seed: int,
        precision: Precision,
        keep: Kept | None,
    ) -> None:
        self.model, self.images, self.first = model, images, first
        self.n_samples, self.seed, self.precision = n_samples, seed, precision
        # Several times what the model takes at once, so that starting and stopping cost nothing.
        self.at_once = 10 * images_per_block(model, n_samples)
        self.keep, self.saved_at = keep, time.monotonic()
        self.found = RunningEvidence(len(images), n_samples, model.data_dim)
        if keep is not None:
            self.file = keep.path.with_name(f"{keep.path.name}-{first}")
            # Of other weights, images, draws or roundings it would not fit to the rest.
            self.key = [_sha256([*model.state_dict().values(), images]), first, n_samples, seed, precision]
            if self.file.is_file():
                self._restore(keep)

    def take_some(self) -> int:
        """Evaluate the next images, and return how many they were."""
        started = time.monotonic()
        some = self.images[self.found.n_done : self.found.n_done + self.at_once].to(
            next(self.model.parameters()).device
        )
        number = self.first + self.found.n_done
        self.found.add(
            log_likelihood(
                self.model,
                some,
                self.n_samples,
                self.seed,
                precision=self.precision,
                first_image=number,
                progress=False,
            )
        )
        if self.keep is not None:
            self.keep.seconds += time.monotonic() - started
            if time.monotonic() - self.saved_at > _SAVE_EVERY:
                # Where nothing can be written, an evaluation can still be finished.
                with suppress(OSError):
                    self._save(self.keep)
                self.saved_at = time.monotonic()
        return len(some)

    def interrupted(self) -> str:
        """Keep what is finished, and say how to go on."""
        if self.keep is None or not self.found.n_done:
            return ""
        try:
            self._save(self.keep)
        except OSError as error:
            return f"What was finished is lost: {error}"
        return (
            f"{self.found.n_done:,} of {len(self.images):,} images are done and kept in {self.file}: the same again "
            "goes on."
        )

    def _save(self, keep: Kept) -> None:
        save_state(self.file, self.found.evidence().tensors(), {"key": self.key, "seconds": keep.seconds})

    def _restore(self, keep: Kept) -> None:
        tensors, progress = load_state(self.file)
        if progress["key"] == self.key:
            self.found.add(Evidence(**tensors, n_samples=self.n_samples, data_dim=self.model.data_dim))
            keep.seconds = progress["seconds"]


def _sha256(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def images_for(model: LatentVariableModel, data: datasets.Dataset, split: str) -> Tensor:
    """The images of a split as the model describes them: in their fixed binarization, or with all their levels.

    Raises:
        ValueError: an unknown split, or images of another size or with other levels than the model's.
    """
    if split not in ("train", "validation", "test"):
        raise ValueError(f"there is no split {split!r}: choose train, validation or test.")
    images: Tensor = getattr(data, split)
    if model.levels == 2:
        images = datasets.fixed_binarization(images)
    elif model.levels != data.levels:
        raise ValueError(f"the model is of {model.levels} levels and {data.name} has {data.levels}: choose other data.")
    model.checked_images(images[:1].to(next(model.parameters()).device))
    return images


def metrics(model: LatentVariableModel, evidence: Evidence) -> dict[str, Any]:
    """The numbers for a card: nats per image, each with the standard error that the sampling of z leaves."""
    elbo, elbo_error = evidence.mean_elbo
    mean = evidence.mean
    shared = {"n_samples": evidence.n_samples, "n_images": len(evidence.per_image)}
    known_k = evidence.pareto_k[~torch.isnan(evidence.pareto_k)]
    found = {
        "elbo": {"value": elbo, "std_error": elbo_error, **shared},
        "log_likelihood": {
            "value": mean.value,
            "std_error": mean.std_error,
            "std_error_over_images": _known(evidence.std_error_over_images),
            **shared,
            "bits_per_dim": evidence.bits_per_dim,
            f"share_of_images_with_pareto_k_above_{PARETO_K_LIMIT}": _known(
                float((known_k > PARETO_K_LIMIT).double().mean())
            ),
        },
    }
    return found | ({"binarization_seed": datasets.BINARIZATION_SEED} if model.levels == 2 else {})


def _known(number: float) -> float | None:
    """JSON has no nan."""
    return None if math.isnan(number) else number


def with_new(before: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """A card's metrics of a split with new ones.

    In front stand those of the most images, and of them those of the most samples; the others are beside, each as
    ``is_1000`` after its samples.
    """
    fewer = {name: one for name, one in before.items() if name.startswith("is_")}
    front = {name: one for name, one in before.items() if name not in fewer}
    by_samples = {one["log_likelihood"]["n_samples"]: one for one in (*fewer.values(), front, found) if one}
    first = max(by_samples, key=lambda n: (by_samples[n]["log_likelihood"]["n_images"], n))
    return {**by_samples[first], **{f"is_{n}": one for n, one in sorted(by_samples.items()) if n != first}}
