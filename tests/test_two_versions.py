"""The learner's notebook and the worked one differ in exercises and what checks say of them, and in nothing else.

So `make test` runs the worked notebooks alone and compares their outputs; `python -m course_lib run`, the test of
JupyterLab and `pytest notebooks` run the learner's.
"""

import nbformat
import pytest
from test_pacing import globals_of

from course_lib.publishing import NOTEBOOKS
from course_lib.publishing.sources import has_tag

WORKED = sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))


@pytest.fixture(params=WORKED, ids=[path.stem for path in WORKED])
def versions(request):
    """The cells of both, in pairs: learner's, worked."""
    learners, worked = (nbformat.read(path, as_version=4) for path in (NOTEBOOKS / request.param.name, request.param))
    return list(zip(learners.cells, worked.cells, strict=True))


def says_a_verdict(cell):
    return cell.cell_type == "code" and cell.source.startswith(("check.", "progress("))


def test_they_have_the_same_cells_but_for_exercises(versions):
    exercises = [(learners, worked) for learners, worked in versions if has_tag(worked, "exercise")]
    assert len(exercises) >= 4
    assert all(learners.source != worked.source for learners, worked in exercises)
    for learners, worked in versions:
        assert learners.id == worked.id
        assert learners.source == worked.source or has_tag(worked, "exercise")


def test_what_an_exercise_defines_is_read_by_checks_alone(versions):
    defined = set()
    for _, cell in versions:
        if cell.cell_type != "code":
            continue
        read, made = globals_of(compile(cell.source, "cell", "exec"))
        if has_tag(cell, "exercise"):
            defined |= made
        elif not says_a_verdict(cell):
            assert not read & defined, cell.source


def test_they_show_the_same_but_for_verdicts(versions):
    differ = []
    for learners, worked in versions:
        if worked.cell_type == "code" and not has_tag(worked, "nbval-ignore-output"):
            one, two = ([shown(output) for output in cell.outputs] for cell in (learners, worked))
            if one != two:
                differ.append(worked)
    assert differ
    assert all(says_a_verdict(cell) or has_tag(cell, "exercise") for cell in differ)


def shown(output):
    """An output as nbval compares it: figures by there being one."""
    data = {kind: value for kind, value in output.get("data", {}).items() if kind != "image/png"}
    return output.output_type, "image/png" in output.get("data", {}), output.get("text"), data
