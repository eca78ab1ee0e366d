"""The words of a page for the names in an evaluation and a history."""

from __future__ import annotations

from collections.abc import Mapping

TITLES: Mapping[str, str] = {
    # Estimates.
    "log_likelihood": "Bound on log p(x), L_K",
    "elbo": "ELBO",
    "loss": "Loss",
    "bound": "Bound of the objective",
    "distortion": "Distortion, -E log p(x|z)",
    "rate": "Rate, KL of q(z|x) from p(z)",
    "ess": "Effective sample size",
    "acceptance": "Acceptance of the moves",
    "lower": "Lower bound",
    "upper": "Upper bound",
    "lower_acceptance": "Acceptance, lower bound",
    "upper_acceptance": "Acceptance, upper bound",
    "above_log_likelihood": "Above L_K",
    "divergence": "KL of q(z) from p(z)",
    "mutual_information": "Mutual information of image and z",
    "mutual_information_at_most": "Most that can be found with so many images",
    "encoder": "ELBO of the encoder's q(z|x)",
    "refined": "ELBO of the best q of its family, for each image",
    "linear": "The same, pushed by a linear map",
    "flow": "The same, pushed by a flow",
    "total": "Whole gap, log p(x) - ELBO",
    "amortisation": "Amortisation gap",
    "approximation": "Approximation gap",
    "linear_gain": "Gain of a linear map",
    "flow_gain": "Gain of a flow beyond",
    "rest": "log p(x) above the best flow",
    "bdmc_width": "Width of the bracket of log p(x) (BDMC)",
    # Conditions.
    "dataset": "Data set",
    "split": "Split",
    "limit": "Limit of images",
    "num_images": "Images",
    "binarization": "Binarisation",
    "binarization_seed": "Seed of the binarisation",
    "num_samples": "Samples an image, K",
    "seed": "Seed",
    "batch_size": "Images at a time",
    "chunk_size": "Samples at a time",
    "step": "Training steps",
    "evaluations_per_step": "Evaluations of the decoder a step, for an image",
    "date": "Date",
    "device": "Device",
    "model": "Model",
    "bounds": "Bounds are on",
    "images_with_ess_below_2": "Images with an effective sample size below 2",
    "num_chains": "Chains an image",
    "num_steps": "Steps of the path",
    "gap_steps": "Steps of each image's posterior",
    "num_leapfrog_steps": "Leapfrog steps of a move",
    "initial": "Start of the chains",
    "method": "Method",
    # Latent variables.
    "active_above": "Active above a variance of",
    "active_units": "Active units",
    "mean_variances": "Variances of the posterior means",
    "means": "Posterior means are",
    "variable_rates": "Rates of the variables, in nats",
    "variable_rates_standard_error": "Standard errors of these rates",
    "rates": "Rates are",
    # Parts.
    "results": "Results",
    "posterior": "Latent variables",
    "layers": "layer",
    "aggregate": "Aggregate posterior",
    "discrete_twin": "Discrete twin",
    "gap": "Relaxed model minus discrete twin",
    "ais": "Annealed importance sampling",
    "bdmc": "Bounds from both sides (BDMC)",
    "gaps": "Where the nats go",
    "elbos": "Bounds on log p(x)",
    "differences": "Gaps",
    "versions": "Versions",
}
"""Of every name that `evaluate_run` writes, and of what the training table shows."""


def title_of(name: object) -> str:
    """Returns the words for a name; a name without any has its own, with spaces."""
    text = str(name)
    return TITLES.get(text) or text.replace("_", " ")
