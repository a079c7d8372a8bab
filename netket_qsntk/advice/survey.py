"""Settings of a run before it starts: qs.advise."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from netket.operator import DiscreteOperator

from netket_qsntk.advice.advice import Advice
from netket_qsntk.advice.ahead import log_psi_of
from netket_qsntk.advice.batch import (
    LEAST_ACCEPTANCE,
    acceptance_of,
    check_discrete,
    check_same_space,
)
from netket_qsntk.advice.examination import examine
from netket_qsntk.advice.scale import (
    after_scaling,
    beyond_scaling,
    initial_scale,
    rescaled,
    spread,
)
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.wavefunction import pure_wavefunction

__all__ = ["advise"]


def advise(
    state: nk.vqs.VariationalState,
    hamiltonian: DiscreteOperator,
    *,
    accuracy: float = 1e-3,
    n_samples: int = 256,
    memory: int = 2**30,
    seed: int = 0,
    rescale: bool = True,
) -> Advice:
    r"""Learning rate, diag_shift and initial scale for a ground-state search from this state, with reasons.

    From the tangent kernel T of log ψ on samples and the local energies:

    - *largest stable rates*: 2/µ_max, µ_max the largest eigenvalue of (S+λ)⁻¹G (of G for gradient descent), G the
      second variation of the energy in function space (:mod:`netket_qsntk.advice.tangent`), up to three steps from
      here (:mod:`netket_qsntk.advice.ahead`); and at most the rate at which log ψ changes by order one in the first
      step, tried on the samples;
    - *diag_shift*: the one with the fewest steps to ``accuracy`` at 0.7 of the
      stable rate, among those whose noise does not outweigh the gain; with the range that takes twice as many;
    - *initial scale*: a factor for all parameters, where the variance of log|ψ| over the basis is above one. **All
      else is then said of the network so scaled**: at the large parameters themselves |ψ|² sits on few
      configurations, gradients nearly vanish and rates are absurd. A network that is trained already is examined as
      it is: its energy is below that of the scaled one, at half the variance of the local energies or less, and its
      sampler moves;
    - *laziness*, *signal-to-noise of each mode*, *what the network cannot reach*, and memory and
      operations of ``use_ntk=True`` against the S matrix.

    It costs a few evaluations of the energy: the Jacobian of ``n_samples`` local energies, and about fifty times
    log ψ on ``n_samples`` configurations, below ten steps of a run with 1000 samples; up to twice that
    where the initial scale is too large. The state is left as it was.

    Args:
        state: A NetKet state of one network: MCState (its present samples), FullSumState (the whole basis up to
            4096 configurations, else a draw from |ψ|²).
        hamiltonian: A discrete NetKet operator on the same Hilbert space.
        accuracy: Relative accuracy of the energy that is wanted.
        n_samples: Configurations of the kernel.
        memory: Bytes that Jacobians may take: beyond, they are computed in chunks.
        seed: Of random configurations.
        rescale: Whether a network that starts too large may be scaled; False examines every network as it is.

    Raises:
        HilbertMismatchError: State and Hamiltonian live on different spaces.
        HamiltonianError: The operator is not a discrete one.
        NotANetworkError: The state is an ensemble (pass one of its members), or none.
        InvalidTrainingError: Numbers out of range.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0)
        >>> advice = qs.advise(nk.vqs.FullSumState(hi, nk.models.RBM(), seed=0), H)
        >>> advice.learning_rate < advice.max_learning_rate, "VMC_SR" in advice.call
        (True, True)
    """
    if not (accuracy > 0 and n_samples >= 2 and memory > 0):
        raise InvalidTrainingError(
            f"accuracy={accuracy}, n_samples={n_samples}, memory={memory}: expected positive numbers, and at least "
            "two configurations."
        )
    network = pure_wavefunction(state)
    check_discrete(hamiltonian)
    check_same_space(state, hamiltonian)
    x = jnp.asarray(_random(state, seed))
    wide = spread(log_psi_of(network), network.parameters, x)
    scale = initial_scale(log_psi_of(network), network.parameters, x)

    def look(state: nk.vqs.VariationalState) -> Advice:
        return examine(
            state, hamiltonian, x, accuracy=accuracy, n_samples=n_samples, memory=memory, seed=seed
        )

    if scale == 1 or not rescale:
        return look(state)
    if not np.isfinite(scale):
        return beyond_scaling(look(state), wide)
    smaller = rescaled(state, scale)
    if _trained(state, smaller, hamiltonian):
        advice = look(state)
        if not advice.has("flat start"):
            return advice
    return after_scaling(look(smaller), wide, scale)


def _trained(
    state: nk.vqs.VariationalState,
    smaller: nk.vqs.VariationalState,
    hamiltonian: DiscreteOperator,
) -> bool:
    """Whether large parameters are the result of training.

    A low energy alone does not say so: |ψ|² of an untrained network may sit on one configuration of low energy.
    """
    mine, others = (_moments(s, hamiltonian) for s in (state, smaller))
    acceptance = acceptance_of(state)
    moves = acceptance is None or acceptance >= LEAST_ACCEPTANCE
    return moves and mine[0] < others[0] and mine[1] <= 0.5 * others[1]


def _moments(state: nk.vqs.VariationalState, hamiltonian: DiscreteOperator) -> tuple[float, float]:
    """⟨H⟩ and the variance of the local energies; ∞ where the mean is no number."""
    stats = state.expect(hamiltonian)
    mean = float(np.real(stats.mean))
    return (mean, float(stats.variance)) if np.isfinite(mean) else (np.inf, np.inf)


def _random(state: nk.vqs.VariationalState, seed: int, n: int = 256) -> np.ndarray:
    return np.asarray(state.hilbert.random_state(jax.random.key(seed), n))
