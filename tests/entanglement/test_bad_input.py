"""Wrong partitions, orders and sizes, over every public function that takes them."""

import math

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk import entanglement as ent
from netket_qsntk.errors import (
    AmplitudesError,
    EnsembleError,
    EntropyOrderError,
    PartitionError,
    SystemTooLargeError,
)
from netket_qsntk.observable import EnsembleEntropy, EntanglementEntropy

SITES = 4
HILBERT = nk.hilbert.Spin(0.5, SITES)
LARGE = nk.hilbert.Spin(0.5, 200)
AMPLITUDES = np.ones(2**SITES)
NETWORK = qs.models.CosNet(3)
KAPPA = ent.ProductKernel(np.array([[1.0, 0.3], [0.3, 1.0]]), n_sites=SITES)
ENSEMBLES = {
    "product": ent.ProductEnsemble.from_parts(KAPPA, KAPPA),
    "real product": ent.ProductEnsemble.from_parts(KAPPA),
    "hamming": ent.HammingEnsemble.from_parts(0.5 ** np.arange(SITES + 1.0)),
    "dense": ent.DenseEnsemble(np.eye(2**SITES), HILBERT),
    "log-normal": ent.LogNormalEnsemble.hamming(0.1 * 0.5 ** np.arange(SITES + 1.0)),
}


class STILL:
    """A flow that leaves everything as it is."""

    @staticmethod
    def run(initial, steps):
        return np.stack([initial] * len(steps))


OF_AMPLITUDES = {
    "entropies": ent.entropies,
    "purity": ent.purity,
    "entanglement_spectrum": ent.entanglement_spectrum,
}
OF_ENSEMBLES = {
    "annealed_renyi": ent.annealed_renyi,
    "average_tsallis": ent.average_tsallis,
    "log_average_moment": ent.log_average_moment,
    "normalized_purity": ent.normalized_purity,
}
OF_MODELS = {
    "finite_width_purity": ent.finite_width_purity,
    "width_expansion": ent.width_expansion,
}
OBSERVABLES = {
    "EntanglementEntropy": EntanglementEntropy,
    "EnsembleEntropy": EnsembleEntropy,
}
# name -> a call with one argument, the partition.
CALLS = {
    "check_partition": lambda sites: ent.check_partition(sites, SITES),
    "entropy_scaling": lambda sites: ent.entropy_scaling(
        NETWORK, [SITES], [3], n_members=2, partition=lambda size: sites
    ),
}
for _name, _f in OF_AMPLITUDES.items():
    CALLS[_name] = lambda sites, f=_f: f(AMPLITUDES, HILBERT, sites)
for _name, _f in OF_ENSEMBLES.items():
    for _kind, _ensemble in ENSEMBLES.items():
        CALLS[f"{_name}, {_kind}"] = lambda sites, f=_f, e=_ensemble: f(e, sites)
CALLS["sampled_renyi"] = lambda sites: ent.sampled_renyi(ENSEMBLES["log-normal"], sites)
CALLS["entropies_along"] = lambda sites: ent.entropies_along(
    STILL, AMPLITUDES, [0], HILBERT, sites, output="psi"
)
for _name, _f in OF_MODELS.items():
    CALLS[_name] = lambda sites, f=_f: f(NETWORK, HILBERT, sites)
for _name, _f in OBSERVABLES.items():
    CALLS[_name] = lambda sites, f=_f: f(HILBERT, sites)

PARTITIONS = {
    "empty": ([], "empty: subsystem A needs at least one"),
    "complete": (range(SITES), r"all 4 sites, so B is empty.* leave at least one site out"),
    "duplicated": ([0, 2, 2], r"names the sites \[2\] more than once"),
    "too large": ([0, SITES], r"sites \[4\] outside 0…3"),
    "negative": ([-1, 0], r"sites \[-1\] outside 0…3"),
    "fractional": ([0.5], "list of site indices"),
    "a number": (2, "list of site indices"),
    "booleans": ([True, False, True, False], "list of site indices"),
    "nested": ([[0, 1]], "list of site indices"),
    "ragged": ([[0], [1, 2]], "list of site indices"),
    "nothing": (None, "list of site indices"),
    "set of too many": ({0, 4}, r"sites \[4\] outside 0…3"),
}


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize("call", CALLS)
def test_partitions_that_divide_nothing_are_refused(call, partition):
    sites, message = PARTITIONS[partition]
    with pytest.raises(PartitionError, match=message):
        CALLS[call](sites)


