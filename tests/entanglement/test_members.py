"""Members drawn on the whole basis are those of EnsembleState, however they are evaluated."""

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.entanglement import draw_members
from netket_qsntk.errors import EnsembleError, SystemTooLargeError


def half(x):
    return 0.5 * x


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["independent", "shared", "real"])
@pytest.mark.parametrize(
    ("network", "options"),
    [
        (qs.models.CosNet, {}),
        (qs.models.CosNet, {"parametrization": "standard", "encoding": half}),
        (qs.models.GaussNet, {}),
        (qs.models.GaussNet, {"parametrization": "standard"}),
    ],
)
def test_the_separable_evaluation_equals_the_model(network, options, parts):
    hilbert = nk.hilbert.Spin(1, 3)
    model = network(20, 1.5, 0.7, parts=parts, **options)
    members = draw_members(model, hilbert, 3, seed=4)
    state = qs.vqs.EnsembleState(hilbert, model, 3, seed=4)
    np.testing.assert_allclose(members, state.to_array(normalize=False), rtol=1e-11, atol=1e-12)
    assert np.iscomplexobj(members) == (parts != "real")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("model", "hilbert"),
    [
        (qs.models.WideMLP((30, 20), "erf"), nk.hilbert.Spin(0.5, 5)),
        (qs.models.CosNet(9), nk.hilbert.Spin(0.5, 4, total_sz=0)),
        (nk.models.RBM(alpha=2, param_dtype=complex), nk.hilbert.Spin(0.5, 5)),
    ],
    ids=["perceptron", "constrained", "NetKet's own"],
)
def test_every_other_model_is_evaluated_row_by_row(model, hilbert):
    members = draw_members(model, hilbert, 3, seed=4)
    state = qs.vqs.EnsembleState(hilbert, model, 3, seed=4)
    np.testing.assert_allclose(members, state.to_array(normalize=False), rtol=1e-11, atol=1e-12)


def test_bad_input():
    with pytest.raises(EnsembleError, match="positive integer"):
        draw_members(qs.models.CosNet(3), nk.hilbert.Spin(0.5, 3), 0)
    with pytest.raises(SystemTooLargeError, match="finite_width_purity"):
        draw_members(qs.models.CosNet(3), nk.hilbert.Spin(0.5, 200), 1)


@pytest.mark.parametrize(
    "options", [{"output": "log_psi"}, {"reference": qs.readout.marshall(nk.graph.Chain(4))}]
)
@pytest.mark.thorough
@pytest.mark.parametrize("network", [qs.models.CosNet, qs.models.GaussNet])
def test_members_are_psi_whatever_the_network_computes(network, options):
    hilbert = nk.hilbert.Spin(0.5, 4)
    model = network(20, 1.5, 0.7, **options)
    members = draw_members(model, hilbert, 3, seed=4)
    state = qs.vqs.EnsembleState(hilbert, model, 3, seed=4)
    np.testing.assert_allclose(members, state.to_array(normalize=False), rtol=1e-11, atol=1e-12)
