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
# # 5. log p(x) of a deep VAE: a number you can defend
#
# Papers compare image models by one number, the average $\log p(x)$ of test images. For a deep VAE nobody can compute
# it exactly. It is estimated, by the same weighted average that found the chance of a late project in notebook 2. You
# will make such an estimate, see how far off it can be, and mend it. Then, for images that the model drew itself, you
# will bound the true value from below and from above.
#
# **You will be able to**
# - give *grey* images a probability, not just a loss;
# - read nats and bits per dimension, and find the error in a table that mixes them;
# - estimate $\log p(x)$ with an error and a diagnostic for every image, and fit a proposal that passes it;
# - check importance sampling itself, with bounds from both sides;
# - say what $\log p(x)$ does *not* tell about a model.
#
# | section | minutes |
# | --- | --- |
# | this cell | 4 |
# | 5.1 A probability for a grey image: exercise 1 | 10 |
# | 5.2 Nats and bits: exercise 2 | 6 |
# | 5.3 From 5,000 weights to one number: exercise 3 | 10 |
# | 5.4 The prior as proposal | 3 |
# | 5.5 When to trust the encoder, and what to do: exercise 5 | 18 |
# | 5.6 Is importance sampling itself right? Exercise 7 | 12 |
# | 5.7 The zoo | 5 |
# | 5.8 What does it look like? | 3 |
# | 5.9 Summary | 4 |
# | **core** | **75** |
# | ☆ Mixtures, and right on paper but wrong in float32 | 6 |
# | ☆ A softmax of all levels | 5 |
# | ☆ How many draws would the prior need? Exercise 4 | 7 |
# | ☆ How wrong is q, and can one widen it by hand? | 7 |
# | ☆ See it settle | 4 |
# | ☆ Would Sobol points help? | 4 |
# | ☆ How many draws would the encoder have needed? Exercise 6 | 7 |
# | ☆ Annealing | 12 |
# | ☆ A spoilt model: exercise 8 | 6 |
# | ☆ Train it on a GPU | 3 |
#
# Parts marked ☆ go further, and nothing after them needs them. JupyterLab shows them folded: click the arrow beside
# the heading to open one. Exercises are numbered through the core and the ☆ parts. The three questions at the end
# take another eight minutes.
#
# **You need** notebooks 2 to 4: weights and k-hat, the ELBO, and the bounds $L_k$. Nothing is trained here. Each
# model comes as a **checkpoint**, a file with its trained weights. Beside it lies a **card**, a file that says how it
# was trained and what was measured.

# %%
import json
import math

import torch
from course_lib import datasets
from course_lib.exercises import notebook_05 as check
from course_lib.exercises import progress
from course_lib.figures import notebook_05 as figures
from course_lib.figures.images import image_rows
from course_lib.resources import DATA
from course_lib.training import PRESETS, load_checkpoint
from course_lib.training.checkpoints import PUBLISHED
from course_lib.training.presets import flops_per_image
from course_lib.vae import (
    Annealing,
    DiscretizedLogisticMixture,
    LinearGaussianVAE,
    annealed_importance_sampling,
    bidirectional_bounds,
    iwae_bound,
    log_likelihood,
)
from course_lib.vae.distributions import (
    DiagonalGaussian,
    standard_normal_log_prob,
)
from course_lib.vae.proposals import adapted, encoder, prior, widened
from scipy.special import ndtri
from scipy.stats import qmc

_ = torch.set_grad_enabled(False)  # nothing is trained here
# Threads that wait for each other are slower than one, on a busy machine.
torch.set_num_threads(1)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# %% [markdown] tags=["slide"]
# ## 5.1 A probability for a grey image
#
# So far a pixel was black or white, and $p(x \mid z)$ a Bernoulli. Real images are grey. A pixel has one of a few
# values, its **levels**: scikit-learn's digits, before notebook 3 made them binary, have 17 of them, numbered 0 to
# 16. MNIST and photographs have 256. Two habits are common in code that trains on grey values between 0 and 1.
# Neither gives a probability:
#
# - **Binary cross-entropy on grey values**, $-x \log p - (1-x) \log(1-p)$ with $x = 0.4$, say. It is minus the log of
#   $p^x (1-p)^{1-x}$. A probability would sum to one over all levels, and this does not.
# - **Squared error.** Up to constants it is minus the log of a Gaussian *density* on the real line. A density is no
#   probability: it may exceed 1, and its height depends on the width that you assume.

# %% tags=["slide"]
grey = torch.arange(256) / 255  # the values of a pixel with 256 levels
bernoulli = 0.3**grey * 0.7 ** (1 - grey)
print("Bernoulli with p = 0.3: the 256 'probabilities' sum to", end=" ")
print(f"{bernoulli.sum():.1f}")
for width in [0.1, 0.01, 0.001]:
    gaussian = torch.distributions.Normal(0.3, width)
    score = gaussian.log_prob(torch.tensor(0.3))
    print(f"Gaussian of width {width:5}:", end=" ")
    print(f"a perfect guess scores {score:+.1f} nats")

# %% [markdown] tags=["slide"]
# A model that is sure of a pixel can make its Gaussian narrower and narrower, and its score grows without limit. With
# probabilities this cannot happen. No level gets more than 1, so no log-probability is above 0.
#
# ### The discretized logistic
#
# Take a density on the real line and cut the line into bins, one for each level. The probability of a level is the
# area over its bin. The **logistic** density is handy, because its area up to $t$ has a closed form:
# $\operatorname{sigmoid}\big((t - \mu)/s\big)$, with a mean $\mu$, a scale $s$, and
# $\operatorname{sigmoid}(u) = 1/(1 + e^{-u})$. We measure in levels, so that level $i$ gets the area between
# $i - \frac12$ and $i + \frac12$. The first bin also takes everything below, and the last everything above.
#
# ### Exercise 1: cut it into bins
#
# Return the probability of each level. (The first bin has no left edge and the last no right one. `torch.diff` takes
# differences of neighbours.)


# %% tags=["exercise", "slide"]
def logistic_probabilities(mean, scale, levels):
    """Mean and scale in levels, two numbers -> [levels] probabilities."""
    ### BEGIN SOLUTION
    edges = torch.arange(levels - 1) + 0.5
    below = torch.sigmoid((edges - mean) / scale)
    return torch.diff(below, prepend=torch.zeros(1), append=torch.ones(1))
    ### END SOLUTION


# %%
check.logistic_probabilities(logistic_probabilities)

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ Mixtures, and right on paper but wrong in float32 (6 minutes)
#
# Several logistics for one pixel; what float32 does to the difference of two sigmoids, and how the library avoids it.

# %% [markdown]
# One logistic has one peak. A **mixture** of several can have several. Each part has three numbers: a weight, a mean
# and a scale. `DiscretizedLogisticMixture` is the library's version. Its means and scales are not in levels, but
# intensities from 0 to 1, like the images.


# %%
def mixture(weights, means, scales, levels=17):
    weights, means, scales = map(torch.tensor, (weights, means, scales))
    logits, log_scales = weights.log(), scales.log()
    return DiscretizedLogisticMixture(logits, means, log_scales, levels)


examples = {
    "one logistic": mixture([1.0], [0.4], [0.08]),
    "a mean near the edge": mixture([1.0], [0.95], [0.08]),
    "three logistics": mixture(
        [0.5, 0.3, 0.2], [0.0, 0.55, 1.1], [0.03, 0.06, 0.02]
    ),
}
masses = {name: d.log_probs().exp() for name, d in examples.items()}
figures.mass_functions(masses)

