"""Examples with their roles: all that `fit` and `evaluate` take is read here."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfvae.conditions.base import HOLDS
from tfvae.core.sharding import BatchShard, ShardExamples, shard_held
from tfvae.core.types import InputError, first_line
from tfvae.heads import DistributionHead

ROLES = ("x", "condition", "observed", "label", "sample_weight")
_OLD_NAMES = {"image": "x"}  # as TFDS calls it


class Batch(NamedTuple):
    """B examples.

    Attributes:
        x: [B, *data_shape] The data that are modelled.
        condition: [B, ...] c of p(x|z, c), q(z|x, c) and p(z|c), or None; a dictionary
            of these where the model's has several parts.
        observed: [B, *data_shape] Where x is known, or None: everywhere.
        label: [B] A class of each example, -1 where it is unknown, or None.
        sample_weight: [B] The weight of each example in the loss, or None: 1.
        shard: The rows of the global batch that this replica holds; None: all.
    """

    x: tf.Tensor
    condition: tf.Tensor | dict[str, tf.Tensor] | None = None
    observed: tf.Tensor | None = None
    label: tf.Tensor | None = None
    sample_weight: tf.Tensor | None = None
    shard: BatchShard | None = None

    @property
    def size(self) -> int:
        """B, where it is known."""
        return int(self.x.shape[0])

    def rows(self, start: int, stop: int) -> Batch:
        """Returns the examples from `start` to before `stop`."""
        return self._replace(
            **tf.nest.map_structure(lambda v: v[start:stop], self.roles())
        )

    def roles(self) -> dict[str, Any]:
        """Returns the roles that there are, by name."""
        named = {name: getattr(self, name) for name in ROLES}
        return {name: value for name, value in named.items() if value is not None}


def read_batch(data: Any, sharded: bool = False, beside: str | None = None) -> Batch:
    """Returns the roles of what a step or a method was given, as they are.

    Args:
        data: x; (x, y) or (x, y, sample_weight); a dictionary of roles; a `Batch`; or
            one of these of a replica, as `ShardExamples`.
        sharded: Whether the examples may be one replica's part of a batch: then all
            replicas must call this.
        beside: The role that y has; None: it is the label if it is integers [B], and
            else has no use.

    Raises:
        InputError: if a dictionary has no x, or holds more than roles, or a role is
            given twice.
    """
    if isinstance(data, ShardExamples):
        batch = read_batch(data.examples, beside=beside)
        return batch._replace(shard=data.shard)
    if isinstance(data, Batch):
        return data._replace(shard=shard_held(data.x)) if sharded else data
    # Keras would take a list for a tuple; here it is an array of examples.
    given = data if isinstance(data, tuple) else (data,)
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(given)
    roles = _roles(x) if isinstance(x, Mapping) else {"x": x}
    if beside is None:
        is_label = getattr(y, "ndim", None) == 1 and tf.as_dtype(y.dtype).is_integer
        y, beside = y if is_label else None, "label"
    for role, values in {beside: y, "sample_weight": sample_weight}.items():
        if values is not None and role in roles:
            raise InputError(
                f"the batch has its {role} twice, in its dictionary and beside it; "
                "leave one out"
            )
        if values is not None:
            roles[role] = values
    return Batch(**roles, shard=shard_held(roles["x"]) if sharded else None)


def concatenate_batches(batches: Iterable[Batch]) -> Batch:
    """Returns the examples of batches of the same roles as arrays in one batch."""
    parts = [batch.roles() for batch in batches]
    joined = tf.nest.map_structure(lambda *of_role: np.concatenate(of_role), *parts)
    return Batch(**joined)


def _roles(data: Mapping[str, Any]) -> dict[str, Any]:
    roles = {_OLD_NAMES.get(name, name): values for name, values in data.items()}
    if "x" not in roles or not roles.keys() <= set(ROLES) or len(roles) < len(data):
        raise InputError(
            f"a batch is a dictionary with the keys {sorted(map(str, data))}; give its "
            f"data as 'x' (or 'image'), and with it nothing but {', '.join(ROLES[1:])}"
        )
    return roles


def check_x(x: Any, data_shape: Sequence[int]) -> tf.Tensor | keras.KerasTensor:
    """Returns x as a tensor of floats [B, *data_shape].

    Raises:
        InputError: if it is something else.
    """
    if not isinstance(x, (tf.Tensor, keras.KerasTensor)):
        try:
            x = tf.convert_to_tensor(x)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"images of type {type(x).__name__} are no array "
                f"({first_line(error)}); give floats [B, *data_shape]"
            ) from error
    if not tf.as_dtype(x.dtype).is_floating:
        dtype = tf.as_dtype(x.dtype)
        how = "tf.cast(x, tf.float32)"
        if dtype == tf.uint8:
            how += " / 255 if they go to 255, and without the division if they go to 1"
        raise InputError(
            f"images have dtype {dtype.name}; give floats between 0 and 1, for example "
            f"{how}"
        )
    if x.shape.rank is None if isinstance(x, tf.Tensor) else False:
        x = tf.ensure_shape(x, [None, *data_shape])  # a data set may not know it
    shape = tf.TensorShape(x.shape)
    if shape.rank == 0 or not shape[1:].is_compatible_with(data_shape):
        raise InputError(
            f"images have shape {tuple(x.shape)} and the model takes "
            f"[B, {str(tuple(data_shape))[1:-1]}]; change the data or the model"
        )
    return x


def checked_examples(x: Any, head: DistributionHead, holes: bool = False) -> Any:
    """Returns what `fit` and its kin are given, with lists of examples as arrays.

    Keras would take a list for so many inputs of a model, and a tuple too. Values of
    arrays are looked at; what a data set yields is looked at in the step, see
    `MetricTracker`.

    Args:
        x: Examples, or what yields batches of them.
        head: The likelihood's, which says what has a probability.
        holes: Whether values may be missing.

    Raises:
        InputError: if there are no examples, they make no array, or hold values that
            have no probability.
    """
    observed = None
    if hasattr(x, "columns") and hasattr(x, "to_numpy"):  # a frame
        x = x.to_numpy()
    if isinstance(x, (Batch, Mapping)):
        roles = x.roles() if isinstance(x, Batch) else x
        x = {k: _stacked(v, k) if isinstance(v, list) else v for k, v in roles.items()}
        values, observed = read_batch(x).x, read_batch(x).observed
    else:
        x = values = _stacked(x, "x") if isinstance(x, (list, tuple)) else x
    if values is None:
        raise InputError("there are no images (None); give an array or a data set")
    if not isinstance(values, (np.ndarray, tf.Tensor)):
        return x
    values = np.asarray(values)
    if not values.size:
        raise InputError(
            f"there are no images (shape {values.shape}); give at least one"
        )
    if not np.issubdtype(values.dtype, np.floating):
        return x  # the step says what is wanted
    if holes:
        mask = _mask_of(values, observed)
        values = np.where(mask, values, np.asarray(head.filler, values.dtype))
    if not np.isfinite(values).all():
        raise InputError("the images hold NaN or infinite values; remove them")
    if not tf.reduce_any(head.outside(tf.convert_to_tensor(values))):
        return x
    if head.exact_binary:
        raise outside_support(head)
    raise InputError(
        f"the images have values from {values.min():g} to {values.max():g} of which "
        f"some are outside the support of {type(head).__name__}: {head.support}; "
        "change them, or choose another head"
    )


def _mask_of(values: np.ndarray, observed: Any) -> np.ndarray:
    """Returns where values are observed, bool.

    Raises:
        InputError: if nowhere, or `observed` is no mask of them.
    """
    mask = ~np.isnan(values) if observed is None else as_array(observed, "observed")
    if mask.shape != values.shape:
        raise InputError(
            f"observed has shape {mask.shape} for x of {values.shape}; give True or "
            "False for each value"
        )
    if mask.dtype != bool and not np.isin(mask, (0, 1)).all():
        raise InputError(
            f"observed holds other values than 0 and 1 (dtype {mask.dtype}); give True "
            "where x is known"
        )
    if not mask.any():
        raise InputError(
            f"all {values.size} values of x are missing; give examples of which "
            "something is observed"
        )
    return mask.astype(bool)


def _stacked(examples: Any, name: str) -> np.ndarray:
    """Returns a list of examples as an array.

    Raises:
        InputError: if they differ in shape, or are a tuple.
    """
    if isinstance(examples, tuple):
        raise InputError(
            f"{name} is a tuple of {len(examples)}; give x, y and sample_weight as "
            "arguments of their own, or a dictionary of roles"
        )
    try:
        return np.stack([np.asarray(example) for example in examples])
    except ValueError as error:
        raise InputError(
            f"{name} is a list of {len(examples)} examples that make no array "
            f"({first_line(error)}); give examples of one shape"
        ) from error


def outside_support(head: DistributionHead) -> InputError:
    """Returns the error for values that a likelihood has no probability for."""
    if head.exact_binary:
        return InputError(
            "the images hold other values than 0 and 1, for which "
            f"{type(head).__name__} has no probability; binarise them (tfvae.data "
            "does, or compile(binarize=True) in each step), choose another likelihood, "
            "or give likelihood=BernoulliHead(data_shape, grey_targets=True)"
        )
    return InputError(
        "the images hold NaN, or values outside the support of "
        f"{type(head).__name__}: {head.support}; change them, or choose another head"
    )


def checked_labels(y: Any) -> Any:
    """Returns `y` of `fit` as Keras can take it.

    Raises:
        InputError: if it is text.
    """
    if isinstance(y, list):
        y = np.asarray(y)
    if getattr(getattr(y, "dtype", None), "kind", "") in "USO":
        raise InputError(
            "y holds text or objects; give classes as integers [N], for example "
            "numpy.unique(y, return_inverse=True)[1], or leave it out"
        )
    return y


def split_examples(
    data: Any,
    data_shape: Sequence[int],
    batch_size: int,
    beside: str | None = None,
) -> Iterable[Any]:
    """Returns batches of examples that are given at once; batches are as they are.

    Args:
        data: Arrays of all examples, as `read_batch` takes them, or batches of them.
        data_shape: The shape of an example.
        batch_size: The examples in a batch of arrays.
        beside: The role that y of (x, y) has; where it has one, a tuple is (x, y).

    Raises:
        InputError: if roles have other numbers of examples than x, or batches have no
            end.
    """
    endless = tf.data.INFINITE_CARDINALITY
    if isinstance(data, tf.data.Dataset) and data.cardinality() == endless:
        raise InputError(
            "the batches have no end, as those of tfvae.data.training_batches; give "
            "those of tfvae.data.evaluation_batches, or batches.take(n)"
        )
    if isinstance(data, list) and data and _axes(data[0]) == len(data_shape):
        data = _stacked(data, "x")
    # A tuple may be x with labels or weights, or several batches.
    first, *others = data if isinstance(data, tuple) and data else (data,)
    at_once = _axes(first) == 1 + len(data_shape) and (
        beside is not None or all(o is None or _axes(o) == 1 for o in others)
    )
    if not (at_once or isinstance(data, (Mapping, Batch))):
        return data
    batch = _as_arrays(read_batch(data, beside=beside))
    starts = range(0, batch.size, batch_size)
    return (batch.rows(start, start + batch_size) for start in starts)


def _as_arrays(batch: Batch) -> Batch:
    """Returns a batch whose roles are arrays of as many rows.

    Raises:
        InputError: if they have not as many.
    """
    found: dict[str, Any] = {}
    for role, values in batch.roles().items():
        parts = values if isinstance(values, Mapping) else {"": values}
        arrays = {}
        for name, given in parts.items():
            what = f"{role} {name!r}" if name else role
            array = given
            if not isinstance(given, tf.Tensor):
                array = as_array(given, what)
            rows = array.shape[0] if len(array.shape) else None
            size = len(found["x"]) if found else rows
            if rows is None or rows != size:
                raise InputError(
                    f"the {what} has {'no' if rows is None else rows} entries for "
                    f"{size} examples; give one for each"
                )
            arrays[name] = array
        found[role] = arrays if isinstance(values, Mapping) else arrays[""]
    return Batch(**found)


def as_array(values: Any, name: str) -> np.ndarray:
    """Returns what is given for a role as an array.

    Raises:
        InputError: if it makes none.
    """
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the {name} makes no array ({first_line(error)}); give entries of one "
            "shape"
        ) from error


def _axes(x: Any) -> int | None:
    """Returns the number of an array's axes; None of what is no array."""
    return x.ndim if isinstance(x, (np.ndarray, tf.Tensor)) else None


