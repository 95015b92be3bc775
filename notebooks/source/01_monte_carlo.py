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
# - hold a simulation against the exact probability distribution of the completion time;
# - recognise when plain Monte Carlo is hopeless, and by how much;
# - see how far the answer hangs on what you assume of the durations.
#
# | section | minutes |
# | --- | --- |
# | 1.1 The plan | 6 |
# | 1.2 One random project | 6 |
# | 1.3 Expectations are averages: exercises 1 and 2 | 20 |
# | 1.4 Why 18.2 and not 15: exercise 3 | 9 |
# | 1.5 The exact distribution | 6 |
# | 1.6 The deadline: exercises 4 and 5 | 17 |
# | 1.7 Other durations | 6 |
# | 1.8 Summary | 5 |
# | **core** | **75** |
# | ☆ Where the exact distribution comes from | 15 |
# | ☆ Who is to blame? Exercise 6 | 13 |
# | ☆ Less error from as many projects: exercise 7 | 20 |
#
# Parts marked ☆ go further. Nothing after them needs them. JupyterLab shows them folded: click the arrow beside the
# heading to open one. The three questions at the end take another eight minutes.
#
# **You need** Python with NumPy, integrals and exponentials, and the words *mean*, *variance* and *normal
# distribution*.
#
# **Exercises** are cells with the words `# your code here`. Put your code in that place (and remove the dots), run
# the cell, and run the check below it. A check never stops the notebook, so you may skip an exercise and come back.
# Worked versions lie in the folder `solutions`, and the start page leads to them.

# %%
import numpy as np
from course_lib.estimates import Estimate
from course_lib.exercises import notebook_01 as check
from course_lib.exercises import progress
from course_lib.figures import notebook_01 as figures
from course_lib.figures.plans import (
    bars_by_task,
    estimates_with_intervals,
    gantt,
)
from course_lib.projects import (
    Project,
    antithetic,
    completion_law,
    control_variates,
    late_projects,
    monte_carlo,
    sobol,
    stratified,
)
from course_lib.projects.durations import Lognormal, Pert
from scipy.linalg import expm

# %% [markdown]
# ## 1.1 The plan
#
# The plan is a table: what each task waits for, and how many days it takes on average. The example comes from Art
# Owen's book [*Monte Carlo theory, methods and examples* (2013)](https://artowen.su.domains/mc/). Brian Keng's blog
# post [*Importance sampling and estimating marginal likelihood in variational autoencoders*
# (2019)](https://bjlkeng.io/posts/importance-sampling-and-estimating-marginal-likelihood-in-variational-autoencoders/)
# takes it up. "The post" below means that one; we shall check what it says.

# %%
plan = Project.example()
plan

# %% tags=["slide"]
figures.draw_plan(plan)

# %% [markdown] tags=["slide"]
# A task starts when the last of its predecessors is finished. If every task took exactly its mean, the longest
# chain, the **critical path**, would decide: 4 + 4 + 5 + 2 = 15 days.
#
# Keep that number in mind. It is what most plans would report, and it is too small.

# %%
plan.critical_path(), plan.makespan()  # in days

# %% [markdown] tags=["slide"]
# ## 1.2 One random project
#
# Real tasks do not take exactly their mean. We let the duration $T_j$ of task $j$ be **exponential** with mean $m_j$,
# and all tasks independent. Its density, and the probability that the task takes longer than $t$ days, are
#
# $$ p(t) = \frac{1}{m_j}\, e^{-t/m_j}, \qquad P(T_j > t) = e^{-t/m_j} . $$
#
# Most durations are shorter than the mean, and a few are much longer. One over the mean, $1/m_j$, is called the
# **rate**: a task of 4 days is finished at a rate of 0.25 a day. The rate is constant, which is special: a task that
# has been running for three days is as far from its end as one that has just begun. An exponential duration has **no
# memory**.
#
# The completion time follows from the durations by one rule,
#
# $$ F_j = T_j + \max_{i \text{ before } j} F_i, \qquad D = \max_j F_j , $$
#
# where $F_j$ is the day on which task $j$ is finished. The same in code:


