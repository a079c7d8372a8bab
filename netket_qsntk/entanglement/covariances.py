"""What a covariance must be: a Hermitian matrix of finite numbers without negative eigenvalues."""

import numpy as np
from jax.typing import ArrayLike

from netket_qsntk.errors import EnsembleError

ROUNDING = 1e-10


def hermitian(matrix: ArrayLike, what: str) -> np.ndarray:
    """A matrix as float64 or complex128; :class:`EnsembleError` where it is not square, finite and Hermitian."""
    m = np.asarray(matrix)
    # Without a copy where none is needed: equal sites are recognised by being one array.
    m = m.astype(np.complex128 if np.iscomplexobj(m) else np.float64, copy=False)
    if m.ndim != 2 or m.shape[0] != m.shape[1]:
        raise EnsembleError(f"{what} has shape {m.shape}; expected a square matrix.")
    size = np.max(np.abs(m), initial=0.0)
    if not (np.isfinite(size) and size > 0):
        raise EnsembleError(f"{what} has entries that are not finite, or is zero.")
    if np.max(np.abs(m - m.conj().T)) > ROUNDING * size:
        raise EnsembleError(f"{what} is not Hermitian: it is not the covariance of anything.")
    return m


def check_positive(eigenvalues: np.ndarray, what: str) -> np.ndarray:
    """Eigenvalues without rounding below zero; :class:`EnsembleError` where it is no rounding."""
    top = np.max(eigenvalues)
    if np.min(eigenvalues) < -ROUNDING * top:
        raise EnsembleError(
            f"{what} has a negative eigenvalue, {np.min(eigenvalues):.3e} (largest: {top:.3e}): "
            "it is not the covariance of anything."
        )
    return np.maximum(eigenvalues, 0.0)


def parts_of(real: ArrayLike, imag: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Covariances of the real and the imaginary part as float64; ``imag=None`` is zero.

    Raises:
        EnsembleError: Complex numbers, or shapes that differ.
    """
    parts = [np.asarray(part) for part in (real, imag) if part is not None]
    if any(np.iscomplexobj(part) for part in parts):
        raise EnsembleError(
            "The covariances of real and imaginary parts are real. Give a complex covariance E ψψ* as it is: "
            "DenseEnsemble(covariance, hilbert)."
        )
    k1, *k2 = (part.astype(np.float64) for part in parts)
    second = k2[0] if k2 else np.zeros_like(k1)
    if k1.shape != second.shape:
        raise EnsembleError(
            f"real has shape {k1.shape} and imag {second.shape}; expected the same."
        )
    return k1, second