def check_order(x: Any, shuffle: bool | str) -> None:
    """Refuses arrays that each of several workers would shuffle its own way.

    Raises:
        InputError: if they would be shuffled.
    """
    if shuffle and isinstance(x, (np.ndarray, tf.Tensor, Mapping)):
        raise InputError(
            "several workers cannot shuffle arrays, since each would find another "
            "order; give fit a data set, as tfvae.data.training_batches makes, or "
            "shuffle=False"
        )


def check_steps(x: Any, steps_per_epoch: int | None, per_execution: int) -> None:
    """Refuses a training whose epochs would not end, or be longer than they should.

    Raises:
        InputError: if they would.
    """
    if isinstance(x, tf.data.Dataset) and not steps_per_epoch:
        if x.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise InputError(
                "fit was given a data set that never ends; give steps_per_epoch too, "
                "for example tfvae.data.steps_per_epoch(data.train, 100)"
            )
    if steps_per_epoch and steps_per_epoch % per_execution:
        raise InputError(
            f"steps_per_epoch {steps_per_epoch} is not a multiple of "
            f"steps_per_execution {per_execution}, and Keras runs whole executions; "
            "change one of them"
        )


@contextlib.contextmanager
def named_errors() -> Iterator[None]:
    """Turns what a graph says of a condition into an error of the user's input."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = re.search(rf"the [^\n]{{1,80}} {HOLDS}[^\n']*", str(error))
        if found is None:
            raise
        raise InputError(found.group(0).rstrip("] ")) from None
