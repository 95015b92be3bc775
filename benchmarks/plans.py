"""Plans of any size, for what depends on how many tasks there are."""

import numpy as np

from course_lib.projects import Project


def layered(n_tasks: int, reach: int = 8) -> Project:
    """A random plan: each task waits for one to three of the ``reach`` listed before it, means are 1 to 5 days."""
    rng = np.random.default_rng(n_tasks)
    means = dict(enumerate(rng.uniform(1, 5, n_tasks).tolist()))
    before = {
        task: np.unique(rng.integers(max(0, task - reach), task, size=rng.integers(1, 4))).tolist()
        for task in range(1, n_tasks)
    }
    return Project({str(task): mean for task, mean in means.items()}, {str(task): b for task, b in before.items()})
