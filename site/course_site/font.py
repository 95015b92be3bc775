"""A font for the formulas: those characters of STIX Two Math that the pages use, with its table of mathematics."""

from __future__ import annotations

import html
import io
import logging
import re
from collections.abc import Iterable
from importlib.metadata import files
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

__all__ = ["characters", "math_font"]

FORMULA = re.compile(r"<math\b.*?</math>", re.DOTALL)
TAG = re.compile(r"<[^>]*>")
ROOT = "√"
# A browser shows a one-letter identifier in italics, which are characters of their own.
UPPER, LOWER, GREEK = 0x1D434, 0x1D44E, 0x1D6FC


def characters(pages: Iterable[str]) -> set[str]:
    """All characters in the formulas of some pages, the italic ones of letters among them."""
    found: set[str] = set()
    for page in pages:
        for formula in FORMULA.findall(page):
            found |= set(html.unescape(TAG.sub("", formula)))
            # The browser draws the sign of a root, which no formula contains as a character.
            found |= {ROOT} if "<msqrt" in formula or "<mroot" in formula else set()
    return found | {_italic(one) for one in found}


def math_font(text: set[str]) -> bytes:
    """A WOFF2 file with the glyphs of ``text`` and what they stretch to."""
    font = TTFont(str(_stix()))
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    options = Options(layout_features=["*"], name_IDs=[0, 13, 14], notdef_outline=True)
    subsetter = Subsetter(options)
    subsetter.populate(text="".join(sorted(text)))
    subsetter.subset(font)
    font.flavor = "woff2"
    font.recalcTimestamp = False
    file = io.BytesIO()
    font.save(file)
    return file.getvalue()


def _stix() -> Path:
    """The font as ziamath brings it, a package that is here for nothing else."""
    return next(Path(one.locate()) for one in files("ziamath") or [] if one.name == "STIXTwoMath-Regular.ttf")


def _italic(one: str) -> str:
    if one == "h":
        return "\u210e"
    if "A" <= one <= "Z":
        return chr(UPPER + ord(one) - ord("A"))
    if "a" <= one <= "z":
        return chr(LOWER + ord(one) - ord("a"))
    return chr(GREEK + ord(one) - ord("α")) if "α" <= one <= "ω" else one