# %%
def completion_time(durations):
    finished = {}
    for task, days in zip(plan.tasks, durations):
        before = (finished[other] for other in plan.predecessors[task])
        finished[task] = days + max(before, default=0.0)
    return max(finished.values())


rng = np.random.default_rng(1)
one_project = rng.exponential(plan.means)  # ten durations, in days
print(f"this project takes {completion_time(one_project):.1f} days")

# %% [markdown]
# The library does the same for many projects at once: `plan.completion_times` takes an array `[n, 10]` of durations
# and returns `[n]` days. Here are three projects. Hatched tasks are on the longest path, which is not always the
# critical path of the plan.

# %% tags=["slide"]
rng = np.random.default_rng(5)
three_projects = rng.exponential(plan.means, size=(3, 10))
gantt(plan, three_projects)

# %% [markdown] tags=["slide"]
# ## 1.3 Expectations are averages
#
# No single project tells how long projects take. The **expected** completion time is an integral over all ten
# durations,
#
# $$ \mathbb{E}[D] = \int D(t_1, \dots, t_{10}) \, p_1(t_1) \cdots p_{10}(t_{10}) \, dt_1 \cdots dt_{10}, $$
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

# %% [markdown] tags=["slide"]
# Not 15 but **about 18.2 days**. Before we ask why, we ask how far to trust this number. Other random numbers would
# have given another mean. The standard deviation of the mean, from one simulation to the next, is called its
# **standard error**. The mean of $n$ independent draws has variance $\sigma^2 / n$, so
#
# $$ \text{standard error} = \frac{\sigma}{\sqrt n}, $$
#
# where $\sigma$ is the standard deviation of one draw. We do not know it, and estimate it from the draws.
#
# ### Exercise 1: the standard error
#
# Write it as a function of the simulated completion times.


# %% tags=["exercise", "slide"]
def standard_error(samples):
    """The standard error of the mean of ``samples``, an array ``[n]``."""
    ### BEGIN SOLUTION
    return samples.std(ddof=1) / np.sqrt(len(samples))
    ### END SOLUTION


# %%
check.standard_error(standard_error)

# %% [markdown]
# The library's `Estimate` carries the mean, its error, and some diagnostics that notebook 2 explains. You will meet
# it all through the course.

# %%
Estimate.from_values(times)

# %% [markdown]
# The next figure shows the mean of the first $n$ projects as $n$ grows. The dashed line is the *exact* answer, and it
# stays within two standard errors of the mean most of the time. For this plan an exact answer exists:
# `completion_law` returns the probability distribution of $D$, also called its **law**. Section 1.5 says how. Most
# simulations have to do without one.

# %% tags=["slide"]
law = completion_law(plan)
title = "The mean settles down, and its error band tells how far"
figures.running_mean(times[:20_000], law.mean, title)

# %% [markdown] tags=["slide"]
# ### Why a standard error is enough
#
# Completion times are skewed, with a long tail to the right. Their *means* are much less so. By the **central limit
# theorem** the mean of many draws is nearly normal, with standard deviation $\sigma/\sqrt n$. So 95 % of all means
# lie within 1.96 standard errors of the truth. Is 100 projects many? We repeat the experiment 5,000 times:

# %% tags=["slide"]
rng = np.random.default_rng(2)
size = (5_000, 100, 10)
many = plan.completion_times(rng.exponential(plan.means, size))
means = many.mean(axis=1)
title = "Means of skewed completion times are nearly normal already"
figures.sampling_distribution(means, 100, law.mean, law.std, title)

# %%
errors = many.std(axis=1, ddof=1) / np.sqrt(100)
covered = np.abs(means - law.mean) < 1.96 * errors
print(f"{covered.mean():.0%} of the intervals", end=" ")
print("mean ± 1.96 standard errors contain the exact mean")

# %% [markdown] tags=["slide"]
# ### What accuracy costs
#
# **The error falls like $1/\sqrt n$**: half the error takes four times the projects, and one more digit a hundred times.
# On log axes that is a line of slope −1/2.


