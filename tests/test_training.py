"""Training: the same result whenever it is stopped, the best weights kept, and no harm done by what goes wrong."""

import dataclasses
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save
from tiny_trainings import VARIANTS, OneDevice, are_equal, log_of, result_of, tiny
from torch import nn

from course_lib import datasets
from course_lib.training import PRESETS, load_checkpoint, loop, processes, states, steps, train
from course_lib.training.checkpoints import CheckpointFiles
from course_lib.training.devices import choose_device, compile_parts
from course_lib.training.evaluation import evaluate, images_for
from course_lib.training.pictures import picture_of_reconstructions, picture_of_samples
from course_lib.training.run import Run
from course_lib.training.tensorboard import tensorboard
from course_lib.vae import log_likelihood

CPU = torch.device("cpu")
# Beside the repository, on machines without a network.
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RESNET = {"network": "resnet", "network_arguments": {"widths": [4, 4, 8], "blocks": [0, 0, 1]}, "latent_dim": 4}
FLOWS = {"posterior_flows": 1, "prior_flows": 1, "flow_width": 8}
DENSE = {"network": "dense", "network_arguments": {"width": 20, "n_layers": 1}, "latent_dim": 4}
LADDER = {"layers": 2, "latent_maps": 1, "widths": [4, 4, 8], "blocks": [0, 0, 1]}
GREY = {"shape": [1, 8, 8], "levels": 17, **DENSE, "likelihood": "logistic-mixture", "components": 2}


def deep(arguments, **settings):
    """4 steps an epoch, images of bits unless told otherwise."""
    few = {"batch_size": 300, "epochs": 8, "validate_every": 4, "validation_samples": 2}
    return tiny(arguments={"shape": [1, 8, 8], **arguments}, **({"model": "ImageVAE"} | few | settings))


DEEP_VARIANTS = {
    "convolutions and flows": deep({**RESNET, **FLOWS}, optimizer="adamax", ema=0.9, stored="float16", kl_warm_up=1),
    "grey levels": deep(GREY, ema=0.9, k=2),
    "layers of maps": deep(LADDER, model="LadderVAE", precision="bfloat16", k=2, gradient="sticking-the-landing"),
}
ALL_VARIANTS = VARIANTS | DEEP_VARIANTS


def a_run(preset, folder, device=CPU):
    return Run(preset, CheckpointFiles(folder, preset.name), device)


