"""Presets: each one builds, fits its data, and can be told from its settings alone."""

import dataclasses
import json
import math
from collections import defaultdict

import pytest
import torch
from tiny_trainings import OneDevice

from course_lib import datasets
from course_lib.training import PRESETS, Preset, build_model
from course_lib.training.presets import flops_per_image, preset_named, summary
from course_lib.vae.bounds import GRADIENTS

# Those of no data set are for images of one's own: until these are given, of some shape.
SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32), "cifar10-sample": (3, 32, 32)}
SHAPES[""] = (1, 28, 28)
LEVELS = {"digits": 17, "mnist": 256, "cifar10": 256, "cifar10-sample": 256, "": 256}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_builds_a_model_of_its_images(preset):
    model = build_model(preset.name)
    log_w = model.log_weights(torch.ones(2, *SHAPES[preset.data]), 3)
    assert log_w.shape == (3, 2)
    assert log_w.isfinite().all()
    assert model.levels in (2, LEVELS[preset.data])


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_step_of_every_preset_stays_on_one_device(preset):
    """On torch's device without memory, which like a GPU is not the one where tensors are made by default."""
    model = build_model(preset).to("meta")
    x = torch.empty(10, model.data_dim, device="meta")
    optimizer = torch.optim.Adam(model.parameters())
    with OneDevice():
        (-GRADIENTS[preset.gradient](model, x, preset.k).mean()).backward()
        optimizer.step()


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_checkpoint_would_be_at_most_8_megabytes(preset):
    bytes_each = {"float32": 4, "float16": 2}[preset.stored]
    assert bytes_each * sum(parameter.numel() for parameter in build_model(preset).parameters()) < 8e6


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_preset_has_enough_data_for_its_batches(preset):
    assert preset.name in PRESETS
    if preset.data:
        assert preset.batch_size <= datasets.SPLITS[preset.data][0]
    assert preset.validate_every <= preset.epochs


def test_presets_that_differ_in_k_alone_take_as_many_steps():
    """Else the published ordering of the bounds could turn round."""
    families = defaultdict(list)
    for preset in PRESETS.values():
        how_long = {"name", "k", "epochs", "batch_size"}
        rest = {name: value for name, value in preset.settings().items() if name not in how_long}
        families[json.dumps(rest)].append(preset)
    for preset in ("digits-vae", "digits-iwae-k5", "mnist-vae", "mnist-iwae-k5"):
        assert any(preset in [one.name for one in family] and len(family) >= 3 for family in families.values())
    for family in families.values():
        assert len({(preset.epochs, preset.batch_size) for preset in family}) == 1


@pytest.mark.parametrize("names", [("digits-logistic", "digits-mixture", "digits-softmax"),
                                   ("mnist-8bit-logistic", "mnist-8bit-mixture", "mnist-8bit-softmax")])  # fmt: skip
def test_likelihoods_of_levels_are_compared_with_all_else_equal(names):
    of_likelihood = {"likelihood", "components"}
    settings = [PRESETS[name].settings() | {"name": ""} for name in names]
    for setting in settings:
        setting["arguments"] = {n: v for n, v in setting["arguments"].items() if n not in of_likelihood}
    assert settings[0] == settings[1] == settings[2]


@pytest.mark.parametrize("k", [1, 5, 50])
def test_the_operations_of_a_training_step_are_those_counted_by_hand(k):
    name = {1: "mnist-vae", 5: "mnist-iwae-k5", 50: "mnist-iwae-k50"}[k]
    encoder = 784 * 200 + 200 * 200 + 200 * 100
    decoder = 50 * 200 + 200 * 200 + 200 * 784
    # Forward, and backward to the weights and to the inputs, which images do not need. The decoder's last weights are
    # multiplied with the image once more, forward and backward to the weights: see bernoulli_log_prob.
    by_hand = 2 * (3 * encoder - 784 * 200 + 3 * k * decoder + 2 * 784 * 200)
    with torch.no_grad():  # as in a notebook that trains nothing
        assert flops_per_image(name) == by_hand


def test_operations_are_counted_without_any_data_and_in_no_time_for_a_large_model():
    before = torch.get_rng_state()
    # A residual network is mostly its 3 x 3 convolutions; six of 64 maps at full size, forward and backward.
    assert 3 * 2 * 4 * 28 * 28 * 64 * 64 * 9 < flops_per_image("mnist-resnet") < 2e9
    assert torch.get_rng_state().equal(before)


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
    with pytest.raises(ValueError, match=r"^there is no preset 'mnist'; choose one of digits-vae, .*k50, .*\.$"):
        preset_named("mnist")
    for build in (build_model, flops_per_image):
        with pytest.raises(ValueError, match="there is no preset 'vae'"):
            build("vae")
    with pytest.raises(ValueError, match="there is no preset None"):
        build_model(None)


@pytest.mark.parametrize(
    "field, value, complaint",
    [
        ("model", "GAN", "model must be one of VAE, .*; got 'GAN'"),
        ("gradient", "exact", "gradient must be one of pathwise, .*; got 'exact'"),
        ("optimizer", "sgd", "optimizer must be one of adam, adamax; got 'sgd'"),
        ("schedule", "step", "schedule must be one of constant, cosine; got 'step'"),
        ("precision", "float16", "precision must be one of float32, bfloat16; got 'float16'"),
        ("stored", "bfloat16", "stored must be one of float32, float16; got 'bfloat16'"),
        ("k", 0, "k must be a whole number of at least 1; got 0"),
        ("k", 2.5, "k must be a whole number of at least 1; got 2.5"),
        ("k", True, "k must be a whole number of at least 1; got True"),
        ("batch_size", 0, "batch_size must be a whole number of at least 1"),
        ("epochs", -1, "epochs must be a whole number of at least 1"),
        ("epochs", "ten", "epochs must be a whole number of at least 1; got 'ten'"),
        ("validate_every", 0, "validate_every must be a whole number of at least 1"),
        ("validation_samples", 1, "validation_samples must be a whole number of at least 2"),
        ("kl_warm_up", -1, "kl_warm_up must be a whole number of at least 0"),
        ("patience", -1, "patience must be a whole number of at least 0"),
        ("seed", -1, "seed must be a whole number of at least 0"),
        ("learning_rate", 0.0, "learning_rate must be a positive, finite number; got 0.0"),
        ("learning_rate", math.nan, "learning_rate must be a positive, finite number; got nan"),
        ("learning_rate", math.inf, "learning_rate must be a positive, finite number; got inf"),
        ("largest_gradient", -1.0, "largest_gradient must be at least 0 and finite; got -1.0"),
        ("largest_gradient", float("nan"), "largest_gradient must be a number; got nan"),
        ("largest_gradient", math.inf, "largest_gradient must be at least 0 and finite; got inf"),
        ("ema", 1.0, "ema must be at least 0 and below 1; got 1.0"),
        ("ema", "0.9", "ema must be a number; got '0.9'"),
        ("ema", -0.1, "ema must be at least 0 and below 1; got -0.1"),
    ],
)
def test_a_bad_setting_is_one_sentence(field, value, complaint):
    with pytest.raises(ValueError, match=complaint) as told:
        Preset("a", "digits", **{field: value})
    assert "\n" not in str(told.value)
