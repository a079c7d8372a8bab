"""Three drivers for one job: train finite networks, linearise them, or take them infinitely wide."""

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
