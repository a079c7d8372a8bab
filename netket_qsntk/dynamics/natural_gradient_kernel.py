"""The tangent kernel as a natural-gradient flow uses it: stored, by products, or joint for both parts."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.kernels.base import check_real
from netket_qsntk.operators import KernelOperator

# By matrices up to here where the kernel has fast products, and up to the second where it has none.
_SMALL, LARGEST_DENSE = 2**10, 2**13


class UsedKernel(NamedTuple):
    """Θ on the whole basis."""

    theta: KernelOperator | Array
    """Of each part, (n, n); with ``joint`` of (f₁, f₂) together, (2n, 2n)."""
    joint: bool
    n_parts: int

    @property
    def is_stored(self) -> bool:
        """Whether it is a matrix."""
        return not isinstance(self.theta, KernelOperator)

    @classmethod
    def of(
        cls,
        kernel: InfiniteWidthKernel | Array | np.ndarray,
        states: np.ndarray,
        solver: str,
        is_gradient: bool,
    ) -> "UsedKernel":
        """By structure and size, where ``solver`` does not say.

        Args:
            kernel: An infinite-width kernel, or an array.
            states: The whole basis (n, sites).
            solver: ``"auto"``, ``"dense"`` or ``"products"``.
            is_gradient: Whether no linear system is solved.

        Raises:
            InvalidTrainingError: An array of another shape, or one for products.
        """
        n = len(states)
        if not isinstance(kernel, InfiniteWidthKernel):
            given = jnp.asarray(kernel)
            if given.shape not in ((n, n), (2 * n, 2 * n)) or solver == "products":
                raise InvalidTrainingError(
                    f"A kernel given as an array of shape {given.shape} is dense: expected ({n}, {n}), or "
                    f"({2 * n}, {2 * n}) for both parts together, and solver='dense' or 'auto'."
                )
            joint = given.shape[0] == 2 * n
            return cls(given, joint, 2 if joint else 1)
        check_real(kernel, "NaturalGradientFlow")
        if solver != "dense" and (solver == "products" or n > _SMALL):
            operator = kernel.operator(states)
            fast = operator.has_cheap_spectrum or solver == "products"
            if fast or n > LARGEST_DENSE or is_gradient:
                return cls(operator, False, kernel.n_parts)
        return cls(kernel.ntk(states), False, kernel.n_parts)
