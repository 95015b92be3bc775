"""A zoo: presets trained and evaluated one after the other within so many minutes, those that matter most first.

Meant for a GPU that one has for minutes. Whatever interrupts it, what was finished is there, each model with its
weights, card, log and samples, beside a table of all of them.
"""

from __future__ import annotations

import io
import json
import math
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from course_lib import datasets
from course_lib.checks import brief, positive_number
from course_lib.estimates import value_with_error
from course_lib.files import write_atomically
from course_lib.training import Card, Preset, build_model, load_checkpoint, train
from course_lib.training.cards import LogLikelihood
from course_lib.training.checkpoints import CheckpointFiles, read_card
from course_lib.training.devices import choose_device, device_in_words, wait_for
from course_lib.training.evaluation import PROPOSALS, evaluate_checkpoint, images_for
from course_lib.training.pictures import picture_of_samples
from course_lib.training.presets import flops_per_image, preset_named
from course_lib.training.smoke import Smoke, smoke, ways_for
from course_lib.training.stepper import Way
from course_lib.vae import log_likelihood
from course_lib.vae.evidence import Precision, images_at_once

__all__ = ["ZOO", "Entry", "run_zoo"]

# Of all the time, what is left free for what nobody foresees.
_SPARE = 0.02
# After so many seconds of smoke tests no network is compiled for them any more.
_SMOKE_SECONDS = 30.0
# Evaluations of the test images: from where, with how many draws, and the share of a model's time that it may take.
_EVALUATIONS = (("encoder", 1_000, 0.4), ("encoder", 5_000, 0.25), ("adapted", 2_000, 0.25))
_FEWEST_DRAWS = 100
_DRAWS_TIMED = 1_000
# A training may take so much longer than was planned, as a part of that, before it is stopped.
_LATE = 0.05
# Files in the folder for what is delivered: one is the table, the others are models.
_MOST_DELIVERED = 8


@dataclass(frozen=True)
class Entry:
    """A preset of the zoo.

    Attributes:
        name: the preset's.
        share: of the time, beside the other entries'.
        published: the best log p(x) of test images that others report for such a model, in nats.
        source: who does.
    """

    name: str
    share: float = 1.0
    published: float | None = None
    source: str = ""


# In order of worth.
ZOO: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("mnist-record", 6.0, -78.01, "Vahdat and Kautz 2020, 21 hours on two GPUs"),
        Entry("mnist-iwae-k50-gpu", 1.0, -84.78, "Burda et al. 2016, 3,280 epochs"),
        Entry("mnist-iwae-2layer-k50-gpu", 1.0, -82.90, "Burda et al. 2016"),
        Entry("mnist-iwae-k5-gpu", 0.5, -85.54, "Burda et al. 2016"),
        Entry("mnist-vae-gpu", 0.5, -86.76, "Burda et al. 2016"),
    )
}


def run_zoo(
    names: Sequence[str],
    minutes: float,
    folder: str | Path,
    *,
    device: str = "auto",
    resume: bool = False,
    plain: bool = False,
    deliver: str | Path | None = None,
    started: float | None = None,
    say: Callable[[str], None] = print,
) -> tuple[str, bool]:
    """Smoke-test, train and evaluate presets, one after the other.

    Writes into ``folder``, for each preset as soon as it is there: ``NAME.safetensors``, ``NAME.json`` (card),
    ``NAME.jsonl`` (log) and ``NAME.png`` (samples), beside what else `train` leaves; and ``table.md``. A preset that
    fails is told of in the table, and the next one has its time.

    Args:
        names: of presets, those that matter most first; empty for all of `ZOO`.
        minutes: to the end of all of it.
        folder: where the files go.
        device: see `course_lib.training.devices.choose_device`.
        resume: leave what is finished as it is, and go on with what is not.
        plain: no smoke test, and no steps that are recorded or compiled.
        deliver: another folder, for a copy of the table and of each model in one archive, ``NAME.zip``, renewed as
            soon as there is more: eight files at most, for machines that give back no more.
        started: when the minutes began, on the clock of `time.monotonic`; now unless given.
        say: told what is going on.

    Returns:
        The table, and whether all presets are finished.

    Raises:
        ValueError: an unknown preset or device, a preset of no data set, no minutes, or more presets than can be
            delivered.
        FileExistsError: ``folder`` holds trainings of these presets, and it is not to be gone on with.
        OSError: the table cannot be written.
        KeyboardInterrupt: Ctrl-C; what is finished stays.
    """
    started = time.monotonic() if started is None else started
    deadline = started + 60 * positive_number("minutes", minutes) * (1 - _SPARE)
    presets = {name: preset_named(name) for name in dict.fromkeys(names or ZOO)}
    if own := [name for name, preset in presets.items() if not preset.data]:
        raise ValueError(f"{own[0]} learns from images of your own: train it with `train {own[0]} --data PATH`.")
    where = choose_device(device)
    if deliver is not None and len(presets) >= _MOST_DELIVERED:
        raise ValueError(f"at most {_MOST_DELIVERED - 1} models are delivered at once; got {len(presets)}: name fewer.")
    zoo = _Zoo(presets, Path(folder), where, Path(deliver) if deliver is not None else None, say, plain)
    zoo.check_folder(resume)
    zoo.write_table()
    zoo.smoke_test()
    for name in presets:
        if not zoo.is_finished(name):
            zoo.make(name, deadline)
            zoo.write_table()
    return zoo.table(), all(map(zoo.is_finished, presets))


