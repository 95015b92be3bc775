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
# themselves. Between the two lies a whole ladder of bounds, one for each number of samples $k$, and each can be
# trained. You will climb it, measure each rung against an exact $\log p(x)$, and meet what is lost on the way up.
#
# **You will be able to**
# - write the bound of [Burda, Grosse and Salakhutdinov](https://arxiv.org/abs/1509.00519), say why it grows with $k$,
#   and how fast;
# - write its gradient as a weighted sum, and recognise four popular ways to get it wrong;
# - say what a large $k$ does to the encoder, and how to mend it;
# - compare trained models on the same images, with errors that are fair.
#
# **Time** about 75 minutes, with seven short exercises. **You need** notebooks 2 and 3. Half of the computing time
# goes into training three small models in section 4.6.

# %%
import itertools
import math

import torch
from course_lib import datasets
from course_lib.estimates import Estimate, pareto_k
from course_lib.exercises import notebook_04 as check
from course_lib.figures import notebook_04 as figures
from course_lib.figures.images import image_rows
from course_lib.figures.live import LiveCurve
from course_lib.training import load_checkpoint
from course_lib.vae import VAE, LinearGaussianVAE, elbo, iwae_bound, log_likelihood
from course_lib.vae.bounds import (
    doubly_reparameterized,
    elbo_closed_form,
    iwae_autograd,
    iwae_weighted,
    pathwise,
)
from torch.distributions import Laplace, Normal

torch.set_num_threads(1)  # matrices this small are done before a second thread has woken up

# %% [markdown]
# ## 4.1 The log of the mean
#
# A draw $z$ from the encoder's $q(z \mid x)$ carries the weight $w = p(x, z) / q(z \mid x)$, and the mean of $w$ is
# $p(x)$. What we want is its *logarithm*. Three ways to get there:
#
# $$ \underbrace{\mathbb{E}[\log w]}_{\text{ELBO}} \;\le\; \underbrace{\mathbb{E}\Big[\log \frac1k \sum_{i=1}^k w_i\Big]}_{L_k} \;\le\; \underbrace{\log \mathbb{E}[w]}_{\log p(x)} $$
#
# The one in the middle is the **importance-weighted bound** $L_k$: average $k$ weights, then take the log. With
# $k = 1$ it *is* the ELBO. The second inequality is Jensen's, as in notebook 3.
#
# To see it we need a model whose $\log p(x)$ is known, and an encoder that is wrong by a known amount. So take the
# linear-Gaussian model of notebook 3, move the means of $q$ by 0.3, and make it half again as wide as the posterior.


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
print(f"100 x: mean exact ELBO {exact_elbo.mean():.3f}, log p(x) {exact.mean():.3f} nats")

# %% [markdown]
# `log_weights` draws $z$ and returns $\log p(x, z) - \log q(z \mid x)$, one row for each draw. The draws are
# independent, so 10,000 of them can be cut into groups of $k$.

# %%
draws = torch.Generator().manual_seed(0)
log_w = model.log_weights(x, 10_000, draws).detach()  # [10,000, 100]
bounds = []
for k in [1, 2, 5, 10, 20, 50]:
    groups = log_w.reshape(-1, k, 100)
    L_k = groups.exp().mean(1).log().mean(1)  # over k, then over images: one number a group
    bounds.append((float(L_k.mean()), float(L_k.std() / len(L_k) ** 0.5)))
    print(f"k = {k:2}: L_k = {bounds[-1][0]:.2f}")

# %%
figures.bounds_against_k(
    [1, 2, 5, 10, 20, 50],
    bounds,
    float(exact_elbo.mean()),
    float(exact.mean()),
    "The bound starts at the ELBO and climbs towards log p(x)",
)

# %% [markdown]
# ### Why subtract the largest?
#
# The cell above did `exp`, `mean`, `log`, because its weights are near $e^{-8}$. Those of an image of 784 pixels are
# near $e^{-100}$. Code for the IWAE therefore subtracts the largest log-weight first. A blog post of June 2019 that
# explains such code doubts it: log-weights are negative anyway, so is it wise to push them further down? (We follow
# that post through this notebook, and answer its doubts.) See what happens without:

# %%
small = torch.tensor([-104.0, -105.0, -110.0])  # float32
print("exp, mean, log:        ", small.exp().mean().log().item())
largest = small.max()
print(f"largest taken out first: {(small - largest).exp().mean().log() + largest:.3f}")

