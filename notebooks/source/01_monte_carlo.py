# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. Monte Carlo: how late will this project be?
#
# Ten tasks, some waiting for others, each taking a random time. When is the project done, and how likely is it to
# miss a deadline that costs dearly to miss? You will answer both by simulation, and learn to say how far each
# answer can be trusted.
#
# **You will be able to**
# - write an expectation as an average and attach a standard error to it;
# - say why a plan built from average durations is too optimistic;
# - compute the exact law of the completion time and hold a simulation against it;
# - recognise when plain Monte Carlo is hopeless, and by how much.
#
# **Time** about 75 minutes, with six exercises. **You need** Python, and the words *mean*, *variance* and *normal
# distribution*.
#
# **Exercises** are cells with the words `# your code here`. Put your code in that place (and remove the dots), run
# the cell, and run the check below it. A check never stops the notebook, so you may skip an exercise and come back.
# Worked versions lie in the folder `solutions`.

# %%
import numpy as np
from course_lib.estimates import Estimate
from course_lib.exercises import notebook_01 as check
from course_lib.figures import notebook_01 as figures
from course_lib.figures.plans import bars_by_task, estimates_with_intervals, gantt
from course_lib.projects import Project, completion_law, late_projects, monte_carlo
from scipy.linalg import expm

# %% [markdown]
# ## 1.1 The plan
#
# The plan is a table: what each task waits for, and how many days it takes on average. The example is [Art
# Owen's](https://artowen.su.domains/mc/). A [blog post by Brian
# Keng](https://bjlkeng.io/posts/importance-sampling-and-estimating-marginal-likelihood-in-variational-autoencoders/)
# made it popular, and we shall learn from its slips; "the post" below means that one.

# %%
plan = Project.example()
plan

# %%
figures.draw_plan(plan)

# %% [markdown]
# A task starts when the last of its predecessors is finished. If every task took exactly its mean, the longest
# chain, the **critical path**, would decide: 4 + 4 + 5 + 2 = 15 days.
#
# Keep that number in mind. It is the one most plans would report, and it is wrong.

# %%
plan.critical_path(), plan.makespan()

# %% [markdown]
# ## 1.2 One random project
#
# Real tasks do not take their mean. We let the duration $T_j$ of task $j$ be **exponential** with mean $m_j$: often
# shorter than the mean, now and then much longer, and all tasks independent. The completion time follows from the
# durations by one rule,
#
# $$ F_j = T_j + \max_{i \text{ before } j} F_i, \qquad D = \max_j F_j , $$
#
# where $F_j$ is the day on which task $j$ is finished. In code it is as short:


# %%
def completion_time(durations):
    finished = {}
    for task, days in zip(plan.tasks, durations):
        finished[task] = days + max(
            (finished[before] for before in plan.predecessors[task]), default=0.0
        )
    return max(finished.values())


rng = np.random.default_rng(1)
one_project = rng.exponential(plan.means)  # ten durations, in days
print(f"this project takes {completion_time(one_project):.1f} days")

# %% [markdown]
# The library does the same for whole arrays of projects, `[..., 10]` durations in, `[...]` days out. Here are three
# projects. Look at which tasks decide: the longest path is not always the critical path of the plan.

# %%
three_projects = np.random.default_rng(5).exponential(plan.means, size=(3, 10))
gantt(plan, three_projects)

# %% [markdown]
# ## 1.3 Expectations are averages
#
# No single project tells how long projects take. The **expected** completion time is an integral over all ten
# durations,
#
# $$ \mathbb{E}[D] = \int D(t_1, \dots, t_{10}) \, p(t_1) \cdots p(t_{10}) \, dt_1 \cdots dt_{10}, $$
#
# and Monte Carlo replaces it by an average over simulated projects:
#
# $$ \hat\mu = \frac1n \sum_{i=1}^n D_i . $$
#
# The **law of large numbers** says that $\hat\mu$ approaches $\mathbb{E}[D]$ as $n$ grows.

# %%
rng = np.random.default_rng(0)
durations = rng.exponential(plan.means, size=(100_000, 10))
times = plan.completion_times(durations)
print(f"mean of {len(times):,} projects: {times.mean():.2f} days")

