"""The QS-NTK of a given network at its present parameters."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from netket_qsntk.errors import InvalidModelError
from netket_qsntk.kernels import layers
from netket_qsntk.kernels.base import Trainable, check_configurations
from netket_qsntk.kernels.jacobian import kernel_blocks
from netket_qsntk.kernels.qsntk import QSNTK
from netket_qsntk.wavefunction import PureWaveFunction, pure_wavefunction

Route = Literal["layers", "jacobian"]

# Numbers in one chunk of a Jacobian when the caller gives no chunk_size: 2 parts of 2²⁴ are 256 MB.
_JACOBIAN_NUMBERS = 2**24


class EmpiricalKernel:
    """QS-NTK of one network: what :class:`~netket_qsntk.kernels.InfiniteWidthKernel` is for the ensemble.

    Args:
        state: A NetKet state, or ``(apply_fun, variables)`` with apply_fun giving log ψ.
        chunk_size: Configurations in one chunk of a Jacobian; None chooses it from the number of parameters.
        trainable: ``"all"`` parameters, or the ``"readout"`` alone (this package's models).

    Attributes:
        route: ``"layers"`` for this package's models (no Jacobian: products of activations and back-propagated
            errors), ``"jacobian"`` for any other.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 3)
        >>> vs = nk.vqs.FullSumState(hi, nk.models.RBM(alpha=2))
        >>> kernel = qs.kernels.EmpiricalKernel(vs)
        >>> kernel.route, kernel.qsntk(hi.all_states()).omega.shape
        ('jacobian', (16, 16))
    """

    def __init__(
        self, state: Any, *, chunk_size: int | None = None, trainable: Trainable = "all"
    ) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise InvalidModelError(
                f"chunk_size={chunk_size}: expected a positive integer or None."
            )
        self.network: PureWaveFunction = (
            state if isinstance(state, PureWaveFunction) else pure_wavefunction(state)
        )
        self.chunk_size = chunk_size
        self.trainable = trainable
        self.route: Route = "layers" if layers.factorises(self.network.model) else "jacobian"
        if trainable not in ("all", "readout") or (trainable, self.route) == ("readout", "jacobian"):
            raise InvalidModelError(
                f"trainable={trainable!r} for a model of type {type(self.network.model).__name__}: expected "
                "'all', or 'readout' with one of qs.models."
            )

    def psi(self, x: Any) -> Array:
        """ψ at configurations x (n, sites): (n,)."""
        return self.network.psi(self.network.parameters, jnp.asarray(check_configurations(x)))

    def qsntk(self, x: Any, y: Any = None) -> QSNTK:
        """The kernel between configurations x (n, sites) and y (m, sites); ``y=None`` stands for y = x."""
        x = jnp.asarray(check_configurations(x))
        y = None if y is None else jnp.asarray(check_configurations(y, "y"))
        if self.route == "layers":
            return self._from_layers(x, y)
        size = sum(leaf.size for leaf in jax.tree.leaves(self.network.parameters))
        chunk = self.chunk_size or max(1, min(len(x), _JACOBIAN_NUMBERS // max(1, size)))
        blocks = kernel_blocks(self.network.psi, self.network.parameters, x, y, chunk)
        return QSNTK(blocks[0, 0], blocks[1, 1], blocks[0, 1], None if y is None else blocks[1, 0])

    def _from_layers(self, x: Array, y: Array | None) -> QSNTK:
        model, parameters = self.network.model, self.network.parameters
        u = model.encode(x)
        v = None if y is None else model.encode(y)
        shape = (len(x), len(x) if y is None else len(y))
        found = []
        for path, (network, outputs) in layers.networks(model).items():
            own = layers.subtree(parameters, path)
            left = layers.layer_factors(network, own, u, outputs, self.trainable)
            right = left if v is None else layers.layer_factors(network, own, v, outputs, self.trainable)
            found.append((left, right))
        zero = jnp.zeros(shape)
        if len(found) == 2:  # independent networks
            theta_11, theta_22 = (layers.kernel_block(*f, 0, 0) for f in found)
            return QSNTK(theta_11, theta_22, zero, zero if y is not None else None)
        ((left, right),) = found
        if left[0].deltas.shape[0] == 1:  # real ψ
            return QSNTK(
                layers.kernel_block(left, right, 0, 0), zero, zero, None if y is None else zero
            )
        return QSNTK(
            *(layers.kernel_block(left, right, a, b) for a, b in ((0, 0), (1, 1), (0, 1))),
            None if y is None else layers.kernel_block(left, right, 1, 0),
        )

    def __repr__(self) -> str:
        model = self.network.model
        return f"EmpiricalKernel({type(model).__name__ if model else 'apply_fun'}, route={self.route!r})"


def empirical(state: Any, x: Any, y: Any = None, *, chunk_size: int | None = None) -> QSNTK:
    """The quantum-state NTK of a network at its present parameters (arXiv:2112.00723, Eqs. 6-8).

    Args:
        state: A NetKet state with any model, or ``(apply_fun, variables)`` with apply_fun giving log ψ.
        x: Configurations (n, sites).
        y: Configurations (m, sites); None stands for y = x.
        chunk_size: Configurations in one chunk of a Jacobian, where one is needed.

    Returns:
        The kernels of ψ itself (not of log ψ), uncentred; blocks (n, m) float64.

    Raises:
        NotANetworkError: ``state`` is neither a state nor such a pair.
        InvalidConfigurationsError: x or y is not of shape (n, sites).

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 3)
        >>> vs = nk.vqs.FullSumState(hi, qs.models.CosNet(20))
        >>> qs.kernels.empirical(vs, hi.all_states())
        QSNTK(configurations=(8, 8), decoupled=True)
    """
    return EmpiricalKernel(state, chunk_size=chunk_size).qsntk(x, y)
