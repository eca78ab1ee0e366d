"""The names of a run's plots, each with a line of words; imports nothing heavy."""

from collections.abc import Mapping

PLOT_KINDS: Mapping[str, str] = {
    "reconstructions": "test images, and what the model makes of their codes",
    "samples": "images from the model: means of p(x|z), and draws from it",
    "prior_traversal": "single variables moved, the others at the prior's median",
    "posterior_traversal": "single variables of one image's code moved",
    "interpolations": "from one test image's code to another's, in equal steps",
    "latent_scatter": "posterior means of test images, coloured by label",
    "rates": "how many nats each latent variable carries, and which are active",
    "training_curves": "what fit reported, epoch by epoch",
    "importance_weights": "how the weights of an image's samples are spread",
}
"""One line on each plot, in the order in which they are drawn."""
