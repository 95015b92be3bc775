"""Presets: each one builds, fits its data, and can be told from its settings alone."""

import dataclasses
import json
import math

import pytest
import torch

from course_lib import datasets
from course_lib.training import PRESETS, Preset, build_model
from course_lib.training.presets import preset_named, summary

PIXELS = {"digits": 64, "mnist": 784}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_builds_a_model_of_its_images(preset):
    images = torch.full((2, 1, math.isqrt(PIXELS[preset.data]), math.isqrt(PIXELS[preset.data])), 0.5)
    log_w = build_model(preset.name).log_weights(images, 3)
    assert log_w.shape == (3, 2)
    assert log_w.isfinite().all()


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_has_enough_data_for_its_batches(preset):
    assert preset.name in PRESETS
    assert preset.batch_size <= datasets.SPLITS[preset.data][0]
    assert preset.validate_every <= preset.epochs


def test_presets_that_differ_in_k_alone_take_as_many_steps():
    """Else the published ordering of the bounds could turn round."""
    for family in ("digits", "mnist"):
        of_family = [preset for preset in PRESETS.values() if preset.data == family]
        assert len({(preset.epochs, preset.batch_size) for preset in of_family}) == 1


def test_a_seed_gives_the_same_initial_weights_and_another_seed_others():
    preset = PRESETS["digits-vae"]
    first, again = (build_model(preset).state_dict() for _ in range(2))
    other = build_model(dataclasses.replace(preset, seed=1)).state_dict()
    assert all(first[name].equal(again[name]) for name in first)
    assert not first["encoder.0.weight"].equal(other["encoder.0.weight"])


def test_building_a_model_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    build_model("digits-vae")
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_settings_survive_json_and_give_the_preset_back(preset):
    settings = json.loads(json.dumps(preset.settings()))
    assert settings == preset.settings()
    assert Preset(**settings).settings() == settings


def test_settings_do_not_tell_tuples_from_lists():
    with_tuple, with_list = (Preset("a", "digits", arguments={"hidden": kind([20])}) for kind in (tuple, list))
    assert with_tuple.settings() == with_list.settings()


def test_a_summary_says_what_differs_from_the_defaults_and_nothing_else():
    preset = Preset("name", "digits", k=5, optimizer="adamax", ema=0.9)
    assert summary(preset) == "data digits, k 5, optimizer adamax, ema 0.9"


def test_the_summary_of_the_defaults_has_every_setting_that_has_one():
    said = {setting.split()[0] for setting in summary().split(", ")}
    assert said == {field.name for field in dataclasses.fields(Preset)} - {"name", "data", "arguments"}


def test_an_unknown_preset_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match=r"^there is no preset 'mnist'; choose one of digits-vae, .*k50\.$"):
        preset_named("mnist")
    with pytest.raises(ValueError, match="there is no preset 'vae'"):
        build_model("vae")


@pytest.mark.parametrize(
    "field, value, complaint",
    [
        ("model", "GAN", "model must be one of VAE, TwoLayerVAE; got 'GAN'"),
        ("gradient", "exact", "gradient must be one of pathwise, .*; got 'exact'"),
        ("optimizer", "sgd", "optimizer must be one of adam, adamax; got 'sgd'"),
        ("schedule", "step", "schedule must be one of constant, cosine; got 'step'"),
        ("precision", "float16", "precision must be one of float32, bfloat16; got 'float16'"),
        ("k", 0, "k must be a whole number of at least 1; got 0"),
        ("k", 2.0, "k must be a whole number of at least 1; got 2.0"),
        ("k", True, "k must be a whole number of at least 1; got True"),
        ("batch_size", 0, "batch_size must be a whole number of at least 1"),
        ("epochs", -1, "epochs must be a whole number of at least 1"),
        ("epochs", "ten", "epochs must be a whole number of at least 1; got 'ten'"),
        ("validate_every", 0, "validate_every must be a whole number of at least 1"),
        ("validation_samples", 1, "validation_samples must be a whole number of at least 2"),
        ("kl_warm_up", -1, "kl_warm_up must be a whole number of at least 0"),
        ("patience", -1, "patience must be a whole number of at least 0"),
        ("seed", -1, "seed must be a whole number of at least 0"),
        ("learning_rate", 0.0, "learning_rate must be above 0 and finite; got 0.0"),
        ("learning_rate", math.nan, "learning_rate must be above 0 and finite; got nan"),
        ("learning_rate", math.inf, "learning_rate must be above 0 and finite; got inf"),
        ("ema", 1.0, "ema must be at least 0 and below 1; got 1.0"),
        ("ema", -0.1, "ema must be at least 0 and below 1; got -0.1"),
    ],
)
def test_a_bad_setting_is_one_sentence(field, value, complaint):
    with pytest.raises(ValueError, match=complaint) as told:
        Preset("a", "digits", **{field: value})
    assert "\n" not in str(told.value)
