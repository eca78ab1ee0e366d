"""Posteriors of single examples, pushed through a flow of the example's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.core.seeds import derive_int
from tfvae.heads.base import DistributionHead
from tfvae.heads.latent_flow import (
    AffineCoupling,
    CouplingFlow,
    FlowStep,
    shift_and_log_scale,
)

_UNITS = 8  # of the hidden layer of an example's coupling


class LocalFlowHead:
    """Parameters [B, P] of single examples -> q(z), batch [B].

        z = c + s f((u - c) / s),    u ~ base(z)
        f = f_L o ... o f_1 o (I + N)

    N is strictly lower triangular and each f_l an affine coupling with one hidden layer
    of tanh. All of them are parameters, so that every example has a flow of its own
    (Cremer, Li and Duvenaud, 2018, section 5.2, has flows of this kind). f starts as
    the identity. On a Normal base with independent variables, `I + N` alone makes all
    Normals with a full covariance: (I + N) diag(v) (I + N)^T is its LDL^T.

    c and s, the mean and the standard deviation of the base where f starts, are
    constants: with them f has no units, and one learning rate serves all variables.

    A row of the parameters is (c, s, the base's, N, the couplings'). So those of a head
    with more couplings begin with those of a head with fewer.

    Args:
        base: The head of u, event shape [D], D of 2 or more.
        num_couplings: L; 0 leaves the linear map alone.
    """

    def __init__(self, base: DistributionHead, num_couplings: int = 0) -> None:
        self.base = base
        (self.size,) = base.event_shape
        self.layouts = tuple(
            _Layout(self.size, swapped=index % 2 == 1) for index in range(num_couplings)
        )
        self._sizes = (
            *(self.size, self.size, math.prod(base.params_shape)),
            self.size * (self.size - 1) // 2,
            *(layout.num_params for layout in self.layouts),
        )

    def start(self, base_params: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Returns the parameters [B, P] of f = identity.

        Args:
            base_params: [B, ...] The base's.
            draws: [S, B, D] Draws of the base, which say what c and s are.
        """
        count = tf.shape(base_params)[0]
        mean, variance = tf.nn.moments(draws, axes=[0])  # [B, D]
        below = tf.zeros([count, self._sizes[3]], mean.dtype)
        parts = [mean, tf.sqrt(variance), tf.reshape(base_params, [count, -1]), below]
        return self.with_couplings(tf.concat(parts, axis=1))

    def with_couplings(self, params: tf.Tensor) -> tf.Tensor:
        """Returns parameters [B, P], of those [B, ...] of a head without couplings."""
        first = [
            layout.first_params(derive_int(0, f"local coupling/{index}"))
            for index, layout in enumerate(self.layouts)
        ]
        row = tf.constant(np.concatenate([np.zeros(0), *first]), params.dtype)
        rows = tf.tile(row[tf.newaxis], [tf.shape(params)[0], 1])
        return tf.concat([params, rows], axis=1)

    def __call__(self, params: tf.Tensor) -> CouplingFlow:
        """Returns q(z) for parameters [B, P]."""
        return self._flow(params, stopped=False)

    def stopped(self, params: tf.Tensor) -> CouplingFlow:
        """Returns q(z) whose parameters no gradient reaches, nor the base's weights."""
        return self._flow(tf.stop_gradient(params), stopped=True)

    def _flow(self, params: tf.Tensor, stopped: bool) -> CouplingFlow:
        parts = tf.split(params, self._sizes, axis=1)
        mean, scale, own, below, *couplings = parts
        mean, scale = tf.stop_gradient(mean), tf.stop_gradient(scale)
        own = tf.reshape(own, [-1, *self.base.params_shape])
        made = zip(self.layouts, couplings, strict=True)
        steps: Sequence[FlowStep] = (
            _Elementwise(1 / scale, -mean / scale),
            _UnitTriangular(_strictly_lower(below, self.size)),
            *(layout.coupling(each) for layout, each in made),
            _Elementwise(scale, mean),
        )
        base = self.base.stopped(own) if stopped else self.base(own)
        return CouplingFlow(base, steps)


