"""The command `tfvae`: `python -m tfvae_command` is the same.

It lies beside the package, and not in it, since `import tfvae` imports TensorFlow
unless it finds this module: the command then does so when its arguments are known to be
good.
"""

from __future__ import annotations

import sys

sys.modules.setdefault("tfvae_command", sys.modules[__name__])


def main() -> int:
    """Runs the command that `sys.argv` holds; returns the exit status."""
    from tfvae.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
