"""An extension of Sphinx: formulas as MathML, which browsers show without a script."""

from __future__ import annotations

import html

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

from course_lib.publishing.formulas import to_mathml

__all__ = ["setup"]

logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the renderer, which `conf.py` chooses by its name."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(_rendered(node, display=False))
    raise nodes.SkipNode


def _block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f"{self.starttag(node, 'div', CLASS='formula')}{_rendered(node, display=True)}</div>\n")
    raise nodes.SkipNode


def _rendered(node: nodes.Element, *, display: bool) -> str:
    try:
        return to_mathml(node.astext(), display=display)
    except ValueError as error:
        logger.warning("this formula cannot be shown: %s", error, location=node)
        return f"<code>{html.escape(node.astext())}</code>"
