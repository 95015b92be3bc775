"""The checkpoints that come with the course are what their cards say."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from course_lib.datasets import SPLITS
from course_lib.training import PRESETS, Preset, load_checkpoint
from course_lib.training.checkpoints import PUBLISHED, read_card
from course_lib.training.evaluation import evaluate
from course_lib.vae import log_likelihood

NAMES = sorted(path.stem for path in PUBLISHED.glob("*.safetensors"))
# Of grey levels and of colours: their decoders are dear, and their differences are of many nats. So a few draws from
# the encoder do, on all test images.
WITH_FEW_DRAWS = [name for name in NAMES if name.startswith(("mnist-8bit-", "cifar10-"))]
THOROUGH = [name for name in NAMES if name not in WITH_FEW_DRAWS]
# Beside the repository, on machines without a network.
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
N_TRAIN_IMAGES, N_VALIDATION_IMAGES, N_TEST_IMAGES = (
    {name: min(10_000, sizes[split]) for name, sizes in SPLITS.items()} for split in range(3)
)


def test_notebook_04_has_its_four():
    assert {"mnist-vae", "mnist-iwae-k5", "mnist-iwae-k50", "mnist-iwae-2layer-k50"} <= set(NAMES)


def test_notebook_05_has_its_own():
    assert {"mnist-small-resnet", "digits-logistic", "digits-mixture", "digits-softmax"} <= set(NAMES)


def test_notebook_06_has_its_own():
    assert {"mnist-dense", "mnist-vae"} < set(THOROUGH)
    assert WITH_FEW_DRAWS == [
        "cifar10-sample-logistic", "cifar10-sample-resnet",
        "mnist-8bit-small-logistic", "mnist-8bit-small-mixture", "mnist-8bit-small-softmax",
    ]  # fmt: skip


def test_weights_and_cards_come_in_pairs_and_a_clone_stays_small():
    assert sorted(path.stem for path in PUBLISHED.glob("*.json")) == NAMES
    sizes = [path.stat().st_size for path in PUBLISHED.glob("*.safetensors")]
    assert max(sizes) < 8e6
    assert sum(sizes) < 25e6


def test_nothing_but_checkpoints_is_there():
    assert {path.suffix for path in PUBLISHED.iterdir()} == {".json", ".jsonl", ".safetensors"}


@pytest.mark.parametrize("name", WITH_FEW_DRAWS)
def test_the_log_of_the_training_ends_as_the_card_says(name):
    card = read_card(name)
    records = [json.loads(line) for line in (PUBLISHED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    best = max(records, key=lambda record: record["validation"])
    assert best["epoch"] == card.epochs
    assert best["validation"] == card.metrics["validation"].log_likelihood.value
    assert records[-1]["epoch"] == PRESETS[name].epochs


@pytest.mark.parametrize("name", NAMES)
def test_the_card_tells_what_was_done_and_how_good_it_is(name):
    model, card = load_checkpoint(name)
    assert not model.training
    assert card.name == card.preset == name
    # Through Preset, so that a setting which is newer than the card has its default.
    settings = Preset(**card.settings).settings()
    assert settings == PRESETS[name].settings()
    assert {str(tensor.dtype) for tensor in load_file(PUBLISHED / f"{name}.safetensors").values()} == {
        f"torch.{settings['stored']}"
    }
    assert card.data and card.device and card.commit and card.versions
    assert card.seconds > 0
    assert 1 <= card.epochs <= settings["epochs"]
    data, metrics = settings["data"], card.metrics
    chosen_by = metrics["validation"].log_likelihood
    assert (chosen_by.n_samples, chosen_by.n_images) == (settings["validation_samples"], N_VALIDATION_IMAGES[data])
    if name in WITH_FEW_DRAWS:
        check_few_draws(metrics["test"], N_TEST_IMAGES[data])
        assert metrics["train"].log_likelihood.n_images >= 400
        return
    most, of_fit, some = metrics["test"].all
    assert (most.proposal, of_fit.proposal, some.proposal) == ("encoder", "adapted", "encoder")
    (of_training,) = metrics["train"].all
    for found, n_samples, n_images in (
        (most, 5_000, N_TEST_IMAGES[data]),
        (of_fit, 2_000, N_TEST_IMAGES[data]),
        (some, 1_000, N_TEST_IMAGES[data]),
        (of_training, 1_000, N_TRAIN_IMAGES[data]),
    ):
        for number in (found.elbo, found.log_likelihood):
            assert number.value < 0 < number.std_error
            assert (number.n_samples, number.n_images) == (n_samples, n_images)
        assert found.elbo.value < found.log_likelihood.value
        assert found.precision == "float32"
        assert (found.binarization_seed is not None) == (model.levels == 2)


def check_few_draws(found, n_images):
    for one in found.all:
        assert one.proposal == "encoder"
        assert one.log_likelihood.n_images == n_images
        assert one.log_likelihood.n_samples >= 50
        assert one.elbo.value < one.log_likelihood.value < 0
        assert one.binarization_seed is None
    # What these draws leave open is little beside the differences that the notebook speaks of.
    assert found.log_likelihood.std_error < 0.5 < found.log_likelihood.std_error_over_images


@pytest.mark.parametrize("name", THOROUGH)
def test_log_p_from_fits_is_one_to_defend(name):
    """Higher than the encoder's, which is low; for fewer passes; and with k-hats that let it be believed."""
    test = read_card(name).metrics["test"]
    encoder, fit = test.by("encoder"), test.by("adapted")
    assert fit.decoder_passes <= 4_000 < encoder.log_likelihood.n_samples
    assert fit.log_likelihood.value > encoder.log_likelihood.value
    assert fit.elbo.value > encoder.elbo.value
    assert fit.log_likelihood.std_error < encoder.log_likelihood.std_error
    assert fit.log_likelihood.share_of_high_pareto_k <= 0.05 < encoder.log_likelihood.share_of_high_pareto_k
    assert fit.failed_fits <= max(1, fit.log_likelihood.n_images / 1_000)


