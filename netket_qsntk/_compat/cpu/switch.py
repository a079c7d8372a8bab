"""The switch of the compiled loops."""

import os

_WANTED = os.environ.get("NETKET_QSNTK_COMPILED", "1") not in ("", "0")


def compiled() -> bool:
    """Whether loops compiled for this CPU are used, rather than NumPy and XLA."""
    return _WANTED
