"""A wave function given by its amplitudes, as a model."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from netket.hilbert import DiscreteHilbert


class AmplitudeTable(nn.Module):
    """ψ(x) looked up: the parameters are the amplitudes on the whole basis.

    NetKet's ``nk.models.LogStateVector`` stores log ψ; here amplitudes may be zero.

    Args:
        hilbert: An indexable Hilbert space.
        param_dtype: Real or complex dtype of the amplitudes.

    Example:
        >>> import jax.numpy as jnp, netket as nk
        >>> from netket_qsntk.vqs.table import AmplitudeTable
        >>> hi = nk.hilbert.Spin(0.5, 1)
        >>> table = AmplitudeTable(hi)
        >>> parameters = {"params": {"amplitudes": jnp.array([0.6, 0.8j])}}
        >>> table.apply(parameters, hi.all_states(), method="psi").tolist()
        [(0.6+0j), 0.8j]
    """

    hilbert: DiscreteHilbert
    param_dtype: Any = jnp.complex128

    def setup(self) -> None:
        """Declare the parameters (called by flax)."""
        self.amplitudes = self.param(
            "amplitudes", nn.initializers.ones, (self.hilbert.n_states,), self.param_dtype
        )

    def psi(self, x: Array) -> Array:
        """Amplitudes ψ(x): (…, sites) -> (…)."""
        return self.amplitudes[self.hilbert.states_to_numbers(x)]

    def __call__(self, x: Array) -> Array:
        """log ψ(x): (…, sites) -> (…), complex; -inf where ψ = 0."""
        return jnp.log(self.psi(x) + 0j)