def content_of(folder):
    """What the files in it, and in the folders in it, hold."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels_of(picture):
    return np.asarray(Image.open(picture))


def at_step(monkeypatch, number, act):
    """Do something in the middle of a step: the weights have been changed, and the step is not counted yet."""
    calls = []

    def mean(part):
        calls.append(1)
        if len(calls) == number:
            act()
        return part

    monkeypatch.setattr(processes, "mean", mean)


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


# What a training computes


@pytest.mark.parametrize("preset", ALL_VARIANTS.values(), ids=ALL_VARIANTS)
def test_the_same_preset_gives_the_same_result_bit_for_bit(preset, tmp_path):
    once, again = (result_of(train(preset, tmp_path / name, device="cpu")) for name in ("once", "again"))
    assert are_equal(once, again)


def test_another_seed_gives_another_result(tmp_path):
    weights = [load_file(train(tiny(seed=seed), tmp_path / str(seed), device="cpu")) for seed in (0, 1)]
    assert not any(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_training_neither_uses_nor_moves_the_global_generator(tmp_path):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = train(tiny(epochs=1), tmp_path / "first", device="cpu")
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(1)
    assert are_equal(result_of(first), result_of(train(tiny(epochs=1), tmp_path / "second", device="cpu")))


def test_tqdm_disable_keeps_the_bar_away(tmp_path, monkeypatch):
    """As stored notebooks want it: tqdm alone would not ask where it is told `disable=None`."""
    asked = []
    monkeypatch.setattr(loop, "tqdm", lambda **settings: asked.append(settings["disable"]) or nullcontext())
    for value in ("", "1"):
        monkeypatch.setenv("TQDM_DISABLE", value)
        with pytest.raises(AttributeError):  # of the bar that is none
            train(tiny(epochs=1), tmp_path / value, device="cpu")
    assert asked == [None, True]


def test_a_trained_model_beats_the_best_model_without_latent_variables(tmp_path):
    digits = datasets.load("digits")
    model, _ = load_checkpoint(train(tiny(epochs=20), tmp_path, device="cpu"))
    found = evaluate(model, "digits", split="validation", n_samples=100).per_image
    # Independent pixels, each with its mean over the training images: their log p(x) is known exactly.
    x = datasets.fixed_binarization(digits.validation).flatten(1).double()
    mean = digits.train.flatten(1).double().mean(0).clamp(1e-3, 1 - 1e-3)
    gain = found - (torch.xlogy(x, mean) + torch.xlogy(1 - x, 1 - mean)).sum(1)
    assert gain.mean() > 10 * gain.std() / math.sqrt(len(gain))


def test_the_log_has_the_mean_bound_of_the_batches_since_the_last_validation(tmp_path, monkeypatch):
    bounds = []
    monkeypatch.setattr(processes, "mean", lambda part: bounds.append(part) or part)
    heard = []
    weights = train(tiny(epochs=5, validate_every=2), tmp_path, device="cpu", on_record=heard.append)
    assert [(line["epoch"], line["step"]) for line in heard] == [(2, 24), (4, 48), (5, 60)]
    assert [line["bound"] for line in heard] == [
        float(torch.stack(part).mean()) for part in (bounds[:24], bounds[24:48], bounds[48:])
    ]
    assert log_of(weights) == [{name: line[name] for name in line if name != "seconds"} for line in heard]


def test_the_card_says_what_was_done(tmp_path):
    preset = tiny(seed=4)
    weights = train(preset, tmp_path, device="cpu")
    _, card = load_checkpoint(weights)
    best = max(log_of(weights), key=lambda line: line["validation"])
    assert card.name == card.preset == "tiny"
    assert card.settings == preset.settings()
    assert (card.seed, card.epochs, card.processes) == (4, best["epoch"], 1)
    assert card.data == "digits, dynamically binarized"
    assert card.device.startswith("cpu")
    validation = card.metrics["validation"].log_likelihood
    assert (validation.value, validation.std_error_over_images) == (best["validation"], best["validation_std_error"])
    assert (validation.n_samples, validation.n_images) == (preset.validation_samples, 200)
    assert card.versions["torch"] == torch.__version__


def test_the_averaged_weights_are_what_is_saved(tmp_path, monkeypatch):
    preset = tiny(ema=0.9, epochs=1)
    path = []
    take_step = Run.take_step
    monkeypatch.setattr(
        Run,
        "take_step",
        lambda run: (take_step(run), path.append([p.detach().clone() for p in run.model.parameters()])),
    )
    saved = load_checkpoint(train(preset, tmp_path, device="cpu"))[0]
    average = path[0]
    for weights in path[1:]:
        average = [0.9 * a + 0.1 * w for a, w in zip(average, weights, strict=True)]
    # Each of 12 averagings rounds a few times, and weights are below 10: far less than the weights moved.
    for mine, expected, last in zip(saved.parameters(), average, path[-1], strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=12 * 4 * 10 * torch.finfo(torch.float32).eps)
        assert not torch.allclose(mine, last, rtol=0, atol=1e-3)


def test_what_is_validated_is_what_is_stored(tmp_path):
    preset = deep(GREY, stored="float16", epochs=1, validate_every=1)
    heard = []
    weights = train(preset, tmp_path, device="cpu", on_record=heard.append)
    assert all(tensor.dtype == torch.float16 for tensor in load_file(weights).values())
    validation = datasets.load("digits").validation
    stored, card = load_checkpoint(weights)
    found = log_likelihood(stored, validation, preset.validation_samples, preset.seed).per_image.mean()
    assert heard[0]["validation"] == card["metrics"]["validation"]["log_likelihood"]["value"]
    assert heard[0]["validation"] == pytest.approx(float(found), abs=1e-5)
    # Those before rounding have another value: 11 bits of each of thousands of weights are no 24.
    state = {name.removeprefix("model."): tensor for name, tensor in load_file(weights.with_suffix(".state")).items()}
    stored.load_state_dict({name: state[name] for name in stored.state_dict()})
    unrounded = log_likelihood(stored, validation, preset.validation_samples, preset.seed).per_image.mean()
    assert abs(float(unrounded - found)) > 1e-4


def test_half_precision_halves_the_file(tmp_path):
    sizes = [
        train(deep(GREY, stored=stored, epochs=1, validate_every=1), tmp_path / stored, device="cpu").stat().st_size
        for stored in ("float32", "float16")
    ]
    header = 2_000
    assert sizes[1] < sizes[0] / 2 + header < sizes[0]


@pytest.mark.parametrize("name, kind", [("adam", torch.optim.Adam), ("adamax", torch.optim.Adamax)])
def test_the_preset_names_the_optimizer(name, kind, tmp_path):
    assert type(a_run(tiny(optimizer=name), tmp_path).optimizer) is kind


@pytest.mark.parametrize(
    "schedule, expected",
    [("constant", lambda t: 0.01), ("cosine", lambda t: 0.01 * (1 + math.cos(math.pi * t / 24)) / 2)],
)
def test_the_learning_rate_follows_its_schedule(schedule, expected, tmp_path):
    run = a_run(tiny(schedule=schedule, learning_rate=0.01, epochs=2), tmp_path)
    for step in range(24):
        run.take_step()
        (group,) = run.optimizer.param_groups
        assert group["lr"] == pytest.approx(expected(step), rel=1e-12)


def test_the_warm_up_grows_to_one_and_stays_there(tmp_path, monkeypatch):
    warmths = []
    monkeypatch.setattr(steps, "warmed_up", lambda bound, warmth: warmths.append(warmth) or bound)
    train(tiny(kl_warm_up=3, epochs=5, batch_size=600), tmp_path, device="cpu")
    assert warmths == pytest.approx([1 / 4] * 2 + [2 / 4] * 2 + [3 / 4] * 2 + [1] * 4)


def test_every_epoch_takes_each_image_at_most_once_and_in_another_order():
    first, second = (steps.order_of_images(1297, 0, epoch, CPU) for epoch in (0, 1))
    assert first.sort().values.equal(torch.arange(1297))
    assert second.sort().values.equal(torch.arange(1297))
    assert not first.equal(second)


def seen_by(monkeypatch, run):
    """The images that each of an epoch's steps shows to the model."""
    seen = []
    bound = steps.GRADIENTS["iwae"]
    monkeypatch.setitem(steps.GRADIENTS, "iwae", lambda model, x, *rest: seen.append(x) or bound(model, x, *rest))
    for _ in range(run.steps_per_epoch):
        run.take_step()
    return torch.cat(seen)


