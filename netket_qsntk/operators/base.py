"""What every kernel operator can do, and sums of operators of different structure."""

import abc
import operator
from functools import reduce
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from netket_qsntk.errors import OperatorShapeError, StructureError
from netket_qsntk.operators.decomposition import BasisModes, Eigendecomposition
from netket_qsntk.operators.linear_map import LinearMap, is_nonnegative


class KernelOperator(LinearMap):
    """A real kernel between a batch of n configurations (rows) and one of m (columns), as products with vectors.

    A lineax operator: it goes into ``lineax.linear_solve`` and the like as it is, and carries the tags symmetric
    and positive semidefinite where they hold. A pytree: it goes through ``jax.jit`` as an argument. Sums, multiples,
    ``restrict`` and ``add_diagonal`` keep the structure.
    """

    @abc.abstractmethod
    def restrict(self, rows: ArrayLike, columns: ArrayLike | None = None) -> "KernelOperator":
        """The block of some rows and columns, given by their numbers; ``columns=None`` takes the same numbers.

        On a symmetric operator ``restrict(rows)`` is symmetric again.
        """

    @abc.abstractmethod
    def scaled(self, factor: ArrayLike) -> "KernelOperator":
        """``factor`` times this, of the same structure; positive only if the factor is known to be >= 0."""

    def eigh(self) -> Eigendecomposition:
        """The exact eigendecomposition, where the structure has one.

        Raises:
            StructureError: It has not; the message says what else there is.
        """
        raise StructureError(
            f"{self!r} has no exact eigendecomposition: on a part of the basis there are only products. Use "
            "lanczos(operator, v) or chebyshev(operator, …), conjugate_residuals(operator, b), or "
            "Dense(operator.as_matrix(), positive=True).eigh() if the matrix fits into memory."
        )

    @property
    def has_cheap_spectrum(self) -> bool:
        """Whether :meth:`eigh` exists and costs no more than a few products."""
        return False

    def preconditioner(self, *, cutoff: float = 1e-12) -> "KernelOperator | None":
        """An approximate inverse for iterations, positive definite; None where the structure has none."""
        return None

    def basis_modes(self) -> BasisModes | None:
        """Modes of a whole basis around the batch (see :class:`Hypercube`); None where there is no such basis."""
        return None

    def add_diagonal(self, value: ArrayLike) -> "KernelOperator":
        """This plus ``value`` times the identity (noise of observations, a shift)."""
        if not self.symmetric:
            raise OperatorShapeError(
                f"add_diagonal needs the same rows and columns; {self!r} is a block between different batches."
            )
        return self + ScaledIdentity(value, self.shape[0], self.dtype)

    def _plus(self, other: "KernelOperator") -> "KernelOperator | None":
        """The sum as one operator of the same structure, or None if there is none."""
        return None

    def __add__(self, other: object) -> Any:
        if not isinstance(other, KernelOperator):
            return super().__add__(other)
        if self.shape != other.shape:
            raise OperatorShapeError(
                f"Operators of shapes {self.shape} and {other.shape} cannot be added."
            )
        return add(self, other)

    def __sub__(self, other: "KernelOperator") -> "KernelOperator":
        return self + (-other)

    def __neg__(self) -> "KernelOperator":
        return self.scaled(-1.0)

    def __mul__(self, factor: ArrayLike) -> "KernelOperator":
        return self.scaled(factor)

    def __rmul__(self, factor: ArrayLike) -> "KernelOperator":
        return self.scaled(factor)

    def __truediv__(self, factor: ArrayLike) -> "KernelOperator":
        return self.scaled(1 / jnp.asarray(factor))


