"""Several processes agree with one: on CPUs, started by torchrun as users start them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_trainings import TWO_LAYERS, log_of, tiny

from course_lib.training import build_model, load_checkpoint, processes, train
from course_lib.training.evaluation import evaluate

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
DEEP = {
    "shape": [1, 8, 8],
    "network_arguments": {"widths": [4, 4, 8], "blocks": [0, 0, 1]},
    "latent_dim": 4,
    "posterior_flows": 1,
    "prior_flows": 1,
    "flow_width": 8,
}
PRESETS = {
    "one layer": tiny(k=3, kl_warm_up=1),
    "two layers": tiny(model="TwoLayerVAE", arguments=TWO_LAYERS, k=3),
    "average": tiny(ema=0.9, optimizer="adamax"),
    "convolutions and flows": tiny(model="ImageVAE", arguments=DEEP, k=2, optimizer="adamax", epochs=1),
}
# Each process trains in a folder of its own, which shows who writes, and evaluates a checkpoint that is there.
DRIVER = """
import json, os, sys
from course_lib.training import Preset, load_checkpoint, processes, train
from course_lib.training.evaluation import evaluate

presets, checkpoint = json.loads(sys.argv[1]), sys.argv[2]
me = os.environ["RANK"]
with processes.group("cpu"):
    for name, settings in presets.items():
        train(Preset(**settings), os.path.join("trained by " + me, name), device="cpu")
    evidence = evaluate(load_checkpoint(checkpoint)[0], "digits", n_samples=20, n_images=31)
    fitted = evaluate(load_checkpoint(checkpoint)[0], "digits", n_samples=20, n_images=31, proposal="adapted")
with open(me + ".json", "w") as file:
    found = {"per_image": evidence.per_image, "elbo": evidence.elbo, "fitted": fitted.per_image}
    json.dump({name: tensor.tolist() for name, tensor in found.items()}, file)
"""


def start(*command, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A group of its own, so that Ctrl-C reaches all of it and not the tests.
    return subprocess.Popen([*TORCHRUN, *command], cwd=folder, env=environment, start_new_session=True, **piped)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    return {name: train(preset, folder / name, device="cpu") for name, preset in PRESETS.items()}


@pytest.fixture(scope="module")
def together(tmp_path_factory, alone):
    folder = tmp_path_factory.mktemp("together")
    (folder / "driver.py").write_text(DRIVER)
    settings = json.dumps({name: preset.settings() for name, preset in PRESETS.items()})
    running = start("driver.py", settings, str(alone["one layer"]), folder=folder)
    _, complaints = running.communicate(timeout=240)
    assert running.returncode == 0, complaints
    return folder


def distance(one, other):
    """Root mean square over all weights."""
    squares = torch.cat([(one[name] - other[name]).flatten().double() ** 2 for name in one])
    return float(squares.mean().sqrt())


@pytest.mark.parametrize("name", PRESETS)
def test_two_processes_train_to_what_one_does(name, alone, together, tmp_path):
    """Within rounding, which training amplifies; other draws of noise end a thousand times farther apart."""
    trained = together / "trained by 0" / name / "tiny.safetensors"
    one, two = load_file(alone[name]), load_file(trained)
    settings = PRESETS[name].settings() | {"seed": 1}
    elsewhere = load_file(train(type(PRESETS[name])(**settings), tmp_path, device="cpu"))
    start_of_both = build_model(PRESETS[name]).state_dict()
    start_elsewhere = build_model(type(PRESETS[name])(**settings)).state_dict()
    moved = {weight: elsewhere[weight] - start_elsewhere[weight] + start_of_both[weight] for weight in one}
    assert distance(one, two) < 1e-3 * distance(one, moved)
    for mine, theirs in zip(log_of(trained), log_of(alone[name]), strict=True):
        assert (mine["epoch"], mine["step"]) == (theirs["epoch"], theirs["step"])
        # Sums of 64 float32 terms of size 1, in other orders: 1e-5 nats, amplified as the weights are.
        for number in ("bound", "validation", "validation_std_error"):
            assert mine[number] == pytest.approx(theirs[number], abs=1e-3)
    assert load_checkpoint(trained)[1]["processes"] == 2


def test_only_the_first_process_writes(together):
    assert sorted(path.name for path in together.glob("trained by *")) == ["trained by 0"]


def test_each_process_has_the_whole_evaluation_and_it_is_that_of_one(alone, together):
    expected = evaluate(load_checkpoint(alone["one layer"])[0], "digits", n_samples=20, n_images=31)
    fitted = evaluate(load_checkpoint(alone["one layer"])[0], "digits", n_samples=20, n_images=31, proposal="adapted")
    for rank in "01":
        found = json.loads((together / f"{rank}.json").read_text())
        for name in ("per_image", "elbo"):
            # The same draws; sums of 64 pixels in float32 round to about 1e-5.
            torch.testing.assert_close(torch.tensor(found[name]).double(), getattr(expected, name), rtol=0, atol=1e-4)
        torch.testing.assert_close(torch.tensor(found["fitted"]).double(), fitted.per_image, rtol=0, atol=1e-3)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="Windows sends Ctrl-C otherwise, to no group of processes")
def test_the_command_line_trains_with_torchrun_and_ctrl_c_ends_it(tmp_path):
    train_ = ["-m", "course_lib", "train", "digits-vae", "--device", "cpu", "--out", "out"]
    running = start(*train_, folder=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "out" / "digits-vae.safetensors").exists() and running.poll() is None:
        assert time.monotonic() < deadline, "nothing was trained"
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    _, complaints = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "is saved: go on with --resume." in complaints
    load_checkpoint(tmp_path / "out" / "digits-vae.safetensors")
    assert Path(tmp_path / "out" / "digits-vae.state").exists()


def test_a_batch_that_cannot_be_shared_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 3)
    with pytest.raises(ValueError, match=r"^a batch of 100 is not shared evenly by 3 processes: start as many"):
        train(tiny(), tmp_path, device="cpu")


def test_parts_in_order_are_the_whole(monkeypatch):
    for n in (1, 7, 100):
        for n_processes in (1, 2, 3, 8):
            monkeypatch.setattr(processes, "count", lambda n_processes=n_processes: n_processes)
            parts = []
            for rank in range(n_processes):
                monkeypatch.setattr(processes, "_rank", lambda rank=rank: rank)
                parts += range(n)[processes.my_part(n)]
            assert parts == list(range(n))


def test_a_process_that_runs_alone_joins_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes.group("cpu"):
        assert (processes.count(), processes.is_first(), processes.gathered("a")) == (1, True, ["a"])
        assert processes.mean(torch.tensor(2.0)) == 2


def test_several_processes_on_what_they_cannot_share_is_one_sentence(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ValueError, match=r"not on mps: add --device cpu\.$"), processes.group("mps"):
        pass
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(ValueError, match=r"a GPU of its own, and this machine has 1: start 1\.$"),
        processes.group("cuda"),
    ):
        pass
