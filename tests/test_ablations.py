"""What experiments of benchmarks/ found, and notebooks show, is what its files say."""

import json

import pytest
from safetensors.torch import load_file

from course_lib.resources import DATA
from course_lib.training import PRESETS
from course_lib.training.checkpoints import read_card

FOLDER = DATA / "ablations"


def table(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_nothing_else_is_there_and_it_stays_small():
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(files) == {
        "colour.safetensors", "flows.json", "flows.safetensors", "replicates.json",
        "upsampling.json", "upsampling.safetensors",
    }  # fmt: skip
    assert sum(files.values()) < 300e3


def test_rows_of_flows_are_means_of_their_images():
    values = load_file(FOLDER / "flows.safetensors")
    rows = {(row["posterior"], row["prior"], row["normalization"]): row for row in table("flows") if row["seed"] == 0}
    assert {key for key in rows if key[2] == "none"} == {(n, prior, "none") for n in (0, 2, 4, 8) for prior in (0, 2)}
    for (posterior, prior, norm), row in rows.items():
        per_image = values[f"q{posterior}-p{prior}" + ("" if norm == "none" else f"-{norm}")]
        assert len(per_image) == row["n_images"] == 1_000
        assert float(per_image.double().mean()) == pytest.approx(row["test"], abs=1e-4)
        # Two lower bounds from the encoder's q and from fits, and log p(x), which is above both.
        assert row["elbo"] < row["elbo_of_fits"] < row["test"] < 0
        assert row["epochs"] == 12
        # What is compared can be believed.
        assert row["share_of_high_pareto_k"] <= 0.01


def test_seed_0_of_the_replicates_is_the_published_checkpoint():
    found = table("replicates")
    assert {"digits-logistic", "digits-mixture", "digits-softmax"} <= set(found) <= set(PRESETS)
    for preset, values in found.items():
        assert len(values) >= 3
        assert values["0"] == read_card(preset).metrics["test"].by("adapted").log_likelihood.value
        # Another seed is another training of the same model, and no other result.
        assert max(values.values()) - min(values.values()) < 1


def test_pictures_of_upsampling_are_of_both_ways_before_and_after():
    rows = table("upsampling")
    assert set(rows) == {"photographs", "pixel shuffle", "deconvolution"}
    for name, pictures in load_file(FOLDER / "upsampling.safetensors").items():
        way, when = name.split(", ")
        assert pictures.shape == (8, 3, 32, 32)
        assert 0 < rows[way][when] < 1


def test_colours_by_fits_are_above_the_encoder():
    values = load_file(FOLDER / "colour.safetensors")
    for name in ("one logistic", "five"):
        assert len(values[f"{name}, encoder"]) == 400
        assert bool((values[f"{name}, fits"] > values[f"{name}, encoder"][:100]).all())
    checkpoints = {"one logistic": "cifar10-sample-logistic", "five": "cifar10-sample-resnet"}
    for name, checkpoint in checkpoints.items():
        (found,) = (one for one in read_card(checkpoint).metrics["test"].all if one.size == (400, 100))
        # As fine as float32 keeps 14,000 nats.
        assert float(values[f"{name}, encoder"].double().mean()) == pytest.approx(found.log_likelihood.value, abs=1e-2)
