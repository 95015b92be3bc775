"""A preset: a model, the data it learns from, and how."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

import torch

from course_lib.checks import one_of, positive_number, real_number, whole_number
from course_lib.vae import VAE, ImageVAE, LadderVAE, LatentVariableModel, TwoLayerVAE
from course_lib.vae.bounds import GRADIENTS
from course_lib.vae.evidence import Precision

__all__ = ["MODELS", "OPTIMIZERS", "Preset"]

MODELS: dict[str, type[LatentVariableModel]] = {
    "VAE": VAE,
    "TwoLayerVAE": TwoLayerVAE,
    "ImageVAE": ImageVAE,
    "LadderVAE": LadderVAE,
}
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}


@dataclass(frozen=True)
class Preset:
    """One way to train one model. A setting that is none is a ValueError.

    Attributes:
        name: what the command line and the checkpoint call it.
        data: the data set, empty where `for_data` is to fit the preset to yours; for a model of bits, training images
            are binarized anew in every step.
        model: ``"VAE"``, ``"TwoLayerVAE"``, ``"ImageVAE"`` or ``"LadderVAE"``.
        arguments: what the model's class is called with.
        gradient: the estimator, one of `course_lib.vae.bounds.GRADIENTS`.
        k: samples of z for each image in a training step.
        batch_size: images in a training step, over all processes.
        epochs: passes through the training images, each in another order and without those left over from full batches.
        optimizer: ``"adam"`` or ``"adamax"``.
        learning_rate: the optimizer's, at its highest.
        schedule: ``"constant"``, or ``"cosine"`` for a decay towards zero.
        kl_warm_up: epochs during which the weight of log p(z) - log q(z|x) grows from near 0 to 1.
        largest_gradient: longer gradients are cut to this length, which a flow may need now and then; 0 for no limit.
        ema: decay of an exponential moving average of the weights, which is then what is evaluated; 0 for none.
        precision: of the matrix products and convolutions of training: ``"bfloat16"``, by torch's autocast, or
            ``"float32"``, without it (in TensorFloat-32 on a CUDA GPU). Validation is in float32 either way.
        stored: what the checkpoint keeps of each weight, ``"float32"`` or ``"float16"``, for half the size. Weights are
            rounded before they are validated, so that what is measured is what is stored.
        validate_every: epochs between two evaluations of the validation set; the best weights by it are kept.
        validation_samples: samples of z for each validation image.
        patience: validations without a new best after which training stops; 0 for never.
        all_images: learn from the validation images, too, once they have chosen everything else. Then they choose no
            weights: the last ones are kept.
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
    optimizer: str = "adam"
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
    all_images: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in {
            "model": tuple(MODELS),
            "gradient": tuple(GRADIENTS),
            "optimizer": tuple(OPTIMIZERS),
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
        if not 0 <= real_number("largest_gradient", self.largest_gradient) < math.inf:
            raise ValueError(f"largest_gradient must be at least 0 and finite; got {self.largest_gradient}.")
        if not 0 <= real_number("ema", self.ema) < 1:
            raise ValueError(f"ema must be at least 0 and below 1; got {self.ema}.")
        one_of("all_images", self.all_images, (False, True))
        if self.all_images and self.patience:
            raise ValueError("a training on all images has none left to stop by: set patience to 0.")

    def in_epochs(self, epochs: int) -> Preset:
        """The same training in another number of epochs.

        What is counted in epochs or steps keeps its share of the whole: the KL warm-up, the time between validations,
        and how far back the average of the weights looks. The learning rate follows the whole in any case.

        Raises:
            ValueError: ``epochs`` is no whole number of at least 1.
        """
        share = whole_number("epochs", epochs) / self.epochs
        if share == 1:
            return self
        return dataclasses.replace(
            self,
            epochs=int(epochs),
            kl_warm_up=round(share * self.kl_warm_up),
            validate_every=max(1, round(share * self.validate_every)),
            # An average that forgets more than half of itself in a step would be none.
            ema=max(0.5, 1 - (1 - self.ema) / share) if self.ema else 0.0,
        )

    def settings(self) -> dict[str, Any]:
        """All fields, as JSON has them."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return json.loads(json.dumps(fields | {"arguments": dict(self.arguments)}))
