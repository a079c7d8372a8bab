"""Any neural-tangents architecture as an infinite-width kernel."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from netket_qsntk.kernels.base import InfiniteWidthKernel, check_configurations


class StaxKernel(InfiniteWidthKernel):
    """NNGP and NTK from a neural-tangents kernel function; made by :func:`from_stax`."""

    def __init__(
        self,
        kernel_fn: Callable[..., Any],
        encode: Callable[[Array], Array] | None,
        n_parts: int,
        block: int,
    ) -> None:
        self._kernel_fn = kernel_fn
        self._encode = encode
        self.n_parts = n_parts
        self.trainable = "all"
        self._block = block

    def _inputs(self, x: Any) -> Array:
        x = jnp.asarray(check_configurations(x))
        return (x if self._encode is None else self._encode(x)).astype(jnp.float64)

    def _values(self, u: Array, v: Array | None) -> tuple[Array, Array]:
        kernel = self._kernel_fn(u, v, ("nngp", "ntk"))
        return kernel.nngp, kernel.ntk

    def both(self, x: Any, y: Any = None) -> tuple[Array, Array]:
        """(NNGP, NTK), evaluated in blocks of configurations on both sides."""
        u = self._inputs(x)
        v = u if y is None else self._inputs(y)
        rows = [
            [
                self._values(u[i : i + self._block], v[j : j + self._block])
                for j in range(0, len(v), self._block)
            ]
            for i in range(0, len(u), self._block)
        ]
        nngp, ntk = (jnp.block([[pair[k] for pair in row] for row in rows]) for k in (0, 1))
        return nngp, ntk

    def diagonals(self, x: Any) -> tuple[Array, Array]:
        """(K(x, x), Θ(x, x)), one configuration at a time: neural-tangents has no diagonal of the NTK."""
        u = self._inputs(x)
        pairs = [self._values(u[i : i + 1], None) for i in range(len(u))]
        nngp, ntk = (jnp.stack([pair[k][0, 0] for pair in pairs]) for k in (0, 1))
        return nngp, ntk

    def __repr__(self) -> str:
        return f"StaxKernel(parts={self.n_parts}, structure=neural-tangents kernel function)"


def from_stax(
    kernel_fn: Callable[..., Any],
    *,
    encode: Callable[[Array], Array] | None = None,
    n_parts: int = 2,
    block: int = 1024,
) -> StaxKernel:
    """An infinite-width kernel from the ``kernel_fn`` of a neural-tangents stax network.

    Args:
        kernel_fn: Third element of what ``stax.serial(...)`` returns.
        encode: Configurations (n, sites) to the network's inputs, for instance ``lambda x: x[..., None]`` for a
            convolution; None takes them as they are.
        n_parts: 2 for ψ₁ and ψ₂ drawn independently, 1 for real ψ.
        block: Configurations handed over at a time, on each side.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> from netket_qsntk import load_neural_tangents
        >>> stax = load_neural_tangents().stax
        >>> _, _, kernel_fn = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
        >>> qs.kernels.from_stax(kernel_fn).ntk(nk.hilbert.Spin(0.5, 2).all_states()).shape
        (4, 4)
    """
    return StaxKernel(kernel_fn, encode, n_parts, block)
