"""The smoke test passes what only rounds differently, and catches steps that are not those they should be."""

import copy
import math
from contextlib import nullcontext

import pytest
import torch
from test_stepper import CUDA, Replayed, needs_gpu
from test_training import DENSE, FLOWS, deep
from tiny_trainings import TWO_LAYERS, tiny

from course_lib.training import PRESETS, smoke, stepper
from course_lib.training.smoke import Outcome, Smoke, ways_for
from course_lib.training.stepper import Stepper

CPU = torch.device("cpu")
SOME = {
    "single precision": tiny(learning_rate=1e-3),
    "bfloat16, k = 5": tiny(precision="bfloat16", k=5, learning_rate=1e-3),
    "two layers": tiny(model="TwoLayerVAE", arguments=TWO_LAYERS, k=3),
    "flows": deep({**DENSE, **FLOWS}, precision="bfloat16", batch_size=50),
}
WRONG = {
    "no step is taken": lambda take: (
        lambda one, images, preset, step, per_epoch: take(copy.deepcopy(one), images, preset, step, per_epoch)
    ),
    "the draws are another step's": lambda take: (
        lambda one, images, preset, step, per_epoch: take(one, images, preset, step + 1, per_epoch)
    ),
    "half of the images are another's": lambda take: (
        lambda one, images, *rest: take(one, torch.cat([images[: len(images) // 2]] * 2), *rest)
    ),
    "the bound is no number": lambda take: lambda *arguments: take(*arguments) * math.nan,
}


@pytest.fixture
def compiled(monkeypatch):
    """Networks compiled by a compiler that leaves them as they are, for one that fuses needs minutes here."""
    monkeypatch.setattr(stepper, "compile_parts", lambda model: None)
    monkeypatch.setattr(Stepper, "_record", lambda *_: None)
    monkeypatch.setattr(Stepper, "_aside", lambda *_: nullcontext())


@pytest.mark.parametrize("preset", SOME.values(), ids=SOME)
def test_what_is_right_passes(preset, compiled):
    found = smoke.smoke(preset, CPU, ["plain", "compiled"])
    assert [one.way for one in found.outcomes] == ["plain", "compiled"]
    assert found.is_right and found.note == ""
    assert all(one.step > 0 and one.start > 0 for one in found.outcomes)


@pytest.mark.parametrize("preset", SOME.values(), ids=SOME)
def test_another_rounding_passes(preset, monkeypatch):
    """As on a GPU: the products of both ways have other errors of the same size."""
    linear, calls = torch.nn.functional.linear, []

    def noisy(x, weight, bias=None):
        calls.append(1)
        eps = 2.0**-9 if preset.precision == "bfloat16" else 2.0**-12
        noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(calls)))
        return linear(x, weight * (1 + eps * noise), bias)

    exact, allowed = smoke._on_the_cpu(preset)
    monkeypatch.setattr(smoke, "_on_the_cpu", lambda _: (exact, allowed))
    monkeypatch.setattr(torch.nn.functional, "linear", noisy)
    found = smoke.smoke(preset, CPU, ["plain"])
    assert found.is_right, str(found)
    assert found.outcomes[0].distance > 0


@pytest.mark.parametrize("preset", SOME.values(), ids=SOME)
@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG)
def test_steps_that_are_others_are_caught(spoil, preset, compiled, monkeypatch):
    take = Stepper.take
    spoilt = spoil(take)
    monkeypatch.setattr(Stepper, "take", lambda one, *rest: (take if one.way == "plain" else spoilt)(one, *rest))
    found = smoke.smoke(preset, CPU, ["plain", "compiled"])
    assert [one.is_right for one in found.outcomes] == [True, False], str(found)
    assert found.ranked(100.0) == ["plain"]
    assert found.note.startswith("WRONG: compiled")


@pytest.mark.parametrize("preset", SOME.values(), ids=SOME)
def test_a_device_that_computes_something_else_is_caught(preset, monkeypatch):
    exact, allowed = smoke._on_the_cpu(preset)
    monkeypatch.setattr(smoke, "_on_the_cpu", lambda _: (exact, allowed))
    monkeypatch.setattr(smoke, "descend", lambda *a, **k: smoke_descend(*a[:4], 0.5, *a[5:]))
    smoke_descend = stepper.descend
    found = smoke.smoke(preset, CPU, ["plain"])
    assert not found.is_right
    assert found.ranked(100.0) == ["plain"]


def test_recorded_steps_pass(monkeypatch):
    """By the stand-in for a CUDA graph, which does while it records what a graph would not: one step more."""
    monkeypatch.setattr(stepper, "Recording", Replayed)
    monkeypatch.setattr(Stepper, "_aside", lambda *_: nullcontext())
    monkeypatch.setattr(smoke, "make_optimizer", lambda p, w, _: torch.optim.SGD(w, lr=1e-12))
    found = smoke.smoke(SOME["single precision"], CPU, ["plain", "captured"])
    assert [one.way for one in found.outcomes] == ["plain", "captured"]
    assert found.is_right, str(found)


def test_what_fails_is_one_sentence_and_stops_nothing(monkeypatch):
    def fail(model):
        raise RuntimeError("no compiler\n  was found")

    monkeypatch.setattr(stepper, "compile_parts", fail)
    found = smoke.smoke(SOME["flows"], CPU, ["plain", "compiled"])
    assert not found.is_right
    assert found.note == "compiled steps fail (RuntimeError: no compiler was found)"
    assert found.ranked(100.0) == ["plain"]
    monkeypatch.setattr(Stepper, "take", lambda *_: fail(None))
    (outcome,) = smoke.smoke(SOME["flows"], CPU, ["plain", "compiled"]).outcomes
    assert outcome.error == "RuntimeError: no compiler was found"


def test_the_first_way_takes_the_most_steps_in_the_time_there_is():
    found = Smoke(
        "tiny",
        (
            Outcome("plain", 0.0, 1.0, step=1.0, start=1.0),
            Outcome("captured", 0.0, 1.0, step=0.5, start=2.0),
            Outcome("compiled", 0.0, 1.0, step=0.4, start=60.0),
        ),
    )
    assert [found.ranked(seconds)[0] for seconds in (2.0, 30.0, 300.0)] == ["plain", "captured", "compiled"]
    assert found.ranked(3_000.0) == ["compiled", "captured", "plain"]


def test_only_a_gpu_has_other_ways():
    assert ways_for(PRESETS["mnist-iwae-k50"], CPU) == ("plain",)
    assert ways_for(PRESETS["mnist-iwae-k50"], CUDA) == ("plain", "captured")
    assert ways_for(PRESETS["mnist-resnet"], CUDA) == ("plain", "captured", "compiled")


@needs_gpu
@pytest.mark.parametrize("name", ["mnist-iwae-k50", "mnist-iwae-2layer-k50", "mnist-small-resnet"])
def test_on_a_gpu_every_way_is_right(name):
    found = smoke.smoke(PRESETS[name], CUDA, ways_for(PRESETS[name], CUDA))
    assert found.is_right, str(found)
