"""Minutes as a budget: as many epochs as fit, by a clock that the tests turn, and then an ordinary training."""

import dataclasses
import math

import pytest
import torch
from tiny_trainings import Clock, are_equal, log_of, result_of, tiny

from course_lib.training import budget, train
from course_lib.training.budget import Pace
from course_lib.training.checkpoints import CheckpointFiles, read_card
from course_lib.training.run import Run


@pytest.mark.parametrize("minutes", [0.5, 2])
@pytest.mark.parametrize(
    "costs",
    [
        {},
        {"validation": 0.0, "save": 0.0},
        {"start": 3.0, "first_steps": 4.0},
        {"validation": 2.0, "step": 0.03},
        {"save": 0.5},
    ],
    ids=str,
)
def test_a_training_ends_within_its_minutes_and_uses_them(minutes, costs, tmp_path, monkeypatch):
    clock = Clock(monkeypatch, **{"step": 0.06, **costs})
    began, said = clock.now, []
    weights = train(tiny(epochs=10, validate_every=2), tmp_path, device="cpu", minutes=minutes, say=said.append)
    assert 0.9 < (clock.now - began) / (60 * minutes) <= 1
    epochs = read_card(weights).settings["epochs"]
    assert log_of(weights)[-1]["epoch"] == epochs
    assert said[0].startswith(f"{epochs:,} epochs of tiny fit: a step takes ")
    assert said[0].endswith(f"--epochs {epochs} is the same training again.")


def test_it_is_the_training_of_so_many_epochs(tmp_path, monkeypatch):
    preset = tiny(epochs=10, validate_every=2, ema=0.9, kl_warm_up=2)
    with monkeypatch.context() as patch:
        Clock(patch, step=0.1)
        timed = train(preset, tmp_path / "timed", device="cpu", minutes=1)
    epochs = read_card(timed).settings["epochs"]
    assert 20 < epochs < 50
    plain = train(preset.in_epochs(epochs), tmp_path / "plain", device="cpu")
    assert are_equal(result_of(timed), result_of(plain))


def test_one_that_was_interrupted_goes_on_with_the_epochs_it_had(tmp_path, monkeypatch):
    preset = tiny(epochs=10)
    whole = train(preset.in_epochs(7), tmp_path / "whole", device="cpu")
    monkeypatch.setattr(Pace, "epochs_within", lambda *_: 7)

    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="of 84 is saved"):
        train(preset, tmp_path, device="cpu", minutes=1, on_record=stop)
    monkeypatch.setattr(Pace, "epochs_within", lambda *_: pytest.fail("it chose again"))
    assert are_equal(result_of(train(preset, tmp_path, device="cpu", minutes=1, resume=True)), result_of(whole))


def test_a_measured_run_is_as_it_was(tmp_path):
    preset = tiny(ema=0.9, optimizer="adamax")
    measured, fresh = (Run(preset, CheckpointFiles(tmp_path, "tiny"), torch.device("cpu")) for _ in range(2))
    pace = budget.measure(measured, 20.0, 60.0)
    assert pace.step > 0 and pace.validation > 0 and pace.save > 0
    assert not list(tmp_path.iterdir())
    for one in (measured, fresh):
        for _ in range(15):
            one.take_step()
    assert torch.stack(measured.bounds).equal(torch.stack(fresh.bounds))
    for mine, theirs in zip(measured.average.parameters(), fresh.average.parameters(), strict=True):
        assert mine.equal(theirs)


def test_less_than_an_epoch_is_one_sentence(tmp_path, monkeypatch):
    Clock(monkeypatch, step=10.0)
    with pytest.raises(ValueError, match=r"an epoch of tiny does not fit into 0\.5 minutes .* give at least (\S+)\.$"):
        train(tiny(), tmp_path, device="cpu", minutes=0.5)


def test_as_many_minutes_as_it_asks_for_are_enough(tmp_path, monkeypatch):
    Clock(monkeypatch, step=10.0)
    with pytest.raises(ValueError) as error:
        train(tiny(), tmp_path, device="cpu", minutes=0.5)
    least = float(str(error.value).rsplit(" ", 1)[1].rstrip("."))
    train(tiny(), tmp_path, device="cpu", minutes=least)
    assert log_of(tmp_path / "tiny.safetensors")[-1]["epoch"] == 1


@pytest.mark.parametrize("minutes", [0, -1, math.nan, math.inf, "6"])
def test_minutes_that_are_none_are_one_sentence(minutes, tmp_path):
    with pytest.raises(ValueError, match="minutes must be"):
        train(tiny(), tmp_path, device="cpu", minutes=minutes)


def test_the_most_epochs_that_fit():
    pace = Pace(step=0.1, validation=2.0, save=0.5, save_every=60.0)
    preset = tiny(epochs=40, validate_every=4)
    for seconds in (3.0, 10.0, 100.0, 1_000.0, 12_345.0):
        epochs = pace.epochs_within(seconds, preset, 12)
        assert not epochs or pace.seconds(preset.in_epochs(epochs), 12) <= seconds
        assert pace.seconds(preset.in_epochs(epochs + 1), 12) > seconds
    assert pace.epochs_within(3.0, preset, 12) == 0


def test_a_shorter_training_keeps_the_shares_of_the_longer():
    preset = tiny(epochs=400, kl_warm_up=20, validate_every=10, ema=0.999, patience=3)
    short = preset.in_epochs(100)
    assert (short.epochs, short.kl_warm_up, short.validate_every, short.patience) == (100, 5, 2, 3)
    # The average looks back over a thousand steps of so many, and over a quarter of them here.
    assert 1 / (1 - short.ema) == pytest.approx(250)
    unchanged = {"epochs": 400, "kl_warm_up": 20, "validate_every": 10, "ema": 0.999}
    assert dataclasses.replace(short, **unchanged) == preset.in_epochs(400) == preset
    least = preset.in_epochs(1)
    assert (least.kl_warm_up, least.validate_every, least.ema) == (0, 1, pytest.approx(0.6))
    assert tiny(ema=0.0).in_epochs(1).ema == 0
    with pytest.raises(ValueError, match="epochs must be a whole number of at least 1; got 0"):
        preset.in_epochs(0)
