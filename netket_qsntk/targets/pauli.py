r"""Hamiltonians of spins as sums of Pauli strings, applied to vectors over the whole basis without a matrix.

Strings of σz alone are together one diagonal. Strings of σx alone are diagonal on parities, so together they are one
vector between two Walsh-Hadamard transforms. Every other string permutes the basis and changes signs. Both diagonals
are themselves transforms of the strings' coefficients, so that building them costs no more than a product.
"""

from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from netket_qsntk.errors import HamiltonianError
from netket_qsntk.operators import walsh_hadamard

__all__ = ["PauliHamiltonian", "pauli_hamiltonian"]

# A weight of a Hermitian operator may have this imaginary part, relative to the largest weight.
_REAL = 1e-10


@runtime_checkable
class _AsLocalOperator(Protocol):
    """An operator that NetKet writes as a sum of local ones."""

    def to_local_operator(self) -> nk.operator.AbstractOperator: ...


@runtime_checkable
class _AsPauliStrings(Protocol):
    """An operator that NetKet writes as a sum of Pauli strings."""

    def to_pauli_strings(self) -> nk.operator.AbstractOperator: ...


class PauliHamiltonian(eqx.Module):
    """H = Σ_P w_P P over Pauli strings, acting on vectors (…, 2^d) in ``hilbert.all_states()`` order.

    Made by :func:`pauli_hamiltonian`. A product costs two Walsh-Hadamard transforms, and one pass over the vector for
    each string that mixes σx or σy with σz.

    Attributes:
        along_z: The diagonal of all strings of σz (and of the identity), (2^d,).
        along_x: The eigenvalues of all strings of σx on parities, (2^d,), or None where there are none.
        flips, signs: Which sites every other string flips, and on which it has a sign: bit masks (strings,).
        weights: Their weights times i for each σy, (strings,); real if the matrix is.
        bounds: Two energies between which the whole spectrum lies.
    """

    along_z: Array
    along_x: Array | None
    flips: Array
    signs: Array
    weights: Array
    bounds: tuple[float, float] = eqx.field(static=True)

    def __repr__(self) -> str:
        kinds = "diagonal" + (", diagonal on parities" if self.along_x is not None else "")
        return (
            f"PauliHamiltonian({self.n_states} states, {kinds}, {len(self.weights)} other strings, "
            f"{np.dtype(self.dtype).name}, spectrum within {self.bounds})"
        )

    @property
    def n_states(self) -> int:
        """2^d."""
        return self.along_z.shape[0]

    @property
    def dtype(self) -> DTypeLike:
        """float64 if every matrix element is real, else complex128."""
        return jnp.dtype(jnp.result_type(self.along_z.dtype, self.weights.dtype))

    def matvec(self, psi: ArrayLike) -> Array:
        """H ψ along the last axis: (…, n_states), real where H and ψ are.

        Example:
            >>> import jax.numpy as jnp, netket as nk
            >>> from netket_qsntk.targets.pauli import pauli_hamiltonian
            >>> hi = nk.hilbert.Spin(0.5, 2)
            >>> H = pauli_hamiltonian(nk.operator.Ising(hi, nk.graph.Chain(2, pbc=False), h=1.0, J=-1.0))
            >>> H.matvec(jnp.array([1.0, 0.0, 0.0, 0.0])).tolist()
            [-1.0, -1.0, -1.0, 0.0]
        """
        return _product(self, jnp.asarray(psi))


@jax.jit
def _product(h: PauliHamiltonian, psi: Array) -> Array:
    total = h.along_z * psi
    if h.along_x is not None:
        total = total + _transform(h.along_x * _transform(psi)) / h.n_states
    if not len(h.weights):
        return total
    # Inside a loop, so that the code does not grow with the number of strings.
    numbers = jnp.arange(h.n_states, dtype=jnp.uint32)

    def add(total: Array, string: tuple[Array, Array, Array]) -> tuple[Array, None]:
        flip, sign, weight = string
        origin = numbers ^ flip
        odd = jax.lax.population_count(origin & sign) & 1
        moved = psi.at[..., origin].get(mode="promise_in_bounds", unique_indices=True)
        return total + weight * jnp.where(odd == 1, -moved, moved), None

    start = total.astype(jnp.result_type(total.dtype, h.weights.dtype))
    return jax.lax.scan(add, start, (h.flips, h.signs, h.weights))[0]


