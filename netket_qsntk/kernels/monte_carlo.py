"""The average tangent kernel of any network over its initialisations, measured."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from flax import linen
from jax import Array
from jax.typing import ArrayLike
from netket.utils.types import PyTree

from netket_qsntk._compat.netket_states import Taken, drawn_again, take
from netket_qsntk.errors import InvalidModelError, NotANetworkError
from netket_qsntk.kernels.empirical import EmpiricalKernel
from netket_qsntk.kernels.qsntk import QSNTK
from netket_qsntk.wavefunction import Network, Psi, PureWaveFunction


def monte_carlo(
    model: object,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    n_members: int,
    seed: int | Array | None = None,
) -> tuple[QSNTK, QSNTK]:
    """The kernel of a network averaged over ``n_members`` initialisations, and its standard error.

    For architectures whose infinite-width kernel is not known. It is the kernel of the network's real functions
    (log-amplitude and phase for NetKet's models of log ψ, and for models of this package what
    ``model.readout`` makes ψ of), as :func:`netket_qsntk.kernels.infinite_width` gives it, at the width the model
    has: how far single networks are from the average says how wide they are.

    Args:
        model: A flax linen module (``init`` draws its parameters); an nnx or equinox module whose constructor takes a
            random key alone; or a function ``key -> module`` that makes one.
        x: Configurations (n, sites).
        y: Configurations (m, sites); None stands for y = x.
        n_members: Number of initialisations, at least 2.
        seed: Integer or JAX key; None draws one. Member i depends on the seed and i only.

    Returns:
        (mean, standard error of the mean), two QSNTKs of blocks (n, m).

    Raises:
        NotANetworkError: It is no network, or one that cannot be drawn again.
        InvalidModelError: ``n_members`` is not a whole number of at least 2.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> x = nk.hilbert.Spin(0.5, 3).all_states()
        >>> mean, error = qs.kernels.monte_carlo(nk.models.RBM(alpha=4), x, n_members=8, seed=0)
        >>> exact = qs.kernels.infinite_width(nk.models.RBM(alpha=4)).ntk(x)
        >>> bool((abs(mean.theta_11 - exact) < 6 * error.theta_11 + 1e-6).all())
        True
    """
    if not isinstance(n_members, int | np.integer) or isinstance(n_members, bool) or n_members < 2:
        raise InvalidModelError(
            f"n_members={n_members!r}: expected a whole number of at least 2, for a mean and its error."
        )
    key, configurations = nk.jax.PRNGKey(seed), jnp.asarray(x)
    total: list[tuple[np.ndarray, np.ndarray]] = []
    for i in range(int(n_members)):
        function, parameters = _drawn(model, jax.random.fold_in(key, i), configurations)
        network = PureWaveFunction(function, parameters)
        kernel = EmpiricalKernel(network, show_progress=False).qsntk(configurations, y)
        blocks = [np.asarray(b) for b in _blocks(kernel)]
        total = total or [(np.zeros_like(b), np.zeros_like(b)) for b in blocks]
        # Welford: means and sums of squares without a difference of large numbers.
        total = [_added(old, block, i + 1) for old, block in zip(total, blocks, strict=True)]
    scale = np.sqrt(n_members * (n_members - 1))
    mean = QSNTK(*(jnp.asarray(m) for m, _ in total))
    return mean, QSNTK(*(jnp.asarray(np.sqrt(s) / scale) for _, s in total))


def _added(
    old: tuple[np.ndarray, np.ndarray], block: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    mean, squares = old
    change = block - mean
    mean = mean + change / count
    return mean, squares + change * (block - mean)


def _blocks(kernel: QSNTK) -> list[Array]:
    blocks = [kernel.theta_11, kernel.theta_22, kernel.theta_12]
    return blocks if kernel.theta_21 is None else [*blocks, kernel.theta_21]


def _drawn(model: object, key: Array, x: Array) -> tuple[Psi, PyTree]:
    """The functions of a newly drawn network, and its parameters."""
    if isinstance(model, linen.Module):
        taken = _taken(model)
        variables = dict(model.init({"params": key}, x[:1]))
    else:
        new = drawn_again(model, key)
        if new is None:
            new = _made(model, key)
        taken = _taken(new)
        variables = dict(taken.variables or {})
    parameters = variables.pop("params", {})
    method = "fields" if taken.has("fields") else None
    given = "psi" if method else "log_psi"
    return Network(variables, taken.applied(method), given, not method), parameters


def _taken(module: object) -> Taken:
    taken = take(module)
    if taken is None:
        raise NotANetworkError(
            f"Expected a module of flax or equinox, or a function that makes one of a random key, got "
            f"{type(module).__name__}."
        )
    return taken


def _made(model: object, key: Array) -> object:
    already = not isinstance(model, type) and take(model) is not None
    if already or not callable(model):
        raise NotANetworkError(
            f"{type(model).__name__} cannot be drawn again: its constructor wants more than a random key. Give a "
            "function that makes it: qs.kernels.monte_carlo(lambda key: Model(…, rngs=nnx.Rngs(key)), x, "
            "n_members=…)."
        )
    return model(key)
