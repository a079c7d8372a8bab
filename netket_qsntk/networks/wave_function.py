"""How the functions f = f₁ + if₂ of a wave function are put together from real networks.

A concrete model says only what its real network is (:meth:`WaveFunction.network`, a flax module from
(…, d) to (…, outputs)); this file says how one or two of them make f. What f is, ψ or log ψ, is said by the model's
:class:`~netket_qsntk.readout.Readout`.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from netket_qsntk.errors import InvalidModelError
from netket_qsntk.readout import Readout, Reference, as_reference
from netket_qsntk.readout.amplitudes import Output
from netket_qsntk.text import summary

Parts = Literal["independent", "shared", "real"]
Parametrization = Literal["ntk", "standard", "mup"]
Encoding = Callable[[Array], Array]

_OPTIONS = ("parts", "output", "reference", "encoding", "parametrization", "param_dtype")
_CHOICES = {
    "parts": ("independent", "shared", "real"),
    "parametrization": ("ntk", "standard", "mup"),
    "output": ("psi", "log_psi"),
}


class WaveFunction(nn.Module, kw_only=True):
    """Base of the models: f = f₁ + if₂ from real networks, ψ from f, log ψ for NetKet.

    Args:
        parts: How f₁ and f₂ are built. ``"independent"``: two networks with parameters of their own (the
            paper's experiments); ``"shared"``: one trunk, two linear readouts (the paper's S16);
            ``"real"``: f₂ = 0.
        output: What f is: ``"psi"``: ψ = f, as in the paper; ``"log_psi"``: ψ = e^f, f₁ the log-amplitude and f₂
            the phase, as NetKet's own models.
        reference: A fixed log ψ, added to the network's: ``reference(x)`` of shape (…) for configurations (…, sites),
            such as :func:`netket_qsntk.readout.marshall`, or a bound flax module.
        encoding: Function from configurations (…, sites) to real vectors (…, d), for instance
            :func:`netket_qsntk.encodings.fermion_sites`. None takes the configuration as it is.
        parametrization: ``"ntk"``: θ ~ N(0, 1) and the forward pass multiplies by σ/√fan_in;
            ``"standard"``: θ ~ N(0, σ²) and the forward pass multiplies by 1/√fan_in only. The function at
            initialisation has the same distribution, the NTK differs by σ² for each parameter group.
            ``"mup"``: the maximal update parametrisation (Yang & Hu, arXiv:2011.14522): the readout is 1/√N
            smaller, so that f starts near zero and features move by order one at any width, with learning rates of
            gradient descent that do not depend on it. Its wide limit is not a kernel: ``qs.kernels.infinite_width``
            refuses it.
        param_dtype: Real dtype of the parameters and of the arithmetic.

    Raises:
        InvalidModelError: An option is not one of the above.
    """

    parts: Parts = "independent"
    output: Output = "psi"
    reference: Reference | None = None
    encoding: Encoding | None = None
    parametrization: Parametrization = "ntk"
    param_dtype: DTypeLike = jnp.float64

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = vars(self)[name]
            if not isinstance(value, str) or value not in allowed:
                raise InvalidModelError(
                    f"{type(self).__name__}({name}={value!r}): expected one of {allowed}."
                )
        self.reference = as_reference(self.reference)
        if self.encoding is not None and not callable(self.encoding):
            raise InvalidModelError(
                f"{type(self).__name__}(encoding={self.encoding!r}): expected a function from "
                "configurations (…, sites) to real vectors (…, d), such as qs.encodings.fermion_sites."
            )
        if not jnp.issubdtype(self.param_dtype, jnp.floating):
            raise InvalidModelError(
                f"{type(self).__name__}(param_dtype={self.param_dtype}): the parameters are real; "
                "expected float64 or float32."
            )
        super().__post_init__()

    @property
    def dtype(self) -> DTypeLike:
        """``param_dtype``; float32 in its place where JAX's 64-bit mode is off, without JAX's warning at each use."""
        return jax.dtypes.canonicalize_dtype(self.param_dtype)

    @property
    def readout(self) -> Readout:
        """How f becomes ψ."""
        return Readout(self.output, self.reference)

    @nn.nowrap
    def network(self, outputs: int) -> nn.Module:
        """The real network (…, d) -> (…, outputs); defined by each model."""
        raise TypeError(f"{type(self).__name__} does not define network(outputs).")

    @nn.nowrap
    def encode(self, x: Array) -> Array:
        """Configurations (…, sites) of any dtype as real vectors (…, d) of ``param_dtype``."""
        return (x if self.encoding is None else self.encoding(x)).astype(self.dtype)

    def setup(self) -> None:
        """Create the real networks (called by flax)."""
        if self.parts == "shared":
            self.trunk = self.network(2)
        else:
            self.real = self.network(1)
            if self.parts == "independent":
                self.imag = self.network(1)

    def fields(self, x: Array) -> Array:
        """The network's functions f(x): (…, sites) -> (…), complex, or real for ``parts="real"``."""
        v = self.encode(jnp.asarray(x))
        if self.parts == "shared":
            out = self.trunk(v)
            return lax.complex(out[..., 0], out[..., 1])
        real = self.real(v)[..., 0]
        return real if self.parts == "real" else lax.complex(real, self.imag(v)[..., 0])

    def psi(self, x: Array) -> Array:
        """Amplitudes ψ(x): (…, sites) -> (…); real where f and the reference are."""
        return self.readout.psi(self.fields(x), x)

    def __call__(self, x: Array) -> Array:
        """log ψ(x): (…, sites) -> (…).

        Complex for ``output="psi"``, where a zero amplitude gives -inf (and no gradient). For ``"log_psi"`` it is
        the network's f and the reference, real where both are.
        """
        return self.readout.log_psi(self.fields(x), x)

    def __repr__(self) -> str:
        """Own fields, and the options of all models where they are not the default; Flax takes a line for each."""
        shared = {f.name: f.default for f in dataclasses.fields(WaveFunction)}
        own = [f.name for f in dataclasses.fields(self) if f.name not in shared]
        chosen = [n for n in _OPTIONS if vars(self)[n] != shared[n]]
        return summary(self, own + chosen)


def check_positive(model: str, **values: ArrayLike) -> None:
    """Raise :class:`InvalidModelError` unless every value is a finite real number > 0."""
    for name, value in values.items():
        if not (isinstance(value, numbers.Real) and 0 < float(value) < math.inf):
            raise InvalidModelError(f"{model}({name}={value!r}): expected a finite number > 0.")


def check_width(model: str, width: object) -> int:
    """``width`` as an int, or :class:`InvalidModelError` unless it is a whole number > 0."""
    if not isinstance(width, numbers.Integral) or isinstance(width, bool) or width < 1:
        raise InvalidModelError(
            f"{model}(width={width!r}): expected a positive whole number of hidden units, as in 512."
        )
    return int(width)