# %% tags=["slide"]
def error_of_mean(n):
    times = plan.completion_times(rng.exponential(plan.means, (n, 10)))
    return abs(times.mean() - law.mean)


rng = np.random.default_rng(3)
sizes = np.array([100, 1_000, 10_000, 100_000])
errors = np.array([[error_of_mean(n) for _ in range(20)] for n in sizes])
title = "Ten times the accuracy costs a hundred times the work"
figures.error_against_n(sizes, errors, law.std, title)

# %% [markdown]
# ### Exercise 2: an experiment that does not converge
#
# A colleague wants to see the same for the probability that a project takes 30 days or more. This is the loop:
#
# ```python
# def estimates(sizes):
#     found = []
#     for n in sizes:
#         durations = rng.exponential(plan.means, size=(100_000, 10))
#         times = plan.completion_times(durations)
#         found.append((times >= 30).mean())
#     return found
# ```
#
# The errors do not shrink along the axis. Find the mistake, and write the function so that each entry is the share of
# `n` simulated projects that take 30 days or more. (Notebook 2 tells of a published figure with this mistake.)


# %% tags=["exercise", "slide"]
def estimates(sizes):
    """For each n in ``sizes``, the share of n projects with D >= 30."""
    ### BEGIN SOLUTION
    found = []
    for n in sizes:
        durations = rng.exponential(plan.means, size=(n, 10))
        times = plan.completion_times(durations)
        found.append((times >= 30).mean())
    return found
    ### END SOLUTION


# %%
check.estimates(estimates)

# %% [markdown] tags=["slide"]
# ## 1.4 Why 18.2 and not 15?
#
# The post explains the difference by the fact that a sum of exponentials is not an exponential. That cannot be the
# reason: the mean of a sum is the sum of the means, *whatever* the law. So the four tasks of the critical path take
# 15 days on average. The difference comes from the places where paths **merge**. There the project waits for the
# slowest path, and
#
# $$ \mathbb{E}[\max(A, B)] \;\ge\; \max(\mathbb{E}[A], \mathbb{E}[B]), $$
#
# because sometimes $A$ is the slower and sometimes $B$. We measure the mean length of each path, and the mean of the
# longest:

# %% tags=["slide"]
paths = ["1-2-4-10", "1-2-5-9-10", "1-3-6-9-10", "1-3-8-10", "1-3-7-9-10"]
lengths = {}
for path in paths:
    on_path = plan.task_indices(path.split("-"))
    lengths[path] = durations[:, on_path].sum(axis=1)
title = "The mean of the maximum exceeds every path's mean"
figures.merging_paths(lengths, times, title)

# %% [markdown] tags=["slide"]
# No path takes more than 15 days on average, but the longest of the five takes 18.2. A plan made of averages does not
# show those 3.2 days. This is an instance of **Jensen's inequality**: for a convex function $f$, whose graph never
# lies above its chords, such as a maximum, $\mathbb{E}[f(T)] \ge f(\mathbb{E}[T])$. We shall need it again in
# notebook 3, for the logarithm, whose graph never lies below its chords.
#
# ### Exercise 3: two tasks side by side
#
# Two independent exponential tasks with means $a$ and $b$ start together. How long until *both* are done, on average?
# Three hints. (1) $\max(A, B) = A + B - \min(A, B)$. (2) The minimum exceeds $t$ when both do:
# $P(\min(A, B) > t) = e^{-t/a}\, e^{-t/b}$. (3) So the minimum is exponential too. What is its rate, and hence its
# mean? (With means 4 and 2 the rates are 1/4 and 1/2, and the minimum has rate 3/4.)


# %% tags=["exercise", "slide"]
def mean_of_max(a, b):
    """E[max(A, B)] for independent exponentials with means a and b."""
    ### BEGIN SOLUTION
    return a + b - 1 / (1 / a + 1 / b)
    ### END SOLUTION


# %%
check.mean_of_max(mean_of_max)