@pytest.mark.parametrize("name", NAMES)
def test_other_programs_read_the_card_as_json(name):
    """The names that do not change, whatever else a card comes to say."""
    card = json.loads((PUBLISHED / f"{name}.json").read_text(encoding="utf-8"))
    top = {"name", "preset", "data", "device", "seconds", "epochs", "commit", "versions", "seed", "metrics"}
    assert top <= card.keys()
    for metric in ("elbo", "log_likelihood"):
        assert {"value", "std_error", "n_samples"} <= card["metrics"]["test"][metric].keys()


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_as_it_would_be_written_anew(name):
    assert read_card(name).as_json() == (PUBLISHED / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", THOROUGH)
def test_fewer_samples_beside_agree_and_are_lower(name):
    most, fewer = (one for one in read_card(name).metrics["test"].all if one.proposal == "encoder")
    for some, many, is_lower in (
        (fewer.elbo, most.elbo, False),
        (fewer.log_likelihood, most.log_likelihood, True),
    ):
        error = math.hypot(some.std_error, many.std_error)
        # The mean log-weight has the same expectation however many; the log of the mean weight rises with them.
        assert some.value < many.value + 5 * error
        assert is_lower or some.value > many.value - 5 * error


@pytest.mark.parametrize("name", NAMES)
def test_the_first_test_images_agree_with_the_card(name, monkeypatch):
    model, card = load_checkpoint(name)
    data = card["settings"]["data"]
    if data != "digits":
        if not (DATA / data).is_dir():
            pytest.skip(f"needs {data}")
        monkeypatch.setenv("COURSE_DATA_DIR", str(DATA))
    n = min(100 if name in WITH_FEW_DRAWS else 400, N_TEST_IMAGES[data])
    found = evaluate(model, data, n_images=n, n_samples=20)
    # Of 10,000 images, of about the same spread in ELBO as in log p(x).
    error = math.hypot(float(found.elbo.std()) / math.sqrt(n), found.mean_elbo[1])
    assert abs(found.mean_elbo[0] - card["metrics"]["test"]["elbo"]["value"]) < 4 * error
    # With fewer samples the bound is lower: between the ELBO and what the card says.
    assert found.mean_elbo[0] < found.per_image.mean() < card["metrics"]["test"]["log_likelihood"]["value"] + 4 * error


@pytest.mark.parametrize("name", ["mnist-dense", "mnist-iwae-2layer-k50", "mnist-small-resnet", "digits-mixture"])
def test_a_decoder_in_bfloat16_moves_the_result_by_less_than_its_error(name):
    model, _ = load_checkpoint(name)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        images = model.sample_conditional(model.sample_prior(20, generator), generator)
    exact = log_likelihood(model, images, 1_000)
    rounded = log_likelihood(model, images, 1_000, precision="bfloat16")
    # Of the same z, so that nothing but the rounding is between them.
    assert (rounded.per_image - exact.per_image).abs().max() > 0
    assert abs(rounded.mean.value - exact.mean.value) < exact.mean.std_error