def _transform(x: Array) -> Array:
    if not jnp.iscomplexobj(x):
        return walsh_hadamard(x)
    parts = walsh_hadamard(jnp.stack([x.real, x.imag]))
    return jax.lax.complex(parts[0], parts[1])


def pauli_hamiltonian(hamiltonian: nk.operator.AbstractOperator) -> PauliHamiltonian | None:
    """A NetKet operator of spin-1/2 as Pauli strings, or None if it has no such form.

    Takes ``PauliStrings`` and whatever NetKet converts to them through ``to_local_operator`` and
    ``to_pauli_strings``: ``Ising``, ``Heisenberg``, ``GraphOperator``, sums of ``nk.operator.spin`` matrices.

    Args:
        hamiltonian: A NetKet operator.

    Returns:
        The strings on the whole basis, or None: no such conversion, or a constrained Hilbert space (fixed
        magnetisation), or one of other local states.

    Raises:
        HamiltonianError: The operator is not Hermitian, or has weights that are not finite.

    Example:
        >>> import netket as nk
        >>> from netket_qsntk.targets.pauli import pauli_hamiltonian
        >>> hi, chain = nk.hilbert.Spin(0.5, 3), nk.graph.Chain(3)
        >>> strings = pauli_hamiltonian(nk.operator.Ising(hi, chain, h=1.0))
        >>> strings.n_states, strings.bounds
        (8, (-4.0, 6.0))
        >>> sector = nk.hilbert.Spin(0.5, 3, total_sz=0.5)
        >>> pauli_hamiltonian(nk.operator.Heisenberg(sector, chain)) is None
        True
    """
    if not isinstance(hamiltonian, nk.operator.AbstractOperator):
        return None
    hilbert = hamiltonian.hilbert
    if not isinstance(hilbert, nk.hilbert.Spin | nk.hilbert.Qubit) or hilbert.constrained:
        return None
    if any(levels != 2 for levels in hilbert.shape):
        return None
    if isinstance(hamiltonian, _AsLocalOperator):
        hamiltonian = hamiltonian.to_local_operator()
    if isinstance(hamiltonian, _AsPauliStrings):
        hamiltonian = hamiltonian.to_pauli_strings()
    if not isinstance(hamiltonian, nk.operator.PauliStrings | nk.operator.PauliStringsJax):
        return None
    letters = np.array([list(str(string)) for string in hamiltonian.operators])
    return _from_strings(letters, np.asarray(hamiltonian.weights, np.complex128), hamiltonian)


def _from_strings(
    letters: np.ndarray, weights: np.ndarray, source: nk.operator.AbstractOperator
) -> PauliHamiltonian:
    largest = np.abs(weights).max(initial=0.0)
    if not np.isfinite(weights).all() or np.abs(weights.imag).max(initial=0.0) > _REAL * largest:
        raise HamiltonianError(
            f"expected a Hermitian operator with finite elements, got {source}: the weights of its Pauli strings "
            "must be real. Try (H + H.H) / 2."
        )
    d = letters.shape[1]
    bits = 2 ** np.arange(d - 1, -1, -1)
    is_y = letters == "Y"
    # σy = i σx σz: a string flips where it has σx or σy and has signs where it has σy or σz.
    flips = (is_y | (letters == "X")) @ bits
    signs = (is_y | (letters == "Z")) @ bits
    factors = weights.real * 1j ** (is_y.sum(axis=1) % 4)

    z, x = flips == 0, (signs == 0) & (flips != 0)
    mixed = ~(z | x)
    along_z = _diagonal(signs[z], factors[z].real, 2**d)
    along_x = _diagonal(flips[x], factors[x].real, 2**d) if x.any() else None
    rest = factors[mixed]
    low, high = float(along_z.min()), float(along_z.max())
    if along_x is not None:
        low, high = low + float(along_x.min()), high + float(along_x.max())
    beyond = float(np.abs(rest).sum())
    return PauliHamiltonian(
        along_z,
        along_x,
        jnp.asarray(flips[mixed], jnp.uint32),
        jnp.asarray(signs[mixed], jnp.uint32),
        jnp.asarray(rest if rest.imag.any() else rest.real),
        (low - beyond, high + beyond),
    )


def _diagonal(masks: np.ndarray, weights: np.ndarray, size: int) -> Array:
    """Σ_masks w (-1)^{|x & mask|} for all x."""
    return walsh_hadamard(jnp.zeros(size).at[jnp.asarray(masks)].add(jnp.asarray(weights)))
