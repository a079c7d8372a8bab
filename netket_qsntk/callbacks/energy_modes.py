"""How a driver of the energy trains the modes of the tangent kernel, on the samples that it has."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk._compat.netket_drivers import (
    diag_shift_of,
    hamiltonian_of,
    is_gradient_or_sr,
    next_change,
)
from netket_qsntk.advice.batch import Batch, connect, draw_batch
from netket_qsntk.advice.modes import TangentModes, tangent_modes
from netket_qsntk.advice.rows import LogPsi, real_view
from netket_qsntk.advice.tangent import tangent
from netket_qsntk.callbacks.kernel_summary import Logged
from netket_qsntk.dynamics.optimizers import AffineStep
from netket_qsntk.errors import NonFiniteError
from netket_qsntk.wavefunction import pure_wavefunction

__all__ = ["energy_keys", "gradient_of_sr", "optimizer_limit"]


def energy_keys(
    driver: nk.driver.AbstractDriver,
    update: PyTree,
    n_samples: int,
    memory: int,
    seed: int,
    arrays: bool,
) -> dict[str, Logged]:
    """What is logged under ``ntk/`` of a driver that minimises an energy; nothing for others.

    Args:
        driver: A NetKet driver.
        update: The direction that its optimiser is about to be given.
        n_samples: Configurations of the kernel.
        memory: Bytes for Jacobians.
        seed: Of a draw.
        arrays: Whether to log arrays over modes too.
    """
    hamiltonian, state = hamiltonian_of(driver), driver.state
    if not isinstance(hamiltonian, nk.operator.DiscreteOperator) or update is None:
        return {}
    network = pure_wavefunction(state)
    if network.log_psi is None:
        return {}
    batch = draw_batch(state, n_samples, whole=4 * n_samples, seed=seed)
    parts = _parts(driver, network.log_psi, network.parameters, batch)
    seen = tangent(
        network.log_psi,
        network.parameters,
        batch,
        connect(hamiltonian, batch),
        parts=parts,
        memory=memory,
    )
    out: dict[str, Logged] = {"effective_samples": _effective(driver, batch)}
    if seen.force is None or not np.isfinite([*seen.force, *seen.column]).all():
        raise NonFiniteError("Local energies, or their derivatives, are no numbers.")
    modes = tangent_modes(seen, batch)
    shift = diag_shift_of(driver)
    if shift is not None:
        out["sr_trained_modes"] = _trained(driver, modes, shift)
    signal = modes.signal_to_noise
    if signal is not None and batch.n_samples is not None:
        squared = float(np.sum(modes.force**2)) / max(float(np.sum(modes.error**2)), 1e-300)  # type: ignore[operator]
        out["signal_to_noise"] = float(np.sqrt(max(squared - 1, 0)))
        out["resolved_modes"] = int(np.sum(signal > 1))
    out["edge"] = _edge(
        driver, update, network.log_psi, network.parameters, batch, modes, parts, shift
    )
    if arrays:
        size = len(batch) * parts
        if shift is not None:
            out["sr_filter"] = _padded(modes.filter(shift), size)
        if signal is not None and batch.n_samples is not None:
            out["mode_signal_to_noise"] = _padded(signal, size)
    return out


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """Of one length at every step: logs want that."""
    return np.pad(values, (0, size - len(values)))


def _parts(
    driver: nk.driver.AbstractDriver, log_psi: LogPsi, parameters: PyTree, batch: Batch
) -> int:
    if isinstance(driver, nk.driver.VMC_SR):
        return 1 if driver.mode == "real" else 2
    shape = jax.eval_shape(log_psi, parameters, batch.x[:1])
    return 2 if jnp.issubdtype(shape.dtype, jnp.complexfloating) else 1


def _effective(driver: nk.driver.AbstractDriver, batch: Batch) -> float:
    """Independent samples that the chains are worth by the error of the energy; Kish's number over a basis.

    None (0) where the energy is not finite; where all local energies are the same and the samples few configurations
    over and over (a stuck sampler, no eigenstate), the number of those.
    """
    stats = driver._loss_stats
    if batch.n_samples is None or stats is None:
        return batch.effective
    error, variance = float(stats.error_of_mean), float(stats.variance)
    if not np.isfinite(variance):
        return 0.0
    if not (np.isfinite(error) and error > 0 and variance > 0):
        distinct = len(np.unique(np.asarray(batch.x), axis=0))
        return float(distinct if 2 * distinct <= len(batch) else batch.n_samples)
    return min(float(batch.n_samples), variance / error**2)


def _trained(driver: nk.driver.AbstractDriver, modes: TangentModes, shift: float) -> float:
    """Σ s/(s+λ), from all samples where the driver's solver returned the eigenvalues of its matrix."""
    info = driver.info
    if isinstance(info, dict) and "evals" in info:
        theirs = np.maximum(np.asarray(info["evals"]) - shift, 0)
        return float(np.sum(theirs / (theirs + shift)))
    return modes.trained(shift)


def optimizer_limit(optimizer: optax.GradientTransformation) -> float | None:
    """The largest curvature at which a linear optimiser is stable: 2/η of gradient descent, more with momentum.

    None where steps change with time (schedules), are not linear in the gradient (adam, rmsprop, clipping), or tell
    parameters apart.

    Example:
        >>> import optax
        >>> round(optimizer_limit(optax.sgd(0.1)), 6), round(optimizer_limit(optax.sgd(0.1, momentum=0.9)), 6)
        (20.0, 38.0)
    """
    try:
        step = AffineStep.of(optimizer)
    except Exception:  # it wants the parameters of the network, by name
        return None
    if step is None:
        return None
    low, high = 0.0, 1e-6
    while step.radius(high) <= 1 + 1e-12 and high < 1e12:
        low, high = high, 2 * high
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if step.radius(middle) <= 1 + 1e-12 else (low, middle)
    return low


