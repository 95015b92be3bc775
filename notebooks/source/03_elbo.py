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
# # 3. The ELBO and the reparameterization trick
#
# How probable is an image under a model? To answer, one has to average over everything that the image might show, and
# nearly all of it does not fit the image. The part that fits is a rare event, as in notebooks 1 and 2, and the method
# is the same: weights and a good proposal. This time a neural network learns the proposal. A model with such a
# network is called a **variational autoencoder** (VAE).
#
# **You will be able to**
# - write $\log p(x)$ as an expectation, bound it from below, and say exactly how far below;
# - name what each line of a VAE does, with the shapes;
# - differentiate through a random draw, and measure what that is worth;
# - train a VAE in seconds and judge what it learned;
# - (☆) choose how many samples and how large a batch, and look at a latent plane.
#
# | section | minutes |
# | --- | --- |
# | 3.1 A latent variable model: exercise 1 | 18 |
# | 3.2 A bound that can be learned from: exercise 2 | 15 |
# | 3.3 The networks | 6 |
# | 3.4 Gradients through a random draw | 14 |
# | 3.5 Train one: exercise 5 | 14 |
# | 3.7 What has it learned? | 4 |
# | 3.8 Summary | 4 |
# | **core** | **75** |
# | ☆ What a wrong q costs, by simulation | 6 |
# | ☆ What is the shape now? Exercise 3 | 6 |
# | ☆ Why a softplus, and why logits? | 6 |
# | ☆ A duration that can be differentiated: exercise 4 | 7 |
# | ☆ 3.6 How many samples? Exercises 6 and 7 | 26 |
# | ☆ How far below log p(x)? | 5 |
# | ☆ The latent plane | 9 |
#
# Parts marked ☆ go further, and JupyterLab shows them folded. Exercises are numbered through the core and the ☆
# parts. The three questions at the end take another ten minutes.
#
# **You need** notebooks 1 and 2, integrals, and a little PyTorch. No GPU, and no internet connection.
#
# <details><summary><b>PyTorch for those who know NumPy</b></summary>
#
# A <em>tensor</em> is an array: `t.mean(0)`, `t[:, None]` and `@` work as in NumPy (`dim` is `axis`). If a tensor has
# `requires_grad`, everything computed from it remembers how. `y.backward()` on a single number `y` then writes the
# derivatives of `y` into `t.grad`. `.detach()` forgets the history, and `with torch.no_grad():` does not record it. A
# <em>module</em> is a function with parameters; an <em>optimizer</em> changes them along their gradients. An
# <em>epoch</em> is one pass through the training images, in <em>batches</em> of some of them.
# </details>

# %%
import copy
import math

import torch
from course_lib import datasets
from course_lib.estimates import Estimate, effective_sample_size
from course_lib.exercises import notebook_03 as check
from course_lib.exercises import progress
from course_lib.figures import notebook_03 as figures
from course_lib.figures.images import image_rows
from course_lib.figures.live import LiveCurve
from course_lib.vae import VAE, LinearGaussianVAE, elbo, log_likelihood
from course_lib.vae.bounds import score_function
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn.functional import softplus

# Matrices this small are done before a second thread has woken up.
torch.set_num_threads(1)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# %% [markdown] tags=["slide"]
# ## 3.1 A latent variable model
#
# The model makes an image $x$ in two steps. First it draws a **code** $z$, a few numbers, from the **prior** $p(z)$,
# a standard normal distribution. One number may stand for how slanted a digit is, another for how bold. Then it draws
# the pixels from $p(x \mid z)$, which is called the **decoder**. We see the image and not the code: the code is
# *latent*, which means hidden. The probability of an image, also called its **evidence**, is an average over all
# codes:
#
# $$ p(x) = \int p(x \mid z)\, p(z)\, dz = \mathbb{E}_{p(z)}\big[p(x \mid z)\big] . $$
#
# An expectation, as in notebook 1. There the durations were drawn from the plan; here codes are drawn from the prior.
#
# We begin where the answer is known. In `LinearGaussianVAE` an "image" has four numbers, $x = Wz + b + \text{noise}$,
# and the code has two. Then $x$ is Gaussian, and its density $p(x)$ has a formula. Beside it we print the average of
# $p(x \mid z)$ over 10,000 codes, as the same kind of `Estimate` that counted late projects:

# %%
model = LinearGaussianVAE.random(data_dim=4, latent_dim=2, seed=0)
x = model.simulate(100, seed=1)  # [100, 4]
exact = model.exact_log_likelihood(x).detach()  # [100], in nats

z = model.sample_prior(10_000, seeded(0))  # [10000, 2]
log_p = model.log_conditional(x[:1], z[:, None]).detach()  # [10000, 1]
print(f"exact p(x) of the first image: {exact[0].exp():.6f}")
Estimate.from_log_weights(log_p[:, 0])

# %% [markdown] tags=["slide"]
# The estimate is right within its error, and yet 10,000 draws are worth only 2,000. (k-hat is negative because these
# weights are bounded.) With more numbers in $z$ it gets worse, as we shall see.
#
# As in notebook 2, a better proposal helps. The model comes with an **encoder** $q(z \mid x)$, which looks at the
# image and proposes codes for it. A draw from $q$ has the weight
#
# $$ w = \frac{p(x, z)}{q(z \mid x)} = \frac{p(x \mid z)\, p(z)}{q(z \mid x)} . $$
#
# (With the prior itself as proposal, $q = p(z)$, it is $w = p(x \mid z)$.) The function `model.log_weights(x, k)`
# draws `k` codes for each image and returns their log-weights, `[k, batch]`. All models of the course have it. Now
# compare both proposals, for 20 images in each dimension. (The encoder here is the best possible one, which we meet
# below, made 20 % too wide.)

# %%
dims = [1, 2, 4, 8, 16, 32]
errors, ess = {"prior": [], "encoder": []}, {"prior": [], "encoder": []}
for dim in dims:
    linear = LinearGaussianVAE.random(data_dim=32, latent_dim=dim, seed=0)
    images = linear.simulate(20, seed=1)
    with torch.no_grad():
        linear.log_std += math.log(1.2)
        codes = linear.sample_prior(10_000, seeded(0))
        log_p = linear.exact_log_likelihood(images)
        # Log-weights [10000, 20]:
        by_prior = linear.log_conditional(images, codes[:, None])
        by_encoder = linear.log_weights(images, 10_000, seeded(0))
    for name, log_w in {"prior": by_prior, "encoder": by_encoder}.items():
        log_mean = torch.logsumexp(log_w, 0) - math.log(10_000)
        errors[name].append(log_mean - log_p)
        ess[name].append(torch.from_numpy(effective_sample_size(log_w)))