def test_a_model_of_levels_sees_the_intensities_themselves(tmp_path, monkeypatch):
    run = a_run(deep(GREY), tmp_path)
    assert seen_by(monkeypatch, run).equal(datasets.load("digits").train[steps.order_of_images(1297, 0, 0, CPU)[:1200]])


def test_a_model_of_bits_sees_them_drawn_anew(tmp_path, monkeypatch):
    run = a_run(tiny(), tmp_path)
    seen, intensities = (
        seen_by(monkeypatch, run),
        datasets.load("digits").train[steps.order_of_images(1297, 0, 0, CPU)[:1200]],
    )
    assert seen.unique().tolist() == [0, 1]
    # A pixel is one as often as its intensity says.
    error = (intensities * (1 - intensities)).sum().sqrt() / intensities.numel()
    assert abs(seen.mean() - intensities.mean()) < 5 * error


def test_training_starts_from_the_mean_image(tmp_path):
    mean = datasets.load("digits").train.mean(0).clamp(1e-3, 1 - 1e-3)
    for number, preset in enumerate((tiny(), DEEP_VARIANTS["convolutions and flows"])):
        model = a_run(preset, tmp_path / str(number)).model
        bias = model.decoder[-1].bias if number == 0 else model.bias
        torch.testing.assert_close(bias.sigmoid().flatten(), mean.flatten())


def test_a_model_of_levels_learns(tmp_path):
    heard = []
    train(deep(GREY, epochs=10, validate_every=1), tmp_path, device="cpu", on_record=heard.append)
    first, last = heard[0], heard[-1]
    assert last["validation"] - first["validation"] > 10 * last["validation_std_error"]


def test_colour_images_train_and_their_bound_rises(tmp_path, monkeypatch):
    """Photographs where there are some, and else patches of a level each."""
    monkeypatch.setenv("COURSE_DATA_DIR", str(DATA))
    if not (DATA / "cifar10-sample").is_dir():
        levels = torch.randint(256, (400, 3, 4, 4), generator=torch.Generator().manual_seed(0))
        images = nn.functional.interpolate(levels / 255, scale_factor=8)
        made_up = datasets.Dataset("cifar10-sample", images[:320], images[320:360], images[360:], 256)
        monkeypatch.setattr(datasets, "load", lambda _: made_up)
    preset = PRESETS["cifar10-sample-resnet"]
    tiny_ = {**preset.arguments, "network_arguments": RESNET["network_arguments"]}
    preset = dataclasses.replace(preset, arguments=tiny_, batch_size=32, learning_rate=5e-3)
    run = a_run(preset, tmp_path)
    few = run.validation[:40]
    before = log_likelihood(run.model, few, 2).elbo
    for _ in range(40):
        run.take_step()
    # Of the same images, for one differs from another by far more.
    gain = log_likelihood(run.model, few, 2).elbo - before
    assert gain.mean() > 5 * gain.std() / math.sqrt(len(gain))


def test_a_gradient_longer_than_the_limit_is_cut_to_it_and_a_shorter_one_is_left(tmp_path):
    def gradient_of_first_step(limit):
        run = a_run(tiny(largest_gradient=limit), tmp_path / str(limit))
        run.take_step()
        return torch.cat([p.grad.flatten() for p in run.model.parameters()])

    whole = gradient_of_first_step(0.0)
    length = float(whole.norm())
    torch.testing.assert_close(gradient_of_first_step(2 * length), whole, rtol=0, atol=0)
    torch.testing.assert_close(gradient_of_first_step(length / 10), whole / 10)


