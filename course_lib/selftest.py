"""A learner's smoke test: does this machine compute what the course is about?

The doctor sees whether everything is there. This takes an estimate of each kind that the notebooks make, with a fixed
seed, and holds it against the exact answer; then it runs the first notebook. `pytest` proves far more, to maintainers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from course_lib.publishing import NOTEBOOKS

__all__ = ["Finding", "examine", "report"]

SEED = 0


@dataclass(frozen=True)
class Finding:
    """One estimate beside the exact answer."""

    name: str
    found: str
    ok: bool


def examine(say: Callable[[str], None]) -> list[Finding]:
    """Make every estimate, and run notebook 01 where the notebooks are: some 20 seconds.

    Args:
        say: is told each finding as it is made.
    """
    findings: list[Finding] = []
    for make in (_monte_carlo, _importance_sampling, _evidence, _checkpoint, _notebook):
        findings.append(finding := make())
        say(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name}: {finding.found}")
    return findings


def report(findings: list[Finding]) -> str:
    """A verdict on all of them, and what to do if it is bad."""
    n_wrong = sum(not finding.ok for finding in findings)
    if n_wrong:
        return (
            f"{n_wrong} of {len(findings)} are not as they should be: please report the lines above, with those of "
            "`python -m course_lib doctor`."
        )
    return "This machine computes what the course promises."


def _monte_carlo() -> Finding:
    from course_lib.projects import Project, completion_law, monte_carlo

    plan = Project.example()
    found = monte_carlo(plan, deadline=30, n=1_000_000, seed=SEED).against(float(completion_law(plan).sf(30)))
    return Finding("P(D >= 30) by plain Monte Carlo", str(found), found.agrees)


def _importance_sampling() -> Finding:
    from course_lib.projects import Project, completion_law, importance_sampling, minimum_variance

    plan = Project.example()
    estimate = importance_sampling(plan, 70, minimum_variance(plan, 70), n=100_000, seed=SEED)
    found = estimate.against(float(completion_law(plan).sf(70)))
    return Finding("P(D >= 70) by importance sampling", str(found), found.agrees)


def _evidence() -> Finding:
    import torch

    from course_lib.vae import LinearGaussianVAE, log_likelihood

    model = LinearGaussianVAE.random(8, 2, seed=SEED)
    x = model.decoder.bias.detach()[None]
    with torch.no_grad():
        model.encoder.bias.add_(0.1)  # or q would be the posterior, and every weight the same
        exact = float(model.exact_log_likelihood(x))
    estimate = log_likelihood(model, x, n_samples=10_000, seed=SEED)
    distance = (float(estimate.per_image) - exact) / float(estimate.std_error)
    found = f"{float(estimate.per_image):.4f} nats, exact {exact:.4f}: {abs(distance):.1f} standard errors apart"
    return Finding("log p(x) of a linear-Gaussian VAE", found, abs(distance) < 3)


def _checkpoint() -> Finding:
    from course_lib import datasets
    from course_lib.training import load_checkpoint
    from course_lib.vae import log_likelihood

    model, card = load_checkpoint("digits-mixture")
    elbo, error = log_likelihood(model, datasets.load("digits").test, n_samples=50, seed=SEED).mean_elbo
    stated = card["metrics"]["test"]["elbo"]["value"]
    found = f"{elbo:.2f} ± {error:.2f} nats, on its card {stated:.2f}"
    return Finding("ELBO of a trained VAE", found, abs(elbo - stated) < 3 * error)


def _notebook() -> Finding:
    import shutil
    import tempfile
    from pathlib import Path

    from course_lib.publishing.run import run

    name = "notebook 01"
    stored = list(NOTEBOOKS.glob("01_*.ipynb"))
    if not stored:
        return Finding(name, "not here (a wheel has none)", True)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(stored[0], folder)
        (outcome,) = run(folder=Path(folder), build_folder=Path(folder) / "build")
    return Finding(name, f"{outcome.estimate}, exact {outcome.exact}: {outcome.verdict}", outcome.ok)
