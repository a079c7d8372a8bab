"""Ensemble averages of entropies over sizes and widths, beside the curves to compare them with."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import netket as nk
import numpy as np
from flax import linen as nn
from netket.hilbert import DiscreteHilbert

from netket_qsntk.entanglement.annealed import annealed_renyi
from netket_qsntk.entanglement.drawn_members import draw_members
from netket_qsntk.entanglement.finite_width import finite_width_purity
from netket_qsntk.entanglement.from_models import ensemble
from netket_qsntk.entanglement.orders import check_log_base, orders_of
from netket_qsntk.entanglement.partition import bipartition, check_partition
from netket_qsntk.entanglement.reference import VolumeLaw, fit_volume_law, page_entropy
from netket_qsntk.entanglement.sampling import sample_wavefunctions
from netket_qsntk.entanglement.spectrum import entropies
from netket_qsntk.errors import (
    EnsembleError,
    PartitionError,
    SystemTooLargeError,
    UnknownKernelError,
)
from netket_qsntk.progress import bar
from netket_qsntk.text import summary


@dataclass(frozen=True)
class ScalingRow:
    """Entropy of one ensemble.

    Attributes:
        size: Number of sites.
        width: Width of the networks; inf for the Gaussian limit, of which wave functions are drawn.
        subsystem: Number of sites in A.
        order: Rényi order.
        mean: Average entropy of the members (quenched).
        error: Standard error of the average; nan for one member.
        n_members: Number of members.
        maximum: Largest entropy that the Hilbert space allows.
        page: Average von Neumann entropy of random states, nan for constrained spaces.
        annealed: Annealed Rényi entropy in closed form (normalisation "ratio") for orders 2 to 6 at
            infinite width and order 2 at finite width (networks of ψ), nan where there is none or it takes too long.
    """

    size: int
    width: float
    subsystem: int
    order: float
    mean: float
    error: float
    n_members: int
    maximum: float
    page: float
    annealed: float

    def __repr__(self) -> str:
        return summary(self, [field.name for field in fields(self)])


@dataclass(frozen=True)
class ScalingTable(Sequence[ScalingRow]):
    """Rows of :func:`entropy_scaling`: a sequence with columns, readable when printed.

    Attributes:
        rows: One :class:`ScalingRow` for each size, width and order.

    Example:
        >>> import netket_qsntk as qs
        >>> table = qs.entanglement.entropy_scaling(
        ...     lambda size, width: qs.models.CosNet(width), [4, 6], widths=[50], n_members=4, seed=0)
        >>> table.column("size").tolist(), len(table.select(size=6)), sorted(table.as_dict())[:2]
        ([4, 6], 1, ['annealed', 'error'])
    """

    rows: tuple[ScalingRow, ...]

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ScalingRow]:
        return iter(self.rows)

    def column(self, name: str) -> np.ndarray:
        """One attribute of :class:`ScalingRow` for every row."""
        return np.array([vars(row)[name] for row in self.rows])

    def as_dict(self) -> dict[str, np.ndarray]:
        """All columns, as ``pandas.DataFrame`` takes them."""
        return {field.name: self.column(field.name) for field in fields(ScalingRow)}

    def select(self, **values: float) -> "ScalingTable":
        """The rows with these values, as in ``table.select(width=400, order=1)``."""
        return ScalingTable(
            tuple(r for r in self.rows if all(vars(r)[k] == v for k, v in values.items()))
        )

    def volume_law(self) -> VolumeLaw:
        """Fit of the averages against the sizes of A; select one width and one order first."""
        return fit_volume_law(self.column("subsystem"), self.column("mean"), self.column("error"))

    def __repr__(self) -> str:
        columns = ("size", "width", "order")
        found = (f"{name}s {sorted(set(self.column(name).tolist()))}" for name in columns)
        return f"ScalingTable({len(self)} rows: {', '.join(found)})"

    def __str__(self) -> str:
        names = [field.name for field in fields(ScalingRow)]
        cells = [names, *([f"{vars(row)[name]:.5g}" for name in names] for row in self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            for line in cells
        )


def entropy_scaling(
    model: Any,
    sizes: Sequence[int],
    widths: Sequence[float],
    *,
    n: float | Sequence[float] = 1.0,
    n_members: int = 100,
    partition: Callable[[int], Sequence[int]] | None = None,
    hilbert: Callable[[int], DiscreteHilbert] | None = None,
    seed: int = 0,
    log_base: float = math.e,
    show_progress: bool = True,
) -> ScalingTable:
    """Average entanglement entropy of networks against size and width: Fig. 1 of arXiv:2112.00723.

    Args:
        model: Either a function ``model(size, width)`` that returns a network, which may let σ_w
            depend on the size as the paper does, or one network whose ``width`` is replaced.
        sizes: Numbers of sites.
        widths: Widths; ``math.inf`` draws wave functions from the Gaussian limit.
        n: Rényi order or orders, > 0.
        n_members: Networks for each size and width.
        partition: Function from the size to the sites of A; None takes the first half.
        hilbert: Function from the size to the Hilbert space; None means spins 1/2.
        seed: Seed; the same for each size and width.
        log_base: Base of the logarithm; e gives nats.
        show_progress: Whether a bar counts the ensembles.

    Raises:
        EnsembleError: The model has no width to replace.
        PartitionError: A size below 2, or see :func:`check_partition`.

    Example:
        >>> import netket_qsntk as qs
        >>> table = entropy_scaling(
        ...     lambda size, width: qs.models.CosNet(width, sigma_w=(2 * size) ** 0.5),
        ...     sizes=[2, 4], widths=[50], n_members=20, n=2,
        ... )
        >>> bool(np.all(table.column("mean") < table.column("maximum")))
        True
    """
    orders = orders_of(n)
    check_log_base(log_base)
    make = model if _is_factory(model) else lambda size, width: _with_width(model, width)
    rows: list[ScalingRow] = []
    done = bar(len(sizes) * len(widths), "entropies", show=show_progress, unit="ensemble")
    for size in sizes:
        if size < 2:
            raise PartitionError(f"size={size!r}: an entropy between two parts needs two sites.")
        space = nk.hilbert.Spin(0.5, size) if hilbert is None else hilbert(size)
        half = range(space.size // 2) if partition is None else partition(size)
        sites = check_partition(half, space.size)
        cut = bipartition(space, sites)
        unit = math.log(log_base)
        page = math.nan if space.constrained else page_entropy(*cut.shape, log_base=log_base)
        for width in widths:
            # The Gaussian limit is reached with any width in the model.
            network = make(size, 1 if math.isinf(width) else width)
            values = entropies(
                _draw(network, space, width, n_members, seed),
                space,
                sites,
                n=orders,
                log_base=log_base,
            )
            errors = np.full(len(orders), math.nan)
            if n_members > 1:
                errors = np.std(values, axis=0, ddof=1) / math.sqrt(n_members)
            for i, order in enumerate(orders):
                rows.append(
                    ScalingRow(
                        size=size,
                        width=width,
                        subsystem=len(sites),
                        order=float(order),
                        mean=float(np.mean(values[:, i])),
                        error=float(errors[i]),
                        n_members=n_members,
                        maximum=math.log(cut.max_rank) / unit,
                        page=page,
                        annealed=_closed_form(network, space, sites, width, float(order)) / unit,
                    )
                )
            done.update()
    done.close()
    return ScalingTable(tuple(rows))


def _is_factory(model: object) -> bool:
    # Modules are callable too, but only a function makes a network from (size, width).
    return callable(model) and not isinstance(model, nn.Module)


def _with_width(model: nn.Module, width: float) -> nn.Module:
    own = vars(model)
    if "width" in own:
        return model.clone(width=width)
    if "widths" in own:
        return model.clone(widths=(width,) * len(own["widths"]))
    raise EnsembleError(
        f"{type(model).__name__} has no width to replace; pass a function of (size, width) "
        "instead, as in entropy_scaling(lambda size, width: MyModel(width), sizes, widths)."
    )


def _draw(
    network: nn.Module, space: DiscreteHilbert, width: float, n_members: int, seed: int
) -> np.ndarray:
    if math.isinf(width):
        return sample_wavefunctions(ensemble(network, space), n_members, seed)
    return draw_members(network, space, n_members, seed)


def _closed_form(
    network: nn.Module, space: DiscreteHilbert, sites: tuple[int, ...], width: float, order: float
) -> float:
    """The annealed Rényi entropy in nats, nan where no closed form is known."""
    try:
        if math.isinf(width) and order in range(2, 7):
            return annealed_renyi(
                ensemble(network, space), sites, int(order), normalization="ratio"
            )
        if not math.isinf(width) and order == 2:
            return -math.log(finite_width_purity(network, space, sites))
    except (EnsembleError, UnknownKernelError, SystemTooLargeError):
        return math.nan
    return math.nan
