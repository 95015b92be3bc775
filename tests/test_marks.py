"""A class's marks: right rows from honest notebooks, and one row that says so from those that are not."""

import csv
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import nbformat
import psutil
import pytest
import simulated_class as simulated
from nbformat.v4 import new_code_cell, new_notebook

from course_lib.publishing import NOTEBOOKS, marks
from course_lib.publishing.marking import exercises, judging, kernel, steps, submissions, table
from course_lib.publishing.marking.page import page

COURSE = exercises.assignments()
FIRST = simulated.assignment()
LIMITS = {"seconds": 300, "cell_seconds": 8, "gigabytes": 0.8}


def hand_in(folder, *participants):
    for participant in participants:
        participant.hand_in(folder / f"{participant.name}_01_monte_carlo.ipynb")
    return folder


def untouched(name):
    return simulated.filled_in(name, simulated.cut_down(), {})


def with_first(name, code, *, right=0):
    """Somebody who has the first two right and, in a cell before the second, this code."""
    participant = simulated.filled_in(
        name, simulated.cut_down(), {"01.standard_error": (True, right), "01.mean_of_max": (True, 0)}
    )
    cells = participant.notebook.cells
    place = [cell.id for cell in cells].index(FIRST.exercises[2].answer_id)
    cells.insert(place, new_code_cell(code))
    return participant


def of(found, participant):
    return {mark.exercise: mark for mark in found if mark.participant == participant}


def as_expected(found, participant):
    """Whether the rows are those that were put in, and perhaps one about the whole notebook."""
    rows = of(found, participant.name)
    for exercise, (status, words) in participant.expected.items():
        assert rows[exercise].status == status, rows[exercise]
        assert words in rows[exercise].hint, rows[exercise]
    assert rows.keys() - participant.expected.keys() <= {""}
    return rows


# Which cells


def test_the_course_has_the_exercises_of_its_checks():
    of_checks = exercises.assignments(Path("there is none"))
    assert [a.number for a in of_checks] == [a.number for a in COURSE] == ["01", "02", "03", "04", "05", "06"]
    for ours, theirs in zip(COURSE, of_checks, strict=True):
        assert {(e.name, e.number) for e in ours.exercises} == {(e.name, e.number) for e in theirs.exercises}
        assert all(e.title.startswith(f"Exercise {e.number}") and e.answers for e in ours.exercises)


def test_a_learners_copy_runs_up_to_its_last_check_with_the_courses_own_checks():
    for assignment in COURSE:
        cells = simulated.blank(assignment.number).cells
        found = steps.steps(cells, assignment)
        assert [s.exercise for s in found if s.is_check] == list(assignment.exercises)
        assert found[-1].is_check
        assert not any(s.is_attempt for s in found)
        assert {s.exercise for s in found if not s.is_check and s.exercise} == set(assignment.exercises)


def test_checks_come_back_whatever_became_of_their_cells():
    whole = steps.steps(simulated.cut_down().cells, FIRST)
    codes = [step.code for step in whole if step.is_check]
    deleted, edited, answered = simulated.cut_down(), simulated.cut_down(), simulated.cut_down()
    ids = [exercise.check_id for exercise in FIRST.exercises]
    deleted.cells = [cell for cell in deleted.cells if cell.id not in ids]
    for cell in edited.cells:
        if cell.id in ids:
            cell.source = "print('✓ right')"
    for cell in answered.cells:
        if cell.id == ids[0]:
            cell.source = f"def standard_error(samples):\n    return 1.0\n\n{cell.source}"
    assert [step.code for step in steps.steps(deleted.cells, FIRST) if step.is_check] == codes
    assert [step.code for step in steps.steps(edited.cells, FIRST) if step.is_check] == codes
    found = steps.steps(answered.cells, FIRST)
    assert [step.code for step in found if step.is_check] == codes
    assert any(step.is_attempt and "return 1.0" in step.code for step in found)


