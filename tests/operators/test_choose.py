"""The chooser takes the cheapest structure that holds, and says why."""

import netket as nk
import numpy as np
import pytest

from netket_qsntk import encodings, kernels, models
from netket_qsntk.errors import InvalidConfigurationsError, StructureError
from netket_qsntk.operators import Dense, Hypercube, Kronecker, Shared, Tiled, Unstructured
from netket_qsntk.operators import choose as choosing

# On one device, and on several.
STORED = Dense, Shared


def agrees(operator, kernel, x, y=None, which="ntk"):
    matrix = kernel.both(x, y)[1 if which == "ntk" else 0]
    v = np.random.default_rng(0).normal(size=(matrix.shape[1], 2))
    scale = float(np.abs(np.asarray(matrix)).max()) * matrix.shape[1]
    np.testing.assert_allclose(operator.matvec(v), matrix @ v, atol=1e-13 * scale)
    assert operator.symmetric == (y is None)
    assert operator.positive == (y is None)


@pytest.mark.parametrize("which", ["ntk", "nngp"])
@pytest.mark.parametrize(
    "model",
    [
        models.WideMLP(widths=(4,)),
        models.WideMLP(widths=(4, 4), activation="erf", sigma_b=0.3),
        models.CosNet(4),
        models.GaussNet(4, sigma_w=0.7),
    ],
    ids=["relu", "deep-erf", "cosnet", "gaussnet"],
)
def test_spins_make_a_hypercube(model, which, spins):
    kernel = kernels.infinite_width(model)
    operator = kernel.operator(spins, which=which)
    assert isinstance(operator, Hypercube)
    assert "whole basis its spectrum is exact" in operator.reason
    agrees(operator, kernel, spins, which=which)


@pytest.mark.thorough
def test_a_sector_and_a_block_are_batches_of_the_hypercube(relu):
    sector = np.asarray(nk.hilbert.Spin(0.5, 12, total_sz=0).all_states())
    operator = relu.operator(sector)
    assert isinstance(operator, Hypercube)
    assert operator.shape == (924, 924)
    agrees(operator, relu, sector)
    other = np.asarray(nk.hilbert.Spin(0.5, 12, total_sz=1).all_states())
    agrees(relu.operator(other, sector), relu, other, sector)


def test_half_spins_of_an_encoding_are_a_hypercube_too(spins):
    kernel = kernels.infinite_width(
        models.WideMLP(widths=(4,), encoding=lambda x: 0.5 * encodings.spins(x))
    )
    operator = kernel.operator(spins, hint="hypercube")
    agrees(operator, kernel, spins)


@pytest.mark.thorough
def test_fermions_make_a_product_where_the_kernel_is_one(fermions):
    kernel, x = fermions
    for which in ("nngp", "ntk"):
        operator = kernel.operator(x, which=which, hint="kronecker")
        assert isinstance(operator, Kronecker)
        agrees(operator, kernel, x, which=which)
        agrees(
            kernel.operator(x[:9], x[5:20], which=which, hint="kronecker"),
            kernel,
            x[:9],
            x[5:20],
            which,
        )


@pytest.mark.thorough
def test_a_large_fermion_sector_is_a_product_unasked():
    hilbert = nk.hilbert.SpinOrbitalFermions(8, s=1 / 2, n_fermions_per_spin=(4, 4))
    kernel = kernels.infinite_width(models.CosNet(4, encoding=encodings.fermion_sites))
    x = np.asarray(hilbert.all_states())
    operator = kernel.operator(x)
    assert isinstance(operator, Kronecker)
    assert "linear in x·y" in operator.reason
    rows = np.arange(0, len(x), 211)
    np.testing.assert_allclose(operator.restrict(rows).as_matrix(), kernel.ntk(x[rows]), rtol=1e-12)


@pytest.mark.thorough
def test_readout_training_makes_the_ntk_a_product(fermions):
    _, x = fermions
    model = models.GaussNet(
        4, encoding=encodings.fermion_sites, parametrization="standard", sigma_a=0.5
    )
    kernel = kernels.infinite_width(model, trainable="readout")
    operator = kernel.operator(x, hint="kronecker")
    assert operator.insertion is None
    agrees(operator, kernel, x)


@pytest.mark.thorough
def test_without_structure_the_matrix_is_stored_if_it_fits(fermions, monkeypatch):
    _, x = fermions
    kernel = kernels.infinite_width(models.WideMLP(widths=(4,), encoding=encodings.fermion_sites))
    operator = kernel.operator(x)
    assert isinstance(operator, STORED)
    assert "10.4 kB" in operator.reason
    assert "not ±1" in operator.reason
    agrees(operator, kernel, x)
    monkeypatch.setattr(choosing, "DENSE_BYTES", 1000)
    operator = kernel.operator(x)
    assert isinstance(operator, Tiled)
    assert "would take 10.4 kB" in operator.reason
    agrees(operator, kernel, x)
    agrees(kernel.operator(x, x[:7]), kernel, x, x[:7])


