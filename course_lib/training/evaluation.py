"""What a checkpoint is worth: ELBO and log p(x) of the images of a split, above all of those it has not seen."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from torch import Tensor
from tqdm.auto import tqdm

from course_lib import datasets
from course_lib.checks import one_of, whole_number
from course_lib.training import processes
from course_lib.training.cards import Card, Evaluation, LogLikelihood, Metric
from course_lib.training.checkpoints import CheckpointFiles, load_checkpoint, read_card, save_card
from course_lib.training.data import data_of_checkpoint
from course_lib.training.devices import choose_device
from course_lib.training.states import load_state, save_state
from course_lib.vae import Evidence, LatentVariableModel, log_likelihood
from course_lib.vae.blocks import images_per_block
from course_lib.vae.evidence import Precision, RunningEvidence, images_at_once
from course_lib.vae.proposals import Proposal, adapted, encoder, is_fitted

__all__ = ["PROPOSALS", "Kept", "evaluate", "evaluate_checkpoint", "images_for"]

# What a split can be evaluated with, and the draws of z for each image unless another number is given. They are what
# papers report, and what brings a fitted proposal's cost, with its fit, near that.
PROPOSALS: dict[str, tuple[Proposal, int]] = {"encoder": (encoder, 5_000), "adapted": (adapted, 2_000)}
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

    def part(self, first_image: int) -> Path:
        """The file of the process that begins with that image."""
        return self.path.with_name(f"{self.path.name}-{first_image}")

    def remove(self) -> None:
        """Remove the files of all processes."""
        for part in self.path.parent.glob(f"{escape(self.path.name)}-*"):
            part.unlink(missing_ok=True)


def evaluate_checkpoint(
    checkpoint: str | Path,
    *,
    data: datasets.Dataset | None = None,
    split: str = "test",
    proposal: str = "encoder",
    n_samples: int | None = None,
    n_images: int | None = None,
    seed: int = 0,
    precision: Precision = "float32",
    device: str = "auto",
    save: bool = False,
    progress: bool = False,
) -> tuple[Card, Evaluation, Evidence]:
    """Estimate log p(x) of a split's images under a checkpoint, from the data set that it was trained on.

    What is finished is kept beside the checkpoint once a minute, and the same evaluation goes on from there.

    Args:
        checkpoint: see `load_checkpoint`.
        data: the images, where they are someone's own; unless given, those that the card names are loaded.
        split: see `evaluate`, also for the next five.
        proposal: where z is drawn.
        n_samples: draws of z for each image.
        n_images: only the first so many images.
        seed: of the draws of z.
        precision: of the decoder's matrix products.
        device: see `choose_device`.
        save: write what is found into the checkpoint's card.
        progress: show a progress bar.

    Returns:
        The card as it is now, what it says of this evaluation or would say, and the result for each image.

    Raises:
        FileNotFoundError: weights or card are missing.
        ValueError: the checkpoint, the device or a setting is not usable, ``data`` is not what it was trained on, or it
            was replaced in the meantime.
        OSError: the data cannot be had, or the card not be written; then what is finished stays kept.
        KeyboardInterrupt: Ctrl-C, once what is finished is kept; it says how to go on.
    """
    n_samples = _n_samples(proposal, n_samples)
    files = CheckpointFiles.of(checkpoint)
    model, card = load_checkpoint(checkpoint, choose_device(device))
    keep = Kept(files.evaluation(split, proposal, n_samples))
    evidence = evaluate(
        model,
        data_of_checkpoint(files.name, card.settings["data"], data),
        split=split,
        proposal=proposal,
        n_samples=n_samples,
        n_images=n_images,
        seed=seed,
        precision=precision,
        progress=progress,
        keep=keep,
    )
    found = _found(model, evidence, proposal, precision, keep.seconds)
    if processes.is_first():
        if save:
            # Of the card as it is by now: another evaluation may have been saved in the meantime.
            metrics = read_card(files.weights).metrics
            card = dataclasses.replace(card, metrics=metrics).with_evaluation(split, found)
            save_card(files.weights, card)
        keep.remove()
    return card, found, evidence


def evaluate(
    model: LatentVariableModel,
    data: str | datasets.Dataset,
    *,
    split: str = "test",
    proposal: str = "encoder",
    n_samples: int | None = None,
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
        data: the data set, or its name.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        proposal: where z is drawn: ``"encoder"``, or ``"adapted"``, fitted to each image.
        n_samples: draws of z for each image; unless given, 5,000 from the encoder and 2,000 from a fitted proposal.
        n_images: only the first so many images.
        seed: of the draws of z.
        precision: see `log_likelihood`.
        progress: show a progress bar.
        keep: where what is finished is kept once a minute, and gone on from. It is yours to remove.

    Returns:
        The evidence of ``n_images`` images, in the data set's order.

    Raises:
        ValueError: an unknown data set, split or proposal, more images than there are or fewer than processes, fewer
            than 2 samples, a negative seed, an unknown precision, images of another size than the model's, or what was
            kept is damaged or of another version of the course.
        OSError: the data cannot be had.
        KeyboardInterrupt: Ctrl-C, once what is finished is kept; it says how to go on.
    """
    n_samples = _n_samples(proposal, n_samples)
    images = images_for(model, datasets.load(data) if isinstance(data, str) else data, split)
    n_images = len(images) if n_images is None else n_images
    least = processes.count()
    if not least <= n_images <= len(images):
        raise ValueError(f"n_images must be between {least:,} and {len(images):,}; got {n_images:,}.")
    mine = processes.my_part(n_images)
    part = _Part(model, images[mine], mine.start, proposal, n_samples, seed, precision, keep)
    silent = None if progress and processes.is_first() else True
    try:
        with tqdm(total=len(part.images), initial=part.found.n_done, unit=" images", disable=silent) as bar:
            while part.found.n_done < len(part.images):
                bar.update(part.take_some())
        return Evidence.joined(processes.gathered(part.found.evidence()))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(part.interrupted()) from None


