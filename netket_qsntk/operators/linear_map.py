"""Products of a real matrix that need not be stored, as lineax knows them."""

import abc
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from netket_qsntk._units import human_bytes
from netket_qsntk.errors import OperatorShapeError


class LinearMap(lx.AbstractLinearOperator):
    """A real n × m matrix as products with vectors, with lineax's interface and tags.

    A subclass defines :meth:`product`'s work on real arrays, :meth:`diagonal` and :meth:`transpose`.

    Attributes:
        shape: (n, m).
        dtype: float64 or float32.
        symmetric: Rows and columns are the same batch.
        positive: It is known to be positive semidefinite (a covariance or a sum of squares), up to rounding.
        reason: Why this structure was chosen, or "" if nobody chose.
    """

    if TYPE_CHECKING:
        # Fields in some subclasses and properties in others: to a type checker, something that can be read.
        @property
        def reason(self) -> str: ...  # noqa: D102
        @property
        def symmetric(self) -> bool: ...  # noqa: D102
        @property
        def positive(self) -> bool: ...  # noqa: D102
    else:
        reason: eqx.AbstractVar[str]
        symmetric: eqx.AbstractVar[bool]
        positive: eqx.AbstractVar[bool]

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """(n, m)."""

    @property
    @abc.abstractmethod
    def dtype(self) -> DTypeLike:
        """Dtype of the entries."""

    @abc.abstractmethod
    def _product(self, v: Array) -> Array:
        """(…, m) -> (…, n) for real v of the operator's dtype."""

    def _apply(self, v: Array) -> Array:
        """``_product`` compiled; what is cheaper outside of compiled code overrides this."""
        return _compiled_product(self, v)

    @abc.abstractmethod
    def diagonal(self) -> Array:
        """Entries (i, i): (min(n, m),)."""

    @abc.abstractmethod
    def _describe(self) -> str:
        """The structure, for ``repr``."""

    def product(self, v: Array) -> Array:
        """Products with vectors along the last axis: (…, m) -> (…, n), real or complex."""
        v = jnp.asarray(v)
        if v.ndim == 0 or v.shape[-1] != self.shape[1]:
            raise OperatorShapeError(
                f"This operator of shape {self.shape} multiplies vectors of length {self.shape[1]} along the last "
                f"axis, got shape {v.shape}; for columns (m, k) use matvec."
            )
        if jnp.iscomplexobj(v):
            parts = self._apply(jnp.stack([v.real, v.imag]).astype(self.dtype))
            return jax.lax.complex(parts[0], parts[1])
        return self._apply(v.astype(self.dtype))

    def matvec(self, v: ArrayLike) -> Array:
        """The product with a vector (m,) or with k columns (m, k), real or complex: (n,) or (n, k).

        Raises:
            OperatorShapeError: The first axis is not m, or there are more than two.
        """
        v = jnp.asarray(v)
        if v.ndim not in (1, 2) or v.shape[0] != self.shape[1]:
            raise OperatorShapeError(
                f"matvec of an operator of shape {self.shape} takes ({self.shape[1]},) or ({self.shape[1]}, k), "
                f"got {v.shape}."
            )
        return self.product(v) if v.ndim == 1 else self.product(v.T).T

    def as_matrix(self) -> Array:
        """The matrix itself: 8nm bytes in float64."""
        return self._product(jnp.eye(self.shape[1], dtype=self.dtype)).T

    def trace(self) -> Array:
        """Sum of the diagonal."""
        return jnp.sum(self.diagonal())

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays it holds."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(eqx.filter(self, eqx.is_array_like)))

    def mv(self, vector: Array) -> Array:
        """lineax's name for the product with one vector."""
        return self._product(vector.astype(self.dtype))

    def in_structure(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of a vector it takes (lineax)."""
        return jax.ShapeDtypeStruct((self.shape[1],), self.dtype)

    def out_structure(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of a vector it gives (lineax)."""
        return jax.ShapeDtypeStruct((self.shape[0],), self.dtype)

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, lx.AbstractLinearOperator):
            return super().__matmul__(other)
        return self.matvec(other)

    def __repr__(self) -> str:
        n, m = self.shape
        tags = ", symmetric" * self.symmetric + ", positive" * self.positive
        memory = f"{human_bytes(self.nbytes)} (as a matrix {human_bytes(8 * n * m)})"
        why = f", because {self.reason}" if self.reason else ""
        return f"{type(self).__name__}({n} × {m}, {self._describe()}{tags}, memory={memory}{why})"


@jax.jit
def _compiled_product(operator: LinearMap, v: Array) -> Array:
    return operator._product(v)


def is_nonnegative(factor: ArrayLike) -> bool:
    """Whether a scalar is known to be >= 0: no under tracing, where nobody knows."""
    return not isinstance(factor, jax.core.Tracer) and bool(np.asarray(factor) >= 0)


lx.is_symmetric.register(LinearMap, lambda operator: operator.symmetric)
lx.is_positive_semidefinite.register(
    LinearMap, lambda operator: operator.symmetric and operator.positive
)
for _never in (
    lx.is_diagonal,
    lx.is_tridiagonal,
    lx.is_lower_triangular,
    lx.is_upper_triangular,
    lx.has_unit_diagonal,
    lx.is_negative_semidefinite,
):
    _never.register(LinearMap, lambda operator: False)
lx.linearise.register(LinearMap, lambda operator: operator)
lx.conj.register(LinearMap, lambda operator: operator)
lx.diagonal.register(LinearMap, lambda operator: operator.diagonal())


@lx.materialise.register(LinearMap)
def _(operator: LinearMap) -> lx.AbstractLinearOperator:
    tags = [
        tag
        for tag, holds in (
            (lx.symmetric_tag, operator.symmetric),
            (lx.positive_semidefinite_tag, operator.symmetric and operator.positive),
        )
        if holds
    ]
    return lx.MatrixLinearOperator(operator.as_matrix(), tags)
