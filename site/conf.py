"""Sphinx's configuration. `site/build.py` calls it, with the pages in `build/site-source`."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "From Monte Carlo to variational autoencoders"
copyright = "the authors of the course: text and figures CC BY 4.0, code MIT"
language = "en"
html_baseurl = os.environ.get("SITE_URL", "")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib.bibtex",
    "course_site.formulas",
    "course_site.citations",
    "course_site.navigation",
]

exclude_patterns = ["downloads"]

# Notebooks are stored with their outputs; nothing is executed here.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_update_mathjax = False
smartquotes = False

html_math_renderer = "mathml"

# What an API page shows is what its module offers in __all__, in that order.
autodoc_default_options = {"members": True, "imported-members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "py:obj"
add_module_names = False

bibtex_bibfiles = ["../references.bib"]
bibtex_default_style = "course"

html_theme = "furo"
html_title = "From Monte Carlo to VAEs"
html_static_path = ["static"]
html_favicon = "static/favicon.svg"
html_css_files = ["course.css"]
html_js_files = ["scrolling.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
