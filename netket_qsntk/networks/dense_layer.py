"""The dense layer of all models, in every parametrisation."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, random
from jax.nn.initializers import normal
from jax.typing import DTypeLike

from netket_qsntk.networks.wave_function import Parametrization

Role = Literal["input", "hidden", "readout"]


def _phase(key: Array, shape: tuple[int, ...], dtype: DTypeLike, *, scale: float) -> Array:
    return scale * random.uniform(key, shape, dtype, -jnp.pi, jnp.pi)


class Dense(nn.Module):
    """y = σ_w W x / √fan_in + σ_b b with W, b ~ N(0, 1), or its standard parametrisation.

    With ``parametrization="standard"`` the factors σ are in the distribution of W and b instead of in the forward
    pass. With ``"mup"`` W and b have the factors of the table, for N units (their own in the first layer, those of
    the layer before in the readout), so that gradient descent with one rate moves every layer's output by order one
    at any width (Yang & Hu, arXiv:2011.14522, Table 1):

    ======== ============== ================ ================ ===============
    role     factor of W    W drawn with     factor of b      b drawn with
    ======== ============== ================ ================ ===============
    input    σ_w √(N/d)     1/√N             σ_b √N           1/√N
    hidden   σ_w            1/√N             σ_b √N           1/√N
    readout  σ_w/√N         1/√N             σ_b              1
    ======== ============== ================ ================ ===============

    ``sigma_b=0`` means that there is no bias parameter; ``sigma_b="phase"`` is a bias drawn from
    U[-π, π] with factor 1. The output can be perturbed (collection ``"perturbations"``) and the input and
    the factors are offered as intermediates: from these the kernel of any network of dense layers follows
    (:mod:`netket_qsntk.kernels.layers`).
    """

    features: int
    sigma_w: float
    sigma_b: float | Literal["phase"]
    parametrization: Parametrization
    param_dtype: DTypeLike
    role: Role = "hidden"

    def factors(self, fan_in: int) -> tuple[float, float]:
        """Derivatives of y with respect to (W x) and b: the factors of the forward pass."""
        if self.parametrization == "mup":
            weight = (
                self.sigma_w
                * {
                    "input": (self.features / fan_in) ** 0.5,
                    "hidden": 1.0,
                    "readout": fan_in**-0.5,
                }[self.role]
            )
            bias = 1.0 if self.sigma_b == "phase" else self.sigma_b
            return weight, bias * (1.0 if self.role == "readout" else self.features**0.5)
        ntk = self.parametrization == "ntk"
        weight = (self.sigma_w if ntk else 1.0) / fan_in**0.5
        if self.sigma_b == "phase":
            return weight, 1.0
        return weight, (self.sigma_b if ntk else float(self.sigma_b > 0))

    def deviations(self, fan_in: int) -> tuple[float, float]:
        """Standard deviations that W and b are drawn with."""
        if self.parametrization == "mup":
            own = self.features**-0.5
            return (own if self.role == "input" else fan_in**-0.5), (
                1.0 if self.role == "readout" else own
            )
        if self.parametrization == "ntk":
            return 1.0, 1.0
        return self.sigma_w, 1.0 if self.sigma_b == "phase" else self.sigma_b

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """y (…, features) for x (…, fan_in)."""
        shape = (x.shape[-1], self.features)
        of_weights, of_biases = self.deviations(x.shape[-1])
        kernel = self.param("kernel", normal(of_weights), shape, self.param_dtype)
        scales = jnp.asarray(self.factors(x.shape[-1]), self.param_dtype)
        self.sow("intermediates", "input", x)
        self.sow("intermediates", "scales", scales)
        # The factor goes on the weights, the smaller operand: the layer's output is not touched twice.
        y = x @ (kernel * scales[0])
        if self.sigma_b:
            initializer: Callable[..., Array] = normal(of_biases)
            if self.sigma_b == "phase":
                initializer = partial(_phase, scale=of_biases)
            bias = self.param("bias", initializer, (self.features,), self.param_dtype)
            y = y + bias * scales[1]
        # `init` must not leave the perturbation among the state's variables.
        return y if self.is_initializing() else self.perturb("output", y)
