"""The observables: which entropy, between which sites; the files beside say how states estimate it."""

import math
import numbers
from collections.abc import Sequence
from typing import Literal

import netket as nk
from netket.hilbert import DiscreteHilbert

from netket_qsntk.entanglement.orders import check_log_base, check_order
from netket_qsntk.entanglement.partition import check_partition
from netket_qsntk.errors import EntropyOrderError, HilbertMismatchError, ObservableError

Average = Literal["quenched", "annealed"]


class _Entropy(nk.observable.AbstractObservable):
    """Sites and order, checked once."""

    def __init__(
        self,
        hilbert: DiscreteHilbert,
        partition: Sequence[int],
        n: float,
        log_base: float,
    ) -> None:
        if not isinstance(hilbert, DiscreteHilbert):
            raise ObservableError(
                f"{type(self).__name__} needs a discrete Hilbert space, got "
                f"{type(hilbert).__name__}."
            )
        check_order(n)
        check_log_base(log_base)
        super().__init__(hilbert)
        self._partition = check_partition(partition, hilbert.size)
        self._n = n
        self._log_base = log_base

    @property
    def partition(self) -> tuple[int, ...]:
        """Sites of A (modes, for fermions), in increasing order."""
        return self._partition

    @property
    def n(self) -> float:
        """Rényi order: 1 is von Neumann, ``math.inf`` the min-entropy."""
        return self._n

    @property
    def log_base(self) -> float:
        """Base of the logarithm."""
        return self._log_base

    def check_state(self, state: nk.vqs.VariationalState) -> None:
        """Raise :class:`HilbertMismatchError` unless the state lives on the observable's space."""
        if state.hilbert != self.hilbert:
            raise HilbertMismatchError(
                f"{self} was asked of a state on {state.hilbert}; build it with "
                f"{type(self).__name__}(state.hilbert, partition)."
            )


class EntanglementEntropy(_Entropy):
    r"""Entanglement entropy of a state between the sites of a partition and the rest.

    .. math:: S_n = \frac{\log \mathrm{Tr}\,\rho_A^n}{1-n},\qquad
        S_1 = -\mathrm{Tr}\,\rho_A\log\rho_A

    How each state computes it:

    - ``FullSumState``: exactly, any n > 0, by singular values
      (:func:`netket_qsntk.entanglement.entropies`).
    - ``MCState``: by swapping subsystem A around n replicas of the samples, n = 2, 3, …; the
      error is that of the logarithm by the delta method. The relative error grows exponentially
      with the entropy.
    - ``EnsembleState``: the average over members with its standard error.
    - ``InfiniteState``: the average over drawn wave functions, see :class:`EnsembleEntropy`.

    Spaces at fixed particle number or magnetisation are handled, and fermionic modes with their
    exchange signs.

    Args:
        hilbert: NetKet's discrete Hilbert space.
        partition: Sites of A in any order. For fermions these are modes: give
            ``qs.entanglement.fermion_modes(hilbert, sites)`` for lattice sites.
        n: Rényi order > 0; 1 is von Neumann, ``math.inf`` the min-entropy.
        log_base: Base of the logarithm; e gives nats. (NetKet's ``Renyi2EntanglementEntropy``
            takes 2.)

    Raises:
        PartitionError: Empty, complete, out of range or duplicated.
        EntropyOrderError: n is not > 0; on an ``MCState``, n is not an integer >= 2.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> vs = nk.vqs.FullSumState(hi, nk.models.RBM(alpha=1), seed=0)
        >>> entropy = EntanglementEntropy(hi, [0, 1], n=2)
        >>> 0 < vs.expect(entropy).mean < 1
        True
    """

    def __init__(
        self,
        hilbert: DiscreteHilbert,
        partition: Sequence[int],
        n: float = 1,
        log_base: float = math.e,
    ) -> None:
        super().__init__(hilbert, partition, n, log_base)

    def __repr__(self) -> str:
        return (
            f"EntanglementEntropy({self.hilbert}, partition={list(self.partition)}, n={self.n}, "
            f"log_base={self.log_base:.5g})"
        )


