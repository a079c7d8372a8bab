r"""Walsh-Hadamard transforms of vectors that lie in parts on many devices.

With p = 2^k devices the lower bits of an index are local and the upper k number the devices: H = H_k ⊗ H_local.
Between local transforms an exchange (all-to-all) gives each device its piece of every part, so that the k upper bits
become local, and another brings the pieces back. A kernel of the Hamming distance, H D H, is diagonal in the middle
and needs no more exchanges than one transform.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import NamedSharding, PartitionSpec

from netket_qsntk.errors import OperatorShapeError
from netket_qsntk.operators.transforms import hadamard
from netket_qsntk.operators.transforms import walsh_hadamard as local
from netket_qsntk.parallel.mesh import AXIS, mesh, n_devices


def walsh_hadamard(x: Array) -> Array:
    r"""The unnormalised Walsh-Hadamard transform along the last axis, on one device or in parts as x lies.

    .. math:: y_S = \sum_x (-1)^{|S \& x|}\, x_x

    the coefficients on parities of subsets S of d spins. Applied twice it multiplies by 2^d. In parts
    (``qs.parallel.share``) each of p = 2^k devices sends 2(1 - 1/p) of its part, whatever p is.

    Args:
        x: (…, 2^d) float32 or float64; in parts 2^d is a multiple of p².

    Returns:
        Same shape and dtype, lying as x does.

    Raises:
        OperatorShapeError: The last axis is not of such a length, or p is no power of two.

    Example:
        >>> import jax.numpy as jnp, netket_qsntk as qs
        >>> qs.operators.walsh_hadamard(jnp.array([1.0, 0.0, 0.0, 1.0])).tolist()
        [2.0, 0.0, 0.0, 2.0]
    """
    if n_devices() == 1 or not in_parts(x):
        return local(x)
    _check(x)
    return _transform(x)


def hamming_product(levels: Array, x: Array) -> Array:
    """Products with a kernel of the Hamming distance over the whole basis: H diag(λ_|S|) H x/2^d, in parts.

    Args:
        levels: λ_0, …, λ_d.
        x: As for :func:`walsh_hadamard`.

    Raises:
        OperatorShapeError: As for :func:`walsh_hadamard`.
    """
    _check(x)
    return _product(levels, x)


def in_parts(x: object) -> bool:
    """Whether the last axis of an array is known to lie in parts on the devices."""
    if not isinstance(x, Array) or isinstance(x, jax.core.Tracer):
        return False
    sharding = x.sharding
    if not isinstance(sharding, NamedSharding) or len(sharding.spec) != x.ndim:
        return False
    return sharding.spec[-1] in (AXIS, (AXIS,))


def _check(x: Array) -> None:
    p = n_devices()
    n = x.shape[-1] if x.ndim else 0
    if p & (p - 1) or n == 0 or n & (n - 1) or n % (p * p):
        raise OperatorShapeError(
            f"A transform in parts needs 2^d numbers along the last axis, a multiple of p² for p = 2^k devices; got "
            f"shape {x.shape} and p = {p}. On other numbers use qs.operators.walsh_hadamard."
        )


@jax.jit
def _transform(x: Array) -> Array:
    return _between_exchanges(x, lambda pieces, over_devices, _: over_devices @ pieces)


@jax.jit
def _product(levels: Array, x: Array) -> Array:
    scale = levels.astype(x.dtype) / x.shape[-1]

    def middle(pieces: Array, over_devices: Array, index: Array, scale: Array) -> Array:
        return over_devices @ (scale[lax.population_count(index)] * (over_devices @ pieces))

    return _local_bits(_between_exchanges(x, middle, scale))


def _local_bits(x: Array) -> Array:
    """The transform over the local bits of each part."""
    spec = PartitionSpec(*(None,) * (x.ndim - 1), AXIS)
    return jax.shard_map(local, mesh=mesh(), in_specs=spec, out_specs=spec, check_vma=False)(x)


def _between_exchanges(x: Array, middle: Callable[..., Array], *same: Array) -> Array:
    """Local transforms, an exchange, ``middle`` on pieces (…, p, length), and the exchange back.

    ``middle`` is also given H_k, the number of each entry in the whole vector, (p, length), and ``same``.
    """
    p = n_devices()
    over_devices = jnp.asarray(hadamard(p.bit_length() - 1), x.dtype)

    def part(x: Array, *same: Array) -> Array:
        each = x.shape[-1]
        axis = x.ndim - 1
        pieces = local(x).reshape(*x.shape[:-1], p, each // p)
        pieces = lax.all_to_all(pieces, AXIS, axis, axis)
        own = lax.axis_index(AXIS) * (each // p) + jnp.arange(each // p)
        index = jnp.arange(p)[:, None] * each + own
        pieces = lax.all_to_all(middle(pieces, over_devices, index, *same), AXIS, axis, axis)
        return pieces.reshape(x.shape)

    spec = PartitionSpec(*(None,) * (x.ndim - 1), AXIS)
    specs = (spec, *(PartitionSpec() for _ in same))
    return jax.shard_map(part, mesh=mesh(), in_specs=specs, out_specs=spec, check_vma=False)(
        x, *same
    )