# %% [markdown]
# Your formula subtracts two sigmoids. Far above the mean both are almost 1, and their difference loses its digits.
# Here is one logistic with its mean at level 100 and a scale of one level:

# %%
one_logistic = mixture([1.0], [100 / 255], [1 / 255], levels=256)
print("level   log of the difference   library   exact")
for level in [101, 110, 114, 116, 118, 150]:
    edges = torch.tensor([level - 0.5, level + 0.5])
    area_to_edge = torch.sigmoid(edges - 100)
    # The same area, from the small side:
    above_edge = torch.sigmoid(100 - edges.double())
    difference, area = area_to_edge.diff().log(), -above_edge.diff()
    log_p = one_logistic.log_prob(torch.tensor(level / 255))
    print(f"{level:5}   {difference.item():21.2f}", end="   ")
    print(f"{log_p:7.2f}   {area.log().item():5.2f}")

# %% [markdown]
# A log-probability of $-\infty$ becomes NaN in the gradient, and one NaN spoils the training. The library never
# subtracts two numbers that are almost equal. With $\sigma$ the sigmoid, and $a$ and $b$ the two edges in units of
# the scale,
#
# $$ \sigma(b) - \sigma(a) = \sigma(b)\;\sigma(-a)\;\big(1 - e^{a - b}\big) , $$
#
# and the logarithm is three terms. The first two are accurate in both tails. The third depends on the width of a bin
# alone, $b - a$, and is accurate with `expm1`, which computes $e^t - 1$ without subtracting.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ A softmax of all levels (5 minutes)
#
# Another way to give levels a probability, and three trained models of grey digits side by side.

# %% [markdown]
# Why not give each level a probability of its own? A softmax over all levels can take any shape. But with 256 levels
# it needs 256 numbers for each pixel, where five logistics need 15. And it does not know that level 127 is near 128:
# it has to see examples of both. Three models of grey digits have the same networks and different $p(x \mid z)$. One
# pixel of one image, with $z$ at the mean of $q$:

# %%
digits = datasets.load("digits")
grey_models, grey_cards = {}, {}
for name in ["digits-logistic", "digits-mixture", "digits-softmax"]:
    grey_models[name], grey_cards[name] = load_checkpoint(name)
row, column = 5, 4
pixel = {}
for name, model in grey_models.items():
    code = model.posterior(digits.test[:1]).mean
    # [images, channels, 8, 8, 17 levels]
    log_probs = model.conditional(code).log_probs()
    pixel[name] = log_probs[0, 0, row, column].exp()
observed = round(16 * float(digits.test[0, 0, row, column]))
figures.mass_functions(pixel, observed)

# %% [markdown]
# Over all test images, in nats. The column *fitted* holds better estimates from the cards (section 5.5 shows how they
# are made).

# %%
grey_evidence = {}
for name, model in grey_models.items():
    grey_evidence[name] = log_likelihood(model, digits.test, 200)
print(f"{'200 draws, test':>32}   k-hat too high", end="   ")
print("fitted, test   training images")
for name, found in grey_evidence.items():
    metrics = grey_cards[name].metrics
    of_fits = metrics["test"].by("adapted").log_likelihood
    print(f"{name:16} {found.per_image.mean():15.1f}", end="   ")
    print(f"{found.share_of_high_pareto_k:14.0%}", end="   ")
    print(f"{of_fits.value:12.1f}", end="   ")
    print(f"{metrics['train'].log_likelihood.value:15.1f}")
print(f"uniform guessing {-64 * math.log(17):15.1f}")
figures.paired_differences(
    {name: found.per_image for name, found in grey_evidence.items()},
    reference="digits-mixture",
)

# %% [markdown]
# How much of that is the luck of one training? The same three presets, trained from two more seeds
# (`benchmarks/replicates.py`), *fitted*:

# %%
ablations = DATA / "ablations"
replicates = json.loads((ablations / "replicates.json").read_text())
for name in grey_models:
    values = torch.tensor(list(replicates[name].values()))
    print(f"{name:16} {values.mean():8.1f}", end=", ")
    print(f"standard deviation {values.std():.1f}", end=" ")
    print(f"over {len(values)} seeds")

# %% [markdown]
# k-hat warns for most images, and indeed 200 draws are low by a few tenths of a nat. The models differ by more than
# that. On test images the softmax is seven nats behind the mixture, on those that it was trained on only two: it has
# learnt part of them by heart. 1,300 images are few examples of each level at each place.

# %% [markdown] tags=["slide"]
# ## 5.2 Nats and bits
#
# A natural logarithm is in **nats**, a logarithm to the base 2 in **bits**. A bit is $\log 2 = 0.69$ nats. To compare
# images of different sizes one takes **bits per dimension**: $-\log_2 p(x)$ divided by the number of values in the
# image. So many bits would an ideal compressor, built on the model, spend on each value. Uniform guessing among 256
# levels costs 8.
#
# ### Exercise 2: the units trap
#
# Brian Keng's post [*Importance sampling and estimating marginal likelihood in variational autoencoders*
# (2019)](https://bjlkeng.io/posts/importance-sampling-and-estimating-marginal-likelihood-in-variational-autoencoders/)
# ends with a table. The images have $28 \times 28$ binary values, and $32 \times 32 \times 3$ colour values:
#
# | model | log p(x) | bits per value |
# | --- | --- | --- |
# | binarized MNIST | -87.08 | 0.16 |
# | CIFAR-10 | -20437 | 6.65 |
#
# Convert nats to bits per dimension. Then use it on both rows: one of the two $\log p(x)$ is not in nats. Give its
# value *in nats*.


# %% tags=["exercise", "slide"]
def bits_per_dim(nats, n_dims):
    """log p(x) in nats -> bits for each dimension."""
    ### BEGIN SOLUTION
    return -nats / (n_dims * math.log(2))
    ### END SOLUTION


in_nats = None  # the wrong row's log p(x), in nats
### BEGIN SOLUTION
in_nats = -20437 * math.log(2)
### END SOLUTION

# %%
check.bits_per_dim(bits_per_dim)

# %%
check.units_trap(in_nats)

# %% [markdown] tags=["slide"]
# ## 5.3 From 5,000 weights to one number
#
# Now a deep model of binarized MNIST, with convolutions. Its $q(z \mid x)$ and its prior are **flows**. A flow passes
# a Gaussian draw through an invertible network: the result can be distributed in many ways, and its density is still
# known. Everything else is as in notebook 3: `log_weights(x, k)` returns $\log w = \log p(x, z) - \log q(z \mid x)$
# for `k` draws of each image.
#
# The model draws its own test images, $z$ from the prior and then $x$ given $z$. That needs no download.

# %% tags=["slide"]
deep, deep_card = load_checkpoint("mnist-small-resnet")
source = seeded(0)
simulated = deep.sample_conditional(deep.sample_prior(40, source), source)
title = "Drawn from the model: what we evaluate first"
image_rows({"": simulated[:14]}, title)

# %% [markdown]
# Take the first image and 5,000 draws from the encoder.

# %% tags=["slide"]
log_w_first = deep.log_weights(simulated[:1], 5_000, seeded(1))  # [5000, 1]
share_above = (log_w_first > iwae_bound(log_w_first)).float().mean()
print(f"{share_above:.0%} of the log-weights", end=" ")
print("lie above the estimate of log p(x)")
figures.log_weights(log_w_first[:, 0])

