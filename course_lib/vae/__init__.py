"""Half two of the course: latent variable models, whose log-weights become bounds on log p(x) and log p(x) itself.

Start with `VAE` and its `log_weights(x, k)`; reduce them with `elbo` or `iwae_bound`; or let `log_likelihood` draw
as many as it takes. `LinearGaussianVAE` knows the exact answers.
"""

from course_lib.vae.annealing import annealed_importance_sampling
from course_lib.vae.annealing_settings import Annealing
from course_lib.vae.bounds import elbo, iwae_bound
from course_lib.vae.dense import VAE, TwoLayerVAE
from course_lib.vae.distributions import CategoricalLevels, DiscretizedLogisticMixture
from course_lib.vae.evidence import Evidence, log_likelihood
from course_lib.vae.image_vae import ImageVAE
from course_lib.vae.ladder import LadderVAE
from course_lib.vae.linear_gaussian import LinearGaussianVAE
from course_lib.vae.models import LatentVariableModel
from course_lib.vae.sandwich import bidirectional_bounds

__all__ = [
    "VAE",
    "Annealing",
    "CategoricalLevels",
    "DiscretizedLogisticMixture",
    "Evidence",
    "ImageVAE",
    "LadderVAE",
    "LatentVariableModel",
    "LinearGaussianVAE",
    "TwoLayerVAE",
    "annealed_importance_sampling",
    "bidirectional_bounds",
    "elbo",
    "iwae_bound",
    "log_likelihood",
]
