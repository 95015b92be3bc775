"""What first cells and the start page promise: minutes that add up, and parts marked ☆ that nothing else needs."""

import dis
import inspect
import re

import pytest

from course_lib.publishing import NOTEBOOKS, sources

SOURCES = sorted((NOTEBOOKS / "source").glob("[0-9]*.py"))
CORE = 75  # minutes of a workshop


def heading(cell):
    """Level and text of the highest heading of a text cell, as JupyterLab folds by it; nothing if it has none."""
    found = re.findall(r"^(#+) (.*)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else []
    return min(((len(marks), text) for marks, text in found), key=lambda one: one[0], default=None)


def with_stars(notebook):
    """Each cell, and whether it belongs to a part marked ☆."""
    level = None  # of the ☆ part that is open
    for cell in notebook.cells:
        if found := heading(cell):
            if level is not None and found[0] <= level:
                level = None
            if "☆" in found[1]:
                level = found[0]
        yield cell, level is not None


@pytest.fixture(params=SOURCES, ids=[path.stem for path in SOURCES])
def notebook(request):
    return sources.read(request.param, solved=True)


def minutes(notebook):
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", notebook.cells[0].source, re.MULTILINE)
    return {name.strip("* "): int(value.strip("* ")) for name, value in rows if value.strip("* ").isdigit()}


def test_the_core_fits_a_workshop_and_its_minutes_add_up(notebook):
    table = minutes(notebook)
    core = table.pop("core")
    assert core == sum(value for name, value in table.items() if "☆" not in name)
    assert core <= CORE


def test_each_part_marked_with_a_star_is_folded_and_has_its_minutes_in_the_table(notebook):
    promised = sorted(value for name, value in minutes(notebook).items() if "☆" in name)
    parts = [cell for cell in notebook.cells if (found := heading(cell)) and "☆" in found[1] and found[0] > 1]
    assert parts
    assert all(cell.metadata.get("jp-MarkdownHeadingCollapsed") is True for cell in parts)
    # What stands in the cell of the heading is not folded: a sentence.
    assert all(cell.source.startswith("##") and len(cell.source.split("\n\n")) == 2 for cell in parts)
    assert sorted(int(re.search(r"\((\d+) minutes\)", cell.source)[1]) for cell in parts) == promised


def test_only_parts_marked_with_a_star_are_folded(notebook):
    for cell in notebook.cells:
        if cell.metadata.get("jp-MarkdownHeadingCollapsed"):
            assert "☆" in heading(cell)[1]


def test_the_core_uses_nothing_that_a_part_marked_with_a_star_defines_or_changes(notebook):
    owner, borrowed = {}, set()
    for cell, in_star in with_stars(notebook):
        if cell.cell_type == "code":
            read, made = globals_of(compile(cell.source, "cell", "exec"))
            if not in_star:
                borrowed |= {name for name in read - made if owner.get(name) == "star"}
            owner |= dict.fromkeys(made, "star" if in_star else "core")
    assert not borrowed


def globals_of(code):
    """Names that a cell reads, in its functions too, and names that it gives a value."""
    read, made = set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
            read.add(step.argval)
        elif step.opname == "STORE_NAME":
            made.add(step.argval)
    for inner in filter(inspect.iscode, code.co_consts):
        read |= globals_of(inner)[0]
    return read, made


def test_every_section_of_the_table_is_there(notebook):
    titles = " ".join(found[1] for cell in notebook.cells if (found := heading(cell)))
    for name in minutes(notebook):
        if number := re.match(r"\d\.\d+", name):
            assert number[0] in titles


def test_slides_are_made_of_the_core(notebook):
    """Each deck's cells, and enough of them."""
    tagged = [in_star for cell, in_star in with_stars(notebook) if sources.has_tag(cell, "slide")]
    assert 20 <= len(tagged) <= 35
    assert not any(tagged)


def test_every_exercise_of_the_core_is_on_a_slide(notebook):
    exercises = [cell for cell, in_star in with_stars(notebook) if sources.has_tag(cell, "exercise") and not in_star]
    assert exercises
    assert all(sources.has_tag(cell, "slide") for cell in exercises)


def test_a_notebook_ends_with_the_readers_progress_and_questions(notebook):
    *_, before, line, questions = notebook.cells
    assert before.cell_type == "markdown"
    assert line.source == "progress(check)"
    assert heading(questions) == (3, "Three questions")


def test_the_start_page_leads_to_every_notebook_and_says_its_minutes():
    page = (NOTEBOOKS / "START.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[.*?\]\((.*?)\) \|.*\| (\d+) \|$", page, re.MULTILINE))
    assert {name: int(value) for name, value in rows.items()} == {
        f"{source.stem}.ipynb": minutes(sources.read(source, solved=True))["core"] for source in SOURCES
    }
    _, worked, _ = re.split(r"<!-- /?solutions -->", page)
    assert re.findall(r"\]\((.*?)\)", worked) == [f"solutions/{source.stem}.ipynb" for source in SOURCES]
