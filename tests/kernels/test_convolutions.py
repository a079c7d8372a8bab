"""Derivatives of convolutional networks by configuration: one after the other on CPUs, and right."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.advice.rows import derivative_rows
from netket_qsntk.tracing import side_by_side
from netket_qsntk.wavefunction import pure_wavefunction

HI = nk.hilbert.Spin(0.5, 6)


class Convolution(nn.Module):
    """log ψ on a ring of six, summed over sites and features."""

    @nn.compact
    def __call__(self, x):
        y = nn.Conv(3, (3,), padding="CIRCULAR", param_dtype=float)(x[..., None].astype(float))
        return jnp.sum(nk.nn.activation.log_cosh(y), (-1, -2))


@pytest.fixture
def state():
    return nk.vqs.FullSumState(HI, Convolution(), seed=0)


def test_only_convolutions_are_differentiated_one_after_the_other(state):
    network, one = pure_wavefunction(state), jax.ShapeDtypeStruct((1, 6), float)
    on_cpu = None if jax.default_backend() == "cpu" else 64
    assert side_by_side(network.log_psi, 64, network.parameters, one) == on_cpu
    dense = pure_wavefunction(nk.vqs.FullSumState(HI, nk.models.RBM(), seed=0))
    assert side_by_side(dense.log_psi, 64, dense.parameters, one) == 64


def test_kernel_and_rows_of_a_convolution_are_those_of_jacrev(state):
    x = HI.all_states()[::5]
    network = pure_wavefunction(state)
    flat, back = jax.flatten_util.ravel_pytree(state.parameters)
    log_psi = jax.jacrev(lambda v: network.log_psi(back(v), x).real)(flat)
    rows = derivative_rows(network.log_psi, network.parameters, jnp.asarray(x), None, None, parts=1)
    np.testing.assert_allclose(rows.log_psi[:, 0], log_psi, atol=1e-12)
    psi = jnp.exp(network.log_psi(network.parameters, x))[:, None] * log_psi
    kernel = qs.kernels.EmpiricalKernel(state).qsntk(x)
    expected = psi @ psi.T
    np.testing.assert_allclose(kernel.theta_11, expected, atol=1e-12 * float(expected.max()))
