"""Project: what it reads, what it refuses and in which words, and how long a plan takes."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_plans import plans, repeatable

from course_lib.projects import Project

HEADER = "task,predecessors,mean_days\n"


@pytest.fixture
def read(tmp_path):
    """Reads a plan from the text, or the bytes, of a CSV file."""

    def from_content(content):
        path = tmp_path / "plan.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Project.from_csv(path)

    return from_content


def durations_of(plan, seed=0, shape=()):
    return plan.means * np.random.default_rng(seed).standard_exponential((*shape, len(plan.tasks)))


def longest_path(plan, durations):
    """The longest of all the paths from a task without predecessors to one without successors."""
    first = [task for task in plan.tasks if plan.graph.in_degree(task) == 0]
    last = [task for task in plan.tasks if plan.graph.out_degree(task) == 0]
    days = dict(zip(plan.tasks, durations, strict=True))
    paths = [path for a in first for path in ([[a]] if a in last else nx.all_simple_paths(plan.graph, a, last))]
    return max(sum(days[task] for task in path) for path in paths)


# Reading


def test_the_example_is_the_plan_of_the_course():
    plan = Project.example()
    assert plan.tasks == tuple(map(str, range(1, 11)))
    assert plan.means.tolist() == [4, 4, 2, 5, 2, 3, 2, 3, 2, 2]
    waits = {task: before for task, before in plan.predecessors.items() if before}
    assert waits == {
        **dict.fromkeys("23", ("1",)),
        **dict.fromkeys("45", ("2",)),
        **dict.fromkeys("678", ("3",)),
        "9": ("5", "6", "7"),
        "10": ("4", "8", "9"),
    }
    assert plan.makespan() == 15
    assert plan.critical_path() == ("1", "2", "4", "10")


def test_the_example_opens_from_any_folder(tmp_path, monkeypatch):
    here = Project.example()
    monkeypatch.chdir(tmp_path)
    assert Project.example() == here


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(HEADER + "a,,1\nb,,2\nc,a;b,3\n", id="semicolons"),
        pytest.param(HEADER + 'a,,1\nb,,2\nc,"a, b",3\n', id="quoted commas"),
        pytest.param("\ufeff" + HEADER + "a,,1\nb,,2\nc,a;b,3\n", id="byte-order mark"),
        pytest.param(HEADER + "\na,,1\n\n  \nb,,2\n,,\nc,a;b,3\n\n", id="blank lines"),
        pytest.param(" task , predecessors,mean_days \n a ,, 1\nb , ,2 \n c, a ; b ,3\n", id="spaces"),
        pytest.param("Task,PREDECESSORS,Mean_Days\na,,1\nb,,2\nc,a;b,3\n", id="header in other case"),
        pytest.param("id,mean_days,task,note,predecessors\n1,1,a,x,\n2,2,b,,\n3,3,c,y,a;b\n", id="more columns"),
        pytest.param((HEADER + "a,,1\nb,,2\nc,a;b,3").replace("\n", "\r\n"), id="Windows line ends"),
    ],
)
def test_every_usual_way_to_write_a_table_is_read(read, content):
    assert read(content) == Project({"a": 1, "b": 2, "c": 3}, {"c": ["a", "b"]})


def test_names_outside_ascii_are_read(read):
    assert read(HEADER + "Aufräumen,,1\n终点,Aufräumen,2\n").tasks == ("Aufräumen", "终点")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("a,c,1\nb,a,2\nc,b,3\n", ["row 2", "task 'a'", "circle", "a -> b -> c -> a", "remove"]),
        ("a,a,1\n", ["circle", "a -> a", "remove"]),
        ("a,,1\nb,x,2\n", ["row 3", "task 'b'", "'x'", "not a task", "correct its name"]),
        ("a,,1\nb,a;a,2\n", ["row 3", "task 'b'", "'a'", "twice", "once"]),
        ("a,,1\na,,2\n", ["row 3", "task 'a'", "another task of that name", "own name"]),
        ("a,,1\n\nb,a,0\n", ["row 4", "task 'b'", "0", "positive"]),
        ("a,,1\nb,a,-1\n", ["row 3", "task 'b'", "-1", "positive"]),
        ("a,,1\nb,a,nan\n", ["row 3", "task 'b'", "nan", "positive"]),
        ("a,,1\nb,a,inf\n", ["row 3", "task 'b'", "inf", "finite"]),
        ("a,,1\nb,a,soon\n", ["row 3", "task 'b'", "'soon'", "not a number", "2.5"]),
        ("a,,1\nb,a,\n", ["row 3", "task 'b'", "''", "not a number", "2.5"]),
        ("a,,1\nb,,1\nc,a,b,2\n", ["row 4", "task 'c'", "4 cells", "3", "quotes"]),
        ("a,,1\nb,a\n", ["row 3", "task 'b'", "2 cells", "3"]),
        ("a,,1\n,a,2\n", ["row 3", "no name", "column 'task'"]),
        ("", ["plan.csv", "no tasks", "add a row"]),
        ("a,,1_0\n", ["row 2", "task 'a'", "'1_0'", "not a number"]),
    ],
)
def test_bad_row_is_named_with_its_task_and_the_way_to_mend_it(read, rows, told):
    with pytest.raises(ValueError) as error:
        read(HEADER + rows)
    for part in told:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", ["empty", HEADER.strip()]),
        (" \n\n", ["empty", HEADER.strip()]),
        ("task,mean_days\na,1\n", ["no column 'predecessors'", HEADER.strip(), "task,mean_days"]),
        ("task,task,predecessors,mean_days\na,b,,1\n", ["more than one column 'task'", HEADER.strip()]),
        (HEADER + "a" * 200_000 + ",,1\n", ["no CSV table", "export it again"]),
        ("task;predecessors;mean_days\na;;1\n", ["separates its columns with ';'; separate them with commas"]),
        ((HEADER + "Aufräumen,,1\n").encode("latin-1"), ["not UTF-8", "0xe4", "CSV UTF-8"]),
        ((HEADER + "a,,1\n").encode("utf-16"), ["not UTF-8", "CSV UTF-8"]),
    ],
)
def test_bad_file_is_named_with_the_way_to_mend_it(read, content, told):
    with pytest.raises(ValueError) as error:
        read(content)
    for part in ["plan.csv", *told]:
        assert part in str(error.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv.*check the path"):
        Project.from_csv(tmp_path / "nowhere.csv")


def test_folder_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; name the CSV file in it"):
        Project.from_csv(tmp_path)


@pytest.mark.parametrize(
    ("mean_days", "predecessors", "told"),
    [
        ({}, {}, "no tasks"),
        ({"a": 1}, {"b": ["a"]}, "task 'b' has predecessors but no duration; give it one"),
        ({"a": 1, "b": 1}, {"b": ["x"]}, "task 'b': predecessor 'x' is not a task"),
        ({"a": 1, "b": 1}, {"b": ["a", "a"]}, "task 'b': predecessor 'a' is named twice"),
        ({"a": 1, "b": 1}, {"a": ["b"], "b": ["a"]}, "a -> b -> a"),
        ({"a": 0}, {}, "task 'a': the mean duration is 0"),
        ({"a": float("nan")}, {}, "task 'a': the mean duration is nan"),
        ({"a": None}, {}, "task 'a': the mean duration None is not a number"),
        ({"a": "long"}, {}, "task 'a': the mean duration 'long' is not a number"),
        ({"a": 10**400}, {}, "task 'a': the mean duration is inf; it must be a positive, finite number"),
    ],
)
def test_bad_plan_from_python_is_refused_by_task(mean_days, predecessors, told):
    with pytest.raises(ValueError, match=told):
        Project(mean_days, predecessors)


# Equality, other means, names


def test_equal_plans_are_equal_and_hash_alike():
    plan, other = Project({"a": 1, "b": 2}, {"b": ["a"]}), Project({"a": 1.0, "b": 2.0}, {"b": ("a",), "a": ()})
    assert plan == other
    assert hash(plan) == hash(other)


@pytest.mark.parametrize(
    "other",
    [
        Project({"a": 1, "b": 2}),
        Project({"a": 1, "b": 3}, {"b": ["a"]}),
        Project({"b": 2, "a": 1}, {"b": ["a"]}),
        Project({"a": 1, "c": 2}, {"c": ["a"]}),
        "a plan",
    ],
)
def test_different_plans_are_not_equal(other):
    assert Project({"a": 1, "b": 2}, {"b": ["a"]}) != other


def test_with_means_changes_only_the_means():
    plan = Project.example()
    doubled = plan.with_means(2 * plan.means)
    assert doubled.means.tolist() == (2 * plan.means).tolist()
    assert (doubled.tasks, doubled.predecessors) == (plan.tasks, plan.predecessors)
    assert plan == Project.example()
    with pytest.raises(ValueError, match=r"10 tasks; got means of shape \(9,\)"):
        plan.with_means(np.ones(9))
    with pytest.raises(ValueError, match="task '3': the mean duration is 0"):
        plan.with_means([1, 1, 0, 1, 1, 1, 1, 1, 1, 1])


def test_means_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        Project.example().means[0] = 1


def test_task_indices_are_positions_and_a_string_is_one_name():
    plan = Project.example()
    assert plan.task_indices(["10", "1"]) == [9, 0]
    assert plan.task_indices("10") == [9]
    assert plan.task_indices(plan.tasks) == list(range(10))
    with pytest.raises(ValueError, match="'11' is not a task of this plan; its tasks are 1, 2, 3"):
        plan.task_indices(["1", "11"])


def test_a_plan_shows_its_size_its_length_and_every_task():
    plan = Project.example()
    assert repr(plan) == "Project of 10 tasks, 15 days along 1 -> 2 -> 4 -> 10"
    assert plan._repr_html_().count("<tr>") == 11
    assert "<td>9</td><td>5, 6, 7</td><td>2</td>" in plan._repr_html_()


@settings(repeatable, max_examples=50)
@given(plan=plans())
def test_graph_and_order_follow_the_predecessors(plan):
    assert set(plan.graph.edges) == {(before, task) for task in plan.tasks for before in plan.predecessors[task]}
    assert [plan.graph.nodes[task]["mean_days"] for task in plan.tasks] == plan.means.tolist()
    assert sorted(plan.topological_order) == list(range(len(plan.tasks)))
    position = {j: place for place, j in enumerate(plan.topological_order)}
    for j, before in enumerate(plan.predecessor_indices):
        assert [plan.tasks[i] for i in before] == list(plan.predecessors[plan.tasks[j]])
        assert all(position[i] < position[j] for i in before)


# Completion times


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,), (2, 0)])
def test_completion_times_keep_the_leading_shape(shape):
    plan = Project.example()
    durations = durations_of(plan, shape=shape)
    times = plan.completion_times(durations)
    assert times.shape == shape
    assert times.ravel().tolist() == [float(plan.completion_times(row)) for row in durations.reshape(-1, 10)]
    assert plan.critical_tasks(durations).shape == durations.shape


@pytest.mark.parametrize("method", ["completion_times", "critical_tasks"])
def test_durations_that_cannot_be_are_refused(method):
    plan = Project.example()
    for durations in (np.ones(9), np.ones((10, 2)), 3.0):
        with pytest.raises(ValueError, match="last axis of 10 tasks; got shape"):
            getattr(plan, method)(durations)
    for bad in (np.nan, -1.0):
        durations = np.ones((2, 3, 10))
        durations[1, 0, 6] = bad
        with pytest.raises(ValueError, match=f"task '7' is {bad} days"):
            getattr(plan, method)(durations)


@settings(repeatable, max_examples=100)
@given(plan=plans(), seed=st.integers(0, 1000))
def test_completion_time_is_the_longest_of_all_paths(plan, seed):
    durations = durations_of(plan, seed)
    assert plan.completion_times(durations) == pytest.approx(longest_path(plan, durations), rel=1e-12)
    assert plan.makespan() == pytest.approx(longest_path(plan, plan.means), rel=1e-12)


@settings(repeatable, max_examples=100)
@given(plan=plans(), seed=st.integers(0, 1000))
def test_critical_tasks_form_a_path_that_takes_the_completion_time(plan, seed):
    durations = durations_of(plan, seed, (4,))
    critical = plan.critical_tasks(durations)
    assert (durations * critical).sum(axis=-1) == pytest.approx(plan.completion_times(durations), rel=1e-12)
    for mask in critical:
        path = [plan.tasks[j] for j in plan.topological_order if mask[j]]
        assert all(plan.graph.has_edge(*edge) for edge in pairwise(path))
    path = plan.critical_path()
    assert sum(plan.means[plan.task_indices(path)]) == pytest.approx(plan.makespan(), rel=1e-12)


def test_of_two_longest_paths_the_one_listed_first_is_critical():
    plan = Project({"a": 1, "b": 1, "c": 1}, {"c": ["b", "a"]})
    assert plan.critical_tasks(np.ones((2, 3))).sum(axis=-1).tolist() == [2, 2]
    assert Project({"x": 2, "y": 2}).critical_path() == ("x",)
    assert plan.critical_path() == ("b", "c")  # "b" is named first among the predecessors of "c"


@settings(repeatable, max_examples=50)
@given(plan=plans(), seed=st.integers(0, 1000), factor=st.floats(0.01, 100))
def test_longer_tasks_never_finish_a_project_sooner(plan, seed, factor):
    durations = durations_of(plan, seed)
    longer = durations + np.eye(len(plan.tasks))  # a day more for each task in turn
    days_lost = plan.completion_times(longer) - plan.completion_times(durations)
    assert (days_lost >= 0).all()
    assert (days_lost <= 1 + 1e-9).all()
    assert days_lost[plan.critical_tasks(durations)] == pytest.approx(1)
    assert plan.completion_times(factor * durations) == pytest.approx(factor * plan.completion_times(durations))


@settings(repeatable, max_examples=50)
@given(plan=plans(), seed=st.integers(0, 1000), data=st.data())
def test_order_names_and_implied_predecessors_change_no_completion_time(plan, seed, data):
    durations = durations_of(plan, seed, (3,))
    order = data.draw(st.permutations(range(len(plan.tasks))))
    implied = nx.transitive_closure_dag(plan.graph)
    other = Project(
        {f"new {plan.tasks[j]}": plan.means[j] for j in order},
        {f"new {task}": [f"new {before}" for before in implied.predecessors(task)] for task in plan.tasks},
    )
    assert other.completion_times(durations[:, order]) == pytest.approx(plan.completion_times(durations), rel=1e-12)


def test_python_plans_are_forgiving_where_the_meaning_is_plain():
    plain = Project({"1": 4, "2": 3}, {"2": ["1"]})
    assert Project({1: 4, 2: 3}, {1: None, 2: [1]}) == plain
    assert Project({"1": 4, "2": 3}, {"2": "1"}) == plain
    assert Project({"a": 1, "b": 1, "c": 1}, {"c": ["a", "b"]}) == Project({"a": 1, "b": 1, "c": 1}, {"c": ["b", "a"]})
