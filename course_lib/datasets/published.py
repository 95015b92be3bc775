"""Published data sets, by name: digits, MNIST, CIFAR-10, each split once and for all.

``digits`` comes inside scikit-learn, and forty images of MNIST with the course. `course_lib.downloads` knows where the
files of the others are.
"""

from __future__ import annotations

import gzip
import math
import tarfile
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from course_lib.checks import one_of
from course_lib.datasets.dataset import Dataset
from course_lib.downloads import cache_folder, check_hash, data_folders, download, local_copy, registered
from course_lib.resources import DATA

__all__ = ["SPLITS", "forty_digits", "is_here", "load"]

Bytes = NDArray[np.uint8]

# Images for training, validation and test. The order of names is that of messages.
SPLITS = {
    "digits": (1_297, 200, 300),
    "mnist": (50_000, 10_000, 10_000),
    "cifar10": (45_000, 5_000, 10_000),
    "cifar10-sample": (3_200, 400, 400),
}

_MNIST_FILES = (
    "train-images-idx3-ubyte", "t10k-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte",
)  # fmt: skip
_CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"


def load(name: str) -> Dataset:
    """Load a data set, downloading it where there is no copy yet.

    Args:
        name: ``"digits"`` (8 x 8, 17 levels, needs no network), ``"mnist"`` (28 x 28, 256 levels), ``"cifar10"``
            (RGB, 32 x 32, 256 levels) or ``"cifar10-sample"``, 4,000 images of it, from ``COURSE_DATA_DIR`` alone.

    Raises:
        ValueError: there is no such data set, or a file in ``COURSE_DATA_DIR`` is not the published one; the
            message names it.
        OSError: a file can neither be found nor downloaded, or not be kept; the message says how to mend it.

    Source: [Alpaydin1998] (digits); [LeCun1998a] (MNIST); [Krizhevsky2009] (CIFAR-10).
    """
    loaders = {"digits": _digits, "mnist": _mnist, "cifar10": _cifar10, "cifar10-sample": _cifar10_sample}
    return loaders[one_of("the data set", name, SPLITS)]()


def is_here(name: str) -> bool:
    """Whether `load` finds this data set without a network.

    Raises:
        ValueError: there is no such data set.
    """
    if one_of("the data set", name, SPLITS) == "cifar10-sample":
        return bool(_sample_pngs())
    if name == "digits":
        return True
    # Downloads keep the published name, compressed; copies may be unpacked.
    published = [_CIFAR10_ARCHIVE] if name == "cifar10" else [f"{file}.gz" for file in _MNIST_FILES]
    return all(
        local_copy(name, file, file.removesuffix(".gz")) or (cache_folder() / file).is_file() for file in published
    )


def forty_digits() -> Tensor:
    """The first forty test images of MNIST, which come with the course: no network and no download.

    They are of the MNIST database by Yann LeCun, Corinna Cortes and Christopher J. C. Burges, under the licence
    CC BY-SA 3.0, and so is the file ``data/mnist-test-40.png``.

    Returns:
        Intensities in [0, 1] on 256 levels, ``[40, 1, 28, 28]``, float32, as in ``load("mnist").test[:40]``.

    Source: [LeCun1998a].
    """
    with Image.open(DATA / "mnist-test-40.png") as picture:
        sheet = np.array(picture)
    # Four rows of ten.
    images = sheet.reshape(4, 28, 10, 28).swapaxes(1, 2).reshape(40, 1, 28, 28)
    return torch.from_numpy(images).to(torch.float32).div_(255)


def _digits() -> Dataset:
    # Here and not above: nothing else needs scikit-learn, and it takes longer to import than digits to load.
    from sklearn.datasets import load_digits

    digits = load_digits()
    # The file is ordered by writer: cut as it stands, the test images would all be in hands never trained on.
    order = np.random.default_rng(0).permutation(len(digits.target))
    return _split("digits", 17, digits.images[order, None].astype(np.uint8), digits.target[order])


def _mnist() -> Dataset:
    train, test, train_labels, test_labels = (
        _read_idx(name, n_axes) for name, n_axes in zip(_MNIST_FILES, (3, 3, 1, 1), strict=True)
    )
    images, labels = np.concatenate([train, test]), np.concatenate([train_labels, test_labels])
    return _split("mnist", 256, images[:, None], labels)


