"""An extension of Sphinx: keys in brackets in docstrings, such as [Owen2013], lead to the bibliography."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pybtex.database import Entry
from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style
from pybtex.style.labels import BaseLabelStyle
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

__all__ = ["setup"]

KEY = re.compile(r"\[([A-Z][A-Za-z]+\d{4}[a-z]?)\]")


class _Keys(BaseLabelStyle):
    """What stands in brackets is the entry's key, as in the docstrings."""

    def format_labels(self, sorted_entries: Iterable[Entry]) -> Iterable[str]:
        return (entry.key for entry in sorted_entries)


class _CourseStyle(Style):
    """Entries in the order of their keys, as in the file."""

    default_label_style = _Keys

    def sort(self, entries: Iterable[Entry]) -> list[Entry]:
        return sorted(entries, key=lambda entry: entry.key)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the style, which `conf.py` chooses by its name, and the hook for docstrings."""
    register_plugin("pybtex.style.formatting", "course", _CourseStyle)
    app.connect("autodoc-process-docstring", _cite, priority=900)  # after napoleon
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _cite(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [KEY.sub(r":cite:p:`\1`", line) for line in lines]
