"""A head whose distribution is a normalising flow, for posteriors."""

import contextlib
from collections.abc import Sequence
from typing import Any, Protocol, cast

import keras
import tensorflow as tf

from tfvae.core.seeds import derive_int
from tfvae.core.types import InputError
from tfvae.core.validation import SEEDS, require_int
from tfvae.distributions import Normal, tfd
from tfvae.heads.base import MIN_SCALE, DistributionHead

# A coupling scales by exp(-2) to exp(2): chains of them stay within float32.
MAX_LOG_SCALE = 2.0


class FlowStep(Protocol):
    """An invertible map of z [..., D]."""

    def forward(self, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns z [..., D] and log |det dz/du| [...] for u [..., D]."""

    def inverse(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns u [..., D] and log |det dz/du| [...] for z [..., D]."""


class AffineCoupling:
    """An affine coupling (Dinh, Sohl-Dickstein and Bengio, 2017, eq. 4 to 8).

        moved' = moved exp(log_scale(given)) + shift(given),    given' = given

    Attributes:
        sizes: The sizes of the two parts of the variables.
        swapped: True to move the first part.
    """

    sizes: tuple[int, int]
    swapped: bool

    def shift_and_log_scale(self, given: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (shift, log_scale), each [..., moved], for [..., given]."""
        raise NotImplementedError

    def forward(self, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns z [..., D] and log |det dz/du| [...] for u [..., D]."""
        given, moved = self.split(u)
        shift, log_scale = self.shift_and_log_scale(given)
        z = self.join(given, moved * tf.exp(log_scale) + shift)
        return z, tf.reduce_sum(log_scale, axis=-1)

    def inverse(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns u [..., D] and log |det dz/du| [...] for z [..., D]."""
        given, moved = self.split(z)
        shift, log_scale = self.shift_and_log_scale(given)
        u = self.join(given, (moved - shift) * tf.exp(-log_scale))
        return u, tf.reduce_sum(log_scale, axis=-1)

    def split(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (given, moved) of z [..., D]."""
        first, second = tf.split(z, self.sizes, axis=-1)
        return (second, first) if self.swapped else (first, second)

    def join(self, given: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        """Returns the z that `split` splits."""
        return tf.concat([moved, given] if self.swapped else [given, moved], axis=-1)


class Coupling(keras.layers.Layer, AffineCoupling):
    """An affine coupling with weights of its own, the same for every example.

    Its log_scale is bounded by tanh. It starts as the identity.

    Args:
        size: D; the first D // 2 variables are one part, the others the other.
        swapped: True to move the first part.
        hidden_sizes: The units of the network from given to (shift, log_scale).
        seed: The seed of its initial weights.
    """

    def __init__(
        self, size: int, swapped: bool, hidden_sizes: Sequence[int], seed: int, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.sizes, self.swapped = (size // 2, size - size // 2), swapped
        given, moved = self.sizes[::-1] if swapped else self.sizes
        self.network: list[keras.layers.Dense] = []
        for index, units in enumerate(hidden_sizes):
            glorot = keras.initializers.GlorotUniform(derive_int(seed, f"{index}"))
            self._add(given, units, activation="tanh", kernel_initializer=glorot)
            given = units
        self._add(given, 2 * moved, kernel_initializer="zeros")
        self.built = True

    def _add(self, inputs: int, units: int, **kwargs) -> None:
        layer = keras.layers.Dense(units, dtype=self.compute_dtype, **kwargs)
        layer.build((None, inputs))
        self.network.append(layer)

    def call(self, given: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (shift, log_scale), each [..., moved], for [..., given]."""
        x = given
        for layer in self.network:
            x = layer(x)
        return shift_and_log_scale(x)

    def shift_and_log_scale(self, given: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (shift, log_scale), each [..., moved], for [..., given]."""
        return self(given)


def shift_and_log_scale(raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the halves of a coupling network's output, the second one bounded."""
    shift, raw = tf.split(raw, 2, axis=-1)
    return shift, MAX_LOG_SCALE * tf.tanh(raw / MAX_LOG_SCALE)


class CouplingFlow(tfd.Distribution):
    """A base distribution pushed through couplings.

        log q(z) = log base(u) - sum_l sum log_scale_l,    z = f_L(...f_1(u))

    TFP's bijectors do not serve: they look up the inverse of a tensor in a cache that
    takes two bijectors with the same variables for one, also after the variables have
    changed or when one is to pass no gradient.

    Args:
        base: The distribution of u, batch shape [...], event shape [D].
        couplings: The steps from u to z.
        stopped: True if the weights of the couplings are constants to `log_prob`; the
            steps are layers then.
    """

    def __init__(
        self,
        base: tfd.Distribution,
        couplings: Sequence[FlowStep],
        stopped: bool = False,
        name: str = "CouplingFlow",
    ) -> None:
        parameters = dict(locals())
        self.base, self.stopped = base, stopped
        self._couplings = tuple(couplings)
        super().__init__(
            dtype=base.dtype,
            reparameterization_type=base.reparameterization_type,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    def forward(self, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns z [..., D] and log |det dz/du| [...] for u [..., D]."""
        log_det = tf.zeros(tf.shape(u)[:-1], u.dtype)
        with self._constants():
            for step in self._couplings:
                u, own = step.forward(u)
                log_det += own
        return u, log_det

    def inverse(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns u [..., D] and log |det dz/du| [...] for z [..., D]."""
        log_det = tf.zeros(tf.shape(z)[:-1], z.dtype)
        with self._constants():
            for step in reversed(self._couplings):
                z, own = step.inverse(z)
                log_det += own
        return z, log_det

    def point_estimate(self) -> tf.Tensor:
        """Returns the z of the base's mean, [..., D]; the mean of z is not known."""
        return self.forward(self.base.mean())[0]

    def _constants(self) -> contextlib.AbstractContextManager[Any]:
        """Returns a scope in which no gradient reaches the couplings' weights."""
        if not self.stopped:
            return contextlib.nullcontext()
        layers = cast(Sequence[Coupling], self._couplings)
        weights = [weight for layer in layers for weight in layer.variables]
        fixed = [(weight, tf.stop_gradient(weight)) for weight in weights]
        return keras.StatelessScope(state_mapping=fixed)

    def _log_prob(self, z: tf.Tensor) -> tf.Tensor:
        u, log_det = self.inverse(z)
        return self.base.log_prob(u) - log_det

    def _sample_n(self, n: int, seed: tf.Tensor | None = None) -> tf.Tensor:
        return self.forward(self.base.sample(n, seed=seed))[0]

    def _sample_and_log_prob(
        self, sample_shape: tf.Tensor, seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        u = self.base.sample(sample_shape, seed=seed)
        z, log_det = self.forward(u)
        return z, self.base.log_prob(u) - log_det

    def _batch_shape(self) -> tf.TensorShape:
        return self.base.batch_shape

    def _batch_shape_tensor(self) -> tf.Tensor:
        return self.base.batch_shape_tensor()

    def _event_shape(self) -> tf.TensorShape:
        return self.base.event_shape

    def _event_shape_tensor(self) -> tf.Tensor:
        return self.base.event_shape_tensor()


def check_flow(
    num_flows: int, hidden_sizes: Sequence[int], seed: int
) -> tuple[int, tuple[int, ...], int]:
    """Returns the arguments of `FlowHead` as ints and a tuple of ints.

    Raises:
        InputError: if one is out of range.
    """
    if not isinstance(hidden_sizes, (tuple, list)):
        raise InputError(
            f"hidden_sizes {hidden_sizes!r} of FlowHead is not usable; give a "
            "tuple of ints, for example (64,)"
        )
    whole = f"a size in hidden_sizes {tuple(hidden_sizes)}:"
    sizes = tuple(require_int(whole, size) for size in hidden_sizes)
    return (
        require_int("num_flows", num_flows),
        sizes,
        require_int("seed", seed, 0, SEEDS),
    )


@keras.saving.register_keras_serializable(package="tfvae")
class FlowHead(DistributionHead):
    """RealNVP: couplings with weights of the head, on a Normal from the network.

    The base is Normal(loc, softplus(raw) + 1e-5) as `NormalHead`'s; the couplings take
    turns in which half of the variables they move (Dinh, Sohl-Dickstein and Bengio,
    2017), and are the same for every example.

    Args:
        event_shape: (D,) with D of 2 or more.
        num_flows: The number of couplings; one moves only half the variables.
        hidden_sizes: The units of each coupling's network.
        seed: The seed of the couplings' initial weights.

    Raises:
        InputError: if a value is out of range.
    """

    num_params = 2
    elementwise = False

    def __init__(
        self,
        event_shape: Sequence[int],
        num_flows: int = 2,
        hidden_sizes: Sequence[int] = (64,),
        seed: int = 0,
        **kwargs,
    ) -> None:
        super().__init__(event_shape, **kwargs)
        if len(self.event_shape) != 1 or self.event_shape[0] < 2:
            raise InputError(
                f"event_shape {self.event_shape} of FlowHead is not usable: a coupling "
                "moves some variables given the others; give one axis of 2 or more"
            )
        self.num_flows, self.hidden_sizes, self.seed = check_flow(
            num_flows, hidden_sizes, seed
        )
        self.couplings = [
            Coupling(
                self.event_shape[0],
                swapped=index % 2 == 1,
                hidden_sizes=self.hidden_sizes,
                seed=derive_int(self.seed, f"coupling/{index}"),
                dtype=self.compute_dtype,
            )
            for index in range(self.num_flows)
        ]

    def distribution(self, params: tf.Tensor) -> tfd.Distribution:
        """Returns the base's single variables for (loc, raw scale) [..., 2 D]."""
        loc, raw_scale = self.split(params)
        return Normal(loc, tf.nn.softplus(raw_scale) + MIN_SCALE)

    def call(self, params: tf.Tensor, stopped: bool = False) -> CouplingFlow:
        """Returns the distribution for parameters [..., 2 D]."""
        base = tfd.Independent(self.distribution(params), 1)
        return CouplingFlow(base, self.couplings, stopped)

    def stopped(self, params: tf.Tensor) -> CouplingFlow:
        """Returns the distribution that passes no gradient but that of z."""
        return self(tf.stop_gradient(params), stopped=True)

    def named_params(self, distribution: CouplingFlow) -> dict[str, tf.Tensor]:
        """Returns the base's location and scale, [..., D]."""
        base = distribution.base.distribution
        return {"base_loc": base.loc, "base_scale": base.scale}

    def get_config(self) -> dict:
        """Returns the arguments that rebuild this head."""
        return {
            **super().get_config(),
            "num_flows": self.num_flows,
            "hidden_sizes": self.hidden_sizes,
            "seed": self.seed,
        }