# %% tags=["slide"]
figures.against_dimension(
    dims,
    {name: torch.stack(values) for name, values in errors.items()},
    {name: torch.stack(values) for name, values in ess.items()},
    n_draws=10_000,
    titles=(
        "From 8 numbers on, the prior's estimate is off",
        "because a few draws, or one, carry the average",
    ),
)

# %% [markdown] tags=["slide"]
# With 32 numbers in $z$ the prior's estimates are too low by tens of nats (80 nats are a factor of $e^{80}$): none of
# its 10,000 codes fits the image. The encoder's estimates stay close. Being 20 % too wide multiplies its second
# moment by 1.05 for each dimension. With 32 that is $1.05^{32} \approx 4.8$, so about one draw in five is left.
#
# Which proposal is perfect? By notebook 2, the one proportional to $p(x \mid z)\,p(z)$. That is the **posterior**
#
# $$ p(z \mid x) = \frac{p(x \mid z)\, p(z)}{p(x)} . $$
#
# With it every weight equals $p(x)$. In our small model the encoder starts out as the posterior:

# %%
three = model.log_weights(x[:1], 3)[:, 0].tolist()
print("log-weights   ", [round(w, 4) for w in three])
print("exact log p(x)", round(exact[0].item(), 4))

# %% [markdown]
# The variance is zero, and a single draw gives the answer. For a real model the posterior is as unknown as $p(x)$
# itself. There the encoder is a network that *learns* to come near it.
#
# ### Exercise 1: the log-weight
#
# Write $\log w$. You have `model.log_conditional(x, z)`, which is $\log p(x \mid z)$, `model.log_prior(z)`, and the
# encoder's $q(z \mid x)$. In code, as in most libraries, the latter is called `model.posterior(x)`, the *approximate*
# posterior. It has a method `log_prob(z)`. All three are `[k, batch]`.


# %% tags=["exercise", "slide"]
def log_weights(model, x, z):
    """x [batch, ...], z [k, batch, latent_dim] from q -> [k, batch]."""
    ### BEGIN SOLUTION
    log_joint = model.log_conditional(x, z) + model.log_prior(z)
    return log_joint - model.posterior(x).log_prob(z)
    ### END SOLUTION


# %%
check.log_weights(log_weights)

# %% [markdown] tags=["slide"]
# ## 3.2 A bound that can be learned from
#
# We want a model under which the images that we have are probable. So we choose its parameters $\theta$ to make
# $\log p_\theta(x)$ large. An average of weights estimates $p(x)$ without bias, but what we want is the *logarithm*.
# By **Jensen's inequality** (as in notebook 1, but the logarithm is concave, so the sign is the other way round)
#
# $$ \log p(x) = \log \mathbb{E}_q[w] \;\ge\; \mathbb{E}_q[\log w] = \text{ELBO}, $$
#
# the **evidence lower bound**. Two weights are enough to see why:

# %% tags=["slide"]
figures.jensen((0.3, 3.0))

# %% [markdown] tags=["slide"]
# <details><summary><b>Question.</b> A practical by Gouws, Bhoopchand and Paquet, <em>Variational auto-encoders</em>
# (2017; "the practical" below), derives the same bound, and gives as the reason that the logarithm is convex. What
# would follow if it were?</summary>
#
# An <em>upper</em> bound. For a convex function, which bends up, the mean of the values lies above the value of the
# mean: E[max] ≥ max E in notebook 1. The logarithm is <em>concave</em>, so the mean of the logs lies below, and that
# is why a high ELBO guarantees a high log p(x).
# </details>
#
# How far below? Since $p(x, z) = p(x)\, p(z \mid x)$, a log-weight is $\log p(x) - \log \frac{q(z|x)}{p(z|x)}$. Take
# its mean:
#
# $$ \text{ELBO} = \log p(x) - \mathrm{KL}\big(q(z \mid x) \,\|\, p(z \mid x)\big), $$
#
# with the Kullback-Leibler divergence of notebook 2, $\mathrm{KL}(q \| p) = \mathbb{E}_q[\log q - \log p]$. It is an
# average over its first argument, and never negative. There the first argument was the target (the late projects),
# and the proposal came second. Here the proposal $q$ comes first. Notebook 5 will show what that changes.
#
# So $\log p(x)$ is at least as high as the ELBO. Training the encoder alone leaves $\log p(x)$ as it is, so there a
# higher mean ELBO is exactly a smaller mean gap. Training the decoder changes both: a rise of the ELBO may come from
# $\log p(x)$ or from the gap.
#
# ### Exercise 2: predict the gap
#
# For one dimension
#
# $$ \mathrm{KL}\big(N(m, s^2) \,\|\, N(m_0, s_0^2)\big) = \log \frac{s_0}{s} + \frac{s^2 + (m - m_0)^2}{2 s_0^2} - \frac12 , $$
#
# and for independent dimensions the divergences add. Our model has *two* latent dimensions. Predict how far the ELBO
# falls below $\log p(x)$, in nats to two decimals, when the encoder's $q$ differs from the posterior as follows, in
# *both* dimensions. The cell after the check will measure it.

# %% tags=["exercise", "slide"]
gap_shifted = None  # q's mean is off by one posterior standard deviation
gap_wide = None  # q is twice as wide as the posterior
gap_narrow = None  # q is half as wide
### BEGIN SOLUTION
gap_shifted = 2 * 1 / 2
gap_wide = 2 * (math.log(1 / 2) + 4 / 2 - 1 / 2)
gap_narrow = 2 * (math.log(2) + 1 / 8 - 1 / 2)
### END SOLUTION

# %%
check.predicted_gaps(gap_shifted, gap_wide, gap_narrow)

# %% [markdown]
# Now move the encoder away from the posterior, and compare the gap of the exact ELBO with PyTorch's
# $\mathrm{KL}(q \,\|\, \text{posterior})$:

# %% tags=["slide"]
# On this model the encoder starts out exact.
true_posterior = model.posterior(x[:1])


