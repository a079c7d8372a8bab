"""Which optimisers have a closed form."""

import jax
import jax.numpy as jnp
import netket  # noqa: F401  switches JAX to float64
import optax
import pytest

from netket_qsntk.dynamics.optimizers import check_linear
from netket_qsntk.errors import NonLinearOptimizerError, QSNTKError
from tests.dynamics.oracles import LINEAR

PARAMETERS = {
    "hidden": {"kernel": jnp.zeros((5, 9)), "bias": jnp.zeros(9)},
    "readout": {"kernel": jnp.zeros((9, 1))},
}
LATE = optax.linear_schedule(0.0, 0.1, 10, transition_begin=50)


def _masked_by_name():
    def in_readout(parameters):
        return jax.tree_util.tree_map_with_path(lambda path, _: "readout" in str(path), parameters)

    return optax.chain(optax.sgd(0.1), optax.masked(optax.scale(0.1), in_readout))


def _decay_of_matrices():
    def mask(parameters):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, parameters)

    return optax.chain(optax.add_decayed_weights(0.1, mask=mask), optax.sgd(0.1))


@pytest.mark.parametrize("like", [None, PARAMETERS], ids=["vector", "parameters"])
@pytest.mark.parametrize(
    "optimizer",
    [*(make(0.1) for make in LINEAR.values()), optax.sgd(LATE, momentum=0.9)],
    ids=[*LINEAR, "a schedule that begins late"],
)
def test_linear_optimizers_pass(optimizer, like):
    check_linear(optimizer, like)


@pytest.mark.parametrize(
    "optimizer",
    {
        "adam": optax.adam(0.1),
        "adam that begins late": optax.adam(LATE),
        "rmsprop": optax.rmsprop(0.1),
        "clipping": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
        "clipping that begins late": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(LATE)),
        "signs": optax.sign_sgd(0.1),
        "line search": optax.lbfgs(),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_non_linear_optimizers_are_refused_with_what_to_use(optimizer):
    with pytest.raises(NonLinearOptimizerError, match="QSNTKDriver"):
        check_linear(optimizer[1])
    assert issubclass(NonLinearOptimizerError, (QSNTKError, TypeError))


@pytest.mark.parametrize("make", [_masked_by_name, _decay_of_matrices])
def test_parameters_treated_differently_are_refused_where_their_names_are_known(make):
    with pytest.raises(NonLinearOptimizerError, match="treats parameters differently"):
        check_linear(make(), PARAMETERS)
