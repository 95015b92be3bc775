"""Models: trained, evaluated, looked at."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["add"]


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of this file to the command line."""
    summary = "train a preset and keep the weights that do best on the validation set"
    train = commands.add_parser("train", add_help=False, help=summary, description=f"{summary.capitalize()}.")
    train.add_argument("-h", "--help", action=_HelpWithPresets, nargs=0, help="show this and all presets")
    train.add_argument("preset", metavar="PRESET", help="what to train; see below")
    train.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="your own images, in place of the preset's: a folder of PNG or JPEG files of one size, or a file NAME.npz "
        "with arrays train and test and a number levels",
    )
    train.add_argument("--out", type=Path, default=Path("build/checkpoints"), help="folder for the files (%(default)s)")
    train.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: the fastest there is)"
    )
    train.add_argument("--resume", action="store_true", help="go on where an interrupted training was saved")
    length = train.add_mutually_exclusive_group()
    length.add_argument(
        "--epochs", type=int, help="instead of the preset's; warm-up and averaging keep their share of the whole"
    )
    length.add_argument("--minutes", type=float, help="as many epochs as fit, measured on the first few steps")
    train.add_argument("--seed", type=int, help="instead of the preset's")
    train.add_argument(
        "--all-images", action="store_true", help="learn from the validation images, too, and keep the last weights"
    )
    train.add_argument(
        "--tensorboard", action="store_true", help="also log for TensorBoard, with pictures, into a folder beside"
    )
    train.set_defaults(command=_train)

    summary = "estimate the ELBO and log p(x) of a checkpoint by importance sampling"
    evaluate = commands.add_parser("evaluate", help=summary, description=f"{summary.capitalize()}.")
    evaluate.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="NAME.safetensors, or the name of one of the course's"
    )
    evaluate.add_argument("--data", type=Path, metavar="PATH", help="your own images, if it was trained on them")
    evaluate.add_argument("--split", default="test", help="train, validation or test (default: test)")
    evaluate.add_argument(
        "--proposal",
        default="encoder",
        help="where z is drawn: from the encoder, or adapted, from a Gaussian fitted to each image (default: encoder)",
    )
    evaluate.add_argument(
        "--n-samples", type=int, help="draws of z for each image (default: 5000 from the encoder, 2000 from a fit)"
    )
    evaluate.add_argument("--n-images", type=int, help="only the first so many images (default: all)")
    evaluate.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    evaluate.add_argument(
        "--precision", default="float32", help="of the decoder: float32, or bfloat16, for speed (default: float32)"
    )
    evaluate.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: the fastest there is)"
    )
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    evaluate.add_argument("--save", action="store_true", help="write the result into the checkpoint's card")
    evaluate.set_defaults(command=_evaluate)

    summary = "draw images from the prior of a checkpoint"
    sample = commands.add_parser(
        "sample", help=summary, description=f"{summary.capitalize()}: the mean image of each z."
    )
    sample.add_argument("--n", type=int, default=64, help="how many (default: 64)")
    sample.set_defaults(command=_sample)

    summary = "show what a checkpoint makes of images"
    reconstruct = commands.add_parser(
        "reconstruct",
        help=summary,
        description=f"{summary.capitalize()}: below each row of them the mean images, with one z drawn from q(z|x).",
    )
    reconstruct.add_argument("--data", type=Path, metavar="PATH", help="your own images, if it was trained on them")
    reconstruct.add_argument("--n", type=int, default=32, help="the first so many images (default: 32)")
    reconstruct.add_argument("--split", default="test", help="train, validation or test (default: test)")
    reconstruct.set_defaults(command=_reconstruct)

    for drawing, what in ((sample, "samples"), (reconstruct, "reconstructions")):
        drawing.add_argument(
            "checkpoint", metavar="CHECKPOINT", help="NAME.safetensors, or the name of one of the course's"
        )
        drawing.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
        drawing.add_argument(
            "--out", type=Path, metavar="FILE.png", help=f"the picture (default: build/NAME-{what}.png)"
        )

    summary = (
        "train and evaluate presets one after the other within so many minutes, for a GPU that you have for minutes"
    )
    zoo = commands.add_parser(
        "zoo",
        help=summary,
        description=f"{summary.capitalize()}. It begins with a smoke test of each; what is finished stays, whatever "
        "interrupts it.",
    )
    zoo.add_argument("--minutes", type=float, required=True, help="from now to the end of all of it")
    zoo.add_argument("--only", nargs="+", metavar="NAME", default=[], help="presets, those that matter most first")
    zoo.add_argument("--out", type=Path, default=Path("build/zoo"), help="folder for the files (%(default)s)")
    zoo.add_argument("--resume", action="store_true", help="keep what is finished, and go on with what is not")
    zoo.add_argument("--plain", action="store_true", help="no smoke test, and no steps that are recorded or compiled")
    zoo.add_argument(
        "--deliver",
        type=Path,
        metavar="FOLDER",
        help="also put a table and an archive of each model there, 8 files at most",
    )
    zoo.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: the fastest there is)")
    zoo.set_defaults(command=_zoo)


