"""Named configurations, each with its source."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from tfvae.config import Config


class Recipe(NamedTuple):
    """A configuration to start from, with a line for people and its paper or code."""

    summary: str
    source: str
    config: Config


_BURDA = "Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016"
_MADDISON = "Maddison, Mnih and Teh, The Concrete Distribution, ICLR 2017"
_DONG = "Dong, Mnih and Tucker, DisARM, NeurIPS 2020, the field's protocol since"
_MATTEI = (
    "Mattei and Frellsen, MIWAE: Deep Generative Modelling and Imputation, ICML 2019"
)
_TF1 = (
    "the TF1 tutorial's code: 784-500-500-20-500-500-784 softplus, grey targets, Adam "
    "0.001, batch 100, 75 epochs"
)

_IWAE = Config(
    dataset="mnist",
    validation_size=400,
    latent="normal",
    latent_size=50,
    hidden_sizes=(200, 200),
    activation="tanh",
    objective="iwae",
    num_samples=50,
    epochs=3280,
    batch_size=20,
    learning_rate=1e-3,
    learning_rate_schedule="iwae",
)
_BEST = dataclasses.replace(
    _IWAE,
    activation="relu",
    num_samples=20,
    estimator="dreg",
    backward_samples=4,
    prior="mixture",
    num_components=50,
    epochs=540,
    batch_size=100,
    learning_rate=2e-3,
    learning_rate_schedule="cosine",
)
_MLP500 = Config(
    dataset="mnist",
    validation_size=5000,
    binarization="none",
    grey_targets=True,
    latent="normal",
    latent_size=20,
    hidden_sizes=(500, 500),
    activation="softplus",
    # From the mean image the Gaussian model ends without using z: a sigmoid near 0 or 1
    # has no slope, and the KL silences z before the decoder learns to read it.
    output_start="zero",
    objective="elbo",
    analytic_kl=True,
    epochs=75,
    batch_size=100,
    learning_rate=1e-3,
)
# 10^7 steps of 64 images of 50,000.
_CONCRETE = Config(
    dataset="mnist",
    validation_size=10_000,
    binarization="fixed",
    latent="bin_concrete",
    latent_size=200,
    temperature=2 / 3,
    prior_temperature=1 / 2,
    hidden_sizes=(),
    activation="tanh",
    objective="iwae",
    num_samples=5,
    epochs=12_800,
    batch_size=64,
    learning_rate=3e-4,
)
_LAYERS: dict[str, Any] = {"upper_latent_sizes": (200,), "upper_hidden_sizes": ()}
_NONLINEAR: dict[str, Any] = {"hidden_sizes": (200, 200), "learning_rate": 1e-4}

# 10^6 steps of 100 images of 50,000, and two evaluations of the decoder in each.
_DISCRETE = Config(
    dataset="mnist",
    validation_size=10_000,
    latent="bernoulli",
    latent_size=200,
    hidden_sizes=(200, 200),
    activation="leaky_relu",
    leaky_slope=0.3,
    center_inputs=True,
    objective="elbo",
    estimator="disarm",
    epochs=2000,
    batch_size=100,
    learning_rate=1e-3,
)

_M2 = Config(
    dataset="mnist",
    validation_size=10_000,
    binarization="none",
    grey_targets=True,
    condition="label",
    labels=100,
    classifier_weight=46.0,
    latent="normal",
    latent_size=50,
    hidden_sizes=(500,),
    activation="softplus",
    output_start="zero",
    objective="elbo",
    epochs=100,
    batch_size=200,
    learning_rate=4.2e-4,
)

RECIPES: Mapping[str, Recipe] = {
    "digits-binconcrete": Recipe(
        "relaxed Bernoulli latents on scikit-learn's digits; needs no download",
        "this project's demonstration; temperatures as Maddison et al. (2017) advise",
        Config(
            dataset="digits",
            latent="bin_concrete",
            latent_size=32,
            temperature=2 / 3,
            prior_temperature=0.5,
            hidden_sizes=(128, 128),
            activation="tanh",
            objective="iwae",
            num_samples=10,
            epochs=400,
            batch_size=100,
            learning_rate=3e-3,
            steps_per_execution=13,
        ),
    ),
    "digits-cvae": Recipe(
        "p(x|class) of scikit-learn's digits, with p(z|class); needs no download",
        "Sohn, Lee and Yan, Learning Structured Output Representation, NeurIPS 2015; "
        "this project's sizes",
        Config(
            dataset="digits",
            condition="label",
            prior="conditional",
            latent="normal",
            latent_size=16,
            hidden_sizes=(128, 128),
            activation="tanh",
            objective="iwae",
            num_samples=10,
            epochs=100,
            batch_size=100,
            learning_rate=2e-3,
        ),
    ),
    "mnist-cvae": Recipe(
        "p(x|class) of MNIST: mnist-iwae's networks with the class as condition",
        f"{_BURDA}, with a condition as in Sohn, Lee and Yan, NeurIPS 2015",
        dataclasses.replace(
            _IWAE,
            condition="label",
            num_samples=5,
            epochs=50,
            batch_size=100,
            learning_rate_schedule="cosine",
        ),
    ),
    "digits-miwae": Recipe(
        "scikit-learn's digits of which half of the pixels are missing; no download",
        f"{_MATTEI}; this project's sizes",
        Config(
            dataset="digits",
            missing="mcar",
            missing_share=0.5,
            latent="normal",
            latent_size=16,
            hidden_sizes=(128, 128),
            activation="tanh",
            objective="iwae",
            num_samples=20,
            epochs=100,
            batch_size=100,
            learning_rate=2e-3,
        ),
    ),
    "mnist-miwae": Recipe(
        "MNIST of which half of the pixels are missing, on mnist-iwae's networks",
        f"{_MATTEI}; this project's settings",
        dataclasses.replace(
            _IWAE,
            missing="mcar",
            missing_share=0.5,
            num_samples=5,
            epochs=50,
            batch_size=100,
            learning_rate_schedule="cosine",
        ),
    ),
    "mnist-m2-best": Recipe(
        "mnist-m2 with a classifier that sees images moved, for few labels",
        "Kingma et al., NeurIPS 2014; this project's classifier and settings",
        dataclasses.replace(
            _M2,
            label_repeats=100,
            classifier="augmented",
            activation="relu",
            epochs=50,
            learning_rate=1e-3,
            learning_rate_schedule="cosine",
        ),
    ),
    "mnist-m2": Recipe(
        "semi-supervised: 100 labels of MNIST, the others summed out exactly",
        "Kingma et al., Semi-supervised Learning with Deep Generative Models, NeurIPS "
        "2014, with the settings of Pyro's tutorial: hidden 500 softplus, 50 latents, "
        "Adam 4.2e-4 (beta1 0.9), batch 200, classifier weight 46",
        _M2,
    ),
    "mnist-aevb": Recipe(
        "the first VAE: one hidden layer, closed-form KL (or --analytic-kl False)",
        "Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014, with Adam in "
        "place of Adagrad",
        Config(
            dataset="mnist",
            latent="normal",
            latent_size=20,
            hidden_sizes=(500,),
            activation="tanh",
            output_start="zero",
            objective="elbo",
            analytic_kl=True,
            epochs=100,
            batch_size=100,
            learning_rate=1e-3,
        ),
    ),
    "mnist-mlp400": Recipe(
        "the Pyro tutorial's VAE on grey targets",
        "Pyro's tutorial on variational autoencoders: hidden 400 softplus, 50 latents, "
        "Adam 0.001, batch 256, 101 epochs",
        dataclasses.replace(
            _MLP500,
            validation_size=0,
            latent_size=50,
            hidden_sizes=(400,),
            analytic_kl=False,
            epochs=101,
            batch_size=256,
        ),
    ),
    "mnist-mlp500-bernoulli": Recipe(
        "the TF1 tutorial's VAE, cross-entropy with grey targets", _TF1, _MLP500
    ),
    "mnist-mlp500-gaussian": Recipe(
        "the TF1 tutorial's VAE, squared error of a sigmoid mean",
        _TF1,
        dataclasses.replace(
            _MLP500,
            likelihood="normal_fixed_scale",
            likelihood_scale=1.0,
            grey_targets=False,
        ),
    ),
    "mnist-iwae": Recipe(
        "the one-layer importance-weighted autoencoder, k = 50, on MNIST", _BURDA, _IWAE
    ),
    "mnist-iwae-2l": Recipe(
        "the two-layer importance-weighted autoencoder, k = 50, on MNIST",
        _BURDA,
        dataclasses.replace(
            _IWAE,
            latent_size=100,
            upper_latent_sizes=(50,),
            upper_hidden_sizes=(100, 100),
        ),
    ),
    "mnist-dreg": Recipe(
        "mnist-iwae with doubly reparameterised gradients",
        "Tucker, Lawson, Gu and Maddison, Doubly Reparameterized Gradient Estimators, "
        "ICLR 2019; model and schedule of Burda et al. (2016)",
        dataclasses.replace(_IWAE, estimator="dreg"),
    ),
    "mnist-best": Recipe(
        "the best that was found for an hour on two cores that have bfloat16, with the "
        "layer sizes of mnist-iwae",
        "this project's own",
        dataclasses.replace(
            _BEST,
            activation="gelu",
            center_inputs=True,
            num_components=500,
            epochs=440,
            dtype_policy="mixed_bfloat16",
        ),
    ),
    "mnist-best-any": Recipe(
        "the best that was found for about an hour on two cores, with any architecture",
        "this project's own",
        dataclasses.replace(
            _BEST,
            network="conv",
            hidden_sizes=(32, 64),
            num_samples=8,
            backward_samples=2,
            epochs=200,
        ),
    ),
    "mnist-binconcrete": Recipe(
        "relaxed Bernoulli latents in logit space, multi-sample bound, on MNIST",
        f"{_MADDISON}, appendix C",
        Config(
            dataset="mnist",
            latent="bin_concrete",
            latent_size=128,
            temperature=0.5,
            prior_temperature=0.5,
            hidden_sizes=(512, 256),
            activation="relu",
            objective="iwae",
            num_samples=5,
            epochs=50,
            batch_size=100,
        ),
    ),
    "mnist-discrete": Recipe(
        "the comparison of estimators for 200 Bernoulli variables, nonlinear networks",
        _DONG,
        _DISCRETE,
    ),
    "mnist-discrete-linear": Recipe(
        "the same with linear networks",
        _DONG,
        dataclasses.replace(
            _DISCRETE, hidden_sizes=(), activation="tanh", leaky_slope=None
        ),
    ),
    "fashion-discrete": Recipe(
        "mnist-discrete on Fashion-MNIST",
        _DONG,
        dataclasses.replace(_DISCRETE, dataset="fashion_mnist", learning_rate=3e-4),
    ),
    "mnist-best-discrete": Recipe(
        "the best of 200 Bernoulli variables that was found for about an hour on two "
        "cores, with the networks of mnist-discrete",
        "this project's own",
        dataclasses.replace(
            _DISCRETE,
            validation_size=None,
            objective="iwae",
            estimator="vimco",
            num_samples=20,
            backward_samples=5,
            epochs=250,
            learning_rate=2e-3,
            learning_rate_schedule="cosine",
        ),
    ),
    "mnist-concrete-200": Recipe(
        "200H-784V: one linear layer of 200 relaxed Bernoulli variables",
        _MADDISON,
        _CONCRETE,
    ),
    "mnist-concrete-200nl": Recipe(
        "200H~784V: the same with two tanh layers between",
        _MADDISON,
        dataclasses.replace(_CONCRETE, **_NONLINEAR),
    ),
    "mnist-concrete-200-200": Recipe(
        "200H-200H-784V: two linear layers of 200 relaxed Bernoulli variables",
        _MADDISON,
        dataclasses.replace(_CONCRETE, **_LAYERS),
    ),
    "mnist-concrete-200nl-200nl": Recipe(
        "200H~200H~784V: the same with two tanh layers between",
        _MADDISON,
        dataclasses.replace(
            _CONCRETE, **_LAYERS | _NONLINEAR | {"upper_hidden_sizes": (200, 200)}
        ),
    ),
}