# %% [markdown]
# Not 15 but about 18.2 days. Before asking why, ask how far to trust it: with other random numbers we would have
# got another mean. Its spread is the **standard error**. The mean of $n$ independent draws has variance
# $\sigma^2 / n$, so
#
# $$ \text{standard error} = \frac{\sigma}{\sqrt n}, $$
#
# with $\sigma$ estimated by the standard deviation of the draws.
#
# ### Exercise 1: the standard error
#
# Write it as a function of the simulated completion times.


# %% tags=["exercise"]
def standard_error(samples):
    """The standard error of the mean of ``samples``, an array ``[n]``."""
    ### BEGIN SOLUTION
    return samples.std(ddof=1) / np.sqrt(len(samples))
    ### END SOLUTION


# %%
check.standard_error(standard_error)

# %% [markdown]
# The library's `Estimate` carries the mean, its error and what else there is to know. You will meet it all through
# the course; more of its rows will make sense in notebook 2.

# %%
Estimate.from_values(times)

# %% [markdown]
# In the next figure the mean of the first $n$ projects wanders. The dashed line is the *exact* answer, and it stays
# within two standard errors of the mean most of the time. How it can be known at all is the subject of section 1.5:
# `completion_law` returns the exact probability distribution of $D$, its *law*. For now take it as a gift, because
# most simulations have to do without one.

# %%
law = completion_law(plan)
title = "The mean settles down, and its error band tells how far"
figures.running_mean(times[:20_000], law.mean, title)

# %% [markdown]
# ### Why a standard error is enough
#
# Completion times are skewed, with a long tail to the right. Their *means* are much less so: by the **central limit
# theorem** the mean of many draws approaches a normal distribution with standard deviation $\sigma/\sqrt n$, and then
# 95 % of all means lie within 1.96 standard errors of the truth. Five thousand repetitions of an experiment with
# only 100 projects show how close it is already.

# %%
rng = np.random.default_rng(2)
many = plan.completion_times(rng.exponential(plan.means, size=(5_000, 100, 10)))
means = many.mean(axis=1)
title = "Means of skewed completion times are nearly normal already"
figures.sampling_distribution(means, 100, law.mean, law.std, title)

# %%
errors = many.std(axis=1, ddof=1) / np.sqrt(100)
covered = np.abs(means - law.mean) < 1.96 * errors
print(
    f"{covered.mean():.0%} of the intervals mean ± 1.96 standard errors contain the exact mean"
)

# %% [markdown]
# ### What accuracy costs
#
# The error falls like $1/\sqrt n$: half the error takes four times the projects, and one more digit a hundred times.
# On log axes that is a line of slope −1/2.

# %%
sizes = np.array([100, 1_000, 10_000, 100_000])
rng = np.random.default_rng(3)
errors = np.array(
    [
        [
            abs(
                plan.completion_times(rng.exponential(plan.means, size=(n, 10))).mean()
                - law.mean
            )
            for _ in range(20)
        ]
        for n in sizes
    ]
)
title = "Ten times the accuracy costs a hundred times the work"
figures.error_against_n(sizes, errors, law.std, title)

# %% [markdown]
# ### Exercise 2: a convergence figure without convergence
#
# The blog post that made this example popular drew such a figure too. Its loop looked like this:
#
# ```python
# def estimates(sizes):
#     found = []
#     for n in sizes:
#         times = plan.completion_times(rng.exponential(plan.means, size=(100_000, 10)))
#         found.append((times >= 30).mean())
#     return found
# ```
#
# Something is missing. Find it, and write the function so that each entry really is the share of `n` simulated
# projects that take 30 days or more.


# %% tags=["exercise"]
def estimates(sizes):
    """For each n in ``sizes``, the share of n simulated projects that take 30 days or more."""
    ### BEGIN SOLUTION
    found = []
    for n in sizes:
        times = plan.completion_times(rng.exponential(plan.means, size=(n, 10)))
        found.append((times >= 30).mean())
    return found
    ### END SOLUTION


# %%
check.estimates(estimates)

# %% [markdown]
# ## 1.4 Why 18.2 and not 15?
#
# The post explains the difference by the sum of two exponentials not being an exponential. But a sum has the sum
# of the means *whatever* its law: the four tasks of the critical path take 15 days on average, in simulation as on
# paper. The difference comes from where paths **merge**. The project waits for the slowest, and
#
# $$ \mathbb{E}[\max(A, B)] \;\ge\; \max(\mathbb{E}[A], \mathbb{E}[B]), $$
#
# because the slowest is sometimes this path and sometimes that. Measure it: the mean length of each path, and the
# mean of the longest.

