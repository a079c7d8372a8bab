r"""Rényi entropies from samples: subsystem A swapped around n replicas.

.. math:: \mathrm{Tr}\,\rho_A^n = E_{(a_k, b_k) \sim |\psi|^2}
    \Big[\prod_{k=1}^n \frac{\psi^*(a_{k+1}, b_k)}{\psi^*(a_k, b_k)}\Big]

(Hastings et al., PRL 104, 157201 (2010) for n = 2). A swapped configuration outside a constrained
space has zero amplitude whatever the network says of it, and fermionic amplitudes carry the signs
that bring A before B.
"""

import math

import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array

from netket_qsntk.entanglement.partition import exchange_signs
from netket_qsntk.errors import EntropyOrderError, ObservableError
from netket_qsntk.observable.entropy import EntanglementEntropy
from netket_qsntk.targets.matrix import inside


@nk.vqs.local_estimators.dispatch
def swap_estimators(
    state: nk.vqs.MCState, entropy: EntanglementEntropy, chunk_size: int | None
) -> nk.stats.LocalEstimatorsBatch:
    """One factor Tr ρ_Aⁿ for each n-tuple of samples; their mean's logarithm is the entropy."""
    entropy.check_state(state)
    n = entropy.n
    if n != int(min(n, 2**31)) or n < 2:
        raise EntropyOrderError(
            f"n={n!r}: samples give the entropies of integer order n = 2, 3, … only. Others need "
            "the whole state: nk.vqs.FullSumState(hilbert, model, "
            "variables=state.variables).expect(entropy)."
        )
    replicas = _replicas(state.samples, int(n))
    data = _swap_values(state, entropy, replicas, chunk_size)
    return nk.stats.LocalEstimatorsBatch(
        data=data[..., None],
        combinator=nk.jax.HashablePartial(_renyi, int(n), math.log(entropy.log_base)),
    )


def _renyi(n: int, unit: float, means: Array) -> Array:
    return jnp.log(means[0]) / ((1 - n) * unit)


@nk.vqs.expect.dispatch
def _sampled(
    state: nk.vqs.MCState, entropy: EntanglementEntropy, chunk_size: int | None
) -> nk.stats.Stats:
    return nk.vqs.local_estimators(state, entropy, chunk_size).to_stats()


def _replicas(samples: Array, n: int) -> Array:
    """Replicas (n, chains, length, sites), from different chains if there are n, else stretches."""
    chains, length, _ = samples.shape
    if chains >= n:
        groups = chains // n
        return samples[: n * groups].reshape(n, groups, *samples.shape[1:])
    stretch = length // n
    if stretch == 0:
        raise ObservableError(
            f"{n} replicas are needed and the state has {chains} chains of {length} samples; set "
            f"n_samples to {n * chains} or more."
        )
    cut = samples[:, : n * stretch].reshape(chains, n, stretch, -1)
    return jnp.moveaxis(cut, 1, 0)


def _swap_values(
    state: nk.vqs.MCState, entropy: EntanglementEntropy, replicas: Array, chunk_size: int | None
) -> Array:
    """Re Π_k ψ(a_{k+1}, b_k)/ψ(a_k, b_k) for each tuple, (chains, length)."""
    hilbert = entropy.hilbert
    in_a = np.isin(np.arange(hilbert.size), entropy.partition)
    swapped = jnp.where(in_a, jnp.roll(replicas, -1, axis=0), replicas)
    log_psi = [_log_value(state, x, chunk_size) for x in (replicas, swapped)]
    signs = [exchange_signs(hilbert, entropy.partition, x) for x in (replicas, swapped)]
    weight = jnp.prod(signs[0] * signs[1] * inside(hilbert, swapped), axis=0)
    # The mean is real; its imaginary part is noise, which the delta method has no use for.
    ratio = jnp.exp(jnp.sum(jnp.where(weight == 0, 0, log_psi[1] - log_psi[0]), axis=0))
    return weight * ratio.real


def _log_value(state: nk.vqs.MCState, x: Array, chunk_size: int | None) -> Array:
    flat = x.reshape(-1, x.shape[-1])
    step = chunk_size or len(flat)
    values = [state.log_value(flat[i : i + step]) for i in range(0, len(flat), step)]
    return jnp.concatenate(values).reshape(x.shape[:-1])
