"""One deck of slides a notebook, from the notebook itself: cells tagged ``slide``, with their stored outputs.

The tag belongs to

- text cells that open a section, state a result, or hold a formula that the course goes on using;
- code cells whose figure or printed result the argument needs;
- exercises of the core: the code cell, which brings the text of its exercise along.

A tagged text cell shows its headings, formulas on lines of their own, lists, tables and key sentences
(:mod:`.slide_texts`); the whole prose is in the speaker's notes. Each heading begins a slide. A tagged code cell shows
what it gave, and its code only if it gave nothing; an exercise shows the code that learners start from and never its
solution. The first cell becomes the title slide in any case.

Decks are shown by reveal.js, which is copied beside them; nothing is loaded from elsewhere. S opens the speaker's
notes, ``?print-pdf`` behind the address makes pages to print.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from importlib.util import find_spec
from pathlib import Path

import nbformat
from markupsafe import Markup
from nbformat import NotebookNode

from course_lib.files import write_atomically
from course_lib.publishing import NOTEBOOKS, cells, markdown
from course_lib.publishing.formulas import FONTS
from course_lib.publishing.pages import LIGHT_CODE, code_style, title_of
from course_lib.publishing.slide_texts import Block, blocks, exercise_of, is_exercise, title_and_goals
from course_lib.publishing.sources import has_tag

__all__ = ["write_decks"]

# Of reveal.js, what a deck loads, and its licence.
REVEAL = ("LICENSE", "dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js")

# Lines of text that fit below a heading.
ROOM = 12.0
# What a figure counts for, so that at least half of its slide is left to it.
FIGURE = 8.0


@dataclass
class Slide:
    """One slide, in HTML."""

    heading: str
    body: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lines: float = 0.0
    is_title: bool = False
    opens: bool = False  # whether its heading stands in the notebook, and is not carried on from the slide before


def write_decks(folder: Path, *, notebooks: Path = NOTEBOOKS, math_font: str = "") -> list[Path]:
    """Write a deck for each notebook, and reveal.js beside them.

    Args:
        folder: receives ``NN_name.html`` and a folder ``reveal``.
        notebooks: has the learner's notebooks, and the worked ones in ``solutions/``.
        math_font: the address of a font for formulas, seen from ``folder``; without one, a font of the system is used.

    Returns:
        The decks, in the order of the notebooks.

    Raises:
        ValueError: there are no worked notebooks, one differs in its cells from the learner's, or the package that
            brings reveal.js is not installed.
        OSError: a file cannot be read or written.
    """
    worked = sorted((notebooks / "solutions").glob("[0-9]*.ipynb"))
    if not worked:
        raise ValueError(f"There are no worked notebooks in {notebooks / 'solutions'}: `python -m course_lib build`.")
    files = _reveal(folder / "reveal")
    decks = []
    for path in worked:
        decks.append(folder / f"{path.stem}.html")
        solved, blank = (nbformat.read(file, as_version=4) for file in (path, notebooks / path.name))
        files[decks[-1]] = _deck(solved, blank, path.stem, math_font).encode()
    write_atomically(files)
    return decks


def _reveal(folder: Path) -> dict[Path, bytes]:
    # sphinx-revealjs is a theme of Sphinx that carries all of reveal.js. Only that is taken.
    package = find_spec("sphinx_revealjs")
    if package is None or package.origin is None:
        raise ValueError("Slides need sphinx-revealjs: `python -m pip install sphinx-revealjs`.")
    source = Path(package.origin).parent / "_static" / "revealjs"
    return {folder / name: (source / name).read_bytes() for name in REVEAL}


def _deck(solved: NotebookNode, blank: NotebookNode, name: str, math_font: str) -> str:
    if [cell.cell_type for cell in solved.cells] != [cell.cell_type for cell in blank.cells]:
        raise ValueError(f"{name}: the learner's notebook and the worked one differ: `python -m course_lib build`.")
    return cells.template("deck.html.j2").render(
        title=title_of(solved),
        style=Markup((cells.TEMPLATES / "deck.css").read_text(encoding="utf-8") + code_style(LIGHT_CODE)),
        fonts=Markup(FONTS),
        math_font=math_font,
        slides=_slides(solved, blank),
    )


def _slides(solved: NotebookNode, blank: NotebookNode) -> list[Slide]:
    parser = markdown.parser()
    title, goals, opening = title_and_goals(solved.cells[0].source, parser)
    builder = _Builder(Slide(title, [goals], [opening], is_title=True))
    exercise = ""  # the text of the next exercise, unless it is on the slides already
    for cell, stub in zip(solved.cells[1:], blank.cells[1:], strict=True):
        tagged = has_tag(cell, "slide")
        if cell.cell_type == "markdown":
            exercise = "" if tagged else exercise_of(f"{exercise}\n\n{cell.source}")
            if tagged:
                builder.add_all(blocks(cell.source, parser))
            else:
                builder.note_sections(blocks(cell.source, parser))
        elif has_tag(cell, "exercise"):
            if tagged:
                builder.add_all(blocks(exercise, parser))
                builder.add(_code(stub.source))
                builder.end_exercise()
            exercise = ""
        elif tagged:
            builder.add_all(_shown(cell) or [_code(cell.source)])
    return builder.finished()


class _Builder:
    """Puts blocks on slides, and begins a new one at headings and where there is no room."""

    def __init__(self, title: Slide) -> None:
        self._slides = [title]
        self._section = title.heading  # the last heading that is none of an exercise

    def add_all(self, found: Iterator[Block] | list[Block]) -> None:
        for block in found:
            self.add(block)

    def add(self, block: Block) -> None:
        if block.heading:
            self._slides.append(Slide(block.heading, opens=True))
            if not is_exercise(block.heading):
                self._section = block.heading
            return
        last = self._slides[-1]
        if block.shown and (last.is_title or (last.body and last.lines + block.lines > ROOM)):
            last = Slide(last.heading)
            self._slides.append(last)
        if block.shown:
            last.body.append(block.shown)
            last.lines += block.lines
        last.notes.append(block.said)

    def note_sections(self, found: Iterator[Block]) -> None:
        """Headings of a text that is not on the slides, because what comes next may be."""
        for block in found:
            if block.heading and not is_exercise(block.heading):
                self._section = block.heading
                self._slides.append(Slide(block.heading))

    def end_exercise(self) -> None:
        """What comes next belongs to the section again."""
        self._slides.append(Slide(self._section))

    def finished(self) -> list[Slide]:
        """The slides. One that would have a heading alone shows the first of its prose."""
        kept: list[Slide] = []
        for slide in self._slides:
            prose = [note for note in slide.notes if note.startswith("<p>")]
            if not slide.body and prose and slide.opens:
                slide.body.append(prose[0])
            if slide.body:
                kept.append(slide)
            elif kept:
                kept[-1].notes += slide.notes
        return kept


def _code(source: str) -> Block:
    html = markdown.parser().render(f"~~~python\n{source}\n~~~")
    return Block(shown=html, lines=0.75 * source.count("\n") + 1.5)


def _shown(cell: NotebookNode) -> list[Block]:
    """What a cell gave: figures with their alternative texts, tables, and printed text."""
    found = []
    for output in cell.outputs:
        data = output.get("data", {"text/plain": output.get("text", "")})
        if "image/png" in data:
            alt = output.metadata.get("image/png", {}).get("alt", "")
            source = re.sub(r"\s", "", data["image/png"])
            image = f'<figure><img src="data:image/png;base64,{source}" alt="{escape(alt)}"></figure>'
            found.append(Block(shown=image, lines=FIGURE))
        elif "text/html" in data:
            found.append(
                Block(shown=f'<div class="wide">{data["text/html"]}</div>', lines=1.2 * data["text/html"].count("<tr"))
            )
        elif data["text/plain"].strip():
            text = data["text/plain"].rstrip()
            found.append(Block(shown=f"<pre>{escape(text)}</pre>", lines=0.75 * text.count("\n") + 1.5))
    return found
