"""The wave function to learn: unit-norm amplitudes over a whole basis."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import netket as nk
import numpy as np
from numpy.typing import ArrayLike

from netket_qsntk.errors import AmplitudesError, InvalidTrainingError
from netket_qsntk.targets.basis import all_states, check_summable
from netket_qsntk.targets.dataset import Dataset

__all__ = ["Target"]


@runtime_checkable
class HasAmplitudes(Protocol):
    """A state that knows its wave function on the whole basis."""

    hilbert: nk.hilbert.DiscreteHilbert

    def to_array(self) -> ArrayLike:
        """ψ (n_states,)."""


class Target:
    r"""A normalised wave function :math:`\psi_T` on every basis state of a Hilbert space.

    The supervised loss compares with it (arXiv:2112.00723, above Eq. 13),

    .. math:: L = \frac{1}{|B|} \sum_{x \in B} |\psi(x) - \psi_T(x)|^2,\qquad
        \sum_{x} |\psi_T(x)|^2 = 1,

    where the norm is over the *whole* basis, not over the training batch B.

    Args:
        hilbert: Indexable NetKet Hilbert space.
        amplitudes: Array (n_states,), real or complex, in the order of ``hilbert.all_states()``;
            copied, and divided by its norm.

    Attributes:
        hilbert: The Hilbert space.
        amplitudes: Read-only array (n_states,), complex128, of unit norm.

    Raises:
        AmplitudesError: Amplitudes of another shape, not numbers, not finite, or all zero.
        SystemTooLargeError: The basis is too large to sum over.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> target = qs.targets.Target(nk.hilbert.Spin(0.5, 2), [1, 1, 1, 1j])
        >>> target
        Target(Spin(s=1/2, N=2...), 4 states, effectively 4.0, 25.0% of the norm imaginary)
        >>> target.amplitudes.tolist()
        [(0.5+0j), (0.5+0j), (0.5+0j), 0.5j]
    """

    def __init__(self, hilbert: nk.hilbert.DiscreteHilbert, amplitudes: ArrayLike) -> None:
        n_states = check_summable(hilbert, task="Target(hilbert, amplitudes)")
        self.hilbert = hilbert
        self.amplitudes = _normalized(amplitudes, n_states)
        self.amplitudes.setflags(write=False)

    @classmethod
    def from_state(cls, state: object) -> Target:
        """The wave function that a NetKet state holds now, however it was prepared.

        Args:
            state: A NetKet variational state with an indexable Hilbert space (``FullSumState``,
                ``MCState``), or an object with ``hilbert`` and ``to_array()``.

        Returns:
            The target; later changes of the state leave it alone.

        Raises:
            AmplitudesError: `state` is no such object, or its amplitudes are not finite.
            SystemTooLargeError: The basis is too large to sum over.

        Example:
            >>> import netket as nk, netket_qsntk as qs
            >>> hi = nk.hilbert.Spin(0.5, 3)
            >>> vs = nk.vqs.FullSumState(hi, nk.models.RBM(alpha=1), seed=0)
            >>> qs.targets.Target.from_state(vs).amplitudes.shape
            (8,)
        """
        if not isinstance(state, HasAmplitudes) or not isinstance(
            state.hilbert, nk.hilbert.AbstractHilbert
        ):
            raise AmplitudesError(
                "Target.from_state(state): expected a NetKet state such as nk.vqs.FullSumState, "
                f"got {type(state).__name__}. An array goes into Target(hilbert, amplitudes)."
            )
        check_summable(state.hilbert, task="Target.from_state(state)")
        return cls(state.hilbert, state.to_array())

    @property
    def n_states(self) -> int:
        """Number of basis states."""
        return len(self.amplitudes)

    def split(self, n_train: int, seed: int | np.random.Generator = 0) -> tuple[Dataset, Dataset]:
        """A training set drawn uniformly without replacement, and a test set of all the rest.

        The same seed gives the same split on every machine, and of two sizes with one seed the
        smaller training set is contained in the larger one. Both are in the order of the basis.

        Args:
            n_train: Number of training configurations, from 1 to n_states.
            seed: Seed of a NumPy generator, or the generator itself.

        Returns:
            ``(train, test)`` with `n_train` and ``n_states - n_train`` configurations.

        Raises:
            InvalidTrainingError: `n_train` is not an integer from 1 to n_states.

        Example:
            >>> import netket as nk, netket_qsntk as qs
            >>> target = qs.targets.tfim_quench(extent=(2, 3), pbc=False)
            >>> train, test = target.split(40, seed=1)
            >>> train.states.shape, test.amplitudes.shape
            ((40, 6), (24,))
        """
        train, test = self.split_indices(n_train, seed)
        states = all_states(self.hilbert)
        return (
            Dataset(states[train], self.amplitudes[train]),
            Dataset(states[test], self.amplitudes[test]),
        )

    def split_indices(
        self, n_train: int, seed: int | np.random.Generator = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same split as basis-state numbers.

        Args:
            n_train: As for :meth:`split`.
            seed: As for :meth:`split`.

        Returns:
            ``(train, test)``: increasing int64 arrays, disjoint, together 0 … n_states - 1.

        Raises:
            InvalidTrainingError: `n_train` is not an integer from 1 to n_states.

        Example:
            >>> import netket as nk, netket_qsntk as qs
            >>> target = qs.targets.Target(nk.hilbert.Spin(0.5, 3), [1.0] * 8)
            >>> train, test = target.split_indices(6, seed=0)
            >>> sorted([*train.tolist(), *test.tolist()])
            [0, 1, 2, 3, 4, 5, 6, 7]
        """
        integer = isinstance(n_train, (int, np.integer)) and not isinstance(n_train, bool)
        if not integer or not 1 <= n_train <= self.n_states:
            raise InvalidTrainingError(
                f"split(n_train={n_train!r}): expected an integer from 1 to {self.n_states}, the "
                f"number of basis states. Try split({max(1, self.n_states // 2)}, seed=0)."
            )
        order = np.random.default_rng(seed).permutation(self.n_states)
        return np.sort(order[:n_train]), np.sort(order[n_train:])

    def __repr__(self) -> str:
        probabilities = np.abs(self.amplitudes) ** 2
        effective = 1.0 / np.sum(probabilities**2)
        imaginary = np.sum(self.amplitudes.imag**2)
        return (
            f"Target({self.hilbert}, {self.n_states} states, effectively {effective:.1f}, "
            f"{imaginary:.1%} of the norm imaginary)"
        )


