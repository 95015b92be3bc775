"""What can be trained: the course's presets, and the models they build.

``python -m course_lib train --help`` prints them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from course_lib.datasets import Dataset
from course_lib.training.preset import MODELS, Preset
from course_lib.vae import LatentVariableModel
from course_lib.vae.bounds import GRADIENTS
from course_lib.vae.image_vae import ImageModel

__all__ = ["PRESETS", "build_model", "flops_per_image", "for_data", "preset_named", "summary"]

_DIGITS = {"data_dim": 64, "hidden": [100, 100], "latent_dim": 8}
# The networks of [Burda2016] and their learning rate, which they let fall over 3,280 epochs in place of these few.
_MNIST: dict[str, Any] = {
    "data": "mnist",
    "epochs": 48,
    "validate_every": 4,
    "precision": "bfloat16",
    "batch_size": 50,
}
# The same in batches that fill a GPU, which takes ten of those above in hardly more time than one: more epochs, fewer
# steps. The rate was chosen on validation images, see benchmarks/README.md.
_MNIST_GPU = {**_MNIST, "batch_size": 500, "learning_rate": 4e-3, "epochs": 1_000, "validate_every": 100}

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
# For minutes of a large GPU: batches that fill it, flows on both sides, and few validations of few draws. What was
# compared for it, on a processor and on validation images, is in benchmarks/README.md.
_RECORD: dict[str, Any] = {
    **_DEEP_MNIST,
    "batch_size": 400,
    "optimizer": "adam",
    "kl_warm_up": 10,
    "validate_every": 40,
    "validation_samples": 20,
}
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
# Grey levels in place of bits, for an hour of one core at most: a softmax step takes eight times a logistic's.
# Without an average of weights, which in so few steps would look back too far.
_SMALL_8BIT: dict[str, Any] = {**_SMALL, "epochs": 6, "validate_every": 3, "validation_samples": 5, "ema": 0.0}
_CIFAR10 = {"shape": [3, 32, 32], "levels": 256, **_MIXTURE, "network": "resnet"}
_SMALL_CIFAR10 = {**_CIFAR10, **_SMALL_RESNET, "latent_dim": 32}
_SMALL_COLOUR: dict[str, Any] = {
    "model": "ImageVAE",
    "batch_size": 50,
    "epochs": 40,
    "learning_rate": 2e-3,
    "validate_every": 2,
    "validation_samples": 10,
    "precision": "bfloat16",
    "stored": "float16",
}
# Your own images, to which `for_data` fits them, in networks that a processor trains. There may be few: more epochs, of
# which validation images choose.
_OWN: dict[str, Any] = {**_SMALL_COLOUR, "data": "", "epochs": 100, "validate_every": 5}
_OWN_ARGUMENTS: dict[str, Any] = {"levels": 256, **_MIXTURE, "latent_dim": 16}
_OWN_DENSE = {"network": "dense", "network_arguments": {"width": 200, "n_layers": 2}}


def _small_8bit(likelihood: Mapping[str, Any]) -> dict[str, Any]:
    return {**_SMALL_RESNET, "levels": 256, **likelihood}


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
        Preset("mnist-vae-gpu", k=1, **_MNIST_GPU),
        Preset("mnist-iwae-k5-gpu", k=5, **_MNIST_GPU),
        Preset("mnist-iwae-k50-gpu", k=50, **_MNIST_GPU),
        Preset("mnist-iwae-2layer-k50-gpu", model="TwoLayerVAE", k=50, **_MNIST_GPU),
        Preset(
            "mnist-dense", arguments={"network": "dense", "latent_dim": 32, **_SMALL_FLOWS}, epochs=50, **_SMALL_DENSE
        ),
        Preset("mnist-small-resnet", arguments={**_SMALL_RESNET, **_SMALL_FLOWS}, epochs=110, **_SMALL),
        Preset("mnist-gated-conv", arguments={"network": "gated-conv", "latent_dim": 64}, **_DEEP_MNIST),
        Preset("mnist-resnet", arguments=_resnet(), **_DEEP_MNIST),
        Preset("mnist-resnet-iaf", arguments=_resnet(**_FLOWS), **_DEEP_MNIST),
        Preset("mnist-resnet-iaf-flow-prior", arguments=_resnet(**_FLOWS, prior_flows=4), **_DEEP_MNIST),
        Preset("mnist-record", arguments=_resnet(posterior_flows=2, prior_flows=4, flow_width=256), **_RECORD),
        Preset("mnist-8bit-logistic", arguments=_resnet(levels=256, **_LOGISTIC), **_DEEP_MNIST),
        Preset("mnist-8bit-mixture", arguments=_resnet(levels=256, **_MIXTURE), **_DEEP_MNIST),
        Preset("mnist-8bit-softmax", arguments=_resnet(levels=256, **_SOFTMAX), **_DEEP_MNIST),
        Preset("mnist-8bit-small-logistic", arguments=_small_8bit(_LOGISTIC), **_SMALL_8BIT),
        Preset("mnist-8bit-small-mixture", arguments=_small_8bit(_MIXTURE), **_SMALL_8BIT),
        Preset("mnist-8bit-small-softmax", arguments=_small_8bit(_SOFTMAX), **_SMALL_8BIT),
        Preset("digits-logistic", arguments=_dense_of_levels(_LOGISTIC), **_GREY_DIGITS),
        Preset("digits-mixture", arguments=_dense_of_levels(_MIXTURE), **_GREY_DIGITS),
        Preset("digits-softmax", arguments=_dense_of_levels(_SOFTMAX), **_GREY_DIGITS),
        Preset("cifar10-resnet", "cifar10", arguments={**_CIFAR10, "latent_dim": 128}, **_DEEP),
        Preset("cifar10-sample-resnet", "cifar10-sample", arguments=_SMALL_CIFAR10, **_SMALL_COLOUR),
        Preset("cifar10-sample-logistic", "cifar10-sample", arguments={**_SMALL_CIFAR10, **_LOGISTIC}, **_SMALL_COLOUR),
        Preset("images-dense", arguments={**_OWN_ARGUMENTS, **_OWN_DENSE}, **_OWN),
        Preset("images-resnet", arguments={**_OWN_ARGUMENTS, **_SMALL_RESNET}, **_OWN),
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


def for_data(preset: Preset, data: Dataset) -> Preset:
    """The same preset for other images than those it names.

    It takes over their name, shape and levels: a Bernoulli for two, and for more the preset's own distribution, or a
    mixture of logistics where it has a Bernoulli. A batch is of no more images than there are.

    Raises:
        ValueError: the preset's model is none of images with a height and a width; or its networks halve an image
            twice, and these cannot be.
    """
    if not issubclass(MODELS[preset.model], ImageModel):
        raise ValueError(
            f"{preset.name} trains a {preset.model}, which knows no shape of images: choose images-dense or another "
            "preset of an ImageVAE."
        )
    _, height, width = data.shape
    if preset.arguments.get("network") != "dense" and (height % 4 or width % 4):
        raise ValueError(
            f"{preset.name} halves an image twice, and {data.name} has {height} x {width} pixels, not divisible by 4: "
            "choose images-dense, or other sizes."
        )
    arguments = {**preset.arguments, "shape": list(data.shape), "levels": data.levels}
    if data.levels == 2:
        arguments["likelihood"] = "bernoulli"
    elif arguments.get("likelihood", "bernoulli") == "bernoulli":
        arguments |= _MIXTURE
    batch_size = min(preset.batch_size, len(data.train))
    return dataclasses.replace(preset, data=data.name, arguments=arguments, batch_size=batch_size)


def summary(preset: Preset | None = None) -> str:
    """What a preset sets, where it differs from the defaults; or, without a preset, the defaults."""
    defaults = Preset("", "")
    hidden = defaults.settings() if preset else {"data": "", "arguments": {}}
    settings = (preset or defaults).settings()
    return ", ".join(f"{n} {value}" for n, value in settings.items() if n != "name" and hidden.get(n) != value)


def build_model(preset: str | Preset) -> LatentVariableModel:
    """A fresh model: the preset's architecture with the initial weights that its seed gives.

    Raises:
        ValueError: there is no preset of that name, or its arguments make no sense.
        TypeError: its arguments are not those of its model.
    """
    preset = preset if isinstance(preset, Preset) else preset_named(preset)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(preset.seed)
        return MODELS[preset.model](**preset.arguments)


def flops_per_image(preset: str | Preset) -> float:
    """Floating-point operations of the matrix products and convolutions that one image costs in a training step.

    Forward and backward; a multiplication and an addition are two operations. What is counted is torch's own record
    of the step, taken without computing it.

    Raises:
        ValueError: there is no preset of that name.
    """
    preset = preset if isinstance(preset, Preset) else preset_named(preset)
    # On this device tensors have shapes and no numbers.
    model = build_model(preset).to("meta")
    images = torch.empty(2, model.data_dim, device="meta")
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        GRADIENTS[preset.gradient](model, images, preset.k).sum().backward()
    return counter.get_total_flops() / len(images)
