"""The training loop: from a preset to a checkpoint.

Whatever a step draws follows from its number (`course_lib.training.steps`). So a training that was killed goes on from
its last saved state to the very same result, and several processes that each take a part of every batch agree with one
that takes it whole.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from course_lib.checks import positive_number
from course_lib.datasets import Dataset
from course_lib.training import processes
from course_lib.training.budget import chosen_before, fit_to_minutes
from course_lib.training.checkpoints import CheckpointFiles
from course_lib.training.devices import choose_device
from course_lib.training.preset import Preset
from course_lib.training.run import Run
from course_lib.training.stepper import Way

__all__ = ["train"]

# A killed training loses at most this many seconds of work.
_SAVE_EVERY = 60.0
# Looking at the bound makes a GPU wait, so it is done once in so many seconds; by several processes once in so many
# steps, so that all of them find at the same one that a training has diverged.
_LOOK_EVERY, _LOOK_TOGETHER_EVERY = 1.0, 50


def train(
    preset: Preset,
    folder: str | Path,
    *,
    data: Dataset | None = None,
    device: str = "auto",
    resume: bool = False,
    minutes: float | None = None,
    started: float | None = None,
    until: float | None = None,
    way: Way | None = None,
    note: str = "",
    on_record: Callable[[Mapping[str, Any]], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train a preset, and keep the weights that do best on the validation set.

    Writes into ``folder``: ``NAME.safetensors`` and ``NAME.json``, the best weights so far and their card;
    ``NAME.jsonl``, a line for each validation; ``NAME.pictures/samples-EPOCH.png`` and ``reconstructions-EPOCH.png``,
    what the model makes by then of the same 64 draws from its prior and of the first 32 validation images;
    ``NAME.state``, to resume from.

    Args:
        preset: what to train.
        folder: where the files go; several processes share it.
        data: your own images, for which `for_data` has made the preset; unless given, those that it names are loaded.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
        resume: go on from ``NAME.state``, which must be of the same preset. A training that was stopped before its
            first step was saved starts over, and one that is finished is left as it is.
        minutes: in place of the preset's epochs, as many as fit into so many minutes, measured on a few steps; what is
            counted in epochs keeps its share (`Preset.in_epochs`). A training that is resumed has those epochs that
            were chosen when it began.
        started: when the minutes began, on the clock of `time.monotonic`; now unless given.
        until: when to stop, on the same clock, even if steps are left: then what there is is validated and saved.
            For a process that trains alone.
        way: how steps are taken, see `course_lib.training.stepper`; the usual one on the device unless given.
        note: what the card is to say of that.
        on_record: called with each line of the log, in the first process.
        say: told what was chosen, in the first process.

    Returns:
        The path of the weights.

    Raises:
        ValueError: ``preset`` is none, or of other images than ``data``, the device is not there, the state is damaged
            or of other settings or of another version of the course, the images have another size than the model's,
            the batch cannot be shared evenly, or not even one epoch fits into ``minutes``.
        FileExistsError: ``folder`` holds a training of that name, and it is not to be resumed or has no state.
        FloatingPointError: the bound or a weight is no longer a number.
        OSError: no data, or no space to save.
        KeyboardInterrupt: Ctrl-C, once the step is done and saved; it says how to go on.
    """
    if not isinstance(preset, Preset):
        raise ValueError(f"preset must be a Preset, such as PRESETS['mnist-vae']; got {preset!r}.")
    started = time.monotonic() if started is None else started
    if minutes is not None:
        positive_number("minutes", minutes)
    files = CheckpointFiles(Path(folder), preset.name)
    is_begun = _is_begun(files, resume)
    run = Run(preset, files, choose_device(device), way, note, data)
    if is_begun and minutes is not None:
        run.preset = preset.in_epochs(chosen_before(run))
    elif minutes is not None:
        choice = fit_to_minutes(run, minutes, started, _SAVE_EVERY)
        if say is not None and processes.is_first():
            say(choice)
    if is_begun:
        run.restore()
    # None, for a bar where someone may see it, would overrule TQDM_DISABLE.
    silent = True if os.environ.get("TQDM_DISABLE") or not processes.is_first() else None
    looked_at = time.monotonic()
    try:
        with (
            _ctrl_c_waits() as is_interrupted,
            tqdm(total=run.n_steps, initial=run.step, unit=" steps", desc=preset.name, disable=silent) as bar,
        ):
            while not run.is_finished:
                run.take_step()
                bar.update()
                since = time.monotonic() - looked_at
                if since > _LOOK_EVERY if processes.count() == 1 else run.step % _LOOK_TOGETHER_EVERY == 0:
                    bar.set_postfix_str(run.look())
                    looked_at = time.monotonic()
                is_over = until is not None and time.monotonic() > until
                if run.is_to_validate or is_over:
                    record = run.validate()
                    if on_record is not None and processes.is_first():
                        on_record(record)
                stop = is_interrupted()
                if stop or is_over or run.is_finished or time.monotonic() - run.saved_at > _SAVE_EVERY:
                    run.save()
                if stop:
                    raise KeyboardInterrupt
                if is_over:
                    break
    except KeyboardInterrupt:
        saved = f"Step {run.saved_step:,} of {run.n_steps:,} is saved: go on with --resume."
        raise KeyboardInterrupt(saved) from None
    return files.weights


def _is_begun(files: CheckpointFiles, resume: bool) -> bool:
    """Whether there is a training to go on with.

    Raises:
        FileExistsError: there is one, and it is not to be gone on with or cannot be.
    """
    is_begun = files.state.exists()
    if (is_begun or files.weights.exists()) and not (is_begun and resume):
        raise FileExistsError(
            f"{files.folder} holds a training of {files.name}: {'go on with --resume, ' if is_begun else ''}choose "
            f"another folder, or remove {files.name}.* there to start anew."
        )
    return is_begun


@contextmanager
def _ctrl_c_waits() -> Iterator[Callable[[], bool]]:
    """Within it Ctrl-C is noted and not raised, so that no step is left half done; a second one is raised.

    Not with several processes: each would stop after another step, and the others would wait for it.
    """
    noted: list[int] = []

    def note(number: int, _: Any) -> None:
        noted.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    is_ours = threading.current_thread() is threading.main_thread() and processes.count() == 1
    # Where someone else handles it, or it is ignored as in a background job, it is theirs.
    if is_ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(noted)
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, signal.default_int_handler)
