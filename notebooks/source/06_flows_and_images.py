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
# # 6. More than the course: flows, colour, and your own images
#
# This notebook is optional. Notebook 5 used models whose $q(z \mid x)$ and prior are **flows**, and said no more
# about them. Here you will build one. Then the same VAE meets grey and colour images, and in the end images of your
# own.
#
# **You will be able to**
# - say why a posterior leans, and what that costs a Gaussian without correlations;
# - write one step of an inverse autoregressive flow, its density, and the way back;
# - say what flows in $q$ and in the prior gain, and what they leave;
# - read a number in bits per dimension, with what it was measured on;
# - train a model on a folder of your own pictures, watch it, and look at what it makes.
#
# | section | minutes |
# | --- | --- |
# | this cell | 4 |
# | 6.1 Two tasks, one total: posteriors that lean | 10 |
# | 6.2 One step: exercises 1 and 2 | 18 |
# | 6.3 A flow for every x | 10 |
# | 6.4 What flows are worth | 7 |
# | 6.5 Grey and colour | 13 |
# | 6.6 Your own images | 9 |
# | 6.7 Summary | 4 |
# | **core** | **75** |
# | ☆ More than two numbers, and which way is fast: exercise 3 | 12 |
# | ☆ Normalization in flows | 4 |
# | ☆ What a limit would cost: exercise 4 | 7 |
# | ☆ A grid in the picture | 6 |
# | ☆ Your handwriting: exercise 5 | 45 |
# | ☆ Annealing with memory: HAIS | 8 |
#
# Parts marked ☆ go further, and nothing after them needs them.
#
# **You need** notebooks 3 to 5. A few small models are trained here, in half a minute.

# %%
import json
import math
import string
import tempfile
from pathlib import Path

import matplotlib
import torch
from course_lib import datasets
from course_lib.estimates import Estimate
from course_lib.exercises import notebook_06 as check
from course_lib.exercises import progress
from course_lib.figures import notebook_06 as figures
from course_lib.figures.images import image_rows
from course_lib.resources import DATA
from course_lib.training import PRESETS, for_data, load_checkpoint, train
from course_lib.training.checkpoints import CheckpointFiles, read_card
from course_lib.vae import (
    Annealing,
    annealed_importance_sampling,
    elbo,
    log_likelihood,
)
from course_lib.vae.distributions import (
    DiagonalGaussian,
    standard_normal_log_prob,
)
from course_lib.vae.flows import InverseAutoregressiveFlow
from course_lib.vae.proposals import adapted
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import load_file
from sklearn.datasets import load_sample_images
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

torch.set_num_threads(1)  # faster than threads that wait for each other


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# %% [markdown] tags=["slide"]
# ## 6.1 Two tasks, one total: posteriors that lean
#
# Back to the project for a moment. Two tasks take $z_1$ and $z_2$ days longer than planned, both $N(0, 1)$. You are
# told only their total delay $x$, measured with an error of 0.3 days. What does it say about $z$?
#
# - **In series** the delays add up: $x \approx z_1 + z_2$. If one was longer, the other must have been shorter. The
#   posterior is a ridge that leans.
# - **In parallel** the later one counts: $x \approx \max(z_1, z_2)$. One of the two is near $x$, and the other is
#   anything below. The posterior has a corner.
#
# Images do the same. If two latents both make a stroke thicker, an image of a thick stroke tells only their sum.

# %%
NOISE = 0.3


def log_joint_of(combine):
    """log p(x, z): x [batch] and z [..., batch, 2] -> [..., batch]."""

    def log_joint(x, z):
        likelihood = torch.distributions.Normal(combine(z), NOISE)
        return likelihood.log_prob(x) + standard_normal_log_prob(z)

    return log_joint


in_series = log_joint_of(lambda z: z.sum(-1))
in_parallel = log_joint_of(lambda z: z.amax(-1))

# %% [markdown]
# In two dimensions nothing has to be estimated: sum $p(x, z)$ over a fine grid of $z$.

# %%
line = torch.linspace(-7, 7, 1_401, dtype=torch.float64)
grid = torch.cartesian_prod(line, line)
cell_area = float(line[1] - line[0]) ** 2


def exact_log_p(log_joint, x):
    x = torch.tensor(x, dtype=torch.float64)
    log_sum = torch.logsumexp(log_joint(x, grid), 0)
    return float(log_sum) + math.log(cell_area)


by_grid = exact_log_p(in_series, 1.0)
normal = torch.distributions.Normal(0, math.sqrt(2 + NOISE**2))
by_formula = normal.log_prob(torch.tensor(1.0))
print(f"in series, log p(x = 1): {by_grid:.5f} by the grid", end=", ")
print(f"{by_formula:.5f} by the formula for sums")

# %% [markdown]
# Now the $q$ of notebook 3, a Gaussian without correlations, as good as the ELBO can make it:


# %% tags=["slide"]
def best_gaussian(log_joint, x, updates=400):
    """Mean [2] and standard deviation [2] of q with the highest ELBO."""
    mean = torch.tensor([0.2, 0.0], requires_grad=True)
    log_std = torch.full((2,), -1.0, requires_grad=True)
    optimizer = torch.optim.Adam([mean, log_std], lr=0.03)
    # The same noise in every update.
    noise = torch.randn(2_000, 2, generator=seeded(0))
    for _ in range(updates):
        z = mean + log_std.exp() * noise
        entropy = log_std.sum()  # of q, up to a constant
        loss = -(log_joint(x, z).mean() + entropy)  # minus the ELBO
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return mean.detach(), log_std.exp().detach()


