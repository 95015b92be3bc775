"""Which model is better after the same seconds of one processor core, judged on validation images; see README.md.

    python benchmarks/recipes.py FOLDER [NAME ...] [--steps 4000] [--seed 0]

Each variant differs from the first, "base", in one thing, and has as many steps as cost what the base's cost: both are
timed in turns. The learning rate's decay and the warm-up are spread over them. A result goes to
``FOLDER/NAME-SEED-STEPS.json``, and what is there is not done again. In the end a table of all that is there is
printed.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib import datasets
from course_lib.training import steps
from course_lib.training.preset import OPTIMIZERS, Preset
from course_lib.training.presets import PRESETS, build_model
from course_lib.vae import bounds, log_likelihood, networks
from course_lib.vae.models import LatentVariableModel

# A preset's epochs are parts of a run here, so that warm-up is counted in twentieths.
PARTS = 20
N_IMAGES, N_SAMPLES = 2_000, 50
# Averages of the base's weights cost next to nothing, so it has them all.
DECAYS = [0.0, 0.98, 0.99, 0.995, 0.998, 0.999]
BASE = dataclasses.replace(PRESETS["mnist-small-resnet"], epochs=PARTS, precision="float32", ema=0.995)


class Excited(networks.ResidualBlock):
    """A residual block whose outcome is scaled by what the whole map says (Hu et al. 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        few = max(4, width // 4)
        self.squeeze, self.excite = nn.Linear(width, few), nn.Linear(few, width)

    def forward(self, x: Tensor) -> Tensor:
        change = super().forward(x) - x
        scale = torch.sigmoid(self.excite(functional.elu(self.squeeze(change.mean((-2, -1))))))
        return x + 2 * scale[..., None, None] * change


class Gated(nn.Module):
    """A residual block whose outcome passes through a gate that is computed like it (van den Oord et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 2 * width, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter[:width])

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.second(functional.elu(self.first(functional.elu(x)))).chunk(2, 1)
        return x + value * torch.sigmoid(gate)


class Dropping(networks.ResidualBlock):
    """A residual block that forgets a tenth of its maps in training."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.elu(self.first(functional.elu(x)))
        return x + self.second(functional.dropout2d(hidden, 0.1, self.training))


def free_bits(nats: float) -> Callable[..., Tensor]:
    """The ELBO in which a batch's mean KL counts as ``nats`` where it is less (Kingma et al. 2016, in one group)."""

    def bound(model: LatentVariableModel, x: Tensor, k: int, generator: Any = None) -> Tensor:
        z, log_q = model.posterior(x).rsample_and_log_prob(k, generator)
        kl = (log_q - model.log_prior(z)).mean()
        return model.log_conditional(x, z).mean(0) - kl.clamp(min=nats)

    return bound


@dataclass
class Variant:
    """What differs from the base: settings, and what no setting can say."""

    preset: Preset
    block: type[nn.Module] = networks.ResidualBlock
    bound: Callable[..., Tensor] = bounds.iwae_autograd
    optimizer: Callable[..., torch.optim.Optimizer] | None = None
    # In place of as many steps as cost what the base's cost.
    epochs: int | None = None


def base(**changes: Any) -> Preset:
    arguments = {**BASE.arguments, **changes.pop("arguments", {})}
    return dataclasses.replace(BASE, arguments=arguments, **changes)


def sized(widths: list[int], blocks: list[int]) -> Preset:
    return base(arguments={"network_arguments": {"widths": widths, "blocks": blocks}})


def ladder(layers: int, latent_maps: int, **changes: Any) -> Preset:
    arguments = {"layers": layers, "latent_maps": latent_maps, "widths": [8, 16, 32], "blocks": [0, 1, 1]}
    return dataclasses.replace(BASE, model="LadderVAE", arguments=arguments, **changes)


def dense(batch_size: int, rate: float) -> Preset:
    preset = dataclasses.replace(PRESETS["mnist-vae"], batch_size=batch_size, learning_rate=rate)
    return dataclasses.replace(preset, epochs=PARTS, precision="float32")


def adamw(parameters: Any, lr: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=0.01)


VARIANTS = {
    "base": Variant(base()),
    "no flows": Variant(base(arguments={"posterior_flows": 0, "prior_flows": 0})),
    "posterior flows 4": Variant(base(arguments={"posterior_flows": 4})),
    "prior flows 4": Variant(base(arguments={"prior_flows": 4})),
    "latents 48": Variant(base(arguments={"latent_dim": 48})),
    "squeeze and excitation": Variant(base(), block=Excited),
    "gated blocks": Variant(base(), block=Gated),
    "dropout": Variant(base(), block=Dropping),
    "ladder 3 x 2": Variant(ladder(3, 2)),
    "ladder 3 x 2 warm-up": Variant(ladder(3, 2, kl_warm_up=2)),
    "ladder 4 x 2 warm-up": Variant(ladder(4, 2, kl_warm_up=2)),
    "warm-up 10 %": Variant(base(kl_warm_up=2)),
    "free bits 8 nats": Variant(base(), bound=free_bits(8.0)),
    "rate 4e-3": Variant(base(learning_rate=4e-3)),
    "adamax 4e-3": Variant(base(optimizer="adamax", learning_rate=4e-3)),
    "adamw": Variant(base(), optimizer=adamw),
    "wider": Variant(sized([16, 24, 48], [0, 1, 1])),
    "deeper below": Variant(sized([8, 16, 32], [0, 1, 3])),
    # Epochs of mnist-iwae-k50 that predicted.py allows a GPU in six seconds; these train in the same time there.
    **{
        f"dense, {size} images, rate {rate:g}": Variant(dense(size, rate), epochs=epochs)
        for size, rate, epochs in [
            (50, 1e-3, 16),
            (50, 4e-3, 16),
            (500, 1e-3, 61),
            (500, 2e-3, 61),
            (500, 4e-3, 61),
            (500, 8e-3, 61),
        ]
    },
}


def made(variant: Variant, seed: int) -> tuple[LatentVariableModel, torch.optim.Optimizer, Preset]:
    """A fresh model, its optimizer and its preset, and its bound where `take_step` looks for it."""
    preset = dataclasses.replace(variant.preset, seed=seed)
    plain = networks.ResidualBlock
    networks.ResidualBlock = variant.block  # type: ignore[misc, assignment]
    try:
        model = build_model(preset)
    finally:
        networks.ResidualBlock = plain  # type: ignore[misc]
    optimizer: Callable[..., torch.optim.Optimizer] = variant.optimizer or OPTIMIZERS[preset.optimizer]
    bounds.GRADIENTS[preset.gradient] = variant.bound
    return model, optimizer(model.parameters(), lr=preset.learning_rate), preset


def cost_of(variant: Variant) -> float:
    """What an image costs in a step, beside the base's: both in turns, and of each the fastest step."""
    fastest = dict.fromkeys(("base", "variant"), math.inf)
    for _ in range(8):
        for name, one in (("base", VARIANTS["base"]), ("variant", variant)):
            model, optimizer, preset = made(one, 0)
            x = torch.rand(preset.batch_size, 1, 28, 28)
            for step in range(5):
                began = time.process_time()
                steps.take_step(model, optimizer, x, preset, step, 10)
                fastest[name] = min(fastest[name], (time.process_time() - began) / len(x))
    return fastest["variant"] / fastest["base"]


def trained(variant: Variant, steps_of_base: int, seed: int) -> tuple[dict[float, LatentVariableModel], dict[str, Any]]:
    """The averages of the weights by their decay, and what it took."""
    is_base = variant is VARIANTS["base"]
    cost = 1.0 if is_base or variant.epochs else cost_of(variant)
    model, optimizer, preset = made(variant, seed)
    images = datasets.load(preset.data).train
    model.start_from(images)
    averages = {decay: copy.deepcopy(model) for decay in (DECAYS if is_base else [preset.ema])}
    per_epoch = len(images) // preset.batch_size
    n_steps = round(steps_of_base * BASE.batch_size / preset.batch_size / cost)
    n_steps = n_steps if variant.epochs is None else variant.epochs * per_epoch
    for step in range(n_steps):
        epoch, place = divmod(step, per_epoch)
        if not place:
            order = steps.order_of_images(len(images), seed, epoch, torch.device("cpu"))
        batch = images[order[place * preset.batch_size : (place + 1) * preset.batch_size]]
        steps.take_step(model, optimizer, batch, preset, step, max(1, n_steps // PARTS))
        for decay, average in averages.items():
            steps.update_average(average, model, decay if step else 0.0)
    return averages, {"steps": n_steps, "cost": cost}


def result_of(name: str, steps_of_base: int, seed: int) -> dict[str, Any]:
    averages, record = trained(VARIANTS[name], steps_of_base, seed)
    x = datasets.fixed_binarization(datasets.load("mnist").validation)[:N_IMAGES]
    found = {d: log_likelihood(one.eval(), x, N_SAMPLES, 0, progress=False) for d, one in averages.items()}
    ours = found[VARIANTS[name].preset.ema]
    record |= {"values": ours.per_image.tolist(), "elbo": float(ours.elbo.mean())}
    record |= {"averages": {decay: float(one.per_image.mean()) for decay, one in found.items()}}
    return record | {"name": name, "seed": seed, "budget": steps_of_base}


def print_table(folder: Path) -> None:
    """In Markdown, each variant beside the base of its seed and steps."""
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    for one in records:
        one["values"] = torch.tensor(one["values"], dtype=torch.float64)
    bases = {(one["seed"], one["budget"]): one["values"] for one in records if one["name"] == "base"}
    print("| variant | seed | steps | cost of an image | ELBO | log p(x), 50 draws | above the base |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for one in sorted(records, key=lambda one: (one["name"].startswith("dense"), -one["values"].mean())):
        above, beside = "", bases.get((one["seed"], one["budget"]))
        # Worse than guessing each pixel's mean.
        diverged = one["values"].mean() < -1_000
        if not diverged and beside is not None and one["name"] != "base" and not one["name"].startswith("dense"):
            gain = one["values"] - beside
            above = f"{gain.mean():+.2f} ± {gain.std() / math.sqrt(len(gain)):.2f}"
        results = "diverged | |" if diverged else f"{one['elbo']:.2f} | {one['values'].mean():.2f} | {above}"
        print(f"| {one['name']} | {one['seed']} | {one['steps']:,} | {one['cost']:.2f} | {results} |")
    for one in records:
        if one["name"] == "base":
            averages = ", ".join(f"{decay} {value:.2f}" for decay, value in one["averages"].items())
            print(f"\nAverages of the base's weights, seed {one['seed']}, by their decay: {averages}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--steps", type=int, default=4_000, help="of the base (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.names:
        file = (
            options.folder
            / f"{name.replace(' ', '_').replace('%', 'pc').replace(',', '')}-{options.seed}-{options.steps}.json"
        )
        if not file.exists():
            file.write_text(json.dumps(result_of(name, options.steps, options.seed)))
    print_table(options.folder)


if __name__ == "__main__":
    main()
