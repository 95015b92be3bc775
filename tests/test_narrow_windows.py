"""Nothing is cut where a notebook stands in a narrow window, such as JupyterLab in one of 1,152 pixels."""

import re

import pytest

from course_lib.publishing import NOTEBOOKS, sources

SOURCES = sorted((NOTEBOOKS / "source").glob("[0-9]*.py"))
COLUMNS = 76  # of code that a cell shows
SYMBOLS = 46  # of a formula that fit beside each other, also at 1,000 pixels

GROUP = re.compile(r"\{([^{}]*)\}")
FRACTION = re.compile(r"\\t?frac *(⟨x*⟩|\S) *(⟨x*⟩|\S)")
# Commands that show nothing themselves.
INVISIBLE = re.compile(
    r"\\(?:begin|end)⟨x*⟩|\\[,;!]"
    r"|\\(?:left|right|big|Big|text|mathrm|mathbb|mathbf|hat|tilde|operatorname|sqrt|q?quad|underbrace)(?![a-z])"
)
COMMAND = re.compile(r"\\(?:[a-zA-Z]+|.)")
MARKS = re.compile(r"[&^_⟨⟩\s]")


@pytest.fixture(params=SOURCES, ids=[path.stem for path in SOURCES], scope="module")
def cells(request):
    return [cell for solved in (False, True) for cell in sources.read(request.param, solved=solved).cells]


def symbols(line):
    """How many symbols of a line of a formula stand beside each other."""
    line = line.replace(r"\{", "x").replace(r"\}", "x")
    while GROUP.search(line):
        line = GROUP.sub(lambda group: f"⟨{'x' * symbols(group[1])}⟩", line)
    line = FRACTION.sub(lambda fraction: max(fraction[1], fraction[2], key=len), line)
    return len(MARKS.sub("", COMMAND.sub("x", INVISIBLE.sub("", line))))


def test_lines_of_code_fit(cells):
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    code += [
        found[1]
        for cell in cells
        if cell.cell_type == "markdown"
        for found in re.finditer(r"^```\w*\n(.*?)^```", cell.source, re.MULTILINE | re.DOTALL)
    ]
    assert [line for text in code for line in text.split("\n") if len(line) > COLUMNS] == []


def test_formulas_fit(cells):
    lines = [
        line.strip()
        for cell in cells
        if cell.cell_type == "markdown"
        for formula in re.findall(r"\$\$(.*?)\$\$", cell.source, re.DOTALL)
        for line in formula.split(r"\\")
    ]
    assert lines
    assert [line for line in lines if symbols(line) > SYMBOLS] == []


@pytest.mark.parametrize(
    "line, n_symbols",
    [
        (r"\log p(x)", 5),
        (r"&= \frac{a + b}{c} \qquad \alpha_1^2 \le \text{two words} .", 17),
        (r"\{x\}", 3),
        (r"\frac1{\sqrt{a + b}}", 3),
    ],
)
def test_symbols_are_counted(line, n_symbols):
    assert symbols(line) == n_symbols
