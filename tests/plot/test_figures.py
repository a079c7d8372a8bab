"""Every figure shows its data where the data are, says what its axes are, and can be read without colour."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

import netket_qsntk as qs
from netket_qsntk import plot

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.testing.compare import compare_images

STEPS = np.array([0.0, 1.0, 10.0, 100.0, np.inf])
CURVE = {
    "steps": STEPS,
    "loss/train": np.array([1.0, 0.8, 0.4, 0.1, 0.0]),
    "loss/train/error": np.array([0.1, 0.08, 0.04, 0.2, 0.0]),
    "loss/test": np.array([1.0, 0.9, 0.7, 0.5, 0.5]),
    "fidelity": np.array([0.0, 0.1, 0.4, 0.8, 0.9]),
}
SIZES = {"n_train": [100, 200, 300], "loss": [3e-4, 2e-4, 1e-4], "error": [2e-5, 1e-5, 1e-5]}
WIDTHS = {"width": [10, 100, 1000], "distance": [0.3, 0.1, 0.03], "error": [0.01, 0.01, 0.05]}


def made_up_ranking() -> qs.dynamics.Ranking:
    return qs.dynamics.Ranking(
        names=("a", "b", "c", "d"),
        steps=np.array([10.0, 100.0]),
        learning_rates=np.ones(4),
        L_mu=np.array([[5.0, 1.0], [5.0, 2.0], [5.0, 3.0], [5.0, 5.0]]) * 1e-3,
        L_gamma=np.array([[5.0, 0.5], [5.0, 0.5], [5.0, 1.0], [5.0, 1.0]]) * 1e-3,
        zero=4e-3,
    )


TRAINED = {"a": [1e-3, 2e-3], "b": [2e-3, 3e-3], "c": [5e-3, 4e-3], "d": [6e-3, 7e-3]}


def row(size: int, width: float) -> Any:
    return qs.entanglement.ScalingRow(
        size=size, width=width, subsystem=size // 2, order=1.0, mean=0.3 * size, error=0.02,
        n_members=10, maximum=0.35 * size, page=0.33 * size, annealed=np.nan,
    )  # fmt: skip


TABLE = qs.entanglement.ScalingTable(
    tuple(row(size, width) for width in (np.inf, 50.0) for size in (4, 6, 8))
)


def made_up_spectrum(power: float, residual: bool = True) -> qs.kernels.Spectrum:
    values = np.arange(1, 31.0) ** -power
    shares = np.full(30, 1 / 60) if residual else None
    return qs.kernels.Spectrum(values, 30, shares, 1.0 if residual else None)


class History:
    def __init__(self, values: Any, **stats: Any) -> None:
        self.iters = np.arange(len(values)) * 5
        self.values = np.asarray(values)
        self.__dict__ |= stats


DIAGNOSED = {
    "Energy": History(
        [-1.0, -1.5, -1.9], Mean=np.array([-1.0, -1.5, -1.9]), Sigma=np.array([0.1, 0.1, 0.05])
    ),
    "ntk/largest_eigenvalue": History([3.0, 4.0, 5.0]),
    "ntk/condition_number": History([1e3, 1e3, 1e4]),
    "ntk/drift": History([0.0, 0.1, 0.3]),
    "ntk/alignment": History([0.9, 0.8, 0.8]),
}

FIGURES: dict[str, Callable[[Any], Any]] = {
    "training_curves": lambda axes: plot.training_curves(
        {"infinite width": CURVE}, {"width 9": CURVE}, axes=axes
    ),
    "learning_curves": lambda ax: plot.learning_curves(
        {"infinite width": SIZES, "width 9": SIZES}, zero=SIZES, ax=ax
    ),
    "entropy_scaling": lambda ax: plot.entropy_scaling(TABLE, ax=ax),
    "entropy_missing": lambda ax: plot.entropy_scaling(TABLE, missing=True, ax=ax),
    "spectra": lambda axes: plot.spectra(
        {"steep": made_up_spectrum(3), "flat": made_up_spectrum(1)}, axes=axes
    ),
    "diagnostics": lambda axes: plot.diagnostics(DIAGNOSED, axes),
    "ranking": lambda ax: plot.ranking(made_up_ranking(), ax=ax),
    "ranking_trained": lambda ax: plot.ranking(made_up_ranking(), TRAINED, ax=ax),
    "width_corrections": lambda ax: plot.width_corrections(
        {"kernel": WIDTHS}, exponents={"kernel": -0.5}, ax=ax
    ),
}
PANELS = {"training_curves": 2, "spectra": 2, "diagnostics": 3}


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    """Each test starts from matplotlib's own settings and leaves no figure."""
    with matplotlib.rc_context(), matplotlib.style.context("default"):
        yield
    plt.close("all")


def drawn(name: str, axes: Any = None) -> list[Any]:
    return list(np.atleast_1d(FIGURES[name](axes)))


def points(ax: Any, label: str) -> np.ndarray:
    """What is drawn under a label: (n, 2)."""
    for container in ax.containers:
        if container.get_label() == label:
            return container.lines[0].get_xydata()
    return next(line for line in ax.lines if line.get_label() == label).get_xydata()