tasks = {"in series": in_series, "in parallel": in_parallel}
one = torch.tensor(1.0)
gaussians, densities = {}, {}
for name, log_joint in tasks.items():
    mean, std = gaussians[name] = best_gaussian(log_joint, one)
    q = DiagonalGaussian(mean[None], std[None])
    z, log_q = q.rsample_and_log_prob(100_000, seeded(1))
    gap = exact_log_p(log_joint, 1.0) - (log_joint(one, z) - log_q).mean()
    print(f"{name:11}: the ELBO is {gap:.2f} nats below log p(x)")
    densities[name] = lambda z, f=log_joint: f(one, z)
titles = ["In series: it leans", "In parallel: it has a corner"]
figures.leaning_posteriors(densities, gaussians, titles)

# %% [markdown] tags=["slide"]
# Each time the Gaussian settles for a part. In parallel it takes one arm and leaves out the other, as notebook 5 said
# of $\mathrm{KL}(q \,\|\, p(z|x))$: a place where $q$ never draws costs nothing. With 50 latents such gaps add up.
# Another family of $q$ can follow the posterior's shape.
#
# ## 6.2 One step
#
# Take draws $\varepsilon$ of a Gaussian, as in notebook 3, and push them to where they should be. The push must be
# **invertible**. And one must know how much it **stretches** space: where draws are pulled apart to twice the length,
# their density is half as high. In several dimensions the factor is the determinant of the matrix of derivatives:
#
# $$ \log q(z) = \log N(\varepsilon; 0, I) - \log \left| \det \frac{\partial z}{\partial \varepsilon} \right| . $$
#
# The trick of autoregressive flows: leave the first number alone, and scale and move the second by amounts that
# depend on the first,
#
# $$ z_1 = \varepsilon_1, \qquad z_2 = \varepsilon_2\, e^{a(\varepsilon_1)} + b(\varepsilon_1) . $$
#
# The matrix of derivatives is triangular, so its determinant is the product of the diagonal, $1 \cdot
# e^{a(\varepsilon_1)}$. The functions $a$ and $b$ may be any network. Nobody has to invert *them*.
#
# ### Exercise 1: one step
#
# Return $z$, and the log-determinant of each draw. `conditioner` takes the first numbers and returns $a$ and $b$.
# (`torch.stack([first, second], dim=-1)` puts two columns together.)


# %% tags=["exercise", "slide"]
def step(noise, conditioner):
    """Noise [n, 2] -> z [n, 2], log-determinants [n]."""
    first, second = noise.unbind(-1)
    log_scale, shift = conditioner(first)  # [n], [n]
    ### BEGIN SOLUTION
    z = torch.stack([first, second * log_scale.exp() + shift], dim=-1)
    return z, log_scale
    ### END SOLUTION


# %%
check.step(step)

# %% [markdown]
# A conditioner that is no network, so that one sees what it does: for small first numbers it moves the second up and
# spreads it little, for large ones it moves it down and spreads it wide.


# %% tags=["slide"]
def bend(first):
    return torch.sigmoid(3 * first) - 0.7, 1 - 2 * torch.sigmoid(3 * first)


noise = torch.randn(1_500, 2, generator=seeded(0))
log_scale, shift = bend(noise[:, 0])
second = noise[:, 1] * log_scale.exp() + shift
bent = torch.stack([noise[:, 0], second], dim=-1)
figures.one_step(noise, bent, "After it: no longer a Gaussian")

# %% [markdown]
# ### Exercise 2: the density anywhere
#
# For draws you know $\varepsilon$. For a given $z$ you have to find it: undo the step, then use the formula above.
# Return $\log q(z)$. (`standard_normal_log_prob` takes `[n, 2]` and returns `[n]`.)


# %% tags=["exercise", "slide"]
def log_density(z, conditioner):
    """[n, 2] -> log q(z) [n], in nats."""
    first, second = z.unbind(-1)
    ### BEGIN SOLUTION
    log_scale, shift = conditioner(first)
    second = (second - shift) * torch.exp(-log_scale)
    noise = torch.stack([first, second], dim=-1)
    return standard_normal_log_prob(noise) - log_scale
    ### END SOLUTION


# %%
check.log_density(log_density)

# %% [markdown]
# One step leaves the first number Gaussian. So one takes several, and every other one goes through the numbers in the
# opposite order. The library's version does that, gives the first number a scale and a shift as well, and has
# networks for $a$ and $b$. Whatever they are, the density integrates to one, here over the grid:

# %%
torch.manual_seed(1)
flow = InverseAutoregressiveFlow(
    latent_dim=2, context_dim=1, n_layers=2, width=16
)
# It begins as the identity: change that.
for seed, parameter in enumerate(flow.parameters()):
    noise = torch.randn(parameter.shape, generator=seeded(seed))
    parameter.data += 0.15 * noise
standard = DiagonalGaussian(torch.zeros(1, 2), torch.ones(1, 2))
context = torch.ones(1, 1)  # what that is, 6.3 tells
with torch.no_grad():
    log_q = flow(standard, context).log_prob(grid[:, None].float())
mass = log_q.double().exp().sum() * cell_area
print("two steps with random networks: the density integrates", end=" ")
print(f"to {mass:.4f}")

