"""The entries of a kernel as a function of configurations, and the operator that is cheapest for them."""

from typing import Protocol

import equinox as eqx
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.kernels import structure_search as structures
from netket_qsntk.kernels.arguments import Which, check_configurations, check_which
from netket_qsntk.operators import Dense, KernelOperator, Shared, Tiled
from netket_qsntk.operators.choose import Hint, Stored, choose
from netket_qsntk.operators.structure import Structure
from netket_qsntk.parallel import SharedMatrix

_NOT_LOOKED: Structure = structures.Unstructured("it was asked for")


class HasMatrix(structures.HasEntries, Protocol):
    """A kernel, as far as operators are made of it."""

    def matrix(self, x: ArrayLike, y: ArrayLike | None = None, which: Which = "ntk") -> Array:
        """Entries between configurations x (n, sites) and y (m, sites): (n, m)."""
        ...

    def diagonal(self, x: ArrayLike, which: Which = "ntk") -> Array:
        """Entries at (x, x): (n,)."""
        ...


class Entries(eqx.Module):
    """One of a kernel's two functions, as what an operator without structure is made from."""

    kernel: HasMatrix
    which: Which = eqx.field(static=True)

    def __call__(self, x: ArrayLike, y: ArrayLike | None = None) -> Array:
        """Entries between configurations x (n, sites) and y (m, sites): (n, m)."""
        return self.kernel.matrix(x, y, self.which)

    def diagonal(self, x: ArrayLike) -> Array:
        """Entries at (x, x): (n,)."""
        return self.kernel.diagonal(x, self.which)

    def __repr__(self) -> str:
        return f"Entries({self.which} of {self.kernel!r})"


def operator_of(
    kernel: HasMatrix, x: ArrayLike, y: ArrayLike | None, which: Which, hint: Hint | None
) -> KernelOperator:
    """See :meth:`netket_qsntk.kernels.InfiniteWidthKernel.operator`."""
    x = check_configurations(x)
    same = y is None
    columns = x if y is None else check_configurations(y, "y")
    other = None if same else columns
    check_which(which)

    def dense(reason: str) -> KernelOperator:
        return Dense(kernel.matrix(x, other, which), symmetric=same, positive=same, reason=reason)

    def shared(reason: str) -> KernelOperator:
        rows = SharedMatrix.of_rows(
            lambda here: np.asarray(kernel.matrix(x[here], columns, which)),
            (len(x), len(columns)),
        )
        return Shared(rows, symmetric=same, positive=same, reason=reason)

    def tiled(reason: str) -> KernelOperator:
        return Tiled(Entries(kernel, which), x, other, positive=same, reason=reason)

    stored = Stored(dense, shared, tiled)
    structured = hint is None or hint in ("hypercube", "kronecker")
    structure = _NOT_LOOKED
    if structured:
        product = hint == "kronecker"
        structure = structures.find(kernel, x, other, which, product_only=product)
    plain = isinstance(structure, structures.Unstructured)

    def at(configurations: Array) -> np.ndarray:
        return np.asarray(configurations if plain else kernel.coordinates(configurations))

    return choose(structure, at(x), None if same else at(columns), stored, hint=hint)