# %% [markdown]
# The mean of the log-weights, the ELBO, lies well below $\log p(x)$. Most of the draws do too. The minority above it
# carries most of the sum, and the few draws in the grey band carry half of it.
#
# ### Exercise 3: five colleagues
#
# For another image $\log p(x)$ is about $-120$. All five colleagues want it from $K = 5000$ log-weights in float32:
#
# - **Ada** `torch.log(torch.exp(log_w).mean())`
# - **Ben** `log_w.mean()`
# - **Chen** `torch.logsumexp(log_w, 0)`
# - **Dee** `torch.logsumexp(log_w.clamp(min=-88), 0) - math.log(K)`, because "`exp` fails below -88"
# - **Eve** `torch.logsumexp(log_w, 0) - math.log(K)`
#
# For each, say `"right"`, `"too high"`, `"too low"`, or `"no number"` if it is not finite. (Work it out before you
# try it.)

# %% tags=["exercise", "slide"]
# {"Ada": "right", "Ben": ..., "Chen": ..., "Dee": ..., "Eve": ...}
verdicts = None
### BEGIN SOLUTION
verdicts = {
    "Ada": "no number",
    "Ben": "too low",
    "Chen": "too high",
    "Dee": "too high",
    "Eve": "right",
}
### END SOLUTION

# %%
check.five_colleagues(verdicts)

# %% [markdown]
# Dee's mistake is the hardest to find, because the result looks normal. The code of Keng's post does something
# similar: it clips the density $p(z)$ at the smallest float before it takes the log. Draws far from zero then get a
# wrong weight, and nothing says so.
#
# ## 5.4 The prior as proposal
#
# Why not draw $z$ from the prior? Then the weight is $p(x \mid z)$, and no encoder is needed. This is plain Monte
# Carlo, as for the late project in notebook 1.

# %% tags=["slide"]
for name, proposal in {"encoder": encoder, "prior": prior}.items():
    found = log_likelihood(deep, simulated[:1], 5_000, proposal=proposal)
    sum_of_weights = found.per_image + math.log(5_000)  # all in logs
    share = float((found.largest_log_weights.amax() - sum_of_weights).exp())
    print(f"{name:8} ESS {float(found.ess):4.0f} of 5,000", end=", ")
    print(f"largest share {share:.0%}")

# %% [markdown] tags=["slide"]
# With the prior, one draw carries the whole sum. The posterior fills only a tiny part of the prior's space, and
# hardly any draw falls there. How many draws would it take? **About $e^{\mathrm{KL}}$**, with
# $\mathrm{KL}(p(z \mid x) \,\|\, p(z))$, the divergence of the posterior from the prior. Where the posterior draws, its
# density is typically $e^{\mathrm{KL}}$ times the prior's, so about one draw of the prior in $e^{\mathrm{KL}}$ comes there
# (Chatterjee and Diaconis, [*The sample size required in importance sampling*,
# 2018](https://arxiv.org/abs/1511.01437)). The same holds for any proposal $q$, with
# $\mathrm{KL}(p(z \mid x) \,\|\, q)$.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ How many draws would the prior need? (7 minutes)
#
# The divergence above, estimated from the encoder's draws (exercise 4).

# %% [markdown]
# By Bayes' rule $p(z \mid x) / p(z) = p(x \mid z) / p(x)$, so
#
# $$
# \begin{aligned}
# \mathrm{KL}\big(p(z \mid x) \,\|\, p(z)\big) &= \mathbb{E}_{p(z \mid x)}\left[\log \frac{p(z \mid x)}{p(z)}\right] \\
# &= \mathbb{E}_{p(z \mid x)}[\log p(x \mid z)] - \log p(x) .
# \end{aligned}
# $$
#
# The weights of the encoder's draws give $\log p(x)$, as before. They also give the average over the posterior: weigh
# each draw by its share of the sum, $\tilde w_i = w_i / \sum_j w_j$. These are the **self-normalized weights** of
# notebook 4, `torch.softmax(log_w, 0)`.
#
# #### Exercise 4: the divergence from the prior
#
# From the log-weights of the encoder's draws, and $\log p(x \mid z)$ of the same draws, return the divergence
# $\mathrm{KL}(p(z \mid x) \,\|\, p(z))$ in nats.


# %% tags=["exercise"]
def divergence_from_prior(log_w, log_p_x_given_z):
    """[K], [K] -> KL(posterior || prior) in nats, one number."""
    ### BEGIN SOLUTION
    log_p_x = torch.logsumexp(log_w, 0) - math.log(len(log_w))
    return (torch.softmax(log_w, 0) * log_p_x_given_z).sum() - log_p_x
    ### END SOLUTION


# %%
check.divergence_from_prior(divergence_from_prior)

# %%
q_first = deep.posterior(simulated[:1])
z_first, log_q_first = q_first.rsample_and_log_prob(1_000, seeded(2))
log_conditional = deep.log_conditional(simulated[:1], z_first)  # [1000, 1]
log_w_again = log_conditional + deep.log_prior(z_first) - log_q_first
w_again = torch.softmax(log_w_again, 0)  # they average over the posterior
average = (w_again * log_conditional).sum(0)
kl_prior = float(average - iwae_bound(log_w_again))
print(f"KL(posterior || prior), roughly: {kl_prior:.0f} nats", end=", ")
print(f"so some 10^{kl_prior / math.log(10):.0f} draws")

# %% [markdown]
# ## 5.5 When to trust the encoder, and what to do
#
# More draws raise the estimate on average, because it is $L_k$ of notebook 4. For four images, with the two standard
# errors that each estimate reports:

# %% tags=["slide"]
ns = [2, 5, 10, 30, 100, 300, 1_000, 3_000]
against_n = [log_likelihood(deep, simulated[:4], n) for n in ns]
figures.evidence_against_n(ns, against_n)

# %% [markdown]
# With few draws the bands are too narrow: image 4 rises far out of its first ones. So each image also gets a k-hat.
# For all 40 images, from 1,000 draws each:

# %% tags=["slide"]
deep_evidence = log_likelihood(deep, simulated, 1_000)
on_card = deep_card.metrics["test"].by("encoder").log_likelihood
print(
    "On the card, for 10,000 real test images and 5,000 draws each: "
    f"k-hat too high for {on_card.share_of_high_pareto_k:.0%}"
)
figures.pareto_k_by_image(deep_evidence)

# %% [markdown] tags=["slide"]
# (The two shares cannot be compared: other images, and more draws with a higher limit.) A k-hat above its limit (0.67
# for 1,000 draws, 0.7 for many) says that the weights have a heavy tail. The largest weights lie where $q$ seldom
# draws, and most samples miss them. **Then the standard error cannot be trusted, and the estimate is probably too low.**
#
# ### Why q does not fit
#
# The reason is the divergence that training makes small. Both kinds are averages over their first argument.
#
# - **The ELBO** makes $\mathrm{KL}(q \,\|\, p(z|x))$ small, an average over draws of $q$. A place where $q$ never
#   draws costs nothing. So where $q$ cannot have the posterior's shape, it tends to come out **too narrow**.
# - **The cross-entropy method** of notebook 2 made $\mathrm{KL}(\text{target} \,\|\, q)$ small, an average over the
#   target. Every place counts as often as the target visits it, so $q$ tends to come out **wide**. That is safer,
#   though a place that is seldom visited counts little, as we saw there.
#
# We take a network of notebook 4, with 50 latents and a Gaussian $q$, and again images that it draws itself. This
# time we keep the $z$ that made each one.

# %%
plain, _ = load_checkpoint("mnist-vae")
source = seeded(0)
plain_z = plain.sample_prior(200, source)
plain_x = plain.sample_conditional(plain_z, source)
forty, forty_z = plain_x[:40], plain_z[:40]
of_encoder = log_likelihood(plain, forty, 2_000)
high = of_encoder.share_of_high_pareto_k
print(
    "2,000 draws from the encoder:", of_encoder.mean.rounded, end=" nats, "
)
print(f"k-hat too high for {high:.0%} of 40 images")

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ How wrong is q, and can one widen it by hand? (7 minutes)
#
# The true $z$ of an image says how far out $q$ should draw. Then $q$ is made wider by that much.