def _normalized(amplitudes: ArrayLike, n_states: int) -> np.ndarray:
    expected = (
        f"Target(hilbert, amplitudes): expected {n_states} finite numbers, not all zero, got "
    )
    try:
        psi = np.array(amplitudes, dtype=np.complex128)
    except (TypeError, ValueError) as error:
        raise AmplitudesError(
            f"{expected}{type(amplitudes).__name__}. Try np.ones(hilbert.n_states)."
        ) from error
    if psi.shape != (n_states,):
        raise AmplitudesError(
            f"{expected}an array of shape {psi.shape}. One amplitude for each row of "
            "hilbert.all_states() is wanted, in that order."
        )
    if not np.isfinite(psi).all():
        where = np.flatnonzero(~np.isfinite(psi))
        raise AmplitudesError(
            f"{expected}{len(where)} that are not finite, the first at basis state {where[0]}. "
            "If they come from log-amplitudes, subtract the largest real part before np.exp."
        )
    # Scaled by the largest component first, so that squaring neither overflows nor underflows.
    largest = max(np.abs(psi.real).max(), np.abs(psi.imag).max())
    if largest == 0.0:
        raise AmplitudesError(f"{expected}zeros only, which have no direction.")
    psi = psi / largest
    return psi / np.linalg.norm(psi)
