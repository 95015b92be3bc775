"""Do strided deconvolutions leave a grid where pixel shuffle leaves none? See README.md and notebook 06.

    python benchmarks/upsampling.py FOLDER --table FILE [--epochs 30]

Trains `cifar10-sample-logistic` twice, alike but for how the decoder doubles its maps: by pixel shuffle, as the
library does, and by transposed convolutions of stride 2 and kernel 3, as many programs do. Two doublings repeat every
4 pixels. So a grid is what the 16 places in a cell of 4 x 4 pixels have in common over all cells of all images: the
spread of their averages, after what is smooth has been taken off. It is measured in what the decoder adds to the mean
of each intensity, as a share of its contrast, before and after training; and in reconstructions of the test images, in
levels of 255, beside the photographs themselves, which know no such cell.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from course_lib import datasets
from course_lib.training import train
from course_lib.training.checkpoints import load_checkpoint
from course_lib.training.presets import PRESETS, build_model
from course_lib.vae import networks


class Deconvolution(nn.Sequential):
    """Twice the height and the width by a strided transposed convolution."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(nn.ConvTranspose2d(n_in, n_out, 3, stride=2, padding=1, output_padding=1))


WAYS: dict[str, Any] = {"pixel shuffle": networks._Up, "deconvolution": Deconvolution}


def grid_of(images: Tensor) -> float:
    """Spread of the 16 averages, of ``[n, channels, height, width]`` in their own units; mean over channels."""
    blurred = nn.functional.avg_pool2d(nn.functional.pad(images, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    cells = (images - blurred).unflatten(-2, (-1, 4)).unflatten(-1, (-1, 4))  # [n, channels, rows, 4, columns, 4]
    return float(cells.mean((0, 2, 4)).flatten(1).std(1).mean())


def added_by_decoder(model: Any, n: int) -> Tensor:
    """What the decoder adds to the mean of each intensity for draws of the prior, ``[n, channels, height, width]``."""
    z = model.sample_prior(n, torch.Generator().manual_seed(0))
    _, means, _ = model.decoder(z).unflatten(1, (model.shape[0], 3)).unbind(2)
    return means


def share_of_contrast(means: Tensor) -> float:
    return grid_of(means) / float(means.std((2, 3)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--table", type=Path, required=True)
    options = parser.parse_args()
    test = datasets.load("cifar10-sample").test
    rows: dict[str, Any] = {"photographs": {"levels": 255 * grid_of(test)}}
    pictures: dict[str, Tensor] = {}
    for way, layer in WAYS.items():
        preset = dataclasses.replace(
            PRESETS["cifar10-sample-logistic"].in_epochs(options.epochs), name=f"cifar10-{way.replace(' ', '-')}"
        )
        with mock.patch.object(networks, "_Up", layer):
            weights = train(preset, options.folder, device="cpu", resume=True)
            fresh, (model, card) = build_model(preset), load_checkpoint(weights)
        with torch.no_grad():
            before, after = added_by_decoder(fresh, 400), added_by_decoder(model, 400)
            again = model.mean_image(model.posterior(test).rsample(1, torch.Generator().manual_seed(0))[0])
            draws = model.mean_image(model.sample_prior(8, torch.Generator().manual_seed(1))).unflatten(
                1, test.shape[1:]
            )
        rows[way] = {
            "before": share_of_contrast(before),
            "after": share_of_contrast(after),
            "levels": 255 * grid_of(again.view_as(test)),
            "validation": card.metrics["validation"].log_likelihood.value,
            "epochs": card.epochs,
            "commit": card.commit,
        }
        low, high = before[:8].amin((1, 2, 3), keepdim=True), before[:8].amax((1, 2, 3), keepdim=True)
        pictures |= {f"{way}, before": (before[:8] - low) / (high - low), f"{way}, after": draws}
    print(json.dumps(rows, indent=1))
    options.table.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    bytes_of = {name: (255 * each).round().to(torch.uint8).contiguous() for name, each in pictures.items()}
    save_file(bytes_of, options.table.with_suffix(".safetensors"))


if __name__ == "__main__":
    main()
