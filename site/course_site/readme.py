"""Pages from the README, so that what it says is written once."""

from __future__ import annotations

import re

__all__ = ["page"]

# Links to files of the repository, which the site does not have.
TO_FILE = re.compile(r"\[([^\]]+)\]\((?!https?:|#|mailto:)([^)\s]+)\)")
HEADING = re.compile(r"^#(#+) ", re.MULTILINE)
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def page(readme: str, section: str, title: str) -> str:
    """A section of the README as a page of its own, with its headings one level up.

    Args:
        readme: the file's text.
        section: the section's heading, of the second level.
        title: the page's heading.

    Raises:
        ValueError: there is no such section.
    """
    # A line of code may look like a heading.
    text = CODE.sub(lambda found: found[0].replace("\n#", "\n\0#"), readme)
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    if section not in sections:
        raise ValueError(
            f"README.md has no section {section!r}, of which the site makes a page: name it in staging.py."
        )
    text = TO_FILE.sub(_named, HEADING.sub(r"\1 ", sections[section]))
    return f"# {title}\n{text}".replace("\0", "")


def _named(link: re.Match[str]) -> str:
    text, path = link.groups()
    return f"`{path}`" if text in path else f"{text} (`{path}`)"
