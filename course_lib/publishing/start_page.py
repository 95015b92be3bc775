"""The page that a participant opens first: what this is, and one command for each system."""

from __future__ import annotations

import html

__all__ = ["start_page"]

# The Pythons that requires-python in pyproject.toml allows.
PYTHONS = "3.11, 3.12, 3.13 or 3.14"
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>From Monte Carlo to variational autoencoders: start here</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.05rem/1.6 system-ui, sans-serif; max-width: 42rem; margin: 2rem auto; padding: 0 1rem; }}
h1, h2 {{ line-height: 1.25; }}
dt {{ font-weight: 600; }}
dd {{ margin: 0.2rem 0 0.8rem; }}
pre {{ margin: 0; padding: 0.6rem 0.8rem; border: 1px solid; border-radius: 0.3rem; overflow-x: auto; }}
</style>
</head>
<body>
<main>
<h1>From Monte Carlo to variational autoencoders</h1>
<p>A course in {n_notebooks} notebooks about one idea: an average over the wrong distribution becomes the right answer
once each draw carries a weight.</p>

<h2>1. Install, once</h2>
<p>{needs}</p>
<p>Unpack the zip first (Windows: right-click it, <em>Extract All</em>) and open this page from the unpacked folder.
Open a terminal there: on Windows right-click in the folder and choose <em>Open in Terminal</em>; on macOS right-click
the folder and choose <em>Services</em>, <em>New Terminal at Folder</em>. Type</p>
<dl>
<dt>Linux and macOS</dt>
<dd><pre><code>python3 install.py</code></pre></dd>
<dt>Windows</dt>
<dd><pre><code>py -3 install.py</code></pre> If there is no <code>py</code>: <code>python install.py</code>.</dd>
</dl>
<p>It makes a folder <code>.venv</code> here and installs into that alone. {network}</p>

<h2>2. Open the notebooks</h2>
<dl>
<dt>Linux and macOS</dt>
<dd><pre><code>.venv/bin/course lab notebooks</code></pre></dd>
<dt>Windows</dt>
<dd><pre><code>.venv\\Scripts\\course lab notebooks</code></pre></dd>
</dl>
<p>JupyterLab opens in your browser. Take the notebooks in order. Your work stays in the folder
<code>notebooks</code>. Ctrl+C in the terminal stops it. The next time, begin here.</p>
{colab}
<h2>Something does not work?</h2>
<p>Type <code>.venv/bin/course doctor</code>, on Windows <code>.venv\\Scripts\\course doctor</code>. It checks this
installation and says for each failure which command mends it.</p>

<p>The code is free to use under the MIT licence, the texts under CC BY 4.0; the files <code>LICENSE</code> and
<code>LICENSE-TEXT</code> say the rest.</p>
</main>
</body>
</html>
"""
COLAB = """\
<p>Without an installation, each notebook also runs on Google Colab: upload it there. Its first code cell installs the
course's library.</p>
"""


def start_page(*, n_notebooks: int, system: str | None, on_colab: bool) -> str:
    """The page as HTML.

    Args:
        n_notebooks: how many notebooks there are.
        system: the system and Python for which all packages lie beside the page; None if there are none.
        on_colab: whether the notebooks install the library by themselves.
    """
    if system is None:
        needs = f"You need Python {PYTHONS}, from your system or from <code>python.org</code>."
        network = "It downloads a few hundred megabytes and takes 1.5 GB of the disk and some minutes."
    else:
        needs = f"All packages are in the folder <code>wheels</code>, for {html.escape(system)}."
        network = "It needs no network."
    return PAGE.format(
        n_notebooks=NUMBERS[n_notebooks] if n_notebooks < len(NUMBERS) else n_notebooks,
        needs=needs,
        network=network,
        colab=COLAB if on_colab else "",
    )
