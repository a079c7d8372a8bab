"""The QS-NTK of a given network at its present parameters."""

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from numbers import Integral
from typing import Literal, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial
from jax.typing import ArrayLike
from netket.utils.types import PyTree

from netket_qsntk._units import human_bytes
from netket_qsntk.errors import InvalidModelError
from netket_qsntk.kernels import layers
from netket_qsntk.kernels.arguments import Trainable, check_configurations
from netket_qsntk.kernels.jacobian import is_complex, jacobian_blocks, real_coordinates
from netket_qsntk.kernels.qsntk import QSNTK
from netket_qsntk.kernels.tiles import balanced_chunk
from netket_qsntk.parallel.mesh import AXIS, map_shared, share
from netket_qsntk.parallel.shared_matrix import SharedMatrix
from netket_qsntk.progress import showing
from netket_qsntk.wavefunction import Psi, PureWaveFunction, check_batches, pure_wavefunction

Route = Literal["layers", "jacobian", "blocks"]

# Numbers that whole Jacobians may hold (1 GiB), and those of one chunk where they may not.
_WHOLE = 2**27
_CHUNK = 2**24


class EmpiricalKernel:
    """QS-NTK of one network: what an infinite-width kernel is for the ensemble.

    Three routes lead to the same blocks; :meth:`route` tells which one a call takes:

    ========== ============================================ ==========================================
    route      taken for                                    numbers held beside the result
    ========== ============================================ ==========================================
    "layers"   this package's models                        (n + m) × units of one network
    "jacobian" other models, up to 1 GiB of Jacobians       (n + m) × k × P
    "blocks"   other models beyond, or a ``chunk_size``     2 × chunk_size × k × P
    ========== ============================================ ==========================================

    P counts real parameters (complex ones twice), k = 2 parts of ψ (1 if ψ is real).

    Args:
        state: A NetKet state, or ``(apply_fun, variables)`` with apply_fun giving log ψ.
        chunk_size: Configurations in one chunk of a Jacobian, on both sides; "layers" needs none.
        route: Take this route, whatever the size.
        trainable: ``"all"`` parameters, or the ``"readout"`` alone (route "layers").
        show_progress: Whether a bar counts the tiles of a matrix.

    Raises:
        InvalidModelError: An option makes no sense, or not for this model.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 3)
        >>> vs = nk.vqs.FullSumState(hi, nk.models.RBM(alpha=2))
        >>> kernel = qs.kernels.EmpiricalKernel(vs)
        >>> kernel.route(hi.all_states()), kernel.qsntk(hi.all_states()).omega.shape
        ('jacobian', (16, 16))
    """

    def __init__(
        self,
        state: PyTree,
        *,
        chunk_size: int | None = None,
        route: Route | None = None,
        trainable: Trainable = "all",
        show_progress: bool = True,
    ) -> None:
        whole = isinstance(chunk_size, Integral) and not isinstance(chunk_size, bool)
        if chunk_size is not None and not (whole and chunk_size >= 1):
            raise InvalidModelError(
                f"chunk_size={chunk_size!r}: expected a positive integer or None."
            )
        network = state if isinstance(state, PureWaveFunction) else pure_wavefunction(state)
        if any(leaf is network.psi for leaf in jax.tree.leaves(network.psi)):
            network = replace(network, psi=Partial(network.psi))
        self.network = network
        # States are checked when they are taken in; of a pair nobody knew a configuration.
        self._checked = not isinstance(state, tuple)
        self.chunk_size, self.show_progress = chunk_size, show_progress
        self._layers = layers.factorises(network.model)
        self._verified: bool | None = None
        if route is not None and route not in get_args(Route):
            raise InvalidModelError(f"route={route!r}: expected one of {get_args(Route)} or None.")
        name = type(network.model).__name__ if network.model is not None else "apply_fun"
        if route == "layers" and not self._layers:
            raise InvalidModelError(
                f"route='layers' is for the models of qs.models, whose layers are known; got {name}. "
                "Leave route=None."
            )
        layered = route == "layers" or (route is None and self._layers)
        self._route = route
        self.trainable = trainable
        if trainable not in ("all", "readout") or (trainable == "readout" and not layered):
            raise InvalidModelError(
                f"trainable={trainable!r} with {name} by route {route or 'jacobian'!r}: expected 'all', "
                "or 'readout' with one of qs.models by route 'layers'."
            )

    def route(self, x: ArrayLike, y: ArrayLike | None = None) -> Route:
        """The route that :meth:`qsntk` takes between x and y.

        Raises:
            InvalidModelError: The layers were asked for, and others than this package's have parameters.
        """
        x = np.asarray(x) if not isinstance(x, Array) else x
        if self._layers and self._route in (None, "layers") and not self._made_of_layers(x):
            if self._route == "layers" or self.trainable != "all":
                raise InvalidModelError(
                    f"{type(self.network.model).__name__} has trained parameters outside of this package's dense "
                    "layers (or uses a layer twice): the route 'layers' would leave them out. Use route='jacobian' "
                    "and trainable='all'."
                )
            self._layers = False
        if self._route is not None:
            return self._route
        if self._layers:
            return "layers"
        n, m = np.shape(x)[0], 0 if y is None else np.shape(y)[0]
        rows, longest = n + m, max(n, m)
        fits = 2 * rows * real_coordinates(self.network.parameters) <= _WHOLE
        chunked = self.chunk_size is not None and self.chunk_size < longest
        return "jacobian" if fits and not chunked else "blocks"

    def _made_of_layers(self, x: Array | np.ndarray) -> bool:
        """Whether dense layers hold all parameters, found when first asked."""
        model = self.network.model
        if self._verified is None and layers.factorises(model):
            self._verified = layers.dense_alone(model, self.network.parameters, jnp.asarray(x[:1]))
        return bool(self._verified)

    def psi(self, x: ArrayLike) -> Array:
        """ψ at configurations x (n, sites): (n,)."""
        return self.network.psi(self.network.parameters, jnp.asarray(check_configurations(x)))

    def qsntk(self, x: ArrayLike, y: ArrayLike | None = None) -> QSNTK:
        """The kernel between configurations x (n, sites), y (m, sites); ``y=None`` is y = x."""
        x = jnp.asarray(check_configurations(x))
        y = None if y is None else jnp.asarray(check_configurations(y, "y"))
        if not self._checked and not isinstance(x, jax.core.Tracer) and len(x) > 1:
            check_batches(self.network.log_psi, self.network.parameters, x[:: len(x) - 1])
            self._checked = True
        return self._assembled(self._blocks(x, y), y)

    def shared(self, x: ArrayLike, y: ArrayLike | None = None) -> QSNTK:
        """The same, its blocks as :class:`~netket_qsntk.parallel.SharedMatrix` in rows on the devices.

        Each device computes its rows, 1/devices of all of them; the symmetry of y = x is not used.

        Example:
            >>> import netket as nk, netket_qsntk as qs
            >>> hi = nk.hilbert.Spin(0.5, 3)
            >>> kernel = qs.kernels.EmpiricalKernel(nk.vqs.FullSumState(hi, qs.models.CosNet(20)))
            >>> kernel.shared(hi.all_states()).theta_11.shape
            (8, 8)
        """
        x = np.asarray(check_configurations(x))
        y = jnp.asarray(x if y is None else check_configurations(y, "y"))

        def rows(
            own: Array, psi: Psi, parameters: PyTree, y: Array
        ) -> dict[tuple[int, int], Array]:
            kernel = copy(self)
            kernel.show_progress = False  # this is traced
            kernel.network = replace(self.network, psi=psi, parameters=parameters)
            number = jax.lax.axis_index(AXIS) * len(own) + jnp.arange(len(own))
            filled = (number < len(x))[:, None]
            return {part: jnp.where(filled, b, 0) for part, b in kernel._blocks(own, y).items()}

        same = self.network.psi, self.network.parameters, y
        blocks = jax.jit(lambda own, *same: map_shared(rows, own, *same))(share(x), *same)
        held = {part: cast(Array, SharedMatrix(b, len(x))) for part, b in blocks.items()}
        return self._assembled(held, y)

    def _blocks(self, x: Array, y: Array | None) -> dict[tuple[int, int], Array]:
        """Θ_αβ of the parts (α, β) that do not vanish."""
        route = self.route(x, y)
        with showing(self.show_progress):
            return self._by_layers(x, y) if route == "layers" else self._by_rows(x, y, route)

    def _by_rows(self, x: Array, y: Array | None, route: Route) -> dict[tuple[int, int], Array]:
        """The blocks from rows of the Jacobian."""
        psi, parameters = self.network.psi, self.network.parameters
        parts: tuple[tuple[int, int], ...] = ((0, 0),)
        if is_complex(psi, parameters, x):
            parts = ((0, 0), (1, 1), (0, 1)) + (() if y is None else ((1, 0),))
        longest = max(len(x), 0 if y is None else len(y))
        if route == "jacobian":
            chunk = balanced_chunk(longest)
        else:
            size = 2 * max(1, real_coordinates(parameters))
            chunk = self.chunk_size or max(1, min(longest, _CHUNK // size))
        keep = route == "jacobian"
        return jacobian_blocks(
            psi,
            parameters,
            x,
            y,
            parts=parts,
            chunk=chunk,
            keep=keep,
        )

    def _by_layers(self, x: Array, y: Array | None) -> dict[tuple[int, int], Array]:
        """The blocks of f from its layers, and those of ψ from them."""
        model = self.network.model
        if not layers.factorises(model):
            raise InvalidModelError("route='layers' is for the models of qs.models.")
        u, v = model.encode(x), None if y is None else model.encode(y)
        blocks = layers.network_kernels(model, self.network.parameters, u, v, self.trainable)
        readout = model.readout
        if not readout.is_log and readout.reference is None:
            return blocks

        def slope(x: Array) -> Array:
            psi = self.network.psi(self.network.parameters, x)
            return readout.f_gradient(jnp.ones_like(psi), psi, x).conj()

        return layers.of_amplitudes(blocks, slope(x), None if y is None else slope(y))

    @staticmethod
    def _assembled(blocks: Mapping[tuple[int, int], Array], y: Array | None) -> QSNTK:
        if len(blocks) < 3:
            zero = jax.tree.map(jnp.zeros_like, blocks[0, 0])
            blocks = {(1, 1): zero, (0, 1): zero, (1, 0): zero, **blocks}
        theta_21 = None if y is None else blocks[1, 0]
        return QSNTK(blocks[0, 0], blocks[1, 1], blocks[0, 1], theta_21)

    def __repr__(self) -> str:
        model = self.network.model
        how = self._route or ("layers" if self._layers else "jacobian or blocks, by size")
        if model is None:
            name = "apply_fun"
        else:
            name = repr(model) if self._layers else type(model).__name__
        leaves = jax.tree.leaves(self.network.parameters)
        held = human_bytes(sum(leaf.nbytes for leaf in leaves))
        return (
            f"EmpiricalKernel({name}, {real_coordinates(leaves)} real parameters, "
            f"trainable={self.trainable!r}, route={how!r}, memory={held})"
        )


def empirical(
    state: PyTree,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    chunk_size: int | None = None,
    route: Route | None = None,
    show_progress: bool = True,
) -> QSNTK:
    """The quantum-state NTK of a network at its present parameters (arXiv:2112.00723, Eqs. 6-8).

    Args:
        state: A NetKet state with any model, or ``(apply_fun, variables)`` with apply_fun giving log ψ.
        x: Configurations (n, sites).
        y: Configurations (m, sites); None stands for y = x.
        chunk_size: Configurations in one chunk of a Jacobian, on both sides: bounds the memory.
        route: ``"layers"``, ``"jacobian"`` or ``"blocks"``; None chooses by model and size
            (:class:`EmpiricalKernel`).
        show_progress: Whether a bar counts the tiles of the matrix.

    Returns:
        The kernels of ψ itself (not of log ψ), uncentred; blocks (n, m) in the parameters' precision.

    Raises:
        NotANetworkError: ``state`` is neither a state nor such a pair.
        InvalidConfigurationsError: x or y is not of shape (n, sites).
        InvalidModelError: chunk_size or route makes no sense for this model.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 3)
        >>> vs = nk.vqs.FullSumState(hi, qs.models.CosNet(20))
        >>> qs.kernels.empirical(vs, hi.all_states())
        QSNTK(configurations=(8, 8), decoupled=True, memory=1.54 kB)
    """
    kernel = EmpiricalKernel(state, chunk_size=chunk_size, route=route, show_progress=show_progress)
    return kernel.qsntk(x, y)
