"""Names of parts for the command line, without TensorFlow.

A test keeps them equal to the names of the tables.
"""

from typing import Literal

Binarization = Literal["dynamic", "fixed", "threshold", "none"]
NetworkName = Literal["mlp", "conv"]
LikelihoodName = Literal[
    "bernoulli",
    "continuous_bernoulli",
    "normal",
    "normal_fixed_scale",
    "normal_shared_scale",
    "laplace",
    "logistic",
    "student_t",
    "discretized_logistic",
    "discretized_logistic_mixture",
    "categorical",
]
LatentName = Literal[
    "normal",
    "logistic",
    "student_t",
    "multivariate_normal",
    "flow",
    "bin_concrete",
    "concrete",
    "bernoulli",
    "categorical",
]
PriorName = Literal["standard", "learned", "mixture", "vamp", "conditional"]
ConditionName = Literal["label"]
ClassifierName = Literal["as_encoder", "augmented"]
MissingName = Literal["mcar", "mar"]
ObjectiveName = Literal[
    "elbo", "iwae", "renyi", "vr_iwae", "ciwae", "miwae", "piwae", "tvo"
]
EstimatorName = Literal[
    "pathwise",
    "stl",
    "dreg",
    "reinforce",
    "vimco",
    "disarm",
    "arms",
    "double_cv",
    "rodeo",
    "bitflip",
    "ugc",
    "rebar",
    "relax",
    "ovis",
    "rws",
    "straight_through",
    "reinmax",
    "gumbel_rao",
]
AnomalyScore = Literal["likelihood", "typicality", "regret", "dose"]
OptimizerName = Literal["adam", "adamax", "adamw", "nadam", "rmsprop", "sgd"]
ActivationName = Literal[
    "tanh", "relu", "softplus", "elu", "selu", "gelu", "silu", "leaky_relu", "sigmoid"
]
LearningRateSchedule = Literal["constant", "cosine", "exponential", "iwae"]
KlSchedule = Literal["linear", "cyclical"]
TemperatureSchedule = Literal["linear", "exponential"]
Monitored = Literal["val_loss", "val_elbo", "loss", "elbo"]
DtypePolicy = Literal["float32", "mixed_bfloat16", "mixed_float16"]
