"""Cards: what they say is what is in their files, of this version and those before, and nothing else."""

import copy
import dataclasses
import json

import pytest
from tiny_trainings import tiny

from course_lib.training.cards import (
    CARD_VERSION,
    Card,
    Evaluation,
    LogLikelihood,
    Metric,
    SplitMetrics,
    card_from_json,
)


def of_samples(n, value=-80.0, n_images=300):
    return Evaluation(log_likelihood=LogLikelihood(value=value, n_samples=n, n_images=n_images))


def a_card(*evaluations):
    return Card(
        name="tiny",
        settings=tiny().settings(),
        metrics={"test": SplitMetrics.of(evaluations)} if evaluations else {},
        preset="tiny",
        data="digits, dynamically binarized",
        device="cpu, 1 threads",
        processes=1,
        seconds=2.5,
        epochs=3,
        commit="abc",
        seed=0,
        versions={"python": "3.11"},
        weights_sha256="00",
    )


def read(content):
    return card_from_json(json.dumps(content).encode(), "folder/tiny.json")


def version_1():
    """A card as the course wrote it before."""

    def found(n_samples):
        return {
            "elbo": {"value": -90.5, "std_error": 0.01, "n_samples": n_samples, "n_images": 300},
            "log_likelihood": {
                "value": -80.5 - 1 / n_samples,
                "std_error": 0.02,
                "std_error_over_images": 0.3,
                "n_samples": n_samples,
                "n_images": 300,
                "bits_per_dim": 0.15,
                "share_of_images_with_pareto_k_above_0.7": 0.5,
            },
            "binarization_seed": 0,
            "precision": "float32",
            "seconds": 0.25 * n_samples,
        }

    validation = {"value": -82.0, "std_error_over_images": 0.2, "n_samples": 20, "n_images": 200}
    return {
        "card_version": 1,
        "name": "tiny",
        "preset": "tiny",
        "settings": {"name": "tiny", "data": "digits", "model": "DeepVAE", "arguments": {"levels": 2}},
        "data": "digits, dynamically binarized",
        "device": "cpu, 1 threads",
        "processes": 1,
        "seconds": 3.5,
        "epochs": 4,
        "commit": "abc",
        "seed": 1,
        "metrics": {
            "validation": {"log_likelihood": validation},
            "test": {**found(5_000), "is_50": found(50), "is_1000": found(1_000)},
        },
        "versions": {"python": "3.11", "torch": "2.6"},
        "weights_sha256": "00",
    }


# There and back


def test_a_card_comes_back_from_its_file():
    card = a_card(of_samples(10), of_samples(1_000))
    assert card_from_json(card.as_json(), "it") == card


def test_a_card_reads_as_its_file_does():
    card = a_card(of_samples(1_000), of_samples(10))
    content = json.loads(card.as_json())
    assert {key: card[key] for key in content} == content
    assert card["metrics"]["test"]["log_likelihood"]["value"] == -80.0
    assert card["metrics"]["test"]["others"][0]["log_likelihood"]["n_samples"] == 10
    with pytest.raises(KeyError, match="is_1000"):
        card["metrics"]["test"]["is_1000"]


def test_what_was_read_of_a_card_can_be_changed_without_harm():
    card = a_card(of_samples(10))
    card["settings"]["k"] = card["metrics"]["test"]["elbo"] = "changed"
    assert card == a_card(of_samples(10))


def test_cards_that_are_equal_have_files_that_are_equal():
    """In whatever order things were said, and whether as 3 or as 3.0."""
    card = a_card(of_samples(10), of_samples(1_000))
    settings = dict(reversed(card.settings.items()))
    other = dataclasses.replace(
        card,
        settings=settings,
        epochs=3.0,
        metrics={"test": SplitMetrics.of([of_samples(1_000, -80), of_samples(10.0)])},
    )
    assert other == card
    assert other.as_json() == card.as_json()


def test_a_file_says_everything_that_a_card_may_and_null_where_it_is_not_known():
    found = json.loads(Card(name="a", settings={}, metrics=a_card(of_samples(2)).metrics).as_json())
    assert found.keys() == {"card_version"} | {field.name for field in dataclasses.fields(Card)}
    assert found["commit"] is found["metrics"]["test"]["elbo"] is None


# The versions before


