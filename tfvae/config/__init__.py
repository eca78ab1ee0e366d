"""Settings of runs and commands, recipes and names, without TensorFlow.

The command line answers `--help` and refuses bad arguments from here, before
TensorFlow is imported.
"""

from tfvae.config.config import Config

__all__ = ["Config"]
__dir__ = __all__.copy  # what completion shows
