"""Natural-gradient steps by NetKet's preconditioners, in parameter space or in the space of samples (minSR)."""

from collections.abc import Callable

import jax.numpy as jnp
import jax.scipy.linalg
import netket as nk
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.vqs.members import Members

Preconditioner = Callable[[nk.vqs.VariationalState, PyTree, int], PyTree]
"""``preconditioner(state, gradient, step)`` -> update, such as ``nk.optimizer.SR(diag_shift=0.01)``."""


def check_preconditioner(
    preconditioner: Preconditioner | None, members: Members, trainable: str
) -> None:
    """Raise :class:`InvalidTrainingError` unless it can be called on a state of these networks."""
    if preconditioner is None:
        return
    if not callable(preconditioner):
        raise InvalidTrainingError(
            f"preconditioner={preconditioner!r}: expected a function (state, gradient, step) -> update, such as "
            "nk.optimizer.SR(diag_shift=0.01), or None."
        )
    if members.many:
        raise InvalidTrainingError(
            f"A preconditioner acts on one wave function, got an ensemble of {members.n}: train "
            "state.get_state(i), or use preconditioner=None."
        )
    if trainable != "all":
        raise InvalidTrainingError(
            f"A preconditioner mixes all parameters, got trainable={trainable!r}: use trainable='all', or "
            "preconditioner=None."
        )


def precondition(
    preconditioner: Preconditioner, state: nk.vqs.VariationalState, gradient: PyTree, step: int
) -> PyTree:
    """The update, as NetKet's VMC calls a preconditioner: real where the parameters are."""
    return nk.jax.tree_cast(preconditioner(state, gradient, step), state.parameters)


def minsr(operator: PyTree, gradient: Array, *, x0: PyTree = None) -> tuple[Array, None]:
    r"""Solve (S + λ) d = g in the space of samples: a solver for ``nk.optimizer.SR``.

    With S = X†X and n rows in X, d = [g - X†(XX† + λ)⁻¹X g]/λ: an n × n system in place of P × P ones, for networks
    with more parameters than samples (minSR; Chen & Heyl, Nature Physics 20, 1476 (2024)). Any gradient will do.
    The digits lost are those of λ against the largest eigenvalue of S.

    Args:
        operator: The quantum geometric tensor with a diagonal shift λ > 0, from
            ``nk.optimizer.qgt.QGTJacobianDense``.
        gradient: g (P,).
        x0: Not used; NetKet's solvers take it.

    Returns:
        (d, None), as NetKet wants it.

    Raises:
        InvalidTrainingError: The operator does not hold a dense Jacobian.

    Example:
        >>> import netket as nk, netket_qsntk as qs, optax
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> target = qs.targets.ground_state(nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0))
        >>> vs = nk.vqs.FullSumState(hi, nk.models.RBM(alpha=8), seed=0)
        >>> sr = nk.optimizer.SR(
        ...     nk.optimizer.qgt.QGTJacobianDense, solver=qs.driver.minsr, diag_shift=1e-3)
        >>> driver = qs.driver.QSNTKDriver(
        ...     target, optax.sgd(0.05), variational_state=vs, loss="infidelity", preconditioner=sr)
        >>> _ = driver.run(20, show_progress=False)
        >>> bool(driver.compute_loss_and_update()[0].mean < 1e-2)
        True
    """
    try:
        rows, shift = operator.O, operator.diag_shift
    except AttributeError:
        raise InvalidTrainingError(
            f"minsr needs a dense Jacobian, got {type(operator).__name__}: use nk.optimizer.SR("
            "nk.optimizer.qgt.QGTJacobianDense, solver=qs.driver.minsr, diag_shift=1e-3)."
        ) from None
    rows = rows.reshape(-1, rows.shape[-1])
    gram = rows @ rows.conj().T + shift * jnp.eye(len(rows))
    inner = jax.scipy.linalg.solve(gram, rows @ gradient, assume_a="pos")
    return (gradient - rows.conj().T @ inner) / shift, None
