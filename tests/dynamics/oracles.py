"""Training by explicit steps, with none of the package's algebra."""

import netket as nk
import numpy as np
import optax

import netket_qsntk as qs

LINEAR = {
    "sgd": lambda rate: optax.sgd(rate),
    "momentum": lambda rate: optax.sgd(rate, momentum=0.8),
    "nesterov": lambda rate: optax.sgd(rate, momentum=0.8, nesterov=True),
    "schedule": lambda rate: optax.sgd(optax.cosine_decay_schedule(rate, 40, alpha=0.1)),
    "weight decay": lambda rate: optax.chain(optax.add_decayed_weights(0.05), optax.sgd(rate)),
    "chain": lambda rate: optax.chain(
        optax.ema(0.5), optax.add_decayed_weights(0.02), optax.sgd(rate, momentum=0.4)
    ),
}

SPINS = nk.hilbert.Spin(0.5, 4)
FERMIONS = nk.hilbert.SpinOrbitalFermions(3, s=1 / 2, n_fermions_per_spin=(1, 1))


def random_target(hilbert, seed=0):
    """A complex target without structure."""
    rng = np.random.default_rng(seed)
    return qs.targets.Target(
        hilbert, rng.normal(size=hilbert.n_states) + 1j * rng.normal(size=hilbert.n_states)
    )


def encoding(hilbert):
    return None if hilbert is SPINS else qs.encodings.fermion_sites


def train_linear_model(jacobian, train, start, target, optimizer, n_steps):
    """ψ_t = ψ_0 + J θ_t by gradient steps on θ, for t = 0 … n_steps.

    Args:
        jacobian: J on the whole basis (N, P).
        train: Indices of the training set.
        start: ψ_0 on the whole basis (N, k), k runs at once; complex runs train Re θ-like coordinates of both parts
            with the same J.
        target: ψ_T on the training set (n, k).
        optimizer: Applied to θ.
        n_steps: Number of steps.

    Returns:
        (n_steps + 1, N, k).
    """
    theta = np.zeros((jacobian.shape[1], start.shape[1]), start.dtype)
    state, out = optimizer.init(theta), [start]
    for _ in range(n_steps):
        error = out[-1][train] - target
        gradient = 2 / len(train) * jacobian[train].T @ error
        update, state = optimizer.update(gradient, state, theta)
        theta = theta + np.asarray(update)
        out.append(start + jacobian @ theta)
    return np.stack(out)


def square_root(matrix):
    """J with J Jᵀ = matrix."""
    values, vectors = np.linalg.eigh(np.asarray(matrix))
    return vectors * np.sqrt(np.maximum(values, 0))


def ensemble_by_steps(kernel, hilbert, train, target, optimizer, n_steps):
    """Mean (t, N) and covariance of one part (t, N, N) of infinitely wide networks, step by step.

    Training is linear in the initial function: the identity as start and zero as target give its matrix.
    """
    x = np.asarray(hilbert.all_states())
    nngp, ntk = (np.asarray(k) for k in kernel.both(x))
    jacobian = square_root(ntk)
    n = len(x)
    response = train_linear_model(
        jacobian, train, np.eye(n), np.zeros((len(train), n)), optimizer, n_steps
    )
    amplitudes = target.amplitudes[train]
    if kernel.n_parts == 1:
        amplitudes = amplitudes.real
    amplitudes = np.stack([amplitudes.real, amplitudes.imag], axis=1)
    mean = train_linear_model(jacobian, train, np.zeros((n, 2)), amplitudes, optimizer, n_steps)
    return mean[..., 0] + 1j * mean[..., 1], response @ nngp @ np.swapaxes(response, 1, 2)
