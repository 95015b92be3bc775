"""The instructor's guide: its plans add up, what it quotes is what the checks say, and what it names exists."""

from __future__ import annotations

import ast
import functools
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "site" / "guide"
SOURCES = {path.name[:2]: path for path in sorted((ROOT / "notebooks" / "source").glob("*.py"))}
NUMBERS = sorted(SOURCES)
HEADINGS = [
    "Goals",
    "Before it starts",
    "75 minutes",
    "180 minutes",
    "On the board",
    "Questions people ask",
    "Mistakes that the checks name",
    "When time is short",
    "Where the halves meet",
]
# What says a hint on a notebook's behalf.
SHARED = ("answers", "tensors", "verdict")


def page(number: str) -> str:
    return (GUIDE / f"notebook_{number}.md").read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def section(text: str, heading: str) -> str:
    """What stands under a heading of level 2, up to the next."""
    return re.split(r"^## ", text.split(f"\n## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return cells[2:]


def spans(plan: list[list[str]]) -> list[tuple[int, int]]:
    found = [re.fullmatch(r"(\d+)–(\d+)", row[0]) for row in plan]
    assert all(found), [row[0] for row, match in zip(plan, found, strict=True) if not match]
    return [(int(match[1]), int(match[2])) for match in found if match]


def exercises(plan: list[list[str]]) -> set[int]:
    return {int(number) for row in plan for number in re.findall(r"\d+", row[3])}


def in_words(text: str) -> str:
    """Without Markdown's backslashes, and with every run of white space as one blank."""
    return re.sub(r"\s+", " ", re.sub(r"\\([*|$_<\[])", r"\1", text)).strip()


def markdown_cells(number: str) -> Iterator[str]:
    for cell in re.split(r"^# %%", SOURCES[number].read_text(encoding="utf-8"), flags=re.MULTILINE):
        if cell.startswith(" [markdown]"):
            yield re.sub(r"^# ?", "", cell, flags=re.MULTILINE)


@functools.cache
def headings(number: str) -> list[tuple[int, str]]:
    return [
        (len(marks), title)
        for cell in markdown_cells(number)
        for marks, title in re.findall(r"^(#+) (.*)$", without_code(cell), flags=re.MULTILINE)
    ]


def exercises_of(number: str) -> tuple[set[int], set[int]]:
    """The numbers of a notebook's exercises: those of the core, and those within a ☆ part."""
    core: set[int] = set()
    further: set[int] = set()
    star = 0
    for level, title in headings(number):
        if star and level <= star:
            star = 0
        if "☆" in title:
            star = level
        if match := re.match(r"Exercise (\d+)", title):
            (further if star else core).add(int(match[1]))
    return core, further


def minutes_of(number: str) -> list[tuple[str, int]]:
    """The core's sections and minutes, from the table in a notebook's first cell."""
    first = next(markdown_cells(number))
    return [
        (name, int(minutes)) for name, minutes in re.findall(r"^\| (\d\.\d+)[^|]*\| (\d+) \|$", first, re.MULTILINE)
    ]


@functools.cache
def strings(module: str) -> str:
    """All strings of a module of checks, a number put in later as a blank."""
    tree = ast.parse((ROOT / "course_lib" / "exercises" / f"{module}.py").read_text(encoding="utf-8"))
    found = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "\n".join(map(in_words, found))


def hints(number: str) -> str:
    """All that the checks of a notebook can say."""
    return "\n".join(strings(name) for name in (f"notebook_{number}", *SHARED))


@pytest.mark.parametrize("number", NUMBERS)
def test_every_notebook_has_a_page_with_the_same_parts(number: str) -> None:
    text = without_code(page(number))
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    title = next(markdown_cells(number)).split("# ", 1)[1].splitlines()[0]
    assert re.findall(r"^# (.*)$", text, re.MULTILINE) == [
        f"Teaching notebook {int(number)}: {title.removeprefix(f'{int(number)}. ')}"
    ]
    assert 3 <= len(re.findall(r"^- ", section(text, "Goals"), re.MULTILINE)) <= 5
    assert text.count("**To remember:**") == 1
    assert 2 <= page(number).count("\n### Sketch ") <= 4
    assert 6 <= len(re.findall(r"^\*\*[^*]+\?\*\*", section(text, "Questions people ask"), re.MULTILINE)) <= 10


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("length", [75, 180])
def test_plans_have_no_gap_and_add_up(number: str, length: int) -> None:
    plan = rows(section(page(number), f"{length} minutes"))
    assert {len(row) for row in plan} == {4}
    times = spans(plan)
    assert times[0][0] == 0
    assert times[-1][1] == length
    assert all(start < end for start, end in times)
    assert [end for _, end in times[:-1]] == [start for start, _ in times[1:]]


@pytest.mark.parametrize("number", NUMBERS)
def test_short_plan_is_the_core_with_the_notebooks_own_minutes(number: str) -> None:
    plan = rows(section(page(number), "75 minutes"))
    spent: dict[str, int] = {}
    for row, (start, end) in zip(plan, spans(plan), strict=True):
        name = re.match(r"\d\.\d+|Opening|Spare", row[1])
        assert name, row
        spent[name[0]] = spent.get(name[0], 0) + end - start
    core = minutes_of(number)
    # Where a core is shorter than 75 minutes, the rest is for its first cell or a question.
    rest = sum(spent.pop(word, 0) for word in ("Opening", "Spare"))
    assert list(spent.items()) == core
    assert rest == 75 - sum(minutes for _, minutes in core)
    assert exercises(plan) == exercises_of(number)[0]


@pytest.mark.parametrize("number", NUMBERS)
def test_long_plan_has_a_break_and_parts_that_go_further(number: str) -> None:
    plan = rows(section(page(number), "180 minutes"))
    assert sum(row[1].startswith("Break") for row in plan) == 1
    core, further = exercises_of(number)
    assert core <= exercises(plan) <= core | further
    stars = [row[1].partition(":")[0] for row in plan if row[1].startswith("☆")]
    of_notebook = [title for _, title in headings(number) if "☆" in title]
    assert stars
    assert [star for star in stars if not any(star in title for title in of_notebook)] == []


@pytest.mark.parametrize("number", NUMBERS)
def test_every_exercise_has_mistakes_in_the_words_of_its_check(number: str) -> None:
    table = rows(section(page(number), "Mistakes that the checks name"))
    assert {len(row) for row in table} == {4}
    assert {int(row[0]) for row in table} == set.union(*exercises_of(number))
    said = hints(number)
    for row in table:
        quotes = re.findall("“([^”]+)”", row[2])
        assert quotes, row
        pieces = [in_words(piece) for quote in quotes for piece in quote.split("…")]
        assert [piece for piece in pieces if piece and piece not in said] == []


@pytest.mark.parametrize("path", sorted(GUIDE.glob("*.md")), ids=lambda path: path.name)
def test_pages_name_sections_and_pages_that_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = {
        match[0] for number in NUMBERS for _, title in headings(number) if (match := re.search(r"\b\d\.\d+\b", title))
    }
    named = [
        name
        for part in re.findall(r"\bsections? (\d\.\d+(?:(?:, | and | to )\d\.\d+)*)", text, re.IGNORECASE)
        for name in re.findall(r"\d\.\d+", part)
    ]
    assert [name for name in named if name not in known] == []
    links = [link for link in re.findall(r"\]\(([^)#\s]+\.md)\)", text) if "://" not in link]
    assert [link for link in links if not (path.parent / link).is_file()] == []
    levels = [len(marks) for marks in re.findall(r"^(#+) ", without_code(text), re.MULTILINE)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(deeper <= level + 1 for level, deeper in itertools.pairwise(levels))