# %% [markdown]
# In float32 $e^{-104}$ is zero, and all is lost. With the largest taken out, one weight is exactly 1; the others may
# vanish, and then they did not matter.
#
# ### Exercise 1: the bound
#
# Write $L_k$ for log-weights of any size. (`torch.logsumexp` takes out the largest for you.)


# %% tags=["exercise"]
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
# A repository evaluates its two-layer network on MNIST with `K = 5000` draws for each image and prints
#
# ```python
# torch.logsumexp(log_w, 0).mean()    # log_w: [5000, images];  prints -78.2
# ```
#
# That would rival the best models known. What should it have printed?

# %% tags=["exercise"]
should_be = None  # nats per image
### BEGIN SOLUTION
should_be = -78.2 - math.log(5000)
### END SOLUTION

# %%
check.too_good(should_be)

# %% [markdown]
# ## 4.2 Why more samples never hurt
#
# $L_k \le L_{k+1}$ holds for *every* $q$, good or bad, and the reason is one picture. Draw six weights. Their mean is
# also the mean of the means of all pairs, or of all triples: each weight occurs in equally many. So
#
# $$ \log(\text{mean of six}) = \log\big(\text{average over pairs of } (\text{mean of the pair})\big) \;\ge\; \text{average over pairs of } \log(\text{mean of the pair}) , $$
#
# by Jensen once more. On average the left side is $L_6$. A pair among six draws is as good as any two draws, so the
# right side is $L_2$. No property of the weights was used. The six draws below show it:

# %%
six = log_w[:6, 0]
for m in range(1, 7):
    subsets = [iwae_bound(six[list(s)]) for s in itertools.combinations(range(6), m)]
    average = torch.stack(subsets).mean()
    print(f"{len(subsets):2} subsets of {m}: average log of the mean {average:.3f}")

# %% [markdown]
# ## 4.3 How fast?
#
# Let $u = \frac{1}{k}\sum_i w_i / p(x)$, the average weight as a fraction of the truth. Its mean is 1. The gap is
# $\log p(x) - L_k = \mathbb{E}[-\log u]$. Add $u - 1$, whose mean is zero, and nothing changes:
#
# $$ \log p(x) - L_k = \mathbb{E}[u - 1 - \log u] \approx \mathbb{E}\Big[\tfrac12 (u-1)^2\Big] = \frac{1}{2k}\,\frac{\operatorname{Var}(w)}{p(x)^2} . $$
#
# The approximation is good once $u$ is near 1. (This is the *delta method*; [Nowozin
# 2018](https://openreview.net/forum?id=HyZoi-WRb) carries it further.) So the gap falls like $1/k$, and its size is the
# relative variance of the weights: notebook 2's measure of a proposal, again.
#
# ### Exercise 3: samples for a gap
#
# Which $k$ makes the gap `gap` nats, if the weights have the relative variance $\operatorname{Var}(w)/p(x)^2$ =
# `relative_variance`?


# %% tags=["exercise"]
def samples_needed(relative_variance, gap):
    """The k for which relative_variance / (2 k) is ``gap``."""
    ### BEGIN SOLUTION
    return relative_variance / (2 * gap)
    ### END SOLUTION


# %%
check.samples_needed(samples_needed)

# %% [markdown]
# For Gaussians the relative variance is known exactly. In one dimension, with a posterior $N(m, s^2)$ and
# $q = N(\mu, t^2)$, the integral of (posterior)$^2/q$ gives
#
# $$ \frac{\mathbb{E}[w^2]}{p(x)^2} = \frac{t^2}{s\,\sqrt{2t^2 - s^2}}\, \exp\frac{(m-\mu)^2}{2t^2 - s^2} , $$
#
# dimensions multiply, and there is a cliff: **infinite when $t^2 \le s^2/2$**. A $q$ narrower than 0.71 posteriors
# never sees enough of the tails, like the narrow proposals of notebook 2.


# %%
def relative_variance(model, x):
    """Var(w) / p(x)**2 for each x, exactly; [batch]."""
    q, posterior = model.posterior(x), model.exact_posterior(x)
    c = 2 * q.std**2 - posterior.variance
    shift = (posterior.mean - q.mean) ** 2
    per_dim = q.std**2 / (posterior.variance * c).sqrt() * torch.exp(shift / c)
    return per_dim.prod(1).detach() - 1


predicted = relative_variance(model, x).mean()
print(
    f"relative variance {predicted:.3f}; a gap of 0.01 nats takes k = {predicted / 0.02:.0f}"
)

