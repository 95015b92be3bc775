"""Speed of annealing against the gradient that each of its steps needs; see README.md."""

from collections.abc import Callable
from functools import partial

import torch
from measuring import PROCESSORS, Show, fastest
from torch.nn import functional

from course_lib.training import build_model
from course_lib.vae import VAE, Annealing, annealed_importance_sampling

N_IMAGES, N_CHAINS, N_LEAPFROG = 20, 50, 3
FEW_STEPS, MANY_STEPS = 2, 22
torch.set_num_threads(PROCESSORS)


def test_a_leapfrog_step_is_mostly_its_gradient(show: Show) -> None:
    model = build_model("mnist-iwae-k50").eval()
    assert isinstance(model, VAE)
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(N_IMAGES, 784, generator=generator) < 0.13).float()
    z = torch.randn(N_CHAINS, N_IMAGES, model.latent_dim, generator=generator)
    n_gradients = N_LEAPFROG * (MANY_STEPS - FEW_STEPS)

    def decoder_passes() -> None:
        for _ in range(n_gradients):
            at = z.clone().requires_grad_()
            logits = model.decoder(at)
            log_p = -functional.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="sum")
            torch.autograd.grad(log_p, at)

    def anneal(n_steps: int, start: str) -> None:
        annealed_importance_sampling(
            model, x, Annealing(n_steps=n_steps, n_chains=N_CHAINS, n_leapfrog=N_LEAPFROG, start=start)
        )

    actions: dict[str, Callable[[], object]] = {"decoder, forward and backward": decoder_passes}
    for start in ("prior", "encoder"):
        # What long and short chains have in common is the pilot run.
        actions[f"pilot, {start}"] = partial(anneal, FEW_STEPS, start)
        actions[f"chains, {start}"] = partial(anneal, MANY_STEPS, start)
    best = fastest(actions, rounds=4)
    floor = best["decoder, forward and backward"]
    ours = {start: best[f"chains, {start}"] - best[f"pilot, {start}"] for start in ("prior", "encoder")}
    rows = {"decoder, forward and backward": floor, **{f"leapfrog step, from the {s}": t for s, t in ours.items()}}
    show(
        f"A leapfrog step of annealing, 784-200-200-50, {N_CHAINS} chains of {N_IMAGES} images",
        ["", "time", "decoder = 1"],
        [[name, f"{1e3 * t / n_gradients:.2f} ms", f"{t / floor:.2f}"] for name, t in rows.items()],
    )
    assert max(ours.values()) / floor <= 1.5