class ScaledIdentity(KernelOperator):
    """A multiple of the identity on n configurations.

    Example:
        >>> import jax.numpy as jnp
        >>> ScaledIdentity(2.0, 3).matvec(jnp.arange(3.0)).tolist()
        [0.0, 2.0, 4.0]
    """

    factor: Array
    size: int = eqx.field(static=True)
    positive: bool = eqx.field(static=True)
    reason: str = eqx.field(static=True)

    def __init__(
        self,
        factor: ArrayLike,
        size: int,
        dtype: DTypeLike = float,
        *,
        positive: bool | None = None,
    ) -> None:
        self.positive = is_nonnegative(factor) if positive is None else positive
        self.factor = jnp.asarray(factor, dtype)
        self.size = size
        self.reason = ""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self.size, self.size

    @property
    def dtype(self) -> DTypeLike:
        """Dtype of the factor."""
        return self.factor.dtype

    @property
    def symmetric(self) -> bool:
        """True."""
        return True

    def _product(self, v: Array) -> Array:
        return self.factor * v

    def diagonal(self) -> Array:
        """The factor, n times."""
        return jnp.full(self.size, self.factor)

    def transpose(self) -> "ScaledIdentity":
        """Itself."""
        return self

    def restrict(self, rows: ArrayLike, columns: ArrayLike | None = None) -> "ScaledIdentity":
        """The identity on fewer configurations.

        Raises:
            StructureError: Rows and columns differ, or one comes twice: that block is no multiple of an identity.
        """
        rows = np.asarray(rows)
        if columns is not None or len(np.unique(rows)) != len(rows):
            raise StructureError(
                f"A multiple of the identity is restricted to the same rows and columns, each once; got {len(rows)}, "
                f"{len(np.unique(rows))} of them different, and columns={'None' if columns is None else 'given'}."
            )
        return ScaledIdentity(self.factor, len(rows), self.dtype, positive=self.positive)

    def scaled(self, factor: ArrayLike) -> "ScaledIdentity":
        """``factor`` times this."""
        positive = self.positive and is_nonnegative(factor)
        return ScaledIdentity(factor * self.factor, self.size, self.dtype, positive=positive)

    def _plus(self, other: KernelOperator) -> KernelOperator | None:
        if not isinstance(other, ScaledIdentity):
            return None
        return ScaledIdentity(
            self.factor + other.factor,
            self.size,
            self.dtype,
            positive=self.positive and other.positive,
        )

    def _describe(self) -> str:
        return "multiple of the identity"


class Sum(KernelOperator):
    """A sum of operators whose structures do not merge; made by ``+``.

    Example:
        >>> import jax.numpy as jnp, netket_qsntk as qs
        >>> total = qs.operators.Hypercube([1.0, 0.5]) + qs.operators.Dense(jnp.eye(2))
        >>> total.as_matrix().tolist()
        [[2.0, 0.5], [0.5, 2.0]]
    """

    terms: tuple[KernelOperator, ...]

    def __init__(self, *terms: KernelOperator) -> None:
        self.terms = terms

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m) of every term."""
        return self.terms[0].shape

    @property
    def dtype(self) -> DTypeLike:
        """The widest dtype among the terms."""
        return jnp.result_type(*(term.dtype for term in self.terms))

    @property
    def symmetric(self) -> bool:
        """Whether every term is."""
        return all(term.symmetric for term in self.terms)

    @property
    def positive(self) -> bool:
        """Whether every term is."""
        return all(term.positive for term in self.terms)

    @property
    def reason(self) -> str:
        """The terms' reasons."""
        return "; ".join(term.reason for term in self.terms if term.reason)

    def _product(self, v: Array) -> Array:
        return reduce(operator.add, (term._product(v.astype(term.dtype)) for term in self.terms))

    def _apply(self, v: Array) -> Array:
        return reduce(operator.add, (term._apply(v.astype(term.dtype)) for term in self.terms))

    def as_matrix(self) -> Array:
        """Sum of the matrices."""
        return reduce(operator.add, (term.as_matrix() for term in self.terms))

    def diagonal(self) -> Array:
        """Sum of the diagonals."""
        return reduce(operator.add, (term.diagonal() for term in self.terms))

    def transpose(self) -> "Sum":
        """Sum of the transposes."""
        return Sum(*(term.transpose() for term in self.terms))

    def restrict(self, rows: ArrayLike, columns: ArrayLike | None = None) -> KernelOperator:
        """Sum of the blocks."""
        return Sum(*(term.restrict(rows, columns) for term in self.terms))

    def scaled(self, factor: ArrayLike) -> "Sum":
        """Sum of the multiples."""
        return Sum(*(term.scaled(factor) for term in self.terms))

    def eigh(self) -> Eigendecomposition:
        """None is known for a sum of different structures.

        Raises:
            StructureError: Always.
        """
        return super().eigh()

    def _describe(self) -> str:
        return "sum of " + " and ".join(type(term).__name__ for term in self.terms)


def add(a: KernelOperator, b: KernelOperator) -> KernelOperator:
    """a + b, merging every pair of terms that has a structure in common."""
    merged: list[KernelOperator] = []
    for term in (*_terms(a), *_terms(b)):
        for i, other in enumerate(merged):
            both = other._plus(term)
            if both is not None:
                merged[i] = both
                break
        else:
            merged.append(term)
    return merged[0] if len(merged) == 1 else Sum(*merged)


def _terms(operator: KernelOperator) -> tuple[KernelOperator, ...]:
    return operator.terms if isinstance(operator, Sum) else (operator,)
