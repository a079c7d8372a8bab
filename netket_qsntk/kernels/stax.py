"""Any neural-tangents architecture as an infinite-width kernel."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from netket_qsntk.errors import InvalidModelError
from netket_qsntk.kernels.base import InfiniteWidthKernel, check_configurations
from netket_qsntk.kernels.tiles import Part, assemble

_NNGP: Part = (0, 0)
_NTK: Part = (1, 1)


class StaxKernel(InfiniteWidthKernel):
    """NNGP and NTK from a neural-tangents kernel function; made by :func:`from_stax`."""

    def __init__(
        self,
        kernel_fn: Callable[..., Any],
        encode: Callable[[Array], Array] | None,
        n_parts: int,
        block: int,
        show_progress: bool = True,
    ) -> None:
        self._kernel_fn = kernel_fn
        self._encode = encode
        self.n_parts = n_parts
        self.trainable = "all"
        self._block, self._show_progress = block, show_progress
        self._diagonals = jax.jit(lambda u: jax.lax.map(self._alone, u))

    def _inputs(self, x: Any, name: str = "x") -> Array:
        x = jnp.asarray(check_configurations(x, name))
        return (x if self._encode is None else self._encode(x)).astype(float)

    def _tile(self, u: Array, v: Array, parts: tuple[Part, ...]) -> dict[Part, Array]:
        kernel = self._kernel_fn(u, v, ("nngp", "ntk"))
        return {_NNGP: kernel.nngp, _NTK: kernel.ntk}

    def _alone(self, u: Array) -> tuple[Array, Array]:
        kernel = self._kernel_fn(u[None], None, ("nngp", "ntk"))
        return kernel.nngp[0, 0], kernel.ntk[0, 0]

    def both(self, x: Any, y: Any = None) -> tuple[Array, Array]:
        """(NNGP, NTK), in blocks of configurations on both sides; half of them where y is x."""
        u = self._inputs(x)
        v = u if y is None else self._inputs(y, "y")

        def rows(inputs: Array) -> Callable[[int], Array]:
            return lambda i: inputs[i : i + self._block]

        blocks = assemble(
            self._tile,
            rows(u),
            None if y is None else rows(v),
            (len(u), len(v)),
            (_NNGP, _NTK),
            chunk=self._block,
            dtype=u.dtype,
            show_progress=self._show_progress,
        )
        return blocks[_NNGP], blocks[_NTK]

    def diagonals(self, x: Any) -> tuple[Array, Array]:
        """(K(x, x), Θ(x, x)), one configuration at a time: neural-tangents has no diagonal of the NTK."""
        return self._diagonals(self._inputs(x))

    def __repr__(self) -> str:
        return self._summary("neural-tangents kernel function", f"blocks of {self._block}")


def from_stax(
    kernel_fn: Callable[..., Any],
    *,
    encode: Callable[[Array], Array] | None = None,
    n_parts: int = 2,
    block: int = 1024,
    show_progress: bool = True,
) -> StaxKernel:
    """An infinite-width kernel from the ``kernel_fn`` of a neural-tangents stax network.

    Convolutions, attention, residual connections: whatever neural-tangents knows. The accuracy is that of
    its formulas; for perceptrons :class:`~netket_qsntk.models.WideMLP` is more accurate and faster.

    Args:
        kernel_fn: Third element of what ``stax.serial(...)`` returns.
        encode: Configurations (n, sites) to the network's inputs, for instance ``lambda x: x[..., None]``
            for a convolution; None takes them as they are. Inputs are cast to float64.
        n_parts: 2 for ψ₁ and ψ₂ drawn independently, 1 for real ψ.
        block: Configurations handed over at a time, on each side.
        show_progress: Whether a bar counts the blocks of a matrix.

    Raises:
        InvalidModelError: ``kernel_fn`` is not a function, n_parts is not 1 or 2, or block is not positive.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> stax = qs.kernels.load_neural_tangents().stax
        >>> _, _, kernel_fn = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
        >>> qs.kernels.from_stax(kernel_fn).ntk(nk.hilbert.Spin(0.5, 2).all_states()).shape
        (4, 4)
    """
    if not callable(kernel_fn):
        raise InvalidModelError(
            f"from_stax(kernel_fn={type(kernel_fn).__name__}): expected the third element of what "
            "stax.serial(...) returns, as in _, _, kernel_fn = stax.serial(...)."
        )
    if n_parts not in (1, 2) or block < 1:
        raise InvalidModelError(
            f"from_stax(n_parts={n_parts}, block={block}): expected n_parts 1 or 2 and block >= 1."
        )
    return StaxKernel(kernel_fn, encode, n_parts, block, show_progress)
