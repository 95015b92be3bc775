"""A smoke test: does a device compute what the CPU computes, in each way of taking steps, and which way is the fastest?

Ten steps of a preset from its initial weights. On the device, operation by operation, they get the very noise that the
CPU gets; each faster way gets the noise of the plain one there. What may differ is rounding alone. How much that makes
is measured, not guessed: by the distance on the CPU between steps in single precision and in that of the preset.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.checks import brief
from course_lib.training.devices import make_optimizer, wait_for
from course_lib.training.preset import Preset
from course_lib.training.presets import build_model
from course_lib.training.stepper import Stepper, Way, usual_way
from course_lib.training.steps import descend
from course_lib.vae import LatentVariableModel
from course_lib.vae.evidence import Precision
from course_lib.vae.noise import FromCPU, Purpose, keyed

__all__ = ["Outcome", "Smoke", "smoke", "ways_for"]

_N_STEPS = 10
# Images in a step that the CPU takes, too.
_FEW = 20
# Two devices round differently, and of ten errors the largest may well be several times that of another ten.
_MARGIN = 10.0
# TensorFloat-32, in which a GPU multiplies single precision, has three bits more than bfloat16.
_TENSOR_FLOAT_32 = 2.0**-3
# Sums in single precision are exact to so much of themselves.
_SINGLE = 2.0**-20


@dataclass(frozen=True)
class Outcome:
    """What became of one way.

    Attributes:
        way: how steps were taken.
        distance: the largest distance of a step's bound from what it should be, in nats.
        allowed: how large it may be there.
        step: seconds for a step of a whole batch, once all is set up.
        start: seconds until the steps were that fast.
        error: what was raised, or None.
    """

    way: Way
    distance: float = float("nan")
    allowed: float = float("nan")
    step: float = float("nan")
    start: float = float("nan")
    error: str | None = None

    @property
    def is_right(self) -> bool:
        """Whether the steps were those they should be."""
        return self.error is None and self.distance <= self.allowed

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.way} steps fail ({self.error})"
        verdict = "" if self.is_right else "WRONG: "
        return (
            f"{verdict}{self.way} {1e3 * self.step:.3g} ms a step, {self.distance:.2g} nats off where "
            f"{self.allowed:.2g} can be rounding"
        )


@dataclass(frozen=True)
class Smoke:
    """What became of all ways of a preset, the plain one first."""

    name: str
    outcomes: tuple[Outcome, ...]

    @property
    def is_right(self) -> bool:
        """Whether every way was."""
        return all(one.is_right for one in self.outcomes)

    def ranked(self, seconds: float) -> list[Way]:
        """The right ways, and the plain one in any case; first what takes the most steps in so many seconds."""
        right = sorted((one for one in self.outcomes if one.is_right), key=lambda one: (one.start - seconds) / one.step)
        ways = [one.way for one in right]
        return ways if "plain" in ways else [*ways, "plain"]

    @property
    def note(self) -> str:
        """What was wrong, for the card; empty where nothing was."""
        return "; ".join(str(one) for one in self.outcomes if not one.is_right)

    def __str__(self) -> str:
        return f"{self.name}: {'; '.join(map(str, self.outcomes))}"


def ways_for(preset: Preset, device: torch.device) -> tuple[Way, ...]:
    """The ways that are worth a try: plain, recorded on a CUDA GPU, and compiled where that is the usual one."""
    if device.type != "cuda":
        return ("plain",)
    return ("plain", "captured", "compiled") if usual_way(preset, device) == "compiled" else ("plain", "captured")


def smoke(preset: Preset, device: torch.device, ways: Sequence[Way]) -> Smoke:
    """Take ten steps in each way. Nothing is read or written: the images are made up.

    Args:
        preset: what to train.
        device: where.
        ways: of taking steps, the plain one first.
    """
    exact, allowed = _on_the_cpu(preset)
    outcomes: list[Outcome] = []
    of_plain_way: Tensor | None = None
    for way in ways:
        try:
            bounds, step, start = _timed(preset, device, way)
            if of_plain_way is None:
                of_plain_way, distance = bounds, _few_steps(preset, device, preset.precision) - exact
            else:
                distance = bounds - of_plain_way
            # What is not a number is as far off as can be.
            distance = distance.abs().nan_to_num(torch.inf, torch.inf)
            worst = int((distance / allowed).argmax())
            outcomes.append(Outcome(way, float(distance[worst]), float(allowed[worst]), step, start))
        except Exception as error:  # a compiler raises whatever it likes
            outcomes.append(Outcome(way, error=f"{type(error).__name__}: {brief(error)}"))
            if way == "plain":  # nothing to hold the others against
                break
    return Smoke(preset.name, tuple(outcomes))


def _on_the_cpu(preset: Preset) -> tuple[Tensor, Tensor]:
    """The bounds of a few steps in single precision, and how far off each may be, in nats."""
    cpu = torch.device("cpu")
    exact, rounded = (_few_steps(preset, cpu, precision) for precision in ("float32", "bfloat16"))
    # Steps that have been rounded lead to others. One error alone may happen to be near zero.
    distance = (exact - rounded).abs().cummax(0).values
    distance = distance.clamp(min=distance[2])
    if preset.precision == "float32":
        distance = distance * _TENSOR_FLOAT_32
    return exact, _MARGIN * distance + _SINGLE * exact.abs()


def _few_steps(preset: Preset, device: torch.device, precision: Precision) -> Tensor:
    """The bounds of ten steps of a few images ``[10]``, on the CPU, with noise that is the same on any device."""
    preset = dataclasses.replace(preset, batch_size=_FEW, precision=precision)
    model, optimizer, images = _beginning(preset, device)
    bounds = []
    for step in range(_N_STEPS):
        noise = FromCPU(keyed(torch.device("cpu"), Purpose.TRAINING_STEP, preset.seed, step))
        # Images of bits stay as they are, whatever is drawn.
        bounds.append(descend(model, optimizer, images, preset, 1.0, torch.Generator(device), noise))
    return torch.stack(bounds).cpu()


def _timed(preset: Preset, device: torch.device, way: Way) -> tuple[Tensor, float, float]:
    """The bounds of ten steps of a whole batch ``[10]``; seconds for a step after that, and for what came before."""
    began = time.monotonic()
    model, optimizer, images = _beginning(preset, device)
    stepper = Stepper(model, None, optimizer, way)
    # All of one warmth, and in a training of very many: the learning rate hardly falls.
    preset, steps_per_epoch = dataclasses.replace(preset, kl_warm_up=0), 10**6
    bounds = [stepper.take(images, preset, step, steps_per_epoch) for step in range(_N_STEPS)]
    wait_for(device)
    middle = time.monotonic()
    for step in range(_N_STEPS):
        stepper.take(images, preset, step, steps_per_epoch)
    wait_for(device)
    if stepper.trouble is not None:
        raise RuntimeError(stepper.trouble)
    return torch.stack(bounds).cpu(), (time.monotonic() - middle) / _N_STEPS, middle - began


def _beginning(preset: Preset, device: torch.device) -> tuple[LatentVariableModel, torch.optim.Optimizer, Tensor]:
    """A model with its initial weights, its optimizer, and a batch of made-up images, mostly dark, on the device."""
    model = build_model(preset)
    levels = 256 if model.levels is None else model.levels
    generator = torch.Generator().manual_seed(preset.seed)
    images = torch.rand(preset.batch_size, model.data_dim, generator=generator) ** 4
    images = (images * (levels - 1)).round() / (levels - 1)
    images = images.view(-1, *getattr(model, "shape", (model.data_dim,)))
    model.start_from(images)
    model.to(device)
    return model, make_optimizer(preset, model.parameters(), device), images.to(device)
