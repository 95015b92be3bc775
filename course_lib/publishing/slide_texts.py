"""What of a text goes on a slide, and what is for the speaker to say.

A slide shows headings, formulas on their own line, lists, tables, pictures and code; and of the prose those sentences
that have something in bold, that lead to a formula, or that go on behind one ("where n is ..."). A sentence that begins
with a word such as "This" takes the one before it along. All prose is in the speaker's notes, in order. The text of an
exercise is shown in full.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["Block", "blocks", "exercise_of", "is_exercise", "title_and_goals"]

# What holds full stops that end no sentence.
_HELD = re.compile(r"`[^`]*`|\$[^$]*\$|\*\*[^*]*\*\*|\[[^\]]*\]\([^)]*\)|\*[^*]*\*|\([^()]*\)", re.DOTALL)
_END = re.compile(r"[.?!][\"')]*\s+(?=[^a-z])")
_REFERS_BACK = re.compile(r"\(?(It|Its|This|That|These|Those|They|Their|So|Then|But|There|Both|Here|He|She|Hence)\b")
_EXERCISE = re.compile(r"Exercises? \d")


@dataclass(frozen=True)
class Block:
    """A piece of a text.

    Attributes:
        heading: the HTML of a heading; empty for anything else.
        shown: the HTML that goes on the slide; empty if nothing does.
        said: the HTML of the speaker's notes.
        lines: about how many lines of a slide ``shown`` takes.
        joined: whether it belongs to what is before it: a formula to the words that lead to it, and what goes on
            behind a formula.
    """

    heading: str = ""
    shown: str = ""
    said: str = ""
    lines: float = 0.0
    joined: bool = False

    def __add__(self, other: Block) -> Block:
        return Block("", f"{self.shown}{other.shown}", f"{self.said}{other.said}", self.lines + other.lines)


def blocks(source: str, parser: MarkdownIt) -> Iterator[Block]:
    """The blocks of a text cell, in order; what belongs together is one block."""
    whole = Block()
    for block in _pieces(source, parser):
        if block.joined:
            whole += block
        else:
            yield whole
            whole = block
    yield whole


def _pieces(source: str, parser: MarkdownIt) -> Iterator[Block]:
    pieces = list(_top_level(parser.parse(source)))
    in_exercise = False
    for index, piece in enumerate(pieces):
        kind = piece[0].type
        html = parser.renderer.render(piece, parser.options, {})
        if kind == "heading_open":
            in_exercise = is_exercise(piece[1].content)
            yield Block(heading=parser.renderer.render([piece[1]], parser.options, {}))
        elif kind == "html_block":
            yield Block(said=html)
        elif kind != "paragraph_open":
            yield Block(
                shown=html,
                lines=_lines(piece),
                joined=_is_formula(piece) and index > 0 and not pieces[index - 1][0].type.startswith("heading"),
            )
        elif in_exercise or _is_all_shown(piece[1]):
            yield Block(shown=html, lines=_lines(piece))
        else:
            before_formula = index + 1 < len(pieces) and _is_formula(pieces[index + 1])
            after_formula = index > 0 and _is_formula(pieces[index - 1])
            text = _key_sentences(piece[1].content, before_formula=before_formula, after_formula=after_formula)
            shown = parser.render(text) if text else ""
            joined = after_formula and piece[1].content[0].islower()
            yield Block(shown=shown, said=html, lines=_height(text) if text else 0, joined=joined)


def exercise_of(source: str) -> str:
    """The last exercise of a text, from its heading on; empty if there is none."""
    found = list(re.finditer(r"^#{2,} Exercises? \d", source, re.MULTILINE))
    return source[found[-1].start() :] if found else ""


def is_exercise(heading: str) -> bool:
    """Whether a heading is that of an exercise."""
    return bool(_EXERCISE.match(heading))


def title_and_goals(source: str, parser: MarkdownIt) -> tuple[str, str, str]:
    """Of a notebook's first cell the title, the list of what one will be able to do, and the opening prose, as HTML."""
    pieces = list(_top_level(parser.parse(source)))
    title = parser.renderer.render([pieces[0][1]], parser.options, {})
    at = next(index for index, piece in enumerate(pieces) if piece[0].type == "bullet_list_open")
    goals = [*pieces[at - 1], *pieces[at]]  # with the line above the list
    prose = next((piece for piece in pieces if piece[0].type == "paragraph_open"), [])
    return title, *(parser.renderer.render(piece, parser.options, {}) for piece in (goals, prose))


def _top_level(tokens: list[Token]) -> Iterator[list[Token]]:
    piece: list[Token] = []
    for token in tokens:
        piece.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield piece
            piece = []


def _is_formula(piece: list[Token]) -> bool:
    return piece[0].type == "math_block"


def _is_all_shown(inline: Token) -> bool:
    return any(child.type in ("math_inline_double", "image") for child in inline.children or [])


def _key_sentences(text: str, *, before_formula: bool, after_formula: bool) -> str:
    sentences = _sentences(text)
    keep = ["**" in sentence for sentence in sentences]
    keep[-1] |= before_formula and sentences[-1][-1] not in ".?!"
    keep[0] |= after_formula and sentences[0][0].islower()
    for index in range(len(sentences) - 1, 0, -1):
        keep[index - 1] |= keep[index] and bool(_REFERS_BACK.match(sentences[index]))
    return " ".join(sentence for sentence, kept in zip(sentences, keep, strict=True) if kept)


def _sentences(text: str) -> list[str]:
    masked = _HELD.sub(lambda held: "x" * len(held[0]), text)
    cuts = [0, *(match.end() for match in _END.finditer(masked)), len(text)]
    return [text[start:stop].strip() for start, stop in pairwise(cuts) if text[start:stop].strip()]


def _lines(piece: list[Token]) -> float:
    """About how many lines a block takes, counted by its texts."""
    kind = piece[0].type
    if kind == "math_block":
        return 2.2
    if kind == "fence":
        return 0.75 * piece[0].content.count("\n") + 0.5
    if kind == "table_open":
        return 1.2 * sum(token.type == "tr_open" for token in piece)
    return sum(_height(token.content) for token in piece if token.type == "inline") + 0.3


def _height(text: str) -> float:
    # A formula is about half as long as its LaTeX.
    shorter = re.sub(r"\$[^$]*\$", lambda formula: "x" * (len(formula[0]) // 2), text)
    return 1.0 + len(shorter) // 78 + 0.4
