"""What to keep switched on during a run: callbacks for any NetKet driver."""

from netket_qsntk.callbacks.ntk import NTKDiagnostics

__all__ = ["NTKDiagnostics"]