@pytest.mark.parametrize("name", FIGURES)
def test_axes_are_named_and_what_is_drawn_has_a_legend(name: str) -> None:
    axes = drawn(name)
    assert len(axes) == PANELS.get(name, 1)
    for ax in axes:
        assert ax.get_xlabel()
        assert ax.has_data()
    assert all(ax.get_ylabel() for ax in axes[:1] if name != "ranking")
    legends = [ax.get_legend() for ax in axes if ax.get_legend() is not None]
    labels = [text.get_text() for legend in legends for text in legend.get_texts()]
    assert labels
    assert not any(label.startswith("_") for label in labels)


@pytest.mark.parametrize("name", FIGURES)
def test_axes_that_are_given_are_drawn_on_and_returned(name: str) -> None:
    panels = PANELS.get(name, 1)
    figure, axes = plt.subplots(1, panels)
    returned = drawn(name, axes)
    assert returned == list(np.atleast_1d(axes))
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_drawn_alike_on_given_and_on_own_axes(name: str, tmp_path: Path) -> None:
    # Same version of matplotlib on both sides: the comparison is exact, unlike one with stored pictures.
    files = []
    for i in range(2):
        figure = drawn(name)[0].figure
        if i:
            size = figure.get_size_inches()
            shares = len({tuple(ax.get_ylim()) for ax in figure.axes}) == 1
            other, axes = plt.subplots(
                1, PANELS.get(name, 1), figsize=size, layout="constrained",
                sharey=shares and name == "training_curves",
            )  # fmt: skip
            FIGURES[name](axes)
            figure = other
        files.append(tmp_path / f"{i}.png")
        figure.savefig(files[-1], dpi=60)
    assert compare_images(*map(str, files), tol=0) is None


@pytest.mark.parametrize("name", FIGURES)
def test_the_legend_lies_inside_the_picture_and_is_not_cut(name: str) -> None:
    figure = drawn(name)[0].figure
    figure.savefig(io.BytesIO(), dpi=60)
    inside = figure.bbox.padded(1.0)
    for ax in figure.axes:
        if ax.get_legend() is not None:
            box = ax.get_legend().get_window_extent()
            assert inside.x0 <= box.x0
            assert box.x1 <= inside.x1
            assert inside.y0 <= box.y0
            assert box.y1 <= inside.y1


@pytest.mark.parametrize("name", FIGURES)
def test_pictures_have_ink_in_every_panel(name: str) -> None:
    axes = drawn(name)
    figure = axes[0].figure
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    coloured = (pixels.max(-1) - pixels.min(-1)) > 40
    height = pixels.shape[0]
    for ax in axes:
        box = ax.get_window_extent()
        part = coloured[int(height - box.y1) : int(height - box.y0), int(box.x0) : int(box.x1)]
        assert part.mean() > 5e-4


def test_colours_differ_for_people_with_two_kinds_of_cones() -> None:
    # Viénot, Brettel and Mollon (1999): protanopia and deuteranopia as matrices on linear RGB.
    simulations = [
        np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
        np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
    ]
    colours = np.array([to_rgb(c) for c in plot.COLOURS]) ** 2.2
    for matrix in [np.eye(3), *simulations]:
        seen = np.clip(colours @ matrix.T, 0, 1) ** (1 / 2.2)
        distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + np.eye(len(seen))
        assert distance.min() > 0.12


def test_training_curves_show_predictions_as_lines_and_measurements_as_points() -> None:
    axes = plot.training_curves({"theory": CURVE}, {"networks": CURVE})
    line = next(line for line in axes[0].lines if line.get_label() == "theory")
    np.testing.assert_allclose(line.get_xydata()[:, 0], [1, 2, 11, 101])
    np.testing.assert_allclose(line.get_xydata()[:, 1], CURVE["loss/train"][:4])
    assert line.get_linestyle() == "-"
    np.testing.assert_allclose(points(axes[0], "networks")[:, 1], CURVE["loss/train"][:4])
    (container,) = axes[0].containers
    assert container.lines[0].get_linestyle() == "None"
    assert axes[0].get_yscale() == axes[1].get_yscale() == "log"


def test_bands_are_one_standard_error_and_stay_above_zero() -> None:
    axes = plot.training_curves({"theory": CURVE})
    (band,) = axes[0].collections
    corners = band.get_paths()[0].vertices
    low, high = (f(corners[np.isclose(corners[:, 0], 2), 1]) for f in (np.min, np.max))
    assert (low, high) == pytest.approx((0.72, 0.88))
    assert corners[:, 1].min() == pytest.approx(0.01)
    assert not axes[1].collections  # no errors, no band


def test_fidelity_is_drawn_on_a_linear_axis_of_its_own_name() -> None:
    axes = plot.training_curves({"theory": CURVE}, keys=("loss/test", "fidelity"))
    assert axes[1].get_yscale() == "linear"
    assert axes[1].get_ylabel() == "fidelity"
    assert axes[0].get_ylim() != axes[1].get_ylim()