# %% [markdown]
# If $q$ is right, the $z$ that made the image is distributed like a draw from it. Then $(z - \text{mean})/\text{std}$
# is standard normal in each latent, with a root mean square of 1.

# %%
plain_q = plain.posterior(plain_x)
score = (plain_z - plain_q.mean) / plain_q.std
# For the others q is nearly the prior, of standard deviation 1.
used = plain_q.std.mean(0) < 0.7
size = {}
for name, latents in {"used": used, "unused": ~used}.items():
    size[name] = score[:, latents].square().mean().sqrt()
    print(f"{latents.sum()} latents {name}:", end=" ")
    print(f"root mean square {size[name]:.1f}")

# %% [markdown]
# In the latents that the model uses, the true $z$ lies about one and a half times as far out as $q$ says: $q$ is too
# narrow, or in the wrong place. Can one widen $q$ by hand? A proposal is a function of a model and its images.
# `widened(1.2)` multiplies all standard deviations of $q$ by 1.2. `made_to_measure` multiplies those of the used
# latents by what we measured.


# %%
def made_to_measure(model, x):
    q = model.posterior(x)
    factor = torch.where(used, size["used"], 1.0)
    return DiagonalGaussian(q.mean, factor * q.std)


by_hand = {"widened(1.2)": widened(1.2), "made to measure": made_to_measure}
for name, proposal in by_hand.items():
    evidence = log_likelihood(plain, forty, 2_000, proposal=proposal)
    gain = (evidence.per_image - of_encoder.per_image).mean()
    high = evidence.share_of_high_pareto_k
    print(f"{name:16} {gain:+.1f} nats", end=", ")
    print(f"k-hat too high for {high:.0%} of 40 images")

# %% [markdown]
# Each estimate is a lower bound on average, so something is gained. But k-hat still warns for every image. The means
# of $q$ are off, and so is its *shape*: the latents are correlated under the posterior, and under $q$ they are
# independent.

# %% [markdown] tags=["slide"]
# ### A Gaussian for each image
#
# The encoder is one network for all images. Now each image gets a Gaussian of its own, with correlations. Gradients
# tell which one. In one dimension the log-density of a Gaussian is $-(z - \mu)^2/(2 s^2)$ plus a constant. Its
# derivative is $-(z - \mu)/s^2$: a straight line in $z$, of slope $-1/s^2$. In several dimensions the inverse of the
# covariance, the **precision** $P$, takes the place of $1/s^2$. The gradient is
#
# $$ -P\,(z - \mu) = -P z + P \mu , $$
#
# with slopes $-P$ and intercept $P\mu$. So:
#
# 1. Draw some $z$.
# 2. Compute the gradient of $\log p(x, z)$ at each. It is also that of $\log p(z \mid x)$, because $p(x)$ does not
#    depend on $z$.
# 3. Fit a straight line to the gradients, and read the Gaussian off the line.


# %%
def line_through(z, gradient):
    """The gradient at z [K, dim] is about z @ slopes + intercept."""
    design = torch.cat([torch.ones_like(z[:, :1]), z], dim=1)
    line = torch.linalg.lstsq(design, gradient).solution
    return line[0], line[1:]  # intercept [dim], slopes [dim, dim]


# %% [markdown]
# ### Exercise 5: a Gaussian from gradients
#
# Return the mean and the covariance of the Gaussian whose gradient is this line. (`torch.linalg.inv` inverts a
# matrix. Fitted slopes are only nearly symmetric: take the average of them and their transpose.)


# %% tags=["exercise", "slide"]
def gaussian_from_gradients(z, gradient):
    """[K, dim], [K, dim] -> mean [dim], covariance [dim, dim]."""
    intercept, slopes = line_through(z, gradient)
    ### BEGIN SOLUTION
    covariance = torch.linalg.inv(-(slopes + slopes.T) / 2)
    return covariance @ intercept, covariance
    ### END SOLUTION


# %%
check.gaussian_from_gradients(gaussian_from_gradients)

# %% [markdown]
# First a posterior that is a known Gaussian with correlations. The encoder's Gaussian has none, and 20 draws from it
# are enough:


# %%
def refitted(log_density, z):
    """The Gaussian of the line through a log-density's gradients at z."""
    with torch.enable_grad():
        z = z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(log_density(z).sum(), z)
    intercept, slopes = line_through(z.detach(), gradient)
    covariance = torch.linalg.inv(-(slopes + slopes.T) / 2)
    return covariance @ intercept, covariance


matrix = torch.tensor([[2.0, 1.0], [1.0, 2.0], [0.0, 1.0]]).double()
offset = torch.zeros(3).double()
correlated = LinearGaussianVAE(matrix, offset, noise_std=1.0)
one_x = correlated.simulate(1, seed=0)
twenty_z = correlated.posterior(one_x).rsample(20, seeded(0))[:, 0]
fit_mean, fit_covariance = refitted(
    lambda z: correlated.log_joint(one_x, z[:, None]), twenty_z
)
known = correlated.exact_posterior(one_x)
off_mean = (fit_mean - known.mean[0]).abs().max()
off_covariance = (fit_covariance - known.covariance_matrix).abs().max()
print("largest difference from the exact posterior:", end=" ")
print(f"{off_mean:.4f} in the mean", end=", ")
print(f"{off_covariance:.4f} in the covariance")

# %% [markdown] tags=["slide"]
# Exact, after one round. In general the posterior is no Gaussian, the gradient is curved, and the line is its average.
# Then one repeats the fit, with draws from the new Gaussian. It settles at the Gaussian with the highest ELBO, up to the
# noise of the draws (Opper and Archambeau, [*The variational Gaussian approximation revisited*,
# 2009](https://doi.org/10.1162/neco.2008.08-07-592); the regression is from Salimans and Knowles, [*Fixed-form
# variational posterior approximation through stochastic linear regression*, 2013](https://arxiv.org/abs/1206.6679)).
# This too makes $\mathrm{KL}(q \,\|\, p(z|x))$ small, but a Gaussian with correlations comes much closer.
#
# The library's proposal `adapted` does this for each image, in ten rounds of 64 draws. In the end it widens the
# Gaussian a little in directions in which the gradients are far from the line. (Where $q$ is a flow, it fits in the
# space of the noise that the flow starts from.) Then $\log p(x)$ is estimated with new draws from these Gaussians,
# the **fits**.

# %% tags=["slide"]
of_fits = log_likelihood(plain, forty, 2_000, proposal=adapted)
passes = of_fits.decoder_passes - 2_000
print(f"passes through the decoder: {passes:,.0f} for the fit", end=", ")
print("2,000 for the draws")
figures.proposals_compared({"encoder": of_encoder, "adapted": of_fits})

# %% [markdown]
# Nearly all k-hats are below their limit now, and the estimate rises by more than a nat. A gradient counts as three
# passes, and 64 more judge the last round. Together this costs less than the 5,000 draws from the encoder that papers
# report.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ See it settle (4 minutes)
#
# Four rounds for a posterior in two dimensions that is no Gaussian.

# %% [markdown]
# An image of eight pixels, and a decoder of one layer:

# %%
decoder_weights = 2 * torch.randn(8, 2, generator=seeded(0))
pixels = torch.tensor([1.0, 0, 0, 0, 1, 1, 1, 0])


def toy_log_joint(z):
    likelihood = torch.distributions.Bernoulli(logits=z @ decoder_weights.T)
    return likelihood.log_prob(pixels).sum(-1) - z.square().sum(-1) / 2