# %% [markdown] tags=["slide"]
# ## 1.5 The exact distribution
#
# Exponential durations have no memory. So the future of a project depends only on *which tasks are finished*, not on
# how long the others have been running. There are few such sets: if a set occurs, it contains the predecessors of all
# its tasks. For this plan there are 51. The library computes the probability of each set of finished tasks on each
# day, and a project is late if not all of its tasks are finished. This is called a **Markov chain**. (The ☆ part below shows how.)
# The result is exact to many digits, even far out in the tail:

# %% tags=["slide"]
print(f"mean {law.mean:.4f} days", end=", ")
print(f"standard deviation {law.std:.4f} days, {law.n_states} states")
print(f"P(D >= 70)  = {law.sf(70):.10g}")
print(f"P(D >= 150) = {law.sf(150):.10g}")

# %% tags=["slide"]
marks = {"15, the critical path": 15, "18.2, the mean": law.mean}
titles = (
    "The bulk: simulation and exact law agree",
    "The tail: the simulation runs out of late projects",
)
figures.law_against_simulation(law, times, marks, titles)

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ Where the exact distribution comes from (15 minutes)
#
# First one task by itself, then all ten. You need a little linear algebra.

# %% [markdown]
# One task with mean $m$ has two states: running and finished. Let $\pi(t)$ be the probability that it is still
# running. In a short time $dt$ it gets finished with probability $dt/m$, so
#
# $$ \pi'(t) = -\tfrac1m\, \pi(t), \qquad \pi(0) = 1, \qquad\text{hence}\qquad \pi(t) = e^{-t/m} . $$
#
# Ten tasks have more states, and the same equation for a whole row of probabilities. Here are the states:


# %%
def running(finished):
    """The tasks that run when those in ``finished`` are done."""
    waiting = [task for task in plan.tasks if task not in finished]
    return [t for t in waiting if finished.issuperset(plan.predecessors[t])]


states = [frozenset()]
for finished in states:  # the list grows while we walk along it
    for task in running(finished):
        if finished | {task} not in states:
            states.append(finished | {task})
print(len(states), "states, from {} to all ten tasks")

# %% [markdown]
# The project jumps to another state when a running task $j$ gets finished, at the rate $1/m_j$. That is a **Markov
# chain** in continuous time. We write its rates into a matrix: $Q_{is}$ is the rate of jumping from state $i$ to
# state $s$, and $Q_{ii}$ is minus the rate of leaving state $i$. The row $\pi(t)$ of all probabilities then obeys
# $\pi'(t) = \pi(t)\,Q$, with the solution $\pi(t) = \pi(0)\,e^{Qt}$. This is a matrix exponential, and we need the
# row of the state in which the project begins. The project is late if its state is still an unfinished one:
#
# $$ P(D \ge t) = \sum_{s \text{ unfinished}} \big[ e^{Qt} \big]_{0s} . $$

# %%
Q = np.zeros((len(states), len(states)))
rates = dict(zip(plan.tasks, 1 / plan.means))
for i, finished in enumerate(states):
    for task in running(finished):
        Q[i, states.index(finished | {task})] += rates[task]
        Q[i, i] -= rates[task]

for t in [15, 30, 70]:
    print(f"P(D >= {t}) = {expm(Q[:-1, :-1] * t)[0].sum():.4g}")

# %%
figures.chain(states, expm(Q * 10.0)[0], day=10)

# %% [markdown]
# In the figure a dot's area grows with the probability of that state on day 10. `completion_law` builds the same
# chain. It computes with it in another way, which keeps its digits even far out in the tail.

# %% [markdown] tags=["slide"]
# ## 1.6 The deadline
#
# Suppose that missing day 70 carries a large penalty. **A probability is an expectation, too.** The function to be
# averaged is 1 when the project is late and 0 when it is not. It is called an **indicator**:
#
# $$ P(D \ge 70) = \mathbb{E}\big[\mathbf{1}\{D \ge 70\}\big] \approx \frac{\text{number of late projects}}{n} . $$
#
# So we simulate and count. The library's `monte_carlo` does this without keeping the projects in memory, some tens
# of millions a second on two cores.