def test_cells_without_ids_are_known_by_what_they_define():
    notebook = simulated.cut_down()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"other-{number}"
    found = steps.steps(notebook.cells, FIRST)
    assert [s.exercise for s in found if s.is_check] == list(FIRST.exercises)
    assert [s.exercise for s in found if not s.is_check][1:] == list(FIRST.exercises)


def test_an_exercise_of_which_nothing_is_left_is_not_run():
    notebook = simulated.cut_down()
    gone = {FIRST.exercises[3].answer_id, FIRST.exercises[3].check_id}
    notebook.cells = [cell for cell in notebook.cells if cell.id not in gone]
    assert FIRST.exercises[3] not in {step.exercise for step in steps.steps(notebook.cells, FIRST)}


def test_without_the_courses_notebooks_a_learners_own_checks_are_used():
    of_checks = next(a for a in exercises.assignments(Path("there is none")) if a.number == "01")
    notebook = simulated.cut_down()
    code, _ = simulated.answer("01.mean_of_max", right=True, which=0)
    simulated.fill_in(notebook, "01.mean_of_max", code)
    found = steps.steps(notebook.cells, of_checks)
    assert [s.exercise.name for s in found if s.is_check] == [e.name for e in FIRST.exercises]
    assert [s.exercise.name for s in found if s.is_attempt] == ["01.mean_of_max"]


# Which files


@pytest.mark.parametrize(
    ("name", "participant"),
    [
        ("anna/01_monte_carlo.ipynb", "anna"),
        ("anna/hand in/deep/01_monte_carlo (1).ipynb", "anna"),
        ("anna_01_monte_carlo.ipynb", "anna"),
        ("01_monte_carlo-anna maria.ipynb", "anna maria"),
        ("anna 01 Monte Carlo (2).ipynb", "anna"),
        ("anna_01_monte_carlo-Copy1.ipynb", "anna"),
        ("anna.ipynb", "anna"),
        ("student_01.ipynb", "student_01"),
        ("01_monte_carlo.ipynb", "01_monte_carlo"),
        ("Zoë.ipynb", "Zoë"),
    ],
)
def test_a_participant_is_called_like_the_folder_or_the_file(tmp_path, name, participant):
    untouched("x").hand_in(tmp_path / name)
    (found,) = submissions.find(tmp_path, COURSE, leave_out=tmp_path / "out")
    assert found.participant == participant


def test_what_is_hidden_or_a_result_or_a_link_is_no_submission(tmp_path):
    for name in (".ipynb_checkpoints/a.ipynb", "__MACOSX/b.ipynb", "anna/.ipynb_checkpoints/c.ipynb", "out/d.ipynb"):
        untouched("x").hand_in(tmp_path / name)
    untouched("x").hand_in(tmp_path / "anna/e.ipynb")
    (tmp_path / "ben").mkdir()
    found = submissions.find(tmp_path, COURSE, leave_out=(tmp_path / "out").resolve())
    assert [(s.path.name, s.participant) for s in found] == [("e.ipynb", "anna"), ("ben", "ben")]


def test_a_notebook_is_known_by_its_exercises_whatever_it_is_called(tmp_path):
    for assignment in COURSE:
        cells = simulated.blank(assignment.number).cells
        assert submissions.identify(tmp_path / "01_monte_carlo.ipynb", cells, COURSE) == assignment
    assert submissions.identify(tmp_path / "anna_03_elbo.ipynb", [], COURSE).number == "03"
    with pytest.raises(submissions.Unreadable, match="none of the course's notebooks"):
        submissions.identify(tmp_path / "anna.ipynb", [new_code_cell("1 + 1")], COURSE)


