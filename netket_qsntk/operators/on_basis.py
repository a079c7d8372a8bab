"""What operators between batches of a product basis share."""

import abc
from typing import Self

from jax.typing import ArrayLike

from netket_qsntk.operators.base import KernelOperator
from netket_qsntk.operators.basis_index import BasisIndex


class OnBasis(KernelOperator):
    """An operator between two batches of a product basis, which acts by scatter, transforms and gather.

    Attributes:
        rows: The batch of the rows.
        columns: That of the columns; None for the same one.
    """

    rows: BasisIndex
    columns: BasisIndex | None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return len(self.rows), len(self._columns)

    @property
    def symmetric(self) -> bool:
        """Whether rows and columns are the same batch."""
        return self.columns is None

    @property
    def _columns(self) -> BasisIndex:
        return self.rows if self.columns is None else self.columns

    @abc.abstractmethod
    def _with(self, **changes: object) -> Self:
        """The same with other values of these fields."""

    def transpose(self) -> Self:
        """Rows and columns exchanged."""
        return self if self.symmetric else self._with(rows=self._columns, columns=self.rows)

    def restrict(self, rows: ArrayLike, columns: ArrayLike | None = None) -> Self:
        """The block of some rows and columns, a batch again."""
        same = self.symmetric and columns is None
        return self._with(
            rows=self.rows.take(rows),
            columns=None if same else self._columns.take(rows if columns is None else columns),
            positive=self.positive and same,
        )
