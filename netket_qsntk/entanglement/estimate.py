"""A number with its standard error."""

from typing import Any


class Estimate(float):
    """A float that knows its standard error: zero for a closed form.

    Args:
        mean: The number.
        error_of_mean: Its standard error, ``>= 0``; named as in NetKet's ``Stats``.

    Example:
        >>> entropy = Estimate(1.25, 0.5)
        >>> entropy, entropy.error_of_mean, entropy + 1
        (1.25 ± 0.5, 0.5, 2.25)
    """

    error_of_mean: float

    def __new__(cls, mean: Any, error_of_mean: Any = 0.0) -> "Estimate":
        """A float cannot be given its number later."""
        new = super().__new__(cls, mean)
        new.error_of_mean = float(error_of_mean)
        return new

    @property
    def mean(self) -> float:
        """The number itself."""
        return float(self)

    def __repr__(self) -> str:
        number = float.__repr__(float(self))
        return number if self.error_of_mean == 0 else f"{number} ± {self.error_of_mean:.2g}"
