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
# Papers rank image models by one number, the average $\log p(x)$ of test images. For a deep VAE nobody can compute it
# exactly. It is estimated, by the same weighted average that found the chance of a late project in notebook 2. You
# will estimate it, find out how wrong the estimate can be, and then close in on the truth from both sides.
#
# **You will be able to**
# - build a model that gives *grey* images a probability, not just a loss;
# - read nats and bits per dimension, and catch a table that mixes them;
# - estimate $\log p(x)$ with an error and a diagnostic for every image, and fit a proposal that passes it;
# - check importance sampling itself: with simulated images, annealing, and a sandwich of bounds;
# - say what $\log p(x)$ does *not* tell about a model.
#
# **Time** about 120 minutes, with eight short exercises; 75 if you only run the cells of the parts marked ☆.
# **You need** notebooks 2 to 4. The models were trained beforehand, because that takes up to an hour; section 5.9 shows how to train your own.

# %%
import math

import torch
from course_lib import datasets
from course_lib.exercises import notebook_05 as check
from course_lib.figures import notebook_05 as figures
from course_lib.figures.images import image_rows
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
from course_lib.vae.distributions import DiagonalGaussian
from course_lib.vae.proposals import (
    adapted,
    defensive_mixture,
    encoder,
    prior,
    student_t,
    widened,
)

_ = torch.set_grad_enabled(False)  # nothing is trained here

# %% [markdown]
# ## 5.1 A probability for a grey image
#
# So far a pixel was black or white, and $p(x \mid z)$ a Bernoulli. The digits really have 17 grey levels, MNIST and
# photographs 256. Two habits are common in code that trains on grey values, and neither gives a probability:
#
# - **Binary cross-entropy on grey values**, $-x \log p - (1-x) \log(1-p)$ with $x = 0.4$, say. It is minus the log of
#   $p^x (1-p)^{1-x}$, and a probability would sum to one over all the values that $x$ can take.
# - **Squared error.** Up to constants it is minus the log of a Gaussian *density* on the real line. A density is no
#   probability: it may exceed 1, it covers values that no pixel can take, and its height depends on the width you
#   assume.

# %%
grey = torch.arange(256) / 255  # the intensities that a pixel can have
bernoulli = 0.3**grey * 0.7 ** (1 - grey)
print(f"Bernoulli with p = 0.3: the 256 'probabilities' sum to {bernoulli.sum():.1f}")
for width in [0.1, 0.01, 0.001]:
    log_density = torch.distributions.Normal(0.3, width).log_prob(torch.tensor(0.3))
    print(f"Gaussian of width {width:5}: a perfect guess scores {log_density:+.1f} nats")

# %% [markdown]
# A model that is sure of a pixel can push its Gaussian score as high as it likes, by narrowing the width. Probabilities
# cannot do that: no level gets more than 1, so no log-probability is above 0.
#
# ### The discretized logistic
#
# Take a density on the real line and cut it into one bin for each level. The **logistic** density is handy, because
# the area up to $t$ has a closed form: $\sigma\big((t - \mu)/s\big)$, the sigmoid, for a mean $\mu$ and a scale $s$.
# Measured in levels, level $i$ gets what lies between $i - \frac12$ and $i + \frac12$. The first bin also takes
# everything below, and the last everything above.
#
# ### Exercise 1: cut it into bins
#
# Return the probability of each level. (The first bin has no left edge and the last no right one. `torch.diff` takes
# differences of neighbours.)


# %% tags=["exercise"]
def logistic_probabilities(mean, scale, levels):
    """Mean and scale in levels, two numbers -> [levels] probabilities."""
    ### BEGIN SOLUTION
    edges = torch.arange(levels - 1) + 0.5
    below = torch.sigmoid((edges - mean) / scale)
    return torch.diff(below, prepend=torch.zeros(1), append=torch.ones(1))
    ### END SOLUTION


# %%
check.logistic_probabilities(logistic_probabilities)

# %% [markdown]
# One logistic has one peak. A **mixture** of a few can have several, at three numbers each: a weight, a mean and a
# scale. `DiscretizedLogisticMixture` is the library's version. It puts means and scales on the intensity scale, 0 to
# 1, like the images.


# %%
def mixture(weights, means, scales, levels=17):
    weights, means, scales = map(torch.tensor, (weights, means, scales))
    return DiscretizedLogisticMixture(weights.log(), means, scales.log(), levels)


examples = {
    "one logistic": mixture([1.0], [0.4], [0.08]),
    "a mean near the edge": mixture([1.0], [0.95], [0.08]),
    "three logistics": mixture([0.5, 0.3, 0.2], [0.0, 0.55, 1.1], [0.03, 0.06, 0.02]),
}
figures.mass_functions({name: d.log_probs().exp() for name, d in examples.items()})

# %% [markdown]
# ### Right on paper, wrong in float32
#
# Your formula subtracts two sigmoids. Far above the mean both are almost 1, and the difference loses first its digits
# and then all of itself. Here is one logistic with its mean at level 100 and a scale of one level:

# %%
one = mixture([1.0], [100 / 255], [1 / 255], levels=256)
print("level   log of the difference   library   exact")
for level in [101, 110, 114, 116, 118, 150]:
    edges = torch.tensor([level - 0.5, level + 0.5])
    lower, upper = torch.sigmoid(edges - 100)
    exact = torch.sigmoid(100 - edges.double())  # the same area, from the small side
    print(f"{level:5}   {torch.log(upper - lower):21.2f}", end="   ")
    print(f"{one.log_prob(torch.tensor(level / 255)):7.2f}", end="   ")
    print(f"{torch.log(exact[0] - exact[1]):5.2f}")

