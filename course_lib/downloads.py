"""Published files: where copies of them may be, and how they are downloaded, whole or not at all.

A file is looked for in the folder that the environment variable ``COURSE_DATA_DIR`` names, then in a cache
(``COURSE_CACHE_DIR`` moves it). What is in neither is downloaded from the first mirror in
``data/download_registry.json`` that serves the published file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pooch
from requests import RequestException

from course_lib.resources import DATA

__all__ = ["cache_folder", "check_hash", "data_folders", "download", "local_copy", "registered"]

REGISTRY = DATA / "download_registry.json"
CACHE = "monte-carlo-to-vaes"
# Every mirror gets its turn before the first is asked again.
ROUNDS = 2
TIMEOUT = (10.0, 30.0)  # seconds to connect, and without a byte

_ROOT = DATA.parent


def data_folders() -> Iterator[Path]:
    """The folder COURSE_DATA_DIR names; a relative one is also taken from the root, wherever a notebook runs."""
    if named := os.environ.get("COURSE_DATA_DIR"):
        yield from (base / Path(named).expanduser() for base in (Path.cwd(), _ROOT))


def local_copy(folder: str, *names: str) -> Path | None:
    """Where COURSE_DATA_DIR has a file of one of these names, in ``folder`` or beside it."""
    paths = (data / part / name for data in data_folders() for part in (folder, "") for name in names)
    return next((path for path in paths if path.is_file()), None)


def check_hash(path: Path, contents: bytes, expected: str) -> None:
    """Hold what was read from ``path`` against the published hash, such as ``"sha256:440f..."``.

    Raises:
        ValueError: it is another.
    """
    algorithm, _, digest = expected.partition(":")
    found = hashlib.new(algorithm, contents, usedforsecurity=False).hexdigest()
    if found != digest:
        raise ValueError(
            f"{path} is not the published file of that name: its {algorithm.upper()} begins with {found[:8]}, not "
            f"{digest[:8]}; get it again, or take it out of that folder to have it downloaded."
        )


def registered(name: str) -> dict[str, Any]:
    """What the registry says of a file: its ``bytes``, ``hash``, ``urls`` and, if compressed, ``decompressed_hash``."""
    return json.loads(REGISTRY.read_text(encoding="utf-8"))[name]


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(os.environ.get("COURSE_CACHE_DIR") or pooch.os_cache(CACHE)).expanduser()


def download(name: str) -> Path:
    """The published file, from the cache where it is there and whole, else from the first mirror that has it.

    Raises:
        OSError: no mirror serves it, or it cannot be kept; the message says how to mend it.
    """
    folder, entry = cache_folder(), registered(name)
    # Some servers label a .gz file as a page compressed for the journey; unpacked on arrival it has another hash.
    as_it_is = {"Accept-Encoding": "identity"}
    progress = not os.environ.get("TQDM_DISABLE")
    downloader = pooch.HTTPDownloader(progressbar=progress, chunk_size=2**14, timeout=TIMEOUT, headers=as_it_is)
    failures: dict[str, str] = {}
    for url in entry["urls"] * ROUNDS:
        try:
            return Path(pooch.retrieve(url, entry["hash"], fname=name, path=folder, downloader=downloader))
        except (RequestException, ValueError) as error:
            failures[url.split("/")[2]] = _reason(error)
        except OSError as error:
            raise OSError(
                f"cannot keep {name} in {folder} ({error.strerror or type(error).__name__}); "
                "set COURSE_CACHE_DIR to a folder with room for it that you may write to."
            ) from None
    here = os.environ.get("COURSE_DATA_DIR")
    raise ConnectionError(
        f"could not download {name} ({entry['bytes'] / 1e6:.1f} MB): "
        f"{', '.join(f'{host} {reason}' for host, reason in failures.items())}; "
        f"try again later, or set COURSE_DATA_DIR to a folder that has the file{f' ({here} has not)' if here else ''}."
    )


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"answered {response.status_code}"
    return f"failed ({type(error).__name__})" if isinstance(error, RequestException) else "sent another file"
