r"""Kernels that are products over sites, for any local dimension.

.. math:: K = \kappa \otimes \dots \otimes \kappa,\qquad
    \Theta = \alpha\, K + \beta \sum_j \kappa \otimes \dots \otimes (\kappa \circ \tau) \otimes \dots \otimes \kappa

The NNGP of CosNet and GaussNet is the first (e^{-σ_w²|x-y|²/2d} is a product over sites), their NTK the second,
with τ(a, b) = ab: it multiplies K by α + β x·y. The sum over sites is a derivative, d/dε ⊗ (κ ∘ (1 + ετ)), and is
carried through the factors as one: three small products a group of sites instead of d times as many.
"""

from functools import reduce
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from netket_qsntk.errors import OperatorShapeError, StructureError
from netket_qsntk.operators.base import is_nonnegative
from netket_qsntk.operators.basis_index import BasisIndex, product_index
from netket_qsntk.operators.decomposition import Eigendecomposition, ProductModes
from netket_qsntk.operators.on_basis import OnBasis
from netket_qsntk.operators.transforms import apply_on_axis, grouped

# Vectors over the product basis are the working memory: 2²⁸ float64 are 2 GB.
MAX_BASIS = 2**28


class Kronecker(OnBasis):
    r"""⊗ κ over d sites, alone or with a one-site insertion, between batches of configurations.

    Args:
        factor: κ, (q, q) symmetric: the kernel of one site between local states.
        n_sites: d.
        x: Rows: configurations (n, d) with entries among ``local_states``, a :class:`BasisIndex`, or None for the
            whole basis, last site fastest.
        y: Columns; None for the same batch as the rows.
        local_states: The q values a site can have, in the order of κ; needed for configurations.
        scale: α: what multiplies the product.
        insertion: (β, τ): adds β Σ_j (κ ∘ τ at site j, κ elsewhere); None for none.
        positive: Whether it is known to be positive semidefinite.
        reason: Why it was chosen, for ``repr``.

    Raises:
        StructureError: The basis has more than 2²⁸ states, or a configuration is not in it.

    Example:
        >>> import jax.numpy as jnp
        >>> kernel = Kronecker(jnp.array([[1.0, 0.5], [0.5, 1.0]]), 2, scale=4.0)
        >>> kernel.as_matrix()[0].tolist(), kernel.eigh().eigenvalues.tolist()
        ([4.0, 2.0, 2.0, 1.0], [1.0, 3.0, 3.0, 9.0])
    """

    factor: Array
    scale: Array
    insertion: tuple[Array, Array] | None
    n_sites: int = eqx.field(static=True)
    positive: bool = eqx.field(static=True)
    reason: str = eqx.field(static=True)

    def __init__(
        self,
        factor: ArrayLike,
        n_sites: int,
        x: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        local_states: ArrayLike | None = None,
        scale: ArrayLike = 1.0,
        insertion: tuple[ArrayLike, ArrayLike] | None = None,
        positive: bool = False,
        reason: str = "",
    ) -> None:
        self.factor = jnp.asarray(factor)
        if not jnp.issubdtype(self.factor.dtype, jnp.floating):
            self.factor = self.factor.astype(float)
        q = self.factor.shape[0]
        if self.factor.shape != (q, q) or q**n_sites > MAX_BASIS:
            raise StructureError(
                f"Kronecker takes a factor (q, q) with q^d at most 2^28, got {self.factor.shape} on {n_sites} "
                "sites; use Tiled for larger bases."
            )
        dtype = self.factor.dtype
        self.scale = jnp.asarray(scale, dtype)
        self.insertion = (
            None
            if insertion is None
            else (jnp.asarray(insertion[0], dtype), jnp.asarray(insertion[1], dtype))
        )
        self.n_sites = n_sites
        self.rows = _index(x, q, n_sites, local_states)
        self.columns = None if y is None else _index(y, q, n_sites, local_states)
        self.positive = positive and y is None
        self.reason = reason

    @property
    def dtype(self) -> DTypeLike:
        """Dtype of the factor."""
        return self.factor.dtype

    @property
    def _groups(self) -> list[int]:
        """Numbers of sites that are applied together."""
        return [g.stop - g.start for g in grouped([self.factor.shape[0]] * self.n_sites)]

    def _product(self, v: Array) -> Array:
        plain = self._columns.scatter(v)
        inserted = None
        before = 1
        for sites in self._groups:
            matrix = reduce(jnp.kron, [self.factor] * sites)
            if self.insertion is not None:
                # (M + εM')(w + εw') = Mw + ε(Mw' + M'w)
                update = apply_on_axis(self._inserted(sites, self.insertion[1]), plain, before)
                if inserted is not None:
                    update = update + apply_on_axis(matrix, inserted, before)
                inserted = update
            plain = apply_on_axis(matrix, plain, before)
            before *= matrix.shape[0]
        result = self.scale * plain
        if self.insertion is not None and inserted is not None:
            result = result + self.insertion[0] * inserted
        return self.rows.gather(result)

    def _inserted(self, sites: int, tau: Array) -> Array:
        """Σ_j κ ⊗ … (κ ∘ τ at j) … ⊗ κ over a group of sites."""
        one = self.factor * tau
        terms = [
            reduce(jnp.kron, [one if site == j else self.factor for site in range(sites)])
            for j in range(sites)
        ]
        return sum(terms[1:], terms[0])

    def as_matrix(self) -> Array:
        """Entries as products over sites."""
        i, j = (b.positions for b in (self.rows, self._columns))
        return self._entries(i[:, None], j[None, :])

    def diagonal(self) -> Array:
        """Entries (i, i), as products over sites."""
        n = min(self.shape)
        return self._entries(*(b.positions[:n] for b in (self.rows, self._columns)))

    def _entries(self, i: Array, j: Array) -> Array:
        q = self.factor.shape[0]
        product, total = jnp.ones((), self.dtype), self.scale
        for site in range(self.n_sites):
            digits = i // q**site % q, j // q**site % q
            product = product * self.factor[digits]
            if self.insertion is not None:
                total = total + self.insertion[0] * self.insertion[1][digits]
        return product * total

    def scaled(self, factor: ArrayLike) -> "Kronecker":
        """``factor`` times this."""
        inserted = (
            None if self.insertion is None else (factor * self.insertion[0], self.insertion[1])
        )
        return self._with(
            scale=factor * self.scale,
            insertion=inserted,
            positive=self.positive and is_nonnegative(factor),
        )

    def preconditioner(self, *, cutoff: float = 1e-12) -> "Kronecker":
        """The inverse over the whole basis, restricted to the batch: an approximate inverse for iterations.

        Eigenvalues of κ below cutoff^{1/d} of its largest count as that much. With an insertion it is that of
        the product alone.
        """
        if not self.symmetric:
            raise OperatorShapeError(
                f"Only an operator with the same rows and columns has a preconditioner; {self!r} is a block."
            )
        values, vectors = jnp.linalg.eigh(self.factor)
        floor = cutoff ** (1 / self.n_sites) * values[-1]
        inverse = (vectors / jnp.maximum(values, floor)) @ vectors.T
        return self._with(factor=inverse, scale=1 / self.scale, insertion=None, positive=True)

    @property
    def has_cheap_spectrum(self) -> bool:
        """Whether :meth:`eigh` holds here."""
        return self.symmetric and self.rows.is_whole_basis and self.insertion is None

    def eigh(self) -> Eigendecomposition:
        """Exact on the whole basis and without insertion: products of one-site modes.

        Raises:
            StructureError: A part of the basis, a block between two batches, or an insertion.
        """
        if self.has_cheap_spectrum:
            return self.basis_modes()
        return super().eigh()

    def basis_modes(self) -> ProductModes:
        """Modes of the whole basis around the batch, as :meth:`Hypercube.basis_modes`.

        Raises:
            StructureError: An insertion.
            OperatorShapeError: A block between two batches.
        """
        if self.insertion is not None:
            raise StructureError(
                "A product with an insertion (the NTK of CosNet or GaussNet) has no modes that are products. Take "
                "which='nngp', or Dense(operator.as_matrix()).eigh()."
            )
        if not self.symmetric:
            raise OperatorShapeError(
                f"{self!r} is a block between two batches and has no modes: take kernel.operator(x) of one batch."
            )
        values, vectors = jnp.linalg.eigh(self.factor)
        others = self.n_sites - 1
        return ProductModes(
            factor_values=(self.scale * values, *[values] * others),
            factor_vectors=(vectors,) * self.n_sites,
            rows=self.rows,
        )

    def _with(self, **changes: Any) -> "Kronecker":
        names = ("factor", "n_sites", "rows", "columns", "scale", "insertion", "positive", "reason")
        new = {name: vars(self)[name] for name in names} | changes
        where = (new.pop("factor"), new.pop("n_sites"), new.pop("rows"), new.pop("columns"))
        return Kronecker(*where, **new)

    def _describe(self) -> str:
        q = self.factor.shape[0]
        kind = (
            "product over sites" if self.insertion is None else "product with one-site insertions"
        )
        whole = self.symmetric and self.rows.is_whole_basis
        where = "whole basis" if whole else "batch of the basis"
        return f"{kind}, {where} of {q}^{self.n_sites} = {q**self.n_sites} states"


def _index(
    x: "ArrayLike | BasisIndex | None", q: int, n_sites: int, local_states: ArrayLike | None
) -> BasisIndex:
    if isinstance(x, BasisIndex):
        return x
    if x is None:
        return BasisIndex(None, q**n_sites)
    x = np.asarray(x)
    if (
        local_states is None
        or np.shape(local_states) != (q,)
        or x.ndim != 2
        or x.shape[1] != n_sites
    ):
        raise StructureError(
            f"Configurations (n, {n_sites}) and their {q} local_states are needed, got shape {x.shape} and "
            f"local_states={local_states}."
        )
    return BasisIndex(product_index(x, local_states), q**n_sites)