def test_what_is_no_notebook_is_one_row_that_says_so(tmp_path):
    files = {
        "nothing": (b"", "is empty"),
        "blank": (b" \n", "is empty"),
        "text": (b"Dear all, here is my answer.", "no notebook"),
        "list": (b"[1, 2]", "no notebook"),
        "other": (b'{"cells": 3, "nbformat": 4}', "no notebook"),
        "odd cells": (b'{"cells": [{"cell_type": 1, "source": 2}], "nbformat": 4}', "no notebook"),
        "deep": (b"[" * 200_000, "no notebook"),
        "bytes": (b"\xff\xfe\x00", "no notebook"),
    }
    for name, (contents, _) in files.items():
        (tmp_path / "class" / name).mkdir(parents=True)
        (tmp_path / "class" / name / "01_monte_carlo.ipynb").write_bytes(contents)
    (tmp_path / "class" / "no file").mkdir()
    found = {mark.participant: mark for mark in marks.marks(tmp_path / "class", tmp_path / "out", say=lambda _: None)}
    assert found.keys() == files.keys() | {"no file"}
    assert {mark.status for mark in found.values()} == {"unreadable"}
    assert {mark.notebook for name, mark in found.items() if name in files} == {"01_monte_carlo"}
    for name, (_, words) in files.items():
        assert words in found[name].hint
    assert "no notebook in this folder" in found["no file"].hint


def test_what_lies_beside_a_notebook_comes_along_and_a_course_lib_does_not(tmp_path):
    folder = tmp_path / "anna"
    for name in ("plan.csv", "pictures/a.png", "course_lib/__init__.py", ".git/config", "other.ipynb", "course_lib.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    submission = submissions.Submission(folder / "01.ipynb", "anna", folder, with_folders=True)
    first = submissions.copy_companions(submission, tmp_path / "copy")
    copied = [p.relative_to(tmp_path / "copy").as_posix() for p in (tmp_path / "copy").rglob("*") if p.is_file()]
    assert sorted(copied) == ["pictures/a.png", "plan.csv"]
    (folder / "plan.csv").write_text("changed")
    assert submissions.copy_companions(submission, tmp_path / "copy") != first


# The class


def with_start(assignment):
    """The cell that imports everything counts as the course's: on a busy machine it may take its time."""
    return dataclasses.replace(assignment, handed_out=assignment.handed_out | {simulated.START})


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    """Some of the simulated class and some worse, run once: participants, rows, lines said, folder."""
    folder = tmp_path_factory.mktemp("classroom")
    everybody = {p.name: p for p in simulated.a_class(simulated.cut_down())}
    some = [everybody[name] for name in ("Ada", "Ben", "Kim", "Gus", "Olu", "Tom", "Pia", "Uma", "Wen", "Zoe")]
    forks = with_first("forks", simulated.FORKS.replace("'marks-child'", repr(str(folder / "child"))))
    early = with_first("early error", "this is no Python\n")
    shadows = with_first("shadows", "check = print = None\nimport os\nsecret = os.environ['COURSE_TEST_SECRET']")
    hand_in(folder / "class", *some, forks, early, shadows)
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_TEST_SECRET", "xyzzy")
        patch.setattr(marks, "assignments", lambda: tuple(map(with_start, COURSE)))
        found = marks.marks(folder / "class", folder / "out", jobs=2, say=said.append, **LIMITS)
    return {p.name: p for p in (*some, forks, early, shadows)}, found, said, folder


@pytest.mark.parametrize(
    "name", ["Ada", "Ben", "Kim", "Gus", "Olu", "Tom", "Pia", "Uma", "Wen", "Zoe", "forks", "early error", "shadows"]
)
def test_a_participant_gets_the_rows_that_were_put_in(classroom, name):
    participants, found, _, _ = classroom
    as_expected(found, participants[name])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Ben", "longer than 8 s"),
        ("Kim", "could not be interrupted"),
        ("Gus", "exit code 3"),
        ("Olu", "more than 20 MB"),
        ("Tom", "memory"),
    ],
)
def test_one_row_says_what_stopped_a_notebook(classroom, name, words):
    _, found, _, _ = classroom
    stopped = [mark for mark in found if mark.participant == name and mark.status == "stopped"]
    assert len(stopped) == 1
    assert words in stopped[0].hint


