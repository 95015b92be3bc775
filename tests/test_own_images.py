"""Your own images: what becomes a data set, what is refused in which words, and a training on a folder of pictures."""

import json
import os
import re
import shutil
import zlib
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from tiny_trainings import tiny

from course_lib import datasets
from course_lib.__main__ import main
from course_lib.datasets import pictures
from course_lib.training import PRESETS, Preset, build_model, for_data, load_checkpoint, train
from course_lib.training.evaluation import evaluate_checkpoint
from course_lib.zoo import run_zoo

REAL = Path(os.environ.get("COURSE_DATA_DIR") or Path(__file__).resolve().parents[2] / "shared" / "data").absolute()
PARTS = ("train", "validation", "test")


def save(folder: Path, images, mode: str = "L", suffix: str = "png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(np.asarray(image)).convert(mode).save(folder / f"{i:03}.{suffix}")
    return folder


def noise(n: int = 20, *shape: int, levels: int = 256, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, levels, (n, *(shape or (8, 8))), dtype=np.uint8)


def levels_of(data: datasets.Dataset) -> np.ndarray:
    """Of all images, ``[N, C, H, W]``, in the order of their bytes: whatever the split."""
    together = torch.cat([getattr(data, part) for part in PARTS]) * (data.levels - 1)
    return in_order(together.round().to(torch.uint8).numpy())


def in_order(images: np.ndarray) -> np.ndarray:
    by_bytes = {(image.tobytes(), i): image for i, image in enumerate(images)}
    return np.stack([by_bytes[key] for key in sorted(by_bytes)])


def refused(kind: type[Exception], function, *arguments, **keywords) -> str:
    with pytest.raises(kind) as caught:
        function(*arguments, **keywords)
    message, error = str(caught.value), caught.value
    assert "\n" not in message and message.endswith(".") and ". " not in message, message
    assert error.__cause__ is None and (error.__context__ is None or error.__suppress_context__)
    return message


# ---- a folder of pictures


@pytest.mark.parametrize(
    "mode, shape, levels", [("L", (1, 6, 9), 256), ("RGB", (3, 6, 9), 256), ("1", (1, 6, 9), 2)], ids=str
)
def test_a_folder_of_pictures_is_a_data_set_of_all_their_levels(mode, shape, levels, tmp_path):
    images = noise(31, 6, 9, 3)
    if mode != "RGB":
        images = (images[..., 0] > 127) * np.uint8(255) if mode == "1" else images[..., 0]
    data = datasets.from_folder(save(tmp_path / "mine", images, mode))
    assert (data.shape, data.levels) == (shape, levels)
    assert [len(getattr(data, part)) for part in PARTS] == [25, 3, 3]
    assert all(getattr(data, part).dtype == torch.float32 for part in PARTS)
    expected = images.reshape(31, 6, 9, -1).transpose(0, 3, 1, 2) // (255 if mode == "1" else 1)
    np.testing.assert_array_equal(levels_of(data), in_order(expected))
    assert repr(data).startswith(f"{data.name}: 25 train, 3 validation and 3 test images of ")


def test_pictures_lie_in_the_folder_or_one_below_in_either_format_and_nothing_else_counts(tmp_path):
    folder, images = tmp_path / "mine", np.full((30, 8, 8), 7, np.uint8)
    save(folder, images[:10])
    save(folder / "some", images[:10], suffix="jpg")
    save(folder / "others", images[:10], suffix="JPEG")
    for apart in ("a/b", ".hidden"):
        save(folder / apart, noise(3))
    (folder / "notes.txt").write_text("no picture")
    (folder / "._000.png").write_bytes(b"what macOS leaves")
    data = datasets.from_folder(folder)
    assert sum(len(getattr(data, part)) for part in PARTS) == 30
    assert (levels_of(data) == 7).all()


def test_pixels_and_seed_make_the_name_and_the_place_does_not(tmp_path, monkeypatch):
    images = np.arange(20 * 64, dtype=np.int64).reshape(20, 8, 8).astype(np.uint8)
    folder = save(tmp_path / "mine", images)
    data = datasets.from_folder(folder)
    # The same on every machine, or checkpoints would not know their images there.
    assert data.name == "mine-1d105caf4596"
    elsewhere = shutil.copytree(folder, tmp_path / "else" / "where" / "mine")
    (elsewhere / "000.png").rename(elsewhere / "00.png")
    monkeypatch.chdir(elsewhere)
    for path in (elsewhere, ".", f"{elsewhere}/", "../mine"):
        again = datasets.from_path(path)
        assert again.name == data.name
        assert all(getattr(again, part).equal(getattr(data, part)) for part in PARTS)
    assert datasets.from_folder(elsewhere, seed=1).name != data.name
    images[3, 3, 3] ^= 1
    assert datasets.from_folder(save(folder, images)).name != data.name


def test_a_camera_that_was_held_sideways_is_held_upright(tmp_path):
    images = noise(20, 8, 12)
    folder = save(tmp_path, images)
    for i, image in enumerate(images):
        turned = Image.fromarray(np.ascontiguousarray(np.rot90(image)))
        exif = turned.getexif()
        exif[0x0112] = 6  # to be turned clockwise by 90 degrees
        turned.save(folder / f"{i:03}.png", exif=exif)
    np.testing.assert_array_equal(levels_of(datasets.from_folder(folder)), in_order(images[:, None]))


# ---- pictures that are not fit


def spoilt(tmp_path: Path, name: str = "005.png") -> tuple[Path, Path]:
    """A folder, and the file in it that is to be spoilt."""
    folder = save(tmp_path / "mine", noise())
    return folder, folder / name


def test_a_folder_that_is_not_there_or_empty_or_too_small(tmp_path):
    assert refused(FileNotFoundError, datasets.from_folder, tmp_path / "none").startswith(
        f"there is no folder {tmp_path / 'none'}: "
    )
    assert "there is no PNG or JPEG file in" in refused(ValueError, datasets.from_folder, tmp_path)
    message = refused(ValueError, datasets.from_folder, save(tmp_path, noise(19)))
    assert message == f"{tmp_path} has 19 PNG and JPEG files, and 20 are the least: add some."
    assert "named by its path; got None" in refused(ValueError, datasets.from_folder, None)
    assert "seed must be a whole number of at least 0" in refused(ValueError, datasets.from_folder, tmp_path, seed=-1)


def test_sizes_that_differ_are_both_named(tmp_path):
    folder, file = spoilt(tmp_path)
    Image.new("L", (8, 10)).save(file)
    message = refused(ValueError, datasets.from_folder, folder)
    assert message.startswith(f"{folder / '000.png'} has 8 x 8 pixels and {file} has 8 x 10: bring all to one")


@pytest.mark.parametrize("mode, word", [("RGB", "in colour"), ("1", "black and white")])
def test_grey_does_not_mix_with_other_kinds(mode, word, tmp_path):
    folder, file = spoilt(tmp_path)
    Image.new(mode, (8, 8)).save(file)
    assert f"{folder / '000.png'} is grey and {file} is {word}: convert" in refused(
        ValueError, datasets.from_folder, folder
    )


@pytest.mark.parametrize(
    "mode, options, complaint",
    [
        ("RGBA", {}, "has transparency (Pillow's mode RGBA), which is no level: drop it with Image.convert('RGB')"),
        ("LA", {}, "has transparency (Pillow's mode LA)"),
        ("P", {"transparency": 0}, "has transparency (Pillow's mode P)"),
        ("L", {"transparency": 0}, "has transparency (Pillow's mode L)"),
        ("P", {}, "has a palette (Pillow's mode P): convert it with Image.convert('RGB')"),
        ("I;16", {}, "has more than 8 bits for each level (Pillow's mode I;16): reduce it to 256 levels"),
        ("CMYK", {"format": "JPEG"}, "has colours of the kind CMYK (Pillow's mode CMYK): convert"),
        ("L", {"save_all": True, "append_images": [Image.new("L", (8, 8), 9)]}, "has 2 frames: save one of them"),
    ],
    ids=["RGBA", "LA", "P see-through", "L see-through", "P", "16 bits", "CMYK", "two frames"],
)
def test_a_picture_that_is_no_levels_is_refused_with_its_mode_and_a_remedy(mode, options, complaint, tmp_path):
    folder, file = spoilt(tmp_path)
    Image.new(mode, (8, 8)).save(file, **options)
    assert refused(ValueError, datasets.from_folder, folder).startswith(f"{file} {complaint}")


def test_colours_of_16_bits_which_pillow_would_cut_are_refused(tmp_path):
    folder, file = spoilt(tmp_path, "021.png")
    # Bits for each sample are the 25th byte, and the hash of the header follows it after four more.
    Image.new("RGB", (8, 8)).save(file)
    header = file.read_bytes()
    chunk = header[12:24] + b"\x10" + header[25:29]
    file.write_bytes(header[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + header[33:])
    assert "has more than 8 bits for each level (Pillow's mode RGB)" in refused(
        ValueError, datasets.from_folder, folder
    )


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("keep", [0, 10, 60, -200])
def test_a_picture_that_is_cut_short_is_refused(keep, suffix, tmp_path):
    folder, file = spoilt(tmp_path, f"005.{suffix}")
    Image.fromarray(noise(1, 100, 100)[0]).save(file)
    file.write_bytes(file.read_bytes()[:keep])
    assert refused(ValueError, datasets.from_folder, folder).startswith(f"{file} is not a whole PNG or JPEG file (")


def test_another_format_under_a_pictures_name_is_refused(tmp_path):
    folder, file = spoilt(tmp_path)
    Image.new("L", (8, 8)).save(file, format="GIF")
    assert f"{file} is not a whole PNG or JPEG file" in refused(ValueError, datasets.from_folder, folder)


def test_photographs_too_large_for_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_MOST_BYTES", 20 * 4 * 64 - 1)
    folder, file = spoilt(tmp_path)
    file.write_bytes(b"not looked at")
    message = refused(ValueError, datasets.from_folder, folder)
    assert message.startswith(f"the 20 pictures in {folder} would take 0.0 GB of memory, and ")
    assert "scale them down, to 64 x 64 or so" in message
    monkeypatch.setattr(pictures, "_MOST_BYTES", 4e9)
    assert "would take 40.3 GB" in refused(ValueError, pictures.check_memory, "they", (20, 3, 12_960, 12_960))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert "decompression bomb" in refused(ValueError, datasets.from_folder, folder)


# ---- arrays


@pytest.mark.parametrize("as_given", [np.asarray, torch.from_numpy, lambda x: x.astype(np.int64)], ids=range(3))
@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 3)], ids=str)
def test_arrays_become_channels_first_and_a_tenth_of_the_training_images_validates(shape, as_given):
    train, test = noise(40, *shape, levels=16), noise(7, *shape, levels=16, seed=1)
    data = datasets.from_arrays(as_given(train), as_given(test), 16)
    assert re.fullmatch(r"arrays-[0-9a-f]{12}", data.name)
    assert (data.levels, data.shape) == (16, (shape[2] if len(shape) == 3 else 1, 4, 6))
    assert [len(getattr(data, part)) for part in PARTS] == [36, 4, 7]
    channels_first = np.concatenate([train, test]).reshape(47, 4, 6, -1).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(levels_of(data), in_order(channels_first))
    np.testing.assert_array_equal((data.test * 15).round().numpy(), channels_first[40:])
    assert datasets.from_arrays(train, test, 16).name == data.name
    assert datasets.from_arrays(train, test, 17).name != data.name
    assert datasets.from_arrays(train, test, 16, seed=1).name != data.name


