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
# # 4. Importance-weighted autoencoders: average first, take the log after
#
# The ELBO of notebook 3 averages *logarithms* of weights. Importance sampling, in notebook 2, averaged the weights
# themselves. Between the two lies a sequence of bounds on $\log p(x)$, one for each number of samples $k$. A larger
# $k$ brings the bound closer, and each of them can be trained. You will measure how close they come, and what the
# encoder loses on the way.
#
# **You will be able to**
# - write the bound of Burda, Grosse and Salakhutdinov ([*Importance weighted autoencoders*,
#   2016](https://arxiv.org/abs/1509.00519)), and say how fast it grows with $k$;
# - write its gradient as a weighted sum, and find two mistakes in a loss that looks right;
# - measure what a large $k$ does to the gradients of encoder and decoder;
# - compare trained models on the same images, with fair errors.
#
# | section | minutes |
# | --- | --- |
# | 4.1 The log of the mean: exercises 1 and 2 | 21 |
# | 4.3 How fast? | 10 |
# | 4.4 The gradient is a weighted sum: exercise 4 | 12 |
# | 4.5 What a large k does to the encoder | 6 |
# | 4.6 Train it: exercise 7 | 13 |
# | 4.7 MNIST, and two stochastic layers | 7 |
# | 4.8 Summary | 5 |
# | **core** | **74** |
# | ☆ 4.2 Why the bound never falls | 5 |
# | ☆ Cancel the 1/k: exercise 3 | 9 |
# | ☆ Does the narrow q get there, and how far off is one estimate? | 9 |
# | ☆ What may be left out of a log-weight? Exercise 5 | 10 |
# | ☆ A better gradient for the encoder: exercise 6 | 13 |
# | ☆ How many latent dimensions are used? | 5 |
#
# Parts marked ☆ go further, and nothing after them needs them. Click the arrow beside a folded heading to open one.
# Exercises are numbered through the core and the ☆ parts. The three questions at the end take another eight minutes.
#
# **You need** notebooks 2 and 3. Most of the computing time goes into section 4.6.

# %%
import itertools
import math

import torch
from course_lib import datasets
from course_lib.estimates import Estimate, pareto_k
from course_lib.exercises import notebook_04 as check
from course_lib.exercises import progress
from course_lib.figures import notebook_04 as figures
from course_lib.figures.images import image_rows
from course_lib.figures.live import LiveCurve
from course_lib.training import load_checkpoint
from course_lib.vae import (
    VAE,
    LinearGaussianVAE,
    elbo,
    iwae_bound,
    log_likelihood,
)
from course_lib.vae.bounds import (
    doubly_reparameterized,
    elbo_closed_form,
    iwae_autograd,
    iwae_weighted,
    pathwise,
)
from torch.distributions import Laplace, Normal

# Matrices this small are done before a second thread has woken up.
torch.set_num_threads(1)

# %% [markdown] tags=["slide"]
# ## 4.1 The log of the mean
#
# A code $z$ drawn from $q(z \mid x)$ has the weight $w = p(x, z) / q(z \mid x)$, and the mean of $w$ is $p(x)$. We
# want the *logarithm* of $p(x)$. There are three ways to combine a log and a mean:
#
# $$ \underbrace{\mathbb{E}[\log w]}_{\text{ELBO}} \;\le\; \underbrace{\mathbb{E}\Big[\log \frac1k \sum_{i=1}^k w_i\Big]}_{L_k} \;\le\; \underbrace{\log \mathbb{E}[w]}_{\log p(x)} $$
#
# The one in the middle is the **importance-weighted bound** $L_k$: average $k$ weights, then take the log. With
# $k = 1$ it *is* the ELBO. Both inequalities are Jensen's, as in notebook 3. And $L_k$ never falls when $k$ grows;
# the ☆ section 4.2 shows why. (Here $k$ is a number of samples. It has nothing to do with k-hat.)
#
# To see them we need a known $\log p(x)$. So take the linear-Gaussian model of notebook 3, move the means of $q$ by
# 0.3, and make $q$ 1.5 times as wide as the posterior $p(z \mid x)$.


# %%
def linear_model(shift, width):
    model = LinearGaussianVAE.random(data_dim=8, latent_dim=2, seed=0)
    with torch.no_grad():
        model.encoder.bias += shift
        model.log_std += math.log(width)
    return model


model = linear_model(shift=0.3, width=1.5)
x = model.simulate(100, seed=1)
exact = model.exact_log_likelihood(x).detach()
exact_elbo = model.exact_elbo(x).detach()
print(f"100 x: mean exact ELBO {exact_elbo.mean():.3f}", end=", ")
print(f"log p(x) {exact.mean():.3f} nats")

# %% [markdown]
# `log_weights` returns $\log p(x, z) - \log q(z \mid x)$, one row for each draw of $z$. We cut 10,000 draws into
# groups of $k$. Each group gives one estimate of $L_k$.

# %%
draws = torch.Generator().manual_seed(0)
log_w = model.log_weights(x, 10_000, draws).detach()  # [10,000, 100]
bounds = []
for k in [1, 2, 5, 10, 20, 50]:
    groups = log_w.reshape(-1, k, 100)
    # A mean over k, then one over images: one number a group.
    L_k = groups.exp().mean(1).log().mean(1)
    # With its standard error, for the bars of the figure below.
    bounds.append((float(L_k.mean()), float(L_k.std() / len(L_k) ** 0.5)))
    print(f"k = {k:2}: L_k = {bounds[-1][0]:.2f}")

# %% tags=["slide"]
figures.bounds_against_k(
    [1, 2, 5, 10, 20, 50],
    bounds,
    float(exact_elbo.mean()),
    float(exact.mean()),
    "The bound starts at the ELBO and climbs towards log p(x)",
)