def test_nothing_that_a_notebook_starts_is_left(classroom):
    child = int((classroom[3] / "child").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_the_warning_comes_first_and_each_notebook_is_told(classroom):
    participants, _, said, _ = classroom
    assert "other people wrote" in said[0]
    assert "docker run --rm --network none" in said[0]
    assert all(sum(f"/{len(participants)}] {name}, " in line for line in said) == 1 for name in participants)


def test_the_csv_has_the_columns_and_the_rows(classroom):
    _, found, _, folder = classroom
    with (folder / "out" / "marks.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["participant", "notebook", "exercise", "status", "hint"]
    assert len(rows) == len(found)
    assert {row["status"] for row in rows} == set(table.STATUSES)


def test_what_has_not_changed_is_not_run_again(classroom, monkeypatch):
    _, found, _, folder = classroom
    ran = []

    def run(*_, participant, **__):
        ran.append(participant)
        return [marks.Mark(participant, FIRST.name, "", "stopped", "")]

    monkeypatch.setattr(marks, "judge", run)
    said: list[str] = []
    again = marks.marks(folder / "class", folder / "out", say=said.append, **LIMITS)
    assert ran == []
    assert again == found
    # With another limit those may go on that one has stopped.
    marks.marks(folder / "class", folder / "out", say=said.append, **LIMITS | {"cell_seconds": 9})
    stopped = {mark.participant for mark in found if mark.status == "stopped"}
    assert sorted(ran) == sorted(stopped) == ["Ben", "Gus", "Kim", "Olu", "Tom"]
    # What has changed is run again, and nothing else.
    ran.clear()
    path = folder / "class" / "Ada_01_monte_carlo.ipynb"
    path.write_text(path.read_text(encoding="utf-8").replace("numpy", "numpy "), encoding="utf-8")
    marks.marks(folder / "class", folder / "out", say=said.append, **LIMITS | {"cell_seconds": 9})
    assert ran == ["Ada"]


def test_submissions_are_as_they_were(classroom):
    participants, _, _, folder = classroom
    names = {path.name for path in (folder / "class").iterdir()}
    assert names == {f"{name}_01_monte_carlo.ipynb" for name in participants}


class Scripted:
    """A kernel that says what it is told to, by words of the cell."""

    says: ClassVar[dict[str, kernel.Said]] = {}

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, code, seconds):
        return next((said for words, said in self.says.items() if words in code), kernel.Said())


@pytest.mark.parametrize(
    ("says", "status", "words"),
    [
        ({"def upper_bound": kernel.Said(error="SyntaxError: '(' was never closed")}, "wrong", "'(' was never closed"),
        ({"def upper_bound": kernel.Said(stopped="it took longer.")}, "stopped", "the answer's cell: it took longer."),
        ({"check.upper_bound": kernel.Said(stopped="it took longer.")}, "stopped", "the check: it took longer."),
        ({"check.upper_bound": kernel.Said(error="NameError: no")}, "wrong", "the check stops with NameError: no"),
        ({}, "wrong", "the check said nothing"),
        ({"check.upper_bound": kernel.Said([{"exercise": "02.own_plan", "status": "right"}])}, "wrong", "said nothing"),
        ({"check.upper_bound": kernel.Said([{"exercise": "01.upper_bound", "status": "A+"}])}, "wrong", "said nothing"),
    ],
    ids=["syntax", "answer hangs", "check hangs", "no name", "silence", "another's verdict", "no verdict"],
)
def test_without_a_verdict_the_row_says_why(tmp_path, monkeypatch, says, status, words):
    monkeypatch.setattr(judging, "Kernel", Scripted)
    monkeypatch.setattr(Scripted, "says", says)
    notebook = simulated.cut_down()
    simulated.fill_in(notebook, "01.upper_bound", "def upper_bound(n):\n    return 0.1")
    found = judge(notebook, tmp_path)
    assert (found["01.upper_bound"].status, found["01.mean_of_max"].status) == (status, "not attempted")
    assert words in found["01.upper_bound"].hint


def test_a_cell_of_no_exercise_that_had_to_be_stopped_is_one_row_more(tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "Kernel", Scripted)
    monkeypatch.setattr(Scripted, "says", {"import numpy": kernel.Said(stopped="it printed too much.")})
    found = judge(simulated.cut_down(), tmp_path)
    assert found[""].status == "stopped"
    assert found[""].hint == "code cell 1: it printed too much. The notebook went on."


def judge(notebook, folder):
    found = judging.judge(
        steps.steps(notebook.cells, FIRST),
        FIRST,
        participant="anna",
        files=folder,
        limits=kernel.Limits(1, 1, 1),
        cancelled=threading.Event(),
    )
    return {mark.exercise: mark for mark in found}


# Limits, one by one


def run_in_kernel(tmp_path, *codes, cell=60.0, **limits):
    for name in ("files", "home/tmp"):
        (tmp_path / name).mkdir(parents=True)
    limits = kernel.Limits(**{"seconds": 300, "cell_seconds": cell, "gigabytes": 1} | limits)
    with kernel.Kernel(tmp_path / "files", tmp_path / "home", limits, threading.Event()) as running:
        return [running.run(*(code if isinstance(code, tuple) else (code, cell))) for code in codes]


def test_a_kernel_goes_on_after_what_can_be_interrupted_and_after_too_much_output(tmp_path):
    codes = [simulated.PRINTS_ON, ("import time\ntime.sleep(60)", 3), "print('x' * 100_000_000)", "1 / 0"]
    before = psutil.Process().memory_info().rss
    found = run_in_kernel(tmp_path, *codes, "exit_code = !exit 3", "input()", "1")
    assert "more than 20 MB" in found[0].stopped
    assert "longer than 3 s" in found[1].stopped
    assert "more than 20 MB" in found[2].stopped
    assert [said.error.partition(":")[0] for said in found[3:]] == [
        "ZeroDivisionError",
        "",
        "StdinNotImplementedError",
        "",
    ]
    assert psutil.Process().memory_info().rss - before < 200e6


def test_a_kernel_knows_little_of_our_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_TEST_SECRET", "xyzzy")
    codes = ["import os\nassert 'xyzzy' not in os.environ.values()", "assert os.path.expanduser('~').endswith('home')"]
    assert [said.error for said in run_in_kernel(tmp_path, *codes)] == ["", ""]


def test_a_whole_notebook_that_takes_too_long_ends(tmp_path):
    with pytest.raises(kernel.KernelEnded, match="the whole notebook took longer than 4 s"):
        run_in_kernel(tmp_path, *["import time\ntime.sleep(1)"] * 9, seconds=4)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a running process not to ask for more memory")
def test_a_single_huge_request_is_refused_before_it_is_made(tmp_path):
    assert "MemoryError" in run_in_kernel(tmp_path, "b'x' * 40_000_000_000")[0].error


# An interruption


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGINT to send")
def test_ctrl_c_leaves_what_is_done_and_says_how_to_go_on(tmp_path):
    quick = new_notebook(cells=[new_code_cell("def standard_error(samples):\n    return 1.0")])
    simulated.Participant("a quick one", quick).hand_in(tmp_path / "class" / "a_01_monte_carlo.ipynb")
    simulated.Participant("b", with_first("b", "import time\ntime.sleep(300)").notebook).hand_in(
        tmp_path / "class" / "b_01_monte_carlo.ipynb"
    )
    code = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\nfrom course_lib.publishing.marks import marks\n"
        "marks(Path('class'), Path('out'), jobs=1, say=lambda line: print(line, flush=True))"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for line in running.stdout:
        if line.startswith(b"[1/2] a"):
            break
    time.sleep(1)
    children = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert b"1 of 2 notebooks are done" in errors
    assert b"The same command goes on" in errors
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "marks.csv").read_text(encoding="utf-8"))))
    assert {row["participant"] for row in rows} == {"a"}
    assert len(list((tmp_path / "out" / "submissions").iterdir())) == 1