# %% [markdown]
# Measure the gap, for this wide $q$ and for one of half the posterior's width. (For the narrow $q$ the variance of
# $u$ is infinite, so adding $u - 1$ would only add noise; there we average $-\log u$ itself.)


# %%
def gap(model, k, finite_variance=True):
    """log p(x) - L_k, mean over 20 images, and its standard error."""
    with torch.no_grad():
        log_w = model.log_weights(x[:20], 30_000 // k * k, draws).reshape(k, -1, 20)
    log_u = iwae_bound(log_w) - exact[:20]
    gaps = (log_u.exp() - 1 - log_u if finite_variance else -log_u).mean(1)
    return float(gaps.mean()), float(gaps.std() / len(gaps) ** 0.5)


narrow = linear_model(shift=0.0, width=0.5)
ks = [1, 3, 10, 30, 100, 300]
gaps = {
    "wide q": [gap(model, k) for k in ks],
    "narrow q": [gap(narrow, k, finite_variance=False) for k in ks],
}
figures.gap_against_k(
    ks,
    gaps,
    {"wide q": float(relative_variance(model, x[:20]).mean())},
    "With a finite variance the gap falls like 1/k; with an infinite one, slower",
)

# %% [markdown]
# ### Does the narrow one get there at all?
#
# The paper proves $L_k \to \log p(x)$ if $p(x,z)/q(z \mid x)$ is **bounded**. For the wide $q$ it is. For the narrow
# one it is not: the weight grows without limit as $z$ moves away, and k-hat warns. (A negative k-hat means that the
# weights have a largest value. With $r = t/s$ the exact tail index is $1 - r^2$, here 0.75.)

# %%
with torch.no_grad():
    for name, q in {"wide": model, "narrow": narrow}.items():
        k_hat = pareto_k(q.log_weights(x[:1], 100_000, draws)[:, 0].numpy())
        print(f"{name:6} k-hat {k_hat:5.2f}")

# %% [markdown]
# Bounded weights are *sufficient*, not necessary. The strong law of large numbers asks only for a finite mean, and
# the mean weight is $p(x)$. And $\log u$ cannot escape downwards, because it lies above the mean of the $\log w_i$,
# which settles too when the ELBO is finite. So $L_k$ converges for the narrow $q$ as well, but without the $1/k$: a
# hundred times the samples bought the wide $q$ two digits, and the narrow one less than one.
#
# ### How far is a single estimate off?
#
# One draw of $k$ weights gives $\hat L_k$, which is sometimes above $\log p(x)$ and sometimes below. The paper bounds
# its **mean absolute deviation** by the gap $\delta = \log p(x) - L_k$ alone, whatever the variance:
#
# $$ \mathbb{E}\,|\hat L_k - L_k| \le 2 + 2\delta . $$

# %%
for name, q in {"wide": model, "narrow": narrow}.items():
    for k in [1, 10]:
        with torch.no_grad():
            log_w = q.log_weights(x, 1_000 * k, draws).reshape(k, 1_000, 100)
        estimates = iwae_bound(log_w)
        L_k = estimates.mean(0)
        deviation, limit = (estimates - L_k).abs().mean(0), 2 + 2 * (exact - L_k)
        print(f"{name:6} k = {k:2}: deviation {deviation.mean():.1f}", end=", ")
        print(f"limit {limit.mean():.1f}; holds for {(deviation <= limit).sum()} of 100 x")

# %% [markdown]
# <details><summary><b>Why 2 + 2δ?</b></summary>
#
# Upwards an estimate cannot stray far: $\hat L_k$ exceeds $\log p(x)$ by $b$ only if $u \ge e^b$, and as $u \ge 0$
# has mean 1, Markov's inequality gives that a probability of at most $e^{-b}$. So on average $\hat L_k$ exceeds
# $\log p(x)$ by at most $\int_0^\infty e^{-b}\,db = 1$, and $L_k$ by at most $1 + \delta$. What is above the mean is
# balanced by what is below, which makes twice that.
# </details>
#
# ## 4.4 The gradient is a weighted sum
#
# To train with $L_k$, draw $z_i = \mu + \sigma \varepsilon_i$ as in notebook 3 and differentiate. With the chain
# rule,
#
# $$ \nabla \log \frac1k \sum_i w_i = \frac{\sum_i \nabla w_i}{\sum_i w_i} = \sum_i \tilde w_i \, \nabla \log w_i, \qquad \tilde w_i = \frac{w_i}{\sum_j w_j} . $$
#
# Each sample pulls with its own ELBO gradient, in proportion to its **normalized weight** $\tilde w_i$. With $k = 1$
# the weight is 1, and this is the VAE's update.
#
# The post's code computes $\tilde w$, declares it a constant, and differentiates the weighted sum. Would it be wrong
# to hand $-L_k$ to automatic differentiation and be done, as the post suspects? Compare:


# %%
def gradient(bound, k):
    """The gradient of a bound's mean over images, all parameters in one vector."""
    value = bound(model, x, k, torch.Generator().manual_seed(0)).mean()
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, model.parameters())])


