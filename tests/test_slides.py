"""Decks of slides: of the stored notebooks, and of small ones made for a rule."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from browser import chromium, watch
from bs4 import BeautifulSoup, Tag
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Page

from course_lib.publishing import NOTEBOOKS, sources
from course_lib.publishing.slides import write_decks

NAMES = [source.stem for source in sources.find(NOTEBOOKS / "source")]
SLIDE = {"tags": ["slide"]}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
FIRST = "# 1. The title\n\nOpening words.\n\n**You will be able to**\n- do $x$;\n- more."
# Of the slide that is shown: what does not fit, and how small its text had to become.
STATE = """() => {
    const slide = deck.getCurrentSlide().querySelector(".slide");
    const wide = [slide, ...slide.querySelectorAll("pre, .wide")].filter(box => box.scrollWidth > box.clientWidth);
    const low = [...slide.children].filter(box => box.getBoundingClientRect().bottom > 720);
    return {
        height: slide.scrollHeight,
        outside: [...wide, ...low].map(box => box.outerHTML.slice(0, 200)),
        size: parseFloat(getComputedStyle(slide).fontSize),
        images: [...slide.querySelectorAll("img")].map(image => image.getBoundingClientRect().height),
    };
}"""


@pytest.fixture(scope="module")
def decks(tmp_path_factory) -> dict[str, Path]:
    paths = write_decks(tmp_path_factory.mktemp("decks"))
    return {path.stem: path for path in paths}


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        yield browser.new_page(viewport={"width": 1280, "height": 720})


def slides_of(path: Path) -> list[Tag]:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").find_all("section")


def deck_of(folder: Path, *cells: nbformat.NotebookNode, blank: list | None = None) -> list[Tag]:
    """The slides of a notebook with these cells behind a first one, without the title slide."""
    for place, own in (("solutions", list(cells)), ("", blank or list(cells))):
        (folder / place).mkdir(exist_ok=True)
        notebook = new_notebook(cells=[new_markdown_cell(FIRST), *own])
        nbformat.write(notebook, folder / place / "01_made.ipynb")
    (deck,) = write_decks(folder / "decks", notebooks=folder)
    return slides_of(deck)[1:]


def said(slide: Tag) -> str:
    return " ".join(notes.text.strip() for notes in slide.select("aside"))


def shown(slide: Tag) -> str:
    """The text of a slide below its heading."""
    return " ".join(element.text.strip() for element in slide.select(".slide > *")[1:])


def text_cell(source: str) -> nbformat.NotebookNode:
    return new_markdown_cell(source, metadata=SLIDE)


def test_there_is_a_deck_for_each_notebook_and_reveal_beside_them(decks):
    assert list(decks) == NAMES
    files = {path.name for path in (next(iter(decks.values())).parent / "reveal").rglob("*") if path.is_file()}
    assert files == {"LICENSE", "reset.css", "reveal.css", "reveal.js", "notes.js"}


@pytest.mark.parametrize("name", NAMES)
def test_a_deck_has_a_title_enough_slides_and_described_figures(decks, name):
    slides = slides_of(decks[name])
    assert len(slides) >= 10
    assert [bool(slide.find("h1")) for slide in slides] == [True] + [False] * (len(slides) - 1)
    assert all(slide.find(["h1", "h2"]).text.strip() for slide in slides)
    images = [image for slide in slides for image in slide.find_all("img")]
    assert len(images) >= 5
    assert all(len(image.get("alt", "")) > 40 for image in images)
    assert any(slide.find("math") for slide in slides)
    assert sum(len(said(slide)) > 100 for slide in slides) > 5


@pytest.mark.parametrize("name", NAMES)
def test_a_deck_gives_no_solution_away(decks, name):
    text = "\n".join(slide.text for slide in slides_of(decks[name]))
    worked, learners = (
        "\n".join(cell.source for cell in sources.read(NOTEBOOKS / "source" / f"{name}.py", solved=solved).cells)
        for solved in (True, False)
    )
    solution = {line.strip() for line in worked.splitlines() if line.strip() not in learners}
    assert len(solution) > 5
    assert [line for line in solution if line in text] == []
    assert sources.BLANK in text


@pytest.mark.parametrize("name", [NAMES[0], NAMES[4]])
def test_every_slide_fits_and_asks_nobody(decks, page, name):
    trouble = watch(page, decks[name].parent.as_uri())
    page.goto(decks[name].as_uri())
    page.wait_for_function("deck.isReady()")
    n_slides = page.evaluate("deck.getTotalSlides()")
    assert n_slides == len(slides_of(decks[name]))
    for number in range(n_slides):
        page.evaluate("number => deck.slide(number)", number)
        state = page.evaluate(STATE)
        assert state["height"] <= 720, number + 1
        assert state["outside"] == [], number + 1
        assert state["size"] >= 21, number + 1  # of 30
        assert all(height > 200 for height in state["images"]), number + 1
    assert trouble == []


def test_the_first_cell_is_the_title_slide(tmp_path):
    deck_of(tmp_path, text_cell("## Next\n\nIt is **so**."))
    title = slides_of(tmp_path / "decks" / "01_made.html")[0]
    assert title.h1.text == "1. The title"
    assert [item.text for item in title.find_all("li")] == ["do x;", "more."]
    assert said(title) == "Opening words."


def test_a_text_shows_its_key_sentences_and_the_speaker_has_it_all(tmp_path):
    text = (
        "Not this one. Nor (a. b.) this. The next is called a **law**. It is a fact.\n\nFirst $n$ is chosen. This is "
        "the **key**.\n\nNo more. Hence\n\n$$ a = b, $$\n\nwhere $b$ is known. Not this.\n\n- one\n- two"
    )
    (slide,) = deck_of(tmp_path, text_cell(f"## A heading\n\n{text}"))
    assert slide.h2.text == "A heading"
    sentences = "The next is called a law. First n is chosen. This is the key. No more. Hence a=b, where b is known."
    assert re.sub(r"\s+", "", shown(slide)) == sentences.replace(" ", "") + "onetwo"
    for words in ("Not this one. Nor (a. b.) this.", "It is a fact.", "Not this."):
        assert words in said(slide)


def test_each_heading_begins_a_slide_and_one_alone_shows_the_first_paragraph(tmp_path):
    slides = deck_of(tmp_path, text_cell("## One\n\nPlain words.\n\nMore words.\n\n### Two\n\n- a list"))
    assert [(slide.h2.text, shown(slide)) for slide in slides] == [("One", "Plain words."), ("Two", "a list")]


def test_an_untagged_text_gives_the_heading_alone(tmp_path):
    printed = new_code_cell("1", metadata=SLIDE, outputs=[new_output("stream", text="one <\n")])
    slides = deck_of(tmp_path, new_markdown_cell("## Silent\n\n**Bold**."), printed)
    assert [(slide.h2.text, shown(slide), said(slide)) for slide in slides] == [("Silent", "one <", "")]


def test_what_does_not_fit_goes_on_under_the_same_heading(tmp_path):
    (first, second) = deck_of(tmp_path, text_cell("## Long\n\n" + "- item\n" * 8 + "\n$$ x $$\n\nThe **end**."))
    assert first.h2.text == second.h2.text == "Long"
    assert "item" not in shown(second)


def test_code_shows_what_it_gave_and_itself_only_if_it_gave_nothing(tmp_path):
    data = {"image/png": PIXEL, "text/plain": "<Figure>"}
    figure = new_output("execute_result", data=data, metadata={"image/png": {"alt": 'A "line" < 3.'}})
    table = new_output("execute_result", data={"text/html": "<table><tr><td>7</td></tr></table>"})
    slides = deck_of(
        tmp_path,
        text_cell("## Figures"),
        new_code_cell("draw()", metadata=SLIDE, outputs=[figure, table]),
        new_code_cell("silent()", metadata=SLIDE),
        new_code_cell("untagged()"),
    )
    text = " ".join(map(shown, slides))
    assert slides[0].img["alt"] == 'A "line" < 3.'
    assert "7" in text
    assert "silent()" in text
    assert "draw()" not in text
    assert "untagged" not in text


def test_an_exercise_brings_its_text_and_shows_the_stub(tmp_path):
    words = new_markdown_cell("## Section\n\nProse.\n\n### Exercise 1: add\n\nAdd *both*. Return the sum.")
    tags = {"tags": ["exercise", "slide"]}
    worked = [words, new_code_cell("setup()"), new_code_cell("return a + b", metadata=tags), text_cell("**After** it.")]
    blank = [*worked[:2], new_code_cell("...  # your code here", metadata=tags), worked[3]]
    exercise, after = deck_of(tmp_path, *worked, blank=blank)
    assert exercise.h2.text == "Exercise 1: add"
    assert shown(exercise) == "Add both. Return the sum. ...  # your code here"
    assert (after.h2.text, shown(after)) == ("Section", "After it.")


def test_a_font_for_formulas_may_be_given(tmp_path):
    deck_of(tmp_path, text_cell("## One\n\n$$ x $$"))
    (deck,) = write_decks(tmp_path / "decks", notebooks=tmp_path, math_font="../math.woff2")
    text = deck.read_text(encoding="utf-8")
    assert 'src: url("../math.woff2")' in text
    assert 'math { font-family: "Course Math", "STIX' in text


def test_without_worked_notebooks_or_with_others_there_is_no_deck(tmp_path):
    with pytest.raises(ValueError, match="There are no worked notebooks in"):
        write_decks(tmp_path / "decks", notebooks=tmp_path)
    with pytest.raises(ValueError, match="01_made: the learner's notebook and the worked one differ"):
        deck_of(tmp_path, text_cell("one"), blank=[new_code_cell("two")])
    assert not (tmp_path / "decks").exists()