# %%
paths = ["1-2-4-10", "1-2-5-9-10", "1-3-6-9-10", "1-3-8-10", "1-3-7-9-10"]
lengths = {
    path: durations[:, plan.task_indices(path.split("-"))].sum(axis=1) for path in paths
}
figures.merging_paths(lengths, times, "The mean of the maximum exceeds every path's mean")

# %% [markdown]
# No path takes more than 15 days on average, and the longest of the five takes 18.2. Feeding averages into a plan
# hides the excess; people call it the *flaw of averages*. It is an instance of **Jensen's inequality**: for a convex
# function $f$, such as a maximum, $\mathbb{E}[f(T)] \ge f(\mathbb{E}[T])$. In notebook 3 the same inequality, for the
# concave logarithm, gives a whole field its objective function, the ELBO.
#
# ### Exercise 3: two tasks side by side
#
# Two independent exponential tasks with means $a$ and $b$ start together. How long until *both* are done, on
# average? (Hint: $\max(A, B) = A + B - \min(A, B)$, and the minimum of two exponentials is exponential; its rate is
# the sum of their rates $1/a$ and $1/b$.)


# %% tags=["exercise"]
def mean_of_max(a, b):
    """E[max(A, B)] for independent exponentials with means a and b."""
    ### BEGIN SOLUTION
    return a + b - 1 / (1 / a + 1 / b)
    ### END SOLUTION


# %%
check.mean_of_max(mean_of_max)

# %% [markdown]
# ## 1.5 The exact law
#
# An exponential duration has **no memory**: a task that has been running for three days is as far from its end as
# one just begun. So to know the future of a project we need only know *which tasks are finished*. And there are
# few such sets, because a set can only occur if it contains the predecessors of all its tasks. Let us list them.

# %%
states = [frozenset()]
for finished in states:  # the list grows while we walk along it
    for task in plan.tasks:
        if task not in finished and finished.issuperset(plan.predecessors[task]):
            if finished | {task} not in states:
                states.append(finished | {task})
print(len(states), "states, from", set(states[0]) or "{}", "to all ten tasks")

# %% [markdown]
# From each state the project jumps to another when a task that is running gets finished, which happens at the rate
# $1/m_j$. That is a **Markov chain** in continuous time. Write the rate of jumping from state $i$ to state $s$ into a
# matrix as $Q_{is}$, and the rate of leaving state $i$, with a minus sign, as $Q_{ii}$. Then the probabilities
# $\pi(t)$ of being in each state change as $\pi'(t) = \pi(t)\,Q$, so $\pi(t) = \pi(0)\,e^{Qt}$: one row of a matrix
# exponential, the row of the state where the project begins. The project is late if its state is still one of the
# unfinished ones:
#
# $$ P(D \ge t) = \sum_{s \text{ unfinished}} \big[ e^{Qt} \big]_{0s} . $$

# %%
Q = np.zeros((len(states), len(states)))
for i, finished in enumerate(states):
    for task, mean in zip(plan.tasks, plan.means):
        if task not in finished and finished.issuperset(plan.predecessors[task]):
            Q[i, states.index(finished | {task})] += 1 / mean
            Q[i, i] -= 1 / mean

for t in [15, 30, 70]:
    print(f"P(D >= {t}) = {expm(Q[:-1, :-1] * t)[0].sum():.4g}")

# %%
figures.chain(states, expm(Q * 10.0)[0], day=10)

# %% [markdown]
# In the figure a dot's area is the probability of that state on day 10. The library's `completion_law` builds the
# same chain and computes with it in a way that keeps its digits even far
# out in the tail. From here on every estimate can be held against it.

# %%
print(
    f"mean {law.mean:.4f} days, standard deviation {law.std:.4f} days, {law.n_states} states"
)
print(f"P(D >= 70)  = {law.sf(70):.10g}")
print(f"P(D >= 150) = {law.sf(150):.10g}")

# %%
marks = {"15, the critical path": 15, "18.2, the mean": law.mean}
titles = (
    "The bulk: simulation and exact law agree",
    "The tail: the simulation runs out of late projects",
)
figures.law_against_simulation(law, times, marks, titles)

