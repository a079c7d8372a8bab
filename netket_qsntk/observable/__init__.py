"""Entanglement entropies as NetKet observables, of single states and of ensembles."""

from netket_qsntk.observable import ensemble_entropy as _ensemble_entropy  # noqa: F401  registers nk.vqs.expect
from netket_qsntk.observable import full_sum as _full_sum  # noqa: F401
from netket_qsntk.observable import swap as _swap  # noqa: F401
from netket_qsntk.observable.entropy import EnsembleEntropy, EntanglementEntropy

__all__ = ["EnsembleEntropy", "EntanglementEntropy"]
