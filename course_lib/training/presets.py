"""What can be trained: each preset is a model, the data it learns from, and how.

``python -m course_lib train --help`` prints them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import torch

from course_lib.vae import VAE, LatentVariableModel, TwoLayerVAE
from course_lib.vae.bounds import GRADIENTS

__all__ = ["PRESETS", "Preset", "build_model", "preset_named", "summary"]

_MODELS: dict[str, type[LatentVariableModel]] = {"VAE": VAE, "TwoLayerVAE": TwoLayerVAE}


@dataclass(frozen=True)
class Preset:
    """One way to train one model.

    Attributes:
        name: what the command line and the checkpoint call it.
        data: the data set, which is binarized anew each time it is used.
        model: ``"VAE"`` or ``"TwoLayerVAE"``.
        arguments: what the model's class is called with.
        gradient: the estimator, one of `course_lib.vae.bounds.GRADIENTS`.
        k: samples of z for each image in a training step.
        batch_size: images in a training step, over all processes.
        epochs: passes through the training images.
        optimizer: ``"adam"`` or ``"adamax"``.
        learning_rate: the optimizer's, at its highest.
        schedule: ``"constant"``, or ``"cosine"`` for a decay to zero at the last step.
        kl_warm_up: epochs during which the weight of log p(z) - log q(z|x) grows from near 0 to 1.
        ema: decay of an exponential moving average of the weights, which is then what is evaluated; 0 for none.
        precision: ``"bfloat16"`` for the matrix products of training (evaluation is in float32), or ``"float32"``.
        validate_every: epochs between two evaluations of the validation set; the best weights by it are kept.
        validation_samples: samples of z for each validation image.
        patience: validations without a new best after which training stops; 0 for never.
        seed: of the initial weights and of every draw.
    """

    name: str
    data: str
    model: str = "VAE"
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    gradient: str = "iwae"
    k: int = 1
    batch_size: int = 100
    epochs: int = 100
    optimizer: Literal["adam", "adamax"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine"] = "cosine"
    kl_warm_up: int = 0
    ema: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    validate_every: int = 1
    validation_samples: int = 50
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in {
            "model": tuple(_MODELS),
            "gradient": tuple(GRADIENTS),
            "optimizer": ("adam", "adamax"),
            "schedule": ("constant", "cosine"),
            "precision": ("float32", "bfloat16"),
        }.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}.")
        for name, least in {
            "k": 1,
            "batch_size": 1,
            "epochs": 1,
            "validate_every": 1,
            "validation_samples": 2,
            "kl_warm_up": 0,
            "patience": 0,
            "seed": 0,
        }.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be above 0 and finite; got {self.learning_rate}.")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be at least 0 and below 1; got {self.ema}.")

    def settings(self) -> dict[str, Any]:
        """All fields, as JSON has them."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return json.loads(json.dumps(fields | {"arguments": dict(self.arguments)}))


_DIGITS = {"data_dim": 64, "hidden": [100, 100], "latent_dim": 8}
# The networks of Burda et al. and their learning rate, which they let fall over 3,280 epochs in place of these few.
_MNIST: dict[str, Any] = {
    "data": "mnist",
    "epochs": 48,
    "validate_every": 4,
    "precision": "bfloat16",
    "batch_size": 50,
}

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("digits-vae", "digits", arguments=_DIGITS, k=1, epochs=200, validate_every=10),
        Preset("digits-iwae-k5", "digits", arguments=_DIGITS, k=5, epochs=200, validate_every=10),
        Preset("digits-iwae-k50", "digits", arguments=_DIGITS, k=50, epochs=200, validate_every=10),
        Preset("mnist-vae", k=1, **_MNIST),
        Preset("mnist-iwae-k5", k=5, **_MNIST),
        Preset("mnist-iwae-k50", k=50, **_MNIST),
        Preset("mnist-iwae-2layer-k50", model="TwoLayerVAE", k=50, **_MNIST),
    )
}


def preset_named(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}.")
    return PRESETS[name]


def summary(preset: Preset | None = None) -> str:
    """What a preset sets, where it differs from the defaults; or, without a preset, the defaults."""
    defaults = Preset("", "")
    hidden = defaults.settings() if preset else {"data": "", "arguments": {}}
    settings = (preset or defaults).settings()
    return ", ".join(f"{n} {value}" for n, value in settings.items() if n != "name" and hidden.get(n) != value)


def build_model(preset: str | Preset) -> LatentVariableModel:
    """A fresh model: the preset's architecture with the initial weights that its seed gives.

    Raises:
        ValueError: there is no preset of that name.
    """
    preset = preset_named(preset) if isinstance(preset, str) else preset
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(preset.seed)
        return _MODELS[preset.model](**preset.arguments)
