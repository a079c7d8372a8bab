"""Entropies on the way of a training run in function space."""

import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from jax.typing import ArrayLike
from netket.hilbert import DiscreteHilbert

from netket_qsntk.entanglement.spectrum import entropies
from netket_qsntk.errors import AmplitudesError


class Flow(Protocol):
    """What trains one function of the whole basis."""

    def run(self, initial: Any, steps: Any, /) -> Any:
        """The function at each of these steps, (steps, n_states)."""
        ...


def entropies_along(
    flow: Flow,
    initial: ArrayLike,
    steps: ArrayLike,
    hilbert: DiscreteHilbert,
    partition: Sequence[int],
    *,
    output: Literal["psi", "log_psi"],
    n: float = 1,
    log_base: float = math.e,
) -> np.ndarray:
    """Entanglement entropies of wave functions on the way of their training.

    Args:
        flow: What trains them: :class:`netket_qsntk.dynamics.NaturalGradientFlow` (of log ψ) or
            :class:`netket_qsntk.dynamics.FunctionSpaceFlow` (of ψ).
        initial: (n_states,) or (members, n_states): drawn by ``InfiniteState(hilbert, model)`` as ``sample(members)``
            or, for log ψ, ``process.sample(members)``.
        steps: Where to look, as ``flow.run`` takes them.
        hilbert: Their space.
        partition: Sites of A.
        output: Whether functions are ``"psi"`` or ``"log_psi"``.
        n: Rényi order; 1 is von Neumann.
        log_base: Base of the logarithm; e gives nats.

    Returns:
        (steps,) or (members, steps).

    Raises:
        AmplitudesError: Another ``output``.
        EntropyOrderError: ``n`` is no number > 0.
        PartitionError: See :func:`~netket_qsntk.entanglement.check_partition`.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0)
        >>> net = qs.models.WideMLP(
        ...     widths=(1,), activation="erf", sigma_b=0.3, output="log_psi", parts="real")
        >>> flow = qs.dynamics.NaturalGradientFlow(
        ...     qs.kernels.infinite_width(net), H, learning_rate=0.05, diag_shift=1e-3)
        >>> draws = qs.vqs.InfiniteState(hi, net).process.sample(3, seed=0)
        >>> entropies_along(flow, draws, [0, 20, 100], hi, [0, 1], output="log_psi", n=2).shape
        (3, 3)
    """
    if output not in ("psi", "log_psi"):
        raise AmplitudesError(f"output={output!r}: expected 'psi' or 'log_psi'.")
    start = np.asarray(initial)
    trained = np.stack([np.asarray(flow.run(one, steps)) for one in np.atleast_2d(start)])
    if output == "log_psi":
        trained = np.exp(trained - np.max(trained.real, axis=-1, keepdims=True))
    values = entropies(trained, hilbert, partition, n=n, log_base=log_base)
    return np.asarray(values if start.ndim == 2 else values[0])