class EnsembleEntropy(_Entropy):
    r"""Entanglement entropy of an ensemble of wave functions, quenched or annealed.

    .. math:: S^{quenched}_n = E\Big[\frac{\log \mathrm{Tr}\,\rho_A^n}{1-n}\Big],\qquad
        S^{annealed}_n = \frac{\log E[\mathrm{Tr}\,\rho_A^n]}{1-n}

    over normalised members. By Jensen's inequality (Eq. 2 of arXiv:2112.00723) the annealed
    average is a lower bound of the quenched one for n > 1, an upper bound for n < 1.

    - ``EnsembleState``: both averages over its members, with standard errors (delta method for
      the annealed).
    - ``InfiniteState``: the annealed average of an untrained state at n = 2, …, 6 is exact
      (:func:`netket_qsntk.entanglement.log_average_moment`, error zero); everything else averages
      ``n_draws`` wave functions drawn from the state: networks of log ψ too, whose moments of normalised states
      have no closed form. With ``normalization="ratio"`` their annealed average is exact as well.

    Args:
        hilbert: NetKet's discrete Hilbert space.
        partition: Sites of A, as in :class:`EntanglementEntropy`.
        n: Rényi order > 0. The annealed average has a pole at 1 and no use at infinity.
        average: ``"quenched"`` or ``"annealed"``.
        log_base: Base of the logarithm; e gives nats.
        n_draws: Wave functions drawn where an average over an ``InfiniteState`` has no closed form.
        seed: Seed of those draws: the same observable gives the same number.
        normalization: Of the annealed average: ``"exact"``, over normalised wave functions, or ``"ratio"``,
            E Tr ρ̃ⁿ / E (Tr ρ̃)ⁿ, which weights them by their norm.

    Raises:
        EntropyOrderError: An annealed average at n = 1 or ∞, or an unknown average.
        ObservableError: Asked of a single state.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> infinite = qs.vqs.InfiniteState(hi, qs.models.CosNet(1, sigma_w=2.0))
        >>> annealed = infinite.expect(EnsembleEntropy(hi, [0, 1], average="annealed"))
        >>> quenched = infinite.expect(EnsembleEntropy(hi, [0, 1], average="quenched"))
        >>> annealed.mean < quenched.mean, annealed.error_of_mean
        (True, 0.0)
    """

    def __init__(
        self,
        hilbert: DiscreteHilbert,
        partition: Sequence[int],
        n: float = 2,
        average: Average = "quenched",
        log_base: float = math.e,
        *,
        n_draws: int = 1000,
        seed: int = 0,
        normalization: Literal["exact", "ratio"] = "exact",
    ) -> None:
        super().__init__(hilbert, partition, n, log_base)
        if average not in ("quenched", "annealed"):
            raise EntropyOrderError(f"average={average!r}: expected 'quenched' or 'annealed'.")
        if average == "annealed" and n == 1:
            raise EntropyOrderError(
                "n=1 is a pole of the annealed average, whose limit there is the quenched one: "
                "use EnsembleEntropy(…, n=1, average='quenched')."
            )
        if average == "annealed" and math.isinf(n):
            raise EntropyOrderError(
                "The annealed average has no limit of use at n=inf; use a finite n."
            )
        if isinstance(n_draws, bool) or not isinstance(n_draws, numbers.Integral) or n_draws < 2:
            raise EntropyOrderError(f"n_draws={n_draws!r}: expected an integer >= 2.")
        if normalization not in ("exact", "ratio"):
            raise EntropyOrderError(
                f"normalization={normalization!r}: expected 'exact' or 'ratio'."
            )
        self._average: str = average
        self._n_draws: int = int(n_draws)
        self._normalization: str = normalization
        self._seed: int = seed

    @property
    def average(self) -> str:
        """``"quenched"`` or ``"annealed"``."""
        return self._average

    @property
    def normalization(self) -> str:
        """Over what the annealed average is taken: ``"exact"``, normalised wave functions, or ``"ratio"``."""
        return self._normalization

    @property
    def n_draws(self) -> int:
        """Wave functions drawn where there is no closed form."""
        return self._n_draws

    @property
    def seed(self) -> int:
        """Seed of the draws."""
        return self._seed

    def __repr__(self) -> str:
        return (
            f"EnsembleEntropy({self.hilbert}, partition={list(self.partition)}, n={self.n}, "
            f"average={self.average!r}, log_base={self.log_base:.5g})"
        )
