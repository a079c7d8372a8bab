"""The interface of a loss on amplitudes."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.hilbert import DiscreteHilbert

from netket_qsntk.readout import FixedReadout

_TRACED = "_names_of_traced"


class Loss(abc.ABC):
    r"""A real function of the amplitudes ψ(x) on a set of configurations.

    Finite networks pull :meth:`gradient` back through the network, function-space flows multiply it with the
    kernel; both use this one definition. The gradient is with respect to the real and imaginary part,
    :math:`\partial L/\partial\psi_1 + i\,\partial L/\partial\psi_2 = 2\,\partial L/\partial\psi^*`; unless a subclass
    knows better it is JAX's derivative of :meth:`value`.

    Every subclass is a pytree: attributes that are arrays, or pytrees of arrays, are traced where a loss is an
    argument of a compiled function, and what :attr:`untraced` names is left behind: two losses of a kind share one
    program and none is kept alive by it. Other attributes must be hashable.

    Attributes:
        target: What ψ is compared with, or None.
        hilbert: The Hilbert space, for losses on the whole basis.
        is_local: Whether the derivative at x depends on ψ(x) alone. Networks are then differentiated in one
            pass; otherwise all amplitudes are computed first.
        whole_basis: Whether ψ must be given on the whole basis; ``amplitudes`` are then not used.
        scale_invariant: Whether L does not depend on the norm of ψ.
        untraced: Names of attributes that :meth:`value` and :meth:`gradient` do not read.

    Example:
        A loss of your own is its value:

        >>> import jax.numpy as jnp, netket as nk, netket_qsntk as qs
        >>> class Participation(qs.losses.Loss):
        ...     whole_basis = scale_invariant = True
        ...     target, hilbert = None, nk.hilbert.Spin(0.5, 1)
        ...     def value(self, psi, amplitudes=None):
        ...         p = jnp.abs(psi) ** 2
        ...         return jnp.sum(p**2) / jnp.sum(p) ** 2
        >>> float(abs(Participation().gradient(jnp.ones(2))).max())
        0.0
    """

    target: Any
    hilbert: DiscreteHilbert | None = None
    is_local: bool = False
    whole_basis: bool = False
    scale_invariant: bool = False
    untraced: ClassVar[tuple[str, ...]] = ("target",)

    def __init_subclass__(cls, **options: object) -> None:
        """Make the subclass a pytree."""
        super().__init_subclass__(**options)
        jax.tree_util.register_pytree_node(
            cls, _flatten, lambda aux, kept: _restored(cls, aux, kept)
        )

    @abc.abstractmethod
    def value(self, psi: Array, amplitudes: ArrayLike | None = None) -> Array:
        """L, a real scalar, for ψ (n,) against the target's amplitudes (n,) on the same configurations."""

    def gradient(
        self, psi: Array, amplitudes: ArrayLike | None = None, n: int | None = None
    ) -> Array:
        """∂L/∂ψ₁ + i ∂L/∂ψ₂: (n,) complex.

        A local loss is also asked for a part of the configurations; ``n`` is then the number of all.
        """
        # JAX's derivative is the conjugate of ours.
        slope = jax.grad(lambda p: self.value(p, amplitudes))(jnp.asarray(psi) + 0j).conj()
        return slope if n is None else (len(psi) / n) * slope

    def value_and_gradient(
        self, psi: Array, amplitudes: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """Both at once, for losses whose value and gradient share their work."""
        return self.value(psi, amplitudes), self.gradient(psi, amplitudes)

    def value_and_f_gradient(
        self, readout: FixedReadout, f: Array, amplitudes: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """L and ∂L/∂f₁ + i ∂L/∂f₂ (n,) for the functions f (n,) of a network.

        Losses that do not depend on the norm see ψ divided by its largest amplitude: log ψ may be of any size.
        """
        psi = self._seen(readout, f)
        value, gradient = self.value_and_gradient(psi, amplitudes)
        return value, readout.f_gradient(gradient, psi)

    def value_of_f(
        self, readout: FixedReadout, f: Array, amplitudes: ArrayLike | None = None
    ) -> Array:
        """L alone, of the functions f (n,) of a network."""
        return self.value(self._seen(readout, f), amplitudes)

    def _seen(self, readout: FixedReadout, f: Array) -> Array:
        """ψ (n,) of functions f, in units of its largest amplitude where the norm does not matter."""
        if not (readout.is_log and self.scale_invariant):
            return readout.psi(f)
        log_psi = readout.log_psi(f)
        return jnp.exp(log_psi - jnp.max(log_psi.real))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"


def _is_traced(value: object) -> bool:
    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves)


def _flatten(loss: Loss) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    fields = {k: v for k, v in sorted(vars(loss).items()) if k not in loss.untraced}
    # A tree that was rebuilt may hold anything in the place of its arrays.
    names = fields.pop(_TRACED, None)
    if names is None:
        names = tuple(k for k, v in fields.items() if _is_traced(v))
    rest = tuple((k, v) for k, v in fields.items() if k not in names)
    return tuple(fields[k] for k in names), (names, rest)


def _restored(cls: type[Loss], aux: tuple[Any, ...], kept: Any) -> Loss:
    names, rest = aux
    loss = object.__new__(cls)
    found = dict(rest) | dict(zip(names, kept, strict=True))
    vars(loss).update(dict.fromkeys(cls.untraced), **found, **{_TRACED: names})
    return loss
