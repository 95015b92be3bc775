"""The website: built once, then read as its visitors do, in a browser, with every address but its own cut off."""

import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import axe_playwright_python
import nbformat
import pytest
from browser import chromium
from fontTools.ttLib import TTFont
from playwright.sync_api import Page

from course_lib.publishing import NOTEBOOKS
from course_lib.publishing.sources import has_tag
from course_lib.resources import DATA

SITE = NOTEBOOKS.parent / "site"
sys.path.insert(0, str(SITE))

from course_site import notebooks, readme  # noqa: E402
from course_site.font import characters  # noqa: E402

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
# What axe calls serious or critical. Of the rest some is a matter of taste.
SERIOUS = """found => found.violations
    .filter(one => ["serious", "critical"].includes(one.impact))
    .map(one => `${one.id}: ${one.nodes.length}, such as ${one.nodes[0].html}`)"""
STRUCTURE = f"""() => axe.run(document, {{resultTypes: ["violations"], rules: {{"color-contrast": {{enabled: false}}}},
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}).then({SERIOUS})"""
# The rule takes minutes for a notebook, so of texts styled alike it sees one. Formulas have the colour of text.
CONTRAST = f"""() => {{
    const seen = new Set();
    const style = e => [e.tagName, e.className, e.getAttribute("style")].join();
    const texts = [...document.querySelectorAll("body *")].filter(e => {{
        if (e.closest("svg, math") || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) return false;
        const look = style(e) + style(e.parentElement);
        return !seen.has(look) && seen.add(look);
    }});
    return axe.run({{include: texts}}, {{resultTypes: ["violations"], runOnly: ["color-contrast"]}}).then({SERIOUS});
}}"""
TOO_WIDE = "document.documentElement.scrollWidth > innerWidth"
ADDRESS = "https://example.org/course/"  # where the site is told that it will be
PHONE = {"width": 390, "height": 844}
# Pages whose contrast is measured, in the light and in the dark: among them they have all that others are made of.
MEASURED = (
    "index.html",
    "zoo.html",
    "references.html",
    "search.html",
    "api/exercises.html",
    "guide/notebook_01.html",
    "notebooks/02_importance_sampling.html",
)


