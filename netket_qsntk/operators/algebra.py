"""Sums of operators of different structure, and multiples of the identity."""

import operator
from functools import reduce
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.errors import StructureError
from netket_qsntk.operators.base import KernelOperator, is_nonnegative
from netket_qsntk.operators.decomposition import Eigendecomposition


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
        self, factor: Any, size: int, dtype: Any = float, *, positive: bool | None = None
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
    def dtype(self) -> Any:
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

    def restrict(self, rows: Any, columns: Any = None) -> "ScaledIdentity":
        """The identity on fewer configurations.

        Raises:
            StructureError: Rows and columns differ, or one comes twice: that block is no multiple of an identity.
        """
        rows = np.asarray(rows)
        if columns is not None or len(np.unique(rows)) != len(rows):
            raise StructureError(
                "A multiple of the identity is restricted to the same rows and columns, each once."
            )
        return ScaledIdentity(self.factor, len(rows), self.dtype, positive=self.positive)

    def scaled(self, factor: Any) -> "ScaledIdentity":
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
    def dtype(self) -> Any:
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

    def restrict(self, rows: Any, columns: Any = None) -> KernelOperator:
        """Sum of the blocks."""
        return Sum(*(term.restrict(rows, columns) for term in self.terms))

    def scaled(self, factor: Any) -> "Sum":
        """Sum of the multiples."""
        return Sum(*(term.scaled(factor) for term in self.terms))

    def eigh(self) -> Eigendecomposition:
        """None is known for a sum of different structures.

        Raises:
            NoExactSpectrumError: Always.
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