# %% [markdown] tags=["slide"]
# ### Why subtract the largest?
#
# The cell above took `exp`, `mean` and `log` of weights near $e^{-8}$. Those of an image of 784 pixels are near
# $e^{-100}$. Code for the IWAE therefore **subtracts the largest log-weight first**. See what happens without it:

# %% tags=["slide"]
small = torch.tensor([-104.0, -105.0, -110.0])  # float32
print("exp, mean, log:        ", small.exp().mean().log().item())
largest = small.max()
stable = (small - largest).exp().mean().log() + largest
print(f"largest taken out first: {stable:.3f}")

# %% [markdown]
# In float32 $e^{-104}$ is zero, so the mean is zero and its log $-\infty$. With the largest taken out, one weight is
# exactly 1. Others may become zero, but those are too small to matter. At the end the largest is added again. (A blog
# post about such code, *Importance Weighted Autoencoders*, 17 June 2019, "the anonymous post" below, doubts that this
# helps, because log-weights are negative anyway. Our copy names no author.)
#
# ### Exercise 1: the bound
#
# Write $L_k$ for log-weights of any size. (`torch.logsumexp` takes care of the largest.)


# %% tags=["exercise", "slide"]
def importance_weighted(log_w):
    """[k, batch] log-weights -> [batch] bounds, in nats."""
    ### BEGIN SOLUTION
    return torch.logsumexp(log_w, 0) - math.log(len(log_w))
    ### END SOLUTION


# %%
check.iwae_bound(importance_weighted)

# %% [markdown]
# From here on we use the library's `iwae_bound`, which is the same line.
#
# ### Exercise 2: too good to be true
#
# Code like this is in circulation:
#
# ```python
# torch.logsumexp(log_w, 0).mean()    # log_w: [5000, images]
# ```
#
# Suppose it prints -78.2 for a small network on MNIST, as good as the best models known. What should it have printed?

# %% tags=["exercise", "slide"]
should_be = None  # nats per image
### BEGIN SOLUTION
should_be = -78.2 - math.log(5000)
### END SOLUTION

# %%
check.too_good(should_be)

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ## ☆ 4.2 Why the bound never falls (5 minutes)
#
# A proof in one line, seen on six draws.

# %% [markdown]
# $L_k \le L_{k+1}$ holds for *every* $q$, good or bad. To see why, draw six weights. Their mean is also the average,
# over all pairs, of the mean of a pair, because each weight occurs in equally many pairs. So
#
# $$
# \begin{aligned}
# & \log(\text{mean of six}) \\
# & \quad = \log\big(\text{average over pairs of } (\text{mean of the pair})\big) \\
# & \quad \ge \text{average over pairs of } \log(\text{mean of the pair}) ,
# \end{aligned}
# $$
#
# by Jensen once more. Now take expectations. The left side becomes $L_6$. A pair is two independent draws, so the
# right side becomes $L_2$. The same works for triples, and for any $m < k$. The weights may be any positive numbers.
# Here are six draws and all their subsets:

# %%
six = log_w[:6, 0]
for m in range(1, 7):
    subsets = [six[list(s)] for s in itertools.combinations(range(6), m)]
    average = torch.stack([iwae_bound(s) for s in subsets]).mean()
    print(f"{len(subsets):2} subsets of {m}:", end=" ")
    print(f"average log of the mean {average:.3f}")

# %% [markdown] tags=["slide"]
# ## 4.3 How fast?
#
# Let $u = \frac{1}{k}\sum_i w_i / p(x)$, the average weight as a fraction of the truth. Its mean is 1, and
# $\log p(x) - L_k = \mathbb{E}[-\log u]$. For large $k$, $u$ is near 1, and the Taylor series of the logarithm is
#
# $$ -\log u = -(u - 1) + \tfrac12 (u-1)^2 - \dots $$
#
# (For $u = 1.1$ it is $-0.0953$, and the first two terms give $-0.1 + 0.005$.)
#
# The first term has mean zero, and the mean of the second is half the variance of $u$. So
#
# $$ \log p(x) - L_k \;\approx\; \tfrac12 \operatorname{Var}(u) = \frac{1}{2k}\,\frac{\operatorname{Var}(w)}{p(x)^2} . $$
#
# The gap falls like $1/k$, times half the **relative variance** of the weights, with which notebook 2 judged its
# proposals. For Gaussians this variance is known exactly (the fold below). The variance is **infinite when $q$ has at
# most 0.71 times the posterior's width**. Such a $q$ is too narrow, like some proposals of notebook 2.
#
# <details><summary><b>The formula</b></summary>
#
# As $w / p(x) = p(z \mid x) / q(z \mid x)$, we need the integral of $p(z \mid x)^2 / q(z \mid x)$, the $p^2/q$ of
# notebook 2. Take one dimension, the posterior $N(m, s^2)$, $q = N(\mu, t^2)$, and first equal means, $m = \mu = 0$.
# Then $p^2/q$ is
#
# $$
# \begin{aligned}
# \frac{1}{2\pi s^2} e^{-z^2/s^2} \cdot \sqrt{2\pi}\, t\, e^{z^2/(2t^2)} &= \frac{t}{\sqrt{2\pi}\, s^2}\, e^{-z^2/(2v)}, \\
# \frac1v &= \frac{2}{s^2} - \frac{1}{t^2} = \frac{2t^2 - s^2}{s^2 t^2} .
# \end{aligned}
# $$
#
# For $v > 0$ the bell $e^{-z^2/(2v)}$ has the area $\sqrt{2\pi v}$. Otherwise the area is infinite. With unequal
# means,
#
# $$ \frac{\mathbb{E}[w^2]}{p(x)^2} = \frac{t^2}{s\,\sqrt{2t^2 - s^2}}\, \exp\frac{(m-\mu)^2}{2t^2 - s^2} . $$
#
# In several dimensions such factors multiply. The relative variance is their product minus 1.
# </details>


