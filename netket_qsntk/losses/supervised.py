"""Losses against a target wave function."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from netket.vqs import VariationalState

from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.losses.base import Loss
from netket_qsntk.targets import Target


class _Supervised(Loss):
    """A loss against a target, whose amplitudes it is given.

    The target is a :class:`~netket_qsntk.targets.Target`, the NetKet state that configurations are drawn from
    (``QSNTKDriver(…, sampling=…)``), or None where there are only the amplitudes that each call is given.
    """

    def __init__(self, target: Target | VariationalState | None) -> None:
        if not (target is None or isinstance(target, Target | VariationalState)):
            raise InvalidTrainingError(
                f"{type(self).__name__} compares with a qs.targets.Target, got {type(target).__name__}: "
                "qs.targets.Target(hilbert, amplitudes) makes one of an array, Target.from_state(state) of a state."
            )
        self.target = target


class MSE(_Supervised):
    r"""Mean square error (arXiv:2112.00723, above Eq. 13).

    .. math:: L = \frac{1}{n}\sum_x |\psi(x) - \psi_T(x)|^2,\qquad
        \frac{\partial L}{\partial\psi_1} + i\frac{\partial L}{\partial\psi_2} = \frac{2}{n}(\psi - \psi_T)

    Args:
        target: The :class:`~netket_qsntk.targets.Target`, or the NetKet state that a driver samples.

    Raises:
        InvalidTrainingError: Something else, such as an array.

    Example:
        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs
        >>> target = qs.targets.Target(nk.hilbert.Spin(0.5, 1), [0.6, 0.8])
        >>> float(qs.losses.MSE(target).value(jnp.zeros(2), target.amplitudes))
        0.5
    """

    is_local = True

    def value(self, psi: Array, amplitudes: ArrayLike | None = None) -> Array:
        """L for ψ (n,): a scalar."""
        error = psi - jnp.asarray(amplitudes)
        return jnp.mean(error.real**2 + error.imag**2)

    def gradient(
        self, psi: Array, amplitudes: ArrayLike | None = None, n: int | None = None
    ) -> Array:
        """(2/n)(ψ - ψ_T): (n,)."""
        return (2 / (len(psi) if n is None else n)) * (psi - jnp.asarray(amplitudes))


class Infidelity(_Supervised):
    r"""One minus the fidelity with the target on the given configurations.

    .. math:: L = 1 - \frac{|\langle\psi_T|\psi\rangle|^2}{\langle\psi|\psi\rangle\langle\psi_T|\psi_T\rangle}

    It does not depend on the norm or the global phase of ψ. All sums run over the configurations it is given: over
    a training set it is the infidelity of the restrictions.

    Args:
        target: The :class:`~netket_qsntk.targets.Target`, or the NetKet state that a driver samples.

    Raises:
        InvalidTrainingError: Something else, such as an array.

    Example:
        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs
        >>> target = qs.targets.Target(nk.hilbert.Spin(0.5, 1), [0.6, 0.8j])
        >>> loss = qs.losses.Infidelity(target)
        >>> abs(float(loss.value(2j * target.amplitudes, target.amplitudes))) < 1e-15
        True
    """

    scale_invariant = True

    def value(self, psi: Array, amplitudes: ArrayLike | None = None) -> Array:
        """L for ψ (n,): a scalar, computed from the part of ψ orthogonal to ψ_T, so that it is exact near 0."""
        amplitudes = jnp.asarray(amplitudes)
        weight = jnp.vdot(amplitudes, amplitudes).real
        rest = psi - (jnp.vdot(amplitudes, psi) / weight) * amplitudes
        return jnp.vdot(rest, rest).real / jnp.vdot(psi, psi).real

    def gradient(
        self, psi: Array, amplitudes: ArrayLike | None = None, n: int | None = None
    ) -> Array:
        """(2/⟨ψ|ψ⟩)[(1 - L) ψ - ψ_T ⟨ψ_T|ψ⟩/⟨ψ_T|ψ_T⟩]: (n,)."""
        amplitudes = jnp.asarray(amplitudes)
        norm = jnp.vdot(psi, psi).real
        part = (jnp.vdot(amplitudes, psi) / jnp.vdot(amplitudes, amplitudes).real) * amplitudes
        rest = psi - part
        infidelity = jnp.vdot(rest, rest).real / norm
        return (2 / norm) * (rest - infidelity * psi)
