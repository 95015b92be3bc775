"""What learners get without solutions does not speak of them."""

from __future__ import annotations

import re

__all__ = ["without_worked_versions"]

# What stands between these comments, of a page that nobody executes.
MARKED = re.compile(r"<!-- solutions -->.*?<!-- /solutions -->\n*", re.DOTALL)
# A sentence that names worked versions, with the brackets around it and the white space before it.
SENTENCE = re.compile(r"(?:^|(?<=[.!?)])\s+)\(?(?=[A-Z])[^.!?]*?\b[Ww]orked versions?\b[^.!?]*[.!?]\)?")
FOLDER = "the folder `solutions`"


def without_worked_versions(text: str, *, instead: str = "") -> str:
    """``text`` without what speaks of the worked versions of the notebooks.

    That is sentences with these words, and what stands between the comments ``solutions`` and ``/solutions``.

    Args:
        text: in Markdown.
        instead: takes the place of the one that says where they lie.
    """

    def replacement(sentence: re.Match[str]) -> str:
        space = sentence[0][: len(sentence[0]) - len(sentence[0].lstrip())]
        return f"{space}{instead}" if instead and FOLDER in sentence[0] else ""

    return SENTENCE.sub(replacement, MARKED.sub("", text))
