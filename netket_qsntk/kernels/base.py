"""What every infinite-width kernel can do."""

import abc
from typing import TYPE_CHECKING, Any, Literal

import jax.numpy as jnp
from jax import Array

from netket_qsntk.errors import InvalidConfigurationsError
from netket_qsntk.kernels.qsntk import QSNTK

if TYPE_CHECKING:
    from netket_qsntk.operators import KernelOperator

Trainable = Literal["all", "readout"]


def check_configurations(x: Any, name: str = "x") -> Any:
    """``x`` if it is an array of shape (n, sites); an error that says what to do otherwise."""
    if not hasattr(x, "ndim"):
        x = jnp.asarray(x)
    if x.ndim != 2:
        hint = " (one configuration? use x[None, :])" if x.ndim == 1 else ""
        raise InvalidConfigurationsError(
            f"{name} has shape {tuple(x.shape)}: expected (n, sites){hint}; "
            "for instance hilbert.all_states()."
        )
    return x


class InfiniteWidthKernel(abc.ABC):
    """NNGP and NTK of one real network of a model, in the limit of infinite width.

    ψ₁ and ψ₂ are independent copies of that process (``n_parts`` = 2), or ψ₂ = 0 (``n_parts`` = 1); with shared
    trunks their covariance and mixing kernel still vanish in the limit. A subclass defines :meth:`both` and
    :meth:`diagonals`, on configurations; everything else follows.

    Attributes:
        n_parts: 2 for complex ψ, 1 for real ψ.
        trainable: ``"all"`` parameters or the ``"readout"`` alone (then NTK ∝ NNGP).
    """

    n_parts: int
    trainable: Trainable

    @abc.abstractmethod
    def both(self, x: Any, y: Any = None) -> tuple[Array, Array]:
        """(NNGP, NTK) between configurations x (n, sites) and y (m, sites): two arrays (n, m), in one pass.

        ``y=None`` stands for y = x.
        """

    @abc.abstractmethod
    def diagonals(self, x: Any) -> tuple[Array, Array]:
        """(K(x, x), Θ(x, x)) for each configuration: two arrays (n,), without the matrices."""

    def nngp(self, x: Any, y: Any = None) -> Array:
        """Covariance K(x, y) = E[f(x) f(y)] of each part of ψ: (n, m) float64."""
        return self.both(x, y)[0]

    def ntk(self, x: Any, y: Any = None) -> Array:
        """Neural tangent kernel Θ(x, y) = Σᵢ ∂ᵢf(x) ∂ᵢf(y) of each part of ψ: (n, m) float64."""
        return self.both(x, y)[1]

    def nngp_diagonal(self, x: Any) -> Array:
        """K(x, x) for each configuration: (n,)."""
        return self.diagonals(x)[0]

    def operator(
        self,
        x: Any,
        y: Any = None,
        *,
        which: Literal["ntk", "nngp"] = "ntk",
        hint: Literal["dense", "hypercube", "kronecker", "shared", "tiled"] | None = None,
    ) -> "KernelOperator":
        """The kernel as a linear operator of the cheapest exact structure (:func:`netket_qsntk.operators.choose`).

        Example:
            >>> import netket as nk, netket_qsntk as qs
            >>> kernel = qs.kernels.infinite_width(qs.models.CosNet(10))
            >>> kernel.operator(nk.hilbert.Spin(0.5, 20).all_states()).shape
            (1048576, 1048576)
        """
        # Late: operators are built from kernels and import them; kernels are complete without operators.
        from netket_qsntk.operators import choose

        return choose(self, x, y, which=which, hint=hint)

    def qsntk(self, x: Any, y: Any = None) -> QSNTK:
        """The quantum-state NTK (Eqs. 6-12): deterministic, with Θ₁₂ = 0."""
        ntk = self.ntk(x, y)
        zero = jnp.zeros_like(ntk)
        return QSNTK(theta_11=ntk, theta_22=ntk if self.n_parts == 2 else zero, theta_12=zero)

    def _summary(self, architecture: str, structure: str) -> str:
        """For ``repr``: a kernel is a function, whose size is that of the configurations it is given."""
        return (
            f"{type(self).__name__}({architecture}, parts={self.n_parts}, trainable={self.trainable!r}, "
            f"structure={structure}, memory=16 B × n × m)"
        )
