"""What a job needs on each device, before it starts."""

from dataclasses import dataclass
from typing import Literal

from netket_qsntk._units import human_bytes
from netket_qsntk.errors import MemoryEstimateError
from netket_qsntk.parallel.mesh import Shares, n_devices

Job = Literal["kernel", "dynamics", "products", "ensemble", "entropy"]

# Arrays of n × n numbers at the peak of the dense solution: measured. Both kernels, the copy that LAPACK overwrites,
# its workspace of two and the vectors are six of them; conversions of its results are the rest.
_DENSE_MATRICES = 8
# Vectors over the basis that a curve by products holds at its peak.
_VECTORS = 24
# Copies of an ensemble's parameters in a step: initial, present, gradients, and displacements or updates.
_PARAMETER_COPIES = 5


@dataclass(frozen=True)
class Estimate:
    """Bytes that a job needs at its peak on each device, beyond what Python and JAX take themselves.

    Attributes:
        job: What was asked for.
        bytes: On the device that needs most.
        devices: How many devices share the job.
    """

    job: str
    bytes: int
    devices: int

    def __str__(self) -> str:
        return f"this run needs {human_bytes(self.bytes)} a device ({self.job}, {self.devices} devices)"


def estimate(
    job: Job,
    *,
    n: int,
    m: int | None = None,
    n_members: int = 1,
    n_parameters: int = 0,
    optimizer_copies: int = 0,
    itemsize: int = 8,
    devices: int | None = None,
) -> Estimate:
    r"""The peak memory of a job on each device.

    With p devices and b bytes a number:

    - ``"kernel"``: NNGP and NTK in rows, 2b⌈n/p⌉m.
    - ``"dynamics"``: :class:`~netket_qsntk.dynamics.LinearDynamics` by the dense solution, 8bn²: its
      eigendecomposition has both kernels whole on one device, whatever p is. With m further configurations to be
      evaluated the matrices there: 3bn² + 4bnm if that is more.
    - ``"products"``: the same by products, 24 vectors of n numbers.
    - ``"ensemble"``: gradient training, (5 + optimiser copies) parameters of ⌈members/p⌉ networks, and ψ on n
      configurations.
    - ``"entropy"``: amplitudes of ⌈members/p⌉ wave functions, complex, and the singular values' copy of one.

    ``benchmarks/memory.py`` compares ``"kernel"``, ``"dynamics"`` and ``"ensemble"`` with measured
    peaks of one CPU device. Kernels and the dense solution agree within 30%. Training of an ensemble takes more than
    this says: 371 MB were measured where it says 134 MB (4 networks of 600,000 parameters, Adam), compiled programs
    and temporary arrays included. ``"products"`` and ``"entropy"`` count arrays and have not been measured.

    Args:
        job: One of the above.
        n: Configurations (training set, or basis).
        m: Columns of the kernel (None: n), or further configurations (None: 0).
        n_members: Members of the ensemble.
        n_parameters: Parameters of one member.
        optimizer_copies: Numbers that the optimiser keeps for each parameter: 0 for SGD, 1 with momentum, 2 for Adam.
        itemsize: Bytes of a real number.
        devices: Number of devices; None for those that there are.

    Raises:
        MemoryEstimateError: An unknown job, or numbers that are not positive.

    Example:
        >>> import netket_qsntk as qs
        >>> print(qs.parallel.estimate("kernel", n=30_000, devices=2))
        this run needs 7.2 GB a device (kernel, 2 devices)
    """
    p = n_devices() if devices is None else devices
    if min(n, n_members, p, itemsize) < 1 or min(n_parameters, optimizer_copies, m or 0) < 0:
        raise MemoryEstimateError(
            f"n={n}, m={m}, n_members={n_members}, n_parameters={n_parameters}, "
            f"optimizer_copies={optimizer_copies}, itemsize={itemsize}, devices={p}: expected positive sizes."
        )
    members = Shares(n_members, p).each
    further = m or 0
    numbers = {
        "kernel": 2 * Shares(n, p).each * (n if m is None else m),
        "dynamics": max(_DENSE_MATRICES * n * n, 3 * n * n + 4 * n * further),
        "products": _VECTORS * n,
        "ensemble": (_PARAMETER_COPIES + optimizer_copies) * members * n_parameters
        + 2 * members * n,
        "entropy": 2 * (members + 1) * n,
    }
    if job not in numbers:
        raise MemoryEstimateError(f"job={job!r}: expected one of {tuple(numbers)}.")
    return Estimate(job, itemsize * numbers[job], p)