def test_a_card_of_version_1_says_the_same_now():
    card = read(version_1())
    before = version_1()["metrics"]["test"]
    test = card.metrics["test"]
    assert [one.size for one in test.all] == [(300, 5_000), (300, 1_000), (300, 50)]
    for one, was in zip(test.all, (before, before["is_1000"], before["is_50"]), strict=True):
        assert one.elbo == Metric(**was["elbo"])
        log_likelihood = dict(was["log_likelihood"])
        share = log_likelihood.pop("share_of_images_with_pareto_k_above_0.7")
        # Of fewer draws it was counted above a limit that is no longer theirs.
        share = share if log_likelihood["n_samples"] == 5_000 else None
        assert one.log_likelihood == LogLikelihood(**log_likelihood, share_of_high_pareto_k=share)
        assert (one.seconds, one.precision, one.binarization_seed) == (was["seconds"], "float32", 0)
    validation = card.metrics["validation"]
    assert validation.log_likelihood.value == -82.0
    assert validation.elbo is validation.seconds is validation.log_likelihood.std_error is None
    assert card.settings == {**version_1()["settings"], "model": "ImageVAE"}
    as_they_were = {"metrics", "settings", "card_version"}
    assert all(card[key] == value for key, value in version_1().items() if key not in as_they_were)
    assert card["card_version"] == CARD_VERSION


def test_a_card_of_version_2_says_the_same_now():
    """It did not say where z was drawn, because there was one proposal, and had one limit for k-hat."""

    def with_share(n, share):
        found = of_samples(n)
        return dataclasses.replace(
            found, log_likelihood=dataclasses.replace(found.log_likelihood, share_of_high_pareto_k=share)
        )

    card = a_card(with_share(5_000, 0.5), with_share(1_000, None))
    content = json.loads(a_card(with_share(5_000, 0.5), with_share(1_000, 0.4)).as_json())
    for found in (content["metrics"]["test"], *content["metrics"]["test"]["others"]):
        for name in ("proposal", "decoder_passes", "failed_fits"):
            del found[name]
    assert read({**content, "card_version": 2}) == card
    assert {one.proposal for one in card.metrics["test"].all} == {"encoder"}


def test_evaluations_from_two_proposals_stand_side_by_side():
    def adapted(value):
        return dataclasses.replace(of_samples(1_000, value), proposal="adapted", decoder_passes=2_984, failed_fits=3)

    card = a_card(of_samples(5_000), of_samples(1_000, -82)).with_evaluation("test", adapted(-79))
    test = card.metrics["test"]
    assert test.log_likelihood.n_samples == 5_000
    assert test.by("encoder") == test.all[0]
    assert test.by("adapted") == adapted(-79)
    assert test.by("prior") is None
    # Each takes the place of its own kind.
    again = card.with_evaluation("test", adapted(-78)).metrics["test"]
    assert [(one.proposal, one.log_likelihood.value) for one in again.all] == [
        ("encoder", test.log_likelihood.value),
        *((one.proposal, -78 if one.proposal == "adapted" else one.log_likelihood.value) for one in test.others),
    ]
    assert card_from_json(card.as_json(), "it") == card


def test_reading_a_card_of_version_1_changes_nothing_of_what_was_read():
    content = version_1()
    read(content)
    assert content == version_1()


# A new evaluation


@pytest.mark.parametrize("order", [(5_000, 1_000, 50), (1_000, 50, 5_000), (50, 5_000, 1_000), (1_000, 5_000, 50)])
def test_the_most_samples_stand_in_front_whichever_came_first(order):
    card = a_card()
    for n in order:
        card = card.with_evaluation("test", of_samples(n))
    assert card == a_card(of_samples(5_000), of_samples(1_000), of_samples(50))
    assert card.metrics["test"].log_likelihood.n_samples == 5_000
    assert card.metrics["test"].others == (of_samples(1_000), of_samples(50))


@pytest.mark.parametrize("n", [5_000, 1_000])
def test_a_new_result_of_as_many_samples_and_images_replaces_the_old(n):
    before = a_card(of_samples(5_000), of_samples(1_000))
    found = before.with_evaluation("test", of_samples(n, value=-79.0))
    values = {5_000: -80.0, 1_000: -80.0, n: -79.0}
    assert [one.log_likelihood.value for one in found.metrics["test"].all] == [values[5_000], values[1_000]]
    assert before == a_card(of_samples(5_000), of_samples(1_000))


@pytest.mark.parametrize("n_samples", [10_000, 1_000])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_trial_of_few_images_stands_beside_however_many_its_samples(is_first, n_samples):
    whole, trial = of_samples(1_000), of_samples(n_samples, n_images=20)
    card = a_card()
    for found in (trial, whole) if is_first else (whole, trial):
        card = card.with_evaluation("test", found)
    assert card.metrics["test"].all == [whole, trial]