def _cifar10() -> Dataset:
    path = local_copy("cifar10", _CIFAR10_ARCHIVE)
    if path is None:
        path = download(_CIFAR10_ARCHIVE)
    else:
        check_hash(path, path.read_bytes(), registered(_CIFAR10_ARCHIVE)["hash"])
    batches = [f"{batch}.bin" for batch in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
    contents: dict[str, bytes] = {}
    try:
        # One pass in the archive's own order: gzip cannot jump back without decompressing all of it again.
        with tarfile.open(path, "r|gz") as archived:
            for member in archived:
                name, file = Path(member.name).name, archived.extractfile(member)
                if file and name in batches:
                    contents[name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole archive ({error}); get it again.") from None
    for name in batches:
        if not contents.get(name) or len(contents[name]) % 3073:
            raise ValueError(f"{path} holds no {name} of 3,073 bytes an image; get the binary version of CIFAR-10.")
    # A label, then a plane of red, one of green and one of blue, each row by row.
    images = np.concatenate([np.frombuffer(contents[name], np.uint8).reshape(-1, 3073) for name in batches])
    return _split("cifar10", 256, images[:, 1:].reshape(-1, 3, 32, 32), images[:, 0])


def _cifar10_sample() -> Dataset:
    pngs = _sample_pngs()
    if not pngs:
        raise FileNotFoundError(
            "the data set cifar10-sample is not downloaded but read from COURSE_DATA_DIR: set it to a folder that has "
            "the PNG files of the first 4,000 images of CIFAR-10 in a folder cifar10-sample."
        )
    images = np.concatenate([_read_rows(png) for png in pngs])
    return _split("cifar10-sample", 256, images, None)


def _sample_pngs() -> list[Path]:
    return next((pngs for folder in data_folders() if (pngs := sorted(folder.glob("cifar10-sample/*.png")))), [])


def _split(name: str, levels: int, images: Bytes, labels: NDArray[np.integer] | None) -> Dataset:
    """Cut the levels ``[N, C, H, W]`` of all images, those for training first."""
    sizes = SPLITS[name]
    if len(images) != sum(sizes) or (labels is not None and len(labels) != len(images)):
        counted = f"{len(images):,} images" + (f" and {len(labels):,} labels" if labels is not None else "")
        raise ValueError(f"the files of {name} hold {counted} where there should be {sum(sizes):,} of each.")
    intensities = torch.from_numpy(np.ascontiguousarray(images)).to(torch.float32).div_(levels - 1)
    train, validation, test = intensities.split(sizes)
    if labels is None:
        return Dataset(name, train, validation, test, levels)
    classes = torch.from_numpy(labels.astype(np.int64)).split(sizes)
    return Dataset(name, train, validation, test, levels, *classes)


def _read_idx(name: str, n_axes: int) -> Bytes:
    """Unsigned bytes in the IDX format, ``n_axes`` of them.

    Source: [LeCun1998b], "File formats for the MNIST database".
    """
    path = local_copy("mnist", name, f"{name}.gz") or download(f"{name}.gz")
    contents = path.read_bytes()
    if path.suffix == ".gz":
        try:
            contents = gzip.decompress(contents)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is not a whole gzip file ({error}); get it again.") from None
    check_hash(path, contents, registered(f"{name}.gz")["decompressed_hash"])

    magic = bytes((0, 0, 8, n_axes))  # 8: unsigned bytes
    start = 4 + 4 * n_axes
    if len(contents) < start or contents[:4] != magic:
        raise ValueError(
            f"{path} is no IDX file of bytes along {n_axes} axes: it has {len(contents)} bytes and begins with "
            f"{contents[:4].hex() or 'nothing'}, not {magic.hex()}; get it again."
        )
    shape = np.frombuffer(contents[4:start], ">u4").tolist()
    if len(contents) - start != math.prod(shape):
        raise ValueError(
            f"{path} has {len(contents) - start:,} bytes of data where its header says "
            f"{' x '.join(map(str, shape))} = {math.prod(shape):,}; get it again."
        )
    return np.frombuffer(contents, np.uint8, offset=start).reshape(shape)


def _read_rows(png: Path) -> Bytes:
    """Images ``[N, 3, 32, 32]`` from a picture whose every row is one of them, pixel after pixel."""
    try:
        pixels = np.asarray(Image.open(png))
    except (OSError, SyntaxError) as error:  # Pillow says SyntaxError of a broken PNG
        raise ValueError(f"{png} is not a whole PNG file ({error}); get it again.") from None
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (1024, 3):
        raise ValueError(f"{png} is no RGB picture 1,024 pixels wide, an image a row; its shape is {pixels.shape}.")
    return pixels.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
