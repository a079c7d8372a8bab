"""Three drivers for one job: train finite networks, linearise them, or take them infinitely wide."""

from netket_qsntk.driver.finite import QSNTKDriver
from netket_qsntk.driver.function_space import FunctionSpaceDriver
from netket_qsntk.driver.infinite import InfiniteWidthDriver
from netket_qsntk.driver.linearized import LinearizedDriver
from netket_qsntk.driver.preconditioned import minsr

__all__ = [
    "FunctionSpaceDriver",
    "InfiniteWidthDriver",
    "LinearizedDriver",
    "QSNTKDriver",
    "minsr",
]
