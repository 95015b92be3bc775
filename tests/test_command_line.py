"""`python -m course_lib`: what it prints, what it returns, and never a traceback."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_trainings import LEVELS, tiny

from course_lib import datasets, doctor
from course_lib.__main__ import main
from course_lib.doctor import Check
from course_lib.publishing import build, run
from course_lib.publishing.run import Outcome
from course_lib.training import PRESETS, Card, build_model, evaluation, load_checkpoint
from course_lib.training.checkpoints import save_checkpoint
from course_lib.training.pictures import picture_of_reconstructions, picture_of_samples
from course_lib.training.presets import summary
from course_lib.training.states import load_state
from course_lib.vae import log_likelihood

COMMANDS = [
    *("doctor", "check", "data", "run", "lab", "build", "release", "marks"),
    *("train", "evaluate", "sample", "reconstruct", "zoo"),
]


def course_lib(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "course_lib", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def test_help_names_every_command():
    done = course_lib("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"\n    {command}\s", done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_its_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: python -m course_lib {command} ")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["teach"],
        ["train"],
        ["evaluate"],
        ["sample"],
        ["reconstruct", "digits-mixture", "--n", "few"],
        ["train", "digits-vae", "--epochs", "x"],
        ["zoo"],
        ["run", "--fast"],
        ["run", "01"],
        ["doctor", "01"],
    ],
)
def test_wrong_use_is_refused_with_the_usage(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().err.startswith("usage: python -m course_lib")


def test_the_doctor_answers_from_any_folder(tmp_path):
    done = course_lib("doctor", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\nReady: all checks passed.\n")
    assert done.stderr == ""


def test_the_doctor_fails_when_a_check_fails(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "examine", lambda gpu: [Check("data", "gone", "git checkout")])
    assert main(["doctor"]) == 1
    assert "mend it with: git checkout" in capsys.readouterr().out


def test_an_unknown_notebook_is_one_sentence():
    done = course_lib("build", "77")
    assert done.returncode == 1
    assert done.stderr.startswith("course_lib: No notebook is called '77': there are 01_")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("ok, code", [(True, 0), (False, 1)])
def test_run_prints_the_table_and_fails_when_a_notebook_does(ok, code, monkeypatch, capsys):
    monkeypatch.setattr(run, "run", lambda: [Outcome("01_a", 2.0, "18.2", "18.21", "well", ok)])
    assert main(["run"]) == code
    printed = capsys.readouterr().out
    assert "\n01_a          2.0  18.2      18.21  well\n" in printed


def raising(error: BaseException):
    def command(*_, **__):
        raise error

    return command


@pytest.mark.parametrize(
    "error, complaint",
    [
        (ValueError("This is wrong."), "course_lib: This is wrong.\n"),
        (
            PermissionError(13, "Permission denied", "build"),
            "course_lib: [Errno 13] Permission denied: 'build'\n",
        ),
        (
            ModuleNotFoundError("No module named 'scipy'"),
            "course_lib: No module named 'scipy'; `python -m course_lib doctor` says how to install it.\n",
        ),
    ],
)
def test_errors_are_one_sentence(error, complaint, monkeypatch, capsys):
    monkeypatch.setattr(build, "build", raising(error))
    assert main(["build"]) == 1
    assert capsys.readouterr().err == complaint


@pytest.mark.parametrize("switch", ["", "0"])
def test_the_traceback_is_shown_only_when_it_is_asked_for(switch, monkeypatch, capsys):
    monkeypatch.setattr(build, "build", raising(ValueError("This is wrong.")))
    monkeypatch.setenv("COURSE_TRACEBACK", switch)
    assert main(["build"]) == 1
    assert capsys.readouterr().err == "course_lib: This is wrong.\n"
    monkeypatch.setenv("COURSE_TRACEBACK", "1")
    with pytest.raises(ValueError, match=r"This is wrong\."):
        main(["build"])


def test_help_tells_a_developer_how_to_see_the_traceback(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "COURSE_TRACEBACK=1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, asked_for",
    [([], ([], False)), (["--all"], ([], True)), (["01", "02"], (["01", "02"], False))],
    ids=str,
)
def test_build_passes_on_what_to_rebuild(arguments, asked_for, monkeypatch):
    calls = []
    monkeypatch.setattr(build, "build", lambda names, *, everything: calls.append((names, everything)))
    assert main(["build", *arguments]) == 0
    assert calls == [asked_for]


@pytest.mark.parametrize(
    "interruption, said",
    [
        (KeyboardInterrupt("1 of 2 is kept."), "Interrupted. 1 of 2 is kept."),
        (KeyboardInterrupt(), "Interrupted. Nothing was changed."),
    ],
)
def test_an_interruption_says_what_was_kept(interruption, said, monkeypatch, capsys):
    monkeypatch.setattr(run, "run", raising(interruption))
    assert main(["run"]) == 130
    assert capsys.readouterr().err.strip() == said


def test_the_command_line_starts_where_every_package_is_missing():
    """The doctor has to get far enough to say so."""
    isolated = [sys.executable, "-S", "-m", "course_lib", "doctor"]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(isolated, capture_output=True, text=True, cwd=root)
    assert done.returncode == 1
    assert "checks failed." in done.stdout
    assert "pip install" in done.stdout
    assert done.stderr == ""


# train and evaluate


@pytest.fixture
def tiny_preset(monkeypatch):
    """A preset that is trained in a moment."""
    monkeypatch.setitem(PRESETS, "tiny", tiny())


def test_train_and_evaluate_say_where_the_weights_are_and_how_good(tiny_preset, tmp_path, capsys):
    weights = tmp_path / "tiny.safetensors"
    train = ["train", "tiny", "--device", "cpu", "--out", str(tmp_path)]
    assert main([*train, "--epochs", "1", "--seed", "5"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith(
        f"The training of tiny is finished. Its best weights, those after epoch 1, are in {weights}"
    )
    assert said.out.count("\n") == 1
    card = json.loads(weights.with_suffix(".json").read_text())
    assert (card["settings"]["epochs"], card["seed"]) == (1, 5)

    assert main(["evaluate", str(weights), "--device", "cpu", "--n-samples", "20", "--n-images", "9"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith("tiny, test: log p(x) = -")
    assert "mean of 9 images with 20 samples each" in said.out
    assert "; ELBO -" in said.out
    assert json.loads(weights.with_suffix(".json").read_text()) == card


def test_evaluate_prints_one_json_object_and_saves_it_when_asked(tiny_preset, tmp_path, capsys):
    assert main(["train", "tiny", "--device", "cpu", "--out", str(tmp_path), "--epochs", "1"]) == 0
    capsys.readouterr()
    weights = tmp_path / "tiny.safetensors"
    evaluate = ["evaluate", str(weights), "--device", "cpu", "--n-samples", "20", "--json", "--save"]
    found = {}
    for split in ("test", "validation"):
        assert main([*evaluate, "--split", split]) == 0
        said = capsys.readouterr()
        found[split] = json.loads(said.out)
        assert said.out.count("\n") == 1
        assert (found[split].pop("name"), found[split].pop("split")) == ("tiny", split)
        assert found[split]["precision"] == "float32"
    for name in ("elbo", "log_likelihood"):
        assert found["test"][name].keys() >= {"value", "std_error", "n_samples", "n_images"}
    card = json.loads(weights.with_suffix(".json").read_text())
    # What the training found with fewer samples stays.
    others = {split: card["metrics"][split].pop("others") for split in found}
    assert card["metrics"] == found
    assert others["test"] == []
    assert [one["log_likelihood"]["n_samples"] for one in others["validation"]] == [5]
    assert not list(tmp_path.glob("*.evaluation*"))


@pytest.fixture
def grey(tmp_path):
    """A checkpoint of a model of digits with all their levels, as untrained as can be."""
    preset = tiny(model="ImageVAE", arguments=LEVELS, stored="float16")
    path = tmp_path / "grey.safetensors"
    card = Card(name="grey", settings=preset.settings(), metrics={})
    save_checkpoint(path, build_model(preset), card, torch.float16)
    return path


def test_an_evaluation_goes_on_after_ctrl_c(grey, tmp_path, capsys, monkeypatch):
    before = {path.name for path in tmp_path.iterdir()}
    command = ["evaluate", str(grey), "--device", "cpu", "--n-samples", "20", "--n-images", "30", "--json"]
    assert main(command) == 0
    whole = json.loads(capsys.readouterr().out)
    taken = []

    def interrupted(*arguments, **keywords):
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(len(arguments[1]))
        return log_likelihood(*arguments, **keywords)

    monkeypatch.setattr(evaluation, "images_per_block", lambda *_: 1)
    monkeypatch.setattr(evaluation, "log_likelihood", interrupted)
    assert main(command) == 130
    said, kept = capsys.readouterr(), tmp_path / "grey.test-encoder-20.evaluation-0"
    assert said.out == ""
    assert said.err == f"\nInterrupted. 20 of 30 images are done and kept in {kept}: the same again goes on.\n"
    taken.clear()
    # What cannot be saved is not lost either.
    monkeypatch.setattr(evaluation, "save_card", raising(OSError("cannot write")))
    assert main([*command, "--save"]) == 1
    assert kept.exists()
    monkeypatch.undo()
    capsys.readouterr()
    assert main([*command, "--save"]) == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("elbo", "log_likelihood"):
        assert found[name]["value"] == pytest.approx(whole[name]["value"], rel=1e-5)
        assert found[name]["n_images"] == 30
    assert {path.name for path in tmp_path.iterdir()} == before
    assert found["binarization_seed"] is None


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"data": "letters"}, "the data set must be one of digits, mnist, "),
        ({"levels": 256}, "the model is of 256 levels and digits has 17 levels: choose other data"),
        ({"shape": [1, 12, 12]}, "images must have shape [batch, 1, 12, 12], channels first; got [1, 1, 8, 8]"),
        ({"shape": 64}, "grey.json describes a model that this course cannot build (shape must give channels"),
        ({"network": "resnet", "shape": [1, 10, 10], "network_arguments": {}}, "10 x 10 is not divisible by 4"),
        ({"network": "unet"}, "cannot build (network must be one of dense, gated-conv, resnet; got 'unet'.)"),
        (
            {"likelihood": "gaussian"},
            "cannot build (likelihood must be one of bernoulli, logistic-mixture, cate",
        ),
        ({"posterior_flows": -1}, "cannot build (posterior_flows must be a whole number of at least 0"),
        ({"network_arguments": {"depth": 3}}, "must be one of width, n_layers; got 'depth'"),
    ],
    ids=str,
)
def test_what_a_card_says_and_cannot_be_evaluated_is_one_sentence(settings, complaint, grey, capsys):
    settings = {"data": "digits", **settings}
    preset = dataclasses.replace(tiny(model="ImageVAE"), data=settings.pop("data"), arguments={**LEVELS, **settings})
    try:
        save_checkpoint(grey, build_model(preset), Card(name="grey", settings=preset.settings(), metrics={}))
    except (TypeError, ValueError):
        card = json.loads(grey.with_suffix(".json").read_text())
        grey.with_suffix(".json").write_text(json.dumps({**card, "settings": preset.settings()}))
    assert main(["evaluate", str(grey), "--device", "cpu", "--n-samples", "2", "--save"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("course_lib: ") and said.err.count("\n") == 1
    assert complaint in said.err
    assert not list(grey.parent.glob("*.evaluation*"))


def test_train_help_shows_every_preset_and_its_settings(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for preset in PRESETS.values():
        assert f"{preset.name} {summary(preset)}" in printed
    assert summary() in printed


def test_to_resume_says_when_it_starts_anew_and_when_all_is_done(tiny_preset, tmp_path, capsys):
    train = ["train", "tiny", "--device", "cpu", "--out", str(tmp_path), "--epochs", "1", "--resume"]
    assert main(train) == 0
    said = capsys.readouterr()
    assert said.err == f"Nothing of tiny is saved in {tmp_path}: starting anew.\n"
    assert main(train) == 0
    again = capsys.readouterr()
    assert (again.out, again.err) == (said.out, "")


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["train", "tiny-vae"], "there is no preset 'tiny-vae'; choose one of digits-vae"),
        (["train", "tiny", "--epochs", "0"], "epochs must be a whole number of at least 1; got 0"),
        (["train", "tiny", "--seed", "-1"], "seed must be a whole number of at least 0; got -1"),
        (["train", "tiny", "--device", "tpu"], "there is no device 'tpu'"),
        (["train", "wild"], "training of wild has diverged by step"),
        (["train", "done"], "holds a training of done: go on with --resume, choose another folder, or remove"),
        (["evaluate", "done"], "done.safetensors: a checkpoint is NAME.safetensors and its card NAME.json"),
        (["evaluate", "./done", "--split", "all"], "there is no split 'all'"),
        (["evaluate", "./done", "--n-images", "0"], "n_images must be between 1 and 300; got 0"),
        (["evaluate", "./done", "--n-samples", "1"], "an error needs at least 2 samples"),
        (["evaluate", "./done", "--seed", "-1"], "seed must be a whole number of at least 0; got -1"),
        (["evaluate", "./done", "--precision", "int8"], "precision must be one of float32, bfloat16; got 'int8'"),
        (["evaluate", "./done", "--device", "tpu"], "there is no device 'tpu'"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_trained_or_evaluated_is_one_sentence(
    arguments, complaint, tiny_preset, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(PRESETS, "wild", dataclasses.replace(tiny(learning_rate=1e30), name="wild"))
    monkeypatch.setitem(PRESETS, "done", dataclasses.replace(tiny(epochs=1), name="done"))
    assert main(["train", "done", "--device", "cpu", "--out", "."]) == 0
    capsys.readouterr()
    assert main([*arguments, *(["--out", "."] if arguments[0] == "train" else [])]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("course_lib: ")
    assert complaint in said.err
    assert said.err.count("\n") == 1


def test_without_tensorboard_train_says_how_to_install_it(tiny_preset, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert main(["train", "tiny", "--tensorboard", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("course_lib: TensorBoard is not installed: ")
    assert not list(tmp_path.iterdir())


def test_tensorboard_gets_a_folder_beside_the_weights(tiny_preset, tmp_path):
    pytest.importorskip("tensorboard")
    assert main(["train", "tiny", "--device", "cpu", "--epochs", "1", "--tensorboard", "--out", str(tmp_path)]) == 0
    assert list((tmp_path / "tiny.tensorboard").glob("events.*"))


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent otherwise there")
def test_ctrl_c_saves_the_training_and_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "course_lib", "train", "digits-vae", "--device", "cpu", "--out", "out"]
    running = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # Where the tests run in the background, programs they start would ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "digits-vae.state").exists() and running.poll() is None:
        assert time.monotonic() < deadline, "nothing was saved"
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    assert re.fullmatch(r"\nInterrupted\. Step [\d,]+ of 2,400 is saved: go on with --resume\.\n", err)
    _, progress = load_state(tmp_path / "out" / "digits-vae.state")
    assert f"Step {progress['step']:,} of" in err


# Pictures


def pixels_of(picture):
    return np.asarray(Image.open(picture))


@pytest.mark.parametrize("name, side", [("digits-mixture", 519), ("mnist-vae", 455)])
def test_sample_draws_from_the_courses_own_checkpoints(name, side, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sample", name]) == 0
    said, file = capsys.readouterr(), Path("build") / f"{name}-samples.png"
    assert said.out == f"{file} shows 64 draws of z from the prior of {name}, each as its mean image E[x|z].\n"
    assert said.err == ""
    assert pixels_of(file).shape == (side, side)
    assert file.read_bytes() == picture_of_samples(load_checkpoint(name)[0])
    assert main(["sample", name, "--n", "1", "--seed", "1", "--out", "some/where/one.PNG"]) == 0
    assert capsys.readouterr().out.startswith("some/where/one.PNG shows one draw of z from")
    assert Path("some/where/one.PNG").read_bytes() == picture_of_samples(load_checkpoint(name)[0], 1, seed=1)
    assert [path.name for path in tmp_path.rglob("*.png")] == [file.name]


def test_reconstruct_shows_images_and_what_is_made_of_them(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["reconstruct", "digits-mixture"]) == 0
    said, file = capsys.readouterr(), Path("build/digits-mixture-reconstructions.png")
    assert said.out == (
        f"{file} shows the first 32 images of digits, test, and below each what digits-mixture makes of it: E[x|z], "
        "with one z drawn from q(z|x).\n"
    )
    assert said.err == ""
    model, _ = load_checkpoint("digits-mixture")
    digits = datasets.load("digits")
    assert file.read_bytes() == picture_of_reconstructions(model, digits.test[:32])
    assert np.array_equal(pixels_of(file)[:64:8, :64:8], (255 * digits.test[0, 0]).round().numpy())
    command = ["reconstruct", "digits-mixture", "--n", "1", "--split", "validation", "--seed", "3", "--out", "a.png"]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("a.png shows the first image of digits, validation, and below each")
    assert Path("a.png").read_bytes() == picture_of_reconstructions(model, digits.validation[:1], seed=3)


def test_a_model_of_bits_is_shown_bits(tiny_preset, tmp_path, capsys):
    assert main(["train", "tiny", "--device", "cpu", "--epochs", "1", "--out", str(tmp_path)]) == 0
    weights, out = tmp_path / "tiny.safetensors", tmp_path / "tiny.png"
    assert main(["reconstruct", str(weights), "--n", "9", "--out", str(out)]) == 0
    shown = datasets.fixed_binarization(datasets.load("digits").test)[0, 0]
    assert np.array_equal(pixels_of(out)[:64:8, :64:8], 255 * shown.numpy())
    assert main(["sample", str(weights), "--out", str(out)]) == 0
    assert out.read_bytes() == (tmp_path / "tiny.pictures" / "samples-000001.png").read_bytes()


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["sample", "digits-mixture", "--n", "0"], "n must be a whole number of at least 1; got 0"),
        (["sample", "digits-mixture", "--n", "2000"], "n must be at most 1,000; got 2,000"),
        (["sample", "digits-mixture", "--seed", "-1"], "seed must be a whole number of at least 0; got -1"),
        (["sample", "digits-mixture", "--out", "a.jpg"], "a picture is FILE.png; got --out a.jpg"),
        (["sample", "digits-mixture", "--out", "a.png/"], "cannot write a.png (Is a directory)"),
        (["sample", "digits-mixtures"], "digits-mixtures.safetensors: a checkpoint is NAME.safetensors and"),
        (["reconstruct", "digits-mixture", "--n", "0"], "n must be between 1 and 300; got 0"),
        (["reconstruct", "digits-mixture", "--n", "301"], "n must be between 1 and 300; got 301"),
        (["reconstruct", "digits-mixture", "--n", "1297", "--split", "train"], "n must be between 1 and 1,000; got"),
        (["reconstruct", "digits-mixture", "--split", "all"], "there is no split 'all': choose train, validation or"),
        (["reconstruct", "digits-mixture", "--seed", "-1"], "seed must be a whole number of at least 0; got -1"),
        (["reconstruct", "digits-mixture", "--out", "png"], "a picture is FILE.png; got --out png"),
        (["reconstruct", "digits-mixture", "--data", "there"], "there is no there: give a folder of PNG or JPEG"),
        (["reconstruct", "./own"], "own was trained on shapes-0123456789ab, images of someone's own: give --data"),
        (["reconstruct", "./photos"], "the data set cifar10-sample is not downloaded but read from COURSE_DATA_DIR"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_drawn_is_one_sentence(arguments, complaint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COURSE_DATA_DIR", raising=False)
    (tmp_path / "a.png").mkdir()
    for name, data in {"own": "shapes-0123456789ab", "photos": "cifar10-sample"}.items():
        preset = dataclasses.replace(tiny(), data=data)
        card = Card(name=name, settings=preset.settings(), metrics={})
        save_checkpoint(tmp_path / f"{name}.safetensors", build_model(preset), card)
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("course_lib: ") and said.err.count("\n") == 1
    assert complaint in said.err
    assert [path.name for path in tmp_path.rglob("*.png")] == ["a.png"]


def test_images_of_ones_own_are_reconstructed_with_data(tmp_path, capsys):
    levels = np.random.default_rng(0).integers(17, size=(50, 8, 8))
    np.savez(tmp_path / "shapes.npz", train=levels[:40], test=levels[40:], levels=17)
    data = datasets.from_path(tmp_path / "shapes.npz")
    preset = dataclasses.replace(tiny(model="ImageVAE", arguments=LEVELS), data=data.name)
    model, card = build_model(preset), Card(name="own", settings=preset.settings(), metrics={})
    save_checkpoint(tmp_path / "own.safetensors", model, card)
    command = ["reconstruct", str(tmp_path / "own.safetensors"), "--n", "5", "--out", str(tmp_path / "own.png")]
    assert main([*command, "--data", str(tmp_path / "shapes.npz")]) == 0
    assert f"shows the first 5 images of {data.name}, test" in capsys.readouterr().out
    assert (tmp_path / "own.png").read_bytes() == picture_of_reconstructions(model, data.test[:5])
    np.savez(tmp_path / "others.npz", train=levels[:30], test=levels[30:], levels=17)
    assert main([*command, "--data", str(tmp_path / "others.npz")]) == 1
    assert f"own was trained on {data.name}, and this is others-" in capsys.readouterr().err


# The zoo


def test_the_zoo_trains_and_says_where_it_is(tiny_preset, tmp_path, capsys):
    command = ["zoo", "--minutes", "0.2", "--only", "tiny", "--device", "cpu", "--out", str(tmp_path / "zoo")]
    assert main([*command, "--deliver", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"tiny: epoch \d+, bound -\d+\.\d+, validation -\d+\.\d+ ± \d", printed)
    assert printed.endswith(f"\nWhat is finished is in {tmp_path / 'zoo'}.\n")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"tiny.zip", "table.md"}
    assert main(command) == 1
    assert "holds trainings of tiny: go on with --resume" in capsys.readouterr().err


def test_a_zoo_that_is_not_finished_fails(tiny_preset, tmp_path, capsys):
    command = ["zoo", "--minutes", "0.001", "--only", "tiny", "--device", "cpu", "--out", str(tmp_path)]
    assert main(command) == 1
    assert re.search(r"\n- tiny: (no time is left|an epoch of tiny does not fit)", capsys.readouterr().out)


def test_an_interrupted_zoo_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("course_lib.zoo.run_zoo", interrupted)
    assert main(["zoo", "--minutes", "1", "--out", str(tmp_path)]) == 130
    assert f"What is finished is in {tmp_path}: go on with --resume." in capsys.readouterr().err


def test_minutes_choose_the_epochs_and_say_so(tiny_preset, tmp_path, capsys):
    assert main(["train", "tiny", "--device", "cpu", "--out", str(tmp_path), "--minutes", "0.1"]) == 0
    told = capsys.readouterr().err
    assert re.search(r"\d+ epochs of tiny fit: a step takes .* --epochs \d+ is the same training again\.", told)


def test_minutes_or_epochs_but_not_both(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "digits-vae", "--minutes", "1", "--epochs", "3"])
    assert "not allowed with argument" in capsys.readouterr().err


# The classroom


def test_release_passes_on_what_to_write(tmp_path, monkeypatch):
    asked_for = []
    monkeypatch.setattr("course_lib.publishing.release.release", lambda *a, **k: asked_for.append((a, k)))
    monkeypatch.setattr("course_lib.publishing.nbgrader_course.nbgrader_course", lambda *a: asked_for.append(a))
    out = tmp_path / "class"
    assert main(["release", "--out", str(out), "--wheels"]) == 0
    assert main(["release", "--out", str(out), "--address", "https://example.org"]) == 0
    assert main(["release", "--out", str(out), "--nbgrader"]) == 0
    assert asked_for == [
        ((out,), {"wheels": True, "address": None}),
        ((out,), {"wheels": False, "address": "https://example.org"}),
        (out,),
    ]


@pytest.mark.parametrize("option", [["--wheels"], ["--address", "https://example.org"]])
def test_a_course_for_nbgrader_comes_alone(option, tmp_path, capsys):
    assert main(["release", "--out", str(tmp_path / "class"), "--nbgrader", *option]) == 1
    assert "leave --wheels and --address out" in capsys.readouterr().err
    assert not (tmp_path / "class").exists()


def test_marks_runs_what_is_handed_in_and_an_empty_folder_is_one_sentence(tmp_path, capsys):
    (tmp_path / "class").mkdir()
    assert main(["marks", str(tmp_path / "class"), "--out", str(tmp_path / "marks")]) == 1
    assert capsys.readouterr().err.startswith("course_lib: ")
    (tmp_path / "class" / "anna.ipynb").write_text("not JSON")
    assert main(["marks", str(tmp_path / "class"), "--out", str(tmp_path / "marks"), "--jobs", "1"]) == 0
    assert "other people wrote" in capsys.readouterr().out
    header, row = (tmp_path / "marks" / "marks.csv").read_text(encoding="utf-8").splitlines()
    assert header.lstrip("\ufeff") == "participant,notebook,exercise,status,hint"
    assert row.startswith("anna,,,unreadable,")


def test_lab_opens_the_folder_that_it_is_given(tmp_path, monkeypatch, capsys):
    given = []
    monkeypatch.setattr("jupyterlab.labapp.LabApp.launch_instance", lambda argv: given.append(argv))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "mine")
    assert main(["lab", str(tmp_path)]) == 1
    assert "There are no notebooks in" in capsys.readouterr().err
    (tmp_path / "01_one.ipynb").touch()
    assert main(["lab", str(tmp_path)]) == 0
    assert given[0][:2] == [f"--ServerApp.root_dir={tmp_path}", "--LabApp.default_url=/lab/tree"]
    first, second = os.environ["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert (Path(first, "labconfig").is_dir(), second) == (True, "mine")