def same(first, second):
    """Whether two vectors agree to 12 digits."""
    return bool((first - second).abs().max() < 1e-12 * second.abs().max())


by_hand, by_autograd = gradient(iwae_weighted, 50), gradient(iwae_autograd, 50)
print("the same, weights held fixed or left to autograd?", same(by_hand, by_autograd))
one_sample, vae = gradient(iwae_weighted, 1), gradient(pathwise, 1)
print("the same, one sample or the VAE of notebook 3?   ", same(one_sample, vae))

# %% [markdown]
# It makes no difference: autograd knows the chain rule. The weights must be held fixed only in the *weighted sum*,
# which is not the bound but a stand-in with the right gradient.
#
# ### Exercise 4: mend this loss
#
# It is in circulation, in code that people train with:
#
# ```python
# def iwae_loss(log_p, log_q):                # log p(x, z) and log q(z|x), both [k, batch]
#     loss = log_q - log_p
#     weight = torch.softmax(loss, 0)
#     return (weight * loss).sum(0).mean()
# ```
#
# Which sample gets the largest weight? And what else does `backward()` differentiate? Write it with the right
# gradient, as a weighted sum.


# %% tags=["exercise"]
def iwae_loss(log_p, log_q):
    """[k, batch], [k, batch] -> one number to minimize."""
    ### BEGIN SOLUTION
    log_w = log_p - log_q
    weight = torch.softmax(log_w, 0).detach()
    return -(weight * log_w).sum(0).mean()
    ### END SOLUTION


# %%
check.iwae_loss(iwae_loss)

# %% [markdown]
# ### Constants that may be dropped
#
# The post writes $\log q(z \mid x)$ through the noise, as $-\varepsilon^2/2 - \log\sigma$, and $\log p(z)$ as
# $-z^2/2$. Both lack $-\frac12 \log 2\pi$. Is that allowed? Try it, and then with Laplace noise, whose density is
# $\frac12 e^{-|\varepsilon|}$.


# %%
def bound_and_gradient(noise, log_prior, log_density):
    q = model.posterior(x)
    z = q.mean + q.std * noise
    log_q = (log_density(noise) - q.std.log()).sum(-1)
    value = iwae_bound(model.log_conditional(x, z) + log_prior(z).sum(-1) - log_q).mean()
    return value.detach(), torch.autograd.grad(value, model.log_std)[0]


one = torch.ones((), dtype=torch.float64)
normal, laplace = Normal(0 * one, one), Laplace(0 * one, one)
short = {"Gaussian": lambda e: -(e**2) / 2, "Laplace": lambda e: -e.abs()}
for name, noise in {"Gaussian": normal, "Laplace": laplace}.items():
    e = noise.sample((50, 100, 2))
    value, whole = bound_and_gradient(e, normal.log_prob, noise.log_prob)
    cut, short_one = bound_and_gradient(e, short["Gaussian"], short[name])
    print(f"{name:8} q without constants: value off by {(cut - value).abs():.3f}", end="; ")
    print("same gradient?", same(short_one, whole))

# %% [markdown]
# A constant shifts all $k$ log-weights alike, so it never touches the gradient. In the *value*, those of $p(z)$ and
# $q(z \mid x)$ cancel when both are Gaussians of the same dimension, and only then. Report a bound with all constants
# in. ($\log\sigma$ is none: it depends on $\phi$.)
#
# ### Exercise 5: why not keep the closed-form divergence?
#
# For $k = 1$ the ELBO splits into $\mathbb{E}[\log p(x \mid z)] - \mathrm{KL}(q \,\|\, p(z))$, and notebook 3
# computed the second term exactly. It is tempting to do so here: log-mean-exp of $p(x \mid z_i)$, minus the
# divergence. Write it, given $\log p(x \mid z_i)$ and the divergence.


