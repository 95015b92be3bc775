"""Trainings that are over in a moment, for the tests of all that trains."""

import json
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from course_lib.training import Preset, budget, run
from course_lib.training.run import Run

VAE = {"data_dim": 64, "hidden": [20], "latent_dim": 3}
LEVELS = {
    "shape": [1, 8, 8],
    "network": "dense",
    "network_arguments": {"width": 10, "n_layers": 1},
    "latent_dim": 3,
    "likelihood": "logistic-mixture",
    "levels": 17,
    "components": 2,
}
TWO_LAYERS = {"data_dim": 64, "hidden": [[20], [10]], "latent_dims": [4, 2]}


def tiny(**settings) -> Preset:
    """12 steps an epoch on digits."""
    ours = {"arguments": VAE, "epochs": 3, "learning_rate": 3e-3, "validation_samples": 5}
    return Preset("tiny", "digits", **(ours | settings))


VARIANTS = {
    "adam": tiny(),
    "adamax, constant": tiny(optimizer="adamax", schedule="constant"),
    "average": tiny(ema=0.9),
    "warm-up": tiny(kl_warm_up=2, k=5),
    "bfloat16": tiny(precision="bfloat16"),
    "two layers": tiny(model="TwoLayerVAE", arguments=TWO_LAYERS, k=3, gradient="doubly-reparameterized"),
    # Steps too small to change a weight, so that no validation is better than the first.
    "stopped early": tiny(epochs=6, learning_rate=1e-30, patience=2),
    "all at once": tiny(
        optimizer="adamax", ema=0.9, kl_warm_up=1, precision="bfloat16", k=2, epochs=10, batch_size=300, seed=3
    ),
}


def log_of(weights: Path) -> list[dict]:
    """The lines of the log, without the one thing that differs each time."""
    lines = weights.with_suffix(".jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def result_of(weights: Path) -> tuple[bytes, list[dict], dict[str, torch.Tensor]]:
    """All that a training computed: its best weights, its log, and where it came to."""
    return weights.read_bytes(), log_of(weights), load_file(weights.with_suffix(".state"))


def are_equal(one: tuple, other: tuple) -> bool:
    """Whether two trainings computed the same, bit for bit."""
    *a, state_a = one
    *b, state_b = other
    return a == b and state_a.keys() == state_b.keys() and all(state_a[n].equal(state_b[n]) for n in state_a)


class Clock:
    """Time that passes only where work is done, in so many seconds for each kind of it."""

    def __init__(self, monkeypatch, *, start=0.0, step=0.01, validation=0.5, save=0.1, first_steps=0.0):
        self.now = 1_000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.n_steps = 0

        def first(*_):
            self.n_steps += 1
            return step + (first_steps if self.n_steps <= 2 else 0.0)

        self.slow(monkeypatch, Run, "__init__", lambda *_, **__: start)
        self.slow(monkeypatch, Run, "take_step", first)
        # Of 200 images.
        self.slow(
            monkeypatch, Run, "log_likelihoods", lambda _, __, images: validation * (images.stop - images.start) / 200
        )
        for module in (budget, run):
            self.slow(monkeypatch, module, "save_state", lambda *_, **__: save)
        self.slow(monkeypatch, run, "save_checkpoint", lambda *_, **__: save)

    def slow(self, monkeypatch, where, name, seconds):
        function = getattr(where, name)

        def slower(*arguments, **keywords):
            self.now += seconds(*arguments, **keywords)
            return function(*arguments, **keywords)

        monkeypatch.setattr(where, name, slower)


class OneDevice(TorchDispatchMode):
    """Refuses what a GPU would refuse or wait for: arrays of two devices in one operation, and copies from the CPU.

    To look at a number is refused by the device "meta" itself.
    """

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        result = operation(*arguments, **(keywords or {}))
        is_copy = operation.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
        tensors = [one for one in tree_leaves((arguments, keywords, result)) if isinstance(one, torch.Tensor)]
        devices = {one.device.type for one in tensors if one.ndim or is_copy}
        assert len(devices) <= 1, f"{operation} of tensors on {devices}"
        return result
