"""Build the course's website: ``python site/build.py [FOLDER]``, or ``make site``, which puts it into `build/site`.

Where the environment variable SITE_URL says at which address it will be published, the site has the library's wheel and
notebooks that install it from there, for Colab.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from course_site.font import characters, math_font
from course_site.staging import SITE, stage
from sphinx.cmd.build import build_main

from course_lib.files import write_atomically
from course_lib.publishing import BUILD
from course_lib.publishing.release import build_wheel
from course_lib.publishing.slides import write_decks

__all__ = ["main"]


def main(out: Path, address: str = "") -> int:
    """Build everything anew. What was there stays if something fails.

    Args:
        out: receives the site; a folder ``NAME-source`` beside it, what Sphinx makes it from.
        address: where it will be published, if that is known.

    Returns:
        Sphinx's exit status: not 0 where it warned.

    Raises:
        ValueError: what the site is made of is not as it should be; the message says what, and how to mend it.
        OSError: a file cannot be read or written.
    """
    pages, new = out.with_name(f"{out.name}-source"), out.with_name(f"{out.name}-new")
    for folder in (pages, new):
        shutil.rmtree(folder, ignore_errors=True)
    wheel = build_wheel(new / "wheel") if address else None
    stage(pages, f"{address.rstrip('/')}/wheel/{wheel.name}" if wheel else None)
    options = ["-q", "-W", "--keep-going", "-c", str(SITE), "-d", str(pages / ".doctrees")]
    if status := build_main([*options, str(pages), str(new)]):
        return status
    texts = (path.read_text(encoding="utf-8") for path in new.rglob("*.html"))
    write_atomically({new / "_static" / "math.woff2": math_font(characters(texts))})
    write_decks(new / "slides", math_font="../_static/math.woff2")
    shutil.rmtree(out, ignore_errors=True)
    new.rename(out)
    return 0


if __name__ == "__main__":
    try:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else BUILD / "site"
        sys.exit(main(folder, os.environ.get("SITE_URL", "")))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
