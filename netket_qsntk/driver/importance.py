r"""Losses and gradients over the whole basis, estimated from samples of one distribution.

With configurations drawn from q and weighted amplitudes u = ψ/√q, v = φ/√q, every sum over the basis is an average:
Σ|ψ - φ|²/Σ|φ|² = E|u - v|²/E|v|², ⟨φ|ψ⟩ = E v*u, and so on. q = |φ|² (|v| = 1) or |ψ|² (|u| = 1).
The two losses are those of :mod:`netket_qsntk.losses`, evaluated on u and v.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk.driver.gradient import pull_back
from netket_qsntk.losses import MSE, Infidelity, Loss
from netket_qsntk.vqs.evaluate import amplitudes
from netket_qsntk.wavefunction import Psi


class Sampled(NamedTuple):
    """Configurations x (n, sites), log φ (n,) complex there, and log √q (n,) real of their distribution."""

    x: Array
    log_target: Array
    log_q: Array


def _weighted(
    is_log: bool, loss: Loss, values: Array, log_target: Array, log_q: Array
) -> tuple[Array, Array, Array]:
    """(u, v, du/d value), each (n,): weighted amplitudes from values of ψ or log ψ."""
    log_u = (values + 0j if is_log else jnp.log(values + 0j)) - log_q
    log_v = log_target - log_q
    if isinstance(loss, Infidelity):  # norms do not matter: keep exponentials in range
        shift = jnp.max(log_u.real)
        log_u, log_v = log_u - shift, log_v - jnp.max(log_v.real)
    else:
        shift = jnp.zeros(())
    u = jnp.exp(log_u)
    return u, jnp.exp(log_v), u if is_log else jnp.exp(-log_q - shift)


def _value(loss: Loss, u: Array, v: Array) -> tuple[Array, Array, Array]:
    """(scale, loss, influence (n,)): the estimate, and how much each sample moves it (mean 0)."""
    if isinstance(loss, MSE):
        scale = jnp.mean(jnp.abs(v) ** 2)
        value = loss.value(u, v) / scale
        return scale, value, (jnp.abs(u - v) ** 2 - value * jnp.abs(v) ** 2) / scale
    value = loss.value(u, v)
    uu, vv, overlap = jnp.abs(u) ** 2, jnp.abs(v) ** 2, v.conj() * u
    norm_u, norm_v, mean = uu.mean(), vv.mean(), overlap.mean()
    moved = 2 * jnp.real(mean.conj() * (overlap - mean)) / (norm_u * norm_v)
    relative = (uu - norm_u) / norm_u + (vv - norm_v) / norm_v
    return jnp.ones(()), value, (1 - value) * relative - moved


@partial(jax.jit, static_argnums=(1, 3))
def estimates(
    networks: tuple[Psi, PyTree], is_log: bool, loss: Loss, rows: int, data: Sampled
) -> tuple[Array, Array, Array, Array]:
    """Loss and infidelity of every member: two pairs (members,), (members, n) influences.

    Args:
        networks: (what they compute, parameters), both stacked over members.
        is_log: Whether they compute log ψ.
        loss: ``MSE`` or ``Infidelity``.
        rows: Configurations evaluated at once.
        data: Where, and with which weights.
    """

    def member(network: tuple[Psi, PyTree]) -> tuple[Array, Array, Array, Array]:
        return _both_values(is_log, loss, amplitudes(*network, data.x, rows), data)

    return jax.lax.map(member, networks)


def _both_values(
    is_log: bool, loss: Loss, values: Array, data: Sampled
) -> tuple[Array, Array, Array, Array]:
    u, v, _ = _weighted(is_log, loss, values, data.log_target, data.log_q)
    _, value, influence = _value(loss, u, v)
    if isinstance(loss, Infidelity):
        return value, influence, value, influence
    infidelity = Infidelity(loss.target)
    u, v, _ = _weighted(is_log, infidelity, values, data.log_target, data.log_q)
    return value, influence, *_value(infidelity, u, v)[1:]


@partial(jax.jit, static_argnums=(1, 3))
def estimates_and_gradients(
    networks: tuple[Psi, PyTree], is_log: bool, loss: Loss, rows: int, data: Sampled
) -> tuple[tuple[Array, Array, Array, Array], PyTree]:
    """What :func:`estimates` gives, and ∂L/∂Re θ + i ∂L/∂Im θ stacked. The distribution q is held fixed."""
    n = len(data.x)

    def cotangent(values: Array, log_target: Array, log_q: Array, scale: Array | float) -> Array:
        u, v, factor = _weighted(is_log, loss, values, log_target, log_q)
        return loss.gradient(u, v, n) * factor.conj() / scale

    def member(
        network: tuple[Psi, PyTree],
    ) -> tuple[tuple[Array, Array, Array, Array], PyTree]:
        function, p = network
        if loss.is_local:
            v = jnp.exp(data.log_target - data.log_q)
            scale = jnp.mean(jnp.abs(v) ** 2)
            logs = jnp.stack([data.log_target, data.log_q + 0j], axis=-1)
            values, gradient = pull_back(
                function,
                p,
                data.x,
                logs,
                lambda w, ls: cotangent(w, ls[:, 0], ls[:, 1].real, scale),
                rows,
            )
        else:
            values = amplitudes(function, p, data.x, rows)
            whole = cotangent(values, data.log_target, data.log_q, 1.0)
            _, gradient = pull_back(function, p, data.x, whole, lambda _, w: w, rows)
        return _both_values(is_log, loss, values, data), gradient

    return jax.lax.map(member, networks)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["function", "loss", "data"],
    meta_fields=["is_log", "rows"],
)
@dataclass(frozen=True)
class SampledObjective:
    """The loss of one network, estimated from given samples, as a function of its parameters."""

    function: Psi
    loss: Loss
    data: Sampled
    is_log: bool
    rows: int

    def __call__(self, parameters: PyTree) -> Array:
        """L: a scalar."""
        values = amplitudes(self.function, parameters, self.data.x, self.rows)
        return _both_values(self.is_log, self.loss, values, self.data)[0]