# %% [markdown] tags=["slide"]
# ## 6.3 A flow for every x
#
# A VAE needs a $q(z \mid x)$ for every $x$, with one set of weights. The encoder makes a Gaussian of $x$, as before,
# and beside it a few more numbers, the **context**. The networks for $a$ and $b$ take the context as a further input.
# So the same steps bend draws in another way for each $x$. This is the **inverse autoregressive flow** (Kingma et
# al., [*Improving variational inference with inverse autoregressive flow*, 2016](https://arxiv.org/abs/1606.04934)).
# *Inverse*, because the amounts depend on the noise; in the flow of a prior they depend on the numbers of $z$ itself.
#
# Two tasks in parallel again, for any $x$ now. We train by the ELBO on delays that the model draws itself, without
# steps and with one, two and four:


# %% tags=["slide"]
def trained_q(n_layers, updates=700):
    """x [batch] -> q(z|x), trained by the ELBO."""
    torch.manual_seed(0)
    sizes = [2, 2, 8]  # of the mean, the raw std and the context
    encoder = nn.Sequential(
        nn.Linear(1, 32), nn.ELU(), nn.Linear(32, sum(sizes))
    )
    modules = nn.ModuleList([encoder])
    if n_layers:
        modules.append(InverseAutoregressiveFlow(2, 8, n_layers, width=32))

    def q_of(x):
        mean, raw_std, context = encoder(x[:, None]).split(sizes, dim=1)
        std = nn.functional.softplus(raw_std) + 1e-3
        base = DiagonalGaussian(mean, std)
        return modules[1](base, context) if n_layers else base

    optimizer = torch.optim.Adam(modules.parameters(), lr=5e-3)
    schedule = CosineAnnealingLR(optimizer, updates)
    source = seeded(0)
    for _ in range(updates):
        true_z = torch.randn(64, 2, generator=source)
        x = true_z.amax(-1) + NOISE * torch.randn(64, generator=source)
        z, log_q = q_of(x).rsample_and_log_prob(8, source)
        loss = -(in_parallel(x, z) - log_q).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return q_of


exact = exact_log_p(in_parallel, 1.0)
trained = {n: trained_q(n) for n in [0, 1, 2, 4]}
shown = {}
with torch.no_grad():
    for n, q_of in trained.items():
        z, log_q = q_of(one[None]).rsample_and_log_prob(20_000, seeded(1))
        log_w = in_parallel(one, z) - log_q  # [20000, 1]
        gap = exact - float(elbo(log_w))
        found = Estimate.from_log_weights(log_w[:, 0])
        name = {0: "no step", 1: "one step"}.get(n, f"{n} steps")
        name += f"\nELBO {gap:.2f} below log p(x)"
        name += f"\nESS {found.ess / found.n:.0%} of the draws"
        shown[name] = z[:600, 0]
figures.flows_over_posterior(
    lambda z: in_parallel(one, z), shown, "Two steps reach round the corner"
)

# %% [markdown] tags=["slide"]
# **One step cannot do it**: its first number stays Gaussian. **Two can, and nearly all of the gap is gone.** More have
# little left to do *here*. A better $q$ is also a better proposal: the effective sample size says what share of 20,000
# draws counts. (The Gaussian lacks one arm. The few draws that fall there have nearly all of the weight.)

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ More than two numbers, and which way is fast (12 minutes)
#
# One network for all amounts, and how many passes through it each use of a flow takes (exercise 3).

# %% [markdown]
# With $D$ numbers, the $i$-th is moved by amounts that depend on those before it. That would be $D$ networks. A
# **masked network** does it in one: some of its weights are set to zero, such that the outputs for number $i$ see the
# inputs $1, \dots, i - 1$ and no others (Germain et al., [*MADE: masked autoencoder for distribution estimation*,
# 2015](https://arxiv.org/abs/1502.03509)). Which numbers depend on which, in the library's steps for four numbers:

# %%
torch.manual_seed(0)
four = InverseAutoregressiveFlow(
    latent_dim=4, context_dim=1, n_layers=2, width=32
)
for seed, parameter in enumerate(four.parameters()):
    noise = torch.randn(parameter.shape, generator=seeded(seed))
    parameter.data += 0.3 * noise
point, context = torch.tensor([0.3, -0.5, 0.8, 0.1]), torch.ones(1)


def derivatives(transform):
    jacobian = torch.func.jacrev(lambda x: transform(x, context)[0])
    return jacobian(point).detach()


first_step, second_step = four.steps
jacobians = {
    "first step": derivatives(first_step),
    "second step": derivatives(second_step),
    "both": derivatives(four.steps),
}
title = "Grey: it depends. Each step is triangular, together they are not"
figures.dependencies(jacobians, title)

# %% [markdown]
# #### One pass, or one for each number
#
# From $\varepsilon$ to $z$ a step takes **one pass** through its network: all of $\varepsilon$ is there. From $z$
# back it takes **a pass for each number**: the second can be found once the first is known, and so on. Counted for
# the deep model `mnist-dense`, which has 32 latents, two steps in $q$ and two in its prior:

# %%
dense, dense_card = load_checkpoint("mnist-dense")


def passes(steps, call):
    """How often the networks of the steps ran while ``call`` did."""
    ran = []

    def note(*_):
        ran.append(1)

    hooks = [step.others.register_forward_hook(note) for step in steps]
    with torch.no_grad():
        result = call()
    for hook in hooks:
        hook.remove()
    return result, len(ran)


def draw_from_q():
    return dense_q.rsample_and_log_prob(1, seeded(0))


digits = datasets.fixed_binarization(datasets.forty_digits())
dense_q = dense.posterior(digits[:1])
q_steps, prior_steps = dense.posterior_flow.steps, dense.prior_flow.steps
(z, _), count = passes(q_steps, draw_from_q)
print(f"q:     draw z, with its density     {count:3} passes")
_, count = passes(q_steps, lambda: dense_q.log_prob(z))
print(f"       density of a z that is given {count:3}")
_, count = passes(prior_steps, lambda: dense.log_prior(z))
print(f"prior: density of a z that is given {count:3}")
_, count = passes(prior_steps, lambda: dense.sample_prior(1, seeded(0)))
print(f"       draw z                       {count:3}")

