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
from typing import Any, Literal, get_args

import torch
from torch.utils.flop_counter import FlopCounterMode

from course_lib.checks import one_of, positive_number, whole_number
from course_lib.vae import VAE, ImageVAE, LatentVariableModel, TwoLayerVAE
from course_lib.vae.bounds import GRADIENTS
from course_lib.vae.evidence import Precision

__all__ = ["PRESETS", "Preset", "build_model", "flops_per_image", "preset_named", "summary"]

_MODELS: dict[str, type[LatentVariableModel]] = {"VAE": VAE, "TwoLayerVAE": TwoLayerVAE, "ImageVAE": ImageVAE}


@dataclass(frozen=True)
class Preset:
    """One way to train one model.

    Attributes:
        name: what the command line and the checkpoint call it.
        data: the data set; for a model of bits it is binarized anew each time it is used.
        model: ``"VAE"``, ``"TwoLayerVAE"`` or ``"ImageVAE"``.
        arguments: what the model's class is called with.
        gradient: the estimator, one of `course_lib.vae.bounds.GRADIENTS`.
        k: samples of z for each image in a training step.
        batch_size: images in a training step, over all processes.
        epochs: passes through the training images.
        optimizer: ``"adam"`` or ``"adamax"``.
        learning_rate: the optimizer's, at its highest.
        schedule: ``"constant"``, or ``"cosine"`` for a decay to zero at the last step.
        kl_warm_up: epochs during which the weight of log p(z) - log q(z|x) grows from near 0 to 1.
        largest_gradient: longer gradients are cut to this length, which a flow may need now and then; 0 for no limit.
        ema: decay of an exponential moving average of the weights, which is then what is evaluated; 0 for none.
        precision: ``"bfloat16"`` for the matrix products of training (validation is in float32), or ``"float32"``.
        stored: what the checkpoint keeps of each weight, ``"float32"`` or ``"float16"``, for half the size. Weights are
            rounded before they are validated, so that what is measured is what is stored.
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
    largest_gradient: float = 0.0
    ema: float = 0.0
    precision: Precision = "float32"
    stored: Literal["float32", "float16"] = "float32"
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
            "precision": get_args(Precision),
            "stored": ("float32", "float16"),
        }.items():
            one_of(name, getattr(self, name), allowed)
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
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least))
        positive_number("learning_rate", self.learning_rate)
        if not 0 <= self.largest_gradient < math.inf:
            raise ValueError(f"largest_gradient must be at least 0 and finite; got {self.largest_gradient}.")
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

_FLOWS = {"posterior_flows": 6, "flow_width": 256}
# Sizes and optimizer of the residual and convolutional networks: for a GPU.
_DEEP: dict[str, Any] = {
    "model": "ImageVAE",
    "batch_size": 200,
    "epochs": 400,
    "validate_every": 10,
    "optimizer": "adamax",
    "learning_rate": 2e-3,
    "kl_warm_up": 20,
    "largest_gradient": 200.0,
    "ema": 0.999,
    "precision": "bfloat16",
    "stored": "float16",
}
_DEEP_MNIST: dict[str, Any] = {"data": "mnist", **_DEEP}
# What two processor cores train in an hour or two.
_SMALL: dict[str, Any] = {
    "model": "ImageVAE",
    "data": "mnist",
    "batch_size": 100,
    "learning_rate": 2e-3,
    "validate_every": 10,
    "validation_samples": 20,
    "stored": "float16",
    "ema": 0.999,
    "precision": "bfloat16",
}
_SMALL_RESNET = {"network": "resnet", "network_arguments": {"widths": [8, 16, 32], "blocks": [0, 1, 1]}}
# At 2e-3 and without a limit to its gradients this one diverged after 30 epochs.
_SMALL_DENSE: dict[str, Any] = {**_SMALL, "learning_rate": 1e-3, "largest_gradient": 200.0}
_SMALL_FLOWS = {"posterior_flows": 2, "prior_flows": 2, "flow_width": 256}
# Three ways to give a level a probability. They differ in nothing else.
_LOGISTIC = {"likelihood": "logistic-mixture", "components": 1}
_MIXTURE = {"likelihood": "logistic-mixture", "components": 5}
_SOFTMAX = {"likelihood": "categorical"}
_GREY_DIGITS: dict[str, Any] = {
    "model": "ImageVAE",
    "data": "digits",
    "learning_rate": 2e-3,
    "validate_every": 5,
}
_CIFAR10 = {"shape": [3, 32, 32], "levels": 256, **_MIXTURE, "network": "resnet"}
_SMALL_CIFAR10 = {**_CIFAR10, **_SMALL_RESNET, "latent_dim": 32}
_SMALL_COLOUR: dict[str, Any] = {
    "model": "ImageVAE",
    "batch_size": 50,
    "epochs": 20,
    "learning_rate": 2e-3,
    "validation_samples": 10,
    "precision": "bfloat16",
    "stored": "float16",
}


def _resnet(**arguments: Any) -> dict[str, Any]:
    return {"network": "resnet", "latent_dim": 40, **arguments}


def _dense_of_levels(likelihood: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {"network": "dense", "network_arguments": {"width": 100, "n_layers": 2}, "latent_dim": 8}
    return {"shape": [1, 8, 8], "levels": 17, **likelihood, **sizes}


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
        Preset(
            "mnist-dense", arguments={"network": "dense", "latent_dim": 32, **_SMALL_FLOWS}, epochs=50, **_SMALL_DENSE
        ),
        Preset("mnist-small-resnet", arguments={**_SMALL_RESNET, **_SMALL_FLOWS}, epochs=110, **_SMALL),
        Preset("mnist-gated-conv", arguments={"network": "gated-conv", "latent_dim": 64}, **_DEEP_MNIST),
        Preset("mnist-resnet", arguments=_resnet(), **_DEEP_MNIST),
        Preset("mnist-resnet-iaf", arguments=_resnet(**_FLOWS), **_DEEP_MNIST),
        Preset("mnist-resnet-iaf-flow-prior", arguments=_resnet(**_FLOWS, prior_flows=4), **_DEEP_MNIST),
        Preset("mnist-8bit-logistic", arguments=_resnet(levels=256, **_LOGISTIC), **_DEEP_MNIST),
        Preset("mnist-8bit-mixture", arguments=_resnet(levels=256, **_MIXTURE), **_DEEP_MNIST),
        Preset("mnist-8bit-softmax", arguments=_resnet(levels=256, **_SOFTMAX), **_DEEP_MNIST),
        Preset("digits-logistic", arguments=_dense_of_levels(_LOGISTIC), **_GREY_DIGITS),
        Preset("digits-mixture", arguments=_dense_of_levels(_MIXTURE), **_GREY_DIGITS),
        Preset("digits-softmax", arguments=_dense_of_levels(_SOFTMAX), **_GREY_DIGITS),
        Preset("cifar10-resnet", "cifar10", arguments={**_CIFAR10, "latent_dim": 128}, **_DEEP),
        Preset("cifar10-sample-resnet", "cifar10-sample", arguments=_SMALL_CIFAR10, **_SMALL_COLOUR),
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


def flops_per_image(preset: str | Preset) -> float:
    """Floating-point operations of the matrix products and convolutions that one image costs in a training step.

    Forward and backward; a multiplication and an addition are two operations. What is counted is torch's own record
    of the step, taken without computing it.

    Raises:
        ValueError: there is no preset of that name.
    """
    preset = preset_named(preset) if isinstance(preset, str) else preset
    # On this device tensors have shapes and no numbers.
    model = build_model(preset).to("meta")
    images = torch.empty(2, model.data_dim, device="meta")
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        GRADIENTS[preset.gradient](model, images, preset.k).sum().backward()
    return counter.get_total_flops() / len(images)
