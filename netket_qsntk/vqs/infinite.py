"""The infinite-width limit of an ensemble: a Gaussian process over basis states, as a NetKet state."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from flax import serialization
from jax import Array

from netket_qsntk.alert import once
from netket_qsntk.dynamics import LinearDynamics
from netket_qsntk.dynamics.residuals import initial_modes
from netket_qsntk.errors import InvalidEnsembleError, UndefinedAmplitudesError
from netket_qsntk.kernels import InfiniteWidthKernel, infinite_width
from netket_qsntk.operators import KernelOperator
from netket_qsntk.progress import track
from netket_qsntk.targets import check_summable

# 2¹⁵ states are a covariance of 8 GiB.
_MAX_STATES = 2**15


class InfiniteState(nk.vqs.VariationalState):
    r"""Infinitely wide networks: ψ = ψ₁ + iψ₂ with independent Gaussian parts of one covariance.

    At initialisation the mean is zero and the covariance is 2K (K for real ψ), K the NNGP kernel on the whole
    basis; training by :class:`netket_qsntk.driver.InfiniteWidthDriver` moves both. There are no parameters.

    Args:
        hilbert: A discrete NetKet Hilbert space; of at most 2¹⁵ states for covariances and expectations, and for
            samples of what is trained with a stored kernel.
        model: A model with a known infinite-width kernel; its width does not matter.
        trainable: Which parameters training moves, see :func:`netket_qsntk.kernels.infinite_width`.

    Raises:
        SystemTooLargeError: The covariance asked for with more than 2¹⁵ basis states.
        UnknownKernelError: The model has no known infinite-width kernel.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> vs = qs.vqs.InfiniteState(hi, qs.models.CosNet(1, sigma_a=1.0, sigma_w=2.0))
        >>> vs.covariance.shape, vs.sample(3, seed=0).shape
        ((16, 16), (3, 16))
        >>> round(vs.expect(nk.operator.spin.sigmaz(hi, 0)).mean, 12)
        0.0
    """

    def __init__(
        self,
        hilbert: nk.hilbert.DiscreteHilbert,
        model: Any,
        *,
        trainable: Any = "all",
    ) -> None:
        super().__init__(hilbert)
        self.mutable = False
        self._model = model
        self.kernel: InfiniteWidthKernel = infinite_width(model, trainable)
        self._training: tuple[LinearDynamics, float] | None = None
        self._cache: dict[str, Array] = {}

    @property
    def model(self) -> Any:
        """The model whose limit this is."""
        return self._model

    @property
    def n_members(self) -> None:
        """None: an ensemble without members to count."""
        return None

    @property
    def steps(self) -> float:
        """How many steps of training it has seen."""
        return 0.0 if self._training is None else self._training[1]

    def set_training(self, dynamics: Any, steps: float) -> None:
        """Make this the ensemble after so many steps of these dynamics (∞ allowed)."""
        self._training = dynamics, float(steps)
        self._cache.clear()

    def _moments(self) -> dict[str, Array]:
        if "part" not in self._cache:
            check_summable(
                self.hilbert, task="The covariance of an InfiniteState", max_states=_MAX_STATES
            )
            x = jnp.asarray(self.hilbert.all_states())
            if self._training is None:
                self._cache["mean"] = jnp.zeros(len(x), complex)
                self._cache["part"] = self.kernel.nngp(x)
            else:
                dynamics, steps = self._training
                self._cache["mean"], self._cache["part"] = dynamics.moments(steps, x)
        return self._cache

    @property
    def mean(self) -> Array:
        """E[ψ] on the whole basis: (n_states,) complex. It needs no covariance, and so no more than 2²⁶ states."""
        if "mean" not in self._cache:
            check_summable(self.hilbert, task="The mean of an InfiniteState")
            if self._training is None:
                self._cache["mean"] = jnp.zeros(self.hilbert.n_states, complex)
            else:
                dynamics, steps = self._training
                self._cache["mean"] = dynamics.mean([steps], self.hilbert.all_states())[0]
        return self._cache["mean"]

    @property
    def covariance(self) -> Array:
        """Γ = E[(ψ - E ψ)(ψ - E ψ)†]: (n_states, n_states), real symmetric, parts added."""
        return self.kernel.n_parts * self._moments()["part"]

    def to_array(self, normalize: bool = True) -> Array:
        """The mean wave function E[ψ]: (n_states,), of norm 1 if ``normalize``.

        Raises:
            UndefinedAmplitudesError: The mean is zero, as before training: there is nothing to normalise.
        """
        norm = jnp.linalg.norm(self.mean)
        if not normalize:
            return self.mean
        if norm == 0:
            raise UndefinedAmplitudesError(
                "The mean wave function of an untrained infinite ensemble is zero and cannot be normalised. Use "
                "sample(n_members, seed) for wave functions drawn from it, or to_array(normalize=False)."
            )
        return self.mean / norm

    def sample(self, n_members: int, seed: Any = None) -> Array:
        """Wave functions drawn from the ensemble: (n_members, n_states), unnormalised, complex (real for real ψ).

        Exact, from normal numbers in the eigenbasis of the covariance. Where the kernel has structure (spins, sectors
        of fixed magnetisation included) a draw costs one product and up to 2²⁶ states will do; trained by
        products, each draw is then trained by products. Otherwise there is one eigendecomposition first, of
        10 n_states³ operations.
        """
        if not isinstance(n_members, int) or n_members < 1:
            raise InvalidEnsembleError(f"n_members={n_members!r}: expected a positive integer.")
        check_summable(self.hilbert, task="Drawing from an InfiniteState")
        key = nk.jax.PRNGKey(seed)
        by_products = self._training is not None and not self._training[0].solution.stores_matrices
        if by_products or self._training is None:
            operator = self.kernel.operator(self.hilbert.all_states(), which="nngp")
            if self._training is not None:
                return self._by_products(*self._training, self._initial(operator, n_members, key))
            if operator.basis_modes() is not None:
                return self._initial(operator, n_members, key)
        moments = self._moments()
        if "root" not in moments:
            values, vectors = np.linalg.eigh(np.asarray(moments["part"]))
            moments["root"] = jnp.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
        shape = (self.kernel.n_parts, n_members, self.hilbert.n_states)
        return self._of_parts(self.mean, jax.random.normal(key, shape) @ moments["root"].T)

    def _initial(self, nngp: KernelOperator, n_members: int, key: Array) -> Array:
        """Wave functions before training: (n_members, n_states)."""
        modes = initial_modes(nngp)
        scale = jnp.sqrt(jnp.maximum(modes.eigenvalues, 0.0))
        noise = jax.random.normal(key, (self.kernel.n_parts, n_members, len(scale)))
        return self._of_parts(0.0, modes.from_modes(scale * noise))

    def _by_products(self, dynamics: Any, steps: float, initial: Array) -> Array:
        """Wave functions trained one by one: (n_members, n_states)."""
        x = self.hilbert.all_states()
        train = self.hilbert.states_to_numbers(dynamics.train.states)
        counted = track(initial, "training", show=dynamics.show_progress, unit="draw")
        with once():
            psi = jnp.stack([dynamics.trained(steps, x, f[train], f) for f in counted])
        return psi if self.kernel.n_parts == 2 else psi.real

    def _of_parts(self, mean: Any, parts: Array) -> Array:
        if self.kernel.n_parts == 1:
            return jnp.real(mean) + parts[0]
        return mean + jax.lax.complex(parts[0], parts[1])

    def reset(self) -> None:
        """Nothing to resample."""

    def __to_json__(self) -> dict[str, Any]:
        """What nqxpack writes to a file."""
        from netket_qsntk.vqs.saving import infinite_to_json

        return infinite_to_json(self)

    def __repr__(self) -> str:
        return f"InfiniteState({self.hilbert}, steps={self.steps:g}, {self.kernel!r})"


# Hilbert space, model and dynamics come with the state that a checkpoint is restored into.
def _to_state_dict(state: InfiniteState) -> dict[str, float]:
    return {"steps": state.steps}


def _from_state_dict(state: InfiniteState, saved: dict[str, float]) -> InfiniteState:
    new = copy.copy(state)
    new._cache = {}
    if state._training is not None:
        new._training = state._training[0], float(saved["steps"])
    elif saved["steps"]:
        raise InvalidEnsembleError(
            f"The saved ensemble had {saved['steps']:g} steps of training, this InfiniteState knows of none. "
            "Restore into the state of an InfiniteWidthDriver, or into the driver itself."
        )
    return new


serialization.register_serialization_state(InfiniteState, _to_state_dict, _from_state_dict)
