"""Any neural-tangents architecture as an infinite-width kernel."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.errors import InvalidModelError
from netket_qsntk.kernels.arguments import Which, check_configurations, check_which
from netket_qsntk.kernels.base import KernelModule
from netket_qsntk.kernels.tiles import Part, assemble
from netket_qsntk.progress import showing

_NNGP: Part = (0, 0)
_NTK: Part = (1, 1)
_NAMES = {_NNGP: "nngp", _NTK: "ntk"}


class StaxPair(Protocol):
    """What a neural-tangents kernel function returns where both kernels are asked for."""

    nngp: Array
    ntk: Array


# kernel_fn(x1, x2 or None, names of kernels)
StaxFunction = Callable[[Array, Array | None, tuple[str, ...]], StaxPair]


class StaxKernel(KernelModule):
    """NNGP and NTK from a neural-tangents kernel function; made by :func:`from_stax`."""

    kernel_fn: StaxFunction = eqx.field(static=True)
    encoding: Callable[[Array], Array] | None = eqx.field(static=True)
    block: int = eqx.field(static=True)
    show_progress: bool = eqx.field(static=True)

    def _inputs(self, x: ArrayLike, name: str = "x") -> Array:
        x = jnp.asarray(check_configurations(x, name))
        return (x if self.encoding is None else self.encoding(x)).astype(float)

    def both(self, x: ArrayLike, y: ArrayLike | None = None) -> tuple[Array, Array]:
        """(NNGP, NTK), in blocks of configurations on both sides; half of them where y is x."""
        blocks = self._blocks(x, y, (_NNGP, _NTK))
        return blocks[_NNGP], blocks[_NTK]

    def matrix(self, x: ArrayLike, y: ArrayLike | None = None, which: Which = "ntk") -> Array:
        """One of them alone."""
        part = _NNGP if check_which(which) == "nngp" else _NTK
        return self._blocks(x, y, (part,))[part]

    def _blocks(
        self, x: ArrayLike, y: ArrayLike | None, parts: tuple[Part, ...]
    ) -> dict[Part, Array]:
        u = self._inputs(x)
        v = u if y is None else self._inputs(y, "y")

        def rows(inputs: Array) -> Callable[[int], Array]:
            return lambda i: inputs[i : i + self.block]

        with showing(self.show_progress):
            return assemble(
                _Tile(self.kernel_fn),
                rows(u),
                None if y is None else rows(v),
                (len(u), len(v)),
                parts,
                chunk=self.block,
                dtype=u.dtype,
            )

    def diagonals(self, x: ArrayLike) -> tuple[Array, Array]:
        """(K(x, x), Θ(x, x)), one configuration at a time: neural-tangents has no diagonal of the NTK."""
        return _diagonals(self.kernel_fn, self._inputs(x))

    def __repr__(self) -> str:
        return self._summary("neural-tangents kernel function", f"blocks of {self.block}")


@dataclass(frozen=True)
class _Tile:
    """One block of the kernels; hashable, so that equal functions share a program."""

    kernel_fn: StaxFunction

    def __call__(self, u: Array, v: Array, parts: tuple[Part, ...]) -> dict[Part, Array]:
        wanted = tuple(_NAMES[part] for part in (_NNGP, _NTK) if part in parts)
        kernel = self.kernel_fn(u, v, wanted)
        return {part: kernel.nngp if part == _NNGP else kernel.ntk for part in parts}


@partial(jax.jit, static_argnums=0)
def _diagonals(kernel_fn: StaxFunction, u: Array) -> tuple[Array, Array]:
    def alone(row: Array) -> tuple[Array, Array]:
        kernel = kernel_fn(row[None], None, ("nngp", "ntk"))
        return kernel.nngp[0, 0], kernel.ntk[0, 0]

    return jax.lax.map(alone, u)


def from_stax(
    kernel_fn: StaxFunction,
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
    return StaxKernel(
        n_parts=n_parts,
        trainable="all",
        kernel_fn=kernel_fn,
        encoding=encode,
        block=block,
        show_progress=show_progress,
    )
