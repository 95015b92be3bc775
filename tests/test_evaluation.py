"""Evaluation: the numbers of a checkpoint, on the images that were asked for and no others."""

import json
import math
import types

import pytest
import torch
from tiny_trainings import LEVELS, tiny

from course_lib import datasets
from course_lib.training import build_model, checkpoints, evaluation, processes
from course_lib.training.evaluation import Kept, evaluate, images_for, metrics, with_new
from course_lib.vae import Evidence, log_likelihood

MODEL = build_model(tiny())
# For grey levels as they are.
GREY = build_model(tiny(model="ImageVAE", arguments=LEVELS))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_is_evaluated_on_its_images_in_their_fixed_binarization(split):
    images = datasets.fixed_binarization(getattr(datasets.load("digits"), split)[:20])
    expected = log_likelihood(MODEL, images, 10, seed=3)
    found = evaluate(MODEL, "digits", split=split, n_samples=10, n_images=20, seed=3)
    assert found.per_image.equal(expected.per_image)
    assert found.elbo.equal(expected.elbo)


def test_a_model_of_levels_sees_the_images_as_they_are():
    digits = datasets.load("digits")
    assert images_for(GREY, digits, "test").equal(digits.test)
    found = evaluate(GREY, "digits", n_samples=10, n_images=20, seed=3)
    assert found.per_image.equal(log_likelihood(GREY, digits.test[:20], 10, seed=3).per_image)
    bits = images_for(MODEL, digits, "test")
    assert bits.equal(datasets.fixed_binarization(digits.test)) and not bits.equal(digits.test)


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
    found = metrics(MODEL, evidence)
    for name in ("elbo", "log_likelihood"):
        assert (found[name]["n_samples"], found[name]["n_images"]) == (50, 30)
        assert found[name]["std_error"] > 0
    assert found["elbo"]["value"] == pytest.approx(float(evidence.elbo.mean()))
    assert found["log_likelihood"]["value"] == pytest.approx(float(evidence.per_image.mean()))
    assert found["elbo"]["value"] < found["log_likelihood"]["value"] < 0
    # Nats and bits: -log2 p(x) for each of 64 pixels.
    bits = -found["log_likelihood"]["value"] / math.log(2) / 64
    assert found["log_likelihood"]["bits_per_dim"] == pytest.approx(bits)
    assert found["binarization_seed"] == datasets.BINARIZATION_SEED
    assert "binarization_seed" not in metrics(GREY, evidence)


def test_what_is_not_known_is_null_in_a_card():
    """JSON has no nan. Of two samples there is no k-hat, and of one image no spread."""
    found = metrics(MODEL, evaluate(MODEL, "digits", n_samples=2, n_images=1))
    of_card = json.loads(json.dumps(found, allow_nan=False))["log_likelihood"]
    assert of_card["std_error_over_images"] is of_card["share_of_images_with_pareto_k_above_0.7"] is None


def of_samples(n, value=-80.0, n_images=300):
    return {"log_likelihood": {"value": value, "n_samples": n, "n_images": n_images}}


@pytest.mark.parametrize("order", [(5_000, 1_000, 50), (1_000, 50, 5_000), (50, 5_000, 1_000), (1_000, 5_000, 50)])
def test_the_most_samples_stand_in_front_whichever_came_first(order):
    found = {}
    for n in order:
        found = with_new(found, of_samples(n))
    assert found == {**of_samples(5_000), "is_50": of_samples(50), "is_1000": of_samples(1_000)}


@pytest.mark.parametrize("n", [5_000, 1_000])
def test_a_new_result_of_as_many_samples_replaces_the_old(n):
    before = with_new(of_samples(5_000), of_samples(1_000))
    found = with_new(before, of_samples(n, value=-79.0))
    assert found == {5_000: {**before, **of_samples(n, -79.0)}, 1_000: {**before, "is_1000": of_samples(n, -79.0)}}[n]
    assert before == {**of_samples(5_000), "is_1000": of_samples(1_000)}


@pytest.mark.parametrize("is_first", [True, False])
def test_a_trial_of_many_samples_and_few_images_stands_beside(is_first):
    whole, trial = of_samples(1_000), of_samples(10_000, n_images=20)
    before, found = (trial, whole) if is_first else (whole, trial)
    assert with_new(before, found) == {**whole, "is_10000": trial}


# Interrupted


def interrupting(monkeypatch, after):
    """Let Ctrl-C come while an evaluation takes its next images, after so many times."""
    taken = []

    def take(*arguments, **keywords):
        if len(taken) == after:
            raise KeyboardInterrupt
        taken.append(len(arguments[1]))
        return log_likelihood(*arguments, **keywords)

    monkeypatch.setattr(evaluation, "log_likelihood", take)
    return taken


@pytest.fixture
def ten_at_once(monkeypatch):
    monkeypatch.setattr(evaluation, "images_per_block", lambda *_: 1)


HOW = {"data": "digits", "n_samples": 10, "n_images": 35}