# %% [markdown]
# $-\infty$ in a loss becomes NaN in the gradient. [Brian Keng's post of
# 2019](https://bjlkeng.io/posts/importance-sampling-and-estimating-marginal-likelihood-in-variational-autoencoders/) on
# importance sampling for VAEs, whose numbers we meet again, trained such a model on CIFAR-10 and met those NaNs. It
# clamped the scales to a range and skipped the bad values. There is no need. With $a$ and $b$ the two edges in units of
# the scale,
#
# $$ \sigma(b) - \sigma(a) = \sigma(b)\;\sigma(-a)\;\big(1 - e^{a - b}\big) , $$
#
# and the logarithm is three terms. The first two are accurate in both tails. The third depends on the width of a bin
# alone, $b - a$, and is accurate with `expm1`, which computes $e^t - 1$ without subtracting.
#
# ### ☆ Or simply 256 numbers?
#
# A softmax over the 256 levels can take any shape. But it needs 256 numbers for each pixel where five logistics need
# 15, and it does not know that level 127 is near 128: it must see both. Three models of digits with 17 levels,
# alike but for $p(x \mid z)$:

# %%
digits = datasets.load("digits")
names = ["digits-logistic", "digits-mixture", "digits-softmax"]
grey_models, grey_cards = {}, {}
for name in names:
    grey_models[name], grey_cards[name] = load_checkpoint(name)
row, column = 5, 4
pixel = {}
for name, model in grey_models.items():
    z = model.posterior(digits.test[:1]).mean
    log_probs = model.conditional(z).log_probs()  # [images, channels, 8, 8, 17 levels]
    pixel[name] = log_probs[0, 0, row, column].exp()
figures.mass_functions(pixel, observed=round(16 * float(digits.test[0, 0, row, column])))

# %% [markdown]
# That is one pixel of one image, with $z$ at the mean of $q$. Over all test images, in nats and in **bits per
# dimension**: $-\log_2 p(x)$ divided by the number of pixels, the bits that a perfect compressor based on the model
# would spend on each.

# %%
grey_evidence = {n: log_likelihood(m, digits.test, 200) for n, m in grey_models.items()}
print(f"uniform guessing            {math.log2(17):.2f} bits per dimension")
for name, found in grey_evidence.items():
    train = grey_cards[name]["metrics"]["train"]["log_likelihood"]["value"]
    print(
        f"{name:15} {found.per_image.mean():.1f} nats, {found.bits_per_dim:.2f} bits",
        end="",
    )
    print(f" per dimension; {train:.1f} nats on the images it was trained on")
figures.paired_differences(
    {n: grey_evidence[n].per_image for n in names}, reference="digits-mixture"
)

# %% [markdown]
# The softmax is seven nats behind the mixture, but only two on the images they were trained on: much of those it has
# learnt by heart. 1,300 images are few examples of each level at each place, and what it learns of one level tells it
# nothing about the next.
#
# ## 5.2 Nats and bits
#
# ### Exercise 2: the units trap
#
# The post that clamped its scales ends with a table, of models of $28 \times 28$ bits and of $32 \times 32 \times 3$
# colour values:
#
# | model | log p(x) | bits per value |
# | --- | --- | --- |
# | binarized MNIST | -87.08 | 0.16 |
# | CIFAR-10 | -20437 | 6.65 |
#
# Convert nats to bits per dimension. Then use it on both rows: one of the two $\log p(x)$ is not in nats. Give its
# value *in nats*.


# %% tags=["exercise"]
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

# %% [markdown]
# ## 5.3 From 5,000 weights to one number
#
# Now a deep model of binarized MNIST, with convolutions. Its $q(z \mid x)$ and its prior are **flows**: Gaussians whose
# draws are bent by an invertible network, so that the density of what comes out is still known. For this notebook only
# one thing matters. It offers `log_weights`, like every model since notebook 3.
#
# We let the model draw its own test images. That needs no download, and there is a second reason, which section 5.6
# will use: for these images we know the $z$ they were made from. Take the first one and 5,000 draws from the encoder.

# %%
deep, card = load_checkpoint("mnist-small-resnet")
draws = torch.Generator().manual_seed(0)
true_z = deep.sample_prior(40, draws)
simulated = deep.sample_conditional(true_z, draws)
image_rows({"": simulated[:14]}, "Drawn from the model: what we evaluate first")

# %%
log_w = deep.log_weights(simulated[:1], 5_000, draws)[:, 0]
figures.log_weights(log_w)

# %% [markdown]
# $\log p(x)$ is not where the draws are. It is set by the few on the right, and the mean on the left does not see them.
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
# For each, say `"right"`, `"too high"`, `"too low"`, or `"no number"` if it is not finite. (Work it out before you try
# it.)

# %% tags=["exercise"]
verdicts = None  # {"Ada": "right", "Ben": ..., "Chen": ..., "Dee": ..., "Eve": ...}
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
# Dee's mistake is the quiet one. Other code in circulation clips $\log p(z)$ at the log of the smallest float. Draws
# far out get the wrong weight, and nothing looks broken.
#
# ## 5.4 The prior as proposal
#
# Why not draw $z$ from the prior? Then the weight is $p(x \mid z)$ and no encoder is needed: plain Monte Carlo, as for
# the late project in notebook 1.

# %%
for name, proposal in {"encoder": encoder, "prior": prior}.items():
    found = log_likelihood(deep, simulated[:1], 5_000, proposal=proposal)
    sum_of_weights = found.per_image + math.log(5_000)  # all in logs
    share = float((found.largest_log_weights.amax() - sum_of_weights).exp())
    print(f"{name:8} ESS {float(found.ess):4.0f} of 5,000, largest share {share:.0%}")

