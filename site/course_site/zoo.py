"""The page of the zoo: every checkpoint that comes with the course, from its card."""

from __future__ import annotations

from collections.abc import Sequence

from course_lib.estimates import value_with_error
from course_lib.training.cards import Card, Metric

__all__ = ["page"]

INTRODUCTION = """\
# The zoo

The trained models that come with the course, from their cards: what each is, how long it was trained and on what, and
how good it is. All numbers are means over test images, in nats per image. Both are higher for a better model, and both
are lower bounds on average. Compare them within a table and not across: a grey image has another probability than a
binary one.

The error after ± is what the sampling of z leaves. The one in parentheses says how much the mean would change with
other test images like these. For *log p(x)*, draws come from a Gaussian fitted to each image where the card has such
an evaluation, and from the encoder where it has not; the ELBO is that of the encoder. The
[fifth notebook](notebooks/05_evidence.ipynb) says what this changes, and how to read such a table.
"""
HEAD = """\
| name | what it is | epochs | trained | ELBO | log p(x) | draws from |
| --- | --- | ---: | --- | ---: | ---: | --- |"""
DATA = {"cifar10-sample": "A sample of CIFAR-10", "digits": "The digits of scikit-learn", "mnist": "MNIST"}
LIKELIHOODS = {
    "bernoulli": "bits",
    "categorical": "a softmax of the levels",
    "logistic-mixture": "a mixture of logistics",
}


def page(cards: Sequence[Card]) -> str:
    """The page, with a table for each kind of data."""
    kinds = sorted({card.data or "unknown" for card in cards})
    parts = [INTRODUCTION]
    for kind in kinds:
        members = [card for card in cards if (card.data or "unknown") == kind and "test" in card.metrics]
        members.sort(key=lambda card: _front(card)[1].value)
        name, *rest = kind.split(", ")
        parts += [f"## {', '.join([DATA.get(name, name), *rest])}", "\n".join([HEAD, *map(_row, members)])]
    return "\n\n".join(parts) + "\n"


def _front(card: Card) -> tuple[str, Metric]:
    """The best founded log p(x), and where its z were drawn."""
    test = card.metrics["test"]
    one = test.by("adapted") or test
    return one.proposal, one.log_likelihood


def _row(card: Card) -> str:
    proposal, log_p = _front(card)
    from_encoder = card.metrics["test"].by("encoder")
    elbo = None if from_encoder is None else from_encoder.elbo
    cells = [
        f"`{card.name}`",
        _what(card),
        "" if card.epochs is None else f"{card.epochs}",
        ""
        if card.seconds is None
        else f"{_duration(card.seconds)}, {(card.device or '').replace('1 threads', '1 thread')}",
        _number(elbo),
        _number(log_p),
        "fits" if proposal == "adapted" else proposal,
    ]
    return f"| {' | '.join(cells)} |"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _number(metric: Metric | None) -> str:
    if metric is None:
        return ""
    text = value_with_error(metric.value, metric.std_error or 0.0).replace("-", "\u2212")
    over_images = metric.std_error_over_images
    return f"{text} ({over_images:.2g})" if over_images else text


def _what(card: Card) -> str:
    """The model in a few words, from the settings of its training."""
    settings = card.settings
    arguments = settings.get("arguments", {})
    words = [arguments["network"]] if "network" in arguments else []
    if "latent_dim" in arguments:
        words.append(f"{arguments['latent_dim']} latents")
    if any(flows := [arguments.get(f"{which}_flows", 0) for which in ("posterior", "prior")]):
        words.append(f"{flows[0]} flow steps in q, {flows[1]} in the prior")
    if "likelihood" in arguments:
        one = arguments.get("components") == 1
        words.append("one logistic" if one else LIKELIHOODS.get(arguments["likelihood"], arguments["likelihood"]))
    if settings.get("k", 1) > 1:
        words.append(f"bound of {settings['k']} draws")
    return f"{settings['model']}: {', '.join(words)}" if words else str(settings["model"])
