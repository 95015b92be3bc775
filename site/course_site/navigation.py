"""An extension of Sphinx: two roles that a page gives its parts are made what readers of the screen expect."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

__all__ = ["setup"]

# Where Furo keeps the list in a page's context.
TREE = "furo_navigation_tree"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the hook."""
    app.connect("html-page-context", _mend, priority=900)  # after the theme
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _mend(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: object) -> None:
    # Its entries are no list items: each says by itself that it is an entry of a bibliography.
    context["body"] = context.get("body", "").replace(
        '<div role="list" class="citation-list">', '<div class="citation-list">'
    )
    if TREE in context:  # captions are headings and have to say of which level
        context[TREE] = context[TREE].replace('role="heading"', 'role="heading" aria-level="2"')
