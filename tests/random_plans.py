"""Plans for hypothesis: chains, parallel tasks, diamonds and random graphs, listed in any order."""

from itertools import combinations

from hypothesis import settings
from hypothesis import strategies as st

from course_lib.projects import Project

# The same examples on every run, however long one takes.
repeatable = settings(derandomize=True, deadline=None)


@st.composite
def plans(draw, max_tasks=8):
    n = draw(st.integers(1, max_tasks))
    shape = draw(st.sampled_from(["chain", "parallel", "diamond", "random"]))
    linked = {
        "chain": lambda i, j: j == i + 1,
        "parallel": lambda i, j: False,
        "diamond": lambda i, j: i == 0 or j == n - 1,
        "random": lambda i, j: draw(st.booleans()),
    }[shape]
    edges = [(i, j) for i, j in combinations(range(n), 2) if linked(i, j)]
    means = draw(st.lists(st.floats(0.25, 8), min_size=n, max_size=n))
    listed = draw(st.permutations(range(n)))
    return Project(
        {f"t{j}": means[j] for j in listed},
        {f"t{j}": [f"t{i}" for i, k in edges if k == j] for j in listed},
    )