class Document(HTMLParser):
    """A page in pieces."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.headings: list[int] = []
        self.without_alt: list[str] = []
        self.worked: list[str] = []
        self.text, self.title, self.n_formulas = "", "", 0
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.links += [values[name] or "" for name in ("href", "src") if name in values and tag != "use"]
        self.ids |= {values[name] or "" for name in ("id", "name") if name in values}
        self.n_formulas += tag == "math"
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img" and not values.get("alt"):
            self.without_alt.append(values.get("src") or "")
        if values.get("class") == "worked":
            self.worked.append("")
        if tag not in ("img", "link", "meta", "br", "hr", "input", "path", "circle", "line", "rect"):
            self._open.append(f"{tag} worked" if values.get("class") == "worked" else tag)

    def handle_endtag(self, tag: str) -> None:
        if any(one.split()[0] == tag for one in self._open):
            while self._open.pop().split()[0] != tag:
                pass

    def handle_data(self, data: str) -> None:
        inside = set(self._open)
        if "title" in inside and "svg" not in inside:
            self.title += data
        if {"details worked", "pre"} <= inside:
            self.worked[-1] += data
        if not inside & {"pre", "code", "script", "style", "math"}:
            self.text += data


@dataclass
class Visit:
    """What a browser had to complain of."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    audit: list[str] = field(default_factory=list)
    too_wide: bool = False


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "site"
    done = subprocess.run(
        [sys.executable, str(SITE / "build.py"), str(folder)],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        env=os.environ | {"SITE_URL": ADDRESS},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def documents(site) -> dict[str, Document]:
    """The pages by their paths. The decks of slides are not Sphinx's and have tests of their own."""
    paths = sorted(site.rglob("*.html"))
    assert len(paths) > 25
    return {path.relative_to(site).as_posix(): Document(path) for path in paths}


@pytest.fixture(scope="module")
def pages(documents) -> dict[str, Document]:
    return {name: document for name, document in documents.items() if not name.startswith("slides/")}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def browser_page(address) -> Iterator[Page]:
    """A page that reaches the site and nothing else."""
    with chromium() as browser:
        page = browser.new_page(viewport=PHONE, color_scheme="light")
        page.route(lambda url: not url.startswith((address, "data:")), lambda route: route.abort())
        yield page


@pytest.fixture(scope="module")
def visits(browser_page, address, pages) -> dict[str, Visit]:
    """Every page on a phone, some of them in the light and in the dark."""
    page, visits = browser_page, {name: Visit() for name in pages}
    now = Visit()
    page.on("request", lambda request: now.requests.append(request.url))
    page.on("requestfailed", lambda request: now.errors.append(request.url))
    page.on("response", lambda answer: now.errors.append(answer.url) if answer.status >= 400 else None)
    page.on("pageerror", lambda error: now.errors.append(str(error)))
    page.on("console", lambda message: now.errors.append(message.text) if message.type == "error" else None)
    for name, visit in visits.items():
        now = visit
        page.goto(address + name)
        visit.too_wide = page.evaluate(TOO_WIDE)
        page.evaluate(AXE)
        visit.audit += page.evaluate(STRUCTURE)
        for scheme in ("dark", "light") if name in MEASURED else ():
            page.emulate_media(color_scheme=scheme)
            visit.audit += [f"{scheme}, {one}" for one in page.evaluate(CONTRAST)]
    return visits


def test_pages_load_without_a_network_and_without_an_error(visits, address):
    assert {name: visit.errors for name, visit in visits.items() if visit.errors} == {}
    requests = [one for visit in visits.values() for one in visit.requests if not one.startswith(("data:", address))]
    assert requests == []


def test_nothing_but_boxes_moves_sideways_on_a_phone(visits):
    assert [name for name, visit in visits.items() if visit.too_wide] == []


def test_an_audit_finds_no_serious_barrier(visits):
    assert set(MEASURED) <= set(visits)
    assert {name: visit.audit for name, visit in visits.items() if visit.audit} == {}


def test_search_finds_a_word_of_the_notebooks(browser_page, address):
    browser_page.goto(f"{address}search.html?q=reparameterization")
    found = browser_page.locator("#search-results li a", has_text="reparameterization trick")
    assert found.first.get_attribute("href").startswith("notebooks/03_elbo.html")


def test_links_lead_somewhere(site, documents):
    broken = []
    for name, document in documents.items():
        for link in document.links:
            parts = urlsplit(urljoin(f"//site/{name}", link))
            if parts.netloc != "site" or parts.scheme not in ("", "http"):
                continue
            path = unquote(parts.path).removeprefix("/")
            target = documents.get(path)
            if not (site / path).is_file() or (target and parts.fragment and unquote(parts.fragment) not in target.ids):
                broken.append((name, link))
    assert broken == []


def test_every_page_has_a_title_and_headings_in_order(pages):
    titles = [document.title for document in pages.values()]
    assert len(set(titles)) == len(titles)
    assert not [title for title in titles if re.match(r"\d\d_|<|\s*$", title)]
    for name, document in pages.items():
        if name == "search.html":  # a script writes its heading
            continue
        assert document.headings.count(1) == 1, name
        steps = zip(document.headings, document.headings[1:], strict=False)
        assert all(after <= before + 1 for before, after in steps), (name, document.headings)


def test_every_picture_has_an_alternative_text(pages):
    assert {name: document.without_alt for name, document in pages.items() if document.without_alt} == {}
    assert sum(link.startswith("../_images/") for link in pages["notebooks/01_monte_carlo.html"].links) >= 15


def test_formulas_are_mathml_and_no_latex_is_left(pages):
    for path in NOTEBOOKS.glob("*.ipynb"):
        source = "".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type != "code")
        # Inside a formula there may be text, and in it formulas again: then it is one.
        assert pages[f"notebooks/{path.stem}.html"].n_formulas >= 0.9 * len(
            re.findall(r"\$\$.+?\$\$|\$.+?\$", source, re.DOTALL)
        )
    left = {name: re.findall(r"\$\S.*|\\[(\[a-z].*", document.text) for name, document in pages.items()}
    assert {name: found for name, found in left.items() if found} == {}


