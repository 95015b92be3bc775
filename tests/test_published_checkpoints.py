"""The checkpoints that come with the course are what their cards say."""

import math
from pathlib import Path

import pytest

from course_lib.training import PRESETS, load_checkpoint
from course_lib.training.checkpoints import PUBLISHED
from course_lib.training.evaluation import evaluate

NAMES = sorted(path.stem for path in PUBLISHED.glob("*.safetensors"))
# Beside the repository, on machines without a network.
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def test_notebook_04_has_its_four():
    assert {"mnist-vae", "mnist-iwae-k5", "mnist-iwae-k50", "mnist-iwae-2layer-k50"} <= set(NAMES)


def test_weights_and_cards_come_in_pairs_and_a_clone_stays_small():
    assert sorted(path.stem for path in PUBLISHED.glob("*.json")) == NAMES
    sizes = [path.stat().st_size for path in PUBLISHED.glob("*.safetensors")]
    assert max(sizes) < 3e6
    assert sum(sizes) < 25e6


@pytest.mark.parametrize("name", NAMES)
def test_the_card_tells_what_was_done_and_how_good_it_is(name):
    model, card = load_checkpoint(name)
    assert not model.training
    assert card["name"] == card["preset"] == name
    assert card["settings"] == PRESETS[name].settings()
    assert card["data"] and card["device"] and card["commit"] and card["versions"]
    assert card["seconds"] > 0
    assert 1 <= card["epochs"] <= card["settings"]["epochs"]
    test = card["metrics"]["test"]
    for number in (test["elbo"], test["log_likelihood"]):
        assert number["value"] < 0 < number["std_error"]
        assert (number["n_images"], number["n_samples"]) == (10_000, 5_000)
    assert test["elbo"]["value"] < test["log_likelihood"]["value"]


@pytest.mark.skipif(not (DATA / "mnist").is_dir(), reason="needs MNIST")
@pytest.mark.parametrize("name", NAMES)
def test_the_first_test_images_agree_with_the_card(name, monkeypatch):
    monkeypatch.setenv("COURSE_DATA_DIR", str(DATA))
    model, card = load_checkpoint(name)
    found = evaluate(model, "mnist", n_images=400, n_samples=20)
    # 400 of 10,000 images, of about the same spread in ELBO as in log p(x).
    error = math.hypot(float(found.elbo.std()) / math.sqrt(400), found.mean_elbo[1])
    assert abs(found.mean_elbo[0] - card["metrics"]["test"]["elbo"]["value"]) < 4 * error
    # With fewer samples the bound is lower: between the ELBO and what the card says.
    assert found.mean_elbo[0] < found.per_image.mean() < card["metrics"]["test"]["log_likelihood"]["value"] + 4 * error