# %% [markdown]
# The estimate from the prior rests on one or two lucky draws. How many would it take? A draw is useful if it falls
# where the posterior is. Information theory puts a number on that: about $e^{\mathrm{KL}}$ draws, with the divergence
# of the posterior from the prior ([Chatterjee and Diaconis 2018](https://arxiv.org/abs/1511.01437)). And
#
# $$ \mathrm{KL}\big(p(z \mid x) \,\|\, p(z)\big) = \mathbb{E}_{p(z \mid x)}\left[\log \frac{p(z \mid x)}{p(z)}\right] = \mathbb{E}_{p(z \mid x)}[\log p(x \mid z)] - \log p(x) , $$
#
# by Bayes' rule. The weights give $\log p(x)$, as before. The expectation you can have from the same draws: weigh each by
# its normalized weight $\tilde w$, as in notebook 4.
#
# ### Exercise 4: how many draws from the prior?
#
# From the log-weights of the encoder's draws, and $\log p(x \mid z)$ of the same draws, return the KL divergence in nats.


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
z, log_q = deep.posterior(simulated[:1]).rsample_and_log_prob(1_000, draws)
log_conditional = deep.log_conditional(simulated[:1], z)[:, 0]
log_w = log_conditional + deep.log_prior(z)[:, 0] - log_q[:, 0]
average = (
    torch.softmax(log_w, 0) * log_conditional
).sum()  # of log p(x|z), over the posterior
kl = average - iwae_bound(log_w[:, None])[0]
print(
    f"KL(posterior || prior), roughly: {kl:.0f} nats, so some 10^{kl / math.log(10):.0f} draws"
)

# %% [markdown]
# Each nat that the image tells about $z$ multiplies the draws by $e$.
#
# ## 5.5 How many draws, and whom to believe
#
# The more draws, the higher the estimate on average (it is notebook 4's $L_k$), and usually the smaller its error. For four
# images, with the band of two standard errors that each estimate gives itself:

# %%
ns = [2, 5, 10, 30, 100, 300, 1_000, 3_000]
against_n = [log_likelihood(deep, simulated[:4], n) for n in ns]
figures.evidence_against_n(ns, against_n)

# %% [markdown]
# `log_likelihood` streams: its memory does not grow with the draws. Each image comes with a standard error and a k-hat.
# Both for the 40 simulated images, with 1,000 draws each:

# %%
deep_evidence = log_likelihood(deep, simulated, 1_000)
figures.pareto_k_by_image(deep_evidence)

# %%
encoder_test = card.metrics["test"].by("encoder").log_likelihood
share = encoder_test.share_of_high_pareto_k
print(f"of 10,000 real test images, with 5,000 draws: {share:.0%} (from the card)")

# %% [markdown]
# A k-hat above its limit (notebook 2; 0.7, and 0.67 for 1,000 draws) says that the weights have so heavy a tail that the
# standard error cannot be trusted: there are places where $q$ is too low, and the draws that would matter are seldom
# made. The estimate is then probably too low.
#
# ### Why q does not fit
#
# Take a network of notebook 4, with 50 latent dimensions and a Gaussian $q$. How wrong is it? Simulated images have a
# witness: the $z$ that made them. If $q$ is right, that $z$ is one more draw from it, and in each latent
# $(z - \text{mean})/\text{std}$ is standard normal.

# %%
plain, _ = load_checkpoint("mnist-vae")
its_z = plain.sample_prior(200, draws)
its_own = plain.sample_conditional(its_z, draws)
q = plain.posterior(its_own)
score = (its_z - q.mean) / q.std
used = q.std.mean(0) < 0.7  # for the others q is about the prior, of std 1
for name, latents in {"used": used, "unused": ~used}.items():
    mean_square = score[:, latents].square().mean()
    print(
        f"{latents.sum()} latents {name}: mean square {mean_square:.1f}, where q expects 1"
    )

# %% [markdown]
# In the latents that matter the true $z$ lies $\sqrt{2.4} \approx 1.5$ times as far out as $q$ expects: $q$ is too narrow,
# and beside the place. That is no accident. There are two divergences between $q$ and the posterior, and each is an
# average over draws of its first argument:
#
# - The ELBO, with which this network was trained, makes $\mathrm{KL}(q \,\|\, p(z|x))$ small. Where $q$ never draws, it
#   pays nothing. Where the two cannot agree, $q$ tends to come out **too narrow**, and then weights need not have a bound.
# - The cross-entropy method of notebook 2 made $\mathrm{KL}(\text{target} \,\|\, q)$ small. Every place that the target
#   visits has to be paid for, so there $q$ comes out **wide**. That wastes a share of the draws and is much safer, if no
#   guarantee: its k-hat was just above 0.5.
#
# Can one widen by hand? `widened(1.2)` multiplies $q$'s standard deviations, `student_t(5)` draws from a Student t with
# 5 degrees of freedom, and here is one made to measure for this network, 1.5 times as wide where latents are
# used. (A proposal is a function of the model and its images.)


# %%
def made_to_measure(model, x):
    q = model.posterior(x)
    return DiagonalGaussian(q.mean, torch.where(used, 1.5, 1.0) * q.std)


proposals = {
    "encoder": encoder,
    "widened(1.2)": widened(1.2),
    "student_t(5)": student_t(5),
    "made to measure": made_to_measure,
}
by_proposal = {
    name: log_likelihood(plain, its_own[:40], 2_000, proposal=p)
    for name, p in proposals.items()
}
for name, evidence in by_proposal.items():
    gain = (evidence.per_image - by_proposal["encoder"].per_image).mean()
    high = evidence.share_of_high_pareto_k
    print(f"{name:16} {gain:+.1f} nats, k-hat too high for {high:.0%} of 40 images")

# %% [markdown]
# Each is low on average, so of two means over many images the higher is probably the closer: something is gained. But
# k-hat warns as before. What is left is place and *shape*: means are off, and the posterior leans (its latents are
# correlated, so its ellipses are tilted), which a Gaussian with axes parallel to those of $z$ cannot.
#
# ### A Gaussian for each image
#
# The encoder is one network for all images. Let each image have a Gaussian of its own, which may lean. To find it, look
# at slopes. The log-density of a Gaussian with mean $\mu$ and precision $P$ (the inverse of its covariance) has the
# gradient
#
# $$ -P\,(z - \mu) , $$
#
# a straight line in $z$, with slopes $-P$ and intercept $P\mu$. (In one dimension, for $N(2, 4)$: $-(z - 2)/4$, of slope
# $-\frac14$ and intercept $\frac12$.) So: draw some $z$; compute the gradient of $\log p(x, z)$ at each, which is that of
# $\log p(z \mid x)$, because $p(x)$ does not depend on $z$; and fit a straight line to the gradients.
#
# ### Exercise 5: a Gaussian from gradients
#
# `line` is fitted for you by least squares: `gradient` is about `z @ slopes + intercept`. Return the mean and the
# covariance of the Gaussian that has this line. (`torch.linalg.inv` inverts a matrix. The slopes of a fit are symmetric
# only nearly: take the average of them and their transpose.)


