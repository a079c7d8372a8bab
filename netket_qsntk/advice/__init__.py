"""Settings of a run before it starts, and what its diagnostics read: modes of the tangent kernel on samples."""

from netket_qsntk.advice.modes import TangentModes

__all__ = ["TangentModes"]
