"""Minutes as the budget of a training: how many epochs fit, measured on the steps of this very machine.

After that it is an ordinary training of so many epochs, which the same number of epochs reproduces anywhere.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass

from course_lib.training import processes
from course_lib.training.devices import wait_for
from course_lib.training.preset import Preset
from course_lib.training.run import Run
from course_lib.training.states import load_state, save_state, tensors_of
from course_lib.vae.blocks import images_per_block

__all__ = ["Pace", "chosen_before", "fit_to_minutes", "measure"]

# Of the budget, what measuring may take; and its least and most, in seconds.
_SHARE, _LEAST, _MOST = 0.05, 1.0, 8.0
# Steps before the clock counts: libraries set themselves up, networks are compiled, steps are recorded.
_UNCOUNTED_STEPS = 5
# What is left free for all that is not counted, such as the start and the end of the program.
_SPARE = 0.02


@dataclass(frozen=True)
class Pace:
    """What a training takes on this machine, in seconds.

    Attributes:
        step: one step.
        validation: one validation.
        save: to save the state once.
        save_every: between two saves.
    """

    step: float
    validation: float
    save: float
    save_every: float

    def seconds(self, preset: Preset, steps_per_epoch: int) -> float:
        """What a whole training takes."""
        steps = self.step * preset.epochs * steps_per_epoch
        # Each validation may find the best weights so far and write them.
        validations = math.ceil(preset.epochs / preset.validate_every) * (self.validation + self.save)
        saves = (2 + (steps + validations) / self.save_every) * self.save
        return steps + validations + saves

    def epochs_within(self, seconds: float, preset: Preset, steps_per_epoch: int) -> int:
        """The most epochs of a preset that take no more; 0 if not even one does."""

        def fits(epochs: int) -> bool:
            return self.seconds(preset.in_epochs(epochs), steps_per_epoch) <= seconds

        # Fewer than fit in steps alone, and validations keep their number: so it is found by halving.
        low, high = 0, int(seconds / (self.step * steps_per_epoch)) + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low


def fit_to_minutes(run: Run, minutes: float, started: float, save_every: float) -> str:
    """Let a run have as many epochs as fit.

    Args:
        run: a run without a step; so it is afterwards.
        minutes: from ``started`` to the end of the training.
        started: on the clock of `time.monotonic`.
        save_every: seconds between two saves.

    Returns:
        What was chosen, in words.

    Raises:
        ValueError: not even one epoch fits.
    """
    deadline = started + 60 * minutes * (1 - _SPARE)
    pace = measure(run, 60 * minutes, save_every)
    left = deadline - time.monotonic()
    epochs = processes.gathered(pace.epochs_within(left, run.preset, run.steps_per_epoch))[0]
    if not epochs:
        least = pace.seconds(run.preset.in_epochs(1), run.steps_per_epoch) + time.monotonic() - started
        raise ValueError(
            f"an epoch of {run.preset.name} does not fit into {minutes:g} minutes on this machine: give at least "
            f"{least / 60 / (1 - _SPARE) + 0.1:.1f}."
        )
    run.preset = run.preset.in_epochs(epochs)
    return (
        f"{epochs:,} epochs of {run.preset.name} fit: a step takes {1e3 * pace.step:.3g} ms, a validation "
        f"{pace.validation:.2g} s. --epochs {epochs} is the same training again."
    )


def chosen_before(run: Run) -> int:
    """How many epochs were chosen for the training that a run is to go on with.

    Raises:
        ValueError: its state is damaged, or of another version of the course.
    """
    _, saved = load_state(run.files.state)
    return int(saved["settings"]["epochs"])


def measure(run: Run, budget: float, save_every: float) -> Pace:
    """Take a few steps, a part of a validation and a save against the clock, and leave the run without a step.

    Args:
        run: a run without a step.
        budget: in seconds; a small part of it is spent.
        save_every: see `Pace`.
    """
    before = {name: tensor.clone() for name, tensor in tensors_of(run.model, run.average, run.optimizer).items()}
    # Where the warm-up's weight changes, steps are recorded anew: so often as in the first epochs only there.
    preset, run.preset = run.preset, dataclasses.replace(run.preset, kl_warm_up=0)

    def seconds_of(n_steps: int) -> float:
        wait_for(run.device)
        began = time.monotonic()
        for _ in range(n_steps):
            run.take_step()
        wait_for(run.device)
        return time.monotonic() - began

    mine = processes.my_part(len(run.validation))
    model, validation = run.model_as_stored(), math.inf
    at_once = images_per_block(model, run.preset.validation_samples)
    some = slice(mine.start, min(mine.stop, mine.start + at_once))
    for _ in range(2):  # the second time nothing has to be set up
        wait_for(run.device)
        began = time.monotonic()
        run.log_likelihoods(model, some)
        wait_for(run.device)
        validation = time.monotonic() - began
    validation *= (mine.stop - mine.start) / (some.stop - some.start)

    seconds_of(_UNCOUNTED_STEPS)
    few = seconds_of(_UNCOUNTED_STEPS) / _UNCOUNTED_STEPS
    # All processes have to take the same number of steps.
    n_steps = processes.gathered(1 + int(min(_MOST, max(_LEAST, _SHARE * budget)) / few))[0]
    step = seconds_of(n_steps) / n_steps

    began = time.monotonic()
    if processes.is_first():
        trial = run.files.state.with_suffix(".trial")
        try:
            save_state(trial, tensors_of(run.model, run.average, run.optimizer), {})
        finally:
            trial.unlink(missing_ok=True)
    save = time.monotonic() - began
    run.start_over(before)
    run.preset = preset
    return Pace(step, validation, save, save_every)
