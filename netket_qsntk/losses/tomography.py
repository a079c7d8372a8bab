"""Quantum state tomography: the likelihood of outcomes measured in rotated bases."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.hilbert import DiscreteHilbert

from netket_qsntk.errors import InvalidConfigurationsError
from netket_qsntk.losses.base import Loss

# Rows are ⟨+1| and ⟨-1| of the Pauli matrix in the σᶻ basis (+1, -1).
_ROTATIONS = {
    "X": np.array([[1, 1], [1, -1]]) / np.sqrt(2),
    "Y": np.array([[1, -1j], [1, 1j]]) / np.sqrt(2),
}


@dataclass(frozen=True)
class Measurement:
    """Outcomes of measuring every spin along x, y or z.

    Attributes:
        basis: One letter of ``"XYZ"`` for each site.
        outcomes: Different outcomes (k, sites), each ±1.
        counts: How often each was seen, (k,).

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> seen = qs.losses.Measurement("ZX", [[1, 1], [-1, 1]], [60, 40])  # from an experiment
        >>> qs.losses.Tomography(nk.hilbert.Spin(0.5, 2), [seen]).value(np.array([0.6, 0.6, 0.4, 0.4]))
        Array(0.6921, dtype=float64)
    """

    basis: str
    outcomes: Any
    counts: Any

    def __repr__(self) -> str:
        shots, different = int(np.sum(self.counts)), len(self.counts)
        return f"Measurement({self.basis!r}, {shots} shots, {different} different outcomes)"


def measure(target: Any, basis: str, n_shots: int, seed: int) -> Measurement:
    """Simulated measurement of a known state on spins 1/2.

    Args:
        target: The :class:`~netket_qsntk.targets.Target` that is measured.
        basis: One letter of ``"XYZ"`` for each site.
        n_shots: Number of outcomes drawn from |⟨x|U|ψ⟩|².
        seed: Of the draw.

    Raises:
        InvalidConfigurationsError: No spins 1/2 without constraint, or a basis that is not one letter a site.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> target = qs.targets.Target(nk.hilbert.Spin(0.5, 2), [1, 1, 1, 1])
        >>> qs.losses.measure(target, "XX", 10, seed=0).outcomes
        array([[1, 1]], dtype=int8)
    """
    _check_basis(target.hilbert, basis)
    rotated = np.asarray(rotate(jnp.asarray(target.amplitudes), basis))
    weight = np.abs(rotated) ** 2
    drawn = np.random.default_rng(seed).multinomial(n_shots, weight / weight.sum())
    seen = np.flatnonzero(drawn)
    states = np.asarray(target.hilbert.numbers_to_states(seen)).astype(np.int8)
    return Measurement(basis, states, drawn[seen])


def rotate(psi: Array, basis: str, adjoint: bool = False) -> Array:
    """U ψ, where row x of U is the outcome x in that basis: (2^sites,). ``adjoint`` gives U†ψ. O(sites 2^sites).

    Args:
        psi: (2^sites,) in the order of ``hilbert.all_states()``.
        basis: One letter of ``"XYZ"`` for each site.
        adjoint: Whether U† takes the place of U.

    Example:
        >>> abs(rotate(jnp.array([1.0, 1.0]) / 2**0.5, "X")).round(12).tolist()  # x = +1, certainly
        [1.0, 0.0]
    """
    sites = len(basis)
    psi = psi + 0j
    for site, letter in enumerate(basis):
        if letter == "Z":
            continue
        u = _ROTATIONS[letter]
        u = jnp.asarray(u.conj().T if adjoint else u, psi.dtype)
        psi = jnp.einsum("ij,ajb->aib", u, psi.reshape(2**site, 2, 2 ** (sites - site - 1)))
    return psi.reshape(-1)


class Tomography(Loss):
    r"""Negative log-likelihood of measured outcomes, a shot (arXiv:2112.00723, below Eq. 10).

    .. math:: L = -\frac{1}{M}\sum_b\sum_x c_{bx}\,
        \log\frac{|\langle x|U_b|\psi\rangle|^2}{\langle\psi|\psi\rangle}

    over bases b with counts c, M shots in all, for ψ on the whole basis of spins 1/2. Its minimum over all states
    is at least the entropy of the measured frequencies, reached when ψ reproduces all of them.

    Args:
        hilbert: ``nk.hilbert.Spin(0.5, sites)`` without constraint.
        measurements: :class:`Measurement` objects, from :func:`measure` or an experiment.

    Raises:
        InvalidConfigurationsError: Bases, outcomes or counts that do not fit the Hilbert space.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> target = qs.targets.Target(nk.hilbert.Spin(0.5, 2), [1, 1, 1, 1])
        >>> shots = [qs.losses.measure(target, basis, 100, seed=0) for basis in ("XX", "ZX")]
        >>> loss = qs.losses.Tomography(target.hilbert, shots)
        >>> bool(loss.value(target.amplitudes) < loss.value(target.amplitudes * [1, 1, 1, 2]))
        True
    """

    whole_basis = scale_invariant = True
    untraced: ClassVar[tuple[str, ...]] = ("target", "measurements")

    def __init__(self, hilbert: DiscreteHilbert, measurements: Sequence[Measurement]) -> None:
        self.target = None
        self.hilbert = hilbert
        self.measurements: Sequence[Measurement] = tuple(measurements)
        if not self.measurements:
            raise InvalidConfigurationsError("Tomography needs at least one Measurement, got none.")
        frequencies = []
        for m in self.measurements:
            _check_basis(hilbert, m.basis)
            outcomes, counts = np.asarray(m.outcomes), np.asarray(m.counts)
            if outcomes.ndim != 2 or outcomes.shape != (len(counts), hilbert.size):
                raise InvalidConfigurationsError(
                    f"Measurement in {m.basis!r}: expected outcomes (k, {hilbert.size}) and counts (k,), got "
                    f"{outcomes.shape} and {counts.shape}."
                )
            if not (np.abs(outcomes) == 1).all() or (counts < 0).any():
                raise InvalidConfigurationsError(
                    f"Measurement in {m.basis!r}: expected outcomes ±1 and counts >= 0, got outcomes "
                    f"{np.unique(outcomes)[:5].tolist()} and a least count of {counts.min():g}."
                )
            total = np.zeros(hilbert.n_states)
            np.add.at(total, np.asarray(hilbert.states_to_numbers(outcomes)), counts)
            frequencies.append(total)
        shots = sum(f.sum() for f in frequencies)
        if shots == 0:
            raise InvalidConfigurationsError("All counts are zero: there is nothing to learn from.")
        self._frequencies = jnp.asarray(np.stack(frequencies) / shots)
        self._bases = tuple(m.basis for m in self.measurements)

    def value(self, psi: Array, amplitudes: ArrayLike | None = None) -> Array:
        """L for ψ (n_states,): a scalar, infinite if an outcome was seen that ψ excludes."""
        psi = jnp.asarray(psi)
        terms = _log_likelihoods(self._bases, self._frequencies, psi)
        return jnp.log(jnp.vdot(psi, psi).real) - terms

    def gradient(
        self, psi: Array, amplitudes: ArrayLike | None = None, n: int | None = None
    ) -> Array:
        """2ψ/⟨ψ|ψ⟩ - 2 Σ_b U_b†(f_b/(U_bψ)*): (n_states,) complex."""
        out = 2 * psi / jnp.vdot(psi, psi).real + 0j
        for basis, f in zip(self._bases, self._frequencies, strict=True):
            rotated = rotate(psi, basis)
            seen = f > 0
            ratio = jnp.where(seen, f / jnp.where(seen, rotated, 1.0).conj(), 0.0)
            out = out - 2 * rotate(ratio, basis, adjoint=True)
        return out

    def __repr__(self) -> str:
        shots = sum(int(np.sum(m.counts)) for m in self.measurements)
        return f"Tomography({self.hilbert}, {len(self._bases)} bases, {shots} shots)"


@partial(jax.jit, static_argnums=0)
def _log_likelihoods(bases: tuple[str, ...], frequencies: Array, psi: Array) -> Array:
    total = jnp.zeros(())
    for basis, f in zip(bases, frequencies, strict=True):
        size = jnp.abs(rotate(psi, basis)) ** 2
        total = total + jnp.sum(jnp.where(f > 0, f * jnp.log(jnp.where(f > 0, size, 1.0)), 0.0))
    return total


def _check_basis(hilbert: DiscreteHilbert, basis: str) -> None:
    if not isinstance(hilbert, nk.hilbert.Spin) or hilbert.n_states != 2**hilbert.size:
        raise InvalidConfigurationsError(
            f"Rotated bases are for spins 1/2 without constraint, got {hilbert}."
        )
    if len(basis) != hilbert.size or set(basis) - set("XYZ"):
        raise InvalidConfigurationsError(
            f"basis={basis!r}: expected {hilbert.size} letters of 'XYZ', one for each site."
        )
