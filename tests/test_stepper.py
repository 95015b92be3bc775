"""Steps that are recorded and replayed: they are the very steps that would have been taken one by one."""

import copy
from contextlib import nullcontext

import pytest
import torch
from test_training import DEEP_VARIANTS
from tiny_trainings import VARIANTS, tiny
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from course_lib import datasets
from course_lib.training import PRESETS, processes, stepper
from course_lib.training.devices import make_optimizer
from course_lib.training.presets import build_model
from course_lib.training.stepper import Stepper, usual_way

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Operations(TorchDispatchMode):
    """Notes every operation, with the tensors themselves and all numbers as they are now: what a CUDA graph keeps."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        result = operation(*arguments, **(keywords or {}))
        self.noted.append((operation, arguments, keywords or {}, result))
        return result


class Replayed:
    """Stands in for `stepper.Recording` where there is no GPU: results go where those of the recording went."""

    made = 0

    def __init__(self, work, generator):
        type(self).made += 1
        self.state = generator.get_state()
        with Operations() as operations:
            self.result = work()
        self.operations = operations.noted

    def replay(self):
        with torch._C._AutoDispatchBelowAutograd():  # they were noted below it
            self.do_again()

    def do_again(self):
        for operation, arguments, keywords, result in self.operations:
            inputs = {one.untyped_storage()._cdata for one in tensors_in((arguments, keywords))}
            again = operation(*arguments, **keywords)
            for old, new in zip(tensors_in(result), tensors_in(again), strict=True):
                # A view, or what was written to, is in its place already.
                if old.untyped_storage()._cdata not in inputs:
                    old.copy_(new)


def tensors_in(tree):
    return [one for one in tree_leaves(tree) if isinstance(one, torch.Tensor)]


class Undoing(Replayed):
    """A CUDA graph records work without doing it, so what was done is undone."""

    tensors = ()

    def __init__(self, work, generator):
        before = [one.detach().clone() for one in type(self).tensors()]
        super().__init__(work, generator)
        with torch.no_grad():
            for one, was in zip(type(self).tensors(), before, strict=True):
                one.copy_(was)


def a_training(preset, way, monkeypatch):
    """A stepper, all that it changes, and the images of each step."""
    model = build_model(preset)
    average = copy.deepcopy(model) if preset.ema else None
    optimizer = torch.optim.Adam(
        model.parameters(), lr=torch.tensor(preset.learning_rate), fused=True
    )  # the one that keeps all of its numbers in tensors on a CPU, too

    def tensors():
        state = [one for per in optimizer.state.values() for one in per.values()]
        return [*model.parameters(), *(average.parameters() if average else ()), *state]

    monkeypatch.setattr(Stepper, "_aside", lambda *_: nullcontext())
    monkeypatch.setattr(stepper, "Recording", type("Here", (Undoing,), {"tensors": staticmethod(tensors)}))
    return Stepper(model, average, optimizer, way), tensors


def taken(preset, way, monkeypatch, n_steps=24, steps_per_epoch=6):
    monkeypatch.setattr(Replayed, "made", 0)
    one, tensors = a_training(preset, way, monkeypatch)
    images = datasets.load("digits").train
    batches = [images[i * 20 : (i + 1) * 20] for i in range(n_steps)]
    bounds = [one.take(batch, preset, step, steps_per_epoch) for step, batch in enumerate(batches)]
    return torch.stack(bounds), [tensor.detach().clone() for tensor in tensors()], one


RECORDED = {
    "average": VARIANTS["average"],
    "warm-up": tiny(kl_warm_up=2, k=5, ema=0.9, epochs=4),
    "two layers": VARIANTS["two layers"],
    "limit": tiny(largest_gradient=5.0),
    **DEEP_VARIANTS,
}


@pytest.mark.parametrize("preset", RECORDED.values(), ids=RECORDED)
def test_recorded_steps_are_those_taken_one_by_one(preset, monkeypatch):
    """Each with its own learning rate, images, draws and warmth, although what is replayed is one step's."""
    (plain, weights, _), (bounds, others, one) = (taken(preset, way, monkeypatch) for way in ("plain", "captured"))
    assert bounds.equal(plain)
    assert all(mine.equal(theirs) for mine, theirs in zip(others, weights, strict=True))
    # Once for each warmth that there is.
    assert one.way == "captured" and one.trouble is None
    assert stepper.Recording.made == 1 + min(preset.kl_warm_up, 3)


