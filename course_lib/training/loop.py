"""Training: one loop, from a preset to a checkpoint.

Every draw of a step, which images and which noise, follows from the preset's seed and the number of the step. So a
training that was killed goes on from its last saved state to the very same result, and several processes that each
take a part of every batch agree with one that takes it whole.
"""

from __future__ import annotations

import copy
import json
import math
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_lib import datasets
from course_lib.files import write_atomically
from course_lib.training import processes
from course_lib.training.checkpoints import load_state, save_checkpoint, save_state
from course_lib.training.evaluation import images_for
from course_lib.training.presets import Preset, build_model
from course_lib.vae import LatentVariableModel, log_likelihood
from course_lib.vae.bounds import GRADIENTS
from course_lib.vae.flows import InverseAutoregressiveFlow
from course_lib.vae.noise import Part, Purpose, keyed
from course_lib.vae.warm_up import warmed_up

__all__ = ["choose_device", "tensorboard", "train"]

# A killed training loses at most this many seconds of work.
_SAVE_EVERY = 60.0
# Looking at the bound makes a GPU wait, so it is done once in so many steps.
_LOOK_EVERY = 50


def train(
    preset: Preset,
    folder: str | Path,
    *,
    device: str = "auto",
    resume: bool = False,
    on_record: Callable[[Mapping[str, Any]], None] | None = None,
) -> Path:
    """Train a preset, and keep the weights that do best on the validation set.

    Writes into ``folder``: ``NAME.safetensors`` and ``NAME.json``, the best weights so far and their card;
    ``NAME.jsonl``, a line for each validation; ``NAME.state``, to resume from.

    Args:
        preset: what to train.
        folder: where the files go; several processes share it.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
        resume: go on from ``NAME.state``, which must be of the same preset. A training that was stopped before its
            first step was saved starts over, and one that is finished is left as it is.
        on_record: called with each line of the log.

    Returns:
        The path of the weights.

    Raises:
        ValueError: the device is not there, the state is damaged or of other settings, the images have another size
            than the model's, or the batch cannot be shared evenly.
        FileExistsError: ``folder`` holds a training of that name, and it is not to be resumed or has no state.
        FloatingPointError: the bound or a weight is no longer a number.
        OSError: no data, or no space to save.
        KeyboardInterrupt: Ctrl-C, once the step is done and saved; it says how to go on.
    """
    run = _Training(preset, Path(folder), choose_device(device), resume, on_record)
    silent = None if processes.is_first() else True
    try:
        with (
            _ctrl_c_waits() as is_interrupted,
            tqdm(total=run.n_steps, initial=run.step, unit=" steps", desc=preset.name, disable=silent) as bar,
        ):
            while not run.is_finished:
                run.take_step()
                bar.update()
                if run.step % _LOOK_EVERY == 0:
                    bar.set_postfix_str(run.look())
                if run.step % run.steps_between_validations == 0 or run.step == run.n_steps:
                    run.validate()
                stop = is_interrupted()
                if stop or run.is_finished or time.monotonic() - run.saved_at > _SAVE_EVERY:
                    run.save()
                if stop:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        saved = f"Step {run.saved_step:,} of {run.n_steps:,} is saved: go on with --resume."
        raise KeyboardInterrupt(saved) from None
    return run.weights


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; for ``"auto"`` the first there is of CUDA, MPS and the CPU.

    Raises:
        ValueError: it is unknown or not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, is_there in there.items() if is_there)
    if not re.fullmatch("cpu|mps|cuda(:[0-9]+)?", name):
        raise ValueError(f"there is no device {name!r}: choose auto, cpu, cuda, cuda:1 or mps.")
    kind, _, index = name.partition(":")
    if index and processes.count() > 1:
        raise ValueError(f"each process has a GPU of its own: choose cuda and not {name!r}.")
    if not there[kind] or int(index or 0) >= max(1, torch.cuda.device_count()):
        raise ValueError(f"torch finds no device {name!r} on this machine: choose auto or cpu.")
    return torch.device(name)


