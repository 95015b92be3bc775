"""A notebook as one web page that loads nothing: formulas are MathML, figures and styles are in the file."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from markdown_it.token import Token
from markupsafe import Markup
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from course_lib.publishing import cells, markdown
from course_lib.publishing.formulas import FONTS

__all__ = ["Link", "code_style", "title_of", "web_page"]

# Of Pygments' own styles those whose every colour has a contrast of 4.5 to 1 or more on the page's background.
LIGHT_CODE, DARK_CODE = "xcode", "monokai"


class Link(NamedTuple):
    """Where another page is, seen from this one, and what it is called."""

    address: str
    title: str


class Heading(NamedTuple):
    """A heading of a page: its level, its address within the page, and its text as HTML."""

    level: int
    id: str
    html: Markup


class _Texts:
    """The text cells of one page; notes their headings, and gives each an address of its own."""

    def __init__(self) -> None:
        self.headings: list[Heading] = []
        self._times: Counter[str] = Counter()
        self._parser = markdown.parser()

    def html(self, source: str) -> str:
        tokens = self._parser.parse(source)
        for token, text in pairwise(tokens):
            if token.type == "heading_open":
                inner = self._parser.renderer.render([text], self._parser.options, {})
                token.attrSet("id", self._address(text))
                self.headings.append(Heading(int(token.tag[1:]), str(token.attrs["id"]), Markup(inner)))
        return self._parser.renderer.render(tokens, self._parser.options, {})

    def _address(self, text: Token) -> str:
        address = re.sub(r"[^\w.]+", "-", text.content.lower()).strip("-.") or "section"
        self._times[address] += 1
        n = self._times[address]
        return address if n == 1 else f"{address}-{n}"


def web_page(notebook: NotebookNode, *, before: Link | None = None, after: Link | None = None) -> str:
    """The page of a notebook, with a list of its sections.

    Args:
        notebook: with its outputs; a figure's alternative text is in its output's metadata.
        before: the page of the notebook before it, if there is one.
        after: that of the next.
    """
    texts = _Texts()
    body = cells.as_html(notebook, texts.html)  # after which the headings are known
    return cells.template("page.html.j2").render(
        title=title_of(notebook),
        before=before,
        after=after,
        headings=texts.headings,
        cells=Markup(body),
        style=Markup(_style()),
    )


def title_of(notebook: NotebookNode) -> str:
    """The first heading of a notebook as plain text, such as ``3. The ELBO and the reparameterization trick``."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (heading := re.search(r"^#+ +(.+)$", cell.source, re.MULTILINE)):
            return re.sub(r"[$*`]", "", heading[1]).strip()
    return "Notebook"


def code_style(style: str) -> str:
    """The style sheet of code in colours, from one of Pygments' styles, without a background."""
    rules = HtmlFormatter(style=style, nobackground=True).get_style_defs(".highlight")
    return "\n".join(line for line in rules.splitlines() if line.startswith(".highlight"))


@cache
def _style() -> str:
    sheet = (cells.TEMPLATES / "page.css").read_text(encoding="utf-8")
    light, dark = code_style(LIGHT_CODE), code_style(DARK_CODE)
    fonts = f"math {{ font-family: {FONTS}; }}"
    return f"{sheet}\n{fonts}\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"