# %% tags=["exercise"]
def hybrid(log_conditional, kl):
    """[k, batch], [batch] -> [batch]."""
    ### BEGIN SOLUTION
    return torch.logsumexp(log_conditional, 0) - math.log(len(log_conditional)) - kl
    ### END SOLUTION


# %%
check.hybrid(hybrid)

# %% [markdown]
# The log of a sum does not split into a sum of logs: each draw's $\log p(z) - \log q(z \mid x)$ belongs *inside*, to
# its own weight. Taken out, it no longer discounts the draws that $q$ makes too often, and the result can exceed
# $\log p(x)$. For $k = 1$ both forms have the same mean:

# %%
with torch.no_grad():
    sampled = Estimate.from_values(elbo(model.log_weights(x, 1_000, draws)) - exact_elbo)
    closed = Estimate.from_values(elbo_closed_form(model, x, 1_000, draws) - exact_elbo)
print("all sampled, agrees with the exact ELBO?     ", sampled.against(0.0).agrees)
print("KL in closed form, agrees with the exact one?", closed.against(0.0).agrees)

# %% [markdown]
# ## 4.5 What a large k does to the encoder
#
# A tighter bound sounds like a better teacher. For the decoder it is. For the encoder there is a catch. As
# $k \to \infty$ the bound becomes $\log p(x)$, *whatever q is*: nothing is left for the encoder to improve. Its
# gradient goes to zero like $1/k$. The noise of the gradient falls too, but only like $1/\sqrt{k}$.
#
# ### Exercise 6: signal and noise
#
# Given many runs of the same gradient, the **signal-to-noise ratio** of a parameter is the absolute value of its mean
# over its standard deviation. Return the average ratio over the parameters.


# %% tags=["exercise"]
def signal_to_noise(gradients):
    """[runs, parameters] -> one number."""
    ### BEGIN SOLUTION
    return (gradients.mean(0).abs() / gradients.std(0)).mean()
    ### END SOLUTION


# %%
check.signal_to_noise(signal_to_noise)

# %% [markdown]
# To collect 4,000 runs cheaply, put 4,000 copies of one $x$ into a batch. Each copy has its own draws, and the
# gradient that arrives at a layer's output for one copy is the gradient of that layer's bias in one run.


# %%
def gradient_runs(bound, layer, k, runs=4_000):
    """Gradients of ``layer.bias`` in separate runs, ``[runs, parameters]``."""
    outputs = []
    hook = layer.register_forward_hook(lambda _, inputs, output: outputs.append(output))
    value = bound(model, x[:1].expand(runs, -1), k, draws)
    hook.remove()
    (arrived,) = torch.autograd.grad(value.sum(), outputs[0])
    return arrived.reshape(-1, runs, arrived.shape[-1]).sum(0)


# %%
ks = [1, 4, 16, 64, 256]
ratios = {}
for name, (bound, layer) in {
    "decoder": (iwae_autograd, model.decoder),
    "encoder": (iwae_autograd, model.encoder),
    "encoder, doubly reparameterized": (doubly_reparameterized, model.encoder),
}.items():
    runs = [gradient_runs(bound, layer, k) for k in ks]
    ratios[name] = [float((g.mean(0).abs() / g.std(0)).mean()) for g in runs]
title = "More samples: the decoder hears better, the encoder worse"
figures.signal_against_k(ks, ratios, runs=4_000, title=title)

# %% [markdown]
# As [Rainforth et al. (2018)](https://arxiv.org/abs/1802.04537) derived: with $M$ images in a batch the decoder's ratio
# grows like $\sqrt{Mk}$, the encoder's falls like $\sqrt{M/k}$. *Tighter bounds are not necessarily better.*
#
# The third curve mends it. In $\log q(z \mid x)$ the encoder's $\phi$ occurs twice: inside $z$, and directly, as the
# parameters of the density. In the ELBO's gradient the direct part has mean zero and is only noise; *sticking the
# landing* ([Roeder et al. 2017](https://arxiv.org/abs/1703.09194)) drops it. For $L_k$ its mean is not zero, but it can
# be reparameterized once more, and what is left is ([Tucker et al. 2019](https://arxiv.org/abs/1810.04152))
#
# $$ \nabla_\phi L_k = \mathbb{E}\Big[\sum_i \tilde w_i^{\,2} \; \frac{\partial \log w_i}{\partial z_i} \, \frac{\partial z_i}{\partial \phi}\Big] . $$
#
# Squared weights, and no direct part. The mean is the same, and the ratio no longer dies out. The decoder keeps its
# ordinary gradient.