# %% [markdown]
# Training needs draws from $q$ *with* their density, and the prior's density *at* these draws. So $q$ uses the steps
# from noise to $z$, and the prior uses the same kind of steps from $z$ to noise: both in the fast direction. The
# price is paid when one draws images, once for each image.
#
# #### Exercise 3: count the passes
#
# A model has 50 latents, 8 steps in $q$ and 4 in its prior. How many passes does each of these take, for one $z$? (On
# the slow way count a pass for each number, the first too.)

# %% tags=["exercise"]
# {"draw from q": ..., "density of q": ...,
#  "density of prior": ..., "draw from prior": ...}
counted = None
### BEGIN SOLUTION
counted = {
    "draw from q": 8,
    "density of q": 8 * 50,
    "density of prior": 4,
    "draw from prior": 4 * 50,
}
### END SOLUTION

# %%
check.passes(counted)

# %% [markdown] tags=["slide"]
# ## 6.4 What flows are worth
#
# Two dimensions are a sketch. What do steps bring on binarized MNIST? The model of `mnist-dense`, trained with 0, 2,
# 4 or 8 steps in $q$, and with none or two in the prior: all for the same 12 epochs, far from the end. $\log p(x)$ of
# 1,000 test images comes from fits, so that no model is helped or hurt by its own $q$ as a proposal. (The file was
# written by `benchmarks/flows.py`.)

# %% tags=["slide"]
flow_rows = json.loads((DATA / "ablations" / "flows.json").read_text())
flow_values = load_file(DATA / "ablations" / "flows.safetensors")
print("steps in q   in prior   log p(x)     ELBO   ELBO of the fits")
for row in flow_rows:
    if row["seed"] == 0 and row["normalization"] == "none":
        print(f"{row['posterior']:10} {row['prior']:10}", end=" ")
        print(f"{row['test']:10.2f} {row['elbo']:8.2f}", end=" ")
        print(f"{row['elbo_of_fits']:18.2f}")
title = "Two steps in the prior gain more than 2, 4 or 8 in q"
figures.flows_compared(flow_rows, flow_values, title)

# %% [markdown] tags=["slide"]
# - **The prior gains most**: two steps there more than 3 nats. Without them two steps in $q$ gain 0.65, and more steps
#   nothing that these images would show, after so few epochs. Beside them, steps in $q$ gain 0.3.
# - **A gap of 4 to 5 nats stays** between ELBO and $\log p(x)$, smaller with a flow in the prior. The last column has the
#   ELBO of the Gaussians that are *fitted to each image* (5.5): they leave about half a nat, or less. They have two things that
#   the encoder's Gaussian has not. They are correlated, and each image has its own, where one encoder has to guess for
#   all. Steps in $q$ mend the first only.
#
# The bars are of the images alone. All models see the same ones, and so differences are known to a tenth of a nat.
# They say nothing about another training, which is one of each here, or a longer one.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ Normalization in flows (4 minutes)
#
# Three ways to treat the hidden layers of a step.

# %% [markdown]
# The README of Kreis's repository (5.7) says of its flows that "without any normalization in the cMADE layers
# training can be unstable easily": masked networks with context are called cMADE there. It uses **batch norm**, which
# gives each hidden unit mean 0 and variance 1 over the images and draws of a batch, and running averages of both
# later. As an alternative it names **weight norm** with a data-dependent start (Salimans and Kingma, [*Weight
# normalization: a simple reparameterization to accelerate training of deep neural networks*,
# 2016](https://arxiv.org/abs/1602.07868)): a unit's weights are a direction and a length, and lengths and biases
# begin such that the unit has mean 0 and variance 1 on some images. The same training of four steps, with each:

# %%
print("hidden layers of four steps in q", end="   ")
print("log p(x)     ELBO   best epoch of 12")
for row in flow_rows:
    if (row["posterior"], row["prior"], row["seed"]) == (4, 0, 0):
        print(f"{row['normalization']:32} {row['test']:10.2f}", end=" ")
        print(f"{row['elbo']:8.2f} {row['best_epoch']:18}")

# %% [markdown]
# None was unstable here. The course's steps begin as the identity, scale by 1,000 at most, and training cuts gradients
# that are too long. Without that limit, and at twice the rate, `mnist-dense` did diverge after 30 epochs, as the README
# says. Weight norm with its start gains 0.4 nats (the paired error is 0.04). Batch norm loses 0.6: a unit's mean over
# 100 images is noisy, and that noise goes into every draw. One training of each. So the library's flows have neither,
# and weight norm would be the first thing to try in a longer training.

# %% [markdown] tags=["slide"]
# ## 6.5 Grey and colour
#
# From here on pixels have 256 levels, and $p(x \mid z)$ of each is one of three: a logistic cut into bins, as in
# exercise 1 of notebook 5; a mixture of five of them, each with a weight, a mean and a scale; or a **softmax**, a
# number for each of the 256 levels. First grey MNIST, with networks that are the same but for their last layer, all
# trained for six epochs on one processor core. From the cards, of all 10,000 test images:

# %% tags=["slide"]
EIGHT_BIT = ["logistic", "mixture", "softmax"]
print("p(x|z)     numbers a pixel   log p(x)   bits per dimension")
for name, numbers in zip(EIGHT_BIT, [2, 15, 256], strict=True):
    card = read_card(f"mnist-8bit-small-{name}")
    found = card.metrics["test"].log_likelihood
    error = found.std_error_over_images / (784 * math.log(2))
    print(f"{name:9} {numbers:16} {found.value:10.0f}", end=" ")
    print(f"{found.bits_per_dim:12.3f} ± {error:.3f}")
grey_levels = (255 * datasets.forty_digits()).round()
dark = (grey_levels == 0).float().mean()
bright = (grey_levels >= 252).float().mean()
print(f"of forty test digits {dark:.0%} of the values are 0", end=", ")
print(f"and {bright:.0%} are 252 to 255")
grey_draws = {}
for name in EIGHT_BIT:
    grey_model, _ = load_checkpoint(f"mnist-8bit-small-{name}")
    with torch.no_grad():
        z = grey_model.sample_prior(12, seeded(0))
        grey_draws[name] = grey_model.mean_image(z).view(12, 1, 28, 28)
image_rows(grey_draws, "Mean images of draws from the three models")

# %% [markdown] tags=["slide"]
# **With 50,000 images the softmax is clearly ahead.** On the 1,300 digits of notebook 5 it was the last: it had seen too few
# examples of each level. MNIST has enough of them, and its levels are peculiar. Four of five values are exactly 0, and of
# the others many are one of the last four levels, which no single bell can follow. Five come closer. The price: a step of
# training takes eight times as long with a softmax as with one logistic (516 ms in place of 62, see
# `benchmarks/README.md`). The ± is of the images alone. With 50 draws from the encoder all three are too low, as k-hat
# says for nearly every image, but they are compared alike.
#
# ### Colour
#
# A colour is three numbers, red, green and blue, of 256 levels each. So an image of $32 \times 32$ has 3,072
# dimensions. `cifar10-sample-resnet` learnt from 3,200 photographs of CIFAR-10, with a mixture of five logistics, and
# `cifar10-sample-logistic` from the same with one. They are shown two photographs that come with scikit-learn, cut
# into tiles, which neither has seen.

# %% tags=["slide"]
colour, colour_card = load_checkpoint("cifar10-sample-resnet")
one_logistic, one_card = load_checkpoint("cifar10-sample-logistic")


def tiles(photograph):
    """[height, width, 3] -> images [15, 3, 32, 32], whole levels / 255."""
    pixels = torch.tensor(photograph[:384, :640]).movedim(-1, 0).float()
    levels = nn.functional.avg_pool2d(pixels, 4).round()  # [3, 96, 160]
    rows = (levels / 255).unflatten(1, (3, 32)).unflatten(3, (5, 32))
    return rows.permute(1, 3, 0, 2, 4).flatten(0, 1)


photos = torch.cat([tiles(photo) for photo in load_sample_images().images])
with torch.no_grad():
    z = colour.posterior(photos).rsample(1, seeded(0))[0]
    again = colour.mean_image(z).view_as(photos)
    with_noise = colour.sample_conditional(z, seeded(1)).view_as(photos)
    new_z = colour.sample_prior(12, seeded(2))
    draws = colour.mean_image(new_z).view(12, 3, 32, 32)
image_rows(
    {
        "photograph": photos[::3][:10],
        "E[x|z]": again[::3][:10],
        "x from p(x|z)": with_noise[::3][:10],
        "E[x|z], z from p(z)": draws[:10],
    },
    "Tiles of two photographs, what 32 numbers keep of them, and new ones",
)

# %% [markdown] tags=["slide"]
# The mean image is a blur: 32 latents hold where it is light and where it is green, and no more. A *draw* from
# $p(x \mid z)$ looks far worse, and that is the honest picture of the model. **Given $z$ all pixels are independent, so
# what the latents do not say becomes noise.** Bits per dimension pay for that noise, pixel by pixel.

# %% tags=["slide"]
on_photos = {
    "one logistic": log_likelihood(one_logistic, photos, 100),
    "five": log_likelihood(colour, photos, 100),
}
print("bits per dimension, 100 draws    training images", end="    ")
print("test images    these tiles")
for name, card in {"one logistic": one_card, "five": colour_card}.items():
    seen = card.metrics["train"].log_likelihood.bits_per_dim
    tests = card.metrics["test"].all
    test = next(one for one in tests if one.size[1] == 100).log_likelihood
    error = test.std_error_over_images / (3072 * math.log(2))
    print(f"{name:32} {seen:.2f} {test.bits_per_dim:18.2f}", end=" ")
    print(f"± {error:.2f}{on_photos[name].bits_per_dim:11.2f}")


def five_less_one(values, encoder=""):
    """In bits per dimension, image by image."""
    difference = values["one logistic" + encoder] - values["five" + encoder]
    return Estimate.from_values(difference / (3072 * math.log(2)))


# Made by benchmarks/colour.py.
on_test = load_file(DATA / "ablations" / "colour.safetensors")
on_tiles = {name: found.per_image for name, found in on_photos.items()}
for where, gain in {
    "test images": five_less_one(on_test, ", encoder"),
    "these tiles": five_less_one(on_tiles),
}.items():
    print(f"five less one, {where}: {gain.value:+.3f}", end=" ")
    print(f"± {gain.std_error:.3f}")
low = []
for name in on_tiles:
    short = on_test[f"{name}, fits"] - on_test[f"{name}, encoder"][:100]
    low.append(f"{short.mean():.0f}")
print("the encoder's estimates are low by", " and ".join(low), "nats")