# %% tags=["exercise"]
def gaussian_from_gradients(z, gradient):
    """[K, dim], [K, dim] -> mean [dim], covariance [dim, dim]."""
    ones = torch.ones(len(z), 1, dtype=z.dtype)
    line = torch.linalg.lstsq(torch.cat([ones, z], dim=1), gradient).solution
    intercept, slopes = line[0], line[1:]
    ### BEGIN SOLUTION
    covariance = torch.linalg.inv(-(slopes + slopes.T) / 2)
    return covariance @ intercept, covariance
    ### END SOLUTION


# %%
check.gaussian_from_gradients(gaussian_from_gradients)

# %% [markdown]
# First where the posterior is known, and leans. The encoder's Gaussian cannot; twenty draws from it are enough:


# %%
def refitted(log_density, z):
    """The Gaussian of the line through the gradients of a log-density at z [K, dim]."""
    with torch.enable_grad():
        z = z.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(log_density(z).sum(), z)
    design = torch.cat([torch.ones_like(z[:, :1]), z.detach()], dim=1)
    line = torch.linalg.lstsq(design, gradient).solution
    covariance = torch.linalg.inv(-(line[1:] + line[1:].T) / 2)
    return covariance @ line[0], covariance


weight = torch.tensor([[2.0, 1.0], [1.0, 2.0], [0.0, 1.0]], dtype=torch.float64)
leaning = LinearGaussianVAE(weight, torch.zeros(3, dtype=torch.float64), noise_std=1.0)
one_x = leaning.simulate(1, seed=0)
z = leaning.posterior(one_x).rsample(20, draws)[:, 0]
mean, covariance = refitted(lambda z: leaning.log_joint(one_x, z[:, None]), z)
posterior = leaning.exact_posterior(one_x)
print("mean exact:", torch.allclose(mean, posterior.mean[0]))
print("covariance exact:", torch.allclose(covariance, posterior.covariance_matrix))

# %% [markdown]
# Exact, after one round. Now a posterior that is no Gaussian: an image of eight pixels, and a decoder of one layer.

# %%
matrix = 2 * torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
pixels = torch.tensor([1.0, 0, 0, 0, 1, 1, 1, 0])


def toy_log_joint(z):
    likelihood = torch.distributions.Bernoulli(logits=z @ matrix.T)
    return likelihood.log_prob(pixels).sum(-1) - z.square().sum(-1) / 2


mean, covariance = torch.zeros(2), 0.05 * torch.eye(2)  # an encoder's guess
fits = [(mean, covariance)]
for _ in range(4):
    z = mean + torch.randn(200, 2, generator=draws) @ torch.linalg.cholesky(covariance).T
    mean, covariance = refitted(toy_log_joint, z)
    fits.append((mean, covariance))
figures.fits_of_posterior(toy_log_joint, fits)

# %% [markdown]
# Here the gradient is bent, and the line an average. So repeat it, with draws from the new Gaussian. Here it settles
# after a few rounds, up to the noise of its draws, at the Gaussian with the highest ELBO ([Opper and Archambeau
# 2009](https://doi.org/10.1162/neco.2008.08-07-592); the regression is [Salimans and Knowles
# 2013](https://arxiv.org/abs/1206.6679)'s). That is $\mathrm{KL}(q \| p(z|x))$ once more, which likes narrow. But a
# Gaussian that may lean has less to disagree about, and one can see how much: in what is left of the gradients beside the
# line.
#
# `adapted` does this for each image, in 50 dimensions or 150, with ten rounds of 64 draws, and the care that it takes. It
# fits in the standard normal noise that $q$ makes $z$ of, so that flows and two layers are no obstacle; takes a step back
# where the ELBO fell; and is a little wider than the fit in directions where much is left beside the line. $\log p(x)$ is
# estimated with new draws.

# %%
by_proposal["adapted"] = log_likelihood(plain, its_own[:40], 2_000, proposal=adapted)
figures.pareto_k_compared(by_proposal["encoder"], by_proposal["adapted"])

# %%
figures.proposals_compared(by_proposal)

# %% [markdown]
# Forty k-hats fall below the line or near it, and the estimate rises by more than a nat. What did it cost? In passes
# through the decoder, a gradient counted as three (there and, for about two, back), the fit takes 1,984 and the draws 2,000: together fewer than the 5,000
# that papers spend on the encoder.
#
# ### Exercise 6: how many draws would the encoder have needed?
#
# About $e^{\mathrm{KL}(p(z|x) \| q)}$, as in exercise 4 (in order of magnitude). Its average is over the posterior, and now
# you have draws that represent it: those of the fit, with their weights, which also give $\log p(x)$. Given the
# log-weights of the fit's draws, and at the same draws `log_w_encoder`, $\log p(x, z) - \log q(z \mid x)$, return the
# divergence in nats. (What is $\log \frac{p(z|x)}{q(z|x)}$ in terms of `log_w_encoder` and $\log p(x)$?)


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
forty = its_own[:40]
z, log_fit = adapted(plain, forty, draws).rsample_and_log_prob(2_000, draws)
log_p_x_z = plain.log_joint(forty, z)
log_w = log_p_x_z - log_fit
log_w_encoder = log_p_x_z - plain.posterior(forty).log_prob(z)
log_p_x = iwae_bound(log_w)
average = (torch.softmax(log_w, 0) * log_w_encoder).sum(0)  # over the posterior
divergence = (average - log_p_x).median()
print(
    f"KL(posterior || q), median: {divergence:.0f} nats, some {divergence.exp():.0e} draws"
)
the_other = (log_p_x - by_proposal["encoder"].elbo).median()
print(f"KL(q || posterior), which training makes small: {the_other:.0f} nats")

