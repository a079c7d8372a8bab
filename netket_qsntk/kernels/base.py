"""What every infinite-width kernel can do. Kernels are values: they add, multiply and scale, and their σ are leaves.

A kernel is a pytree: it goes through ``jax.jit`` as an argument, two values of σ share one
compiled program, and ``jax.grad`` reaches them.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.hilbert import DiscreteHilbert

from netket_qsntk.errors import InvalidModelError
from netket_qsntk.kernels import structure_search as structures
from netket_qsntk.kernels.arguments import Trainable, Which, check_which
from netket_qsntk.kernels.entries import operator_of
from netket_qsntk.kernels.qsntk import QSNTK, each_part
from netket_qsntk.operators import KernelOperator
from netket_qsntk.operators.choose import Hint
from netket_qsntk.operators.structure import Structure
from netket_qsntk.tracing import is_traced, on_host


class InfiniteWidthKernel(abc.ABC):
    """NNGP and NTK of one real network of a model, in the limit of infinite width.

    ψ₁ and ψ₂ (of a network of log ψ: log-amplitude and phase) are independent copies of that process (``n_parts`` =
    2), or the second is absent (``n_parts`` = 1); with shared trunks their covariance and mixing kernel still vanish
    in the limit. A subclass defines :meth:`both` and :meth:`diagonals`, on configurations; everything else follows.

    ``k1 + k2`` is the kernel of the sum of independent networks, ``2.0 * k`` that of a network times √2, ``k1 * k2``
    that of the product of independent networks: K₁K₂ and Θ₁K₂ + K₁Θ₂.

    The kernels of this package are :class:`KernelModule`: pytrees with their numbers as leaves. A subclass that is an
    ordinary class is a constant to JAX, equal to itself alone.

    Attributes:
        n_parts: 2 for complex ψ, 1 for real ψ.
        trainable: ``"all"`` parameters or the ``"readout"`` alone (then NTK ∝ NNGP).

    Example:
        >>> import jax, netket as nk, netket_qsntk as qs
        >>> x = nk.hilbert.Spin(0.5, 3).all_states()
        >>> kernel = qs.kernels.infinite_width(qs.models.CosNet(10)) + 2.0 * qs.kernels.infinite_width(
        ...     qs.models.WideMLP(widths=(10,), activation="erf", sigma_w=1.2))
        >>> slope = jax.grad(lambda k: k.ntk(x).sum())(kernel)
        >>> kernel.ntk(x).shape, len(jax.tree.leaves(slope)) > 3
        ((8, 8), True)
    """

    n_parts: int
    trainable: Trainable

    @property
    def is_real(self) -> bool:
        """Whether its matrices are real: not those of a projection with a complex character."""
        return True

    @property
    def mean_follows_norm(self) -> bool:
        """Whether the networks' functions have a mean, which follows |x|²: of NetKet's RBM. K is their covariance."""
        return False

    # NumPy's numbers leave multiplication to __rmul__.
    __array_ufunc__ = None

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if not issubclass(cls, eqx.Module):
            jax.tree_util.register_static(cls)

    @abc.abstractmethod
    def both(self, x: ArrayLike, y: ArrayLike | None = None) -> tuple[Array, Array]:
        """(NNGP, NTK) between configurations x (n, sites) and y (m, sites): two arrays (n, m), in one pass.

        ``y=None`` stands for y = x.
        """

    @abc.abstractmethod
    def diagonals(self, x: ArrayLike) -> tuple[Array, Array]:
        """(K(x, x), Θ(x, x)) for each configuration: two arrays (n,), without the matrices."""

    def matrix(self, x: ArrayLike, y: ArrayLike | None = None, which: Which = "ntk") -> Array:
        """One of the two kernels between x (n, sites) and y (m, sites): (n, m), and nothing else is made."""
        return self.both(x, y)[_SLOT[check_which(which)]]

    def diagonal(self, x: ArrayLike, which: Which = "ntk") -> Array:
        """One of the two kernels at (x, x) for each configuration: (n,)."""
        return self.diagonals(x)[_SLOT[check_which(which)]]

    def nngp(self, x: ArrayLike, y: ArrayLike | None = None) -> Array:
        """Covariance K(x, y) = E[f(x) f(y)] of each part of ψ: (n, m) float64."""
        return self.matrix(x, y, "nngp")

    def ntk(self, x: ArrayLike, y: ArrayLike | None = None) -> Array:
        """Neural tangent kernel Θ(x, y) = Σᵢ ∂ᵢf(x) ∂ᵢf(y) of each part of ψ: (n, m) float64."""
        return self.matrix(x, y, "ntk")

    def nngp_diagonal(self, x: ArrayLike) -> Array:
        """K(x, x) for each configuration: (n,)."""
        return self.diagonal(x, "nngp")

    def coordinates(self, x: ArrayLike) -> Array:
        """Configurations (n, sites) as the real vectors (n, d) that the structure is one of."""
        return on_host(x, float)

    def of_coordinates(self, u: ArrayLike, v: ArrayLike, which: Which) -> Array:
        """Entries between coordinates (n, d) and (m, d), of legal configurations or not."""
        return self.matrix(u, v, which)

    def structure(
        self, x: ArrayLike | DiscreteHilbert, y: ArrayLike | None = None, *, which: Which = "ntk"
    ) -> Structure:
        """What this kernel is on configurations, or on a Hilbert space: a Hamming table, a product, or neither.

        Found from a few entries and verified at random configurations (:mod:`netket_qsntk.kernels.structure_search`).

        Args:
            x: Configurations (n, sites), or a NetKet Hilbert space.
            y: Other configurations, where the kernel is wanted between two batches.
            which: ``"ntk"`` or ``"nngp"``.

        Returns:
            :class:`~netket_qsntk.operators.HammingTable`, :class:`~netket_qsntk.operators.SiteProduct` or
            :class:`~netket_qsntk.operators.Unstructured`, each with its ``reason``.

        Example:
            >>> import netket as nk, netket_qsntk as qs
            >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
            >>> kernel.structure(nk.hilbert.Spin(0.5, 100)).values.shape
            (101,)
        """
        return structures.find(self, x, y, check_which(which))

    def operator(
        self,
        x: ArrayLike,
        y: ArrayLike | None = None,
        *,
        which: Which = "ntk",
        hint: Hint | None = None,
    ) -> KernelOperator:
        """The kernel as a linear operator of the cheapest exact structure.

        On spins of two opposite values every kernel of inner products is a function of the Hamming distance
        (:class:`~netket_qsntk.operators.Hypercube`); a translation-invariant product over sites (CosNet, GaussNet)
        is a :class:`~netket_qsntk.operators.Kronecker` for any local states, and their NTK the same with an
        insertion; otherwise the matrix is stored, or its blocks made as they are needed.

        Args:
            x: Rows: configurations (n, sites).
            y: Columns; None for the same batch, which makes the operator symmetric and positive semidefinite.
            which: ``"ntk"`` or ``"nngp"``.
            hint: ``"dense"``, ``"hypercube"``, ``"kronecker"``, ``"shared"`` or ``"tiled"`` instead.

        Returns:
            An operator whose ``reason`` (and ``repr``) says why it is the one.

        Raises:
            StructureError: The structure of ``hint`` does not hold for this kernel on these configurations, and why.
            InvalidModelError: Its matrices are complex.

        Example:
            >>> import netket as nk, netket_qsntk as qs
            >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
            >>> kernel.operator(nk.hilbert.Spin(0.5, 10).all_states())
            Hypercube(1024 × 1024, function of the Hamming distance, whole basis of 10 spins, float64, symmetric,
            positive, memory=176 B (as a matrix 8.39 MB), because the kernel depends on the Hamming distance alone;
            on the whole basis its spectrum is exact)
        """
        check_real(self, "kernel.operator")
        return operator_of(self, x, y, which, hint)

    def qsntk(self, x: ArrayLike, y: ArrayLike | None = None) -> QSNTK:
        """The quantum-state NTK (Eqs. 6-12): deterministic, with Θ₁₂ = 0.

        Of a complex character ψ₁ and ψ₂ mix, Θ₁₁ = Θ₂₂ = Re Θ, Θ₁₂ = -Im Θ (half of each for one real network, whose
        projection is complex).
        """
        ntk = self.ntk(x, y)
        if jnp.iscomplexobj(ntk):
            own = each_part(ntk, self.n_parts)
            return QSNTK(theta_11=own.real, theta_22=own.real, theta_12=-own.imag)
        zero = jnp.zeros_like(ntk)
        return QSNTK(theta_11=ntk, theta_22=ntk if self.n_parts == 2 else zero, theta_12=zero)

    def _plus(self, other: "InfiniteWidthKernel") -> "InfiniteWidthKernel | None":
        """The sum as one kernel of this kind, or None."""
        return None

    def __add__(self, other: "InfiniteWidthKernel") -> "InfiniteWidthKernel":
        if not isinstance(other, InfiniteWidthKernel):
            return NotImplemented
        _check_alike("+", self, other)
        return self._plus(other) or Sum(self.n_parts, self.trainable, (self, other))

    def __mul__(self, other: "InfiniteWidthKernel | ArrayLike") -> "InfiniteWidthKernel":
        if isinstance(other, InfiniteWidthKernel):
            _check_alike("*", self, other)
            return Product(self.n_parts, self.trainable, (self, other))
        return Scaled(self, other)

    def __rmul__(self, factor: ArrayLike) -> "InfiniteWidthKernel":
        return Scaled(self, factor)

    @property
    def description(self) -> str:
        """What it is the kernel of, in a few words: for the summaries of what holds a kernel."""
        return repr(self)

    def _summary(self, architecture: str, structure: str) -> str:
        """For ``repr``: a kernel is a function, whose size is that of the configurations it is given."""
        return (
            f"{type(self).__name__}({architecture}, parts={self.n_parts}, trainable={self.trainable!r}, "
            f"structure={structure}, memory=16 B × n × m)"
        )


_SLOT = {"nngp": 0, "ntk": 1}


def _check_alike(sign: str, one: InfiniteWidthKernel, two: InfiniteWidthKernel) -> None:
    if (one.n_parts, one.trainable) != (two.n_parts, two.trainable):
        raise InvalidModelError(
            f"kernel {sign} kernel: one has parts={one.n_parts}, trainable={one.trainable!r}, the other "
            f"parts={two.n_parts}, trainable={two.trainable!r}; expected the same of both."
        )


def check_real(kernel: InfiniteWidthKernel, task: str) -> None:
    """Raise :class:`InvalidModelError` for a kernel with complex matrices, which mixes the parts of ψ."""
    if not kernel.is_real:
        raise InvalidModelError(
            f"{task} takes kernels with real matrices, and this one's symmetry has a complex character, which mixes "
            "ψ₁ and ψ₂. Use a real one: momenta 0 and π, or a star of k and -k in a space group."
        )


class KernelModule(InfiniteWidthKernel, eqx.Module):
    """A kernel whose fields are what it is made of: arrays are leaves, the rest is static."""

    n_parts: int = eqx.field(static=True)
    trainable: Trainable = eqx.field(static=True)

    def __hash__(self) -> int:
        """By value, so that ``jax.jit(kernel.ntk)`` holds the kernel as the constant that it is."""
        leaves, kind = jax.tree.flatten(self)
        known = (id(leaf) if is_traced(leaf) else np.asarray(leaf).tobytes() for leaf in leaves)
        return hash((kind, *known))


class _Composed(KernelModule):
    """Made of other kernels, each on the configurations as they are."""

    terms: tuple[InfiniteWidthKernel, ...]

    @property
    def is_real(self) -> bool:
        """Whether all terms are."""
        return all(term.is_real for term in self.terms)

    @property
    def mean_follows_norm(self) -> bool:
        """Whether that of a term does."""
        return any(term.mean_follows_norm for term in self.terms)

    @staticmethod
    @abc.abstractmethod
    def _join(nngps: list[Array], ntks: list[Array]) -> tuple[Array, Array]:
        """(NNGP, NTK) from those of the terms."""

    def both(self, x: ArrayLike, y: ArrayLike | None = None) -> tuple[Array, Array]:
        """(NNGP, NTK), see :class:`InfiniteWidthKernel`."""
        pairs = [term.both(x, y) for term in self.terms]
        return self._join([k for k, _ in pairs], [t for _, t in pairs])

    def diagonals(self, x: ArrayLike) -> tuple[Array, Array]:
        """(K(x, x), Θ(x, x)), see :class:`InfiniteWidthKernel`."""
        pairs = [term.diagonals(x) for term in self.terms]
        return self._join([k for k, _ in pairs], [t for _, t in pairs])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.terms))})"


class Sum(_Composed):
    """Sum of independent networks: K₁ + K₂ and Θ₁ + Θ₂; made by ``k1 + k2``."""

    @staticmethod
    def _join(nngps: list[Array], ntks: list[Array]) -> tuple[Array, Array]:
        return sum(nngps[1:], nngps[0]), sum(ntks[1:], ntks[0])

    def matrix(self, x: ArrayLike, y: ArrayLike | None = None, which: Which = "ntk") -> Array:
        """One kernel alone."""
        parts = [term.matrix(x, y, which) for term in self.terms]
        return sum(parts[1:], parts[0])


class Product(_Composed):
    """Product of two independent networks, f = f₁f₂: K₁K₂ and Θ₁K₂ + K₁Θ₂; made by ``k1 * k2``."""

    @staticmethod
    def _join(nngps: list[Array], ntks: list[Array]) -> tuple[Array, Array]:
        return nngps[0] * nngps[1], ntks[0] * nngps[1] + nngps[0] * ntks[1]

    def matrix(self, x: ArrayLike, y: ArrayLike | None = None, which: Which = "ntk") -> Array:
        """One kernel alone: the NTK needs both of each factor."""
        if which == "ntk":
            return self.both(x, y)[1]
        return self.terms[0].nngp(x, y) * self.terms[1].nngp(x, y)


class Scaled(KernelModule):
    """c K and c Θ, of the network times √c; made by ``c * k``."""

    kernel: InfiniteWidthKernel
    factor: Array

    def __init__(self, kernel: InfiniteWidthKernel, factor: ArrayLike) -> None:
        # NumPy's, so that inside jax.jit a known factor stays known.
        self.kernel, self.factor = kernel, on_host(factor, float)
        self.n_parts, self.trainable = kernel.n_parts, kernel.trainable
        known = not is_traced(factor)
        if self.factor.ndim or (known and not 0 < float(self.factor) < np.inf):
            raise InvalidModelError(
                f"{factor!r} * kernel: expected a finite number > 0, the square of what multiplies the network."
            )

    @property
    def is_real(self) -> bool:
        """Whether the kernel is."""
        return self.kernel.is_real

    @property
    def mean_follows_norm(self) -> bool:
        """Whether that of the kernel does."""
        return self.kernel.mean_follows_norm

    def both(self, x: ArrayLike, y: ArrayLike | None = None) -> tuple[Array, Array]:
        """(NNGP, NTK), see :class:`InfiniteWidthKernel`."""
        nngp, ntk = self.kernel.both(x, y)
        return self.factor * nngp, self.factor * ntk

    def diagonals(self, x: ArrayLike) -> tuple[Array, Array]:
        """(K(x, x), Θ(x, x)), see :class:`InfiniteWidthKernel`."""
        nngp, ntk = self.kernel.diagonals(x)
        return self.factor * nngp, self.factor * ntk

    def matrix(self, x: ArrayLike, y: ArrayLike | None = None, which: Which = "ntk") -> Array:
        """One kernel alone."""
        return self.factor * self.kernel.matrix(x, y, which)

    def coordinates(self, x: ArrayLike) -> Array:
        """Those of the kernel."""
        return self.kernel.coordinates(x)

    def of_coordinates(self, u: ArrayLike, v: ArrayLike, which: Which) -> Array:
        """Entries between coordinates."""
        return self.factor * self.kernel.of_coordinates(u, v, which)

    def __repr__(self) -> str:
        factor = self.factor if is_traced(self.factor) else float(self.factor)
        return f"Scaled({factor:.6g}, {self.kernel!r})"
