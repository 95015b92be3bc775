"""Cards: what a checkpoint is, how it came to be, and how good it is.

In the library a card is a `Card`; in its file, beside the weights, it is JSON. ``card["metrics"]["test"]`` reads it as
the file has it, ``card.metrics["test"]`` as the library does.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from course_lib.checks import real_number, whole_number
from course_lib.weights import pareto_k_limit

__all__ = ["CARD_VERSION", "Card", "Evaluation", "LogLikelihood", "Metric", "SplitMetrics", "card_from_json"]

CARD_VERSION = 3

_Part = TypeVar("_Part")
_Evaluation = TypeVar("_Evaluation", bound="Evaluation")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A mean over images, in nats per image. What is not known is None.

    Attributes:
        value: the mean.
        n_samples: draws of z for each image.
        n_images: how many images.
        std_error: the error that the sampling of z leaves.
        std_error_over_images: the error of the mean as an estimate for images like these.
    """

    value: float
    n_samples: int
    n_images: int | None = None
    std_error: float | None = None
    std_error_over_images: float | None = None

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):
            _check(self, one.name, whole_number if one.name.startswith("n_") else _number)


@dataclass(frozen=True, kw_only=True)
class LogLikelihood(Metric):
    """The mean of log p(x) over images.

    Attributes:
        bits_per_dim: -log2 p(x) for each number in an image.
        share_of_high_pareto_k: of the images, those whose k-hat is above `course_lib.estimates.pareto_k_limit`.
    """

    bits_per_dim: float | None = None
    share_of_high_pareto_k: float | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was found of some images of one split. What is not known is None.

    Attributes:
        log_likelihood: the estimate of log p(x).
        proposal: where z was drawn: see `course_lib.training.evaluation.PROPOSALS`.
        decoder_passes: passes through the decoder for each image, on average, those that fitted the proposal included.
        failed_fits: images whose fit failed, so that they were left with the encoder.
        elbo: the ELBO from the same draws.
        binarization_seed: of the images; None where they are not binarized.
        precision: of the decoder's matrix products.
        seconds: how long it took, on the clock of one process.
    """

    log_likelihood: LogLikelihood
    proposal: str = "encoder"
    decoder_passes: float | None = None
    failed_fits: int | None = None
    elbo: Metric | None = None
    binarization_seed: int | None = None
    precision: str | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        _check(self, "binarization_seed", _from_zero)
        for name in ("precision", "proposal"):
            _check(self, name, _text)
        _check(self, "decoder_passes", _number)
        _check(self, "failed_fits", _from_zero)
        _check(self, "seconds", _number)

    @property
    def size(self) -> tuple[int, int]:
        """Images, and draws of z for each."""
        return self.log_likelihood.n_images or 0, self.log_likelihood.n_samples

    def replaces(self, other: Evaluation) -> bool:
        """Whether it is of as many images, with as many draws from the same proposal."""
        return (self.size, self.proposal) == (other.size, other.proposal)


@dataclass(frozen=True, kw_only=True)
class SplitMetrics(Evaluation):
    """What was found of a split: in front the evaluation of the most images, and of those of the most samples.

    Attributes:
        others: the other evaluations, the larger ones first.
    """

    others: tuple[Evaluation, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "others", tuple(sorted(self.others, key=lambda one: one.size, reverse=True)))

    @classmethod
    def of(cls, evaluations: Iterable[Evaluation]) -> SplitMetrics:
        """Evaluations of one split, of which there is one at least."""
        front, *others = sorted(evaluations, key=lambda one: one.size, reverse=True)
        return cls(**_fields_of(front), others=tuple(others))

    def by(self, proposal: str) -> Evaluation | None:
        """The largest evaluation with draws from that proposal, if there is one."""
        return next((one for one in self.all if one.proposal == proposal), None)

    @property
    def all(self) -> list[Evaluation]:
        """The one in front and the others."""
        return [Evaluation(**_fields_of(self)), *self.others]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a checkpoint is, how it came to be, and how good it is. What is not known is None.

    Attributes:
        name: the checkpoint's.
        settings: of the training, by the names that `Preset` has for them.
        metrics: what was found of each split, by its name.
        preset: the preset that was trained.
        data: what it was trained on, in words.
        device: where, in words.
        steps: how they were taken, in words: see `course_lib.training.stepper`.
        processes: how many processes trained as one.
        seconds: how long training took until these weights.
        epochs: how many it had taken by then, whole ones.
        commit: the version of the course.
        seed: of the initial weights and of every draw of the training.
        versions: of Python and of what computed.
        weights_sha256: hash of the file of the weights.
    """

    name: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, SplitMetrics]
    preset: str | None = None
    data: str | None = None
    device: str | None = None
    steps: str | None = None
    processes: int | None = None
    seconds: float | None = None
    epochs: int | None = None
    commit: str | None = None
    seed: int | None = None
    versions: Mapping[str, str] | None = None
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        for name in ("name", "preset", "data", "device", "steps", "commit", "weights_sha256"):
            _check(self, name, _text)
        for name in ("settings", "metrics", "versions"):
            _check(self, name, _object)
        _check(self, "processes", whole_number)
        for name in ("epochs", "seed"):
            _check(self, name, _from_zero)
        _check(self, "seconds", _number)

    def __getitem__(self, key: str) -> Any:
        """What the card's file says under ``key``.

        Raises:
            KeyError: it says nothing.
        """
        return json.loads(self.as_json())[key]

    def as_json(self) -> bytes:
        """The card's file. Cards that are equal have the same."""
        content = {"card_version": CARD_VERSION, **dataclasses.asdict(self)}
        return (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()

    def with_evaluation(self, split: str, found: Evaluation) -> Card:
        """This card with a new evaluation of a split, in the place of one that it replaces."""
        before = self.metrics.get(split)
        kept = [one for one in before.all if not found.replaces(one)] if before else []
        return dataclasses.replace(self, metrics={**self.metrics, split: SplitMetrics.of([found, *kept])})


def card_from_json(content: bytes, source: str) -> Card:
    """The card that a file holds, of this version or one before.

    Args:
        content: of the file.
        source: what to call it in a complaint.

    Raises:
        ValueError: it is damaged, does not say what every card does, says what none does, or is of a later version.
    """
    try:
        card = _object("card", json.loads(content))
        version = whole_number("card_version", card.pop("card_version", None))
        if version <= CARD_VERSION:
            card = _from_version_1(card) if version == 1 else card
            return _card(_from_version_2(card) if version <= 2 else card)
    except ValueError as error:
        problem = str(error).rstrip(".")
        raise ValueError(f"{source} is no card of a checkpoint of this course ({problem}): get it anew.") from None
    raise ValueError(
        f"{source} has card version {version} and this course reads versions up to {CARD_VERSION}: update the course."
    )


def _card(content: dict[str, Any]) -> Card:
    if content.get("metrics") is not None:
        of_splits = _object("card.metrics", content["metrics"]).items()
        metrics = {split: _evaluation(SplitMetrics, found, f"card.metrics.{split}") for split, found in of_splits}
        content = {**content, "metrics": metrics}
    if content.get("weights_sha256") is None:
        raise ValueError("card does not say weights_sha256")
    return _read(Card, content, "card")


def _evaluation(kind: type[_Evaluation], content: Any, where: str) -> _Evaluation:
    content = _object(where, content)
    for name, metric in (("elbo", Metric), ("log_likelihood", LogLikelihood)):
        if content.get(name) is not None:
            content[name] = _read(metric, content[name], f"{where}.{name}")
    if "others" in content:
        if not isinstance(content["others"], list):
            raise ValueError(f"{where}.others must be a list; got {content['others']!r}")
        others = enumerate(content["others"])
        content["others"] = tuple(_evaluation(Evaluation, one, f"{where}.others[{i}]") for i, one in others)
    return _read(kind, content, where)


def _read(kind: type[_Part], content: Any, where: str) -> _Part:
    """One of the classes above, from what JSON has of it."""
    content, fields = _object(where, content), dataclasses.fields(kind)  # type: ignore[arg-type]
    if missing := [one.name for one in fields if one.default is dataclasses.MISSING and content.get(one.name) is None]:
        raise ValueError(f"{where} does not say {', '.join(missing)}")
    if unknown := content.keys() - {one.name for one in fields}:
        raise ValueError(f"{where} says {', '.join(sorted(unknown))}, which no card does")
    try:
        return kind(**content)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None


def _from_version_1(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card of version 1 as version 2 has it: other evaluations were in front's ``is_N``, named by their samples."""
    settings, metrics = card.get("settings"), card.get("metrics")
    if isinstance(settings, dict) and settings.get("model") == "DeepVAE":
        settings = {**settings, "model": "ImageVAE"}
    if isinstance(metrics, dict):
        metrics = {split: _split_of_version_1(found) for split, found in metrics.items()}
    return {**card, "settings": settings, "metrics": metrics}


def _split_of_version_1(found: Any) -> Any:
    if not isinstance(found, dict):
        return found
    front = {name: one for name, one in found.items() if not name.startswith("is_")}
    others = [one for name, one in found.items() if name.startswith("is_")]
    return {**_evaluation_of_version_1(front), "others": [_evaluation_of_version_1(one) for one in others]}


def _evaluation_of_version_1(found: Any) -> Any:
    if not isinstance(found, dict) or not isinstance(found.get("log_likelihood"), dict):
        return found
    names = {"share_of_images_with_pareto_k_above_0.7": "share_of_high_pareto_k"}
    renamed = {names.get(name, name): value for name, value in found["log_likelihood"].items()}
    return {**found, "log_likelihood": renamed}


def _from_version_2(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card of version 2 as version 3 has it: k-hats of few draws were held against the limit of many."""
    if not isinstance(card.get("metrics"), dict):
        return {**card}
    metrics = {}
    for split, found in card["metrics"].items():
        if isinstance(found, dict):
            others = found.get("others")
            found = _evaluation_of_version_2(found)
            if isinstance(others, list):
                found["others"] = [_evaluation_of_version_2(one) for one in others]
        metrics[split] = found
    return {**card, "metrics": metrics}


def _evaluation_of_version_2(found: Any) -> Any:
    log_likelihood = found.get("log_likelihood") if isinstance(found, dict) else None
    if not isinstance(log_likelihood, dict) or not isinstance(draws := log_likelihood.get("n_samples"), int):
        return found
    if draws > 0 and pareto_k_limit(draws) == pareto_k_limit(10**6):
        return {**found}
    return {**found, "log_likelihood": {**log_likelihood, "share_of_high_pareto_k": None}}


def _fields_of(one: Evaluation) -> dict[str, Any]:
    return {each.name: getattr(one, each.name) for each in dataclasses.fields(Evaluation)}


def _check(part: Any, name: str, kind: Callable[[str, Any], Any]) -> None:
    """Check a field that is known or has to be."""
    value = getattr(part, name)
    if value is not None or type(part).__dataclass_fields__[name].default is dataclasses.MISSING:
        object.__setattr__(part, name, kind(name, value))


def _number(name: str, value: Any) -> float:
    # JSON has neither nan nor infinities.
    if math.isinf(real_number(name, value)):
        raise ValueError(f"{name} must be finite; got {value}.")
    return float(value)


def _from_zero(name: str, value: Any) -> int:
    return whole_number(name, value, least=0)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text; got {value!r}.")
    return value


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a JSON object; got {value!r}.")
    return dict(value)
