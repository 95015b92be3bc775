"""Is log p(x) from fitted proposals right? Bounds from both sides for simulated images, and annealing of real ones.

    .venv/bin/python benchmarks/second_opinion.py [NAME ...]

For each published model, 40 images that it simulated: a sandwich of bounds from the fit, and where importance sampling
from the fit lies in it. Then the first 100 test images, if they are on this machine: annealing from the fit, against
importance sampling from it, image by image.
"""

from __future__ import annotations

import sys
import time

import torch

from course_lib import datasets
from course_lib.estimates import Estimate
from course_lib.training import load_checkpoint
from course_lib.training.checkpoints import PUBLISHED
from course_lib.training.evaluation import images_for
from course_lib.vae import Annealing, annealed_importance_sampling, bidirectional_bounds, log_likelihood
from course_lib.vae.proposals import adapted

N_SIMULATED, N_REAL = 40, 100
SETTINGS = Annealing(n_steps=100, n_chains=16, n_leapfrog=1, start="adapted")


def main(names: list[str]) -> None:
    print(
        "| model | bounds apart | seconds | fit above their middle | real images: annealing above the fit | seconds |"
    )
    print("| --- |" + " ---: |" * 5)
    for name in names or sorted(path.stem for path in PUBLISHED.glob("*.safetensors")):
        model, card = load_checkpoint(name)
        began = time.perf_counter()
        bounds = bidirectional_bounds(model, N_SIMULATED, SETTINGS, progress=False)
        seconds = time.perf_counter() - began
        fit = log_likelihood(model, bounds.images, 2_000, seed=1, proposal=adapted, progress=False)
        above = Estimate.from_values((fit.per_image - (bounds.lower + bounds.upper) / 2).numpy())
        cells = [bounds.mean_gap.rounded, f"{seconds:.0f}", above.rounded, "", ""]
        data = card.settings["data"]
        if datasets.is_here(data):
            real = images_for(model, datasets.load(data), "test")[:N_REAL]
            began = time.perf_counter()
            annealed = annealed_importance_sampling(model, real, SETTINGS, progress=False)
            seconds = time.perf_counter() - began
            fit = log_likelihood(model, real, 2_000, seed=1, proposal=adapted, progress=False)
            cells[3:] = Estimate.from_values((annealed.per_image - fit.per_image).numpy()).rounded, f"{seconds:.0f}"
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    with torch.no_grad():
        main(sys.argv[1:])