def moved(shift, factor):
    """A copy with q shifted by posterior stds and widened by a factor."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.encoder.bias += shift * true_posterior.std[0]
        other.log_std += math.log(factor)
    return other


for shift, factor in [(1.0, 1.0), (0.0, 2.0), (0.0, 0.5)]:
    other = moved(shift, factor)
    gap = (exact[0] - other.exact_elbo(x[:1])).item()
    q = other.posterior(x[:1])
    exact_q = Normal(true_posterior.mean, true_posterior.std)
    kl = kl_divergence(Normal(q.mean, q.std), exact_q).sum()
    print(f"shift {shift:g}, width x {factor:g}:", end=" ")
    print(f"gap {gap:.4f} nats, KL {kl.item():.4f}")

# %% [markdown] tags=["slide"]
# There is another way to write the bound. Split the log-weight into
# $\log w = \log p(x \mid z) - [\log q(z \mid x) - \log p(z)]$. The mean of the bracket under $q$ is a divergence too:
#
# $$ \text{ELBO} = \mathbb{E}_q\big[\log p(x \mid z)\big] - \mathrm{KL}\big(q(z \mid x) \,\|\, p(z)\big) . $$
#
# The first term is large if the codes drawn by the encoder fit the image. The second is small if the encoder stays
# close to the prior. There are two divergences, then. $\mathrm{KL}(q \,\|\, \text{prior})$ is a part of the bound.
# $\mathrm{KL}(q \,\|\, \text{posterior})$ is the gap between the bound and $\log p(x)$.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ What a wrong q costs, by simulation (6 minutes)
#
# The ELBO and importance sampling from the same draws, while $q$ moves away from the posterior.

# %%
shifts, widths = torch.linspace(-2, 2, 9), torch.linspace(0.6, 2.2, 9)


shifted_models = [moved(shift, 1.0) for shift in shifts]
widened_models = [moved(0.0, factor) for factor in widths]
panels = {}
for name, moves, models in [
    ("shift of q (posterior standard deviations)", shifts, shifted_models),
    ("width of q (times the posterior's)", widths, widened_models),
]:
    log_w = [m.log_weights(x[:1], 2_000, seeded(3)) for m in models]
    exact_bounds = [m.exact_elbo(x[:1]) for m in models]
    # [9], [9], [2000, 9]
    panels[name] = (moves, torch.cat(exact_bounds), torch.cat(log_w, 1))
titles = (
    "Shift q: the ELBO falls",
    "Make q wider or narrower: it falls too",
)
figures.bound_as_q_moves(panels, exact[0].item(), titles)

# %% [markdown]
# The same 2,000 log-weights give both kinds of points. Their *mean* estimates the ELBO, which falls whenever $q$ is
# not the posterior. The *log of the mean weight* is importance sampling and estimates $\log p(x)$ for every $q$. (The
# library calls it `iwae_bound`; notebook 4 says why.) With a bad $q$ its error is larger, and it is a little too low
# on average. The bars are two standard errors. At the edges they are too short: at shift 2 few draws make up the sum,
# and below 0.71 times the posterior's width the weights have infinite variance, as below $c = 1/2$ in notebook 2.

# %% [markdown]
# ## 3.3 The networks
#
# Now images: handwritten digits of 8 x 8 pixels, with 17 levels of grey from 0 to 16. Here a pixel is either on or
# off, and the decoder gives the probability that it is on. (Section 3.5 says how grey pixels become on or off.)

# %%
digits = datasets.load("digits")
print(digits)
vae = VAE(data_dim=64, hidden=(100, 100), latent_dim=8)
vae

# %% [markdown] tags=["slide"]
# <details><summary><b>Question.</b> Theory has parameters $\theta$, of the model, and $\phi$, of the encoder. Where are they
# in this print-out?</summary>
#
# $\theta$ are the weights and biases of `decoder`, 17,464 numbers; $\phi$ those of `encoder`, 18,216. The prior
# $N(0, I)$ has none.
# </details>
#
# The encoder's proposal is a normal distribution with independent dimensions,
# $q(z \mid x) = N(\mu, \operatorname{diag} \sigma^2)$. The network returns $\mu$ and $\sigma$. Given $z$, pixels are
# independent, and the decoder returns a number $\ell$ for each, its **logit**: the pixel is on with probability
# $1/(1 + e^{-\ell})$.
#
# A layer, `Linear`, computes $Wx + b$, and $\tanh$ is applied to each number. The whole encoder is
#
# $$
# \begin{aligned}
# \big(\mu,\, r\big) &= W_3 \tanh\!\big(W_2 \tanh(W_1 x + b_1) + b_2\big) + b_3, \\
# \sigma &= \text{softplus}(r) + 10^{-6},
# \end{aligned}
# $$
#
# where $\text{softplus}(r) = \log(1 + e^r)$ makes a positive number of any. The decoder, with weights of its own,
# turns 8 numbers into 64 logits:
#
# $$ \ell = V_3 \tanh\!\big(V_2 \tanh(V_1 z + c_1) + c_2\big) + c_3 . $$

# %% tags=["slide"]
figures.draw_networks(vae, batch_size=32)

# %% [markdown]
# <details><summary><b>Question.</b> What would three layers be without the two tanh?</summary>
#
# One layer: $W_3(W_2(W_1x + b_1) + b_2) + b_3$ is $(W_3W_2W_1)\,x$ plus a constant. The decoder would be the
# $Wz + b$ of our linear model, with bits in the place of real numbers.
# </details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ What is the shape now? (6 minutes)
#
# Each array from the image to the logits (exercise 3).

# %% [markdown]
# #### Exercise 3: from image to logits
#
# Another VAE, for a batch of 20 images of MNIST, a larger set of digits with 28 x 28 pixels:
# `VAE(data_dim=784, hidden=(200, 150), latent_dim=50)`. Write each shape as a tuple, such as `(20, 1, 28, 28)` for
# the images. `z` are 5 draws for each image.

# %% tags=["exercise"]
flattened = None  # what enters the encoder
hidden = None  # after its first layer
output = None  # of the encoder's last layer
std = None
z_shape = None
logits = None  # what the decoder makes of z
### BEGIN SOLUTION
flattened = (20, 784)
hidden = (20, 200)
output = (20, 100)  # a mean and a raw scale for each of the 50
std = (20, 50)
z_shape = (5, 20, 50)
logits = (5, 20, 784)
### END SOLUTION

# %%
check.shapes(flattened, hidden, output, std, z_shape, logits)

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ Why a softplus, and why logits? (6 minutes)
#
# Two choices that keep the numbers finite.

# %% [markdown]
# A standard deviation must be positive, and a network's output need not be. $\text{softplus}(r) = \log(1 + e^r)$ is
# close to $e^r$ far on the left and to $r$ on the right.

# %%
figures.ways_to_be_positive(floor=1e-6)

# %% [markdown]
# With `exp`, one step from 5 to 15 multiplies the scale by 20,000, and its gradient too. The absolute value reaches
# zero, its slope jumps there, and two raw outputs give the same scale. But even softplus underflows in the end:

# %%
raw = torch.tensor([-20.0, -60.0, -110.0])
for name, scale in {
    "softplus(r)": softplus(raw),
    "with floor": softplus(raw) + 1e-6,
}.items():
    logs = [round(value, 1) for value in scale.log().tolist()]
    print(f"{name:12} log std {logs}")

# %% [markdown]
# A standard deviation of exactly zero makes a density infinite, and the training fails. Hence the $10^{-6}$.
#
# And logits? Suppose the decoder says $\ell = 20$ and the pixel is off. That costs $-\log(1 - p) \approx 20$ nats. In
# float32:

# %%
logit = torch.tensor(20.0, requires_grad=True)
by_probability = torch.log(1 - torch.sigmoid(logit))
by_logit = -softplus(logit)  # log(1 - 1 / (1 + exp(-l))) = -log(1 + exp(l))
for name, log_q in [("probability", by_probability), ("logit", by_logit)]:
    (slope,) = torch.autograd.grad(log_q, logit)
    print(f"from the {name:12} {log_q.item():6.1f}", end=", ")
    print(f"gradient {slope.item():4.1f}")

# %% [markdown]
# The probability is rounded to 1, and the difference is lost. So the decoder returns logits, and the library computes
# $\log p(x \mid z) = \sum_d \big(x_d \ell_d - \text{softplus}(\ell_d)\big)$.

# %% [markdown] tags=["slide"]
# ## 3.4 Gradients through a random draw
#
# To train the encoder we need $\nabla_\phi \, \mathbb{E}_{q_\phi(z)}[f(z)]$, where $f$ is the log-weight. Its
# parameters $\phi$ are in the *distribution* that we draw from, and autograd, PyTorch's automatic differentiation,
# cannot differentiate "a random draw". There are two ways.
#
# **Score function** (also called REINFORCE). Differentiate the density. We write $\nabla_\phi$ for the derivatives
# with respect to all numbers in $\phi$. By the chain rule $\nabla \log q = \nabla q / q$, so
# $\nabla q = q\, \nabla \log q$ and
#
# $$ \nabla_\phi \int q_\phi(z) f(z)\, dz = \int q_\phi\, \nabla_\phi \log q_\phi\; f\, dz = \mathbb{E}_q\big[f(z)\, \nabla_\phi \log q_\phi(z)\big] . $$
#
# It needs only the values of $f$. (Our $f$ contains $-\log q_\phi$ as well. Its own gradient adds
# $-\mathbb{E}_q[\nabla_\phi \log q_\phi] = -\nabla_\phi \int q_\phi\, dz = 0$, because every density integrates to
# 1.)
#
# **Reparameterization** (also called pathwise). Draw noise $\varepsilon \sim N(0, I)$, which does not depend on
# $\phi$, and set $z = \mu + \sigma\varepsilon$. Now $z$ is a differentiable function of $\mu$ and $\sigma$, and
#
# $$ \nabla_\phi \, \mathbb{E}_\varepsilon\big[f(\mu + \sigma\varepsilon)\big] = \mathbb{E}_\varepsilon\big[\nabla_\phi f(\mu + \sigma\varepsilon)\big] . $$
#
# (The derivative may go inside, because the noise does not depend on $\phi$.) An example in one dimension, with
# $f(z) = z^2$ and $\sigma = 1$: the derivative in $\mu$ of $(\mu + \varepsilon)^2$ is $2(\mu + \varepsilon)$, and its
# mean is $2\mu$. The score function's is $(\mu + \varepsilon)^2\, \varepsilon$, with the same mean and much more
# spread.
#
# Both estimators of the gradient are unbiased. Are they equally good? On the linear model with a shifted encoder the
# exact gradient is known, from `exact_elbo`. Here they are, for one image and 5 draws. (What `by_score` returns has
# the right gradient, and its value means nothing: a *surrogate*. The r of `rsample` stands for reparameterized.)


# %%
def by_score(model, x, k, generator):
    q = model.posterior(x)
    z = q.rsample(k, generator).detach()  # no gradient through the draws
    signal = (model.log_joint(x, z) - q.log_prob(z)).detach()
    # The gradient of this in phi is signal * grad log q.
    return (signal * q.log_prob(z)).mean(0)


def by_path(model, x, k, generator):
    q = model.posterior(x)
    z = q.rsample(k, generator)  # mean + std * noise
    return (model.log_joint(x, z) - q.log_prob(z)).mean(0)


def by_score_with_baseline(model, x, k, generator):
    return score_function(model, x, k, generator, baseline=True)


# %% [markdown]
# A thousand gradients of each kind, with respect to the first number of the encoder's bias:

# %%
shifted = moved(shift=1.0, factor=1.0)


def gradient(surrogate):
    shifted.zero_grad()
    surrogate.mean().backward()
    return shifted.encoder.bias.grad[0].item()


exact_gradient = gradient(shifted.exact_elbo(x[:1]))
estimators = {
    "score function": by_score,
    "score function, baseline": by_score_with_baseline,
    "pathwise": by_path,
}
gradients = {}
for name, estimator in estimators.items():
    runs = []
    for seed in range(1_000):
        surrogate = estimator(shifted, x[:1], 5, seeded(seed))
        runs.append(gradient(surrogate))
    gradients[name] = torch.tensor(runs)
    estimate = Estimate.from_values(gradients[name])
    print(f"{name:24} {estimate.rounded}, exact {exact_gradient:.3f}")

# %% tags=["slide"]
figures.gradient_histograms(gradients, exact_gradient)

# %% [markdown] tags=["slide"]
# All three are right on average, and they differ in their spread. The score function uses only *how good* a draw was.
# The pathwise gradient also uses *in which direction* it gets better. A **baseline** (subtract the mean signal of the
# other draws) removes much of the score function's noise. It leaves the mean as it is, because
# $\mathbb{E}_q[\nabla \log q] = 0$. With the pathwise gradient most VAEs are trained with one draw for each image.
# (The ☆ section 3.6 looks at the price.)

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ A duration that can be differentiated (7 minutes)
#
# Reparameterize another distribution, that of notebook 1 (exercise 4); and a question on the lines of a program.

# %% [markdown]
# #### Exercise 4: reparameterize the exponential
#
# Not only Gaussians can be reparameterized. Write a draw of *exponential* durations, as in notebook 1, through which
# a gradient flows to their means. Your noise is uniform: `torch.rand`. (If $U$ is uniform on $(0, 1)$, then
# $P(-\log U > t) = P(U < e^{-t})$. What is that, and so what is the law of $-\log U$?)


# %% tags=["exercise"]
def durations(mean, k):
    """Means [tasks] -> exponential durations [k, tasks], differentiable."""
    ### BEGIN SOLUTION
    uniform = torch.rand(k, len(mean), dtype=mean.dtype)
    return -mean * torch.log(uniform)
    ### END SOLUTION


# %%
check.durations(durations)

# %% [markdown]
# <details><summary><b>Question.</b> Many programs write the bound like this. Which line estimates
# $\mathbb{E}_q[\log p(x \mid z)]$? Which one computes $\mathrm{KL}(q(z \mid x) \,\|\, p(z))$ exactly? Where does
# chance come in? Which lines use $\phi$ and $\theta$?
# <pre>
# q = vae.posterior(x)                                   # a
# z = q.rsample(1)                                       # b
# log_likelihood = vae.log_conditional(x, z).mean(0)     # c
# kl = q.kl_from_standard_normal()                       # d
# bound = log_likelihood - kl                            # e
# </pre></summary>
#
# Line c estimates the expectation, and d computes the divergence. Chance comes in with b. $\phi$ enters with the
# encoder in a, and through q in b, c and d. $\theta$ is used in c alone.
# </details>

# %% [markdown]
# ## 3.5 Train one
#
# ### First, bits
#
# A grey value is taken as the probability that the pixel is on. Each time an image is used, its bits are drawn anew.
# Some programs, such as the practical's, compute `x > 0.5` instead. Compare:

# %% tags=["slide"]
grey = digits.train[:12]
title = (
    "A threshold gives the same bits every time; "
    "draws differ, and average to the grey"
)
image_rows(
    {
        "grey": grey,
        "x > 0.5, first time": (grey > 0.5).float(),
        "x > 0.5, second time": (grey > 0.5).float(),
        "drawn, first time": datasets.binarize(grey, seeded(1)),
        "drawn, second time": datasets.binarize(grey, seeded(2)),
    },
    title,
)

# %% [markdown]
# With a threshold the model sees the same 1,297 images again and again, and may learn them by heart. With fresh draws
# it hardly ever sees the same bits twice. (For *evaluation* bits are drawn once and kept, so that numbers can be
# compared.)
#
# ### Exercise 5: mend the training step
#
# One step of training draws bits, computes the bound, and changes the parameters a little so that the bound rises.
# `elbo` is the mean of the log-weights over the draws, `[k, batch]` to `[batch]`. Here is such a step, with three
# mistakes. Two of them spoil the training, and one wastes memory.
#
# ```python
# def training_step(vae, optimizer, images):
#     x = datasets.binarize(images)
#     bound = elbo(vae.log_weights(x, 1)).mean()
#     bound.backward()
#     optimizer.step()
#     return bound
# ```
#
# `backward()` computes gradients and *adds* them to those that are already there; `optimizer.zero_grad()` clears
# them. `optimizer.step()` changes the parameters so as to *minimize* what was differentiated. A tensor keeps the
# whole computation that it came from; `.item()` makes a number of it. Write the step as it should be.


# %% tags=["exercise", "slide"]
def training_step(vae, optimizer, images):
    """Change the parameters once so that the bound rises; return it.

    The images are [batch, 1, 8, 8], and the bound is in nats.
    """
    ### BEGIN SOLUTION
    x = datasets.binarize(images)
    bound = elbo(vae.log_weights(x, 1)).mean()
    optimizer.zero_grad()
    (-bound).backward()
    optimizer.step()
    return bound.item()
    ### END SOLUTION


# %%
check.training_step(training_step)

# %% [markdown]
# ### Then, the loop
#
# From here on we use this step, with any number of samples for each image:


# %%
def take_step(vae, optimizer, images, n_samples=1):
    x = datasets.binarize(images)
    bound = elbo(vae.log_weights(x, n_samples)).mean()
    optimizer.zero_grad()
    (-bound).backward()
    optimizer.step()
    return bound.item()


test = datasets.fixed_binarization(digits.test)


@torch.no_grad()
def test_bound(vae):
    return elbo(vae.log_weights(test, 10, seeded(0))).mean().item()


# %% [markdown]
# And sixty times through the training images. The curve grows as you watch. On the way we keep samples: images from
# the prior, $z \sim p(z)$, and reconstructions of test images, $z \sim q(z \mid x)$, always from the same noise.

# %% tags=["slide"]
torch.manual_seed(0)
vae = VAE(data_dim=64, hidden=(100, 100), latent_dim=8)
untrained = copy.deepcopy(vae)
optimizer = torch.optim.Adam(vae.parameters(), lr=2e-3)
prior_images, reconstructed = {}, {}

title = "The bound rises"
with LiveCurve("epoch", "ELBO (nats per image)", title) as curve:
    for epoch in range(1, 61):
        bounds = []
        for batch in torch.randperm(len(digits.train)).split(100):
            bounds.append(take_step(vae, optimizer, digits.train[batch]))
        mean = sum(bounds) / len(bounds)
        curve.add(epoch, {"training": mean, "test": test_bound(vae)})
        if epoch in (1, 5, 20, 60):
            with torch.no_grad():
                name = f"epoch {epoch}"
                z = vae.posterior(test[:9]).rsample(1, seeded(0))[0]
                reconstructed[name] = vae.mean_image(z)
                z = vae.sample_prior(9, seeded(0))
                prior_images[name] = vae.mean_image(z)

# %% tags=["slide"]
titles = (
    "Images from the prior become digits, more or less",
    "Reconstructions take the shape of their image",
)
figures.snapshots(prior_images, reconstructed, test[:9], titles)

# %% [markdown]
# The pictures show each pixel's *probability*, grey where the model is unsure. At first the encoder gives every image
# about the same code, and for that code the decoder draws about the mean image. Later the codes spread out, and each
# reconstruction takes the shape of its image.
#
# <details><summary><b>Question.</b> The practical prints its speed, images per second, in this way. What does it measure?
# <pre>
# for step in range(n_steps):
#     train_on_a_batch()
#     start = time.time()
#     if step % 100 == 0:
#         bound = evaluate()
#         print(bound, 1000 * batch_size / (time.time() - start))
# </pre></summary>
#
# One <em>evaluation</em> of the bound, divided into the images of a thousand training steps. The clock starts after
# each step, just before it is read, so training itself is never timed.
# </details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ## ☆ 3.6 How many samples? (26 minutes)
#
# Several draws of $z$ for each image: what is averaged (exercise 6), the noise of the gradient (exercise 7), and what
# they are worth.

# %% [markdown]
# For $L$ draws of $z$ for each image, nothing in 3.5 has to change. Only the noise has a leading axis, and everything
# after it broadcasts:

# %%
figures.draw_broadcasting(n_samples=25, batch=100, dim=8)

# %% [markdown]
# The images need no copies either: `[100, 64]` meets logits `[25, 100, 64]` and is read 25 times.
#
# ### Exercise 6: the mean of the log-likelihoods
#
# The first term of the bound is the *mean of the log-likelihoods* of $L$ decoded images. It is tempting to average
# the decoded images first and take the *log-likelihood of the mean*. Write the right one. From a logit, $\log p$ of a
# pixel is $x\,\ell - \text{softplus}(\ell)$. (With $x = 1$ that is $\log \frac{1}{1 + e^{-\ell}}$, and with $x = 0$
# it is $\log \frac{1}{1 + e^{\ell}}$. A ☆ part of 3.3 says why one does not compute it from the probabilities.)


# %% tags=["exercise"]
def expected_log_likelihood(x, logits):
    """Bits [batch, pixels], logits [L, batch, pixels] -> [batch], nats."""
    ### BEGIN SOLUTION
    log_p = (x * logits - softplus(logits)).sum(-1)  # [L, batch]
    return log_p.mean(0)
    ### END SOLUTION


# %%
check.expected_log_likelihood(expected_log_likelihood)

# %% [markdown]
# By Jensen's inequality the log-likelihood of the mean image is larger, for every image. But the mean image belongs
# to no code, and a "bound" made with it lies above $\log p(x)$ for nearly every image. So it is no bound.

# %%
with torch.no_grad():
    z = vae.posterior(test).rsample(25, seeded(0))
    mean_image = vae.mean_image(z).mean(0)
    of_the_mean = Bernoulli(mean_image).log_prob(test.flatten(1))
    difference = of_the_mean.sum(-1) - vae.log_conditional(test, z).mean(0)
print(f"larger for {(difference > 0).sum()} of 300 images,", end=" ")
print(f"by {difference.mean():.1f} nats on average")

# %% [markdown]
# ### Is one sample enough?
#
# Kingma and Welling, [*Auto-encoding variational Bayes* (2014)](https://arxiv.org/abs/1312.6114), remark that one sample
# for each image is enough if batches are as large as 100. The gradient of a batch has two sources of chance: *which
# images* are in it, and *which noise* $\varepsilon$ each one got. Let $V_x$ be the variance over images of an image's
# mean gradient (its mean over the noise), and $V_\varepsilon$ the variance over the noise of a single image's gradient,
# averaged over images.
#
# ### Exercise 7: variance of the gradient
#
# Images in a batch are independent, and so is the noise of every draw. What is the variance of the mean gradient of
# $M$ images with $L$ draws each?


# %% tags=["exercise"]
def gradient_variance(v_images, v_noise, batch_size, n_samples):
    """Of a batch's gradient, in the units of v_images and v_noise."""
    ### BEGIN SOLUTION
    return (v_images + v_noise / n_samples) / batch_size
    ### END SOLUTION