# %%
for k in [1, 16]:
    plain = gradient_runs(iwae_autograd, model.encoder, k, runs=20_000)[:, 0]
    doubly = gradient_runs(doubly_reparameterized, model.encoder, k, runs=20_000)[:, 0]
    z = (plain.mean() - doubly.mean()) / ((plain.var() + doubly.var()) / 20_000).sqrt()
    print(f"k = {k:2}: same mean within 3 errors? {bool(z.abs() < 3)}", end="; ")
    print(f"variances differ by a factor of {plain.var() / doubly.var():.0f}")

# %% [markdown]
# ## 4.6 Train it: k = 1, 5, 50
#
# Digits of 8 x 8 pixels, binarized anew for each batch, and notebook 3's loop; only the bound has changed. All three
# models get the same first weights and the same number of updates. They are watched by one yardstick, which is *not*
# the bound that they train: $\log p(x)$ of validation images, from 50 draws. (The learning rate falls to zero, so that
# no model is judged by where its last steps happened to lead.)

# %%
digits = datasets.load("digits")
validation = datasets.fixed_binarization(digits.validation)
test = datasets.fixed_binarization(digits.test)


def train(k, curve, n_steps=800):
    torch.manual_seed(0)
    model = VAE(64, [100, 100], 8)
    optimizer = torch.optim.Adam(model.parameters())
    draws = torch.Generator().manual_seed(0)
    for step in range(n_steps + 1):
        optimizer.param_groups[0]["lr"] = 4e-3 * (1 - step / n_steps)
        batch = torch.randint(len(digits.train), (50,), generator=draws)
        x = datasets.binarize(digits.train[batch], draws)
        loss = -iwae_autograd(model, x, k, draws).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            curve.add(
                step, {f"k = {k}": log_likelihood(model, validation, 50).per_image.mean()}
            )
    return model


# %%
title = "After the same number of updates, larger k ends higher"
with LiveCurve("updates", "log p(x) of validation images (nats)", title) as curve:
    trained = {k: train(k, curve) for k in [1, 5, 50]}

# %% [markdown]
# Now the test images, with 500 draws each. The standard error over images is large, because some images are much
# harder than others. But they are hard for all three models. Compare **pair by pair**.
#
# ### Exercise 7: a fair comparison
#
# Given $\log p(x)$ of the same images under two models, return by how much the second is better on average, and the
# standard error of that.


# %% tags=["exercise"]
def paired(a, b):
    """[images], [images] -> mean of b - a, and its standard error."""
    ### BEGIN SOLUTION
    difference = b - a
    return difference.mean(), difference.std() / len(difference) ** 0.5
    ### END SOLUTION


# %%
check.paired(paired)

# %%
evidence = {k: log_likelihood(trained[k], test, n_samples=500) for k in trained}
figures.evidence_by_k(evidence, "The images get more probable, the ELBO worse")

# %%
for k in [5, 50]:
    difference = Estimate.from_values(evidence[k].per_image - evidence[1].per_image)
    clear = difference.value > 2 * difference.std_error
    print(f"k = {k:2} beats k = 1 by more than two standard errors: {clear}")
lower = float((evidence[50].elbo - evidence[1].elbo).mean()) < -0.5
print(f"the ELBO of k = 50 is lower by more than half a nat: {lower}")

# %% [markdown]
# Larger $k$, better model, and a *worse* ELBO. That is no contradiction. The ELBO punishes every bad draw, so it wants
# a cautious $q$, and a model whose posterior suits it. $L_k$ forgives all but the best of the $k$ draws: $q$ may
# spread, and the model need not bend to it. ([Cremer et al. 2017](https://arxiv.org/abs/1704.02916) make this precise:
# $L_k$ is the ELBO of a richer $q$, the one that picks among $k$ draws by their weights.)
#
# ## 4.7 MNIST, and two stochastic layers
#
# The paper's networks, 784-200-200-50 with tanh, on MNIST binarized anew for each batch, take longer to train than a
# notebook should. They come as checkpoints: weights, and a *card* that says how they were made. One has
# **two layers** of latent variables.

# %%
figures.draw_two_layers()

