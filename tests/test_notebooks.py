"""The pipeline on small made sources, and what the course's own stored notebooks have to be."""

import base64
import copy
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from course_lib.estimates import COMPARISON_MIME
from course_lib.publishing import NOTEBOOKS, sources
from course_lib.publishing.build import build
from course_lib.publishing.execution import NotebookFailed
from course_lib.publishing.palette import with_palettes
from course_lib.publishing.run import Outcome, run, table

EXERCISE = """\
# %% [markdown]
# # Doubling

# %% tags=["exercise"]
def double(x):
    # Twice.
    ### BEGIN SOLUTION
    y = 2 * x
    return y
    ### END SOLUTION


answer = None
### BEGIN SOLUTION
answer = double(21)
### END SOLUTION

# %%
print("not attempted" if answer is None else answer)
"""

WIDGET = """\
# %% tags=["widget"]
from ipywidgets import interact

interact(lambda x: print(x), x=(0, 10))
"""


def headline(estimate: str = "18.2 +- 0.1", *, agrees: bool = True) -> str:
    data = {"estimate": estimate, "exact": "18.21", "verdict": "well", "agrees": agrees}
    bundle = {"text/plain": estimate, COMPARISON_MIME: data}
    return f'# %% tags=["headline"]\nfrom IPython.display import display\n\ndisplay({bundle}, raw=True)\n'


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / "source" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def store(folder: Path, name: str, *codes: str) -> None:
    notebook = new_notebook(cells=[new_markdown_cell("# Made"), *map(new_code_cell, codes)])
    nbformat.write(notebook, folder / name)


# Sources


def test_learners_get_a_blank_where_the_worked_notebook_has_the_solution(tmp_path):
    source = write(tmp_path, "01_double.py", EXERCISE)
    blank, worked = (sources.read(source, solved=solved).cells[1].source for solved in (False, True))
    assert blank == ("def double(x):\n    # Twice.\n    ...  # your code here\n\n\nanswer = None\n# your code here")
    assert worked == (
        "def double(x):\n    # Twice.\n    y = 2 * x\n    return y\n\n\nanswer = None\nanswer = double(21)"
    )


def test_both_notebooks_agree_outside_the_solutions(tmp_path):
    source = write(tmp_path, "01_double.py", EXERCISE)
    blank, worked = (sources.read(source, solved=solved) for solved in (False, True))
    assert [cell.id for cell in blank.cells] == [cell.id for cell in worked.cells]
    assert blank.cells[0] == worked.cells[0]
    assert blank.cells[2] == worked.cells[2]
    assert blank.metadata == worked.metadata


def test_cell_ids_follow_the_text_and_not_the_position(tmp_path):
    first, second = "# %%\nx = 1\n\n", "# %%\nx = 1\n\n# %%\ny = 2\n"
    before = sources.read(write(tmp_path, "01_a.py", first), solved=True)
    after = sources.read(write(tmp_path, "01_b.py", "# %% [markdown]\n# New.\n\n" + second), solved=True)
    assert before.cells[0].id == after.cells[1].id
    twice = sources.read(write(tmp_path, "01_c.py", first * 3), solved=True)
    assert len({cell.id for cell in twice.cells}) == 3


@pytest.mark.parametrize(
    "code, complaint",
    [
        ("### BEGIN SOLUTION\nx = 1", "'### BEGIN SOLUTION' with no '### END SOLUTION' after it."),
        ("x = 1\n### END SOLUTION", "'### END SOLUTION' with no '### BEGIN SOLUTION' before it."),
        (
            "### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION",
            "'### BEGIN SOLUTION' with no '### END SOLUTION' before it.",
        ),
        ("x = 1", "an exercise with no '### BEGIN SOLUTION'."),
    ],
)
@pytest.mark.parametrize("solved", [False, True])
def test_bad_markers_are_named_with_file_and_cell(tmp_path, code, complaint, solved):
    source = write(tmp_path, "01_bad.py", f'# %%\nx = 0\n\n# %% tags=["exercise"]\n{code}\n')
    with pytest.raises(ValueError) as error:
        sources.read(source, solved=solved)
    assert str(error.value) == f"01_bad.py, code cell 2: {complaint}"


def test_a_solution_belongs_into_an_exercise(tmp_path):
    source = write(tmp_path, "01_bad.py", "# %%\n### BEGIN SOLUTION\nx = 0\n### END SOLUTION\n")
    complaint = "^01_bad.py, code cell 1: '### BEGIN SOLUTION' stands in a cell without the tag 'exercise'.$"
    with pytest.raises(ValueError, match=complaint):
        sources.read(source, solved=True)


