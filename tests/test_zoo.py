"""The zoo, rehearsed on the CPU: what is finished stays, whatever fails or interrupts it, and the time is kept."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_trainings import LEVELS, TWO_LAYERS, Clock, tiny

from course_lib import zoo
from course_lib.training import budget, load_checkpoint, presets
from course_lib.training.checkpoints import read_card
from course_lib.training.smoke import Outcome, Smoke
from course_lib.zoo import ZOO, Entry, run_zoo

PRESETS = {
    "large": tiny(k=5, epochs=40, validate_every=8),
    "small": tiny(k=1, epochs=40, validate_every=8),
    "grey": tiny(model="ImageVAE", arguments=LEVELS, epochs=40, validate_every=20, batch_size=300),
    "two": tiny(model="TwoLayerVAE", arguments=TWO_LAYERS, epochs=40, validate_every=8, k=2),
}
# For each: enough for a few epochs by the clock that the tests turn.
MINUTES = 0.2


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """Presets that are over in a moment, the first of which is worth the most."""
    for name, preset in PRESETS.items():
        monkeypatch.setitem(presets.PRESETS, name, dataclasses.replace(preset, name=name))
    shares = {"large": Entry("large", 2.0, -22.0, "someone"), "small": Entry("small"), "grey": Entry("grey")}
    monkeypatch.setattr(zoo, "ZOO", shares)
    monkeypatch.setattr(zoo, "_EVALUATIONS", (("encoder", 50, 0.4), ("encoder", 100, 0.25), ("adapted", 30, 0.25)))
    monkeypatch.setattr(zoo, "_FEWEST_DRAWS", 20)
    clock = Clock(monkeypatch, start=0.1, step=0.05, validation=0.05, save=0.01)
    for name in ("log_likelihood", "evaluate_checkpoint"):
        clock.slow(monkeypatch, zoo, name, lambda *_, **__: 0.02)
    return clock


def rehearsed(folder, names=("large", "small", "grey"), **settings):
    """Everything that was said, and the table."""
    said = []
    table, is_finished = run_zoo(names, MINUTES * len(names), folder, device="cpu", say=said.append, **settings)
    cards = [read_card(folder / name) for name in names if (folder / f"{name}.json").exists()]
    assert is_finished == (len(cards) == len(names) and all("test" in card.metrics for card in cards))
    return said, table


def content(archive):
    with zipfile.ZipFile(io.BytesIO(archive.read_bytes())) as files:
        return {name: files.read(name) for name in files.namelist()}


def test_a_rehearsal(tmp_path, ours):
    """All of it: trained, evaluated, drawn, delivered, in a table, and within its time."""
    began = ours.now
    said, table = rehearsed(tmp_path / "zoo", deliver=tmp_path / "out")
    names = ["large", "small", "grey"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        ["table.md", *(f"{name}.zip" for name in names)]
    )
    fitted: list[str] = []
    for name in names:
        model, card = load_checkpoint(tmp_path / "zoo" / f"{name}.safetensors")
        found = card.metrics["test"]
        assert found.log_likelihood.n_images == 300 and found.log_likelihood.n_samples in (20, 50, 100)
        assert found.elbo.value < found.log_likelihood.value < 0
        assert card.steps == "plain"
        delivered = content(tmp_path / "out" / f"{name}.zip")
        assert delivered.keys() == {f"{name}{suffix}" for suffix in (".safetensors", ".json", ".jsonl", ".png")}
        assert all(delivered[one] == (tmp_path / "zoo" / one).read_bytes() for one in delivered)
        picture = np.asarray(Image.open(io.BytesIO(delivered[f"{name}.png"])))
        # Eight by eight, each pixel of them eight by eight, and lines between them.
        assert picture.shape == (519, 519) and picture.std() > 0
        # The first of 64 samples is in the corner.
        with torch.no_grad():
            z = model.sample_prior(64, torch.Generator().manual_seed(0))
            first = model.mean_image(z)[0].view(8, 8)
        assert np.abs(picture[:64:8, :64:8] - 255 * first.numpy()).max() <= 0.51
        row = next(line for line in table.splitlines() if line.startswith(f"| {name} "))
        assert f"{found.log_likelihood.value:.1f}"[:-2] in row
        if (of_fit := found.by("adapted")) is not None:
            fitted.append(name)
            assert f"{of_fit.log_likelihood.value:.1f}"[:-2] in row.split("|")[10]
    assert fitted
    assert "-22.0 (someone)" in table
    assert (tmp_path / "zoo" / "table.md").read_text() == (tmp_path / "out" / "table.md").read_text() == table
    # What differs in k alone trains as long.
    assert read_card(tmp_path / "zoo/large").settings["epochs"] == read_card(tmp_path / "zoo/small").settings["epochs"]
    assert any("that differs in k alone" in line for line in said)
    assert 0.8 < (ours.now - began) / (3 * 60 * MINUTES) <= 1


def test_an_interruption_leaves_what_is_finished_and_resume_does_the_rest(tmp_path, monkeypatch):
    evaluate, calls = zoo.evaluate_checkpoint, []

    def interrupted(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == 3:  # the first evaluation of the second model, or of the first one's more draws
            raise KeyboardInterrupt
        return evaluate(*arguments, **keywords)

    monkeypatch.setattr(zoo, "_EVALUATIONS", (("encoder", 50, 1.0),))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(zoo, "evaluate_checkpoint", interrupted)
        rehearsed(tmp_path / "zoo", names=["large", "two", "grey"], deliver=tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "zoo").iterdir() if path.is_file()}
    finished = [name for name in ("large", "two", "grey") if "test" in json.loads(before[f"{name}.json"])["metrics"]]
    assert finished == ["large", "two"]
    # The third is trained, and delivered as far as it came.
    assert {"grey.safetensors", "grey.json", "grey.jsonl"} <= content(tmp_path / "out/grey.zip").keys()

    said, _ = rehearsed(tmp_path / "zoo", names=["large", "two", "grey"], resume=True)
    for name in finished:
        for suffix in (".safetensors", ".json", ".png"):
            assert (tmp_path / "zoo" / f"{name}{suffix}").read_bytes() == before[f"{name}{suffix}"]
    assert (tmp_path / "zoo/grey.safetensors").read_bytes() == before["grey.safetensors"]
    assert not any(line.startswith(("large:", "two:")) for line in said)
    assert "test" in read_card(tmp_path / "zoo/grey").metrics


def test_one_that_fails_leaves_its_time_to_the_next(tmp_path, monkeypatch):
    broken = dataclasses.replace(presets.PRESETS["large"], learning_rate=1e30)
    monkeypatch.setitem(presets.PRESETS, "large", broken)
    _, table = rehearsed(tmp_path, names=["large", "grey"])
    assert "\n- large: training of large has diverged by step" in table
    assert "test" in read_card(tmp_path / "grey").metrics
    assert not (tmp_path / "large.png").exists()


def test_what_does_not_fit_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo._Zoo, "seconds_per_image", lambda *_: 1_000.0)
    _, table = rehearsed(tmp_path, names=["small"])
    assert "\n- small: no time is left to train small." in table


def on_a_pretended_gpu(monkeypatch, outcomes):
    """The CPU under another name, whose smoke test finds ``outcomes``."""

    class Elsewhere(zoo._Zoo):
        def smoke_test(self):
            self.smokes = {name: Smoke(name, outcomes) for name in self.presets}

    monkeypatch.setattr(zoo, "_Zoo", Elsewhere)


def test_what_the_smoke_test_found_wrong_is_not_taken_and_is_on_the_card(tmp_path, monkeypatch):
    wrong = Outcome("captured", distance=3.1, allowed=0.2, step=0.001, start=1.0)
    on_a_pretended_gpu(monkeypatch, (Outcome("plain", 0.0, 0.2, step=0.01, start=0.1), wrong))
    _, table = rehearsed(tmp_path, names=["grey"])
    told = "WRONG: captured 1 ms a step, 3.1 nats off where 0.2 can be rounding"
    assert read_card(tmp_path / "grey").steps == f"plain; {told}"
    assert told in table


TWO_WAYS = (Outcome("plain", 0.0, 0.2, step=0.01, start=0.1), Outcome("captured", 0.1, 0.2, step=0.001, start=0.2))


def test_a_way_that_fails_in_the_middle_gives_over_to_the_next(tmp_path, monkeypatch):
    """The training goes on from what is saved, and its card says what happened."""
    on_a_pretended_gpu(monkeypatch, TWO_WAYS)
    train, ways = zoo.train, []

    def failing(*arguments, way, on_record, **keywords):
        ways.append(way)
        if way == "captured":
            # Recorded steps cannot be taken here; what matters is what becomes of their failure.
            keywords["on_record"] = fail_once
        return train(*arguments, way="plain", **({"on_record": on_record} | keywords))

    def fail_once(record):
        raise RuntimeError("the GPU has fallen off\nthe bus")

    monkeypatch.setattr(zoo, "train", failing)
    said, _ = rehearsed(tmp_path, names=["small"])
    assert ways == ["captured", "plain"]
    card = read_card(tmp_path / "small")
    assert card.steps == "plain; captured steps failed (the GPU has fallen off the bus)"
    assert "test" in card.metrics
    assert sum(line.endswith("is the same training again.") for line in said) == 1


def test_what_a_failed_training_came_to_is_evaluated(tmp_path, monkeypatch):
    train = zoo.train

    def failing(*arguments, on_record, **keywords):
        def fail(record):
            raise AssertionError

        return train(*arguments, on_record=fail, **keywords)

    monkeypatch.setattr(zoo, "train", failing)
    _, table = rehearsed(tmp_path, names=["small"])
    assert "\n- small: AssertionError\n" in table
    assert "test" in read_card(tmp_path / "small").metrics


def test_a_training_that_is_late_is_stopped_and_evaluated(tmp_path, monkeypatch, ours):
    began = ours.now
    chosen = budget.Pace.epochs_within
    monkeypatch.setattr(budget.Pace, "epochs_within", lambda *a: 20 * chosen(*a))
    rehearsed(tmp_path, names=["small"])
    card = read_card(tmp_path / "small")
    assert card.epochs < card.settings["epochs"] and "test" in card.metrics
    assert 0.9 < (ours.now - began) / (60 * MINUTES) < 1.1


def test_plain_means_that_nothing_else_is_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "smoke", lambda *_: pytest.fail("there was a smoke test"))
    chosen = zoo._Zoo({"small": PRESETS["small"]}, tmp_path, torch.device("cuda"), None, print, True)
    chosen.smoke_test()
    assert chosen.smokes == {}


def test_a_smoke_test_that_breaks_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "smoke", lambda *_: 1 / 0)
    said = []
    zoo._Zoo({"small": PRESETS["small"]}, tmp_path, torch.device("cuda"), None, said.append, False).smoke_test()
    assert said[0] == "small was not smoke-tested: division by zero"


def test_a_delivery_that_fails_stops_nothing(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "small.zip").mkdir()  # no file can be put there
    said, _ = rehearsed(tmp_path / "zoo", names=["small"], deliver=tmp_path / "out")
    assert any(line.startswith(f"cannot write {tmp_path / 'out' / 'small.zip'}") for line in said)
    assert "test" in read_card(tmp_path / "zoo/small").metrics


def test_the_smoke_test_stops_compiling_when_its_time_is_over(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(zoo, "ways_for", lambda *_: ("plain", "captured", "compiled"))
    monkeypatch.setattr(zoo, "smoke", lambda preset, device, ways: asked.append(ways) or Smoke(preset.name, ()))
    clock = iter(range(0, 1_000, 20))
    monkeypatch.setattr(zoo.time, "monotonic", lambda: next(clock))
    chosen = {name: presets.PRESETS[name] for name in ("large", "grey", "two")}
    zoo._Zoo(chosen, tmp_path, torch.device("cuda"), None, print, False).smoke_test()
    assert asked == [("plain", "captured", "compiled"), ("plain", "captured"), ("plain", "captured")]


def test_an_earlier_zoo_is_not_written_over(tmp_path):
    (tmp_path / "small.state").write_bytes(b"")
    with pytest.raises(FileExistsError, match="holds trainings of small: go on with --resume, or choose another"):
        rehearsed(tmp_path)


@pytest.mark.parametrize(
    "names, minutes, complaint",
    [
        (["nothing"], 1, "there is no preset 'nothing'"),
        (["small"], 0, "minutes must be a positive, finite number; got 0"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(names, minutes, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint):
        run_zoo(names, minutes, tmp_path, device="cpu")


def test_no_more_is_delivered_than_fits(tmp_path, monkeypatch):
    names = [f"small-{i}" for i in range(8)]
    for name in names:
        monkeypatch.setitem(presets.PRESETS, name, dataclasses.replace(presets.PRESETS["small"], name=name))
    with pytest.raises(ValueError, match="at most 7 models are delivered at once; got 8: name fewer"):
        run_zoo(names, 1, tmp_path, device="cpu", deliver=tmp_path / "out")


def test_the_zoo_is_of_presets_whose_files_fit():
    """Weights of at most 8 MB each, so that an archive of one stays below 16."""
    assert len(ZOO) <= 7
    for name in ZOO:
        preset = presets.PRESETS[name]
        bytes_each = {"float32": 4, "float16": 2}[preset.stored]
        assert bytes_each * sum(p.numel() for p in presets.build_model(preset).parameters()) <= 8e6
