"""The cells of a notebook as HTML that loads nothing, for whatever page they go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from nbconvert import HTMLExporter
from nbformat import NotebookNode

__all__ = ["TEMPLATES", "as_html", "template"]

TEMPLATES = Path(__file__).with_name("templates")


def as_html(notebook: NotebookNode, text: Callable[[str], str], *, code: bool = True) -> str:
    """The cells one after the other, without a page around them, in the markup of JupyterLab.

    Args:
        notebook: with its outputs; a figure's alternative text is in the output's metadata.
        text: turns the Markdown of a cell or an output into HTML.
        code: whether code and prompts are shown, and not only what it gave.
    """
    exporter = HTMLExporter(
        template_file="cells.html.j2",
        extra_template_basedirs=[str(TEMPLATES)],
        extra_template_paths=[str(TEMPLATES)],
        exclude_input=not code,
        exclude_input_prompt=not code,
        exclude_output_prompt=not code,
        filters={"markdown2html": text},
    )
    html, _ = exporter.from_notebook_node(notebook)
    return html


def template(name: str) -> Template:
    """One of the templates beside this module; it escapes what is not marked as HTML."""
    loader = FileSystemLoader(TEMPLATES)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True).get_template(name)