@pytest.mark.parametrize("name", ["2", "1_double", "03", "", "01_double.ipynb"])
def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path, name):
    write(tmp_path, "01_double.py", EXERCISE)
    with pytest.raises(ValueError, match=f"No notebook is called '{name}': there are 01_double."):
        build([name], folder=tmp_path)


def test_no_sources_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="There are no notebook sources in"):
        build(folder=tmp_path)


# Building


def test_a_rebuild_changes_nothing(tmp_path):
    figure = "# %%\nimport matplotlib.pyplot as plt\n\nplt.plot([1, 2]);\n\n# %%\nplt.title('figure');\n"
    write(tmp_path, "01_double.py", EXERCISE + "\n" + figure + "\n" + WIDGET + "\n" + headline())
    build(folder=tmp_path)
    paths = [tmp_path / "01_double.ipynb", tmp_path / "solutions" / "01_double.ipynb"]
    before = [path.read_bytes() for path in paths]
    assert len(set(before)) == 2
    build(folder=tmp_path, everything=True)
    assert [path.read_bytes() for path in paths] == before
    assert sorted(tmp_path.rglob("*.*")) == sorted([*paths, tmp_path / "source" / "01_double.py"])


@pytest.fixture
def two(tmp_path, monkeypatch) -> Path:
    """A folder with two notebooks, built without the seconds that a kernel takes."""

    def execute(notebook, **_):
        for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
            cell.execution_count = count

    monkeypatch.setattr("course_lib.publishing.build.execute", execute)
    write(tmp_path, "01_double.py", EXERCISE)
    write(tmp_path, "02_print.py", "# %% [markdown]\n# Printing\n\n# %%\nprint(1)\n")
    build(folder=tmp_path)
    return tmp_path


def touched(folder: Path, *names: str, **settings: bool) -> list[str]:
    """Which notebooks a build writes anew."""
    paths = [path for path in folder.rglob("*.ipynb")]
    before = {path: path.stat().st_ino for path in paths}
    build(names, folder=folder, **settings)
    return sorted(path.relative_to(folder).as_posix() for path in paths if path.stat().st_ino != before[path])


ALL_FOUR = ["01_double.ipynb", "02_print.ipynb", "solutions/01_double.ipynb", "solutions/02_print.ipynb"]


def test_a_build_leaves_what_is_up_to_date_and_says_so(two, capsys):
    capsys.readouterr()
    assert touched(two) == []
    assert capsys.readouterr().out.splitlines() == [
        "01_double: up to date",
        "solutions/01_double: up to date",
        "02_print: up to date",
        "solutions/02_print: up to date",
    ]
    assert touched(two, "02") == ["02_print.ipynb", "solutions/02_print.ipynb"]
    assert touched(two, everything=True) == ALL_FOUR


@pytest.mark.parametrize(
    "text",
    [
        "# %% [markdown]\n# Printing\n\n# %%\nprint(2)\n",
        "# %% [markdown]\n# Showing\n\n# %%\nprint(1)\n",
        '# %% [markdown]\n# Printing\n\n# %% tags=["headline"]\nprint(1)\n',
        "# %%\nprint(1)\n\n# %% [markdown]\n# Printing\n",
        "# %%\nprint(1)\n",
    ],
    ids=["code", "text", "tags", "order", "number"],
)
def test_any_change_of_a_source_makes_its_notebooks_out_of_date(two, text):
    write(two, "02_print.py", text)
    assert touched(two) == ["02_print.ipynb", "solutions/02_print.ipynb"]


@pytest.mark.parametrize("damage", ["not executed", "executed in part", "not a notebook", "gone"])
def test_a_stored_notebook_that_was_not_run_from_top_to_bottom_is_rebuilt(two, damage):
    path = two / "01_double.ipynb"
    whole = path.read_bytes()
    notebook = nbformat.read(path, as_version=4)
    counts = {"not executed": [None, None], "executed in part": [1, None]}.get(damage, [1, 2])
    for cell, count in zip((c for c in notebook.cells if c.cell_type == "code"), counts, strict=True):
        cell.execution_count = count
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"no JSON" if damage == "not a notebook" else sources.as_bytes(notebook))
    build(folder=two)
    assert path.read_bytes() == whole


