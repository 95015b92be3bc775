"""What flows are worth: the same VAE with more and more of them, trained alike; see README.md and notebook 06.

    python benchmarks/flows.py FOLDER [--epochs 12] [--seeds 0 1 2] [--table FILE]

Each variant is the model of `mnist-dense` with another number of posterior steps, or of prior steps, or another
normalization in the networks of its four posterior steps. All have the same epochs and the same seed. A training can
be interrupted and goes on, and what is finished is not done again. Weights are chosen by validation images; log p(x)
is that of the first 1,000 test images, 500 draws from the adapted proposal each, image by image. ``--table`` writes
what is there so far: ``FILE.json`` with a row for each variant and seed, and ``FILE.safetensors`` with the values of
seed 0 that paired differences are taken of.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from zuko.nn import MaskedMLP

from course_lib.training import Preset, train
from course_lib.training.checkpoints import load_checkpoint
from course_lib.training.evaluation import evaluate
from course_lib.training.presets import PRESETS
from course_lib.vae import ImageVAE, flows

N_IMAGES, N_SAMPLES = 1_000, 500
# Posterior steps, prior steps, and what normalizes the hidden layers of the steps.
VARIANTS = [(posterior, prior, "none") for prior in (0, 2) for posterior in (0, 2, 4, 8)]
VARIANTS += [(4, 0, "batch"), (4, 0, "weight")]


class NormalizedELU(nn.Module):
    """Batch norm before the activation, of draws ``[..., width]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.elu(self.norm(x.flatten(0, -2)).view_as(x))


def with_batch_norm(depends: Tensor, widths: list[int], _: Any) -> MaskedMLP:
    return MaskedMLP(depends, widths, lambda: NormalizedELU(widths[0]))


def with_weight_norm(depends: Tensor, widths: list[int], activation: Any) -> MaskedMLP:
    network = MaskedMLP(depends, widths, activation)
    # Not the last layer: it starts at zero, where a direction has no length.
    for layer in list(network)[:-1:2]:
        weight_norm(layer)
    return network


def start_from_data(model: ImageVAE, images: Tensor) -> None:
    """Let the inputs of each activation start at mean 0 and variance 1 over images (Salimans and Kingma 2016)."""
    assert model.posterior_flow is not None
    some = images[:500].flatten(1)
    features = model.encoder(some.view(-1, *model.shape))
    context = features[:, 2 * model.latent_dim :]
    z = flows.DiagonalGaussian(features[:, : model.latent_dim], torch.ones_like(features[:, : model.latent_dim]))
    x = z.rsample(1, torch.Generator().manual_seed(0))[0]
    steps: Any = model.posterior_flow.steps
    for step in steps:
        hidden = torch.cat([x, context], dim=1)
        layers: list[Any] = [step.first, *step.others]
        for layer in layers[:-1]:
            if isinstance(layer, nn.ELU):
                hidden = layer(hidden)
                continue
            before = nn.functional.linear(hidden, layer.mask * layer.weight, layer.bias)
            mean, std = before.mean(0), before.std(0) + 1e-6
            layer.parametrizations.weight.original0.div_(std[:, None])
            layer.bias.sub_(mean).div_(std)
            hidden = nn.functional.linear(hidden, layer.mask * layer.weight, layer.bias)


@contextmanager
def normalized(how: str) -> Iterator[None]:
    """Within it flows are built with this normalization."""
    if how == "none":
        yield
        return
    plain_start = ImageVAE.start_from

    def start_from(model: ImageVAE, images: Tensor) -> None:
        plain_start(model, images)
        if how == "weight":
            with torch.no_grad():
                start_from_data(model, images)

    network = with_batch_norm if how == "batch" else with_weight_norm
    with mock.patch.object(flows, "MaskedMLP", network), mock.patch.object(ImageVAE, "start_from", start_from):
        yield


def name_of(posterior: int, prior: int, norm: str) -> str:
    return f"q{posterior}-p{prior}" + ("" if norm == "none" else f"-{norm}")


def preset_of(posterior: int, prior: int, norm: str, epochs: int, seed: int) -> Preset:
    base = PRESETS["mnist-dense"]
    arguments = {**base.arguments, "posterior_flows": posterior, "prior_flows": prior}
    return dataclasses.replace(
        base,
        name=f"{name_of(posterior, prior, norm)}-seed{seed}",
        arguments=arguments,
        epochs=epochs,
        validate_every=max(1, epochs // 3),
        # An average of weights would not know batch norm's running means.
        ema=0.0,
        stored="float32",
        seed=seed,
    )


def run_one(posterior: int, prior: int, norm: str, epochs: int, seed: int, folder: Path) -> None:
    preset = preset_of(posterior, prior, norm, epochs, seed)
    found = folder / f"{preset.name}.values"
    if found.exists():
        return
    row: dict[str, Any] = {"posterior": posterior, "prior": prior, "normalization": norm, "seed": seed}
    with normalized(norm):
        try:
            weights = train(preset, folder, device="cpu", resume=True)
        except FloatingPointError as error:
            save_file({}, found, {"row": json.dumps({**row, "trouble": str(error)})})
            return
        model, card = load_checkpoint(weights)
        assert card.seconds is not None
        row |= {"epochs": epochs, "best_epoch": card.epochs, "seconds": round(card.seconds)}
        row |= {"parameters": sum(p.numel() for p in model.parameters()), "device": card.device, "commit": card.commit}
        row["validation"] = card.metrics["validation"].log_likelihood.value
        evidence = evaluate(model, "mnist", proposal="adapted", n_images=N_IMAGES, n_samples=N_SAMPLES, progress=True)
    row |= {
        "test": evidence.mean.value,
        "std_error": evidence.mean.std_error,
        "elbo_of_fits": evidence.mean_elbo[0],
        "share_of_high_pareto_k": evidence.share_of_high_pareto_k,
        "n_images": N_IMAGES,
        "n_samples": N_SAMPLES,
    }
    with torch.no_grad():
        of_encoder = evaluate(model, "mnist", proposal="encoder", n_images=N_IMAGES, n_samples=100)
    row["elbo"] = of_encoder.mean_elbo[0]
    save_file({"per_image": evidence.per_image.float()}, found, {"row": json.dumps(row)})


def rows_of(folder: Path) -> Iterator[tuple[dict[str, Any], Tensor | None]]:
    from safetensors import safe_open

    for path in sorted(folder.glob("*.values")):
        with safe_open(path, "pt") as file:
            yield json.loads(file.metadata()["row"]), load_file(path).get("per_image")


def write_table(folder: Path, file: Path) -> None:
    found = list(rows_of(folder))
    values = {
        name_of(row["posterior"], row["prior"], row["normalization"]): per_image
        for row, per_image in found
        if row["seed"] == 0 and per_image is not None
    }
    save_file(values, file.with_suffix(".safetensors"))
    file.with_suffix(".json").write_text(json.dumps([row for row, _ in found], indent=1) + "\n", encoding="utf-8")
    for row, _ in found:
        print(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for posterior, prior, norm in VARIANTS:
            run_one(posterior, prior, norm, options.epochs, seed, options.folder)
    if options.table:
        write_table(options.folder, options.table)


if __name__ == "__main__":
    main()
