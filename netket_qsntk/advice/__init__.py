"""Settings of a run before it starts, and what its diagnostics read: modes of the tangent kernel on samples."""

from netket_qsntk.advice.advice import Advice
from netket_qsntk.advice.findings import Finding
from netket_qsntk.advice.modes import TangentModes
from netket_qsntk.advice.survey import advise

__all__ = ["Advice", "Finding", "TangentModes", "advise"]
