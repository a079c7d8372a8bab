"""What every test runs under: float64, and JAX's strict modes for code without NetKet or flax."""

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)

TESTS = Path(__file__).parent

# Folders (or files) of tests whose code under test is our own arithmetic on arrays. NetKet and flax
# mix dtypes and ranks freely, so tests that trace their code stay out.
STRICT = {"test_encodings.py"}


@pytest.fixture(autouse=True)
def strict_promotion(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make an implicit change of dtype or rank in our own arithmetic an error."""
    if request.path.relative_to(TESTS).parts[0] not in STRICT:
        yield
        return
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