def test_a_few_configurations_of_many_spins_are_stored(relu):
    x = np.asarray(nk.hilbert.Spin(0.5, 24).random_state(__import__("jax").random.key(0), 50))
    operator = relu.operator(x)
    assert isinstance(operator, STORED)
    assert "costs more" in operator.reason
    agrees(operator, relu, x)


def test_more_spins_than_a_basis_fits_are_stored_or_tiled(relu):
    x = np.asarray(nk.hilbert.Spin(0.5, 100).random_state(__import__("jax").random.key(0), 20))
    assert isinstance(relu.operator(x), STORED)
    with pytest.raises(StructureError, match=r"2\^100"):
        relu.operator(x, hint="hypercube")


@pytest.mark.parametrize(
    ("hint", "structure"),
    [
        ("dense", Dense),
        ("shared", Shared),
        ("hypercube", Hypercube),
        ("tiled", Tiled),
        ("kronecker", Kronecker),
    ],
)
def test_a_hint_is_followed(hint, structure, spins):
    kernel = kernels.infinite_width(models.CosNet(4))
    operator = kernel.operator(spins[:60], which="nngp", hint=hint)
    assert isinstance(operator, structure)
    assert operator.reason == "it was asked for"
    agrees(operator, kernel, spins[:60], which="nngp")


def test_a_structure_that_does_not_hold_is_refused_with_the_reason(relu, spins, fermions):
    with pytest.raises(
        StructureError,
        match="no kronecker on these configurations: the kernel is not known to be one",
    ):
        relu.operator(spins, hint="kronecker")
    kernel, x = fermions
    with pytest.raises(StructureError, match="no hypercube .* a product over sites"):
        kernel.operator(x, hint="hypercube")
    with pytest.raises(StructureError, match="expected one of .'dense'"):
        relu.operator(spins, hint="sparse")
    with pytest.raises(StructureError, match="'ntk' or 'nngp'"):
        relu.operator(spins, which="theta")
    with pytest.raises(InvalidConfigurationsError):
        relu.operator(spins[0])


def test_a_kernel_that_only_claims_to_be_a_product_is_not_believed(fermions):
    def formula(d, pair):
        k = 1 / (1 + pair.gap)
        return k, k

    formula.translation_invariant_nngp = True
    kernel = kernels.DotProductKernel(formula, encode=encodings.fermion_sites)
    with pytest.raises(StructureError, match="is no product over sites"):
        kernel.operator(fermions[1], hint="kronecker")


def test_any_kernel_can_be_chosen_for(spins):
    """A kernel of which only ``both`` is known: an ordinary class, looked at like any other."""

    class Bare(kernels.InfiniteWidthKernel):
        n_parts, trainable = 2, "all"

        def both(self, x, y=None):
            y = x if y is None else y
            k = np.exp(np.asarray(x, float) @ np.asarray(y, float).T / 8)
            return k, 2 * k

        def diagonals(self, x):
            k = np.exp(np.ones(len(x)))
            return k, 2 * k

    operator = Bare().operator(spins[:30])
    assert isinstance(operator, STORED)
    assert "hypercube: it would hold" in operator.reason
    tiles = Bare().operator(spins[:30], hint="tiled")
    np.testing.assert_allclose(tiles.matvec(np.ones(30)), operator.matvec(np.ones(30)), rtol=1e-12)
    np.testing.assert_allclose(tiles.diagonal(), operator.diagonal(), rtol=1e-12)


def test_sites_that_an_encoding_mixes_are_told(spins):
    """The product of three neighbours is ±1 again: a table over coordinates, and none over sites."""
    mixing = models.CosNet(4, encoding=lambda x: np.roll(x, 1, -1) * x * np.roll(x, -1, -1) * 1.0)
    hilbert = nk.hilbert.Spin(0.5, spins.shape[1])
    assert kernels.infinite_width(models.CosNet(4)).structure(hilbert).sitewise
    kernel = kernels.infinite_width(mixing)
    for domain in (hilbert, spins):
        assert not kernel.structure(domain).sitewise
    agrees(kernel.operator(spins), kernel, spins)


def test_a_kernel_that_is_a_table_on_a_path_alone_is_not_believed(spins):
    """Entries agree along one path through the hypercube, and nowhere else."""

    class Weighted(kernels.InfiniteWidthKernel):
        n_parts, trainable = 1, "all"

        def both(self, x, y=None):
            y = x if y is None else y
            differ = np.asarray(x)[:, None] != np.asarray(y)[None]
            path = np.arange(differ.shape[-1]) == differ.sum(-1, keepdims=True) - 1
            k = np.exp(-0.3 * differ.sum(-1)) * (1 + 0.1 * ~(differ & path).any(-1))
            return k, k

        def diagonals(self, x):
            return np.ones(len(x)), np.ones(len(x))

    kernel = Weighted()
    assert isinstance(kernel.structure(spins), Unstructured)
    assert isinstance(kernel.operator(spins), STORED)
    agrees(kernel.operator(spins), kernel, spins)
