"""The stability limit of gradient descent."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.sparse.linalg import eigsh

from netket_qsntk import operators
from netket_qsntk.errors import InvalidConfigurationsError
from netket_qsntk.kernels.arguments import check_configurations
from netket_qsntk.kernels.base import InfiniteWidthKernel
from netket_qsntk.kernels.empirical import EmpiricalKernel
from netket_qsntk.kernels.qsntk import each_part
from netket_qsntk.spectral import learning_rate_limit

# Larger kernels are not stored for their largest eigenvalue: products with their operator suffice.
_DENSE = 4096


def largest_eigenvalue(matrix: ArrayLike) -> float:
    """λ_max of a positive semidefinite matrix (n, n), by Lanczos for all but the smallest n."""
    a = np.asarray(matrix)
    if not a.any():
        return 0.0
    if len(a) < 32:
        return float(np.linalg.eigvalsh(a)[-1])
    # Reproducible, and close to the top mode of most kernels.
    start = np.ones(len(a)) / np.sqrt(len(a)) + 1e-3 * np.cos(np.arange(len(a)))
    return float(eigsh(a, k=1, which="LA", v0=start, return_eigenvectors=False)[0])


def max_learning_rate(kernel: InfiniteWidthKernel | EmpiricalKernel, states: ArrayLike) -> float:
    r"""The largest learning rate for which full-batch gradient descent on this loss converges.

    For L = (1/|B|) Σ_B |ψ - ψ_T|² every mode of the kernel is multiplied by 1 - 2ηλ/|B| a step, so that

    .. math:: \eta_\max = |B| / \lambda_\max(\Theta_{BB})

    For networks whose parts mix, Θ_BB is Ω_RI. With momentum β the limit is (1 + β) times larger.

    Args:
        kernel: An infinite-width kernel or an :class:`~netket_qsntk.kernels.EmpiricalKernel`.
        states: The training configurations B, (n, sites).

    Raises:
        InvalidConfigurationsError: ``states`` is not of shape (n, sites), or empty.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(10,)))
        >>> qs.kernels.max_learning_rate(kernel, nk.hilbert.Spin(0.5, 3).all_states()) > 0
        True
    """
    x = check_configurations(states, "states")
    if not len(x):
        raise InvalidConfigurationsError(
            "states is empty: expected training configurations (n, sites)."
        )
    if isinstance(kernel, InfiniteWidthKernel) and not kernel.is_real:
        top = largest_eigenvalue(each_part(kernel.ntk(x), kernel.n_parts))
    elif isinstance(kernel, InfiniteWidthKernel):
        operator = kernel.operator(x)
        if operator.has_cheap_spectrum:
            top = float(jnp.max(operator.eigh().levels()[0]))
        elif len(x) > _DENSE:
            top = operators.largest_eigenvalue(operator)[0]
        elif isinstance(operator, operators.Dense):
            top = largest_eigenvalue(operator.as_matrix())
        else:  # its own look-up writes the matrix faster than the structure does
            top = largest_eigenvalue(kernel.ntk(x))
    else:
        block = kernel.qsntk(x)
        parts = [block.theta_11, block.theta_22] if block.is_decoupled() else [block.omega_ri]
        top = max(largest_eigenvalue(part) for part in parts)
    return learning_rate_limit(top, len(x))
