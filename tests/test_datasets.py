"""Data sets: what they hold, how they are binarized, and that no mishap on the way gives a wrong or partial one."""

import dataclasses
import gzip
import hashlib
import http.server
import io
import json
import math
import os
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from PIL import Image

from course_lib import datasets, downloads
from course_lib.__main__ import main

# Read before any test hides the variable.
REAL = Path(os.environ.get("COURSE_DATA_DIR") or Path(__file__).parents[2] / "shared" / "data").absolute()
MNIST_FILES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
N_TRAIN, N_TEST = 10, 3
PARTS = ("train", "validation", "test")


def sha256(contents: bytes) -> str:
    return f"sha256:{hashlib.sha256(contents).hexdigest()}"


# ---- a small MNIST, a server for it and a registry that names the server


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def made_mnist() -> dict[str, bytes]:
    rng = np.random.default_rng(1)
    arrays = []
    for n in (N_TRAIN, N_TEST):
        arrays += [rng.integers(0, 256, (n, 100, 200), dtype=np.uint8), rng.integers(0, 10, n, dtype=np.uint8)]
    return dict(zip(MNIST_FILES, map(idx, arrays), strict=True))


RAW = made_mnist()
ZIPPED = {f"{name}.gz": gzip.compress(contents, mtime=0) for name, contents in RAW.items()}


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves each file in the manner that the first part of its path names."""

    def do_GET(self):
        _, manner, name = self.path.split("/")
        self.server.asked.append(f"{manner}/{name}")
        contents = self.server.contents[name]
        getattr(self, manner)(contents)

    def answer(self, contents: bytes, length: int, **headers: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(contents)

    def whole(self, contents):
        self.answer(contents, len(contents))

    def slow(self, contents):
        self.answer(b"", len(contents))
        for start in range(0, len(contents), 1 + len(contents) // 8):
            time.sleep(0.03)
            self.wfile.write(contents[start : start + 1 + len(contents) // 8])

    def endless(self, contents):
        self.answer(contents[: len(contents) // 2], len(contents))
        self.server.closing.wait(30)

    def truncated(self, contents):
        self.answer(contents[: len(contents) // 2], len(contents))

    def shortened(self, contents):
        self.answer(contents[: len(contents) // 2], len(contents) // 2)

    def recovering(self, contents):
        manner = self.truncated if len(self.server.asked) == 1 else self.whole
        manner(contents)

    def page(self, contents):
        html = b"<!doctype html><title>Please log in</title>"
        self.answer(html, len(html), Content_Type="text/html")

    def dying(self, contents):
        self.answer(contents[: len(contents) // 2], len(contents))
        # An immediate reset, as from a machine that goes down, not an orderly end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.wfile = io.BytesIO()

    def gone(self, contents):
        self.send_error(404)

    def encoded(self, contents):
        """As servers do that take .gz for a page compressed for the journey, unless asked not to."""
        wished = self.headers["Accept-Encoding"] or ""
        self.answer(contents, len(contents), **({"Content_Encoding": "gzip"} if "gzip" in wished else {}))

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        server.asked, server.contents, server.closing = [], dict(ZIPPED), threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """No data but what a test provides: an empty cache, no folder, no proxy between us and 127.0.0.1."""
    for variable in ("COURSE_DATA_DIR", "TQDM_DISABLE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")
    monkeypatch.setenv("COURSE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def register(tmp_path, monkeypatch, cache):
    """Set the mirrors of the small MNIST, and what its files hold."""

    def register(*mirrors: str, raw: dict[str, bytes] = RAW, zipped: dict[str, bytes] = ZIPPED) -> Path:
        registry = {
            name: {
                "bytes": len(contents),
                "hash": sha256(contents),
                "decompressed_hash": sha256(raw[name.removesuffix(".gz")]),
                "urls": [f"{mirror}/{name}" for mirror in mirrors],
            }
            for name, contents in zipped.items()
        }
        path = tmp_path / "registry.json"
        path.write_text(json.dumps(registry))
        monkeypatch.setattr(downloads, "REGISTRY", path)
        monkeypatch.setitem(datasets.SPLITS, "mnist", (8, 2, 3))
        return path

    return register


@pytest.fixture
def mirrors(server, register):
    """Register mirrors of the server by their manners."""
    return lambda *manners: register(*(f"http://127.0.0.1:{server.server_port}/{manner}" for manner in manners))


def assert_is_made_mnist(data: datasets.Dataset) -> None:
    assert data.train_labels is not None and data.validation_labels is not None and data.test_labels is not None
    images = np.frombuffer(RAW[MNIST_FILES[0]], np.uint8, offset=16).reshape(N_TRAIN, 1, 100, 200)
    labels = np.frombuffer(RAW[MNIST_FILES[1]], np.uint8, offset=8)
    np.testing.assert_array_equal((data.train * 255).numpy().round(), images[:8])
    np.testing.assert_array_equal((data.validation * 255).numpy().round(), images[8:])
    assert data.train_labels.tolist() == labels[:8].tolist()
    assert data.validation_labels.tolist() == labels[8:].tolist()
    assert data.shape == (1, 100, 200)
    assert len(data.test) == len(data.test_labels) == N_TEST


def assert_one_sentence(error: BaseException) -> str:
    message = str(error)
    assert "\n" not in message
    assert message.endswith(".") and ". " not in message
    assert error.__cause__ is None and (error.__context__ is None or error.__suppress_context__)
    return message


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# ---- what a data set holds


@pytest.fixture(scope="module")
def digits() -> datasets.Dataset:
    return datasets.load("digits")


def assert_well_formed(data: datasets.Dataset, n_classes: int = 10) -> None:
    assert tuple(len(getattr(data, part)) for part in PARTS) == datasets.SPLITS[data.name]
    for part in PARTS:
        images = getattr(data, part)
        assert images.dtype == torch.float32
        assert images.is_contiguous()
        assert tuple(images.shape[1:]) == data.shape
        levels = (images * (data.levels - 1)).round()
        assert torch.equal(images, levels / (data.levels - 1)), "off the grid of levels"
        assert images.min() == 0 and images.max() <= 1
        labels = getattr(data, f"{part}_labels")
        if labels is not None:
            assert labels.dtype == torch.int64 and labels.shape == (len(images),)
            assert labels.unique().tolist() == list(range(n_classes))


def test_digits_have_their_sizes_and_lie_on_17_levels(digits):
    assert (digits.name, digits.shape, digits.levels) == ("digits", (1, 8, 8), 17)
    assert_well_formed(digits)
    assert digits.train.max() == 1


def test_the_splits_of_digits_are_disjoint_and_leave_nothing_out(digits):
    from sklearn.datasets import load_digits

    def sorted_rows(images):
        rows = images.reshape(len(images), -1)
        return rows[np.lexsort(rows.T)]

    together = torch.cat([getattr(digits, part) for part in PARTS]).numpy() * 16
    np.testing.assert_array_equal(sorted_rows(together), sorted_rows(load_digits().images))


def test_the_splits_of_digits_do_not_change(digits):
    """A model trained elsewhere is tested on images it has not seen."""
    levels = (digits.test * 16).round().to(torch.uint8).numpy()
    assert sha256(levels.tobytes()) == ("sha256:ca7684602c04b23ce38981469a8bf88b79fff529836507c9ca6d6a1f234db943")


def test_each_digit_keeps_its_label(digits):
    from sklearn.datasets import load_digits

    original = load_digits()
    label_of = {image.tobytes(): label for image, label in zip(original.images, original.target, strict=True)}
    for part in PARTS:
        images = (getattr(digits, part) * 16).round().double().numpy()[:, 0]
        assert [label_of[image.tobytes()] for image in images] == getattr(digits, f"{part}_labels").tolist()


def test_digits_need_no_network_no_cache_and_no_registry(cache, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(downloads, "REGISTRY", cache / "there is none")
    assert len(datasets.load("digits").train) == 1_297
    assert not cache.exists()


def test_a_data_set_cannot_be_changed_and_prints_as_one_line(digits):
    with pytest.raises(dataclasses.FrozenInstanceError):
        digits.levels = 2
    assert repr(digits) == "digits: 1,297 train, 200 validation and 300 test images of 1 x 8 x 8, 17 levels"


@pytest.mark.parametrize("name", ["fashion", "MNIST", "", None, ["mnist"]])
def test_an_unknown_name_says_which_exist(name):
    with pytest.raises(ValueError, match=f"the data set must be one of {', '.join(datasets.SPLITS)}; got ") as caught:
        datasets.load(name)
    assert_one_sentence(caught.value)


# ---- binarization


def test_pixels_are_one_as_often_as_their_intensity_says():
    intensities = torch.linspace(0, 1, 17)
    n = 40_000
    draws = datasets.binarize(intensities.expand(n, 17), torch.Generator().manual_seed(3))
    std_errors = (intensities * (1 - intensities) / n).sqrt()
    assert ((draws.mean(0) - intensities).abs() <= 4.5 * std_errors).all()


def test_fixed_pixels_are_one_as_often_as_their_intensity_says():
    intensities = torch.linspace(0, 1, 17)
    n = 40_000
    std_errors = (intensities * (1 - intensities) / n).sqrt()
    means = datasets.fixed_binarization(intensities.expand(n, 17)).mean(0)
    assert ((means - intensities).abs() <= 4.5 * std_errors).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_binarized_images_are_zeros_and_ones_of_the_same_shape_in_float32(digits, dtype):
    intensities = digits.test.to(dtype)
    for binary in (datasets.binarize(intensities), datasets.fixed_binarization(intensities)):
        assert binary.shape == intensities.shape
        assert binary.dtype == torch.float32
        assert binary.unique().tolist() == [0, 1]


def test_black_stays_black_and_white_stays_white():
    for binarize in (datasets.binarize, datasets.fixed_binarization):
        assert not binarize(torch.zeros(1_000_000)).any()
        assert binarize(torch.ones(1_000_000)).all()


def test_every_call_draws_anew(digits):
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(datasets.binarize(digits.test, generator), datasets.binarize(digits.test, generator))
    assert not torch.equal(datasets.binarize(digits.test), datasets.binarize(digits.test))


def test_the_same_seed_gives_the_same_draws(digits):
    one, other = (datasets.binarize(digits.test, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, other)


def test_the_fixed_binarization_does_not_change(digits):
    """Published numbers are about these very pixels."""
    pixels = datasets.fixed_binarization(digits.test).to(torch.uint8).numpy()
    assert sha256(pixels.tobytes()) == ("sha256:cd38014c722eb394f439173bf58ef619954f6c51eadd5c60b3b88cb9dc379e9e")


def test_the_fixed_binarization_ignores_the_global_seeds(digits):
    torch.manual_seed(1)
    np.random.seed(1)
    one = datasets.fixed_binarization(digits.test)
    assert torch.equal(one, datasets.fixed_binarization(digits.test))
    assert not torch.equal(one, datasets.fixed_binarization(digits.test, seed=datasets.BINARIZATION_SEED + 1))


@pytest.mark.parametrize("n", [0, 1, 7, 299])
def test_the_first_images_binarize_alike_without_the_rest(digits, n):
    whole = datasets.fixed_binarization(digits.test)
    assert torch.equal(datasets.fixed_binarization(digits.test[:n]), whole[:n])


def test_the_fixed_binarization_does_not_depend_on_layout_or_precision(digits):
    expected = datasets.fixed_binarization(digits.test)
    strided = digits.test.transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(datasets.fixed_binarization(strided), expected)
    assert torch.equal(datasets.fixed_binarization(digits.test.double()), expected)


@pytest.mark.parametrize(
    "intensities, complaint",
    [
        (torch.tensor([0.5, math.nan]), "without nan"),
        (torch.tensor([0.5, 1.001]), "go from 0.5 to 1.001"),
        (torch.tensor([-0.25, 0.5]), "go from -0.25 to 0.5"),
        (torch.tensor([0, 1]), "got torch.int64"),
        (torch.tensor([0, 255], dtype=torch.uint8), "got torch.uint8"),
        (torch.tensor([True]), "got torch.bool"),
        (np.zeros((1, 3), dtype=np.float32), "tensor of floating type.* got a ndarray"),
        (None, "tensor of floating type.* got a NoneType"),
    ],
)
@pytest.mark.parametrize("function", [datasets.binarize, datasets.fixed_binarization, datasets.binarization_entropy])
def test_what_is_no_intensity_is_refused(function, intensities, complaint):
    with pytest.raises(ValueError, match=complaint):
        function(intensities)


def test_a_generator_on_another_device_is_refused():
    with pytest.raises(ValueError, match=r"generator is on cpu .* on meta"):
        datasets.binarize(torch.empty(0, device="meta"), torch.Generator())


def test_a_seed_is_no_generator_and_a_generator_no_seed():
    with pytest.raises(ValueError, match=r"generator must be torch.Generator\(\).manual_seed\(0\) or the like; got 7"):
        datasets.binarize(torch.rand(2, 3), 7)
    for seed in (torch.Generator(), -1, 1.5, None, "7"):
        with pytest.raises(ValueError, match="seed must be a whole number of at least 0; got "):
            datasets.fixed_binarization(torch.rand(2, 3), seed)


def test_without_a_check_the_same_bits_are_drawn_and_no_value_is_looked_at(digits):
    one, other = (
        datasets.binarize(digits.test, torch.Generator().manual_seed(7), check=check) for check in (True, False)
    )
    assert torch.equal(one, other)
    # A tensor on this device has no values: whoever looks at one fails.
    assert datasets.binarize(digits.test.to("meta"), check=False).shape == digits.test.shape
    with pytest.raises(RuntimeError, match="meta"):
        datasets.binarize(digits.test.to("meta"))
    with pytest.raises(ValueError, match=r"got torch.int64"):
        datasets.binarize(torch.tensor([0, 1]), check=False)


def test_entropy_is_of_images_and_not_of_pixels():
    with pytest.raises(ValueError, match=r"shape \[N, ...\], image by image; got \[3\]"):
        datasets.binarization_entropy(torch.rand(3))


def test_the_entropy_is_that_of_independent_pixels():
    images = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.5, 1.0], [0.25, 0.5, 0.0]])
    quarter = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    expected = torch.tensor([0.0, 2 * math.log(2), quarter + math.log(2)], dtype=torch.float64)
    torch.testing.assert_close(datasets.binarization_entropy(images), expected)


# ---- downloads


def test_a_download_is_kept_and_not_asked_for_again(server, mirrors, cache):
    mirrors("whole")
    assert_is_made_mnist(datasets.load("mnist"))
    assert files_in(cache) == sorted(ZIPPED)
    assert len(server.asked) == 4
    assert_is_made_mnist(datasets.load("mnist"))
    assert len(server.asked) == 4


def test_a_slow_server_is_waited_for_with_a_progress_bar(mirrors, monkeypatch, capsys):
    monkeypatch.setattr(downloads, "TIMEOUT", (1.0, 1.0))
    mirrors("slow")
    assert_is_made_mnist(datasets.load("mnist"))
    assert "100%|" in capsys.readouterr().err


def test_no_progress_bar_where_it_is_not_wanted(mirrors, monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    mirrors("slow")
    assert_is_made_mnist(datasets.load("mnist"))
    assert "%|" not in capsys.readouterr().err


def test_a_server_that_would_decompress_on_the_way_is_asked_not_to(server, mirrors):
    mirrors("encoded")
    assert_is_made_mnist(datasets.load("mnist"))
    assert len(server.asked) == 4


BAD_MANNERS = {
    "truncated": "failed (ChunkedEncodingError)",
    "shortened": "sent another file",
    "page": "sent another file",
    "dying": "failed (",
    "gone": "answered 404",
    "endless": "failed (",
}


@pytest.mark.parametrize("manner", BAD_MANNERS)
def test_a_mirror_that_fails_is_followed_by_the_next(manner, server, mirrors, monkeypatch, cache):
    monkeypatch.setattr(downloads, "TIMEOUT", (1.0, 0.3))
    mirrors(manner, "whole")
    assert_is_made_mnist(datasets.load("mnist"))
    assert server.asked[:2] == [f"{manner}/{MNIST_FILES[0]}.gz", f"whole/{MNIST_FILES[0]}.gz"]
    assert files_in(cache) == sorted(ZIPPED)


@pytest.mark.parametrize("manner", BAD_MANNERS)
def test_where_every_mirror_fails_one_sentence_says_how_to_mend_it(manner, server, mirrors, monkeypatch, cache):
    monkeypatch.setattr(downloads, "TIMEOUT", (1.0, 0.3))
    mirrors(manner)
    with pytest.raises(ConnectionError) as caught:
        datasets.load("mnist")
    message = assert_one_sentence(caught.value)
    name = f"{MNIST_FILES[0]}.gz"
    assert message.startswith(f"could not download {name} (0.2 MB): 127.0.0.1:{server.server_port} ")
    assert BAD_MANNERS[manner] in message
    assert "set COURSE_DATA_DIR to a folder that has the file." in message
    assert server.asked == [f"{manner}/{name}"] * downloads.ROUNDS
    assert files_in(cache) == []


def test_a_mirror_that_recovers_is_asked_once_more(server, mirrors):
    mirrors("recovering")
    assert_is_made_mnist(datasets.load("mnist"))
    assert len(server.asked) == 5


def test_without_any_server_one_sentence_says_so(register, cache, tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        register(f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "misspelt"))
        with pytest.raises(ConnectionError, match=r"ConnectionError.*misspelt has not") as caught:
            datasets.load("mnist")
    assert_one_sentence(caught.value)
    assert files_in(cache) == []


def test_an_interrupted_download_leaves_nothing_that_counts_as_whole(mirrors, monkeypatch, cache):
    mirrors("whole")
    name = f"{MNIST_FILES[2]}.gz"  # one has arrived by then

    def interrupt(self, url, output_file, *_):
        download(self, url, output_file, None)
        if url.endswith(name):
            with open(output_file, "r+b") as file:
                file.truncate(len(ZIPPED[name]) // 2)
            raise KeyboardInterrupt

    download = pooch.HTTPDownloader.__call__
    with monkeypatch.context() as patched:
        patched.setattr(pooch.HTTPDownloader, "__call__", interrupt)
        with pytest.raises(KeyboardInterrupt):
            datasets.load("mnist")
    assert files_in(cache) == [f"{MNIST_FILES[0]}.gz"]
    assert_is_made_mnist(datasets.load("mnist"))


def test_a_killed_download_leaves_nothing_that_counts_as_whole(mirrors, cache):
    registry = mirrors("endless")
    code = (
        "import pathlib, sys; from course_lib import datasets, downloads; "
        "downloads.REGISTRY = pathlib.Path(sys.argv[1]); datasets.load('mnist')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(registry)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (cache.exists() and any(path.stat().st_size for path in cache.iterdir())):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert not (cache / f"{MNIST_FILES[0]}.gz").exists()
    mirrors("whole")
    assert_is_made_mnist(datasets.load("mnist"))


@pytest.mark.parametrize("damage", [lambda whole: whole[:-100], lambda whole: b"", lambda whole: whole + b"!"])
def test_a_damaged_file_in_the_cache_is_downloaded_anew(damage, server, mirrors, cache):
    mirrors("whole")
    datasets.load("mnist")
    name = f"{MNIST_FILES[2]}.gz"
    (cache / name).write_bytes(damage(ZIPPED[name]))
    assert_is_made_mnist(datasets.load("mnist"))
    assert server.asked[4:] == [f"whole/{name}"]
    assert (cache / name).read_bytes() == ZIPPED[name]


def test_a_cache_that_cannot_be_written_is_one_sentence(mirrors, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COURSE_CACHE_DIR", str(tmp_path / "file"))
    mirrors("whole")
    with pytest.raises(OSError, match="set COURSE_CACHE_DIR to a folder") as caught:
        datasets.load("mnist")
    assert_one_sentence(caught.value)


# ---- COURSE_DATA_DIR


@pytest.fixture
def given(tmp_path, monkeypatch, register):
    """A folder of existing copies, and no mirror at all."""
    register()
    folder = tmp_path / "given"
    folder.mkdir()
    monkeypatch.setenv("COURSE_DATA_DIR", str(folder))
    return folder


def write(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("folder", ["mnist", "."])
def test_a_folder_may_hold_files_as_published_or_not_compressed_or_compressed_again(folder, given, cache):
    again = {name: gzip.compress(RAW[name.removesuffix(".gz")], compresslevel=1, mtime=5) for name in ZIPPED}
    assert again != ZIPPED
    for contents in (ZIPPED, again, RAW):
        write(given / folder, contents)
        assert_is_made_mnist(datasets.load("mnist"))
        for name in contents:
            (given / folder / name).unlink()
    assert not cache.exists()


def test_a_relative_folder_is_found_from_the_working_directory(given, monkeypatch):
    write(given / "mnist", RAW)
    monkeypatch.chdir(given.parent)
    monkeypatch.setenv("COURSE_DATA_DIR", "given")
    assert_is_made_mnist(datasets.load("mnist"))


def test_a_relative_folder_is_found_from_the_root_of_the_repository_too(given, monkeypatch, tmp_path):
    write(given / "mnist", RAW)
    monkeypatch.setattr(downloads, "_ROOT", given)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSE_DATA_DIR", ".")
    assert_is_made_mnist(datasets.load("mnist"))


def test_what_a_folder_lacks_is_downloaded(given, server, mirrors):
    write(given, {name: RAW[name] for name in MNIST_FILES[:2]})
    mirrors("whole")
    assert_is_made_mnist(datasets.load("mnist"))
    assert server.asked == [f"whole/{name}.gz" for name in (MNIST_FILES[2], MNIST_FILES[3])]


@pytest.mark.parametrize(
    "name, contents",
    [
        (MNIST_FILES[2], RAW[MNIST_FILES[2]][:-1] + b"?"),
        (f"{MNIST_FILES[2]}.gz", gzip.compress(RAW[MNIST_FILES[0]])),
        (f"{MNIST_FILES[2]}.gz", ZIPPED[f"{MNIST_FILES[2]}.gz"][:-50]),
        (f"{MNIST_FILES[2]}.gz", b"<!doctype html>"),
        (f"{MNIST_FILES[2]}.gz", b""),
    ],
    ids=["changed", "another", "truncated", "a page", "empty"],
)
def test_wrong_bytes_in_a_folder_are_an_error_that_names_the_file(name, contents, given, server, mirrors):
    mirrors("whole")
    write(given, {**{raw: RAW[raw] for raw in MNIST_FILES if raw not in name}, name: contents})
    with pytest.raises(ValueError) as caught:
        datasets.load("mnist")
    assert assert_one_sentence(caught.value).startswith(f"{given / name} ")
    assert server.asked == []


@pytest.mark.parametrize(
    "damage, complaint",
    [
        (lambda whole: b"", "has 0 bytes and begins with nothing, not 00000803"),
        (lambda whole: whole[:10], "has 10 bytes and begins with 00000803"),
        (lambda whole: whole[:16], "has 0 bytes of data where its header says 3 x 100 x 200 = 60,000"),
        (lambda whole: whole[:-1], "has 59,999 bytes of data"),
        (lambda whole: whole + b"\0", "has 60,001 bytes of data"),
        (lambda whole: b"\0\0\x0d\x03" + whole[4:], "begins with 00000d03, not 00000803"),  # floats
        (lambda whole: RAW[MNIST_FILES[3]] + bytes(100), "begins with 00000801, not 00000803"),  # labels
        (lambda whole: whole[:4] + b"\xff" * 12 + whole[16:], "4294967295 x 4294967295"),
    ],
)
def test_a_malformed_idx_file_is_one_sentence_that_names_it(damage, complaint, given, register):
    name = MNIST_FILES[2]
    raw = {**RAW, name: damage(RAW[name])}
    register(raw=raw)
    write(given, raw)
    with pytest.raises(ValueError) as caught:
        datasets.load("mnist")
    message = assert_one_sentence(caught.value)
    assert message.startswith(f"{given / name} ")
    assert complaint in message


def test_other_numbers_of_images_than_the_splits_need_are_refused(given, monkeypatch):
    write(given, RAW)
    monkeypatch.setitem(datasets.SPLITS, "mnist", (50, 10, 10))
    with pytest.raises(ValueError, match="mnist hold 13 images and 13 labels where there should be 70 of each") as e:
        datasets.load("mnist")
    assert_one_sentence(e.value)


# ---- CIFAR-10


def made_cifar(batches: dict[str, np.ndarray]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, records in {"batches.meta.txt": np.frombuffer(b"airplane\n", np.uint8), **batches}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = records.nbytes
            archive.addfile(member, io.BytesIO(records.tobytes()))
    return packed.getvalue()


def made_batches() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    names = ["test_batch.bin", *(f"data_batch_{i}.bin" for i in (4, 1, 5, 2, 3))]  # in no order
    batches = {name: rng.integers(0, 256, (2, 3073), dtype=np.uint8) for name in names}
    for i, name in enumerate(sorted(names)):
        batches[name][:, 0] = (i, 9 - i)
    return batches


@pytest.fixture
def cifar(tmp_path, monkeypatch, cache):
    """Put an archive of a few images into the folder of data."""

    def put(contents: bytes, registered: bytes | None = None) -> Path:
        digest = hashlib.md5(contents if registered is None else registered).hexdigest()
        entry = {"bytes": len(contents), "hash": f"md5:{digest}", "urls": []}
        (tmp_path / "registry.json").write_text(json.dumps({"cifar-10-binary.tar.gz": entry}))
        monkeypatch.setattr(downloads, "REGISTRY", tmp_path / "registry.json")
        monkeypatch.setitem(datasets.SPLITS, "cifar10", (9, 1, 2))
        monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
        (tmp_path / "cifar10").mkdir(exist_ok=True)
        path = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
        path.write_bytes(contents)
        return path

    return put


def test_cifar_has_its_colours_its_orientation_and_its_order(cifar):
    batches = made_batches()
    picture = np.zeros((3, 32, 32), np.uint8)
    picture[0, 0, :] = 255  # the top row is red
    picture[2, :, 31] = 51  # the right column has some blue
    batches["data_batch_1.bin"][0, 1:] = picture.ravel()
    cifar(made_cifar(batches))
    data = datasets.load("cifar10")
    assert (data.shape, data.levels) == ((3, 32, 32), 256)
    assert data.train[0, 0, 0].eq(1).all() and not data.train[0, 0, 1:].any()
    assert not data.train[0, 1].any()
    assert data.train[0, 2, :, 31].eq(0.2).all() and not data.train[0, 2, :, :31].any()
    assert data.train_labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4]
    assert (data.validation_labels.tolist(), data.test_labels.tolist()) == ([5], [5, 4])
    expected = batches["test_batch.bin"][:, 1:].reshape(2, 3, 32, 32)
    np.testing.assert_array_equal((data.test * 255).round().numpy(), expected)


def test_cifar_is_downloaded_whole_and_once(cifar, server, tmp_path):
    server.contents["cifar-10-binary.tar.gz"] = archive = made_cifar(made_batches())
    cifar(archive).unlink()
    entry = json.loads(downloads.REGISTRY.read_text())
    entry["cifar-10-binary.tar.gz"]["urls"] = [
        f"http://127.0.0.1:{server.server_port}/{manner}/cifar-10-binary.tar.gz" for manner in ("truncated", "whole")
    ]
    downloads.REGISTRY.write_text(json.dumps(entry))
    assert len(datasets.load("cifar10").train) == 9
    assert len(datasets.load("cifar10").train) == 9
    assert len(server.asked) == 2


def test_another_cifar_archive_is_an_error_that_names_it(cifar):
    path = cifar(made_cifar(made_batches()), registered=b"another")
    with pytest.raises(ValueError, match="its MD5 begins with") as caught:
        datasets.load("cifar10")
    assert assert_one_sentence(caught.value).startswith(f"{path} ")


@pytest.mark.parametrize(
    "contents, complaint",
    [
        (made_cifar(made_batches())[:-2000], "not a whole archive"),
        (b"<!doctype html>", "not a whole archive"),
        (b"", "not a whole archive"),
        (made_cifar({"data_batch_1.bin": np.zeros(3073, np.uint8)}), "holds no data_batch_2.bin"),
        (made_cifar({**made_batches(), "data_batch_3.bin": np.zeros(3072, np.uint8)}), "holds no data_batch_3.bin"),
    ],
    ids=["truncated", "a page", "empty", "lacks a batch", "part of an image"],
)
def test_a_malformed_cifar_archive_is_one_sentence_that_names_it(contents, complaint, cifar):
    path = cifar(contents)
    with pytest.raises(ValueError, match=complaint) as caught:
        datasets.load("cifar10")
    assert assert_one_sentence(caught.value).startswith(f"{path} ")


def sample_folder(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cifar10-sample"
    folder.mkdir()
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    monkeypatch.setitem(datasets.SPLITS, "cifar10-sample", (4, 1, 1))
    return folder


def test_a_row_of_a_sample_is_an_image(cache, tmp_path, monkeypatch):
    images = np.random.default_rng(4).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    folder = sample_folder(tmp_path, monkeypatch)
    Image.fromarray(images[:5].reshape(5, 1024, 3)).save(folder / "a.png")
    Image.fromarray(images[5:].reshape(1, 1024, 3)).save(folder / "b.png")
    data = datasets.load("cifar10-sample")
    levels = torch.cat([data.train, data.validation, data.test]) * 255
    np.testing.assert_array_equal(levels.round().permute(0, 2, 3, 1).numpy(), images)
    assert data.train_labels is data.validation_labels is data.test_labels is None


@pytest.mark.parametrize("size, mode", [((32, 32), "RGB"), ((1024, 6), "L"), ((1024, 6), "RGBA")])
def test_a_picture_of_another_shape_is_no_sample(size, mode, cache, tmp_path, monkeypatch):
    folder = sample_folder(tmp_path, monkeypatch)
    Image.new(mode, size).save(folder / "a.png")
    with pytest.raises(ValueError, match="no RGB picture 1,024 pixels wide") as caught:
        datasets.load("cifar10-sample")
    assert assert_one_sentence(caught.value).startswith(str(folder / "a.png"))


@pytest.mark.parametrize("keep", [0, 20, 60, -40])
def test_a_broken_picture_is_one_sentence(keep, cache, tmp_path, monkeypatch):
    folder = sample_folder(tmp_path, monkeypatch)
    path = folder / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (6, 1024, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="not a whole PNG file") as caught:
        datasets.load("cifar10-sample")
    assert str(caught.value).startswith(str(path))


def test_without_a_sample_one_sentence_says_where_it_comes_from(cache):
    with pytest.raises(FileNotFoundError, match="COURSE_DATA_DIR: set it to a folder") as caught:
        datasets.load("cifar10-sample")
    assert_one_sentence(caught.value)


# ---- the command


def test_the_command_prints_a_line_for_each(mirrors, capsys):
    mirrors("whole")
    assert main(["data", "digits", "mnist"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        "digits: 1,297 train, 200 validation and 300 test images of 1 x 8 x 8, 17 levels; "
        "binarizing a test image has an entropy of 13.51 nats"
    )
    assert second.startswith("mnist: 8 train, 2 validation and 3 test images of 1 x 100 x 200, 256 levels; ")


def test_the_command_fetches_mnist_unless_told_otherwise(mirrors, capsys):
    mirrors("whole")
    assert main(["data"]) == 0
    assert capsys.readouterr().out.startswith("mnist: 8 train")


def test_the_command_says_of_colours_no_entropy(cifar, capsys):
    cifar(made_cifar(made_batches()))
    assert main(["data", "cifar10"]) == 0
    assert capsys.readouterr().out == ("cifar10: 9 train, 1 validation and 2 test images of 3 x 32 x 32, 256 levels\n")


@pytest.mark.parametrize("names", [["fashion"], ["cifar10-sample"], ["mnist"]])
def test_the_command_tells_a_failure_in_one_sentence(names, mirrors, capsys):
    mirrors("gone")
    assert main(["data", *names]) == 1
    printed = capsys.readouterr()
    complaint = printed.err.splitlines()[-1]
    assert complaint.startswith("course_lib: ")
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_an_interrupted_command_says_what_is_kept(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "load", interrupt)
    assert main(["data"]) == 130
    assert capsys.readouterr().err.strip() == "Interrupted. Files that had arrived whole are kept."


# ---- the real files, where they are at hand


def test_the_registry_is_whole():
    registry = json.loads(downloads.REGISTRY.read_text())
    assert sorted(registry) == sorted([*(f"{name}.gz" for name in MNIST_FILES), "cifar-10-binary.tar.gz"])
    digits_of = {"md5": 32, "sha256": 64}
    for name, entry in registry.items():
        for key in ("hash", "decompressed_hash"):
            if key in entry:
                algorithm, digest = entry[key].split(":")
                assert len(bytes.fromhex(digest)) * 2 == digits_of[algorithm]
        assert ("decompressed_hash" in entry) == name.startswith(("train", "t10k"))
        assert entry["bytes"] > 0
        assert all(url.startswith("https://") and url.endswith(f"/{name}") for url in entry["urls"])
    assert all(len(registry[f"{name}.gz"]["urls"]) >= 2 for name in MNIST_FILES)


@pytest.fixture
def real(cache, monkeypatch) -> Path:
    """A folder of real data; the cache is empty."""
    if not REAL.is_dir():
        pytest.skip("no folder of data: set COURSE_DATA_DIR")
    monkeypatch.setenv("COURSE_DATA_DIR", str(REAL))
    return REAL


def test_real_mnist(real):
    if not [*real.glob("train-images-idx3-ubyte*"), *real.glob("mnist/train-images-idx3-ubyte*")]:
        pytest.skip(f"no MNIST in {real}")
    data = datasets.load("mnist")
    assert (data.shape, data.levels) == ((1, 28, 28), 256)
    assert_well_formed(data)
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert datasets.binarization_entropy(data.test).mean().item() == pytest.approx(45.53, abs=0.005)


def test_the_real_sample_of_cifar(real):
    if not (real / "cifar10-sample").is_dir():
        pytest.skip(f"no sample of CIFAR-10 in {real}")
    data = datasets.load("cifar10-sample")
    assert (data.shape, data.levels) == ((3, 32, 32), 256)
    assert_well_formed(data)
    # Were rows and pixels mixed up, neighbours would be strangers.
    for axis in (2, 3):
        neighbours = data.test.diff(dim=axis).abs().mean()
        assert neighbours < 0.3 * (data.test - data.test.roll(1, 0)).abs().mean()


# Here or not


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar10-sample"])
def test_is_here_says_whether_load_would_need_the_network(name, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("COURSE_DATA_DIR", raising=False)
    assert not datasets.is_here(name)
    assert datasets.is_here("digits")


def test_copies_and_downloads_of_mnist_are_here_only_when_all_four_are(tmp_path, monkeypatch):
    names = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    monkeypatch.setenv("COURSE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / "copies"))
    for folder, files in {
        "copies/mnist": [names[0]],
        "copies": [f"{names[1]}.gz"],
        "cache": [f"{name}.gz" for name in names[2:]],
    }.items():
        (tmp_path / folder).mkdir(exist_ok=True, parents=True)
        for file in files:
            assert not datasets.is_here("mnist")
            (tmp_path / folder / file).touch()
    assert datasets.is_here("mnist")


def test_is_here_refuses_an_unknown_name():
    with pytest.raises(ValueError, match="one of digits, mnist, cifar10, cifar10-sample; got 'mnits'"):
        datasets.is_here("mnits")