# %% [markdown]
# ## 1.6 The deadline
#
# Suppose that missing day 70 carries a large penalty. A probability is an expectation as well, of a function that
# is 1 when the project is late and 0 when it is not:
#
# $$ P(D \ge 70) = \mathbb{E}\big[\mathbf{1}\{D \ge 70\}\big] \approx \frac{\text{number of late projects}}{n} . $$
#
# So simulate, and count. The library's `monte_carlo` does it in a stream, without keeping the projects, some tens
# of millions a second on two cores.

# %%
exact = float(law.sf(70))
attempts = {
    f"{n:,}": monte_carlo(plan, deadline=70, n=n, seed=7)
    for n in [1_000, 10_000, 100_000, 500_000, 1_000_000, 5_000_000]
}
for n, estimate in attempts.items():
    print(f"{n:>9} projects, {estimate.n_hits:>3} late: {estimate.rounded}")

# %%
estimates_with_intervals(
    attempts,
    exact,
    "projects simulated",
    "The first runs see nothing; five million still leave 8 %",
)

# %% [markdown]
# A thousand projects without a single late one do not show that lateness is impossible. What *do* they show? If the
# probability were $p$, a run of $n$ projects would have no late one with probability $(1-p)^n$. Values of $p$ that
# make this less than 5 % can be ruled out, at 95 % confidence. (The bars with arrows in the figure are that bound.)
#
# ### Exercise 4: nothing seen in n tries
#
# Give the largest $p$ that is not ruled out, exactly. Then compare with the **rule of three**, $3/n$.


# %% tags=["exercise"]
def upper_bound(n):
    """The largest p with (1 - p)**n >= 0.05."""
    ### BEGIN SOLUTION
    return 1 - 0.05 ** (1 / n)
    ### END SOLUTION


# %%
check.upper_bound(upper_bound)

# %% [markdown]
# ### Why rare events are hard
#
# One draw of the indicator has variance $p(1-p)$. Relative to the answer, the standard error is
#
# $$ \frac{1}{p}\sqrt{\frac{p(1-p)}{n}} = \sqrt{\frac{1-p}{n\,p}} \approx \frac{1}{\sqrt{\text{expected number of hits}}} . $$
#
# Only the late projects count, and there are hardly any.

# %%
title = "The rarer the event, the worse plain Monte Carlo does"
figures.relative_error_against_deadline(law, [10_000, 1_000_000, 100_000_000], title)

# %% [markdown]
# ### Exercise 5: what 1 % costs
#
# How many projects does plain Monte Carlo need for a relative standard error of `relative_error`?


# %% tags=["exercise"]
def projects_needed(p, relative_error):
    """The n at which the standard error of the share of late projects is ``relative_error`` times p."""
    ### BEGIN SOLUTION
    return (1 - p) / (p * relative_error**2)
    ### END SOLUTION


# %%
check.projects_needed(projects_needed)

# %% [markdown]
# For day 70 and 1 % that is $3 \times 10^8$ projects. Our loop needs seconds for them; with a project plan of
# thousands of tasks, or with a neural network in place of a plan, nobody would wait. Notebook 2 gets the same 1 %
# from about 150,000.
#
# ## 1.7 Who is to blame?
#
# In each simulated project some path was the longest, and its tasks are to blame for the completion time. How often
# each task is on it is called its **criticality**. For late projects the picture changes. (Late projects are too
# rare to wait for: `late_projects` draws them from the exact law *given* that they are late. Notebook 2 explains
# how.)

# %%
late = late_projects(plan, deadline=70, n=20_000, seed=0)
blame = {
    "all projects": plan.critical_tasks(durations).mean(axis=0),
    "projects of 70 days or more": plan.critical_tasks(late).mean(axis=0),
}
bars_by_task(
    plan,
    blame,
    "share of projects",
    "Task 4 is on the longest path of one project in three, and of nine late ones in ten",
)

# %% [markdown]
# Being on the longest path is one thing; *where to spend money* is another. The **elasticity** of a task says by how
# many per cent the risk $P(D \ge 70)$ falls if its mean duration falls by one per cent. The exact law gives it.

# %%
bars_by_task(
    plan,
    {"elasticity": law.elasticities(70)},
    "% of risk per % of mean duration",
    "One per cent off task 4 takes 6.6 % off the risk",
)

