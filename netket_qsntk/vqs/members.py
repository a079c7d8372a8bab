"""One network or many, seen alike."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from flax import linen
from jax import Array
from jax.typing import ArrayLike
from netket.utils.types import PyTree

from netket_qsntk.parallel.mpi import over_ranks
from netket_qsntk.vqs.evaluate import member_amplitudes, rows_per_chunk
from netket_qsntk.wavefunction import Psi, PureWaveFunction, pure_wavefunction


@runtime_checkable
class HasMembers(Protocol):
    """A state of many networks, which gives the view of itself."""

    def members(self) -> "Members":
        """The view."""


@dataclass(frozen=True)
class Members:
    """The networks of a state, whether it is one or an ensemble: arrays have a leading axis of members.

    ``Members.of(state)`` takes an :class:`~netket_qsntk.vqs.EnsembleState`, any NetKet state of one wave function, or
    ``(apply_fun, variables)``, as it is now: take a new view after the parameters have changed.

    Attributes:
        n: Number of networks.
        many: Whether the state is an ensemble. What a state of one network is given back has no leading axis.
        parameters: Trained parameters, stacked.
        functions: (ψ, log ψ) as pytrees whose leaves, variables that are not trained, are stacked too.
        is_log: Whether the networks compute log ψ, and ψ is its exponential.
        model: The flax linen module of one, or None.
        chunk_size: Configurations evaluated at once; None chooses what fits the cache.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> from netket_qsntk.vqs.members import Members
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> one = Members.of(nk.vqs.FullSumState(hi, nk.models.RBM()))
        >>> many = Members.of(qs.vqs.EnsembleState(hi, qs.models.CosNet(8), n_members=3))
        >>> [members.psi(hi.all_states()).shape for members in (one, many)]
        [(1, 16), (3, 16)]
    """

    n: int
    many: bool
    parameters: PyTree
    functions: tuple[Psi, Psi]
    is_log: bool
    model: linen.Module | None = None
    chunk_size: int | None = None

    @classmethod
    def of(cls, state: PyTree) -> "Members":
        """The view of a state.

        Raises:
            NotANetworkError: It is no network and no ensemble of networks.
            BatchDependentError: Amplitudes depend on what they are evaluated with.
        """
        if isinstance(state, Members):
            return state
        if isinstance(state, HasMembers):
            return state.members()
        network = pure_wavefunction(state)
        one: PyTree = jax.tree.map(
            lambda leaf: leaf[None], (network.parameters, network.psi, network.log_psi)
        )
        chunks = isinstance(state, nk.vqs.FullSumState | nk.vqs.MCState)
        chunk_size = state.chunk_size if chunks else None
        return cls(1, False, one[0], one[1:], network.is_log, network.model, chunk_size)

    @property
    def psi_function(self) -> Psi:
        """ψ, to be called with the parameters of a member."""
        return self.functions[0]

    @property
    def log_psi_function(self) -> Psi:
        """log ψ, likewise."""
        return self.functions[1]

    @property
    def computed(self) -> Psi:
        """Of the two, the one that the networks compute."""
        return self.functions[int(self.is_log)]

    def rows(self, n_rows: int, n_inputs: int) -> int:
        """How many of so many configurations (of so many sites) to evaluate at once."""
        return self.chunk_size or rows_per_chunk(self.parameters, self.n, n_inputs, n_rows)

    def psi(self, x: ArrayLike) -> Array:
        """ψ of every member at configurations x (…, sites): (n, …). Beyond the range of exp it overflows."""
        return self._evaluate(self.psi_function, x)

    def log_psi(self, x: ArrayLike) -> Array:
        """log ψ of every member at configurations x (…, sites): (n, …) complex."""
        if self.is_log:
            return self._evaluate(self.log_psi_function, x) + 0j
        return jnp.log(self._evaluate(self.psi_function, x) + 0j)

    def scaled_psi(self, x: ArrayLike) -> tuple[Array, Array]:
        """ψ of every member divided by its largest modulus on x (m, sites), and the logarithm of that: (n, m), (n,).

        Whatever does not depend on the norm is the same for these, and nothing overflows.
        """
        return scaled(self.computed_at(x), self.is_log)

    def normalized(self, x: ArrayLike) -> tuple[Array, Array]:
        """ψ of every member of norm 1 on x (m, sites), and the logarithm of the norm it had: (n, m), (n,)."""
        psi, shift = self.scaled_psi(x)
        norm = jnp.linalg.norm(psi, axis=-1)
        return psi / norm[:, None], shift + jnp.log(norm)

    def computed_at(self, x: ArrayLike) -> Array:
        """What the networks compute, ψ or log ψ, at configurations x (…, sites): (n, …)."""
        return self._evaluate(self.computed, x)

    @property
    def is_real(self) -> bool:
        """Whether all trained parameters are real."""
        return not any(np.iscomplexobj(leaf) for leaf in jax.tree.leaves(self.parameters))

    def _evaluate(self, function: Psi, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        flat = x.reshape(-1, x.shape[-1])
        rows = self.rows(len(flat), x.shape[-1])
        values = over_ranks(
            lambda m: member_amplitudes(m[0], m[1], flat, rows), (function, self.parameters)
        )
        return values.reshape(self.n, *x.shape[:-1])

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, member: int) -> PureWaveFunction:
        """ψ of one member as a function of its parameters."""
        own: PyTree = jax.tree.map(lambda leaf: leaf[member], (self.parameters, *self.functions))
        parameters, psi, log_psi = own
        return PureWaveFunction(psi, parameters, self.model, log_psi, self.is_log)

    def __iter__(self) -> Iterator[PureWaveFunction]:
        return (self[i] for i in range(self.n))

    def unstack(self, tree: PyTree) -> PyTree:
        """What is stacked over members in the form of the state: of one network without the leading axis."""
        return tree if self.many else jax.tree.map(lambda leaf: leaf[0], tree)

    def stack(self, tree: PyTree) -> PyTree:
        """What has the form of the state, stacked over members."""
        return tree if self.many else jax.tree.map(lambda leaf: leaf[None], tree)


def scaled(values: Array, is_log: bool) -> tuple[Array, Array]:
    """Amplitudes over the last axis relative to the largest, and the logarithm of its modulus.

    Args:
        values: (…, n) of ψ, or of log ψ.
        is_log: Which.

    Returns:
        ψ/max|ψ| (…, n), and log max|ψ| (…): where all amplitudes are zero, zeros and -inf.
    """
    if is_log:
        values = values + 0j
        shift = jnp.max(values.real, axis=-1)
        finite = jnp.where(jnp.isfinite(shift), shift, 0.0)
        return jnp.exp(values - finite[..., None]), shift
    largest = jnp.max(jnp.abs(values), axis=-1)
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    return values / unit[..., None], jnp.log(largest)


def over_members(values: ArrayLike) -> nk.stats.Stats:
    """Mean, standard error of the mean and variance of one number per member: (n_members,)."""
    values = np.asarray(values)
    m = len(values)
    mean = values.mean()
    variance = float(np.mean(np.abs(values - mean) ** 2) * m / (m - 1)) if m > 1 else 0.0
    return nk.stats.Stats(
        mean=mean.item(), error_of_mean=float(np.sqrt(variance / m)), variance=variance
    )