# %% [markdown]
# Tens of thousands for an image in the middle, and for the worst of them more than anybody has. The last line is the same
# log-weight, averaged on the other side: over $q$ its mean is the ELBO, *below* $\log p(x)$ by
# $\mathrm{KL}(q \| p(z|x))$; over the posterior it is *above*, by $\mathrm{KL}(p(z|x) \| q)$. Of the second, training
# knows nothing. The next section uses it.
#
# ## 5.6 Is importance sampling itself right?
#
# Every estimate so far is a lower bound on average. If all its draws miss the same region, more draws of the same kind
# will not tell. Two things would: another lower bound that comes out higher, and an **upper** bound, to say how much
# can still be missing.
#
# For simulated images there is an upper bound. The $z$ that made the image is an exact draw from its posterior
# $p(z \mid x)$: to draw $z$ first and then $x$ gives the same pairs as to draw $x$ first and then $z$ from its posterior.
# Put that $z$ among $k - 1$ draws from $q$, and average all $k$ weights:
#
# $$ \mathbb{E}\Big[\log \frac1k \sum_i w_i\Big] \;\ge\; \log p(x) \qquad\text{if } z_1 \sim p(z \mid x),\; z_2, \dots, z_k \sim q . $$
#
# With $k = 1$ it is $\log p(x) + \mathrm{KL}\big(p(z \mid x) \,\|\, q\big)$, the mirror image of the ELBO.
#
# <details><summary><b>Why is that an upper bound?</b></summary>
#
# $w_i / p(x) = p(z_i \mid x) / q(z_i)$. So replacing the $i$-th draw from $q$ by a draw from the posterior multiplies
# the density of the whole set of draws by $w_i / p(x)$. It makes no difference which one is replaced, so we may average
# over $i$: the density is multiplied by $\hat w / p(x)$, with $\hat w$ the mean weight. The left side is therefore
# $\mathbb{E}_q\big[\frac{\hat w}{p(x)} \log \hat w\big]$, where all draws come from $q$ again. The function
# $t \log t$ is convex and $\hat w$ has the mean $p(x)$. By Jensen that is at least
# $\frac{1}{p(x)}\, p(x) \log p(x) = \log p(x)$.
# </details>
#
# ### Exercise 7: close the sandwich
#
# Given log-weights of $k$ draws from $q$, and the log-weight of the true $z$, return the upper bound of each image.
# (The true $z$ takes the place of one draw, so that $k$ stays $k$.)


# %% tags=["exercise"]
def upper_bound(log_w, log_w_true):
    """[k, batch], [batch] -> [batch], in nats."""
    ### BEGIN SOLUTION
    swapped = torch.cat([log_w_true[None], log_w[1:]])
    return torch.logsumexp(swapped, 0) - math.log(len(log_w))
    ### END SOLUTION


# %%
check.upper_bound(upper_bound)

# %%
q = deep.posterior(simulated)
log_w_true = deep.log_joint(simulated, true_z[None])[0] - q.log_prob(true_z[None])[0]
log_w = torch.cat([deep.log_weights(simulated, 100, draws) for _ in range(10)])
sandwich = {}
for k in [1, 10, 100, 1_000]:
    lower = iwae_bound(log_w[:k])
    swapped = torch.cat([log_w_true[None], log_w[1:k]])
    sandwich[k] = (lower, iwae_bound(swapped))
figures.sandwich("draws, k", sandwich)

# %% [markdown]
# The bounds close in as $k$ grows. They hold on average, over the one true $z$ too. A single run can err to the wrong
# side, by $b$ nats with a probability of at most $e^{-b}$ (Markov's inequality).
#
# The mean hides something: half of the images are settled, and a few are far from it. A standard error does not see this:
# it knows the draws that were made, and no others. The gap, on average, is the most that can be missing; part of it is the
# upper bound's own slack.
#
# ### ☆ Annealing
#
# What if $q$ is poor, or there is no encoder? **Annealed importance sampling** ([Neal
# 2001](https://doi.org/10.1023/A:1008923215028)) walks from the prior to the posterior in many small steps. Between
# them stand
#
# $$ f_\beta(z) = p(z)\, p(x \mid z)^\beta \;\text{(unnormalized)}, \qquad 0 = \beta_0 < \beta_1 < \dots < \beta_T = 1 . $$
#
# A chain starts with a draw from the prior. At each step its log-weight grows by
# $(\beta_t - \beta_{t-1}) \log p(x \mid z)$, and then $z$ moves, so that a $z$ distributed as $f_{\beta_t}$ before
# the move is so after it. The simplest such move is Metropolis's: propose a random step, and accept it with probability
# $f(\text{new}) / f(\text{old})$, or always if that is above 1. Here is all of it, for a model of one dimension: a prior
# $N(0, 1)$ and a single number $x = 3$, measured with an error of 0.4.


# %%
def log_p_x_given_z(z):
    return torch.distributions.Normal(z, 0.4).log_prob(torch.tensor(3.0))


def anneal(n_steps, n_chains=1_000):
    """Log-weights [n_chains], and where the first chain was after each step."""
    z, log_w, path = torch.randn(n_chains, generator=draws), torch.zeros(n_chains), []
    for step in range(1, n_steps + 1):
        beta = step / n_steps
        log_w += log_p_x_given_z(z) / n_steps
        new = z + 0.5 * torch.randn(n_chains, generator=draws)
        log_ratio = beta * (log_p_x_given_z(new) - log_p_x_given_z(z)) - (new**2 - z**2) / 2
        accept = torch.rand(n_chains, generator=draws).log() < log_ratio
        z = torch.where(accept, new, z)
        path.append(float(z[0]))
    return log_w, path