# %% [markdown] tags=["slide"]
# Others report for CIFAR-10, in bits per dimension:
#
# | | | trained on |
# | --- | --- | --- |
# | 8.0 | the worst result that Keng's post (exercise 2 of notebook 5) cites, and uniform guessing | |
# | 6.65 | the post itself: a residual VAE, one logistic, 128 draws from the encoder | CIFAR-10 |
# | 3.11 | Kingma et al. (2016), as the post quotes them | 50,000 images |
# | 2.91 | Vahdat and Kautz (2020), NVAE | 50,000 images |
#
# Is ours as good as the post's 6.65, or better? **That cannot be said.** Its images are others, and the mean over 400
# images is known to a few hundredths of a bit only, as the ± says. Ours learnt from 3,200 images in place of 50,000, part
# of them by heart. And the encoder is no proposal to rely on here: k-hat is too high for every one of the 400 images, and
# fits find nearly 300 nats more, a tenth of a bit and more. The post drew from the encoder, too. What such a comparison
# does tell is that both are far from 3, by more than errors and proposals explain. That is the models: here 32 numbers
# for a whole image, and pixels that are independent given them. The best ones have latents at every place and at many
# resolutions.
#
# The post also hoped that five logistics "probably will have much better behaviour" than one. On the same images, and
# of the kind that both have learnt from, five are ahead, by a few hundredths of a bit. On the tiles they are
# *behind*. These are other photographs, with other colours, and a model that follows its training images more closely
# pays for it there. Which model is better depends on the images, and a table that does not say which ones says
# little.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ What a limit would cost (7 minutes)
#
# The post limits two outputs of its networks: which limits can they have been (exercise 4)?

# %% [markdown]
# To make training converge the post had to limit two outputs of its networks, one "a tanh multiplied by 5", for the
# latent's standard deviation, and one "a sigmoid scaled by 7", for the logistic's inverse scale. It does not say
# whether that is the inverse scale itself or its logarithm. You can find out which it cannot have been.
#
# #### Exercise 4: the fewest bits
#
# A level gets the area of a logistic over its bin,
# $\sigma\big((i + \tfrac12 - \mu)/s\big) - \sigma\big((i - \tfrac12 - \mu)/s\big)$, with mean and scale in levels.
# That is largest for $\mu = i$. Return the fewest bits that a level can then cost, as a function of the scale $s$.
# (Not the first or the last level, whose bins are open.)


# %% tags=["exercise"]
def fewest_bits(scale):
    """The scale in levels, a number -> bits, a number."""
    ### BEGIN SOLUTION
    above = 1 / (1 + math.exp(-0.5 / scale))
    below = 1 / (1 + math.exp(0.5 / scale))
    return -math.log2(above - below)
    ### END SOLUTION


# %%
check.fewest_bits(fewest_bits)

# %%
for reading, least_scale in {
    "the inverse scale is at most 7": 255 / 7,
    "its logarithm is at most 7": 255 / math.exp(7),
}.items():
    edge = torch.tensor(0.5 / least_scale)
    bits = -torch.log2(torch.sigmoid(edge) - torch.sigmoid(-edge))
    print(f"{reading}: scale at least {least_scale:5.2f} levels", end=", ")
    print(f"so {bits:.2f} bits at best")

with torch.no_grad():
    pixels = colour.conditional(colour.posterior(photos).mean)
    likely = pixels.logits.softmax(-1) > 0.05  # components that count
    code = one_logistic.posterior(photos).mean
    scale_logs = {
        "one logistic": one_logistic.conditional(code).log_scales,
        "five, those that count": pixels.log_scales[likely],
    }
    std = colour.posterior(photos).std
print(f"standard deviations of q(z|x): {std.min():.3f} to {std.max():.2f}")
title = "Neither model comes near limits of -7 and 0"
figures.log_scales(scale_logs, (-7.0, 0.0), title)

# %% [markdown]
# Had it been the inverse scale itself, for intensities from 0 to 1 as here, an inner level could not cost less than
# 7.19 bits. The post reports 6.65 for the average one. (Only the first and the last level can cost less, and they are
# few.) So it was the logarithm of the inverse scale, from 0 to 7, or intensities went over another range. Then the
# logarithm of the scale lies between -7 and 0: after training neither of our models is near these limits, nor is any
# standard deviation near $e^{-5}$ or $e^5$. The post needed them because of NaNs on the way. The likelihood of this
# course is finite for every scale (a ☆ part of 5.1 shows how), and has no limits.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ A grid in the picture (6 minutes)
#
# Where regular patterns in decoded images come from, measured.

# %% [markdown]
# Keng writes that his reconstructions have corruption "at very regular grid-like patterns". He suspects first the
# strides of the convolutions, then the single logistic. The first suspicion is a good one. A decoder doubles its maps
# twice. Where it does so by a transposed convolution of stride 2 and width 3, some pixels get more of its weights
# than their neighbours (Odena, Dumoulin and Olah, [*Deconvolution and checkerboard artifacts*,
# 2016](https://doi.org/10.23915/distill.00003)). The networks here use **pixel shuffle**: four pixels are computed as
# four channels, and put side by side.
#
# `benchmarks/upsampling.py` trained `cifar10-sample-logistic` both ways for 30 epochs. Two doublings repeat every 4
# pixels. So average each of the 16 places in a cell of $4 \times 4$ over all cells of all images: a grid is what
# differs between them. As a share of the contrast, and in levels of 255:

# %%
grid_rows = json.loads((DATA / "ablations" / "upsampling.json").read_text())
grid_draws = load_file(DATA / "ablations" / "upsampling.safetensors")
print("                what the decoder adds to      reconstructions of")
print("                the mean, before and after    400 test images")
for name, row in grid_rows.items():
    shares = ""
    if "before" in row:
        shares = f"{row['before']:.0%} and {row['after']:.0%}"
    print(f"{name:14}  {shares:29} {row['levels']:.2f} levels")
image_rows(
    {
        f"{way}, {when}": grid_draws[f"{way}, {when}"].float() / 255
        for way in ["pixel shuffle", "deconvolution"]
        for when in ["before", "after"]
    },
    "Mean images of draws, before training (contrast stretched) and after",
)

# %% [markdown]
# Before training *both* ways leave a grid, of a fifth of the contrast and more: nothing makes the four channels of a
# shuffle equal either. Training removes it, from both. In reconstructions less of it is left than the photographs
# have themselves. And these models have one logistic a value. So neither suspect is found guilty here: what spoilt
# the post's pictures cannot be told from the post.

# %% [markdown]
# ## 6.6 Your own images
#
# `datasets.from_folder` takes a folder of PNG or JPEG files of one size, grey, colour, or black and white, and splits
# them by a seed into training, validation and test images. The data set's name ends in a hash of the pixels. So a
# card tells which pictures a model was trained on, wherever they lay. Here the letters and digits of the fonts that
# come with matplotlib:

# %% tags=["slide"]
folder = Path(tempfile.mkdtemp()) / "glyphs"
folder.mkdir()
font_folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
characters = string.ascii_letters + string.digits
fonts = list(font_folder.glob("DejaVuS*.ttf"))
fonts += font_folder.glob("STIXGeneral*.ttf")
for font_file in fonts:
    if "Display" in font_file.stem:  # symbols only
        continue
    font = ImageFont.truetype(str(font_file), 18)
    for letter in characters:
        picture = Image.new("L", (24, 24))
        pen = ImageDraw.Draw(picture)
        pen.text((12, 12), letter, 255, font, anchor="mm")
        picture.save(folder / f"{font_file.stem}-{ord(letter)}.png")
glyphs = datasets.from_folder(folder)
print(f"{len(glyphs.train)} training images, {glyphs.shape}", end=", ")
print(f"{glyphs.levels} levels")
title = "Letters and digits of several fonts"
image_rows({"": glyphs.train[:14], " ": glyphs.train[14:28]}, title)

# %% [markdown]
# `images-dense` and `images-resnet` are presets that take their shape and levels from the data. The commands for a
# folder `glyphs` are below, and after them the first of them in Python, with fewer epochs:
#
# ```
# python -m course_lib train images-dense --data glyphs --out my --tensorboard
# python -m course_lib evaluate my/images-dense.safetensors --data glyphs
# python -m course_lib sample my/images-dense.safetensors
# python -m course_lib reconstruct my/images-dense.safetensors --data glyphs
# ```

# %% tags=["nbval-ignore-output"]
preset = for_data(PRESETS["images-dense"].in_epochs(30), glyphs)
weights = train(preset, folder.parent, data=glyphs)

# %% tags=["slide"]
files = CheckpointFiles.of(weights)
lines = files.log.read_text().splitlines()
records = [json.loads(line) for line in lines]
fields = ", ".join(records[0])
print("the log has a line for each validation, with:", fields)
title = "Validation images choose which weights are kept"
figures.training_log(records, title)

# %% [markdown]
# With `--tensorboard` the same numbers go to TensorBoard (`pip install tensorboard`, then
# `tensorboard --logdir my`, and open the address that it prints). Beside the curves it shows pictures:
# at each validation `train` draws images from the prior, always from the same noise, and reconstructs the same
# validation images. Without TensorBoard they lie in a folder beside the log. The draws at the first validation and at
# the last:

# %% tags=["slide"]
pictures = sorted(files.pictures.glob("samples-*.png"))
figures.pictures_beside_each_other(
    {"first": pictures[0], "last": pictures[-1]},
    "64 mean images of draws from the prior, in 8 rows",
    "Draws from the same noise, at the first validation and at the last",
)

# %% tags=["nbval-ignore-output"]
own, own_card = load_checkpoint(weights)
found = log_likelihood(own, glyphs.test, 200)
print(f"{len(glyphs.test)} test images:", end=" ")
print(f"{found.bits_per_dim:.1f} bits per dimension", end=", ")
print("and the card says what it was trained on:", own_card.data)

# %% [markdown]
# The first draws are smudges, the last ones letters, if some of no alphabet. A pixel costs few bits because most of a
# picture is black paper: compare bits per dimension with other models of *these* images only. (In the figure of the
# log the curves are of two kinds, an ELBO from one draw and $\log p(x)$ from ten. That one is above the other says
# nothing.)

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ Your handwriting (45 minutes)
#
# Train it on pictures that nobody has trained on before (exercise 5).

# %% [markdown]
# #### Exercise 5: a data set of your own
#
# Write each digit or letter a few dozen times on paper, photograph the sheet, and cut it into squares of one size,
# say 32 by 32 (any drawing program does, or a few lines with Pillow: `picture.crop(...).resize((32, 32))`, and
# `ImageOps.invert` for white on black). A hundred pictures will do to begin with. Or take any folder of small
# pictures that you have. Then

# %% tags=["exercise"]
mine = None  # datasets.from_folder("my_pictures")
### BEGIN SOLUTION
mine = glyphs
### END SOLUTION

# %%
check.own_images(mine)

