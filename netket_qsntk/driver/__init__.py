"""Drivers: train finite networks, linearise them, or take them infinitely wide.

:class:`QSNTKDriver`, :class:`LinearizedDriver` and :class:`InfiniteWidthDriver` take the same arguments and log the
same keys. :class:`InfiniteWidthVMC`, :class:`InfiniteWidthVMC_SR` and :class:`InfiniteWidthTDVP` are NetKet's drivers
of those names at infinite width.
"""

from netket_qsntk.driver.finite import QSNTKDriver
from netket_qsntk.driver.infinite_driver import FunctionSpaceDriver, InfiniteWidthDriver
from netket_qsntk.driver.linearized_driver import LinearizedDriver
from netket_qsntk.driver.preconditioned import minsr
from netket_qsntk.driver.tdvp import InfiniteWidthTDVP
from netket_qsntk.driver.vmc import FunctionSpaceVMC, InfiniteWidthVMC, InfiniteWidthVMC_SR

__all__ = [
    "FunctionSpaceDriver",
    "FunctionSpaceVMC",
    "InfiniteWidthDriver",
    "InfiniteWidthTDVP",
    "InfiniteWidthVMC",
    "InfiniteWidthVMC_SR",
    "LinearizedDriver",
    "QSNTKDriver",
    "minsr",
]