# %%
def relative_variance(model, x):
    """Var(w) / p(x)**2 for each x, by the formula above; [batch]."""
    q, posterior = model.posterior(x), model.exact_posterior(x)
    c = 2 * q.std**2 - posterior.variance
    shift = (posterior.mean - q.mean) ** 2
    factor = q.std**2 / (posterior.variance * c).sqrt()
    return (factor * torch.exp(shift / c)).prod(1).detach() - 1


predicted = relative_variance(model, x).mean()
print(f"relative variance {predicted:.3f}", end="; ")
print(f"a gap of 0.01 nats takes k = {predicted / 0.02:.0f}")

# %% [markdown]
# Now measure the gap, for this wide $q$ and for one of half the posterior's width. (For the wide one the code
# averages $u - 1 - \log u$. It has the same mean as $-\log u$ and less noise, because $u - 1$ cancels most of it.)


# %% tags=["slide"]
def gap(model, k, finite_variance=True):
    """log p(x) - L_k, mean over 20 images, and its standard error."""
    with torch.no_grad():
        log_w = model.log_weights(x[:20], 30_000 // k * k, draws)
    log_u = iwae_bound(log_w.reshape(k, -1, 20)) - exact[:20]
    gaps = (log_u.exp() - 1 - log_u if finite_variance else -log_u).mean(1)
    return float(gaps.mean()), float(gaps.std() / len(gaps) ** 0.5)


narrow = linear_model(shift=0.0, width=0.5)
ks = [1, 3, 10, 30, 100, 300]
gaps = {
    "wide q": [gap(model, k) for k in ks],
    "narrow q": [gap(narrow, k, finite_variance=False) for k in ks],
}
variances = {"wide q": float(relative_variance(model, x[:20]).mean())}
title = (
    "With a finite variance the gap falls like 1/k; "
    "with an infinite one, slower"
)
figures.gap_against_k(ks, gaps, variances, title)

# %% [markdown]
# The dashed line is the formula for large $k$: at $k = 1$ half of the gap, from $k = 10$ on close to it. Both gaps go to zero in the end (a ☆ part says why).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ Cancel the 1/k (9 minutes)
#
# Two bounds make a better estimate than either (exercise 3).

# %% [markdown]
# #### Exercise 3: combine two bounds
#
# For the wide $q$, $L_k$ is too low by about $c/k$, and $L_{2k}$ by about $c/(2k)$, with the same $c$. You do not
# know $c$. Combine the two bounds into an estimate of $\log p(x)$ in which this term cancels.


# %% tags=["exercise"]
def debiased(bound_k, bound_2k):
    """L_k and L_2k [batch], nats -> log p(x) without the 1/k term."""
    ### BEGIN SOLUTION
    return 2 * bound_2k - bound_k
    ### END SOLUTION


# %%
check.debiased(debiased)

# %% [markdown]
# On the draws of section 4.1: a group of $2k$ draws gives one $L_{2k}$, and its two halves give two $L_k$.

# %%
print("log p(x) minus   L_k               L_2k              both combined")
for k in [2, 5, 10]:
    groups = log_w.reshape(2 * k, -1, 100)
    L_2k = iwae_bound(groups)  # [number of groups, 100]
    L_k = (iwae_bound(groups[:k]) + iwae_bound(groups[k:])) / 2
    print(f"k = {k:2}", end="   ")
    for bound in [L_k, L_2k, 2 * L_2k - L_k]:
        short = Estimate.from_values((exact - bound).mean(1))
        print(f"{short.rounded:>17}", end=" ")
    print()

# %% [markdown]
# The combination is much closer. It has a price: it is no longer a lower bound, and here lies *above* $\log p(x)$.
# And if $L_k$ and $L_{2k}$ came from separate draws, it would have six times the variance of $L_{2k}$. Nowozin
# ([*Debiasing evidence approximations*, 2018](https://openreview.net/forum?id=HyZoi-WRb)) removes the terms in
# $1/k^2$ and beyond, too.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ Does the narrow q get there, and how far off is one estimate? (9 minutes)
#
# The limit of $L_k$ for weights of infinite variance, and a bound on the error of a single estimate.

# %% [markdown]
# Burda et al. prove $L_k \to \log p(x)$ if $p(x,z)/q(z \mid x)$ is **bounded**. For the wide $q$ it is. For the
# narrow one it is not: the weight grows without limit as $z$ moves away, and k-hat warns. (A negative k-hat means
# that the weights have a largest value. For a width $r < 1$ times the posterior's the exact tail index is $1 - r^2$,
# here 0.75.)

# %%
with torch.no_grad():
    for name, q in {"wide": model, "narrow": narrow}.items():
        k_hat = pareto_k(q.log_weights(x[:1], 100_000, draws)[:, 0].numpy())
        print(f"{name:6} k-hat {k_hat:5.2f}")

# %% [markdown]
# Bounded weights are not needed. By the strong law of large numbers an average of independent draws converges
# whenever their mean is finite, and the mean weight is $p(x)$. So $u \to 1$ and $\log u \to 0$. Could $\log u$ still
# be far below zero so often that its mean does not follow? No: by Jensen it lies above the average of the
# $\log w_i - \log p(x)$, which converges too when the ELBO is finite. So $L_k$ reaches $\log p(x)$ for the narrow $q$
# as well, without the $1/k$.
#
# #### How far is a single estimate off?
#
# One group of $k$ weights gives an estimate $\hat L_k$, sometimes above $\log p(x)$ and sometimes below. Burda et al.
# bound its **mean absolute deviation** by the gap $\delta = \log p(x) - L_k$ alone, even when the variance is
# infinite:
#
# $$ \mathbb{E}\,|\hat L_k - L_k| \le 2 + 2\delta . $$

# %%
for name, q in {"wide": model, "narrow": narrow}.items():
    for k in [1, 10]:
        with torch.no_grad():
            groups = q.log_weights(x, 1_000 * k, draws)
            estimates = iwae_bound(groups.reshape(k, 1_000, 100))
        L_k = estimates.mean(0)
        deviation = (estimates - L_k).abs().mean(0)
        limit = 2 + 2 * (exact - L_k)
        print(f"{name:6} k = {k:2}:", end=" ")
        print(f"deviation {deviation.mean():.1f}", end=", ")
        print(f"limit {limit.mean():.1f}", end="; ")
        print(f"holds for {(deviation <= limit).sum()} of 100 x")

# %% [markdown]
# <details><summary><b>Why 2 + 2δ?</b></summary>
#
# Upwards an estimate cannot stray far: $\hat L_k$ exceeds $\log p(x)$ by $b$ only if $u \ge e^b$, and as $u \ge 0$
# has mean 1, Markov's inequality gives that a probability of at most $e^{-b}$. So on average $\hat L_k$ exceeds
# $\log p(x)$ by at most $\int_0^\infty e^{-b}\,db = 1$, and $L_k$ by at most $1 + \delta$. What is above the mean is
# balanced by what is below, which makes twice that.
# </details>

# %% [markdown] tags=["slide"]
# ## 4.4 The gradient is a weighted sum
#
# To train with $L_k$, draw $z_i = \mu + \sigma \varepsilon_i$ as in notebook 3 and differentiate. As
# $\nabla \log w = \nabla w / w$, we have $\nabla w = w\, \nabla \log w$. Therefore
#
# $$ \nabla \log \frac1k \sum_i w_i = \frac{\sum_i \nabla w_i}{\sum_i w_i} = \sum_i \tilde w_i \, \nabla \log w_i, \qquad \tilde w_i = \frac{w_i}{\sum_j w_j} . $$
#
# Each sample contributes its own ELBO gradient $\nabla \log w_i$, times its **self-normalized weight** $\tilde w_i$:
# a weight divided by the sum of all. With $k = 1$ that is 1, and this is the gradient that trains a VAE.
#
# One can compute $\tilde w$, hold it fixed, and differentiate the weighted sum. (The anonymous post asserts that the
# weights must be held fixed.) Or one hands $-L_k$ itself to automatic differentiation ("autograd"). Compare:


# %% tags=["slide"]
def gradient(bound, k):
    """Of a bound's mean over images, all parameters in one vector."""
    value = bound(model, x, k, torch.Generator().manual_seed(0)).mean()
    gradients = torch.autograd.grad(value, model.parameters())
    return torch.cat([g.flatten() for g in gradients])


def digits_in_common(first, second):
    """To how many digits two vectors agree; we do not look beyond 12."""
    difference = float((first - second).abs().max() / second.abs().max())
    return 12 if difference < 1e-12 else int(-math.log10(difference))


by_hand = gradient(iwae_weighted, 50)
same = digits_in_common(by_hand, gradient(iwae_autograd, 50))
print(f"k = 50, weighted sum and autograd: equal to {same} digits")
one_sample = gradient(iwae_weighted, 1)
same = digits_in_common(one_sample, gradient(pathwise, 1))
print(f"k = 1, and the VAE of notebook 3:  equal to {same} digits")

# %% [markdown] tags=["slide"]
# Both are right: autograd differentiates the logarithm just as we did. **Only in the weighted sum must the weights be
# held fixed.** It is not the bound, but another function with the same gradient.
#
# ### Exercise 4: mend this loss
#
# Losses like this are in circulation:
#
# ```python
# def iwae_loss(log_p, log_q):       # log p(x, z), log q(z|x), [k, batch]
#     loss = log_q - log_p
#     weight = torch.softmax(loss, 0)         # exp(loss) / sum of exp(loss)
#     return (weight * loss).sum(0).mean()
# ```
#
# There are two mistakes. Which sample gets the largest weight? And what does `backward()` differentiate that should
# be held fixed? Write the right loss, as a weighted sum. (`.detach()` holds a tensor fixed.)


# %% tags=["exercise", "slide"]
def iwae_loss(log_p, log_q):
    """[k, batch], [k, batch] -> one number to minimize."""
    ### BEGIN SOLUTION
    log_w = log_p - log_q
    weight = torch.softmax(log_w, 0).detach()
    return -(weight * log_w).sum(0).mean()
    ### END SOLUTION


# %%
check.iwae_loss(iwae_loss)

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ What may be left out of a log-weight? (10 minutes)
#
# Constants of densities, and the closed form of $\mathrm{KL}(q(z \mid x) \,\|\, p(z))$ from notebook 3, with
# exercise 5.

# %% [markdown]
# #### Constants
#
# The code in the anonymous post writes $\log q(z \mid x)$ as $-\varepsilon^2/2 - \log\sigma$, and $\log p(z)$ as
# $-z^2/2$. Both lack $-\frac12 \log 2\pi$. Is that allowed? Try it, and then with Laplace noise, of density
# $\frac12 e^{-|\varepsilon|}$.


# %%
def bound_and_gradient(noise, log_prior, log_density):
    q = model.posterior(x)
    z = q.mean + q.std * noise
    log_q = (log_density(noise) - q.std.log()).sum(-1)
    log_joint = model.log_conditional(x, z) + log_prior(z).sum(-1)
    value = iwae_bound(log_joint - log_q).mean()
    return value.detach(), torch.autograd.grad(value, model.log_std)[0]


one = torch.ones((), dtype=torch.float64)
normal, laplace = Normal(0 * one, one), Laplace(0 * one, one)
short = {"Gaussian": lambda e: -(e**2) / 2, "Laplace": lambda e: -e.abs()}
for name, noise in {"Gaussian": normal, "Laplace": laplace}.items():
    e = noise.sample((50, 100, 2))
    value, whole = bound_and_gradient(e, normal.log_prob, noise.log_prob)
    cut, short_one = bound_and_gradient(e, short["Gaussian"], short[name])
    print(f"{name:8} q without constants:", end=" ")
    print(f"value off by {(cut - value).abs():.3f}", end="; ")
    print(f"gradient equal to {digits_in_common(short_one, whole)} digits")

# %% [markdown]
# A constant shifts all $k$ log-weights alike, so it never touches the gradient. It shifts the *value*, unless those
# of $p(z)$ and $q(z \mid x)$ are the same and cancel, as for two Gaussians of the same dimension, or a Laplace prior
# with a Laplace $q$. Report a bound with all constants in. ($\log\sigma$ is none: it depends on $\phi$.)
#
# #### Exercise 5: why not keep the closed-form divergence?
#
# For $k = 1$ the ELBO splits into $\mathbb{E}[\log p(x \mid z)] - \mathrm{KL}(q(z \mid x) \,\|\, p(z))$, and notebook
# 3 computed the divergence exactly. It is tempting to do so for any $k$: log-mean-exp of $\log p(x \mid z_i)$, minus
# the divergence. Write it.


# %% tags=["exercise"]
def hybrid(log_conditional, kl):
    """[k, batch], [batch] -> [batch]."""
    ### BEGIN SOLUTION
    k = len(log_conditional)
    return torch.logsumexp(log_conditional, 0) - math.log(k) - kl
    ### END SOLUTION


# %%
check.hybrid(hybrid)

# %% [markdown]
# The log of a sum does not split into a sum of logs. Each draw's $\log p(z) - \log q(z \mid x)$ belongs *inside*, to
# its own weight, where it makes up for draws that $q$ makes too often. Taken out it no longer does, and the result
# can exceed $\log p(x)$. For $k = 1$ both forms have the same mean. Each beside the exact ELBO:

# %%
with torch.no_grad():
    sampled = elbo(model.log_weights(x, 1_000, draws))
    closed = elbo_closed_form(model, x, 1_000, draws)
for name, bound in {
    "all sampled:": sampled,
    "KL(q(z|x) || p(z)) closed form:": closed,
}.items():
    difference = Estimate.from_values(bound - exact_elbo)
    print(f"{name:31}", difference.against(0.0).verdict)

# %% [markdown] tags=["slide"]
# ## 4.5 What a large k does to the encoder
#
# A tighter bound is good for the decoder. For the encoder there is a catch. As $k \to \infty$ the bound becomes
# $\log p(x)$, *whatever $q$ is*, and nothing is left for the encoder to improve. Its gradient goes to zero like
# $1/k$, as the gap does. The noise of that gradient comes from an average over $k$ draws, and falls only like
# $1/\sqrt{k}$. So signal over noise falls like $1/\sqrt{k}$, too. The decoder's signal stays, and its ratio rises.
#
# Given many runs of the same gradient, the **signal-to-noise ratio** of a parameter is the absolute value of its
# mean, divided by its standard deviation. We take 4,000 runs for one $x$, and average the ratio over parameters. You
# need not read the next function.
#
# <details><summary><b>How does it get 4,000 gradients from one call?</b></summary>
#
# It puts 4,000 copies of $x$ into a batch. Each has its own draws, so it is a run of its own. A layer's bias is added
# to its output, so the gradient that arrives at the output for one copy is that of the bias in one run. A
# <em>hook</em>, a function that PyTorch calls when a layer is used, gives us the output.
# </details>


# %% tags=["slide"]
def gradient_runs(bound, layer, k, runs=4_000):
    """Gradients of ``layer.bias`` in separate runs, [runs, parameters]."""
    outputs = []

    def keep(layer, inputs, output):
        outputs.append(output)

    hook = layer.register_forward_hook(keep)
    value = bound(model, x[:1].expand(runs, -1), k, draws)
    hook.remove()
    (arrived,) = torch.autograd.grad(value.sum(), outputs[0])
    return arrived.reshape(-1, runs, arrived.shape[-1]).sum(0)


ks = [1, 4, 16, 64, 256]


def ratios_for(bound, layer):
    """The signal-to-noise ratio for each k."""
    runs = [gradient_runs(bound, layer, k) for k in ks]
    return [float((g.mean(0).abs() / g.std(0)).mean()) for g in runs]


ratios = {
    "decoder": ratios_for(iwae_autograd, model.decoder),
    "encoder": ratios_for(iwae_autograd, model.encoder),
}
title = "As k grows, the decoder's ratio rises and the encoder's falls"
figures.signal_against_k(ks, ratios, runs=4_000, title=title)

# %% [markdown] tags=["slide"]
# Rainforth et al. derived this ([*Tighter variational bounds are not necessarily better*,
# 2018](https://arxiv.org/abs/1802.04537)): with $M$ images in a batch **the decoder's ratio goes like $\sqrt{Mk}$, the
# encoder's like $\sqrt{M/k}$**. (In the grey band a ratio is too small to be seen in 4,000 runs, and the triangle marks an
# error bar that reaches zero.)

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ A better gradient for the encoder (13 minutes)
#
# Signal and noise by hand (exercise 6), and gradients of the same mean with less noise.

# %% [markdown]
# #### Exercise 6: signal and noise
#
# Write the ratio of section 4.5: for each parameter the absolute value of its mean over the runs, divided by its
# standard deviation, and then the average over the parameters.


# %% tags=["exercise"]
def signal_to_noise(gradients):
    """[runs, parameters] -> one number."""
    ### BEGIN SOLUTION
    return (gradients.mean(0).abs() / gradients.std(0)).mean()
    ### END SOLUTION


# %%
check.signal_to_noise(signal_to_noise)

# %% [markdown]
# #### Without the direct part
#
# In $\log q_\phi(z \mid x)$ the encoder's parameters $\phi$ occur twice: inside $z$, and directly, as the parameters
# of the density. So the gradient has two parts. In the ELBO's gradient the direct part has mean zero, because a
# density integrates to 1:
#
# $$ \mathbb{E}_q[\nabla_\phi \log q_\phi] = \int q_\phi\, \frac{\nabla_\phi q_\phi}{q_\phi}\, dz = \nabla_\phi \int q_\phi\, dz = \nabla_\phi 1 = 0 . $$
#
# Roeder, Wu and Duvenaud ([*Sticking the landing*, 2017](https://arxiv.org/abs/1703.09194)) drop this part. Near the
# posterior that lowers the variance. Let $q$ have $s$ times the posterior's width and look at the gradient in its
# mean: its variance is proportional to $s^2$ with the direct part, and to $(1/s - s)^2$ without. At $s = 1$ the
# second is zero. Below $s = 0.71$ it is the larger one. There the direct part cancels noise of the other part, and
# dropping it hurts.
#
# For $L_k$ the direct part does not have mean zero. But it can be reparameterized once more, and what is left is
# (Tucker et al., [*Doubly reparameterized gradient estimators*, 2019](https://arxiv.org/abs/1810.04152))
#
# $$ \nabla_\phi L_k = \mathbb{E}\Big[\sum_i \tilde w_i^{\,2} \; \frac{\partial \log w_i}{\partial z_i} \, \frac{\partial z_i}{\partial \phi}\Big] . $$
#
# The weights are squared, there is no direct part, and the mean is as before. The decoder keeps its ordinary
# gradient.

# %%
ratios["encoder, doubly reparameterized"] = ratios_for(
    doubly_reparameterized, model.encoder
)
title = "Doubly reparameterized, the encoder's gradient keeps its signal"
figures.signal_against_k(ks, ratios, runs=4_000, title=title)


# %%
def first_parameter(bound, k):
    return gradient_runs(bound, model.encoder, k, runs=20_000)[:, 0]


for k in [1, 16]:
    plain = first_parameter(iwae_autograd, k)
    doubly = first_parameter(doubly_reparameterized, k)
    error = ((plain.var() + doubly.var()) / 20_000).sqrt()
    z = ((plain.mean() - doubly.mean()) / error).abs()
    print(f"k = {k:2}: means differ by {z:.1f} standard errors", end="; ")
    ratio = plain.var() / doubly.var()
    print(f"the plain one has {ratio:.0f} times the variance")

# %% [markdown]
# With $k = 1$ it is sticking the landing, and the factor is the one above: $1.5^2 / (1/1.5 - 1.5)^2 \approx 3$.

# %% [markdown]
# ## 4.6 Train it: k = 1, 5, 50
#
# Digits of 8 x 8 pixels, binarized anew for each batch, and notebook 3's loop with another bound. All three models
# get the same first weights and the same number of updates. We watch $\log p(x)$ of validation images from 500 draws,
# $L_{500}$: the same yardstick for all, and for none of them the bound it is trained with. (The learning rate falls to
# zero, so that no model is judged by where its last steps happened to lead.)

# %%
digits = datasets.load("digits")
validation = datasets.fixed_binarization(digits.validation)
test = datasets.fixed_binarization(digits.test)


def train(k, curve, seed=0, n_steps=800):
    torch.manual_seed(seed)
    model = VAE(64, [100, 100], 8)
    optimizer = torch.optim.Adam(model.parameters())
    draws = torch.Generator().manual_seed(seed)
    for step in range(n_steps + 1):
        optimizer.param_groups[0]["lr"] = 4e-3 * (1 - step / n_steps)
        batch = torch.randint(len(digits.train), (50,), generator=draws)
        x = datasets.binarize(digits.train[batch], draws)
        loss = -iwae_autograd(model, x, k, draws).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            evidence = log_likelihood(model, validation, n_samples=500)
            curve.add(step, {f"k = {k}": evidence.per_image.mean()})
    return model


# %% tags=["slide"]
title = "After the same number of updates, larger k ends higher"
ylabel = "log p(x) of validation images (nats)"
with LiveCurve("updates", ylabel, title) as curve:
    trained = {k: train(k, curve) for k in [1, 5, 50]}

# %% [markdown] tags=["slide"]
# Now the test images. The standard error over images is large, because some images are much harder than others. But
# those are hard for all three models. So compare the models **in pairs**, image by image.
#
# ### Exercise 7: a fair comparison
#
# Given $\log p(x)$ of the same images under two models, return by how much the second is better on average, and the
# standard error of that.


# %% tags=["exercise", "slide"]
def paired(a, b):
    """[images], [images] -> mean of b - a, and its standard error."""
    ### BEGIN SOLUTION
    difference = b - a
    return difference.mean(), difference.std() / len(difference) ** 0.5
    ### END SOLUTION


# %%
check.paired(paired)

# %% tags=["slide"]
evidence = {k: log_likelihood(m, test, 500) for k, m in trained.items()}
figures.evidence_by_k(evidence, "Larger k: log p(x) rises, the ELBO falls")

# %% tags=["slide"]
for k in [5, 50]:
    gains = evidence[k].per_image - evidence[1].per_image
    better = Estimate.from_values(gains)
    print(f"k = {k:2} against k = 1:", end=" ")
    print(f"log p(x) higher by {better.value:.1f} nats", end=", ")
    print(f"standard error {better.std_error:.2f}")
worse = Estimate.from_values(evidence[1].elbo - evidence[50].elbo)
print(f"k = 50 against k = 1: the ELBO lower by {worse.value:.0f} nats")

# %% [markdown] tags=["slide"]
# The standard error is about other images. Another *training*, with other first weights and batches, would differ as
# well. So we called `train` with the seeds 0 to 4. The mean $\log p(x)$ of test images was -23.74, -23.41 and -23.14
# for $k = 1, 5, 50$. Its standard deviation over seeds was at most 0.05, and the order was the same every time.
#
# A better model, and a *worse* ELBO? In the ELBO every bad draw counts in full, so $q$ has to avoid bad draws, and
# the model has to have posteriors which such a $q$ can match. **In $L_k$ one good draw makes up for others**, so $q$ may
# be wider and the model is freer.
#
# <details><summary><b>Another way to see it</b></summary>
#
# Cremer, Morris and Duvenaud (<em>Reinterpreting importance-weighted autoencoders</em>, 2017) think of a richer $q$:
# make $k$ draws, and pick one of them with probability $\tilde w_i$. $L_k$ is at most the ELBO of that $q$.
# </details>

# %% [markdown] tags=["slide"]
# ## 4.7 MNIST, and two stochastic layers
#
# The networks of Burda et al. for MNIST, 784-200-200-50 units, take longer to train than a notebook should. They come
# as **checkpoints**: files with the parameters of a trained network, each with a *card* that says how it was trained
# and how well it does. One has **two layers** of latent variables.

# %% tags=["slide"]
figures.draw_two_layers()

# %% [markdown] tags=["slide"]
# Its log-weight is
#
# $$
# \begin{aligned}
# \log w = {} & \log p(z_2) + \log p(z_1 \mid z_2) + \log p(x \mid z_1) \\
# & - \log q(z_1 \mid x) - \log q(z_2 \mid z_1) .
# \end{aligned}
# $$
#
# Nothing else changes: `log_weights(x, k)` returns $[k, \text{batch}]$ numbers.

# %%
published = {  # log p(x) of MNIST's test images, Burda et al. 2016
    "mnist-vae": -86.76,
    "mnist-iwae-k5": -85.54,
    "mnist-iwae-k50": -84.78,
    "mnist-iwae-2layer-k50": -82.90,
}
models, cards = {}, {}
for name in published:
    models[name], cards[name] = load_checkpoint(name)

# %% [markdown]
# Means over test images, in nats. From the cards, the *encoder's $L_{5000}$*, with 5,000 draws from our encoder;
# beside it the *paper's* (Burda et al.), for its own model; *fitted*, with draws from another proposal, a Gaussian
# fitted to each image (notebook 5 shows how), ± the standard error over images. Last, for how many images k-hat is
# too high.

# %% tags=["slide"]
print(" " * 29, "encoder's  paper's                   k-hat too high")
print(f"{'checkpoint':22}           L_5000   L_5000", end="          ")
print("fitted  encoder  fitted")
for name, card in cards.items():
    metrics = card.metrics["test"]
    encoder = metrics.by("encoder").log_likelihood
    fitted = metrics.by("adapted").log_likelihood
    print(f"{name:22} {encoder.value:>16.2f}", end=" ")
    print(f"{published[name]:>8.2f} {fitted.value:>8.2f}", end=" ")
    print(f"± {fitted.std_error_over_images:.2f}", end=" ")
    print(f"{encoder.share_of_high_pareto_k:>8.0%}", end=" ")
    print(f"{fitted.share_of_high_pareto_k:>7.0%}")

# %% [markdown] tags=["slide"]
# - Ours are worse, probably because the paper trained for 3,280 epochs and we for 48.
# - $L_{5000}$ of an encoder is a lower bound. Its k-hats say that $q$ is too narrow somewhere for nearly every image,
#   and then the gap falls slowly. The fitted Gaussians come closer to $\log p(x)$, by half a nat and more. So the
#   paper's models may be half a nat better than it says, too.
# - The first three had the same number of updates. Only then can one compare over $k$, and in pairs, as in section
#   4.6.
#
# What do they draw? Images from each prior:

# %% tags=["slide"]
draws = torch.Generator().manual_seed(0)
rows = {}
with torch.no_grad():
    for name, m in models.items():
        rows[name] = m.mean_image(m.sample_prior(14, draws))
image_rows(rows, "Drawn from the prior of each model: pixel probabilities")

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ How many latent dimensions are used? (5 minutes)
#
# A count for the digits and for MNIST.

# %% [markdown]
# Call a latent dimension **active** if its posterior mean varies over images, with a variance above 0.01 (Burda et
# al. 2016, section 5). For the digits we take the test images; for MNIST, 1,000 images that each model draws itself,
# so that no download is needed.


# %%
def spread_of_means(model, x):
    """The variance over images of the posterior mean, [latent_dim]."""
    with torch.no_grad():
        return model.posterior(x).mean.var(0)


activity = {
    f"k = {k}": spread_of_means(m, test) for k, m in trained.items()
}
larger = {}
for k, name in [(1, "vae"), (5, "iwae-k5"), (50, "iwae-k50")]:
    m = models[f"mnist-{name}"]
    with torch.no_grad():
        drawn = m.mean_image(m.sample_prior(1_000, draws))
    images = datasets.binarize(drawn, draws)
    larger[f"k = {k}"] = spread_of_means(m, images)
panels = {
    "Digits: with k = 1 the last of 8 say least": activity,
    "MNIST: about half of 50 are active": larger,
}
figures.activity(panels, threshold=0.01)

# %% [markdown]
# On MNIST, for $k = 1$ and 5 a dimension below the line is as good as switched off: its $q$ is the prior, whatever
# the image. For $k = 50$ the fall is more gradual, and more dimensions are used a little.

# %% [markdown]
# ## 4.8 Summary
#
# Estimates of this notebook beside their exact answers, on the linear-Gaussian model with the wide $q$.

# %% tags=["slide"]
with torch.no_grad():
    log_w = model.log_weights(x, 5_000, draws)
    squares = ((log_w - exact).exp() ** 2).mean(1) - 1
    log_p = log_likelihood(model, x, n_samples=5_000).mean
bound = model.exact_elbo(x[:1]).sum()
(slope,) = torch.autograd.grad(bound, model.encoder.bias)
runs = gradient_runs(pathwise, model.encoder, 1, runs=20_000)
rows = {
    "ELBO": (Estimate.from_values(log_w.mean(1)), exact_elbo.mean()),
    "log p(x)": (log_p, exact.mean()),
    "relative variance of w": (Estimate.from_values(squares), predicted),
    "gradient of the ELBO": (Estimate.from_values(runs[:, 0]), slope[0]),
}
for name, (estimate, truth) in rows.items():
    verdict = estimate.against(truth).verdict
    print(f"{name:23} {estimate.rounded:>19}", end="   ")
    print(f"exact {truth:8.4f}   {verdict}")

# %% tags=["headline"]
log_likelihood(model, x, n_samples=5_000).mean.against(exact.mean())

# %% [markdown] tags=["slide"]
# - $L_k$ is the mean of the log of an average of $k$ weights. It is the ELBO at $k = 1$, never worse with more
#   samples, and $\log p(x)$ in the limit.
# - Its gap is about $\operatorname{Var}(w) / (2 k\, p(x)^2)$. If $q$ is too narrow that is infinite, and the gap
#   falls more slowly.
# - Its gradient is the sum of the samples' ELBO gradients, each times its self-normalized weight. Autograd finds it.
# - With a larger $k$ the signal-to-noise ratio rises for the decoder and falls for the encoder.
# - Compare models by $\log p(x)$ of the same images, in pairs, and train with several seeds.

# %% [markdown]
# How far you came, by the checks that you ran since this kernel was started:

# %%
progress(check)

# %% [markdown]
# ### Three questions
#
# <details><summary><b>1.</b> A paper reports the mean of the log-weights of 5,000 draws as log p(x). Too high, too low, and by how much?</summary>
#
# Too low, by $\mathrm{KL}(q(z \mid x) \,\|\, p(z \mid x))$: it is the ELBO, estimated very precisely. For our wide
# $q$ that was more than a nat, and no number of draws makes it smaller. The log of the mean would have been too low
# by 0.0001.
# </details>
#
# <details><summary><b>2.</b> You go from k = 1 to k = 50 and keep the encoder's ordinary gradient. By how much must the batch grow to keep its
# signal-to-noise ratio?</summary>
#
# Fifty times, because the ratio goes like the root of $M/k$; and each image costs fifty times as much. The ☆ part of
# section 4.5 has a cheaper way. (In section 4.6 we got away without: Adam averages over steps.)
# </details>
#
# <details><summary><b>3.</b> If a large k gives log p(x) for any q, why train an encoder at all?</summary>
#
# Because of the relative variance of the weights, which says how many draws it takes. With the prior as proposal the
# draws needed are about $e$ to the power of $\mathrm{KL}(p(z \mid x) \,\|\, p(z))$ (Chatterjee and Diaconis 2018).
# With a trained encoder it is $\mathrm{KL}(p(z \mid x) \,\|\, q(z \mid x))$, which is far smaller. But it is not
# small. On MNIST, 5,000 draws from our one-layer encoders have an effective sample size of about ten (8 to 14, on 100
# test images), and fifty draws will usually contain none of those ten. That is enough to train with, but not to
# measure $\log p(x)$.
# </details>
#
# ### Where to read on
#
# - [Burda, Grosse and Salakhutdinov (2016)](https://arxiv.org/abs/1509.00519), *Importance weighted autoencoders*:
#   the bound, its proofs, the table.
# - [Cremer, Morris and Duvenaud (2017)](https://arxiv.org/abs/1704.02916), *Reinterpreting importance-weighted
#   autoencoders*: the richer q behind it.
# - [Rainforth et al. (2018)](https://arxiv.org/abs/1802.04537), *Tighter variational bounds are not necessarily
#   better*: signal and noise.
# - [Roeder, Wu and Duvenaud (2017)](https://arxiv.org/abs/1703.09194), *Sticking the landing: simple, lower-variance
#   gradient estimators for variational inference*.
# - [Tucker, Lawson, Gu and Maddison (2019)](https://arxiv.org/abs/1810.04152), *Doubly reparameterized gradient
#   estimators for Monte Carlo objectives*.
# - [Nowozin (2018)](https://openreview.net/forum?id=HyZoi-WRb), *Debiasing evidence approximations*: the 1/k term,
#   and how to remove it.
# - [Domke and Sheldon (2018)](https://arxiv.org/abs/1808.09034), *Importance weighting and variational inference*:
#   when the 1/k law holds.
# - [Chatterjee and Diaconis (2018)](https://arxiv.org/abs/1511.01437), *The sample size required in importance
#   sampling*.
# - *Importance Weighted Autoencoders*, 17 June 2019: the anonymous post. Our copy has neither author nor address.
#
# **Next:** notebook 5, where the model is large, the exact answer unknown, and log p(x) has to be earned.