def _edge(
    driver: nk.driver.AbstractDriver,
    update: PyTree,
    log_psi: LogPsi,
    parameters: PyTree,
    batch: Batch,
    modes: TangentModes,
    parts: int,
    shift: float | None,
) -> float:
    """Distance to the edge of stability: 1 at it, above 1 stable."""
    limit, change = None, next_change(driver, update)
    if is_gradient_or_sr(driver):
        limit = optimizer_limit(driver.optimizer)
        if limit is None and change is not None and _parallel(change, update):
            limit = 2 / _rate(change, update)
    if limit is not None:
        rates = modes.rates(shift)
        top = float(rates[-1]) if rates is not None and rates.size else 0.0
        return limit / top if top > 0 else float("inf")
    if change is None or modes.curvature is None or modes.force is None:
        return float("inf")
    # Along the step itself: the energy falls while -2 g·d > d·G d.
    pushed = np.asarray(_push(log_psi, parameters, batch.x, change))
    centred = pushed - batch.weights @ pushed
    rows = np.stack([centred.real, centred.imag][:parts], 1) * np.sqrt(batch.weights)[:, None]
    along = modes.vectors.T @ rows.reshape(-1) / np.sqrt(modes.eigenvalues)
    slope = float(np.sqrt(modes.eigenvalues) * modes.force @ along)
    curve = float(along @ modes.curvature @ along)
    return -2 * slope / curve if curve > 0 else float("inf")


def _rate(change: PyTree, update: PyTree) -> float:
    up = sum(float(jnp.sum(jnp.abs(u) ** 2)) for u in jax.tree.leaves(update))
    both = zip(jax.tree.leaves(change), jax.tree.leaves(update), strict=True)
    along = sum(float(jnp.sum(jnp.conj(u) * c).real) for c, u in both)
    return max(-along / up, 1e-300) if up > 0 else 1e-300


def _parallel(change: PyTree, update: PyTree) -> bool:
    """Whether the optimiser only scales the update (a schedule)."""
    rate = _rate(change, update)
    both = list(zip(jax.tree.leaves(change), jax.tree.leaves(update), strict=True))
    off = sum(float(jnp.sum(jnp.abs(c + rate * u) ** 2)) for c, u in both)
    size = sum(float(jnp.sum(jnp.abs(c) ** 2)) for c, _ in both)
    return off <= 1e-8 * size


@jax.jit
def _push(log_psi: LogPsi, parameters: PyTree, x: Array, direction: PyTree) -> Array:
    direction = jax.tree.map(lambda d, p: d.astype(p.dtype), direction, parameters)
    return jax.jvp(lambda p: log_psi(p, x) + 0j, (parameters,), (direction,))[1]


def gradient_of_sr(driver: nk.driver.AbstractDriver, update: PyTree) -> PyTree:
    """∇E = (S + λ) times the update of VMC_SR: a product with J and one with Jᵀ, no local energies.

    None for other drivers, and where momentum or a projection enter the update.
    """
    if not isinstance(driver, nk.driver.VMC_SR) or update is None:
        return None
    if driver.momentum is not None or driver.proj_reg is not None:
        return None
    shift, state = diag_shift_of(driver), driver.state
    network = pure_wavefunction(state)
    if network.log_psi is None or shift is None:
        return None
    if isinstance(state, nk.vqs.MCState):
        x = state.samples.reshape(-1, state.hilbert.size)
        p = jnp.full(len(x), 1 / len(x))
    else:
        x, p = jnp.asarray(state.hilbert.all_states()), state.probability_distribution()
    chunk = driver.chunk_size_bwd or len(x)
    total, mean = None, jnp.zeros(())
    for i in range(0, len(x), chunk):
        mean = mean + jnp.sum(
            p[i : i + chunk] * _push(network.log_psi, network.parameters, x[i : i + chunk], update)
        )
    for i in range(0, len(x), chunk):
        piece = _pull(
            network.log_psi,
            network.parameters,
            x[i : i + chunk],
            p[i : i + chunk],
            update,
            mean,
            driver.mode == "real",
        )
        total = piece if total is None else jax.tree.map(jnp.add, total, piece)
    return jax.tree.map(lambda s, d: s + shift * d, total, update)


@jax.jit
def _pull(
    log_psi: LogPsi,
    parameters: PyTree,
    x: Array,
    p: Array,
    update: PyTree,
    mean: Array,
    real: Array,
) -> PyTree:
    """Jᵀ Cᵀ D² C J times the update."""
    vector, back = real_view(parameters)
    direction = real_view(jax.tree.map(lambda d, q: d.astype(q.dtype), update, parameters))[0]
    value, pushed = jax.jvp(lambda v: log_psi(back(v), x) + 0j, (vector,), (direction,))
    # The weights of centred values sum to zero over all samples: Jᵀ needs no centring of its own.
    weight = p * (pushed - mean)
    weight = jnp.where(real, weight.real, weight)
    _, vjp = jax.vjp(lambda v: log_psi(back(v), x) + 0j, vector)
    return back(vjp(jnp.conj(weight).astype(value.dtype))[0])
