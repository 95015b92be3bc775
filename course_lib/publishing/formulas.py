"""Formulas for web pages that load nothing: LaTeX becomes MathML when the page is made.

Browsers draw MathML themselves, and screen readers read it. A page should name a font for it, because not every system
has one that a browser finds by itself: :data:`FONTS` names those that Windows, macOS, TeX and office programs bring.
"""

from __future__ import annotations

import re

from math_core import LatexError, LatexToMathML

__all__ = ["FONTS", "to_mathml"]

FONTS = '"STIX Two Math", "Cambria Math", "Latin Modern Math", "Libertinus Math", "DejaVu Math TeX Gyre", math'

# Over a single letter browsers draw a root that hangs into the next line. Over something higher it does not.
_LETTER = re.compile(r"<msqrt>(<m[in]>[^<]{1,2}</m[in]>)</msqrt>")
_RAISED = r'<msqrt><mpadded height="0.72em" depth="0.15em">\1</mpadded></msqrt>'

_CONVERTER = LatexToMathML(fancy_error=False)


def to_mathml(latex: str, *, display: bool) -> str:
    r"""One formula as a ``<math>`` element.

    Args:
        latex: the formula without its dollar signs. It may be a whole environment, such as ``\begin{aligned}``.
        display: whether it stands on a line of its own.

    Raises:
        ValueError: it is no LaTeX, or uses a command that cannot be converted; the message names the formula.
    """
    try:
        return _LETTER.sub(_RAISED, _CONVERTER.convert_with_local_state(latex, displaystyle=display))
    except LatexError as error:
        _, _, reason = str(error).partition(": ")  # before it stands a position
        raise ValueError(f"The formula {latex.strip()} cannot be shown on a web page: {reason}") from None
