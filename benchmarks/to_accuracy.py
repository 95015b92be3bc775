"""How long until log p(x) of an image is right to 0.1 nats, and to 0.01? From where z is drawn, against the truth.

    .venv/bin/python benchmarks/to_accuracy.py [NAME ...]

The truth is the middle of a sandwich of bounds, of images that the model simulated, with many chains. The error of a
method is the median over images of the distance from it; methods get more and more draws, or steps, until that is small
enough. Prints a table for each model.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from course_lib.training import load_checkpoint
from course_lib.vae import Annealing, Evidence, annealed_importance_sampling, bidirectional_bounds, log_likelihood
from course_lib.vae.models import LatentVariableModel
from course_lib.vae.proposals import Proposal, adapted, encoder, widened

N_IMAGES = 20
TARGETS = (0.1, 0.01)
# Of the sandwich, and of each method the largest effort, for models whose decoder is small and for others.
EFFORTS = {
    "mnist-vae": {"steps": 300, "chains": 32, "draws": 256_000, "most_steps": 1_000},
    "mnist-small-resnet": {"steps": 100, "chains": 16, "draws": 16_000, "most_steps": 200},
}

Tried = Iterator[tuple[str, Evidence, float]]


def importance_sampling(model: LatentVariableModel, x: Tensor, proposal: Proposal, most: int) -> Tried:
    """More and more draws, with what they gave and the seconds that they took."""
    n = 250
    while n <= most:
        began = time.perf_counter()
        found = log_likelihood(model, x, n, seed=1, proposal=proposal, progress=False)
        yield f"{n:,} draws", found, time.perf_counter() - began
        n *= 2


def annealing(model: LatentVariableModel, x: Tensor, start: str, most: int) -> Tried:
    """More and more steps, of 16 chains."""
    for n in (10, 30, 60, 100, 200, 500, 1_000):
        if n <= most:
            settings = Annealing(n, n_chains=16, start=start, seed=1)
            began = time.perf_counter()
            found = annealed_importance_sampling(model, x, settings, progress=False)
            yield f"{n:,} steps", found, time.perf_counter() - began


def until(tried: Tried, truth: Tensor) -> list[str]:
    """For each target the passes and seconds an image at which it is met, interpolated; and how far it came."""
    points: list[tuple[float, float, float]] = []  # error, passes, seconds
    effort = ""
    for effort, found, seconds in tried:  # noqa: B007 (the last one is shown)
        error = float((found.per_image - truth).abs().median())
        points.append((error, found.decoder_passes, seconds / len(truth)))
        if error <= TARGETS[-1]:
            break
    cells = []
    for target in TARGETS:
        met = points[0][1:] if points[0][0] <= target else None
        for (error, *before), (next_error, *after) in pairwise(points):
            if met is None and error > target >= next_error:
                part = math.log(error / target) / math.log(error / next_error)
                passes, seconds = (a * (b / a) ** part for a, b in zip(before, after, strict=True))
                met = passes, seconds
        cells += ["", ""] if met is None else [f"{met[0]:,.0f}", f"{met[1]:.2g}"]
    return [*cells, f"{min(error for error, *_ in points):.3f}", effort]


def main(names: list[str]) -> None:
    for name in names or EFFORTS:
        model, _ = load_checkpoint(name)
        effort = EFFORTS[name]
        settings = Annealing(effort["steps"], n_chains=effort["chains"], start="adapted")
        bounds = bidirectional_bounds(model, N_IMAGES, settings)
        truth, x = (bounds.lower + bounds.upper) / 2, bounds.images
        half = float(bounds.gap.abs().median() / 2)
        print(f"\n{name}: {N_IMAGES} images, {truth.mean():.3f} nats; bounds {bounds.mean_gap.rounded} apart,")
        print(f"half a gap in the median {half:.4f}\n")
        heads = [f"{what} to {target:g}" for target in TARGETS for what in ("passes", "seconds")]
        print(f"| z from | {' | '.join(heads)} | smallest error | with |\n| --- |{' ---: |' * 6}")
        methods: dict[str, Tried] = {
            "the encoder": importance_sampling(model, x, encoder, effort["draws"]),
            "the encoder, 1.1 times as wide": importance_sampling(model, x, widened(1.1), effort["draws"]),
            "a fit to each image": importance_sampling(model, x, adapted, effort["draws"]),
            "annealing from the prior": annealing(model, x, "prior", effort["most_steps"]),
            "annealing from the encoder": annealing(model, x, "encoder", effort["most_steps"]),
            "annealing from the fit": annealing(model, x, "adapted", effort["most_steps"]),
        }
        for method, tried in methods.items():
            print(f"| {method} | {' | '.join(until(tried, truth))} |", flush=True)


if __name__ == "__main__":
    with torch.no_grad():
        main(sys.argv[1:])
