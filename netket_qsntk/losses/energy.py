"""The energy of a wave function over a whole basis: ground states by gradient descent."""

import dataclasses
import math
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.hilbert import DiscreteHilbert
from netket.operator import DiscreteOperator

from netket_qsntk.errors import HamiltonianError
from netket_qsntk.losses.base import Loss
from netket_qsntk.operators.inner_products import inner
from netket_qsntk.targets.basis import check_summable
from netket_qsntk.targets.matrix import check_sector
from netket_qsntk.targets.pauli import PauliHamiltonian, pauli_hamiltonian

# Matrix elements and column numbers are kept up to this basis size, made anew for every product beyond.
_STORED = 2**16
# Pauli strings take over here where there are any.
_BY_STRINGS = 2**12
_CHUNK = 2**14


class Energy(Loss):
    r"""Rayleigh quotient of a Hamiltonian, for ψ on the whole basis in ``hilbert.all_states()`` order.

    .. math:: L = \frac{\langle\psi|H|\psi\rangle}{\langle\psi|\psi\rangle},\qquad
        \frac{\partial L}{\partial\psi_1} + i\frac{\partial L}{\partial\psi_2}
        = \frac{2}{\langle\psi|\psi\rangle}(H - L)\psi

    H acts through NetKet's connected elements: K of them a row, 12 K n_states bytes up to 2¹⁶ states. Larger bases
    of spins take Pauli strings (:mod:`netket_qsntk.targets.pauli`: two vectors and Walsh-Hadamard transforms);
    others are gone through in chunks and nothing is stored (JAX operators only).

    Args:
        hamiltonian: A Hermitian NetKet operator on a discrete Hilbert space.

    Attributes:
        hilbert: The Hilbert space.

    Raises:
        SystemTooLargeError: The basis cannot be listed.
        HamiltonianError: Not a discrete Hermitian operator, or one too large to store without a JAX version.

    Example:
        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 3)
        >>> loss = qs.losses.Energy(nk.operator.Ising(hi, nk.graph.Chain(3), h=1.0))
        >>> float(loss.value(jnp.ones(8)))
        -3.0
    """

    whole_basis = scale_invariant = True
    untraced: ClassVar[tuple[str, ...]] = ("target", "hamiltonian")

    hilbert: DiscreteHilbert

    def __init__(self, hamiltonian: DiscreteOperator) -> None:
        if (
            not isinstance(hamiltonian, nk.operator.DiscreteOperator)
            or not hamiltonian.is_hermitian
        ):
            raise HamiltonianError(
                f"Energy needs a Hermitian NetKet operator on a discrete Hilbert space, got {hamiltonian!r}."
            )
        self.target = None
        self.hamiltonian = hamiltonian
        self.hilbert = hamiltonian.hilbert
        check_summable(self.hilbert, task="Energy")
        self._rows: tuple[Array, Array] | None = None
        self._strings: PauliHamiltonian | None = None
        self._jax: Any = None
        n = self.hilbert.n_states
        strings = pauli_hamiltonian(hamiltonian) if n > _BY_STRINGS else None
        if strings is not None or n > _STORED:
            if strings is not None:
                # The bounds are not used here, and static: other numbers would be another program.
                self._strings = dataclasses.replace(strings, bounds=(-math.inf, math.inf))
            elif isinstance(hamiltonian, nk.operator.DiscreteJaxOperator):
                self._jax = hamiltonian
            else:
                raise HamiltonianError(
                    f"A basis of {self.hilbert.n_states} states is gone through in chunks, which needs a JAX "
                    f"operator, got {type(hamiltonian).__name__}: try hamiltonian.to_jax_operator()."
                )
        else:
            check_sector(hamiltonian)
            connected, elements = hamiltonian.get_conn_padded(self.hilbert.all_states())
            numbers = self.hilbert.states_to_numbers(connected)
            self._rows = jnp.asarray(np.asarray(numbers), jnp.int32), jnp.asarray(elements)

    def apply(self, psi: Array) -> Array:
        """Hψ for ψ (…, n_states)."""
        if self._rows is not None:
            numbers, elements = self._rows
            return jnp.sum(elements * psi[..., numbers], axis=-1)
        if self._strings is not None:
            return self._strings.matvec(psi)
        return _apply_in_chunks(self.hilbert, self._jax, psi)

    def local(self, log_psi: Array) -> Array:
        """Local energies (Hψ)(x)/ψ(x) from log ψ (n_states,), also where ψ itself is 10^-300 of the largest.

        An exact zero (log ψ = -inf) has none: nan.
        """
        log_psi = jnp.asarray(log_psi)
        if self._rows is not None:
            numbers, elements = self._rows
            moved = jnp.where(elements == 0, -jnp.inf, log_psi[numbers] - log_psi[:, None])
            # Ratios that are too large for a number belong to amplitudes that are too small to matter.
            return jnp.sum(elements * jnp.exp(moved), axis=-1)
        psi = jnp.exp(log_psi - jnp.max(log_psi.real))
        return self.apply(psi) / psi

    def value(self, psi: Array, amplitudes: ArrayLike | None = None) -> Array:
        """⟨ψ|H|ψ⟩/⟨ψ|ψ⟩: a scalar."""
        return jnp.vdot(psi, self.apply(psi)).real / jnp.vdot(psi, psi).real

    def gradient(
        self, psi: Array, amplitudes: ArrayLike | None = None, n: int | None = None
    ) -> Array:
        """(2/⟨ψ|ψ⟩)(H - L)ψ: (n_states,)."""
        return self.value_and_gradient(psi)[1]

    def value_and_gradient(
        self, psi: Array, amplitudes: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """L and its gradient, by one product with H."""
        norm = inner(psi, psi)
        moved = self.apply(psi)
        value = inner(psi, moved.astype(psi.dtype) if jnp.iscomplexobj(psi) else moved.real) / norm
        return value, (2 / norm) * (moved - value * psi)

    def __repr__(self) -> str:
        return f"Energy({type(self.hamiltonian).__name__} on {self.hilbert})"


@partial(jax.jit, static_argnums=0)
def _apply_in_chunks(hilbert: DiscreteHilbert, hamiltonian: DiscreteOperator, psi: Array) -> Array:
    n = hilbert.n_states
    chunks = -(-n // _CHUNK)
    numbers = jnp.arange(chunks * _CHUNK).reshape(chunks, _CHUNK) % n

    def rows(numbers: Array) -> Array:
        connected, elements = hamiltonian.get_conn_padded(hilbert.numbers_to_states(numbers))
        return jnp.sum(elements * psi[..., hilbert.states_to_numbers(connected)], axis=-1)

    parts = jnp.moveaxis(jax.lax.map(rows, numbers), 0, -2)
    return parts.reshape(*psi.shape[:-1], -1)[..., :n]