def test_a_stored_notebook_holds_outputs_and_no_trace_of_its_making(tmp_path):
    write(tmp_path, "01_double.py", EXERCISE + "\n" + WIDGET)
    build(["01"], folder=tmp_path)
    assert [cell.execution_count for cell in code_cells(tmp_path / "01_double.ipynb")] == [1, 2, 3]
    for path, text in (("01_double.ipynb", "not attempted\n"), ("solutions/01_double.ipynb", "42\n")):
        _, check, slider = code_cells(tmp_path / path)
        assert [(output.name, output.text) for output in check.outputs] == [("stdout", text)]
        assert slider.metadata.tags == ["widget", "nbval-ignore-output"]
        assert [output.data for output in slider.outputs] == [{"text/markdown": "*Run this cell to use the slider.*"}]
        notebook = json.loads((tmp_path / path).read_text(encoding="utf-8"))
        assert notebook["metadata"] == sources.METADATA
        assert all(set(cell["metadata"]) <= {"tags"} for cell in notebook["cells"])
        assert str(tmp_path) not in json.dumps(notebook)


def test_cells_see_the_folder_of_their_notebook(tmp_path):
    write(tmp_path, "01_here.py", "# %%\nfrom pathlib import Path\n\nprint(Path.cwd().name)\n")
    build(folder=tmp_path)
    (cell,) = code_cells(tmp_path / "solutions" / "01_here.ipynb")
    assert cell.outputs[0].text == "solutions\n"


def test_figures_are_stored_whatever_backend_the_shell_asks_for(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    write(tmp_path, "01_figure.py", "# %%\nimport matplotlib.pyplot as plt\n\nplt.plot([1, 2]);\n")
    build(folder=tmp_path)
    (cell,) = code_cells(tmp_path / "01_figure.ipynb")
    (figure,) = (output.data["image/png"] for output in cell.outputs if "image/png" in output.data)
    assert picture(figure).mode == "P"


DESCRIBED = """\
# %%
from course_lib.figures.style import new_figure

figure, axes = new_figure()
axes.plot([1, 2])
figure.describe('A line from 1 to 2, "rising" & <straight>.')

# %%
from IPython.display import display

display(figure, display_id=True).update(figure)
"""


def test_figures_are_stored_with_their_alternative_texts_and_shown_with_them(tmp_path, caplog):
    write(tmp_path, "01_figure.py", DESCRIBED)
    build(folder=tmp_path)
    alt = 'A line from 1 to 2, "rising" & <straight>.'
    outputs = [output for cell in code_cells(tmp_path / "01_figure.ipynb") for output in cell.outputs]
    assert [output.output_type for output in outputs] == ["execute_result", "display_data"]
    for output in outputs:
        assert output.metadata["image/png"] == {"alt": alt}
        assert output.data["text/plain"] == "<Figure size 750x360 with 1 Axes>"
        assert picture(output.data["image/png"]).mode == "P"
    (outcome,) = run(folder=tmp_path, build_folder=tmp_path / "build")
    assert outcome.ok
    page = BeautifulSoup((tmp_path / "build" / "01_figure.html").read_text(encoding="utf-8"), "html.parser")
    assert [image["alt"] for image in page.find_all("img")] == [alt, alt]
    assert "Alternative text is missing" not in caplog.text


def test_a_figure_that_nobody_described_is_an_error_where_it_is_shown(tmp_path):
    write(tmp_path, "01_figure.py", "# %%\nfrom course_lib.figures.style import new_figure\n\nnew_figure()[0]\n")
    build(folder=tmp_path)
    (cell,) = code_cells(tmp_path / "01_figure.ipynb")
    (error,) = (output for output in cell.outputs if output.output_type == "error")
    assert "no alternative text" in error.evalue


def picture(png: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(png)))


def png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def plot() -> str:
    """Ten thin lines, each in a colour of its own, beside all greys there are."""
    figure = Figure()
    left, right = figure.subplots(1, 2)
    for n in range(10):
        left.plot([0, 1, 2], [n, 9 - n, n], linewidth=1)
    right.imshow(np.linspace(0, 1, 400)[:, None].repeat(400, axis=1), cmap="gray")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return base64.b64encode(file.getvalue()).decode()


def with_figure(figure: str) -> nbformat.NotebookNode:
    bundle = {"image/png": figure, "text/plain": "<Figure>"}
    return new_notebook(cells=[new_code_cell("plot()", outputs=[new_output("display_data", data=bundle)])])


