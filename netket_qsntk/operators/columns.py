"""Right-hand sides as rows of real vectors: what every solver works on."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.errors import OperatorShapeError


class Columns(NamedTuple):
    """How the columns of a right-hand side became real rows: complex ones as two, real part first."""

    is_vector: bool
    is_complex: bool

    def restore(self, rows: Array) -> Array:
        """(…, k, n) as (…, n) for a vector, (…, n, columns) else, complex where the right-hand side was."""
        if self.is_complex:
            half = rows.shape[-2] // 2
            rows = rows[..., :half, :] + 1j * rows[..., half:, :]
        return rows[..., 0, :] if self.is_vector else jnp.swapaxes(rows, -1, -2)

    def combine(self, rows: np.ndarray) -> np.ndarray:
        """Norms of the real rows (…, k) as norms of the columns: (…,) or (…, columns)."""
        if self.is_complex:
            half = rows.shape[-1] // 2
            rows = np.hypot(rows[..., :half], rows[..., half:])
        return rows[..., 0] if self.is_vector else rows


def real_rows(v: ArrayLike, n: int) -> tuple[Array, Columns]:
    """A right-hand side (n,) or (n, columns), real or complex, as real rows (k, n).

    Raises:
        OperatorShapeError: It is of another shape.
    """
    v = jnp.asarray(v)
    if v.ndim not in (1, 2) or v.shape[0] != n:
        raise OperatorShapeError(
            f"A right-hand side has the shape ({n},) or ({n}, k) here, got {v.shape}."
        )
    rows = v[None] if v.ndim == 1 else v.T
    is_complex = jnp.iscomplexobj(rows)
    if is_complex:
        rows = jnp.concatenate([rows.real, rows.imag])
    if not jnp.issubdtype(rows.dtype, jnp.floating):
        rows = rows.astype(float)
    return rows, Columns(v.ndim == 1, bool(is_complex))