# %%
check.gradient_variance(gradient_variance)

# %% [markdown]
# To measure both parts, take the gradient twice for each of 400 images, with other noise. The two share the image and
# not the noise: half their mean squared difference is $V_\varepsilon$, and their covariance is $V_x$. (Squares are
# summed over all 35,680 parameters; an image's bits count as part of the image.)


# %%
def gradient_of(vae, x, n_samples=1):
    vae.zero_grad()
    elbo(vae.log_weights(x, n_samples)).mean().backward()
    return torch.cat([p.grad.flatten() for p in vae.parameters()])


def parts_of_variance(vae):
    images = datasets.binarize(digits.train[:400], seeded(0))
    pairs = []
    for x in images.split(1):
        twice = [gradient_of(vae, x), gradient_of(vae, x)]
        pairs.append(torch.stack(twice))
    g = torch.stack(pairs)  # [400, 2, parameters]
    v_noise = ((g[:, 0] - g[:, 1]) ** 2).sum(-1).mean() / 2
    centred = g - g.mean(0)
    v_images = (centred[:, 0] * centred[:, 1]).sum(-1).mean()
    return v_images.item(), v_noise.item()


parts = {
    "untrained": parts_of_variance(untrained),
    "trained": parts_of_variance(vae),
}


# %% [markdown]
# Hold the formula against batches that were really drawn:


