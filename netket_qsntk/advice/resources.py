"""Memory and operations of a step of SR by the S matrix and by the tangent kernel (minSR)."""

from dataclasses import dataclass

__all__ = ["Resources", "resources"]


@dataclass(frozen=True)
class Resources:
    """What one linear system of SR takes, samples and sampling left out.

    Attributes:
        n_parameters: Real parameters, complex ones counted twice.
        rows: Samples times parts of log ψ.
        memory_s: Bytes of Jacobian, S matrix and its factor.
        memory_ntk: Bytes of Jacobian, kernel and its factor (``use_ntk=True, on_the_fly=False``).
        operations_s: Multiplications for S and its factorisation.
        operations_ntk: The same for the kernel.
    """

    n_parameters: int
    rows: int
    memory_s: int
    memory_ntk: int
    operations_s: float
    operations_ntk: float

    @property
    def use_ntk(self) -> bool:
        """Whether the kernel is the cheaper of the two."""
        return self.operations_ntk < self.operations_s


def resources(n_parameters: int, rows: int, itemsize: int = 8) -> Resources:
    """Counts for a dense solver.

    Args:
        n_parameters: Real parameters P.
        rows: Rows R of the Jacobian: samples, twice that for a complex log ψ.
        itemsize: Bytes of a number.

    Example:
        >>> resources(10_000, 1_000).use_ntk, resources(100, 1_000).use_ntk
        (True, False)
    """
    p, r = n_parameters, rows
    return Resources(
        p,
        r,
        itemsize * (r * p + 2 * p * p),
        itemsize * (r * p + 2 * r * r),
        float(r) * p * p + p**3 / 3,
        float(p) * r * r + r**3 / 3,
    )