def test_every_public_function_with_a_partition_is_in_the_list():
    import inspect

    takes = {
        name
        for name in ent.__all__
        if inspect.isfunction(f := getattr(ent, name))
        and "partition" in inspect.signature(f).parameters
    }
    assert takes == {call.split(",")[0] for call in CALLS} - set(OBSERVABLES)


@pytest.mark.parametrize("kind", ENSEMBLES)
@pytest.mark.parametrize("name", ["annealed_renyi", "average_tsallis", "log_average_moment"])
def test_orders_without_a_closed_form_are_refused(name, kind):
    with pytest.raises(EntropyOrderError, match="pole"):
        OF_ENSEMBLES[name](ENSEMBLES[kind], [0], 1)
    for order in (0, -2, 0.5, 2.5, 7, math.inf, math.nan, None, "2"):
        with pytest.raises(EntropyOrderError, match=r"integers 2, …, 6"):
            OF_ENSEMBLES[name](ENSEMBLES[kind], [0], order)


@pytest.mark.parametrize("kind", ENSEMBLES)
def test_moments_of_the_norm_take_any_positive_whole_order(kind):
    ensemble = ENSEMBLES[kind]
    assert ent.log_norm_moment(ensemble, 2) > 2 * ent.log_norm_moment(ensemble, 1)
    for order in (0, -1, 1.5, None):
        with pytest.raises(EntropyOrderError, match="whole number >= 1"):
            ent.log_norm_moment(ensemble, order)


@pytest.mark.parametrize("order", [0, -1, math.nan, "2", None, 1j])
def test_orders_of_entropies_are_positive_numbers(order):
    for call in (
        lambda: ent.entropies(AMPLITUDES, HILBERT, [0], n=order),
        lambda: ent.entropies(AMPLITUDES, HILBERT, [0], n=[1, order]),
        lambda: ent.entropy_scaling(NETWORK, [SITES], [3], n=order, n_members=2),
        lambda: ent.renyi_entropy([0.5, 0.5], order),
        lambda: ent.tsallis_entropy([0.5, 0.5], order),
        lambda: EntanglementEntropy(HILBERT, [0], order),
        lambda: EnsembleEntropy(HILBERT, [0], order),
    ):
        with pytest.raises(EntropyOrderError, match="expected one number > 0"):
            call()


def test_orders_are_one_or_a_list():
    for order in ([], [[1, 2]]):
        with pytest.raises(EntropyOrderError, match=r"one order or a list of them"):
            ent.entropies(AMPLITUDES, HILBERT, [0], n=order)
    assert ent.entropies(AMPLITUDES, HILBERT, [0], n=np.array(2.0)).shape == ()
    with pytest.raises(EntropyOrderError, match="one at a time"):
        ent.annealed_renyi(ENSEMBLES["product"], [0], np.array([2, 3]))


@pytest.mark.parametrize("p", [[2.0, 2.0], [1.5, -0.5], [0.5, np.nan], 1.0])
@pytest.mark.parametrize("entropy", [ent.renyi_entropy, ent.tsallis_entropy])
def test_entropies_of_spectra_take_probabilities(entropy, p):
    with pytest.raises(AmplitudesError, match="each row of sum 1"):
        entropy(p, 2)


@pytest.mark.parametrize("quenched", [ent.participation_entropy, ent.effective_samples])
def test_quenched_averages_are_asked_for_by_name_and_need_two_draws(quenched):
    calm = ENSEMBLES["log-normal"]
    with pytest.raises(EntropyOrderError, match="expected 'annealed' or 'quenched'"):
        quenched(calm, 2, average="typical")
    for draws in (0, 1, 2.5):
        with pytest.raises(EnsembleError, match=r"n_draws=.*integer >= 2"):
            quenched(calm, 2, average="quenched", n_draws=draws)


def test_samples_are_counted():
    calm = ENSEMBLES["log-normal"]
    with pytest.raises(EnsembleError, match="n_samples=0"):
        ent.effective_samples(calm, 0)
    with pytest.raises(EnsembleError, match="n_samples=1: expected an integer >= 2"):
        ent.sampled_renyi(calm, [0], n_samples=1)


@pytest.mark.parametrize("order", [0, 2.5, math.inf, math.nan, None])
def test_moments_of_weights_take_whole_orders(order):
    for call in (ent.log_participation_moment, ent.parting):
        with pytest.raises(EntropyOrderError, match="whole number >= 1"):
            call(ENSEMBLES["log-normal"], order)


