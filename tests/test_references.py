"""The bibliography: every source has an entry that leads to it, and every entry is somebody's source."""

import ast
import io
import re
import tokenize
import unicodedata
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "course_lib").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks" / "source").glob("*.py"))

ENTRY = re.compile(r"@(\w+)\{(\w+),\n(.*?)\n\}\n", re.DOTALL)
FIELD = re.compile(r"  (\w+) = \{((?:[^{}]|\{[^{}]*\})*)\},?(?:\n|\Z)")
KEY = re.compile(r"\[([A-Z][A-Za-z]+\d{4}[a-z]?)\]")
VENUES = ("journal", "booktitle", "publisher", "institution", "howpublished")
SHAPES = {
    "doi": re.compile(r"10\.\d{4,9}/\S+"),
    "eprint": re.compile(r"\d{4}\.\d{4,5}|[a-z-]+/\d{7}"),
    "isbn": re.compile(r"97[89]-[\d-]{13}"),
    "url": re.compile(r"https?://[\w.-]+/\S*"),
}
ADDRESSES = {"doi": "https://doi.org/{}", "eprint": "https://arxiv.org/abs/{}", "url": "{}"}
# "Kingma and Welling 2014", "Burda et al. (2016)", "(Neal 2001)"
NAME_AND_YEAR = re.compile(r"[A-Z][\w-]+(?: et al\.| and [A-Z][\w-]+)?,? \(?(?:18|19|20)\d\d\b")
PLAIN = str.maketrans({"ø": "o", "Ø": "O"})


def parsed(text: str) -> dict[str, dict[str, str]]:
    """The entries, ``key -> field -> value``. What is not understood is an error, and so is a key given twice."""
    _, *blocks = re.split(r"^(?=@)", text, flags=re.MULTILINE)
    entries: dict[str, dict[str, str]] = {}
    for block in blocks:
        entry = ENTRY.fullmatch(block.rstrip("\n") + "\n")
        if entry is None or FIELD.sub("", entry[3]).strip():
            raise ValueError(f"not understood: {block}")
        fields = FIELD.findall(entry[3])
        if entry[2] in entries or len(dict(fields)) < len(fields):
            raise ValueError(f"given twice: {block}")
        entries[entry[2]] = {name: " ".join(value.split()) for name, value in fields}
    return entries


@cache
def references() -> dict[str, dict[str, str]]:
    return parsed((ROOT / "references.bib").read_text(encoding="utf-8"))


def addresses(entry: dict[str, str]) -> list[str]:
    return [form.format(entry[name]) for name, form in ADDRESSES.items() if name in entry]


@cache
def prose_of(module: Path) -> tuple[str, ...]:
    """A module's docstrings and runs of comments, each on one line but for its paragraphs."""
    source = module.read_text(encoding="utf-8")
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = "\n".join(token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT)
    paragraphs = (re.split(r"\n\s*\n", text) for text in (*docstrings, comments))
    return tuple(" ".join(paragraph.split()) for text in paragraphs for paragraph in text if paragraph.strip())


@pytest.mark.parametrize("text", ["@book{Owen2013,\n  title = {One\n}\n", "@book{Owen2013,\n  title: one\n}\n"])
def test_what_is_not_understood_is_an_error(text):
    with pytest.raises(ValueError, match="not understood"):
        parsed(text)


def test_a_key_is_given_once():
    entry = "@book{Owen2013,\n  title = {One}\n}\n"
    with pytest.raises(ValueError, match="given twice"):
        parsed(f"{entry}\n{entry}")


def test_entries_stand_in_the_order_of_their_keys():
    assert list(references()) == sorted(references())


@pytest.mark.parametrize("field", ["doi", "eprint", "isbn", "url", "title"])
def test_no_source_has_two_entries(field):
    values = [entry[field].lower() for entry in references().values() if field in entry]
    assert len(values) == len(set(values))


@pytest.mark.parametrize("key", references())
def test_a_key_is_the_first_author_and_the_year(key):
    entry = references()[key]
    surname = entry["author"].split(",")[0].split()[-1].translate(PLAIN)
    letters = "".join(c for c in unicodedata.normalize("NFKD", surname) if c.isascii() and c.isalpha())
    assert re.fullmatch(rf"{letters}{entry['year']}[a-z]?", key)


def test_a_letter_tells_works_of_one_author_and_year_apart():
    stems: dict[str, list[str]] = {}
    for key in references():
        stems.setdefault(key.rstrip("abc"), []).append(key)
    for stem, keys in stems.items():
        assert keys == ([stem] if len(keys) == 1 else [stem + letter for letter in "abc"[: len(keys)]])


@pytest.mark.parametrize("key", references())
def test_an_entry_says_what_the_source_is_and_where(key):
    entry = references()[key]
    assert {"author", "title", "year"} <= set(entry)
    assert any(name in entry for name in VENUES)
    assert any(name in entry for name in SHAPES)
    for name, shape in SHAPES.items():
        assert name not in entry or shape.fullmatch(entry[name])
    assert ("eprint" in entry) == (entry.get("archiveprefix") == "arXiv")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_cite_what_the_bibliography_has(module):
    for paragraph in prose_of(module):
        for key in KEY.findall(paragraph):
            assert key in references(), paragraph
        if source := re.search(r"\bSources?: .*", paragraph):
            assert KEY.search(source[0]), paragraph


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_cite_by_key(module):
    for paragraph in prose_of(module):
        assert not NAME_AND_YEAR.search(paragraph), paragraph


@pytest.mark.parametrize("key", references())
def test_every_entry_is_a_source_of_something(key):
    in_library = any(key in KEY.findall(paragraph) for module in MODULES for paragraph in prose_of(module))
    notebooks = "\n".join(path.read_text(encoding="utf-8") for path in NOTEBOOKS)
    assert in_library or any(f"]({address})" in notebooks for address in addresses(references()[key]))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_link_to_what_the_bibliography_has(notebook):
    known = {address for entry in references().values() for address in addresses(entry)}
    links = re.findall(r"\]\((https?://[^\s()]+)\)", notebook.read_text(encoding="utf-8"))
    assert set(links) <= known
