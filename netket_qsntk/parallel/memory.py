"""What a job needs on each device, before it starts."""

from dataclasses import dataclass
from typing import Literal

from netket_qsntk._compat.jaxmg import distributed_eigh
from netket_qsntk._units import human_bytes
from netket_qsntk.errors import MemoryEstimateError
from netket_qsntk.parallel.mesh import Shares, n_devices

Job = Literal["kernel", "dynamics", "products", "ensemble", "entropy"]

# What compiled programs and their constants take, whatever the size: measured on a CPU.
_PROGRAMS = 60e6
_PRODUCT_PROGRAMS = 120e6
# The dense solution: matrix, its copy that LAPACK overwrites, its workspace of two, vectors, and the other kernel.
_DENSE_MATRICES = 6
# Vectors over the basis of a curve by products, beside its Krylov space: configurations and their encodings, initial
# functions, and the two sides of a transform. Measured at 2¹⁶ to 2²⁰.
_VECTORS = 67
# Copies of all parameters in a step: initial, present and next ones, gradients, displacements.
_PARAMETER_COPIES = 5
# One network's layers on a chunk of configurations and their gradients, in units of its parameters: measured.
_NETWORK = 18


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
    n_products: int = 32,
    itemsize: int = 8,
    devices: int | None = None,
) -> Estimate:
    r"""The peak memory of a job on each device.

    With p devices, b bytes a number and C bytes for compiled programs (60 MB; 120 MB for ``"products"``):

    - ``"kernel"``: NNGP and NTK in rows, 2b⌈n/p⌉m.
    - ``"dynamics"``: :class:`~netket_qsntk.dynamics.LinearDynamics` by the dense solution, C + 6bn², or with m
      further configurations to be evaluated C + b(4n² + 5nm) if that is more. On several devices these are shared
      out, but for the 6bn² on the host of each process where no distributed eigensolver can be used.
    - ``"products"``: the same by products, C + (67 + k)b(n + m) with a Krylov space of k vectors, ``n_products``.
    - ``"ensemble"``: gradient training, (5 + 2 optimiser copies) parameters of ⌈members/p⌉ networks, 18 times the
      parameters of one for its layers, C, and ψ on n configurations.
    - ``"entropy"``: amplitudes of the members, complex, and a copy of them in the order of the partition.

    ``python -m benchmarks.memory`` puts these beside measured peaks of one CPU device: they agree within 30%.

    Args:
        job: One of the above.
        n: Configurations (training set, or basis).
        m: Columns of the kernel (None: n), or further configurations (None: 0).
        n_members: Members of the ensemble.
        n_parameters: Parameters of one member.
        optimizer_copies: Numbers that the optimiser keeps for each parameter: 0 for SGD, 1 with momentum, 2 for Adam.
        n_products: Vectors in a Krylov space: 20 to 100 for thousands of steps, 300 at most.
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
    if (
        min(n, n_members, p, itemsize) < 1
        or min(n_parameters, optimizer_copies, n_products, m or 0) < 0
    ):
        raise MemoryEstimateError(
            f"n={n}, m={m}, n_members={n_members}, n_parameters={n_parameters}, "
            f"optimizer_copies={optimizer_copies}, itemsize={itemsize}, devices={p}: expected positive sizes."
        )
    members, further = Shares(n_members, p).each, m or 0
    stored = max(_DENSE_MATRICES * n * n, 4 * n * n + 5 * n * further)
    gathered = 0 if p > 1 and distributed_eigh() else _DENSE_MATRICES * n * n
    copies = _PARAMETER_COPIES + 2 * optimizer_copies
    numbers = {
        "kernel": 2 * Shares(n, p).each * (n if m is None else m),
        "dynamics": max(-(-stored // p), gathered),
        "products": (_VECTORS + n_products) * (n + further),
        "ensemble": (copies * members + _NETWORK) * n_parameters + 2 * members * n,
        "entropy": 4 * n_members * n,
    }
    programs = {"dynamics": _PROGRAMS, "ensemble": _PROGRAMS, "products": _PRODUCT_PROGRAMS}
    if job not in numbers:
        raise MemoryEstimateError(f"job={job!r}: expected one of {tuple(numbers)}.")
    return Estimate(job, itemsize * numbers[job] + int(programs.get(job, 0)), p)
