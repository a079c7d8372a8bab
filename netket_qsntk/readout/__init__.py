"""How the real functions of a network become a wave function: ψ = f or ψ = e^f, times a fixed reference.

Every model has a :class:`Readout` (``model.readout``), and whatever needs ψ, log ψ or a gradient of f goes
through it. References are fixed wave functions that a network multiplies: sign rules, Jastrow and product states.
"""

from netket_qsntk.readout.amplitudes import FixedReadout, Readout
from netket_qsntk.readout.references import (
    JastrowReference,
    MarshallSign,
    NetworkReference,
    Reference,
    SumOfReferences,
    as_reference,
    jastrow,
    marshall,
)

__all__ = [
    "FixedReadout",
    "JastrowReference",
    "MarshallSign",
    "NetworkReference",
    "Readout",
    "Reference",
    "SumOfReferences",
    "as_reference",
    "jastrow",
    "marshall",
]