# Arguments


def test_wrong_folders_and_limits_are_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        marks.marks(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(ValueError, match="There is no notebook in"):
        (tmp_path / "class").mkdir()
        marks.marks(tmp_path / "class", tmp_path / "out")
    with pytest.raises(ValueError, match="need a folder of their own"):
        marks.marks(tmp_path / "class", tmp_path)
    with pytest.raises(ValueError, match="gigabytes must be positive; got 0"):
        marks.marks(tmp_path / "class", tmp_path / "out", gigabytes=0)


# Table and page


def a_mark(participant, exercise, status, hint=""):
    return marks.Mark(participant, FIRST.name, exercise.name if exercise else "", status, hint)


@pytest.fixture
def some_marks():
    first, second, third = FIRST.exercises[:3]
    found = [a_mark("<b>Eve</b>", e, "right") for e in FIRST.exercises]
    found += [a_mark("=Ada", first, "wrong", "yours is 3.1 & not 2"), a_mark("=Ada", second, "right")]
    found += [a_mark("=Ada", None, "stopped", "code cell 7: the kernel died of SIGSEGV.")]
    found += [a_mark("Ben", first, "wrong", "yours is 4.5 & not 2"), a_mark("Ben", third, "not attempted")]
    found += [marks.Mark("Zoe", "", "", "unreadable", "zoe.ipynb: the file is empty.")]
    return found


def test_the_matrix_has_a_mark_for_everybody_and_everything(some_marks):
    rows = table.matrix(some_marks, FIRST)
    assert list(rows) == ["<b>Eve</b>", "=Ada", "Ben"]
    assert [mark.status for mark in rows["=Ada"]] == ["wrong", "right"] + ["stopped"] * 5
    assert [mark.status for mark in rows["Ben"]] == ["wrong"] + ["not attempted"] * 6
    assert "Zoe" in table.as_text(some_marks, COURSE)


def test_a_spreadsheet_takes_nothing_for_a_formula(some_marks):
    rows = list(csv.reader(io.StringIO(table.as_csv(some_marks).decode())))
    assert not any(value.startswith("=") for row in rows for value in row)


def test_the_page_needs_nothing_else_and_lets_no_html_through(some_marks):
    tags: list[str] = []
    elsewhere = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)
            elsewhere.extend(value for name, value in attrs if name in ("src", "href"))

    text = page(some_marks, COURSE)
    Links().feed(text)
    assert elsewhere == []
    assert {"svg", "table"} <= set(tags)
    assert "script" not in tags
    assert "<b>Eve" not in text
    # Two hints that differ in a number are one, and the picture says in words what it shows.
    assert "<b>2 ×</b> yours is 3.1 &amp; not 2" in text
    assert "exercise 1, standard error: 1 right, 2 wrong" in text


def test_a_page_while_notebooks_are_still_running_says_so(some_marks):
    assert "3 more are still to run" in page(some_marks, COURSE, n_missing=3)
    assert "still to run" not in page([], COURSE)


def test_kept_results_of_another_version_or_damaged_ones_are_not_used(tmp_path, some_marks):
    submission = submissions.Submission(tmp_path / "a.ipynb", "Ben", tmp_path, with_folders=False)
    limits = kernel.Limits(1, 1, 1)
    kept = marks._Kept(tmp_path, submission, "key", limits)
    assert kept.read() is None
    kept.write([mark for mark in some_marks if mark.participant == "Ben"])
    assert len(kept.read()) == 2
    assert marks._Kept(tmp_path, submission, "another", limits).read() is None
    kept.path.write_text(json.dumps({"marks": 3}))
    assert kept.read() is None


def test_stored_notebooks_are_identified_too():
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        assert submissions.identify(Path("anna.ipynb"), cells, COURSE).name == path.stem
