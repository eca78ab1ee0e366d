"""What latent families and their heads refuse."""

from __future__ import annotations

import numpy as np
import pytest

from tfvae.core.types import InputError
from tfvae.heads import FlowHead
from tfvae.latents import (
    LATENTS,
    BernoulliLatent,
    CategoricalLatent,
    ConcreteLatent,
    FlowLatent,
)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LATENTS["multivariate_normal"](0), "latent_size 0"),
        (lambda: BernoulliLatent(2.0), "latent_size 2.0"),
        (lambda: CategoricalLatent(2, 1), "num_classes 1"),
        (lambda: ConcreteLatent(2, 1), "num_classes 1"),
        (lambda: ConcreteLatent(2, True), "num_classes True"),
        (lambda: ConcreteLatent(2, 3, temperature=0), "temperature 0"),
        (lambda: ConcreteLatent(2, 3, prior_temperature=-1), "prior_temperature -1"),
        (lambda: FlowLatent(1), "latent_size 1 is not usable with FlowLatent"),
        (lambda: FlowLatent(2, num_flows=0), "num_flows 0"),
        (lambda: FlowLatent(2, hidden_sizes=64), "hidden_sizes 64"),
        (lambda: FlowLatent(2, hidden_sizes=(8, 0)), "hidden_sizes (8, 0)"),
        (lambda: FlowLatent(2, seed=-1), "seed -1"),
        (lambda: FlowHead((2, 2)), "event_shape (2, 2) of FlowHead"),
        (
            lambda: LATENTS["multivariate_normal"](2).posterior_head()(
                np.zeros([1, 4])
            ),
            "needs them to end in (5,)",
        ),
        (
            lambda: CategoricalLatent(2, 3).posterior_head()(np.zeros([1, 6])),
            "needs them to end in (2, 3)",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(make, said):
    with pytest.raises(InputError) as refused:
        make()
    assert said in str(refused.value) and "\n" not in str(refused.value)