# %% [markdown]
# Compare task 10. It lies on every path, and yet shortening it hardly helps: late projects are late because tasks 1,
# 2 and 4 took long, not because task 10 did.
#
# ### Exercise 6: criticality
#
# The plan's critical path says that task 9 does not matter. How often does it lie on the longest path? Estimate the
# probability from `n` fresh simulated projects, and return it **with its standard error**.
# `plan.critical_tasks(durations)` gives `True` and `False` for each project and task.


# %% tags=["exercise"]
def criticality(task, n):
    """The probability that ``task``, a name such as "9", is on the longest path; and its standard error."""
    ### BEGIN SOLUTION
    durations = np.random.default_rng(11).exponential(plan.means, size=(n, 10))
    on_path = plan.critical_tasks(durations)[:, plan.tasks.index(task)]
    share = on_path.mean()
    return share, np.sqrt(share * (1 - share) / n)
    ### END SOLUTION


# %%
check.criticality(criticality)

# %% [markdown]
# ## 1.8 Summary
#
# Each estimate beside the exact answer. It *agrees* if the exact answer is within three standard errors. (Of right
# estimates one in twenty lies beyond two, and one in 370 beyond three.)

# %%
rows = {
    "E[D], 100,000 projects": (Estimate.from_values(times), law.mean),
    "P(D >= 15), 100,000 projects": (
        monte_carlo(plan, 15, 100_000, seed=1),
        float(law.sf(15)),
    ),
    "P(D >= 30), 100,000 projects": (
        monte_carlo(plan, 30, 100_000, seed=1),
        float(law.sf(30)),
    ),
    "P(D >= 70), 100,000 projects": (attempts["100,000"], exact),
    "P(D >= 70), 5,000,000 projects": (attempts["5,000,000"], exact),
}
for name, (estimate, truth) in rows.items():
    print(
        f"{name:31} {estimate.rounded:>23}   exact {truth:<10.5g} {estimate.against(truth).verdict}"
    )

# %% tags=["headline"]
attempts["5,000,000"].against(exact)

# %% [markdown]
# - An expectation is approximated by an average, and its error is $\sigma/\sqrt n$, in any number of dimensions.
# - A number without its error is not a result. Zero hits mean "at most $3/n$", not zero.
# - Averages put into a plan do not give the average out: $\mathbb{E}[\max] \ge \max \mathbb{E}$.
# - The relative error of plain Monte Carlo is one over the square root of the number of *hits*. For rare events almost
#   every draw is wasted.
#
# ### Three questions
#
# <details><summary><b>1.</b> The post defines the total duration as the sum over all ten tasks. What would its mean
# be, and what project would it describe?</summary>
#
# 29 days, the sum of the ten means: the project of one person who does one task after another. With tasks in
# parallel the completion time is the longest path, not the sum.
# </details>
#
# <details><summary><b>2.</b> You run 1,000 projects and none is late; a colleague runs 1,000 others and one is late.
# Do you disagree?</summary>
#
# No. Your interval is 0 to 0.003, hers 0.000025 to 0.0056 (`scipy.stats.binomtest(1, 1000).proportion_ci()`). Both
# contain the truth, 0.000032, hers only just: a late one among 1,000 was luck, with probability `1 - law.cdf(70)**1000`,
# about 3 %.
# </details>
#
# <details><summary><b>3.</b> The exact law takes milliseconds. Why simulate at all?</summary>
#
# The chain needs exponential durations and a number of states that a computer can hold. Ten tasks make 51 states, but
# thirty tasks side by side make $2^{30}$, and other laws of duration remember how long a task has been running. A
# simulation does not care. That is why we learn it here, where it can be checked, to use it where it cannot.
# </details>
#
# ### Where to read on
#
# - [Art Owen (2013)](https://artowen.su.domains/mc/), *Monte Carlo theory, methods and examples*, chapters 2 and 9: the
#   book behind this notebook and the next.
# - [Kulkarni and Adlakha (1986)](https://doi.org/10.1287/opre.34.5.769), *Markov and Markov-regenerative PERT
#   networks*: the exact law.
# - [Brian Keng
#   (2019)](https://bjlkeng.io/posts/importance-sampling-and-estimating-marginal-likelihood-in-variational-autoencoders/),
#   *Importance sampling and estimating marginal likelihood in variational autoencoders*: the post.
#
# **Next:** `02_importance_sampling.ipynb`, where we stop waiting for late projects and make them happen.