class _Part:
    """One process's part of an evaluation under way: its images, and what has been found of the first of them."""

    def __init__(
        self,
        model: LatentVariableModel,
        images: Tensor,
        first: int,
        proposal: str,
        n_samples: int,
        seed: int,
        precision: Precision,
        keep: Kept | None,
    ) -> None:
        self.model, self.images, self.first = model, images, first
        self.n_samples, self.seed, self.precision = n_samples, seed, precision
        self.proposal, _ = PROPOSALS[proposal]
        # Several times what the model takes at once, so that starting and stopping cost nothing.
        self.at_once = 10 * images_per_block(model, n_samples)
        if is_fitted(self.proposal):
            self.at_once = images_at_once(model, n_samples, self.proposal)
        self.keep, self.saved_at = keep, time.monotonic()
        self.found = RunningEvidence(len(images), n_samples, model.data_dim)
        if keep is not None:
            self.file = keep.part(first)
            # Of other weights, images, draws or roundings it would not fit to the rest.
            self.key = [_sha256([*model.state_dict().values(), images]), first, proposal, n_samples, seed, precision]
            if self.file.is_file():
                self._restore(keep)

    def take_some(self) -> int:
        """Evaluate the next images, and return how many they were."""
        started = time.monotonic()
        n_done = self.found.n_done
        some = self.images[n_done : n_done + self.at_once].to(next(self.model.parameters()).device)
        self.found.add(
            log_likelihood(
                self.model,
                some,
                self.n_samples,
                self.seed,
                proposal=self.proposal,
                precision=self.precision,
                first_image=self.first + n_done,
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
        of = "real numbers" if model.levels is None else f"{model.levels} levels"
        raise ValueError(f"the model is of {of} and {data.name} has {data.levels} levels: choose other data.")
    model.checked_images(images[:1].to(next(model.parameters()).device))
    return images


def _n_samples(proposal: str, n_samples: int | None) -> int:
    _, usual = PROPOSALS[one_of("proposal", proposal, PROPOSALS)]
    return usual if n_samples is None else whole_number("the number of samples", n_samples)


def _found(
    model: LatentVariableModel, evidence: Evidence, proposal: str, precision: Precision, seconds: float
) -> Evaluation:
    """What a card says of an evaluation, with the standard errors that the sampling of z leaves."""
    (elbo, elbo_error), mean = evidence.mean_elbo, evidence.mean
    sizes = {"n_samples": evidence.n_samples, "n_images": len(evidence.per_image)}
    log_likelihood = LogLikelihood(
        value=mean.value,
        std_error=mean.std_error,
        std_error_over_images=_known(evidence.std_error_over_images),
        bits_per_dim=evidence.bits_per_dim,
        share_of_high_pareto_k=_known(evidence.share_of_high_pareto_k),
        **sizes,
    )
    return Evaluation(
        log_likelihood=log_likelihood,
        proposal=proposal,
        decoder_passes=evidence.decoder_passes,
        failed_fits=int(evidence.fit_failed.sum()),
        elbo=Metric(value=elbo, std_error=elbo_error, **sizes),
        binarization_seed=datasets.BINARIZATION_SEED if model.levels == 2 else None,
        precision=precision,
        seconds=round(seconds, 1),
    )


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number