def tensorboard(folder: Path) -> Callable[[Mapping[str, Any]], None]:
    """A log for TensorBoard, to be called with each line.

    Raises:
        ImportError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ImportError("TensorBoard is not installed: `python -m pip install tensorboard`.") from None
    writers: list[Any] = []

    def write(record: Mapping[str, Any]) -> None:
        # Not before there is something to write: a training that cannot start leaves no empty log.
        if not writers:
            writers.append(SummaryWriter(folder))
        for name in ("bound", "validation"):
            writers[0].add_scalar(name, record[name], record["step"])
        writers[0].flush()

    return write


class _Training:
    """A training under way: the model, its optimizer, and how far it has come."""

    def __init__(
        self,
        preset: Preset,
        folder: Path,
        device: torch.device,
        resume: bool,
        on_record: Callable[[Mapping[str, Any]], None] | None,
    ) -> None:
        if preset.batch_size % processes.count():
            raise ValueError(
                f"a batch of {preset.batch_size} is not shared evenly by {processes.count()} processes: start as many "
                "as divide it."
            )
        self.preset, self.device, self.on_record = preset, device, on_record
        # Asked now: hours later the files may be those of another version.
        self.commit = _commit()
        self.weights = folder / f"{preset.name}.safetensors"
        self.state, self.log = self.weights.with_suffix(".state"), self.weights.with_suffix(".jsonl")
        is_begun = self.state.exists()
        if (is_begun or self.weights.exists()) and not (is_begun and resume):
            raise FileExistsError(
                f"{folder} holds a training of {preset.name}: {'go on with --resume, ' if is_begun else ''}choose "
                f"another folder, or remove {preset.name}.* there to start anew."
            )

        data = datasets.load(preset.data)
        self.steps_per_epoch = len(data.train) // preset.batch_size
        if not self.steps_per_epoch:
            raise ValueError(
                f"a batch of {preset.batch_size} is more than the {len(data.train)} images of {data.name}."
            )
        self.n_steps = preset.epochs * self.steps_per_epoch
        self.steps_between_validations = preset.validate_every * self.steps_per_epoch
        self.images = data.train.to(device)

        self.model = build_model(preset)
        self.validation = images_for(self.model, data, "validation").to(device)
        self.model.start_from(data.train)
        self.model.to(device)
        optimizer = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}[preset.optimizer]
        self.optimizer = optimizer(self.model.parameters(), lr=preset.learning_rate)
        self.average = copy.deepcopy(self.model) if preset.ema else None
        if device.type == "cuda":
            _compile(self.model)

        self.step, self.best, self.validations_since_best, self.seconds = 0, -math.inf, 0, 0.0
        self.records: list[dict[str, Any]] = []
        self.bounds: list[Tensor] = []
        if is_begun:
            try:
                self._restore()
            except (KeyError, RuntimeError, TypeError):
                raise ValueError(
                    f"{self.state} is of another version of the course: remove it and start anew."
                ) from None
        # The first step is saved at once: whoever stops early can resume, and a full disk shows before hours of work.
        self.saved_at, self.saved_step = -math.inf, self.step
        self.order_of: tuple[int, Tensor] | None = None
        self.counted_until = time.monotonic()

    def take_step(self) -> None:
        """Draw a batch, binarize it anew, and take one step of the optimizer.

        Nothing in it waits for a GPU, so that the steps to come are ready when the GPU is.
        """
        preset, (epoch, position) = self.preset, divmod(self.step, self.steps_per_epoch)
        batch = self._order(epoch)[position * preset.batch_size : (position + 1) * preset.batch_size]
        generator = keyed(self.device, Purpose.TRAINING_STEP, preset.seed, self.step)
        images = self.images[batch]
        if self.model.levels == 2:
            # Not datasets.binarize: its look at every pixel would make a GPU wait for the CPU at each step.
            images = (torch.rand(images.shape, generator=generator, device=self.device) < images).to(images.dtype)
        mine = processes.my_part(preset.batch_size)
        x, noise = images[mine], Part(generator, preset.batch_size, mine)
        bound = warmed_up(GRADIENTS[preset.gradient], min(1.0, (epoch + 1) / (preset.kl_warm_up + 1)))
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        with _tensor_float_32(self.device):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=preset.precision == "bfloat16"):
                value = bound(self.model, x, preset.k, noise).mean()
            (-value).backward()
        processes.average_gradients(self.model.parameters())
        if preset.largest_gradient:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), preset.largest_gradient)
        self.optimizer.step()
        if self.average is not None:
            self._update_average(self.average)
        self.bounds.append(processes.mean(value.detach()))
        self.step += 1

    def look(self) -> str:
        """The bound in words.

        Raises:
            FloatingPointError: it, or a weight, is no longer a number.
        """
        self._check_numbers()
        news = f"bound {self._mean_bound():.2f}"
        return f"{news}, validation {self.best:.2f}" if self.records else news

    def validate(self) -> None:
        """Estimate log p(x) of the validation images, and keep the weights if they are the best so far.

        Raises:
            FloatingPointError: the bound or a weight is no longer a number.
        """
        self._check_numbers()
        # Not the model itself, which may be compiled, and for other batches would have to be compiled anew.
        model = build_model(self.preset).to(self.device)
        model.load_state_dict((self.model if self.average is None else self.average).state_dict())
        if self.preset.stored == "float16":
            model = model.half().float()
        mine = processes.my_part(len(self.validation))
        try:
            part = log_likelihood(
                model, self.validation[mine], self.preset.validation_samples, self.preset.seed, first_image=mine.start
            )
        except ValueError:  # these images are fit for the model, so its weights are not
            raise self._divergence() from None
        values = torch.cat(processes.gathered(part.per_image))
        self._count_seconds()
        record = {
            "epoch": self.step // self.steps_per_epoch,
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "bound": self._mean_bound(),
            "validation": float(values.mean()),
            "validation_std_error": float(values.std() / math.sqrt(len(values))),
        }
        self.bounds.clear()
        self.records.append(record)
        if record["validation"] > self.best:
            self.best, self.validations_since_best = record["validation"], 0
            if processes.is_first():
                save_checkpoint(self.weights, model, self._card(record), getattr(torch, self.preset.stored))
        else:
            self.validations_since_best += 1
        if processes.is_first():
            write_atomically({self.log: "".join(json.dumps(line) + "\n" for line in self.records).encode()})
            if self.on_record is not None:
                self.on_record(record)

    @property
    def is_finished(self) -> bool:
        """Whether all steps are taken, or validation has not improved for as long as the preset allows."""
        return self.step == self.n_steps or 0 < self.preset.patience <= self.validations_since_best

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
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
        if self.bounds:
            tensors["bounds"] = torch.stack(self.bounds)
        names = ("step", "best", "validations_since_best", "seconds", "records")
        progress = {name: getattr(self, name) for name in names}
        save_state(self.state, tensors, {**progress, "settings": self.preset.settings()})
        self.saved_step = self.step

    def _restore(self) -> None:
        tensors, progress = load_state(self.state)
        # Through Preset, so that a setting which is newer than the state has its default.
        before, now = Preset(**progress.pop("settings")).settings(), self.preset.settings()
        if changed := [name for name in now if before[name] != now[name]]:
            raise ValueError(
                f"{self.state} was begun with another {', '.join(changed)}: resume with the same settings."
            )
        for name, value in progress.items():
            setattr(self, name, value)
        self.bounds = list(tensors.pop("bounds", torch.empty(0)).to(self.device))
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.model.load_state_dict(parts["model"])
        if self.average is not None:
            self.average.load_state_dict(parts["average"])
        # As the optimizer would have made them: with the strides of their parameters.
        like = dict(enumerate(self.model.parameters()))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            number, _, rest = name.partition(".")
            is_shaped = tensor.shape == like[int(number)].shape
            state.setdefault(int(number), {})[rest] = (
                torch.empty_like(like[int(number)]).copy_(tensor) if is_shaped else tensor
            )
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _update_average(self, average: LatentVariableModel) -> None:
        # As torch.optim.swa_utils.AveragedModel does, which makes a GPU wait for its count of the steps.
        share = 1 - self.preset.ema if self.step else 1.0
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(self.model.parameters()), share)

    def _count_seconds(self) -> None:
        # Of the clock on the wall, where the GPU has just been waited for: a step alone only tells it what to do.
        now = time.monotonic()
        self.seconds, self.counted_until = self.seconds + now - self.counted_until, now

    def _mean_bound(self) -> float:
        """Mean over the batches since the last validation; ``nan`` where there was none."""
        return float(torch.stack(self.bounds).mean()) if self.bounds else math.nan

    def _check_numbers(self) -> None:
        # Of the weights too: the last step may have spoilt them, and its bound was computed before it.
        are_finite = torch.stack([*self.bounds, *(p.detach().sum() for p in self.model.parameters())]).isfinite()
        if not bool(are_finite.all()):
            raise self._divergence()

    def _divergence(self) -> FloatingPointError:
        kept = f"the best weights so far are in {self.weights}" if self.records else "nothing was worth keeping"
        return FloatingPointError(
            f"training of {self.preset.name} has diverged by step {self.step:,}: its bound is {self._mean_bound()}; "
            f"{kept}. Start anew with a learning rate below {self.preset.learning_rate}."
        )

    def _order(self, epoch: int) -> Tensor:
        """In which order this epoch takes the images."""
        if self.order_of is None or self.order_of[0] != epoch:
            generator = keyed(torch.device("cpu"), Purpose.ORDER_OF_IMAGES, self.preset.seed, epoch)
            self.order_of = epoch, torch.randperm(len(self.images), generator=generator).to(self.device)
        return self.order_of[1]

    def _learning_rate(self) -> float:
        if self.preset.schedule == "constant":
            return self.preset.learning_rate
        return self.preset.learning_rate * 0.5 * (1 + math.cos(math.pi * self.step / self.n_steps))

    def _card(self, record: Mapping[str, Any]) -> dict[str, Any]:
        validation = {
            "value": record["validation"],
            "std_error_over_images": record["validation_std_error"],
            "n_samples": self.preset.validation_samples,
            "n_images": len(self.validation),
        }
        return {
            "name": self.preset.name,
            "preset": self.preset.name,
            "settings": self.preset.settings(),
            "data": f"{self.preset.data}, {_levels_in_words(self.model.levels)}",
            "device": _device_in_words(self.device),
            "processes": processes.count(),
            "seconds": record["seconds"],
            "epochs": record["epoch"],
            "commit": self.commit,
            "seed": self.preset.seed,
            "metrics": {"validation": {"log_likelihood": validation}},
        }


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


def _compile(model: LatentVariableModel, backend: str = "inductor") -> None:
    """Let torch fuse what stands between the matrix products of a model, on the model itself.

    Draws stay outside, because torch compiles no generators. Parameters keep their names. A copy of the model would
    compute with the weights of this one: build another, and load them.
    """
    parts: list[tuple[nn.Module, str]] = [(model, "log_conditional"), (model, "log_prior")]
    if isinstance(model.encoder, nn.Sequential):
        parts.append((model.encoder, "forward"))
    parts += [(flow.steps, "forward") for flow in model.children() if isinstance(flow, InverseAutoregressiveFlow)]
    for module, method in parts:
        setattr(module, method, torch.compile(getattr(module, method), backend=backend))


@contextmanager
def _tensor_float_32(device: torch.device) -> Iterator[None]:
    """Within it a GPU rounds the factors of single-precision products to 11 bits, and is several times faster."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _levels_in_words(levels: int) -> str:
    return "dynamically binarized" if levels == 2 else f"{levels} levels"


def _device_in_words(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def _commit() -> str | None:
    """The version of the course, if git knows it."""
    with suppress(OSError, subprocess.CalledProcessError):
        here = Path(__file__).parent
        command = ["git", "describe", "--always", "--dirty"]
        return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True).stdout.strip()
    return None
