"""Multilayer perceptrons of any depth, in the parametrisations that have an infinite-width limit."""

import numbers
from collections.abc import Callable, Iterable, Sequence

from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from netket_qsntk.activations import Activation, activation
from netket_qsntk.errors import InvalidModelError
from netket_qsntk.networks.dense_layer import Dense
from netket_qsntk.networks.wave_function import Parametrization, WaveFunction, check_width


class _MLPNetwork(nn.Module):
    widths: tuple[int, ...]
    activation: Callable[[Array], Array]
    sigma_w: tuple[float, ...]
    sigma_b: tuple[float, ...]
    parametrization: Parametrization
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Array) -> Array:
        last = len(self.widths) - 1
        for i, width in enumerate(self.widths):
            x = Dense(
                width,
                self.sigma_w[i],
                self.sigma_b[i],
                self.parametrization,
                self.param_dtype,
                role="readout" if i == last else "input" if i == 0 else "hidden",
                name="readout" if i == last else f"hidden_{i}",
            )(x)
            x = x if i == last else self.activation(x)
        return x


def _per_layer(
    model: str, name: str, given: float | Sequence[float], layers: int
) -> float | tuple[float, ...]:
    """One σ >= 0 for all layers, or a tuple with one for each."""
    values = (given,) * layers if isinstance(given, int | float | numbers.Real) else given
    if (
        not isinstance(values, Sequence)
        or len(values) != layers
        or not all(isinstance(s, numbers.Real) and 0 <= float(s) < float("inf") for s in values)
    ):
        raise InvalidModelError(
            f"{model}({name}={given!r}): expected one finite number >= 0, or one for each of the "
            f"{layers} layers (hidden layers and readout)."
        )
    found = tuple(float(s) for s in values)
    return found if isinstance(given, Sequence) else found[0]


class WideMLP(WaveFunction):
    r"""Multilayer perceptron ψ with the scaling that makes it a Gaussian process when wide.

    .. math:: z^1 = \sigma_w W^1 x/\sqrt d + \sigma_b b^1,\qquad
        z^{l+1} = \sigma_w W^{l+1} \phi(z^l)/\sqrt{N_l} + \sigma_b b^{l+1}

    The last layer is the linear readout. A ``sigma_b`` of zero means no bias parameter in that layer.

    Args:
        widths: Hidden widths (N₁, …, N_L); ``()`` is a linear model.
        activation: ``"relu" | "erf" | "tanh" | "gelu" | "sin" | "cos" | "gaussian" | "identity"`` (kernels in
            closed form, ``tanh`` by quadrature), or any differentiable elementwise JAX function (quadrature).
            ``"gelu"`` is the exact z·Φ(z), ``"gaussian"`` is exp(-z²).
        sigma_w: σ_w of every layer, or one for each of the L + 1 layers.
        sigma_b: σ_b likewise.

    The keyword-only options are those of :class:`~netket_qsntk.models.WaveFunction`.

    Raises:
        InvalidModelError: Unknown activation, widths that are not positive integers, a wrong number of σ.

    Example:
        >>> import jax, netket as nk, netket_qsntk as qs
        >>> model = qs.models.WideMLP(widths=(64, 64), activation="erf", sigma_w=1.5, sigma_b=0.1)
        >>> x = nk.hilbert.Spin(0.5, 4).all_states()
        >>> model.apply(model.init(jax.random.key(0), x), x).dtype
        dtype('complex128')
    """

    widths: tuple[int, ...]
    activation: str | Callable[[Array], Array] = "relu"
    sigma_w: float | tuple[float, ...] = 1.0
    sigma_b: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        given = (self.widths,) if isinstance(self.widths, numbers.Integral) else self.widths
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise InvalidModelError(
                f"{name}(widths={given!r}): expected hidden widths, as in widths=(512, 512)."
            )
        self.widths = tuple(check_width(name, n) for n in given)
        self.sigma_w = _per_layer(name, "sigma_w", self.sigma_w, len(self.widths) + 1)
        self.sigma_b = _per_layer(name, "sigma_b", self.sigma_b, len(self.widths) + 1)
        self.nonlinearity  # noqa: B018  an unknown name is an error now, not at the first call
        super().__post_init__()

    @property
    def nonlinearity(self) -> Activation:
        """The activation with its dual kernels."""
        return activation(self.activation)

    @nn.nowrap
    def sigmas(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(σ_w, σ_b), each with one number a layer, readout last."""
        layers = len(self.widths) + 1
        w, b = (s if isinstance(s, tuple) else (s,) * layers for s in (self.sigma_w, self.sigma_b))
        return w, b

    @nn.nowrap
    def network(self, outputs: int) -> nn.Module:
        """One real perceptron with ``outputs`` readouts."""
        sigma_w, sigma_b = self.sigmas()
        return _MLPNetwork(
            (*self.widths, outputs),
            self.nonlinearity.function,
            sigma_w,
            sigma_b,
            self.parametrization,
            self.dtype,
        )