# Mean and covariance, first an encoder's guess:
fits = [(torch.zeros(2), 0.05 * torch.eye(2))]
for round_number in range(4):
    mean, covariance = fits[-1]
    noise = torch.randn(200, 2, generator=seeded(round_number))
    toy_z = mean + noise @ torch.linalg.cholesky(covariance).T
    fits.append(refitted(toy_log_joint, toy_z))
figures.fits_of_posterior(toy_log_joint, fits)

# %% [markdown]
# After a few rounds only the noise of the draws moves it.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ Would Sobol points help? (4 minutes)
#
# In notebook 1 they found the mean completion time from hundreds of times fewer draws.

# %% [markdown]
# A draw of $z$ is made from standard normal noise, and the noise can come from Sobol points in place of a generator. Two
# models, of 8 and of 50 latents, images that they drew themselves, and each image's fitted $q$. We estimate
# $\log p(x)$ from 512 draws, 32 times each way, and compare the variances for the median of 20 images.


# %%
def log_p_estimates(model, q, x, noise):
    """The same noise [K, latent_dim] for all images -> log p(x) of each."""
    noises = noise[:, None, :].expand(-1, len(x), -1)
    z, log_determinant = q.from_noise(noises)
    log_q = standard_normal_log_prob(noise)[:, None] - log_determinant
    return iwae_bound(model.log_joint(x, z) - log_q)


def sobol_noise(k, dim, seed):
    points = qmc.Sobol(dim, rng=seed).random(k) + 2.0**-31  # never 0
    return torch.tensor(ndtri(points), dtype=torch.float32)


small, _ = load_checkpoint("digits-logistic")
small_z = small.sample_prior(20, seeded(0))
small_x = small.sample_conditional(small_z, seeded(1))
for model, x in [(small, small_x), (plain, forty[:20])]:
    q, dim = adapted(model, x, seeded(2)), model.latent_dim
    independent, even = [], []
    for run in range(32):
        noise = torch.randn(512, dim, generator=seeded(run))
        independent.append(log_p_estimates(model, q, x, noise))
        noise = sobol_noise(512, dim, seed=run)
        even.append(log_p_estimates(model, q, x, noise))
    ratio = torch.stack(independent).var(0) / torch.stack(even).var(0)
    print(f"{dim:2} latents: independent draws have", end=" ")
    print(f"{float(ratio.median()):.1f} times the variance")

# %% [markdown]
# With 8 latents it saves draws. With 50 it saves few: a weight depends on all of them at a time, and 512 points do not
# fill fifty dimensions. And it costs the standard error, because points of one set are not independent. So the course keeps
# to independent draws. (With the encoder's own $q$ in place of the fit there is less to gain still: the error is made by few
# heavy weights, and evenness does not find them.)

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ How many draws would the encoder have needed? (7 minutes)
#
# The question of 5.4, for the encoder, answered by the fits (exercise 6).

# %% [markdown]
# About $e^{\mathrm{KL}}$ with $\mathrm{KL}(p(z|x) \,\|\, q)$, the divergence of the posterior from the encoder's $q$.
# It is an average over the posterior, and the draws of the fit, with their weights, give such averages:
#
# $$ \mathrm{KL}\big(p(z \mid x) \,\|\, q\big) = \mathbb{E}_{p(z \mid x)}\left[\log \frac{p(z \mid x)}{q(z \mid x)}\right], \qquad p(z \mid x) = \frac{p(x, z)}{p(x)} . $$
#
# #### Exercise 6: the divergence from the encoder
#
# You have the log-weights `log_w` of the fit's draws, and at the same draws `log_w_encoder`
# $= \log p(x, z) - \log q(z \mid x)$, with the encoder's $q$. Return the divergence in nats.


# %% tags=["exercise"]
def divergence_from_encoder(log_w, log_w_encoder):
    """[K], [K] -> KL(posterior || q) in nats, one number."""
    ### BEGIN SOLUTION
    log_p_x = torch.logsumexp(log_w, 0) - math.log(len(log_w))
    return (torch.softmax(log_w, 0) * log_w_encoder).sum() - log_p_x
    ### END SOLUTION


# %%
check.divergence_from_encoder(divergence_from_encoder)

# %%
fit = adapted(plain, forty, seeded(1))
fit_z, log_fit = fit.rsample_and_log_prob(2_000, seeded(2))
log_joint = plain.log_joint(forty, fit_z)
log_w_fit = log_joint - log_fit  # [2000, 40]
log_w_encoder = log_joint - plain.posterior(forty).log_prob(fit_z)
log_p_x = iwae_bound(log_w_fit)
w_fit = torch.softmax(log_w_fit, 0)  # they average over the posterior
average = (w_fit * log_w_encoder).sum(0)
kl_encoder = float((average - log_p_x).median())
print(f"KL(posterior || q), median: {kl_encoder:.0f} nats", end=", ")
print(f"so some 10^{kl_encoder / math.log(10):.0f} draws")
kl_trained = (log_p_x - of_encoder.elbo).median()
print("KL(q || posterior), which training makes small:", end=" ")
print(f"{kl_trained:.0f} nats")

# %% [markdown]
# That is for an image in the middle; the worst ones need far more. The encoder's log-weight has the mean
# $\log p(x) - \mathrm{KL}(q \,\|\, p(z|x))$ over draws of $q$, and $\log p(x) + \mathrm{KL}(p(z|x) \,\|\, q)$ over
# draws of the posterior. Training sees the first mean only.

# %% [markdown] tags=["slide"]
# ## 5.6 Is importance sampling itself right?
#
# Every estimate so far is a lower bound on average. If all draws of a proposal miss the same region, more of them
# will not show it. An **upper** bound would say how much can still be missing.
#
# For simulated images there is one. We drew $z$ first and then $x$. The pairs would be distributed in the same way if
# we drew $x$ first and then $z$ from its posterior $p(z \mid x)$. So the $z$ that made an image is one exact draw
# from the posterior. Put it among $k - 1$ draws from $q$, and average all $k$ weights:
#
# $$ \mathbb{E}\Big[\log \frac1k \sum_i w_i\Big] \;\ge\; \log p(x) \qquad\text{if } z_1 \sim p(z \mid x),\; z_2, \dots, z_k \sim q . $$
#
# With $k = 1$ it is $\log p(x) + \mathrm{KL}\big(p(z \mid x) \,\|\, q\big)$. The ELBO is
# $\log p(x) - \mathrm{KL}\big(q \,\|\, p(z \mid x)\big)$.
#
# <details><summary><b>Why is that an upper bound?</b></summary>
#
# $w_i / p(x) = p(z_i \mid x) / q(z_i)$. So replacing the $i$-th draw from $q$ by a draw from the posterior multiplies
# the density of the whole set of draws by $w_i / p(x)$. It makes no difference which one is replaced, so we may
# average over $i$: the density is multiplied by $\hat w / p(x)$, with $\hat w$ the mean weight. The left side is
# therefore $\mathbb{E}_q\big[\frac{\hat w}{p(x)} \log \hat w\big]$, where all draws come from $q$ again. The function
# $t \log t$ is convex and $\hat w$ has the mean $p(x)$. By Jensen that is at least
# $\frac{1}{p(x)}\, p(x) \log p(x) = \log p(x)$.
# </details>
#
# ### Exercise 7: close the sandwich
#
# Given log-weights of $k$ draws from $q$, and the log-weight of the true $z$, return the upper bound of each image.
# (The true $z$ takes the place of one draw, so that $k$ stays $k$.)


