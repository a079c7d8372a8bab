"""The Walsh-Hadamard transform of a vector that lies in parts on many devices."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec

from netket_qsntk.errors import OperatorShapeError
from netket_qsntk.operators.transforms import hadamard
from netket_qsntk.operators.transforms import walsh_hadamard as local
from netket_qsntk.parallel.mesh import AXIS, mesh, n_devices


def walsh_hadamard(x: Array) -> Array:
    r"""The unnormalised Walsh-Hadamard transform of a vector in parts; the result lies as x does.

    With p = 2^k devices the lower bits of the index are local and the upper k number the devices: H = H_k ⊗ H_local.
    A local transform, one exchange (all-to-all) that gives each device its piece of every part, the transform over
    the k bits, and the exchange back: each device sends 2(1 - 1/p) of its part, whatever k is.

    Args:
        x: (2^d,) float32 or float64, with 2^d a multiple of p².

    Raises:
        OperatorShapeError: The number of devices is no power of two, or x is no vector of such a length.

    Example:
        >>> import jax.numpy as jnp, netket_qsntk as qs
        >>> y = qs.parallel.walsh_hadamard(jnp.arange(64.0))
        >>> bool(jnp.allclose(y, qs.operators.walsh_hadamard(jnp.arange(64.0))))
        True
    """
    p = n_devices()
    n = x.shape[0] if x.ndim == 1 else 0
    if p & (p - 1) or n == 0 or n & (n - 1) or n % (p * p):
        raise OperatorShapeError(
            f"A transform in parts needs a vector of 2^d numbers, a multiple of p² for p = 2^k devices; got shape "
            f"{x.shape} and p = {p}. On other numbers use qs.operators.walsh_hadamard."
        )
    return local(x) if p == 1 else _transform(x)


@jax.jit
def _transform(x: Array) -> Array:
    p = n_devices()
    over_devices = jnp.asarray(hadamard(p.bit_length() - 1), x.dtype)

    def part(x: Array) -> Array:
        pieces = local(x).reshape(p, -1)
        pieces = jax.lax.all_to_all(pieces, AXIS, 0, 0)
        pieces = jax.lax.all_to_all(over_devices @ pieces, AXIS, 0, 0)
        return pieces.reshape(-1)

    axis = PartitionSpec(AXIS)
    return jax.shard_map(part, mesh=mesh(), in_specs=axis, out_specs=axis, check_vma=False)(x)