# %% [markdown]
# Train `images-resnet` on it as above, with 40 epochs or more, then look at its samples and at the bits per dimension
# of its test images. What tells you that a hundred pictures are few?

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ Annealing with memory: HAIS (8 minutes)
#
# The options of annealing, at equal cost on 20 images.

# %% [markdown]
# In the ☆ part of 5.6 annealing walked with Hamiltonian moves, and each began with a fresh random push. **HAIS**
# (Sohl-Dickstein and Culpepper, [*Hamiltonian annealed importance sampling for partition function estimation*,
# 2012](https://arxiv.org/abs/1205.1925)) keeps most of the push. Here only a tenth of it is renewed at each move, so
# that many short moves make a long path. A rejected move turns back, so nearly all should be accepted: the target is
# 98 % in place of 80 %. Kreis's repository (section 5.7) offers this, with a start from the prior or from the
# encoder, and its README found it "unpractically slow". Five ways on 20 images that `mnist-vae` drew, all with the
# same number of gradients, beside $\log p(x)$ from fits:

# %%
plain, _ = load_checkpoint("mnist-vae")
with torch.no_grad():
    plain_z = plain.sample_prior(20, seeded(0))
    plain_x = plain.sample_conditional(plain_z, seeded(1))
by_fits = log_likelihood(plain, plain_x, 2_000, proposal=adapted)
plain_moves = {"n_leapfrog": 3, "target_acceptance": 0.8}
with_memory = {
    "n_leapfrog": 1,
    "momentum_refreshment": 0.1,
    "target_acceptance": 0.98,
}
ways = {
    "from the prior, fresh momentum": {"start": "prior", **plain_moves},
    "from the prior, HAIS": {"start": "prior", **with_memory},
    "from the encoder, fresh momentum": {"start": "encoder", **plain_moves},
    "from the encoder, HAIS": {"start": "encoder", **with_memory},
    "from the fits, fresh momentum": {"start": "adapted", **plain_moves},
}
GRADIENTS = 300  # for each of 8 chains and each image
short = {}
for name, settings in ways.items():
    n_steps = GRADIENTS // settings["n_leapfrog"]
    run = Annealing(n_steps, n_chains=8, **settings)
    found = annealed_importance_sampling(plain, plain_x, run)
    short[name] = Estimate.from_values(found.per_image - by_fits.per_image)
title = "Where the walk starts matters more than how it moves"
figures.shortfalls(short, "the fits", title)

# %% [markdown]
# From the prior 300 gradients end a nat or more too low, with memory and without. More complex models and longer ways
# make that the slowness. From the encoder the walk is short, and nothing is left that these errors would show. From the
# fits the errors are small, too. Whether momentum is kept makes no difference that one would see here. (Try
# `GRADIENTS = 1_200`, or a tenth of the momentum renewed with a target of 80 %.)

# %% [markdown]
# ## 6.7 Summary
#
# The flow of 6.3 with four steps as a proposal, against the grid: the probability density of $x = 1$ for two tasks in
# parallel.

# %% tags=["headline"]
with torch.no_grad():
    z, log_q = trained[4](one[None]).rsample_and_log_prob(20_000, seeded(2))
    log_w = in_parallel(one, z) - log_q
flow_estimate = Estimate.from_log_weights(log_w[:, 0])
flow_estimate.against(math.exp(exact))

# %% [markdown] tags=["slide"]
# - A posterior leans wherever several latents explain the same thing. A Gaussian without correlations pays for that in
#   the ELBO, and in weights.
# - A flow pushes draws through invertible steps with known volume change. An autoregressive step moves each number by
#   amounts that depend on those before it; masks do all of them in one network.
# - One direction takes one pass, the other a pass for each number. $q$ draws in the fast one, the prior is evaluated in
#   it.
# - Bits per dimension make images of any size comparable, models only if they were measured on the same images and had
#   the same to learn from.
# - A number without its data, its draws and its error is a rumour. A card, a log and pictures are cheap.

# %% [markdown]
# How far you came, by the checks that you ran since this kernel was started:

# %%
progress(check)

# %% [markdown]
# ### Three questions
#
# <details><summary><b>1.</b> Why does the encoder's Gaussian not simply get a full covariance matrix?</summary>
#
# It can, and for two tasks in series that is exact. With 50 latents it takes 1,325 numbers for each image in place of
# 100, and it still has no corners. A step of a flow depends on the draw itself, so it makes shapes that are no
# Gaussian, with weights that all images share.
# </details>
#
# <details><summary><b>2.</b> Could one use a flow in the prior only, and none in q?</summary>
#
# Yes: see the points of 6.4 with 0 steps in q. Where the prior can have any shape, the decoder can arrange its
# latents such that posteriors come out as simple as q wants them. How far that goes is in the figure.
# </details>
#
# <details><summary><b>3.</b> A paper reports 2.9 bits per dimension on CIFAR-10. Yours, trained on 3,200 images, has twice as many. What would you have to change to compare the models?</summary>
#
# Train on the same 50,000 images, evaluate the same 10,000, and say with how many draws. What is left after that is
# the model: independent pixels given z, against many layers of latents in the best ones.
# </details>
#
# ### Where to read on
#
# - [Papamakarios et al. (2021)](https://arxiv.org/abs/1912.02762), *Normalizing flows for probabilistic modeling
#   and inference*.
# - [Sohl-Dickstein and Culpepper (2012)](https://arxiv.org/abs/1205.1925), *Hamiltonian annealed importance sampling for
#   partition function estimation*.
# - [Salimans, Karpathy, Chen and Kingma (2017)](https://arxiv.org/abs/1701.05517), *PixelCNN++*, for what comes after
#   independent pixels.
