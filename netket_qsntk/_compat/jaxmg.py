"""NVIDIA's solvers for matrices over many GPUs, through jaxmg, which NetKet too uses.

jaxmg 1.4.1 is the first version that returns NaN where the solver fails; before 1.0 it had another interface. It
wants one process for each GPU.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from netket_qsntk.errors import OperatorShapeError

_OLDEST = (1, 4, 1)
_LARGEST_TILE = 1024


def distributed_eigh() -> Callable[[Array], tuple[Array, Array]] | None:
    """``jaxmg.syevd`` for a square matrix in equal parts of rows, if it can be used here.

    It gives eigenvalues, whole on every device and increasing, and eigenvectors in parts like the matrix.
    """
    if jax.default_backend() != "gpu" or jax.device_count() == 1 or jax.local_device_count() > 1:
        return None
    try:
        found = tuple(int(part) for part in version("jaxmg").split(".")[:3] if part.isdigit())
        import jaxmg
    except (PackageNotFoundError, ImportError):
        return None
    return None if found < _OLDEST else lambda rows: _syevd(jaxmg, rows)


def _syevd(jaxmg: Any, rows: Array) -> tuple[Array, Array]:
    tile = min(_LARGEST_TILE, rows.shape[0] // jax.device_count())
    values, vectors = jaxmg.syevd(rows, T_A=tile)
    if bool(jnp.isnan(values[0])):
        raise OperatorShapeError(
            f"The distributed eigendecomposition of a matrix {rows.shape} failed, most likely for memory: use fewer "
            "configurations, more devices, or solver='products'."
        )
    return values, vectors
