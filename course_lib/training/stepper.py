"""How steps are taken: one operation at a time, or, on a CUDA GPU, recorded as a whole and replayed.

A GPU computes a small network's operation faster than Python can ask for the next. A CUDA graph asks for all of a step
at once, the optimizer's included. What is recorded are memory addresses: the images of each step are copied to where
those of the first were, and the generator is seeded with the step's own key before each replay, so that its draws are
those of a step that is not recorded. `torch.compile` fuses what stands between the matrix products of a larger network;
its steps are recorded, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor

from course_lib.checks import brief, one_of
from course_lib.training import processes
from course_lib.training.devices import compile_parts
from course_lib.training.preset import Preset
from course_lib.training.steps import (
    descend,
    learning_rate,
    set_learning_rate,
    take_step,
    update_average,
    warmth_of,
)
from course_lib.vae import LatentVariableModel
from course_lib.vae.noise import Purpose, key

__all__ = ["WAYS", "Recording", "Stepper", "Way", "usual_way"]

# Operation by operation; recorded; with compiled networks, and recorded.
Way = Literal["plain", "captured", "compiled"]
WAYS: tuple[Way, ...] = get_args(Way)

# Of a kind that has not been taken yet: libraries load their kernels and set up their memory in the first ones.
_STEPS_BEFORE_RECORDING = 3


def usual_way(preset: Preset, device: torch.device) -> Way:
    """The way that should be the fastest: to record asks for a CUDA GPU, and convolutions are worth compiling."""
    if device.type != "cuda":
        return "plain"
    is_dense = preset.model in ("VAE", "TwoLayerVAE") or preset.arguments.get("network") == "dense"
    return "captured" if is_dense else "compiled"


class Recording:
    """Work for a CUDA GPU that is recorded once, and then done again at each `replay`, with the same memory."""

    def __init__(self, work: Callable[[], Tensor], generator: torch.Generator) -> None:
        """Record ``work`` without doing it.

        Raises:
            RuntimeError: something in it cannot be recorded.
        """
        self._graph = torch.cuda.CUDAGraph()
        # Without it the draws of the first replay would be those of all.
        self._graph.register_generator_state(generator)
        stream = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(self._graph):
                self.result = work()
        finally:
            # A recording that fails leaves its own stream behind.
            torch.cuda.set_stream(stream)

    def replay(self) -> None:
        """Do it."""
        self._graph.replay()


class Stepper:
    """Takes steps of a training: of its model, its optimizer, and the average of its weights.

    Attributes:
        way: how they are taken.
        trouble: why they are not taken as they were to be, or None.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        average: LatentVariableModel | None,
        optimizer: torch.optim.Optimizer,
        way: Way = "plain",
    ) -> None:
        """Prepare to take steps; to compile a model is to change its methods.

        Raises:
            ValueError: an unknown way.
        """
        self.way: Way = one_of("the way of steps", way, WAYS)
        self.trouble: str | None = None
        self._stream: torch.cuda.Stream | None = None
        self._model, self._average, self._optimizer = model, average, optimizer
        if way == "compiled":
            compile_parts(model)
        # Several processes wait for each other within a step.
        self._records = way != "plain" and processes.count() == 1
        if way == "captured" and not self._records:
            self.way = "plain"
        self.forget()

    def forget(self) -> None:
        """Forget what is recorded, because the optimizer has other numbers in other places by now."""
        self._recording: Recording | None = None
        self._n_taken, self._warmth = 0, -1.0

    def take(self, images: Tensor, preset: Preset, step: int, steps_per_epoch: int) -> Tensor:
        """Take one step: see `course_lib.training.steps.take_step`.

        The average starts at the first step's weights, not at the initial ones.
        """
        warmth = warmth_of(preset, step, steps_per_epoch)
        if warmth != self._warmth:
            self._recording, self._n_taken, self._warmth = None, 0, warmth
        if self._records and self._recording is None and self._n_taken >= _STEPS_BEFORE_RECORDING:
            self._record(images, preset, warmth)
        if self._recording is None:
            self._n_taken += 1
            with self._aside(images.device) if self._records else nullcontext():
                bound = take_step(self._model, self._optimizer, images, preset, step, steps_per_epoch)
                self._update_average(preset.ema if step else 0.0)
            return bound
        set_learning_rate(self._optimizer, learning_rate(preset, step, preset.epochs * steps_per_epoch))
        self._images.copy_(images)
        self._generator.manual_seed(key(Purpose.TRAINING_STEP, preset.seed, step))
        self._recording.replay()
        # The next replay writes another number there.
        return self._recording.result.clone()

    def _record(self, images: Tensor, preset: Preset, warmth: float) -> None:
        self._images, self._generator = images.clone(), torch.Generator(images.device)

        def work() -> Tensor:
            bound = descend(self._model, self._optimizer, self._images, preset, warmth, self._generator)
            self._update_average(preset.ema)
            return bound

        try:
            self._recording = Recording(work, self._generator)
        except Exception as error:  # what cannot be recorded says so in many ways
            # Nothing has been computed, so the training can go on without. The end of a recording that failed fails,
            # too, and hides why.
            why = brief(error.__context__ or error)
            self._records, self.trouble = False, f"steps cannot be recorded ({why})"
            self.way = "plain" if self.way == "captured" else self.way

    def _update_average(self, decay: float) -> None:
        if self._average is not None:
            update_average(self._average, self._model, decay)

    @contextmanager
    def _aside(self, device: torch.device) -> Iterator[None]:
        """Within it a GPU's work goes to another stream, as it has to before it is recorded."""
        main = torch.cuda.current_stream(device)
        # One for all steps: memory that one stream has given back is not for another.
        self._stream = self._stream or torch.cuda.Stream(device)
        self._stream.wait_stream(main)
        with torch.cuda.stream(self._stream):
            yield
        main.wait_stream(self._stream)
