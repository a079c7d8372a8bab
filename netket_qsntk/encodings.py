"""Encodings: what a network is fed for a basis configuration.

An encoding is a function (…, sites) -> (…, d) of NetKet's configurations, which are int8 and must
be cast before any arithmetic. Both encodings here give one real number a site; a model takes one as
``encoding=`` and calls it inside its own jitted code, so any function of that form will do.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from netket_qsntk.errors import InvalidConfigurationsError

__all__ = ["spins", "fermion_sites"]


def spins(x: ArrayLike, *, dtype: DTypeLike = float) -> jax.Array:
    """The configuration itself, as real numbers: one a site, ±1 for spin-1/2.

    Args:
        x: Configurations (…, sites) in NetKet's values, integers or reals; int8 is cast.
        dtype: Real floating dtype of the result. The default is float64 where JAX's x64 mode is on,
            as NetKet leaves it, and float32 where it is off.

    Returns:
        Array (…, sites) of `dtype`.

    Raises:
        InvalidConfigurationsError: `x` is complex or has no axis, or `dtype` is not a real floating type.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> qs.encodings.spins(nk.hilbert.Spin(0.5, 2).all_states()).tolist()
        [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
    """
    return _as_real(x, dtype, "spins")


def fermion_sites(x: ArrayLike, *, dtype: DTypeLike = float) -> jax.Array:
    r"""One number a site for spin-1/2 fermions: hole -1.5, down -0.5, up +0.5, double +1.5.

    NetKet's ``SpinOrbitalFermions(n, s=1/2)`` writes a configuration as 2n occupations, those of
    sz = -1 first, then those of sz = +1. With these, site i gets

    .. math:: x_i = n_{i\downarrow} + 2 n_{i\uparrow} - 3/2 ,

    the input of arXiv:2112.00723 for the Fermi-Hubbard model.

    Args:
        x: Occupations (…, 2 sites), each 0 or 1; int8 is cast.
        dtype: Real floating dtype of the result. The default is float64 where JAX's x64 mode is on,
            as NetKet leaves it, and float32 where it is off.

    Returns:
        Array (…, sites) of `dtype`.

    Raises:
        InvalidConfigurationsError: The last axis is odd, `x` is complex or has no axis, or `dtype` is not a real
            floating type.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.SpinOrbitalFermions(2, s=1/2, n_fermions_per_spin=(1, 1))
        >>> hi.all_states()[:2].tolist()
        [[0, 1, 0, 1], [0, 1, 1, 0]]
        >>> qs.encodings.fermion_sites(hi.all_states()[:2]).tolist()
        [[-1.5, 1.5], [0.5, -0.5]]
    """
    occupations = _as_real(x, dtype, "fermion_sites")
    n_orbitals = occupations.shape[-1]
    if n_orbitals % 2:
        raise InvalidConfigurationsError(
            "fermion_sites(x): expected 2n occupations on the last axis, sz=-1 first, then sz=+1, "
            f"got shape {occupations.shape}. They come from nk.hilbert.SpinOrbitalFermions("
            "n, s=1/2); for spinless fermions use qs.encodings.spins, which passes them on."
        )
    down, up = jnp.split(occupations, 2, axis=-1)
    return down + 2 * up - 1.5


def _as_real(x: ArrayLike, dtype: DTypeLike, caller: str) -> jax.Array:
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InvalidConfigurationsError(
            f"{caller}(x, dtype=…): expected a real floating dtype, got {jnp.dtype(dtype).name}. "
            f"Try {caller}(x, dtype=jnp.float64)."
        )
    configurations = jnp.asarray(x)
    if configurations.ndim == 0 or jnp.iscomplexobj(configurations):
        raise InvalidConfigurationsError(
            f"{caller}(x): expected real configurations of shape (…, sites), got "
            f"{configurations.dtype.name} of shape {configurations.shape}. Try {caller}("
            "hilbert.all_states())."
        )
    return configurations.astype(dtype)