def test_the_split_is_part_of_the_hash():
    images = np.zeros((50, 8, 8), np.uint8)
    names = {datasets.from_arrays(images[:n], images[n:], 2).name for n in (30, 40)}
    wide = images.reshape(50, 4, 16)
    assert len({*names, datasets.from_arrays(wide[:30], wide[30:], 2).name}) == 3


def test_bits_may_be_booleans():
    bits = noise(20) > 127
    data = datasets.from_arrays(bits, bits, 2)
    assert data.test.unique().tolist() == [0, 1]
    # Drawing bits from bits changes none.
    assert datasets.binarize(data.test).equal(data.test)


GOOD = np.zeros((20, 8, 8), np.uint8)


@pytest.mark.parametrize(
    "train, test, levels, complaint",
    [
        (GOOD + np.uint8(16), GOOD, 16, "train must have levels from 0 to 15; these go from 16 to 16"),
        (GOOD, GOOD.astype(int) - 1, 16, "test must have levels from 0 to 15; these go from -1 to -1"),
        (GOOD / 255, GOOD, 256, "train must be an array of whole numbers, such as uint8; got float64: intensities in"),
        (torch.rand(20, 8, 8), GOOD, 16, r"got float32: .* by \(x \* 15\).round\(\).astype\('uint8'\)"),
        ([[1]], GOOD, 16, "train must be an array of whole numbers, such as uint8; got a list"),
        (GOOD[0], GOOD, 16, r"train must have shape \[N, H, W\] or \[N, H, W, C\].*; got \[8, 8\]"),
        (GOOD, GOOD[:0], 16, r"test must have .* no axis of length 0; got \[0, 8, 8\]"),
        (GOOD[..., None].repeat(4, 3), GOOD, 16, r"one channel or three, in the last axis; got \[20, 8, 8, 4\]"),
        (GOOD, GOOD[:, None], 16, r"got \[20, 1, 8, 8\]: where they are in the second, numpy.moveaxis\(x, 1, -1\)"),
        (GOOD, GOOD[:, 1:], 16, "images of train are 1 x 8 x 8 and those of test are 1 x 7 x 8: give both one size"),
        (GOOD[:19], GOOD, 16, "train has 19 images, and 20 are the least"),
        (GOOD, GOOD, 1, "levels must be a whole number of at least 2; got 1"),
        (GOOD, GOOD, 257, "levels must be at most 256; got 257"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_are_not_fit_are_one_sentence(train, test, levels, complaint):
    assert re.search(complaint, refused(ValueError, datasets.from_arrays, train, test, levels))


def test_arrays_too_large_for_memory_are_refused(monkeypatch):
    monkeypatch.setattr(pictures, "_MOST_BYTES", 40 * 4 * 64 - 1)
    assert "the images of train and test would take" in refused(ValueError, datasets.from_arrays, GOOD, GOOD, 2)


# ---- a file of arrays


def test_a_file_of_arrays_has_its_name(tmp_path):
    train, test = noise(20, 8, 8, 3), noise(5, 8, 8, 3)
    np.savez_compressed(tmp_path / "mine.npz", train=train, test=test, levels=256)
    data, arrays = datasets.from_path(tmp_path / "mine.npz"), datasets.from_arrays(train, test, 256)
    assert data.name == arrays.name.replace("arrays", "mine")
    assert all(getattr(data, part).equal(getattr(arrays, part)) for part in PARTS)


def test_files_that_are_not_fit_are_one_sentence_that_names_them(tmp_path):
    file = tmp_path / "mine.npz"
    assert f"there is no {file}: give a folder" in refused(FileNotFoundError, datasets.from_path, file)
    complaint = f"{file} is no whole file of arrays of numbers: write it with numpy.savez(path, train="
    for content in (b"", b"no zip", b"PK\x03\x04 cut short"):
        file.write_bytes(content)
        assert refused(ValueError, datasets.from_path, file).startswith(complaint)
    with file.open("wb") as one:
        np.save(one, GOOD)
    assert refused(ValueError, datasets.from_path, file).startswith(complaint)
    np.savez(file, train=np.array([{}], dtype=object), test=GOOD, levels=2)
    assert refused(ValueError, datasets.from_path, file).startswith(complaint)
    np.savez(file, test=GOOD)
    assert f"{file} has no train and no levels: write it with numpy.savez" in refused(
        ValueError, datasets.from_path, file
    )
    np.savez(file, train=GOOD, test=GOOD + np.uint8(2), levels=2)
    assert refused(ValueError, datasets.from_path, file).startswith(f"test in {file} must have levels from 0 to 1; ")
    np.savez(file, train=GOOD, test=GOOD, levels=[2, 2])
    assert f"levels in {file} must be a whole number of at least 2; got [2, 2]" in refused(
        ValueError, datasets.from_path, file
    )
    other = tmp_path / "mine.csv"
    other.write_text("1,2")
    assert f"{other} is neither a folder nor a file NAME.npz" in refused(ValueError, datasets.from_path, other)


# ---- forty digits


def test_forty_digits_come_with_the_course_and_need_no_network(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_DATA_DIR", raising=False)
    monkeypatch.setenv("COURSE_CACHE_DIR", str(tmp_path))
    digits = datasets.forty_digits()
    assert (digits.shape, digits.dtype) == ((40, 1, 28, 28), torch.float32)
    assert digits.equal((digits * 255).round() / 255)
    assert (digits.amin((1, 2, 3)) == 0).all() and (digits.amax((1, 2, 3)) > 0.9).all()


def test_forty_digits_are_the_first_of_the_test_set(monkeypatch):
    monkeypatch.setenv("COURSE_DATA_DIR", str(REAL))
    if not datasets.is_here("mnist"):
        pytest.skip("no MNIST: set COURSE_DATA_DIR")
    assert datasets.forty_digits().equal(datasets.load("mnist").test[:40])


# ---- presets


def made(channels: int = 1, size: int = 8, levels: int = 256, seed: int = 0) -> datasets.Dataset:
    images = noise(30, size, size, channels, levels=levels, seed=seed)
    return datasets.from_arrays(images, images[:5], levels)


@pytest.mark.parametrize("data", [made(3), made(1, levels=2), made(1, 12, 17)], ids=["colour", "bits", "17 levels"])
@pytest.mark.parametrize("preset", ["images-dense", "images-resnet", "mnist-resnet-iaf", "mnist-8bit-softmax"])
def test_a_preset_is_fitted_to_images_of_any_kind(preset, data):
    fitted = for_data(PRESETS[preset], data)
    model = build_model(fitted)
    assert (fitted.data, model.shape, model.levels) == (data.name, data.shape, data.levels)
    assert fitted.batch_size == min(PRESETS[preset].batch_size, len(data.train))
    assert model.log_weights(data.test, 2).isfinite().all()
    kept = {"shape", "levels", "likelihood", "components"}
    before, after = ({n: v for n, v in one.arguments.items() if n not in kept} for one in (PRESETS[preset], fitted))
    assert before == after
    if data.levels > 2:
        expected = "categorical" if preset.endswith("softmax") else "logistic-mixture"
        assert fitted.arguments["likelihood"] == expected


def test_a_ladder_is_fitted_too():
    ladder = Preset("ladder", "mnist", model="LadderVAE", arguments={"widths": [4, 4, 4], "blocks": [0, 0, 1]})
    assert build_model(for_data(ladder, made(3))).shape == (3, 8, 8)


def test_a_preset_that_cannot_be_fitted_says_which_can():
    assert "images-resnet halves an image twice, and arrays-" in (
        message := refused(ValueError, for_data, PRESETS["images-resnet"], made(1, 10))
    )
    assert "has 10 x 10 pixels, not divisible by 4: choose images-dense" in message
    assert build_model(for_data(PRESETS["images-dense"], made(1, 10))).shape == (1, 10, 10)
    for name in ("mnist-vae", "mnist-iwae-2layer-k50"):
        assert "knows no shape of images: choose images-dense" in refused(ValueError, for_data, PRESETS[name], made())


def test_data_and_preset_have_to_agree(tmp_path):
    data, other = made(), made(seed=1)
    small = {"network": "dense", "network_arguments": {"width": 5, "n_layers": 1}, "latent_dim": 2}
    fitted = for_data(tiny(model="ImageVAE", arguments=small, epochs=1), data)
    for preset, given, complaint in (
        (PRESETS["images-dense"], None, "images-dense learns from images of your own: give --data and a folder"),
        (PRESETS["images-dense"], data, f"set for images yet to be chosen, and this is {data.name}: fit it with"),
        (fitted, other, f"tiny is set for {data.name}, and this is {other.name}: fit it with for_data"),
        (fitted, None, "tiny learns from images of your own: give --data"),
    ):
        assert complaint in refused(ValueError, train, preset, tmp_path, data=given, device="cpu")
    weights = train(fitted, tmp_path, data=data, device="cpu")
    assert load_checkpoint(weights)[1].settings["data"] == data.name
    _, found, _ = evaluate_checkpoint(weights, data=data, n_samples=5, device="cpu")
    assert found.log_likelihood.n_images == 5


def test_a_zoo_has_no_images_of_ones_own(tmp_path):
    message = refused(ValueError, run_zoo, ["images-dense"], 1, tmp_path)
    assert message == "images-dense learns from images of your own: train it with `train images-dense --data PATH`."


# ---- the command line, on letters


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory) -> Path:
    """Forty letters in a font that comes with Matplotlib, 12 x 12."""
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 10)
    folder = tmp_path_factory.mktemp("secret") / "glyphs"
    folder.mkdir()
    for i, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn"):
        picture = Image.new("L", (12, 12))
        ImageDraw.Draw(picture).text((6, 6), letter, 255, font, anchor="mm")
        picture.save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("preset", ["images-dense", "images-resnet"])
def test_a_folder_is_trained_on_resumed_and_evaluated(preset, glyphs, tmp_path, capsys):
    out = ["--out", str(tmp_path), "--device", "cpu"]
    command = ["train", preset, "--data", str(glyphs), "--epochs", "3", *out]
    assert main(command) == 0
    assert main([*command, "--resume"]) == 0
    card = json.loads((tmp_path / f"{preset}.json").read_text())
    name = datasets.from_folder(glyphs).name
    assert card["settings"]["data"] == name and card["data"] == f"{name}, 256 levels"
    assert (card["settings"]["arguments"]["shape"], card["settings"]["batch_size"]) == ([1, 12, 12], 32)
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or b"secret" not in file.read_bytes(), f"{file} says where the images are"

    capsys.readouterr()
    evaluate = ["evaluate", str(tmp_path / f"{preset}.safetensors"), "--n-samples", "10", "--device", "cpu"]
    assert main([*evaluate, "--data", str(glyphs), "--save"]) == 0
    assert capsys.readouterr().out.startswith(f"{preset}, test: log p(x) = ")

    others = save(tmp_path / "others", noise(20, 12, 12))
    for arguments, complaint in (
        (evaluate, f"{preset} was trained on {name}, images of someone's own: give --data and the folder"),
        ([*evaluate, "--data", str(others)], f"{preset} was trained on {name}, and this is others-"),
        (["train", preset, "--data", str(others), "--epochs", "3", "--resume", *out], "was begun with another data"),
        (["train", preset, "--resume", *out], f"{preset} learns from images of your own: give --data and a folder"),
        (["train", "mnist-vae", "--data", str(others), *out], "mnist-vae trains a VAE, which knows no shape of images"),
        (["train", preset, "--data", str(tmp_path / "none"), *out], f"there is no {tmp_path / 'none'}: give a folder"),
    ):
        assert main(arguments) == 1
        said = capsys.readouterr()
        assert said.err.startswith("course_lib: ") and said.err.count("\n") == 1
        assert complaint in said.err


def test_the_command_describes_a_folder(glyphs, capsys, monkeypatch):
    assert main(["data", str(glyphs)]) == 0
    assert re.match(r"glyphs-[0-9a-f]{12}: 32 train, 4 validation and 4 test images of ", capsys.readouterr().out)
    monkeypatch.chdir(glyphs.parent)
    assert main(["data", "glyphs"]) == 0
    assert main(["data", "./glyhps"]) == 1
    assert "there is no glyhps: give a folder" in capsys.readouterr().err