# %% tags=["exercise", "slide"]
def upper_bound(log_w, log_w_true):
    """[k, batch], [batch] -> [batch], in nats."""
    ### BEGIN SOLUTION
    swapped = torch.cat([log_w_true[None], log_w[1:]])
    return torch.logsumexp(swapped, 0) - math.log(len(log_w))
    ### END SOLUTION


# %%
check.upper_bound(upper_bound)

# %% [markdown]
# Both bounds for the forty images:


# %% tags=["slide"]
def bounds_from(q, source):
    """Lower and upper ones of each image, from k draws and the true z."""
    z, log_q = q.rsample_and_log_prob(1_000, source)
    log_w = plain.log_joint(forty, z) - log_q
    true_z = forty_z[None]
    log_w_true = plain.log_joint(forty, true_z) - q.log_prob(true_z)
    bounds = {}
    for k in [1, 10, 100, 1_000]:
        swapped = torch.cat([log_w_true, log_w[1:k]])
        bounds[k] = (iwae_bound(log_w[:k]), iwae_bound(swapped))
    return bounds


bounds_of_encoder = bounds_from(encoder(plain, forty), seeded(3))
bounds_of_fits = bounds_from(adapted(plain, forty, seeded(4)), seeded(5))
for name, bounds in {
    "the encoder": bounds_of_encoder,
    "the fits": bounds_of_fits,
}.items():
    lower, upper = bounds[1_000]
    print(f"1,000 draws from {name:11}:", end=" ")
    print(f"mean gap {(upper - lower).mean():.1f} nats")
figures.sandwich("draws from the fits, k", bounds_of_fits)

# %% [markdown]
# With draws from the encoder a gap of several nats is left. With draws from the fits hardly any is left (the figure),
# on average and for all images but one. So there the estimate from the fits is right, and the encoder's was too low:

# %% tags=["slide"]
lower, upper = bounds_of_fits[1_000]
middle = (lower + upper) / 2
for name, evidence in {"encoder": of_encoder, "adapted": of_fits}.items():
    difference = round(float((evidence.per_image - middle).mean()), 1) + 0.0
    print(
        f"{name:16} {difference:+.1f} nats from the middle of the bounds; "
        f"its own error: {evidence.mean.std_error:.2f}"
    )

# %% [markdown] tags=["slide"]
# The encoder's 2,000 draws fall short by many times the error that they report. k-hat warned of this, and the bounds
# measure it.
#
# Both bounds hold on average, over the draws and over the $z$ that made the image. A single one can be on the wrong
# side of $\log p(x)$, but by $b$ nats or more only with a probability of at most $e^{-b}$ (Markov's inequality). **On
# real images there is only the lower bound**, because nobody knows a $z$ from their posterior.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ Annealing (12 minutes)
#
# A second way to $\log p(x)$, for when no good proposal is known: walk from the prior to the posterior.

# %% [markdown]
# **Annealed
# importance sampling** (Neal, [*Annealed importance sampling*, 2001](https://doi.org/10.1023/A:1008923215028)) takes
# many small steps. Between prior and posterior stand the densities
#
# $$
# \begin{aligned}
# f_\beta(z) &= p(z)\, p(x \mid z)^\beta \;\text{(unnormalized)}, \\
# 0 &= \beta_0 < \beta_1 < \dots < \beta_T = 1 .
# \end{aligned}
# $$
#
# A **chain** starts with a draw from the prior. At each step its log-weight grows by
# $(\beta_t - \beta_{t-1}) \log p(x \mid z)$. Then $z$ moves, in such a way that a $z$ with density $f_{\beta_t}$
# still has this density after the move. The simplest such move is Metropolis's: propose a random step, and accept it
# with probability $f(\text{new}) / f(\text{old})$, or always if that is above 1. Here is all of it in one dimension,
# with a prior $N(0, 1)$ and a single number $x = 3$, measured with an error of 0.4.


# %%
def log_p_x_given_z(z):
    return torch.distributions.Normal(z, 0.4).log_prob(torch.tensor(3.0))


def anneal(n_steps, n_chains=1_000):
    """Log-weights [n_chains], and where the first chain went."""
    source = seeded(0)
    z = torch.randn(n_chains, generator=source)
    log_w, path = torch.zeros(n_chains), []
    for step in range(1, n_steps + 1):
        beta = step / n_steps
        log_w += log_p_x_given_z(z) / n_steps
        new = z + 0.5 * torch.randn(n_chains, generator=source)
        log_ratio = beta * (log_p_x_given_z(new) - log_p_x_given_z(z))
        log_ratio -= (new**2 - z**2) / 2
        accept = torch.rand(n_chains, generator=source).log() < log_ratio
        z = torch.where(accept, new, z)
        path.append(float(z[0]))
    return log_w, path


p_of_x = torch.distributions.Normal(0, (1 + 0.4**2) ** 0.5)
log_p_of_3 = float(p_of_x.log_prob(torch.tensor(3.0)))
walks = {n: anneal(n) for n in [1, 10, 100]}
title = "More steps, more even weights"
figures.annealing(walks, log_p_x_given_z, log_p_of_3, title)

# %% [markdown]
# One step is the prior as proposal. With many steps, each changes the density only a little. The weights become more
# even, as long as the moves keep up with the changes. Their mean is $p(x)$ for any number of steps, however badly the
# moves explore.
#
# <details><summary><b>Why? For two steps</b></summary>
#
# Let $M(z' \mid z)$ be the move, which keeps $f_{\beta_1}$:
# $\int f_{\beta_1}(z) M(z' \mid z)\, dz = f_{\beta_1}(z')$. Then the mean weight is
#
# $$
# \begin{aligned}
# & \int\!\!\int p(z)\, p(x \mid z)^{\beta_1}\, M(z' \mid z)\; p(x \mid z')^{1 - \beta_1}\, dz\, dz' \\
# & \quad = \int f_{\beta_1}(z')\, p(x \mid z')^{1-\beta_1}\, dz' = \int p(z')\, p(x \mid z')\, dz' = p(x) .
# \end{aligned}
# $$
# </details>
#
# The same walk can be taken **backwards**. It starts at the true $z$ of a simulated image, goes from the posterior to
# the prior, and collects the reciprocal weight $1/w$, whose mean is $1/p(x)$. So minus the log of the mean of $1/w$
# is, by Jensen, on average too high: an upper bound. Chains in both directions are **bidirectional Monte Carlo**
# (Grosse, Ghahramani and Adams, [*Sandwiching the marginal likelihood using bidirectional Monte Carlo*,
# 2015](https://arxiv.org/abs/1511.02543)).
#
# Two things make it fast. The library's moves are Hamiltonian: $z$ gets a random push and then follows the slope of
# $\log f_\beta$ for `n_leapfrog` steps, here one. And the walk need not start at the prior. It can start at the
# fitted Gaussian $s(z)$ and pass through $f_\beta = s(z)^{1-\beta}\, p(x, z)^\beta$, so that most of the way is done
# before the first step. For the deep model, as the walk gets longer:

# %%
settings = {"n_chains": 8, "n_leapfrog": 1, "start": "adapted"}
both_ways = {}
for n in [4, 15, 60]:
    both_ways[n] = bidirectional_bounds(deep, 8, Annealing(n, **settings))
by_fit = log_likelihood(deep, both_ways[60].images, 2_000, proposal=adapted)
figures.sandwich(
    "annealing steps",
    {n: (b.lower, b.upper) for n, b in both_ways.items()},
    by_fit.mean,
)

# %% [markdown]
# After 60 steps the gap is about as small as its error, and the estimate from the fits (green) lies within it. On
# *real* images annealing gives a second lower bound. (With `"start": "prior"` in the cell above you see what the fits
# are worth.)