def test_functions_on_the_way_say_what_they_are():
    with pytest.raises(AmplitudesError, match="expected 'psi' or 'log_psi'"):
        ent.entropies_along(STILL, AMPLITUDES, [0], HILBERT, [0], output="logpsi")


def test_covariances_of_parts_are_real():
    matrix = np.eye(2**SITES) + 0.1j * (np.eye(2**SITES, k=1) - np.eye(2**SITES, k=-1))
    with pytest.raises(EnsembleError, match=r"are real. Give a complex covariance"):
        ent.DenseEnsemble.from_parts(matrix, matrix, HILBERT)
    with pytest.raises(EnsembleError, match=r"HammingEnsemble got complex"):
        ent.HammingEnsemble(np.array([1.0, 0.5j, 0.2]))


@pytest.mark.parametrize("base", [0, 1, -2, math.inf, math.nan])
def test_logarithms_have_a_base(base):
    for call in (
        lambda: ent.entropies(AMPLITUDES, HILBERT, [0], log_base=base),
        lambda: ent.renyi_entropy([0.5, 0.5], log_base=base),
        lambda: ent.annealed_renyi(ENSEMBLES["product"], [0], log_base=base),
        lambda: ent.page_entropy(4, 4, log_base=base),
        lambda: ent.sampled_renyi(ENSEMBLES["log-normal"], [0], log_base=base),
        lambda: ent.participation_entropy(ENSEMBLES["log-normal"], log_base=base),
        lambda: ent.maximum_entropy(4, 4, log_base=base),
        lambda: ent.entropy_scaling(NETWORK, [SITES], [3], n_members=2, log_base=base),
        lambda: EntanglementEntropy(HILBERT, [0], log_base=base),
        lambda: EnsembleEntropy(HILBERT, [0], log_base=base),
    ):
        with pytest.raises(EntropyOrderError, match="log_base"):
            call()


def large_product():
    kernel = ent.ProductKernel(np.array([[1.0, 0.3], [0.3, 1.0]]), n_sites=200)
    return ent.ProductEnsemble.from_parts(kernel, kernel)


CLOSED_FORMS = "annealed_renyi|finite_width_purity|EnsembleEntropy"
HALF = range(100)
TOO_LARGE = {
    "entropies": lambda: ent.entropies(np.ones(4), LARGE, HALF),
    "purity": lambda: ent.purity(np.ones(4), LARGE, HALF),
    "entanglement_spectrum": lambda: ent.entanglement_spectrum(np.ones(4), LARGE, HALF),
    "draw_members": lambda: ent.draw_members(NETWORK, LARGE, 2),
    "sample_wavefunctions": lambda: ent.sample_wavefunctions(large_product(), 2, 0),
    "entropy_scaling": lambda: ent.entropy_scaling(NETWORK, [200], [3], n_members=2),
    "entropy_scaling, infinite": lambda: ent.entropy_scaling(
        NETWORK, [200], [math.inf], n_members=2
    ),
    "DenseEnsemble": lambda: ent.DenseEnsemble(np.eye(4), LARGE),
    "gaussian_ensemble": lambda: ent.gaussian_ensemble(
        NETWORK, nk.hilbert.Spin(0.5, 200, total_sz=0)
    ),
    "members": lambda: qs.vqs.EnsembleState(LARGE, NETWORK, 2, seed=0).expect(
        EntanglementEntropy(LARGE, HALF, 2)
    ),
    "members, averaged": lambda: qs.vqs.EnsembleState(LARGE, NETWORK, 2, seed=0).expect(
        EnsembleEntropy(LARGE, HALF, 2, "annealed")
    ),
    "quenched participation": lambda: ent.participation_entropy(
        ent.LogNormalEnsemble(large_product()), average="quenched"
    ),
    "infinite width": lambda: qs.vqs.InfiniteState(LARGE, NETWORK).expect(
        EntanglementEntropy(LARGE, HALF, 2)
    ),
    "infinite width, quenched": lambda: qs.vqs.InfiniteState(LARGE, NETWORK).expect(
        EnsembleEntropy(LARGE, HALF, 2)
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", TOO_LARGE)
def test_two_hundred_sites_name_the_closed_form(name):
    with pytest.raises(SystemTooLargeError, match=CLOSED_FORMS):
        TOO_LARGE[name]()
