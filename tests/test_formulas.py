"""Formulas as MathML: all of the course's, and some exactly."""

from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from course_lib.publishing import NOTEBOOKS, markdown, sources
from course_lib.publishing.formulas import to_mathml

TEXTS = [*sources.find(NOTEBOOKS / "source"), *sorted((NOTEBOOKS.parent / "site" / "guide").glob("*.md"))]
MATH = {"math_inline": False, "math_inline_double": True, "math_block": True}


def formulas_of(path) -> Iterator[tuple[str, bool]]:
    if path.suffix == ".md":
        texts = [path.read_text(encoding="utf-8")]
    else:
        texts = [cell.source for cell in sources.read(path, solved=False).cells if cell.cell_type == "markdown"]
    parser = markdown.parser()
    for text in texts:
        for block in parser.parse(text):
            for token in [block, *(block.children or [])]:
                if token.type in MATH:
                    yield token.content, MATH[token.type]


def tree(latex: str, *, display: bool = False) -> ElementTree.Element:
    # A name that HTML knows, and XML does not.
    return ElementTree.fromstring(to_mathml(latex, display=display).replace("&ApplyFunction;", "\u2061"))


def shape(latex: str, *, display: bool = False) -> str:
    """Names and texts of the elements, without attributes and empty ones."""

    def described(element: ElementTree.Element) -> str:
        inner = (element.text or "") + "".join(described(child) for child in element)
        return f"{element.tag[1:]}({inner})" if inner else ""

    return described(tree(latex, display=display))[len("ath(") : -1]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_every_formula_of_the_course_is_converted(path):
    found = list(formulas_of(path))
    assert len(found) > 20 or path.suffix == ".md"
    for latex, display in found:
        math = tree(latex, display=display)
        assert math.tag == "math"
        assert math.get("display", "inline") == ("block" if display else "inline"), latex
        text = "".join(math.itertext())
        assert text.strip(), latex
        assert not set(text) & set("\\\\$"), latex
        assert math.find(".//merror") is None, latex


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"P(D \ge 70)", "i(P)o(()i(D)o(≥)n(70)o())"),
        (r"\mathbb{E}_p[f]", "sub(i(𝔼)i(p))o([)i(f)o(])"),
        (r"\frac1n", "frac(n(1)i(n))"),
        (r"\hat\mu", "over(i(μ)o(ˆ))"),
        (r"10^{-6}", "sup(n(10)row(o(−)n(6)))"),
        (r"\mathbf{1}\{A\}", "i(𝟏)o({)i(A)o(})"),
        (r"\text{if } a \mid b", "text(if )i(a)o(∣)i(b)"),
        (r"\underbrace{a}_{b}", "under(under(i(a)o(⏟))i(b))"),
    ],
)
def test_its_structure_is_that_of_the_formula(latex, expected):
    assert shape(latex).replace("\u00a0", " ") == expected


def test_limits_stand_below_on_a_line_of_its_own():
    for latex in (r"\sum_{i=1}^n x_i", r"\max_j F_j"):
        first = next(element.tag for element in tree(latex, display=True).iter() if element.tag.startswith("mu"))
        assert first in ("munder", "munderover")


def test_cases_and_aligned_are_tables():
    for environment in ("cases", "aligned"):
        math = tree(rf"\begin{{{environment}}} a & b \\ c & d \end{{{environment}}}", display=True)
        assert [len(row) for row in math.iter("mtr")] == [2, 2]


def test_characters_of_html_are_escaped():
    assert "<mo>&lt;</mo>" in to_mathml("a < b", display=False)


@pytest.mark.parametrize(
    ("latex", "reason"),
    [(r"a + \nosuch", r"Unknown command \"\\nosuch\""), (r"\frac{1", "reached end of input"), ("a & b", "table")],
)
def test_what_cannot_be_shown_is_named(latex, reason):
    with pytest.raises(ValueError, match=reason) as error:
        to_mathml(latex, display=False)
    assert str(error.value).startswith(f"The formula {latex} cannot be shown on a web page: ")