def test_the_font_has_every_character_of_the_formulas(site, pages):
    font = TTFont(io.BytesIO((site / "_static" / "math.woff2").read_bytes()))
    assert "MATH" in font
    used = characters((site / name).read_text(encoding="utf-8") for name in pages)
    has = set(map(chr, font.getBestCmap()))
    assert {one for one in used if one.isprintable() and not one.isspace()} <= has
    assert "√" in has  # which a browser draws for <msqrt>, and no page has as a character of a formula
    assert (site / "_static" / "math.woff2").stat().st_size < 150_000


def test_worked_answers_stand_under_the_exercises(pages):
    for path in NOTEBOOKS.glob("*.ipynb"):
        worked = nbformat.read(NOTEBOOKS / "solutions" / path.name, as_version=4)
        answers = [cell.source for cell in worked.cells if has_tag(cell, "exercise")]
        assert answers
        shown = pages[f"notebooks/{path.stem}.html"].worked
        assert [one.strip() for one in shown] == [one.strip() for one in answers]


def test_notebooks_are_offered_as_learners_get_them(site, pages):
    for path in NOTEBOOKS.glob("*.ipynb"):
        plain, for_colab = [one for one in pages[f"notebooks/{path.stem}.html"].links if one.endswith(path.name)]
        assert (site / "notebooks" / plain).read_bytes() == path.read_bytes()
        found = re.search(
            f'{ADDRESS}(wheel/[^\\s"]+\\.whl)', (site / "notebooks" / for_colab).read_text(encoding="utf-8")
        )
        assert found
        assert (site / found[1]).is_file()


def test_the_zoo_has_every_card(pages, site):
    text = (site / "zoo.html").read_text(encoding="utf-8")
    names = [path.stem for path in (DATA / "checkpoints").glob("*.json")]
    assert names
    assert [name for name in names if name not in text] == []


def test_the_reference_has_every_public_name(pages):
    for page in (SITE / "api").glob("[!i]*.md"):
        for module in re.findall(r"automodule:: (\S+)", page.read_text(encoding="utf-8")):
            ids = pages[f"api/{page.stem}.html"].ids
            offered = import_module(module)
            # Of constants and modules there are no entries.
            names = [name for name in offered.__all__ if callable(getattr(offered, name))]
            assert names
            assert [name for name in names if not any(one.endswith(f".{name}") for one in ids)] == []


def test_every_source_is_in_the_bibliography(pages, site):
    keys = re.findall(r"^@\w+\{(\w+),", (SITE.parent / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    page = pages["references.html"]
    assert len(keys) > 40
    assert [key for key in keys if f"[{key}]" not in re.sub(r"\s", "", page.text)] == []


def test_a_worked_notebook_of_other_cells_is_refused():
    path = NOTEBOOKS / "01_monte_carlo.ipynb"
    learners = nbformat.read(path, as_version=4)
    worked = nbformat.read(path, as_version=4)
    del worked.cells[3]
    with pytest.raises(ValueError, match="make notebooks"):
        notebooks.page(learners, worked, "")


def test_a_section_that_the_readme_lacks_is_named():
    with pytest.raises(ValueError, match="'Start'"):
        readme.page("# Course\n\n## Stop\n\nHere.\n", "Start", "Install")


def test_a_section_becomes_a_page_and_its_code_stays_as_it_is():
    text = "## Start\nSee [rules](RULES.md).\n\n### On a GPU\n\n```sh\n## no heading\n```\n\n## Next\n"
    page = readme.page(text, "Start", "Install")
    assert page == "# Install\nSee rules (`RULES.md`).\n\n## On a GPU\n\n```sh\n## no heading\n```\n\n"