exact = float(
    torch.distributions.Normal(0, (1 + 0.4**2) ** 0.5).log_prob(torch.tensor(3.0))
)
walks = {n: anneal(n) for n in [1, 10, 100]}
figures.annealing(walks, log_p_x_given_z, exact, "More steps, more even weights")

# %% [markdown]
# With one step it is the prior as proposal. With many, each ratio of neighbours is near 1 and the weights become more even.
# They are honest at any number of steps: their mean is $p(x)$, however lazily the moves explore. For two steps you can
# see it. Let $M(z' \mid z)$ be a move that keeps $f_{\beta_1}$. Then the mean weight is
#
# $$ \int\!\!\int p(z)\, p(x \mid z)^{\beta_1}\, M(z' \mid z)\; p(x \mid z')^{1 - \beta_1}\, dz\, dz' = \int f_{\beta_1}(z')\, p(x \mid z')^{1-\beta_1}\, dz' = \int p(z')\, p(x \mid z')\, dz' = p(x) . $$
#
# In more dimensions random steps are slow. The library's moves are Hamiltonian: give $z$ a random push, let it follow
# the slope of $\log f_\beta$ for a few steps, then accept or reject as above.
#
# First where the answer is known:

# %%
linear = LinearGaussianVAE.random(data_dim=8, latent_dim=4, seed=0)
x = linear.simulate(20, seed=1)
annealed = annealed_importance_sampling(linear, x, Annealing(n_steps=100, n_chains=20))
print(annealed.mean.against(linear.exact_log_likelihood(x).mean()))

# %% [markdown]
# The same walk can be taken **backwards**. Start at the true $z$ of a simulated image, walk from the posterior to the
# prior, and collect the reciprocal weight $1/w$. Its mean is $1/p(x)$. Forward and reverse chains together are
# **bidirectional Monte Carlo** ([Grosse et al. 2015](https://arxiv.org/abs/1511.02543)).
#
# So minus the log of the mean of $1/w$ is, by Jensen, on average too high: an upper bound.
#
# There is no need to start at the prior. With the fitted Gaussian as $s(z)$, walk through
# $f_\beta = s(z)^{1-\beta}\, p(x, z)^\beta$: most of the way is done before the first step. (The chains that walk back
# start at the true $z$, so that what the fit does not see would show as a gap.) For the deep model itself, as the walk gets
# longer:

# %%
settings = {"n_chains": 8, "n_leapfrog": 1, "start": "adapted"}
both_ways = {
    n: bidirectional_bounds(deep, 8, Annealing(n, **settings)) for n in [4, 15, 60]
}
by_fit = log_likelihood(deep, both_ways[60].images, 2_000, proposal=adapted)
figures.sandwich(
    "annealing steps",
    {n: (b.lower, b.upper) for n, b in both_ways.items()},
    by_fit.mean,
)

# %% [markdown]
# Sixty steps from the fit bring the gap to within its error. (From the prior, 200 steps stay more than a nat away.) And
# importance sampling from the fit lies where the bounds meet. How far below that is the encoder, for the network whose
# k-hats were all too high?

# %%
bounds = bidirectional_bounds(plain, 20, Annealing(100, **settings))
print(f"upper less lower bound: {round(bounds.mean_gap.value, 1) + 0.0:.1f} nats")
middle = (bounds.lower + bounds.upper) / 2
for name, proposal in {"encoder": encoder, "adapted": adapted}.items():
    estimate = log_likelihood(plain, bounds.images, 2_000, proposal=proposal)
    above = round(float((estimate.per_image - middle).mean()), 1) + 0.0
    print(f"{name:8} {above:4.1f} nats above their middle;", end=" ")
    print(f"its own error: {estimate.mean.std_error:.2f}")

# %% [markdown]
# 2,000 draws from the encoder fall short by many times the error that they print. k-hat said so; here is the size of it.
# Published numbers from an encoder's draws seldom come with a k-hat, so one cannot tell.
#
# **A number you can defend**, then: draws from a proposal fitted to each image. The mean with its error, the ELBO and the
# share of high k-hats beside it. Then the gap of the sandwich, of simulated images, and annealing of some real ones for a
# second opinion. (On real images the lower bound is all there is: nobody knows a $z$ of their posterior.)
#
# Are MNIST's test images on this machine? Then the next cell evaluates twenty of them. If not, fetch them
# (`python -m course_lib data mnist`) and run it again.

# %% tags=["nbval-ignore-output"]
if datasets.is_here("mnist"):
    real = datasets.fixed_binarization(datasets.load("mnist").test[:20])
    print(log_likelihood(deep, real, 1_000, proposal=adapted))
else:
    print("MNIST is not here. The card says what 10,000 real test images gave:")
    of_fit = card.metrics["test"].by("adapted").log_likelihood
    print(f"log p(x) = {of_fit.value:.2f} nats, k-hat too high for", end=" ")
    print(f"{of_fit.share_of_high_pareto_k:.0%}")

# %% [markdown]
# ## 5.7 The zoo
#
# Every model of binarized MNIST that comes with the course, from the cards beside the weights. All were evaluated on
# the same 10,000 test images in the same fixed binarization: with 5,000 draws from the encoder, as papers do, and with
# 2,000 from Gaussians fitted to each image, which is fewer passes in all. The column *train - test* is how much better a
# model does on 10,000 training images, both with 1,000 draws from the encoder.

# %%
cards = [load_checkpoint(path.stem)[1] for path in PUBLISHED.glob("mnist-*.safetensors")]


def fitted(card):
    return card.metrics["test"].by("adapted").log_likelihood


