"""The interface of a loss on amplitudes."""

import abc
from typing import Any

from jax import Array


class Loss(abc.ABC):
    r"""A real function of the amplitudes ψ(x) on a set of configurations.

    Finite networks pull :meth:`gradient` back through the network, function-space flows multiply it with the
    kernel; both use this one definition. The gradient is with respect to the real and imaginary part,
    :math:`\partial L/\partial\psi_1 + i\,\partial L/\partial\psi_2 = 2\,\partial L/\partial\psi^*`.

    Attributes:
        target: What ψ is compared with, or None.
        hilbert: The Hilbert space, for losses on the whole basis.
        is_local: Whether the derivative at x depends on ψ(x) alone. Networks are then differentiated in one
            pass; otherwise all amplitudes are computed first.
        whole_basis: Whether ψ must be given on the whole basis; ``amplitudes`` are then not used.
    """

    target: Any
    hilbert: Any = None
    is_local: bool = False
    whole_basis: bool = False

    @abc.abstractmethod
    def value(self, psi: Array, amplitudes: Any = None) -> Array:
        """L, a real scalar, for ψ (n,) against the target's amplitudes (n,) on the same configurations."""

    @abc.abstractmethod
    def gradient(self, psi: Array, amplitudes: Any = None, n: int | None = None) -> Array:
        """∂L/∂ψ₁ + i ∂L/∂ψ₂: (n,) complex.

        A local loss is also asked for a part of the configurations; ``n`` is then the number of all.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"