def test_a_figure_gets_a_palette_in_which_no_colour_is_far_off():
    figure = plot()
    notebook = with_figure(figure)
    with_palettes(notebook)
    small = notebook.cells[0].outputs[0].data["image/png"]
    assert len(small) < len(figure) / 2
    before, after = (np.asarray(picture(text).convert("RGB")).astype(int) for text in (figure, small))
    assert abs(after - before).max() <= 20
    white = (before == 255).all(-1)
    assert white.mean() > 0.3
    assert (after[white] == 255).all()


def test_the_same_figure_becomes_the_same_bytes():
    notebooks = [with_figure(plot()) for _ in range(2)]
    for notebook in notebooks:
        with_palettes(notebook)
    assert notebooks[0].cells[0].outputs == notebooks[1].cells[0].outputs


def test_a_figure_that_would_not_become_smaller_is_left_alone():
    notebook = with_figure(png(Image.new("1", (2, 2))))
    before = copy.deepcopy(notebook)
    with_palettes(notebook)
    assert notebook == before


def test_a_failing_cell_stops_the_build_and_leaves_the_old_notebook(tmp_path):
    source = write(tmp_path, "01_double.py", EXERCISE)
    build(folder=tmp_path)
    before = (tmp_path / "01_double.ipynb").read_bytes()
    source.write_text(EXERCISE + "\n# %%\nraise KeyError('lost\\nfound')\n", encoding="utf-8")
    with pytest.raises(NotebookFailed, match=r"^01_double failed in cell 3: KeyError: .* as it was\.$"):
        build(folder=tmp_path)
    assert (tmp_path / "01_double.ipynb").read_bytes() == before


def test_a_dying_kernel_is_a_failure_of_its_cell(tmp_path):
    store(tmp_path, "01_dies.ipynb", "x = 1", "import os\nos._exit(1)")
    (outcome,) = run(folder=tmp_path, build_folder=tmp_path / "build")
    assert outcome.verdict.startswith("failed in cell 2: the kernel died")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_an_interrupted_build_says_what_is_rebuilt_and_leaves_the_rest(tmp_path):
    write(tmp_path, "01_quick.py", "# %%\nprint(1)\n")
    write(tmp_path, "02_slow.py", "# %%\nfrom pathlib import Path\n\nprint(2)\n")
    build(folder=tmp_path)
    before = (tmp_path / "02_slow.ipynb").read_bytes()
    write(tmp_path, "01_quick.py", "# %%\nprint(2)\n")
    slow = "# %%\nimport time\nfrom pathlib import Path\n\nPath('started').touch()\ntime.sleep(60)\n"
    write(tmp_path, "02_slow.py", slow)
    command = (
        "import functools, pathlib, sys\n"
        "import course_lib.__main__, course_lib.publishing.build as module\n"
        "module.build = functools.partial(module.build, folder=pathlib.Path(sys.argv[1]))\n"
        "sys.exit(course_lib.__main__.main(['build']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", command, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    give_up = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < give_up:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=30)
    assert process.returncode == 130
    assert complaints.strip() == "Interrupted. 2 of 4 notebooks are rebuilt, the others are as they were."
    assert (tmp_path / "02_slow.ipynb").read_bytes() == before


# Running


def test_a_run_collects_headlines_and_carries_on_after_a_failure(tmp_path):
    write(tmp_path, "01_good.py", headline())
    write(tmp_path, "03_off.py", headline("9 +- 1", agrees=False))
    build(folder=tmp_path)
    store(tmp_path, "02_broken.ipynb", "print(1)", "undefined", "print(2)")
    store(tmp_path, "04_plain.ipynb", "print(4)")
    outcomes = run(folder=tmp_path, build_folder=tmp_path / "build")
    assert [(o.notebook, o.estimate, o.exact, o.verdict, o.ok) for o in outcomes] == [
        ("01_good", "18.2 +- 0.1", "18.21", "well", True),
        ("02_broken", "-", "-", "failed in cell 2: NameError: name 'undefined' is not defined", False),
        ("03_off", "9 +- 1", "18.21", "well", False),
        ("04_plain", "-", "-", "-", True),
    ]
    assert sorted(path.name for path in (tmp_path / "build").iterdir()) == sorted(
        f"{outcome.notebook}.{suffix}" for outcome in outcomes for suffix in ("html", "ipynb")
    )
    kept = code_cells(tmp_path / "build" / "02_broken.ipynb")
    assert [cell.execution_count for cell in kept] == [1, 2, None]
    assert "NameError" in (tmp_path / "build" / "02_broken.html").read_text(encoding="utf-8")


