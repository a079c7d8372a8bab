r"""How fast SR converges in the end, from the ground state alone."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.dynamics import natural_gradient_step as steps
from netket_qsntk.errors import DegenerateGroundStateError
from netket_qsntk.losses import Energy


def late_rate(problem: steps.Problem, energy: Energy, shift: float | None) -> float:
    r"""The smallest non-zero eigenvalue r of (H - E₀)^½ G (H - E₀)^½ at the ground state.

    G = T(T + λ)⁻¹ for SR and T for gradient descent. Near the ground state x = √p δlog ψ obeys
    dx/dτ = -2η G (H - E₀) x, in the basis whose phases are those of the ground state, and E - E₀ = x†(H - E₀)x decays
    as e^{-4ηrτ}. For λ → 0 and a positive definite kernel r is the gap.

    Args:
        problem: What is trained; its method does not matter.
        energy: The Hamiltonian.
        shift: λ, or None for gradient descent.
    """
    n = energy.hilbert.n_states
    h = np.asarray(energy.apply(jnp.eye(n)).T)
    values, vectors = np.linalg.eigh(h)
    ground = vectors[:, 0]
    scale = max(abs(values[0]), abs(values[-1]))
    if n > 1 and values[1] - values[0] < 1e-10 * scale:
        raise DegenerateGroundStateError(
            f"late_rate: the two lowest energies are {values[0]:.12g} and {values[1]:.12g}; the last state of a run "
            "then depends on its start, and so does its rate. Break the degeneracy, or measure the rate of a run."
        )
    root = np.abs(ground)
    phase = np.where(root > 0, ground / np.where(root > 0, root, 1.0), 1.0)
    h = phase.conj()[:, None] * h * phase[None, :]
    t = np.asarray(steps.matrix(problem, jnp.asarray(root), _frame_factor(problem, ground)))
    if problem.joint and not problem.real:
        h = np.block([[h.real, -h.imag], [h.imag, h.real]])
    elif problem.real:
        h = h.real
    levels, modes = np.linalg.eigh(h - values[0] * np.eye(len(h)))
    half = (modes * np.sqrt(np.maximum(levels, 0.0))) @ modes.conj().T
    t_values, t_modes = np.linalg.eigh(t)
    floor = len(t) * np.finfo(float).eps * t_values[-1]
    live = np.maximum(np.where(t_values > floor, t_values, 0.0), 0.0)
    gain = live if shift is None else live / np.where(live > 0, live + shift, 1.0)
    rates = np.linalg.eigvalsh(half @ ((t_modes * gain) @ t_modes.conj().T) @ half)
    # Modes that T does not move, and the ground state itself, have rate zero, up to rounding.
    smallest = rates[rates > 1e-11 * rates[-1]]
    return float(smallest[0]) if len(smallest) else 0.0


def _frame_factor(problem: steps.Problem, ground: np.ndarray) -> Array:
    root = jnp.abs(jnp.asarray(ground))
    if problem.readout.is_log:
        return root
    # √p ∂log ψ/∂f for networks of ψ: the phase of 1/f, and e^r over the norm of ψ = e^r f, which training keeps near
    # its initial one and which only multiplies T; at norm one here.
    f = problem.readout.functions(jnp.log(jnp.asarray(ground) + 0j))
    size = jnp.abs(f)
    turned = jnp.where(size > 0, f.conj() / jnp.where(size > 0, size, 1.0), 1.0)
    r = problem.readout.reference
    m = turned if r is None else jnp.exp(r.real) * turned
    return m.real if problem.real else m