# %%
def measured_variance(batch_size, n_samples):
    batches = torch.randint(len(digits.train), (100, batch_size))
    g = [
        gradient_of(vae, datasets.binarize(digits.train[batch]), n_samples)
        for batch in batches
    ]
    return torch.stack(g).var(0).sum().item()


sizes = [1, 10, 100]
measured = {
    n_samples: [measured_variance(size, n_samples) for size in sizes]
    for n_samples in (1, 10)
}
titles = (
    "With one sample, most of the\nvariance is noise",
    "Trained: more samples lower the line,\na larger batch moves along it",
)
figures.gradient_variance(parts, sizes, measured, titles)

# %% [markdown]
# The batch size divides *both* parts: at $M = 100$ the noise is the same share of the variance as at $M = 1$. Here it
# is the larger share, and ten samples in the place of one bring the variance down to about a third, at any batch
# size. One sample is enough at $M = 100$ because the whole variance is small by then. And for the same number of
# decoded images, $M \cdot L$, more images are better than more samples:
# $(V_x + V_\varepsilon)/100 < (V_x + V_\varepsilon/10)/10$.
#
# What does it mean for training? Four times 400 steps from the same start:

# %%
steps = list(range(0, 401, 40))
curves = {}
for batch_size in (10, 100):
    for n_samples in (1, 10):
        torch.manual_seed(1)
        learner = copy.deepcopy(untrained)
        optimizer = torch.optim.Adam(learner.parameters(), lr=2e-3)
        path = []
        for step in range(401):
            if step in steps:
                path.append(test_bound(learner))
            batch = torch.randint(len(digits.train), (batch_size,))
            take_step(learner, optimizer, digits.train[batch], n_samples)
        curves[batch_size, n_samples] = path