class _HelpWithPresets(argparse.Action):
    """The help of `train`, with the presets as they are now: read only when asked for, because that loads torch."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import textwrap

        from course_lib.training.presets import PRESETS, summary

        def entry(title: str, text: str) -> str:
            return f"  {title}\n{textwrap.fill(text, 100, initial_indent='    ', subsequent_indent='    ')}\n"

        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        presets = "".join(entry(name, summary(preset)) for name, preset in PRESETS.items())
        parser.epilog = f"presets:\n{presets}{entry('what they do not say', summary())}"
        parser.print_help()
        parser.exit()


def _train(options: argparse.Namespace) -> int:
    import dataclasses
    import time

    started = time.monotonic()  # before torch is imported, which takes a while
    from course_lib import datasets
    from course_lib.training import processes, train
    from course_lib.training.checkpoints import CheckpointFiles, read_card
    from course_lib.training.devices import choose_device
    from course_lib.training.presets import for_data, preset_named
    from course_lib.training.tensorboard import tensorboard

    preset = preset_named(options.preset)
    data = None if options.data is None else datasets.from_path(options.data)
    if data is not None:
        preset = for_data(preset, data)
    if options.seed is not None:
        preset = dataclasses.replace(preset, seed=options.seed)
    if options.all_images:
        preset = dataclasses.replace(preset, all_images=True)
    if options.epochs is not None:
        preset = preset.in_epochs(options.epochs)
    files = CheckpointFiles(options.out, preset.name)
    with processes.group(choose_device(options.device).type):
        log = tensorboard(files) if options.tensorboard else None
        is_there = files.state.exists() or files.weights.exists()
        if options.resume and not is_there and processes.is_first():
            print(f"Nothing of {preset.name} is saved in {options.out}: starting anew.", file=sys.stderr)
        weights = train(
            preset,
            options.out,
            data=data,
            device=options.device,
            resume=options.resume,
            minutes=options.minutes,
            started=started,
            on_record=log,
            say=lambda text: print(text, file=sys.stderr),
        )
        if processes.is_first():
            print(
                f"The training of {preset.name} is finished. Its best weights, those after epoch "
                f"{read_card(weights).epochs}, are in {weights}; `python -m course_lib evaluate {weights}` says how "
                "good they are."
            )
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    import dataclasses
    import json

    from course_lib import datasets
    from course_lib.estimates import value_with_error
    from course_lib.training import processes
    from course_lib.training.devices import choose_device
    from course_lib.training.evaluation import evaluate_checkpoint

    with processes.group(choose_device(options.device).type):
        card, found, evidence = evaluate_checkpoint(
            options.checkpoint,
            data=None if options.data is None else datasets.from_path(options.data),
            split=options.split,
            proposal=options.proposal,
            n_samples=options.n_samples,
            n_images=options.n_images,
            seed=options.seed,
            precision=options.precision,
            device=options.device,
            save=options.save,
            progress=True,
        )
        if processes.is_first():
            if options.json:
                print(json.dumps({"name": card.name, "split": options.split, **dataclasses.asdict(found)}))
            else:
                elbo = value_with_error(*evidence.mean_elbo)
                print(f"{card.name}, {options.split}: {evidence}; ELBO {elbo} nats")
    return 0


def _sample(options: argparse.Namespace) -> int:
    from course_lib.files import write_atomically
    from course_lib.training import load_checkpoint
    from course_lib.training.pictures import picture_of_samples

    out = _picture(options, "samples")
    model, card = load_checkpoint(options.checkpoint)
    write_atomically({out: picture_of_samples(model, options.n, options.seed)})
    drawn = "one draw" if options.n == 1 else f"{options.n:,} draws"
    print(f"{out} shows {drawn} of z from the prior of {card.name}, each as its mean image E[x|z].")
    return 0


def _reconstruct(options: argparse.Namespace) -> int:
    from course_lib import datasets
    from course_lib.files import write_atomically
    from course_lib.training import load_checkpoint
    from course_lib.training.data import data_of_checkpoint
    from course_lib.training.evaluation import images_for
    from course_lib.training.pictures import MOST, picture_of_reconstructions

    out = _picture(options, "reconstructions")
    model, card = load_checkpoint(options.checkpoint)
    given = None if options.data is None else datasets.from_path(options.data)
    data = data_of_checkpoint(card.name, card.settings["data"], given)
    images = images_for(model, data, options.split)
    most = min(len(images), MOST)
    if not 1 <= options.n <= most:
        raise ValueError(f"n must be between 1 and {most:,}; got {options.n:,}.")
    write_atomically({out: picture_of_reconstructions(model, images[: options.n], options.seed)})
    shown = "image" if options.n == 1 else f"{options.n:,} images"
    print(
        f"{out} shows the first {shown} of {data.name}, {options.split}, and below each what {card.name} makes of it: "
        "E[x|z], with one z drawn from q(z|x)."
    )
    return 0


def _picture(options: argparse.Namespace, what: str) -> Path:
    """Where a picture goes, by the name of its checkpoint unless told otherwise."""
    from course_lib.training.checkpoints import CheckpointFiles

    out: Path = options.out or Path("build") / f"{CheckpointFiles.of(options.checkpoint).name}-{what}.png"
    if out.suffix.lower() != ".png":
        raise ValueError(f"a picture is FILE.png; got --out {out}.")
    return out


def _zoo(options: argparse.Namespace) -> int:
    import time

    started = time.monotonic()  # before torch is imported, which takes a while
    from course_lib.zoo import run_zoo

    try:
        table, is_finished = run_zoo(
            options.only,
            options.minutes,
            options.out,
            device=options.device,
            resume=options.resume,
            plain=options.plain,
            deliver=options.deliver,
            started=started,
            say=lambda text: print(text, flush=True),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"What is finished is in {options.out}: go on with --resume.") from None
    print(f"\n{table}\nWhat is finished is in {options.out}.")
    return 0 if is_finished else 1
