"""Entanglement of given wave functions, and of Gaussian and log-normal ensembles in closed form."""

from netket_qsntk.entanglement.annealed import (
    annealed_renyi,
    average_tsallis,
    log_average_moment,
    log_norm_moment,
)
from netket_qsntk.entanglement.ensembles import (
    DenseEnsemble,
    GaussianEnsemble,
    HammingEnsemble,
    ProductEnsemble,
    ProductKernel,
)
from netket_qsntk.entanglement.finite_width import (
    WidthExpansion,
    finite_width_purity,
    log_site_moments,
    width_expansion,
)
from netket_qsntk.entanglement.from_models import ensemble, gaussian_ensemble
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.entanglement.members import draw_members
from netket_qsntk.entanglement.normalized import normalized_purity
from netket_qsntk.entanglement.partition import check_partition, fermion_modes
from netket_qsntk.entanglement.reference import (
    VolumeLaw,
    fit_volume_law,
    maximum_entropy,
    page_entropy,
)
from netket_qsntk.entanglement.sampling import sample_wavefunctions
from netket_qsntk.entanglement.scaling import ScalingRow, ScalingTable, entropy_scaling
from netket_qsntk.entanglement.spectrum import (
    entanglement_spectrum,
    entropies,
    purity,
    renyi_entropy,
    tsallis_entropy,
)

__all__ = [
    "DenseEnsemble",
    "GaussianEnsemble",
    "HammingEnsemble",
    "LogNormalEnsemble",
    "ProductEnsemble",
    "ProductKernel",
    "ScalingRow",
    "ScalingTable",
    "VolumeLaw",
    "WidthExpansion",
    "annealed_renyi",
    "average_tsallis",
    "check_partition",
    "draw_members",
    "entanglement_spectrum",
    "ensemble",
    "entropies",
    "entropy_scaling",
    "fermion_modes",
    "finite_width_purity",
    "fit_volume_law",
    "gaussian_ensemble",
    "log_average_moment",
    "log_norm_moment",
    "log_site_moments",
    "maximum_entropy",
    "normalized_purity",
    "page_entropy",
    "purity",
    "renyi_entropy",
    "sample_wavefunctions",
    "tsallis_entropy",
    "width_expansion",
]
