"""What to keep switched on during a run: callbacks for any NetKet driver."""

from netket_qsntk.callbacks.adaptive_shift import AdaptiveShift
from netket_qsntk.callbacks.ntk import NTKDiagnostics
from netket_qsntk.callbacks.recentre import Recentre

__all__ = ["AdaptiveShift", "NTKDiagnostics", "Recentre"]