def test_the_stand_in_for_a_gpu_would_show_a_number_that_is_frozen(monkeypatch):
    """The learning rate as a number of Python's would be that of the recorded step ever after."""
    preset = tiny(epochs=4)
    plain, _, _ = taken(preset, "plain", monkeypatch)
    monkeypatch.setattr(stepper, "set_learning_rate", lambda *_: None)
    frozen, _, _ = taken(preset, "captured", monkeypatch)
    assert not frozen.equal(plain)


def test_draws_that_were_not_seeded_anew_would_show(monkeypatch):
    preset = tiny(epochs=4)
    plain, _, _ = taken(preset, "plain", monkeypatch)
    monkeypatch.setattr(stepper, "key", lambda *_: 0)
    other, _, _ = taken(preset, "captured", monkeypatch)
    assert other[:3].equal(plain[:3]) and not other[3:].equal(plain[3:])


def test_what_cannot_be_recorded_is_taken_as_it_is_and_told(monkeypatch):
    preset = tiny(epochs=4)
    plain, _, _ = taken(preset, "plain", monkeypatch)

    def refuse(*_):
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    one, _ = a_training(preset, "captured", monkeypatch)
    monkeypatch.setattr(stepper, "Recording", refuse)
    images = datasets.load("digits").train
    bounds = [one.take(images[i * 20 : (i + 1) * 20], preset, i, 6) for i in range(24)]
    assert torch.stack(bounds).equal(plain)
    assert one.way == "plain"
    assert one.trouble == "steps cannot be recorded (operation not permitted when stream is capturing)"


def test_several_processes_do_not_record(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    one, _ = a_training(tiny(), "captured", monkeypatch)
    assert one.way == "plain"


def test_an_unknown_way_is_one_sentence():
    with pytest.raises(ValueError, match="the way of steps must be one of plain, captured, compiled"):
        Stepper(None, None, None, "fast")


@pytest.mark.parametrize(
    "name, on_gpu",
    [
        ("mnist-iwae-k50", "captured"),
        ("mnist-iwae-2layer-k50", "captured"),
        ("mnist-dense", "captured"),
        ("mnist-resnet", "compiled"),
    ],
)
def test_the_usual_way(name, on_gpu):
    assert usual_way(PRESETS[name], CUDA) == on_gpu
    assert usual_way(PRESETS[name], CPU) == usual_way(PRESETS[name], torch.device("mps")) == "plain"


@pytest.mark.parametrize("name", ["adam", "adamax"])
def test_on_a_gpu_the_optimizer_keeps_all_its_numbers_there(name, monkeypatch):
    made = {}
    kind = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}[name]
    monkeypatch.setattr(torch, "tensor", lambda value, device: torch.full((), value))
    monkeypatch.setitem(
        make_optimizer.__globals__["OPTIMIZERS"], name, lambda *a, **k: made.update(k) or kind(*a, lr=k["lr"])
    )
    make_optimizer(tiny(optimizer=name), [torch.nn.Parameter(torch.zeros(2))], CUDA)
    assert made["capturable"] and made["lr"].item() == pytest.approx(3e-3)
    assert made.get("fused", False) == (name == "adam")


@needs_gpu
@pytest.mark.parametrize("preset", RECORDED.values(), ids=RECORDED)
def test_on_a_gpu_recorded_steps_are_those_taken_one_by_one(preset):
    found = []
    for way in ("plain", "captured"):
        model = build_model(preset).to(CUDA)
        average = copy.deepcopy(model) if preset.ema else None
        one = Stepper(model, average, make_optimizer(preset, model.parameters(), CUDA), way)
        images = datasets.load("digits").train.to(CUDA)
        bounds = [one.take(images[i * 20 : (i + 1) * 20], preset, i, 6) for i in range(24)]
        assert one.trouble is None
        found.append(torch.stack(bounds).cpu())
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)
