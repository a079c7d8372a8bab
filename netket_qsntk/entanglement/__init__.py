"""Entanglement of given wave functions, and of Gaussian and log-normal ensembles in closed form."""

from netket_qsntk.entanglement.annealed import (
    annealed_renyi,
    average_tsallis,
    log_average_moment,
    log_norm_moment,
)
from netket_qsntk.entanglement.drawn_members import draw_members
from netket_qsntk.entanglement.ensembles import (
    DenseEnsemble,
    GaussianEnsemble,
    HammingEnsemble,
    ProductEnsemble,
    ProductKernel,
)
from netket_qsntk.entanglement.estimate import Estimate
from netket_qsntk.entanglement.finite_width import (
    WidthExpansion,
    finite_width_purity,
    log_site_moments,
    width_expansion,
)
from netket_qsntk.entanglement.from_models import ensemble, gaussian_ensemble
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.entanglement.normalized import normalized_purity
from netket_qsntk.entanglement.overlap_kernel import (
    OverlapKernel,
    kernel_profile,
    overlap_kernel,
)
from netket_qsntk.entanglement.overlap_sampling import sampled_renyi
from netket_qsntk.entanglement.participation import (
    effective_samples,
    log_participation_moment,
    participation_entropy,
)
from netket_qsntk.entanglement.parting import Parting, parting
from netket_qsntk.entanglement.partition import check_partition, fermion_modes
from netket_qsntk.entanglement.probabilities import renyi_entropy, tsallis_entropy
from netket_qsntk.entanglement.random_rbm import RandomRBM
from netket_qsntk.entanglement.reference import (
    VolumeLaw,
    fit_volume_law,
    maximum_entropy,
    page_entropy,
)
from netket_qsntk.entanglement.saddle import (
    EntropyDensity,
    entropy_density,
    extensive_ensemble,
)
from netket_qsntk.entanglement.sampling import sample_wavefunctions
from netket_qsntk.entanglement.scaling import ScalingRow, ScalingTable, entropy_scaling
from netket_qsntk.entanglement.spectrum import entanglement_spectrum, entropies, purity
from netket_qsntk.entanglement.training import entropies_along

__all__ = [
    "DenseEnsemble",
    "EntropyDensity",
    "Estimate",
    "GaussianEnsemble",
    "HammingEnsemble",
    "LogNormalEnsemble",
    "OverlapKernel",
    "Parting",
    "ProductEnsemble",
    "ProductKernel",
    "RandomRBM",
    "ScalingRow",
    "ScalingTable",
    "VolumeLaw",
    "WidthExpansion",
    "annealed_renyi",
    "average_tsallis",
    "check_partition",
    "draw_members",
    "effective_samples",
    "ensemble",
    "entanglement_spectrum",
    "entropies",
    "entropies_along",
    "entropy_density",
    "entropy_scaling",
    "extensive_ensemble",
    "fermion_modes",
    "finite_width_purity",
    "fit_volume_law",
    "gaussian_ensemble",
    "kernel_profile",
    "log_average_moment",
    "log_norm_moment",
    "log_participation_moment",
    "log_site_moments",
    "maximum_entropy",
    "normalized_purity",
    "overlap_kernel",
    "page_entropy",
    "participation_entropy",
    "parting",
    "purity",
    "renyi_entropy",
    "sample_wavefunctions",
    "sampled_renyi",
    "tsallis_entropy",
    "width_expansion",
]
