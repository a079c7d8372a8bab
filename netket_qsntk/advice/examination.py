"""A network examined where it stands: its settings, and what is wrong with it."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from netket.operator import DiscreteOperator
from netket.utils.types import PyTree

from netket_qsntk.advice import findings as look
from netket_qsntk.advice.advice import Advice
from netket_qsntk.advice.ahead import attempts, follow, log_psi_of
from netket_qsntk.advice.batch import (
    LEAST_ACCEPTANCE,
    Batch,
    acceptance_of,
    connect,
    draw_batch,
)
from netket_qsntk.advice.findings import Finding
from netket_qsntk.advice.forecast import outlook
from netket_qsntk.advice.modes import TangentModes, tangent_modes
from netket_qsntk.advice.recommend import Candidate, best, candidates, shift_range
from netket_qsntk.advice.resources import resources
from netket_qsntk.advice.rows import values
from netket_qsntk.advice.scale import spread
from netket_qsntk.advice.tangent import Tangent, tangent
from netket_qsntk.errors import NotANetworkError
from netket_qsntk.wavefunction import PureWaveFunction, pure_wavefunction

__all__ = ["examine"]


def examine(
    state: nk.vqs.VariationalState,
    hamiltonian: DiscreteOperator,
    x: Array,
    *,
    accuracy: float,
    n_samples: int,
    memory: int,
    seed: int,
) -> Advice:
    """The advice of :func:`netket_qsntk.advise` for the parameters as they are.

    Args:
        state: One network.
        hamiltonian: On the same space.
        x: Configurations drawn alike from all of the basis.
        accuracy: Relative accuracy of the energy.
        n_samples: Configurations of the kernel.
        memory: Bytes that Jacobians may take.
        seed: Of a draw from |ψ|².
    """
    network = pure_wavefunction(state)
    found: list[Finding] = []
    if not all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(network.parameters)):
        found.append(Finding("not finite", "some parameters are not numbers: start again"))
    energy, variance, effective, acceptance, autocorrelation = _sampling(state, hamiltonian, found)
    batch = draw_batch(state, n_samples, whole=4096, seed=seed, autocorrelation=autocorrelation)
    batch = _finite(network, batch, found)
    parts = _parts(network, batch)
    connections = connect(hamiltonian, batch)

    def look_at(network: PureWaveFunction, batch: Batch) -> tuple[Tangent, TangentModes]:
        seen = tangent(
            log_psi_of(network), network.parameters, batch, connections, parts=parts, memory=memory
        )
        return seen, tangent_modes(seen, batch)

    seen, modes = look_at(network, batch)
    if energy is None:
        energy, variance = _moments(seen, batch)
    found += look.variance(modes.residual, energy, batch)
    found += look.dead_parameters(seen, network.parameters)
    found += look.mixed_parameters(network.parameters)
    found += look.heavy_tails(seen, batch)
    found += look.parity(log_psi_of(network), network.parameters, hamiltonian, np.asarray(x, float))
    wide = spread(log_psi_of(network), network.parameters, x)
    # Of the energy where the run ends, which may be near zero where it starts.
    ends = energy - outlook(modes, 0.0).gain
    goal = accuracy * max(abs(energy), abs(ends), np.finfo(float).tiny)
    attempt = attempts(network, batch, modes, parts)
    options = candidates(modes, attempt, goal) if len(modes.eigenvalues) else []
    flat, way = False, []
    if options and modes.residual > 0:
        chosen = best(options[1:], goal)
        flat = chosen.trial.nonlinearity > 1
        way = follow(
            network, batch, modes, chosen, look_at=look_at, parts=parts, goal=goal, again=flat
        )
        if way and not flat:
            options = candidates(modes, attempt, goal, late=way[-1], late_step=len(way))
        elif way:
            # Far from the ground state excitation energies are no guide: the last modes that have something to gain.
            there = [m for m in way if outlook(m, 0.0).gain > 10 * goal]
            options = candidates(
                there[-1] if there else way[0], attempt, goal, late=way[-1], late_step=len(way)
            )
            options = [replace(c, steps=c.steps + np.ceil(c.trial.steps_to_leave)) for c in options]
    return _written(
        state, options, modes, goal, found, flat,
        energy=float(np.real(energy)), variance=variance, accuracy=accuracy, spread=wide, initial_scale=1.0,
        acceptance=acceptance, effective_samples=batch.effective if effective is None else effective,
        followed=len(way), parameters=network.parameters, parts=parts,
    )  # fmt: skip


def _sampling(
    state: object, hamiltonian: DiscreteOperator, found: list[Finding]
) -> tuple[complex | None, float, float | None, float | None, float]:
    """Energy and its variance from all samples, what they are worth, acceptance, and the factor of correlation."""
    if not isinstance(state, nk.vqs.MCState):
        return None, 0.0, None, None, 1.0
    local = state.local_estimators(hamiltonian)
    stats = nk.stats.statistics(local)
    n, variance = state.n_samples, float(stats.variance)
    error = float(stats.error_of_mean)
    usable = np.isfinite(error) and error > 0 and variance > 0
    effective = min(float(n), variance / error**2) if usable else float(n)
    acceptance = acceptance_of(state)
    if acceptance is not None and acceptance < LEAST_ACCEPTANCE:
        found.append(
            Finding(
                "low acceptance",
                f"{100 * acceptance:.1f} % of the sampler's moves are accepted: chains hardly move. Start from a "
                "smaller initial scale, or use another rule",
            )
        )
    if np.isfinite(stats.R_hat) and stats.R_hat > 1.1:
        found.append(
            Finding(
                "chains disagree", f"R̂ = {float(stats.R_hat):.2f}: more sweeps, or longer chains"
            )
        )
    mean = complex(stats.mean) if np.isfinite(stats.mean) else None
    return (
        mean,
        variance if np.isfinite(variance) else 0.0,
        effective,
        acceptance,
        max(1.0, n / effective),
    )


def _finite(network: PureWaveFunction, batch: Batch, found: list[Finding]) -> Batch:
    """The batch without configurations on which log ψ is no number."""
    log = np.asarray(values(log_psi_of(network), network.parameters, batch.x))
    good = np.isfinite(log)
    if good.all():
        return batch
    found.append(
        Finding(
            "not finite",
            f"log ψ is not a number, or ψ is zero, on {np.sum(~good)} of {len(good)} configurations: left out",
        )
    )
    if good.sum() < 2:
        raise NotANetworkError(
            "log ψ is finite on fewer than two configurations of the batch: there is nothing to examine. Check the "
            "parameters."
        )
    kept = np.nonzero(good)[0]
    weights = batch.weights[kept] / batch.weights[kept].sum()
    index = None if batch.index is None else batch.index[kept]
    return Batch(batch.x[kept], weights, batch.n_samples, batch.autocorrelation, index)


def _parts(network: PureWaveFunction, batch: Batch) -> int:
    shape = jax.eval_shape(log_psi_of(network), network.parameters, batch.x[:1])
    return 2 if jnp.issubdtype(shape.dtype, jnp.complexfloating) else 1


def _moments(seen: Tangent, batch: Batch) -> tuple[complex, float]:
    local = np.asarray(seen.local_energies)
    mean = batch.weights @ local
    return complex(mean), float(batch.weights @ np.abs(local - mean) ** 2)


def _written(
    state: nk.vqs.VariationalState,
    options: list[Candidate],
    modes: TangentModes,
    goal: float,
    found: list[Finding],
    flat: bool,
    *,
    parameters: PyTree,
    parts: int,
    **measured: Any,
) -> Advice:
    """Everything put together."""
    sampled = isinstance(state, nk.vqs.MCState)
    leaves = jax.tree.leaves(parameters)
    size = sum(leaf.size * (2 if jnp.iscomplexobj(leaf) else 1) for leaf in leaves)
    rows = parts * (state.n_samples if sampled else state.hilbert.n_states)
    counted = resources(size, rows, leaves[0].real.dtype.itemsize if leaves else 8)
    homogeneous = nk.jax.tree_ishomogeneous(leaves)
    use_ntk = sampled and counted.use_ntk and homogeneous
    if not options or modes.residual <= 0 or any(f.name == "zero variance" for f in found):
        call = "# nothing to train from here: see the findings"
        return Advice(
            learning_rate=0.0, diag_shift=0.0, max_learning_rate=0.0, gradient_descent=0.0, max_learning_rate_gd=0.0,
            diag_shift_range=(0.0, 0.0), steps=float("inf"), steps_at_ends=(float("inf"), float("inf")),
            late_rate=0.0, noise=0.0, n_samples=state.n_samples if sampled else None, trained_modes=0.0,
            resolved_modes=0 if sampled else None, laziness=0.0, nonlinearity=0.0, unreachable=modes.unreachable,
            use_ntk=use_ntk, resources=counted, findings=tuple(found), modes=modes, options=(), call=call, **measured,
        )  # fmt: skip
    plain, options = options[0], options[1:]
    chosen = best(options, goal, straight=not flat)
    low, high = shift_range(options, chosen)
    signal = modes.signal_to_noise
    resolved = int(np.sum(signal > 1)) if sampled and signal is not None else None
    n_samples = state.n_samples if sampled else None
    found = [*found, *look.after_the_choice(chosen, modes, n_samples, flat)]
    still = [leaf for leaf in leaves if leaf.size]
    norm = float(np.sqrt(sum(float(jnp.sum(jnp.abs(leaf) ** 2)) for leaf in still)))
    way, _ = modes.newton_step(chosen.diag_shift or 0.0)
    call = _call(chosen, use_ntk if sampled else None, homogeneous=homogeneous)
    return Advice(
        learning_rate=chosen.learning_rate, diag_shift=chosen.diag_shift or 0.0,
        max_learning_rate=chosen.max_learning_rate, gradient_descent=plain.learning_rate,
        max_learning_rate_gd=plain.max_learning_rate,
        diag_shift_range=(low.diag_shift or 0.0, high.diag_shift or 0.0), steps=chosen.steps,
        steps_at_ends=(low.steps, high.steps), late_rate=chosen.late_rate, noise=chosen.noise,
        n_samples=n_samples, trained_modes=chosen.trained, resolved_modes=resolved,
        laziness=way / norm if norm > 0 else float("inf"), nonlinearity=chosen.trial.nonlinearity,
        unreachable=modes.unreachable, use_ntk=use_ntk, resources=counted, findings=tuple(found), modes=modes,
        options=tuple(options), call=call, **measured,
    )  # fmt: skip


def _call(chosen: Candidate, use_ntk: bool | None, *, homogeneous: bool) -> str:
    """The line to type; ``use_ntk=None`` leaves the choice to the driver."""
    rate, shift = f"{chosen.learning_rate:.2g}", f"{chosen.diag_shift:.2g}"
    if not homogeneous:
        return (
            f"nk.driver.VMC(hamiltonian, optax.sgd({rate}), variational_state=state, preconditioner=nk.optimizer.SR("
            f"qgt=nk.optimizer.qgt.QGTJacobianPyTree(holomorphic=False), diag_shift={shift}))"
        )
    extra = "" if use_ntk is None else f", use_ntk={use_ntk}"
    return f"nk.driver.VMC_SR(hamiltonian, optax.sgd({rate}), variational_state=state, diag_shift={shift}{extra})"
