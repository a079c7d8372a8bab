"""The map from the real functions f of a network to ψ, and back."""

from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike
from netket.utils.types import PyTree

from netket_qsntk.errors import InvalidModelError
from netket_qsntk.readout.references import Reference, as_reference
from netket_qsntk.text import brief

Output = Literal["psi", "log_psi"]
_OUTPUTS = ("psi", "log_psi")


class FixedReadout(eqx.Module):
    """A :class:`Readout` on fixed configurations: what was said once about them is an array, and traced.

    Made by :meth:`Readout.at`; functions f and wave functions are (…, n).

    Attributes:
        is_log: Whether f is a logarithm of the wave function.
        reference: r on the configurations, (n,), or None.
    """

    is_log: bool = eqx.field(static=True)
    reference: Array | None = None

    def psi(self, f: Array) -> Array:
        """ψ from f; for a logarithm it may overflow."""
        if self.is_log:
            return jnp.exp(self.log_psi(f))
        return f if self.reference is None else f * jnp.exp(self.reference)

    def log_psi(self, f: Array) -> Array:
        """Log ψ from f, as :meth:`Readout.log_psi`."""
        log_psi = f if self.is_log else jnp.log(f + 0j)
        return log_psi if self.reference is None else log_psi + self.reference

    def functions(self, log_psi: Array) -> Array:
        """f from log ψ."""
        if self.reference is not None:
            log_psi = log_psi - self.reference
        return log_psi if self.is_log else jnp.exp(log_psi)

    def f_gradient(self, psi_gradient: Array, psi: Array) -> Array:
        """The gradient of f, as :meth:`Readout.f_gradient`."""
        if self.is_log:
            return jnp.conj(psi) * psi_gradient
        if self.reference is None:
            return psi_gradient
        return jnp.conj(jnp.exp(self.reference)) * psi_gradient

    def __repr__(self) -> str:
        return f"FixedReadout({'log ψ' if self.is_log else 'ψ'}, reference={brief(self.reference)})"


@jax.tree_util.register_static
@dataclass(frozen=True)
class Readout:
    r"""What the functions f = f₁ + i f₂ of a network are.

    .. math:: \psi(x) = f(x)\, e^{r(x)} \quad (\text{output "psi"}),\qquad
        \psi(x) = e^{r(x) + f(x)} \quad (\text{output "log\_psi"}),

    with a fixed reference log ψ, r, that is not trained. f has the same kernels either way; what differs is how a
    gradient with respect to ψ becomes one with respect to f (:meth:`f_gradient`). It has no arrays that JAX traces:
    equal readouts are equal static arguments.

    Args:
        output: ``"psi"`` or ``"log_psi"``.
        reference: ``reference(x)``, a log ψ of shape (…) for configurations (…, sites), real or complex; a bound
            flax module will do (:func:`netket_qsntk.readout.as_reference`). None is r = 0.

    Raises:
        InvalidModelError: Another output, or a reference that is not one.

    Example:
        >>> import jax.numpy as jnp, netket_qsntk as qs
        >>> readout = qs.readout.Readout("log_psi")
        >>> f, x = jnp.asarray([0.0, jnp.log(2.0)]), jnp.asarray([[1, 1], [1, -1]])
        >>> readout.psi(f, x).tolist(), readout.log_psi(f, x).dtype
        ([1.0, 2.0], dtype('float64'))
    """

    output: Output = "psi"
    reference: Reference | None = None

    def __post_init__(self) -> None:
        if self.output not in _OUTPUTS:
            raise InvalidModelError(f"output={self.output!r}: expected one of {_OUTPUTS}.")
        object.__setattr__(self, "reference", as_reference(self.reference))

    @property
    def is_log(self) -> bool:
        """Whether f is a logarithm of the wave function."""
        return self.output == "log_psi"

    def at(self, x: ArrayLike, dtype: DTypeLike = jnp.float64) -> FixedReadout:
        """This readout on configurations x (…, sites), its reference evaluated once in the precision ``dtype``."""
        return FixedReadout(self.is_log, self._reference(x, dtype))

    def psi(self, f: ArrayLike, x: ArrayLike) -> Array:
        """ψ (…) from f (…), real or complex, at configurations x (…, sites). For a logarithm it may overflow."""
        f = jnp.asarray(f)
        return self.at(x, f.dtype).psi(f)

    def log_psi(self, f: ArrayLike, x: ArrayLike) -> Array:
        """log ψ (…) from f (…): real for ``"log_psi"`` where f and the reference are, complex otherwise.

        A zero amplitude (only with ``"psi"``) gives -inf, and no gradient.
        """
        f = jnp.asarray(f)
        return self.at(x, f.dtype).log_psi(f)

    def functions(self, log_psi: ArrayLike, x: ArrayLike) -> Array:
        """f (…) of the network whose log ψ (…) is given: the inverse of :meth:`log_psi`."""
        log_psi = jnp.asarray(log_psi)
        return self.at(x, log_psi.dtype).functions(log_psi)

    def f_gradient(
        self, psi_gradient: ArrayLike, psi: ArrayLike, x: ArrayLike | None = None
    ) -> Array:
        r"""∂L/∂f₁ + i ∂L/∂f₂ = conj(∂ψ/∂f) (∂L/∂ψ₁ + i ∂L/∂ψ₂), each (…).

        ∂ψ/∂f is ψ for ``"log_psi"`` and e^r for ``"psi"``.

        Args:
            psi_gradient: ∂L/∂ψ₁ + i ∂L/∂ψ₂.
            psi: ψ; used for ``"log_psi"``.
            x: Configurations; used for ``"psi"`` with a reference.

        Raises:
            InvalidModelError: No configurations where the reference needs them.
        """
        gradient = jnp.asarray(psi_gradient)
        if self.is_log or self.reference is None:
            return FixedReadout(self.is_log).f_gradient(gradient, jnp.asarray(psi))
        if x is None:
            raise InvalidModelError(
                f"{self!r}: ∂ψ/∂f is exp(reference(x)); give the configurations, f_gradient(gradient, psi, x)."
            )
        return self.at(x, gradient.dtype).f_gradient(gradient, jnp.asarray(psi))

    def _reference(self, x: ArrayLike, like: PyTree) -> Array | None:
        """r(x) in the precision of f, real or complex as it is."""
        if self.reference is None:
            return None
        r = jnp.asarray(self.reference(jnp.asarray(x)))
        real = jnp.finfo(like).dtype
        return r.astype(jnp.result_type(real, jnp.complex64) if jnp.iscomplexobj(r) else real)
