"""The Markdown of text cells as HTML, with formulas as MathML and code in colours, for pages that load nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from course_lib.publishing.formulas import to_mathml

__all__ = ["parser"]

_BEFORE = re.compile(r"[(\"]+$")
_BEHIND = re.compile(r"[^\w\s(]+")


def parser() -> MarkdownIt:
    """A parser of the Markdown that notebooks are written in.

    What may be wider than a page stands in a box of class ``wide``, which is to scroll; a formula within a line, in a
    ``span`` of class ``formula``, which is not to be broken. A formula that cannot be shown is left as it was written.
    """
    markdown = MarkdownIt("commonmark", {"highlight": _highlighted}).enable(["table", "strikethrough"])
    dollarmath_plugin(markdown, allow_labels=False, double_inline=True)
    markdown.core.ruler.push("hold_together", _hold_together)
    markdown.add_render_rule("math_inline", _inline)
    markdown.add_render_rule("math_inline_double", _display_within_a_line)
    markdown.add_render_rule("math_block", _display)
    markdown.add_render_rule("table_open", _table_open)
    markdown.add_render_rule("table_close", _table_close)
    return markdown


def _highlighted(code: str, language: str, _: str) -> str:
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""  # which makes markdown-it escape the code as it is
    return f'<pre class="highlight">{highlight(code, lexer, HtmlFormatter(nowrap=True))}</pre>'


def _inline(_: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    token = tokens[index]
    before, after = escapeHtml(token.meta.get("before", "")), escapeHtml(token.meta.get("after", ""))
    return f'<span class="formula">{before}{_mathml(token.content, display=False)}{after}</span>'


def _hold_together(state: StateCore) -> None:
    """Give formulas within a line the brackets, commas and full stops beside them, so that no line breaks between."""
    for block in state.tokens:
        for left, right in pairwise(block.children or []):
            if left.type == "math_inline" and (found := _BEHIND.match(right.content)) and right.type == "text":
                left.meta["after"], right.content = found[0], right.content[found.end() :]
            if right.type == "math_inline" and (found := _BEFORE.search(left.content)) and left.type == "text":
                right.meta["before"], left.content = found[0], left.content[: found.start()]


def _display_within_a_line(
    _: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    return f'<span class="wide display">{_mathml(tokens[index].content, display=True)}</span>'


def _display(_: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    return f'<div class="wide display">{_mathml(tokens[index].content, display=True)}</div>\n'


def _table_open(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: Any) -> str:
    return '<div class="wide">' + renderer.renderToken(tokens, index, options, env)


def _table_close(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: Any) -> str:
    return renderer.renderToken(tokens, index, options, env) + "</div>\n"


def _mathml(latex: str, *, display: bool) -> str:
    try:
        return to_mathml(latex, display=display)
    except ValueError:  # in a learner's own text; the course's formulas are tested
        return f"<code>{escapeHtml(latex)}</code>"