def test_learning_curves_show_infinite_width_as_lines_and_networks_as_points() -> None:
    ax = drawn("learning_curves")[0]
    assert next(x for x in ax.lines if x.get_label() == "infinite width").get_linestyle() == "-"
    np.testing.assert_allclose(
        points(ax, "width 9"), np.transpose([SIZES["n_train"], SIZES["loss"]])
    )
    assert next(x for x in ax.lines if x.get_label() == "ψ = 0").get_linestyle() == ":"


def test_entropies_stand_beside_page_and_maximum() -> None:
    ax = drawn("entropy_scaling")[0]
    np.testing.assert_allclose(points(ax, "maximum")[:, 1], [1.4, 2.1, 2.8])
    np.testing.assert_allclose(points(ax, "Page")[:, 1], [1.32, 1.98, 2.64])
    np.testing.assert_allclose(points(ax, "width 50"), [[4, 1.2], [6, 1.8], [8, 2.4]])
    assert ax.get_ylabel() == "von Neumann entropy (nats)"
    missing = drawn("entropy_missing")[0]
    np.testing.assert_allclose(points(missing, "infinite width")[:, 1], [0.12, 0.18, 0.24])


def test_spectra_are_in_units_of_the_largest_and_show_where_the_target_is() -> None:
    axes = drawn("spectra")
    np.testing.assert_allclose(points(axes[0], "flat")[:, 1], 1 / np.arange(1, 31))
    np.testing.assert_allclose(points(axes[1], "flat")[[0, 1, -1], 1], [1, 1 - 1 / 60, 0.5])
    assert len(plot.spectra({"alone": made_up_spectrum(1, residual=False)})) == 1


def test_eigenvalues_below_rounding_are_not_drawn() -> None:
    ax = plot.spectra({"singular": qs.kernels.Spectrum(np.array([1.0, 0.1, 1e-18]), 3)})[0]
    assert len(points(ax, "singular")) == 2


def test_diagnostics_show_energy_with_its_error_or_the_error_of_the_energy() -> None:
    axes = drawn("diagnostics")
    assert axes[0].get_ylabel() == "Energy"
    assert axes[0].collections
    np.testing.assert_allclose(points(axes[2], "drift of the kernel")[:, 1], [0, 0.1, 0.3])
    relative = plot.diagnostics(DIAGNOSED, exact=-2.0)
    np.testing.assert_allclose(relative[0].lines[0].get_ydata(), [0.5, 0.25, 0.05])


def test_ranking_shows_the_two_parts_of_the_prediction_in_order() -> None:
    ax = drawn("ranking")[0]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "c", "d"]
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(ends[:4], [1e-3, 2e-3, 3e-3, 5e-3])
    np.testing.assert_allclose(ends[4:], [1.5e-3, 2.5e-3, 4e-3, 6e-3])
    heights = [bar.get_y() for bar in ax.patches[:4]]
    assert heights == sorted(heights, reverse=True)


def test_ranking_puts_trained_over_predicted_beside_the_identity() -> None:
    ax = drawn("ranking_trained")[0]
    np.testing.assert_allclose(points(ax, "c"), [[4e-3, 4.5e-3]])
    identity = next(x for x in ax.lines if x.get_color() == "0.6").get_xydata()
    np.testing.assert_allclose(identity[:, 0], identity[:, 1])
    bar = next(c for c in ax.containers if c.get_label() == "c").lines[2][0].get_segments()[0]
    np.testing.assert_allclose(bar[:, 1], [4e-3, 5e-3])  # 0.5e-3: the standard error of two


def test_power_law_goes_through_the_widest_point_that_is_known() -> None:
    data = {"width": [10, 100, 1000], "distance": [0.3, 0.1, 0.03], "error": [0.2, 0.01, 0.05]}
    ax = plot.width_corrections({"kernel": data}, exponents={"kernel": -0.5})
    line = points(ax, "$N^{-0.5}$")
    np.testing.assert_allclose(line[:, 1], 0.1 * (line[:, 0] / 100) ** -0.5)
    bars = ax.containers[0].lines[2][0].get_segments()
    assert min(bar[:, 1].min() for bar in bars) > 0


def test_an_entropy_figure_is_of_one_order() -> None:
    def row(order: float) -> qs.entanglement.ScalingRow:
        return qs.entanglement.ScalingRow(4, 8.0, 2, order, 0.5, 0.1, 3, 1.4, 1.0, 0.4)

    for table in ([], [row(1.0), row(2.0)]):
        with pytest.raises(qs.errors.EntropyOrderError, match="one figure shows one"):
            plot.entropy_scaling(table)


def test_a_measurement_without_points_is_no_obstacle() -> None:
    run = {"steps": np.arange(3), "loss/train": np.array([1.0, 0.5, 0.2])}
    nothing = {"steps": np.zeros(0), "loss/train": np.zeros(0)}
    (ax,) = plot.training_curves({"theory": run}, {"run": nothing}, keys=("loss/train",))
    assert len(ax.get_lines()[0].get_xdata()) == 3
