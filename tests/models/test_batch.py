"""Examples are read in one place, whatever form they come in."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from helpers.models import binary_images, tiny_vae

from tfvae.core.types import InputError
from tfvae.evaluation import posterior_summary, score_images
from tfvae.models import VAE, Batch, ConditionalDistribution
from tfvae.models.batch import read_batch

X = binary_images(4)
LABELS = np.array([3, -1, 0, 2])
WEIGHTS = np.array([1.0, 0.5, 2.0, 0.0], np.float32)

FORMS = {
    "x": (X, None, None),
    "a tuple of x": ((X,), None, None),
    "x and labels": ((X, LABELS), LABELS, None),
    "x, labels and weights": ((X, LABELS, WEIGHTS), LABELS, WEIGHTS),
    "x and weights": ((X, None, WEIGHTS), None, WEIGHTS),
    "x as its own target": ((X, X), None, None),
    "a dictionary": ({"x": X, "label": LABELS}, LABELS, None),
    "as TFDS names it": ({"image": X, "label": LABELS}, LABELS, None),
    "a dictionary and weights": (({"x": X}, None, WEIGHTS), None, WEIGHTS),
    "a dictionary with weights": ({"x": X, "sample_weight": WEIGHTS}, None, WEIGHTS),
    "a batch": (Batch(X, label=LABELS), LABELS, None),
}


def equal(found, wanted) -> bool:
    return found is wanted if wanted is None else np.array_equal(found, wanted)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_same_roles(form):
    data, label, weight = FORMS[form]
    batch = read_batch(data)
    assert np.array_equal(batch.x, X)
    assert equal(batch.label, label) and equal(batch.sample_weight, weight)
    assert batch.condition is batch.observed is batch.shard is None


@pytest.mark.quick(3)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_trains_scores_and_is_encoded_alike(form):
    data, _, weight = FORMS[form]
    vae = tiny_vae(seed=3)
    vae.compile("sgd", num_samples=2, seed=1)
    weighted = (X, None, weight)
    for method in (vae.test_step, vae.train_step):
        found, wanted = [], []
        for given, results in ((data, found), (weighted, wanted)):
            vae.set_weights(tiny_vae(seed=3).get_weights())
            vae.reset_metrics()
            results.append({k: float(v) for k, v in method(given).items()})
        assert found == wanted
    plain = vae.encode(X).mean()
    np.testing.assert_array_equal(vae.encode(read_batch(data)).mean(), plain)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"label": LABELS}, "'x' (or 'image')"),
        ({"x": X, "image": X}, "'x' (or 'image')"),
        ({"x": X, "labels": LABELS}, "nothing but condition, observed, label"),
        ({"x": X, 3: X}, "nothing but condition"),
        ({"x": X, "condition": LABELS}, "role 'condition', for which this model"),
        ({"x": X, "observed": X}, "role 'observed', for which this model"),
    ],
)
def test_no_role_is_dropped_in_silence(data, said):
    vae = tiny_vae()
    vae.compile("sgd")
    for method in (vae.as_batch, vae.encode, vae.train_step, vae.reconstruct):
        with pytest.raises(InputError) as caught:
            method(data)
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (({"x": X, "label": LABELS}, LABELS), "its label twice"),
        (
            ({"x": X, "sample_weight": WEIGHTS}, None, WEIGHTS),
            "its sample_weight twice",
        ),
    ],
)
def test_a_role_that_is_given_twice_is_refused(data, said):
    with pytest.raises(InputError, match=said):
        read_batch(data)


@pytest.mark.parametrize("use", ["refine", "embed", "score", "impute"])
def test_batches_without_an_end_are_refused(use):
    vae, endless = tiny_vae(), tf.data.Dataset.from_tensors(X).repeat()
    uses = {
        "refine": lambda: vae.refine(endless, num_steps=1),
        "embed": lambda: vae.embed(endless),
        "score": lambda: score_images(vae, endless, 2),
        "impute": lambda: vae.with_missing("mar").impute(endless),
    }
    with pytest.raises(InputError, match=r"have no end.*evaluation_batches"):
        uses[use]()


def test_weights_that_scores_would_not_use_are_refused():
    batches = [{"x": X, "sample_weight": WEIGHTS}]
    for score in (score_images, posterior_summary):
        with pytest.raises(InputError, match="sample_weight, which has no effect"):
            score(tiny_vae(), batches, 2)


class Shifted(ConditionalDistribution):
    """A decoder of a user's own."""

    def call(self, inputs, training=None):
        return self.head(self.params(inputs, training) + 1.0)


def test_a_users_own_decoder_is_what_decodes():
    vae = tiny_vae()
    decoder = Shifted(vae.decoder.network, vae.decoder.head)
    own = VAE(vae.encoder, decoder, vae.latent)
    z = tf.zeros([2, 3])
    logits = vae.decode(z).distribution.logits
    np.testing.assert_array_equal(own.decode(z).distribution.logits, logits + 1.0)
    with pytest.raises(InputError, match="Shifted has a call of its own"):
        VAE(Shifted(vae.encoder.network, vae.encoder.head), decoder, vae.latent)
    terms, plain = (m.log_weight_terms(X, 2, seed=0) for m in (own, vae))
    assert np.all(terms.log_likelihood != plain.log_likelihood)


def test_rows_are_those_of_every_role():
    batch = Batch(tf.constant(X), label=LABELS, sample_weight=WEIGHTS)
    part = batch.rows(1, 3)
    assert part.size == 2 and part.condition is None
    assert np.array_equal(part.x, X[1:3]) and np.array_equal(part.label, LABELS[1:3])
    assert np.array_equal(part.sample_weight, WEIGHTS[1:3])


def test_a_data_set_of_dictionaries_is_fitted_and_evaluated():
    data = tf.data.Dataset.from_tensor_slices({"x": X, "label": LABELS}).batch(2)
    vae = tiny_vae(seed=3)
    vae.compile("sgd", num_samples=2)
    vae.fit(data, verbose=0, validation_data=data)
    found = vae.evaluate(data, verbose=0, return_dict=True)
    assert found == vae.evaluate(X, batch_size=2, verbose=0, return_dict=True)
    assert all(isinstance(value, float) for value in found.values())