def test_another_split_is_left_alone():
    card = a_card(of_samples(10)).with_evaluation("train", of_samples(20))
    assert card.metrics["test"] == a_card(of_samples(10)).metrics["test"]
    assert card.metrics["train"].all == [of_samples(20)]


# What is no card


def changed(content, path, value):
    content = copy.deepcopy(content)
    *above, last = path
    part = content
    for key in above:
        part = part[key]
    if value is KeyError:
        del part[last]
    else:
        part[last] = value
    return content


@pytest.mark.parametrize(
    "path, value, complaint",
    [
        (["name"], KeyError, "card does not say name"),
        (["settings"], None, "card does not say settings"),
        (["weights_sha256"], KeyError, "card does not say weights_sha256"),
        (["name"], 5, "card.name must be text; got 5"),
        (["settings"], [1], "card.settings must be a JSON object; got [1]"),
        (["notes"], "mine", "card says notes, which no card does"),
        (["seconds"], "long", "card.seconds must be a number; got 'long'"),
        (["epochs"], -1, "card.epochs must be a whole number of at least 0; got -1"),
        (["seed"], -1, "card.seed must be a whole number of at least 0; got -1"),
        (["metrics"], [], "card.metrics must be a JSON object; got []"),
        (["metrics", "test"], 1, "card.metrics.test must be a JSON object; got 1"),
        (["metrics", "test", "log_likelihood"], KeyError, "card.metrics.test does not say log_likelihood"),
        (["metrics", "test", "log_likelihood"], -80, "card.metrics.test.log_likelihood must be a JSON object; got -80"),
        (
            ["metrics", "test", "log_likelihood", "value"],
            KeyError,
            "card.metrics.test.log_likelihood does not say value",
        ),
        (
            ["metrics", "test", "log_likelihood", "value"],
            "-80",
            "card.metrics.test.log_likelihood.value must be a number; got '-80'",
        ),
        (
            ["metrics", "test", "log_likelihood", "value"],
            float("inf"),
            "card.metrics.test.log_likelihood.value must be finite; got inf",
        ),
        (
            ["metrics", "test", "log_likelihood", "n_samples"],
            2.5,
            "card.metrics.test.log_likelihood.n_samples must be a whole number of at least 1; got 2.5",
        ),
        (["metrics", "test", "elbo"], {"value": -1, "n_samples": 1, "bits_per_dim": 0.1}, "elbo says bits_per_dim, wh"),
        (["metrics", "test", "is_1000"], {}, "card.metrics.test says is_1000, which no card does"),
        (["metrics", "test", "precision"], 32, "card.metrics.test.precision must be text; got 32"),
        (["metrics", "test", "others"], {}, "card.metrics.test.others must be a list; got {}"),
        (["metrics", "test", "others"], [{}], "card.metrics.test.others[0] does not say log_likelihood"),
        (["card_version"], KeyError, "card_version must be a whole number of at least 1; got None"),
        (["card_version"], "2", "card_version must be a whole number of at least 1; got '2'"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_card_is_one_sentence(path, value, complaint):
    content = changed(json.loads(a_card(of_samples(5)).as_json()), path, value)
    with pytest.raises(ValueError) as told:
        read(content)
    assert str(told.value).startswith("folder/tiny.json is no card of a checkpoint of this course (")
    assert complaint in str(told.value)
    assert str(told.value).endswith("): get it anew.")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "path, value, complaint",
    [
        (["metrics"], KeyError, "card does not say metrics"),
        (["metrics", "test"], 1, "card.metrics.test must be a JSON object; got 1"),
        (["metrics", "test", "is_1000"], 1, "card.metrics.test.others[1] must be a JSON object; got 1"),
        (["metrics", "test", "is_50", "elbo"], {}, "card.metrics.test.others[0].elbo does not say value, n_samples"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_card_of_version_1_is_one_sentence(path, value, complaint):
    with pytest.raises(ValueError, match=r"^folder/tiny\.json is no card .*\): get it anew\.$") as told:
        read(changed(version_1(), path, value))
    assert complaint in str(told.value)


def test_a_card_of_a_later_version_is_one_sentence():
    with pytest.raises(ValueError, match=r"^a\.json has card version 4 and .* versions up to 3: update the course\.$"):
        card_from_json(b'{"card_version": 4}', "a.json")
