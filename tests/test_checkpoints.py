"""Checkpoints: what is written comes back, whole or not at all, and what is not one is refused in a sentence."""

import dataclasses
import errno
import hashlib
import json
import os
import pickle
import stat

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from tiny_trainings import tiny

from course_lib.__main__ import main
from course_lib.training import PRESETS, Card, build_model, checkpoints, load_checkpoint
from course_lib.training.cards import LogLikelihood, SplitMetrics
from course_lib.training.checkpoints import CheckpointFiles, read_card, save_card, save_checkpoint
from course_lib.training.states import load_state, save_state

METRICS = {"test": SplitMetrics(log_likelihood=LogLikelihood(value=-80.0, n_samples=5))}


@pytest.fixture
def weights(tmp_path):
    """A checkpoint as a training writes it."""
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, build_model(tiny()), Card(name="tiny", settings=tiny().settings(), metrics={}))
    return path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def change_card(weights, **changes):
    card = json.loads(weights.with_suffix(".json").read_text())
    weights.with_suffix(".json").write_text(json.dumps({**card, **changes}))


def replace_weights(weights, content):
    """Other bytes, which the card vouches for."""
    weights.write_bytes(content)
    change_card(weights, weights_sha256=hashlib.sha256(content).hexdigest())


# There and back


def test_a_model_comes_back_with_its_weights_and_its_card(weights):
    model, card = load_checkpoint(weights)
    saved = build_model(tiny()).state_dict()
    assert model.state_dict().keys() == saved.keys()
    assert all(model.state_dict()[name].equal(saved[name]) for name in saved)
    assert not model.training
    assert card.name == "tiny"
    assert card.versions.keys() == {"python", "torch", "numpy"}


def test_a_checkpoint_needs_no_preset_of_today(weights, monkeypatch):
    monkeypatch.setattr("course_lib.training.presets.PRESETS", {})
    load_checkpoint(str(weights))


def test_a_checkpoint_holds_nothing_but_tensors_and_text(weights):
    assert load_file(weights).keys() == build_model(tiny()).state_dict().keys()
    json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))


@pytest.mark.skipif(os.name == "nt", reason="permissions of Unix")
def test_others_may_read_a_checkpoint_as_they_may_any_file(weights, tmp_path):
    (tmp_path / "any").touch()
    for path in (weights, weights.with_suffix(".json")):
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "any").stat().st_mode)


def test_a_new_card_keeps_the_weights(weights):
    _, card = load_checkpoint(weights)
    save_card(weights, dataclasses.replace(card, metrics=METRICS))
    assert load_checkpoint(weights)[1] == read_card(weights) == dataclasses.replace(card, metrics=METRICS)


def test_a_card_is_not_given_to_weights_that_were_replaced_meanwhile(weights):
    _, card = load_checkpoint(weights)
    save_checkpoint(weights, build_model(tiny(seed=1)), card)
    with pytest.raises(ValueError, match=r"tiny\.safetensors was replaced in the meantime"):
        save_card(weights, dataclasses.replace(card, metrics=METRICS))
    assert load_checkpoint(weights)[1].metrics == {}


@pytest.mark.parametrize(
    "given, expected",
    [
        ("mnist-vae", checkpoints.PUBLISHED / "mnist-vae.safetensors"),
        ("out/mnist-vae", "out/mnist-vae.safetensors"),
        ("./mnist-vae", "mnist-vae.safetensors"),
        ("mnist-vae.safetensors", "mnist-vae.safetensors"),
        ("out/mnist-vae.safetensors", "out/mnist-vae.safetensors"),
    ],
)
def test_a_bare_name_is_one_of_the_courses_own_checkpoints(given, expected):
    assert str(CheckpointFiles.of(given).weights) == str(expected)


def test_all_files_of_a_checkpoint_have_its_name(tmp_path):
    files = CheckpointFiles.of(tmp_path / "v1.5 of mine.safetensors")
    assert files == CheckpointFiles.of(str(tmp_path / "v1.5 of mine")) == CheckpointFiles(tmp_path, "v1.5 of mine")
    suffixes = {
        files.weights: ".safetensors",
        files.card: ".json",
        files.state: ".state",
        files.log: ".jsonl",
        files.tensorboard: ".tensorboard",
        files.pictures: ".pictures",
        files.evaluation("test", "adapted", 50): ".test-adapted-50.evaluation",
    }
    for path, suffix in suffixes.items():
        assert path == tmp_path / f"v1.5 of mine{suffix}"