title = "Ten samples help; ten times the batch helps more"
figures.learning_curves(steps, curves, title)

# %% [markdown]
# At batch 10, ten samples of each image help a lot, and at batch 100 still by some tenths of a nat. But they also
# take ten times the work of one. With the same number of decoded images, batch 100 with $L = 1$ ends higher than
# batch 10 with $L = 10$. How much depends on the model, the likelihood, and how far the training is.

# %% [markdown] tags=["slide"]
# ## 3.7 What has it learned?
#
# ### A distribution over reconstructions
#
# One test image, 25 codes from $q(z \mid x)$, 25 reconstructions:

# %% tags=["slide"]
with torch.no_grad():
    z = vae.posterior(test[:1]).rsample(25, seeded(0))[:, 0]  # [25, 8]
    by_encoder = vae.mean_image(z)  # [25, 64]
    by_prior = vae.mean_image(vae.sample_prior(25, seeded(0)))
n_different = len(torch.unique(by_encoder, dim=0))
print(n_different, "of 25 reconstructions are different")
for name, images in {
    "z from q(z|x)": by_encoder,
    "z from p(z)": by_prior,
}.items():
    print(f"{name:13}: pixels vary with standard deviation", end=" ")
    print(f"{images.std(0).mean():.2f}")
title = (
    "Reconstructions of one image differ, "
    "but less than images from the prior"
)
image_rows(
    {
        "the image": test[:1],
        "z from q(z|x)": by_encoder[:12],
        "z from p(z)": by_prior[:12],
    },
    title,
)

