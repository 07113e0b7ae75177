"""``python -m spectral_residual``: the same as ``srl``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
