"""Evaluation: the numbers of a checkpoint, on the images that were asked for and no others."""

import math
import types

import pytest
import torch
from tiny_trainings import LEVELS, tiny

from course_lib import datasets
from course_lib.training import build_model, evaluation, processes, states
from course_lib.training.cards import Card
from course_lib.training.checkpoints import load_checkpoint, read_card, save_checkpoint
from course_lib.training.evaluation import Kept, evaluate, evaluate_checkpoint, images_for
from course_lib.vae import Evidence, log_likelihood

BITS_PRESET, GREY_PRESET = tiny(), tiny(model="ImageVAE", arguments=LEVELS)
MODEL = build_model(BITS_PRESET)
# For grey levels as they are.
GREY = build_model(GREY_PRESET)


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


def found_by(model, tmp_path, **settings):
    """What a card would say of an evaluation, and the evidence it is from."""
    preset = BITS_PRESET if model is MODEL else GREY_PRESET
    save_checkpoint(tmp_path / "it.safetensors", model, Card(name="it", settings=preset.settings(), metrics={}))
    _, found, evidence = evaluate_checkpoint(tmp_path / "it.safetensors", device="cpu", **settings)
    return found, evidence


def test_an_evaluation_says_what_it_is_of(tmp_path):
    found, evidence = found_by(MODEL, tmp_path, n_samples=50, n_images=30)
    for metric in (found.elbo, found.log_likelihood):
        assert (metric.n_samples, metric.n_images) == found.size[::-1] == (50, 30)
        assert metric.std_error > 0
    assert found.elbo.value == pytest.approx(float(evidence.elbo.mean()))
    log_likelihood_ = found.log_likelihood
    assert log_likelihood_.value == pytest.approx(float(evidence.per_image.mean()))
    assert found.elbo.value < log_likelihood_.value < 0
    # Nats and bits: -log2 p(x) for each of 64 pixels.
    assert log_likelihood_.bits_per_dim == pytest.approx(-log_likelihood_.value / math.log(2) / 64)
    assert log_likelihood_.std_error_over_images == pytest.approx(float(evidence.per_image.std() / math.sqrt(30)))
    assert log_likelihood_.share_of_high_pareto_k == pytest.approx(
        float((evidence.pareto_k > evidence.pareto_k_limit).double().mean())
    )
    assert found.precision == "float32"
    assert found.seconds >= 0
    assert found.binarization_seed == datasets.BINARIZATION_SEED
    assert found_by(GREY, tmp_path, n_samples=50, n_images=30)[0].binarization_seed is None


def test_an_evaluation_from_fits_says_what_they_cost(tmp_path):
    found, evidence = found_by(MODEL, tmp_path, proposal="adapted", n_images=20)
    assert found.proposal == "adapted"
    assert found.size == (20, 2_000)  # unless told otherwise
    assert found.decoder_passes == evidence.decoder_passes == 3 * 10 * 64 + 64 + 2_000
    assert found.failed_fits == int(evidence.fit_failed.sum())
    from_encoder, other = found_by(MODEL, tmp_path, n_samples=2_000, n_images=20)
    assert (from_encoder.proposal, from_encoder.decoder_passes, from_encoder.failed_fits) == ("encoder", 2_000, 0)
    assert found.elbo.value > from_encoder.elbo.value
    # Both are low on average, and the encoder, which was never trained, more so.
    assert evidence.mean.std_error < 0.01 < other.mean.std_error
    assert found.log_likelihood.value > from_encoder.log_likelihood.value


def test_evaluations_from_two_proposals_are_both_saved(tmp_path):
    path = tmp_path / "it.safetensors"
    save_checkpoint(path, MODEL, Card(name="it", settings=tiny().settings(), metrics={}))
    for proposal in ("encoder", "adapted", "adapted"):
        evaluate_checkpoint(path, proposal=proposal, n_samples=20, n_images=5, device="cpu", save=True)
    assert [one.proposal for one in read_card(path).metrics["test"].all] == ["adapted", "encoder"]


def test_what_is_not_known_is_none(tmp_path):
    """JSON has no nan. Of two samples there is no k-hat, and of one image no spread."""
    found, _ = found_by(MODEL, tmp_path, n_samples=2, n_images=1)
    assert found.log_likelihood.std_error_over_images is found.log_likelihood.share_of_high_pareto_k is None


def test_an_evaluation_is_saved_when_asked_and_else_not(tmp_path):
    path = tmp_path / "it.safetensors"
    save_checkpoint(path, MODEL, Card(name="it", settings=tiny().settings(), metrics={}))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    how = {"n_samples": 10, "n_images": 30, "device": "cpu"}
    card, found, evidence = evaluate_checkpoint(path, **how)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert card.metrics == {}
    card, again, same = evaluate_checkpoint(path, **how, save=True)
    assert same.per_image.equal(evidence.per_image)
    assert (again.elbo, again.log_likelihood) == (found.elbo, found.log_likelihood)
    assert load_checkpoint(path)[1] == card
    assert card.metrics["test"].all == [again]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(before)


def test_of_two_evaluations_at_once_both_are_saved(tmp_path, monkeypatch):
    path, how = tmp_path / "it.safetensors", {"n_samples": 5, "n_images": 9, "device": "cpu", "save": True}
    save_checkpoint(path, MODEL, Card(name="it", settings=tiny().settings(), metrics={}))

    def meanwhile(*arguments, **keywords):
        monkeypatch.undo()
        evaluate_checkpoint(path, split="validation", **how)
        return evaluate(*arguments, **keywords)

    monkeypatch.setattr(evaluation, "evaluate", meanwhile)
    evaluate_checkpoint(path, split="test", **how)
    assert load_checkpoint(path)[1].metrics.keys() == {"validation", "test"}


def test_an_evaluation_is_not_saved_with_weights_that_were_replaced_meanwhile(tmp_path, monkeypatch):
    path, card = tmp_path / "it.safetensors", Card(name="it", settings=tiny().settings(), metrics={})
    save_checkpoint(path, MODEL, card)

    def meanwhile(*arguments, **keywords):
        save_checkpoint(path, build_model(tiny(seed=1)), card)
        return evaluate(*arguments, **keywords)

    monkeypatch.setattr(evaluation, "evaluate", meanwhile)
    with pytest.raises(ValueError, match=r"it\.safetensors was replaced in the meantime"):
        evaluate_checkpoint(path, n_samples=5, n_images=9, device="cpu", save=True)
    assert load_checkpoint(path)[1].metrics == {}


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
        {"proposal": "adapted"},
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


def test_an_interrupted_evaluation_from_fits_goes_on_where_it_was(tmp_path, monkeypatch):
    how = {**HOW, "proposal": "adapted"}
    whole = evaluate(MODEL, **how)
    monkeypatch.setattr(evaluation, "images_at_once", lambda *_: 16)
    interrupting(monkeypatch, after=1)
    with pytest.raises(KeyboardInterrupt, match=r"^16 of 35 images are done and kept"):
        evaluate(MODEL, **how, keep=Kept(tmp_path / "kept"))
    monkeypatch.undo()
    found = evaluate(MODEL, **how, keep=Kept(tmp_path / "kept"))
    for name, tensor in whole.tensors().items():
        assert found.tensors()[name].equal(tensor), name


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
    tensors, progress = states.load_state(tmp_path / "kept-0")
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
        ({"proposal": "prior"}, "proposal must be one of encoder, adapted; got 'prior'"),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
        ({"data": "letters"}, "the data set must be one of digits, .*; got 'letters'"),
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
        ({"levels": 256}, "the model is of 256 levels and digits has 17 levels: choose other data"),
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