# %% [markdown]
# How much does the encoder say with each latent number? We compute $\mathrm{KL}(q \,\|\, \text{prior})$ of each
# dimension, averaged over test images:

# %% tags=["slide"]
with torch.no_grad():
    q = vae.posterior(test)
    kl = 0.5 * (q.mean**2 + q.std**2 - 1 - 2 * q.std.log()).mean(0)
figures.kl_by_dimension(
    kl, "The last dimensions stay near the prior: they say almost nothing"
)

# %% [markdown] tags=["slide"]
# Dimensions near zero say almost nothing: there $q$ is nearly the prior, whatever the image. That is called
# **posterior collapse**, here in a mild form. To stay at the prior costs nothing. To use a dimension costs KL at
# once, and helps only when the decoder has learned to read it.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ How far below log p(x)? (5 minutes)
#
# The gap of each test image, by importance sampling from the encoder.

# %% [markdown]
# The trained encoder is a proposal. So importance sampling estimates $\log p(x)$ itself (with errors and k-hats, as
# in notebook 2), and the gap $\mathrm{KL}(q \,\|\, \text{posterior})$ of each image:

# %%
evidence = log_likelihood(vae, test, n_samples=500)
gap = evidence.per_image - evidence.elbo
order = gap.argsort()
figures.gap_by_image(
    evidence.per_image,
    evidence.elbo,
    hardest=test[order[-6:]],
    easiest=test[order[:6]],
    title="The gap differs from image to image",
)

# %%
improbable = evidence.per_image < evidence.per_image.median()
print("mean gap of the less probable half:", end=" ")
print(f"{gap[improbable].mean():.2f} nats", end=", ")
print(f"of the other half: {gap[~improbable].mean():.2f}")
high = evidence.share_of_high_pareto_k
print(f"k-hat too high for {high:.0%} of the images")

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ The latent plane (9 minutes)
#
# A VAE with two latent numbers, whose whole plane can be seen; and whether the prior covers the data.

# %% [markdown]
# With two latent numbers one can look at the whole plane. The same loop again:

# %%
torch.manual_seed(0)
flat = VAE(data_dim=64, hidden=(100, 100), latent_dim=2)
optimizer = torch.optim.Adam(flat.parameters(), lr=2e-3)
for _ in range(60):
    for batch in torch.randperm(len(digits.train)).split(100):
        take_step(flat, optimizer, digits.train[batch])

with torch.no_grad():
    codes = flat.posterior(test).rsample(1, seeded(1))[0]  # [300, 2]
    line = torch.linspace(-2.5, 2.5, 11)
    grid = torch.meshgrid(line, line.flip(0), indexing="xy")
    tiles = flat.mean_image(torch.stack(grid, -1))  # of z [11, 11, 2]
title = "Some classes have regions of their own; others overlap"
labels = digits.test_labels
figures.latent_plane(codes, labels, tiles, reach=2.9, title=title)

# %% [markdown]
# The model does not know the classes. Some have regions of their own, because similar images need similar codes.
# Others, such as 5, 8 and 9, share theirs.
#
# Does the prior draw where the data are? The prior draws codes from $p(z)$. The codes of the images have the density
# $\frac1N \sum_i q(z \mid x_i)$, the **aggregate posterior**. If the two were the same, every draw from the prior
# would come where the decoder has been trained. In the plane both densities can be computed:

# %%
line = torch.linspace(-3, 3, 61)
grid = torch.meshgrid(line, line, indexing="xy")
plane = torch.stack(grid, -1).reshape(-1, 1, 2)  # [3721, 1, 2]
with torch.no_grad():
    q = flat.posterior(datasets.binarize(digits.train, seeded(0)))
    log_sum = torch.logsumexp(q.log_prob(plane), 1)
    log_aggregate = log_sum - math.log(len(digits.train))
    log_prior = flat.log_prior(plane)[:, 0]
figures.covering(
    line,
    log_prior.reshape(61, 61),
    log_aggregate.reshape(61, 61),
    "Too few images inside the black lines",
)

