"""Your own images: a folder of pictures or two arrays become a data set, whose name says which pixels it has.

The name ends in the first digits of a hash of the pixels and of how they are split. So a checkpoint, which keeps the
name, knows the images that it was trained on wherever they lie, and nothing of where they lay.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from course_lib.checks import whole_number
from course_lib.datasets.dataset import Dataset
from course_lib.datasets.pictures import check_memory, read_pictures

__all__ = ["from_arrays", "from_folder", "from_path", "is_own"]

Levels = NDArray[np.uint8]

# Two of them are then for validation, the least of which a mean has an error.
_LEAST = 20
_HASH_DIGITS = 12
_SAVEZ = "numpy.savez(path, train=..., test=..., levels=256)"


def is_own(name: str) -> bool:
    """Whether a data set's name is that of someone's own images."""
    return re.search(rf"-[0-9a-f]{{{_HASH_DIGITS}}}$", name) is not None


def from_path(path: str | Path, seed: int = 0) -> Dataset:
    """A data set of your own images, as the command line takes it.

    Args:
        path: a folder, see `from_folder`; or a file ``NAME.npz``, as `numpy.savez` writes it, with arrays ``train`` and
            ``test`` and a number ``levels``, see `from_arrays`.
        seed: of the split.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: it is neither, or what is in it is not fit; the message names the file.
        OSError: it cannot be read.
    """
    path = _as_path(path)
    if path.is_dir():
        return from_folder(path, seed)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: give a folder of PNG or JPEG files, or a file NAME.npz.")
    if path.suffix != ".npz":
        raise ValueError(f"{path} is neither a folder nor a file NAME.npz: give the folder that your pictures are in.")
    arrays = _read_npz(path)
    return _from_arrays(path.stem, f" in {path}", **arrays, seed=seed)


def from_folder(path: str | Path, seed: int = 0) -> Dataset:
    """A data set of the PNG and JPEG files in a folder and in the folders in it.

    All have one size, and are grey (Pillow's mode L), in colour (RGB) or black and white (1, of two levels). The seed
    chooses a tenth of them for validation and a tenth for the test.

    Args:
        path: the folder. Its name and the pixels are the data set's name; where it lies is not.
        seed: of the split, at least 0.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it has fewer than 20 pictures, or one that is not fit; the message names the file.
        OSError: a folder cannot be read.
    """
    path, seed = _as_path(path), whole_number("seed", seed, least=0)
    images, levels = read_pictures(path)
    if len(images) < _LEAST:
        raise ValueError(f"{path} has {len(images)} PNG and JPEG files, and {_LEAST} are the least: add some.")
    order, n = np.random.default_rng(seed).permutation(len(images)), len(images) // 10
    train, validation, test = (images[part] for part in (order[: -2 * n], order[-2 * n : -n], order[-n:]))
    # Neither a dot, for this folder, nor what a link leads to.
    return _dataset(Path(os.path.abspath(path)).name or "images", train, validation, test, levels)


def from_arrays(train: NDArray[Any] | Tensor, test: NDArray[Any] | Tensor, levels: int, seed: int = 0) -> Dataset:
    """A data set of arrays of levels. The seed chooses a tenth of the training images for validation.

    Args:
        train: whole numbers from 0 to ``levels - 1``, ``[N, H, W]`` for grey or ``[N, H, W, C]`` with one channel or
            three; 20 images at least.
        test: images of the same size.
        levels: how many values an intensity can have, from 2 to 256.
        seed: of the split, at least 0.

    Raises:
        ValueError: an array is of other numbers, another shape or other levels; or they are too few or too large.
    """
    return _from_arrays("arrays", "", train, test, levels, seed)


def _from_arrays(label: str, where: str, train: Any, test: Any, levels: Any, seed: int) -> Dataset:
    """As `from_arrays`; ``label`` begins the name, and ``where`` says in messages what the arrays are in."""
    levels, seed = whole_number(f"levels{where}", levels, 2, 256), whole_number("seed", seed, least=0)
    train, test = _checked(f"train{where}", train, levels), _checked(f"test{where}", test, levels)
    if train.shape[1:] != test.shape[1:]:
        sizes = (" x ".join(map(str, images.shape[1:])) for images in (train, test))
        raise ValueError("images of train{} are {} and those of test are {}: give both one size.".format(where, *sizes))
    if len(train) < _LEAST:
        raise ValueError(f"train{where} has {len(train)} images, and {_LEAST} are the least: add some.")
    check_memory(f"the images of train and test{where}", (len(train) + len(test), *train.shape[1:]))
    order, n = np.random.default_rng(seed).permutation(len(train)), len(train) // 10
    return _dataset(label, train[order[:-n]], train[order[-n:]], test, levels)


def _checked(name: str, images: Any, levels: int) -> Levels:
    """Levels ``[N, C, H, W]`` of what was given as ``[N, H, W]`` or ``[N, H, W, C]``."""
    dtype = str(getattr(images, "dtype", f"a {type(images).__name__}")).removeprefix("torch.")
    if isinstance(images, Tensor) and not images.is_floating_point() and not images.is_complex():
        images = images.detach().cpu().numpy()
    if not isinstance(images, np.ndarray) or images.dtype.kind not in "uib":
        raise ValueError(
            f"{name} must be an array of whole numbers, such as uint8; got {dtype}: intensities in [0, 1] become "
            f"levels by (x * {levels - 1}).round().astype('uint8')."
        )
    shape = list(images.shape)
    if images.ndim not in (3, 4) or not images.size:
        raise ValueError(f"{name} must have shape [N, H, W] or [N, H, W, C], and no axis of length 0; got {shape}.")
    images = images.reshape(*images.shape[:3], -1)
    if images.shape[3] not in (1, 3):
        raise ValueError(
            f"{name} must have one channel or three, in the last axis; got {shape}: where they are in the second, "
            "numpy.moveaxis(x, 1, -1) brings them there."
        )
    low, high = int(images.min()), int(images.max())
    if low < 0 or high >= levels:
        raise ValueError(f"{name} must have levels from 0 to {levels - 1}; these go from {low} to {high}.")
    return images.astype(np.uint8).transpose(0, 3, 1, 2)


def _dataset(label: str, train: Levels, validation: Levels, test: Levels, levels: int) -> Dataset:
    splits = [np.ascontiguousarray(images) for images in (train, validation, test)]
    digest = hashlib.sha256(json.dumps([levels, *(images.shape for images in splits)]).encode())
    for images in splits:
        digest.update(images.data)
    name = f"{label}-{digest.hexdigest()[:_HASH_DIGITS]}"
    train_x, validation_x, test_x = (torch.from_numpy(each).to(torch.float32).div_(levels - 1) for each in splits)
    return Dataset(name, train_x, validation_x, test_x, levels)


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("train", "test", "levels") if name in archive}
    # An AttributeError, of a file that holds one array and no names.
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error):
        raise ValueError(f"{path} is no whole file of arrays of numbers: write it with {_SAVEZ}.") from None
    if missing := [name for name in ("train", "test", "levels") if name not in arrays]:
        raise ValueError(f"{path} has no {' and no '.join(missing)}: write it with {_SAVEZ}.")
    levels = arrays["levels"]
    return {**arrays, "levels": levels.item() if levels.size == 1 else levels.tolist()}


def _as_path(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike) or not str(path).strip():
        raise ValueError(f"a folder of images is named by its path; got {path!r}.")
    return Path(path)
