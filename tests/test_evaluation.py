"""Evaluation: the numbers of a checkpoint, on the images that were asked for and no others."""

import math
import types

import pytest
import torch
from tiny_trainings import tiny

from course_lib import datasets
from course_lib.training import build_model, processes
from course_lib.training.evaluation import evaluate, metrics
from course_lib.vae import Evidence, log_likelihood

MODEL = build_model(tiny())


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_is_evaluated_on_its_images_in_their_fixed_binarization(split):
    images = datasets.fixed_binarization(getattr(datasets.load("digits"), split)[:20])
    expected = log_likelihood(MODEL, images, 10, seed=3)
    found = evaluate(MODEL, "digits", split=split, n_samples=10, n_images=20, seed=3)
    assert found.per_image.equal(expected.per_image)
    assert found.elbo.equal(expected.elbo)


def test_all_images_are_evaluated_unless_told_otherwise():
    assert len(evaluate(MODEL, "digits", n_samples=2).per_image) == len(datasets.load("digits").test)


def test_the_first_images_come_out_alike_however_many_follow():
    few, many = (evaluate(MODEL, "digits", n_samples=10, n_images=n).per_image for n in (7, 40))
    # The same draws; matrix products of other shapes round differently, sums of 64 pixels to about 1e-5.
    torch.testing.assert_close(few, many[:7], rtol=0, atol=1e-4)


@pytest.mark.parametrize("n_processes", [2, 3, 7])
def test_processes_share_the_images_and_find_what_one_finds(n_processes, monkeypatch):
    """Each in turn plays every process; the real thing is in test_processes."""
    alone = evaluate(MODEL, "digits", n_samples=10, n_images=20)
    parts = []
    monkeypatch.setattr(processes, "gathered", lambda part: parts.append(part) or [part])
    monkeypatch.setattr(processes, "count", lambda: n_processes)
    for rank in range(n_processes):
        monkeypatch.setattr(processes, "_rank", lambda rank=rank: rank)
        evaluate(MODEL, "digits", n_samples=10, n_images=20)
    assert max(len(part.per_image) for part in parts) <= math.ceil(20 / n_processes)
    together = Evidence.joined(parts)
    torch.testing.assert_close(together.per_image, alone.per_image, rtol=0, atol=1e-4)
    torch.testing.assert_close(together.elbo, alone.elbo, rtol=0, atol=1e-4)


def test_the_metrics_say_what_they_are_of():
    evidence = evaluate(MODEL, "digits", n_samples=50, n_images=30)
    found = metrics(evidence)
    for name in ("elbo", "log_likelihood"):
        assert (found[name]["n_samples"], found[name]["n_images"]) == (50, 30)
        assert found[name]["std_error"] > 0
    assert found["elbo"]["value"] == pytest.approx(float(evidence.elbo.mean()))
    assert found["log_likelihood"]["value"] == pytest.approx(float(evidence.per_image.mean()))
    assert found["elbo"]["value"] < found["log_likelihood"]["value"] < 0
    # Nats and bits: -log2 p(x) for each of 64 pixels.
    bits = -found["log_likelihood"]["value"] / math.log(2) / 64
    assert found["log_likelihood"]["bits_per_dim"] == pytest.approx(bits)


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"split": "testing"}, "there is no split 'testing': choose train, validation or test"),
        ({"n_images": 0}, "n_images must be between 1 and 300; got 0"),
        ({"n_images": -1}, "n_images must be between 1 and 300; got -1"),
        ({"n_images": 301}, "n_images must be between 1 and 300; got 301"),
        ({"n_samples": 1}, "an error needs at least 2 samples; got n_samples = 1"),
        ({"n_samples": 0}, "the number of samples must be a whole number of at least 1; got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
        ({"data": "letters"}, "there is no data set 'letters'"),
    ],
)
def test_bad_input_is_one_sentence(settings, complaint):
    with pytest.raises(ValueError, match=complaint) as told:
        evaluate(MODEL, **{"data": "digits", **settings})
    assert "\n" not in str(told.value)


def test_a_model_of_other_images_is_one_sentence():
    model = build_model(tiny(arguments={"data_dim": 100, "hidden": [5], "latent_dim": 2}))
    with pytest.raises(ValueError, match=r"images must have shape \[batch, ...\] with 100 numbers an image; got"):
        evaluate(model, "digits", n_samples=2)


def test_fewer_images_than_processes_is_one_sentence(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 4)
    with pytest.raises(ValueError, match="n_images must be between 4 and 300; got 3"):
        evaluate(MODEL, "digits", n_samples=2, n_images=3)


def test_the_binarization_is_fixed_before_images_are_chosen(monkeypatch):
    """Else the first image would be another in a run of few."""
    data = datasets.load("digits")
    small = types.SimpleNamespace(test=data.test[:5])
    expected = evaluate(MODEL, "digits", n_samples=5, n_images=5)
    monkeypatch.setattr(datasets, "load", lambda _: small)
    assert evaluate(MODEL, "digits", n_samples=5).per_image.equal(expected.per_image)