class _Zoo:
    """The presets, and what has become of them."""

    def __init__(
        self,
        presets: dict[str, Preset],
        folder: Path,
        device: torch.device,
        deliver: Path | None,
        say: Callable[[str], None],
        plain: bool,
    ) -> None:
        self.presets, self.folder, self.device, self.delivery = presets, folder, device, deliver
        self.say, self.plain = say, plain
        self.smokes: dict[str, Smoke] = {}
        self.failures: dict[str, str] = {}
        # Of each, proposals, draws and the seconds that they are expected to take, one after the other.
        self.planned: dict[str, list[tuple[str, int, float]]] = {}
        # Processors may be slower in bfloat16 than in single precision.
        self.precision: Precision = "bfloat16" if device.type == "cuda" else "float32"

    def files(self, name: str) -> CheckpointFiles:
        return CheckpointFiles(self.folder, name)

    def check_folder(self, resume: bool) -> None:
        there = [name for name in self.presets if self.files(name).state.exists() or self.files(name).weights.exists()]
        if there and not resume:
            raise FileExistsError(
                f"{self.folder} holds trainings of {', '.join(there)}: go on with --resume, or choose another folder."
            )

    def card(self, name: str) -> Card | None:
        return read_card(self.files(name).weights) if self.files(name).card.exists() else None

    def is_finished(self, name: str) -> bool:
        """Whether it was evaluated: that comes last."""
        card = self.card(name)
        return card is not None and "test" in card.metrics

    def smoke_test(self) -> None:
        if self.device.type == "cpu":
            return self.say("No smoke test: it compares with the CPU.")
        if self.plain:
            return self.say("No smoke test: all steps are plain.")
        began = time.monotonic()
        for name, preset in self.presets.items():
            if self.is_finished(name):
                continue
            ways = ways_for(preset, self.device)
            if time.monotonic() - began > _SMOKE_SECONDS:
                ways = tuple(way for way in ways if way != "compiled")
            try:
                self.smokes[name] = smoke(preset, self.device, ways)
                self.say(str(self.smokes[name]))
            except Exception as error:  # the training itself will tell
                self.say(f"{name} was not smoke-tested: {brief(error)}")
        self.say(f"The smoke test took {time.monotonic() - began:.0f} s.")

    def make(self, name: str, deadline: float) -> None:
        """Train and evaluate one preset in its share of the time that is left."""
        remaining = [other for other in self.presets if other not in self.failures and not self.is_finished(other)]
        shares = {other: ZOO[other].share if other in ZOO else 1.0 for other in remaining}
        now = time.monotonic()
        end = now + (deadline - now) * shares[name] / sum(shares.values())
        try:
            self.train(name, self.seconds_to_train(name, end))
        except Exception as error:  # the next preset has its time, and this one may have come to something
            self.fail(name, error)
        try:
            if self.files(name).weights.exists():
                self.evaluate(name, deadline)
                self.draw_samples(name)
        except Exception as error:
            self.fail(name, error)
        self.deliver(name)

    def fail(self, name: str, error: Exception) -> None:
        self.failures[name] = f"{self.failures[name]}; {brief(error)}" if name in self.failures else brief(error)
        self.say(f"{name}: {brief(error)}")

    def seconds_to_train(self, name: str, end: float) -> float:
        """What evaluating with as many draws as are worth their time leaves."""
        left, n_images = end - time.monotonic(), datasets.SPLITS[self.presets[name].data][2]
        per_draw = self.seconds_per_image(name, "encoder", _DRAWS_TIMED) / _DRAWS_TIMED
        planned = [("encoder", _FEWEST_DRAWS, n_images * per_draw * _FEWEST_DRAWS)]
        for proposal, draws, share in _EVALUATIONS:
            seconds = n_images * per_draw * draws
            if proposal == "adapted" and seconds <= share * left:
                seconds = n_images * self.seconds_per_image(name, proposal, draws)
            if seconds <= share * left:
                planned.append((proposal, draws, seconds))
        self.planned[name] = planned[1:] or planned
        evaluation = sum(seconds for _, _, seconds in self.planned[name])
        seconds = left - evaluation
        if seconds <= 0:
            raise ValueError(f"no time is left to train {name}.")
        self.say(f"{name}: {seconds / 60:.1f} minutes to train, then {evaluation / 60:.1f} to evaluate.")
        return seconds

    def train(self, name: str, seconds: float) -> None:
        """Train in the best way; where it fails in the middle, go on in the next."""
        tested = self.smokes.get(name)
        ways: list[Way] = tested.ranked(seconds) if tested is not None else ["plain"]
        notes = [tested.note] if tested is not None else []
        same = self.same_but_for_k(name)
        if same is not None:
            self.say(f"{name} has the {same} epochs of the one that differs in k alone.")
        stop = time.monotonic() + (1 + _LATE) * seconds
        for number, way in enumerate(ways):
            self.say(f"{name}: {way} steps.")
            try:
                train(
                    self.presets[name] if same is None else self.presets[name].in_epochs(same),
                    self.folder,
                    device=str(self.device),
                    resume=True,
                    minutes=None if same is not None else (stop - time.monotonic()) / 60 / (1 + _LATE),
                    until=stop,
                    way=way,
                    note="; ".join(filter(None, notes)),
                    on_record=lambda record: self.report(name, record),
                    say=self.say,
                )
                return
            except (ValueError, OSError, FloatingPointError):
                raise  # in another way it would be the same
            except Exception as error:  # compilers and drivers raise whatever they like
                if number == len(ways) - 1:
                    raise
                notes.append(f"{way} steps failed ({brief(error)})")
                self.say(f"{name}: {notes[-1]}")

    def report(self, name: str, record: Mapping[str, Any]) -> None:
        value = value_with_error(record["validation"], record["validation_std_error"])
        self.say(f"{name}: epoch {record['epoch']:,}, bound {record['bound']:.2f}, validation {value}")
        self.deliver(name)
        self.write_table()

    def same_but_for_k(self, name: str) -> int | None:
        """The epochs of a finished preset that differs from this one in k alone, which must train as long."""

        def but_for_k(preset: Preset) -> dict[str, object]:
            return {setting: value for setting, value in preset.settings().items() if setting not in ("name", "k")}

        for other, preset in self.presets.items():
            if other != name and self.is_finished(other) and but_for_k(preset) == but_for_k(self.presets[name]):
                card = self.card(other)
                return int(card.settings["epochs"]) if card is not None else None
        return None

    def evaluate(self, name: str, deadline: float) -> None:
        """The test images, as planned unless time is over."""
        n_images = datasets.SPLITS[self.presets[name].data][2]
        for number, (proposal, draws, seconds) in enumerate(self.planned.get(name, [("encoder", _FEWEST_DRAWS, 0.0)])):
            if number and time.monotonic() + seconds > deadline:
                break
            _, found, _ = evaluate_checkpoint(
                self.files(name).weights,
                proposal=proposal,
                n_samples=draws,
                precision=self.precision,
                device=str(self.device),
                save=True,
            )
            self.say(
                f"{name}: log p(x) {found.log_likelihood.value:.3f} nats with {draws:,} draws ({proposal}) for each of "
                f"{n_images:,} test images, in {found.seconds:.1f} s."
            )

    def seconds_per_image(self, name: str, proposal: str, draws: int) -> float:
        """Of the evaluation, measured on as many validation images as it takes at once."""
        preset, (how, _) = self.presets[name], PROPOSALS[proposal]
        model = build_model(preset).to(self.device).eval()
        n_images = images_at_once(model, draws, how)
        images = images_for(model, datasets.load(preset.data), "validation")[:n_images].to(self.device)
        seconds = math.inf
        for _ in range(2):  # the second time nothing has to be set up
            wait_for(self.device)
            began = time.monotonic()
            log_likelihood(model, images, draws, proposal=how, precision=self.precision, progress=False)
            wait_for(self.device)
            seconds = time.monotonic() - began
        return seconds / len(images)

    def draw_samples(self, name: str) -> None:
        model, _ = load_checkpoint(self.files(name).weights)
        write_atomically({self._picture(name): picture_of_samples(model)})

    def deliver(self, name: str) -> None:
        if self.delivery is None or not self.files(name).weights.exists():
            return
        content = io.BytesIO()
        files = self.files(name)
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in (files.weights, files.card, files.log, self._picture(name)):
                if path.exists():
                    archive.write(path, path.name)
        try:
            write_atomically({self.delivery / f"{name}.zip": content.getvalue()})
        except OSError as error:  # it is still in the other folder
            self.say(str(error))

    def write_table(self) -> None:
        table = self.table().encode()
        folders = [self.folder] if self.delivery is None else [self.folder, self.delivery]
        write_atomically({folder / "table.md": table for folder in folders})

    def table(self) -> str:
        heads = "model | epochs | minutes | images/s | TFLOP/s | ELBO | log p(x) | draws | k-hat too high | adapted"
        lines = [f"| {heads} | k-hat too high | published |", "| --- |" + " ---: |" * 10 + " --- |"]
        lines += [self._row(name) for name in self.presets]
        lines += ["", f"Test images, nats; on {device_in_words(self.device)}."]
        lines += [f"- {name}: {text}" for name, text in self.failures.items()]
        lines += [f"- smoke test, {one}" for one in self.smokes.values()]
        return "\n".join(lines) + "\n"

    def _row(self, name: str) -> str:
        entry, card = ZOO.get(name, Entry(name)), self.card(name)
        published = "" if entry.published is None else f"{entry.published} ({entry.source})"
        cells = [name, *[""] * 10, published]
        if self.files(name).log.exists():
            last = json.loads(self.files(name).log.read_text().splitlines()[-1])
            # Validations are in these seconds, too.
            rate = last["step"] * self.presets[name].batch_size / last["seconds"]
            flops = rate * flops_per_image(self.presets[name])
            cells[1:5] = [f"{last['epoch']:,}", f"{last['seconds'] / 60:.1f}", f"{rate:,.0f}", f"{flops / 1e12:.3g}"]
        if card is not None and "test" in card.metrics:
            from_encoder, from_fit = (card.metrics["test"].by(proposal) for proposal in ("encoder", "adapted"))
            if from_encoder is not None and from_encoder.elbo is not None:
                cells[5] = value_with_error(from_encoder.elbo.value, from_encoder.elbo.std_error or 0.0)
                cells[6], cells[8] = _cells(from_encoder.log_likelihood)
                cells[7] = f"{from_encoder.log_likelihood.n_samples:,}"
            if from_fit is not None:
                cells[9], cells[10] = _cells(from_fit.log_likelihood)
        return f"| {' | '.join(cells)} |"

    def _picture(self, name: str) -> Path:
        return self.folder / f"{name}.png"


def _cells(log_p: LogLikelihood) -> tuple[str, str]:
    """log p(x) with its error, and the share of images whose k-hat is too high."""
    share = log_p.share_of_high_pareto_k
    return value_with_error(log_p.value, log_p.std_error or 0.0), "" if share is None else f"{share:.0%}"
