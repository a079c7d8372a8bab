"""Oracles for the entanglement tests, sharing no code with the package."""

import itertools

import numpy as np


def density_matrix_spectrum(psi, states, in_a, sign=None):
    """Eigenvalues of ρ_A from the definition, with a dictionary of configurations of A and B."""
    rows, columns = {}, {}
    for x in states:
        rows.setdefault(tuple(x[list(in_a)].tolist()), len(rows))
        rest = [i for i in range(len(x)) if i not in in_a]
        columns.setdefault(tuple(x[rest].tolist()), len(columns))
    table = np.zeros((len(rows), len(columns)), dtype=complex)
    for number, x in enumerate(states):
        rest = [i for i in range(len(x)) if i not in in_a]
        s = 1 if sign is None else sign(x)
        table[rows[tuple(x[list(in_a)].tolist())], columns[tuple(x[rest].tolist())]] = (
            s * psi[number]
        )
    rho = table @ table.conj().T
    return np.linalg.eigvalsh(rho / np.trace(rho))


def tables_of_members(psi, hilbert, in_a):
    """ψ(a, b) of members on an unconstrained space, (members, d_A, d_B)."""
    rest = [i for i in range(hilbert.size) if i not in in_a]
    shape = tuple(hilbert.shape)
    t = psi.reshape(len(psi), *shape).transpose(0, *(1 + i for i in (*in_a, *rest)))
    return t.reshape(len(psi), int(np.prod([shape[i] for i in in_a])), -1)


def trace_moments(tables, n):
    """Tr ρ̃ⁿ and (Tr ρ̃)ⁿ of each member."""
    if tables.shape[1] > tables.shape[2]:
        tables = tables.swapaxes(1, 2)
    rho = tables @ tables.conj().swapaxes(1, 2)
    power = rho
    for _ in range(n - 1):
        power = power @ rho
    norm = np.trace(rho, axis1=1, axis2=2).real
    return np.trace(power, axis1=1, axis2=2).real, norm**n


def standard_score(samples, value):
    """(mean - value) in standard errors of the mean."""
    return (samples.mean() - value) / (samples.std(ddof=1) / np.sqrt(len(samples)))


def gaussian_draws(k_real, k_imag, members, rng):
    """ψ with the given covariances of its parts, by Cholesky factors."""

    def draw(k):
        factor = np.linalg.cholesky(k + 1e-12 * np.trace(k) / len(k) * np.eye(len(k)))
        return rng.standard_normal((members, len(k))) @ factor.T

    return draw(k_real) + (0j if k_imag is None else 1j * draw(k_imag))


def isserlis_moment(gamma, c, shape, n):
    """E Tr ρ̃ⁿ by the 2n-fold sum over configurations and Isserlis' theorem, term by term."""
    d_a, d_b = shape
    total = 0.0
    for a in itertools.product(range(d_a), repeat=n):
        for b in itertools.product(range(d_b), repeat=n):
            fields = []
            for k in range(n):
                fields.append((a[k] * d_b + b[k], False))
                fields.append((a[(k + 1) % n] * d_b + b[k], True))
            total += _isserlis(tuple(fields), gamma, c)
    return total.real


def _isserlis(fields, gamma, c):
    if not fields:
        return 1.0
    (x, starred), rest = fields[0], fields[1:]
    total = 0.0
    for i, (y, other) in enumerate(rest):
        if starred == other and c is None:
            continue
        if starred == other:
            value = np.conj(c[x, y]) if starred else c[x, y]
        else:
            value = gamma[y, x] if starred else gamma[x, y]
        if value != 0:
            total += value * _isserlis(rest[:i] + rest[i + 1 :], gamma, c)
    return total