# %%
exact = float(law.sf(70))
attempts = {
    f"{n:,}": monte_carlo(plan, deadline=70, n=n, seed=7)
    for n in [1_000, 10_000, 100_000, 500_000, 1_000_000, 5_000_000]
}
for n, estimate in attempts.items():
    print(f"{n:>9} projects, {estimate.n_hits:>3} late: {estimate.rounded}")

# %% tags=["slide"]
estimates_with_intervals(
    attempts,
    exact,
    "projects simulated",
    "The first runs see nothing; five million still leave 8 %",
)

# %% [markdown]
# A thousand projects without a late one do not show that lateness is impossible. What *do* they show? If the
# probability of being late is $p$, then $n$ projects have no late one with probability $(1-p)^n$. Where this is less
# than 5 %, we rule $p$ out, at 95 % confidence. (The bars with arrows in the figure show the largest $p$ that is
# left.)
#
# ### Exercise 4: nothing seen in n tries
#
# Give the largest $p$ that is not ruled out: the largest with $(1-p)^n \ge 0.05$, exactly. Then compare with the **rule of three**, $3/n$.


# %% tags=["exercise", "slide"]
def upper_bound(n):
    """The largest p with (1 - p)**n >= 0.05."""
    ### BEGIN SOLUTION
    return 1 - 0.05 ** (1 / n)
    ### END SOLUTION


# %%
check.upper_bound(upper_bound)

# %% [markdown] tags=["slide"]
# ### Why rare events are hard
#
# One draw of the indicator has variance $p(1-p)$. The standard error, as a fraction of the answer $p$, is
#
# $$ \frac{1}{p}\sqrt{\frac{p(1-p)}{n}} = \sqrt{\frac{1-p}{n\,p}} \approx \frac{1}{\sqrt{\text{expected number of hits}}} . $$
#
# A *hit* is a draw that counts, here a late project. Ten hits give an error of about 32 %, a hundred give 10 %.

# %% tags=["slide"]
title = "The rarer the event, the worse plain Monte Carlo does"
numbers = [10_000, 1_000_000, 100_000_000]
figures.relative_error_against_deadline(law, numbers, title)

# %% [markdown]
# ### Exercise 5: what 1 % costs
#
# How many projects does plain Monte Carlo need for a relative standard error of `relative_error`?


# %% tags=["exercise", "slide"]
def projects_needed(p, relative_error):
    """The n at which the standard error is ``relative_error`` times p."""
    ### BEGIN SOLUTION
    return (1 - p) / (p * relative_error**2)
    ### END SOLUTION


# %%
check.projects_needed(projects_needed)

# %% [markdown]
# For day 70 and 1 % that is $3 \times 10^8$ projects. The library simulates them in seconds. With a plan of thousands
# of tasks, or with a neural network in place of a plan, it would take far too long. Notebook 2 gets the same 1 % from
# about 150,000 projects.

# %% [markdown] tags=["slide"]
# ## 1.7 Other durations
#
# So far every duration was exponential. Who says that it is? A planner would rather name three points: how long a task
# takes if all goes well, how long most likely, and how long if much goes wrong. From three such
# points, optimistic, most likely and pessimistic, **PERT** makes a law between the first and the last, with mean
# (optimistic + 4 most likely + pessimistic) / 6. We choose points that keep all means as they are:

# %%
three_points = {  # mean: optimistic, most likely, pessimistic; in days
    2: (0.5, 1.5, 5.5),
    3: (1, 2, 9),
    4: (1, 3, 11),
    5: (1, 4, 13),
}


def with_law(law):
    """The ten tasks, each with the law that ``law`` makes of its mean."""
    laws = {task: law(mean) for task, mean in zip(plan.tasks, plan.means)}
    return Project(laws, plan.predecessors)


same_means = {
    "three points": with_law(lambda mean: Pert(*three_points[mean])),
    "exponential": plan,
    "lognormal": with_law(lambda mean: Lognormal(mean, cv=1)),
    "common factor": plan.correlated(common_factor=0.3),
}

