"""Configurations with their target amplitudes: what a supervised run trains and tests on."""

from __future__ import annotations

from typing import cast

import jax
import numpy as np
from jax.typing import ArrayLike

from netket_qsntk.errors import AmplitudesError

__all__ = ["Dataset"]


@jax.tree_util.register_pytree_node_class
class Dataset:
    """Configurations and the target's amplitudes on them.

    A pytree with two leaves, so that it passes through ``jax.jit`` and ``jax.device_put``.

    Args:
        states: Configurations (n, sites), in NetKet's dtype.
        amplitudes: Target amplitudes (n,), complex, normalised over the whole basis (not over
            these n).

    Raises:
        AmplitudesError: The shapes do not fit together.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> target = qs.targets.Target(nk.hilbert.Spin(0.5, 3), [1, 0, 0, 0, 0, 0, 0, 1j])
        >>> train, test = target.split(5, seed=0)
        >>> train
        Dataset(5 configurations of length 3, int8, ...)
        >>> len(train), len(test)
        (5, 3)
    """

    states: np.ndarray
    amplitudes: np.ndarray

    def __init__(self, states: ArrayLike, amplitudes: ArrayLike) -> None:
        if np.ndim(states) != 2 or np.shape(amplitudes) != np.shape(states)[:1]:
            raise AmplitudesError(
                "Dataset(states, amplitudes): expected shapes (n, sites) and (n,), got "
                f"{np.shape(states)} and {np.shape(amplitudes)}. Try Target.split(n_train, seed)."
            )
        self.states = cast(np.ndarray, states)
        self.amplitudes = cast(np.ndarray, amplitudes)

    def __len__(self) -> int:
        return int(self.states.shape[0])

    def __repr__(self) -> str:
        n, sites = self.states.shape
        weight = float(np.sum(np.abs(np.asarray(self.amplitudes)) ** 2))
        return (
            f"Dataset({n} configurations of length {sites}, {self.states.dtype}, "
            f"{weight:.1%} of the target's norm)"
        )

    def tree_flatten(self) -> tuple[tuple[np.ndarray, np.ndarray], None]:
        """The two arrays, as JAX wants them."""
        return (self.states, self.amplitudes), None

    @classmethod
    def tree_unflatten(cls, _: None, leaves: tuple[np.ndarray, np.ndarray]) -> Dataset:
        """A dataset of whatever JAX puts in the places of the arrays, unchecked."""
        dataset = object.__new__(cls)
        dataset.states, dataset.amplitudes = leaves
        return dataset