# %% [markdown]
# Nothing in this notebook needs to change for it. Its $z$ is $z_1$ and $z_2$ side by side, its log-weight is
# $\log p(z_2) + \log p(z_1 \mid z_2) + \log p(x \mid z_1) - \log q(z_1 \mid x) - \log q(z_2 \mid z_1)$, and the same
# door, `log_weights(x, k)`, returns $[k, \text{batch}]$ numbers.

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
log_w = models["mnist-iwae-2layer-k50"].log_weights(torch.zeros(3, 784), 5)
print("shape for 3 images with 5 draws each:", [*log_w.shape])

# %%
print(
    "log p(x) of test images: 5,000 draws from the encoder, ours and the paper's; and fits"
)
print(f"{'checkpoint':22} epochs     ELBO    L_5000  paper's L_5000        fitted")
for name, card in cards.items():
    metrics = card.metrics["test"]
    of_encoder, of_fit = metrics.by("encoder"), metrics.by("adapted").log_likelihood
    print(f"{name:22} {card['epochs']:>6} {of_encoder.elbo.value:>8.2f}", end=" ")
    print(f"{of_encoder.log_likelihood.value:>9.2f} {published[name]:>15.2f}", end=" ")
    print(f"{of_fit.value:>8.2f} ± {of_fit.std_error_over_images:.2f}")

# %%
for name, card in cards.items():
    metrics = card.metrics["test"]
    shares = [
        metrics.by(p).log_likelihood.share_of_high_pareto_k for p in ("encoder", "adapted")
    ]
    print(
        f"{name:22} k-hat too high: encoder {shares[0]:.0%}, fitted {shares[1]:.0%} of images"
    )

# %% [markdown]
# Read the table with care.
#
# - The error is that of the mean *over images*. To order the models, compare in pairs as above.
# - $L_{5000}$ of the encoder's draws, ours and the paper's, is a lower bound, and its k-hats say that it is not to be
#   trusted: $q$ is too narrow somewhere for nearly every image, and the gap falls slowly. The last column has draws from a
#   Gaussian fitted to each image. It is closer by half a nat and more, and its k-hats are fine; notebook 5 fits one. So the
#   paper's models may be half a nat better than it says, too.
# - The paper trained for 3,280 epochs. The column *epochs* says after how many ours were taken, the best by the
#   validation images. Where ours are worse, that is the first reason.
# - Compare over $k$ only what had the same number of updates. With fewer, a better bound can still lose.
#
# What do they draw? First from each prior, then one model's round trip: images that it drew, binarized, and
# reconstructed.

# %%
draws = torch.Generator().manual_seed(0)
with torch.no_grad():
    rows = {name: m.mean_image(m.sample_prior(14, draws)) for name, m in models.items()}
image_rows(rows, "Drawn from the prior of each model: pixel probabilities")

# %%
with torch.no_grad():
    best = models["mnist-iwae-k50"]
    drawn = best.mean_image(best.sample_prior(14, draws))
    bits = datasets.binarize(drawn, draws)
    again = best.mean_image(best.posterior(bits).mean)
image_rows(
    {"drawn": drawn, "binarized": bits, "reconstructed": again},
    "Reconstructions of images that the model drew itself",
)

# %% [markdown]
# ### Who uses what
#
# A VAE need not use all the latent dimensions it is given. Call one **active** if its posterior mean varies over
# images, with a variance above 0.01 ([Burda et al. 2016](https://arxiv.org/abs/1509.00519), section 5). For the digits
# we take the test images; for MNIST, 1,000 images that each model draws itself, so that no download is needed. Real
# ones would give slightly different variances.


# %%
def spread_of_means(model, x):
    """The variance over images of each latent dimension's posterior mean, [latent_dim]."""
    with torch.no_grad():
        return model.posterior(x).mean.var(0)


activity = {f"k = {k}": spread_of_means(model, test) for k, model in trained.items()}
larger = {}
for k, name in {1: "mnist-vae", 5: "mnist-iwae-k5", 50: "mnist-iwae-k50"}.items():
    with torch.no_grad():
        drawn = models[name].mean_image(models[name].sample_prior(1_000, draws))
    larger[f"k = {k}"] = spread_of_means(models[name], datasets.binarize(drawn, draws))
panels = {
    "Digits: with k = 1 the last of 8 say least": activity,
    "MNIST: about half of 50 do the work": larger,
}
figures.activity(panels, threshold=0.01)

# %% [markdown]
# A dimension below the line is as good as switched off: its posterior is the prior, whatever the image. With more
# samples in the bound more of them usually stay in use.
#
# ## 4.8 Summary
#
# Each estimate of this notebook beside its exact answer, on the linear-Gaussian model with the wide $q$.