print("                               log p(x), test                   k-hat too high")
print(
    "checkpoint               ELBO  encoder         adapted  train-test  encoder  adapted"
)
for c in sorted(cards, key=lambda c: fitted(c).value):
    metrics, of_fit = c.metrics["test"], fitted(c)
    of_encoder = metrics.by("encoder")
    thousand = next(one for one in metrics.all if one.size[1] == 1_000)
    difference = c.metrics["train"].log_likelihood.value - thousand.log_likelihood.value
    columns = [
        f"{c.name:21} {of_encoder.elbo.value:7.2f}",
        f"{of_encoder.log_likelihood.value:8.2f}",
        f"{of_fit.value:8.2f} ± {of_fit.std_error_over_images:.2f}",
        f"{difference:+10.1f}",
        f"{of_encoder.log_likelihood.share_of_high_pareto_k:8.0%}",
        f"{of_fit.share_of_high_pareto_k:8.0%}",
    ]
    print(*columns)

# %% [markdown]
# How to read such a table, yours or a paper's:
#
# - **Which error?** ± is the error over images, for "images like these". For a comparison of two models on the same
#   images use differences, image by image, as in notebook 4.
# - **How far below the truth?** The column *encoder* is $L_{5000}$ of a $q$ that does not fit: a lower bound, low by half
#   a nat and more for the plain networks. *adapted* is a lower bound too, whose k-hats warn for a few images in a hundred
#   at most. Papers report the first kind; how far below theirs are, one cannot tell. The ELBO is further below, and by
#   different amounts: it can order models wrongly.
# - **Learnt by heart?** The column *train - test* is known to ± 0.3, for other images. Only `mnist-dense` is more than two
#   errors above zero: it may have begun to know its training images by heart.
# - **Which binarization?** Another one of the same test images is another test set, if only by some hundredths of a nat.
# - **What was chosen how?** Epochs by the validation images. Whoever picks the best epoch by the test images reports
#   a number that new images will not reach.
# - **A ceiling.** Binarizing is itself random, with a mean entropy of 45.53 nats an image. On new images no model
#   can do better than minus that, on average, nor reach it: it would have to know each grey image.
#
# For scale: the convolutional VAE of 5.2's post reports -87.08 (one fixed binarization, 128 draws). A public residual
# VAE with eight flow steps ([Kreis 2021](https://github.com/karstenkreis/flow_vae)), whose networks our larger presets
# follow, reports -78.74 after 2,500 epochs on a GPU (1,000 draws), and NVAE ([Vahdat and Kautz
# 2020](https://arxiv.org/abs/2007.03898)) -78.01 after 21 hours on two.
#
# ## 5.8 What does it look like?
#
# Samples and reconstructions of the deep model. A reconstruction is not *one* image, because each draw of $z$ from $q$
# gives another. They look alike; the last row shows where fifty of them differ, along the edges of the strokes.

# %%
shown = simulated[:12]
fifty = deep.mean_image(deep.posterior(shown).rsample(50, draws))  # [50, images, pixels]
spread = fifty.std(0)
rows = {"drawn": shown, "one": fifty[0], "another": fifty[1]}
image_rows(
    rows | {"spread": spread / spread.max()},
    "Twelve drawn images, reconstructions of each, and where these differ",
)

# %%
fresh = deep.mean_image(deep.sample_prior(28, draws))
image_rows({"": fresh[:14], " ": fresh[14:]}, "Drawn from the prior: pixel probabilities")

# %% [markdown]
# ### What log p(x) does not tell
#
# A thought experiment ([Theis, van den Oord and Bethge 2016](https://arxiv.org/abs/1511.01844)). Take a good model and
# spoil it: with probability 0.99 it now shows coin flips, and only one image in a hundred comes from the model.
#
# ### Exercise 8: a spoilt model
#
# Return $\log p(x)$ under the mixture: with probability `share` the model, otherwise a fair coin for each pixel.
# (`torch.logaddexp` wants two tensors; `torch.full_like` makes one of a number.)


# %% tags=["exercise"]
def diluted(log_p, share, n_pixels):
    """log p(x) under the model -> log p(x) under the mixture, in nats; [batch] -> [batch]."""
    ### BEGIN SOLUTION
    coin = torch.full_like(log_p, -n_pixels * math.log(2))
    return torch.logaddexp(log_p + math.log(share), coin + math.log(1 - share))
    ### END SOLUTION


# %%
check.diluted(diluted)

# %%
coins = torch.tensor(-784 * math.log(2), dtype=torch.float64)
good = deep_evidence.per_image
spoilt = torch.logaddexp(good + math.log(0.01), coins + math.log(0.99))
table = [fitted(c).value for c in cards]
print(f"coin flips alone: {coins:.0f} nats")
print(f"the spoilt model loses {(good - spoilt).mean():.1f} nats an image;", end=" ")
print(f"the table above spans {max(table) - min(table):.1f}")

# %% [markdown]
# $\log 100 = 4.6$ nats, and never more: less than half of what lies between the first and the last model of the table. Yet 99 of 100 of its
# samples are noise. The converse happens too: a model that has learnt the training images by heart draws
# perfect samples, and gives new images no probability. $\log p(x)$ says how well a model *predicts* images. It does
# not say how good they look. Report both, and neither as the other.
#
# ## 5.9 ☆ Train it on a GPU
#
# Whether your GPU is at the end of a cable or in a Colab notebook (`!git clone` the course, `%cd` into it,
# `!pip install -e .`, and a `!` before each of these lines), you have it for minutes. So minutes are what you give:
#
# ```
# python -m course_lib doctor --gpu
# python -m course_lib train mnist-record --minutes 6
# python -m course_lib zoo --minutes 9
# ```
#
# - `doctor --gpu` takes ten steps of several models there, and holds each bound against the processor's, from the same
#   weights and the same noise. What may differ is rounding, and how much that makes is measured, not guessed.
# - `train` measures a few of its own steps and chooses as many epochs as fit. From then on it is an ordinary training of
#   so many epochs: warm-up, learning rate and averaging follow the whole, the card has the number, and `--epochs` with
#   that number is the same training again. `--resume` goes on where it was interrupted.
# - `zoo` makes a table like that of section 5.7. It smoke-tests, trains and evaluates one model after the other, those
#   that matter most first; whatever interrupts it, what is finished is there, and `--resume` does the rest.
#
# A GPU finishes a small network's operation before Python has asked for the next one. So a step is *recorded* once, the
# optimizer's part included, and replayed as a whole; each replay begins by seeding its generator with the number of the
# step, so that its draws are those of a step that is not recorded. Where the smoke test finds recorded or compiled
# steps wrong, the plain ones are taken, and the card says so.
#
# Everything else is as on a processor: `torchrun --nproc-per-node 4 -m course_lib train ...` lets several GPUs train as
# one, and `evaluate NAME.safetensors --precision bfloat16 --save` estimates $\log p(x)$ with products of 8 bits. The
# rounding is noise in the log-weights, small beside what the draws of $z$ leave.
#
# What does it cost? The arithmetic of training follows from the preset. A GPU that sustains $10^{14}$ operations a
# second (100 TFLOP/s, a fraction of a current one's peak in bfloat16) could not take more epochs in a minute than the
# last column says.

