"""Everything that rests on names which other libraries do not promise to keep.

- :func:`load_neural_tangents`: neural-tangents on a JAX that it no longer knows.
"""

from netket_qsntk._compat.neural_tangents import load_neural_tangents

__all__ = ["load_neural_tangents"]
