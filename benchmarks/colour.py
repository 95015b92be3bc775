"""One logistic against five on the same colour images, and how low the encoder's estimates are; see notebook 06.

    COURSE_DATA_DIR=... python benchmarks/colour.py --table FILE

Evaluates the published `cifar10-sample-logistic` and `cifar10-sample-resnet` on the 400 test images of the sample, 100
draws from the encoder each, and on the first 100 of them also by fits, 500 draws each. ``FILE.safetensors`` has
log p(x) of each image in nats.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from course_lib import datasets
from course_lib.training import load_checkpoint
from course_lib.vae import log_likelihood
from course_lib.vae.proposals import adapted

MODELS = {"one logistic": "cifar10-sample-logistic", "five": "cifar10-sample-resnet"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    options = parser.parse_args()
    test = datasets.load("cifar10-sample").test
    found: dict[str, Tensor] = {}
    bits = 1 / (test[0].numel() * math.log(2))
    with torch.no_grad():
        for name, checkpoint in MODELS.items():
            model, _ = load_checkpoint(checkpoint)
            by_encoder = log_likelihood(model, test, 100)
            by_fits = log_likelihood(model, test[:100], 500, proposal=adapted)
            found |= {f"{name}, encoder": by_encoder.per_image, f"{name}, fits": by_fits.per_image}
            low = by_fits.per_image - by_encoder.per_image[:100]
            print(f"{name}: {by_encoder}\n  by fits: {by_fits}\n  the encoder is low by {low.mean():.1f} nats")
    gain = found["five, encoder"] - found["one logistic, encoder"]
    print(
        f"five above one: {bits * gain.mean():.4f} ± {bits * gain.std() / math.sqrt(len(gain)):.4f} bits per dimension"
    )
    save_file({name: values.float() for name, values in found.items()}, options.table.with_suffix(".safetensors"))


if __name__ == "__main__":
    main()
