"""`python -m tfvae` is the command `tfvae`."""

import sys

from tfvae.cli import main

if __name__ == "__main__":
    sys.exit(main())