@pytest.mark.parametrize("model", [MODEL, GREY], ids=["bits", "levels"])
def test_an_interrupted_evaluation_goes_on_where_it_was(model, tmp_path, monkeypatch, ten_at_once):
    whole = evaluate(model, **HOW)
    path = tmp_path / "tiny.test-10.evaluation"
    taken = interrupting(monkeypatch, after=2)
    keep = Kept(path)
    with pytest.raises(KeyboardInterrupt, match=r"^20 of 35 images are done and kept in .*-0: the same again goes on"):
        evaluate(model, **HOW, keep=keep)
    seconds = keep.seconds
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.test-10.evaluation-0"]
    # At once: nothing new is done, and nothing is lost.
    with pytest.raises(KeyboardInterrupt, match=r"^20 of 35"):
        evaluate(model, **HOW, keep=Kept(path))
    taken.clear()
    keep = Kept(path)
    found = evaluate(model, **HOW, keep=keep)
    assert taken == [10, 5]
    assert keep.seconds > seconds > 0
    for name, tensor in whole.tensors().items():
        assert found.tensors()[name].equal(tensor), name
    assert len(list(tmp_path.iterdir())) == 1
    keep.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"n_samples": 11},
        {"n_images": 34},
        {"split": "validation"},
        {"precision": "bfloat16"},
        {"model": GREY},
    ],
    ids=list,
)
def test_what_is_kept_of_another_evaluation_is_not_mixed_in(other, tmp_path, monkeypatch, ten_at_once):
    interrupting(monkeypatch, after=2)
    with pytest.raises(KeyboardInterrupt):
        evaluate(MODEL, **HOW, keep=Kept(tmp_path / "kept"))
    monkeypatch.undo()
    how = {"model": MODEL, **HOW, **other}
    assert evaluate(**how, keep=Kept(tmp_path / "kept")).per_image.equal(evaluate(**how).per_image)


def test_each_process_keeps_its_own_part(tmp_path, monkeypatch, ten_at_once):
    monkeypatch.setattr(processes, "count", lambda: 2)
    for rank, told in ((0, "10 of 17 images are done and kept in .*kept-0:"), (1, "10 of 18 .* in .*kept-17:")):
        monkeypatch.setattr(processes, "_rank", lambda rank=rank: rank)
        interrupting(monkeypatch, after=1)
        with pytest.raises(KeyboardInterrupt, match=told):
            evaluate(MODEL, **HOW, keep=Kept(tmp_path / "kept"))
    assert len(list(tmp_path.iterdir())) == 2
    Kept(tmp_path / "kept").remove()
    assert not list(tmp_path.iterdir())


def test_a_killed_evaluation_loses_a_minute_at_most(tmp_path, monkeypatch, ten_at_once):
    now = [0.0]
    monkeypatch.setattr(evaluation.time, "monotonic", lambda: now[0])
    kept = []

    def take(*arguments, **keywords):
        now[0] += 25
        kept.append((tmp_path / "kept-0").exists())
        return log_likelihood(*arguments, **keywords)

    monkeypatch.setattr(evaluation, "log_likelihood", take)
    keep = Kept(tmp_path / "kept")
    evaluate(MODEL, **HOW, keep=keep)
    assert kept == [False, False, False, True]
    assert keep.seconds == 100
    tensors, progress = checkpoints.load_state(tmp_path / "kept-0")
    assert (len(tensors["per_image"]), progress["seconds"]) == (30, 75)


def test_where_nothing_can_be_written_an_evaluation_can_be_finished(tmp_path, monkeypatch, ten_at_once):
    (tmp_path / "file").touch()
    keep = Kept(tmp_path / "file" / "kept")
    monkeypatch.setattr(evaluation, "_SAVE_EVERY", -1.0)
    assert len(evaluate(MODEL, **HOW, keep=keep).per_image) == 35
    interrupting(monkeypatch, after=2)
    with pytest.raises(KeyboardInterrupt, match=r"^What was finished is lost: cannot write .*kept-0 \(") as told:
        evaluate(MODEL, **HOW, keep=keep)
    assert "\n" not in str(told.value)


def test_without_a_place_to_keep_it_an_interruption_is_just_one(monkeypatch, ten_at_once):
    interrupting(monkeypatch, after=2)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        evaluate(MODEL, **HOW)


def test_a_damaged_file_is_one_sentence(tmp_path):
    (tmp_path / "kept-0").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"kept-0 is damaged.*: remove it and start anew\.$"):
        evaluate(MODEL, **HOW, keep=Kept(tmp_path / "kept"))


# Bad input


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


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"shape": [1, 12, 12]}, r"images must have shape \[batch, 1, 12, 12\], channels first; got \[1, 1, 8, 8\]\.$"),
        ({"levels": 256}, "the model is of 256 levels and digits has 17: choose other data"),
    ],
)
def test_a_model_of_other_shapes_or_levels_is_one_sentence(changes, complaint):
    model = build_model(tiny(model="ImageVAE", arguments={**LEVELS, **changes}))
    with pytest.raises(ValueError, match=complaint):
        evaluate(model, "digits", n_samples=2)


def test_fewer_images_than_processes_is_one_sentence(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 4)
    with pytest.raises(ValueError, match="n_images must be between 4 and 300; got 3"):
        evaluate(MODEL, "digits", n_samples=2, n_images=3)


def test_the_binarization_is_fixed_before_images_are_chosen(monkeypatch):
    """Else the first image would be another in a run of few."""
    data = datasets.load("digits")
    small = types.SimpleNamespace(test=data.test[:5], levels=data.levels)
    expected = evaluate(MODEL, "digits", n_samples=5, n_images=5)
    monkeypatch.setattr(datasets, "load", lambda _: small)
    assert evaluate(MODEL, "digits", n_samples=5).per_image.equal(expected.per_image)