@pytest.mark.parametrize("name", ["all at once", "two layers", *DEEP_VARIANTS])
def test_a_step_never_waits_for_its_device(name, tmp_path, monkeypatch):
    """On the device "meta" there are no numbers, so that no step that looks at one could be taken there."""
    meta, generator = torch.device("meta"), steps.keyed
    monkeypatch.setattr(steps, "keyed", lambda where, *key: None if where == meta else generator(where, *key))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    run = a_run(ALL_VARIANTS[name], tmp_path, meta)
    with OneDevice():
        for _ in range(3):
            run.take_step()
    assert run.bounds[-1].is_meta


def compiled(monkeypatch, preset, folder):
    """Train as on a GPU: with compiled networks, though by a compiler that leaves them as they are."""
    init = Run.__init__

    def compile_too(run, *arguments):
        init(run, *arguments)
        compile_parts(run.model, "eager")

    monkeypatch.setattr(Run, "__init__", compile_too)
    return train(preset, folder, device="cpu")


def test_compiled_networks_train_to_the_same_result(tmp_path, monkeypatch):
    preset = deep({**DENSE, **FLOWS}, stored="float16", epochs=2, validate_every=1)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    weights = [train(preset, tmp_path / "plain", device="cpu"), compiled(monkeypatch, preset, tmp_path / "compiled")]
    # The encoder, the flow of q, p(x|z) and p(z): each whole, and compiled once.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 4
    assert not torch._dynamo.utils.counters["graph_break"]
    plain, other = map(load_file, weights)
    assert plain.keys() == other.keys()
    # Float16 keeps 11 bits.
    for name in plain:
        torch.testing.assert_close(plain[name], other[name], rtol=2**-9, atol=1e-4)
    for mine, theirs in zip(*map(log_of, weights), strict=True):
        assert mine["validation"] == pytest.approx(theirs["validation"], abs=1e-2)
    load_checkpoint(weights[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_a_deep_model_trains_compiled_and_resumes(tmp_path, monkeypatch):
    preset = DEEP_VARIANTS["convolutions and flows"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        at_step(patch, 6, ctrl_c)
        train(preset, tmp_path, device="cuda")
    weights = train(preset, tmp_path, device="cuda", resume=True)
    first, last = log_of(weights)
    assert last["validation"] > first["validation"]
    load_checkpoint(weights)


# Which weights are kept


def pretend(monkeypatch, *values):
    """Let validation find these values, one after another."""
    left = list(values)

    def log_likelihood(model, x, *_, **__):
        return dataclasses.make_dataclass("Evidence", ["per_image"])(torch.full((len(x),), left.pop(0)).double())

    monkeypatch.setattr("course_lib.training.run.log_likelihood", log_likelihood)


def test_the_weights_that_validate_best_are_kept(tmp_path, monkeypatch):
    preset = tiny(schedule="constant", epochs=5)
    at_epoch_2 = train(dataclasses.replace(preset, epochs=2), tmp_path / "two", device="cpu").read_bytes()
    pretend(monkeypatch, -30.0, -20.0, -25.0, -20.0, -21.0)
    weights = train(preset, tmp_path / "five", device="cpu")
    assert weights.read_bytes() == at_epoch_2
    assert load_checkpoint(weights)[1]["epochs"] == 2


def test_with_all_images_the_validation_images_are_learned_from_and_choose_nothing(tmp_path, monkeypatch):
    preset = tiny(all_images=True, epochs=3)
    run = a_run(preset, tmp_path)
    digits = datasets.load("digits")
    assert run.images.equal(torch.cat([digits.train, digits.validation])) and run.steps_per_epoch == 14
    pretend(monkeypatch, -10.0, -20.0, -30.0)
    weights = train(preset, tmp_path, device="cpu")
    state = load_file(weights.with_suffix(".state"))
    assert all(tensor.equal(state[f"model.{name}"]) for name, tensor in load_file(weights).items())
    card = load_checkpoint(weights)[1]
    assert card.data == "digits, dynamically binarized, the validation images among the training images"
    assert card.metrics == {} and card.epochs == 3
    with pytest.raises(ValueError, match="has none left to stop by: set patience to 0"):
        tiny(all_images=True, patience=2)


def test_training_stops_when_time_is_over_and_can_go_on(tmp_path):
    whole = result_of(train(tiny(), tmp_path / "whole", device="cpu"))
    weights = train(tiny(), tmp_path / "part", device="cpu", until=time.monotonic())
    assert log_of(weights)[-1]["step"] == 1
    assert load_checkpoint(weights)[1].epochs == 0
    _, log, state = result_of(train(tiny(), tmp_path / "part", device="cpu", resume=True))
    assert [line["validation"] for line in log[1:]] == [line["validation"] for line in whole[1]]
    assert all(tensor.equal(whole[2][name]) for name, tensor in state.items() if name.startswith("model."))


def test_training_stops_after_as_many_validations_without_a_best_as_the_patience(tmp_path, monkeypatch):
    pretend(monkeypatch, -30.0, -29.0, -29.5, -28.0, -28.0, -28.5, -1.0)
    weights = train(tiny(patience=2, epochs=7), tmp_path, device="cpu")
    assert [line["validation"] for line in log_of(weights)] == [-30.0, -29.0, -29.5, -28.0, -28.0, -28.5]
    assert load_checkpoint(weights)[1]["epochs"] == 4


def test_training_never_looks_at_the_test_images(tmp_path, monkeypatch):
    class Untested:
        def __init__(self, data):
            self._data = data

        def __getattr__(self, name):
            assert not name.startswith("test"), "training looked at the test images"
            return getattr(self._data, name)

    load = datasets.load
    monkeypatch.setattr(datasets, "load", lambda name: Untested(load(name)))
    train(tiny(epochs=1), tmp_path, device="cpu")
    with pytest.raises(AssertionError, match="looked at the test"):
        evaluate(load_checkpoint(tmp_path / "tiny.safetensors")[0], "digits", n_samples=2)


# Stopping and going on


@pytest.mark.parametrize("preset", ALL_VARIANTS.values(), ids=ALL_VARIANTS)
def test_a_training_interrupted_amid_steps_resumes_to_the_same_result(preset, tmp_path, monkeypatch):
    whole = result_of(train(preset, tmp_path / "whole", device="cpu"))
    broken = tmp_path / "broken"
    for step in (1, 4, 25):
        with (
            monkeypatch.context() as patch,
            pytest.raises(KeyboardInterrupt, match=r"is saved: go on with --resume\.$"),
        ):
            at_step(patch, step, ctrl_c)
            train(preset, broken, device="cpu", resume=True)
    assert are_equal(whole, result_of(train(preset, broken, device="cpu", resume=True)))
    assert sorted(os.listdir(broken)) == sorted(os.listdir(tmp_path / "whole"))


def test_a_resumed_optimizer_lays_its_numbers_out_as_the_weights_are(tmp_path, monkeypatch):
    """Channels last where convolutions are, or each step would copy them, and round otherwise."""
    preset = DEEP_VARIANTS["convolutions and flows"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        at_step(patch, 2, ctrl_c)
        train(preset, tmp_path, device="cpu")
    resumed = a_run(preset, tmp_path)
    resumed.restore()
    layouts = [
        (number.stride(), parameter.stride())
        for parameter, state in resumed.optimizer.state.items()
        for number in state.values()
        if number.ndim
    ]
    layouts += [
        (mine.stride(), theirs.stride())
        for mine, theirs in zip(resumed.average.parameters(), resumed.model.parameters(), strict=True)
    ]
    assert all(mine == theirs for mine, theirs in layouts)
    assert any(len(stride) == 4 and stride[1] == 1 < stride[3] for stride, _ in layouts)


def test_an_interruption_says_at_which_step(tmp_path, monkeypatch):
    at_step(monkeypatch, 7, ctrl_c)
    with pytest.raises(KeyboardInterrupt, match=r"^Step 7 of 36 is saved: go on with --resume\.$"):
        train(tiny(), tmp_path, device="cpu")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait_for_the_step(tmp_path, monkeypatch):
    def twice():
        ctrl_c()
        ctrl_c()

    at_step(monkeypatch, 7, twice)
    with pytest.raises(KeyboardInterrupt, match=r"^Step 1 of 36 is saved: go on with --resume\.$"):
        train(tiny(), tmp_path, device="cpu")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# Forks trainings and kills them. To start each anew would take seconds for all that torch imports until its first step.
KILLER = """
import os, random, signal, sys, threading, time
from pathlib import Path
import tqdm.std
from course_lib.training import Preset, loop, train

loop._SAVE_EVERY = 0.0
# Processes that are forked share the bar's own lock, and one that is killed while it holds it stops all later ones.
# A thread that watches bars takes it too, now and then; one that holds it at a fork never lets go in the child.
loop.tqdm.set_lock(threading.RLock())
tqdm.std.tqdm.monitor_interval = 0
preset, chance = Preset(**eval(sys.argv[1])), random.Random(0)

def start(folder):
    if child := os.fork():
        return child
    train(preset, folder, device="cpu", resume=True)
    os._exit(0)

train(preset, "whole", device="cpu")
state = Path("broken/tiny.state")
for _ in range(12):
    before = state.stat().st_mtime_ns if state.exists() else 0
    child, ended = start("broken"), False
    # One save for certain; then any moment, that of a save included.
    while (not state.exists() or state.stat().st_mtime_ns == before) and not ended:
        time.sleep(0.001)
        ended = os.waitpid(child, os.WNOHANG)[0]
    if ended:  # nothing was left to save
        break
    time.sleep(chance.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os.waitpid(start("broken"), 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_training_killed_again_and_again_resumes_to_the_same_result(tmp_path):
    preset = tiny(epochs=25, ema=0.9, batch_size=300)
    done = subprocess.run(
        [sys.executable, "-c", KILLER, repr(preset.settings())],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split().count("-9") >= 3
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert are_equal(result_of(whole / "tiny.safetensors"), result_of(broken / "tiny.safetensors"))
    assert sorted(os.listdir(whole)) == sorted(os.listdir(broken))
    load_checkpoint(broken / "tiny.safetensors")


def test_to_resume_where_nothing_was_saved_is_to_start(tmp_path):
    started, resumed = (result_of(train(tiny(epochs=1), tmp_path / str(r), device="cpu", resume=r)) for r in (0, 1))
    assert are_equal(started, resumed)


@pytest.mark.parametrize("preset", [tiny(epochs=1), VARIANTS["stopped early"]], ids=["at its end", "early"])
def test_to_resume_a_finished_training_changes_nothing(preset, tmp_path, monkeypatch):
    weights = train(preset, tmp_path, device="cpu")
    assert (len(log_of(weights)) < preset.epochs) == (preset.patience > 0)
    before = content_of(tmp_path)
    monkeypatch.setattr(Run, "take_step", lambda run: pytest.fail("a step was taken"))
    assert train(preset, tmp_path, device="cpu", resume=True) == tmp_path / "tiny.safetensors"
    assert content_of(tmp_path) == before


@pytest.mark.parametrize("resume, lost", [(False, None), (False, ".state"), (True, ".state")])
def test_an_earlier_training_is_not_written_over(resume, lost, tmp_path):
    weights = train(tiny(epochs=1), tmp_path, device="cpu")
    if lost:
        weights.with_suffix(lost).unlink()
    before = weights.read_bytes()
    with pytest.raises(FileExistsError, match=r"holds a training of tiny: .*choose another folder, or rem") as told:
        train(tiny(epochs=1, seed=1), tmp_path, device="cpu", resume=resume)
    assert "\n" not in str(told.value)
    assert ("--resume" in str(told.value)) == (lost is None)
    assert weights.read_bytes() == before


def test_to_resume_with_other_settings_is_refused(tmp_path):
    train(tiny(epochs=1), tmp_path, device="cpu")
    with pytest.raises(ValueError, match=r"tiny\.state was begun with another k, epochs: resume with the same"):
        train(tiny(epochs=2, k=2), tmp_path, device="cpu", resume=True)


def test_a_setting_that_is_newer_than_the_state_has_its_default(tmp_path, monkeypatch):
    at_step(monkeypatch, 3, ctrl_c)
    without = {name: value for name, value in tiny().settings().items() if name != "patience"}
    with monkeypatch.context() as older, pytest.raises(KeyboardInterrupt):
        older.setattr("course_lib.training.Preset.settings", lambda _: without)
        train(tiny(), tmp_path, device="cpu")
    assert train(tiny(), tmp_path, device="cpu", resume=True).exists()


def of_an_older_version(state):
    """From before states had a version: of the same names, and with other draws to come."""
    tensors, progress = states.load_state(state)
    state.write_bytes(save(tensors, metadata={"progress": json.dumps(progress)}))


@pytest.mark.parametrize(
    "spoil, complaint",
    [
        (lambda state: state.write_bytes(state.read_bytes()[:999]), "is damaged, or no state of a training: remove it"),
        (lambda state: state.write_bytes(b""), "is damaged, or no state of a training: remove it"),
        (lambda state: state.write_bytes(b"\x80\x04garbage"), "is damaged, or no state of a training: remove it"),
        (
            lambda state: state.write_bytes(state.with_suffix(".safetensors").read_bytes()),
            "is damaged, or no state of a training: remove it",
        ),
        (
            lambda state: state.write_bytes(state.read_bytes().replace(b"model.encoder.0", b"model.encodes.0")),
            "is of another version of the course: remove it",
        ),
        (
            lambda state: state.write_bytes(state.read_bytes().replace(b'patience', b'pattence')),
            "is of another version of the course: remove it",
        ),
        (
            lambda state: state.write_bytes(state.read_bytes().replace(b'since_best', b'since_then')),
            "is of another version of the course: remove it",
        ),
        (of_an_older_version, "is of another version of the course: remove it"),
    ],
    ids=["cut", "empty", "garbage", "other tensors", "other names", "other settings", "other progress", "older"],
)  # fmt: skip
def test_a_state_that_cannot_be_read_is_one_sentence(spoil, complaint, tmp_path):
    weights = train(tiny(epochs=1), tmp_path, device="cpu")
    spoil(tmp_path / "tiny.state")
    with pytest.raises(ValueError, match=complaint) as told:
        train(tiny(epochs=1), tmp_path, device="cpu", resume=True)
    assert str(tmp_path / "tiny.state") in str(told.value)
    assert "\n" not in str(told.value)
    load_checkpoint(weights)


# What goes wrong


def is_finite(file: Path) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in load_file(file).values())


@pytest.mark.parametrize("batch_size", [100, 1297])
def test_a_huge_learning_rate_is_one_sentence_and_saves_no_nan(batch_size, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_SAVE_EVERY", 0.0)
    with pytest.raises(FloatingPointError, match=r"^training of tiny has diverged by step .* below 1e\+30\.$") as told:
        train(tiny(learning_rate=1e30, batch_size=batch_size), tmp_path, device="cpu")
    assert "\n" not in str(told.value)
    assert all(is_finite(file) for file in tmp_path.glob("tiny.s*"))


@pytest.mark.parametrize("step", [13, 20, 24, 36])
def test_the_best_weights_and_the_last_state_survive_a_nan(step, tmp_path, monkeypatch):
    """Wherever it comes up: before a save, before a validation, or in the last step, after its bound was computed."""
    monkeypatch.setattr(loop, "_SAVE_EVERY", 0.0)
    take_step = Run.take_step

    def poisoned(run):
        take_step(run)
        if run.step == step:
            next(run.model.parameters()).data[0, 0] = math.nan

    monkeypatch.setattr(Run, "take_step", poisoned)
    with pytest.raises(FloatingPointError, match=rf"by step {step}: .*; the best weights so far are in .*tiny\.safe"):
        train(tiny(), tmp_path, device="cpu")
    assert is_finite(tmp_path / "tiny.safetensors")
    assert is_finite(tmp_path / "tiny.state")
    _, card = load_checkpoint(tmp_path / "tiny.safetensors")
    assert card["epochs"] <= (step - 1) // 12


def test_without_space_training_stops_with_one_sentence_and_loses_nothing(tmp_path, monkeypatch):
    whole = result_of(train(tiny(), tmp_path / "whole", device="cpu"))
    monkeypatch.setattr(loop, "_SAVE_EVERY", 0.0)
    left = [1] * 20

    def fsync(_):
        if not left:
            raise OSError(28, "No space left on device")
        left.pop()

    with (
        monkeypatch.context() as full,
        pytest.raises(OSError, match=r"^cannot write .* \(No space left on dev") as told,
    ):
        full.setattr(os, "fsync", fsync)
        train(tiny(), tmp_path / "full", device="cpu")
    assert "\n" not in str(told.value)
    load_checkpoint(tmp_path / "full" / "tiny.safetensors")
    assert are_equal(whole, result_of(train(tiny(), tmp_path / "full", device="cpu", resume=True)))
    assert sorted(os.listdir(tmp_path / "full")) == sorted(os.listdir(tmp_path / "whole"))


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"batch_size": 2_000}, "a batch of 2000 is more than the 1297 images of digits"),
        ({"arguments": {}}, r"images must have shape \[batch, ...\] with 784 numbers an image; got \[1, 1, 8, 8\]"),
        ({"data": "letters"}, "the data set must be one of digits, .*; got 'letters'"),
        (
            {"model": "ImageVAE", "arguments": GREY | {"levels": 16}},
            r"^the model is of 16 levels and digits has 17 levels: choose other data\.$",
        ),
    ],
)
def test_a_preset_that_does_not_fit_its_data_is_one_sentence(settings, complaint, tmp_path):
    with pytest.raises(ValueError, match=complaint) as told:
        train(dataclasses.replace(tiny(), **settings), tmp_path, device="cpu")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


def test_a_name_is_no_preset_to_train(tmp_path):
    with pytest.raises(ValueError, match=r"^preset must be a Preset, such as .*; got 'digits-vae'\.$"):
        train("digits-vae", tmp_path, device="cpu")


@pytest.mark.parametrize("name", ["gpu", "", None, 0, "cpu:1", "cuda:", "cuda:x", "cuda:²", "mps:0", "CPU"])
def test_an_unknown_device_is_one_sentence(name):
    with pytest.raises(ValueError, match=f"^there is no device {name!r}: choose auto, cpu, cuda, cuda:1 or mps"):
        choose_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_device_that_is_not_there_is_one_sentence(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"^torch finds no device '{name}' on this machine: choose auto or cpu"):
        choose_device(name)
    assert choose_device("auto") == CPU


def test_auto_is_the_fastest_device_and_a_number_too_high_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="torch finds no device 'cuda:2'"):
        choose_device("cuda:2")
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(ValueError, match="each process has a GPU of its own: choose cuda and not 'cuda:1'"):
        choose_device("cuda:1")


# What one sees


def test_each_validation_leaves_pictures_of_what_the_stored_model_makes(tmp_path):
    """Always of the same draws and of the same images, whichever model it is."""
    for name, preset in {"bits": tiny(epochs=2, ema=0.9), "float16": deep(GREY, stored="float16")}.items():
        weights = train(preset, tmp_path / name, device="cpu")
        files, epochs = CheckpointFiles(tmp_path / name, "tiny"), [line["epoch"] for line in log_of(weights)]
        assert sorted(path.name for path in files.pictures.iterdir()) == sorted(
            f"{what}-{epoch:06}.png" for epoch in epochs for what in ("samples", "reconstructions")
        )
        model, card = load_checkpoint(weights)
        digits = datasets.load("digits")
        shown = images_for(model, digits, "validation")[:32]
        assert files.picture("samples", card.epochs).read_bytes() == picture_of_samples(model, shape=digits.shape)
        drawn = files.picture("reconstructions", card.epochs).read_bytes()
        assert drawn == picture_of_reconstructions(model, shown)
        # The images above their reconstructions do not change, and these do.
        first, last = (pixels_of(files.picture("reconstructions", epoch)) for epoch in (epochs[0], epochs[-1]))
        assert np.array_equal(first[:64], last[:64]) and not np.array_equal(first[65:129], last[65:129])


def test_pictures_change_nothing_of_a_training(tmp_path, monkeypatch):
    preset = ALL_VARIANTS["all at once"]
    drawn = result_of(train(preset, tmp_path / "drawn", device="cpu"))
    monkeypatch.setattr(Run, "draw", lambda *_: None)
    assert are_equal(drawn, result_of(train(preset, tmp_path / "plain", device="cpu")))
    assert not (tmp_path / "plain" / "tiny.pictures").exists()


def test_a_training_that_is_resumed_goes_on_with_the_same_pictures(tmp_path, monkeypatch):
    train(tiny(), tmp_path / "whole", device="cpu")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        at_step(patch, 13, ctrl_c)
        train(tiny(), tmp_path / "broken", device="cpu")
    pictures = tmp_path / "broken" / "tiny.pictures"
    assert [path.name for path in sorted(pictures.iterdir())] == ["reconstructions-000001.png", "samples-000001.png"]
    train(tiny(), tmp_path / "broken", device="cpu", resume=True)
    assert content_of(pictures) == content_of(tmp_path / "whole" / "tiny.pictures")


def test_only_the_first_process_draws(tmp_path, monkeypatch):
    run = a_run(tiny(), tmp_path)
    monkeypatch.setattr(processes, "is_first", lambda: False)
    run.take_step()
    run.validate()
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "tiny.pictures").write_bytes(b"")
    with pytest.raises(OSError, match=r"^cannot write .*samples-000001\.png \(.*\); what was there before is unharmed"):
        train(tiny(epochs=1), tmp_path, device="cpu")


def test_training_is_silent_where_nobody_looks(tmp_path, capfd):
    train(tiny(epochs=1), tmp_path, device="cpu")
    assert capfd.readouterr() == ("", "")


def test_in_a_terminal_the_bar_shows_the_bound_and_the_validation(tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(loop, "_LOOK_EVERY", 0.0)
    train(tiny(epochs=2), tmp_path, device="cpu")
    shown = screen.getvalue()
    assert "tiny: 100%" in shown
    assert "24/24" in shown
    assert "bound -" in shown
    assert "validation -" in shown


def test_tensorboard_shows_the_log(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = CheckpointFiles(tmp_path, "tiny")
    weights = train(tiny(epochs=2), tmp_path, device="cpu", on_record=tensorboard(files))
    events = EventAccumulator(str(files.tensorboard)).Reload()
    lines = log_of(weights)
    for name in ("bound", "validation"):
        shown = [(event.step, event.value) for event in events.Scalars(name)]
        # Events are float32.
        assert shown == [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines]
    for name in ("samples", "reconstructions"):
        shown = [(event.step, pixels_of(io.BytesIO(event.encoded_image_string))) for event in events.Images(name)]
        for (step, pixels), line in zip(shown, lines, strict=True):
            assert step == line["step"]
            # In colour, as all that TensorBoard shows.
            drawn = pixels_of(files.picture(name, line["epoch"]))
            assert np.array_equal(pixels, np.broadcast_to(drawn[:, :, None], pixels.shape))


def test_without_tensorboard_one_sentence_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"^TensorBoard is not installed: `python -m pip install tensorboard`\.$"):
        tensorboard(CheckpointFiles(tmp_path, "tiny"))
    assert not list(tmp_path.iterdir())


def test_the_output_starts_at_the_mean_image(tmp_path):
    model = a_run(tiny(), tmp_path).model
    last = model.decoder[-1]
    assert isinstance(last, nn.Linear)
    mean = datasets.load("digits").train.flatten(1).mean(0)
    torch.testing.assert_close(last.bias.detach().sigmoid(), mean.clamp(1e-3, 1 - 1e-3), rtol=1e-4, atol=1e-6)
