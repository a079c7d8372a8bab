r"""Training of a given network in its linearisation around the present parameters, solved (Eqs. 11-13)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.dynamics.matrices import Matrix, Vector, vector
from netket_qsntk.dynamics.settings import Mode, make_response, warn_if_unstable
from netket_qsntk.dynamics.solution import Data
from netket_qsntk.dynamics.training_modes import Modes, as_steps
from netket_qsntk.kernels import QSNTK, EmpiricalKernel
from netket_qsntk.parallel import SharedMatrix, n_devices
from netket_qsntk.text import summary


class LinearizedCurves(NamedTuple):
    """Losses and fidelity of one linearised network at given steps, each (steps,)."""

    train: Array
    test: Array
    fidelity: Array

    def __repr__(self) -> str:
        return summary(self, self._fields)


class LinearizedDynamics:
    r"""Full-batch training of the linearisation Ψ₀ + J(θ - θ₀) of a network toward a target.

    The same algebra as :class:`~netket_qsntk.dynamics.LinearDynamics` with the kernel of *this* network at
    *these* parameters, and its present amplitudes to start from:

    .. math:: \Psi_x(t) = \Psi_x(0) - \Omega_{xB} V a_t V^T (\Psi_B(0) - \psi_T)

    When the parts of ψ do not mix (Θ₁₂ = 0) each has its own eigendecomposition of size |B|; otherwise there is
    one of size 2|B|, of Ω_RI.

    Args:
        kernel: The kernel of the network, :class:`~netket_qsntk.kernels.EmpiricalKernel`.
        train: Training set with ``states`` (|B|, sites) and ``amplitudes`` (|B|,).
        test: The rest of the basis, or any other set.
        learning_rate, optimizer, mode: As for :class:`~netket_qsntk.dynamics.LinearDynamics`.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> target = qs.targets.ground_state(nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0))
        >>> train, test = target.split(n_train=12, seed=0)
        >>> vs = nk.vqs.FullSumState(hi, qs.models.CosNet(50, 1.0, 2.0), seed=1)
        >>> kernel = qs.kernels.EmpiricalKernel(vs)
        >>> eta = 0.5 * qs.kernels.max_learning_rate(kernel, train.states)
        >>> dynamics = qs.dynamics.LinearizedDynamics(kernel, train, test, learning_rate=eta)
        >>> curves = dynamics.curves([0, 10, 100])
        >>> bool(curves.train[2] < curves.train[1] < curves.train[0])
        True
    """

    def __init__(
        self,
        kernel: EmpiricalKernel,
        train: Data,
        test: Data,
        *,
        learning_rate: float | None = None,
        optimizer: optax.GradientTransformation | None = None,
        mode: Mode = "gd",
    ) -> None:
        self.kernel, self.train, self.test = kernel, train, test
        n, m = len(train.states), len(test.states)
        response = make_response(n, learning_rate, optimizer, mode)
        blocks = _kernel_blocks(kernel, train, test)
        errors = [_parts_of_error(kernel, data) for data in (train, test)]
        self._start_error = jnp.concatenate(errors, axis=1)  # (2, n + m)
        self._shape = n, m
        self._blocks: list[_Block] = []
        top = 0.0
        while blocks:
            theta_bb, theta_xb, parts = blocks.pop(0)
            if not any(jnp.any(leaf) for leaf in jax.tree.leaves(theta_bb)):
                continue  # ψ₂ = 0: nothing trains there
            modes = Modes(_placed(theta_bb), response)
            del theta_bb
            top = max(top, float(modes.eigenvalues[-1]))
            c = modes.project(errors[0][np.asarray(parts)].T.ravel())
            self._blocks.append(_Block(modes, c, _placed(theta_xb) @ (modes.vectors * c), parts))
        warn_if_unstable(response, top, n)

    def error(self, steps: ArrayLike) -> tuple[Array, Array]:
        """ψ(t) - ψ_T on the training set (steps, n) and on the test set (steps, m), complex."""
        n, m = self._shape
        out = jnp.broadcast_to(self._start_error, (len(as_steps(steps)), 2, n + m))
        for modes, c, moved, parts in self._blocks:
            a = modes.displacements(steps)
            train = (a * modes.eigenvalues * c) @ modes.vectors.T
            test = a @ moved.T
            change = jnp.concatenate(
                [_by_part(train, n, len(parts)), _by_part(test, m, len(parts))], axis=-1
            )
            out = out.at[:, jnp.asarray(parts)].add(-change)
        error = out[:, 0] + 1j * out[:, 1]
        return error[:, :n], error[:, n:]

    def curves(self, steps: ArrayLike) -> LinearizedCurves:
        """Losses on both sets and the fidelity over both together, at given steps."""
        n, m = self._shape
        target = jnp.concatenate([jnp.asarray(d.amplitudes) for d in (self.train, self.test)])
        train_sum = jnp.zeros(len(as_steps(steps)))
        start = jnp.vdot(target, self._start_error[0] + 1j * self._start_error[1])
        overlap = jnp.broadcast_to(start, train_sum.shape)
        trained = {part for block in self._blocks for part in block.parts}
        for part in {0, 1} - trained:
            train_sum = train_sum + jnp.sum(self._start_error[part, :n] ** 2)
        test_sums: dict[int, Array] = {}
        for modes, c, moved, parts in self._blocks:
            train_sum = train_sum + modes.square_sums(steps, (c**2)[:, None])[:, 0]
            basis = modes.time_basis(steps)
            nodes = _by_part(basis.nodes @ moved.T, m, len(parts))
            on_train = (basis.nodes * modes.eigenvalues * c) @ modes.vectors.T
            nodes_all = jnp.concatenate([_by_part(on_train, n, len(parts)), nodes], axis=-1)
            phase = jnp.asarray([1.0, 1j])[jnp.asarray(parts)]
            overlap = overlap - basis.coefficients @ jnp.einsum(
                "kpx,x,p->k", nodes_all, target.conj(), phase
            )
            for i, part in enumerate(parts):
                start = self._start_error[part, n:]
                test_sums[part] = jnp.asarray(basis.square_distance(nodes[:, i], start))
        test_sum = jnp.zeros_like(train_sum)
        for part in (0, 1):
            untrained = jnp.sum(self._start_error[part, n:] ** 2)
            test_sum = test_sum + test_sums.get(part, untrained)
        # ⟨ψ_T|ψ⟩ = 1 + ⟨ψ_T|ψ - ψ_T⟩ and |ψ|² = |ψ - ψ_T|² + 1 + 2 Re⟨ψ_T|ψ - ψ_T⟩
        unit = jnp.vdot(target, target).real
        norm = train_sum + test_sum + unit + 2 * overlap.real
        fidelity = jnp.abs(unit + overlap) ** 2 / (norm * unit)
        return LinearizedCurves(train_sum / n, test_sum / (m or jnp.nan), fidelity)

    def __repr__(self) -> str:
        n, m = self._shape
        sizes = [len(block.modes.eigenvalues) for block in self._blocks]
        return (
            f"LinearizedDynamics({self.kernel!r}, n_train={n}, n_test={m}, eigenproblems={sizes})"
        )


class _Block(NamedTuple):
    """Parts of ψ that train together: modes, their start errors c, and Ω_XB V diag(c).

    Where there are two, vectors have the parts of one configuration side by side.
    """

    modes: Modes
    c: Vector
    moved: Matrix
    parts: list[int]


def _placed(matrix: Matrix) -> Matrix:
    return matrix if isinstance(matrix, SharedMatrix) else vector(matrix)


def _by_part(values: Vector, n: int, parts: int) -> Array:
    """(k, n × parts), parts of a configuration side by side, as (k, parts, n)."""
    return jnp.asarray(values).reshape(len(values), n, parts).swapaxes(1, 2)


def _interleaved(kernel: QSNTK) -> Matrix:
    """Ω_RI with the parts of one configuration side by side, so that its rows lie where theirs do."""

    def join(*blocks: Array) -> Array:
        n, m = blocks[0].shape
        return jnp.stack(blocks).reshape(2, 2, n, m).transpose(2, 0, 3, 1).reshape(2 * n, 2 * m)

    theta_21 = kernel.theta_12.T if kernel.theta_21 is None else kernel.theta_21
    blocks = kernel.theta_11, kernel.theta_12, theta_21, kernel.theta_22
    if isinstance(kernel.theta_11, SharedMatrix):
        return SharedMatrix.by_rows(join, 2 * kernel.theta_11.shape[0], *blocks)
    return join(*blocks)


def _kernel_blocks(
    kernel: EmpiricalKernel, train: Data, test: Data
) -> list[tuple[Matrix, Matrix, list[int]]]:
    """(Ω_BB, Ω_XB, parts) of each set of parts that trains by itself."""
    measure = kernel.qsntk if n_devices() == 1 else kernel.shared
    here = measure(train.states)
    if len(test.states):
        there = measure(test.states, train.states)
    else:
        nothing = jnp.zeros((0, len(train.states)))
        there = QSNTK(nothing, nothing, nothing, nothing)
    if here.is_decoupled() and (not len(test.states) or there.is_decoupled()):
        return [(here.theta_11, there.theta_11, [0]), (here.theta_22, there.theta_22, [1])]
    return [(_interleaved(here), _interleaved(there), [0, 1])]


def _parts_of_error(kernel: EmpiricalKernel, data: Data) -> Array:
    """Real and imaginary part of ψ - ψ_T: (2, n)."""
    if not len(data.states):
        return jnp.zeros((2, 0))
    error = kernel.psi(data.states) - jnp.asarray(data.amplitudes)
    return jnp.stack([error.real, error.imag])