# %% [markdown]
# <details><summary><b>Question.</b> Does p(z), through the decoder, capture the "data manifold"? What would make prior
# samples better? Should a Gaussian describe it at all?</summary>
#
# In this plane nearly: in most places there are between half and twice as many images as the prior expects, with
# exceptions at the rim and in a hole or two. But to fill the round Gaussian without holes, classes were pushed
# together until their codes overlap, and there the decoder can only blend them. Digits are separate islands; one
# Gaussian blob is a convenience, not a description. Training longer or a deeper decoder helps little against that.
# What does help: more latent numbers; a prior that is <em>learned</em> (a mixture, a normalizing flow, a second layer
# of latent variables as in notebook 4); an encoder of a richer family, so that it can fit into odd places; or a
# density fitted to the codes after training.
# </details>

# %% [markdown]
# ## 3.8 Summary
#
# The linear model again, its encoder shifted by one posterior standard deviation in both dimensions. Each line has an
# estimate, for the first image or as the mean over 100, beside the exact answer. (Here the prior's error is the
# smaller one. With only two latent numbers the prior is a good proposal, and this encoder is a bad one on purpose.
# Section 3.1 shows how soon that changes with more dimensions.)

# %% tags=["slide"]
with torch.no_grad():
    codes = model.sample_prior(100_000, seeded(1))[:, None]
    by_prior = model.log_conditional(x[:1], codes)[:, 0]
    by_encoder = shifted.log_weights(x[:1], 100_000, seeded(1))[:, 0]
    log_w = shifted.log_weights(x, 1_000, seeded(2))  # [1000, 100]
    exact_bound = shifted.exact_elbo(x).mean().item()

p_x = exact[0].exp().item()
rows = {
    "p(x), by the prior": (Estimate.from_log_weights(by_prior), p_x),
    "p(x), by the encoder": (Estimate.from_log_weights(by_encoder), p_x),
    "ELBO, mean of 100": (Estimate.from_values(log_w.mean(1)), exact_bound),
}
for name in ("score function", "pathwise"):
    estimate = Estimate.from_values(gradients[name])
    rows[f"gradient, {name}"] = (estimate, exact_gradient)
for name, (estimate, truth) in rows.items():
    print(f"{name:24} {estimate.rounded:>19}", end="   ")
    print(f"exact {truth:<8.4g} {estimate.against(truth).verdict}")
gap = exact.mean().item() - exact_bound
print(f"{'gap of the ELBO':24} {gap:>19.4f}", end="   ")
print("half a nat for each dimension")

# %% tags=["headline"]
log_likelihood(shifted, x, n_samples=2_000).mean.against(exact.mean())

# %% [markdown] tags=["slide"]
# - $p(x)$ is an average over codes. In many dimensions draws from the prior cannot estimate it. The encoder is a
#   proposal in the sense of notebook 2.
# - The mean log-weight estimates the ELBO. The log of the mean weight estimates $\log p(x)$. Between the two lies
#   $\mathrm{KL}(q \,\|\, \text{posterior})$.
# - With $z = \mu + \sigma\varepsilon$ a gradient flows through the draw. Here its variance is about a fortieth of the
#   score function's, and less than a third of the one with a baseline.

# %% [markdown]
# How far you came, by the checks that you ran since this kernel was started:

# %%
progress(check)

# %% [markdown]
# ### Three questions
#
# <details><summary><b>1.</b> Is the ELBO the right measure of success?</summary>
#
# It is a convenient one: cheap, never above $\log p(x)$, differentiable. But the gap differs between images and
# between models. A better model with a worse encoder can have the lower ELBO, so one should not rank models with
# different families of $q$ by it (compare $\log p(x)$). It also prefers models whose posterior is simple, if need be
# because they do not use $z$ at all. And even $\log p(x)$ does not say whether samples look good or codes are useful.
# </details>
#
# <details><summary><b>2.</b> How else could one do inference, finding $p(z \mid x)$, and learning, finding $\theta$?</summary>
#
# <em>Inference:</em> Markov chains such as Hamiltonian Monte Carlo, slow and asymptotically exact; a normalizing flow as $q$; the
# encoder's guess improved by a few gradient steps for each image; many weighted draws instead of one (notebook 4).
# <em>Learning:</em> expectation-maximization where the posterior is tractable, as in our linear model; Monte Carlo EM otherwise;
# wake-sleep, which trains the encoder on dreams of the decoder; tighter bounds (IWAE). Or other models: flows and
# autoregressive models have an exact likelihood, score-based (diffusion) models learn gradients of log-densities,
# adversarial ones give up the likelihood.
# </details>
#
# <details><summary><b>3.</b> A colleague computes the mean of 5,000 log-weights and reports it as $\log p(x)$. Her model
# looks worse than yours. Is it?</summary>
#
# She reports the ELBO. More draws make its <em>error</em> smaller, not its gap. From the same log-weights,
# log-mean-exp gives the answer to compare, in one line.
# </details>
#
# ### Where to read on
#
# - [Kingma and Welling (2014)](https://arxiv.org/abs/1312.6114), *Auto-encoding variational Bayes*; [Rezende, Mohamed
#   and Wierstra (2014)](https://arxiv.org/abs/1401.4082), *Stochastic backpropagation and approximate inference in deep
#   generative models*: the two papers that began it.
# - [Kingma and Welling (2019)](https://arxiv.org/abs/1906.02691), *An introduction to variational autoencoders*: a book
#   by those who know.
# - [Mohamed, Rosca, Figurnov and Mnih (2020)](https://arxiv.org/abs/1906.10652), *Monte Carlo gradient estimation in
#   machine learning*: section 3.4 at length.
# - [Art Owen (2013)](https://artowen.su.domains/mc/), *Monte Carlo theory, methods and examples*, chapter 9: weights,
#   once more.
# - [Gouws, Bhoopchand and Paquet (2017)](https://github.com/deep-learning-indaba/practicals2017), *Variational
#   auto-encoders*: the practical.
# - [Louis Tiao (2017)](http://louistiao.me/posts/inference-in-variational-autoencoders-with-different-monte-carlo-sample-sizes/),
#   *Inference in variational autoencoders with different Monte Carlo sample sizes*: a post on the question of section 3.6.
#
# **Next:** notebook 4, where one draw becomes many and the bound closes in on $\log p(x)$.