# %% [markdown] tags=["slide"]
# The **lognormal** has the mean and the standard deviation of the exponential, but very long durations are likelier. In
# the last plan the durations are exponential and not independent: **one random factor**, with mean 1 and standard
# deviation 0.3, multiplies all durations of a project, as a bad winter would. A simulation does not care:

# %%
samples = {}
for name, other in same_means.items():
    drawn = other.draw(np.random.default_rng(4), 200_000)
    samples[name] = other.completion_times(drawn)
    print(f"{name:13}  mean {samples[name].mean():.1f} days", end=",  ")
    day_30 = monte_carlo(other, 30, n=2_000_000, seed=0)
    day_70 = monte_carlo(other, 70, n=2_000_000, seed=0)
    print(f"P(D >= 30) {day_30.value:.2g},  P(D >= 70) {day_70.rounded}")

# %% tags=["slide"]
title = (
    "The same mean durations, "
    "and anything between never and one in a thousand"
)
figures.tails(samples, 70, title)

# %% [markdown] tags=["slide"]
# By day 30 the last three still agree within a factor of two. By day 70 lognormal durations, or a common factor, make
# lateness some 30 times as likely as independent exponentials do. With the three points no project can be that late:
# were all durations pessimistic, it would take 40.5 days. (They also vary less: a task of 4 days by 1.7 days, where the
# exponential has 4.)
#
# Section 1.6 gave $P(D \ge 70)$ with an error of 8 %. That is how well the simulation knows the answer *of its model*.
# **No standard error tells how well the model knows the project.** For a deadline far out in the tail this is the larger
# risk by far, so ask the same question of several laws before you promise anything. The course goes on with the
# exponential, because there we know the exact answers.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ Who is to blame? (13 minutes)
#
# Which tasks decide the completion time, which of them should get help, and an exercise: a probability and its
# standard error, from your own simulation.

# %% [markdown]
# In each simulated project one path was the longest, and its tasks decided the completion time. The probability that
# a task is on the longest path is called its **criticality**. Late projects have other criticalities than most. (We
# would wait long for enough late projects. `late_projects` draws them from the exact law *given* that they are late.)

# %%
late = late_projects(plan, deadline=70, n=20_000, seed=0)
blame = {
    "all projects": plan.critical_tasks(durations).mean(axis=0),
    "projects of 70 days or more": plan.critical_tasks(late).mean(axis=0),
}
title = (
    "Task 4 is on the longest path of one project in three, "
    "and of nine late ones in ten"
)
bars_by_task(plan, blame, "share of projects", title)

# %% [markdown]
# Which task should get help? The **elasticity** of a task answers that: the relative change of the risk
# $P(D \ge 70)$, divided by the relative change of the task's mean duration, for a very small change. The exact law
# gives it.

# %%
bars_by_task(
    plan,
    {"elasticity": law.elasticities(70)},
    "% of risk per % of mean duration",
    "The risk depends most on task 4",
)

# %%
shorter = dict(zip(plan.tasks, plan.means))
shorter["4"] *= 0.99
its_risk = completion_law(Project(shorter, plan.predecessors)).sf(70)
elasticity = law.elasticities(70)[plan.tasks.index("4")]
print(f"elasticity of task 4: {elasticity:.1f}")
gain = 1 - its_risk / law.sf(70)
print(f"one per cent off its mean takes {gain:.1%} off the risk")

# %% [markdown]
# (It is a little less than the elasticity says, because one per cent is not *very* small.) Compare task 10. It lies
# on every path, and yet shortening it hardly helps. Late projects are late because tasks 1, 2 and 4 took long; task
# 10 seldom did.

# %% [markdown]
# #### Exercise 6: criticality
#
# Task 9 is not on the plan's critical path. How often does a task like that lie on the longest path? Estimate the
# probability from `n` fresh simulated projects, and return it **with its standard error**.
# `plan.critical_tasks(durations)` gives `True` and `False` for each project and task.


