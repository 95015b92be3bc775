"""A run: one training under way, what it has come to, and what is written of it."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from course_lib.datasets import Dataset
from course_lib.files import write_atomically
from course_lib.resources import DATA
from course_lib.training import processes
from course_lib.training.cards import Card, LogLikelihood, SplitMetrics
from course_lib.training.checkpoints import CheckpointFiles, save_checkpoint
from course_lib.training.data import data_of_preset
from course_lib.training.devices import device_in_words, make_optimizer
from course_lib.training.evaluation import images_for
from course_lib.training.pictures import picture_of_reconstructions, picture_of_samples
from course_lib.training.preset import Preset
from course_lib.training.presets import build_model
from course_lib.training.states import load_state, of_another_version, restore, save_state, tensors_of
from course_lib.training.stepper import Stepper, Way, usual_way
from course_lib.training.steps import order_of_images
from course_lib.vae import LatentVariableModel, log_likelihood

__all__ = ["Run"]

# Of the bounds since the last validation, those that are looked at now and then.
_RECENT = 100
# Validation images of which each validation leaves reconstructions.
_SHOWN = 32


@dataclass
class Progress:
    """How far a run has come, as its state has it.

    Attributes:
        step: steps that are taken.
        best: the highest log p(x) of the validation images so far, in nats.
        validations_since_best: how many were not higher.
        seconds: how long the run has taken, before interruptions too.
        records: the lines of the log.
    """

    step: int = 0
    best: float = -math.inf
    validations_since_best: int = 0
    seconds: float = 0.0
    records: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """A training under way: the data, the model, its optimizer, and how far it has come.

    Attributes:
        model: what learns.
        average: the average of its weights, which is then what is evaluated, or None.
        optimizer: of the model's parameters.
        stepper: takes the steps.
        progress: how far the run has come.
        bounds: of the batches since the last validation, scalars on the device, in nats.
        saved_at: when it was last saved, on the clock of `time.monotonic`.
        saved_step: steps that were taken by then.
    """

    def __init__(
        self,
        preset: Preset,
        files: CheckpointFiles,
        device: torch.device,
        way: Way | None = None,
        note: str = "",
        data: Dataset | None = None,
    ) -> None:
        """Load the data and build the model, without a step.

        Args:
            preset: what to train.
            files: where it goes.
            device: where it learns.
            way: how steps are taken; the usual one on such a device unless given.
            note: what else the card is to say of how steps were taken.
            data: the images, if they are none that the preset's name for them loads.

        Raises:
            ValueError: ``data`` is not what the preset names, the images have another size or other levels than the
                model's, there are too few of them for a batch, or a batch cannot be shared evenly.
            OSError: the data cannot be had.
        """
        if preset.batch_size % processes.count():
            raise ValueError(
                f"a batch of {preset.batch_size} is not shared evenly by {processes.count()} processes: start as many "
                "as divide it."
            )
        self.preset, self.files, self.device = preset, files, device
        # Asked now: hours later the files may be those of another version.
        self.commit = _commit()
        data = data_of_preset(preset, data)
        images = torch.cat([data.train, data.validation]) if preset.all_images else data.train
        self.steps_per_epoch = len(images) // preset.batch_size
        if not self.steps_per_epoch:
            raise ValueError(f"a batch of {preset.batch_size} is more than the {len(images)} images of {data.name}.")
        self.images = images.to(device)

        self.model = build_model(preset)
        self.validation = images_for(self.model, data, "validation").to(device)
        self.model.start_from(images)
        self.model.to(device)
        self.optimizer = make_optimizer(preset, self.model.parameters(), device)
        self.average = copy.deepcopy(self.model) if preset.ema else None
        self.stepper = Stepper(self.model, self.average, self.optimizer, way or usual_way(preset, device))
        self.note = note

        self.progress, self.bounds = Progress(), list[Tensor]()
        # The first step is saved at once: whoever stops early can resume, and a full disk shows before hours of work.
        self.saved_at, self.saved_step = -math.inf, 0
        self.counted_until = time.monotonic()
        self._order: tuple[int, Tensor] | None = None

    @property
    def step(self) -> int:
        """Steps that are taken, and so the number of the next."""
        return self.progress.step

    @property
    def n_steps(self) -> int:
        """Steps of the whole training."""
        return self.preset.epochs * self.steps_per_epoch

    @property
    def is_finished(self) -> bool:
        """Whether all steps are taken, or validation has not improved for as long as the preset allows."""
        return self.step == self.n_steps or 0 < self.preset.patience <= self.progress.validations_since_best

    @property
    def is_to_validate(self) -> bool:
        """Whether it is time to."""
        return self.step % (self.preset.validate_every * self.steps_per_epoch) == 0 or self.step == self.n_steps

    def take_step(self) -> None:
        """Take the next step. Nothing in it waits for a GPU."""
        images = self.images[self.batch()]
        self.bounds.append(self.stepper.take(images, self.preset, self.step, self.steps_per_epoch))
        self.progress.step += 1

    def start_over(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to before the first step.

        Args:
            tensors: copies of what `course_lib.training.states.tensors_of` gave before it.
        """
        restore(tensors, self.model, self.average, self.optimizer)
        self.stepper.forget()
        self.progress, self.counted_until = Progress(), time.monotonic()
        self.bounds.clear()

    def batch(self) -> Tensor:
        """Which images the next step takes, ``[batch_size]``."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, order_of_images(len(self.images), self.preset.seed, epoch, self.device)
        return self._order[1][position * self.preset.batch_size : (position + 1) * self.preset.batch_size]

    def look(self) -> str:
        """The bound in words.

        Raises:
            FloatingPointError: it, or a weight, is no longer a number.
        """
        self._check_numbers()
        news = f"bound {self._mean_bound(_RECENT):.2f}"
        return f"{news}, validation {self.progress.best:.2f}" if self.progress.records else news

    def validate(self) -> dict[str, Any]:
        """Estimate log p(x) of the validation images, keep the weights if they are the best so far, and draw pictures.

        If the model learns from these images, too, they choose nothing, and the weights are kept in any case.

        Returns:
            The new line of the log.

        Raises:
            FloatingPointError: the bound or a weight is no longer a number.
            OSError: weights, log or pictures cannot be written.
        """
        self._check_numbers()
        model = self.model_as_stored()
        try:
            values = torch.cat(processes.gathered(self.log_likelihoods(model, processes.my_part(len(self.validation)))))
        except ValueError:  # these images are fit for the model, so its weights are not
            raise self._divergence() from None
        self._count_seconds()
        progress = self.progress
        record: dict[str, Any] = {
            "epoch": self.step // self.steps_per_epoch,
            "step": self.step,
            "seconds": round(progress.seconds, 1),
            "bound": self._mean_bound(),
            "validation": float(values.mean()),
            "validation_std_error": float(values.std() / math.sqrt(len(values))),
        }
        self.bounds.clear()
        progress.records.append(record)
        if record["validation"] > progress.best or self.preset.all_images:
            progress.best, progress.validations_since_best = record["validation"], 0
            if processes.is_first():
                save_checkpoint(self.files.weights, model, self._card(record), getattr(torch, self.preset.stored))
        else:
            progress.validations_since_best += 1
        if processes.is_first():
            write_atomically({self.files.log: "".join(json.dumps(line) + "\n" for line in progress.records).encode()})
            self.draw(model, record["epoch"])
        return record

    def draw(self, model: LatentVariableModel, epoch: int) -> None:
        """Write pictures of what the model makes by now: always of the same draws, so that one sees them develop.

        Args:
            model: see `model_as_stored`.
            epoch: by which the pictures are named.

        Raises:
            OSError: they cannot be written.
        """
        # Each has a generator of its own, so that what training and validation draw is what it would be without them.
        write_atomically(
            {
                # Some models do not know the shape of the images that they learn from.
                self.files.picture("samples", epoch): picture_of_samples(model, shape=self.validation.shape[1:]),
                self.files.picture("reconstructions", epoch): picture_of_reconstructions(
                    model, self.validation[:_SHOWN]
                ),
            }
        )

    def model_as_stored(self) -> LatentVariableModel:
        """Another model with the weights that would be kept by now, as they would be read again."""
        # Not the model itself, which may be compiled, and for other batches would have to be compiled anew.
        model = build_model(self.preset).to(self.device)
        model.load_state_dict((self.model if self.average is None else self.average).state_dict())
        return (model.half().float() if self.preset.stored == "float16" else model).eval()

    def log_likelihoods(self, model: LatentVariableModel, images: slice) -> Tensor:
        """Estimates of log p(x) of these of the validation images, in nats.

        Raises:
            ValueError: the model's weights are not finite, or the weights of z.
        """
        n_samples, seed = self.preset.validation_samples, self.preset.seed
        found = log_likelihood(
            model, self.validation[images], n_samples, seed, first_image=images.start, progress=False
        )
        return found.per_image

    def save(self) -> None:
        """Write what is needed to go on from here.

        Raises:
            FloatingPointError: the bound or a weight is no longer a number.
            OSError: it cannot be written.
        """
        self._check_numbers()
        self._count_seconds()
        self.saved_at = time.monotonic()
        if not processes.is_first():
            return
        tensors = tensors_of(self.model, self.average, self.optimizer)
        if self.bounds:
            tensors["bounds"] = torch.stack(self.bounds)
        save_state(self.files.state, tensors, {**dataclasses.asdict(self.progress), "settings": self.preset.settings()})
        self.saved_step = self.step

    def restore(self) -> None:
        """Go on from what was saved.

        Raises:
            FileNotFoundError: nothing was.
            ValueError: it is damaged, or of other settings or another version of the course.
        """
        state = self.files.state
        tensors, saved = load_state(state)
        try:
            # Through Preset, so that a setting which is newer than the state has its default.
            before, now = Preset(**saved.pop("settings")).settings(), self.preset.settings()
            self.progress = Progress(**saved)
        except (KeyError, TypeError, ValueError):
            raise of_another_version(state) from None
        if changed := [name for name in now if before[name] != now[name]]:
            raise ValueError(f"{state} was begun with another {', '.join(changed)}: resume with the same settings.")
        self.bounds = list(tensors.pop("bounds", torch.empty(0)).to(self.device))
        try:
            restore(tensors, self.model, self.average, self.optimizer)
        except (KeyError, RuntimeError, TypeError):
            raise of_another_version(state) from None
        self.stepper.forget()
        self.saved_step = self.step

    def _how_steps_were_taken(self) -> str:
        return "; ".join(filter(None, [self.stepper.way, self.note, self.stepper.trouble]))

    def _count_seconds(self) -> None:
        # Of the clock on the wall, where the GPU has just been waited for: a step alone only tells it what to do.
        now = time.monotonic()
        self.progress.seconds, self.counted_until = self.progress.seconds + now - self.counted_until, now

    def _mean_bound(self, most: int = 0) -> float:
        """Mean over the batches since the last validation, or the last of them; ``nan`` where there was none."""
        return float(torch.stack(self.bounds[-most:]).mean()) if self.bounds else math.nan

    def _check_numbers(self) -> None:
        # Of the weights too: the last step may have spoilt them, and its bound was computed before it.
        sums = [p.detach().sum() for p in self.model.parameters()]
        are_finite = torch.stack([*self.bounds[-_RECENT:], *sums]).isfinite()
        if not bool(are_finite.all()):
            raise self._divergence()

    def _divergence(self) -> FloatingPointError:
        has_best = bool(self.progress.records)
        kept = f"the best weights so far are in {self.files.weights}" if has_best else "nothing was worth keeping"
        return FloatingPointError(
            f"training of {self.preset.name} has diverged by step {self.step:,}: its bound is {self._mean_bound()}; "
            f"{kept}. Start anew with a learning rate below {self.preset.learning_rate}."
        )

    def _card(self, record: Mapping[str, Any]) -> Card:
        validation = LogLikelihood(
            value=record["validation"],
            n_samples=self.preset.validation_samples,
            n_images=len(self.validation),
            std_error_over_images=record["validation_std_error"],
        )
        kind = "dynamically binarized" if self.model.levels == 2 else f"{self.model.levels} levels"
        learned = ", the validation images among the training images" if self.preset.all_images else ""
        return Card(
            name=self.preset.name,
            settings=self.preset.settings(),
            # Of images that the model learns from it says nothing of others.
            metrics={} if self.preset.all_images else {"validation": SplitMetrics(log_likelihood=validation)},
            preset=self.preset.name,
            data=f"{self.preset.data}, {kind}{learned}",
            device=device_in_words(self.device),
            steps=self._how_steps_were_taken(),
            processes=processes.count(),
            seconds=record["seconds"],
            epochs=record["epoch"],
            commit=self.commit,
            seed=self.preset.seed,
        )


def _commit() -> str | None:
    """The version of the course, if it runs from a checkout and git is there."""
    root = DATA.parent
    # A package that is installed may lie in a repository of someone else's.
    if (root / ".git").exists():
        with suppress(OSError, subprocess.CalledProcessError):
            command = ["git", "describe", "--always", "--dirty"]
            return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
    return None