class _Elementwise(NamedTuple):
    """z = scale u + shift, scale and shift [B, D]."""

    scale: tf.Tensor
    shift: tf.Tensor

    def forward(self, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns z [..., B, D] and log |det dz/du| [B]."""
        return self.scale * u + self.shift, self._log_det()

    def inverse(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns u [..., B, D] and log |det dz/du| [B]."""
        return (z - self.shift) / self.scale, self._log_det()

    def _log_det(self) -> tf.Tensor:
        return tf.reduce_sum(tf.math.log(self.scale), axis=-1)


class _UnitTriangular(NamedTuple):
    """z = (I + N) u, `below` being N [B, D, D]; its determinant is 1."""

    below: tf.Tensor

    def forward(self, u: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns z [..., B, D] and 0 [...]."""
        return u + tf.einsum("...bj,bij->...bi", u, self.below), tf.zeros([], u.dtype)

    def inverse(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns u [..., B, D] and 0 [...]."""
        eye = tf.constant(np.eye(self.below.shape[-1]), z.dtype)
        u = tf.linalg.triangular_solve(eye + self.below, z[..., tf.newaxis])
        return u[..., 0], tf.zeros([], z.dtype)


def _strictly_lower(below: tf.Tensor, size: int) -> tf.Tensor:
    """Returns N [B, D, D] of its D (D - 1) / 2 numbers [B, ...], row by row."""
    places = np.zeros([size, size], "int32")  # 0 stands for a zero
    places[np.tril_indices(size, -1)] = 1 + np.arange(below.shape[1])
    return tf.gather(tf.pad(below, [[0, 0], [1, 0]]), places, axis=1)


class _Layout:
    """Where the weights of one coupling are in an example's parameters.

    The network from the given to the moved variables is tanh(x A + a) B + b.
    """

    def __init__(self, size: int, swapped: bool) -> None:
        self.parts, self.swapped = (size // 2, size - size // 2), swapped
        given, moved = self.parts[::-1] if swapped else self.parts
        self.shapes = ((given, _UNITS), (_UNITS,), (_UNITS, 2 * moved), (2 * moved,))

    @property
    def num_params(self) -> int:
        """The number of all weights."""
        return sum(map(math.prod, self.shapes))

    def first_params(self, seed: int) -> np.ndarray:
        """Returns weights [num_params] of the identity: B and b are 0, A is drawn."""
        kernel = np.random.default_rng(seed).normal(size=self.shapes[0])
        values = np.zeros([self.num_params])
        values[: kernel.size] = kernel.ravel() / math.sqrt(self.shapes[0][0])
        return values

    def coupling(self, params: tf.Tensor) -> _LocalCoupling:
        """Returns the couplings of examples for weights [B, num_params]."""
        parts = tf.split(params, [*map(math.prod, self.shapes)], axis=1)
        pairs = zip(parts, self.shapes, strict=True)
        weights = [tf.reshape(part, [-1, *shape]) for part, shape in pairs]
        return _LocalCoupling(self.parts, self.swapped, weights)


class _LocalCoupling(AffineCoupling):
    """A coupling of each example, `weights` being (A, a, B, b), each [B, ...]."""

    def __init__(
        self, sizes: tuple[int, int], swapped: bool, weights: Sequence[tf.Tensor]
    ) -> None:
        self.sizes, self.swapped, self.weights = sizes, swapped, weights

    def shift_and_log_scale(self, given: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (shift, log_scale), each [..., B, moved], for [..., B, given]."""
        first, first_bias, last, last_bias = self.weights
        hidden = tf.tanh(tf.einsum("...bi,bij->...bj", given, first) + first_bias)
        raw = tf.einsum("...bi,bij->...bj", hidden, last) + last_bias
        return shift_and_log_scale(raw)
