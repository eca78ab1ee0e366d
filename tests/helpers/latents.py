"""What each latent family is, written out apart from the classes."""

from __future__ import annotations

# Draws have no gradient.
DISCRETE = ("bernoulli", "categorical")
# A variable is a vector of classes.
ONE_HOT = ("categorical", "concrete")
# They relax a discrete family, and have temperatures.
RELAXED = ("bin_concrete", "concrete")
# TFP has a closed KL divergence from the posterior to the standard prior.
CLOSED_FORM = ("normal", "multivariate_normal", *DISCRETE)
# The variables depend on each other.
DEPENDENT = ("multivariate_normal", "flow")
# Some posterior is the prior, at any temperature, so that priors can be learned.
LEARNED_PRIORS = ("normal", "logistic", "multivariate_normal", *DISCRETE)
