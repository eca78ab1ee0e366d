"""Names shared by every layer; imports nothing heavy.

Shapes are written with these letters throughout the package:

    S  samples of the latent variable per example (always the leading axis)
    B  examples in a batch
    D  size of the latent variable
    N  examples in a data set
    H, W, C  height, width and channels of an image
"""

from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    import tensorflow as tf

Seed = Union[int, "tf.Tensor"]
"""An int, or an integer tensor of shape [2] as TensorFlow's stateless draws take."""


class InputError(ValueError):
    """A value that the user gave cannot be used.

    The message is one line: the value, the wanted one, and the argument to change. The
    command line prints it and exits with status 2.
    """


def first_line(error: BaseException, most: int = 100) -> str:
    """Returns the first line of another library's error, of `most` letters at most.

    An error that says nothing gives the name of its type.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:most]


LOST_WORKER = 75  # exit status of a process that lost another: sysexits' EX_TEMPFAIL


class LostWorkerError(RuntimeError):
    """A training on several machines ended because one of its workers did.

    The message is one line. The command line prints it and exits with status 75, which
    says that the same command may succeed when it is tried again.
    """