def test_a_state_comes_back(tmp_path):
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(3, dtype=torch.int64)}
    progress = {"best": -float("inf"), "records": [{"bound": -0.1}], "settings": {}}
    save_state(tmp_path / "a.state", tensors, progress)
    loaded, told = load_state(tmp_path / "a.state")
    assert told == progress
    assert loaded.keys() == tensors.keys()
    assert all(loaded[name].equal(tensors[name]) for name in tensors)


# All or nothing


def no_space(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("what", ["fsync", "replace"])
@pytest.mark.parametrize("good", [0, 1])
def test_without_space_neither_weights_nor_card_change(what, good, weights, tmp_path, monkeypatch):
    """For want of space a write fails, never a renaming; that one may fail too is told apart below."""
    if what == "replace" and good == 1:
        pytest.skip("one of two renamings done: the card then tells that they do not belong together")
    before, calls, original = contents(tmp_path), [], getattr(os, what)

    def fails(*arguments):
        calls.append(arguments)
        return no_space() if len(calls) > good else original(*arguments)

    monkeypatch.setattr(os, what, fails)
    with pytest.raises(OSError, match=r"^cannot write .*tiny\.(safetensors|json) \(No space left on device\)") as told:
        save_checkpoint(weights, build_model(tiny(seed=1)), load_checkpoint(weights)[1])
    assert "\n" not in str(told.value)
    assert contents(tmp_path) == before


# What is no checkpoint


def without_card(weights):
    weights.with_suffix(".json").unlink()


def without_weights(weights):
    weights.unlink()


def truncated(weights):
    weights.write_bytes(weights.read_bytes()[:-100])


def one_bit_off(weights):
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


def another_architecture(weights):
    other = build_model(tiny(arguments={"data_dim": 64, "hidden": [21], "latent_dim": 3}))
    replace_weights(weights, save(other.state_dict()))


def foreign_tensors(weights):
    replace_weights(weights, save({"conv.weight": torch.zeros(3)}))


def pickled(weights):
    replace_weights(weights, pickle.dumps({"encoder": [0.0]}))


def truncated_with_matching_hash(weights):
    replace_weights(weights, weights.read_bytes()[:-100])


def empty(weights):
    replace_weights(weights, b"")


def card_of_the_future(weights):
    weights.with_suffix(".json").write_text('{"card_version": 4, "anything": "else"}')


def card_not_json(weights):
    weights.with_suffix(".json").write_text("name: tiny")


def card_not_text(weights):
    weights.with_suffix(".json").write_bytes(b"\xff\xfe\x00")


def card_a_list(weights):
    weights.with_suffix(".json").write_text("[1, 2]")


def card_of_something_else(weights):
    weights.with_suffix(".json").write_text('{"name": "tiny"}')


def card_incomplete(weights):
    card = json.loads(weights.with_suffix(".json").read_text())
    del card["metrics"], card["name"]
    weights.with_suffix(".json").write_text(json.dumps(card))


def newer_setting(weights):
    change_card(weights, settings={**tiny().settings(), "dropout": 0.2})


def newer_model(weights):
    change_card(weights, settings={**tiny().settings(), "model": "ResNet"})


def newer_argument(weights):
    change_card(weights, settings={**tiny().settings(), "arguments": {"data_dim": 64, "flow": "iaf"}})


def senseless_sizes(weights):
    change_card(weights, settings={**tiny().settings(), "arguments": {"data_dim": 64, "hidden": [-1]}})


def settings_a_list(weights):
    change_card(weights, settings=[1])


ANEW = r": get (it|both) anew\.$|; get both anew\.$"
UPDATE = r": update the course\."


@pytest.mark.parametrize(
    "spoil, error, named, mend",
    [
        (without_card, FileNotFoundError, "tiny.json", r"a checkpoint is NAME\.safetensors and its card NAME\.json"),
        (without_weights, FileNotFoundError, "tiny.safetensors", r"a checkpoint is NAME\.safetensors and its card"),
        (truncated, ValueError, "tiny.safetensors", ANEW),
        (one_bit_off, ValueError, "tiny.safetensors", ANEW),
        (another_architecture, ValueError, "tiny.safetensors", ANEW),
        (foreign_tensors, ValueError, "tiny.safetensors", ANEW),
        (pickled, ValueError, "tiny.safetensors", ANEW),
        (truncated_with_matching_hash, ValueError, "tiny.safetensors", ANEW),
        (empty, ValueError, "tiny.safetensors", ANEW),
        (card_of_the_future, ValueError, "tiny.json", r"version 4 and this course reads versions up to 3" + UPDATE),
        (card_not_json, ValueError, "tiny.json", ANEW),
        (card_not_text, ValueError, "tiny.json", ANEW),
        (card_a_list, ValueError, "tiny.json", ANEW),
        (card_of_something_else, ValueError, "tiny.json", ANEW),
        (card_incomplete, ValueError, "tiny.json", r"card does not say name, metrics\)" + ANEW),
        (newer_setting, ValueError, "tiny.json", "'dropout'.*" + UPDATE),
        (newer_model, ValueError, "tiny.json", "'ResNet'.*" + UPDATE),
        (newer_argument, ValueError, "tiny.json", "'flow'.*" + UPDATE),
        (senseless_sizes, ValueError, "tiny.json", UPDATE),
        (settings_a_list, ValueError, "tiny.json", r"card\.settings must be a JSON object; got \[1\]\)" + ANEW),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_no_checkpoint_is_one_sentence(spoil, error, named, mend, weights, tmp_path, capsys):
    spoil(weights)
    with pytest.raises(error, match=mend) as told:
        load_checkpoint(weights)
    assert str(tmp_path / named) in str(told.value)
    assert "\n" not in str(told.value)

    assert main(["evaluate", str(weights), "--device", "cpu"]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"course_lib: {told.value}\n")


def test_a_name_that_is_not_there_is_one_sentence(capsys):
    assert "no-such-name" not in PRESETS
    assert main(["evaluate", "no-such-name", "--device", "cpu"]) == 1
    assert "no-such-name.safetensors: a checkpoint is NAME.safetensors" in capsys.readouterr().err


def test_a_folder_is_no_checkpoint(weights, tmp_path):
    with pytest.raises(ValueError, match=r"is a folder: choose a checkpoint in it, .*NAME\.safetensors\.$") as told:
        load_checkpoint(tmp_path)
    assert str(told.value).startswith(str(tmp_path))


@pytest.mark.parametrize("given", ["", " ", None, 5, b"mnist-vae"])
def test_what_is_no_name_is_one_sentence(given):
    with pytest.raises(ValueError, match=r"^a checkpoint is NAME\.safetensors, or the name of one .*; got ") as told:
        load_checkpoint(given)
    assert str(told.value).endswith(f"got {given!r}.")


@pytest.mark.parametrize("given", [".", "..", "./"])
def test_a_folder_of_dots_is_no_checkpoint(given):
    with pytest.raises(ValueError, match="is a folder: choose a checkpoint in it"):
        load_checkpoint(given)


def test_a_name_may_have_spaces(weights, tmp_path):
    for suffix in (".safetensors", ".json"):
        weights.with_suffix(suffix).rename(tmp_path / f"my own{suffix}")
    assert load_checkpoint(tmp_path / "my own")[1].name == "tiny"
    with pytest.raises(FileNotFoundError, match=r"^there is no .*my other\.safetensors: a checkpoint is NAME"):
        load_checkpoint(tmp_path / "my other")


def test_other_tensors_are_no_state(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "a.state")
    with pytest.raises(
        ValueError, match=r"a\.state is damaged, or no state of a training: remove it and start anew\.$"
    ):
        load_state(tmp_path / "a.state")
    with pytest.raises(FileNotFoundError, match=r"there is no .*b\.state"):
        load_state(tmp_path / "b.state")