# %%
print("preset               FLOPs an image    epochs a minute at 100 TFLOP/s")
for name in ["mnist-vae", "mnist-iwae-k50", "mnist-small-resnet", "mnist-record"]:
    each, n_images = flops_per_image(PRESETS[name]), datasets.SPLITS["mnist"][0]
    print(f"{name:20} {each:14.1e} {60 * 1e14 / (each * n_images):33,.0f}")
total = flops_per_image(card["name"]) * card["epochs"] * datasets.SPLITS["mnist"][0]
print(
    f"{card['name']} took {card['seconds'] / 60:.0f} minutes ({card['device']}):", end=" "
)
print(f"{total / card['seconds'] / 1e9:.0f} GFLOP/s, validation included")

# %% [markdown]
# Evaluation is not free either: 5,000 draws for 10,000 images are fifty million passes through the decoder, as many
# as a thousand epochs of training without the backward pass.
#
# ## 5.10 Summary
#
# Each estimator of this notebook where the answer is known: the linear-Gaussian model, whose encoder we make half
# again as wide as the posterior, and 20 images.

# %%
linear = LinearGaussianVAE.random(data_dim=8, latent_dim=4, seed=0)
linear.log_std += math.log(1.5)
x = linear.simulate(20, seed=1)
exact = linear.exact_log_likelihood(x).mean()
estimates = {
    name: log_likelihood(linear, x, 5_000, proposal=proposal).mean
    for name, proposal in {
        "encoder": encoder,
        "prior": prior,
        "widened(1.2)": widened(1.2),
        "student_t(5)": student_t(5),
        "defensive_mixture(0.1)": defensive_mixture(0.1),
        "adapted": adapted,
    }.items()
}
estimates["annealing, 100 steps"] = annealed.mean
for name, estimate in estimates.items():
    print(
        f"{name:23} {estimate.rounded:>18}   exact {exact:.4f}   {estimate.against(exact).verdict}"
    )

# %% tags=["headline"]
annealed.mean.against(exact)

# %% [markdown]
# - A likelihood sums to one over the values that data can take. For grey levels cut a density into bins, open at both
#   ends, and never subtract two numbers that are almost equal.
# - $\log p(x)$ is the log of a mean weight: logsumexp minus $\log K$. Say the unit, the number of draws, and both
#   errors.
# - A proposal needs about $e^{\mathrm{KL}}$ draws, with the divergence of the posterior from it. Training by the ELBO makes
#   the *other* divergence small, which forgives a $q$ that is too narrow.
# - A Gaussian fitted to each image, by a straight line through gradients, makes the weights even. It costs less than the
#   draws it saves.
# - Of two lower bounds the higher is closer. Simulated images come with their true $z$, which turns importance
#   sampling, or annealing, around and gives an upper bound as well.
# - $\log p(x)$ ranks predictions, not pictures.
#
# ### Three questions
#
# <details><summary><b>1.</b> A paper compares its model's log p(x) from 5,000 draws with another's ELBO. Whom does that favour, and by how much?</summary>
#
# The one with 5,000 draws. The ELBO is below log p(x) by the divergence of q from the posterior. The table in 5.7 shows
# both for each model: the difference is several nats, as much as separates the models.
# </details>
#
# <details><summary><b>2.</b> Why does the sandwich not work for real test images?</summary>
#
# Nobody knows a z from their posterior. The z that the encoder proposes, even the best of many, is not a draw from
# p(z|x), and the bound's proof needs one. On simulated images the check shows that the estimator works for this model
# and for images of its own kind; real ones are a little different, so k-hat must watch over them.
# </details>
#
# <details><summary><b>3.</b> A model trained with squared error on MNIST reports +1,500 nats. Is that better than -78?</summary>
#
# It is another kind of number: a log-density over real vectors, not a log-probability of levels or bits. It has no
# upper limit, and depends on the width assumed. Dequantize (add uniform noise) or discretize, and report bits per
# dimension of the same levels; then models compare.
# </details>
#
# ### Where to read on
#
# - [Theis, van den Oord and Bethge (2016)](https://arxiv.org/abs/1511.01844), *A note on the evaluation of generative
#   models*.
# - [Wu, Burda, Salakhutdinov and Grosse (2017)](https://arxiv.org/abs/1611.04273), *On the quantitative analysis of
#   decoder-based generative models*.
# - [Grosse, Ghahramani and Adams (2015)](https://arxiv.org/abs/1511.02543), *Sandwiching the marginal likelihood using
#   bidirectional Monte Carlo*.
# - [Salimans et al. (2017)](https://arxiv.org/abs/1701.05517), *PixelCNN++*: the discretized logistic mixture. [Kingma
#   et al. (2016)](https://arxiv.org/abs/1606.04934): the inverse autoregressive flow.
# - [Chatterjee and Diaconis (2018)](https://arxiv.org/abs/1511.01437), *The sample size required in importance
#   sampling*.
#
# **That was the course.** A project that overran and an image under a neural network asked the same question, and the
# same weighted average answered both: where do the draws go, what do they weigh, and what would make you doubt it?