# %% [markdown] tags=["slide"]
# ### A number you can defend
#
# - Draw from a proposal fitted to each image.
# - Report the mean with its error, the number of draws, the share of high k-hats, and the ELBO.
# - Add the gap between the bounds on simulated images.
#
# For real digits: forty test images of MNIST come with the course (by LeCun, Cortes and Burges, CC BY-SA 3.0).
# Twenty of them, in the binarization that all cards are of:

# %% tags=["nbval-ignore-output"]
real = datasets.fixed_binarization(datasets.forty_digits())
print(log_likelihood(deep, real[:20], 1_000, proposal=adapted))

# %% [markdown]
# ## 5.7 The zoo
#
# Every model of binarized MNIST that comes with the course, from the cards. All were evaluated on the same 10,000
# test images in one fixed binarization: with 5,000 draws from the encoder, as papers do, and with 2,000 draws from
# fits. The column *train-test* says how much better a model does on 10,000 training images, both with 1,000 draws
# from the encoder.

# %% tags=["slide"]
paths = PUBLISHED.glob("mnist-*.safetensors")
cards = [load_checkpoint(path.stem)[1] for path in paths]
cards = [card for card in cards if "binarized" in card.data]  # not grey


def fitted(card):
    return card.metrics["test"].by("adapted").log_likelihood


print(f"{'log p(x), test':>45}", end=" " * 19)
print("k-hat too high")
print("checkpoint               ELBO  encoder          fitted", end="  ")
print("train-test  encoder   fitted")
for card in sorted(cards, key=lambda card: fitted(card).value):
    metrics, of_fit = card.metrics["test"], fitted(card)
    of_encoder = metrics.by("encoder")
    train = card.metrics["train"].log_likelihood.value
    thousand = next(one for one in metrics.all if one.size[1] == 1_000)
    difference = train - thousand.log_likelihood.value
    columns = [
        f"{card.name:21} {of_encoder.elbo.value:7.2f}",
        f"{of_encoder.log_likelihood.value:8.2f}",
        f"{of_fit.value:8.2f} ± {of_fit.std_error_over_images:.2f}",
        f"{difference:+10.1f}",
        f"{of_encoder.log_likelihood.share_of_high_pareto_k:8.0%}",
        f"{of_fit.share_of_high_pareto_k:8.0%}",
    ]
    print(*columns)

# %% [markdown] tags=["slide"]
# How to read such a table, yours or a paper's:
#
# - **Which error?** The ± says how much the mean would change with other test images. To compare two models on the
#   same images, take differences image by image, as in notebook 4.
# - **How far below the truth?** Both columns are lower bounds on average. *encoder*, the kind that papers report, is
#   too low by half a nat and more for the first four models. The ELBO is lower still, and puts the models in another
#   order.
# - **Learnt by heart?** *train-test* is known to ± 0.3. Only `mnist-dense` is more than two errors above zero.
# - **Which test?** The epochs were chosen by validation images. Chosen by test images, the numbers would be too high
#   for new ones. And another random binarization of the same images moves a mean by some hundredths of a nat.

# %% [markdown]
# <details><summary><b>Where does it end, and what do others report?</b></summary>
#
# Binarizing has a mean entropy of 45.53 nats an image. So -45.53 is the best score for someone who is told the grey
# image. A model is not told. Its best is $-(45.53 + I)$, where $I$ is the information that the binary image holds
# about the grey one, and nobody knows it. A model that had stored all 10,000 grey test images would score about
# $-(45.53 + \log 10{,}000) = -54.7$.
#
# Others report, in nats for binarized MNIST, and not all in the same way:
#
# | | train ELBO | test ELBO | test log p(x) | how |
# | --- | --- | --- | --- | --- |
# | Keng, the post of exercise 2 | | | -87.08 | one fixed binarization, 128 draws |
# | Kingma et al. (2016), diagonal q, as that post quotes it | | | -81.08 | binarized anew, 128 draws |
# | the same with an inverse autoregressive flow, as Kreis quotes it | | | -79.10 | the same |
# | Kreis (2021), residual networks and 8 flow steps | -78.82 | -80.53 | -78.74 | binarized anew, 1,000 draws, 2,500 epochs (`run_script.py`) |
# | Vahdat and Kautz (2020), NVAE | | | -78.01 | binarized anew |
# | `mnist-small-resnet` here | -83.12 | -83.57 | -80.66 | fixed, 1,000 draws, 110 epochs on one core |
#
# The last row is the one to hold against Kreis's: the same three numbers, with as many draws from the encoder. Between
# its ELBOs on training and test images lie 1.7 nats, learnt by heart in 2,500 epochs; here it is half a nat. Between
# test ELBO and log p(x) lie 1.8 nats, what q falls short by; here 2.9, of a smaller flow. To call -78.74 (a log p(x))
# better than another's -80.53 (an ELBO) would be to compare different things.
#
# ([Keng's post](https://bjlkeng.io/posts/importance-sampling-and-estimating-marginal-likelihood-in-variational-autoencoders/).
# Kingma et al., [*Improving variational inference with inverse autoregressive flow*,
# 2016](https://arxiv.org/abs/1606.04934). Kreis, [*Variational autoencoder with inverse autoregressive flow*,
# 2021](https://github.com/karstenkreis/flow_vae), a repository. Vahdat and Kautz, [*NVAE: a deep hierarchical
# variational autoencoder*, 2020](https://arxiv.org/abs/2007.03898).)
# </details>

# %% [markdown]
# ## 5.8 What does it look like?
#
# Twelve real test digits, with two reconstructions of each: every draw of $z$ from $q$ gives another. The last row
# shows where fifty of them differ, along the edges of the strokes.

# %% tags=["slide"]
shown = real[:12].flatten(1)
codes = deep.posterior(shown).rsample(50, seeded(6))
fifty = deep.mean_image(codes)  # [50, images, pixels]
spread = fifty.std(0)
rows = {"real": shown, "one": fifty[0], "another": fifty[1]}
image_rows(
    rows | {"spread": spread / spread.max()},
    "Twelve test digits, reconstructions of each, and where these differ",
)

# %% tags=["slide"]
fresh = deep.mean_image(deep.sample_prior(28, seeded(7)))
title = "Drawn from the prior: pixel probabilities"
image_rows({"": fresh[:14], " ": fresh[14:]}, title)

# %% [markdown] tags=["slide"]
# ### What log p(x) does not tell
#
# A thought experiment (Theis, van den Oord and Bethge, [*A note on the evaluation of generative models*,
# 2016](https://arxiv.org/abs/1511.01844)). Take a good model and spoil it: with probability 0.99 it now shows coin
# flips, and only one image in a hundred comes from the model. How much $\log p(x)$ does it lose? At least a hundredth of
# the probability of each image is left, so at most $\log 100 = 4.6$ nats. That is less than half of what lies between
# the first and the last model of the table. And yet 99 of 100 of its samples are noise.
#
# The converse happens too: a model that has learnt the training images by heart draws perfect samples, and gives new
# images almost no probability. **$\log p(x)$ says how well a model predicts images, not how good its samples look.**
# Report both.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ A spoilt model (6 minutes)
#
# The thought experiment in code (exercise 8).

# %% [markdown]
# #### Exercise 8: a mixture with coin flips
#
# Return $\log p(x)$ under the mixture: with probability `share` the model, otherwise a fair coin for each pixel.
# (`torch.logaddexp` wants two tensors; `torch.full_like` makes one of a number.)


