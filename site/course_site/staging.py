"""All pages of the site in one folder, where Sphinx finds them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat

from course_lib.files import write_atomically
from course_lib.publishing import NOTEBOOKS, sources
from course_lib.publishing.colab import for_colab
from course_lib.publishing.pages import title_of
from course_lib.resources import DATA
from course_lib.training.cards import card_from_json
from course_site import notebooks, picture, readme, zoo

__all__ = ["stage"]

SITE = Path(__file__).resolve().parents[1]
ROOT = SITE.parent
WRITTEN = ("*.md", "api/*.md", "guide/*.md", "static/*")  # by hand, in site/
# The guide is read in the repository, too, where notebooks and other files are one folder further up than on the site.
UP = re.compile(r"(?<=\]\()\.\./\.\./(?=notebooks/)|(?<=\{literalinclude\} )\.\./\.\./")
INCLUDED = re.compile(r"\{literalinclude\} \.\./\.\./(\S+)")


def stage(folder: Path, wheel_address: str | None = None) -> None:
    """Write the pages.

    Args:
        folder: receives them, in the place of what it had.
        wheel_address: where the library's wheel will be, if that is known; then there are notebooks for Colab, too.

    Raises:
        ValueError: a notebook differs from its worked version, a card is damaged, or README.md lacks a section.
        OSError: a file cannot be read or written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    files: dict[Path, bytes] = {}
    for pattern in WRITTEN:
        files |= {path.relative_to(SITE): path.read_bytes() for path in sorted(SITE.glob(pattern))}
    for name in [name for name in files if name.parts[0] == "guide"]:
        guide = files[name].decode()
        files |= {Path(path): (ROOT / path).read_bytes() for path in INCLUDED.findall(guide)}
        files[name] = UP.sub("../", guide).encode()
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    files[Path("install.md")] = readme.page(text, "Start", "Install and start").encode()
    files[Path("data.md")] = readme.page(text, "Data and checkpoints", "Data, checkpoints, your own images").encode()
    cards = [card_from_json(path.read_bytes(), path.name) for path in sorted((DATA / "checkpoints").glob("*.json"))]
    files[Path("zoo.md")] = zoo.page(cards).encode()
    files[Path("picture.html")] = picture.figure().encode()
    decks: list[str] = []
    for stored in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        learners, worked = (
            nbformat.read(path, as_version=4) for path in (stored, NOTEBOOKS / "solutions" / stored.name)
        )
        try:
            page = notebooks.page(learners, worked, _links(stored.stem, colab=wheel_address is not None))
        except ValueError as error:
            raise ValueError(f"{stored.name}: {error}") from None
        files[Path("notebooks", stored.name)] = sources.as_bytes(page)
        files[Path("downloads", stored.name)] = stored.read_bytes()
        decks.append(f'- <a href="slides/{stored.stem}.html">{title_of(learners)}</a>')
        if wheel_address is not None:
            files[Path("downloads", "colab", stored.name)] = sources.as_bytes(for_colab(learners, wheel_address))
    files[Path("slides.md")] += "\n".join(["", *decks, ""]).encode()
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    write_atomically({folder / name: content for name, content in files.items()})


def _links(name: str, *, colab: bool) -> str:
    """Where else a notebook can be had; paths are those of the site's pages."""
    links = [f"{{download}}`Download this notebook <../downloads/{name}.ipynb>`"]
    if colab:
        links.append(f"{{download}}`the same for Colab <../downloads/colab/{name}.ipynb>`")
    links += [f'<a href="../slides/{name}.html">Slides</a>', "[Install](../install.md)"]
    return " · ".join(links)
