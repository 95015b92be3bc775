"""Pictures: the PNG and JPEG files of a folder as levels, or one sentence about the one that is not fit."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from course_lib.checks import brief

__all__ = ["check_memory", "read_pictures"]

# What Pillow's modes are here: channels, levels, and a word.
_MODES = {"1": (1, 2, "black and white"), "L": (1, 256, "grey"), "RGB": (3, 256, "in colour")}
_SUFFIXES = (".png", ".jpg", ".jpeg")
# Of all images as float32. A training holds a few copies of some of them beside.
_MOST_BYTES = 4e9
# What Pillow raises of files that are cut short or of something else.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def read_pictures(folder: Path) -> tuple[NDArray[np.uint8], int]:
    """All PNG and JPEG files of a folder and of the folders in it, in the order of their names; hidden ones are not.

    Returns:
        Levels ``[N, C, H, W]``, of one channel or three, and how many a pixel can have, 2 or 256.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it has no such file, or one that is damaged, transparent, animated, or of another size or kind than
            the first; or all of them are too large.
        OSError: the folder cannot be read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: give one that has PNG or JPEG files.")
    files = [file for pattern in ("*", "*/*") for file in folder.glob(pattern) if _is_picture(file, folder)]
    # Not Path's own order, which is another one on Windows.
    files.sort(key=lambda file: file.relative_to(folder).as_posix())
    if not files:
        raise ValueError(f"there is no PNG or JPEG file in {folder} or the folders in it: give a folder that has some.")
    first, mode = _read(files[0])
    check_memory(f"the {len(files):,} pictures in {folder}", (len(files), *first.shape))
    images = np.empty((len(files), *first.shape), np.uint8)
    for i, file in enumerate(files):
        pixels, this_mode = _read(file)
        if this_mode != mode:
            raise ValueError(
                f"{files[0]} is {_MODES[mode][2]} and {file} is {_MODES[this_mode][2]}: convert all to one mode with "
                "Pillow's Image.convert('L') or Image.convert('RGB')."
            )
        if pixels.shape != first.shape:
            raise ValueError(
                f"{files[0]} has {_size(first.shape)} pixels and {file} has {_size(pixels.shape)}: bring all to one "
                "size with Pillow's Image.resize or ImageOps.fit."
            )
        images[i] = pixels
    return images, _MODES[mode][1]


def check_memory(what: str, shape: tuple[int, ...]) -> None:
    """Refuse images ``shape`` that are too many or too large for a computer's memory.

    Raises:
        ValueError: they are; ``what`` says of which, in the plural.
    """
    n_bytes = 4 * float(np.prod(shape, dtype=float))
    if n_bytes > _MOST_BYTES:
        raise ValueError(
            f"{what} would take {n_bytes / 1e9:,.1f} GB of memory, and {_MOST_BYTES / 1e9:g} GB are the most: scale "
            "them down, to 64 x 64 or so, with Pillow's Image.resize, or take fewer."
        )


def _is_picture(file: Path, folder: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in _SUFFIXES and not is_hidden and file.is_file()


def _size(shape: tuple[int, ...]) -> str:
    """Width and height, in the order in which programs for pictures say them."""
    return f"{shape[2]} x {shape[1]}"


def _read(file: Path) -> tuple[NDArray[np.uint8], str]:
    """Levels ``[C, H, W]`` of a picture, and its mode."""
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as picture:
            trouble = _trouble(picture)
            if not trouble:
                # Cameras store a picture as it fell on the sensor, and beside it how to turn it.
                pixels, mode = np.asarray(ImageOps.exif_transpose(picture)), picture.mode
    except _BROKEN as error:
        raise ValueError(f"{file} is not a whole PNG or JPEG file ({brief(error)}): get it again.") from None
    if trouble:
        raise ValueError(f"{file} {trouble}")
    pixels = pixels.astype(np.uint8).reshape(*pixels.shape[:2], _MODES[mode][0])
    return pixels.transpose(2, 0, 1), mode


def _trouble(picture: Image.Image) -> str:
    """What keeps a picture from being levels, as the end of a sentence; empty if nothing does."""
    mode = picture.mode
    if getattr(picture, "n_frames", 1) > 1:
        return f"has {picture.n_frames} frames: save one of them as a picture of its own."  # type: ignore[attr-defined]
    if "A" in mode or "transparency" in picture.info:
        return (
            f"has transparency (Pillow's mode {mode}), which is no level: drop it with Image.convert('RGB') or "
            "Image.convert('L'), or first paste it onto a background."
        )
    # Pillow's mode of 16-bit colours is RGB, too: it reads the higher half of them and says nothing.
    if mode.startswith(("I", "F")) or any("16" in str(tile[3]) for tile in getattr(picture, "tile", ())):
        return (
            f"has more than 8 bits for each level (Pillow's mode {mode}): reduce it to 256 levels, for grey with "
            "Image.fromarray((numpy.asarray(picture) // 256).astype('uint8'))."
        )
    if mode not in _MODES:
        kind = "a palette" if mode == "P" else f"colours of the kind {mode}"
        return f"has {kind} (Pillow's mode {mode}): convert it with Image.convert('RGB') or Image.convert('L')."
    return ""