# %% tags=["exercise"]
def diluted(log_p, share, n_pixels):
    """log p(x) of the model, nats [batch] -> of the mixture [batch]."""
    ### BEGIN SOLUTION
    coin = torch.full_like(log_p, -n_pixels * math.log(2))
    of_model, of_coin = log_p + math.log(share), coin + math.log(1 - share)
    return torch.logaddexp(of_model, of_coin)
    ### END SOLUTION


# %%
check.diluted(diluted)

# %%
coins = torch.tensor(-784 * math.log(2), dtype=torch.float64)
good = deep_evidence.per_image
spoilt = torch.logaddexp(good + math.log(0.01), coins + math.log(0.99))
table = [fitted(card).value for card in cards]
print(f"coin flips alone: {coins:.0f} nats")
loss = (good - spoilt).mean()
print(f"the spoilt model loses {loss:.1f} nats an image", end="; ")
print(f"the table above spans {max(table) - min(table):.1f}")


# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### ☆ Train it on a GPU (3 minutes)
#
# Three commands for a GPU that you have for some minutes, and what training costs.

# %% [markdown]
# In Colab first `!git clone` the course, `%cd` into it and `!pip install -e .`, and put a `!` before each of these
# lines.
#
# ```
# python -m course_lib doctor --gpu
# python -m course_lib train mnist-record --minutes 6
# python -m course_lib zoo --minutes 9
# ```
#
# - `doctor --gpu` takes ten steps of several models and compares each bound with the processor's, from the same
#   weights and the same noise. Only rounding may differ, and it measures how much.
# - `train` measures its own speed and chooses as many epochs as fit. `--resume` goes on where it was interrupted.
# - `zoo` trains and evaluates one model after the other and makes a table like that of section 5.7.
#
# With `torchrun --nproc-per-node 4 -m course_lib train ...` four GPUs train as one.
#
# What does training cost? Its arithmetic is known, in floating-point operations (FLOPs). A GPU that sustains
# $10^{14}$ of them a second (100 TFLOP/s, a part of a current one's peak) cannot take more epochs in a minute than
# the last column says.

# %%
n_images = datasets.SPLITS["mnist"][0]
print("preset               FLOPs an image", end="    ")
print("epochs a minute at 100 TFLOP/s")
for model in ["vae", "iwae-k50", "small-resnet", "record"]:
    name = f"mnist-{model}"
    each = flops_per_image(PRESETS[name])
    epochs = 60 * 1e14 / (each * n_images)
    print(f"{name:20} {each:14.1e} {epochs:33,.0f}")
name, seconds = deep_card["name"], deep_card["seconds"]
rate = flops_per_image(name) * deep_card["epochs"] * n_images / seconds
print(f"{name} took {seconds / 60:.0f} minutes", end=" ")
print(f"({deep_card['device']}): {rate / 1e9:.0f} GFLOP/s", end=", ")
print("validation included")

# %% [markdown]
# ## 5.9 Summary
#
# Each estimator where the answer is known: 20 images of the linear-Gaussian model, whose encoder is made 1.5 times as
# wide as the posterior. Its posteriors are Gaussian, so the fits are exact. (Where all weights are equal there is no
# k-hat. Annealing is a method of the ☆ part of 5.6.) The prior's estimate lies above the exact value, by 2.3 of its
# errors. Only its *average* lies below, and its k-hats warn that this error is too small.

# %% tags=["slide"]
linear = LinearGaussianVAE.random(data_dim=8, latent_dim=4, seed=0)
linear.log_std += math.log(1.5)
linear_x = linear.simulate(20, seed=1)
exact = float(linear.exact_log_likelihood(linear_x).mean())
found = {
    name: log_likelihood(linear, linear_x, 5_000, proposal=proposal)
    for name, proposal in {
        "encoder": encoder,
        "prior": prior,
        "adapted": adapted,
    }.items()
}
chains = Annealing(n_steps=100, n_chains=20)
annealed = annealed_importance_sampling(linear, linear_x, chains)
estimates = {name: evidence.mean for name, evidence in found.items()}
estimates["annealing"] = annealed.mean
print(f"exact log p(x): {exact:.4f}", end=" " * 15)
print("estimate less exact   k-hat too high")
for name, estimate in estimates.items():
    difference = round(estimate.value - exact, 4) + 0.0
    share = math.nan
    if name in found:
        share = found[name].share_of_high_pareto_k
    high = "-" if math.isnan(share) else f"{share:.0%}"
    print(f"{name:23} {estimate.value:.4f}", end=" ")
    print(f"± {estimate.std_error:.4f}", end=" ")
    print(f"{difference:+12.4f} {high:>16}")

# %% tags=["headline"]
annealed.mean.against(exact)

# %% [markdown] tags=["slide"]
# - A likelihood sums to one over the values that data can take. For grey levels, cut a density into bins,
#   of which the first and the last are open.
# - $\log p(x)$ is the log of a mean weight: logsumexp minus $\log K$. Say the unit, the number of draws, and both
#   errors: over draws and over images.
# - A proposal needs about $e^{\mathrm{KL}}$ draws, with $\mathrm{KL}(p(z|x) \,\|\, q)$, the divergence of the
#   posterior from it. Training by the ELBO makes $\mathrm{KL}(q \,\|\, p(z|x))$ small, which allows a $q$ that is too
#   narrow.
# - A Gaussian fitted to each image, by a straight line through gradients, makes the weights even. It costs less than
#   the draws that it saves.
# - The $z$ that made a simulated image turns importance sampling, or annealing, into an upper bound as well.
# - $\log p(x)$ ranks predictions, not pictures.

# %% [markdown]
# How far you came, by the checks that you ran since this kernel was started:

# %%
progress(check)

# %% [markdown]
# ### Three questions
#
# <details><summary><b>1.</b> A paper compares its model's log p(x) from 5,000 draws with another's ELBO. Whom does that favour, and by how much?</summary>
#
# The one with 5,000 draws. The ELBO is below log p(x) by KL(q || p(z|x)): several nats in the table of 5.7, as much
# as separates the models.
# </details>
#
# <details><summary><b>2.</b> Why does the sandwich not work for real test images?</summary>
#
# Nobody knows a z from their posterior. The z that the encoder proposes, even the best of many, is not a draw from
# p(z|x), and the bound's proof needs one. The check shows that the estimator works for images of the model's own
# kind. Real ones are a little different, so there k-hat has to warn.
# </details>
#
# <details><summary><b>3.</b> A model trained with squared error on MNIST reports +1,500 nats. Is that better than -78?</summary>
#
# It is another kind of number: a log-density over real vectors, not a log-probability of levels or bits. It has no
# upper limit, and depends on the width assumed. Cut the density into bins, one for each level, and report bits per
# dimension. Then the models can be compared.
# </details>
#
# ### Where to read on
#
# - [Theis, van den Oord and Bethge (2016)](https://arxiv.org/abs/1511.01844), *A note on the evaluation of generative
#   models*.
# - [Wu, Burda, Salakhutdinov and Grosse (2017)](https://arxiv.org/abs/1611.04273), *On the quantitative analysis of
#   decoder-based generative models*.
# - [Salimans, Karpathy, Chen and Kingma (2017)](https://arxiv.org/abs/1701.05517), *PixelCNN++: improving the
#   PixelCNN with discretized logistic mixture likelihood and other modifications*.
# - [Kingma et al. (2016)](https://arxiv.org/abs/1606.04934), *Improving variational inference with inverse
#   autoregressive flow*.
#
# [Notebook 6](06_flows_and_images.ipynb) is optional: how flows work, grey and colour images, and a model of your own.
#
# **That was the course.** A late project and an image under a neural network were the same problem: an average that
# few draws contribute to. You chose where to draw, weighed the draws, and looked for what could show that the answer
# is wrong.
