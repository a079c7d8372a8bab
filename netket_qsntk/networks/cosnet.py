"""CosNet and GaussNet: two architectures with the same Gaussian limit and different finite widths."""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from netket_qsntk.networks.dense_layer import Dense
from netket_qsntk.networks.wave_function import (
    Parametrization,
    WaveFunction,
    check_positive,
    check_width,
)


class _Network(nn.Module):
    width: int
    sigma_a: float
    sigma_w: float
    outputs: int
    parametrization: Parametrization
    param_dtype: DTypeLike

    @nn.nowrap
    def _hidden(self, x: Array, sigma_b: float | Literal["phase"]) -> Array:
        return self._dense(self.width, self.sigma_w, sigma_b, "hidden")(x)

    @nn.nowrap
    def _readout(self, h: Array) -> Array:
        return self._dense(self.outputs, self.sigma_a, 0.0, "readout")(h)

    @nn.nowrap
    def _dense(
        self, features: int, sigma_w: float, sigma_b: float | Literal["phase"], name: str
    ) -> Dense:
        role: Literal["input", "readout"] = "readout" if name == "readout" else "input"
        return Dense(
            features,
            sigma_w,
            sigma_b,
            self.parametrization,
            self.param_dtype,
            role=role,
            name=name,
        )


class _CosNetwork(_Network):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        return self._readout(jnp.cos(self._hidden(x, "phase")))


class _GaussNetwork(_Network):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        # One exponential of the difference: exp(w·x) alone overflows where the ratio is harmless.
        shift = self.sigma_w**2 * jnp.sum(x * x, axis=-1, keepdims=True) / x.shape[-1]
        return self._readout(jnp.exp(self._hidden(x, 0.0) - shift))


class _OneHiddenLayer(WaveFunction):
    width: int
    sigma_a: float = 1.0
    sigma_w: float = 1.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        self.width = check_width(name, self.width)
        check_positive(name, sigma_a=self.sigma_a, sigma_w=self.sigma_w)
        super().__post_init__()

    @nn.nowrap
    def _made_of(self, network: type[_Network], outputs: int) -> nn.Module:
        options = outputs, self.parametrization, self.dtype
        return network(self.width, self.sigma_a, self.sigma_w, *options)


class CosNet(_OneHiddenLayer):
    r"""Wave function from one hidden layer of cosines.

    .. math:: f(x) = \sum_{i=1}^N a_i \cos(w_i \cdot x + b_i)

    with :math:`a \sim N(0, \sigma_a^2/N)`, :math:`w \sim N(0, \sigma_w^2/d)`, :math:`b \sim U[-\pi, \pi]`.

    As the width N grows, f is a Gaussian process with covariance (Luo & Halverson, arXiv:2112.00723, Eq. 4)
    :math:`(\sigma_a^2/2)\, e^{-\sigma_w^2 |x-y|^2/2d}`. The paper's Eq. 3 prints a sum over sites outside the
    cosine; its covariance is not Eq. 4, and this model follows Eq. 4.

    Args:
        width: Number N of hidden units.
        sigma_a: Standard deviation σ_a of the readout, before the factor 1/√N.
        sigma_w: Standard deviation σ_w of the weights, before the factor 1/√d.

    The keyword-only options are those of :class:`~netket_qsntk.models.WaveFunction`.

    Example:
        >>> import jax, netket as nk, netket_qsntk as qs
        >>> model = qs.models.CosNet(64, sigma_a=1.0, sigma_w=2.0)
        >>> x = nk.hilbert.Spin(0.5, 4).all_states()
        >>> variables = model.init(jax.random.key(0), x)
        >>> model.apply(variables, x, method="psi").shape
        (16,)
    """

    @nn.nowrap
    def network(self, outputs: int) -> nn.Module:
        """One real CosNet with ``outputs`` readouts."""
        return self._made_of(_CosNetwork, outputs)


class GaussNet(_OneHiddenLayer):
    r"""Wave function from one hidden layer of normalised exponentials.

    .. math:: f(x) = \sum_{i=1}^N a_i\, e^{w_i \cdot x} \Big/ \sqrt{e^{2\sigma_w^2 x \cdot x/d}},\quad
        a \sim N(0, \sigma_a^2/N),\ w \sim N(0, \sigma_w^2/d)

    Its Gaussian limit has covariance :math:`\sigma_a^2 e^{-\sigma_w^2 |x-y|^2/2d}` (arXiv:2112.00723, S26-S27),
    twice CosNet's, but its finite-width corrections differ. exp(w·x) has heavy tails: at σ_w²|x|²/d of more
    than a few, very wide networks are needed before the limit shows.

    Args:
        width: Number N of hidden units.
        sigma_a: Standard deviation σ_a of the readout, before the factor 1/√N.
        sigma_w: Standard deviation σ_w of the weights, before the factor 1/√d.

    The keyword-only options are those of :class:`~netket_qsntk.models.WaveFunction`.

    Example:
        >>> import jax, netket as nk, netket_qsntk as qs
        >>> model = qs.models.GaussNet(64, sigma_w=0.5, parts="real")
        >>> x = nk.hilbert.Spin(0.5, 4).all_states()
        >>> model.apply(model.init(jax.random.key(0), x), x).shape
        (16,)
    """

    @nn.nowrap
    def network(self, outputs: int) -> nn.Module:
        """One real GaussNet with ``outputs`` readouts."""
        return self._made_of(_GaussNetwork, outputs)
