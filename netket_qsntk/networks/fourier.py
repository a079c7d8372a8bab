"""Random Fourier features in front of a network (Case 2 of the paper)."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.typing import ArrayLike, DTypeLike
from netket.utils import HashableArray

from netket_qsntk.errors import InvalidModelError
from netket_qsntk.networks.wave_function import Encoding, Parametrization, Parts, WaveFunction
from netket_qsntk.readout import Readout, Reference, as_reference
from netket_qsntk.readout.amplitudes import Output
from netket_qsntk.text import brief

_KEPT = ("parts", "parametrization", "param_dtype", "output", "reference")


class FourierFeatures(nn.Module):
    r"""A network g on Fourier features: f(x) = g(γ(x)).

    .. math:: \gamma_{2k}(x) = a_k \cos(2\pi b_k \cdot x),\qquad \gamma_{2k+1}(x) = a_k \sin(2\pi b_k \cdot x)

    The features are chosen, not trained. |γ(x)|² = Σ a_k² for every x and γ(x)·γ(y) depends on x - y only, so
    every kernel of g that depends on inner products becomes translation invariant (arXiv:2112.00723, S29-S31;
    Tancik et al., arXiv:2006.10739).

    Args:
        frequencies: b, shape (m, d).
        amplitudes: a, shape (m,), or one number for all.
        network: The model g, seeing inputs of length 2m.
        parts, parametrization, param_dtype, output, reference: None keeps those of ``network``; a value replaces
            them. A reference sees the configurations, not the features.
        encoding: Applied before the features, as for every model.

    Raises:
        InvalidModelError: Shapes that do not fit, or a network with an encoding of its own.

    Example:
        >>> import jax, numpy as np, netket as nk, netket_qsntk as qs
        >>> b = np.random.default_rng(0).normal(size=(8, 4), scale=0.1)
        >>> model = qs.models.FourierFeatures(b, 1.0, qs.models.WideMLP(widths=(32,)))
        >>> x = nk.hilbert.Spin(0.5, 4).all_states()
        >>> model.apply(model.init(jax.random.key(0), x), x).shape
        (16,)
    """

    frequencies: ArrayLike
    amplitudes: ArrayLike
    network: WaveFunction
    parts: Parts | None = None
    encoding: Encoding | None = None
    parametrization: Parametrization | None = None
    param_dtype: DTypeLike | None = None
    output: Output | None = None
    reference: Reference | None = None

    def __post_init__(self) -> None:
        b = np.asarray(self.frequencies, dtype=float)
        if b.ndim != 2:
            raise InvalidModelError(
                f"FourierFeatures(frequencies=array of shape {b.shape}): expected (features, d)."
            )
        a = np.asarray(self.amplitudes, dtype=float)
        if a.shape not in ((), (b.shape[0],)):
            raise InvalidModelError(
                f"FourierFeatures(amplitudes=array of shape {a.shape}): expected one number or "
                f"{(b.shape[0],)}, one for each frequency."
            )
        if not isinstance(self.network, WaveFunction) or self.network.encoding is not None:
            raise InvalidModelError(
                "FourierFeatures(network=…): expected one of this package's models without an encoding "
                f"(pass encoding= to FourierFeatures itself), got {type(self.network).__name__}."
            )
        self.reference = as_reference(self.reference)
        own = {name: vars(self)[name] for name in _KEPT if vars(self)[name] is not None}
        if own:
            self.network = self.network.clone(parent=None, **own)
        for name in _KEPT:
            setattr(self, name, vars(self.network)[name])
        self.frequencies = HashableArray(b)
        self.amplitudes = HashableArray(np.broadcast_to(a, b.shape[:1]))
        super().__post_init__()

    @nn.nowrap
    def encode(self, x: Array) -> Array:
        """Configurations (…, sites) as features γ of shape (…, 2m)."""
        x = jnp.asarray(x)
        x = (x if self.encoding is None else self.encoding(x)).astype(self.network.dtype)
        b = jnp.asarray(np.asarray(self.frequencies), x.dtype)
        if b.shape[1] != x.shape[-1]:
            raise InvalidModelError(
                f"FourierFeatures has frequencies for inputs of length {b.shape[1]}, got configurations of "
                f"length {x.shape[-1]}; give frequencies of shape (features, {x.shape[-1]})."
            )
        a = jnp.asarray(np.asarray(self.amplitudes), x.dtype)
        phase = 2 * jnp.pi * (x @ b.T)
        features = jnp.stack([a * jnp.cos(phase), a * jnp.sin(phase)], axis=-1)
        return features.reshape(*x.shape[:-1], 2 * b.shape[0])

    @property
    def readout(self) -> Readout:
        """How f becomes ψ."""
        return Readout(self.network.output, self.reference)

    def fields(self, x: Array) -> Array:
        """The network's functions f(x): (…, sites) -> (…)."""
        return self.network.fields(self.encode(x))

    def psi(self, x: Array) -> Array:
        """Amplitudes ψ(x): (…, sites) -> (…)."""
        return self.readout.psi(self.fields(x), x)

    def __call__(self, x: Array) -> Array:
        """Log ψ(x): (…, sites) -> (…)."""
        return self.readout.log_psi(self.fields(x), x)

    def __repr__(self) -> str:
        m, d = np.shape(self.frequencies)
        encoding = "" if self.encoding is None else f", encoding={brief(self.encoding)}"
        return f"FourierFeatures({m} frequencies of length {d}, {self.network!r}{encoding})"
