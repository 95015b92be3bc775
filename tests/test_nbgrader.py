"""The course in nbgrader: verdicts become points, held against nbgrader itself where it is installed."""

import os
import sys
from pathlib import Path

import nbformat
import pytest

from course_lib.publishing import NOTEBOOKS, sources
from course_lib.publishing.nbgrader_course import graded, nbgrader_course

# nbgrader's own use of its database.
pytestmark = pytest.mark.filterwarnings("ignore:Object of type <Submitted")

NAME = "01_monte_carlo"
SOURCES = sources.find(NOTEBOOKS / "source")
SOURCE = NOTEBOOKS / "source" / f"{NAME}.py"

EXERCISE = """\
# %% [markdown]
# # Doubling
#
# Try it. Worked versions lie in the folder `solutions`.

# %% tags=["exercise"]
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


# %%
check.double(double)

# %%
check.double_again(double)

# %% tags=["widget"]
slider()
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "source" / "01_double.py"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return path


def test_an_exercise_is_to_be_filled_in_and_each_check_below_it_counts_a_point(tmp_path):
    text, answer, check, again, slider = graded(write(tmp_path, EXERCISE)).cells
    assert text.source.startswith("# Doubling\n\nTry it. Each check counts one point.")
    assert answer.source == "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"
    common = {"schema_version": 3, "task": False}
    assert answer.metadata.nbgrader == {
        "grade_id": "double_answer",
        "grade": False,
        "solution": True,
        "locked": False,
        **common,
    }
    for cell, name in ((check, "double"), (again, "double_again")):
        assert cell.source == f"verdict = check.{name}(double)\ndisplay(verdict)\nverdict.assert_right()  # the point"
        assert cell.metadata == {
            "tags": ["raises-exception"],
            "nbgrader": {
                "grade_id": name,
                "grade": True,
                "solution": False,
                "locked": True,
                "points": 1,
                **common,
            },
        }
    assert slider.metadata.tags == ["widget", "nbval-ignore-output", "skip-execution"]


def test_an_exercise_without_a_check_is_an_error_and_leaves_nothing(tmp_path):
    write(tmp_path, EXERCISE.partition("# %%\ncheck")[0])
    with pytest.raises(ValueError, match=r"^01_double.py: the last exercise has no check below it\.$"):
        nbgrader_course(tmp_path / "course", folder=tmp_path, say=[].append)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_folder_that_has_something_is_left_alone(tmp_path):
    (tmp_path / "gradebook.db").touch()
    with pytest.raises(ValueError, match="is there already: remove it, or choose another folder"):
        nbgrader_course(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["gradebook.db"]


@pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])
def test_every_exercise_and_every_check_of_the_course_has_a_name_of_its_own(source):
    cells = [cell for cell in graded(source).cells if cell.cell_type == "code"]
    known = [cell.metadata.nbgrader for cell in cells if "nbgrader" in cell.metadata]
    names = [entry.grade_id for entry in known]
    assert len(set(names)) == len(names)
    assert [cell for cell in cells if "BEGIN SOLUTION" in cell.source] == [
        cell for cell in cells if cell.metadata.get("nbgrader", {}).get("solution")
    ]
    assert sum(entry.get("points", 0) for entry in known) == sum("check." in cell.source for cell in cells) > 0
    # The cells' own names for things are not overwritten.
    assert not any(
        line.startswith("verdict =")
        for cell in sources.read(source, solved=True).cells
        for line in cell.source.split("\n")
    )


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """nbgrader, in a course folder with the assignment of the first notebook."""
    reason = "needs nbgrader: pip install -e .[nbgrader]"
    apps = pytest.importorskip("nbgrader.apps", reason=reason)
    from traitlets.config.loader import PyFileConfigLoader

    folder = nbgrader_course(tmp_path_factory.mktemp("nbgrader") / "course", say=[].append)
    config = PyFileConfigLoader("nbgrader_config.py", path=str(folder)).load_config()
    config.CourseDirectory.root = str(folder)
    with pytest.MonkeyPatch.context() as environment:
        # nbgrader calls a program that is installed with it.
        environment.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        api = apps.NbGraderAPI(config=config)
        done = api.generate_assignment(NAME)
        assert done["success"], done["log"] + done["error"]
        yield api


def released(course) -> nbformat.NotebookNode:
    return nbformat.read(Path(course.coursedir.root, "release", NAME, f"{NAME}.ipynb"), as_version=4)


def with_answers(notebook: nbformat.NotebookNode, answered) -> nbformat.NotebookNode:
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = answered(cell)
    return notebook


def cut(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """What a learner may leave: the imports, the plan, some projects, the exercises, the checks; to save time."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    needed = ("plan = Project.example()", "rng = np.random.default_rng(0)")
    notebook.cells = [code[0], *(c for c in code if "nbgrader" in c.metadata or c.source.startswith(needed))]
    return notebook


def autograde(course, participant: str, notebook: nbformat.NotebookNode) -> tuple[float, list[str]]:
    """The score, and the error of each check."""
    submitted = Path(course.coursedir.root, "submitted", participant, NAME, f"{NAME}.ipynb")
    submitted.parent.mkdir(parents=True)
    submitted.write_bytes(sources.as_bytes(notebook))
    done = course.autograde(NAME, participant)
    assert done["success"], done["log"] + done["error"]
    run = nbformat.read(Path(course.coursedir.root, "autograded", participant, NAME, f"{NAME}.ipynb"), as_version=4)
    errors = [
        f"{output.ename}: {output.evalue}"
        for cell in run.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
        for output in cell.outputs
        if output.output_type == "error"
    ]
    with course.gradebook as gradebook:
        submission = gradebook.find_submission(NAME, participant)
        assert submission.max_score == 7
        return submission.score, errors


def test_what_nbgrader_releases_is_the_learners_notebook(course):
    learners = sources.read(SOURCE, solved=False)
    for cell, ours in zip(released(course).cells, learners.cells, strict=True):
        if sources.has_tag(ours, "exercise"):
            assert cell.source == ours.source


def test_blank_answers_get_no_point(course):
    score, errors = autograde(course, "blank", cut(released(course)))
    assert score == 0
    assert len(errors) == 7
    assert all(error.startswith("AssertionError: … not attempted: ") for error in errors)


def test_wrong_answers_get_no_point(course):
    def wrong(cell):
        return cell.source.replace("...  # your code here", "return -1.0")

    score, errors = autograde(course, "wrong", cut(with_answers(released(course), wrong)))
    assert score == 0
    assert len(errors) == 7
    assert all(error.startswith("AssertionError: ✗ wrong: ") for error in errors)


def test_right_answers_get_all_points_even_with_warnings(course):
    worked = {cell.id: cell.source for cell in sources.read(SOURCE, solved=True).cells}
    notebook = cut(with_answers(released(course), lambda cell: worked[cell.id]))
    first = next(cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("solution"))
    first.source = first.source.replace("    return", "    import sys; print('a warning', file=sys.stderr)\n    return")
    assert autograde(course, "right", notebook) == (7, [])
