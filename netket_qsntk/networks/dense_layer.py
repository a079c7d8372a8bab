"""The dense layer of all models, in both parametrisations."""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, random
from jax.nn.initializers import normal

from netket_qsntk.networks.wave_function import Parametrization


def _phase(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    return random.uniform(key, shape, dtype, -jnp.pi, jnp.pi)


class Dense(nn.Module):
    """y = σ_w W x / √fan_in + σ_b b with W, b ~ N(0, 1), or its standard parametrisation.

    With ``parametrization="standard"`` the factors σ are in the distribution of W and b instead of in the
    forward pass. ``sigma_b=0`` means that there is no bias parameter; ``sigma_b="phase"`` is a bias drawn from
    U[-π, π] with factor 1. The output can be perturbed (collection ``"perturbations"``) and the input and
    the factors are offered as intermediates: from these the kernel of any network of dense layers follows
    (:mod:`netket_qsntk.kernels.layers`).
    """

    features: int
    sigma_w: float
    sigma_b: float | Literal["phase"]
    parametrization: Parametrization
    param_dtype: Any

    def factors(self, fan_in: int) -> tuple[float, float]:
        """Derivatives of y with respect to (W x) and b: the factors of the forward pass."""
        ntk = self.parametrization == "ntk"
        weight = (self.sigma_w if ntk else 1.0) / fan_in**0.5
        if self.sigma_b == "phase":
            return weight, 1.0
        return weight, (self.sigma_b if ntk else float(self.sigma_b > 0))

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """y (…, features) for x (…, fan_in)."""
        ntk = self.parametrization == "ntk"
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", normal(1.0 if ntk else self.sigma_w), shape, self.param_dtype)
        scales = jnp.asarray(self.factors(x.shape[-1]), self.param_dtype)
        self.sow("intermediates", "input", x)
        self.sow("intermediates", "scales", scales)
        # The factor goes on the weights, the smaller operand: the layer's output is not touched twice.
        y = x @ (kernel * scales[0])
        if self.sigma_b:
            if self.sigma_b == "phase":
                initializer = _phase
            else:
                initializer = normal(1.0 if ntk else self.sigma_b)
            bias = self.param("bias", initializer, (self.features,), self.param_dtype)
            y = y + bias * scales[1]
        # `init` must not leave the perturbation among the state's variables.
        return y if self.is_initializing() else self.perturb("output", y)
