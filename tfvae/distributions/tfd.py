"""All names of TensorFlow Probability that the package uses.

Another build of it, or a frozen copy, changes this file alone.
"""

import tensorflow_probability as tfp

CHECKED_WITH = "0.25.0"
"""The version with which these names were checked; a test compares it."""

FULLY_REPARAMETERIZED = tfp.distributions.FULLY_REPARAMETERIZED
NOT_REPARAMETERIZED = tfp.distributions.NOT_REPARAMETERIZED
AutoCompositeTensorDistribution = tfp.distributions.AutoCompositeTensorDistribution
Distribution = tfp.distributions.Distribution
Independent = tfp.distributions.Independent
MixtureSameFamily = tfp.distributions.MixtureSameFamily
Sample = tfp.distributions.Sample

Bernoulli = tfp.distributions.Bernoulli
Categorical = tfp.distributions.Categorical
ContinuousBernoulli = tfp.distributions.ContinuousBernoulli
ExpRelaxedOneHotCategorical = tfp.distributions.ExpRelaxedOneHotCategorical
Gamma = tfp.distributions.Gamma
Laplace = tfp.distributions.Laplace
Logistic = tfp.distributions.Logistic
MultivariateNormalDiag = tfp.distributions.MultivariateNormalDiag
MultivariateNormalTriL = tfp.distributions.MultivariateNormalTriL
Normal = tfp.distributions.Normal
OneHotCategorical = tfp.distributions.OneHotCategorical
Poisson = tfp.distributions.Poisson
StudentT = tfp.distributions.StudentT

kl_divergence = tfp.distributions.kl_divergence
ParameterProperties = tfp.util.ParameterProperties
Softplus = tfp.bijectors.Softplus
fill_triangular = tfp.math.fill_triangular
fill_triangular_inverse = tfp.math.fill_triangular_inverse
log_gamma_correction = tfp.math.log_gamma_correction
sanitize_seed = tfp.random.sanitize_seed

HamiltonianMonteCarlo = tfp.mcmc.HamiltonianMonteCarlo
TransitionKernel = tfp.mcmc.TransitionKernel
sample_annealed_importance_chain = tfp.mcmc.sample_annealed_importance_chain