# %% tags=["exercise"]
def criticality(task, n):
    """P(``task`` is on the longest path), and its standard error.

    ``task`` is a name, such as "9".
    """
    ### BEGIN SOLUTION
    rng = np.random.default_rng(11)
    durations = rng.exponential(plan.means, size=(n, 10))
    on_path = plan.critical_tasks(durations)[:, plan.tasks.index(task)]
    share = on_path.mean()
    return share, np.sqrt(share * (1 - share) / n)
    ### END SOLUTION


# %%
check.criticality(criticality)

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ Less error from as many projects (20 minutes)
#
# The line of slope −1/2 is no law of nature: draws that know more, or that keep out of each other's way, get below it.

# %% [markdown]
# **Use what is known.** Here are 40 projects, each with the length of the plan's critical path, 1, 2, 4, 10, beside its
# completion time. The mean of that length is known exactly: 15 days. In these 40 it happens to be another, and so their
# mean completion time is off as well, in the same direction. We see by how much, and can correct it.

# %%
critical = plan.task_indices(plan.critical_path())
path_length = durations[:, critical].sum(axis=1)
title = (
    "Slide along the line from the mean that was drawn "
    "to the mean that is known"
)
figures.control_variate(path_length[:40], times[:40], 15.0, law.mean, title)

# %% [markdown]
# In general, let $C$ be a quantity whose mean $c$ we know. For any number $b$ the **control variate** estimate
#
# $$ \hat\mu_b = \frac1n \sum_i D_i - b\, \Big( \frac1n \sum_i C_i - c \Big) $$
#
# has the mean $\mathbb{E}[D]$, because the bracket has mean zero. Its variance is smallest with the slope of the line in
# the figure, $b = \operatorname{cov}(D, C) / \operatorname{var}(C)$. It is then $(1 - \rho^2)$ times that of the plain mean,
# where $\rho$ is the correlation of $D$ and $C$. (A slope taken from the same draws makes a bias of order $1/n$, far
# below the error.)
#
# #### Exercise 7: a control variate
#
# Write the estimate, with the slope taken from the draws. (`np.cov(a, b)` returns a table of two by two: the covariance
# of `a` and `b` stands off its diagonal.)


# %% tags=["exercise"]
def with_control(values, control, known_mean):
    """Draws [n], those of the control [n], its mean -> corrected mean."""
    ### BEGIN SOLUTION
    slope = np.cov(values, control)[0, 1] / control.var(ddof=1)
    return values.mean() - slope * (control.mean() - known_mean)
    ### END SOLUTION


# %%
check.with_control(with_control)

# %%
rho = np.corrcoef(times, path_length)[0, 1]
print(f"correlation {rho:.2f},", end=" ")
print(f"so {1 / (1 - rho**2):.1f} times fewer projects for the same error")

# %% [markdown]
# The means of *all* durations are known, and a regression on the ten of them does better. The library has that and three
# ways to draw projects that depend on each other:
#
# - **antithetic** projects come in pairs. Where one has a long duration the other has an equally extreme short one.
# - **Stratified**: the $n$ draws of each duration fall one into each of $n$ equally likely intervals.
# - **Sobol points** are a pattern that fills the ten-dimensional cube evenly, in many directions at a time. It is shifted
#   and scrambled at random, so that each single point is a fair draw.
#
# Dependent draws have no $\sigma/\sqrt n$. So the library makes 32 independent runs, and the spread of *their* results is
# the error. How many times as many independent projects would have been needed for the same error?

# %%
methods = {
    "control variates": control_variates,
    "antithetic": antithetic,
    "stratified": stratified,
    "Sobol points": sobol,
}
p_30 = float(law.sf(30))
for name, method in methods.items():
    mean = method(plan, n=2**18)
    late_30 = method(plan, n=2**18, deadline=30)
    gain = law.std**2 / (mean.n * mean.std_error**2)
    gain_30 = p_30 * (1 - p_30) / (late_30.n * late_30.std_error**2)
    print(f"{name:16}  E[D] {gain:4.0f} times", end="   ")
    print(f"P(D >= 30) {gain_30:.0f} times")

