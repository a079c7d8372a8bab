"""Configurations on which a network is examined, their weights, and what they are connected to."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import scipy.sparse as sp
from jax import Array
from netket.operator import DiscreteOperator
from netket.utils.types import PyTree

from netket_qsntk.errors import HamiltonianError, HilbertMismatchError

__all__ = [
    "LEAST_ACCEPTANCE",
    "Batch",
    "Connections",
    "acceptance_of",
    "check_discrete",
    "check_same_space",
    "connect",
    "draw_batch",
    "present_samples",
]


# Chains that accept fewer of their moves hardly go anywhere: what they say of a state is not to be trusted.
LEAST_ACCEPTANCE = 0.1


@dataclass(frozen=True)
class Batch:
    """Configurations with the weights of |ψ|².

    Attributes:
        x: Configurations (n, sites).
        weights: p (n,), summing to one: 1/n for samples, |ψ|² over the whole basis.
        n_samples: Samples a step of the run takes: what noise is reckoned for; None if the run sums over the basis.
        autocorrelation: Factor by which correlated chains raise the variance of a mean, 1 if unknown.
        index: Numbers of the configurations in the basis when they are all of it (with weight), else None.
    """

    x: Array
    weights: np.ndarray
    n_samples: int | None
    autocorrelation: float = 1.0
    index: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def effective(self) -> float:
        """Kish's number of configurations, 1/Σp²."""
        return float(1 / np.sum(self.weights**2))


@dataclass(frozen=True)
class Connections:
    """Rows of a Hamiltonian: ⟨x|H|x'⟩ for the x' connected to each x.

    Attributes:
        x: Connected configurations (n, k, sites), padded with x itself; None over a whole basis.
        elements: Matrix elements (n, k), zero where padded; None over a whole basis.
        matrix: H between the configurations of a batch that is the whole basis (n, n), else None.
    """

    x: Array | None
    elements: Array | None
    matrix: sp.csr_matrix | None = None


def present_samples(state: nk.vqs.MCState, n: int) -> Array:
    """n of the state's samples from all of its chains, evenly: those of one chain resemble one another."""
    samples = state.samples.reshape(-1, state.hilbert.size)
    rows = np.linspace(0, len(samples) - 1, min(n, len(samples))).astype(int)
    return jnp.array(samples[rows])


def draw_batch(
    state: nk.vqs.VariationalState,
    n: int,
    *,
    whole: int = 0,
    seed: int = 0,
    autocorrelation: float = 1.0,
) -> Batch:
    """Configurations of a state: its samples, its whole basis where that is small, or a draw from |ψ|².

    Args:
        state: An MCState (its present samples are used), or a state that sums over its basis.
        n: Configurations at most, where they are samples.
        whole: Largest basis taken as a whole, for states that sum over it.
        seed: Of a draw.
        autocorrelation: Handed on.
    """
    if isinstance(state, nk.vqs.MCState):
        x = present_samples(state, n)
        return Batch(x, np.full(len(x), 1 / len(x)), state.n_samples, autocorrelation)
    states = np.asarray(state.hilbert.all_states())
    weight = np.abs(np.asarray(state.to_array())).astype(float) ** 2
    weight = np.where(np.isfinite(weight), weight, 0)
    weight = weight / weight.sum()
    if len(states) <= whole:
        # Configurations of no weight say nothing, and their log ψ may be -∞.
        kept = np.nonzero(weight > 0)[0]
        return Batch(jnp.asarray(states[kept]), weight[kept], None, index=kept)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(states), n, p=weight))
    return Batch(jnp.asarray(states[chosen]), np.full(n, 1 / n), None)


def connect(hamiltonian: DiscreteOperator, batch: Batch) -> Connections:
    """The rows of a discrete Hamiltonian on a batch.

    Raises:
        HamiltonianError: The operator is not a discrete one: its local energies have no connected configurations.
    """
    check_discrete(hamiltonian)
    if batch.index is not None:
        matrix = sp.csr_matrix(hamiltonian.to_sparse())
        return Connections(None, None, matrix[batch.index][:, batch.index])
    x = np.asarray(batch.x)
    connected, elements = map(np.asarray, hamiltonian.get_conn_padded(x))
    # Padding is whatever the operator leaves there; a network need not be finite on it.
    connected = np.where((elements != 0)[..., None], connected, x[:, None])
    return Connections(jnp.asarray(connected), jnp.asarray(elements))


def acceptance_of(state: nk.vqs.VariationalState) -> float | None:
    """Share of the moves that a Metropolis sampler accepted last; None without one."""
    if not isinstance(state, nk.vqs.MCState):
        return None
    if not isinstance(state.sampler_state, nk.sampler.MetropolisSamplerState):
        return None
    accepted = state.sampler_state.acceptance
    return None if accepted is None else float(accepted)


def check_discrete(hamiltonian: object) -> None:
    """Raise unless the Hamiltonian is a discrete operator."""
    if not isinstance(hamiltonian, DiscreteOperator):
        raise HamiltonianError(
            f"Expected a discrete operator of NetKet, got {type(hamiltonian).__name__}: its second variation is "
            "read from connected configurations."
        )


def check_same_space(state: nk.vqs.VariationalState, hamiltonian: DiscreteOperator) -> None:
    """Raise unless state and Hamiltonian live on one Hilbert space."""
    if state.hilbert != hamiltonian.hilbert:
        raise HilbertMismatchError(
            f"The state lives on {state.hilbert} and the Hamiltonian on {hamiltonian.hilbert}: build both on the "
            "same Hilbert space."
        )


def sizes(parameters: PyTree) -> dict[str, int]:
    """Number of real parameters of each leaf by its path."""
    flat, _ = jax.tree_util.tree_flatten_with_path(parameters)
    return {
        jax.tree_util.keystr(path): leaf.size * (2 if jnp.iscomplexobj(leaf) else 1)
        for path, leaf in flat
    }
