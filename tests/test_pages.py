"""Notebooks as web pages: in a browser whose every request is refused, wide and narrow, light and dark."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import axe_playwright_python
import nbformat
import pytest
from browser import chromium, watch
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Browser, Page

from course_lib.publishing import NOTEBOOKS
from course_lib.publishing.pages import Link, title_of, web_page

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
AUDIT = """async rules => (await axe.run(document, {resultTypes: ["violations"], ...rules})).violations
    .filter(one => ["serious", "critical"].includes(one.impact))
    .map(one => `${one.id}: ${one.nodes.length} of ${one.nodes[0].html}`)"""
BEFORE, AFTER = Link("02_before.html", "2. Before"), Link("04_after.html", "4. After <all>")
# What a page must not move sideways for.
WIDE = [
    new_markdown_cell(rf"Inline, ${' + '.join(['x' * 9] * 9)}$, and displayed: $$ {' + '.join(['y' * 9] * 20)} $$"),
    new_markdown_cell("| a | b |\n| - | - |\n" + f"| {'wide' * 20} | `{'code' * 20}` |"),
    new_code_cell(
        f"print({'x' * 100!r})",
        execution_count=1,
        outputs=[
            new_output("stream", text=f"{'x' * 100}\n"),
            new_output("stream", name="stderr", text="\x1b[31mwarning\x1b[0m\n"),
            new_output("execute_result", data={"text/html": f"<table><tr><td>{'w' * 99}</td></tr></table>"}),
        ],
    ),
]


def page_of(*cells: nbformat.NotebookNode) -> BeautifulSoup:
    return BeautifulSoup(web_page(new_notebook(cells=list(cells))), "html.parser")


@pytest.fixture(scope="module")
def text() -> str:
    """A page of the beginning of notebook 03 as it is stored, with its figures, and of what is too wide."""
    (path,) = NOTEBOOKS.glob("03_*.ipynb")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [*notebook.cells[:7], *WIDE]
    return web_page(notebook, before=BEFORE, after=AFTER)


@pytest.fixture(scope="module")
def soup(text) -> BeautifulSoup:
    return BeautifulSoup(text, "html.parser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def opened(browser, text, tmp_path):
    """Opens the page; every request but the one for it is refused, and noted with what the console says."""
    path = tmp_path / "page.html"
    path.write_text(text, encoding="utf-8")

    def open_page(width: int, scheme: str) -> tuple[Page, list[str]]:
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        trouble = watch(page, path.as_uri())
        page.goto(path.as_uri())
        return page, trouble

    return open_page


@pytest.mark.parametrize(
    ("scheme", "rules"), [("light", {}), ("dark", {"runOnly": ["color-contrast"]})], ids=["light", "dark"]
)
def test_the_page_asks_nobody_and_is_accessible(opened, scheme, rules):
    page, trouble = opened(1280, scheme)
    assert page.evaluate("document.images.length") >= 1
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert trouble == []
    page.evaluate(AXE)
    assert page.evaluate(AUDIT, rules) == []
    page.close()


def test_on_a_phone_only_boxes_scroll(opened):
    page, trouble = opened(390, "light")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    scrolling = page.evaluate(
        """[...document.querySelectorAll("pre, .wide, .jp-OutputArea-output")]
            .filter(box => box.scrollWidth > box.clientWidth).map(box => [box.tagName, box.tabIndex])"""
    )
    assert {tag for tag, _ in scrolling} == {"PRE", "DIV", "SPAN"}
    assert {index for _, index in scrolling} == {0}  # reached with the keys
    assert trouble == []
    page.close()


def test_the_head_says_what_it_is(soup):
    assert soup.html["lang"] == "en"
    assert soup.title.text == "3. The ELBO and the reparameterization trick"


def test_formulas_are_mathml_and_no_latex_is_left(soup):
    assert len(soup.find_all("math")) > 15
    for element in soup.main.find_all(["code", "pre"]):
        element.extract()
    assert not re.search(r"\$|\\[a-z]", soup.main.text)


def test_contents_lead_to_each_heading_and_levels_have_no_gap(text):
    soup = BeautifulSoup(text, "html.parser")
    headings = soup.main.find_all(re.compile("^h[1-6]$"))
    levels = [int(heading.name[1]) for heading in headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    links = [(link["href"], link.text) for link in soup.nav.ol.find_all("a")]
    assert links == [(f"#{heading['id']}", heading.text) for heading in headings[1:]]


def test_the_pages_before_and_after_are_linked(soup):
    links = [(link["href"], link.text) for link in soup.footer.find_all("a")]
    assert links == [("02_before.html", "← 2. Before"), ("04_after.html", "4. After <all> →")]
    assert page_of(new_markdown_cell("# Alone")).footer is None


def test_figures_have_alternative_texts(soup):
    alts = [image.get("alt", "") for image in soup.main.find_all("img")]
    assert min(map(len, alts)) > 40


def test_headings_of_the_same_words_have_addresses_of_their_own():
    soup = page_of(new_markdown_cell("# One\n\n## $x$ & co\n\n## $x$ & co"), new_markdown_cell("## ...\n## One"))
    ids = [heading["id"] for heading in soup.main.find_all(re.compile("h[12]"))]
    assert ids == ["one", "x-co", "x-co-2", "section", "one-2"]


def test_a_formula_that_cannot_be_shown_is_left_as_it_was_written():
    soup = page_of(new_markdown_cell(r"Mine: $\nosuch < 1$."))
    assert soup.main.find("span", class_="formula").code.text == r"\nosuch < 1"


def test_no_line_breaks_between_a_formula_and_its_comma():
    soup = page_of(new_markdown_cell("So ($x$), and $y$, then *$z$*."))
    assert [formula.text for formula in soup.main.find_all("span", class_="formula")] == ["(x),", "y,", "z"]
    assert soup.main.p.text == "So (x), and y, then z."


def test_code_in_a_text_is_coloured_if_its_language_is_known():
    soup = page_of(new_markdown_cell("```python\nif 1 < 2: pass\n```\n\n```nosuch\na < b\n```"))
    known, unknown = soup.main.find_all("pre")
    assert known.find("span", class_="k").text == "if"
    assert unknown.text == "a < b\n"


@pytest.mark.parametrize(
    ("cells", "title"),
    [
        ([new_code_cell("# no"), new_markdown_cell("text\n\n# 1. *What* is `p`, $q$? \n")], "1. What is p, q?"),
        ([new_markdown_cell("no heading")], "Notebook"),
    ],
)
def test_the_title_is_the_first_heading(cells, title):
    assert title_of(new_notebook(cells=cells)) == title