# %%
with torch.no_grad():
    log_w = model.log_weights(x, 5_000, draws)
    squares = ((log_w - exact).exp() ** 2).mean(1) - 1
(slope,) = torch.autograd.grad(model.exact_elbo(x[:1]).sum(), model.encoder.bias)
rows = {
    "ELBO": (Estimate.from_values(log_w.mean(1)), exact_elbo.mean()),
    "log p(x)": (log_likelihood(model, x, n_samples=5_000).mean, exact.mean()),
    "relative variance of w": (Estimate.from_values(squares), predicted),
    "gradient of the ELBO": (
        Estimate.from_values(gradient_runs(pathwise, model.encoder, 1, runs=20_000)[:, 0]),
        slope[0],
    ),
    "the same, doubly rep.": (
        Estimate.from_values(
            gradient_runs(doubly_reparameterized, model.encoder, 1, runs=20_000)[:, 0]
        ),
        slope[0],
    ),
}
for name, (estimate, truth) in rows.items():
    verdict = estimate.against(truth).verdict
    print(f"{name:23} {estimate.rounded:>19}   exact {truth:8.4f}   {verdict}")

# %% tags=["headline"]
log_likelihood(model, x, n_samples=5_000).mean.against(exact.mean())

# %% [markdown]
# - $L_k$ is the log of the mean of $k$ weights: the ELBO at $k = 1$, never worse with more samples, $\log p(x)$ in
#   the limit.
# - Its gap is $\operatorname{Var}(w) / (2 k\, p(x)^2)$ when that variance is finite. A $q$ that is too narrow has
#   none, and pays with slow convergence.
# - Its gradient weighs each sample's by $\tilde w$. Autograd finds it; written by hand, the weights are detached, and
#   the *best* sample weighs most.
# - A tighter bound helps the decoder and starves the encoder, unless its gradient is reparameterized twice.
# - Models are compared by $\log p(x)$ on the same images, in pairs. Their training bounds are different yardsticks.
#
# ### Three questions
#
# <details><summary><b>1.</b> A paper reports the mean of the log-weights of 5,000 draws as log p(x). Too high, too low, and by how much?</summary>
#
# Too low, by the divergence of q from the posterior: it is the ELBO, estimated very precisely. For our wide q that
# was more than a nat, and no number of draws makes it smaller. The log of the mean would have been off by 0.0001.
# </details>
#
# <details><summary><b>2.</b> You go from k = 1 to k = 50 and keep the encoder's ordinary gradient. By how much must the batch grow to keep its
# signal-to-noise ratio?</summary>
#
# The ratio goes like the root of M/k, so M must grow fifty times, and each image costs fifty times as much. The
# doubly reparameterized gradient is the cheaper way. (In section 4.6 we got away without: k = 50 is not yet much, and
# Adam averages over steps.)
# </details>
#
# <details><summary><b>3.</b> If a large k gives log p(x) for any q, why train an encoder at all?</summary>
#
# Because of Var(w). With the prior as q the limit is the same, but the relative variance of the weights grows
# exponentially with what the image tells about z. Fifty draws from the prior contain none that fits the image; fifty
# from a trained encoder contain many. Notebook 2 said it of late projects.
# </details>
#
# ### Where to read on
#
# - [Burda, Grosse and Salakhutdinov (2016)](https://arxiv.org/abs/1509.00519), *Importance weighted autoencoders*: the
#   bound, its proofs, the table.
# - [Cremer, Morris and Duvenaud (2017)](https://arxiv.org/abs/1704.02916), *Reinterpreting importance-weighted
#   autoencoders*: the richer q behind it.
# - [Rainforth et al. (2018)](https://arxiv.org/abs/1802.04537), *Tighter variational bounds are not necessarily
#   better*: signal and noise.
# - [Tucker, Lawson, Gu and Maddison (2019)](https://arxiv.org/abs/1810.04152), *Doubly reparameterized gradient
#   estimators for Monte Carlo objectives*.
# - [Nowozin (2018)](https://openreview.net/forum?id=HyZoi-WRb), *Debiasing evidence approximations*: the 1/k term, and
#   how to remove it.
# - [Domke and Sheldon (2018)](https://arxiv.org/abs/1808.09034), *Importance weighting and variational inference*: when
#   the 1/k law holds.
#
# **Next:** notebook 5, where the model is large, the exact answer unknown, and log p(x) has to be earned.