# %%
in_a_run = 2 ** np.arange(8, 15)
single_runs = {
    name: [
        mean.std_error * np.sqrt(mean.runs)
        for mean in (method(plan, 32 * n) for n in in_a_run)
    ]
    for name, method in methods.items()
}
title = (
    "Sobol points leave the line of slope −1/2; the others only lower it"
)
figures.errors_of_methods(in_a_run, single_runs, law.std, title)

# %% [markdown]
# An error from 32 runs is itself known to some 13 %, and a gain, which has its square, to 25 %. (12 for control
# variates is such an error; the truth is 10.) Three things to remember:
#
# - The gain hangs on the question. $D$ has kinks and no jumps, and most of its variance is a sum of effects of single
#   durations, which is what stratified draws and Sobol points take away. Being late is a jump, and there they save
#   little. Control variates save more of it: the library asks whether each path *by itself* takes that long, and knows how
#   likely that is.
# - It hangs on the number of dimensions that matter. The averages of the last notebooks run over 8 to 50 random numbers,
#   and there less is left of it (a ☆ part of notebook 5 measures how much).
# - None of this makes a rare event less rare. Of these 262,144 projects some eight take 70 days, however evenly they are
#   spread. For that, draw *other* projects: notebook 2.

# %% [markdown]
# ## 1.8 Summary
#
# Each estimate beside the exact answer. It *agrees* if the exact answer is within three standard errors. (Of right
# estimates one in twenty lies beyond two, and one in 370 beyond three.)

# %% tags=["slide"]
rows = {
    "E[D] of 100,000": (Estimate.from_values(times), law.mean),
    "P(D >= 15) of 100,000": (
        monte_carlo(plan, 15, 100_000, seed=1),
        float(law.sf(15)),
    ),
    "P(D >= 30) of 100,000": (
        monte_carlo(plan, 30, 100_000, seed=1),
        float(law.sf(30)),
    ),
    "P(D >= 70) of 100,000": (attempts["100,000"], exact),
    "P(D >= 70) of 5,000,000": (attempts["5,000,000"], exact),
}
print(f"{'projects':23} {'estimate':>23}  exact")
for name, (estimate, truth) in rows.items():
    print(f"{name:23} {estimate.rounded:>23}", end="  ")
    print(f"{truth:<10.5g}  {estimate.against(truth).verdict}")

# %% tags=["headline"]
attempts["5,000,000"].against(exact)

# %% [markdown] tags=["slide"]
# - An expectation is approximated by an average. The error of the average is $\sigma/\sqrt n$, in any number of
#   dimensions.
# - Report every estimate with its error. Zero hits mean "at most $3/n$", not zero.
# - A plan made of average durations is too optimistic: $\mathbb{E}[\max] \ge \max \mathbb{E}$.
# - The relative error of plain Monte Carlo is one over the square root of the number of *hits*. For rare events
#   almost every draw is wasted.
# - A standard error is that of the simulation. It does not know whether the law of the durations is the right one.

# %% [markdown]
# How far you came, by the checks that you ran since this kernel was started:

# %%
progress(check)

# %% [markdown]
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
# No. Your interval is 0 to 0.0037, hers 0.000025 to 0.0056 (`scipy.stats.binomtest(k, 1000).proportion_ci()`). Both
# contain the truth, 0.000032, hers only just: a late one among 1,000 was luck, with probability
# `1 - law.cdf(70)**1000`, about 3 %.
# </details>
#
# <details><summary><b>3.</b> The exact law takes milliseconds. Why simulate at all?</summary>
#
# The exact method needs durations made of exponential stages, and no more states than a computer can hold. This plan
# has 51 states. Thirty tasks side by side have $2^{30}$. And durations with another law, as those of section 1.7,
# remember how long a task has been running.
# A simulation works all the same. Here we can check it; elsewhere we have to trust it.
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
# **Next:** `02_importance_sampling.ipynb`, where we simulate a project that is often late, and correct for it.