def test_a_log_shows_each_notebook_and_cell(tmp_path, capsys):
    store(tmp_path, "01_made.ipynb", "print(1)", "print(2)")
    run(folder=tmp_path, build_folder=tmp_path / "build")
    captured = capsys.readouterr()
    assert re.fullmatch(r"01_made: 2 cells\n  cell 1/2  \d+\.\d s\n  cell 2/2  \d+\.\d s\n", captured.out)
    assert captured.err == ""


def test_the_table_lines_up():
    outcomes = [
        Outcome("01_a", 1.25, "18.2", "18.21", "well"),
        Outcome("02_longer", 100, verdict="failed in cell 2", ok=False),
    ]
    assert table(outcomes).splitlines() == [
        "notebook   seconds  estimate  exact  verdict",
        "---------  -------  --------  -----  ----------------",
        "01_a           1.2  18.2      18.21  well",
        "02_longer    100.0  -         -      failed in cell 2",
    ]


def test_no_notebooks_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="There are no notebooks in"):
        run(folder=tmp_path, build_folder=tmp_path / "build")


@pytest.mark.parametrize("text", ["", "{}", "not JSON"])
def test_a_file_that_is_no_notebook_is_named(tmp_path, text):
    (tmp_path / "01_broken.ipynb").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"01_broken\.ipynb is not a notebook"):
        run(folder=tmp_path, build_folder=tmp_path / "build")


# The course's own notebooks

SOURCES = sorted((NOTEBOOKS / "source").glob("[0-9]*.py"))
FLAVOURS = [(source, solved) for source in SOURCES for solved in (False, True)]
each_notebook = pytest.mark.parametrize(
    "source, solved", FLAVOURS, ids=[f"{s.stem}-{'worked' if w else 'learner'}" for s, w in FLAVOURS]
)


def stored(source: Path, solved: bool) -> Path:
    return NOTEBOOKS / ("solutions" if solved else "") / f"{source.stem}.ipynb"


def test_every_source_has_its_notebooks_and_every_notebook_its_source():
    assert len(SOURCES) >= 2
    for folder in (NOTEBOOKS, NOTEBOOKS / "solutions"):
        assert [path.stem for path in sorted(folder.glob("*.ipynb"))] == [source.stem for source in SOURCES]


@each_notebook
def test_stored_notebooks_agree_with_their_sources(source, solved):
    expected = sources.read(source, solved=solved)
    found = nbformat.read(stored(source, solved), as_version=4)
    for n, (cell, wanted) in enumerate(zip(found.cells, expected.cells, strict=True), start=1):
        for key in ("cell_type", "source", "metadata", "id"):
            assert cell[key] == wanted[key], f"cell {n}: run `make notebooks`"
    # To look at a notebook in JupyterLab is enough for it to save more of the kernel's language.
    assert found.metadata.kernelspec.name == sources.METADATA["kernelspec"]["name"]
    assert found.metadata.language_info.name == "python"


@each_notebook
def test_stored_notebooks_were_run_from_top_to_bottom_without_complaint(source, solved):
    cells = code_cells(stored(source, solved))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert len(outputs) > len(cells) / 4
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]


@each_notebook
def test_each_figure_has_an_alternative_text_of_its_own(source, solved):
    outputs = [output for cell in code_cells(stored(source, solved)) for output in cell.outputs]
    figures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert figures
    texts = [figure.metadata.get("image/png", {}).get("alt", "") for figure in figures]
    assert all(len(text) >= 40 for text in texts)
    assert len(set(texts)) == len(texts)


@each_notebook
def test_each_notebook_has_exercises_and_one_headline_that_agrees(source, solved):
    cells = code_cells(stored(source, solved))
    assert sum(sources.has_tag(cell, "exercise") for cell in cells) >= 4
    (cell,) = (cell for cell in cells if sources.has_tag(cell, "headline"))
    (comparison,) = (output.data[COMPARISON_MIME] for output in cell.outputs if "data" in output)
    assert comparison["agrees"] is True
    assert all(comparison[key] for key in ("estimate", "exact", "verdict"))


@each_notebook
def test_no_solution_is_left_in_a_learners_notebook_and_no_blank_in_a_worked_one(source, solved):
    text = "\n".join(cell.source for cell in code_cells(stored(source, solved)))
    assert sources.BEGIN not in text
    assert sources.END not in text
    assert (sources.BLANK in text) is not solved
