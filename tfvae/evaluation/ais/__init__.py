"""Annealed importance sampling: log p(x) closer than a bound from q(z|x), and checked.

Chains start at p_0, the prior or q(z|x), and move by Hamiltonian Monte Carlo along

    log p_t(z) = log p_0(z) + t (log p(x, z) - log p_0(z)),    t from 0 to 1

The product w of the steps' density ratios has mean p(x) (Neal, 2001), so that the log
of a mean of w is a lower bound on log p(x), in expectation. Run backwards, from an
exact draw of p(z|x), it has mean 1 / p(x), which gives an upper bound; on data that the
model made itself such draws are at hand: bidirectional Monte Carlo, BDMC (Grosse,
Ghahramani and Adams, 2015). Wu et al. (2017) evaluate decoders so.
"""

from tfvae.evaluation.ais.bounds import AisScores, Bdmc, ais_log_likelihood, bdmc

__all__ = ["AisScores", "Bdmc", "ais_log_likelihood", "bdmc"]
